"""`python -m services.azure.runs.runner HOME RUN_ID`: executes one run on Azure ML: submits it, follows it, downloads its artifacts.

It reads how to sign in from standard input. When this process dies the run goes on in Azure ML, and `resume` follows it again: the pipeline
run's id is in the run's folder before the run is started.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from services import formats, log
from services.azure.auth import retry
from services.azure.auth.sdk_errors import FailureKind, azure_errors, failure_kind, run_status, status_of
from services.azure.auth.token_relay import TOKEN_POLL_SECONDS, TokenReceiver
from services.azure.runs import artifacts, job_logs, output_reader
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdks import sdk_of
from services.domain import NOT_SUBMITTED, Metadata, RunStatus, utc_now
from services.errors import IntakeError, NotFound, StudioError, WorkspaceUnavailable
from services.remote import PipelineRun
from services.storage import run_process
from services.storage.run_process import Outcome
from services.storage.store import Store

logger = logging.getLogger("services.azure.runs.runner")  # __name__ is __main__

HEARTBEAT_SECONDS = 2.0
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.25, 10.0  # of the status: longer, the longer nothing changes
MIN_LOG_POLL_SECONDS, MAX_LOG_POLL_SECONDS = 2.0, 20.0  # while the run is running
MAX_LIVE_LOGS = 30
NEW_TOKEN_SECONDS = 1.5 * TOKEN_POLL_SECONDS  # that one may take to arrive, where tokens are relayed

_GOES_ON = "The run goes on in Azure ML. Resume it to follow it again."
_MAY_BE_THERE = "Azure ML may have the run: resume it, to follow it where it is there, and else to submit it."

P = ParamSpec("P")
T = TypeVar("T")


class Canceled(Exception):
    """The run was canceled where Azure ML need not be asked: before it was submitted, or after it completed there."""


class ConnectionLost(Exception):
    """The run goes on in Azure ML, and this process can't follow it any longer; or it may, or was not submitted. The text says why, and
    what to do."""


class Runner:
    """Executes one run. Use it once, holding the run's lock."""

    def __init__(self, home: Path, run_id: str, token_receiver: TokenReceiver) -> None:
        self._home = home
        self._run_id = run_id
        self._store = Store(home)
        self._folder = AzureRunFolder(home, run_id)
        self._plan = self._folder.plan()
        log.hide(*(self._plan.request.settings.environment_variables or {}).values())
        log.hide(token_receiver.connection.secret, *token_receiver.connection.tokens.values())
        self._token_receiver = token_receiver
        self._sdk = sdk_of(token_receiver.connection, self._set_doing)
        self._history = self._sdk.history
        self._known = self._folder.pipeline_run()
        self._at_once = self._sdk.jobs.starts_at_once(self._plan)
        self._may_be_there = self._at_once  # though its id is not known
        self._in_trouble = False
        self._seen: tuple[str, str] | None = None  # the status and the step's, by this runner: resumed, a run reads Queued until it has
        self._ended_at: datetime | None = None  # in Azure ML
        self._doing, self._progress_at = "", 0.0

    # ---- from start to end ----------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Do what is left of the run, and store how it ended, or why it can't be followed any longer."""
        ended = threading.Event()
        heartbeat = threading.Thread(target=self._send_heartbeats, args=(ended,), daemon=True)  # a call of the SDK may take minutes
        heartbeat.start()
        outcome: Outcome | None = None
        try:
            outcome = self._execute()
        except Canceled as error:
            shutil.rmtree(self._folder.output_incoming, ignore_errors=True)
            outcome = Outcome(RunStatus.CANCELED, None, f"Canceled on request{error}.")
        except ConnectionLost as error:
            logger.exception("%s", error)
            if self._known is None and not self._may_be_there:
                outcome = Outcome(RunStatus.FAILED, NOT_SUBMITTED, str(error))
            else:
                self._store.update_run(self._run_id, error_code="ConnectionLost", error=str(error))
        except OSError as error:
            logger.exception("The run's files can't be written or read: %s", error)
            text = f"The run's files can't be written or read: {error}. Free disk space or fix its permissions, then resume the run."
            self._store.update_run(self._run_id, error_code="StorageError", error=text)
        except Exception as error:  # the runner's edge: a run must have a reason, also where the fault is ours
            logger.exception("A fault of the program: %s: %s", type(error).__name__, error)
            outcome = Outcome.fault(error)
        ended.set()
        heartbeat.join()
        self._set_doing("")
        if outcome:
            ended_at = self._ended_at or utc_now()
            self._store.update_run(self._run_id, **outcome._asdict(), workers=0, rate=None, ended_at=ended_at, heartbeat_at=utc_now())

    def _execute(self) -> Outcome:
        try:
            if self._known is None:
                self._create()
            self._start()
        except StudioError as error:
            logger.exception("Not submitted: %s", error)
            return Outcome(RunStatus.FAILED, NOT_SUBMITTED, _describe(error))
        try:
            return self._follow()
        except (NotFound, IntakeError) as error:
            logger.exception("%s", error)
            return Outcome(RunStatus.FAILED, type(error).__name__, _describe(error))
        except StudioError as error:
            raise ConnectionLost(f"{_describe(error)} {_GOES_ON}") from error

    # ---- submit ---------------------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        """Create the job, and store its id before it is started, unless that is one call."""
        plan, jobs = self._plan, self._sdk.jobs
        self._end_if_canceled()
        self._store.update_run(self._run_id, status=RunStatus.NOT_STARTED, heartbeat_at=utc_now())
        self._open()
        what = "The published pipeline can't be run" if plan.published_id else "The run can't be submitted"
        job_id = self._with_retries(what, jobs.find, plan, self._run_id) if self._at_once else None
        self._may_be_there = job_id is not None
        if job_id is None:
            self._end_if_canceled()
            built = self._with_retries("The pipeline can't be built", jobs.build, plan, self._folder.source)
            self._end_if_canceled()
            job_id = self._with_retries(what, self._create_job, built)
        self._end_if_canceled()  # a pipeline run that is never started does nothing
        self._save(PipelineRun(job_id, plan.experiment, RunStatus.NOT_STARTED, run_id=self._run_id))

    def _create_job(self, built: object) -> str:
        """Where creating it starts it, and that failed, Azure ML is asked whether it did: an answer may be lost."""
        plan, jobs = self._plan, self._sdk.jobs
        self._may_be_there = self._at_once
        try:
            return jobs.create(built, plan, self._run_id)
        except Exception:
            self._may_be_there = self._at_once and jobs.find(plan, self._run_id) is not None
            raise

    def _end_if_canceled(self) -> None:
        """Raise Canceled where a cancel was requested for a run that Azure ML does not have."""
        if self._known is None and not self._may_be_there and self._store.cancel_requested(self._run_id):
            raise Canceled(", before it was submitted")

    def _start(self) -> None:
        assert self._known
        known = self._known
        self._open()
        self._with_retries("The run can't be started", self._sdk.jobs.start, known.id)
        there = self._with_retries("The run can't be read", self._history.run, known.id)
        if not known.studio_url:
            said = self._send_metadata(known, Metadata())
            by = (there.get("createdBy") or {}).get("userName") or ""
            self._save(replace(known, studio_url=self._history.studio_url(known.id), submitted_by=by))
            self._send_metadata(known, said)  # whoever says something from now on sends it there: see AzureResources

    def _open(self) -> None:
        self._with_retries("The workspace can't be opened", lambda: self._sdk.session.client)

    def _send_metadata(self, known: PipelineRun, before: Metadata) -> Metadata:
        """Send what was said of the run while it was not in Azure ML yet; all that was said by now. Scoring goes on where it is refused."""
        run = self._store.run(self._run_id)
        after = run.metadata
        name = after.name if after.name != before.name else None
        note = after.note if after.note != before.note else None
        tags = dict.fromkeys(before.tags.keys() - after.tags.keys(), "")
        tags |= {key: value for key, value in after.tags.items() if before.tags.get(key) != value}
        try:
            with azure_errors("The run's name, note and tags did not all arrive in Azure ML"):
                self._history.describe(known, run.request.title(), name=name, note=note, tags=tags)
        except StudioError as error:
            self._warn(f"{_describe(error)} They are kept on this machine: say them again for Azure ML.")
        return after

    # ---- follow ---------------------------------------------------------------------------------------------------------------

    def _follow(self) -> Outcome:
        assert self._known
        job, step = self._known, None
        wait, cancel_sent = MIN_POLL_SECONDS, False
        logs_wait, logs_at = MIN_LOG_POLL_SECONDS, time.monotonic() + MIN_LOG_POLL_SECONDS
        while True:
            sdk_status = self._with_retries("The run can't be read", self._history.status, job.id)
            step = step or self._with_retries("The run's step can't be read", self._history.step, job.id)
            step_status = self._with_retries("The run's step can't be read", self._history.status, step) if step else ""
            changed = self._update_status(sdk_status, step_status)
            if ended := self._ended(job, sdk_status):
                return self._fetch(ended, job, step)
            if self._store.cancel_requested(self._run_id) and not cancel_sent:
                self._cancel(job)
                cancel_sent, changed = True, True
            if step and time.monotonic() >= logs_at:
                with log.suppress(logger, "Later", StudioError), azure_errors("The logs can't be fetched"):  # they are fetched at the end
                    artifacts.fetch_logs(self._history.details(step).logs, self._folder, max_logs=MAX_LIVE_LOGS)
                self._note_progress()
                logs_wait = min(MAX_LOG_POLL_SECONDS, logs_wait * 1.5)
                logs_at = time.monotonic() + logs_wait
            wait = MIN_POLL_SECONDS if changed else min(MAX_POLL_SECONDS, wait * 1.3)
            self._sleep(wait)

    def _cancel(self, job: PipelineRun) -> None:
        """Ask for it. A run that Azure ML doesn't cancel is followed to its end, with a warning."""
        try:
            self._with_retries("The run can't be canceled", self._sdk.jobs.cancel, job)
        except StudioError as error:
            self._warn(_describe(error))

    def _ended(self, job: PipelineRun, sdk_status: str) -> RunStatus | None:
        """How the run ended; None while it hasn't. Of a status that isn't known here its end tells."""
        status = run_status(sdk_status)
        if isinstance(status, RunStatus):
            return status if status.ended else None
        if not self._with_retries("The run can't be read", self._history.details, job.id).ended_at:
            return None
        last = self._with_retries("The run can't be read", self._history.status, job.id)  # it may have ended with another
        self._update_status(last, "")
        status = run_status(last)
        return status if isinstance(status, RunStatus) and status.ended else RunStatus.FAILED

    def _update_status(self, sdk_status: str, step_status: str) -> bool:
        """Store the run's status; returns whether it changed. The run is queued while its step is."""
        assert self._known
        status = run_status(sdk_status)
        if status == RunStatus.RUNNING and (not step_status or run_status(step_status) in (RunStatus.QUEUED, RunStatus.NOT_STARTED)):
            status = RunStatus.QUEUED
        if (status, step_status) == self._seen:
            return False
        self._seen = status, step_status
        if self._seen != (self._known.status, self._known.step):
            self._save(replace(self._known, status=status, step=step_status))
            with open(self._folder.logs / "azure_status.txt", "a", encoding="utf-8") as lines:
                lines.write(f"{formats.utc(utc_now())}: pipeline run {sdk_status}{f', step {step_status}' if step_status else ''}\n")
        if isinstance(status, RunStatus) and not status.ended:
            started_at = self._store.run(self._run_id).started_at or (utc_now() if status is RunStatus.RUNNING else None)
            self._store.update_run(self._run_id, status=status, started_at=started_at)
        return True

    def _note_progress(self) -> None:
        """As far as the step's own logs tell: what they don't stays unknown."""
        if progress := job_logs.mini_batches_done(self._folder.logs):
            self._store.update_run(self._run_id, mini_batches_done=progress[0], mini_batches_total=progress[1])
        if counts := job_logs.item_counts(self._folder.logs, self._plan.request.settings.run_max_try):
            self._store.update_run(self._run_id, items_succeeded=counts[0], items_failed=counts[1])

    def _sleep(self, seconds: float) -> None:
        """Wait; no longer once a cancel is requested."""
        until, before = time.monotonic() + seconds, self._store.cancel_requested(self._run_id)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.25))
            if self._store.cancel_requested(self._run_id) is not before:
                return

    # ---- fetch ----------------------------------------------------------------------------------------------------------------

    def _fetch(self, status: RunStatus, job: PipelineRun, step: str | None) -> Outcome:
        if step:
            self._fetch_logs(step)
            self._note_progress()
        if status is RunStatus.CANCELED:
            return Outcome(status, None, f"Canceled {'on request' if self._store.cancel_requested(self._run_id) else 'in Azure ML'}.")
        details = self._with_retries("The run can't be read", self._history.details, step or job.id)
        self._ended_at = details.ended_at
        if details.started_at:
            self._store.update_run(self._run_id, started_at=details.started_at)
        if status is RunStatus.FAILED:
            code, reason = job_logs.reason(details, self._folder.logs, output_reader.main_cause(self._folder, self._plan))
            if self._known and self._known.status not in list(RunStatus):
                reason = f"Azure ML ended the run as {self._known.status}.\n{reason}"
            return Outcome(status, code, reason)
        if step:
            what = "The run's output can't be fetched"
            self._report_progress(0, 0)
            self._with_retries(what, self._fetch_output, job, step)
            self._note_reuse(step)
        if self._plan.request.settings.output_action == "append_row":
            return self._count_rows()
        return Outcome(status)

    def _fetch_output(self, job: PipelineRun, step: str) -> None:
        artifacts.fetch_output(self._sdk.jobs.output(job, step), self._plan, self._folder, self._report_progress)

    def _report_progress(self, done: int, total: int) -> None:
        """The bytes of the output. Raises Canceled where a cancel is requested: the run has ended in Azure ML."""
        if (now := time.monotonic()) < self._progress_at + 0.5:
            return
        self._progress_at = now
        if self._store.cancel_requested(self._run_id):
            raise Canceled(" during the download of its output: the run is completed in Azure ML, which has the output")
        self._set_doing(f"Fetching the output: {formats.size(done)} of {formats.size(total)}" if total else "Fetching the output")

    def _fetch_logs(self, step: str) -> None:
        """Where that fails the run has a warning: its output is more important."""
        try:
            self._with_retries(
                "The run's logs can't be fetched", lambda: artifacts.fetch_logs(self._history.details(step).logs, self._folder)
            )
        except (ConnectionLost, StudioError) as error:
            self._warn(str(error))

    def _warn(self, sentence: str) -> None:
        logger.warning("%s", sentence, exc_info=True)
        run = self._store.run(self._run_id)
        self._store.update_run(self._run_id, warnings=(*run.warnings, sentence))

    def _count_rows(self) -> Outcome:
        try:
            rows = output_reader.count_rows(self._folder, self._plan)
        except FileNotFoundError:
            name = self._plan.request.settings.append_row_file_name
            return Outcome(RunStatus.FAILED, "NoOutput", f"The run is completed in Azure ML, but its output has no {name}.")
        total, counts = self._plan.item_count, {"items_total": rows, "items_succeeded": rows}
        if total:  # else the number of rows in the dataset is not known
            counts = {"items_succeeded": min(rows, total), "items_failed": max(0, total - rows)}
        run = self._store.run(self._run_id)
        if job_logs.mini_batches_done(self._folder.logs) is None and run.mini_batches_total:
            counts["mini_batches_done"] = run.mini_batches_total
        self._store.update_run(self._run_id, **counts)
        self._set_doing("Making the table of predictions")
        try:
            output_reader.make_table(self._folder, self._plan)
        except WorkspaceUnavailable as error:  # the table is made when it is opened
            self._warn(_describe(error))
        return Outcome(RunStatus.COMPLETED)

    def _note_reuse(self, step: str) -> None:
        """Store the run whose output Azure ML reused: by our id where it is one of ours."""
        if not (reused := self._with_retries("The run's step can't be read", self._history.reused, step)):
            return
        known = ((run.id, AzureRunFolder(self._home, run.id).pipeline_run()) for run in self._store.runs(1000))
        ours = (run_id for run_id, pipeline_run in known if pipeline_run and pipeline_run.id == reused)
        self._store.update_run(self._run_id, reused_from=next(ours, reused))

    # ---- retries and heartbeats ---------------------------------------------------------------------------------------

    def _with_retries(self, what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns of these, retried by the runner's policy.

        Raises ConnectionLost where that doesn't help, or the sign-in or a permission is refused; the StudioError itself for what Azure ML
        refuses to do.
        """

        def attempt() -> T:
            with self._sdk.session.sdk_calls(what):  # after a refusal of its token it signs in again
                return function(*args, **kwargs)

        try:
            answer = retry.call(retry.RUNNER, attempt, self._wait_to_retry)
        except StudioError as error:
            if failure_kind(error) is FailureKind.FINAL:
                raise
            advice = _GOES_ON
            if self._known is None:
                advice = _MAY_BE_THERE if self._may_be_there else "Nothing was submitted. Resume the run to submit it once this is fixed."
            raise ConnectionLost(f"{_describe(error)} {advice}") from error
        if self._in_trouble:
            self._store.update_run(self._run_id, error_code=None, error=None)
            self._in_trouble = False
        return answer

    def _wait_to_retry(self, error: StudioError, seconds: float) -> None:
        self._in_trouble = True
        self._store.update_run(self._run_id, error_code=type(error).__name__, error=f"{error.message} Retrying.")
        if not (status_of(error) == 401 and self._token_receiver.wait(NEW_TOKEN_SECONDS)):
            self._sleep(seconds)
        if not self._at_once:  # else only Azure ML knows whether it has the run
            self._end_if_canceled()

    def _set_doing(self, doing: str) -> None:
        """What this process is doing, for who looks at the run; "" once that is over."""
        if doing != self._doing:
            self._doing = doing
            self._store.update_run(self._run_id, doing=doing or None)

    def _save(self, pipeline_run: PipelineRun) -> None:
        self._known = pipeline_run
        logger.info("Pipeline run %s is %s, its step %s", pipeline_run.id, pipeline_run.status, pipeline_run.step or "not there yet")
        self._folder.save_pipeline_run(pipeline_run)

    def _send_heartbeats(self, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with log.suppress(logger, "The heartbeat can't be written", WorkspaceUnavailable):
                self._store.update_run(self._run_id, heartbeat_at=utc_now())


def _describe(error: StudioError) -> str:
    """In sentences: what Azure ML says may end without a period."""
    return " ".join(text if text.endswith((".", "!", "?", "…")) else f"{text}." for text in (error.message, error.hint) if text)


def _execute(home: Path, run_id: str) -> int:
    try:
        token_receiver = TokenReceiver(FileIO(0, closefd=False))
    except ValueError:
        logger.error("The connection is read from standard input; use `resume` to start a runner")
        return 2
    return run_process.execute(AzureRunFolder(home, run_id), Store(home), lambda: Runner(home, run_id, token_receiver).execute())


def main() -> int:
    return run_process.main("services.azure.runs.runner", AzureRunFolder, _execute)


if __name__ == "__main__":
    sys.exit(main())

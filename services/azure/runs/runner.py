"""`python -m services.azure.runs.runner HOME RUN_ID`: carries one run of Azure ML: submits it, follows it, fetches what it leaves.

How to sign in is told on its standard input. When this process dies the run goes on in Azure ML, and is followed again by `resume`: the
pipeline run's id is in the run's folder before the run is started.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from traceback import format_exc
from typing import Any, TypeVar

from services import formats
from services.azure.auth import throttling
from services.azure.auth.sdk_errors import azure_errors, moment, run_status, status_of
from services.azure.auth.session import Session
from services.azure.auth.token_relay import TOKEN_POLL_SECONDS, TokenReceiver
from services.azure.runs import artifacts, failures, output_reader, pipeline
from services.azure.runs.run_folder import RunFolder
from services.domain import PipelineRun, RunStatus, utc_now
from services.errors import IntakeError, NotFound, StudioError, WorkspaceUnavailable
from services.storage import run_process
from services.storage.run_process import Outcome
from services.storage.store import Store

HEARTBEAT_SECONDS = 2.0  # seconds between signs of life
SOONEST, LATEST = 0.25, 10.0  # seconds between two looks at a run: longer, the longer nothing changes
LOGS_SOONEST, LOGS_LATEST = 2.0, 20.0  # seconds between two looks at the logs while it runs
MOST_LIVE_LOGS = 30
PATIENCE = 30 * 60.0  # seconds that the service may be out of reach
NEW_TOKEN = 1.5 * TOKEN_POLL_SECONDS  # seconds that one may take to come, where tokens are lent
REFUSALS = 3  # times that it may refuse a sign-in or a permission: one may be the service's own fault

T = TypeVar("T")


class Canceled(Exception):
    """Somebody asked for the run's end where it isn't Azure ML that is to be told."""


class LostSight(Exception):
    """The run goes on, and this process can't follow it any longer: the text says why, and what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Runner:
    """Carries one run. Use it once, holding the run's lock."""

    def __init__(self, home: Path, run_id: str, borrowed: TokenReceiver) -> None:
        self._home = home
        self._run_id = run_id
        self._store = Store(home)
        self._folder = RunFolder(home, run_id)
        self._plan = self._folder.plan()
        self._borrowed = borrowed
        self._session = Session(borrowed.connection, self._say)
        self._known = self._folder.pipeline_run()
        self._in_trouble = False
        self._doing, self._said_at = "", 0.0

    # ---- from start to end ----------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Do what is left of the run, and write down how it ended, or why it can't be followed any longer."""
        ended = threading.Event()
        heart = threading.Thread(target=self._beat, args=(ended,), daemon=True)  # a call of the SDK may take minutes
        heart.start()
        outcome: Outcome | None = None
        try:
            outcome = self._execute()
        except Canceled as error:
            shutil.rmtree(self._folder.output_coming, ignore_errors=True)
            outcome = Outcome(RunStatus.CANCELED, None, f"Canceled on request{error}.")
        except LostSight as error:
            self._store.update_run(self._run_id, error_code=error.code, error=str(error))
        except OSError as error:
            what = f"The run's files could not be written or read: {error}. Make room or mend the folder, then resume the run."
            self._store.update_run(self._run_id, error_code="StorageError", error=what)
        except Exception as error:  # noqa: BLE001 - the runner's edge: a run must have a reason, also where the fault is ours
            what = f"{type(error).__name__}: {error}. This is a fault of the program, not of the script.\n{format_exc()}"
            outcome = Outcome(RunStatus.FAILED, "InternalError", what)
        ended.set()
        heart.join()
        self._say("")
        if outcome:
            told = {"status": outcome.status, "error_code": outcome.error_code, "error": outcome.error, "workers": 0, "rate": None}
            self._store.update_run(self._run_id, **told, ended_at=self._ended_at(), heartbeat_at=utc_now())

    def _execute(self) -> Outcome:
        try:
            if self._known is None:
                self._make()
            self._start()
        except StudioError as error:
            return Outcome(RunStatus.FAILED, "NotSubmitted", _describe(error))
        try:
            return self._follow()
        except (NotFound, IntakeError) as error:
            return Outcome(RunStatus.FAILED, type(error).__name__, _describe(error))

    # ---- submit ---------------------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Make the pipeline run, and note its id before anything is started."""
        plan, tags = self._plan, {pipeline.RUN_TAG: self._run_id}
        self._end_if_canceled()
        self._store.update_run(self._run_id, status=RunStatus.NOT_STARTED, heartbeat_at=utc_now())
        workspace = self._with_retries("The workspace can't be opened", lambda: self._session.workspace)
        if plan.published_id:
            what = "The published pipeline can't be run"
            made = self._with_retries(what, lambda: pipeline.published_run(workspace, plan, self._run_id))
            if made is None:
                self._end_if_canceled(surely=True)
                made = self._with_retries(what, lambda: pipeline.run_published(workspace, plan, self._run_id))
        else:
            built = self._with_retries("The pipeline can't be built", lambda: pipeline.build(self._session, plan, self._folder))
            self._end_if_canceled()
            again = bool(plan.request.rerun_of)
            what = "The run can't be submitted"
            made = self._with_retries(what, lambda: pipeline.create_run(built, plan.experiment, tags, regenerate_outputs=again))
        if not plan.published_id:  # a made one that is never started does nothing
            self._end_if_canceled()
        self._note(PipelineRun(made, plan.experiment, RunStatus.NOT_STARTED, run_id=self._run_id))

    def _end_if_canceled(self, *, surely: bool = False) -> None:
        """Raise Canceled where somebody asked for the end of a run that Azure ML has not; which of a published pipeline only Azure ML
        can say (`surely`), since it is made and started by one call."""
        if self._known is None and (surely or not self._plan.published_id) and self._store.cancel_requested(self._run_id):
            raise Canceled(", before it was submitted")

    def _start(self) -> None:
        assert self._known
        made = self._known.id
        workspace = self._with_retries("The workspace can't be opened", lambda: self._session.workspace)
        self._with_retries("The run can't be started", lambda: pipeline.start_run(workspace, made))
        self._run = self._with_retries("The run can't be read", lambda: _pipeline_run(workspace, self._plan.experiment, made))
        self._note(replace(self._known, studio_url=self._run.get_portal_url()))

    # ---- follow ---------------------------------------------------------------------------------------------------------------

    def _follow(self) -> Outcome:
        wait, step, asked_to_end = SOONEST, None, False
        logs_wait, logs_at = LOGS_SOONEST, time.monotonic() + LOGS_SOONEST
        while True:
            word = self._with_retries("The run can't be read", self._run.get_status)
            if step is None:
                step = self._with_retries("The run's step can't be read", self._step)
            step_word = self._with_retries("The run's step can't be read", step.get_status) if step else ""
            changed = self._saw(word, step_word)
            if run_status(word).ended:
                return self._fetch(run_status(word), step)
            if self._store.cancel_requested(self._run_id) and not asked_to_end:
                self._with_retries("The run can't be canceled", self._run.cancel)
                asked_to_end, changed = True, True
            if step and time.monotonic() >= logs_at:
                with suppress(StudioError), azure_errors("The logs can't be fetched"):  # they are fetched again at the end
                    artifacts.fetch_logs(step, self._folder, most=MOST_LIVE_LOGS)
                self._note_progress()
                logs_wait = min(LOGS_LATEST, logs_wait * 1.5)
                logs_at = time.monotonic() + logs_wait
            wait = SOONEST if changed else min(LATEST, wait * 1.3)
            self._sleep(wait)

    def _step(self) -> Any:
        """The pipeline run's one step run; None before there is one."""
        return next(iter(self._run.get_steps()), None)

    def _saw(self, word: str, step_word: str) -> bool:
        """Write down where the run is; whether that is news. It waits for a node while its step does."""
        assert self._known
        status = run_status(word)
        if status is RunStatus.RUNNING and (not step_word or run_status(step_word) in (RunStatus.QUEUED, RunStatus.NOT_STARTED)):
            status = RunStatus.QUEUED
        if (status, step_word) == (self._known.status, self._known.step):
            return False
        self._note(replace(self._known, status=status, step=step_word))
        with open(self._folder.logs / "azure_status.txt", "a", encoding="utf-8") as lines:
            lines.write(f"{formats.utc(utc_now())}: pipeline run {word}{f', step {step_word}' if step_word else ''}\n")
        if not status.ended:
            began = self._store.run(self._run_id).started_at or (utc_now() if status is RunStatus.RUNNING else None)
            self._store.update_run(self._run_id, status=status, started_at=began)
        return True

    def _note_progress(self) -> None:
        if progress := artifacts.mini_batches_done(self._folder):
            self._store.update_run(self._run_id, mini_batches_done=progress[0], mini_batches_total=progress[1])

    def _sleep(self, seconds: float) -> None:
        """Wait; less where somebody asks for the run's end meanwhile."""
        until, before = time.monotonic() + seconds, self._store.cancel_requested(self._run_id)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.25))
            if self._store.cancel_requested(self._run_id) is not before:
                return

    # ---- fetch ----------------------------------------------------------------------------------------------------------------

    def _fetch(self, status: RunStatus, step: Any) -> Outcome:
        if step:
            self._fetch_logs(step)
            self._note_progress()
        if status is RunStatus.CANCELED:
            return Outcome(status, None, "Canceled on request.")
        details = self._with_retries("The run can't be read", (step or self._run).get_details)
        self._note_times(details)
        if status is RunStatus.FAILED:
            return Outcome(status, *failures.reason(details, self._folder))
        if step:
            what = "The run's output can't be fetched"
            self._came(0, 0)
            self._with_retries(what, lambda: artifacts.fetch_output(step, self._plan, self._folder, self._came))
            self._note_reuse(step)
        if self._plan.request.settings.output_action == "append_row":
            return self._counted()
        return Outcome(status)  # how many succeeded isn't told

    def _came(self, here: int, of: int) -> None:
        """Say how much of the output is here. Raises Canceled where somebody asked for the end: that of Azure ML's run has come."""
        if (now := time.monotonic()) < self._said_at + 0.5:
            return
        self._said_at = now
        if self._store.cancel_requested(self._run_id):
            raise Canceled(", while its output was fetched: it is completed in Azure ML, and the output is there")
        self._say(f"Fetching the output: {formats.size(here)} of {formats.size(of)}" if of else "Fetching the output")

    def _fetch_logs(self, step: Any) -> None:
        """A run without its logs is still a run."""
        try:
            self._with_retries("The run's logs can't be fetched", lambda: artifacts.fetch_logs(step, self._folder))
        except (LostSight, StudioError) as error:
            self._warn(str(error))

    def _warn(self, sentence: str) -> None:
        run = self._store.run(self._run_id)
        self._store.update_run(self._run_id, warnings=(*run.warnings, sentence))

    def _counted(self) -> Outcome:
        try:
            rows = output_reader.count_rows(self._folder, self._plan)
        except FileNotFoundError:
            name = self._plan.request.settings.append_row_file_name
            return Outcome(RunStatus.FAILED, "NoOutput", f"Azure ML says that the run is completed, but its output has no {name}.")
        total, counts = self._plan.item_count, {"items_total": rows, "items_succeeded": rows}
        if total:  # else nobody knows how many rows the dataset has
            counts = {"items_succeeded": min(rows, total), "items_failed": max(0, total - rows)}
        run = self._store.run(self._run_id)
        if artifacts.mini_batches_done(self._folder) is None and run.mini_batches_total:
            counts["mini_batches_done"] = run.mini_batches_total
        self._store.update_run(self._run_id, **counts)
        self._say("Making the table of predictions")
        try:
            output_reader.make_table(self._folder, self._plan)
        except WorkspaceUnavailable as error:  # the output is here, and the table is made when somebody looks at it
            self._warn(_describe(error))
        return Outcome(RunStatus.COMPLETED)

    def _note_reuse(self, step: Any) -> None:
        """Whether Azure ML took an earlier run's output, and which run of ours that was."""
        reused = (step.properties or {}).get("azureml.reusedpipeline")
        if not reused:
            return
        ours = (run.id for run in self._store.runs(1000) if _pipeline_run_id(RunFolder(self._home, run.id)) == reused)
        self._store.update_run(self._run_id, reused_from=next(ours, reused))

    def _note_times(self, details: dict[str, Any]) -> None:
        began, self._ended = moment(details.get("startTimeUtc")), moment(details.get("endTimeUtc"))
        if began:
            self._store.update_run(self._run_id, started_at=began)

    def _ended_at(self) -> datetime:
        return getattr(self, "_ended", None) or utc_now()

    # ---- the service, and signs of life ---------------------------------------------------------------------------------------

    def _with_retries(self, what: str, ask: Callable[[], T]) -> T:
        """What `ask` returns, asked again while the service is out of reach, busy or at fault, for half an hour.

        Raises LostSight when that doesn't help, or nobody may ask; the StudioError itself for a refusal of what was asked.
        """
        began, wait, refused = time.monotonic(), 1.0, 0
        while True:
            try:
                with throttling.notify_when_throttled(self._say), azure_errors(what):
                    answer = ask()
            except StudioError as error:
                status = status_of(error.__cause__) if error.__cause__ else None
                final = not isinstance(error, WorkspaceUnavailable)
                if final and (status is not None or type(error) is not StudioError):
                    raise
                refused += final or status in (401, 403)
                if refused >= REFUSALS or time.monotonic() - began > PATIENCE:
                    raise LostSight("LostSight", f"{_describe(error)} {self._what_now()}") from error
                self._in_trouble = True
                self._store.update_run(self._run_id, error_code=type(error).__name__, error=f"{error.message} It is asked again.")
                print(f"{utc_now():%H:%M:%S} {error.message} Again in {wait:.0f} s.", file=sys.stderr, flush=True)
                if not (status == 401 and self._borrowed.wait(NEW_TOKEN)):
                    self._sleep(wait)
                self._end_if_canceled()
                wait = min(60.0, wait * 2)
            else:
                if self._in_trouble:
                    self._store.update_run(self._run_id, error_code=None, error=None)
                    self._in_trouble = False
                return answer

    def _what_now(self) -> str:
        if self._known is None:
            return "Nothing was started there: resume the run to submit it once that is mended."
        return "What was started goes on in Azure ML: resume the run to follow it again."

    def _say(self, doing: str) -> None:
        """What this process is at, for who looks at the run; "" once that is over."""
        if doing != self._doing:
            self._doing = doing
            self._store.update_run(self._run_id, doing=doing or None)

    def _note(self, known: PipelineRun) -> None:
        self._known = known
        self._folder.note(known)

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(WorkspaceUnavailable):
                self._store.update_run(self._run_id, heartbeat_at=utc_now())


def _describe(error: StudioError) -> str:
    return " ".join(filter(None, (error.message, error.hint)))


def _pipeline_run(workspace: Any, experiment: str, pipeline_run_id: str) -> Any:
    from azureml.core import Experiment
    from azureml.pipeline.core import PipelineRun as SdkPipelineRun

    return SdkPipelineRun(Experiment(workspace, experiment), pipeline_run_id)


def _pipeline_run_id(folder: RunFolder) -> str:
    known = folder.pipeline_run()
    return known.id if known else ""


def main() -> int:
    if len(sys.argv) != 3 or not (RunFolder(Path(sys.argv[1]), sys.argv[2]).plan_file.is_file()):
        print(f"usage: python -m services.azure.runs.runner HOME RUN_ID, of a run that was submitted; not {sys.argv[1:]}", file=sys.stderr)
        return 2
    home, run_id = Path(sys.argv[1]), sys.argv[2]
    try:
        borrowed = TokenReceiver(FileIO(0, closefd=False))
    except ValueError:
        print("how to sign in is told on standard input, by `resume` for one", file=sys.stderr)
        return 2
    return run_process.execute(RunFolder(home, run_id), Store(home), lambda: Runner(home, run_id, borrowed).execute())


if __name__ == "__main__":
    sys.exit(main())

"""The runs of an Azure ML workspace: submit, watch, cancel, resume, and read what they left. runner.py follows them; nothing here
uses the network but the sign-in, whose token a runner gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from services.azure.auth.token_relay import TokenSender
from services.azure.catalog import environments
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.azure.run_plan import RunPlan
from services.azure.runs import job_logs, output_reader, run_activity
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdk import Sdk
from services.domain import Environment, Run, RunStatus, utc_now
from services.errors import StudioError, WorkspaceUnavailable, os_errors_as
from services.handover.imported_run import unless_imported
from services.handover.runs import ReadableRuns
from services.predictions.columns import path_of
from services.predictions.provenance import lines_about, provenance_of
from services.remote import PipelineRun
from services.run_details import Failure, MiniBatchDetail, Provenance, RowKey, RowTrace, RunActivity
from services.run_logs.search import LogFile, Origins, OriginsByTime, log_files
from services.storage import run_process
from services.storage.manifest import read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.runs import LOCK_TIMEOUT_SECONDS
from services.storage.store import Store

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_REPORTS = re.compile("logs/sys/job_report/")


class AzureRuns(ReadableRuns[AzureRunFolder]):
    """`services.workspace.Runs` of an Azure ML workspace, and how a run gets there.

    `fetch(dataset, path)` downloads a file of a dataset.
    """

    def __init__(self, home: Path, store: Store, sdk: Sdk, cache: WorkspaceCache, fetch: Callable[[str, str], Path]) -> None:
        super().__init__(home, store, AzureRunFolder)
        self._sdk, self._cache = sdk, cache
        self._fetch = fetch
        self._token_sender = TokenSender(sdk.session.runner_connection)

    def submit(self, plan: RunPlan, mini_batches: MiniBatchPlan, warnings: Sequence[str] = (), job_id: str = "") -> Run:
        """Record the run and return: a runner process follows it. A second one with its `submission_id` is the first. `job_id` is of a job
        that somebody else submitted. Raises WorkspaceUnavailable."""
        connection = self._connection_line()
        folder = self._new_folder()
        folder.create(plan)
        if job_id:
            folder.save_pipeline_run(PipelineRun(job_id, plan.experiment, RunStatus.NOT_STARTED, run_id=folder.path.name))
        unknown = dict.fromkeys(("items_succeeded", "items_failed", "mini_batches_done"))  # until Azure ML reports them
        if mini_batches.estimated:
            unknown |= dict.fromkeys(("mini_batches_total", *(() if mini_batches.item_count else ("items_total",))))
        run, is_new = self._record(folder, plan.request, mini_batches, warnings, **unknown)
        if is_new:
            self._start(folder, connection)
        return run

    def following(self) -> dict[str, str]:
        """The latest runs here of jobs that somebody else submitted, by the job's id."""
        runs = ((run.request.followed_job, run.id) for run in self._store.runs(1000))
        return {job_id: run_id for job_id, run_id in runs if job_id}

    def _connection_line(self) -> str:
        """What a runner reads first from its standard input. Raises WorkspaceUnavailable."""
        return self._sdk.session.runner_connection().with_secret().to_pipe()

    def _start(self, folder: AzureRunFolder, connection: str) -> None:
        started = run_process.start(folder, "services.azure.runs.runner", self._home, input_line=connection, without="AZURE_CLIENT_SECRET")
        if started and self._sdk.session.connection.sign_in.asks_a_person:
            self._token_sender.add(started, connection)
        elif started:
            started.close()

    # ---- cancel and resume ----------------------------------------------------------------------------------------------------

    def _cancel_without_runner(self, folder: AzureRunFolder, message: str = "Canceled on request, before it was submitted.") -> None:
        """A run that Azure ML may know needs a runner once more, to cancel it there."""
        if folder.pipeline_run() is None and not self._sdk.jobs.starts_at_once(folder.plan()):
            super()._cancel_without_runner(folder, message)
        else:
            self._start_again(folder)

    @unless_imported
    def resume(self, run_id: str) -> Run:
        """Follow a run again that has no active runner, or submit one that never was. Raises StudioError for one that has ended."""
        run = self.get(run_id)
        if run.status.ended and not run.never_submitted:
            text = f"Run {run_id} is {run.status.lower()} in Azure ML; there is nothing to resume."
            raise StudioError(text, "Rerun it to score everything again.")
        try:
            folder = self.folder(run_id)
            with folder.locked(LOCK_TIMEOUT_SECONDS):
                self._start_again(folder)
        except Timeout as error:
            raise StudioError(f"Run {run_id} is being followed; there is nothing to resume.", "Cancel it first.") from error
        return self._store.run(run_id)

    def _start_again(self, folder: AzureRunFolder) -> None:
        """To be called with the run's lock, for which the new runner waits."""
        connection, status = self._connection_line(), RunStatus.QUEUED  # which gives its runner time to start
        self._store.update_run(
            folder.path.name, status=status, doing=None, error=None, error_code=None, ended_at=None, heartbeat_at=utc_now()
        )
        self._start(folder, connection)

    # ---- what a run left ---------------------------------------------------------------------------------------------------------

    @unless_imported
    def environment(self, run_id: str) -> Environment:
        plan = self.folder(run_id).plan()
        name = plan.request.environment
        if not name:
            return environments.made_for_run(plan.requirements, plan.python)
        return self._cache.find(self._cache.environments, "environment", name, known=True)  # a page asks at each look at the run

    @unless_imported
    def activity(self, run_id: str, seconds: float | None = None) -> RunActivity:
        return run_activity.activity(self.get(run_id), self.folder(run_id).logs)

    @unless_imported
    def mini_batch(self, run_id: str, number: int) -> MiniBatchDetail:
        return run_activity.mini_batch(self.get(run_id), self.folder(run_id).logs, number)

    @unless_imported
    def mini_batches(self, run_id: str) -> Iterator[MiniBatchDetail]:
        return run_activity.mini_batches(self.get(run_id), self.folder(run_id).logs)

    @unless_imported
    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        return job_logs.failed_attempts(self.folder(run_id).logs, limit)

    @unless_imported
    def input_file(self, run_id: str, key: RowKey, worker: str) -> Path | None:
        path = path_of(key.file)
        for dataset, manifest in zip(self.get(run_id).request.datasets, self.folder(run_id).plan().manifests, strict=False):
            with os_errors_as(WorkspaceUnavailable, "The list of the dataset's files can't be read"):
                found = bool(path) and any(file.path == path for file in read_manifest(Path(manifest)))
            if found:
                return self._fetch(dataset, path)
        return None

    @unless_imported
    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        """The attempts at a row are not known, only the log lines that name its file."""
        if not key.file:
            return RowTrace(None, "", (), ())
        lines = lines_about(path_of(key.file), self.logs(run_id).values())
        try:
            file = self.input_file(run_id, key, worker)
        except StudioError as error:
            return RowTrace(None, f"The file can't be fetched. {error.message} {error.hint}".rstrip(), (), lines)
        return RowTrace(file, "" if file else "The file is in none of the run's datasets.", (), lines)

    @unless_imported
    def provenance(self, run_id: str) -> Provenance:
        """As far as it is known here: Azure is not asked for it, and what was deleted since is still named."""
        run = self.get(run_id)
        hashes = {model.reference: model.sha256 for model in self._cache.known(self._cache.models)}
        models = [(reference, hashes.get(reference, "")) for reference in run.request.models]
        name = run.request.environment
        known = (environment for environment in self._cache.known(self._cache.environments) if environment.reference == name)
        plan = self.folder(run_id).plan()
        environment = next(known, None) if name else environments.made_for_run(plan.requirements, plan.python)
        return provenance_of(run, models, plan.manifests, environment)

    @unless_imported
    def kept_script(self, run_id: str) -> Path | None:
        """In the snapshot that was sent, where it was made here: a source directory stays a person's own."""
        kept = self.folder(run_id).source / self.get(run_id).request.script_name
        return kept if kept.is_file() else None

    def _logs(self, folder: AzureRunFolder) -> tuple[Sequence[LogFile], Origins]:
        """As far as they are downloaded: a running run's are, now and then. Nodes write UTC."""
        return log_files(folder, _REPORTS, UTC), OriginsByTime(job_logs.spans(folder.logs))

    def _table(self, run: Run) -> Predictions:
        """Azure ML writes the output at the end: before that, there are no rows. Of a run that has ended without any, the items that are
        known to have failed."""
        from services.predictions.reader import open_predictions

        folder = self.folder(run.id)
        return open_predictions(output_reader.make_table(folder, folder.plan(), ended=run.status.ended))

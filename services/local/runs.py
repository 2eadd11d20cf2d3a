"""The runs of the local workspace: submit, watch, cancel, resume, and read what they left. runner.py executes them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import Timeout

from services.domain import Dataset, Environment, Run, RunRequest, RunStatus, TabularDataset, utc_now
from services.errors import NotFound, StudioError, WorkspaceUnavailable, os_errors_as
from services.handover.imported_run import unless_imported
from services.handover.runs import ReadableRuns
from services.local import new_items, output_reader, prediction_table, provenance, reuse, run_activity, run_log_lines
from services.local.batching import cut, files_of, manifest_by_keys, plan_mini_batches
from services.local.environments import check_is_there, what_changed
from services.local.output_reader import worker_name
from services.local.run_folder import LocalRunFolder, PlannedDataset, PlannedModel, RunPlan
from services.predictions.reader import Predictions
from services.run_details import Failure, MiniBatchDetail, Provenance, RowKey, RowTrace, RunActivity
from services.run_logs.search import LogFile, Origins, log_files
from services.storage import run_process
from services.storage.journal import Journal
from services.storage.runs import LOCK_TIMEOUT_SECONDS
from services.storage.store import Store
from services.submission import Inputs

_LOCK_RELEASE_SECONDS = 5.0  # a runner that has recorded the end of its run releases the lock in less


def plan_dataset(dataset: Dataset, keys: tuple[str, ...] | None) -> PlannedDataset:
    """A dataset as a run reads it. Raises NotFound where its manifest is gone."""
    planned = PlannedDataset(dataset.reference, dataset.root, dataset.manifest, dataset.item_count or 0, "", (), dataset.partition_format)
    if isinstance(dataset, TabularDataset):
        planned = replace(planned, format=dataset.format, columns=dataset.columns)
    if not keys:
        return planned
    with os_errors_as(NotFound, f"The list of files of dataset {dataset} can't be read or put in order", "Register the dataset again."):
        return replace(planned, manifest=str(manifest_by_keys(Path(dataset.manifest), dataset.partition_format, keys)))


def make_plan(request: RunRequest, inputs: Inputs) -> RunPlan:
    """What a runner needs to know of a resolved request: the files that its references mean now. Raises NotFound."""
    assert inputs.environment, "a local run always has an interpreter"
    return RunPlan(
        request,
        tuple(plan_dataset(dataset, request.settings.partition_keys) for dataset in inputs.datasets),
        tuple(PlannedModel(m.name, m.version, m.path, m.sha256, m.tags, m.description, m.created_at) for m in inputs.models),
        {name: dataset.root for name, dataset in inputs.side_inputs.items()},
        inputs.environment,
    )


class LocalRuns(ReadableRuns[LocalRunFolder]):
    """`services.workspace.Runs` of one home, and how a run gets there."""

    def __init__(self, home: Path, store: Store) -> None:
        super().__init__(home, store, LocalRunFolder)

    def submit(self, plan: RunPlan, warnings: list[str], changes: Iterator[str], look: new_items.Look | None = None) -> Run:
        """Record the run and return: a runner process executes it. At once completed where an earlier one can be reused.

        `changes` are sentences on files of its datasets that changed since they were registered. `look` is of a run of what is new.
        """
        folder = self._new_folder()
        folder.create(plan)
        columns: dict[str, Any] = {"scored_with": reuse.scored_with(plan)}
        if plan.request.failed_only or look:
            try:
                if look:
                    plan = new_items.restrict_to_new(plan, look, folder)
                else:
                    plan = output_reader.restrict_to_failed(plan, self.folder(str(plan.request.rerun_of)), folder)
            except StudioError:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
            folder.create(plan)
        if look:
            columns["reuse_note"] = look.found.describe()
        else:
            columns |= reuse.reused(self._store, folder, plan, changes)
        mini_batches = plan_mini_batches(plan.datasets, plan.request.settings)
        notes = (*warnings, *mini_batches.notes)
        run, is_new = self._record(folder, plan.request, mini_batches, notes, **columns)
        if is_new:
            self._start(folder)
        return run

    def _start(self, folder: LocalRunFolder) -> None:
        run_process.start(folder, "services.local.runner", self._home)

    def environment_warnings(self, plan: RunPlan) -> list[str]:
        """Which packages differ from those of the last completed run of the same model, dataset and script."""
        earlier = self._store.last_completed(plan.request)
        if earlier is None:
            return []
        with contextlib.suppress(StudioError):  # its folder may be gone
            then = self.folder(earlier.id).plan().environment
            if then.packages and (changes := what_changed(then, plan.environment)):
                return [f"The environment differs from that of {earlier.id}, the last such run that completed: {changes}."]
        return []

    # ---- resume ------------------------------------------------------------------------------------------------------

    @unless_imported
    def resume(self, run_id: str) -> Run:
        """Start a new runner on a run that stopped short. Scored items are kept. Of one that ended, mini-batches whose calls failed are
        tried again; items for which run() returned no row stay failed, as their mini-batch is done."""
        run = self.get(run_id)
        if run.status is RunStatus.COMPLETED:
            raise StudioError(f"Run {run_id} is completed; there is nothing to resume.", "Rerun it to score everything again.")
        folder = self.folder(run_id)
        check_is_there(folder.plan().environment.interpreter)  # raises where the folder is gone
        try:
            with folder.locked(_LOCK_RELEASE_SECONDS if run.status.ended else LOCK_TIMEOUT_SECONDS):
                self._store.check_needs(run.request)
                if run.status.ended and folder.has_journal:
                    with Journal(folder.path, writable=True) as journal:
                        journal.reopen_failed()
                stopped_at = run.stopped_at or run.ended_at or run.heartbeat_at
                fresh = {"stopped_at": stopped_at, "ended_at": None, "error": None, "error_code": None, "heartbeat_at": utc_now()}
                self._store.reopen_run(run.id, run.request, status=RunStatus.QUEUED, cancel_requested=0, **fresh)
                self._start(folder)
        except Timeout as error:
            raise StudioError(f"Run {run_id} has an active runner; there is nothing to resume.", "Cancel it first.") from error
        return self._store.run(run_id)

    # ---- what a run left ---------------------------------------------------------------------------------------------------------

    @unless_imported
    def environment(self, run_id: str) -> Environment:
        return self.folder(run_id).plan().environment

    @unless_imported
    def activity(self, run_id: str, seconds: float | None = None) -> RunActivity:
        return run_activity.activity(self.get(run_id), self.folder(run_id), seconds)

    @unless_imported
    def mini_batch(self, run_id: str, number: int) -> MiniBatchDetail:
        return run_activity.mini_batch(self.get(run_id), self.folder(run_id), number)

    @unless_imported
    def mini_batches(self, run_id: str) -> Iterator[MiniBatchDetail]:
        return run_activity.mini_batches(self.folder(run_id))

    @unless_imported
    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        folder = self.folder(run_id)
        if not folder.has_journal:
            return []
        with Journal(folder.path) as journal:
            failed = journal.failures(limit)
        wanted = {attempt.mini_batch for attempt in failed}
        plan = folder.plan()
        batches = islice((batch for batch in cut(plan.datasets, plan.request.settings) if batch.index in wanted), len(wanted))
        paths = {b.index: tuple(file.path for file in files_of(Path(plan.datasets[b.dataset].manifest), b)) for b in batches}
        return [
            Failure(a.mini_batch, a.attempt, a.status, paths.get(a.mini_batch, ()), a.failed, bool(a.final), worker_name(a), a.error)
            for a in failed
        ]

    def _table(self, run: Run) -> Predictions:
        return prediction_table.open_table(run, self.folder(run.id))

    def _failures(self, run: Run) -> Predictions:
        return prediction_table.open_failures(run, self.folder(run.id))

    def _logs(self, folder: LocalRunFolder) -> tuple[Sequence[LogFile], Origins]:
        return log_files(folder, run_log_lines.REPORTS), run_log_lines.JournalOrigins(folder)

    def output(self, run_id: str) -> dict[str, Path]:
        folder = self.folder(run_id)
        found = folder.output_files()
        if folder.rows_file.is_file() and folder.rows_file.stat().st_size:
            found[folder.partial_file(folder.plan()).name] = folder.rows_file
        return found

    @unless_imported
    def input_file(self, run_id: str, key: RowKey, worker: str) -> Path | None:
        return provenance.input_file(self.folder(run_id), key, worker)

    @unless_imported
    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        return provenance.trace(self.folder(run_id), key, worker)

    @unless_imported
    def provenance(self, run_id: str) -> Provenance:
        return provenance.provenance(self._store.run(run_id), self.folder(run_id))

    @unless_imported
    def kept_script(self, run_id: str) -> Path | None:
        """That of the run whose output was reused, where this one took it."""
        folder = self.folder(self._store.run(run_id).reused_from or run_id)
        try:
            kept = folder.kept_script(folder.plan())
        except WorkspaceUnavailable:  # its folder is gone
            return None
        return kept if kept.is_file() else None

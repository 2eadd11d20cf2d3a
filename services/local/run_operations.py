"""The runs of the local workspace: submit, watch, cancel, resume, and read what they left. Carrying one out is runner.py's."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from services.domain import Dataset, Environment, Failure, Model, Run, RunRequest, RunStatus, TabularDataset, utc_now
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.intake.partition_format import PartitionFormat
from services.local import output_reader, provenance, reuse
from services.local.batching import cut, files_of, manifest_by_keys, plan_mini_batches
from services.local.environments import check_is_there, what_changed
from services.local.output_reader import worker_name
from services.local.run_folder import PlannedDataset, PlannedModel, RunFolder, RunPlan
from services.predictions.annotations import RowKey
from services.predictions.provenance import Provenance, RowTrace
from services.predictions.writer import table_name
from services.settings import ParallelRunSettings
from services.storage import run_process
from services.storage.journal import Journal
from services.storage.store import Store

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_MOST_WORKERS = 64 * (os.cpu_count() or 1)
_LOCK_TIMEOUT_SECONDS = 0.3  # seconds: somebody who looks whether the run is carried out holds its lock for less
_LOCK_RELEASE_SECONDS = 5.0  # seconds: who has written down that a run ended lets go of its lock in less
_REBUILD_SECONDS = 3.0  # seconds between two tables of partial results, and a second more for each megabyte that the last one has
_LARGE = 200_000  # items, half a second's work


def check_settings(request: RunRequest, datasets: list[Dataset]) -> None:
    """What this workspace can't honour. Raises SettingsError naming the field."""
    settings = request.settings
    if settings.worker_count > _MOST_WORKERS:
        text = f"{settings.worker_count:,} worker processes are more than this machine should start"
        raise SettingsError("node_count", text, f"Keep node count × processes per node at {_MOST_WORKERS:,} or fewer.")
    check_cut(datasets, settings)
    if request.source_directory and not Path(request.source_directory).is_dir():
        raise SettingsError("source_directory", f"“{request.source_directory}” is no folder", "Give the folder of the script's modules.")


def check_cut(datasets: Sequence[Dataset], settings: ParallelRunSettings) -> None:
    """What these datasets can't be cut by. Raises SettingsError naming the field."""
    first = datasets[0]
    for other in datasets:
        if other.type != first.type:
            text = f"{first} is a {first.type} dataset and {other} a {other.type} dataset"
            raise SettingsError("dataset", text, "Choose datasets of one type.")
    if first.type == "file" and settings.mini_batch_size and not settings.mini_batch_size.isdecimal():
        text = f"“{settings.mini_batch_size}” is a size in bytes, and {first} is a file dataset"
        raise SettingsError("mini_batch_size", text, "Give a number of files, such as 10.")
    for dataset in datasets if settings.partition_keys else ():
        known = PartitionFormat.parse(dataset.partition_format).keys if dataset.partition_format else ()
        if not known:
            text = f"{dataset} was registered without a partition format"
            raise SettingsError("partition_keys", text, "Leave the partition keys empty, or register it with a partition format.")
        for key in settings.partition_keys or ():
            if key not in known:
                text = f"“{key}” is no key of {dataset}, whose partition format is {dataset.partition_format}"
                raise SettingsError("partition_keys", text, f"Its keys are {', '.join(known)}.")


def plan_dataset(dataset: Dataset, keys: tuple[str, ...] | None) -> PlannedDataset:
    """A dataset as a run reads it. Raises NotFound where its manifest is gone."""
    planned = PlannedDataset(dataset.reference, dataset.root, dataset.manifest, dataset.item_count or 0, "", (), dataset.partition_format)
    if isinstance(dataset, TabularDataset):
        planned = replace(planned, format=dataset.format, columns=dataset.columns)
    if not keys:
        return planned
    try:
        return replace(planned, manifest=str(manifest_by_keys(Path(dataset.manifest), dataset.partition_format, keys)))
    except OSError as error:
        why = f"The list of files of dataset {dataset} can't be read or put in order: {error.strerror or error}."
        raise NotFound(why, "Register the dataset again.") from error


def make_plan(
    request: RunRequest,
    script: Path,
    datasets: list[Dataset],
    models: list[Model],
    side_inputs: dict[str, Dataset],
    environment: Environment,
) -> RunPlan:
    """The request, with every reference resolved to the version and the files it means now."""
    source = str(Path(request.source_directory).absolute()) if request.source_directory else None
    resolved = replace(
        request,
        entry_script=str(script),
        source_directory=source,
        datasets=tuple(dataset.reference for dataset in datasets),
        models=tuple(model.reference for model in models),
        side_inputs={name: dataset.reference for name, dataset in side_inputs.items()},
        environment=environment.reference or None,
    )
    return RunPlan(
        resolved,
        tuple(plan_dataset(dataset, request.settings.partition_keys) for dataset in datasets),
        tuple(PlannedModel(m.name, m.version, m.path, m.sha256) for m in models),
        {name: dataset.root for name, dataset in side_inputs.items()},
        environment,
    )


class RunOperations:
    """The runs of one home."""

    def __init__(self, home: Path, store: Store) -> None:
        self._home = home
        self._store = store

    def submit(self, plan: RunPlan, warnings: list[str], changes: Iterator[str]) -> Run:
        """Record the run, then let go of it: a runner process carries it out. At once completed where an earlier one can be reused.

        `changes` are sentences on files of its datasets that changed since they were registered.
        """
        run_id = f"run-{utc_now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        folder = self._folder(run_id)
        folder.create(plan)
        if plan.request.failed_only:
            try:
                plan = output_reader.restrict_to_failed(plan, self._folder(str(plan.request.rerun_of)), folder)
            except StudioError:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
            folder.create(plan)
        cut_to = plan_mini_batches(plan.datasets, plan.request.settings)
        known = reuse.reused(self._store, folder, plan, changes)
        run = self._store.insert_run(run_id, plan.request, cut_to.item_count, cut_to.mini_batch_count, tuple(warnings), **known)
        if run.id != run_id:  # a second click
            shutil.rmtree(folder.path, ignore_errors=True)
        elif not run.status.ended:
            self._start(run_id)
        return run

    def check_rerun(self, request: RunRequest) -> None:
        """Whether the failed items of the run that `request` does again are there to be scored. Raises NotFound, StudioError."""
        if not request.failed_only:
            return
        run = self.one(str(request.rerun_of))
        if not run.status.ended:
            advice = "Wait for its end, or cancel it." if run.status is not RunStatus.NOT_RESPONDING else "Resume it, or cancel it."
            raise StudioError(f"Run {run.id} has not ended: which of its items fail isn't known yet.", advice)
        if run.items_succeeded == run.items_total:
            raise StudioError(f"Nothing failed in run {run.id}.", "Rerun it whole to score everything again.")

    def _folder(self, run_id: str) -> RunFolder:
        return RunFolder(self._home, run_id)

    def _start(self, run_id: str) -> None:
        run_process.start(self._folder(run_id), "services.local.runner", self._home)

    def environment_warnings(self, plan: RunPlan) -> list[str]:
        """What is installed otherwise than it was for the last such run that completed."""
        before = self._store.last_completed(plan.request)
        if before is None:
            return []
        with contextlib.suppress(StudioError):  # its folder may be gone
            then = self._folder(before.id).plan().environment
            if then.packages and (changes := what_changed(then, plan.environment)):
                return [f"The environment is not that of {before.id}, the last such run that completed: {changes}."]
        return []

    # ---- watching -------------------------------------------------------------------------------------------------------------

    def all(self, limit: int) -> list[Run]:
        return [self._with_liveness(run) for run in self._store.runs(limit)]

    def one(self, run_id: str) -> Run:
        return self._with_liveness(self._store.run(run_id))

    def _with_liveness(self, run: Run) -> Run:
        return run_process.with_liveness(run, self._folder(run.id), self._store)

    def any_before(self, run_id: str) -> bool:
        """Whether a run that was submitted before this one still waits for its turn."""
        runs = self._store.unended_runs()
        mine = next(run for run in runs if run.id == run_id)
        older = (run for run in runs if (run.submitted_at, run.id) < (mine.submitted_at, mine.id))
        waiting = (RunStatus.NOT_STARTED, RunStatus.QUEUED)
        return any(run.status in waiting and self._with_liveness(run).status in waiting for run in older)

    # ---- changing course ------------------------------------------------------------------------------------------------------

    def cancel(self, run_id: str) -> Run:
        """Ask the runner for the end. Where there is none, the run is canceled here and now."""
        if self.one(run_id).status.ended:
            return self.one(run_id)
        self._store.request_cancel(run_id)
        with contextlib.suppress(Timeout), self._folder(run_id).locked(_LOCK_TIMEOUT_SECONDS):
            if not self._store.run(run_id).status.ended:
                ended = {"error": "Canceled on request.", "error_code": None, "workers": 0, "rate": None}
                self._store.update_run(run_id, status=RunStatus.CANCELED, ended_at=utc_now(), **ended)
        return self.one(run_id)

    def resume(self, run_id: str) -> Run:
        """Start a new runner on a run that stopped short. What is scored stays; what failed is tried anew."""
        run = self.one(run_id)
        if run.status is RunStatus.COMPLETED:
            raise StudioError(f"Run {run_id} is completed; there is nothing to resume.", "Rerun it to score everything again.")
        folder = self._folder(run_id)
        check_is_there(folder.plan().environment.interpreter)  # says so where the folder is gone
        try:
            with folder.locked(_LOCK_RELEASE_SECONDS if run.status.ended else _LOCK_TIMEOUT_SECONDS):
                if run.status.ended and folder.has_journal:
                    with Journal(folder.path, writable=True) as journal:
                        journal.reopen_failed()
                self._store.clear_cancel(run_id)
                fresh = {"ended_at": None, "error": None, "error_code": None, "heartbeat_at": utc_now()}
                self._store.update_run(run_id, status=RunStatus.QUEUED, **fresh)
                self._start(run_id)
        except Timeout as error:
            raise StudioError(f"Run {run_id} is being carried out; there is nothing to resume.", "Cancel it first.") from error
        return self._store.run(run_id)

    # ---- what it left ---------------------------------------------------------------------------------------------------------

    def environment(self, run_id: str) -> Environment:
        self._store.run(run_id)
        return self._folder(run_id).plan().environment

    def failures(self, run_id: str, limit: int) -> list[Failure]:
        folder = self._folder(run_id)
        self._store.run(run_id)
        if not folder.has_journal:
            return []
        with Journal(folder.path) as journal:
            failed = journal.failures(limit)
        wanted = {attempt.mini_batch for attempt in failed}
        plan = folder.plan()
        items = {}
        for batch in cut(plan.datasets, plan.request.settings):
            if batch.index in wanted:
                items[batch.index] = tuple(file.path for file in files_of(Path(plan.datasets[batch.dataset].manifest), batch))
                if len(items) == len(wanted):
                    break
        return [
            Failure(a.mini_batch, a.attempt, a.status, items.get(a.mini_batch, ()), a.failed, bool(a.final), worker_name(a), a.error)
            for a in failed
        ]

    def logs(self, run_id: str) -> dict[str, Path]:
        self._store.run(run_id)
        return self._folder(run_id).log_files()

    def output(self, run_id: str) -> dict[str, Path]:
        self._store.run(run_id)
        folder = self._folder(run_id)
        found = folder.output_files()
        if folder.rows_file.is_file() and folder.rows_file.stat().st_size:
            found[folder.partial_file(folder.plan()).name] = folder.rows_file
        return found

    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        self._store.run(run_id)
        return provenance.trace(self._folder(run_id), key, worker)

    def provenance(self, run_id: str) -> Provenance:
        return provenance.provenance(self._store.run(run_id), self._folder(run_id))

    def predictions(self, run_id: str) -> Predictions:
        """The typed table of what is settled by now, made again when there is more."""
        from services.predictions.open_tables import open_predictions
        from services.predictions.selections import remove_table
        from services.predictions.writer import make_table

        run = self._store.run(run_id)
        if run.request.settings.output_action == "summary_only":
            raise NotFound(f"Run {run_id} has no rows: its script writes its own output.", "Download the output files instead.")
        folder = self._folder(run_id)
        last = 0
        for each, _ in output_reader.chain(folder):
            if each.has_journal:
                with Journal(each.path) as journal:
                    last += journal.last_seq()
        table = folder.path / table_name(last)
        if (made := self._table(folder, table, run)) is not None:
            return made
        try:
            with FileLock(folder.path / "predictions.lock"):  # tabs that ask at once wait for one table
                if (made := self._table(folder, table, run)) is not None:
                    return made
                make_table(output_reader.settled(folder), table)
                predictions = open_predictions(table)
                for path in folder.path.glob("predictions-*.parquet"):
                    if path != table:
                        remove_table(path)
                return predictions
        except OSError as error:
            raise WorkspaceUnavailable(f"The run's folder, {folder.path}, can't be written: {error.strerror or error}.") from error

    def _table(self, folder: RunFolder, table: Path, run: Run) -> Predictions | None:
        """What is made already: this table, or of a run that goes on one that is fresh enough."""
        from services.predictions.open_tables import open_predictions

        with contextlib.suppress(FileNotFoundError, NotFound):  # another tab may have made a newer one and removed this
            if table.is_file():
                return open_predictions(table)
            older = sorted(folder.path.glob(table_name("*")), key=lambda path: path.stat().st_mtime)
            if older and not run.status.ended:
                last = older[-1].stat()
                if time.time() - last.st_mtime < _REBUILD_SECONDS + last.st_size / 1e6:
                    return open_predictions(older[-1])
        return None

    def make_large_table(self, run_id: str) -> None:
        """Of a run that has ended: a table that takes long to make is there before somebody asks. No word where it can't."""
        run = self._store.run(run_id)
        if run.status.ended and (run.items_total or 0) >= _LARGE:
            with contextlib.suppress(StudioError):
                self.predictions(run_id)

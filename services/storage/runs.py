"""The runs of one home as its registry and their folders have them: what is the same for every workspace."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import Timeout

from services.domain import ResourceKind, Run, RunRequest, RunStatus, utc_now
from services.errors import WorkspaceUnavailable, os_errors_as
from services.run_details import LinkedRuns
from services.run_query import RunChoices, RunPage, RunQuery
from services.storage import run_process
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.run_folder import RunFolder
from services.storage.store import Store

F = TypeVar("F", bound=RunFolder[Any])

LOCK_TIMEOUT_SECONDS = 0.3
"""Whoever only checks whether a run has a runner holds its lock for less."""

_MOST_LINKED = 2_000
"""Runs whose models or datasets are looked at: some 20 ms."""


class StoredRuns(Generic[F]):
    """`folder_of(home, run_id)` is how a workspace opens a run's folder. All raise NotFound for a run that the registry doesn't have."""

    def __init__(self, home: Path, store: Store, folder_of: Callable[[Path, str], F]) -> None:
        self._home = home
        self._store = store
        self._folder_of = folder_of

    def latest(self, limit: int = 1000) -> list[Run]:
        """The newest runs first, each as it is now: one without an active runner reads NotResponding."""
        return [self._now(run) for run in self._store.runs(limit)]

    def search(self, query: RunQuery) -> RunPage:
        """The runs that a query asks for, each as it is now."""
        runs, statuses = self._store.search(query, _status_and_seconds(self._live().values()))
        total = sum(count for status, count in statuses.items() if status in (query.statuses or statuses))
        return RunPage(total, tuple(map(self._with_reason, runs)), statuses)

    def rows(self, columns: Sequence[str], *, archived: bool = False) -> list[tuple[Any, ...]]:
        """These of RUN_COLUMNS of every run, as it is now, in the order of the list; with `archived` also of archived runs."""
        return self._store.run_rows(columns, _status_and_seconds(self._live().values()), archived=archived)

    def choices(self) -> RunChoices:
        """What the runs have that one can search by."""
        return self._store.run_choices()

    def get(self, run_id: str) -> Run:
        """One run as it is now."""
        return self._now(self._store.run(run_id))

    def ended_since(self, moment: datetime) -> list[Run]:
        """The runs that ended after that moment, the first one first."""
        return self._store.ended_since(moment)

    def linked(self, kind: ResourceKind, reference: str, limit: int = 20) -> LinkedRuns:
        """The newest runs that name this model, dataset, environment or earlier run, and what they name beside it."""
        runs, count = self._store.runs_linked(kind, reference, limit)
        models, datasets = (
            self._store.linked_to(kind, reference, other, _MOST_LINKED) if other is not kind else {}
            for other in (ResourceKind.MODEL, ResourceKind.DATASET)
        )
        return LinkedRuns(tuple(map(self._now, runs)), count, models, datasets)

    def logs(self, run_id: str) -> dict[str, Path]:
        """The log files by their name in Azure's layout, those for people first."""
        return self.folder(run_id).log_files()

    def output(self, run_id: str) -> dict[str, Path]:
        """The files in the output folder, by name."""
        return self.folder(run_id).output_files()

    def folder(self, run_id: str) -> F:
        """The folder of a run that the registry has."""
        self._store.run(run_id)
        return self._folder_of(self._home, run_id)

    def cancel(self, run_id: str) -> Run:
        """Ask the runner to end the run; where it has no active runner, it is canceled here and now. Ended runs stay as they are."""
        run = self.get(run_id)
        if run.status.ended:
            return run
        self._store.request_cancel(run_id)
        folder = self.folder(run_id)
        with suppress(Timeout), folder.locked(LOCK_TIMEOUT_SECONDS):
            if not self._store.run(run_id).status.ended:
                self._cancel_without_runner(folder)
        return self.get(run_id)

    def _cancel_without_runner(self, folder: F, message: str = "Canceled on request.") -> None:
        """To be called with the run's lock."""
        ended = {"error": message, "error_code": None, "workers": 0, "rate": None}
        self._store.update_run(folder.path.name, status=RunStatus.CANCELED, ended_at=utc_now(), **ended)

    # ---- runs of other homes -----------------------------------------------------------------------------------------------------

    def imported(self, run_id: str) -> Run | None:
        """A run that was imported; None for one of this home."""
        run = self._store.run(run_id)
        return run if run.imported_from else None

    def imported_as(self, digest: str) -> Run | None:
        """The run that an archive of this digest was imported as; None where none was."""
        return self._store.imported_as(digest)

    def adopt(self, run: Run, folder: Path, digest: str, prepare: Callable[[str], None]) -> tuple[Run, bool]:
        """Enter a run that was executed elsewhere and has ended, with what people said of it; `folder`, in this home, becomes its own in
        one step, after `prepare` was called with its id. It keeps its id where no run has it. Where an archive of this digest was entered
        before, that run, and False; then nothing is changed. Raises WorkspaceUnavailable."""
        placed: list[Path] = []

        def place() -> str:
            run_id = run.id
            while self._store.has_run(run_id) or not self._is_free(self._folder_of(self._home, run_id)):
                run_id = self._new_folder().path.name
            prepare(run_id)
            with os_errors_as(WorkspaceUnavailable, f"The run's folder can't be made in {self._home}"):
                os.replace(folder, self._folder_of(self._home, run_id).path)
            placed.append(self._folder_of(self._home, run_id).path)
            return run_id

        try:
            return self._store.insert_imported(run, digest, place)
        except BaseException:  # it is raised again: the registry does not know the folder
            for path in placed:
                shutil.rmtree(path, ignore_errors=True)
            raise

    @staticmethod
    def _is_free(folder: F) -> bool:
        """Whether the folder of an id that no run has can be made. What an import left that was killed before the registry knew of it is
        removed: it has no plan, as every run has that was submitted here."""
        if folder.path.is_dir() and not folder.plan_file.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
        return not folder.path.exists()

    def any_before(self, run_id: str) -> bool:
        """Whether a run that was submitted before this one is still queued."""
        runs = self._store.unended_runs()
        this = next(run for run in runs if run.id == run_id)
        older = (run for run in runs if (run.submitted_at, run.id) < (this.submitted_at, this.id))
        waiting = (RunStatus.NOT_STARTED, RunStatus.QUEUED)
        return any(run.status in waiting and self._now(run).status in waiting for run in older)

    def _new_folder(self) -> F:
        """The folder, not made yet, of a run that is about to be submitted."""
        return self._folder_of(self._home, f"run-{utc_now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")

    def _record(self, folder: F, request: RunRequest, plan: MiniBatchPlan, warnings: Iterable[str], **columns: Any) -> tuple[Run, bool]:
        """Enter a run into the registry; `columns` are further ones of it. And whether its runner is to be started: not where the run has
        ended already, nor on a double click, which gives the first click's run and removes this new folder."""
        counts = (plan.item_count, plan.mini_batch_count)
        run = self._store.insert_run(folder.path.name, request, *counts, tuple(warnings), **columns)
        if run.id != folder.path.name:
            shutil.rmtree(folder.path, ignore_errors=True)
            return run, False
        return run, not run.status.ended

    def _live(self) -> dict[str, Run]:
        """The runs that have not ended, each with its status as it is now."""
        return {run.id: self._status_now(run) for run in self._store.unended_runs()}

    def _status_now(self, run: Run) -> Run:
        """A run that hasn't ended with its status as it is now, which costs less than the reason for it."""
        responds = run_process.responds(run, self._folder_of(self._home, run.id))
        return run if responds else replace(run, status=RunStatus.NOT_RESPONDING)

    def _with_reason(self, run: Run) -> Run:
        if run.status is not RunStatus.NOT_RESPONDING:
            return run
        return run_process.not_responding(run, self._folder_of(self._home, run.id))

    def _now(self, run: Run) -> Run:
        return run_process.with_liveness(run, self._folder_of(self._home, run.id), self._store)


def _status_and_seconds(runs: Iterable[Run]) -> list[tuple[str, RunStatus, float | None]]:
    return [(run.id, run.status, run.duration) for run in runs]

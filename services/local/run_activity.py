"""How a local run goes, by its journal and the end of its rows; and one of its mini-batches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from services.domain import MiniBatch, Run, RunStatus
from services.errors import NotFound, WorkspaceUnavailable, os_errors_as
from services.local.batching import cut, items_of, rows_of
from services.local.output_reader import worker_name
from services.local.run_folder import LocalRunFolder, RunPlan
from services.run_details import MiniBatchAttempt, MiniBatchDetail, RunActivity
from services.scoring.run_cost import with_timeout
from services.storage import activity as journal_activity
from services.storage.file_tree import tail
from services.storage.journal import Attempt, Journal, WorkerNow
from services.storage.sqlite import translated_errors

_LAST_ROWS, _LAST_BYTES = 6, 8_000
_MOST_ITEMS = 1_000


def activity(run: Run, folder: LocalRunFolder, seconds: float | None = None) -> RunActivity:
    """How it goes now, or went. Cheap where it was asked for before, for at most about so many `seconds`: see storage/activity.py. Raises
    WorkspaceUnavailable."""
    settings = run.request.settings
    now = time.time() if run.status in (RunStatus.RUNNING, RunStatus.CANCEL_REQUESTED) else None
    if folder.has_journal:
        with Journal(folder.path) as journal, translated_errors(journal.path, "The run's journal"):
            gathered, workers = journal_activity.gather(journal, seconds), journal_activity.Workers.of(journal)
            last_ended_at = journal.latest_attempt_ended_at()
        told = replace(journal_activity.activity_of(gathered, workers, now=now), last_ended_at=last_ended_at)
    else:
        begin = (run.started_at or run.submitted_at).timestamp()
        told = RunActivity(begin, now or begin, 1.0)
    rows = _last_rows(folder) if settings.output_action == "append_row" else ()
    return replace(with_timeout(told, settings.run_invocation_timeout), last_rows=rows)


def _last_rows(folder: LocalRunFolder) -> tuple[str, ...]:
    """The last whole lines of the output so far."""
    try:
        path = folder.rows(folder.plan())
        text = tail(path, _LAST_BYTES)[0] if path else ""
    except (OSError, WorkspaceUnavailable):
        return ()
    lines = text.split("\n")[:-1]
    if len(text) >= _LAST_BYTES - 4:
        lines = lines[1:]  # half a line
    return tuple(lines[-_LAST_ROWS:])


# ---- one mini-batch ----------------------------------------------------------------------------------------------------------------------


def mini_batch(run: Run, folder: LocalRunFolder, number: int) -> MiniBatchDetail:
    """Its items and the attempts at it. Raises NotFound for a number that the run doesn't have, WorkspaceUnavailable."""
    plan = folder.plan()
    batch = _batch(folder, number)
    attempts: list[Attempt] = []
    on: WorkerNow | None = None
    if folder.has_journal:
        with Journal(folder.path) as journal, translated_errors(journal.path, "The run's journal"):
            attempts = journal.attempts_at(number)
            if not run.status.ended and run.status is not RunStatus.NOT_RESPONDING:
                on = next((worker for worker in journal.workers_now() if worker.mini_batch == number), None)
    running = (journal_activity.worker_name(on.node, on.process), datetime.fromtimestamp(on.since, UTC)) if on else ("", None)
    return _detail(plan, batch, _items(plan, batch), attempts, *running)


def mini_batches(folder: LocalRunFolder) -> Iterator[MiniBatchDetail]:
    """All of them with the attempts at them, without the names of their items. Raises WorkspaceUnavailable."""
    plan = folder.plan()
    with ExitStack() as opened, os_errors_as(WorkspaceUnavailable, f"The list of files of run {folder.path.name} can't be read"):
        attempts: Iterator[Attempt] = iter(())
        if folder.has_journal:
            journal = opened.enter_context(Journal(folder.path))
            opened.enter_context(translated_errors(journal.path, "The run's journal"))
            attempts = journal.attempts(order="mini_batch")
        following = next(attempts, None)
        for batch in cut(plan.datasets, plan.request.settings):
            at_it = []
            while following and following.mini_batch <= batch.index:
                at_it += [following] * (following.mini_batch == batch.index)
                following = next(attempts, None)
            yield _detail(plan, batch, (), at_it)


def _detail(
    plan: RunPlan,
    batch: MiniBatch,
    items: Sequence[str],
    attempts: Iterable[Attempt],
    running_on: str = "",
    running_since: datetime | None = None,
) -> MiniBatchDetail:
    dataset = plan.datasets[batch.dataset]
    return MiniBatchDetail(
        batch.index,
        dataset.reference,
        "row" if dataset.format else "file",
        batch.item_count,
        tuple(items),
        tuple(
            MiniBatchAttempt(
                a.attempt, a.status, worker_name(a), datetime.fromtimestamp(a.started_at, UTC), a.elapsed, a.run_seconds,
                a.succeeded, a.failed, bool(a.final), a.error,
            )
            for a in attempts
        ),
        running_on,
        running_since,
    )  # fmt: skip


def _batch(folder: LocalRunFolder, number: int) -> MiniBatch:
    try:
        batch = _cut_at(folder.path, number, os.stat(folder.plan_file).st_mtime_ns) if number >= 0 else None
    except OSError as error:
        raise WorkspaceUnavailable(f"The list of files of run {folder.path.name} can't be read: {error}.") from error
    if batch is None:
        raise NotFound(f"Run {folder.path.name} has no mini-batch {number}.", "They are numbered from 0, as in the table of predictions.")
    return batch


@lru_cache(maxsize=256)
def _cut_at(path: Path, number: int, _modified_ns: int) -> MiniBatch | None:
    """Kept, since the manifest is read up to there: a second where it has millions of lines. A plan never changes."""
    plan = LocalRunFolder(path.parents[1], path.name).plan()
    return next(islice(cut(plan.datasets, plan.request.settings), number, None), None)


def _items(plan: RunPlan, batch: MiniBatch) -> list[str]:
    """The first items; of a table which rows of which files. An empty list where the manifest is gone."""
    dataset = plan.datasets[batch.dataset]
    try:
        with open(dataset.manifest, "rb") as manifest:
            if not dataset.format:
                return items_of(manifest, batch)[:_MOST_ITEMS]
            paths, numbers = rows_of(manifest, batch)
    except OSError:
        return []
    names, place = [], 0
    for first, count in numbers:
        known = not plan.request.failed_only  # the numbers are right in a list of all slices
        names.append(f"{paths[place]}, rows {first:,} to {first + count - 1:,}" if known else paths[place])
        place += count
    return names[:_MOST_ITEMS]

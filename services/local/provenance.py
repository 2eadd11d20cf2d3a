"""Where a run's rows come from, on this machine: read from its plan, its journal, its logs and the input files."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from services.domain import Run
from services.local.batching import cut
from services.local.output_reader import worker_name
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.local.worker_process import WorkerPlace
from services.predictions.columns import path_of
from services.predictions.provenance import MAX_LOG_LINES, log_lines, mention_of, provenance_of
from services.run_details import Provenance, RowAttempt, RowKey, RowTrace
from services.storage.journal import Attempt, Journal

_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")


def trace(folder: LocalRunFolder, key: RowKey, worker: str) -> RowTrace:
    """Of one row. A row that an earlier run scored has that run's name in `worker`."""
    own, _, earlier = worker.partition(" of ")
    if earlier:
        folder = folder.of(earlier)
    plan = folder.plan()
    attempts: list[Attempt] = []
    if folder.has_journal:
        with Journal(folder.path) as journal:
            attempts = journal.attempts_at(key.mini_batch)
    tries = [
        RowAttempt(a.attempt, a.status, worker_name(a), datetime.fromtimestamp(a.started_at, UTC), a.run_seconds, a.error) for a in attempts
    ]
    file = _input(plan, key)
    log = _log(folder, attempts[-1], Path(key.file).name) if attempts and worker_name(attempts[-1]) == own else ()
    return RowTrace(file, _changed(file, attempts), tuple(tries), tuple(log))


def input_file(folder: LocalRunFolder, key: RowKey, worker: str) -> Path | None:
    """The file of one row; None where it is gone. `worker`: see `trace`."""
    earlier = worker.partition(" of ")[2]
    return _input((folder.of(earlier) if earlier else folder).plan(), key)


def _input(plan: RunPlan, key: RowKey) -> Path | None:
    if not key.file:
        return None
    root = _dataset(plan, key.mini_batch).root
    return path if (path := Path(root, path_of(key.file))).is_file() else None


def _dataset(plan: RunPlan, mini_batch: int) -> PlannedDataset:
    if len(plan.datasets) == 1:
        return plan.datasets[0]
    batches = (batch for batch in cut(plan.datasets, plan.request.settings) if batch.index == mini_batch)
    return plan.datasets[next(batches).dataset]


def _changed(file: Path | None, attempts: list[Attempt]) -> str:
    if file is None:
        return "The file is not there any more."
    if attempts and file.stat().st_mtime > attempts[-1].started_at:
        return "The file was changed after it was scored."
    return ""


def _log(folder: LocalRunFolder, attempt: Attempt, name: str) -> list[str]:
    """Lines of the worker's output that name the file, or that are of the time of the attempt."""
    place = WorkerPlace(attempt.node, attempt.process, folder.logs, folder.work)
    begin, end = attempt.started_at - 0.001, attempt.started_at + attempt.elapsed + 0.001
    mention = mention_of(name) if name else None
    lines: list[str] = []
    for kind in ("stdout", "stderr"):
        within = False
        for line in log_lines(place.log(kind)):
            if time := _TIME.match(line):
                at = datetime.strptime(time[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(time[2]) / 1000
                within = begin <= at <= end
            if within or (mention and mention.search(line)):
                lines.append(line)
                if len(lines) >= MAX_LOG_LINES:
                    return lines
    return lines


def provenance(run: Run, folder: LocalRunFolder) -> Provenance:
    plan = folder.plan()
    models = [(f"{model.name}:{model.version}", model.sha256) for model in plan.models]
    return provenance_of(run, models, [dataset.manifest for dataset in plan.datasets], plan.environment, plan.inputs)

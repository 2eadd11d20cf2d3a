"""Where a run's rows come from, on this machine: read from its plan, its journal, its logs and the input files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from services.domain import Provenance, RowAttempt, RowKey, RowTrace, Run
from services.local.batching import cut
from services.local.output_reader import worker_name
from services.local.run_folder import PlannedDataset, RunFolder, RunPlan
from services.local.worker_process import WorkerPlace
from services.predictions.provenance import sha256_of
from services.predictions.writer import path_of
from services.storage.journal import Attempt, Journal

_READ_OF_A_LOG = 16_000_000  # bytes
_MOST_LINES = 200
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")


def trace(folder: RunFolder, key: RowKey, worker: str) -> RowTrace:
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


def _input(plan: RunPlan, key: RowKey) -> Path | None:
    if not key.file:
        return None
    root = _dataset(plan, key.mini_batch).root
    return path if (path := Path(root, path_of(key.file))).is_file() else None


def _dataset(plan: RunPlan, mini_batch: int) -> PlannedDataset:
    if len(plan.datasets) == 1:
        return plan.datasets[0]
    found = (batch for batch in cut(plan.datasets, plan.request.settings) if batch.index == mini_batch)
    return plan.datasets[next(found).dataset]


def _changed(file: Path | None, attempts: list[Attempt]) -> str:
    if file is None:
        return "The file is not there any more."
    if attempts and file.stat().st_mtime > attempts[-1].started_at:
        return "The file was changed after it was scored."
    return ""


def _log(folder: RunFolder, attempt: Attempt, name: str) -> list[str]:
    """Lines of the worker's output that name the file, or that are of the time of the attempt."""
    place = WorkerPlace(attempt.node, attempt.process, folder.logs, folder.work)
    begin, end = attempt.started_at - 0.001, attempt.started_at + attempt.elapsed + 0.001
    named = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])") if name else None  # 1.csv is not named where 21.csv is
    found: list[str] = []
    for kind, ending in (("stdout", "stdout.txt"), ("stderr", "stderr.txt")):
        within = False
        for line in _lines(place.log(kind, ending)):
            if time := _TIME.match(line):
                at = datetime.strptime(time[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(time[2]) / 1000
                within = begin <= at <= end
            if within or (named and named.search(line)):
                found.append(line)
                if len(found) >= _MOST_LINES:
                    return found
    return found


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            read = 0
            for line in file:
                read += len(line)
                if read > _READ_OF_A_LOG:
                    return
                yield line.rstrip("\n")
    except OSError:
        return  # a worker that said nothing has no such file


def provenance(run: Run, folder: RunFolder) -> Provenance:
    """What went into this run."""
    plan = folder.plan()
    request = plan.request
    return Provenance(
        run=run.id,
        title=run.title,
        status=run.status,
        submitted_at=run.submitted_at,
        ended_at=run.ended_at,
        models=tuple((f"{model.name}:{model.version}", model.sha256) for model in plan.models),
        datasets=tuple((dataset.reference, sha256_of(Path(dataset.manifest))) for dataset in plan.datasets),
        script=(request.script_name, sha256_of(Path(request.entry_script))),
        settings=request.settings.as_dict(),
        python=plan.environment.python_version,
        packages=plan.environment.packages,
        inputs=plan.inputs,
        reused_from=run.reused_from,
        rerun_of=request.rerun_of or None,
    )

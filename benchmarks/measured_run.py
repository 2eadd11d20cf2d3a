"""Runs of the local workspace, and what their journals say about time. Nothing in the engine is changed or watched for it, but that
`/proc` is asked for the runner's memory."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.domain import Dataset, FileDataset, Run, RunRequest, RunStatus
from services.local.run_folder import LocalRunFolder
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from services.storage.journal import Attempt, Journal
from services.storage.store import Store

NOTHING = "def run(mini_batch):\n    return mini_batch\n"
FIRST_FIFTH = 5  # what comes before it is warming up


@dataclass(frozen=True)
class MeasuredRun:
    """A completed run. Times are seconds since 1970; `peak_memory` is the runner's in bytes, None where there is no /proc; `seconds_after`
    is how long the runner went on after the end, to make the table of predictions."""

    run: Run
    submitted_at: float
    attempts: list[Attempt]
    peak_memory: int | None
    seconds_after: float = 0.0

    @property
    def seconds(self) -> float:
        """From the call of submit() to the end."""
        return self._ended_at - self.submitted_at

    @property
    def _ended_at(self) -> float:
        assert self.run.ended_at
        return self.run.ended_at.timestamp()

    def per_mini_batch(self) -> float:
        """Seconds from a fifth of the run to its very end, reports and shutdown included, for each mini-batch that began in between."""
        starts = sorted(attempt.started_at for attempt in self.attempts)
        warm = len(starts) // FIRST_FIFTH
        return (self._ended_at - starts[warm]) / (len(starts) - warm)

    def per_item(self) -> float:
        """Seconds an item in steady state: while all workers are at work, none at its first mini-batch.

        Each worker's pace is what it began between two of its own starts, waiting for the runner included; the paces are added up.
        """
        workers: dict[tuple[int, int], list[Attempt]] = {}
        for attempt in sorted(self.attempts, key=lambda attempt: attempt.started_at):
            workers.setdefault((attempt.node, attempt.process), []).append(attempt)
        begin = max(own[1].started_at for own in workers.values())
        end = min(own[-1].started_at for own in workers.values())
        pace = 0.0
        for own in workers.values():
            steady = [attempt for attempt in own if begin <= attempt.started_at <= end]
            pace += sum(attempt.total for attempt in steady[:-1]) / (steady[-1].started_at - steady[0].started_at)
        return 1 / pace


@contextmanager
def home() -> Iterator[Path]:
    """A new home, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as folder:
        yield Path(folder) / "home"


def request(dataset: str, script: Path, mini_batch_size: int, model: str | None = None, times: int = 1) -> RunRequest:
    """A run on two workers that no failed item stops; of the dataset several times over where it would end too soon."""
    settings = ParallelRunSettings(process_count_per_node=2, mini_batch_size=str(mini_batch_size), error_threshold=-1)
    return RunRequest((model,) if model else (), (dataset,) * times, str(script), settings, allow_reuse=False)


def measure(workspace: LocalWorkspace, wanted: RunRequest) -> MeasuredRun:
    """Carry it out. Raises RuntimeError where it doesn't complete. The run's folder is removed."""
    submitted_at = time.time()
    run = workspace.submit(wanted)
    runner, peak = None, None
    while not _over(run := workspace.runs.get(run.id)):
        runner = runner or runner_pid(run.id)
        peak = (_peak_memory(runner) if runner else None) or peak
        time.sleep(0.1)  # looking costs the run something too
    if run.status is not RunStatus.COMPLETED:
        raise RuntimeError(f"{run.status}: {run.error}")
    while runner_pid(run.id):  # it makes the table of a large run, after its end
        time.sleep(0.02)
    ended = time.time()
    folder = LocalRunFolder(workspace.home, run.id)
    with Journal(folder.path) as journal:
        attempts = list(journal.attempts())
    shutil.rmtree(folder.path)
    assert run.ended_at
    return MeasuredRun(run, submitted_at, attempts, peak, ended - run.ended_at.timestamp())


def first_prediction(workspace: LocalWorkspace, wanted: RunRequest) -> float:
    """Seconds from the call of submit() to the first row in the output file. Raises RuntimeError where the run doesn't complete."""
    begin = time.perf_counter()
    run = workspace.submit(wanted)
    folder = LocalRunFolder(workspace.home, run.id)
    rows_files = folder.rows_file, folder.published_file(folder.plan())
    while not any(path.is_file() and path.stat().st_size for path in rows_files) and time.perf_counter() < begin + 60:
        time.sleep(0.001)
    seconds = time.perf_counter() - begin
    while not _over(run := workspace.runs.get(run.id)):
        time.sleep(0.02)
    if run.status is not RunStatus.COMPLETED:
        raise RuntimeError(f"{run.status}: {run.error}")
    return seconds


def _over(run: Run) -> bool:
    return run.status.ended or run.status is RunStatus.NOT_RESPONDING


def synthetic_dataset(home: Path, name: str, count: int) -> str:
    """Register `count` files that aren't there, for scripts that open none. Returns the reference."""

    def make(version: int) -> FileDataset:
        folder = home / "datasets" / name / str(version)
        folder.mkdir(parents=True)
        with open(folder / "manifest.jsonl", "w", encoding="ascii") as manifest:
            for number in range(count):
                manifest.write(json.dumps([f"{number // 1000:04}/file-{number:07}.csv", 100, 0]) + "\n")
        now = datetime.now(UTC)
        return FileDataset(name, version, str(home / "nowhere"), "**", True, count, 100 * count, str(folder / "manifest.jsonl"), "", now)

    return Store(home).add(Dataset, name, make).reference


def runner_pid(run_id: str) -> int | None:
    """The process that executes this run, found by its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"services.local.runner" in words and run_id.encode() in words:
            return int(folder.name)
    return None


def _peak_memory(pid: int) -> int | None:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None

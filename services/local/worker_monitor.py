"""What a run's workers do, written into its journal while it is executed: processes that begin and end, what each is at, its memory.

Nothing here is done for a mini-batch: only when a worker begins, ends or has passed a step, and once for each heartbeat.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection

from services import log
from services.local.process_memory import resident
from services.local.worker_process import Stage, WorkerProcess
from services.storage.journal import Journal, MemorySample, WorkerLife, WorkerNow

logger = logging.getLogger(__name__)

_SAMPLE_SECONDS = 1.0  # between two samples of memory, at first
_MOST_TICKS = 240  # then every other sample goes, and half as many are taken
_MOST_PROCFS_SHARE = 0.002  # of the runner's time that goes into asking for memory


class WorkerMonitor:
    """Of one runner. What can't be written is logged: a run doesn't fail for what is recorded of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next_id = journal.begin_runner()
        self._lives: dict[WorkerProcess, WorkerLife] = {}
        self._changed: dict[int, WorkerLife] = {}
        self._tick = journal.last_tick()
        self._period, self._next_sample = 1, 0.0

    def started(self, worker: WorkerProcess) -> None:
        self._note(worker, WorkerLife(self._next_id, worker.place.node, worker.place.process, worker.pid, time.time()))
        self._next_id += 1

    def entered(self, worker: WorkerProcess, stage: Stage, at: float) -> None:
        """It has imported the script (then comes `INIT`), or called init() (then it is `READY`): at this time, by its own clock, since the
        runner may hear of it later."""
        life = self._lives[worker]
        self._note(worker, life._replace(imported_at=at) if stage is Stage.INIT else life._replace(ready_at=at))

    def ended(self, worker: WorkerProcess, reason: str) -> None:
        """`reason` is a part of a sentence; "" where it was ended because the run was."""
        if life := self._lives.pop(worker, None):
            life = life._replace(ended_at=time.time(), reason=reason)
            self._changed[life.id] = life

    def _note(self, worker: WorkerProcess, life: WorkerLife) -> None:
        self._lives[worker] = self._changed[life.id] = life

    def write(self, workers: Collection[WorkerProcess] = ()) -> None:
        """What changed since the last time, what the workers are at and, not each time, their memory."""
        at, offset = time.time(), time.time() - time.monotonic()
        now = [
            WorkerNow(
                worker.place.node, worker.place.process, worker.stage.value, worker.queue[0].index if worker.queue else None,
                worker.since + offset, at,
            )
            for worker in workers
        ]  # fmt: skip
        memory = self._sample(workers, at) if workers and time.monotonic() >= self._next_sample else []
        with log.suppress(logger, "What the workers do can't be written", sqlite3.Error):
            self._journal.note_workers(self._changed.values(), now, memory)
            self._changed.clear()

    def _sample(self, workers: Collection[WorkerProcess], at: float) -> list[MemorySample]:
        begin = time.perf_counter()
        sizes = [(worker.place, resident(worker.pid)) for worker in workers]
        seconds = time.perf_counter() - begin
        if self._tick >= _MOST_TICKS * self._period:
            self._period *= 2
            with log.suppress(logger, "What the workers do can't be written", sqlite3.Error):
                self._journal.thin_memory(self._period)
        self._tick = (self._tick // self._period + 1) * self._period
        self._next_sample = time.monotonic() + max(_SAMPLE_SECONDS * self._period, seconds / _MOST_PROCFS_SHARE)
        return [MemorySample(self._tick, place.node, place.process, at, size) for place, size in sizes if size]

"""How a run went over time, gathered from its journal: what each worker did in each bucket of time, the slowest attempts, the sums.

A journal may hold millions of attempts, and a page asks each second: what was read is kept by this process, and only what has come since is
read. Buckets get twice as wide, and two become one, when there would be more than a few hundred.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.run_details import Pace, RunActivity, SlowAttempt, WorkerActivity, WorkerSpan, WorkerState
from services.storage.journal import Journal, MemorySample, TimedAttempt, WorkerLife, WorkerNow

MOST_BUCKETS = 256
"""Of time; one worker has no more spans of run() than that."""
SLOWEST = 10
_LEAST_WIDTH = 1 / 64  # seconds
_MOST_SPANS = 2_000  # of all workers together: what a browser draws each second
_LEAST_SPANS = 24  # of one worker
_MOST_OF_PACE = 100  # buckets
_MOST_LIVES = 40  # of one worker, the latest
_MOST_MEMORY = 2_000  # samples, of all workers together
_MOST_KEPT = 16  # journals
_AT_A_TIME = 5_000  # attempts: fewer cost more, and so do more
Worker = tuple[int, int]
"""Node and process."""


@dataclass(slots=True)
class Bucket:
    """Sums over attempts that began in one bucket of time. `seconds` they took in all; `mini_batch` is one that left items without a row
    where `any_failed`, else the slowest."""

    attempts: int = 0
    failed_attempts: int = 0
    seconds: float = 0.0
    succeeded: int = 0
    failed: int = 0
    mini_batch: int | None = None
    slowest_seconds: float = -1.0
    any_failed: bool = False

    def note(self, mini_batch: int, seconds: float, *, failed: bool) -> None:
        """Keep it in mind as the one to look at, where it is more interesting than the one before."""
        if (failed, seconds) > (self.any_failed, self.slowest_seconds):
            self.mini_batch, self.slowest_seconds, self.any_failed = mini_batch, seconds, failed

    def add(self, other: Bucket) -> None:
        self.attempts += other.attempts
        self.failed_attempts += other.failed_attempts
        self.seconds += other.seconds
        self.succeeded += other.succeeded
        self.failed += other.failed
        if other.mini_batch is not None:
            self.note(other.mini_batch, other.slowest_seconds, failed=other.any_failed)

    @classmethod
    def of(cls, attempt: TimedAttempt) -> Bucket:
        counts = attempt.succeeded, attempt.failed
        return cls(
            1, int(attempt.any_failed), attempt.elapsed, *counts, attempt.mini_batch, attempt.run_seconds, bool(attempt.any_failed)
        )  # fmt: skip


Buckets = dict[int, Bucket]


@dataclass
class Timeline:
    """Bucket `n` is from `begin + n * width` seconds since 1970 on. `buckets` has the attempts that took less than `width`, `long` the
    others, each alone: of one worker there are no more of both together than of buckets of time."""

    begin: float
    width: float = _LEAST_WIDTH
    buckets: dict[Worker, Buckets] = field(default_factory=lambda: defaultdict(dict))
    long: dict[Worker, list[TimedAttempt]] = field(default_factory=lambda: defaultdict(list))

    def place(self, moment: float) -> int:
        """The number of the bucket that this moment is in."""
        return max(0, int((moment - self.begin) / self.width))

    def widen(self) -> None:
        """Twice as wide."""
        self.width *= 2
        for worker, buckets in self.buckets.items():
            self.buckets[worker] = joined(buckets, 2)
        for worker, attempts in self.long.items():
            for attempt in attempts:
                if attempt.elapsed < self.width:
                    self.buckets[worker].setdefault(self.place(attempt.started_at), Bucket()).add(Bucket.of(attempt))
            self.long[worker] = [attempt for attempt in attempts if attempt.elapsed >= self.width]

    def copy(self) -> Timeline:
        """For who reads it while more is added. Its buckets are these."""
        buckets = defaultdict(dict, {worker: dict(own) for worker, own in self.buckets.items()})
        return Timeline(self.begin, self.width, buckets, defaultdict(list, {worker: list(own) for worker, own in self.long.items()}))

    @property
    def workers(self) -> list[Worker]:
        return sorted(self.buckets.keys() | self.long.keys())

    def settled(self) -> Iterator[tuple[int, int, int]]:
        """(bucket, items that succeeded, items that failed) of each bucket in which some were settled, of all workers, in order. Attempts
        shorter than a bucket count where they began, others where they ended."""
        sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for buckets in self.buckets.values():
            for number, bucket in buckets.items():
                both = sums[number]
                both[0] += bucket.succeeded
                both[1] += bucket.failed
        for attempts in self.long.values():
            for attempt in attempts:
                both = sums[self.place(attempt.started_at + attempt.elapsed)]
                both[0] += attempt.succeeded
                both[1] += attempt.failed
        for number in sorted(sums):
            succeeded, failed = sums[number]
            yield number, succeeded, failed


def joined(buckets: Mapping[int, Bucket], factor: int) -> Buckets:
    """`factor` buckets as one."""
    wide: Buckets = {}
    for number, bucket in buckets.items():
        wide.setdefault(number // factor, Bucket()).add(bucket)
    return wide


class GatheredAttempts:
    """What a journal's attempts come to so far. Not for several threads at once."""

    def __init__(self) -> None:
        self._runner = -1
        self._forget()

    def _forget(self) -> None:
        self.timeline: Timeline | None = None
        self.slowest: list[TimedAttempt] = []
        self.attempts = self.mini_batches_failed = 0
        self._last_seq = 0

    def read(self, journal: Journal, seconds: float | None) -> float:
        """Add the attempts that came since the last time, for about so many seconds; None is without a limit. Returns the share of the
        attempts that is read, from 0 to 1."""
        deadline = None if seconds is None else time.monotonic() + seconds
        runner, last = journal.runner_number(), journal.last_seq()
        if runner != self._runner or last < self._last_seq:
            self._forget()  # a new runner may have unsettled what was read
            self._runner = runner
        if last == self._last_seq:
            return 1.0
        if self.timeline is None:
            started = (life.started_at for life in journal.worker_lives())
            self.timeline = Timeline(min([*started, journal.first_attempt_at() or 0.0]))
        ended_at = journal.latest_attempt_ended_at() or self.timeline.begin
        while (ended_at - self.timeline.begin) / self.timeline.width > MOST_BUCKETS:
            self.timeline.widen()
        while self._last_seq < last:
            upto = min(last, self._last_seq + _AT_A_TIME)
            self._add(journal, self.timeline, self._last_seq, upto)
            self._last_seq = upto
            if deadline is not None and time.monotonic() >= deadline:
                break
        return self._last_seq / last

    def _add(self, journal: Journal, timeline: Timeline, after: int, last: int) -> None:
        """The attempts with seq in (after, last]."""
        failed = 0
        for row in journal.in_buckets(timeline.begin, timeline.width, after, last):
            bucket = timeline.buckets[row.node, row.process].setdefault(row.bucket, Bucket())
            bucket.add(Bucket(row.attempts, row.failed_attempts, row.seconds, row.succeeded, row.failed, row.slowest, row.slowest_seconds))
            self.attempts += row.attempts
            self.mini_batches_failed += row.mini_batches_failed
            failed += row.failed_attempts
        for node, process, number, mini_batch in journal.failed_in_buckets(timeline.begin, timeline.width, after, last) if failed else ():
            timeline.buckets[node, process][number].note(mini_batch, 0.0, failed=True)
        for attempt in journal.timed(after, last, least_elapsed=timeline.width):
            timeline.long[attempt.node, attempt.process].append(attempt)
            self.attempts += 1
            self.mini_batches_failed += attempt.mini_batch_failed
        than = self.slowest[-1].run_seconds if len(self.slowest) == SLOWEST else 0.0
        new = journal.slowest(after, last, SLOWEST, than)
        self.slowest = heapq.nlargest(SLOWEST, self.slowest + new, key=lambda attempt: attempt.run_seconds)


class _Kept:
    """What was gathered of the journals that were asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gathered: OrderedDict[Path, tuple[threading.Lock, GatheredAttempts]] = OrderedDict()

    def of(self, path: Path) -> tuple[threading.Lock, GatheredAttempts]:
        with self._lock:
            found = self._gathered.setdefault(path, (threading.Lock(), GatheredAttempts()))
            self._gathered.move_to_end(path)
            while len(self._gathered) > _MOST_KEPT:
                self._gathered.popitem(last=False)
            return found


_kept = _Kept()


@dataclass(frozen=True)
class Gathered:
    """A copy of what was gathered, which doesn't change: see GatheredAttempts. `timeline` is None before the first attempt."""

    timeline: Timeline | None
    slowest: list[TimedAttempt]
    attempts: int
    mini_batches_failed: int
    share: float = 1.0
    """Of the attempts, from 0 to 1: which were read."""


def gather(journal: Journal, seconds: float | None = None) -> Gathered:
    """What the attempts in this journal come to now. The first time all are read, which takes seconds for a million: with `seconds` about
    so long, and the rest the next time. Raises sqlite3.Error."""
    lock, gathered = _kept.of(journal.path)
    with lock:
        share = gathered.read(journal, seconds)
        timeline = gathered.timeline.copy() if gathered.timeline else None
        return Gathered(timeline, list(gathered.slowest), gathered.attempts, gathered.mini_batches_failed, share)


def gather_these(attempts: list[TimedAttempt]) -> Gathered:
    """The same of attempts that are in no journal."""
    if not attempts:
        return Gathered(None, [], 0, 0)
    begin = min(attempt.started_at for attempt in attempts)
    timeline = Timeline(begin)
    while (max(attempt.started_at + attempt.elapsed for attempt in attempts) - begin) / timeline.width > MOST_BUCKETS:
        timeline.width *= 2
    for attempt in sorted(attempts, key=lambda attempt: attempt.started_at):
        worker = attempt.node, attempt.process
        if attempt.elapsed < timeline.width:
            timeline.buckets[worker].setdefault(timeline.place(attempt.started_at), Bucket()).add(Bucket.of(attempt))
        else:
            timeline.long[worker].append(attempt)
    slowest = heapq.nlargest(SLOWEST, attempts, key=lambda attempt: attempt.run_seconds)
    return Gathered(timeline, slowest, len(attempts), sum(attempt.mini_batch_failed for attempt in attempts))


# ---- as it is shown ----------------------------------------------------------------------------------------------------------------------


def worker_name(node: int, process: int) -> str:
    """As everywhere: `node 0, process001`."""
    return f"node {node}, process{process:03}"


@dataclass(frozen=True)
class Workers:
    """What the journal says of the workers, beside the attempts."""

    lives: list[WorkerLife] = field(default_factory=list)
    now: list[WorkerNow] = field(default_factory=list)
    memory: list[MemorySample] = field(default_factory=list)

    @classmethod
    def of(cls, journal: Journal) -> Workers:
        return cls(journal.worker_lives(), journal.workers_now(), journal.memory(_MOST_MEMORY))


def activity_of(gathered: Gathered, workers: Workers, *, now: float | None, name: Callable[[int, int], str] = worker_name) -> RunActivity:
    """What is shown of it. `now` is the present time, in seconds since 1970, of a run that goes on; None of one that ended, or whose runner
    is gone: then it ends where it was seen last."""
    lives, timeline = workers.lives, gathered.timeline
    known = [time for life in lives for time in (life.started_at, life.imported_at, life.ready_at, life.ended_at) if time is not None]
    known += [worker.at for worker in workers.now]
    if timeline:
        known.append(timeline.begin)
        known += [timeline.begin + (number + 1) * timeline.width for own in timeline.buckets.values() for number in own]
        known += [attempt.started_at + attempt.elapsed for own in timeline.long.values() for attempt in own]
    begin = min(known, default=now or 0.0)
    end = max([*known, *([now] if now is not None else [])], default=begin)
    places = {(life.node, life.process) for life in lives} | set(timeline.workers if timeline else ())
    factor = 1
    if timeline and places:
        most = max(_LEAST_SPANS, _MOST_SPANS // len(places))
        factor = max(1, -(-min(MOST_BUCKETS, int((end - timeline.begin) / timeline.width) + 1) // most))
    shown = tuple(_worker(place, name(*place), timeline, factor, workers, end) for place in sorted(places))
    pace, width = _pace(timeline) if timeline else ((), 1.0)
    slowest = tuple(
        SlowAttempt(each.mini_batch, each.attempt, name(each.node, each.process), each.run_seconds, each.total, each.status)
        for each in gathered.slowest
    )
    last = max((a.started_at + a.elapsed for own in timeline.long.values() for a in own), default=None) if timeline else None
    if timeline and (numbers := [number for own in timeline.buckets.values() for number in own]):
        last = max(last or 0.0, min(end, timeline.begin + (max(numbers) + 1) * timeline.width))
    return RunActivity(
        begin, end, width, pace, shown, slowest, gathered.attempts, gathered.mini_batches_failed, last_ended_at=last,
        share_read=gathered.share,
    )  # fmt: skip


def _pace(timeline: Timeline) -> tuple[tuple[Pace, ...], float]:
    """Per bucket of time, those without any item too; and how long a bucket is."""
    settled = list(timeline.settled())
    if not settled:
        return (), timeline.width
    factor = -(-(settled[-1][0] + 1) // _MOST_OF_PACE)
    width = timeline.width * factor
    sums = [[0, 0] for _ in range(settled[-1][0] // factor + 1)]
    for number, succeeded, failed in settled:
        sums[number // factor][0] += succeeded
        sums[number // factor][1] += failed
    return tuple(Pace(timeline.begin + number * width, *both) for number, both in enumerate(sums)), width


def _worker(place: Worker, name: str, timeline: Timeline | None, factor: int, workers: Workers, end: float) -> WorkerActivity:
    lives = [life for life in workers.lives if (life.node, life.process) == place]
    runs = list(_runs(timeline, place, factor)) if timeline else []
    spans = [span for life in lives[-_MOST_LIVES:] for span in _steps(life, end)]
    if not lives and runs:  # a journal of an earlier version, or of Azure ML: when the worker was started is not known
        spans.append(WorkerSpan(WorkerState.WAIT, runs[0].begin, max(span.end for span in runs)))
    spans += runs
    current = next((now for now in workers.now if (now.node, now.process) == place), None)
    width = timeline.width * factor if timeline else 0.0
    if current and current.mini_batch is not None and current.stage == "ready" and current.at - current.since > max(width / 2, 0.5):
        spans.append(WorkerSpan(WorkerState.RUN, current.since, current.at, 1.0, 1, 0, current.mini_batch, going_on=True))
    elif current and current.stage == "shutdown":
        spans.append(WorkerSpan(WorkerState.SHUTDOWN, current.since, current.at, going_on=True))
    memory = tuple((sample.at, sample.bytes) for sample in workers.memory if (sample.node, sample.process) == place)
    return WorkerActivity(name, tuple(spans), memory, max(1, len(lives)))


def _steps(life: WorkerLife, end: float) -> Iterator[WorkerSpan]:
    """The steps of one process, until it ended or until now."""
    moments = [life.started_at, life.imported_at, life.ready_at]
    ended = end if life.ended_at is None else life.ended_at
    states = (WorkerState.IMPORT, WorkerState.INIT, WorkerState.WAIT)
    for number, (state, begin) in enumerate(zip(states, moments, strict=True)):
        if begin is None:
            return
        following = moments[number + 1] if number + 1 < len(moments) else None
        until = ended if following is None else following
        is_last = following is None
        yield WorkerSpan(state, begin, max(begin, until), going_on=is_last and life.ended_at is None, reason=life.reason if is_last else "")


def _runs(timeline: Timeline, place: Worker, factor: int) -> Iterator[WorkerSpan]:
    """The calls of one worker: long ones each alone, others by bucket of time."""
    width, short = timeline.width * factor, timeline.buckets.get(place, {})
    buckets = joined(short, factor) if factor > 1 else short
    for attempt in timeline.long.get(place, ()):
        if attempt.elapsed < width:
            buckets.setdefault(int((attempt.started_at - timeline.begin) / width), Bucket()).add(Bucket.of(attempt))
        else:
            end, failed = attempt.started_at + attempt.elapsed, int(attempt.any_failed)
            yield WorkerSpan(WorkerState.RUN, attempt.started_at, end, 1.0, 1, failed, attempt.mini_batch)
    over = 0.0  # of an attempt that went on into the next bucket
    for number in sorted(buckets):
        bucket = buckets[number]
        seconds = bucket.seconds + over
        begin, over = timeline.begin + number * width, max(0.0, seconds - width)
        going_over = 0.0 if number + 1 in buckets else over
        busy = min(1.0, seconds / width)
        yield WorkerSpan(
            WorkerState.RUN, begin, begin + width + going_over, busy, bucket.attempts, bucket.failed_attempts, bucket.mini_batch
        )  # fmt: skip
        over = 0.0 if going_over else over

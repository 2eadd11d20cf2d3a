"""What a run costs, by what a trial measured: a call of run() as a fixed part and one for each item, the time of the whole run as an honest
range, and settings that suit both. Plain arithmetic on measured numbers, the same for every workspace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services import formats
from services.formats import counted
from services.run_details import Estimate, RunActivity, Suggestion
from services.settings import ParallelRunSettings
from services.storage.journal import AttemptStatus

MOST_OVERHEAD = 0.1
"""Of a call's time that may be fixed before a larger mini-batch is suggested."""
_LEAST_DOUBT = 0.1
"""However well the calls agree: other items, other caches, a busier machine."""
_MOST_DOUBT = 0.75
_DOUBT_WHEN_BUSY = 0.4
"""More, where others used the machine."""
_DOUBT_OF_TWO_CALLS = 0.5
_ROUNDS = 8
"""Of weighing the calls by what the line before expects of them."""
_T = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)
"""Student's t, two-sided 90 %, for 1 to 10 degrees of freedom."""
_RUNNER_SECONDS = (0.4, 2.0)
"""From a submission to the start of the workers, and from the last row to Completed, on a quiet machine and on a busy one."""
_MINI_BATCH_SECONDS = (0.00003, 0.0003)
"""What the runner adds to each mini-batch."""
_LONGEST_CALL_SUGGESTED = 30.0  # seconds; what a retry or a cancel loses
_MINI_BATCHES_A_WORKER = 4  # at least, so that the last ones are shared
_TIMEOUT_MARGIN = 3  # times the slowest call expected
_TIMES_A_TIMEOUT = 5  # where a call did not end within it
_TIGHT = 0.8  # of the timeout
_SEVERAL_CORES = 1.5
_WAITS, _COMPUTES = 0.3, 0.7
"""Seconds of a processor for each second of a call: below the first the script mostly waits, above the other it mostly computes."""


@dataclass(frozen=True)
class Call:
    """One call of run(): how many items it got, and how long it took, reading them and making rows of the result counted."""

    items: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """A call of `n` items takes `per_call + n × per_item` seconds. `per_call` is None where all calls had as many items: then `per_item`
    is what each took of its call, and a call of more items may take longer, or not."""

    per_call: float | None
    per_item: float
    size: int
    """The most items that a measured call had."""
    doubt: float
    """From 0 to 1: how far the calls were from this line, as a share of their time."""

    def seconds(self, items: float) -> float:
        return (self.per_call or 0.0) + items * self.per_item

    def seconds_between(self, items: float) -> tuple[float, float]:
        """How long a call of so many items takes, at least and at most."""
        if self.per_call is None:
            ends = sorted((self.size * self.per_item, items * self.per_item))
            return ends[0] * (1 - self.doubt), ends[1] * (1 + self.doubt)
        expected = self.seconds(items)
        return expected * (1 - self.doubt), expected * (1 + self.doubt)

    def fixed_share(self, items: float) -> float:
        """The fixed part of a call of so many items, from 0 to 1."""
        seconds = self.seconds(items)
        return (self.per_call or 0.0) / seconds if seconds > 0 else 0.0


@dataclass(frozen=True)
class Machine:
    """What executes the run: cores for all workers together, and bytes of memory; None where it isn't known."""

    cores: int
    memory: int | None


@dataclass(frozen=True)
class Measured:
    """What a trial found. `cpu_share` is how many seconds of a processor the worker, and what it started, took for each second of a call;
    memory is in bytes, of one worker. None where the system doesn't tell. `timed_out` are the items of a call that the timeout ended;
    `busy`: others used the machine meanwhile."""

    start_seconds: float
    init_seconds: float = 0.0
    calls: Sequence[Call] = ()
    cpu_share: float | None = None
    memory: int | None = None
    memory_per_item: float | None = None
    timed_out: int = 0
    busy: bool = False


@dataclass(frozen=True)
class Whole:
    """The whole run. `can_be_cut` is False where a smaller mini-batch size changes nothing, as of Parquet with one row group;
    `most_items` is how many a mini-batch can have at most, since it never crosses a file of a table. `bytes_per_item` is what an item
    counts for in a mini-batch size that is in bytes, None where that is a number of files."""

    item: str
    items: int
    mini_batches: int
    settings: ParallelRunSettings
    bytes_per_item: float | None = None
    can_be_cut: bool = True
    most_items: float = math.inf

    @property
    def mini_batch_items(self) -> float:
        """Items of a mini-batch, on average."""
        return self.items / max(1, self.mini_batches)

    @property
    def useful_workers(self) -> int:
        return max(1, min(self.settings.worker_count, self.mini_batches))


# ---- the cost of a call ------------------------------------------------------------------------------------------------------------------


def fit_cost(calls: Sequence[Call]) -> Cost | None:
    """The line through these calls: least squares of the errors relative to what is expected, since a slow call is off by more than a quick
    one. Neither part is negative. None without a call."""
    calls = [call for call in calls if call.items > 0]
    if not calls:
        return None
    sizes = {call.items for call in calls}
    if len(sizes) == 1:
        (size,) = sizes
        seconds = sum(call.seconds for call in calls) / len(calls)
        return Cost(None, seconds / size, size, _doubt([(call.seconds, seconds) for call in calls], 1))
    weights, parameters = [1.0] * len(calls), 2
    least = min(call.seconds for call in calls)
    for _ in range(_ROUNDS):
        per_call, per_item = _line(calls, weights)
        parameters = 2
        if per_call < 0 or per_item < 0:
            parameters = 1
            per_call, per_item = (0.0, _slope(calls, weights)) if per_call < 0 else (_level(calls, weights), 0.0)
        weights = [1 / max(per_call + call.items * per_item, least, 1e-7) ** 2 for call in calls]
    pairs = [(call.seconds, per_call + call.items * per_item) for call in calls]
    return Cost(per_call, per_item, max(sizes), _doubt(pairs, parameters))


def _line(calls: Sequence[Call], weights: Sequence[float]) -> tuple[float, float]:
    total = sum(weights)
    x = sum(w * call.items for w, call in zip(weights, calls, strict=True)) / total
    y = sum(w * call.seconds for w, call in zip(weights, calls, strict=True)) / total
    spread = sum(w * (call.items - x) ** 2 for w, call in zip(weights, calls, strict=True))
    slope = sum(w * (call.items - x) * (call.seconds - y) for w, call in zip(weights, calls, strict=True)) / spread
    return y - slope * x, slope


def _slope(calls: Sequence[Call], weights: Sequence[float]) -> float:
    """Of the line through the origin."""
    both = list(zip(weights, calls, strict=True))
    return sum(w * c.items * c.seconds for w, c in both) / sum(w * c.items**2 for w, c in both)


def _level(calls: Sequence[Call], weights: Sequence[float]) -> float:
    return sum(w * c.seconds for w, c in zip(weights, calls, strict=True)) / sum(weights)


def _doubt(pairs: Sequence[tuple[float, float]], parameters: int) -> float:
    """How far off a prediction may be, by (measured, expected) of the calls it was made of."""
    freedom = len(pairs) - parameters
    if freedom < 1:
        return _DOUBT_OF_TWO_CALLS
    errors = [(measured - expected) / max(expected, 1e-9) for measured, expected in pairs]
    spread = math.sqrt(sum(error**2 for error in errors) / freedom)
    return min(_MOST_DOUBT, max(_LEAST_DOUBT, _T[min(freedom, len(_T)) - 1] * spread / math.sqrt(len(pairs)) + _LEAST_DOUBT))


# ---- the whole run -----------------------------------------------------------------------------------------------------------------------


def estimate(cost: Cost, measured: Measured, whole: Whole, machine: Machine) -> Estimate:
    """Between which times the run takes: `cost` for every mini-batch, shared by the workers as far as the cores carry them, after their
    start."""
    workers, size = whole.useful_workers, whole.mini_batch_items
    rounds = math.ceil(whole.mini_batches / workers)
    fastest, slowest = _speed(workers, measured.cpu_share, machine)
    low, high = cost.seconds_between(size)
    low_start = measured.start_seconds * 0.7 + _RUNNER_SECONDS[0]
    high_start = measured.start_seconds * 1.5 * max(1.0, workers / machine.cores) + _RUNNER_SECONDS[1]
    if measured.busy:
        low, high = low * (1 - _DOUBT_WHEN_BUSY), high * (1 + _DOUBT_WHEN_BUSY)
    seconds_low = low_start + rounds * (low * workers / fastest) + whole.mini_batches * _MINI_BATCH_SECONDS[0]
    seconds_high = high_start + rounds * (high * workers / slowest) + whole.mini_batches * _MINI_BATCH_SECONDS[1]
    why = tuple(_why(cost, measured, whole, machine))
    return Estimate(whole.items, whole.item, whole.mini_batches, workers, seconds_low, seconds_high, why)


def _speed(workers: int, cpu_share: float | None, machine: Machine) -> tuple[float, float]:
    """How many times as fast as one worker so many are: at best, and where they are in each other's way."""
    share = 1.0 if cpu_share is None else max(_cores_each(cpu_share), 0.01)
    best = min(float(workers), max(1.0, machine.cores / share))
    return best, 1 + (best - 1) * (1 - 0.45 * min(1.0, share))


def _cores_each(cpu_share: float) -> float:
    """How many cores a worker keeps busy: a little more than one is what the measuring is off by."""
    return 1.0 if 1.0 < cpu_share < _SEVERAL_CORES else cpu_share


def _why(cost: Cost, measured: Measured, whole: Whole, machine: Machine) -> Iterator[str]:
    size = whole.mini_batch_items
    if cost.per_call is None:
        yield f"All calls had {counted(cost.size, whole.item)}: how the time grows with more isn't known"
    elif size > 4 * cost.size:
        yield f"A mini-batch has about {counted(round(size), whole.item)}, and the largest that was tried {cost.size:,}"
    if cost.doubt > 2 * _LEAST_DOUBT:
        yield f"Calls of the same size differed by up to {cost.doubt:.0%}"
    if measured.busy:
        yield "This machine was busy while the items were tried"
    if whole.useful_workers > 1 and measured.cpu_share is not None and measured.cpu_share > _COMPUTES:
        yield f"{counted(whole.useful_workers, 'worker')} share {counted(machine.cores, 'core')}"
    start = measured.start_seconds + _RUNNER_SECONDS[0]
    if start > whole.mini_batches * cost.seconds(size) / whole.useful_workers:
        yield f"Most of it is the start: a worker takes {formats.duration(measured.start_seconds)} before its first call"


# ---- settings ----------------------------------------------------------------------------------------------------------------------------


def suggestions(cost: Cost | None, measured: Measured, whole: Whole, machine: Machine) -> list[Suggestion]:
    """Values that suit what was measured better than the run's settings: none where these are fine."""
    size = _better_size(cost, measured, whole, machine) if cost and not whole.settings.partition_keys else None
    items = whole.mini_batch_items
    if size is not None:
        items = size.items
    found = [size.suggestion] if size is not None else []
    if workers := _better_workers(measured, whole, machine):
        found.append(workers)
    if timeout := _better_timeout(cost, measured, whole, items):
        found.append(timeout)
    return found


@dataclass(frozen=True)
class _Size:
    items: float
    suggestion: Suggestion


def _better_size(cost: Cost, measured: Measured, whole: Whole, machine: Machine) -> _Size | None:
    now, workers = whole.mini_batch_items, whole.settings.worker_count
    shared = max(1, whole.items // (workers * _MINI_BATCHES_A_WORKER))  # more, and workers have nothing to do at the end
    enough = _enough_items(cost)
    idle = whole.can_be_cut and 0 < whole.mini_batches < workers and whole.items > whole.mini_batches
    smaller = max(shared, 1.0 if cost.per_call is None else enough)  # whose fixed part is not too much either
    if idle and smaller < now / 1.5:
        idle_workers = workers - whole.mini_batches
        why = f"{counted(whole.mini_batches, 'mini-batch')} for {counted(workers, 'worker')}: {idle_workers:,} would have nothing to do"
        size = _sized(smaller, now, whole)
        return _Size(size[0], Suggestion("mini_batch_size", size[1], f"{why}.")) if size else None
    if cost.per_call is None or cost.fixed_share(now) <= MOST_OVERHEAD:
        return None
    limits = [shared, whole.most_items, _items_within(cost, _LONGEST_CALL_SUGGESTED)]
    limits.append(_items_within(cost, whole.settings.run_invocation_timeout / _TIMEOUT_MARGIN))
    if measured.memory_per_item and measured.memory and machine.memory:
        limits.append(max(0.0, machine.memory / workers - measured.memory) / measured.memory_per_item)
    most = min(limits)
    better = min(enough, most)
    if better < 1.5 * now:
        return None
    size = _sized(better, most, whole)
    if size is None:
        return None
    few, many = max(1, round(now)), max(1, round(size[0]))
    why = (
        f"A call of run() takes {formats.short_duration(cost.per_call)} and {formats.short_duration(cost.per_item)} more for each"
        f" {whole.item}: with {counted(few, whole.item)} in a mini-batch {cost.fixed_share(few):.0%} of the time is overhead,"
        f" with {many:,} it is {cost.fixed_share(many):.0%}"
    )
    return _Size(size[0], Suggestion("mini_batch_size", size[1], f"{why}."))


def _enough_items(cost: Cost) -> float:
    """So many that the fixed part of a call is a tenth."""
    if not cost.per_call:
        return 1.0
    return math.inf if cost.per_item <= 0 else cost.per_call * (1 - MOST_OVERHEAD) / MOST_OVERHEAD / cost.per_item


def _items_within(cost: Cost, seconds: float) -> float:
    """How many items a call may have to take so long."""
    return math.inf if cost.per_item <= 0 else max(1.0, (seconds - (cost.per_call or 0.0)) / cost.per_item)


def _sized(items: float, most: float, whole: Whole) -> tuple[float, str] | None:
    """About so many items, and not more than `most`, as the items and the value of `mini_batch_size`; None where it has that value."""
    if whole.bytes_per_item is None:
        count = round_to_digit(items, up=True)
        count = count if count <= most else max(1, int(most) if most < 10 else round_to_digit(most, up=False))
        return None if count == whole.settings.units_in_a_mini_batch(tabular=False) else (count, str(count))
    size = 1 << max(10, math.ceil(math.log2(max(items * whole.bytes_per_item, 1.0))))
    while size > 1024 and size > most * whole.bytes_per_item:
        size >>= 1
    unchanged = size == whole.settings.units_in_a_mini_batch(tabular=True)
    return None if unchanged else (size / whole.bytes_per_item, _in_units(size))


def _in_units(size: int) -> str:
    """A power of two in the units of `mini_batch_size`: `4MB`."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if size >= unit:
            return f"{size // unit}{name}"
    return f"{size >> 10}KB"


def round_to_digit(value: float, *, up: bool) -> int:
    """To 1, 2 or 5 times a power of ten: what a person would type."""
    power = int(10.0 ** max(0, math.floor(math.log10(max(value, 1.0)))))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    return next(step for step in steps if step >= value) if up else next(step for step in reversed(steps) if step <= max(value, 1.0))


def _better_workers(measured: Measured, whole: Whole, machine: Machine) -> Suggestion | None:
    settings = whole.settings
    nodes, processes = settings.node_count, settings.processes_per_node
    share = measured.cpu_share
    room = machine.memory // measured.memory if machine.memory and measured.memory else None
    if room is not None and nodes * processes > room:
        fewer = max(1, room // nodes)
        why = (
            f"A worker takes {formats.size(measured.memory)} of memory, and {counted(nodes * processes, 'worker')} together more than the"
            f" {formats.size(machine.memory)} there are"
        )
        return Suggestion("process_count_per_node", str(fewer), f"{why}.") if fewer < processes else None
    if share is None or (measured.busy and share <= _COMPUTES):
        return None
    share = 1.0 if measured.busy else _cores_each(share)
    useful = max(1, int(machine.cores / share)) if share > _COMPUTES else machine.cores
    fitting = max(1, useful // nodes)
    if share > _COMPUTES and fitting < processes:
        busy = "each keeps a core busy" if share <= 1 else f"each keeps {share:.1f} cores busy"
        why = f"{counted(nodes * processes, 'worker')} for {counted(machine.cores, 'core')}, and {busy}: more only wait for each other"
        return Suggestion("process_count_per_node", str(fitting), f"{why}.")
    if share < _WAITS:
        useful = min(int(machine.cores / max(share, 0.05)), 8 * machine.cores)
        fitting = useful // nodes
        reason = f"the script waits for {1 - share:.0%} of its time, so that more workers than cores help"
    else:
        reason = f"there are {counted(machine.cores, 'core')}, and {counted(nodes * processes, 'worker')} use fewer"
    most = min(value for value in (fitting, whole.mini_batches // nodes, room // nodes if room is not None else None) if value is not None)
    if most >= 2 * processes or (share >= _WAITS and most > processes):
        return Suggestion("process_count_per_node", str(most), f"{reason[0].upper()}{reason[1:]}.")
    return None


def suggested_timeout(slowest: float, *, timed_out_at: int | None = None) -> int:
    """The run_invocation_timeout, in seconds, that suits calls of which the slowest took so many; where one was ended by its timeout, a
    longer one than that."""
    least = round_to_digit(_TIMEOUT_MARGIN * slowest, up=True)
    return least if timed_out_at is None else max(least, round_to_digit(_TIMES_A_TIMEOUT * timed_out_at, up=True))


def with_timeout(told: RunActivity, limit: int) -> RunActivity:
    """What is told of a run, with its run_invocation_timeout and the one that suits the slowest calls that were seen."""
    if not told.slowest:
        return replace(told, timeout=limit)
    timed_out = any(each.status == AttemptStatus.RUN_TIMEOUT for each in told.slowest)
    suggestion = suggested_timeout(max(each.seconds for each in told.slowest), timed_out_at=limit if timed_out else None)
    return replace(told, timeout=limit, suggested_timeout=suggestion)


def is_tight(slowest: float, limit: int) -> bool:
    """Whether calls of which the slowest took so many seconds come near the run_invocation_timeout."""
    return slowest > _TIGHT * limit


def _better_timeout(cost: Cost | None, measured: Measured, whole: Whole, items: float) -> Suggestion | None:
    """`items` are those of a mini-batch, as it is or as it is suggested."""
    limit = whole.settings.run_invocation_timeout
    if measured.timed_out:
        more = suggested_timeout(0.0, timed_out_at=limit)
        why = f"A call with {counted(measured.timed_out, whole.item)} did not end within {limit:,} s: give it longer, if it ends at all"
        return Suggestion("run_invocation_timeout", str(more), f"{why}.")
    slowest, what = measured.init_seconds, "init() took"
    if cost is not None:
        expected = cost.seconds_between(items)[1]
        if measured.calls:  # as many times slower than expected as the slowest item was, as far as that doesn't average out
            off = max((call.seconds - cost.seconds(call.items)) / math.sqrt(call.items) for call in measured.calls)
            expected = max(expected, cost.seconds(items) + 3 * max(0.0, off) * math.sqrt(items))
        if expected > slowest:
            many = counted(max(1, round(items)), whole.item)
            slowest, what = expected, f"By the slowest call of the trial, a mini-batch of {many} takes up to"
    if not is_tight(slowest, limit):
        return None
    why = f"{what} {formats.duration(slowest)}, and the timeout is {limit:,} s"
    return Suggestion("run_invocation_timeout", str(suggested_timeout(slowest)), f"{why}.")

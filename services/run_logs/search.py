"""A search through the log files of a run: each is read from its end, in blocks, and no further than the last matches that are wanted.

Files grow, are cut back, or go away meanwhile; a line may be a gigabyte. What is held is a block, and the matches.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from services import formats
from services.run_details import LogLine, LogQuery, LogSearch
from services.run_logs.lines import Block, Record, at_least, header_of, signs_of
from services.storage.run_folder import RunFolder

BLOCK_BYTES = 4_000_000
"""That are read at a time. A longer line is as many lines as it has blocks."""
_LONGEST_TEXT = 4_000  # bytes of a line that are shown
_BEFORE_A_MATCH = 1_000  # of these, in a longer line
_LOOK_BACK_BYTES = 64_000  # for the time of the line before
_LONGEST_UNFINISHED = 1_000_000  # bytes of a last line that may go on
_BINARY_BYTES = 8_000
_MOST_NOTES = 5
_SORTED_AT_A_TIME = 5_000  # matches


@dataclass(frozen=True)
class LogFile:
    """A log file: its name in Azure's layout, and whose it is (as in `LogSearch.workers`), "" where that isn't known. `zone` is that of
    times that don't say theirs, None this machine's. One that is `any_file` of a script may be no text at all."""

    name: str
    path: Path
    worker: str
    zone: tzinfo | None = None
    any_file: bool = False


RUNNER_LOG = "logs/sys/runner.log"
_OF_A_WORKER = re.compile(r"logs/user/(\w+)/([^/]+)/(process\d+)[./]")


def log_files(folder: RunFolder[Any], left_out: re.Pattern[str], zone: tzinfo | None = None) -> list[LogFile]:
    """What workers, scripts and the runner have written; `left_out` are, by their names, the reports that are made of it."""
    logs = []
    for name, path in folder.log_files().items():
        if not left_out.match(name):
            match = _OF_A_WORKER.match(name)
            worker = f"node {match[2]}, {match[3]}" if match else "runner" if name == RUNNER_LOG else ""
            plain = name == RUNNER_LOG or (match is not None and match[1] in ("stdout", "stderr"))
            logs.append(LogFile(name, path, worker, zone, any_file=not plain))
    return logs


class Match(NamedTuple):
    """A line that matches: where it begins in its file, its text, and what it says of itself."""

    place: int
    text: str
    time: float | None
    level: str


class Origin(NamedTuple):
    """Where a line is from: its mini-batch, None for none, and when that began. `inferred`: by its time, not by its place or its words."""

    mini_batch: int | None = None
    began_at: float | None = None
    inferred: bool = False


class Origins(Protocol):
    """What is known of where lines are from. A workspace has its own."""

    def ranges(self, log: LogFile, mini_batch: int) -> Sequence[tuple[int, int]] | None:
        """Which bytes of the file are of that mini-batch; None where it isn't known by the place."""

    def of(self, log: LogFile, matches: Sequence[Match]) -> Sequence[Origin]:
        """Of each match; they are in the order of the file."""

    def further(self, query: LogQuery, after: int, stopped: Callable[[], bool]) -> tuple[list[LogLine], int]:
        """Lines that are in no file, the last `limit` that match, with numbers above `after`; and the last number there is."""


FURTHER = "attempts"
"""Under this name, LogSearch.ends has what `Origins.further` says."""


@dataclass
class _Budget:
    left: float
    scanned: int = 0
    stopped: Callable[[], bool] = lambda: False
    notes: dict[str, None] = field(default_factory=dict)

    def take(self, count: int) -> None:
        self.left -= count
        self.scanned += count


def search(
    logs: Sequence[LogFile],
    origins: Origins,
    query: LogQuery,
    *,
    after: Mapping[str, int] | None = None,
    growing: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> LogSearch:
    """The last `query.limit` lines that match, in the order of their time. `after` are the `ends` of an earlier search: what came since.
    Of files that are `growing`, a last line without its line break is left for later."""
    workers = tuple(dict.fromkeys(log.worker for log in logs if log.worker))
    searched = [log for log in logs if query.worker in ("", log.worker)]
    sizes = {log.name: _size(log.path) for log in searched}
    # The small ones first: what they leave of the bytes that may be read is the large ones'.
    searched.sort(key=lambda log: sizes[log.name])
    budget = _Budget(float("inf") if query.most_bytes is None else query.most_bytes, stopped=stopped)
    found: list[LogLine] = []
    ends: dict[str, int] = {}
    more, total = False, 0
    for number, log in enumerate(searched):
        begin, end = _part(log, sizes[log.name], after, growing, budget)
        ends[log.name] = end
        total += end - begin
        share = _Budget(budget.left / (len(searched) - number), stopped=stopped, notes=budget.notes)
        matches, is_whole = _matches_in(log, begin, end, query, origins, share)
        budget.take(share.scanned)
        more = more or not is_whole
        found += _with_origins(log, matches, origins, query)
    further, last = origins.further(query, (after or {}).get(FURTHER, 0), stopped)
    ends[FURTHER] = last
    found += further
    found.sort(key=_place_in_time)
    more = more or len(found) > query.limit
    notes = list(budget.notes)
    return LogSearch(
        lines=tuple(found[-query.limit :]),
        workers=workers,
        scanned=budget.scanned,
        size=total,
        more=more,
        stopped=stopped(),
        ends=ends,
        notes=tuple(notes[:_MOST_NOTES]) + ((f"…and {len(notes) - _MOST_NOTES:,} more.",) if len(notes) > _MOST_NOTES else ()),
    )


_MILLISECOND = 0.001
_NEVER = datetime.min.replace(tzinfo=UTC)


def _place_in_time(line: LogLine) -> tuple[object, ...]:
    """Within a millisecond, the finest that logs show, by mini-batch, and its error after its own lines."""
    number = -1 if line.mini_batch is None or line.time is None else line.mini_batch
    return line.time or _NEVER, number, line.log == FURTHER, line.log, line.place


def to_milliseconds(moment: float) -> float:
    """A moment as the clocks of logs show it."""
    return int(moment * 1000) / 1000


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _part(log: LogFile, size: int, after: Mapping[str, int] | None, growing: bool, budget: _Budget) -> tuple[int, int]:
    """From where to where a file is searched."""
    begin = (after or {}).get(log.name, 0)
    if begin > size:
        budget.notes[f"{log.name} was cut back since it was read last: a part of what was written meanwhile may be missing."] = None
        begin = 0
    end = size
    if growing and end > begin:
        try:
            with open(log.path, "rb") as file:
                end = _end_of_lines(file, begin, size)
        except OSError:
            end = begin
    return begin, end


def _end_of_lines(file: BinaryIO, begin: int, size: int) -> int:
    """After the last line break; at the end where the last line is too long to wait for."""
    start = max(begin, size - _LONGEST_UNFINISHED)
    file.seek(start)
    at = file.read(size - start).rfind(b"\n")
    return start + at + 1 if at >= 0 else begin if start == begin else size


# ---- one file ----------------------------------------------------------------------------------------------------------------------------


def _matches_in(log: LogFile, begin: int, end: int, query: LogQuery, origins: Origins, budget: _Budget) -> tuple[list[Match], bool]:
    """The last matches of a file, the first one first; and whether there are no earlier ones."""
    if end <= begin:
        return [], True
    ranges = None if query.mini_batch is None else origins.ranges(log, query.mini_batch)
    parts = [(begin, end)] if ranges is None else [(max(begin, first), min(end, last)) for first, last in ranges]
    matches: list[Match] = []  # the last one first
    try:
        with open(log.path, "rb") as file:
            if log.any_file and b"\0" in file.read(_BINARY_BYTES):
                return [], True
            for first, last in reversed(parts):
                found = _backwards(file, log, first, last, query, budget)
                for match in _of_mini_batch(found, log, origins, query.mini_batch) if ranges is None else found:
                    matches.append(match)
                    if len(matches) > query.limit:
                        return matches[query.limit - 1 :: -1], False
                    if len(matches) % 1_000 == 0 and budget.stopped():
                        return matches[::-1], False
                if budget.left <= 0 or budget.stopped():
                    return matches[::-1], first <= begin and budget.left > 0 and not budget.stopped()
    except FileNotFoundError:
        budget.notes[f"{log.name} was removed."] = None
    except OSError as error:
        budget.notes[f"{log.name} can't be read: {error.strerror or error}."] = None
    return matches[::-1], True


def _of_mini_batch(found: Iterator[Match], log: LogFile, origins: Origins, number: int | None) -> Iterator[Match]:
    """Those of that mini-batch, where it is known by each match alone; all for None. A few at a time: of a long log hardly any may be."""
    if number is None:
        yield from found
        return
    while some := list(islice(found, _SORTED_AT_A_TIME)):
        from_where = origins.of(log, some[::-1])
        yield from (match for match, origin in zip(some, reversed(from_where), strict=True) if origin.mini_batch == number)


def _backwards(file: BinaryIO, log: LogFile, begin: int, end: int, query: LogQuery, budget: _Budget) -> Iterator[Match]:
    """The matches of a part of a file, the last one first."""
    needles = _needles(query.text)
    overlap = max((len(needle) for needle in needles), default=1) - 1
    rest = b""  # the beginning of the block after this one, where a line goes on there
    while end > begin and budget.left > 0 and not budget.stopped():
        start = max(begin, end - BLOCK_BYTES)
        file.seek(start)
        content = file.read(end - start)
        if not content:
            return  # it was cut back
        end = start + len(content)
        skipped = _first_whole_line(content) if start > begin else 0
        budget.take(len(content) - skipped)
        block = content[skipped:]
        yield from _in_block(Block(block + rest, log.zone), len(block), start + skipped, query, needles)
        is_piece = skipped == 0 and start > begin
        rest = block[:overlap] if is_piece else b""
        end = start + skipped


def _first_whole_line(content: bytes) -> int:
    """Where the first line begins that is whole and no indented one; 0 where a line is longer than the block."""
    place = content.find(b"\n") + 1
    begin = place
    while 0 < begin < min(len(content), place + _LOOK_BACK_BYTES) and content[begin : begin + 1] in (b" ", b"\t"):
        begin = content.find(b"\n", begin) + 1
    return (begin or place) if (begin or place) < len(content) else 0


def _needles(text: str) -> tuple[bytes, ...]:
    """The text as it may be written, in small letters as far as these are of ASCII."""
    variants = (text.lower(), text.upper(), text.title(), text)
    return tuple(dict.fromkeys(variant.encode("utf-8", "surrogateescape").lower() for variant in variants)) if text else ()


def _in_block(block: Block, size: int, place: int, query: LogQuery, needles: Sequence[bytes]) -> Iterator[Match]:
    """The matches in the first `size` bytes of a block, which is at `place` of its file; the last one first."""
    signs = needles or signs_of(query.level)
    small = block.content.lower() if signs else b""
    limit = size
    places = {sign: small.rfind(sign, 0, limit + len(sign) - 1) for sign in signs}
    while limit > 0:
        if signs:
            hit = max(places.values())
            if hit < 0:
                return
        else:
            hit = limit - 1
        record = block.record_at(hit)
        yield from _of_record(block, record, min(limit, size), place, query, needles)
        limit = min(limit - 1, record.begin)
        for sign, found in places.items():
            if found >= limit:
                places[sign] = small.rfind(sign, 0, max(0, limit))


def _of_record(block: Block, record: Record, limit: int, place: int, query: LogQuery, needles: Sequence[bytes]) -> Iterator[Match]:
    for begin, end, level in reversed(block.lines(record)):
        if begin >= limit or not at_least(level, query.level):
            continue
        hit = begin
        if needles:
            line = block.content[begin:end].lower()
            hits = [at for needle in needles if (at := line.find(needle)) >= 0]
            if not hits:
                continue
            hit = begin + min(hits)
        yield Match(place + begin, _text(block.content, begin, end, hit), record.header.time, level)


def _text(content: bytes, begin: int, end: int, hit: int) -> str:
    """A line for people; of a long one the part around the match."""
    if end - begin <= _LONGEST_TEXT:
        return content[begin:end].decode("utf-8", "backslashreplace").rstrip("\r")
    first = max(begin, min(hit - _BEFORE_A_MATCH, end - _LONGEST_TEXT))
    text = content[first : first + _LONGEST_TEXT].decode("utf-8", "backslashreplace")
    left = end - begin - _LONGEST_TEXT
    return f"{'…' if first > begin else ''}{text}{'…' if first + _LONGEST_TEXT < end else ''} [{formats.size(left)} more]"


# ---- time and mini-batch -----------------------------------------------------------------------------------------------------------------


def _with_origins(log: LogFile, matches: Sequence[Match], origins: Origins, query: LogQuery) -> list[LogLine]:
    if not matches:
        return []
    timed = _times(log, matches)
    lines = []
    for match, time, origin in zip(matches, timed, origins.of(log, matches), strict=True):
        if query.mini_batch is not None and origin.mini_batch != query.mini_batch:
            continue
        began_at = None if origin.began_at is None else to_milliseconds(origin.began_at)
        known = [moment for moment in (time, began_at) if moment is not None]
        moment = match.time if match.time is not None else max(known, default=None)
        lines.append(
            LogLine(
                text=match.text,
                time=None if moment is None else datetime.fromtimestamp(moment, UTC),
                time_inferred=match.time is None,
                worker=log.worker,
                level=match.level,
                mini_batch=origin.mini_batch,
                mini_batch_inferred=origin.inferred,
                log=log.name,
                place=match.place,
            )
        )
    return lines[-query.limit :]


def _times(log: LogFile, matches: Sequence[Match]) -> list[float | None]:
    """Of each match its own time, or that of the last line before it that says its time."""
    times: list[float | None] = []
    before, known = 0, None
    try:
        with open(log.path, "rb") as file:
            for match in matches:
                if match.time is not None:
                    known = match.time
                else:
                    start = max(before, match.place - _LOOK_BACK_BYTES)
                    last = _last_time(file, start, match.place, log.zone)
                    known = last if last is not None else known if start == before and times else None
                before = match.place
                times.append(known)
    except OSError:
        return times + [match.time for match in matches[len(times) :]]
    return times


def _last_time(file: BinaryIO, begin: int, end: int, zone: tzinfo | None) -> float | None:
    file.seek(begin)
    for line in reversed(file.read(end - begin).split(b"\n")):
        if line[:1].isdigit() or line[:1] == b"[":
            header = header_of(line, zone)
            if header.time is not None:
                return header.time
    return None


# ---- what a workspace needs for its Origins ----------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """An attempt at a mini-batch, from second to second since 1970."""

    began_at: float
    ended_at: float
    mini_batch: int


class Spans:
    """The attempts of one worker, which makes one at a time; or of those workers of several nodes that are called the same."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._one_at_a_time: list[list[Span]] = []
        for span in sorted(spans):
            free = (others for others in self._one_at_a_time if others[-1].ended_at <= span.began_at)
            if (others := next(free, None)) is None:
                self._one_at_a_time.append([span])
            else:
                others.append(span)

    def at(self, time: float) -> Origin:
        """What was going on then, by a clock that shows whole milliseconds; nothing where it may have been one of two."""
        during: list[Span] = []
        for spans in self._one_at_a_time:
            first = bisect_left(spans, time, key=attrgetter("ended_at"))
            during += [span for span in spans[first : first + 2] if span.began_at < time + _MILLISECOND]
        return Origin(during[0].mini_batch, during[0].began_at, inferred=True) if len(during) == 1 else Origin()


class OriginsByTime:
    """Where lines are from, by the times of attempts: a line with a time is of the attempt that its worker was at. `spans` are these, by
    the worker's name, or by its process alone where the node isn't known; looked at when a line is."""

    def __init__(self, spans: Iterable[tuple[str, Span]]) -> None:
        self._all = spans

    @cached_property
    def _spans(self) -> dict[str, Spans]:
        by_worker: dict[str, list[Span]] = {}
        for worker, span in self._all:
            by_worker.setdefault(worker, []).append(span)
        return {worker: Spans(spans) for worker, spans in by_worker.items()}

    def ranges(self, log: LogFile, mini_batch: int) -> Sequence[tuple[int, int]] | None:
        return None

    def of(self, log: LogFile, matches: Sequence[Match]) -> Sequence[Origin]:
        spans = self._spans.get(log.worker) or self._spans.get(log.worker.rpartition(", ")[2]) if log.worker else None
        return [spans.at(match.time) if spans and match.time is not None else Origin() for match in matches]

    def further(self, query: LogQuery, after: int, stopped: Callable[[], bool]) -> tuple[list[LogLine], int]:
        return [], after


def line_with_limit(line: LogLine, text: str) -> LogLine:
    """A line of another source with this text, as short as those of files."""
    content = text.encode("utf-8", "backslashreplace")
    return replace(line, text=_text(content, 0, len(content), 0))

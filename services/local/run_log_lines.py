"""The logs of a run on this machine: of which mini-batch a line is, by the run's journal."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from math import inf

from services.local.output_reader import worker_name
from services.local.run_folder import LocalRunFolder
from services.run_details import LogLine, LogQuery
from services.run_logs.lines import at_least
from services.run_logs.search import FURTHER, RUNNER_LOG, LogFile, Match, Origin, Span, Spans, line_with_limit, to_milliseconds
from services.storage.journal import NO_MINI_BATCH, Attempt, Journal, Printed

_OF_A_WORKER = re.compile(r"logs/user/(stdout|stderr|entry_script_log|logs)/(\d+)/process(\d+)[./]")
REPORTS = re.compile(r"logs/(job_\w+\.txt$|sys/job_report/)")
"""Written at the end, of what stands in the logs and in the journal."""
_NAMED = re.compile(r"\bmini-batch (\d{1,12})\b")
_KEPT_OF_A_LONG_LOG = 1_000_000
_CLOCK_SECONDS = 60.0  # that a clock may have been set back
_LOOKED_AT = 1_000  # failed attempts, before it is asked whether anybody waits


class JournalOrigins:
    """Where lines are from, by the journal: what workers noted of the places in their logs, and the times of their attempts."""

    def __init__(self, folder: LocalRunFolder) -> None:
        self._folder = folder
        self._spans: dict[tuple[int, int], tuple[float, Spans]] = {}

    @cached_property
    def _notes_places(self) -> bool:
        """Not in the journal of an earlier version."""
        with Journal(self._folder.path) as journal:
            return next(journal.printed(), None) is not None

    def ranges(self, log: LogFile, mini_batch: int) -> Sequence[tuple[int, int]] | None:
        worker = _worker_of(log)
        if not self._folder.has_journal:
            return [] if worker else None
        if worker is None or worker[0] not in ("stdout", "stderr") or not self._notes_places:
            return None
        kind, node, process = worker
        with Journal(self._folder.path) as journal:
            printed = journal.printed(node=node, process=process, mini_batch=mini_batch)
            return [(begin, end) for begin, end in (_place(row, kind) for row in printed) if end > begin]

    def of(self, log: LogFile, matches: Sequence[Match]) -> Sequence[Origin]:
        worker = _worker_of(log)
        if worker is None or not self._folder.has_journal:
            return [_named_in(match.text) if log.name == RUNNER_LOG else Origin() for match in matches]
        kind, node, process = worker
        if kind in ("stdout", "stderr") and self._notes_places:
            return self._by_place(matches, kind, node, process)
        times = [match.time for match in matches if match.time is not None]
        if not times:
            return [Origin()] * len(matches)
        spans = self._attempts_of(node, process, min(times))
        return [Origin() if match.time is None else spans.at(match.time) for match in matches]

    def _by_place(self, matches: Sequence[Match], kind: str, node: int, process: int) -> list[Origin]:
        """Of what was noted of one place the latest counts: a log that grew too long was cut back. What isn't noted, or not yet, came after
        what was noted before it."""
        places = [match.place for match in matches]
        origins: list[Origin | None] = [None] * len(places)
        ends: list[tuple[int, float]] = []
        limit = inf  # where what was noted later begins
        with Journal(self._folder.path) as journal:
            for row in journal.printed_before(node, process, kind, places[-1]):
                begin, end = _place(row, kind)
                last = min(end, limit)
                for number in range(bisect_left(places, begin), bisect_left(places, last)):
                    origins[number] = Origin(None if row.mini_batch == NO_MINI_BATCH else row.mini_batch, row.started_at)
                ends.append((int(last), row.started_at + row.elapsed))
                limit = min(limit, begin)
                if end <= places[0]:
                    break
        ends.reverse()
        before = [bisect_right(ends, (place, inf)) for place in places]
        return [origin or Origin(began_at=ends[number - 1][1] if number else None) for origin, number in zip(origins, before, strict=True)]

    def _attempts_of(self, node: int, process: int, since: float) -> Spans:
        """Those that ended since then. Of a long run a page that follows the logs asks each second, for the latest only."""
        known = self._spans.get((node, process))
        if known is None or since < known[0]:
            since = since - _CLOCK_SECONDS if known is None else -inf  # whoever goes back further goes back on and on
            spans = []
            with Journal(self._folder.path) as journal:
                for number, began, elapsed in journal.times_of(node, process):
                    if began + elapsed < since:
                        break
                    spans.append(Span(began, began + elapsed, number))
            known = self._spans[node, process] = since, Spans(spans)
        return known[1]

    def further(self, query: LogQuery, after: int, stopped: Callable[[], bool]) -> tuple[list[LogLine], int]:
        """The errors of attempts that failed: what run() raised stands in no log of its worker."""
        if not self._folder.has_journal:
            return [], after
        lines: list[LogLine] = []  # the last one first
        with Journal(self._folder.path) as journal:
            last = journal.last_seq()
            if not at_least("ERROR", query.level):
                return [], last
            for number, (seq, attempt) in enumerate(journal.latest_errors(after, query.mini_batch)):
                if query.worker in ("", worker_name(attempt)):
                    lines += [line for line in reversed(list(_lines_of(seq, attempt))) if _holds(line.text, query.text)]
                if len(lines) > query.limit or (number % _LOOKED_AT == 0 and stopped()):
                    break
        return lines[query.limit :: -1], last


def _place(row: Printed, kind: str) -> tuple[int, int]:
    begin, end = (row.stdout_begin, row.stdout_end) if kind == "stdout" else (row.stderr_begin, row.stderr_end)
    return (min(_KEPT_OF_A_LONG_LOG, end), end) if begin > end else (begin, end)  # it was cut back meanwhile


def _worker_of(log: LogFile) -> tuple[str, int, int] | None:
    """The kind of a worker's log, and the worker's node and process."""
    match = _OF_A_WORKER.match(log.name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def _named_in(text: str) -> Origin:
    match = _NAMED.search(text)
    return Origin(int(match[1])) if match else Origin()


def _lines_of(seq: int, attempt: Attempt) -> Iterator[LogLine]:
    """The outcome of an attempt, and the traceback."""
    first, *traceback = attempt.error.split("\n")
    heading = f"{attempt.status} of mini-batch {attempt.mini_batch}, attempt {attempt.attempt}: {first}"
    ended_at = datetime.fromtimestamp(to_milliseconds(attempt.started_at + attempt.elapsed), UTC)
    for number, text in enumerate((heading, *traceback)):
        line = LogLine(
            text="", time=ended_at, worker=worker_name(attempt), level="ERROR",
            mini_batch=attempt.mini_batch, log=FURTHER, place=seq * 1_000 + min(number, 999),
        )  # fmt: skip
        yield line_with_limit(line, text)


def _holds(line: str, text: str) -> bool:
    return text.lower() in line.lower()

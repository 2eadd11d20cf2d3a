"""A run that came from another home, read from its folder: what `services.workspace.Runs` says of it. The same in every workspace.

It has ended, and stays as it is: it is not resumed, replayed, or reused, and nothing in its folder is executed. Its inputs are elsewhere.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from functools import cached_property, lru_cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from services.domain import Environment, Run
from services.errors import NotFound, StudioError, WorkspaceUnavailable
from services.handover import archive_format as at
from services.handover.archive_format import About
from services.predictions.causes import template
from services.predictions.columns import ROW_NUMBER, quoted
from services.predictions.filters import EVERY_ROW, Filter
from services.predictions.provenance import lines_about
from services.run_details import (
    FailedItem,
    Failure,
    FailureCause,
    LogLine,
    LogQuery,
    LogSearch,
    MiniBatchAttempt,
    MiniBatchDetail,
    Provenance,
    RowAttempt,
    RowKey,
    RowTrace,
    RunActivity,
)
from services.run_logs.lines import at_least
from services.run_logs.search import FURTHER, OriginsByTime, Span, line_with_limit, log_files, search
from services.storage.journal import AttemptStatus
from services.storage.run_folder import RunFolder
from services.storage.runs import StoredRuns
from services.storage.serialization import from_json

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_REPORTS = re.compile(r"logs/(job_\w+\.txt$|sys/job_report/)")
_TABLES = re.compile("logs/sys/job_report/")
_MOST_ITEMS = 1_000
_NOT_HERE = "The file is not in the archive that the run was imported from."


class ImportedRun:
    """The methods are those of `services.workspace.Runs`, of one run. Raises WorkspaceUnavailable for a folder that can't be read."""

    def __init__(self, home: Path, run: Run) -> None:
        self._run = run
        self._folder: RunFolder[Any] = RunFolder(home, run.id, json.loads)

    @cached_property
    def about(self) -> About:
        """What is known of it beside its table."""
        path = self._folder.path / at.ABOUT
        try:
            return _about(path, path.stat().st_mtime_ns)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WorkspaceUnavailable(f"What is known of the imported run, {path}, can't be read: {error}.") from error

    def _lines(self, name: str) -> Iterator[bytes]:
        try:
            with open(self._folder.path / name, "rb") as lines:
                yield from lines
        except FileNotFoundError:
            return
        except OSError as error:
            raise WorkspaceUnavailable(f"{name} of the imported run can't be read: {error.strerror or error}.") from error

    # ---- what it was -----------------------------------------------------------------------------------------------------------

    def environment(self) -> Environment:
        return self.about.environment

    def provenance(self) -> Provenance:
        return replace(self.about.provenance, run=self._run.id)

    def kept_script(self) -> Path | None:
        return next((self._folder.path / at.SCRIPT).glob("*"), None)

    def resume(self) -> Run:
        raise StudioError(f"Run {self._run.id} was imported: it can't be resumed here.", "Rerun it, where what it needs is here too.")

    # ---- how it went -----------------------------------------------------------------------------------------------------------

    def activity(self, seconds: float | None = None) -> RunActivity:
        return self.about.activity

    @cached_property
    def _mini_batches(self) -> dict[int, MiniBatchDetail]:
        path = self._folder.path / at.MINI_BATCHES
        try:
            return _details(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise WorkspaceUnavailable(f"{path} can't be read: {error}.") from error

    def mini_batch(self, number: int) -> MiniBatchDetail:
        known = self._mini_batches.get(number)
        if known is not None and (known.items or not known.item_count or known.item == "item"):
            return known  # the names of its items stand in the archive, or were never known
        rows = self._rows_of(number)
        if known is not None:
            return replace(known, items=_items(rows)) if rows else known
        if not rows:
            text = f"Nothing is known of mini-batch {number} of run {self._run.id}."
            raise NotFound(text, "The archive of a very large run has the mini-batches that failed or took longest.")
        failed = sum(row["Status"] == "failed" for row in rows)
        first = rows[0]
        status = AttemptStatus.RUN_DONE if failed < len(rows) else AttemptStatus.RUN_EXCEPTION
        attempt = MiniBatchAttempt(
            first["Attempts"], status, first["Worker"], None, None, first["Seconds"], len(rows) - failed, failed, True,
            next((row["Error"] or "" for row in rows if row["Status"] == "failed"), ""),
        )  # fmt: skip
        return MiniBatchDetail(number, ", ".join(self._run.request.datasets), self.about.item, len(rows), _items(rows), (attempt,))

    def mini_batches(self) -> Iterator[MiniBatchDetail]:
        """Those that the archive had."""
        return (self._mini_batches[number] for number in sorted(self._mini_batches))

    def _rows_of(self, mini_batch: int) -> list[dict[str, Any]]:
        """The rows of a mini-batch, as the table has them."""
        try:
            table = self.predictions()
        except NotFound:
            return []
        names = ("File", "Status", "Worker", "Attempts", "Seconds", "Error", *([ROW_NUMBER] if ROW_NUMBER in table.own else []))
        filter_ = Filter(statuses=EVERY_ROW.statuses, where=f"{quoted(table.own['Mini-batch'])} = {int(mini_batch)}")
        rows = table.rows(", ".join(quoted(table.own[name]) for name in names), filter_, "ORDER BY file_row_number")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def failures(self, limit: int = 100) -> list[Failure]:
        return list(self.about.failures[:limit])

    def failed_items(self, *, cause: str | None = None, first: int = 0, count: int = 100) -> list[FailedItem]:
        from services.predictions import failures

        if self._has_table:
            return failures.failed_items(self._table(), cause, first, count)
        items = (from_json(line, FailedItem) for line in self._lines(at.FAILED_ITEMS))
        if cause is not None:
            chosen = next((group for group in self.about.causes if cause in (group.cause, group.template)), None)
            items = (item for item in items if chosen is not None and template(item.cause, [item.item]) == chosen.template)
        return list(islice(items, first, first + count))

    def failure_causes(self, limit: int = 100) -> list[FailureCause]:
        from services.predictions import failures

        return failures.failure_causes(self._table(), limit) if self._has_table else list(self.about.causes[:limit])

    # ---- its predictions -------------------------------------------------------------------------------------------------------

    @property
    def _has_table(self) -> bool:
        return (self._folder.path / at.TABLE).is_file()

    def _table(self) -> Predictions:
        from services.predictions.reader import open_predictions

        return open_predictions(self._folder.path / at.TABLE)

    def predictions(self) -> Predictions:
        if self._has_table:
            return self._table()
        raise NotFound(f"Run {self._run.id} has no rows: its script writes its own output.", "Download the output files instead.")

    def input_file(self, key: RowKey, worker: str) -> Path | None:
        return None

    def trace(self, key: RowKey, worker: str) -> RowTrace:
        detail = self._mini_batches.get(key.mini_batch)
        tries = tuple(
            RowAttempt(a.attempt, a.status, a.worker, a.started_at or self._run.submitted_at, a.run_seconds or 0.0, a.error)
            for a in (detail.attempts if detail else ())
        )
        if not key.file:
            return RowTrace(None, _NOT_HERE, tries, ())
        return RowTrace(None, _NOT_HERE, tries, lines_about(key.file, self._folder.log_files().values()))

    # ---- its logs --------------------------------------------------------------------------------------------------------------

    def search_logs(
        self,
        query: LogQuery = LogQuery(),  # noqa: B008 - it is frozen
        *,
        after: Mapping[str, int] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> LogSearch:
        origins = _AttemptOrigins(list(self._mini_batches.values()), errors=self.about.reports)
        zone, left_out = timezone(timedelta(seconds=self.about.utc_offset)), _REPORTS if self.about.reports else _TABLES
        return search(log_files(self._folder, left_out, zone), origins, query, after=after, stopped=stopped)


class _AttemptOrigins(OriginsByTime):
    """By the times of the attempts that the archive has."""

    def __init__(self, details: Sequence[MiniBatchDetail], *, errors: bool) -> None:
        """`errors`: those of attempts stand in no log."""
        spans: list[tuple[str, Span]] = []
        self._failed: list[tuple[MiniBatchDetail, MiniBatchAttempt]] = []
        for detail in details:
            for attempt in detail.attempts:
                if attempt.started_at is not None and attempt.seconds is not None:
                    began = attempt.started_at.timestamp()
                    spans.append((attempt.worker, Span(began, began + attempt.seconds, detail.number)))
                if errors and attempt.error and attempt.status != AttemptStatus.RUN_DONE:
                    self._failed.append((detail, attempt))
        super().__init__(spans)

    def further(self, query: LogQuery, after: int, stopped: Callable[[], bool]) -> tuple[list[LogLine], int]:
        """The errors of attempts that failed."""
        if after or not at_least("ERROR", query.level):
            return [], len(self._failed)
        lines = []
        for number, (detail, attempt) in enumerate(self._failed, 1):
            if query.worker not in ("", attempt.worker) or query.mini_batch not in (None, detail.number):
                continue
            ended = attempt.started_at + timedelta(seconds=attempt.seconds or 0.0) if attempt.started_at else None
            first, *traceback = attempt.error.split("\n")
            heading = f"{attempt.status} of mini-batch {detail.number}, attempt {attempt.attempt}: {first}"
            for place, text in enumerate((heading, *traceback)):
                if query.text.lower() in text.lower():
                    line = LogLine(
                        text="", time=ended, worker=attempt.worker, level="ERROR", mini_batch=detail.number, log=FURTHER,
                        place=number * 1_000 + min(place, 999),
                    )  # fmt: skip
                    lines.append(line_with_limit(line, text))
        return lines[-query.limit - 1 :], len(self._failed)


def _items(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The first items by name: files, or which rows of them."""
    if ROW_NUMBER not in rows[0]:
        return tuple(row["File"] for row in rows[:_MOST_ITEMS])
    items = []
    for file, several in groupby(rows, itemgetter("File")):
        numbers = [row[ROW_NUMBER] for row in several]
        known = all(number is not None for number in numbers)
        items.append(f"{file}, rows {min(numbers):,} to {max(numbers):,}" if known else file)
    return tuple(items[:_MOST_ITEMS])


@lru_cache(16)
def _about(path: Path, _modified_ns: int) -> About:
    return from_json(path.read_bytes(), About)


@lru_cache(4)
def _details(path: Path, _modified_ns: int) -> dict[int, MiniBatchDetail]:
    details = (from_json(line, MiniBatchDetail) for line in path.read_bytes().splitlines())
    return {detail.number: detail for detail in details}


# ---- in a workspace's runs ---------------------------------------------------------------------------------------------------------------

S = TypeVar("S", bound=StoredRuns[Any])
P = ParamSpec("P")
R = TypeVar("R")


def unless_imported(method: Callable[Concatenate[S, str, P], R]) -> Callable[Concatenate[S, str, P], R]:
    """A method of a workspace's runs. Of a run that was imported, the method of this name of `ImportedRun` answers in its place."""

    @functools.wraps(method)
    def answered(self: S, run_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if (run := self.imported(run_id)) is None:
            return method(self, run_id, *args, **kwargs)
        answer: R = getattr(ImportedRun(self._home, run), method.__name__)(*args, **kwargs)
        return answer

    return answered

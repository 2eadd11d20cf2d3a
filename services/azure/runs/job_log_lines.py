"""The downloaded logs of a step on Azure ML: whose they are, and of which mini-batch a line is, as far as the table of attempts tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import cached_property
from pathlib import Path

from services.azure.runs import job_logs
from services.azure.runs.run_folder import AzureRunFolder
from services.run_details import LogLine, LogQuery
from services.run_logs.search import LogFile, Match, Origin, Span

_OF_A_WORKER = re.compile(r"logs/user/\w+/([^/]+)/(process\d+)[./]")
_TABLE = "logs/sys/job_report/"
_RUNNER = "logs/sys/runner.log"


def log_files(folder: AzureRunFolder) -> list[LogFile]:
    """All but the tables. Nodes write UTC."""
    logs = []
    for name, path in folder.log_files().items():
        if not name.startswith(_TABLE):
            match = _OF_A_WORKER.match(name)
            worker = f"node {match[1]}, {match[2]}" if match else "runner" if name == _RUNNER else ""
            logs.append(LogFile(name, path, worker, UTC, any_file=name.startswith("logs/user/logs/")))
    return logs


class TableOrigins:
    """Where lines are from, by the table of attempts: a line with a time is of the attempt that its process was at. The table names no
    nodes: where processes of one name were at two attempts then, it isn't known."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    @cached_property
    def _attempts(self) -> dict[str, list[Span]]:
        spans: dict[str, list[Span]] = {}
        for attempt in job_logs.attempts(self._logs):
            if attempt.started_at is not None and attempt.elapsed is not None:
                span = Span(attempt.started_at, attempt.started_at + attempt.elapsed, attempt.mini_batch)
                spans.setdefault(attempt.process.rpartition("/")[2], []).append(span)
        return spans

    def ranges(self, log: LogFile, mini_batch: int) -> Sequence[tuple[int, int]] | None:
        return None

    def of(self, log: LogFile, matches: Sequence[Match]) -> Sequence[Origin]:
        spans = self._attempts.get(log.worker.rpartition(", ")[2], []) if log.worker else []
        return [_at(match.time, spans) for match in matches]

    def further(self, query: LogQuery, after: int, stopped: Callable[[], bool]) -> tuple[list[LogLine], int]:
        return [], after


def _at(time: float | None, spans: Sequence[Span]) -> Origin:
    if time is None:
        return Origin()
    during = [span for span in spans if span.began_at <= time <= span.ended_at]
    return Origin(during[0].mini_batch, during[0].began_at, inferred=True) if len(during) == 1 else Origin()

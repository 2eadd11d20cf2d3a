"""A step's logs, as ParallelRunStep writes them on Azure ML, read: why it failed, which attempts did, how far it is.

Names and shapes are those of Microsoft's pages *how-to-debug-parallel-run-step* and *how-to-tune-performance-of-parallel-run-step*, and of
logs in public issues. They change from version to version: a column counts by its name in any spelling, and what isn't known here is passed
over.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from services.azure.auth.sdk_errors import parse_time
from services.azure.run_history import Details
from services.predictions.causes import Line, lines_of, one_line
from services.run_details import Failure
from services.run_logs.search import Span
from services.storage.journal import AttemptStatus

_ERROR_LOGS = ("job_error*.txt", "user/error*.txt", "user/error/**/*", "user_logs/std_log*.txt", "azureml-logs/70_driver_log*.txt")
"""Where tracebacks are, the script's own first; of the driver's output there is only what went wrong at the start."""
_MAX_BYTES = 5_000_000  # of a log, its end
_MAX_CHARACTERS = 20_000  # of an error
_PROGRESS = re.compile(rb"Processed (\d{1,12}) of (\d{1,12}) mini batches")
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?:[:|] ?| )?", re.MULTILINE)
_SAID = (
    ("user/error/**/*", "stderr"), ("user/stderr/**/*", "stderr"), ("user/entry_script_log/**/*", "print"), ("user/stdout/**/*", "print"),
)  # fmt: skip
"""The logs of what the script says, and what a line is that doesn't say its level."""
_MAX_LINES = 200_000
_LOGGER = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:", re.MULTILINE)
"""How a line begins by Python's `logging.basicConfig()`: level, logger."""
_NUMBERS = re.compile(r"^[^|\n]{0,40}\|(DEBUG|INFO|WARNING|ERROR|CRITICAL)\|(?:\d+\|)+", re.MULTILINE)
"""How a line begins in logs of ParallelRunStep: time, level, process, thread."""
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = (
    r"Traceback \(most recent call last\):\n(?:\0?(?:[ \t].*)?\n)*"  # where
    r"\0?([A-Za-z_][\w.]*(?:: .*|:)?$(?:\n(?!\0|[ \t]*$|.*Traceback \().+)*)"  # what: the exception, with the lines that go on
)
_MEANWHILE = r"\n\s*\n(?:During handling of the above exception|The above exception was the direct cause).*\n\s*\n"
_TRACEBACKS = re.compile(rf"{_RAISED}(?:{_MEANWHILE}{_RAISED})*", re.MULTILINE)
"""In a text in which each time is a zero byte: a line with one begins something else."""
_BARE = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception)(?:: .+)?$")
_PLACE = re.compile(r'^ +File "(.+)", line (\d+)', re.MULTILINE)
_BUILD_ERROR = re.compile(r"(?:\w*Error|ERROR|error): ")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_NO_CAUSE = re.compile(r"SystemExit: -?\d+$")  # the driver's own, at the end of every step that failed


# ---- tracebacks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Traceback:
    """One that stands in a log: whole, without the log's time stamps, and its last exception: `ValueError: no such colour`."""

    text: str
    exception: str

    @property
    def sentence(self) -> str:
        """Its exception in one line, with the place that raised it, as a worker of this machine words it."""
        places = _PLACE.findall(self.text[self.text.rfind(_TRACEBACK) :])
        file, number = places[-1] if places else ("", "")
        where = f" ({PureWindowsPath(file).name}, line {number})" if places else ""
        return one_line(self.exception) + where


def tracebacks(log: str) -> list[Traceback]:
    """Those in a log, each once, in the order in which they stand there; exceptions that were raised while others were handled are one."""
    found: dict[str, Traceback] = {}
    for match in _TRACEBACKS.finditer(_TIME.sub("\0", "\n".join(log.splitlines()))):
        text, exception = (part.replace("\0", "").strip() for part in (match[0], match[2] or match[1]))
        if not _NO_CAUSE.match(exception):
            found.setdefault(text, Traceback(text, exception))
    return list(found.values())


def _bare_exceptions(log: str) -> list[Traceback]:
    """Lines that are an exception without a traceback."""
    lines = map(str.strip, _TIME.sub("", log).splitlines())
    return [Traceback(line, line) for line in lines if _BARE.match(line)]


# ---- why a run failed ------------------------------------------------------------------------------------------------


def reason(details: Details, logs: Path, cause: str = "") -> tuple[str, str]:
    """An error code, and a text whose first line a person should see: the script's last exception comes before the service's message, which
    is often no more than “SystemExit: 42”. `details` are the run's, `logs` is the folder of the downloaded logs, `cause` is why most items
    failed, for a run without an exception."""
    code, said = details.code or "Failed", f"Azure ML says: {details.message}" if details.message else ""
    for pattern in _ERROR_LOGS:
        texts = [_text(path) for path in _files(logs, pattern)]
        found = list(dict.fromkeys(one for text in texts for one in tracebacks(text) or _bare_exceptions(text)))
        if found:
            headline = one_line(found[-1].exception)
            return code, "\n\n".join(filter(None, (headline, *reversed([one.text for one in found]), said)))[:_MAX_CHARACTERS]
    if not cause:
        cause = next((line for path in _files(logs, "azureml-logs/20_image_build_log*.txt") if (line := _build_error(_text(path)))), "")
    result = next((text for path in _files(logs, "job_result*.txt") if (text := _TIME.sub("", _text(path).strip()))), "")
    no_reason = "Azure ML reports that the run failed, without a reason. Its page in Azure ML studio may show one."
    return code, "\n\n".join(filter(None, (cause, result, said)))[:_MAX_CHARACTERS] or no_reason


def _build_error(log: str) -> str:
    """The last line of an image's build that begins as conda, pip and docker begin their errors; "" where there is none."""
    lines = map(str.strip, reversed(_TIME.sub("", _COLOURS.sub("", log)).splitlines()))
    return next((one_line(line) for line in lines if _BUILD_ERROR.match(line)), "")


def _files(logs: Path, pattern: str) -> list[Path]:
    return sorted(path for path in logs.glob(pattern) if path.is_file())


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


# ---- the table of attempts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobAttempt:
    """A row of `processed_mini-batches.csv`: an attempt at a mini-batch. `total`, `started_at` (seconds since 1970), `elapsed` and
    `run_seconds` (seconds, in all and in run()) are None where the table doesn't say."""

    mini_batch: int
    attempt: int
    process: str
    total: int | None
    failed: int
    status: str
    category: str
    message: str
    started_at: float | None = None
    elapsed: float | None = None
    run_seconds: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status in ("", AttemptStatus.RUN_DONE) and not self.message


def table_of_attempts(logs: Path) -> Path | None:
    """Where it is, if it was downloaded."""
    return next(iter(_files(logs, "sys/job_report/processed_mini-batches*.csv")), None)


def attempts(logs: Path) -> list[JobAttempt]:
    """The attempts at mini-batches, in the order of the table; none without one. Its rows of other events have no mini-batch."""
    try:
        with open(table_of_attempts(logs) or logs / "none", encoding="utf-8", errors="replace", newline="") as lines:
            rows = [_normalized(row) for row in csv.DictReader(lines)]
    except (OSError, csv.Error):
        return []
    found = []
    for row in rows:
        number = _number(row, "minibatchid")
        if number is None:
            continue
        total, succeeded, failed = (_number(row, name) for name in ("total", "succeeded", "failed"))
        if failed is None:
            failed = total - succeeded if total is not None and succeeded is not None else 0
        started_at = parse_time(row.get("starttime"))  # nodes write UTC
        found.append(
            JobAttempt(
                number, _number(row, "pickedcount") or 1, row.get("process", ""), total, failed,
                row.get("status", ""), row.get("errorcategory", ""), row.get("errormessage", ""),
                started_at.timestamp() if started_at else None, _seconds(row, "elapsedseconds"), _seconds(row, "runmethodseconds"),
            )
        )  # fmt: skip
    return found


def spans(logs: Path) -> Iterator[tuple[str, Span]]:
    """When each process, by its name, was at an attempt. The table names no nodes."""
    for attempt in attempts(logs):
        if attempt.started_at is not None and attempt.elapsed is not None:
            yield attempt.process.rpartition("/")[2], Span(attempt.started_at, attempt.started_at + attempt.elapsed, attempt.mini_batch)


def settled(every: Iterable[JobAttempt], tries: int) -> dict[int, JobAttempt]:
    """The attempt that counts, by mini-batch: the last one, where it is not tried again. `tries` is the run_max_try of a step that goes on,
    or was ended."""
    last = {attempt.mini_batch: attempt for attempt in every}
    return {number: attempt for number, attempt in last.items() if attempt.succeeded or attempt.attempt >= tries}


def item_counts(logs: Path, tries: int) -> tuple[int, int] | None:
    """The items that succeeded and that failed by now; None where the table doesn't tell."""
    last = settled(attempts(logs), tries).values()
    if not last or any(attempt.total is None for attempt in last):
        return None
    failed = sum(attempt.failed for attempt in last)
    return sum(attempt.total or 0 for attempt in last) - failed, failed


def failed_attempts(logs: Path, limit: int) -> list[Failure]:
    """The failed or incomplete attempts, the latest first, by the table of them; empty without one. It names no files."""
    every, sentences = attempts(logs), Sentences(logs)
    last = {attempt.mini_batch: attempt for attempt in every}
    failed = [attempt for attempt in every if not attempt.succeeded or attempt.failed][-limit:]
    return [
        Failure(a.mini_batch, a.attempt, a.status, (), a.failed, a is last[a.mini_batch], a.process, sentences.in_full(a))
        for a in reversed(failed)
    ]


def _with_category(attempt: JobAttempt) -> str:
    """The table's own words, the exception's type first."""
    said, category = " ".join(attempt.message.split()), attempt.category
    return f"{category}: {said}" if said and category and not said.startswith(category) else said


def _normalized(row: Mapping[Any, Any]) -> dict[str, str]:
    """By the letters of each column's name: `Mini-batch Id` and `mini_batch_id` are one. “N/A” is nothing."""
    texts = ((re.sub(r"[^a-z]", "", name.lower()), value.strip()) for name, value in row.items() if name and isinstance(value, str))
    return {name: "" if value == "N/A" else value for name, value in texts}


def _seconds(row: Mapping[str, str], name: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(row.get(name, ""))
    return None


def _number(row: Mapping[str, str], name: str) -> int | None:
    text = row.get(name, "").removesuffix(".0")
    return int(text) if text.isdecimal() else None


# ---- progress --------------------------------------------------------------------------------------------------------


def mini_batches_done(logs: Path) -> tuple[int, int] | None:
    """The mini-batches done and the mini-batches in all, by the downloaded logs; None where these have no line of it.

    `logs/job_progress_overview.<time>.txt` has lines such as “2023-05-16T22:20:53.233813 Processed 4117 of 20000 mini batches in 5:02:14.
    Estimated remaining time 19:25:59.” (as in github.com/Azure/azure-sdk-for-python/issues/30421); after a failover there are several.
    """
    for overview in sorted(logs.glob("job_progress_overview*.txt"), reverse=True):
        if counts := _PROGRESS.findall(overview.read_bytes()):
            return int(counts[-1][0]), int(counts[-1][1])
    return None


# ---- what the script said --------------------------------------------------------------------------------------------


def lines_said(logs: Path) -> list[Line]:
    """What the script said, of each log the lines in their order."""
    lines: list[Line] = []
    for pattern, source in _SAID:
        for path in _files(logs, pattern):
            lines += lines_of(_LOGGER.sub(r"\1: ", _NUMBERS.sub(r"\1: ", _text(path))), source, most=_MAX_LINES)
            if len(lines) > _MAX_LINES:
                return lines
    return lines


class Sentences:
    """What is said of attempts that raised, worded as on this machine: `ValueError: no such colour (score.py, line 4)`."""

    def __init__(self, logs: Path) -> None:
        texts = (_text(path) for pattern in _ERROR_LOGS[:3] for path in _files(logs, pattern))
        self._tracebacks = {one.exception: one for text in texts for one in tracebacks(text)}

    def of(self, attempt: JobAttempt) -> str:
        return self.in_full(attempt).partition("\n")[0] or f"Mini-batch {attempt.mini_batch} failed: {attempt.status}"

    def in_full(self, attempt: JobAttempt) -> str:
        """The sentence, then the traceback; "" of an attempt that returned."""
        one = self._traceback(attempt)
        return "\n".join(filter(None, (one.sentence, one.text))) if one else _with_category(attempt)

    def _traceback(self, attempt: JobAttempt) -> Traceback | None:
        """The one of the attempt's words; the table may hold a part of them only."""
        said = " ".join(attempt.message.split())
        exact = (f"{attempt.category}: {attempt.message}", attempt.message)
        found = next((self._tracebacks[text] for text in exact if text in self._tracebacks), None)
        return found or next((one for text, one in self._tracebacks.items() if said and said in " ".join(text.split())), None)

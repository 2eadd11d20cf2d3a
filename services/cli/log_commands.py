"""The command logs: the log files of a run, or one stream of their lines, searched and followed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from services import formats
from services.cli import output
from services.cli.output import Answer, note
from services.domain import RunStatus
from services.errors import SettingsError
from services.formats import counted
from services.run_details import LogLine, LogQuery, LogSearch
from services.workspace import Workspace

INTERRUPTED = 130  # as shells report a program ended by SIGINT
_POLL_SECONDS = 0.5
_FOLLOWED = 1_000  # lines that may come between two looks
_LAST = "1000"
_LAST_FOLLOWED = "10"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What turns the files into one stream of lines."""
    group = parser.add_argument_group("one stream of the lines of all logs, by their time")
    group.add_argument("--search", metavar="TEXT", help="lines that hold this text; small and capital letters are the same")
    group.add_argument("--level", metavar="L", help=f"lines from this level up: {', '.join(LogQuery.LEVELS)}")
    group.add_argument("--mini-batch", metavar="N", help="lines of one mini-batch, by its number in the table")
    group.add_argument("--worker", metavar="W", help="lines of one worker, such as “node 0, process001”, or of the runner")
    text = f"at most so many lines, the last ones (default: {_LAST}; with --follow {_LAST_FOLLOWED} before it goes on)"
    group.add_argument("--last", metavar="N", help=text)
    group.add_argument("--follow", action="store_true", help="go on until the run has ended. Ctrl-C does not stop the run")


def logs(workspace: Workspace, args: argparse.Namespace) -> Answer:
    asked = (args.search, args.level, args.mini_batch, args.worker, args.last)
    if args.follow or any(value is not None for value in asked):
        return _stream(workspace, args)
    files = workspace.runs.logs(args.run)
    if args.json:
        return Answer({"logs": {name: output.last_part(path) for name, path in files.items()}})
    return Answer({}, (line for name, path in files.items() for line in (f"==> {name} <==", *output.last_part(path).splitlines())))


def _stream(workspace: Workspace, args: argparse.Namespace) -> Answer:
    query = LogQuery(
        text=args.search or "",
        level=(args.level or "").upper(),
        worker=args.worker or "",
        mini_batch=None if args.mini_batch is None else number("mini_batch", args.mini_batch, "a mini-batch"),
        limit=number("last", args.last or (_LAST_FOLLOWED if args.follow and not args.json else _LAST), "a number of lines"),
    )
    if not args.follow:
        found = workspace.runs.search_logs(args.run, query)
        _check_worker(found, query)
        return Answer(_value(found), _lines(found))
    if args.json:
        output.follow(workspace, workspace.runs.get(args.run))
        return Answer(_value(workspace.runs.search_logs(args.run, query)))
    return Answer({}, _followed(workspace, args.run, query))


def number(field: str, text: str, what: str) -> int:
    """A whole number, as it is typed. Raises SettingsError on the field."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise SettingsError(field, f"“{text}” is not {what}", "Give a whole number.")
    return int(text)


def _check_worker(found: LogSearch, query: LogQuery) -> None:
    if query.worker and query.worker not in found.workers:
        raise SettingsError("worker", f"no worker “{query.worker}” has logs", f"Those that have: {', '.join(found.workers) or 'none'}.")


def _followed(workspace: Workspace, run_id: str, query: LogQuery) -> Iterator[str]:
    found: LogSearch | None = None
    silent_since = time.monotonic()
    while True:
        run = workspace.runs.get(run_id)  # before its logs: what it wrote last is seen
        before, found = found, workspace.runs.search_logs(run_id, query, after=found.ends if found else None)
        note(*(text for text in found.notes if before is None or text not in before.notes))
        if before and found.more:
            note(f"Lines came faster than they are shown: of these, the last {counted(len(found.lines), 'line')}.")
        for line in found.lines:
            yield _line(line)
        if found.lines or run.status is not RunStatus.NOT_RESPONDING:
            silent_since = time.monotonic()
        if run.status.ended or time.monotonic() - silent_since > output.NOT_RESPONDING_SECONDS:
            note(f"{run.id}: {run.status}")
            return
        query = replace(query, limit=max(query.limit, _FOLLOWED))
        time.sleep(_POLL_SECONDS)


def _value(found: LogSearch) -> dict[str, Any]:
    """`more`: there may be earlier lines that match."""
    lines = [{name: value for name, value in asdict(line).items() if name != "place"} for line in found.lines]
    return {"lines": lines, "more": found.more, "scanned_bytes": found.scanned, "bytes": found.size, "notes": found.notes}


def _lines(found: LogSearch) -> Iterator[str]:
    note(*found.notes)
    if not found.lines:
        note(f"No line matches, of {formats.size(found.size)} of logs.")
    elif found.more:
        note(f"The last {counted(len(found.lines), 'line')}; there may be more before: --last N.")
    yield from map(_line, found.lines)


def _line(line: LogLine) -> str:
    """`~` marks what was inferred: a time, from the line before or the start of the mini-batch; a mini-batch, from the time."""
    when = "" if line.time is None else ("~" if line.time_inferred else "") + formats.iso(line.time)
    batch = "" if line.mini_batch is None else f"{'~' if line.mini_batch_inferred else ''}{line.mini_batch}"
    return f"{when:>25} {line.level or '-':<8} {line.worker or line.log:<18} {batch:>5}  {line.text}"

"""The command replay: one mini-batch of a run scored again by itself, beside the run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from services import formats
from services.cli.log_commands import number
from services.cli.output import Answer, note, table
from services.cli.trial_commands import cells_of
from services.formats import counted
from services.run_details import Replay, ReplayProgress
from services.workspace import Workspace

_SHOWN_ROWS, _SHOWN_DIFFERENCES = 50, 10
_SHOWN_CHARACTERS = 200


def replay(workspace: Workspace, args: argparse.Namespace) -> Answer:
    found = workspace.replay(args.run, number("mini_batch", args.mini_batch, "the number of a mini-batch"), progress=_shown())
    return Answer(replay_value(found), _lines(found), 0 if found.succeeded else 1)


def _shown() -> Callable[[ReplayProgress], None]:
    """A function that shows on standard error what changed since, then where it is, and what is printed as it comes."""
    shown = ReplayProgress()

    def show(progress: ReplayProgress) -> None:
        nonlocal shown
        if progress.changes and not shown.changes:
            note(*(f"Changed: {change}" for change in progress.changes))
        if progress.stage is not shown.stage:
            note(f"{progress.stage}…" if progress.stage.endswith("()") else f"{progress.stage.capitalize()}…")
        for line in progress.printed[len(shown.printed) :]:
            note(f"{line.seconds:8.2f} s  {line.stream:<6}  {line.text}")
        shown = progress

    return show


def replay_value(found: Replay) -> dict[str, Any]:
    """A replay by the names of domain.py; a row is what the run's table of predictions would have, by column."""
    value = {name: value for name, value in asdict(found).items() if name != "rows"}
    return value | {"rows": [dict(row.values) for row in found.rows], "error": found.error or None, "traceback": found.traceback or None}


def _lines(found: Replay) -> Iterator[str]:
    what = f"Mini-batch {found.mini_batch} of {found.run}: {counted(found.items, found.item)} of {found.dataset}, {found.environment}"
    yield what if found.dataset else f"Mini-batch {found.mini_batch} of {found.run}"
    yield from (f"Changed: {change}" for change in found.changes)
    if found.error:
        yield f"Error: {found.error}"
        yield from (f"  {line}" for line in found.traceback.splitlines())
    shown = ("item", *found.predictions)
    if found.rows:
        rows = found.rows[:_SHOWN_ROWS]
        yield from table([name.upper() for name in shown], [cells_of(row, shown) for row in rows])
        if len(found.rows) > len(rows):
            yield f"and {len(found.rows) - len(rows):,} more: --json has up to 1,000"
    if found.comparison:
        yield found.comparison
    for difference in found.differences[:_SHOWN_DIFFERENCES]:
        before, after = (f"“{_short(text)}”" if text is not None else "no row" for text in (difference.run, difference.replay))
        yield f"  row {difference.number:,}: in the run {before}, now {after}"
    yield from (f"{label}: {text}" for label, text in found.facts().items())
    yield from (f"{cause.count:,} failed: {cause.cause}" for cause in found.causes)
    yield from (f"Warning: {warning}" for warning in found.warnings)
    if found.written:
        names = [f"{name} ({formats.size(size)})" for name, size in found.written]
        yield f"Written to the output folder during the replay, then removed: {formats.listed(names, 5)}"
    if found.printed_left_out > 0:
        yield f"{counted(found.printed_left_out, 'line')} that it printed are not kept."


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"

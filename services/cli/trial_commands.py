"""The command try: some items of a run scored first, with what they cost."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from services import trial_here
from services.cli.output import Answer, note, table
from services.cli.scoring_commands import request_of
from services.errors import SettingsError
from services.run_details import Trial, TrialRow
from services.workspace import Workspace

_SHOWN_CHARACTERS = 60


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `try`, beside those of `run`."""
    group = parser.add_argument_group("what is tried")
    group.add_argument("--items", default="5", metavar="N", help="how many items (default: %(default)s)")
    text = "first (the default), random, or the numbers of items, from 1: 1,5,9"
    group.add_argument("--choose", default="first", metavar="first|random|N,N,...", help=text)
    text = "on Azure ML: fetch the model and the items, and execute the model and the script on this machine"
    group.add_argument("--here", action="store_true", help=text)
    text = "for how long more items are scored to measure what a call costs (default: %(default)s); 0 scores the items alone"
    group.add_argument("--seconds", default="10", metavar="S", help=text)


def try_items(workspace: Workspace, args: argparse.Namespace) -> Answer:
    request = request_of(workspace, args, say=True)
    note("Trying…")
    items, choice, seconds = _number("items", args.items), _choice(args.choose), _seconds(args.seconds)
    trial = trial_here.try_items(workspace, request, here=args.here, items=items, choice=choice, seconds=seconds)
    if not trial.rows and not trial.error and (what := trial_here.consent(workspace)):
        note(f"No item was scored. --here: {what}")
    elsewhere = workspace.remote is not None and not args.here
    return Answer(trial_value(trial), _lines(trial), 1 if trial.error or not (trial.succeeded or elsewhere) else 0)


def _number(field: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise SettingsError(field, f"“{text}” is not a number of items", "Give 1 or more.")
    return int(text)


def _choice(text: str) -> str | Sequence[int]:
    words = text.replace(",", " ").split()
    return [int(word) for word in words] if words and all(word.isdecimal() and len(word) <= 12 for word in words) else text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise SettingsError("seconds", f"“{text}” is not a time to measure for", "Give a number of seconds, from 0 to 3600.")
    return seconds


def trial_value(trial: Trial) -> dict[str, Any]:
    """A trial by the names of domain.py; a row is what the run's table of predictions would have, by column."""
    value = {name: value for name, value in asdict(trial).items() if name != "rows"}
    return {"rows": [dict(row.values) for row in trial.rows]} | value | {"error": trial.error or None, "traceback": trial.traceback or None}


def _lines(trial: Trial) -> Iterator[str]:
    if trial.error:
        yield f"Error: {trial.error}"
        yield from (f"  {line}" for line in trial.traceback.splitlines())
    shown = ("item", *trial.predictions)
    if trial.rows:
        yield from table([name.upper() for name in shown], [cells_of(row, shown) for row in trial.rows])
        yield ""
    if trial.estimate:
        yield f"The whole run: {trial.estimate.describe()}" + "".join(f". {sentence}" for sentence in trial.estimate.why)
    yield from (f"{label}: {text}" for label, text in trial.facts().items())
    yield from (f"{cause.count:,} failed: {cause.cause}" for cause in trial.causes)
    yield from trial.not_numbers
    yield from (f"Warning: {warning}" for warning in trial.warnings)
    yield from trial.place
    yield from (f"Not tried: {sentence}" for sentence in trial.not_tried)
    for suggestion in trial.suggestions:
        yield f"Suggestion: --{suggestion.setting.replace('_', '-')} {suggestion.value}. {suggestion.why}"


def cells_of(row: TrialRow, columns: Sequence[str]) -> list[str]:
    """Of a row for people: the item, then these columns; in place of the first one why there is no prediction."""
    cells = [row.item + (f", row {row.row:,}" if row.row else ""), *(row.values.get(column) for column in columns[1:])]
    if row.error:
        cells[1:2] = [row.error]
    texts = ["" if cell is None else str(cell) for cell in cells]
    return [text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…" for text in texts]

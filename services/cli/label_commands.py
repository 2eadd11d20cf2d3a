"""The commands for true labels: given for a dataset, listed, removed; and the runs over it judged by them."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.cli import output
from services.cli.output import Answer, note
from services.errors import SettingsError
from services.formats import counted, duration, percent
from services.predictions.label_file import LabelColumns, Labels, label_columns
from services.run_details import Leaderboard, RunScore
from services.storage.file_tree import path_given
from services.workspace import Workspace


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of `labels`."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a CSV or Parquet file; without it, the labels are listed")
    add = parser.add_argument
    add("--column", default="", metavar="C", help="the labels are this column of the dataset itself, a table")
    add("--name", default="", metavar="T", help="what to call them (default: the file's name)")
    told = "(default: recognized by its name)"
    add("--file-column", metavar="C", help=f"the file's column of names or paths {told}")
    add("--label-column", metavar="C", help=f"the file's column of labels {told}")
    add("--row-column", metavar="C", help=f"the file's column of the row's number in its file, from 1 {told}")
    add("--remove", default="", metavar="ID", help="forget these labels")


def labels(workspace: Workspace, args: argparse.Namespace) -> Answer:
    dataset = workspace.dataset(args.dataset).reference
    given = [bool(args.file), bool(args.column), bool(args.remove)]
    if sum(given) > 1:
        raise SettingsError("labels", "a file, a column and labels to remove exclude each other", "Give one of them.")
    if args.remove:
        workspace.remove_labels(dataset, args.remove)
        return Answer({"dataset": dataset, "removed": args.remove}, [f"Removed labels {args.remove} of {dataset}"])
    if not any(given):
        known = workspace.labels(dataset)
        return Answer({"dataset": dataset, "labels": list(map(_value, known))}, _lines(known))
    added = (
        workspace.add_labels(dataset, column=args.column)
        if args.column
        else workspace.add_labels(dataset, args.file, name=args.name, columns=_columns(args))
    )
    lines = [f"Labels {added.id} of {dataset}: {counted(added.count, 'label')}, from {added.name}"]
    note("Every run over it is judged by them: see the leaderboard.")
    return Answer({"dataset": dataset, **_value(added)}, lines)


def _columns(args: argparse.Namespace) -> LabelColumns | None:
    """As chosen; None where nothing was."""
    chosen = {"file": args.file_column, "label": args.label_column, "row": args.row_column}
    chosen = {name: column for name, column in chosen.items() if column is not None}
    return replace(label_columns(path_given(args.file)), **chosen) if chosen else None


def _value(labels: Labels) -> dict[str, Any]:
    about = ("id", "name", "count", "column", "dataset", "has_rows", "added_at")
    return {name: getattr(labels, name) for name in about}


def _lines(known: list[Labels]) -> list[str]:
    rows = [(one.id, one.count, one.dataset, output.utc(one.added_at), one.name) for one in known]
    return output.table(("LABELS", "COUNT", "GIVEN FOR", "ADDED", "NAME"), rows)


def leaderboard(workspace: Workspace, args: argparse.Namespace) -> Answer:
    board = workspace.leaderboard(args.dataset, args.labels, _progress())
    value = {
        "dataset": board.dataset, "labels": board.labels or None, "labels_name": board.labels_name or None, "notes": board.notes,
        "runs": list(map(_score_value, board.scores)),
    }  # fmt: skip
    return Answer(value, _board_lines(board))


def _progress() -> Callable[[int, int], None]:
    """Says now and then how many runs are judged, where that takes a while."""
    due = time.monotonic() + 2

    def show(done: int, of: int) -> None:
        nonlocal due
        if done < of and time.monotonic() > due:
            due = time.monotonic() + 2
            note(f"Judging: {done:,} of {counted(of, 'run')}")

    return show


def _score_value(score: RunScore) -> dict[str, Any]:
    figures = {name: _finite(getattr(score, name)) for name in ("accuracy", "f1", "mae", "rmse", "seconds", "node_hours")}
    counts = {name: getattr(score, name) for name in ("judged", "without_label", "without_prediction")}
    column = {"column": score.column or None, "note": score.note or None}
    return {"run": score.run.id, "model": score.model, **figures, "name": score.run.title, "status": score.run.status, **counts, **column}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _board_lines(board: Leaderboard) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else percent(value)

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.6g}"

    rows = [
        (
            score.run.id, share(score.accuracy), share(score.f1), number(score.mae), number(score.rmse), score.judged,
            "-" if score.seconds is None else duration(score.seconds), number(score.node_hours), score.model or score.run.title,
        )
        for score in board.scores
    ]  # fmt: skip
    header = ("RUN", "ACCURACY", "F1", "MAE", "RMSE", "JUDGED", "TOOK", "NODE HOURS", "MODEL")
    by = f"{board.dataset}, judged by {board.labels_name} ({board.labels})" if board.labels else board.dataset
    notes = [*board.notes, *(f"{score.run.id}: {score.note}" for score in board.scores if score.note)]
    return [output.safe(by), *(output.table(header, rows) if rows else []), *map(output.safe, notes)]

"""A run's rows, read back. Azure ML's output is nothing but the text: which file was in which mini-batch is not known, nor the order of the
mini-batches; so all rows are one mini-batch of all files, out of order."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from services.azure.run_plan import RunPlan
from services.azure.runs.item_causes import Cause, causes_without_output, causes_without_row
from services.azure.runs.run_folder import AzureRunFolder
from services.predictions import writer as predictions_table
from services.predictions.columns import ISO_DATE, NUMBER
from services.predictions.evidence import fields_of
from services.predictions.explanations import frequent_cause
from services.predictions.matching import NO_ROW, ReadRows, ScoredMiniBatch, failed_rows, read_in_parts, read_tables_in_parts
from services.predictions.table_file import remove_table

_MAX_MOUNT_POINTS = 100
_PART_LINES, _PART_CHARACTERS = 50_000, 8_000_000
_SAMPLED_ROWS = 2_000
_NOT_OF_A_FRAME = re.compile(r"^[\[{(]|[:,;|]$")
"""The first word of rows that are JSON, or that print a name before the prediction."""
_TYPED = re.compile(rf"{NUMBER}|{ISO_DATE}|True|False|nan|-?inf")


def rows_file(folder: AzureRunFolder, plan: RunPlan) -> Path:
    """The downloaded `append_row_file_name`; there is none under `summary_only`, or before the run is completed."""
    return folder.output / plan.request.settings.append_row_file_name


def count_rows(folder: AzureRunFolder, plan: RunPlan) -> int:
    """The number of rows in the output, each of an item that succeeded. Raises OSError where the file can't be read."""
    with open(rows_file(folder, plan), "rb") as file:
        return max(0, sum(1 for _ in file) - plan.request.wants_dataframe_header)


def scored(folder: AzureRunFolder, plan: RunPlan) -> Iterator[ScoredMiniBatch]:
    """All rows of a completed run with all its files: one mini-batch, in parts, so that memory doesn't grow with the output. They are in
    the order of the output; the files that no row names come last. Raises OSError."""
    columns = _columns(rows_file(folder, plan), header=plan.request.wants_dataframe_header)
    lines = _lines(rows_file(folder, plan), skip=plan.request.wants_dataframe_header)
    items = [] if plan.tabular else plan.items()
    if plan.tabular:
        parts = read_tables_in_parts(plan.file, plan.item_count or 0, _parts(lines))
    else:
        parts = read_in_parts(items, "/", _parts(_without_mount_points(lines, plan)), columns)
    whole, before = ScoredMiniBatch(0, (), "/", (), "", 1, 0.0, "", columns=columns, items_are_rows=plan.tabular), 0
    for rows in parts:
        if not plan.tabular and NO_ROW in rows.errors:
            yield from _without_row(folder, plan, items, rows)
        else:
            yield replace(whole, rows=[text or "" for text in rows.predictions], read=rows, rows_before=before)
        before += len(rows.files)


def _without_row(folder: AzureRunFolder, plan: RunPlan, items: Sequence[str], rows: ReadRows) -> Iterator[ScoredMiniBatch]:
    """Failed items with their causes, by mini-batch where that is known."""
    failed = set(rows.files)
    places = {item: place for place, item in enumerate(items) if item in failed}
    without_row = [(places[file], error or "") for file, error in zip(rows.files, rows.errors, strict=True)]
    yield from _failed(items, causes_without_row(plan, folder.logs, items, without_row))


def main_cause(folder: AzureRunFolder, plan: RunPlan) -> str:
    """Why most of the items of a run without output failed; "" where that isn't known."""
    return frequent_cause(_without_output(folder, plan)) or ""


def _without_output(folder: AzureRunFolder, plan: RunPlan) -> Iterator[ScoredMiniBatch]:
    items = plan.items()
    yield from _failed(items, causes_without_output(plan, folder.logs, items), plan.file, items_are_rows=plan.tabular)


def _failed(items: Sequence[str], causes: Iterable[Cause], unknown: str = "", *, items_are_rows: bool = False) -> Iterator[ScoredMiniBatch]:
    """`unknown` is the file of an item that isn't known."""
    for attempt, some in groupby(causes, attrgetter("attempt")):
        group = list(some)
        files, errors = [unknown if cause.place is None else items[cause.place] for cause in group], [cause.text for cause in group]
        index, worker, attempts = (attempt.mini_batch, attempt.process, attempt.attempt) if attempt else (0, "", 1)
        read = failed_rows(files, errors)
        yield ScoredMiniBatch(index, (), "/", (), worker, attempts, 0.0, "", items_are_rows=items_are_rows, read=read)


def _columns(path: Path, *, header: bool) -> str:
    """The columns of DataFrames, as `ScoredMiniBatch.columns`, where the rows are theirs: written by `to_csv(sep=" ")`, all with equally
    many fields. Names are those of the header; values tell the types. "" where the first rows tell that they are something else."""
    rows = list(fields_of(list(islice(_lines(path, skip=False), _SAMPLED_ROWS))))
    names = rows.pop(0) if header and rows else []
    if not names:
        if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2 or any(_NOT_OF_A_FRAME.search(row[0]) for row in rows):
            return ""
        if not any(all(_TYPED.fullmatch(value) for value in values if value) and any(values) for values in zip(*rows, strict=True)):
            return ""  # words of a sentence
        names = [""] * len(rows[0])
    return json.dumps([[name, ""] for name in names])


def _lines(path: Path, *, skip: int) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            if number >= skip:
                yield line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def _parts(lines: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    characters = 0
    for line in lines:
        part.append(line)
        characters += len(line)
        if len(part) == _PART_LINES or characters > _PART_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _without_mount_points(rows: Iterable[str], plan: RunPlan) -> Iterable[str]:
    """The rows; one that begins with the path of a file where a node had it mounted (`/mnt/azureml/.../batch_data/a.csv: 1`) with the
    file's path in the dataset instead. Each node may have its own mount point, few have many."""
    known: dict[str, str] = {}
    mount_points: dict[str, str] = {}
    for row in rows:
        if not row.startswith("/"):
            yield row
            continue
        known = known or _mounted(plan)
        mounted_at = next((path for path in mount_points if row.startswith(path)), None)
        if mounted_at is None and len(mount_points) < _MAX_MOUNT_POINTS and (match := _mount_point(row, known)):
            mounted_at, mount_points[match[0]] = match
        yield row if mounted_at is None else mount_points[mounted_at] + row[len(mounted_at) :]


def _mounted(plan: RunPlan) -> dict[str, str]:
    """By a file's path below the mount point, the folder to put before it. Of files that are named one by one a mount leaves out the folder
    that they have in common (seen with azureml-dataprep 5.5)."""
    known: dict[str, str] = {}
    for paths in plan.paths() if plan.again else ():
        common = os.path.commonpath([os.path.dirname(f"/{path}") for path in paths]).strip("/")
        common = f"{common}/" if common else ""
        known |= {path.removeprefix(common): common for path in paths}
    return known | dict.fromkeys(plan.items(), "")


def _mount_point(row: str, known: Mapping[str, str]) -> tuple[str, str] | None:
    """What the row has before the path of a known file, its last `/` included; and the folder to put there instead."""
    for begin in (place + 1 for place, character in enumerate(row) if character == "/"):
        for end in range(begin + 1, len(row) + 1):
            if (end == len(row) or row[end] in " :,;|\t") and row[begin:end] in known:
                return row[:begin], known[row[begin:end]]
    return None


def _settled(folder: AzureRunFolder, plan: RunPlan, *, ended: bool = False) -> Iterator[ScoredMiniBatch]:
    """What was scored in the run; of a failed-only one, after what stands of the earlier runs. One that `ended` without rows has items that
    are known to have failed."""
    if not rows_file(folder, plan).is_file():
        if ended:
            yield from _without_output(folder, plan)
        return
    earlier_attempts = {}
    if plan.request.failed_only:
        before, items = _runs_before(folder, plan), frozenset(plan.items())
        earlier = before[0]
        for part in _settled(earlier, earlier.plan()):
            yield replace(part, worker=part.worker or f"of {earlier.path.name}", left_out=items.union(part.left_out))
        earlier_attempts = dict.fromkeys(items, len(before))  # all of them are among the items of each
    for part in scored(folder, plan):
        yield replace(part, earlier_attempts=earlier_attempts)


def _runs_before(folder: AzureRunFolder, plan: RunPlan) -> list[AzureRunFolder]:
    """The runs whose failed items were scored again, the last one first."""
    runs = []
    while plan.request.failed_only:
        runs.append(folder := AzureRunFolder(folder.path.parents[1], str(plan.request.rerun_of)))
        plan = folder.plan()
    return runs


def make_table(folder: AzureRunFolder, plan: RunPlan, *, ended: bool = True) -> Path:
    """The typed table of a run that has `ended`, made once; of one that goes on an empty one. Raises WorkspaceUnavailable."""
    rows = rows_file(folder, plan)
    table = folder.path / predictions_table.table_name(rows.stat().st_size if rows.is_file() else "failed" if ended else "none")
    if not table.is_file():
        predictions_table.make_table(_settled(folder, plan, ended=ended), table)
        for path in folder.path.glob("predictions-*.parquet"):
            if path != table:
                remove_table(path)
    return table

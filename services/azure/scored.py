"""A run's rows, read back. Azure ML gives nothing but the text: which file went into which mini-batch isn't told, nor in which order they
came out; so all rows are one mini-batch of all files, out of order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from services import prediction_table
from services.azure.run_folder import RunFolder, RunPlan
from services.prediction_rows import ScoredMiniBatch, read_in_parts, read_tables_in_parts
from services.prediction_selections import remove_table

_MOST_ROOTS = 100
_PART_LINES, _PART_CHARACTERS = 50_000, 8_000_000


def rows_file(folder: RunFolder, plan: RunPlan) -> Path:
    return folder.output / plan.request.settings.append_row_file_name


def count_rows(folder: RunFolder, plan: RunPlan) -> int:
    """The rows of the output: one is an item that succeeded. Raises OSError where there are none to read."""
    path, newlines, last = rows_file(folder, plan), 0, b""
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            newlines += chunk.count(b"\n")
            last = chunk[-1:]
    return max(0, newlines + (last not in (b"", b"\n")) - plan.request.wants_dataframe_header)


def scored(folder: RunFolder, plan: RunPlan) -> Iterator[ScoredMiniBatch]:
    """All rows of a completed run with all its files: one mini-batch, in parts, so that memory doesn't grow with the output. They are in
    the order of the output; the files that no row names come last. Raises OSError."""
    lines = _lines(rows_file(folder, plan), skip=plan.request.wants_dataframe_header)
    if plan.tabular:
        read = read_tables_in_parts(plan.file, plan.item_count, _parts(lines))
    else:
        items = plan.items()
        read = read_in_parts(items, "/", _parts(_without_mount_points(lines, items)))
    part, before = ScoredMiniBatch(0, (), "/", (), "", 1, 0.0, ""), 0
    for rows in read:
        yield replace(part, rows=[text or "" for text in rows.predictions], read=rows, rows_before=before)
        before += len(rows.files)


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


def _without_mount_points(rows: Iterable[str], items: Iterable[str]) -> Iterable[str]:
    """The rows; one that begins with the path of a file where a node had it mounted (`/mnt/azureml/.../batch_data/a.csv: 1`) without what
    stands before the file's own name. Each node may have had its own place, but few have many."""
    known: set[str] = set()
    roots: list[str] = []
    for row in rows:
        if not row.startswith("/"):
            yield row
            continue
        known = known or set(items)
        root = next((root for root in roots if row.startswith(root)), None)
        if root is None and len(roots) < _MOST_ROOTS and (root := _mount_point(row, known)):
            roots.append(root)
        yield row[len(root) :] if root else row


def _mount_point(row: str, known: set[str]) -> str | None:
    """What stands in the row before the name of a known file, its last `/` included."""
    for begin in (place + 1 for place, character in enumerate(row) if character == "/"):
        for end in range(begin + 1, len(row) + 1):
            if (end == len(row) or row[end] in " :,;|\t") and row[begin:end] in known:
                return row[:begin]
    return None


def make_table(folder: RunFolder, plan: RunPlan) -> Path:
    """The typed table of a completed run, made once: an empty one of a run that has no rows. Raises WorkspaceUnavailable."""
    rows = rows_file(folder, plan)
    table = folder.path / prediction_table.table_name(rows.stat().st_size if rows.is_file() else "none")
    if not table.is_file():
        prediction_table.make_table(scored(folder, plan) if rows.is_file() else [], table)
        for path in folder.path.glob("predictions-*.parquet"):
            if path != table:
                remove_table(path)
    return table

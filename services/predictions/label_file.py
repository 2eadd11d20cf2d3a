"""A file of true labels: a CSV or Parquet file that a person has, read once and kept as Parquet.

Each of its rows names a file (or its path in the dataset) and says the right answer. DuckDB reads it, so that ten million labels cost no
more memory than ten; nothing in it is executed.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from services.errors import IntakeError, NotFound, WorkspaceUnavailable, os_errors_as
from services.predictions.columns import glob_escaped, literal, parquet_file, quoted
from services.predictions.database import parquet_notes, reason_of, scratch_database
from services.storage.atomic import atomic_write
from services.storage.file_tree import sha256_of

_FILE_NAMES = ("file", "path", "filename", "file name", "file_name", "relative path", "relative_path", "image", "item", "name", "id")
_LABEL_NAMES = (
    "label", "true label", "true_label", "corrected label", "truth", "ground truth", "ground_truth", "actual", "target", "class", "y_true",
    "y", "labels", "expected", "value", "prediction",
)  # fmt: skip
_ROW_NAMES = ("row number", "row_number", "rownumber", "run row number")
_HEAD_BYTES = 1 << 16


_ROW = r"CASE WHEN trim(coalesce(r, '')) <> '' THEN coalesce(try_cast(regexp_replace(trim(r), '^(\d+)\.0+$', '\1') AS BIGINT), 0) END"
"""SQL: 17 and 17.0 are the row 17, nothing is every row, and what is not a number no row's."""


@dataclass(frozen=True)
class LabelColumns:
    """The columns of a file of labels: their names, and which are taken for the file's name, its label and, "" if none, the number of the
    row in that file, unless a person says otherwise. A CSV file without a header has `column 1`, `column 2`, ..."""

    names: tuple[str, ...]
    file: str
    label: str
    delimiter: str = ""
    has_header: bool = True
    row: str = ""


@dataclass(frozen=True)
class Labels:
    """Labels that are kept: `path` is a Parquet file of `Name` and `Row` (null for all rows of the file), each pair once, `Label` ("" where
    there is none) and `Contradicting`, whether the file had several for that pair. `id` is the same for the same content and columns."""

    id: str
    path: Path
    name: str
    """The file's name as it came."""
    count: int
    has_rows: bool = False
    """Whether there is a column `Row`."""
    column: str = ""
    """Of the dataset itself, which of its columns they are; "" of labels from a file."""
    dataset: str = ""
    """The version of a dataset that they were given for, as `name:version`."""
    added_at: datetime | None = None
    dataset_columns: Path | None = None
    """Where items are rows, a Parquet file of the dataset's own columns: File, Row number, c0, c1, ..., whose names are in its notes."""


def label_columns(source: Path) -> LabelColumns:
    """What columns a file of labels has. Raises IntakeError where it is not such a file."""
    with os_errors_as(IntakeError, f"The labels, {source}, can't be read", "Give another file."), open(source, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        with closing(scratch_database()) as database, _translated_errors(source):
            names = tuple(row[0] for row in database.execute(f"DESCRIBE FROM {parquet_file(source)}").fetchall())
        return _chosen(source, names)
    if b"\0" in head:
        raise IntakeError(
            f"“{source.name}” is neither a CSV nor a Parquet file.", "Save it as CSV (UTF-8): a file name and its label a row."
        )
    text = head.decode("utf-8-sig", "replace")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        first = tuple(next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter), ()))
    except csv.Error as error:
        raise IntakeError(f"The first row of “{source.name}” can't be read as CSV: {error}.", "Save it as CSV (UTF-8).") from error
    known = {*_FILE_NAMES, *_LABEL_NAMES}
    has_header = any(name.strip().casefold() in known for name in first) and len(set(first)) == len(first) and all(first)
    names = first if has_header else tuple(f"column {number}" for number in range(1, len(first) + 1))
    return _chosen(source, names, delimiter, has_header)


def _chosen(source: Path, names: tuple[str, ...], delimiter: str = "", has_header: bool = True) -> LabelColumns:
    if len(names) < 2:
        raise IntakeError(f"“{source.name}” has fewer than two columns.", "Each row holds a file's name or path, and its label.")
    by_name = {name.strip().casefold(): name for name in reversed(names)}
    file = next((by_name[name] for name in _FILE_NAMES if name in by_name), names[0])
    others = [name for name in names if name != file]
    label = next((by_name[name] for name in _LABEL_NAMES if by_name.get(name) in others), others[0])
    row = next((by_name[name] for name in _ROW_NAMES if by_name.get(name) not in (None, file, label)), "")
    return LabelColumns(names, file, label, delimiter, has_header, row)


def keep_labels(source: Path, name: str, folder: Path, columns: LabelColumns | None = None, column: str = "") -> Labels:
    """Read a file of labels and keep it in `folder`, under its content. `name` is what a person calls it, `column` the dataset's own
    column that it was made of, if it was.

    Raises IntakeError where it can't be read, WorkspaceUnavailable where it can't be kept.
    """
    chosen = columns or label_columns(source)
    columns_of = [chosen.file, chosen.label, *([chosen.row] if chosen.row else [])]
    if not {*columns_of} <= {*chosen.names} or len({*columns_of}) < len(columns_of):
        raise IntakeError(
            f"“{name}” has no {'three' if chosen.row else 'two'} such columns.", f"Its columns are {', '.join(chosen.names)[:500]}."
        )
    identity = f"{sha256_of(source)} {chosen.names.index(chosen.file)} {chosen.names.index(chosen.label)} {chosen.has_header}"
    if chosen.row:
        identity += f" {chosen.names.index(chosen.row)}"
    id_ = hashlib.sha256(identity.encode()).hexdigest()[:12]
    target = folder / f"labels-{id_}.parquet"
    if not target.exists():
        with (
            os_errors_as(WorkspaceUnavailable, f"The labels can't be kept in {folder}"),
            atomic_write(target) as unfinished,
            closing(scratch_database(unfinished)) as database,
            _translated_errors(source),
        ):
            database.execute("SET preserve_insertion_order = false")
            # 7.0, as pandas writes whole numbers beside a gap, is the class 7. A row 0 is none.
            row, by = (f", {_ROW} AS Row", "1, 2") if chosen.row else ("", "1")
            database.execute(
                f"COPY (SELECT regexp_replace(trim(coalesce(n, '')), '^(\\./)+', '') AS Name{row}, coalesce(min(l), '') AS Label,"
                f" min(l) IS DISTINCT FROM max(l) AS Contradicting FROM (SELECT n, r, nullif(regexp_replace(trim(l),"
                rf" '^(-?\d+)\.0+$', '\1'), '') AS l FROM {_rows(source, chosen)}) GROUP BY {by})"
                f" TO {literal(str(unfinished))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1,"
                f" KV_METADATA {{name: {literal(json.dumps(name))}, own_column: {literal(json.dumps(column))}}})"
            )
    return _labels_at(target)


def kept_labels(folder: Path) -> list[Labels]:
    """All that is kept in a folder, the latest first."""
    paths = sorted(folder.glob("labels-*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [_labels_at(path) for path in paths]


def labels_of(folder: Path, id_: str) -> Labels:
    """The labels with this id. Raises NotFound."""
    if path := next((path for path in folder.glob("labels-*.parquet") if path.stem == f"labels-{id_}"), None):
        return _labels_at(path)
    raise NotFound("These labels were removed.", "Give the file of labels again.")


def _labels_at(path: Path) -> Labels:
    modified = path.stat().st_mtime_ns
    return replace(_read_labels(path, modified), added_at=datetime.fromtimestamp(modified / 1e9, UTC))


@lru_cache(256)
def _read_labels(path: Path, _modified_ns: int) -> Labels:
    with closing(scratch_database()) as database, _translated_errors(path):
        notes = parquet_notes(database, path)
        count = database.execute(f"SELECT count(*) FROM {parquet_file(path)}").fetchall()[0][0]
        names = [row[0] for row in database.execute(f"DESCRIBE FROM {parquet_file(path)}").fetchall()]
    name, column = (json.loads(notes.get(note, '""')) for note in ("name", "own_column"))
    return Labels(path.stem.removeprefix("labels-"), path, name, count, "Row" in names, column)


def _rows(source: Path, columns: LabelColumns) -> str:
    """The relation with the columns n, r and l."""
    if not columns.delimiter:
        file, row, label = (f"{quoted(name)}::VARCHAR" if name else "NULL" for name in (columns.file, columns.row, columns.label))
        return f"(SELECT {file} AS n, {row} AS r, {label} AS l FROM {parquet_file(source)})"
    types = ", ".join(f"c{number}: 'VARCHAR'" for number in range(len(columns.names)))
    file, row, label = (f"c{columns.names.index(name)}" if name else "NULL" for name in (columns.file, columns.row, columns.label))
    return (
        f"(SELECT {file} AS n, {row} AS r, {label} AS l FROM read_csv({literal(glob_escaped(source))}, auto_detect = false,"
        f""" columns = {{{types}}}, delim = {literal(columns.delimiter)}, quote = '"', escape = '"',"""
        f" header = {str(columns.has_header).lower()}))"
    )


@contextmanager
def _translated_errors(source: Path) -> Iterator[None]:
    """DuckDB's errors about a file of labels, as IntakeError."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise IntakeError(
            f"“{source.name}” can't be read as a file of labels: {reason_of(error)}",
            "Save it as CSV (UTF-8) or Parquet, each row with as many fields as the first.",
        ) from error

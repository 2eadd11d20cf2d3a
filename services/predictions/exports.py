"""A table exported: exactly the filtered rows, in the shown order, as CSV, Parquet or Excel, in parts.

None of it is ever whole in memory, but for the file name and the notes. Excel's file is made on disk first: it can't be streamed.
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import file_names
from services.errors import SettingsError, WorkspaceUnavailable, os_errors_as
from services.predictions.annotations import Annotations, with_annotations
from services.predictions.columns import NUMBER, NUMERIC, ROW_NUMBER, Kind, Status, quoted, text_array
from services.predictions.excel import ROWS as EXCEL_ROWS
from services.predictions.excel import write_sheet
from services.predictions.filters import EVERY_FAILURE, EVERY_PREDICTION, EVERY_ROW, TABLE_ORDER, Filter, Order
from services.predictions.reader import Predictions
from services.run_details import FailedItem
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import pyarrow

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
OF_FAILURES = ("Error", "Cause", "Mini-batch", "Worker", "Attempts")
"""The columns that a failed item has values in."""
_BATCH_ROWS = 65_536
_PART_BYTES = 1 << 20
_WRITERS = 2  # threads
_MOST_EXCEL_FILES = 2  # kept with a table beside the newest
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"


def shown_columns(table: Predictions, filter_: Filter = EVERY_PREDICTION) -> list[str]:
    """What is exported by default: which item it is, Prediction, and what predictions were flattened into; of failures only, why and
    where."""
    if filter_.statuses == EVERY_FAILURE.statuses:
        return [*item_columns(table), *(table.own[name] for name in OF_FAILURES)]
    return [*item_columns(table), "Prediction", *shown_further_columns(table)]


def shown_further_columns(table: Predictions) -> list[str]:
    """Those of the further columns that say something: not the whole rows of DataFrames, which repeat the others."""
    return [name for name in table.further_columns if not (table.whole_is_repeated and name == table.whole_column)]


def item_columns(table: Predictions) -> list[str]:
    """The columns that say which item a row is of: File, and of a table's rows their number, where that is known of any."""
    number = table.own.get(ROW_NUMBER)
    return ["File", number] if number and table.holds(number) else ["File"]


def export(
    ending: str,
    table: Predictions,
    filter_: Filter = EVERY_PREDICTION,
    order: Order = TABLE_ORDER,
    columns: Sequence[str] = (),
    *,
    safe: bool = False,
    annotations: Annotations | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[bytes]:
    """A file of the format that `ending` names (see MEDIA_TYPES), in parts, at its reader's pace. A query that fails raises now, not in the
    middle. With annotations, Note and Corrected label are columns too.

    CSV: UTF-8 without BOM, a header, lines that end in a newline, quotes (RFC 4180) where they are needed. `safe` puts a `'` before any
    text, numbers exempt, that a spreadsheet would take for a formula. Parquet: compressed; Prediction is whole numbers or numbers where all
    predictions are. Excel: one sheet, texts as texts, never as formulas or links, and numbers that it can't hold as texts; made on disk
    before the first part comes, during which `progress` is called with 0 to 1.
    Raises SettingsError("columns", ...) for a column that isn't there, SettingsError("format", ...) for more than EXCEL_ROWS in a sheet.
    """
    count = table.count(filter_) if ending == ".xlsx" else 0
    if count > EXCEL_ROWS:
        raise SettingsError(
            "format", f"an Excel sheet holds {EXCEL_ROWS:,} rows, and these are {count:,}", "Filter them, or take CSV or Parquet."
        )
    names = list(columns) or shown_columns(table, filter_)
    for name in names:
        table.column_name(name, "columns")
    expression = _printed if ending == ".csv" else _typed
    selected = ", ".join(expression(table, column) for column in names)
    if annotations:
        mini_batch, place = (quoted(table.own[name]) for name in ("Mini-batch", "Place"))
        selected += f', File AS "key file", {mini_batch} AS "key mini-batch", {place} AS "key place"'
    if filter_.where:
        table.count(filter_)
    batches = table.batches(selected, filter_, order, _BATCH_ROWS)
    if annotations:
        names, batches = with_annotations(names, batches, annotations)
    if ending == ".csv":
        return _csv(names, batches, safe)
    return _parquet(next(batches).schema, batches) if ending == ".parquet" else _excel(names, batches, count, progress)


def excel_file(
    table: Predictions,
    filter_: Filter,
    order: Order,
    columns: Sequence[str],
    annotations: Annotations | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """An Excel file of these rows, as `export` makes it, which is kept with the table for the next time. Raises as `export`, and
    WorkspaceUnavailable where it can't be written."""
    path = excel_path(table, filter_, order, columns, annotations)
    if path.is_file():
        return path
    with os_errors_as(WorkspaceUnavailable, f"The Excel file, {path}, can't be written"):
        parts = export(".xlsx", table, filter_, order, columns, annotations=annotations, progress=progress)
        with atomic_write(path) as unfinished, open(unfinished, "xb") as file:
            file.writelines(parts)
    with suppress(FileNotFoundError):  # another tab makes room
        others = [other for other in path.parent.glob("*.xlsx") if other != path]
        for eldest in sorted(others, key=lambda other: other.stat().st_mtime)[:-_MOST_EXCEL_FILES]:
            eldest.unlink(missing_ok=True)
    return path


def excel_path(table: Predictions, filter_: Filter, order: Order, columns: Sequence[str], annotations: Annotations | None = None) -> Path:
    """Where `excel_file` keeps it."""
    notes = sorted(map(repr, (annotations or {}).items()))
    return table.kept_path(repr(("excel", filter_.to_text(), order.to_text(), tuple(columns), notes)), ".xlsx")


def rows_as_csv(names: Sequence[str], rows: Iterable[Sequence[object]], *, safe: bool = False) -> Iterator[bytes]:
    """Rows that are in no table as CSV, as `export` writes it."""
    yield _lines([text_array([name]) for name in names], safe=safe)
    rows = iter(rows)
    while some := list(itertools.islice(rows, _BATCH_ROWS)):
        yield _lines(
            [text_array(["" if value is None else str(value) for value in column]) for column in zip(*some, strict=True)], safe=safe
        )


def failed_items_as_csv(items: Iterable[FailedItem], *, safe: bool = False) -> Iterator[bytes]:
    """Failed items as CSV, a column for each field. What the first of them raises is raised now."""
    items = iter(items)
    first = list(itertools.islice(items, 1))
    names = [field.name for field in fields(FailedItem)]
    return rows_as_csv(names, map(attrgetter(*names), itertools.chain(first, items)), safe=safe)


def _csv(names: Sequence[str], batches: Iterator[pyarrow.RecordBatch], safe: bool) -> Iterator[bytes]:
    """A batch is written while the next are read."""
    yield _lines([text_array([name]) for name in names], safe)
    written: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_WRITERS) as threads:
        for batch in batches:
            written.append(threads.submit(_lines, batch.columns, safe))
            if len(written) > _WRITERS:
                yield written.popleft().result()
        while written:
            yield written.popleft().result()


def _parquet(schema: pyarrow.Schema, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    sink = _Sink()
    with parquet.ParquetWriter(pa.PythonFile(sink, "w"), schema, compression="zstd", compression_level=1) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def _excel(
    names: Sequence[str], batches: Iterator[pyarrow.RecordBatch], count: int, progress: Callable[[float], None] | None
) -> Iterator[bytes]:
    file = tempfile.TemporaryFile(prefix="predictions-", suffix=".xlsx")  # noqa: SIM115 - closed when all is read
    write_sheet(file, names, batches, count, progress)
    file.seek(0)

    def parts() -> Iterator[bytes]:
        with file:
            yield from iter(lambda: file.read(_PART_BYTES), b"")

    return parts()


class _Sink(io.RawIOBase):
    """Collects what a writer writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._parts.append(bytes(content))
        return len(self._parts[-1])

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


# ---- rows ----------------------------------------------------------------------------------------------------------------------------


def _printed(table: Predictions, column: str) -> str:
    """For a text file: numbers and truth values as Python prints them, a date as `2026-01-31`; where a column has times as well,
    `2026-01-31T10:30:00`."""
    name, kind = quoted(column), table.columns[column]
    if column != "Prediction" and kind is Kind.NUMBER:
        return f"{printed_number(name, table.exact.get(column, 'DOUBLE'))} AS {name}"
    if kind is Kind.TRUTH_VALUE:
        return f"CASE WHEN {name} THEN 'True' WHEN NOT {name} THEN 'False' END AS {name}"
    if kind is not Kind.DATE:
        return name
    only_dates = table.rows(f"bool_and({name} = date_trunc('day', {name}))", EVERY_ROW)[0][0]
    return f"{name}::DATE AS {name}" if only_dates else f"replace({name}::VARCHAR, ' ', 'T') AS {name}"


def printed_number(name: str, type_: str) -> str:
    """SQL: numbers as Python prints them: `3.0`, `1e-05`; decimals with all their digits, but no zeros at their end."""
    text = f"{name}::VARCHAR"
    if not type_.startswith("DECIMAL"):
        return text
    return f"regexp_replace({text}, '(\\.[0-9]+?)0+$', '\\1')"


def _typed(table: Predictions, column: str) -> str:
    type_, name = None, quoted(column)
    if column == "Prediction" and table.kind in NUMERIC:
        type_ = table.exact.get(table.own["Number"], "BIGINT" if table.kind is Kind.WHOLE_NUMBER else "DOUBLE")
    return name if type_ is None or table.row_counts.get(Status.UNMATCHED) else f"CAST({name} AS {type_}) AS {name}"


def _lines(columns: Sequence[Any], safe: bool) -> bytes:
    """Lines of CSV. What needs no quotes goes the fast way; else the texts are joined in one Arrow array, whose bytes are the lines."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as format_

    if safe:
        columns = [_without_formulas(column) for column in columns]
    if not len(columns[0]):
        return b""
    plain = io.BytesIO()
    try:
        table = pa.RecordBatch.from_arrays(list(columns), [str(place) for place in range(len(columns))])
        format_.write_csv(table, plain, format_.WriteOptions(include_header=False, quoting_style="none", batch_size=_BATCH_ROWS))
        return plain.getvalue()
    except pa.ArrowInvalid:
        pass
    quote, comma, newline, nothing = text_array(['"', ",", "\n", ""])
    fields = []
    for texts in (column.cast(pa.large_string()).fill_null(nothing) for column in columns):
        if not any(pc.any(pc.match_substring(texts, sign)).as_py() for sign in '",\r\n'):
            fields.append(texts)
            continue
        quoted_texts = pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, nothing)
        fields.append(pc.if_else(pc.match_substring_regex(texts, '[",\r\n]'), quoted_texts, texts))
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*fields, comma), newline, nothing)
    _, ends, characters = lines.buffers()
    last = int.from_bytes(ends[8 * len(lines) : 8 * len(lines) + 8].to_pybytes(), sys.byteorder)
    return bytes(characters[:last])


def _without_formulas(texts: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_large_string(texts.type) and not pa.types.is_string(texts.type):
        return texts
    texts = texts.cast(pa.large_string())
    formula = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, NUMBER))
    return pc.if_else(formula, pc.binary_join_element_wise(*text_array(["'"]), texts, *text_array([""])), texts)


def file_stem(title: str, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """A file name, without its ending, that says what is in it, good on every system: `digits on digits-batch 3 seven`."""
    direction = ("down" if order.descending else "up") if order.column else ""
    parts = [title, filter_.describe(), f"by {order.column} {direction}" if direction else ""]
    return file_names.file_stem(" ".join(parts)) or "predictions"

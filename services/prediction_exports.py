"""What can be taken away of a table: exactly the filtered rows, in the shown order, as CSV, Parquet or Excel, in parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from services.prediction_database import connected
from services.prediction_filters import EVERY_PREDICTION, TABLE_ORDER, Filter, Order, quoted
from services.prediction_table import text_array

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from services.predictions import Predictions

_ROWS_AT_A_TIME = 8_192


def csv(
    table: Predictions,
    filter_: Filter = EVERY_PREDICTION,
    order: Order = TABLE_ORDER,
    columns: Sequence[str] = ("File", "Prediction"),
    *,
    safe: bool = False,
) -> Iterator[bytes]:
    """These columns as a CSV file, in parts: UTF-8 without BOM, a header, lines that end in a newline, quotes (RFC 4180) where they are
    needed. `safe` puts a `'` before what a spreadsheet would take for a formula. It takes as long as its reader does; a bad condition
    raises now, not in the middle."""
    if filter_.where:
        table.count(filter_)
    with table.explained(filter_):
        database = connected(table.file)
        batches = table.ask(", ".join(map(quoted, columns)), filter_, database=database).to_arrow_reader(_ROWS_AT_A_TIME)
    return _csv(table, filter_, database, batches)


def _csv(table: Predictions, filter_: Filter, database: duckdb.DuckDBPyConnection, batches: pyarrow.RecordBatchReader) -> Iterator[bytes]:
    with closing(database), table.explained(filter_):
        yield b"File,Prediction\n"
        for batch in batches:
            yield _csv_lines(*batch.columns)


def _csv_lines(*columns: Any) -> bytes:
    """Lines of CSV: the texts are joined in one Arrow array, whose bytes are the lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    quote, comma, newline, nothing = text_array(['"', ",", "\n", ""])
    fields = []
    for texts in (column.cast(pa.large_string()) for column in columns):
        quoted_texts = pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, nothing)
        fields.append(pc.if_else(pc.match_substring_regex(texts, '[",\r\n]'), quoted_texts, texts))
    file, prediction = fields
    lines = pc.binary_join_element_wise(file, comma, prediction, newline, nothing)
    _, ends, characters = lines.buffers()
    last = int.from_bytes(ends[8 * len(lines) : 8 * len(lines) + 8].to_pybytes(), sys.byteorder)
    return bytes(characters[:last])

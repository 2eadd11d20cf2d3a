"""Columns of a tabular dataset as one Parquet file that says of each row which row of which file it is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.domain import TabularDataset
from services.errors import IntakeError
from services.intake.tabular import CSV, MISSING
from services.storage.file_tree import reading

if TYPE_CHECKING:
    import pyarrow

FILE, ROW = "File", "Row number"
_BLOCK = 1 << 23  # bytes of a CSV
_ROWS = 1 << 17
_HINT = "Register the dataset again."
_ARROW_TYPES = {"int64": "int64", "uint64": "uint64", "float64": "float64", "bool": "bool_", "object": "bool_"}


def write_columns(
    dataset: TabularDataset, files: Iterable[tuple[str, Path]], columns: Sequence[str], target: Path, *, as_text: bool = False
) -> int:
    """Write these columns of the dataset's files, (what it is called, where it is), as c0, c1, ... beside the columns FILE and ROW, from 1;
    returns how many rows. Rows are counted as a run counts them. Memory stays constant. `as_text`: as Python prints the values. What the
    columns are called is in the file's notes, as `names`.

    Raises IntakeError for a file that can't be read, or isn't what it was when the dataset was registered.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    names = [f"c{place}" for place in range(len(columns))]  # what they are called may be `File` too
    total, writer = 0, None
    try:
        for name, path in files:
            rows = 0
            for batch in _batches(dataset, path, columns):
                values = [_as_text(column) if as_text else _plain(column) for column in batch.columns]
                numbers = np.arange(rows + 1, rows + 1 + batch.num_rows, dtype=np.int64)
                of_file = pa.DictionaryArray.from_arrays(_array(np.zeros(batch.num_rows, np.int32), pa.int32()), _texts([name]))
                table = pa.Table.from_arrays([of_file, _array(numbers, pa.int64()), *values], [FILE, ROW, *names])
                if writer is None:
                    writer = parquet.ParquetWriter(target, table.schema, compression="lz4", store_schema=False)
                writer.write_table(table.cast(writer.schema))
                rows += batch.num_rows
            total += rows
        if writer is not None:
            writer.add_key_value_metadata({"names": json.dumps(list(columns))})
    finally:
        if writer is not None:
            writer.close()
    if writer is None or total != dataset.row_count:
        raise IntakeError(f"The files of {dataset} have {total:,} rows, not {dataset.row_count or 0:,}: they were changed.", _HINT)
    return total


def _batches(dataset: TabularDataset, path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    with _translated_errors(path), reading(path) as file:
        if dataset.format != CSV:
            with parquet.ParquetFile(file) as opened:
                yield from opened.iter_batches(_ROWS, columns=list(columns))
            return
        names = [name for name, _ in dataset.columns]
        types = {name: getattr(pa, _ARROW_TYPES.get(dtype, "string"))() for name, dtype in dataset.columns if name in columns}
        yield from csv.open_csv(
            file,
            csv.ReadOptions(block_size=_BLOCK, column_names=names, skip_rows_after_names=1, use_threads=False),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                column_types=types, include_columns=list(columns), null_values=list(MISSING), strings_can_be_null=True,
                true_values=["True", "TRUE", "true"], false_values=["False", "FALSE", "false"],
            ),
        )  # fmt: skip


def _plain(column: Any) -> Any:
    """A column of numbers, dates, truth values or texts; what is none of these as text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_timestamp(kind) and kind.tz is not None:  # dates are kept in UTC, as those of predictions
        column = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_integer(kind):
        return column.cast(pa.int64()) if kind != pa.uint64() else column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return column
    return column.cast(pa.large_string()) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else _as_text(column)


def _as_text(column: Any) -> Any:
    """As Python prints the values: True, 7, 0.5."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return _as_text(column.dictionary_decode())
    if pa.types.is_boolean(column.type):
        import pyarrow.compute as pc

        truth, others = _texts(["True", "False"]), pa.nulls(len(column), pa.large_string())
        return pc.coalesce(pc.if_else(column, truth[0], truth[1]), others)
    try:
        return column.cast(pa.large_string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return _texts([None if value is None else str(value) for value in column.to_pylist()])


def _texts(texts: Sequence[str | None]) -> Any:
    """An Arrow array of texts, made of JSON: `pa.array` would import pandas."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    content = "\n".join(json.dumps({"t": text}) for text in texts).encode()
    options = arrow_json.ParseOptions(explicit_schema=pa.schema([("t", pa.large_string())]))
    read = arrow_json.ReadOptions(use_threads=False, block_size=max(len(content), 1))
    return arrow_json.read_json(io.BytesIO(content), read, options)["t"].combine_chunks()


def _array(values: Any, type_: Any) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:300]
        raise IntakeError(f"“{path.name}” can't be read as it was registered: {reason}", _HINT) from error

"""What is kept beside a table so that the next page is quick: the row numbers that a filter selects, and copies in other orders.

It goes with its table, and the oldest selections make room for new ones. A selection is a file of row numbers, ascending, four bytes each
(little-endian): a page of it is a slice. A copy is sorted once by a column, then as quick to page through as the table itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.predictions.columns import literal, parquet_file, quoted
from services.predictions.table_file import cache_folder, table_identity
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import duckdb
    import pyarrow

_MOST_SELECTIONS = 32
_MOST_BYTES = 1_000_000_000
_ROW_NUMBER = "<u4"
_SORTING_MEMORY = "1GB"
_MOST_RANKED = 20_000
_PROGRESS_SECONDS = 0.1  # between two reports of progress


class TableCache:
    """The cache of the table at `path`, whose file is `file`. Its folder is made when something is to be kept."""

    def __init__(self, path: Path, file: Path) -> None:
        self._path = path
        self._folder = cache_folder(path)
        self._table = table_identity(file)  # another table may be put in its place
        self._is_temporary = False

    def path(self, key: str, suffix: str) -> Path:
        """The file of this key, whether it is there or not."""
        name = hashlib.sha256(f"{self._table}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return self._folder / f"{name}{suffix}"

    def writable_path(self, key: str, suffix: str) -> Path:
        """As `path`, in a folder that is there and can be written: a temporary one where the table's can't, or went with its table."""
        try:
            if not self._is_temporary and not self._path.exists():
                raise FileNotFoundError(self._path)
            self._folder.mkdir(exist_ok=True)
            if not os.access(self._folder, os.W_OK):
                raise PermissionError(self._folder)
        except OSError:
            self._folder, self._is_temporary = Path(tempfile.mkdtemp(prefix="predictions-")), True
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self.path(key, suffix)

    def write_selection(self, key: str, parts: Iterator[bytes | memoryview]) -> Path:
        """Write a selection as a whole, and make room for it. What raises in the first part raises before anything is written. Raises
        OSError."""
        first = next(parts, b"")
        path = self.writable_path(key, ".rows")
        with atomic_write(path) as unfinished, open(unfinished, "xb") as file:
            file.write(first)
            file.writelines(parts)
        self._make_room(path)
        return path

    def _make_room(self, newest: Path) -> None:
        selections = []
        for path in self._folder.glob("*.rows"):
            try:
                info = path.stat()
            except FileNotFoundError:  # another tab made room
                continue
            selections.append((info.st_mtime, info.st_size, path))
        total = 0
        for number, (_, size, path) in enumerate(sorted(selections, reverse=True)):
            total += size
            if path != newest and (number >= _MOST_SELECTIONS or total > _MOST_BYTES):
                path.unlink(missing_ok=True)


# ---- selections --------------------------------------------------------------------------------------------------------------------------


def count_rows(path: Path) -> int:
    """How many row numbers are in the file. Raises OSError."""
    return os.stat(path).st_size // 4


def numbers_at(path: Path, first: int, count: int, valued: int) -> list[int]:
    """The row numbers at these places of the selection at `path`. Those below `valued` are first, and backwards: so an order descends in
    which rows without a value are last, as they stand."""
    import numpy as np

    if not count_rows(path):
        return []  # an empty file can't be mapped
    numbers = np.memmap(path, _ROW_NUMBER, "r")
    split = int(np.searchsorted(numbers, numbers.dtype.type(valued)))  # of another type all of them would be converted
    last = first + count
    rest = numbers[split:][max(0, first - split) : max(0, last - split)]
    return [*numbers[:split][::-1][first:last].tolist(), *rest.tolist()]


def ascending_numbers(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[memoryview]:
    """The row numbers (uint32) in these batches as the bytes of a selection, ascending even where DuckDB lost the order."""
    import numpy as np

    parts: list[Any] = [np.empty(0, np.dtype(_ROW_NUMBER))]
    last = -1
    is_sorted = True
    for batch in batches:
        column = batch.column(0)
        if len(column):
            numbers = np.frombuffer(column.buffers()[1], _ROW_NUMBER)[column.offset : column.offset + len(column)]  # without pandas
            is_sorted = is_sorted and int(numbers[0]) > last and bool((numbers[1:] > numbers[:-1]).all())
            last = int(numbers[-1])
            parts.append(numbers)
    if not is_sorted:
        parts = [np.sort(np.concatenate(parts))]
    yield from (memoryview(part).cast("B") for part in parts)


# ---- sorted copies -----------------------------------------------------------------------------------------------------------------------


def write_sorted(file: Path, column: str, path: Path, progress: Callable[[float], None] | None) -> None:
    """Write the rows of a table's `file` sorted by this column as another table at `path`, in its place as a whole. Rows without a value
    are last; equal rows keep the table's order. `progress` is called with 0 to 1. Raises duckdb.Error and OSError."""
    import duckdb

    key, source = quoted(column), parquet_file(file, row_numbers=True)
    with (
        duckdb.connect(config={"memory_limit": _SORTING_MEMORY, "temp_directory": str(path.parent / "spill")}) as database,
        atomic_write(path) as unfinished,
        ThreadPoolExecutor(1) as thread,
    ):

        def write() -> None:
            order = _ranked(database, source, key)
            empty = database.sql(f"SELECT count(*) FROM {source} WHERE {key} IS NULL").fetchall()[0][0]
            database.execute(
                f"COPY (SELECT * EXCLUDE (file_row_number) FROM {source} ORDER BY {order} NULLS LAST, file_row_number)"
                f" TO {literal(str(unfinished))} (FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{empty: '{empty}'}})"
            )

        writing = thread.submit(write)
        try:
            while not wait([writing], _PROGRESS_SECONDS).done:
                if progress:
                    progress(min(1.0, max(0.0, database.query_progress() / 100)))
            writing.result()
        finally:
            database.interrupt()  # where `progress` raised: nobody waits for the copy any more
    if progress:
        progress(1.0)


def _ranked(database: duckdb.DuckDBPyConnection, source: str, key: str) -> str:
    """Texts of which there are few are sorted as their ranks, which takes a quarter of the time."""
    is_text, distinct = database.sql(f"SELECT any_value(typeof({key})) = 'VARCHAR', approx_count_distinct({key}) FROM {source}").fetchall()[
        0
    ]
    if not is_text or not 0 < distinct <= _MOST_RANKED:
        return key
    database.execute(f"CREATE TYPE ranked AS ENUM (SELECT DISTINCT {key} FROM {source} WHERE {key} IS NOT NULL ORDER BY 1)")
    return f"{key}::ranked"


def first_empty(path: Path) -> int:
    """The number of the first row of a sorted copy that has no value there."""
    from pyarrow import parquet

    metadata = parquet.read_metadata(path)
    return int(metadata.num_rows) - int(metadata.metadata[b"empty"])

"""A run's output as a typed table: pages of it in any order, counts, facets, groups, single rows. The same for every workspace.

Each reader has a locked database of its own in memory that sees the run's table and no other file (database.py). A filter
becomes a file of row numbers and a page is a slice of it; another order is a sorted copy of the table (selections.py, orders.py).
Charts are in charts.py, what can be taken away in exports.py, SQL in sql.py.
DuckDB and pyarrow take 0.3 s to import, so they are imported where they are used: pages import this on the way to their first paint.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.domain import RowKey
from services.errors import NotFound, SettingsError
from services.predictions import charts, exports, orders, sql
from services.predictions.database import SECONDS_FOR_A_QUERY, connected, explained, pattern
from services.predictions.filters import (
    EVERY_FAILURE,
    EVERY_PREDICTION,
    EVERY_ROW,
    TABLE_ORDER,
    Filter,
    Order,
    TableStatistics,
    condition,
    keeps_order,
    leaves_predictions,
    of_number,
    quoted,
)
from services.predictions.matching import Status
from services.predictions.selections import Kept, Selection, table_identity
from services.predictions.writer import COLUMNS, Kind

if TYPE_CHECKING:
    import duckdb
    import pyarrow

_MOST_ANSWERS = 64
_MOST_CHARACTERS = 200_000  # of an answer that is kept
_MOST_ORDERS = 3  # open at once


class Predictions:
    """The table at `path` as it is when opened; a new table may be put in its place meanwhile.

    Safe to use from several threads. Every question raises SettingsError("where", ...) for a condition that can't be answered within the
    limits of time and memory, SettingsError("filter", ...) for a filter that doesn't fit the columns, SettingsError("order", ...) for an
    order by a column that isn't there, WorkspaceUnavailable when the table can't be read.
    """

    def __init__(self, path: Path) -> None:
        """Raises NotFound where there is no table, WorkspaceUnavailable where it can't be read."""
        self.path = path
        self.file = self._held()
        self._info = self.file.stat()
        with explained(path):
            self._databases = {"": connected(self.file, SECONDS_FOR_A_QUERY)}
            found = self._databases[""].sql(
                "SELECT decode(key), decode(value) FROM parquet_kv_metadata($file)"
                " WHERE decode(key) IN ('kind', 'columns', 'rows', 'left_out', 'classes', 'lower_files', 'whole')",
                params={"file": pattern(self.file)},
            )
            told = dict(found.fetchall())
        self.kind = Kind(told.get("kind", Kind.TEXT))
        self.columns: dict[str, Kind] = {name: Kind(kind) for name, kind in json.loads(told["columns"]).items()}
        """Every column with what its values are: COLUMNS, then those that DataFrames, objects and lists were unfolded into."""
        self.row_counts: dict[str, int] = json.loads(told["rows"])
        """How many rows of the whole table have each Status."""
        self.columns_left_out = int(told.get("left_out", 0))
        """How many more columns the predictions could have been unfolded into."""
        self.whole_column = told.get("whole", "Prediction")
        """The column with all that was printed: another than Prediction where a DataFrame has a column of that name."""
        classes = tuple(json.loads(told["classes"])) if "classes" in told else None
        statuses = tuple(status for status, count in self.row_counts.items() if count)
        self._known = TableStatistics(self.columns, classes, "lower_files" in told, statuses, failed_say_nothing="whole" not in told)
        self.identity = table_identity(self.file)
        """Another one than that of any table that was, or will be, at this path."""
        self._kept = Kept(path, self.file)
        self._answers: dict[str, list[tuple[Any, ...]]] = {}

    def _held(self) -> Path:
        """A second name for the file, as long as this object lives: DuckDB opens it for every step of a query, and would mix two tables."""
        held = self.path.with_name(f".{self.path.name}.{os.getpid()}-{os.urandom(4).hex()}.open")
        while not held.exists():
            try:
                os.link(self.path, held)
            except FileNotFoundError as error:
                if not self.path.is_file():  # else it was replaced just now
                    raise NotFound(
                        f"There is no table of predictions at {self.path}.", "It may have been removed. Open the run again."
                    ) from error
            except OSError:
                return self.path  # no hard links here, or a folder that can't be written, where nothing is replaced either
        weakref.finalize(self, held.unlink, missing_ok=True)
        return held

    def holds(self, column: str) -> bool:
        """Whether any row has a value there."""
        return bool(self.rows(f"count({self._name(column)}) > 0", EVERY_ROW)[0][0])

    @property
    def is_current(self) -> bool:
        """Whether this is still the table at `path`: neither removed nor replaced. This object answers from the old one then."""
        try:
            return os.path.samestat(self._info, now := self.path.stat()) and self._info.st_mtime_ns == now.st_mtime_ns
        except OSError:
            return False

    @property
    def further_columns(self) -> list[str]:
        """The columns that DataFrames, JSON objects and lists were unfolded into."""
        return [name for name in self.columns if name not in COLUMNS]

    # ---- rows ----------------------------------------------------------------------------------------------------------------

    def count(self, filter_: Filter = EVERY_PREDICTION) -> int:
        """How many rows there are."""
        return sum(map(self._count_of, filter_.statuses)) if _by_status_only(filter_) else self._selected(filter_, TABLE_ORDER).count

    def page(self, filter_: Filter = EVERY_PREDICTION, first: int = 0, count: int = 100, order: Order = TABLE_ORDER) -> pyarrow.Table:
        """`count` rows from place `first`, with all of `columns`. An order by a column is prepared where it wasn't (see `prepare`)."""
        import pyarrow as pa

        if not order.column and self._leaves_all(filter_):
            numbers: Sequence[int] = range(first, min(first + count, self.count(filter_)))
        else:
            numbers = self._selected(filter_, order).numbers(first, count)
        low, high = min(numbers, default=0), max(numbers, default=-1)
        which = f"file_row_number BETWEEN {low} AND {high}"
        if high - low >= len(numbers):
            which += f" AND file_row_number IN ({', '.join(map(str, numbers))})"
        with explained(self.path):
            rows = self._database(order).cursor().sql(f"FROM numbered WHERE {which} ORDER BY file_row_number").to_arrow_table()
        if order.descending:
            places = {number: place for place, number in enumerate(sorted(numbers))}
            wanted = [places[number] for number in numbers]
            rows = pa.concat_tables([rows.slice(place, 1) for place in wanted]) if wanted else rows
        return rows.select(list(self.columns))

    def failed(self, first: int = 0, count: int = 100) -> pyarrow.Table:
        """The items that have no prediction, with their error, as `page` gives them."""
        return self.page(EVERY_FAILURE, first, count)

    def row(self, place: int, filter_: Filter = EVERY_PREDICTION, order: Order = TABLE_ORDER) -> dict[str, Any]:
        """The row at this place of what is filtered, by column; previous and next are place - 1 and + 1. Raises NotFound."""
        found: list[dict[str, Any]] = self.page(filter_, place, 1, order).to_pylist() if place >= 0 else []
        if not found:
            raise NotFound("There is no such row in what is filtered.", "Go back to the table.")
        return found[0]

    def place(self, key: RowKey, filter_: Filter = EVERY_PREDICTION, order: Order = TABLE_ORDER) -> int | None:
        """Where this row is in what is filtered; None where it isn't."""
        query = 'SELECT file_row_number FROM numbered WHERE File = $file AND "Mini-batch" = $mini_batch AND Place = $place'
        with explained(self.path):
            found = self._database(order).cursor().sql(query, params=vars(key)).fetchall()
        return self._selected(filter_, order).place(found[0][0]) if found else None

    # ---- orders --------------------------------------------------------------------------------------------------------------

    def is_prepared(self, order: Order) -> bool:
        """Whether pages in this order come at once."""
        return not order.column or self._sorted(order).is_file()

    def prepare(self, order: Order, progress: Callable[[float], None] | None = None) -> None:
        """Sort a copy of the table by this column, once for both directions; `progress` is told from 0 to 1."""
        if not self.is_prepared(order):
            with explained(self.path):
                orders.write_sorted(self, order.column, self._kept.place_for(order.column, ".parquet"), progress)

    def _sorted(self, order: Order) -> Path:
        if order.column not in self.columns:
            raise SettingsError("order", f"this table has no column “{order.column}”", f"Its columns are {', '.join(self.columns)}.")
        return self._kept.found(order.column, ".parquet")

    def _database(self, order: Order) -> duckdb.DuckDBPyConnection:
        if (database := self._databases.get(order.column)) is None:
            self.prepare(order)
            with explained(self.path):
                self._databases[order.column] = database = connected(self._sorted(order), SECONDS_FOR_A_QUERY)
            for eldest in list(self._databases)[1:-_MOST_ORDERS]:
                self._databases.pop(eldest, None)
        return database

    # ---- counts --------------------------------------------------------------------------------------------------------------

    def facet(self, column: str, filter_: Filter = EVERY_PREDICTION, limit: int = 50) -> list[tuple[Any, int]]:
        """The most frequent values of a column with their counts, under the filter but for what it asks of this very column."""
        filter_, having = filter_.without(column), ""
        if column == "Prediction" and self._known.failed_say_nothing and leaves_predictions(filter_):
            if Status.FAILED not in filter_.statuses:
                having = "HAVING Prediction IS NOT NULL"
            filter_ = replace(filter_, statuses=tuple(Status))  # then one column less is read
        return self.rows(f"{self._name(column)}, count(*)", filter_, f"GROUP BY 1 {having} ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit)

    def class_counts(self, filter_: Filter = EVERY_PREDICTION, limit: int = 100) -> list[tuple[str, int]]:
        """The most frequent predictions, with their counts."""
        return self.rows("Prediction, count(*)", filter_, "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit)

    def grouped(self, by: str, of: str = "", filter_: Filter = EVERY_PREDICTION, limit: int = 1000) -> pyarrow.Table:
        """A row for each value of the column `by`, the most frequent first: it, Rows, and of the column `of` (numbers) Mean, Least and
        Greatest. `of` "" is the prediction's number."""
        of = self._number(of or "Number")
        measures = f"count(*) AS Rows, avg({of}) AS Mean, min({of}) AS Least, max({of}) AS Greatest"
        with self.explained(filter_):
            query = f"{self._name(by)}, {measures}"
            return self.ask(query, filter_, "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit).to_arrow_table()

    def reached(self, column: str, threshold: float, filter_: Filter = EVERY_PREDICTION) -> tuple[int, int]:
        """How many rows have less than this in a column of numbers, and how many at least this."""
        name = self._number(column)
        found = self.rows(
            f"count({name}) FILTER ({name} < $threshold), count({name}) FILTER ({name} >= $threshold)", filter_, threshold=threshold
        )
        return found[0][0], found[0][1]

    def histogram(self, filter_: Filter = EVERY_PREDICTION, bins: int = 40, column: str = "Number") -> list[tuple[float, float, int]]:
        """See charts.histogram."""
        return charts.histogram(self, filter_, bins, column)

    def csv(self, filter_: Filter = EVERY_PREDICTION, order: Order = TABLE_ORDER) -> Iterator[bytes]:
        """See exports.csv."""
        return exports.csv(self, filter_, order)

    # ---- for the other rooms -------------------------------------------------------------------------------------------------

    def explained(self, filter_: Filter) -> Any:
        return explained(self.path, "where" if filter_.where else "", self._hint)

    @property
    def _hint(self) -> str:
        dates = [quoted(name) for name in self.further_columns if self.columns[name] is Kind.DATE]
        as_text = f" A date is compared with '2026-01-31'; as a text it is {dates[0]}::VARCHAR." if dates else ""
        return "Write SQL over " + ", ".join(map(quoted, self.columns)) + f"; for example: Prediction = 'cat'.{as_text}"

    def _try(self, where: str) -> None:
        """A person's condition is asked once where its time and memory are limited, before anything here is asked by it."""
        what = f"where\0{where}"
        if not self._kept.found(what, ".tried").exists():
            sql.try_condition(self, where, self._hint)
            self._kept.place_for(what, ".tried").touch()

    def ask(
        self, columns: str, filter_: Filter, rest: str = "", database: duckdb.DuckDBPyConnection | None = None, **values: Any
    ) -> duckdb.DuckDBPyRelation:
        """A relation of these expressions over what is filtered, in the table's order."""
        query, bound = self._query(columns, filter_, rest)
        return (database or self._databases[""].cursor()).sql(query, params=bound | values)

    def _query(self, columns: str, filter_: Filter, rest: str) -> tuple[str, dict[str, Any]]:
        which, bound = condition(filter_, self._known)
        if filter_.where:
            self._try(filter_.where)
        return f"SELECT {columns} FROM numbered WHERE {which} {rest}", bound

    def batches(self, columns: str, filter_: Filter, order: Order, rows_at_a_time: int) -> Iterator[pyarrow.RecordBatch]:
        """These expressions over what is filtered, in this order, by and by: none of it is kept, and time isn't limited. The
        first batch is empty and has the columns."""
        self._database(order)
        database = connected(self._sorted(order) if order.column else self.file)
        with self.explained(filter_):
            if order.descending or not keeps_order(filter_, self._known):
                return self._in_parts(database, columns, filter_, order)
            found = self.ask(columns, filter_, database=database).to_arrow_reader(rows_at_a_time)
        return self._each(database, found, filter_)

    def _each(
        self, database: duckdb.DuckDBPyConnection, found: pyarrow.RecordBatchReader, filter_: Filter
    ) -> Iterator[pyarrow.RecordBatch]:
        with closing(database), self.explained(filter_):
            yield _no_rows(found.schema)
            yield from found

    def _in_parts(self, database: duckdb.DuckDBPyConnection, columns: str, filter_: Filter, order: Order) -> Iterator[pyarrow.RecordBatch]:
        """Ranges of row numbers, each put in order by itself: backwards as far as there are values, then forwards."""
        total = sum(self.row_counts.values())
        valued = orders.first_empty(self._sorted(order)) if order.descending else 0
        nothing = self.ask(columns, filter_, "LIMIT 0", database).to_arrow_table()
        within = "AND file_row_number >= $low AND file_row_number < $high ORDER BY file_row_number"
        with closing(database), self.explained(filter_):
            yield _no_rows(nothing.schema)
            size = self._rows_in_a_part()
            for high in range(valued, 0, -size):
                bounds = {"low": max(0, high - size), "high": high}
                yield from self.ask(columns, filter_, f"{within} DESC", database, **bounds).to_arrow_table().to_batches()
            for low in range(valued, total, size):
                bounds = {"low": low, "high": min(total, low + size)}
                yield from self.ask(columns, filter_, within, database, **bounds).to_arrow_table().to_batches()

    def _rows_in_a_part(self) -> int:
        """As many as make about 64 MB, but no more than a row group has."""
        query = "SELECT sum(total_uncompressed_size) FROM parquet_metadata($file)"
        size = self._databases[""].cursor().sql(query, params={"file": pattern(self.file)}).fetchall()[0][0] or 1
        return int(max(1000, min(122_880, sum(self.row_counts.values()) * 64_000_000 // size)))

    def rows(self, columns: str, filter_: Filter, rest: str = "", **values: Any) -> list[tuple[Any, ...]]:
        """A short answer, kept for the next time: the rows of an open table don't change."""
        asked = repr((columns, filter_, rest, values))
        if (found := self._answers.get(asked)) is None:
            with self.explained(filter_):
                query, bound = self._query(columns, filter_, rest)
                found = self._databases[""].cursor().execute(query, bound | values).fetchall()  # a relation is planned twice: 1 ms
            if len(repr(found)) <= _MOST_CHARACTERS:
                self._answers[asked] = found
                for eldest in list(self._answers)[:-_MOST_ANSWERS]:
                    self._answers.pop(eldest, None)
        return list(found)

    def _name(self, column: str) -> str:
        if column not in self.columns:
            raise SettingsError("column", f"this table has no column “{column}”", f"Its columns are {', '.join(self.columns)}.")
        return quoted(column)

    def _number(self, column: str) -> str:
        self._name(column)
        if self.columns[column] not in (Kind.NUMBER, Kind.WHOLE_NUMBER):
            raise SettingsError("column", f"“{column}” holds no numbers", "Choose a column of numbers.")
        return quoted(of_number(column, self.columns[column]))

    def _count_of(self, status: str) -> int:
        return self.row_counts.get(Status(status), 0)

    def _leaves_all(self, filter_: Filter) -> bool:
        return _by_status_only(filter_) and self.count(filter_) == sum(self.row_counts.values())

    def _selected(self, filter_: Filter, order: Order) -> Selection:
        database = self._database(order)
        what = f"{order.column}\0{filter_.to_text()}"
        path = self._kept.found(what, ".rows")
        if not path.is_file():
            with self.explained(filter_):
                reader = self.ask("file_row_number::UINTEGER", filter_, database=database.cursor()).to_arrow_reader(1 << 16)
                path = self._kept.write(what, _ascending(reader))
        total = sum(self.row_counts.values())
        first_empty = orders.first_empty(self._sorted(order)) if order.descending else total
        return Selection(path, path.stat().st_size // 4, first_empty, order.descending)


def _no_rows(schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.nulls(0, column.type) for column in schema], schema=schema)


def _ascending(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[memoryview]:
    """The row numbers in these batches, little-endian, in their order even where DuckDB lost it."""
    import numpy as np

    parts: list[Any] = [np.empty(0, np.dtype("<u4"))]
    last = -1
    sorted_ = True
    for batch in batches:
        column = batch.column(0)
        if len(column):
            numbers = np.frombuffer(column.buffers()[1], "<u4")[column.offset : column.offset + len(column)]  # without pandas
            sorted_ = sorted_ and int(numbers[0]) > last and bool((numbers[1:] > numbers[:-1]).all())
            last = int(numbers[-1])
            parts.append(numbers)
    if not sorted_:
        parts = [np.sort(np.concatenate(parts))]
    yield from (memoryview(part).cast("B") for part in parts)


def _by_status_only(filter_: Filter) -> bool:
    return filter_ == Filter(statuses=filter_.statuses)

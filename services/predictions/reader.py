"""A run's output as a typed table: pages of it in any order, counts, facets, groups, single rows. The same for every workspace.

Each reader has a locked database of its own in memory that sees the run's table and no other file (`database`). A filter becomes a file
of row numbers and a page is a slice of it; another order is a sorted copy of the table; both are kept
beside the table (`table_cache`). What stands on this: `charts`, `exports`, `snippets`, `evaluation`, `comparison`.
DuckDB and pyarrow take 0.3 s to import, so they are imported where they are used: pages import this on the way to their first paint.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from services.errors import NotFound, SettingsError
from services.predictions import filters, query_process
from services.predictions.columns import NUMERIC, Kind, Status, glob_escaped, number_column, quoted, readable
from services.predictions.database import SECONDS_FOR_A_QUERY, connect, cursor_of, translated_errors
from services.predictions.filters import EVERY_PREDICTION, EVERY_ROW, TABLE_ORDER, Filter, Order, TableStatistics
from services.predictions.number_bins import widths_from
from services.predictions.summary_reader import Summary, read_summary
from services.predictions.table_cache import TableCache, ascending_numbers, count_rows, first_empty, numbers_at, write_sorted
from services.predictions.table_file import TableLink, table_identity

if TYPE_CHECKING:
    import duckdb
    import pyarrow

_MOST_ANSWERS = 64
_MOST_ANSWER_CHARACTERS = 200_000
_MOST_ORDERS = 3  # open at once
_MOST_OPEN_TABLES = 4
_PART_BYTES, _PART_ROWS = 64_000_000, 122_880
_SQL_HINT = "Write one SELECT over predictions; for example: SELECT Prediction, count(*) FROM predictions GROUP BY 1."

_lock = threading.Lock()
_open_tables: dict[Path, Predictions] = {}
"""The latest used is last."""


def open_predictions(path: Path) -> Predictions:
    """The table that is at `path` now, open. The same object as long as no other table is put in its place: opening one takes longer than
    most queries, so the last few are kept for the next rerun of a page, or another tab.

    Raises NotFound where there is no table, WorkspaceUnavailable where it can't be read.
    """
    with _lock:
        for other in [other for other, table in _open_tables.items() if table.identity != table_identity(other)]:
            del _open_tables[other]  # replaced or removed: its room on the disk is free when nobody has it any more
        if path in _open_tables:
            _open_tables[path] = table = _open_tables.pop(path)
            return table
    opened = Predictions(path)
    with _lock:
        _open_tables[path] = opened
        for eldest in list(_open_tables)[:-_MOST_OPEN_TABLES]:
            del _open_tables[eldest]
    return opened


class Answer(NamedTuple):
    """The first rows of an answer; `cut_off` where there are more."""

    rows: pyarrow.Table
    cut_off: bool


class Predictions:
    """The table at `path` as it is when opened; a new table may be put in its place meanwhile.

    Safe to use from several threads. Every query raises SettingsError("where", ...) for a condition that can't be answered within the
    limits of time and memory, SettingsError("filter", ...) for a filter that doesn't fit the columns, SettingsError("order", ...) for an
    order by a column that isn't there, SettingsError("column", ...) for a column that isn't there or has no numbers, WorkspaceUnavailable
    when the table can't be read.
    """

    def __init__(self, path: Path) -> None:
        """Raises NotFound where there is no table, WorkspaceUnavailable where it can't be read."""
        self.path = path
        link = TableLink(path)
        weakref.finalize(self, link.release)
        self.file = link.path
        """The file of this very table, as long as this object lives."""
        with translated_errors(path):
            self._databases = {"": connect(self.file, SECONDS_FOR_A_QUERY)}
            query = (
                "SELECT decode(key), decode(value) FROM parquet_kv_metadata($file)"
                " WHERE decode(key) IN ('kind', 'columns', 'rows', 'left_out', 'classes', 'lower_files', 'whole', 'repeated', 'own')"
            )
            notes = dict(self._databases[""].execute(query, {"file": glob_escaped(self.file)}).fetchall())
        self.kind = Kind(notes.get("kind", Kind.TEXT))
        self.columns: dict[str, Kind] = {name: Kind(kind) for name, kind in json.loads(notes["columns"]).items()}
        """Every column with what its values are: the table's own, then those that DataFrames, objects and lists were flattened into."""
        self.own: dict[str, str] = json.loads(notes["own"])
        """What each of COLUMNS that the table has is called in it: `Status` is `Run status` where a person's column has that name."""
        self.row_counts: dict[str, int] = json.loads(notes["rows"])
        """How many rows of the whole table have each Status."""
        self._total = sum(self.row_counts.values())
        self.exact = self._exact_columns()
        """The SQL types of the columns whose numbers are kept with digits that doubles would lose: BIGINT, or such as DECIMAL(38,20)."""
        self.columns_left_out = int(notes.get("left_out", 0))
        """How many more columns the predictions could have been flattened into."""
        self.whole_column = notes.get("whole", "Prediction")
        """The column with all that was printed: another than Prediction where a DataFrame has a column of that name."""
        self.whole_is_repeated = "repeated" in notes
        """Whether `whole_column` has nothing that isn't in Prediction and the further columns: so for the rows of DataFrames."""
        classes = tuple(json.loads(notes["classes"])) if "classes" in notes else None
        statuses = tuple(status for status, count in self.row_counts.items() if count)
        self._statistics = TableStatistics(
            self.columns, classes, "lower_files" in notes, statuses, null_means_failed="whole" not in notes, own=self.own, exact=self.exact
        )
        self.identity = table_identity(self.file)
        """Another one than that of any table that was, or will be, at this path."""
        self._cache = TableCache(path, self.file)
        self._answers: dict[str, list[tuple[Any, ...]]] = {}

    @cached_property
    def _summary(self) -> Summary | None:
        """What was counted while the table was written; None of a table that was joined from others."""
        return read_summary(self.file, self._statistics)

    def _exact_columns(self) -> dict[str, str]:
        with translated_errors(self.path):
            types = dict(self._databases[""].execute("SELECT column_name, column_type FROM (DESCRIBE predictions)").fetchall())
        candidates = {name for name in self.further_columns if self.columns[name] in NUMERIC} | {self.own["Number"]}
        return {name: type_ for name, type_ in types.items() if name in candidates and type_ != "DOUBLE"}

    def holds(self, column: str) -> bool:
        """Whether any row has a value there."""
        return bool(self.rows(f"count({self.column_name(column)}) > 0", EVERY_ROW)[0][0])

    def kept_path(self, key: str, suffix: str) -> Path:
        """Where something about this very table can be kept: it goes when another table is put in its place."""
        return self._cache.writable_path(key, suffix)

    @property
    def further_columns(self) -> list[str]:
        """The columns that DataFrames, JSON objects and lists were flattened into."""
        return [name for name in self.columns if name not in self.own.values()]

    # ---- rows ----------------------------------------------------------------------------------------------------------------

    def count(self, filter_: Filter = EVERY_PREDICTION) -> int:
        """How many rows the filter selects."""
        if _by_status_only(filter_):
            return sum(self.row_counts.get(Status(status), 0) for status in filter_.statuses)
        if self._summary and (count := self._summary.count(filter_)) is not None:
            return count
        return count_rows(self._selection(filter_, TABLE_ORDER))

    def page(
        self,
        filter_: Filter = EVERY_PREDICTION,
        first: int = 0,
        count: int = 100,
        order: Order = TABLE_ORDER,
        columns: Sequence[str] = (),
    ) -> pyarrow.Table:
        """Up to `count` rows from place `first` (from 0), with these columns, default all: each costs some time. An order by a column is
        prepared where it wasn't (see `prepare`). Raises SettingsError("column", ...)."""
        import pyarrow as pa

        names = list(columns) or list(self.columns)
        selected = ", ".join(map(self.column_name, names))
        if not order.column and _by_status_only(filter_) and self.count(filter_) == self._total:
            numbers: Sequence[int] = range(first, min(first + count, self.count(filter_)))
        else:
            found = None if order.column else self._located(filter_, first, count)
            numbers = numbers_at(self._selection(filter_, order), first, count, self._valued(order)) if found is None else found
        low, high = min(numbers, default=0), max(numbers, default=-1)
        where = f"file_row_number BETWEEN {low} AND {high}"
        if high - low >= len(numbers):
            where += f" AND file_row_number IN ({', '.join(map(str, numbers))})"
        with translated_errors(self.path):
            cursor = cursor_of(self._database(order))
            # A relation over the file would be planned three times.
            cursor.execute(f"CREATE TEMP TABLE page AS SELECT {selected}, file_row_number FROM numbered WHERE {where}")
            rows = cursor.sql("FROM page ORDER BY file_row_number").to_arrow_table()
        if order.descending:
            places = {number: place for place, number in enumerate(sorted(numbers))}
            slices = [rows.slice(places[number], 1) for number in numbers]
            rows = pa.concat_tables(slices) if slices else rows
        return rows.select(names)

    def _located(self, filter_: Filter, first: int, count: int) -> list[int] | None:
        """The row numbers at these places of what is filtered, found in the few row groups that have them; None where it isn't known which
        these are."""
        import numpy as np

        if not self._summary or (in_groups := self._summary.in_row_groups(filter_)) is None:
            return None
        parts: list[tuple[int, int]] = []
        skipped = begin = passed = 0
        for rows, selected in zip(*in_groups, strict=True):
            if selected and passed < first + count and passed + selected > first:
                if not parts:
                    skipped = first - passed
                if parts and parts[-1][1] == begin:
                    parts[-1] = parts[-1][0], begin + rows
                else:
                    parts.append((begin, begin + rows))
            begin, passed = begin + rows, passed + selected
        numbers: list[Any] = []
        with self._translated_errors(filter_):
            for low, high in parts:
                rest = "AND file_row_number >= $low AND file_row_number < $high ORDER BY file_row_number"
                query, bound = self._select("file_row_number", filter_, rest)
                found = cursor_of(self._databases[""]).execute(query, bound | {"low": low, "high": high}).fetchnumpy()["file_row_number"]
                numbers.append(found)
                if sum(map(len, numbers)) >= skipped + count:
                    break
        return np.concatenate(numbers)[skipped : skipped + count].tolist() if numbers else []

    def row(self, place: int, filter_: Filter = EVERY_PREDICTION, order: Order = TABLE_ORDER) -> dict[str, Any]:
        """The row at this place of what is filtered, by column; previous and next are place - 1 and + 1. Raises NotFound."""
        rows: list[dict[str, Any]] = self.page(filter_, place, 1, order).to_pylist() if place >= 0 else []
        if not rows:
            raise NotFound("The filter selects no row at this place.", "Go back to the table.")
        return rows[0]

    # ---- orders --------------------------------------------------------------------------------------------------------------

    def is_prepared(self, order: Order) -> bool:
        """Whether pages in this order come at once."""
        return not order.column or self._sorted_copy(order).is_file()

    def prepare(self, order: Order, progress: Callable[[float], None] | None = None) -> None:
        """Sort a copy of the table by this column, once for both directions; `progress` is called with 0 to 1."""
        if not self.is_prepared(order):
            column, path = number_column(order.column, self.kind, self.own), self._cache.writable_path(order.column, ".parquet")
            with translated_errors(self.path):
                write_sorted(self.file, column, path, progress)

    def _sorted_copy(self, order: Order) -> Path:
        self.column_name(order.column, "order")
        return self._cache.path(order.column, ".parquet")

    def _database(self, order: Order) -> duckdb.DuckDBPyConnection:
        if (database := self._databases.get(order.column)) is None:
            self.prepare(order)
            with translated_errors(self.path):
                self._databases[order.column] = database = connect(self._sorted_copy(order), SECONDS_FOR_A_QUERY)
            for eldest in list(self._databases)[1:-_MOST_ORDERS]:
                self._databases.pop(eldest, None)
        return database

    # ---- counts --------------------------------------------------------------------------------------------------------------

    def facet(self, column: str, filter_: Filter = EVERY_PREDICTION, limit: int = 50) -> list[tuple[Any, int]]:
        """The most frequent values of a column with their counts, under the filter without its conditions on this very column."""
        filter_, having = filter_.without(column), ""
        if column in self.columns and self._summary:
            of_any_status = replace(filter_, statuses=tuple(Status)) if column == self.own["Status"] else filter_
            if (counts := self._summary.values(column, of_any_status, limit)) is not None:
                return counts
        if column == self.own["Status"]:
            filter_ = replace(filter_, statuses=tuple(Status))
        if column == "Prediction" and self._statistics.null_means_failed and filters.includes_predictions(filter_):
            if Status.FAILED not in filter_.statuses:
                having = "HAVING Prediction IS NOT NULL"
            filter_ = replace(filter_, statuses=tuple(Status))  # then one column less is read
        return self.rows(
            f"{self.column_name(column)}, count(*)", filter_, f"GROUP BY 1 {having} ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit
        )

    def class_counts(self, filter_: Filter = EVERY_PREDICTION, limit: int = 100) -> list[tuple[str, int]]:
        """The most frequent predictions, with their counts."""
        if self._summary and (counts := self._summary.values("Prediction", filter_, limit)) is not None:
            return counts
        return self.rows("Prediction, count(*)", filter_, "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit)

    def grouped(self, by: str, of: str = "", filter_: Filter = EVERY_PREDICTION, limit: int = 1000) -> pyarrow.Table:
        """A row for each value of the column `by`, the most frequent first: it, Rows, and of the column `of` (numbers) Mean, Least and
        Greatest. `of` "" is the prediction's number."""
        number = self.number_name(of or self.own["Number"])
        if (of or self.own["Number"]) not in self.exact:
            number = f"CASE WHEN NOT isnan({number}) THEN {number} END"
        measures = f"count(*) AS Rows, avg({number}) AS Mean, min({number}) AS Least, max({number}) AS Greatest"
        columns, rest = f"{self.column_name(by)}, {measures}", "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit"
        with self._translated_errors(filter_):
            return self._query(columns, filter_, rest, limit=limit).to_arrow_table()

    def extent(self, column: str, filter_: Filter = EVERY_PREDICTION) -> tuple[float, float] | None:
        """The least finite number of a column and the greatest; None where there are none."""
        ends = self._summary.ends(self._number_column(column), filter_) if self._summary else None
        if ends is None:
            x = self.finite_name(column)
            least, greatest = self.rows(f"min({x}), max({x})", filter_)[0]
            ends = () if least is None else (float(least), float(greatest))
        return ends or None

    def histogram(self, column: str, filter_: Filter = EVERY_PREDICTION, most: int = 40) -> list[tuple[float, float, int]]:
        """A column's finite numbers counted in at most so many bars, two at least, of one width: (lower, upper, count). Edges are round
        numbers; each bar goes up to its upper edge, which only the last one includes, where that is the greatest number and they aren't
        whole."""
        most = max(2, most)  # one begins at 0
        if self._summary and (bars := self._summary.histogram(self._number_column(column), filter_, most)) is not None:
            return bars
        x = self.finite_name(column)
        least, greatest, whole = self.rows(f"min({x}), max({x}), bool_and({x} = trunc({x}))", filter_)[0]
        if least is None:
            return []
        edges = _edges(float(least), float(greatest), most, whole=whole)
        bins = self.rows(f"histogram(-{x}, $edges)", filter_, edges=_mirrored(edges))[0][0]
        return list(zip(edges, edges[1:], _of_bars(bins, edges), strict=False))

    def histograms(
        self, column: str, by: str, edges: Sequence[float], filter_: Filter = EVERY_PREDICTION, limit: int = 8
    ) -> list[tuple[Any, list[int]]]:
        """Of the most frequent values of the column `by`, how many rows have each and a number of the other column in each bar between
        these edges, which are those of `histogram`."""
        summary, number = self._summary, self._number_column(column)
        if summary and (found := summary.histograms(number, by, filter_, edges)) is not None:
            return found[:limit]
        query = f"{self.column_name(by)}, histogram(-{self.finite_name(column)}, $edges)"
        rest = "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT $limit"
        rows = self.rows(query, filter_, rest, edges=_mirrored(edges), limit=limit)
        return [(value, _of_bars(bins, edges)) for value, bins in rows]

    def two_counted(self, first: str, second: str, filter_: Filter = EVERY_PREDICTION) -> list[tuple[Any, Any, int]] | None:
        """How many rows have each two values of two columns that have few, where that was counted; else None."""
        return self._summary.two(first, second, filter_) if self._summary else None

    def reached(self, column: str, threshold: float, filter_: Filter = EVERY_PREDICTION) -> tuple[int, int]:
        """How many rows have less than this in a column of numbers, and how many at least this."""
        if self._summary and (told := self._summary.split(self._number_column(column), threshold, filter_)) is not None:
            return told
        name = self.finite_name(column)
        counts = f"count({name}) FILTER ({name} < $threshold), count({name}) FILTER ({name} >= $threshold)"
        below, at_least = self.rows(counts, filter_, threshold=threshold)[0]
        return below, at_least

    def ask(self, query: str, limit: int = 1000) -> Answer:
        """The first `limit` rows of a person's own SELECT over `predictions`. Raises SettingsError("sql", ...) for what is not a single
        SELECT, fails, or exceeds the limits of time, memory and the answer's size."""
        import duckdb

        query = readable(query)
        with closing(duckdb.connect()) as database, translated_errors(self.path, "sql", _SQL_HINT):
            statements = database.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SettingsError("sql", "only a single SELECT statement is allowed", _SQL_HINT)
        rows = query_process.run_query(self.file, self.path, query, limit + 1, "sql", _SQL_HINT)
        return Answer(rows.slice(0, limit), rows.num_rows > limit)

    # ---- SQL over what is filtered, for charts and exports ---------------------------------------------------------------------

    def column_name(self, column: str, field: str = "column") -> str:
        """The column in SQL. Raises SettingsError(field, ...) where there is none."""
        if column not in self.columns:
            raise SettingsError(field, f"this table has no column “{column}”", f"Its columns are {', '.join(self.columns)}.")
        return quoted(column)

    def number_name(self, column: str) -> str:
        """The column's numbers in SQL. Raises SettingsError("column", ...) where it has none."""
        name = self.column_name(column)
        if self.columns[column] not in NUMERIC:
            raise SettingsError("column", f"“{column}” holds no numbers", "Choose a column of numbers.")
        return name if column != "Prediction" else quoted(self.own["Number"])

    def _number_column(self, column: str) -> str:
        """The column that holds these numbers. Raises as `number_name`."""
        self.number_name(column)
        return column if column != "Prediction" else self.own["Number"]

    def finite_name(self, column: str) -> str:
        """SQL: the column's finite numbers, as doubles; null for others. Raises as `number_name`."""
        name = f"{self.number_name(column)}::DOUBLE"
        exact = (self.own["Number"] if column == "Prediction" else column) in self.exact
        return name if exact or self.columns[column] is Kind.WHOLE_NUMBER else f"CASE WHEN isfinite({name}) THEN {name} END"

    def rows(self, columns: str, filter_: Filter, rest: str = "", **values: Any) -> list[tuple[Any, ...]]:
        """A short answer to `SELECT columns ... WHERE filter_ rest`, with these values of its parameters. It is kept for the next time:
        the rows of an open table don't change."""
        key = repr((columns, filter_, rest, values))
        if (answer := self._answers.get(key)) is None:
            with self._translated_errors(filter_):
                query, bound = self._select(columns, filter_, rest)
                answer = cursor_of(self._databases[""]).execute(query, bound | values).fetchall()  # a relation is planned twice: 1 ms
            if len(repr(answer)) <= _MOST_ANSWER_CHARACTERS:
                self._answers[key] = answer
                for eldest in list(self._answers)[:-_MOST_ANSWERS]:
                    self._answers.pop(eldest, None)
        return list(answer)

    def batches(self, columns: str, filter_: Filter, order: Order, rows_at_a_time: int) -> Iterator[pyarrow.RecordBatch]:
        """These SQL expressions over what is filtered, in this order, as a stream: nothing is kept, and time isn't limited. The first
        batch is empty and has the columns."""
        self._database(order)
        database = connect(self._sorted_copy(order) if order.column else self.file)
        with self._translated_errors(filter_):
            if order.descending or not filters.keeps_order(filter_, self._statistics):
                schema = self._query(columns, filter_, "LIMIT 0", database).to_arrow_table().schema
                return self._stream(database, schema, self._in_parts(database, columns, filter_, order), filter_)
            reader = self._query(columns, filter_, database=database).to_arrow_reader(rows_at_a_time)
        return self._stream(database, reader.schema, reader, filter_)

    def _stream(
        self, database: duckdb.DuckDBPyConnection, schema: pyarrow.Schema, batches: Iterable[pyarrow.RecordBatch], filter_: Filter
    ) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow as pa

        with closing(database), self._translated_errors(filter_):
            yield pa.RecordBatch.from_arrays([pa.nulls(0, column.type) for column in schema], schema=schema)
            yield from batches

    def _in_parts(self, database: duckdb.DuckDBPyConnection, columns: str, filter_: Filter, order: Order) -> Iterator[pyarrow.RecordBatch]:
        """Ranges of row numbers, each put in order by itself: backwards as far as there are values, then forwards."""
        valued, size = self._valued(order), self._rows_in_a_part()
        backwards = [(max(0, high - size), high, "DESC") for high in range(valued, 0, -size)]
        forwards = [(low, min(self._total, low + size), "") for low in range(valued, self._total, size)]
        for low, high, direction in backwards + forwards:
            rest = f"AND file_row_number >= $low AND file_row_number < $high ORDER BY file_row_number {direction}"
            yield from self._query(columns, filter_, rest, database, low=low, high=high).to_arrow_table().to_batches()

    def _rows_in_a_part(self) -> int:
        """As many as make about _PART_BYTES, but no more than a row group has."""
        query = "SELECT sum(total_uncompressed_size) FROM parquet_metadata($file)"
        size = cursor_of(self._databases[""]).sql(query, params={"file": glob_escaped(self.file)}).fetchall()[0][0] or 1
        return int(max(1000, min(_PART_ROWS, self._total * _PART_BYTES // size)))

    # ---- queries -------------------------------------------------------------------------------------------------------------

    def _query(
        self, columns: str, filter_: Filter, rest: str = "", database: duckdb.DuckDBPyConnection | None = None, **values: Any
    ) -> duckdb.DuckDBPyRelation:
        """A relation of these SQL expressions over what is filtered, in the table's order."""
        query, bound = self._select(columns, filter_, rest)
        return (database or cursor_of(self._databases[""])).sql(query, params=bound | values)

    def _select(self, columns: str, filter_: Filter, rest: str) -> tuple[str, dict[str, Any]]:
        where, bound = filters.condition(filter_, self._statistics)
        if filter_.where:
            self._try(filter_.where)
        return f"SELECT {columns} FROM numbered WHERE {where} {rest}", bound

    def _try(self, where: str) -> None:
        """A person's condition is run once where its time and memory are limited, before anything here is queried by it."""
        key = f"where\0{where}"
        if not self._cache.path(key, ".tried").exists():
            query_process.try_condition(self.file, self.path, where, self._hint)
            self._cache.writable_path(key, ".tried").touch()

    def _translated_errors(self, filter_: Filter) -> Any:
        return translated_errors(self.path, "where" if filter_.where else "", self._hint)

    @property
    def _hint(self) -> str:
        dates = [quoted(name) for name in self.further_columns if self.columns[name] is Kind.DATE]
        as_text = f" A date is compared with '2026-01-31'; as a text it is {dates[0]}::VARCHAR." if dates else ""
        return "Write SQL over " + ", ".join(map(quoted, self.columns)) + f"; for example: Prediction = 'cat'.{as_text}"

    def _selection(self, filter_: Filter, order: Order) -> Path:
        database = self._database(order)
        key = f"{order.column}\0{filter_.to_text()}"
        path = self._cache.path(key, ".rows")
        if not path.is_file():
            with self._translated_errors(filter_):
                # as a whole: read as a stream, DuckDB at times scans with one of its threads only
                numbers = self._query("file_row_number::UINTEGER", filter_, database=cursor_of(database)).to_arrow_table()
                path = self._cache.write_selection(key, ascending_numbers(numbers.to_batches()))
        return path

    def _valued(self, order: Order) -> int:
        """How many rows come backwards."""
        return first_empty(self._sorted_copy(order)) if order.descending else 0


def _edges(least: float, greatest: float, most: int, *, whole: bool) -> list[float]:
    """The round edges of at most so many bars from one number to another, ascending."""
    width = greatest / most - least / most
    if least == greatest or not width:
        return [least, least + max(1.0, abs(least) / 2**50) if least == greatest else greatest]
    for bars in widths_from(max(1.0, width) if whole else width):
        first, last = bars.place(least), bars.place(greatest)
        if not whole and last > first and bars.edge(last) == greatest:
            last -= 1
        if last - first < most:
            break
    edges = [max(-sys.float_info.max, min(bars.edge(place), sys.float_info.max)) for place in range(first, last + 2)]
    return edges if all(lower < upper for lower, upper in itertools.pairwise(edges)) else [least, greatest]


def _mirrored(edges: Sequence[float]) -> list[float]:
    """Edges for numbers with their signs changed: DuckDB's bins include their upper edges, and ours their lower ones."""
    return [-edge for edge in reversed(edges)]


def _of_bars(bins: Mapping[float, int] | None, edges: Sequence[float]) -> list[int]:
    """DuckDB's counts by the edges, `_mirrored`, as counts of the bars between these; the last one includes its upper edge."""
    counts = {-edge: count for edge, count in (bins or {}).items()}
    found = [counts.get(edge, 0) for edge in edges]
    greatest = found.pop()
    found[-1] += greatest
    return found


def _by_status_only(filter_: Filter) -> bool:
    return filter_ == Filter(statuses=filter_.statuses)

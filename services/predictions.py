"""A run's output as a typed table: pages of it, counts, charts' numbers, exports. The same for every workspace.

All the DuckDB is here. Each reader has a locked database of its own in memory that sees the run's table and no other file.
DuckDB and pyarrow take 0.3 s to import, so they are imported where they are used: pages import this on the way to their first paint.
"""

from __future__ import annotations

import math
import os
import re
import sys
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.errors import NotFound, SettingsError, WorkspaceUnavailable
from services.prediction_rows import ScoredMiniBatch, Status
from services.prediction_table import COLUMNS, Kind, make_table, readable, text_array

if TYPE_CHECKING:
    import duckdb
    import pyarrow

__all__ = [
    "COLUMNS",
    "EVERY_FAILURE",
    "EVERY_PREDICTION",
    "PREDICTED",
    "Filter",
    "Kind",
    "Predictions",
    "ScoredMiniBatch",
    "Status",
    "make_table",
]

PREDICTED = (Status.SUCCEEDED, Status.UNMATCHED)


@dataclass(frozen=True)
class Filter:
    """Which rows of the table. What is left out filters nothing; the default is every prediction.

    `text` is a substring of file or prediction in any case, `classes` are exact predictions, `minimum` and `maximum` bound the number
    (both included), `where` is a SQL condition over COLUMNS. Items that failed are there only when `statuses` says so.
    """

    text: str = ""
    classes: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    where: str = ""
    statuses: tuple[str, ...] = PREDICTED


EVERY_PREDICTION = Filter()
EVERY_FAILURE = Filter(statuses=(Status.FAILED,))

_SECONDS_FOR_A_QUERY = 30
_MEMORY = "512MB"
_CSV_ROWS_AT_A_TIME = 8_192


class Predictions:
    """The table at `path` as it is when opened; a new table may be put in its place meanwhile.

    Safe to use from several threads. Every question raises SettingsError("where", ...) for a condition that can't be answered within the
    limits of time and memory, WorkspaceUnavailable when the table can't be read.
    """

    def __init__(self, path: Path) -> None:
        """Raises NotFound where there is no table, WorkspaceUnavailable where it can't be read."""
        self.path = path
        self._file = self._kept()
        with self._explained(EVERY_PREDICTION):
            self._database = self._connected(_SECONDS_FOR_A_QUERY)
            kind = self._database.execute("SELECT decode(value) FROM parquet_kv_metadata($1) WHERE decode(key) = 'kind'", [self._pattern])
            self.kind = Kind((kind.fetchone() or [Kind.TEXT])[0])

    def _kept(self) -> Path:
        """A second name for the file, as long as this object lives: DuckDB opens it for every step of a query, and would mix two tables."""
        kept = self.path.with_name(f".{self.path.name}.{os.getpid()}-{os.urandom(4).hex()}.open")
        while not kept.exists():
            try:
                os.link(self.path, kept)
            except FileNotFoundError as error:
                if not self.path.is_file():  # else it was replaced just now
                    raise NotFound(
                        f"There is no table of predictions at {self.path}.", "It may have been removed. Open the run again."
                    ) from error
            except OSError:
                return self.path  # no hard links here, or a folder that can't be written, where nothing is replaced either
        weakref.finalize(self, kept.unlink, missing_ok=True)
        return kept

    @property
    def _pattern(self) -> str:
        """The file for DuckDB, which takes `[`, `*` and `?` for wildcards."""
        return re.sub(r"([*?\[])", r"[\1]", str(self._file.absolute()))

    def count(self, filter_: Filter = EVERY_PREDICTION) -> int:
        """How many rows there are."""
        return int(self._rows("count(*)", filter_)[0][0])

    def page(self, filter_: Filter = EVERY_PREDICTION, first: int = 0, count: int = 100) -> pyarrow.Table:
        """`count` rows from number `first`, with all of COLUMNS, in the order of mini-batches and their items."""
        with self._explained(filter_):
            return self._ask("*", filter_, "LIMIT $count OFFSET $first", count=count, first=first).to_arrow_table()

    def failed(self, first: int = 0, count: int = 100) -> pyarrow.Table:
        """The items that have no prediction, with their error, as `page` gives them."""
        return self.page(EVERY_FAILURE, first, count)

    def class_counts(self, filter_: Filter = EVERY_PREDICTION, limit: int = 100) -> list[tuple[str, int]]:
        """The most frequent predictions, with their counts."""
        return self._rows("Prediction, count(*)", filter_, "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit", limit=limit)

    def histogram(self, filter_: Filter = EVERY_PREDICTION, bins: int = 40) -> list[tuple[float, float, int]]:
        """At most `bins` bins of equal width from the least number to the greatest: (lower, upper, count), the greatest in the last one.
        Whole numbers get bins that hold equally many of them. Empty where there are no numbers."""
        least, greatest, whole = self._rows("min(Number), max(Number), bool_and(Number = trunc(Number))", filter_)[0]
        if least is None:
            return []
        width = greatest / bins - least / bins
        if whole and greatest - least < 2**53:
            width = float(math.ceil((greatest - least + 1) / bins))
            bins = int((greatest - least) // width) + 1
        if not least + width > least:
            bins, width = 1, greatest - least or 1.0
        place = "least(floor((Number / 2 - $least / 2) / ($width / 2)), $last)::INTEGER"  # halves: the whole range may be no double
        found = self._rows(f"{place}, count(Number)", filter_, "GROUP BY 1", least=least, width=width, last=bins - 1)
        counts = dict(found)
        return [(least + place * width, least + (place + 1) * width, counts.get(place, 0)) for place in range(bins)]

    def csv(self, filter_: Filter = EVERY_PREDICTION) -> Iterator[bytes]:
        """File and Prediction as a CSV file, in parts: UTF-8 without BOM, a header, lines that end in a newline, quotes (RFC 4180) where
        they are needed. It takes as long as its reader does; a bad condition raises now, not in the middle."""
        if filter_.where:
            self.count(filter_)
        with self._explained(filter_):
            database = self._connected()
            batches = self._ask("File, Prediction", filter_, database=database).to_arrow_reader(_CSV_ROWS_AT_A_TIME)
        return self._csv(filter_, database, batches)

    def _csv(self, filter_: Filter, database: duckdb.DuckDBPyConnection, batches: pyarrow.RecordBatchReader) -> Iterator[bytes]:
        with closing(database), self._explained(filter_):
            yield b"File,Prediction\n"
            for batch in batches:
                yield _csv_lines(*batch.columns)

    def _rows(self, columns: str, filter_: Filter, rest: str = "", **values: Any) -> list[tuple[Any, ...]]:
        with self._explained(filter_):
            return self._ask(columns, filter_, rest, **values).fetchall()

    def _ask(
        self, columns: str, filter_: Filter, rest: str = "", database: duckdb.DuckDBPyConnection | None = None, **values: Any
    ) -> duckdb.DuckDBPyRelation:
        condition, bound = _condition(filter_)
        query = f"SELECT {columns} FROM predictions WHERE {condition} {rest}"
        return (database or self._database.cursor()).sql(query, params=bound | values)

    def _connected(self, seconds: float = 0) -> duckdb.DuckDBPyConnection:
        """A database in memory that has the table as `predictions`, sees no other file, and can't be told otherwise."""
        import duckdb

        database = duckdb.connect(
            config={
                "memory_limit": _MEMORY,
                "temp_directory": "",
                "max_execution_time": str(int(seconds * 1000)),
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        database.execute(f"SET allowed_paths = [{_literal(self._pattern)}, {_literal(str(self._file.absolute()))}]")
        database.execute("SET enable_external_access = false")
        database.execute(f"CREATE VIEW predictions AS FROM read_parquet({_literal(self._pattern)})")
        database.execute("SET lock_configuration = true")
        return database

    @contextmanager
    def _explained(self, filter_: Filter) -> Iterator[None]:
        """What DuckDB says, as an error of ours: about the condition where there is one, else about the table."""
        import duckdb

        try:
            yield
        except (duckdb.Error, OSError) as error:
            reason = str(error).splitlines()[0]
            if filter_.where and not isinstance(error, duckdb.IOException):
                raise SettingsError(
                    "where",
                    f"this condition can't be used: {reason}",
                    "Write SQL over " + ", ".join(COLUMNS).replace("Mini-batch", '"Mini-batch"') + "; for example: Prediction = 'cat'.",
                ) from error
            raise WorkspaceUnavailable(
                f"The table of predictions, {self.path}, can't be read: {reason}", "Open the run's results again; they are made anew."
            ) from error


def _condition(filter_: Filter) -> tuple[str, dict[str, Any]]:
    """A filter as a SQL condition and the values of its parameters."""
    import duckdb

    conditions = [f"Status IN ({', '.join(_literal(Status(status)) for status in filter_.statuses)})"]
    values: dict[str, Any] = {}
    if filter_.text:
        conditions.append("(contains(lower(File), lower($text)) OR contains(lower(Prediction), lower($text)))")
        values["text"] = readable(filter_.text)
    if filter_.classes:
        conditions.append("Prediction IN (SELECT unnest($classes))")
        values["classes"] = [readable(name) for name in filter_.classes]
    for name, operator in (("minimum", ">="), ("maximum", "<=")):
        if (bound := getattr(filter_, name)) is not None:
            conditions.append(f"Number {operator} ${name}")
            values[name] = bound
    if filter_.where:
        where = readable(filter_.where)
        duckdb.SQLExpression(where)  # raises unless it is one expression by itself: no `1=1) UNION SELECT (...`
        conditions.append(f"({where}\n)")
    return " AND ".join(conditions), values


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _csv_lines(*columns: Any) -> bytes:
    """Lines of CSV: the texts are joined in one Arrow array, whose bytes are the lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    quote, comma, newline, nothing = text_array(['"', ",", "\n", ""])
    fields = []
    for texts in (column.cast(pa.large_string()) for column in columns):
        quoted = pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, nothing)
        fields.append(pc.if_else(pc.match_substring_regex(texts, '[",\r\n]'), quoted, texts))
    file, prediction = fields
    lines = pc.binary_join_element_wise(file, comma, prediction, newline, nothing)
    _, ends, characters = lines.buffers()
    last = int.from_bytes(ends[8 * len(lines) : 8 * len(lines) + 8].to_pybytes(), sys.byteorder)
    return bytes(characters[:last])

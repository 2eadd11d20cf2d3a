"""DuckDB: for a person's queries a locked database in memory that sees one table and no other file, for our own a scratch database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from services.errors import SettingsError, WorkspaceUnavailable
from services.predictions.columns import FRAME, glob_escaped, literal, parquet_file

if TYPE_CHECKING:
    import duckdb

_Answer = TypeVar("_Answer")
SECONDS_FOR_A_QUERY = 120
"""A scan of a hundred million file names takes seconds, on a busy machine a minute."""
MEMORY = "512MB"
_SCRATCH_MEMORY = "400MB"
_NOTHING_BY_ITSELF = {
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
}
_PERFECT_HASH_BITS = "20"  # groups of so many whole numbers, such as mini-batches, are counted in an array instead of a hash table


def connect(file: Path, seconds: float = 0, memory: str = MEMORY, *, joins: bool = False, zone: str = "") -> duckdb.DuckDBPyConnection:
    """A database in memory that has the table as `predictions`, and with the number of each row (`file_row_number`, from 0) as `numbered`.
    It sees no other file, and can't be configured otherwise. A query ends after so many seconds (0: never) or when it wants more memory.
    Without `joins`, tables are joined in the order in which they are named. `zone` is the time zone of times that name none ("": this
    machine's)."""
    import duckdb

    database = duckdb.connect(
        config={
            "memory_limit": memory,
            "temp_directory": "",
            "max_execution_time": str(int(seconds * 1000)),
            **_NOTHING_BY_ITSELF,
            "perfect_ht_threshold": _PERFECT_HASH_BITS,
        }
    )
    database.execute(f"SET allowed_paths = [{literal(glob_escaped(file))}, {literal(str(file.absolute()))}]")
    database.execute("SET GLOBAL parquet_metadata_cache = true")  # else each cursor reads the footer again, for each query
    database.execute("SET enable_external_access = false")
    # The one reads all of a file once for each tenth of what is grouped, the other the statistics of all row groups for each query.
    database.execute(f"SET disabled_optimizers = 'partitioned_execution{'' if joins else ',join_order'}'")
    shown = f"COLUMNS(lambda name: name <> {literal(FRAME)})"
    database.execute(f"CREATE VIEW predictions AS SELECT {shown} FROM {parquet_file(file)}")
    database.execute(f"CREATE VIEW numbered AS SELECT {shown} FROM {parquet_file(file, row_numbers=True)}")
    if zone:
        database.execute(f"SET TimeZone = {literal(zone)}")
    database.execute("SET lock_configuration = true")
    return database


class StoppableQueries:
    """The queries that a function sends by `cursor_of`, in the thread that it runs in; another thread may stop them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._stopped = False

    def run(self, question: Callable[[], _Answer]) -> _Answer:
        """What it returns. Raises what it raises, and when it is stopped what an interrupted query does."""
        _of_thread.queries = self
        try:
            return question()
        finally:
            _of_thread.queries = None

    def stop(self) -> None:
        """Interrupt the query that runs, and let no other begin. To be called again until all is done: one that is about to run isn't
        interrupted."""
        import duckdb

        with self._lock:
            self._stopped = True
            for cursor in self._cursors:
                with suppress(duckdb.ConnectionException):  # it is closed by now
                    cursor.interrupt()

    def add(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Raises duckdb.InterruptException where they were stopped."""
        import duckdb

        with self._lock:
            if self._stopped:
                raise duckdb.InterruptException("the query was stopped")
            self._cursors.append(cursor)


_of_thread = threading.local()


def cursor_of(database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A connection for one query, which `StoppableQueries` can interrupt."""
    cursor = database.cursor()
    queries: StoppableQueries | None = getattr(_of_thread, "queries", None)
    if queries:
        queries.add(cursor)
    return cursor


@contextmanager
def translated_errors(path: Path, field: str = "", hint: str = "") -> Iterator[None]:
    """DuckDB's errors as SettingsError(field, ...) about a person's SQL where `field` says that there is some, else as WorkspaceUnavailable
    about the table at `path`."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        if field and isinstance(error, duckdb.InterruptException | duckdb.OutOfMemoryException):
            limit = "time" if isinstance(error, duckdb.InterruptException) else "memory"
            raise SettingsError(field, f"the query exceeded its {limit} limit", "Narrow it.") from error
        if field and not isinstance(error, duckdb.IOException):
            noun = "condition" if field == "where" else "query"
            raise SettingsError(field, f"this {noun} failed: {reason}", hint) from error
        raise WorkspaceUnavailable(
            f"The table of predictions, {path}, can't be read: {reason}", "Open the run's results again; they are made again."
        ) from error


def scratch_database(beside: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory for SQL of our own, to be closed. It may read and write files; it spills into a folder beside `beside`."""
    import duckdb

    spill = "" if beside is None else str(beside.with_name(f"{beside.name}.spill"))
    return duckdb.connect(config={"memory_limit": _SCRATCH_MEMORY, "temp_directory": spill, **_NOTHING_BY_ITSELF})


def reason_of(error: Exception) -> str:
    """The message of DuckDB's error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


def parquet_notes(database: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """The texts kept in a Parquet file's footer, by name."""
    query = f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({literal(glob_escaped(path))})"
    return dict(database.execute(query).fetchall())

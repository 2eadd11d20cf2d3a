"""DuckDB over one table of predictions: a locked database in memory that sees this table and no other file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.errors import SettingsError, WorkspaceUnavailable
from services.predictions.filters import literal
from services.predictions.writer import FRAME

if TYPE_CHECKING:
    import duckdb

SECONDS_FOR_A_QUERY = 30
MEMORY = "512MB"
_PERFECT = "20"  # bits: groups of so many whole numbers, such as mini-batches, are counted in an array instead of a hash table


def pattern(file: Path) -> str:
    """The file for DuckDB, which takes `[`, `*` and `?` for wildcards."""
    return re.sub(r"([*?\[])", r"[\1]", str(file.absolute()))


def connected(file: Path, seconds: float = 0, memory: str = MEMORY) -> duckdb.DuckDBPyConnection:
    """A database in memory that has the table as `predictions`, sees no other file, and can't be told otherwise. A query ends after so many
    seconds (0: never) or when it wants more memory."""
    import duckdb

    database = duckdb.connect(
        config={
            "memory_limit": memory,
            "temp_directory": "",
            "max_execution_time": str(int(seconds * 1000)),
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "python_enable_replacements": "false",
            "perfect_ht_threshold": _PERFECT,
        }
    )
    database.execute(f"SET allowed_paths = [{literal(pattern(file))}, {literal(str(file.absolute()))}]")
    database.execute("SET parquet_metadata_cache = true")
    database.execute("SET enable_external_access = false")
    shown = f"COLUMNS(lambda name: name <> {literal(FRAME.strip(chr(34)))})"
    database.execute(f"CREATE VIEW predictions AS SELECT {shown} FROM read_parquet({literal(pattern(file))})")
    database.execute(f"CREATE VIEW numbered AS SELECT {shown} FROM read_parquet({literal(pattern(file))}, file_row_number = true)")
    database.execute("SET lock_configuration = true")
    return database


@contextmanager
def explained(path: Path, field: str = "", hint: str = "") -> Iterator[None]:
    """What DuckDB says, as an error of ours: about the person's SQL in `field` where there is some, else about the table."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        if field and isinstance(error, duckdb.InterruptException | duckdb.OutOfMemoryException):
            what = "time" if isinstance(error, duckdb.InterruptException) else "memory"
            raise SettingsError(field, f"this takes more {what} than it may", "Ask for less.") from error
        if field and not isinstance(error, duckdb.IOException):
            noun = "condition" if field == "where" else "query"
            raise SettingsError(field, f"this {noun} can't be used: {reason}", hint) from error
        raise WorkspaceUnavailable(
            f"The table of predictions, {path}, can't be read: {reason}", "Open the run's results again; they are made anew."
        ) from error

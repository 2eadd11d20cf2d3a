"""Tables of predictions with a column from elsewhere beside them: true labels, or another run's predictions. The SQL of judging.

Nothing but this program's own SQL runs on these connections; they may read and write files, and spill to disk beside the table, so that
ten million rows are joined within a fixed amount of memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.errors import WorkspaceUnavailable
from services.predictions.database import pattern
from services.predictions.filters import literal, quoted
from services.predictions.selections import remove_table
from services.predictions.writer import Kind
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import duckdb

_MEMORY = "400MB"
_PARQUET = "FORMAT parquet, COMPRESSION lz4_raw"


def parquet(path: Path) -> str:
    """The file as a relation, with the number of each row, from 0, as `file_row_number`."""
    return f"read_parquet({literal(pattern(path))}, file_row_number = true)"


def text_of(column: str, table: str = "") -> str:
    """SQL: what a row says in this column; `table` is such as `t.`."""
    return f"{table}{quoted(column)}::VARCHAR"


def number_of(column: str, table: str = "") -> str:
    """SQL: the same as a number, null where it is none."""
    return f"{table}Number" if column == "Prediction" else f"try_cast({text_of(column, table)} AS DOUBLE)"


def joined_by(id_: str, column: str) -> str:
    """In the name of a joined table's file: what is beside the predictions, and which column of theirs it was compared with."""
    return id_ if column == "Prediction" else f"{id_}.{hashlib.sha256(column.encode()).hexdigest()[:8]}"


def scratch_database(beside: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory for SQL of our own, to be closed. It spills into a folder beside the file `beside`."""
    import duckdb

    spill = "" if beside is None else str(beside.with_name(f"{beside.name}.spill"))
    return duckdb.connect(
        config={
            "memory_limit": _MEMORY,
            "temp_directory": spill,
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "python_enable_replacements": "false",
        }
    )


def duckdb_reason(error: BaseException | None) -> str:
    """What DuckDB says in one line, or an empty string for an error of another kind."""
    import duckdb

    if not isinstance(error, duckdb.Error):
        return ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


def parquet_notes(database: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """The texts kept in a Parquet file's footer, by name."""
    query = f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({literal(pattern(path))})"
    return dict(database.execute(query).fetchall())


@contextmanager
def writing(target: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A scratch database and an unfinished file; what is in that at the end is put in place at `target`.

    Raises WorkspaceUnavailable where it can't be written or the tables can't be read.
    """
    try:
        with atomic_write(target) as unfinished:
            try:
                with closing(scratch_database(unfinished)) as database:
                    yield database, unfinished
            finally:
                shutil.rmtree(f"{unfinished}.spill", ignore_errors=True)
    except BaseException as error:
        if reason := duckdb_reason(error) or (str(error) if isinstance(error, OSError) else ""):
            raise WorkspaceUnavailable(
                f"The tables can't be joined: {reason}", "Free some disk space, or open the run's results again; they are made anew."
            ) from error
        raise


def copy_beside(
    database: duckdb.DuckDBPyConnection, table: Path, columns: Mapping[str, tuple[Kind, str]], beside: str, target: Path
) -> None:
    """Write `table` to `target`, its rows in their order and its notes kept, with `columns` added: of each what its values are, and SQL
    over the table's columns, t, and those of the relation `beside`, which has exactly one row for each of the table's, in that order.
    A column of the table that is called as one of these gets another name: see names_beside."""
    notes = {name: value for name, value in parquet_notes(database, table).items() if not name.startswith("ARROW:")}
    kinds = json.loads(notes["columns"])
    names = names_beside(kinds, columns)
    notes["columns"] = json.dumps({names[name]: kind for name, kind in kinds.items()} | {name: kind for name, (kind, _) in columns.items()})
    renamed = ", ".join(f"{quoted(name)} AS {quoted(new)}" for name, new in names.items() if new != name)
    own = f"t.* RENAME ({renamed})" if renamed else "t.*"
    added = ", ".join(f"{sql} AS {name}" for name, (_, sql) in columns.items())
    told = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in notes.items())
    database.execute(
        f"COPY (SELECT {own}, {added} FROM read_parquet({literal(pattern(table))}) t POSITIONAL JOIN {beside} b)"
        f" TO {literal(str(target))} ({_PARQUET}, KV_METADATA {{{told}}})"
    )


def names_beside(names: Collection[str], added: Collection[str]) -> dict[str, str]:
    """What a table's columns are called where these are added: `label` is `label 2` beside `Label`, for SQL knows no case."""
    new = {name.lower() for name in added}
    taken = new | {name.lower() for name in names}
    called = {}
    for name in names:
        spellings = (f"{name} {number}" for number in itertools.count(2))
        called[name] = next(one for one in spellings if one.lower() not in taken) if name.lower() in new else name
        taken.add(called[name].lower())
    return called


def same_files_in_order(database: duckdb.DuckDBPyConnection, one: Path, other: Path) -> bool:
    """Whether two tables hold the same files in the same order, so that row n of one belongs to row n of the other."""
    counts = [database.execute(f"SELECT count(*) FROM {parquet(path)}").fetchall()[0][0] for path in (one, other)]
    if counts[0] != counts[1]:
        return False
    query = (
        f"SELECT bool_and(a.File = b.File) FROM (SELECT File FROM {parquet(one)}) a POSITIONAL JOIN (SELECT File FROM {parquet(other)}) b"
    )
    return database.execute(query).fetchall()[0][0] is not False


def remove_stale(target: Path, beginning: str) -> None:
    """Remove what was joined from earlier tables of partial results: files beside `target` whose names begin alike."""
    for path in target.parent.iterdir():
        if path.name.startswith(beginning) and path.suffix == target.suffix and path != target:
            remove_table(path)

"""Tables of predictions with a column from elsewhere beside them: true labels, or another run's predictions.

They are joined in scratch databases, which spill to disk beside the table: ten million rows within a fixed amount of memory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.errors import WorkspaceUnavailable
from services.predictions.columns import Kind, literal, names_beside, parquet_file, quoted
from services.predictions.database import parquet_notes, reason_of, scratch_database, translated_errors
from services.predictions.table_file import remove_table
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import duckdb

_FEW_CHARACTERS = 16
_PARQUET = "FORMAT parquet, COMPRESSION lz4_raw"


def text_of(column: str, kind: Kind, table: str = "") -> str:
    """SQL: a column's value as text, a truth value as Python spells it; `table` is such as `t.`."""
    name = table + quoted(column)
    return f"CASE WHEN {name} THEN 'True' WHEN NOT {name} THEN 'False' END" if kind is Kind.TRUTH_VALUE else f"{name}::VARCHAR"


def number_of(column: str, own: Mapping[str, str], table: str = "") -> str:
    """SQL: the same as a number, null where it is not a finite one. `own` is what the table's own columns are called in it."""
    number = f"try_cast({table}{quoted(own['Number'] if column == 'Prediction' else column)}::VARCHAR AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def same_number(text: str, number: str, other_text: str, other_number: str) -> str:
    """SQL: whether two values are one number that is spelled in two ways, such as 7 and 7.0. Of many digits doubles don't tell."""
    return f"coalesce({number} = {other_number} AND greatest(length({text}), length({other_text})) < {_FEW_CHARACTERS}, false)"


def joined_by(id_: str, column: str) -> str:
    """In the name of a joined table's file: what is beside the predictions, and which column of theirs it was compared with."""
    return id_ if column == "Prediction" else f"{id_}.{hashlib.sha256(column.encode()).hexdigest()[:8]}"


def join_once(target: Path, beginning: str, rest: Path, join: Callable[[duckdb.DuckDBPyConnection, Path, Path], None]) -> None:
    """Call `join` with a scratch database and two unfinished files, which are put in place at `target` and `rest` at the end; unless both
    are there. What was joined from earlier tables of partial results, whose names have the same `beginning`, is removed.

    Raises WorkspaceUnavailable where they can't be written or the tables can't be read.
    """
    import duckdb

    if target.is_file() and rest.is_file():
        return
    try:
        with atomic_write(target) as unfinished, atomic_write(rest) as unfinished_rest:
            try:
                with closing(scratch_database(unfinished)) as database:
                    join(database, unfinished, unfinished_rest)
            finally:
                shutil.rmtree(f"{unfinished}.spill", ignore_errors=True)
    except (duckdb.Error, OSError) as error:
        raise WorkspaceUnavailable(
            f"The tables can't be joined: {reason_of(error)}", "Free some disk space, or open the run's results again; they are made again."
        ) from error
    for path in target.parent.iterdir():
        stale = path.name.removeprefix(rest.name.removesuffix(target.name)).startswith(beginning)
        if stale and path.suffix == target.suffix and path not in (target, rest):
            remove_table(path)


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
    metadata = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in notes.items())
    database.execute(
        f"COPY ({select_beside(table, kinds, columns, beside)}) TO {literal(str(target))} ({_PARQUET}, KV_METADATA {{{metadata}}})"
    )


def select_beside(table: Path, kinds: Collection[str], columns: Mapping[str, tuple[Kind, str]], beside: str) -> str:
    """The rows that `copy_beside` writes, as SQL; `kinds` are the names of the table's columns."""
    renamed = ", ".join(f"{quoted(name)} AS {quoted(new)}" for name, new in names_beside(kinds, columns).items() if new != name)
    own = f"t.* RENAME ({renamed})" if renamed else "t.*"
    added = ", ".join(f"{sql} AS {quoted(name)}" for name, (_, sql) in columns.items())
    return f"SELECT {own}, {added} FROM {parquet_file(table)} t POSITIONAL JOIN {beside} b"


def same_items_in_order(database: duckdb.DuckDBPyConnection, first: Path, second: Path, numbers: tuple[str, str] | None) -> bool:
    """Whether two tables hold the same files in the same order, so that row n of the first belongs to row n of the second; and the same
    rows of them, where `numbers` are the columns of both with the rows' numbers."""
    counts = [database.execute(f"SELECT count(*) FROM {parquet_file(path)}").fetchall()[0][0] for path in (first, second)]
    if counts[0] != counts[1]:
        return False
    first_number, second_number = (quoted(name) for name in numbers) if numbers else ("0", "0")
    query = (
        "SELECT bool_and(a.File = b.File AND a.n IS NOT DISTINCT FROM b.n)"
        f" FROM (SELECT File, {first_number} AS n FROM {parquet_file(first)}) a"
        f" POSITIONAL JOIN (SELECT File, {second_number} AS n FROM {parquet_file(second)}) b"
    )
    return database.execute(query).fetchall()[0][0] is not False


class JoinedTable:
    """What was joined, read from the table at `path`; `views` is SQL by the names of queries. Safe to use from several threads."""

    def __init__(self, path: Path, views: Mapping[str, str], database: duckdb.DuckDBPyConnection | None = None) -> None:
        """`database`: one that has the views already, for one thread alone."""
        self.path = path
        self._views = views
        self._owned = database is None
        if database is not None:
            self._database = database

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        """One for all queries: making it takes longer than most of them."""
        database = scratch_database(self.path)
        for name, sql in self._views.items():
            database.execute(f"CREATE VIEW {name} AS {sql}")
        return database

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        with translated_errors(self.path):
            return (self._database.cursor() if self._owned else self._database).execute(query).fetchall()

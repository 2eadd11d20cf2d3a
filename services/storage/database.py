"""The registry's file, studio.db of a home: opened, brought to the newest schema, its steps made.

WAL and `synchronous=NORMAL`: safe against a killed process, not against power loss.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.domain import Metadata, readable
from services.errors import WorkspaceUnavailable
from services.storage import reserve
from services.storage.schema import SCHEMA
from services.storage.sqlite import connect_readable, translated_errors, use_write_ahead_log


def column_value(value: Any) -> Any:
    """As a column has it: times in ISO 8601 and UTC, tuples as JSON."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, str):
        return readable(value)
    return json.dumps(value) if isinstance(value, tuple) else value


def metadata_of(row: sqlite3.Row) -> Metadata:
    """Of the columns `name`, `note`, `tags`, `pinned`, `archived`."""
    return Metadata(row["name"], row["note"], json.loads(row["tags"]), bool(row["pinned"]), bool(row["archived"]))


def metadata_columns(said: Metadata) -> dict[str, Any]:
    tags = json.dumps({readable(key): readable(value) for key, value in said.tags.items()})
    return {"name": readable(said.name), "note": readable(said.note), "tags": tags, "pinned": said.pinned, "archived": said.archived}


def _schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


class Database:
    """Cheap to make; safe to use from several threads and processes at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / "studio.db"
        reserve.keep(home)
        with self._connected() as connection:
            if _schema_version(connection) < len(SCHEMA):
                use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                for step in SCHEMA[_schema_version(connection) :]:
                    connection.execute(step) if isinstance(step, str) else step(connection)
                connection.execute(f"PRAGMA user_version = {len(SCHEMA)}")
                connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection in autocommit; what is one step is wrapped in BEGIN IMMEDIATE by its caller."""
        with translated_errors(self.path, "The workspace's registry"), closing(self._connect()) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection

    def _connect(self) -> sqlite3.Connection:
        try:
            return connect_readable(self.path, read_only=False)
        except sqlite3.OperationalError:
            if not reserve.release(self.path.parent):
                raise
            return connect_readable(self.path, read_only=False)

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """While it lasts, no other connection is the last to be closed: at that SQLite writes its log into the file and waits for the disk,
        which on a busy one takes a tenth of a second each time."""
        with self._connected() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # until then it isn't really open
            yield

    def _execute(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of the answer to one statement."""
        with self._connected() as connection:
            return connection.execute(query, tuple(map(column_value, values))).fetchall()

    def _in_one_step(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """On a full disk once more, in the room set aside."""
        for room in (True, False):
            try:
                with self._connected() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    change(connection)
                    connection.execute("COMMIT")
                return
            except WorkspaceUnavailable:
                if not (room and reserve.release(self.path.parent)):
                    raise

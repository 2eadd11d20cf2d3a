"""How SQLite files are opened here: what another process locks is retried by SQLite itself, for so long."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.errors import WorkspaceUnavailable

BUSY_TIMEOUT_SECONDS = 20.0


def connect(path: Path, *, read_only: bool = False, immutable: bool = False) -> sqlite3.Connection:
    """A connection in autocommit, to be closed; a read-only one may be used by several threads. `immutable` is for a disk that can't be
    written, where not even SQLite's own files can be. Raises sqlite3.Error."""
    if not (read_only or immutable):
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)


def connect_readable(path: Path, *, read_only: bool = True) -> sqlite3.Connection:
    """`connect`, and on a disk that turned read-only, where there is no room for SQLite's own files, to what stands in the file."""
    connection = connect(path, read_only=read_only)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorname != "SQLITE_CANTOPEN" or not os.access(path, os.R_OK):
            raise
        return connect(path, immutable=True)
    return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, so that readers don't wait for a writer. SQLite itself does not wait here for whoever opens the file at the
    same moment. Raises sqlite3.Error."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def translated_errors(path: Path, what: str) -> Iterator[None]:
    """SQLite's errors as WorkspaceUnavailable about the file at `path`; `what` is the beginning of a sentence, such as `The notes`."""
    try:
        yield
    except sqlite3.Error as error:
        raise WorkspaceUnavailable(
            f"{what}, {path}, can't be used: {error}.", "Check that the folder exists, can be written and that its disk is not full."
        ) from error

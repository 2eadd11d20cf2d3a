"""How SQLite files are opened here: what another process locks is retried by SQLite itself, for so long."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY_TIMEOUT_SECONDS = 20.0


def connect(path: Path, *, read_only: bool = False, immutable: bool = False) -> sqlite3.Connection:
    """A connection in autocommit, to be closed; a read-only one may be used by several threads. `immutable` is for a disk that can't be
    written, where not even SQLite's own files can be. Raises sqlite3.Error."""
    if not (read_only or immutable):
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)

"""A table's file: which table it is, a name for it that outlives its removal, and the removal itself.

DuckDB reopens a file for every step of a query. So whoever reads a table gives its file a second name (a hard link), and goes on reading
it when another table is put in its place. An operating-system lock shows whether that name is still in use; the kernel drops it with
the process that held it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from services.errors import NotFound


def table_identity(file: Path) -> str:
    """Which table this is, whatever its name; "" where there is none."""
    try:
        info = file.stat()
    except OSError:
        return ""
    return f"{info.st_ino} {info.st_mtime_ns} {info.st_size}"


def cache_folder(table: Path) -> Path:
    """Where a table's TableCache is: `predictions-7.kept` of `predictions-7.parquet`."""
    return table.with_suffix(".kept")


class TableLink:
    """A second name for the file of the table at `table`, until `release`."""

    def __init__(self, table: Path) -> None:
        """Raises NotFound where there is no table. Without hard links, or in a folder that can't be written, `path` is the table's own:
        there nothing is replaced either."""
        self.path = table.with_name(f".{table.name}.{os.urandom(8).hex()}.open")
        self._lock = _lock_of(self.path)
        try:
            if table.is_file():
                self._lock.acquire(blocking=False)
                os.link(table, self.path)
        except OSError:
            self.release()
            self.path = table
        if not self.path.is_file():
            raise NotFound(f"There is no table of predictions at {table}.", "It may have been removed. Open the run again.")

    def release(self) -> None:
        """Remove the name. What can't be removed now, for a query still has it open on Windows, goes with the table."""
        if self._lock.is_locked:
            _remove(self.path, self._lock)


def remove_table(table: Path) -> None:
    """Remove the table and its cache, and the names that a process left that was killed; nothing where it isn't there. Who still reads it
    goes on reading."""
    table.unlink(missing_ok=True)
    shutil.rmtree(cache_folder(table), ignore_errors=True)
    for link in table.parent.glob(".*.open"):
        lock = _lock_of(link)
        with suppress(Timeout, OSError):
            lock.acquire(blocking=False)
            _remove(link, lock)


def _lock_of(link: Path) -> FileLock:
    return FileLock(f"{link}.lock", thread_local=False)


def _remove(link: Path, lock: FileLock) -> None:
    with suppress(OSError):
        link.unlink(missing_ok=True)
    lock.release()
    with suppress(OSError):
        os.unlink(lock.lock_file)

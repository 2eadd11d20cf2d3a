"""What is kept beside a table so that the next page is quick: the row numbers that a filter selects, and copies in other orders.

It goes with its table, and the oldest selections make room for new ones.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from services.predictions.table_file import cache_folder, table_identity
from services.storage.atomic import atomic_write

_MOST_SELECTIONS = 32
_MOST_BYTES = 1_000_000_000


class TableCache:
    """The cache of the table at `path`, whose file is `file`. Its folder is made when something is to be kept."""

    def __init__(self, path: Path, file: Path) -> None:
        self._folder = cache_folder(path)
        self._table = table_identity(file)  # another table may be put in its place
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def path(self, key: str, suffix: str) -> Path:
        """The file of this key, whether it is there or not."""
        name = hashlib.sha256(f"{self._table}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return self._folder / f"{name}{suffix}"

    def writable_path(self, key: str, suffix: str) -> Path:
        """As `path`, in a folder that is there and can be written: a temporary one where the table's can't."""
        try:
            self._folder.mkdir(exist_ok=True)
            if not os.access(self._folder, os.W_OK):
                raise PermissionError(self._folder)
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="predictions-")
            self._folder = Path(self._temporary.name)
        return self.path(key, suffix)

    def write_selection(self, key: str, parts: Iterator[bytes | memoryview]) -> Path:
        """Write a selection as a whole, and make room for it. What raises in the first part raises before anything is written. Raises
        OSError."""
        first = next(parts, b"")
        path = self.writable_path(key, ".rows")
        with atomic_write(path) as unfinished, open(unfinished, "xb") as file:
            file.write(first)
            file.writelines(parts)
        self._make_room(path)
        return path

    def _make_room(self, newest: Path) -> None:
        selections = []
        for path in self._folder.glob("*.rows"):
            try:
                info = path.stat()
            except FileNotFoundError:  # another tab made room
                continue
            selections.append((info.st_mtime, info.st_size, path))
        total = 0
        for number, (_, size, path) in enumerate(sorted(selections, reverse=True)):
            total += size
            if path != newest and (number >= _MOST_SELECTIONS or total > _MOST_BYTES):
                path.unlink(missing_ok=True)

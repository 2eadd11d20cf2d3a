"""What is kept beside a table so that the next page is quick: the row numbers that a filter left, and copies in other orders.

A selection is a file of row numbers, four bytes each; a page of it is a slice. It goes with its table, and the oldest make room.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import sys
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.storage.atomic import atomic_write

_MOST_SELECTIONS = 32
_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Selection:
    """Row numbers, ascending. `first_empty` is the number of the first row that has no value in the column it is ordered by."""

    path: Path
    count: int
    first_empty: int
    descending: bool

    def numbers(self, first: int, count: int) -> Sequence[int]:
        """The row numbers at these places of the order: descending, what has a value comes backwards, then what has none."""
        last = min(first + count, self.count)
        if not self.descending:
            return self._read(first, last)
        valued = self._valued()
        head = self._read(max(0, valued - min(last, valued)), max(0, valued - first))
        head.reverse()
        return head + self._read(max(first, valued), last) if last > valued else head

    def place(self, number: int) -> int | None:
        """Where this row is; None where the filter leaves it out."""
        with open(self.path, "rb") as file:
            found = bisect_left(_Numbers(file, self.count), number)
        if self._read(found, found + 1) != array("I", [number]):
            return None
        valued = self._valued() if self.descending else 0
        return valued - 1 - found if found < valued else found

    def _valued(self) -> int:
        with open(self.path, "rb") as file:
            return bisect_left(_Numbers(file, self.count), self.first_empty)

    def _read(self, first: int, last: int) -> array[int]:
        numbers = array("I")
        if last > first:
            with open(self.path, "rb") as file:
                file.seek(4 * first)
                numbers.frombytes(file.read(4 * (last - first)))
            if sys.byteorder == "big":
                numbers.byteswap()
        return numbers


class _Numbers(Sequence[int]):
    """Row numbers in a file, for bisection."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file, self._count = file, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self._file.seek(4 * index)
        return int.from_bytes(self._file.read(4), "little")


class Kept:
    """The folder beside the table at `path`: `predictions-7.kept` of `predictions-7.parquet`. Made when something is to be kept."""

    def __init__(self, path: Path, file: Path) -> None:
        self._folder = folder_of(path)
        self._table = table_identity(file)  # another table may be put in its place
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def found(self, what: str, suffix: str) -> Path:
        """Where this is, if it is kept."""
        name = hashlib.sha256(f"{self._table}\0{what}".encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return self._folder / f"{name}{suffix}"

    def place_for(self, what: str, suffix: str) -> Path:
        """As `found`, in a folder that is there and can be written."""
        try:
            self._folder.mkdir(exist_ok=True)
            if not os.access(self._folder, os.W_OK):
                raise PermissionError(self._folder)
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="predictions-")
            self._folder = Path(self._temporary.name)
        return self.found(what, suffix)

    def write(self, what: str, parts: Iterator[bytes | memoryview]) -> Path:
        """Write a selection as a whole, and make room for it. What can't be asked raises before anything is written. Raises OSError."""
        first = next(parts, b"")
        path = self.place_for(what, ".rows")
        with atomic_write(path) as unfinished, open(unfinished, "xb") as file:
            file.write(first)
            file.writelines(parts)
        self._make_room(path)
        return path

    def _make_room(self, newest: Path) -> None:
        found = []
        for path in self._folder.glob("*.rows"):
            try:
                found.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another tab made room
                continue
        size = 0
        for number, (_, bytes_, path) in enumerate(sorted(found, reverse=True)):
            size += bytes_
            if path != newest and (number >= _MOST_SELECTIONS or size > _MOST_BYTES):
                path.unlink(missing_ok=True)


def table_identity(file: Path) -> str:
    """Which table this is, whatever its name; nothing where there is none."""
    try:
        info = file.stat()
    except OSError:
        return ""
    return f"{info.st_ino} {info.st_mtime_ns} {info.st_size}"


def folder_of(table: Path) -> Path:
    return table.with_suffix(".kept")


def remove_table(table: Path) -> None:
    """The table and what is kept beside it; nothing where it isn't there. Whoever has it open keeps a name of their own for it."""
    table.unlink(missing_ok=True)
    shutil.rmtree(folder_of(table), ignore_errors=True)
    for name in table.parent.glob(f".{glob.escape(table.name)}.*-*.open"):
        if not _goes_on(name.suffixes[-2][1:].partition("-")[0]):  # killed: it could not take its name away
            name.unlink(missing_ok=True)


def _goes_on(process: str) -> bool:
    """Whether there is such a process. On Windows, where a look would end it, there is said to be."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

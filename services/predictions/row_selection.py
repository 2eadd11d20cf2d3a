"""Which rows a filter selects: a file of row numbers, ascending, four bytes each (little-endian). A page of it is a slice."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

_BYTES = 4


@dataclass(frozen=True)
class RowSelection:
    """The `count` row numbers in the file at `path`. `first_empty` is the number of the first row that has no value in the column it is
    ordered by."""

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
        """The place of this row, from 0; None where the filter leaves it out."""
        place = self._bisect(number)
        if self._read(place, place + 1) != array("I", [number]):
            return None
        valued = self._valued() if self.descending else 0
        return valued - 1 - place if place < valued else place

    def _valued(self) -> int:
        return self._bisect(self.first_empty)

    def _bisect(self, number: int) -> int:
        with open(self.path, "rb") as file:
            return bisect_left(_Numbers(file, self.count), number)

    def _read(self, first: int, last: int) -> array[int]:
        numbers = array("I")
        if last > first:
            with open(self.path, "rb") as file:
                file.seek(_BYTES * first)
                numbers.frombytes(file.read(_BYTES * (last - first)))
            if sys.byteorder == "big":
                numbers.byteswap()
        return numbers


class _Numbers(Sequence[int]):
    """Row numbers in a file, for bisection."""

    def __init__(self, file: BufferedReader, count: int) -> None:
        self._file, self._count = file, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self._file.seek(_BYTES * index)
        return int.from_bytes(self._file.read(_BYTES), "little")


def count_rows(path: Path) -> int:
    """How many row numbers are in the file. Raises OSError."""
    return os.stat(path).st_size // _BYTES


def ascending_numbers(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[memoryview]:
    """The row numbers (uint32) in these batches as the bytes of a selection, ascending even where DuckDB lost the order."""
    import numpy as np

    parts: list[Any] = [np.empty(0, np.dtype("<u4"))]
    last = -1
    is_sorted = True
    for batch in batches:
        column = batch.column(0)
        if len(column):
            numbers = np.frombuffer(column.buffers()[1], "<u4")[column.offset : column.offset + len(column)]  # without pandas
            is_sorted = is_sorted and int(numbers[0]) > last and bool((numbers[1:] > numbers[:-1]).all())
            last = int(numbers[-1])
            parts.append(numbers)
    if not is_sorted:
        parts = [np.sort(np.concatenate(parts))]
    yield from (memoryview(part).cast("B") for part in parts)

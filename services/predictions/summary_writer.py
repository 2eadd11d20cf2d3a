"""Counts of a table's rows, gathered while it is written, so that nobody has to read a hundred million rows to tell how many are cats.

Two columns at a time are counted against each other, for each status by itself: columns of few values by their values, columns of numbers
by the bins they are in (`number_bins`), of which two rows of the same bin are told apart by whether they lie on its edge. Also counted is
how often each value is in each row group of the table: so a page of what is filtered is found without a list of its rows.

The counts are in the table's own file, between its rows and its footer, where no reader of Parquet looks: they come and go with it. A
column of too many values isn't counted, nor are two that have too many together; `summary_reader` says so, and then the table is read.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.predictions import number_bins
from services.predictions.columns import COLUMNS, FRAME, STATUSES, Kind, Status
from services.predictions.number_bins import Width, level_width, narrow_bins_in

MAGIC = b"BSCOUNT1"
TRAILER = struct.Struct("<I8s")
"""Before the footer: the length of the index, which is its size as 4 bytes and then compressed, and MAGIC."""
FOOTER = struct.Struct("<I4s")
"""At the end of a Parquet file: the length of its footer, and PAR1."""
NULL, NAN, BELOW_ALL, ABOVE_ALL = range(4)
FIRST_BIN = 4
"""Codes of numbers: no value, nan, -inf, inf, then the bins. Of narrow bins each has two codes: its lower edge alone, and what is above."""

_MOST_VALUES = 1_000
_MOST_FOLDERS = 20_000
_MOST_BINS, _MOST_WIDE_BINS = 2_048, 256
_MOST_NARROW_CELLS = 1_500_000
_MOST_CELLS = 4_000_000
"""Of one pair of columns."""
_MOST_CELLS_TOGETHER = 24_000_000
"""Four bytes each while a table is written."""
_MOST_BYTES, _MOST_GROUP_BYTES = 8_000_000, 3_500_000
"""Compressed, in the file: all of it, and until it is known which values each row group has."""
_MOST_NUMBER_COLUMNS = 16
_MOST_PAIRED_NUMBERS = 6
_MOST_COMBINATIONS = 1 << 22
_FINER_THAN_ONE_NUMBER = 24  # levels: 12 digits
_LARGEST_WHOLE = 2**53
_NOT_COUNTED = ("File", "Row number", "Status", "Error", "Mini-batch", "Place")


class _TooMany(Exception):
    """A column, or a pair of them, has more values than are counted."""


@dataclass
class _Category:
    """A column of few values. Code 0 is no value."""

    name: str
    most: int
    codes: dict[Any, int] = field(default_factory=dict)
    """By value."""
    groups: list[tuple[int, int, Any, Any]] = field(default_factory=list)
    """Row group, status, codes, counts."""

    @property
    def size(self) -> int:
        return len(self.codes) + 1

    def codes_of(self, values: Sequence[Any]) -> Any:
        """The codes of distinct values, after that of none."""
        import numpy as np

        for value in values:
            self.codes.setdefault(value, len(self.codes) + 1)
        if len(self.codes) > self.most:
            raise _TooMany
        return np.array([NULL, *map(self.codes.__getitem__, values)], np.int64)


@dataclass
class _Axis:
    """Bins of one level, from the place `base` on."""

    most: int
    on_edge: bool
    """Whether what lies on a bin's lower edge has a code of its own."""
    level: int | None = None
    base: int = 0
    bins: int = 0

    @property
    def size(self) -> int:
        """The number of codes."""
        return FIRST_BIN + self.bins * (1 + self.on_edge)

    @property
    def width(self) -> Width:
        assert self.level is not None
        return level_width(self.level)

    def fit(self, least: float, greatest: float, lowest: int) -> Any:
        """Have bins for these numbers, of the level `lowest` or higher; returns the new code of each old one where they changed."""
        before = None if self.level is None else (self.level, self.base, self.bins)
        if self.level is None:
            level = number_bins.level_of(greatest / self.most - least / self.most)
            if least == greatest:  # what comes may be near
                level = number_bins.level_of(abs(least)) - _FINER_THAN_ONE_NUMBER if least else number_bins.LEAST_LEVEL
            level = max(lowest, level)
        else:
            level = self.level
        while not level_width(level).is_exact(least, greatest):
            level += 1
            if level > number_bins.GREATEST_LEVEL:
                raise _TooMany
        low, high = level_width(level).place(least), level_width(level).place(greatest)
        if before:
            ratio = narrow_bins_in(before[0], level)
            low, high = min(low, before[1] // ratio), max(high, (before[1] + before[2] - 1) // ratio)
        while high - low >= self.most:
            if level == number_bins.GREATEST_LEVEL:
                raise _TooMany
            ratio = narrow_bins_in(level, level + 1)
            level, low, high = level + 1, low // ratio, high // ratio
        self.level, self.base, self.bins = level, low, high - low + 1
        if before is None or before[:2] == (self.level, self.base):
            return None
        return self.codes_from(*before, on_edge=self.on_edge)

    def codes_from(self, level: int, base: int, bins: int, *, on_edge: bool) -> Any:
        """Of each code of other bins, no wider than these and within them, the code here."""
        import numpy as np

        assert self.level is not None
        ratio = narrow_bins_in(level, self.level)
        places = range(base, base + bins)
        codes = np.array([place // ratio - self.base for place in places], np.int64)  # a ratio may be beyond int64
        if on_edge:
            codes = np.repeat(codes, 2)
        if self.on_edge:
            codes = 2 * codes + (np.tile([False, True], bins) | np.repeat([place % ratio != 0 for place in places], 2))
        return np.concatenate([np.arange(FIRST_BIN), FIRST_BIN + codes])


@dataclass
class _Number:
    """A column of numbers, or of moments as microseconds since 1970."""

    name: str
    whole: bool
    is_paired: bool
    """Whether it is counted against other columns of numbers, too."""
    only_whole: bool = True
    """Whether there were whole numbers only, whatever their type."""
    narrow: _Axis = field(default_factory=lambda: _Axis(_MOST_BINS, on_edge=True))
    wide: _Axis = field(default_factory=lambda: _Axis(_MOST_WIDE_BINS, on_edge=False))
    ends: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By status, the least finite number and the greatest."""
    wide_codes: tuple[Any, Any] = ((), None)
    """Of each code among the narrow bins that among the wide ones, as it was for the bins of that time."""
    groups: list[tuple[int, int, int, int, Any]] = field(default_factory=list)
    """Row group, status, then level and base of the wide bins at that time, and the counts of their codes."""

    def axis(self, is_wide: bool) -> _Axis:
        return self.wide if is_wide else self.narrow


_Column = _Category | _Number


@dataclass
class _Pair:
    """How many rows have each two codes, by status. `wide` says of each column whether its wide bins are meant."""

    first: _Column
    second: _Column
    wide: tuple[bool, bool]
    counts: dict[int, Any] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        return sum(counts.size for counts in self.counts.values())

    @property
    def shape(self) -> tuple[int, int]:
        first, second = (
            column.axis(is_wide).size if isinstance(column, _Number) else column.size
            for column, is_wide in zip((self.first, self.second), self.wide, strict=True)
        )
        return first, second

    def room(self, status: int) -> Any:
        """The counts of this status, with room for all codes."""
        import numpy as np

        counts, shape = self.counts.get(status), self.shape
        if shape[0] * shape[1] > _MOST_CELLS:
            raise _TooMany
        if counts is None:
            counts = self.counts[status] = np.zeros(shape, np.uint32)
        elif counts.shape[0] < shape[0] or counts.shape[1] < shape[1]:
            # Some more than needed: values come a few at a time.
            roomy = [have if have >= need else need + need // 4 for have, need in zip(counts.shape, shape, strict=True)]
            grown = np.zeros(roomy if roomy[0] * roomy[1] <= _MOST_CELLS else shape, np.uint32)
            used = counts[: grown.shape[0], : grown.shape[1]]
            grown[: used.shape[0], : used.shape[1]] = used
            counts = self.counts[status] = grown
        return counts

    def rearrange(self, side: int, codes: Any, size: int) -> None:
        """Move the counts of each code of the column on this side to its new code."""
        import numpy as np

        for status, counts in self.counts.items():
            used = counts[: len(codes)] if side == 0 else counts[:, : len(codes)].T
            moved = np.zeros((size, used.shape[1]), np.uint32)
            np.add.at(moved, codes[: len(used)], used)
            self.counts[status] = moved if side == 0 else np.ascontiguousarray(moved.T)


class SummaryWriter:
    """Gathers the counts of a table, a row group at a time, in their order."""

    def __init__(self, names: Sequence[str], types: Sequence[Any], own: Mapping[str, str]) -> None:
        """Of a table with these columns of these Arrow types; `own` is what its own columns are called: see columns.own_names."""
        import pyarrow as pa

        self._status = own["Status"]
        left_out = {own[name] for name in _NOT_COUNTED if name in own} | {FRAME}
        order = [*(own[name] for name in ("Prediction", "Folder", "Cause", "Matched by", "Worker", "Attempts", "Number") if name in own)]
        order += [name for name in names if name not in own.values()]
        order += [own[name] for name in COLUMNS if name in own and own[name] not in order]
        type_of = dict(zip(names, types, strict=True))
        self._categories: list[_Category] = []
        self._numbers: list[_Number] = []
        for name in order:
            if name in left_out or name not in type_of:
                continue
            type_ = type_of[name]
            if pa.types.is_dictionary(type_) or pa.types.is_boolean(type_) or name == own["Attempts"]:
                self._categories.append(_Category(name, _MOST_FOLDERS if name == own["Folder"] else _MOST_VALUES))
                continue
            is_number = pa.types.is_floating(type_) or pa.types.is_integer(type_) or pa.types.is_timestamp(type_)
            if is_number and (len(self._numbers) < _MOST_NUMBER_COLUMNS or name in own.values()):
                is_paired = sum(number.is_paired for number in self._numbers) < _MOST_PAIRED_NUMBERS
                self._numbers.append(_Number(name, not pa.types.is_floating(type_), is_paired))
        self._pairs: list[_Pair] = []
        for place, category in enumerate(self._categories):
            self._pairs += [_Pair(category, other, (False, False)) for other in self._categories[place + 1 :]]
        for number in self._numbers:
            self._pairs += [_Pair(category, number, (False, False)) for category in self._categories]
        for place, number in enumerate(self._numbers):
            if number.is_paired:
                self._pairs += [_Pair(number, other, (True, True)) for other in self._numbers[place + 1 :] if other.is_paired]
        self._singles = [_Pair(column, _Category("", 0), (False, False)) for column in self._counted_columns]
        self._rows: list[int] = []

    @property
    def _counted_columns(self) -> list[_Column]:
        return [*self._categories, *self._numbers]

    @property
    def columns(self) -> list[str]:
        """What is counted still."""
        return [self._status, *(column.name for column in self._counted_columns)]

    def add(self, arrays: Mapping[str, Any]) -> None:
        """Count a group of rows: Arrow arrays by column, `columns` at least. The file's row groups may be of several of them."""
        import numpy as np

        statuses = _local_codes(arrays[self._status], len(STATUSES))
        group, count = len(self._rows), len(arrays[self._status])
        self._rows.append(count)
        if not count:
            return
        of_statuses = np.array([STATUSES.index(Status(value)) for value in statuses[1]], np.int64)
        status_codes = of_statuses.take(statuses[0] - 1)
        present = np.flatnonzero(np.bincount(status_codes, minlength=len(STATUSES))).tolist()
        rows_of = {status: None if len(present) == 1 else np.flatnonzero(status_codes == status) for status in present}
        counted = self._count_categories(group, arrays, status_codes, present)
        for number in list(self._numbers):
            try:
                counted[number.name] = self._count_numbers(group, number, arrays[number.name], rows_of)
            except _TooMany:
                self._drop(number)
        for pair in list(self._pairs):
            if isinstance(pair.second, _Number):
                try:
                    self._count_pair(pair, counted[pair.first.name], counted[pair.second.name], rows_of)
                except _TooMany:
                    self._pairs.remove(pair)
        while sum(pair.cells for pair in self._pairs) > _MOST_CELLS_TOGETHER:
            self._pairs.remove(max(self._pairs, key=lambda pair: pair.cells))

    def _drop(self, column: _Column) -> None:
        """Stop counting this column."""
        if isinstance(column, _Category):
            self._categories.remove(column)
        else:
            self._numbers.remove(column)
        self._pairs = [pair for pair in self._pairs if column is not pair.first and column is not pair.second]
        self._singles = [pair for pair in self._singles if column is not pair.first]

    def _single(self, column: _Column) -> _Pair:
        return next(pair for pair in self._singles if pair.first is column)

    # ---- columns of few values -------------------------------------------------------------------------------------------------------

    def _count_categories(self, group: int, arrays: Mapping[str, Any], statuses: Any, present: list[int]) -> dict[str, _Counted]:
        """The combinations that there are are counted once; the counts of all pairs come from these."""
        import numpy as np

        local: dict[str, Any] = {}
        codes: dict[str, Any] = {}
        for category in list(self._categories):
            try:
                local[category.name], values = _local_codes(arrays[category.name], category.most)
                codes[category.name] = category.codes_of(values)
            except _TooMany:
                self._drop(category)
        names = [category.name for category in self._categories]
        combined, weights = _combinations(
            [statuses, *(local[name] for name in names)], [len(STATUSES), *(len(codes[name]) for name in names)]
        )
        code_of = {name: codes[name][part] for name, part in zip(names, combined[1:], strict=True)}
        counted = {name: _Counted(partial(codes[name].take, local[name])) for name in names}
        for status in present:
            chosen = slice(None) if len(present) == 1 else np.flatnonzero(combined[0] == status)
            counts = weights[chosen]
            for category in self._categories:
                sums = np.bincount(code_of[category.name][chosen], counts).astype(np.uint32)
                some = np.flatnonzero(sums)
                self._single(category).room(status)[some, 0] += sums[some]
                category.groups.append((group, status, some, sums[some]))
                counted[category.name].narrow[status] = some, sums[some]
            for pair in list(self._pairs):
                if isinstance(pair.first, _Category) and isinstance(pair.second, _Category):
                    try:
                        np.add.at(pair.room(status), (code_of[pair.first.name][chosen], code_of[pair.second.name][chosen]), counts)
                    except _TooMany:
                        self._pairs.remove(pair)
        return counted

    # ---- columns of numbers ----------------------------------------------------------------------------------------------------------

    def _count_numbers(self, group: int, number: _Number, array: Any, rows_of: dict[int, Any]) -> _Counted:
        import numpy as np

        codes = self._codes_of_numbers(number, array, rows_of)
        wide_codes = np.arange(FIRST_BIN) if codes is None else self._wide_codes(number)
        counted = _Counted(lambda: codes, lambda: wide_codes.take(codes))
        for status, rows in rows_of.items():
            if codes is None:
                counts = np.array([len(array) if rows is None else len(rows)], np.uint32)
            else:
                counts = np.bincount(codes if rows is None else codes[rows], minlength=number.narrow.size).astype(np.uint32)
            self._single(number).room(status)[: len(counts), 0] += counts
            of_wide = np.zeros(number.wide.size, np.uint32)
            np.add.at(of_wide, wide_codes[: len(counts)], counts)
            number.groups.append((group, status, number.wide.level or 0, number.wide.base, of_wide))
            for kept, all_counts in ((counted.narrow, counts), (counted.wide, of_wide)):
                some = np.flatnonzero(all_counts)
                kept[status] = some, all_counts[some]
        return counted

    def _codes_of_numbers(self, number: _Number, array: Any, rows_of: dict[int, Any]) -> Any:
        """The codes of these numbers among the narrow bins, which are made to hold them all; None where none is there."""
        import numpy as np

        if array.null_count == len(array):
            return None
        values, valid = _numbers(array)
        finite = valid
        if not number.whole:
            is_finite = np.isfinite(values)
            if not is_finite.all():
                finite = is_finite if valid is None else valid & is_finite
        for status, rows in rows_of.items():
            chosen = values if rows is None else values[rows]
            if finite is not None:
                chosen = chosen[finite if rows is None else finite[rows]]
            if len(chosen):
                least, greatest = number.ends.get(status, (float("inf"), float("-inf")))
                number.ends[status] = min(least, float(chosen.min())), max(greatest, float(chosen.max()))
        codes = np.zeros(len(values), np.int64)
        some = values if finite is None else values[finite]
        if len(some):
            least, greatest = (pick(end[place] for end in number.ends.values()) for place, pick in enumerate((min, max)))
            if number.whole and max(-least, greatest) >= _LARGEST_WHOLE:
                raise _TooMany
            self._fit(number, least, greatest)
            number.only_whole = number.only_whole and (number.whole or bool((some == np.trunc(some)).all()))
            places, on_edge = number.narrow.width.places(some.astype(np.float64, copy=False))
            some_codes = (2 * places - (2 * number.narrow.base - FIRST_BIN)).astype(np.int64) + ~on_edge
            if finite is None:
                codes = some_codes
            else:
                codes[finite] = some_codes
        if finite is not valid:
            for code, is_it in ((NAN, np.isnan(values)), (BELOW_ALL, np.isneginf(values)), (ABOVE_ALL, np.isposinf(values))):
                codes[is_it if valid is None else is_it & valid] = code
        return codes

    def _fit(self, number: _Number, least: float, greatest: float) -> None:
        lowest = number_bins.UNIT_LEVEL if number.whole else number_bins.LEAST_LEVEL
        if (codes := number.narrow.fit(least, greatest, lowest)) is not None:
            self._rearrange(number, codes, wide=False)
        assert number.narrow.level is not None
        if (codes := number.wide.fit(least, greatest, number.narrow.level)) is not None:
            self._rearrange(number, codes, wide=True)

    def _rearrange(self, number: _Number, codes: Any, *, wide: bool) -> None:
        for pair in (*self._pairs, *self._singles):
            for side, column in enumerate((pair.first, pair.second)):
                if column is number and pair.wide[side] is wide:
                    pair.rearrange(side, codes, number.axis(wide).size)

    @staticmethod
    def _wide_codes(number: _Number) -> Any:
        """Of each code among the narrow bins, that among the wide ones."""
        import numpy as np

        narrow, wide = number.narrow, number.wide
        if narrow.level is None:
            return np.arange(FIRST_BIN)
        if number.wide_codes[0] != (bins := (narrow.level, narrow.base, narrow.bins, wide.level, wide.base)):
            number.wide_codes = bins, wide.codes_from(narrow.level, narrow.base, narrow.bins, on_edge=True)
        return number.wide_codes[1]

    def _count_pair(self, pair: _Pair, first: _Counted, second: _Counted, rows_of: dict[int, Any]) -> None:
        """A column of numbers against another column."""
        import numpy as np

        if not pair.wide[1] and pair.shape[0] * pair.shape[1] > _MOST_NARROW_CELLS:
            assert isinstance(pair.second, _Number)
            pair.rearrange(1, self._wide_codes(pair.second), pair.second.wide.size)
            pair.wide = (False, True)
        for status, rows in rows_of.items():
            counts = pair.room(status)
            of_first, of_second = (
                (first.wide if pair.wide[0] else first.narrow)[status],
                (second.wide if pair.wide[1] else second.narrow)[status],
            )
            if len(of_first[0]) == 1:
                counts[of_first[0][0], of_second[0]] += of_second[1]
            elif len(of_second[0]) == 1:
                counts[of_first[0], of_second[0][0]] += of_first[1]
            else:
                codes = first.codes(pair.wide[0]) * counts.shape[1] + second.codes(pair.wide[1])
                np.add.at(counts.reshape(-1), codes if rows is None else codes[rows], np.uint32(1))

    # ---- the file --------------------------------------------------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Put the counts into the Parquet file at `path`, where there are any rows. Raises OSError."""
        if self._rows:
            _insert(path, self._encoded())

    def _encoded(self) -> bytes:
        parts: list[bytes] = []
        end = 0

        def part(content: bytes) -> list[int]:
            nonlocal end
            compressed = _compressed(content)
            parts.append(compressed)
            begin, end = end, end + len(compressed)
            return [begin, len(compressed), len(content)]

        def array(values: Any) -> list[Any]:
            import numpy as np

            largest = int(values.max()) if values.size else 0
            narrow = np.ascontiguousarray(values.astype(np.min_scalar_type(largest)))
            return [narrow.dtype.str, list(narrow.shape), *part(narrow.tobytes())]

        index: dict[str, Any] = {"rows": array(_numpy(self._rows)), "columns": [], "pairs": []}
        for column in self._counted_columns:
            single = self._single(column)
            entry: dict[str, Any] = {"name": column.name, "counts": _by_status(single, array, single=True)}
            if isinstance(column, _Category):
                entry |= {"size": column.size, "values": part(json.dumps(list(column.codes)).encode("utf-8", "surrogatepass"))}
            else:
                axes = [[axis.level, axis.base, axis.bins] for axis in (column.narrow, column.wide)]
                entry |= {"whole": column.whole, "only_whole": column.only_whole, "axes": axes, "ends": list(column.ends.items())}
            index["columns"].append(entry)
        for column in self._counted_columns:
            before = end, len(parts)
            index_of_groups = _groups_of_category(column, array) if isinstance(column, _Category) else _groups_of_number(column, array)
            if end > _MOST_GROUP_BYTES:
                end, parts[before[1] :] = before[0], []
            else:
                next(entry for entry in index["columns"] if entry["name"] == column.name)["groups"] = index_of_groups
        for pair in self._pairs:
            before = end, len(parts)
            entry = {"of": [pair.first.name, pair.second.name], "wide": pair.wide, "counts": _by_status(pair, array)}
            if end > _MOST_BYTES:
                end, parts[before[1] :] = before[0], []
            else:
                index["pairs"].append(entry)
        index["length"] = end
        head = json.dumps(index).encode("utf-8", "surrogatepass")
        head = len(head).to_bytes(4, "little") + _compressed(head)
        return b"".join([*parts, head, TRAILER.pack(len(head), MAGIC)])


class _Counted:
    """A column in a row group: by status the codes that there are and how many rows have each, among narrow bins and among wide ones; and
    the code of each row, when it is asked for."""

    def __init__(self, codes: Callable[[], Any], wide_codes: Callable[[], Any] | None = None) -> None:
        self._sources = codes, wide_codes or codes
        self._codes: dict[bool, Any] = {}
        self.narrow: dict[int, tuple[Any, Any]] = {}
        self.wide: dict[int, tuple[Any, Any]] = {}

    def codes(self, wide: bool) -> Any:
        if wide not in self._codes:
            self._codes[wide] = self._sources[wide]()
        return self._codes[wide]


def _combinations(columns: Sequence[Any], sizes: Sequence[int]) -> tuple[list[Any], Any]:
    """The combinations of codes that rows have: the codes of each column, and how many rows have the combination. `sizes` are the numbers
    of codes of each column."""
    import numpy as np

    joint, size = columns[0], sizes[0]
    done: list[Any] = []
    """Of each column that is in a compacted code, its code by that."""
    radices: list[tuple[int, int]] = [(0, sizes[0])]

    def decoded(codes: Any) -> dict[int, Any]:
        parts = {}
        for place, radix in reversed(radices):
            codes, parts[place] = np.divmod(codes, radix)
        return parts

    def expand(codes: Any) -> dict[int, Any]:
        parts = decoded(codes)
        if (compacted := parts.pop(-1, None)) is not None:
            parts |= {place: part[compacted] for place, part in enumerate(done)}
        return parts

    for place, (column, radix) in enumerate(zip(columns[1:], sizes[1:], strict=True), 1):
        joint, size = joint * radix + column, size * radix
        radices.append((place, radix))
        if size > _MOST_COMBINATIONS:
            used, joint = np.unique(joint, return_inverse=True)
            parts = expand(used)
            done, size = [parts[number] for number in range(place + 1)], len(used)
            radices = [(-1, size)]
    counts = np.bincount(joint, minlength=size)
    used = np.flatnonzero(counts)
    parts = expand(used)
    return [parts[place] for place in range(len(columns))], counts[used].astype(np.uint32)


def _local_codes(array: Any, most: int) -> tuple[Any, list[Any]]:
    """Of each row of a dictionary, truth or integer array its code, 0 without a value, and the values of the codes from 1 on."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.uint8())
            values, valid = _numbers(array)
            codes = values.astype(np.int64) + 1
            return codes if valid is None else codes * valid, [False, True]
        array = array.dictionary_encode()
    if len(array.dictionary) > most:
        raise _TooMany
    indices, valid = _numbers(array.indices)
    codes = indices.astype(np.int64) + 1
    return codes if valid is None else codes * valid, array.dictionary.to_pylist()


def _numbers(array: Any) -> tuple[Any, Any]:
    """The numbers of an Arrow array, of moments those since 1970, and which of them are valid (None: all); others have any number."""
    import numpy as np

    validity, values = array.buffers()
    width = array.type.bit_width // 8
    kind = "f" if str(array.type) == "double" or str(array.type) == "float" else "u" if str(array.type).startswith("u") else "i"
    numbers = np.frombuffer(values, np.dtype(f"{kind}{width}"), len(array), array.offset * width)
    if not array.null_count:
        return numbers, None
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    return numbers, bits[array.offset : array.offset + len(array)].astype(bool)


# ---- the file ----------------------------------------------------------------------------------------------------------------------------


def _numpy(values: Sequence[int]) -> Any:
    import numpy as np

    return np.array(values, np.int64)


def _by_status(pair: _Pair, array: Callable[[Any], Any], *, single: bool = False) -> list[Any]:
    rows, columns = pair.shape
    return [[status, array(counts[:rows, 0] if single else counts[:rows, :columns])] for status, counts in pair.counts.items()]


def _groups_of_category(category: _Category, array: Callable[[Any], Any]) -> list[Any]:
    """Row groups, statuses, codes and counts, as long as each other."""
    import numpy as np

    groups = np.concatenate([np.full(len(codes), group) for group, _, codes, _ in category.groups])
    statuses = np.concatenate([np.full(len(codes), status) for _, status, codes, _ in category.groups])
    return [
        array(values) for values in (groups, statuses, *(np.concatenate([entry[part] for entry in category.groups]) for part in (2, 3)))
    ]


def _groups_of_number(number: _Number, array: Callable[[Any], Any]) -> list[Any]:
    """Row groups, statuses, and for each of them the counts of all codes of the wide bins."""
    import numpy as np

    table = np.zeros((len(number.groups), number.wide.size), np.uint32)
    for row, (_, _, level, base, counts) in enumerate(number.groups):
        if len(counts) == FIRST_BIN:
            codes = np.arange(FIRST_BIN)
        else:
            codes = number.wide.codes_from(level, base, len(counts) - FIRST_BIN, on_edge=False)
        np.add.at(table[row], codes, counts)
    return [*(array(_numpy([entry[part] for entry in number.groups])) for part in (0, 1)), array(table)]


def _compressed(content: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(content, "zstd", asbytes=True))


def _insert(path: Path, content: bytes) -> None:
    """Put this between the rows of a Parquet file and its footer."""
    with open(path, "r+b") as file:
        file.seek(-FOOTER.size, os.SEEK_END)
        length, _ = FOOTER.unpack(file.read())
        begin = file.seek(-FOOTER.size - length, os.SEEK_END)
        footer = file.read()
        file.seek(begin)
        file.write(content + footer)


def summarize(path: Path, own: Mapping[str, str], kinds: Mapping[str, Kind]) -> None:
    """Count a table that is written already: one that was flattened. Raises OSError."""
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        few = {own[name] for name in ("Prediction", "Status", "Matched by", "Cause", "Worker", "Folder") if name in own}
        few |= {name for name, kind in kinds.items() if kind is Kind.CATEGORY}
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
        texts = [name for name in texts if name in few]
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        schema = file.schema_arrow
        summary = SummaryWriter(schema.names, schema.types, own)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, summary.columns, use_threads=False).combine_chunks()
            summary.add({name: _one_array(rows.column(name)) for name in rows.column_names})
    summary.write(path)


def _one_array(column: Any) -> Any:
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() if column.num_chunks else pa.nulls(0, column.type)

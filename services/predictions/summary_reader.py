"""The counts of a table, read: how many rows a filter selects, how many of them have each value or lie in each bin, in which row groups
they are. What the counts don't say exactly is None, and then the table is read.

Told are: every filter that is of statuses and of one column, by its values or by a range of its numbers that begins and ends at edges of
bins; of a second column, too, where the two were counted against each other, and nothing else is asked. See `summary_writer`.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from services.predictions.columns import STATUSES, Kind, Status, number_column, readable
from services.predictions.filters import Condition, Filter, Operator, TableStatistics, bound_of
from services.predictions.number_bins import Width, level_width, widths_from
from services.predictions.summary_writer import ABOVE_ALL, BELOW_ALL, FIRST_BIN, FOOTER, MAGIC, NAN, NULL, TRAILER

_MOST_KEPT = 32
"""Arrays, read from the file."""
_FEWEST_BARS = 8
"""With fewer of them a histogram of narrow bins is too coarse: then the numbers are read."""
_BOUNDED = (Operator.FROM, Operator.TO, Operator.BELOW)


class _CannotTell(Exception):
    """The counts don't say it, or not exactly."""


@dataclass(frozen=True)
class _Test:
    """A condition of a filter on one column: its operator, or the sign and the bound of a range, or exact values."""

    operator: Operator
    values: frozenset[Any] = frozenset()
    sign: str = ""
    bound: Any = None


@dataclass(frozen=True)
class _Question:
    statuses: frozenset[int]
    tests: Mapping[str, Sequence[_Test]]


class Summary:
    """The counts of one table. Safe to use from several threads."""

    def __init__(self, file: Path, index: Mapping[str, Any], begin: int, statistics: TableStatistics) -> None:
        self._file, self._index, self._begin, self._statistics = file, index, begin, statistics
        self._columns = {entry["name"]: _column(entry, self._part, self._array) for entry in index["columns"]}
        self._pairs = {frozenset(entry["of"]): entry for entry in index["pairs"]}
        self._kept: dict[int, Any] = {}
        self._lock = threading.Lock()

    # ---- what is asked -------------------------------------------------------------------------------------------------------

    def count(self, filter_: Filter) -> int | None:
        """How many rows it selects."""
        try:
            question = self._question(filter_)
            names = list(question.tests)
            if not names:
                return sum(self._count_of_status(status) for status in question.statuses)
            _, counts = self._counts(names[0], question)
            return int(counts.sum())
        except _CannotTell:
            return None

    def values(self, column: str, filter_: Filter, limit: int) -> list[tuple[Any, int]] | None:
        """The most frequent values of a column of few, with their counts, among the rows that the filter selects."""
        try:
            if column == self._statistics.own["Status"]:
                return self._statuses(filter_, limit)
            chosen = self._columns.get(column)
            if not isinstance(chosen, _Category):
                return None
            _, counts = self._counts(column, self._question(filter_))
            found = [(value, int(count)) for value, count in zip(chosen.values, counts, strict=True) if count]
            return sorted(found, key=lambda pair: (-pair[1], pair[0] is None, pair[0]))[:limit]
        except _CannotTell:
            return None

    def _statuses(self, filter_: Filter, limit: int) -> list[tuple[Any, int]]:
        question = self._question(filter_)
        found = []
        for status in question.statuses:
            one = _Question(frozenset([status]), question.tests)
            names = list(question.tests)
            count = int(self._counts(names[0], one)[1].sum()) if names else self._count_of_status(status)
            if count:
                found.append((str(STATUSES[status]), count))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def two(self, first: str, second: str, filter_: Filter) -> list[tuple[Any, Any, int]] | None:
        """How many rows have each two values of two columns of few. The filter may be of these two columns and of statuses only."""
        try:
            one, other = self._columns.get(first), self._columns.get(second)
            question = self._question(filter_)
            if not isinstance(one, _Category) or not isinstance(other, _Category) or question.tests.keys() - {first, second}:
                return None
            counts, _ = self._pair(first, second, question.statuses)
            chosen = counts * one.chosen(question.tests.get(first, ()))[:, None] * other.chosen(question.tests.get(second, ()))
            return [(one.values[a], other.values[b], int(chosen[a, b])) for a, b in zip(*chosen.nonzero(), strict=True)]
        except _CannotTell:
            return None

    def ends(self, column: str, filter_: Filter) -> tuple[float, float] | tuple[()] | None:
        """The least finite number and the greatest, where the filter is of statuses only; () where there are none."""
        try:
            chosen, question = self._columns.get(column), self._question(filter_)
        except _CannotTell:
            return None
        if not isinstance(chosen, _Number) or question.tests:
            return None
        ends = [ends for status, ends in chosen.ends.items() if status in question.statuses]
        return (min(least for least, _ in ends), max(greatest for _, greatest in ends)) if ends else ()

    def histogram(self, column: str, filter_: Filter, most: int) -> list[tuple[float, float, int]] | None:
        """At most so many bars: (lower, upper, count). Each goes up to the next one's edge; the last one includes its upper edge, where
        that is the greatest number, and these aren't whole."""
        try:
            chosen = self._columns.get(column)
            if not isinstance(chosen, _Number):
                return None
            axis, counts = self._counts(column, self._question(filter_))
        except _CannotTell:
            return None
        assert axis is not None
        counts = counts[FIRST_BIN:]
        some = counts.nonzero()[0]
        if not len(some):
            return []
        return _bars(axis, some, counts, most, whole=chosen.only_whole)

    def split(self, column: str, threshold: float, filter_: Filter) -> tuple[int, int] | None:
        """How many finite numbers are less than this, and how many are at least this."""
        try:
            axis, counts = self._counts(column, self._question(filter_))
            if axis is None:
                return None
            codes = FIRST_BIN + axis.codes_below(_comparable(threshold, whole=axis.whole, up=True))
        except _CannotTell:
            return None
        return int(counts[FIRST_BIN:codes].sum()), int(counts[codes:].sum())

    def histograms(self, column: str, by: str, filter_: Filter, edges: Sequence[float]) -> list[tuple[Any, list[int]]] | None:
        """Of each value of the column `by`, of few, how many rows have it and a number of the other column in each bar: these are from an
        edge up to the next one, and the last one has all beyond. The filter may be of these two columns and of statuses only."""
        import numpy as np

        try:
            one, number, question = self._columns.get(by), self._columns.get(column), self._question(filter_)
            if not isinstance(one, _Category) or not isinstance(number, _Number) or question.tests.keys() - {by, column}:
                return None
            counts, wide = self._pair(by, column, question.statuses)
            axis = number.axis(wide[1])
            starts = [axis.codes_below(edge) for edge in edges]
            counts = np.pad(counts, ((0, one.size - counts.shape[0]), (0, axis.size - counts.shape[1])))
            counts = counts * one.chosen(question.tests.get(by, ()))[:, None] * number.chosen(question.tests.get(column, ()), axis)
            sums = np.zeros((one.size, len(edges) - 1), np.int64)
            for bar, (start, end) in enumerate(zip(starts, [*starts[1:-1], axis.size - FIRST_BIN], strict=False)):
                sums[:, bar] = counts[:, FIRST_BIN + start : FIRST_BIN + end].sum(axis=1)
        except _CannotTell:
            return None
        rows = counts.sum(axis=1)
        found = [(value, sums[code].tolist(), int(rows[code])) for code, value in enumerate(one.values) if rows[code]]
        return [(value, of_bars) for value, of_bars, _ in sorted(found, key=lambda row: (-row[2], row[0] is None, row[0]))]

    def in_row_groups(self, filter_: Filter) -> tuple[Sequence[int], Sequence[int]] | None:
        """Of each group of rows that was counted by itself how many rows it has, and how many of them the filter selects."""
        import numpy as np

        try:
            question = self._question(filter_)
            rows = self._array(self._index["rows"])
            if len(question.tests) > 1:
                return None
            name = next(iter(question.tests), self._statistics.own["Matched by"])
            column = self._columns.get(name)
            if column is None or not column.groups:
                return None
            counts = np.zeros(len(rows), np.int64)
            groups, statuses, *rest = map(self._array, column.groups)
            asked = np.isin(statuses, list(question.statuses))
            if isinstance(column, _Category):
                codes, of_codes = rest
                chosen = asked & column.chosen(question.tests.get(name, ()))[codes]
                np.add.at(counts, groups[chosen], of_codes[chosen])
            else:
                (table,) = rest
                sums = table[:, column.chosen(question.tests[name], column.wide)].sum(axis=1, dtype=np.int64)
                np.add.at(counts, groups[asked], sums[asked])
        except _CannotTell:
            return None
        return rows.tolist(), counts.tolist()

    # ---- a filter as tests of columns ----------------------------------------------------------------------------------------

    def _question(self, filter_: Filter) -> _Question:
        """Raises _CannotTell for what isn't of single columns, and SettingsError as the filter's SQL."""
        statistics = self._statistics
        if filter_.text or filter_.where:
            raise _CannotTell
        statuses = {STATUSES.index(Status(status)) for status in filter_.statuses}
        tests: dict[str, list[_Test]] = {}
        if filter_.classes:
            tests["Prediction"] = [_Test(Operator.ONE_OF, frozenset(map(readable, filter_.classes)))]
        for sign, bound in ((">=", filter_.minimum), ("<=", filter_.maximum)):
            if bound is not None:
                tests.setdefault(statistics.own["Number"], []).append(_Test(Operator.FROM, sign=sign, bound=bound))
        for condition in filter_.conditions:
            if condition.column == statistics.own["Status"] and condition.operator is Operator.ONE_OF:
                statuses &= {place for place, status in enumerate(STATUSES) if status in condition.values}
                continue
            name, test = self._test(condition)
            tests.setdefault(name, []).append(test)
        return _Question(frozenset(statuses), tests)

    def _test(self, condition: Condition) -> tuple[str, _Test]:
        if (kind := self._statistics.columns.get(condition.column)) is None:
            raise _CannotTell
        if condition.operator is Operator.EMPTY:
            return condition.column, _Test(Operator.EMPTY)
        if condition.operator is Operator.ONE_OF:
            return condition.column, _Test(Operator.ONE_OF, frozenset(_typed(condition.column, kind, condition.values)))
        if condition.operator not in _BOUNDED or len(condition.values) != 1:
            raise _CannotTell
        sign, bound = bound_of(condition, kind, readable(condition.values[0]))
        return number_column(condition.column, kind, self._statistics.own), _Test(condition.operator, sign=sign, bound=bound)

    # ---- counts --------------------------------------------------------------------------------------------------------------

    def _counts(self, column: str, question: _Question) -> tuple[_Axis | None, Any]:
        """How many rows have each code of a column; of a column of numbers the bins that these are of, too."""
        import numpy as np

        own = self._columns.get(column)
        others = [name for name in question.tests if name != column]
        if own is None or len(others) > 1:
            raise _CannotTell
        tests = question.tests.get(column, ())
        if not others:
            axis = own.narrow if isinstance(own, _Number) else None
            counts = np.zeros(1, np.int64)
            for status, array in own.counts:
                if status in question.statuses:
                    counts = _sum(counts, self._array(array))
        else:
            counts, wide = self._pair(column, others[0], question.statuses)
            axis = own.axis(wide[0]) if isinstance(own, _Number) else None
            other = self._columns[others[0]]
            chosen = _chosen(other, question.tests[others[0]], other.axis(wide[1]) if isinstance(other, _Number) else None)
            counts = counts[:, chosen[: counts.shape[1]]].sum(axis=1)
        size = axis.size if axis else own.size if isinstance(own, _Category) else 0
        counts = np.pad(counts, (0, size - len(counts)))
        return axis, counts * _chosen(own, tests, axis) if tests else counts

    def _pair(self, first: str, second: str, statuses: frozenset[int]) -> tuple[Any, tuple[bool, bool]]:
        """The counts of two columns' codes against each other, and of which of them they are of the wide bins."""
        import numpy as np

        if (entry := self._pairs.get(frozenset((first, second)))) is None or first == second:
            raise _CannotTell
        counts = np.zeros((1, 1), np.int64)
        for status, array in entry["counts"]:
            if status in statuses:
                counts = _sum(counts, self._array(array))
        wide = tuple(entry["wide"])
        return (counts, wide) if entry["of"][0] == first else (counts.T, wide[::-1])

    def _count_of_status(self, status: int) -> int:
        column = self._columns[self._statistics.own["Matched by"]]
        return sum(int(self._array(array).sum()) for other, array in column.counts if other == status)

    # ---- the file ------------------------------------------------------------------------------------------------------------

    def _array(self, entry: Sequence[Any]) -> Any:
        """An array of counts; the latest are kept."""
        import numpy as np

        type_, shape, begin, *_ = entry
        with self._lock:
            array = self._kept.pop(begin, None)
        if array is None:
            array = np.frombuffer(self._part(entry[2:]), np.dtype(type_)).reshape(shape)
        with self._lock:
            self._kept[begin] = array
            for eldest in list(self._kept)[:-_MOST_KEPT]:
                del self._kept[eldest]
        return array

    def _part(self, part: Sequence[int]) -> bytes:
        begin, length, size = part
        try:
            with open(self._file, "rb") as file:
                file.seek(self._begin + begin)
                return _decompressed(file.read(length), size)
        except OSError as error:
            raise _CannotTell from error


def read_summary(file: Path, statistics: TableStatistics) -> Summary | None:
    """The counts in this table's file; None where there are none."""
    try:
        with open(file, "rb") as content:
            content.seek(-FOOTER.size, os.SEEK_END)
            length, _ = FOOTER.unpack(content.read(FOOTER.size))
            end = content.seek(-FOOTER.size - length - TRAILER.size, os.SEEK_END)
            size, magic = TRAILER.unpack(content.read(TRAILER.size))
            if magic != MAGIC:
                return None
            content.seek(end - size)
            compressed = content.read(size)
    except OSError:
        return None
    (index_size,) = (int.from_bytes(compressed[:4], "little"),)
    index = json.loads(_decompressed(compressed[4:], index_size))
    return Summary(file, index, end - size - index["length"], statistics)


def _decompressed(content: bytes, size: int) -> bytes:
    import pyarrow as pa

    return bytes(pa.decompress(content, size, "zstd", asbytes=True))


# ---- columns -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """Bins of one width; with `on_edge` what lies on a lower edge has a code of its own. `whole` numbers have no half."""

    width: Width
    base: int
    bins: int
    on_edge: bool
    whole: bool
    least: float
    greatest: float

    @property
    def size(self) -> int:
        return FIRST_BIN + self.bins * (1 + self.on_edge)

    def codes_below(self, value: float) -> int:
        """How many codes of bins hold just what is less than this. Raises _CannotTell where that is in the middle of what a code holds."""
        if value <= self.least:
            return 0
        if value > self.greatest:
            return self.size - FIRST_BIN
        place = self.width.place(value)
        edge, codes = self.width.edge(place), (place - self.base) * (1 + self.on_edge)
        if value == edge:
            return codes
        after = edge + 1 if self.whole else math.nextafter(edge, math.inf)
        if self.on_edge and value == after:
            return codes + 1
        raise _CannotTell


@dataclass
class _Category:
    size: int
    counts: Sequence[Any]
    groups: Sequence[Any]
    read_values: Callable[[], bytes]

    @cached_property
    def values(self) -> list[Any]:
        return [None, *json.loads(self.read_values())]

    def chosen(self, tests: Sequence[_Test]) -> Any:
        import numpy as np

        chosen = np.ones(self.size, bool)
        for test in tests:
            if test.operator is Operator.EMPTY:
                chosen &= [value is None or value == "" for value in self.values]
            elif test.operator is Operator.ONE_OF:
                chosen &= [value is not None and value in test.values for value in self.values]
            else:
                raise _CannotTell
        return chosen


@dataclass
class _Number:
    whole: bool
    only_whole: bool
    narrow: _Axis
    wide: _Axis
    ends: Mapping[int, tuple[float, float]]
    counts: Sequence[Any]
    groups: Sequence[Any]

    def axis(self, wide: bool) -> _Axis:
        return self.wide if wide else self.narrow

    def chosen(self, tests: Sequence[_Test], axis: _Axis) -> Any:
        import numpy as np

        chosen = np.ones(axis.size, bool)
        for test in tests:
            if test.operator is Operator.EMPTY:
                chosen[NULL + 1 :] = False
            elif test.sign:
                chosen[[NULL, NAN]] = False
                self._bound(chosen[FIRST_BIN:], chosen, test, axis)
            else:
                raise _CannotTell
        return chosen

    def _bound(self, bins: Any, chosen: Any, test: _Test, axis: _Axis) -> None:
        bound = _comparable(test.bound, whole=self.whole, up=test.sign != "<=")
        if test.sign == ">=":
            if bound > -math.inf:
                chosen[BELOW_ALL] = False
                bins[: len(bins) if bound == math.inf else axis.codes_below(bound)] = False
            return
        chosen[ABOVE_ALL] &= test.sign == "<=" and bound == math.inf
        chosen[BELOW_ALL] &= test.sign == "<=" or bound > -math.inf
        if test.sign == "<=" and math.isfinite(bound):
            bound = bound + 1 if self.whole else math.nextafter(bound, math.inf)
        bins[0 if bound == -math.inf else len(bins) if bound == math.inf else axis.codes_below(bound) :] = False


def _column(entry: Mapping[str, Any], part: Callable[[Sequence[int]], bytes], array: Callable[[Sequence[Any]], Any]) -> _Category | _Number:
    groups = entry.get("groups", ())
    if "values" in entry:
        return _Category(entry["size"], entry["counts"], groups, lambda: part(entry["values"]))
    ends = {status: (least, greatest) for status, (least, greatest) in entry["ends"]}
    least, greatest = (
        min((least for least, _ in ends.values()), default=math.inf),
        max((most for _, most in ends.values()), default=-math.inf),
    )
    narrow, wide = (
        _Axis(level_width(level or 0), base, bins, on_edge, entry["whole"], least, greatest)
        for (level, base, bins), on_edge in zip(entry["axes"], (True, False), strict=True)
    )
    return _Number(entry["whole"], entry["only_whole"], narrow, wide, ends, entry["counts"], groups)


def _chosen(column: _Category | _Number, tests: Sequence[_Test], axis: _Axis | None) -> Any:
    return column.chosen(tests) if isinstance(column, _Category) else column.chosen(tests, axis or column.narrow)


def _typed(column: str, kind: Kind, texts: Sequence[str]) -> list[Any]:
    """The texts of a filter as values of such a column. Raises _CannotTell for what only SQL can tell."""
    if column == "Prediction" or kind in (Kind.TEXT, Kind.CATEGORY):
        return list(map(readable, texts))
    values: list[Any] = []
    for text in texts:
        if kind is Kind.TRUTH_VALUE and text.lower() in ("true", "false"):
            values.append(text.lower() == "true")
        elif kind is Kind.WHOLE_NUMBER and text.lstrip("-").isascii() and text.removeprefix("-").isdecimal() and len(text) < 16:
            values.append(int(text))
        else:
            raise _CannotTell
    return values


def _comparable(bound: Any, *, whole: bool, up: bool) -> float:
    """A bound as what is compared with a column's numbers: a double, or a whole number. Raises _CannotTell."""
    try:
        if isinstance(bound, datetime):
            if bound.tzinfo is not None:
                raise _CannotTell
            since = bound.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
            return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if math.isnan(bound) or isinstance(bound, str):
            raise _CannotTell
        if not whole or math.isinf(bound):
            return float(bound)
        return int(math.ceil(bound) if up else math.floor(bound))
    except (OverflowError, TypeError) as error:
        raise _CannotTell from error


def _sum(counts: Any, more: Any) -> Any:
    """The sum of two arrays, the shorter one as if with zeros at its ends."""
    import numpy as np

    shape = tuple(max(sizes) for sizes in zip(counts.shape, more.shape, strict=True))
    total = np.zeros(shape, np.int64)
    for part in (counts, more):
        total[tuple(slice(size) for size in part.shape)] += part
    return total


def _bars(axis: _Axis, some: Any, counts: Any, most: int, *, whole: bool) -> list[tuple[float, float, int]] | None:
    """The bins as bars; `some` are the places of those that hold any."""
    import numpy as np

    halves = 1 + axis.on_edge
    low, high = axis.base + int(some[0]) // halves, axis.base + int(some[-1]) // halves
    ends_on_edge = axis.on_edge and not whole and int(some[-1]) % 2 == 0 and high > low
    narrowest = max(1.0, axis.width.edge(1)) if whole else axis.width.edge(1)
    for width in widths_from(narrowest):
        ratio = _ratio(axis.width, width)
        if ratio is None:
            continue
        first, last = low // ratio, high // ratio
        closed = ends_on_edge and high % ratio == 0 and last > first
        if last - first + 1 - closed <= most:
            break
    bars = last - first + 1 - closed
    if bars < _FEWEST_BARS and width.edge(1) == axis.width.edge(1) and not (whole and narrowest == 1):
        return None  # narrower bars may show more
    places = [min((axis.base + place // halves) // ratio - first, bars - 1) for place in some.tolist()]  # a ratio may be beyond int64
    sums = np.bincount(places, counts[some], minlength=bars)
    return [(width.edge(first + bar), width.edge(first + bar + 1), int(sums[bar])) for bar in range(bars)]


def _ratio(narrow: Width, wide: Width) -> int | None:
    """How many narrow bins make a wide one; None where none do exactly."""
    steps = wide.step * int(10 ** (wide.exponent - narrow.exponent)) if wide.exponent >= narrow.exponent else 0
    return steps // narrow.step if steps and steps % narrow.step == 0 else None

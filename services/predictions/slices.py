"""Parts of the data in which predictions are wrong more often than elsewhere, as far as that is more than chance.

A slice is a value of a column of classes, a range of a column of numbers, a folder, or two of these together. It is listed where it has
at least FEWEST rows and one in a hundred of all, and where the lower bound of its error lies above that of all rows together: Wilson's
bound of a share, for numbers the normal bound of a mean, each of 95 % certainty shared among all slices that were looked at (Bonferroni).
With two runs it is the difference of their errors on the same rows whose lower bound must lie above 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from statistics import NormalDist
from typing import Any

from services.predictions.columns import CLASSES, NUMERIC, Kind, quoted
from services.predictions.evaluation import BEFORE, EVALUATED, EVALUATED_ROWS, Evaluation, Verdict
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.join import text_of

FEWEST, SMALLEST_SHARE = 30, 0.01
CERTAINTY = 0.95
_RANGES = 5
_FEW_VALUES = 12  # of whole numbers, which are then taken one by one
_MOST_COLUMNS = 60
_MOST_PAIRED = 10
_MOST_WORK = 30_000_000  # rows, times pairs of columns
_MOST_GROUPS = 5000


class Measure(StrEnum):
    """What the error of a row is."""

    WRONG = "wrong"
    """Whether it is wrong."""
    DISTANCE = "distance"
    """How far the number is from the label."""
    MORE_WRONG = "more wrong"
    """Whether the newer run is wrong and the older one was right, or -1 where it is the other way round."""
    FARTHER = "farther"
    """How much farther the newer run is from the label."""


COMPARED = ("Before", "Change", "Difference")
OF_TWO = (Measure.MORE_WRONG, Measure.FARTHER)


@dataclass(frozen=True)
class Slice:
    """`rows` judged rows that fulfil `conditions`. `error` is the mean of their Measure, `lower` its lower bound; `now` and `before` are
    the errors of both runs, where there are two."""

    conditions: tuple[Condition, ...]
    rows: int
    error: float
    lower: float
    now: float
    before: float


@dataclass(frozen=True)
class Slices:
    """Those that mean it, the largest error first. `error`, `now` and `before` are those of all `rows`; `looked_at` is how many slices were
    large enough, `smallest` how many rows that takes. `columns` were looked at, `pairs` says whether two of them together were too."""

    measure: Measure
    rows: int
    error: float
    now: float
    before: float
    slices: tuple[Slice, ...]
    looked_at: int
    smallest: int
    columns: tuple[str, ...]
    pairs: bool


def slices(evaluation: Evaluation, columns: Mapping[str, Kind], own: Mapping[str, str], leave_out: Collection[str] = ()) -> Slices:
    """Of an evaluation; of one that has an older run's verdicts (see evaluation.BEFORE) where the newer run is worse. `leave_out` are
    columns that say what was predicted or what is right. A column of 10 million rows takes about 0.1 s."""
    query = _Query(evaluation, two=BEFORE[0] in columns)
    whole = query.whole()
    smallest = max(FEWEST, math.ceil(whole.rows * SMALLEST_SHARE))
    skipped = {*own.values(), *EVALUATED, *BEFORE, evaluation.of, *COMPARED, *leave_out} - {own["Folder"]}
    names = [name for name in columns if name not in skipped and not _says_what_was_predicted(name)][:_MOST_COLUMNS]
    parts = query.parts({name: columns[name] for name in names}) if whole.rows else []
    by_part = {part: groups for part in parts if len(groups := query.groups(part)) > 1}
    singles = {group.key: group for groups in by_part.values() for group in groups if group.rows >= smallest}
    paired = [part for part in by_part if sum(key[0][0] == part.name for key in singles) > 1][:_MOST_PAIRED]
    pairs = list(combinations(paired, 2))
    if whole.rows * len(pairs) > _MOST_WORK:
        pairs = []
    doubles = [group for pair in pairs for group in query.groups(*pair) if group.rows >= smallest]
    candidates = [group for group in singles.values() if group.rows < whole.rows] + doubles
    certainty = NormalDist().inv_cdf(1 - (1 - CERTAINTY) / max(1, len(candidates)))
    floor = 0.0 if query.measure in OF_TWO else whole.error
    meant = []
    for group in candidates:
        lower = query.lower_bound(group, certainty)
        alone = [singles[(part,)].error for part in group.key if (part,) in singles] if len(group.key) > 1 else []
        if lower > max([floor, *alone]):  # two together must say more than one of them alone
            conditions = tuple(condition for name, code in group.key for condition in query.conditions[name, code])
            meant.append(Slice(conditions, group.rows, group.error, lower, group.now, group.before))
    meant.sort(key=lambda slice_: (-slice_.error, -slice_.rows))
    counts = (whole.rows, whole.error, whole.now, whole.before)
    return Slices(query.measure, *counts, tuple(meant), len(candidates), smallest, tuple(part.name for part in by_part), bool(pairs))


def filter_of(slice_: Slice, measure: Measure) -> Filter:
    """The rows of the joined table that are in this slice, and wrong there: of two runs those that only the newer one has wrong. Of numbers
    all rows of the slice."""
    verdicts = {
        Measure.WRONG: (("Verdict", Verdict.WRONG),),
        Measure.MORE_WRONG: (("Verdict", Verdict.WRONG), (BEFORE[0], Verdict.CORRECT)),
    }.get(measure, ())
    return Filter(conditions=(*slice_.conditions, *(Condition(column, Operator.ONE_OF, (verdict,)) for column, verdict in verdicts)))


def _says_what_was_predicted(name: str) -> bool:
    """Whether the built-in scorers call a column so that isn't one of the data: its error is no news."""
    return name.casefold().startswith(("probability", "prediction", "top ", "score"))


@dataclass(frozen=True)
class _Part:
    """A column, cut into values or ranges: `code` is SQL for which one a row is in. `value` is the column itself in SQL."""

    name: str
    code: str
    value: str
    of_ranges: bool


@dataclass(frozen=True)
class _Group:
    """Rows with these codes, each of (column, code)."""

    key: tuple[tuple[str, Any], ...]
    rows: int
    error: float
    deviation: float
    now: float
    before: float


class _Query:
    """The groups of one evaluation's rows."""

    def __init__(self, evaluation: Evaluation, *, two: bool) -> None:
        self._evaluation = evaluation
        self.conditions: dict[tuple[str, Any], tuple[Condition, ...]] = {}
        """Which rows have this code of this column."""
        if evaluation.of_numbers:
            self.measure = Measure.FARTHER if two else Measure.DISTANCE
            now, before = "abs(Residual)", f"abs({quoted(BEFORE[1])})"
        else:
            self.measure = Measure.MORE_WRONG if two else Measure.WRONG
            now, before = (f"({quoted(column)} = '{Verdict.WRONG}')::INTEGER" for column in ("Verdict", BEFORE[0]))
        error = f"{now} - {before}" if two else now
        both = f" AND {quoted(BEFORE[0])} IN ('{Verdict.CORRECT}', '{Verdict.WRONG}')" if two else ""
        numbers = f" AND {error} IS NOT NULL" if evaluation.of_numbers else ""
        self._where = f"FROM evaluated WHERE {EVALUATED_ROWS}{both}{numbers}"
        self._figures = f"count(*), avg({error}), stddev_pop({error}), avg({now}), {f'avg({before})' if two else 'NULL'}"

    def whole(self) -> _Group:
        return _group((), self._evaluation.rows(f"SELECT {self._figures} {self._where}")[0])

    def parts(self, columns: Mapping[str, Kind]) -> list[_Part]:
        """How columns are cut; texts of all sorts and columns of one value are not."""
        numbers = [name for name, kind in columns.items() if kind in NUMERIC]
        shares = [number / _RANGES for number in range(1, _RANGES)]
        measures = ", ".join(f"approx_count_distinct({_finite(name)}), approx_quantile({_finite(name)}, {shares})" for name in numbers)
        answer = self._evaluation.rows(f"SELECT {measures} {self._where}")[0] if numbers else ()
        known = {name: answer[2 * place : 2 * place + 2] for place, name in enumerate(numbers)}
        parts = []
        for name, kind in columns.items():
            if kind in CLASSES:
                parts.append(_Part(name, _text(name, kind), quoted(name), of_ranges=False))
            elif kind in NUMERIC:
                distinct, cuts = known[name]
                if kind is Kind.WHOLE_NUMBER and distinct <= _FEW_VALUES:
                    parts.append(_Part(name, f"{quoted(name)}::VARCHAR", quoted(name), of_ranges=False))
                elif edges := sorted({cut for cut in cuts or () if cut is not None}):
                    code = " + ".join(f"({_finite(name)} > {float(edge)!r}::DOUBLE)::INTEGER" for edge in edges)
                    parts.append(_Part(name, code, _finite(name), of_ranges=True))
        return parts

    def groups(self, *parts: _Part) -> list[_Group]:
        """Of each value or range of these columns together."""
        codes = ", ".join(part.code for part in parts)
        ends = "".join(f", min({part.value}), max({part.value})" for part in parts)
        by = ", ".join(str(place + 1) for place in range(len(parts)))
        rows = self._evaluation.rows(f"SELECT {codes}, {self._figures}{ends} {self._where} GROUP BY {by} LIMIT {_MOST_GROUPS:d}")
        groups = []
        for row in rows:
            key = tuple((part.name, code) for part, code in zip(parts, row, strict=False))
            if len(parts) == 1:
                self.conditions[key[0]] = _conditions(parts[0], row[0], row[-2], row[-1])
            if all(self.conditions.get(of_column) for of_column in key):
                groups.append(_group(key, row[len(parts) :]))
        return groups

    def lower_bound(self, group: _Group, certainty: float) -> float:
        """Of its error, in standard deviations `certainty`."""
        if self.measure is not Measure.WRONG:
            return group.error - certainty * group.deviation / math.sqrt(group.rows)
        return wilson_lower(group.error, group.rows, certainty)


def wilson_lower(share: float, rows: int, certainty: float) -> float:
    """The lower end of Wilson's interval of a share (Wilson 1927); `certainty` in standard deviations."""
    z2 = certainty * certainty
    middle = share + z2 / (2 * rows)
    return (middle - certainty * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))) / (1 + z2 / rows)


def _group(key: tuple[tuple[str, Any], ...], figures: Sequence[Any]) -> _Group:
    rows, *values = figures[:5]
    error, deviation, now, before = (math.nan if value is None else float(value) for value in values)
    return _Group(key, rows, error, deviation, now, before)


def _conditions(part: _Part, code: Any, least: Any, greatest: Any) -> tuple[Condition, ...]:
    if code is None:
        return () if part.of_ranges else (Condition(part.name, Operator.EMPTY),)
    if not part.of_ranges:
        return (Condition(part.name, Operator.ONE_OF, (str(code),)),)
    return tuple(Condition(part.name, operator, (_written(end),)) for operator, end in ((Operator.FROM, least), (Operator.TO, greatest)))


def _written(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


def _finite(name: str) -> str:
    number = f"{quoted(name)}::DOUBLE"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _text(name: str, kind: Kind) -> str:
    return f"nullif({text_of(name, kind)}, '')"

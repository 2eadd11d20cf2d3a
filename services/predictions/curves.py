"""How well a score tells what is right: ROC and precision-recall with the figures at a threshold, and calibration.

A score is a column of numbers beside the predictions, such as the probability of a class. What it is held against, the event, is that
the label is this class, or that the prediction is right. The areas are scikit-learn's (`roc_auc_score`, `average_precision_score`), of all
rows; the curves are thinned to at most MOST_POINTS points. Scores come sorted from DuckDB, which spills to disk: memory stays constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.predictions.columns import NUMERIC, Kind, literal, quoted
from services.predictions.database import translated_errors
from services.predictions.evaluation import EVALUATED, EVALUATED_ROWS, Evaluation, Verdict

if TYPE_CHECKING:
    import numpy as np

MOST_POINTS = 1000
_EXACT_POINTS = 100  # at the beginning, where precision jumps
_BATCH = 1 << 18
_OWN_PROBABILITY = "probability"
"""What the built-in scorers call the probability of what was predicted; that of a class is `Probability of cat`."""


@dataclass(frozen=True)
class Scoring:
    """A score and its event: rows with the label `event`, or for None those whose prediction is right. With `of_prediction` the column is
    the probability of what was predicted, one of two classes: of the other one it is 1 minus that."""

    column: str
    event: str | None = None
    of_prediction: bool = False


@dataclass(frozen=True)
class At:
    """What a threshold gives: rows that reach it with and without the event, of all there are with and without."""

    threshold: float
    true_positives: int
    false_positives: int
    positives: int
    negatives: int

    @property
    def precision(self) -> float:
        reached = self.true_positives + self.false_positives
        return self.true_positives / reached if reached else math.nan

    @property
    def recall(self) -> float:
        return self.true_positives / self.positives if self.positives else math.nan

    @property
    def false_positive_rate(self) -> float:
        return self.false_positives / self.negatives if self.negatives else math.nan


@dataclass(frozen=True)
class Curves:
    """`points` go from the highest threshold, that no row reaches, to the lowest, that all do. The areas are nan where the event never or
    always happens. `least` and `greatest` are the scores' ends, `without_score` the judged rows that have none."""

    auc: float
    average_precision: float
    points: tuple[At, ...]
    least: float
    greatest: float
    without_score: int


@dataclass(frozen=True)
class Calibration:
    """(lower, upper, rows, mean score, share with the event) of each bin that has rows; `error` is the mean distance of the last two,
    weighted by the rows: the expected calibration error."""

    bins: tuple[tuple[float, float, int, float, float], ...]
    error: float


def scores(columns: Mapping[str, Kind], own: Mapping[str, str], of: str, classes: Sequence[str], event: str | None) -> list[Scoring]:
    """The columns that may be a score of this event, the likeliest first: the probability of that class, the probability of what was
    predicted, then any other numbers."""
    leave_out = {*own.values(), *EVALUATED, of}
    names = [name for name, kind in columns.items() if kind in NUMERIC and name not in leave_out]
    by_name = {name.casefold(): name for name in reversed(names)}
    likely: list[Scoring] = []
    if event is not None and (column := by_name.get(f"{_OWN_PROBABILITY} of {event}".casefold())):
        likely.append(Scoring(column, event))
    if (column := by_name.get(_OWN_PROBABILITY)) and (event is None or len(classes) == 2):
        likely.append(Scoring(column, event, of_prediction=event is not None))
    used = {scoring.column for scoring in likely}
    rest = [name for name in names if name not in used]
    rest.sort(key=lambda name: not any(word in name.casefold() for word in ("prob", "score", "confidence")))
    return likely + [Scoring(name, event) for name in rest]


def likely_event(classes: Sequence[str]) -> str | None:
    """Of two classes the last by name: yes of no and yes, 1 of 0 and 1, True of False and True; None of more."""
    return max(classes) if len(classes) == 2 else None


def curves(evaluation: Evaluation, scoring: Scoring) -> Curves:
    """Both curves. 10 million rows take a few seconds. Raises WorkspaceUnavailable."""
    score = _sql(evaluation, scoring)
    totals = f"SELECT count(s) FILTER (e), count(s) FILTER (NOT e), min(s), max(s), count(*) - count(s) FROM ({score}) WHERE true"
    positives, negatives, least, greatest, without = evaluation.rows(totals)[0]
    nothing = At(math.inf, 0, 0, positives, negatives)
    if not positives + negatives:
        return Curves(math.nan, math.nan, (nothing,), math.nan, math.nan, without)
    sums = _Sums(positives, negatives, [nothing])
    with translated_errors(evaluation.path):
        reader = evaluation.relation(f"SELECT s, e FROM ({score}) WHERE s IS NOT NULL ORDER BY s DESC").to_arrow_reader(_BATCH)
        for group in _groups(reader):
            sums.add(*group)
    auc = sums.area / (2 * positives * negatives) if positives and negatives else math.nan
    precision = math.fsum(sums.precision) if positives else math.nan
    return Curves(auc, precision, tuple(sums.points), least, greatest, without)


def at(evaluation: Evaluation, scoring: Scoring, threshold: float) -> At:
    """What this threshold gives."""
    score = _sql(evaluation, scoring)
    reached = f"s >= {float(threshold)!r}::DOUBLE"
    counts = f"count(s) FILTER (e AND {reached}), count(s) FILTER (NOT e AND {reached}), count(s) FILTER (e), count(s) FILTER (NOT e)"
    return At(threshold, *evaluation.rows(f"SELECT {counts} FROM ({score})")[0])


def calibration(evaluation: Evaluation, scoring: Scoring, bins: int = 10) -> Calibration | None:
    """Of scores in bins of equal width; None where they are no probabilities, for they leave 0 to 1, or there are none."""
    score = _sql(evaluation, scoring)
    least, greatest = evaluation.rows(f"SELECT min(s), max(s) FROM ({score})")[0]
    if least is None or least < 0 or greatest > 1:
        return None
    rows = evaluation.rows(
        f"SELECT least(floor(s * {bins}), {bins - 1})::INTEGER AS b, count(*), avg(s), avg(e::INTEGER) FROM ({score}) WHERE s IS NOT NULL"
        " GROUP BY 1 ORDER BY 1"
    )
    total = sum(count for _, count, _, _ in rows)
    error = math.fsum(count / total * abs(share - mean) for _, count, mean, share in rows)
    return Calibration(tuple((b / bins, (b + 1) / bins, count, mean, share) for b, count, mean, share in rows), error)


def _sql(evaluation: Evaluation, scoring: Scoring) -> str:
    """SQL: the judged rows as s, the finite score, and e, whether the event is there."""
    number = f"{quoted(scoring.column)}::DOUBLE"
    number = f"CASE WHEN isfinite({number}) THEN {number} END"
    event = f"Verdict = '{Verdict.CORRECT}'" if scoring.event is None else f"Label = {literal(scoring.event)}"
    if scoring.of_prediction and scoring.event is not None:
        # what is right is spelled as its label: the prediction may be 1.0 where the label is 1
        texts = ", ".join(map(literal, evaluation.texts_of(scoring.event)))
        predicted = f"({evaluation.value} IN ({texts}) OR (Label = {literal(scoring.event)} AND Verdict = '{Verdict.CORRECT}'))"
        number = f"CASE WHEN {predicted} THEN {number} ELSE 1 - {number} END"
    return f"SELECT {number} AS s, {event} AS e FROM evaluated WHERE {EVALUATED_ROWS}"


@dataclass
class _Sums:
    """What is summed over groups of rows with one score each, the highest first."""

    positives: int
    negatives: int
    points: list[At]
    area: int = 0
    """Twice the number of pairs of a row with the event and one without that are in order, ties counted half."""
    precision: list[float] = field(default_factory=list)
    reached: tuple[int, int] = (0, 0)
    _groups: int = 0

    def add(self, scores: np.ndarray, with_event: np.ndarray, without: np.ndarray) -> None:
        import numpy as np

        tp, fp = self.reached[0] + np.cumsum(with_event), self.reached[1] + np.cumsum(without)
        self.area += int(np.dot(without, 2 * (tp - with_event) + with_event))
        if self.positives:
            self.precision.append(float(np.sum(with_event / self.positives * (tp / (tp + fp)))))
        way = tp / (self.positives or 1) + fp / (self.negatives or 1)
        step = 2 / (MOST_POINTS - _EXACT_POINTS - 10)
        before = np.concatenate([[self.reached[0] / (self.positives or 1) + self.reached[1] / (self.negatives or 1)], way[:-1]])
        chosen = np.floor(way / step) > np.floor(before / step)
        chosen[: max(0, _EXACT_POINTS - self._groups)] = True
        if tp[-1] == self.positives and fp[-1] == self.negatives:
            chosen[-1] = True
        for place in np.flatnonzero(chosen).tolist():
            self.points.append(At(float(scores[place]), int(tp[place]), int(fp[place]), self.positives, self.negatives))
        self.reached = int(tp[-1]), int(fp[-1])
        self._groups += len(scores)


def _groups(batches: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of sorted rows: each score once, how many rows have it with the event, how many without."""
    import numpy as np

    open_: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # the last group of a batch may go on in the next one
    for batch in batches:
        if not batch.num_rows:
            continue
        score = batch.column(0).to_numpy(zero_copy_only=False)
        event = batch.column(1).to_numpy(zero_copy_only=False).astype(np.int64)
        starts = np.concatenate([[0], np.flatnonzero(score[1:] != score[:-1]) + 1])
        with_event, rows = np.add.reduceat(event, starts), np.diff(np.concatenate([starts, [len(score)]]))
        group = score[starts], with_event, rows - with_event
        if open_ is not None and open_[0][0] == group[0][0]:
            group[1][0] += open_[1][0]
            group[2][0] += open_[2][0]
        elif open_ is not None:
            yield open_
        if len(starts) > 1:
            yield group[0][:-1], group[1][:-1], group[2][:-1]
        open_ = group[0][-1:], group[1][-1:], group[2][-1:]
    if open_ is not None:
        yield open_

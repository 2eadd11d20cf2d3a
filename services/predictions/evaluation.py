"""Predictions evaluated against true labels: how many are right, of which class and in which folder, and the rows behind each figure.

A label belongs to the file whose path in the dataset it names, else to the only file of that name; nothing is guessed, and what belongs
to nothing is listed. The joined rows are a table of predictions again, with the columns EVALUATED beside the others: it is filtered, paged
and exported like any. Precision, recall and F1 are scikit-learn's (`sklearn.metrics.precision_recall_fscore_support`, averages none).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from services.predictions.columns import MOST_CLASSES, NUMERIC, Kind, Status, literal, names_beside, parquet_file, quoted
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.join import JoinedTable, copy_beside, join_once, joined_by, number_of, same_number, text_of
from services.predictions.label_file import Labels
from services.predictions.reader import Predictions

if TYPE_CHECKING:
    import duckdb

EVALUATED = ("Label", "Verdict", "Residual")
"""The columns beside the table's own. Residual is prediction minus label, of numbers."""
_PREDICTION_NAMES = ("prediction", "predictions", "predicted", "predicted_label", "label", "class", "y_pred", "pred")


class Verdict(StrEnum):
    """What a row's prediction is compared with its label."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_LABEL = "no label"
    NO_PREDICTION = "no prediction"


class UnmatchedLabel(StrEnum):
    """Why a label belongs to no row."""

    NO_FILE = "no file of the run has this name"
    SEVERAL_FILES = "several files have this name: give the path"
    CONTRADICTION = "it is there with different labels"
    OVERRULED = "its file has another label by its path"
    EMPTY = "the name or the label is empty"


@dataclass(frozen=True)
class ClassScore:
    """One class: how often it is the label, how often predicted, how often both."""

    name: str
    labelled: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else math.nan

    @property
    def recall(self) -> float:
        return self.correct / self.labelled if self.labelled else math.nan

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.predicted + self.labelled) if self.predicted + self.labelled else math.nan


@dataclass(frozen=True)
class NumberErrors:
    """Over the rows where both are numbers: mean absolute error, root of the mean squared error, mean residual, and the share of the
    labels' variance that is explained (nan where they don't vary)."""

    count: int
    mae: float
    rmse: float
    bias: float
    r2: float


def evaluated_column(predictions: Predictions, preferred: str = "") -> str:
    """The column whose values are evaluated: `preferred`, where there is such a column. Else of DataFrames, objects and lists the first
    that is called as predictions are, for the prediction itself is then the whole row."""
    further = predictions.further_columns
    if preferred in ("Prediction", *further):
        return preferred
    if predictions.whole_column != "Prediction":
        return "Prediction"
    by_name = {re.sub(r" \d+$", "", name).casefold(): name for name in reversed(further)}
    return next((by_name[name] for name in _PREDICTION_NAMES if name in by_name), "Prediction")


def evaluate(predictions: Predictions, labels: Labels, of: str = "") -> Evaluation:
    """Join them, unless that was done already. Takes about 3 µs a row; memory stays constant. `of`: see evaluated_column.

    Raises WorkspaceUnavailable where the joined table can't be written.
    """
    of = evaluated_column(predictions, of)
    beginning = f"judged-{joined_by(labels.id, of)}-"
    target = predictions.path.with_name(f"{beginning}{predictions.path.stem}.parquet")
    join_once(target, beginning, _unmatched_labels_of(target), partial(_join, predictions, labels, of))
    kind = predictions.kind if of == "Prediction" else predictions.columns[of]
    return Evaluation(target, kind, names_beside(predictions.columns, EVALUATED)[of], predictions.own)


def _unmatched_labels_of(evaluated: Path) -> Path:
    return evaluated.with_name(f"leftover-{evaluated.name}")


def _join(
    predictions: Predictions, labels: Labels, of: str, database: duckdb.DuckDBPyConnection, target: Path, unmatched_labels: Path
) -> None:
    table = parquet_file(predictions.path, row_numbers=True)
    database.execute("SET preserve_insertion_order = false")
    _give_labels(database, table, labels, unmatched_labels)
    database.execute(
        "CREATE TEMP TABLE beside AS SELECT p.Label AS Label, try_cast(p.Label AS DOUBLE) AS n"
        f" FROM {table} t LEFT JOIN pairs p ON p.File = t.File ORDER BY t.file_row_number"
    )
    text, number = text_of(of, predictions.columns[of], "t."), number_of(of, predictions.own, "t.")
    same = same_number(text, number, "b.Label", "b.n")
    if predictions.columns[of] is Kind.TRUTH_VALUE:
        same = f"coalesce(try_cast(b.Label AS BOOLEAN) = t.{quoted(of)}, false)"
    verdict = (
        f"CASE WHEN b.Label IS NULL THEN '{Verdict.NO_LABEL}' WHEN {text} IS NULL THEN '{Verdict.NO_PREDICTION}'"
        f" WHEN {text} = b.Label OR {same} THEN '{Verdict.CORRECT}' ELSE '{Verdict.WRONG}' END"
    )
    database.execute("SET preserve_insertion_order = true")
    residual = f"CASE WHEN isfinite(b.n) THEN {number} - b.n END"
    columns = {"Label": (Kind.CATEGORY, "b.Label"), "Verdict": (Kind.CATEGORY, verdict), "Residual": (Kind.NUMBER, residual)}
    copy_beside(database, predictions.path, columns, "beside", target)


def _give_labels(database: duckdb.DuckDBPyConnection, table: str, labels: Labels, unmatched_labels: Path) -> None:
    """Make `pairs`, a label each for files by their path, and write the labels that are in none."""
    usable = "NOT Contradicting AND Name <> '' AND Label <> ''"
    database.execute(f"CREATE TEMP VIEW given AS FROM {parquet_file(labels.path)}")
    database.execute(f"CREATE TEMP TABLE unmatched AS SELECT * FROM given ANTI JOIN {table} t ON t.File = given.Name")
    base = "parse_filename(File, false, 'forward_slash')"
    database.execute(
        f"CREATE TEMP TABLE bases AS SELECT {base} AS base, min(File) AS File, min(File) <> max(File) AS several"
        f" FROM {table} t SEMI JOIN unmatched ON unmatched.Name = {base} WHERE File <> '' GROUP BY 1"
    )
    database.execute(
        "CREATE TEMP TABLE by_name AS SELECT bases.File AS File, unmatched.Name, unmatched.Label FROM unmatched"
        " JOIN bases ON unmatched.Name = bases.base ANTI JOIN given ON given.Name = bases.File"
        " WHERE NOT several AND NOT Contradicting AND unmatched.Name <> '' AND Label <> ''"
    )
    database.execute(
        f"CREATE TEMP VIEW pairs AS SELECT Name AS File, Label FROM given WHERE {usable} UNION ALL SELECT File, Label FROM by_name"
    )
    reason = (
        f"CASE WHEN Name = '' OR Label = '' THEN '{UnmatchedLabel.EMPTY}' WHEN Contradicting THEN '{UnmatchedLabel.CONTRADICTION}'"
        f" WHEN bases.base IS NULL THEN '{UnmatchedLabel.NO_FILE}' WHEN several THEN '{UnmatchedLabel.SEVERAL_FILES}'"
        f" ELSE '{UnmatchedLabel.OVERRULED}' END"
    )
    database.execute(
        f"COPY (SELECT Name, Label, {reason} AS Why FROM (FROM unmatched UNION FROM given WHERE NOT ({usable})) r"
        " LEFT JOIN bases ON base = Name ANTI JOIN by_name USING (Name) ORDER BY Why, Name)"
        f" TO {literal(str(unmatched_labels))} (FORMAT parquet)"
    )


class Evaluation(JoinedTable):
    """The result, read from the joined table at `path`. Safe to use from several threads."""

    def __init__(self, path: Path, kind: Kind, of: str, own: Mapping[str, str]) -> None:
        tables = {"evaluated": path, "unmatched_labels": _unmatched_labels_of(path)}
        super().__init__(path, {name: f"FROM {parquet_file(table)}" for name, table in tables.items()})
        self.of = of
        """The column that is evaluated."""
        self._value = text_of(of, kind)
        self._kind = kind
        self._own = own

    @cached_property
    def verdicts(self) -> dict[Verdict, int]:
        """How many rows of each verdict."""
        counts = dict(self._query("SELECT Verdict, count(*) FROM evaluated GROUP BY 1"))
        return {verdict: counts.get(verdict, 0) for verdict in Verdict}

    @property
    def evaluated(self) -> int:
        """How many rows have a prediction and a label."""
        return self.verdicts[Verdict.CORRECT] + self.verdicts[Verdict.WRONG]

    @property
    def accuracy(self) -> float:
        """The share of `evaluated` that is correct, 0 to 1; nan where there are none."""
        return self.verdicts[Verdict.CORRECT] / self.evaluated if self.evaluated else math.nan

    @cached_property
    def of_numbers(self) -> bool:
        """Whether predictions and labels are quantities, so that errors have a size; else they are classes."""
        if self._kind not in NUMERIC:
            return False
        few = f"SELECT count(DISTINCT {self._value}) <= {MOST_CLASSES} FROM evaluated"
        if self.of != "Prediction" and self._kind is Kind.WHOLE_NUMBER and self._query(few)[0][0]:
            return False
        return self._query(f"SELECT count(Residual) * 2 > count(*) FROM evaluated WHERE {_EVALUATED_ROWS}")[0][0] is True

    def confusion(self, limit: int = 1000) -> list[tuple[str, str, int]]:
        """(label, prediction, rows), the most frequent first."""
        return self._query(
            f"SELECT Label, {self._value}, count(*) FROM evaluated WHERE {_EVALUATED_ROWS}"
            f" GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {limit:d}"
        )

    def classes(self, limit: int = 1000) -> list[ClassScore]:
        """Each class among labels or predictions, those with the most labels first."""
        rows = self._query(
            f"WITH pairs AS (SELECT Label AS l, {self._value} AS p, Verdict AS v, count(*) AS n FROM evaluated WHERE {_EVALUATED_ROWS}"
            f" GROUP BY 1, 2, 3), spelled AS (SELECT l, CASE WHEN v = '{Verdict.CORRECT}' THEN l ELSE p END AS p, n FROM pairs)"
            " SELECT name, sum(l), sum(p), sum(c) FROM (SELECT l AS name, n AS l, 0 AS p, 0 AS c FROM spelled"
            " UNION ALL SELECT p, 0, n, 0 FROM spelled UNION ALL SELECT l, 0, 0, n FROM spelled WHERE l = p)"
            f" GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT {limit:d}"
        )
        return [ClassScore(name, int(labelled), int(predicted), int(correct)) for name, labelled, predicted, correct in rows]

    def by_folder(self, limit: int = 1000) -> list[tuple[str, int, int, float]]:
        """(folder, evaluated rows, wrong ones, mean absolute error or nan), the one with the largest share of
        wrong rows, or the largest mean, first."""
        order = "4 DESC NULLS LAST" if self.of_numbers else "wrong / count(*) DESC"
        rows = self._query(
            f"SELECT {quoted(self._own['Folder'])} AS folder, count(*), count(*) FILTER (Verdict = '{Verdict.WRONG}') AS wrong,"
            f" avg(abs(Residual)) FROM evaluated WHERE {_EVALUATED_ROWS} GROUP BY 1 ORDER BY {order}, 2 DESC, 1 LIMIT {limit:d}"
        )
        return [(folder, count, wrong, math.nan if mae is None else mae) for folder, count, wrong, mae in rows]

    def number_errors(self) -> NumberErrors:
        count, mae, mse, bias, variance = self._query(
            "SELECT count(Residual), avg(abs(Residual)), avg(Residual * Residual), avg(Residual),"
            f" var_pop({number_of(self.of, self._own)} - Residual) FILTER (Residual IS NOT NULL) FROM evaluated"
        )[0]
        if not count:
            return NumberErrors(0, math.nan, math.nan, math.nan, math.nan)
        return NumberErrors(count, mae, math.sqrt(mse), bias, 1 - mse / variance if variance else math.nan)

    def residuals(self, bins: int = 40) -> list[tuple[float, float, int]]:
        """A histogram: (lower, upper, rows), the greatest residual in the last one."""
        least, greatest = self._query("SELECT min(Residual), max(Residual) FROM evaluated")[0]
        if least is None:
            return []
        width = (greatest - least) / bins
        if not width or not math.isfinite(width) or not least + width > least:
            return [(least, greatest, self._query("SELECT count(Residual) FROM evaluated")[0][0])]
        place = f"least(floor((Residual - {least!r}::DOUBLE) / {width!r}::DOUBLE), {bins - 1})::INTEGER"
        counts = dict(self._query(f"SELECT {place}, count(*) FROM evaluated WHERE Residual IS NOT NULL GROUP BY 1"))
        return [(least + place * width, least + (place + 1) * width, counts.get(place, 0)) for place in range(bins)]

    def unmatched_labels(self, first: int = 0, count: int = 100) -> list[tuple[str, str, str]]:
        """Labels that belong to no row: (name, label, the UnmatchedLabel)."""
        return self._query(f"SELECT Name, Label, Why FROM unmatched_labels LIMIT {count:d} OFFSET {first:d}")

    def unmatched_label_count(self) -> int:
        return int(self._query("SELECT count(*) FROM unmatched_labels")[0][0])


_EVALUATED_ROWS = f"Verdict IN ('{Verdict.CORRECT}', '{Verdict.WRONG}')"


def cell(label: str, prediction: str, of: str = "Prediction") -> Filter:
    """The rows of the joined table behind one cell of the confusion matrix."""
    true = Condition("Label", Operator.ONE_OF, (label,))
    if of == "Prediction":
        return Filter(classes=(prediction,), conditions=(true,))
    return Filter(conditions=(true, Condition(of, Operator.ONE_OF, (prediction,))))


def verdict_is(verdict: Verdict) -> Filter:
    """The rows of the joined table with this verdict, failed items among them."""
    return Filter(conditions=(Condition("Verdict", Operator.ONE_OF, (verdict,)),), statuses=tuple(Status))

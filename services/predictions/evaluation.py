"""Predictions evaluated against true labels: how many are right, of which class and in which folder, and the rows behind each figure.

A label belongs to the file whose path in the dataset it names, else to the only file of that name, and there to the row that it names, else
to all rows; nothing is guessed, and what belongs to nothing is listed. The joined rows are a table of predictions again, with the columns
EVALUATED beside the others: it is filtered, paged and exported like any. Precision, recall and F1 are scikit-learn's
(`sklearn.metrics.precision_recall_fscore_support`, averages none).
"""

from __future__ import annotations

import json
import math
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.predictions.columns import (
    MOST_CLASSES,
    NUMERIC,
    ROW_NUMBER,
    Kind,
    Status,
    is_category,
    literal,
    names_beside,
    parquet_file,
    quoted,
    unique_names,
)
from services.predictions.database import parquet_notes, scratch_database, translated_errors
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.join import JoinedTable, copy_beside, join_once, joined_by, number_of, same_number, select_beside, text_of
from services.predictions.label_file import Labels
from services.predictions.reader import Predictions
from services.storage.atomic import write_atomically

if TYPE_CHECKING:
    import duckdb

EVALUATED = ("Label", "Verdict", "Residual")
"""The columns beside the table's own. Residual is prediction minus label, of numbers."""
BEFORE = ("Verdict before", "Residual before")
"""Where an older run's predictions are beside them: the same of these."""
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
    NO_ROW = "no row of the file is known to have this number"
    SEVERAL_FILES = "several files have this name: give the path"
    CONTRADICTION = "it is there with different labels"
    OVERRULED = "its file has another label by its path"
    EMPTY = "the name or the label is empty"


EVALUATED_ROWS = f"Verdict IN ('{Verdict.CORRECT}', '{Verdict.WRONG}')"
"""SQL: the rows that have a prediction and a label."""


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


@dataclass(frozen=True)
class ResidualGrid:
    """How many rows have a prediction and a residual between these edges: `counts[y][x]`."""

    predictions: tuple[float, ...]
    residuals: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


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


def evaluate(predictions: Predictions, labels: Labels, of: str = "", *, before: bool = False) -> Evaluation:
    """Join them, unless that was done already. Takes about 3 µs a row; memory stays constant. `of`: see evaluated_column. With `before`
    the table is a comparison's, and what it has as Before is judged too: see BEFORE.

    Raises WorkspaceUnavailable where the joined table can't be written.
    """
    of = evaluated_column(predictions, of)
    wide = "wide-" if labels.dataset_columns and ROW_NUMBER in predictions.own else ""
    wide += "truth-" if _of_truth_values(predictions, of) else ""
    beginning = f"{wide}{'both' if before else 'judged'}-{joined_by(labels.id, of)}-"
    target = predictions.path.with_name(f"{beginning}{predictions.path.stem}.parquet")
    join_once(target, beginning, _unmatched_labels_of(target), partial(_join, predictions, labels, of, before))
    kind = predictions.kind if of == "Prediction" else predictions.columns[of]
    return Evaluation(target, kind, names_beside(predictions.columns, EVALUATED)[of], predictions.own)


def _unmatched_labels_of(evaluated: Path) -> Path:
    return evaluated.with_name(f"leftover-{evaluated.name}")


def _join(
    predictions: Predictions,
    labels: Labels,
    of: str,
    before: bool,
    database: duckdb.DuckDBPyConnection,
    target: Path,
    unmatched_labels: Path,
) -> None:
    columns = _judged_columns(predictions, labels, of, database, unmatched_labels)
    if before:
        columns |= _before_columns(of_truth_values=_of_truth_values(predictions, of))
    copy_beside(database, predictions.path, columns, "beside", target)


def _judged_columns(
    predictions: Predictions, labels: Labels, of: str, database: duckdb.DuckDBPyConnection, unmatched_labels: Path | None
) -> dict[str, tuple[Kind, str]]:
    """EVALUATED, as `copy_beside` takes them, over the table `beside` that is made here; and a file of the labels that belong to no row."""
    table = parquet_file(predictions.path, row_numbers=True)
    database.execute("SET preserve_insertion_order = false")
    number = predictions.own.get(ROW_NUMBER) if labels.has_rows else None
    of_dataset = _DatasetColumns(database, predictions, labels.dataset_columns if unmatched_labels else None)
    unmatched = _give_labels(database, table, labels, number)
    if unmatched_labels is not None:
        database.execute(f"COPY (FROM ({unmatched}) ORDER BY Why, Name) TO {literal(str(unmatched_labels))} (FORMAT parquet)")
    label, joined = "p.Label", f"FROM {table} t LEFT JOIN pairs p ON p.File = t.File"
    if number:
        label = "coalesce(r.Label, p.Label)"
        joined += f" LEFT JOIN pairs_of_rows r ON r.File = t.File AND r.Row = t.{quoted(number)}"
    if _of_truth_values(predictions, of):  # 1 and true are spelled as the predictions are
        label = f"CASE try_cast({label} AS BOOLEAN) WHEN true THEN 'True' WHEN false THEN 'False' ELSE {label} END"
    database.execute(
        f"CREATE TEMP TABLE beside AS SELECT {label} AS Label, try_cast({label} AS DOUBLE) AS n{of_dataset.selected}"
        f" {joined}{of_dataset.joined} ORDER BY t.file_row_number"
    )
    text, number = text_of(of, predictions.columns[of], "t."), number_of(of, predictions.own, "t.")
    same = same_number(text, number, "b.Label", "b.n")
    verdict = (
        f"CASE WHEN b.Label IS NULL THEN '{Verdict.NO_LABEL}' WHEN {text} IS NULL THEN '{Verdict.NO_PREDICTION}'"
        f" WHEN {text} = b.Label OR {same} THEN '{Verdict.CORRECT}' ELSE '{Verdict.WRONG}' END"
    )
    database.execute("SET preserve_insertion_order = true")
    residual = f"CASE WHEN isfinite(b.n) THEN {number} - b.n END"
    return {
        "Label": (Kind.CATEGORY, "b.Label"),
        "Verdict": (Kind.CATEGORY, verdict),
        "Residual": (Kind.NUMBER, residual),
    } | of_dataset.columns


def _of_truth_values(predictions: Predictions, of: str) -> bool:
    """Whether the column has nothing but True and False: predictions themselves are texts, whatever they say."""
    kind = predictions.columns[of]
    if kind is not Kind.CATEGORY:
        return kind is Kind.TRUTH_VALUE
    values = {value for value, _ in predictions.facet(of, limit=4) if value is not None}
    return bool(values) and values <= {"True", "False"}


class _DatasetColumns:
    """The columns of the dataset itself that a table of its rows doesn't have: so that what is wrong can be looked at by them."""

    def __init__(self, database: duckdb.DuckDBPyConnection, predictions: Predictions, path: Path | None) -> None:
        self.columns: dict[str, tuple[Kind, str]] = {}
        """As `copy_beside` takes them."""
        self.selected = self.joined = ""
        """SQL: for the table `beside`, whose row is `t`."""
        number = predictions.own.get(ROW_NUMBER)
        if path is None or number is None:
            return
        names = json.loads(parquet_notes(database, path).get("names", "[]"))
        types = dict(database.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {parquet_file(path)})").fetchall())
        taken = {name.casefold() for name in (*predictions.columns, *EVALUATED, *BEFORE, *(f"{name} 2" for name in EVALUATED))}
        own = {name.casefold() for name in (*predictions.own.values(), *EVALUATED, *BEFORE)}
        for place, name in enumerate(unique_names(names)):
            if name.casefold() in taken:
                if name.casefold() not in own:
                    continue  # the run kept it
                name = f"{name} of the dataset"  # noqa: PLW2901
            taken.add(name.casefold())
            self.columns[name] = (self._kind(database, path, f"c{place}", types.get(f"c{place}", "VARCHAR")), f"b.c{place}")
            self.selected += f", d.c{place}"
        if self.columns:
            self.joined = f" LEFT JOIN {parquet_file(path)} d ON d.File = t.File AND d.{quoted(ROW_NUMBER)} = t.{quoted(number)}"

    @staticmethod
    def _kind(database: duckdb.DuckDBPyConnection, path: Path, column: str, type_: str) -> Kind:
        known = {"BIGINT": Kind.WHOLE_NUMBER, "DOUBLE": Kind.NUMBER, "BOOLEAN": Kind.TRUTH_VALUE}
        if type_.startswith("TIMESTAMP"):
            return Kind.DATE
        if type_ in known:
            return known[type_]
        distinct, count = database.execute(f"SELECT approx_count_distinct({column}), count({column}) FROM {parquet_file(path)}").fetchall()[
            0
        ]
        return Kind.CATEGORY if is_category(distinct, count) else Kind.TEXT


def _before_columns(*, of_truth_values: bool) -> dict[str, tuple[Kind, str]]:
    """BEFORE, as `_judged_columns`, of a comparison's column Before."""
    number = "try_cast(t.Before AS DOUBLE)"
    same = same_number("t.Before", number, "b.Label", "b.n")
    if of_truth_values:
        same = "coalesce(try_cast(b.Label AS BOOLEAN) = try_cast(t.Before AS BOOLEAN), false)"
    verdict = (
        f"CASE WHEN b.Label IS NULL THEN '{Verdict.NO_LABEL}' WHEN t.Before IS NULL THEN '{Verdict.NO_PREDICTION}'"
        f" WHEN t.Before = b.Label OR {same} THEN '{Verdict.CORRECT}' ELSE '{Verdict.WRONG}' END"
    )
    residual = f"CASE WHEN isfinite(b.n) AND isfinite({number}) THEN {number} - b.n END"
    return {BEFORE[0]: (Kind.CATEGORY, verdict), BEFORE[1]: (Kind.NUMBER, residual)}


@dataclass(frozen=True)
class Score:
    """How a run's predictions compare with labels, in a few figures: see run_details.RunScore. `column` is what was judged."""

    column: str
    judged: int
    without_label: int
    without_prediction: int
    rows_judged: str
    accuracy: float | None = None
    f1: float | None = None
    mae: float | None = None
    rmse: float | None = None


def score(predictions: Predictions, labels: Labels, of: str = "") -> Score:
    """The figures of `evaluate` without its table: nothing as large as the predictions is written. They are kept for the next time, as
    long as table and labels are the same. Raises WorkspaceUnavailable."""
    of = evaluated_column(predictions, of)
    spelled = " truth" if _of_truth_values(predictions, of) else ""
    kept = predictions.kept_path(f"score {labels.id} {of}{spelled}", ".json")
    if (known := _kept_score(kept)) is not None:
        return known
    scratch = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}")  # another tab may ask for the same
    with translated_errors(predictions.path), _removed(f"{scratch}.spill"), closing(scratch_database(scratch)) as database:
        columns = _judged_columns(predictions, labels, of, database, None)
        query = select_beside(predictions.path, predictions.columns, columns, "beside")
        database.execute(f"CREATE TEMP VIEW evaluated AS {query}")
        kind = predictions.kind if of == "Prediction" else predictions.columns[of]
        result = Evaluation(predictions.path, kind, names_beside(predictions.columns, EVALUATED)[of], predictions.own, database)
        figures = _score(result, of)
    with suppress(OSError):  # it is made again then
        write_atomically(kept, json.dumps(vars(figures)))
    return figures


@contextmanager
def _removed(folder: str) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kept_score(path: Path) -> Score | None:
    try:
        return Score(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # none, or another version's
        return None


def _score(result: Evaluation, of: str) -> Score:
    counts = result.verdicts
    about = Score(of, result.evaluated, counts[Verdict.NO_LABEL], counts[Verdict.NO_PREDICTION], result.rows_judged)
    if not result.evaluated or not result.comparable:
        return about
    if result.of_numbers:
        errors = result.number_errors()
        return replace(about, mae=errors.mae, rmse=errors.rmse) if errors.count else about
    return replace(about, accuracy=result.accuracy, f1=result.macro_f1)


def _give_labels(database: duckdb.DuckDBPyConnection, table: str, labels: Labels, number: str | None = None) -> str:
    """Make `pairs`, a label each for files by their path. With `number`, the table's column of the rows' numbers, `pairs_of_rows` are
    those of single rows. Returns a query of the labels that are in none."""
    kept = f"FROM {parquet_file(labels.path)}"
    if number:
        database.execute(f"CREATE TEMP VIEW given AS SELECT * EXCLUDE Row {kept} WHERE Row IS NULL")
        database.execute(f"CREATE TEMP VIEW given_of_rows AS {kept} WHERE Row IS NOT NULL")
    elif labels.has_rows:  # items are no rows here
        contradicting = "bool_or(Contradicting) OR min(nullif(Label, '')) IS DISTINCT FROM max(nullif(Label, ''))"
        grouped = f"SELECT Name, coalesce(min(nullif(Label, '')), '') AS Label, {contradicting} AS Contradicting"
        database.execute(f"CREATE TEMP VIEW given AS {grouped} {kept} GROUP BY 1")
    else:
        database.execute(f"CREATE TEMP VIEW given AS {kept}")
    unmatched = _pair(database, table)
    if number:
        unmatched += f" UNION ALL {_pair(database, table, number)}"
    return unmatched


def _pair(database: duckdb.DuckDBPyConnection, table: str, number: str = "") -> str:
    """Make `pairs` of `given`, or where `number` is the column of the rows' numbers `pairs_of_rows` of `given_of_rows`. Returns a query of
    the labels that are in none."""
    of, row, name = ("_of_rows", ", Row", "Name || ', row ' || Row") if number else ("", "", "Name")
    same_row = f" AND t.{quoted(number)} = given{of}.Row" if number else ""
    usable = "NOT Contradicting AND Name <> '' AND Label <> ''"
    database.execute(f"CREATE TEMP TABLE unmatched{of} AS SELECT * FROM given{of} ANTI JOIN {table} t ON t.File = given{of}.Name{same_row}")
    base = "parse_filename(File, false, 'forward_slash')"
    database.execute(
        f"CREATE TEMP TABLE bases{of} AS SELECT {base} AS base, min(File) AS File, min(File) <> max(File) AS several"
        f" FROM {table} t SEMI JOIN unmatched{of} u ON u.Name = {base} WHERE File <> '' GROUP BY 1"
    )
    candidates = f"FROM unmatched{of} u JOIN bases{of} b ON u.Name = b.base"
    there = f" SEMI JOIN {table} t ON t.File = b.File AND t.{quoted(number)} = u.Row" if number else ""
    overruled = f"given{of} g ON g.Name = b.File{' AND g.Row = u.Row' * bool(number)}"
    database.execute(
        f"CREATE TEMP TABLE by_name{of} AS SELECT b.File AS File, u.Name AS Name, u.Label AS Label{', u.Row AS Row' * bool(number)}"
        f" {candidates}{there} ANTI JOIN {overruled} WHERE NOT several AND NOT Contradicting AND u.Name <> '' AND Label <> ''"
    )
    database.execute(
        f"CREATE TEMP VIEW pairs{of} AS SELECT Name AS File, Label{row} FROM given{of} WHERE {usable}"
        f" UNION ALL SELECT File, Label{row} FROM by_name{of}"
    )
    reason = f"'{UnmatchedLabel.OVERRULED}'"
    if number:
        database.execute(f"CREATE TEMP TABLE overruled AS SELECT u.Name, u.Row {candidates} SEMI JOIN {overruled}")
        database.execute(f"CREATE TEMP TABLE paths AS SELECT DISTINCT Name FROM unmatched{of} u SEMI JOIN {table} t ON t.File = u.Name")
        reason = f"CASE WHEN o.Name IS NULL THEN '{UnmatchedLabel.NO_ROW}' ELSE {reason} END"
    no_file = "b.base IS NULL" + " AND paths.Name IS NULL" * bool(number)
    reason = (
        f"CASE WHEN r.Name = '' OR Label = '' THEN '{UnmatchedLabel.EMPTY}' WHEN Contradicting THEN '{UnmatchedLabel.CONTRADICTION}'"
        f" WHEN {no_file} THEN '{UnmatchedLabel.NO_FILE}' WHEN several THEN '{UnmatchedLabel.SEVERAL_FILES}' ELSE {reason} END"
    )
    more = " LEFT JOIN paths ON paths.Name = r.Name LEFT JOIN overruled o ON o.Name = r.Name AND o.Row = r.Row" * bool(number)
    return (
        f"SELECT {name.replace('Name', 'r.Name').replace('Row', 'r.Row')} AS Name, Label, {reason} AS Why"
        f" FROM (FROM unmatched{of} UNION FROM given{of} WHERE NOT ({usable})) r LEFT JOIN bases{of} b ON b.base = r.Name{more}"
        f" ANTI JOIN by_name{of} n ON n.Name = r.Name{' AND n.Row = r.Row' * bool(number)}"
    )


class Evaluation(JoinedTable):
    """The result, read from the joined table at `path`. Safe to use from several threads."""

    def __init__(self, path: Path, kind: Kind, of: str, own: Mapping[str, str], database: duckdb.DuckDBPyConnection | None = None) -> None:
        """`database`: one that has the joined rows as `evaluated`."""
        tables = {"evaluated": path, "unmatched_labels": _unmatched_labels_of(path)}
        super().__init__(path, {name: f"FROM {parquet_file(table)}" for name, table in tables.items()}, database)
        self.of = of
        """The column that is evaluated."""
        self.value = text_of(of, kind)
        """SQL: the evaluated column as text."""
        self._kind = kind
        self._own = own

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The answer to SQL over `evaluated`, the joined rows."""
        return self._query(query)

    def relation(self, query: str) -> duckdb.DuckDBPyRelation:
        """As `rows`, to be read in parts."""
        return (self._database.cursor() if self._owned else self._database).sql(query)

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
    def comparable(self) -> bool:
        """Whether predictions and labels can be the same at all: not where the ones are all numbers and the others all words."""
        numbers = f"count({number_of(self.of, self._own)}), count(CASE WHEN isfinite(try_cast(Label AS DOUBLE)) THEN 1 END)"
        predicted, labelled, rows = self._query(f"SELECT {numbers}, count(*) FROM evaluated WHERE {EVALUATED_ROWS}")[0]
        return not rows or {predicted, labelled} != {0, rows}

    @cached_property
    def of_numbers(self) -> bool:
        """Whether predictions and labels are quantities, so that errors have a size; else they are classes. Predictions of few different
        numbers are quantities where the labels are of many."""
        if self._kind not in NUMERIC:
            many = f"count(Residual) * 2 > count(*) AND approx_count_distinct(Label) > {MOST_CLASSES}"
            return self._query(f"SELECT {many} FROM evaluated WHERE {EVALUATED_ROWS}")[0][0] is True
        few = f"SELECT count(DISTINCT {self.value}) <= {MOST_CLASSES} FROM evaluated"
        if self.of != "Prediction" and self._kind is Kind.WHOLE_NUMBER and self._query(few)[0][0]:
            return False
        return self._query(f"SELECT count(Residual) * 2 > count(*) FROM evaluated WHERE {EVALUATED_ROWS}")[0][0] is True

    @cached_property
    def rows_judged(self) -> str:
        """The same text for two tables of which the same rows were judged."""
        number = quoted(self._own[ROW_NUMBER]) if ROW_NUMBER in self._own else "0"
        row = f"(hash(File, {number}) % 4294967296)::HUGEINT"
        count, total = self._query(f"SELECT count(*), sum({row}) FROM evaluated WHERE {EVALUATED_ROWS}")[0]
        return f"{count} {total or 0}"

    def confusion(self, limit: int = 1000) -> list[tuple[str, str, int]]:
        """(label, prediction, rows), the most frequent first."""
        return self._query(f"SELECT l, p, sum(n)::BIGINT FROM ({self._pairs}) GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {limit:d}")

    def matrix(self, names: Sequence[str], others: str) -> tuple[dict[tuple[str, str], int], list[str]]:
        """Rows by (label, prediction) of these classes, all others together as `others`; and the names in the order to show them: numbers
        by value, else by name, the others last."""
        listed = ", ".join(map(literal, names)) or "NULL"
        rows = self._query(
            f"SELECT CASE WHEN l IN ({listed}) THEN l END, CASE WHEN p IN ({listed}) THEN p END, sum(n)::BIGINT FROM ({self._pairs})"
            " GROUP BY 1, 2"
        )
        counts = {(label or others, predicted or others): count for label, predicted, count in rows}
        return counts, [*sorted(names, key=_by_value), *([others] if any(others in cell for cell in counts) else [])]

    def texts_of(self, name: str) -> tuple[str, ...]:
        """The predictions that are this class, as they are written."""
        if not re.fullmatch(r"-?\d+", name):
            return (name,)
        values = f"SELECT DISTINCT {self.value} AS p FROM evaluated WHERE {EVALUATED_ROWS}"
        rows = self._query(f"SELECT p FROM ({values}) WHERE {_as_labels_are('p')} = {literal(name)} ORDER BY 1")
        return tuple(text for (text,) in rows) or (name,)

    def classes(self, limit: int = 1000) -> list[ClassScore]:
        """Each class among labels or predictions, those with the most labels first."""
        rows = self._query(f"{self._by_class} ORDER BY 2 DESC, 3 DESC, 1 LIMIT {limit:d}")
        return [ClassScore(name, int(labelled), int(predicted), int(correct)) for name, labelled, predicted, correct in rows]

    @property
    def _pairs(self) -> str:
        """SQL: how many rows (n) have each label (l) and prediction (p), this one spelled as the labels are."""
        pairs = f"SELECT Label, {self.value} AS p, Verdict, count(*) AS n FROM evaluated WHERE {EVALUATED_ROWS} GROUP BY ALL"
        return (
            f"SELECT Label AS l, CASE WHEN Verdict = '{Verdict.CORRECT}' THEN Label ELSE {_as_labels_are('p')} END AS p, n FROM ({pairs})"
        )

    @property
    def _by_class(self) -> str:
        """SQL: of each class how often it is the label, how often predicted, how often both."""
        return (
            f"WITH spelled AS ({self._pairs})"
            " SELECT name, sum(l) AS labelled, sum(p) AS predicted, sum(c) AS correct"
            " FROM (SELECT l AS name, n AS l, 0 AS p, 0 AS c FROM spelled"
            " UNION ALL SELECT p, 0, n, 0 FROM spelled UNION ALL SELECT l, 0, 0, n FROM spelled WHERE l = p) GROUP BY 1"
        )

    @cached_property
    def macro_f1(self) -> float:
        """The mean of the F1 of all classes among labels or predictions, each counted alike: scikit-learn's `average="macro"`."""
        mean = self._query(f"SELECT avg(2 * correct / (predicted + labelled)) FROM ({self._by_class})")[0][0]
        return math.nan if mean is None else float(mean)

    def by_folder(self, limit: int = 1000) -> list[tuple[str, int, int, float]]:
        """(folder, evaluated rows, wrong ones, mean absolute error or nan), the one with the largest share of
        wrong rows, or the largest mean, first."""
        order = "4 DESC NULLS LAST" if self.of_numbers else "wrong / count(*) DESC"
        rows = self._query(
            f"SELECT {quoted(self._own['Folder'])} AS folder, count(*), count(*) FILTER (Verdict = '{Verdict.WRONG}') AS wrong,"
            f" avg(abs(Residual)) FROM evaluated WHERE {EVALUATED_ROWS} GROUP BY 1 ORDER BY {order}, 2 DESC, 1 LIMIT {limit:d}"
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

    def residual_grid(self, across: int = 40, down: int = 30) -> ResidualGrid | None:
        """Rows by prediction and residual; None where no residual is known. The outermost 0.1 % on each side are in the outermost bins."""
        number = number_of(self.of, self._own)
        ends = [
            f"approx_quantile({value}, 0.001), approx_quantile({value}, 0.999), min({value}), max({value})"
            for value in (number, "Residual")
        ]
        found = self._query(f"SELECT {', '.join(ends)} FROM evaluated WHERE Residual IS NOT NULL")[0]
        if found[0] is None:
            return None
        edges, places = [], []
        for value, bins, quantiles in ((number, across, found[:4]), ("Residual", down, found[4:])):
            low, high = quantiles[:2] if quantiles[0] < quantiles[1] else quantiles[2:]
            width = (high - low) / bins or 1.0
            edges.append(tuple(low + place * width for place in range(bins + 1)))
            places.append(f"greatest(0, least({bins - 1}, floor(({value} - {low!r}::DOUBLE) / {width!r}::DOUBLE)))::INTEGER")
        rows = self._query(f"SELECT {places[0]}, {places[1]}, count(*) FROM evaluated WHERE Residual IS NOT NULL GROUP BY 1, 2")
        counts = [[0] * across for _ in range(down)]
        for x, y, count in rows:
            counts[y][x] = count
        return ResidualGrid(edges[0], edges[1], tuple(map(tuple, counts)))

    def unmatched_labels(self, first: int = 0, count: int = 100) -> list[tuple[str, str, str]]:
        """Labels that belong to no row: (name, label, the UnmatchedLabel)."""
        return self._query(f"SELECT Name, Label, Why FROM unmatched_labels LIMIT {count:d} OFFSET {first:d}")

    def unmatched_label_count(self) -> int:
        return int(self._query("SELECT count(*) FROM unmatched_labels")[0][0])


def _as_labels_are(text: str) -> str:
    """SQL: a prediction as `label_file` spells labels: 7.0 is the class 7."""
    return rf"regexp_replace({text}, '^(-?\d+)\.0+$', '\1')"


def _by_value(name: str) -> tuple[bool, float, str]:
    try:
        number = float(name)
    except ValueError:
        return True, 0.0, name
    return math.isnan(number), number, name


def cell(label: str, predictions: Sequence[str], of: str = "Prediction") -> Filter:
    """The rows of the joined table behind one cell of the confusion matrix; `predictions` are `Evaluation.texts_of` the predicted class."""
    true = Condition("Label", Operator.ONE_OF, (label,))
    if of == "Prediction":
        return Filter(classes=tuple(predictions), conditions=(true,))
    return Filter(conditions=(true, Condition(of, Operator.ONE_OF, tuple(predictions))))


def verdict_is(verdict: Verdict) -> Filter:
    """The rows of the joined table with this verdict, failed items among them."""
    return Filter(conditions=(Condition("Verdict", Operator.ONE_OF, (verdict,)),), statuses=tuple(Status))

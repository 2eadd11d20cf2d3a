"""Two runs side by side: what was set differently, how the classes are mixed, which predictions changed, and whether they drift.

The rows of the newer run get the older one's prediction of the same file beside them; that is a table of predictions again, with the
columns COMPARED. A file with several rows is compared row by row: by their numbers, or where these aren't known in their order. Where
predictions hold several values, one column of theirs is compared: a score that moved in its last digit is not a changed class.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.domain import Run, RunStatus
from services.predictions.columns import MOST_CLASSES, NUMERIC, ROW_NUMBER, Kind, Status, literal, names_beside, parquet_file, quoted
from services.predictions.drift import Drift, drift_of_classes, drift_of_numbers
from services.predictions.evaluation import Evaluation, evaluate, evaluated_column
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.join import JoinedTable, copy_beside, join_once, joined_by, number_of, same_items_in_order, same_number, text_of
from services.predictions.label_file import Labels
from services.predictions.reader import Predictions, open_predictions

if TYPE_CHECKING:
    import duckdb

COMPARED = ("Before", "Change", "Difference")
"""The columns beside the table's own: the older run's prediction, how it changed, and now minus before, of numbers."""
_MOST_CLASSES = 1000


class Change(StrEnum):
    """How a row's prediction changed since the older run."""

    SAME = "same"
    CHANGED = "changed"
    GAINED = "predicted now"
    LOST = "not predicted now"
    NEITHER = "predicted in neither"
    NEW = "not in the older run"


_CONTENTS = {
    "script": "scoring script", "files beside the script": "", "source_directory": "source directory", "model": "model",
    "dataset": "dataset", "side_inputs": "", "environment": "environment",
}  # fmt: skip
"""What has content of its own: its name among `Provenance.inputs`, and what it is called below."""
_CHANGED_FILES = "changed files"
"""The input that a run has only where files of its datasets were not what they were when registered."""


def likely_pair(runs: Sequence[Run], of: Run | None = None) -> tuple[Run, Run]:
    """(older, newer) of at least two runs, the newest first: those that a person most likely wants to compare, or that run and the most
    alike one. Runs over the same dataset come before others, completed ones before others, then those with the same script and model, and
    at last the newest. An earlier run comes before a later one."""
    if of is None:
        with_rows = [run for run in runs if run.status is RunStatus.COMPLETED] or runs
        of = next((run for run in with_rows if any(_alike(run, other) for other in with_rows if other is not run)), with_rows[0])
    others = [run for run in runs if run.id != of.id]
    best = max(others, key=lambda other: (*_likeness(of, other), is_before(other, of)))  # max takes the first, the newest, of equals
    return (best, of) if is_before(best, of) else (of, best)


def is_before(run: Run, other: Run) -> bool:
    """Whether it is the older of the two."""
    return (run.submitted_at, run.id) < (other.submitted_at, other.id)


def _alike(run: Run, other: Run) -> bool:
    return run.request.datasets == other.request.datasets and run.request.script_name == other.request.script_name


def _likeness(run: Run, other: Run) -> tuple[bool, ...]:
    a, b = run.request, other.request
    same = (a.script_name == b.script_name, a.models == b.models)
    return (a.datasets == b.datasets, other.status is RunStatus.COMPLETED, bool(other.items_succeeded), *same)


def settings_that_differ(
    older: Run, newer: Run, older_inputs: Mapping[str, str] | None = None, newer_inputs: Mapping[str, str] | None = None
) -> list[tuple[str, str, str]]:
    """(what, in the older run, in the newer one), of all of the request; and what is called the same but has other content, by the
    beginning of its SHA-256, or can't be compared: `Provenance.inputs` of both."""
    whole_paths = older.request.script_name == newer.request.script_name  # then it is the folder that differs
    before, after = (_configuration(run, run.request.entry_script if whole_paths else run.request.script_name) for run in (older, newer))
    names = [*before, *(name for name in after if name not in before)]
    differ = [(name, before.get(name, ""), after.get(name, "")) for name in names if before.get(name, "") != after.get(name, "")]
    renamed, then, now = {name for name, _, _ in differ}, older_inputs or {}, newer_inputs or {}
    for name, part in _CONTENTS.items():
        comparable = part not in renamed and name in then and name in now
        if comparable and (then[name] != now[name] or not _is_digest(now[name])):
            what = name.replace("beside", "next to").replace("_", " ")
            differ.append((f"content of the {what}", _short_digest(then[name]), _short_digest(now[name])))
    if "dataset" not in renamed and then.get(_CHANGED_FILES) != now.get(_CHANGED_FILES):
        before_state, state = (_short_digest(inputs.get(_CHANGED_FILES, "none")) for inputs in (then, now))
        differ.append(("files of the dataset, changed since it was registered", before_state, state))
    return differ


def _is_digest(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _short_digest(value: str) -> str:
    """The beginning of a SHA-256; the whole reason where there is none; "nothing" where no files are next to a script."""
    if value == hashlib.sha256().hexdigest():
        return "nothing"
    return value[:8] if _is_digest(value) else value


def _configuration(run: Run, script: str) -> dict[str, str]:
    request = run.request
    parts: dict[str, Any] = {
        "model": ", ".join(request.models),
        "dataset": ", ".join(request.datasets),
        "scoring script": script,
        "source directory": request.source_directory or "",
        "arguments": " ".join(request.arguments),
        "environment": request.environment or "",
        "compute target": request.compute_target or "",
        **{f"side input {name}": reference for name, reference in request.side_inputs.items()},
        **request.settings.as_dict(),
    }
    return {name: str(value) for name, value in parts.items() if value not in ("", None)}


def comparable_columns(older: Predictions, newer: Predictions) -> list[str]:
    """The columns that hold predictions, or a part of them, in both runs; the prediction itself is the first."""
    return ["Prediction", *(name for name in newer.further_columns if name in older.further_columns)]


def compared_column(older: Predictions, newer: Predictions, preferred: str = "") -> str:
    """The column whose values are compared: the one that true labels would evaluate (see evaluated_column), where both runs have it."""
    of = evaluated_column(newer, preferred)
    return of if of in comparable_columns(older, newer) else "Prediction"


def compare(older: Predictions, newer: Predictions, older_id: str, of: str = "") -> Comparison:
    """Join them, unless that was done already. Runs over the same files in the same order take 0.7 µs a row, others about 2; memory stays
    constant. `of`: see compared_column. Raises WorkspaceUnavailable where the joined table can't be written.
    """
    of = compared_column(older, newer, of)
    beginning = f"compared-{joined_by(older_id, of)}-"
    target = newer.path.with_name(f"{beginning}{older.path.stem}-{newer.path.stem}.parquet")
    join_once(target, beginning, _gone_of(target), partial(_join, older, newer, of))
    return Comparison(target, older, newer, of)


def judged_pair(older: Predictions, newer: Predictions, older_id: str, labels: Labels, of: str = "") -> Evaluation:
    """The newer run's rows with the older one's predictions and the true labels beside them; both are judged, the older one in the columns
    evaluation.BEFORE. `of` and what is raised: see compare."""
    compared = compare(older, newer, older_id, of)
    return evaluate(open_predictions(compared.path), labels, compared.of, before=True)


def _gone_of(compared: Path) -> Path:
    """The rows that only the older run has."""
    return compared.with_name(f"gone-{compared.name}")


def _join(older: Predictions, newer: Predictions, of: str, database: duckdb.DuckDBPyConnection, target: Path, gone: Path) -> None:
    columns_before = f"File, {text_of(of, older.columns[of])} AS p, {number_of(of, older.own)} AS n, true AS there"
    text, number = text_of(of, newer.columns[of], "t."), number_of(of, newer.own, "t.")
    numbers = _numbers_of_rows(older, newer)
    if same_items_in_order(database, older.path, newer.path, numbers):
        database.execute(f"CREATE TEMP VIEW beside AS SELECT {columns_before} FROM {parquet_file(older.path)}")
        database.execute("CREATE TEMP VIEW only_older AS SELECT File, p AS Before FROM beside WHERE false")
    else:
        database.execute("SET preserve_insertion_order = false")
        older_number, newer_number = numbers or ("", "")
        database.execute(f"CREATE TEMP VIEW now AS {_keyed(database, newer.path, 'File', newer_number)}")
        database.execute(f"CREATE TEMP VIEW before AS {_keyed(database, older.path, columns_before, older_number)}")
        database.execute(
            "CREATE TEMP TABLE beside AS SELECT b.p, b.n, b.there FROM now LEFT JOIN before b ON b.File = now.File AND b.key = now.key"
            " ORDER BY now.row"
        )
        database.execute(
            "CREATE TEMP VIEW only_older AS SELECT File, p AS Before FROM before b"
            " ANTI JOIN now ON now.File = b.File AND now.key = b.key ORDER BY row"
        )
    change = (
        f"CASE WHEN b.there IS NULL THEN '{Change.NEW}' WHEN {text} IS NULL AND b.p IS NULL THEN '{Change.NEITHER}'"
        f" WHEN {text} IS NULL THEN '{Change.LOST}' WHEN b.p IS NULL THEN '{Change.GAINED}'"
        f" WHEN {text} = b.p OR {same_number(text, number, 'b.p', 'b.n')} THEN '{Change.SAME}' ELSE '{Change.CHANGED}' END"
    )
    database.execute(f"COPY (FROM only_older) TO {literal(str(gone))} (FORMAT parquet)")
    database.execute("SET preserve_insertion_order = true")
    columns = {"Before": (Kind.CATEGORY, "b.p"), "Change": (Kind.CATEGORY, change), "Difference": (Kind.NUMBER, f"{number} - b.n")}
    copy_beside(database, newer.path, columns, "beside", target)


def _numbers_of_rows(older: Predictions, newer: Predictions) -> tuple[str, str] | None:
    """The columns with the rows' numbers in their files, of both tables, where both know them."""
    names = older.own.get(ROW_NUMBER), newer.own.get(ROW_NUMBER)
    if names[0] and names[1] and older.holds(names[0]) and newer.holds(names[1]):
        return names[0], names[1]
    return None


def _keyed(database: duckdb.DuckDBPyConnection, table: Path, columns: str, number: str) -> str:
    """A query of the table's rows; `key` tells the rows of one file apart, by the column `number` where there is one. Those without a
    number have their order, as negative numbers."""
    if number:
        numbers, unnumbered = parquet_file(table, row_numbers=True), "row_number() OVER (PARTITION BY File ORDER BY file_row_number)"
        has_all = database.execute(f"SELECT count(*) = count({quoted(number)}) FROM {parquet_file(table)}").fetchall()[0][0]
        query = f"SELECT {columns}, {quoted(number)} AS key, file_row_number AS row FROM {numbers}"
        if has_all:
            return query
        others = f"SELECT {columns}, -{unnumbered} AS key, file_row_number AS row FROM {numbers} WHERE {quoted(number)} IS NULL"
        return f"{query} WHERE {quoted(number)} IS NOT NULL UNION ALL {others}"
    count, distinct = database.execute(f"SELECT count(*), count(DISTINCT hash(File)) FROM {parquet_file(table)}").fetchall()[0]
    key = "1" if count == distinct else "row_number() OVER (PARTITION BY File ORDER BY file_row_number)"
    return f"SELECT {columns}, {key} AS key, file_row_number AS row FROM {parquet_file(table, row_numbers=True)}"


class Comparison(JoinedTable):
    """The result, read from the joined table at `path`. Safe to use from several threads."""

    def __init__(self, path: Path, older: Predictions, newer: Predictions, of: str) -> None:
        views = {"compared": f"FROM {parquet_file(path)}", "gone": f"FROM {parquet_file(_gone_of(path))}"}
        for name, table in (("older", older), ("newer", newer)):
            compared = f"{text_of(of, table.columns[of])} AS Prediction, {number_of(of, table.own)} AS Number"
            views[name] = f"SELECT {compared} FROM {parquet_file(table.path)}"
        super().__init__(path, views)
        self._older, self._newer, self._own = older, newer, of
        self.of = names_beside(newer.columns, COMPARED)[of]
        """The column that is compared, as the joined table calls it."""

    @cached_property
    def changes(self) -> dict[Change, int]:
        """How many rows of the newer run have each Change."""
        counts = dict(self._query("SELECT Change, count(*) FROM compared GROUP BY 1"))
        return {change: counts.get(change, 0) for change in Change}

    @cached_property
    def gone(self) -> int:
        """How many rows only the older run has."""
        return int(self._query("SELECT count(*) FROM gone")[0][0])

    def gone_rows(self, first: int = 0, count: int = 100) -> list[tuple[str, str | None]]:
        """Those rows: (file, the older run's prediction)."""
        return self._query(f"SELECT File, Before FROM gone LIMIT {count:d} OFFSET {first:d}")

    def transitions(self, limit: int = 100) -> list[tuple[str, str, int]]:
        """(from, to, rows) of the changed predictions, the most frequent first."""
        return self._query(
            f"SELECT Before, {text_of(self.of, self._newer.columns[self._own])}, count(*) FROM compared WHERE Change = '{Change.CHANGED}'"
            f" GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {limit:d}"
        )

    @property
    def of_numbers(self) -> bool:
        """Whether both runs predicted quantities."""
        return self._kinds[0] in NUMERIC and self._kinds[1] in NUMERIC

    @cached_property
    def _kinds(self) -> tuple[Kind, Kind]:
        """What the compared values are, of the older run and of the newer one."""
        if self._own == "Prediction":
            return self._older.kind, self._newer.kind
        kinds = self._older.columns[self._own], self._newer.columns[self._own]
        both = "(SELECT Prediction FROM older UNION ALL SELECT Prediction FROM newer)"
        if {*kinds} == {Kind.WHOLE_NUMBER} and self._query(f"SELECT count(DISTINCT Prediction) <= {MOST_CLASSES} FROM {both}")[0][0]:
            return Kind.CATEGORY, Kind.CATEGORY
        return kinds

    def class_mix(self, limit: int = _MOST_CLASSES) -> list[tuple[str, int, int]]:
        """(class, rows in the older run, rows in the newer one), the most frequent first."""
        return self._query(
            "SELECT Prediction, sum(b)::BIGINT, sum(n)::BIGINT FROM (SELECT Prediction, 1 AS b, 0 AS n FROM older"
            " UNION ALL SELECT Prediction, 0, 1 FROM newer) WHERE Prediction IS NOT NULL"
            f" GROUP BY 1 ORDER BY greatest(sum(b), sum(n)) DESC, 1 LIMIT {limit:d}"
        )

    def drift(self) -> Drift | None:
        """Whether the predictions as a whole moved. None for texts of all sorts, or where one run has numbers and the other classes."""
        if self.of_numbers:
            return drift_of_numbers(self._query)
        if {*self._kinds} & {*NUMERIC, Kind.TEXT} and self._kinds[0] is not self._kinds[1]:
            return None
        mix = self.class_mix(_MOST_CLASSES + 1)
        return drift_of_classes(mix) if 0 < len(mix) <= _MOST_CLASSES else None


def changed(before: str | None = None, now: str | None = None, of: str = "Prediction") -> Filter:
    """The rows of the joined table whose prediction changed; from `before` and to `now` where these are given."""
    conditions = [Condition("Change", Operator.ONE_OF, (Change.CHANGED,))]
    if before is not None:
        conditions.append(Condition("Before", Operator.ONE_OF, (before,)))
    if now is not None and of != "Prediction":
        conditions.append(Condition(of, Operator.ONE_OF, (now,)))
        now = None
    return Filter(classes=() if now is None else (now,), conditions=tuple(conditions))


def change_is(change: Change) -> Filter:
    """The rows of the joined table with this Change, failed items among them where these can have it."""
    chosen = Filter(conditions=(Condition("Change", Operator.ONE_OF, (change,)),))
    return chosen if change in (Change.SAME, Change.CHANGED, Change.GAINED) else replace(chosen, statuses=tuple(Status))

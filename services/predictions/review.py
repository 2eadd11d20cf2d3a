"""A queue of rows for a person to accept or correct, the least certain first, and the decisions.

The rows that a model is least sure of are where its errors are (uncertainty sampling, the *least confident* strategy: modAL's
`uncertainty_sampling`, Argilla's and Label Studio's queues). What is reviewed is kept as annotations, whose label is the right one: the
prediction itself where it was accepted. It goes out as a file of labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.predictions.annotations import Annotation, Annotations
from services.predictions.columns import NUMERIC, ROW_NUMBER, Kind, quoted
from services.predictions.evaluation import evaluated_column
from services.predictions.filters import EVERY_PREDICTION, EVERY_ROW, Filter
from services.predictions.reader import Predictions
from services.run_details import RowKey

MOST_QUEUED = 500
"""Rows of a queue: more than a person reviews at one sitting."""
TABLE_ORDER = "The table's order"
_NEAR_A_HALF = " nearest to 0.5"
_PROBABILITIES = ("probability", "confidence", "certainty", "proba", "score")
_MOST_CLASSES = 50


class Decision(StrEnum):
    """What a person said of a row."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class QueuedRow:
    """A row of the queue: `number` is its place in the table, from 0; `prediction` the text that is accepted or corrected; `certainty` None
    where the queue goes by no number, or the row has none."""

    number: int
    key: RowKey
    prediction: str
    certainty: float | None

    def decision(self, annotations: Annotations) -> Decision:
        annotation = annotations.get(self.key)
        if annotation is None or not annotation.label:
            return Decision.OPEN
        return Decision.ACCEPTED if annotation.label == self.prediction else Decision.CORRECTED


def orders(table: Predictions) -> dict[str, str]:
    """By what a queue can go: what it is called, and SQL that is least for the rows to review first. The first is the best guess at how
    certain a prediction is; the table's own order, where nothing says it.

    A probability of the prediction itself is taken as it is; of two classes the probability of one, which may be below a half, by how far
    it is from a half; probabilities of each class by the greatest of them.
    """
    found: dict[str, str] = {}
    numbers = [name for name in table.further_columns if table.columns[name] in NUMERIC]
    shares = [name for name in numbers if table.columns[name] is Kind.NUMBER and _is_probability(name) and _within(table, name)]
    if plain := next((name for wanted in _PROBABILITIES for name in shares if name.casefold() == wanted), ""):
        of_one_class = _least(table, plain) < 0.5 and len(table.facet(evaluated_column(table), limit=3)) == 2
        found |= {f"Least certain: {plain}{_NEAR_A_HALF}": f"abs({table.finite_name(plain)} - 0.5)"} if of_one_class else {}
        found |= {} if of_one_class else {f"Least certain: {plain}": table.finite_name(plain)}
    elif len(shares) > 1:
        found |= {"Least certain: the greatest probability": f"greatest({', '.join(map(table.finite_name, shares))})"}
    elif shares:
        found |= {f"Least certain: {shares[0]}": table.finite_name(shares[0])}
    elif table.kind is Kind.NUMBER and _within(table, table.own["Number"]):
        found |= {f"Least certain: prediction{_NEAR_A_HALF}": f"abs({table.finite_name(table.own['Number'])} - 0.5)"}
    found |= {TABLE_ORDER: ""}
    for name in [*([table.own["Number"]] if table.kind in NUMERIC else []), *numbers]:
        shown = "Prediction" if name == table.own["Number"] else name
        found |= {f"Lowest {shown}": table.finite_name(name), f"Highest {shown}": f"-({table.finite_name(name)})"}
    return found


def describe_certainty(order: str, value: float) -> str:
    """`probability 0.51`: the number by which a row has its place in this one of `orders`."""
    column = re.sub("^(Least certain: (the )?|Lowest |Highest )", "", order)
    if (near := column.removesuffix(_NEAR_A_HALF)) != column:
        return f"{near} {value:.4g} from 0.5"
    return f"{column} {-value if order.startswith('Highest ') else value:.4g}"


def _is_probability(name: str) -> bool:
    return any(word in name.casefold() for word in _PROBABILITIES)


def _least(table: Predictions, column: str) -> float:
    least = table.rows(f"min({table.finite_name(column)})", EVERY_PREDICTION)[0][0]
    return 0.0 if least is None else float(least)


def _within(table: Predictions, column: str) -> bool:
    """Whether its numbers lie between 0 and 1."""
    x = table.finite_name(column)
    return bool(table.rows(f"count({x}) > 0 AND min({x}) >= 0 AND max({x}) <= 1", EVERY_PREDICTION)[0][0])


def queue(table: Predictions, filter_: Filter = EVERY_PREDICTION, order: str = "", most: int = MOST_QUEUED) -> list[QueuedRow]:
    """The first `most` of the rows that are filtered, in an order of `orders` (its SQL, "" for the table's own). One scan, once."""
    of = quoted(evaluated_column(table))
    mini_batch, place = quoted(table.own["Mini-batch"]), quoted(table.own["Place"])
    by = f"({order}) NULLS LAST, file_row_number" if order else "file_row_number"
    columns = f"file_row_number, File, {mini_batch}, {place}, {of}::VARCHAR, {order or 'NULL'}::DOUBLE"
    rows = table.rows(columns, filter_, f"AND {of} IS NOT NULL ORDER BY {by} LIMIT $most", most=most)
    return [QueuedRow(number, RowKey(file, batch, at), text, certainty) for number, file, batch, at, text, certainty in rows]


def next_open(rows: Sequence[QueuedRow], annotations: Annotations, after: int) -> int | None:
    """The place of the first row without a decision behind this place, else before it; None where all have one."""
    places = [*range(after + 1, len(rows)), *range(min(after + 1, len(rows)))]
    return next((place for place in places if rows[place].decision(annotations) is Decision.OPEN), None)


def classes_of(table: Predictions) -> list[str]:
    """The classes that a prediction may be corrected to, digits in their order, others the most frequent first; none where predictions are
    numbers, or too many to choose from."""
    of = evaluated_column(table)
    if (table.kind if of == "Prediction" else table.columns[of]) in (Kind.NUMBER, Kind.DATE):
        return []
    counts = table.facet(of, limit=_MOST_CLASSES + 1)
    if len(counts) > _MOST_CLASSES:
        return []
    classes = [str(value) for value, _ in counts if value not in (None, "")]
    return sorted(classes) if _are_digits(classes) else classes


def keys_of(classes: Sequence[str]) -> Mapping[str, str]:
    """The key that chooses each class: its own digit where all are digits, else 1 to 9 for the first nine."""
    if _are_digits(classes):
        return {name: name for name in classes}
    return {name: str(number) for number, name in enumerate(classes[:9], 1)}


def _are_digits(classes: Sequence[str]) -> bool:
    return all(len(name) == 1 and name in "0123456789" for name in classes)


def reviewed_rows(table: Predictions, annotations: Annotations) -> tuple[list[str], Iterator[tuple[object, ...]]]:
    """The columns and rows of a file of labels, of all rows that have one: whose it is, what was predicted, the label, the note. A row that
    the table no longer has is left out. Where items are rows and its number isn't known, it says so: a label without a number would be that
    of all rows of its file."""
    labelled: dict[RowKey, Annotation] = {key: annotation for key, annotation in annotations.items() if annotation.label}
    number = table.own.get(ROW_NUMBER)
    own = [quoted(table.own[name]) for name in ("Mini-batch", "Place")]
    columns = ["File", *([number] if number else []), "Prediction", "Label", "Note"]
    expressions = ["File", *own, *([quoted(number)] if number else []), f"{quoted(evaluated_column(table))}::VARCHAR"]
    wanted = (
        "AND EXISTS (SELECT 1 FROM (SELECT unnest($files) AS f, unnest($mini_batches) AS m, unnest($places) AS p) AS k"
        f" WHERE k.f = File AND k.m = {own[0]} AND k.p = {own[1]}) ORDER BY file_row_number"
    )
    values = {
        "files": [key.file for key in labelled],
        "mini_batches": [key.mini_batch for key in labelled],
        "places": [key.place for key in labelled],
    }
    rows: Iterable[tuple[object, ...]] = table.rows(", ".join(expressions), EVERY_ROW, wanted, **values) if labelled else []

    def lines() -> Iterator[tuple[object, ...]]:
        for file, mini_batch, place, *rest in rows:
            annotation = labelled[RowKey(str(file), int(str(mini_batch)), int(str(place)))]
            if number and rest[0] is None:
                rest[0] = "unknown"
            yield (file, *rest, annotation.label, annotation.note)

    return columns, lines()

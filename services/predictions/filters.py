"""Which rows of a table of predictions, and in which order: as a value that a URL can hold, as words, as SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from services.errors import SettingsError
from services.predictions.matching import Status
from services.predictions.writer import Kind, readable

PREDICTED = (Status.SUCCEEDED, Status.UNMATCHED)


class Operator(StrEnum):
    """What a condition asks of a column's value."""

    __test__ = False  # pytest would collect it

    CONTAINS = "contains"
    """In any case."""
    STARTS = "starts with"
    GLOB = "glob"
    """The whole value against `*`, `?` and `[...]`."""
    ONE_OF = "one of"
    FROM = "from"
    """Itself included, as with `TO`. Of a date (ISO 8601) the whole day."""
    TO = "to"
    EMPTY = "empty"
    """There is no value, or a text of no characters."""


_COMPARED = 3  # values
_TYPED = {Kind.WHOLE_NUMBER: "HUGEINT", Kind.NUMBER: "DOUBLE", Kind.DATE: "TIMESTAMP"}


@dataclass(frozen=True)
class Condition:
    """One column's value, tested. `values` are the texts of ONE_OF, of which one must be the value, or the one of the other tests."""

    column: str
    test: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """Which rows of the table. What is left out filters nothing; the default is every prediction.

    `text` is a substring of file or prediction in any case, `classes` are exact predictions, `minimum` and `maximum` bound the number
    (both included), `conditions` must hold all together, `where` is a SQL condition over the table's columns. Items that failed are there
    only when `statuses` says so.
    """

    text: str = ""
    classes: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    where: str = ""
    statuses: tuple[str, ...] = PREDICTED
    conditions: tuple[Condition, ...] = ()

    def without(self, column: str) -> Filter:
        """The same but for what it asks of this column: what a facet counts under."""
        kept = replace(self, conditions=tuple(one for one in self.conditions if one.column != column))
        if column == "Prediction":
            return replace(kept, classes=())
        return replace(kept, statuses=tuple(Status)) if column == "Status" else kept

    def to_text(self) -> str:
        """JSON for a URL or a saved view; "" for every prediction."""
        values = {name: value for name, value in vars(self).items() if value != getattr(EVERY_PREDICTION, name)}
        if self.conditions:
            values["conditions"] = [[one.column, one.test, *one.values] for one in self.conditions]
        return json.dumps(values, ensure_ascii=False) if values else ""

    @classmethod
    def from_text(cls, text: str) -> Filter:
        """Raises SettingsError("filter", ...) for anything that `to_text` doesn't write."""
        try:
            values: dict[str, Any] = json.loads(text) if text else {}
            for name in ("classes", "statuses"):
                if name in values:
                    values[name] = tuple(map(str, values[name]))
            conditions = [Condition(str(column), Operator(test), tuple(map(str, of))) for column, test, *of in values.pop("conditions", ())]
            made = cls(**values, conditions=tuple(conditions))
            bounds = (made.minimum, made.maximum)
            right = all(isinstance(value, str) for value in (made.text, made.where))
            if not right or not all(bound is None or isinstance(bound, int | float) for bound in bounds):
                raise ValueError("a value of the wrong type")
            return replace(made, statuses=tuple(Status(status) for status in made.statuses))
        except (ValueError, TypeError, RecursionError) as error:
            raise SettingsError("filter", f"this filter can't be read: {error}", "Set it anew.") from error

    def describe(self) -> str:
        """For a file name and a provenance file: `cat, dog · File contains 7 · score from 0.5`. "" for every prediction."""
        words = [", ".join(self.classes), f"contains {self.text}" if self.text else ""]
        if self.minimum is not None or self.maximum is not None:
            words.append(f"{'' if self.minimum is None else self.minimum} to {'' if self.maximum is None else self.maximum}".strip())
        words += [f"{one.column} {one.test} {', '.join(one.values)}".strip() for one in self.conditions]
        words.append(self.where)
        if set(self.statuses) != set(PREDICTED):
            words.append(", ".join(self.statuses))
        return " · ".join(filter(None, words))


EVERY_PREDICTION = Filter()
EVERY_FAILURE = Filter(statuses=(Status.FAILED,))
EVERY_ROW = Filter(statuses=tuple(Status))


@dataclass(frozen=True)
class Order:
    """By one column; rows alike in it stay in the order of the table, or descending in its reverse, and rows without a value come last. The
    default is the table's own: mini-batches, and in each its items."""

    column: str = ""
    descending: bool = False

    def to_text(self) -> str:
        """For a URL: `score`, `-score`, "" for the table's own."""
        return f"{'-' if self.descending else '+' if self.column[:1] in '+-' and self.column else ''}{self.column}"

    @classmethod
    def from_text(cls, text: str) -> Order:
        return cls(text[1:] if text[:1] in ("+", "-") else text, text[:1] == "-")


TABLE_ORDER = Order()


@dataclass(frozen=True)
class TableStatistics:
    """What is known of a table's values, so that less has to be looked at. `classes` are all its predictions, None where they are many;
    `lower_files` says that no file name has an upper-case letter; `statuses` are those that rows have; `failed_say_nothing` that exactly
    the items that failed have no prediction."""

    columns: Mapping[str, Kind]
    classes: tuple[str, ...] | None = None
    lower_files: bool = False
    statuses: tuple[str, ...] = tuple(Status)
    failed_say_nothing: bool = False


def condition(filter_: Filter, known: TableStatistics) -> tuple[str, dict[str, Any]]:
    """A filter as a SQL condition over the table's columns, and the values of its parameters. Raises SettingsError("filter", ...), and
    duckdb.Error for a `where` that isn't one expression."""
    import duckdb

    conditions = []
    if not (set(filter_.statuses) >= set(known.statuses) or (filter_.classes and known.failed_say_nothing and leaves_predictions(filter_))):
        conditions.append(f"Status IN ({', '.join(literal(Status(status)) for status in filter_.statuses) or 'NULL'})")
    values: dict[str, Any] = {}
    if filter_.text:
        told, more = _anywhere_in_file_or_prediction(readable(filter_.text), known)
        conditions.append(told)
        values |= more
    if filter_.classes:
        told, more = _one_of("Prediction", "VARCHAR", filter_.classes, "classes")
        conditions.append(told)
        values |= more
    for name, operator in (("minimum", ">="), ("maximum", "<=")):
        if (bound := getattr(filter_, name)) is not None:
            conditions.append(f"Number {operator} ${name}")
            values[name] = bound
    for number, one in enumerate(filter_.conditions):
        if one.column not in known.columns:
            raise SettingsError("filter", f"this table has no column “{one.column}”", f"Its columns are {', '.join(known.columns)}.")
        told, more = _tested(one, known.columns[one.column], f"value_{number}")
        conditions.append(told)
        values |= more
    if filter_.where:
        where = readable(filter_.where)
        duckdb.SQLExpression(where)  # raises unless it is one expression by itself: no `1=1) UNION SELECT (...`
        conditions.append(f"({where}\n)")
    return " AND ".join(conditions) or "true", values


def _anywhere_in_file_or_prediction(text: str, known: TableStatistics) -> tuple[str, dict[str, Any]]:
    """A substring in any case. ILIKE takes twice as long as `contains`, so it is used where case can matter."""
    values: dict[str, Any] = {}
    if text == text.lower() == text.upper() or known.lower_files:
        in_file = "contains(File, lower($text))"
        values["text"] = text
    else:
        in_file = "File ILIKE $pattern ESCAPE '\\'"
        values["pattern"] = _anywhere(text)
    if known.classes is None:
        values["pattern"] = _anywhere(text)
        return f"({in_file} OR Prediction ILIKE $pattern ESCAPE '\\')", values
    if classes := [name for name in known.classes if text.lower() in name.lower()]:
        in_prediction, more = _one_of("Prediction", "VARCHAR", classes, "containing")
        return f"({in_file} OR {in_prediction})", values | more
    return in_file, values


def _one_of(column: str, type_: str, texts: Sequence[str], name: str) -> tuple[str, dict[str, Any]]:
    """A few values are compared one by one. More of them are joined, which loses the order of the rows: see `keeps_order`."""
    values = [readable(text) for text in texts]
    if len(values) > _COMPARED:
        cast = "unnest" if type_ == "VARCHAR" else "TRY_CAST(unnest"
        return f"{column} IN (SELECT {cast}(${name}::VARCHAR[]){'' if type_ == 'VARCHAR' else f' AS {type_})'})", {name: values}
    equal = [f"{column} = {f'${name}_{n}' if type_ == 'VARCHAR' else f'TRY_CAST(${name}_{n} AS {type_})'}" for n in range(len(values))]
    return f"({' OR '.join(equal) or 'false'})", {f"{name}_{n}": value for n, value in enumerate(values)}


def leaves_predictions(filter_: Filter) -> bool:
    """Whether nothing that was predicted is left out for its status."""
    return set(filter_.statuses) >= set(PREDICTED)


def keeps_order(filter_: Filter, known: TableStatistics) -> bool:
    """Whether DuckDB gives the rows of this filter in the table's order by itself: where nothing in it is made a join of."""
    return not filter_.where and "(SELECT" not in condition(filter_, known)[0]


def _tested(asked: Condition, kind: Kind, name: str) -> tuple[str, dict[str, Any]]:
    column, type_ = quoted(asked.column), _TYPED.get(kind, "VARCHAR")
    if asked.column == "Prediction":  # text in the table, of whatever kind
        type_ = "VARCHAR"
    text = column if type_ == "VARCHAR" else f"{column}::VARCHAR"
    if asked.test is Operator.EMPTY:
        return f"({column} IS NULL OR {text} = '')", {}
    if asked.test is Operator.ONE_OF:
        return _one_of(column, type_, asked.values, name)
    if len(asked.values) != 1:
        raise SettingsError("filter", f"“{asked.column} {asked.test}” takes one value", "Give one.")
    value = readable(asked.values[0])
    match asked.test:
        case Operator.CONTAINS:
            return f"{text} ILIKE ${name} ESCAPE '\\'", {name: _anywhere(value)}
        case Operator.STARTS:
            return f"starts_with({text}, ${name})", {name: value}
        case Operator.GLOB:
            return f"{text} GLOB ${name}", {name: value}
    operator, bound = bound_of(asked, kind, value)
    return f"{quoted(of_number(asked.column, kind))} {operator} ${name}", {name: bound}


def of_number(column: str, kind: Kind) -> str:
    """The column to compare and to sort by: predictions that are numbers have theirs beside their text."""
    return "Number" if column == "Prediction" and kind in (Kind.NUMBER, Kind.WHOLE_NUMBER) else column


def bound_of(asked: Condition, kind: Kind, value: str) -> tuple[str, Any]:
    """The operator and the typed value of FROM and TO. Raises SettingsError("filter", ...)."""
    operator = ">=" if asked.test is Operator.FROM else "<="
    try:
        if kind is Kind.DATE and asked.test is Operator.TO and len(value) <= 10:
            return "<", datetime.combine(date.fromisoformat(value) + timedelta(days=1), datetime.min.time())
        if kind is Kind.DATE:
            return operator, datetime.fromisoformat(value)
        if kind in (Kind.NUMBER, Kind.WHOLE_NUMBER):
            return operator, int(value) if value.lstrip("-").isdecimal() else float(value)
    except (ValueError, OverflowError) as error:
        noun = "date" if kind is Kind.DATE else "number"
        raise SettingsError("filter", f"“{value}” is no {noun}, as {asked.column} has", f"Give a {noun}.") from error
    return operator, value


def _anywhere(text: str) -> str:
    escaped = readable(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Which rows of a table of predictions, and in which order: as a value that a URL can hold, as a description, as SQL."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from enum import StrEnum
from functools import lru_cache
from typing import Any

from services.errors import SettingsError
from services.predictions.columns import COLUMNS, NUMERIC, Kind, Status, literal, number_column, quoted, readable

PREDICTED = (Status.SUCCEEDED, Status.UNMATCHED)


class Operator(StrEnum):
    """How a condition compares a column's value."""

    CONTAINS = "contains"
    """In any case."""
    STARTS = "starts with"
    GLOB = "glob"
    """The whole value against `*`, `?` and `[...]`."""
    ONE_OF = "one of"
    FROM = "from"
    """Itself included, as with `TO`. Of a date (ISO 8601) the whole day."""
    TO = "to"
    BELOW = "below"
    """As `TO`, but not itself."""
    EMPTY = "empty"
    """There is no value, or a text of no characters."""


_MOST_COMPARED = 3  # values
_EXACT_CHARACTERS = 16  # of a number that a double is sure to hold
_SQL_TYPES = {Kind.WHOLE_NUMBER: "HUGEINT", Kind.NUMBER: "DOUBLE", Kind.DATE: "TIMESTAMP", Kind.TRUTH_VALUE: "BOOLEAN"}


@dataclass(frozen=True)
class Condition:
    """One column's value, compared. `values` are the texts of ONE_OF, of which one must be the value, or the one of the other operators."""

    column: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """Which rows of the table. What is left out filters nothing; the default is every prediction.

    `text` is a substring of file or prediction in any case, `classes` are exact predictions, `minimum` and `maximum` bound the number
    (both included), `conditions` must hold all together, `where` is a SQL condition over the table's columns. Items that failed are there
    only when `statuses` says so, or the `where` of the default statuses speaks of Status, Error or Cause.
    """

    text: str = ""
    classes: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    where: str = ""
    statuses: tuple[str, ...] = PREDICTED
    conditions: tuple[Condition, ...] = ()

    def without(self, column: str) -> Filter:
        """The same without its conditions on this column: what a facet counts under. The statuses stay."""
        others = replace(self, conditions=tuple(condition for condition in self.conditions if condition.column != column))
        return replace(others, classes=()) if column == "Prediction" else others

    def to_text(self) -> str:
        """JSON for a URL or a saved view; "" for every prediction."""
        values = {name: value for name, value in vars(self).items() if value != getattr(EVERY_PREDICTION, name)}
        if self.conditions:
            values["conditions"] = [[condition.column, condition.operator, *condition.values] for condition in self.conditions]
        return json.dumps(values, ensure_ascii=False) if values else ""

    @classmethod
    def from_text(cls, text: str) -> Filter:
        """Raises SettingsError("filter", ...) for anything that `to_text` doesn't write."""
        try:
            values: dict[str, Any] = json.loads(text) if text else {}
            for name in ("classes", "statuses"):
                if name in values:
                    values[name] = tuple(map(str, values[name]))
            conditions = tuple(
                Condition(str(column), Operator(operator), tuple(map(str, texts)))
                for column, operator, *texts in values.pop("conditions", ())
            )
            filter_ = cls(**values, conditions=conditions)
            are_texts = all(isinstance(value, str) for value in (filter_.text, filter_.where))
            bounds = (filter_.minimum, filter_.maximum)
            if not are_texts or not all(bound is None or isinstance(bound, int | float) for bound in bounds):
                raise ValueError("a value of the wrong type")
            return replace(filter_, statuses=tuple(Status(status) for status in filter_.statuses))
        except (ValueError, TypeError, RecursionError) as error:
            raise SettingsError("filter", f"this filter can't be read: {error}", "Set it again.") from error

    def describe(self) -> str:
        """For a file name and a provenance file: `cat, dog · File contains 7 · score from 0.5`. "" for every prediction."""
        parts = [", ".join(self.classes), f"contains {self.text}" if self.text else ""]
        if self.minimum is not None or self.maximum is not None:
            parts.append(f"{'' if self.minimum is None else self.minimum} to {'' if self.maximum is None else self.maximum}".strip())
        parts += [f"{condition.column} {condition.operator} {', '.join(condition.values)}".strip() for condition in self.conditions]
        parts.append(self.where)
        if set(self.statuses) != set(PREDICTED):
            parts.append(", ".join(self.statuses))
        return " · ".join(filter(None, parts))


EVERY_PREDICTION = Filter()
EVERY_FAILURE = Filter(statuses=(Status.FAILED,))
EVERY_ROW = Filter(statuses=tuple(Status))


@dataclass(frozen=True)
class Order:
    """By one column; rows equal in it stay in the order of the table, or descending in its reverse, and rows without a value come last. The
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
    """What is known of a table's values, so that less has to be read. `classes` are all its predictions, None where they are many;
    `lower_files` means that no file name has an upper-case letter; `statuses` are those that rows have; `null_means_failed` means that
    exactly the items that failed have no prediction."""

    columns: Mapping[str, Kind]
    classes: tuple[str, ...] | None = None
    lower_files: bool = False
    statuses: tuple[str, ...] = tuple(Status)
    null_means_failed: bool = False
    own: Mapping[str, str] = field(default_factory=lambda: dict(zip(COLUMNS, COLUMNS, strict=True)))
    """What the table's own columns are called in it: see own_names."""
    exact: Mapping[str, str] = field(default_factory=dict)
    """The SQL types of the columns whose numbers are kept with digits that doubles would lose: BIGINT, or such as DECIMAL(38, 20)."""


Bind = Callable[[str, Any], str]
"""SQL for a value: of (a name, the value), a parameter of that name or the value spelled out."""


def condition(filter_: Filter, statistics: TableStatistics) -> tuple[str, dict[str, Any]]:
    """A filter as a SQL condition over the table's columns, and the values of its parameters. Raises as `condition_with`."""
    values: dict[str, Any] = {}

    def parameter(name: str, value: Any) -> str:
        values[name] = value
        return f"${name}"

    return condition_with(parameter, filter_, statistics), values


def condition_with(bind: Bind, filter_: Filter, statistics: TableStatistics) -> str:
    """A filter as a SQL condition over the table's columns, its values as `bind` spells them. Raises SettingsError("filter", ...), and
    duckdb.Error for a `where` that isn't one expression."""
    import duckdb

    conditions = []
    any_status = set(filter_.statuses) >= set(statistics.statuses) or _is_about_failures(filter_, statistics.own)
    if not any_status and not (filter_.classes and statistics.null_means_failed and includes_predictions(filter_)):
        conditions.append(
            f"{quoted(statistics.own['Status'])} IN ({', '.join(literal(Status(status)) for status in filter_.statuses) or 'NULL'})"
        )
    if filter_.text:
        conditions.append(_in_file_or_prediction(bind, readable(filter_.text), statistics))
    if filter_.classes:
        conditions.append(_one_of(bind, "Prediction", "VARCHAR", filter_.classes, "classes"))
    for name, operator in (("minimum", ">="), ("maximum", "<=")):
        if (bound := getattr(filter_, name)) is not None:
            conditions.append(_bounded(bind, statistics.own["Number"], operator, bound, statistics, name))
    for number, column_condition in enumerate(filter_.conditions):
        if (kind := statistics.columns.get(column_condition.column)) is None:
            names = ", ".join(statistics.columns)
            raise SettingsError("filter", f"this table has no column “{column_condition.column}”", f"Its columns are {names}.")
        conditions.append(_column_condition(bind, column_condition, kind, statistics, f"value_{number}"))
    if filter_.where:
        where = readable(filter_.where)
        duckdb.SQLExpression(where)  # raises unless it is one expression by itself: no `1=1) UNION SELECT (...`
        conditions.append(f"({where}\n)")
    return " AND ".join(conditions) or "true"


def _is_about_failures(filter_: Filter, own: Mapping[str, str]) -> bool:
    """Whether its SQL condition speaks of what failed items have. It then looks at all rows, unless some statuses were chosen."""
    names = {own[name].lower() for name in ("Status", "Error", "Cause")}
    return (
        filter_.statuses == PREDICTED
        and any(name.lower() in filter_.where.lower() for name in names)
        and bool(names & _columns_in(filter_.where))
    )


@lru_cache(maxsize=100)
def _columns_in(where: str) -> frozenset[str]:
    """The names of columns in a SQL condition, in lower case; none where it isn't one."""
    import duckdb

    with closing(duckdb.connect()) as database:
        query = database.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE ({readable(where)}\n)"]).fetchall()[0][0]
    found: set[str] = set()

    def column(node: dict[str, Any]) -> dict[str, Any]:
        found.update(map(str.lower, node.get("column_names") or ()))
        return node

    json.loads(query, object_hook=column)
    return frozenset(found)


def _in_file_or_prediction(bind: Bind, text: str, statistics: TableStatistics) -> str:
    """A substring in any case. ILIKE takes twice as long as `contains`, so it is used where case can matter."""
    if text == text.lower() == text.upper() or statistics.lower_files:
        in_file = f"contains(File, lower({bind('text', text)}))"
    else:
        in_file = f"File ILIKE {bind('pattern', _substring_pattern(text))} ESCAPE '\\'"
    if statistics.classes is None:
        return f"({in_file} OR Prediction ILIKE {bind('pattern', _substring_pattern(text))} ESCAPE '\\')"
    if classes := [name for name in statistics.classes if text.lower() in name.lower()]:
        return f"({in_file} OR {_one_of(bind, 'Prediction', 'VARCHAR', classes, 'containing')})"
    return in_file


def _one_of(bind: Bind, column: str, type_: str, texts: Sequence[str], name: str) -> str:
    """A few values are compared one by one. More of them are joined, which loses the order of the rows: see `keeps_order`."""

    def cast(value: str) -> str:
        return value if type_ == "VARCHAR" else f"TRY_CAST({value} AS {type_})"

    values = [readable(text) for text in texts]
    if len(values) > _MOST_COMPARED:
        return f"{column} IN (SELECT {cast(f'unnest({bind(name, values)}::VARCHAR[])')})"
    equal = [f"{column} = {cast(bind(f'{name}_{number}', value))}" for number, value in enumerate(values)]
    return f"({' OR '.join(equal) or 'false'})"


def includes_predictions(filter_: Filter) -> bool:
    """Whether nothing that was predicted is left out for its status."""
    return set(filter_.statuses) >= set(PREDICTED)


def keeps_order(filter_: Filter, statistics: TableStatistics) -> bool:
    """Whether DuckDB gives the rows of this filter in the table's order by itself: where nothing in it becomes a join."""
    return not filter_.where and "(SELECT" not in condition(filter_, statistics)[0]


def _bounded(bind: Bind, column: str, sign: str, bound: Any, statistics: TableStatistics, name: str) -> str:
    """SQL: the values that reach a bound. `nan`, which DuckDB takes for the greatest number, reaches none."""
    value = quoted(column)
    if type_ := statistics.exact.get(column):
        exact = exact_bound(sign, bound, type_)
        if exact.is_infinite():
            return f"({value} IS NOT NULL AND {str((exact > 0) == (sign != '>=')).lower()})"
        return f"{value} {sign} CAST({bind(name, f'{exact:f}')} AS {type_})"
    if isinstance(bound, Decimal):
        bound = float(bound)
    not_nan = f" AND NOT isnan({value})" if sign == ">=" and statistics.columns.get(column) is Kind.NUMBER else ""
    return f"{value} {sign} {bind(name, bound)}{not_nan}"


def exact_bound(sign: str, bound: Any, type_: str) -> Decimal:
    """A bound as a value of this SQL type, BIGINT or DECIMAL, so that the same numbers reach it; infinite where all or none do."""
    digits, decimals = (19, 0) if type_ == "BIGINT" else map(int, re.findall(r"\d+", type_))
    with localcontext(prec=1000):
        exact = Decimal(str(bound))
        if exact.is_finite():
            exact = exact.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR if sign == "<=" else ROUND_CEILING)
        largest = Decimal(2**63 - 1) if type_ == "BIGINT" else Decimal(10) ** (digits - decimals) - Decimal(1).scaleb(-decimals)
        return exact if abs(exact) <= largest else Decimal("Infinity").copy_sign(exact)


def _column_condition(bind: Bind, condition: Condition, kind: Kind, statistics: TableStatistics, name: str) -> str:
    column, type_ = quoted(condition.column), _SQL_TYPES.get(kind, "VARCHAR")
    if statistics.exact.get(condition.column, "").startswith("DECIMAL"):
        type_ = statistics.exact[condition.column]
    if condition.column == "Prediction":  # text in the table, of whatever kind
        type_ = "VARCHAR"
    text = column if type_ == "VARCHAR" else f"{column}::VARCHAR"
    if condition.operator is Operator.EMPTY:
        return f"({column} IS NULL OR {text} = '')"
    if condition.operator is Operator.ONE_OF:
        return _one_of(bind, column, type_, condition.values, name)
    if len(condition.values) != 1:
        raise SettingsError("filter", f"“{condition.column} {condition.operator}” takes one value", "Give one.")
    value = readable(condition.values[0])
    match condition.operator:
        case Operator.CONTAINS:
            return f"{text} ILIKE {bind(name, _substring_pattern(value))} ESCAPE '\\'"
        case Operator.STARTS:
            return f"starts_with({text}, {bind(name, value)})"
        case Operator.GLOB:
            return f"{text} GLOB {bind(name, value)}"
    sign, bound = bound_of(condition, kind, value)
    return _bounded(bind, number_column(condition.column, kind, statistics.own), sign, bound, statistics, name)


def bound_of(condition: Condition, kind: Kind, value: str) -> tuple[str, Any]:
    """The SQL operator and the typed value of FROM, TO and BELOW. Raises SettingsError("filter", ...)."""
    sign = {Operator.FROM: ">=", Operator.BELOW: "<"}.get(condition.operator, "<=")
    try:
        if kind is Kind.DATE and condition.operator is Operator.TO and len(value) <= 10:
            return "<", datetime.combine(date.fromisoformat(value) + timedelta(days=1), datetime.min.time())
        if kind is Kind.DATE:
            return sign, datetime.fromisoformat(value)
        if kind in NUMERIC:
            if value.lstrip("-").isdecimal():
                return sign, int(value)
            if math.isnan(number := float(value)):
                raise ValueError(value)
            return sign, Decimal(value) if len(value) > _EXACT_CHARACTERS else number
    except (ValueError, ArithmeticError) as error:
        noun = "date" if kind is Kind.DATE else "number"
        raise SettingsError("filter", f"“{value}” is not a {noun}, as {condition.column} has", f"Give a {noun}.") from error
    return sign, value


def _substring_pattern(text: str) -> str:
    escaped = readable(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

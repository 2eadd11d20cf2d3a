"""A filter and an order as code that a person can take along: SQL for DuckDB, and pandas."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.errors import SettingsError
from services.predictions.columns import Kind, Status, literal, number_column, parquet_file, quoted
from services.predictions.filters import (
    TABLE_ORDER,
    Condition,
    Filter,
    Operator,
    Order,
    TableStatistics,
    bound_of,
    condition_with,
    exact_bound,
)
from services.predictions.reader import Predictions

_GLOB_PARTS = re.compile(rb"(?s)\\(.)|\[(!?)(.[^\]]*)\]|(.)")


def sql(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """One SELECT for DuckDB over the table's file. Raises SettingsError for a filter that doesn't fit the table."""
    where = condition_with(
        lambda _, value: _sql_value(value), replace(filter_, where=""), TableStatistics(table.columns, own=table.own, exact=table.exact)
    )
    if filter_.where:
        where += f" AND ({filter_.where}\n)"
    by = "file_row_number"
    if order.column:
        column = quoted(number_column(order.column, table.columns[order.column], table.own))
        by = f"{column} NULLS LAST, file_row_number"
        if order.descending:  # backwards, but rows without a value are last as they stand
            by = f"{column} DESC NULLS LAST, CASE WHEN {column} IS NULL THEN file_row_number ELSE -file_row_number END"
    source = parquet_file(table.path, row_numbers=True)
    return f"SELECT * EXCLUDE (file_row_number)\nFROM {source}\nWHERE {where}\nORDER BY {by};"


def pandas(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """A few lines of pandas, which leave the rows in `rows`; a condition in SQL is not pandas, and is only a comment."""
    any_glob = any(condition.operator is Operator.GLOB for condition in filter_.conditions)
    lines = [
        *(["import re", ""] if any_glob else []),
        "import pandas as pd",
        "",
        f"rows = pd.read_parquet({str(table.path.absolute())!r})",
    ]
    masks, number = [], table.own["Number"]
    if set(filter_.statuses) != set(Status):
        masks.append(f"rows[{table.own['Status']!r}].isin({[str(status) for status in filter_.statuses]})")
    if filter_.text:
        masks.append(
            " | ".join(f'rows["{name}"].str.contains({filter_.text!r}, case=False, regex=False)' for name in ("File", "Prediction"))
        )
    if filter_.classes:
        masks.append(f'rows["Prediction"].isin({list(filter_.classes)})')
    bounds = ((">=", filter_.minimum), ("<=", filter_.maximum))
    masks += [_reaches(number, sign, bound, table.exact.get(number, "")) for sign, bound in bounds if bound is not None]
    masks += [_mask(condition, table.columns[condition.column], table) for condition in filter_.conditions]
    if any("Decimal(" in mask for mask in masks):
        lines.insert(0, "from decimal import Decimal")
    lines += [f"rows = rows[{mask}]" for mask in masks]
    if filter_.where:
        lines.append(f"# and in SQL: {' '.join(filter_.where.split())}")
    if order.column:
        by = number_column(order.column, table.columns[order.column], table.own)
        if order.descending:
            lines.append(f"valued = rows[{by!r}].notna()")
            lines.append(f"rows = pd.concat([rows[valued].sort_values({by!r}, kind='stable')[::-1], rows[~valued]])")
        else:
            lines.append(f"rows = rows.sort_values({by!r}, kind='stable')")
    return "\n".join(lines)


def _mask(condition: Condition, kind: Kind, table: Predictions) -> str:
    column = f"rows[{condition.column!r}]"
    if condition.operator is Operator.EMPTY:
        return f"{column}.isna() | ({column}.astype(str) == '')"
    if condition.operator in (Operator.FROM, Operator.TO, Operator.BELOW):
        sign, bound = bound_of(condition, kind, condition.values[0])
        name = number_column(condition.column, kind, table.own)
        return _reaches(name, sign, bound, table.exact.get(name, ""))
    is_text = kind in (Kind.TEXT, Kind.CATEGORY) or condition.column == "Prediction"
    if condition.operator is Operator.ONE_OF:
        values = list(condition.values) if is_text else _typed_values(condition, kind)
        return f"{column}.isin([{', '.join(map(_python_value, values))}])"
    text, value = column if is_text else f"{column}.astype(str)", condition.values[0]
    if condition.operator is Operator.CONTAINS:
        return f"{text}.str.contains({value!r}, case=False, regex=False)"
    if condition.operator is Operator.STARTS:
        return f"{text}.str.startswith({value!r})"
    return f"{text}.map(lambda text: isinstance(text, str) and bool(re.fullmatch({_glob_as_regex(value)!r}, text.encode())))"


def _reaches(name: str, sign: str, bound: Any, type_: str) -> str:
    """Values up to a bound, or from it on; `type_` is the SQL type of numbers that are kept exactly."""
    column = f"rows[{name!r}]"
    if not type_ or not isinstance(bound, int | float | Decimal):
        return f"{column} {sign} {_python_value(float(bound) if isinstance(bound, Decimal) else bound)}"
    exact = exact_bound(sign, bound, type_)
    if exact.is_infinite():
        return f"{column}.notna() & {(exact > 0) == (sign != '>=')}"
    if type_ == "BIGINT":
        return f"{column} {sign} {exact:f}"
    return f"{column}.map(lambda value: value is not None and value {sign} Decimal({f'{exact:f}'!r}))"


def _glob_as_regex(glob: str) -> bytes:
    """DuckDB's GLOB, which compares bytes and takes a backslash for an escape, as a regular expression."""
    regex = b"(?s)"
    for escaped, negated, members, other in _GLOB_PARTS.findall(glob.encode()):
        if members:
            ends = [(low[0], (high or low)[0]) for low, high in re.findall(rb"(?s)(.)(?:-(.))?", members)]
            ranges = [rb"\x%02x-\x%02x" % (low, high) for low, high in ends if low <= high]
            regex += b"[" + b"^" * bool(negated) + b"".join(ranges) + b"]" if ranges else b"." if negated else b"(?!)"
        elif other in (b"\\", b"["):  # nothing to escape, no end: nothing matches
            regex += b"(?!)"
        else:
            regex += {b"*": b".*", b"?": b"."}.get(other, re.escape(escaped or other))
    return regex


def _typed_values(condition: Condition, kind: Kind) -> list[Any]:
    """The values that can be values of such a column."""
    if kind is Kind.TRUTH_VALUE:
        return [value.lower() == "true" for value in condition.values if value.lower() in ("true", "false")]
    typed = []
    for value in condition.values:
        with suppress(SettingsError):
            typed.append(bound_of(replace(condition, operator=Operator.FROM), kind, value)[1])
    return typed


def _python_value(value: Any) -> str:
    if isinstance(value, datetime):
        return f"pd.Timestamp({value.isoformat()!r})"
    return f"float({str(value)!r})" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _sql_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_sql_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{value}'::DOUBLE"
    if isinstance(value, datetime | Decimal):
        return literal(str(value))
    return literal(value) if isinstance(value, str) else repr(value)

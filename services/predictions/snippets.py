"""A filter and an order as code that a person can take along: SQL for DuckDB, and pandas."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.errors import SettingsError
from services.predictions.database import pattern
from services.predictions.filters import (
    TABLE_ORDER,
    Condition,
    Filter,
    Operator,
    Order,
    TableStatistics,
    bound_of,
    condition,
    literal,
    of_number,
    quoted,
)
from services.predictions.matching import Status
from services.predictions.reader import Predictions
from services.predictions.writer import Kind


def sql(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """One SELECT for DuckDB over the table's file. Raises SettingsError for a filter that doesn't fit the table."""
    which, values = condition(replace(filter_, where=""), TableStatistics(table.columns))
    which = re.sub(r"\$(\w+)", lambda found: _sql_value(values[found[1]]), which)
    if filter_.where:
        which += f" AND ({filter_.where}\n)"
    by = "file_row_number"
    if order.column:
        column = quoted(of_number(order.column, table.columns[order.column]))
        by = f"{column} NULLS LAST, file_row_number"
        if order.descending:  # backwards, but rows without a value are last as they stand
            by = f"{column} DESC NULLS LAST, CASE WHEN {column} IS NULL THEN file_row_number ELSE -file_row_number END"
    source = f"read_parquet({literal(pattern(table.path))}, file_row_number = true)"
    return f"SELECT * EXCLUDE (file_row_number)\nFROM {source}\nWHERE {which}\nORDER BY {by};"


def pandas(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """A few lines of pandas; a condition in SQL is not pandas, and is only told."""
    globs = any(one.test is Operator.GLOB for one in filter_.conditions)
    lines = [
        *(["import fnmatch", ""] if globs else []),
        "import pandas as pd",
        "",
        f"rows = pd.read_parquet({str(table.path.absolute())!r})",
    ]
    masks = []
    if set(filter_.statuses) != set(Status):
        masks.append(f'rows["Status"].isin({[str(status) for status in filter_.statuses]})')
    if filter_.text:
        masks.append(
            " | ".join(f'rows["{name}"].str.contains({filter_.text!r}, case=False, regex=False)' for name in ("File", "Prediction"))
        )
    if filter_.classes:
        masks.append(f'rows["Prediction"].isin({list(filter_.classes)})')
    masks += [f'rows["Number"] >= {filter_.minimum!r}'] if filter_.minimum is not None else []
    masks += [f'rows["Number"] <= {filter_.maximum!r}'] if filter_.maximum is not None else []
    masks += [_mask(one, table.columns[one.column]) for one in filter_.conditions]
    lines += [f"rows = rows[{mask}]" for mask in masks]
    if filter_.where:
        lines.append(f"# and in SQL: {' '.join(filter_.where.split())}")
    if order.column:
        by = of_number(order.column, table.columns[order.column])
        if order.descending:
            lines.append(f"valued = rows[{by!r}].notna()")
            lines.append(f"rows = pd.concat([rows[valued].sort_values({by!r}, kind='stable')[::-1], rows[~valued]])")
        else:
            lines.append(f"rows = rows.sort_values({by!r}, kind='stable')")
    return "\n".join(lines)


def _mask(one: Condition, kind: Kind) -> str:
    column = f"rows[{one.column!r}]"
    if one.test is Operator.EMPTY:
        return f"{column}.isna() | ({column}.astype(str) == '')"
    if one.test in (Operator.FROM, Operator.TO):
        operator, bound = bound_of(one, kind, one.values[0])
        return f"rows[{of_number(one.column, kind)!r}] {operator} {_python(bound)}"
    is_text = kind in (Kind.TEXT, Kind.CATEGORY) or one.column == "Prediction"
    if one.test is Operator.ONE_OF:
        values = list(one.values) if is_text else _typed(one, kind)
        return f"{column}.isin([{', '.join(map(_python, values))}])"
    text, value = column if is_text else f"{column}.astype(str)", one.values[0]
    if one.test is Operator.CONTAINS:
        return f"{text}.str.contains({value!r}, case=False, regex=False)"
    if one.test is Operator.STARTS:
        return f"{text}.str.startswith({value!r})"
    return f"{text}.map(lambda text: isinstance(text, str) and fnmatch.fnmatchcase(text, {value!r}))"


def _typed(one: Condition, kind: Kind) -> list[Any]:
    """The values that can be ones of such a column."""
    typed = []
    for value in one.values:
        with suppress(SettingsError):
            typed.append(bound_of(replace(one, test=Operator.FROM), kind, value)[1])
    return typed


def _python(value: Any) -> str:
    if isinstance(value, datetime):
        return f"pd.Timestamp({value.isoformat()!r})"
    return f"float({str(value)!r})" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _sql_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_sql_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{value}'::DOUBLE"
    return literal(value) if isinstance(value, str) else literal(value.isoformat()) if hasattr(value, "isoformat") else repr(value)

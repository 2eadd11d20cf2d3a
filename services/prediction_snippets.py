"""A filter and an order as code that a person can take along: SQL for DuckDB, and pandas."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from services.prediction_database import pattern
from services.prediction_filters import TABLE_ORDER, Condition, Filter, Known, Order, Test, condition, literal, quoted
from services.prediction_rows import Status
from services.prediction_table import Kind
from services.predictions import Predictions


def sql(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """One SELECT for DuckDB over the table's file. Raises SettingsError for a filter that doesn't fit the table."""
    which, values = condition(replace(filter_, where=""), Known(table.columns))
    which = re.sub(r"\$(\w+)", lambda found: _sql_value(values[found[1]]), which)
    if filter_.where:
        which += f" AND ({filter_.where}\n)"
    by = f"\nORDER BY {quoted(order.column)}{' DESC' if order.descending else ''} NULLS LAST" if order.column else ""
    return f"SELECT *\nFROM {literal(pattern(table.path))}\nWHERE {which}{by};"


def pandas(table: Predictions, filter_: Filter, order: Order = TABLE_ORDER) -> str:
    """A few lines of pandas; a condition in SQL is not pandas, and is only told."""
    globs = any(one.test is Test.GLOB for one in filter_.conditions)
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
        lines.append(f"rows = rows.sort_values({order.column!r}, ascending={not order.descending}, kind='stable')")
    return "\n".join(lines)


def _mask(one: Condition, kind: Kind) -> str:
    column = f"rows[{one.column!r}]"
    if one.test is Test.EMPTY:
        return f"{column}.isna() | ({column}.astype(str) == '')"
    text = column if kind in (Kind.TEXT, Kind.CATEGORY) else f"{column}.astype(str)"
    if one.test is Test.ONE_OF:
        return f"{text}.isin({list(one.values)})"
    value = one.values[0]
    if one.test in (Test.FROM, Test.TO):
        bound = value if kind in (Kind.NUMBER, Kind.WHOLE_NUMBER) else repr(value)
        return f"{column} {'>=' if one.test is Test.FROM else '<='} {bound}"
    if one.test is Test.CONTAINS:
        return f"{text}.str.contains({value!r}, case=False, regex=False)"
    if one.test is Test.STARTS:
        return f"{text}.str.startswith({value!r})"
    return f"{text}.map(lambda text: fnmatch.fnmatchcase(text, {value!r}))"


def _sql_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_sql_value, value))}]"
    return literal(value) if isinstance(value, str) else literal(value.isoformat()) if hasattr(value, "isoformat") else repr(value)

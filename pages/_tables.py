"""Tables for `st.dataframe`, made without pandas."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._text import displayable
from services import formats

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_NUMBER = 24  # characters
_NARROW = 270  # pixels
_ARROW_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool_", datetime: "timestamp"}


def arrow(columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Rows for `st.dataframe`, each with a str, int, float, bool, datetime or None for each of `columns`.

    Built so that pandas isn't imported, which takes a second the first time: `pa.array` imports it, pyarrow's JSON reader does not;
    nor does `st.dataframe` for such a table, if it has `on_select` or `lazy=False`.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    types = [pa.timestamp("ms", "UTC") if kind is datetime else getattr(pa, _ARROW_TYPES[kind])() for kind in columns.values()]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    content = "\n".join(json.dumps(dict(zip(columns, map(_as_json, row), strict=True))) for row in rows).encode()
    if not content:
        return schema.empty_table()
    options = arrow_json.ReadOptions(use_threads=False, block_size=len(content))  # a row must not be longer than a block
    return arrow_json.read_json(io.BytesIO(content), options, arrow_json.ParseOptions(explicit_schema=schema))


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return formats.iso(value)
    return displayable(value) if isinstance(value, str) else value


def show(
    columns: Mapping[str, type],
    rows: Sequence[Sequence[Any]],
    alt: str,
    most: int | None = None,
    counts: Collection[str] = (),
    **options: Any,
) -> None:
    """A table to read: as `arrow`, whole or scrolling from `most` rows on, with the `options` of `st.dataframe`."""
    if most is not None:
        options["height"] = height(len(rows), most)
    table = arrow(columns, rows)
    options["column_config"] = number_columns(table, counts) | options.get("column_config", {})
    st.dataframe(table, lazy=False, hide_index=True, alt=alt, **{"placeholder": "", **options})


def height(rows: int, most: int) -> int:
    """The height in pixels of a table of `rows` rows that scrolls from `most` rows on."""
    return min(rows, most) * 35 + 38


def time_column() -> Any:
    """The column type of a moment, in the time zone of the browser."""
    return st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone=st.context.timezone, width=140)


def number_columns(table: pa.Table, counts: Collection[str] = ()) -> dict[str, Any]:
    """The types of the columns of numbers, each as wide as its longest number; `counts` are written 186,329 instead of 186329.

    By itself a table is as wide as what its first rows held when it was first drawn. A longer number is cut at its left end: 186,329 would
    read 86,329.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {}
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            continue
        ends = pc.min_max(table[name]).as_py().values()
        decimals = 0 if pa.types.is_integer(kind) else 4  # as many are shown
        longest = max(len(f"{end:,.{decimals}f}") for end in (*ends, 0) if end is not None)
        width = 20 + max(7 * len(displayable(name)), 8 * min(longest, _LONGEST_NUMBER))
        columns[name] = st.column_config.NumberColumn(format="localized" if name in counts else None, width=width)
    return columns


def narrowed(table: pa.Table, *names: str) -> dict[str, Any]:
    """The types of those of these columns of texts that hold a long one: narrow, so that what is beside stays in sight."""
    import pyarrow.compute as pc

    present = [name for name in names if name in table.column_names and table.num_columns > 1]
    long = [name for name in present if (pc.max(pc.utf8_length(table[name])).as_py() or 0) > _NARROW // 7]
    return {name: st.column_config.TextColumn(width=_NARROW) for name in long}


def percent_column() -> Any:
    """The column type of percentages, from 0 to 100, written as `formats.percent` does."""
    return st.column_config.NumberColumn(format="%.2f%%", width=90)


def choosing(table: pa.Table, key: str, values: Sequence[str], position: int, columns: Mapping[str, Any]) -> None:
    """A table in which a click on a row chooses `values[row]` in the widget `key`. The row at `position`, the chosen one, is marked.

    Draw it after that widget: to have it above, put it into a container made before.
    """
    table_key = f"{key}-table"

    def choose() -> None:
        if rows := st.session_state[table_key]["selection"]["rows"]:
            st.session_state[key] = values[rows[0]]

    marked = {"selection": {"rows": [position], "columns": [], "cells": []}}
    if table_key in st.session_state and st.session_state[table_key]["selection"]["rows"] != [position]:
        st.session_state[table_key] = marked
    st.dataframe(
        table, key=table_key, on_select=choose, selection_mode="single-row-required", selection_default=marked, column_config=columns,
        height="content" if table.num_rows <= 8 else 300, alt=f"Registered: choose a {key}", placeholder="",
    )  # type: ignore[call-overload]  # fmt: skip

"""Results: what is filtered, a page of it in the chosen order; a click opens a row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages import _results_view
from pages._results_view import PAGE, View, change, describe, follow, high, option_labels, set_filter
from pages._shared import clipped, plain, visible
from services.formats import counted
from services.predictions import comparison, evaluation
from services.predictions.filters import PREDICTED, Condition, Filter, Order
from services.predictions.matching import Status

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_CELLS = 2_000  # characters of a text that are sent for a cell
_RUN_ORDER = "the run's order"
_OF_FAILED = ["Error", "Mini-batch", "Worker", "Attempts"]


def search(view: View) -> None:
    """The text that file or prediction contain."""
    follow("text", view.filter.text)
    st.text_input(
        "Contains", key="text", type="search", label_visibility="collapsed", live="300ms", placeholder="File or prediction has", width=270,
        on_change=lambda: set_filter(replace(view.filter, text=st.session_state.text or "")),
    )  # fmt: skip


def filtered_by(view: View, found: int) -> None:
    """How many rows there are, and a button for each thing that is filtered by, which takes it away."""
    total = view.table.count(Filter())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        every = counted(total, "prediction")
        words = f"**{found:,}** of {every}" if set(view.filter.statuses) <= set(PREDICTED) else f"**{counted(found, 'row')}**"
        st.markdown(f"**{every}**" if view.filter == Filter() else words, width="content")
        for number, (words, without) in enumerate(_parts(view.filter)):
            st.button(
                plain(clipped(words, 60)), key=f"without_{number}", icon=":material/close:", on_click=set_filter, args=(without,),
                help="Filter by this no more",
            )  # fmt: skip
        if view.filter != Filter():
            st.button("Clear filters", type="tertiary", icon=":material/filter_alt_off:", on_click=set_filter, args=(Filter(),))
        failed = view.table.count(Filter(statuses=(Status.FAILED,)))
        if failed and Status.FAILED not in view.filter.statuses:
            st.button(
                f"Failed: {failed:,}", key="show_failed", type="tertiary", icon=":material/error:", on_click=set_filter,
                args=(Filter(statuses=(Status.FAILED,)),), help="The items without a prediction, with their errors",
            )  # fmt: skip


def _parts(chosen: Filter) -> list[tuple[str, Filter]]:
    """(in words, the filter without it) of each thing that is filtered by."""
    parts = [(f"contains {chosen.text}", replace(chosen, text=""))] if chosen.text else []
    if chosen.classes:
        parts.append((f"Prediction: {', '.join(chosen.classes)}", replace(chosen, classes=())))
    if chosen.statuses != Filter().statuses:
        words = "with what failed" if set(chosen.statuses) == set(Status) else f"Status: {', '.join(chosen.statuses)}"
        parts.append((words, replace(chosen, statuses=Filter().statuses)))
    if chosen.minimum is not None:
        parts.append((f"Prediction ≥ {chosen.minimum:g}", replace(chosen, minimum=None)))
    if chosen.maximum is not None:
        parts.append((f"Prediction ≤ {chosen.maximum:g}", replace(chosen, maximum=None)))
    parts += [(describe(one), _without(chosen, one)) for one in chosen.conditions]
    if chosen.where:
        parts.append((f"where {chosen.where}", replace(chosen, where="")))
    return parts


def _without(chosen: Filter, condition: Condition) -> Filter:
    return replace(chosen, conditions=tuple(one for one in chosen.conditions if one != condition))


def order_and_columns(view: View) -> list[str]:
    """The widgets for what order rows come in and which columns are shown; returns the columns."""
    names = list(view.table.columns)
    default = _default_columns(view)
    asked = _named_in(st.query_params.get("columns", ""), names)
    with st.popover("Sort and columns", icon=":material/swap_vert:"):
        options = [_RUN_ORDER, *names]
        follow("sort_by", view.order.column or _RUN_ORDER)
        follow("descending", view.order.descending)

        def sort() -> None:
            column = st.session_state.sort_by
            order = Order() if column == _RUN_ORDER else Order(column, st.session_state.descending)
            change(sort=order.to_text(), page="", row="")

        labels = option_labels(options)
        st.selectbox("Sort by", options, key="sort_by", format_func=lambda name: labels.get(name, name), on_change=sort)
        st.toggle("Greatest first", key="descending", on_change=sort, disabled=not view.order.column)
        follow("columns_shown", asked or default)

        def show() -> None:
            chosen = st.session_state.columns_shown
            change(columns="" if chosen == default else "|".join(chosen))

        st.multiselect("Columns", names, key="columns_shown", format_func=lambda name: labels.get(name, name), on_change=show)
    return asked or default


def _named_in(text: str, names: list[str]) -> list[str]:
    """Those of these names that stand in `a|b|c`; a name may have a `|` of its own."""
    found = []
    while text:
        name = max((name for name in names if f"{text}|".startswith(f"{name}|")), key=len, default="")
        found += [name] if name else []
        text = text.removeprefix(name)[1:] if name else text.partition("|")[2]
    return found


def _default_columns(view: View) -> list[str]:
    joined = _joined()
    beside = [name for name in view.table.further_columns if name in joined]
    unfolded = [name for name in view.table.further_columns if name not in beside]
    beside = [name for name in beside if says_something(view, name)]
    shown = ["File", "Prediction", *beside, *unfolded]
    if unfolded and view.table.whole_column == "Prediction":  # all that was printed says again what the columns say
        shown = ["File", *beside, *unfolded, "Prediction"]
    if view.filter.statuses == (Status.FAILED,):  # what was to be predicted is empty
        shown = ["File", *(name for name in shown if name in joined), *_OF_FAILED]
    elif Status.FAILED in view.filter.statuses:
        shown += _OF_FAILED
    if view.order.column not in ("", "Number", *shown):
        shown.append(view.order.column)
    return shown


def _joined() -> tuple[str, ...]:
    """The columns of what stands beside; a run's own may be called so where nothing does."""
    return {"labels": evaluation.JUDGED, "run": comparison.COMPARED}.get(_results_view.beside().partition(":")[0], ())


def says_something(view: View, column: str) -> bool:
    """What stands beside classes has no residuals and no differences."""
    return column not in _joined()[-1:] or view.table.holds(column)


def prepared(view: View) -> None:
    """Sort, where that wasn't done yet, and say how far it is."""
    if not view.table.is_prepared(view.order):
        words = plain(f"Sorting by {view.order.column}, once")
        bar = st.progress(0.0, words)

        def progress(share: float) -> None:
            bar.progress(share, words)

        view.table.prepare(view.order, progress)
        bar.empty()


def table(view: View, found: int, columns: list[str]) -> None:
    """The page of rows, and the way to the others."""
    slot = st.container()
    pages = -(-found // PAGE)
    page = min(view.page, pages)
    follow("page", page)
    if pages > 1:
        st.pagination(pages, key="page", on_change=lambda: change(page=str(st.session_state.page), row=""))
    first = (page - 1) * PAGE
    rows = view.table.page(view.filter, first, PAGE, view.order).select(columns)
    key = f"predictions_{view.run.id}_{page}_{hash((view.filter, view.order)):x}"

    def open_row() -> None:
        chosen = st.session_state[key]["selection"]
        rows = [cell[0] for cell in chosen["cells"]] or chosen["rows"]
        change(row=str(first + rows[0] + 1) if rows else "")

    open_here = view.row is not None and first <= view.row < first + rows.num_rows
    marked = {"selection": {"rows": [(view.row or 0) - first] if open_here else [], "columns": [], "cells": []}}
    if key in st.session_state and st.session_state[key] != marked:
        st.session_state[key] = marked
    slot.dataframe(
        for_cells(rows), key=key, on_select=open_row, selection_mode=["single-row", "single-cell"], hide_index=True,
        height=high(rows.num_rows, 15), selection_default=marked, alt="Files and their predictions",
    )  # type: ignore[call-overload]  # fmt: skip
    slot.caption(f"Rows {first + 1:,} to {first + rows.num_rows:,} of {found:,}. A click opens a row.")


def for_cells(rows: pa.Table) -> pa.Table:
    """Texts of a table cut to what a cell can show (10 kB in each of a hundred rows is a megabyte to send), and `visible`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from services.predictions.writer import text_array

    for place, name in enumerate(rows.column_names):
        column = rows.column(place)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = pc.utf8_slice_codeunits(column, 0, _MOST_CELLS).to_pylist()
            rows = rows.set_column(place, name, text_array([text and visible(text, lines=False) for text in texts]))
    return rows

"""Results: the filtered rows in the chosen order, a page at a time; a click opens a row."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages import _results_view, _tables
from pages._results_view import ENDS, View, change, describe, describe_range, follow, option_labels, set_filter
from pages._text import escape, truncate, visible
from services.formats import counted
from services.predictions import comparison, evaluation
from services.predictions.columns import INPUT_FILE, ROW_NUMBER, Status
from services.predictions.exports import OF_FAILURES, item_columns, shown_further_columns
from services.predictions.filters import EVERY_ROW, PREDICTED, Condition, Filter, Operator, Order

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_IN_A_BROWSER = 2**53
_MOST_CELLS = 2_000  # characters of a text that are sent for a cell
_RUN_ORDER = "the run's order"


def search(view: View) -> None:
    """A search in file and prediction."""
    follow("text", view.filter.text)
    st.text_input(
        "Search", key="text", type="search", label_visibility="collapsed", live="300ms", placeholder="Search file or prediction", width=270,
        on_change=lambda: set_filter(replace(view.filter, text=st.session_state.text or "")),
    )  # fmt: skip


def filtered_by(view: View, count: int) -> None:
    """The number of rows, and a button for each part of the filter, which removes it."""
    total = view.table.count(Filter())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        predictions = counted(total, "prediction")
        rows = f"**{count:,}** of {predictions}" if set(view.filter.statuses) <= set(PREDICTED) else f"**{counted(count, 'row')}**"
        st.markdown(f"**{predictions}**" if view.filter == Filter() else rows, width="content")
        for number, (part, without) in enumerate(_parts(view)):
            st.button(
                escape(truncate(part, 60)), key=f"without_{number}", icon=":material/close:", on_click=set_filter, args=(without,),
                help="Remove this filter",
            )  # fmt: skip
        if len(_parts(view)) > 1:
            st.button("Clear filters", type="tertiary", icon=":material/filter_alt_off:", on_click=set_filter, args=(Filter(),))
        failed = view.table.count(Filter(statuses=(Status.FAILED,)))
        if failed and Status.FAILED not in view.filter.statuses:
            st.button(
                f"Failed: {failed:,}", key="show_failed", type="tertiary", icon=":material/error:", on_click=set_filter,
                args=(Filter(statuses=(Status.FAILED,)),), help="The items without a prediction, with their errors",
            )  # fmt: skip


def _parts(view: View) -> list[tuple[str, Filter]]:
    """(description, the filter without it) of each part of the filter."""
    chosen = view.filter
    parts = [(f"contains {chosen.text}", replace(chosen, text=""))] if chosen.text else []
    if chosen.classes:
        parts.append((f"Prediction: {', '.join(chosen.classes)}", replace(chosen, classes=())))
    if chosen.statuses != Filter().statuses:
        text = "including failed" if set(chosen.statuses) == set(Status) else f"Status: {', '.join(chosen.statuses)}"
        parts.append((text, replace(chosen, statuses=Filter().statuses)))
    if chosen.minimum is not None:
        parts.append((f"Prediction ≥ {chosen.minimum:g}", replace(chosen, minimum=None)))
    if chosen.maximum is not None:
        parts.append((f"Prediction ≤ {chosen.maximum:g}", replace(chosen, maximum=None)))
    ranges = _ranges(chosen.conditions)
    parts += [
        (describe_range(*pair, view.table.own), replace(chosen, conditions=tuple(c for c in chosen.conditions if c not in pair)))
        for pair in ranges
    ]
    in_ranges = set(itertools.chain(*ranges))
    single = (condition for condition in chosen.conditions if condition not in in_ranges)
    parts += [(describe(condition, view.table.own), _without(chosen, condition)) for condition in single]
    if chosen.where:
        parts.append((f"where {chosen.where}", replace(chosen, where="")))
    return parts


def _ranges(conditions: tuple[Condition, ...]) -> list[tuple[Condition, Condition]]:
    """Both ends of each column that has both, once."""
    ends = {(condition.column, condition.operator is Operator.FROM): condition for condition in conditions if condition.operator in ENDS}
    return [(condition, ends[column, False]) for (column, is_from), condition in ends.items() if is_from and (column, False) in ends]


def _without(chosen: Filter, condition: Condition) -> Filter:
    return replace(chosen, conditions=tuple(other for other in chosen.conditions if other != condition))


def order_and_columns(view: View) -> list[str]:
    """The widgets for the order of the rows and the columns to show; returns the columns."""
    names = list(view.table.columns)
    default = _default_columns(view)
    columns = _split_names(st.query_params.get("columns", ""), names)
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
        st.toggle("Descending", key="descending", on_change=sort, disabled=not view.order.column)
        follow("columns_shown", columns or default)

        def show() -> None:
            chosen = st.session_state.columns_shown
            change(columns="" if chosen == default else "|".join(chosen))

        st.multiselect("Columns", names, key="columns_shown", format_func=lambda name: labels.get(name, name), on_change=show)
    return columns or default


def _split_names(text: str, names: list[str]) -> list[str]:
    """The names in `a|b|c`; a name may itself contain `|`."""
    result = []
    while text:
        name = max((name for name in names if f"{text}|".startswith(f"{name}|")), key=len, default="")
        result += [name] if name else []
        text = text.removeprefix(name)[1:] if name else text.partition("|")[2]
    return result


def _default_columns(view: View) -> list[str]:
    joined = _joined_columns()
    added = [name for name in view.table.further_columns if name in joined]
    flattened = [name for name in shown_further_columns(view.table) if name not in added]
    added = [name for name in added if has_values(view, name)]
    own = view.table.own
    of_failed = [own[name] for name in OF_FAILURES]
    item = item_columns(view.table)
    shown = [*item, "Prediction", *added, *flattened]
    if flattened and view.table.whole_column == "Prediction":  # the printed text repeats the columns
        shown = [*item, *added, *flattened, "Prediction"]
    if view.filter.statuses == (Status.FAILED,):  # its prediction columns are empty
        shown = [*item, *(name for name in shown if name in joined), *of_failed]
    elif Status.FAILED in view.filter.statuses:
        shown += of_failed
    if INPUT_FILE in own and len(view.table.facet(own[INPUT_FILE], EVERY_ROW, 2)) > 1:
        shown.append(own[INPUT_FILE])
    if view.order.column not in ("", own["Number"], *shown):
        shown.append(view.order.column)
    return shown


def _joined_columns() -> tuple[str, ...]:
    """The columns of the joined labels or run. Where nothing is joined, the run's own may have these names."""
    return {"labels": evaluation.EVALUATED, "run": comparison.COMPARED}.get(_results_view.joined().partition(":")[0], ())


def has_values(view: View, column: str) -> bool:
    """Joined classes have no residuals and no differences."""
    return column not in _joined_columns()[-1:] or view.table.holds(column)


def prepared(view: View) -> None:
    """Sort, unless that was done before, and show the progress."""
    if not view.table.is_prepared(view.order):
        text = escape(f"Sorting by {view.order.column}, once…")
        bar = st.progress(0.0, text)

        def progress(share: float) -> None:
            bar.progress(share, text)

        view.table.prepare(view.order, progress)
        bar.empty()


def table(view: View, count: int, columns: list[str]) -> None:
    """One page of rows, and the pagination."""
    slot = st.container()
    size = _results_view.page_rows()
    pages = -(-count // size)
    page = min(view.page, pages)
    follow("page", page)
    if pages > 1:
        st.pagination(pages, key="page", on_change=lambda: change(page=str(st.session_state.page), row=""))
    first = (page - 1) * size
    rows = view.table.page(view.filter, first, size, view.order, columns)
    key = f"paged-predictions_{view.run.id}_{size}_{page}_{hash((view.filter, view.order)):x}"

    def open_row() -> None:
        chosen = st.session_state[key]["selection"]
        if chosen == marked["selection"]:  # what the page itself selected
            return
        rows = [cell[0] for cell in chosen["cells"]] or chosen["rows"]
        change(row=str(first + rows[0] + 1) if rows else "")

    open_here = view.row is not None and first <= view.row < first + rows.num_rows
    marked = {"selection": {"rows": [(view.row or 0) - first] if open_here else [], "columns": [], "cells": []}}
    if key in st.session_state and st.session_state[key] != marked:
        st.session_state[key] = marked
    slot.dataframe(
        for_cells(rows, digits=True), key=key, on_select=open_row, selection_mode=["single-row", "single-cell"], hide_index=True,
        height=_tables.height(rows.num_rows, 15), selection_default=marked, alt="Files and their predictions",
        column_config=_tables.number_columns(rows) | numbers_on_the_right(rows) | _tables.narrowed(rows, "File"),
    )  # type: ignore[call-overload]  # fmt: skip
    slot.caption(f"Rows {first + 1:,} to {first + rows.num_rows:,} of {count:,}. Click a row to open it.")
    if ROW_NUMBER in view.table.own and view.table.own[ROW_NUMBER] not in item_columns(view.table):
        slot.caption(
            "This run does not record which row of its file a prediction belongs to. To tell the rows apart, keep a column that identifies"
            " them beside the predictions."
        )


def for_cells(rows: pa.Table, *, digits: bool = False) -> pa.Table:
    """The table with its texts truncated to what a cell can show (10 kB in each of a hundred rows is a megabyte to send) and `visible`.

    What a browser can't hold, numbers with more digits than doubles have, is text; with `digits` every number with a fraction is, as it
    was printed, and so are truth values.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from services.predictions.columns import printed, text_array

    for place, name in enumerate(rows.column_names):
        column = rows.column(place)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = pc.utf8_slice_codeunits(column, 0, _MOST_CELLS).to_pylist()
            rows = rows.set_column(place, name, text_array([text and visible(text, lines=False) for text in texts]))
        elif _is_beyond_the_browser(column) or (digits and (pa.types.is_floating(column.type) or pa.types.is_boolean(column.type))):
            values = [None if value is None else printed(value) for value in column.to_pylist()]
            rows = rows.set_column(place, name, text_array(values))
    return rows


def _is_beyond_the_browser(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        return any(abs(end.as_py() or 0) > _LARGEST_IN_A_BROWSER for end in pc.min_max(column).values())
    return bool(pa.types.is_decimal(column.type))


def numbers_on_the_right(rows: pa.Table) -> dict[str, Any]:
    """The column types of numbers that `for_cells` makes texts of."""
    import pyarrow as pa

    columns = {}
    for name, before, after in zip(rows.column_names, rows.columns, for_cells(rows, digits=True).columns, strict=True):
        is_number = pa.types.is_floating(before.type) or pa.types.is_integer(before.type) or pa.types.is_decimal(before.type)
        if is_number and pa.types.is_large_string(after.type):
            longest = max(len(text or "") for text in [name, *after.to_pylist()])
            columns[name] = st.column_config.TextColumn(alignment="right", width=20 + 8 * longest)
    return columns

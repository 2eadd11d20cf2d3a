"""Results: charts of the filtered rows, and rows grouped by a column, where a click filters; SQL queries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors, _plots, _tables
from pages._results_panel import choose_of, chosen_of
from pages._results_table import for_cells
from pages._results_view import COUNTS, View, add, change, choose, follow, set_filter
from pages._text import escape
from services.errors import SettingsError
from services.formats import counted
from services.predictions import charts
from services.predictions.columns import Kind
from services.predictions.filters import Condition, Operator

_MOST_BARS = 25
_BINS = 60
_MOST_FOLDERS = 30
_MOST_CLASSES = 10
_MOST_GROUPS = 1000
_EXAMPLE = "SELECT Prediction, count(*) AS Rows\nFROM predictions\nGROUP BY 1\nORDER BY 2 DESC"
_NUMBERS = (Kind.NUMBER, Kind.WHOLE_NUMBER)


def show_charts(view: View) -> None:
    left, right = st.columns(2)
    drawn: dict[str, Callable[[View, DeltaGenerator], None]] = {
        "Distribution": _distribution, "Over folders": _over_folders, "Over time": _over_time, "Two columns": _two_columns,
    }  # fmt: skip
    with left:
        chart = choose("Chart", "chart", list(drawn), "Distribution")
    drawn[chart](view, right)


def _numeric(view: View) -> bool:
    return view.table.kind in _NUMBERS


def _distribution(view: View, place: DeltaGenerator) -> None:
    with place:
        column = choose("Column", "x", list(view.table.columns), view.table.own["Number"] if _numeric(view) else "Prediction")
    if column == "Prediction" and _numeric(view):
        column = view.table.own["Number"]
    if view.table.columns[column] in _NUMBERS:
        bins = charts.histogram(view.table, view.filter, 40, column)
        if bins:
            figure, alt = _plots.histogram(bins, column), f"Distribution of {column}, from {bins[0][0]:,g} to {bins[-1][1]:,g}"
            _plots.draw(figure, "chart_numbers", alt, lambda _, bar: _between(view, column, *bins[bar][:2], bar == len(bins) - 1))
        else:
            st.info("No numbers in the filtered rows.", icon=":material/info:")
        return
    counts = view.table.facet(column, view.filter, _MOST_BARS)
    alt = f"Rows by {column}, most frequent: {_plots.axis_label(counts[0][0]) if counts else 'none'}"
    _plots.draw(_plots.bars(counts, chosen_of(view, column)), "chart", alt, lambda _, bar: _choose_value(view, column, counts[bar][0]))
    if len(counts) == _MOST_BARS:
        st.caption(f"The {_MOST_BARS} most frequent values.")


def _over_folders(view: View, place: DeltaGenerator) -> None:
    folder_column = view.table.own["Folder"]
    if _numeric(view):
        rows = view.table.grouped(folder_column, filter_=view.filter, limit=_MOST_BARS).to_pylist()
        means = [(row[folder_column], row["Mean"]) for row in rows if row["Mean"] is not None]
        st.markdown("**Mean prediction by folder**, for the folders with the most rows")
        figure = _plots.bars([(name, 0) for name, _ in means])
        figure.update_traces(
            x=[mean for _, mean in means], text=[f"{mean:,.4g}" for _, mean in means], hovertext=[f"{mean:,.6g}" for _, mean in means]
        )
        _plots.draw(figure, "chart_folders", "Mean prediction by folder", lambda _, bar: _choose_value(view, folder_column, means[bar][0]))
        return
    class_counts = charts.classes_over_folders(view.table, view.filter, _MOST_FOLDERS, _MOST_CLASSES)
    sums: dict[str, int] = {}
    for folder, _, count in class_counts:
        sums[folder] = sums.get(folder, 0) + count
    folders = sorted(sums, key=lambda folder: (-sums[folder], folder))
    classes = list(dict.fromkeys(name for _, name, _ in sorted(class_counts, key=lambda row: -row[2])))
    counts = {(folder, name): count for folder, name, count in class_counts}
    parts = [(name, [counts.get((folder, name), 0) for folder in folders]) for name in classes]

    def clicked(trace: int, bar: int) -> None:
        name = classes[trace]
        chosen = choose_of(view, "Prediction", () if name is None else (name,))
        set_filter(choose_of(view, folder_column, (folders[bar],), chosen), look="")

    _plots.draw(_plots.stacked(folders, parts), "chart_stacked", "Classes in each folder", clicked)
    if len(classes) == _MOST_CLASSES or len(folders) == _MOST_FOLDERS:
        st.caption(f"At most the {_MOST_CLASSES} most frequent classes, and the {_MOST_FOLDERS} folders with the most rows.")


def _over_time(view: View, place: DeltaGenerator) -> None:
    bins = charts.over_time(view.table, view.filter, _BINS)
    if not bins:
        st.info("The scoring times of these rows are unknown.", icon=":material/info:")
        return
    points: list[tuple[Any, float]] = [(begin, count) for begin, count, _ in bins]
    title = "Rows"
    if _numeric(view) and place.toggle("Mean prediction", key="chart_mean"):
        points, title = [(begin, mean) for begin, _, mean in bins if mean is not None], "Mean prediction"
    last = bins[-1][0]
    width = min((later[0] - earlier[0] for earlier, later in itertools.pairwise(bins)), default=timedelta(seconds=1))

    def clicked(_: int, bar: int) -> None:
        begin = points[bar][0]
        scored_at = view.table.own["Scored at"]
        bounds = [Condition(scored_at, Operator.FROM, (begin.isoformat(),))]
        if begin != last:
            bounds.append(Condition(scored_at, Operator.TO, ((begin + width).isoformat(),)))
        add(view.filter, *bounds, look="")

    _plots.draw(_plots.line(points, title), "chart_time", f"{title} over the time of scoring", clicked)


def _two_columns(view: View, place: DeltaGenerator) -> None:
    names = list(view.table.columns)
    with place:
        x = choose("Horizontal", "x", names, view.table.own["Number"] if _numeric(view) else "Prediction")
        y = choose("Vertical", "y", names, (view.table.further_columns or [view.table.own["Folder"]])[0])
    numeric = {name: view.table.columns[name] in _NUMBERS for name in (x, y)}
    cells = [(a, b, n) for a, b, n in charts.two_columns(view.table, x, y, view.filter, 30) if a is not None and b is not None]
    if not cells:
        st.info("No rows have values in both columns.", icon=":material/info:")
        return

    def clicked(_: int, point: int) -> None:
        chosen = view.filter
        for column, side in ((x, 0), (y, 1)):
            value = cells[point][side]
            if numeric[column] and not isinstance(value, str):
                steps = sorted({float(cell[side]) for cell in cells})
                half = min((b - a for a, b in itertools.pairwise(steps)), default=1.0) / 2
                others = tuple(c for c in chosen.conditions if c.column != column)
                bounds = (Condition(column, Operator.FROM, (repr(value - half),)), Condition(column, Operator.TO, (repr(value + half),)))
                chosen = replace(chosen, conditions=others + bounds)
            else:
                chosen = choose_of(view, column, (str(value),), chosen)
        set_filter(chosen, look="")

    _plots.draw(_plots.squares(cells, x, y), "chart_two", f"{x} by {y}", clicked)
    st.caption("Darker squares have more rows. Click one to show its rows.")


def _between(view: View, column: str, lower: float, upper: float, last: bool) -> None:
    """Filter from `lower` to just below `upper`; in the last bin, to `upper`."""
    upper = upper if last else math.nextafter(upper, -math.inf)
    add(view.filter, Condition(column, Operator.FROM, (repr(lower),)), Condition(column, Operator.TO, (repr(upper),)))


def _choose_value(view: View, column: str, value: Any) -> None:
    """Add this value to the filter, or remove it."""
    if value is None:
        add(view.filter, Condition(column, Operator.EMPTY))
        return
    chosen = chosen_of(view, column)
    values = tuple(other for other in chosen if other != str(value)) if str(value) in chosen else (*chosen, str(value))
    set_filter(choose_of(view, column, values))


# ---- groups and SQL --------------------------------------------------------------------------------------------------------------


def groups(view: View) -> None:
    """The rows of each value, with mean, minimum and maximum of a column of numbers. A click on a group filters by it."""
    names = list(view.table.columns)
    numbers = [name for name in names if view.table.columns[name] in _NUMBERS]
    left, right = st.columns(2)
    with left:
        by = choose("Group by", "by", names, view.table.own["Folder"] if view.table.kind is not Kind.CATEGORY else "Prediction")
    with right:
        column = choose("Statistics of", "x", numbers, view.table.own["Number"])
    rows = view.table.grouped(by, column, view.filter, _MOST_GROUPS)
    if not view.table.holds(column):
        rows = rows.select([0, 1])
    key = f"groups_{by}_{column}"

    def open_group() -> None:
        if chosen := st.session_state[key]["selection"]["rows"]:
            value = rows.column(0)[chosen[0]].as_py()
            condition = Condition(by, Operator.EMPTY) if value is None else Condition(by, Operator.ONE_OF, (str(value),))
            add(view.filter, condition, look="")

    st.dataframe(
        for_cells(rows), key=key, on_select=open_group, selection_mode="single-row", hide_index=True,
        height=_tables.height(rows.num_rows, 15), column_config=_tables.number_columns(rows, COUNTS), alt="Rows by group",
    )  # fmt: skip
    count = f"The {_MOST_GROUPS:,} largest groups" if rows.num_rows == _MOST_GROUPS else counted(rows.num_rows, "group")
    st.caption(f"{count}. Select a group to show its rows.")


def sql(view: View) -> None:
    """One SELECT over the whole table, read only, within ten seconds and 256 MB."""
    follow("sql_text", st.query_params.get("sql", "") or _EXAMPLE)
    with st.form("sql", border=False):
        query = st.text_area("One SELECT over predictions", key="sql_text", height=140)
        submitted = st.form_submit_button("Run", icon=":material/play_arrow:", on_click=lambda: change(sql=st.session_state.sql_text))
    st.caption(escape("Columns: " + ", ".join(view.table.columns)) + ". The query reads the whole table; filters do not apply.")
    if not (submitted or "sql" in st.query_params):
        return
    try:
        with st.spinner("Running the query…", show_time=True):
            answer = view.table.ask(query or "")
    except SettingsError as error:
        _errors.show(error)
        return
    st.dataframe(for_cells(answer.rows), lazy=False, hide_index=True, height=_tables.height(answer.rows.num_rows, 15), alt="Query result")
    st.caption(f"{'The first ' if answer.cut_off else ''}{counted(answer.rows.num_rows, 'row')}.")

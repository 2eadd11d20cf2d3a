"""Results: the picture beside the table, a chart of the filtered rows in which a click or a brush filters; rows by group; SQL queries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors, _plots, _results_gallery, _tables
from pages._results_panel import choose_of, chosen_of
from pages._results_table import for_cells
from pages._results_view import COUNTS, ENDS, GALLERY, View, add, change, choose, follow, set_filter
from pages._text import escape
from services.errors import SettingsError
from services.formats import counted
from services.predictions import charts
from services.predictions.columns import CLASSES, NUMERIC, Kind
from services.predictions.evaluation import evaluated_column
from services.predictions.filters import Condition, Filter, Operator

_FEW_BARS, _MOST_BARS = 12, 50
_BINS = 60
_FEW_FOLDERS, _MOST_FOLDERS = 12, 30
_FEW_CLASSES, _MOST_CLASSES = 8, 30
_MOST_GROUPS = 1000
_EXAMPLE = "SELECT Prediction, count(*) AS Rows\nFROM predictions\nGROUP BY 1\nORDER BY 2 DESC"
_NUMBERS = (Kind.NUMBER, Kind.WHOLE_NUMBER)
_NO_CHART = "No chart"
_SCORES = ("probability", "score", "confidence", "proba", "certainty")

# ---- which chart ----------------------------------------------------------------------------------------------------------------------


def picture(view: View) -> None:
    """A chart of the filtered rows, of a kind chosen from a list."""
    drawn: dict[str, Callable[[View, DeltaGenerator], None]] = {
        "Distribution": _distribution, "Over folders": _over_folders, "Over time": _over_time, "Score by class": _score_by_class,
        "Two columns": _two_columns,
    }  # fmt: skip
    if not (_class_columns(view) and _number_columns(view)):
        del drawn["Score by class"]
    if _results_gallery.has_images(view):
        drawn[GALLERY] = _gallery
    with st.container(key="chart-picture", gap="small"):
        row = st.container(horizontal=True, vertical_alignment="center", gap="small")
        with row:
            options = {"label_visibility": "collapsed", "width": 135}
            chart = choose("Chart", "chart", [*drawn, _NO_CHART], "Distribution", also={"page": ""}, **options)
        if chart != _NO_CHART:
            drawn[chart](view, row)


def _gallery(view: View, row: DeltaGenerator) -> None:
    values, scores = [*_class_columns(view), "Prediction"], _number_columns(view)
    with row:
        value = _chosen_column("Prediction", "x", list(dict.fromkeys([*values, *view.table.further_columns])), values[0])
    scores = [name for name in scores if name != value and name in view.table.further_columns]
    _results_gallery.gallery(view, value, scores[0] if scores else "")


def _numeric(view: View) -> bool:
    return view.table.kind in _NUMBERS


def _number_columns(view: View) -> list[str]:
    """The columns of numbers to draw, those that are called as scores are first."""
    further = [name for name in view.table.further_columns if view.table.columns[name] in _NUMBERS]
    further.sort(key=lambda name: not any(word in name.casefold() for word in _SCORES))
    return [view.table.own["Number"], *further] if _numeric(view) else further


def _class_columns(view: View) -> list[str]:
    """The columns of classes, what is evaluated first."""
    further = [name for name in view.table.further_columns if view.table.columns[name] in CLASSES]
    first = evaluated_column(view.table)
    further.sort(key=lambda name: name != first)
    return ["Prediction", *further] if view.table.kind is Kind.CATEGORY else further


def _date_columns(view: View) -> list[str]:
    return [view.table.own["Scored at"], *(name for name in view.table.further_columns if view.table.columns[name] is Kind.DATE)]


def _few(key: str, few: int, most: int, count: int, noun: str) -> None:
    """Where `count` values are drawn of a few or of more: the way to the others."""
    everything = _shows_all()
    if not everything and count == few:
        st.button(f"Up to {most} {noun}", key=key, type="tertiary", icon=":material/expand_more:", on_click=change, kwargs={"all": "1"})
    elif everything and count > few:
        st.button(f"Only {few} {noun}", key=key, type="tertiary", icon=":material/expand_less:", on_click=change, kwargs={"all": ""})
    if everything and count >= most:
        st.caption(f"The {most} most frequent.")


def _shows_all() -> bool:
    return st.query_params.get("all", "") == "1"


# ---- ranges: what a brush chooses ---------------------------------------------------------------------------------------------------


def _names_of(view: View, column: str) -> tuple[str, ...]:
    """What conditions on this column call it: the prediction's number has two names."""
    return (column, "Prediction") if column == view.table.own["Number"] and _numeric(view) else (column,)


def _range_of(view: View, column: str) -> tuple[Condition, ...]:
    names = _names_of(view, column)
    return tuple(c for c in view.filter.conditions if c.column in names and c.operator in ENDS)


def _without_range(view: View, column: str) -> Filter:
    """The filter without the range of this column, as a facet counts: what can be chosen stays in sight."""
    of_column = _range_of(view, column)
    chosen = replace(view.filter, conditions=tuple(c for c in view.filter.conditions if c not in of_column))
    return replace(chosen, minimum=None, maximum=None) if column == view.table.own["Number"] else chosen


def _ranged(view: View, column: str) -> bool:
    return _without_range(view, column) != view.filter


def _choose_range(view: View, column: str, bounds: tuple[Condition, ...]) -> None:
    """Filter by these bounds in place of others of the column; by none, where they are the filter's."""
    chosen = _without_range(view, column)
    if set(bounds) == set(_range_of(view, column)):
        set_filter(chosen)
    else:
        set_filter(replace(chosen, conditions=chosen.conditions + bounds))


def _undo_range(view: View, column: str) -> None:
    set_filter(_without_range(view, column), zoom="")


def _number_bounds(view: View, column: str, bins: Sequence[tuple[float, float]], first: int, last: int) -> tuple[Condition, ...]:
    """From the lower edge of the first bin to just below the upper one of the last, or to it where that is the greatest number of all.
    Edges of bins: what is in between is known without a look at the rows."""
    lower, upper = bins[first][0], bins[last][1]
    extent = view.table.extent(column)
    end = Operator.TO if extent and upper == extent[1] else Operator.BELOW
    return Condition(column, Operator.FROM, (repr(lower),)), Condition(column, end, (repr(upper),))


def _nearest(edges: Sequence[float], low: float, high: float) -> tuple[int, int]:
    """The first and the last bin between two ends, each moved to the nearest edge; one bin at least."""
    first, end = (min(range(len(edges)), key=lambda place: abs(edges[place] - value)) for value in (low, high))
    if first == end:  # within one bin
        first = max(place for place in range(len(edges) - 1) if place == 0 or edges[place] <= (low + high) / 2)
        end = first + 1
    return first, end - 1


def _standing_out(places: Sequence[bool]) -> tuple[int, int] | None:
    """The first and the last of these that are chosen."""
    chosen = [place for place, is_chosen in enumerate(places) if is_chosen]
    return (chosen[0], chosen[-1]) if chosen else None


def _selected_bins(view: View, column: str, bins: Sequence[tuple[float, float]]) -> tuple[int, int] | None:
    """The bins in the filter's range; None where it has none, or where no bin is in it."""
    if not _ranged(view, column):
        return None
    low, high = -math.inf, math.inf
    if column == view.table.own["Number"]:
        low, high = (view.filter.minimum if view.filter.minimum is not None else low), (
            view.filter.maximum if view.filter.maximum is not None else high)  # fmt: skip
    for condition in _range_of(view, column):
        value = float(condition.values[0])
        if condition.operator is Operator.FROM:
            low = max(low, value)
        else:
            high = min(high, math.nextafter(value, -math.inf) if condition.operator is Operator.BELOW else value)
    return _standing_out([lower <= high and upper > low for lower, upper in bins])


def _zoom(view: View, column: str, row: DeltaGenerator) -> Filter:
    """What the chart of this column counts: all but its own range, or with the zoom what is in the range."""
    if not _ranged(view, column):
        return view.filter
    zoomed = st.query_params.get("zoom", "") == "1"
    with row:
        st.button(
            "Zoom out" if zoomed else "Zoom", key="zoom", type="tertiary", on_click=change, kwargs={"zoom": "" if zoomed else "1"},
            icon=f":material/zoom_{'out' if zoomed else 'in'}:", help="Draw the chosen range alone",
        )  # fmt: skip
    return view.filter if zoomed else _without_range(view, column)


# ---- charts -------------------------------------------------------------------------------------------------------------------------


def _chosen_column(label: str, name: str, names: list[str], default: str) -> str:
    return choose(label, name, names, default, label_visibility="collapsed", width=120)


def _distribution(view: View, row: DeltaGenerator) -> None:
    names = [name for name in view.table.columns if not (name == "Prediction" and _numeric(view))]
    likely = [*([view.table.own["Number"]] if _numeric(view) else []), *_class_columns(view), *_number_columns(view)]
    with row:
        column = _chosen_column("Column", "x", names, likely[0] if likely else view.table.own["Folder"])
    if view.table.columns[column] in NUMERIC:
        _numbers(view, row, column)
    elif view.table.columns[column] is Kind.DATE:
        _times(view, row, column)
    else:
        most = _MOST_BARS if _shows_all() else _FEW_BARS
        counts = view.table.facet(column, view.filter, most)
        if not counts:
            _nothing("rows")
            return
        figure = _plots.bars(counts, chosen_of(view, column), column)
        _plots.draw(
            figure, "chart", f"Rows by {column}, most frequent: {_plots.axis_label(counts[0][0]) if counts else 'none'}",
            lambda _, bar: _choose_value(view, column, counts[bar][0]), title=f"Rows by {column}", row=row,
            numbers={column: [value for value, _ in counts], "Rows": [count for _, count in counts]},
        )  # fmt: skip
        _few("more_bars", _FEW_BARS, _MOST_BARS, len(counts), "values")


def _nothing(noun: str) -> None:
    st.info(f"No {noun} to draw under these filters.", icon=":material/info:")


def _called(view: View, column: str) -> str:
    return "Prediction" if column == view.table.own["Number"] else column


def _numbers(view: View, row: DeltaGenerator, column: str) -> None:
    bins = charts.histogram(view.table, _zoom(view, column, row), _BINS, column)
    if not bins:
        _nothing("numbers")
        return
    name, bars, edges = _called(view, column), [(low, high) for low, high, _ in bins], [bins[0][0], *(upper for _, upper, _ in bins)]

    def brushed(low: float, high: float) -> None:
        _choose_range(view, column, _number_bounds(view, column, bars, *_nearest(edges, low, high)))

    _plots.draw(
        _plots.histogram(bins, name), "chart_numbers",
        f"Distribution of {name}, from {bins[0][0]:,g} to {bins[-1][1]:,g}",
        lambda _, bar: _choose_range(view, column, _number_bounds(view, column, bars, bar, bar)), title=f"Distribution of {name}", row=row,
        brushed=brushed, unbrushed=(lambda: _undo_range(view, column)) if _ranged(view, column) else None,
        selected=_selected_bins(view, column, bars),
        numbers={"From": [low for low, *_ in bins], "To": [high for _, high, _ in bins], "Rows": [count for *_, count in bins]},
    )  # fmt: skip
    st.caption("Drag across bars to filter by a range, or click one. A double click undoes it.")


def _over_folders(view: View, row: DeltaGenerator) -> None:
    folder_column = view.table.own["Folder"]
    most = _MOST_FOLDERS if _shows_all() else _FEW_FOLDERS
    if _numeric(view):
        groups = view.table.grouped(folder_column, filter_=view.filter, limit=most).to_pylist()
        means = [(group[folder_column], group["Mean"], group["Rows"]) for group in groups if group["Mean"] is not None]
        if not means:
            _nothing("numbers")
            return
        figure = _plots.bars([(name, 0) for name, *_ in means], title=folder_column, of="Mean prediction")
        figure.update_traces(
            x=[mean for _, mean, _ in means], text=[f"{mean:,.4g}" for _, mean, _ in means],
            hovertext=[f"{_plots.axis_label(name)}: {mean:,.6g}, {counted(rows, 'row')}" for name, mean, rows in means],
        )  # fmt: skip
        _plots.draw(
            figure, "chart_folders", "Mean prediction by folder", lambda _, bar: _choose_value(view, folder_column, means[bar][0]),
            title="Mean prediction by folder", row=row,
            numbers=_columns((folder_column, "Mean", "Rows"), means),
        )  # fmt: skip
        _few("more_folders", _FEW_FOLDERS, _MOST_FOLDERS, len(means), "folders")
        return
    by = (_class_columns(view) or ["Prediction"])[0]
    class_counts = charts.classes_over_folders(view.table, view.filter, most, _FEW_CLASSES, by)
    if not class_counts:
        _nothing("rows")
        return
    sums: dict[str, int] = {}
    for folder, _, count in class_counts:
        sums[folder] = sums.get(folder, 0) + count
    folders = sorted(sums, key=lambda folder: (-sums[folder], folder))
    classes = list(dict.fromkeys(name for _, name, _ in sorted(class_counts, key=lambda row: -row[2])))
    counts = {(folder, name): count for folder, name, count in class_counts}
    parts = [(name, [counts.get((folder, name), 0) for folder in folders]) for name in classes]

    def clicked(trace: int, bar: int) -> None:
        name = classes[trace]
        chosen = choose_of(view, by, () if name is None else (str(name),))
        set_filter(choose_of(view, folder_column, (folders[bar],), chosen))

    _plots.draw(
        _plots.stacked(folders, parts, folder_column), "chart_stacked", "Classes in each folder", clicked, title="Classes in each folder",
        row=row, numbers=_columns((folder_column, by, "Rows"), class_counts),
    )  # fmt: skip
    _few("more_folders", _FEW_FOLDERS, _MOST_FOLDERS, len(folders), "folders")
    if len(classes) == _FEW_CLASSES:
        st.caption(f"At most the {_FEW_CLASSES} most frequent classes.")


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Mapping[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _over_time(view: View, row: DeltaGenerator) -> None:
    names = _date_columns(view)
    with row:
        column = _chosen_column("Date", "x", names, names[0]) if len(names) > 1 else names[0]
    _times(view, row, column)


def _times(view: View, row: DeltaGenerator, column: str) -> None:
    bins = charts.over_time(view.table, _zoom(view, column, row), _BINS, column=column)
    if not bins:
        st.info("These rows have no times.", icon=":material/info:")
        return
    of = "Rows"
    if _numeric(view):
        with row:
            of = _chosen_column("Of each time", "y", ["Rows", "Mean prediction"], "Rows")
    values = [(begin, end, mean if of != "Rows" else count) for begin, end, count, mean in bins]

    def bounds(first: int, last: int) -> tuple[Condition, ...]:
        begin, end = bins[first][0].isoformat(), bins[last][1].isoformat()
        return Condition(column, Operator.FROM, (begin,)), Condition(column, Operator.BELOW, (end,))

    def brushed(low: str, high: str) -> None:
        edges = [seconds(bins[0][0]), *(seconds(end) for _, end, *_ in bins)]
        _choose_range(view, column, bounds(*_nearest(edges, *(seconds(datetime.fromisoformat(value)) for value in (low, high)))))

    selected = None
    if _ranged(view, column):
        low, high = datetime.min, datetime.max
        for condition in _range_of(view, column):
            value, is_from = datetime.fromisoformat(condition.values[0]).replace(tzinfo=None), condition.operator is Operator.FROM
            low, high = (max(low, value), high) if is_from else (low, min(high, value))
        selected = _standing_out([begin < high and end > low for begin, end, *_ in bins])
    _plots.draw(
        _plots.times(values, column, of), "chart_time", f"{of} over {column}",
        lambda _, bar: _choose_range(view, column, bounds(bar, bar)), title=f"{of} over {column}", row=row, brushed=brushed,
        selected=selected,
        unbrushed=(lambda: _undo_range(view, column)) if _ranged(view, column) else None,
        numbers=_columns(("From", "To", "Rows", "Mean prediction"), bins) if _numeric(view) else _columns(("From", "To", "Rows"), bins),
    )  # fmt: skip
    st.caption("Drag across bars to filter by a range, or click one. A double click undoes it.")


def seconds(moment: datetime) -> float:
    """Since 1970, in UTC, as the table's dates are."""
    return moment.replace(tzinfo=UTC).timestamp()


def _score_by_class(view: View, row: DeltaGenerator) -> None:
    scores, by_classes = _number_columns(view), _class_columns(view)
    with row:
        column = _chosen_column("Score", "x", scores, scores[0])
        by = _chosen_column("Class", "y", by_classes, by_classes[0]) if len(by_classes) > 1 else by_classes[0]
    most = _MOST_CLASSES if _shows_all() else _FEW_CLASSES
    bins, by_class = charts.numbers_by_class(view.table, _zoom(view, column, row), column, by, _BINS, most)
    if not bins:
        _nothing("numbers")
        return
    names, edges = list(by_class), [bins[0][0], *(upper for _, upper in bins)]

    def clicked(trace: int, bar: int) -> None:
        bounds = _number_bounds(view, column, bins, bar, bar)
        chosen = _without_range(view, column)
        set_filter(choose_of(view, by, (str(names[trace]),), replace(chosen, conditions=chosen.conditions + bounds)))

    def brushed(low: float, high: float) -> None:
        _choose_range(view, column, _number_bounds(view, column, bins, *_nearest(edges, low, high)))

    name = _called(view, column)
    selected = _selected_bins(view, column, bins)
    numbers = [(value, low, high, count) for value in names for (low, high), count in zip(bins, by_class[value], strict=True)]
    _plots.draw(
        _plots.ridges(names, bins, list(by_class.values()), name), "chart_scores", f"{name} by {by}", clicked,
        title=f"{name} by {by}", row=row, brushed=brushed, selected=selected, numbers=_columns((by, "From", "To", "Rows"), numbers),
        unbrushed=(lambda: _undo_range(view, column)) if _ranged(view, column) else None,
    )  # fmt: skip
    _few("more_classes", _FEW_CLASSES, _MOST_CLASSES, len(names), "classes")
    st.caption("Each class is drawn as high as its row. Drag across to filter by a range, or click a bar. A double click undoes it.")


def _two_columns(view: View, row: DeltaGenerator) -> None:
    names = list(view.table.columns)
    number, class_ = _number_columns(view), _class_columns(view)
    likely = [*number, *class_, view.table.own["Folder"], "Prediction"]
    with row:
        x = _chosen_column("Horizontal", "x", names, likely[0])
        y = _chosen_column("Vertical", "y", names, likely[1])
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
        set_filter(chosen)

    figure = _plots.squares(cells, x, y)
    figure.update_layout(height=min(figure.layout.height, 430))  # the table is below it, or beside it
    _plots.draw(
        figure, "chart_two", f"{x} by {y}", clicked, title=f"{x} by {y}", row=row,
        numbers=_columns((x, y if y != x else f"{y} 2", "Rows"), cells),
    )  # fmt: skip
    st.caption("Darker squares have more rows. Click one to filter by it.")


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

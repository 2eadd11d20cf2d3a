"""Results: the filter panel. Facets with their counts, a threshold, and a condition on any column."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import streamlit as st

from pages import _errors
from pages._results_table import has_values
from pages._results_view import View, add, change, choose, follow, joined, option_labels, set_filter
from pages._text import displayable, escape, sentence
from services.errors import SettingsError
from services.predictions.columns import CLASSES, INPUT_FILE, Kind, Status
from services.predictions.failures import failure_causes
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.number_bins import Width

_FEW = 12  # values that are shown side by side; more are chosen from a list
_MOST = 50
_LARGEST_OF_A_SLIDER = 2.0**53
_NUMBERS = (Kind.NUMBER, Kind.WHOLE_NUMBER)
_OPERATORS = {
    Kind.TEXT: [Operator.CONTAINS, Operator.STARTS, Operator.GLOB, Operator.ONE_OF, Operator.EMPTY],
    Kind.CATEGORY: [Operator.ONE_OF, Operator.CONTAINS, Operator.STARTS, Operator.GLOB, Operator.EMPTY],
    Kind.TRUTH_VALUE: [Operator.ONE_OF, Operator.EMPTY],
    Kind.DATE: [Operator.FROM, Operator.TO, Operator.BELOW, Operator.EMPTY],
    Kind.NUMBER: [Operator.FROM, Operator.TO, Operator.BELOW, Operator.EMPTY],
    Kind.WHOLE_NUMBER: [Operator.FROM, Operator.TO, Operator.BELOW, Operator.ONE_OF, Operator.EMPTY],
}


def panel(view: View) -> None:
    own = view.table.own
    threshold(view)
    facet(view, "Prediction") if view.table.kind is Kind.CATEGORY else None
    if sum(1 for count in view.table.row_counts.values() if count) > 1:
        facet(view, own["Status"])
    if INPUT_FILE in own:
        facet(view, own[INPUT_FILE])
    causes(view)
    for name in view.table.further_columns:
        numeric_label = name in ("Label", "Before") and view.table.kind in _NUMBERS
        if view.table.columns[name] in CLASSES and not numeric_label:
            facet(view, name)
    facet(view, own["Folder"])
    facet(view, own["Matched by"])
    with st.expander("Mini-batch and worker", icon=":material/filter_list:", key="more_facets", on_change="rerun") as opened:
        if opened.open:
            facet(view, own["Mini-batch"])
            facet(view, own["Worker"])
    with st.expander("Filter by column", icon=":material/filter_alt:", key="by_column", on_change="rerun") as opened:
        if opened.open:
            by_any_column(view)


# ---- facets ----------------------------------------------------------------------------------------------------------------------


def chosen_of(view: View, column: str) -> tuple[str, ...]:
    """The values of this column that the view's filter selects."""
    chosen = view.filter
    if column == "Prediction":
        return chosen.classes
    if column == view.table.own["Status"]:
        return tuple(map(str, chosen.statuses)) if chosen.statuses != Filter().statuses else ()  # Streamlit fails on an enum
    return next((c.values for c in chosen.conditions if (c.column, c.operator) == (column, Operator.ONE_OF)), ())


def choose_of(view: View, column: str, values: tuple[str, ...], chosen: Filter | None = None) -> Filter:
    """The view's filter, or another, with these values of the column; without values, with all."""
    chosen = view.filter if chosen is None else chosen
    if column == "Prediction":
        return replace(chosen, classes=values)
    if column == view.table.own["Status"]:
        return replace(chosen, statuses=tuple(Status(value) for value in values) or Filter().statuses)
    others = tuple(c for c in chosen.conditions if (c.column, c.operator) != (column, Operator.ONE_OF))
    return replace(chosen, conditions=(*others, Condition(column, Operator.ONE_OF, values)) if values else others)


def causes(view: View) -> None:
    """A facet of why rows failed, whether failed rows are shown or not: choosing a cause shows the rows that failed for it."""
    if view.table.row_counts.get(Status.FAILED):
        sentences = {cause.template: cause.cause for cause in failure_causes(view.table)}
        facet(view, view.table.own["Cause"], statuses=(Status.FAILED,), least=1, written=sentences)


def facet(
    view: View,
    column: str,
    *,
    statuses: tuple[Status, ...] | None = None,
    least: int = 2,
    written: Mapping[str, str] | None = None,
) -> None:
    """The most frequent values with their counts, where there are at least so many; those in the filter are selected. With `statuses`, of
    rows in these, to which choosing a value turns. `written` are sentences to show for values."""
    counted_in = view.filter if statuses is None else replace(view.filter, statuses=statuses)
    counts = {str(value): count for value, count in view.table.facet(column, counted_in, _MOST) if value is not None}
    chosen = chosen_of(view, column)
    counts |= dict.fromkeys((value for value in chosen if value not in counts), 0)
    if len(counts) < least and not chosen:
        return
    key = f"facet_{column}" if written is None else f"facet-sentences_{column}"
    follow(key, list(chosen))
    few = len(counts) <= _FEW
    labels = option_labels(counts, counts, escape if few else displayable, written)

    def choose_values() -> None:
        values = tuple(st.session_state[key] or ())
        set_filter(choose_of(view, column, values, counted_in if values else view.filter))

    options: dict[str, Any] = {
        "label": escape(_heading(column)), "options": list(counts), "key": key, "format_func": lambda value: labels.get(value, value),
        "on_change": choose_values,
    }  # fmt: skip
    if few:
        st.pills(selection_mode="multi", wrap=True, **options)
    else:
        st.multiselect(placeholder=f"all (the {_MOST} most frequent are listed)" if len(counts) >= _MOST else "all", **options)


def _heading(column: str) -> str:
    """A column's name, and beside true labels which of two labels it is: a script's own `label` is then called `label 2`."""
    said = {"label": "true", "label 2": "as scored"} if joined().startswith("labels:") else {}
    return f"{column}: {said[column.lower()]}" if column.lower() in said else column


# ---- threshold -------------------------------------------------------------------------------------------------------------------


def threshold(view: View) -> None:
    """A slider over a column of numbers: counts the rows at or above it, and filters by it."""
    scores = [name for name in view.table.further_columns if view.table.columns[name] in _NUMBERS]
    if view.table.kind in _NUMBERS:
        scores.insert(0, view.table.own["Number"])
    scores = [name for name in scores if has_values(view, name)]  # two classes have no difference
    if not scores:
        return
    column = choose("Threshold on", "of", scores, scores[0]) if len(scores) > 1 else scores[0]
    name = "Prediction" if column == view.table.own["Number"] else column
    ends = view.table.extent(column)
    if ends is None or not ends[1] / 100 - ends[0] / 100 > 0:
        return
    steps = Width(1, math.floor(math.log10(ends[1] / 100 - ends[0] / 100)))
    least, greatest = steps.edge(steps.place(ends[0])), ends[1]  # what is chosen is round: it needs no look at the rows
    type_ = view.table.exact.get(column, "")
    if type_.startswith("DECIMAL") or (type_ and max(-least, greatest) >= _LARGEST_OF_A_SLIDER):
        _exact_threshold(view, column, name)
        return
    reached = next((float(c.values[0]) for c in view.filter.conditions if (c.column, c.operator) == (column, Operator.FROM)), least)
    key = f"threshold_{column}"
    follow(key, min(max(reached, least), greatest))

    others = tuple(c for c in view.filter.conditions if (c.column, c.operator) != (column, Operator.FROM))

    def rounded(value: float) -> float:
        """A browser adds steps up, with what doubles lose."""
        return round(value, -steps.exponent) if steps.exponent < 0 else value

    def set_threshold() -> None:
        value = rounded(st.session_state[key])
        bound = () if value <= least else (Condition(column, Operator.FROM, (repr(value),)),)
        set_filter(replace(view.filter, conditions=others + bound))

    st.slider(escape(f"{name} at least"), least, greatest, key=key, step=steps.edge(1), on_change=set_threshold)
    below, above = view.table.reached(column, rounded(st.session_state[key]), replace(view.filter, conditions=others))
    st.caption(f"{above:,} at or above, {below:,} below.")


def _exact_threshold(view: View, column: str, name: str) -> None:
    """A text field in the slider's place, for numbers with more digits than a slider has."""
    others = tuple(c for c in view.filter.conditions if (c.column, c.operator) != (column, Operator.FROM))
    key = f"exact_threshold_{column}"
    follow(key, next((c.values[0] for c in view.filter.conditions if (c.column, c.operator) == (column, Operator.FROM)), ""))

    def set_threshold() -> None:
        value = str(st.session_state[key] or "").strip()
        chosen = replace(view.filter, conditions=others + ((Condition(column, Operator.FROM, (value,)),) if value else ()))
        try:
            view.table.count(chosen)
        except SettingsError as error:
            st.toast(escape(f"{sentence(error.message)}. {error.hint}"), icon=":material/error:")
            return
        set_filter(chosen)

    st.text_input(escape(f"{name} at least"), key=key, on_change=set_threshold)


# ---- any column ------------------------------------------------------------------------------------------------------------------


def by_any_column(view: View) -> None:
    names = list(view.table.columns)
    labels = option_labels(names)
    column = st.selectbox("Column", names, key="condition_column", format_func=lambda name: labels.get(name, name))
    kind = view.table.columns[column]
    test = st.selectbox("Operator", _OPERATORS[kind], key=f"condition_test_{kind}", label_visibility="collapsed")
    values = _values(view, column, kind, test)
    ready = test is Operator.EMPTY or any(values)
    st.button("Add", key="add_condition", icon=":material/add:", disabled=not ready, on_click=_add, args=(view, column, test, values))
    st.divider()
    where = st.text_input("SQL condition", key="where", placeholder="length(Prediction) > 3 AND Attempts > 1")
    if st.button("Apply", key="add_where", icon=":material/add:", disabled=not where):
        try:
            view.table.count(replace(view.filter, where=where))
        except SettingsError as error:
            _errors.show(error)
        else:
            set_filter(replace(view.filter, where=where))
            st.rerun()


def _values(view: View, column: str, kind: Kind, test: Operator) -> tuple[str, ...]:
    if test is Operator.EMPTY:
        return ()
    key = f"condition_{column}_{test}"
    if test is Operator.ONE_OF:
        known = [str(value) for value, _ in view.table.facet(column, view.filter, 1000) if value not in (None, "")]
        labels = option_labels(known)
        values = st.multiselect("Values", known, key=key, format_func=lambda value: labels.get(value, value), accept_new_options=True)
        return tuple(values)
    if kind is Kind.DATE:
        day: date | None = st.date_input("Day (UTC)", value=None, key=key)
        return (day.isoformat() if day else "",)
    return (st.text_input("Value", key=key, placeholder={Operator.GLOB: "part_0*/*.png"}.get(test, "")) or "",)


def _add(view: View, column: str, test: Operator, values: tuple[str, ...]) -> None:
    condition = Condition(column, test, values)
    try:
        view.table.count(replace(view.filter, conditions=(*view.filter.conditions, condition)))
    except SettingsError as error:
        st.toast(escape(f"{sentence(error.message)}. {error.hint}"), icon=":material/error:")
        return
    if column == "Prediction" and test is Operator.ONE_OF:
        set_filter(replace(view.filter, classes=tuple(dict.fromkeys((*view.filter.classes, *values)))))
    else:
        add(view.filter, condition)
    change(look="")

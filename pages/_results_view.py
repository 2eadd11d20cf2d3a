"""The state of the Results page: all of it is in the URL, and only there. Callbacks change the URL; the widgets follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import RunLocation, ThreadState

from pages import _errors
from pages._text import displayable, truncate, visible
from services.domain import Run
from services.errors import SettingsError
from services.predictions.filters import Condition, Filter, Operator, Order

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_PAGE = 100  # rows
GALLERY_PAGE = 48
MODES = ("Explore", "Review", "Evaluation", "Groups", "SQL")
"""The first is the picture beside the table."""
_OLD_MODES = {"True labels": "Evaluation"}  # in URLs that were kept
GALLERY = "Gallery"
_CHARACTERS, _CHARACTERS_OF_A_SENTENCE = 40, 160  # of a label
_URL_NAMES = (
    "filter", "sort", "page", "row", "look", "beside", "columns", "chart", "x", "y", "by", "of", "sql", "zoom", "all", "review",
    "event", "score",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """A table, filtered and sorted. `row` is the position of the open row in it, or None."""

    run: Run
    table: Predictions
    filter: Filter
    order: Order
    page: int
    row: int | None

    @property
    def query(self) -> dict[str, str]:
        """The query of a download: the run, the filter, the order, what is joined."""
        query = {"run": self.run.id, "filter": self.filter.to_text(), "sort": self.order.to_text(), "beside": joined()}
        return {name: value for name, value in query.items() if value}


def current(run: Run, table: Predictions) -> View:
    """The view in the URL. What is invalid in it is shown as an error and left out."""
    chosen, order = Filter(), Order()
    try:
        chosen = Filter.from_text(st.query_params.get("filter", ""))
        if gone := [condition.column for condition in chosen.conditions if condition.column not in table.columns]:
            chosen = replace(chosen, conditions=tuple(c for c in chosen.conditions if c.column not in gone))
            raise SettingsError("filter", f"This table has no column “{gone[0]}”", "The filter by it is left out.")
        order = Order.from_text(st.query_params.get("sort", ""))
        if order.column and order.column not in table.columns:
            order = Order()
    except SettingsError as error:
        _errors.show(error)
    row = _number("row")
    return View(run, table, chosen, order, _number("page") or 1, None if row is None else row - 1)


def joined() -> str:
    """What is joined to the predictions: `labels:ID`, `labels:ID:COLUMN`, `run:ID`, `run:ID:COLUMN`, or nothing."""
    return st.query_params.get("beside", "")


def mode() -> str:
    value = st.query_params.get("look", "")
    value = _OLD_MODES.get(value, value)
    return value if value in MODES else MODES[0]


def chart() -> str:
    """The kind of the picture; "" for the first."""
    return st.query_params.get("chart", "")


def page_rows() -> int:
    """How many rows a page has: beside the gallery as many as there are pictures."""
    return GALLERY_PAGE if chart() == GALLERY and mode() == MODES[0] else _PAGE


def _number(name: str) -> int | None:
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 and int(text) else None


# ---- changes, for callbacks ------------------------------------------------------------------------------------------------------


def change(**query: str) -> None:
    """Put these into the URL; an empty value removes its name. In a callback only for a person who used the widget: see `_is_by_hand`."""
    if not _is_by_hand():
        return
    for name, value in query.items():
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)


def _is_by_hand() -> bool:
    """Whether a person used the widget of this callback: the browser asks for its fragment then, or for the page.

    A fragment that refreshes itself, such as the one that tells which runs ended, sends what all widgets show, too. On a busy machine that
    is what they showed before this page was last drawn, and Streamlit calls back for what differs: for the facets that an open row has
    replaced, and for the line of a row that was closed.
    """
    context = get_script_run_ctx()
    if context is None or context.fragment_ids_this_run is None:
        return True
    now = ThreadState.get()
    return now.run_location is not RunLocation.CALLBACK or now.fragment_id in context.fragment_ids_this_run


def set_filter(chosen: Filter, **others: str) -> None:
    """Filter by this, back on the first page and with no row open. Where that is the filter already, nothing changes: a browser may tell of
    a facet after the row was opened that took its place."""
    if chosen.to_text() == st.query_params.get("filter", "") and all(st.query_params.get(name, "") == others[name] for name in others):
        return
    change(filter=chosen.to_text(), page="", row="", **others)


def remember_answered(view: View) -> None:
    """Note that this filter was answered: `undo_filter` comes back to it."""
    st.session_state.answered_filter = view.run.id, view.filter.to_text()


def undo_filter() -> None:
    """Back to the filter before one that takes too long; to none, where no other was answered."""
    run, text = st.session_state.get("answered_filter", ("", ""))
    is_another = run == st.query_params.get("run") and text != st.query_params.get("filter", "")
    change(filter=text if is_another else "", page="", row="")


def add(chosen: Filter, *conditions: Condition, **others: str) -> None:
    """Filter by these too. A condition replaces an earlier one with the same column and operator."""
    new = {(condition.column, condition.operator) for condition in conditions}
    kept = tuple(condition for condition in chosen.conditions if (condition.column, condition.operator) not in new)
    set_filter(replace(chosen, conditions=kept + conditions), **others)


def forget() -> None:
    """Drop everything but the run from the URL: the filters of one run would hide rows of another."""
    for name in _URL_NAMES:
        st.query_params.pop(name, None)


def follow(key: str, value: Any) -> None:
    """Give a widget the value in the URL. One that has it is left alone: a person may be typing there."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


# ---- widgets ---------------------------------------------------------------------------------------------------------------------


def option_labels(
    values: Iterable[Any],
    counts: Mapping[Any, int] | None = None,
    escape: Callable[[str], str] = displayable,
    written: Mapping[Any, str] | None = None,
) -> dict[Any, str]:
    """Unique labels for values from outside, since a widget finds its value by the label. `escape` is for widgets that read Markdown
    (buttons, pills); `written` are sentences to show for values."""
    labels: dict[Any, str] = {}
    taken: set[str] = set()
    for value in values:
        text = (written or {}).get(value, value)
        text = "(empty)" if text in ("", None) else visible(" ".join(str(text).split()) or repr(text))
        label = escape(truncate(text, _CHARACTERS if written is None else _CHARACTERS_OF_A_SENTENCE)) + (
            f" · {counts[value]:,}" if counts else ""
        )
        while label in taken:
            label += "\u2060"
        taken.add(label)
        labels[value] = label
    return labels


ENDS = (Operator.FROM, Operator.TO, Operator.BELOW)
"""Of a range, as a brush over a chart chooses it."""


def describe_range(low: Condition, high: Condition, own: Mapping[str, str]) -> str:
    """`score 0.5 to 0.75`: both ends in as many digits as tell them apart."""
    column = "Prediction" if low.column == own["Number"] else low.column
    return truncate(f"{column} {_short(low.values[0])} to {_short(high.values[0])}", _CHARACTERS + 20)


def _short(value: str) -> str:
    """A number in six digits; an ISO date without a midnight or a part of a second."""
    try:
        return f"{float(value):,.6g}"
    except ValueError:
        return value.replace("T", " ").partition(".")[0].removesuffix(" 00:00:00")


def describe(condition: Condition, own: Mapping[str, str]) -> str:
    """`Folder: a, b`, `score ≥ 0.5`, `File contains cat`. `own` is what the table's own columns are called in it."""
    values = truncate(", ".join(condition.values), _CHARACTERS)
    column = "Prediction" if condition.column == own["Number"] else condition.column
    match condition.operator:
        case Operator.ONE_OF:
            return f"{column}: {values}"
        case Operator.FROM:
            return f"{column} ≥ {values}"
        case Operator.TO:
            return f"{column} ≤ {values}"
        case Operator.BELOW:
            return f"{column} < {values}"
        case Operator.EMPTY:
            return f"{column} is empty"
    return f"{column} {condition.operator} {values}"


def address(path: str, query: Mapping[str, str], **more: str) -> str:
    return f"{path}?{urlencode({**query, **more})}"


COUNTS = ("Rows", "Labelled", "Predicted", "Correct", "Evaluated", "Wrong")
"""Columns of counts, written 12,345 instead of 12345."""


def choose(label: str, name: str, options: Sequence[str], default: str, also: Mapping[str, str] | None = None, **widget: Any) -> str:
    """A selectbox whose value is in the URL as `name`, with these options of the `widget`. Its own options may come from outside. `also` is
    put into the URL with a choice."""
    value = st.query_params.get(name, "")
    key = f"chosen_{name}"
    follow(key, value if value in options else default)
    labels = option_labels(options)
    chosen: str = st.selectbox(
        label, options, key=key, format_func=lambda option: labels.get(option, str(option)),
        on_change=lambda: change(**{name: str(st.session_state[key] or ""), **(also or {})}), **widget,
    )  # fmt: skip
    return chosen


def view_query() -> dict[str, str]:
    """The query of this view, for any run: without the page, the open row and what is joined."""
    of_this_run = ("page", "row", "beside")
    return {name: st.query_params[name] for name in _URL_NAMES if name in st.query_params and name not in of_this_run}

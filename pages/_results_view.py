"""What the Results page shows: all of it is in the URL, and only there. Callbacks change the URL; the widgets follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st

from pages import _shared
from pages._shared import clipped, shown, visible
from services.domain import Run
from services.errors import SettingsError
from services.predictions.filters import Condition, Filter, Operator, Order

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

PAGE = 100
"""Rows."""
LOOKS = ("Table", "Charts", "Groups", "SQL", "True labels")
_CHARACTERS = 40
_OF_THIS_PAGE = ("filter", "sort", "page", "row", "look", "beside", "columns", "chart", "x", "y", "by", "of", "sql")


@dataclass(frozen=True)
class View:
    """A table as it is looked at. `row` is the place of the open row in what is filtered, or None."""

    run: Run
    table: Predictions
    filter: Filter
    order: Order
    page: int
    row: int | None

    @property
    def query(self) -> dict[str, str]:
        """What a download is asked for: the run, the filter, the order, the column beside."""
        asked = {"run": self.run.id, "filter": self.filter.to_text(), "sort": self.order.to_text(), "beside": beside()}
        return {name: value for name, value in asked.items() if value}


def current(run: Run, table: Predictions) -> View:
    """What the URL asks for. What it asks for in vain is said and left out."""
    chosen, order = Filter(), Order()
    try:
        chosen = Filter.from_text(st.query_params.get("filter", ""))
        if gone := [one.column for one in chosen.conditions if one.column not in table.columns]:
            chosen = replace(chosen, conditions=tuple(one for one in chosen.conditions if one.column not in gone))
            raise SettingsError("filter", f"this table has no column “{gone[0]}”", "What is filtered by it is left out.")
        order = Order.from_text(st.query_params.get("sort", ""))
        if order.column and order.column not in table.columns:
            order = Order()
    except SettingsError as error:
        _shared.show_error(error)
    return View(run, table, chosen, order, _number("page") or 1, _place())


def beside() -> str:
    """What stands beside the predictions: `labels:ID`, `labels:ID:COLUMN`, `run:ID`, `run:ID:COLUMN`, or nothing."""
    return st.query_params.get("beside", "")


def look() -> str:
    asked = st.query_params.get("look", "")
    return asked if asked in LOOKS else LOOKS[0]


def _number(name: str) -> int | None:
    asked = st.query_params.get(name, "")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 12 and int(asked) else None


def _place() -> int | None:
    asked = _number("row")
    return None if asked is None else asked - 1


# ---- changes, for callbacks ------------------------------------------------------------------------------------------------------


def change(**asked: str) -> None:
    """Put these into the URL; what is empty leaves it."""
    for name, value in asked.items():
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)


def set_filter(chosen: Filter, **others: str) -> None:
    """Filter by this, from the first page on, with no row open."""
    change(filter=chosen.to_text(), page="", row="", **others)


def add(chosen: Filter, *conditions: Condition, **others: str) -> None:
    """Filter by these too. Of a column's tests that can't both say something, the later one stands."""
    new = {(one.column, one.test) for one in conditions}
    kept = tuple(one for one in chosen.conditions if (one.column, one.test) not in new)
    set_filter(replace(chosen, conditions=kept + conditions), **others)


def forget() -> None:
    """Everything but the run: another run's view would hide what nobody asked to hide."""
    for name in _OF_THIS_PAGE:
        st.query_params.pop(name, None)


def follow(key: str, value: Any) -> None:
    """Give a widget the value that the URL has. One that has it is left alone: a person may be typing there."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def kept_in_url(name: str, key: str) -> Callable[[], None]:
    """A callback that puts a widget's value into the URL."""
    return lambda: change(**{name: str(st.session_state[key] or "")})


# ---- words -----------------------------------------------------------------------------------------------------------------------


def option_labels(values: Iterable[Any], counts: Mapping[Any, int] | None = None, said: Callable[[str], str] = shown) -> dict[Any, str]:
    """Values from outside as labels of a widget's options, no two alike: what it gives back is found by its label. `said` is `plain` for
    widgets that read Markdown (buttons, pills); the lists of others show it as it is."""
    labels: dict[Any, str] = {}
    taken: set[str] = set()
    for value in values:
        text = "(empty)" if value in ("", None) else clipped(visible(" ".join(str(value).split()) or repr(value)), _CHARACTERS)
        label = said(text) + (f" · {counts[value]:,}" if counts else "")
        while label in taken:
            label += "\u2060"
        taken.add(label)
        labels[value] = label
    return labels


def describe(one: Condition) -> str:
    """`Folder: a, b`, `score ≥ 0.5`, `File contains cat`."""
    values = clipped(", ".join(one.values), _CHARACTERS)
    column = "Prediction" if one.column == "Number" else one.column
    match one.test:
        case Operator.ONE_OF:
            return f"{column}: {values}"
        case Operator.FROM:
            return f"{column} ≥ {values}"
        case Operator.TO:
            return f"{column} ≤ {values}"
        case Operator.EMPTY:
            return f"{column} is empty"
    return f"{column} {one.test} {values}"


def address(path: str, query: Mapping[str, str], **more: str) -> str:
    return f"{path}?{urlencode({**query, **more})}"


def high(rows: int, most: int) -> int:
    """The height of a table of so many rows, in pixels."""
    return min(rows, most) * 35 + 38


COUNTED = dict.fromkeys(("Rows", "Labelled", "Predicted", "Correct", "Judged", "Wrong"), st.column_config.NumberColumn(format="localized"))
"""Of tables with such columns: 12,345 rather than 12345."""


def choose(label: str, name: str, options: Sequence[str], default: str, **words: Any) -> str:
    """A selectbox whose value is in the URL as `name`. The options may come from outside."""
    asked = st.query_params.get(name, "")
    key = f"chosen_{name}"
    follow(key, asked if asked in options else default)
    labels = option_labels(options)
    chosen: str = st.selectbox(
        label, options, key=key, format_func=lambda option: labels.get(option, str(option)), on_change=kept_in_url(name, key), **words
    )
    return chosen


def view_query() -> dict[str, str]:
    """The query of this view, on any run: not the page, nor the open row, nor what stands beside."""
    of_this_run = ("page", "row", "beside")
    return {name: st.query_params[name] for name in _OF_THIS_PAGE if name in st.query_params and name not in of_this_run}

"""Elements that several pages have: the title, a run's status, facts under their names."""

from __future__ import annotations

import time
from collections.abc import Mapping

import streamlit as st

from pages._text import displayable, escape
from services.domain import Run, RunStatus

BADGES = {
    RunStatus.NOT_STARTED: ("gray", ":material/schedule:"),
    RunStatus.QUEUED: ("gray", ":material/schedule:"),
    RunStatus.RUNNING: ("blue", ":material/autorenew:"),
    RunStatus.CANCEL_REQUESTED: ("orange", ":material/autorenew:"),
    RunStatus.COMPLETED: ("green", ":material/check_circle:"),
    RunStatus.FAILED: ("red", ":material/error:"),
    RunStatus.CANCELED: ("gray", ":material/cancel:"),
    RunStatus.NOT_RESPONDING: ("orange", ":material/heart_broken:"),
}


def title(name: str, caption: str) -> None:
    """The page's heading and purpose, sent to the browser before anything else is drawn.

    The page's script and the loop that sends what it draws take turns under one interpreter lock: without a pause here the heading
    waits for the whole page (measured: 105 ms instead of 229 to the heading of New run).
    """
    st.header(name, anchor=False)
    st.caption(caption)
    time.sleep(0.01)


def status_badge(run: Run) -> None:
    """The run's status in its color."""
    color, icon = BADGES[run.status]
    st.badge(run.status, icon=icon, color=color)  # type: ignore[arg-type]


def facts(values: Mapping[str, str]) -> None:
    """Short values side by side, each under its name; they wrap on a narrow window. They may come from outside."""
    with st.grid(min(len(values), 24), min_column_width=130, gap="small"):
        for name, value in values.items():
            with st.container(gap=None):
                st.caption(escape(name))
                st.text(displayable(value))


def wrapped(name: str, value: str) -> None:
    """A longer value under its name, over the whole width. It may come from outside."""
    with st.container(gap=None):
        st.caption(escape(name))
        st.text(displayable(value))


def labelled(label: str, text: str) -> None:
    """A text from outside to read and copy whole: a path, a checksum. A long one scrolls."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        long = len(text) > 600 or text.count("\n") > 15
        st.code(displayable(text), language=None, wrap_lines=True, height=300 if long else "content")

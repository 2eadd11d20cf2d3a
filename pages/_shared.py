"""What pages share: the open workspace, errors shown once and at their fields, foreign text shown as text, the status badge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from services.domain import Run, RunStatus
from services.errors import EntryScriptError, SettingsError, StudioError
from services.workspace import Workspace, open_workspace

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


def workspace() -> Workspace:
    """The workspace this dashboard works in. Opening the local one takes a millisecond, so it is not kept."""
    return open_workspace()


def plain(text: str) -> str:
    """Text from outside, to stand where Streamlit takes Markdown: nothing in it formats, links or fetches."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text).replace("\n", "  \n")


def show_error(error: StudioError, where: DeltaGenerator | None = None) -> None:
    """What happened, and below it what to do next."""
    box = (where or st).container()
    box.error(plain(error.message) + (f"  \n{plain(error.hint)}" if error.hint else ""), icon=":material/error:")
    if isinstance(error, EntryScriptError) and error.traceback:
        box.code(error.traceback, language=None)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a person can mend, in place of the rest of the page. Anything else is a bug and looks like one."""
    try:
        yield
    except StudioError as error:
        show_error(error)


@contextmanager
def errors_at_their_fields(fields: dict[str, DeltaGenerator]) -> Iterator[None]:
    """Show a SettingsError in the container that belongs to its field, any other error here."""
    try:
        yield
    except SettingsError as error:
        show_error(error, fields.get(error.field))
    except StudioError as error:
        show_error(error)


def status_badge(run: Run) -> None:
    """The run's status, as a word in its colour."""
    color, icon = BADGES[run.status]
    st.badge(run.status, icon=icon, color=color)  # type: ignore[arg-type]

"""Errors, each shown once: at its field where it has one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages._text import displayable, escape, for_pages, sentence
from services.errors import EntryScriptError, StudioError, WorkspaceUnavailable

logger = logging.getLogger(__name__)


def log_unavailable(error: StudioError) -> None:
    """Most errors a person fixes at once: the log is for a workspace that can't be reached or written."""
    if isinstance(error, WorkspaceUnavailable):
        logger.warning("%s", error, exc_info=error)


def show(error: StudioError, place: DeltaGenerator | None = None) -> None:
    """The message, below it the hint; a script's traceback."""
    log_unavailable(error)
    box = (place or st).container()
    box.error(escape(sentence(error.message)) + (f"  \n{escape(for_pages(error.hint))}" if error.hint else ""), icon=":material/error:")
    if isinstance(error, EntryScriptError) and error.traceback:
        box.code(displayable(error.traceback), language=None)


@contextmanager
def shown() -> Iterator[None]:
    """Show a StudioError in place of the rest of the block. Any other exception is a bug and looks like one."""
    try:
        yield
    except StudioError as error:
        show(error)

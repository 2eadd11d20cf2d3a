"""Opening another page of this dashboard from a page's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def switch_page(page: str, query_params: Mapping[str, Any]) -> NoReturn:
    """Like `st.switch_page`, for pages with a fragment that refreshes itself (`run_every`).

    A browser that has not heard of the next page yet still asks for that fragment. Streamlit knows it until the next page is drawn, runs it
    then, and names the page before as the one that is shown: the browser clears the window, and nothing draws the rest of the page again
    (“Bad delta path index” in its console). A fragment that is forgotten is not run.

    And a page may be opened again by itself: Streamlit refuses to set what is bound to a widget, which is to be another one then.
    """
    forget_callbacks()
    if context := get_script_run_ctx():
        context.fragment_storage.clear()
        with context.session_state.query_params() as bound:
            for widget_id in list(bound._bindings_by_widget):
                bound.unbind_widget(widget_id)
    st.switch_page(page, query_params=query_params)  # noqa: TID251 - the one place that may


def forget_callbacks() -> None:
    """Call back nothing for the widgets drawn so far; to be called when another page takes their place.

    Until a page is drawn to its end, the browser sends with a click what the widgets of the page before showed. Streamlit, which has
    dropped their values by then, takes them for changed: the row that was clicked in the list of runs opened its run again, in place of
    what the click on the run's page asked for.
    """
    if context := get_script_run_ctx():
        known = context.session_state._state._new_widget_state.widget_metadata
        for widget_id, metadata in list(known.items()):
            if metadata.callback or metadata.callbacks:
                known[widget_id] = replace(metadata, callback=None, callbacks=None)

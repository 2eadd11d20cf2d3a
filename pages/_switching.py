"""Opening another page of this dashboard from a page's code."""

from __future__ import annotations

from collections.abc import Mapping
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
    if context := get_script_run_ctx():
        context.fragment_storage.clear()
        with context.session_state.query_params() as bound:
            for widget_id in list(bound._bindings_by_widget):
                bound.unbind_widget(widget_id)
    st.switch_page(page, query_params=query_params)  # noqa: TID251 - the one place that may

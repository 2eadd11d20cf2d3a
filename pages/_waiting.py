"""A long query that a person can stop: it runs in a thread of its own, while the page's script waits for it and looks for a click."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import streamlit as st

from services.predictions.database import StoppableQueries

_Answer = TypeVar("_Answer")
_AT_ONCE_SECONDS, _LOOK_SECONDS = 0.3, 0.1
_ONLY_WHILE_WAITING = """<style>
  .st-key-stop_query { display: none }
  body:has(.st-key-waiting_for_query) .st-key-stop_query { display: block }
</style>"""


def stop_button(on_click: Callable[[], None]) -> None:
    """The button that stops what `answer` waits for; to be placed outside of fragments, for a click in one is kept until the fragment has
    run. `on_click` goes back to what can be shown."""
    st.html(_ONLY_WHILE_WAITING)
    st.button("Stop", key="stop_query", icon=":material/stop_circle:", on_click=on_click, help="Stop this query and remove its filter")


def answer(question: Callable[[], _Answer], text: str) -> _Answer:
    """What `question` returns, or raises. When it takes long, the text is shown with the time that passed. A click on the stop button, any
    other that runs the page again, and leaving it interrupt its queries."""
    queries = StoppableQueries()
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(queries.run, question)
        try:
            if not wait([asked], _AT_ONCE_SECONDS).done:
                place = st.empty()
                with place.container(key="waiting_for_query"), st.spinner(text, show_time=True):
                    tick = st.empty()
                    while not wait([asked], _LOOK_SECONDS).done:
                        tick.empty()  # whatever is sent to the page raises here when the page is to run again
                place.empty()
            return asked.result()
        finally:
            while not wait([asked], 0).done:
                queries.stop()
                wait([asked], _LOOK_SECONDS)

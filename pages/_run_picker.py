"""The runs that Results and Compare offer to choose from: the newest, and a search for the others where there are more."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages._text import escape
from services.domain import Run
from services.formats import counted
from services.run_query import RunQuery
from services.workspaces import chosen_workspace

MOST = 1_000
"""Runs in one list: a browser gets them all, and filters them as a person types."""


def newest() -> list[Run]:
    """The newest first."""
    return chosen_workspace().runs.latest(MOST)


def search(offered: Sequence[Run], key: str) -> list[Run]:
    """The field to search all runs, where these are not all of them; returns the runs that match, else those that were offered."""
    runs = chosen_workspace().runs
    if len(offered) < MOST or (total := runs.search(RunQuery(archived=True, count=0)).total) <= MOST:
        return list(offered)
    placeholder = f"Search all {counted(total, 'run')}"
    help_text = f"The list has the newest {MOST:,}. Search by name, id, model, dataset, script, note or tag."
    text = st.text_input("Find a run", key=key, type="search", placeholder=placeholder, live="300ms", width=330, help=help_text)
    if not (text or "").strip():
        return list(offered)
    page = runs.search(RunQuery(text=text or "", archived=True, count=MOST))
    if page.total > MOST:
        st.caption(f"{counted(page.total, 'run')} match; the list has the newest {MOST:,}.")
    elif page.total:
        st.caption(f"{counted(page.total, 'run')} {'matches' if page.total == 1 else 'match'}: choose from the list.")
    else:
        st.caption(escape(f"No run matches “{(text or '')[:100]}”."))
    return list(page.runs)

"""In the sidebar, for a workspace elsewhere: which one, whether it is signed in to, how old its lists are."""

from __future__ import annotations

import streamlit as st

from pages import _shared
from services.domain import ConnectionState
from services.workspace import RemoteWorkspace

LOOK_EVERY = 0.7  # seconds, while something goes on


def show(remote: RemoteWorkspace) -> None:
    state = remote.state()
    busy = state.opening or state.listing
    st.fragment(_strip, run_every=LOOK_EVERY if busy else None)(remote, state)


def _strip(remote: RemoteWorkspace, before: ConnectionState) -> None:
    """Draws the page around it again only where there is something new: who is just clicking should not be disturbed."""
    state = remote.state()
    news = (state.changes, state.is_open, state.error) != (before.changes, before.is_open, before.error)
    if news and not (state.opening or state.listing):
        st.rerun()
    with st.container(border=True, gap="xsmall", key="connection-strip"):
        st.badge("Azure ML", icon=":material/cloud:", color="blue")
        st.text(_shared.shown(remote.location.rpartition(" / ")[2]))
        if state.opening:
            st.caption(":material/hourglass_top: Signing in …")
        elif state.error:
            said = state.error.message.replace(remote.location, remote.location.rpartition(" / ")[2])
            st.caption(f":material/error: {_shared.plain(_shared.clipped(said, 120))}")
        elif not state.is_open:
            st.caption(":material/lock: Not signed in")
        if state.message:
            st.info(_shared.plain(state.message))
        if state.listing and not state.opening:
            st.caption(":material/sync: Fetching the lists …")
        elif state.listed_at:
            st.caption(f"Lists as of {_shared.ago(state.listed_at)}")
        if not (state.opening or state.listing):
            if state.is_open and st.button("Refresh", key="refresh-lists", icon=":material/refresh:", type="tertiary"):
                remote.refresh()
                st.rerun()
            if not state.is_open:
                st.page_link("connection.py", label="Sign in", icon=":material/login:")

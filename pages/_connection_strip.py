"""In the sidebar, for a remote workspace: its name, whether it is signed in, and the age of its lists."""

from __future__ import annotations

import streamlit as st

from pages import _format
from pages._text import displayable, escape, truncate
from services.domain import ConnectionState
from services.workspace import RemoteWorkspace

REFRESH_SECONDS = 0.7  # while it signs in or lists


def show(remote: RemoteWorkspace) -> None:
    state = remote.state()
    busy = state.opening or state.listing
    st.fragment(_strip, run_every=REFRESH_SECONDS if busy else None)(remote, state)


def _strip(remote: RemoteWorkspace, before: ConnectionState) -> None:
    """Redraws the whole page only when something changed, so as not to interrupt clicks."""
    state = remote.state()
    changed = (state.changes, state.is_open, state.error) != (before.changes, before.is_open, before.error)
    if changed and not (state.opening or state.listing):
        st.rerun()
    with st.container(border=True, gap="xsmall", key="connection-strip"):
        st.badge("Azure ML", icon=":material/cloud:", color="blue")
        st.text(displayable(remote.location.rpartition(" / ")[2]))
        if state.opening:
            st.caption(":material/hourglass_top: Signing in…")
        elif state.error:
            message = state.error.message.replace(remote.location, remote.location.rpartition(" / ")[2])
            st.caption(f":material/error: {escape(truncate(message, 120))}")
        elif not state.is_open:
            st.caption(":material/lock: Not signed in")
        if state.message:
            st.info(escape(state.message))
        if state.listing and not state.opening:
            st.caption(":material/sync: Loading lists…")
        elif state.listed_at:
            st.caption(f"Lists as of {_format.ago(state.listed_at)}")
        if not (state.opening or state.listing):
            if state.is_open and st.button("Refresh", key="refresh-lists", icon=":material/refresh:", type="tertiary"):
                remote.refresh()
                st.rerun()
            if not state.is_open:
                st.page_link("connection.py", label="Sign in", icon=":material/login:")

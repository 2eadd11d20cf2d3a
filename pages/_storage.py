"""What several pages say of the disk that the home takes, and the counting of its files, beside a page."""

from __future__ import annotations

import streamlit as st

from pages._background import Job
from pages._text import escape
from services.storage.usage import StorageUsage
from services.workspace import Workspace

OLD_SECONDS = 600.0
_JOB = "storage-count"


def count_beside(workspace: Workspace, *, older_than: float = OLD_SECONDS) -> Job[StorageUsage | None] | None:
    """Start to count in the background where the last count is older; the job while it is under way."""
    job: Job[StorageUsage | None] | None = st.session_state.get(_JOB)
    if job is not None and not job.look():
        return job
    known = workspace.storage.known()
    if known is not None and known.age <= older_than:
        return None
    if job is not None and job.error:
        return None  # the page says it; a person may ask again
    st.session_state[_JOB] = job = Job(workspace.storage.measure)
    return job


def count_now(workspace: Workspace) -> None:
    """Start to count, whatever is known."""
    st.session_state[_JOB] = Job(workspace.storage.measure)


def last_count() -> Job[StorageUsage | None] | None:
    """The last job of this session."""
    return st.session_state.get(_JOB)


def keep_counted(workspace: Workspace) -> None:
    """Where there is a limit, renew an old count: every page may warn of it. At once."""
    if workspace.storage.limit():
        count_beside(workspace)


def show_warnings(workspace: Workspace) -> None:
    """That the home fills, with a link to the page where that can be changed."""
    if warnings := workspace.storage.warnings():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning("  \n".join(map(escape, warnings)), icon=":material/hard_drive:")
            st.page_link("storage_used.py", label="Storage", icon=":material/arrow_forward:")

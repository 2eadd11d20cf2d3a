"""Submitting once, however often a button is clicked. Used by New run, Rerun and published pipelines."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from services.domain import Run, RunRequest
from services.workspace import Workspace

DOUBLE_CLICK = 2.0  # seconds


@dataclass
class Submission:
    """The last submission of this session.

    A double click runs the page twice in overlapping threads, and the end of one may swallow the other's click. So the same request
    within seconds is the same submission, and the page goes to its run whether or not it saw the click. One object, because Streamlit
    may interrupt a run where it writes to the session state, but not where it changes an attribute.
    """

    request: str = ""
    id: str = ""
    at: float = float("-inf")
    run_id: str = ""

    @property
    def is_recent(self) -> bool:
        return time.monotonic() - self.at < DOUBLE_CLICK

    def submit(self, workspace: Workspace, request: RunRequest) -> Run:
        """Raises as `Workspace.submit` does."""
        request_text = repr(replace(request, submission_id=""))
        return self.once(request_text, lambda submission_id: workspace.submit(replace(request, submission_id=submission_id)))

    def once(self, request: str, submit: Callable[[str], Run]) -> Run:
        """The run that `submit` returns for a submission id, which is the same for the same request within seconds."""
        if request != self.request or not self.is_recent:
            self.request, self.id, self.run_id = request, uuid.uuid4().hex, ""
        self.at = time.monotonic()
        run = submit(self.id)
        self.at, self.run_id = time.monotonic(), run.id
        return run


def last_submission() -> Submission:
    """This session's."""
    submission: Submission = st.session_state.setdefault("submission", Submission())
    return submission

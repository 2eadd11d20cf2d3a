"""Submitting once. Used by the New run page and by Rerun."""

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
    """What this session submitted last.

    A double click comes as two runs of the page in overlapping threads, and the end of one may take the other's click away. So the same
    request within seconds is the same submission, and the page goes to its run whether or not it saw the click. One object, because
    writing to the session state is a place where Streamlit interrupts a run, and changing an attribute is none.
    """

    said: str = ""
    id: str = ""
    at: float = float("-inf")
    run_id: str = ""

    @property
    def is_recent(self) -> bool:
        return time.monotonic() - self.at < DOUBLE_CLICK

    def submit(self, workspace: Workspace, request: RunRequest) -> Run:
        """Raises as `Workspace.submit` does."""
        said = repr(replace(request, submission_id=""))
        return self.once(said, lambda submission_id: workspace.submit(replace(request, submission_id=submission_id)))

    def once(self, said: str, submit: Callable[[str], Run]) -> Run:
        """What `submit` makes of a submission id; the same id for who says the same again within seconds."""
        if said != self.said or not self.is_recent:
            self.said, self.id, self.run_id = said, uuid.uuid4().hex, ""
        self.at = time.monotonic()
        run = submit(self.id)
        self.at, self.run_id = time.monotonic(), run.id
        return run


def last_submission() -> Submission:
    """This session's."""
    kept: Submission = st.session_state.setdefault("submission", Submission())
    return kept

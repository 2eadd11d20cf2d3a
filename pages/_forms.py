"""What a click starts is done once, however often a button is clicked: registering a model or a dataset, submitting a run."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors
from pages._text import escape
from services.domain import Run, RunRequest
from services.errors import StudioError
from services.file_names import proposed_name
from services.workspace import RemoteWorkspace, Workspace
from services.workspaces import chosen_workspace

DOUBLE_CLICK = 2.0  # seconds


@dataclass
class Form:
    """A form whose button does its work once, kept in the session.

    On a second click Streamlit restarts the page at once, while the first click's work still runs in the old thread. So the new thread
    waits for it; and since `number` is part of every widget's key and was incremented, it finds the work done. The new number also
    empties the form.
    """

    name: str
    number: int = 0
    registered: str = ""
    """The reference of what was registered, until the page has shown it."""
    proposed: str = ""
    """The name to take where the field is left empty."""
    error: StudioError | None = None
    attempted: dict[str, Any] = field(default_factory=dict)
    """The values of the widgets at the last attempt."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def key(self, widget: str) -> str:
        return f"{self.name}-{widget}-{self.number}"

    def propose(self, file_name: str) -> None:
        """Propose a name from what was chosen, for an empty `name` field."""
        self.proposed = proposed_name(file_name)

    def proposing(self, widget: str) -> dict[str, Any]:
        """The options of a widget (a path, an upload, the upload of a folder) from whose value a name is proposed."""
        key = self.key(widget)

        def propose() -> None:
            match st.session_state[key]:
                case None | "" | []:
                    pass
                case str(path):
                    self.propose(path)
                case [only] if "/" not in only.name:
                    self.propose(only.name)
                case [first, *_] if "/" in first.name:
                    self.propose(first.name.split("/")[0] + "/")
                case [*_]:
                    self.proposed = ""
                case upload:
                    self.propose(upload.name)

        return {"key": key, "on_change": propose}

    @property
    def on_change(self) -> Literal["ignore"] | None:
        """For the fields: the page runs when one was changed only while an error is shown, which may be corrected."""
        return None if self.error else "ignore"

    def ask_name(self) -> str:
        """The field `name`; returns its value, or the proposal. That is a placeholder: filled in, it would replace what a person has typed
        meanwhile, of which the server learns later."""
        help_text = "An existing name gets a new version. Leave it empty to use the proposed name."
        name = st.text_input("Name", key=self.key("name"), on_change=self.on_change, placeholder=self.proposed, help=help_text)
        return name.strip() or self.proposed

    def ask_description(self) -> str:
        text = st.text_input("Description", key=self.key("description"), on_change=self.on_change, placeholder="optional")
        return text.strip()

    def submit(self, label: str, activity: str, work: Callable[[], str], fields: Mapping[str, DeltaGenerator]) -> None:
        """The button and, when it is pressed, the work, which returns the reference of what it registered. A remote workspace says how far
        it is. The error of the last attempt is shown at its field, one without at `path`, until that is corrected. Its room stays until the
        next attempt: otherwise the button would move from under the pointer.
        """
        remote = chosen_workspace().remote
        number = self.number
        pressed = st.button(label, key=self.key("submit"), type="primary", icon=":material/add:")
        if pressed:
            self.attempted = self._values()
        if pressed or self.lock.locked():
            with st.spinner(activity, show_time=True):
                due = number if pressed else -1
                if remote:
                    self._once_with_progress(due, work, remote)
                else:
                    self.once(due, work)
        if self.registered:
            st.rerun()
        if self.error:
            name = getattr(self.error, "field", "path")
            place = fields.get(name, fields["path"])
            _errors.show(self.error, place.container(key=f"corrected-{self.name}") if self._is_corrected(name) else place)

    def _values(self) -> dict[str, Any]:
        """What is in the form's widgets."""
        keys = (str(key) for key in st.session_state)
        mine = (key for key in keys if key.startswith(f"{self.name}-") and key.endswith(f"-{self.number}") and key != self.key("submit"))
        return {key: st.session_state[key] for key in mine}

    def _is_corrected(self, field_name: str) -> bool:
        """Whether the field was changed since the last attempt; where it has no widget of its own name, any field."""
        now, key = self._values(), self.key(field_name)
        keys = [key] if key in self.attempted else {**self.attempted, **now}
        return any(now.get(key) != self.attempted.get(key) for key in keys)

    def _once_with_progress(self, number: int, work: Callable[[], str], remote: RemoteWorkspace) -> None:
        """The work in a thread of its own, while this one shows its progress."""
        worker = threading.Thread(target=self.once, args=(number, work))
        worker.start()
        place = st.empty()
        while worker.is_alive():
            place.caption(escape(remote.state().message))
            worker.join(0.3)

    def once(self, number: int, work: Callable[[], str]) -> None:
        """Do the work of the form with this number unless it is done; wait while it is being done. Makes no Streamlit call."""
        with self.lock:
            if number == self.number:
                self.error = None
                try:
                    self.registered = work()
                    self.number, self.proposed = self.number + 1, ""
                except StudioError as error:
                    self.error = error

    def show_registered(self, tab: str, widget: str = "") -> None:
        """Once after the work: open `tab` and choose there what was registered, in the widget that is called as the form unless another is
        named. To be called before the tabs are drawn."""
        if self.registered:
            st.session_state["tab"], st.session_state[widget or self.name] = tab, self.registered
            st.toast(f"Registered **{escape(self.registered)}**", icon=":material/check_circle:")
            self.registered = ""


def form_called(name: str) -> Form:
    """This session's form of that name."""
    form: Form = st.session_state.setdefault(f"form-{name}", Form(name))
    return form


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

"""The form that registers a model or a dataset: once, however often its button is clicked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors
from pages._text import escape
from services.errors import StudioError
from services.file_names import proposed_name


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
    lock: threading.Lock = field(default_factory=threading.Lock)

    def key(self, widget: str) -> str:
        return f"{self.name}-{widget}-{self.number}"

    def propose(self, file_name: str) -> None:
        """Propose a name from what was chosen, for an empty `name` field."""
        self.proposed = proposed_name(file_name)

    def ask_name(self) -> str:
        """The field `name`; returns its value, or the proposal. That is a placeholder: filled in, it would replace what a person has typed
        meanwhile, of which the server learns later."""
        help_text = "An existing name gets a new version. Leave it empty to use the proposed name."
        name = st.text_input("Name", key=self.key("name"), on_change="ignore", placeholder=self.proposed, help=help_text)
        return name.strip() or self.proposed

    def submit(
        self, label: str, activity: str, work: Callable[[], str], *, key: str = "submit", progress: Callable[[], str] | None = None
    ) -> None:
        """The button and, when it is pressed, the work, which returns the reference of what it registered. `progress` describes it."""
        number = self.number
        pressed = st.button(label, key=self.key(key), type="primary", icon=":material/add:")
        if pressed or self.lock.locked():
            with st.spinner(activity, show_time=True):
                due = number if pressed else -1
                if progress is None:
                    self.once(due, work)
                else:
                    self._once_with_progress(due, work, progress)
        if self.registered:
            st.rerun()

    def _once_with_progress(self, number: int, work: Callable[[], str], progress: Callable[[], str]) -> None:
        """The work in a thread of its own, while this one shows its progress."""
        worker = threading.Thread(target=self.once, args=(number, work))
        worker.start()
        place = st.empty()
        while worker.is_alive():
            place.caption(escape(progress()))
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

    def show_registered(self, tab: str) -> None:
        """Once after the work: open `tab` and choose there what was registered. To be called before the tabs are drawn."""
        if self.registered:
            st.session_state["tab"], st.session_state[self.name] = tab, self.registered
            st.toast(f"Registered **{escape(self.registered)}**", icon=":material/check_circle:")
            self.registered = ""

    def show_error(self, fields: Mapping[str, DeltaGenerator], otherwise: DeltaGenerator) -> None:
        """The error of the last attempt, at its field where it has one.

        It stays until the next attempt: if it vanished by itself, the button would move from under the pointer.
        """
        if self.error:
            _errors.show(self.error, fields.get(getattr(self.error, "field", ""), otherwise))


def form_called(name: str) -> Form:
    """This session's form of that name."""
    form: Form = st.session_state.setdefault(f"form-{name}", Form(name))
    return form

"""A form that registers something, once however often its button is clicked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages._shared import plain, show_error
from services.errors import StudioError


@dataclass
class Form:
    """A form whose button does its work once, kept in the session.

    On a second click Streamlit starts the page anew at once, while the first click's work still goes on in the old thread. So the new
    one waits for it; and since `number` is part of every widget's key and was counted up, it finds its button's work done. The new
    number also empties the form.
    """

    name: str
    number: int = 0
    made: str = ""
    """The reference of what was made, until the page has shown it."""
    proposed: str = ""
    """What to call it where a person does not say."""
    error: StudioError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def key(self, widget: str) -> str:
        return f"{self.name}-{widget}-{self.number}"

    def propose(self, file_name: str) -> None:
        """A name after what was chosen, for where the field `name` is left empty."""
        self.proposed = proposed_name(file_name)

    def ask_name(self) -> str:
        """The field `name`, and what is to be taken for it. A proposal stands there in grey: filled in, it would replace what a person
        has typed meanwhile, which the server learns of later."""
        words = "A name that is there gets a new version. Left empty, it is the one in grey."
        name = st.text_input("Name", key=self.key("name"), on_change="ignore", placeholder=self.proposed, help=words)
        return name.strip() or self.proposed

    def submit(
        self, label: str, doing: str, work: Callable[[], str], *, key: str = "submit", progress: Callable[[], str] | None = None
    ) -> None:
        """The button and, where it is pressed, the work, which returns the reference of what it made. `progress` says how far it is."""
        number = self.number
        pressed = st.button(label, key=self.key(key), type="primary", icon=":material/add:")
        if pressed or self.lock.locked():
            with st.spinner(doing, show_time=True):
                wanted = number if pressed else -1
                if progress is None:
                    self.once(wanted, work)
                else:
                    self._once_telling(wanted, work, progress)
        if self.made:
            st.rerun()

    def _once_telling(self, number: int, work: Callable[[], str], progress: Callable[[], str]) -> None:
        """The work in a thread of its own, while this one says how far it is."""
        at_work = threading.Thread(target=self.once, args=(number, work))
        at_work.start()
        line = st.empty()
        while at_work.is_alive():
            line.caption(plain(progress()))
            at_work.join(0.3)

    def once(self, number: int, work: Callable[[], str]) -> None:
        """Do the work of the form with this number, unless that is done; wait where it is being done. Makes no Streamlit call."""
        with self.lock:
            if number == self.number:
                self.error = None
                try:
                    self.made = work()
                    self.number, self.proposed = self.number + 1, ""
                except StudioError as error:
                    self.error = error

    def show_made(self, tab: str) -> None:
        """Once after the work: open `tab`, and choose there what was made. To be called before the tabs are drawn."""
        if self.made:
            st.session_state["tab"], st.session_state[self.name] = tab, self.made
            st.toast(f"Registered **{plain(self.made)}**", icon=":material/check_circle:")
            self.made = ""

    def show_error(self, fields: Mapping[str, DeltaGenerator], otherwise: DeltaGenerator) -> None:
        """What the last attempt found wrong, at its field where it has one.

        It stays until the next attempt: what vanishes by itself moves the button from under the pointer.
        """
        if self.error:
            show_error(self.error, fields.get(getattr(self.error, "field", ""), otherwise))


def proposed_name(file_name: str) -> str:
    """A name for what is registered from a file or folder of this name: `My model (2).joblib` gives `My-model-2`."""
    stem = re.split(r"[/\\]", file_name.strip().rstrip("/\\"))[-1]
    stem = stem.rsplit(".", 1)[0] or stem
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", stem).strip("-._")[:100]


def form_called(name: str) -> Form:
    """This session's form of that name."""
    kept: Form = st.session_state.setdefault(f"form-{name}", Form(name))
    return kept

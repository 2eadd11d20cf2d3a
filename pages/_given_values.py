"""New run: values that the program gives to the widgets of the form, kept until the browser shows them.

With every click a browser sends what all widgets show at that time. On a busy page that may be from before the program gave one of them
another value: a click on Submit just after a choice would submit what was there before it. So the last element of the form is a hidden
field, which the program fills with a new token whenever it gives values. As long as the browser sends another token, it shows a form
without them, and they are given again, unless a person changed such a widget since.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

_TOKEN = "form_token"


@dataclass
class _Given:
    """The values of this session that the browser may not show yet. One object, because Streamlit may interrupt a run where it writes to
    the session state, but not where it changes an attribute."""

    tokens: list[str] = field(default_factory=lambda: [""])
    """The newest one last; the first is that of the form as it was opened."""
    values: dict[str, Any] = field(default_factory=dict)
    replaced: dict[str, list[Any]] = field(default_factory=dict)
    """What each of these widgets had before, which a browser may still send."""
    is_proposal: bool = False
    is_drawn: bool = False
    """Whether the form was drawn with them, as far as the server knows."""


def _given() -> _Given:
    given: _Given = st.session_state.setdefault("given_values", _Given())
    return given


def choose(values: Mapping[str, Any]) -> None:
    """Give widgets, by their keys, what a click chose; from any page, and where they are drawn already: they have it in the next run."""
    given = _given()
    for key, value in values.items():
        given.replaced.setdefault(key, []).extend([st.session_state.get(key), *([given.values[key]] if key in given.values else [])])
        given.values[key] = value
    given.tokens.append(secrets.token_hex(8))
    given.is_drawn = False


def put(values: Mapping[str, Any], *, is_proposal: bool = False) -> None:
    """Give them what a click chose, before they are drawn in this run. A proposal, which nobody chose, is not submitted before it was
    shown."""
    if changed := {key: value for key, value in values.items() if st.session_state.get(key) != value}:
        choose(changed)
        st.session_state.update(changed)
        _given().is_proposal |= is_proposal


def propose(values: Mapping[str, Any]) -> None:
    """Give them, before they are drawn in this run, what nobody chose."""
    put(values, is_proposal=True)


def start() -> None:
    """Everything in the form is given again, by other means. What was given before does not matter any more."""
    st.session_state["given_values"] = _Given([secrets.token_hex(8)])


def is_started() -> bool:
    """Whether the browser shows the form that was opened by `start`, or has no form to show."""
    return st.session_state.get(_TOKEN) in (None, *_given().tokens)


def apply() -> None:
    """Give again what the browser doesn't show yet. To be called before the widgets are drawn."""
    given, state = _given(), st.session_state
    if given.is_drawn and state.get(_TOKEN) in (None, given.tokens[-1]):
        state["given_values"] = _Given(given.tokens[-1:], is_drawn=True)
        return
    for key, value in list(given.values.items()):
        if (now := state.get(key)) == value or now in given.replaced[key]:
            state[key] = value
        else:
            del given.values[key]


def may_submit() -> bool:
    """Whether everything in the form was shown or chosen when the browser sent what it has."""
    return not _given().is_proposal


def draw_token() -> None:
    """The hidden field. To be called when all widgets are drawn that values are given to."""
    given = _given()
    if st.session_state.get(_TOKEN) != given.tokens[-1]:
        st.session_state[_TOKEN] = given.tokens[-1]
    with st.container(key="form-token"):
        st.text_input("Form", key=_TOKEN, label_visibility="collapsed")
    given.is_drawn = True

"""What people say of models, datasets, environments and runs, changed from a page; and deleting them, which is asked for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from pages import _errors
from pages._switching import switch_page
from pages._text import displayable, escape, truncate
from services import formats
from services.domain import Dependents, Metadata, ResourceKind
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.workspaces import chosen_workspace

_TO_DELETE = "resources_to_delete"
_MOST_NAMED = 10


def change(kind: ResourceKind, references: Sequence[str], done: str, **said: Any) -> bool:
    """Say this of all of them, as `Resources.change`, and tell that it is `done`; what fails is told, and the rest is left as it is."""
    try:
        for reference in references:
            chosen_workspace().resources.change(kind, reference, **said)
    except StudioError as error:
        _errors.log_unavailable(error)
        st.toast(escape(error.message), icon=":material/error:")
        return False
    st.toast(done, icon=":material/check_circle:")
    return True


def parse_tag(text: str) -> dict[str, str]:
    """`key=value`. Raises SettingsError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError("tags", f"“{truncate(text, 80)}” is not a tag", "Write key=value; key= takes the tag away.")
    return {key.strip(): value.strip()}


def tags_in_a_line(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" if value else key for key, value in tags.items())


def edit(kind: ResourceKind, reference: str, said: Metadata, *, renamed: bool) -> None:
    """A form for the name (where these are `renamed`), the note and the tags of one of them."""
    with st.form(f"said-{kind}-{reference}", border=False):
        name = st.text_input("Name", said.name, placeholder="as it was submitted", max_chars=200) if renamed else None
        note = st.text_area("Note", said.note, max_chars=10_000, height=100)
        lines = "\n".join(f"{key}={value}" for key, value in said.tags.items())
        tags = st.text_area("Tags", lines, placeholder="key=value, one a line", height=100)
        if st.form_submit_button("Save", type="primary", icon=":material/save:"):
            with _errors.shown():
                given = {key: value for line in tags.splitlines() if line.strip() for key, value in parse_tag(line).items()}
                gone = dict.fromkeys(said.tags.keys() - given.keys(), "")
                chosen_workspace().resources.change(kind, reference, name=name, note=note, tags=gone | given)
                st.rerun()


# ---- deleting ----------------------------------------------------------------------------------------------------------------------------


def ask_to_delete(kind: ResourceKind, names: Mapping[str, str]) -> None:
    """Open the confirmation for these references, each with what people call it. `delete_dialog` draws it."""
    st.session_state[_TO_DELETE] = (kind, dict(names))


def delete_dialog(after: str = "") -> None:
    """The confirmation, where one was asked for; to be called outside of fragments. A page that shows one of them is left for `after`."""
    if _TO_DELETE not in st.session_state:
        return
    kind, names = st.session_state[_TO_DELETE]

    def closed() -> None:
        st.session_state.pop(_TO_DELETE, None)

    @st.dialog(f"Delete {counted(len(names), kind)}?", on_dismiss=closed)
    def dialog() -> None:
        with _errors.shown():
            _confirm(kind, names, after)

    dialog()


def _confirm(kind: ResourceKind, names: Mapping[str, str], after: str) -> None:
    resources = chosen_workspace().resources
    found = {reference: resources.dependents(kind, reference) for reference in list(names)[:_MOST_NAMED]}
    for reference, name in list(names.items())[:_MOST_NAMED]:
        with st.container(gap="xxsmall"):
            st.text(displayable(truncate(" ".join(name.split()), 150)))
            for sentence in found[reference].sentences():
                st.caption(escape(sentence))
    if len(names) > _MOST_NAMED:
        st.text(f"and {len(names) - _MOST_NAMED:,} more")
    size = 0 if len(names) > _MOST_NAMED else sum(one.size for one in found.values())
    st.caption(f"{formats.size(size)} of disk are freed. This can't be undone." if size else "This can't be undone.")
    blocked = [one for one in found.values() if _blocked(one, names)]
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="confirm-delete", disabled=bool(blocked)):
            resources.delete(kind, list(names))
            st.session_state.pop(_TO_DELETE, None)
            st.session_state.pop("listed_runs", None)
            st.toast(f"Deleted {counted(len(names), kind)}.", icon=":material/delete:")
            if after:
                switch_page(after, query_params={})
            st.rerun()
        if st.button("Keep", key="keep"):
            st.session_state.pop(_TO_DELETE, None)
            st.rerun()


def _blocked(one: Dependents, names: Mapping[str, str]) -> bool:
    """Whether a run that isn't deleted with it needs it."""
    return bool(one.active) or any(run not in names for run in one.reruns)

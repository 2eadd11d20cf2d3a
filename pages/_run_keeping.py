"""Runs kept in order: notes and tags, for one or several; and deleting them, after a confirmation.

The confirmation is a dialog of the whole page, since the list and the page of a run draw themselves again every now and then.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from pages import _errors
from pages._keeping import MOST_NAMED, tags_as_lines, tags_of
from pages._switching import switch_page
from pages._text import displayable, escape, for_badge, truncate, visible
from services import formats
from services.domain import ResourceKind, Run
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.workspaces import chosen_workspace

_TO_DELETE, _ASKED_AT = "runs_to_delete", "runs_to_delete_at"


def say(ids: Sequence[str], done: str, **said: Any) -> StudioError | None:
    """Say this of all of them, as `Resources.change`, and tell that it is `done`; or tell what failed, and return it."""
    try:
        for run_id in ids:
            chosen_workspace().resources.change(ResourceKind.RUN, run_id, **said)
    except StudioError as error:
        _errors.log_unavailable(error)
        st.toast(escape(error.message), icon=":material/error:")
        return error
    st.toast(done, icon=":material/check_circle:")
    return None


def tag(ids: Sequence[str], done: str, text: str) -> StudioError | None:
    """Give them the tags that a person wrote; returns what is wrong with these, or what failed."""
    try:
        tags = tags_of(text)
    except SettingsError as error:
        return error
    return say(ids, done, tags=tags)


def show_said(run: Run, more: Callable[[], None]) -> None:
    """What people say of a run, and what can be done to keep it in order; and, in the line of that, `more`."""
    said = run.metadata
    if said.tags or said.archived:
        with st.container(horizontal=True, gap="small"):
            for tag in tags_as_lines(said.tags)[:20]:
                st.badge(for_badge(truncate(tag, 60)), icon=":material/label:", color="gray")
            if said.archived:
                st.badge("Archived", icon=":material/archive:", color="gray")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        version = zlib.crc32(repr((said.name, said.note, said.tags)).encode("utf-8", "replace"))  # another one is closed: once it is saved
        with st.popover("Name, note and tags", icon=":material/edit:", type="tertiary", key=f"say-{run.id}-{version}"):
            _edit(run)
        label, icon = ("Unpin", ":material/keep_off:") if said.pinned else ("Pin", ":material/push_pin:")
        here = chosen_workspace().resources.whereabouts(ResourceKind.RUN, run.id, ("pinned",))
        help_text = f"Pinned runs come first in the list. {here}".rstrip()
        if st.button(label, icon=icon, type="tertiary", key=f"pin-{run.id}", help=help_text):
            say([run.id], "Unpinned." if said.pinned else "Pinned.", pinned=not said.pinned)
            st.rerun()
        label, icon = ("Restore", ":material/unarchive:") if said.archived else ("Archive", ":material/archive:")
        help_text = f"An archived run is kept, and listed only when asked for. {here}".rstrip()
        if st.button(label, icon=icon, type="tertiary", key=f"archive-{run.id}", help=help_text):
            say([run.id], f"{label}d.", archived=not said.archived)
            st.rerun()
        if st.button("Delete", icon=":material/delete:", type="tertiary", key=f"delete-{run.id}"):
            ask_to_delete([run])
        more()
    if said.note:
        st.text(displayable(visible(said.note)))


def _edit(run: Run) -> None:
    said = run.metadata
    with st.form(f"said-{run.id}", border=False):
        name = st.text_input("Name", said.name, placeholder=truncate(run.request.title(), 200), max_chars=200)
        note = st.text_area("Note", said.note, max_chars=10_000, height=100)
        before = dict(zip(said.tags, tags_as_lines(said.tags), strict=True))
        lines = st.text_area("Tags", "\n".join(before.values()), placeholder="key=value, one a line", height=100)
        if place := chosen_workspace().resources.whereabouts(ResourceKind.RUN, run.id, ("name", "note", "tags")):
            st.caption(escape(place))
        if st.form_submit_button("Save", type="primary", icon=":material/save:"):
            with _errors.shown():
                wanted = tags_of(lines)
                changed = {key: value for key, value in wanted.items() if f"{key}={value}" not in before.values()}
                gone = {key: "" for key, line in before.items() if key not in wanted and line not in tags_as_lines(wanted)}
                given: dict[str, Any] = {"name": name} if name != said.name else {}
                given |= {"note": note} if note != said.note else {}
                given |= {"tags": changed | gone} if changed | gone else {}
                chosen_workspace().resources.change(ResourceKind.RUN, run.id, **given)
                st.rerun()


# ---- deleting ----------------------------------------------------------------------------------------------------------------------------


def ask_to_delete(runs: Sequence[Run]) -> None:
    """Open the confirmation, which `delete_dialog` draws."""
    st.session_state[_TO_DELETE] = {run.id: run.title for run in runs}
    st.session_state[_ASKED_AT] = st.query_params.get("run")
    st.rerun()


def forget_deletion() -> None:
    """Ask no more, where another page was opened by the browser's Back: the question would come again with the runs."""
    st.session_state.pop(_TO_DELETE, None)


def delete_dialog() -> None:
    """The confirmation, where it was asked for; to be called outside of fragments. Once they are deleted, the list opens."""
    if st.session_state.get(_ASKED_AT) != st.query_params.get("run"):
        forget_deletion()
    names: dict[str, str] = st.session_state.get(_TO_DELETE, {})
    if not names:
        return

    @st.dialog(f"Delete {counted(len(names), 'run')}?", on_dismiss=forget_deletion)
    def dialog() -> None:
        with _errors.shown():
            _confirm(names)

    dialog()


def _confirm(names: Mapping[str, str]) -> None:
    resources = chosen_workspace().resources
    with st.spinner("Looking up what depends on them…") if len(names) > MOST_NAMED else st.container():
        found = {run_id: resources.dependents(ResourceKind.RUN, run_id) for run_id in names}
    blocked = {run_id: one for run_id, one in found.items() if one.blocked(names)}
    for run_id in sorted(names, key=lambda run_id: run_id not in blocked)[:MOST_NAMED]:
        with st.container(gap="xxsmall"):
            st.text(displayable(f"{truncate(' '.join(names[run_id].split()), 150)} · {run_id}"))
            for sentence in found[run_id].sentences():
                st.caption(escape(sentence))
    if len(names) > MOST_NAMED:
        st.text(f"and {len(names) - MOST_NAMED:,} more")
    size = sum(one.size for one in found.values())
    st.caption(f"Frees {formats.size(size)} on this machine. This can’t be undone." if size else "This can’t be undone.")
    help_text = escape(f"Can’t be deleted now: {', '.join(list(blocked)[:5])}") if blocked else None
    options: dict[str, Any] = {"disabled": bool(blocked), "help": help_text}
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete_forever:", key="confirm-delete", **options):
            resources.delete(ResourceKind.RUN, list(names))
            forget_deletion()
            st.toast(f"Deleted {counted(len(names), 'run')}.", icon=":material/delete:")
            if "run" in st.query_params:
                switch_page("runs.py", query_params={})
            st.rerun()
        if st.button("Keep", key="keep-runs"):
            forget_deletion()
            st.rerun()

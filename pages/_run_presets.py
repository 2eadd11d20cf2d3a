"""New run: the settings under a name: saved, chosen, renamed, deleted."""

from __future__ import annotations

import streamlit as st

from pages import _errors, _run_drafts
from pages._run_form import RunForm
from pages._text import displayable, escape, truncate
from services.scoring.presets import LONGEST_NAME
from services.workspace import Workspace


def show(workspace: Workspace, form: RunForm) -> None:
    """The popover. To be drawn when everything in the form is known."""
    if message := st.session_state.pop("preset_message", ""):
        st.toast(message, icon=":material/check_circle:")
        st.session_state["preset_name"] = ""
    with st.popover("Presets", icon=":material/bookmark:"), _errors.shown():
        names = workspace.presets.names()
        if names:
            _choose(workspace, form, names)
            st.divider()
        else:
            st.caption("Settings that you use often can be kept under a name.")
        _save(workspace, form, names)


def _choose(workspace: Workspace, form: RunForm, names: list[str]) -> None:
    if (chosen := st.session_state.pop("preset_to_choose", st.session_state.get("preset"))) in names:
        st.session_state["preset"] = chosen
    else:
        st.session_state.pop("preset", None)
    name = st.selectbox("Preset", names, key="preset", format_func=lambda name: displayable(truncate(name, 60)))
    with st.container(horizontal=True):
        if st.button("Use", key="use-preset", icon=":material/check:", help="Puts its settings in place of those in the form."):
            _run_drafts.open_form(workspace, form.with_preset(workspace.presets.named(name)), _run_drafts.like())
        if st.button("Delete", key="delete-preset", icon=":material/delete:"):
            st.session_state["preset_to_delete"] = name
    if st.session_state.get("preset_to_delete") == name:
        st.warning(escape(f"Delete the preset “{name}”? Runs are not touched."), icon=":material/delete_forever:")
        with st.container(horizontal=True):
            if st.button("Delete it", key=f"delete-preset-{name}", type="primary"):
                workspace.presets.delete(name)
                _done(f"Deleted the preset **{escape(name)}**")
            if st.button("Keep it", key="keep-preset"):
                del st.session_state["preset_to_delete"]
                st.rerun()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        new = st.text_input("New name", key=f"preset-name-{name}", max_chars=LONGEST_NAME, placeholder=displayable(truncate(name, 60)))
        if st.button("Rename", key="rename-preset", icon=":material/edit:"):
            renamed = workspace.presets.rename(name, new)
            st.session_state["preset_to_choose"] = renamed
            _done(f"Renamed to **{escape(renamed)}**")


def _save(workspace: Workspace, form: RunForm, names: list[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        help_text = "Keeps settings, arguments, environment variables and environment; not the model, the dataset and the script."
        name = st.text_input("Save these settings as", key="preset_name", max_chars=LONGEST_NAME, placeholder="nightly", help=help_text)
        replaces = " ".join(name.split()) in names
        label = "Replace" if replaces else "Save"
        pressed = st.button(label, key=f"save-preset-{replaces}", icon=":material/bookmark_add:")
    if replaces:
        st.caption(escape(f"Replaces what “{' '.join(name.split())}” has now."))
    if pressed:
        saved = workspace.presets.save(name, form.to_preset())
        st.session_state["preset_to_choose"] = saved
        _done(f"Saved as **{escape(saved)}**")


def _done(message: str) -> None:
    st.session_state["preset_message"] = message
    st.session_state.pop("preset_to_delete", None)
    st.rerun()

"""New run: the scoring script: one on offer, an uploaded one, or that of the run which the form was opened with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from pages import _errors, _given_values, _workspace
from pages._text import displayable, escape
from services.domain import EntryScript, Run
from services.errors import StudioError
from services.intake.entry_scripts import check_entry_script
from services.scoring.scorers import Scorer, scorer_at
from services.submission import read_script
from services.workspace import Capability, Workspace


def of_run(workspace: Workspace, run: Run, label: str) -> dict[str, EntryScript]:
    """The script of a run that is on no list, by what the list calls it then: where it still lies at its path. A person gave this path on
    the command line: it needs no approval, there or here. Of an imported run, whose path means nothing here, none."""
    if run.imported_from:
        return {}
    try:
        source = read_script(Path(run.request.entry_script))
        docstring = check_entry_script(source, run.request.script_name)
    except StudioError:
        return {}
    return {label: EntryScript(run.request.script_name, run.request.entry_script, "of a run", "", True, docstring)}


def offer_kept(workspace: Workspace, run: Run, scripts: Mapping[str, EntryScript], label: str) -> None:
    """Where the script of the run is gone, or not what it was: say so, and offer the copy that the run kept."""
    if label in scripts and scripts[label].origin == "built-in":
        return
    kept, name = workspace.runs.kept_script(run.id), run.request.script_name
    content = kept.read_bytes() if kept else None
    try:
        is_now = read_script(Path(run.request.entry_script)) if label in scripts else None
    except StudioError:
        is_now = None
    if is_now is not None and content in (None, is_now):
        return
    what = f"{name} of {run.id} is gone." if is_now is None else f"{name} was changed since {run.id} used it."
    if content is None:
        st.warning(escape(f"{what} The run kept no copy of it. Choose another script."), icon=":material/link_off:")
        return
    st.warning(escape(f"{what} The run kept it as it was."), icon=":material/link_off:")
    if st.button("Use the kept copy", key="kept-script", icon=":material/history:"):
        try:
            script = workspace.scripts.add(name, content)
        except StudioError as error:
            _errors.show(error)
        else:
            _given_values.choose({"script": _workspace.script_label(script)})
            st.rerun()


def choose(
    scripts: Mapping[str, EntryScript], labels: list[str], proposed: str | None, fitting: str | None, recommended: Scorer | None
) -> EntryScript | None:
    """The scoring script; the built-in one that fits takes the place of another that was proposed before, but not of one that a person
    chose. Not bound to the URL, which has its label: a bound widget would have there what it shows."""
    state, in_address = st.session_state, st.query_params.get("script", "")
    if in_address and in_address not in labels:
        st.warning(escape(f"“{in_address[:200]}” no longer exists. Choose another."), icon=":material/link_off:")
    proposed_before = state.get("proposed_script")
    is_own = proposed_before is None or proposed_before not in scripts or scorer_at(scripts[proposed_before].path) is None
    if fitting and not is_own and state.get("script") == proposed_before:
        _given_values.propose({"script": fitting})
        state.proposed_script = fitting
    if state.get("script", in_address) not in labels:
        state.proposed_script = proposed
        if proposed in labels:
            _given_values.propose({"script": proposed})
    if "script" not in state:
        state.script = in_address or None

    def title(label: str) -> str:
        return _title(label, scripts[label], recommended)

    text = "Choose a scoring script"
    options: dict[str, Any] = {"label_visibility": "collapsed", "placeholder": text, "persist_state": "session"}
    chosen = st.selectbox("Scoring script", labels, None, key="script", format_func=title, **options)
    return scripts.get(chosen or "")


def _title(label: str, script: EntryScript, recommended: Scorer | None) -> str:
    """What a script is called in the list: a built-in one by what it scores."""
    scorer = scorer_at(script.path)
    if scorer is None:
        return displayable(label)
    return f"Built-in: {scorer.title}" + (" (recommended)" if recommended == scorer else f" · {label}")


def show_as_written() -> None:
    """That nothing is chosen for the built-in script, and the button that changes it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("The script gets exactly what stands in Arguments, as in the earlier run.", width="content")
        help_text = "Choose columns and probabilities from lists. Empties Arguments."
        if st.button("Choose here instead", key="choose-instead", type="tertiary", help=help_text):
            _given_values.choose({"as_written": False, "arguments": ""})
            st.rerun()


def ask_approval(workspace: Workspace, script: EntryScript) -> None:
    """The source of a script that nobody has approved yet, and the consent."""
    if script.approved or Capability.APPROVAL not in workspace.capabilities:
        return
    with st.expander("Source", expanded=True, icon=":material/code:"):
        st.code(displayable(Path(script.path).read_text("utf-8", errors="replace")), language="python", height=260)
    warning = escape(f"A run executes {script.name} with your permissions. Read it first.")
    _workspace.ask_approval(warning, script.sha256, "Approve this script")


def ask_upload(workspace: Workspace) -> None:
    """The upload of another one, which is chosen then."""

    def store() -> None:
        """Runs before the page does, so it leaves an error for the page to show."""
        if upload := st.session_state.uploaded_script:
            try:
                _given_values.put({"script": _workspace.script_label(workspace.scripts.add(upload.name, upload.getvalue()))})
            except StudioError as error:
                st.session_state.upload_error = error

    with st.expander("Upload a script", icon=":material/upload:"):
        text = "Python file with init() and run(mini_batch); checked, not executed"
        st.file_uploader(text, type="py", key="uploaded_script", on_change=store)
        if "upload_error" in st.session_state:
            _errors.show(st.session_state.pop("upload_error"))

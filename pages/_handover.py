"""A run handed over: the Export menu of its page, what is said of one that was imported, and importing an archive."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from pages import _errors
from pages._switching import switch_page
from pages._text import escape
from services.domain import Run
from services.errors import StudioError
from services.workspaces import chosen_workspace

_EXPORTS = {
    "sdk-v1": (
        "SDK v1 script", ":material/code:",
        "One Python file for Azure ML, as in Microsoft’s tutorial: it submits this run as a pipeline. Needs nothing of this program.",
    ),
    "sdk-v2": (
        "SDK v2 script", ":material/code_blocks:",
        "One Python file for Azure ML, as in Microsoft’s examples of SDK v2: it submits this run as a pipeline job.",
    ),
    "yaml": (
        "Azure CLI (YAML)", ":material/description:",
        "A zip of the files that az ml job create takes: the pipeline job, its component, the packages and the scoring script.",
    ),
    "cli": ("Command line", ":material/terminal:", "A shell script of this program that submits the run again and waits for its end."),
    "notebook": (
        "Notebook", ":material/book_2:",
        "A Jupyter notebook with the predictions in it: first rows, counts, a chart. With many predictions it is a zip.",
    ),
    "archive": (
        "Archive", ":material/folder_zip:",
        "All of the run in one zip: request, hashes, versions, output, table, logs, labels, notes, report. Another home imports it.",
    ),
}  # fmt: skip


def export_menu(run: Run) -> None:
    """Downloads of the run as code, as a notebook and as an archive."""
    with st.popover("Export", icon=":material/ios_share:", type="tertiary", key=f"export-{run.id}", on_change="rerun") as opened:
        if not opened.open:
            return
        from services.handover.secrets import disclose

        asked = {"run": run.id}
        if hidden := disclose(run.request).hidden:
            names = ", ".join(value.shown for value in hidden)
            st.caption(escape(f"May be secret, and left out: the values of {names[:500]}."))
            if st.toggle("Include these values", key=f"export-secrets-{run.id}"):
                asked["secrets"] = "1"
        for kind, (label, icon, help_text) in _EXPORTS.items():
            reason = _why_not(run, kind)
            url = f"downloads/export?{urlencode(asked | {'as': kind})}"
            st.link_button(label, url, icon=icon, width="stretch", help=reason or help_text, disabled=bool(reason))
        st.caption("Logs, output and the scoring script are exported as they are: look for secrets in them.")


def _why_not(run: Run, kind: str) -> str:
    if kind == "archive" and not run.status.ended:
        return "The run has not ended."
    if kind == "notebook" and run.request.settings.output_action == "summary_only":
        return "The script of this run writes its own output, so there are no predictions to show."
    return ""


# ---- imported runs -----------------------------------------------------------------------------------------------------------------------


def show_where_from(run: Run) -> None:
    """That a run was imported, and what that means."""
    if run.imported_from:
        was = "" if run.imported_from == run.id else f" There it was {run.imported_from}."
        text = f"Imported from an archive.{was} Its models, datasets and paths are those of the home that it comes from."
        st.info(escape(text), icon=":material/input:")
    if note := st.session_state.pop("import_note", ""):
        st.toast(note, icon=":material/info:")


def why_no_rerun(run: Run) -> str:
    """Why a run that was imported, or that somebody else submitted, can't be done again here; "" where it can."""
    if run.request.followed_job:
        return "Its scoring script is not here: somebody else submitted the job."
    if not run.imported_from:
        return ""
    from services.handover.rerun import request_here

    try:
        request_here(chosen_workspace(), run.request_again())
    except StudioError as error:
        return escape(f"{error.message[:1].upper()}{error.message[1:].rstrip('.')}. {error.hint}")
    return ""


def import_form() -> None:
    """Take in an archive, uploaded or by its path."""
    with st.popover("Import", icon=":material/input:", key="import-run", on_change="rerun") as opened:
        if not opened.open:
            return
        st.caption("A run that was exported as an archive. It is checked first; nothing in it is executed or approved.")
        uploaded = st.file_uploader("Archive of a run", type=["zip"], key="import-upload")
        path = st.text_input("Or its path on this machine", key="import-path", placeholder="/data/digits archive.zip")
        if st.button("Import run", type="primary", icon=":material/check:", key="import-now", disabled=not (uploaded or path.strip())):
            with _errors.shown():
                from services.handover.importing import Imported, import_archive
                from services.intake.staging import staging_folder

                workspace = chosen_workspace()
                with st.spinner("Checking the archive…", show_time=True):
                    taken: Imported
                    if uploaded:
                        with staging_folder(workspace.home) as folder:
                            archive = Path(folder, "archive.zip")
                            archive.write_bytes(uploaded.getbuffer())
                            taken = import_archive(workspace, archive)
                    else:
                        taken = import_archive(workspace, path.strip())
                if not taken.is_new:
                    st.session_state.import_note = "This run was imported before. Nothing changed."
                switch_page("runs.py", query_params={"run": taken.run.id})

"""New run: score only what is new since an earlier run: which one, and how many files are new. Looked up beside the page."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from pages import _errors, _run_drafts
from pages._background import Job
from pages._forms import last_submission
from pages._switching import switch_page
from pages._text import escape
from services.domain import RunRequest, parse_reference
from services.errors import NothingNew, StudioError
from services.formats import counted
from services.run_details import NewItems
from services.workspace import Capability, Workspace

_LOOK_SECONDS = 0.5


def of_names(request: RunRequest) -> RunRequest:
    """The same of the datasets' latest versions, whichever these are."""
    return replace(request, datasets=tuple(parse_reference(dataset, "dataset")[0] for dataset in request.datasets))


def offer(workspace: Workspace, request: RunRequest) -> None:
    """The button, once it is known that there is an earlier run. To be drawn where the request could be submitted."""
    if Capability.NEW_ONLY not in workspace.capabilities:
        return
    request = replace(of_names(request), new_only=True)
    known: tuple[str, Job[NewItems]] | None = st.session_state.get("new_items")
    # Neither its settings nor its name decide what is new; a run that has ended since does.
    key = repr(replace(request, settings=type(request.settings)(environment_variables=request.settings.environment_variables), name=""))
    key += f" {next((run.id + run.status for run in workspace.runs.latest(1)), '')}"
    if known is None or known[0] != key:
        if known:
            known[1].stop()
        known = st.session_state["new_items"] = (key, Job(lambda _: workspace.new_items(request)))
    job = known[1]
    st.fragment(_show, run_every=None if job.look() else _LOOK_SECONDS)(workspace, request, job)


def _show(workspace: Workspace, request: RunRequest, job: Job[NewItems]) -> None:
    if not job.look():
        return
    found = job.result
    if found is None or not found.adds_to:
        return  # a person who did not ask for it needs no error
    with st.container(border=True, gap="small", key="only-what-is-new"):
        st.markdown("**Only what is new**")
        for sentence in (f"Since {found.adds_to}: {found.describe_new()}", *found.warnings()):
            st.caption(escape(sentence))
        help_text = "Reads the dataset's folder again, as its next version. The predictions are the earlier run's, with these added."
        icon, label = ":material/playlist_add:", f"Score only {counted(found.count, 'file')}" if found.count else "Nothing to score"
        if not found.count and found.unmarked:
            icon, label = ":material/bookmark_remove:", "Mark what is gone"
            help_text = f"No run starts: the column Input file of the predictions of {found.adds_to} says which files are gone."
        nothing_to_do = not (found.count or found.unmarked)
        if st.button(label, key="submit-new-only", icon=icon, help=help_text, disabled=nothing_to_do, width="stretch"):
            try:
                run = last_submission().submit(workspace, request)
            except NothingNew as nothing:
                st.session_state.pop("new_items", None)
                if found.unmarked:  # by now they are marked
                    switch_page("results.py", query_params={"run": found.adds_to})
                _errors.show(nothing)
            except StudioError as error:
                _errors.show(error)
                st.session_state.pop("new_items", None)
            else:
                _run_drafts.submitted(workspace, run)
                switch_page("runs.py", query_params={"run": run.id})

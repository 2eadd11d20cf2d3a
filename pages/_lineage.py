"""Lineage: which runs used a model or a dataset and what these named beside it; where a run comes from, and which runs came from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

from pages import _errors, _layout
from pages._text import ago, displayable, escape, truncate
from services.domain import ResourceKind, Run
from services.errors import NotFound
from services.formats import counted
from services.workspace import Workspace

MOST_RUNS, MOST_NAMES = 10, 20
LABEL_WIDTH = 190  # pixels
PAGES = {ResourceKind.MODEL: "registered_models.py", ResourceKind.DATASET: "registered_datasets.py", ResourceKind.RUN: "runs.py"}


def link(kind: ResourceKind, reference: str, label: str = "", *, gone: bool = False) -> None:
    """To the page of a model, a dataset or a run; of one that is gone its name, and that it is."""
    if gone:
        st.markdown(f":gray[{escape(truncate(label or reference, 100))} · deleted]")
    else:
        text = escape(truncate(label or reference, 100))
        options: dict[str, Any] = {"icon": ":material/chevron_right:", "icon_position": "right", "help": ""}
        st.page_link(PAGES[kind], label=text, query_params={kind.value: reference}, **options)


def show_of_resource(workspace: Workspace, kind: ResourceKind, reference: str) -> None:
    """The runs that used a model or dataset, and the datasets they scored or the models that did."""
    other, verb = (ResourceKind.DATASET, "scored") if kind is ResourceKind.MODEL else (ResourceKind.MODEL, "scored by")
    with st.expander("Lineage", icon=":material/account_tree:", key=f"lineage-{kind}", on_change="rerun") as opened:
        if not opened.open:
            return
        with _errors.shown():
            found = workspace.runs.linked(kind, reference, MOST_RUNS)
            if not found.count:
                st.caption("No run has used it yet.")
                return
            runs, names = st.columns([3, 2], gap="large")
            with runs.container(gap="xsmall"):
                newest = f", the newest {MOST_RUNS}" if found.count > MOST_RUNS else ""
                st.markdown(f"**{counted(found.count, 'run')}**{newest}")
                for run in found.newest:
                    run_line(run)
            beside = found.datasets if other is ResourceKind.DATASET else found.models
            with names.container(gap="xsmall"):
                st.markdown(f"**{verb.capitalize()} {counted(len(beside), other.value)}**")
                show_names(other, beside, there(workspace, other))


def there(workspace: Workspace, kind: ResourceKind) -> set[str]:
    """The references of what is registered now."""
    things = workspace.models() if kind is ResourceKind.MODEL else workspace.datasets()
    return {thing.reference for thing in things}


def show_names(kind: ResourceKind, names: Mapping[str, int], registered: Collection[str]) -> None:
    for name in list(names)[:MOST_NAMES]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            link(kind, name, gone=name not in registered)
            st.caption(counted(names[name], "run"), width="content")
    if len(names) > MOST_NAMES:
        st.caption(f"and {len(names) - MOST_NAMES:,} more")
    if not names:
        st.caption("None: the scripts of these runs needed no model." if kind is ResourceKind.MODEL else "None.")


def run_line(run: Run, what: str = "") -> None:
    """A badge, a link, and when."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        color, icon = _layout.BADGES[run.status]
        st.badge(run.status, color=color, icon=icon)  # type: ignore[arg-type]
        link(ResourceKind.RUN, run.id, run.title)
        st.caption(f"{what + ' · ' if what else ''}{ago(run.submitted_at)}", width="content")


# ---- of a run ----------------------------------------------------------------------------------------------------------------------------


def show_of_run(workspace: Workspace, run: Run) -> None:
    """Above the run what it is made of, below it what was made of it."""
    request = run.request
    models, datasets = there(workspace, ResourceKind.MODEL), there(workspace, ResourceKind.DATASET)
    with st.container(gap="xsmall", key="lineage-of-run"):
        st.markdown("**From**")
        if run.imported_from:
            names = ", ".join([*request.models, *request.datasets, *request.side_inputs.values()])
            st.text(displayable(f"Another home, as an archive. What it used there: {truncate(names, 300)}"))
        else:
            for reference in request.models:
                _named("Model", ResourceKind.MODEL, reference, reference in models)
            for reference in request.datasets:
                _named("Dataset", ResourceKind.DATASET, reference, reference in datasets)
            for name, reference in request.side_inputs.items():
                _named(f"Side input {name}", ResourceKind.DATASET, reference, reference in datasets)
        for parent, (how, _) in parents(run).items():
            _parent(workspace, parent, how)
        st.markdown("**Into**")
        children = workspace.runs.linked(ResourceKind.RUN, run.id, MOST_NAMES)
        for child in children.newest:
            run_line(child, parents(child).get(run.id, ("", ""))[1])
        if children.count > len(children.newest):
            st.caption(f"The newest of {counted(children.count, 'run')}.")
        if not children.count:
            st.caption("No run was made from this one.")


RERUN, FAILED_ONLY, ADDED, REUSED = (
    ("Rerun of", "a rerun"), ("Rerun of the failed items of", "a rerun of its failed items"), ("Added to", "added to it"),
    ("Output taken from", "took its output"),
)  # fmt: skip


def parents(run: Run) -> dict[str, tuple[str, str]]:
    """The runs that a run comes from, each with how: as it is said of this run, and of it below that one."""
    found = {}
    if run.request.rerun_of:
        found[run.request.rerun_of] = FAILED_ONLY if run.request.failed_only else ADDED if run.request.new_only else RERUN
    if run.reused_from:
        found[run.reused_from] = REUSED
    return found


def _named(label: str, kind: ResourceKind, reference: str, is_there: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(escape(label), width=LABEL_WIDTH)
        link(kind, reference, gone=not is_there)


def _parent(workspace: Workspace, run_id: str, how: str) -> None:
    try:
        title = workspace.runs.get(run_id).title
    except NotFound:
        title = ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(how, width=LABEL_WIDTH)
        link(ResourceKind.RUN, run_id, title, gone=not title)

"""Home: what needs attention, what is running, the latest runs; a first run in three clicks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _layout, _storage, _workspace
from pages._switching import switch_page
from pages._text import ago, escape, truncate
from services import formats
from services.domain import ResourceKind, Run, RunStatus, utc_now
from services.formats import counted
from services.workspace import Capability
from services.workspaces import chosen_workspace

T = TypeVar("T")
RECENT = timedelta(days=7)
MOST_RUNS, LATEST, MOST_ATTENTION = 50, 8, 5
SCRIPT = "batch_scoring_script.py"

STEPS = {
    ":material/model_training:": ("Register a model", "What your training saved: scikit-learn, ONNX, XGBoost, MLflow and others."),
    ":material/folder_open:": ("Register a dataset", "A table, such as CSV or Excel, or a folder of files: uploaded, or on this machine."),
    ":material/play_circle:": ("Run and explore", "Worker processes score every row or file. Filter, chart and download the predictions."),
}


def sample_button(**options: Any) -> None:
    """Make the sample and open a new run with it filled in. A second press finds the sample of the first."""
    if st.button("Try it with a sample", key="sample", icon=":material/rocket_launch:", **options):
        with st.spinner("Training a small classifier of handwritten digits and writing 900 files to score…", show_time=True):
            from services.sample import make_sample

            sample = make_sample(workspace.home)
        switch_page("new_run.py", query_params={"model": sample.model, "dataset": sample.dataset, "script": SCRIPT})


def welcome() -> None:
    """The three steps, for an empty workspace."""
    with st.grid(3, min_column_width=220, gap="small"):
        for number, (icon, (title, text)) in enumerate(STEPS.items(), 1):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"{icon} **{number}. {title}**")
                st.caption(text)
    if Capability.SAMPLE in workspace.capabilities:
        st.markdown("No model at hand? The sample has a small classifier and files of handwritten digits to score.")
        sample_button(type="primary")
    with st.container(horizontal=True):
        st.page_link("registered_models.py", label="Register your own model", query_params={"tab": "Register a model"})
        st.page_link("registered_datasets.py", label="Register your own dataset", query_params={"tab": "Register a dataset"})


def section(title: str) -> DeltaGenerator:
    st.subheader(title, anchor=False)
    return st.container(border=True, gap="xsmall", key=f"lines-{title}")


def line(name: str, details: str, *, page: str, query: dict[str, str], badge: tuple[str, str, str], dismissed_as: str = "") -> None:
    """A badge (label, color, icon), a link to the page, and details; a button that dismisses it where that is named."""
    label, color, icon = badge
    left, middle, right = st.columns([5, 8, 8], vertical_alignment="center", gap="small")
    left.badge(label, color=color, icon=icon)  # type: ignore[arg-type]
    options: dict[str, Any] = {"icon": ":material/chevron_right:", "icon_position": "right", "help": ""}
    middle.page_link(page, label=escape(truncate(name, 80)), query_params=query, **options)
    with right.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.caption(escape(truncate(details, 160)))
        if dismissed_as:
            st.button(
                "Dismiss", key=f"dismiss {dismissed_as}", type="tertiary", help="Until something new happens",
                on_click=workspace.dismissals.add, args=(dismissed_as,),
            )  # fmt: skip


def run_line(run: Run, details: str, page: str = "runs.py", **options: Any) -> None:
    line(run.title, details, page=page, query={"run": run.id}, badge=(run.status, *_layout.BADGES[run.status]), **options)


def unresolved_runs() -> Iterator[Run]:
    """Recent runs that failed or do not respond, unless a later run of the same completed."""
    completed = set()
    for run in recent:
        same = run.request.title()  # whatever it was renamed to
        if run.status is RunStatus.COMPLETED:
            completed.add(same)
        unresolved = run.status in (RunStatus.FAILED, RunStatus.NOT_RESPONDING)
        if unresolved and same not in completed and utc_now() - run.submitted_at < RECENT:
            yield run


def not_dismissed(things: dict[str, T]) -> list[tuple[str, T]]:
    """What was not dismissed, each with what it is dismissed as: with what happened and when, so that the next time it is there again."""
    dismissed = workspace.dismissals.among(things) if things else ()
    return [(key, thing) for key, thing in things.items() if key not in dismissed]


def show_attention() -> None:
    """Runs, models and scripts that need a person and were not dismissed; nothing where there are none."""
    failed_runs = not_dismissed({f"{run.id} {run.status} {run.ended_at or run.heartbeat_at}": run for run in unresolved_runs()})
    unapproved = [model for model in latest_models if not model.usable]
    archived = _workspace.archived(ResourceKind.MODEL) if unapproved else set()
    models = not_dismissed({f"{model.reference} {model.sha256}": model for model in unapproved if model.reference not in archived})
    scripts = not_dismissed({f"{script.name} {script.sha256}": script for script in workspace.scripts.all() if not script.approved})
    if not (failed_runs or models or scripts):
        return
    with section("Needs attention"):
        for key, run in failed_runs[:MOST_ATTENTION]:
            reason = (run.error or "This run has no active runner. It can be resumed.").partition("\n")[0]
            run_line(run, reason, dismissed_as=key)
        badge, approve = ("Not approved", "orange", ":material/gpp_maybe:"), "Approve it to use it in runs."
        for key, model in models[:MOST_ATTENTION]:
            query = {"model": model.reference}
            line(model.reference, approve, page="registered_models.py", query=query, badge=badge, dismissed_as=key)
        if len(models) > MOST_ATTENTION:
            st.caption(f"{counted(len(models) - MOST_ATTENTION, 'more model')} on the Models page.")
        for key, script in scripts[:MOST_ATTENTION]:
            query = {"script": _workspace.script_label(script)}
            line(script.name, approve, page="new_run.py", query=query, badge=badge, dismissed_as=key)


def is_active(run: Run) -> bool:
    return not run.status.ended and run.status is not RunStatus.NOT_RESPONDING


def show_running() -> None:
    """The active runs. Redrawn every two seconds; the whole page when one starts or ends."""
    active = [run for run in workspace.runs.latest(MOST_RUNS) if is_active(run) and not run.metadata.archived]
    if {run.id for run in active} != {run.id for run in recent if is_active(run)}:
        st.rerun()
    for run in active:
        done = (run.items_succeeded or 0) + (run.items_failed or 0)
        left = "" if run.seconds_left is None else f" · {formats.duration(run.seconds_left)} left"
        if run.items_succeeded is not None:
            run_line(run, f"{done:,} of {run.items_total or 0:,} items{left}")
        elif run.share_done is not None:
            run_line(run, f"{run.mini_batches_done:,} of {counted(run.mini_batches_total, 'mini-batch')}")
        else:
            run_line(run, counted(run.items_total, "item"))
            continue
        st.progress(min(1.0, run.share_done or 0.0))


def show_latest() -> None:
    with section("Latest runs"):
        ended = [run for run in recent if run.status.ended][:LATEST]
        if not ended:
            st.caption("No finished runs yet.")
        for run in ended:
            scored = f"{counted(run.items_succeeded, 'item')} scored" if run.items_succeeded else "no items scored"
            scored = scored if run.items_succeeded is not None else "items scored not reported"
            failed = f" · {run.items_failed:,} failed" if run.items_failed else ""
            run_line(run, f"{scored}{failed} · {ago(run.submitted_at)}", "results.py")


workspace = chosen_workspace()
where = "in an Azure ML workspace" if workspace.remote is not None else "by worker processes on this machine"
_layout.title("Batch Scoring Studio", f"Score many files at once, {where}.")
latest_models, latest_datasets = _workspace.latest_versions(workspace.models()), _workspace.latest_versions(workspace.datasets())
recent = [run for run in workspace.runs.latest(MOST_RUNS) if not run.metadata.archived]
_storage.show_warnings(workspace)
if not (latest_models or latest_datasets or recent):
    if not _workspace.not_listed_yet():
        welcome()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("New run", key="new-run", type="primary", icon=":material/play_circle:"):
            switch_page("new_run.py", query_params={})
        st.page_link("registered_models.py", label=counted(len(latest_models), "model"), icon=":material/model_training:")
        st.page_link("registered_datasets.py", label=counted(len(latest_datasets), "dataset"), icon=":material/folder_open:")
        if Capability.SAMPLE in workspace.capabilities:
            sample_button(type="tertiary")
    show_attention()
    if any(map(is_active, recent)):
        with section("Running now"):
            st.fragment(show_running, run_every=2.0)()
    show_latest()

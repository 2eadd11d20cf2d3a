"""Home: what needs attention, what is running, the latest runs; a first run in three clicks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _shared
from services.domain import Run, RunStatus, utc_now
from services.formats import counted
from services.workspace import Capability

RECENT = timedelta(days=7)
LOOKED_AT, LATEST, MOST_ATTENTION = 50, 8, 5
SCRIPT = "batch_scoring_script.py"

STEPS = {
    ":material/model_training:": ("Register a model", "The file that your training script saved, such as a joblib."),
    ":material/folder_open:": ("Register a dataset", "The files to score: uploaded, or a folder on this machine."),
    ":material/play_circle:": ("Run and look", "Worker processes score every file; filter and download the predictions."),
}


def sample_button(**looks: Any) -> None:
    """Make the sample and open a run that is filled in with it. Pressed twice it is made once: the second time finds it."""
    if st.button("Try it with a sample", key="sample", icon=":material/rocket_launch:", **looks):
        doing = "Training a small classifier of handwritten digits, and writing some 900 files to score …"
        with st.spinner(doing, show_time=True):
            from services.sample import make_sample

            made = make_sample(workspace.home)
        st.switch_page("new_run.py", query_params={"model": made.model, "dataset": made.dataset, "script": SCRIPT})


def welcome() -> None:
    """What there is to do when nothing is there yet."""
    with st.grid(3, min_column_width=220, gap="small"):
        for number, (icon, (title, sentence)) in enumerate(STEPS.items(), 1):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"{icon} **{number}. {title}**")
                st.caption(sentence)
    if Capability.SAMPLE in workspace.capabilities:
        st.markdown("No model at hand? The sample is a real one: a classifier, and files of handwritten digits that it has not seen.")
        sample_button(type="primary")
    with st.container(horizontal=True):
        st.page_link("registered_models.py", label="Register your own model", query_params={"tab": "Register a model"})
        st.page_link("registered_datasets.py", label="Register your own dataset", query_params={"tab": "Register a dataset"})


def section(title: str) -> DeltaGenerator:
    st.subheader(title, anchor=False)
    return st.container(border=True, gap="xsmall")


def line(what: str, detail: str, *, page: str, query: dict[str, str], badge: tuple[str, str, str]) -> None:
    """A badge (word, colour, icon), a link that says what it is about, and what there is to say of it."""
    word, color, icon = badge
    left, middle, right = st.columns([3, 7, 7], vertical_alignment="center", gap="small")
    left.badge(word, color=color, icon=icon)  # type: ignore[arg-type]
    looks: dict[str, Any] = {"icon": ":material/chevron_right:", "icon_position": "right", "help": ""}
    middle.page_link(page, label=_shared.plain(_shared.clipped(what, 80)), query_params=query, **looks)
    right.caption(_shared.plain(_shared.clipped(detail, 160)))


def run_line(run: Run, detail: str, page: str = "runs.py") -> None:
    line(run.title, detail, page=page, query={"run": run.id}, badge=(run.status, *_shared.BADGES[run.status]))


def runs_gone_wrong() -> Iterator[Run]:
    """Recent runs that failed or are silent, and after which no run of the same completed."""
    made_good = set()
    for run in recent:
        if run.status is RunStatus.COMPLETED:
            made_good.add(run.title)
        bad = run.status in (RunStatus.FAILED, RunStatus.NOT_RESPONDING)
        if bad and run.title not in made_good and utc_now() - run.submitted_at < RECENT:
            yield run


def show_attention() -> None:
    """What a person should look at; nothing where there is nothing."""
    bad_runs = list(runs_gone_wrong())[:MOST_ATTENTION]
    bad_models = [model for model in latest_models if not model.usable]
    bad_scripts = [script for script in workspace.scripts.all() if not script.approved]
    if not (bad_runs or bad_models or bad_scripts):
        return
    with section("Needs attention"):
        for run in bad_runs:
            run_line(run, (run.error or "Nothing was heard from its process. It can be resumed.").partition("\n")[0])
        badge = ("Not approved", "orange", ":material/gpp_maybe:")
        for model in bad_models[:MOST_ATTENTION]:
            words = "Runs may use this model once you approve it."
            line(model.reference, words, page="registered_models.py", query={"model": model.reference}, badge=badge)
        if len(bad_models) > MOST_ATTENTION:
            st.caption(f"And {counted(len(bad_models) - MOST_ATTENTION, 'more model')}, on the Models page.")
        for script in bad_scripts[:MOST_ATTENTION]:
            words = "Runs may use this script once you approve it."
            line(script.name, words, page="new_run.py", query={"script": _shared.script_label(script)}, badge=badge)


def is_going_on(run: Run) -> bool:
    return not run.status.ended and run.status is not RunStatus.NOT_RESPONDING


def show_running() -> None:
    """The runs that go on now. Drawn again every two seconds; the page around it when one starts or ends."""
    now = [run for run in workspace.runs.latest(LOOKED_AT) if is_going_on(run)]
    if {run.id for run in now} != {run.id for run in recent if is_going_on(run)}:
        st.rerun()
    for run in now:
        done = (run.items_succeeded or 0) + (run.items_failed or 0)
        left = "" if run.seconds_left is None else f" · {_shared.duration_in_words(run.seconds_left)} left"
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
            st.caption("No run has ended yet.")
        for run in ended:
            scored = f"{counted(run.items_succeeded, 'item')} scored" if run.items_succeeded else "nothing scored"
            failed = f" · {run.items_failed:,} failed" if run.items_failed else ""
            run_line(run, f"{scored}{failed} · {_shared.ago(run.submitted_at)}", "results.py")


workspace = _shared.workspace()
by_whom = "in an Azure ML workspace" if workspace.remote is not None else "by worker processes on this machine"
_shared.title("Batch Scoring Studio", f"Predictions for many files at once, {by_whom}.")
latest_models, latest_datasets = _shared.latest_versions(workspace.models()), _shared.latest_versions(workspace.datasets())
recent = workspace.runs.latest(LOOKED_AT)
if not (latest_models or latest_datasets or recent):
    if not _shared.known_later():
        welcome()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("New run", key="new-run", type="primary", icon=":material/play_circle:"):
            st.switch_page("new_run.py", query_params={})
        st.page_link("registered_models.py", label=counted(len(latest_models), "model"), icon=":material/model_training:")
        st.page_link("registered_datasets.py", label=counted(len(latest_datasets), "dataset"), icon=":material/folder_open:")
        if Capability.SAMPLE in workspace.capabilities:
            sample_button(type="tertiary")
    show_attention()
    if any(map(is_going_on, recent)):
        with section("Running now"):
            st.fragment(show_running, run_every=2.0)()
    show_latest()

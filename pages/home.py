"""Home: what needs attention, what is running, the latest runs; a first run in three clicks."""

from __future__ import annotations

from datetime import timedelta

import streamlit as st

from pages import _shared
from services.domain import Run, RunStatus, counted, utc_now
from services.workspace import Capability

RECENT = timedelta(days=7)
LATEST = 8
SCRIPT = "batch_scoring_script.py"

STEPS = {
    ":material/model_training:": ("Register a model", "The file that your training script saved, such as a joblib."),
    ":material/folder_open:": ("Register a dataset", "The files to score: uploaded, or a folder on this machine."),
    ":material/play_circle:": ("Run and look", "Worker processes score every file; filter and download the predictions."),
}


def sample_button(**looks: str) -> None:
    """Make the sample and open a run that is filled in with it. Pressed twice it is made once: the second time finds it."""
    if st.button("Try it with a sample", key="sample", icon=":material/rocket_launch:", **looks):  # type: ignore[arg-type]
        doing = "Training a small classifier of handwritten digits in a process of its own, and writing about 900 files to score …"
        with st.spinner(doing, show_time=True):
            made = workspace.make_sample()
        st.switch_page("new_run.py", query_params={"model": made.model, "dataset": made.dataset, "script": SCRIPT})


def welcome() -> None:
    """What there is to do when nothing is there yet."""
    with st.grid(3, min_column_width=220, gap="medium"):
        for number, (icon, (title, line)) in enumerate(STEPS.items(), 1):
            with st.container(border=True, height="stretch"):
                st.markdown(f"{icon} **{number}. {title}**")
                st.caption(line)
    if Capability.SAMPLE in workspace.capabilities:
        st.markdown("No model at hand? The sample is a real one: a classifier, and files of handwritten digits that it has not seen.")
        sample_button(type="primary")
    with st.container(horizontal=True):
        st.page_link("registered_models.py", label="Register your own model", query_params={"models": "Register"})
        st.page_link("registered_datasets.py", label="Register your own dataset", query_params={"datasets": "Register"})


def row(badge: str, color: str, icon: str, what: str, page: str, query: dict[str, str], detail: str) -> None:
    """One line: a badge, a link that says what it is about, and what there is to say of it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(badge, icon=icon, color=color, width=150)  # type: ignore[arg-type]
        st.page_link(page, label=_shared.plain(what), query_params=query, icon="", help="")
        st.text(_shared.shown(detail), width="stretch")


def run_row(run: Run, page: str, detail: str) -> None:
    color, icon = _shared.BADGES[run.status]
    row(run.status, color, icon, run.title, page, {"run": run.id}, detail)


def attention() -> None:
    """Runs that ended badly and were not made good since, and what waits for a person's approval."""
    made_good: set[str] = set()
    for run in recent:
        if run.status is RunStatus.COMPLETED:
            made_good.add(run.title)
        bad = run.status in (RunStatus.FAILED, RunStatus.NOT_RESPONDING)
        if bad and run.title not in made_good and utc_now() - run.submitted_at < RECENT:
            run_row(run, "runs.py", (run.error or "Nothing was heard from its process; it can be resumed.").partition("\n")[0][:200])
    for model in latest_models.values():
        if not model.usable:
            query = {"model": model.reference}
            row("Not approved", "orange", ":material/gpp_maybe:", model.reference, "registered_models.py", query, "A model that is a program.")
    for script in workspace.entry_scripts():
        if not script.approved:
            row("Not approved", "orange", ":material/gpp_maybe:", script.name, "new_run.py", {"script": script.name}, "An uploaded script.")


def running() -> None:
    """The runs that go on now. Drawn again every two seconds; the page around it when one of them ends."""
    now = [run for run in workspace.runs(50) if not run.status.ended]
    if {run.id for run in now} != {run.id for run in active}:
        st.rerun()
    for run in now:
        done = (run.items_succeeded or 0) + (run.items_failed or 0)
        left = "" if run.seconds_left is None else f" · {_shared.duration_in_words(run.seconds_left)} left"
        run_row(run, "runs.py", f"{done:,} of {run.items_total or 0:,} items{left}")
        st.progress(min(1.0, done / run.items_total) if run.items_total else 0.0)


workspace = _shared.workspace()
models, datasets, recent = workspace.models(), workspace.datasets(), workspace.runs(50)
latest_models = {model.name: model for model in sorted(models, key=lambda model: model.version)}
active = [run for run in recent if not run.status.ended]

st.header("Batch Scoring Studio")
st.caption("Predictions for many files at once, by worker processes on this machine.")
if not (models or datasets or recent):
    welcome()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("New run", key="new-run", type="primary", icon=":material/play_circle:"):
            st.switch_page("new_run.py")
        st.page_link("registered_models.py", label=counted(len(latest_models), "model"))
        st.page_link("registered_datasets.py", label=counted(len({dataset.name for dataset in datasets}), "dataset"))
        if Capability.SAMPLE in workspace.capabilities:
            sample_button(type="tertiary")
    attention()
    if active:
        st.subheader("Running now")
        st.fragment(running, run_every=2.0)()
    st.subheader("Latest runs")
    ended = [run for run in recent if run.status.ended][:LATEST]
    if not ended:
        st.caption("No run has ended yet.")
    for run in ended:
        failed = f" · {run.items_failed:,} failed" if run.items_failed else ""
        run_row(run, "results.py", f"{counted(run.items_succeeded or 0, 'item')} scored{failed} · {_shared.ago(run.submitted_at)}")

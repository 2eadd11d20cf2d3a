"""The parts of Runs about pipelines: published ones, schedules, and pipeline runs that this program did not start. For a workspace with
pipelines; see `services.workspace.PipelineService`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import streamlit as st

from pages import _errors, _layout, _tables
from pages._forms import last_submission
from pages._keeping import tags_as_lines
from pages._switching import switch_page
from pages._text import ago, displayable, escape, truncate
from services.domain import Run, RunStatus, utc_now
from services.remote import WEEK_DAYS, Frequency, PipelineRun, PublishedPipeline, Recurrence, Schedule
from services.settings import TABLE
from services.workspace import PipelineService
from services.workspaces import chosen_workspace

T = TypeVar("T", PipelineRun, PublishedPipeline, Schedule, str)

MOST_RUNS = 100
CACHE_SECONDS = 300


def tabs(pipelines: PipelineService, runs: Callable[[], None]) -> None:
    """The list of runs, and tabs for the pipelines of the workspace. Only the open tab is drawn, and loads."""
    views: dict[str, Callable[[], None]] = {
        "Runs": runs,
        "Published pipelines": lambda: with_age(published_tab),
        "Schedules": lambda: with_age(schedules_tab),
        "In Azure ML": lambda: with_age(history_tab),
    }

    def with_age(show: Callable[[PipelineService], None]) -> None:
        """The lists with their age, known once they are loaded, and a button that loads them again."""
        with st.container(horizontal=True, vertical_alignment="center"):
            age = st.empty()
            st.space("stretch")
            if st.button("Refresh", icon=":material/refresh:", key="refresh-pipelines", type="tertiary"):
                forget_lists()
        show(pipelines)
        age.caption(f"As of {ago(min(at for at, _ in st.session_state.pipeline_lists.values()))}")

    for tab, show in zip(st.tabs(list(views), key="list", on_change="rerun", bind="query-params"), views.values(), strict=True):
        if tab.open:
            with tab, _errors.shown():
                show()


def listed(name: str, load: Callable[[], Sequence[T]]) -> Sequence[T]:
    """A list of the service, loaded at most every few minutes by one browser tab."""
    cache: dict[str, tuple[datetime, Sequence[T]]] = st.session_state.setdefault("pipeline_lists", {})
    key = f"{chosen_workspace().home} {name}"
    if key not in cache or (utc_now() - cache[key][0]).total_seconds() > CACHE_SECONDS:
        with st.spinner("Loading from Azure ML…"):
            cache[key] = (utc_now(), load())
    return cache[key][1]


def forget_lists() -> None:
    """Load the lists again when they are next shown."""
    st.session_state.pop("pipeline_lists", None)


def toggle(key: str, change: Callable[..., None], id_: str, *, active: bool, icon: str | None = None) -> None:
    """A button that disables or enables a pipeline or a schedule."""
    action = "Disable" if active else "Enable"
    if st.button(action, key=key, icon=icon):
        with st.spinner(f"{action[:-1]}ing…"):
            change(id_, active=not active)
        forget_lists()
        st.rerun()


# ---- on a run's page ---------------------------------------------------------------------------------------------------------------------


def publish_menu(pipelines: PipelineService, run: Run) -> None:
    """Publishing a run that has completed."""
    if run.status is RunStatus.COMPLETED and pipelines.of(run.id):
        with st.popover("Publish", icon=":material/publish:", type="tertiary", key=f"publish-{run.id}"):
            publish_form(pipelines, run)


def studio_link(pipelines: PipelineService, run: Run) -> None:
    """Where the run is in Azure ML studio, once it is there."""
    pipeline_run = pipelines.of(run.id)
    if pipeline_run and pipeline_run.studio_url:
        look: Any = {"type": "tertiary"} if run.status.ended else {}
        st.link_button("Open in studio", pipeline_run.studio_url, icon=":material/open_in_new:", **look)


def ask_cancel(pipelines: PipelineService, run: Run) -> None:
    """Of a job that somebody else submitted: it is theirs that ends."""
    with st.popover("Cancel run", icon=":material/stop_circle:", key=f"ask-cancel-{run.id}"):
        st.warning(escape(pipelines.whose(run.id)), icon=":material/group:")
        if st.button("Cancel their job", key=f"cancel-{run.id}", type="primary"):
            chosen_workspace().runs.cancel(run.id)
            st.rerun()


def show_azure_status(pipelines: PipelineService, run: Run) -> None:
    """The state of an active run in Azure ML."""
    pipeline_run = pipelines.of(run.id)
    if run.status.ended or run.status is RunStatus.NOT_RESPONDING:
        return
    if pipeline_run is None:
        st.caption("Submitting: the pipeline is built and its files are uploaded.")
    else:
        queued = pipeline_run.status == RunStatus.QUEUED
        where = ": waiting for nodes of the cluster." if queued else ", which reports the number of scored items at the end."
        st.caption(escape(f"{pipeline_run.status} in Azure ML{where}"))


def publish_form(pipelines: PipelineService, run: Run) -> None:
    """In a popover, not a dialog, which a redraw of the page by changes in Azure would close, losing what was typed."""
    st.caption("Publish this request so that it can be run again from here, by a schedule or by a POST, also with other settings.")
    with st.form("publish", border=False):
        name = st.text_input("Name", value=truncate(run.title, 100), max_chars=100, key="publish_name")
        description = st.text_input("Description", max_chars=300, key="publish_description")
        if not st.form_submit_button("Publish pipeline", type="primary", key="publish_now"):
            return
    with _errors.shown(), st.spinner("Publishing…"):
        published = pipelines.publish(run.id, name, description)
        forget_lists()
        switch_page("runs.py", query_params={"list": "Published pipelines", "pipeline": published.id})


# ---- published pipelines -----------------------------------------------------------------------------------------------------------------


def published_tab(pipelines: PipelineService) -> None:
    published = listed("published", pipelines.published)
    if not published:
        st.info("No published pipelines yet. Publish a completed run from its page.", icon=":material/info:")
        return
    by_id = {pipeline.id: pipeline for pipeline in published}
    shown = {
        "Name": [pipeline.name for pipeline in published],
        "Version": [pipeline.version for pipeline in published],  # which SDK v2 has none of
        "State": ["active" if pipeline.active else "disabled" for pipeline in published],
        "Description": [pipeline.description for pipeline in published],
    }
    shown = {name: texts for name, texts in shown.items() if name != "Version" or any(texts)}
    above = st.container()
    labels = {pipeline.id: displayable(f"{pipeline.name} · {pipeline.id[-8:]}") for pipeline in published}
    chosen = by_id[str(st.selectbox("Pipeline", list(by_id), format_func=labels.__getitem__, key="pipeline", bind="query-params"))]
    with above:
        _tables.choosing(
            _tables.arrow(dict.fromkeys(shown, str), list(zip(*shown.values(), strict=True))),
            "pipeline",
            list(by_id),
            list(by_id).index(chosen.id),
            {},
        )
    _layout.labelled("Endpoint (POST)", chosen.endpoint)
    with st.container(horizontal=True):
        icon = ":material/toggle_off:" if chosen.active else ":material/toggle_on:"
        toggle(f"toggle-{chosen.id}", pipelines.set_published, chosen.id, active=chosen.active, icon=icon)
    if chosen.defaults is None:
        st.caption("Published by another program, so its inputs are unknown here. Schedule it here, or run it in Azure ML studio.")
    if chosen.active:
        left, right = st.columns(2)
        with left, st.container(border=True):
            run_form(pipelines, chosen)
        with right, st.container(border=True):
            schedule_form(pipelines, chosen)


def parameter_inputs(published: PublishedPipeline, prefix: str) -> dict[str, str]:
    """The values of its parameters that differ; an empty input takes the published value."""
    values: dict[str, str] = {}
    for name, default in (published.defaults or {}).items():
        text = st.text_input(TABLE[name].label, key=f"{prefix}-{published.id}-{name}", placeholder=default, help=f"`{name}`")
        if text and text != default:
            values[name] = text
    return values


def run_form(pipelines: PipelineService, published: PublishedPipeline) -> None:
    st.subheader("Run again", anchor=False)
    if published.defaults is None:
        st.caption("Run it in Azure ML studio.")
        return
    with st.form(f"run-{published.id}", border=False):
        values = parameter_inputs(published, "run")
        name = st.text_input("Run name", key=f"run-name-{published.id}", max_chars=200, placeholder="optional")
        if st.form_submit_button("Run", type="primary", icon=":material/play_arrow:"):
            request = f"{published.id} {values} {name}"
            run = last_submission().once(request, lambda id_: pipelines.submit(published.id, values, name=name, submission_id=id_))
            switch_page("runs.py", query_params={"run": run.id})


def schedule_form(pipelines: PipelineService, published: PublishedPipeline) -> None:
    st.subheader("Schedule", anchor=False)
    with st.form(f"schedule-{published.id}", border=False):
        name = st.text_input("Name", key=f"schedule-name-{published.id}", value=truncate(published.name, 60), max_chars=100)
        left, right = st.columns(2)
        frequency = left.selectbox("Frequency", list(Frequency), index=2, key=f"frequency-{published.id}")
        interval = right.number_input("Interval", min_value=1, max_value=1000, key=f"interval-{published.id}")
        days = st.multiselect("On (weekly only)", WEEK_DAYS, key=f"days-{published.id}")
        time_of_day = st.text_input("At (daily and weekly only, UTC)", key=f"time-{published.id}", placeholder="06:30")
        with st.expander("Change settings"):
            values = parameter_inputs(published, "schedule")
        if st.form_submit_button("Schedule", icon=":material/schedule:"):
            timed = frequency in (Frequency.DAY, Frequency.WEEK)
            weekly = days if frequency is Frequency.WEEK else ()
            recurrence = Recurrence(frequency, int(interval), (time_of_day or "").strip() if timed else "", tuple(weekly))
            with st.spinner("Scheduling…"):
                schedule = pipelines.schedule(published.id, name, recurrence, values)
            forget_lists()
            st.success(escape(f"Scheduled {schedule.recurrence}. See the tab Schedules."), icon=":material/schedule:")


# ---- schedules and history ---------------------------------------------------------------------------------------------------------------


def schedules_tab(pipelines: PipelineService) -> None:
    schedules = listed("schedules", pipelines.schedules)
    if not schedules:
        st.info("No schedules yet. Create one from a published pipeline.", icon=":material/info:")
        return
    names = {pipeline.id: pipeline.name for pipeline in listed("published", pipelines.published)}
    for schedule in schedules:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(gap=None):
                st.text(displayable(schedule.name))
                st.caption(escape(f"{schedule.recurrence} · {names.get(schedule.pipeline_id, schedule.pipeline_id)}"))
            st.space("stretch")
            st.badge("active" if schedule.active else "disabled", color="green" if schedule.active else "gray")
            toggle(f"schedule-{schedule.id}", pipelines.set_schedule, schedule.id, active=schedule.active)


def history_tab(pipelines: PipelineService) -> None:
    experiments = listed("experiments", pipelines.experiments)
    if not experiments:
        st.info("No experiments yet.", icon=":material/info:")
        return
    experiment = str(st.selectbox("Experiment", experiments, key="experiment", bind="query-params"))
    history = listed(f"history {experiment}", lambda: pipelines.history(experiment, MOST_RUNS))
    if not history:
        st.caption("No pipeline runs in this experiment.")
        return
    newest = f"The newest {MOST_RUNS} pipeline runs" if len(history) == MOST_RUNS else "All pipeline runs of this experiment"
    st.caption(f"{newest}, also those started elsewhere.")
    columns: dict[str, type] = {
        "Status": str, "Title": str, "Tags": str, "Here": str, "Studio": str, "Started": datetime, "Ended": datetime, "Note": str,
        "Id": str,
    }  # fmt: skip
    rows = [
        (run.status, truncate(run.title, 300), truncate(", ".join(tags_as_lines(run.tags)), 300),
         f"runs?run={run.run_id}" if run.run_id else None, run.studio_url, run.created_at, run.ended_at, truncate(run.note, 300), run.id)
        for run in history
    ]  # fmt: skip
    config = dict.fromkeys(("Started", "Ended"), _tables.time_column())
    config |= {"Here": st.column_config.LinkColumn(display_text="Run"), "Studio": st.column_config.LinkColumn(display_text="Studio")}
    _tables.show(columns, rows, "Pipeline runs in Azure ML", placeholder="", column_config=config)
    others = {run.id: run for run in history if not run.run_id}
    if others and pipelines.can_follow:
        names = {job_id: displayable(" · ".join(dict.fromkeys((truncate(run.title, 100), job_id)))) for job_id, run in others.items()}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.selectbox("Started elsewhere", list(others), key="follow", format_func=names.__getitem__)
            help_text = "Take it as a run here: its logs, its output, its predictions. Nothing is scored again."
            if st.button("Open here", icon=":material/input:", key="follow-now", help=help_text):
                with _errors.shown():
                    followed = pipelines.follow(experiment, str(chosen))
                    forget_lists()  # the job is here now
                    switch_page("runs.py", query_params={"run": followed.id})

"""The parts of Runs about pipelines: published ones, schedules, pipeline runs that this program did not start. For a workspace that has
them; see `services.workspace.PipelineService`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _shared
from pages._shared import arrow_table, clipped, plain, shown
from pages._submission import last_submission
from services.domain import WEEK_DAYS, Frequency, PipelineRun, PublishedPipeline, Recurrence, Run, RunStatus, Schedule, utc_now
from services.settings import TABLE
from services.workspace import PipelineService

T = TypeVar("T", PipelineRun, PublishedPipeline, Schedule, str)

MOST_RUNS = 100
KEPT = 300  # seconds that a list is shown again without asking


def tabs(pipelines: PipelineService, runs: Callable[[], None]) -> None:
    """The list of runs, and beside it what else the workspace has. Only the open tab is drawn, and asks."""
    views: dict[str, Callable[[], None]] = {
        "Runs": runs,
        "Published pipelines": lambda: with_age(published_tab),
        "Schedules": lambda: with_age(schedules_tab),
        "In Azure ML": lambda: with_age(history_tab),
    }

    def with_age(show: Callable[[PipelineService], None]) -> None:
        age = age_and_refresh()
        show(pipelines)
        tell_age(age)

    for tab, show in zip(st.tabs(list(views), key="list", on_change="rerun", bind="query-params"), views.values(), strict=True):
        if tab.open:
            with tab, _shared.errors_shown():
                show()


def listed(name: str, ask: Callable[[], Sequence[T]]) -> Sequence[T]:
    """A list of the service's, asked for at most every few minutes by one browser tab."""
    kept: dict[str, tuple[datetime, Sequence[T]]] = st.session_state.setdefault("pipeline_lists", {})
    place = place_of(name)
    if place not in kept or (utc_now() - kept[place][0]).total_seconds() > KEPT:
        with st.spinner("Asking Azure ML…"):
            kept[place] = (utc_now(), ask())
    return kept[place][1]


def place_of(name: str) -> str:
    return f"{_shared.workspace().location} {name}"


def age_and_refresh() -> DeltaGenerator:
    """A button to ask for the lists again. Their age is told in what this returns, once they are there: see `tell_age`."""
    with st.container(horizontal=True, vertical_alignment="center"):
        age = st.empty()
        st.space("stretch")
        if st.button("Refresh", icon=":material/refresh:", key="refresh-pipelines", type="tertiary"):
            forget_lists()
    return age


def tell_age(age: DeltaGenerator) -> None:
    age.caption(f"As of {_shared.ago(min(at for at, _ in st.session_state.pipeline_lists.values()))}")


def forget_lists() -> None:
    """Something was changed: the lists are asked for again."""
    st.session_state.pop("pipeline_lists", None)


# ---- on a run's board --------------------------------------------------------------------------------------------------------------------


def beside_actions(pipelines: PipelineService, run: Run) -> None:
    """A run's page in Azure ML studio; and publishing it, once it has shown that it works."""
    known = pipelines.of(run.id)
    if known and run.status is RunStatus.COMPLETED:
        with st.popover("Publish", icon=":material/publish:", key=f"publish-{run.id}"):
            publish_form(pipelines, run)
    if known and known.studio_url:
        st.link_button("Open in studio", known.studio_url, icon=":material/open_in_new:")


def where_it_is(pipelines: PipelineService, run: Run) -> None:
    """Azure ML's own words for a run that goes on."""
    known = pipelines.of(run.id)
    if run.status.ended or run.status is RunStatus.NOT_RESPONDING:
        return
    if known is None:
        st.caption("It is being submitted: its pipeline is built, and what it needs is uploaded.")
    else:
        queued = known.status is RunStatus.QUEUED
        where = ": it waits for nodes of the cluster." if queued else ", which tells at the end how many items are done."
        st.caption(plain(f"{known.status} in Azure ML{where}"))


def publish_form(pipelines: PipelineService, run: Run) -> None:
    """In a popover, not a dialog: that one is closed, and what was typed lost, when news from Azure draws the page again."""
    st.caption("The same request, to be run again by its id, by a schedule, or by a POST to its address; also with other settings.")
    with st.form("publish", border=False):
        name = st.text_input("Name", value=clipped(run.title, 100), max_chars=100, key="publish_name")
        description = st.text_input("Description", max_chars=300, key="publish_description")
        if not st.form_submit_button("Publish pipeline", type="primary", key="publish_now"):
            return
    with _shared.errors_shown(), st.spinner("Publishing…"):
        made = pipelines.publish(run.id, name, description)
        forget_lists()
        st.switch_page("runs.py", query_params={"list": "Published pipelines", "pipeline": made.id})


# ---- published pipelines -----------------------------------------------------------------------------------------------------------------


def published_tab(pipelines: PipelineService) -> None:
    found = listed("published", pipelines.published)
    if not found:
        st.info("Nothing is published yet. A completed run has a button for it.", icon=":material/info:")
        return
    by_id = {each.id: each for each in found}
    rows = [(each.name, each.version, "active" if each.active else "disabled", each.description) for each in found]
    columns = {"Name": str, "Version": str, "State": str, "Description": str}
    above = st.container()
    label = {each.id: shown(f"{each.name} · {each.id[:8]}") for each in found}
    chosen = by_id[str(st.selectbox("Pipeline", list(by_id), format_func=label.__getitem__, key="pipeline", bind="query-params"))]
    with above:
        _shared.choosing_table(arrow_table(columns, rows), "pipeline", list(by_id), list(by_id).index(chosen.id), {})
    _shared.labelled("Address for a POST", chosen.endpoint)
    with st.container(horizontal=True):
        words = "Disable" if chosen.active else "Enable"
        if st.button(words, key=f"toggle-{chosen.id}", icon=":material/toggle_off:" if chosen.active else ":material/toggle_on:"):
            with st.spinner(f"{words[:-1]}ing…"):
                pipelines.set_published(chosen.id, active=not chosen.active)
            forget_lists()
            st.rerun()
    if chosen.defaults is None:
        st.caption("It was published elsewhere: what it reads isn't known here, so it can be scheduled, and run in Azure ML studio.")
    if chosen.active:
        run_it, by_the_clock = st.columns(2)
        with run_it, st.container(border=True):
            run_form(pipelines, chosen)
        with by_the_clock, st.container(border=True):
            schedule_form(pipelines, chosen)


def parameter_inputs(published: PublishedPipeline, prefix: str) -> dict[str, str]:
    """What is given for its parameters; an empty input takes the published value."""
    given: dict[str, str] = {}
    for name, default in (published.defaults or {}).items():
        text = st.text_input(TABLE[name].label, key=f"{prefix}-{published.id}-{name}", placeholder=default, help=f"`{name}`")
        if text and text != default:
            given[name] = text
    return given


def run_form(pipelines: PipelineService, published: PublishedPipeline) -> None:
    st.subheader("Run it again", anchor=False)
    if published.defaults is None:
        st.caption("In Azure ML studio.")
        return
    with st.form(f"run-{published.id}", border=False):
        given = parameter_inputs(published, "run")
        name = st.text_input("Run name", key=f"run-name-{published.id}", max_chars=200, placeholder="optional")
        if st.form_submit_button("Run", type="primary", icon=":material/play_arrow:"):
            said = f"{published.id} {given} {name}"
            run = last_submission().once(said, lambda once: pipelines.submit(published.id, given, name=name, submission_id=once))
            st.switch_page("runs.py", query_params={"run": run.id})


def schedule_form(pipelines: PipelineService, published: PublishedPipeline) -> None:
    st.subheader("Schedule it", anchor=False)
    with st.form(f"schedule-{published.id}", border=False):
        name = st.text_input("Name", key=f"schedule-name-{published.id}", value=clipped(published.name, 60), max_chars=100)
        left, right = st.columns(2)
        frequency = left.selectbox("Every", list(Frequency), index=2, key=f"frequency-{published.id}")
        interval = right.number_input("so many of them", min_value=1, max_value=1000, key=f"interval-{published.id}")
        days = st.multiselect("On (weeks)", WEEK_DAYS, key=f"days-{published.id}")
        time_of_day = st.text_input("At (days and weeks, UTC)", key=f"time-{published.id}", placeholder="06:30")
        with st.expander("Other settings than the published ones"):
            given = parameter_inputs(published, "schedule")
        if st.form_submit_button("Schedule", icon=":material/schedule:"):
            clocked = frequency in (Frequency.DAY, Frequency.WEEK)
            weekly = days if frequency is Frequency.WEEK else ()
            recurrence = Recurrence(frequency, int(interval), (time_of_day or "").strip() if clocked else "", tuple(weekly))
            with st.spinner("Scheduling…"):
                made = pipelines.schedule(published.id, name, recurrence, given)
            st.session_state.pipeline_lists.pop(place_of("schedules"), None)
            st.success(plain(f"It is run {made.recurrence}. The tab Schedules has it."), icon=":material/schedule:")


# ---- schedules and history ---------------------------------------------------------------------------------------------------------------


def schedules_tab(pipelines: PipelineService) -> None:
    found = listed("schedules", pipelines.schedules)
    if not found:
        st.info("There are no schedules. A published pipeline can be given one.", icon=":material/info:")
        return
    names = {each.id: each.name for each in listed("published", pipelines.published)}
    for each in found:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(gap=None):
                st.text(_shared.shown(each.name))
                st.caption(plain(f"{each.recurrence} · {names.get(each.pipeline_id, each.pipeline_id)}"))
            st.space("stretch")
            st.badge("active" if each.active else "disabled", color="green" if each.active else "gray")
            words = "Disable" if each.active else "Enable"
            if st.button(words, key=f"schedule-{each.id}"):
                with st.spinner(f"{words[:-1]}ing…"):
                    pipelines.set_schedule(each.id, active=not each.active)
                forget_lists()
                st.rerun()


def history_tab(pipelines: PipelineService) -> None:
    experiments = listed("experiments", pipelines.experiments)
    if not experiments:
        st.info("There are no experiments yet.", icon=":material/info:")
        return
    experiment = str(st.selectbox("Experiment", experiments, key="experiment", bind="query-params"))
    found = listed(f"history {experiment}", lambda: pipelines.history(experiment, MOST_RUNS))
    if not found:
        st.caption("No pipeline ran in this experiment.")
        return
    newest = f"The newest {MOST_RUNS} pipeline runs" if len(found) == MOST_RUNS else "All its pipeline runs"
    st.caption(f"{newest}, whoever started them.")
    columns: dict[str, type] = {"Status": str, "Title": str, "Here": str, "Studio": str, "Started": datetime, "Ended": datetime, "Id": str}
    rows = [
        (each.status, clipped(each.title, 300), f"runs?run={each.run_id}" if each.run_id else None, each.studio_url, each.created_at,
         each.ended_at, each.id)
        for each in found
    ]  # fmt: skip
    link = st.column_config.LinkColumn
    config: dict[str, Any] = {
        "Started": _shared.time_column(),
        "Ended": _shared.time_column(),
        "Here": link(display_text="Run"),
        "Studio": link(display_text="Studio"),
    }
    st.dataframe(
        arrow_table(columns, rows), hide_index=True, lazy=False, placeholder="", column_config=config, alt="Pipeline runs in Azure ML"
    )

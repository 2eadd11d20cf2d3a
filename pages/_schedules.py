"""What this machine runs by the clock: kept from New run, listed on Runs, each with the texts for the system's own scheduler."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from pages import _errors
from pages._new_only import of_names
from pages._switching import switch_page
from pages._text import displayable, escape, local_time, truncate
from services.domain import RunRequest, parse_reference
from services.errors import NothingStarted
from services.schedules.cron import WORDS
from services.schedules.schedule import Schedule
from services.schedules.texts import SetupTexts
from services.workspace import Capability, Schedules, Workspace

_OTHER = "at other times"


def tabs(schedules: Schedules, runs: Callable[[], None]) -> None:
    """The list of runs, and the schedules beside it. Only the open tab is drawn."""
    views: dict[str, Callable[[], None]] = {"Runs": runs, "Schedules": lambda: _list(schedules)}
    for tab, show in zip(st.tabs(list(views), key="list", on_change="rerun", bind="query-params"), views.values(), strict=True):
        if tab.open:
            with tab, _errors.shown():
                show()


# ---- the list --------------------------------------------------------------------------------------------------------------------


def _list(schedules: Schedules) -> None:
    if said := st.session_state.pop("schedule_said", ""):
        st.info(said, icon=":material/info:")
    kept = schedules.all()
    if not kept:
        st.info("No schedules yet. Choose what to score on New run, then “Run it by the clock”.", icon=":material/info:")
        st.page_link("new_run.py", label="New run", icon=":material/arrow_forward:")
    for schedule in kept:
        with st.container(border=True, key=f"schedule-{schedule.name}"):
            _show(schedules, schedule)


def _show(schedules: Schedules, schedule: Schedule) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(gap=None, width="stretch"):
            st.text(displayable(schedule.name))
            st.caption(escape(_about(schedule)))
        if st.button("Run now", key=f"run-{schedule.name}", icon=":material/play_arrow:"):
            try:
                run = schedules.start(schedule.name)
            except NothingStarted as nothing:
                st.session_state["schedule_said"] = escape(f"{nothing.message} {nothing.hint}".strip())
                st.rerun()
            switch_page("runs.py", query_params={"run": run.id})
        if st.button("Remove", key=f"remove-{schedule.name}", icon=":material/delete:"):
            st.session_state["schedule_to_remove"] = schedule.name
    if schedule.last:
        _show_last(schedule)
    setup = schedules.setup(schedule.name)
    if st.session_state.get("schedule_to_remove") == schedule.name:
        _ask_removal(schedules, schedule.name, setup)
    with st.expander("What to give the system's scheduler", icon=":material/content_copy:"):
        show_setup(setup)


def _about(schedule: Schedule) -> str:
    request = schedule.request
    what = f"{', '.join(request.models) or request.script_name} on {', '.join(request.datasets)}"
    new_only = ", only what is new" if request.new_only else ""
    due = schedule.next_at()
    return f"{schedule.recurrence} · {truncate(what, 200)}{new_only}" + (f" · next {local_time(due)}" if due else "")


def _show_last(schedule: Schedule) -> None:
    last = schedule.last
    assert last
    icon = ":material/error:" if last.failed else ":material/history:"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{icon} Last started {escape(local_time(last.at))}: {escape(truncate(last.outcome, 500))}", width="content")
        if last.run_id:
            st.page_link("runs.py", label=escape(last.run_id), query_params={"run": last.run_id})


def _ask_removal(schedules: Schedules, name: str, setup: SetupTexts) -> None:
    text = (
        f"Remove the schedule “{name}”? Its runs stay. If the system's scheduler has it, take it out there too:"
        " the first command does so for systemd, the second opens the lines of cron, of which you delete its own."
    )
    st.warning(escape(text), icon=":material/delete_forever:")
    st.code(f"{setup.systemd_removal}\ncrontab -e", language=None)
    with st.container(horizontal=True):
        if st.button("Remove it", key=f"remove-now-{name}", type="primary"):
            schedules.remove(name)
            st.session_state["schedule_said"] = f"Removed the schedule **{escape(name)}**."
            st.rerun()
        if st.button("Keep it", key=f"keep-{name}"):
            del st.session_state["schedule_to_remove"]
            st.rerun()


def show_setup(setup: SetupTexts) -> None:
    """The texts, to be copied; this machine's own first."""
    views = {"systemd": _systemd, "cron": _cron, "Windows": _windows}
    names = sorted(views, key=lambda name: name != ("Windows" if os.name == "nt" else "systemd"))
    st.caption("The system's own scheduler starts it. Use one of these; the program writes none of them anywhere.")
    for tab, name in zip(st.tabs(names), names, strict=True):
        with tab:
            views[name](setup)


def _systemd(setup: SetupTexts) -> None:
    st.caption(escape(f"~/.config/systemd/user/{setup.unit}.service"))
    st.code(setup.service, language="ini", wrap_lines=True)
    st.caption(escape(f"~/.config/systemd/user/{setup.unit}.timer"))
    st.code(setup.timer, language="ini", wrap_lines=True)
    st.caption("Then")
    st.code(setup.systemd_commands, language="bash", wrap_lines=True)


def _cron(setup: SetupTexts) -> None:
    st.caption("A line for `crontab -e`")
    st.code(setup.cron, language="bash", wrap_lines=True)


def _windows(setup: SetupTexts) -> None:
    if setup.schtasks:
        st.caption("In a command prompt")
        st.code(setup.schtasks, language=None, wrap_lines=True)
    else:
        st.caption(escape(dict(setup.why_not)["schtasks"]))


# ---- from New run ----------------------------------------------------------------------------------------------------------------


def offer(workspace: Workspace, request: RunRequest) -> None:
    """“Run it by the clock”, of this request. To be drawn where it could be submitted."""
    schedules = workspace.schedules
    if schedules is None:
        return
    with st.popover("Run it by the clock", icon=":material/schedule:", width="stretch"), _errors.shown():
        if (kept := st.session_state.get("kept_schedule")) and kept[0] == repr(request):
            st.success(escape(f"Kept the schedule “{kept[1]}”. Runs has it under Schedules."), icon=":material/check_circle:")
            show_setup(schedules.setup(kept[1]))
            return
        _ask(workspace, schedules, request)


def _ask(workspace: Workspace, schedules: Schedules, request: RunRequest) -> None:
    taken, base = {schedule.name for schedule in schedules.all()}, parse_reference(request.datasets[0], "dataset")[0]
    proposal = next(name for number in itertools.count(1) if (name := base if number == 1 else f"{base}-{number}") not in taken)
    name = st.text_input("Name", key="schedule_name", placeholder=proposal, max_chars=100)
    often = st.selectbox("How often", [*WORDS, _OTHER], index=1, key="schedule_every")
    if often == _OTHER:
        help_text = "Minute, hour, day of the month, month, day of the week: 30 6 * * mon-fri is half past six on weekdays."
        often = st.text_input("In cron's words", key="schedule_cron", placeholder="30 6 * * mon-fri", help=help_text)
    new_only = False
    if Capability.NEW_ONLY in workspace.capabilities:
        help_text = "Each time the dataset's folder is read again, and what came or changed is added to what was scored: a watched folder."
        new_only = st.toggle("Only what is new", value=True, key="schedule_new_only", help=help_text)
    help_text = "The latest version of the model and of the dataset at that time, not the ones that are chosen now."
    latest = st.toggle("Always the latest versions", value=True, key="schedule_latest", help=help_text)
    if st.button("Keep schedule", key="keep_schedule", type="primary", icon=":material/schedule:"):
        if latest or new_only:
            kept = of_names(request)
            models = tuple(parse_reference(model, "model")[0] for model in request.models)
            kept = replace(kept, models=models if latest else request.models)
        else:
            kept = request
        made = schedules.add(name.strip() or proposal, often or "", replace(kept, new_only=new_only))
        st.session_state["kept_schedule"] = (repr(request), made.name)
        st.rerun()

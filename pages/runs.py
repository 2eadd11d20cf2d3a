"""Runs: the live list, or the live page of the run in the URL (?run=ID)."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from pages import (
    _errors,
    _handover,
    _layout,
    _lineage,
    _notifications,
    _pipelines,
    _run_board,
    _run_failures,
    _run_keeping,
    _run_list,
    _run_logs,
    _schedules,
    _tables,
    _workspace,
)
from pages._forms import last_submission
from pages._switching import switch_page
from pages._text import escape, local_time, truncate
from services.domain import Run, RunStatus
from services.formats import counted
from services.settings import TABLE, ParallelRunSettings
from services.workspace import Capability
from services.workspaces import chosen_workspace

MOST_FILES = 1_000  # output files shown

workspace = chosen_workspace()
pipelines = workspace.pipelines


# ---- one run -----------------------------------------------------------------------------------------------------------------------------


def board(run_id: str, was_active: bool) -> None:
    """Everything that changes while a run is active. The rest of the page is drawn once."""
    with _errors.shown():
        run = workspace.runs.get(run_id)
        _run_board.show_in_title(run)
        if (number := st.session_state.pop("mini_batch_to_open", None)) is not None:
            st.query_params["mini_batch"] = str(number)
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
            _layout.status_badge(run)
            if not run.status.ended:
                _notifications.show_button()
            st.space("stretch")
            actions(run)
        if was_active and run.status.ended:  # not before the buttons: a click that came with this refresh would be lost
            st.rerun()
        if pipelines is not None:
            _pipelines.show_azure_status(pipelines, run)
        _run_board.figures(run)
        if run.doing:
            st.caption(f":material/sync: {escape(run.doing)}")
        show_outcome(run)
        views = {
            "Activity": show_activity, "Failures": _run_failures.show_failures, "Logs": _run_logs.show, "Settings": settings_table,
            "Output": output_table, "Lineage": show_lineage,
        }  # fmt: skip
        first = first_view(run)
        if run.status is RunStatus.RUNNING and st.session_state.get("view", first) != "Activity":
            _run_board.show_stall(run, _run_board.activity_of(run))
        tabs = st.tabs(list(views), default=first, key="view", on_change="rerun", bind="query-params")
        for tab, show in zip(tabs, views.values(), strict=True):
            if tab.open:
                with tab:
                    show(run)


def show_lineage(run: Run) -> None:
    _lineage.show_of_run(workspace, run)


def first_view(run: Run) -> str:
    """The tab that is open at first: where a run had failed when its page was opened, what failed. It stays so while the page is open."""
    opened = st.session_state.setdefault("first_view", {})
    if run.id not in opened:
        failed = run.status.ended and (run.items_failed or run.status is RunStatus.FAILED)
        opened[run.id] = "Failures" if failed else "Activity"
    return str(opened[run.id])


def show_activity(run: Run) -> None:
    activity = _run_board.activity_of(run)
    _run_board.show_stall(run, activity)
    _run_board.show_activity(run, activity)


def actions(run: Run) -> None:
    if not run.status.ended and run.status is not RunStatus.CANCEL_REQUESTED:
        carry_on = Capability.CARRY_ON in workspace.capabilities
        help_text = "Scored items are kept, and the run can be resumed." if carry_on else "This also cancels it in Azure ML."
        if pipelines is not None and run.request.followed_job:
            _pipelines.ask_cancel(pipelines, run)
        elif st.button("Cancel run", icon=":material/stop_circle:", key=f"cancel-{run.id}", help=help_text):
            workspace.runs.cancel(run.id)
            st.rerun()
    stopped = run.status in (RunStatus.FAILED, RunStatus.CANCELED)
    resumable = run.status is RunStatus.NOT_RESPONDING or run.never_submitted or (stopped and Capability.CARRY_ON in workspace.capabilities)
    if resumable and not run.imported_from:
        item = _workspace.item_of(run)
        again = "Mini-batches whose run() failed are tried again." if run.status.ended else f"{item.capitalize()}s that failed stay failed."
        if run.status.ended and run.items_failed:
            again += f" {item.capitalize()}s that got no row stay failed: Rerun failed only scores them again."
        help_text = f"Continues where the run stopped. Scored {item}s are kept. {again}"
        if pipelines is not None:
            help_text = "Follows the run in Azure ML again; submits it if it isn't there yet."
        if st.button("Resume", icon=":material/resume:", key=f"resume-{run.id}", help=help_text):
            workspace.runs.resume(run.id)
            st.rerun()
    why_not = _handover.why_no_rerun(run)
    help_text = why_not or "Submits the same request as a new run."
    if run.status.ended and st.button("Rerun", icon=":material/replay:", key=f"rerun-{run.id}", help=help_text, disabled=bool(why_not)):
        rerun = last_submission().submit(workspace, run.request_again())
        switch_page("runs.py", query_params={"run": rerun.id})
    help_text = "Opens New run with every setting of this run."
    if st.button("Edit and run again", icon=":material/edit:", key=f"edit-{run.id}", help=help_text):
        switch_page("new_run.py", query_params={"run": run.id})
    known = _workspace.item_of(run) != "row" or Capability.FAILED_ROWS in workspace.capabilities
    help_text = "A new run of the failed and unprocessed items. Its results are those of this run, with these items replaced."
    help_text = help_text if known else "Azure ML does not report which rows of a table failed. Rerun all of it."
    if run.imported_from:
        known, help_text = False, "The run was imported, and its files are not here."
    elif run.request.followed_job:
        known, help_text = False, why_not
    some_failed = run.items_succeeded is not None and run.items_succeeded < (run.items_total or 0)
    offered = run.status.ended and some_failed
    if offered and st.button("Rerun failed only", icon=":material/rule:", key=f"rerun-failed-{run.id}", help=help_text, disabled=not known):
        rerun = last_submission().submit(workspace, run.request_again(failed_only=True))
        switch_page("runs.py", query_params={"run": rerun.id})
    if pipelines is not None and not run.status.ended:  # from when it is there; later it is beside what can be taken of the run
        _pipelines.studio_link(pipelines, run)
    label = "See results" if run.status.ended else "See results so far"
    if st.button(label, type="primary", icon=":material/table_chart:", key=f"results-{run.id}"):
        switch_page("results.py", query_params={"run": run.id})


def what_to_take(run: Run) -> None:
    """The report, the exports, the run in Azure ML studio, and publishing it there."""
    if run.status.ended:
        url = f"downloads/report.html?{urlencode({'run': run.id})}"
        help_text = "One HTML page to share or print: pictures, causes of failures, first rows, settings, provenance."
        st.link_button("Report", url, icon=":material/summarize:", type="tertiary", help=help_text)
    _handover.export_menu(run)
    if pipelines is not None and run.status.ended:
        _pipelines.studio_link(pipelines, run)
        _pipelines.publish_menu(pipelines, run)


def show_outcome(run: Run) -> None:
    """What a person should see first: how the run ended, or what fails while it is active."""
    _handover.show_where_from(run)
    if run.status is RunStatus.NOT_RESPONDING:
        seen = f" Last seen at {local_time(run.heartbeat_at)}." if run.heartbeat_at else ""
        hint = "Scored items are kept. Resume continues; nothing is scored twice."
        if pipelines is not None:
            hint = "" if run.error else "Resume follows it again."  # an error of its runner says what to do
        reason = escape(truncate(run.error or "", 1_000))
        st.warning(f"This run has no active runner. {reason}{seen} {hint}", icon=":material/heart_broken:")
    if run.status is RunStatus.QUEUED and not pipelines:
        st.info("Queued. Runs start in the order they were submitted.", icon=":material/schedule:")
    if run.warnings:
        st.warning("\n\n".join(escape(truncate(warning, 1_000)) for warning in run.warnings), icon=":material/warning:")
    if run.reused_from:
        text = f"Reused the output of {run.reused_from}, which had the same inputs. Nothing was scored again."
        st.info(escape(text), icon=":material/recycling:")
    elif run.reuse_note:
        st.caption(escape(truncate(run.reuse_note, 1_000)))
    if run.request.rerun_of and not run.request.new_only:  # of which the note says what it was added to
        scope = "the failed and unprocessed items of " if run.request.failed_only else ""
        st.caption(escape(f"Rerun of {scope}{run.request.rerun_of}."))
    if run.status is RunStatus.CANCELED:
        st.info(escape(run.error or "Canceled."), icon=":material/cancel:")
    elif run.error and run.status is not RunStatus.NOT_RESPONDING:
        first, _, rest = run.error.partition("\n")
        st.error(escape(truncate(first, 1_000)), icon=":material/error:")
        _run_failures.traceback(rest, most=300)
        if run.error_code == "ModuleNotFoundError" or _run_failures.is_a_cause(run, "ModuleNotFoundError"):
            advice = "Install it in the run's environment (see Settings), or choose another environment under More settings of a new run."
            st.caption(advice)
    elif run.items_failed:
        _run_failures.show_causes_in_a_line(run)


def settings_table(run: Run) -> None:
    request, settings = run.request, run.request.settings
    rows = [
        ("Model", ", ".join(request.models) or "none", ""),
        ("Dataset", ", ".join(request.datasets), ""),
        ("Scoring script", request.entry_script, ""),
        ("Arguments", shlex.join(request.arguments) or "none", ""),
    ]
    for name, row in TABLE.items():
        value, default = getattr(settings, name), ParallelRunSettings.default(name)
        rows.append((row.label, format_setting(value, row.unset), format_setting(default, row.unset) if value != default else ""))
    _tables.show({"Setting": str, "Value": str, "Default, if different": str}, rows, "The request of this run", most=30)
    with _errors.shown():
        environment = workspace.runs.environment(run.id)
        st.subheader("Environment")
        st.text(f"{environment}, Python {environment.python_version}, {environment.interpreter}")
        _tables.show({"Package": str, "Version": str}, sorted(environment.packages.items()), "Installed packages", most=10)


def format_setting(value: object, unset: str) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, tuple) else unset if value is None else str(value)


def output_table(run: Run) -> None:
    output = workspace.runs.output(run.id)
    if not output:
        st.caption("No output files." if run.status.ended else "No output files yet.")
        return
    addresses = {
        name: f"downloads/output?{urlencode({'run': run.id, 'name': name}, errors='surrogateescape')}" for name in list(output)[:MOST_FILES]
    }
    stem, help_text = Path(run.request.settings.append_row_file_name).stem, "The rows that run() returned, one a line."
    if rows_file := next((name for name in addresses if name.startswith(stem)), None):
        st.link_button(escape(rows_file), addresses[rows_file], icon=":material/download:", help=help_text)
    st.caption(f"{counted(len(output), 'file')} as the run wrote them" + f", the first {MOST_FILES:,} shown" * (len(output) > MOST_FILES))
    rows = [(name, output[name].stat().st_size if output[name].exists() else None, address) for name, address in addresses.items()]
    column = st.column_config
    config = {"Size": column.NumberColumn(format="bytes"), "Link": column.LinkColumn("", display_text="Download")}
    _tables.show({"File": str, "Size": int, "Link": str}, rows, "Output files", most=15, column_config=config)


# ---- the page ----------------------------------------------------------------------------------------------------------------------------

chosen = st.query_params.get("run") or None
if chosen is None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container():
            _layout.title("Runs", "Scoring runs: find one, open it, keep them in order.")
        _handover.import_form()
    _run_keeping.delete_dialog()
    live_list = st.fragment(_run_list.show, run_every=2.0)
    if pipelines is not None:
        _pipelines.tabs(pipelines, live_list)
    elif workspace.schedules is not None:
        _schedules.tabs(workspace.schedules, live_list)
else:
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary"):
        switch_page("runs.py", query_params={})
    _run_keeping.delete_dialog()
    run = _workspace.run_of_link(chosen)
    _layout.title(escape(truncate(" ".join(run.title.split()), 150)), escape(f"{run.id} · submitted {local_time(run.submitted_at)}"))
    _run_keeping.show_said(run, lambda: what_to_take(run))
    active = not run.status.ended
    st.fragment(board, run_every=1.0 if active else None)(run.id, active)
    if (number := st.query_params.get("mini_batch", "")).isdecimal() and len(number) <= 12:
        _run_board.show_dialog(run, int(number))

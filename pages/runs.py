"""Runs: all of them as a live list, or the one in the URL (?run=ID) as a live board."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from pages import _pipelines, _shared
from pages._shared import arrow_table, clipped, duration_in_words, plain, shown
from pages._submission import last_submission
from services import formats
from services.domain import Failure, Run, RunStatus
from services.formats import counted
from services.settings import TABLE, ParallelRunSettings
from services.storage.tail import tail
from services.workspace import Capability

MOST_RUNS = 1_000
LAST_LINES = 200
MOST_FILES = 1_000  # output files shown

workspace = _shared.workspace()
pipelines = workspace.pipelines


def done(run: Run) -> int:
    return (run.items_succeeded or 0) + (run.items_failed or 0)


def rate(run: Run) -> float | None:
    """Files a second: at present, or over the whole of a run that ended."""
    ended = done(run) / run.duration if run.duration and run.items_succeeded is not None else None
    found = ended if run.status.ended else run.rate
    return None if found is None else round(found, 1 if found < 100 else None)


def time_left(run: Run) -> str | None:
    return None if run.seconds_left is None else duration_in_words(run.seconds_left)


def rows_high(count: int, most: int) -> int:
    """The height of a table of so many rows, in pixels."""
    return min(count, most) * 35 + 38


# ---- the list ----------------------------------------------------------------------------------------------------------------------------


def open_run() -> None:
    if cells := st.session_state.runs_table.selection.cells:
        st.switch_page("runs.py", query_params={"run": st.session_state.listed_runs[cells[0][0]]})


def run_list() -> None:
    with _shared.errors_shown():
        runs = workspace.runs.latest(MOST_RUNS)
        if not runs:
            st.info("There are no runs yet.", icon=":material/info:")
            st.page_link("new_run.py", label="Start the first one", icon=":material/arrow_forward:")
            return
        present = [status for status in RunStatus if any(run.status is status for run in runs)]
        with st.container(horizontal=True, vertical_alignment="center"):
            words: dict[str, Any] = {"label_visibility": "collapsed", "bind": "query-params"}
            text = st.text_input("Name", key="name", type="search", placeholder="Filter by name", live="300ms", width=260, **words)
            statuses = st.pills("Status", present, selection_mode="multi", key="status", **words)
            st.space("stretch")
            if st.button("New run", type="primary", icon=":material/add:"):
                st.switch_page("new_run.py", query_params={})
        part = text.casefold()
        found = [run for run in runs if run.status in (statuses or present) and part in f"{run.title} {run.id}".casefold()]
        st.session_state.listed_runs = [run.id for run in found]
        newest = f"the newest {MOST_RUNS:,} runs" if len(runs) == MOST_RUNS else counted(len(runs), "run")
        st.caption(f"{len(found):,} of {newest} · click one to open it" if len(found) < len(runs) else f"{newest} · click one to open it")
        if found:
            run_table(found)


def run_table(runs: list[Run]) -> None:
    from pyarrow import compute

    columns = {
        "Status": str, "Run": str, "Progress": float, "Succeeded": int, "Failed": int, "Left": int, "Items/s": float, "Time left": str,
        "Submitted": datetime,
    }  # fmt: skip
    table = arrow_table(
        columns,
        [
            (
                run.status, clipped(run.title, 300), run.share_done and int(100 * run.share_done) / 100,
                run.items_succeeded, run.items_failed, run.items_left, rate(run), time_left(run), run.submitted_at,
            )
            for run in runs
        ],
    )  # fmt: skip
    table = table.set_column(0, "Status", compute.split_pattern(table["Status"], ","))  # a list is shown as a badge
    column = st.column_config
    st.dataframe(
        table,
        key="runs_table",
        on_select=open_run,
        selection_mode="single-cell",
        hide_index=True,
        placeholder="",
        height=rows_high(len(runs), 20),
        alt="All runs, the newest first",
        column_config={
            "Status": column.MultiselectColumn(options=list(_shared.BADGES), color=[color for color, _ in _shared.BADGES.values()]),
            "Run": column.TextColumn(width=240),
            "Progress": column.ProgressColumn(format="percent", min_value=0, max_value=1, width=110),
            **{name: column.NumberColumn(format="localized") for name in ("Succeeded", "Failed", "Left", "Items/s")},
            "Submitted": _shared.time_column(),
        },
    )


# ---- the board ---------------------------------------------------------------------------------------------------------------------------


def board(run_id: str, was_active: bool) -> None:
    """Everything that changes while a run goes on. What stands outside is drawn once."""
    with _shared.errors_shown():
        run = workspace.runs.get(run_id)
        if was_active and run.status.ended:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            _shared.status_badge(run)
            st.space("stretch")
            actions(run)
        if pipelines:
            _pipelines.where_it_is(pipelines, run)
        figures(run)
        if run.doing:
            st.caption(f":material/sync: {plain(run.doing)}")
        what_happened(run)
        views = {"Failures": failure_table, "Logs": log, "Settings": settings_table, "Output": output_table}
        for tab, show in zip(st.tabs(list(views), key="view", on_change="rerun", bind="query-params"), views.values(), strict=True):
            if tab.open:
                with tab:
                    show(run)


def actions(run: Run) -> None:
    if not run.status.ended and run.status is not RunStatus.CANCEL_REQUESTED:
        then = (
            "What is scored stays, and the run can be resumed."
            if Capability.CARRY_ON in workspace.capabilities
            else "It is ended there too."
        )
        words = f"Ends the run. {then}"
        if st.button("Cancel run", icon=":material/stop_circle:", key=f"cancel-{run.id}", help=words):
            workspace.runs.cancel(run.id)
            st.rerun()
    stopped = run.status in (RunStatus.FAILED, RunStatus.CANCELED)
    if run.status is RunStatus.NOT_RESPONDING or (stopped and Capability.CARRY_ON in workspace.capabilities):
        words = "Carries on where the run stopped. What is scored stays; what failed is tried again."
        if pipelines is not None:
            words = "Follows the run again, which goes on in Azure ML meanwhile; one that isn't there yet is submitted."
        if st.button("Resume", icon=":material/resume:", key=f"resume-{run.id}", help=words):
            workspace.runs.resume(run.id)
            st.rerun()
    words = "The same request again, as a new run."
    if run.status.ended and st.button("Rerun", icon=":material/replay:", key=f"rerun-{run.id}", help=words):
        rerun = last_submission().submit(workspace, run.request_again())
        st.switch_page("runs.py", query_params={"run": rerun.id})
    told = _shared.item_of(run) != "row" or Capability.FAILED_ROWS in workspace.capabilities
    words = "A new run of just what failed or was not reached. Its results are this run's, with those replaced."
    words = words if told else "Azure ML does not tell which rows of a table failed: rerun it whole."
    some_failed = run.items_succeeded is not None and run.items_succeeded < (run.items_total or 0)
    lacking = run.status.ended and some_failed
    if lacking and st.button("Rerun failed only", icon=":material/rule:", key=f"rerun-failed-{run.id}", help=words, disabled=not told):
        rerun = last_submission().submit(workspace, run.request_again(failed_only=True))
        st.switch_page("runs.py", query_params={"run": rerun.id})
    if pipelines is not None:
        _pipelines.beside_actions(pipelines, run)
    label = "See results" if run.status.ended else "See results so far"
    if st.button(label, type="primary", icon=":material/table_chart:", key=f"results-{run.id}"):
        st.switch_page("results.py", query_params={"run": run.id})


def figures(run: Run) -> None:
    total, speed, known = counted(run.items_total, _shared.item_of(run)), rate(run), run.items_succeeded is not None
    batches = counted(run.mini_batches_total, "mini-batch")
    if known or run.share_done is not None:
        share = run.share_done or 0.0
        count = f"{done(run):,} of {total}" if known else f"{run.mini_batches_done:,} of {batches}"
        st.progress(share, f"{count} · {int(share * 100)} %")
    lasted = "–" if run.duration is None else duration_in_words(run.duration)
    shown_figures = {
        "Succeeded": f"{run.items_succeeded:,}" if known else "–",
        "Failed": f"{run.items_failed or 0:,}" if known else "–",
        "Skipped" if run.status.ended else "Left": f"{run.items_left or 0:,}" if known else "–",
        f"{_shared.item_of(run).capitalize()}s per second": "–" if speed is None else f"{speed:,}",
    } | ({"Duration": lasted} if run.status.ended else {"Time left": time_left(run) or "–"})
    with st.grid(len(shown_figures), min_column_width=130):
        for label, figure in shown_figures.items():
            st.metric(label, figure, border=True)
    if known:
        words = [budget(run), *([f"{run.mini_batches_done or 0:,} of {batches} done"] if run.mini_batches_total is not None else [])]
    else:
        words = [f"{total} in {batches}" if run.mini_batches_total else total]
    if not run.status.ended:
        words += [f"{counted(run.workers, 'worker')} at work"] if known else []
        words.append(f"{'running' if run.status is RunStatus.RUNNING else 'ran'} for {lasted}")
    st.caption(" · ".join(words))


def budget(run: Run) -> str:
    threshold, failed = run.request.settings.error_threshold, run.items_failed or 0
    if threshold < 0:
        return "Failures never stop this run"
    if threshold == 0:
        return f"The first failed {_shared.item_of(run)} stops this run"
    return f"{failed:,} of {threshold:,} allowed failures used" if failed <= threshold else f"{failed:,} failed, {threshold:,} were allowed"


def what_happened(run: Run) -> None:
    """The one line a person should see first: how it ended, or what fails while it goes on."""
    if run.status is RunStatus.NOT_RESPONDING:
        seen = f" It was last seen at {_shared.local_time(run.heartbeat_at)}." if run.heartbeat_at else ""
        first = "Nobody follows this run." if pipelines else "Nobody is carrying out this run."
        then = "Resume follows it again." if pipelines else "What is scored is kept; Resume carries on from there and scores nothing twice."
        if pipelines and "resume the run" in (run.error or ""):
            then = ""  # it says so, and why
        st.warning(f"{first} {plain(clipped(run.error or '', 1_000))}{seen} {then}", icon=":material/heart_broken:")
    if run.status is RunStatus.QUEUED and not pipelines:
        st.info("It waits for its turn: runs start in the order in which they were submitted.", icon=":material/schedule:")
    if run.warnings:
        st.warning("\n\n".join(plain(clipped(sentence, 1_000)) for sentence in run.warnings), icon=":material/warning:")
    if run.reused_from:
        words = f"Nothing was scored anew: the output is that of {run.reused_from}, which was asked the same."
        st.info(plain(words), icon=":material/recycling:")
    elif run.reuse_note:
        st.caption(plain(clipped(run.reuse_note, 1_000)))
    if run.request.rerun_of:
        what = "What failed or was not reached in" if run.request.failed_only else "The same again as"
        st.caption(plain(f"{what} {run.request.rerun_of}."))
    if run.status is RunStatus.CANCELED:
        st.info(plain(run.error or "Canceled."), icon=":material/cancel:")
    elif run.error and run.status is not RunStatus.NOT_RESPONDING:
        first, _, rest = run.error.partition("\n")
        st.error(plain(clipped(first, 1_000)), icon=":material/error:")
        traceback(rest, most=300)
        if "ModuleNotFoundError" in first:
            st.caption("Install it in the run's environment (see Settings), or choose one that has it under More settings of a new run.")
    elif run.items_failed and (failures := failures_of(run)):
        words = f"{counted(run.items_failed, _shared.item_of(run))} failed{'' if run.status.ended else ' so far'}, the latest in mini-batch"
        st.warning(plain(f"{words} {failures[0].mini_batch}: {first_line(failures[0])}"), icon=":material/error:")


def traceback(text: str, most: int) -> None:
    """As tall as the text, up to `most` pixels."""
    if text := text.strip("\n"):
        st.code(shown(text), language=None, height=min(most, 56 + 22 * text.count("\n")))


def failures_of(run: Run) -> list[Failure]:
    return _failures(run.id, f"{run.status} {run.ended_at}")


@st.cache_data(ttl=5, max_entries=100, show_spinner=False)
def _failures(run_id: str, as_of: str) -> list[Failure]:
    """Of a run over a million files they take a second to find, which is too long for every tick."""
    return workspace.runs.failures(run_id)


def first_line(failure: Failure) -> str:
    return clipped(failure.error.partition("\n")[0], 1_000) or f"run() returned no row for {counted(failure.items_failed, 'item')}"


def failure_table(run: Run) -> None:
    failures = failures_of(run)
    if not failures:
        ended = "No mini-batch failed: what ended the run is said above." if run.status is RunStatus.FAILED else "Nothing has failed."
        st.caption(ended if run.status.ended else "Nothing has failed so far.")
        return
    latest = "The latest 100 attempts" if len(failures) == 100 else "The attempts"
    st.caption(f"{latest} that failed or fell short, the newest first. Click one for its traceback.")
    columns = {"Mini-batch": int, "Error": str, "Files": str, "Worker": str, "Attempt": int, "Failed": int, "Then": str}
    rows = [
        (
            failure.mini_batch, first_line(failure), clipped(", ".join(failure.items[:100]), 1_000), failure.worker, failure.attempt,
            failure.items_failed, "counted as failed" if failure.final else "tried again",
        )
        for failure in failures
    ]  # fmt: skip
    picked = st.dataframe(
        arrow_table(columns, rows),
        key="failures_table",
        on_select="rerun",
        selection_mode="single-cell",
        hide_index=True,
        height=rows_high(len(failures), 8),
        alt="Attempts that failed",
        column_config={"Error": st.column_config.TextColumn(width=290), "Files": st.column_config.TextColumn(width=140)},
    )
    cells = picked.selection.cells
    chosen = failures[cells[0][0]] if cells and cells[0][0] < len(failures) else failures[0]
    st.caption(plain(f"Mini-batch {chosen.mini_batch}, attempt {chosen.attempt}, {chosen.worker}"))
    traceback(chosen.error or f"{first_line(chosen)}\nWhat the script said about it is under Logs, in the file of this worker.", most=400)


def log(run: Run) -> None:
    logs = {shown(name): path for name, path in workspace.runs.logs(run.id).items() if path.exists() and path.stat().st_size}
    if not logs:
        st.caption("Nothing was logged." if run.status.ended else "Nothing is logged yet.")
        return
    name = st.selectbox("Log", list(logs), key="log", label_visibility="collapsed")
    text, size = tail(logs[name], 400_000)
    lines = [line[:2_000] for line in text.splitlines()[-LAST_LINES:]]
    words = f"The last {LAST_LINES} lines of {formats.size(size)}"
    st.caption(words if len(lines) == LAST_LINES else counted(len(lines), "line"))
    with st.container(height=420, border=False, autoscroll=True):
        st.code("\n".join(lines), language=None)


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
        rows.append((row.label, in_text(value, row.unset), in_text(default, row.unset) if value != default else ""))
    table = arrow_table({"Setting": str, "Value": str, "Default, where it differs": str}, rows)
    st.dataframe(table, hide_index=True, lazy=False, height=rows_high(len(rows), 30), alt="What the run was asked to do")
    with _shared.errors_shown():
        environment = workspace.runs.environment(run.id)
        st.subheader("Environment")
        st.text(f"{environment}, Python {environment.python_version}, {environment.interpreter}")
        packages = arrow_table({"Package": str, "Version": str}, sorted(environment.packages.items()))
        st.dataframe(packages, hide_index=True, lazy=False, height=rows_high(len(environment.packages), 10), alt="What was installed there")


def in_text(value: object, unset: str) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, tuple) else unset if value is None else str(value)


def output_table(run: Run) -> None:
    output = workspace.runs.output(run.id)
    if not output:
        st.caption("Nothing was written." if run.status.ended else "Nothing is written yet.")
        return
    addresses = {
        name: f"downloads/output?{urlencode({'run': run.id, 'name': name}, errors='surrogateescape')}" for name in list(output)[:MOST_FILES]
    }
    stem = Path(run.request.settings.append_row_file_name).stem
    if rows_file := next((name for name in addresses if name.startswith(stem)), None):
        words = "What run() returned, a row a line."
        st.link_button(plain(rows_file), addresses[rows_file], icon=":material/download:", help=words)
    st.caption(f"{counted(len(output), 'file')} as the run wrote them" + f", {MOST_FILES:,} of them shown" * (len(output) > MOST_FILES))
    rows = [(name, output[name].stat().st_size if output[name].exists() else None, address) for name, address in addresses.items()]
    st.dataframe(
        arrow_table({"File": str, "Size": int, "Link": str}, rows),
        hide_index=True,
        lazy=False,
        height=rows_high(len(rows), 15),
        alt="Output files",
        column_config={
            "Size": st.column_config.NumberColumn(format="bytes"),
            "Link": st.column_config.LinkColumn("", display_text="Download"),
        },
    )


# ---- the page ----------------------------------------------------------------------------------------------------------------------------

chosen = st.query_params.get("run")
if chosen is None:
    _shared.title("Runs", "What was scored, what is being scored, the newest first.")
    live_list = st.fragment(run_list, run_every=2.0)
    _pipelines.tabs(pipelines, live_list) if pipelines else live_list()
else:
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary"):
        st.switch_page("runs.py", query_params={})
    run = workspace.runs.get(chosen)
    _shared.title(plain(clipped(" ".join(run.title.split()), 150)), plain(f"{run.id} · submitted {_shared.local_time(run.submitted_at)}"))
    active = not run.status.ended
    st.fragment(board, run_every=1.0 if active else None)(run.id, active)

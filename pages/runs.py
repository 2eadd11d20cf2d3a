"""Runs: all of them as a live list, or the one in the URL (?run=ID) as a live board."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from pages import _shared
from pages._shared import plain
from services.domain import Failure, Run, RunStatus, counted
from services.settings import TABLE, ParallelRunSettings
from services.workspace import Capability

MOST_RUNS = 1_000
LAST_LINES = 200
RESUMABLE = (RunStatus.NOT_RESPONDING, RunStatus.FAILED, RunStatus.CANCELED)

workspace = _shared.workspace()


def in_time(seconds: float | None) -> str:
    """Seconds for a person: `8 s`, `2 min 10 s`, `3 h 05 min`; a dash when not known."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def done(run: Run) -> int:
    return (run.items_succeeded or 0) + (run.items_failed or 0)


def rate(run: Run) -> float | None:
    """Files a second: at present, or over the whole of a run that ended."""
    found = run.rate if not run.status.ended else done(run) / run.duration if run.duration else None
    return None if found is None else round(found, 1 if found < 100 else None)


# ---- the list ----------------------------------------------------------------------------------------------------------------------------


def open_run() -> None:
    if cells := st.session_state.runs_table.selection.cells:
        st.switch_page("runs.py", query_params={"run": st.session_state.listed_runs[cells[0][0]]})


def run_list() -> None:
    with _shared.errors_shown():
        runs = workspace.runs(MOST_RUNS)
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
        shown = [
            run
            for run in runs
            if (not statuses or run.status in statuses) and (text or "").casefold() in f"{run.title} {run.id}".casefold()
        ]
        st.session_state.listed_runs = [run.id for run in shown]
        first = f" (the newest {MOST_RUNS:,})" if len(runs) == MOST_RUNS else ""
        found = f"{len(shown):,} of {counted(len(runs), 'run')}" if len(shown) < len(runs) else counted(len(runs), "run")
        st.caption(f"{found}{first} · click one to open it")
        if shown:
            run_table(shown)


def run_table(runs: list[Run]) -> None:
    import pyarrow as pa

    column = st.column_config
    table = pa.table(
        {
            "Status": [[run.status.value] for run in runs],
            "Run": [run.title[:300] for run in runs],
            "Progress": [100 * done(run) // run.items_total / 100 if run.items_total else None for run in runs],
            "Succeeded": [run.items_succeeded for run in runs],
            "Failed": [run.items_failed for run in runs],
            "Left": [run.items_left for run in runs],
            "Files/s": [rate(run) for run in runs],
            "Time left": [in_time(run.seconds_left) if run.seconds_left is not None else None for run in runs],
            "Submitted": pa.array([run.submitted_at for run in runs], pa.timestamp("ms", "UTC")),
        }
    )
    st.dataframe(
        table,
        key="runs_table",
        on_select=open_run,
        selection_mode="single-cell",
        hide_index=True,
        placeholder="",
        height=min(len(runs), 20) * 35 + 38,
        alt="All runs, the newest first",
        column_config={
            "Status": column.MultiselectColumn(options=list(_shared.BADGES), color=[color for color, _ in _shared.BADGES.values()]),
            "Run": column.TextColumn(width=240),
            "Progress": column.ProgressColumn(format="percent", min_value=0, max_value=1, width=110),
            "Succeeded": column.NumberColumn(format="localized"),
            "Failed": column.NumberColumn(format="localized"),
            "Left": column.NumberColumn(format="localized"),
            "Files/s": column.NumberColumn(format="localized"),
            "Submitted": column.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", timezone=st.context.timezone),
        },
    )


# ---- the board ---------------------------------------------------------------------------------------------------------------------------


def board(run_id: str, was_active: bool) -> None:
    """Everything that changes while a run goes on. What stands outside is drawn once."""
    with _shared.errors_shown():
        run = workspace.run(run_id)
        if was_active and run.status.ended:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            _shared.status_badge(run)
            st.space("stretch")
            actions(run)
        total = run.items_total or 0
        share = done(run) / total if total else 0.0
        st.progress(share, f"{done(run):,} of {counted(total, 'file')} · {int(share * 100)} %")
        figures = {
            "Succeeded": f"{run.items_succeeded or 0:,}",
            "Failed": f"{run.items_failed or 0:,}",
            "Left": f"{run.items_left or 0:,}",
            "Files per second": f"{rate(run):,}" if rate(run) is not None else "–",
        }
        figures |= {"Duration": in_time(run.duration)} if run.status.ended else {"Time left": in_time(run.seconds_left)}
        with st.grid(len(figures), min_column_width=130):
            for label, figure in figures.items():
                st.metric(label, figure, border=True)
        words = [budget(run), f"{run.mini_batches_done or 0:,} of {counted(run.mini_batches_total or 0, 'mini-batch')} done"]
        if not run.status.ended:
            words += [f"{counted(run.workers, 'worker')} at work", f"running for {in_time(run.duration)}"]
        st.caption(" · ".join(words))
        what_happened(run)
        failures, logs, settings, output = st.tabs(
            ["Failures", "Logs", "Settings", "Output"], key="view", on_change="rerun", bind="query-params"
        )
        if failures.open:
            with failures:
                failure_table(run)
        if logs.open:
            with logs:
                log(run)
        if settings.open:
            with settings:
                settings_table(run)
        if output.open:
            with output:
                output_table(run)


def actions(run: Run) -> None:
    if not run.status.ended and run.status is not RunStatus.CANCEL_REQUESTED:
        words = "Ends the run. What is scored stays, and the run can be resumed."
        if st.button("Cancel run", icon=":material/stop_circle:", key=f"cancel-{run.id}", help=words):
            workspace.cancel(run.id)
            st.rerun()
    if run.status in RESUMABLE and Capability.RESUME in workspace.capabilities:
        words = "Carries on where the run stopped. What is scored stays; what failed is tried again."
        if st.button("Resume", icon=":material/resume:", key=f"resume-{run.id}", help=words):
            workspace.resume(run.id)
            st.rerun()
    if run.status.ended:
        again = st.button("Rerun", icon=":material/replay:", key=f"rerun-{run.id}", help="The same request again, as a new run.")
        # A double click comes twice, and makes one run.
        if again:
            st.session_state.rerun_as = st.session_state.get("rerun_as") or workspace.rerun(run.id).id
            st.switch_page("runs.py", query_params={"run": st.session_state.rerun_as})
        st.session_state.rerun_as = None
    label = "See results" if run.status.ended else "See results so far"
    if st.button(label, type="primary", icon=":material/table_chart:", key=f"results-{run.id}"):
        st.switch_page("results.py", query_params={"run": run.id})


def budget(run: Run) -> str:
    threshold, failed = run.request.settings.error_threshold, run.items_failed or 0
    if threshold < 0:
        return "Failures never stop this run"
    if threshold == 0:
        return "The first failed file stops this run"
    return f"{failed:,} of {threshold:,} allowed failures used" if failed <= threshold else f"{failed:,} failed, {threshold:,} were allowed"


def what_happened(run: Run) -> None:
    """The one line a person should see first: how it ended, or what fails while it goes on."""
    if run.status is RunStatus.NOT_RESPONDING:
        seen = f" It was last seen at {run.heartbeat_at.astimezone():%Y-%m-%d %H:%M:%S}." if run.heartbeat_at else ""
        st.warning(
            f"Nobody is carrying out this run: its process has ended or is silent.{seen} What is scored is kept; "
            "Resume carries on from there and scores nothing twice.",
            icon=":material/heart_broken:",
        )
    for sentence in run.warnings:
        st.warning(plain(sentence[:1_000]), icon=":material/warning:")
    if run.status is RunStatus.CANCELED:
        st.info(plain(run.error or "Canceled."), icon=":material/cancel:")
    elif run.error:
        first, _, rest = run.error.partition("\n")
        st.error(plain(first[:1_000]), icon=":material/error:")
        traceback(rest, most=300)
    elif run.items_failed and (latest := workspace.failures(run.id, 1)):
        st.error(plain(f"{first_line(latest[0])}, in mini-batch {latest[0].mini_batch}"), icon=":material/error:")


def traceback(text: str, most: int) -> None:
    """As tall as the text, up to `most` pixels."""
    if text := text.strip("\n"):
        st.code(text, language=None, height=min(most, 56 + 22 * text.count("\n")))


def first_line(failure: Failure) -> str:
    return failure.error.partition("\n")[0][:1_000] or f"run() returned no row for {counted(failure.items_failed, 'file')}"


def failure_table(run: Run) -> None:
    import pyarrow as pa

    failures = workspace.failures(run.id)
    if not failures:
        st.caption("Nothing has failed." if run.status.ended else "Nothing has failed so far.")
        return
    rows = {
        "Mini-batch": [failure.mini_batch for failure in failures],
        "Error": [first_line(failure) for failure in failures],
        "Files": [", ".join(failure.items[:20]) + (", …" if len(failure.items) > 20 else "") for failure in failures],
        "Worker": [failure.worker for failure in failures],
        "Attempt": [failure.attempt for failure in failures],
        "Failed": [failure.items_failed for failure in failures],
        "Then": ["counted as failed" if failure.final else "tried again" for failure in failures],
    }
    latest = "The latest 100 attempts" if len(failures) == 100 else "The attempts"
    st.caption(f"{latest} that failed or fell short, the newest first. Click one for its traceback.")
    picked = st.dataframe(
        pa.table(rows),
        key="failures_table",
        on_select="rerun",
        selection_mode="single-cell",
        hide_index=True,
        height=min(len(failures), 8) * 35 + 38,
        alt="Attempts that failed",
        column_config={"Error": st.column_config.TextColumn(width=300), "Files": st.column_config.TextColumn(width=160)},
    )
    cells = picked.selection.cells
    chosen = failures[cells[0][0]] if cells and cells[0][0] < len(failures) else failures[0]
    st.caption(f"Mini-batch {chosen.mini_batch}, attempt {chosen.attempt}, {chosen.worker}")
    traceback(chosen.error or first_line(chosen), most=400)


def log(run: Run) -> None:
    logs = {name: path for name, path in workspace.logs(run.id).items() if path.exists() and path.stat().st_size}
    if not logs:
        st.caption("Nothing was logged." if run.status.ended else "Nothing is logged yet.")
        return
    name = st.selectbox("Log", list(logs), key="log", label_visibility="collapsed")
    lines, size = last_lines(logs[name])
    st.caption(f"The last {len(lines):,} lines of {size:,} bytes" if len(lines) == LAST_LINES else counted(len(lines), "line"))
    with st.container(height=420, border=False, autoscroll=True):
        st.code("\n".join(lines), language=None)


def last_lines(path: Path) -> tuple[list[str], int]:
    """The last lines of a file of any size, each cut at 2,000 characters, and the file's size in bytes."""
    window = 400_000
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - window))
        lines = file.read(window).decode("utf-8", "replace").splitlines()
    return [line[:2_000] for line in lines[-LAST_LINES:]], size


def settings_table(run: Run) -> None:
    import pyarrow as pa

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
    names, values, defaults = zip(*rows, strict=True)
    st.dataframe(
        pa.table({"Setting": names, "Value": values, "Default, where it differs": defaults}),
        hide_index=True,
        height=len(rows) * 35 + 38,
        alt="What the run was asked to do",
    )


def in_text(value: object, unset: str) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, tuple) else unset if value is None else str(value)


def output_address(run: Run, name: str) -> str:
    return f"downloads/output?{urlencode({'run': run.id, 'name': name})}"


def output_table(run: Run) -> None:
    import pyarrow as pa

    output = workspace.output(run.id)
    if not output:
        st.caption("Nothing was written." if run.status.ended else "Nothing is written yet.")
        return
    rows = next((name for name in output if name.startswith(Path(run.request.settings.append_row_file_name).stem)), None)
    if rows:
        st.link_button(plain(rows), output_address(run, rows), icon=":material/download:", help="What run() returned, a row a line.")
    shown = dict(list(output.items())[:1_000])
    st.caption(f"The files as the run wrote them: {len(output):,}" + (", the first 1,000 shown" * (len(output) > 1_000)))
    st.dataframe(
        pa.table(
            {
                "File": list(shown),
                "Size": [path.stat().st_size if path.exists() else None for path in shown.values()],
                "Link": [output_address(run, name) for name in shown],
            }
        ),
        hide_index=True,
        height=min(len(shown), 15) * 35 + 38,
        alt="Output files",
        column_config={
            "Size": st.column_config.NumberColumn(format="bytes"),
            "Link": st.column_config.LinkColumn("", display_text="Download"),
        },
    )


# ---- the page ----------------------------------------------------------------------------------------------------------------------------


chosen = st.query_params.get("run")
if chosen is None:
    st.header("Runs", anchor=False)
    st.caption("What was scored, what is being scored, the newest first.")
    st.fragment(run_list, run_every=2.0)()
else:
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary"):
        st.switch_page("runs.py", query_params={})
    run = workspace.run(chosen)
    st.header(plain(run.title.replace("\n", " ")[:150]), anchor=False)
    st.caption(plain(f"{run.id} · submitted {run.submitted_at.astimezone():%Y-%m-%d %H:%M:%S}"))
    active = not run.status.ended
    st.fragment(board, run_every=1.0 if active else None)(run.id, active)

"""Run: the lines of all its logs as one stream, by text, level, worker and mini-batch, live while it is active; or file by file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import streamlit as st

from pages import _errors
from pages._background import Job
from pages._text import browser_zone, displayable, escape, truncate, visible
from services import formats
from services.domain import Run
from services.errors import SettingsError
from services.formats import counted
from services.run_details import LogLine, LogQuery, LogSearch, MiniBatchDetail
from services.storage.file_tree import tail
from services.workspaces import chosen_workspace

_LEVELS = {"": "All levels", "INFO": "INFO and above", "WARNING": "WARNING and above", "ERROR": "ERROR and above"}
_EVERY_WORKER = "All workers"
_LINES, _MORE_LINES = 500, 5_000
_SEARCHED_ANEW = 8_000_000  # bytes: less takes no time, and what was not known of a line before may be known now
_LINES_OF_ONE, _READ_FOR_ONE = 200, 50_000_000  # of one mini-batch: lines, and bytes that are read of logs that note no places
_LIVE_SECONDS = 2
_POLL_SECONDS = 0.5
_AT_ONCE_SECONDS = 0.7
_LONGEST_LINE = 2_000  # characters
_LAST_LINES = 200
_HEADER = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d)\b)?\]?[ |]*")


@dataclass
class _Found:
    """What a search of this session found: as of `state`, the run's status."""

    query: LogQuery
    run_id: str
    state: str
    job: Job[LogSearch]
    search: LogSearch | None = None


def show(run: Run) -> None:
    """The tab: to be drawn again and again while the run is active."""
    ways = {"lines": "All lines", "files": "File by file"}
    options: dict[str, Any] = {"default": "lines", "required": True, "bind": "query-params", "label_visibility": "collapsed"}
    way = st.segmented_control("View of the logs", list(ways), format_func=lambda way: ways[way], key="log_view", **options)
    if way == "files":
        _files(run)
        return
    with _errors.shown():
        query = _asked(run)
        if query is None:
            return
        found = _searched(run, query)
        if found.search is None:
            if found.job.error:
                _errors.show(found.job.error)
            else:
                st.fragment(_wait, run_every=_POLL_SECONDS)(found)
            return
        _lines(run, found.search, query)


def show_part(run: Run, detail: MiniBatchDetail) -> None:
    """The lines of one mini-batch, in its panel."""
    as_of = f"{run.status} {run.ended_at}" if run.status.ended else f"{time.monotonic() // _LIVE_SECONDS}"
    found = _of_mini_batch(run.id, detail.number, as_of)
    if found.lines:
        st.caption(f"Its log lines{', the last ones' if found.more else ''}")
        with st.container(height=min(320, 60 + 24 * len(found.lines)), border=False):
            st.code("\n".join(map(_line, found.lines)), language="log", wrap_lines=True)
    else:
        st.caption("No log line is known to belong to this mini-batch.")


@st.cache_data(ttl=600, max_entries=50, show_spinner=False)
def _of_mini_batch(run_id: str, number: int, as_of: str) -> LogSearch:
    query = LogQuery(mini_batch=number, limit=_LINES_OF_ONE, most_bytes=_READ_FOR_ONE)
    return chosen_workspace().runs.search_logs(run_id, query)


def _asked(run: Run) -> LogQuery | None:
    """What is searched for, by the fields above the lines."""
    workers = chosen_workspace().runs.search_logs(run.id, LogQuery(limit=1, most_bytes=0)).workers
    options: dict[str, Any] = {"label_visibility": "collapsed", "bind": "query-params"}
    with st.container(horizontal=True, vertical_alignment="center"):
        text = st.text_input("Search", key="log_text", type="search", placeholder="Search all logs", live="300ms", width=240, **options)
        level = st.selectbox("Level", list(_LEVELS), format_func=lambda level: _LEVELS[level], key="log_level", width=180, **options)
        worker = st.selectbox("Worker", [_EVERY_WORKER, *workers], key="log_worker", width=190, **options)
        number = st.text_input("Mini-batch", key="log_mini_batch", placeholder="Mini-batch", width=120, **options)
    number = number.strip()
    if number and not (number.isascii() and number.isdecimal() and len(number) <= 12):
        st.caption("A mini-batch is a number, as in the table: 0, 1, 2.")
        return None
    limit = _MORE_LINES if st.session_state.get("log_more") == run.id else _LINES
    try:
        return LogQuery(
            text=text or "", level=level or "", worker="" if worker in (None, _EVERY_WORKER) else worker,
            mini_batch=int(number) if number else None, limit=limit,
        )  # fmt: skip
    except SettingsError as error:
        st.caption(escape(f"{error.message} {error.hint}"))
        return None


def _searched(run: Run, query: LogQuery) -> _Found:
    """The search of this session, begun again where something else is asked for, or gone on with."""
    found: _Found | None = st.session_state.get("log_search")
    state = f"{run.status} {run.ended_at}"
    runs = chosen_workspace().runs
    if found is None or (found.query, found.run_id) != (query, run.id):
        if found:
            found.job.stop()
        job = Job(lambda is_over: runs.search_logs(run.id, query, stopped=is_over))
        found = st.session_state["log_search"] = _Found(query, run.id, state, job)
        job.look(_AT_ONCE_SECONDS)
    if found.search is None and found.job.look():
        found.search = found.job.result
    elif found.search is not None and (found.state != state or not run.status.ended):
        found.state = state
        if found.search.scanned <= _SEARCHED_ANEW:
            found.search = runs.search_logs(run.id, replace(query, most_bytes=2 * _SEARCHED_ANEW))
        else:
            found.search = _together(found.search, runs.search_logs(run.id, query, after=found.search.ends), query.limit)
    return found


def _together(before: LogSearch, later: LogSearch, limit: int) -> LogSearch:
    """One search gone on with another."""
    lines = (*before.lines, *later.lines)
    return replace(
        later,
        lines=lines[-limit:],
        more=before.more or len(lines) > limit,
        scanned=before.scanned + later.scanned,
        size=before.size + later.size,
        notes=tuple(dict.fromkeys((*before.notes, *later.notes))),
    )


def _wait(found: _Found) -> None:
    if found.job.look():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Stop", key="stop-log-search", icon=":material/stop_circle:", on_click=found.job.stop, disabled=found.job.stopping)
        st.markdown(f":material/hourglass_top: {'Stopping' if found.job.stopping else 'Searching the logs'}… {found.job.seconds:.0f} s")


def _lines(run: Run, found: LogSearch, query: LogQuery) -> None:
    is_filtered = bool(query.text or query.level or query.worker or query.mini_batch is not None)
    if not found.lines:
        nothing = "No line matches." if is_filtered else "No logs." if run.status.ended else "No logs yet."
        searched = f" {formats.size(found.scanned)} of {formats.size(found.size)} searched." if is_filtered else ""
        st.caption(nothing + searched + (" The search was stopped." if found.stopped else ""))
        _notes(found)
        return
    text = "\n".join(_line(line) for line in found.lines)
    count = counted(len(found.lines), "line")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(_how_many(found, count, is_filtered=is_filtered) + ("" if run.status.ended else " · live"), width="content")
        st.space("stretch")
        if found.more and query.limit < _MORE_LINES and st.button(f"Show {_MORE_LINES:,} lines", key="more-log-lines"):
            st.session_state["log_more"] = run.id
            st.rerun()
        raw = "\n".join(line.text for line in found.lines)
        st.download_button(
            "Download", displayable(raw) + "\n", f"{run.id}-logs.txt", "text/plain", icon=":material/download:", on_click="ignore",
            help="These lines, as they are in the logs.",
        )  # fmt: skip
    with st.container(height=460, border=False, autoscroll=True):
        st.code(text, language="log", wrap_lines=True)
    if any(line.time_inferred or line.mini_batch_inferred for line in found.lines):
        st.caption(
            "≈ before a time: the line has none, so it is that of the line before it, or of the start of its mini-batch."
            " ≈ before a mini-batch: inferred from the time of the line."
        )
    _notes(found)


def _how_many(found: LogSearch, count: str, *, is_filtered: bool) -> str:
    which = f"The last {count}" if found.more else count
    if is_filtered:
        which += " that match" if len(found.lines) != 1 else " that matches"
    return f"{which} · {formats.size(found.scanned)} of {formats.size(found.size)} searched" + (", then stopped" if found.stopped else "")


def _notes(found: LogSearch) -> None:
    for note in found.notes:
        st.caption(f":material/info: {escape(note)}")


def _line(line: LogLine) -> str:
    """`14:05:09.123 WARNING 0/001 #3 text`."""
    when = "" if line.time is None else ("≈" if line.time_inferred else "") + _clock(line.time)
    worker = re.sub(r"^node (.*), process(\d+)$", r"\1/\2", line.worker) or "–"
    batch = "" if line.mini_batch is None else f"{'≈' if line.mini_batch_inferred else ''}#{line.mini_batch}"
    text = line.text if line.time_inferred else _HEADER.sub("", line.text, count=1)
    text = text.removeprefix(line.level).lstrip(" |:") if line.level and not line.time_inferred else text
    return displayable(visible(f"{when:>13} {line.level:<8} {worker:<7} {batch:<6} {truncate(text, _LONGEST_LINE)}", lines=False))


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(browser_zone()):%H:%M:%S.%f}"[:-3]


# ---- file by file --------------------------------------------------------------------------------------------------------------------


def _files(run: Run) -> None:
    logs = {displayable(name): path for name, path in chosen_workspace().runs.logs(run.id).items() if path.exists() and path.stat().st_size}
    if not logs:
        st.caption("No logs." if run.status.ended else "No logs yet.")
        return
    name = st.selectbox("Log", list(logs), key="log", label_visibility="collapsed")
    text, size = tail(logs[name], 400_000)
    lines = [truncate(line, _LONGEST_LINE) for line in text.splitlines()[-_LAST_LINES:]]
    part = f"The last {_LAST_LINES} lines of {formats.size(size)}"
    st.caption(part if len(lines) == _LAST_LINES else counted(len(lines), "line"))
    with st.container(height=420, border=False, autoscroll=True):
        st.code("\n".join(lines), language=None)

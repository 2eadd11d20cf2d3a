"""Run: which items failed, and why: by cause with counts, each item with its own sentence, traceback and the log around it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from pages import _layout, _run_replay, _tables, _workspace
from pages._switching import switch_page
from pages._text import displayable, escape, truncate, visible
from services.domain import Run, RunStatus
from services.errors import StudioError
from services.formats import counted
from services.predictions.filters import EVERY_FAILURE, Condition, Operator
from services.run_details import FailedItem, Failure, FailureCause, RowKey
from services.workspaces import chosen_workspace

_PAGE = 100  # items
_MOST_CAUSES = 100
_MOST_LIVE = 100_000  # failed items whose causes are grouped again and again while a run is active: a quarter of a second's work
_NAMED = 3  # causes in the first line
_LIVE_SECONDS = 5


def show_causes_in_a_line(run: Run) -> None:
    """How many items failed and why, of a run that goes on or completed."""
    so_far = "" if run.status.ended else " so far"
    count = f"{counted(run.items_failed, _workspace.item_of(run))} failed{so_far}"
    if causes := causes_of(run):
        with_counts = _failed(causes) == run.items_failed
        named = "; ".join(_cause_in_words(cause, with_counts) for cause in causes[:_NAMED])
        rest = "more causes" if len(causes) == _MOST_CAUSES else counted(len(causes) - _NAMED, "more cause")
        more = f"; and {rest}" if len(causes) > _NAMED else ""
        text = f"{count}. {named}{more}"
    elif failures := failures_of(run):
        text = f"{count}, the latest in mini-batch {failures[0].mini_batch}: {first_line(failures[0])}"
    else:
        text = f"{count}. Which ones and why was not reported. The logs may tell more."
    st.warning(escape(truncate(text, 2_000)), icon=":material/error:")


def _cause_in_words(cause: FailureCause, with_count: bool) -> str:
    what = truncate(cause.cause, 300)
    if cause.count == 1:
        return what if cause.example in what else f"{cause.example}: {what}"
    return f"{cause.count:,} × {what}" if with_count else what


def _failed(causes: list[FailureCause]) -> int:
    """Of how many items these are the most frequent causes."""
    return round(causes[0].count / causes[0].share)


def show_failures(run: Run) -> None:
    """The causes and the failed items; below them the failed attempts."""
    if causes := causes_of(run):
        _by_cause(run, causes)
        with st.expander("Failed or incomplete attempts", icon=":material/replay:", key="attempts", on_change="rerun") as opened:
            if opened.open:
                _attempts(failures_of(run))
        return
    failures = failures_of(run)
    if run.items_failed:
        item = _workspace.item_of(run)
        grouped = "Their causes are grouped when the run has ended." if not run.status.ended else "Which ones and why was not reported."
        st.caption(f"{counted(run.items_failed, item)} failed. {grouped}")
    elif run.items_failed is None:
        st.caption("Failures are known when the run has ended." if not run.status.ended else "What failed was not reported.")
    elif not failures:
        ended = "No mini-batch failed. See above for what ended the run." if run.status is RunStatus.FAILED else "No failures."
        st.caption(ended if run.status.ended else "No failures so far.")
    _attempts(failures)


# ---- by cause ----------------------------------------------------------------------------------------------------------------------------


def causes_of(run: Run) -> list[FailureCause]:
    """The causes of the failed items, the most frequent first; none where they aren't known."""
    if run.items_failed == 0 or not (run.status.ended or (run.items_failed or 0) <= _MOST_LIVE):
        return []
    with st.spinner("Grouping the failures by cause…") if run.status.ended else nullcontext():
        return _causes(run.id, _as_of(run))


@st.cache_data(ttl=3600, max_entries=100, show_spinner=False)
def _causes(run_id: str, as_of: str) -> list[FailureCause]:
    try:
        return chosen_workspace().runs.failure_causes(run_id, _MOST_CAUSES)
    except StudioError:  # no table yet, or none at all: the page says that it isn't known
        return []


def is_a_cause(run: Run, error_type: str) -> bool:
    """Whether items failed by such an exception."""
    if causes := causes_of(run):
        return any(cause.cause.startswith(error_type) for cause in causes)
    return any(failure.error_type == error_type for failure in failures_of(run))


def _as_of(run: Run) -> str:
    """What is cached is good for ever once the run has ended, and for a few seconds before."""
    return f"{run.status} {run.ended_at}" if run.status.ended else f"{time.monotonic() // _LIVE_SECONDS}"


def _by_cause(run: Run, causes: list[FailureCause]) -> None:
    item, total = _workspace.item_of(run), _failed(causes)
    number = f"the {_MOST_CAUSES} most frequent causes" if len(causes) == _MOST_CAUSES else counted(len(causes), "cause")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{counted(total, item)} failed, for {number}**", width="content")
        st.space("stretch")
        has_rows = run.request.settings.output_action == "append_row"
        to_results = has_rows and st.button("Open in Results", key=f"failed-in-results-{run.id}", icon=":material/table_rows:")
        help_text = f"Every failed {item} with its cause, mini-batch, attempts and worker."
        address = f"downloads/failures.csv?{urlencode({'run': run.id})}"
        st.link_button("Failures as CSV", address, icon=":material/download:", help=help_text)
    if run.status.ended and run.items_failed is not None and total > run.items_failed:
        unmatched = f"{counted(total - run.items_failed, item)} of them have rows that could not be matched with their files."
        st.caption(f"{unmatched} The run does not count these as failed.")
    columns = {f"{item.capitalize()}s": int, "Share": float, "Cause": str, "For example": str}
    rows = [(cause.count, 100 * cause.share, _cell(cause.cause), _cell(cause.example) or "not known") for cause in causes]
    table = _tables.arrow(columns, rows)
    config = _tables.number_columns(table, list(columns)) | {"Share": _tables.percent_column()} | _tables.narrowed(table, "For example")
    picked = st.dataframe(
        table, key="paged-causes", on_select="rerun", selection_mode="single-row", hide_index=True, alt="Failures by cause",
        height=_tables.height(len(causes), 8), column_config=config,
    )  # fmt: skip
    chosen = next((causes[row] for row in picked.selection.rows if row < len(causes)), causes[0] if len(causes) == 1 else None)
    if to_results:
        _open_in_results(run, chosen)
    if chosen or total > len(causes):
        _items(run, chosen, chosen.count if chosen else total)
    else:
        st.caption(f"Each {item} has a cause of its own. Click one for its traceback and log.")


def _cell(text: str) -> str:
    return visible(truncate(text, 2_000), lines=False)


def _items(run: Run, cause: FailureCause | None, count: int) -> None:
    """The failed items of one cause or of all, a page at a time; of the chosen one, or the first of a cause, what its script said."""
    noun = _workspace.item_of(run)
    place = st.container()
    pages = -(-count // _PAGE)
    key = f"{run.id}-{cause.template if cause else ''}"
    page = st.pagination(pages, key=f"failed-page-{key}") if pages > 1 else 1
    first = (page - 1) * _PAGE
    items = chosen_workspace().runs.failed_items(run.id, cause=cause.template if cause else None, first=first, count=_PAGE)
    if count == 1 and items:
        _item(run, items[0])
        return
    with place:
        which = f"with this cause: {_cell(cause.cause)}" if cause else "failed"
        part = f"{noun.capitalize()}s {first + 1:,} to {first + len(items):,} of {count:,}" if pages > 1 else counted(count, noun)
        hint = "" if cause else f"Click a cause to see its {noun}s. "
        st.caption(escape(f"{part} {which}. {hint}Click a {noun} for its traceback and log."))
        table = _tables.arrow(
            {noun.capitalize(): str, "Error": str, "Mini-batch": int, "Attempts": int, "Worker": str},
            [(_cell(item.name) or "not known", _cell(item.cause), item.mini_batch, item.attempt, item.worker) for item in items],
        )
        picked = st.dataframe(
            table, key=f"paged-failed-{key}-{page}", on_select="rerun", selection_mode="single-row", hide_index=True, alt="Failed items",
            height=_tables.height(len(items), 8), column_config=_tables.number_columns(table) | _tables.narrowed(table, noun.capitalize()),
        )  # fmt: skip
    for row in picked.selection.rows or ([0] if cause else []):
        if row < len(items):
            _item(run, items[row])


def _open_in_results(run: Run, cause: FailureCause | None) -> None:
    own = chosen_workspace().runs.predictions(run.id).own
    conditions = (Condition(own["Cause"], Operator.ONE_OF, (cause.template,)),) if cause else ()
    filter_ = replace(EVERY_FAILURE, conditions=conditions)
    switch_page("results.py", query_params={"run": run.id, "filter": filter_.to_text()})


def _item(run: Run, item: FailedItem) -> None:
    """What was said about one item: its sentence, the first traceback, the log around it."""
    with st.container(border=True):
        title = f"{item.name or 'not known'} · mini-batch {item.mini_batch}, attempt {item.attempt}, {item.worker}"
        _layout.labelled(escape(title), item.cause)
        trace = chosen_workspace().runs.trace(run.id, RowKey(item.item, item.mini_batch, 0), item.worker)
        tracebacks = [attempt for attempt in trace.tries if "\n" in attempt.error.strip()]
        for attempt in tracebacks[:1]:
            st.caption(f"Traceback of attempt {attempt.attempt}")
            traceback(attempt.error, most=300)
        if trace.log:
            st.caption("The log around it")
            lines = "\n".join(truncate(line, 1_000) for line in trace.log)
            st.code(displayable(lines), language=None, wrap_lines=True, height=300 if len(trace.log) > 8 else "content")
        elif not tracebacks:
            st.caption("The script said nothing about it, and its log has no line of this time.")
        if " of " not in item.worker:  # an earlier run scored it
            _run_replay.show(run, item.mini_batch, "failures")


# ---- attempts ----------------------------------------------------------------------------------------------------------------------------


def failures_of(run: Run) -> list[Failure]:
    """Failed or incomplete attempts, the newest first."""
    return _failures(run.id, _as_of(run))


@st.cache_data(ttl=3600, max_entries=100, show_spinner=False)
def _failures(run_id: str, as_of: str) -> list[Failure]:
    """Cached: finding them takes a second in a run over a million files, too long for every refresh."""
    return chosen_workspace().runs.failures(run_id)


def first_line(failure: Failure) -> str:
    return truncate(failure.error.partition("\n")[0], 1_000) or f"run() returned no row for {counted(failure.items_failed, 'item')}"


def _attempts(failures: list[Failure]) -> None:
    if not failures:
        return
    which = "The latest 100 failed" if len(failures) == 100 else "Failed"
    st.caption(f"{which} or incomplete attempts, newest first. Click one for its traceback.")
    columns = {"Mini-batch": int, "Error": str, "Files": str, "Worker": str, "Attempt": int, "Failed": int, "Result": str}
    rows = [
        (
            failure.mini_batch, first_line(failure), truncate(", ".join(failure.items[:100]), 1_000), failure.worker, failure.attempt,
            failure.items_failed, "counted as failed" if failure.final else "tried again",
        )
        for failure in failures
    ]  # fmt: skip
    table = _tables.arrow(columns, rows)
    config = {"Error": st.column_config.TextColumn(width=290), "Files": st.column_config.TextColumn(width=140)}
    picked = st.dataframe(
        table, key="paged-failures", on_select="rerun", selection_mode="single-cell", hide_index=True, alt="Failed or incomplete attempts",
        height=_tables.height(len(failures), 8), column_config=_tables.number_columns(table) | config,
    )  # fmt: skip
    cells = picked.selection.cells
    chosen = failures[cells[0][0]] if cells and cells[0][0] < len(failures) else failures[0]
    st.caption(escape(f"Mini-batch {chosen.mini_batch}, attempt {chosen.attempt}, {chosen.worker}"))
    traceback(chosen.error or f"{first_line(chosen)}\nFor the output of the script, see the file of this worker under Logs.", most=400)


def traceback(text: str, most: int) -> None:
    """As high as the text, up to `most` pixels."""
    if text := text.strip("\n"):
        st.code(displayable(text), language=None, height=min(most, 56 + 22 * text.count("\n")))

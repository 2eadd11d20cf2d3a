"""Runs: the list, a page at a time. What is searched for, the order, the page and the columns are in the URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import streamlit as st

from pages import _errors, _layout, _run_board, _run_keeping, _tables
from pages._keeping import tags_as_lines
from pages._switching import switch_page
from pages._text import browser_zone, truncate
from services.domain import Run, RunStatus
from services.formats import counted
from services.run_query import RunChoices, RunPage, RunQuery
from services.workspaces import chosen_workspace

PAGE_SIZE = 50
_FILTERS = ("find", "status", "of_model", "of_dataset", "tagged", "since", "until", "with_archived")
_SORTS = {
    "submitted_at": "Submitted", "name": "Name", "status": "Status", "model": "Model", "dataset": "Dataset", "script": "Script",
    "duration": "Duration", "items_total": "Items", "items_succeeded": "Succeeded", "items_failed": "Failed",
}  # fmt: skip


class _Column(NamedTuple):
    type: type
    value: Callable[[Run], Any]


def _badges(run: Run) -> str:
    marks = ["Pinned"] * run.metadata.pinned + ["Archived"] * run.metadata.archived + ["Imported"] * bool(run.imported_from)
    return ",".join([run.status, *marks])


COLUMNS = {
    "Status": _Column(str, _badges),
    "Run": _Column(str, lambda run: truncate(run.title, 300)),
    "Tags": _Column(str, lambda run: truncate(", ".join(tags_as_lines(run.metadata.tags)), 300) or None),
    "Note": _Column(str, lambda run: truncate(run.metadata.note, 300) or None),
    "Model": _Column(str, lambda run: ", ".join(run.request.models) or None),
    "Dataset": _Column(str, lambda run: ", ".join(run.request.datasets)),
    "Script": _Column(str, lambda run: run.request.script_name),
    "Environment": _Column(str, lambda run: run.request.environment or None),
    "Progress": _Column(float, lambda run: run.share_done and int(100 * run.share_done) / 100),
    "Items": _Column(int, lambda run: run.items_total),
    "Succeeded": _Column(int, lambda run: run.items_succeeded),
    "Failed": _Column(int, lambda run: run.items_failed),
    "Left": _Column(int, lambda run: run.items_left),
    "Items/s": _Column(float, _run_board.rate),
    "Time left": _Column(str, _run_board.time_left),
    "Duration": _Column(float, lambda run: None if run.duration is None else round(run.duration)),
    "Submitted": _Column(datetime, lambda run: run.submitted_at),
    "Ended": _Column(datetime, lambda run: run.ended_at),
    "Id": _Column(str, lambda run: run.id),
}
_DEFAULT = ("Status", "Run", "Submitted", "Tags", "Progress", "Succeeded", "Failed", "Left", "Items/s", "Time left")
_COUNTS = ("Items", "Succeeded", "Failed", "Left", "Items/s", "Duration")
_BADGES = {status: color for status, (color, _) in _layout.BADGES.items()} | {"Pinned": "violet", "Archived": "gray", "Imported": "blue"}


def show() -> None:
    """The list; to be called in a fragment that runs every now and then."""
    with _errors.shown():
        with st.container(horizontal=True, vertical_alignment="bottom"):
            query = _filters(chosen_workspace().runs.choices)
            query, columns = _order_and_columns(query)
            st.space("stretch")
            if st.button("New run", type="primary", icon=":material/add:"):
                switch_page("new_run.py", query_params={})
        statuses_place = st.container()
        key = f"paged-runs_{hash((repr(query), st.session_state.get('runs_generation', 0))):x}"
        selected = _selected(key)
        page = _page(query, selected)
        if not {*selected} <= {run.id for run in page.runs}:  # one was deleted: the ticks would be on other rows
            _unselect()
        with statuses_place:
            _statuses(query, page)
        if not page.total and query == RunQuery(count=PAGE_SIZE):
            st.info("No runs yet.", icon=":material/info:")
            st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
            return
        st.session_state.listed_runs = [run.id for run in page.runs]
        with st.container(key="runs_line"):
            if selected:
                _actions([run for run in page.runs if run.id in selected])
            else:
                st.session_state.pop("tag_error", None)
                st.caption(_describe(query, page))
        if page.runs:
            _table(page.runs, columns, key)
        pages = -(-page.total // PAGE_SIZE)
        if pages > 1:
            if st.session_state.get("runs_page") != query.first // PAGE_SIZE + 1:
                st.session_state.runs_page = query.first // PAGE_SIZE + 1
            st.pagination(pages, key="runs_page", on_change=lambda: st.query_params.update(page=str(st.session_state.runs_page)))


def _on_first_page() -> None:
    st.query_params.pop("page", None)


# ---- what is searched for ----------------------------------------------------------------------------------------------------------------


def _filters(choices: Callable[[], RunChoices]) -> RunQuery:
    bound: dict[str, Any] = {"bind": "query-params", "on_change": _on_first_page}
    text = st.text_input(
        "Search", key="find", type="search", placeholder="Search name, model, dataset, tag, note", live="300ms", width=330,
        label_visibility="collapsed", **bound,
    )  # fmt: skip
    given = sum(bool(st.session_state.get(key)) for key in _FILTERS[2:])
    with st.popover(f"Filters · {given}" if given else "Filters", icon=":material/filter_list:", key="runs_filters"):
        there = _choices(str(chosen_workspace().home), choices)
        any_of: dict[str, Any] = {"index": None, "placeholder": "any", "accept_new_options": True, **bound}
        model = st.selectbox("Model", _with_names(there.models), key="of_model", **any_of)
        dataset = st.selectbox("Dataset", _with_names(there.datasets), key="of_dataset", **any_of)
        tags = [f"{key}={value}" for key, value in there.tags]
        help_text = "key=value, or the key alone for any value. All of them must be there."
        tagged = st.multiselect("Tags", tags, key="tagged", placeholder="any", accept_new_options=True, help=help_text, **bound)
        left, right = st.columns(2)
        since = left.date_input("Submitted from", None, key="since", **bound)
        until = right.date_input("to", None, key="until", **bound)
        archived = st.toggle("Show archived runs too", key="with_archived", **bound)
        st.button("Clear filters", icon=":material/filter_alt_off:", on_click=_clear, disabled=not given, key="clear_run_filters")
    chosen = st.session_state.get("status", st.query_params.get_all("status"))
    return RunQuery(
        text=text or "", statuses=tuple(status for status in RunStatus if status in chosen), model=model or "", dataset=dataset or "",
        tags=dict(tag.partition("=")[::2] for tag in tagged), since=_day(since), until=_day(until, days=1), archived=archived,
        count=PAGE_SIZE,
    )  # fmt: skip


@st.cache_data(ttl=15, max_entries=8, show_spinner=False)
def _choices(home: str, _choices: Callable[[], RunChoices]) -> RunChoices:
    """What the runs of a home have; asked now and then, since it takes longer than the list."""
    return _choices()


def _with_names(references: Sequence[str]) -> list[str]:
    """Each name, for any version, and then its versions."""
    names = dict.fromkeys(reference.partition(":")[0] for reference in references)
    return sorted({*names, *references})


def _day(day: date | None, days: int = 0) -> datetime | None:
    """The begin of a day in the time zone of the browser, or of a later one."""
    if day is None:
        return None
    return datetime.combine(day + timedelta(days=days), time.min, browser_zone()).astimezone(UTC)


def _clear() -> None:
    for key in _FILTERS:
        st.session_state[key] = {"status": [], "tagged": [], "find": "", "with_archived": False}.get(key)
    _on_first_page()


def _statuses(query: RunQuery, page: RunPage) -> None:
    """The statuses that there are, to choose from."""
    present = [status for status in RunStatus if status in page.statuses or status in query.statuses]
    if len(present) > 1 or query.statuses:
        options: dict[str, Any] = {"selection_mode": "multi", "label_visibility": "collapsed", "bind": "query-params"}
        st.pills("Status", present, key="status", on_change=_on_first_page, **options)


def _order_and_columns(query: RunQuery) -> tuple[RunQuery, list[str]]:
    bound: dict[str, Any] = {"bind": "query-params", "on_change": _on_first_page}
    with st.popover("Sort and columns", icon=":material/swap_vert:", key="runs_columns"):
        sort = st.selectbox("Sort by", list(_SORTS), key="order", format_func=lambda name: _SORTS.get(name, name), **bound)
        ascending = st.toggle("Ascending", key="ascending", **bound)
        st.caption("Pinned runs come first.")
        shown = st.multiselect("Columns", list(COLUMNS), list(_DEFAULT), key="shown", bind="query-params")
    number = st.query_params.get("page", "")
    first = PAGE_SIZE * (int(number) - 1) if number.isascii() and number.isdecimal() and int(number[:9]) > 0 else 0
    return replace(query, sort=sort, descending=not ascending, first=min(first, 10**12)), shown or list(_DEFAULT)


def _page(query: RunQuery, selected: Sequence[str]) -> RunPage:
    """What the query finds. While some are selected the rows stay where they are, and only what they say is renewed."""
    runs = chosen_workspace().runs
    page = runs.search(query)
    if not page.runs and page.total:  # a page that is gone
        page = runs.search(replace(query, first=(page.total - 1) // PAGE_SIZE * PAGE_SIZE))
    if selected:
        listed = st.session_state.listed_runs
        found = {run.id: run for run in runs.search(RunQuery(ids=tuple(listed), archived=True, count=len(listed))).runs}
        page = replace(page, runs=tuple(found[run_id] for run_id in listed if run_id in found))
    return page


def _describe(query: RunQuery, page: RunPage) -> str:
    searched = replace(query, sort="submitted_at", descending=True, first=0) != RunQuery(count=PAGE_SIZE)
    if not page.total:
        return "No run matches."
    if page.total > PAGE_SIZE:
        first = query.first + 1
        shown = f"{first:,}–{first + len(page.runs) - 1:,} of {counted(page.total, 'run')}"
    else:
        shown = f"{counted(page.total, 'run')} {'matches' if page.total == 1 else 'match'}" if searched else counted(page.total, "run")
    return f"{shown} · click one to open it, tick several to tag, archive, delete or compare them"


# ---- the rows ----------------------------------------------------------------------------------------------------------------------------


def _selection(key: str) -> Mapping[str, Any]:
    """What is selected in the table now."""
    selection: Mapping[str, Any] = st.session_state.get(key, {}).get("selection", {})
    return selection


def _selected(key: str) -> list[str]:
    """The ids of the ticked runs."""
    listed = st.session_state.get("listed_runs", [])
    rows = _selection(key).get("rows", [])
    return [listed[row] for row in rows if row < len(listed)]


def _table(runs: Sequence[Run], columns: Sequence[str], key: str) -> None:
    from pyarrow import compute

    def open_run() -> None:
        if cells := _selection(key).get("cells"):
            switch_page("runs.py", query_params={"run": st.session_state.listed_runs[cells[0][0]]})

    kinds = {name: COLUMNS[name].type for name in columns}
    table = _tables.arrow(kinds, [[COLUMNS[name].value(run) for name in columns] for run in runs])
    config = dict(_tables.number_columns(table, _COUNTS))
    column = st.column_config
    if "Status" in columns:
        place = list(columns).index("Status")
        table = table.set_column(place, "Status", compute.split_pattern(table["Status"], ","))  # a list is shown as badges
        config["Status"] = column.MultiselectColumn(options=list(_BADGES), color=list(_BADGES.values()))
    widths = {"Run": 190, "Tags": 140, "Note": 190, "Model": 150, "Dataset": 150, "Script": 150, "Id": 210}
    config |= {name: column.TextColumn(width=width) for name, width in widths.items()}
    config["Progress"] = column.ProgressColumn(format="percent", min_value=0, max_value=1, width=100)
    config["Duration"] = column.NumberColumn("Duration, s", format="localized", width=110)
    config |= {name: _tables.time_column() for name in ("Submitted", "Ended")}
    st.dataframe(
        table, key=key, on_select=open_run, selection_mode=["multi-row", "single-cell"], hide_index=True, placeholder="",
        height=_tables.height(len(runs), 20), alt="Runs", column_config={name: config[name] for name in columns if name in config},
    )  # fmt: skip


def _actions(runs: Sequence[Run]) -> None:
    """What can be done with the ticked runs."""
    ids = [run.id for run in runs]
    count = counted(len(runs), "run")
    look: Any = {"type": "tertiary"}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="run-actions"):
        st.markdown(f"**{count} selected**", width="content")
        with st.popover("Tag", icon=":material/label:", key="tag-runs", **look), st.form("tag-these-runs", border=False):
            text = st.text_input("Tag", placeholder="key=value", key="tag-of-runs")
            if st.form_submit_button("Tag", type="primary"):
                st.session_state.tag_error = _run_keeping.tag(ids, f"Tagged {count}.", text)
                if not st.session_state.tag_error:
                    _unselect()
            if error := st.session_state.get("tag_error"):  # here, and not for once: the popover hides the page, which renews itself
                _errors.show(error)
        pinned, archived = (all(getattr(run.metadata, name) for run in runs) for name in ("pinned", "archived"))
        label = "Unpin" if pinned else "Pin"
        if st.button(label, icon=":material/push_pin:", key="pin-runs", **look):
            _run_keeping.say(ids, f"{'Unpinned' if pinned else 'Pinned'} {count}.", pinned=not pinned)
            _unselect()
        label = "Restore" if archived else "Archive"
        icon = ":material/unarchive:" if archived else ":material/archive:"
        if st.button(label, icon=icon, key="archive-runs", **look, help="Archived runs are kept, and listed only when asked for."):
            _run_keeping.say(ids, f"{label}d {count}.", archived=not archived)
            _unselect()
        if st.button("Delete", icon=":material/delete:", key="delete-runs", **look):
            _run_keeping.ask_to_delete(runs)
        help_text = "" if len(runs) == 2 else "Select two runs to compare."
        if st.button("Compare", icon=":material/compare_arrows:", key="compare-runs", **look, disabled=len(runs) != 2, help=help_text):
            older, newer = sorted(runs, key=lambda run: (run.submitted_at, run.id))
            switch_page("compare.py", query_params={"run": newer.id, "with": older.id})


def _unselect() -> None:
    """Draw the list again, with nothing selected."""
    st.session_state.runs_generation = st.session_state.get("runs_generation", 0) + 1
    st.rerun()

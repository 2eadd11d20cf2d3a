"""Results: what a run predicted: filter it, chart it, judge it, look at single rows, take it away. All of it deep-linked."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _results_export, _results_panel, _results_row, _results_table, _results_view, _shared
from pages._results_view import LOOKS, View, change, current, follow
from pages._shared import clipped, local_time, plain, shown
from services.domain import Run, RunStatus
from services.errors import NotFound
from services.formats import counted
from services.predictions.filters import EVERY_FAILURE

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

workspace = _shared.workspace()
# Where they don't fit side by side, the open row is there instead of the table that it was chosen in.
_ROW_INSTEAD = """<style>@media (max-width: 640px) {
  .st-key-rows_and_panel:has(.st-key-close_row) > * > * > [data-testid=stColumn]:first-child { display: none }
}</style>"""


def results(run_id: str, was_active: bool) -> None:
    with _shared.errors_shown():
        run = workspace.runs.get(run_id)
        if was_active and run.status.ended:
            st.rerun()
        taken = head(run)
        if run.request.settings.output_action != "append_row":
            st.info("This run is summary_only: its script wrote its own output. The run's page lists it.", icon=":material/info:")
            return
        with st.skeleton(height=400):
            with st.spinner("Joining what stands beside", show_time=True) if _results_view.beside() else nullcontext():
                table = opened(run)
            view = current(run, table)
            if not sum(table.row_counts.values()):
                nothing_yet(run)
                return
            with taken:
                _results_export.views(view)
                _results_export.take(view)
            rows(view)


def opened(run: Run) -> Predictions:
    """The run's table with what the URL wants beside it; without, where that is gone."""
    beside = _results_view.beside()
    try:
        return _shared.table_beside(run.id, beside)
    except NotFound as error:
        if not beside:
            raise
        change(beside="")  # a download of what is seen now must not ask for it either
        noun = "The true labels" if beside.startswith("labels:") else "The run that was to stand beside"
        st.warning(plain(f"{noun} of this address are gone: {error.message} What follows is without."), icon=":material/link_off:")
        return _shared.table_beside(run.id, "")


def head(run: Run) -> DeltaGenerator:
    """The run in a line; returns where its downloads go."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _shared.status_badge(run)
        if not run.status.ended:
            left = f"{run.items_left or 0:,} of {counted(run.items_total or 0, _shared.item_of(run))} to go"
            partial = f"Partial results, {left}. They are read again every few seconds."
            st.caption("Its results come when it has ended." if run.items_left is None else partial, width="content")
        st.space("stretch")
        if st.button("Open run", icon=":material/list_alt:", key="open_run"):
            st.switch_page("runs.py", query_params={"run": run.id})
        if st.button("Compare", icon=":material/compare_arrows:", key="compare", help="Beside another run"):
            st.switch_page("compare.py", query_params={"run": run.id})
        if run.status is RunStatus.COMPLETED and run.request.settings.output_action == "append_row":
            name = run.request.settings.append_row_file_name
            address = f"downloads/output?{urlencode({'run': run.id, 'name': name})}"
            st.link_button(plain(name), address, icon=":material/description:", help="What run() returned, a row a line.")
        return st.container(horizontal=True, width="content")


def nothing_yet(run: Run) -> None:
    if run.status.ended:
        st.info("This run predicted nothing. Its page says why.", icon=":material/info:")
    else:
        st.info("Nothing is predicted yet. This page fills by itself.", icon=":material/hourglass_empty:")


def rows(view: View) -> None:
    """The rows as the URL asks for them, and beside them the panel, or the open row."""
    left, right = st.container(key="rows_and_panel").columns([5, 3], gap="medium")
    st.html(_ROW_INSTEAD)
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            follow("look", _results_view.look())
            look = st.segmented_control(
                "Look at it as", LOOKS, key="look", required=True, label_visibility="collapsed",
                on_change=lambda: change(look=st.session_state.look if st.session_state.look != LOOKS[0] else "", row=""),
            )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _results_table.search(view)
            columns = _results_table.order_and_columns(view)
        with st.spinner("Filtering", show_time=True):
            found = view.table.count(view.filter)
        _results_table.filtered_by(view, found)
        if not found:
            none_match(view)
        elif look == "Table":
            _results_table.prepared(view)
            _results_table.table(view, found, columns)
        else:
            other_look(view, look or "")
    with right:
        if view.row is not None:
            _results_row.row(view)
        else:
            _results_panel.panel(view)


def none_match(view: View) -> None:
    if view.table.count():
        st.info("No prediction matches these filters.", icon=":material/filter_alt:")
    else:
        failed = view.table.count(EVERY_FAILURE)
        st.info(f"Nothing is predicted: {counted(failed, 'item')} failed.", icon=":material/info:")
        st.button(
            "Show them with their errors", key="show_failures", icon=":material/error:", on_click=_results_view.set_filter,
            args=(EVERY_FAILURE,),
        )  # fmt: skip


def other_look(view: View, look: str) -> None:
    """What needs Plotly, or a person's SQL: imported when it is looked at."""
    from pages import _results_charts, _results_labels, _results_queries

    {
        "Charts": _results_charts.show_charts, "Groups": _results_queries.groups, "SQL": _results_queries.sql,
        "True labels": _results_labels.labels,
    }[look](view)  # fmt: skip


def label(run: Run) -> str:
    """No two alike: what a selectbox gives back is found by its label."""
    return shown(f"{clipped(' '.join(run.title.split()), 100)} · {local_time(run.submitted_at)} · {run.id[-6:]}")


def choose_run() -> None:
    _results_view.forget()
    st.query_params["run"] = st.session_state.chosen_run


_shared.title("Results", "What a run predicted for each file: filter it, judge it, take it away.")
runs = {run.id: run for run in workspace.runs.latest()}
if not runs:
    st.info("There are no runs yet, so there are no results.", icon=":material/info:")
    st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
    st.stop()
asked = st.query_params.get("run", next(iter(runs)))
run = runs.get(asked) or workspace.runs.get(asked)
st.session_state.chosen_run = run.id
if "run" not in st.query_params:  # the address of what is seen is to show the same tomorrow
    st.query_params["run"] = run.id
labels = {run.id: label(run)} | {run_id: label(other) for run_id, other in runs.items()}
st.selectbox("Run", list(labels), format_func=labels.__getitem__, key="chosen_run", on_change=choose_run, label_visibility="collapsed")
active = not run.status.ended
st.fragment(results, run_every=3.0 if active else None)(run.id, active)

"""Results: the predictions of a run: filter, chart, evaluate, inspect single rows, download. All of it is in the URL."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import (
    _errors,
    _first_picture,
    _layout,
    _results_export,
    _results_panel,
    _results_row,
    _results_table,
    _results_view,
    _run_picker,
    _waiting,
    _workspace,
)
from pages._results_view import MODES, View, change, current, follow
from pages._switching import switch_page
from pages._text import displayable, escape, local_time, truncate
from services.domain import Run, RunStatus
from services.errors import NotFound
from services.formats import counted
from services.predictions.filters import EVERY_FAILURE
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

workspace = chosen_workspace()
JOINING = {"labels": "Joining labels…", "run": "Joining the other run…", "both": "Joining labels and the other run…"}
_STYLE = """<style>
/* In a narrow window the open row replaces the table in which it was chosen. */
@media (max-width: 1200px) {
  .st-key-rows_and_panel:has(.st-key-close_row) > * > * > [data-testid=stColumn]:first-child { display: none }
}
/* A wide one has the picture and the table side by side, and the panel as wide as it needs; any other the picture above the table. */
@media (min-width: 1700px) {
  .st-key-rows_and_panel > * > * > [data-testid=stColumn]:first-child { flex: 1 1 0; min-width: 0 }
  .st-key-rows_and_panel > * > * > [data-testid=stColumn]:last-child { flex: 0 0 22rem; width: 22rem }
  .st-key-picture_and_rows { flex-direction: row; gap: 2rem }
  .st-key-picture_and_rows > * { flex: 1 1 0; min-width: 0 }
}
</style>"""


def results(run_id: str, was_active: bool) -> None:
    with _errors.shown():
        run = workspace.runs.get(run_id)
        downloads = head(run)
        if was_active and run.status.ended:  # not before its buttons: a click that came with this refresh would be lost
            st.rerun()
        if run.request.settings.output_action != "append_row":
            st.info("This run is summary_only: the script wrote its own output, listed on the run page.", icon=":material/info:")
            return
        joining = JOINING.get(_results_view.joined().partition(":")[0])
        with st.skeleton(height=400):
            with st.spinner(joining, show_time=True) if joining else nullcontext():
                table = opened(run)
            view = current(run, table)
            if not sum(table.row_counts.values()):
                no_predictions(run)
                return
            with downloads:
                _results_export.views(view)
                _results_export.downloads(view)
            rows(view)


def opened(run: Run) -> Predictions:
    """The run's table, joined as the URL says; alone, where the labels or the other run no longer exist."""
    joined = _results_view.joined()
    try:
        return _workspace.joined_table(run.id, joined)
    except NotFound as error:
        if not joined:
            raise
        change(beside="")  # so that downloads match what is shown
        noun = {"labels": "The true labels", "run": "The other run"}.get(joined.partition(":")[0], "The true labels or the other run")
        text = f"{noun} in this URL can't be joined: {error.message} Showing the predictions alone."
        st.warning(escape(text), icon=":material/link_off:")
        return _workspace.joined_table(run.id, "")


def head(run: Run) -> DeltaGenerator:
    """The run in one line; returns the place of its downloads."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _layout.status_badge(run)
        if not run.status.ended:
            left = f"{run.items_left or 0:,} of {counted(run.items_total or 0, _workspace.item_of(run))} left"
            partial = f"Partial results, {left}. Refreshed every few seconds."
            st.caption("Results appear when the run ends." if run.items_left is None else partial, width="content")
        st.space("stretch")
        if st.button("Open run", icon=":material/list_alt:", key="open_run"):
            switch_page("runs.py", query_params={"run": run.id})
        if st.button("Compare", icon=":material/compare_arrows:", key="compare", help="Compare with another run"):
            switch_page("compare.py", query_params={"run": run.id})
        if run.status is RunStatus.COMPLETED and run.request.settings.output_action == "append_row":
            name = run.request.settings.append_row_file_name
            address = f"downloads/output?{urlencode({'run': run.id, 'name': name})}"
            st.link_button(escape(name), address, icon=":material/description:", help="The rows that run() returned, one a line.")
        return st.container(horizontal=True, width="content")


def no_predictions(run: Run) -> None:
    if run.status.ended:
        st.info("No predictions. The run page shows the reason.", icon=":material/info:")
    else:
        st.info("No predictions yet. This page refreshes by itself.", icon=":material/hourglass_empty:")


def rows(view: View) -> None:
    """The rows as the URL says, next to the filter panel or the open row."""
    left, right = st.container(key="rows_and_panel").columns([5, 3], gap="medium")
    st.html(_STYLE)
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            follow("look", _results_view.mode())
            mode = st.segmented_control(
                "View as", MODES, key="look", required=True, label_visibility="collapsed",
                on_change=lambda: change(look=st.session_state.look if st.session_state.look != MODES[0] else "", row=""),
            )  # fmt: skip
        columns: list[str] = []
        if mode != "Review":  # which has an order of its own
            with st.container(horizontal=True, vertical_alignment="bottom"):
                _results_table.search(view)
                columns = _results_table.order_and_columns(view)
        count = _waiting.answer(lambda: view.table.count(view.filter), "Filtering…")
        _results_view.remember_answered(view)
        _results_table.filtered_by(view, count)
        if mode == MODES[0]:
            explore(view, count, columns)
        elif mode == "Review" and count:
            from pages import _results_review

            _results_review.show_review(view, right)
        elif count:
            show_mode(view, mode or "")
        else:
            no_rows(view)
    with right:
        if view.row is not None:
            _results_row.row(view)
        elif mode != "Review":
            _results_panel.panel(view)


def explore(view: View, count: int, columns: list[str]) -> None:
    """The picture and the table, which comes first."""
    if not count and not view.table.count():  # whatever the filters are
        no_rows(view)
        return
    both = st.container(key="picture_and_rows")
    picture, table = both.container(), both.container()
    with table:
        if count:
            _results_table.prepared(view)
            _results_table.table(view, count, columns)
        else:
            no_rows(view)
    with picture, _first_picture.after_the_rows() if count else nullcontext():
        from pages import _results_charts

        _results_charts.picture(view)


def no_rows(view: View) -> None:
    if view.table.count():
        st.info("No predictions match these filters.", icon=":material/filter_alt:")
    else:
        failed = view.table.count(EVERY_FAILURE)
        st.info(f"No predictions: {counted(failed, 'item')} failed.", icon=":material/info:")
        st.button(
            "Show the errors", key="show_failures", icon=":material/error:", on_click=_results_view.set_filter,
            args=(EVERY_FAILURE,),
        )  # fmt: skip


def show_mode(view: View, mode: str) -> None:
    """A mode other than the first, imported when it is shown: some need Plotly."""
    from pages import _results_charts, _results_labels

    {
        "Groups": _results_charts.groups, "SQL": _results_charts.sql, "Evaluation": _results_labels.labels,
    }[mode](view)  # fmt: skip


def label(run: Run) -> str:
    """Unique: a selectbox finds its value by the label."""
    return displayable(f"{truncate(' '.join(run.title.split()), 100)} · {local_time(run.submitted_at)} · {run.id[-6:]}")


def choose_run() -> None:
    _results_view.forget()
    st.query_params["run"] = st.session_state.chosen_run


_layout.title("Results", "The predictions of a run: filter, chart, evaluate, download.")
runs = {run.id: run for run in _run_picker.newest()}
if not runs:
    st.info("No runs yet.", icon=":material/info:")
    st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
    st.stop()
run_id = st.query_params.get("run", next(iter(runs)))
run = runs.get(run_id) or _workspace.run_of_link(run_id)
st.session_state.chosen_run = run.id
if "run" not in st.query_params:  # the URL must show the same run tomorrow
    st.query_params["run"] = run.id
with st.container(horizontal=True, vertical_alignment="center"):
    offered = _run_picker.search(list(runs.values()), "find_run")
labels = {run.id: label(run)} | {other.id: label(other) for other in offered}
st.selectbox("Run", list(labels), format_func=labels.__getitem__, key="chosen_run", on_change=choose_run, label_visibility="collapsed")
active = not run.status.ended
_waiting.stop_button(_results_view.undo_filter)
st.fragment(results, run_every=3.0 if active else None)(run.id, active)

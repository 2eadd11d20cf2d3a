"""The runs over a dataset, judged by its labels: a table to sort, from which runs are opened and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages import _errors, _tables
from pages._results_view import option_labels
from pages._switching import switch_page
from pages._text import displayable, escape, truncate
from services.predictions.label_file import Labels
from services.run_details import Leaderboard, RunScore
from services.workspaces import chosen_workspace

_COUNTS = ("Judged", "No label", "No prediction")
_COLUMNS: Mapping[str, type] = {
    "Run": str, "Model": str, "Accuracy": float, "F1": float, "MAE": float, "RMSE": float, "Judged": int, "No label": int,
    "No prediction": int, "Seconds": float, "Node hours": float, "Status": str, "Note": str, "Id": str,
}  # fmt: skip
_NOTHING = dict.fromkeys(("No label", "No prediction"), (None, 0))
"""Which of these columns need no room; of others None and no text."""


def show(dataset: str, key: str, labels_id: str = "") -> None:
    """The leaderboard of this version of a dataset. Without `labels_id` a person chooses among its labels."""
    workspace = chosen_workspace()
    with _errors.shown():
        known = {labels.id: labels for labels in workspace.labels(dataset)}
        if not labels_id and len(known) > 1:
            labels_id = _choose(known, key)
        bar = st.empty()

        def progress(done: int, of: int) -> None:
            if done < of and of > 1:
                bar.progress(done / of, f"Judging {done + 1:,} of {of:,} runs…")

        with st.spinner("Judging the runs…", show_time=True):
            board = workspace.leaderboard(dataset, labels_id, progress)
        bar.empty()
        _table(board, key)


def _choose(known: Mapping[str, Labels], key: str) -> str:
    names = option_labels(known, {id_: labels.count for id_, labels in known.items()}, written={i: k.name for i, k in known.items()})
    chosen: str = st.selectbox("Judged by", list(known), key=f"{key}_labels", format_func=lambda id_: names.get(id_, id_), width=360)
    return chosen


def _table(board: Leaderboard, key: str) -> None:
    if board.scores:
        rows = [_row(score) for score in board.scores]
        empty = [name for place, name in enumerate(_COLUMNS) if all(row[place] in _NOTHING.get(name, (None, "")) for row in rows)]
        shown = {name: kind for name, kind in _COLUMNS.items() if name not in empty}
        places = [place for place, name in enumerate(_COLUMNS) if name in shown]
        table = _tables.arrow(shown, [[row[place] for place in places] for row in rows])
        config: dict[str, Any] = _tables.number_columns(table, _COUNTS) | dict.fromkeys(("Accuracy", "F1"), _tables.percent_column())
        config |= _tables.narrowed(table, "Run", "Model", "Note")
        picked = st.dataframe(
            table, key=f"{key}_board", on_select="rerun", selection_mode="multi-row", hide_index=True, column_config=config,
            height=_tables.height(len(rows), 12), alt=f"Leaderboard of {displayable(board.dataset)}",
        )  # fmt: skip
        _open([board.scores[place].run.id for place in picked["selection"]["rows"]], board, key)
    for note in board.notes:
        st.caption(escape(note))
    if board.labels and board.scores:
        st.caption("F1 is the mean over all classes, each counted alike. Only rows with a prediction and a label are judged. Node hours are"
                   " the run's time, times the nodes that it asked for.")  # fmt: skip


def _row(score: RunScore) -> list[Any]:
    percents = [None if value is None else 100 * value for value in (score.accuracy, score.f1)]
    judged = (score.judged, score.without_label, score.without_prediction) if score.column else (None, None, None)
    title = truncate(" ".join(score.run.title.split()), 80)
    return [
        title, score.model or "", *percents, score.mae, score.rmse, *judged, score.seconds, score.node_hours, str(score.run.status),
        score.note, score.run.id,
    ]  # fmt: skip


def _open(chosen: list[str], board: Leaderboard, key: str) -> None:
    """What can be done with the chosen runs: one is opened, two and more are compared."""
    with st.container(horizontal=True, vertical_alignment="center"):
        one, more = len(chosen) == 1, len(chosen) > 1
        if st.button("Open its evaluation", icon=":material/insights:", key=f"{key}_open", disabled=not one):
            beside = {"beside": f"labels:{board.labels}"} if board.labels else {}
            switch_page("results.py", query_params={"run": chosen[0], "look": "Evaluation", **beside})
        if st.button("Compare", icon=":material/compare_arrows:", key=f"{key}_compare", disabled=not more):
            newest = sorted(chosen, key=lambda id_: _submitted(board, id_), reverse=True)
            query = {"run": newest[0], "with": newest[1], "labels": board.labels, "more": ",".join(newest[2:])}
            switch_page("compare.py", query_params={name: value for name, value in query.items() if value})
        if not chosen:
            st.caption("Select one run to open it, two or more to compare them.")


def _submitted(board: Leaderboard, run_id: str) -> str:
    return next(f"{score.run.submitted_at.isoformat()} {run_id}" for score in board.scores if score.run.id == run_id)

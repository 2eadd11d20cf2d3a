"""Compare: runs judged by the labels of their dataset, side by side, and where the newer one is wrong more often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import streamlit as st

from pages import _layout, _results_evaluation, _results_view, _tables
from pages._switching import switch_page
from pages._text import truncate
from services import formats
from services.domain import Run
from services.predictions import slices
from services.predictions.comparison import judged_pair
from services.predictions.evaluation import BEFORE, Evaluation, Verdict, score
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.reader import open_predictions
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.predictions.label_file import Labels
    from services.predictions.reader import Predictions

_MOST_SLICES = 200


def show(older: Run, newer: Run, before: Predictions, now: Predictions, column: str, more: Sequence[Run]) -> None:
    """The figures of both runs and of `more` beside each other, and the slices where the newer one is worse. `column` is what is compared,
    "" for the one that is by itself."""
    workspace = chosen_workspace()
    st.subheader("Judged by labels", anchor=False)
    shared = [reference for reference in newer.request.datasets if reference in older.request.datasets]
    of_older = {labels.id for labels in workspace.run_labels(older)}
    known = {labels.id: labels for labels in workspace.run_labels(newer) if labels.id in of_older and (shared or newer.imported_from)}
    if not known:
        why = "the dataset has no labels yet" if shared else "the runs are over different datasets, which share no labels"
        st.caption(f"Not judged: {why}. Labels are added to a dataset on its page, or under Evaluation on the Results page.")
        return
    names = _results_view.option_labels(known, written={id_: labels.name for id_, labels in known.items()})
    chosen = next(iter(known))
    if len(known) > 1:
        wanted = st.query_params.get("labels", "")
        _results_view.follow("compare_labels", wanted if wanted in known else chosen)
        chosen = st.selectbox(
            "True labels", list(known), key="compare_labels", format_func=lambda id_: names.get(id_, id_), width=360,
            on_change=lambda: _results_view.change(labels=st.session_state.compare_labels),
        )  # fmt: skip
    labels = workspace.find_run_labels(newer, chosen)
    with st.spinner("Judging the runs…", show_time=True):
        pair = judged_pair(before, now, older.id, labels, column)
        table = open_predictions(pair.path)
    _figures(older, newer, before, now, column, labels, more)
    _both(pair, newer, table, f"both:{labels.id}:{older.id}" + (f":{column}" if column else ""), labels)


def _figures(older: Run, newer: Run, before: Predictions, now: Predictions, column: str, labels: Labels, more: Sequence[Run]) -> None:
    """A row for each run: accuracy beside accuracy."""
    judged = [("Newer", newer, now, column), ("Older", older, before, column)]
    judged += [("Also", run, chosen_workspace().runs.predictions(run.id), column) for run in more]
    scores = [(what, run, score(table, labels, of)) for what, run, table, of in judged]
    columns = {"Run": str, "Model": str, "Accuracy": float, "F1": float, "MAE": float, "RMSE": float, "Judged": int, "No prediction": int}
    rows = [
        [
            f"{what}: {truncate(' '.join(run.title.split()), 60)} · {run.id[-6:]}", ", ".join(run.request.models),
            *(None if value is None else 100 * value for value in (figures.accuracy, figures.f1)), figures.mae, figures.rmse,
            figures.judged, figures.without_prediction,
        ]
        for what, run, figures in scores
    ]  # fmt: skip
    kept = [place for place, name in enumerate(columns) if name in ("Run", "Judged") or any(row[place] for row in rows)]
    shown = {name: kind for place, (name, kind) in enumerate(columns.items()) if place in kept}
    config = dict.fromkeys(("Accuracy", "F1"), _tables.percent_column())
    _tables.show(
        shown, [[row[place] for place in kept] for row in rows], "The runs judged by labels", counts=("Judged", "No prediction"),
        height="content", column_config=config,
    )  # fmt: skip
    if len({figures.rows_judged for *_, figures in scores}) > 1:
        st.caption("The runs were not judged on the same rows; the figures below are for the rows that both have.")


def _both(pair: Evaluation, newer: Run, table: Predictions, beside: str, labels: Labels) -> None:
    columns, own = dict(table.columns), dict(table.own)
    with st.spinner("Looking at the columns…", show_time=True):
        found = _results_evaluation.found_slices(pair, str(pair.path), table.identity, columns, own, labels.column)
    if not found.rows:
        st.caption("No row was judged in both runs.")
        return
    of_shares = found.measure is slices.Measure.MORE_WRONG

    def written(value: float) -> str:
        return "none" if math.isnan(value) else formats.percent(value) if of_shares else f"{value:,.6g}"

    def open_rows(chosen: Filter) -> None:
        switch_page("results.py", query_params={"run": newer.id, "beside": beside, "filter": chosen.to_text()})

    what = "wrong" if of_shares else "MAE"
    _layout.facts({"Judged in both": f"{found.rows:,}", f"Newer, {what}": written(found.now), f"Older, {what}": written(found.before)})
    if of_shares:
        with st.container(horizontal=True):
            for text, now, before in (
                ("Newly wrong", Verdict.WRONG, Verdict.CORRECT),
                ("Newly correct", Verdict.CORRECT, Verdict.WRONG),
                ("Wrong in both", Verdict.WRONG, Verdict.WRONG),
            ):
                verdicts = Filter(
                    conditions=(Condition("Verdict", Operator.ONE_OF, (now,)), Condition(BEFORE[0], Operator.ONE_OF, (before,)))
                )
                if (count := table.count(verdicts)) and st.button(f"{text}: {count:,}", key=f"rows_{text}", icon=":material/table_rows:"):
                    open_rows(verdicts)
    st.markdown("**Where the newer run is wrong more often**" if of_shares else "**Where the newer run is farther off**")
    scale = 100 if of_shares else 1
    rows = [
        (
            _results_evaluation.slice_name(slice_, own),
            slice_.rows,
            *(scale * v for v in (slice_.now, slice_.before, slice_.error, slice_.lower)),
        )
        for slice_ in found.slices[:_MOST_SLICES]
    ]
    if rows:
        cells = _tables.arrow({"Slice": str, "Evaluated": int, "Newer": float, "Older": float, "Worse by": float, "At least": float}, rows)
        percents = dict.fromkeys(("Newer", "Older", "Worse by", "At least"), _tables.percent_column()) if of_shares else {}
        picked = st.dataframe(
            cells, key="worse_slices", on_select="rerun", selection_mode="single-row", hide_index=True, alt="Where the newer run is worse",
            height=_tables.height(len(rows), 10), column_config=_results_evaluation.slice_columns(cells) | percents,
        )  # fmt: skip
        if selected := picked["selection"]["rows"]:
            open_rows(slices.filter_of(found.slices[selected[0]], found.measure))
    st.caption(_results_evaluation.explain(found))

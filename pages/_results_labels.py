"""Results: predictions judged by true labels. A click on a cell, a class or a folder shows its rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import streamlit as st

from pages import _plots, _shared
from pages._results_view import COUNTED, View, beside, change, follow, high, option_labels, set_filter
from pages._shared import arrow_table, facts, plain, shown
from services.errors import StudioError
from services.intake.staging import staging_folder
from services.predictions import evaluation, label_file
from services.predictions.filters import Condition, Filter, Operator

_MOST_CLASSES = 30  # on a side of the confusion matrix
_MOST_ROWS = 1000


def labels(view: View) -> None:
    """Choose or give a file of labels; then what it says of the predictions."""
    folder = _shared.workspace().runs.predictions(view.run.id).path.parent
    chosen, _, of = beside().removeprefix("labels:").partition(":") if beside().startswith("labels:") else ("", "", "")
    kept = label_file.kept_labels(folder)
    if kept:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for one in kept:
                on = one.id == chosen
                st.button(
                    plain(one.name) + f" · {one.count:,}", key=f"labels_{one.id}", type="primary" if on else "secondary",
                    icon=":material/label:", on_click=change, kwargs={"beside": "" if on else f"labels:{one.id}"},
                )  # fmt: skip
    with st.expander("Give a file of labels", expanded=not kept, icon=":material/add:"):
        _give(view, folder)
    if chosen:
        predictions = _shared.workspace().runs.predictions(view.run.id)
        if predictions.further_columns:
            of = _judged_column(chosen, evaluation.evaluated_column(predictions, of), ["Prediction", *predictions.further_columns])
        _judged(view, evaluation.evaluate(predictions, label_file.labels_of(folder, chosen), of))


def _judged_column(labels_id: str, of: str, names: list[str]) -> str:
    """Which column the labels are compared with, where predictions hold several."""
    follow("evaluated_column", of)
    words = option_labels(names)
    column: str = st.selectbox(
        "Judged column", names, key="evaluated_column", format_func=lambda name: words.get(name, name),
        on_change=lambda: change(beside=f"labels:{labels_id}:{st.session_state.evaluated_column}", filter="", row=""),
    )  # fmt: skip
    return column


def _give(view: View, folder: Path) -> None:
    st.caption("CSV or Parquet: a file's name or path and its label in each row. A large file is better read where it is than uploaded.")
    uploaded = st.file_uploader("Labels", type=["csv", "tsv", "txt", "parquet"], key="labels_upload", label_visibility="collapsed")
    path = st.text_input("or its path on this machine", key="labels_path", placeholder="/data/labels.csv")
    if not (uploaded or path):
        return
    try:
        with staging_folder(_shared.workspace().home) as incoming:
            source, name = Path(path).expanduser(), Path(path).name
            if uploaded:
                source, name = incoming / f"labels{Path(uploaded.name).suffix}", uploaded.name
                source.write_bytes(uploaded.getbuffer())
            columns = label_file.label_columns(source)
            words = option_labels(columns.names)
            left, right = st.columns(2)
            file = left.selectbox(
                "Its column of files", columns.names, columns.names.index(columns.file), key="labels_file", format_func=words.__getitem__
            )
            label = right.selectbox(
                "Its column of labels", columns.names, columns.names.index(columns.label), key="labels_label", format_func=words.__getitem__
            )
            if st.button("Judge by it", type="primary", icon=":material/check:", key="judge"):
                with st.spinner("Reading the labels", show_time=True):
                    made = label_file.keep_labels(source, name, folder, replace(columns, file=file, label=label))
                change(beside=f"labels:{made.id}", look="True labels")
                st.rerun()
    except StudioError as error:
        _shared.show_error(error)


def _judged(view: View, found: evaluation.Evaluation) -> None:
    verdicts = found.verdicts
    if not found.judged:
        st.warning("No prediction has a label by this file.", icon=":material/warning:")
    elif found.of_numbers:
        _numbers(view, found)
    else:
        _classes(view, found)
    without = {"No label": verdicts[evaluation.Verdict.NO_LABEL], "No prediction": verdicts[evaluation.Verdict.NO_PREDICTION]}
    with st.container(horizontal=True):
        for (word, count), verdict in zip(without.items(), (evaluation.Verdict.NO_LABEL, evaluation.Verdict.NO_PREDICTION), strict=True):
            if count:
                _to_rows(f"{word}: {count:,}", evaluation.verdict_is(verdict))
    if left := found.unmatched_label_count():
        with st.expander(f"Labels that belong to no row: {left:,}", icon=":material/link_off:"):
            rows = found.unmatched_labels(0, _MOST_ROWS)
            table = arrow_table({"Name": str, "Label": str, "Why": str}, rows)
            st.dataframe(table, lazy=False, hide_index=True, height=high(len(rows), 10), alt="Labels that belong to no row")
            if left > len(rows):
                st.caption(f"The first {len(rows):,} of them.")


def _to_rows(words: str, chosen: Filter) -> None:
    st.button(plain(words), key=f"rows_{words}", icon=":material/table_rows:", on_click=set_filter, args=(chosen,), kwargs={"look": ""})


def _classes(view: View, found: evaluation.Evaluation) -> None:
    scores = found.classes(_MOST_ROWS)
    wrong = found.verdicts[evaluation.Verdict.WRONG]
    facts({"Accuracy": f"{found.accuracy:.2%}", "Judged": f"{found.judged:,}", "Wrong": f"{wrong:,}", "Classes": f"{len(scores):,}"})
    if wrong:
        _to_rows(f"Wrong: {wrong:,}", evaluation.verdict_is(evaluation.Verdict.WRONG))
    places = {score.name: place for place, score in enumerate(scores[:_MOST_CLASSES])}
    cells = [
        (said, label, count)
        for label, said, count in sorted(
            found.confusion(_MOST_CLASSES**2), key=lambda one: (places.get(one[0], -1), places.get(one[1], -1))
        )
        if label in places and said in places
    ]
    st.markdown("**Confusion matrix**")
    figure = _plots.squares(cells, "Predicted", "True label", marked=True)
    axis = {"tickvals": list(places.values()), "ticktext": list(map(_plots.named, places)), "range": [-0.7, len(places) - 0.3]}
    figure.update_traces(x=[places[said] for said, _, _ in cells], y=[places[label] for _, label, _ in cells])
    figure.update_layout(xaxis=axis, yaxis=axis | {"range": [len(places) - 0.3, -0.7]})

    def open_cell(_: int, point: int) -> None:
        said, label, _count = cells[point]
        set_filter(evaluation.cell(label, said, found.of), look="")

    _plots.draw(figure, "confusion", f"Confusion matrix, accuracy {found.accuracy:.0%}", open_cell)
    more = f" The {_MOST_CLASSES} classes with the most labels." if len(scores) > _MOST_CLASSES else ""
    st.caption("Framed squares are right. A click on a square shows its rows." + more)
    st.markdown("**Each class**")
    columns = {"Class": str, "Labelled": int, "Predicted": int, "Correct": int, "Precision": float, "Recall": float, "F1": float}
    rows = [
        (s.name, s.labelled, s.predicted, s.correct, *(None if math.isnan(v) else v for v in (s.precision, s.recall, s.f1))) for s in scores
    ]
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        arrow_table(columns, rows), lazy=False, hide_index=True, height=high(len(rows), 12), alt="Precision and recall of each class",
        column_config=COUNTED | dict.fromkeys(("Precision", "Recall", "F1"), percent),
    )  # fmt: skip
    _folders(view, found)


def _numbers(view: View, found: evaluation.Evaluation) -> None:
    errors = found.number_errors()
    r2 = "none" if math.isnan(errors.r2) else f"{errors.r2:.4f}"
    facts({"MAE": f"{errors.mae:,.6g}", "RMSE": f"{errors.rmse:,.6g}", "Mean residual": f"{errors.bias:,.6g}", "R²": r2,
           "Judged": f"{errors.count:,}"})  # fmt: skip
    bins = found.residuals()
    st.markdown("**Residuals**, prediction minus label")

    def open_bin(_: int, bar: int) -> None:
        lower, upper, _count = bins[bar]
        set_filter(
            Filter(conditions=tuple(Condition("Residual", t, (repr(v),)) for t, v in ((Operator.FROM, lower), (Operator.TO, upper)))),
            look="",
        )

    _plots.draw(_plots.histogram(bins, "Residual"), "residuals", "How the residuals spread", open_bin)
    _folders(view, found)


def _folders(view: View, found: evaluation.Evaluation) -> None:
    rows = found.by_folder(_MOST_ROWS)
    if len(rows) < 2:
        return
    st.markdown("**Error by folder**")
    if found.of_numbers:
        table = arrow_table({"Folder": str, "Judged": int, "MAE": float}, [(folder, judged, mae) for folder, judged, _, mae in rows])
    else:
        table = arrow_table(
            {"Folder": str, "Judged": int, "Wrong": int, "Error": float},
            [(f, judged, wrong, wrong / judged) for f, judged, wrong, _ in rows],
        )

    def open_folder() -> None:
        if chosen := st.session_state["error_folders"]["selection"]["rows"]:
            conditions = [Condition("Folder", Operator.ONE_OF, (shown(rows[chosen[0]][0]),))]
            if not found.of_numbers:
                conditions.append(Condition("Verdict", Operator.ONE_OF, (evaluation.Verdict.WRONG,)))
            set_filter(Filter(conditions=tuple(conditions)), look="")

    st.dataframe(
        table, key="error_folders", on_select=open_folder, selection_mode="single-row", hide_index=True, height=high(len(rows), 10),
        column_config=COUNTED | {"Error": st.column_config.NumberColumn(format="percent")}, alt="Error by folder",
    )  # fmt: skip

"""Results: predictions evaluated against true labels. A click on a cell, a class or a folder shows its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages import _errors, _layout, _plots, _tables
from pages._results_view import COUNTS, View, change, follow, joined, option_labels, set_filter
from pages._text import displayable, escape
from services import formats
from services.domain import TabularDataset
from services.intake.staging import staging_folder
from services.predictions import evaluation, label_file
from services.predictions.filters import Condition, Filter, Operator
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

_MOST_CLASSES = 30  # on a side of the confusion matrix
_MOST_ROWS = 1000


def labels(view: View) -> None:
    """Choose or add labels of the run's dataset; then the evaluation. The labels given last are chosen by themselves."""
    workspace, datasets = chosen_workspace(), view.run.request.datasets
    known = {labels_.id: labels_ for reference in datasets for labels_ in workspace.labels(reference)}
    chosen, _, column = joined().removeprefix("labels:").partition(":") if joined().startswith("labels:") else ("", "", "")
    if known and chosen not in known:
        change(beside=f"labels:{next(iter(known))}")
        st.rerun()
    if known:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _choose(known, chosen)
    with st.expander("Add labels", expanded=not known, icon=":material/add:"):
        add_labels(datasets)
    if chosen:
        predictions = workspace.runs.predictions(view.run.id)
        if predictions.further_columns:
            names = ["Prediction", *predictions.further_columns]
            column = _evaluated_column(chosen, evaluation.evaluated_column(predictions, column), names)
        _evaluation(view, evaluation.evaluate(predictions, workspace.find_labels(datasets, chosen), column))


def _choose(known: Mapping[str, label_file.Labels], chosen: str) -> None:
    follow("labels", chosen)
    names = option_labels(known, {id_: labels_.count for id_, labels_ in known.items()}, written={i: k.name for i, k in known.items()})
    st.selectbox(
        "True labels", list(known), key="labels", format_func=lambda id_: names.get(id_, id_), width=360,
        on_change=lambda: change(beside=f"labels:{st.session_state.labels}", filter="", row=""),
        help="They belong to the dataset: every run over it is judged by them.",
    )  # fmt: skip
    with st.popover("Remove", icon=":material/delete:"):
        st.text(displayable(f"Remove “{known[chosen].name}” from {known[chosen].dataset}? No run is judged by them any more."))
        if st.button("Remove these labels", type="primary", key="remove_labels"):
            chosen_workspace().remove_labels(known[chosen].dataset, chosen)
            change(beside="", filter="", row="")
            st.rerun()


def _evaluated_column(labels_id: str, column: str, names: list[str]) -> str:
    """The column to compare the labels with, where predictions hold several."""
    follow("evaluated_column", column)
    label_of = option_labels(names)
    chosen: str = st.selectbox(
        "Evaluated column", names, key="evaluated_column", format_func=lambda name: label_of.get(name, name),
        on_change=lambda: change(beside=f"labels:{labels_id}:{st.session_state.evaluated_column}", filter="", row=""),
    )  # fmt: skip
    return chosen


def add_labels(datasets: Sequence[str]) -> None:
    """A file of labels, or a column of a tabular dataset, for one of these datasets."""
    workspace = chosen_workspace()
    reference = datasets[0] if len(datasets) == 1 else st.selectbox("Dataset", datasets, key="labels_dataset")
    with _errors.shown():
        dataset = workspace.dataset(reference)
        if isinstance(dataset, TabularDataset):
            _add_column(dataset)
        st.caption("CSV or Parquet with a file name or path and its label in each row. For a large file, give its path instead.")
        uploaded = st.file_uploader("Labels", type=["csv", "tsv", "txt", "parquet"], key="labels_upload", label_visibility="collapsed")
        path = st.text_input("Or its path on this machine", key="labels_path", placeholder="/data/labels.csv")
        if not (uploaded or path):
            return
        with staging_folder(workspace.home) as incoming:
            source, name = Path(path).expanduser(), Path(path).name
            if uploaded:
                source, name = incoming / f"labels{Path(uploaded.name).suffix}", uploaded.name
                source.write_bytes(uploaded.getbuffer())
            columns = label_file.label_columns(source)
            names, format_name = columns.names, option_labels(columns.names).__getitem__
            of_rows = isinstance(dataset, TabularDataset)
            places = iter(st.columns(3 if of_rows else 2))
            file = next(places).selectbox("File column", names, names.index(columns.file), key="labels_file", format_func=format_name)
            row = _row_column(next(places), columns) if of_rows else ""
            label = next(places).selectbox("Label column", names, names.index(columns.label), key="labels_label", format_func=format_name)
            if st.button("Evaluate", type="primary", icon=":material/check:", key="judge"):
                with st.spinner("Reading labels…", show_time=True):
                    chosen = replace(columns, file=file, row=row, label=label)
                    added = workspace.add_labels(reference, source, name=name, columns=chosen)
                _added(added)


def _add_column(dataset: TabularDataset) -> None:
    """A column of the dataset itself as its labels."""
    names = [name for name, _ in dataset.columns]
    label_of = option_labels(names)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        column = st.selectbox(
            "A column of the dataset", names, None, key="labels_column", format_func=lambda name: label_of.get(name, name), width=360,
            placeholder="Such as churned", help="Each row is judged by its own value in this column.",
        )  # fmt: skip
        if st.button("Evaluate by this column", icon=":material/check:", key="judge_column", type="primary", disabled=column is None):
            with st.spinner("Reading the column…", show_time=True):
                added = chosen_workspace().add_labels(dataset.reference, column=column or "")
            _added(added)


def _added(labels_: label_file.Labels) -> None:
    change(beside=f"labels:{labels_.id}", look="True labels")
    st.rerun()


def _row_column(place: DeltaGenerator, columns: label_file.LabelColumns) -> str:
    """The column with the row's number in its file; "" where a label is of all rows of its file."""
    options = ["", *columns.names]
    label_of = option_labels(columns.names) | {"": "none: a file's label is that of all its rows"}
    chosen: str = place.selectbox(
        "Row number column", options, options.index(columns.row), key="labels_row", format_func=label_of.__getitem__,
        help="Which row of the file the label is of: 1 is the first row of data.",
    )  # fmt: skip
    return chosen


def _evaluation(view: View, result: evaluation.Evaluation) -> None:
    if not result.evaluated:
        st.warning("This file has no label for any prediction.", icon=":material/warning:")
    elif result.of_numbers:
        _numbers(view, result)
    else:
        _classes(view, result)
    with st.container(horizontal=True):
        for verdict in (evaluation.Verdict.NO_LABEL, evaluation.Verdict.NO_PREDICTION):
            if count := result.verdicts[verdict]:
                _to_rows(f"{verdict.capitalize()}: {count:,}", evaluation.verdict_is(verdict))
    if unmatched := result.unmatched_label_count():
        with st.expander(f"Labels without a row: {unmatched:,}", icon=":material/link_off:"):
            rows = result.unmatched_labels(0, _MOST_ROWS)
            _tables.show({"Name": str, "Label": str, "Why": str}, rows, "Labels without a row", most=10)
            if unmatched > len(rows):
                st.caption(f"The first {len(rows):,} of them.")


def _to_rows(label: str, chosen: Filter) -> None:
    st.button(escape(label), key=f"rows_{label}", icon=":material/table_rows:", on_click=set_filter, args=(chosen,), kwargs={"look": ""})


def _classes(view: View, result: evaluation.Evaluation) -> None:
    scores = result.classes(_MOST_ROWS)
    wrong = result.verdicts[evaluation.Verdict.WRONG]
    _layout.facts(
        {
            "Accuracy": formats.percent(result.accuracy),
            "Evaluated": f"{result.evaluated:,}",
            "Wrong": f"{wrong:,}",
            "Classes": f"{len(scores):,}",
        }
    )
    if wrong:
        _to_rows(f"Wrong: {wrong:,}", evaluation.verdict_is(evaluation.Verdict.WRONG))
    places = {score.name: place for place, score in enumerate(scores[:_MOST_CLASSES])}
    cells = [
        (predicted, label, count)
        for label, predicted, count in sorted(
            result.confusion(_MOST_CLASSES**2), key=lambda cell: (places.get(cell[0], -1), places.get(cell[1], -1))
        )
        if label in places and predicted in places
    ]
    st.markdown("**Confusion matrix**")
    figure = _plots.squares(cells, "Predicted", "True label", marked=True)
    axis = {"tickvals": list(places.values()), "ticktext": list(map(_plots.axis_label, places)), "range": [-0.7, len(places) - 0.3]}
    figure.update_traces(x=[places[predicted] for predicted, _, _ in cells], y=[places[label] for _, label, _ in cells])
    figure.update_layout(xaxis=axis, yaxis=axis | {"range": [len(places) - 0.3, -0.7]})

    def open_cell(_: int, point: int) -> None:
        predicted, label, _ = cells[point]
        set_filter(evaluation.cell(label, predicted, result.of), look="")

    _plots.draw(figure, "confusion", f"Confusion matrix, accuracy {formats.percent(result.accuracy)}", open_cell)
    more = f" Only the {_MOST_CLASSES} classes with the most labels." if len(scores) > _MOST_CLASSES else ""
    st.caption("Outlined cells are correct. Click a cell to show its rows." + more)
    st.markdown("**Classes**")
    columns = {"Class": str, "Labelled": int, "Predicted": int, "Correct": int, "Precision": float, "Recall": float, "F1": float}
    rows = [
        (s.name, s.labelled, s.predicted, s.correct, *(None if math.isnan(v) else 100 * v for v in (s.precision, s.recall, s.f1)))
        for s in scores
    ]
    config = dict.fromkeys(("Precision", "Recall", "F1"), _tables.percent_column())
    _tables.show(columns, rows, "Precision and recall by class", most=12, counts=COUNTS, column_config=config)
    _folders(view, result)


def _numbers(view: View, result: evaluation.Evaluation) -> None:
    errors = result.number_errors()
    r2 = "none" if math.isnan(errors.r2) else f"{errors.r2:.4f}"
    _layout.facts({"MAE": f"{errors.mae:,.6g}", "RMSE": f"{errors.rmse:,.6g}", "Mean residual": f"{errors.bias:,.6g}", "R²": r2,
           "Evaluated": f"{errors.count:,}"})  # fmt: skip
    bins = result.residuals()
    st.markdown("**Residuals**, prediction minus label")

    def open_bin(_: int, bar: int) -> None:
        lower, upper, _ = bins[bar]
        set_filter(
            Filter(conditions=tuple(Condition("Residual", t, (repr(v),)) for t, v in ((Operator.FROM, lower), (Operator.TO, upper)))),
            look="",
        )

    _plots.draw(_plots.histogram(bins, "Residual"), "residuals", "Distribution of the residuals", open_bin)
    _folders(view, result)


def _folders(view: View, result: evaluation.Evaluation) -> None:
    rows = result.by_folder(_MOST_ROWS)
    if len(rows) < 2:
        return
    st.markdown("**Error by folder**, the largest first")
    if result.of_numbers:
        table = _tables.arrow({"Folder": str, "Evaluated": int, "MAE": float}, [(folder, count, mae) for folder, count, _, mae in rows])
    else:
        cells = [(folder, count, wrong, 100 * wrong / count) for folder, count, wrong, _ in rows]
        table = _tables.arrow({"Folder": str, "Evaluated": int, "Wrong": int, "Error": float}, cells)

    def open_folder() -> None:
        if chosen := st.session_state["error_folders"]["selection"]["rows"]:
            conditions = [Condition(view.table.own["Folder"], Operator.ONE_OF, (displayable(rows[chosen[0]][0]),))]
            if not result.of_numbers:
                conditions.append(Condition("Verdict", Operator.ONE_OF, (evaluation.Verdict.WRONG,)))
            set_filter(Filter(conditions=tuple(conditions)), look="")

    st.dataframe(
        table, key="error_folders", on_select=open_folder, selection_mode="single-row", hide_index=True, alt="Error by folder",
        height=_tables.height(len(rows), 10), column_config=_tables.number_columns(table, COUNTS) | {"Error": _tables.percent_column()},
    )  # fmt: skip

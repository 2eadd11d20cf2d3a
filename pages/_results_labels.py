"""Results: predictions evaluated against true labels. A click on a cell, a class or a folder shows its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages import _errors, _leaderboard, _results_evaluation
from pages._results_view import View, change, follow, joined, option_labels
from pages._text import displayable
from services.domain import TabularDataset
from services.intake.staging import staging_folder
from services.predictions import evaluation, label_file
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator


def labels(view: View) -> None:
    """Choose or add labels of the run's dataset; then the evaluation. The labels given last are chosen by themselves."""
    workspace, datasets = chosen_workspace(), view.run.request.datasets
    known = {labels_.id: labels_ for labels_ in workspace.run_labels(view.run)}
    chosen, _, column = joined().removeprefix("labels:").partition(":") if joined().startswith("labels:") else ("", "", "")
    if known and chosen not in known:
        change(beside=f"labels:{next(iter(known))}")
        st.rerun()
    if known:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _choose(known, chosen, removable=not view.run.imported_from)
    if view.run.imported_from:
        st.caption("An imported run is judged by the labels that came with it." if known else "The run was imported without labels.")
    else:
        with st.expander("Add labels", expanded=not known, icon=":material/add:"):
            add_labels(datasets, _evaluate_by)
    if chosen:
        predictions = workspace.runs.predictions(view.run.id)
        if predictions.further_columns:
            names = ["Prediction", *predictions.further_columns]
            column = _evaluated_column(chosen, evaluation.evaluated_column(predictions, column), names)
        labels_ = workspace.find_run_labels(view.run, chosen)
        if not view.run.imported_from:
            with st.expander("All runs over this dataset", icon=":material/leaderboard:", key="all_runs", on_change="rerun") as all_runs:
                if all_runs.open:
                    _leaderboard.show(labels_.dataset if labels_.dataset in datasets else datasets[0], "evaluation", chosen)
        _results_evaluation.show(view, evaluation.evaluate(predictions, labels_, column), labels_.column)


def _choose(known: Mapping[str, label_file.Labels], chosen: str, *, removable: bool) -> None:
    follow("labels", chosen)
    names = option_labels(known, {id_: labels_.count for id_, labels_ in known.items()}, written={i: k.name for i, k in known.items()})
    st.selectbox(
        "True labels", list(known), key="labels", format_func=lambda id_: names.get(id_, id_), width=360,
        on_change=lambda: change(beside=f"labels:{st.session_state.labels}", filter="", row=""),
        help="They belong to the dataset: every run over it is judged by them.",
    )  # fmt: skip
    if not removable:
        return
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


def add_labels(datasets: Sequence[str], added: Callable[[label_file.Labels], None]) -> None:
    """A file of labels, or a column of a tabular dataset, for one of these datasets; `added` is called with them."""
    workspace = chosen_workspace()
    reference = datasets[0] if len(datasets) == 1 else st.selectbox("Dataset", datasets, key="labels_dataset")
    with _errors.shown():
        dataset = workspace.dataset(reference)
        if isinstance(dataset, TabularDataset):
            _add_column(dataset, added)
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
                    labels_ = workspace.add_labels(reference, source, name=name, columns=chosen)
                added(labels_)


def _add_column(dataset: TabularDataset, added: Callable[[label_file.Labels], None]) -> None:
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
                labels_ = chosen_workspace().add_labels(dataset.reference, column=column or "")
            added(labels_)


def _evaluate_by(labels_: label_file.Labels) -> None:
    change(beside=f"labels:{labels_.id}", look="Evaluation")
    st.rerun()


def _row_column(place: DeltaGenerator, columns: label_file.LabelColumns) -> str:
    """The column with the row's number in its file; "" where a label is of all rows of its file."""
    options = ["", *columns.names]
    label_of = option_labels(columns.names) | {"": "none: the label of a file applies to all its rows"}
    chosen: str = place.selectbox(
        "Row number column", options, options.index(columns.row), key="labels_row", format_func=label_of.__getitem__,
        help="The row of the file that the label belongs to: 1 is the first row of data.",
    )  # fmt: skip
    return chosen

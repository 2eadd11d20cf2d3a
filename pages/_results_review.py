"""Results: rows to accept or correct one after the other, the least certain first, by clicks or by keys."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors, _layout
from pages._results_row import show_input
from pages._results_view import View, address, change, choose, option_labels
from pages._text import displayable, escape, truncate, visible
from services.errors import SettingsError, StudioError
from services.formats import counted, percent
from services.intake.staging import staging_folder
from services.predictions import review
from services.predictions.annotations import Annotation, Annotations
from services.predictions.columns import ROW_NUMBER
from services.predictions.exports import rows_as_csv
from services.predictions.filters import EVERY_ROW
from services.predictions.review import Decision, QueuedRow
from services.run_details import RowKey
from services.workspaces import chosen_workspace

_MOST_BUTTONS = 12  # classes; the others are in a list
_CHARACTERS = 2_000


def show_review(view: View, right: DeltaGenerator) -> None:
    """The queue of what is filtered; the row that is open, its place in the URL, and what is decided so far: the input here, the decision
    in `right`."""
    orders = review.orders(view.table)
    order = choose("Show first", "of", list(orders), next(iter(orders)))
    rows = review.queue(view.table, view.filter, orders[order])
    if not rows:
        st.info("No predictions to review here.", icon=":material/info:")
        return
    annotations = chosen_workspace().annotations.annotations(view.run.id)
    at = _place(rows, annotations)
    _progress(view, rows, annotations, order)
    if at is None:
        st.success("All rows of this queue are reviewed. Filter for others, or download the labels.", icon=":material/check_circle:")
        st.button("Review them again", key="review_again", icon=":material/replay:", on_click=_go, args=(0,))
        return
    _row(view, rows, at, annotations, order, right)


def _place(rows: list[QueuedRow], annotations: Annotations) -> int | None:
    text = st.query_params.get("review", "")
    if text.isdecimal() and 0 < int(text[:9]) <= len(rows):
        return int(text[:9]) - 1
    return review.next_open(rows, annotations, -1)


def _progress(view: View, rows: list[QueuedRow], annotations: Annotations, order: str) -> None:
    decisions = [row.decision(annotations) for row in rows]
    accepted, corrected = decisions.count(Decision.ACCEPTED), decisions.count(Decision.CORRECTED)
    done = accepted + corrected
    st.progress(done / len(rows), f"{done:,} of {counted(len(rows), 'row')} reviewed · {accepted:,} accepted, {corrected:,} corrected")
    parts = [f"The first {len(rows):,} of {view.table.count(view.filter):,}."] if len(rows) == review.MOST_QUEUED else []
    if done and order.startswith("Least certain"):
        parts.append(
            f"{percent(accepted / done)} of these were right. They are the least certain ones, so this is not the accuracy of the run."
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        if parts:
            st.caption(" ".join(parts), width="content")
        st.space("stretch")
        if labelled := sum(bool(annotation.label) for annotation in annotations.values()):
            _labels(view, labelled)


def _labels(view: View, count: int) -> None:
    """What becomes of the labels: a file, or the dataset's true labels."""
    url = address("downloads/reviewed.csv", {"run": view.run.id})
    help_text = "A CSV file of all rows of this run that have a label: file, prediction, label, note. It can be given as true labels."
    st.link_button(f"Labels: {count:,}", url, icon=":material/download:", help=help_text)
    if len(datasets := view.run.request.datasets) == 1:
        st.button(
            "Use as true labels", key="use_labels", icon=":material/verified:", on_click=_use, args=(view,),
            help=f"Every run over {escape(datasets[0])} is judged by them, in Evaluation and in the leaderboard.",
        )  # fmt: skip


def _row(view: View, rows: list[QueuedRow], at: int, annotations: Annotations, order: str, right: DeltaGenerator) -> None:
    row = rows[at]
    values = view.table.page(EVERY_ROW, row.number, 1).to_pylist()[0]
    annotation = annotations.get(row.key, Annotation())
    with right:
        _decide(view, rows, at, annotation, order, review.classes_of(view.table))
        _further(view, values)
    number = values.get(view.table.own.get(ROW_NUMBER, ""))
    which = f", row {number:,}" if number is not None else ""
    st.caption(escape(f"{at + 1:,} of {len(rows):,} · {truncate(visible(row.key.file, lines=False), 200)}{which}"))
    show_input(chosen_workspace().runs.trace(view.run.id, row.key, values[view.table.own["Worker"]] or ""))


def _decide(view: View, rows: list[QueuedRow], at: int, annotation: Annotation, order: str, classes: list[str]) -> None:
    row = rows[at]
    _layout.labelled("Prediction", truncate(visible(row.prediction), _CHARACTERS))
    if row.certainty is not None:
        st.caption(escape(review.describe_certainty(order, row.certainty)))
    decision = row.decision({row.key: annotation})
    if decision is not Decision.OPEN:
        text = "Accepted" if decision is Decision.ACCEPTED else f"Corrected to {truncate(annotation.label, 200)}"
        st.caption(f":material/check: {escape(text)}")
    keys, labels = review.keys_of(classes), option_labels(classes, escape=escape)
    arguments: tuple[Any, ...] = (view, rows, at, annotation)
    st.button(
        "Accept", key="accept", type="primary", icon=":material/check:", shortcut="A", width="stretch", on_click=_say,
        args=(*arguments, row.prediction), help="The prediction is right",
    )  # fmt: skip
    with st.container(horizontal=True, gap="small", key="classes"):  # always in the same order: a hand learns where they are
        for place, name in enumerate(classes[:_MOST_BUTTONS]):
            icon = ":material/check:" if name == row.prediction else None
            st.button(labels[name], key=f"class_{place}", icon=icon, shortcut=keys.get(name), on_click=_say, args=(*arguments, name))
    with st.form("another_label", border=False, clear_on_submit=True):
        options: dict[str, Any] = {"label_visibility": "collapsed", "placeholder": "another label"}
        if len(classes) > _MOST_BUTTONS:
            choice = st.selectbox(
                "Another label", classes, index=None, key="other_label", format_func=lambda name: labels.get(name, name),
                accept_new_options=True, **options,
            )  # fmt: skip
        else:
            choice = st.text_input("Another label", key="other_label", **options)
        if st.form_submit_button("Correct", icon=":material/edit:") and str(choice or "").strip():
            _say(view, rows, at, annotation, str(choice).strip())
            st.rerun()
    with st.container(horizontal=True, gap="small"):
        st.button("Back", key="review_back", shortcut="B", disabled=at == 0, on_click=_go, args=(at - 1,))
        st.button("Skip", key="review_skip", shortcut="S", disabled=at == len(rows) - 1, on_click=_go, args=(at + 1,))
        if decision is not Decision.OPEN:
            st.button("Undo", key="review_undo", shortcut="U", on_click=_undo, args=(view, row.key, annotation))
    st.caption("Keys: A accepts, digits choose a class, S skips, B goes back, U undoes.")


def _further(view: View, values: dict[str, Any]) -> None:
    names = [name for name in view.table.further_columns if name != view.table.whole_column and values[name] is not None]
    shown = {name: visible(str(values[name])[:200]) for name in names[:12]}
    if shown:
        _layout.facts({displayable(name): displayable(value) for name, value in shown.items()})


def _say(view: View, rows: list[QueuedRow], at: int, annotation: Annotation, label: str) -> None:
    """Keep this as the row's label, and go on to the next row without one."""
    annotations = chosen_workspace().annotations
    try:
        annotations.annotate(view.run.id, rows[at].key, Annotation(annotation.note, label))
    except SettingsError as error:
        _errors.show(error)
        return
    following = review.next_open(rows, annotations.annotations(view.run.id), at)
    change(review="" if following is None else str(following + 1))


def _use(view: View) -> None:
    """Give what was reviewed to the dataset, as a file of labels would be."""
    workspace = chosen_workspace()
    try:
        names, rows = review.reviewed_rows(workspace.runs.predictions(view.run.id), workspace.annotations.annotations(view.run.id))
        with staging_folder(workspace.home) as folder:
            file = folder / "labels.csv"
            file.write_bytes(b"".join(rows_as_csv(names, rows)))
            labels = workspace.add_labels(view.run.request.datasets[0], file, name=f"Review of {view.run.title}")
    except StudioError as error:
        _errors.show(error)
        return
    st.toast(escape(f"{labels.dataset} has {counted(labels.count, 'true label')} now."), icon=":material/check_circle:")


def _undo(view: View, key: RowKey, annotation: Annotation) -> None:
    chosen_workspace().annotations.annotate(view.run.id, key, Annotation(annotation.note))


def _go(at: int) -> None:
    change(review=str(at + 1))

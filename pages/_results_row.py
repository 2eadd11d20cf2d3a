"""Results: one row, with its input file."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from pages import _errors, _file_preview, _layout, _run_replay, _tables
from pages._results_view import View, change, page_rows
from pages._text import displayable, escape, truncate, visible
from services import formats
from services.errors import NotFound, SettingsError
from services.predictions.annotations import Annotation
from services.predictions.columns import ROW_NUMBER, printed
from services.run_details import RowKey, RowTrace
from services.workspaces import chosen_workspace

_PREDICTION = 20_000  # characters shown
_FEW = 12  # columns shown side by side; more are a table


def row(view: View) -> None:
    """The open row: its input, its prediction or error, its worker, a note; and buttons to the previous and next row."""
    assert view.row is not None
    count = view.table.count(view.filter)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", disabled=view.row < 1, on_click=_open, args=(view.row - 1,))
        st.button("Next", icon=":material/chevron_right:", disabled=view.row >= count - 1, on_click=_open, args=(view.row + 1,))
        st.space("stretch")
        st.button("Close", key="close_row", type="tertiary", icon=":material/close:", on_click=change, kwargs={"row": ""})
    st.caption(f"Row {view.row + 1:,} of {count:,}")
    try:
        values = view.table.row(view.row, view.filter, view.order)
    except NotFound as error:
        _errors.show(error)
        return
    _layout.labelled("File", _with_spaces(values["File"], lines=False) or "This row does not name a file.")
    if (number := view.table.own.get(ROW_NUMBER)) and values[number] is not None:
        _layout.labelled("Row of the file", f"{values[number]:,}")
    if values["Prediction"] is not None:
        text = _indented(values["Prediction"])
        if text:
            _layout.labelled("Prediction", _with_spaces(text[:_PREDICTION]))
        else:
            st.caption("Prediction: empty text")
        if len(text) > _PREDICTION:
            st.caption(f"The first {_PREDICTION:,} of {len(text):,} characters.")
    own = {name: values[actual] for name, actual in view.table.own.items()}
    trace = chosen_workspace().runs.trace(view.run.id, RowKey.of(own), own["Worker"] or "")
    if own["Error"]:
        _error(own["Error"], trace)
    _further({name: printed(values[name]) for name in view.table.further_columns if values[name] is not None})
    show_input(trace)
    _layout.facts(
        {
            "Status": own["Status"], "Matched by": own["Matched by"] or "no row",
            "Mini-batch": f"{own['Mini-batch']:,}", "Worker": own["Worker"] or "unknown",
            "Attempts": str(own["Attempts"]), "run() time": formats.short_duration(own["Seconds"] or 0.0),
        }
    )  # fmt: skip
    _annotation(view, own)
    with st.expander(f"Log lines: {len(trace.log)}", icon=":material/subject:", key="row_log"):
        if trace.log:
            st.code(displayable("\n".join(truncate(line, 1000) for line in trace.log)), language=None, wrap_lines=True)
        else:
            st.caption("No log lines of this worker name the file or fall into its run() call.")
    if " of " not in (own["Worker"] or ""):  # an earlier run scored it
        _run_replay.show(view.run, own["Mini-batch"], "row")


def _with_spaces(text: str, *, lines: bool = True) -> str:
    """`visible`, with the spaces at both ends visible too."""
    text = visible(text, lines=lines)
    begin, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return text.replace(" ", "␣") if begin > end else "␣" * begin + text[begin:end] + "␣" * (len(text) - end)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs. Raises ValueError for a repeated key: Python would take its last value, and the table has the first."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("repeated key")
    return dict(pairs)


def _indented(content: str) -> str:
    """A JSON object or list over several lines; any other text unchanged."""
    if content[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(content, object_pairs_hook=_unique_keys), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return content
    return content


def _further(values: dict[str, str]) -> None:
    """The flattened and the joined columns of the row."""
    if len(values) > _FEW:
        rows = [(name, truncate(_with_spaces(value, lines=False), 2000)) for name, value in values.items()]
        _tables.show({"Column": str, "Value": str}, rows, "The columns of this row", most=8)
    elif values:
        _layout.facts({name: _with_spaces(value) for name, value in values.items()})


def _open(position: int) -> None:
    change(row=str(position + 1), page=str(position // page_rows() + 1))


def _error(error: str, trace: RowTrace) -> None:
    st.error(escape(error), icon=":material/error:")
    for attempt in reversed(trace.tries):
        if "\n" in attempt.error.strip():
            with st.expander(f"Traceback of attempt {attempt.attempt}", key=f"traceback_{attempt.attempt}"):
                st.code(displayable(attempt.error), language=None)


def show_input(trace: RowTrace) -> None:
    """What was scored, and whether it has changed since."""
    st.caption("Input")
    if trace.changed:
        st.warning(trace.changed, icon=":material/warning:")
    if trace.input:
        _file_preview.show_file(trace.input)


def _annotation(view: View, own: dict[str, Any]) -> None:
    """A note and the correct label, kept with the run and exported with its rows."""
    annotations, key = chosen_workspace().annotations, RowKey.of(own)
    annotation = annotations.annotations(view.run.id).get(key, Annotation())
    name = f"{view.run.id}_{key.mini_batch}_{key.place}_{key.file}"
    with st.form(f"annotation_{name}", border=False):
        label = st.text_input("Corrected label", annotation.label, key=f"label_{name}", placeholder="the correct label")
        note = st.text_area("Note", annotation.note, key=f"note_{name}", height=68)
        if st.form_submit_button("Save", icon=":material/save:"):
            try:
                annotations.annotate(view.run.id, key, Annotation(note.strip(), label.strip()))
                st.toast("Saved. Exports of this run include it.", icon=":material/check_circle:")
            except SettingsError as error:
                _errors.show(error)

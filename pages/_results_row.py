"""Results: one row, beside the file that went in."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from pages import _file_preview, _shared
from pages._results_view import View, change, high
from pages._shared import clipped, duration_in_words, facts, labelled, plain, shown, visible
from services.domain import RowKey, RowTrace
from services.errors import NotFound, SettingsError
from services.predictions.annotations import Annotation

_PREDICTION = 20_000  # characters shown
_FEW = 12  # columns shown side by side; more are a table


def row(view: View) -> None:
    """The open row: its input, what was predicted or why nothing was, who scored it, a note; and the way to its neighbours."""
    assert view.row is not None
    found = view.table.count(view.filter)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", disabled=view.row < 1, on_click=_to, args=(view.row - 1,))
        st.button("Next", icon=":material/chevron_right:", disabled=view.row >= found - 1, on_click=_to, args=(view.row + 1,))
        st.space("stretch")
        st.button("Close", key="close_row", type="tertiary", icon=":material/close:", on_click=change, kwargs={"row": ""})
    st.caption(f"Row {view.row + 1:,} of {found:,}")
    try:
        values = view.table.row(view.row, view.filter, view.order)
    except NotFound as error:
        _shared.show_error(error)
        return
    labelled("File", _seen(values["File"], lines=False) or "The row names no file.")
    if values["Prediction"] is not None:
        whole = _indented(values["Prediction"])
        if whole:
            labelled("Prediction", _seen(whole[:_PREDICTION]))
        else:
            st.caption("Prediction: an empty text")
        if len(whole) > _PREDICTION:
            st.caption(f"The first {_PREDICTION:,} of {len(whole):,} characters.")
    trace = _shared.workspace().runs.trace(view.run.id, RowKey.of(values), values["Worker"] or "")
    if values["Error"]:
        _error(values["Error"], trace)
    _further({name: str(values[name]) for name in view.table.further_columns if values[name] is not None})
    _input(trace)
    facts(
        {
            "Status": values["Status"], "Mini-batch": f"{values['Mini-batch']:,}", "Worker": values["Worker"] or "unknown",
            "Attempts": str(values["Attempts"]), "run() took": duration_in_words(values["Seconds"] or 0.0),
        }
    )  # fmt: skip
    _remark(view, values)
    with st.expander(f"Log lines: {len(trace.log)}", icon=":material/subject:", key="row_log"):
        if trace.log:
            st.code(shown("\n".join(clipped(line, 1000) for line in trace.log)), language=None, wrap_lines=True)
        else:
            st.caption("The row's worker logged nothing that names the file, and nothing meanwhile.")


def _seen(text: str, *, lines: bool = True) -> str:
    """`visible`, and the spaces at both ends as well."""
    text = visible(text, lines=lines)
    begin, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return text.replace(" ", "␣") if begin > end else "␣" * begin + text[begin:end] + "␣" * (len(text) - end)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these; raises ValueError where a key is there twice: Python would show its last value, and the table has its first."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _indented(content: str) -> str:
    """A prediction that is a JSON object or list, over several lines; any other as it is."""
    if content[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(content, object_pairs_hook=_each_once), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return content
    return content


def _further(values: dict[str, str]) -> None:
    """What the prediction was unfolded into, and what stands beside it."""
    if len(values) > _FEW:
        table = _shared.arrow_table(
            {"Column": str, "Value": str}, [(name, clipped(_seen(value, lines=False), 2000)) for name, value in values.items()]
        )
        st.dataframe(table, lazy=False, hide_index=True, height=high(len(values), 8), alt="The columns of this row")
    elif values:
        facts({name: _seen(value) for name, value in values.items()})


def _to(place: int) -> None:
    change(row=str(place + 1), page=str(place // 100 + 1))


def _error(error: str, trace: RowTrace) -> None:
    st.error(plain(error), icon=":material/error:")
    for one in reversed(trace.tries):
        if "\n" in one.error.strip():
            with st.expander(f"Traceback of attempt {one.attempt}", key=f"traceback_{one.attempt}"):
                st.code(shown(one.error), language=None)


def _input(trace: RowTrace) -> None:
    st.caption("Input")
    if trace.changed:
        st.warning(trace.changed, icon=":material/warning:")
    if trace.input:
        _file_preview.show_file(trace.input)


def _remark(view: View, values: dict[str, Any]) -> None:
    """A note and the label that would have been right, kept where the run is and exported with its rows."""
    annotations, key = _shared.workspace().annotations, RowKey.of(values)
    kept = annotations.annotations(view.run.id).get(key, Annotation())
    name = f"{view.run.id}_{key.mini_batch}_{key.place}_{key.file}"
    with st.form(f"remark_{name}", border=False):
        label = st.text_input("Corrected label", kept.label, key=f"label_{name}", placeholder="what would have been right")
        note = st.text_area("Note", kept.note, key=f"note_{name}", height=68)
        if st.form_submit_button("Keep", icon=":material/save:"):
            try:
                annotations.annotation(view.run.id, key, Annotation(note.strip(), label.strip()))
                st.toast("Kept. It is exported with the rows.", icon=":material/check_circle:")
            except SettingsError as error:
                _shared.show_error(error)

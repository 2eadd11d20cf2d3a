"""Results: one row, beside the file that went in."""

from __future__ import annotations

import streamlit as st

from pages import _file_preview, _shared
from pages._results_view import View, change
from pages._shared import duration_in_words, facts, labelled, plain, shown
from services import row_detail
from services.domain import counted
from services.errors import NotFound, SettingsError
from services.prediction_remarks import Remark, RowKey

_PREDICTION = 20_000  # characters shown


def row(view: View) -> None:
    """The open row: its input, what was predicted or why nothing was, who scored it, a note; and the way to its neighbours."""
    assert view.row is not None
    found = view.table.count(view.filter)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", disabled=view.row < 1, on_click=_to, args=(view.row - 1,), shortcut="Alt+Left")
        st.button(
            "Next", icon=":material/chevron_right:", disabled=view.row >= found - 1, on_click=_to, args=(view.row + 1,), shortcut="Alt+Right"
        )
        st.caption(f"Row {view.row + 1:,} of {found:,}", width="content")
        st.space("stretch")
        st.button("Close", key="close_row", type="tertiary", icon=":material/close:", on_click=change, kwargs={"row": ""})
    try:
        values = view.table.row(view.row, view.filter, view.order)
    except NotFound as error:
        _shared.show_error(error)
        return
    labelled("File", values["File"] or "The row names no file.")
    if values["Prediction"] is not None:
        whole = row_detail.indented(values["Prediction"])
        labelled("Prediction", whole[:_PREDICTION] or " ")
        if len(whole) > _PREDICTION:
            st.caption(f"The first {_PREDICTION:,} of {len(whole):,} characters.")
    if values["Error"]:
        _error(view, values)
    further = {name: str(values[name]) for name in view.table.further_columns if values[name] is not None}
    if further:
        facts(further)
    _input(view, values)
    facts(
        {
            "Status": values["Status"], "Mini-batch": f"{values['Mini-batch']:,}", "Worker": values["Worker"] or "unknown",
            "Attempts": str(values["Attempts"]), "run() took": duration_in_words(values["Seconds"] or 0.0),
        }
    )  # fmt: skip
    _remark(view, values)
    with st.expander("Log lines", icon=":material/subject:", key="row_log", on_change="rerun") as opened:
        if opened.open:
            _log(view, values)


def _to(place: int) -> None:
    change(row=str(place + 1), page=str(place // 100 + 1))


def _error(view: View, values: dict[str, str]) -> None:
    st.error(plain(values["Error"]), icon=":material/error:")
    failure = row_detail.failure(_shared.workspace(), view.run, values)
    if failure and "\n" in failure.error:
        with st.expander(f"Traceback of attempt {failure.attempt}"):
            st.code(shown(failure.error), language=None)


def _input(view: View, values: dict[str, str]) -> None:
    st.caption("Input")
    path = row_detail.input_file(_shared.workspace(), view.run, values)
    if path is None:
        st.caption("The file that went in is not there any more.")
    else:
        _file_preview.show_file(path)


def _remark(view: View, values: dict[str, str]) -> None:
    """A note and the label that would have been right, kept where the run is and exported with its rows."""
    remarks, key = _shared.remarks(), RowKey.of(values)
    kept = remarks.remarks(view.run.id).get(key, Remark())
    name = f"{view.run.id}_{key.mini_batch}_{key.place}_{key.file}"
    with st.form(f"remark_{name}", border=False):
        label = st.text_input("Corrected label", kept.label, key=f"label_{name}", placeholder="what would have been right")
        note = st.text_area("Note", kept.note, key=f"note_{name}", height=68)
        if st.form_submit_button("Keep", icon=":material/save:"):
            try:
                remarks.remark(view.run.id, key, Remark(note.strip(), label.strip()))
                st.toast("Kept. It is exported with the rows.", icon=":material/check_circle:")
            except SettingsError as error:
                _shared.show_error(error)


def _log(view: View, values: dict[str, str]) -> None:
    found = row_detail.log_lines(_shared.workspace(), view.run, values)
    for log in found:
        st.caption(plain(f"{log.name}: {counted(len(log.lines), 'line')} {'that name the file' if log.naming_it else 'at its end'}"))
        st.code(shown("\n".join(line[:1000] for line in log.lines)), language=None, wrap_lines=True)
    if not found:
        st.caption("The row's worker logged nothing.")

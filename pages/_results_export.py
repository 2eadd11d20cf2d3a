"""Results: downloads, as files and as code; and saved views."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from pages import _errors
from pages._results_view import View, address, forget, option_labels, view_query
from pages._text import displayable, escape, sentence
from services.errors import StudioError
from services.formats import counted
from services.predictions.annotations import SavedView
from services.workspaces import chosen_workspace

_EXCEL_ROWS = 1_048_575
_AT_ONCE_ROWS = 50_000
"""An Excel file of so many rows is made in a second, while the browser waits for it."""


def downloads(view: View) -> None:
    """Downloads of the filtered rows in their order, each streamed by a route; and the same as code."""
    with st.popover("Download", icon=":material/download:", type="primary", key="take", on_change="rerun") as opened:
        if not opened.open:
            return
        count = view.table.count(view.filter)
        st.markdown(f"**{counted(count, 'row')}**, in the order shown")
        all_columns = st.toggle("All columns", key="all_columns", help="Otherwise file, prediction and the columns flattened from it.")
        safe = st.toggle("Safe for spreadsheets", key="safe", help="Puts a ' before CSV values that a spreadsheet would run as a formula.")
        more = {"columns": "all"} if all_columns else {}
        _link("CSV", view, "csv", **more, **({"safe": "1"} if safe else {}))
        _link("Parquet", view, "parquet", **more)
        if count > _EXCEL_ROWS:
            st.caption(f"An Excel sheet holds at most {_EXCEL_ROWS:,} rows. Filter the rows first.")
        else:
            _excel(view, count, more)
        _link("Provenance", view, "json", help="Run, model, dataset, script, versions, filter, counts and hashes of these rows.", **more)
        help_text = "One HTML page to share or print: pictures, causes of failures, first rows, settings, provenance."
        url = address("downloads/report.html", view.query)
        st.link_button("Report", url, icon=":material/summarize:", width="stretch", help=help_text)
        _snippets(view)


def _excel(view: View, count: int, more: dict[str, str]) -> None:
    """A large file is made first, with its progress; then it is at hand."""
    from services.predictions import exports

    columns = list(view.table.columns) if more else exports.shown_columns(view.table, view.filter)
    annotations = chosen_workspace().annotations.annotations(view.run.id)
    if count > _AT_ONCE_ROWS and not exports.excel_path(view.table, view.filter, view.order, columns, annotations).is_file():
        if not st.button("Make Excel file", key="make_excel", icon=":material/table:", width="stretch"):
            return
        text = f"Writing {counted(count, 'row')}…"
        bar = st.progress(0.0, text)

        def progress(share: float) -> None:
            bar.progress(share, text)

        try:
            exports.excel_file(view.table, view.filter, view.order, columns, annotations, progress)
        except StudioError as error:
            _errors.show(error)
            return
        finally:
            bar.empty()
    _link("Excel", view, "xlsx", **more)


def _link(label: str, view: View, ending: str, help: str | None = None, **more: str) -> None:  # noqa: A002 - as Streamlit calls it
    url = address(f"downloads/predictions.{ending}", view.query, **more)
    st.link_button(label, url, icon=":material/download:", width="stretch", help=help)


def _snippets(view: View) -> None:
    from services.predictions import snippets

    try:
        for name, language, code in (
            ("SQL (DuckDB)", "sql", snippets.sql(view.table, view.filter, view.order)),
            ("pandas", "python", snippets.pandas(view.table, view.filter, view.order)),
        ):
            with st.expander(f"As {name}", icon=":material/content_copy:", key=f"as_{language}"):
                st.code(displayable(code), language=language, wrap_lines=True)
    except StudioError as error:
        _errors.show(error)


def views(view: View) -> None:
    """Save the current view under a name; open a saved one on this run."""
    annotations = chosen_workspace().annotations
    with st.popover("Views", icon=":material/bookmark:", key="views", on_change="rerun") as opened:
        if not opened.open:
            return
        states = {saved.name: saved.state for saved in annotations.views()}
        labels = option_labels(states, escape=escape)
        for number, (name, state) in enumerate(states.items()):
            with st.container(horizontal=True):
                st.button(labels[name], key=f"view_{number}", width="stretch", on_click=_open, args=(state,))
                st.button("", key=f"remove_view_{number}", icon=":material/delete:", help="Remove", on_click=_remove, args=(name,))
        name = st.text_input("Save this view as", key="view_name", placeholder="unsure cats")
        st.button("Save", key="keep_view", icon=":material/bookmark_add:", disabled=not name, on_click=_keep)


def _keep() -> None:
    try:
        chosen_workspace().annotations.keep_view(SavedView(st.session_state.view_name, urlencode(view_query())))
        st.session_state.view_name = ""
    except StudioError as error:
        _errors.log_unavailable(error)
        st.toast(escape(f"{sentence(error.message)}. {error.hint}"), icon=":material/error:")


def _open(state: str) -> None:
    forget()
    for name, value in parse_qsl(state):
        st.query_params[name] = value


def _remove(name: str) -> None:
    try:
        chosen_workspace().annotations.remove_view(name)
    except StudioError as error:
        _errors.log_unavailable(error)
        st.toast(escape(sentence(error.message)), icon=":material/error:")

"""Results: what can be taken away, as files and as code; and views kept under a name."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from pages import _shared
from pages._results_view import View, address, forget, option_labels, view_query
from services.errors import StudioError
from services.formats import counted
from services.predictions.annotations import SavedView

_EXCEL_ROWS = 1_048_575


def take(view: View) -> None:
    """Downloads of exactly what is filtered, in its order, each streamed by a route; and the same as code."""
    with st.popover("Download", icon=":material/download:", type="primary", key="take", on_change="rerun") as opened:
        if not opened.open:
            return
        found = view.table.count(view.filter)
        st.markdown(f"**{counted(found, 'row')}**, in the order shown")
        everything = st.toggle("All columns", key="all_columns", help="Else file, prediction, and what predictions were unfolded into.")
        safe = st.toggle("Safe for spreadsheets", key="safe", help="A ' before texts in CSV that a spreadsheet would take for a formula.")
        more = {"columns": "all"} if everything else {}
        _link("CSV", view, "csv", **more, **({"safe": "1"} if safe else {}))
        _link("Parquet", view, "parquet", **more)
        if found > _EXCEL_ROWS:
            st.caption(f"An Excel sheet holds {_EXCEL_ROWS:,} rows: filter for it.")
        else:
            _link("Excel", view, "xlsx", **more)
        _link(
            "Provenance",
            view,
            "json",
            **more,
            help="What these rows are of: run, model, dataset, script, versions, filter, counts, hashes.",
        )
        _snippets(view)


def _link(label: str, view: View, ending: str, help: str | None = None, **more: str) -> None:  # noqa: A002 - as Streamlit calls it
    st.link_button(
        label, address(f"downloads/predictions.{ending}", view.query, **more), icon=":material/download:", width="stretch", help=help
    )


def _snippets(view: View) -> None:
    from services.predictions import snippets

    try:
        for name, language, code in (
            ("SQL (DuckDB)", "sql", snippets.sql(view.table, view.filter, view.order)),
            ("pandas", "python", snippets.pandas(view.table, view.filter, view.order)),
        ):
            with st.expander(f"As {name}", icon=":material/content_copy:", key=f"as_{language}"):
                st.code(_shared.shown(code), language=language, wrap_lines=True)
    except StudioError as error:
        _shared.show_error(error)


def views(view: View) -> None:
    """Keep the present view under a name; open one that was kept, on this run."""
    annotations = _shared.workspace().annotations
    with st.popover("Views", icon=":material/bookmark:", key="views", on_change="rerun") as opened:
        if not opened.open:
            return
        kept = {one.name: one.state for one in annotations.views()}
        labels = option_labels(kept, said=_shared.plain)
        for number, (name, state) in enumerate(kept.items()):
            with st.container(horizontal=True):
                st.button(labels[name], key=f"view_{number}", width="stretch", on_click=_open, args=(state,))
                st.button("", key=f"remove_view_{number}", icon=":material/delete:", help="Remove", on_click=_remove, args=(name,))
        name = st.text_input("Keep this view as", key="view_name", placeholder="unsure cats")
        st.button("Keep", key="keep_view", icon=":material/bookmark_add:", disabled=not name, on_click=_keep)


def _keep() -> None:
    try:
        _shared.workspace().annotations.keep_view(SavedView(st.session_state.view_name, urlencode(view_query())))
        st.session_state.view_name = ""
    except StudioError as error:
        st.toast(_shared.plain(f"{error.message}. {error.hint}"), icon=":material/error:")


def _open(state: str) -> None:
    forget()
    for name, value in parse_qsl(state):
        st.query_params[name] = value


def _remove(name: str) -> None:
    try:
        _shared.workspace().annotations.remove_view(name)
    except StudioError as error:
        st.toast(_shared.plain(error.message), icon=":material/error:")

"""Results: rows grouped by a column, and SQL queries."""

from __future__ import annotations

import streamlit as st

from pages import _errors, _tables
from pages._results_table import for_cells
from pages._results_view import COUNT_COLUMNS, View, add, change, choose, follow
from pages._text import escape
from services.errors import SettingsError
from services.formats import counted
from services.predictions.columns import Kind
from services.predictions.filters import Condition, Operator

_MOST_GROUPS = 1000
_EXAMPLE = "SELECT Prediction, count(*) AS Rows\nFROM predictions\nGROUP BY 1\nORDER BY 2 DESC"


def groups(view: View) -> None:
    """The rows of each value, with mean, minimum and maximum of a column of numbers. A click on a group filters by it."""
    names = list(view.table.columns)
    numbers = [name for name in names if view.table.columns[name] in (Kind.NUMBER, Kind.WHOLE_NUMBER)]
    left, right = st.columns(2)
    with left:
        by = choose("Group by", "by", names, "Folder" if view.table.kind is not Kind.CATEGORY else "Prediction")
    with right:
        column = choose("Statistics of", "x", numbers, "Number")
    rows = view.table.grouped(by, column, view.filter, _MOST_GROUPS)
    if not view.table.holds(column):
        rows = rows.select([0, 1])
    key = f"groups_{by}_{column}"

    def open_group() -> None:
        if chosen := st.session_state[key]["selection"]["rows"]:
            value = rows.column(0)[chosen[0]].as_py()
            condition = Condition(by, Operator.EMPTY) if value is None else Condition(by, Operator.ONE_OF, (str(value),))
            add(view.filter, condition, look="")

    st.dataframe(
        for_cells(rows), key=key, on_select=open_group, selection_mode="single-row", hide_index=True,
        height=_tables.height(rows.num_rows, 15), column_config=COUNT_COLUMNS, alt="Rows by group",
    )  # fmt: skip
    count = f"The {_MOST_GROUPS:,} largest groups" if rows.num_rows == _MOST_GROUPS else counted(rows.num_rows, "group")
    st.caption(f"{count}. Select a group to show its rows.")


def sql(view: View) -> None:
    """One SELECT over the whole table, read only, within ten seconds and 256 MB."""
    follow("sql_text", st.query_params.get("sql", "") or _EXAMPLE)
    with st.form("sql", border=False):
        query = st.text_area("One SELECT over predictions", key="sql_text", height=140)
        submitted = st.form_submit_button("Run", icon=":material/play_arrow:", on_click=lambda: change(sql=st.session_state.sql_text))
    st.caption(escape("Columns: " + ", ".join(view.table.columns)) + ". The query reads the whole table; filters do not apply.")
    if not (submitted or "sql" in st.query_params):
        return
    try:
        with st.spinner("Running the query…", show_time=True):
            answer = view.table.ask(query or "")
    except SettingsError as error:
        _errors.show(error)
        return
    st.dataframe(for_cells(answer.rows), lazy=False, hide_index=True, height=_tables.height(answer.rows.num_rows, 15), alt="Query result")
    st.caption(f"{'The first ' if answer.cut_off else ''}{counted(answer.rows.num_rows, 'row')}.")

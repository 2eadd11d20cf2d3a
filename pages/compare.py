"""Compare: two runs side by side. Configuration differences, changed predictions, drift and class mix."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import streamlit as st

from pages import _compare_labels, _errors, _layout, _results_view, _run_picker, _tables
from pages._switching import switch_page
from pages._text import displayable, escape, local_time, truncate
from services import formats
from services.domain import Run
from services.errors import NotFound
from services.predictions.comparison import (
    Change,
    Comparison,
    change_is,
    changed,
    comparable_columns,
    compare,
    compared_column,
    is_before,
    likely_pair,
    settings_that_differ,
)
from services.predictions.filters import Filter
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from services.predictions.drift import Drift
    from services.predictions.reader import Predictions

_MOST_ROWS = 200
_MOST_CLASSES = 20  # in the chart

workspace = chosen_workspace()


def label(run: Run) -> str:
    return displayable(f"{truncate(' '.join(run.title.split()), 80)} · {local_time(run.submitted_at)} · {run.id[-6:]}")


def comparable_runs() -> dict[str, Run]:
    """The runs that keep their rows, the newest first: the newest, or those that were searched for; and those in the URL."""
    with st.container(horizontal=True, vertical_alignment="center"):
        found = {run.id: run for run in _run_picker.search(_run_picker.newest(), "find_run")}
    in_url = [st.query_params.get(name, "") for name in ("run", "with")] + st.query_params.get("more", "").split(",")
    for run_id in {*in_url} - {*found, ""}:
        with suppress(NotFound):
            found[run_id] = workspace.runs.get(run_id)
    in_order = sorted(found.values(), key=lambda run: (run.submitted_at, run.id), reverse=True)
    return {run.id: run for run in in_order if run.request.settings.output_action == "append_row"}


def chosen_pair(runs: dict[str, Run]) -> tuple[Run, Run]:
    """(older, newer) of the runs in the URL, in whichever order they stand there; what is missing is chosen."""
    newer, older = (runs.get(st.query_params.get(name, "")) for name in ("run", "with"))
    if newer is None or older is None or newer is older:
        return likely_pair(list(runs.values()), newer or older)
    return (older, newer) if is_before(older, newer) else (newer, older)


def choose(label_text: str, name: str, offered: list[Run], chosen: Run) -> None:
    """A run, in the URL as `name`."""
    st.query_params[name] = chosen.id
    key = f"compare_{name}"
    _results_view.follow(key, chosen.id)
    labels = {run.id: label(run) for run in offered}

    def choose_it() -> None:
        st.query_params[name] = run_id = st.session_state[key]
        if name == "run" and not is_before(older, runs[run_id]):  # the older one follows
            st.query_params["with"] = likely_pair([run for run in runs.values() if not is_before(runs[run_id], run)], runs[run_id])[0].id

    st.selectbox(label_text, list(labels), key=key, format_func=lambda run_id: labels.get(run_id, str(run_id)), on_change=choose_it)


def choose_column(older: Predictions, newer: Predictions) -> str:
    """The column to compare, where predictions hold several; in the URL as `column`."""
    names = comparable_columns(older, newer)
    if len(names) == 1 and (older.further_columns or newer.further_columns):
        st.info("The predictions of these runs have different columns, so they are compared as whole texts.", icon=":material/info:")
    return _results_view.choose("Compared column", "column", names, compared_column(older, newer)) if len(names) > 1 else ""


def to_rows(label_text: str, chosen: Filter, newer: Run, older: str) -> None:
    """A button to the rows of the newer run, joined with the older one's predictions."""
    if st.button(escape(label_text), key=f"rows_{label_text}", icon=":material/table_rows:"):
        open_rows(chosen, newer, older)


def open_rows(chosen: Filter, newer: Run, older: str) -> None:
    """`older` is the older run in the URL of Results: its id, and the compared column after a colon."""
    switch_page("results.py", query_params={"run": newer.id, "beside": f"run:{older}", "filter": chosen.to_text()})


def settings(older: Run, newer: Run) -> None:
    older_inputs, newer_inputs = (workspace.runs.provenance(run.id).inputs for run in (older, newer))
    differ = settings_that_differ(older, newer, older_inputs, newer_inputs)
    unknown = "" if older_inputs and newer_inputs else "Whether they had the same contents isn't known."
    st.subheader("Configuration differences", anchor=False)
    if not differ:
        same = "None: the runs have the same model, dataset, script and settings"
        st.caption(f"{same}. {unknown}" if unknown else f"{same}, with the same contents.")
        return
    columns = {"Setting": str, "Older run": str, "Newer run": str}
    _tables.show(columns, differ, "Configuration differences", height="content")
    if unknown:
        st.caption(unknown)


def changes(comparison: Comparison, older: str, newer: Run) -> None:
    st.subheader("Changed predictions", anchor=False)
    counts = comparison.changes
    both = counts[Change.SAME] + counts[Change.CHANGED]
    share = formats.percent(counts[Change.CHANGED] / both) if both else "none"
    _layout.facts({"In both": f"{both:,}", "Changed": f"{counts[Change.CHANGED]:,}", "Share": share})
    with st.container(horizontal=True):
        for change in (Change.CHANGED, Change.GAINED, Change.LOST, Change.NEW):
            if counts[change]:
                to_rows(f"{change.capitalize()}: {counts[change]:,}", change_is(change), newer, older)
    if comparison.gone:
        with st.expander(f"Only in the older run: {comparison.gone:,}", icon=":material/link_off:"):
            rows = comparison.gone_rows(0, _MOST_ROWS)
            _tables.show({"File": str, "Before": str}, rows, "Rows only in the older run")
            if comparison.gone > len(rows):
                st.caption(f"The first {len(rows):,} of them.")
    transitions = [] if comparison.of_numbers else comparison.transitions(_MOST_ROWS)
    if transitions:
        table = _tables.arrow({"From": str, "To": str, "Rows": int}, transitions)
        picked = st.dataframe(
            table, key="transitions", on_select="rerun", selection_mode="single-row", hide_index=True,
            column_config=_tables.number_columns(table, ["Rows"]), height=_tables.height(len(transitions), 10), alt="Changed predictions",
        )  # fmt: skip
        st.caption("Select a line to show its rows." + (f" The {_MOST_ROWS} most frequent." if len(transitions) == _MOST_ROWS else ""))
        if selected := picked["selection"]["rows"]:
            before, now, _ = transitions[selected[0]]
            open_rows(changed(before, now, comparison.of), newer, older)


def mix(comparison: Comparison) -> None:
    st.subheader("Drift", anchor=False)
    drift = comparison.drift()
    if drift is None:
        st.caption("No drift test applies: the predictions are free text, or numbers in one run and classes in the other.")
    else:
        figures(drift)
    if comparison.of_numbers:
        return
    counts = comparison.class_mix(_MOST_CLASSES)
    before, now = sum(old for _, old, _ in counts) or 1, sum(new for *_, new in counts) or 1
    if counts and st.toggle("Chart of the class mix", value=True, key="mix"):
        import plotly.graph_objects as go

        from pages import _plots

        axis = _plots.names_axis([name for name, *_ in counts])
        older_shares, newer_shares = [(old, old / before) for _, old, _ in counts], [(new, new / now) for *_, new in counts]
        bars = [
            go.Bar(
                y=axis["tickvals"], x=[share for _, share in shares], orientation="h", name=name, hoverinfo="text",
                hovertext=[f"{count:,} ({formats.percent(share)})" for count, share in shares],
            )
            for shares, name in ((older_shares, "older run"), (newer_shares, "newer run"))
        ]  # fmt: skip
        axes = {"yaxis": axis | {"title": "Prediction"}, "xaxis": {"tickformat": ".0%", "title": "Share of the run"}}
        layout = {"height": 130 + 40 * len(counts), "barmode": "group"} | axes
        figure = go.Figure(bars, layout | {"legend": _plots.LEGEND})
        names, olds, news = ([row[place] for row in counts] for place in range(3))
        numbers = {"Prediction": names, "Rows of the older run": olds, "Rows of the newer run": news}
        _plots.draw(figure, "class_mix", "The share of each class in both runs", title="Class mix", numbers=numbers)
        if len(counts) == _MOST_CLASSES:
            st.caption(f"The {_MOST_CLASSES} most frequent predictions.")


def figures(drift: Drift) -> None:
    p_value = "below 1e-300" if drift.p_value == 0 else f"{drift.p_value:.3g}"
    psi = "none" if math.isnan(drift.psi) else f"{drift.psi:.4f} ({drift.describe})"
    _layout.facts({"PSI": psi, drift.test: f"{drift.statistic:,.4g}", "p value": p_value})
    for warning in drift.warnings:
        st.warning(warning, icon=":material/warning:")
    st.caption("PSI below 0.1 means stable, above 0.25 a shift. The test treats the two runs as independent samples.")


_layout.title("Compare", "Two runs side by side: configuration, figures by true labels, changed predictions and drift.")
runs = comparable_runs()
if len(runs) < 2:
    st.info("Comparing takes two runs.", icon=":material/info:")
    st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
    st.stop()
older, newer = chosen_pair(runs)
choose("Older run", "with", [run for run in runs.values() if is_before(run, newer)], older)
choose("Newer run", "run", list(runs.values())[:-1], newer)
with _errors.shown():
    settings(older, newer)
    before, now = workspace.runs.predictions(older.id), workspace.runs.predictions(newer.id)
    column = choose_column(before, now)
    more = [runs[id_] for id_ in st.query_params.get("more", "").split(",") if id_ in runs and id_ not in (older.id, newer.id)]
    _compare_labels.show(older, newer, before, now, column, more)
    with st.spinner("Comparing predictions…", show_time=True):
        comparison = compare(before, now, older.id, column)
    changes(comparison, f"{older.id}:{column}" if column else older.id, newer)
    mix(comparison)

"""Compare: two runs side by side. What was set differently, how the classes are mixed, which predictions changed, whether they drift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import streamlit as st

from pages import _results_view, _shared
from pages._shared import arrow_table, clipped, facts, local_time, plain, shown
from services.domain import Run
from services.predictions.filters import Filter

if TYPE_CHECKING:
    from services.predictions.comparison import Comparison
    from services.predictions.drift import Drift
    from services.predictions.reader import Predictions

_MOST_ROWS = 200
_MOST_CLASSES = 20  # in the chart

workspace = _shared.workspace()


def label(run: Run) -> str:
    return shown(f"{clipped(' '.join(run.title.split()), 80)} · {local_time(run.submitted_at)} · {run.id[-6:]}")


def choose(words: str, name: str, runs: dict[str, Run], default: str) -> Run:
    """A run, which is in the URL as `name`."""
    asked = st.query_params.get(name, "")
    value = asked if asked in runs else default
    key = f"compare_{name}"
    if st.session_state.get(key) != value:
        st.session_state[key] = value
    labels = {run_id: label(run) for run_id, run in runs.items()}

    def chosen() -> None:
        st.query_params[name] = st.session_state[key]

    return runs[st.selectbox(words, list(runs), key=key, format_func=lambda run_id: labels.get(run_id, str(run_id)), on_change=chosen)]


def choose_column(older: Predictions, newer: Predictions) -> str:
    """Which column is compared, where predictions hold several; it is in the URL as `column`."""
    from services.predictions.comparison import comparable_columns, compared_column

    names = comparable_columns(older, newer)
    if len(names) == 1 and (older.further_columns or newer.further_columns):
        words = "The two runs' predictions hold different values, or only one run's hold several: they are compared whole, as printed."
        st.info(words, icon=":material/info:")
    return _results_view.choose("Compared column", "column", names, compared_column(older, newer)) if len(names) > 1 else ""


def to_rows(words: str, chosen: Filter, newer: Run, older: str) -> None:
    """A button to the rows of the newer run, with the older one's predictions beside them."""
    if st.button(plain(words), key=f"rows_{words}", icon=":material/table_rows:"):
        open_rows(chosen, newer, older)


def open_rows(chosen: Filter, newer: Run, older: str) -> None:
    """`older` is what the URL of Results calls the older run: its id, and the compared column after a colon."""
    st.switch_page("results.py", query_params={"run": newer.id, "beside": f"run:{older}", "filter": chosen.to_text()})


def settings(older: Run, newer: Run) -> None:
    from services.predictions.comparison import settings_that_differ

    then, now = (workspace.runs.provenance(run.id).inputs for run in (older, newer))
    differ = settings_that_differ(older, newer, then, now)
    st.subheader("Set differently", anchor=False)
    if not differ:
        known = ", and so is what is in them" if then and now else ""
        st.caption(f"Nothing: model, dataset, script and all settings are the same{known}.")
        return
    columns = {"What": str, "In the older run": str, "In the newer run": str}
    st.dataframe(arrow_table(columns, differ), lazy=False, hide_index=True, height="content", alt="What was set differently")


def changes(found: Comparison, older: str, newer: Run) -> None:
    from services.predictions.comparison import Change, changed, fate

    st.subheader("Changed predictions", anchor=False)
    counts = found.changes
    both = counts[Change.SAME] + counts[Change.CHANGED]
    share = f"{counts[Change.CHANGED] / both:.2%}" if both else "none"
    facts({"In both": f"{both:,}", "Changed": f"{counts[Change.CHANGED]:,}", "Share": share})
    with st.container(horizontal=True):
        for change in (Change.CHANGED, Change.GAINED, Change.LOST, Change.NEW):
            if counts[change]:
                to_rows(f"{change.capitalize()}: {counts[change]:,}", fate(change), newer, older)
    if found.gone:
        with st.expander(f"Only in the older run: {found.gone:,}", icon=":material/link_off:"):
            rows = found.gone_rows(0, _MOST_ROWS)
            st.dataframe(arrow_table({"File": str, "Before": str}, rows), lazy=False, hide_index=True, alt="Rows of the older run only")
            if found.gone > len(rows):
                st.caption(f"The first {len(rows):,} of them.")
    transitions = [] if found.of_numbers else found.transitions(_MOST_ROWS)
    if transitions:
        table = arrow_table({"From": str, "To": str, "Rows": int}, transitions)
        picked = st.dataframe(
            table, key="transitions", on_select="rerun", selection_mode="single-row", hide_index=True, column_config=_results_view.COUNTED,
            height=min(len(transitions), 10) * 35 + 38, alt="From which prediction to which",
        )  # fmt: skip
        st.caption(
            "A click on a line's box shows its rows." + (f" The {_MOST_ROWS} most frequent." if len(transitions) == _MOST_ROWS else "")
        )
        if lines := picked["selection"]["rows"]:
            before, now, _ = transitions[lines[0]]
            open_rows(changed(before, now, found.of), newer, older)


def mix(found: Comparison) -> None:
    st.subheader("Drift", anchor=False)
    drift = found.drift()
    if drift is None:
        st.caption("Texts of all sorts, or numbers against classes: there is no test that fits.")
    else:
        figures(drift)
    if found.of_numbers:
        return
    counts = found.class_mix(_MOST_CLASSES)
    before, now = sum(old for _, old, _ in counts) or 1, sum(new for *_, new in counts) or 1
    if counts and st.toggle("Chart of the class mix", value=True, key="mix"):
        import plotly.graph_objects as go

        from pages import _plots

        places = list(range(len(counts)))
        older_shares, newer_shares = [(old, old / before) for _, old, _ in counts], [(new, new / now) for *_, new in counts]
        bars = [
            go.Bar(
                y=places, x=[share for _, share in shares], orientation="h", name=name, hoverinfo="text",
                hovertext=[f"{count:,} ({share:.1%})" for count, share in shares],
            )
            for shares, name in ((older_shares, "older run"), (newer_shares, "newer run"))
        ]  # fmt: skip
        ticks = {"tickvals": places, "ticktext": [_plots.named(name) for name, *_ in counts], "autorange": "reversed", "showgrid": False}
        layout = {"height": 110 + 40 * len(counts), "barmode": "group", "yaxis": ticks, "xaxis": {"tickformat": ".0%"}}
        legend = {"legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}}
        _plots.draw(go.Figure(bars, layout | legend), "class_mix", "The share of each class in both runs")
        if len(counts) == _MOST_CLASSES:
            st.caption(f"The {_MOST_CLASSES} most frequent predictions.")


def figures(drift: Drift) -> None:
    p_value = "below 1e-300" if drift.p_value == 0 else f"{drift.p_value:.3g}"
    psi = "none" if math.isnan(drift.psi) else f"{drift.psi:.4f} ({drift.describe})"
    facts({"PSI": psi, drift.test: f"{drift.statistic:,.4g}", "p value": p_value})
    for warning in drift.warnings:
        st.warning(warning, icon=":material/warning:")
    st.caption("PSI below 0.1 reads as stable, above 0.25 as shifted. The test takes the two runs for samples of their own.")


_shared.title("Compare", "Two runs side by side: what was set differently, and what came out differently.")
runs = {run.id: run for run in workspace.runs.latest() if run.request.settings.output_action == "append_row"}
if len(runs) < 2:
    st.info("It takes two runs to compare.", icon=":material/info:")
    st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
    st.stop()
left, right = st.columns(2)
with right:
    newer = choose("Newer run", "run", runs, next(iter(runs)))
others = {run_id: run for run_id, run in runs.items() if run_id != newer.id}
same = [run_id for run_id, run in others.items() if run.request.datasets == newer.request.datasets]
with left:
    older = choose("Older run", "with", others, (same or list(others))[0])
with _shared.errors_shown():
    settings(older, newer)
    before, now = workspace.runs.predictions(older.id), workspace.runs.predictions(newer.id)
    column = choose_column(before, now)
    with st.spinner("Comparing the predictions", show_time=True):
        from services.predictions.comparison import compare

        comparison = compare(before, now, older.id, column)
    changes(comparison, f"{older.id}:{column}" if column else older.id, newer)
    mix(comparison)

"""Results: what a run predicted, filtered, counted, charted, downloaded. All of it deep-linked."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _shared
from pages._shared import clipped, local_time, plain, shown
from services.domain import Run, RunStatus, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from services.predictions import Predictions

PAGE = 100  # rows
MOST_BARS = 25
MOST_TEXTS = 200_000  # predictions that are all sorts of texts, and are still counted for a chart
MOST_CHARACTERS = 24  # of a class's name in the chart

workspace = _shared.workspace()


def first_page() -> None:
    for key in ("text", "class"):  # else the page's new number takes them out of the URL: the server learns of them here only
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    st.session_state.page = 1


def clear_filters() -> None:
    st.session_state.text, st.session_state["class"] = "", []
    first_page()


def results(run_id: str, was_active: bool) -> None:
    with _shared.errors_shown():
        run = workspace.run(run_id)
        if was_active and run.status.ended:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            _shared.status_badge(run)
            if not run.status.ended:
                left = f"{run.items_left or 0:,} of {counted(run.items_total or 0, _shared.item_of(run))} to go"
                partial = f"Partial results, {left}. They are read again every few seconds."
                st.caption("Its results come when it has ended." if run.items_left is None else partial, width="content")
            st.space("stretch")
            if st.button("Open run", icon=":material/list_alt:", key="open_run"):
                st.switch_page("runs.py", query_params={"run": run.id})
            has_rows = run.request.settings.output_action == "append_row"
            if run.status is RunStatus.COMPLETED and has_rows:
                name = run.request.settings.append_row_file_name
                address = f"downloads/output?{urlencode({'run': run.id, 'name': name})}"
                st.link_button(plain(name), address, icon=":material/description:", help="What run() returned, a row a line.")
            download = st.container(width="content")
        if not has_rows:
            st.info("This run is summary_only: its script wrote its own output. The run's page lists it.", icon=":material/info:")
            return
        with st.skeleton(height=400):
            predictions = workspace.predictions(run.id)
            if total := predictions.count():
                table_and_chart(run, predictions, total, download)
            else:
                nothing_predicted(run)
            failed_items(predictions)


def nothing_predicted(run: Run) -> None:
    if run.status.ended:
        st.info("This run predicted nothing. Its page says why.", icon=":material/info:")
    else:
        st.info("Nothing is predicted yet. This page fills by itself.", icon=":material/hourglass_empty:")


def table_and_chart(run: Run, predictions: Predictions, total: int, download: DeltaGenerator) -> None:
    from services.predictions import Filter, Kind, Status

    classes = [name for name, _ in predictions.class_counts()] if predictions.kind is Kind.CATEGORY else []
    charted = predictions.kind is not Kind.TEXT or (total <= MOST_TEXTS and predictions.class_counts(limit=1)[0][1] > 1)
    left, right = st.columns([5, 3], gap="medium") if charted else (st.container(), None)
    with left.container(horizontal=True, vertical_alignment="bottom"):
        words = "in the file or the prediction"
        text = st.text_input(
            "Contains", key="text", type="search", live="300ms", placeholder=words, on_change=first_page, bind="query-params", width=260
        )
        chosen = (
            st.multiselect("Classes", classes, key="class", placeholder="all", on_change=first_page, bind="query-params", width=260)
            if classes
            else []
        )
    wanted = Filter(text=text or "", classes=tuple(chosen))
    filtered = wanted != Filter()
    found = predictions.count(wanted) if filtered else total
    query = [("run", run.id), *([("text", text)] if text else []), *(("class", name) for name in chosen)]
    address = f"downloads/predictions.csv?{urlencode(query)}"
    download.link_button("Download CSV", address, type="primary", icon=":material/download:", help="What is filtered, all pages of it.")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            every = counted(total, "prediction")
            st.markdown(f"**{found:,}** of {every}" if filtered else f"**{every}**", width="content")
            if filtered:
                st.button("Clear filters", type="tertiary", icon=":material/filter_alt_off:", on_click=clear_filters)
        if not found:
            st.info("No prediction matches these filters.", icon=":material/filter_alt:")
            return
        slot = st.container()
        page = st.pagination(-(-found // PAGE), key="page", bind="query-params") if found > PAGE else 1
        rows = predictions.page(wanted, (page - 1) * PAGE, PAGE).select(["File", "Prediction"])
        height = min(rows.num_rows, 15) * 35 + 38
        slot.dataframe(rows, key="predictions_table", lazy=False, hide_index=True, height=height, alt="Files and their predictions")
        if unmatched := predictions.count(Filter(statuses=(Status.UNMATCHED,))):
            st.caption(f"{counted(unmatched, 'row')} of the output can't be told to belong to one file; File is empty there.")
    if right:
        with right:
            chart(predictions, text or "", chosen)


def chart(predictions: Predictions, text: str, chosen: list[str]) -> None:
    """Files per class, the chosen ones stronger; a histogram of numbers. Of what contains the text."""
    from services.predictions import Filter, Kind

    if predictions.kind in (Kind.NUMBER, Kind.WHOLE_NUMBER):
        if bins := predictions.histogram(Filter(text=text)):
            st.markdown("**How the predictions spread**")
            draw(histogram(bins), f"How the predictions spread, from {bins[0][0]:,g} to {bins[-1][1]:,g}")
        return
    if counts := predictions.class_counts(Filter(text=text), MOST_BARS):
        st.markdown("**Predictions per class**")
        draw(bars(counts, chosen), f"Predictions per class, most of them {counts[0][0][:MOST_CHARACTERS]}")
        if len(counts) == MOST_BARS:
            st.caption(f"The {MOST_BARS} most frequent predictions.")


def histogram(bins: list[tuple[float, float, int]]) -> go.Figure:
    import plotly.graph_objects as go

    lower, upper, counts = zip(*bins, strict=True)
    middle = [(low + high) / 2 for low, high in zip(lower, upper, strict=True)]
    words = [f"{low:,g} to {high:,g}: {count:,}" for low, high, count in bins]
    bar = go.Bar(x=middle, y=counts, width=upper[0] - lower[0], hovertext=words, hoverinfo="text")
    axes = {"xaxis": {"title": "Prediction"}, "yaxis": {"title": "Predictions", "tickformat": ","}}
    return go.Figure(bar, {"height": 320, "bargap": 0} | axes)


def bars(counts: list[tuple[str, int]], chosen: list[str]) -> go.Figure:
    import plotly.graph_objects as go

    # Plotly reads names as HTML, and would make one bar of two names that are shown alike: it gets numbers and their names apart.
    names = [escape(name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}…", quote=False) for name, _ in counts]
    places = list(range(len(counts)))
    strength = [1.0 if not chosen or name in chosen else 0.3 for name, _ in counts]
    figures = [count for _, count in counts]
    bar = go.Bar(
        y=places, x=figures, orientation="h", marker={"opacity": strength}, text=[f"{n:,}" for n in figures], textposition="outside",
        cliponaxis=False, hoverinfo="skip",
    )  # fmt: skip
    ticks = {"tickvals": places, "ticktext": names, "autorange": "reversed", "showgrid": False}
    return go.Figure(
        bar, {"height": 60 + 30 * len(counts), "bargap": 0.3, "yaxis": ticks, "xaxis": {"rangemode": "tozero", "tickformat": ","}}
    )


def draw(figure: go.Figure, alt: str) -> None:
    figure.update_layout(margin={"l": 8, "r": 48, "t": 8, "b": 8}, dragmode=False)
    st.plotly_chart(figure, key="chart", config={"displayModeBar": False}, alt=alt)


def failed_items(predictions: Predictions) -> None:
    from services.predictions import EVERY_FAILURE

    if not (failed := predictions.count(EVERY_FAILURE)):
        return
    st.subheader(f"Failed: {failed:,}", anchor=False)
    slot = st.container()
    page = st.pagination(-(-failed // PAGE), key="failed_page", bind="query-params") if failed > PAGE else 1
    rows = predictions.failed((page - 1) * PAGE, PAGE).select(["File", "Error", "Mini-batch", "Worker", "Attempts"])
    slot.dataframe(
        rows, key="failed_table", lazy=False, hide_index=True, height=min(rows.num_rows, 10) * 35 + 38, alt="Files without a prediction"
    )


def label(run: Run) -> str:
    """No two alike: what a selectbox gives back is found by its label."""
    return shown(f"{clipped(' '.join(run.title.split()), 100)} · {local_time(run.submitted_at)} · {run.id[-6:]}")


def choose_run() -> None:
    st.query_params["run"] = st.session_state.chosen_run


_shared.title("Results", "What a run predicted for each file: filter it, count it, take it away.")
runs = {run.id: run for run in workspace.runs()}
if not runs:
    st.info("There are no runs yet, so there are no results.", icon=":material/info:")
    st.page_link("new_run.py", label="Start a run", icon=":material/arrow_forward:")
    st.stop()
asked = st.query_params.get("run", next(iter(runs)))
run = runs.get(asked) or workspace.run(asked)
st.session_state.chosen_run = run.id
if "run" not in st.query_params:  # the address of what is seen is to show the same tomorrow
    st.query_params["run"] = run.id
labels = {run.id: label(run)} | {run_id: label(other) for run_id, other in runs.items()}
st.selectbox("Run", list(labels), format_func=labels.__getitem__, key="chosen_run", on_change=choose_run, label_visibility="collapsed")
if st.session_state.setdefault("results_of", run.id) != run.id:  # another run's filters would hide what nobody asked to hide
    clear_filters()
    st.session_state.results_of = run.id
active = not run.status.ended
st.fragment(results, run_every=3.0 if active else None)(run.id, active)

"""Charts that filter on a click. Plotly reads names as HTML and would merge two bars whose names look alike, so it gets positions, and the
escaped names apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._text import visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CHARACTERS = 24  # of a name on an axis
LEGEND = {"orientation": "h", "traceorder": "normal", "y": 1.02, "yanchor": "bottom"}
_LABELLED = 14  # squares a side that have their count written in


def axis_label(name: Any) -> str:
    """A name from outside, for an axis."""
    text = visible(" ".join(str("(empty)" if name in (None, "") else name).split()))
    return escape(text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…", quote=False)


def names_axis(names: Sequence[Any]) -> dict[str, Any]:
    """The y axis of horizontal bars with these names, from the top; `tickvals` are their positions."""
    return {"tickvals": list(range(len(names))), "ticktext": list(map(axis_label, names)), "autorange": "reversed", "showgrid": False}


def bars(counts: Sequence[tuple[Any, int]], selected: Sequence[Any] = ()) -> go.Figure:
    """A horizontal bar for each (name, count); the `selected` ones stand out."""
    import plotly.graph_objects as go

    axis, figures = names_axis([name for name, _ in counts]), [count for _, count in counts]
    bar = go.Bar(
        y=axis["tickvals"], x=figures, orientation="h",
        marker={"opacity": [1.0 if not selected or name in selected else 0.3 for name, _ in counts]},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0.3}},  # or Plotly fails on the opacities above
        text=[f"{n:,}" for n in figures], textposition="outside", cliponaxis=False,
        hovertext=[f"{axis_label(name)}: {n:,}" for name, n in counts], hoverinfo="text",  # needed for clicks too
    )  # fmt: skip
    layout = {"height": 60 + 30 * len(counts), "bargap": 0.3, "yaxis": axis, "xaxis": {"rangemode": "tozero", "tickformat": ","}}
    return go.Figure(bar, layout)


def histogram(bins: Sequence[tuple[float, float, int]], title: str) -> go.Figure:
    """A bar for each (lower, upper, count)."""
    import plotly.graph_objects as go

    hover = [f"{low:,.6g} to {high:,.6g}: {count:,}" for low, high, count in bins]
    width = (bins[0][1] - bins[0][0]) or 1.0
    bar = go.Bar(x=[(low + high) / 2 for low, high, _ in bins], y=[n for *_, n in bins], width=width, hovertext=hover, hoverinfo="text")
    axes = {"xaxis": {"title": axis_label(title)}, "yaxis": {"title": "Rows", "tickformat": ","}}
    return go.Figure(bar, {"height": 360, "bargap": 0} | axes)


def stacked(names: Sequence[Any], parts: Sequence[tuple[Any, Sequence[int]]]) -> go.Figure:
    """A stacked horizontal bar for each name, of parts (name, its counts in the order of `names`)."""
    import plotly.graph_objects as go

    axis = names_axis(names)
    traces = [
        go.Bar(
            y=axis["tickvals"], x=list(figures), orientation="h", name=axis_label(part),
            hovertext=[f"{axis_label(part)}: {n:,}" for n in figures], hoverinfo="text",
        )
        for part, figures in parts
    ]  # fmt: skip
    layout = {"height": 110 + 26 * len(names), "barmode": "stack", "bargap": 0.25, "yaxis": axis, "xaxis": {"tickformat": ","}}
    return go.Figure(traces, layout | {"legend": LEGEND})


def line(points: Sequence[tuple[Any, float]], title: str) -> go.Figure:
    """Bars over time."""
    import plotly.graph_objects as go

    bar = go.Bar(x=[x for x, _ in points], y=[y for _, y in points])
    return go.Figure(bar, {"height": 360, "xaxis": {"title": "Scored at (UTC)"}, "yaxis": {"title": axis_label(title), "tickformat": ","}})


def squares(cells: Sequence[tuple[Any, Any, int]], x_title: str, y_title: str, *, marked: bool = False) -> go.Figure:
    """(x, y, count) as squares, darker with the count: numbers by value, names in order. Not a heatmap, for which Plotly reports no clicks.
    `marked` outlines the squares whose x and y are equal."""
    import plotly.graph_objects as go

    xs, ys = _axis([x for x, _, _ in cells]), _axis([y for _, y, _ in cells])
    across, down = (len({*axis[0]}) or 1 for axis in (xs, ys))
    size = max(6, min(44, 380 // max(across, 1), 460 // max(down, 1)))
    labelled = max(across, down) <= _LABELLED
    counts = [count for *_, count in cells]
    most = math.log1p(max(counts, default=0)) or 1.0
    opacities = [0.08 + 0.42 * math.log1p(count) / most for count in counts]
    ink = "#e6edf1" if st.context.theme.type == "dark" else "#08131a"
    frames = [2 if marked and x == y else 0 for x, y, _ in cells]
    dots = go.Scatter(
        x=xs[0], y=ys[0], mode="markers+text" if labelled else "markers", text=[f"{n:,}" for n in counts] if labelled else None,
        hovertext=[f"{axis_label(x)} · {axis_label(y)}: {n:,}" for x, y, n in cells], hoverinfo="text",
        marker={
            "symbol": "square", "size": size, "opacity": opacities, "line": {"width": frames, "color": ink},
        },
        textfont={"color": ink}, selected={"marker": {"opacity": 0.9}, "textfont": {"color": ink}},
        unselected={"marker": {"opacity": 0.2}, "textfont": {"color": ink}},
    )  # fmt: skip
    layout = {"height": max(280, min(600, 120 + down * (size + 4))), "xaxis": {"title": axis_label(x_title)} | xs[1]}
    return go.Figure(dots, layout | {"yaxis": {"title": axis_label(y_title)} | ys[1]})


def _axis(values: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
    """The positions of these values, and their axis."""
    if all(isinstance(value, int | float) for value in values):
        return [float(value) for value in values], {}
    names = list(dict.fromkeys(values))
    places = {name: float(place) for place, name in enumerate(names)}
    axis = {"tickvals": list(places.values()), "ticktext": list(map(axis_label, names)), "showgrid": False, "zeroline": False}
    return [places[value] for value in values], axis


def draw(figure: go.Figure, key: str, alt: str, clicked: Callable[[int, int], None] | None = None) -> None:
    """Show the figure. `clicked` is called with the numbers of the trace and of its point."""
    figure.update_layout(margin={"l": 8, "r": 48, "t": 8, "b": 8}, dragmode=False)
    options: dict[str, Any] = {"key": key, "config": {"displayModeBar": False}, "alt": alt}
    if clicked is None:
        st.plotly_chart(figure, **options)
        return

    def choose() -> None:
        if points := st.session_state[key]["selection"]["points"]:
            clicked(points[0].get("curve_number", 0), points[0].get("point_index", points[0].get("point_number", 0)))

    st.plotly_chart(figure, on_select=choose, selection_mode="points", **options)

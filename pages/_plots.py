"""Charts that filter on a click. Plotly reads names as HTML and would merge two bars whose names look alike, so it gets positions, and the
escaped names apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages import _chart_tools, _first_picture
from pages._text import escape as in_markdown
from pages._text import truncate, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from streamlit.delta_generator import DeltaGenerator

    from pages._chart_tools import Numbers

_CHARACTERS = 24  # of a name on an axis
_CHARACTERS_OF_A_TITLE = 80
LEGEND = {"orientation": "h", "traceorder": "normal", "y": 1.02, "yanchor": "bottom"}
_FEW_ROWS = 6
_LABELLED = 14  # squares a side that have their count written in


def axis_label(name: Any, characters: int = _CHARACTERS) -> str:
    """A name from outside, for an axis. A long one keeps its end too: long names often begin alike."""
    text = visible(" ".join(str("(empty)" if name in (None, "") else name).split()))
    return escape(text if len(text) <= characters else f"{text[: characters // 2 + 2]}…{text[3 - characters // 2 :]}", quote=False)


def _whole(name: Any) -> str:
    """A name from outside, where the mouse is."""
    return axis_label(name, _CHARACTERS_OF_A_TITLE)


def names_axis(names: Sequence[Any]) -> dict[str, Any]:
    """The y axis of horizontal bars with these names, from the top; `tickvals` are their positions."""
    return {"tickvals": list(range(len(names))), "ticktext": list(map(axis_label, names)), "autorange": "reversed", "showgrid": False}


def bars(counts: Sequence[tuple[Any, int]], selected: Sequence[Any] = (), title: str = "", of: str = "Rows") -> go.Figure:
    """A horizontal bar for each (name, count) of the column `title`; the `selected` ones stand out. `of` is what is counted."""
    import plotly.graph_objects as go

    axis, figures = names_axis([name for name, _ in counts]), [count for _, count in counts]
    bar = go.Bar(
        y=axis["tickvals"], x=figures, orientation="h",
        marker={"opacity": [1.0 if not selected or name in selected else 0.3 for name, _ in counts]},
        text=[f"{n:,}" for n in figures], textposition="outside", cliponaxis=False,
        hovertext=[f"{_whole(name)}: {n:,}" for name, n in counts], hoverinfo="text",  # needed for clicks too
    )  # fmt: skip
    layout = {
        "height": 70 + 26 * max(len(counts), 2), "bargap": 0.3, "yaxis": axis | {"title": axis_label(title) if title else ""},
        "xaxis": {"title": axis_label(of), "rangemode": "tozero", "tickformat": ","},
    }  # fmt: skip
    return go.Figure(bar, layout)


def histogram(bins: Sequence[tuple[float, float, int]], title: str) -> go.Figure:
    """A bar for each (lower, upper, count)."""
    import plotly.graph_objects as go

    hover = [f"{low:,.6g} to {high:,.6g}: {count:,}" for low, high, count in bins]
    width = (bins[0][1] - bins[0][0]) or 1.0
    bar = go.Bar(
        x=[(low + high) / 2 for low, high, _ in bins], y=[n for *_, n in bins], width=width, hovertext=hover, hoverinfo="text",
    )  # fmt: skip
    y: dict[str, Any] = {"title": "Rows", "tickformat": ",", "rangemode": "tozero"}
    if max((count for *_, count in bins), default=0) < _FEW_ROWS:
        y["dtick"] = 1  # rows are whole
    return go.Figure(bar, {"height": 300, "bargap": 0, "xaxis": {"title": axis_label(title)}, "yaxis": y})


def ridges(names: Sequence[Any], bins: Sequence[tuple[float, float]], counts: Sequence[Sequence[int]], title: str) -> go.Figure:
    """A small histogram for each name, all over the same bins (lower, upper), each as high as its row; `counts` are in the order of the
    names."""
    import plotly.graph_objects as go

    middles, width = [(low + high) / 2 for low, high in bins], (bins[0][1] - bins[0][0]) or 1.0
    last = len(names) - 1  # the first name is at the top
    traces = []
    for place, (name, figures) in enumerate(zip(names, counts, strict=True)):
        most, total = max(figures, default=0) or 1, sum(figures) or 1
        hover = [
            f"{_whole(name)}, {low:,.4g} to {high:,.4g}: {n:,} ({n / total:.1%})" for (low, high), n in zip(bins, figures, strict=True)
        ]
        traces.append(
            go.Bar(
                x=middles, y=[0.85 * n / most for n in figures], base=last - place, width=width, name=axis_label(name), hovertext=hover,
                hoverinfo="text",
            )
        )  # fmt: skip
    axis = {
        "tickvals": [last - place + 0.35 for place in range(len(names))], "ticktext": list(map(axis_label, names)), "showgrid": False,
        "zeroline": False, "range": [-0.05, len(names)], "title": "Each class by itself",
    }  # fmt: skip
    layout = {"height": 80 + max(44 * len(names), 120), "barmode": "overlay", "bargap": 0, "showlegend": False}
    return go.Figure(traces, layout | {"xaxis": {"title": axis_label(title)}, "yaxis": axis})


def stacked(names: Sequence[Any], parts: Sequence[tuple[Any, Sequence[int]]], title: str = "") -> go.Figure:
    """A stacked horizontal bar for each name of the column `title`, of parts (name, its counts in the order of `names`)."""
    import plotly.graph_objects as go

    axis = names_axis(names) | {"title": axis_label(title) if title else ""}
    traces = [
        go.Bar(
            y=axis["tickvals"], x=list(figures), orientation="h", name=axis_label(part),
            hovertext=[f"{_whole(part)}: {n:,}" for n in figures], hoverinfo="text",
        )
        for part, figures in parts
    ]  # fmt: skip
    layout = {"height": 130 + 26 * max(len(names), 2), "barmode": "stack", "bargap": 0.25, "yaxis": axis}
    return go.Figure(traces, layout | {"xaxis": {"title": "Rows", "tickformat": ","}, "legend": LEGEND})


def times(bins: Sequence[tuple[datetime, datetime, float | None]], title: str, of: str) -> go.Figure:
    """A bar for each (begin, end, value) of a column of dates, `title`."""
    import plotly.graph_objects as go

    hover = [f"{begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S}: {value or 0:,.6g}" for begin, end, value in bins]
    bar = go.Bar(
        x=[begin + (end - begin) / 2 for begin, end, _ in bins], y=[value for *_, value in bins], hovertext=hover, hoverinfo="text",
        width=[(end - begin).total_seconds() * 1000 for begin, end, _ in bins],
    )  # fmt: skip
    axes = {"xaxis": {"title": f"{axis_label(title)} (UTC)", "type": "date"}, "yaxis": {"title": axis_label(of), "tickformat": ","}}
    return go.Figure(bar, {"height": 300, "bargap": 0} | axes)


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
        hovertext=[f"{_whole(x)} · {_whole(y)}: {n:,}" for x, y, n in cells], hoverinfo="text",
        marker={
            "symbol": "square", "size": size, "opacity": opacities, "line": {"width": frames, "color": ink},
        },
        textfont={"color": ink},
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


def draw(
    figure: go.Figure,
    key: str,
    alt: str,
    clicked: Callable[[int, int], None] | None = None,
    *,
    title: str = "",
    numbers: Numbers | None = None,
    brushed: Callable[[Any, Any], None] | None = None,
    unbrushed: Callable[[], None] | None = None,
    selected: tuple[int, int] | None = None,
    row: DeltaGenerator | None = None,
) -> None:
    """Show the figure, and in the `row` above it, one of its own or a given one, its title and a menu that saves it.

    `clicked` is called with the numbers of the trace and of its point. Where there is `brushed`, dragging along x calls it with both ends,
    numbers or ISO dates as on the axis, and the bars from the first to the last `selected` one stand out, without another figure.
    `unbrushed`, given where something is to be undone, is called by a double click. `numbers` are the chart's own, by column: what the menu
    saves as CSV. The title may come from outside. A given `row` is in the same container as the call, one whose key begins with `chart-`.
    """
    figure.update_layout(margin={"l": 8, "r": 48, "t": 8, "b": 8}, dragmode=False)

    def act() -> None:
        event = _chart_tools.event(key)
        match event.get("kind"):
            case "click" if clicked is not None:
                clicked(event["trace"], event["point"])
            case "brush" if brushed is not None:
                brushed(*sorted((event["from"], event["to"])))
            case "reset" if unbrushed is not None:
                unbrushed()

    if row is None:
        with st.container(key=f"chart-{key}", gap="small"):
            above = st.container(horizontal=True, vertical_alignment="center", gap="small")
            if title:
                above.markdown(f"**{in_markdown(truncate(title, _CHARACTERS_OF_A_TITLE))}**", width="content")
            draw(
                figure, key, alt, clicked, title=title, numbers=numbers, brushed=brushed, unbrushed=unbrushed, selected=selected, row=above
            )
        return
    with row:
        st.space("stretch")
        acts = act if clicked or brushed or unbrushed else None
        _chart_tools.show(
            key, title or alt, numbers, acts, brushes=brushed is not None, selected=selected, undoable=unbrushed is not None
        )  # fmt: skip
    # Its bar of buttons is hidden (see shell.py): the one in it makes the pictures that the menu saves.
    config = {"displayModeBar": True, "modeBarButtons": [["toImage"]]}
    _first_picture.draw(figure, key, alt, lambda: st.plotly_chart(figure, key=key, config=config, alt=alt))

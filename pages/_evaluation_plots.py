"""Figures of an evaluation: the confusion matrix, curves, calibration, residuals against predictions. Drawn by `_plots.draw`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._plots import LEGEND, axis_label
from services.formats import percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from services.predictions.curves import At, Calibration, Curves
    from services.predictions.evaluation import ResidualGrid

_WRITTEN = 12  # classes a side, whose figures are written into the cells
_ACCENT = "29, 138, 150"
_POINT = "#d9480f"


def ink() -> str:
    return "#e6edf1" if st.context.theme.type == "dark" else "#08131a"


def _bar(title: str) -> dict[str, Any]:
    """The legend of a map's colors."""
    return {"title": {"text": title, "side": "right"}, "thickness": 12}


def confusion(names: Sequence[str], counts: Mapping[tuple[str, str], int], *, shares: bool, others: str) -> go.Figure:
    """The whole grid, of counts by (label, prediction): rows are labels. With `shares` a cell says how much of its row it is. Cells on the
    diagonal are outlined, but for the one of `others`, several classes."""
    import plotly.graph_objects as go

    totals = [sum(counts.get((label, predicted), 0) for predicted in names) for label in names]
    cells = [[counts.get((label, predicted), 0) for predicted in names] for label in names]
    values = [[count / total if total else 0.0 for count in row] if shares else row for row, total in zip(cells, totals, strict=True)]
    hover = [
        [
            f"label {axis_label(label)}, predicted {axis_label(predicted)}: {count:,} of {total:,}"
            + (f" ({percent(count / total)})" if total else "")
            for predicted, count in zip(names, row, strict=True)
        ]
        for label, row, total in zip(names, cells, totals, strict=True)
    ]
    written = [[_share(value) if shares else f"{value:,}" for value in row] for row in values]
    places, color = list(range(len(names))), ink()
    map_ = go.Heatmap(
        x=places, y=places, z=values, zmin=0, zmax=1 if shares else max([max(row) for row in values] or [1]) or 1,
        hovertext=hover, hoverinfo="text", xgap=1, ygap=1,
        text=written if len(names) <= _WRITTEN else None, texttemplate="%{text}" if len(names) <= _WRITTEN else None,
        textfont={"color": color, "size": 12},
        colorscale=[[0, f"rgba({_ACCENT}, 0.05)"], [1, f"rgba({_ACCENT}, 0.75)"]],
        colorbar=_bar("Share of the row" if shares else "Rows") | {"tickformat": ".0%" if shares else ","},
    )  # fmt: skip
    labels = list(map(axis_label, names))
    axis = {"tickvals": places, "ticktext": labels, "showgrid": False, "zeroline": False, "range": [-0.5, len(names) - 0.5]}
    outline = {"type": "rect", "line": {"width": 1.5, "color": color}, "fillcolor": "rgba(0, 0, 0, 0)"}
    shapes = [outline | {"x0": n - 0.5, "x1": n + 0.5, "y0": n - 0.5, "y1": n + 0.5} for n in places if names[n] != others]
    side = max(22, min(46, 640 // max(1, len(names))))
    layout = {
        "height": max(260, 130 + side * len(names)), "shapes": shapes, "xaxis": axis | {"title": "Predicted"},
        "yaxis": axis | {"title": "True label", "range": [len(names) - 0.5, -0.5]},
    }  # fmt: skip
    return go.Figure(map_, layout)


def _share(value: float) -> str:
    """`16.0%`, with the same digits in all cells."""
    return "0" if not value else "<0.1%" if value < 0.0005 else f"{100 * value:.1f}%"


def roc(found: Curves, at: At) -> go.Figure:
    """Recall by false positive rate, the threshold's point in it."""
    points = [(point.false_positive_rate, point.recall, point) for point in found.points]
    return _curve(points, (at.false_positive_rate, at.recall, at), "False positive rate", "Recall", diagonal=True)


def precision_recall(found: Curves, at: At) -> go.Figure:
    points = [(point.recall, point.precision, point) for point in found.points if not math.isnan(point.precision)]
    return _curve(points, (at.recall, at.precision, at), "Recall", "Precision", diagonal=False)


def _curve(points: Sequence[tuple[float, float, At]], at: tuple[float, float, At], x: str, y: str, *, diagonal: bool) -> go.Figure:
    import plotly.graph_objects as go

    def hover(point: At) -> str:
        figures = f"precision {percent(point.precision)}, recall {percent(point.recall)}"
        return f"from {point.threshold:,.4g}: {figures}, false positive rate {percent(point.false_positive_rate)}"

    traces = [
        go.Scatter(
            x=[a for a, _, _ in points], y=[b for _, b, _ in points], mode="lines", name="all thresholds", hoverinfo="text",
            hovertext=[hover(point) for *_, point in points], line={"shape": "linear" if diagonal else "hv", "width": 2.5},
        ),
        go.Scatter(
            x=[at[0]], y=[at[1]], mode="markers", name="this threshold", hoverinfo="text", hovertext=[hover(at[2])],
            marker={"size": 12, "color": _POINT, "line": {"width": 2, "color": ink()}},
        ),
    ]  # fmt: skip
    if diagonal:
        traces.append(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="by chance", line={"dash": "dot", "width": 1}, hoverinfo="skip"))
    axis = {"range": [-0.02, 1.02], "tickformat": ".0%"}
    layout = {"height": 340, "legend": LEGEND, "xaxis": axis | {"title": x}, "yaxis": axis | {"title": y}}
    return go.Figure(traces, layout)


def calibration(found: Calibration, score: str) -> go.Figure:
    """The share with the event by the mean score of each bin, and how many rows each has."""
    import plotly.graph_objects as go

    most = max((count for _, _, count, _, _ in found.bins), default=1)
    hover = [
        f"{low:.1f} to {high:.1f}: {count:,} rows, score {mean:.3f}, share {percent(share)}" for low, high, count, mean, share in found.bins
    ]
    traces = [
        go.Bar(
            x=[(low + high) / 2 for low, high, *_ in found.bins], y=[0.25 * count / most for _, _, count, _, _ in found.bins], width=0.098,
            name="rows (not to scale)", hovertext=hover, hoverinfo="text", marker={"color": "rgba(128, 128, 128, 0.35)"},
        ),
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"dash": "dot", "width": 1}, hoverinfo="skip"),
        go.Scatter(
            x=[mean for *_, mean, _ in found.bins], y=[share for *_, share in found.bins], mode="lines+markers", name="found",
            hovertext=hover, hoverinfo="text", line={"width": 2.5}, marker={"size": 8},
        ),
    ]  # fmt: skip
    axis = {"range": [-0.02, 1.02]}
    titles = {"xaxis": axis | {"title": axis_label(score)}, "yaxis": axis | {"title": "Share of rows", "tickformat": ".0%"}}
    return go.Figure(traces, {"height": 340, "legend": LEGEND} | titles)


def residuals(grid: ResidualGrid) -> go.Figure:
    """Rows by prediction and residual; darker with their logarithm."""
    import plotly.graph_objects as go

    def middles(edges: Sequence[float]) -> list[float]:
        return [(low + high) / 2 for low, high in pairwise(edges)]

    hover = [
        [
            f"prediction {grid.predictions[x]:,.5g} to {grid.predictions[x + 1]:,.5g}, residual {grid.residuals[y]:,.5g} to "
            f"{grid.residuals[y + 1]:,.5g}: {count:,} rows"
            for x, count in enumerate(row)
        ]
        for y, row in enumerate(grid.counts)
    ]
    most = max((max(row) for row in grid.counts), default=1)
    ticks = [10**power for power in range(max(1, len(str(most))))]
    map_ = go.Heatmap(
        x=middles(grid.predictions), y=middles(grid.residuals), z=[[math.log10(n) if n else None for n in row] for row in grid.counts],
        hovertext=hover, hoverinfo="text", zmin=-0.3, colorscale=[[0, f"rgba({_ACCENT}, 0.08)"], [1, f"rgba({_ACCENT}, 1)"]],
        colorbar=_bar("Rows") | {"tickvals": [math.log10(n) for n in ticks], "ticktext": [f"{n:,}" for n in ticks]},
    )  # fmt: skip
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": ink(), "width": 1, "dash": "dot"}}
    axes = {"xaxis": {"title": "Prediction", "showgrid": False}, "yaxis": {"title": "Residual", "showgrid": False, "zeroline": False}}
    return go.Figure(map_, {"height": 360, "shapes": [zero]} | axes)

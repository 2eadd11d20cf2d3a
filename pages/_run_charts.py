"""The charts of a run's page: its pace over time, what each worker did, their memory. Time counts from the run's start on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import streamlit as st

from pages import _plots
from pages._text import truncate, visible
from services import formats
from services.formats import counted
from services.run_details import RunActivity, WorkerSpan, WorkerState
from services.scoring.run_cost import round_to_digit

_COLORS = {  # on a light page and on a dark one
    "run": ("#2f8791", "#4fbac4"),
    "failed": ("#c23b3b", "#f07f7f"),
    "going on": ("#d98324", "#eda55a"),
    "import": ("#8a99a3", "#7d8d98"),
    "init": ("#7355b5", "#b39ae6"),
    "wait": ("#dde5e8", "#2a353d"),
    "shutdown": ("#a9812f", "#d4b266"),
    "ended": ("#08131a", "#e6edf1"),
}
_NAMES = {
    "run": "run()", "failed": "run(), with failures", "going on": "run(), in progress", "import": "Start and import", "init": "init()",
    "wait": "Waiting", "shutdown": "shutdown()", "ended": "Process ended",
}  # fmt: skip
_PATTERNS = {"import": "/", "going on": "."}  # not by color alone
_LANES = 24  # with a name each; more get thinner


def _bar(**values: Any) -> Any:
    import plotly.graph_objects as go

    # Made each second: to look at every value of a list costs ten times as much as all else.
    return go.Bar(values, _validate=False)


def _line(**values: Any) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(values, _validate=False)


def _figure(traces: list[Any], layout: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    return go.Figure(traces, layout, _validate=False)


def color(name: str) -> str:
    """On the present page."""
    return _COLORS[name][st.context.theme.type == "dark"]


def _time_axis(activity: RunActivity) -> tuple[Callable[[float], float], dict[str, Any]]:
    """From a moment to its place on the axis, and the axis: in seconds, minutes or hours from the begin."""
    seconds = activity.end - activity.begin
    unit, name = next((pair for pair in ((3600, "Hours"), (60, "Minutes")) if seconds >= 3 * pair[0]), (1, "Seconds"))
    axis = {"title": {"text": f"{name} since the start"}, "range": [0, max(seconds, 1e-3) / unit], "zeroline": False, "showgrid": False}
    return lambda moment: (moment - activity.begin) / unit, axis


def pace(activity: RunActivity, item: str, *, active: bool) -> None:
    """Items a second over time."""
    at, axis = _time_axis(activity)
    buckets, width = list(activity.pace), activity.bucket_seconds
    if active and len(buckets) > 1 and buckets[-1].begin + width > activity.end:
        buckets.pop()  # it has not all of its items yet
    xs, each = [at(bucket.begin) for bucket in buckets], at(activity.begin + width)
    series = {"succeeded": [b.succeeded / width for b in buckets], "failed": [b.failed / width for b in buckets]}
    traces = [
        _bar(
            x=xs, y=values, width=each, offset=0, name=name.capitalize(), marker={"color": color(paint), "line": {"width": 0}},
            hovertext=[f"{value:,.3g} {item}s a second {name}" for value in values], hoverinfo="text",
        )
        for (name, values), paint in zip(series.items(), ("run", "failed"), strict=True)
        if any(values) or name == "succeeded"
    ]  # fmt: skip
    layout = {"height": 220, "barmode": "stack", "bargap": 0, "xaxis": axis, "showlegend": len(traces) > 1, "legend": _plots.LEGEND}
    figure = _figure(
        traces, layout | {"yaxis": {"title": f"{item.capitalize()}s a second", "rangemode": "tozero", "tickformat": ",", "nticks": 4}}
    )
    numbers = {"begins_at_second": [b.begin - activity.begin for b in buckets], **series}
    alt = f"{item.capitalize()}s a second over time"
    _plots.draw(figure, "run-pace", alt, title=alt, numbers=numbers)


def timeline(activity: RunActivity, opened: Callable[[int], None]) -> None:
    """What each worker did, a lane each. A click on a call of run() gives `opened` the number of its mini-batch."""
    at, axis = _time_axis(activity)
    thin = len(activity.workers) > _LANES
    waits = [(lane, span) for lane, worker in enumerate(activity.workers) for span in worker.spans if span.state is WorkerState.WAIT]
    shown = dict.fromkeys(["wait"] if waits else [])
    traces = [
        _bar(  # below the others: the pointer passes through
            y=[lane for lane, _ in waits], base=[at(span.begin) for _, span in waits], orientation="h", width=0.3, showlegend=False,
            x=[at(span.end) - at(span.begin) for _, span in waits], marker={"color": color("wait"), "line": {"width": 0}}, hoverinfo="skip",
        )
    ]  # fmt: skip
    mini_batches: list[list[int | None]] = [[]]
    # A trace for each worker, whose spans come in the order of time: a click on what was drawn a second ago still finds its own.
    for lane, worker in enumerate(activity.workers):
        least = 0.004 * (activity.end - activity.begin)
        ends = [replace(span, state=WorkerState.SHUTDOWN, begin=span.end - least) for span in worker.spans if span.reason]
        spans = [*(span for span in worker.spans if span.state is not WorkerState.WAIT), *ends]
        kinds = [_kind(span) for span in spans]
        shown |= dict.fromkeys(kinds)
        marker: dict[str, Any] = {
            "color": [color(kind) for kind in kinds],
            "opacity": [0.35 + 0.65 * span.busy if span.state is WorkerState.RUN else 1.0 for span in spans],
            "line": {"width": 0},
        }
        if any(kind in _PATTERNS for kind in kinds):
            marker["pattern"] = {"shape": [_PATTERNS.get(kind, "") for kind in kinds], "size": 6, "solidity": 0.25}
        traces.append(
            _bar(
                y=[lane] * len(kinds), base=[at(span.begin) for span in spans], orientation="h", width=0.86, marker=marker,
                x=[at(span.end) - at(span.begin) for span in spans], showlegend=False, hoverinfo="text",
                hovertext=[f"{_safe(worker.name)}<br>{_described(span, activity.begin)}" for span in spans],
            )
        )  # fmt: skip
        mini_batches.append([span.mini_batch for span in spans])
    # Of many calls of which few failed, a strip: in a long run every bar would be red.
    some = [(n, span) for n, worker in enumerate(activity.workers) for span in worker.spans if 0 < 2 * span.failed <= span.attempts]
    if some:
        shown["failed"] = None
        traces.append(
            _bar(
                y=[lane + 0.33 for lane, _ in some], base=[at(span.begin) for _, span in some], orientation="h", width=0.2,
                x=[at(span.end) - at(span.begin) for _, span in some], marker={"color": color("failed"), "line": {"width": 0}},
                showlegend=False, hoverinfo="skip",
            )
        )  # fmt: skip
    for kind in (name for name in _NAMES if name in shown):
        sample = {"color": color(kind), "pattern": {"shape": _PATTERNS.get(kind, ""), "size": 6, "solidity": 0.25}}
        traces.append(_bar(x=[None], y=[None], orientation="h", name=_NAMES[kind], marker=sample))
    names = [_safe(worker.name.replace("process", "") if thin else worker.name) for worker in activity.workers]
    ticks = list(range(0, len(names), -(-len(names) // 32)))
    lanes = {
        "tickvals": ticks, "ticktext": [names[tick] for tick in ticks], "autorange": "reversed", "showgrid": False, "zeroline": False,
        "fixedrange": True,
    }  # fmt: skip
    height = 110 + len(names) * (30 if not thin else 12)
    layout = {"height": height, "barmode": "overlay", "yaxis": lanes, "xaxis": axis, "legend": _plots.LEGEND | {"itemclick": False}}
    numbers = {
        "worker": [worker.name for worker in activity.workers for _ in worker.spans],
        "state": [str(span.state) for worker in activity.workers for span in worker.spans],
        "begin_second": [span.begin - activity.begin for worker in activity.workers for span in worker.spans],
        "end_second": [span.end - activity.begin for worker in activity.workers for span in worker.spans],
        "attempts": [span.attempts for worker in activity.workers for span in worker.spans],
        "failed_attempts": [span.failed for worker in activity.workers for span in worker.spans],
        "mini_batch": [span.mini_batch for worker in activity.workers for span in worker.spans],
    }

    def clicked(trace: int, point: int) -> None:
        chosen = mini_batches[trace][point] if trace < len(mini_batches) and point < len(mini_batches[trace]) else None
        if chosen is not None:
            opened(chosen)

    alt = f"What each of {counted(len(names), 'worker')} did over time"
    _plots.draw(_figure(traces, layout), "run-timeline", alt, clicked, title="Mini-batches by worker", numbers=numbers)


def _kind(span: WorkerSpan) -> str:
    if span.state is not WorkerState.RUN:
        return "ended" if span.reason and span.state is WorkerState.SHUTDOWN else str(span.state)
    return "failed" if 2 * span.failed > span.attempts else "going on" if span.going_on else "run"


def _safe(text: str) -> str:
    """Text from outside, as a worker's name in Azure ML's table, for a place where Plotly takes HTML."""
    return escape(visible(truncate(text, 200), lines=False), quote=False)


def _described(span: WorkerSpan, begin: float) -> str:
    """For the pointer. Why a process ended is text from outside."""
    seconds = formats.duration(span.end - span.begin)
    since = f"{formats.duration(max(0.0, span.begin - begin))} after the start, for {seconds}"
    if span.state is not WorkerState.RUN:
        if span.state is WorkerState.SHUTDOWN and span.reason:
            return f"Its process ended: {_safe(span.reason)}"
        return f"{_NAMES[span.state]} {since}"
    if span.going_on:
        return f"Mini-batch {span.mini_batch:,} has been running for {seconds}"
    failed = f", {span.failed:,} failed" if span.failed else ""
    busy = "" if span.busy >= 0.995 else f", busy for {span.busy:.0%}"
    which = f"mini-batch {span.mini_batch:,}" if span.attempts == 1 else f"{counted(span.attempts, 'attempt')}"
    click = (
        "" if span.attempts == 1 else f"<br>Click to open mini-batch {span.mini_batch:,}, the {'failed' if span.failed else 'slowest'} one"
    )
    return f"{which}{failed}{busy}, {since}{click}"


def memory(activity: RunActivity) -> None:
    """Of each worker over time."""
    at, axis = _time_axis(activity)
    workers = [worker for worker in activity.workers if worker.memory]
    few = len(workers) <= 8
    traces = [
        _line(
            x=[at(moment) for moment, _ in worker.memory], y=[size for _, size in worker.memory], name=worker.name, mode="lines",
            line={"width": 2 if few else 1} | ({} if few else {"color": color("run")}), opacity=1.0 if few else 0.5,
            hovertext=[f"{worker.name}: {formats.size(size)}" for _, size in worker.memory], hoverinfo="text",
        )
        for worker in workers
    ]  # fmt: skip
    most = max((size for worker in workers for _, size in worker.memory), default=1)
    step = round_to_digit(most / 5, up=True)
    ticks = [place * step for place in range(most // step + 1)]
    y = {"tickvals": ticks, "ticktext": [formats.size(tick) for tick in ticks], "range": [0, 1.1 * most]}
    layout = {"height": 250, "xaxis": axis, "yaxis": y, "showlegend": few, "legend": _plots.LEGEND}
    numbers = {
        "worker": [worker.name for worker in workers for _ in worker.memory],
        "second": [moment - activity.begin for worker in workers for moment, _ in worker.memory],
        "bytes": [size for worker in workers for _, size in worker.memory],
    }
    title = f"Memory of each worker · at most {formats.size(most)}"
    _plots.draw(_figure(traces, layout), "run-memory", "Memory of each worker over time", title=title, numbers=numbers)

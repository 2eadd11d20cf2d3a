"""What stands by each chart: a menu that saves it as PNG, SVG or its numbers; and what happens in it: a click, a brush along x, a double
click.

Streamlit reports either clicks or brushes of a Plotly chart, and no double click once the chart was drawn again, so the script of this
component listens to Plotly itself. Pictures are made in the browser by Plotly's own button, which works without a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import streamlit as st

from pages._text import displayable
from services.file_names import file_stem

if TYPE_CHECKING:
    import pyarrow as pa

Numbers: TypeAlias = "Mapping[str, Sequence[Any]] | pa.Table"
"""The numbers of a chart: the values of each column."""

HTML = """
<button id="open" type="button" aria-haspopup="menu" aria-expanded="false">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v10m-4-4 4 4 4-4M5 16v3h14v-3"/></svg>Save
</button>
<div id="menu" role="menu" aria-label="Save this chart" popover="auto">
  <button type="button" role="menuitem" tabindex="-1" data-as="png">Picture (PNG)</button>
  <button type="button" role="menuitem" tabindex="-1" data-as="svg">Vector picture (SVG)</button>
  <button type="button" role="menuitem" tabindex="-1" data-as="csv">Numbers (CSV)</button>
</div>
"""
CSS = """
button { font: inherit; font-size: .875rem; color: var(--st-text-color); background: transparent; border: 0; cursor: pointer;
  border-radius: var(--st-base-radius); padding: 3px 8px; min-height: 28px }
button:hover { background: color-mix(in srgb, var(--st-text-color) 9%, transparent) }
button:focus-visible { outline: 2px solid #1d8a96; outline-offset: -2px }
button[hidden] { display: none }
#open { display: inline-flex; align-items: center; gap: 4px }
#open svg { width: 18px; height: 18px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
#menu { position: fixed; inset: auto; margin: 0; padding: 4px; background: var(--st-background-color); color: var(--st-text-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); box-shadow: 0 4px 16px rgb(0 0 0 / .16) }
#menu button { display: block; width: 100%; text-align: left; padding: 6px 12px }
#menu button[hidden] { display: none }
"""
JS = r"""
const states = new WeakMap()  // of each mounted menu; the function below runs again whenever its data change
const DOUBLE_CLICK = 300      // milliseconds, as in Plotly
const NO_CLICK = 8            // pixels, as in Plotly

export default function ({ data, parentElement, setTriggerValue }) {
  const state = states.get(parentElement) ?? { graphs: new WeakSet(), last: 0 }
  states.set(parentElement, state)
  Object.assign(state, { data, setTriggerValue })
  const find = selector => parentElement.querySelector(selector)
  const open = find("#open"), menu = find("#menu"), items = [...menu.querySelectorAll("button")]
  const place = (parentElement.host ?? parentElement).closest('[class*="st-key-chart-"]')
  const graph = () => place?.querySelector(`.st-key-${data.graph} .js-plotly-plot`)

  open.setAttribute("aria-label", `Save the chart “${data.title}”`)
  find("[data-as=csv]").hidden = data.csv === null

  // ---- the menu
  const shown = () => items.filter(item => !item.hidden)
  const focus = step => {
    const all = shown(), now = all.indexOf(parentElement.activeElement)
    all[(now + step + all.length) % all.length].focus()
  }
  menu.ontoggle = event => {
    const opened = event.newState === "open"
    open.setAttribute("aria-expanded", String(opened))
    if (!opened) return
    const at = open.getBoundingClientRect()
    menu.style.left = `${Math.max(8, Math.min(at.right, innerWidth - 8) - menu.offsetWidth)}px`
    menu.style.top = `${Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`
    shown()[0].focus()
  }
  open.onclick = () => menu.togglePopover()
  open.onkeydown = event => {
    if (event.key === "ArrowDown") { event.preventDefault(); menu.showPopover() }
  }
  menu.onkeydown = event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step) { event.preventDefault(); focus(step) }
    if (event.key === "Home" || event.key === "End") { event.preventDefault(); shown().at(event.key === "Home" ? 0 : -1).focus() }
    if (event.key === "Tab") menu.hidePopover()
    if (event.key === "Escape") { menu.hidePopover(); open.focus() }
  }
  for (const item of items) item.onclick = () => {
    menu.hidePopover()
    open.focus()
    item.dataset.as === "csv" ? saveNumbers() : savePicture(item.dataset.as)
  }

  function saveNumbers() {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(new Blob([data.csv], { type: "text/csv;charset=utf-8" }))
    link.download = `${data.name}.csv`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
  }
  function savePicture(format) {
    const drawn = graph()
    const button = drawn?._fullLayout?._modeBar?.buttons.flat().find(button => button.name === "toImage")
    if (!button) return
    const markers = drawn.data.map(trace => trace.marker)
    if (state.data.selected)  // for the copy that is made now
      for (const trace of drawn.data) trace.marker = { ...trace.marker, opacity: [...trace.x].map((_, place) => chosen(place) ? 1 : 0.3) }
    drawn._context.toImageButtonOptions = { format, filename: data.name, scale: format === "png" ? 2 : 1 }
    button.click(drawn)
    drawn.data.forEach((trace, place) => { trace.marker = markers[place] })
  }

  // ---- what happens in the chart
  const chosen = place => !state.data.selected || (state.data.selected[0] <= place && place <= state.data.selected[1])
  const standOut = drawn => {
    if (!state.data.brushes) return
    for (const trace of drawn.querySelectorAll(".bars .points"))
      [...trace.children].forEach((bar, place) => { bar.style.opacity = chosen(place) ? "" : "0.3" })
  }
  // `at` is when the mouse did it, not when a busy page came to it.
  const act = (kind, at, more) => {
    state.last = at
    state.setTriggerValue("act", { kind, ...more })
  }
  const listen = () => {
    const drawn = graph()
    if (!drawn?.on || state.graphs.has(drawn)) return
    state.graphs.add(drawn)
    drawn.on("plotly_click", event => {
      const point = event.points?.[0]
      const at = event.event?.timeStamp ?? performance.now()
      const recently = at - state.last < DOUBLE_CLICK
      if (!point || !state.data.acts || recently) return
      const click = () => act("click", at, { trace: point.curveNumber, point: point.pointIndex ?? point.pointNumber })
      clearTimeout(state.click)
      // Where a double click undoes the brush, a click waits to see whether it is the first half of one.
      if (state.data.undoable) state.click = setTimeout(click, DOUBLE_CLICK)
      else click()
    })
    drawn.addEventListener("pointerdown", event => {
      const pane = event.target.closest?.(".nsewdrag")
      if (pane && !event.button && state.data.acts) press(drawn, pane, event.clientX)
    })
    drawn.on("plotly_afterplot", () => standOut(drawn))
    standOut(drawn)
  }
  // Plotly's own selection would stay, and a figure drawn again for what stands out takes as long as all the rest.
  const press = (drawn, pane, begin) => {
    const { left, right, top, height } = pane.getBoundingClientRect(), undoable = state.data.undoable
    const within = x => Math.max(left, Math.min(right, x))
    const band = document.createElement("div")
    band.style.cssText = "position: fixed; pointer-events: none; z-index: 1000000; background: #1d8a9633; outline: 1px solid #1d8a96"
    const move = event => {
      if (!state.data.brushes || Math.abs(event.clientX - begin) <= NO_CLICK) return band.remove()
      const ends = [within(begin), within(event.clientX)].sort((a, b) => a - b)
      Object.assign(band.style, { left: `${ends[0]}px`, width: `${ends[1] - ends[0]}px`, top: `${top}px`, height: `${height}px` })
      document.body.append(band)
    }
    const up = event => {
      removeEventListener("pointermove", move, true)
      removeEventListener("pointerup", up, true)
      removeEventListener("pointercancel", up, true)
      band.remove()
      if (event.type === "pointercancel") return
      if (Math.abs(event.clientX - begin) > NO_CLICK) {
        const axis = drawn._fullLayout.xaxis, [from, to] = [begin, event.clientX].map(x => axis.p2d(within(x) - left))
        return state.data.brushes && act("brush", event.timeStamp, { from, to })
      }
      const first = state.up
      state.up = { at: event.timeStamp, undoable }
      if (!first?.undoable || state.up.at - first.at > DOUBLE_CLICK) return
      clearTimeout(state.click)
      act("reset", event.timeStamp, {})
    }
    addEventListener("pointermove", move, true)
    addEventListener("pointerup", up, true)
    addEventListener("pointercancel", up, true)
  }
  if (!state.observer && place) {
    state.observer = new MutationObserver(listen)  // Streamlit makes a new graph when the figure changes
    state.observer.observe(place, { childList: true, subtree: true })
  }
  listen()
  if (graph()) standOut(graph())
  return () => { state.observer?.disconnect(); clearTimeout(state.click); states.delete(parentElement) }
}
"""
_mounted = st.components.v2.component("chart_tools", html=HTML, css=CSS, js=JS)


def show(
    key: str,
    title: str,
    numbers: Numbers | None,
    act: Callable[[], None] | None = None,
    *,
    brushes: bool = False,
    selected: tuple[int, int] | None = None,
    undoable: bool = False,
) -> None:
    """The menu of the chart `key`, somewhere in the container around it. `act` is called for what happens in it (see `event`): a
    double click too, where something is `undoable`. Of bars that one `brushes`, those from the first to the last `selected` stand out."""
    data = {
        "graph": re.sub("[^a-zA-Z0-9_-]", "-", key), "title": displayable(title), "name": displayable(file_stem(title) or "chart"),
        "csv": None if numbers is None else as_csv(numbers), "acts": act is not None, "undoable": undoable,
        "brushes": brushes, "selected": selected,
    }  # fmt: skip
    _mounted(key=_key(key), data=data, width="content", on_act_change=act or _nothing)


def _nothing() -> None:
    """Without a callback its trigger would be none."""


def _key(key: str) -> str:
    return f"tools-{key}"


def event(key: str) -> dict[str, Any]:
    """What just happened in the chart, in a callback: {"kind": "click", "trace", "point"}, {"kind": "brush", "from", "to"} or
    {"kind": "reset"}. Else empty."""
    return getattr(st.session_state.get(_key(key)), "act", None) or {}


def as_csv(numbers: Numbers) -> str:
    """A chart's numbers as CSV, all their digits, and no cell a formula."""
    from services.predictions.exports import rows_as_csv

    columns = {name: numbers[name] for name in (numbers if isinstance(numbers, Mapping) else numbers.column_names)}
    values = [column if isinstance(column, Sequence) else column.to_pylist() for column in columns.values()]
    return b"".join(rows_as_csv(list(columns), zip(*values, strict=True), safe=True)).decode()

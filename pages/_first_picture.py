"""The first picture of a visit is a still one until the rows beside it are painted and Plotly is there: a browser that has drawn none yet
loads its 4.7 MB on the one thread that paints the rows too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = "picture_shown"  # in the session: this visit is past its first picture
CSS = """
:host, div { color: var(--st-text-color); font-family: var(--st-font); font-size: 12px }
.picture { box-sizing: border-box; padding: 8px 48px 8px 40px; overflow: hidden }
.across { display: grid; grid-template-columns: max-content 1fr; align-content: start; gap: 0 8px; padding-bottom: 62px }
.across > * { height: 26px; display: flex; align-items: center; gap: 4px; white-space: nowrap }
.across > :nth-child(odd) { justify-content: flex-end }
.across i { height: 18px; background: var(--bar) }
.up { display: flex; align-items: flex-end; padding: 20px 48px 62px 64px }
.up i { flex: 1; background: var(--bar) }
"""
JS = """
const ROWS = '[data-testid="data-grid-canvas"]', SECONDS = 3  // after which the picture comes all the same

export default function ({ data, parentElement, setTriggerValue }) {
  let picture = parentElement.querySelector(".picture")
  if (!picture) parentElement.append(picture = document.createElement("div"))
  const { kind, height, alt, bars, plotly } = data, most = Math.max(...bars.map(bar => bar.value), 0) || 1
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text ?? "" })
  picture.className = `picture ${kind}`
  picture.role = "img"
  picture.ariaLabel = alt
  picture.style.height = `${height}px`
  const colors = getComputedStyle(picture).getPropertyValue("--st-chart-categorical-colors")
  picture.style.setProperty("--bar", colors.split(",")[0] || "var(--st-primary-color)")
  picture.replaceChildren(...bars.flatMap(({ name, value, text, opacity }) => {
    const bar = make("i"), share = `${100 * Math.max(value, 0) / most}%`
    bar.style.opacity = opacity
    if (kind === "up") return bar.style.height = share, [bar]
    const line = make("span")
    bar.style.width = `calc(${share} * .9)`
    line.append(bar, text)
    return [make("span", name), line]
  }))

  const begin = performance.now()
  let frame, shown = true
  const draw = () => { if (shown) setTriggerValue("ready", true) }  // else whatever took its place is drawn already
  const load = () => plotly ? import(new URL(plotly, document.baseURI)).then(draw, draw) : draw()
  const look = () => {
    if (!document.querySelector(ROWS) && performance.now() - begin < SECONDS * 1000) frame = requestAnimationFrame(look)
    else frame = requestAnimationFrame(load)  // the rows are painted before this one
  }
  look()
  return () => { shown = false; cancelAnimationFrame(frame) }
}
"""
_mounted = st.components.v2.component("first_picture", css=CSS, js=JS)
_waits = ContextVar("the first picture waits", default=False)


@contextmanager
def after_the_rows() -> Iterator[None]:
    """In this context the first pictures of a visit are still ones at first."""
    token = _waits.set(SHOWN not in st.session_state)
    st.session_state[SHOWN] = True  # whatever makes the page run again
    try:
        yield
    finally:
        _waits.reset(token)


def draw(figure: go.Figure, key: str, alt: str, draw_it: Callable[[], object]) -> None:
    """What `draw_it` draws of the figure: at once, or where that is to wait in place of its bars, which stand still."""
    if not _waits.get():
        draw_it()
        return
    ready = f"ready-{key}"

    # By itself: were the page run again, it would take from its fields what is being typed.
    @st.fragment
    def still_at_first() -> None:
        if st.session_state.get(ready):
            draw_it()
        else:
            _still(figure, key, alt, lambda: st.session_state.update({ready: True}))

    still_at_first()


def _still(figure: go.Figure, key: str, alt: str, on_ready: Callable[[], None]) -> None:
    """The bars of the figure in its place; others are left blank. `on_ready` is called once a figure can be drawn at once."""
    data: dict[str, Any] = {"kind": "", "bars": [], "height": figure.layout.height or 450, "alt": alt, "plotly": plotly_module()}
    _mounted(key=f"first-{key}", data=data | _bars(figure), on_ready_change=on_ready)


@cache
def plotly_module() -> str:
    """The address, beside that of a page, of the module of Streamlit's own that draws figures; "" where this Streamlit has none."""
    files = (Path(st.__file__).parent / "static" / "static" / "js").glob("PlotlyChart*.js")
    return next((f"static/js/{file.name}" for file in files), "")


def _bars(figure: go.Figure) -> dict[str, Any]:
    if len(figure.data) != 1 or figure.data[0].type != "bar":
        return {}
    bar = figure.data[0]
    if bar.orientation != "h":
        return {"kind": "up", "bars": [{"value": value or 0} for value in bar.y]}
    opacities = bar.marker.opacity or [1] * len(bar.x)
    values = zip(map(unescape, figure.layout.yaxis.ticktext), bar.x, bar.text, opacities, strict=True)
    return {"kind": "across", "bars": [dict(zip(("name", "value", "text", "opacity"), each, strict=True)) for each in values]}

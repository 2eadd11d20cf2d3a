"""A brush over the histogram of a million predictions: from the mouse-up to the last chart painted, beside an empty fragment's tick.

Both are timed in the page: from the event of the mouse to the last change of a chart, or of the line, once nothing changes any more. The
empty fragment has a button and one line, which counts its clicks.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.pages import Bare, row
from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.predictions.matching import ScoredMiniBatch
from services.predictions.writer import make_table
from services.settings import ParallelRunSettings
from tests.browser.dashboard import TIMEOUT_MS, Dashboard, browser, settled

ROWS = 1_000_000
REPEATS = 8
_QUIET_MS = 1_000
_EMPTY = """import streamlit as st
@st.fragment
def tick():
    st.session_state.clicks = st.session_state.get("clicks", 0) + st.button("Tick")
    st.text(st.session_state.clicks)
st.header("One")
tick()
"""
_WATCH = """shown => {
  window.last = 0
  const within = node => (node.nodeType === 1 ? node : node.parentElement)?.closest(shown)
  const observer = new MutationObserver(changes => { if (changes.some(change => within(change.target))) window.last = performance.now() })
  observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true })
  for (const name of ['mouseup', 'click']) document.addEventListener(name, () => { window.begun = performance.now() }, true)
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        home = Path(folder) / "home"
        run_id = run_of_numbers(home)
        dashboard, empty = Dashboard(home), Bare(Path(folder), _EMPTY)
        try:
            ours, theirs = chromium.new_page(viewport={"width": 1920, "height": 1080}), chromium.new_page()
            for page in (ours, theirs):
                page.set_default_timeout(TIMEOUT_MS)
            dashboard.admit(ours.context)
            ours.goto(f"{dashboard.url}/results?run={run_id}")
            ours.wait_for_selector(".js-plotly-plot .bars path")
            theirs.goto(empty.url)
            for page, shown in ((ours, "[data-testid=stPlotlyChart]"), (theirs, "[data-testid=stText]")):
                settled(page).wait_for_timeout(_QUIET_MS)
                page.evaluate(_WATCH, shown)
            brushes, ticks = [], []
            for repeat in range(REPEATS + 1):  # alternating: the machine may be busy
                brushes.append(timed(ours, partial(brush, ours, repeat)))
                ticks.append(timed(theirs, lambda: theirs.get_by_role("button", name="Tick").click()))
            row(f"brush, {ROWS:,} rows", brushes[1:], ticks[1:], "an empty fragment's tick")
        finally:
            dashboard.kill()
            empty.kill()


def run_of_numbers(home: Path) -> str:
    """A completed run of ROWS objects with a label and a probability; its id."""
    (home.parent / "one").mkdir()
    (home.parent / "one" / "1.csv").write_text("1\n")
    script = home.parent / "script.py"
    script.write_text("import os\ndef run(m): return [os.path.basename(p) + ': 1' for p in m]")
    workspace = LocalWorkspace(home)
    workspace.register_dataset("one", home.parent / "one")
    run = workspace.submit(RunRequest((), ("one",), str(script), ParallelRunSettings(process_count_per_node=1)))
    while not workspace.runs.get(run.id).status.ended:
        time.sleep(0.1)
    make_table(_mini_batches(), workspace.runs.predictions(run.id).path)
    return run.id


def _mini_batches() -> Iterator[ScoredMiniBatch]:
    chance = random.Random(1)
    for number, first in enumerate(range(0, ROWS, 10_000)):
        items = [f"part_{place % 8}/{place:08}.csv" for place in range(first, min(ROWS, first + 10_000))]
        yield ScoredMiniBatch(
            number, items, "/d", [f"{item}: {math.exp(chance.gauss(0, 0.5)):.4f}" for item in items], "node 0", 1, 0.1, ""
        )


def brush(page: Page, number: int) -> None:
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    begin, y = box["x"] + (0.1 + 0.03 * number) * box["width"], box["y"] + box["height"] / 2
    page.mouse.move(begin, y)
    page.mouse.down()
    page.mouse.move(begin + 0.2 * box["width"], y + 4, steps=6)
    page.mouse.up()


def timed(page: Page, act: Callable[[], None]) -> float:
    """Seconds from the mouse's event to the last change."""
    act()
    page.wait_for_function(f"window.last > window.begun && performance.now() - window.last > {_QUIET_MS}")
    settled(page)
    return float(page.evaluate("window.last - window.begun")) / 1000

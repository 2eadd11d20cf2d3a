"""The first screen of the results of ten million predictions, on a warm server, in a browser that opens the dashboard for the first time,
from the address to the table's first rows, which stand beside a still picture, and to the picture in which one can click. Beside the least
that Streamlit can do: a page with a heading and a table of 100 rows. `BENCH_ROWS` for another number of rows, such as a hundred million.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.pages import Bare, full_home, wait_with_every_frame
from benchmarks.results import ROWS
from benchmarks.results_growth import mini_batches
from benchmarks.table import Table, rounds
from services.predictions.writer import make_table
from tests.browser.dashboard import Dashboard, browser, dashboard

BARE_PAGE = """import pyarrow as pa
import streamlit as st
st.header("Results")
rows = [str(number) for number in range(100)]
st.dataframe(pa.table({"File": rows, "Prediction": rows}), height=563)
"""
OURS, WITH_PICTURE, BARE = "Results", "Results, until its picture can be clicked", "bare Streamlit, a table of 100 rows"
ROWS_PAINTED = "document.querySelector('[data-testid=data-grid-canvas]')"
STILL_BARS = "[...document.querySelectorAll('[class*=st-key-first-] *')].some(each => each.shadowRoot?.querySelector('.picture i'))"
PICTURE = "document.querySelector('.js-plotly-plot .bars .point')"
SCREENS = {OURS: [f"{ROWS_PAINTED} && {STILL_BARS}", PICTURE], BARE: [ROWS_PAINTED]}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as folder, browser() as chromium:
        workspace = full_home(Path(folder) / "home")
        run = workspace.runs.latest()[0].id
        make_table(mini_batches(ROWS), workspace.runs.predictions(run).path)
        bare = Bare(Path(folder), BARE_PAGE)
        screens = Table(f"first screen, {ROWS:,} rows", "s", 1)
        try:
            with dashboard(workspace.home) as server:
                screens_of: dict[str, tuple[Dashboard | Bare, str]] = {OURS: (server, f"/results?run={run}"), BARE: (bare, "/")}
                for name, screen in screens_of.items():  # the first time, a server imports what it needs
                    _seconds(chromium, *screen, SCREENS[name])
                for _ in rounds():
                    for name, screen in screens_of.items():
                        seconds = _seconds(chromium, *screen, SCREENS[name])
                        screens.add(name, seconds[0])
                        if name == OURS:
                            screens.add(WITH_PICTURE, seconds[1])
        finally:
            bare.kill()
        screens.show(times_bare=lambda number, name: f"{number(name) / number(BARE):.2f}")


def _seconds(chromium: Browser, server: Dashboard | Bare, path: str, awaited: list[str]) -> list[float]:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    server.admit(page.context)
    begin = time.perf_counter()
    page.goto(server.url + path, wait_until="commit")
    seconds = []
    for painted in awaited:
        wait_with_every_frame(page, painted)
        seconds.append(time.perf_counter() - begin)
    page.context.close()
    return seconds

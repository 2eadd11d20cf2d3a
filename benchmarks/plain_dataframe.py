"""What plain `st.dataframe` makes of predictions, in a browser: 100,000 of them, a million, ten million (`BENCH_ROWS`). How long until the
table is there, what is sent for it and what the server takes for it; or what it says instead.

Both ways: all rows sent at once (`lazy=False`), and by itself, which above 150,000 rows is as the person scrolls.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser
from playwright.sync_api import TimeoutError as NotInTime
from pyarrow import parquet

from benchmarks.pages import Bare
from benchmarks.recorded_run import recorded_run
from benchmarks.results import ROWS
from services.local import output_reader
from services.predictions.writer import make_table
from tests.browser.dashboard import browser

PAGE = """import streamlit as st
from pyarrow import parquet
st.header("Results")
st.dataframe(parquet.read_table({path!r}), height=563{more})
"""
WAYS = {"all at once": ", lazy=False", "by itself": ""}
SECONDS = 90


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as folder, browser() as chromium:
        table = Path(folder) / "predictions.parquet"
        make_table(output_reader.settled(recorded_run(Path(folder) / "recorded", ROWS)), table)
        print("\n| rows | sent | the table is there, s | MB to the browser | server's MB more |\n|---|---|---|---|---|")
        rows = parquet.read_table(table, columns=["File", "Prediction"])
        for count in sorted({min(size, ROWS) for size in (100_000, 1_000_000, ROWS)}):
            parquet.write_table(rows.slice(0, count), part := Path(folder) / f"{count}.parquet")
            for way, more in WAYS.items():
                place = Path(folder) / f"{count}-{len(more)}"
                place.mkdir()
                server = Bare(place, PAGE.format(path=str(part), more=more))
                try:
                    print(f"| {count:,} | {way} | {' | '.join(_looked_at(chromium, server))} |", flush=True)
                finally:
                    server.kill()


def _looked_at(chromium: Browser, server: Bare) -> list[str]:
    """Seconds until the table is drawn, MB sent, MB that the server takes more."""
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    sent: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: sent.append(len(frame))))
    before = server.memory()
    begin = time.perf_counter()
    page.goto(server.url, wait_until="commit")
    ends = "[data-testid=data-grid-canvas], [data-testid=stException]"
    try:
        page.wait_for_function(f"document.querySelector('{ends}')", polling="raf", timeout=SECONDS * 1000)
        words = f"{time.perf_counter() - begin:.1f}"
        if (refused := page.get_by_test_id("stException")).count():
            words = refused.inner_text().splitlines()[0]
    except NotInTime:
        words = f"not in {SECONDS} s"
    finally:
        page.context.close()
    return [words, f"{sum(sent) / 1e6:.1f}", f"{server.memory() - before:,.0f}"]

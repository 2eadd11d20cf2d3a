"""First paint and page switch of the dashboard, beside the least that a Streamlit app can be: one heading on two pages.

First paint: from the moment the server answers (its port listens) to the first heading, in a browser that never saw it; a new server
each time. Page switch: from a click on the navigation to the other page's heading and settled content, on a warm server with a full
workspace (the sample, a completed run).
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from services.domain import RunRequest
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace
from services.sample import make_sample
from services.settings import ParallelRunSettings
from tests.browser.dashboard import Dashboard, browser, settled

REPEATS = 5
PAGES = ("Home", "New run", "Runs", "Results", "Models", "Datasets", "Connection")
HEADINGS = {"Home": "Batch Scoring Studio"}  # where it isn't the name in the navigation

BARE_APP = (
    'import streamlit as st\nst.App\napp = st.App("bare.py")\nif __name__ == "__main__":\n    app.run(config={"server.port": PORT})\n'
)
BARE_PAGE = """import streamlit as st
pages = [st.Page(lambda name=name: st.header(name), title=name, url_path=name.lower()) for name in ("One", "Two")]
st.navigation(pages).run()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        home = full_home(Path(folder) / "home").home
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(REPEATS):
            ours.append(first_paint(chromium, lambda: Dashboard(home)))
            bare.append(first_paint(chromium, lambda: Bare(Path(folder))))
        row("first paint", ours, bare)
        dashboard, plain = Dashboard(home), Bare(Path(folder))
        try:
            bare = switches(chromium, plain, ["Two", "One"])
            for name in PAGES:
                row(f"switch to {name}", switches(chromium, dashboard, [name], back="Connection" if name == "Home" else "Home"), bare)
        finally:
            dashboard.kill()
            plain.kill()


class Bare:
    """A Streamlit app with one heading a page, started as the dashboard is."""

    def __init__(self, folder: Path, page: str = BARE_PAGE) -> None:
        import launcher

        self.port = launcher.free_port(8700)
        (folder / "bare.py").write_text(page)
        (folder / "bare_app.py").write_text(BARE_APP.replace("PORT", str(self.port)))
        (folder / ".streamlit").mkdir(exist_ok=True)
        (folder / ".streamlit/config.toml").write_text(
            '[server]\naddress = "127.0.0.1"\nheadless = true\nfileWatcherType = "none"\n[browser]\ngatherUsageStats = false\n'
        )
        self._process = subprocess.Popen(
            [sys.executable, "bare_app.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self._process.stdout or ():
            if re.search(r":\d{4}", line):
                break
        self.url = f"http://127.0.0.1:{self.port}"

    def admit(self, context: BrowserContext) -> None:
        """It lets everybody in."""

    def memory(self) -> float:
        """MB that it takes now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1e3

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def full_home(home: Path) -> LocalWorkspace:
    """A workspace with the sample and a completed run."""
    home.mkdir()
    workspace = LocalWorkspace(home)
    sample = make_sample(workspace.home)
    run = workspace.submit(sample_run(sample.model, sample.dataset))
    while not workspace.runs.get(run.id).status.ended:
        time.sleep(0.1)
    workspace.runs.predictions(run.id)
    return workspace


def sample_run(model: str, dataset: str) -> RunRequest:
    """The sample, scored with the built-in script."""
    script = str(BUILT_IN / "batch_scoring_script.py")
    return RunRequest((model,), (dataset,), script, ParallelRunSettings(mini_batch_size="50"))


def first_paint(chromium: Browser, start: Callable[[], Dashboard | Bare]) -> float:
    page = chromium.new_context().new_page()
    server = start()
    server.admit(page.context)
    begin = time.perf_counter()
    page.goto(server.url, wait_until="commit")
    wait_with_every_frame(page, "document.querySelector('h1, h2')")
    seconds = time.perf_counter() - begin
    page.context.close()
    server.kill()
    return seconds


def switches(chromium: Browser, server: Dashboard | Bare, names: list[str], back: str | None = None) -> list[float]:
    page = opened(chromium, server)
    seconds: list[float] = []
    for repeat in range(REPEATS + 1):
        for name in [*([back] if back else []), *names]:
            took = switch(page, name)
            if name in names and repeat:  # the first time a page imports what it needs
                seconds.append(took)
    page.context.close()
    return seconds


def opened(chromium: Browser, server: Dashboard | Bare) -> Page:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    server.admit(page.context)
    page.goto(server.url)
    settled(page).get_by_role("heading").first.wait_for()
    return page


def switch(page: Page, name: str) -> float:
    """Seconds from the click to the heading; it returns once the page is settled."""
    begin = time.perf_counter()
    page.get_by_role("link", name=name, exact=True).click()
    wait_with_every_frame(
        page, "name => [...document.querySelectorAll('h1, h2')].some(one => one.innerText == name)", HEADINGS.get(name, name)
    )
    took = time.perf_counter() - begin
    settled(page)
    return took


def wait_with_every_frame(page: Page, holds: str, argument: object = None) -> None:
    """Not a locator's `wait_for`, which looks after 20, 70, 170, 270 and then every 500 ms, nor `expect`, which looks every 100."""
    page.wait_for_function(holds, arg=argument, polling="raf")


def row(what: str, ours: list[float], bare: list[float], beside: str = "bare Streamlit") -> None:
    mine, least = statistics.median(ours), statistics.median(bare)
    print(f"  {what:<22} {1000 * mine:7.0f} ms   {beside} {1000 * least:7.0f} ms   ratio {mine / least:4.2f}", flush=True)

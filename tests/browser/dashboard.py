"""The dashboard as a person has it: `python app.py` in a process of its own, and a Chromium that looks at it.

Used by the browser tests, the benchmarks and the screenshots.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser import chromium

ROOT = Path(__file__).parents[2]
LAUNCH = {
    # Without these Chromium connects to its maker's hosts, and does not run as root.
    "args": [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ],
}  # fmt: skip
TIMEOUT_MS = 120_000  # for anything that a page shows or does: a loaded machine needs it
expect.set_options(timeout=TIMEOUT_MS)


class Dashboard:
    """A started server. `url` is where it is, `address` the one with its token that the terminal shows; `port` 0 takes any free one."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home = home
        environment = os.environ | {"BATCH_SCORING_HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"}
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
        # Into a file: a pipe that nobody reads is full after some hundred lines, and then the server stands still.
        descriptor, name = tempfile.mkstemp(suffix=".log", prefix="dashboard-")
        self._log = Path(name)
        self._process = subprocess.Popen(command, cwd=home, env=environment, stdout=descriptor, stderr=subprocess.STDOUT)
        os.close(descriptor)
        is_running = True
        while is_running:
            is_running = self._process.poll() is None
            if at := re.search(r"at ((http://127\.0\.0\.1:(\d+))/\?token=\S+) ", output := self.output()):
                self.address, self.url, self.port = at[1], at[2], int(at[3])
                return
            time.sleep(0.02)
        raise AssertionError("The dashboard did not start:\n" + output)

    def output(self) -> str:
        """What the server has printed."""
        return self._log.read_text("utf-8", errors="replace")

    def admit(self, context: BrowserContext) -> None:
        """Let the pages of this window in, as the address in the terminal does."""
        context.request.get(self.address, max_redirects=0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        self._process.wait()
        self._log.unlink(missing_ok=True)


@contextmanager
def dashboard(home: Path) -> Iterator[Dashboard]:
    """A dashboard on `home`, ended afterwards."""
    started = Dashboard(home)
    try:
        yield started
    finally:
        started.kill()


@contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """A headless Chromium of its own, with further arguments."""
    executable = chromium.executable()
    if executable is None:
        raise AssertionError(chromium.WHAT_TO_INSTALL)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(executable), args=[*LAUNCH["args"], *arguments])
        try:
            yield opened
        finally:
            opened.close()


def settled(page: Page) -> Page:
    """Wait until the page has run through and shows no skeleton. Assert on content next: it is also so just before a click's rerun."""
    page.wait_for_selector("[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]")
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    return page


MOVE = """to => new Promise(done => {
    const app = document.querySelector("[data-testid=stApp]")
    let began = false
    new MutationObserver((_, observer) => {
        if (app.getAttribute("data-test-script-state") !== "notRunning") began = true
        else if (began) { observer.disconnect(); done() }
    }).observe(app, { attributes: true })
    history.pushState({}, "", to)
    dispatchEvent(new PopStateEvent("popstate"))
})"""


def move(page: Page, path: str) -> Page:
    """Go from an open page to another address of the dashboard as Back and Forward do, in the same session, and wait until it has run
    through. Loading the dashboard's scripts anew, as `goto` does, takes the processor five times as long."""
    settled(page).evaluate(MOVE, f"/{path}")
    return settled(page)

"""One home, one dashboard and one window of one Chromium for all tests of a pytest process, and a page for each test: a dashboard takes two
seconds of the processor to start, and a page opened beside another one a third of what it takes alone. So tests name what they register by
names of their own; one that needs an empty home starts its own dashboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import dashboard as started
from tests.conftest import home_in

# Nothing moves: each picture of an animation is drawn by the processor, for as long as a page waits.
STILL = """
const still = () => document.documentElement.append(Object.assign(document.createElement("style"), {
  textContent: "*, *::before, *::after { animation: none !important; transition: none !important }"
}))
if (document.documentElement) still()
else new MutationObserver((_, observer) => { if (document.documentElement) { observer.disconnect(); still() } }).observe(
  document, { childList: true })
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named: `pytest tests/browser --walks`."""
    parser.addoption("--walks", action="store_true", help="the whole walks, each of which takes longer than half a minute")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--walks", False):
        for item in items:
            if item.get_closest_marker("walk"):
                item.add_marker(pytest.mark.skip(reason="takes longer than half a minute: make test-walks"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    # Pages of one site in one process: the scripts that the first one has read and compiled are there for the others.
    with started.browser("--process-per-site") as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[started.Dashboard]:
    with home_in(tmp_path_factory.mktemp("browser")) as home, started.dashboard(home) as server:
        yield server


@pytest.fixture(scope="session")
def home(shared_dashboard: started.Dashboard) -> Path:
    return shared_dashboard.home


@pytest.fixture(scope="session")
def dashboard(shared_dashboard: started.Dashboard) -> started.Dashboard:
    return shared_dashboard


@pytest.fixture(scope="session")
def window(chromium: Browser, shared_dashboard: started.Dashboard) -> Iterator[BrowserContext]:
    """A window with one page, which stays open and keeps the process of the others alive."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, reduced_motion="reduce")
    context.set_default_timeout(started.TIMEOUT_MS)
    context.add_init_script(STILL)
    shared_dashboard.admit(context)
    context.new_page().goto(f"{shared_dashboard.url}/favicon.png")
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page, which may open the dashboard. An error in its console, or a request to the web, fails the test."""
    window.clear_cookies()
    opened = window.new_page()
    if "dashboard" in request.fixturenames:
        request.getfixturevalue("dashboard").admit(window)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda asked: None if "127.0.0.1" in asked.url or asked.url.startswith(("data:", "blob:", "file:"))
              else errors.append(f"requested {asked.url}"))  # fmt: skip
    yield opened
    for each in window.pages[1:]:
        each.close()
    assert errors == []

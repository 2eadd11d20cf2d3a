"""A home, a dashboard and a window of one Chromium for the tests of a file, and a page for each test. A dashboard takes a second to start,
and the second page of a window a third of what the first takes. A test that needs a home of its own starts its own dashboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import dashboard as started
from tests.conftest import home_in


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with started.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home_in(tmp_path_factory.mktemp("browser")) as folder:
        yield folder


@pytest.fixture(scope="module")
def dashboard(home: Path) -> Iterator[started.Dashboard]:
    with started.dashboard(home) as server:
        yield server


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(started.TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page, which may open the file's dashboard. An error in its console, or a request to the web, fails the test."""
    opened = window.new_page()
    if "dashboard" in request.fixturenames:
        request.getfixturevalue("dashboard").admit(window)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda asked: None if "127.0.0.1" in asked.url or asked.url.startswith(("data:", "blob:", "file:"))
              else errors.append(f"requested {asked.url}"))  # fmt: skip
    yield opened
    for each in window.pages:
        each.close()
    window.clear_cookies()
    assert errors == []

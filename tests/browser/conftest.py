"""A dashboard on a home of its own for each test, and pages of one Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import dashboard as started


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with started.browser() as opened:
        yield opened


@pytest.fixture
def dashboard(home: Path) -> Iterator[started.Dashboard]:
    with started.dashboard(home) as server:
        yield server


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in a window of its own. What its console says is wrong fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(started.A_LOADED_MACHINE_NEEDS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: None if "127.0.0.1" in request.url or request.url.startswith(("data:", "blob:"))
              else complaints.append(f"asked the web for {request.url}"))  # fmt: skip
    yield opened
    context.close()
    assert complaints == []

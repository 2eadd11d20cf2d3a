"""A page that refreshes itself while another one is opened."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from services.domain import RunRequest
from services.settings import ParallelRunSettings
from tests.browser.dashboard import TIMEOUT_MS, settled

SOCKET = re.compile("/_stcore/stream")
WAITS = """
    import os, time
    def run(mini_batch):
        while not os.path.exists({gate!r}): time.sleep(0.01)
        return list(mini_batch)
"""


class SlowBrowser:
    """Between page and server: when the server begins another page, the page before asks once more to be refreshed, as it does where a
    browser is behind with what it is sent. `refreshed` are the pages that have asked for it, in order."""

    def __init__(self, page: Page) -> None:
        self.refreshed: list[str] = []
        self.late = 0
        page.route_web_socket(SOCKET, self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        server, last = socket.connect_to_server(), b""

        def to_server(message: str | bytes) -> None:
            nonlocal last
            asked = BackMsg.FromString(message).rerun_script
            if asked.is_auto_rerun:
                last = message
                self.refreshed.append(asked.page_script_hash)
            server.send(message)

        def to_page(message: str | bytes) -> None:
            nonlocal last
            begun = ForwardMsg.FromString(message).new_session.page_script_hash
            if last and begun and begun != self.refreshed[-1]:
                server.send(last)
                last = b""
                self.late += 1
            socket.send(message)

        socket.on_message(to_server)
        server.on_message(to_page)


def wait_for(page: Page, happened: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_MS / 1000
    while not happened():  # Playwright calls the functions above meanwhile
        assert time.monotonic() < until
        page.wait_for_timeout(50)


@pytest.fixture
def gate(tmp_path):
    """Until this file exists the run is active."""
    return tmp_path / "gate"


@pytest.fixture
def run(workspace, csv_folder, entry_script, gate, finish):
    workspace.register_dataset("switched", csv_folder(4))
    request = RunRequest((), ("switched",), str(entry_script(WAITS.format(gate=str(gate)))), ParallelRunSettings(process_count_per_node=1))
    submitted = workspace.submit(request)
    yield submitted
    gate.touch()
    finish(workspace, submitted.id)  # so that no page of another test tells its end


def results_are_open(page: Page) -> None:
    expect(settled(page).get_by_role("heading", name="Results", exact=True)).to_be_visible(timeout=10_000)


def test_a_late_refresh_of_the_page_before_leaves_the_next_one(dashboard, page, run):
    browser = SlowBrowser(page)
    page.goto(f"{dashboard.url}/runs?run={run.id}")
    wait_for(page, lambda: bool(browser.refreshed))
    page.get_by_role("button", name="See results so far").click()
    wait_for(page, lambda: browser.late > 0 and browser.refreshed[-1] != browser.refreshed[0])
    results_are_open(page)


def test_a_click_at_the_moment_a_run_ends_is_not_lost(dashboard, page, run, gate, workspace, finish):
    def without_refreshes(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: None if BackMsg.FromString(message).rerun_script.is_auto_rerun else server.send(message))

    page.route_web_socket(SOCKET, without_refreshes)
    page.goto(f"{dashboard.url}/runs?run={run.id}")
    see_results = page.get_by_role("button", name="See results so far")
    expect(see_results).to_be_visible()
    gate.touch()
    finish(workspace, run.id)
    see_results.click()
    results_are_open(page)

"""What a browser does with the token: it is let in, keeps none in its address, and says it to nobody."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from services.access import write_redirect
from tests.browser.chromium import executable
from tests.browser.dashboard import LAUNCH, Dashboard, settled
from tests.server.conftest import APP, served


def test_the_page_for_the_browser_leads_in_and_leaves_no_token_behind(page: Page, home: Path):
    server = Dashboard(home)
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.all_headers().get("referer", "")))
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    try:
        page.goto(write_redirect(home, server.port, server.address).as_uri())
        expect(settled(page).get_by_role("heading", name="Batch Scoring Studio", exact=True)).to_be_visible()
        token = server.address.partition("?token=")[2]
        assert page.url == f"{server.url}/"
        assert len(sent) > 10
        assert token not in "\n".join([*sent, *sockets, page.content()])
        assert f"studio-{server.port}" not in page.evaluate("document.cookie")
        assert page.evaluate("document.referrer") == ""
        page.go_back()  # to the address before: no page of ours holds the token either
        assert token not in page.url
    finally:
        server.kill()


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
def test_the_app_window_is_let_in_and_the_history_holds_no_token(chromium: Browser, home: Path, tmp_path: Path):
    called, stand_in = tmp_path / "called", tmp_path / "chromium"
    os.mkfifo(called)
    stand_in.write_text(f"#!/bin/sh\necho \"$@\" >'{called}'\n")
    stand_in.chmod(0o755)
    environment = {"PATH": str(tmp_path), "DISPLAY": ":0", "STREAMLIT_SERVER_HEADLESS": "false"}
    with served(home, *APP, "0", "--app", **environment) as dashboard:
        arguments = [*LAUNCH["args"], called.read_text().strip()]
        context = chromium.browser_type.launch_persistent_context(
            tmp_path / "profile", executable_path=executable(), args=arguments, ignore_default_args=["about:blank"]
        )
        expect(settled(context.pages[0]).get_by_role("heading", name="Batch Scoring Studio", exact=True)).to_be_visible()
        context.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "profile" / "Default" / "History")) as history:
            addresses = [url for (url,) in history.execute("SELECT url FROM urls")]
        assert f"http://127.0.0.1:{dashboard.port}/" in addresses
        assert [url for url in addresses if dashboard.token in url] == []


def test_two_dashboards_in_one_browser_and_another_users_server(page: Page, tmp_path: Path):
    received: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            # It may set cookies for this host, ours included, and show our pages' files if they let it.
            self.send_header("Set-Cookie", "studio-1=theirs; Path=/runs")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()
    first, second = (Dashboard(home) for home in homes)
    with HTTPServer(("127.0.0.1", 0), Server) as theirs:
        serving = threading.Thread(target=theirs.serve_forever)
        serving.start()
        try:
            for server in (first, second):
                page.goto(server.address)
                expect(settled(page).get_by_role("heading", name="Batch Scoring Studio", exact=True)).to_be_visible()
            elsewhere = page.context.new_page()
            elsewhere.goto(f"http://127.0.0.1:{theirs.server_port}/")
            for server in (first, second):
                # A server at another port is of the same site: the browser sends it our cookies, which hold no token.
                assert f"studio-{server.port}=" in received[0]
                assert server.address.partition("?token=")[2] not in received[0]
                # Its page can read nothing and open no WebSocket here, though the browser sends the cookie.
                read = "url => fetch(url, {mode: 'no-cors', credentials: 'include'}).then(() => 'read', () => 'refused')"
                assert elsewhere.evaluate(read, f"{server.url}/favicon.png") == "refused"
                opened = (
                    "url => new Promise(done => { const socket = new WebSocket(url);"
                    " socket.onopen = () => done('opened'); socket.onerror = () => done('refused') })"
                )
                assert elsewhere.evaluate(opened, f"ws://127.0.0.1:{server.port}/_stcore/stream") == "refused"
            for server in (first, second):
                page.goto(f"{server.url}/runs")
                expect(settled(page).get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        finally:
            theirs.shutdown()
            serving.join()
            first.kill()
            second.kill()

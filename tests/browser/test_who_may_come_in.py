"""What a browser does with the token: it is let in, keeps none in its address, and says it to nobody."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from playwright.sync_api import Page, expect

from services.access import write_redirect
from tests.browser.dashboard import Dashboard, settled


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

"""Only who belongs: the token, the cookie it is exchanged for, and where neither may stand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from services.access import users_are_told_apart
from tests.server.conftest import APP, ROOT, TOKEN, UPGRADE, Served, attributes

NOBODY = 65534
ROUTES = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/runs"),
    ("GET", "/favicon.png"),
    ("GET", "/static/media/any.woff2"),
    ("GET", "/media/0123.png"),
    ("PUT", "/_stcore/upload_file/session/file"),
    ("DELETE", "/_stcore/upload_file/session/file"),
    ("GET", "/component/any/index.html"),
    ("GET", "/_stcore/bidi-components/any/index.js"),
    ("GET", "/_stcore/health"),
    ("GET", "/_stcore/host-config"),
    ("GET", "/_stcore/metrics"),
    ("POST", "/_stcore/agent/interact"),
    ("OPTIONS", "/_stcore/stream"),
    ("GET", "/downloads/output?run=any&name=any"),
    ("GET", "/downloads/predictions.csv?run=any"),
    ("POST", "/?token={token}"),
]


def as_another_user(user: int, port: int, path: str, cookie: str = "", **headers: str) -> int:
    """The status that a client of this user id gets. Only root can ask so."""
    code = (
        "import encodings.idna, http.client, json, os, sys\n"
        "os.setuid(int(sys.argv[1]))\n"
        "connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[2]))\n"
        "connection.request('GET', sys.argv[3], headers=json.loads(sys.argv[4]))\n"
        "print(connection.getresponse().status)\n"
    )
    command = [sys.executable, "-c", code, str(user), str(port), path, json.dumps({"Cookie": cookie} | headers)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_who_shows_nothing(dashboard: Served, method: str, path: str):
    refused = dashboard.answer(path.format(token=dashboard.token), method)
    assert (refused.status, refused.cookie) == (403, "")
    if method != "HEAD":
        assert refused.text == "This dashboard needs its token: open the address that stands in the terminal in which it was started.\n"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_answers_a_program_with_the_token(dashboard: Served, method: str, path: str):
    let_in = dashboard.answer(path.format(token="any"), method, **dashboard.bearer)
    assert "This dashboard needs its token" not in let_in.text
    assert let_in.status in (200, 303, 400, 403, 404, 405)  # 403 is Streamlit's own answer to an upload without its XSRF token


@pytest.mark.parametrize("shown", ["Bearer wrong", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"])
def test_another_authorization_is_refused(dashboard: Served, shown: str):
    assert dashboard.answer("/_stcore/health", Authorization=shown).status == 403
    assert dashboard.answer("/_stcore/stream", Authorization=shown, **UPGRADE).status == 403


def test_the_websocket_opens_with_the_cookie_or_the_token_only(dashboard: Served):
    assert dashboard.answer("/_stcore/stream", **UPGRADE).status == 403
    assert dashboard.answer(f"/_stcore/stream?token={TOKEN}", **UPGRADE).status != 101
    assert dashboard.answer("/_stcore/stream", Cookie=dashboard.cookie(), **UPGRADE).status == 101
    assert dashboard.answer("/_stcore/stream", **dashboard.bearer, **UPGRADE).status == 101


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/?token={}", "/"),
        ("/runs?run=a%2Fb&token={}&tab=x+y", "/runs?run=a%2Fb&tab=x+y"),
        ("/?%74oken={}", "/"),
        ("//evil.example/?token={}", "/evil.example/"),
        (r"/\evil.example/?token={}", "/%5Cevil.example/"),
    ],
)
def test_the_address_with_the_token_sets_a_cookie_and_drops_the_token(dashboard: Served, path: str, to: str):
    answer = dashboard.answer(path.format(TOKEN))
    assert (answer.status, answer.headers["location"], answer.headers["cache-control"]) == (303, to, "no-store")
    name, value, more = attributes(answer.headers["set-cookie"])
    assert (name, more) == (f"studio-{dashboard.port}", {"httponly": True, "samesite": "lax", "path": "/"})
    assert TOKEN not in unquote(value)
    assert dashboard.answer("/_stcore/health", Cookie=f"{name}={value}").text == "ok"
    again = dashboard.answer("/?token=of-yesterday", Cookie=f"{name}={value}")  # a bookmark
    assert (again.status, again.headers["location"]) == (303, "/")


@pytest.mark.parametrize("token", ["wrong", "", TOKEN[:-1], f"{TOKEN} ", "é", "%00", "%FF"])
def test_the_address_with_another_token_is_refused(dashboard: Served, token: str):
    refused = dashboard.answer(f"/?token={token.replace(' ', '%20').replace('é', '%C3%A9')}")
    assert (refused.status, refused.cookie) == (403, "")


def test_a_forwarded_port_has_the_cookie_of_the_port_in_the_browser(dashboard: Served):
    cookie = dashboard.answer(f"/?token={TOKEN}", Host="localhost:9999").cookie
    assert cookie.startswith("studio-9999=")
    assert dashboard.answer(Host="localhost:9999", Cookie=cookie).status == 200
    assert dashboard.answer(Host="localhost:9998", Cookie=cookie).status == 403
    assert dashboard.answer(f"/?token={TOKEN}", Host="localhost").cookie.startswith("studio-80=")


def test_a_cookie_set_from_another_port_does_not_shut_a_person_out(dashboard: Served):
    name, _, _ = dashboard.cookie().partition("=")
    for others in (f"{name}=theirs; {dashboard.cookie()}", f"{dashboard.cookie()}; {name}=theirs", f"a; =; {name}; {dashboard.cookie()}"):
        assert dashboard.answer("/_stcore/health", Cookie=others).status == 200
    assert dashboard.answer("/_stcore/health", Cookie=f"{name}=theirs; {name}").status == 403


def test_a_cookie_is_good_for_one_dashboard_and_one_start_of_it(dashboard: Served, serve: Callable[..., Served]):
    other = serve(BATCH_SCORING_TOKEN=TOKEN)
    both = f"{dashboard.cookie()}; {other.cookie()}"  # as a browser sends them to either, since cookies ignore ports
    name, _, value = dashboard.cookie().partition("=")
    others_name, _, others_value = other.cookie().partition("=")
    for server, own, foreign in ((dashboard, name, others_value), (other, others_name, value)):
        assert server.answer("/_stcore/health", Cookie=both).status == 200
        assert server.answer("/_stcore/health", Cookie=f"{own}={foreign}").status == 403

    other.process.send_signal(signal.SIGINT)
    other.process.communicate(timeout=240)
    again = serve(*APP, str(other.port), BATCH_SCORING_TOKEN=TOKEN)
    assert (again.port, again.cookie().partition("=")[0]) == (other.port, others_name)
    assert again.answer("/_stcore/health", Cookie=f"{others_name}={others_value}").status == 403
    assert again.answer("/_stcore/stream", Cookie=f"{others_name}={others_value}", **UPGRADE).status == 403


def test_each_start_has_a_token_of_its_own(serve: Callable[..., Served], tmp_path: Path):
    first, second = serve(BATCH_SCORING_TOKEN=""), serve(home=tmp_path / "another")
    assert len({first.token, second.token}) == 2
    assert min(len(first.token), len(second.token)) >= 32
    assert second.answer("/_stcore/health", **first.bearer).status == 403


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can act as another user")
def test_another_users_client_is_refused_even_with_the_cookie(dashboard: Served):
    # A server of another user on this machine is sent the cookie by a browser that opens it.
    received: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers["Cookie"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    from urllib.request import HTTPCookieProcessor, build_opener

    with HTTPServer(("127.0.0.1", 0), Server) as theirs:
        serving = threading.Thread(target=theirs.handle_request)
        serving.start()
        browser = build_opener(HTTPCookieProcessor())
        assert browser.open(dashboard.shown).status == 200
        browser.open(f"http://127.0.0.1:{theirs.server_port}/")
        serving.join()
    assert received == [dashboard.cookie()]

    for user, status in ((NOBODY, 403), (os.geteuid(), 200)):
        assert as_another_user(user, dashboard.port, "/_stcore/health", received[0]) == status


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_is_refused_whoever_they_say_they_ask_for(dashboard: Served):
    for made_up in ("8.8.8.8", "127.0.0.1", "10.0.0.1:5", f"127.0.0.1:{dashboard.port}", "nobody", "::1"):
        forwarded = {"X-Forwarded-For": made_up, "X-Forwarded-Proto": "https"}
        assert as_another_user(NOBODY, dashboard.port, "/_stcore/health", dashboard.cookie(), **forwarded) == 403


def test_without_a_token_everybody_is_let_in_and_the_terminal_says_so(serve: Callable[..., Served]):
    dashboard = serve(*APP, "0", "--no-token", BATCH_SCORING_TOKEN=TOKEN)
    assert dashboard.said[-1].startswith(f"Batch Scoring Studio is at http://127.0.0.1:{dashboard.port}, for every user of this machine ")
    assert dashboard.answer("/_stcore/health").text == "ok"
    assert dashboard.answer("/_stcore/stream", **UPGRADE).status == 101


def test_a_token_that_could_be_guessed_ends_the_start_with_the_reason(tmp_path: Path):
    token = "short"
    environment = os.environ | {"BATCH_SCORING_HOME": str(tmp_path), "BATCH_SCORING_TOKEN": token}
    done = subprocess.run([*APP, "0"], env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The value of BATCH_SCORING_TOKEN can't be a token. Use at least 16 letters")
    assert token not in done.stderr


@pytest.mark.parametrize(
    ("command", "announcement"),
    [
        ((sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", "0"), "Batch Scoring Studio is at"),
        ((sys.executable, "-m", "uvicorn", "app:app", "--port", "0"), "Uvicorn running on"),
    ],
)
def test_other_ways_to_start_it_ask_for_the_token_and_log_none(serve: Callable[..., Served], command: tuple[str, ...], announcement: str):
    dashboard = serve(*command, announcement=announcement, cwd=ROOT, BATCH_SCORING_TOKEN=TOKEN)
    assert dashboard.answer("/_stcore/health").status == 403
    assert dashboard.answer("/_stcore/stream", **UPGRADE).status == 403
    for token in (TOKEN, "wrong-but-perhaps-of-another"):
        dashboard.answer(f"/runs?token={token}&run=x")
    assert dashboard.answer("/_stcore/health", Authorization=f"Bearer {TOKEN}").text == "ok"
    dashboard.process.send_signal(signal.SIGINT)
    rest, _ = dashboard.process.communicate(timeout=240)
    if "uvicorn" in command:
        assert '"GET /runs?run=x HTTP/1.1" 303' in rest  # its access log
    assert "token" not in rest
    assert TOKEN not in dashboard.log()


@pytest.mark.timeout(120)
@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
@pytest.mark.parametrize("in_a_window", [False, True])
def test_no_child_and_no_command_line_has_the_token(serve: Callable[..., Served], tmp_path: Path, in_a_window: bool):
    called, browser = tmp_path / "called", tmp_path / ("chromium" if in_a_window else "firefox")
    os.mkfifo(called)
    browser.write_text(f"#!/bin/sh\n(echo \"$@\"; export) >'{called}'\n")
    browser.chmod(0o755)
    environment = {"PATH": str(tmp_path), "BROWSER": f"{browser} %s", "DISPLAY": ":0"}
    command = (*APP, "0", *(["--app"] if in_a_window else []))
    dashboard = serve(*command, STREAMLIT_SERVER_HEADLESS="false", BATCH_SCORING_TOKEN=TOKEN, **environment)
    argument, *inherited = called.read_text().splitlines()
    assert TOKEN not in "\n".join([argument, *inherited])
    assert "BATCH_SCORING_TOKEN" not in "\n".join(inherited)

    if users_are_told_apart():  # then a code on the command line is of no use to another user
        assert argument.removeprefix("--app=").startswith(f"http://127.0.0.1:{dashboard.port}/?token=")
        code = argument.partition("token=")[2]
        if os.geteuid() == 0:
            assert as_another_user(NOBODY, dashboard.port, f"/?token={code}") == 403
            assert as_another_user(NOBODY, dashboard.port, f"/?token={code}", **{"X-Forwarded-For": "8.8.8.8"}) == 403
    else:
        page = Path(argument.removeprefix("--app=").removeprefix("file://"))
        assert page == dashboard.home / "browser" / f"dashboard-{dashboard.port}.html"
        code = page.read_text().partition("token=")[2].partition('"')[0]
    assert TOKEN not in code
    assert dashboard.answer(f"/?token={code}").cookie == dashboard.cookie()
    assert dashboard.answer(f"/?token={code}").status == 403  # good once
    assert dashboard.answer(Authorization=f"Bearer {code}").status == 403
    dashboard.process.send_signal(signal.SIGINT)
    dashboard.process.communicate(timeout=240)
    assert list(dashboard.home.glob("browser/*")) == []
    assert TOKEN not in dashboard.log()
    assert code not in dashboard.log()


LOOKS_AROUND = """
import os

def run(mini_batch):
    runner = f"/proc/{os.getppid()}"
    assert "services.local.runner" in open(f"{runner}/cmdline").read()
    seen = open(f"{runner}/environ").read() + open("/proc/self/environ").read() + str(os.environ)
    return [str("BATCH_SCORING_TOKEN" in seen)] * len(mini_batch)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process's environment is read from /proc")
def test_neither_a_runner_nor_a_worker_has_the_token(
    home: Path, csv_folder: Callable[..., Path], entry_script: Callable[..., Path], tmp_path: Path
):
    environment = os.environ | {"BATCH_SCORING_HOME": str(home), "BATCH_SCORING_TOKEN": TOKEN}
    for command in (
        ("dataset", "register", "d", csv_folder(2)),
        ("run", "--dataset", "d", "--entry-script", entry_script(LOOKS_AROUND), "--name", "look", "--wait"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "services", *map(str, command), "--json"], cwd=ROOT, env=environment, capture_output=True, check=True
        )
    run = json.loads(done.stdout)["id"]
    [output] = (home / "runs" / run).rglob("parallel_run_step.txt")
    assert output.read_text().split() == ["False", "False"]

"""The server: its port, whom it listens to, what each answer carries."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.storage.store import Store
from tests.server.conftest import APP, UPGRADE, Served


def test_the_dashboard_says_its_port_is_taken_and_ends_on_ctrl_c(serve: Callable[..., Served]):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        dashboard = serve(*APP, str(taken))
    dashboard.process.send_signal(signal.SIGINT)
    rest, _ = dashboard.process.communicate(timeout=240)
    assert dashboard.said[0] == f"Port {taken} is in use; using {dashboard.port}\n"
    assert (dashboard.process.returncode, rest) == (0, "")


def test_a_deletion_that_was_killed_is_finished_when_the_dashboard_starts(serve: Callable[..., Served], tmp_path: Path):
    left = tmp_path / "home" / "runs" / "run-20260101-000000-000000"
    left.mkdir(parents=True)
    store = Store(tmp_path / "home")
    store.note_deletions([left.relative_to(tmp_path / "home").as_posix()])
    serve()
    until = time.monotonic() + 120
    while store.deletions() and time.monotonic() < until:
        time.sleep(0.2)
    assert (store.deletions(), left.exists()) == ([], False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_an_address_that_cannot_be_printed_ends_the_dashboard_with_the_reason(tmp_path: Path):
    environment = os.environ | {"BATCH_SCORING_HOME": str(tmp_path), "STREAMLIT_SERVER_HEADLESS": "true"}
    with open("/dev/full", "w") as full:
        done = subprocess.run([*APP, "0"], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=240)
    assert done.returncode != 0
    assert "The dashboard can't print its address: No space left on device. Send its output elsewhere." in done.stderr


def test_the_dashboard_listens_on_this_machine_only(dashboard: Served):
    assert dashboard.answer(**dashboard.bearer).status == 200
    # Any of the loopback's other addresses stands for "every interface".
    for elsewhere in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r"refused|assign|unreachable|timed out|not supported|host"):
            socket.create_connection((elsewhere, dashboard.port), timeout=1)


@pytest.mark.parametrize("belongs", [True, False])
@pytest.mark.parametrize("path", ["/", "/runs", "/_stcore/health", "/nowhere/at/all.js"])
def test_every_answer_carries_the_security_headers(dashboard: Served, path: str, belongs: bool):
    headers = dashboard.answer(path, **dashboard.bearer if belongs else {}).headers
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert "img-src 'self' data: blob:" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8501", "192.168.0.1", ""])
@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/?token={token}"])
def test_a_foreign_host_is_refused_on_every_route(dashboard: Served, path: str, host: str):
    path = path.format(token=dashboard.token)
    refused = dashboard.answer(path, Host=host, **dashboard.bearer)
    assert (refused.status, refused.cookie) == (400, "")
    assert dashboard.answer(path, Host=f"localhost:{dashboard.port}", **dashboard.bearer).status in (200, 303)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null", ""])
def test_a_page_from_elsewhere_gets_no_answer_and_no_websocket(dashboard: Served, origin: str):
    host, cookie = f"127.0.0.1:{dashboard.port}", dashboard.cookie()
    assert dashboard.answer(Host=host, Origin=origin, Cookie=cookie).status == 403
    assert dashboard.answer("/_stcore/stream", Host=host, Origin=origin, Cookie=cookie, **UPGRADE).status == 403
    assert dashboard.answer("/_stcore/stream", Host=host, Origin=f"http://{host}", Cookie=cookie, **UPGRADE).status == 101

"""The dashboard's server in a process of its own, and what it answers to a client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "chosen-by-a-person-0123"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="}
APP = (sys.executable, str(ROOT / "app.py"), "--port")


@dataclass
class Answer:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """What it sets, as a browser sends it back: `name=value`; "" where it sets none."""
        return self.headers.get("set-cookie", "").partition(";")[0]


@dataclass
class Served:
    """A started dashboard. `said` are its lines up to the address, `shown` the address in the last of them."""

    process: subprocess.Popen[str]
    home: Path
    said: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return re.findall(r"http://[^ ,]+", self.said[-1])[0]

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)", self.shown)[0])

    @property
    def token(self) -> str:
        return self.shown.partition("?token=")[2]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def answer(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        """What one request gets, redirects not followed. No header stands for itself: nobody is let in without asking."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        text = "" if response.status == 101 else response.read().decode("utf-8", "replace")
        connection.close()
        return Answer(response.status, text, {name.lower(): value for name, value in response.getheaders()})

    def cookie(self) -> str:
        """The cookie that a browser gets for the token."""
        return self.answer(f"/?token={self.token}").cookie

    def log(self) -> str:
        return (self.home / "logs" / "dashboard.log").read_text(encoding="utf-8")


@contextmanager
def served(
    home: Path, *command: str, announcement: str = "Batch Scoring Studio is at", cwd: Path | None = None, **environment: str
) -> Iterator[Served]:
    """A dashboard on `home`, up to its line with the announcement; killed at the end. Environment: this one's and the given."""
    home.mkdir(exist_ok=True)
    given = os.environ | {"BATCH_SCORING_HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"} | environment
    process = subprocess.Popen(
        command or (*APP, "0"), cwd=cwd or home, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )
    dashboard = Served(process, home)
    try:
        for line in process.stdout or []:
            dashboard.said.append(line)
            if announcement in line:
                break
        else:
            pytest.fail("".join(dashboard.said))
        yield dashboard
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One with a token that a person chose."""
    with served(tmp_path_factory.mktemp("server") / "home", BATCH_SCORING_TOKEN=TOKEN) as started:
        yield started


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """`serve(...)` starts another, on the test's own home: `served`'s arguments."""
    with ExitStack() as ends:
        yield lambda *command, **more: ends.enter_context(served(more.pop("home", tmp_path / "home"), *command, **more))


def attributes(set_cookie: str) -> tuple[str, str, dict[str, object]]:
    """Name, value and attributes of a Set-Cookie header."""
    [(name, morsel)] = SimpleCookie(set_cookie).items()
    return name, morsel.value, {key: value for key, value in morsel.items() if value}

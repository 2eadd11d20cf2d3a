"""Environments with packages from PyPI, which are downloaded only where `--with-downloads` says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.local import installers

PROJECT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named: `pytest tests/environments --with-downloads`."""
    parser.addoption("--with-downloads", action="store_true", help="make environments with packages from PyPI")


@pytest.fixture(autouse=True)
def with_downloads(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--with-downloads", default=False):
        pytest.skip("packages from PyPI: make test-environments")


@pytest.fixture(params=["uv", "pip"])
def command(request: pytest.FixtureRequest, home: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`command("model", "list")` on the workspace in `home`, with uv and without: the exit code and the JSON."""
    folders = os.environ["PATH"].split(os.pathsep)
    if request.param == "uv" and not installers.find_uv():
        pytest.skip("uv is not here")
    if request.param == "pip":
        folders = [folder for folder in folders if not (Path(folder) / "uv").exists()]

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        words = [sys.executable, "-m", "services", "--home", home, "--json", *map(str, arguments)]
        environment = {**os.environ, "PATH": os.pathsep.join(folders)}
        done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", check=False)
        print(done.stderr)
        return done.returncode, json.loads(done.stdout)

    return call

"""The wheel, built and installed: over what is installed here, or with `--with-dependencies` in a fresh environment, as a person has it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named: `pytest tests/package --with-dependencies`."""
    parser.addoption("--with-dependencies", action="store_true", help="install the wheel in a fresh environment, with what it requires")


@dataclass
class Installed:
    """An installed wheel: its command, the Python that runs it, their environment, and a folder of a person's, which is elsewhere."""

    command: Path
    python: Path
    environment: dict[str, str]
    folder: Path

    def start(self, *arguments: object, **given: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"} | given
        return subprocess.Popen([self.command, *map(str, arguments)], cwd=self.folder, env=self.environment, **pipes)

    def call(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def json(self, *arguments: object) -> Any:
        """What a command answers, which must go well."""
        code, out, err = self.call(*arguments, "--json")
        assert code == 0, out + err
        return json.loads(out)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Installed]:
    """The wheel, installed in a folder of its own, which goes with the tests: with its dependencies it takes 700 MB."""
    place, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("a folder")
    environment = {name: value for name, value in os.environ.items() if not re.match("PYTHONPATH|BATCH_SCORING|STREAMLIT", name)}
    environment |= {"BATCH_SCORING_HOME": str(folder / "home"), "STREAMLIT_SERVER_HEADLESS": "true"}
    scripts = "Scripts" if os.name == "nt" else "bin"
    if request.config.getoption("--with-dependencies", False):
        _run(sys.executable, "-m", "venv", *(["--without-pip"] if shutil.which("uv") else []), place)
        python = place / scripts / "python"
        _run(*_installer(python), wheel)
    else:
        python = Path(sys.executable)
        _run(*_installer(python), "--no-deps", "--no-index", "--target", place, wheel)
        scripts = "bin"
        environment["PYTHONPATH"] = str(place)
    yield Installed(place / scripts / "batch-scoring-studio", python, environment, folder)
    shutil.rmtree(place)


def _installer(python: Path) -> list[object]:
    """pip or uv, whichever set-up left: uv makes environments without pip."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", python]
    assert python != Path(sys.executable) or importlib.util.find_spec("pip"), "Neither pip nor uv is here to install a wheel with."
    return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The command line, to be called in process or as a real command, on the workspace in `home`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.cli.main import main

PROJECT = Path(__file__).parents[2]
ECHO = """
    import os
    def run(mini_batch):
        return [f"{os.path.basename(path)}: {open(path).read().strip()}" for path in mini_batch]
"""


@dataclass
class Result:
    """A command's exit code and output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        (name, error), *others = self.json.items()
        assert (name, others) == ("error", [])
        return error


@pytest.fixture
def command(home, capsys) -> Callable[..., Result]:
    """`command("runs", "--json")` in this process, on the workspace in `home`."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main(["--home", str(home), *map(str, arguments)])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def started(home) -> Callable[..., subprocess.Popen[str]]:
    """The real command, started: `python -m services --home HOME ...`."""

    def start(*arguments: object, **given: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        words = [sys.executable, "-m", "services", "--home", home, *map(str, arguments)]
        if os.name == "posix":  # tests that a shell runs in the background ignore SIGINT, and so would what they start
            given |= {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        return subprocess.Popen(words, cwd=PROJECT, **(pipes | given))

    return start


@pytest.fixture
def real_command(started) -> Callable[..., Result]:
    """The real command, waited for."""

    def call(*arguments: object) -> Result:
        with started(*arguments) as process:
            out, err = process.communicate(timeout=240)
        return Result(process.returncode, out, err)

    return call


@pytest.fixture
def run(command, csv_folder, entry_script) -> Callable[..., Result]:
    """`run(option, ..., script=source)`: a run of a small script over dataset `rows`, of three files unless that is registered already."""

    def call(*options: object, script: str = ECHO) -> Result:
        if not command("dataset", "list", "--json").json["datasets"]:
            assert command("dataset", "register", "rows", csv_folder(3)).code == 0
        few = ("--process-count-per-node", 1)
        return command("run", "--dataset", "rows", "--entry-script", entry_script(script), *few, *options)

    return call


@pytest.fixture
def start_run(started, command, csv_folder, entry_script) -> Callable[..., subprocess.Popen[str]]:
    """The real `run --wait` of a small script over three files, started."""

    def start(*options: object, script: str = ECHO, **given: Any) -> subprocess.Popen[str]:
        command("dataset", "register", "rows", csv_folder(3))
        run = ("run", "--dataset", "rows", "--entry-script", entry_script(script), "--process-count-per-node", 1, "--wait")
        return started(*run, *options, **given)

    return start

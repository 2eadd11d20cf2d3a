"""The command line, to be called in process or as a real command, on the workspace in `home`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from textwrap import dedent
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


@dataclass
class Scored:
    """A home with one run, of three files, which tests only look at; and what `run --wait --json` said of it."""

    home: Path
    result: Result
    command: Callable[..., Result]

    @property
    def id(self) -> str:
        return str(self.result.json["id"])


def _scored(folder: Path, script: str, *options: object) -> Scored:
    def call(*arguments: object) -> Result:
        out, err = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["--home", str(folder / "home"), *map(str, arguments)])
        return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    (folder / "csv").mkdir()
    for number in range(3):
        (folder / "csv" / f"{number:04}.csv").write_text(f"{number}\n")
    (folder / "script.py").write_text(dedent(script))
    assert call("dataset", "register", "rows", folder / "csv").code == 0
    run = ("run", "--dataset", "rows", "--entry-script", folder / "script.py", "--process-count-per-node", 1, "--wait", "--json")
    return Scored(folder / "home", call(*run, *options), call)


@pytest.fixture(scope="session")
def completed_run(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """A completed run called first, its files in one mini-batch."""
    return _scored(tmp_path_factory.mktemp("completed"), ECHO, "--name", "first")


@pytest.fixture
def own_completed_run(completed_run: Scored, tmp_path: Path, command_in: Callable[[Path], Callable[..., Result]]) -> Scored:
    """A copy of `completed_run`, which a test may change."""
    home = shutil.copytree(completed_run.home, tmp_path / "copied")
    return Scored(home, completed_run.result, command_in(home))


SAYS = """
    import logging, os
    def init():
        print("ready")
    def run(mini_batch):
        name = os.path.basename(mini_batch[0])
        print("\\x1b[31mscoring", name)
        if name == "0001.csv":
            logging.warning("odd")
            raise ValueError("no 0001")
        return [f"{name}: 1"]
"""


@pytest.fixture(scope="session")
def partly_failed(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """A completed run that says something, and warns and raises for 0001.csv; each file a mini-batch."""
    options = ("--mini-batch-size", 1, "--run-max-try", 1, "--error-threshold", -1)
    return _scored(tmp_path_factory.mktemp("partly_failed"), SAYS, *options)


@pytest.fixture
def command_in(capsys) -> Callable[[Path], Callable[..., Result]]:
    """`command_in(home)("runs", "--json")` in this process."""

    def of(home: Path) -> Callable[..., Result]:
        def call(*arguments: object) -> Result:
            capsys.readouterr()
            code = main(["--home", str(home), *map(str, arguments)])
            return Result(code, *capsys.readouterr())

        return call

    return of


@pytest.fixture
def command(home, command_in) -> Callable[..., Result]:
    """`command("runs", "--json")` in this process, on the workspace in `home`."""
    return command_in(home)


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

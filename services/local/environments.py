"""Environments: the Python interpreters that run workers. What is installed in one is never guessed at: the interpreter is asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from services import environment_variables
from services.domain import Environment, utc_now
from services.errors import IntakeError, NotFound, os_errors_as
from services.local import interpreter_probe
from services.local.worker_process import sanitized_environment
from services.storage.file_tree import path_given

ANSWERS_WITHIN = 30.0  # seconds: a first start on a network drive takes a while
_LONGEST_ANSWER = 8_000_000  # bytes
_OLDEST = (3, 8)
_MOST_NAMED = 5  # packages in a sentence
_HINT = "Give the python of a venv or conda environment, such as /path/to/venv/bin/python."


def interpreter_at(given: str) -> str:
    """The absolute path of the interpreter that a person means: its path, its environment's folder, or a command such as `python3`.

    Links stay as they are: a venv's python is one, and tells by its place which packages are its own. Raises NotFound, IntakeError.
    """
    path = path_given(given)
    if path.name == given and not path.exists():
        path = Path(shutil.which(given) or given)
    if path.is_dir():
        inside = (path / place for place in ("bin/python", "Scripts/python.exe", "python.exe"))
        path = next((python for python in inside if python.is_file()), path)
    path = path.absolute()
    check_is_there(str(path))
    return str(path)


def check_is_there(interpreter: str) -> None:
    """Raises NotFound where there is no such file, IntakeError where it can't be executed."""
    if not os.path.isfile(interpreter):
        raise NotFound(f"There is no Python interpreter at {interpreter}.", _HINT)
    if not os.access(interpreter, os.X_OK):
        raise IntakeError(f"{interpreter} can't be executed.", "Allow executing it, or give another interpreter.")


def environment(name: str, version: int, interpreter: str) -> Environment:
    """What the interpreter says of itself now. Raises NotFound, and IntakeError where it does not run or is too old."""
    if interpreter == sys.executable and not environment_variables.value("PYTHONPATH"):
        python_version = "{}.{}.{}".format(*sys.version_info[:3])
        packages = _own_packages(tuple(_modified_ns(folder) for folder in sys.path))
    else:
        python_version, packages = _asked(interpreter)
    return Environment(name, version, interpreter, python_version, packages, utc_now())


@lru_cache(maxsize=1)
def _own_packages(_modified: tuple[int, ...]) -> dict[str, str]:
    """Listing them takes some 70 ms; installing one changes the time of its folder."""
    packages: dict[str, str] = interpreter_probe.packages()  # type: ignore[no-untyped-call]
    return packages


def _modified_ns(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _asked(interpreter: str) -> tuple[str, dict[str, str]]:
    check_is_there(interpreter)
    answer = _answer(interpreter)
    lines = answer.decode("utf-8", "backslashreplace").splitlines()
    try:
        values = json.loads(next(line for line in lines if line.startswith(interpreter_probe.MARK)).removeprefix(interpreter_probe.MARK))
    except (StopIteration, ValueError) as error:
        reason = next(filter(None, map(str.strip, lines)), "it printed nothing")
        raise IntakeError(f"{interpreter} did not respond as a Python interpreter: {reason[:200]}", _HINT) from error
    if tuple(map(int, values["python_version"].split(".")[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise IntakeError(f"{interpreter} is Python {values['python_version']}, and workers need {oldest} or newer.", _HINT)
    return values["python_version"], values["packages"]


def _answer(interpreter: str) -> bytes:
    """What it prints, errors too; bounded in time and length, for it may be any program."""
    command = [interpreter, interpreter_probe.__file__]
    with os_errors_as(IntakeError, f"{interpreter} does not run", _HINT):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=sanitized_environment(),
            cwd=tempfile.gettempdir(), start_new_session=True,
        )  # fmt: skip

    def end_it() -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)  # what it started may hold its output open
            else:
                process.kill()

    begin = time.monotonic()
    clock = threading.Timer(ANSWERS_WITHIN, end_it)
    clock.start()
    assert process.stdout
    try:
        with process.stdout:
            answer = process.stdout.read(_LONGEST_ANSWER)
    finally:
        clock.cancel()
        clock.join()
        end_it()
        process.wait()
    if time.monotonic() - begin >= ANSWERS_WITHIN:
        raise IntakeError(f"{interpreter} did not answer within {ANSWERS_WITHIN:g} seconds.", _HINT)
    return answer


def what_changed(before: Environment, now: Environment) -> str:
    """The versions that differ, as text; "" where none does: `Python 3.9.18 → 3.11.7, numpy 1.26.4 → 2.1.0, scipy added`."""
    changes = []
    if before.python_version != now.python_version:
        changes.append(f"Python {before.python_version} → {now.python_version}")
    for package in sorted({*before.packages, *now.packages}, key=str.lower):
        old, new = before.packages.get(package), now.packages.get(package)
        if old != new:
            changes.append(f"{package} {'added' if old is None else 'gone' if new is None else f'{old} → {new}'}")
    more = len(changes) - _MOST_NAMED
    return ", ".join(changes[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")

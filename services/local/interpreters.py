"""The Python interpreters on this machine that a virtual environment can be made with: looked for where they usually are, and asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from services.domain import Interpreter
from services.errors import IntakeError, NotFound, SettingsError
from services.intake.requirement_lists import RequirementList
from services.local.environments import interpreter_at
from services.local.worker_process import sanitized_environment

_OLDEST = (3, 8)  # workers need it
_ANSWERS_WITHIN = 10.0  # seconds
_COMMAND = re.compile(r"python3?(\.\d+)?(\.exe)?")
_QUESTION = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.implementation.name)"
_HOMES = (".pyenv/versions/*/bin/python", ".local/share/uv/python/*/bin/python3", "AppData/Local/Programs/Python/Python3*/python.exe")


def installed() -> list[Interpreter]:
    """This program's own first, then the others, the newest first; of one version the one that is found first."""
    own = Interpreter(sys.executable, "{}.{}.{}".format(*sys.version_info[:3]))
    paths = list(dict.fromkeys(_candidates()))
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(_version, paths))
    found = {own.version: own}
    for path, version in zip(paths, versions, strict=True):
        if version and _numbers(version)[:2] >= _OLDEST:
            found.setdefault(version, Interpreter(path, version))
    del found[own.version]
    return [own, *sorted(found.values(), key=lambda interpreter: _numbers(interpreter.version), reverse=True)]


def choose(python: str | None, requirements: RequirementList) -> list[Interpreter]:
    """The interpreters to try, in this order: the one that a person asks for by version or path, or that the list does; else the one that
    the model was made with, this program's own, then the others. Raises SettingsError on `python`."""
    given = (python or "").strip()
    if given and not re.fullmatch(r"(python)?\d+(\.\d+){0,2}", given):
        return [_at(given)]
    found = installed()
    wanted = given.removeprefix("python") or (requirements.python_version if requirements.python_required else "")
    if wanted:
        fitting = [interpreter for interpreter in found if _fits(wanted, interpreter.version)]
        if not fitting and not given:  # another patch release than the one that the list was made with
            minor = ".".join(wanted.split(".")[:2])
            fitting = [interpreter for interpreter in found if _fits(minor, interpreter.version)]
        if not fitting:
            there = ", ".join(interpreter.version for interpreter in found)
            asks = "" if given else ", which the list asks for,"
            raise SettingsError("python", f"Python {wanted}{asks} is not on this machine", f"There are {there}. Choose one, or install it.")
        return fitting[:1]
    preferred = [
        interpreter for interpreter in found if requirements.python_version and _fits(requirements.python_version, interpreter.version)
    ]
    return list(dict.fromkeys([*preferred, *found]))


def _at(given: str) -> Interpreter:
    try:
        path = interpreter_at(given)
    except (NotFound, IntakeError) as error:
        raise SettingsError("python", error.message, error.hint) from error
    version = _version(path)
    if not version or _numbers(version)[:2] < _OLDEST:
        what = f"is Python {version}, and workers need 3.8 or newer" if version else "did not respond as a Python interpreter"
        raise SettingsError("python", f"{path} {what}", "Give a version such as 3.11, or the path of another interpreter.")
    return Interpreter(path, version)


def _fits(wanted: str, version: str) -> bool:
    if wanted[0].isdigit():
        return f"{version}.".startswith(f"{wanted}.")
    try:
        return SpecifierSet(wanted).contains(version)
    except InvalidSpecifier:
        return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _candidates() -> Iterator[str]:
    for folder in os.get_exec_path():
        if Path(folder).name == "shims":  # pyenv's run the version that is chosen now; all of them are looked for below
            yield from _found(Path(folder).parent, ["versions/*/bin/python"])
        else:
            yield from (path for path in _found(Path(folder), ["python*"]) if _COMMAND.fullmatch(Path(path).name))
    yield from _found(Path.home(), _HOMES)


def _found(folder: Path, patterns: Iterable[str]) -> list[str]:
    try:
        return [str(path) for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]
    except (OSError, RuntimeError):
        return []  # a folder on PATH that can't be read


@cache
def _version(path: str) -> str:
    """`3.11.7`; "" for what isn't CPython, or doesn't answer."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", _QUESTION], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWERS_WITHIN, check=False,
            env=sanitized_environment(), cwd=tempfile.gettempdir(),
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    match = re.fullmatch(r"(\d+\.\d+\.\d+) cpython\s*", answer)
    return match[1] if match else ""

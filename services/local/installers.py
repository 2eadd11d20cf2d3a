"""uv, or else venv and pip: which versions go together, how much is to be downloaded, and the virtual environment made of them.

Wheels only, unless a person has named what may be built: a wheel is unpacked, while building a source runs its code. The person's own
configuration holds (index, proxy, cache, certificates), except for what would install something else, or elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from services import environment_variables, formats, log
from services.domain import Interpreter
from services.errors import SettingsError, StudioError, WorkspaceUnavailable
from services.formats import counted
from services.intake.requirement_lists import TORCH, RequirementList
from services.local.worker_process import sanitized_environment

_TORCH_CPU = "https://download.pytorch.org/whl/cpu"
_PIP_RUNS_ON = (3, 10)  # this program's own pip, in another interpreter
_ERA = timedelta(days=365)
_BEFORE_NUMPY_2 = ("pyarrow<18", "pandas<3", "scipy<1.15", "scikit-learn<1.6")
"""What goes with NumPy 1, where the packages themselves don't say so (pyarrow: “requires NumPy 2.0 or newer, found 1.26.4”)."""
_MOST_LINES_KEPT = 400
_SIZE_ANSWERS_WITHIN = 5.0  # seconds
_NOT_PASSED_ON = re.compile(
    r"(PIP_(TARGET|PREFIX|ROOT|USER|REQUIREMENT|EDITABLE|NO_BINARY|ONLY_BINARY|REQUIRE_VIRTUALENV|PYTHON|DRY_RUN|REPORT|PYTHON_VERSION|"
    r"PLATFORM|ABI|IMPLEMENTATION|NO_DEPS|IGNORE_INSTALLED|LOG|QUIET|VERBOSE|REQUIRE_HASHES)|"
    r"UV_(SYSTEM_PYTHON|PYTHON|PYTHON_DOWNLOADS|PROJECT|WORKING_DIR|NO_BINARY.*|NO_BUILD.*|BREAK_SYSTEM_PACKAGES|REQUIRE_HASHES|"
    r"OVERRIDE|EXCLUDE|VENV_.*|COMPILE_BYTECODE|NO_SYNC|ENV_FILE)|VIRTUAL_ENV|CONDA_PREFIX)"
)
_AS_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
"""What uv calls a variable of pip's."""


class NoWheel(SettingsError):
    """You: a package has no wheel, or no such version, for this Python. Another one may have it."""


@dataclass(frozen=True)
class Package:
    """One that will be installed. `size` is in bytes to download, None where it isn't known; `uploaded_at` None where it isn't."""

    name: str
    version: str
    size: int | None
    uploaded_at: datetime | None = None
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Resolution:
    """The versions that go together, for one interpreter. `file` is what the installer takes."""

    interpreter: Interpreter
    packages: tuple[Package, ...]
    file: Path

    @property
    def size(self) -> int:
        """Bytes to download, of the packages whose size is known."""
        return sum(package.size or 0 for package in self.packages)


class Installer(Protocol):
    """One of the two. All raise SettingsError on `requirements` for what can't be had, WorkspaceUnavailable for a network or disk."""

    name: str
    tries: int
    """How many interpreters are tried where the first has no wheels."""

    def resolve(self, requirements: RequirementList, interpreter: Interpreter) -> Resolution: ...

    def install(self, resolution: Resolution, requirements: RequirementList, folder: Path) -> None:
        """Make the virtual environment at `folder`, with what was resolved."""


Progress = Callable[[str], None]


def installer(work: Path, progress: Progress) -> Installer:
    """uv where it is there, else pip. `work` is a folder for its files."""
    uv = find_uv()
    if uv and _is_recent(uv):
        return _Uv(uv, work, progress)
    return _Pip(work, progress)


def find_uv() -> str | None:
    """The path of uv: on PATH, beside this interpreter, or where its own installer puts it."""
    name = "uv.exe" if os.name == "nt" else "uv"
    places = [Path(sys.executable).parent / name, Path.home() / ".local" / "bin" / name, Path.home() / ".cargo" / "bin" / name]
    return shutil.which("uv") or next((str(place) for place in places if place.is_file()), None)


def _is_recent(uv: str) -> bool:
    """Whether it knows pylock.toml, which says how large files are: since 0.7."""
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL).stdout
        match = re.match(r"uv (\d+)\.(\d+)", answer)
        return match is not None and (int(match[1]), int(match[2])) >= (0, 7)
    return False


# ---- uv -------------------------------------------------------------------------------------------------------------------------------


class _Uv:
    name, tries = "uv", 10

    def __init__(self, uv: str, work: Path, progress: Progress) -> None:
        self._uv, self._work, self._progress = uv, work, progress
        self._lock, self._list = work / "pylock.toml", work / "requirements.txt"

    def resolve(self, requirements: RequirementList, interpreter: Interpreter) -> Resolution:
        self._list.write_text("".join(f"{line}\n" for line in requirements.lines), encoding="utf-8")
        packages = self._resolve(requirements, interpreter)
        if requirements.companions and (era := _era_of(requirements, packages)):
            with suppress(SettingsError):  # an index that knows no times: then the newest it is
                packages = self._resolve(requirements, interpreter, "--exclude-newer", era.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return Resolution(interpreter, packages, self._lock)

    def _resolve(self, requirements: RequirementList, interpreter: Interpreter, *options: str) -> tuple[Package, ...]:
        self._run(
            "pip", "compile", "--quiet", "--format", "pylock.toml", "--no-header", "--no-annotate", "--no-python-downloads", "--python",
            interpreter.path, "--output-file", str(self._lock), "--upgrade", *self._sources(requirements), *options, str(self._list),
            interpreter=interpreter,
        )  # fmt: skip
        return tuple(map(_of_pylock, tomllib.loads(self._lock.read_text("utf-8")).get("packages", ())))

    def _sources(self, requirements: RequirementList) -> list[str]:
        builds = [option for name in requirements.builds for option in ("--no-binary", name)]
        torch = (
            ["--torch-backend", "cpu"]
            if set(requirements.names) & set(TORCH) and not environment_variables.value("UV_TORCH_BACKEND")
            else []
        )
        return [
            "--only-binary",
            ":all:",
            *builds,
            *torch,
            *(["--no-index"] if _is_true(environment_variables.value("PIP_NO_INDEX")) else []),
        ]

    def install(self, resolution: Resolution, requirements: RequirementList, folder: Path) -> None:
        python = resolution.interpreter.path
        self._run("venv", "--quiet", "--relocatable", "--no-project", "--no-python-downloads", "--python", python, str(folder))
        self._run("pip", "install", "--python", str(python_of(folder)), *self._sources(requirements), "--requirement", str(resolution.file))

    def _run(self, *arguments: str, interpreter: Interpreter | None = None) -> None:
        environment = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"} | _environment()
        for pip, uv in _AS_UV.items():
            if pip in environment:
                environment.setdefault(uv, environment[pip])
        if links := environment.get("PIP_FIND_LINKS"):
            environment.setdefault("UV_FIND_LINKS", ",".join(links.split()))
        _run([self._uv, *arguments], environment, self._work, self._progress, interpreter)


def _of_pylock(entry: dict[str, Any]) -> Package:
    """A package of a pylock.toml (PEP 751): of its files the only one that fits, else its source."""
    file = next(iter(entry.get("wheels", ())), entry.get("sdist", {}))
    url, size = str(file.get("url") or file.get("path") or ""), file.get("size")
    return Package(entry["name"], str(entry.get("version", "")), size or _size_of_file(url), file.get("upload-time"), url)


def _era_of(requirements: RequirementList, packages: Iterable[Package]) -> datetime | None:
    """The moment up to which companions of the pinned packages are looked for: a year after the youngest of these. What came later may
    want more than it says. None where nothing is pinned, or that isn't over yet."""
    pinned = {canonicalize_name(line.name) for line in map(Requirement, requirements.lines) if str(line.specifier).startswith("==")}
    times = [package.uploaded_at for package in packages if package.name in pinned]
    if not times or None in times:
        return None
    era = max(time for time in times if time) + _ERA
    return era if era < datetime.now(UTC) else None


# ---- venv and pip -----------------------------------------------------------------------------------------------------------------------


class _Pip:
    name, tries = "pip", 3  # it takes seconds each

    def __init__(self, work: Path, progress: Progress) -> None:
        self._work, self._progress = work, progress
        self._own = importlib.util.find_spec("pip") is not None
        self._list, self._report, self._pinned = work / "requirements.txt", work / "report.json", work / "pinned.txt"

    def resolve(self, requirements: RequirementList, interpreter: Interpreter) -> Resolution:
        packages = self._resolve(requirements, interpreter, requirements.lines)
        numpy = next((package.version for package in packages if package.name == "numpy"), "2")
        if requirements.companions and Version(numpy) < Version("2"):
            there = {package.name for package in packages}
            older = [line for line in _BEFORE_NUMPY_2 if Requirement(line).name in there]
            with suppress(SettingsError):
                packages = self._resolve(requirements, interpreter, [*requirements.lines, *older])
        lines = [f"{p.name}=={p.version}{f' --hash=sha256:{p.sha256}' if p.sha256 else ''}\n" for p in packages]
        self._pinned.write_text("".join(lines), encoding="utf-8")
        return Resolution(interpreter, packages, self._pinned)

    def _resolve(self, requirements: RequirementList, interpreter: Interpreter, lines: Sequence[str]) -> tuple[Package, ...]:
        self._list.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._run(
            interpreter, self._pip(interpreter.path, interpreter), "--dry-run", "--ignore-installed", "--report", str(self._report),
            *self._sources(requirements), "--requirement", str(self._list),
        )  # fmt: skip
        return tuple(map(_of_report, json.loads(self._report.read_text("utf-8"))["install"]))

    def _pip(self, python: str, interpreter: Interpreter) -> list[str]:
        """This program's own pip, made to work on another interpreter where it can run there; else that interpreter's."""
        if self._own and tuple(map(int, interpreter.version.split(".")[:2])) >= _PIP_RUNS_ON:
            return [sys.executable, "-m", "pip", "--python", python]
        return [python, "-m", "pip"]

    def _sources(self, requirements: RequirementList) -> list[str]:
        torch = ["--extra-index-url", _TORCH_CPU] if set(requirements.names) & set(TORCH) and sys.platform == "linux" else []
        return ["--only-binary", ":all:", *(option for name in requirements.builds for option in ("--no-binary", name)), *torch]

    def install(self, resolution: Resolution, requirements: RequirementList, folder: Path) -> None:
        interpreter = resolution.interpreter
        pip = self._pip(str(python_of(folder)), interpreter)
        without = ["--without-pip"] if pip[0] == sys.executable else []
        environment = _environment()
        venv = [interpreter.path, "-m", "venv", *without, str(folder)]
        _run(venv, environment, self._work, self._progress, interpreter)
        self._run(interpreter, pip, "--no-deps", *self._sources(requirements), "--requirement", str(resolution.file))

    def _run(self, interpreter: Interpreter, pip: list[str], *arguments: str) -> None:
        environment = _environment() | {"NO_COLOR": "1", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        command = [*pip, "install", "--progress-bar", "off", *arguments]
        _run(command, environment, self._work, self._progress, interpreter)


def _of_report(entry: dict[str, Any]) -> Package:
    """A package of pip's installation report."""
    info, metadata = entry["download_info"], entry["metadata"]
    sha256 = info.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    url = str(info["url"])
    return Package(canonicalize_name(metadata["name"]), metadata["version"], _size_of_file(url) or _size_there(url), None, url, sha256)


# ---- what both need ---------------------------------------------------------------------------------------------------------------------


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _size_of_file(url: str) -> int | None:
    place = unquote(urlparse(url).path) if url.startswith("file:") else "" if "://" in url else url
    with suppress(OSError, ValueError):
        return os.stat(place).st_size if place else None
    return None


def _size_there(url: str) -> int | None:
    """What the server says that the file has."""
    if not url.startswith(("https:", "http:")):
        return None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SIZE_ANSWERS_WITHIN) as answer:
            return int(answer.headers.get("Content-Length") or 0) or None
    except (OSError, ValueError, urllib.error.URLError):
        return None


def _is_true(text: str) -> bool:
    return text.lower() in ("1", "true", "yes", "on")


def _environment() -> dict[str, str]:
    """The person's own, as configured for pip and uv, without credentials of others and without what would install elsewhere."""
    own = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}  # passwords of an index too
    return {name: value for name, value in (sanitized_environment() | own).items() if not _NOT_PASSED_ON.fullmatch(name)}


def _run(command: Sequence[str], environment: dict[str, str], work: Path, progress: Progress, interpreter: Interpreter | None) -> None:
    """Run an installer to its end; its lines go to `progress`. Raises as `_refuse`."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=work, encoding="utf-8",
        errors="backslashreplace",
    )  # fmt: skip
    lines: list[str] = []
    assert process.stdout
    try:
        with process.stdout:
            for line in process.stdout:
                text = log.redacted(line.rstrip())
                if text and "experimental" not in text:  # uv, of pylock.toml
                    progress(text)
                    lines.append(text)
                    del lines[_MOST_LINES_KEPT:-_MOST_LINES_KEPT]
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code < 0:
        raise StudioError(f"The installer was ended by signal {signal.Signals(-code).name}.", "Try again.")
    if code:
        _refuse("\n".join(lines), interpreter)


_WITHOUT_WHEEL = "there is no wheel of {} for {} on this machine{}"
_IN_OUR_WORDS = {
    ", we can conclude that your requirements are unsatisfiable": ", nothing fits",
    ", we can conclude that": ", so",
    "you require": "the list asks for",
}
_NO_SPACE = re.compile(r"No space left on device|disk quota exceeded", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"error sending request|dns error|Failed to fetch|Connection refused|ConnectTimeout|Failed to establish a new connection|"
    r"NewConnectionError|Could not fetch URL|Network is unreachable|operation timed out|SSLError|invalid peer certificate",
    re.IGNORECASE,
)


def _refuse(text: str, interpreter: Interpreter | None) -> NoReturn:
    """Raise what an installer's last words mean: the cause first, then the package."""
    python = f"Python {'.'.join(interpreter.version.split('.')[:2])}" if interpreter else "this Python"
    build = "Choose another version or another Python; or, if you trust it, let it be built: --allow-build {}."
    if _NO_SPACE.search(text):
        raise WorkspaceUnavailable("The disk is full, so the environment was not made.", "Free some disk space, and try again.")
    if _NO_NETWORK.search(text):
        url = re.search(r"https?://[^\s)]+", text)
        host = f" ({urlparse(url[0]).hostname})" if url else ""
        raise WorkspaceUnavailable(f"The package index can't be reached{host}.", "Check the network and the proxy, and try again.")
    if match := re.search(r"([\w.\-]+)(==\S+)? has no (usable )?wheels|Wheels are required for `([\w.\-]+)`", text):
        name = match[1] or match[4]
        wanted = f"{name} {match[2].removeprefix('==').rstrip(',')}" if match[2] else name
        message = _WITHOUT_WHEEL.format(wanted, python, ", and building it from source would run its code")
        raise NoWheel("requirements", message, build.format(name))
    if match := re.search(r"Because ([\w.\-]+) was not found in the (package registry|provided package locations)", text):
        raise SettingsError("requirements", f"there is no package {match[1]} on the index", "Check its name.")
    if match := re.search(r"[Bb]ecause there is no version of ([\w.\-]+)==([^\s,]+)", text):
        raise NoWheel("requirements", f"there is no version {match[2]} of {match[1]} for {python}", "Choose another version.")
    if match := re.search(r"Because (.*?)(?:\n\s*\n|\nhint|\Z)", text, re.DOTALL):
        reason = " ".join(re.sub(r"[│╰─▶×]", " ", match[1]).split()).rstrip(".")
        for theirs, ours in _IN_OUR_WORDS.items():
            reason = reason.replace(theirs, ours)
        kind = NoWheel if "current Python version" in reason or "Python>=" in reason or "Python<" in reason else SettingsError
        raise kind("requirements", f"these versions exclude each other: {reason[:600]}", "Loosen one of them.")
    if "The conflict is caused by:" in text:
        block = text.partition("The conflict is caused by:")[2].partition("To fix this")[0].partition("Additionally")[0]
        causes = "; ".join(line.strip().replace("The user requested", "the list asks for") for line in block.splitlines() if line.strip())
        raise SettingsError("requirements", f"these versions exclude each other: {causes[:600]}", "Loosen one of them.")
    if match := re.search(r"No matching distribution found for ([\w.\-]+)(\S*)", text):
        versions = re.search(r"\(from versions: ([^)]*)\)", text)
        if versions and versions[1] != "none":
            newest = ", ".join(versions[1].split(", ")[-5:])
            message = f"there is no wheel of {match[1]}{match[2]} for {python} on this machine"
            raise NoWheel("requirements", message, f"Of the versions that have one the newest are {newest}.")
        message = f"there is no package {match[1]} on the index, or none with a wheel for {python}: building a source would run its code"
        raise NoWheel("requirements", message, "Check its name; or, if you trust it, let it be built: " + f"--allow-build {match[1]}.")
    if "No module named venv" in text or "ensurepip is not available" in text:
        raise SettingsError("python", f"{python} has no module venv", "On Debian: sudo apt-get install python3-venv. Or install uv.")
    last = [line for line in text.splitlines() if line.strip()][-3:]
    raise StudioError(f"The installer failed: {' '.join(' '.join(last).split())[:500] or 'it said nothing'}.", "Its lines say more.")


def describe_size(resolution: Resolution) -> str:
    """`10 packages, 130.4 MB to download`."""

    unknown = [package for package in resolution.packages if package.size is None]
    more = f", and {counted(len(unknown), 'package')} of unknown size" if unknown else ""
    return f"{counted(len(resolution.packages), 'package')}, {formats.size(resolution.size)} to download{more}"

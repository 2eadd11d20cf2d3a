"""The process that builds one environment: `python -m services.local.environment_builder HOME BUILD_ID`.

It resolves the list, asks for nothing, and makes the virtual environment in the build's own folder. The folder is moved into place in the
step that registers it: who is killed before has left nothing but that folder, which is then cleared.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from filelock import Timeout

from services import formats, log
from services.domain import BuildStatus, Environment, EnvironmentBuild, Interpreter
from services.errors import SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.formats import counted
from services.intake.requirement_lists import RequirementList
from services.local import environments, installers
from services.local.environment_builds import BuildFolder, BuildRequest
from services.local.installers import Installer, NoWheel, Resolution, python_of
from services.local.worker_process import sanitized_environment
from services.storage.atomic import write_atomically
from services.storage.serialization import to_json
from services.storage.store import Store

logger = logging.getLogger(__name__)

LARGE = 500_000_000
"""Bytes to download, from which on a person is asked."""
_LARGE_NAMES = ("torch", "tensorflow", "tensorflow-cpu", "jaxlib", "pyspark", "cupy")
_LONGEST_PROGRESS = 500_000  # bytes
_IMPORT_TIMEOUT = 180.0  # seconds: TensorFlow, from a cold disk
_MODULES = {
    "scikit-learn": "sklearn", "pillow": "PIL", "xgboost-cpu": "xgboost", "tensorflow-cpu": "tensorflow", "opencv-python-headless": "cv2",
} | dict.fromkeys(
    ("numpy", "pandas", "pyarrow", "scipy", "joblib", "skops", "onnxruntime", "xgboost", "lightgbm", "catboost", "mlflow", "torch",
     "tensorflow"), ""
)  # fmt: skip
"""What is imported once to see that it works together, as packages say too little of what they need: distribution to module."""


class Build:
    """One build, in its own process."""

    def __init__(self, home: Path, request: BuildRequest, store: Store, progress: IO[str]) -> None:
        self._home, self._request, self._store, self._progress = home, request, store, progress
        self._folder = BuildFolder(home, request.id)
        self._quiet = False

    def say(self, line: str) -> None:
        if not self._quiet and self._progress.tell() < _LONGEST_PROGRESS:
            self._progress.write(f"{line}\n")
            self._progress.flush()

    def execute(self) -> None:
        """Build and register. Raises StudioError."""
        requirements, installer = self._request.requirements, installers.installer(self._folder.path, self.say)
        resolution = self._resolve(installer)
        python = resolution.interpreter
        self.say(f"{installers.describe_size(resolution)}, for Python {python.version} ({python.path})")
        self._check_size(resolution)
        installer.install(resolution, requirements, self._folder.venv)
        interpreter = python_of(self._folder.venv)
        self._check_imports(interpreter, requirements)
        made = environments.environment(self._request.name, 0, str(interpreter))
        made = replace(made, requirements=requirements.lines, size=disk_used(self._folder.venv))

        def move_into_place(version: int) -> Environment:
            target = self._home / "environments" / self._request.name / str(version)
            shutil.rmtree(target, ignore_errors=True)  # left by a build that was killed half-way
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._folder.venv, target)
            environment = replace(made, version=version, interpreter=str(python_of(target)))
            self.write_outcome(BuildStatus.READY, environment=environment.reference)
            return environment

        environment = self._store.add(Environment, self._request.name, move_into_place)
        self.say(f"Registered {environment}: Python {made.python_version}, {counted(len(made.packages), 'package')}")

    def _resolve(self, installer: Installer) -> Resolution:
        """The versions that go together, for the first of the interpreters that has any."""
        tried: list[str] = []
        first: SettingsError | None = None
        for interpreter in islice(_one_of_each_minor(self._request.interpreters), installer.tries):
            self.say(f"{'Trying' if tried else 'Resolving'} for Python {interpreter.version} by {installer.name}")
            tried.append(interpreter.version)
            self._quiet = len(tried) > 1  # why the first has none was said
            try:
                return installer.resolve(self._request.requirements, interpreter)
            except NoWheel as error:
                first = first or error
            finally:
                self._quiet = False
        assert first
        others = f" Nor is there one for the other Pythons here: {', '.join(tried[1:])}." if len(tried) > 1 else ""
        raise SettingsError(first.field, first.message, first.hint + others)

    def _check_size(self, resolution: Resolution) -> None:
        if self._request.allow_large:
            return
        unknown = [p.name for p in resolution.packages if p.size is None and p.name.startswith((*_LARGE_NAMES, "nvidia-"))]
        if resolution.size > LARGE:
            largest = sorted(resolution.packages, key=lambda package: -(package.size or 0))[:4]
            named = ", ".join(f"{package.name} {formats.size(package.size)}" for package in largest)
            text = f"{formats.size(resolution.size)} would be downloaded: {named}"
        elif unknown:
            text = f"{', '.join(unknown)} would be downloaded, which are large, of a size that isn't known"
        else:
            return
        raise SettingsError("allow_large", text, "Allow it, if you want that (--allow-large), or leave something out.")

    def _check_imports(self, interpreter: Path, requirements: RequirementList) -> None:
        """Whether what was installed can be imported, in a process of its own. Raises StudioError with the reason."""
        modules = [_MODULES[name] or name for name in requirements.names if name in _MODULES]
        if not modules:
            return
        self.say(f"Importing {', '.join(modules)}")
        source = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
        command = [str(interpreter), "-I", "-c", source, *modules]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False,
                env=sanitized_environment(), timeout=_IMPORT_TIMEOUT, cwd=self._folder.path,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            text = f"What was installed could not be imported within {_IMPORT_TIMEOUT:g} seconds."
            raise StudioError(text, "Try again, or choose other versions.") from error
        if done.returncode:
            reason = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
            hint = "Add setuptools<82 to the list." if "pkg_resources" in reason else "Choose other versions, or another Python."
            raise StudioError(f"What was installed does not work together: {reason[:300]}", hint)

    def write_outcome(self, status: BuildStatus, **values: Any) -> None:
        request = self._request
        outcome = EnvironmentBuild(request.id, request.name, request.requirements.lines, request.started_at, status, **values)
        write_atomically(self._folder.outcome_file, to_json(outcome))


def _one_of_each_minor(interpreters: tuple[Interpreter, ...]) -> Iterator[Interpreter]:
    """Wheels are made for minor versions: another patch release has the same ones."""
    seen = set()
    for interpreter in interpreters:
        minor = interpreter.version.rpartition(".")[0]
        if minor not in seen:
            seen.add(minor)
            yield interpreter


def disk_used(folder: Path) -> int:
    """Bytes on the disk of what is in the folder; of files that share theirs with a cache too."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                info = os.lstat(os.path.join(path, name))
                total += getattr(info, "st_blocks", 0) * 512 or info.st_size
    return total


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, which cancels, ends the block as an exception does, so that nothing it has begun is left."""

    def end(*_: object) -> None:
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(home: Path, build_id: str) -> int:
    """Build what the folder asks for, holding its lock. Returns the exit code."""
    log.to_stderr()
    folder = BuildFolder(home, build_id)
    try:
        lock = folder.lock().acquire(timeout=5)
    except Timeout:
        logger.error("The environment is being built already")
        return 1
    with lock, _ended_by_sigterm(), open(folder.progress_file, "a", encoding="utf-8", errors="backslashreplace") as progress:
        build = Build(home, folder.request(), Store(home), progress)
        try:
            with os_errors_as(WorkspaceUnavailable, "The environment could not be written", "Check the free disk space."):
                build.execute()
        except StudioError as error:
            logger.exception("%s %s", error.message, error.hint)
            folder.clear()
            field = error.field if isinstance(error, SettingsError) else ""
            build.write_outcome(BuildStatus.FAILED, error=error.message, hint=error.hint, field=field, error_type=type(error).__name__)
            return 1
        finally:
            folder.clear()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

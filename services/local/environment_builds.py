"""Environments that are built in this home: started as processes of their own, followed, canceled, and cleared away.

```
<home>/environments/
  <name>/<version>/            a virtual environment, registered
  .builds/<id>/                one that is being built, or was
    request.json               what was asked for
    lock                       held by the process that builds
    progress.txt, build.log    what the installer says; what the process itself logs
    outcome.json               how it ended
    venv/                      moved into place in the same step in which it is registered
```
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from services import PROJECT_ROOT, log
from services.domain import BuildStatus, Environment, EnvironmentBuild, Interpreter, parse_reference, utc_now
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import check_name
from services.intake.requirement_lists import RequirementList, check_approved
from services.local import interpreters
from services.storage.atomic import write_atomically
from services.storage.file_tree import tail
from services.storage.serialization import from_json, to_json
from services.storage.store import Store

logger = logging.getLogger(__name__)

_MODULE = "services.local.environment_builder"
_STARTING = timedelta(seconds=15)
_POLL_SECONDS = 0.1
_ENDS_WITHIN = 10.0  # seconds, after a cancel
_LINES_SHOWN = 12
_KEPT_FOR = timedelta(days=7)

# A child that ended stays a zombie until it is polled.
_started: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class BuildRequest:
    """What a person asks for; `interpreters` are tried in this order."""

    id: str
    name: str
    requirements: RequirementList
    interpreters: tuple[Interpreter, ...]
    allow_large: bool
    started_at: datetime


class BuildFolder:
    """The paths of one build."""

    def __init__(self, home: Path, build_id: str) -> None:
        self.path = home / "environments" / ".builds" / build_id
        self.request_file, self.outcome_file = self.path / "request.json", self.path / "outcome.json"
        self.progress_file, self.log_file, self.venv = self.path / "progress.txt", self.path / "build.log", self.path / "venv"
        self.pid_file = self.path / "pid"

    def lock(self) -> FileLock:
        """Held by the process that builds; released by the system when it dies."""
        return FileLock(self.path / "lock")

    def is_at_work(self) -> bool:
        """Whether a living process holds the lock."""
        try:
            with self.lock().acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def request(self) -> BuildRequest:
        return from_json(self.request_file.read_bytes(), BuildRequest)

    def outcome(self) -> EnvironmentBuild | None:
        with suppress(OSError, ValueError):
            return from_json(self.outcome_file.read_bytes(), EnvironmentBuild)
        return None

    def clear(self) -> None:
        """Remove what a build has brought, not what it says of itself."""
        shutil.rmtree(self.venv, ignore_errors=True)


class LocalBuilds:
    """The builds of one home."""

    def __init__(self, home: Path, store: Store) -> None:
        self._home, self._store = home, store
        self._folder = home / "environments" / ".builds"

    def last_used(self) -> dict[str, datetime]:
        return self._store.environments_used()

    def unused_for(self, days: int) -> list[Environment]:
        if days < 1:
            raise SettingsError("unused_for", f"{days} is not a number of days", "Give 1 or more.")
        used, before = self.last_used(), utc_now() - timedelta(days=min(days, 36_500))
        needed = {run.request.environment for run in self._store.unended_runs()}
        return [
            known
            for known in self._store.all(Environment)
            if max(known.created_at, used.get(known.reference, known.created_at)) < before and known.reference not in needed
        ]

    def interpreters(self) -> list[Interpreter]:
        return interpreters.installed()

    def start(
        self, name: str, requirements: RequirementList, *, python: str | None = None, approved: str = "", allow_large: bool = False
    ) -> EnvironmentBuild:
        check_name("name", name)
        for known in self._store.all(Environment):
            if known.name != name and known.name.lower() == name.lower():
                raise SettingsError("name", f"“{name}” and the registered “{known.name}” differ in case only", "Choose another name.")
        check_approved(requirements, approved, self._store)
        chosen = tuple(interpreters.choose(python, requirements))
        hint = "Free some disk space, or check who may write there. Nothing was fetched."
        with os_errors_as(WorkspaceUnavailable, f"The folder of environments, {self._folder}, can't be written", hint):
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock"):  # a double click is one build
                for build in self.all():
                    same = build.name == name and build.requirements == requirements.lines
                    if same and build.status is BuildStatus.BUILDING:
                        return build
                self._forget_old_ones()
                return self._start(BuildRequest(secrets.token_hex(8), name, requirements, chosen, allow_large, utc_now()))

    def _start(self, request: BuildRequest) -> EnvironmentBuild:
        folder = BuildFolder(self._home, request.id)
        folder.path.mkdir()
        write_atomically(folder.request_file, to_json(request, indent=1))
        detached: dict[str, object] = {"start_new_session": True}
        if os.name == "nt":
            flags = ("CREATE_NEW_PROCESS_GROUP", "DETACHED_PROCESS", "CREATE_BREAKAWAY_FROM_JOB")
            detached = {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
        command = [sys.executable, "-m", _MODULE, str(self._home), request.id]
        with open(folder.log_file, "ab") as log_file:
            given = {"cwd": PROJECT_ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": log_file}
            process: subprocess.Popen[bytes] = subprocess.Popen(command, **given, **detached)  # type: ignore[call-overload]
        _started[request.id] = process
        write_atomically(folder.pid_file, str(process.pid))
        logger.info("Started process %d that builds environment %s", process.pid, request.name)
        return self.get(request.id)

    def all(self) -> list[EnvironmentBuild]:
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with suppress(NotFound):
                found.append(self.get(path.name))
        return sorted(found, key=lambda build: build.started_at, reverse=True)

    def get(self, build_id: str) -> EnvironmentBuild:
        folder = BuildFolder(self._home, build_id)
        if process := _started.get(build_id):
            process.poll()
        try:
            request = folder.request()
        except (OSError, ValueError) as error:
            raise NotFound("There is no such build of an environment.", "It may have been dismissed.") from error
        build = EnvironmentBuild(request.id, request.name, request.requirements.lines, request.started_at, progress=_last_lines(folder))
        if outcome := folder.outcome():
            return self._checked(folder, replace(outcome, progress=build.progress))
        if folder.is_at_work():
            return build
        process = _started.get(build_id)
        starting = (process is None or process.poll() is None) and utc_now() - request.started_at < _STARTING
        if starting or folder.outcome():
            return build if starting else self.get(build_id)
        _end_leftovers(folder)
        folder.clear()
        reason = "it was ended from outside, or the machine was restarted."
        with suppress(OSError):
            reason = log.last_error(tail(folder.log_file, 50_000)[0])[:300] or reason
        failed = replace(build, status=BuildStatus.FAILED, error=f"The process that built it is gone: {reason}", hint="Create it again.")
        with suppress(OSError):
            write_atomically(folder.outcome_file, to_json(replace(failed, progress=())))
        return failed

    def _checked(self, folder: BuildFolder, outcome: EnvironmentBuild) -> EnvironmentBuild:
        """A build that was ended between its last two steps is no environment: the registry has the last word."""
        if outcome.status is not BuildStatus.READY or folder.is_at_work():
            return outcome if outcome.status is not BuildStatus.READY else replace(outcome, status=BuildStatus.BUILDING, environment="")
        name, version = parse_reference(outcome.environment, "environment")
        if self._store.all(Environment, name, version):
            return outcome
        shutil.rmtree(self._home / "environments" / name / str(version), ignore_errors=True)
        error = "The process that built it was ended from outside."
        return replace(outcome, status=BuildStatus.FAILED, environment="", error=error, hint="Create it again.")

    def cancel(self, build_id: str) -> None:
        folder = BuildFolder(self._home, build_id)
        build = self.get(build_id)
        if build.status is not BuildStatus.BUILDING:
            return
        end_by = time.monotonic() + _ENDS_WITHIN
        with suppress(OSError, ValueError):
            pid = int(folder.pid_file.read_text())
            _signal(pid, "SIGTERM")
            while folder.is_at_work() and time.monotonic() < end_by:
                time.sleep(_POLL_SECONDS)
            process = _started.get(build_id)
            if folder.is_at_work() or (process and process.poll() is None):
                _signal(pid, "SIGKILL")
            if process:
                process.wait()
        if self.get(build_id).status is BuildStatus.READY:
            return  # it was faster
        folder.clear()
        canceled = replace(build, status=BuildStatus.CANCELED, progress=())
        with os_errors_as(WorkspaceUnavailable, f"{folder.path} can't be written"):
            write_atomically(folder.outcome_file, to_json(canceled))
        logger.info("Canceled the building of environment %s", build.name)

    def dismiss(self, build_id: str) -> None:
        if self.get(build_id).status is not BuildStatus.BUILDING:
            shutil.rmtree(BuildFolder(self._home, build_id).path, ignore_errors=True)

    def _forget_old_ones(self) -> None:
        for build in self.all():
            if utc_now() - build.started_at > _KEPT_FOR:
                self.dismiss(build.id)

    def wait(self, build: EnvironmentBuild, progress: Callable[[str], None] | None = None) -> Environment:
        """The environment, once it is built; the installer's lines go to `progress`. Ctrl-C cancels it. Raises what it failed of."""
        folder, shown = BuildFolder(self._home, build.id), 0
        try:
            while True:
                build = self.get(build.id)
                if progress:
                    with suppress(OSError), open(folder.progress_file, encoding="utf-8", errors="backslashreplace") as lines:
                        lines.seek(shown)
                        for line in iter(lines.readline, ""):
                            progress(line.rstrip())
                        shown = lines.tell()
                if build.status is not BuildStatus.BUILDING:
                    break
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self.cancel(build.id)
            raise
        self.dismiss(build.id)
        if build.status is BuildStatus.READY:
            return self._store.get(Environment, *parse_reference(build.environment, "environment"))
        raise error_of(build)


def error_of(build: EnvironmentBuild) -> StudioError:
    """Why a build became no environment, as it was raised in its process."""
    if build.status is BuildStatus.CANCELED:
        return StudioError(f"The building of environment {build.name} was canceled.", "Create it again.")
    if build.field:
        return SettingsError(build.field, build.error, build.hint)
    kinds = {kind.__name__: kind for kind in (StudioError, IntakeError, WorkspaceUnavailable)}
    return kinds.get(build.error_type, StudioError)(build.error, build.hint)


def _last_lines(folder: BuildFolder) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple(tail(folder.progress_file, 20_000)[0].splitlines()[-_LINES_SHOWN:])
    return ()


def _end_leftovers(folder: BuildFolder) -> None:
    """End an installer whose own process was killed: by its command, which names the folder, since its number may be another's by now."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(str(folder.path)) in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


def _signal(pid: int, name: str) -> None:
    """To a build's process and all in its session."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(pid, getattr(signal, name))
        else:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)

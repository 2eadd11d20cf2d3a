"""Where a run lies and who carries it out: a process of its own that holds the lock in the run's folder. The same for every workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from services.domain import Run, RunStatus, utc_now
from services.errors import WorkspaceUnavailable
from services.store import Store

_PROJECT = Path(__file__).parents[1]
_STARTING = timedelta(seconds=15)  # how long a runner may take to appear
_STALE = timedelta(seconds=30)  # how long a runner may be silent

# A runner is nobody's to wait for, but a child that ended stays a zombie until its parent looks: kept here, looked at now and then.
_started: list[tuple[str, subprocess.Popen[bytes]]] = []


class RunPlace:
    """The folder of one run in a home: its lock, the files that the run wrote, the logs."""

    def __init__(self, home: Path, run_id: str) -> None:
        self.path = home / "runs" / run_id
        self.output = self.path / "output"
        self.logs = self.path / "logs"

    def lock(self) -> FileLock:
        """The lock that whoever carries out the run holds. Not inherited by workers; dropped by the system when its holder dies."""
        return FileLock(self.path / "lock")

    def is_carried_out(self) -> bool:
        """Whether a living process holds the lock."""
        lock = self.lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False  # the folder is gone or can't be written: nobody works there
        lock.release()
        return False

    def log_files(self) -> dict[str, Path]:
        """By their name in Azure's layout (`logs/job_error.txt`...), those for people first."""
        first = ("job_error.txt", "job_result.txt", "job_progress_overview.txt", "user")
        found = [path.relative_to(self.logs) for path in self.logs.rglob("*") if path.is_file()]
        found.sort(key=lambda path: (first.index(path.parts[0]) if path.parts[0] in first else len(first), path))
        return {f"logs/{path.as_posix()}": self.logs / path for path in found}

    def output_files(self) -> dict[str, Path]:
        """What lies in the output folder, by name."""
        return {path.relative_to(self.output).as_posix(): path for path in sorted(self.output.rglob("*")) if path.is_file()}


def start(place: RunPlace, module: str, home: Path, *, told: str = "", without: str = "") -> None:
    """Start `python -m module HOME RUN_ID` on the run, detached: it outlives this process. `told` is what it finds on its standard
    input, and nowhere else; `without` an environment variable that it doesn't get. Raises WorkspaceUnavailable."""
    _started[:] = [(run, runner) for run, runner in _started if runner.poll() is None]
    detached: dict[str, object] = {"start_new_session": True}
    if os.name == "nt":
        flags = ("CREATE_NEW_PROCESS_GROUP", "DETACHED_PROCESS", "CREATE_BREAKAWAY_FROM_JOB")
        detached = {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
    command = [sys.executable, "-m", module, str(home), place.path.name]
    stdin = subprocess.PIPE if told else subprocess.DEVNULL
    environment = {name: value for name, value in os.environ.items() if name != without}
    try:
        with open(place.logs / "runner.txt", "ab") as log:
            given = {"cwd": _PROJECT, "env": environment, "stdin": stdin, "stdout": log, "stderr": log}
            runner = subprocess.Popen(command, **given, **detached)  # type: ignore[call-overload]
        if runner.stdin:
            with runner.stdin as pipe:
                pipe.write(told.encode())
    except OSError as error:
        raise WorkspaceUnavailable(
            f"The run's process could not be started: {error.strerror or error}.", "Resume the run later."
        ) from error
    _started.append((place.path.name, runner))


def as_it_is(run: Run, place: RunPlace, store: Store) -> Run:
    """The run as the store has it; but one that nobody carries out, though it hasn't ended, reads NotResponding."""
    if run.status.ended:
        return run
    now, runner = utc_now(), next((runner for run_id, runner in reversed(_started) if run_id == run.id), None)
    starting = run.status in (RunStatus.NOT_STARTED, RunStatus.QUEUED) and (runner is None or runner.poll() is None)
    if starting and now - (run.heartbeat_at or run.submitted_at) < _STARTING:
        return run
    if place.is_carried_out():
        silent = run.heartbeat_at is not None and now - run.heartbeat_at > _STALE
        return replace(run, status=RunStatus.NOT_RESPONDING) if silent else run
    run = store.run(run.id)  # it may have ended between the two looks
    return run if run.status.ended else replace(run, status=RunStatus.NOT_RESPONDING, workers=0, rate=None)

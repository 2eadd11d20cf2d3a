"""Where a run lies and who carries it out: a process of its own that holds the lock in the run's folder. The same for every workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, NamedTuple

from filelock import FileLock, Timeout

from services import PROJECT_ROOT, formats
from services.domain import Run, RunStatus, utc_now
from services.errors import StudioError, WorkspaceUnavailable
from services.storage.store import Store
from services.storage.tail import last_line

_STARTING = timedelta(seconds=15)  # how long a runner may take to appear
_STALE = timedelta(seconds=30)  # how long a runner may be silent
_RUNNER_STARTED = "Runner started"

# A runner is nobody's to wait for, but a child that ended stays a zombie until its parent looks: kept here, looked at now and then.
_started: list[tuple[str, subprocess.Popen[bytes]]] = []


class Outcome(NamedTuple):
    """How a run ended. `error` begins with the line a person should see first."""

    status: RunStatus
    error_code: str | None = None
    error: str | None = None

    @classmethod
    def failed(cls, code: str, error: str, traceback: str = "") -> Outcome:
        return cls(RunStatus.FAILED, code, "\n".join(filter(None, (error.strip(), traceback))))


class RunPlace:
    """The folder of one run in a home: its lock, the files that the run wrote, the logs."""

    def __init__(self, home: Path, run_id: str) -> None:
        self.path = home / "runs" / run_id
        self.output = self.path / "output"
        self.logs = self.path / "logs"
        self.runner_log = self.logs / "runner.txt"
        self.plan_file = self.path / "plan.json"

    def make(self, plan: str) -> None:
        """Make the folder, with the plan in it. Raises WorkspaceUnavailable where that isn't possible."""
        try:
            for folder in (self.path, self.output, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self.plan_file.write_text(plan, encoding="utf-8")
        except OSError as error:
            raise WorkspaceUnavailable(
                f"The run's folder, {self.path}, can't be written: {error.strerror or error}.",
                "Free some disk space, or check who may write there.",
            ) from error

    def lock(self) -> FileLock:
        """The lock that whoever carries out the run holds. Not inherited by workers; dropped by the system when its holder dies."""
        return FileLock(self.path / "lock")

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the lock. Raises Timeout where somebody else keeps it for so many seconds, WorkspaceUnavailable without a folder."""
        if why := self.unwritable_reason():
            raise WorkspaceUnavailable(why, "Mend or bring back the folder, and try again.")
        with self.lock().acquire(timeout=timeout):
            yield

    def unwritable_reason(self) -> str | None:
        """Why nobody can carry out a run here, in a sentence; None where the folder is as it should be."""
        if not self.path.is_dir():
            return f"The run's folder, {self.path}, is gone."
        try:
            with open(self.path / "lock", "ab"):
                return None
        except OSError as error:
            return f"The run's folder, {self.path}, can't be written: {error.strerror or error}."

    def has_live_runner(self) -> bool:
        """Whether a living process holds the lock."""
        if not self.path.is_dir():
            return False  # asking for the lock would make it
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


def start(place: RunPlace, module: str, home: Path, *, told: str = "", without: str = "") -> IO[bytes] | None:
    """Start `python -m module HOME RUN_ID` on the run, detached: it outlives this process. `told` is a line that it finds on its standard
    input, and nowhere else; where there is one, that input is returned, to be closed or told more. `without` is an environment variable
    that it doesn't get. Its log is what it says on standard error: the Azure SDK chats on standard output, and what is said last is shown
    as why a runner is gone. Raises WorkspaceUnavailable."""
    _started[:] = [(run, runner) for run, runner in _started if runner.poll() is None]
    detached: dict[str, object] = {"start_new_session": True}
    if os.name == "nt":
        flags = ("CREATE_NEW_PROCESS_GROUP", "DETACHED_PROCESS", "CREATE_BREAKAWAY_FROM_JOB")
        detached = {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
    command = [sys.executable, "-m", module, str(home), place.path.name]
    stdin = subprocess.PIPE if told else subprocess.DEVNULL
    environment = {name: value for name, value in os.environ.items() if name != without}
    try:
        with open(place.runner_log, "ab") as log:
            log.write(f"{_RUNNER_STARTED} {formats.utc(utc_now())}\n".encode())
            log.flush()
            given = {"cwd": PROJECT_ROOT, "env": environment, "stdin": stdin, "stdout": subprocess.DEVNULL, "stderr": log}
            runner: subprocess.Popen[bytes] = subprocess.Popen(command, **given, **detached)  # type: ignore[call-overload]
        if runner.stdin:
            runner.stdin.write(f"{told}\n".encode())
            runner.stdin.flush()
    except OSError as error:
        raise WorkspaceUnavailable(
            f"The run's process could not be started: {error.strerror or error}.", "Resume the run later."
        ) from error
    _started.append((place.path.name, runner))
    return runner.stdin


def execute(place: RunPlace, store: Store, execute: Callable[[], None]) -> int:
    """What a runner does: with the run's lock, carry it out where it hasn't ended. Returns the exit code. What went wrong and could not be
    written down is said on standard error: by its last line a NotResponding run is explained."""
    try:
        lock = place.lock().acquire(timeout=5)
    except Timeout:
        print(f"{place.path.name} is being carried out by another runner", file=sys.stderr)
        return 1
    with lock:
        try:
            if not store.run(place.path.name).status.ended:
                execute()
        except StudioError as error:
            print(f"{error.message} {error.hint}", file=sys.stderr)
            return 1
    return 0


def with_liveness(run: Run, place: RunPlace, store: Store) -> Run:
    """The run as the store has it; but one that nobody carries out, though it hasn't ended, reads NotResponding."""
    if run.status.ended:
        return run
    now, runner = utc_now(), next((runner for run_id, runner in reversed(_started) if run_id == run.id), None)
    before_its_runner = (RunStatus.NOT_STARTED, RunStatus.QUEUED, RunStatus.CANCEL_REQUESTED)  # the last where it is started to cancel
    starting = run.status in before_its_runner and (runner is None or runner.poll() is None)
    if starting and now - (run.heartbeat_at or run.submitted_at) < _STARTING:
        return run
    if place.has_live_runner():
        if run.heartbeat_at is None or now - run.heartbeat_at <= _STALE:
            return run
        why = "Its runner is there but silent: the machine is overloaded or was asleep, or its disk does not answer."
        return replace(run, status=RunStatus.NOT_RESPONDING, error=run.error or why)
    run = store.run(run.id)  # it may have ended between the two looks
    if run.status.ended:
        return run
    why = run.error or _reason_for_no_runner(place)
    return replace(run, status=RunStatus.NOT_RESPONDING, error=why, workers=0, rate=None, doing=None)


def _reason_for_no_runner(place: RunPlace) -> str:
    """In words: what its runner said last, where it could not say so in the registry."""
    if why := place.unwritable_reason():
        return why
    words = last_line(place.runner_log)
    if not words or words.startswith(_RUNNER_STARTED):
        return "Its runner is gone: it was ended from outside, or the machine was started anew."
    return f"Its runner could not go on. {words}"

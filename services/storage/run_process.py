"""The process that executes a run and holds the lock in its folder: started here, and looked for. The same for every workspace."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from traceback import format_exc
from typing import IO, Any, NamedTuple

from filelock import Timeout

from services import PROJECT_ROOT, PYTHON, log
from services.domain import Run, RunStatus, utc_now
from services.errors import StudioError, WorkspaceUnavailable, os_errors_as
from services.storage.file_tree import tail
from services.storage.run_folder import RunFolder
from services.storage.store import Store

logger = logging.getLogger(__name__)

_STARTING = timedelta(seconds=15)  # how long a runner may take to appear, of which nobody here knows whether it lives
_STALE = timedelta(seconds=30)  # how long a runner may be silent

# Nobody waits for a runner, but a child that ended stays a zombie until its parent polls it: kept here and polled now and then.
_started: list[tuple[str, subprocess.Popen[bytes]]] = []


class Outcome(NamedTuple):
    """How a run ended. `error` begins with the line a person should see first."""

    status: RunStatus
    error_code: str | None = None
    error: str | None = None

    @classmethod
    def failed(cls, code: str, error: str, traceback: str = "") -> Outcome:
        return cls(RunStatus.FAILED, code, "\n".join(filter(None, (error.strip(), traceback))))

    @classmethod
    def fault(cls, error: Exception) -> Outcome:
        """Of what a runner did not expect. To be called where it is handled."""
        what = f"{type(error).__name__}: {error}. This is a fault of the program, not of the script."
        return cls.failed("InternalError", what, format_exc())


def start(folder: RunFolder[Any], module: str, home: Path, *, input_line: str = "", without: str = "") -> IO[bytes] | None:
    """Start `python -m module HOME RUN_ID` on the run, detached: it outlives this process.

    `input_line` is written to its standard input, which is then returned, to be closed or written more to. `without` names an environment
    variable that it doesn't get. Its standard error is its log, whose last error explains why a runner is gone; its standard output is
    discarded, because the Azure SDK prints there. Raises WorkspaceUnavailable.
    """
    _started[:] = [(run, runner) for run, runner in _started if runner.poll() is None]
    detached: dict[str, object] = {"start_new_session": True}
    if os.name == "nt":
        flags = ("CREATE_NEW_PROCESS_GROUP", "DETACHED_PROCESS", "CREATE_BREAKAWAY_FROM_JOB")
        detached = {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
    command = [*PYTHON, "-m", module, str(home), folder.path.name]
    stdin = subprocess.PIPE if input_line else subprocess.DEVNULL
    environment = {name: value for name, value in os.environ.items() if name != without}
    with os_errors_as(WorkspaceUnavailable, "The run's process could not be started", "Resume the run later."):
        folder.runner_log.parent.mkdir(exist_ok=True)
        with open(folder.runner_log, "ab") as runner_log:
            runner_log.write(log.line(__name__, "Starting a runner"))
            runner_log.flush()
            given = {"cwd": PROJECT_ROOT, "env": environment, "stdin": stdin, "stdout": subprocess.DEVNULL, "stderr": runner_log}
            runner: subprocess.Popen[bytes] = subprocess.Popen(command, **given, **detached)  # type: ignore[call-overload]
        if runner.stdin:
            runner.stdin.write(f"{input_line}\n".encode())
            runner.stdin.flush()
    _started.append((folder.path.name, runner))
    logger.info("Started runner %d of %s", runner.pid, folder.path.name)
    return runner.stdin


def main(module: str, folder_of: Callable[[Path, str], RunFolder[Any]], execute: Callable[[Path, str], int]) -> int:
    """Of a runner, `python -m module HOME RUN_ID`. Returns its exit code, which `execute` does for a run that was submitted."""
    if len(sys.argv) != 3 or not (folder_of(Path(sys.argv[1]), sys.argv[2]).plan_file.is_file()):
        print(f"usage: python -m {module} HOME RUN_ID, of a run that was submitted; not {sys.argv[1:]}", file=sys.stderr)
        return 2
    log.to_stderr()
    log.log_uncaught(show=False)
    return execute(Path(sys.argv[1]), sys.argv[2])


def execute(folder: RunFolder[Any], store: Store, execute: Callable[[], None]) -> int:
    """Execute the run, holding its lock, unless it has ended. Returns the exit code of the runner.

    An error that could not be recorded is logged: the last one in the log explains a NotResponding run.
    """
    try:
        lock = folder.lock().acquire(timeout=5)
    except Timeout:
        logger.error("%s already has an active runner", folder.path.name)
        return 1
    with lock:
        try:
            if not store.run(folder.path.name).status.ended:
                logger.info("Executing %s, Python %s on %s", folder.path.name, platform.python_version(), sys.platform)
                execute()
        except StudioError as error:
            logger.exception("%s %s", error.message, error.hint)
            return 1
    return 0


def with_liveness(run: Run, folder: RunFolder[Any], store: Store) -> Run:
    """The run as the registry has it; one that hasn't ended and has no active runner reads NotResponding, with the reason."""
    if run.status.ended or responds(run, folder):
        return run
    run = store.run(run.id)  # it may have ended meanwhile
    return run if run.status.ended else not_responding(run, folder)


def responds(run: Run, folder: RunFolder[Any]) -> bool:
    """Whether the runner of a run that hasn't ended is active and shows it, or may yet appear."""
    now, runner = utc_now(), next((runner for run_id, runner in reversed(_started) if run_id == run.id), None)
    before_its_runner = (RunStatus.NOT_STARTED, RunStatus.QUEUED, RunStatus.CANCEL_REQUESTED)  # the last where it is started to cancel
    starting = run.status in before_its_runner and (runner is None or runner.poll() is None)
    if starting and now - (run.heartbeat_at or run.submitted_at) < (_STALE if runner else _STARTING):
        return True
    return folder.has_live_runner() and (run.heartbeat_at is None or now - run.heartbeat_at <= _STALE)


def not_responding(run: Run, folder: RunFolder[Any]) -> Run:
    """The run as NotResponding, with the reason."""
    if folder.has_live_runner():
        silent = "Its runner is active but silent: the machine is overloaded or was asleep, or its disk does not respond."
        return replace(run, status=RunStatus.NOT_RESPONDING, error=run.error or silent)
    error = run.error or _reason_for_no_runner(folder)
    return replace(run, status=RunStatus.NOT_RESPONDING, error=error, workers=0, rate=None, doing=None)


def _reason_for_no_runner(folder: RunFolder[Any]) -> str:
    """A sentence: what is wrong with the folder, or the last error in the runner's log."""
    if reason := folder.unwritable_reason():
        return reason
    with suppress(OSError):
        if error := log.last_error(tail(folder.runner_log, 50_000)[0]):
            return f"Its runner failed. {error[:300]}"
    return "Its runner is gone: it was ended from outside, or the machine was restarted."

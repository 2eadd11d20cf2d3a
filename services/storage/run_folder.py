"""The folder of one run in a home: its lock, its plan, its logs and its output. The same for every workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from services.errors import WorkspaceUnavailable, os_errors_as
from services.storage.atomic import write_atomically
from services.storage.serialization import to_json

P = TypeVar("P")


class RunFolder(Generic[P]):
    """The paths in the folder of one run, its plan, and its lock."""

    def __init__(self, home: Path, run_id: str, parse_plan: Callable[[bytes], P]) -> None:
        """`parse_plan` makes a plan of its JSON. It may raise ValueError, TypeError or KeyError."""
        self._parse_plan = parse_plan
        self.path = home / "runs" / run_id
        self.output = self.path / "output"
        self.logs = self.path / "logs"
        self.runner_log = self.logs / "sys" / "runner.log"
        self.plan_file = self.path / "plan.json"

    def create(self, plan: P) -> None:
        """Make the folder, with the plan in it. Raises WorkspaceUnavailable where that isn't possible."""
        hint = "Free some disk space, or check who may write there."
        with os_errors_as(WorkspaceUnavailable, f"The run's folder, {self.path}, can't be written", hint):
            for folder in (self.path, self.output, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.plan_file, to_json(plan, indent=1))

    def plan(self) -> P:
        """The plan. Raises WorkspaceUnavailable where it can't be read."""
        try:
            return self._parse_plan(self.plan_file.read_bytes())
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WorkspaceUnavailable(f"The run's plan, {self.plan_file}, can't be read: {error}.") from error

    def lock(self) -> FileLock:
        """The lock that the run's runner holds. Not inherited by workers; released by the system when its holder dies."""
        return FileLock(self.path / "lock")

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the lock. Raises Timeout where another process holds it for `timeout` seconds, WorkspaceUnavailable without a folder."""
        if reason := self.unwritable_reason():
            raise WorkspaceUnavailable(reason, "Restore the folder or its permissions, and try again.")
        with self.lock().acquire(timeout=timeout):
            yield

    def unwritable_reason(self) -> str | None:
        """Why no run can be executed here, in a sentence; None where it can."""
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
            return False  # asking for the lock would create it
        try:
            with self.lock().acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False  # the folder is gone or can't be written

    def log_files(self) -> dict[str, Path]:
        """The log files by their name in Azure's layout (`logs/job_error.txt`...), those for people first."""
        first = ("job_error.txt", "job_result.txt", "job_progress_overview.txt", "user")
        names = [path.relative_to(self.logs) for path in self.logs.rglob("*") if path.is_file()]
        names.sort(key=lambda path: (first.index(path.parts[0]) if path.parts[0] in first else len(first), path))
        return {f"logs/{path.as_posix()}": self.logs / path for path in names}

    def output_files(self) -> dict[str, Path]:
        """The files in the output folder, by their path there."""
        return {path.relative_to(self.output).as_posix(): path for path in sorted(self.output.rglob("*")) if path.is_file()}

"""The schedules of this machine. The system's own scheduler starts them; here is what each one runs, and the outcome of its last start.

```
<home>/schedules/<name>/
  request.json    when, and the request, with its variables: only its owner can read it
  last.json       the last start: noted before the run is submitted, so that a run is found however its submitter ended
  lock            held while one is being started
```
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from services.domain import Run, RunRequest, RunStatus, utc_now
from services.errors import NotFound, NothingStarted, SettingsError, StillRunning, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import check_name, short
from services.intake.staging import staging_folder
from services.schedules.cron import Recurrence
from services.schedules.schedule import LastStart, Schedule
from services.schedules.texts import SetupTexts, setup_texts
from services.storage.atomic import write_atomically
from services.storage.serialization import from_json, to_json
from services.storage.store import Store
from services.workspace import Workspace

_LONGEST_NAME = 100  # characters: a unit of systemd is called so


@dataclass(frozen=True)
class _Kept:
    every: str
    request: RunRequest
    created_at: datetime


class LocalSchedules:
    """`services.workspace.Schedules` of one home."""

    def __init__(self, workspace: Workspace, store: Store) -> None:
        self._workspace = workspace
        self._store = store
        self._home = workspace.home
        self._folder = workspace.home / "schedules"

    def add(self, name: str, every: str, request: RunRequest) -> Schedule:
        check_name("name", name)
        if len(name) > _LONGEST_NAME:
            raise SettingsError("name", f"“{short(name)}” has {len(name)} characters", f"Use {_LONGEST_NAME} at most.")
        Recurrence.parse(every)
        if other := next((kept.name for kept in self.all() if kept.name.lower() == name.lower()), None):
            hint = f"Remove it first, or choose another name: {name}-2"
            if other == name:
                raise SettingsError("name", f"there is a schedule “{name}” already", hint)
            # one folder on a file system that folds case, and one task of Windows
            raise SettingsError("name", f"“{name}” and the schedule “{other}” differ in case only", hint)
        self._workspace.check(request)
        kept = _Kept(every.strip(), replace(request, submission_id="", rerun_of=None), utc_now())
        with os_errors_as(WorkspaceUnavailable, "The schedule can't be kept", "Free some disk space, or check who may write there."):
            self._path(name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(name), to_json(kept, indent=1), private=True)
        return self.get(name)

    def all(self) -> list[Schedule]:
        if not self._folder.is_dir():
            return []
        return [self.get(path.name) for path in sorted(self._folder.iterdir()) if (path / "request.json").is_file()]

    def get(self, name: str) -> Schedule:
        try:
            kept = from_json(self._path(name).read_bytes(), _Kept)
        except FileNotFoundError as error:
            hint = "Take it out of the system's scheduler too, if it was removed here: schedule list shows what there is."
            raise NotFound(f"There is no schedule “{short(name)}”.", hint) from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WorkspaceUnavailable(f"The schedule {name} can't be read: {error}.", "Remove it and add it again.") from error
        return Schedule(name, kept.every, kept.request, kept.created_at, self._last(name))

    def remove(self, name: str) -> None:
        self.get(name)
        with staging_folder(self._home) as staging:
            os.replace(self._path(name).parent, staging / name)

    def setup(self, name: str) -> SetupTexts:
        return setup_texts(self._home, name, self.get(name).recurrence)

    def start(self, name: str, resumed: Callable[[Run], None] = lambda _: None) -> Run:
        schedule = self.get(name)
        try:
            with FileLock(self._path(name).with_name("lock")).acquire(timeout=0):
                return self._start(schedule, resumed)
        except Timeout as error:
            raise StillRunning(f"Schedule {name} is being started by another command.", "Nothing was started.") from error

    def _start(self, schedule: Schedule, resumed: Callable[[Run], None]) -> Run:
        if before := self._last_run(schedule.name):
            if before.status is RunStatus.NOT_RESPONDING:
                with self._failure_noted(schedule.name):
                    run = self._workspace.runs.resume(before.id)
                resumed(run)
                return run
            if not before.status.ended:
                hint = "Nothing was started; what is to be done is done the next time."
                raise StillRunning(f"Run {before.id} of schedule {schedule.name} has not ended yet.", hint, {"active_run": before.id})
        submission = f"schedule-{schedule.name}-{secrets.token_hex(16)}"
        self._note(schedule.name, {"submission_id": submission})
        with self._failure_noted(schedule.name, submission):
            return self._workspace.submit(replace(schedule.request, submission_id=submission))

    @contextmanager
    def _failure_noted(self, name: str, submission: str = "") -> Iterator[None]:
        """Nobody may be looking when the system starts it: the list says later why it failed."""
        try:
            yield
        except StudioError as error:
            failed = not isinstance(error, NothingStarted)
            self._note(name, {"submission_id": submission, "outcome": f"{error.message} {error.hint}".strip(), "failed": failed})
            raise

    # ---- the outcome of the last start -----------------------------------------------------------------------------------------------

    def _note(self, name: str, about: dict[str, object]) -> None:
        """The outcome of a start that submitted no run is kept beside that of the last one that did."""
        path = self._path(name).with_name("last.json")
        started = self._last_run(name)
        value = {"at": utc_now().isoformat(), "run_before": started.id if started else "", **about}
        with os_errors_as(WorkspaceUnavailable, f"The start of schedule {name} can't be noted", "Free some disk space."):
            write_atomically(path, json.dumps(value))

    def _noted(self, name: str) -> dict[str, str]:
        try:
            noted: dict[str, str] = json.loads(self._path(name).with_name("last.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return noted

    def _last_run(self, name: str) -> Run | None:
        """The last run that it started, as it is now."""
        noted = self._noted(name)
        if not noted:
            return None
        run = self._store.submitted_as(noted["submission_id"])
        try:
            return self._workspace.runs.get(run.id if run else noted["run_before"])
        except NotFound:  # none was started yet, or it was deleted
            return None

    def _last(self, name: str) -> LastStart | None:
        noted = self._noted(name)
        if not noted:
            return None
        run = self._store.submitted_as(noted["submission_id"])
        at = datetime.fromisoformat(noted["at"])
        if run is None:
            outcome = noted.get("outcome", "It was ended before it had started a run, or the run was deleted.")
            return LastStart(at, noted["run_before"], outcome, bool(noted.get("failed", True)))
        return LastStart(at, run.id, self._workspace.runs.get(run.id).status)

    def _path(self, name: str) -> Path:
        check_name("name", name)
        return self._folder / name / "request.json"

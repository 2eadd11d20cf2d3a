"""A schedule of this machine: what is run, when, and the outcome of its last start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.domain import RunRequest
from services.schedules.cron import Recurrence


@dataclass(frozen=True)
class LastStart:
    """When a schedule was started last, and the outcome. `run_id` is the last run that it started, "" where there is none; `outcome`
    is how that is now, or why this start began none; `failed` whether that was an error."""

    at: datetime
    run_id: str = ""
    outcome: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Schedule:
    """`request` names models and datasets as the person did: without a version it is the latest one each time. `every` are cron's words."""

    name: str
    every: str
    request: RunRequest
    created_at: datetime
    last: LastStart | None = field(default=None, compare=False)

    @property
    def recurrence(self) -> Recurrence:
        return Recurrence.parse(self.every)

    def next_at(self) -> datetime | None:
        """When it runs next, where the system has it."""
        found = self.recurrence.next_after(datetime.now())  # cron goes by the machine's clock
        return found.astimezone(UTC) if found else None

    def value(self) -> Mapping[str, object]:
        """As the command line prints it: no variables of the environment, and no arguments, which may be secret."""
        request = self.request
        about = {"models": request.models, "datasets": request.datasets, "entry_script": request.entry_script, "new_only": request.new_only}
        last = None if self.last is None else vars(self.last)
        when = {"every": self.every, "cron": self.recurrence.words, "recurrence": str(self.recurrence), "next_at": self.next_at()}
        return {"name": self.name, **when, "last": last, "created_at": self.created_at, **about}

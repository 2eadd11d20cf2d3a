"""What only a workspace elsewhere has: compute targets, datastores, training runs, its connection, pipelines and their schedules. Plain
values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.errors import SettingsError, StudioError
from services.formats import counted, enumeration

SERVERLESS = "serverless"
"""The compute target of SDK v2 that is made for each run."""


@dataclass(frozen=True)
class ComputeTarget:
    """A cluster or machine that runs can be sent to. `state` is the service's word; the node counts are None where it has no nodes."""

    name: str
    type: str
    state: str
    size: str = ""
    """Of one node: `STANDARD_D2_V2`."""
    nodes: int | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None

    @property
    def usable(self) -> bool:
        """Whether a ParallelRunStep can be sent there: a cluster of Azure ML that is not failed or being deleted, or one made for it."""
        return (self.max_nodes is not None or self.name == SERVERLESS) and self.state not in ("Failed", "Deleting", "Canceled")

    def describe(self) -> str:
        nodes = "" if self.max_nodes is None else f", {self.nodes or 0} of at most {self.max_nodes} nodes running"
        return f"{self.type}, {self.size}{nodes}, {self.state}" if self.size else f"{self.type}{nodes}, {self.state}"


@dataclass(frozen=True)
class Datastore:
    """Where the workspace keeps data. `location` is account and container, or what the service calls it."""

    name: str
    type: str
    location: str
    is_default: bool = False


@dataclass(frozen=True)
class TrainingRun:
    """A run of an experiment, whose outputs may hold a model."""

    id: str
    experiment: str
    name: str
    status: str
    started_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.name} · {self.status}" if self.name else f"{self.id} · {self.status}"


@dataclass(frozen=True)
class ConnectionState:
    """Where signing in is. `message` is what a person has to do now (a device code), `listed_at` the time of the oldest list."""

    is_open: bool
    opening: bool
    message: str = ""
    error: StudioError | None = None
    listed_at: datetime | None = None
    listing: bool = False
    lists: int = 0
    """Counted up with every list that came in; `changes` with those that differ from what was known."""
    changes: int = 0


# ---- pipelines ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline run as the service has it, whoever started it. `status` is a RunStatus, or the service's own word where that is none;
    `run_id` is that of this program's own run, "" of any other; `step` says where its one step is, in the service's word; `studio_url` is
    its page in Azure ML studio; `submitted_by` names the person or application, "" where that isn't told. `note` and `tags` are what people
    say of it there, without what programs keep in its tags."""

    id: str
    experiment: str
    status: str
    title: str = ""
    step: str = ""
    studio_url: str = ""
    submitted_by: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    run_id: str = ""
    note: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedPipeline:
    """A pipeline that can be run again by its id, or by a POST to `endpoint`, with other values of its parameters.

    `defaults` are its parameters with the values that apply where none is given; None where another program published it: what that
    reads and which parameters it has isn't known here.
    """

    id: str
    name: str
    description: str
    version: str
    active: bool
    endpoint: str
    defaults: Mapping[str, str] | None = None


class Frequency(StrEnum):
    """How often a schedule runs, as a ScheduleRecurrence says it."""

    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


WEEK_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Recurrence:
    """Every `interval` units of `frequency`; of days and weeks at `time_of_day` (UTC, `06:30`), of weeks on `week_days`."""

    frequency: Frequency
    interval: int = 1
    time_of_day: str = ""
    week_days: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise SettingsError("interval", f"every {self.interval} {self.frequency.lower()}s is not an interval", "Give 1 or more.")
        if self.time_of_day:
            hour, _, minute = self.time_of_day.partition(":")
            if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
                raise SettingsError("time_of_day", f"“{self.time_of_day}” is not a time of day", "Write it as 06:30, in UTC.")

    def __str__(self) -> str:
        return describe_recurrence(self.frequency, self.interval, self.week_days, [self.time_of_day] if self.time_of_day else [])


def describe_recurrence(unit: str, interval: int, week_days: Sequence[str] = (), times: Sequence[str] = (), zone: str = "UTC") -> str:
    """`every 2 weeks on Monday at 06:30 UTC`."""
    every = f"every {unit.lower()}" if interval == 1 else f"every {counted(interval, unit.lower())}"
    days = f" on {enumeration([day.capitalize() for day in week_days])}" if week_days else ""
    return every + days + (f" at {', '.join(times)} {zone}" if times else "")


def times_of_day(hours: Sequence[object], minutes: Sequence[object]) -> list[str]:
    """All that these hours and minutes make: `06:30`."""
    return [f"{int(str(hour)):02}:{int(str(minute)):02}" for hour in hours for minute in minutes or [0]]


@dataclass(frozen=True)
class Schedule:
    """When a published pipeline is run by itself. `recurrence` is in words."""

    id: str
    name: str
    pipeline_id: str
    recurrence: str
    active: bool

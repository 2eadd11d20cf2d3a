"""What a workspace with pipelines does besides scoring: its pipeline runs, endpoints and schedules. Nouns in Azure ML's words.

A page asks by name (`pipelines_of(workspace)`), never which workspace it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, cast

from services.domain import Run, RunStatus
from services.errors import SettingsError
from services.workspace import Capability, Workspace

PARAMETERS = (
    "mini_batch_size", "node_count", "process_count_per_node", "logging_level", "run_invocation_timeout", "run_max_try", "partition_keys",
)  # fmt: skip
"""The settings that a published pipeline can be run with others of: pipeline parameters, in ParallelRunConfig's docstring's list."""


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline run as the service has it, whoever started it. `run_id` is that of this program's own run, "" of any other; `step` says
    where its one step is, in the service's word; `studio_url` is its page in Azure ML studio."""

    id: str
    experiment: str
    status: RunStatus
    title: str = ""
    step: str = ""
    studio_url: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    run_id: str = ""


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
    """How often a schedule comes round, in ScheduleRecurrence's words."""

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
            raise SettingsError("interval", f"every {self.interval} {self.frequency.lower()}s is no interval", "Give 1 or more.")
        if self.time_of_day:
            hour, _, minute = self.time_of_day.partition(":")
            if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
                raise SettingsError("time_of_day", f"“{self.time_of_day}” is no time of day", "Write it as 06:30, in UTC.")

    def __str__(self) -> str:
        unit = self.frequency.lower()
        every = f"every {unit}" if self.interval == 1 else f"every {self.interval} {unit}s"
        days = f" on {', '.join(self.week_days)}" if self.week_days else ""
        return every + days + (f" at {self.time_of_day} UTC" if self.time_of_day else "")


@dataclass(frozen=True)
class Schedule:
    """When a published pipeline is run by itself. `recurrence` is in words."""

    id: str
    name: str
    pipeline_id: str
    recurrence: str
    active: bool


class Pipelines(Protocol):
    """The verbs. All but `of` ask the service; they raise NotFound, SettingsError and WorkspaceUnavailable as the workspace's do."""

    def of(self, run_id: str) -> PipelineRun | None:
        """The pipeline run of a run, as the run's own process saw it last; None before it is submitted."""

    def experiments(self) -> list[str]:
        """The experiments of the workspace that are not archived, by name."""

    def history(self, experiment: str, limit: int = 100) -> list[PipelineRun]:
        """The newest pipeline runs of an experiment, those too that this program did not start. Without those that it made when an answer
        was lost, and never starts: their run has another."""

    def publish(self, run_id: str, name: str, description: str = "") -> PublishedPipeline:
        """Publish what a run submitted, as a pipeline of its own."""

    def published(self) -> list[PublishedPipeline]:
        """The published pipelines, also those that are disabled."""

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        """Enable or disable a published pipeline."""

    def submit(self, pipeline_id: str, parameters: Mapping[str, str], *, name: str = "", submission_id: str = "") -> Run:
        """Run a published pipeline with these values of its parameters, as a run of this program."""

    def schedules(self) -> list[Schedule]:
        """The schedules, also those that are disabled."""

    def schedule(self, pipeline_id: str, name: str, recurrence: Recurrence, parameters: Mapping[str, str]) -> Schedule:
        """Run a published pipeline by the clock."""

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        """Enable or disable a schedule."""


class PipelineWorkspace(Workspace, Protocol):
    """A workspace with pipelines."""

    @property
    def pipelines(self) -> Pipelines:
        """Its pipelines."""


def pipelines_of(workspace: Workspace) -> Pipelines | None:
    """The pipelines of the workspace, where it has them."""
    return cast(PipelineWorkspace, workspace).pipelines if Capability.PIPELINES in workspace.capabilities else None

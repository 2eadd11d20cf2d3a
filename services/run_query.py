"""Which runs, in which order, and which of them: what a list asks of the registry, and what it gets. Plain values, the same for every
workspace. Apart from run_details.py, because a run's own process imports this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from services.domain import Run, RunStatus
from services.errors import SettingsError


@dataclass(frozen=True)
class RunQuery:
    """What is left out filters nothing; all that is given must hold. The default is the first page of the list: the newest runs first,
    without the archived ones.

    Each word of `text` must be in the run's name, id, model, dataset, script, note or tags; small and capital letters are the same.
    `model` and `dataset` are names (any version) or `name:version`, one of those that the run has. The run must have each of `tags` with
    this value, or with any value where it is "". It was submitted at `since` or later, and before `until`. With `archived` those that are
    archived are among the others. With `ids` it is one of these.

    Pinned runs come first, then `sort` decides, one of SORTS; what has no value comes last, and of equals the newest first. Of these the
    `count` from number `first` (from 0) on.
    """

    SORTS: ClassVar[tuple[str, ...]] = (
        "submitted_at", "name", "status", "model", "dataset", "script", "duration", "items_total", "items_succeeded", "items_failed",
    )  # fmt: skip

    text: str = ""
    statuses: tuple[RunStatus, ...] = ()
    model: str = ""
    dataset: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    archived: bool = False
    sort: str = "submitted_at"
    descending: bool = True
    first: int = 0
    count: int = 100
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.sort not in self.SORTS:
            raise SettingsError("sort", f"“{self.sort}” is not a column that runs are sorted by", f"Give one of {', '.join(self.SORTS)}.")
        if self.first < 0 or self.count < 0:
            raise SettingsError("count", "a number of runs is not below 0", "Give 0 or more.")


@dataclass(frozen=True)
class RunPage:
    """`total` runs match, and `runs` are those that were asked for, each as it is now. `statuses` counts those that match all but the
    query's statuses."""

    total: int
    runs: tuple[Run, ...]
    statuses: Mapping[RunStatus, int]


@dataclass(frozen=True)
class RunChoices:
    """What the runs have that one can search by, each once and in order: references of models and datasets, tags."""

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


RUN_COLUMNS = ("id", "name", "status", "model", "dataset", "script", "tags", "note", "submitted_at", "duration", "items_failed")
"""What a person's condition over runs can be about, each as the registry has it, for there may be 100,000 runs: `model` and `dataset` as
lines of `name:version`, `tags` as a JSON object, `submitted_at` in ISO 8601 and UTC, `duration` in seconds, None before the start."""

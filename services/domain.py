"""The nouns: Model, FileDataset, EntryScript, RunRequest, Run, RunStatus, MiniBatch. Plain values, the same for every workspace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.errors import SettingsError
from services.settings import RESERVED_ARGUMENTS, ParallelRunSettings, size_in_units


def reference(name: str, version: int) -> str:
    """How a version of a model or dataset is written everywhere: `name:version`."""
    return f"{name}:{version}"


def parse_reference(text: str, field_name: str) -> tuple[str, int | None]:
    """`name` or `name:version` as (name, version or None for the latest). Raises SettingsError on `field_name`."""
    name, colon, version = text.partition(":")
    if not name or (colon and not version.isdecimal()):
        raise SettingsError(field_name, f"“{text}” is no NAME or NAME:VERSION", "Write for example digits-classifier:1.")
    return name, int(version) if colon else None


@dataclass(frozen=True)
class Model:
    """One version of a registered model. `path` is its file or folder in the workspace; `size` in bytes.

    `kind` says what the content is (never the extension); `imports` are the modules a pickle would import on load.
    A model that is a program (`needs_approval`) may be used by a run only once its `sha256` is `approved`.
    """

    name: str
    version: int
    path: str
    size: int
    sha256: str
    kind: str
    created_at: datetime
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    needs_approval: bool = True
    approved: bool = False
    imports: tuple[str, ...] = ()
    scanned_whole: bool = True
    """False where `imports` may lack some: the file was too large, or not to be read to its end."""

    @property
    def reference(self) -> str:
        return reference(self.name, self.version)

    @property
    def usable(self) -> bool:
        return self.approved or not self.needs_approval

    def __str__(self) -> str:
        return self.reference


@dataclass(frozen=True)
class FileDataset:
    """One version of a registered file dataset: the files of its manifest, in that order, for ever.

    `root` is the absolute folder that the manifest's relative paths start from. `in_place` is False where the workspace holds a copy.
    """

    name: str
    version: int
    root: str
    glob: str
    in_place: bool
    file_count: int
    size: int
    manifest: str
    manifest_sha256: str
    created_at: datetime
    description: str = ""

    @property
    def reference(self) -> str:
        return reference(self.name, self.version)

    def __str__(self) -> str:
        return self.reference


@dataclass(frozen=True)
class DatasetFile:
    """One line of a dataset's manifest: the path relative to the root (`/` between folders), bytes, and modification time in ns."""

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class EntryScript:
    """A scoring script on offer. `origin` is `built-in` or `uploaded`; an uploaded one needs approval of its `sha256`."""

    name: str
    path: str
    origin: str
    sha256: str
    approved: bool
    docstring: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Environment:
    """One version of a registered environment: a Python interpreter that runs the workers, and what is installed there.

    `packages` are versions by name, as the interpreter itself said at `created_at`. This program's own interpreter, which a run uses
    that names no environment, has the name "" and the version 0.
    """

    name: str
    version: int
    interpreter: str
    python_version: str
    packages: Mapping[str, str]
    created_at: datetime

    @property
    def reference(self) -> str:
        return reference(self.name, self.version) if self.name else ""

    def __str__(self) -> str:
        return self.reference or "this program’s own"


class RunStatus(StrEnum):
    """Azure ML's words for where a run is. A pipeline run's `Finished` is translated to `Completed` at the border."""

    NOT_STARTED = "NotStarted"
    QUEUED = "Queued"
    RUNNING = "Running"
    CANCEL_REQUESTED = "CancelRequested"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    NOT_RESPONDING = "NotResponding"

    @property
    def ended(self) -> bool:
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


@dataclass(frozen=True)
class MiniBatch:
    """What one call of run() gets: `item_count` files, as the manifest's bytes [offset, offset + length) of dataset `dataset`."""

    index: int
    dataset: int
    offset: int
    length: int
    item_count: int


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for. Written as JSON into the run's folder; what is in it is all a runner needs to know.

    `models` and `datasets` are references (`name:version`); `entry_script` an absolute path; `source_directory` an absolute folder put
    on the script's `sys.path`, or None for the script's own. `submission_id` makes a double click one run: a second request with the
    same id returns the first one's run.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    entry_script: str
    settings: ParallelRunSettings = field(default_factory=ParallelRunSettings)
    source_directory: str | None = None
    arguments: tuple[str, ...] = ()
    side_inputs: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    compute_target: str | None = None
    name: str = ""
    submission_id: str = ""

    def __post_init__(self) -> None:
        if not self.datasets:
            raise SettingsError("dataset", "no dataset is chosen", "Choose what to score, or register a dataset first.")
        if not self.entry_script:
            raise SettingsError("entry_script", "no scoring script is chosen", "Choose the built-in script, or upload one.")
        if self.arguments and not self.arguments[0].startswith("-"):
            raise SettingsError(
                "arguments", f"the first argument, “{self.arguments[0]}”, does not start with -", "Write --name value, as for argparse."
            )
        for argument in self.arguments:
            if argument.startswith("--") and argument[2:].split("=")[0] in RESERVED_ARGUMENTS:
                raise SettingsError("arguments", f"{argument} is reserved by ParallelRunStep", "Choose another argument name.")

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"settings": self.settings.as_dict()})

    @classmethod
    def from_json(cls, text: str) -> RunRequest:
        values: dict[str, Any] = json.loads(text)
        values["settings"] = ParallelRunSettings.from_dict(values["settings"])
        for name in ("models", "datasets", "arguments"):
            values[name] = tuple(values[name])
        return cls(**values)

    @property
    def script_name(self) -> str:
        return Path(self.entry_script).name

    def title(self) -> str:
        """The run's name as the person gave it, else what it is of."""
        return self.name or f"{', '.join(self.models) or self.script_name} on {', '.join(self.datasets)}"


@dataclass(frozen=True)
class Run:
    """Where a run is. Counts that aren't known yet are None; times are UTC. `workers` are those alive now; `rate` is items per second."""

    id: str
    request: RunRequest
    status: RunStatus
    submitted_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None
    items_total: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    mini_batches_total: int | None = None
    mini_batches_done: int | None = None
    workers: int = 0
    rate: float | None = None
    error_code: str | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.request.title()

    @property
    def items_left(self) -> int | None:
        if self.items_total is None:
            return None
        return self.items_total - (self.items_succeeded or 0) - (self.items_failed or 0)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None when it isn't running or nothing can be said."""
        if self.status is not RunStatus.RUNNING or not self.rate or self.items_left is None:
            return None
        return self.items_left / self.rate

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, or to now while it runs."""
        if self.started_at is None:
            return None
        end = self.ended_at or (self.heartbeat_at if self.status is RunStatus.NOT_RESPONDING else None) or utc_now()
        return max(0.0, (end - self.started_at).total_seconds())


@dataclass(frozen=True)
class Failure:
    """An attempt at a mini-batch that failed, or that returned fewer rows than items: which files, what was said, and what follows."""

    mini_batch: int
    attempt: int
    status: str
    items: tuple[str, ...]
    items_failed: int
    final: bool
    worker: str
    error: str
    """First the line a person should see, then the traceback; empty for a short return."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def readable(text: str) -> str:
    """Text that can be stored and shown anywhere: the bytes of an undecodable file name written out, as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def counted(count: int, noun: str) -> str:
    """`1 file`, `1,234 files`; mini-batch and batch get their -es."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def mini_batch_count(item_counts: list[int], settings: ParallelRunSettings) -> int:
    """How many mini-batches file datasets of these sizes are cut into: each is cut separately."""
    size = size_in_units(settings.mini_batch_size or ParallelRunSettings.default("mini_batch_size"))
    return sum(-(-count // size) for count in item_counts)


def in_words(item_counts: list[int], settings: ParallelRunSettings) -> str:
    """What a run will do, for a person: “912 files in 183 mini-batches of 5, on 4 workers; stops after the 11th failed file”.

    `item_counts` has the number of files of each dataset.
    """
    total = sum(item_counts)
    size = size_in_units(settings.mini_batch_size or ParallelRunSettings.default("mini_batch_size"))
    batches = mini_batch_count(item_counts, settings)
    cut = f"{counted(total, 'file')} in {counted(batches, 'mini-batch')}" + (f" of {size:,}" if batches > 1 else "")
    threshold = settings.error_threshold
    if threshold < 0:
        stop = "never stops for failed files"
    elif threshold >= total:
        stop = f"never stops for failed files: {threshold:,} may fail, and there are only {total:,}"
    else:
        stop = f"stops after the {_ordinal(threshold + 1)} failed file"
    return f"{cut}, on {counted(settings.worker_count, 'worker')}; {stop}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{suffix}"

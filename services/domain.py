"""The nouns: Model, FileDataset, TabularDataset, RunRequest, Run, MiniBatch and others. Plain values, the same for every workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from services import formats
from services.errors import SettingsError, StudioError
from services.settings import RESERVED_ARGUMENTS, ParallelRunSettings

EXPERIMENT = "batch-scoring"
"""The experiment that runs belong to."""


def reference(name: str, version: int) -> str:
    """How a version of a model or dataset is written everywhere: `name:version`."""
    return f"{name}:{version}"


def parse_reference(text: str, field_name: str) -> tuple[str, int | None]:
    """`name` or `name:version` as (name, version or None for the latest). Raises SettingsError on `field_name`."""
    name, colon, version = text.partition(":")
    if not name or (colon and not (version.isdecimal() and len(version) <= 9)):
        raise SettingsError(field_name, f"“{text}” is not NAME or NAME:VERSION", "Write for example digits-classifier:1.")
    return name, int(version) if colon else None


@dataclass(frozen=True)
class _Registered:
    """One version of what is registered under a name."""

    name: str
    version: int

    @property
    def reference(self) -> str:
        return reference(self.name, self.version) if self.version else self.name

    def __str__(self) -> str:
        return self.reference


@dataclass(frozen=True)
class Model(_Registered):
    """One version of a registered model. `path` is its file or folder in the workspace; `size` in bytes, None where it isn't known.

    `kind` says what the content is (never the extension); `imports` are the modules a pickle would import on load.
    A model that is a program (`needs_approval`) may be used by a run only once its `sha256` is `approved`.
    """

    path: str
    size: int | None
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
    features: int | None = None
    """How many columns it was fitted to, where its file tells."""
    format: str = ""
    """As ModelCard's; "" where its files don't tell, as of a folder of several, and of what an older version or another program
    registered."""

    @property
    def usable(self) -> bool:
        return self.approved or not self.needs_approval


class ItemKind(StrEnum):
    """What one item of a dataset is, told by the content of its files; and what a model takes."""

    TABLE_ROW = "a row of a table"
    ROW_FILE = "a file of one row of numbers"
    HEADED_ROW_FILE = "a file of a header and one row"
    TABLE_FILE = "a file of many rows"
    IMAGE = "an image"
    TEXT = "a text"
    OTHER = "a file"

    @property
    def plural(self) -> str:
        """“files of one row of numbers”, “images”."""
        noun, blank, rest = self.value.partition(" ")[2].partition(" ")
        return f"{noun}s{blank}{rest}"


ROW_KINDS = (ItemKind.TABLE_ROW, ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE)
"""Items that are a row of columns."""


@dataclass(frozen=True)
class ModelInput:
    """One input of a model: a column, or a tensor. `type` is one of text, integer, number, boolean, date, datetime, tensor, or "" where it
    isn't known; `shape` is a tensor's, that of a whole batch, with None for what is open."""

    name: str
    type: str = ""
    shape: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model, read from its file, or said by itself once it was loaded in a process of an environment (`inspected_in`:
    that environment, as `name:version`, or `""` for this program's own; None where nothing was loaded).

    `format` is one of scikit-learn, skops, onnx, xgboost, lightgbm, catboost, mlflow, keras, torchscript, torch-export, torch, unknown.
    `framework` and `framework_version` say what it was made with. `task` is classification, regression, clustering, outlier detection,
    multi-output classification, multi-output regression, transformation, or "". `takes` are the kinds of items it can score, the likeliest
    first. `feature_count` is the number of columns. `classes` are texts, as the predictions print. `requirements` are lines for pip.
    `scorer_defaults` are arguments of the built-in scorers that its file tells: `{"size": "224x224", "layout": "NCHW"}`.
    `warnings` are sentences on what stands in the way of scoring it, `notes` others for people. Whatever isn't known is empty, or None;
    nothing is guessed.
    """

    format: str
    framework: str = ""
    framework_version: str = ""
    task: str = ""
    takes: tuple[ItemKind, ...] = ()
    inputs: tuple[ModelInput, ...] = ()
    feature_count: int | None = None
    classes: tuple[str, ...] = ()
    has_probabilities: bool | None = None
    requirements: tuple[str, ...] = ()
    python_version: str = ""
    scorer_defaults: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inspected_in: str | None = None


@dataclass(frozen=True)
class DatasetProblem:
    """What is odd about one file of a dataset: `what` is a sentence that begins with the cause, `file` its path in the dataset."""

    file: str
    what: str


@dataclass(frozen=True)
class TableReading:
    """How files are to be read as a table, as far as a person says so: what is None or empty is told by the files themselves.

    `delimiter`, `decimal` and `quote` are one character each, `header` whether the first record names the columns, `types` the types of
    columns by name, each one of `COLUMN_TYPES`, `sheets` those of a workbook.
    """

    COLUMN_TYPES: ClassVar[tuple[str, ...]] = ("text", "integer", "number", "boolean", "date", "datetime")

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    quote: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    sheets: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetProposal:
    """What files would be registered as, and why, in a sentence; nothing is registered yet.

    `type` is file or tabular. `reading` is complete: what the files would be read with. `columns` are names and types (one of
    TableReading.COLUMN_TYPES), `rows` the first rows as texts, both empty for files that are one item each. `problems` are the first of
    `problem_count`. `item_count` is None where it wasn't counted in time. `sheets` are all sheets of a workbook. `leading_zeros` are
    columns that are read as numbers though some values begin with zeros, each with an example.
    """

    type: str
    item_kind: ItemKind
    why: str
    reading: TableReading = TableReading()
    columns: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    problems: tuple[DatasetProblem, ...] = ()
    problem_count: int = 0
    notes: tuple[str, ...] = ()
    file_count: int = 0
    item_count: int | None = None
    source_format: str = ""
    sheets: tuple[str, ...] = ()
    leading_zeros: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dataset(_Registered):
    """One version of a registered dataset: its files, in the order of their paths, for ever. An item is what counts in a run.

    `root` is the absolute folder that the relative paths start from. `in_place` is False where the workspace holds a copy. The keys of
    `partition_format` are parts of each path; it is empty where there are none. Counts are None where they aren't known yet.

    `left_out` counts what was there and is no file of the dataset, by kind: names (`.DS_Store`) or patterns of them (`._*`), folders with
    a `/`, and `LINKED_FOLDERS`. `notes` are sentences on what was found when it was registered. `problems` are the first of
    `problem_count`. `source_root` is where the files lie that its own were made of; "" where they are the very files.
    """

    LINKED_FOLDERS: ClassVar[str] = "links to folders"

    type: ClassVar[str]
    item: ClassVar[str]

    root: str
    glob: str
    in_place: bool
    file_count: int | None
    size: int | None
    manifest: str
    manifest_sha256: str
    created_at: datetime
    description: str = ""
    partition_format: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    item_kind: ItemKind = ItemKind.OTHER
    problems: tuple[DatasetProblem, ...] = ()
    problem_count: int = 0
    source_root: str = ""

    @property
    def item_count(self) -> int | None:
        return self.file_count

    def describe_left_out(self) -> str:
        """What was left out, the most frequent first: `4 (3 × ._*, 1 × .DS_Store)`; "" where nothing was."""
        kinds = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        return f"{sum(self.left_out.values()):,} ({', '.join(f'{count:,} × {kind}' for kind, count in kinds)})" if kinds else ""


@dataclass(frozen=True)
class FileDataset(Dataset):
    """Its items are its files; a mini-batch is a list of their paths."""

    type = item = "file"


@dataclass(frozen=True)
class TabularDataset(Dataset):
    """Its items are the rows of its files; a mini-batch is a pandas DataFrame of some of them.

    `format` is what its files are now, `csv` or `parquet`. `columns` are names and pandas types of the files' columns, settled over all
    of them: of a CSV int64, uint64, float64, bool, str, or object for True and False with missing values among them.
    """

    format: str = "csv"
    item_kind: ItemKind = ItemKind.TABLE_ROW
    columns: tuple[tuple[str, str], ...] = ()
    row_count: int | None = 0
    source_format: str = ""
    """What the files were when they came in: csv, tsv, jsonl, parquet, excel; another than `format` where they were turned into Parquet."""
    dialect: Mapping[str, str] = field(default_factory=dict)
    """How the files were read: delimiter, decimal, encoding, quote, header (on, off), compression, sheet."""
    column_types: tuple[str, ...] = ()
    """The types of `columns` in words, each one of TableReading.COLUMN_TYPES; empty where only the pandas types are known."""

    type = "tabular"
    item = "row"

    @property
    def typed_columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types in words."""
        words = self.column_types or tuple(column_type_of(dtype) for _, dtype in self.columns)
        return tuple((name, word) for (name, _), word in zip(self.columns, words, strict=True))

    @property
    def item_count(self) -> int | None:
        return self.row_count


@dataclass(frozen=True)
class DatasetFile:
    """A file of a dataset: the path relative to the root (`/` between folders), bytes, and modification time in ns."""

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
class Environment(_Registered):
    """One version of a registered environment: a Python interpreter that runs the workers, and what is installed there.

    `packages` are versions by name, as the interpreter itself said at `created_at`. This program's own has the name "" and version 0.
    `requirements` are the lines of the list that it was made from here, and `size` the bytes of disk it then used; () and None for an
    interpreter that was there before.
    """

    interpreter: str
    python_version: str
    packages: Mapping[str, str]
    created_at: datetime
    requirements: tuple[str, ...] = ()
    size: int | None = None

    def __str__(self) -> str:
        return self.reference or "this program’s own"

    def describe(self) -> str:
        """`environment like-churn:1`, or `this program’s own environment`."""
        return f"environment {self.reference}" if self.name else "this program’s own environment"


class BuildStatus(StrEnum):
    """Where the building of an environment is."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class EnvironmentBuild:
    """An environment that is being built, or was. `requirements` are the lines of its list; `progress` the last lines that the installer
    said. `environment` is the reference of what it became; `error` and `hint` say why it became nothing, `field` which value is to blame.
    """

    id: str
    name: str
    requirements: tuple[str, ...]
    started_at: datetime
    status: BuildStatus = BuildStatus.BUILDING
    progress: tuple[str, ...] = ()
    environment: str = ""
    error: str = ""
    hint: str = ""
    field: str = ""
    error_type: str = ""


@dataclass(frozen=True)
class Interpreter:
    """A Python that is on this machine: its path and version, `3.11.7`."""

    path: str
    version: str


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


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class MiniBatch:
    """What one call of run() gets: `item_count` files or rows, the manifest's bytes [offset, offset + length) of dataset `dataset`."""

    index: int
    dataset: int
    offset: int
    length: int
    item_count: int
    rows_before: int = 0
    """Of a table's slices, how many rows their first file has before them."""


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for. Written as JSON into the run's folder; what is in it is all a runner needs to know.

    `models` and `datasets` are references (`name:version`); `entry_script` an absolute path; `source_directory` an absolute folder put
    on the script's `sys.path`, or None for the script's own. With `allow_reuse` the output of an earlier run with the same inputs is
    taken instead of scoring again; never for a request with `rerun_of`, the run that it asks to do again; with `failed_only` just the
    items that failed there or have no row. `submission_id` makes a double click one run: a second request with the same id returns the
    first one's run.
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
    allow_reuse: bool = True
    rerun_of: str | None = None
    failed_only: bool = False
    name: str = ""
    submission_id: str = ""

    def __post_init__(self) -> None:
        if not self.datasets:
            raise SettingsError("dataset", "no dataset is chosen", "Choose what to score, or register a dataset first.")
        if not self.entry_script:
            raise SettingsError("entry_script", "no scoring script is chosen", "Choose the built-in script, or upload one.")
        if self.failed_only and not self.rerun_of:
            raise SettingsError("failed_only", "no run is named whose failed items to score again", "Name the run.")
        if self.arguments and not self.arguments[0].startswith("-"):
            text = f"the first argument, “{self.arguments[0]}”, does not start with -"
            raise SettingsError("arguments", text, "Write --name value, as for argparse.")
        for argument in self.arguments:
            if argument.startswith("--") and argument[2:].split("=")[0] in RESERVED_ARGUMENTS:
                raise SettingsError("arguments", f"{argument} is reserved by ParallelRunStep", "Choose another argument name.")
        if self.settings.partition_keys and self.settings.mini_batch_size:  # as the SDK
            raise SettingsError("partition_keys", "partition_keys and mini_batch_size exclude each other", "Leave one of them empty.")

    @property
    def wants_dataframe_header(self) -> bool:
        """Whether the output begins with the column names of the DataFrames: `--append_row_dataframe_header True`, as on Azure."""
        words = [word for argument in self.arguments for word in argument.split("=", 1)]
        return any(name == "--append_row_dataframe_header" and value.lower() == "true" for name, value in pairwise(words))

    @property
    def script_name(self) -> str:
        return Path(self.entry_script).name

    def title(self) -> str:
        """The run's name as the person gave it, else what it is of."""
        return self.name or f"{', '.join(self.models) or self.script_name} on {', '.join(self.datasets)}"


LONGEST_SILENCE_SECONDS = 10.0
"""Without a sign of life for longer, what a run's rate was says nothing about the time that is left."""

NOT_SUBMITTED = "NotSubmitted"
"""The error code of a run that its workspace's service never got."""


@dataclass(frozen=True)
class Run:
    """Where a run is. Counts that aren't known yet are None; times are UTC. `stopped_at` is when a run that is resumed, but not running
    again yet, stopped; `paused_seconds` how long it was stopped in all. `workers` are those alive now; `rate` is items per second;
    `doing` what its process is at beside scoring, in words. `reused_from` is the run whose output it took instead of scoring;
    `reuse_note` says why it took none, though there were others."""

    id: str
    request: RunRequest
    status: RunStatus
    submitted_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None
    stopped_at: datetime | None = None
    paused_seconds: float = 0.0
    items_total: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    mini_batches_total: int | None = None
    mini_batches_done: int | None = None
    workers: int = 0
    rate: float | None = None
    doing: str | None = None
    error_code: str | None = None
    error: str | None = None
    reused_from: str | None = None
    reuse_note: str | None = None
    warnings: tuple[str, ...] = ()

    def request_again(self, *, failed_only: bool = False) -> RunRequest:
        """The request for a run that does the same again, whatever there is to be reused; or just what failed or has no row."""
        if self.request.failed_only and not failed_only:  # the same is: what failed in that other run
            return replace(self.request, submission_id="")
        return replace(self.request, rerun_of=self.id, failed_only=failed_only, submission_id="")

    @property
    def title(self) -> str:
        return self.request.title()

    @property
    def never_submitted(self) -> bool:
        """Whether it failed before the service got it: resuming submits it."""
        return self.status is RunStatus.FAILED and self.error_code == NOT_SUBMITTED

    @property
    def items_left(self) -> int | None:
        if self.items_total is None or self.items_succeeded is None:
            return None
        return self.items_total - (self.items_succeeded or 0) - (self.items_failed or 0)

    @property
    def share_done(self) -> float | None:
        """From 0 to 1: of the items, or of the mini-batches where items are reported at the end only; None where neither is known."""
        if self.items_succeeded is None:
            return (self.mini_batches_done or 0) / self.mini_batches_total if self.mini_batches_total and self.mini_batches_done else None
        return (self.items_succeeded + (self.items_failed or 0)) / self.items_total if self.items_total else None

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None when it isn't running or nothing can be said, as without a recent sign of life."""
        if self.status is not RunStatus.RUNNING or not self.rate or self.items_left is None:
            return None
        if (self.heartbeat_age or 0.0) > LONGEST_SILENCE_SECONDS:
            return None
        return self.items_left / self.rate

    @property
    def heartbeat_age(self) -> float | None:
        """Seconds since its runner's last sign of life; None without one."""
        return None if self.heartbeat_at is None else max(0.0, (utc_now() - self.heartbeat_at).total_seconds())

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, or to now while it runs, without those between a stop and the resume."""
        if self.started_at is None:
            return None
        end = self.stopped_at or self.ended_at or (self.heartbeat_at if self.status is RunStatus.NOT_RESPONDING else None) or utc_now()
        return max(0.0, (end - self.started_at).total_seconds() - self.paused_seconds)


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

    @property
    def error_type(self) -> str:
        """The exception's class, with which its line begins: `ValueError`; empty for a short return."""
        return self.error.partition("\n")[0].partition(":")[0]


@dataclass(frozen=True)
class FailedItem:
    """An item without a prediction. `item` is its path in the dataset, as the table has it, "" where it isn't known which one has
    none; of a table's row the path of its file. `cause` is the sentence on this very item; `attempt` how often it was tried, all in all."""

    item: str
    cause: str
    mini_batch: int
    attempt: int
    worker: str
    row_number: int | None = None
    """Of a table's row, which data row of its file it is, from 1, where that is known."""

    @property
    def name(self) -> str:
        """What it is called: `prices.csv`, or of a table's row `prices.csv, row 17`."""
        return self.item if self.row_number is None else f"{self.item}, row {self.row_number}"


@dataclass(frozen=True)
class FailureCause:
    """Failed items whose sentences differ in names and numbers only. `cause` is that sentence, with `…` for what differs and for names and
    numbers between two that differ; `share` is of all failed items, from 0 to 1; `example` is one of the items."""

    cause: str
    count: int
    share: float
    example: str
    template: str
    """What the table's column Cause has for all of them."""


# ---- logs --------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a run's logs: those that hold `text` (small and capital letters are the same), from this `level` up (one of LEVELS;
    a line that doesn't say its level counts as INFO), of one `worker` (as LogSearch.workers has it), of one `mini_batch`. Of these the last
    `limit`, as far as they are within the last `most_bytes` of the logs (None: anywhere)."""

    LEVELS: ClassVar[tuple[str, ...]] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

    text: str = ""
    level: str = ""
    worker: str = ""
    mini_batch: int | None = None
    limit: int = 500
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.level and self.level not in self.LEVELS:
            raise SettingsError("level", f"“{self.level}” is not a level", f"Give one of {', '.join(self.LEVELS)}.")
        if self.limit < 1:
            raise SettingsError("last", f"{self.limit} is not a number of lines", "Give 1 or more.")
        if "\n" in self.text:
            raise SettingsError("search", "a line holds no line break", "Search for a part of one line.")


@dataclass(frozen=True)
class LogLine:
    """A line of a run's logs. `time` is what the line says (`time_inferred` False), else that of the line before it in its file or of the
    begin of its mini-batch, whichever is later; None where neither is known. `level` is "" where the line doesn't say it. `mini_batch` is
    known by the place in the log, which the worker notes beside each of its attempts, or by what the line says; else by its time
    (`mini_batch_inferred`), since a worker makes one attempt at a time. `log` is the file's name in Azure's layout, or “attempts” for the
    error of an attempt that failed; `place` is where in it the line is."""

    text: str
    time: datetime | None = None
    time_inferred: bool = False
    worker: str = ""
    level: str = ""
    mini_batch: int | None = None
    mini_batch_inferred: bool = False
    log: str = ""
    place: int = 0


@dataclass(frozen=True)
class LogSearch:
    """What a search through a run's logs found: `lines` in the order of their time. `workers` are all that have logs. `scanned` bytes of
    `size` were read; with `more` there may be earlier lines that match. `ends` says how far it went: a later search finds what comes
    after. `notes` are sentences on files that could not be read to their end."""

    lines: tuple[LogLine, ...] = ()
    workers: tuple[str, ...] = ()
    scanned: int = 0
    size: int = 0
    more: bool = False
    stopped: bool = False
    ends: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# ---- a run that is watched -------------------------------------------------------------------------------------------------------------


class WorkerState(StrEnum):
    """What a worker does: importing the script, calling init(), calling run(), ending; or nothing, as it waits for a mini-batch."""

    IMPORT = "import"
    INIT = "init"
    RUN = "run"
    WAIT = "wait"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class WorkerSpan:
    """What one worker did from `begin` to `end`, seconds since 1970. Of `RUN`: `busy` is which share of that time it was in calls of run(),
    from 0 to 1; `attempts` began in it, and `failed` of these left items without a row; `mini_batch` is the one to look at: one that
    failed, else the slowest. `going_on`: not ended when this was told. `reason` is why its process ended, in part of a sentence."""

    state: WorkerState
    begin: float
    end: float
    busy: float = 1.0
    attempts: int = 0
    failed: int = 0
    mini_batch: int | None = None
    going_on: bool = False
    reason: str = ""


@dataclass(frozen=True)
class WorkerActivity:
    """A worker: what it did, in the order of time, and pairs (seconds since 1970, bytes) of the memory that it and what it started had."""

    name: str
    spans: tuple[WorkerSpan, ...]
    memory: tuple[tuple[float, int], ...] = ()
    processes: int = 1
    """That took this worker's place, one after the other."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Items that were settled from `begin` on, for as long as a bucket of time lasts."""

    begin: float
    succeeded: int
    failed: int


@dataclass(frozen=True)
class SlowAttempt:
    """One of the attempts whose call of run() took longest."""

    mini_batch: int
    attempt: int
    worker: str
    seconds: float
    items: int
    status: str


@dataclass(frozen=True)
class RunActivity:
    """How a run goes, or went, over time. Times are seconds since 1970; it spans `begin` to `end`, in buckets of `bucket_seconds`.

    `attempts` are all that have ended, `mini_batches_failed` the mini-batches whose last try failed. `last_ended_at` is when an attempt
    ended last. `timeout` is the run_invocation_timeout, `suggested_timeout` what would suit the slowest call; None where none was seen.
    `last_rows` are the last lines of the output so far. `unknown` are sentences on what is not known of this run. `share_read`: of its
    attempts, from 0 to 1, those that this is made of.
    """

    begin: float
    end: float
    bucket_seconds: float
    pace: tuple[Pace, ...] = ()
    workers: tuple[WorkerActivity, ...] = ()
    slowest: tuple[SlowAttempt, ...] = ()
    attempts: int = 0
    mini_batches_failed: int | None = None
    last_ended_at: float | None = None
    timeout: int = 0
    suggested_timeout: int | None = None
    last_rows: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    share_read: float = 1.0

    @property
    def overdue(self) -> tuple[tuple[str, WorkerSpan], ...]:
        """Calls of run() that were going on, with the names of their workers, the longest first."""
        calls = [(w.name, span) for w in self.workers for span in w.spans if span.going_on and span.state is WorkerState.RUN]
        return tuple(sorted(calls, key=lambda call: call[1].begin))


@dataclass(frozen=True)
class MiniBatchAttempt:
    """An attempt at a mini-batch. `seconds` are all, `run_seconds` those in run(), None where it isn't known; `error` as of a Failure."""

    attempt: int
    status: str
    worker: str
    started_at: datetime | None
    seconds: float | None
    run_seconds: float | None
    succeeded: int | None
    failed: int
    final: bool
    error: str


@dataclass(frozen=True)
class MiniBatchDetail:
    """One mini-batch of a run: its first items by name, of `item_count`, and every attempt at it. `item_count` is None where it isn't
    known; `items` is then empty. `running_on` is the worker that is at it, "" where none is, since `running_since`."""

    number: int
    dataset: str
    item: str
    item_count: int | None
    items: tuple[str, ...]
    attempts: tuple[MiniBatchAttempt, ...]
    running_on: str = ""
    running_since: datetime | None = None


# ---- a trial: some items scored before the run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrialRow:
    """A row of a trial, as a run's table of predictions has it: `values` by column, None where a cell is empty. `item` is a path in the
    dataset, and `row` the row's number in that file, from 1, where items are rows. `error` is why there is no prediction, else ""."""

    item: str
    row: int | None
    status: str
    values: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Estimate:
    """How long a whole run takes, from its submission to its last row: between `seconds_low` and `seconds_high`, by what a trial measured.
    `why` are sentences on what makes the range wide, the most important first."""

    items: int
    item: str
    mini_batches: int
    workers: int
    seconds_low: float
    seconds_high: float
    why: tuple[str, ...] = ()

    def describe(self) -> str:
        """“between 2 and 4 minutes for 200,000 rows”."""
        return f"{formats.duration_between(self.seconds_low, self.seconds_high)} for {formats.counted(self.items, self.item)}"


@dataclass(frozen=True)
class Suggestion:
    """A better value of a setting: `setting` is its name in ParallelRunSettings, `value` as it is typed there, `why` a sentence."""

    setting: str
    value: str
    why: str


@dataclass(frozen=True)
class Trial:
    """Some items of a run, scored as the run would. A call of run() takes `seconds_per_call` and, for each item, `seconds_per_item` more:
    reading the items and making rows of what is returned counted. None where too little was scored to tell.

    `start_seconds` is from the start of a worker to the end of init(), which took `init_seconds`. `memory` is the most that a worker and
    what it started had at once, `memory_at_start` what it had after init(), `memory_per_item` what each item of a mini-batch adds: bytes,
    None where the system doesn't tell. `measured_items` were scored to measure, beside those of `rows`.

    `error` is why the trial ended before its items were scored, as the run would say it, "" where it didn't; `traceback` belongs to it.
    `not_numbers` are sentences on predictions that are not numbers among others that are. `output` is the end of what the script printed.
    `not_tried` are sentences on what a trial can't tell here, as of a cluster; `place` says where the run would be executed.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[TrialRow, ...] = ()
    predictions: tuple[str, ...] = ()
    """Those of the columns that hold what run() returned."""
    item: str = "file"
    succeeded: int = 0
    failed: int = 0
    measured_items: int = 0
    seconds: float = 0.0
    start_seconds: float | None = None
    init_seconds: float | None = None
    first_call_seconds: float | None = None
    seconds_per_call: float | None = None
    seconds_per_item: float | None = None
    slowest_call_seconds: float | None = None
    memory: int | None = None
    memory_at_start: int | None = None
    memory_per_item: float | None = None
    warnings: tuple[str, ...] = ()
    causes: tuple[FailureCause, ...] = ()
    not_numbers: tuple[str, ...] = ()
    estimate: Estimate | None = None
    suggestions: tuple[Suggestion, ...] = ()
    error: str = ""
    traceback: str = ""
    output: str = ""
    place: tuple[str, ...] = ()
    not_tried: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """What was measured, for people, by what it is."""
        per_item, per_call, memory = self.seconds_per_item, self.seconds_per_call, self.memory
        values = {
            "Items": f"{self.succeeded:,} succeeded, {self.failed:,} failed" if self.rows else "",
            f"Time for each {self.item}": "" if per_item is None else formats.short_duration(per_item),
            "Time for each call of run()": "" if per_call is None else formats.short_duration(per_call),
            "Start of a worker": "" if self.start_seconds is None else formats.short_duration(self.start_seconds),
            "Of which init()": "" if self.init_seconds is None else formats.short_duration(self.init_seconds),
            "Memory of a worker": "" if memory is None else f"{formats.size(memory)} at most",
            "Memory after init()": "" if self.memory_at_start is None else formats.size(self.memory_at_start),
        }
        return {name: value for name, value in values.items() if value}


# ---- a replay: one mini-batch scored again, beside its run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrintedLine:
    """A line that a script printed: after how many seconds of its worker's life it was seen, and where: stdout, stderr or log."""

    seconds: float
    stream: str
    text: str


@dataclass(frozen=True)
class RowDifference:
    """A row that a replay returned, and the run didn't: `number` in the mini-batch, from 1; None where one of both has no such row."""

    number: int
    run: str | None
    replay: str | None


class ReplayStage(StrEnum):
    """Where a replay is."""

    STARTING = "starting"
    IMPORT = "importing the scoring script"
    INIT = "init()"
    RUN = "run()"
    SHUTDOWN = "shutdown()"
    COMPARING = "comparing with the run"


@dataclass(frozen=True)
class ReplayProgress:
    """A replay under way: what changed since the run, where it is, since when (seconds), and what was printed by now."""

    stage: ReplayStage = ReplayStage.STARTING
    changes: tuple[str, ...] = ()
    printed: tuple[PrintedLine, ...] = ()


@dataclass(frozen=True)
class Replay:
    """One mini-batch of a run, scored again by itself: by the script, the settings and the environment of the run, into a folder that is
    removed. `changes` are sentences on what is no longer what the run had.

    `rows` are the first of those of the `items` that run() returned `returned` rows for. `status` is how it ended, in the words of the
    journal; `error` what a run would say of it, or why no worker started, with the `traceback` of the script. `same` is whether all rows
    are those of the run, letter by letter, None where these aren't known; `comparison` says it in a sentence, `differences` are the first
    of `different` rows. `printed` are the first and the last lines; of `printed_left_out` in between none is kept. `written` are the
    files that the script wrote into its output folder, with their bytes. Seconds and bytes are None where they aren't known.
    """

    run: str
    mini_batch: int
    dataset: str = ""
    item: str = "file"
    items: int = 0
    worker: str = ""
    environment: str = ""
    changes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    rows: tuple[TrialRow, ...] = ()
    returned: int | None = None
    status: str = ""
    error: str = ""
    traceback: str = ""
    causes: tuple[FailureCause, ...] = ()
    warnings: tuple[str, ...] = ()
    same: bool | None = None
    comparison: str = ""
    different: int = 0
    differences: tuple[RowDifference, ...] = ()
    printed: tuple[PrintedLine, ...] = ()
    printed_left_out: int = 0
    written: tuple[tuple[str, int], ...] = ()
    start_seconds: float | None = None
    init_seconds: float | None = None
    run_seconds: float | None = None
    seconds: float = 0.0
    memory: int | None = None
    memory_at_start: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether run() returned a row for each item."""
        return not self.error and self.returned is not None and self.returned >= self.items

    def facts(self) -> dict[str, str]:
        """What was measured, for people, by what it is."""
        seconds = {"Start of the worker": self.start_seconds, "Of which init()": self.init_seconds, "run()": self.run_seconds}
        values = {name: "" if value is None else formats.short_duration(value) for name, value in seconds.items()}
        values["Memory at most"] = "" if self.memory is None else formats.size(self.memory)
        values["Memory after init()"] = "" if self.memory_at_start is None else formats.size(self.memory_at_start)
        return {name: value for name, value in values.items() if value}


# ---- where a prediction comes from ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowKey:
    """Which row it is, whatever else is scored later: its file, its mini-batch, and its place among the rows of that mini-batch."""

    file: str
    mini_batch: int
    place: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RowKey:
        return cls(row["File"], row["Mini-batch"], row["Place"])


@dataclass(frozen=True)
class RowAttempt:
    """One attempt at a row's mini-batch. `error` is a line for people, then the traceback; "" where it succeeded."""

    attempt: int
    status: str
    worker: str
    started_at: datetime
    seconds: float
    error: str


@dataclass(frozen=True)
class RowTrace:
    """Of one row: `input` is its file, None where it is gone; `changed` is a sentence where it is no longer what was scored, else "".
    `log` are lines of its worker's own output: those that name the file, and those of the time when its mini-batch was scored."""

    input: Path | None
    changed: str
    tries: tuple[RowAttempt, ...]
    log: tuple[str, ...]

    @property
    def error(self) -> str:
        """What the last try said; "" where it succeeded."""
        return self.tries[-1].error if self.tries else ""


@dataclass(frozen=True)
class Provenance:
    """What went into a run. Models, datasets and the script are (what it is called, its SHA-256); a dataset's is that of the list of its
    files with their sizes and times. `inputs` are the SHA-256s that its output depends on."""

    run: str
    title: str
    status: str
    submitted_at: datetime
    ended_at: datetime | None
    models: tuple[tuple[str, str], ...]
    datasets: tuple[tuple[str, str], ...]
    script: tuple[str, str]
    settings: Mapping[str, Any]
    python: str
    packages: Mapping[str, str]
    inputs: Mapping[str, str]
    reused_from: str | None = None
    rerun_of: str | None = None


# ---- runs judged by true labels -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunScore:
    """A run over a dataset, judged by true labels. `judged` rows have a prediction and a label; only they count. `accuracy` and `f1` (the
    mean over all classes, each counted alike) are of classes, from 0 to 1; `mae` and `rmse` of numbers; None where they don't apply.
    `column` is what was judged, "" where nothing was. `rows_judged` is the same for two runs of which the same rows were judged. `note`
    says why a run has no figures, or what they lack."""

    run: Run
    accuracy: float | None = None
    f1: float | None = None
    mae: float | None = None
    rmse: float | None = None
    judged: int = 0
    without_label: int = 0
    without_prediction: int = 0
    column: str = ""
    rows_judged: str = ""
    note: str = ""

    @property
    def model(self) -> str | None:
        """Its models; None of a run that has none registered."""
        return ", ".join(self.run.request.models) or None

    @property
    def seconds(self) -> float | None:
        """From its start to its end; None of a run that goes on, or never began."""
        return self.run.duration if self.run.status.ended else None

    @property
    def node_hours(self) -> float | None:
        """`seconds`, times the nodes that it asked for."""
        return None if self.seconds is None else self.seconds * self.run.request.settings.node_count / 3600


@dataclass(frozen=True)
class Leaderboard:
    """The runs over one version of a dataset, the best first, judged by `labels` (their id and their name, "" where there are none).
    `notes` are sentences on what makes the figures hard to compare."""

    dataset: str
    labels: str
    labels_name: str
    scores: tuple[RunScore, ...]
    notes: tuple[str, ...] = ()


# ---- what a workspace elsewhere has -------------------------------------------------------------------------------------------------


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
        """Whether a ParallelRunStep can be sent there: a cluster of Azure ML that is not failed or being deleted."""
        return self.max_nodes is not None and self.state not in ("Failed", "Deleting", "Canceled")

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
    its page in Azure ML studio."""

    id: str
    experiment: str
    status: str
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
            raise SettingsError("interval", f"every {self.interval} {self.frequency.lower()}s is not an interval", "Give 1 or more.")
        if self.time_of_day:
            hour, _, minute = self.time_of_day.partition(":")
            if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
                raise SettingsError("time_of_day", f"“{self.time_of_day}” is not a time of day", "Write it as 06:30, in UTC.")

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


def column_type_of(dtype: str) -> str:
    """A pandas type as one of TableReading.COLUMN_TYPES."""
    name = dtype.lower()
    if name.startswith(("int", "uint")):
        return "integer"
    if name.startswith(("float", "double", "decimal")):
        return "number"
    if name.startswith("datetime"):
        return "datetime"
    return "boolean" if name in ("bool", "boolean", "object") else "text"


def utc_now() -> datetime:
    return datetime.now(UTC)


def readable(text: str) -> str:
    """Text that can be stored and shown anywhere: the bytes of an undecodable file name written out, as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

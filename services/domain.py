"""The nouns: Model, FileDataset, TabularDataset, RunRequest, Run, MiniBatch and others. Plain values, the same for every workspace.

What can be known of a run is in run_details.py, what only a workspace elsewhere has in remote.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from services.errors import SettingsError
from services.formats import counted
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


class ResourceKind(StrEnum):
    """What people register and submit, and keep in order."""

    MODEL = "model"
    DATASET = "dataset"
    ENVIRONMENT = "environment"
    RUN = "run"


@dataclass(frozen=True)
class Metadata:
    """What people say of a model, dataset, environment or run after it was made. `name` is what it is renamed to, "" where it isn't;
    `tags` are those given at its registration and changed since. What is `pinned` comes first in lists; what is `archived` is in them
    only when asked for, and nothing of it is lost."""

    name: str = ""
    note: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    pinned: bool = False
    archived: bool = False


@dataclass(frozen=True)
class Dependents:
    """What depends on a model, dataset, environment or run, and what deleting it does.

    `runs` are the ids of the newest of the `run_count` runs that name it. Those in `active` need it and have not ended, and those in
    `reruns` scored what failed in it or what was new since, so that their predictions are partly its own: both prevent deleting
    it, unless they are deleted with it. `shared_with` are datasets that read its files, which therefore stay; `schedules` those
    that fail without it. `labels` is how many sets of true labels were given for it, `size` the bytes that deleting frees on this machine.
    `notes` are sentences on what happens where.
    """

    kind: ResourceKind
    reference: str
    runs: tuple[str, ...] = ()
    run_count: int = 0
    active: tuple[str, ...] = ()
    reruns: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    labels: int = 0
    size: int = 0
    notes: tuple[str, ...] = ()

    def blocked(self, together: Collection[str] = ()) -> bool:
        """Whether it can't be deleted by itself, or together with others, which `together` are the references of."""
        read_by_a_dataset = self.kind is ResourceKind.RUN and self.shared_with
        return bool(self.active or read_by_a_dataset or set(self.reruns) - set(together))

    def sentences(self) -> list[str]:
        """For a person who is about to delete it."""
        return [*self.reasons(), *self._effects(), *self.notes]

    def reasons(self) -> list[str]:
        """Why it can't be deleted by itself."""
        found = []
        if self.active == (self.reference,):
            found.append("It has not ended: wait for its end, or cancel it.")
        elif len(self.active) == 1:
            found.append(f"Run {self.active[0]} needs it and has not ended: wait for its end, or cancel it.")
        elif self.active:
            found.append(f"Runs {', '.join(self.active)} need it and have not ended: wait for their ends, or cancel them.")
        if len(self.reruns) == 1:
            found.append(f"Run {self.reruns[0]} was added to it and shows rows of it: delete them together.")
        elif self.reruns:
            found.append(f"Runs {', '.join(self.reruns)} were added to it and show rows of it: delete them together.")
        if self.shared_with and self.kind is ResourceKind.RUN:
            found.append(f"Its output is the files of {', '.join(self.shared_with)}: delete that dataset first.")
        return found

    def _effects(self) -> Iterator[str]:
        names = ", ".join(self.runs[:3]) + (f" and {self.run_count - 3:,} more" if self.run_count > 3 else "")
        if self.run_count and self.kind is ResourceKind.RUN:
            yield f"Submitted again from it, and kept: {names}."
        elif self.run_count:
            yield f"Used by {counted(self.run_count, 'run')}, whose results stay: {names}. Rerunning needs another {self.kind}."
        if len(self.schedules) == 1:
            yield f"Schedule {self.schedules[0]} names it, and fails without it."
        elif self.schedules:
            yield f"Schedules {', '.join(self.schedules)} name it, and fail without it."
        if self.shared_with and self.kind is not ResourceKind.RUN:
            yield f"Its files stay, because they are also those of {', '.join(self.shared_with)}."
        if self.labels:
            yield f"True labels given for it: {counted(self.labels, 'set')}."


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
    """What one item of a dataset is, recognized by the content of its files; and what a model takes."""

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
    `warnings` are sentences on what prevents scoring it, `notes` others for people. Whatever isn't known is empty, or None;
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
    """How files are to be read as a table, as far as a person says so: what is None or empty is recognized in the files themselves.

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
    `problem_count`. `source_root` is where the files lie that its own were made of; "" where they are the very files. `one_file`: whether
    it was registered by the path of one file, and not of a folder; None where an earlier version of the program registered it.
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
    one_file: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

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
    reading: TableReading = TableReading()
    """What a person said of how to read the files, as far as this workspace reads their folder again."""
    source_partition_format: str = ""
    """The partition format of the files that its own were made of; that of its own is `partition_format`."""

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


FOLLOWS = "job "
"""Before the id of a job that somebody else submitted, in the `submission_id` of the run that follows it."""


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for. Written as JSON into the run's folder; what is in it is all a runner needs to know.

    `models` and `datasets` are references (`name:version`); `entry_script` an absolute path; `source_directory` an absolute folder put
    on the script's `sys.path`, or None for the script's own. With `allow_reuse` the output of an earlier run with the same inputs is
    taken instead of scoring again; never for a request with `rerun_of`, the run that it asks to do again; with `failed_only` just the
    items that failed there or have no row. With `new_only` the folders of its datasets are read again, as their next versions, and just
    what the same model and script have not scored yet is; the workspace sets `rerun_of` to the run that it is added to, where there is one.
    `submission_id` makes a double click one run: a second request with the same id returns the
    first one's run. Of a run that follows a job which somebody else submitted it names that job: see `followed_job`.
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
    new_only: bool = False
    name: str = ""
    submission_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.strip())
        if not self.datasets:
            raise SettingsError("dataset", "no dataset is chosen", "Choose what to score, or register a dataset first.")
        if not self.entry_script:
            raise SettingsError("entry_script", "no scoring script is chosen", "Choose the built-in script, or upload one.")
        if self.failed_only and not self.rerun_of:
            raise SettingsError("failed_only", "no run is named whose failed items to score again", "Name the run.")
        if self.failed_only and self.new_only:
            raise SettingsError(
                "new_only", "only what failed and only what is new exclude each other", "What failed is new, too: leave one."
            )
        if self.arguments and not self.arguments[0].startswith("-"):
            text = f"the first argument, “{self.arguments[0][:100]}”, does not start with -"
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
    def followed_job(self) -> str:
        """The id of the job in Azure ML that somebody else submitted and this run follows; "" for a run of this program's own."""
        return self.submission_id.removeprefix(FOLLOWS) if self.submission_id.startswith(FOLLOWS) else ""

    @property
    def script_name(self) -> str:
        return Path(self.entry_script).name

    def model_arguments(self) -> list[str]:
        """The chosen model as the script's arguments on Azure ML: AZUREML_MODEL_DIR is not set there, and `Model.get_model_path` needs a
        name. The built-in script reads both; scripts with `parse_known_args` ignore what they don't know."""
        if not self.models or any(argument.split("=")[0] == "--model-name" for argument in self.arguments):
            return []
        name, version = parse_reference(self.models[0], "model")
        return ["--model-name", name, *(["--model-version", str(version)] if version else [])]

    @property
    def adds_to(self) -> str | None:
        """The run whose predictions this one's are, but for the items that it scores itself; None where they are its own alone."""
        return self.rerun_of if self.failed_only or self.new_only else None

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
    `reuse_note` says why it took none, though there were others, or what a run of only what is new found."""

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
    metadata: Metadata = Metadata()
    imported_from: str | None = None
    """Of a run that came from another home as an archive, its id there: its references and paths mean nothing here."""

    def request_again(self, *, failed_only: bool = False) -> RunRequest:
        """The request for a run that does the same again, whatever there is to be reused; or just what failed or has no row. It has the
        name that this run has now."""
        name = self.metadata.name or self.request.name
        if self.request.failed_only and not failed_only:  # the same is: what failed in that other run
            return replace(self.request, name=name, submission_id="")
        return replace(self.request, name=name, rerun_of=self.id, failed_only=failed_only, new_only=False, submission_id="")

    @property
    def title(self) -> str:
        """What it was renamed to, else its request's title."""
        return self.metadata.name or self.request.title()

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

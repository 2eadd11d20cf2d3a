"""What is asked of an SDK of Azure ML: a protocol for each noun. `sdk_v1` and `sdk_v2` have them in their own words; `sdks.sdk_of` gives a
connection those that it wants. All else (lists with an age, uploads and downloads, following a run, reading what it leaves) is shared.

Cheap to make: nothing is requested, and no SDK imported, before a method is called. Each calls the service and raises as `azure_errors`
translates: NotFound, SettingsError on a field, WorkspaceUnavailable, StudioError; where a protocol says so, what the SDK itself raises.
A reference is `name:version`; a place is `azureml://datastores/NAME/paths/PATH` or an https address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from services.azure.auth.session import Session
from services.azure.run_history import History
from services.azure.run_plan import RunPlan
from services.domain import Dataset, DatasetFile, Environment, Metadata, Model, RunRequest
from services.errors import IntakeError, NotFound
from services.intake.tabular import Table
from services.remote import ComputeTarget, Datastore, PipelineRun, PublishedPipeline, Recurrence, Schedule

Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes in all, from several threads. What it raises ends the transfer."""


@dataclass(frozen=True)
class Sdk:
    """One SDK on one workspace: its parts share the session."""

    name: str
    """For people: `SDK v1`."""
    package: str
    """Of PyPI: `azureml-core`."""
    session: Session[Any]
    history: History
    models: Models
    datasets: Datasets
    environments: Environments
    computes: Computes
    jobs: Jobs
    pipelines: Pipelines


# ---- the catalog -----------------------------------------------------------------------------------------------------------------


class Models(Protocol):
    """Registered models, and training runs, from whose outputs one can be registered."""

    deletion: str
    """A sentence on what deleting one does in Azure ML."""

    def all(self) -> list[Model]:
        """All versions of all models, newest first. What only the machine with the file knew is in their properties: see
        `catalog.model_properties`."""

    def register(
        self, name: str, path: Path, properties: Mapping[str, str], *, description: str, tags: Mapping[str, str], progress: Progress
    ) -> Model:
        """Upload a file or folder, verified, and register it as the next version. `progress` gets the bytes that have arrived and the bytes
        in all. Nothing is registered where a file does not arrive whole."""

    def fetch(self, reference: str, folder: Path) -> Path:
        """Download one version's file or folder below `folder`; where it is then."""

    def delete(self, reference: str) -> None:
        """One version: it is in no list any more."""

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        """Change the note, which is the description, or the tags of one version, in one request: "" takes the note away, a value of "" its
        tag. Its note and tags then. Raises what the SDK raises."""

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        """The files that a run has left, sorted: relative paths such as `outputs/model.pkl`."""

    def register_from_run(self, name: str, experiment: str, run_id: str, path: str, *, description: str, tags: Mapping[str, str]) -> Model:
        """A file or folder of a run's outputs as the next version. Raises SettingsError on `path`."""


@dataclass(frozen=True)
class DatasetVersion:
    """One version of a dataset as the service has it, whoever registered it."""

    name: str
    version: int
    tabular: bool
    root: str
    """The place of its files, without a pattern; "" where it has none, or several."""
    format: str = ""
    """Of a tabular one: `csv` or `parquet`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What people gave it; and this program's own, `catalog.datasets.TAG`, where it is this version's."""
    description: str = ""
    created_at: datetime | None = None

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class NewDataset:
    """What lies at a place (a folder with `/**`), to be registered as the next version of a name: its files, or the rows of `table`, whose
    columns are () where they aren't known."""

    name: str
    place: str
    table: Table | None = None
    multi_line: bool = False
    """Whether line breaks are looked for within quotes: see `Datasets.as_read`."""
    partition_format: str | None = None
    description: str = ""
    own: Mapping[str, str] = field(default_factory=dict)
    """This program's own tag, `catalog.datasets.TAG`."""


@dataclass(frozen=True)
class Store:
    """A datastore, to upload to and download from."""

    name: str
    container: Any
    """An azure.storage.blob.ContainerClient, or one that has the same methods; None where it is not a blob store."""

    @property
    def blobs(self) -> Any:
        """The container. Raises NotFound where there is none."""
        if self.container is None:
            raise NotFound(f"Datastore {self.name} is not a blob store.", "Use one of Azure Blob Storage or Data Lake Gen2.")
        return self.container


class ReadsOtherwise(IntakeError):
    """You: a CSV of which Azure ML makes other rows than it has."""


class Datasets(Protocol):
    """Registered datasets, as far as an SDK has a word in it: `catalog.datasets` has the rest. Its methods raise what the SDK raises: their
    caller is within `Session.sdk_calls`."""

    changed_characters: frozenset[str]
    """Those that this SDK has otherwise in the name of a file."""
    versions_apart: bool
    """Whether each version is described, tagged and deleted by itself, or all versions of a name are together."""
    deletion: str
    """A sentence on what deleting does in Azure ML."""

    def all(self, known: Collection[str]) -> Iterator[DatasetVersion]:
        """All versions of all datasets, in any order. Of those whose reference is `known` only description and tags count: the rest never
        changes."""

    def files(self, dataset: Dataset) -> Iterator[DatasetFile]:
        """The files of a registered one, or those that a tabular one's rows are in, with their paths below what they have in common.
        Raises NotFound where these can't be listed."""

    def files_at(self, place: str) -> list[DatasetFile]:
        """The files of a place, which may end in a pattern; [] where there is nothing. Raises SettingsError on `path`."""

    def download(self, dataset: Dataset, folder: Path, number: int | None = None) -> None:
        """Download all files of a dataset below `folder`, or the one at this place in `files`, counted from 0. What is there already is
        written again."""

    def store(self, name: str = "") -> Store:
        """The datastore of this name; the workspace's default one for ""."""

    def as_read(self, paths: Sequence[Path], table: Table) -> tuple[Table, bool]:
        """The table with the columns that Azure ML will make of these files of this machine, and whether it has to look for line breaks
        within quotes. Raises ReadsOtherwise where it would make other rows of them."""

    def register(self, new: NewDataset) -> DatasetVersion:
        """Register it, with the tags that people gave the version before, and with its description where there is none."""

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        """As `Models.describe`, of a version, or of all of its name unless `versions_apart`."""

    def unregister(self, reference: str) -> None:
        """A version, or all of its name unless `versions_apart`. The files stay where they are."""


class Image(StrEnum):
    """Whether the image of an environment is there."""

    BUILT = "built"
    NOT_BUILT = "not built"
    NO_ENVIRONMENT = "no environment"
    UNKNOWN = "unknown"


class Environments(Protocol):
    """Registered and curated environments."""

    needed: Sequence[str]
    """What a step needs besides that of SDK v1, as pip gets it."""

    def all(self) -> list[Environment]:
        """The latest version of each, in any order."""

    def register(self, name: str, conda: Mapping[str, Any]) -> Environment:
        """Register one, of the content of a conda file."""

    def image(self, name: str, version: int | None) -> Image:
        """Of this version, None: the latest."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as it is now: its state in the service's word, "" where it gives none; its nodes; what it reports as errors."""

    state: str
    nodes: int = 0
    idle: int = 0
    busy: int = 0
    low_priority: bool = False
    errors: Sequence[str] = ()


@dataclass(frozen=True)
class Quotas:
    """Of a subscription in the workspace's region: `cores` of one node of a size, None where that isn't known; and each limit by the
    service's name of it, such as `standardDSv2Family`: cores in use, cores in all."""

    cores: int | None
    usages: Sequence[tuple[str, int, int]]


class Computes(Protocol):
    """Where runs go, and where data lies."""

    def targets(self) -> list[ComputeTarget]:
        """In any order."""

    def datastores(self) -> list[Datastore]:
        """In any order, the default one marked."""

    def cluster(self, name: str) -> Cluster:
        """One compute target, asked for now."""

    def quotas(self, size: str) -> Quotas:
        """For nodes of a size, such as `STANDARD_D2_V2`."""


# ---- runs ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """Where a step's output lies: the container, as of a `Store`, and the path of the folder or file there. One that is in no blob store is
    downloaded below a folder by `download`."""

    container: Any
    path: str
    download: Callable[[Path], object] | None = None


class Jobs(Protocol):
    """Runs, each a pipeline run (v1) or pipeline job (v2) of one step, submitted once whatever answer is lost. A runner calls these in
    order: `build`, `create`, `start`; it keeps the id on disk before `start`, so that a runner after it goes on from there. How it goes is
    in the run history. They raise what the SDK raises, and StudioError."""

    several_datasets: bool
    """Whether a job may score more than one."""

    def starts_at_once(self, plan: RunPlan) -> bool:
        """Whether `create` starts the job too, so that only the service knows whether a run without an id was submitted: `find` asks it.
        No request."""

    def find(self, plan: RunPlan, run_id: str) -> str | None:
        """The id of the job that `create` made for this run, of a plan that starts at once; None where there is none."""

    def build(self, plan: RunPlan, snapshot: Path) -> Any:
        """What `create` takes; `snapshot` is the folder for a copy of the script: see `run_plan.source_of`."""

    def create(self, built: Any, plan: RunPlan, run_id: str) -> str:
        """Create the job of this run, tagged by RUN_TAG, and return its id. Called again after an error: there must not be two that run."""

    def start(self, job_id: str) -> None:
        """Start a job that was created; does nothing where it was started already."""

    def cancel(self, job: PipelineRun) -> None:
        """Ask for it; the job ends later. One that has ended stays as it is."""

    def output(self, job: PipelineRun, step_id: str) -> Output:
        """Of a completed step."""


class Pipelines(Protocol):
    """Jobs that others submitted; pipelines to be run by others; schedules. Its methods raise what the SDK raises."""

    reads_jobs: bool
    """Whether `request_of` can tell."""

    def request_of(self, job_id: str) -> RunRequest:
        """What a job scores that somebody else submitted, as far as it tells. Raises StudioError where it is not a job of one parallel step
        over a registered dataset."""

    def publish(self, plan: RunPlan, job_id: str, name: str, description: str) -> PublishedPipeline:
        """The pipeline of a job as one that others run, with PIPELINE_PARAMETERS as its parameters; its `defaults` are the caller's."""

    def published(self) -> list[PublishedPipeline]:
        """Also those that are disabled, in any order."""

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        """Enable or disable one."""

    def schedules(self) -> list[Schedule]:
        """Also those that are disabled, in any order."""

    def schedule(self, pipeline_id: str, name: str, experiment: str, recurrence: Recurrence, parameters: Mapping[str, Any]) -> Schedule:
        """Run a published pipeline by the clock."""

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        """Enable or disable one."""

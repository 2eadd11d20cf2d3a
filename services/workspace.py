"""THE SEAM. What a workspace can do: protocols only. `services.workspaces` opens one; the implementations pass tests/contract.

A missing thing raises NotFound, a refused file IntakeError, a refused value SettingsError on its field, a workspace out of reach
WorkspaceUnavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from services import domain, remote, run_details
from services.connection import Connection
from services.intake.entry_scripts import EntryScripts
from services.intake.requirement_lists import RequirementList
from services.predictions.annotations import AnnotationStore
from services.predictions.label_file import LabelColumns, Labels
from services.predictions.reader import Predictions
from services.run_query import RunChoices, RunPage, RunQuery
from services.schedules.schedule import Schedule
from services.schedules.texts import SetupTexts
from services.scoring.presets import Presets
from services.settings import ParallelRunSettings
from services.storage.dismissals import Dismissals
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.usage import StorageUsage


class Capability(StrEnum):
    """What only some workspaces do. A page asks by name: `Capability.APPROVAL in workspace.capabilities`."""

    APPROVAL = "approval of models and scripts by their SHA-256"
    SAMPLE = "making a sample model and dataset: see services/sample.py"
    CARRY_ON = "resuming a run that failed or was canceled"
    REPLAY = "scoring one mini-batch of a run again on this machine"
    FAILED_ROWS = "scoring again just the failed rows of a table"
    NEW_ONLY = "scoring just what is new of a dataset that grew"


class CleanUpGroup(StrEnum):
    """What a clean-up of the disk can remove."""

    CACHES = "caches"
    TABLES = "tables"
    LEFTOVERS = "leftovers"
    ARCHIVED_RUNS = "archived-runs"
    UNUSED_ENVIRONMENTS = "unused-environments"


@dataclass(frozen=True)
class CleanUpItem:
    """One thing that can go: a run's id, an environment's reference, or a path in the home. `bytes` on the disk are None where they were
    not counted yet; `about` says what it is."""

    group: CleanUpGroup
    name: str
    bytes: int | None
    about: str = ""


@dataclass(frozen=True)
class CleanedUp:
    """What a clean-up came to: bytes freed, what is gone, and what stayed, each with the reason."""

    freed: int
    removed: tuple[CleanUpItem, ...] = ()
    kept: tuple[tuple[CleanUpItem, str], ...] = ()


class Workspace(Protocol):
    """Where models, datasets and runs are kept, and where runs are executed."""

    name: str
    """Shown in the sidebar; such as `local`."""
    capabilities: frozenset[Capability]
    home: Path
    """The folder on this machine that holds what the workspace keeps here."""
    machine_home: Path
    """The home that BATCH_SCORING_HOME names: `home`, or what that is in."""
    scripts: EntryScripts
    """The entry scripts on offer, the built-in ones first."""
    annotations: AnnotationStore
    """Notes and corrected labels on rows, and saved views."""
    dismissals: Dismissals
    """What a person has seen and dismissed."""
    presets: Presets
    """What was chosen for a model last (columns, probabilities, arguments of its scorer), and settings of runs under names."""

    @property
    def runs(self) -> Runs:
        """Its runs."""

    @property
    def resources(self) -> Resources:
        """Its models, datasets, environments and runs, kept in order: described, tagged, renamed, pinned, archived, deleted."""

    @property
    def storage(self) -> Storage:
        """The disk that its home takes on this machine."""

    @property
    def remote(self) -> RemoteWorkspace | None:
        """What a workspace has that is not on this machine; None for one that is."""

    @property
    def pipelines(self) -> PipelineService | None:
        """Its pipeline runs, endpoints and schedules; None where there are none."""

    @property
    def schedules(self) -> Schedules | None:
        """What is run by the clock of this machine; None for a workspace whose service does that: see `pipelines`."""

    @property
    def location(self) -> str:
        """Where it is, for people: a folder, or subscription / resource group / workspace."""

    def models(self) -> list[domain.Model]:
        """All versions of all models, newest first."""

    def model(self, reference: str) -> domain.Model:
        """One model by `name` (its latest version) or `name:version`."""

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> domain.Model:
        """Copy a file or folder in as the next version of `name`. `approve` approves its SHA-256 at once."""

    def approve(self, sha256: str) -> None:
        """Allow runs to execute the model or script with this content. A workspace without the capability does nothing."""

    def model_card(self, reference: str, environment: str | None = None) -> domain.ModelCard:
        """What is known of a model: what an earlier `inspect_model` in that environment found, else what its file tells. Executes nothing,
        and answers at once; a model's file that was not read yet is read now."""

    def inspect_model(self, reference: str, environment: str | None = None) -> domain.ModelCard:
        """As `model_card`, but a model whose file doesn't tell all is loaded in a process of that environment, if it can be there. Takes
        seconds. Raises SettingsError on `model` for a program that is not approved yet, IntakeError where loading it fails. Where the
        environment lacks a package, or the workspace executes no models on this machine, the card's notes say so."""

    def datasets(self) -> list[domain.Dataset]:
        """All versions of all datasets, newest first."""

    def dataset(self, reference: str) -> domain.Dataset:
        """One dataset by `name` (its latest version) or `name:version`."""

    def register_dataset(
        self,
        name: str,
        path: str | Path,
        *,
        type: str = "file",  # noqa: A002 - what Azure ML calls it
        glob: str = "**",
        partition_format: str = "",
        description: str = "",
        copy: bool = False,
        keep_archive: bool = False,
        reading: domain.TableReading | None = None,
    ) -> domain.Dataset:
        """Register the files below folder `path` (or the one file) that match `glob`: in place, or copied in. An archive (`.zip`, `.tar`,
        `.tar.gz`, `.tar.zst`) is unpacked, and its files are copied in, unless `keep_archive` makes it one file. All rows of a `tabular`
        dataset are read, which takes its time; files that pandas and Azure ML don't read as they are become Parquet, copied in. `auto` is
        whichever of file and tabular `propose_dataset` says. `reading` overrides what the files tell of how they are read as a table.
        `partition_format` names the parts of each path that are keys: `{store}/{brand}/*.csv`.
        """

    def propose_dataset(
        self,
        path: str | Path,
        *,
        type: str = "auto",  # noqa: A002
        glob: str = "**",
        keep_archive: bool = False,
        reading: domain.TableReading | None = None,
    ) -> domain.DatasetProposal:
        """What `register_dataset` would make of these files and why, with the first rows; told in seconds by a sample of them. With a
        `type` or a `reading`, what that would give. Raises as `register_dataset`, of what the sample shows."""

    def propose_reread(
        self,
        reference: str,
        type: str,  # noqa: A002
        reading: domain.TableReading | None = None,
    ) -> domain.DatasetProposal:
        """What `reread_dataset` would give."""

    def reread_dataset(
        self,
        reference: str,
        type: str,  # noqa: A002
        reading: domain.TableReading | None = None,
    ) -> domain.Dataset:
        """Register the files of a dataset as the other type, or read in another way: the next version of its name."""

    def dataset_files(self, dataset: domain.Dataset, first: int, count: int) -> list[domain.DatasetFile]:
        """`count` files of the manifest, from number `first`, in its order."""

    def local_file(self, dataset: domain.Dataset, path: str) -> Path:
        """A file of the dataset on this machine: where it lies, or a copy of this one file, fetched now."""

    def changed_files(self, dataset: domain.Dataset, limit: int = 20_000) -> list[str]:
        """Sentences, one for each file that changed or vanished since it was registered. At most `limit` files are checked, evenly
        spread, and the first sentence says so."""

    def labels(self, dataset: str) -> list[Labels]:
        """The true labels that hold for this version of a dataset, the latest given first: its own, and those of other versions that name
        files, or are a column that it has. Labels of single rows from a file hold for the very same files only."""

    def add_labels(
        self, dataset: str, source: str | Path = "", *, name: str = "", columns: LabelColumns | None = None, column: str = ""
    ) -> Labels:
        """Keep the labels in a CSV or Parquet file, called `name`, or those in `column` of a tabular dataset, for this version of it.
        `columns` are those of `label_file.label_columns` unless a person chose others. What holds the same is kept once. Raises
        SettingsError on `column`."""

    def remove_labels(self, dataset: str, labels_id: str) -> None:
        """Forget labels that hold for this dataset."""

    def find_labels(self, datasets: Sequence[str], labels_id: str) -> Labels:
        """The labels of this id that hold for one of these datasets."""

    def run_labels(self, run: domain.Run) -> list[Labels]:
        """The true labels that hold for a run's datasets, as far as these are still here; of an imported run those that came with it."""

    def find_run_labels(self, run: domain.Run, labels_id: str) -> Labels:
        """The labels of this id that hold for the run. Raises NotFound."""

    def leaderboard(
        self, dataset: str, labels_id: str = "", progress: Callable[[int, int], None] = lambda _done, _of: None
    ) -> run_details.Leaderboard:
        """The newest 1,000 runs over this version of a dataset, judged by these labels, or those given last. Figures are computed once for
        each run and labels, 3 µs a row, and kept; `progress` is called with the runs done, of how many."""

    def environments(self) -> list[domain.Environment]:
        """All versions of all registered environments, newest first. A run that names none uses the workspace's default."""

    def environment(self, reference: str | None, *, scored_model: str | None = None) -> domain.Environment:
        """The registered environment of that reference as it was registered, or for None the workspace's default: with `scored_model` that
        of a run which scores this model by a built-in scorer. At once. Its packages are empty where they aren't known here."""

    def register_environment(self, name: str, interpreter: str) -> domain.Environment:
        """Keep a Python interpreter, 3.8 or newer, as the next version of `name`: its path, its environment's folder, or a command such
        as `python3`. It is run once, to list what is installed there."""

    def create_environment(
        self,
        name: str,
        requirements: RequirementList,
        *,
        python: str | None = None,
        approved: str = "",
        allow_large: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> domain.Environment:
        """Make an environment from a list, as the next version of `name`; returns when it is there. `approved` is the list's SHA-256, by
        which a person consents to what is fetched: without it, and without an earlier `approve` of it, SettingsError on `approved`.
        `python` is a version such as 3.11, or an interpreter's path. More than 500 MB are fetched only with `allow_large`. `progress` gets
        lines for people. Raises SettingsError on `python`, `requirements` or `allow_large` for what can't be made of it."""

    @property
    def builds(self) -> EnvironmentBuilds | None:
        """The environments that are being built on this machine; None for a workspace that builds none here."""

    def mini_batches(self, datasets: Sequence[domain.Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        """How a run would divide these datasets into mini-batches. Raises SettingsError for settings that don't fit them."""

    def check(self, request: domain.RunRequest) -> list[str]:
        """Validate a request without submitting it. Raises as `submit` would; returns warnings."""

    def try_items(
        self,
        request: domain.RunRequest,
        *,
        items: int = 5,
        choice: str | Sequence[int] = "first",
        seconds: float = 10.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> run_details.Trial:
        """Score some items of the request now, as its run would, and estimate the run; nothing is recorded. `choice` is `first`, `random`
        or the numbers of items, from 1, in the order of the datasets. More items are scored to measure, for about so many `seconds` in
        all, or none with 0. Waits for the end, or until `stopped` says so. Raises as `submit` would."""

    def submit(self, request: domain.RunRequest) -> domain.Run:
        """Record the run and return: a process of its own executes it. The same `submission_id` submits once. Raises NothingNew for a
        request of only what is new where there is nothing, and SettingsError on `new_only` where that can't be determined."""

    def new_items(self, request: domain.RunRequest) -> run_details.NewItems:
        """What a run of only what is new would score of the request's datasets, whose folders are listed now. Where there is no earlier
        run to add to it has no counts. Registers nothing. Raises as `submit` would, but for NothingNew."""

    def rerun(self, run_id: str, *, failed_only: bool = False) -> domain.Run:
        """Submit the same request again, as a new run; or only what failed or has no row in one that has ended. The predictions are then
        those of `run_id`, which stays as it is, with these items replaced."""

    def replay(
        self,
        run_id: str,
        mini_batch: int,
        *,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[run_details.ReplayProgress], None] = lambda _: None,
    ) -> run_details.Replay:
        """Score one mini-batch of a run again by itself, on this machine, as the run did; nothing of the run is touched, and nothing is
        kept. Waits for the end, or until `stopped` says so. Raises NotFound for a mini-batch that the run doesn't have, and StudioError
        where what it takes isn't here, or is not what was approved."""

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        """What this workspace needs, each as (what, whether it holds, detail)."""


class Runs(Protocol):
    """The runs of a workspace: watched, canceled, resumed, and what they left."""

    def latest(self, limit: int = 1000) -> list[domain.Run]:
        """The newest runs first."""

    def search(self, query: RunQuery) -> RunPage:
        """The runs that a query asks for, each as it is now; and how many there are. Cheap, however many runs there are: a page asks
        every other second."""

    def rows(self, columns: Sequence[str], *, archived: bool = False) -> list[tuple[Any, ...]]:
        """These of RUN_COLUMNS of every run, as it is now, in the order of the list; with `archived` also of archived runs."""

    def choices(self) -> RunChoices:
        """What the runs have that one can search by: models, datasets, tags."""

    def get(self, run_id: str) -> domain.Run:
        """One run as it is now."""

    def cancel(self, run_id: str) -> domain.Run:
        """Ask for a run's end; at once where it has no active runner. Ended runs stay as they are."""

    def resume(self, run_id: str) -> domain.Run:
        """Continue a run that stopped short of Completed. Returns without waiting."""

    def environment(self, run_id: str) -> domain.Environment:
        """The interpreter of a run, and what was installed there when it was submitted."""

    def ended_since(self, moment: datetime) -> list[domain.Run]:
        """The runs that ended after that moment, the first one first. Cheap: a page asks every few seconds."""

    def linked(self, kind: domain.ResourceKind, reference: str, limit: int = 20) -> run_details.LinkedRuns:
        """The newest runs that name this model, dataset, environment or earlier run (by its id), and what they name beside it. At once,
        however many runs there are."""

    def activity(self, run_id: str, seconds: float | None = None) -> run_details.RunActivity:
        """What its workers do and did, its pace over time, its slowest mini-batches, its last rows; and what isn't known of it. Cheap for a
        run that was asked about before, however large: a page asks each second. The first time all attempts are read, with `seconds` for
        about so long, and the rest the next time."""

    def mini_batch(self, run_id: str, number: int) -> run_details.MiniBatchDetail:
        """One mini-batch, numbered from 0 as in the table of predictions. Raises NotFound where the run has none of this number."""

    def mini_batches(self, run_id: str) -> Iterable[run_details.MiniBatchDetail]:
        """All mini-batches with the attempts at them, in their order and in one reading, without the names of their items."""

    def failures(self, run_id: str, limit: int = 100) -> list[run_details.Failure]:
        """Attempts that failed or returned fewer rows than items, the latest first."""

    def failed_items(self, run_id: str, *, cause: str | None = None, first: int = 0, count: int = 100) -> list[run_details.FailedItem]:
        """`count` of the items that failed by now, from number `first`, in the order of the table; with `cause` (a FailureCause's `cause`
        or `template`) just those of this one."""

    def failure_causes(self, run_id: str, limit: int = 100) -> list[run_details.FailureCause]:
        """The items that failed by now by their cause: the `limit` most frequent ones, the first one first."""

    def search_logs(
        self,
        run_id: str,
        query: run_details.LogQuery = run_details.LogQuery(),  # noqa: B008 - it is frozen
        *,
        after: Mapping[str, int] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> run_details.LogSearch:
        """The lines of all the run's logs that match, as one stream. `after` are the `ends` of an earlier search: only what came since.
        Ends early, with what it found, where `stopped` says so."""

    def logs(self, run_id: str) -> dict[str, Path]:
        """The run's log files by their name in Azure's layout (`logs/job_error.txt`...), those for people first."""

    def output(self, run_id: str) -> dict[str, Path]:
        """The files as the run wrote them, by name: `parallel_run_step.txt`, or `parallel_run_step.partial.txt` where it has not
        completed; and what the script wrote into its output folder."""

    def input_file(self, run_id: str, key: run_details.RowKey, worker: str) -> Path | None:
        """The file of a row on this machine, fetched where it isn't there; None where it is gone. `worker`: see `trace`."""

    def trace(self, run_id: str, key: run_details.RowKey, worker: str) -> run_details.RowTrace:
        """Of one row, known by its key and its Worker: its input, its attempts with their errors, its lines in the worker's log."""

    def provenance(self, run_id: str) -> run_details.Provenance:
        """What went into a run: models, datasets, script, versions, each by its SHA-256."""

    def kept_script(self, run_id: str) -> Path | None:
        """The scoring script as the run had it: a copy that its folder keeps; None where it keeps none."""

    def predictions(self, run_id: str) -> Predictions:
        """The typed File / Prediction table of what the run has written by now."""

    def imported_as(self, digest: str) -> domain.Run | None:
        """The run that an archive of this digest was imported as; None where none was."""

    def adopt(self, run: domain.Run, folder: Path, digest: str, prepare: Callable[[str], None]) -> tuple[domain.Run, bool]:
        """Enter a run that was executed elsewhere and has ended, with what people said of it; `folder`, in this home, becomes its own in
        one step, after `prepare` was called with its id. It keeps its id where no run has it. Where an archive of this digest was entered
        before, that run, and False; then nothing is changed. See services/handover/importing.py."""


class Resources(Protocol):
    """What people say of models, datasets, environments and runs after they were made, and deleting them. A reference is `name:version`,
    `name` (the latest version), or a run's id; an environment is also known by what it was renamed to. Raises NotFound."""

    def metadata(self, kind: domain.ResourceKind, reference: str | None = None) -> Mapping[str, domain.Metadata]:
        """What was said of those of one kind, or of one of them, by `name:version` or id; those of which nothing was said are left out."""

    def reference(self, kind: domain.ResourceKind, wanted: str) -> str:
        """The whole reference: `name:version`, or the id."""

    def change(
        self,
        kind: domain.ResourceKind,
        wanted: str,
        *,
        name: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> domain.Metadata:
        """Say something else; None leaves as it is. Of `tags` those named are set, and those whose value is "" taken away. Runs and
        environments have a `name` of their own, "" gives the first one back. Raises SettingsError on the argument."""

    def whereabouts(self, kind: domain.ResourceKind, reference: str, changed: Collection[str]) -> str:
        """A sentence on where what was `changed` of it is kept, by the names of `change`'s arguments, and who sees it; "" where there is
        one place only: this machine."""

    def dependents(self, kind: domain.ResourceKind, wanted: str) -> domain.Dependents:
        """What depends on it, and what deleting it does."""

    def delete(self, kind: domain.ResourceKind, references: Sequence[str]) -> int:
        """Delete these, and the files that this program keeps of them; the bytes that are free now. All or none where one can't be:
        raises SettingsError on the kind for what a run needs that has not ended. A person's own files and interpreters stay. A number is
        given to no other version. Raises WorkspaceUnavailable."""

    def clean_up(self) -> int:
        """Remove what a killed process has left of things that were deleted; the bytes that are free now."""


class Storage(Protocol):
    """The disk that a home takes on this machine: what takes it, what can go, a limit. Nothing is ever removed by itself."""

    def known(self) -> StorageUsage | None:
        """What was counted last, at once; None before the first time."""

    def measure(self, stopped: Callable[[], bool] = lambda: False) -> StorageUsage | None:
        """Count all files, and keep that; None where it was stopped before. 100,000 files take about a second. Links are not followed,
        and nothing that is used in place is counted."""

    def disk(self) -> tuple[int, int]:
        """Bytes that are free on the disk of the home, and of the whole disk. Raises WorkspaceUnavailable."""

    def limit(self) -> int | None:
        """The most bytes that the home is to take, as a person set it; None where nobody did. It is warned of, and stops nothing."""

    def set_limit(self, size: str) -> int | None:
        """Keep a limit, such as `50GB`, or none with `none`; what it is then. Raises SettingsError on `limit`."""

    def warnings(self) -> list[str]:
        """Sentences: the home is near its limit by what was counted last, or its disk is nearly full. At once."""

    def run_warnings(self, request: domain.RunRequest, items: int | None) -> list[str]:
        """`warnings`, and a sentence where a run of so many items is expected to write more than there is room for, by what the last such
        run wrote; nothing of one whose like never completed."""

    def proposals(self, days: int = 90) -> list[CleanUpItem]:
        """What can go, the largest of each group first: caches and tables of runs that have ended, leftovers of interrupted work,
        archived runs that ended, and environments that were last used, `days` days ago. Raises SettingsError on `days`."""

    def clean_up(
        self,
        chosen: Sequence[CleanUpItem],
        progress: Callable[[int, int], None] = lambda _done, _of: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> CleanedUp:
        """Remove these, each after another check: nothing goes that is in use by now, or that a run needs which has not ended."""


class EnvironmentBuilds(Protocol):
    """Virtual environments that are built on this machine, each by a process of its own, which a page follows and no reload ends."""

    def start(
        self, name: str, requirements: RequirementList, *, python: str | None = None, approved: str = "", allow_large: bool = False
    ) -> domain.EnvironmentBuild:
        """Begin to build, and return. The same list under the same name, while it is being built, is the same build."""

    def all(self) -> list[domain.EnvironmentBuild]:
        """Those being built, and those that ended and were not dismissed, the newest first."""

    def get(self, build_id: str) -> domain.EnvironmentBuild:
        """One of them as it is now. Raises NotFound."""

    def cancel(self, build_id: str) -> None:
        """End it, with all it started; nothing of it is left. Does nothing where it has ended."""

    def dismiss(self, build_id: str) -> None:
        """Forget one that has ended."""

    def last_used(self) -> Mapping[str, datetime]:
        """When each environment, by its reference, was last used by a run, or to inspect a model."""

    def unused_for(self, days: int) -> list[domain.Environment]:
        """The environments that were registered so long ago and that nothing has used since, the newest first. Raises SettingsError."""

    def interpreters(self) -> list[domain.Interpreter]:
        """The Pythons on this machine that an environment can be built with, this program's own first. Takes a second at first."""


class Schedules(Protocol):
    """What is run again by the clock of this machine. The system's own scheduler starts it: a person gives it the texts of `setup`."""

    def add(self, name: str, every: str, request: domain.RunRequest) -> Schedule:
        """Keep a request, which is checked as it would be now, under a name. `every` are cron's words: see schedules/cron.py. Models and
        datasets named without a version are the latest ones each time. Raises SettingsError on `name` and `every`."""

    def all(self) -> list[Schedule]:
        """By their names."""

    def get(self, name: str) -> Schedule:
        """Raises NotFound."""

    def remove(self, name: str) -> None:
        """Forget it. Its runs stay; the system still has what a person gave it."""

    def setup(self, name: str) -> SetupTexts:
        """What to give the system's scheduler."""

    def start(self, name: str, resumed: Callable[[domain.Run], None] = lambda _: None) -> domain.Run:
        """What the scheduler calls: submit the request, or resume the last run where that lost its runner, which `resumed` is told. Raises
        StillRunning where the last run has not ended, NothingNew where the request is of only what is new and nothing is."""


class RemoteWorkspace(Workspace, Protocol):
    """What only a workspace elsewhere has: signing in, lists with an age, compute targets, datastores, training runs. Whatever asks the
    service raises WorkspaceUnavailable."""

    connection: Connection
    """Which workspace, by which SDK."""

    def state(self) -> remote.ConnectionState:
        """How the connection is. At once."""

    def open(self) -> None:
        """Sign in and fetch the lists, in the background, unless that is done or under way."""

    def refresh(self) -> None:
        """Fetch the lists again, in the background."""

    def compute_targets(self) -> list[remote.ComputeTarget]:
        """Those a run can be sent to first."""

    def datastores(self) -> list[remote.Datastore]:
        """The default one first."""

    def default_environment(self) -> domain.Environment:
        """What a run that names no environment gets there. At once."""

    def fetch_model(self, reference: str, folder: Path) -> Path:
        """One version's file or folder, downloaded below `folder`; where it is then."""

    def experiments(self) -> list[str]:
        """Names of the experiments, the one used last first."""

    def training_runs(self, experiment: str, limit: int = 50) -> list[remote.TrainingRun]:
        """Runs of an experiment that are not pipelines, the newest first."""

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        """Names of the files that a run has left: `outputs/model.pkl`."""

    def register_model_from_run(
        self, name: str, experiment: str, run_id: str, path: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> domain.Model:
        """`Run.register_model`: a file or folder of the run's outputs becomes the next version of `name`."""

    @property
    def studio_link(self) -> str:
        """The workspace in Azure ML studio."""


class PipelineService(Protocol):
    """The pipelines of a workspace. All but `of` ask the service; they raise NotFound, SettingsError and WorkspaceUnavailable."""

    def of(self, run_id: str) -> remote.PipelineRun | None:
        """The pipeline run of a run, as the run's own process saw it last; None before it is submitted."""

    def experiments(self) -> list[str]:
        """The experiments of the workspace that are not archived, by name."""

    def history(self, experiment: str, limit: int = 100) -> list[remote.PipelineRun]:
        """The newest pipeline runs of an experiment, whoever started them. Without those that were made when an answer was lost, and
        never start: their run has another."""

    can_follow: bool
    """Whether a pipeline run that somebody else submitted can be opened here."""

    def follow(self, experiment: str, job_id: str) -> domain.Run:
        """A pipeline run that somebody else submitted, as a run of this program: with its logs, its output and its predictions. Nothing is
        scored again; canceling it cancels it there. Raises StudioError where it isn't a run of one step over a registered dataset."""

    def whose(self, run_id: str) -> str:
        """Who submitted the job that a run follows, and what canceling it does; "" of a run of this program's own. At once."""

    def publish(self, run_id: str, name: str, description: str = "") -> remote.PublishedPipeline:
        """Publish what a run submitted, as a pipeline of its own."""

    def published(self) -> list[remote.PublishedPipeline]:
        """The published pipelines, also those that are disabled."""

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        """Enable or disable a published pipeline."""

    def submit(self, pipeline_id: str, parameters: Mapping[str, str], *, name: str = "", submission_id: str = "") -> domain.Run:
        """Run a published pipeline with these values of its parameters, as a run of this program."""

    def schedules(self) -> list[remote.Schedule]:
        """The schedules, also those that are disabled."""

    def schedule(self, pipeline_id: str, name: str, recurrence: remote.Recurrence, parameters: Mapping[str, str]) -> remote.Schedule:
        """Run a published pipeline by the clock."""

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        """Enable or disable a schedule."""

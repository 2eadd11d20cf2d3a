"""THE SEAM. What a workspace can do, and `open_workspace()`, the only place that knows which one it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from services.connection import Connection, SignIn, is_remembered, suggested
from services.domain import Dataset, DatasetFile, EntryScript, Environment, Failure, Model, Run, RunRequest
from services.errors import SettingsError
from services.settings import ParallelRunSettings
from services.storage.mini_batch_plan import MiniBatchPlan

if TYPE_CHECKING:
    from services.predictions.annotations import AnnotationStore, RowKey
    from services.predictions.provenance import Provenance, RowTrace
    from services.predictions.reader import Predictions
    from services.sample import SampleMade

__all__ = [
    "WORKSPACES", "Capability", "Connection", "SignIn", "Workspace", "choose_workspace", "chosen_workspace", "default_home",
    "open_workspace", "suggested_connection",
]  # fmt: skip

WORKSPACES = ("local", "azure")


class Capability(StrEnum):
    """What only some workspaces do. A page asks by name: `Capability.APPROVAL in workspace.capabilities`."""

    APPROVAL = "approval of models and scripts by their SHA-256"
    RESUME = "following a run again whose runner is gone"
    SAMPLE = "making a sample model and dataset"
    TABULAR = "datasets whose items are rows"
    CARRY_ON = "carrying on with a run that failed or was canceled"
    FAILED_ONLY = "scoring again just the items of a run that failed"
    FAILED_ROWS = "the same of a table: telling which of its rows failed"
    PIPELINES = "pipeline runs, published pipelines and schedules: see services/pipelines.py"
    REMOTE = "signing in, compute targets, datastores, training runs: see services/remote.py"


class Workspace(Protocol):
    """The verbs. Every implementation passes tests/contract. A missing thing raises NotFound, a refused file IntakeError,
    a refused value SettingsError on its field, a workspace out of reach WorkspaceUnavailable."""

    name: str
    """Shown in the sidebar; such as `local`."""
    capabilities: frozenset[Capability]

    annotations: AnnotationStore
    """Notes and corrected labels on rows, and saved views."""

    @property
    def location(self) -> str:
        """Where it is, for people: a folder, or subscription / resource group / workspace."""

    def incoming(self) -> AbstractContextManager[Path]:
        """A private folder for files that come from outside. What is registered from it is moved, the rest removed with it."""

    def models(self) -> list[Model]:
        """All versions of all models, newest first."""

    def model(self, reference: str) -> Model:
        """One model by `name` (its latest version) or `name:version`."""

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        """Copy a file or folder in as the next version of `name`. `approve` approves its SHA-256 at once."""

    def approve(self, sha256: str) -> None:
        """Allow runs to execute the model or script with this content. A workspace without the capability does nothing."""

    def entry_scripts(self) -> list[EntryScript]:
        """The scripts on offer, the built-in one first."""

    def add_entry_script(self, name: str, content: bytes) -> EntryScript:
        """Keep an uploaded script, checked without running it. Raises EntryScriptError when it does not parse or has no `run`."""

    def datasets(self) -> list[Dataset]:
        """All versions of all datasets, newest first."""

    def dataset(self, reference: str) -> Dataset:
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
    ) -> Dataset:
        """Register the files below folder `path` (or the one file) that match `glob`: in place, or copied in. Of a `tabular` dataset all
        rows are looked at, which takes its time. `partition_format` names the parts of each path that are keys: `{store}/{brand}/*.csv`.
        """

    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]:
        """`count` files of the manifest, from number `first`, in its order."""

    def local_file(self, dataset: Dataset, path: str) -> Path:
        """A file of the dataset on this machine, to be looked at: where it lies, or a copy fetched of this one alone."""

    def changed_files(self, dataset: Dataset, limit: int = 20_000) -> list[str]:
        """Sentences, one for each file that changed or vanished since it was registered; at most `limit` files are looked at,
        evenly spread, and the first sentence says so."""

    def environments(self) -> list[Environment]:
        """All versions of all registered environments, newest first. A run that names none uses this program's own interpreter."""

    def register_environment(self, name: str, interpreter: str) -> Environment:
        """Keep a Python interpreter, 3.8 or newer, as the next version of `name`: its path, its environment's folder, or a command such
        as `python3`. It is run once, to say what is installed there."""

    def cut(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        """How a run would cut these datasets into mini-batches. Raises SettingsError for settings that don't fit them. A verb, since only
        the workspace knows where their rows begin and which keys their paths have."""

    def check(self, request: RunRequest) -> list[str]:
        """Look a request over without submitting it. Raises as `submit` would; returns warnings, in words."""

    def submit(self, request: RunRequest) -> Run:
        """Record the run and let go of it: a process of its own carries it out. The same `submission_id` submits once."""

    def runs(self, limit: int = 1000) -> list[Run]:
        """The newest runs first."""

    def run(self, run_id: str) -> Run:
        """One run as it is now."""

    def cancel(self, run_id: str) -> Run:
        """Ask for a run's end; at once where nobody is carrying it out. Ended runs stay as they are."""

    def resume(self, run_id: str) -> Run:
        """Carry on with a run that stopped short of Completed. Returns without waiting."""

    def run_environment(self, run_id: str) -> Environment:
        """The interpreter of a run, and what was installed there when it was submitted."""

    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        """Attempts that failed or returned fewer rows than items, the latest first."""

    def rerun(self, run_id: str, *, failed_only: bool = False) -> Run:
        """Submit the same request again, as a new run; or only what failed or has no row in one that has ended. The predictions are then
        those of `run_id`, which stays as it is, with these items replaced."""

    def logs(self, run_id: str) -> dict[str, Path]:
        """The run's log files by their name in Azure's layout (`logs/job_error.txt`...), those for people first."""

    def output(self, run_id: str) -> dict[str, Path]:
        """The files as the run wrote them, by name: `parallel_run_step.txt`, or `parallel_run_step.partial.txt` where it has not
        completed; and what the script wrote into its output folder."""

    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        """Of one row, known by its key and its Worker: its input, its tries with their errors, its lines in the worker's log."""

    def provenance(self, run_id: str) -> Provenance:
        """What went into a run: models, datasets, script, versions, each by its SHA-256."""

    def predictions(self, run_id: str) -> Predictions:
        """The typed File / Prediction table of what the run has written by now."""

    def make_sample(self) -> SampleMade:
        """Train, register and write a small model and dataset to try things with; the same ones when called again."""

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        """What this workspace needs, each as (what, whether it holds, detail in words)."""


def default_home() -> Path:
    """`BATCH_SCORING_HOME`, else the platform's folder for a user's data."""
    from platformdirs import user_data_path

    named = os.environ.get("BATCH_SCORING_HOME")
    return Path(named).expanduser() if named else user_data_path("batch-scoring-studio", appauthor=False)


def open_workspace(name: str = "local", home: str | Path | None = None) -> Workspace:
    """The workspace called `name`. `home` is where everything of this machine is kept; default: `default_home()`. Which `azure` one, and
    how to sign in, is told by the surroundings: see `services.connection.from_surroundings`.

    Raises SettingsError for an unknown name, WorkspaceUnavailable where it can't be reached or written.
    """
    base = Path(home) if home else default_home()
    if name == "local":
        from services.local.workspace import LocalWorkspace

        return LocalWorkspace(base)
    if name == "azure":
        from services.azure.workspace import AzureWorkspace
        from services.connection import from_surroundings

        return AzureWorkspace(from_surroundings(), base, blocking=True)
    raise SettingsError("workspace", f"there is no workspace called “{name}”", f"The workspaces are {', '.join(WORKSPACES)}.")


# ---- the dashboard's -------------------------------------------------------------------------------------------------------------


def chosen_workspace() -> Workspace:
    """The workspace that the dashboard works in: the Azure ML one that was chosen on its Connection page, else the local one. Asks
    nobody: an Azure ML workspace signs in, in the background, where nobody is needed for it."""
    base = default_home()
    if is_remembered(base):
        from services.azure import active_workspace

        if workspace := active_workspace.of(base):
            return workspace
    return open_workspace("local", base)


def choose_workspace(connection: Connection | None) -> None:
    """From now on the dashboard works in this workspace, which is signed in to in the background; None: in the local one."""
    from services.azure import active_workspace

    active_workspace.choose(default_home(), connection)


def suggested_connection() -> dict[str, str]:
    """What to fill the form of a connection in with: what was chosen last, else what variables and a config.json name. No secret."""
    return suggested(default_home())

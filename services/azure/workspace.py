"""AzureWorkspace: the verbs on an Azure ML workspace, by SDK v1.

```
<home of this machine>/azure/<subscription>/<resource group>/<workspace>/
  studio.db                     the registry: runs
  lists/<list>.json             what was listed last, for the first look after a start
  datasets/<name>/<version>/    manifest.jsonl: names and sizes of a dataset's files; of a tabular one files.jsonl
  scripts/<sha256>/             uploaded scoring scripts
  runs/<id>/                    see run_folder.py
  incoming/                     what is just coming in
```
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import formats
from services.azure.auth.session import Session
from services.azure.catalog import environments, mini_batch_estimate
from services.azure.catalog.datasets import Datasets
from services.azure.catalog.models import Models
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.azure.runs import failed_items, operations, provenance
from services.azure.runs.publishing import Publishing
from services.azure.runs.run_folder import RunPlan
from services.azure.self_check import checks
from services.connection import Connection
from services.domain import (
    Dataset,
    DatasetFile,
    EntryScript,
    Environment,
    Failure,
    FileDataset,
    Model,
    Run,
    RunRequest,
)
from services.errors import NotFound, SettingsError, WorkspaceUnavailable
from services.intake import entry_scripts, names
from services.intake.entry_scripts import EntryScripts
from services.intake.staging import staging_folder
from services.predictions.annotations import AnnotationStore, RowKey
from services.predictions.provenance import Provenance, RowTrace
from services.remote import ComputeTarget, ConnectionState, Datastore, TrainingRun
from services.settings import ParallelRunSettings
from services.storage.manifest import read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.store import Store
from services.workspace import Capability

if TYPE_CHECKING:
    from services.predictions.reader import Predictions
    from services.sample import SampleMade


_SAY_EVERY = 2.0  # seconds between two words on what arrives


class AzureWorkspace:
    """Cheap to make: nothing is asked, and azureml not imported, before somebody needs it.

    `blocking` ones (the command line) fetch a list when it is asked for. The dashboard's are not: they answer with what is known, and
    fetch in the background.
    """

    name = "azure"
    capabilities = frozenset({Capability.FAILED_ONLY, Capability.REMOTE, Capability.PIPELINES, Capability.RESUME, Capability.TABULAR})

    def __init__(self, connection: Connection, base: Path, *, blocking: bool) -> None:
        """`base` is the local home, below which this workspace has its own. Raises WorkspaceUnavailable."""
        self.connection = connection
        self.home = connection.home(base.expanduser().absolute())
        try:
            for folder in ("lists", "datasets", "scripts", "runs", "incoming"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnavailable(
                f"The folder for this workspace, {self.home}, can't be made or written: {error.strerror or error}.",
                "Choose another one by --home or BATCH_SCORING_HOME, or mend its permissions.",
            ) from error
        self._blocking = blocking
        self._store, self.annotations = Store(self.home), AnnotationStore(self.home)
        self._session = Session(connection, self._tell, of_a_command=blocking)
        self._scripts = EntryScripts(self.home / "scripts", lambda _sha256: True)
        self._models, self._datasets = Models(self._session), Datasets(self._session, self.home / "datasets")
        self._runs = operations.RunOperations(self.home, self._store, self._session)
        self.pipelines = Publishing(self.home, self._session, self._runs)
        self._cache = WorkspaceCache(self._session, self.home / "lists", self._models, self._datasets, blocking=blocking)

    @property
    def location(self) -> str:
        return self.connection.location

    @property
    def studio_link(self) -> str:
        place = self.connection
        workspace = (
            f"/subscriptions/{place.subscription_id}/resourceGroups/{place.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{place.workspace_name}"
        )
        return f"https://ml.azure.com/?wsid={workspace}" + (f"&tid={place.tenant_id}" if place.tenant_id else "")

    def incoming(self) -> AbstractContextManager[Path]:
        return staging_folder(self.home)

    # ---- the connection -----------------------------------------------------------------------------------------------------------

    def state(self) -> ConnectionState:
        return self._cache.state()

    def open(self, after: float = 0) -> None:
        if not self._session.is_open:
            self._cache.refresh(after)

    def refresh(self) -> None:
        self._cache.refresh()

    def _tell(self, sentence: str) -> None:
        """What a person has to do to sign in by a device code, or what is waited for; "" once that is over."""
        self._cache.set_message(sentence)
        if self._blocking and sentence:
            print(sentence, file=sys.stderr, flush=True)

    def _moving(self, what: str) -> Callable[[int, int], None]:
        """Tells how much has arrived of what goes to Azure or comes from there; on standard error every few seconds."""
        said_at = time.monotonic()

        def tell(here: int, of: int) -> None:
            nonlocal said_at
            sentence = f"{what}: {formats.size(here)} of {formats.size(of)}" if here < of else ""
            self._cache.set_message(sentence)
            if self._blocking and sentence and time.monotonic() > said_at + _SAY_EVERY:
                said_at = time.monotonic()
                print(sentence, file=sys.stderr, flush=True)

        return tell

    # ---- models -------------------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        return self._cache.known(self._cache.models)

    def model(self, reference: str) -> Model:
        return self._cache.one(self._cache.models, "model", reference)

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        names.check_name("name", name)
        source = Path(path).expanduser().absolute()
        about: dict[str, Any] = {"description": description, "tags": tags or {}, "progress": self._moving(f"Uploading {name}")}
        return self._added_model(self._models.register(name, source, **about))

    def _added_model(self, model: Model) -> Model:
        self._cache.models.add(model)
        return model

    def approve(self, sha256: str) -> None:
        """Nothing is executed on this machine, so there is nothing to approve."""

    def delete_model(self, reference: str) -> None:
        model = self.model(reference)
        self._models.delete(model.reference)
        self._cache.models.remove(lambda other: other.reference == model.reference)

    def experiments(self) -> list[str]:
        return self._models.experiments()

    def training_runs(self, experiment: str, limit: int = 50) -> list[TrainingRun]:
        return self._models.training_runs(experiment, limit)

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        return self._models.training_run_files(experiment, run_id)

    def register_model_from_run(
        self, name: str, experiment: str, run_id: str, path: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> Model:
        names.check_name("name", name)
        if not path.strip():
            raise SettingsError("path", "no file of the run is chosen", "Choose one of its outputs, such as outputs/model.pkl.")
        return self._added_model(self._models.register_from_run(name, experiment, run_id, path, description=description, tags=tags or {}))

    # ---- scoring scripts ----------------------------------------------------------------------------------------------------------

    def entry_scripts(self) -> list[EntryScript]:
        return self._scripts.all()

    def add_entry_script(self, name: str, content: bytes) -> EntryScript:
        return self._scripts.add(name, content)

    # ---- datasets -----------------------------------------------------------------------------------------------------------------

    def datasets(self) -> list[Dataset]:
        return self._cache.known(self._cache.datasets)

    def dataset(self, reference: str) -> Dataset:
        return self._cache.one(self._cache.datasets, "dataset", reference)

    def register_dataset(
        self,
        name: str,
        path: str | Path,
        *,
        type: str = "file",  # noqa: A002
        glob: str = "**",
        partition_format: str = "",
        description: str = "",
        copy: bool = False,
    ) -> Dataset:
        names.check_name("name", name)
        with self.incoming() as staging:
            about = {"glob": glob, "type_": type, "partition_format": partition_format, "description": description}
            registered = self._datasets.register(name, path, **about, staging=staging, progress=self._moving(f"Uploading {name}"))
        self._cache.datasets.add(registered)
        return registered

    def _counted(self, dataset: Dataset) -> Dataset:
        """With its files counted; of one registered elsewhere they are counted once."""
        counted = self._datasets.counted(dataset)
        if counted is not dataset:
            self._cache.datasets.replace(lambda other: counted if other.reference == counted.reference else other)
        return counted

    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]:
        self._counted(dataset)
        return list(read_manifest(self._datasets.files(dataset), first, count))

    def local_file(self, dataset: Dataset, path: str) -> Path:
        return self._datasets.fetch(dataset, path, self._moving("Fetching the file"))

    def changed_files(self, dataset: Dataset, limit: int = 20_000) -> list[str]:
        """By their sizes: one list is asked for, no content."""
        return list(self._datasets.changes(dataset))[:limit]

    # ---- where runs go ------------------------------------------------------------------------------------------------------------

    def compute_targets(self) -> list[ComputeTarget]:
        return self._cache.known(self._cache.compute_targets)

    def datastores(self) -> list[Datastore]:
        return self._cache.known(self._cache.datastores)

    def environments(self) -> list[Environment]:
        return self._cache.known(self._cache.environments)

    def default_environment(self) -> Environment:
        return environments.default()

    def register_environment(self, name: str, interpreter: str) -> Environment:
        names.check_name("name", name)
        made = environments.register(self._session, name, Path(interpreter).expanduser().absolute())
        self._cache.environments.remove(lambda other: other.name == name)
        self._cache.environments.add(made)
        return made

    # ---- runs -----------------------------------------------------------------------------------------------------------------------

    def cut(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        return mini_batch_estimate.cut([self._counted(dataset) for dataset in datasets], settings, self._datasets.files)

    def check(self, request: RunRequest) -> list[str]:
        return self._resolve(request)[2]

    def submit(self, request: RunRequest) -> Run:
        plan, cut, warnings = self._resolve(request)
        return self._runs.submit(plan, cut, warnings)

    def _resolve(self, request: RunRequest) -> tuple[RunPlan, MiniBatchPlan, list[str]]:
        """The request with every reference as the version that it means now."""
        if request.source_directory and not Path(request.source_directory).is_dir():
            text = f"“{request.source_directory}” is no folder"
            raise SettingsError("source_directory", text, "Give the folder of the script's modules.")
        datasets = [self.dataset(reference) for reference in request.datasets]
        models = [self.model(reference) for reference in request.models]
        side_inputs = {name: self.dataset(reference).reference for name, reference in request.side_inputs.items()}
        environment = self._cache.one(self._cache.environments, "environment", request.environment) if request.environment else None
        script = Path(request.entry_script).expanduser().absolute()
        _check_script(script)
        resolved = replace(
            request,
            entry_script=str(script),
            source_directory=str(Path(request.source_directory).absolute()) if request.source_directory else None,
            datasets=tuple(dataset.reference for dataset in datasets),
            models=tuple(model.reference for model in models),
            side_inputs=side_inputs,
            environment=environment.reference if environment else None,
        )
        cut = self.cut(datasets, request.settings)
        of_their_names = [other for other in self._cache.known(self._cache.models) if other.name in {model.name for model in models}]
        warnings = operations.check(resolved, self.compute_targets(), of_their_names)
        manifests = tuple(str(self._datasets.files(dataset)) for dataset in datasets if isinstance(dataset, FileDataset))
        files = [self._datasets.only_file(dataset) for dataset in datasets]
        plan = RunPlan(resolved, cut.item_count, manifests, file=files[0] if len(files) == 1 else "")
        if request.failed_only:
            before = self.run(str(request.rerun_of))
            plan, cut = failed_items.restrict_to_failed(plan, cut, before, self._runs.folder(before.id), datasets)
        return plan, cut, [*warnings, *cut.notes]

    def runs(self, limit: int = 1000) -> list[Run]:
        return self._runs.all(limit)

    def run(self, run_id: str) -> Run:
        return self._runs.one(run_id)

    def cancel(self, run_id: str) -> Run:
        return self._runs.cancel(run_id)

    def resume(self, run_id: str) -> Run:
        return self._runs.resume(run_id)

    def rerun(self, run_id: str, *, failed_only: bool = False) -> Run:
        return self.submit(self.run(run_id).request_again(failed_only=failed_only))

    def run_environment(self, run_id: str) -> Environment:
        named = self._runs.plan(run_id).request.environment
        if not named:
            return environments.default()
        return self._cache.one(self._cache.environments, "environment", named, known=True)  # a page asks at each look at the run

    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        return self._runs.failures(run_id, limit)

    def logs(self, run_id: str) -> dict[str, Path]:
        return self._runs.logs(run_id)

    def output(self, run_id: str) -> dict[str, Path]:
        return self._runs.output(run_id)

    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        datasets = self.run(run_id).request.datasets
        return provenance.trace(self._runs.folder(run_id), key, lambda number, path: self.local_file(self.dataset(datasets[number]), path))

    def provenance(self, run_id: str) -> Provenance:
        """As far as it is known here: nothing is asked of Azure for it, and what was deleted since is named still."""
        run = self.run(run_id)
        hashes = {model.reference: model.sha256 for model in self.models()}
        models = [(reference, hashes.get(reference, "")) for reference in run.request.models]
        named = run.request.environment
        known = (environment for environment in self.environments() if environment.reference == named)
        environment = next(known, None) if named else environments.default()
        return provenance.provenance(run, self._runs.folder(run_id), models, environment)

    def predictions(self, run_id: str) -> Predictions:
        return self._runs.predictions(run_id)

    # ---- the rest -------------------------------------------------------------------------------------------------------------------

    def make_sample(self) -> SampleMade:
        raise WorkspaceUnavailable("The sample is made in the local workspace only.", "Switch to it on the Connection page.")

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        return checks(self.home, self._session, self._cache)


def _check_script(script: Path) -> None:
    try:
        if not script.is_file():
            raise NotFound(f"There is no scoring script {script}.", "Choose another script.")
        source = script.read_bytes()
    except OSError as error:
        raise NotFound(f"The scoring script {script} can't be read: {error.strerror or error}.", "Choose another script.") from error
    entry_scripts.check_entry_script(source, script.name)

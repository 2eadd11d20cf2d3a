"""AzureWorkspace: the verbs on an Azure ML workspace, by either SDK.

```
<home of this machine>/azure/<subscription>/<resource group>/<workspace>/
  studio.db                     the registry: runs
  .reserve                      room for it on a full disk: see reserve.py
  lists/<list>.json             the cached lists, for the first page after a start
  datasets/<name>/<version>/    manifest.jsonl: names and sizes of a dataset's files; of a tabular one files.jsonl
  labels/<name>/<version>/      true labels of a dataset
  scripts/<sha256>/             uploaded scoring scripts
  runs/<id>/                    see run_folder.py
  incoming/                     staging: what is being registered
```
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services import formats, submission
from services.azure.catalog import environments, readiness
from services.azure.catalog.datasets import Datasets, is_elsewhere
from services.azure.catalog.model_properties import properties_of
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.azure.resources import AzureResources
from services.azure.run_history import workspace_id
from services.azure.run_plan import RunPlan
from services.azure.runs import failed_items
from services.azure.runs.azure_pipelines import AzurePipelines
from services.azure.runs.azure_runs import AzureRuns
from services.azure.sdks import sdk_of
from services.connection import SUPPORT_ENDED, Connection
from services.dataset_labels import DatasetLabels
from services.domain import (
    Dataset,
    DatasetFile,
    DatasetProposal,
    Environment,
    FileDataset,
    Model,
    ModelCard,
    ResourceKind,
    Run,
    RunRequest,
    TableReading,
    parse_reference,
    utc_now,
)
from services.errors import IntakeError, SettingsError, StudioError
from services.file_names import check_name
from services.formats import counted
from services.handover.azure_packages import conda_of
from services.handover.rerun import request_here
from services.home_storage import HomeStorage
from services.intake import model_files
from services.intake.datasets import DatasetOptions
from services.intake.entry_scripts import EntryScripts
from services.intake.mlflow_files import prepare_model
from services.intake.requirement_lists import RequirementList, check_approved
from services.intake.staging import staging_folder
from services.remote import ComputeTarget, TrainingRun
from services.run_details import NewItems, Replay, Trial
from services.scoring.model_card import READER, read_card
from services.scoring.scorers import scorer_at
from services.settings import ParallelRunSettings
from services.storage.file_tree import path_given, stat_of
from services.storage.manifest import read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.stored_workspace import StoredWorkspace
from services.workspace import Capability, RemoteWorkspace

_NOT_LOADED = "Models of Azure ML are not loaded on this machine: what its file does not tell isn't known."
_PROGRESS_SECONDS = 2.0  # between two lines of progress on standard error


class AzureWorkspace(StoredWorkspace):
    """Cheap to make: nothing is requested, and no SDK imported, before it is needed."""

    capabilities: frozenset[Capability] = frozenset()
    builds = None
    schedules = None  # Azure ML has its own: see `pipelines`

    def __init__(self, connection: Connection, base: Path, *, blocking: bool) -> None:
        """Its home is below `base`, the local one; `blocking` as of a WorkspaceCache. Raises WorkspaceUnavailable."""
        machine_home = base.expanduser().absolute()
        super().__init__(connection.home(machine_home), machine_home, "lists")
        self.connection, self.name, self.location, self._blocking = connection, connection.workspace, connection.location, blocking
        tenant = f"&tid={connection.tenant_id}" if connection.tenant_id else ""
        self.studio_link = f"https://ml.azure.com/?wsid={workspace_id(connection)}{tenant}"
        self.remote: RemoteWorkspace = self
        self._sdk = sdk_of(connection, self._show_message, of_a_command=blocking)
        self._session, self._models = self._sdk.session, self._sdk.models
        self.scripts = EntryScripts(self.home / "scripts", lambda _sha256: True)
        self._datasets = Datasets(self._sdk, self.home / "datasets")
        self._cache = cache = WorkspaceCache(self._sdk, self.home / "lists", self._datasets, blocking=blocking)
        self.models, self.model = partial(cache.known, cache.models), partial(cache.find, cache.models, "model")
        self.datasets, self.dataset = partial(cache.known, cache.datasets), partial(cache.find, cache.datasets, "dataset")
        self.environments = partial(cache.known, cache.environments)
        self.compute_targets, self.datastores = partial(cache.known, cache.compute_targets), partial(cache.known, cache.datastores)
        self.runs = AzureRuns(
            self.home, self._store, self._sdk, self._cache, lambda reference, path: self.local_file(self.dataset(reference), path)
        )
        self.resources = AzureResources(self.home, self._store, self.runs, self.annotations, self._sdk, self._cache, self._datasets)
        self.pipelines = AzurePipelines(
            self.home,
            self._sdk,
            self.runs,
            lambda request: _newer_models(request, self.models()),
            lambda request: self._reading(request, [self.dataset(reference) for reference in request.datasets]),
        )
        self.storage = HomeStorage(self, self._store)
        labels = DatasetLabels(self)
        self.labels, self.add_labels, self.remove_labels = labels.of, labels.add, labels.remove
        self.find_labels, self.leaderboard = labels.get, labels.leaderboard
        self.run_labels, self.find_run_labels = labels.of_run, labels.get_of_run
        self.state, self.refresh, self.default_environment = self._cache.state, self._cache.refresh, environments.made_for_run
        self.training_run_files = self._models.training_run_files

    # ---- the connection -----------------------------------------------------------------------------------------------------------

    def open(self, after: float = 0) -> None:
        if not self._session.is_open:
            self._cache.refresh(after)

    def _show_message(self, sentence: str) -> None:
        """Show what a person has to do to sign in by a device code, or what is waited for; "" once that is over."""
        self._cache.set_message(sentence)
        if self._blocking and sentence:
            print(sentence, file=sys.stderr, flush=True)

    def _progress(self, what: str) -> Callable[[int, int], None]:
        """Shows how much of a transfer has arrived: to the dashboard, and on standard error every few seconds."""
        shown_at = time.monotonic()

        def show(here: int, of: int) -> None:
            nonlocal shown_at
            if here >= of:
                self._show_message("")
            elif not self._blocking or time.monotonic() > shown_at + _PROGRESS_SECONDS:
                shown_at = time.monotonic()
                self._show_message(f"{what}: {formats.size(here)} of {formats.size(of)}")

        return show

    # ---- models -------------------------------------------------------------------------------------------------------------------

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        check_name("name", name)
        source = path_given(path)
        stat_of(source)
        about: dict[str, Any] = {"description": description, "tags": tags or {}, "progress": self._progress(f"Uploading {name}")}
        with staging_folder(self.home) as staging:
            path = prepare_model(source, staging)
            model = self._models.register(name, path, properties_of(path), **about)
            self._store.keep_model_card(model.sha256, READER, read_card(path, model_files.inspect_model(path)))
        return self._cache.models.add(model)

    def approve(self, sha256: str) -> None:
        """Nothing is executed on this machine, so there is nothing to approve."""

    def model_card(self, reference: str, environment: str | None = None) -> ModelCard:
        """What its file tells, where it was registered from this machine or inspected here."""
        model = self.model(reference)
        card = self._store.model_card(model.sha256 or model.reference, READER)
        return card or ModelCard("unknown", notes=("Its file is in Azure ML: inspect it to have it fetched and read.",))

    def inspect_model(self, reference: str, environment: str | None = None) -> ModelCard:
        """Fetches the model's files and reads them, once. They are not executed on this machine."""
        model = self.model(reference)
        with staging_folder(self.home) as staging:
            card = self._file_card(model, lambda: self._models.fetch(model.reference, staging))
        return card if card.inputs or card.task else replace(card, notes=(*card.notes, _NOT_LOADED))

    def fetch_model(self, reference: str, folder: Path) -> Path:
        return self._models.fetch(self.model(reference).reference, folder)

    def experiments(self) -> list[str]:
        with self._session.sdk_calls("The experiments can't be listed"):
            return self._sdk.history.experiments()

    def training_runs(self, experiment: str, limit: int = 50) -> list[TrainingRun]:
        with self._session.sdk_calls(f"The runs of experiment {experiment} can't be listed", "experiment"):
            return self._sdk.history.training_runs(experiment, limit)

    def register_model_from_run(
        self, name: str, experiment: str, run_id: str, path: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> Model:
        check_name("name", name)
        if not path.strip():
            raise SettingsError("path", "no file of the run is chosen", "Choose one of its outputs, such as outputs/model.pkl.")
        model = self._models.register_from_run(name, experiment, run_id, path, description=description, tags=tags or {})
        return self._cache.models.add(model)

    # ---- datasets -----------------------------------------------------------------------------------------------------------------

    def _register_dataset(self, name: str, path: str | Path, options: DatasetOptions, staging: Path) -> Dataset:
        self.resources.clean_up()  # of a dataset of this name that was deleted: its versions may begin at 1 again
        return self._cache.datasets.add(self._datasets.register(name, path, options, staging, self._progress(f"Uploading {name}")))

    def _check_readable(self, path: str | Path) -> None:
        if is_elsewhere(path):
            raise SettingsError("path", "what lies elsewhere is not read before it is registered", "Choose the type yourself.")

    def propose_reread(self, reference: str, type: str, reading: TableReading | None = None) -> DatasetProposal:  # noqa: A002
        with staging_folder(self.home) as staging:
            path = self._datasets.download(self.dataset(reference), staging)
            return self.propose_dataset(path, type=type, keep_archive=True, reading=reading)

    def reread_dataset(self, reference: str, type: str, reading: TableReading | None = None) -> Dataset:  # noqa: A002
        dataset = self.dataset(reference)
        about: dict[str, Any] = {"type": type, "description": dataset.description, "partition_format": dataset.partition_format}
        if type == FileDataset.type:
            return self.register_dataset(dataset.name, dataset.root + ("" if dataset.in_place else "/**"), **about)
        with staging_folder(self.home) as staging:
            path = self._datasets.download(dataset, staging)
            return self.register_dataset(dataset.name, path, **about, keep_archive=True, reading=reading)

    def _counted(self, dataset: Dataset) -> Dataset:
        """With its files counted; of one registered elsewhere they are counted once."""
        counted = self._datasets.with_file_count(dataset)
        if counted is not dataset:
            self._cache.datasets.replace(lambda other: counted if other.reference == counted.reference else other)
        return counted

    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]:
        self._counted(dataset)
        return list(read_manifest(self._datasets.file_list(dataset), first, count))

    def local_file(self, dataset: Dataset, path: str) -> Path:
        return self._datasets.fetch(dataset, path, self._progress("Fetching the file"))

    def changed_files(self, dataset: Dataset, limit: int = 20_000) -> list[str]:
        """By their sizes: one list is requested, no content."""
        return list(self._datasets.changes(dataset))[:limit]

    # ---- where runs go ------------------------------------------------------------------------------------------------------------

    def environment(self, reference: str | None, *, scored_model: str | None = None) -> Environment:
        if not reference:
            with contextlib.suppress(IntakeError):  # a list that isn't taken, which the check of the run says
                if scored_model:
                    return environments.made_for_run(*environments.for_model(self.model_card(scored_model)))
            return self.default_environment()
        name, version = parse_reference(reference, "environment")
        if not any(known.name == name for known in self.environments()) and (renamed := self.resources.renamed(reference)):
            name, version = parse_reference(renamed, "environment")
        for known in self.environments():
            if known.name == name and version in (None, known.version):
                return known
        return Environment(name, version or 0, "", "", {}, utc_now())  # an older version, which no list has

    def register_environment(self, name: str, interpreter: str) -> Environment:
        check_name("name", name)
        return self._register_environment(name, environments.conda_file(path_given(interpreter)))

    def create_environment(
        self, name: str, requirements: RequirementList, *, python: str | None = None, approved: str = "", **_built_there: Any
    ) -> Environment:
        check_name("name", name)
        check_approved(requirements, approved, self._store)
        lines = environments.with_what_a_step_needs(requirements.lines, self._sdk.environments.needed)
        return self._register_environment(name, conda_of(environments.python_for(requirements, python), lines))

    def _register_environment(self, name: str, conda: Mapping[str, Any]) -> Environment:
        environment = self._sdk.environments.register(name, conda)
        self._cache.environments.remove(lambda other: other.name == name)
        return self._cache.environments.add(environment)

    # ---- runs -----------------------------------------------------------------------------------------------------------------------

    def mini_batches(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        submission.check_mini_batches(datasets, settings)
        return self._datasets.mini_batches([self._counted(dataset) for dataset in datasets], settings)

    def check(self, request: RunRequest) -> list[str]:
        return self._plan(request)[2]

    def try_items(self, request: RunRequest, **_which_items: Any) -> Trial:
        """Scores nothing: it says what the run will find."""
        plan, _, warnings = self._plan(request)
        target = next((target for target in self.compute_targets() if target.name == plan.request.compute_target), None)
        place = list(readiness.cluster_facts(self._sdk.computes, target, plan.request.settings.node_count)) if target else []
        environment = plan.request.environment or environments.to_make(plan.requirements, plan.python).name
        place.append(readiness.environment_fact(self._sdk.environments, environment))
        return Trial(
            item=self.dataset(plan.request.datasets[0]).item,
            warnings=tuple(warnings),
            place=tuple(place),
            not_tried=("the items, which are scored on this machine only, with your consent.",),
        )

    def new_items(self, request: RunRequest) -> NewItems:
        raise _no_new_only()

    def submit(self, request: RunRequest) -> Run:
        return self.runs.submit(*self._plan(request))

    def rerun(self, run_id: str, *, failed_only: bool = False) -> Run:
        return self.submit(self.runs.get(run_id).request_again(failed_only=failed_only))

    def replay(self, run_id: str, mini_batch: int, **_watched_by: Any) -> Replay:
        """What it takes is in Azure ML: this says what is missing here."""
        request = self.runs.get(run_id).request
        environment = self.runs.environment(run_id)
        missing = [f"the environment {environment.reference}", *(f"model {name}" for name in request.models)]
        missing += [f"the files of {name}" for name in (*request.datasets, *request.side_inputs.values())]
        text = f"Mini-batch {mini_batch} of {run_id} can't be scored again on this machine: {', '.join(missing)} are in Azure ML."
        raise StudioError(text, "Try some of its items here, with your consent: Try first on New run, or the command try --here.")

    def _plan(self, request: RunRequest) -> tuple[RunPlan, MiniBatchPlan, list[str]]:
        if request.new_only:
            raise _no_new_only()
        request = request_here(self, request)
        environment = None
        if request.environment:
            wanted = self.resources.reference(ResourceKind.ENVIRONMENT, request.environment)
            environment = self._cache.find(self._cache.environments, "environment", wanted)
        inputs = self._inputs(request, environment)
        resolved = submission.resolve(request, inputs, approval=False)
        if len(resolved.datasets) > 1 and not self._sdk.jobs.several_datasets:
            text = f"a parallel job of {self._sdk.name} scores one dataset, and this run names {len(resolved.datasets)}"
            raise SettingsError("dataset", text, "Choose one, or connect by SDK v1.")
        warnings = [*_check(resolved, self.compute_targets()), *_newer_models(resolved, self.models())]
        plan, mini_batches = self._reading(resolved, inputs.datasets)
        requirements, python = self._needed(resolved, warnings)
        plan = replace(plan, requirements=requirements, python=python)
        if request.failed_only:
            earlier = self.runs.get(str(request.rerun_of))
            submission.check_failed_only(earlier)
            plan, mini_batches = failed_items.restrict_to_failed(plan, mini_batches, earlier, self.runs.folder(earlier.id), inputs.datasets)
        warnings += self.storage.run_warnings(resolved, mini_batches.item_count)
        return plan, mini_batches, [*warnings, *mini_batches.notes]

    def _reading(self, request: RunRequest, datasets: Sequence[Dataset]) -> tuple[RunPlan, MiniBatchPlan]:
        """The plan of a request as far as it says what is read."""
        mini_batches = self.mini_batches(datasets, request.settings)
        manifests = tuple(str(self._datasets.file_list(dataset)) for dataset in datasets if isinstance(dataset, FileDataset))
        return RunPlan(request, mini_batches.item_count, manifests, file=self._datasets.only_file(datasets)), mini_batches

    def _needed(self, request: RunRequest, warnings: list[str]) -> tuple[tuple[str, ...], str]:
        """What the environment made for this run needs for its model: of a built-in scorer, since another script knows its own needs."""
        if request.environment or not request.models or scorer_at(request.entry_script) is None:
            return (), ""
        try:
            return environments.for_model(self.model_card(request.models[0]))
        except IntakeError as error:
            warnings.append(f"{error.message} The run gets the default environment, which may lack something.")
            return (), ""

    # ---- the rest -------------------------------------------------------------------------------------------------------------------

    def self_check(self) -> Iterator[tuple[str, bool, str]]:
        """It calls the service, which takes seconds."""
        free = shutil.disk_usage(self.home).free
        yield "Free disk space", free > 1 << 30, f"{formats.size(free)} for logs and outputs, in {self.home}"
        ended = SUPPORT_ENDED.get(self.connection.sdk)
        support = f"; Microsoft’s support for it ended on {ended}" if ended else ""
        cache = self._cache

        def clusters() -> tuple[bool, str]:
            usable = [target for target in cache.compute_targets.fetch() if target.usable]
            detail = "; ".join(f"{target.name} ({target.size}, up to {target.max_nodes} nodes)" for target in usable)
            return bool(usable), detail or "no cluster: create one in Azure ML studio, under Compute"

        checks: tuple[tuple[str, Callable[[], tuple[bool, str]]], ...] = (
            ("Signed in", lambda: (True, f"by {self.connection.sign_in}; the workspace is in {self._session.region()}")),
            ("SDK", lambda: (True, f"{self._sdk.name}: {self._sdk.package} {version(self._sdk.package)}{support}")),
            ("Models", lambda: (True, counted(len(cache.models.fetch()), "model version"))),
            ("Datasets", lambda: (True, counted(len(cache.datasets.fetch()), "dataset version"))),
            ("Environments", lambda: (True, counted(len(cache.environments.fetch()), "environment"))),
            ("Datastores", lambda: (True, counted(len(cache.datastores.fetch()), "datastore"))),
            ("Compute targets", clusters),
        )
        for what, check in checks:
            try:
                yield what, *check()
            except StudioError as error:
                yield what, False, f"{error.message} {error.hint}"
                if what == "Signed in":
                    return


def _no_new_only() -> SettingsError:
    text = (
        "only what is new can't be scored on Azure ML: a run there reads what lies in its dataset's folder when its nodes start, so it is"
        " not known which content of a file an earlier run has scored"
    )
    hint = "Omit --new-only, register the new files as a dataset of their own and score that, or score in the local workspace."
    return SettingsError("new_only", text, hint)


def _check(request: RunRequest, compute_targets: Sequence[ComputeTarget]) -> list[str]:
    """What Azure ML would refuse, before anything is uploaded: raises SettingsError naming the field. Returns warnings."""
    targets = {target.name: target for target in compute_targets}
    usable = ", ".join(name for name, target in targets.items() if target.usable) or "none yet: make one in Azure ML studio"
    if not request.compute_target:
        raise SettingsError("compute_target", "no compute target is chosen", f"Choose the cluster that the run is sent to: {usable}.")
    target = targets.get(request.compute_target)
    if target is None or not target.usable:
        why = "is not there" if target is None else f"can't be sent a run ({target.describe()})"
        raise SettingsError("compute_target", f"compute target “{request.compute_target}” {why}", f"Those that can: {usable}.")
    nodes = request.settings.node_count
    if target.max_nodes is not None and nodes > target.max_nodes:
        text = f"{nodes} nodes are more than the {target.max_nodes} that {target.name} may have"
        raise SettingsError("node_count", text, f"Give {target.max_nodes} or fewer, or let the cluster have more.")
    script = Path(request.entry_script)
    if request.source_directory and not script.is_relative_to(Path(request.source_directory).absolute()):
        text = f"the scoring script {script} is not in the source directory"
        raise SettingsError("source_directory", text, "Azure ML gets this one folder: give one that holds the script.")
    if not request.source_directory and "__file__" in script.read_text("utf-8", "replace"):
        return [f"{script.name} opens files beside itself: Azure ML gets the Python files there, others only by a source directory."]
    return []


def _newer_models(request: RunRequest, models: Sequence[Model]) -> list[str]:
    """A sentence for each model of the request of which there is a later version."""
    names = {model.name for model in models if model.reference in request.models}
    latest = {name: max(model.version for model in models if model.name == name) for name in names}
    return [
        f"{model} is not the latest version, {model.name}:{latest[model.name]}, which Model.get_model_path gives a script that names no "
        "version. The built-in script names it."
        for model in models
        if model.reference in request.models and model.version != latest[model.name]
    ]

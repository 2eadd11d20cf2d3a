"""LocalWorkspace: the verbs on this machine. No account, no cloud; everything lies in one folder, the home.

```
<home>/
  studio.db                     the registry
  .reserve                      room for it on a full disk: see reserve.py
  models/<name>/<version>/      one file or folder each, as it was registered
  datasets/<name>/<version>/    manifest.jsonl, and files/ where it was copied in or made Parquet, source/ what that was made of
  labels/<name>/<version>/      true labels of a dataset
  scripts/<sha256>/             uploaded scoring scripts
  environments/                 see environment_builds.py
  runs/<id>/                    see run_folder.py
  schedules/<name>/             see schedules.py
  incoming/                     what is just coming in
```
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from services import formats, gpus, submission
from services.dataset_labels import DatasetLabels
from services.domain import (
    Dataset,
    DatasetFile,
    DatasetProposal,
    Environment,
    Model,
    ModelCard,
    Run,
    RunRequest,
    TableReading,
    TabularDataset,
    parse_reference,
    utc_now,
)
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import check_name
from services.formats import counted
from services.handover.rerun import request_here
from services.home_storage import HomeStorage
from services.intake import datasets, model_files
from services.intake.datasets import DatasetInspection, DatasetOptions
from services.intake.entry_scripts import JOBLIB_SCRIPT, EntryScripts
from services.intake.mlflow_files import prepare_model
from services.intake.requirement_lists import RequirementList
from services.intake.staging import move_or_copy, staging_folder
from services.local import environments, model_inspection, new_items, replay, reuse, runs, trial
from services.local.batching import plan_mini_batches
from services.local.environment_builds import LocalBuilds
from services.local.new_items import GrownDataset, Look
from services.local.resources import LocalResources
from services.local.run_folder import RunPlan
from services.local.schedules import LocalSchedules
from services.run_details import NewItems, Replay, ReplayProgress, Trial
from services.scoring.model_card import READER, read_card, with_advice
from services.scoring.script_fit import first_row_warning
from services.settings import ParallelRunSettings
from services.storage import file_tree
from services.storage.file_tree import path_given
from services.storage.manifest import changes_since_registration, read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.stored_workspace import StoredWorkspace
from services.workspace import Capability

_MOST_WORKERS = 64 * (os.cpu_count() or 1)
_FILES_CHECKED_ON_CHECK = 2_000  # files, some 10 ms: a page checks with every click
_FILES_CHECKED_ON_SUBMIT = 100_000
_OWN_KNOWN_FOR = 30.0  # seconds
_ANOTHER_LOOK_SECONDS = 600.0  # that two commands which look for what is new wait for each other


@lru_cache(1)
def _own_environment(_period: int) -> Environment:
    """This program's own: looked at once in a while, since a page asks for every model."""
    return environments.environment("", 0, sys.executable)


def _of_sources(dataset: Dataset) -> str:
    """The partition format of a person's own files, of which the dataset's may have been made."""
    return dataset.source_partition_format if isinstance(dataset, TabularDataset) and dataset.source_root else dataset.partition_format


class LocalWorkspace(StoredWorkspace):
    """The embedded default. Cheap to open; safe to open many times at once."""

    name = "local"
    capabilities = frozenset(Capability)
    remote = None
    pipelines = None

    def __init__(self, home: Path) -> None:
        """Open the workspace in `home`, making it where there is none. Raises WorkspaceUnavailable."""
        home = home.expanduser().absolute()
        super().__init__(home, home, "models")
        self.builds = LocalBuilds(self.home, self._store)
        self.scripts = EntryScripts(self.home / "scripts", self._store.approved)
        self.runs = runs.LocalRuns(self.home, self._store)
        self.resources = LocalResources(self.home, self._store, self.runs, self.annotations, self._scheduled)
        self.storage = HomeStorage(self, self._store, ("models", "datasets", "environments"))
        self.schedules = LocalSchedules(self, self._store)
        labels = DatasetLabels(self)
        self.labels, self.add_labels, self.remove_labels = labels.of, labels.add, labels.remove
        self.find_labels, self.leaderboard = labels.get, labels.leaderboard
        self.run_labels, self.find_run_labels = labels.of_run, labels.get_of_run

    @property
    def location(self) -> str:
        return str(self.home)

    def _scheduled(self) -> list[tuple[str, RunRequest]]:
        return [(schedule.name, schedule.request) for schedule in self.schedules.all()]

    # ---- models ---------------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        return self._store.all(Model)

    def model(self, reference: str) -> Model:
        return self._store.get(Model, *parse_reference(reference, "model"))

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        check_name("name", name)
        source = path_given(path)
        model_files.inspect_model(source)  # what can't be taken isn't copied either
        with staging_folder(self.home) as staging:
            staged = staging / source.name
            move_or_copy(self.home, source, staged)
            staged = prepare_model(staged, staging)
            content = model_files.inspect_for_registration(staged)  # of the very bytes that the hash is of
            sha256, size = file_tree.sha256_of(staged), file_tree.size_of(staged)

            def move_into_place(number: int) -> Model:
                folder = self._version_folder("models", name, number)
                file_tree.protect(staged)
                os.replace(staged, folder / staged.name)
                return Model(
                    name, number, str(folder / staged.name), size, sha256, content.kind, utc_now(), description, dict(tags or {}),
                    content.needs_approval, False, content.imports, content.scanned_whole, content.features, content.format,
                )  # fmt: skip

            if approve:
                self._store.approve(sha256)
            self._store.keep_model_card(sha256, READER, read_card(staged, content))
            added = self._store.add(Model, name, move_into_place)
        return self._store.get(Model, name, added.version)

    def approve(self, sha256: str) -> None:
        self._store.approve(sha256)

    def model_card(self, reference: str, environment: str | None = None) -> ModelCard:
        model, where = self.model(reference), self.environment(environment)
        card = self._store.model_card(model.sha256, model_inspection.source(where)) or self._file_card(model)
        return with_advice(card, model.reference, where)

    def inspect_model(self, reference: str, environment: str | None = None) -> ModelCard:
        model, where = self.model(reference), self.environment(environment)
        submission.check_approved(model)
        card = model_inspection.inspect(model, self._file_card(model), where)
        if card.inspected_in is not None:
            self._store.keep_model_card(model.sha256, model_inspection.source(where), card)
        return with_advice(card, model.reference, where)

    def _version_folder(self, kind: str, name: str, number: int) -> Path:
        folder = self.home / kind / name / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # left by a registration that was killed half-way
        folder.mkdir(parents=True)
        return folder

    # ---- datasets -------------------------------------------------------------------------------------------------------------

    def datasets(self) -> list[Dataset]:
        return self._store.all(Dataset)

    def dataset(self, reference: str) -> Dataset:
        return self._store.get(Dataset, *parse_reference(reference, "dataset"))

    def _register_dataset(self, name: str, path: str | Path, options: DatasetOptions, staging: Path) -> Dataset:
        root, files = path_given(path), staging / "files"
        archive = None if options.keep_archive else datasets.unpack_archive(root, staging)
        copy = options.copy or archive is not None or root.is_relative_to(self.home / "incoming")
        if archive:
            root = files
        elif copy:
            if not root.is_dir():
                files.mkdir()
            move_or_copy(self.home, root, files if root.is_dir() else files / root.name)
            root = files
        found = datasets.inspect_dataset(root, options.glob, options.type, options.partition_format, staging, options.reading)
        return self._add_dataset(name, found.unpacked_from(archive), root, options.description, copied=copy)

    def _add_dataset(self, name: str, found: DatasetInspection, root: Path, description: str, *, copied: bool) -> Dataset:
        """Keep what was inspected at `root`, a file or folder, as the next version of `name`. `copied`: `root` is moved into the home."""

        def move_into_place(number: int) -> Dataset:
            folder = self._version_folder("datasets", name, number)
            for lines in found.lists:
                os.replace(lines, folder / lines.name)
            one_file = not root.is_dir()
            final_root = root.parent if one_file else root
            source_root = ""
            if copied:
                final_root = folder / ("source" if found.converted else "files")
                os.replace(root, final_root)
            if found.converted:
                source_root = str(final_root if copied else root)
                final_root = folder / "files"
                os.replace(found.converted, final_root)
            in_place = not (copied or found.converted or root.is_relative_to(self.home))
            made = found.dataset(name, number, final_root, folder, in_place=in_place, description=description)
            if isinstance(made, TabularDataset):  # so that its folder can be read again in the same way
                made = replace(made, reading=found.said, source_partition_format=found.source_partition_format)
            return replace(made, source_root=source_root, one_file=one_file)

        return self._store.add(Dataset, name, move_into_place)

    def propose_reread(self, reference: str, type: str, reading: TableReading | None = None) -> DatasetProposal:  # noqa: A002
        dataset = self.dataset(reference)
        return self.propose_dataset(self._source(dataset), type=type, glob=dataset.glob, keep_archive=True, reading=reading)

    def reread_dataset(self, reference: str, type: str, reading: TableReading | None = None) -> Dataset:  # noqa: A002
        dataset = self.dataset(reference)
        about: dict[str, Any] = {"glob": dataset.glob, "description": dataset.description, "partition_format": _of_sources(dataset)}
        return self.register_dataset(dataset.name, self._source(dataset), type=type, **about, reading=reading, keep_archive=True)

    def _source(self, dataset: Dataset) -> Path:
        """The files that a dataset was made of: a folder, or the one file."""
        if dataset.source_root:
            return Path(dataset.source_root)
        files = self.dataset_files(dataset, 0, 2)
        return Path(dataset.root, files[0].path) if len(files) == 1 else Path(dataset.root)

    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]:
        return list(self._manifest(dataset, first, count))

    def local_file(self, dataset: Dataset, path: str) -> Path:
        return Path(dataset.root, path)

    def _manifest(self, dataset: Dataset, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
        with os_errors_as(NotFound, f"The list of files of dataset {dataset} is gone", "Register the dataset again."):
            yield from read_manifest(datasets.list_of_files(dataset), first, count)

    def changed_files(self, dataset: Dataset, limit: int = 20_000) -> list[str]:
        count = dataset.file_count or 0
        step = max(1, -(-count // limit))
        found = list(self._changes(dataset, step))
        if step > 1:
            found.insert(0, f"Only one in {step:,} of the {count:,} files was checked for changes since it was registered.")
        return found

    def _change_warnings(self, dataset: Dataset, sample_limit: int) -> tuple[list[str], bool]:
        """And whether a file was found changed, beside that only some were checked."""
        found = self.changed_files(dataset, sample_limit)
        changed = len(found) > int((dataset.file_count or 0) > sample_limit)
        if sample_limit == _FILES_CHECKED_ON_CHECK and not changed:
            return [], False
        return found[:5] + ([f"…and {len(found) - 5:,} files more."] if len(found) > 5 else []), changed

    def _changes(self, dataset: Dataset, step: int = 1) -> Iterator[str]:
        sample = islice(self._manifest(dataset), 0, None, step)
        return (sentence for file in sample if (sentence := changes_since_registration(dataset.root, file)))

    # ---- environments ---------------------------------------------------------------------------------------------------------

    def environments(self) -> list[Environment]:
        return self._store.all(Environment)

    def register_environment(self, name: str, interpreter: str) -> Environment:
        check_name("name", name)
        found = environments.environment(name, 0, environments.interpreter_at(interpreter))
        made = self._store.add(Environment, name, lambda version: replace(found, version=version))
        return self._store.get(Environment, name, made.version)

    def environment(self, reference: str | None, *, scored_model: str | None = None) -> Environment:
        if not reference:
            return _own_environment(int(time.monotonic() / _OWN_KNOWN_FOR))
        return self.resources.environment(reference)

    def create_environment(
        self,
        name: str,
        requirements: RequirementList,
        *,
        python: str | None = None,
        approved: str = "",
        allow_large: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> Environment:
        build = self.builds.start(name, requirements, python=python, approved=approved, allow_large=allow_large)
        return self.builds.wait(build, progress)

    def _environment_now(self, reference: str | None) -> Environment:
        """What is installed now in the environment of that reference, or in this program's own."""
        if not reference:
            return environments.environment("", 0, sys.executable)
        known = self.resources.environment(reference)
        try:
            return environments.environment(known.name, known.version, known.interpreter)
        except (NotFound, IntakeError) as error:
            advice = "Register it again, or choose another environment."
            raise type(error)(f"The environment {known} can't be used. {error.message}", advice) from error

    # ---- runs -----------------------------------------------------------------------------------------------------------------

    def mini_batches(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        submission.check_mini_batches(datasets, settings)
        return plan_mini_batches([runs.plan_dataset(dataset, settings.partition_keys) for dataset in datasets], settings)

    def check(self, request: RunRequest) -> list[str]:
        plan, warnings, _ = self._plan(request, sample_limit=_FILES_CHECKED_ON_CHECK)
        for reference in plan.request.datasets if request.new_only else ():
            new_items.check_can_grow(self.dataset(reference))
        return [*warnings, *plan_mini_batches(plan.datasets, plan.request.settings).notes]

    def try_items(
        self,
        request: RunRequest,
        *,
        items: int = 5,
        choice: str | Sequence[int] = "first",
        seconds: float = 10.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Trial:
        if request.failed_only:
            raise SettingsError("failed_only", "a rerun of failed items is not tried first", "Try the request that it reruns.")
        request = replace(request, new_only=False)
        plan, warnings, _ = self._plan(request, sample_limit=_FILES_CHECKED_ON_CHECK)
        tried = trial.try_items(self.home, plan, items, choice, seconds, stopped)
        return replace(tried, warnings=tuple(dict.fromkeys((*warnings, *tried.warnings))))

    def submit(self, request: RunRequest) -> Run:
        if request.new_only:
            return self._submit_new(request)
        plan, warnings, changed = self._plan(request, sample_limit=_FILES_CHECKED_ON_SUBMIT)
        read = [self.dataset(reference) for reference in (*plan.request.datasets, *plan.request.side_inputs.values())]
        changes = (sentence for dataset in read for sentence in self._changes(dataset))
        side_inputs = read[len(plan.request.datasets) :]
        inputs = reuse.inputs_of(plan, read) | reuse.changed_files([*changed, *side_inputs], _FILES_CHECKED_ON_SUBMIT)
        return self.runs.submit(replace(plan, inputs=inputs), warnings, changes)

    def _submit_new(self, request: RunRequest) -> Run:
        """Submit a run of what is new, once its datasets are read again. One at a time, so that nothing is scored by two."""
        with os_errors_as(WorkspaceUnavailable, f"The workspace's folder, {self.home}, can't be written"), self._one_by_one():
            if run := self._store.submitted_as(request.submission_id):
                return run
            look = self._look_for_new(request)
            if not look.found.count:
                new_items.note_gone(self.runs, look)
                raise look.found.nothing_new()
            grown = [self._registered_anew(one) for one in look.datasets]
            request = replace(request, datasets=tuple(dataset.reference for dataset in grown), rerun_of=look.found.adds_to or None)
            plan, warnings, _ = self._plan(request, sample_limit=_FILES_CHECKED_ON_CHECK)
            side_inputs = [self.dataset(reference) for reference in plan.request.side_inputs.values()]
            plan = replace(plan, inputs=reuse.inputs_of(plan, [*grown, *side_inputs]))
            return self.runs.submit(plan, [*look.found.warnings(), *warnings], iter(()), look)

    @contextmanager
    def _one_by_one(self) -> Iterator[None]:
        try:
            with FileLock(self.home / "new-only.lock").acquire(timeout=_ANOTHER_LOOK_SECONDS):
                yield
        except Timeout as error:
            text = "Another command has been reading a dataset's folder again for minutes"
            raise WorkspaceUnavailable(f"{text}.", "Wait for its end, and try again.") from error

    def new_items(self, request: RunRequest) -> NewItems:
        return self._look_for_new(request, first_too=False).found

    def _look_for_new(self, request: RunRequest, *, first_too: bool = True) -> Look:
        latest = [self.dataset(reference) for reference in request.datasets]
        plan, _, _ = self._plan(replace(request, new_only=True, rerun_of=None), sample_limit=1)
        side_inputs = [self.dataset(reference) for reference in plan.request.side_inputs.values()]
        plan = replace(plan, inputs=reuse.inputs_of(plan, [*latest, *side_inputs]))
        return new_items.look(self._store, self.runs, plan, latest, first_too=first_too)

    def _registered_anew(self, one: GrownDataset) -> Dataset:
        """The dataset as its folder is now: its latest version where that has the very same files, else a new one."""
        latest = self.dataset(one.dataset.name)
        if not one.is_read_anew:
            return one.dataset
        with staging_folder(self.home) as staging:
            of, root = one.dataset, new_items.place_of(one.dataset)
            reading = of.reading if isinstance(of, TabularDataset) else None
            found = datasets.inspect_dataset(root, of.glob, of.type, _of_sources(of), staging, reading, skip=one.is_waiting)
            if found.converted and latest.source_root:  # most of it once more, which takes its disk once
                file_tree.link_same_files(found.converted, Path(latest.root))
                if (latest.source_root, latest.manifest_sha256) == (str(root), found.manifest_sha256):
                    return latest
            elif latest.root == of.root and found.manifest_sha256 == latest.manifest_sha256:
                return latest
            return self._add_dataset(of.name, found, root, of.description, copied=False)

    def rerun(self, run_id: str, *, failed_only: bool = False) -> Run:
        return self.submit(self.runs.get(run_id).request_again(failed_only=failed_only))

    def replay(
        self,
        run_id: str,
        mini_batch: int,
        *,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[ReplayProgress], None] = lambda _: None,
    ) -> Replay:
        if self.runs.imported(run_id):
            raise StudioError(f"Run {run_id} was imported: its files are not here, so no mini-batch can be scored again.")
        return replay.replay(self._store.run(run_id), self.home, mini_batch, stopped, progress)

    def _plan(self, request: RunRequest, sample_limit: int) -> tuple[RunPlan, list[str], list[Dataset]]:
        """The plan, warnings, and the datasets of which a file was changed since they were registered."""
        request = request_here(self, request)
        if request.failed_only:
            submission.check_failed_only(self.runs.get(str(request.rerun_of)))
        if request.settings.worker_count > _MOST_WORKERS:
            text = f"{request.settings.worker_count:,} worker processes are more than this machine should start"
            raise SettingsError("node_count", text, f"Keep node count × processes per node at {_MOST_WORKERS:,} or fewer.")
        inputs = self._inputs(request, self._environment_now(request.environment))
        resolved = submission.resolve(request, inputs, approval=True)
        self._check_approval(Path(resolved.entry_script))
        warnings, changed = [], []
        for dataset in inputs.datasets:
            sentences, has_changed = self._change_warnings(dataset, sample_limit)
            warnings += [f"{dataset}: {sentence}" for sentence in sentences]
            changed += [dataset] if has_changed else []
            of_rows = Path(resolved.entry_script) == JOBLIB_SCRIPT and inputs.models and inputs.models[0].features is not None
            for first in self.dataset_files(dataset, 0, 1) if of_rows else ():
                model = inputs.models[0]
                unfit = first_row_warning(model, dataset, first.path, self.local_file(dataset, first.path), model.features)
                warnings += [unfit] if unfit else []
        if request.settings.worker_count > 2 * (cores := os.cpu_count() or 1):
            warnings.append(
                f"{request.settings.worker_count:,} worker processes share {counted(cores, 'core')}, and each loads the model: more of them"
                " than cores only help a script that waits, as for a network. Lower the node count or the processes per node."
            )
        if request.compute_target:
            warnings.append(f"compute_target {request.compute_target} has no meaning here: the run uses this machine.")
        items = None if request.failed_only else sum(dataset.item_count or 0 for dataset in inputs.datasets)
        warnings += self.storage.run_warnings(resolved, items)
        plan = runs.make_plan(resolved, inputs)
        return plan, [*warnings, *self.runs.environment_warnings(plan)], changed

    def _check_approval(self, script: Path) -> None:
        if not script.is_relative_to(self.home / "scripts") and not self._is_of_imported_run(script):
            return
        sha256 = hashlib.sha256(submission.read_script(script)).hexdigest()
        if not self._store.approved(sha256):
            text = f"the uploaded script {script.name} was not approved yet; its SHA-256 is {sha256}"
            hint = "A script is a program that runs on this machine: look at it, then approve it on the New run page."
            raise SettingsError("entry_script", text, hint)

    def _is_of_imported_run(self, script: Path) -> bool:
        """Whether it came in an archive, from wherever."""
        runs = self.home / "runs"
        if not script.is_relative_to(runs):
            return False
        try:
            return self.runs.imported(script.relative_to(runs).parts[0]) is not None
        except NotFound:
            return True

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        usage = shutil.disk_usage(self.home)
        yield "Folder can be written", os.access(self.home, os.W_OK), str(self.home)
        yield "Free disk space", usage.free > 1 << 30, f"{formats.size(usage.free)} of {formats.size(usage.total)}"
        yield "Python", True, f"{sys.version.split()[0]}, this program’s own: it runs the workers"
        for known in {known.name: known for known in reversed(self.environments())}.values():
            yield f"Environment {known}", os.access(known.interpreter, os.X_OK), f"Python {known.python_version}, {known.interpreter}"
        default = "the default number of worker processes of a run"
        yield "Cores", True, f"{os.cpu_count()}" + ("" if (found := gpus.visible()) else f": {default}")
        if found:
            yield "GPUs", True, f"{', '.join(found)}: each worker gets one; {default} is 1"
        for package in ("scikit-learn", "numpy", "pandas", "joblib", "azureml-core"):
            try:
                yield package, True, version(package)
            except PackageNotFoundError:
                if package == "azureml-core":  # an extra of the wheel
                    yield package, True, "not installed; the Model and Run that scripts import from it are this program's own"
                else:
                    yield package, False, "not installed; scripts that import it will fail"

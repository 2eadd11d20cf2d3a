"""LocalWorkspace: the verbs on this machine. No account, no cloud; everything lies in one folder, the home.

```
<home>/
  studio.db                     the registry
  models/<name>/<version>/      one file or folder each, as it was registered
  datasets/<name>/<version>/    manifest.jsonl, and files/ where it was copied in
  scripts/<sha256>/             uploaded scoring scripts
  runs/<id>/                    see run_folder.py
  incoming/                     what is just coming in
```
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from services import formats
from services.domain import (
    Dataset,
    DatasetFile,
    EntryScript,
    Environment,
    Failure,
    Model,
    Run,
    RunRequest,
    parse_reference,
    utc_now,
)
from services.errors import IntakeError, NotFound, SettingsError, WorkspaceUnavailable
from services.intake import datasets, entry_scripts, model_files, names
from services.intake.entry_scripts import EntryScripts
from services.intake.staging import move_or_copy, staging_folder
from services.local import environments, reuse, run_operations
from services.local.batching import plan_mini_batches
from services.local.run_folder import RunPlan
from services.predictions.annotations import AnnotationStore, RowKey
from services.predictions.provenance import Provenance, RowTrace
from services.settings import ParallelRunSettings
from services.storage import file_tree
from services.storage.manifest import read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.store import Store
from services.workspace import Capability

if TYPE_CHECKING:
    from services.predictions.reader import Predictions
    from services.sample import SampleMade

_FILES_CHECKED_ON_CHECK = 2_000  # files, some 10 ms: a page checks with every click
_FILES_CHECKED_ON_SUBMIT = 100_000


class LocalWorkspace:
    """The embedded default. Cheap to open; safe to open many times at once."""

    name = "local"
    capabilities = frozenset(
        {
            Capability.APPROVAL, Capability.CARRY_ON, Capability.FAILED_ONLY, Capability.FAILED_ROWS, Capability.RESUME,
            Capability.SAMPLE, Capability.TABULAR,
        }
    )  # fmt: skip

    def __init__(self, home: Path) -> None:
        """Open the workspace in `home`, making it where there is none. Raises WorkspaceUnavailable."""
        self.home = home.expanduser().absolute()
        try:
            for folder in ("models", "datasets", "scripts", "runs", "incoming"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnavailable(
                f"The workspace's folder, {self.home}, can't be made or written: {error.strerror or error}.",
                "Choose another one by --home or BATCH_SCORING_HOME, or mend its permissions.",
            ) from error
        self._store, self.annotations = Store(self.home), AnnotationStore(self.home)
        self._scripts = EntryScripts(self.home / "scripts", self._store.approved)
        self._runs = run_operations.RunOperations(self.home, self._store)

    @property
    def location(self) -> str:
        return str(self.home)

    def incoming(self) -> AbstractContextManager[Path]:
        return staging_folder(self.home)

    # ---- models ---------------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        return self._store.models()

    def model(self, reference: str) -> Model:
        return self._store.model(*parse_reference(reference, "model"))

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        names.check_name("name", name)
        source = Path(path).expanduser().absolute()
        model_files.inspect_model(source)  # what can't be taken isn't copied either
        with self.incoming() as staging:
            staged = staging / source.name
            move_or_copy(self.home, source, staged)
            content = model_files.inspect_model(staged)  # of the very bytes that the hash is of
            sha256, size = file_tree.sha256_of(staged), file_tree.size_of(staged)

            def move_into_place(number: int) -> Model:
                folder = self._version_folder("models", name, number)
                file_tree.protect(staged)
                os.replace(staged, folder / source.name)
                return Model(
                    name, number, str(folder / source.name), size, sha256, content.kind, utc_now(), description, dict(tags or {}),
                    content.needs_approval, False, content.imports, content.scanned_whole,
                )  # fmt: skip

            if approve:
                self._store.approve(sha256)
            added = self._store.add_model(name, move_into_place)
        return self._store.model(name, added.version)

    def approve(self, sha256: str) -> None:
        self._store.approve(sha256)

    def _version_folder(self, kind: str, name: str, number: int) -> Path:
        folder = self.home / kind / name / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # left by a registration that was killed half-way
        folder.mkdir(parents=True)
        return folder

    # ---- scoring scripts ------------------------------------------------------------------------------------------------------

    def entry_scripts(self) -> list[EntryScript]:
        return self._scripts.all()

    def add_entry_script(self, name: str, content: bytes) -> EntryScript:
        return self._scripts.add(name, content)

    # ---- datasets -------------------------------------------------------------------------------------------------------------

    def datasets(self) -> list[Dataset]:
        return self._store.datasets()

    def dataset(self, reference: str) -> Dataset:
        return self._store.dataset(*parse_reference(reference, "dataset"))

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
        root = Path(path).expanduser().absolute()
        copy = copy or root.is_relative_to(self.home / "incoming")
        with self.incoming() as staging:
            if copy:
                files = staging / "files"
                if not root.is_dir():
                    files.mkdir()
                move_or_copy(self.home, root, files if root.is_dir() else files / root.name)
                root = files
            found = datasets.inspect_dataset(root, glob, type, partition_format, staging)

            def move_into_place(number: int) -> Dataset:
                folder = self._version_folder("datasets", name, number)
                for lines in found.lists:
                    os.replace(lines, folder / lines.name)
                if copy:
                    os.replace(root, folder / "files")
                final_root = folder / "files" if copy else root if root.is_dir() else root.parent
                return found.dataset(name, number, final_root, folder, in_place=not copy, description=description)

            return self._store.add_dataset(name, move_into_place)

    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]:
        return list(self._manifest(dataset, first, count))

    def local_file(self, dataset: Dataset, path: str) -> Path:
        return Path(dataset.root, path)

    def _manifest(self, dataset: Dataset, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
        try:
            yield from read_manifest(datasets.list_of_files(dataset), first, count)
        except OSError as error:
            raise NotFound(
                f"The list of files of dataset {dataset} is gone: {error.strerror or error}.", "Register the dataset again."
            ) from error

    def changed_files(self, dataset: Dataset, limit: int = 20_000) -> list[str]:
        count = dataset.file_count or 0
        step = max(1, -(-count // limit))
        found = list(self._changes(dataset, step))
        if step > 1:
            found.insert(0, f"Only one in {step:,} of the {count:,} files was looked at for changes since it was registered.")
        return found

    def _change_warnings(self, dataset: Dataset, sample_limit: int) -> list[str]:
        found = self.changed_files(dataset, sample_limit)
        more = [f"…and {len(found) - 5:,} files more."] if len(found) > 5 else []
        return (
            []
            if sample_limit == _FILES_CHECKED_ON_CHECK and len(found) == 1 and (dataset.file_count or 0) > sample_limit
            else found[:5] + more
        )

    def _changes(self, dataset: Dataset, step: int = 1) -> Iterator[str]:
        looked_at = islice(self._manifest(dataset), 0, None, step)
        return (sentence for file in looked_at if (sentence := datasets.changes_since_registration(dataset.root, file)))

    # ---- environments ---------------------------------------------------------------------------------------------------------

    def environments(self) -> list[Environment]:
        return self._store.environments()

    def register_environment(self, name: str, interpreter: str) -> Environment:
        names.check_name("name", name)
        found = environments.environment(name, 0, environments.interpreter_at(interpreter))
        made = self._store.add_environment(name, lambda version: replace(found, version=version))
        return self._store.environment(name, made.version)

    def _environment_now(self, reference: str | None) -> Environment:
        """What is installed now in the environment of that reference, or in this program's own."""
        if not reference:
            return environments.environment("", 0, sys.executable)
        known = self._store.environment(*parse_reference(reference, "environment"))
        try:
            return environments.environment(known.name, known.version, known.interpreter)
        except (NotFound, IntakeError) as error:
            advice = "Register it again, or choose another environment."
            raise type(error)(f"The environment {known} can't be used. {error.message}", advice) from error

    # ---- runs -----------------------------------------------------------------------------------------------------------------

    def cut(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        run_operations.check_cut(datasets, settings)
        return plan_mini_batches([run_operations.plan_dataset(dataset, settings.partition_keys) for dataset in datasets], settings)

    def check(self, request: RunRequest) -> list[str]:
        return self._resolve(request, sample_limit=_FILES_CHECKED_ON_CHECK)[1]

    def submit(self, request: RunRequest) -> Run:
        plan, warnings = self._resolve(request, sample_limit=_FILES_CHECKED_ON_SUBMIT)
        read = [self.dataset(reference) for reference in (*plan.request.datasets, *plan.request.side_inputs.values())]
        changes = (sentence for dataset in read for sentence in self._changes(dataset))
        inputs = {} if request.failed_only else reuse.inputs_of(plan, read)
        return self._runs.submit(replace(plan, inputs=inputs), warnings, changes)

    def _resolve(self, request: RunRequest, sample_limit: int) -> tuple[RunPlan, list[str]]:
        datasets = [self.dataset(reference) for reference in request.datasets]
        models = [self.model(reference) for reference in request.models]
        self._runs.check_rerun(request)
        run_operations.check_settings(request, datasets)
        script = Path(request.entry_script).expanduser().absolute()
        self._check_script(script)
        for model in models:
            if not model.usable:
                raise SettingsError(
                    "model",
                    f"model {model} is a program ({model.kind}) and was not approved yet; its SHA-256 is {model.sha256}",
                    f"Approve it here or on the Models page, or by: model approve {model}",
                )
        side_inputs = {name: self.dataset(reference) for name, reference in request.side_inputs.items()}
        warnings = [f"{dataset}: {sentence}" for dataset in datasets for sentence in self._change_warnings(dataset, sample_limit)]
        if request.compute_target:
            warnings.append(f"compute_target {request.compute_target} has no meaning here: the run uses this machine.")
        plan = run_operations.make_plan(request, script, datasets, models, side_inputs, self._environment_now(request.environment))
        uncut = plan_mini_batches(plan.datasets, request.settings).notes
        return plan, [*warnings, *uncut, *self._runs.environment_warnings(plan)]

    def _check_script(self, script: Path) -> None:
        try:
            if not script.is_file():  # a device or a pipe would be read for ever
                raise NotFound(f"There is no scoring script {script}.", "Choose another script.")
            source = script.read_bytes()
        except OSError as error:
            raise NotFound(f"The scoring script {script} can't be read: {error.strerror or error}.", "Choose another script.") from error
        entry_scripts.check_entry_script(source, script.name)
        sha256 = hashlib.sha256(source).hexdigest()
        if script.is_relative_to(self.home / "scripts") and not self._store.approved(sha256):
            raise SettingsError(
                "entry_script",
                f"the uploaded script {script.name} was not approved yet; its SHA-256 is {sha256}",
                "A script is a program that runs on this machine: look at it, then approve it on the New run page.",
            )

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
        return self._runs.environment(run_id)

    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        return self._runs.failures(run_id, limit)

    def logs(self, run_id: str) -> dict[str, Path]:
        return self._runs.logs(run_id)

    def output(self, run_id: str) -> dict[str, Path]:
        return self._runs.output(run_id)

    def trace(self, run_id: str, key: RowKey, worker: str) -> RowTrace:
        return self._runs.trace(run_id, key, worker)

    def provenance(self, run_id: str) -> Provenance:
        return self._runs.provenance(run_id)

    def predictions(self, run_id: str) -> Predictions:
        return self._runs.predictions(run_id)

    # ---- the rest -------------------------------------------------------------------------------------------------------------

    def make_sample(self) -> SampleMade:
        from services.sample import make_sample

        return make_sample(self.home)

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        usage = shutil.disk_usage(self.home)
        yield "Folder can be written", os.access(self.home, os.W_OK), str(self.home)
        yield "Free disk space", usage.free > 1 << 30, f"{formats.size(usage.free)} of {formats.size(usage.total)}"
        yield "Python", True, f"{sys.version.split()[0]}, this program’s own: it runs the workers"
        for known in {known.name: known for known in reversed(self.environments())}.values():
            yield f"Environment {known}", os.access(known.interpreter, os.X_OK), f"Python {known.python_version}, {known.interpreter}"
        yield "Cores", True, f"{os.cpu_count()}: the default number of worker processes of a run"
        for package in ("scikit-learn", "numpy", "pandas", "joblib", "azureml-core"):
            try:
                yield package, True, version(package)
            except PackageNotFoundError:
                yield package, False, "not installed; scripts that import it will fail"

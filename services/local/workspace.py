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
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from services import file_tree, intake, model_files
from services.domain import DatasetFile, EntryScript, Failure, FileDataset, Model, Run, RunRequest, parse_reference, utc_now
from services.errors import IntakeError, NotFound, StudioError, WorkspaceUnavailable
from services.local import runs
from services.local.batching import manifest_line, read_manifest
from services.local.run_folder import RunPlan
from services.store import Store
from services.workspace import Capability

if TYPE_CHECKING:
    from services.predictions import Predictions
    from services.sample import SampleMade

BUILT_IN_SCRIPTS = Path(__file__).parents[2] / "batch_scripts"


def default_home() -> Path:
    """`BATCH_SCORING_HOME`, else the platform's folder for a user's data."""
    named = os.environ.get("BATCH_SCORING_HOME")
    return Path(named).expanduser() if named else user_data_path("batch-scoring-studio", appauthor=False)


class LocalWorkspace:
    """The embedded default. Cheap to open; safe to open many times at once."""

    name = "local"
    capabilities = frozenset({Capability.APPROVAL, Capability.RESUME, Capability.SAMPLE})

    def __init__(self, home: Path) -> None:
        """Open the workspace in `home`, making it where there is none. Raises WorkspaceUnavailable."""
        self.home = home.absolute()
        try:
            for folder in ("models", "datasets", "scripts", "runs", "incoming"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnavailable(
                f"The workspace's folder, {self.home}, can't be made or written: {error.strerror or error}.",
                "Choose another one by --home or BATCH_SCORING_HOME, or mend its permissions.",
            ) from error
        self._store = Store(self.home)
        self._runs = runs.Runs(self.home, self._store)

    @property
    def location(self) -> str:
        return str(self.home)

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        folder = self.home / "incoming" / uuid.uuid4().hex
        try:
            folder.mkdir()
        except OSError as error:
            raise WorkspaceUnavailable(f"Nothing can be written to {folder.parent}: {error.strerror or error}.") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # ---- models ---------------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        return self._store.models()

    def model(self, reference: str) -> Model:
        return self._store.model(*parse_reference(reference, "model"))

    def register_model(
        self, name: str, path: str | Path, *, description: str = "", tags: Mapping[str, str] | None = None, approve: bool = False
    ) -> Model:
        intake.check_name("name", name)
        source = Path(path).expanduser().absolute()
        content = model_files.inspect_model(source)
        with self.incoming() as staging:
            staged = staging / source.name
            self._bring(source, staged)
            sha256, size = file_tree.sha256_of(staged), file_tree.size_of(staged)

            def move_into_place(number: int) -> Model:
                folder = self._version_folder("models", name, number)
                os.replace(staged, folder / source.name)
                return Model(
                    name, number, str(folder / source.name), size, sha256, content.kind, utc_now(), description, dict(tags or {}),
                    content.needs_approval, False, content.imports, content.scanned_whole,
                )  # fmt: skip

            if approve:
                self._store.approve(sha256)
            self._store.add_model(name, move_into_place)
        return self.model(name)

    def approve(self, sha256: str) -> None:
        self._store.approve(sha256)

    def _bring(self, source: Path, target: Path) -> None:
        """Move what lies in this workspace's own incoming folder, copy anything else."""
        try:
            if source.is_relative_to(self.home / "incoming"):
                os.replace(source, target)
            elif source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)
        except OSError as error:
            raise IntakeError(
                f"“{source}” could not be copied in: {error.strerror or error}.", "Check the file and the free disk space."
            ) from error

    def _version_folder(self, kind: str, name: str, number: int) -> Path:
        folder = self.home / kind / name / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # left by a registration that was killed half-way
        folder.mkdir(parents=True)
        return folder

    # ---- scoring scripts ------------------------------------------------------------------------------------------------------

    def entry_scripts(self) -> list[EntryScript]:
        built_in = sorted(BUILT_IN_SCRIPTS.glob("[!_]*.py"), key=lambda path: (path.name != "batch_scoring_script.py", path.name))
        uploaded = sorted((self.home / "scripts").glob("*/*.py"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [self._entry_script(path, "built-in") for path in built_in] + [self._entry_script(path, "uploaded") for path in uploaded]

    def _entry_script(self, path: Path, origin: str) -> EntryScript:
        source = path.read_bytes()
        try:
            docstring = intake.check_entry_script(source, path.name)
        except StudioError as error:
            docstring = error.message
        sha256 = hashlib.sha256(source).hexdigest()
        return EntryScript(path.name, str(path), origin, sha256, origin == "built-in" or self._store.approved(sha256), docstring)

    def add_entry_script(self, name: str, content: bytes) -> EntryScript:
        safe = intake.safe_relative_path(name)
        if len(safe.parts) != 1 or safe.suffix != ".py":
            raise IntakeError(f"“{name}” is no Python script.", "Choose a file whose name ends in .py.")
        intake.check_entry_script(content, safe.name)
        folder = self.home / "scripts" / hashlib.sha256(content).hexdigest()
        try:
            folder.mkdir(exist_ok=True)
            incoming = folder / f".{uuid.uuid4().hex}"
            incoming.write_bytes(content)
            os.replace(incoming, folder / safe.name)
        except OSError as error:
            raise WorkspaceUnavailable(f"The script could not be kept in {folder}: {error.strerror or error}.") from error
        return self._entry_script(folder / safe.name, "uploaded")

    # ---- datasets -------------------------------------------------------------------------------------------------------------

    def datasets(self) -> list[FileDataset]:
        return self._store.datasets()

    def dataset(self, reference: str) -> FileDataset:
        return self._store.dataset(*parse_reference(reference, "dataset"))

    def register_dataset(self, name: str, path: str | Path, *, glob: str = "**", description: str = "", copy: bool = False) -> FileDataset:
        intake.check_name("name", name)
        root = Path(path).expanduser().absolute()
        copy = copy or root.is_relative_to(self.home / "incoming")
        with self.incoming() as staging:
            if copy:
                self._bring(root, staging / "files")
                root = staging / "files"
            manifest, count, size, digest = staging / "manifest.jsonl", 0, 0, hashlib.sha256()
            with open(manifest, "wb") as lines:
                for file in intake.collect_files(root, glob):
                    line = manifest_line(file)
                    lines.write(line)
                    digest.update(line)
                    count, size = count + 1, size + file.size

            def move_into_place(number: int) -> FileDataset:
                folder = self._version_folder("datasets", name, number)
                os.replace(manifest, folder / manifest.name)
                if copy:
                    os.replace(root, folder / "files")
                final_root = folder / "files" if copy else root if root.is_dir() else root.parent
                return FileDataset(
                    name, number, str(final_root), glob, not copy, count, size, str(folder / manifest.name), digest.hexdigest(),
                    utc_now(), description,
                )  # fmt: skip

            return self._store.add_dataset(name, move_into_place)

    def dataset_files(self, dataset: FileDataset, first: int, count: int) -> list[DatasetFile]:
        return list(self._manifest(dataset, first, count))

    def _manifest(self, dataset: FileDataset, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
        try:
            yield from read_manifest(Path(dataset.manifest), first, count)
        except OSError as error:
            raise NotFound(
                f"The list of files of dataset {dataset} is gone: {error.strerror or error}.", "Register the dataset again."
            ) from error

    def changed_files(self, dataset: FileDataset, limit: int = 20_000) -> list[str]:
        step = max(1, -(-dataset.file_count // limit))
        looked_at = islice(self._manifest(dataset), 0, None, step)
        found = [sentence for file in looked_at if (sentence := _what_changed(dataset.root, file))]
        if step > 1 and found:
            found.insert(0, f"Only every {step:,}th of {dataset.file_count:,} files was looked at.")
        return found

    # ---- runs -----------------------------------------------------------------------------------------------------------------

    def check(self, request: RunRequest) -> list[str]:
        return self._resolve(request)[1]

    def submit(self, request: RunRequest) -> Run:
        plan, warnings = self._resolve(request)
        return self._runs.submit(plan, warnings)

    def _resolve(self, request: RunRequest) -> tuple[RunPlan, list[str]]:
        datasets = [self.dataset(reference) for reference in request.datasets]
        models = [self.model(reference) for reference in request.models]
        runs.check_settings(request, datasets)
        script = Path(request.entry_script).expanduser().absolute()
        self._check_script(script)
        for model in models:
            if not model.usable:
                raise IntakeError(
                    f"Model {model} is a program ({model.kind}) and was not approved yet. Its SHA-256 is {model.sha256}.",
                    f"Approve it on the Models page, or by: model approve {model}",
                )
        side_inputs = {name: self.dataset(reference).root for name, reference in request.side_inputs.items()}
        warnings = [f"{dataset}: {sentence}" for dataset in datasets for sentence in self.changed_files(dataset)[:5]]
        if request.compute_target:
            warnings.append(f"compute_target {request.compute_target} has no meaning here: the run uses this machine.")
        return runs.make_plan(request, script, datasets, models, side_inputs), warnings

    def _check_script(self, script: Path) -> None:
        try:
            source = script.read_bytes()
        except OSError as error:
            raise NotFound(f"The scoring script {script} can't be read: {error.strerror or error}.", "Choose another script.") from error
        intake.check_entry_script(source, script.name)
        sha256 = hashlib.sha256(source).hexdigest()
        if script.is_relative_to(self.home / "scripts") and not self._store.approved(sha256):
            raise IntakeError(
                f"The uploaded script {script.name} was not approved yet. Its SHA-256 is {sha256}.",
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

    def rerun(self, run_id: str) -> Run:
        return self.submit(self._runs.request_again(run_id))

    def failures(self, run_id: str, limit: int = 100) -> list[Failure]:
        return self._runs.failures(run_id, limit)

    def logs(self, run_id: str) -> dict[str, Path]:
        return self._runs.logs(run_id)

    def output(self, run_id: str) -> dict[str, Path]:
        return self._runs.output(run_id)

    def predictions(self, run_id: str) -> Predictions:
        return self._runs.predictions(run_id)

    # ---- the rest -------------------------------------------------------------------------------------------------------------

    def make_sample(self) -> SampleMade:
        from services.sample import make_sample

        return make_sample(self.home)

    def self_check(self) -> Iterable[tuple[str, bool, str]]:
        usage = shutil.disk_usage(self.home)
        yield "Folder can be written", os.access(self.home, os.W_OK), str(self.home)
        yield "Free disk space", usage.free > 1 << 30, f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB"
        yield "Python", True, f"{sys.version.split()[0]}, this program’s own: it runs the workers"
        yield "Cores", True, f"{os.cpu_count()}: the default number of worker processes of a run"
        for package in ("scikit-learn", "numpy", "pandas", "joblib", "azureml-core"):
            try:
                yield package, True, version(package)
            except PackageNotFoundError:
                yield package, False, "not installed; scripts that import it will fail"


def _what_changed(root: str, file: DatasetFile) -> str | None:
    try:
        now = os.stat(os.path.join(root, file.path))
    except OSError:
        return f"{file.path} is gone since it was registered."
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
        return f"{file.path} was changed since it was registered."
    return None

"""Datasets: uploaded and registered, or registered in place; their files listed without downloading any."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from filelock import FileLock

from services.azure.catalog import downloads
from services.azure.catalog.uploads import upload_files
from services.azure.sdk import DatasetVersion, NewDataset, Progress, ReadsOtherwise, Sdk
from services.domain import Dataset, DatasetFile, FileDataset, Metadata, TabularDataset, utc_now
from services.errors import IntakeError, NotFound, SettingsError, WorkspaceUnavailable
from services.file_names import short
from services.formats import counted
from services.intake import datasets
from services.intake.datasets import DatasetInspection, DatasetOptions
from services.intake.partition_format import PartitionFormat
from services.intake.tabular import CSV, FILES, MANIFEST, PARQUET, Table
from services.settings import ParallelRunSettings
from services.storage.atomic import write_atomically
from services.storage.file_tree import path_given, sha256_of_files
from services.storage.manifest import manifest_line, read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.serialization import from_builtins, to_builtins

TAG = "batch_scoring_studio"
"""The tag that carries what only the uploader knew, as JSON."""
_MAX_TAG = 4_000
"""Characters of the columns in it, and of the problems; more of them are known on the machine that registered the dataset only."""
_FIELDS = {
    "root": "root", "glob": "glob", "files": "file_count", "bytes": "size", "sha256": "manifest_sha256", "left_out": "left_out",
    "partition_format": "partition_format", "notes": "notes", "format": "format", "rows": "row_count", "columns": "columns",
    "types": "column_types", "source_format": "source_format", "dialect": "dialect", "item_kind": "item_kind",
    "problem_count": "problem_count",
}  # fmt: skip
"""What the tag calls the fields of a dataset."""
DATASTORE_PATH = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.+)")
"""Its groups are the datastore's name, and the path there."""


class Datasets:
    """The datasets of one workspace. The list of a dataset's files is kept in `folder`/<name>/<version>/: manifest.jsonl, of a tabular one
    files.jsonl."""

    def __init__(self, sdk: Sdk, folder: Path) -> None:
        self._sdk, self._session = sdk.datasets, sdk.session
        self._folder = folder
        self._listing: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by reference: two pages list a dataset's files once

    # ---- lists --------------------------------------------------------------------------------------------------------------------

    def all(self, known: Iterable[Dataset] = ()) -> list[Dataset]:
        """All versions of all datasets, newest first. What they consist of never changes, so those `known` aren't asked for again."""
        by_reference, listed = {dataset.reference: dataset for dataset in known}, []
        with self._session.sdk_calls("The datasets can't be listed"):
            for version in self._sdk.all(by_reference):
                dataset = by_reference.get(version.reference) or self._dataset(version)
                listed.append(replace(dataset, description=version.description, tags=tags_of_people(version.tags)))
        return sorted(listed, key=lambda dataset: (dataset.created_at, dataset.version), reverse=True)

    def _dataset(self, registered: DatasetVersion) -> Dataset:
        """The service's dataset as ours. Of one registered elsewhere nothing is counted yet: None."""
        name, version, made_at = registered.name, registered.version, registered.created_at or utc_now()
        file_count, size, sha256 = self._counts(self._list_file(name, version, tabular=registered.tabular))
        manifest = str(self._list_file(name, version))
        common = (name, version, registered.root, "**", True, file_count, size, manifest, sha256, made_at)
        known: Dataset = FileDataset(*common)
        if registered.tabular:
            known = TabularDataset(*common, format=registered.format, row_count=None)
        try:
            return from_builtins(to_builtins(known) | _fields_of(registered.tags.get(TAG, "{}")), Dataset)
        except (ValueError, TypeError, AttributeError, KeyError):  # whatever somebody else wrote there
            return known

    # ---- registering ------------------------------------------------------------------------------------------------------------------

    def register(self, name: str, path: str | Path, options: DatasetOptions, staging: Path, progress: Progress) -> Dataset:
        """Upload the files of a folder of this machine, or of an archive, which is unpacked first, and register them; or register files in
        place, in a datastore as `azureml://datastores/NAME/paths/PATH` or at an https address: then no row is read, so how many there are
        is not known.

        Raises SettingsError, IntakeError, WorkspaceUnavailable.
        """
        datasets.check_type(options.type)
        if is_elsewhere(path):
            inspection = self._inspect_in_place(str(path), options, staging)
            return self._register(name, inspection, str(path), options.description, multi_line=False, uploaded=False)
        root = path_given(path)
        archive = None if options.keep_archive else datasets.unpack_archive(root, staging)
        root = staging / "files" if archive else root
        inspect = partial(datasets.inspect_dataset, root, options.glob, options.type, options.partition_format, staging, options.reading)
        inspection, multi_line = inspect(), False
        base = root if root.is_dir() else root.parent
        if inspection.table:
            paths = [base / file.path for file in read_manifest(inspection.lists[-1])]
            with self._session.sdk_calls(f"Dataset {name} was not registered", "name"):
                try:
                    table, multi_line = self._sdk.as_read(paths, inspection.table)
                    inspection = replace(inspection, table=table)
                except ReadsOtherwise:
                    inspection = inspect(as_parquet=True)
        inspection = inspection.unpacked_from(archive)
        base = inspection.converted or base
        files = list(read_manifest(inspection.lists[-1]))
        if refused := [file.path for file in files if self._sdk.changed_characters & set(file.path)]:
            characters = " ".join(sorted(self._sdk.changed_characters))
            text = f"“{short(refused[0])}” can't be uploaded under its name: the SDK changes {characters} in a name."
            raise IntakeError(text, "Rename it, or upload it with another tool and register the dataset in place.")
        paths_by_name = {file.path: base / file.path for file in files}
        target = f"batch-scoring-studio/{name}/{sha256_of_files(paths_by_name.items())[:16]}"
        with self._session.sdk_calls(f"Dataset {name} was not registered", "name"):
            store = self._sdk.store()
            upload_files(store.blobs, target, paths_by_name, progress)
        uri = f"azureml://datastores/{store.name}/paths/{target}"
        return self._register(name, inspection, uri, options.description, multi_line=multi_line, uploaded=True)

    def _inspect_in_place(self, uri: str, options: DatasetOptions, staging: Path) -> DatasetInspection:
        """What lies at `uri`, its list written into `staging`."""
        with self._session.sdk_calls("The dataset was not registered", "path"):
            files = self._sdk.files_at(uri)
        if not files:
            hint = "Check the spelling. Give a folder in the datastore, or a pattern such as folder/**/*.csv."
            raise IntakeError(f"There is no file at {uri}.", hint)
        table = None
        if options.type == TabularDataset.type:
            parquet = files[0].path.lower().endswith((".parquet", ".pq"))
            table = Table(PARQUET if parquet else CSV, (), None)
        manifest = staging / (FILES if table else MANIFEST)
        manifest.write_bytes(b"".join(map(manifest_line, files)))
        _, size, sha256 = self._counts(manifest)
        return DatasetInspection((manifest,), sha256, len(files), size or 0, "**", options.partition_format, table, {})

    def _register(
        self, name: str, inspection: DatasetInspection, uri: str, description: str, *, multi_line: bool, uploaded: bool
    ) -> Dataset:
        """Register what lies at `uri`, and keep its lists."""
        found = inspection.dataset(name, 0, Path(), Path(), in_place=not uploaded, description=description)
        place, keys = f"{uri}/**" if uploaded else uri, azure_partition_format(inspection.partition_format)
        own = {TAG: _tag(replace(found, root=uri))}
        with self._session.sdk_calls(f"Dataset {name} was not registered", "name" if uploaded else "path"):
            there = self._sdk.register(NewDataset(name, place, inspection.table, multi_line, keys, description, own))
        manifest = self._list_file(name, there.version)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        for lines in inspection.lists:
            shutil.move(lines, manifest.parent / lines.name)
        about: dict[str, Any] = {"description": there.description, "tags": tags_of_people(there.tags)}
        return replace(found, version=there.version, root=uri, manifest=str(manifest), **about)

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        """As `sdk.Datasets.describe`; the tags are those that people gave."""
        if TAG in (tags or {}):
            raise SettingsError("tags", f"the tag “{TAG}” is this program’s own on Azure ML", "Choose another key.")
        with self._session.changing("tags" if tags else "note", f"dataset {self._said(reference)}"):
            said = self._sdk.describe(reference, note=note, tags=tags)
        return replace(said, tags=tags_of_people(said.tags))

    def unregister(self, reference: str) -> None:
        """As `sdk.Datasets.unregister`."""
        with self._session.sdk_calls(f"Dataset {self._said(reference)} was not deleted", "dataset"):
            self._sdk.unregister(reference)

    def _said(self, reference: str) -> str:
        """What these two act on, in a message."""
        return reference if self._sdk.versions_apart else reference.partition(":")[0]

    # ---- their files ------------------------------------------------------------------------------------------------------------------

    def file_list(self, dataset: Dataset) -> Path:
        """The path of the list of the dataset's files (names and sizes), fetched once. Raises NotFound, WorkspaceUnavailable."""
        path = self._list_file(dataset.name, dataset.version, tabular=isinstance(dataset, TabularDataset))
        with self._listing[dataset.reference]:
            if not path.exists():
                with self._session.sdk_calls(f"Dataset {dataset} can't be opened"):
                    files = list(self._sdk.files(dataset))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, b"".join(map(manifest_line, files)))
        return path

    def only_file(self, datasets: Sequence[Dataset]) -> str:
        """The path of the one file of all datasets; "" where there are more, or they aren't counted."""
        return next(read_manifest(self.file_list(datasets[0]))).path if [dataset.file_count for dataset in datasets] == [1] else ""

    def with_file_count(self, dataset: Dataset) -> Dataset:
        """The same with its files counted, where they weren't yet and can be."""
        if dataset.file_count:
            return dataset
        try:
            count, size, sha256 = self._counts(self.file_list(dataset))
        except NotFound:
            return dataset
        return replace(dataset, file_count=count, size=size, manifest_sha256=sha256)

    def _counts(self, manifest: Path) -> tuple[int | None, int | None, str]:
        """The number of files, their bytes, and the manifest's SHA-256; None, None and "" where it isn't there."""
        if not manifest.exists():
            return None, None, ""
        sizes = [file.size for file in read_manifest(manifest)]
        return len(sizes), sum(sizes), hashlib.sha256(manifest.read_bytes()).hexdigest()

    def download(self, dataset: Dataset, folder: Path) -> Path:
        """All files of a dataset, below `folder`; that, or the path of the only one. Raises NotFound, WorkspaceUnavailable."""
        with self._session.sdk_calls(f"The files of {dataset} could not be fetched"):
            self._sdk.download(dataset, folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return files[0] if len(files) == 1 else folder

    def changes(self, dataset: Dataset) -> Iterator[str]:
        """A sentence for each file that is gone or changed its size since it was registered. Lists the files again, once."""
        with self._session.sdk_calls(f"Dataset {dataset} can't be opened"):
            sizes = {file.path: file.size for file in self._sdk.files(dataset)}
        for file in read_manifest(self.file_list(dataset)):
            if file.path not in sizes:
                yield f"{file.path} is gone since it was registered."
            elif sizes[file.path] != file.size:
                yield f"{file.path} was changed since it was registered."

    def fetch(self, dataset: Dataset, path: str, progress: Progress) -> Path:
        """Download one file, whole; `progress` gets the bytes that have arrived and the bytes in all. Raises NotFound,
        WorkspaceUnavailable."""
        files = list(read_manifest(self.file_list(dataset)))
        number = next((number for number, file in enumerate(files) if file.path == path), None)
        if number is None:
            raise NotFound(f"There is no file “{path}” in dataset {dataset}.", "The dataset's page lists its files.")
        folder = self._folder / dataset.name / str(dataset.version) / "fetched" / hashlib.sha256(path.encode()).hexdigest()[:16]
        target = folder / downloads.relative_path(path).name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not target.is_file():
                with self._session.sdk_calls(f"{path} could not be fetched"):
                    root_is_folder = "*" not in dataset.root and not (dataset.in_place and len(files) == 1)
                    match = DATASTORE_PATH.fullmatch(dataset.root) if root_is_folder else None
                    if match and (container := self._sdk.store(match[1]).container):
                        blob = container.get_blob_client(f"{match[2]}/{path}").get_blob_properties()
                        downloads.fetch(container, {target: blob}, progress)
                    else:
                        self._fetch_by_sdk(dataset, number, files[number], target)
        return target

    def _fetch_by_sdk(self, dataset: Dataset, number: int, file: DatasetFile, target: Path) -> None:
        incoming = target.parent / "coming"
        shutil.rmtree(incoming, ignore_errors=True)  # the SDK continues nothing, and what an earlier download left may not be whole
        self._sdk.download(dataset, incoming, number)
        downloaded = next((path for path in incoming.rglob("*") if path.is_file()), None)
        if downloaded is None or downloaded.stat().st_size != file.size:
            raise WorkspaceUnavailable(f"{file.path} did not arrive whole.", "Try again.")
        os.replace(downloaded, target)
        shutil.rmtree(incoming, ignore_errors=True)

    def _list_file(self, name: str, version: int, *, tabular: bool = False) -> Path:
        return self._folder / name / str(version) / (FILES if tabular else MANIFEST)

    # ---- their mini-batches -----------------------------------------------------------------------------------------------------------

    def mini_batches(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        """How a run cuts them, as far as that is known before Azure ML does it. They fit the settings and have their files counted."""
        processes = settings.process_count_per_node
        on = counted(settings.node_count, "node") + (f" of {counted(processes, 'worker')}" if processes else "")
        return replace(self._mini_batches(datasets, settings), on=on)

    def _mini_batches(self, datasets: Sequence[Dataset], settings: ParallelRunSettings) -> MiniBatchPlan:
        first, counts = datasets[0], [dataset.item_count for dataset in datasets]
        items = None if None in counts else sum(count or 0 for count in counts)
        if settings.partition_keys:
            batches = sum(self._count_of_keys(dataset, settings.partition_keys) for dataset in datasets)
            each = f", one for each {' and '.join(settings.partition_keys)}"
            return MiniBatchPlan(first.item, items, batches, each, estimated=not items)
        if not isinstance(first, TabularDataset):
            return MiniBatchPlan.of_files((dataset.file_count or 0 for dataset in datasets), settings.units_in_a_mini_batch(tabular=False))
        try:
            sizes = [file.size for dataset in datasets for file in read_manifest(self.file_list(dataset))]
        except NotFound:
            sizes = []
        if not sizes or not all(dataset.item_count for dataset in datasets):
            note = "How many rows and mini-batches there are is not known here: Azure ML cuts tabular datasets by bytes when it runs."
            return MiniBatchPlan(first.item, None, None, "", (note,), estimated=True)
        units = settings.units_in_a_mini_batch(tabular=True)
        size = settings.resolved(tabular=True).mini_batch_size or ""
        each = f" of {counted(units, 'byte') if size.isdecimal() else size}"
        return MiniBatchPlan(first.item, items, sum(max(1, -(-size // units)) for size in sizes), each, estimated=True)

    def _count_of_keys(self, dataset: Dataset, keys: tuple[str, ...]) -> int:
        value_of = PartitionFormat.parse(dataset.partition_format).values_of(keys)
        return len({str(value_of(file.path)) for file in read_manifest(self.file_list(dataset))})


def is_elsewhere(path: str | Path) -> bool:
    """Whether it is an address, and no path of this machine."""
    return re.match(r"(azureml|https?)://", str(path)) is not None


def tags_of_people(tags: Mapping[str, str] | None) -> dict[str, str]:
    """Without this program's own."""
    return {str(key): str(value) for key, value in (tags or {}).items() if key != TAG}


def _tag(dataset: Dataset) -> str:
    """What Azure ML doesn't store, and another machine would have to count."""
    values = to_builtins(dataset)
    tag = {key: value for key, field in _FIELDS.items() if (value := values.get(field)) or value == 0}
    if not dataset.in_place:
        tag["uploaded"] = True
    if len(json.dumps(tag.get("columns"))) > _MAX_TAG:
        tag = {key: value for key, value in tag.items() if key not in ("columns", "types")}
    if dataset.problem_count:
        problems = [(problem.file, problem.what) for problem in dataset.problems]
        sizes = accumulate(len(json.dumps(problem)) for problem in problems)
        tag["problems"] = [problem for problem, size in zip(problems, sizes, strict=True) if size <= _MAX_TAG]  # the first of them
    return json.dumps(tag)


def _fields_of(tag: str) -> dict[str, Any]:
    """The fields of a dataset that its tag tells. Raises whatever JSON of another shape gives."""
    values = json.loads(tag)
    problems = [{"file": file, "what": what} for file, what in values.get("problems", ())]
    told = {field: values[key] for key, field in _FIELDS.items() if values.get(key) not in (None, "")}
    return told | {"in_place": not values.get("uploaded", False), "problems": problems}


def azure_partition_format(partition_format: str) -> str | None:
    """As Azure ML wants it, which is to begin where a folder does; None without one."""
    return f"/{partition_format.lstrip('/')}" if partition_format else None

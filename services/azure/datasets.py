"""File datasets: uploaded and registered, or registered where they lie; their files listed without fetching any.

An upload is verified: `Dataset.File.upload_directory` swallows what goes wrong and leaves empty files. It goes in parts, to a place named
by what is in it, so one that was broken off goes on where it was when it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import file_tree, intake
from services.azure.session import Session
from services.domain import Dataset, DatasetFile, FileDataset, TabularDataset, utc_now
from services.errors import IntakeError, NotFound, SettingsError, WorkspaceUnavailable
from services.manifest import manifest_line, read_manifest
from services.partition_format import PartitionFormat

if TYPE_CHECKING:
    from azureml.data import FileDataset as SdkFileDataset

ABOUT = "batch_scoring_studio"
"""The tag that carries what only the uploader knew, as JSON."""
_PART_FILES, _PART_BYTES = 500, 64_000_000
_TRIES = 3
_HARMED = set('"%&*:<>?|')
"""What upload_directory writes as %22 and so on, for good."""
Progress = Callable[[int, int], None]
"""Called with the number of files that have arrived, and of all."""
_PLACE = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.+)")


class Datasets:
    """Those of one workspace. What is known of their files is kept in `folder`/<name>/<version>/manifest.jsonl."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._listing: dict[str, threading.Lock] = defaultdict(threading.Lock)  # a page drawn again meanwhile waits, and asks nothing

    # ---- lists --------------------------------------------------------------------------------------------------------------------

    def all(self, known: Iterable[Dataset] = ()) -> list[Dataset]:
        """All versions of all datasets, newest first. Versions never change, so those `known` aren't asked for again.

        `list(workspace.datasets)` is always empty, and its values cost two calls each; this is the one call that is behind it.
        """
        kept = {dataset.reference: dataset for dataset in known}
        found: list[Dataset] = []
        with self._session.asking("The datasets can't be listed") as workspace:
            from azureml.data._dataset_rest_helper import _custom_headers, _make_request, _restclient

            place = (workspace.subscription_id, workspace.resource_group, workspace.name)
            client, more = _restclient(workspace).dataset, {"custom_headers": _custom_headers}

            def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
                token = None
                while True:
                    fine, answer = _make_request(lambda: ask(token))
                    if not fine:
                        raise answer
                    yield from answer.value
                    if not (token := answer.continuation_token):
                        return

            def listed(token: str | None) -> Any:
                return client.list(*place, include_latest_definition=True, continuation_token=token, page_size=100, **more)

            def versions(dataset_id: str, token: str | None) -> Any:
                return client.get_all_dataset_definitions(*place, dataset_id, continuation_token=token, **more)

            for one in pages(listed):
                newest = int(one.latest.version_id)
                references = [f"{one.name}:{version}" for version in range(1, newest + 1)]
                if references[-1] not in kept:
                    kept[references[-1]] = self._noun(one, one.latest)
                if not kept.keys() >= set(references):
                    for older in pages(partial(versions, one.dataset_id)):
                        made = self._noun(one, older)
                        kept.setdefault(made.reference, made)
                found += [kept[reference] for reference in references if reference in kept]
        return sorted(found, key=lambda dataset: (dataset.created_at, dataset.version), reverse=True)

    def _noun(self, registered: Any, definition: Any) -> Dataset:
        """The service's dataset as ours. Of one registered elsewhere the files are not counted yet: 0. Tags are of the latest version."""
        try:
            about = json.loads((registered.tags or {}).get(ABOUT, "{}")) if definition.version_id == registered.latest.version_id else {}
        except ValueError:
            about = {}
        known = self._counted(registered.name, int(definition.version_id))
        kind = TabularDataset if registered.dataset_type == "tabular" else FileDataset
        return kind(
            name=registered.name,
            version=int(definition.version_id),
            root=str(about.get("root") or _root_of(definition.dataflow or "")),
            glob=str(about.get("glob", "**")),
            in_place=not about.get("uploaded", False),
            file_count=int(about.get("files", 0)) or known[0],
            size=int(about.get("bytes", 0)) or known[1],
            manifest=str(self._manifest_file(registered.name, int(definition.version_id))),
            manifest_sha256=str(about.get("sha256", "")) or known[2],
            created_at=definition.created_time or registered.created_time or utc_now(),
            description=registered.description or "",
            partition_format=str(about.get("partition_format", "")),
        )

    # ---- registering ------------------------------------------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        path: str | Path,
        *,
        glob: str,
        partition_format: str,
        description: str,
        staging: Path,
        progress: Progress,
    ) -> Dataset:
        """Upload the files of a folder of this machine and register them; or register what lies in a datastore already, given as
        `azureml://datastores/NAME/paths/PATH`, or at an https address."""
        if re.match(r"(azureml|https?)://", str(path)):
            return self._register_in_place(name, str(path), partition_format, description)
        root = Path(path).expanduser().absolute()
        keys = PartitionFormat.parse(partition_format) if partition_format else None
        files = list(intake.collect_files(root, glob))
        for file in files if keys else ():
            if keys and keys.values(file.path) is None:
                text = f"The path “{file_tree.short(file.path)}” is not of the partition format “{file_tree.short(partition_format)}”."
                raise IntakeError(text, "The format goes from the first key to the end of the path; a key’s value holds no / and no dot.")
        if harmed := [file.path for file in files if set(file.path) & _HARMED]:
            text = (
                f"“{file_tree.short(harmed[0])}” can't be uploaded under its name: the SDK changes {' '.join(sorted(_HARMED))} in a name."
            )
            raise IntakeError(text, "Rename it, or bring it there by another tool and register the dataset where it lies.")
        base = root if root.is_dir() else root.parent
        target = f"batch-scoring-studio/{name}/{_content_of(base, files)[:16]}"
        with self._session.asking(f"Dataset {name} was not registered", "name") as workspace:
            from azureml.core import Dataset as SdkDataset

            store = workspace.get_default_datastore()
            self._upload(base, files, store, target, staging, progress)
            made = SdkDataset.File.from_files((store, f"{target}/**"), validate=False, partition_format=_for_azure(partition_format))
            manifest = b"".join(map(manifest_line, files))
            about = {
                "root": f"azureml://datastores/{store.name}/paths/{target}",
                "glob": glob,
                "uploaded": True,
                "files": len(files),
                "bytes": sum(file.size for file in files),
                "sha256": hashlib.sha256(manifest).hexdigest(),
            } | ({"partition_format": partition_format} if partition_format else {})
            registered = made.register(workspace, name, description or None, {ABOUT: json.dumps(about)}, create_new_version=True)
        return self._kept(name, int(registered.version), about, manifest, description)

    def _register_in_place(self, name: str, place: str, partition_format: str, description: str) -> Dataset:
        with self._session.asking(f"Dataset {name} was not registered", "path") as workspace:
            from azureml.core import Dataset as SdkDataset
            from azureml.core import Datastore

            source: Any = place
            if match := _PLACE.fullmatch(place):
                source = (Datastore.get(workspace, match[1]), match[2])
            elif place.startswith("azureml"):
                raise SettingsError("path", f"“{place}” is no place in a datastore", "Write azureml://datastores/NAME/paths/PATH.")
            made = SdkDataset.File.from_files(source, validate=False, partition_format=_for_azure(partition_format))
            files = _found(made)
            if not files:
                hint = "Is the path spelled as it is there? Give a folder in the datastore, or a pattern such as folder/**/*.csv."
                raise IntakeError(f"There is no file at {place}.", hint)
            manifest = b"".join(map(manifest_line, files))
            about = {"root": place, "files": len(files), "bytes": sum(file.size for file in files), "glob": "**"}
            about |= {"sha256": hashlib.sha256(manifest).hexdigest()} | ({"partition_format": partition_format} if partition_format else {})
            registered = made.register(workspace, name, description or None, {ABOUT: json.dumps(about)}, create_new_version=True)
        return self._kept(name, int(registered.version), about, manifest, description)

    def _kept(self, name: str, version: int, about: dict[str, Any], manifest: bytes, description: str) -> Dataset:
        path = self._manifest_file(name, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest)
        return FileDataset(
            name, version, about["root"], about["glob"], not about.get("uploaded", False), about["files"], about["bytes"], str(path),
            about["sha256"], utc_now(), description, about.get("partition_format", ""),
        )  # fmt: skip

    def _upload(
        self, base: Path, files: list[DatasetFile], store: Any, target: str, staging: Path, progress: Callable[[int, int], None]
    ) -> None:
        """Bring the files to `target` and make sure that each is there whole. Raises WorkspaceUnavailable for what is not, even after
        trying again."""
        from azureml.core import Dataset as SdkDataset

        there = _sizes_below(store, target)
        for number, part in enumerate(_parts(file for file in files if there.get(file.path) != file.size)):
            folder = staging / f"part-{number}"
            for attempt in range(_TRIES):
                for file in part:
                    _link(base / file.path, folder / file.path)
                SdkDataset.File.upload_directory(str(folder), (store, target), overwrite=bool(attempt or there), show_progress=False)
                shutil.rmtree(folder)
                there = _sizes_below(store, target)
                part = [file for file in part if there.get(file.path) != file.size]  # noqa: PLW2901 - what is left to do
                if not part:
                    break
            if part:
                sizes = f"{part[0].path}: {there.get(part[0].path, 0):,} of {part[0].size:,} bytes are there"
                text = f"{len(part):,} of {len(files):,} files did not arrive whole, though the upload was tried {_TRIES} times ({sizes})."
                raise WorkspaceUnavailable(
                    text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?"
                )
            progress(sum(there.get(file.path) == file.size for file in files), len(files))

    # ---- their files ------------------------------------------------------------------------------------------------------------------

    def manifest(self, dataset: Dataset) -> Path:
        """The list of the dataset's files, asked for once: names and sizes, no content. Raises NotFound, WorkspaceUnavailable."""
        path = self._manifest_file(dataset.name, dataset.version)
        if dataset.type != FileDataset.type:
            raise NotFound(f"The files of the tabular dataset {dataset} are not listed here.", "Azure ML studio shows them.")
        with self._listing[dataset.reference]:
            if not path.exists():
                files = list(_listed(self.sdk(dataset)))
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_suffix(f".{os.getpid()}")
                unfinished.write_bytes(b"".join(map(manifest_line, files)))
                os.replace(unfinished, path)
        return path

    def counted(self, dataset: Dataset) -> Dataset:
        """The same with its files counted, where they weren't yet."""
        if dataset.file_count or dataset.type != FileDataset.type:
            return dataset
        self.manifest(dataset)
        count, size, sha256 = self._counted(dataset.name, dataset.version)
        return replace(dataset, file_count=count, size=size, manifest_sha256=sha256)

    def _counted(self, name: str, version: int) -> tuple[int, int, str]:
        path = self._manifest_file(name, version)
        if not path.exists():
            return 0, 0, ""
        sizes = [file.size for file in read_manifest(path)]
        return len(sizes), sum(sizes), hashlib.sha256(path.read_bytes()).hexdigest()

    def changes(self, dataset: Dataset) -> Iterator[str]:
        """A sentence for each file that isn't there as it was, by its size; asks for the list once."""
        now = {file.path: file.size for file in _listed(self.sdk(dataset))}
        for file in read_manifest(self.manifest(dataset)):
            if file.path not in now:
                yield f"{file.path} is gone since it was registered."
            elif now[file.path] != file.size:
                yield f"{file.path} was changed since it was registered."

    def fetch(self, dataset: Dataset, path: str) -> Path:
        """This one file, on this machine."""
        names = [file.path for file in read_manifest(self.manifest(dataset))]
        if path not in names:
            raise NotFound(f"There is no file “{path}” in dataset {dataset}.", "Look at the list of its files.")
        folder = self._folder / dataset.name / str(dataset.version) / "fetched" / hashlib.sha256(path.encode()).hexdigest()[:16]
        found = [file for file in folder.rglob("*") if file.is_file()]
        if not found:
            with self._session.asking(f"{path} could not be fetched") as workspace:
                if match := _PLACE.fullmatch(dataset.root) if "*" not in dataset.root else None:
                    from azureml.core import Dataset as SdkDataset
                    from azureml.core import Datastore

                    one = SdkDataset.File.from_files((Datastore.get(workspace, match[1]), f"{match[2]}/{path}"), validate=False)
                else:
                    one = self.sdk(dataset).skip(names.index(path)).take(1)
                one.download(str(folder), overwrite=True)
            found = [file for file in folder.rglob("*") if file.is_file()]
        return found[0]

    def sdk(self, dataset: Dataset) -> SdkFileDataset:
        """The SDK's own object for it: what a ParallelRunStep takes as its input."""
        with self._session.asking(f"Dataset {dataset} can't be opened") as workspace:
            from azureml.core import Dataset as SdkDataset

            return SdkDataset.get_by_name(workspace, dataset.name, version=dataset.version)

    def _manifest_file(self, name: str, version: int) -> Path:
        return self._folder / name / str(version) / "manifest.jsonl"


def _parts(files: Iterable[DatasetFile]) -> Iterator[list[DatasetFile]]:
    """So many files, or so many bytes, at a time: what progress is told by, and what is sent again after a fault."""
    part: list[DatasetFile] = []
    for file in files:
        if part and (len(part) == _PART_FILES or sum(each.size for each in part) + file.size > _PART_BYTES):
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def _content_of(base: Path, files: list[DatasetFile]) -> str:
    """The SHA-256 of the files' names and contents."""
    digest = hashlib.sha256()
    for file in files:
        with file_tree.reading(base / file.path) as content:
            digest.update(json.dumps([file.path, hashlib.file_digest(content, "sha256").hexdigest()]).encode())
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _sizes_below(store: Any, folder: str) -> dict[str, int]:
    """Bytes by path of what is below a folder of a datastore; {} where there is nothing."""
    from azureml.core import Dataset as SdkDataset

    return {file.path: file.size for file in _found(SdkDataset.File.from_files((store, f"{folder}/**"), validate=False))}


def _found(dataset: SdkFileDataset) -> list[DatasetFile]:
    """As `_listed`; none where there is nothing at its place, which the SDK raises as an ExecutionError that names no place."""
    from azureml.dataprep import ExecutionError

    try:
        return list(_listed(dataset))
    except ExecutionError as error:
        if "NotFound" in str(error):
            return []
        raise


def _listed(dataset: SdkFileDataset) -> Iterator[DatasetFile]:
    """The files of the SDK's dataset: path below what they have in common by its definition, bytes, modification time."""
    from azureml.dataprep.api.functions import get_stream_properties

    flow, portable_path = dataset._dataflow._add_portable_path_column()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = flow.add_column(get_stream_properties(flow["Path"]), "Properties", "Path")
        records = flow._to_pyrecords()
    for record in records:
        properties = record["Properties"]
        moment = properties.get("LastModifiedTime")
        modified = int(moment.timestamp() * 1e9) if isinstance(moment, datetime) else 0
        yield DatasetFile(str(record[portable_path]).lstrip("/"), int(properties["Size"]), modified)


def _root_of(dataflow: str) -> str:
    """The place that a dataset's definition names, in short; "" where it names none that is known."""
    match = re.search(r"azureml:/+[^\s\"'\\]*?datastores/([^/\s]+)/paths/([^\s\"'\\]+)", dataflow)
    return f"azureml://datastores/{match[1]}/paths/{match[2].removesuffix('/**')}" if match else ""


def _for_azure(partition_format: str) -> str | None:
    """Azure wants the format to begin where a folder does."""
    return f"/{partition_format.lstrip('/')}" if partition_format else None

"""Datasets: uploaded and registered, or registered where they lie; their files listed without fetching any."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from services.azure.auth.session import Session
from services.azure.catalog import downloads, tables
from services.azure.catalog.dataset_upload import content_of, upload
from services.azure.catalog.downloads import Progress
from services.azure.catalog.listed_files import list_files, list_files_if_any
from services.domain import Dataset, FileDataset, TabularDataset, utc_now
from services.errors import IntakeError, NotFound, SettingsError, WorkspaceUnavailable
from services.intake import datasets
from services.intake.datasets import DatasetInspection
from services.intake.tabular import CSV, FILES, MANIFEST, PARQUET, Table
from services.storage import file_tree
from services.storage.atomic import write_atomically
from services.storage.manifest import manifest_line, read_manifest

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.data import FileDataset as SdkFileDataset

ABOUT = "batch_scoring_studio"
"""The tag that carries what only the uploader knew, as JSON."""
_HARMED = set('"%&*:<>?|')
"""What upload_directory writes as %22 and so on, for good."""
PLACE = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.+)")
"""A place in a datastore: its name, and the path there."""


class Datasets:
    """Those of one workspace. The list of one's files is kept in `folder`/<name>/<version>/: manifest.jsonl, or files.jsonl of a tabular
    one."""

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
        """The service's dataset as ours. Of one registered elsewhere nothing is counted yet: None. Tags are of the latest version."""
        try:
            about = json.loads((registered.tags or {}).get(ABOUT, "{}")) if definition.version_id == registered.latest.version_id else {}
        except ValueError:
            about = {}
        tabular, version = registered.dataset_type == "tabular", int(definition.version_id)
        known = self._counted(self._list_file(registered.name, version, tabular=tabular))
        kind: Any = FileDataset
        if tabular:
            table = Table(about.get("format") or tables.format_of(definition.dataflow or ""), _columns(about), about.get("rows"))
            kind = partial(TabularDataset, format=table.format, columns=table.columns, row_count=table.row_count)
        dataset: Dataset = kind(
            name=registered.name,
            version=version,
            root=str(about.get("root") or _root_of(definition.dataflow or "")),
            glob=str(about.get("glob", "**")),
            in_place=not about.get("uploaded", False),
            file_count=known[0] if about.get("files") is None else int(about["files"]),
            size=known[1] if about.get("bytes") is None else int(about["bytes"]),
            manifest=str(self._list_file(registered.name, version)),
            manifest_sha256=str(about.get("sha256", "")) or known[2],
            created_at=definition.created_time or registered.created_time or utc_now(),
            description=registered.description or "",
            partition_format=str(about.get("partition_format", "")),
        )
        return dataset

    # ---- registering ------------------------------------------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        path: str | Path,
        *,
        type_: str,
        glob: str,
        partition_format: str,
        description: str,
        staging: Path,
        progress: Progress,
    ) -> Dataset:
        """Upload the files of a folder of this machine and register them; or register what lies in a datastore already, given as
        `azureml://datastores/NAME/paths/PATH`, or at an https address: then no row is read, so how many there are is not known."""
        datasets.check_type(type_)
        if re.match(r"(azureml|https?)://", str(path)):
            found, source = self._found_in_place(str(path), type_, partition_format, staging)
            return self._register(name, source, found, str(path), staging, description, multi_line=False, uploaded=False)
        root = Path(path).expanduser().absolute()
        found, multi_line = datasets.inspect_dataset(root, glob, type_, partition_format, staging), False
        files = list(read_manifest(found.lists[-1]))
        if harmed := [file.path for file in files if set(file.path) & _HARMED]:
            text = (
                f"“{file_tree.short(harmed[0])}” can't be uploaded under its name: the SDK changes {' '.join(sorted(_HARMED))} in a name."
            )
            raise IntakeError(text, "Rename it, or bring it there by another tool and register the dataset where it lies.")
        base = root if root.is_dir() else root.parent
        target = f"batch-scoring-studio/{name}/{content_of(base, files)[:16]}"
        with self._session.asking(f"Dataset {name} was not registered", "name") as workspace:
            if found.table:
                table, multi_line = tables.as_azure_reads([base / file.path for file in files], found.table)
                found = replace(found, table=table)
            store = workspace.get_default_datastore()
            upload(base, files, store, target, staging, progress)
        place = f"azureml://datastores/{store.name}/paths/{target}"
        return self._register(name, (store, f"{target}/**"), found, place, staging, description, multi_line=multi_line, uploaded=True)

    def _found_in_place(self, place: str, type_: str, partition_format: str, staging: Path) -> tuple[DatasetInspection, Any]:
        """What lies there, its list written into `staging`, and the place as the SDK takes it."""
        with self._session.asking("The dataset was not registered", "path") as workspace:
            from azureml.core import Dataset as SdkDataset
            from azureml.core import Datastore

            source: Any = place
            if match := PLACE.fullmatch(place):
                source = (Datastore.get(workspace, match[1]), match[2])
            elif place.startswith("azureml"):
                raise SettingsError("path", f"“{place}” is no place in a datastore", "Write azureml://datastores/NAME/paths/PATH.")
            files = list_files_if_any(SdkDataset.File.from_files(source, validate=False))
        if not files:
            hint = "Is the path spelled as it is there? Give a folder in the datastore, or a pattern such as folder/**/*.csv."
            raise IntakeError(f"There is no file at {place}.", hint)
        table = None
        if type_ == TabularDataset.type:
            parquet = files[0].path.lower().endswith((".parquet", ".pq"))
            table = Table(PARQUET if parquet else CSV, (), None)
        lines = staging / (FILES if table else MANIFEST)
        lines.write_bytes(b"".join(map(manifest_line, files)))
        sha256, size = hashlib.sha256(lines.read_bytes()).hexdigest(), sum(file.size for file in files)
        return DatasetInspection((lines,), sha256, len(files), size, "**", partition_format, table), source

    def _register(
        self,
        name: str,
        source: Any,
        found: DatasetInspection,
        place: str,
        staging: Path,
        description: str,
        *,
        multi_line: bool,
        uploaded: bool,
    ) -> Dataset:
        """Register what was found at `source`, and keep its lists."""
        with self._session.asking(f"Dataset {name} was not registered", "name" if uploaded else "path") as workspace:
            from azureml.core import Dataset as SdkDataset

            keys = for_azure(found.partition_format)
            if found.table:
                made = tables.definition(source, found.table, multi_line=multi_line, partition_format=keys)
            else:
                made = SdkDataset.File.from_files(source, validate=False, partition_format=keys)
            tags = {ABOUT: json.dumps(_about(found, place, uploaded=uploaded))}
            registered = made.register(workspace, name, description or None, tags, create_new_version=True)
        folder = self._list_file(name, int(registered.version)).parent
        folder.mkdir(parents=True, exist_ok=True)
        for lines in found.lists:
            shutil.move(lines, folder / lines.name)
        dataset = found.dataset(name, int(registered.version), Path(), folder, in_place=not uploaded, description=description)
        return replace(dataset, root=place)

    # ---- their files ------------------------------------------------------------------------------------------------------------------

    def files(self, dataset: Dataset) -> Path:
        """The list of the dataset's files, asked for once: names and sizes, no content. Raises NotFound, WorkspaceUnavailable."""
        path = self._list_file(dataset.name, dataset.version, tabular=isinstance(dataset, TabularDataset))
        with self._listing[dataset.reference]:
            if not path.exists():
                files = list(list_files(self._as_files(dataset)))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, b"".join(map(manifest_line, files)))
        return path

    def only_file(self, dataset: Dataset) -> str:
        """The path of the one file that it consists of; "" where there are more, or nobody has counted them."""
        return next(read_manifest(self.files(dataset))).path if dataset.file_count == 1 else ""

    def counted(self, dataset: Dataset) -> Dataset:
        """The same with its files counted, where they weren't yet and can be."""
        if dataset.file_count:
            return dataset
        try:
            count, size, sha256 = self._counted(self.files(dataset))
        except NotFound:
            return dataset
        return replace(dataset, file_count=count, size=size, manifest_sha256=sha256)

    def _counted(self, path: Path) -> tuple[int | None, int | None, str]:
        if not path.exists():
            return None, None, ""
        sizes = [file.size for file in read_manifest(path)]
        return len(sizes), sum(sizes), hashlib.sha256(path.read_bytes()).hexdigest()

    def changes(self, dataset: Dataset) -> Iterator[str]:
        """A sentence for each file that isn't there as it was, by its size; asks for the list once."""
        now = {file.path: file.size for file in list_files(self._as_files(dataset))}
        for file in read_manifest(self.files(dataset)):
            if file.path not in now:
                yield f"{file.path} is gone since it was registered."
            elif now[file.path] != file.size:
                yield f"{file.path} was changed since it was registered."

    def fetch(self, dataset: Dataset, path: str, progress: Progress) -> Path:
        """This one file, on this machine, whole. `progress` is told the bytes that have come, and of all."""
        there = list(read_manifest(self.files(dataset)))
        number, size = next(((number, file.size) for number, file in enumerate(there) if file.path == path), (-1, 0))
        if number < 0:
            raise NotFound(f"There is no file “{path}” in dataset {dataset}.", "Look at the list of its files.")
        folder = self._folder / dataset.name / str(dataset.version) / "fetched" / hashlib.sha256(path.encode()).hexdigest()[:16]
        target = folder / downloads.inside(path).name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not target.is_file():
                with self._session.asking(f"{path} could not be fetched") as workspace:
                    self._bring(workspace, dataset, path, (number, len(there), size), target, progress)
        return target

    def _bring(
        self, workspace: Workspace, dataset: Dataset, path: str, place: tuple[int, int, int], target: Path, progress: Progress
    ) -> None:
        """`place` is the file's number, of how many, and its size."""
        from azureml.core import Datastore

        number, count, size = place
        apart = "*" not in dataset.root and not (dataset.in_place and count == 1)  # else the root may be the file
        match = PLACE.fullmatch(dataset.root) if apart else None
        store: Any = Datastore.get(workspace, match[1]) if match else None
        if match and (service := getattr(store, "blob_service", None)):
            container = service.get_container_client(store.container_name)
            downloads.fetch(container, {target: container.get_blob_client(f"{match[2]}/{path}").get_blob_properties()}, progress)
            return
        coming = target.parent / "coming"  # the SDK goes on with nothing: what came of an earlier try is not known to be whole
        shutil.rmtree(coming, ignore_errors=True)
        self._as_files(dataset).skip(number).take(1).download(str(coming), overwrite=True)
        found = next((file for file in coming.rglob("*") if file.is_file()), None)
        if found is None or found.stat().st_size != size:
            raise WorkspaceUnavailable(f"{path} did not come whole.", "Try again.")
        os.replace(found, target)
        shutil.rmtree(coming, ignore_errors=True)

    def _as_files(self, dataset: Dataset) -> SdkFileDataset:
        """The SDK's file dataset of it, or of the files that a tabular one's rows are in. Raises NotFound where these aren't told."""
        with self._session.asking(f"Dataset {dataset} can't be opened") as workspace:
            from azureml.core import Dataset as SdkDataset
            from azureml.core import Datastore

            if not isinstance(dataset, TabularDataset):
                return SdkDataset.get_by_name(workspace, dataset.name, version=dataset.version)
            if not (match := PLACE.fullmatch(dataset.root)):
                text = f"The files of the tabular dataset {dataset} are not listed here: they are not in one place of a datastore."
                raise NotFound(text, "Azure ML studio shows them.")
            path = match[2] if dataset.in_place else f"{match[2]}/**"
            return SdkDataset.File.from_files((Datastore.get(workspace, match[1]), path), validate=False)

    def _list_file(self, name: str, version: int, *, tabular: bool = False) -> Path:
        return self._folder / name / str(version) / (FILES if tabular else MANIFEST)


def _about(found: DatasetInspection, place: str, *, uploaded: bool) -> dict[str, Any]:
    """What goes along in a tag: what Azure ML doesn't tell, and another machine would have to count."""
    about: dict[str, Any] = {"root": place, "glob": found.glob, "files": found.file_count, "bytes": found.size}
    about |= {"sha256": found.manifest_sha256} | ({"uploaded": True} if uploaded else {})
    about |= {"partition_format": found.partition_format} if found.partition_format else {}
    if found.table:
        about |= {"format": found.table.format, "rows": found.table.row_count}
        about |= {"columns": found.table.columns} if len(json.dumps(found.table.columns)) <= tables.MOST_TOLD else {}
    return about


def _columns(about: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(dtype)) for name, dtype in about.get("columns", ()))


def _root_of(dataflow: str) -> str:
    """The place that a dataset's definition names, in short; "" where it names none that is known, or several."""
    found = {match.groups() for match in re.finditer(r"azureml:/+[^\s\"'\\]*?datastores/([^/\s]+)/paths/([^\s\"'\\]+)", dataflow)}
    return "".join(f"azureml://datastores/{store}/paths/{path.removesuffix('/**')}" for store, path in found) if len(found) == 1 else ""


def for_azure(partition_format: str) -> str | None:
    """Azure wants the format to begin where a folder does."""
    return f"/{partition_format.lstrip('/')}" if partition_format else None

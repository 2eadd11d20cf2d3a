"""Files uploaded to Azure ML: in blocks, so that an upload that broke off is continued and its progress is known; and verified.

The SDK's `Dataset.File.upload_directory` swallows what goes wrong and leaves empty files. The files of a dataset go in parts, to a folder
named by their content, so an upload that broke off is continued by the next one of the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from services.azure.auth import retry
from services.azure.auth.sdk_errors import status_of
from services.azure.catalog.downloads import CHUNK_BYTES, ProgressCounter
from services.azure.catalog.sdk_datasets import sizes_below
from services.azure.sdk import Progress
from services.domain import DatasetFile, utc_now
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

if TYPE_CHECKING:
    from azureml.core import Workspace

_MAX_BLOCKS = 50_000
"""That a blob may have."""
_PART_FILES, _PART_BYTES = 500, 64_000_000
_PARALLEL_UPLOADS = 4


def put_blob(blob: Any, content: BinaryIO, size: int, arrived: Callable[[int], None]) -> None:
    """Write the `size` bytes of `content` to `blob` (the SDK's BlobClient). `arrived` is called with the bytes of each block that is there.

    Azure keeps uncommitted blocks for a week. One is taken for the same by its number and size, so the blob's name has to tell its content.
    Raises what the SDK raises.
    """
    from azure.core.exceptions import ResourceNotFoundError
    from azureml._vendor.azure_storage.blob import BlobBlock

    try:
        uncommitted = {block.id: block.size for block in blob.get_block_list("uncommitted")[1]}
    except ResourceNotFoundError:
        uncommitted = {}
    length, blocks = max(CHUNK_BYTES, -(-size // _MAX_BLOCKS)), []
    for number, start in enumerate(range(0, size, length)):
        name, count = f"{length:012}-{number:06}", min(length, size - start)
        if uncommitted.get(name) != count:
            content.seek(start)
            blob.stage_block(name, content.read(count), count, validate_content=True)
        blocks.append(BlobBlock(name))  # type: ignore[no-untyped-call]
        arrived(count)
    blob.commit_block_list(blocks)


def upload_model(workspace: Workspace, path: Path, progress: Progress) -> str:
    """Upload a model's file or folder, as `Model.register` does. Returns the artifact's path, `LocalUpload/<new name>/<file or folder>`.

    The SDK retries each block; where that does not help, nothing is registered, and the next upload starts anew: Azure ML does not say
    whether an artifact may be written twice.
    Raises WorkspaceUnavailable where a file did not arrive whole, and what the SDK raises.
    """
    from azureml._restclient.artifacts_client import ArtifactsClient
    from azureml._vendor.azure_storage.blob import BlobClient

    origin, container = "LocalUpload", f"{utc_now():%y%m%dT%H%M%S}-{uuid.uuid4().hex}"
    files = {f"{path.name}/{name}" if path.is_dir() else path.name: Path(source) for name, source, _ in file_tree.files_of(path)}
    client = ArtifactsClient(workspace.service_context)
    counter = ProgressCounter(0, file_tree.size_of(path), progress)

    def upload_file(name: str) -> None:
        address = client.create_empty_artifacts(origin, container, [name]).artifact_content_information[name].content_uri
        blob, size = BlobClient.from_blob_url(address), files[name].stat().st_size
        with file_tree.reading(files[name]) as content:
            put_blob(blob, content, size, counter.add)
        if (arrived := blob.get_blob_properties().size) != size:
            text = f"{name} did not arrive whole: {arrived:,} of {size:,} bytes are there."
            raise WorkspaceUnavailable(text, "Try again: nothing was registered.")

    with ThreadPoolExecutor(_PARALLEL_UPLOADS, thread_name_prefix="upload") as pool:
        for future in [pool.submit(copy_context().run, upload_file, name) for name in files]:
            future.result()
    return f"{origin}/{container}/{path.name}"


def upload_files(base: Path, files: list[DatasetFile], store: Any, target: str, staging: Path, progress: Progress) -> None:
    """Upload the files, whose paths are below `base`, to the folder `target` of `store` (the SDK's Datastore); `staging` is an empty folder
    here. Raises WorkspaceUnavailable where a file does not arrive whole, also after retries, and what the SDK raises."""
    from azureml.core import Dataset as SdkDataset

    uploaded = sizes_below(store, target)

    def missing(files: Iterable[DatasetFile]) -> list[DatasetFile]:
        return [file for file in files if uploaded.get(file.path) != file.size]

    def upload_part(part: list[DatasetFile]) -> None:
        nonlocal uploaded
        for file in missing(part):
            _link(base / file.path, staging / "part" / file.path)
        SdkDataset.File.upload_directory(str(staging / "part"), (store, target), overwrite=bool(uploaded), show_progress=False)
        shutil.rmtree(staging / "part")
        uploaded = sizes_below(store, target)
        if incomplete := missing(part):
            first = min(incomplete, key=lambda file: file.size)
            if service:
                _check_allowed(service.get_blob_client(store.container_name, f"{target}/{first.path}"), base / first.path)
            sizes = f"{first.path}: {uploaded.get(first.path, 0):,} of {first.size:,} bytes are there"
            text = f"{len(incomplete):,} of {len(files):,} files did not arrive whole, also after retries ({sizes})."
            raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?")

    total = sum(file.size for file in files)
    counter = ProgressCounter(total - sum(file.size for file in missing(files)), total, progress)
    service = getattr(store, "blob_service", None)
    for file in missing(files):
        if service and file.size > _PART_BYTES:  # the SDK would send it as a whole, and so again
            with file_tree.reading(base / file.path) as content:
                blob = service.get_blob_client(store.container_name, f"{target}/{file.path}")
                put_blob(blob, content, file.size, counter.add)
            uploaded[file.path] = file.size
    for part in list(_parts(missing(files))):
        retry.call(retry.UPLOAD, partial(upload_part, part))
        counter.add(sum(file.size for file in part))


def _check_allowed(blob: Any, file: Path) -> None:
    """Raise what the storage account answers where it refuses this file: the SDK does not tell."""
    try:
        with file_tree.reading(file) as content:
            blob.upload_blob(content, length=file.stat().st_size, overwrite=True)
    except Exception as error:  # any other, of whatever class of the SDK: the caller says that the file did not arrive
        if status_of(error) == 403:
            raise


def _parts(files: Iterable[DatasetFile]) -> Iterator[list[DatasetFile]]:
    """So many files, or so many bytes, at a time: the unit of progress, and of what is retried."""
    part: list[DatasetFile] = []
    for file in files:
        if part and (len(part) == _PART_FILES or sum(other.size for other in part) + file.size > _PART_BYTES):
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def content_of(base: Path, files: list[DatasetFile]) -> str:
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

"""Files uploaded to a datastore and verified: `Dataset.File.upload_directory` swallows what goes wrong and leaves empty files. They go in
parts, to a folder named by their content, so an upload that broke off is continued by the next one of the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from services.azure.auth import retry
from services.azure.catalog import block_upload
from services.azure.catalog.dataset_files import sizes_below
from services.azure.catalog.downloads import Progress, ProgressCounter
from services.domain import DatasetFile
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

_PART_FILES, _PART_BYTES = 500, 64_000_000


def upload(base: Path, files: list[DatasetFile], store: Any, target: str, staging: Path, progress: Progress) -> None:
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
            first = incomplete[0]
            sizes = f"{first.path}: {uploaded.get(first.path, 0):,} of {first.size:,} bytes are there"
            text = f"{len(incomplete):,} of {len(files):,} files did not arrive whole, also after retries ({sizes})."
            raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?")

    total = sum(file.size for file in files)
    counter, service = (
        ProgressCounter(total - sum(file.size for file in missing(files)), total, progress),
        getattr(store, "blob_service", None),
    )
    for file in missing(files):
        if service and file.size > _PART_BYTES:  # the SDK would send it as a whole, and so again
            with file_tree.reading(base / file.path) as content:
                blob = service.get_blob_client(store.container_name, f"{target}/{file.path}")
                block_upload.put(blob, content, file.size, counter.add)
            uploaded[file.path] = file.size
    for part in list(_parts(missing(files))):
        retry.call(retry.UPLOAD, partial(upload_part, part))
        counter.add(sum(file.size for file in part))


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

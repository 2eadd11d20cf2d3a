"""Files brought to a datastore, and made sure of: `Dataset.File.upload_directory` swallows what goes wrong and leaves empty files. They go
in parts, to a place named by what is in them, so an upload that was broken off goes on where it was when it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from services.azure.catalog import block_upload
from services.azure.catalog.downloads import Progress, Sum
from services.azure.catalog.listed_files import sizes_below
from services.domain import DatasetFile
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

_PART_FILES, _PART_BYTES = 500, 64_000_000
_TRIES = 3


def upload(base: Path, files: list[DatasetFile], store: Any, target: str, staging: Path, progress: Progress) -> None:
    """Bring the files to `target` and make sure that each is there whole. Raises WorkspaceUnavailable for what is not, even after
    trying again."""
    from azureml.core import Dataset as SdkDataset

    there = sizes_below(store, target)
    total, here = sum(file.size for file in files), sum(file.size for file in files if there.get(file.path) == file.size)
    sums, service = Sum(here, total, progress), getattr(store, "blob_service", None)
    for file in files:
        if service and file.size > _PART_BYTES and there.get(file.path) != file.size:  # one that the SDK sends whole, or again as a whole
            with file_tree.reading(base / file.path) as content:
                blob = service.get_blob_client(store.container_name, f"{target}/{file.path}")
                block_upload.put(blob, content, file.size, sums.add)
            there[file.path] = file.size
    for number, part in enumerate(_parts(file for file in files if there.get(file.path) != file.size)):
        folder, bytes_ = staging / "parts" / str(number), sum(file.size for file in part)
        for attempt in range(_TRIES):
            for file in part:
                _link(base / file.path, folder / file.path)
            SdkDataset.File.upload_directory(str(folder), (store, target), overwrite=bool(attempt or there), show_progress=False)
            shutil.rmtree(folder)
            there = sizes_below(store, target)
            part = [file for file in part if there.get(file.path) != file.size]  # noqa: PLW2901 - what is left to do
            if not part:
                break
        if part:
            sizes = f"{part[0].path}: {there.get(part[0].path, 0):,} of {part[0].size:,} bytes are there"
            text = f"{len(part):,} of {len(files):,} files did not arrive whole, though the upload was tried {_TRIES} times ({sizes})."
            raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?")
        sums.add(bytes_)


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

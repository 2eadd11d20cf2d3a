"""Files uploaded to Azure ML: in blocks, so that an upload that broke off is continued and its progress is known; and verified.

The files of a dataset go in parts, to a folder named by their content, so an upload that broke off is continued by the next one of the same
files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from services.azure.auth import retry
from services.azure.auth.sdk_errors import status_of
from services.azure.catalog.downloads import CHUNK_BYTES, ProgressCounter
from services.azure.sdk import Progress, Store
from services.domain import DatasetFile
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

_MAX_BLOCKS = 50_000
"""That a blob may have."""
_PART_FILES, _PART_BYTES = 500, 64_000_000
_PARALLEL_CALLS = 4
T = TypeVar("T")
R = TypeVar("R")


def put_blob(blob: Any, content: BinaryIO, size: int, arrived: Callable[[int], None]) -> None:
    """Write the `size` bytes of `content` to `blob` (the SDK's BlobClient). `arrived` is called with the bytes of each block that is there.

    Azure keeps uncommitted blocks for a week. One is taken for the same by its number and size, so the blob's name has to tell its content.
    Raises what the SDK raises.
    """
    from azure.core.exceptions import ResourceNotFoundError

    try:
        uncommitted = {block.id: block.size for block in blob.get_block_list("uncommitted")[1]}
    except ResourceNotFoundError:
        uncommitted = {}
    length, blocks = max(CHUNK_BYTES, -(-size // _MAX_BLOCKS)), list[str]()
    for number, start in enumerate(range(0, size, length)):
        name, count = f"{length:012}-{number:06}", min(length, size - start)
        if uncommitted.get(name) != count:
            content.seek(start)
            blob.stage_block(name, content.read(count), count, validate_content=True)
        blocks.append(name)
        arrived(count)
    blob.commit_block_list(blocks)


def in_parallel(function: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """What it returns of each, some at a time, in the context of the caller. Raises what the first of them raises; those that did not
    begin yet are left out then."""
    with ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="azure-call") as pool:
        futures = [pool.submit(copy_context().run, function, thing) for thing in things]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def upload_files(base: Path, files: list[DatasetFile], store: Store, target: str, staging: Path, progress: Progress) -> None:
    """Upload the files, whose paths are below `base`, to the folder `target` of a datastore; `staging` is an empty folder here. Raises
    WorkspaceUnavailable where a file does not arrive whole, also after retries, and what the SDK raises."""
    uploaded = store.sizes_below(target)

    def missing(files: Iterable[DatasetFile]) -> list[DatasetFile]:
        return [file for file in files if uploaded.get(file.path) != file.size]

    def upload_part(part: list[DatasetFile]) -> None:
        nonlocal uploaded
        for file in missing(part):
            link(base / file.path, staging / "part" / file.path)
        store.upload(staging / "part", target, overwrite=bool(uploaded))
        shutil.rmtree(staging / "part")
        uploaded = store.sizes_below(target)
        if incomplete := missing(part):
            first = min(incomplete, key=lambda file: file.size)
            if store.container:
                _check_allowed(store.container.get_blob_client(f"{target}/{first.path}"), base / first.path)
            sizes = f"{first.path}: {uploaded.get(first.path, 0):,} of {first.size:,} bytes are there"
            text = f"{len(incomplete):,} of {len(files):,} files did not arrive whole, also after retries ({sizes})."
            raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?")

    total = sum(file.size for file in files)
    counter = ProgressCounter(total - sum(file.size for file in missing(files)), total, progress)
    for file in missing(files):
        if store.container and file.size > _PART_BYTES:  # the SDK would send it as a whole, and so again
            with file_tree.reading(base / file.path) as content:
                blob = store.container.get_blob_client(f"{target}/{file.path}")
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


def link(source: Path, target: Path) -> None:
    """A file under another name, without a copy where the file system has links. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)

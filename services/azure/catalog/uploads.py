"""Files uploaded to Azure ML: in blocks, so that an upload that broke off is continued and its progress is known; and verified.

They go to a folder named by their content, so an upload that broke off is continued by the next one of the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.azure.auth import retry
from services.azure.auth.sdk_errors import unless_not_found
from services.azure.catalog.downloads import CHUNK_BYTES, ProgressCounter, blobs_by_path, in_parallel
from services.azure.sdk import Progress
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

_MAX_BLOCKS = 50_000
"""That a blob may have."""


def put_file(blob: Any, path: Path, arrived: Callable[[int], None]) -> None:
    """Write a file to `blob` (the SDK's BlobClient): a small one in one request, any other in blocks. Azure checks the MD5 of each.
    `arrived` is called with the bytes of each that is there.

    Azure keeps uncommitted blocks for a week. One is taken for the same by its number and size, so the blob's name has to tell its content.
    Raises what the SDK raises.
    """
    size = path.stat().st_size
    with file_tree.reading(path) as content:
        if size <= CHUNK_BYTES:
            blob.upload_blob(content, length=size, overwrite=True, validate_content=True)
            arrived(size)
            return
        uncommitted = {block.id: block.size for block in unless_not_found(lambda: blob.get_block_list("uncommitted")[1]) or ()}
        length, blocks = max(CHUNK_BYTES, -(-size // _MAX_BLOCKS)), list[str]()
        for number, start in enumerate(range(0, size, length)):
            name, count = f"{length:012}-{number:06}", min(length, size - start)
            if uncommitted.get(name) != count:
                content.seek(start)
                blob.stage_block(name, content.read(count), count, validate_content=True)
            blocks.append(name)
            arrived(count)
        blob.commit_block_list(blocks)


def upload_files(container: Any, folder: str, files: Mapping[str, Path], progress: Progress) -> None:
    """Upload files by their paths below `folder`, whose name tells their content: those that are there by their size are not sent again.
    Raises WorkspaceUnavailable where one does not arrive whole, also after retries, and what the SDK raises."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    there: dict[str, int] = {}

    def list_missing() -> list[str]:
        there.update((name, blob.size) for name, blob in blobs_by_path(container, f"{folder}/").items())
        return [name for name, size in sizes.items() if there.get(name) != size]

    def upload_missing() -> None:
        missing, total = list_missing(), sum(sizes.values())
        counter = ProgressCounter(total - sum(sizes[name] for name in missing), total, progress)
        in_parallel(lambda name: put_file(container.get_blob_client(f"{folder}/{name}"), files[name], counter.add), missing)
        if missing and (incomplete := list_missing()):
            first = min(incomplete, key=sizes.__getitem__)
            bytes_there = f"{first}: {there.get(first, 0):,} of {sizes[first]:,} bytes are there"
            text = f"{len(incomplete):,} of {len(files):,} files did not arrive whole, also after retries ({bytes_there})."
            raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Is the storage account reachable from here?")

    retry.call(retry.UPLOAD, upload_missing)

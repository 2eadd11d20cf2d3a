"""A file uploaded into a blob, block by block: an upload that broke off is continued, and its progress is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from services.azure.catalog.downloads import CHUNK_BYTES

_MAX_BLOCKS = 50_000
"""That a blob may have."""


def put(blob: Any, content: BinaryIO, size: int, arrived: Callable[[int], None]) -> None:
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

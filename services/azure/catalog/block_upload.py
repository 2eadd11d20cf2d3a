"""A file into a blob, block by block: what has arrived of it is told, and what arrived before it broke off is not sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from services.azure.catalog.downloads import PIECE

_MOST = 50_000
"""Blocks that a blob may have."""


def put(blob: Any, content: BinaryIO, size: int, arrived: Callable[[int], None]) -> None:
    """Make `blob` (the SDK's BlobClient) of the `size` bytes of `content`. `arrived` is called with the bytes of each block that is there.

    Azure keeps blocks that were not made a blob of for a week; one is taken for the same by its number and size, so the blob's name has to
    say what its content is. Raises what the SDK raises.
    """
    from azure.core.exceptions import ResourceNotFoundError
    from azureml._vendor.azure_storage.blob import BlobBlock

    try:
        there = {block.id: block.size for block in blob.get_block_list("uncommitted")[1]}
    except ResourceNotFoundError:
        there = {}
    length, blocks = max(PIECE, -(-size // _MOST)), []
    for number, start in enumerate(range(0, size, length)):
        name, count = f"{length:012}-{number:06}", min(length, size - start)
        if there.get(name) != count:
            content.seek(start)
            blob.stage_block(name, content.read(count), count, validate_content=True)
        blocks.append(BlobBlock(name))  # type: ignore[no-untyped-call]
        arrived(count)
    blob.commit_block_list(blocks)

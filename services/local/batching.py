"""A dataset's manifest, and how it is cut into mini-batches. Pure: the same manifest and settings give the same cut for ever.

A manifest is a text file, one JSON list a line: `["relative/path", size, modified_ns]`, ASCII only, sorted by path. A mini-batch is a
range of its bytes, so neither the runner nor a message to a worker ever holds file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from services.domain import DatasetFile, MiniBatch


def manifest_line(file: DatasetFile) -> bytes:
    """One file as a line of a manifest. Undecodable bytes of a name survive as lone surrogates, escaped by JSON."""
    return json.dumps([file.path, file.size, file.modified_ns]).encode("ascii") + b"\n"


def read_manifest(manifest: Path, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
    """Files of the manifest in its order, from number `first`."""
    with open(manifest, "rb") as lines:
        for line in islice(lines, first, None if count is None else first + count):
            yield DatasetFile(*json.loads(line))


def cut(manifests: Iterable[Path], size: int) -> Iterator[MiniBatch]:
    """Cut each dataset separately into mini-batches of `size` files, numbered through."""
    index = 0
    for dataset, manifest in enumerate(manifests):
        with open(manifest, "rb") as lines:
            offset = 0
            while chunk := list(islice(lines, size)):
                length = sum(map(len, chunk))
                yield MiniBatch(index, dataset, offset, length, len(chunk))
                index, offset = index + 1, offset + length


def files_of(manifest: Path, mini_batch: MiniBatch) -> list[DatasetFile]:
    """The files of one mini-batch, read from the manifest it was cut from."""
    with open(manifest, "rb") as lines:
        lines.seek(mini_batch.offset)
        return [DatasetFile(*json.loads(line)) for line in lines.read(mini_batch.length).splitlines()]

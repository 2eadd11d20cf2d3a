"""The list of a dataset's files: a text file, one JSON list a line, ASCII only, in the order of the paths.

`["relative/path", size, modified_ns]`. How one is cut into mini-batches is each workspace's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from services.domain import DatasetFile


def manifest_line(file: DatasetFile) -> bytes:
    """One file as a line of a manifest. Undecodable bytes of a name survive as lone surrogates, escaped by JSON."""
    return json.dumps([file.path, file.size, file.modified_ns]).encode("ascii") + b"\n"


def read_manifest(manifest: Path, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
    """Files of a manifest of files in its order, from number `first`."""
    with open(manifest, "rb") as lines:
        for line in islice(lines, first, None if count is None else first + count):
            yield DatasetFile(*json.loads(line))

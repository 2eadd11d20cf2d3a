"""The list of a dataset's files: a text file, one JSON list a line, ASCII only, in the order of the paths.

`["relative/path", size, modified_ns]`. How one is cut into mini-batches is each workspace's.
"""

from __future__ import annotations

import json
import os
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


def changes_since_registration(root: str, file: DatasetFile) -> str | None:
    """A sentence where the file isn't what it was when it was registered."""
    now = present_state(root, file)
    if now is None:
        return f"{file.path} is gone since it was registered."
    return None if now == (file.size, file.modified_ns) else f"{file.path} was changed since it was registered."


def present_state(root: str, file: DatasetFile) -> tuple[int, int] | None:
    """Its size and modification time (ns) now; None where it is gone."""
    try:
        now = os.stat(os.path.join(root, file.path))
    except OSError:
        return None
    return now.st_size, now.st_mtime_ns

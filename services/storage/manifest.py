"""The list of a dataset's files: a text file, one JSON list a line, ASCII only, in the order of the paths.

`["relative/path", size, modified_ns]`. How one is cut into mini-batches is each workspace's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from services.domain import DatasetFile

_PARSED_AT_ONCE = 500


def manifest_line(file: DatasetFile) -> bytes:
    """One file as a line of a manifest. Undecodable bytes of a name survive as lone surrogates, escaped by JSON."""
    return json.dumps([file.path, file.size, file.modified_ns]).encode("ascii") + b"\n"


def read_manifest(manifest: Path, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
    """Files of a manifest of files in its order, from number `first`."""
    with open(manifest, "rb") as lines:
        for _, values in parsed_lines(islice(lines, first, None if count is None else first + count)):
            yield DatasetFile(*values)


def parsed_lines(lines: Iterable[bytes]) -> Iterator[tuple[bytes, list[Any]]]:
    """Each line of a manifest and what is in it. Some hundred are parsed together: one by one takes four times as long."""
    lines = iter(lines)
    while some := list(islice(lines, _PARSED_AT_ONCE)):
        yield from zip(some, json.loads(b"[" + b",".join(some) + b"]"), strict=True)


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

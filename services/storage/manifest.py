"""The list of a dataset's files: a text file, one JSON list a line, ASCII only, in the order of the paths.

`["relative/path", size, modified_ns]`. How one is cut into mini-batches is each workspace's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from services.domain import DatasetFile

SOURCES = "sources.jsonl"
"""In the folder of a dataset whose files were made of others: what each was made of, see SourceFile."""

_PARSED_AT_ONCE = 500


class SourceFile(NamedTuple):
    """A file of a person's that files of a dataset were made of: its path, size in bytes and time of modification (ns) then, the SHA-256 of
    its content, "" where it changed meanwhile, and the paths of the files that were made of it."""

    path: str
    size: int
    modified_ns: int
    sha256: str
    made: Sequence[str]


def manifest_line(file: DatasetFile) -> bytes:
    """One file as a line of a manifest. Undecodable bytes of a name survive as lone surrogates, escaped by JSON."""
    return json.dumps([file.path, file.size, file.modified_ns]).encode("ascii") + b"\n"


def read_manifest(manifest: Path, first: int = 0, count: int | None = None) -> Iterator[DatasetFile]:
    """Files of a manifest of files in its order, from number `first`."""
    with open(manifest, "rb") as lines:
        for _, values in parsed_lines(islice(lines, first, None if count is None else first + count)):
            yield DatasetFile(*values)


def write_sources(list_: Path, sources: Iterable[SourceFile]) -> None:
    """Raises OSError."""
    with open(list_, "wb") as lines:
        lines.writelines(json.dumps(source).encode("ascii") + b"\n" for source in sources)


def read_sources(list_: Path) -> Iterator[SourceFile]:
    """In the order of their paths. Raises OSError."""
    with open(list_, "rb") as lines:
        yield from (SourceFile(*values) for _, values in parsed_lines(lines))


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

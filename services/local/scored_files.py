"""Which of a person's files a run scored, and what they held: the SHA-256 of those that it read where they are, noted when it has ended.

So a file of which only the time changes is known again: see new_items.py. Small, since every runner needs it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from services import log
from services.errors import IntakeError, NotFound
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.storage.atomic import atomic_write
from services.storage.file_tree import sha256_of
from services.storage.manifest import SOURCES, SourceFile, parsed_lines, present_state, read_manifest, read_sources

logger = logging.getLogger(__name__)


class Limit(NamedTuple):
    """How much is read at most: bytes, and files that are looked at."""

    bytes: int
    files: int


BEFORE_THE_END, AFTER_THE_END = Limit(1 << 25, 500), Limit(1 << 32, 20_000)
"""Of what a run has scored: some 0.1 s before it says that it has ended, and some seconds after that, when nobody waits."""


def lists_of(folder: LocalRunFolder, planned: PlannedDataset) -> Path:
    """The folder of the lists of a dataset's files that a run had; it stays for the run where the dataset was deleted."""
    lists, (name, _, version) = Path(planned.manifest).parent, planned.reference.partition(":")
    if lists == folder.path:  # its own, of just what it scored
        return folder.path.parents[1] / "datasets" / name / version
    return lists


def list_of_files(lists: Path, format_: str) -> Path:
    """Of a dataset with its lists there; `format_` as of a PlannedDataset."""
    return lists / ("files.jsonl" if format_ else "manifest.jsonl")


def sources(lists: Path, format_: str) -> Iterator[SourceFile]:
    """A person's files that a dataset was made of; its own, of which nothing was made, where it was not. Raises OSError."""
    if (lists / SOURCES).is_file():
        return read_sources(lists / SOURCES)
    return (SourceFile(file.path, file.size, file.modified_ns, "", ()) for file in read_manifest(list_of_files(lists, format_)))


def contents_list(folder: LocalRunFolder, number: int) -> Path:
    """Where it is noted what the files of the run's dataset of this number held."""
    return folder.new / f"contents-{number}.jsonl"


def contents_line(path: str, size: int, modified_ns: int, sha256: str) -> bytes:
    """One of them."""
    return json.dumps([path, size, modified_ns, sha256]).encode("ascii") + b"\n"


def noted_contents(folder: LocalRunFolder, number: int) -> dict[str, tuple[int, int, str]]:
    """By path the size, time of modification (ns) and SHA-256 of what was scored, as far as that was noted."""
    with suppress(OSError), open(contents_list(folder, number), "rb") as lines:
        return {path: (size, modified_ns, sha256) for _, (path, size, modified_ns, sha256) in parsed_lines(lines)}
    return {}


def note_contents(folder: LocalRunFolder, plan: RunPlan, limit: Limit, *, more: bool = False) -> None:
    """Note what the files held that the run scored in place and that are still as they were listed, as many as the limit allows; with
    `more` beside those that are noted already, since the run has ended. Never raises OSError."""
    left, home = limit, folder.path.parents[1]
    for number, dataset in enumerate(() if plan.request.failed_only else plan.datasets):
        if Path(dataset.root).is_relative_to(home):  # a copy stays; of one that was made of others its list of them knows
            continue
        with log.suppress(logger, "What was scored can't be noted", OSError):
            folder.new.mkdir(exist_ok=True)
            with atomic_write(contents_list(folder, number)) as temporary, open(temporary, "xb") as contents:
                left = _note_contents(contents, folder, dataset, number, left, more=more)


def _note_contents(contents: BinaryIO, folder: LocalRunFolder, dataset: PlannedDataset, number: int, left: Limit, *, more: bool) -> Limit:
    """Write what is noted of one dataset. Returns what is left of the limit."""
    noted, scored = noted_contents(folder, number), folder.new / f"files-{number}.jsonl"
    for file in read_manifest(scored if scored.is_file() else list_of_files(lists_of(folder, dataset), dataset.format)):
        if not left.files and not noted:
            break
        known = noted.pop(file.path, None)
        if known and more:
            contents.write(contents_line(file.path, *known))
            continue
        if not left.files:
            continue
        left = Limit(left.bytes, left.files - 1)
        if file.size > left.bytes:
            continue
        left = Limit(left.bytes - file.size, left.files)
        with suppress(IntakeError, NotFound):
            sha256 = sha256_of(Path(dataset.root, file.path))
            if present_state(dataset.root, file) == (file.size, file.modified_ns):  # since before it was scored
                contents.write(contents_line(file.path, file.size, file.modified_ns, sha256))
    contents.writelines(contents_line(path, *state) for path, state in noted.items())
    return left

"""What a home takes of its disk, by kind and name: counted by one walk, kept in the home with the moment it was counted, and its limit.

Links are never followed, and nothing outside the home is counted: neither files that are used in place nor a person's own interpreter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from services.domain import readable, utc_now
from services.errors import SettingsError, WorkspaceUnavailable, os_errors_as
from services.storage.atomic import write_atomically
from services.storage.serialization import from_json, to_json

KEPT_FILE, LIMIT_FILE = "storage.json", "storage_limit.json"
ABANDONED_SECONDS = 3600.0
"""What nobody has written to for so long is no longer being made."""
_MOST_NAMED = 1_000
"""Items of each kind that are kept by name, the largest; the others count in their kind's sum."""
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNFINISHED = re.compile(r"^\.[0-9a-f]{32}\.part(\.spill)?$")
_JOINED = re.compile(r"(leftover-|gone-)?(wide-)?(truth-)?(judged|both|compared)-.*\.parquet$")
_TABLE = re.compile(r"\.?(predictions|failures)-.+\.parquet(\.[0-9a-f]+\.open)?$")


class StorageKind(StrEnum):
    """What takes disk in a home."""

    MODELS = "models"
    DATASETS = "datasets"
    LABELS = "labels"
    ENVIRONMENTS = "environments"
    RUN_OUTPUT = "run output"
    RUN_TABLES = "run tables"
    RUN_LOGS = "run logs"
    RUN_RECORDS = "run records"
    CACHES = "caches"
    DRAFTS = "drafts"
    LEFTOVERS = "leftovers"
    AZURE = "Azure ML workspaces"
    OTHER = "registry and other"

    @property
    def meaning(self) -> str:
        """What is counted as it, in a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    StorageKind.MODELS: "Models, as they were registered.",
    StorageKind.DATASETS: "Files copied in or converted, and lists of files. Files that are used in place are not counted.",
    StorageKind.LABELS: "True labels of datasets.",
    StorageKind.ENVIRONMENTS: "Environments made here.",
    StorageKind.RUN_OUTPUT: "What runs wrote; of imported runs also their tables.",
    StorageKind.RUN_TABLES: "Tables of predictions, made from the output, and again when they are needed.",
    StorageKind.RUN_LOGS: "Logs of runs.",
    StorageKind.RUN_RECORDS: "Plans, journals and scripts of runs.",
    StorageKind.CACHES: "Filters, orders and joined tables, made again when they are needed.",
    StorageKind.DRAFTS: "Forms that were begun.",
    StorageKind.LEFTOVERS: "What interrupted work left, and what is coming in now.",
    StorageKind.AZURE: "What is kept here of Azure ML workspaces.",
    StorageKind.OTHER: "The registry, notes on rows, uploaded scripts, samples, logs; .reserve is room for deleting on a full disk.",
}


_WORDS = {
    "studio.db": "the registry",
    "studio.db-wal": "its newest changes",
    "studio.db-shm": "its index in memory",
    ".reserve": "for a full disk",
    "remarks.db": "notes on rows",
    "scripts": "uploaded scripts",
    "samples": "the sample",
    "logs": "logs of this program",
    "schedules": "schedules",
    "browser": "pages for the browser",
    "lists": "lists of Azure ML",
    "published": "published pipelines",
    "slots": "locks of runs",
    KEPT_FILE: "the last count",
    LIMIT_FILE: "the limit",
    ".deleting": "lock of deletions",
    "new-only": "lock of --new-only",
}
"""What the files and folders at the top of a home are for."""


@dataclass(frozen=True)
class StorageItem:
    """One thing that takes disk: `name` is a reference, a run's id, or a path in the home; `bytes` are the lengths of its files."""

    kind: StorageKind
    name: str
    bytes: int
    files: int

    @property
    def label(self) -> str:
        """Its name, and of a file of the program what it is for: `studio.db (the registry)`."""
        words = _WORDS.get(self.name.removesuffix(".lock")) if self.kind is StorageKind.OTHER else None
        return f"{self.name} ({words})" if words else self.name


@dataclass(frozen=True)
class KindTotal:
    """All of one kind."""

    kind: StorageKind
    bytes: int
    files: int


@dataclass(frozen=True)
class StorageUsage:
    """What a home takes, as counted at `measured_at`. Both lists begin with the largest; `items` has the 1,000 largest of each kind."""

    measured_at: datetime
    kinds: tuple[KindTotal, ...]
    items: tuple[StorageItem, ...]

    @property
    def bytes(self) -> int:
        return sum(total.bytes for total in self.kinds)

    @property
    def files(self) -> int:
        return sum(total.files for total in self.kinds)

    @property
    def age(self) -> float:
        """Seconds since it was counted."""
        return max(0.0, (utc_now() - self.measured_at).total_seconds())

    def of(self, kind: StorageKind) -> list[StorageItem]:
        """The items of one kind, the largest first."""
        return [item for item in self.items if item.kind is kind]


class Stopped(Exception):
    """Counting was stopped before its end."""


Parts = Sequence[str]
Registered = Callable[[Parts], bool]
"""Whether `models/NAME/VERSION`, `runs/ID` and the like, as its parts, is in the registry."""


def measure(home: Path, registered: Registered, stopped: Callable[[], bool] = lambda: False) -> StorageUsage:
    """Count all files of the home; 100,000 take about a second. Raises Stopped."""
    sums: dict[tuple[StorageKind, str], list[int]] = defaultdict(lambda: [0, 0])
    seen: set[tuple[int, int]] = set()
    abandoned_before = time.time() - ABANDONED_SECONDS
    for parts, entry in _walk(home, stopped):
        with suppress(OSError):  # it went meanwhile
            info = entry.stat(follow_symlinks=False)
            if info.st_nlink > 1:  # a second name of the same file
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
            kind, name = _place(parts)
            unit = parts[: _UNITS_BELOW.get(parts[0], 0)]
            unfinished = next((n for n, part in enumerate(parts, 1) if part[0] == "." and _UNFINISHED.search(part)), 0)
            if unfinished and info.st_mtime < abandoned_before:
                kind, name = StorageKind.LEFTOVERS, "/".join(parts[:unfinished])
            elif len(unit) == _UNITS_BELOW.get(parts[0]) and not registered(unit) and _abandoned(home.joinpath(*unit)):
                kind, name = StorageKind.LEFTOVERS, "/".join(unit)
            total = sums[kind, name]
            total[0] += info.st_size
            total[1] += 1
    items = [StorageItem(kind, readable(name), *total) for (kind, name), total in sums.items()]
    items.sort(key=lambda item: (-item.bytes, item.kind, item.name))
    by_kind: dict[StorageKind, list[StorageItem]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    kinds = [KindTotal(kind, sum(i.bytes for i in own), sum(i.files for i in own)) for kind, own in by_kind.items()]
    kinds.sort(key=lambda total: -total.bytes)
    shown = {id(item) for own in by_kind.values() for item in own[:_MOST_NAMED]}
    return StorageUsage(utc_now(), tuple(kinds), tuple(item for item in items if id(item) in shown))


_UNITS_BELOW = {"models": 3, "datasets": 3, "environments": 3, "runs": 2}
"""How many parts name one registered thing below each of these folders."""


def _walk(root: Path, stopped: Callable[[], bool]) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
    """Every file below the folder, with the parts of its path there. Links are left out."""
    pending: list[tuple[str, tuple[str, ...]]] = [(str(root), ())]
    while pending:
        if stopped():
            raise Stopped
        folder, above = pending.pop()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, (*above, entry.name)))
                else:
                    yield (*above, entry.name), entry


def _place(parts: Parts) -> tuple[StorageKind, str]:
    """What a file counts as."""
    match parts:
        case ["models", name, version, _, *_]:
            return StorageKind.MODELS, f"{name}:{version}"
        case ["datasets", name, version, _, *_]:
            return StorageKind.DATASETS, f"{name}:{version}"
        case ["labels", name, version, _, *_]:
            return StorageKind.LABELS, f"{name}:{version}"
        case ["environments", ".builds", build, _, *_]:
            return StorageKind.ENVIRONMENTS, f"being made: {build}"
        case ["environments", name, version, _, *_]:
            return StorageKind.ENVIRONMENTS, f"{name}:{version}"
        case ["runs", run, *inside] if inside:
            return _kind_in_run(inside), run
        case ["drafts", _, *_]:
            return StorageKind.DRAFTS, "drafts"  # their numbers are secret
        case ["incoming", name, *_]:
            return StorageKind.LEFTOVERS, f"incoming/{name.removesuffix('.lock')}"
        case ["azure" | "azure-v2", subscription, group, workspace, _, *_]:
            return StorageKind.AZURE, f"{subscription}/{group}/{workspace}"
    return StorageKind.OTHER, parts[0]


def _kind_in_run(inside: Sequence[str]) -> StorageKind:
    top = inside[0]
    if top in ("output", "rows.partial", "output.jsonl"):
        return StorageKind.RUN_OUTPUT
    if top == "logs":
        return StorageKind.RUN_LOGS
    if is_cache_of_run(top):
        return StorageKind.CACHES
    if top == "predictions.parquet":  # of an imported run, which has nothing else that it could be made of
        return StorageKind.RUN_OUTPUT
    return StorageKind.RUN_TABLES if _TABLE.match(top) else StorageKind.RUN_RECORDS


def is_cache_of_run(name: str) -> bool:
    """Whether a file or folder at the top of a run's folder is made again when it is asked for: see table_cache.py and join.py."""
    return name.endswith(".kept") or bool(_JOINED.match(name))


def is_table_of_run(name: str) -> bool:
    """Whether a file at the top of a run's folder is a table that was made of its output, under its own name: see writer.table_name."""
    return bool(_TABLE.match(name)) and name.endswith(".parquet") and not name.startswith(".")


# ---- leftovers ---------------------------------------------------------------------------------------------------------------------------


def is_leftover(home: Path, name: str, registered: Registered) -> bool:
    """Whether this path in the home is what interrupted work left: nobody is at work on it, and the registry does not have it."""
    parts = name.split("/")
    path = home.joinpath(*parts)
    if not parts[1:] or any(part in ("", ".", "..") for part in parts):
        return False
    if not os.path.lexists(path) and not (parts[0] == "incoming" and len(parts) == 2 and lock_of_staging(path).is_file()):
        return False
    if any(home.joinpath(*parts[:length]).is_symlink() for length in range(1, len(parts) + 1)):
        return False
    if parts[0] == "incoming" and len(parts) == 2:
        return not _in_use(path)
    if _UNFINISHED.search(parts[-1]):
        return _abandoned(path)
    return len(parts) == _UNITS_BELOW.get(parts[0]) and not registered(parts) and _abandoned(path)


def _in_use(staging: Path) -> bool:
    """Whether a living process has it; see intake/staging.py. Of one without a lock, its age tells."""
    lock = lock_of_staging(staging)
    if not lock.exists():
        return not _abandoned(staging)
    try:
        with FileLock(lock).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def lock_of_staging(staging: Path) -> Path:
    """The file that is locked as long as a staging folder is in use."""
    return staging.with_name(f"{staging.name}.lock")


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


# ---- what is kept of it ------------------------------------------------------------------------------------------------------------------


def keep(home: Path, usage: StorageUsage) -> None:
    """Keep it for the next page. A home that can't be written is as it is."""
    with suppress(OSError):
        write_atomically(home / KEPT_FILE, to_json(usage))


def kept(home: Path) -> StorageUsage | None:
    """What was counted last; None before the first time."""
    path = home / KEPT_FILE
    with suppress(OSError, ValueError, TypeError):
        return _read(path, os.stat(path).st_mtime_ns, os.stat(path).st_ino)
    return None


@lru_cache(maxsize=2)
def _read(path: Path, _modified_ns: int, _inode: int) -> StorageUsage:
    """Up to a megabyte of JSON, which every page asks for where there is a limit."""
    return from_json(path.read_bytes(), StorageUsage)


def parse_size(text: str) -> int | None:
    """`50GB`, `1.5 TB` or `800 mb` as bytes, in steps of 1000; None for `none`. Raises SettingsError on `limit`."""
    cleaned = text.strip().lower()
    if cleaned == "none":
        return None
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?b|[kmgt])", cleaned, re.ASCII)
    if not found or (size := int(float(found[1]) * _UNITS[f"{found[2].rstrip('b')}b"])) < 1:
        raise SettingsError("limit", f"“{text[:100]}” is not a size", "Write a number and a unit, such as 50GB, or none for no limit.")
    return size


def limit(home: Path) -> int | None:
    """The most bytes that the home is to take, as a person set it; None where nobody did."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        value = json.loads((home / LIMIT_FILE).read_bytes())["bytes"]
        return value if isinstance(value, int) and value > 0 else None
    return None


def set_limit(home: Path, size: int | None) -> None:
    """Keep it in the home; None: there is none. Raises WorkspaceUnavailable."""
    path = home / LIMIT_FILE
    with os_errors_as(WorkspaceUnavailable, f"The limit can't be kept in {home}", "Check the free disk space and who may write there."):
        if size is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, f'{{"bytes": {size}}}')


def disk(home: Path) -> tuple[int, int]:
    """Bytes that are free on the disk of the home, and of the whole disk. Raises WorkspaceUnavailable."""
    with os_errors_as(WorkspaceUnavailable, f"The disk of {home} can't be asked for its free space"):
        usage = shutil.disk_usage(home)
    return usage.free, usage.total


def nearly_full(free: int, total: int) -> bool:
    """Less than 1 GB free, or less than 2 % of a disk of more than 50 GB; 20 GB are enough for any."""
    return free < max(10**9, min(total // 50, 20 * 10**9))

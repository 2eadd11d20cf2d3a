"""The disk that a home takes: what takes it, what can go, its limit, and when it fills. The same for every workspace.

Nothing is removed by itself: `proposals` says what could go, a person chooses, `clean_up` checks each of them once more and removes it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from services import formats
from services.domain import ResourceKind, RunRequest, utc_now
from services.errors import SettingsError, StudioError, WorkspaceUnavailable
from services.formats import counted
from services.intake.staging import staging_folder
from services.predictions.table_file import remove_table
from services.storage import usage
from services.storage.file_tree import bytes_below, remove
from services.storage.store import Store
from services.storage.usage import StorageKind, StorageUsage
from services.workspace import CleanedUp, CleanUpGroup, CleanUpItem, EnvironmentBuilds, Resources

logger = logging.getLogger(__name__)

DAYS = 90
"""How old an archived run, or how long unused an environment is, unless a person says otherwise."""
_NEAR = 0.9  # of the limit
_MOST_OUTPUT_FILES = 10_000  # of an earlier run, to tell what a run will write
_MOST_RUNS = 1_000  # at a time, the oldest
_TABLE_SPEED = 3.5e6  # bytes a second of a table of predictions that is made: 1.6 to 9 by what the rows are
_FOLDERS = {f"{kind}s": kind for kind in ResourceKind if kind is not ResourceKind.RUN}


class _Workspace(Protocol):
    home: Path

    @property
    def builds(self) -> EnvironmentBuilds | None: ...
    @property
    def resources(self) -> Resources: ...


class HomeStorage:
    """`services.workspace.Storage` of the home of `workspace`, whose registry is `store`. `own` are the folders of the home that hold only
    what the registry has, among models, datasets and environments."""

    def __init__(self, workspace: _Workspace, store: Store, own: Iterable[str] = ()) -> None:
        self._workspace, self._store = workspace, store
        self._home = workspace.home
        self._own = {name: _FOLDERS[name] for name in own}

    # ---- what it takes ----------------------------------------------------------------------------------------------------------

    def known(self) -> StorageUsage | None:
        return usage.kept(self._home)

    def measure(self, stopped: Callable[[], bool] = lambda: False) -> StorageUsage | None:
        try:
            measured = usage.measure(self._home, self._registered(), stopped)
        except usage.Stopped:
            return None
        usage.keep(self._home, measured)
        return measured

    def _registered(self) -> usage.Registered:
        """Whether a folder of the home is in the registry as it is now, or was: what it needs of what was deleted stays."""
        runs = self._store.run_ids()
        versions = {folder: self._store.references(kind) for folder, kind in self._own.items()}

        def is_registered(parts: Sequence[str]) -> bool:
            if parts[0] == "runs":
                return parts[1] in runs
            if parts[0] not in versions or not parts[2].isdecimal() or parts[1].startswith("."):
                return True  # nothing that a registration makes: somebody's own, or an environment that is being built
            return f"{parts[1]}:{int(parts[2])}" in versions[parts[0]]

        return is_registered

    def disk(self) -> tuple[int, int]:
        return usage.disk(self._home)

    # ---- its limit --------------------------------------------------------------------------------------------------------------

    def limit(self) -> int | None:
        return usage.limit(self._home)

    def set_limit(self, size: str) -> int | None:
        parsed = usage.parse_size(size)
        usage.set_limit(self._home, parsed)
        return parsed

    def warnings(self) -> list[str]:
        found = []
        with suppress(StudioError):
            free, total = self.disk()
            if usage.nearly_full(free, total):
                found.append(f"The disk is nearly full: {formats.size(free)} of {formats.size(total)} are free.")
        limit = self.limit()
        known = self.known() if limit else None
        if limit and known and known.bytes >= limit:
            found.append(f"The workspace’s folder takes {formats.size(known.bytes)}, and its limit is {formats.size(limit)}.")
        elif limit and known and known.bytes >= _NEAR * limit:
            share = f"{known.bytes / limit:.0%}"
            found.append(f"The workspace’s folder takes {formats.size(known.bytes)}, {share} of its limit of {formats.size(limit)}.")
        return found

    def run_warnings(self, request: RunRequest, items: int | None) -> list[str]:
        found = self.warnings()
        earlier = self._store.last_completed(request)
        if earlier is None or not earlier.items_total or not items:
            return found
        written = _output_of(self._home / "runs" / earlier.id)
        if written is None:
            return found
        expected = int(written / earlier.items_total * items)
        about = f"about {formats.size(expected)} of output, as {earlier.id} wrote {formats.size(written)}"
        with suppress(StudioError):
            free, _ = self.disk()
            if expected > free:
                return [*found, f"This run may not fit on the disk: {about}, and {formats.size(free)} are free."]
        limit = self.limit()
        known = self.known() if limit else None
        if limit and known and known.bytes + expected > limit > known.bytes:
            left = formats.size(limit - known.bytes)
            found.append(f"This run may exceed the limit of the workspace’s folder: {about}, and {left} are left.")
        return found

    # ---- what can go ------------------------------------------------------------------------------------------------------------

    def proposals(self, days: int = DAYS) -> list[CleanUpItem]:
        _check_days(days)
        found = [*self._caches(), *self._tables(), *self._leftovers(), *self._archived_runs(days), *self._unused_environments(days)]
        order = list(CleanUpGroup)
        return sorted(found, key=lambda item: (order.index(item.group), -(item.bytes or 0), item.name))

    def _caches(self) -> Iterator[CleanUpItem]:
        """Of runs that have ended."""
        known = self.known()
        unended = {run.id for run in self._store.unended_runs()}
        for item in known.of(StorageKind.CACHES) if known else ():
            if item.name not in unended:
                yield CleanUpItem(CleanUpGroup.CACHES, item.name, item.bytes, counted(item.files, "file"))

    def _tables(self) -> Iterator[CleanUpItem]:
        """Of runs that have ended, made from their output: see prediction_table.py."""
        known = self.known()
        unended = {run.id for run in self._store.unended_runs()}
        for item in known.of(StorageKind.RUN_TABLES) if known else ():
            if item.name not in unended:
                again = formats.duration(max(1, round(item.bytes / _TABLE_SPEED)))
                about = f"made again in about {again}, when its results are opened"
                yield CleanUpItem(CleanUpGroup.TABLES, item.name, item.bytes, about)

    def _leftovers(self) -> Iterator[CleanUpItem]:
        """What the last count came upon, and what lies in the folder of what is coming in now."""
        known = self.known()
        names = {item.name: item.bytes for item in (known.of(StorageKind.LEFTOVERS) if known else ())}
        incoming = self._home / "incoming"
        for path in incoming.iterdir() if incoming.is_dir() else ():
            names.setdefault(f"incoming/{path.name.removesuffix('.lock')}", -1)
        is_leftover = self._leftover_test()
        deleted = self._store.deletions()
        for name, size in names.items():
            if name not in deleted and is_leftover(name):
                path = self._home / name
                yield CleanUpItem(CleanUpGroup.LEFTOVERS, name, bytes_below(path) if size < 0 else size, _what_it_was(name))
        for name in deleted:
            yield CleanUpItem(CleanUpGroup.LEFTOVERS, name, bytes_below(self._home / name), "what was deleted when the process ended")

    def _leftover_test(self) -> Callable[[str], bool]:
        """What tells whether a path in the home is what interrupted work left. In the folder of a run that has not ended nothing is."""

        @cache
        def known() -> tuple[usage.Registered, set[str]]:  # of 100,000 runs it takes a moment
            return self._registered(), {run.id for run in self._store.unended_runs()}

        def is_leftover(name: str) -> bool:
            registered, unended = known()
            folder, run_id, *_ = (*name.split("/"), "")
            return not (folder == "runs" and run_id in unended) and usage.is_leftover(self._home, name, registered)

        return is_leftover

    def _archived_runs(self, days: int) -> Iterator[CleanUpItem]:
        before = utc_now() - timedelta(days=min(days, 36_500))
        known = self.known()
        sizes: dict[str, int] = {}
        for item in known.items if known else ():
            if item.kind in _OF_RUNS:
                sizes[item.name] = sizes.get(item.name, 0) + item.bytes
        for run in self._store.archived_runs(before, _MOST_RUNS):
            ended = f"{run.status} on {run.ended_at or run.submitted_at:%Y-%m-%d}: {run.title}"
            yield CleanUpItem(CleanUpGroup.ARCHIVED_RUNS, run.id, sizes.get(run.id), ended)

    def _unused_environments(self, days: int) -> Iterator[CleanUpItem]:
        if builds := self._workspace.builds:
            for known in builds.unused_for(days):
                where = "" if known.size is not None else f"; its interpreter stays: {known.interpreter}"
                yield CleanUpItem(
                    CleanUpGroup.UNUSED_ENVIRONMENTS, known.reference, known.size or 0, f"Python {known.python_version}{where}"
                )

    def clean_up(
        self,
        chosen: Sequence[CleanUpItem],
        progress: Callable[[int, int], None] = lambda _done, _of: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> CleanedUp:
        freed, removed, kept = 0, [], []
        remove: Mapping[CleanUpGroup, Callable[[str], int]] = {
            CleanUpGroup.CACHES: self._remove_caches,
            CleanUpGroup.TABLES: self._remove_tables,
            CleanUpGroup.LEFTOVERS: self._remove_leftover,
            CleanUpGroup.ARCHIVED_RUNS: self._delete_archived_run,
            CleanUpGroup.UNUSED_ENVIRONMENTS: lambda name: self._workspace.resources.delete(ResourceKind.ENVIRONMENT, [name]),
        }
        for number, item in enumerate(chosen):
            if stopped():
                kept += [(left, "the clean-up was stopped") for left in chosen[number:]]
                break
            progress(number, len(chosen))
            try:
                freed += remove[item.group](item.name)
                removed.append(item)
            except StudioError as error:
                kept.append((item, error.message))
            except OSError as error:
                kept.append((item, error.strerror or str(error)))
        logger.info("Cleaned up %d of %d: %s freed", len(removed), len(chosen), formats.size(freed))
        self.measure()
        return CleanedUp(freed, tuple(removed), tuple(kept))

    def _remove_caches(self, run_id: str) -> int:
        return self._remove_derived(run_id, usage.is_cache_of_run)

    def _remove_tables(self, run_id: str) -> int:
        folder = self._home / "runs" / run_id
        if not (_output_of(folder) or (folder / "rows.partial").exists()):
            raise StudioError("its output, from which it is made, is gone")
        return self._remove_derived(run_id, usage.is_table_of_run)

    def _remove_derived(self, run_id: str, is_derived: Callable[[str], bool]) -> int:
        """Whoever reads one of them goes on reading, and what is needed again is made again."""
        if not self._store.run(run_id).status.ended:
            raise StudioError(f"{run_id} has not ended")
        freed, folder = 0, self._home / "runs" / run_id
        with os.scandir(folder) as entries:
            derived = [Path(entry.path) for entry in entries if is_derived(entry.name) and not entry.is_symlink()]
        for path in derived:
            freed += bytes_below(path)
            if path.suffix == ".kept":
                self._discard(path)
            else:
                remove_table(path)
        return freed

    def _remove_leftover(self, name: str) -> int:
        if name in self._store.deletions():
            return self._workspace.resources.clean_up()
        if not self._leftover_test()(name):
            raise StudioError("it is in use, or gone")
        path = self._home / name
        freed = bytes_below(path)
        self._discard(path)
        if path.parent == self._home / "incoming":
            usage.lock_of_staging(path).unlink(missing_ok=True)
        elif path.parent.parent == self._home / name.partition("/")[0]:
            with suppress(OSError):  # the folder of the name, where this was its only version
                path.parent.rmdir()
        return freed

    def _delete_archived_run(self, run_id: str) -> int:
        said = self._workspace.resources.metadata(ResourceKind.RUN).get(run_id)
        if not said or not said.archived:
            raise StudioError("it is not archived any more")
        return self._workspace.resources.delete(ResourceKind.RUN, [run_id])

    def _discard(self, path: Path) -> None:
        """Gone at once, not file by file: killed in the middle, this leaves what the next clean-up finds. On a full disk, where nothing can
        be made for that, file by file. Raises OSError."""
        with suppress(OSError, WorkspaceUnavailable):
            if path.parent != self._home / "incoming":
                with staging_folder(self._home) as staging:
                    discarded = staging / "discarded"
                    os.replace(path, discarded)
                    remove(discarded)
        remove(path)
        if os.path.lexists(path):
            raise OSError(f"{path.name} can't be removed")


_OF_RUNS = (StorageKind.RUN_OUTPUT, StorageKind.RUN_TABLES, StorageKind.RUN_LOGS, StorageKind.RUN_RECORDS, StorageKind.CACHES)


def _check_days(days: Any) -> None:
    if not isinstance(days, int) or days < 1:
        raise SettingsError("days", f"{days} is not a number of days", "Give 1 or more.")


def _what_it_was(name: str) -> str:
    parts = name.split("/")
    if parts[0] == "incoming":
        return "what was coming in when its process ended"
    if parts[-1].endswith((".part", ".spill")):
        return "a file that was not written to its end"
    return f"a {parts[0].removesuffix('s')} that the registry does not have"


def _output_of(folder: Path) -> int | None:
    """Bytes that a run wrote; None where they are gone, or too many files to look at meanwhile."""
    total, count, pending = 0, 0, [folder / "output"]
    try:
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > _MOST_OUTPUT_FILES:
                        return None
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        return None
    return total or None

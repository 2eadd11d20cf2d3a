"""Models, datasets, environments and runs kept in order: described, tagged, pinned, archived, renamed, deleted. What is the same for every
workspace; each says what a reference means there, and what it removes.

Deleting is safe against a killed process: the registry forgets the thing and notes its files in one step, then they are removed; what a
killed process has left of them goes with the next deletion or `clean_up`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from services import log
from services.domain import Dependents, Metadata, ResourceKind, parse_reference, readable
from services.errors import SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import check_name, short
from services.predictions.annotations import AnnotationStore
from services.storage.file_tree import bytes_below, remove
from services.storage.runs import StoredRuns
from services.storage.store import Store, needed_by

logger = logging.getLogger(__name__)

_LONGEST = {"name": 200, "note": 10_000, "tag": 100, "value": 1_000}
"""Characters of what people say."""
_MOST_TAGS = 100
_RUNS_SHOWN = 100
_LOCK_RELEASE_SECONDS = 5.0


class StoredResources:
    """`services.workspace.Resources` of one home."""

    def __init__(self, home: Path, store: Store, runs: StoredRuns[Any], annotations: AnnotationStore) -> None:
        self._home, self._store, self._runs, self._annotations = home, store, runs, annotations

    # ---- what a workspace says for itself ------------------------------------------------------------------------------------------

    def _resolve(self, kind: ResourceKind, wanted: str) -> str:
        """The full reference of what a person means, a run aside. Raises NotFound."""
        raise NotImplementedError

    def _environment_names(self) -> Iterable[tuple[str, str]]:
        """The reference and the registered name of each environment."""
        raise NotImplementedError

    def _dependents(self, kind: ResourceKind, wanted: str) -> Dependents:
        """With what only this workspace knows: which files it shares with others, and where it is deleted."""
        raise NotImplementedError

    def _delete(self, kind: ResourceKind, wanted: str) -> None:
        """Forget one that is no run; files in the home are noted to be removed. Raises SettingsError."""
        raise NotImplementedError

    def _noted(self, paths: Iterable[Path]) -> list[str]:
        """Those that are there, relative to the home, as the registry notes them."""
        return [without_home(self._home, path) for path in paths if path.exists()]

    def _labels(self, reference: str) -> Path:
        """The folder with the true labels of a dataset."""
        name, _, version = reference.partition(":")
        return self._home / "labels" / name / version

    # ---- said of them --------------------------------------------------------------------------------------------------------------

    def metadata(self, kind: ResourceKind, reference: str | None = None) -> Mapping[str, Metadata]:
        return {found: one for found, one in self._store.metadata(kind, reference).items() if one != Metadata()}

    def whereabouts(self, kind: ResourceKind, reference: str, changed: Collection[str]) -> str:
        """See services.workspace."""
        return ""

    def reference(self, kind: ResourceKind, wanted: str) -> str:
        """The full reference of what a person means: `name` as the latest version, an environment by what it was renamed to too."""
        if kind is ResourceKind.RUN:
            return self._runs.get(wanted).id
        return self._resolve(kind, wanted)

    def change(
        self,
        kind: ResourceKind,
        wanted: str,
        *,
        name: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> Metadata:
        found = self.reference(kind, wanted)
        if name is not None:
            name = self._checked_name(kind, found, name)
        if note is not None:
            note = _checked("note", readable(note).strip(), "note")
        changed = {_checked_tag(key): _checked("tags", readable(value), "value") for key, value in (tags or {}).items()}
        given = {"name": name, "note": note, "pinned": pinned, "archived": archived}
        return self._change(kind, found, {key: value for key, value in given.items() if value is not None}, changed)

    def _change(self, kind: ResourceKind, found: str, given: dict[str, Any], tags: Mapping[str, str]) -> Metadata:
        return self._store.change_metadata(kind, found, lambda before: replace(before, **given, tags=changed_tags(before.tags, tags)))

    def _checked_name(self, kind: ResourceKind, found: str, name: str) -> str:
        """As it is kept; "" gives the old name back."""
        name = " ".join(readable(name).split())
        if kind not in (ResourceKind.RUN, ResourceKind.ENVIRONMENT):
            text = f"a {kind} is not renamed, since scripts ask for it by its name"
            raise SettingsError("name", text, "Register it again under another name.")
        if kind is ResourceKind.RUN or not name:
            return _checked("name", name, "name")
        if name == found.partition(":")[0]:
            return ""
        check_name("name", name)
        taken = {known.lower(): of for of, known in self._environment_names()}
        taken |= {one.name.lower(): of for of, one in self._store.metadata(kind).items() if one.name and of != found}
        if of := taken.get(name.lower()):
            raise SettingsError("name", f"“{name}” is the name of environment {of}", "Choose another name.")
        return name

    def renamed(self, wanted: str) -> str | None:
        """The reference of the environment that was renamed to this name, or `name:version`; None where none was."""
        name, version = parse_reference(wanted, ResourceKind.ENVIRONMENT)
        known = self._store.metadata(ResourceKind.ENVIRONMENT)
        found = [of for of, one in known.items() if one.name == name and version in (None, int(of.partition(":")[2] or 0))]
        return max(found, key=lambda of: int(of.partition(":")[2] or 0), default=None)

    # ---- deleted -------------------------------------------------------------------------------------------------------------------

    def dependents(self, kind: ResourceKind, wanted: str) -> Dependents:
        if kind is not ResourceKind.RUN:
            return self._dependents(kind, wanted)
        run = self._runs.get(wanted)
        again = self._store.runs_naming(kind, run.id)
        active = () if run.status.ended else (run.id,)
        reruns = self._store.runs_naming(kind, run.id, added=True)
        others = [other for other in again if other not in reruns]
        folder = self._runs.folder(run.id).path
        found = Dependents(kind, run.id, tuple(others[:_RUNS_SHOWN]), len(others), active, tuple(reruns), notes=self._run_notes(run.id))
        return replace(found, shared_with=tuple(self._store.datasets_below(folder)), size=bytes_below(folder))

    def _run_notes(self, run_id: str) -> tuple[str, ...]:
        """Sentences on what deleting it does elsewhere."""
        return ()

    def _named_in_runs(self, kind: ResourceKind, found: str) -> Dependents:
        """What the registry knows."""
        runs = self._store.runs_naming(kind, found)
        active = self._store.runs_naming(kind, found, active=True)
        return Dependents(kind, found, tuple(runs[:_RUNS_SHOWN]), len(runs), tuple(active))

    def delete(self, kind: ResourceKind, references: Sequence[str]) -> int:
        """See services.workspace."""
        with self._store.held_open():
            found = list({one.reference: one for one in (self.dependents(kind, wanted) for wanted in references)}.values())
        together = {one.reference for one in found}
        for one in found:
            if one.active:
                raise needed_by(kind, one.reference, one.active)
            if kind is ResourceKind.RUN and one.shared_with:
                text = f"run {one.reference} is needed by dataset {', '.join(one.shared_with[:10])}, whose files are its output"
                raise SettingsError(kind, text, "Delete the dataset first.")
            if others := [run for run in self._all_added_to(one.reruns) if run not in together]:
                shown, more = ", ".join(others[:_RUNS_SHOWN]), len(others) - _RUNS_SHOWN
                what = f"{shown} and {more:,} more, which show" if more > 0 else f"{shown}, which {'show' if len(others) > 1 else 'shows'}"
                raise SettingsError(kind, f"run {one.reference} is needed by {what} rows of it", "Delete them together.")
        if kind is ResourceKind.RUN:
            found.sort(key=lambda one: self._runs.get(one.reference).submitted_at, reverse=True)  # those that need another come first
        freed = 0
        with self._store.held_open():
            for one in found:
                if kind is ResourceKind.RUN:
                    freed += self._delete_run(one.reference)
                else:
                    self._delete(kind, one.reference)
                    freed += self.clean_up()
        return freed

    def _all_added_to(self, reruns: Iterable[str]) -> list[str]:
        """These runs, those that were added to them, and so on."""
        found = dict.fromkeys(reruns)
        pending = list(found)
        for run in pending:
            new = [one for one in self._store.runs_naming(ResourceKind.RUN, run, added=True) if one not in found]
            found |= dict.fromkeys(new)
            pending += new
        return list(found)

    def _delete_run(self, run_id: str) -> int:
        run, folder = self._store.run(run_id), self._runs.folder(run_id)
        # An imported run has read nothing here: what it names lies elsewhere, and need not be a name at all.
        read = () if run.imported_from else (*run.request.datasets, *run.request.side_inputs.values())
        paths = [f"runs/{run_id}", *self._no_longer_needed(run_id, read)]
        if folder.path.is_dir():
            try:
                with folder.locked(_LOCK_RELEASE_SECONDS):
                    self._store.delete_run(run_id, paths)
            except Timeout as error:
                raise SettingsError(ResourceKind.RUN, f"run {run_id} has an active runner", "Wait for its end, or cancel it.") from error
        else:
            self._store.delete_run(run_id, paths)
        with log.suppress(logger, "Notes on the rows of a deleted run stay", StudioError):
            self._annotations.forget_run(run_id)
        return self.clean_up()

    def _no_longer_needed(self, run_id: str, datasets: Iterable[str]) -> list[str]:
        """Paths of what deleted ones of these datasets have left for the runs over them, of which this is the last."""
        return []

    def clean_up(self) -> int:
        """See services.workspace."""
        paths = self._store.deletions()
        if not paths:
            return 0
        freed = 0
        lock = FileLock(self._home / ".deleting.lock")
        with (
            os_errors_as(WorkspaceUnavailable, f"The workspace's folder, {self._home}, can't be written"),
            suppress(Timeout),  # another process removes them
            lock.acquire(timeout=_LOCK_RELEASE_SECONDS),
        ):
            for path in paths:
                freed += self._remove(path)
        return freed

    def _remove(self, path: str) -> int:
        """Remove one that was noted. What can't be removed now stays noted, for the next time."""
        place = self._home / path
        size = bytes_below(place)
        remove(place)
        if place.exists() or place.is_symlink():
            logger.warning("%s was deleted, and can't be removed yet", place)
            return 0
        self._store.deletion_done(path)
        for parent in place.parents:  # of the last version of its name
            if self._home in (parent, parent.parent):
                break
            with suppress(OSError):
                parent.rmdir()
        return size


def changed_tags(tags: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Tags with these set, and those whose value is "" taken away. Raises SettingsError for too many."""
    after = {key: value for key, value in {**tags, **changes}.items() if value}
    if len(after) > max(_MOST_TAGS, len(tags)):
        raise SettingsError("tags", f"{len(after)} tags are more than {_MOST_TAGS}", "Take some away first.")
    return after


def without_home(home: Path, path: Path) -> str:
    """A path in the home as the registry notes it."""
    return path.relative_to(home).as_posix()


def _checked(field: str, text: str, what: str) -> str:
    if len(text) > _LONGEST[what]:
        raise SettingsError(field, f"this {what} has {len(text):,} characters", f"Keep it to {_LONGEST[what]:,}.")
    return text


def _checked_tag(key: str) -> str:
    key = readable(key).strip()
    if not key or "=" in key:
        raise SettingsError("tags", f"“{short(key)}” is not a tag", "Write KEY=VALUE; KEY= takes a tag away.")
    return _checked("tags", key, "tag")

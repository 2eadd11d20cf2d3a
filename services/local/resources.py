"""What is kept in order in the local workspace, and which files in the home go with what is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.domain import Dataset, Dependents, Environment, Model, ResourceKind, RunRequest, parse_reference
from services.errors import NotFound, StudioError
from services.predictions.annotations import AnnotationStore
from services.resources import StoredResources
from services.storage.file_tree import bytes_below
from services.storage.runs import StoredRuns
from services.storage.store import Store

_CLASSES: dict[ResourceKind, type[Model | Dataset | Environment]] = {
    ResourceKind.MODEL: Model,
    ResourceKind.DATASET: Dataset,
    ResourceKind.ENVIRONMENT: Environment,
}
_OWN_COLUMNS = "columns.parquet"
"""Beside the labels of a dataset: a copy of its columns, which goes with the dataset."""


class LocalResources(StoredResources):
    """Of one home. A dataset's own files, where it was registered in place, and an interpreter that was not made here stay as they are."""

    def __init__(
        self,
        home: Path,
        store: Store,
        runs: StoredRuns[Any],
        annotations: AnnotationStore,
        scheduled: Callable[[], Iterable[tuple[str, RunRequest]]],
    ) -> None:
        """`scheduled` are the names and requests of the schedules."""
        super().__init__(home, store, runs, annotations)
        self._scheduled = scheduled

    def _resolve(self, kind: ResourceKind, wanted: str) -> str:
        return self._get(kind, wanted).reference

    def _get(self, kind: ResourceKind, wanted: str) -> Model | Dataset | Environment:
        name, version = parse_reference(wanted, kind)
        try:
            return self._store.get(_CLASSES[kind], name, version)
        except NotFound:
            if kind is ResourceKind.ENVIRONMENT and (found := self.renamed(wanted)):
                return self._store.get(Environment, *parse_reference(found, kind))
            raise

    def environment(self, wanted: str) -> Environment:
        """By its reference, or by what it was renamed to. Raises NotFound."""
        found = self._get(ResourceKind.ENVIRONMENT, wanted)
        assert isinstance(found, Environment)
        return found

    def _environment_names(self) -> Iterable[tuple[str, str]]:
        return [(known.reference, known.name) for known in self._store.all(Environment)]

    # ---- deleted -------------------------------------------------------------------------------------------------------------------

    def _dependents(self, kind: ResourceKind, wanted: str) -> Dependents:
        thing = self._get(kind, wanted)
        found = replace(self._named_in_runs(kind, thing.reference), schedules=tuple(self._schedules_of(kind, thing)))
        notes: tuple[str, ...] = ()
        if isinstance(thing, Dataset):
            found = replace(found, shared_with=tuple(self._readers(self._folder(kind, thing.reference), but=thing.reference)))
            found = replace(found, labels=len(list(self._labels(thing.reference).glob("labels-*.parquet"))))
            if thing.in_place:
                notes = (f"The files in {thing.root} are yours and stay.",)
        elif isinstance(thing, Environment) and not self._made_here(thing):
            notes = (f"The interpreter {thing.interpreter} was not made here and stays.",)
        size = sum(bytes_below(self._home / path) for path in self._paths(kind, thing, found))
        return replace(found, size=size, notes=notes)

    def _schedules_of(self, kind: ResourceKind, thing: Model | Dataset | Environment) -> Iterator[str]:
        """Those that name this very version, or the name of which it is the only one."""
        meant = {thing.reference}
        if len(self._store.all(_CLASSES[kind], thing.name)) == 1:
            meant.add(thing.name)
        with suppress(StudioError):  # one that can't be read fails anyway
            for name, request in self._scheduled():
                named = {
                    ResourceKind.MODEL: request.models,
                    ResourceKind.DATASET: (*request.datasets, *request.side_inputs.values()),
                    ResourceKind.ENVIRONMENT: (request.environment or "",),
                }
                if meant & set(named[kind]):
                    yield name

    def _delete(self, kind: ResourceKind, wanted: str) -> None:
        thing = self._get(kind, wanted)
        self._store.delete(kind, thing.name, thing.version, self._paths(kind, thing, self._dependents(kind, wanted)))

    def _paths(self, kind: ResourceKind, thing: Model | Dataset | Environment, found: Dependents) -> list[str]:
        """What goes with it, relative to the home."""
        if isinstance(thing, Environment) and not self._made_here(thing):
            return []
        folder = self._folder(kind, thing.reference)
        if not isinstance(thing, Dataset):
            return self._noted([folder])
        labels = self._labels(thing.reference)
        # What is left to show the runs over it: the lists of its files, and the labels that they are judged by.
        kept_for_runs = bool(found.run_count)
        others = [other for other in self._store.all(Dataset, thing.name) if other.reference != thing.reference]
        paths = [labels / _OWN_COLUMNS if kept_for_runs or others else labels]
        if not found.shared_with:
            paths += [path for path in _children(folder) if path.suffix != ".jsonl"] if kept_for_runs else [folder]
        # A dataset that was made of another one's files, which was deleted before, was the last to read them.
        for owner in {self._owner(place) for place in (thing.root, thing.source_root) if place} - {folder, None}:
            assert owner
            if not self._is_registered(owner) and not list(self._readers(owner, but=thing.reference)):
                paths += self._files_of_deleted(owner)
        return self._noted(paths)

    def _no_longer_needed(self, run_id: str, datasets: Iterable[str]) -> list[str]:
        paths: list[Path] = []
        for name in dict.fromkeys(datasets):
            folder = self._folder(ResourceKind.DATASET, name)
            if self._is_registered(folder) or self._store.runs_naming(ResourceKind.DATASET, name) != [run_id]:
                continue
            if not list(self._readers(folder)):
                paths.append(folder)
            if not self._store.all(Dataset, name.partition(":")[0]):
                paths.append(self._labels(name))
        return self._noted(paths)

    def _files_of_deleted(self, folder: Path) -> list[Path]:
        reference = f"{folder.parent.name}:{folder.name}"
        if self._store.runs_naming(ResourceKind.DATASET, reference):
            return [path for path in _children(folder) if path.suffix != ".jsonl"]
        return [folder]

    # ---- folders -------------------------------------------------------------------------------------------------------------------

    def _folder(self, kind: ResourceKind, reference: str) -> Path:
        name, _, version = reference.partition(":")
        return self._home / f"{kind}s" / name / version

    def _made_here(self, environment: Environment) -> bool:
        return Path(environment.interpreter).is_relative_to(self._folder(ResourceKind.ENVIRONMENT, environment.reference))

    def _readers(self, folder: Path, but: str = "") -> Iterator[str]:
        """The datasets whose files lie in the folder of this one: it was read again as another type."""
        return (reference for reference in self._store.datasets_below(folder) if reference != but)

    def _owner(self, place: str) -> Path | None:
        """The folder of the dataset's version that the files at this place lie in; None for a person's own."""
        datasets, path = self._home / "datasets", Path(place)
        if not path.is_relative_to(datasets) or len(parts := path.relative_to(datasets).parts) < 2:
            return None
        return datasets / parts[0] / parts[1]

    def _is_registered(self, folder: Path) -> bool:
        return folder.name.isdecimal() and bool(self._store.all(Dataset, folder.parent.name, int(folder.name)))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []

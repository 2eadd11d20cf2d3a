"""What is kept in order in an Azure ML workspace. Models' tags are Azure ML's own, so that others see them; everything else that people say
is kept on this machine. Models and datasets are deleted in Azure ML, runs on this machine only, environments nowhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.azure.catalog.datasets import Datasets
from services.azure.catalog.models import Models
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.azure.runs.azure_runs import AzureRuns
from services.domain import Dataset, Dependents, Metadata, ResourceKind, parse_reference
from services.errors import NotFound, SettingsError, StudioError
from services.formats import counted
from services.predictions.annotations import AnnotationStore
from services.resources import StoredResources, changed_tags
from services.storage.file_tree import bytes_below
from services.storage.store import Store

_PIPELINES = "Whether a published pipeline or a schedule there needs it is not known here."


class AzureResources(StoredResources):
    """Of one Azure ML workspace. What asks the service raises WorkspaceUnavailable."""

    def __init__(
        self,
        home: Path,
        store: Store,
        runs: AzureRuns,
        annotations: AnnotationStore,
        cache: WorkspaceCache,
        models: Models,
        datasets: Datasets,
    ) -> None:
        super().__init__(home, store, runs, annotations)
        self._cache, self._models, self._datasets = cache, models, datasets

    def _resolve(self, kind: ResourceKind, wanted: str) -> str:
        if kind is ResourceKind.MODEL:
            return self._cache.find(self._cache.models, kind, wanted).reference
        if kind is ResourceKind.DATASET:
            return self._cache.find(self._cache.datasets, kind, wanted).reference
        try:
            return self._cache.find(self._cache.environments, kind, wanted).reference
        except NotFound:
            if found := self.renamed(wanted):
                return found
            raise

    def _environment_names(self) -> Iterable[tuple[str, str]]:
        return [(known.reference, known.name) for known in self._cache.known(self._cache.environments)]

    # ---- said of them --------------------------------------------------------------------------------------------------------------

    def metadata(self, kind: ResourceKind, reference: str | None = None) -> Mapping[str, Metadata]:
        said = self._store.metadata(kind, reference)
        if kind is ResourceKind.MODEL:
            for model in self._cache.known(self._cache.models):
                if reference in (None, model.reference):
                    said[model.reference] = replace(said.get(model.reference, Metadata(note=model.description)), tags=model.tags)
        elif kind is ResourceKind.DATASET:
            for dataset in self._cache.known(self._cache.datasets):
                if reference in (None, dataset.reference):
                    said.setdefault(dataset.reference, Metadata(note=dataset.description))
        return {found: one for found, one in said.items() if one != Metadata()}

    def _change(self, kind: ResourceKind, found: str, given: dict[str, Any], tags: Mapping[str, str]) -> Metadata:
        before = self.metadata(kind, found).get(found, Metadata())
        if kind is not ResourceKind.MODEL:
            begin = replace(before, tags=self._store.metadata(kind, found).get(found, Metadata()).tags)
            return self._store.change_metadata(
                kind, found, lambda said: replace(said, **given, tags=changed_tags(said.tags, tags)), begin=begin
            )
        model = self._cache.find(self._cache.models, kind, found)
        after = changed_tags(model.tags, tags)
        if after != model.tags:
            self._models.set_tags(found, after)
            self._cache.models.replace(lambda other: replace(other, tags=after) if other.reference == found else other)
        if given:
            said = self._store.change_metadata(kind, found, lambda said: replace(said, **given, tags={}), begin=before)
            return replace(said, tags=after)
        return replace(before, tags=after)

    # ---- deleted -------------------------------------------------------------------------------------------------------------------

    def _run_notes(self) -> tuple[str, ...]:
        return ("It is deleted on this machine only: the pipeline run and its output stay in Azure ML.",)

    def _dependents(self, kind: ResourceKind, wanted: str) -> Dependents:
        if kind is ResourceKind.ENVIRONMENT:
            self._resolve(kind, wanted)
            raise SettingsError("environment", "Azure ML’s SDK v1 removes no environments", "Archive it in Azure ML studio.")
        if kind is ResourceKind.MODEL:
            found = self._named_in_runs(kind, self._resolve(kind, wanted))
            return replace(found, notes=("It is deleted in Azure ML, for everyone who uses the workspace.", _PIPELINES))
        versions = self._versions(wanted)
        named = [self._named_in_runs(kind, dataset.reference) for dataset in versions]
        runs = tuple(dict.fromkeys(run for one in named for run in one.runs))
        active = tuple(dict.fromkeys(run for one in named for run in one.active))
        count = len({run for dataset in versions for run in self._store.runs_naming(kind, dataset.reference)})
        there = "It is unregistered in Azure ML, for everyone who uses the workspace; its files stay in their datastore."
        notes = [there, _PIPELINES]
        if len(versions) > 1:
            notes.insert(0, f"All its {counted(len(versions), 'version')} go: Azure ML’s SDK v1 deletes no single one.")
        labels = sum(len(list(self._labels(dataset).glob("labels-*.parquet"))) for dataset in versions)
        size = sum(bytes_below(self._home / path) for path in self._lists_of(versions) + self._labels_of(versions))
        reference = versions[0].reference if len(versions) == 1 else versions[0].name
        return Dependents(kind, reference, runs, count, active, labels=labels, size=size, notes=tuple(notes))

    def _versions(self, wanted: str) -> list[Dataset]:
        """Those that go together: all of a name."""
        name, version = parse_reference(wanted, ResourceKind.DATASET)
        self._resolve(ResourceKind.DATASET, wanted)
        versions = [dataset for dataset in self._cache.known(self._cache.datasets) if dataset.name == name]
        if version is not None and len(versions) > 1:
            text = f"Azure ML’s SDK v1 deletes no single version of a dataset, and {name} has {len(versions)}"
            raise SettingsError("dataset", text, f"Name {name} to delete them all, or archive {wanted}: lists then leave it out.")
        return versions

    def _delete(self, kind: ResourceKind, wanted: str) -> None:
        if kind is ResourceKind.MODEL:
            self._models.delete(wanted)
            self._cache.models.remove(lambda other: other.reference == wanted)
            self._store.forget_metadata(kind, wanted)
            return
        versions = self._versions(wanted)
        for dataset in versions:
            self._keep_lists_with_runs(dataset)
        self._store.note_deletions(self._lists_of(versions))  # before: another dataset of this name and version must not have them
        self._datasets.unregister(versions[0].name)
        self._cache.datasets.remove(lambda other: other.name == versions[0].name)
        for dataset in versions:
            self._store.forget_metadata(kind, dataset.reference)
        self._store.note_deletions(self._labels_of(versions))

    def _lists_of(self, versions: list[Dataset]) -> list[str]:
        """What is kept here of a dataset and can be asked for again: lists of its files, files that were fetched."""
        return self._noted(self._home / "datasets" / dataset.name / str(dataset.version) for dataset in versions)

    def _labels_of(self, versions: list[Dataset]) -> list[str]:
        """Its labels; not those by which runs are judged."""
        return self._noted(
            self._labels(dataset) for dataset in versions if not self._store.runs_naming(ResourceKind.DATASET, dataset.reference)
        )

    def _noted(self, paths: Iterable[Path]) -> list[str]:
        return [path.relative_to(self._home).as_posix() for path in paths if path.exists()]

    def _labels(self, dataset: Dataset) -> Path:
        return self._home / "labels" / dataset.name / str(dataset.version)

    def _keep_lists_with_runs(self, dataset: Dataset) -> None:
        """Runs over it are shown by the list of its files: each gets its own. Where the dataset keeps it, it would be taken for that of
        another of the same name and version."""
        folder = self._home / "datasets" / dataset.name / str(dataset.version)
        for run_id in self._store.runs_naming(ResourceKind.DATASET, dataset.reference):
            run = self._runs.folder(run_id)
            with suppress(OSError, StudioError):  # a run whose own folder is gone
                plan, kept = run.plan(), []
                for number, manifest in enumerate(map(Path, plan.manifests)):
                    if manifest.is_relative_to(folder) and manifest.is_file():
                        own = run.path / f"manifest-{number}.jsonl"
                        _link_or_copy(manifest, own)
                        manifest = own  # noqa: PLW2901
                    kept.append(str(manifest))
                if tuple(kept) != plan.manifests:
                    run.create(replace(plan, manifests=tuple(kept)))

    def _no_longer_needed(self, run_id: str, datasets: Iterable[str]) -> list[str]:
        """The labels of datasets that are not in Azure ML any more, as far as that is known."""
        known = {dataset.reference for dataset in self._cache.datasets.known()}
        gone = [name for name in dict.fromkeys(datasets) if known and name not in known]
        places = [Path("labels", *name.split(":")) for name in gone if self._store.runs_naming(ResourceKind.DATASET, name) == [run_id]]
        return [place.as_posix() for place in places if (self._home / place).exists()]


def _link_or_copy(source: Path, target: Path) -> None:
    """Raises OSError."""
    with suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

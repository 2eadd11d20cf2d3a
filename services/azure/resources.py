"""What is kept in order in an Azure ML workspace. What it has a place for is kept there, so that others see it: notes and tags of models
and datasets; names, notes and tags of runs. What else people say is kept on this machine. Models and datasets are deleted in Azure ML, runs
on this machine only, environments nowhere.

What is said goes there first, part by part, and is kept here once it has arrived: where one part is refused, both still say the same. Of a
run that is not there yet it is kept here, and its runner sends it as soon as the run is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.azure.catalog.datasets import Datasets
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.azure.run_plan import check_metadata
from services.azure.runs.azure_pipelines import published_naming
from services.azure.runs.azure_runs import AzureRuns
from services.azure.sdk import Sdk
from services.domain import Dataset, Dependents, Metadata, Model, ResourceKind, parse_reference
from services.errors import NotFound, SettingsError, StudioError
from services.formats import counted
from services.predictions.annotations import AnnotationStore
from services.remote import PipelineRun
from services.resources import StoredResources, changed_tags
from services.storage.file_tree import bytes_below
from services.storage.store import Store

_DESCRIBED_THERE = (ResourceKind.MODEL, ResourceKind.DATASET)
"""What has its note and tags in Azure ML; those of runs are kept here too."""
_SHOWN = 3
_OTHERS = "Whether pipelines and schedules that others made there need it is not known here."


class AzureResources(StoredResources):
    """Of one Azure ML workspace. What asks the service raises WorkspaceUnavailable."""

    def __init__(
        self, home: Path, store: Store, runs: AzureRuns, annotations: AnnotationStore, sdk: Sdk, cache: WorkspaceCache, datasets: Datasets
    ) -> None:
        super().__init__(home, store, runs, annotations)
        self._sdk, self._cache, self._datasets = sdk, cache, datasets

    def _resolve(self, kind: ResourceKind, wanted: str) -> str:
        try:
            return str(self._cache.find(self._cache.of(kind), kind, wanted).reference)
        except NotFound:
            if kind is ResourceKind.ENVIRONMENT and (found := self.renamed(wanted)):
                return found
            raise

    def _environment_names(self) -> Iterable[tuple[str, str]]:
        return [(known.reference, known.name) for known in self._cache.known(self._cache.environments)]

    # ---- said of them --------------------------------------------------------------------------------------------------------------

    def metadata(self, kind: ResourceKind, reference: str | None = None) -> Mapping[str, Metadata]:
        said = self._store.metadata(kind, reference)
        for one in self._cache.known(self._cache.of(kind)) if kind in _DESCRIBED_THERE else ():
            if reference in (None, one.reference):
                said[one.reference] = replace(said.get(one.reference, Metadata()), note=one.description, tags=one.tags)
        return {found: one for found, one in said.items() if one != Metadata()}

    def whereabouts(self, kind: ResourceKind, reference: str, changed: Collection[str]) -> str:
        if not changed or kind is ResourceKind.ENVIRONMENT or not set(changed) & {"name", "note", "tags"}:
            return f"On this machine only: Azure ML’s {self._sdk.name} has no place for it." if changed else ""
        if kind is ResourceKind.DATASET and not self._sdk.datasets.versions_apart:
            name = reference.partition(":")[0]
            return f"In Azure ML, for all versions of {name}: {self._sdk.name} keeps one note and one set of tags for them."
        if kind is not ResourceKind.RUN:
            return "In Azure ML, where everyone who uses the workspace sees it."
        if self._in_azure(reference):
            return "Here and in Azure ML, where everyone who uses the workspace sees it."
        if self._runs.imported(reference) or self._runs.get(reference).status.ended:
            return "On this machine only: the run is not in Azure ML."
        return "On this machine until the run is in Azure ML, and then there too."

    def _change(self, kind: ResourceKind, found: str, given: dict[str, Any], tags: Mapping[str, str]) -> Metadata:
        if kind is ResourceKind.ENVIRONMENT:
            return super()._change(kind, found, given, tags)
        if kind is ResourceKind.RUN:
            return self._change_run(found, given, tags)
        changed_tags(self.metadata(kind, found).get(found, Metadata()).tags, tags)  # too many are refused before anything is sent
        kept_here = {name: value for name, value in given.items() if name != "note"}
        if "note" in given:
            self._describe(kind, found, note=given["note"])
        if tags:
            self._describe(kind, found, tags=tags)
        if kept_here:
            self._store.change_metadata(kind, found, lambda said: replace(said, **kept_here))
        return self.metadata(kind, found).get(found, Metadata())

    def _describe(self, kind: ResourceKind, found: str, **said: Any) -> None:
        """Change the note, or the tags, in Azure ML and in the list of what is there."""
        if kind is ResourceKind.MODEL:
            with self._sdk.session.changing(next(iter(said)), f"model {found}"):
                kept = self._sdk.models.describe(found, **said)
        else:
            kept = self._datasets.describe(found, **said)
        about = {"description": kept.note, "tags": kept.tags}
        self._cache.of(kind).replace(lambda other: replace(other, **about) if self._go_together(kind, found, other) else other)

    def _go_together(self, kind: ResourceKind, reference: str, other: Model | Dataset) -> bool:
        """Whether the service keeps and deletes this one with the version of that reference."""
        apart = kind is ResourceKind.MODEL or self._sdk.datasets.versions_apart
        return other.reference == reference if apart else other.name == reference.partition(":")[0]

    def _in_azure(self, run_id: str) -> PipelineRun | None:
        """The pipeline run, once its runner has sent what was said of it before."""
        known: PipelineRun | None = self._runs.folder(run_id).pipeline_run()
        return known if known and known.studio_url else None

    def _change_run(self, run_id: str, given: dict[str, Any], tags: Mapping[str, str]) -> Metadata:
        run = self._runs.get(run_id)
        changed_tags(run.metadata.tags, tags)
        if not run.imported_from:
            check_metadata(given.get("note"), tags)
        there = self._in_azure(run_id)
        if there is None:
            said = super()._change(ResourceKind.RUN, run_id, given, tags)
            if (there := self._in_azure(run_id)) is None:  # else its runner may have read it before
                return said
        parts: list[tuple[dict[str, Any], dict[str, str]]] = [({one: given[one]}, {}) for one in ("name", "note") if one in given]
        parts += [({}, {key: value for key, value in tags.items() if bool(value) is kept}) for kept in (True, False)]
        for part, changes in parts:
            if part or changes:
                with self._sdk.session.changing(next(iter(part), "tags"), f"run {run.id}"):
                    self._sdk.history.describe(there, run.request.title(), tags=changes, **part)
                super()._change(ResourceKind.RUN, run_id, part, changes)
        kept_here = {name: value for name, value in given.items() if name not in ("name", "note")}
        return super()._change(ResourceKind.RUN, run_id, kept_here, {})

    # ---- deleted -------------------------------------------------------------------------------------------------------------------

    def _run_notes(self, run_id: str) -> tuple[str, ...]:
        if self._runs.imported(run_id):
            return ()
        if self._runs.folder(run_id).pipeline_run() is None:
            return ("It is deleted on this machine: Azure ML does not have it.",)
        return ("It is deleted on this machine only: the pipeline run, its description and tags there, and its output stay in Azure ML.",)

    def _dependents(self, kind: ResourceKind, wanted: str) -> Dependents:
        if kind is ResourceKind.ENVIRONMENT:
            self._resolve(kind, wanted)
            hint = "Archive it, and lists on this machine leave it out; in Azure ML studio it can be archived for everyone."
            raise SettingsError("environment", f"Azure ML’s {self._sdk.name} removes no environments", hint)
        if kind is ResourceKind.MODEL:
            found = self._named_in_runs(kind, self._resolve(kind, wanted))
            return replace(found, notes=(self._sdk.models.deletion, *self._published(kind, [found.reference]), _OTHERS))
        versions = self._versions(wanted)
        named = [self._named_in_runs(kind, dataset.reference) for dataset in versions]
        runs = tuple(dict.fromkeys(run for one in named for run in one.runs))
        active = tuple(dict.fromkeys(run for one in named for run in one.active))
        count = len({run for dataset in versions for run in self._store.runs_naming(kind, dataset.reference)})
        no_single_one = f"Azure ML’s {self._sdk.name} deletes no single one."
        all_of_them = [f"All its {counted(len(versions), 'version')} go: {no_single_one}"] * (len(versions) > 1)
        judged = " True labels by which runs are judged stay until the last of them is deleted." * bool(count)
        here = f"On this machine the lists of its files go, and files that were fetched.{judged}"
        published = self._published(kind, [dataset.reference for dataset in versions])
        notes = [*all_of_them, self._sdk.datasets.deletion, here, *published, _OTHERS]
        labels = sum(len(list(self._labels(dataset.reference).glob("labels-*.parquet"))) for dataset in versions)
        size = sum(bytes_below(self._home / path) for path in self._lists_of(versions) + self._labels_of(versions))
        reference = versions[0].reference if len(versions) == 1 else versions[0].name
        return Dependents(kind, reference, runs, count, active, labels=labels, size=size, notes=tuple(notes))

    def _published(self, kind: ResourceKind, references: Collection[str]) -> list[str]:
        """A sentence on the pipelines that were published from this home and name one of these."""
        named = published_naming(self._home, kind, references)
        if not named:
            return []
        shown = ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN:,} more" if len(named) > _SHOWN else "")
        return [f"Pipelines published from here name it: {shown}. They and their schedules may fail without it."]

    def _versions(self, wanted: str) -> list[Dataset]:
        """Those that go together."""
        kind = ResourceKind.DATASET
        name, version = parse_reference(wanted, kind)
        found = self._resolve(kind, wanted)
        versions = [dataset for dataset in self._cache.known(self._cache.datasets) if self._go_together(kind, found, dataset)]
        if version is not None and len(versions) > 1:
            text = f"Azure ML’s {self._sdk.name} deletes no single version of a dataset, and {name} has {len(versions)}"
            raise SettingsError("dataset", text, f"Name {name} to delete them all, or archive {wanted}: lists then leave it out.")
        return versions

    def _delete(self, kind: ResourceKind, wanted: str) -> None:
        if kind is ResourceKind.MODEL:
            self._sdk.models.delete(wanted)
            gone = [wanted]
        else:
            versions = self._versions(wanted)
            gone = [dataset.reference for dataset in versions]
            for dataset in versions:
                self._keep_lists_with_runs(dataset)
            self._store.note_deletions(self._lists_of(versions))  # before: another dataset of this name and version must not have them
            self._datasets.unregister(gone[0])
        self._cache.of(kind).remove(lambda other: self._go_together(kind, gone[0], other))
        for reference in gone:
            self._store.forget_metadata(kind, reference)
        if kind is ResourceKind.DATASET:
            self._store.note_deletions(self._labels_of(versions))

    def _lists_of(self, versions: list[Dataset]) -> list[str]:
        """What is kept here of a dataset and can be asked for again: lists of its files, files that were fetched."""
        return self._noted(self._home / "datasets" / dataset.name / str(dataset.version) for dataset in versions)

    def _labels_of(self, versions: list[Dataset]) -> list[str]:
        """Its labels; not those by which runs are judged."""
        references = [dataset.reference for dataset in versions]
        return self._noted(self._labels(one) for one in references if not self._store.runs_naming(ResourceKind.DATASET, one))

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
        return self._noted(self._labels(name) for name in gone if self._store.runs_naming(ResourceKind.DATASET, name) == [run_id])


def _link_or_copy(source: Path, target: Path) -> None:
    """Raises OSError."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

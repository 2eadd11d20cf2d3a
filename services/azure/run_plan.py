"""What a run is sent to Azure ML with, whichever SDK sends it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.domain import EXPERIMENT, RunRequest
from services.errors import SettingsError
from services.intake.entry_scripts import sources_beside
from services.storage.manifest import read_manifest

OUTPUT = "inferences"
"""The output of a run's step, as Microsoft's tutorial calls it."""
STEP = "batch-score"
RUN_TAG = "batch_scoring_run"
"""The tag of a pipeline run, and property of one of a published pipeline, that holds the id of the run here."""

MAX_NAME, MAX_NOTE = 256, 5_000
"""Characters of a run's display name and description: https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity."""


@dataclass(frozen=True)
class FailedFiles:
    """Files of a dataset that are scored again: `paths` below `root`, a folder `azureml://datastores/NAME/paths/FOLDER`."""

    root: str
    partition_format: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class RunPlan:
    """All that a runner needs to know but how to sign in. `manifests` are the lists of the datasets' files; none of tabular ones, whose
    rows name no file: `file` is theirs, where there is one for all. Of a run of a published pipeline there are its id and the values of
    its parameters; of one of failed items only these files are scored `again`."""

    request: RunRequest
    item_count: int | None
    manifests: tuple[str, ...] = ()
    experiment: str = EXPERIMENT
    published_id: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    again: tuple[FailedFiles, ...] = ()
    requirements: tuple[str, ...] = ()
    """What the run's model needs, where no environment is named and the default one lacks it; for the Python beside it."""
    python: str = ""

    @property
    def tabular(self) -> bool:
        """Whether an item is a row, not a file."""
        return not self.manifests

    def paths(self) -> list[list[str]]:
        """The files of each dataset, by their path in it. Raises OSError where a list is gone."""
        if self.again:
            return [list(files.paths) for files in self.again]
        return [[file.path for file in read_manifest(Path(manifest))] for manifest in self.manifests]

    def items(self) -> list[str]:
        """The files of all datasets."""
        return [path for paths in self.paths() for path in paths]


def description_of(title: str) -> str:
    """What a job is submitted with."""
    return title[:200]


def check_metadata(note: str | None, tags: Mapping[str, str]) -> None:
    """Raises SettingsError for what Azure ML does not take that people say of a run."""
    if note and len(note) > MAX_NOTE:
        text = f"this note has {len(note):,} characters, and Azure ML takes {MAX_NOTE:,} for a run"
        raise SettingsError("note", text, f"Keep it to {MAX_NOTE:,}.")
    if RUN_TAG in tags:
        raise SettingsError("tags", f"the tag “{RUN_TAG}” is this program’s own on Azure ML", "Choose another key.")


def source_of(request: RunRequest, snapshot: Path) -> tuple[Path, str]:
    """The folder that is sent, and the entry script's path in it: the request's source directory, else a copy made in `snapshot`."""
    script = Path(request.entry_script)
    source = Path(request.source_directory) if request.source_directory else snapshot_of(script, snapshot)
    return source, script.relative_to(source).as_posix() if script.is_relative_to(source) else script.name


def snapshot_of(script: Path, target: Path) -> Path:
    """The source_directory where the request names none: the script, the Python files beside it and the packages below it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sources_beside(script):
        copy = target / path.relative_to(script.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    shutil.copyfile(script, target / script.name)
    return target

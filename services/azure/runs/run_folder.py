"""A run's folder in the home of an Azure ML workspace: its plan, and the state of its pipeline run.

```
runs/<id>/
  plan.json            the request, resolved: versions, experiment
  pipeline_run.json    the pipeline run in Azure ML, as soon as its id is known
  source/              the step's source_directory, where the request names none
  output.coming/       the output while it is downloaded
  output/              the files of the output `inferences`, once the run is completed
  logs/                the step's logs
  lock                 held by the runner; the system drops it when the runner dies
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.domain import EXPERIMENT, RunRequest
from services.remote import PipelineRun
from services.storage.atomic import write_atomically
from services.storage.manifest import read_manifest
from services.storage.run_folder import RunFolder
from services.storage.serialization import from_json, to_json


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


class AzureRunFolder(RunFolder[RunPlan]):
    """The files in one run's folder."""

    def __init__(self, home: Path, run_id: str) -> None:
        super().__init__(home, run_id, partial(from_json, cls=RunPlan))
        self.source = self.path / "source"
        self.output_incoming = self.path / "output.coming"
        self._pipeline_run_file = self.path / "pipeline_run.json"

    def pipeline_run(self) -> PipelineRun | None:
        """The pipeline run as the runner saw it last; None before there is one."""
        try:
            return from_json(self._pipeline_run_file.read_bytes(), PipelineRun)
        except (OSError, ValueError):
            return None

    def save_pipeline_run(self, pipeline_run: PipelineRun) -> None:
        """Raises OSError."""
        write_atomically(self._pipeline_run_file, to_json(pipeline_run))

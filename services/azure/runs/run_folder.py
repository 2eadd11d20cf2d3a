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

from functools import partial
from pathlib import Path

from services.azure.run_plan import RunPlan
from services.remote import PipelineRun
from services.storage.atomic import write_atomically
from services.storage.run_folder import RunFolder
from services.storage.serialization import from_json, to_json


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

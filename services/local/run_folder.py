"""A run's folder in the local home, and its plan: what a runner needs to know.

```
runs/<id>/
  plan.json       the resolved request: folders, manifests, model files
  journal.db      the attempts at each mini-batch
  rows.partial    the rows so far; moved to output/<append_row_file_name> when the run completes
  output/         AZUREML_BI_OUTPUT_PATH
  output.jsonl    the files there when the run completed, as lines of a manifest
  logs/           Azure's log tree
  script/         the scoring script as the run had it
  new/            what its files held, and what else a run of only what is new needs to know: see new_items.py
  work/           the workers' private folders, while it runs; run.json, from which azureml_user answers
  lock            held by the runner; the system drops it when the runner dies
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from services.domain import EXPERIMENT, Environment, RunRequest
from services.errors import StudioError
from services.intake.partition_format import PartitionFormat
from services.storage import file_tree
from services.storage.atomic import write_atomically
from services.storage.run_folder import RunFolder
from services.storage.serialization import from_builtins


@dataclass(frozen=True)
class PlannedDataset:
    """A dataset of the run: `root` is the folder that the manifest's paths start from. `format` is empty for a file dataset."""

    reference: str
    root: str
    manifest: str
    item_count: int
    format: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    partition_format: str = ""

    def for_worker(self) -> dict[str, Any]:
        """What a worker needs to know to read its mini-batches."""
        partition = asdict(PartitionFormat.parse(self.partition_format)) if self.partition_format else None
        values = {"root": self.root, "manifest": self.manifest, "format": self.format, "columns": self.columns, "partition": partition}
        if not self.format:
            return values
        from services.intake.tabular import MISSING  # only here, since it takes a while to import

        return values | {"missing": MISSING}


@dataclass(frozen=True)
class PlannedModel:
    """A model of the run: `path` is its file or folder, `<home>/models/<name>/<version>/<file or folder>`."""

    name: str
    version: int
    path: str
    sha256: str
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class RunPlan:
    """All that a runner needs to know, written once when the run is submitted."""

    request: RunRequest
    datasets: tuple[PlannedDataset, ...]
    models: tuple[PlannedModel, ...]
    side_inputs: dict[str, str]
    environment: Environment
    """The interpreter of the workers, and what was installed there when the run was submitted."""
    inputs: dict[str, str] = field(default_factory=dict)
    """What the output depends on, each by its SHA-256: see reuse.py."""

    def for_worker(self, output: Path) -> dict[str, Any]:
        """What a worker needs to know of the run before it starts; `output` is the folder the script may write into."""
        script, append_row = self.request.entry_script, self.request.settings.output_action == "append_row"
        folder = str(Path(script).parent)
        return {
            "entry_script": script,
            "datasets": [dataset.for_worker() for dataset in self.datasets],
            "partition_keys": self.request.settings.partition_keys,
            "append_row": append_row,
            "dataframe_header": self.request.wants_dataframe_header and append_row,
            "logging_level": self.request.settings.logging_level,
            "paths": [self.request.source_directory or folder, folder],
            "argv": [script, *self.script_arguments(output)],
        }

    def facts(self, run_id: str) -> dict[str, Any]:
        """What `Run.get_context()` and `Model.list` answer from in a script: see entry_script/azureml_user/local_run.py."""
        newest_first = sorted(self.models, key=lambda m: (m.created_at.timestamp() if m.created_at else 0, m.version), reverse=True)
        models = [
            {"name": m.name, "version": m.version, "tags": dict(m.tags), "description": m.description}
            | {"created_time": m.created_at.isoformat() if m.created_at else None}
            for m in newest_first
        ]
        return {"id": run_id, "experiment": EXPERIMENT, "workspace": "local", "models": models, "side_inputs": self.side_inputs}

    def script_arguments(self, output: Path) -> list[str]:
        """What the script finds in sys.argv: the runtime's own by their reserved names, then the side inputs, then the user's."""
        settings = self.request.settings.resolved(tabular=bool(self.datasets[0].format))
        values = {"output": str(output)} | settings.as_dict()
        if settings.partition_keys:
            values["partition_keys"] = json.dumps(settings.partition_keys)  # as the SDK
        values.pop("environment_variables", None)
        values.pop("node_count")
        own = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        inputs = [text for name, root in self.side_inputs.items() for text in (f"--{name}", root)]
        return own + inputs + list(self.request.arguments)

    def changes_since_approval(self, home: Path) -> str | None:
        """A sentence on the first model or uploaded script whose bytes are not those that were registered, else None.

        A script that the caller named by its path is the caller's own: changing it before a resume is allowed.
        """
        for model in self.models:
            if not Path(model.path).exists():
                return f"Model {model.name}:{model.version} is gone: {model.path} is not there. Submit a run with another version."
            if _sha256(Path(model.path)) != model.sha256:
                message = f"Model {model.name}:{model.version} is not what was registered: its SHA-256 is no longer {model.sha256}."
                return f"{message} Register the model again, look at it, and approve it."
        script = Path(self.request.entry_script)
        if script.is_relative_to(home / "scripts") and _sha256(script) != script.parent.name:
            message = f"The uploaded script {script.name} is not what was approved: its SHA-256 is no longer {script.parent.name}."
            return f"{message} Upload it again."
        return None

    @classmethod
    def from_json(cls, text: str | bytes) -> RunPlan:
        """Also of a run of version 0.1. Raises ValueError, TypeError or KeyError for anything but a plan."""
        values: dict[str, Any] = json.loads(text)
        for dataset in values["datasets"]:
            if "file_count" in dataset:
                dataset["item_count"] = dataset.pop("file_count")
        if "interpreter" in values:
            values["environment"] = Environment("", 0, values["interpreter"], "", {}, datetime.min)
        return from_builtins(values, cls)


def _sha256(path: Path) -> str | None:
    try:
        return file_tree.sha256_of(path)
    except StudioError:
        return None  # gone is changed, too


class LocalRunFolder(RunFolder[RunPlan]):
    """The paths in one run's folder, its plan and its lock."""

    def __init__(self, home: Path, run_id: str) -> None:
        super().__init__(home, run_id, RunPlan.from_json)
        self.rows_file = self.path / "rows.partial"
        self.output_list = self.path / "output.jsonl"
        self.work = self.path / "work"
        self.facts_file = self.work / "run.json"
        self.new = self.path / "new"
        self._script = self.path / "script"

    def of(self, run_id: str) -> LocalRunFolder:
        """Another run's, in the same home."""
        return LocalRunFolder(self.path.parents[1], run_id)

    def keep_script(self, plan: RunPlan) -> None:
        """Keep the scoring script as it is now: a person may change it after the run. Raises OSError."""
        self._script.mkdir(exist_ok=True)
        write_atomically(self.kept_script(plan), Path(plan.request.entry_script).read_bytes())

    def kept_script(self, plan: RunPlan) -> Path:
        """Where it is kept, where it is: not of a run whose output was taken from another, nor of an earlier version's."""
        return self._script / Path(plan.request.entry_script).name

    @property
    def has_journal(self) -> bool:
        """Whether a runner ever got as far as making it."""
        try:
            return (self.path / "journal.db").stat().st_size > 0
        except OSError:
            return False

    def published_file(self, plan: RunPlan) -> Path:
        """Where the rows of a completed run are."""
        return self.output / plan.request.settings.append_row_file_name

    def partial_file(self, plan: RunPlan) -> Path:
        """Where the rows of a run that stopped short are kept for download: `parallel_run_step.partial.txt`."""
        name = PurePath(plan.request.settings.append_row_file_name)
        return self.output / f"{name.stem}.partial{name.suffix}"

    def rows(self, plan: RunPlan) -> Path | None:
        """The file that holds the rows as they are now, or None when there is none."""
        for path in (self.published_file(plan), self.rows_file, self.partial_file(plan)):
            if path.is_file():
                return path
        return None

    def take_back_rows(self, plan: RunPlan) -> None:
        """Before a run is resumed: move the partial or published rows back to the working name."""
        for path in (self.partial_file(plan), self.published_file(plan)):
            if not self.rows_file.exists() and path.exists():
                os.replace(path, self.rows_file)

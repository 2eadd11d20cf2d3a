"""A run's folder in the local home: where everything of the run lies, what was asked, and who carries it out.

```
runs/<id>/
  plan.json       what was asked, resolved: folders, manifests, model files
  journal.db      what became of each mini-batch
  rows.partial    the rows so far; moved to output/<append_row_file_name> when the run completes
  output/         AZUREML_BI_OUTPUT_PATH
  logs/           Azure's log tree
  work/           the workers' private folders, while it runs
  lock            held by the runner; the system drops it when the runner dies
```
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from services.domain import RunRequest
from services.errors import WorkspaceUnavailable


@dataclass(frozen=True)
class PlannedDataset:
    """A dataset of the run: `root` is the folder that the manifest's paths start from."""

    reference: str
    root: str
    manifest: str
    file_count: int


@dataclass(frozen=True)
class PlannedModel:
    """A model of the run: `path` is its file or folder, `<home>/models/<name>/<version>/<file or folder>`."""

    name: str
    version: int
    path: str
    sha256: str


@dataclass(frozen=True)
class RunPlan:
    """All that a runner needs to know, written once when the run is submitted."""

    request: RunRequest
    datasets: tuple[PlannedDataset, ...]
    models: tuple[PlannedModel, ...]
    side_inputs: dict[str, str]
    interpreter: str

    def to_json(self) -> str:
        values = asdict(self) | {"request": json.loads(self.request.to_json())}
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RunPlan:
        values: dict[str, Any] = json.loads(text)
        return cls(
            request=RunRequest.from_json(json.dumps(values["request"])),
            datasets=tuple(PlannedDataset(**one) for one in values["datasets"]),
            models=tuple(PlannedModel(**one) for one in values["models"]),
            side_inputs=values["side_inputs"],
            interpreter=values["interpreter"],
        )


class RunFolder:
    """The paths in one run's folder, its plan and its lock."""

    def __init__(self, home: Path, run_id: str) -> None:
        self.path = home / "runs" / run_id
        self.plan_file = self.path / "plan.json"
        self.rows_file = self.path / "rows.partial"
        self.output = self.path / "output"
        self.logs = self.path / "logs"
        self.work = self.path / "work"

    def create(self, plan: RunPlan) -> None:
        """Make the folder and write the plan. Raises WorkspaceUnavailable where that isn't possible."""
        try:
            for folder in (self.path, self.output, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self.plan_file.write_text(plan.to_json(), encoding="utf-8")
        except OSError as error:
            raise WorkspaceUnavailable(
                f"The run's folder, {self.path}, can't be written: {error.strerror or error}.",
                "Free some disk space, or check who may write there.",
            ) from error

    def plan(self) -> RunPlan:
        """What was asked. Raises WorkspaceUnavailable where it can't be read."""
        try:
            return RunPlan.from_json(self.plan_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WorkspaceUnavailable(f"The run's plan, {self.plan_file}, can't be read: {error}.") from error

    @property
    def has_journal(self) -> bool:
        """Whether a runner ever got as far as opening it."""
        return (self.path / "journal.db").exists()

    def lock(self) -> FileLock:
        """The lock that whoever carries out the run holds. Not inherited by workers; dropped by the system when its holder dies."""
        return FileLock(self.path / "lock")

    def is_carried_out(self) -> bool:
        """Whether a living process holds the lock."""
        lock = self.lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False  # the folder is gone or can't be written: nobody works there
        lock.release()
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
        """Before a run is carried on: bring what was kept or published back under the working name."""
        for path in (self.partial_file(plan), self.published_file(plan)):
            if not self.rows_file.exists() and path.exists():
                os.replace(path, self.rows_file)

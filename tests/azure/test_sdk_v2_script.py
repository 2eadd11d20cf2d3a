"""A run handed over for SDK v2, executed against the stand-in by somebody who has nothing of this program: as Python, and as YAML."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.domain import RunRequest, RunStatus
from services.handover.exports import ExportKind, export
from services.handover.job_files import CONDA
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

PLACE = {"subscription_id": "SUBSCRIPTION_ID", "resource_group": "RESOURCE_GROUP", "workspace_name": "WORKSPACE_NAME"}
_HOW_IT_WAS_WRITTEN = ("_source", "$schema", "id", "name", "version", "creation_context")
SCRIPT = """
import os, sys
def run(mini_batch):
    side = sys.argv[sys.argv.index("--names") + 1]
    text = sys.argv[sys.argv.index("--text") + 1]
    return [f"{os.path.basename(path)}: {text} {len(os.listdir(side))} {os.environ['DOOR']}" for path in mini_batch]
"""


def rows_of(folder: Path) -> list[str]:
    (found,) = folder.rglob("parallel_run_step.txt")
    return sorted(found.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def run(workspace, finish, csv_folder, tmp_path, ml) -> Any:
    """A run of this machine, with an argument of a hostile kind and a variable; its data are in the test's workspace of Azure ML too."""
    from azure.ai.ml.entities import Data

    folder = csv_folder(5)
    workspace.register_dataset("rows", folder)
    ml.data.create_or_update(Data(name="rows", path=str(folder), type="uri_folder"))
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "score.py"
    script.write_text(SCRIPT)
    settings = ParallelRunSettings(mini_batch_size="2", process_count_per_node=1, error_threshold=2, environment_variables={"DOOR": "it's"})
    asked = RunRequest(
        (), ("rows:1",), str(script), settings, arguments=("--text", "a \"b\" 'c' $d"), side_inputs={"names": "rows:1"}, allow_reuse=False,
        name="it's \"quoted\"",
    )  # fmt: skip
    done = finish(workspace, workspace.submit(asked).id)
    assert done.status is RunStatus.COMPLETED, done.error
    return done


@pytest.fixture
def expected(workspace, run) -> list[str]:
    return rows_of(workspace.home / "runs" / run.id / "output")


def exported(workspace: Any, run: Any, kind: ExportKind, target: Path) -> Path:
    with open(target, "wb") as file:
        export(workspace, run.id, kind, file, target.name, report=lambda _: b"", with_secrets=True)
    return target


def in_full(ml: Any, name: str) -> dict[str, Any]:
    """What the service has of a job, its step and the component, but how they were written."""
    job = ml.jobs.get(name)
    values = job._to_rest_object().as_dict()["properties"]
    component = ml.components.get(*job.jobs["batch_score"].component.split(":"))._to_rest_object().as_dict()["properties"]["componentSpec"]
    step = values["jobs"]["batch_score"]
    return {
        "component": {key: value for key, value in component.items() if key not in _HOW_IT_WAS_WRITTEN},
        "step": {key: value for key, value in step.items() if key not in ("_source", "componentId")},
        "inputs": values["inputs"],
        "outputs": {key: {k: v for k, v in value.items() if k != "uri"} for key, value in values["outputs"].items()},
        "display_name": job.display_name,
        "experiment": job.experiment_name,
        "compute": job.settings.default_compute,
    }


def test_the_script_and_the_yaml_submit_the_same_job_with_the_runs_rows(azure, workspace, run, expected, ml, tmp_path):
    script = exported(workspace, run, ExportKind.SDK_V2, tmp_path / "submit.py")
    folder = tmp_path / "engineer"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({key: azure.environment[f"AZURE_{name}"] for key, name in PLACE.items()}))
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | azure.environment
    done = subprocess.run([sys.executable, script], cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert rows_of(folder / "results") == expected
    (by_python,) = ml.jobs.list()

    from azure.ai.ml import load_job

    with zipfile.ZipFile(exported(workspace, run, ExportKind.YAML, tmp_path / "job.zip")) as archive:
        archive.extractall(tmp_path / "job")
    by_yaml = ml.jobs.create_or_update(load_job(tmp_path / "job" / "job.yml"))
    deadline = time.monotonic() + 120
    while (status := ml.jobs.get(by_yaml.name).status) not in ("Completed", "Failed"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status == "Completed"
    (step,) = ml.jobs.list(parent_job_name=by_yaml.name)
    ml.jobs.download(step.name, output_name="inferences", download_path=tmp_path / "there")
    assert rows_of(tmp_path / "there") == expected
    from_yaml, from_python = in_full(ml, by_yaml.name), in_full(ml, by_python.name)
    assert from_yaml.pop("component") == from_python.pop("component")
    assert from_yaml == from_python
    packages = yaml.safe_load((tmp_path / "job" / CONDA).read_text("utf-8"))["dependencies"][-1]["pip"]
    assert {"mltable>=1.2.0", "setuptools<82"} <= {*packages}  # as of a run that is submitted from here

"""A run handed over as a script of SDK v1, executed against the stand-in by somebody who has nothing of this program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.domain import RunRequest, RunStatus
from services.handover.exports import ExportKind, export
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
SAYS = """
import os, sys
def run(mini_batch):
    return [f"{os.path.basename(path)}: {len(mini_batch)} {sys.argv[sys.argv.index('--text') + 1]}" for path in mini_batch]
"""


def rows_of(folder: Path) -> list[str]:
    (found,) = folder.rglob("parallel_run_step.txt")
    return sorted(found.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def submitted_by(azure, tmp_path):
    """`submitted_by(script)` executes a script in a folder of its own, signed in to the test's workspace; the rows that it downloads."""

    def execute(script: Path) -> list[str]:
        folder = tmp_path / f"engineer {script.stem}"
        folder.mkdir()
        place = {key: azure.environment[f"AZURE_{name}"] for key, name in PLACE.items()}
        (folder / "config.json").write_text(json.dumps(place))
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | azure.environment
        done = subprocess.run([sys.executable, script], cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return rows_of(folder / "results")

    return execute


PLACE = {"subscription_id": "SUBSCRIPTION_ID", "resource_group": "RESOURCE_GROUP", "workspace_name": "WORKSPACE_NAME"}


def test_a_run_is_done_again_by_its_exported_script(cloud, finish, submitted_by, model_file, csv_folder, tmp_path):
    cloud.register_model("classification_model", model_file)
    cloud.register_dataset("rows", csv_folder(7))
    settings = ParallelRunSettings(mini_batch_size="3", process_count_per_node=1, error_threshold=2)
    script = tmp_path / "says.py"
    script.write_text(SAYS)
    request = RunRequest(
        ("classification_model:1",), ("rows:1",), str(script), settings, arguments=("--text", "it's \"quoted\""),
        compute_target="cpu-cluster", allow_reuse=False, name="it's the first",
    )  # fmt: skip
    run = finish(cloud, cloud.submit(request).id)
    assert run.status is RunStatus.COMPLETED, run.error
    with open(tmp_path / "submit.py", "wb") as file:
        assert export(cloud, run.id, ExportKind.SDK_V1, file, "submit.py", report=lambda _: b"") == (".py", ())
    text = (tmp_path / "submit.py").read_text(encoding="utf-8")
    assert "'classification_model', '--model-version', '1'" in text.replace('"', "'")
    assert submitted_by(tmp_path / "submit.py") == [f'000{number}.csv: {3 if number < 6 else 1} it\'s "quoted"' for number in range(7)]


def test_a_run_of_this_machine_is_done_on_azure_by_its_script(cloud, workspace, finish, submitted_by, model_file, csv_folder, tmp_path):
    folder = csv_folder(5)
    for place in (workspace, cloud):
        place.register_model("digits", model_file)
        place.register_dataset("rows", folder)
    workspace.approve(workspace.model("digits").sha256)
    script = next(script.path for script in workspace.scripts.all() if script.name == "batch_scoring_script.py")
    run = finish(workspace, workspace.submit(RunRequest(("digits:1",), ("rows:1",), script, ParallelRunSettings(mini_batch_size="2"))).id)
    with open(tmp_path / "submit.py", "wb") as file:
        export(workspace, run.id, ExportKind.SDK_V1, file, "submit.py", report=lambda _: b"")
    assert submitted_by(tmp_path / "submit.py") == rows_of(workspace.home / "runs" / run.id / "output")

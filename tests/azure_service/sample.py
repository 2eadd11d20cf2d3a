"""What the sample workspace holds: the digits sample of the local workspace, registered on this side."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.sample import DATASET, MODEL, make_sample
from services.workspaces import open_workspace
from tests.azure_service.environments import CURATED
from tests.azure_service.v2.paths import address

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

EXPERIMENT = "train-digits"


def put_sample(workspace: CloudWorkspace, folder: Path) -> None:
    """Register the digits model and dataset and an environment in `workspace`, and keep a training run that made the model. Takes
    seconds the first time."""
    home = folder / "sample"
    sample = make_sample(home)
    local = open_workspace("local", home)
    model, dataset = local.model(sample.model), local.dataset(sample.dataset)
    path = Path(model.path)
    run = _train(workspace, path)
    url = workspace.models.add_asset(MODEL, [f"ExperimentRun/{run['dataContainerId']}/outputs/{path.name}"])
    values = {"description": model.description, "kvTags": dict(model.tags), "framework": "ScikitLearn", "mimeType": "application/json"}
    workspace.models.register({"name": MODEL, "url": url, "runId": run["runId"], "experimentName": EXPERIMENT} | values)
    for file in local.dataset_files(dataset, 0, dataset.file_count):
        workspace.blobs.put(workspace.container, f"digits/{file.path}", (Path(dataset.root) / file.path).read_bytes())
    workspace.datasets.register_folder(DATASET, "digits", description=dataset.description)
    uri = address(workspace, "workspaceblobstore", "digits/")
    workspace.v2_data.put(
        DATASET, workspace.v2_data.next_version(DATASET), {"dataType": "uri_folder", "dataUri": uri, "description": dataset.description}
    )
    workspace.environments.register("scoring", workspace.environments.get_version(CURATED))


def _train(workspace: CloudWorkspace, path: Path) -> dict[str, Any]:
    """A completed training run with the file at `path` among its outputs."""
    run = workspace.history.add_run(EXPERIMENT, str(uuid.uuid4()), displayName="support vectors", target="local")
    workspace.artifacts.add("ExperimentRun", run["dataContainerId"], f"outputs/{path.name}", path.read_bytes())
    workspace.artifacts.add("ExperimentRun", run["dataContainerId"], "outputs/notes.txt", b"Learned from half of the digits.\n")
    for status in ("Running", "Completed"):
        workspace.history.set_status(run["runId"], status)
    return run

"""What the sample workspace holds: the digits sample of the local workspace, registered on this side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.sample import DATASET, MODEL, make_sample
from services.workspace import open_workspace

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


def put_sample(workspace: CloudWorkspace, folder: Path) -> None:
    """Register the digits model and dataset, and an environment, in `workspace`. Takes seconds the first time."""
    home = folder / "sample"
    made = make_sample(home)
    local = open_workspace("local", home)
    model, dataset = local.model(made.model), local.dataset(made.dataset)
    container = "220101T000000-sample"
    workspace.artifacts.add("LocalUpload", container, Path(model.path).name, Path(model.path).read_bytes())
    url = workspace.models.add_asset(MODEL, [f"LocalUpload/{container}/{Path(model.path).name}"])
    workspace.models.register({"name": MODEL, "url": url, "mimeType": "application/json", "description": model.description})
    for file in local.dataset_files(dataset, 0, dataset.file_count):
        workspace.blobs.put(workspace.container, f"digits/{file.path}", (Path(dataset.root) / file.path).read_bytes())
    workspace.datasets.register_folder(DATASET, "digits", description=dataset.description)

"""Models by azure-ai-ml, and the jobs from whose outputs one can be registered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.azure.catalog import downloads, model_properties
from services.azure.catalog.downloads import in_parallel
from services.azure.catalog.uploads import upload_files
from services.azure.sdk import Progress
from services.azure.sdk_v2.session import Part, checked, created_at, described, number_of, parsed
from services.azure.sdk_v2.storage import ARTIFACTS, blobs_at, store
from services.domain import Metadata, Model
from services.errors import NotFound, SettingsError
from services.storage import file_tree

if TYPE_CHECKING:
    from azure.ai.ml.entities import Model as SdkModel

_OF_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/artifacts/paths/(.+)")


class Models(Part):
    deletion = "It is archived in Azure ML, where lists leave it out for everyone; its file stays. Nothing of it is on this machine."

    def all(self) -> list[Model]:
        with self._session.sdk_calls("The models can't be listed") as client:
            names = [model.name for model in client.models.list()]
            versions = in_parallel(lambda name: list(client.models.list(name)), names)
        models = [noun(model) for of_name in versions for model in of_name if number_of(model)]
        return sorted(models, key=lambda model: (model.created_at, model.version), reverse=True)

    def register(
        self, name: str, path: Path, properties: Mapping[str, str], *, description: str, tags: Mapping[str, str], progress: Progress
    ) -> Model:
        """Into a folder named by the content, so that an upload that broke off is continued. `models.create_or_update` could upload too: it
        shows no progress, and where one file of a folder fails it never ends."""
        is_mlflow = (path / "MLmodel").is_file()
        called = re.sub(r"[^\w-]" if is_mlflow else r"[^\w. ()-]", "_", path.name)  # it is in an address; of MLflow's without a dot
        folder = f"batch-scoring-studio/models/{checked(name, 'name')}/{properties[model_properties.SHA256][:16]}"
        files = {f"{called}/{below}" if path.is_dir() else called: Path(file) for below, file, _ in file_tree.files_of(path)}
        with self._session.sdk_calls(f"Model {name} was not registered", "name") as client:
            from azure.ai.ml.constants import AssetTypes
            from azure.ai.ml.entities import Model as SdkModel

            here = store(self._session)
            upload_files(here.blobs, folder, files, progress)
            registered = client.models.create_or_update(
                SdkModel(
                    name=name,
                    path=f"azureml://datastores/{here.name}/paths/{folder}/{called}",
                    type=AssetTypes.MLFLOW_MODEL if is_mlflow else AssetTypes.CUSTOM_MODEL,
                    description=description or None,
                    tags=dict(tags),
                    properties=dict(properties),
                )
            )
        return noun(registered)

    def fetch(self, reference: str, folder: Path) -> Path:
        with self._session.sdk_calls(f"Model {reference} can't be fetched") as client:
            place = _place(str(client.models.get(*parsed(reference, "model")).path))
            container, blobs = blobs_at(self._session, place)
            if not blobs:
                raise NotFound(f"Model {reference} has no files at {place}.", "Azure ML studio shows where it should be.")
            target = folder / downloads.relative_path(place.rstrip("/").rpartition("/")[2])
            is_file = list(blobs) == [target.name]
            wanted = {target if is_file else target / downloads.relative_path(path): blob for path, blob in blobs.items()}
            downloads.fetch(container, wanted, lambda _done, _total: None)
        return target

    def delete(self, reference: str) -> None:
        """Archived, which is all that the SDK has: its files stay, and jobs that name it find it."""
        with self._session.sdk_calls(f"Model {reference} was not deleted") as client:
            client.models.archive(*parsed(reference, "model"))

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        return described(self._session.client.models, reference, "model", note, tags)

    # ---- from a training run -----------------------------------------------------------------------------------------------------

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        with self._session.sdk_calls(f"The files of run {run_id} can't be listed", "run"):
            return sorted(blobs_at(self._session, _artifacts(checked(run_id, "run"), ""))[1])

    def register_from_run(self, name: str, experiment: str, run_id: str, path: str, *, description: str, tags: Mapping[str, str]) -> Model:
        path = str(downloads.relative_path(path.strip("/")))
        with self._session.sdk_calls(f"Model {name} was not registered from run {run_id}", "path") as client:
            from azure.ai.ml.entities import Model as SdkModel

            if not blobs_at(self._session, _artifacts(checked(run_id, "run"), path))[1]:
                raise SettingsError("path", f"run {run_id} has no file or folder {path}", "Choose one of its outputs.")
            place = f"azureml://jobs/{run_id}/outputs/artifacts/paths/{path}"
            model = SdkModel(name=checked(name, "name"), path=place, description=description or None, tags=dict(tags))
            return noun(client.models.create_or_update(model))


def _artifacts(job: str, path: str) -> str:
    """The place of what a job has left."""
    return f"azureml://datastores/{ARTIFACTS}/paths/ExperimentRun/dcid.{job}/{path}"


def _place(path: str) -> str:
    """Where the files of a model are, of one registered from a job too."""
    match = _OF_JOB.fullmatch(path)
    return _artifacts(*match.groups()) if match else path


def noun(model: SdkModel) -> Model:
    """The SDK's model as ours."""
    elsewhere = "registered from a run" if model.job_name else "MLflow model" if model.type == "mlflow_model" else "registered elsewhere"
    return model_properties.noun(model, number_of(model), str(model.path), created_at(model), elsewhere)

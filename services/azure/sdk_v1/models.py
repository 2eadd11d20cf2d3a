"""`sdk.Models` by `azureml.core.Model`, and by `Experiment` and `Run` those that a training run left."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services import log
from services.azure.auth.sdk_errors import azure_errors
from services.azure.catalog import model_properties
from services.azure.catalog.downloads import ProgressCounter, in_parallel
from services.azure.catalog.uploads import put_file
from services.azure.sdk import Progress
from services.azure.sdk_v1.session import Part
from services.domain import Metadata, Model, parse_reference, utc_now
from services.errors import StudioError, WorkspaceUnavailable
from services.storage import file_tree

if TYPE_CHECKING:
    from azureml.core import Model as SdkModel
    from azureml.core import Run as SdkRun
    from azureml.core import Workspace

logger = logging.getLogger(__name__)

REGISTRATION = "batch_scoring_studio.registration"


class Models(Part):
    deletion = "It is deleted in Azure ML, for everyone who uses the workspace. Nothing of it is on this machine."

    def all(self) -> list[Model]:
        with self._session.sdk_calls("The models can't be listed") as workspace:
            from azureml.core import Model as SdkModel

            models = [noun(model) for model in _without_duplicates(SdkModel.list(workspace, expand=False))]
        return sorted(models, key=lambda model: (model.created_at, model.version), reverse=True)

    def register(
        self, name: str, path: Path, properties: Mapping[str, str], *, description: str, tags: Mapping[str, str], progress: Progress
    ) -> Model:
        """By the calls that `Model.register` consists of: it refuses what isn't below the working folder of the process, which a dashboard
        of many threads can't change, and reports no progress."""
        with self._session.sdk_calls(f"Model {name} was not registered", "name") as workspace:
            from azureml._restclient.assets_client import AssetsClient
            from azureml.core import Model as SdkModel

            artifacts = _upload(workspace, path, progress)
            noted = {**properties, REGISTRATION: artifacts}  # a new path each time
            asset = AssetsClient(workspace.service_context).create_asset(name, [{"prefix": artifacts}], None)
            registered = SdkModel._register_with_asset(workspace, name, asset.id, dict(tags), noted, description or None, unpack=False)
            with log.suppress(logger, "A duplicate stays", StudioError), azure_errors("The duplicate version can't be deleted"):
                for other in SdkModel.list(workspace, name, expand=False):
                    same = (other.properties or {}).get(REGISTRATION) == artifacts
                    if same and int(other.version) < int(registered.version):  # its answer was lost, and the SDK registered it again
                        other.delete()
            return noun(registered)

    def fetch(self, reference: str, folder: Path) -> Path:
        name, version = parse_reference(reference, "model")
        with self._session.sdk_calls(f"Model {reference} can't be fetched") as workspace:
            from azureml.core import Model as SdkModel

            return Path(SdkModel(workspace, name=name, version=version).download(str(folder), exist_ok=True))

    def delete(self, reference: str) -> None:
        with self._session.sdk_calls(f"Model {reference} was not deleted"):
            self._model(reference).delete()

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        """By `azureml.core.Model.update`, which takes no empty description: a blank stands for none; and `update_tags_properties`."""
        model = self._model(reference)
        if note is not None:
            model.update(description=note or " ")
        if tags:
            gone = [key for key, value in tags.items() if not value and key in (model.tags or {})]
            model.update_tags_properties(add_tags={key: value for key, value in tags.items() if value}, remove_tags=gone)
        known = noun(model)
        return Metadata(note=known.description, tags=known.tags)

    def _model(self, reference: str) -> SdkModel:
        from azureml.core import Model as SdkModel

        name, version = parse_reference(reference, "model")
        return SdkModel(self._session.client, name=name, version=version, expand=False)

    # ---- from a training run -----------------------------------------------------------------------------------------------------

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        with self._session.sdk_calls(f"The files of run {run_id} can't be listed", "run"):
            return sorted(self._run(experiment, run_id).get_file_names())

    def register_from_run(self, name: str, experiment: str, run_id: str, path: str, *, description: str, tags: Mapping[str, str]) -> Model:
        """`Run.register_model`. Its file is not on this machine, so its kind and SHA-256 are not known."""
        with self._session.sdk_calls(f"Model {name} was not registered from run {run_id}", "path"):
            run = self._run(experiment, run_id)
            return noun(run.register_model(name, model_path=path, tags=dict(tags), description=description or None))

    def _run(self, experiment: str, run_id: str) -> SdkRun:
        from azureml.core import Experiment, Run

        return Run(Experiment(self._session.client, experiment, _create_in_cloud=False), run_id)


def _upload(workspace: Workspace, path: Path, progress: Progress) -> str:
    """Upload a model's file or folder, as `Model.register` does. Returns the artifact's path, `LocalUpload/<new name>/<file or folder>`.

    The SDK retries each block; where that does not help, nothing is registered, and the next upload starts again: Azure ML does not say
    whether an artifact may be written twice.
    Raises WorkspaceUnavailable where a file did not arrive whole, and what the SDK raises.
    """
    from azureml._restclient.artifacts_client import ArtifactsClient
    from azureml._vendor.azure_storage.blob import BlobClient

    origin, container = "LocalUpload", f"{utc_now():%y%m%dT%H%M%S}-{uuid.uuid4().hex}"
    files = {f"{path.name}/{name}" if path.is_dir() else path.name: Path(source) for name, source, _ in file_tree.files_of(path)}
    client = ArtifactsClient(workspace.service_context)
    counter = ProgressCounter(0, file_tree.size_of(path), progress)

    def upload_file(name: str) -> None:
        address = client.create_empty_artifacts(origin, container, [name]).artifact_content_information[name].content_uri
        blob, size = BlobClient.from_blob_url(address), files[name].stat().st_size
        put_file(blob, files[name], counter.add)
        if (arrived := blob.get_blob_properties().size) != size:
            text = f"{name} did not arrive whole: {arrived:,} of {size:,} bytes are there."
            raise WorkspaceUnavailable(text, "Try again: nothing was registered.")

    in_parallel(upload_file, files)
    return f"{origin}/{container}/{path.name}"


def _without_duplicates(models: Iterable[SdkModel]) -> list[SdkModel]:
    """Of the versions that one registration made, since its answer was lost and the SDK retried, the last: the one that was returned."""
    latest: dict[object, SdkModel] = {}
    for model in models:
        registration = (model.properties or {}).get(REGISTRATION) or model.id, model.name
        if registration not in latest or int(model.version) > int(latest[registration].version):
            latest[registration] = model
    return list(latest.values())


def noun(model: SdkModel) -> Model:
    """The SDK's model as ours."""
    framework = model.model_framework if model.model_framework not in (None, "Custom") else ""
    elsewhere = f"{framework} model" if framework else "registered from a run" if model.run_id else "registered elsewhere"
    return model_properties.noun(model, int(model.version), model.url or f"{model.name}:{model.version}", model.created_time, elsewhere)

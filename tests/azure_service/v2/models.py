"""Registered models, in the words of v2. The models themselves are v1's: whichever SDK registers one, the other has it."""

from __future__ import annotations

from typing import Any

from tests.azure_service.routes import Refusal, Request
from tests.azure_service.v2.paths import address, files_at, job_of, place
from tests.azure_service.v2.versioned import Versioned

_TYPES = ("custom_model", "mlflow_model", "triton_model")


class Models(Versioned):
    """Of one workspace. What v1 has no word for is kept beside the model: its address, type, job, and whether it is archived."""

    noun = "models"

    def names(self) -> list[str]:
        return list(dict.fromkeys(model["name"] for model in self._workspace.models.all()))

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        models = self._workspace.models.versions_of(name)
        return {str(model["version"]): {"properties": self._properties(model), "created": model["createdTime"]} for model in models}

    def _properties(self, model: dict[str, Any]) -> dict[str, Any]:
        beside = self._kept.setdefault(model["name"], {}).setdefault(str(model["version"]), {})
        shared = {"description": model["description"], "tags": model["kvTags"], "properties": model["properties"]}
        if "modelUri" not in beside:
            prefix = self._workspace.models.prefixes(model)[0]
            beside |= {"modelUri": address(self._workspace, "workspaceartifactstore", prefix), "modelType": "custom_model"}
        flavors = {"flavors": beside.get("flavors") or {}, "jobName": model.get("runId") or beside.get("jobName")}
        return self.of_assets | beside | shared | flavors

    def keep(self, name: str, version: str, properties: dict[str, Any]) -> None:
        if not version.isdigit():
            raise Refusal(400, "UserError", f"The stand-in supports whole numbers as versions of models, not {version}.")
        store, uri = self._workspace.models, properties["modelUri"]
        if job := job_of(uri):
            properties |= {"jobName": job, "modelUri": self._datastore_address(uri)}
        url = store.add_asset(name, self._as_artifacts(uri))
        shared = {"description": properties["description"], "kvTags": properties["tags"], "properties": properties["properties"]}
        store.register({"name": name, "url": url, "runId": properties.get("jobName")} | shared, int(version))
        self._kept.setdefault(name, {})[version] = {k: v for k, v in properties.items() if k not in ("description", "tags", "properties")}

    def _datastore_address(self, uri: str) -> str:
        """Where the output of a job lies."""
        container, path = place(self._workspace, uri)
        stores = self._workspace.datastores
        return address(self._workspace, next(name for name in stores.names() if stores.container(name) == container), path)

    def _as_artifacts(self, uri: str) -> list[str]:
        """The files at an address as v1 has them: artifacts, below the folder's or the file's own name."""
        folder, files = files_at(self._workspace, uri)
        if not files:
            raise Refusal(404, "UserError", f"The model's path has no files: {uri}")
        base = folder.rpartition("/")[0]
        container = f"{len(self._workspace.models.all()):06}"
        for container_of_blobs, blob in files:
            path = blob[len(base) :].lstrip("/")
            self._workspace.artifacts.add("LocalUpload", container, path, self._workspace.blobs.get(container_of_blobs, blob))
        return [f"LocalUpload/{container}/{folder[len(base) :].strip('/')}"]

    def change(self, name: str, version: str, properties: dict[str, Any]) -> None:
        model = next(model for model in self._workspace.models.versions_of(name) if str(model["version"]) == version)
        known = self._properties(model)
        if properties.get("modelUri") not in (None, known["modelUri"]):
            raise Refusal(400, "UserError", "Asset paths cannot be updated.")
        for key, shared in (("description", "description"), ("tags", "kvTags"), ("properties", "properties")):
            if properties.get(key) is not None:
                model[shared] = properties[key]
        self._kept[name][version] |= {key: properties[key] for key in ("isArchived", "stage") if properties.get(key) is not None}

    def remove(self, name: str, version: str) -> None:
        self._workspace.models.remove(name, int(version))
        self._kept.get(name, {}).pop(version, None)

    def checked(self, properties: dict[str, Any]) -> dict[str, Any]:
        if (properties.get("modelType") or "custom_model") not in _TYPES:
            raise Refusal(400, "UserError", f"The model type {properties['modelType']} is invalid.")
        if not properties.get("modelUri"):
            raise Refusal(400, "UserError", "The field modelUri is required.")
        return {"modelType": "custom_model"} | properties

    def wanted(self, version: dict[str, Any], request: Request) -> bool:
        asked = request.asked("version")
        return not asked or version["name"] == asked

"""Registered models: assets, which point to artifacts, and the models made of them, whose versions count from 1."""

from __future__ import annotations

import itertools
import threading
import uuid
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


class Models:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._assets: dict[str, dict[str, Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}  # by id, `name:version`
        self._latest: dict[str, int] = {}

    def register(self, values: dict[str, Any], version: int = 0) -> dict[str, Any]:
        """The next version of a model, or `version`; `values` are as the SDK posts them. A deleted version's number is not given again."""
        with self._lock:
            name = values["name"]
            version = version or self._latest.get(name, 0) + 1
            self._latest[name] = max(version, self._latest.get(name, 0))
            added = {"kvTags": {}, "properties": {}, "description": None, "framework": "Custom", "frameworkVersion": None, "datasets": []}
            model = added | {key: value for key, value in values.items() if value is not None}
            model |= {"id": f"{name}:{version}", "version": version, "createdTime": now(), "modifiedTime": now()}
            model["createdBy"] = {"userObjectId": "1", "userName": "Stand-in"}
            self._models[model["id"]] = model
        return model

    def add_asset(self, name: str, prefixes: list[str]) -> str:
        """The url of a new asset that points to the artifacts called `prefixes`, or in the folders of that name."""
        asset = {"id": uuid.uuid4().hex, "name": name, "artifacts": [{"prefix": prefix} for prefix in prefixes], "createdTime": now()}
        self._assets[asset["id"]] = asset
        return f"aml://asset/{asset['id']}"

    def all(self) -> list[dict[str, Any]]:
        """Newest first."""
        return sorted(self._models.values(), key=lambda model: model["createdTime"], reverse=True)

    def versions_of(self, name: str) -> list[dict[str, Any]]:
        """Oldest first; none for an unknown name."""
        return [model for model in list(self._models.values()) if model["name"] == name]

    def prefixes(self, model: dict[str, Any]) -> list[str]:
        """What its asset points to: names of artifacts or of folders of these."""
        return [artifact["prefix"].rstrip("/") for artifact in self._assets[model["url"].rpartition("/")[2]]["artifacts"]]

    def remove(self, name: str, version: int) -> None:
        del self._models[f"{name}:{version}"]

    def files(self, model: dict[str, Any]) -> dict[str, bytes]:
        """What the model consists of: contents by path, which starts with the name of its file or folder."""
        files: dict[str, bytes] = {}
        for prefix in self.prefixes(model):
            for name in self._workspace.artifacts.below(prefix):
                files[name[len(prefix.rpartition("/")[0]) + 1 :]] = self._workspace.artifacts.content(name)
        return files

    @route("POST", "/modelmanagement/v1.0{ws}/assets")
    def create_asset(self, request: Request) -> dict[str, Any]:
        asset = request.json | {"id": uuid.uuid4().hex, "createdTime": now()}
        self._assets[asset["id"]] = asset
        return asset

    @route("GET", "/modelmanagement/v1.0{ws}/assets/{asset}")
    def get_asset(self, request: Request, asset: str) -> dict[str, Any]:
        if asset not in self._assets:
            raise not_found("Asset", asset)
        return self._assets[asset]

    @route("POST", "/modelmanagement/v1.0{ws}/models")
    def create(self, request: Request) -> dict[str, Any]:
        name = request.json.get("name", "")
        if not name or len(name) > 255 or not all(c.isalnum() or c in "._-" for c in name) or not name[0].isalnum():
            raise Refusal(400, "BadRequest", f"Model name '{name}' is invalid: letters, digits, '.', '_' and '-' only.")
        return self.register(request.json)

    @route("GET", "/modelmanagement/v1.0{ws}/models")
    def list(self, request: Request) -> dict[str, Any]:
        models = self.all()
        if name := request.asked("name"):
            models = [model for model in models if model["name"] == name]
        if run := request.asked("runId"):
            models = [model for model in models if model.get("runId") == run]
        if version := request.asked("version"):
            models = [model for model in models if str(model["version"]) == version]
        for tag in filter(None, request.asked("tags").split(",")):
            key, has_value, value = tag.partition("=")
            models = [m for m in models if key in m["kvTags"] and (not has_value or m["kvTags"][key] == value)]
        if request.asked("latestVersionOnly").lower() == "true":
            models = [next(group) for _, group in itertools.groupby(sorted(models, key=_newest), key=lambda model: model["name"])]
        count = int(request.asked("count", "0"))
        if not count:
            return paged(models, request, self._workspace.page_size, "$skipToken", "nextLink")
        return paged(models, request, min(count, self._workspace.page_size), "$skipToken", "nextLink")

    @route("GET", "/modelmanagement/v1.0{ws}/models/{model}")
    def get(self, request: Request, model: str) -> dict[str, Any]:
        if model not in self._models:
            raise not_found("Model", model)
        return self._models[model]

    @route("PATCH", "/modelmanagement/v1.0{ws}/models/{model}")
    def change(self, request: Request, model: str) -> dict[str, Any]:
        stored = self.get(request, model)
        for change in request.json:
            field, _, key = change["path"].removeprefix("/").partition("/")
            if not key:
                stored[field] = change.get("value")
            elif change["op"] == "remove":
                stored[field].pop(key, None)
            else:
                stored[field][key] = change["value"]
        stored["modifiedTime"] = now()
        return stored

    @route("DELETE", "/modelmanagement/v1.0{ws}/models/{model}")
    def delete(self, request: Request, model: str) -> Reply:
        self.get(request, model)
        del self._models[model]
        return Reply(b"", 200)


def _newest(model: dict[str, Any]) -> tuple[str, int]:
    return model["name"], -model["version"]

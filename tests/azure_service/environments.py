"""Environments: registered ones, whose versions count from 1, and a curated one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Refusal, Request, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

CURATED = "AzureML-sklearn-1.5"


class Environments:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._versions: dict[str, list[dict[str, Any]]] = {}
        self.register(CURATED, _curated())

    def names(self) -> list[str]:
        return list(self._versions)

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Oldest first; none for an unknown name."""
        return self._versions.get(name, [])

    def register(self, name: str, definition: dict[str, Any], version: str = "") -> dict[str, Any]:
        """The next version, or `version`; the latest one again when nothing in it changed, as the service does."""
        values = {key[:1].lower() + key[1:]: value for key, value in definition.items() if key.lower() != "version"} | {"name": name}
        with self._lock:
            versions = self._versions.setdefault(name, [])
            if version or not versions or {key: value for key, value in versions[-1].items() if key != "version"} != values:
                versions.append(values | {"version": version or str(len(versions) + 1)})
            return versions[-1]

    def get_version(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Raises Refusal where there is none."""
        versions = self._versions.get(name, [])
        matches = [environment for environment in versions if environment["version"] == version] if version else versions[-1:]
        if not matches:
            raise Refusal(404, "UserError", f"Environment {name}{f':{version}' if version else ''} not found.")
        return matches[0]

    @route("GET", "/environment/v1.0{ws}/environments/")
    def list(self, request: Request) -> dict[str, Any]:
        latest = [versions[-1] for versions in self._versions.values() if versions]
        return paged(latest, request, self._workspace.page_size, "continuation", "continuationToken")

    @route("PUT", "/environment/v1.0{ws}/environments/{name}")
    def put(self, request: Request, name: str) -> dict[str, Any]:
        if name.startswith("AzureML") or name.startswith("Microsoft"):
            raise Refusal(400, "UserError", f"Environment name {name} is reserved for curated environments.")
        return self.register(name, request.json)

    @route("GET", "/environment/v1.0{ws}/environments/{name}")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self.get_version(name)

    @route("GET", "/environment/v1.0{ws}/environments/{name}/versions/{version}")
    def get_one(self, request: Request, name: str, version: str) -> dict[str, Any]:
        return self.get_version(name, version)

    @route("GET", "/environment/v1.0{ws}/environments/{name}/versions/{version}/image")
    def image(self, request: Request, name: str, version: str) -> dict[str, Any]:
        """Of a curated one it is there; of others nobody builds it."""
        self.get_version(name, version)
        return {"imageExistsInRegistry": name == CURATED, "dockerImage": {"name": f"azureml/{name.lower()}", "registry": {"address": ""}}}


def _curated() -> dict[str, Any]:
    packages = ["scikit-learn==1.5.2", "joblib", "pandas", "azureml-core", "azureml-dataset-runtime[fuse]"]
    conda = {"name": "sklearn", "channels": ["conda-forge"], "dependencies": ["python=3.10", "pip", {"pip": packages}]}
    return {
        "python": {
            "userManagedDependencies": False,
            "interpreterPath": "python",
            "condaDependenciesFile": None,
            "baseCondaEnvironment": None,
            "condaDependencies": conda,
        },
        "environmentVariables": {},
        "docker": {
            "enabled": False,
            "baseImage": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
            "baseDockerfile": None,
            "buildContext": None,
            "sharedVolumes": True,
            "shmSize": "2g",
            "arguments": [],
            "baseImageRegistry": {"address": None, "username": None, "password": None, "registryIdentity": None},
            "platform": {"os": "Linux", "architecture": "amd64"},
        },
        "spark": {"repositories": [], "packages": [], "precachePackages": True},
        "inferencingStackVersion": None,
        "r": None,
    }

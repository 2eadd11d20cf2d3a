"""The registry `azureml`, which all workspaces see: environments that Microsoft keeps."""

from __future__ import annotations

from typing import Any

import yaml

from tests.azure_service.identity import TENANT
from tests.azure_service.routes import REGION, Refusal, Request, not_found, route
from tests.azure_service.v2.arm import PROVIDER

NAME = "azureml"
ENVIRONMENTS = {"sklearn-1.5": ("1", "2")}  # versions, oldest first
_HOME = "https://eastus.api.azureml.ms"
_SUBSCRIPTION, _GROUP = "00000000-0000-0000-0000-0000000000ff", "registry-group"
_ENVIRONMENTS = (
    f"/mferp/managementfrontend/subscriptions/{_SUBSCRIPTION}/resourceGroups/{_GROUP}/providers/{PROVIDER}/registries/{NAME}/environments"
)
_WHEN = "2026-01-01T00:00:00+00:00"


def check_environment(name: str, version: str) -> None:
    """Raises Refusal unless the registry has that version; `latest` is one."""
    if version not in (*ENVIRONMENTS.get(name, ()), *(["latest"] if name in ENVIRONMENTS else [])):
        raise not_found("Environment", f"{name}:{version} of the registry {NAME}")


class Registry:
    """Of the whole cloud."""

    @route("GET", "/registrymanagement/v1.0/registries/{name}/discovery")
    def discovery(self, request: Request, name: str) -> dict[str, Any]:
        if name != NAME:
            raise Refusal(404, "RegistryNotFound", f"The registry {name} was not found.")
        return {
            "registryName": NAME,
            "tenantId": TENANT,
            "primaryRegion": "eastus",
            "regions": ["eastus", REGION],
            "subscriptionId": _SUBSCRIPTION,
            "resourceGroup": _GROUP,
            "workspaceName": None,
            "primaryRegionResourceProviderUri": f"{_HOME}/",
        }

    @route("GET", _ENVIRONMENTS)
    def list(self, request: Request) -> dict[str, Any]:
        return {"value": [_container(name) for name in ENVIRONMENTS]}

    @route("GET", _ENVIRONMENTS + "/{name}")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        check_environment(name, "latest")
        return _container(name)

    @route("GET", _ENVIRONMENTS + "/{name}/versions")
    def versions(self, request: Request, name: str) -> dict[str, Any]:
        check_environment(name, "latest")
        newest_first = ENVIRONMENTS[name][::-1]
        top = int(request.asked("$top", "0")) or len(newest_first)
        return {"value": [_version(name, version) for version in newest_first[:top]]}

    @route("GET", _ENVIRONMENTS + "/{name}/versions/{version}")
    def version(self, request: Request, name: str, version: str) -> dict[str, Any]:
        check_environment(name, version)
        return _version(name, version)


def _resource(path: str, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    by = {"createdAt": _WHEN, "createdBy": "Microsoft", "createdByType": "User"}
    return {
        "id": f"azureml://registries/{NAME}/{path}",
        "name": path.rpartition("/")[2],
        "type": f"{PROVIDER}/registries/{kind}",
        "properties": {"description": "", "tags": {}, "properties": {}, "isArchived": False} | properties,
        "systemData": by,
    }


def _container(name: str) -> dict[str, Any]:
    versions = ENVIRONMENTS[name]
    numbers = {"latestVersion": versions[-1], "nextVersion": str(int(versions[-1]) + 1)}
    return _resource(f"environments/{name}", "environments", numbers)


def _version(name: str, version: str) -> dict[str, Any]:
    conda = {"channels": ["conda-forge"], "dependencies": ["python=3.10", {"pip": ["scikit-learn==1.5.2", "joblib", "pandas"]}]}
    properties = {
        "isAnonymous": False,
        "environmentType": "Curated",
        "osType": "Linux",
        "image": f"mcr.microsoft.com/azureml/curated/{name}:{version}",
        "condaFile": yaml.safe_dump(conda, sort_keys=False),
    }
    return _resource(f"environments/{name}/versions/{version}", "environments/versions", properties)

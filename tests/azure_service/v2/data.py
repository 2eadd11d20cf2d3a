"""Data assets: an address and its type. They are no datasets of v1; but those are seen here as tables, of which nobody says where they lie,
since jobs take them so: github.com/Azure/azure-cli/issues/22164, github.com/Azure/azureml-examples/pull/2279."""

from __future__ import annotations

import re
from typing import Any

from tests.azure_service.routes import Refusal, Request, not_found, route
from tests.azure_service.v2.versioned import Versioned

_TYPES = ("uri_folder", "uri_file", "mltable")
_WIRE = {"uri_folder": "UriFolder", "uri_file": "UriFile", "mltable": "MLTable"}
_ADDRESS = re.compile(r"(azureml|https?|wasbs|abfss|adl)://.+", re.DOTALL)


class Data(Versioned):
    """Of one workspace."""

    noun = "data"

    def names(self) -> list[str]:
        return list(dict.fromkeys([*super().names(), *self._workspace.datasets.names()]))

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        versions = {dataset["latest"]["versionId"]: self._of_v1(dataset) for dataset in self._datasets(name)} | super().versions(name)
        return dict(sorted(versions.items(), key=lambda item: item[1]["created"]))

    def _datasets(self, name: str) -> list[dict[str, Any]]:
        return self._workspace.datasets.versions_of(name)

    def _of_v1(self, dataset: dict[str, Any]) -> dict[str, Any]:
        name, version = dataset["name"], dataset["latest"]["versionId"]
        uri = f"azureml://locations/westeurope/workspaces/{self._workspace.id}/data/{name}/versions/{version}"
        about = {"description": dataset["description"], "tags": dataset["tags"], "dataType": "mltable", "dataUri": uri}
        return {"properties": self.of_assets | about, "created": dataset["createdTime"]}

    def dataset(self, name: str, version: str) -> dict[str, Any] | None:
        """The dataset of v1 that is seen under this name, if it is one."""
        if version in self._kept.get(name, {}):
            return None
        return next((dataset for dataset in self._datasets(name) if dataset["latest"]["versionId"] == version), None)

    def change(self, name: str, version: str, properties: dict[str, Any]) -> None:
        self._of_v2(name, version)
        super().change(name, version, properties)

    def remove(self, name: str, version: str) -> None:
        self._of_v2(name, version)
        super().remove(name, version)

    def _of_v2(self, name: str, version: str) -> None:
        if self.dataset(name, version):
            raise Refusal(400, "UserError", f"The stand-in does not change {name}:{version}, a dataset of SDK v1, by SDK v2.")

    def about(self, name: str) -> dict[str, Any]:
        versions = list(self.versions(name).values())
        return {"dataType": versions[-1]["properties"]["dataType"] if versions else self._containers[name].get("dataType", "uri_folder")}

    def checked(self, properties: dict[str, Any]) -> dict[str, Any]:
        if properties.get("dataType") not in _TYPES:
            raise Refusal(400, "UserError", f"The data type {properties.get('dataType')} is invalid.")
        if not _ADDRESS.fullmatch(properties.get("dataUri") or ""):
            raise Refusal(400, "UserError", f"The data uri {properties.get('dataUri')} is invalid.")
        return properties

    @route("POST", "/data/v1.0{ws}/dataversion/batchGetResolvedUris")
    def resolved(self, request: Request) -> dict[str, Any]:
        """Addresses of the assets that runs show by id."""
        return {"values": {identity: self._resolved(identity) for identity in request.json["values"]}}

    def _resolved(self, identity: str) -> dict[str, Any]:
        match = re.fullmatch(r"azureml://locations/[^/]+/workspaces/([^/]+)/data/([^/]+)/versions/([^/]+)", identity)
        if not match or match[1] != self._workspace.id:
            raise not_found("Data", identity)
        properties = self.version(match[2], match[3])["properties"]
        return {"uri": properties["dataUri"], "type": _WIRE[properties["dataType"]]}

"""Data assets: an address and its type. They are not v1's datasets."""

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

"""Compute targets: a cluster of four plain nodes, and one of two nodes with a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import REGION, Refusal, Request, now, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


class Computes:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._computes: dict[str, dict[str, Any]] = {}
        self.add("cpu-cluster", "STANDARD_DS3_V2", 4)
        self.add("gpu-cluster", "STANDARD_NC6S_V3", 2)

    def add(self, name: str, vm_size: str, max_nodes: int, state: str = "Succeeded") -> None:
        counts = ("preparing", "running", "idle", "unusable", "leaving", "preempted")
        self._computes[name] = {
            "id": f"{self._workspace.path}/computes/{name}",
            "name": name,
            "type": "Microsoft.MachineLearningServices/workspaces/computes",
            "location": REGION,
            "tags": {},
            "properties": {
                "computeType": "AmlCompute",
                "computeLocation": REGION,
                "description": "",
                "provisioningState": state,
                "provisioningErrors": None,
                "createdOn": now(),
                "modifiedOn": now(),
                "resourceId": None,
                "isAttachedCompute": False,
                "properties": {
                    "vmSize": vm_size,
                    "vmPriority": "Dedicated",
                    "allocationState": "Steady",
                    "allocationStateTransitionTime": now(),
                    "scaleSettings": {"minNodeCount": 0, "maxNodeCount": max_nodes, "nodeIdleTimeBeforeScaleDown": "PT120S"},
                    "currentNodeCount": 0,
                    "targetNodeCount": 0,
                    "errors": None,
                    "remoteLoginPortPublicAccess": "NotSpecified",
                    "nodeStateCounts": {f"{state}NodeCount": 0 for state in counts},
                    "subnet": None,
                    "userAccountCredentials": {"adminUserName": "azureuser"},
                },
            },
        }

    def remove(self, name: str) -> None:
        del self._computes[name]

    def all(self) -> Iterable[dict[str, Any]]:
        return self._computes.values()

    def one(self, name: str) -> dict[str, Any]:
        """Raises Refusal where there is no such compute target."""
        if name not in self._computes:
            raise Refusal(404, "ComputeNotFound", f"Compute with name {name} not found in workspace {self._workspace.name}.")
        return self._computes[name]

    def max_nodes(self, name: str) -> int:
        """Raises Refusal where there is no such compute target."""
        return int(self.one(name)["properties"]["properties"]["scaleSettings"]["maxNodeCount"])

    @route("GET", "/rp/workspaces{ws}/computes")
    def list(self, request: Request) -> dict[str, Any]:
        return paged(self._computes.values(), request, self._workspace.page_size, "$skip", "nextLink")

    @route("POST", "/{ws}/computes/{name}/listNodes", host="management")  # with the SDK's own second slash
    def nodes(self, request: Request, name: str) -> dict[str, Any]:
        self.max_nodes(name)
        return {"nodes": []}

    @route("GET", "/rp/workspaces{ws}/computes/{name}")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self.one(name)

"""Datastores: the workspace's blob store, the default, and any that are registered. Credentials are signatures of containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.identity import GROUP, SUBSCRIPTION
from tests.azure_service.routes import Refusal, Reply, Request, not_found, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

DEFAULT = "workspaceblobstore"


class Datastores:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._containers = {DEFAULT: workspace.container, "workspaceartifactstore": workspace.artifact_container}

    def container(self, name: str) -> str:
        """`account/container` of a datastore."""
        if name not in self._containers:
            raise Refusal(404, "UserError", f"Could not find datastore with name: {name}")
        return self._containers[name]

    def names(self) -> list[str]:
        return list(self._containers)

    def add(self, name: str, account: str, container: str) -> None:
        """The container is made when there is none."""
        self._containers[name] = f"{account}/{container}"
        self._workspace.blobs.make_container(self._containers[name])

    def _described(self, name: str) -> dict[str, Any]:
        account, _, container = self.container(name).partition("/")
        by_identity = self._workspace.v2_datastores.credentials == "None"
        signature = None if by_identity else self._workspace.blobs.signature(self.container(name), permissions="rcwdl")
        return {
            "name": name,
            "dataStoreType": "AzureBlob",
            "hasBeenValidated": True,
            "tags": None,
            "azureStorageSection": {
                "accountName": account,
                "containerName": container,
                "endpoint": "core.windows.net",
                "protocol": "https",
                "credentialType": "None" if by_identity else "Sas",
                "credential": signature,
                "accountKey": None,
                "sasToken": signature,
                "isSas": not by_identity,
                "blobCacheTimeout": None,
                "subscriptionId": SUBSCRIPTION,
                "resourceGroup": GROUP,
                "areWorkspaceManagedIdentitiesAllowed": False,
                "serviceDataAccessAuthIdentity": "None",
            },
        }

    @route("GET", "/datastore/v1.0{ws}/default")
    def default(self, request: Request) -> dict[str, Any]:
        return self._described(DEFAULT)

    @route("GET", "/datastore/v1.0{ws}/datastores")
    def list(self, request: Request) -> dict[str, Any]:
        everything = [self._described(name) for name in self._containers]
        return paged(
            everything, request, int(request.asked("count") or self._workspace.page_size), "continuationToken", "continuationToken"
        )

    @route("GET", "/datastore/v1.0{ws}/datastores/{name}")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._described(name)

    @route("POST", "/datastore/v1.0{ws}/datastores")
    def register(self, request: Request) -> dict[str, Any]:
        """A container of the stand-in, made when there is none, whatever credentials it is registered with."""
        body = request.json
        if body["name"] in self._containers and request.asked("createIfNotExists").lower() != "true":
            raise Refusal(400, "UserError", f"Another datastore with name {body['name']} already exists.")
        section = body.get("azureStorageSection") or {}
        if body["dataStoreType"] != "AzureBlob":
            raise Refusal(400, "UserError", "Only blob containers are played here.")
        self.add(body["name"], section["accountName"], section["containerName"])
        return self._described(body["name"])

    @route("DELETE", "/datastore/v1.0{ws}/datastores/{name}")
    def delete(self, request: Request, name: str) -> Reply:
        if name not in self._containers:
            raise not_found("Datastore", name)
        del self._containers[name]
        return Reply(b"", 200)

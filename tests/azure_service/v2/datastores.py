"""Datastores, and their secrets: a signature, the account's key, or none, where storage is by identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.datastores import DEFAULT
from tests.azure_service.identity import GROUP, SUBSCRIPTION
from tests.azure_service.routes import Refusal, Reply, Request, paged, route
from tests.azure_service.v2.arm import resource

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

KINDS = ("Sas", "AccountKey", "None")


class Datastores:
    """Of one workspace. `credentials` is the kind that all of them have."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self.credentials = "Sas"

    def _described(self, name: str) -> dict[str, Any]:
        account, _, container = self._workspace.datastores.container(name).partition("/")
        secrets = {} if self.credentials == "None" else {"secrets": {"secretsType": self.credentials}}
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "datastoreType": "AzureBlob",
            "isDefault": name == DEFAULT,
            "credentials": {"credentialsType": self.credentials} | secrets,
            "accountName": account,
            "containerName": container,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
            "subscriptionId": SUBSCRIPTION,
            "resourceGroup": GROUP,
        }
        return resource(self._workspace, f"datastores/{name}", properties, self._workspace.created)

    @route("GET", "{ws}/datastores", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        everything = [self._described(name) for name in self._workspace.datastores.names()]
        if default := request.asked("isDefault"):
            everything = [store for store in everything if store["properties"]["isDefault"] is (default.lower() == "true")]
        size = min(int(request.asked("count", "30")), self._workspace.page_size)
        return paged(everything, request, size, "$skip", "nextLink")

    @route("GET", "{ws}/datastores/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._described(name)

    @route("PUT", "{ws}/datastores/{name}", host="management")
    def put(self, request: Request, name: str) -> Reply:
        """A container of the stand-in, made when there is none, whatever credentials it is registered with."""
        properties = request.json["properties"]
        if properties["datastoreType"] != "AzureBlob":
            raise Refusal(400, "UserError", "The stand-in supports datastores of the type AzureBlob only.")
        new = name not in self._workspace.datastores.names()
        self._workspace.datastores.add(name, properties["accountName"], properties["containerName"])
        return Reply(self._described(name), 201 if new else 200)

    @route("POST", "{ws}/datastores/{name}/listSecrets", host="management")
    def secrets(self, request: Request, name: str) -> dict[str, Any]:
        container = self._workspace.datastores.container(name)
        if self.credentials == "Sas":
            return {"secretsType": "Sas", "sasToken": self._workspace.blobs.signature(container, permissions="rcwdl")}
        if self.credentials == "AccountKey":
            return {"secretsType": "AccountKey", "key": self._workspace.blobs.account_key}
        raise Refusal(400, "UserError", f"No secrets for credentials of type None: datastore {name}.")

    @route("DELETE", "{ws}/datastores/{name}", host="management")
    def delete(self, request: Request, name: str) -> Reply:
        if name not in self._workspace.datastores.names():
            return Reply(b"", 204)
        return self._workspace.datastores.delete(request, name)

"""Everything that the stand-in supports: identity and blob storage for all, and any number of workspaces, each with handlers of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from tests.azure_service import v2
from tests.azure_service.artifacts import Artifacts
from tests.azure_service.blobs import Blobs
from tests.azure_service.computes import Computes
from tests.azure_service.datasets import Datasets
from tests.azure_service.datastores import Datastores
from tests.azure_service.environments import Environments
from tests.azure_service.history import History
from tests.azure_service.identity import GROUP, SUBSCRIPTION, TENANT, Identity
from tests.azure_service.models import Models
from tests.azure_service.pipelines import Pipelines
from tests.azure_service.published import Published
from tests.azure_service.routes import API, REGION, Found, Request, Routes, not_found, now, route
from tests.azure_service.snapshots import Snapshots
from tests.azure_service.v2.arm import check_query
from tests.azure_service.v2.batch import Invocations
from tests.azure_service.v2.jobs import Operations
from tests.azure_service.v2.registry import Registry
from tests.azure_service.v2.schemas import Schemas

PAGE_SIZE = 50


class Resource:
    """The workspace as the resource manager knows it."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace

    @route("GET", "{ws}", host="management")
    def get(self, request: Request) -> dict[str, Any]:
        return self._workspace.described()


class CloudWorkspace:
    """One workspace. `path` is what `{ws}` stands for in routes; blobs of its default datastore are in `container`, artifacts in
    `artifact_container`."""

    handlers: ClassVar[dict[str, type]] = {
        "resource": Resource,
        "artifacts": Artifacts,
        "computes": Computes,
        "datasets": Datasets,
        "datastores": Datastores,
        "environments": Environments,
        "history": History,
        "models": Models,
        "pipelines": Pipelines,
        "published": Published,
        "snapshots": Snapshots,
        **v2.HANDLERS,
    }
    v2_batch: v2.BatchEndpoints
    v2_codes: v2.Codes
    v2_components: v2.Components
    v2_data: v2.Data
    v2_datastores: v2.Datastores
    v2_environments: v2.Environments
    v2_jobs: v2.Jobs
    v2_models: v2.Models
    v2_schedules: v2.Schedules

    def __init__(self, name: str, cloud: Cloud, folder: Path, complain: Callable[[str], None]) -> None:
        self.name, self.cloud, self.blobs, self.folder, self.complain = name, cloud, cloud.blobs, folder, complain
        self.id = str(uuid.uuid4())
        self.created = now()
        self.page_size = PAGE_SIZE
        self.recording: Path | None = None  # what steps leave, where they are not carried out
        self.queue_seconds = 0.0  # how long a step waits for its cluster
        self.completed: dict[str, tuple[str, dict[str, Any]]] = {}  # what steps may be reused: see execution.py
        self.path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{name}"
        self.account = f"st{uuid.uuid4().hex[:16]}"
        self.container = f"{self.account}/azureml-blobstore-{self.id}"
        self.artifact_container = f"{self.account}/azureml"
        self.snapshot_container = f"{self.account}/snapshots"
        for container in (self.container, self.artifact_container, self.snapshot_container):
            self.blobs.make_container(container)
        self.artifacts = Artifacts(self)
        self.computes = Computes(self)
        self.datasets = Datasets(self)
        self.datastores = Datastores(self)
        self.environments = Environments(self)
        self.history = History(self)
        self.models = Models(self)
        self.pipelines = Pipelines(self)
        self.published = Published(self)
        self.snapshots = Snapshots(self)
        self.resource = Resource(self)
        for attribute, kind in v2.HANDLERS.items():
            setattr(self, attribute, kind(self))

    def described(self) -> dict[str, Any]:
        within = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
        return {
            "id": self.path,
            "name": self.name,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": REGION,
            "tags": {},
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": self.id, "tenantId": TENANT},
            "properties": {
                "friendlyName": self.name,
                "description": "",
                "workspaceId": self.id,
                "creationTime": self.created,
                "provisioningState": "Succeeded",
                "discoveryUrl": f"{API}/discovery",
                "hbiWorkspace": False,
                "v1LegacyMode": False,
                "storageAccount": f"{within}/Microsoft.Storage/storageAccounts/{self.account}",
                "keyVault": f"{within}/Microsoft.KeyVault/vaults/kv",
                "applicationInsights": f"{within}/Microsoft.Insights/components/insights",
            },
        }


class Cloud:
    """Everything, and how a request finds its handler. `complain` is called where the stand-in itself fails outside of a request."""

    def __init__(self, folder: Path, complain: Callable[[str], None]) -> None:
        self._folder, self._complain = folder, complain
        self.identity = Identity(self)
        self.schemas, self.registry = Schemas(), Registry()
        self.blobs = Blobs(folder / "blobs", page_size=5000, check_token=self.identity.check)
        self.workspaces: dict[str, CloudWorkspace] = {}
        self.operations, self.invocations = Operations(self.workspaces), Invocations()
        self._routes = Routes(
            {
                "identity": Identity,
                "blobs": Blobs,
                "schemas": Schemas,
                "operations": Operations,
                "invocations": Invocations,
                "registry": Registry,
            }
            | CloudWorkspace.handlers
        )

    def workspace(self, name: str) -> CloudWorkspace:
        """The workspace of that name, made when there is none."""
        if name not in self.workspaces:
            self.workspaces[name] = CloudWorkspace(name, self, self._folder / "workspaces" / name, self._complain)
        return self.workspaces[name]

    def stop(self) -> None:
        """End whatever is still executed."""
        for workspace in self.workspaces.values():
            workspace.pipelines.stop()
            workspace.v2_jobs.stop()

    def find(self, request: Request) -> Found | None:
        return self._routes.find(request.method, host_kind(request.host), request.path)

    def answer(self, request: Request, match: Found) -> Any:
        """What the route's method returns. Raises Refusal."""
        if host_kind(request.host) not in ("login", "blob", "schemas") and request.path != "/discovery":
            self.identity.check(request)
        owner: Any = self
        if request.workspace:
            subscription, group, name = request.workspace
            workspace = self.workspaces.get(name)
            if workspace is None or subscription != SUBSCRIPTION or group.lower() != GROUP:
                raise not_found("Workspace", name)
            owner = workspace
        if match.handler in v2.HANDLERS and host_kind(request.host) == "management":
            check_query(request)
        return getattr(getattr(owner, match.handler), match.method)(request, **match.arguments)


def host_kind(host: str) -> str:
    """`login`, `management`, `api`, `blob`, `inference` or `schemas`."""
    if host.endswith(".blob.core.windows.net"):
        return "blob"
    if host.endswith(".inference.ml.azure.com"):
        return "inference"
    kinds = {"login.microsoftonline.com": "login", "management.azure.com": "management", "azuremlschemasprod.azureedge.net": "schemas"}
    return kinds.get(host, "api")

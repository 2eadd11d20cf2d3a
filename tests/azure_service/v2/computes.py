"""Compute targets: the list that v1 has as well, from the resource manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Request, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


class Computes:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace

    @route("GET", "{ws}/computes", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        return paged(self._workspace.computes.all(), request, self._workspace.page_size, "$skip", "nextLink")

    @route("GET", "{ws}/computes/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._workspace.computes.one(name)

    @route("POST", "{ws}/computes/{name}/listNodes", host="management")
    def nodes(self, request: Request, name: str) -> dict[str, Any]:
        self._workspace.computes.one(name)
        return {"nodes": []}

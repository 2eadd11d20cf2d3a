"""Artifacts: files of runs and uploads for models, addressed by origin, container and path; their contents are blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Request, not_found, now, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


class Artifacts:
    """Of one workspace. An artifact is there once it was announced, whether its blob was uploaded or not."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._created: dict[str, str] = {}  # by "origin/container/path"

    def add(self, origin: str, container: str, path: str, content: bytes) -> None:
        """An artifact with its content, made on this side."""
        self._announce(origin, container, path)
        self._workspace.blobs.put(self._workspace.artifact_container, f"{origin}/{container}/{path}", content)

    def below(self, prefix: str) -> list[str]:
        """The names, `origin/container/path`, of the artifact called `prefix`, or of all in the folder of that name."""
        return sorted(name for name in self._created if name == prefix or name.startswith(prefix.rstrip("/") + "/"))

    def content(self, name: str) -> bytes:
        return self._workspace.blobs.get(self._workspace.artifact_container, name)

    def address(self, name: str, permissions: str = "r") -> str:
        return self._workspace.blobs.address(self._workspace.artifact_container, name, permissions)

    def _announce(self, origin: str, container: str, path: str) -> dict[str, Any]:
        self._created.setdefault(f"{origin}/{container}/{path}", now())
        return self._described(f"{origin}/{container}/{path}")

    def _described(self, name: str) -> dict[str, Any]:
        origin, container, path = name.split("/", 2)
        return {
            "artifactId": name,
            "origin": origin,
            "container": container,
            "path": path,
            "etag": '"1"',
            "createdTime": self._created[name],
            "dataPath": {"dataStoreName": "workspaceartifactstore", "relativePath": name},
        }

    def _located(self, name: str, permissions: str) -> dict[str, Any]:
        origin, container, path = name.split("/", 2)
        return {"contentUri": self.address(name, permissions), "origin": origin, "container": container, "path": path}

    @route("POST", "/artifact/v2.0{ws}/artifacts/batch/metadata/{origin}/{container}")
    def announce(self, request: Request, origin: str, container: str) -> dict[str, Any]:
        paths = [item["path"] for item in request.json["paths"]]
        return {
            "artifacts": {path: self._announce(origin, container, path) for path in paths},
            "artifactContentInformation": {path: self._located(f"{origin}/{container}/{path}", "rcw") for path in paths},
            "errors": {},
        }

    @route("GET", "/artifact/v2.0{ws}/artifacts/{origin}/{container}")
    def of_container(self, request: Request, origin: str, container: str) -> dict[str, Any]:
        items = [self._described(name) for name in self.below(f"{origin}/{container}")]
        return paged(items, request, self._workspace.page_size, "continuationToken", "continuationToken")

    @route("GET", "/artifact/v2.0{ws}/artifacts/prefix/contentinfo/{origin}/{container}/{path*}")
    def located(self, request: Request, origin: str, container: str, path: str) -> dict[str, Any]:
        items = [self._located(name, "r") for name in self.below(f"{origin}/{container}/{path}".rstrip("/"))]
        return paged(items, request, self._workspace.page_size, "continuationToken", "continuationToken")

    @route("GET", "/artifact/v2.0{ws}/artifacts/contentinfo/{origin}/{container}/{path*}")
    def located_one(self, request: Request, origin: str, container: str, path: str) -> dict[str, Any]:
        name = f"{origin}/{container}/{path}"
        if name not in self._created:
            raise not_found("Artifact", name)
        return self._located(name, "r")

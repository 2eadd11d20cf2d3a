"""Snapshots of source folders: a tree and, by parents, the blobs of its files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tests.azure_service.routes import Refusal, Request, not_found, now, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_NONE = "00000000-0000-0000-0000-000000000000"


class Snapshots:
    """Of one workspace; but snapshots are known to all, since the SDK remembers the last one of a folder without its workspace."""

    _known: ClassVar[dict[str, dict[str, tuple[str, str]]]] = {_NONE: {}}  # by id: path -> (container, blob)
    _documents: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace

    def write(self, snapshot: str, folder: Path) -> None:
        """The files of a snapshot, below `folder`. Raises Refusal for none such."""
        if snapshot not in self._known:
            raise not_found("Snapshot", snapshot)
        for path, (container, blob) in self._known[snapshot].items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._workspace.blobs.get(container, blob))

    @route("GET", "/content/v1.0{ws}/snapshots/latest/metadata")
    def latest(self, request: Request) -> dict[str, Any]:
        root = {"name": "", "hash": "", "type": "Directory", "timestamp": now(), "sasUrl": "", "absoluteUrl": "", "sizeBytes": 0}
        return {"id": _NONE, "root": root | {"sizeSet": False, "children": {}}}

    @route("GET", "/content/v1.0{ws}/snapshots/{snapshot}/metadata")
    def metadata(self, request: Request, snapshot: str) -> dict[str, Any]:
        if snapshot not in self._documents:
            raise not_found("Snapshot", snapshot)
        return self._documents[snapshot]

    @route("POST", "/content/v2.0{ws}/snapshots/getblob")
    def where_to_put(self, request: Request) -> dict[str, Any]:
        upload = uuid.uuid4().hex
        container = self._workspace.snapshot_container
        names = request.json["FileNames"]
        return {
            "fileNodes": [
                {"fullName": name, "blobUri": self._workspace.blobs.address(container, f"{upload}/{name}", "rcw")} for name in names
            ]
        }

    @route("POST", "/content/v2.0{ws}/snapshots/{snapshot}")
    def create(self, request: Request, snapshot: str) -> dict[str, Any]:
        from urllib.parse import unquote, urlsplit

        body = request.json
        parent = body.get("ParentSnapshotId") or _NONE
        if parent not in self._known:
            raise Refusal(400, "UserError", f"The parent snapshot {parent} was not found.")
        files = dict(self._known[parent])
        for node in body["FileRevisionList"]["FileNodes"]:
            blob = unquote(urlsplit(node["BlobUri"]).path).split("/", 2)[2]
            files[node["FullName"].replace("\\", "/")] = (self._workspace.snapshot_container, blob)
        wanted = set(_paths(body["DirTreeNode"]))
        if missing := sorted(wanted - set(files)):
            raise Refusal(400, "UserError", f"Files of the snapshot were not uploaded: {missing}")
        self._known[snapshot] = {path: blob for path, blob in files.items() if path in wanted}
        self._documents[snapshot] = {"id": snapshot, "root": body["DirTreeNode"], "tags": {}, "createdBy": {"userName": "Stand-in"}}
        return self._documents[snapshot]


def _paths(node: dict[str, Any], folder: str = "") -> list[str]:
    """The files in a tree."""
    paths: list[str] = []
    for name, child in node["children"].items():
        path = f"{folder}{name}"
        paths += [path] if child["type"] == "File" else _paths(child, path + "/")
    return paths

"""Code: folders of scripts, each in a container of its own, found again by the hash of their contents."""

from __future__ import annotations

import uuid
from typing import Any

from tests.azure_service.routes import Request, paged, route
from tests.azure_service.v2.paths import files_at
from tests.azure_service.v2.versioned import Versioned


class Codes(Versioned):
    """Of one workspace."""

    noun = "codes"

    @route("GET", "{ws}/codes/{name}/versions", host="management")
    def list_versions(self, request: Request, name: str) -> dict[str, Any]:
        """Those of a hash, whatever their name."""
        wanted = request.asked("hash")
        names = self.names() if wanted else [name]
        versions = [self.described(known, version) for known in names for version in self.versions(known)]
        matching = [v for v in versions if not wanted or (v["properties"].get("properties") or {}).get("hash_sha256") == wanted]
        return paged(matching, request, self._workspace.page_size, "$skip", "nextLink")

    @route("POST", "{ws}/codes/{name}/versions/{version}/startPendingUpload", host="management")
    def upload(self, request: Request, name: str, version: str) -> dict[str, Any]:
        """Where the files may be put."""
        container = uuid.uuid4().hex
        whole = f"{self._workspace.account}/{container}"
        self._workspace.blobs.make_container(whole)
        place = f"https://{self._workspace.account}.blob.core.windows.net/{container}"
        signed = f"{place}?{self._workspace.blobs.signature(whole, permissions='rcwl')}"
        account = self._workspace.described()["properties"]["storageAccount"]
        credential = {"credentialType": "SAS", "sasUri": signed}
        return {
            "pendingUploadId": request.json.get("pendingUploadId") or str(uuid.uuid4()),
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": {"blobUri": place, "storageAccountArmId": account, "credential": credential},
        }

    def files(self, identity: str) -> dict[str, bytes]:
        """By path in the folder, of the code with this id. Raises Refusal for none such."""
        folder, files = files_at(self._workspace, self.by_id(identity)["properties"]["codeUri"])
        below = len(folder) + 1 if folder else 0
        return {blob[below:]: self._workspace.blobs.get(container, blob) for container, blob in files}

"""A noun that has names, and versions of each: what the routes of models, data assets, environments, codes and components share."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, paged, route
from tests.azure_service.v2.arm import resource, shown

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
_ABOUT = ("description", "tags", "properties", "isArchived")
_NOTHING: dict[str, Any] = {"description": None, "tags": {}, "properties": {}, "isArchived": False}


class Versioned:
    """Of one workspace. A version is `{"properties": ..., "created": ...}`."""

    noun: ClassVar[str] = ""
    """As the routes name it."""
    of_assets: ClassVar[dict[str, Any]] = _NOTHING | {"isAnonymous": False}
    """What a version has where nobody said so."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._kept: dict[str, dict[str, dict[str, Any]]] = {}
        self._containers: dict[str, dict[str, Any]] = {}
        self._latest: dict[str, int] = {}  # a number is not given twice

    # ---- what a noun may say otherwise ----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Of everything that has a version."""
        return [name for name, versions in self._kept.items() if versions]

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        """By version, oldest first. Empty for an unknown name."""
        return self._kept.get(name, {})

    def keep(self, name: str, version: str, properties: dict[str, Any]) -> None:
        """A version that was not there."""
        self._kept.setdefault(name, {})[version] = {"properties": properties, "created": now()}

    def change(self, name: str, version: str, properties: dict[str, Any]) -> None:
        """A version that was there; only what describes it changes. Raises Refusal for anything else."""
        known = self.versions(name)[version]["properties"]
        if any(properties.get(key) not in (None, known.get(key)) for key in ("modelUri", "dataUri", "codeUri")):
            raise Refusal(400, "UserError", "Asset paths cannot be updated.")
        known.update({key: properties[key] for key in _ABOUT if properties.get(key) is not None})

    def remove(self, name: str, version: str) -> None:
        del self._kept[name][version]

    def checked(self, properties: dict[str, Any]) -> dict[str, Any]:
        """What was posted, with what is added to it. Raises Refusal where it can't be."""
        return properties

    def about(self, name: str) -> dict[str, Any]:
        """More properties of the name itself."""
        return {}

    # ---- for the other handlers -----------------------------------------------------------------------------------------------

    def version(self, name: str, version: str) -> dict[str, Any]:
        """Raises Refusal where there is none such."""
        versions = self.versions(name)
        if version not in versions:
            raise not_found(self.noun.capitalize(), f"{name}:{version}")
        return versions[version]

    def by_id(self, identity: str) -> dict[str, Any]:
        """The version that an id of the resource manager names. Raises Refusal."""
        parts = identity.split("/")
        if len(parts) < 4 or parts[-4] != self.noun or parts[-2] != "versions":
            raise Refusal(400, "UserError", f"{identity} is no id of one of the {self.noun}.")
        return self.version(parts[-3], parts[-1])

    def put(self, name: str, version: str, properties: dict[str, Any]) -> bool:
        """Whether it is new."""
        with self._lock:
            if version in self.versions(name):
                self.change(name, version, properties)
                return False
            said = {key: value for key, value in self.checked(properties).items() if value is not None}
            for texts in ("tags", "properties"):
                said[texts] = {key: str(text) for key, text in (said.get(texts) or {}).items()}
            self.keep(name, version, self.of_assets | said)
            if version.isdigit():
                self._latest[name] = max(self._latest.get(name, 0), int(version))
            return True

    def next_version(self, name: str) -> str:
        numbers = [int(version) for version in self.versions(name) if version.isdigit()]
        return str(max([self._latest.get(name, 0), *numbers]) + 1)

    def described(self, name: str, version: str) -> dict[str, Any]:
        known = self.version(name, version)
        return resource(self._workspace, f"{self.noun}/{name}/versions/{version}", dict(known["properties"]), known["created"])

    def _container(self, name: str) -> dict[str, Any]:
        versions = self.versions(name)
        if not versions and name not in self._containers:
            raise not_found(self.noun.capitalize(), name)
        newest = list(versions)[-1] if versions else None
        numbers = {"latestVersion": newest, "nextVersion": self.next_version(name)}
        created = next(iter(versions.values()))["created"] if versions else now()
        properties = _NOTHING | self._containers.get(name, {}) | numbers | self.about(name)
        return resource(self._workspace, f"{self.noun}/{name}", properties, created)

    # ---- routes ---------------------------------------------------------------------------------------------------------------

    @route("GET", "{ws}/{noun}", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        containers = [self._container(name) for name in self.names() if not self._hidden(name)]
        return paged([c for c in containers if shown(c["properties"], request)], request, self._workspace.page_size, "$skip", "nextLink")

    def _hidden(self, name: str) -> bool:
        """Anonymous ones are not listed."""
        return all(version["properties"].get("isAnonymous") for version in self.versions(name).values())

    @route("GET", "{ws}/{noun}/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._container(name)

    @route("PUT", "{ws}/{noun}/{name}", host="management")
    def put_container(self, request: Request, name: str) -> Reply:
        check_name(name)
        new = not self.versions(name) and name not in self._containers
        properties = (request.json or {}).get("properties") or {}
        self._containers.setdefault(name, {}).update({key: properties[key] for key in _ABOUT if properties.get(key) is not None})
        return Reply(self._container(name), 201 if new else 200)

    @route("DELETE", "{ws}/{noun}/{name}", host="management")
    def delete_container(self, request: Request, name: str) -> Reply:
        for version in list(self.versions(name)):
            self.remove(name, version)
        return Reply(b"", 200 if self._containers.pop(name, None) is not None else 204)

    @route("GET", "{ws}/{noun}/{name}/versions", host="management")
    def list_versions(self, request: Request, name: str) -> dict[str, Any]:
        if not self.versions(name):
            raise not_found(self.noun.capitalize(), name)
        versions = [self.described(name, version) for version in reversed(self.versions(name))]
        order = request.asked("$orderBy", "createdtime desc").lower()
        if order not in ("createdtime desc", "createdtime asc"):
            raise Refusal(400, "UserError", f"Versions can't be ordered by {order}.")
        if order.endswith("asc"):
            versions.reverse()
        versions = [version for version in versions if shown(version["properties"], request) and self.wanted(version, request)]
        if top := int(request.asked("$top", "0")):
            versions = versions[:top]
        return paged(versions, request, self._workspace.page_size, "$skip", "nextLink")

    def wanted(self, version: dict[str, Any], request: Request) -> bool:
        """By the noun's own filters."""
        return True

    @route("GET", "{ws}/{noun}/{name}/versions/{version}", host="management")
    def get_version(self, request: Request, name: str, version: str) -> dict[str, Any]:
        return self.described(name, version)

    @route("PUT", "{ws}/{noun}/{name}/versions/{version}", host="management")
    def put_version(self, request: Request, name: str, version: str) -> Reply:
        check_name(name)
        properties = (request.json or {}).get("properties")
        if not isinstance(properties, dict):
            raise Refusal(400, "UserError", "The field properties is required.")
        new = self.put(name, version, properties)
        return Reply(self.described(name, version), 201 if new else 200)

    @route("DELETE", "{ws}/{noun}/{name}/versions/{version}", host="management")
    def delete_version(self, request: Request, name: str, version: str) -> Reply:
        if version not in self.versions(name):
            return Reply(b"", 204)
        self.remove(name, version)
        return Reply(b"", 200)


def check_name(name: str) -> None:
    """Raises Refusal for one that nothing may have."""
    if not _NAME.fullmatch(name):
        message = f"The name '{name}' is invalid: letters, digits, '.', '_' and '-' only, at most 255, a letter or a digit first."
        raise Refusal(400, "UserError", message)

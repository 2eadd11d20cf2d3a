"""Environments, in the words of v2. They are v1's: whichever SDK registers one, the other has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.azure_service.environments import CURATED
from tests.azure_service.routes import Refusal, now
from tests.azure_service.v2.versioned import Versioned

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_BASE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


class Environments(Versioned):
    """Of one workspace. What v1 has no word for is kept beside an environment."""

    noun = "environments"

    def __init__(self, workspace: CloudWorkspace) -> None:
        super().__init__(workspace)
        self._anonymous: dict[str, dict[str, dict[str, Any]]] = {}  # those that jobs bring along: nothing lists them

    def names(self) -> list[str]:
        return self._workspace.environments.names()

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        return self._anonymous.get(name) or {
            definition["version"]: {"properties": self._properties(name, definition), "created": self._workspace.created}
            for definition in self._workspace.environments.versions(name)
        }

    def _properties(self, name: str, definition: dict[str, Any]) -> dict[str, Any]:
        beside = self._kept.get(name, {}).get(definition["version"], {})
        conda = (definition.get("python") or {}).get("condaDependencies")
        kind = {"environmentType": "Curated" if name == CURATED else "UserCreated", "osType": "Linux"}
        image = {"image": (definition.get("docker") or {}).get("baseImage") or _BASE}
        return self.of_assets | kind | image | {"condaFile": yaml.safe_dump(conda, sort_keys=False) if conda else None} | beside

    def keep(self, name: str, version: str, properties: dict[str, Any]) -> None:
        if name.startswith(("AzureML", "Microsoft")):
            raise Refusal(400, "UserError", f"Environment name {name} is reserved for curated environments.")
        if properties.get("isAnonymous"):
            self._anonymous.setdefault(name, {})[version] = {"properties": properties, "created": now()}
            return
        image, conda = properties.get("image"), yaml.safe_load(properties.get("condaFile") or "null")
        python = {"userManagedDependencies": conda is None, "interpreterPath": "python", "condaDependencies": conda}
        self._workspace.environments.register(name, {"docker": {"baseImage": image}, "python": python}, version)
        self._kept.setdefault(name, {})[version] = properties

    def change(self, name: str, version: str, properties: dict[str, Any]) -> None:
        """One that is other than what is there is a conflict."""
        known = self.versions(name)[version]["properties"]
        if any(properties.get(key) not in (None, known.get(key)) for key in ("image", "condaFile", "build")):
            raise Refusal(409, "UserError", f"Environment {name} with version {version} is already registered with other contents.")
        about = {key: properties[key] for key in ("description", "tags", "isArchived") if properties.get(key) is not None}
        self._kept.setdefault(name, {}).setdefault(version, {}).update(about)

    def remove(self, name: str, version: str) -> None:
        raise Refusal(405, "MethodNotAllowed", "Environments can be archived, not deleted.")

    def checked(self, properties: dict[str, Any]) -> dict[str, Any]:
        if bool(properties.get("image")) is bool(properties.get("build")):
            raise Refusal(400, "UserError", "An environment has either an image or a build context.")
        if properties.get("condaFile") and not isinstance(yaml.safe_load(properties["condaFile"]), dict):
            raise Refusal(400, "UserError", "The conda file is no YAML mapping.")
        kind = {"environmentType": "UserCreated", "osType": "Linux"}
        return kind | properties

"""Components: specifications of steps and of pipelines."""

from __future__ import annotations

from typing import Any

from tests.azure_service.routes import Refusal
from tests.azure_service.v2.versioned import Versioned


class Components(Versioned):
    """Of one workspace."""

    noun = "components"

    def checked(self, properties: dict[str, Any]) -> dict[str, Any]:
        spec = properties.get("componentSpec")
        if not isinstance(spec, dict) or not spec.get("type"):
            raise Refusal(400, "UserError", "The field componentSpec is required, with a type.")
        return properties

    def spec(self, identity: str) -> dict[str, Any]:
        """Of the component with this id. Raises Refusal for none such."""
        return dict(self.by_id(identity)["properties"]["componentSpec"])


def defaults_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The inputs of a component that need not be given, as a job says inputs."""
    said = {name: about for name, about in (spec.get("inputs") or {}).items() if about.get("default") is not None}
    return {name: {"jobInputType": "literal", "value": str(about["default"])} for name, about in said.items()}

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

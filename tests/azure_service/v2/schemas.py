"""The host of Microsoft's JSON schemas, which the SDK asks at each registration of a table."""

from __future__ import annotations

from typing import Any

from tests.azure_service.routes import Request, route


class Schemas:
    """Says less than the real one: an MLTable file is a mapping with paths."""

    @route("GET", "/latest/MLTable.schema.json", host="schemas")
    def of_tables(self, request: Request) -> dict[str, Any]:
        return {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["paths"]}

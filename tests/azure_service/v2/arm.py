"""What all answers of the resource manager have in common: the envelope of a resource, and the versions of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.identity import CLIENT
from tests.azure_service.routes import Refusal, Request, now

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

PROVIDER = "Microsoft.MachineLearningServices"
API_VERSIONS = (
    "2022-02-01-preview", "2022-05-01", "2022-06-01-preview", "2022-10-01", "2022-10-01-preview", "2022-12-01-preview",
    "2023-02-01-preview", "2023-04-01", "2023-04-01-preview", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01",
    "2024-01-01-preview", "2024-04-01", "2024-04-01-preview", "2024-07-01-preview", "2024-10-01", "2024-10-01-preview",
    "2025-01-01-preview",
)  # fmt: skip
"""Those of the specification that know every noun here."""


_FILTERS = ("tags", "properties", "description", "names", "searchText", "offset", "feed", "stage", "createdBy")
"""Of lists, which the specification has and the stand-in has not."""


def check_query(request: Request) -> None:
    """Raises Refusal unless the request names a version of the interface that there is, and asks for no filter that is none here."""
    if unsupported := [name for name in _FILTERS if request.asked(name)]:
        raise Refusal(400, "UnsupportedByTheStandIn", f"The stand-in filters no lists by {unsupported}.")
    version = request.asked("api-version")
    if not version:
        raise Refusal(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
    if version not in API_VERSIONS:
        supported = ", ".join(API_VERSIONS)
        message = f"No registered resource provider found for API version '{version}'. The supported api-versions are '{supported}'."
        raise Refusal(400, "NoRegisteredProviderFound", message)


def resource(workspace: CloudWorkspace, path: str, properties: dict[str, Any], created: str = "") -> dict[str, Any]:
    """The thing at `path` below the workspace, such as `models/clf/versions/1`."""
    parts = path.split("/")
    created = created or now()
    return {
        "id": f"{workspace.path}/{path}",
        "name": parts[-1],
        "type": "/".join([f"{PROVIDER}/workspaces", *parts[::2]]),
        "properties": properties,
        "systemData": {
            "createdAt": created,
            "createdBy": CLIENT,
            "createdByType": "Application",
            "lastModifiedAt": created,
            "lastModifiedBy": CLIENT,
            "lastModifiedByType": "Application",
        },
    }


def shown(properties: dict[str, Any], request: Request) -> bool:
    """Whether a list has something with these properties, by what it was asked for: active ones unless it says otherwise."""
    view, archived = request.asked("listViewType", "ActiveOnly"), bool(properties.get("isArchived"))
    if view not in ("ActiveOnly", "ArchivedOnly", "All"):
        raise Refusal(400, "UserError", f"The list view type {view} is invalid.")
    return view == "All" or archived is (view == "ArchivedOnly")

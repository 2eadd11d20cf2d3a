"""Addresses of data: `azureml://…/datastores/{name}/paths/{path}`, long or short, and those of blobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tests.azure_service.identity import GROUP, SUBSCRIPTION
from tests.azure_service.routes import Refusal

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_IN_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?datastores/([^/]+)/paths/(.*)",
    re.DOTALL,
)
_OF_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/(?:artifacts/(?:paths/)?)?(.*)", re.DOTALL)


def address(workspace: CloudWorkspace, datastore: str, path: str) -> str:
    """The long form."""
    return f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{workspace.name}/datastores/{datastore}/paths/{path}"


def place(workspace: CloudWorkspace, uri: str) -> tuple[str, str]:
    """The container, `account/container`, and the path in it that an address means. Raises Refusal."""
    if match := _IN_DATASTORE.fullmatch(uri):
        return workspace.datastores.container(match[1]), match[2]
    if match := _OF_JOB.fullmatch(uri):
        run = workspace.history.run(match[1])
        return workspace.artifact_container, f"ExperimentRun/{run['dataContainerId']}/{match[2]}"
    parts = urlsplit(uri)
    if parts.netloc.endswith(".blob.core.windows.net"):
        container, _, path = parts.path.lstrip("/").partition("/")
        return f"{parts.netloc.partition('.')[0]}/{container}", unquote(path)
    raise Refusal(400, "UserError", f"The stand-in has no data at addresses such as {uri}")


def files_at(workspace: CloudWorkspace, uri: str) -> tuple[str, list[tuple[str, str]]]:
    """The path of an address in its container, and what lies there as (container, blob): one file, or all in a folder."""
    container, path = place(workspace, uri)
    path = path.rstrip("/")
    names = workspace.blobs.names(container, path)
    return path, [(container, name) for name in names if name == path or not path or name.startswith(path + "/")]

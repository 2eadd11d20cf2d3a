"""Addresses of data: `azureml://…/datastores/{name}/paths/{path}`, long or short, and those of blobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tests.azure_service.identity import GROUP, SUBSCRIPTION
from tests.azure_service.routes import Refusal, not_found

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_IN_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?datastores/([^/]+)/paths/(.*)",
    re.DOTALL,
)
_ARTIFACT = re.compile(r"(?:azureml://jobs/([^/]+)/outputs/artifacts/(?:paths/)?|runs:/([^/]+)/)(.*)", re.DOTALL)
_OUTPUT = re.compile(r"azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths)?/?(.*)", re.DOTALL)


def address(workspace: CloudWorkspace, datastore: str, path: str) -> str:
    """The long form."""
    return f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{workspace.name}/datastores/{datastore}/paths/{path}"


def place(workspace: CloudWorkspace, uri: str) -> tuple[str, str]:
    """The container, `account/container`, and the path in it that an address means. Raises Refusal."""
    if match := _IN_DATASTORE.fullmatch(uri):
        return workspace.datastores.container(match[1]), match[2]
    if match := _ARTIFACT.fullmatch(uri):
        run = workspace.history.run(match[1] or match[2])
        return workspace.artifact_container, f"ExperimentRun/{run['dataContainerId']}/{match[3]}"
    if match := _OUTPUT.fullmatch(uri):
        outputs = workspace.history.run(match[1]).get("outputs") or {}
        if match[2] not in outputs:
            raise not_found("Output", f"{match[2]} of the job {match[1]}")
        *_, name, _, version = outputs[match[2]]["assetId"].split("/")
        container, path = place(workspace, workspace.v2_data.version(name, version)["properties"]["dataUri"])
        return container, "/".join(part for part in (path.rstrip("/"), match[3]) if part)
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


def job_of(uri: str) -> str:
    """The job whose output an address is, or nothing."""
    if match := _ARTIFACT.fullmatch(uri):
        return match[1] or match[2]
    match = _OUTPUT.fullmatch(uri)
    return match[1] if match else ""

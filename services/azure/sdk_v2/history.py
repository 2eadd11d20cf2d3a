"""The run history of a workspace, by REST: the states, times, errors, logs and outputs of jobs and of their steps.

azure-ai-ml has no public call for these: `jobs.get` has no error and no times, and of a step neither logs nor outputs. Its private ones
change with its version; the addresses are the service's own, and the same for SDK v1 and MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.azure.sdk_v2.session import CONNECT_SECONDS, READ_SECONDS, Session

_SCOPE = "https://management.azure.com/.default"
_PAGE = 100


class History:
    """Its methods raise what azure-core raises."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._opened: tuple[Any, Any, str] | None = None

    @property
    def path(self) -> str:
        """Of the workspace, in addresses of the resource manager."""
        client = self._session.client
        within = f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
        return f"{within}/providers/Microsoft.MachineLearningServices/workspaces/{client.workspace_name}"

    def studio_url(self, job_id: str) -> str:
        """The page of a job in Azure ML studio."""
        return f"https://ml.azure.com/runs/{job_id}?wsid={self.path}"

    def run(self, job_id: str) -> dict[str, Any]:
        """A job or a step: `status`, `displayName`, `tags`, `properties`, `outputs`, `rootRunId` and more."""
        return dict(self._send("GET", f"runs/{job_id}"))

    def details(self, job_id: str) -> dict[str, Any]:
        """With `error`, `startTimeUtc`, `endTimeUtc`, and `logFiles`: addresses by name, which need no sign-in."""
        return dict(self._send("GET", f"runs/{job_id}/details"))

    def children(self, job_id: str) -> list[dict[str, Any]]:
        """The first page of them, which is all that a job of one step has."""
        return list(self._send("GET", f"runs/{job_id}/children")["value"])

    def pipelines(self, experiment: str) -> Iterator[dict[str, Any]]:
        """The pipeline jobs of an experiment, newest first, page by page."""
        query = {"filter": "runType eq azureml.PipelineRun", "orderby": "createdUtc desc", "top": _PAGE}
        while True:
            page = self._send("POST", f"experiments/{experiment}/runs:query", query)
            yield from (run for run in page["value"] if not run.get("parentRunId"))  # else it is the step of one
            if not (token := page.get("continuationToken")):
                return
            query["continuationToken"] = token

    def change(self, experiment: str, job_id: str, values: Mapping[str, Any]) -> None:
        """Set the display name, the description; tags are added to those that it has."""
        self._send("PATCH", f"experiments/{experiment}/runs/{job_id}", dict(values))

    def remove_tags(self, experiment: str, job_id: str, names: Sequence[str]) -> None:
        self._send("DELETE", f"experiments/{experiment}/runs/{job_id}/tags", list(names))

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        from azure.core.rest import HttpRequest

        sender, base = self._open()
        answer = sender.send_request(HttpRequest(method, f"{base}/{path}", json=body))
        answer.raise_for_status()
        return answer.json()

    def _open(self) -> tuple[Any, str]:
        """What sends, with the retries of azure-core, and the address of the workspace's history, which its discovery tells."""
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RedirectPolicy, RetryPolicy
        from azure.core.pipeline.transport import RequestsTransport
        from azure.core.rest import HttpRequest

        client = self._session.client
        if self._opened is None or self._opened[0] is not client:  # else it was signed in anew
            transport = RequestsTransport(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
            policies = [RedirectPolicy(), RetryPolicy(), BearerTokenCredentialPolicy(self._session.credential, _SCOPE)]
            sender: Any = PipelineClient("", policies=policies, transport=transport)
            answer = sender.send_request(HttpRequest("GET", str(client.workspaces.get(client.workspace_name).discovery_url)))
            answer.raise_for_status()
            self._opened = client, sender, f"{answer.json()['api']}/history/v1.0{self.path}"
        return self._opened[1:]

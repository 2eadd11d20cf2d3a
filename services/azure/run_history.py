"""The run history of a workspace, by REST: the states, times, errors, logs and outputs of jobs and of their steps.

azureml-core reads it too; azure-ai-ml has no public call for it: its `jobs.get` has no error and no times, and of a step neither logs nor
outputs. Its private ones change with its version; the addresses are the service's own, the same for both SDKs and MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from services.azure.auth.sdk_errors import parse_time, run_status, unless_not_found
from services.azure.auth.session import Session
from services.azure.run_plan import MAX_NAME, RUN_TAG, description_of
from services.connection import Connection
from services.remote import PipelineRun, TrainingRun

CONNECT_SECONDS, READ_SECONDS = 30, 120

_MANAGEMENT = "https://management.azure.com"
_API_VERSION = "2024-01-01-preview"
_PAGE = 100


def workspace_id(place: Connection) -> str:
    """The workspace's path in the resource manager, and what links into Azure ML studio name it by."""
    within = f"/subscriptions/{place.subscription_id}/resourceGroups/{place.resource_group}"
    return f"{within}/providers/Microsoft.MachineLearningServices/workspaces/{place.workspace_name}"


@dataclass(frozen=True)
class Details:
    """What the service has of a job or of its step. `logs` are addresses, which need no sign-in, by names such as
    `logs/user/error.txt`."""

    code: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    logs: Mapping[str, str] = field(default_factory=dict)


class History:
    """Its methods raise what azure-core raises."""

    def __init__(self, session: Session[Any]) -> None:
        self._session = session
        self._path = workspace_id(session.connection)
        self._opened: tuple[Any, Any, str] | None = None

    def studio_url(self, job_id: str) -> str:
        """The page of a job in Azure ML studio."""
        tenant = self._session.connection.tenant_id
        return f"https://ml.azure.com/runs/{job_id}?wsid={self._path}" + (f"&tid={tenant}" if tenant else "")

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it was submitted, in the words of the resource manager."""
        sender, _ = self._open()
        return dict(_sent(sender, "GET", f"{_MANAGEMENT}{self._path}/jobs/{job_id}?api-version={_API_VERSION}")["properties"])

    def run(self, run_id: str) -> dict[str, Any]:
        """A job or a step: `status`, `displayName`, `tags`, `properties`, `outputs`, `rootRunId` and more."""
        return dict(self._send("GET", f"runs/{run_id}"))

    def find(self, job_id: str) -> dict[str, Any] | None:
        """None where there is no such job."""
        return unless_not_found(lambda: self.run(job_id))

    def status(self, run_id: str) -> str:
        """Of a job or a step, in the service's word: `sdk_errors.run_status` makes it one of ours."""
        return str(self.run(run_id)["status"])

    def details(self, run_id: str) -> Details:
        details = self._send("GET", f"runs/{run_id}/details")
        error = (details.get("error") or {}).get("error") or {}
        return Details(
            code=str(error.get("code") or ""),
            message=str(error.get("message") or ""),
            started_at=parse_time(details.get("startTimeUtc")),
            ended_at=parse_time(details.get("endTimeUtc")),
            logs=details.get("logFiles") or {},
        )

    def step(self, job_id: str) -> str | None:
        """The id of a job's step; None while it is not there yet. Where the job runs a published pipeline it is that one's."""
        below: Mapping[str, Any] | None = {"runId": job_id, "runType": "azureml.PipelineRun"}
        while below and below.get("runType") == "azureml.PipelineRun":
            below = next(iter(self._send("GET", f"runs/{below['runId']}/children")["value"]), None)
        return str(below["runId"]) if below else None

    def reused(self, step_id: str) -> str:
        """The id of the job whose output was taken instead of scoring; "" where it was scored."""
        step = (self.run(step_id).get("properties") or {}).get("azureml.reusedrunid")
        return str(self.run(step)["rootRunId"]) if step else ""

    def pipelines(self, experiment: str) -> Iterator[PipelineRun]:
        """The pipeline jobs of an experiment, newest first, page by page, with the `run_id` of those that have a RUN_TAG."""
        for run in self._runs(experiment, filter="runType eq azureml.PipelineRun", orderby="createdUtc desc"):
            if not run.get("parentRunId"):  # else it is the step of one
                yield self._pipeline_run(run, experiment)

    def experiments(self) -> list[str]:
        """The names of those that are not archived, the newest first."""
        found = self._pages("experiments:query", viewType="ActiveOnly", orderby="createdUtc desc")
        return [str(experiment["name"]) for experiment in found]

    def training_runs(self, experiment: str, limit: int) -> list[TrainingRun]:
        """The latest runs of an experiment that are neither pipelines nor a part of another run."""
        found = self._runs(experiment, filter="ParentRunId eq null", orderby="StartTimeUtc desc")
        runs = islice((run for run in found if run.get("runType") != "azureml.PipelineRun"), limit)
        return [
            TrainingRun(run["runId"], experiment, run.get("displayName") or "", run["status"], parse_time(run.get("startTimeUtc")))
            for run in runs
        ]

    def _runs(self, experiment: str, **query: str) -> Iterator[dict[str, Any]]:
        return self._pages(f"experiments/{quote(experiment, safe='')}/runs:query", **query)

    def _pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """What a query finds, asked for page by page."""
        token = None
        while True:
            page = self._send("POST", path, {**query, "top": _PAGE, "continuationToken": token})
            yield from page["value"]
            if not (token := page.get("continuationToken")):
                return

    def describe(self, job: PipelineRun, title: str, *, tags: Mapping[str, str], name: str | None = None, note: str | None = None) -> None:
        """Set the display name of a job, of at most MAX_NAME characters, and its description, where they are given; and its tags, where ""
        removes one. Azure ML has no job without a name or a description: a name of "" is the `title` again, a note of "" what it was
        submitted with."""
        self.run(job.id)  # one that is gone would be made anew
        path = f"experiments/{quote(job.experiment, safe='')}/runs/{job.id}"
        wanted = {
            "displayName": None if name is None else (name or title)[:MAX_NAME],
            "description": None if note is None else note or description_of(title),
            "tags": {key: value for key, value in tags.items() if value},
        }
        if any(wanted.values()):
            self._send("PATCH", path, {key: value for key, value in wanted.items() if value})
        if gone := [key for key, value in tags.items() if not value]:
            self._send("DELETE", f"{path}/tags", gone)

    def _pipeline_run(self, run: Mapping[str, Any], experiment: str) -> PipelineRun:
        tags = run.get("tags") or {}
        note = run.get("description") or ""
        title = run.get("displayName") or note or run["runId"]
        return PipelineRun(
            id=run["runId"],
            experiment=experiment,
            status=run_status(run["status"]),
            title=title,
            studio_url=self.studio_url(run["runId"]),
            created_at=parse_time(run.get("createdUtc")),
            ended_at=parse_time(run.get("endTimeUtc")),
            run_id=tags.get(RUN_TAG, ""),
            note="" if note in (title, description_of(title)) else note,
            tags={key: value or "" for key, value in tags.items() if key != RUN_TAG and not key.startswith("azureml.")},
        )

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        sender, base = self._open()
        return _sent(sender, method, f"{base}/{path}", body)

    def _open(self) -> tuple[Any, str]:
        """What sends, with the retries of azure-core, and the address of the workspace's history, which its discovery tells."""
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RedirectPolicy, RetryPolicy
        from azure.core.pipeline.transport import RequestsTransport

        client = self._session.client
        if self._opened is None or self._opened[0] is not client:  # else it was signed in anew
            transport = RequestsTransport(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
            signs_in = BearerTokenCredentialPolicy(self._session.credential, f"{self._session.audience}/.default")
            sender: Any = PipelineClient("", policies=[RedirectPolicy(), RetryPolicy(), signs_in], transport=transport)
            self._opened = client, sender, f"{_sent(sender, 'GET', self._session.discovery_url)['api']}/history/v1.0{self._path}"
        return self._opened[1:]


def _sent(sender: Any, method: str, url: str, body: Any = None) -> Any:
    from azure.core.rest import HttpRequest

    answer = sender.send_request(HttpRequest(method, url, json=body))
    answer.raise_for_status()
    return answer.json()

"""Run history: experiments, their runs of every kind, and what runs reported: tags, properties, metrics, the end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.azure_service.identity import TENANT
from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, route
from tests.azure_service.run_filter import in_order, run_filter

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

ENDED = ("Completed", "Failed", "Canceled")
_EVENTS = {"Start": "Running", "Completed": "Completed", "Failed": "Failed", "Canceled": "Canceled", "CancelRequested": "CancelRequested"}


# https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity
_LONGEST = {"displayName": 256, "description": 5_000}
_MOST_TAGS, _LONGEST_TAG, _LONGEST_TAG_VALUE = 50, 100, 1_000


def _check_limits(run: dict[str, Any], values: dict[str, Any]) -> None:
    """Raises Refusal for more than the service takes."""
    for name, most in _LONGEST.items():
        if len(values.get(name) or "") > most:
            raise Refusal(400, "UserError", f"The {name} of a run has at most {most} characters.")
    tags = values.get("tags") or {}
    if any(len(key) > _LONGEST_TAG or len(text or "") > _LONGEST_TAG_VALUE for key, text in tags.items()):
        raise Refusal(400, "UserError", f"A tag has at most {_LONGEST_TAG} characters in its key and {_LONGEST_TAG_VALUE} in its value.")
    if len(run["tags"] | tags) > _MOST_TAGS:
        raise Refusal(400, "UserError", f"A run has at most {_MOST_TAGS} tags.")


class History:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._experiments: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._said: set[str] = set()  # runs whose word was set from outside
        self._logs: dict[str, dict[str, str]] = {}  # by run id: name -> blob in the artifact container
        self._metrics: dict[str, list[dict[str, Any]]] = {}

    # ---- for the other handlers --------------------------------------------------------------------------------------------------

    def experiment(self, name: str) -> dict[str, Any]:
        """The experiment of that name, made when there is none."""
        with self._lock:
            run = {
                "experimentId": str(uuid.uuid4()),
                "name": name,
                "description": "",
                "createdUtc": now(),
                "tags": {},
                "archivedTime": None,
            }
            return self._experiments.setdefault(name, run)

    def add_run(self, experiment: str, run_id: str, parent: str | None = None, **values: Any) -> dict[str, Any]:
        """A new run, NotStarted."""
        with self._lock:
            root = self._runs[parent]["rootRunId"] if parent else run_id
            run = {
                "runNumber": len(self._runs) + 1,
                "rootRunId": root,
                "experimentId": self.experiment(experiment)["experimentId"],
                "createdUtc": now(),
                "userId": "1",
                "runId": run_id,
                "runUuid": str(uuid.uuid4()),
                "parentRunId": parent,
                "status": "NotStarted",
                "startTimeUtc": None,
                "endTimeUtc": None,
                "heartbeatEnabled": False,
                "options": {"generateDataContainerIdIfNotSpecified": True},
                "name": None,
                "displayName": None,
                "dataContainerId": f"dcid.{run_id}",
                "description": None,
                "hidden": False,
                "runType": "custom",
                "runTypeV2": {"orchestrator": None, "traits": []},
                "properties": {},
                "scriptName": None,
                "target": None,
                "tags": {},
                "runDefinition": None,
                "createdBy": {"userObjectId": "1", "userName": "Stand-in", "userTenantId": TENANT},
                "error": None,
                "warnings": [],
                "queueingInfo": None,
            } | values
            self._runs[run_id] = run
            return run

    def run(self, run_id: str) -> dict[str, Any]:
        """Raises Refusal for none such."""
        if run_id not in self._runs:
            raise not_found("Run", run_id)
        return self._runs[run_id]

    def set_status(self, run_id: str, status: str, error: str = "", code: str = "UserError") -> None:
        """A run goes on. One that has ended stays as it is."""
        with self._lock:
            run = self.run(run_id)
            if run["status"] in ENDED or run_id in self._said:
                return
            run["status"] = status
            if status == "Running":
                run["startTimeUtc"] = run["startTimeUtc"] or now()
            if status in ENDED:
                run["endTimeUtc"] = now()
            if error:
                run["error"] = {"error": {"code": code, "message": error, "details": [], "innerError": None}, "time": now()}

    def say_status(self, run_id: str, status: str, *, ended: bool) -> None:
        """Let a run say this word, whatever its steps do."""
        with self._lock:
            self._said.add(run_id)
            self.run(run_id).update({"status": status} | ({"endTimeUtc": now()} if ended else {}))

    def names(self) -> Collection[str]:
        """The ids of all runs."""
        return self._runs.keys()

    def roots(self) -> list[dict[str, Any]]:
        """Runs that are part of no other, newest first: of pipelines, and of scripts."""
        return [run for run in list(self._runs.values()) if not run["parentRunId"]][::-1]

    def experiment_name(self, run: dict[str, Any]) -> str:
        return next(name for name, experiment in self._experiments.items() if experiment["experimentId"] == run["experimentId"])

    def children(self, run_id: str) -> list[dict[str, Any]]:
        return [run for run in self._runs.values() if run["parentRunId"] == run_id]

    def add_log(self, run_id: str, name: str, content: bytes) -> None:
        """A log file of a run, under its name in Azure's layout; again with more in it as it grows."""
        blob = f"ExperimentRun/dcid.{run_id}/{name}"
        self._workspace.blobs.put(self._workspace.artifact_container, blob, content, "text/plain")
        self._logs.setdefault(run_id, {})[name] = blob

    def logs(self, run_id: str, prefix: str) -> list[bytes]:
        """The contents of a run's log files whose names begin so."""
        blobs = [blob for name, blob in sorted(self._logs.get(run_id, {}).items()) if name.startswith(prefix)]
        return [self._workspace.blobs.get(self._workspace.artifact_container, blob) for blob in blobs]

    def _of_experiment(self, experiment: str) -> list[dict[str, Any]]:
        if experiment not in self._experiments:
            raise not_found("Experiment", experiment)
        identity = self._experiments[experiment]["experimentId"]
        return [run for run in list(self._runs.values()) if run["experimentId"] == identity]

    def _page(self, items: list[dict[str, Any]], top: int | None, token: str | None) -> dict[str, Any]:
        first, size = int(token or 0), min(top or 500, self._workspace.page_size)
        following = first + size
        return {"value": items[first:following], "continuationToken": str(following) if following < len(items) else None}

    # ---- experiments ----------------------------------------------------------------------------------------------------------

    @route("GET", "/history/v1.0{ws}/experiments/{experiment}")
    def get_experiment(self, request: Request, experiment: str) -> dict[str, Any]:
        if experiment not in self._experiments:
            raise not_found("Experiment", experiment)
        return self._experiments[experiment]

    @route("POST", "/history/v1.0{ws}/experiments/{experiment}")
    def make_experiment(self, request: Request, experiment: str) -> dict[str, Any]:
        if experiment in self._experiments:
            raise Refusal(409, "Conflict", f"Experiment {experiment} exists.")
        return self.experiment(experiment)

    @route("GET", "/history/v1.0{ws}/experimentids/{identity}")
    def experiment_by_id(self, request: Request, identity: str) -> dict[str, Any]:
        for experiment in self._experiments.values():
            if experiment["experimentId"] == identity:
                return experiment
        raise not_found("Experiment", identity)

    @route("PATCH", "/history/v1.0{ws}/experimentids/{identity}")
    def change_experiment(self, request: Request, identity: str) -> dict[str, Any]:
        experiment = self.experiment_by_id(request, identity)
        body = request.json
        experiment["tags"] |= body.get("tags") or {}
        if body.get("description") is not None:
            experiment["description"] = body["description"]
        if body.get("archive") is not None:
            experiment["archivedTime"] = now() if body["archive"] else None
        return experiment

    @route("POST", "/history/v1.0{ws}/experiments:query")
    def experiments(self, request: Request) -> dict[str, Any]:
        body = request.json or {}
        items = [
            experiment
            for experiment in self._experiments.values()
            if not experiment["archivedTime"] or body.get("viewType") != "ActiveOnly"
        ]
        return self._page(items, body.get("top"), body.get("continuationToken"))

    # ---- runs -----------------------------------------------------------------------------------------------------------------

    @route("POST", "/history/v1.0{ws}/experiments/{experiment}/runs:query")
    def query(self, request: Request, experiment: str) -> dict[str, Any]:
        body = request.json or {}
        wanted = run_filter(body.get("filter"))
        runs = in_order([run for run in self._of_experiment(experiment) if wanted(run)], body.get("orderby"))
        return self._page(runs, body.get("top"), body.get("continuationToken"))

    @route("GET", "/history/v1.0{ws}/runs/{run_id}")
    def get_run(self, request: Request, run_id: str) -> dict[str, Any]:
        return self.run(run_id)

    @route("GET", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}")
    def get_run_of_experiment(self, request: Request, experiment: str, run_id: str) -> dict[str, Any]:
        return self.run(run_id)

    @route("GET", "/history/v1.0{ws}/experimentids/{identity}/runs/{run_id}")
    def get_run_by_id(self, request: Request, identity: str, run_id: str) -> dict[str, Any]:
        return self.run(run_id)

    @route("PATCH", "/history/v1.0{ws}/runs/{run_id}")
    def change_run(self, request: Request, run_id: str) -> dict[str, Any]:
        return self._change(self.run(run_id), request.json)

    @route("PATCH", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}")
    def make_or_change(self, request: Request, experiment: str, run_id: str) -> dict[str, Any]:
        with self._lock:
            if run_id not in self._runs:
                self.get_experiment(request, experiment)
                self.add_run(experiment, run_id, request.json.get("parentRunId"))
            return self._change(self._runs[run_id], request.json)

    @route("PATCH", "/history/v1.0{ws}/experimentids/{identity}/runs/{run_id}")
    def make_or_change_by_id(self, request: Request, identity: str, run_id: str) -> dict[str, Any]:
        return self.make_or_change(request, self.experiment_by_id(request, identity)["name"], run_id)

    def _change(self, run: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            _check_limits(run, values)
            for name, value in values.items():
                if name in ("tags", "properties"):
                    run[name] |= {key: text for key, text in (value or {}).items() if text is not None}
                elif name not in ("runId", "status") and value is not None:
                    run[name] = value
            if values.get("name") and not run["displayName"]:
                run["displayName"] = values["name"]
        return run

    @route("DELETE", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}/tags")
    def remove_tags(self, request: Request, experiment: str, run_id: str) -> dict[str, Any]:
        run = self.run(run_id)
        for tag in request.json or []:
            run["tags"].pop(tag, None)
        return run

    @route("GET", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}/children")
    def get_children(self, request: Request, experiment: str, run_id: str) -> dict[str, Any]:
        return self.children_page(request, run_id)

    @route("GET", "/history/v1.0{ws}/runs/{run_id}/children")
    def children_page(self, request: Request, run_id: str) -> dict[str, Any]:
        self.run(run_id)
        runs = in_order(self.children(run_id), request.asked("$orderby") or None)
        token = "$continuationToken"
        page = self._page(runs, int(request.asked("$top") or "0"), request.asked(token))
        link = None
        if following := page["continuationToken"]:
            link = f"https://{request.host}{request.path.replace('{ws}', self._workspace.path)}?{urlencode({token: following})}"
        return page | {"nextLink": link}

    @route("POST", "/history/v1.0{ws}/rundata")
    def run_data(self, request: Request) -> dict[str, Any]:
        run = self.run(request.json["runId"])
        return {"runMetadata": run, "runDefinition": run["runDefinition"], "jobSpecification": None}

    @route("GET", "/history/v1.0{ws}/runs/{run_id}/details")
    def details_of_run(self, request: Request, run_id: str) -> dict[str, Any]:
        return self.details(request, "", run_id)

    @route("GET", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}/details")
    def details(self, request: Request, experiment: str, run_id: str) -> dict[str, Any]:
        run = self.run(run_id)
        names = ("runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "properties", "runDefinition")
        return {key: run[key] for key in names} | {
            "outputs": run.get("outputs") or {},
            "services": {},
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {name: self._workspace.artifacts.address(blob) for name, blob in sorted(self._logs.get(run_id, {}).items())},
            "submittedBy": "Stand-in",
        }

    @route("POST", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}/events")
    def event(self, request: Request, experiment: str, run_id: str) -> Reply:
        kind = request.json["name"].rpartition(".")[2]
        if kind in _EVENTS:
            self.set_status(run_id, _EVENTS[kind])
        return Reply(b"", 200)

    # ---- metrics --------------------------------------------------------------------------------------------------------------

    @route("POST", "/metric/v2.0{ws}/runs/{run_id}/batch")
    def add_metrics(self, request: Request, run_id: str) -> dict[str, Any]:
        self._metrics.setdefault(run_id, []).extend(request.json["values"])
        return {"errors": {}}

    @route("POST", "/metric/v2.0{ws}/runs/{run_id}/list")
    def metrics(self, request: Request, run_id: str) -> dict[str, Any]:
        metrics = [{"metricKey": {"name": metric["name"]}, "columns": metric["columns"]} for metric in self._metrics.get(run_id, [])]
        return {"value": metrics, "continuationToken": None}

    @route("POST", "/metric/v2.0{ws}/runs/{run_id}/full")
    def full_metric(self, request: Request, run_id: str) -> dict[str, Any]:
        for metric in self._metrics.get(run_id, []):
            if metric["name"] == request.json["metricName"]:
                return metric
        raise not_found("Metric", request.json["metricName"])

    @route("GET", "/history/v1.0{ws}/experiments/{experiment}/runs/{run_id}/metricsingest/wait")
    def wait_for_metrics(self, request: Request, experiment: str, run_id: str) -> Reply:
        return Reply(b"", 200)

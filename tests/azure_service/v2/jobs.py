"""Jobs: pipelines of parallel steps, submitted under a name that is the caller's, followed, listed and cancelled. Those that v1 started are
listed as well."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.azure_service.history import ENDED
from tests.azure_service.identity import TENANT
from tests.azure_service.routes import REGION, Refusal, Reply, Request, not_found, paged, route
from tests.azure_service.v2.arm import API_VERSIONS, PROVIDER, resource, shown
from tests.azure_service.v2.job_execution import JobExecution
from tests.azure_service.v2.versioned import check_name

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_MAY_CHANGE = ("description", "tags", "displayName", "properties", "isArchived")
_READ_ONLY = ("status", "services")
_TAKEN = (
    "A job with this name already exists. If you are trying to submit a new job, use a different name. If you are trying to update an "
    f"existing job, the existing job's settings cannot be changed. Only {', '.join(_MAY_CHANGE)} can be updated."
)


class Jobs:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._submitted: dict[str, dict[str, Any]] = {}  # by name: the properties that were posted
        self._executions: dict[str, JobExecution] = {}
        self._schedules: dict[str, str] = {}

    # ---- for the other handlers -----------------------------------------------------------------------------------------------

    def submit(self, name: str, properties: dict[str, Any], schedule: str = "") -> None:
        """Start a new job; by a schedule, where one is named."""
        if properties.get("jobType") != "Pipeline":
            raise Refusal(400, "UserError", f"The stand-in executes jobs of the type Pipeline only, not {properties.get('jobType')}.")
        execution = JobExecution(self._workspace, name, properties)
        execution.check()
        more = {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        self._workspace.history.add_run(
            properties.get("experimentName") or "Default", name, runType="azureml.PipelineRun", displayName=properties.get("displayName"),
            description=properties.get("description"), tags=dict(properties.get("tags") or {}),
            properties=more | (properties.get("properties") or {}),
        )  # fmt: skip
        self._submitted[name], self._schedules[name] = properties, schedule
        self._executions[name] = execution
        execution.start()

    def posted(self, name: str) -> dict[str, Any]:
        """The properties of a job. Raises Refusal for none such."""
        if name not in self._submitted:
            raise not_found("Job", name)
        return self._submitted[name]

    def has(self, name: str) -> bool:
        return name in self._submitted

    def cancel(self, name: str) -> None:
        self._executions[name].cancel()

    def say_status(self, name: str, status: str, *, ended: bool) -> None:
        """Let a job say this word, whatever its steps do."""
        self._workspace.history.say_status(name, status, ended=ended)
        if ended:
            self.cancel(name)

    def stop(self) -> None:
        for execution in self._executions.values():
            execution.cancel()
        for execution in self._executions.values():
            execution.join(10)

    # ---- routes ---------------------------------------------------------------------------------------------------------------

    @route("PUT", "{ws}/jobs/{name}", host="management")
    def put(self, request: Request, name: str) -> Reply:
        check_name(name)
        properties = {key: value for key, value in request.json["properties"].items() if key not in _READ_ONLY}
        if properties.get("jobType") == "Pipeline":
            self._workspace.cloud.identity.check_token(request.headers.get("x-azureml-token", ""), "ml")
        with self._lock:
            if name not in self._submitted:
                if name in self._workspace.history.names():
                    raise Refusal(400, "UserError", _TAKEN)
                self.submit(name, properties)
                return Reply(self._described(name), 201)
            if any(properties.get(key) != self._submitted[name].get(key) for key in properties if key not in _MAY_CHANGE):
                raise Refusal(400, "UserError", _TAKEN)
            run = self._workspace.history.run(name)
            for key in ("description", "tags", "displayName"):
                if properties.get(key):
                    run[key] = properties[key]
            run["hidden"] = bool(properties.get("isArchived"))
        return Reply(self._described(name), 200)

    @route("GET", "{ws}/jobs", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        kind, tag, schedule = request.asked("jobType"), request.asked("tag"), request.asked("scheduleId")
        jobs = [self._described(run["runId"]) for run in self._workspace.history.roots()]
        jobs = [job for job in jobs if kind in ("", job["properties"]["jobType"])]
        jobs = [job for job in jobs if shown(job["properties"], request) and (not tag or _tagged(job["properties"]["tags"], tag))]
        if schedule:
            jobs = [job for job in jobs if self._schedules.get(job["name"]) == schedule]
        return paged(jobs, request, self._workspace.page_size, "$skip", "nextLink")

    @route("GET", "{ws}/jobs/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._described(name)

    @route("POST", "{ws}/jobs/{name}/cancel", host="management")
    def cancel_it(self, request: Request, name: str) -> Reply:
        run = self._workspace.history.run(name)
        if run["status"] in ENDED:
            raise Refusal(400, "UserError", f"The job {name} has ended: its status is {run['status']}.")
        if self.has(name):
            self.cancel(name)
        else:
            self._workspace.pipelines.stop_run(name)
        within = self._workspace.path.split("/resourceGroups")[0]
        operation = f"jc:{self._workspace.id}:{name}"
        place = f"https://{request.host}{within}/providers/{PROVIDER}/locations/{REGION}/mfeOperationResults/{operation}"
        return Reply(b"", 202, {"Location": f"{place}?api-version={API_VERSIONS[-1]}", "Retry-After": "1"})

    def _described(self, name: str) -> dict[str, Any]:
        run = self._workspace.history.run(name)
        if run["parentRunId"]:
            return resource(self._workspace, f"jobs/{name}", {}, run["createdUtc"]) | {"properties": None}
        posted = self._submitted.get(name) or {"jobType": "Pipeline", "settings": {}, "jobs": {}, "inputs": {}, "outputs": {}}
        if run["runType"] != "azureml.PipelineRun":
            environment = f"{self._workspace.path}/environments/of-the-script/versions/1"
            posted = {"jobType": "Command", "command": "python train.py", "environmentId": environment, "inputs": {}, "outputs": {}}
        studio = f"https://ml.azure.com/runs/{name}?wsid={self._workspace.path}&tid={TENANT}"
        none = {"port": None, "properties": None, "status": None, "errorMessage": None}
        services = {
            "Tracking": none | {"jobServiceType": "Tracking", "endpoint": f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{self._workspace.path}?"},
            "Studio": none | {"jobServiceType": "Studio", "endpoint": studio},
        }  # fmt: skip
        of_run = {
            "description": run["description"],
            "displayName": run["displayName"] or name,
            "tags": dict(run["tags"]),
            "properties": dict(run["properties"]),
            "isArchived": run["hidden"],
            "experimentName": self._workspace.history.experiment_name(run),
            "status": run["status"],
            "services": services,
            "computeId": None,
        }
        return resource(self._workspace, f"jobs/{name}", posted | of_run, run["createdUtc"])


class Operations:
    """What a cancellation is followed by: an address that names no workspace. Of the whole cloud."""

    def __init__(self, workspaces: dict[str, CloudWorkspace]) -> None:
        self._workspaces = workspaces

    @route(
        "GET",
        f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{{region}}/mfeOperationResults/{{operation}}",
        host="management",
    )
    def result(self, request: Request, subscription: str, region: str, operation: str) -> Reply:
        _, workspace_id, name = operation.split(":", 2)
        for workspace in self._workspaces.values():
            if workspace.id == workspace_id:
                ended = workspace.history.run(name)["status"] in ENDED
                here = f"https://{request.host}{request.path}?api-version={request.asked('api-version')}"
                return Reply(b"", 200) if ended else Reply(b"", 202, {"Location": here, "Retry-After": "1"})
        raise not_found("Operation", operation)


def _tagged(tags: dict[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in tags and (not equals or tags[name] == value)

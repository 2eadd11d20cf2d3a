"""Published pipelines: endpoints that submit a graph again, with other parameters; and schedules of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.azure_service.pipelines import entity
from tests.azure_service.routes import API, Refusal, Reply, Request, not_found, now, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_STATUS = {"0": "Active", "1": "Deprecated", "2": "Disabled"}


class Published:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._pipelines: dict[str, dict[str, Any]] = {}
        self._schedules: dict[str, dict[str, Any]] = {}

    def fire(self, schedule: str) -> str:
        """Let a schedule's time come: returns the id of the pipeline run. Raises Refusal where it is disabled."""
        values = self._schedule(schedule)
        _must_be_active(values, "Schedule")
        return str(self._submit(values["PipelineId"], values["PipelineSubmissionInfo"], ScheduleId=schedule)["Id"])

    def _submit(self, pipeline: str, creation: dict[str, Any], **values: Any) -> dict[str, Any]:
        known = self._pipeline(pipeline)
        _must_be_active(known, "Pipeline")
        pipelines = self._workspace.pipelines
        known_names = {parameter["Name"] for parameter in pipelines.interface(known["GraphId"]).get("Parameters") or []}
        if unknown := sorted(set(creation.get("ParameterAssignments") or {}) - known_names):
            raise Refusal(400, "UserError", f"Pipeline {pipeline} has no parameters called {unknown}.")
        defaults = known["DataSetDefinitionValueAssignments"]
        creation = creation | {
            "DataSetDefinitionValueAssignments": defaults | (creation.get("DataSetDefinitionValueAssignments") or {}),
            "ParameterAssignments": known["ParameterAssignments"] | (creation.get("ParameterAssignments") or {}),
        }
        run = pipelines.make_run(known["GraphId"], creation["ExperimentName"], creation, PipelineId=pipeline, **values)
        pipelines.submit(run["Id"])
        return pipelines.described(run)

    def _pipeline(self, pipeline: str) -> dict[str, Any]:
        if pipeline not in self._pipelines:
            raise not_found("Pipeline", pipeline)
        return self._pipelines[pipeline]

    def _schedule(self, schedule: str) -> dict[str, Any]:
        if schedule not in self._schedules:
            raise not_found("Schedule", schedule)
        return self._schedules[schedule]

    # ---- pipelines ------------------------------------------------------------------------------------------------------------

    @route("POST", "/pipelines/v1.0{ws}/Pipelines/Create")
    def publish(self, request: Request) -> dict[str, Any]:
        body = request.json
        pipeline = entity(
            Name=body["Name"],
            Description=body.get("Description"),
            Version=body.get("Version"),
            GraphId=self._workspace.pipelines.keep_graph(body["Graph"], body.get("GraphInterface")),
            TotalRunSteps=len(body["Graph"]["ModuleNodes"]),
            ParameterAssignments=body.get("ParameterAssignments") or {},
            DataSetDefinitionValueAssignments=body.get("DataSetDefinitionValueAssignments") or {},
            ContinueRunOnStepFailure=body.get("ContinueRunOnStepFailure"),
            Properties=body.get("Properties") or {},
            EnableNotification=body.get("EnableNotification"),
        )
        pipeline["Url"] = f"{API}/pipelines/v1.0{self._workspace.path}/PipelineRuns/PipelineSubmit/{pipeline['Id']}"
        self._pipelines[pipeline["Id"]] = pipeline
        return pipeline

    @route("GET", "/pipelines/v1.0{ws}/Pipelines")
    def all(self, request: Request) -> list[dict[str, Any]]:
        return _wanted(self._pipelines, request)

    @route("GET", "/pipelines/v1.0{ws}/Pipelines/{pipeline}")
    def get(self, request: Request, pipeline: str) -> dict[str, Any]:
        return self._pipeline(pipeline)

    @route("PUT", "/pipelines/v1.0{ws}/Pipelines/{pipeline}/status")
    def set_status(self, request: Request, pipeline: str) -> Reply:
        self._pipeline(pipeline).update(EntityStatus=request.json, LastModifiedDate=now())
        return Reply(b"", 200)

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/PipelineSubmit/{pipeline}")
    def submit(self, request: Request, pipeline: str) -> dict[str, Any]:
        if not (request.json or {}).get("ExperimentName"):
            raise Refusal(400, "UserError", "ExperimentName is required.")
        return self._submit(pipeline, request.json)

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/Pipeline/{pipeline}")
    def runs_of_pipeline(self, request: Request, pipeline: str) -> list[dict[str, Any]]:
        return self._workspace.pipelines.runs_of("PipelineId", self._pipeline(pipeline)["Id"])

    # ---- schedules ------------------------------------------------------------------------------------------------------------

    @route("POST", "/pipelines/v1.0{ws}/Schedules/Create")
    def create_schedule(self, request: Request) -> dict[str, Any]:
        self._pipeline(request.json.get("PipelineId") or "")
        added = {"PipelineEndpointId": None, "Recurrence": None, "DataStoreTriggerInfo": None, "ProvisioningStatus": "Completed"}
        schedule = entity(**added | request.json)
        self._schedules[schedule["Id"]] = schedule
        return schedule

    @route("GET", "/pipelines/v1.0{ws}/Schedules")
    def schedules(self, request: Request) -> list[dict[str, Any]]:
        return _wanted(self._schedules, request)

    @route("GET", "/pipelines/v1.0{ws}/Schedules/{schedule}")
    def get_schedule(self, request: Request, schedule: str) -> dict[str, Any]:
        return self._schedule(schedule)

    @route("PUT", "/pipelines/v1.0{ws}/Schedules/{schedule}")
    def change_schedule(self, request: Request, schedule: str) -> dict[str, Any]:
        values = self._schedule(schedule)
        description = {key: values[key] for key in ("Id", "PipelineId", "CreatedDate", "ScheduleType", "ProvisioningStatus")}
        values.update(request.json | description | {"LastModifiedDate": now()})
        return values

    @route("GET", "/pipelines/v1.0{ws}/Schedules/Pipeline/{pipeline}")
    def schedules_of(self, request: Request, pipeline: str) -> list[dict[str, Any]]:
        return [schedule for schedule in self._schedules.values() if schedule["PipelineId"] == pipeline]

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/Schedule/{schedule}")
    def runs_of_schedule(self, request: Request, schedule: str) -> list[dict[str, Any]]:
        return self._workspace.pipelines.runs_of("ScheduleId", self._schedule(schedule)["Id"])

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/Schedule/{schedule}/Last")
    def last_run_of_schedule(self, request: Request, schedule: str) -> dict[str, Any]:
        runs = self.runs_of_schedule(request, schedule)
        if not runs:
            raise not_found("Pipeline run of schedule", schedule)
        return runs[0]


def _status(values: dict[str, Any]) -> str:
    return _STATUS.get(values["EntityStatus"], values["EntityStatus"])


def _must_be_active(values: dict[str, Any], what: str) -> None:
    if _status(values) != "Active":
        raise Refusal(400, "UserError", f"{what} {values['Id']} is {_status(values).lower()}.")


def _wanted(things: dict[str, dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """All, or those that are active where only these are asked for."""
    every = request.asked("activeOnly").lower() == "false"
    return [values for values in things.values() if every or _status(values) == "Active"]

"""Pipelines: modules, graphs of them, and runs of these: submitted, followed, cancelled; their outputs and logs."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from tests.azure_service.execution import GraphExecution
from tests.azure_service.history import ENDED
from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_DATA_TYPES = (
    "AnyFile", "AnyDirectory", "AzureBlobReference", "AzureDataLakeReference", "AzureDataLakeGen2Reference", "AzureFilesReference",
    "AzureMySqlDatabaseReference", "AzurePostgresDatabaseReference", "AzureSqlDatabaseReference", "AzureMLDataset", "DBFSReference",
)  # fmt: skip
_PIPELINE_STATUS = {"Completed": "Finished", "CancelRequested": "Running", "Preparing": "Running", "Queued": "Running"}
_STEP_STATUS = {"Completed": "Finished", "CancelRequested": "Running", "Preparing": "Queued"}


def entity(identity: str | None = None, **values: Any) -> dict[str, Any]:
    """What all things of this service have, in its PascalCase."""
    entity = {"Id": identity or str(uuid.uuid4()), "Etag": f'"{uuid.uuid4()}"', "CreatedDate": now(), "LastModifiedDate": now()}
    return entity | {"EntityStatus": "0"} | values


class Pipelines:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._modules: dict[str, dict[str, Any]] = {}
        self._graphs: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._executions: dict[str, GraphExecution] = {}

    # ---- for the other handlers --------------------------------------------------------------------------------------------------

    def keep_graph(self, graph: dict[str, Any], interface: dict[str, Any] | None) -> str:
        """The id of a graph that was posted."""
        identity = str(uuid.uuid4())
        self._graphs[identity] = {"graph": graph | {"Id": identity}, "interface": interface or {}}
        return identity

    def interface(self, graph: str) -> dict[str, Any]:
        return dict(self._graph(graph)["interface"])

    def make_run(self, graph: str, experiment: str, creation: dict[str, Any], **values: Any) -> dict[str, Any]:
        """A run of that graph that is not submitted yet. `creation` are the SDK's words on it; `values` more of its fields."""
        nodes = self._graph(graph)["graph"]["ModuleNodes"]
        given = {parameter["Name"]: parameter.get("DefaultValue") for parameter in self.interface(graph).get("Parameters") or []}
        given |= creation.get("ParameterAssignments") or {}
        properties = {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        properties |= {key: str(value) for key, value in (creation.get("Properties") or {}).items()}
        if values.get("PipelineId"):
            properties["azureml.pipelineid"] = values["PipelineId"]
        run = entity(
            Description=creation.get("Description") or experiment,
            GraphId=graph,
            IsSubmitted=False,
            HasErrors=False,
            HasWarnings=False,
            UploadState="Completed",
            ParameterAssignments={key: str(value) for key, value in given.items()},
            DataSetDefinitionValueAssignments=creation.get("DataSetDefinitionValueAssignments") or {},
            RunHistoryExperimentName=experiment,
            PipelineId=values.get("PipelineId"),
            RunSource=creation.get("RunSource", "SDK"),
            RunType=creation.get("RunType", "SDK"),
            TotalRunSteps=len(nodes),
            ScheduleId=values.get("ScheduleId"),
            tags=creation.get("tags") or {},
            Properties=properties,
        )
        self._runs[run["Id"]] = run
        history = self._workspace.history
        history.add_run(
            experiment, run["Id"], runType="azureml.PipelineRun", properties=properties, tags=dict(run["tags"]),
            description=creation.get("Description"), displayName=creation.get("DisplayName"),
        )  # fmt: skip
        return run

    def submit(self, run_id: str) -> None:
        """Start what was made. A second time changes nothing."""
        run = self._run(run_id)
        with self._lock:
            if run["IsSubmitted"]:
                return
            run["IsSubmitted"] = True
        graph = self._graph(run["GraphId"])["graph"]
        self._executions[run_id] = GraphExecution(self._workspace, run, graph, self._modules)
        self._executions[run_id].start()

    def runs_of(self, field: str, identity: str) -> list[dict[str, Any]]:
        """Runs of a published pipeline or of a schedule, newest first."""
        return [self.described(run) for run in reversed(self._runs.values()) if run[field] == identity]

    def described(self, run: dict[str, Any]) -> dict[str, Any]:
        """The run with its status of now."""
        state = self._workspace.history.run(run["Id"])
        code = _PIPELINE_STATUS.get(state["status"], state["status"])
        return run | {
            "Status": {"StatusCode": code, "StatusDetail": None, "CreationTime": run["CreatedDate"], "EndTime": state["endTimeUtc"]},
            "HasErrors": code == "Failed",
        }

    def say_status(self, run_id: str, status: str, *, ended: bool) -> None:
        """Let a run say this word, whatever its steps do."""
        self._workspace.history.say_status(run_id, status, ended=ended)
        if ended:
            self._executions[run_id].cancel()

    def stop(self) -> None:
        for execution in self._executions.values():
            execution.cancel()
        for execution in self._executions.values():
            execution.join(10)

    def _run(self, run_id: str) -> dict[str, Any]:
        if run_id not in self._runs:
            raise not_found("Pipeline run", run_id)
        return self._runs[run_id]

    def _graph(self, graph: str) -> dict[str, Any]:
        if graph not in self._graphs:
            raise not_found("Graph", graph)
        return self._graphs[graph]

    # ---- modules and graphs ---------------------------------------------------------------------------------------------------

    @route("GET", "/pipelines/v1.0{ws}/DataTypes")
    def data_types(self, request: Request) -> list[dict[str, Any]]:
        return [entity(name, Name=name, Description=name, IsDirectory=name == "AnyDirectory", ParentDataTypeIds=[]) for name in _DATA_TYPES]

    @route("GET", "/pipelines/v1.0{ws}/Modules/Hash/{identity}")
    def module_by_hash(self, request: Request, identity: str) -> dict[str, Any]:
        for module in self._modules.values():
            if module["IdentifierHash"] == identity:
                return _with_interface(module)
        raise not_found("Module", identity)

    @route("POST", "/pipelines/v1.0{ws}/Modules")
    def make_module(self, request: Request) -> dict[str, Any]:
        module = entity(**request.json, UploadState="Completed")
        self._modules[module["Id"]] = module
        return module

    @route("GET", "/pipelines/v1.0{ws}/Modules/{module}")
    def get_module(self, request: Request, module: str) -> dict[str, Any]:
        if module not in self._modules:
            raise not_found("Module", module)
        return _with_interface(self._modules[module])

    @route("GET", "/pipelines/v1.0{ws}/Graphs/{graph}")
    def get_graph(self, request: Request, graph: str) -> dict[str, Any]:
        return dict(self._graph(graph)["graph"])

    @route("GET", "/pipelines/v1.0{ws}/Graphs/{graph}/Interface")
    def get_interface(self, request: Request, graph: str) -> dict[str, Any]:
        return {"Parameters": [], "DataPathParameters": [], "DataPathParameterList": []} | self.interface(graph)

    # ---- runs -----------------------------------------------------------------------------------------------------------------

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/Unsubmitted/CreationInfoWithGraph")
    def create(self, request: Request) -> dict[str, Any]:
        body = request.json
        graph = self.keep_graph(body["Graph"], body.get("GraphInterface"))
        return self.described(self.make_run(graph, request.asked("experimentName"), body["CreationInfo"]))

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/Submit/{run_id}")
    def submit_created(self, request: Request, run_id: str) -> Reply:
        self.submit(run_id)
        return Reply(b"", 200)

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}")
    def get(self, request: Request, run_id: str) -> dict[str, Any]:
        return self.described(self._run(run_id))

    @route("DELETE", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Execution")
    def cancel(self, request: Request, run_id: str) -> Reply:
        self._run(run_id)
        if self._workspace.history.run(run_id)["status"] in ENDED:
            raise Refusal(400, "UserError", f"Pipeline run {run_id} has ended.")
        self.stop_run(run_id)
        return Reply(b"", 200)

    def stop_run(self, run_id: str) -> None:
        """Ask for the end of one, submitted or not."""
        self._run(run_id)
        if run_id in self._executions:
            self._executions[run_id].cancel()
        else:
            self._workspace.history.set_status(run_id, "Canceled")

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Graph/AllNodes/StatusCode")
    def all_status_codes(self, request: Request, run_id: str) -> dict[str, str]:
        return {node: self._status(run_id, node)["StatusCode"] for node in self._nodes(run_id)}

    @route("GET", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Graph/AllNodes/Status")
    def all_statuses(self, request: Request, run_id: str) -> dict[str, Any]:
        return {node: self._status(run_id, node) for node in self._nodes(run_id)}

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Graph/Node/StatusCode")
    def status_code(self, request: Request, run_id: str) -> str:
        return str(self._status(run_id, request.json[-1])["StatusCode"])

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Graph/Node/Status")
    def node_status(self, request: Request, run_id: str) -> dict[str, Any]:
        return self._status(run_id, request.json[-1])

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Outputs")
    def outputs(self, request: Request, run_id: str) -> dict[str, Any]:
        return self._execution(run_id).outputs(request.json[-1])

    @route("POST", "/pipelines/v1.0{ws}/PipelineRuns/{run_id}/Graph/Shareable/{log}")
    def log(self, request: Request, run_id: str, log: str) -> Reply:
        """STDOUT, STDERR or JobLog of a step, as plain text."""
        return Reply(self._execution(run_id).log(request.json[-1], log), 200, media_type="text/plain")

    def _execution(self, run_id: str) -> GraphExecution:
        self._run(run_id)
        if run_id not in self._executions:
            raise Refusal(400, "UserError", f"Pipeline run {run_id} was not submitted.")
        return self._executions[run_id]

    def _nodes(self, run_id: str) -> list[str]:
        return [node["Id"] for node in self._graph(self._run(run_id)["GraphId"])["graph"]["ModuleNodes"]]

    def _status(self, run_id: str, node: str) -> dict[str, Any]:
        self._run(run_id)
        for child in self._workspace.history.children(run_id):
            if child["tags"].get("azureml.nodeid") == node:
                code = _STEP_STATUS.get(child["status"], child["status"])
                times = {"StartTime": child["startTimeUtc"], "EndTime": child["endTimeUtc"], "CreationTime": child["createdUtc"]}
                return {"StatusCode": code, "RunId": child["runId"], "StatusDetail": None, "HasWarnings": False} | times
        return {"StatusCode": "NotStarted", "RunId": None, "StatusDetail": None, "HasWarnings": False}


def _with_interface(module: dict[str, Any]) -> dict[str, Any]:
    """A module as the SDK reads it back: what it posted, and the same ports and parameters in another form."""
    posted = module["StructuredInterface"]

    def parameters(name: str) -> list[dict[str, Any]]:
        return [{key: parameter.get(key) for key in ("Name", "DefaultValue", "IsOptional")} for parameter in posted.get(name) or []]

    ports = {
        "Inputs": [
            {"Name": port["Name"], "DataTypesIds": port["DataTypeIdsList"], "IsOptional": port["IsOptional"]}
            for port in posted["Inputs"] or []
        ],
        "Outputs": [{"Name": port["Name"], "DataTypeId": port["DataTypeId"]} for port in posted["Outputs"] or []],
    }
    interface = {"Parameters": parameters("Parameters"), "MetadataParameters": parameters("MetadataParameters"), "Ports": ports}
    return {"Data": module, "Interface": interface}

"""A submitted run, executed for real: its parallel step is a process of its own, whose logs and output are kept."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from tests.azure_service.datastores import DEFAULT
from tests.azure_service.parallel_run import StepProcess, StepRun, StepWords
from tests.azure_service.recordings import Recording
from tests.azure_service.routes import Refusal

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

POLL_SECONDS = 0.1  # seconds between two looks at the step
LOGS = 1.0  # seconds between two uploads of logs while it runs
Step = StepProcess | Recording


class Execution(threading.Thread):
    """A submitted run. Its steps are child runs, one after the other."""

    def __init__(self, workspace: CloudWorkspace, identity: str) -> None:
        super().__init__(name=f"run {identity}", daemon=True)
        self._workspace, self._identity = workspace, identity
        self._cancelled = threading.Event()
        self._children: dict[str, str] = {}  # by node

    def cancel(self) -> None:
        """Ask for the end."""
        self._cancelled.set()
        self._workspace.history.set_status(self._identity, "CancelRequested")

    def run(self) -> None:
        try:
            self._steps()
        except Exception as error:  # noqa: BLE001 - the edge: the test that submitted it is failed by name
            self._workspace.complain(f"{self.name} failed:\n{format_exc()}")
            for run_id in (*self._children.values(), self._identity):
                self._workspace.history.set_status(run_id, "Failed", repr(error), "ServiceError")

    def _steps(self) -> None:
        raise NotImplementedError

    def _carry_out(self, child: str, begin: Callable[[Path], Step], publish: Callable[[Step], None]) -> tuple[str, str]:
        """Let a child run wait for its cluster, begin it in a folder of its own, follow it, publish what it leaves. Returns its status in
        the end, and what went wrong."""
        history = self._workspace.history
        history.set_status(child, "Queued")
        since = time.monotonic()
        while (left := since + self._workspace.queue_seconds - time.monotonic()) > 0 and not self._cancelled.is_set():
            self._cancelled.wait(min(left, POLL_SECONDS))  # the queue may be shortened meanwhile
        if self._cancelled.is_set():
            history.set_status(child, "Canceled")
            return "Canceled", ""
        folder = self._workspace.folder / "runs" / child
        try:
            running = Recording(self._workspace.recording) if self._workspace.recording else begin(folder)
        except Refusal as error:
            history.set_status(child, "Failed", str(error))
            return "Failed", str(error)
        status, error = self._follow(running, child)
        if status == "Completed":
            publish(running)
        history.set_status(child, status, error)
        shutil.rmtree(folder, ignore_errors=True)
        return status, error

    def _follow(self, step: Step, child: str) -> tuple[str, str]:
        turns = 0
        self._say_running(child)
        while step.running:
            if turns % round(LOGS / POLL_SECONDS) == 0:
                self._keep_logs(step, child)
            if self._cancelled.wait(POLL_SECONDS):
                step.cancel()
                self._keep_logs(step, child)
                return "Canceled", ""
            turns += 1
        self._keep_logs(step, child)
        return ("Completed", "") if step.succeeded else ("Failed", step.error)

    def _say_running(self, run_id: str | None) -> None:
        """Of a run and all those that it is a part of."""
        while run_id:
            self._workspace.history.set_status(run_id, "Running")
            run_id = self._workspace.history.run(run_id)["parentRunId"]

    def _keep_logs(self, step: Step, child: str) -> None:
        for name, content in step.logs().items():
            self._workspace.history.add_log(child, name, content)

    def _check_target(self, target: str, node_count: int) -> None:
        most = self._workspace.computes.max_nodes(target)
        if node_count > most:
            raise Refusal(400, "UserError", f"The step asks for {node_count} nodes; compute target {target} has {most} at most.")

    def _reuse(self, run_id: str, before_id: str) -> tuple[str, str]:
        """A child run that is none: an earlier one's output is its own."""
        child, before = self._workspace.history.run(run_id), self._workspace.history.run(before_id)
        child["properties"] |= {
            "azureml.isreused": "true",
            "azureml.reusedrunid": before["runId"],
            "azureml.reusednodeid": before["tags"]["azureml.nodeid"],
            "azureml.reusedpipeline": before["parentRunId"],
            "azureml.reusedpipelinerunid": before["parentRunId"],
        }
        self._say_running(run_id)
        self._workspace.history.set_status(run_id, "Completed")
        return "Completed", ""


class GraphExecution(Execution):
    """One of SDK v1's pipeline runs."""

    def __init__(self, workspace: CloudWorkspace, run: dict[str, Any], graph: dict[str, Any], modules: dict[str, dict[str, Any]]) -> None:
        super().__init__(workspace, run["Id"])
        self._run, self._graph, self._modules = run, graph, modules
        self._locations: dict[str, dict[str, str]] = {}  # by node id: path in the datastore, by output

    def _steps(self) -> None:
        history, identity = self._workspace.history, self._run["Id"]
        history.set_status(identity, "Preparing")
        for node in self._graph["ModuleNodes"]:
            child = history.add_run(self._run["RunHistoryExperimentName"], str(uuid.uuid4()), identity, **self._described(node))
            self._children[node["Id"]] = child["runId"]
        for node in self._graph["ModuleNodes"]:
            status, error = self._execute(node)
            if status != "Completed":
                history.set_status(identity, status, error)
                return
        history.set_status(identity, "Completed")

    def _described(self, node: dict[str, Any]) -> dict[str, Any]:
        module = self._modules[node["ModuleId"]]
        of = {"azureml.nodeid": node["Id"], "azureml.pipeline": self._run["Id"], "azureml.pipelineComponent": "masterescloud"}
        properties = {
            "azureml.runsource": "azureml.StepRun",
            "ContentSnapshotId": module["StorageId"],
            "StepType": module["StepType"],
            "azureml.moduleid": module["Id"],
            "azureml.moduleName": module["Name"],
            "azureml.nodeid": node["Id"],
            "azureml.pipelinerunid": self._run["Id"],
        }
        values = {"runType": "azureml.StepRun", "name": module["Name"], "displayName": module["Name"], "tags": of, "properties": properties}
        return values | {"target": StepWords(node, module, {}).parameters.get("Target")}

    def _execute(self, node: dict[str, Any]) -> tuple[str, str]:
        """Returns the step's status in the end, and what went wrong."""
        child = self._children[node["Id"]]
        step = StepWords(node, self._modules[node["ModuleId"]], self._run["ParameterAssignments"])
        earlier = self._earlier(node, step)
        if earlier:
            self._locations[node["Id"]] = earlier[1]
            return self._reuse(child, earlier[0])
        self._locations[node["Id"]] = {name: f"azureml/{child}/{name}" for name in step.outputs}

        def begin(folder: Path) -> StepRun:
            self._check_target(step.parameters.get("Target", ""), step.node_count)
            return StepRun(self._workspace, step, self._inputs(node), folder)

        status, error = self._carry_out(child, begin, lambda running: self._publish(running, node["Id"]))
        if status == "Completed":
            self._workspace.completed[self._key(node, step)] = (child, self._locations[node["Id"]])
        return status, error

    def _publish(self, step: Step, node: str) -> None:
        for path in self._locations[node].values():
            for name, content in step.output().items():
                self._workspace.blobs.put(self._workspace.container, f"{path}/{name}", content)

    # ---- what a step needs ----------------------------------------------------------------------------------------------------

    def _inputs(self, node: dict[str, Any]) -> dict[str, str]:
        """The saved dataset at each input port."""
        inputs = {}
        datasets = {dataset["Id"]: dataset["DataSetDefinition"] for dataset in self._graph.get("DatasetNodes") or []}
        for edge in self._graph.get("Edges") or []:
            source, target = edge["SourceOutputPort"], edge["DestinationInputPort"]
            if target["NodeId"] == node["Id"] and source["NodeId"] in datasets:
                inputs[target["PortName"]] = self._saved_id(datasets[source["NodeId"]])
        return inputs

    def _saved_id(self, definition: dict[str, Any]) -> str:
        assigned = self._run["DataSetDefinitionValueAssignments"].get(definition.get("ParameterName") or "")
        value = assigned or definition["Value"]
        if reference := value.get("DataSetReference"):
            return self._workspace.datasets.saved_id(reference["Id"], reference.get("Version"))
        return str(value["SavedDataSetReference"]["Id"])

    # ---- reuse ----------------------------------------------------------------------------------------------------------------

    def _key(self, node: dict[str, Any], step: StepWords) -> str:
        return json.dumps([node["ModuleId"], step.arguments, sorted(self._inputs(node).items())])

    def _earlier(self, node: dict[str, Any], step: StepWords) -> tuple[str, dict[str, str]] | None:
        """The completed child run, with its outputs' places, that this one would repeat; where the step may be reused."""
        may = self._modules[node["ModuleId"]]["IsDeterministic"] and not node.get("RegenerateOutput")
        return self._workspace.completed.get(self._key(node, step)) if may else None

    # ---- for routes -----------------------------------------------------------------------------------------------------------

    def outputs(self, node: str) -> dict[str, Any]:
        """Where a step's outputs are, as NodeOutput."""
        account, _, container = self._workspace.container.partition("/")
        outputs = {}
        for name, path in self._locations.get(node, {}).items():
            place = {"Container": container, "SasToken": None, "Uri": None, "Account": account, "RelativePath": path}
            reference = {"Type": "AzureBlob", "AzureBlobReference": place | {"AmlDataStoreName": DEFAULT}}
            location = {"StorageType": "DataReference", "StorageId": None, "Uri": None, "DataReference": reference}
            sizes = {"LogicalSizeInBytes": 1, "PhysicalSizeInBytes": 1, "Hash": None}
            outputs[name] = {"DataTypeId": "AnyFile", "DataLocation": location} | sizes
        return outputs

    def log(self, node: str, kind: str) -> bytes:
        """STDOUT, STDERR or JobLog of a step: of all its workers, one after the other."""
        folder = {"STDOUT": "logs/user/stdout/", "STDERR": "logs/user/stderr/", "JobLog": "user_logs/"}[kind]
        child = self._children.get(node, "")
        return b"".join(self._workspace.history.logs(child, folder))

"""A pipeline job, executed: its parallel steps are child runs; a step that is a pipeline component is one with steps of its own."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.azure_service.execution import Execution, Step
from tests.azure_service.recordings import Recording
from tests.azure_service.routes import Refusal, not_found
from tests.azure_service.v2.components import defaults_of
from tests.azure_service.v2.parallel_step import ParallelStep, ParallelWords, key_of
from tests.azure_service.v2.paths import address, place
from tests.azure_service.v2.registry import check_environment

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_PARENT = re.compile(r"\$\{\{\s*parent\.(?:(inputs|outputs)\.([\w-]+)|jobs\.([\w-]+)\.outputs\.([\w-]+))\s*\}\}")
_ENVIRONMENT = re.compile(r".*/workspaces/[^/]+/environments/([^/]+)/(?:versions|labels)/([^/]+)")
_CURATED = re.compile(r"azureml:(AzureML-[^:@]+)[:@](.+)")  # which the SDK leaves to the service
_TYPES = {"uri_folder": "UriFolder", "uri_file": "UriFile", "mltable": "MLTable"}
SERVERLESS = "serverless"


class JobExecution(Execution):
    """One job, by the properties that were posted."""

    def __init__(self, workspace: CloudWorkspace, name: str, properties: dict[str, Any]) -> None:
        super().__init__(workspace, name)
        self._properties = properties

    def check(self) -> None:
        """What the service looks at before it takes a job. Raises Refusal."""
        if not self._properties.get("jobs"):
            raise Refusal(400, "UserError", "The pipeline has no steps.")
        for name, node in self._properties["jobs"].items():
            self._workspace.v2_components.spec(node["componentId"])
            self._compute(node, name)
        for name, given in (self._properties.get("inputs") or {}).items():
            if given["jobInputType"] != "literal" and not given.get("uri"):
                raise Refusal(400, "UserError", f"The input {name} has no uri.")

    def _compute(self, node: dict[str, Any], name: str) -> str:
        said = node.get("computeId") or (self._properties.get("settings") or {}).get("default_compute") or ""
        target = str(said).removeprefix("azureml:").rpartition("/")[2]
        if not target:
            raise Refusal(400, "UserError", f"The step {name} has no compute target, and the pipeline has no default one.")
        if target != SERVERLESS:
            self._workspace.computes.one(target)
        return target

    def _steps(self) -> None:
        self._workspace.history.set_status(self._identity, "Preparing")
        inputs = self._properties.get("inputs") or {}
        outputs = self._properties.get("outputs") or {}
        status, error, _ = self._pipeline(self._identity, self._properties["jobs"], inputs, outputs)
        self._workspace.history.set_status(self._identity, status, error)

    def _pipeline(
        self, run_id: str, jobs: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]
    ) -> tuple[str, str, dict[str, dict[str, Any]]]:
        """Carry out the steps of one. Returns how it ended, the error and, by output, the reference that its run shows."""
        made: dict[str, dict[str, dict[str, Any]]] = {}  # by step and output
        children = {key: self._add_child(run_id, key, node) for key, node in jobs.items()}
        own: dict[str, dict[str, Any]] = {}
        for key, said in jobs.items():
            node = _filled(said, inputs)
            bound = {name: self._input(given, inputs, made) for name, given in (said.get("inputs") or {}).items()}
            wanted = {name: self._output(given, outputs) for name, given in (said.get("outputs") or {}).items()}
            status, error, made[key] = self._node(children[key], node, bound, wanted)
            if status != "Completed":
                return status, error, own
            for name, given in (node.get("outputs") or {}).items():
                match = _PARENT.fullmatch(_said(given))
                if match and match[2] and name in made[key]:
                    own[match[2]] = made[key][name]
        self._show(run_id, own)
        return "Completed", "", own

    def _add_child(self, run_id: str, key: str, node: dict[str, Any]) -> str:
        spec = self._workspace.v2_components.spec(node["componentId"])
        node_id = uuid.uuid4().hex[:8]
        tags = {"azureml.nodeid": node_id, "azureml.pipeline": run_id, "azureml.pipelineComponent": "masterescloud"}
        properties = {
            "azureml.runsource": "azureml.StepRun",
            "azureml.moduleName": spec.get("name") or "",
            "azureml.nodeid": node_id,
            "azureml.pipelinerunid": run_id,
            "azureml.parameters": "{}",
        }
        target = self._compute(node, key)
        experiment = self._workspace.history.experiment_name(self._workspace.history.run(run_id))
        nested = spec["type"].startswith("pipeline")
        child = self._workspace.history.add_run(
            experiment, str(uuid.uuid4()), run_id, runType="azureml.PipelineRun" if nested else "azureml.StepRun", name=key,
            displayName=node.get("display_name") or key, tags=tags, properties=properties, target=target,
            compute={"target": target, "targetType": "amlcompute"},
        )  # fmt: skip
        self._children[child["runId"]] = child["runId"]
        return str(child["runId"])

    # ---- what is bound --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _input(given: Any, inputs: dict[str, Any], made: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
        """An input of a step, as a job says inputs."""
        match = _PARENT.fullmatch(_said(given))
        if not match:
            if isinstance(given, dict) and given.get("uri"):
                return {"jobInputType": given.get("job_input_type", "uri_folder"), "uri": given["uri"]}
            return {"jobInputType": "literal", "value": _said(given)}
        if match[1] == "inputs":
            if match[2] not in inputs:
                raise Refusal(400, "UserError", f"The pipeline has no input {match[2]}.")
            return dict(inputs[match[2]])
        if match[3]:
            return {"jobInputType": "uri_folder", "uri": made[match[3]][match[4]]["uri"]}
        raise Refusal(400, "UserError", f"{_said(given)} is no input.")

    @staticmethod
    def _output(given: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        """An output of a step, as a job says outputs."""
        match = _PARENT.fullmatch(_said(given))
        if match and match[1] == "outputs":
            return dict(outputs.get(match[2]) or {})
        said = given if isinstance(given, dict) else {}
        return {"jobOutputType": said.get("type") or "uri_folder", "uri": said.get("uri"), "assetName": said.get("name")}

    # ---- one step -------------------------------------------------------------------------------------------------------------

    def _node(
        self, child: str, node: dict[str, Any], bound: dict[str, Any], wanted: dict[str, Any]
    ) -> tuple[str, str, dict[str, dict[str, Any]]]:
        spec = self._workspace.v2_components.spec(node["componentId"])
        if spec["type"].startswith("pipeline"):
            status, error, made = self._pipeline(child, spec["jobs"], defaults_of(spec) | bound, wanted)
            self._workspace.history.set_status(child, status, error)
            return status, error, made
        outputs = {name: wanted.get(name) or {"jobOutputType": said.get("type")} for name, said in (spec.get("outputs") or {}).items()}
        key = key_of(node, spec, bound)
        earlier = self._workspace.completed.get(key) if spec.get("is_deterministic", True) else None
        if earlier:
            status, error = self._reuse(child, earlier[0])
            made = {name: dict(reference) for name, reference in earlier[1].items()}
        else:
            made = {name: self._reference(child, name, said) for name, said in outputs.items()}

            def begin(folder: Path) -> ParallelStep:
                words = ParallelWords(node, spec, bound)
                target = self._compute(node, child)
                if target != SERVERLESS:
                    self._check_target(target, words.node_count)
                self._check_environment(words.task.get("environment") or "")
                return ParallelStep(self._workspace, words, folder)

            status, error = self._carry_out(child, begin, lambda step: self._publish(child, step, made, outputs))
            if status == "Completed":
                self._workspace.completed[key] = (child, made)
        if status == "Completed":
            self._show(child, made)
        return status, error, made

    def _check_environment(self, said: str) -> None:
        if match := _CURATED.fullmatch(said) or _ENVIRONMENT.fullmatch(said):
            known = self._workspace.v2_environments.versions(match[1])
            if not known or (match[2] not in known and match[2] != "latest"):
                raise not_found("Environment", f"{match[1]}:{match[2]}")
        elif match := re.fullmatch(r"azureml://registries/azureml/environments/([^/]+)/(?:versions|labels)/([^/]+)", said):
            check_environment(match[1], match[2])
        else:
            raise Refusal(400, "UserError", f"The step's environment {said!r} is none.")

    # ---- outputs --------------------------------------------------------------------------------------------------------------

    def _reference(self, child: str, name: str, said: dict[str, Any]) -> dict[str, Any]:
        """What a run shows of an output: the id of a data asset, which there will be, and its type."""
        type_ = said.get("jobOutputType") or "uri_folder"
        folder = f"azureml/{child}/{name}" + ("/" if type_ == "uri_folder" else "")
        uri = said.get("uri") or address(self._workspace, "workspaceblobstore", folder)
        uri = uri.replace("${{name}}", child).replace("${{output_name}}", name).replace("${{default_datastore}}", "workspaceblobstore")
        asset = said.get("assetName") or f"azureml_{child}_output_data_{name}"
        version = str(said.get("assetVersion") or self._workspace.v2_data.next_version(asset))
        identity = f"azureml://locations/westeurope/workspaces/{self._workspace.id}/data/{asset}/versions/{version}"
        return {"assetId": identity, "type": _TYPES.get(type_, "UriFolder"), "uri": uri}

    def _show(self, run_id: str, made: dict[str, dict[str, Any]]) -> None:
        outputs = {name: {"assetId": reference["assetId"], "type": reference["type"]} for name, reference in made.items()}
        self._workspace.history.run(run_id)["outputs"] = outputs

    def _publish(self, child: str, step: Step, made: dict[str, dict[str, Any]], outputs: dict[str, Any]) -> None:
        left = self._left(step, made)
        for name, reference in made.items():
            container, path = place(self._workspace, reference["uri"])
            files = left.get(name, {})
            for file, content in files.items():
                single = reference["type"] == "UriFile" and len(files) == 1
                self._workspace.blobs.put(container, path if single else f"{path.rstrip('/')}/{file}", content)
            *_, asset, _, version = reference["assetId"].split("/")
            data_type = outputs[name].get("jobOutputType") or "uri_folder"
            anonymous = not outputs[name].get("assetName")
            self._workspace.v2_data.put(asset, version, {"dataType": data_type, "dataUri": reference["uri"], "isAnonymous": anonymous})

    @staticmethod
    def _left(step: Step, made: dict[str, dict[str, Any]]) -> dict[str, dict[str, bytes]]:
        """The files of each output. A recorded step leaves its own in the first."""
        if isinstance(step, ParallelStep):
            return step.outputs()
        assert isinstance(step, Recording)
        return {next(iter(made)): step.output()} if made else {}


def _filled(node: Any, inputs: dict[str, Any]) -> Any:
    """A node with the values of the pipeline's parameters in the place of their names."""
    if isinstance(node, dict):
        return {key: value if key in ("inputs", "outputs") else _filled(value, inputs) for key, value in node.items()}
    match = _PARENT.fullmatch(node) if isinstance(node, str) else None
    return inputs[match[2]]["value"] if match and match[1] == "inputs" and "value" in inputs.get(match[2], {}) else node


def _said(given: Any) -> str:
    value = given.get("value") if isinstance(given, dict) else given
    return "" if value is None else str(value)

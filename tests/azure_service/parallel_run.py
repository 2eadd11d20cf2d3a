"""What a ParallelRunStep's module and node say, and the local run that does it."""

from __future__ import annotations

import json
import time
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.domain import Run, RunRequest, TabularDataset
from services.errors import StudioError
from services.intake.partition_format import PartitionFormat
from services.local.workspace import LocalWorkspace
from services.settings import TABLE, ParallelRunSettings
from tests.azure_service.routes import Refusal

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_OF_THE_RUNTIME = ("client_sdk_version", "create_snapshot_at_runtime", "scoring_module_name", "output")
_SIDE_INPUT = "DatasetConsumptionConfig:"
_PLAYED = ("read_delimited", "read_parquet", "extract_columns_from_partition_format", "take")
_AZURE_TYPES = {"int64": "int", "float64": "float", "bool": "boolean", "object": "boolean"}
_END = 60  # seconds that a cancelled run may take


class StepWords:
    """A step in the words of the SDK: the module's structured arguments, the node's parameters, the pipeline's values for these."""

    def __init__(self, node: dict[str, Any], module: dict[str, Any], assigned: dict[str, str]) -> None:
        self._node, self._module, self._assigned = node, module, assigned

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The node's parameters by name, pipeline parameters filled in (ValueType 1)."""
        defaults = {parameter["Name"]: parameter.get("DefaultValue") for parameter in self._module["StructuredInterface"]["Parameters"]}
        for parameter in self._node["ModuleParameters"]:
            value = parameter.get("Value")
            if parameter["ValueType"] in ("1", "GraphParameterName"):
                value = self._assigned.get(value, defaults.get(parameter["Name"]))
            defaults[parameter["Name"]] = value if value is not None else defaults.get(parameter["Name"])
        return {name: str(value) for name, value in defaults.items() if value is not None}

    @cached_property
    def arguments(self) -> list[tuple[str, str]]:
        """The command line as (kind, text): `Literal`, or `Input` and `Output` with the port's name."""
        arguments = []
        for argument in self._module["StructuredInterface"]["Arguments"]:
            kind, value = argument["ValueType"], argument["Value"]
            if kind == "Parameter":
                arguments.append(("Literal", self.parameters.get(value, "")))
            elif value.startswith(_SIDE_INPUT):
                arguments.append(("Input", value.removeprefix(_SIDE_INPUT)))
            else:
                arguments.append((kind, value))
        return arguments

    @property
    def runtime(self) -> dict[str, Any]:
        return json.loads(self._node.get("Runconfig") or "{}")

    @property
    def node_count(self) -> int:
        return int(self.parameters.get("NodeCount") or self.runtime.get("nodeCount") or 1)

    @property
    def outputs(self) -> list[str]:
        return [output["Name"] for output in self._module["StructuredInterface"]["Outputs"] if not output.get("SkipProcessing")]

    @property
    def snapshot(self) -> str:
        return str(self._module["StorageId"])

    def split(self) -> tuple[dict[str, str], list[str], list[tuple[str, str]]]:
        """The runtime's own arguments by name, the ports of its main inputs, and the user's arguments."""
        own: dict[str, str] = {}
        inputs: list[str] = []
        others: list[tuple[str, str]] = []
        arguments = iter(self.arguments)
        for kind, text in arguments:
            name = text.removeprefix("--")
            if kind == "Literal" and (name in TABLE or name in _OF_THE_RUNTIME):
                own[name] = next(arguments)[1]
            elif kind == "Literal" and name.startswith(("input_fds_", "input_ds_")):
                inputs.append(next(arguments)[1])
            else:
                others.append((kind, text))
        return own, inputs, others


class LocalRun:
    """A step, submitted to a local workspace in `folder`. Raises Refusal or StudioError where it can't be."""

    def __init__(self, workspace: CloudWorkspace, step: StepWords, inputs: dict[str, str], folder: Path) -> None:
        if "scoring_module_name" not in step.split()[0]:
            raise Refusal(400, "UserError", "The stand-in executes steps of the kind ParallelRunStep only.")
        self._local = LocalWorkspace(folder / "home")
        self._cloud, self._folder = workspace, folder
        source = folder / "source"
        workspace.snapshots.write(step.snapshot, source)
        self._write_models()
        own, ports, others = step.split()
        side = {port: name for (_, name), (kind, port) in pairwise(others) if kind == "Input"}
        datasets = {port: self._dataset(port, saved) for port, saved in inputs.items()}
        request = RunRequest(
            models=(),
            datasets=tuple(datasets[port] for port in ports),
            entry_script=str(source / own["scoring_module_name"]),
            settings=self._settings(own, step),
            source_directory=str(source),
            arguments=tuple(_user_arguments(others)),
            side_inputs={name.removeprefix("--"): datasets[port] for port, name in side.items()},
            allow_reuse=False,
        )
        self._id = self._local.submit(request).id

    def _dataset(self, port: str, saved: str) -> str:
        """Registers what is at an input port; returns the local reference."""
        files = self._cloud.datasets.files(saved)
        if not files.files:
            raise Refusal(400, "UserError", f"The dataset at input {port} has no files.")
        types = _types_of(files.transformations)
        folder = self._folder / "inputs" / port
        files.write(self._cloud.blobs, folder)
        name = f"input-{len(self._local.datasets()) + 1}"
        dataset = self._local.register_dataset(name, folder, type=files.type, partition_format=files.partition_format)
        keys = PartitionFormat.parse(files.partition_format).keys if files.partition_format else ()
        types = {column: type_ for column, type_ in types.items() if column not in keys or type_ != "string"}
        if isinstance(dataset, TabularDataset) and types.items() - {
            (name, _AZURE_TYPES.get(dtype, "string")) for name, dtype in dataset.columns
        }:
            raise Refusal(400, "UserError", f"The stand-in gives columns the types that pandas does, {dataset.columns}, not {types}.")
        return dataset.reference

    def _write_models(self) -> None:
        """All models of the workspace under their own versions, where `_settings` lets Model.get_model_path look."""
        for model in self._cloud.models.all():
            for name, content in self._cloud.models.files(model).items():
                path = self._folder / "azureml-models" / model["name"] / str(model["version"]) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def _settings(self, own: dict[str, str], step: StepWords) -> ParallelRunSettings:
        values: dict[str, Any] = {name: text for name, text in own.items() if name in TABLE}
        if keys := values.get("partition_keys"):
            values["partition_keys"] = json.loads(keys)
            values.pop("mini_batch_size", None)
        variables_given = {name: text for name, text in (step.runtime.get("environmentVariables") or {}).items() if text is not None}
        # On Azure a script finds its models by Model.get_model_path alone, and there is no AZUREML_MODEL_DIR.
        variables = variables_given | {"AML_APP_ROOT": str(self._folder)}
        return ParallelRunSettings.from_dict(values | {"node_count": step.node_count, "environment_variables": variables})

    def now(self) -> Run:
        return self._local.runs.get(self._id)

    def cancel(self) -> None:
        self._local.runs.cancel(self._id)

    def ended(self) -> Run:
        """Waits until it has."""
        deadline = time.monotonic() + _END
        while not (run := self.now()).status.ended:
            if time.monotonic() > deadline:
                raise StudioError(f"Run {self._id} did not end within {_END} s.")
            time.sleep(0.05)
        return run

    def logs(self) -> dict[str, Path]:
        return self._local.runs.logs(self._id)

    def output(self) -> dict[str, Path]:
        """What the step leaves in its output: rows, and what the script wrote there itself."""
        return self._local.runs.output(self._id)


def _types_of(steps: list[dict[str, Any]]) -> dict[str, str]:
    """The types that a dataflow gives its columns. Raises Refusal for steps that the local runtime has nothing for."""
    types = {}
    for step in steps:
        ((verb, value),) = step.items()
        if verb == "convert_column_types":
            types = {conversion["columns"]: conversion["column_type"] for conversion in value}
        elif verb == "read_delimited" and (value["header"], value["delimiter"]) != ("all_files_same_headers", ","):
            raise Refusal(400, "UserError", "The stand-in reads delimited files with commas and a header only.")
        elif verb not in _PLAYED:
            raise Refusal(400, "UserError", f"The stand-in does not support the step {verb} of a dataset.")
    return types


def _user_arguments(arguments: list[tuple[str, str]]) -> list[str]:
    """Those that are no side input: the local workspace passes these itself."""
    user_arguments = []
    for (kind, text), following in zip(arguments, [*arguments[1:], ("", "")], strict=False):
        if kind == "Literal" and following[0] != "Input":
            user_arguments.append(text)
    return user_arguments

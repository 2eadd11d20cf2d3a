"""The process that carries out a parallel step, by step/driver.py, which shares no code with the program; and what the module and the node
of a ParallelRunStep say of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Refusal

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace
    from tests.azure_service.datasets import DatasetFiles

PROJECT = Path(__file__).parents[2]
DRIVER_LOG = "user_logs/std_log_0.txt"
SETTINGS = (
    "mini_batch_size", "error_threshold", "allowed_failed_count", "allowed_failed_percent", "output_action", "append_row_file_name",
    "logging_level", "process_count_per_node", "run_invocation_timeout", "run_max_try", "partition_keys",
)  # fmt: skip
_OF_THE_RUNTIME = ("client_sdk_version", "create_snapshot_at_runtime", "scoring_module_name", "output")
_SIDE_INPUT = "DatasetConsumptionConfig:"
_PLAYED = ("read_delimited", "read_parquet", "extract_columns_from_partition_format", "take")


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
            if kind == "Literal" and (name in SETTINGS or name in _OF_THE_RUNTIME):
                own[name] = next(arguments)[1]
            elif kind == "Literal" and name.startswith(("input_fds_", "input_ds_")):
                inputs.append(next(arguments)[1])
            else:
                others.append((kind, text))
        return own, inputs, others


class StepProcess:
    """A step that is carried out in `folder`, by a process of its own: whatever SDK it was submitted by."""

    def __init__(self, workspace: CloudWorkspace, folder: Path) -> None:
        self._cloud, self._folder = workspace, folder
        self._logs, self._output = folder / "logs", folder / "output"
        for made in (self._logs, self._output):
            made.mkdir(parents=True)

    def _start(self, document: dict[str, Any]) -> None:
        """`document` is what the driver reads."""
        (self._folder / "step.json").write_text(json.dumps(document | {"logs": str(self._logs)}))
        (self._logs / "user_logs").mkdir()
        with open(self._logs / DRIVER_LOG, "w", encoding="utf-8") as said:
            command = [sys.executable, "-m", "tests.azure_service.step.driver", str(self._folder / "step.json")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, cwd=PROJECT, start_new_session=True
            )

    def _mounted(self, name: str, files: DatasetFiles) -> dict[str, Any]:
        """Writes the files of an input, and says how they are read. Raises Refusal where there are none."""
        if not files.files:
            raise Refusal(400, "UserError", f"The dataset at input {name} has no files.")
        folder = self._folder / "inputs" / name
        paths = files.write(self._cloud.blobs, folder)
        pattern = _partition_pattern(files.partition_format)
        return {
            "name": name,
            "root": str(folder),
            "files": paths,
            "tabular": files.type == "tabular",
            "parquet": any("read_parquet" in step for step in files.transformations),
            "types": _types_of(files.transformations),
            "keys": [_keys(pattern, path) for path in paths],
        }

    def _write_models(self) -> None:
        """All models of the workspace under their own versions, where Model.get_model_path looks."""
        for model in self._cloud.models.all():
            for name, content in self._cloud.models.files(model).items():
                path = self._folder / "azureml-models" / model["name"] / str(model["version"]) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def _environment(self, given: dict[str, Any]) -> dict[str, str]:
        """On Azure a script finds its models by Model.get_model_path alone: there is no AZUREML_MODEL_DIR."""
        said = {name: str(text) for name, text in given.items() if text is not None}
        machine = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        paths = {"HOME": str(self._folder), "AML_APP_ROOT": str(self._folder), "AZUREML_BI_OUTPUT_PATH": str(self._output)}
        return machine | {"PYTHONUNBUFFERED": "1"} | said | paths

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def succeeded(self) -> bool:
        return self._process.wait() == 0

    def cancel(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def error(self) -> str:
        """What the run's `error.message` says of a step that failed: never the cause."""
        text = (self._logs / DRIVER_LOG).read_text("utf-8", "replace")
        trace = text[text.rfind("Traceback") :].strip()
        code = self._process.wait()
        return (
            f"Execution failed. User process '/azureml-envs/azureml_0123456789abcdef/bin/python' exited with status code {code}. "
            f"Please check log file '{DRIVER_LOG}' for error details. Error: {trace}"
        )

    def logs(self) -> dict[str, bytes]:
        return _files_below(self._logs)

    def output(self) -> dict[str, bytes]:
        """What the step leaves in its output: rows, and what the script wrote there itself."""
        return _files_below(self._output)


class StepRun(StepProcess):
    """One of SDK v1's. Raises Refusal where it can't be carried out."""

    def __init__(self, workspace: CloudWorkspace, step: StepWords, inputs: dict[str, str], folder: Path) -> None:
        own, ports, _ = step.split()
        if "scoring_module_name" not in own:
            raise Refusal(400, "UserError", "The stand-in executes steps of the kind ParallelRunStep only.")
        super().__init__(workspace, folder)
        workspace.snapshots.write(step.snapshot, folder / "source")
        self._write_models()
        places = {port: self._mounted(port, workspace.datasets.files(saved)) for port, saved in inputs.items()}
        arguments = [self._argument(kind, text, places) for kind, text in step.arguments]
        words = " ".join(arguments)
        self._start({
            "source": str(folder / "source"),
            "script": own["scoring_module_name"],
            "arguments": arguments,
            "settings": {name: text for name, text in own.items() if name in SETTINGS},
            "node_count": step.node_count,
            "datasets": [places[port] for port in ports],
            "environment": self._environment(step.runtime.get("environmentVariables") or {}),
            "dataframe_header": re.search(r"--append_row_dataframe_header[ =]true\b", words, re.IGNORECASE) is not None,
            "output": str(self._output),
        })  # fmt: skip

    def _argument(self, kind: str, text: str, places: dict[str, dict[str, Any]]) -> str:
        if kind == "Input":
            return str(places[text]["root"])
        return str(self._output) if kind == "Output" else text


def _files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _partition_pattern(partition_format: str) -> re.Pattern[str] | None:
    """The keys of a path, as groups. Raises Refusal for dates."""
    if not partition_format:
        return None
    if ":" in partition_format:
        raise Refusal(400, "UserError", "The stand-in supports no dates in a partition format.")
    text = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^./\\\\]+)", re.escape(partition_format)).replace(r"\*", ".*?")
    return re.compile(text + "$")


def _keys(pattern: re.Pattern[str] | None, path: str) -> dict[str, str]:
    if pattern is None:
        return {}
    match = pattern.search(path)
    if match is None:
        raise Refusal(400, "UserError", f"{path} is not of the dataset's partition format.")
    return match.groupdict()


def _types_of(steps: list[dict[str, Any]]) -> dict[str, str]:
    """The types that a dataflow gives its columns. Raises Refusal for steps that the stand-in has nothing for."""
    types = {}
    for step in steps:
        ((verb, value),) = step.items()
        if verb == "convert_column_types":
            types = {conversion["columns"]: conversion["column_type"] for conversion in value}
        elif verb == "read_delimited" and (value["header"], value["delimiter"]) != ("all_files_same_headers", ","):
            raise Refusal(400, "UserError", "The stand-in reads delimited files with commas and a header only.")
        elif verb not in _PLAYED:
            raise Refusal(400, "UserError", f"The stand-in does not support the step {verb} of a dataset.")
    return {name: type_ if isinstance(type_, str) else next(iter(type_)) for name, type_ in types.items()}

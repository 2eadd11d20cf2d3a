"""A run as SDK v2 has it: a pipeline job of one parallel step, as the document that `az ml job create --file` takes.

The table says what a setting of ParallelRunConfig is there. Runs are submitted by this document, and exported as it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from services.domain import FOLLOWS, RunRequest
from services.errors import SettingsError, StudioError
from services.remote import SERVERLESS
from services.settings import ParallelRunSettings

STEP = "batch_score"
INPUT, OUTPUT = "batch_data", "inferences"

_PARALLEL: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "mini_batch_size": ("mini_batch_size", str),  # the SDK sends 0 where it isn't given, and refuses a number
    "partition_keys": ("partition_keys", list),
    "error_threshold": ("error_threshold", int),  # -1 where it isn't given
    "allowed_failed_count": ("mini_batch_error_threshold", int),
    "process_count_per_node": ("max_concurrency_per_instance", int),
    "logging_level": ("logging_level", str),
}
"""Settings, what a parallel step calls them, and their types there. What isn't set is left to the service, whose defaults are the same: no
limit on failed mini-batches, as many processes as cores, or one with a GPU."""

_OF_THE_STEP_TOO = ("error_threshold", "logging_level")
"""What azure-ai-ml 1.35 does not copy from a component to its step."""

Input = Mapping[str, str]
"""`{"type": "uri_folder", "path": "azureml:rows:1", "mode": "ro_mount"}`"""


def job_document(
    request: RunRequest,
    *,
    tabular: bool,
    code: str,
    entry_script: str,
    environment: str | Mapping[str, Any],
    data: Input,
    side_inputs: Mapping[str, Input],
    arguments: Sequence[str] | None = None,
    **values: Any,
) -> dict[str, Any]:
    """The job, with its component inline.

    `code` is the folder to upload and `entry_script` a path in it; `environment` is `azureml:NAME:VERSION`, or an image with a conda file;
    `data` is what is scored; `arguments` are in place of the request's. `values` are the job's own: `name`, `experiment_name`, `tags`.
    Raises SettingsError for an argument that the service would take for an expression of its own.
    """
    settings = request.settings.resolved(tabular=tabular)
    nodes = {"resources": {"instance_count": settings.node_count}}
    inputs = {INPUT: dict(data), **{side_input_name(name): dict(value) for name, value in side_inputs.items()}}
    step: dict[str, Any] = {
        "type": "parallel",
        "component": {
            "type": "parallel",
            "name": STEP,
            "is_deterministic": request.allow_reuse and not request.rerun_of,
            "inputs": {name: {"type": value["type"]} for name, value in inputs.items()},
            "outputs": {OUTPUT: {"type": "uri_folder"}},
            "input_data": f"${{{{inputs.{INPUT}}}}}",
            **parallel_settings(settings),
            **nodes,
            "task": {
                "type": "run_function",
                "code": code,
                "entry_script": entry_script,
                "environment": environment,
                "program_arguments": program_arguments(request, script_arguments(request) if arguments is None else arguments),
                **({"append_row_to": f"${{{{outputs.{OUTPUT}}}}}"} if settings.output_action == "append_row" else {}),
            },
        },
        "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in inputs},
        "outputs": {OUTPUT: f"${{{{parent.outputs.{OUTPUT}}}}}"},
        **nodes,
        **{name: value for name, value in parallel_settings(settings).items() if name in _OF_THE_STEP_TOO},
    }
    if settings.environment_variables:
        step["environment_variables"] = dict(settings.environment_variables)
    return {
        "type": "pipeline",
        **values,
        "display_name": request.title()[:200],
        "settings": {"default_compute": f"azureml:{request.compute_target or SERVERLESS}"},
        "inputs": inputs,
        "outputs": {OUTPUT: {"type": "uri_folder", "mode": "rw_mount"}},
        "jobs": {STEP: step},
    }


# ---- published pipelines ---------------------------------------------------------------------------------------------------------


_CHANGEABLE = {
    "mini_batch_size": ("string", ("mini_batch_size",)),
    "node_count": ("integer", ("resources", "instance_count")),
    "process_count_per_node": ("integer", ("max_concurrency_per_instance",)),
    "logging_level": ("string", ("logging_level",)),
    "run_invocation_timeout": ("integer", ("retry_settings", "timeout")),
    "max_retries": ("integer", ("retry_settings", "max_retries")),
}
"""What a published pipeline takes as inputs, their types, and where the step has them."""


def component_document(job: Mapping[str, Any], request: RunRequest, name: str, *, tabular: bool) -> dict[str, Any]:
    """A job's pipeline as a component: its data stay what they are, and settings are inputs with these values as defaults."""
    settings = request.settings.resolved(tabular=tabular)
    given = settings.as_dict() | {"max_retries": settings.run_max_try - 1}
    step = dict(job["jobs"][STEP])
    step["inputs"], inputs = dict(job["inputs"]), {}
    for key, (kind, where) in _CHANGEABLE.items():
        if key in given:
            inputs[key] = {"type": kind, "default": given[key]}
            bound: Any = f"${{{{parent.inputs.{key}}}}}"
            for part in reversed(where[1:]):
                bound = {part: bound}
            step[where[0]] = (step.get(where[0]) or {}) | bound if len(where) > 1 else bound
    outputs = {OUTPUT: {"type": "uri_folder"}}
    return {
        "type": "pipeline",
        "name": name,
        "version": "1",
        "display_name": job["display_name"],
        "inputs": inputs,
        "outputs": outputs,
        "jobs": {STEP: step},
    }


def component_inputs(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Settings as the inputs of such a component. Raises SettingsError for one that it takes none for."""
    values: dict[str, Any] = dict(parameters)
    if "run_max_try" in values:
        values["max_retries"] = int(values.pop("run_max_try")) - 1
    for name in values:
        if name not in _CHANGEABLE:
            raise SettingsError(name, f"a published pipeline of SDK v2 keeps its {name}", "Publish another one with this value.")
    return {name: int(value) if _CHANGEABLE[name][0] == "integer" else value for name, value in values.items()}


def published_job(component: str, inputs: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A job of one step that is a published pipeline; `component` as `azureml:NAME:1`."""
    step = {"type": "pipeline", "component": component, "inputs": dict(inputs)}
    step["outputs"] = {OUTPUT: f"${{{{parent.outputs.{OUTPUT}}}}}"}
    outputs = {OUTPUT: {"type": "uri_folder", "mode": "rw_mount"}}
    return {"type": "pipeline", **values, "outputs": outputs, "jobs": {STEP: step}}


# ---- its parts -------------------------------------------------------------------------------------------------------------------


def parallel_settings(settings: ParallelRunSettings) -> dict[str, Any]:
    """The settings that a parallel step has names for, `settings` being resolved."""
    given = settings.as_dict()
    named = {name: as_type(given[ours]) for ours, (name, as_type) in _PARALLEL.items() if ours in given}
    return named | {"retry_settings": {"max_retries": settings.run_max_try - 1, "timeout": settings.run_invocation_timeout}}


def script_arguments(request: RunRequest) -> list[str]:
    """What the runtime and the script read, word by word."""
    return [*runtime_arguments(request.settings), *request.model_arguments(), *request.arguments]


def runtime_arguments(settings: ParallelRunSettings) -> list[str]:
    """What the runtime reads from the script's arguments, since a parallel step has no name for it."""
    arguments = []
    if settings.allowed_failed_percent is not None:
        arguments += ["--allowed_failed_percent", str(settings.allowed_failed_percent).removesuffix(".0")]
    if settings.output_action == "append_row":
        arguments += ["--append_row_file_name", settings.append_row_file_name]
    return arguments


def bound_arguments(request: RunRequest) -> list[str]:
    """Arguments whose values are folders on the node: expressions, not to be quoted."""
    output = [] if request.settings.output_action == "append_row" else ["--output", f"${{{{outputs.{OUTPUT}}}}}"]
    return output + [word for name in request.side_inputs for word in (f"--{name}", f"${{{{inputs.{side_input_name(name)}}}}}")]


def program_arguments(request: RunRequest, arguments: Sequence[str]) -> str:
    """All arguments as one command line. Raises SettingsError."""
    for argument in arguments:
        if "${{" in argument:
            raise SettingsError("arguments", f"“{argument[:100]}” is an expression of Azure ML", "Leave ${{ }} out.")
    return " ".join([*map(shlex.quote, arguments), *bound_arguments(request)])


def side_input_name(name: str) -> str:
    """What a side input is called in the job."""
    return f"side_{name}"


def input_of(reference: str, *, tabular: bool) -> Input:
    """A registered dataset, by the type that it is registered as by this program: `name:version`, or `name@latest`."""
    kind, mode = ("mltable", "direct") if tabular else ("uri_folder", "ro_mount")
    return {"type": kind, "path": f"azureml:{reference}", "mode": mode}


# ---- jobs that others submitted --------------------------------------------------------------------------------------------------


_BOUND = re.compile(r"\$\{\{(?:parent\.)?inputs\.([\w-]+)\}\}")
_ASSET = re.compile(r"(?:.*/data/|azureml:)?([^/:]+)(?:/versions/|:)(\d+)")


def request_of(job_id: str, job: Mapping[str, Any]) -> RunRequest:
    """What a job scores, as far as it tells: `job` is the properties of one, as the resource manager answers. Raises StudioError where it
    is not one parallel step over a registered dataset."""
    steps = [step for step in (job.get("jobs") or {}).values() if step.get("type") == "parallel" and step.get("task")]
    if len(steps) != 1:
        raise StudioError(f"The job {job_id} is not one parallel step.", "Azure ML studio shows its outputs.")
    step, task = steps[0], steps[0]["task"]
    arguments = shlex.split(task.get("program_arguments") or "")
    words = dict(pairwise(arguments))
    model, version = words.get("--model-name", ""), words.get("--model-version", "")
    header = [word for name, value in words.items() if name == "--append_row_dataframe_header" for word in (name, value)]
    compute = step.get("computeId") or (job.get("settings") or {}).get("default_compute") or ""
    return RunRequest(
        (f"{model}:{version}",) if model and version.isdecimal() else (),
        (_dataset_of(job_id, job, step),),
        f"/{job_id}/{task.get('entry_script')}",
        _settings_of(step, words),
        arguments=tuple(header),
        compute_target=str(compute).removeprefix("azureml:").rpartition("/")[2] or None,
        name=job.get("displayName") or "",
        submission_id=f"{FOLLOWS}{job_id}",
    )


def _dataset_of(job_id: str, job: Mapping[str, Any], step: Mapping[str, Any]) -> str:
    """The reference of what a step scores."""
    given = step.get("input_data") or ""
    for inputs in (step.get("inputs"), job.get("inputs")):
        if bound := _BOUND.fullmatch(given):
            value = (inputs or {}).get(bound[1]) or {}
            given = str(value.get("uri") or value.get("value") or "")
    if not (asset := _ASSET.fullmatch(given)):
        raise StudioError(f"The job {job_id} scores {given[:200]}, which is not registered.", "Azure ML studio shows its output.")
    return f"{asset[1]}:{asset[2]}"


def _settings_of(step: Mapping[str, Any], words: Mapping[str, str]) -> ParallelRunSettings:
    given = {ours: step[name] for ours, (name, _) in _PARALLEL.items() if step.get(name) not in (None, "")}
    given |= {"node_count": nodes} if (nodes := (step.get("resources") or {}).get("instance_count")) else {}
    given |= {"environment_variables": step["environment_variables"]} if step.get("environment_variables") else {}
    retry = step.get("retry_settings") or {}
    given |= {"run_invocation_timeout": retry["timeout"]} if retry.get("timeout") else {}
    given |= {"run_max_try": int(retry["max_retries"]) + 1} if retry.get("max_retries") is not None else {}
    if keys := given.get("partition_keys"):
        given["partition_keys"] = json.loads(keys) if isinstance(keys, str) else keys
    if keys or not int(given.get("mini_batch_size") or 0):  # 0 is what the SDK sends for none
        given.pop("mini_batch_size", None)
    given |= {name: words[f"--{name}"] for name in ("append_row_file_name", "allowed_failed_percent") if f"--{name}" in words}
    action = "append_row" if step["task"].get("append_row_to") else "summary_only"
    return ParallelRunSettings.from_dict({"error_threshold": -1, "output_action": action, **given})

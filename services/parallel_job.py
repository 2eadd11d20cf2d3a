"""A run as SDK v2 has it: a pipeline job of one parallel step, as the document that `az ml job create --file` takes.

The table says what a setting of ParallelRunConfig is there. Runs are submitted by this document, and exported as it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.domain import RunRequest
from services.errors import SettingsError
from services.settings import ParallelRunSettings

STEP = "batch_score"
INPUT, OUTPUT = "batch_data", "inferences"
SERVERLESS = "serverless"
"""The name of the compute that Azure ML provides by itself."""

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
        "resources": {"instance_count": settings.node_count},
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

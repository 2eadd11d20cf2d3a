"""From a request to what is executed: every reference a version, every path absolute, every default a value. Once, for every workspace.

A workspace looks up what the request names and hands it in; nothing here asks a workspace back. What one workspace alone can't honour
(worker counts, compute targets) it checks itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.domain import Dataset, Environment, Model, Run, RunRequest, RunStatus
from services.errors import NotFound, SettingsError, StudioError, os_errors_as
from services.file_names import short
from services.intake.entry_scripts import check_entry_script
from services.intake.partition_format import PartitionFormat
from services.scoring.fit import unapproved
from services.scoring.script_fit import check_script
from services.settings import RESERVED_ARGUMENTS, ParallelRunSettings
from services.storage.file_tree import path_given


@dataclass(frozen=True)
class Inputs:
    """What the references of a request are now. `environment` is None where the request names none and the workspace makes one."""

    models: Sequence[Model]
    datasets: Sequence[Dataset]
    side_inputs: Mapping[str, Dataset]
    environment: Environment | None


def resolve(request: RunRequest, inputs: Inputs, *, approval: bool) -> RunRequest:
    """The request as it is executed. `approval`: whether the workspace executes models on this machine, so that they need it. Raises
    SettingsError naming the field, NotFound for a script that is not there, EntryScriptError for one that can't be run."""
    check_mini_batches(inputs.datasets, request.settings)
    source = path_given(request.source_directory) if request.source_directory else None
    if source and not source.is_dir():
        raise SettingsError("source_directory", f"“{request.source_directory}” is not a folder", "Give the folder of the script's modules.")
    check_side_inputs(request)
    script = path_given(request.entry_script)
    check_entry_script(read_script(script), script.name)
    check_script(script, inputs.models, inputs.datasets, request.arguments)
    for model in inputs.models if approval else ():
        check_approved(model)
    return replace(
        request,
        settings=request.settings.resolved(tabular=inputs.datasets[0].type == "tabular"),
        entry_script=str(script),
        source_directory=str(source) if source else None,
        datasets=tuple(dataset.reference for dataset in inputs.datasets),
        models=tuple(model.reference for model in inputs.models),
        side_inputs={name: dataset.reference for name, dataset in inputs.side_inputs.items()},
        environment=inputs.environment.reference or None if inputs.environment else None,
    )


def check_approved(model: Model) -> None:
    """Whether the model may be loaded on this machine. Raises SettingsError on `model`."""
    if not model.usable:
        raise unapproved(model).error()


def check_side_inputs(request: RunRequest) -> None:
    """Whether the side inputs' names are Azure ML's (azureml-core, `_config_helper._validate_name`), and no argument's: the script would
    find the one in the place of the other. Raises SettingsError naming the field."""
    given = {argument.partition("=")[0] for argument in request.arguments}
    for name in request.side_inputs:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            text = f"“{short(name)}” is not a name that Azure ML takes for an input"
            raise SettingsError("side_inputs", text, "Use letters, digits and _ only, and begin with no digit.")
        if name in RESERVED_ARGUMENTS:
            raise SettingsError("side_inputs", f"--{name} is reserved by ParallelRunStep", "Call the side input otherwise.")
        if f"--{name}" in given:
            raise SettingsError("arguments", f"--{name} is the folder of a side input already", "Choose another argument name.")


def check_mini_batches(datasets: Sequence[Dataset], settings: ParallelRunSettings) -> None:
    """Whether these datasets can be divided into mini-batches by these settings. Raises SettingsError naming the field."""
    first = datasets[0]
    for other in datasets:
        if other.type != first.type:
            text = f"{first} is a {first.type} dataset and {other} a {other.type} dataset"
            raise SettingsError("dataset", text, "Choose datasets of one type.")
    if first.type == "file" and settings.mini_batch_size and not settings.mini_batch_size.isdecimal():
        text = f"“{settings.mini_batch_size}” is a size in bytes, and {first} is a file dataset"
        raise SettingsError("mini_batch_size", text, "Give a number of files, such as 10.")
    for dataset in datasets if settings.partition_keys else ():
        keys = PartitionFormat.parse(dataset.partition_format).keys if dataset.partition_format else ()
        if not keys:
            text = f"{dataset} was registered without a partition format"
            raise SettingsError("partition_keys", text, "Leave the partition keys empty, or register it with a partition format.")
        for key in settings.partition_keys or ():
            if key not in keys:
                text = f"“{key}” is not a key of {dataset}, whose partition format is {dataset.partition_format}"
                raise SettingsError("partition_keys", text, f"Its keys are {', '.join(keys)}.")


def check_failed_only(earlier: Run) -> None:
    """Whether the failed items of an earlier run can be scored again. Raises StudioError."""
    if not earlier.status.ended:
        advice = "Wait for its end, or cancel it." if earlier.status is not RunStatus.NOT_RESPONDING else "Resume it, or cancel it."
        raise StudioError(f"Run {earlier.id} has not ended: which of its items fail isn't known yet.", advice)
    if earlier.items_succeeded is not None and earlier.items_succeeded == earlier.items_total:
        raise StudioError(f"Nothing failed in run {earlier.id}.", "Rerun it whole to score everything again.")


def read_script(script: Path) -> bytes:
    """The bytes of a scoring script. Raises NotFound where there is no such file, or it can't be read."""
    with os_errors_as(NotFound, f"The scoring script {script} can't be read", "Choose another script."):
        if not script.is_file():  # reading a device or a pipe would never end
            raise NotFound(f"There is no scoring script {script}.", "Choose another script.")
        return script.read_bytes()

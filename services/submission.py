"""From a request to what is executed: every reference a version, every path absolute, every default a value. Once, for every workspace.

A workspace looks up what the request names and hands it in; nothing here asks a workspace back. What one workspace alone can't honour
(worker counts, compute targets) it checks itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.domain import Dataset, Environment, FileDataset, Model, Run, RunRequest, RunStatus
from services.errors import NotFound, SettingsError, StudioError, os_errors_as
from services.file_names import short
from services.formats import counted
from services.intake.entry_scripts import JOBLIB_SCRIPT, check_entry_script
from services.intake.model_files import joblib_loads
from services.intake.partition_format import PartitionFormat
from services.settings import RESERVED_ARGUMENTS, ParallelRunSettings
from services.storage.file_tree import path_given

_LONGEST_ROW = 1 << 20  # bytes


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
    check_fits_script(script, inputs.models, inputs.datasets, request.arguments)
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
        text = f"model {model} is a program ({model.kind}) and was not approved yet; its SHA-256 is {model.sha256}"
        raise SettingsError("model", text, f"Approve it here or on the Models page, or by: model approve {model}")


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


def check_fits_script(script: Path, models: Sequence[Model], datasets: Sequence[Dataset], arguments: Sequence[str] = ()) -> None:
    """Whether the built-in script can score these datasets with the first of these models, as far as that is known without loading it;
    of another script nothing is known. Raises SettingsError on `model` or `dataset`."""
    if script != JOBLIB_SCRIPT:
        return
    for dataset in datasets:
        if dataset.type == "tabular":
            text = f"{dataset} is a tabular dataset, and {script.name} reads files of one row of numbers"
            raise SettingsError("dataset", text, "Use a script whose run() takes a DataFrame, or a file dataset.")
    named = any(argument.split("=")[0] == "--model-name" for argument in arguments)
    for model in models[:1] if not named else ():
        if joblib_loads(model.kind) is False:
            kind = "of no known kind" if model.kind == "unknown" else f"of the kind “{model.kind}”"
            text = f"model {model} is {kind}, and {script.name} loads models of joblib and pickle only"
            raise SettingsError(
                "model", text, "Use a script that loads this kind, or save the fitted model by joblib.dump and register that."
            )


@dataclass(frozen=True)
class Proposal:
    """What is chosen at first: references, and the path of a script. None where nothing tells; `model` is "" for a run without one."""

    model: str | None
    dataset: str | None
    entry_script: str | None = None


def propose(
    runs: Sequence[Run], models: Sequence[Model], datasets: Sequence[Dataset], *, model: str | None = None, dataset: str | None = None
) -> Proposal:
    """A model and a dataset that go together: those of the newest of `runs` that scored something, each in its newest version, with its
    script. Where a `model` or a `dataset` is chosen already, of the newest such run with that. Without such a run the only ones there are.
    """
    latest_models, latest_datasets = _latest(models), _latest(datasets)
    for run in runs:
        names = [reference.partition(":")[0] for reference in (next(iter(run.request.models), ""), run.request.datasets[0])]
        wanted = [None if chosen is None else chosen.partition(":")[0] for chosen in (model, dataset)]
        is_there = (not names[0] or names[0] in latest_models) and names[1] in latest_datasets
        if run.items_succeeded and is_there and all(want in (None, name) for want, name in zip(wanted, names, strict=True)):
            return Proposal(latest_models.get(names[0], ""), latest_datasets[names[1]], run.request.entry_script)
    return Proposal(_only(latest_models), _only(latest_datasets))


def _latest(things: Sequence[Model] | Sequence[Dataset]) -> dict[str, str]:
    """The reference of the newest version of each name."""
    return {thing.name: thing.reference for thing in sorted(things, key=lambda thing: thing.version)}


def _only(references: dict[str, str]) -> str | None:
    return next(iter(references.values())) if len(references) == 1 else None


def fit_warning(script: Path, models: Sequence[Model], dataset: Dataset, first_file: Path) -> str:
    """A sentence where the dataset's first file has another number of columns than the first model, and the built-in script is to score
    it; "" where they fit, or where that isn't known."""
    if script != JOBLIB_SCRIPT or not models or models[0].features is None or dataset.type != FileDataset.type:
        return ""
    try:
        with open(first_file, "rb") as opened:
            head = opened.read(_LONGEST_ROW)
    except OSError:
        return ""
    row = head.strip()
    columns = row.count(b",") + 1
    if len(head) == _LONGEST_ROW or not row or row.translate(None, b"0123456789.,+-eE ") or columns == models[0].features:
        return ""  # not one row of numbers: the run says what it is
    return f"{first_file.name} of {dataset} has {counted(columns, 'field')}, and model {models[0]} was fitted to {models[0].features:,}."


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

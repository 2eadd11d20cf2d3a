"""What each command of the command line does: a verb of the workspace, and an answer. The parser is in __main__.py."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.cli.output import (
    Answer,
    dataset_lines,
    dataset_value,
    environment_lines,
    environment_value,
    follow,
    last_part,
    model_lines,
    model_value,
    note,
    run_lines,
    run_value,
    runs_lines,
    written_whole,
)
from services.domain import Run, RunRequest, RunStatus, TabularDataset, counted
from services.errors import NotFound, SettingsError
from services.remote import remote_of
from services.settings import TABLE, ParallelRunSettings
from services.storage.mini_batch_plan import describe
from services.workspace import WORKSPACES, Workspace

PROGRAM = "python -m services"
INTERRUPTED = 130  # as a shell says it of a program ended by SIGINT


# ---- models, datasets, environments ----------------------------------------------------------------------------------------------


def register_model(workspace: Workspace, given: argparse.Namespace) -> Answer:
    model = workspace.register_model(
        given.name, given.path, description=given.description, tags=_pairs("tags", given.tag), approve=given.approve
    )
    lines = [f"Registered {model} ({model.kind}, {counted(model.size, 'byte')}, SHA-256 {model.sha256})"]
    if not model.usable:
        lines.append(f"It is a program, and a run may use it once it is approved: {_command(given)} model approve {model}")
    return Answer(model_value(model), lines)


def list_models(workspace: Workspace, given: argparse.Namespace) -> Answer:
    models = workspace.models()
    return Answer({"models": [model_value(model) for model in models]}, model_lines(models))


def approve_model(workspace: Workspace, given: argparse.Namespace) -> Answer:
    model = workspace.model(given.model)
    workspace.approve(model.sha256)
    return Answer(model_value(workspace.model(model.reference)), [f"Approved {model}, SHA-256 {model.sha256}"])


def register_dataset(workspace: Workspace, given: argparse.Namespace) -> Answer:
    about = {"type": given.type, "glob": given.glob, "partition_format": given.partition_format}
    dataset = workspace.register_dataset(given.name, given.path, **about)
    rows = f"{counted(dataset.row_count, 'row')} in " if isinstance(dataset, TabularDataset) else ""
    size = f"{rows}{counted(dataset.file_count, 'file')}, {counted(dataset.size, 'byte')}"
    columns = dataset.columns if isinstance(dataset, TabularDataset) else ()
    lines = [f"Registered {dataset} ({size}, in {dataset.root})", *(f"  {name}: {dtype}" for name, dtype in columns)]
    return Answer(dataset_value(dataset), lines)


def list_datasets(workspace: Workspace, given: argparse.Namespace) -> Answer:
    datasets = workspace.datasets()
    return Answer({"datasets": [dataset_value(dataset) for dataset in datasets]}, dataset_lines(datasets))


def register_environment(workspace: Workspace, given: argparse.Namespace) -> Answer:
    environment = workspace.register_environment(given.name, given.python)
    size = f"Python {environment.python_version}, {counted(len(environment.packages), 'package')}"
    return Answer(environment_value(environment), [f"Registered {environment} ({size}, {environment.interpreter})"])


def list_environments(workspace: Workspace, given: argparse.Namespace) -> Answer:
    environments = workspace.environments()
    own = f"A run that names none uses this program’s own interpreter, {sys.executable}"
    if remote := remote_of(workspace):
        made = remote.default_environment()
        pins = ", ".join(f"{name} {version}" for name, version in made.packages.items())
        own = f"A run that names none gets one made for it: Python {made.python_version}, {pins}"
    lines = [*environment_lines(environments), own] if environments else [own]
    return Answer({"environments": [environment_value(environment) for environment in environments]}, lines)


# ---- runs ------------------------------------------------------------------------------------------------------------------------


def submit(workspace: Workspace, given: argparse.Namespace) -> Answer:
    settings = {name: getattr(given, name) for name in TABLE if getattr(given, name) is not None}
    if given.environment_variables is not None:
        settings["environment_variables"] = _pairs("environment_variables", given.environment_variables)
    request = RunRequest(
        models=tuple(given.model),
        datasets=tuple(given.dataset),
        entry_script=_entry_script(workspace, given.entry_script),
        settings=ParallelRunSettings.from_dict(settings),
        source_directory=given.source_directory,
        arguments=tuple(given.argument),
        side_inputs=_pairs("side_inputs", given.side_input),
        environment=given.environment,
        compute_target=given.compute_target,
        allow_reuse=given.allow_reuse == "on",
        name=given.name,
    )
    return _submitted(workspace, workspace.submit(request), given)


def _submitted(workspace: Workspace, run: Run, given: argparse.Namespace) -> Answer:
    """The id alone on standard output, for `$(...)`; or, after waiting, the same as `show`."""
    follow_it, end_it = (f"{_command(given)} {verb} {run.id}" for verb in ("show", "cancel"))
    try:
        cut = workspace.cut([workspace.dataset(reference) for reference in run.request.datasets], run.request.settings)
        if run.request.failed_only:
            cut = replace(cut, item_count=run.items_total, mini_batch_count=run.mini_batches_total)
        note(f"Submitted {run.id}: {describe(cut, run.request.settings)}", *(f"Warning: {warning}" for warning in run.warnings))
        if run.reused_from or run.reuse_note:
            note(f"It took the output of {run.reused_from}, whose inputs are the same." if run.reused_from else str(run.reuse_note))
        if not given.wait:
            note(f"Follow it by: {follow_it}")
            return Answer(run_value(run), [run.id])
        run = follow(workspace, run)
        if run.status is RunStatus.NOT_RESPONDING:
            note(
                f"Nobody carries out the run any more. {run.error or ''}".rstrip(),
                f"Carry on with it by: {_command(given)} resume {run.id}",
            )
        code = 0 if run.status is RunStatus.COMPLETED else 1
    except KeyboardInterrupt:
        note(f"The run goes on. Follow it by: {follow_it}", f"End it by: {end_it}")
        return Answer(run_value(workspace.run(run.id)), [run.id], INTERRUPTED)
    return _shown(workspace, run, code)


def list_runs(workspace: Workspace, given: argparse.Namespace) -> Answer:
    runs = workspace.runs()
    return Answer({"runs": [run_value(run) for run in runs]}, runs_lines(runs))


def show(workspace: Workspace, given: argparse.Namespace) -> Answer:
    return _shown(workspace, workspace.run(given.run))


def _shown(workspace: Workspace, run: Run, code: int = 0) -> Answer:
    environment = workspace.run_environment(run.id)
    return Answer(run_value(run, environment), run_lines(run, environment), code)


def cancel(workspace: Workspace, given: argparse.Namespace) -> Answer:
    run = workspace.cancel(given.run)
    return Answer(run_value(run), [f"{run.id}: {run.status}"])


def resume(workspace: Workspace, given: argparse.Namespace) -> Answer:
    run = workspace.resume(given.run)
    return Answer(run_value(run), [f"{run.id}: {run.status}"])


def rerun(workspace: Workspace, given: argparse.Namespace) -> Answer:
    return _submitted(workspace, workspace.rerun(given.run, failed_only=given.failed_only), given)


def logs(workspace: Workspace, given: argparse.Namespace) -> Answer:
    found = workspace.logs(given.run)
    if given.json:
        return Answer({"logs": {name: last_part(path) for name, path in found.items()}})
    return Answer({}, _log_lines(found))


def _log_lines(files: Mapping[str, Path]) -> Iterator[str]:
    for name, path in files.items():
        yield f"==> {name} <=="
        yield from last_part(path).splitlines()


def output(workspace: Workspace, given: argparse.Namespace) -> Answer:
    files = workspace.output(given.run)
    folder = Path(given.to).expanduser()
    for name, path in files.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError("to", f"{target.parent} can't be made: {error.strerror or error}", "Give another folder.") from error
        try:
            source = open(path, "rb")  # noqa: SIM115 - what can't be read is another error than what can't be written
        except OSError as error:
            raise NotFound(f"The output {path} can't be read: {error.strerror or error}.", "Look at the run again.") from error
        with source, written_whole(target) as copy:
            shutil.copyfileobj(source, copy)
    if not files:
        note("The run has written no files.")
    return Answer({"to": str(folder), "files": list(files)}, [str(folder / name) for name in files])


def predictions(workspace: Workspace, given: argparse.Namespace) -> Answer:
    from services.predictions.filters import Filter

    if given.json and given.to == "-":
        raise SettingsError("to", "the rows and the JSON object can't both be on standard output", "Give a file, or leave --json out.")
    table, chosen = workspace.predictions(given.run), Filter(where=given.where)
    if given.to == "-":
        sys.stdout.flush()
        sys.stdout.buffer.writelines(table.csv(chosen))
        return Answer({})
    parts = table.csv(chosen)
    with written_whole(Path(given.to).expanduser()) as file:
        file.writelines(parts)
    rows = table.count(chosen)
    return Answer({"rows": rows, "to": given.to}, [f"Wrote {counted(rows, 'row')} to {given.to}"])


# ---- what is given ---------------------------------------------------------------------------------------------------------------


def _pairs(field: str, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for key, equals, value in pairs:
        if not key or not equals:
            raise SettingsError(field, f"{field}: “{key}{equals}{value}” is no NAME=VALUE", "Write the name, =, and the value.")
    return {key: value for key, _, value in pairs}


def _entry_script(workspace: Workspace, given: str) -> str:
    """The path of a scoring script; a bare name that is no file here is a built-in script's."""
    path = Path(given).expanduser()
    if path.name == given and not path.exists():
        built_in = {script.name: script.path for script in workspace.entry_scripts() if script.origin == "built-in"}
        return built_in.get(given) or built_in.get(f"{given}.py") or str(path)
    return str(path)


def _command(given: argparse.Namespace) -> str:
    """How to call this program on the same workspace again."""
    home = f" --home {shlex.quote(given.home)}" if given.home else ""
    return PROGRAM + (f" --workspace {given.workspace}" if given.workspace != WORKSPACES[0] else "") + home

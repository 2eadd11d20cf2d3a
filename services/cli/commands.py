"""The commands: each calls a verb of the workspace and returns an answer. The parser is in main.py."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import PurePath
from typing import Any

from services import PROGRAM, sample
from services.cli import output
from services.cli.output import Answer, note
from services.domain import ResourceKind, Run, RunStatus
from services.errors import NotFound, SettingsError, os_errors_as
from services.formats import counted
from services.predictions.run_conditions import matching_runs
from services.run_query import RunQuery
from services.storage.file_tree import path_given
from services.storage.mini_batch_plan import describe
from services.workspace import Workspace
from services.workspaces import WORKSPACES

INTERRUPTED = 130  # as shells report a program ended by SIGINT


# ---- models, datasets ----------------------------------------------------------------------------------------------


def register_model(workspace: Workspace, args: argparse.Namespace) -> Answer:
    model = workspace.register_model(args.name, args.path, description=args.description, tags=pairs("tags", args.tag), approve=args.approve)
    lines = [f"Registered {model} ({model.kind}, {counted(model.size, 'byte')}, SHA-256 {model.sha256})"]
    if not model.usable and model.kind == "skops":
        lines.append(f"It makes objects of types that skops does not trust: {', '.join(model.imports) or 'unknown ones'}")
    if not model.usable:
        lines.append(f"This model can run code. Approve it before using it in a run: {program_command(args)} model approve {model}")
    return Answer(output.model_value(model), lines)


def list_models(workspace: Workspace, args: argparse.Namespace) -> Answer:
    models, said = output.listed(workspace, args, ResourceKind.MODEL, workspace.models())
    values = map(output.with_metadata, map(output.model_value, models), said)
    return Answer({"models": list(values)}, output.with_columns(output.model_lines(models), said))


def approve_model(workspace: Workspace, args: argparse.Namespace) -> Answer:
    model = workspace.model(args.model)
    workspace.approve(model.sha256)
    return Answer(output.model_value(workspace.model(model.reference)), [f"Approved {model}, SHA-256 {model.sha256}"])


def make_sample(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if workspace.remote is not None:
        raise SettingsError("workspace", "The sample is available in the local workspace only", "Omit --workspace.")
    made = sample.make_sample(workspace.home)
    run = f"{program_command(args)} run --model {made.model} --dataset {made.dataset} --entry-script batch_scoring_script --wait"
    lines = [f"Registered {made.model} and {made.dataset}; true labels: {made.labels}", f"Score it: {run}"]
    return Answer(asdict(made), lines)


# ---- runs ------------------------------------------------------------------------------------------------------------------------


def submitted(workspace: Workspace, run: Run, args: argparse.Namespace) -> Answer:
    """The id alone on standard output, for `$(...)`; or, after waiting, what `show` returns."""
    follow_command, cancel_command = (f"{program_command(args)} {verb} {run.id}" for verb in ("show", "cancel"))
    try:
        cut = workspace.mini_batches([workspace.dataset(reference) for reference in run.request.datasets], run.request.settings)
        if run.request.failed_only or run.request.new_only:
            cut = replace(cut, item_count=run.items_total, mini_batch_count=run.mini_batches_total)
        what = f"Following the job {run.request.followed_job} as" if run.request.followed_job else "Submitted"
        note(f"{what} {run.id}: {describe(cut, run.request.settings)}", *(f"Warning: {warning}" for warning in run.warnings))
        if run.reused_from or run.reuse_note:
            note(f"Reused the output of {run.reused_from}: its inputs are the same." if run.reused_from else str(run.reuse_note))
        if not args.wait:
            note(f"Follow it: {follow_command}")
            return Answer(output.run_value(run), [run.id])
        run = output.follow(workspace, run)
        if run.status is RunStatus.NOT_RESPONDING:
            note(f"This run has no active runner. {run.error or ''}".rstrip(), f"Resume it: {program_command(args)} resume {run.id}")
        code = 0 if run.status is RunStatus.COMPLETED else 1
    except KeyboardInterrupt:
        note(f"The run continues. Follow it: {follow_command}", f"Cancel it: {cancel_command}")
        return Answer(output.run_value(workspace.runs.get(run.id)), [run.id], INTERRUPTED)
    return _shown(workspace, run, code)


def list_runs(workspace: Workspace, args: argparse.Namespace) -> Answer:
    query = RunQuery(archived=args.archived, count=args.limit + 1)
    if args.where is not None:
        rows = partial(workspace.runs.rows, archived=args.archived)
        query = replace(query, ids=tuple(matching_runs(rows, args.where, args.limit + 1)))
    found = workspace.runs.search(query).runs
    listed = found[: args.limit]
    if len(found) > args.limit:
        note(f"{counted(args.limit, 'run')} shown; there are more: see --limit.")
    said = [replace(run.metadata, name="") for run in listed]  # the list has their names
    return Answer({"runs": [output.run_value(run) for run in listed]}, output.with_columns(output.runs_lines(listed), said))


def show(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return _shown(workspace, workspace.runs.get(args.run))


def _shown(workspace: Workspace, run: Run, code: int = 0) -> Answer:
    environment = workspace.runs.environment(run.id)
    return Answer(output.run_value(run, environment), output.run_lines(run, environment), code)


def cancel(workspace: Workspace, args: argparse.Namespace) -> Answer:
    run = workspace.runs.cancel(args.run)
    if not run.status.ended and workspace.pipelines and (whose := workspace.pipelines.whose(run.id)):
        note(whose)
    return Answer(output.run_value(run), [f"{run.id}: {run.status}"])


def resume(workspace: Workspace, args: argparse.Namespace) -> Answer:
    run = workspace.runs.resume(args.run)
    return Answer(output.run_value(run), [f"{run.id}: {run.status}"])


def rerun(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return submitted(workspace, workspace.rerun(args.run, failed_only=args.failed_only), args)


def failures(workspace: Workspace, args: argparse.Namespace) -> Answer:
    from services.predictions import exports
    from services.predictions.failures import every_item

    values: Iterable[dict[str, Any]]
    if args.by_cause:
        names = ["cause", "count", "share", "example"]
        values = [{name: getattr(cause, name) for name in names} for cause in workspace.runs.failure_causes(args.run)]
        content = exports.rows_as_csv(names, (tuple(value.values()) for value in values), safe=args.safe)
    else:
        items = every_item(lambda first, count: workspace.runs.failed_items(args.run, first=first, count=count))
        values, content = map(asdict, items), exports.failed_items_as_csv(items, safe=args.safe) if args.to else iter(())
    if args.to:
        _write(args, content)
        return Answer(
            {"to": args.to}, [] if args.to == "-" else [f"Wrote the {'causes' if args.by_cause else 'failed items'} to {args.to}"]
        )
    rows = list(values)
    return Answer({"causes": rows}, output.cause_lines(rows)) if args.by_cause else Answer({"failures": rows}, output.failure_lines(rows))


def copy_output(workspace: Workspace, args: argparse.Namespace) -> Answer:
    files = workspace.runs.output(args.run)
    folder = path_given(args.to)
    for name, path in files.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError("to", f"Cannot create {target.parent}: {error.strerror or error}", "Choose another folder.") from error
        with os_errors_as(NotFound, f"Cannot read the output {path}", "Check the run with show."):
            source = open(path, "rb")  # noqa: SIM115 - reading and writing fail with different errors
        with source, output.written_whole(target) as copy:
            shutil.copyfileobj(source, copy)
    if not files:
        note("The run has no output files.")
    return Answer({"to": str(folder), "files": list(files)}, [str(folder / name) for name in files])


def predictions(workspace: Workspace, args: argparse.Namespace) -> Answer:
    from services.predictions import exports
    from services.predictions.columns import ROW_NUMBER
    from services.predictions.filters import Filter

    table, chosen = workspace.runs.predictions(args.run), Filter(where=args.where)
    ending = PurePath(args.to).suffix.lower()
    _write(args, exports.export(ending if ending in exports.MEDIA_TYPES else ".csv", table, chosen))
    rows = table.count(chosen)
    number = table.own.get(ROW_NUMBER)
    if not rows and number and number.lower() in args.where.lower() and not table.holds(number):
        note(f"{number} is unknown in this run, so no condition on it holds. Filter by a column kept beside the predictions.")
    return Answer({"rows": rows, "to": args.to}, [] if args.to == "-" else [f"Wrote {counted(rows, 'row')} to {args.to}"])


def report(workspace: Workspace, args: argparse.Namespace) -> Answer:
    from services.report import report as report_of

    _write(args, [report_of(workspace, args.run)])
    return Answer({"to": args.to}, [] if args.to == "-" else [f"Wrote the report to {args.to}"])


def _write(args: argparse.Namespace, parts: Iterable[bytes]) -> None:
    """Write to `args.to`, `-` being standard output. Raises SettingsError."""
    if args.to != "-":
        with output.written_whole(path_given(args.to)) as file:
            file.writelines(parts)
        return
    if args.json:
        raise SettingsError("to", "The rows and the JSON object can't both go to standard output", "Give a file, or omit --json.")
    for part in parts:
        with output.stdout_writable():
            sys.stdout.buffer.write(part)


# ---- arguments -------------------------------------------------------------------------------------------------------------------


def pairs(field: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for key, equals, value in pairs:
        if not key or not equals:
            raise SettingsError(field, f"{field}: “{key}{equals}{value}” is not NAME=VALUE", "Write NAME=VALUE.")
    return {key: value for key, _, value in pairs}


def entry_script(workspace: Workspace, name: str) -> str:
    """The path of a scoring script; a bare name without such a file is that of a built-in script."""
    path = path_given(name)
    if path.name == name and not path.exists():
        built_in = {script.name: script.path for script in workspace.scripts.all() if script.origin == "built-in"}
        return built_in.get(name) or built_in.get(f"{name}.py") or str(path)
    return str(path)


def program_command(args: argparse.Namespace) -> str:
    """The command that calls this program on the same workspace again."""
    home = f" --home {shlex.quote(args.home)}" if args.home else ""
    return PROGRAM + (f" --workspace {args.workspace}" if args.workspace != WORKSPACES[0] else "") + home

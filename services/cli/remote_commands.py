"""The commands of what only a workspace elsewhere has: models taken from a training run, published pipelines, schedules."""

from __future__ import annotations

import argparse
from typing import Any

from services.cli import commands, output
from services.cli.output import Answer
from services.connection import SDKS
from services.errors import SettingsError
from services.remote import Frequency, PipelineRun, PublishedPipeline, Recurrence, Schedule
from services.workspace import PipelineService, RemoteWorkspace, Workspace

_HINT = f"Add --workspace {' or '.join(SDKS.values())}."


def _remote(workspace: Workspace, what: str) -> RemoteWorkspace:
    if workspace.remote is None:
        raise SettingsError("workspace", f"{what} in the local workspace", _HINT)
    return workspace.remote


def _pipelines(workspace: Workspace) -> PipelineService:
    if workspace.pipelines is None:
        raise SettingsError("workspace", "There are no pipelines in the local workspace", _HINT)
    return workspace.pipelines


# ---- models ----------------------------------------------------------------------------------------------------------------------


def register_model_from_run(workspace: Workspace, args: argparse.Namespace) -> Answer:
    about = {"description": args.description, "tags": commands.pairs("tags", args.tag)}
    remote = _remote(workspace, "There are no training runs")
    model = remote.register_model_from_run(args.name, args.experiment, args.run, args.path, **about)
    return Answer(output.model_value(model), [f"Registered {model} from {args.path} of run {args.run}"])


def list_experiments(workspace: Workspace, args: argparse.Namespace) -> Answer:
    experiments = _remote(workspace, "There are no experiments").experiments()
    return Answer({"experiments": experiments}, experiments)


def list_training_runs(workspace: Workspace, args: argparse.Namespace) -> Answer:
    runs = _remote(workspace, "There are no training runs").training_runs(args.experiment)
    rows = [(run.id, run.status, output.utc(run.started_at), run.name) for run in runs]
    return Answer({"training_runs": [vars(run) for run in runs]}, output.table(("RUN", "STATUS", "STARTED", "NAME"), rows))


def list_training_run_files(workspace: Workspace, args: argparse.Namespace) -> Answer:
    files = _remote(workspace, "There are no training runs").training_run_files(args.experiment, args.run)
    return Answer({"files": files}, files)


# ---- published pipelines ---------------------------------------------------------------------------------------------------------


def publish(workspace: Workspace, args: argparse.Namespace) -> Answer:
    pipeline = _pipelines(workspace).publish(args.run, args.name, args.description)
    run = f"{commands.program_command(args)} pipeline run {pipeline.id}"
    return Answer(vars(pipeline), [f"Published {pipeline.name} as {pipeline.id}", f"Endpoint: {pipeline.endpoint}", f"Run it: {run}"])


def list_pipelines(workspace: Workspace, args: argparse.Namespace) -> Answer:
    def parameters(pipeline: PublishedPipeline) -> str:
        values = pipeline.defaults
        return "unknown" if values is None else " ".join(f"{name}={value}" for name, value in values.items())

    pipelines = _pipelines(workspace).published()
    rows = [(pipeline.id, _state(pipeline), pipeline.name, parameters(pipeline)) for pipeline in pipelines]
    return Answer({"pipelines": [vars(one) for one in pipelines]}, output.table(("PIPELINE", "STATE", "NAME", "PARAMETERS"), rows))


def set_pipeline(workspace: Workspace, args: argparse.Namespace) -> Answer:
    _pipelines(workspace).set_published(args.pipeline, active=args.active)
    return _changed(args.pipeline, active=args.active)


def run_pipeline(workspace: Workspace, args: argparse.Namespace) -> Answer:
    parameters = commands.pairs("parameters", args.parameter)
    return commands.submitted(workspace, _pipelines(workspace).submit(args.pipeline, parameters, name=args.name), args)


def history(workspace: Workspace, args: argparse.Namespace) -> Answer:
    def row(run: PipelineRun) -> tuple[str, ...]:
        return (run.id, run.status, output.utc(run.created_at), run.run_id, run.title)

    runs = _pipelines(workspace).history(args.experiment)
    lines = output.table(("PIPELINE RUN", "STATUS", "CREATED", "RUN", "TITLE"), [row(run) for run in runs])
    return Answer({"pipeline_runs": [vars(run) for run in runs]}, lines)


def follow(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return commands.submitted(workspace, _pipelines(workspace).follow(args.experiment, args.pipeline_run), args)


# ---- schedules -------------------------------------------------------------------------------------------------------------------


def list_schedules(workspace: Workspace, args: argparse.Namespace) -> Answer:
    schedules = _pipelines(workspace).schedules()
    rows = [(one.id, _state(one), one.name, one.recurrence, one.pipeline_id) for one in schedules]
    header = ("SCHEDULE", "STATE", "NAME", "RECURRENCE", "PIPELINE")
    return Answer({"schedules": [vars(schedule) for schedule in schedules]}, output.table(header, rows))


def create_schedule(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if not args.interval.isdecimal():
        raise SettingsError("interval", f"“{args.interval}” is not a whole number", "Give 1 or more.")
    recurrence = Recurrence(Frequency(args.every.capitalize()), int(args.interval), args.at, tuple(args.on))
    parameters = commands.pairs("parameters", args.parameter)
    schedule = _pipelines(workspace).schedule(args.pipeline, args.name, recurrence, parameters)
    return Answer(vars(schedule), [f"Scheduled {schedule.name}, {schedule.recurrence}, as {schedule.id}"])


def set_schedule(workspace: Workspace, args: argparse.Namespace) -> Answer:
    _pipelines(workspace).set_schedule(args.schedule, active=args.active)
    return _changed(args.schedule, active=args.active)


def _state(one: PublishedPipeline | Schedule) -> str:
    return "active" if one.active else "disabled"


def _changed(identity: str, *, active: bool) -> Answer:
    value: dict[str, Any] = {"id": identity, "active": active}
    return Answer(value, [f"{'Enabled' if active else 'Disabled'} {identity}"])

"""The commands about what is run by the clock: of this machine, whose own scheduler starts it, or of Azure ML, which has schedules."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

from services.cli import commands, output, remote_commands, scoring_commands
from services.cli.output import Answer, note, safe
from services.domain import Run
from services.errors import NotFound, NothingStarted, SettingsError, StudioError
from services.remote import WEEK_DAYS, Frequency, Recurrence
from services.schedules import cron
from services.schedules.schedule import Schedule
from services.schedules.texts import SetupTexts
from services.workspace import PipelineService, Schedules, Workspace

_POLL_SECONDS = 1.0  # for the pipeline run of a run that is being submitted to Azure ML


def _of_this_machine(workspace: Workspace) -> Schedules:
    if workspace.schedules is None:
        raise SettingsError("workspace", "Azure ML starts its schedules itself", "schedule list shows them.")
    return workspace.schedules


def add(workspace: Workspace, args: argparse.Namespace) -> Answer:
    recurrence = cron.Recurrence.parse(args.every)
    request = replace(scoring_commands.request_of(workspace, args, say=True), new_only=args.new_only)
    if workspace.pipelines is not None:
        return _add_on_azure(workspace, workspace.pipelines, args.name_of_schedule, recurrence, request)
    schedules = _of_this_machine(workspace)
    schedule = schedules.add(args.name_of_schedule, args.every, request)
    return _shown(schedule, schedules.setup(schedule.name), [f"Kept schedule {schedule.name}, {schedule.recurrence}."])


def show(workspace: Workspace, args: argparse.Namespace) -> Answer:
    schedules = _of_this_machine(workspace)
    schedule = schedules.get(args.name)
    return _shown(schedule, schedules.setup(schedule.name), [f"Schedule {schedule.name}, {schedule.recurrence}."])


def list_schedules(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if workspace.schedules is None:
        return remote_commands.list_schedules(workspace, args)
    schedules = workspace.schedules.all()
    rows = [
        (s.name, str(s.recurrence), output.utc(s.next_at()), output.utc(s.last.at) if s.last else "never", *_last(s)) for s in schedules
    ]
    header = ("SCHEDULE", "WHEN", "NEXT", "LAST START", "LAST RUN", "OUTCOME")
    return Answer({"schedules": [s.value() for s in schedules]}, output.table(header, rows))


def remove(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if workspace.pipelines is not None:
        found = [one for one in workspace.pipelines.schedules() if args.name in (one.id, one.name)]
        if not found:
            raise NotFound(f"There is no schedule “{args.name}”.", "schedule list shows what there is.")
        for one in found:
            workspace.pipelines.set_schedule(one.id, active=False)
        return Answer({"removed": args.name, "disabled": [one.id for one in found]}, [f"Disabled {one.name} ({one.id})" for one in found])
    schedules = _of_this_machine(workspace)
    setup = schedules.setup(args.name)
    schedules.remove(args.name)
    lines = [f"Removed schedule {args.name}. Its runs stay.", "Take it out of the system's scheduler too, wherever you gave it:"]
    return Answer({"removed": args.name, "systemd": setup.systemd_removal}, [*lines, f"  {setup.systemd_removal}", "  crontab -e"])


def start(workspace: Workspace, args: argparse.Namespace) -> Answer:
    def resumed(run: Run) -> None:
        note(f"Resumed {run.id}, which had lost its runner. What is new since is scored the next time.")

    try:
        run = _of_this_machine(workspace).start(args.name, resumed)
    except NothingStarted as nothing:
        return scoring_commands.nothing_started(nothing)
    return commands.submitted(workspace, run, args)


# ---- on Azure ML -----------------------------------------------------------------------------------------------------------------


def _add_on_azure(workspace: Workspace, pipelines: PipelineService, name: str, when: cron.Recurrence, request: Any) -> Answer:
    """Its schedules run published pipelines, and a pipeline is published from a run: so this submits the first one."""
    recurrence = azure_recurrence(when)
    run = workspace.submit(request)
    note(f"Submitted {run.id}: what it submits is published as a pipeline, which the schedule runs.")
    while pipelines.of(run.id) is None:
        if (run := workspace.runs.get(run.id)).status.ended:
            raise StudioError(f"Nothing was scheduled: {run.id} was not submitted. {run.error or ''}".strip(), "Fix it, and add it again.")
        time.sleep(_POLL_SECONDS)
    published = pipelines.publish(run.id, name)
    schedule = pipelines.schedule(published.id, name, recurrence, {})
    value = {**vars(schedule), "run": run.id, "pipeline": published.id}
    return Answer(value, [f"Scheduled {schedule.name}, {schedule.recurrence}, as {schedule.id}. Its first run is {run.id}."])


def azure_recurrence(when: cron.Recurrence) -> Recurrence:
    """The same in the words of Azure ML's ScheduleRecurrence, in UTC. Raises SettingsError on `every` where it has none for it."""
    minutes, hours = sorted(when.minutes), sorted(when.hours)
    every_day = len(when.days) == 31 and len(when.months) == 12
    if every_day and len(when.weekdays) == 7 and len(hours) == 24:
        if minutes == [0]:
            return Recurrence(Frequency.HOUR)
        if len(minutes) > 1 and 60 % minutes[1] == 0 and minutes == list(range(0, 60, minutes[1])):
            return Recurrence(Frequency.MINUTE, minutes[1])
    if every_day and len(hours) == len(minutes) == 1:
        at = f"{hours[0]:02}:{minutes[0]:02}"
        if len(when.weekdays) == 7:
            return Recurrence(Frequency.DAY, 1, at)
        return Recurrence(Frequency.WEEK, 1, at, tuple(day for number, day in enumerate(WEEK_DAYS, 1) if number % 7 in when.weekdays))
    text = f"Azure ML has no words for “{when.text}”"
    raise SettingsError("every", text, "Choose daily, hourly, every N minutes, or a time of the day on days of the week.")


# ---- what is said ----------------------------------------------------------------------------------------------------------------


def _last(schedule: Schedule) -> tuple[str, str]:
    return (schedule.last.run_id or "none", schedule.last.outcome) if schedule.last else ("none", "none")


def _shown(schedule: Schedule, setup: SetupTexts, lines: list[str]) -> Answer:
    systemd = {"unit": setup.unit, "service": setup.service, "timer": setup.timer, "commands": setup.systemd_commands}
    value = {**schedule.value(), "systemd": systemd, "crontab": setup.cron, "schtasks": setup.schtasks or None}
    why_not = dict(setup.why_not)
    lines += ["This machine's own scheduler has to start it. Give it one of these; nothing was written outside the home.", ""]
    for kind, text in (("service", setup.service), ("timer", setup.timer)):
        lines += [f"# systemd: ~/.config/systemd/user/{setup.unit}.{kind}", *text.splitlines(), ""]
    lines += ["# systemd: then", *setup.systemd_commands.splitlines(), ""]
    lines += ["# cron: a line for crontab -e", setup.cron, ""]
    lines += ["# Windows: in a command prompt", *(setup.schtasks.splitlines() or [f"# {why_not['schtasks']}"])]
    return Answer(value, list(map(safe, lines)))

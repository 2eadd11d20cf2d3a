"""The commands about environments: each calls a verb of the workspace and returns an answer. The parser is in main.py."""

from __future__ import annotations

import argparse
import shlex
import sys

from services.cli import output, resource_commands
from services.cli.commands import program_command
from services.cli.output import Answer, note
from services.domain import Environment, ResourceKind
from services.errors import SettingsError
from services.formats import counted, size
from services.intake import requirement_lists
from services.intake.requirement_lists import RequirementList
from services.workspace import Workspace


def register_environment(workspace: Workspace, args: argparse.Namespace) -> Answer:
    environment = workspace.register_environment(args.name, args.python)
    return Answer(output.environment_value(environment), [f"Registered {environment} ({_content(environment)}, {environment.interpreter})"])


def _content(environment: Environment) -> str:
    disk = f", {size(environment.size)} of disk" if environment.size is not None else ""
    return f"Python {environment.python_version}, {counted(len(environment.packages), 'package')}{disk}"


def list_environments(workspace: Workspace, args: argparse.Namespace) -> Answer:
    environments, said = output.listed(workspace, args, ResourceKind.ENVIRONMENT, workspace.environments())
    default = f"Default for runs without an environment: this program's own interpreter, {sys.executable}"
    if remote := workspace.remote:
        environment = remote.default_environment()
        pins = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
        default = f"Default for runs without an environment: one made for the run, with Python {environment.python_version}, {pins}"
    made = [environment.size for environment in environments if environment.size is not None]
    used = [f"Disk used by those made here: {size(sum(made))}"] if made else []
    last_used = workspace.builds.last_used() if workspace.builds else None
    lines = [*output.with_columns(output.environment_lines(environments, last_used), said), *used, default]
    values = [
        output.with_metadata(output.environment_value(one), about) | {"last_used": (last_used or {}).get(one.reference)}
        for one, about in zip(environments, said, strict=True)
    ]
    value = {"environments": values, "disk_used": sum(made)}
    return Answer(value, lines)


def create_environment(workspace: Workspace, args: argparse.Namespace) -> Answer:
    requirements = _requirements(workspace, args).building(args.allow_build)
    if not (args.package or args.approve):
        return _ask_approval(requirements, args)
    note(*requirements.notes)
    environment = workspace.create_environment(
        args.name, requirements, python=args.python, approved=requirements.sha256, allow_large=args.allow_large, progress=note
    )
    value = output.environment_value(environment) | {"sha256": requirements.sha256, "notes": requirements.notes}
    return Answer(value, [f"Created {environment} ({_content(environment)})"])


def _requirements(workspace: Workspace, args: argparse.Namespace) -> RequirementList:
    if args.package:
        return requirement_lists.from_packages(args.package)
    if args.for_model:
        return requirement_lists.requirements_for(workspace.model_card(args.for_model))
    if args.requirements or args.conda:
        return requirement_lists.from_file(args.requirements or args.conda, conda=bool(args.conda))
    hint = "Give --requirements FILE, --conda FILE, --package P, or --for-model NAME."
    raise SettingsError("requirements", "No requirements are given", hint)


def _ask_approval(requirements: RequirementList, args: argparse.Namespace) -> Answer:
    """The list, and how to approve it. A list from a file or a model was not written by the person who asks for it."""
    given = ("requirements", "conda", "for_model", "python")
    options = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name in given if (value := getattr(args, name))]
    options += [f"--allow-build {shlex.quote(name)}" for name in args.allow_build] + (["--allow-large"] if args.allow_large else [])
    again = f"{program_command(args)} environment create {shlex.quote(args.name)} {' '.join(options)} --approve"
    message = f"This list was not approved yet; its SHA-256 is {requirements.sha256}"
    error = SettingsError("approve", message, f"Look at it, then approve it: {again}")
    value = output.error_value(error)
    value["error"] |= {"requirements": requirements.lines, "sha256": requirements.sha256, "notes": requirements.notes}
    value["error"] |= {"python_version": requirements.python_version or None, "conda_only": requirements.conda_only}
    if not args.json:
        note(*requirements.text.splitlines(), *requirements.notes, *output.error_lines(error))
    return Answer(value, code=2)


def delete_environment(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if args.unused_for is not None and not args.references:
        return _delete_unused(workspace, args)
    if not args.references or args.unused_for is not None:
        raise SettingsError("environment", "No environment is named", "Give NAME[:V], or --unused-for DAYS.")
    return resource_commands.delete(workspace, args)


def _delete_unused(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """Those that nothing has used for so many days; without --yes they are only named."""
    if workspace.builds is None:
        raise SettingsError("unused_for", "Environments of Azure ML are not removed from here", "Archive them in Azure ML studio.")
    unused = workspace.builds.unused_for(args.unused_for)
    freed, since = sum(known.size or 0 for known in unused), counted(args.unused_for, "day")
    names = [f"{known.reference} ({size(known.size)})" if known.size else known.reference for known in unused]
    value = {"unused": [known.reference for known in unused], "freed": freed if args.yes else 0, "deleted": []}
    if not unused:
        return Answer(value, [f"Every environment was used or registered within the last {since}."])
    if not args.yes:
        again = f"{program_command(args)} environment delete --unused-for {args.unused_for} --yes"
        return Answer(value, [f"Not used for {since}: {', '.join(names)}.", f"Delete them: {again}"])
    workspace.resources.delete(ResourceKind.ENVIRONMENT, [known.reference for known in unused])
    return Answer(value | {"deleted": value["unused"]}, [f"Deleted {', '.join(names)}; {size(freed)} of disk"])

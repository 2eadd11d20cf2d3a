"""The command about the disk that the home takes. The parser is in main.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from services.cli import output
from services.cli.commands import program_command
from services.cli.output import Answer, note
from services.errors import SettingsError
from services.formats import counted, size
from services.storage.usage import StorageUsage
from services.workspace import CleanUpGroup, CleanUpItem, Workspace

_MOST_LINES = 20  # of things by name
_OLD_SECONDS = 60.0


def warned(command: Callable[[Workspace, argparse.Namespace], Answer]) -> Callable[[Workspace, argparse.Namespace], Answer]:
    """A command that keeps files in the home: afterwards it says where the home or its disk is nearly full."""

    def of(workspace: Workspace, args: argparse.Namespace) -> Answer:
        answer = command(workspace, args)
        count_if_limited(workspace)
        note(*(f"Warning: {warning}" for warning in workspace.storage.warnings()))
        return answer

    return of


def limited(command: Callable[[Workspace, argparse.Namespace], Answer]) -> Callable[[Workspace, argparse.Namespace], Answer]:
    """A command that submits or checks a run, which warns by itself: by a recent count, where there is a limit."""

    def of(workspace: Workspace, args: argparse.Namespace) -> Answer:
        count_if_limited(workspace)
        return command(workspace, args)

    return of


def count_if_limited(workspace: Workspace) -> None:
    """Count the files of the home where there is a limit and the last count is old: a second for 100,000 files."""
    known = workspace.storage.known()
    if workspace.storage.limit() and (known is None or known.age > _OLD_SECONDS):
        workspace.storage.measure()


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--limit", metavar="SIZE", help="warn before the folder takes more than this, such as 50GB; none takes the limit away")
    what = f"show what can go: {', '.join(CleanUpGroup)}; repeatable"
    add("--clean-up", action="append", default=[], choices=[group.value for group in CleanUpGroup], metavar="WHAT", help=what)
    text = "of archived runs, how long ago they ended; of environments, how long nothing used them (default: 90)"
    add("--older-than", type=int, default=90, metavar="DAYS", help=text)
    add("--yes", action="store_true", help="with --clean-up: remove it")


def storage(workspace: Workspace, args: argparse.Namespace) -> Answer:
    if args.yes and not args.clean_up:
        raise SettingsError("clean_up", "Nothing to clean up is named", f"Give --clean-up with one of {', '.join(CleanUpGroup)}.")
    if args.limit is not None:
        workspace.storage.set_limit(args.limit)
    usage = workspace.storage.measure()
    assert usage, "nobody stopped it"
    if args.clean_up:
        return _clean_up(workspace, args)
    free, total = workspace.storage.disk()
    limit, warnings = workspace.storage.limit(), workspace.storage.warnings()
    value: dict[str, Any] = {
        "home": str(workspace.home),
        "measured_at": usage.measured_at,
        "bytes": usage.bytes,
        "files": usage.files,
        "limit": limit,
        "disk": {"free": free, "total": total},
        "kinds": [vars(kind) for kind in usage.kinds],
        "items": [vars(item) for item in usage.items],
        "warnings": warnings,
    }
    note(*(f"Warning: {warning}" for warning in warnings))
    of = f" of {size(limit)}, its limit" if limit else ""
    lines = [f"{workspace.home} takes {size(usage.bytes)}{of}, in {counted(usage.files, 'file')}."]
    lines.append(f"On its disk {size(free)} of {size(total)} are free.")
    return Answer(value, [*lines, "", *_kind_lines(usage), "", *_item_lines(usage)])


def _kind_lines(usage: StorageUsage) -> list[str]:
    return output.table(("KIND", "SIZE", "FILES"), [(kind.kind, size(kind.bytes), kind.files) for kind in usage.kinds])


def _item_lines(usage: StorageUsage) -> list[str]:
    shown = usage.items[:_MOST_LINES]
    lines = output.table(("NAME", "KIND", "SIZE", "FILES"), [(item.label, item.kind, size(item.bytes), item.files) for item in shown])
    more = len(usage.items) - len(shown)
    return lines + ([f"…and {more:,} more, which --json has"] if more else [])


def _clean_up(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """What can go of these groups; it goes with --yes."""
    found = [item for item in workspace.storage.proposals(args.older_than) if item.group in args.clean_up]
    groups = " ".join(f"--clean-up {group}" for group in dict.fromkeys(args.clean_up))
    again = f"{program_command(args)} storage {groups} --older-than {args.older_than} --yes"
    if not found:
        return Answer({"found": [], "removed": [], "kept": [], "freed": 0}, ["There is nothing to remove."])
    if not args.yes:
        total = sum(item.bytes or 0 for item in found)
        value = {"found": [vars(item) for item in found], "removed": [], "kept": [], "freed": 0}
        return Answer(value, [*_proposal_lines(found), "", f"Together {size(total)}. Nothing was removed yet. Remove it: {again}"])
    done = workspace.storage.clean_up(found)
    note(*(f"Kept {item.name}: {reason}" for item, reason in done.kept))
    value = {
        "found": [vars(item) for item in found],
        "removed": [item.name for item in done.removed],
        "kept": [{"name": item.name, "reason": reason} for item, reason in done.kept],
        "freed": done.freed,
    }
    removed = [f"Removed from {item.group}: {item.name}" for item in done.removed]
    return Answer(value, [*removed, f"{size(done.freed)} of disk freed."], code=1 if done.kept else 0)


def _proposal_lines(found: Sequence[CleanUpItem]) -> list[str]:
    rows = [(item.group, item.name, "unknown" if item.bytes is None else size(item.bytes), item.about) for item in found]
    return output.table(("GROUP", "NAME", "SIZE", "WHAT IT IS"), rows)

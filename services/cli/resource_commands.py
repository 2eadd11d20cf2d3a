"""The commands that keep models, datasets, environments and runs in order: rename, tag, note, pin, archive, delete. The same for each kind;
the parser is in main.py."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from services.cli import output
from services.cli.commands import pairs, program_command
from services.cli.output import Answer, note
from services.domain import Dataset, Dependents, Model, ResourceKind
from services.errors import SettingsError
from services.formats import counted, size
from services.workspace import Workspace

_MOST_LISTED = 20
"""Of what a command changed, by name in its answer for people; `--json` has all."""


def add_commands(command: Callable[..., argparse.ArgumentParser], group: Any, kind: ResourceKind) -> None:
    """Those of one kind. `command` adds one to a group: see main.py."""
    a_thing = f"{'an' if kind is ResourceKind.ENVIRONMENT else 'a'} {kind}"

    def add(name: str, function: Callable[..., Answer], text: str, *arguments: str) -> argparse.ArgumentParser:
        added = command(group, name, function, text, *arguments)
        added.set_defaults(kind=kind)
        return added

    several: dict[str, Any] = {"metavar": "REF", "nargs": "+", "help": "NAME[:V]" if kind is not ResourceKind.RUN else "the id of a run"}
    if kind in (ResourceKind.RUN, ResourceKind.ENVIRONMENT):
        add("rename", rename, f"Give {a_thing} another name; an empty one gives the first one back.", "REF", "NEW")
    added = add("tag", tag, f"Set tags of {a_thing}, or several; KEY= takes one away.")
    added.add_argument("references", **several)
    added.add_argument("tags", metavar="KEY=VALUE", nargs="+")
    add("note", write_note, f"Describe {a_thing}; replaces its note, and an empty text removes it.", "REF", "TEXT")
    for name, function, text in (
        ("pin", pin, f"Put {a_thing}, or several, first in lists."),
        ("archive", archive, f"Leave {a_thing}, or several, out of lists. Nothing is deleted."),
    ):
        added = add(name, function, text)
        added.add_argument("references", **several)
        added.add_argument("--undo", action="store_true", help="as before")
    if kind is ResourceKind.ENVIRONMENT:
        several |= {"nargs": "*"}
    added = add("delete", delete, f"Delete {a_thing}, or several, with what this program keeps of it. A person's own files stay.")
    added.add_argument("references", **several)
    added.add_argument("--yes", action="store_true", help="without asking; else what depends on it is said first")


# ---- notes and tags ----------------------------------------------------------------------------------------------------------------


def rename(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return _changed(workspace, args, [args.ref], f"Renamed to {args.new}" if args.new else "Named as it was", name=args.new)


def tag(workspace: Workspace, args: argparse.Namespace) -> Answer:
    words = [*args.references, *args.tags]
    first = next((number for number, word in enumerate(words) if "=" in word), len(words))
    if not first or first == len(words):
        raise SettingsError("tags", "Nothing to tag, or no tag, is given", "Write the references, then KEY=VALUE.")
    tags = pairs("tags", words[first:])
    return _changed(workspace, args, words[:first], "Tagged", tags=tags)


def write_note(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return _changed(workspace, args, [args.ref], "Noted", note=args.text)


def pin(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return _changed(workspace, args, args.references, "Unpinned" if args.undo else "Pinned", pinned=not args.undo)


def archive(workspace: Workspace, args: argparse.Namespace) -> Answer:
    return _changed(workspace, args, args.references, "Taken out of the archive" if args.undo else "Archived", archived=not args.undo)


def _changed(workspace: Workspace, args: argparse.Namespace, references: Sequence[str], done: str, **change: Any) -> Answer:
    """Change them all, or none where one isn't there."""
    resources = workspace.resources
    found = list(dict.fromkeys(resources.reference(args.kind, reference) for reference in references))
    values: list[dict[str, Any]] = [{"reference": one, **vars(resources.change(args.kind, one, **change))} for one in found]
    places: dict[str, list[str]] = {}
    for value in values:
        if place := resources.whereabouts(args.kind, value["reference"], list(change)):
            value["kept"] = place
            places.setdefault(place, []).append(value["reference"])
    lines = [place if len(places) == 1 else f"{_listed(of)}: {place}" for place, of in places.items()]
    return Answer(values[0] if len(values) == 1 else {"changed": values}, [f"{done}: {_listed(found)}", *lines])


def _listed(references: Sequence[str]) -> str:
    more = len(references) - _MOST_LISTED
    return ", ".join(references) if more <= 0 else f"{', '.join(references[:_MOST_LISTED])} and {more:,} more"


# ---- deleted -----------------------------------------------------------------------------------------------------------------------


def delete(workspace: Workspace, args: argparse.Namespace) -> Answer:
    _check_versions_are_named(workspace, args.kind, args.references)
    resources = workspace.resources
    found = list({one.reference: one for one in (resources.dependents(args.kind, wanted) for wanted in args.references)}.values())
    names = [one.reference for one in found]
    if not args.yes and not any(one.blocked(names) for one in found) and (refusal := _ask(args, found, names)):
        return refusal
    freed = resources.delete(args.kind, names)
    space = f", {size(freed)} of disk" if freed else ""
    return Answer({"deleted": names[0] if len(names) == 1 else names, "freed": freed}, [f"Deleted {_listed(names)}{space}"])


def _check_versions_are_named(workspace: Workspace, kind: ResourceKind, references: Iterable[str]) -> None:
    """A name alone means the latest version, which is another one as soon as that is deleted."""
    if kind is ResourceKind.DATASET and workspace.remote is not None:
        return  # where all versions go together
    if kind not in (ResourceKind.MODEL, ResourceKind.DATASET):
        return
    for wanted in references:
        registered: Sequence[Model | Dataset] = workspace.models() if kind is ResourceKind.MODEL else workspace.datasets()
        versions = [one.reference for one in registered if one.name == wanted]
        if len(versions) > 1:
            raise SettingsError(kind, f"“{wanted}” names no version, and there are {', '.join(versions[:10])}", "Name the version.")


def _ask(args: argparse.Namespace, found: Sequence[Dependents], names: Sequence[str]) -> Answer | None:
    """Say what depends on them, and ask on a terminal; None where they may be deleted."""
    what = f"{args.kind} {names[0]}" if len(names) == 1 else counted(len(names), args.kind)
    lines = []
    for one in found:
        lines += [f"{one.kind} {one.reference}: {size(one.size)} on this machine"]
        lines += [f"  {sentence}" for sentence in one.sentences()]
    if not args.json:
        note(*lines)
        if sys.stdin is not None and sys.stdin.isatty():
            print(f"Delete {output.safe(what)}? This can't be undone. [y/N] ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                return None
            return Answer({}, ["Nothing was deleted."], code=2)
    group = "runs" if args.kind is ResourceKind.RUN else args.kind
    again = f"{program_command(args)} {group} delete {' '.join(map(shlex.quote, names))} --yes"
    error = SettingsError("yes", f"Nothing was deleted: deleting {what} can't be undone", f"Confirm it: {again}")
    value = output.error_value(error)
    value["error"]["dependents"] = [{**vars(one), "sentences": one.sentences()} for one in found]
    if not args.json:
        note(*output.error_lines(error))
    return Answer(value, code=2)

"""The commands that hand a run over: export, import."""

from __future__ import annotations

import argparse
from pathlib import PurePath

from services.cli import output
from services.cli.output import Answer, note
from services.errors import SettingsError
from services.handover.exports import ENDINGS, ExportKind, export
from services.storage.file_tree import path_given
from services.workspace import Workspace


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    text = "sdk-v1: Python for Azure ML; cli: a shell script of this program; notebook: Jupyter, over the predictions"
    parser.add_argument("--as", dest="kind", required=True, choices=[str(kind) for kind in ExportKind if kind in ENDINGS], help=text)
    text = "PATH.py, PATH.sh, PATH.ipynb, PATH.zip; a notebook with many predictions is a zip"
    parser.add_argument("--to", required=True, metavar="PATH", help=text)
    text = "also the values of environment variables, and arguments that look like secrets; without it they are left out"
    parser.add_argument("--with-secrets", action="store_true", help=text)


def export_run(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """Write a run as one file."""
    kind, target = ExportKind(args.kind), path_given(args.to)
    with output.written_whole(target) as file:
        made = export(workspace, args.run, kind, file, target.name, with_secrets=args.with_secrets)
        ending = PurePath(target.name).suffix.lower()
        if made.ending == ".zip" and ending != ".zip" and kind is ExportKind.NOTEBOOK:
            text = "the predictions are too many for the notebook alone"
            raise SettingsError("to", text, f"Give {PurePath(args.to).stem}.zip, for a zip of the notebook and its predictions.")
    note(*made.notes)
    return Answer({"to": str(target), "as": str(kind), "notes": list(made.notes)}, [f"Wrote {args.run} to {args.to}"])

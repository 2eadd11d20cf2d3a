"""The commands that hand a run over: export, import."""

from __future__ import annotations

import argparse
from pathlib import PurePath

from services.cli import output
from services.cli.output import Answer, note
from services.domain import RunRequest
from services.errors import SettingsError
from services.handover.exports import ExportKind, export
from services.handover.importing import import_archive
from services.storage.file_tree import path_given
from services.workspace import Workspace


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    text = (
        "sdk-v1, sdk-v2: Python for Azure ML; yaml: files for az ml job create, as a zip; cli: a shell script of this program; "
        "notebook: Jupyter, over the predictions; archive: all of it"
    )
    parser.add_argument("--as", dest="kind", required=True, choices=[str(kind) for kind in ExportKind], help=text)
    text = "PATH.py, PATH.sh, PATH.ipynb, PATH.zip; a notebook with many predictions is a zip"
    parser.add_argument("--to", required=True, metavar="PATH", help=text)
    text = "also the values of environment variables, and arguments that look like secrets; without it they are left out"
    parser.add_argument("--with-secrets", action="store_true", help=text)


def export_run(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """Write a run as one file."""
    kind, target = ExportKind(args.kind), path_given(args.to)

    def report(request: RunRequest) -> bytes:
        from services.report import report as report_of

        return report_of(workspace, args.run, request=request)

    with output.written_whole(target) as file:
        made = export(workspace, args.run, kind, file, target.name, report=report, with_secrets=args.with_secrets)
        ending = PurePath(target.name).suffix.lower()
        if made.ending == ".zip" and ending != ".zip" and kind is ExportKind.NOTEBOOK:
            text = "the predictions are too many for the notebook alone"
            raise SettingsError("to", text, f"Give {PurePath(args.to).stem}.zip, for a zip of the notebook and its predictions.")
    note(*made.notes)
    return Answer({"to": str(target), "as": str(kind), "notes": list(made.notes)}, [f"Wrote {args.run} to {args.to}"])


def import_run(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """Take in the archive of a run."""
    run, is_new = import_archive(workspace, args.path)
    said = f"Imported {run.imported_from} as {run.id}" if is_new else f"This run was imported before, as {run.id}; nothing changed."
    return Answer({"imported": is_new, **output.run_value(run)}, [said])

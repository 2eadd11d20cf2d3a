"""A run handed over as one file: what each kind of export holds, and what is left out of it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from enum import StrEnum
from typing import BinaryIO, NamedTuple

from services import file_names
from services.domain import Run, RunRequest
from services.errors import WorkspaceUnavailable, os_errors_as
from services.handover import notebook, sdk_v1, shell_script
from services.handover.archive import write_archive
from services.handover.secrets import disclose
from services.handover.sources import sources_of
from services.workspace import Workspace


class ExportKind(StrEnum):
    """As what a run is handed over."""

    SDK_V1 = "sdk-v1"
    CLI = "cli"
    NOTEBOOK = "notebook"
    ARCHIVE = "archive"


class Exported(NamedTuple):
    """What was written: the ending that its file should have, and sentences on what is in it and what isn't."""

    ending: str
    notes: tuple[str, ...]


ENDINGS = {ExportKind.SDK_V1: ".py", ExportKind.CLI: ".sh", ExportKind.NOTEBOOK: ".ipynb", ExportKind.ARCHIVE: ".zip"}
"""A notebook of many predictions is a zip with these beside it."""
MEDIA_TYPES = {".py": "text/x-python", ".sh": "text/x-shellscript", ".ipynb": "application/x-ipynb+json", ".zip": "application/zip"}


def file_stem(run: Run, kind: ExportKind) -> str:
    """A name for the export, without its ending, good on every system."""
    return file_names.file_stem(f"{run.title} {kind}") or str(kind)


def export(
    workspace: Workspace,
    run_id: str,
    kind: ExportKind,
    file: BinaryIO,
    name: str = "",
    *,
    report: Callable[[RunRequest], bytes],
    with_secrets: bool = False,
) -> Exported:
    """Write a run into an open file, called `name`. `report` makes the page of an archive, of a request without secrets. Values of
    environment variables, and arguments that look like secrets, are left out without `with_secrets`. Raises NotFound for a run,
    its script or its predictions that aren't there, WorkspaceUnavailable where they can't be read, SettingsError for what can't be exported
    so."""
    run = workspace.runs.get(run_id)
    disclosed = disclose(run.request, with_secrets=with_secrets)
    notes = disclosed.notes()
    if kind is ExportKind.ARCHIVE:
        lacks = write_archive(workspace, run, disclosed, file, report)
        return Exported(ENDINGS[kind], (*lacks, "Logs, output and the scoring script are in it as they are: look for secrets there."))
    if notes and kind is not ExportKind.NOTEBOOK:
        notes = [f"{notes[0]} The script reads each from an environment variable, which it names where it isn't set."]
    if kind is ExportKind.NOTEBOOK:
        return _notebook(workspace, run, file, name)
    if kind is ExportKind.SDK_V1:
        known_there = workspace.remote is not None and not run.imported_from
        sources, environment = sources_of(workspace, run), workspace.runs.environment(run_id)
        file.write(sdk_v1.script(run, disclosed, sources, environment, name or f"run{ENDINGS[kind]}", known_there=known_there))
        if run.request.failed_only:
            notes.append(f"The run scored what had failed in {run.request.rerun_of}; the script scores the whole dataset.")
        elif run.request.new_only:
            notes.append("The run scored what was new; the script scores the whole dataset.")
    else:
        file.write(shell_script.script(workspace, run, disclosed))
    return Exported(ENDINGS[kind], tuple(notes))


def _notebook(workspace: Workspace, run: Run, file: BinaryIO, name: str) -> Exported:
    """With its predictions in it where they are few and the file isn't to be a zip; else as a zip with these beside it."""
    table, annotations = workspace.runs.predictions(run.id), workspace.annotations.annotations(run.id)
    facts = notebook.facts_of(run)
    with (
        os_errors_as(WorkspaceUnavailable, "The predictions can't be written to this machine's temporary folder"),
        tempfile.TemporaryFile() as parquet,
    ):
        notebook.write_predictions(table, annotations, parquet)
        size = parquet.tell()
        parquet.seek(0)
        if size <= notebook.MOST_EMBEDDED_BYTES and not name.endswith(".zip"):
            file.write(notebook.notebook(run, table, facts, parquet.read()))
            return Exported(".ipynb", ("The predictions are in the notebook itself.",))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("predictions.ipynb", notebook.notebook(run, table, facts, "predictions.parquet"))
            with archive.open(zipfile.ZipInfo("predictions.parquet"), "w", force_zip64=True) as member:  # stored: it is compressed itself
                while part := parquet.read(1 << 20):
                    member.write(part)
        return Exported(".zip", ("The zip holds the notebook and its predictions; unpack both into one folder.",))

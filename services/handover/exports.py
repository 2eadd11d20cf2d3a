"""A run handed over as one file: what each kind of export holds, and what is left out of it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from enum import StrEnum
from typing import BinaryIO, NamedTuple

from services import file_names
from services.domain import Run, RunRequest
from services.errors import NotFound, SettingsError, WorkspaceUnavailable, os_errors_as
from services.handover import job_files, notebook, sdk_v1, sdk_v2, shell_script
from services.handover.archive import write_archive
from services.handover.secrets import Disclosed, disclose
from services.handover.sources import sources_of
from services.workspace import Workspace


class ExportKind(StrEnum):
    """As what a run is handed over."""

    SDK_V1 = "sdk-v1"
    SDK_V2 = "sdk-v2"
    YAML = "yaml"
    CLI = "cli"
    NOTEBOOK = "notebook"
    ARCHIVE = "archive"


class Exported(NamedTuple):
    """What was written: the ending that its file should have, and sentences on what is in it and what isn't."""

    ending: str
    notes: tuple[str, ...]


ENDINGS = {
    ExportKind.SDK_V1: ".py", ExportKind.SDK_V2: ".py", ExportKind.YAML: ".zip", ExportKind.CLI: ".sh", ExportKind.NOTEBOOK: ".ipynb",
    ExportKind.ARCHIVE: ".zip",
}  # fmt: skip
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
    if kind is ExportKind.NOTEBOOK:
        return _notebook(workspace, run, file, name)
    if notes:
        how = "`az ml job create` is given each by --set, as job.yml says."
        if kind is not ExportKind.YAML:
            how = "The script reads each from an environment variable, which it names where it isn't set."
        notes = [f"{notes[0]} {how}"]
    if kind is ExportKind.CLI:
        file.write(shell_script.script(workspace, run, disclosed))
        return Exported(ENDINGS[kind], tuple(notes))
    file.write(_for_azure(workspace, run, kind, disclosed, name or f"run{ENDINGS[kind]}"))
    if run.request.failed_only:
        notes.append(f"The run scored what had failed in {run.request.rerun_of}; this scores the whole dataset.")
    elif run.request.new_only:
        notes.append("The run scored what was new; this scores the whole dataset.")
    return Exported(ENDINGS[kind], tuple(notes))


def _for_azure(workspace: Workspace, run: Run, kind: ExportKind, disclosed: Disclosed, name: str) -> bytes:
    """The run as something that Azure ML takes."""
    known_there = workspace.remote is not None and not run.imported_from
    sources, environment = sources_of(workspace, run), workspace.runs.environment(run.id)
    if kind is ExportKind.SDK_V1:
        return sdk_v1.script(run, disclosed, sources, environment, name, known_there=known_there)
    if len(run.request.datasets) > 1:
        text = f"a parallel job of SDK v2 scores one dataset, and this run has {len(run.request.datasets)}"
        raise SettingsError("dataset", text, "Export it for SDK v1, or register one dataset of all the files.")
    try:
        tabular = workspace.dataset(run.request.datasets[0]).type == "tabular"
    except NotFound:  # it was deleted since
        tabular = False
    if kind is ExportKind.SDK_V2:
        return sdk_v2.script(run, disclosed, sources, environment, name, known_there=known_there, tabular=tabular)
    return job_files.job_files(run, disclosed, sources, environment, known_there=known_there, tabular=tabular)


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

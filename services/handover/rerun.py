"""A rerun of an imported run: only where its inputs are here too, compared by SHA-256 and not by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.domain import EntryScript, Run, RunRequest
from services.errors import NotFound, SettingsError
from services.handover.secrets import LEFT_OUT

if TYPE_CHECKING:
    from services.workspace import Workspace

_NEW_RUN = "Start a new run on the New run page."


def request_here(workspace: Workspace, request: RunRequest) -> RunRequest:
    """The request; one that does an imported run again with the script of this home in place of a path of another. Nothing that came with
    the run is executed. Raises SettingsError on what isn't here, or is another here, NotFound for a model or dataset that isn't here."""
    if not request.rerun_of:
        return request
    try:
        earlier = workspace.runs.get(request.rerun_of)
    except NotFound:  # it was deleted since
        return request
    if not earlier.imported_from:
        return request
    if request.failed_only:
        text = f"run {earlier.id} was imported, and its files are not here"
        raise SettingsError("failed_only", text, "Rerun it whole, where its dataset is here too.")
    provenance = workspace.runs.provenance(earlier.id)
    for reference, sha256 in provenance.models:
        if sha256 != workspace.model(reference).sha256:
            raise _other("model", reference, earlier.id)
    for reference, sha256 in provenance.datasets:
        if sha256 != workspace.dataset(reference).manifest_sha256:
            raise _other("dataset", reference, earlier.id)
    if request.side_inputs:
        raise SettingsError("side_inputs", f"run {earlier.id} was imported, and its side inputs are not known here", _NEW_RUN)
    if request.source_directory:
        text = f"run {earlier.id} was imported, and its source directory {request.source_directory} was on another machine"
        raise SettingsError("source_directory", text, _NEW_RUN)
    if LEFT_OUT in (request.settings.environment_variables or {}).values():
        names = ", ".join(request.settings.environment_variables or {})
        raise SettingsError("environment_variables", f"the values of {names} were left out of the archive of run {earlier.id}", _NEW_RUN)
    if any(argument.endswith(LEFT_OUT) for argument in request.arguments):
        raise SettingsError("arguments", f"values of arguments were left out of the archive of run {earlier.id}", _NEW_RUN)
    script = _script_here(workspace, earlier)
    if script is None:
        text = f"the scoring script {provenance.script[0]} of the imported run {earlier.id} is not here"
        kept = workspace.runs.kept_script(earlier.id)
        hint = f"Its copy is {kept}: look at it, then upload it on the New run page." if kept else _NEW_RUN
        raise SettingsError("entry_script", text, hint)
    return replace(request, entry_script=script.path)


def for_a_form(workspace: Workspace, run: Run) -> Run:
    """A run whose settings a form is to begin with, its name among them as it is now. Of an imported one, without paths of another machine:
    its script is the one of this home with the same content, where there is one."""
    run = replace(run, request=replace(run.request, name=run.metadata.name or run.request.name))
    if not run.imported_from:
        return run
    script = _script_here(workspace, run)
    path = script.path if script else run.request.script_name
    return replace(run, request=replace(run.request, entry_script=path, source_directory=None))


def _script_here(workspace: Workspace, run: Run) -> EntryScript | None:
    """The script on offer here that has the content of the imported run's."""
    sha256 = workspace.runs.provenance(run.id).script[1]
    return next((script for script in workspace.scripts.all() if sha256 and script.sha256 == sha256), None)


def _other(kind: str, reference: str, run_id: str) -> SettingsError:
    text = f"the {kind} {reference} here is not the one of the imported run {run_id}: its SHA-256 is another"
    return SettingsError(kind, text, f"Start a new run with the {kind} of this home.")

"""The scoring script of a run with the Python files that it may import, as far as they are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from services import formats
from services.domain import Run
from services.errors import NotFound, SettingsError, os_errors_as
from services.intake.entry_scripts import sources_beside
from services.workspace import Workspace

_MOST_FILES, _MOST_BYTES = 500, 5_000_000


class Sources(NamedTuple):
    """The script's path below the folder of `files`, which are their bytes by path, with `/` between folders."""

    entry_script: str
    files: dict[str, bytes]


def sources_of(workspace: Workspace, run: Run) -> Sources:
    """The script as the run had it, else as it is now, and what lies beside it now. Raises NotFound where the script is gone, SettingsError
    for a source directory that is too large for one file."""
    request = run.request
    script, submitted = Path(request.entry_script), workspace.home / "runs" / run.id / "source"
    kept = workspace.runs.kept_script(run.id)
    root = Path(request.source_directory) if request.source_directory else submitted if submitted.is_dir() else script.parent
    inside = script.relative_to(root).as_posix() if script.is_relative_to(root) else script.name
    with os_errors_as(NotFound, f"The scoring script of {run.id} can't be read", "Restore it, or export the run as an archive."):
        if run.imported_from:
            paths = []
        elif request.source_directory or root == submitted:
            paths = [path for path in sorted(root.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(root))]
        else:
            paths = sources_beside(script)
        if len(paths) > _MOST_FILES or sum(path.stat().st_size for path in paths) > _MOST_BYTES:
            text = f"the folder of the script, {root}, has more than {_MOST_FILES} files or {formats.size(_MOST_BYTES)}"
            raise SettingsError("source_directory", text, "Export the run as its command line, which names the folder.")
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        if kept:
            files[inside] = kept.read_bytes()
        elif run.imported_from:  # what lies at its path on this machine is somebody else's
            raise NotFound(f"The archive that {run.id} was imported from has no scoring script.", "Export it where it was submitted.")
        elif inside not in files:
            files[inside] = script.read_bytes()
    return Sources(inside, files)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)

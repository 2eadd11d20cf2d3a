"""The scoring scripts on offer: the built-in ones, and those uploaded into a workspace's home, each in a folder named by its SHA-256."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from services import intake
from services.domain import EntryScript
from services.errors import IntakeError, StudioError, WorkspaceUnavailable

BUILT_IN = Path(__file__).parents[1] / "batch_scripts"


class EntryScripts:
    """The scripts of one home. `approved` says of a SHA-256 whether a run may execute what has it."""

    def __init__(self, folder: Path, approved: Callable[[str], bool]) -> None:
        self._folder = folder
        self._approved = approved

    def all(self) -> list[EntryScript]:
        built_in = sorted(BUILT_IN.glob("[!_]*.py"), key=lambda path: (path.name != "batch_scoring_script.py", path.name))
        uploaded = sorted(self._folder.glob("*/*.py"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [self._script(path, "built-in") for path in built_in] + [self._script(path, "uploaded") for path in uploaded]

    def _script(self, path: Path, origin: str) -> EntryScript:
        source = path.read_bytes()
        try:
            docstring = intake.check_entry_script(source, path.name)
        except StudioError as error:
            docstring = error.message
        sha256 = hashlib.sha256(source).hexdigest()
        return EntryScript(path.name, str(path), origin, sha256, origin == "built-in" or self._approved(sha256), docstring)

    def add(self, name: str, content: bytes) -> EntryScript:
        """Keep an uploaded script. Raises IntakeError for its name, EntryScriptError for what is in it."""
        safe = intake.safe_relative_path(name)
        if len(safe.parts) != 1 or safe.suffix != ".py":
            raise IntakeError(f"“{name}” is no Python script.", "Choose a file whose name ends in .py.")
        intake.check_entry_script(content, safe.name)
        folder = self._folder / hashlib.sha256(content).hexdigest()
        try:
            folder.mkdir(exist_ok=True)
            incoming = folder / f".{uuid.uuid4().hex}"
            incoming.write_bytes(content)
            os.replace(incoming, folder / safe.name)
        except OSError as error:
            raise WorkspaceUnavailable(f"The script could not be kept in {folder}: {error.strerror or error}.") from error
        return self._script(folder / safe.name, "uploaded")

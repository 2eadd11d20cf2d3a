"""What lies behind one row of a table of predictions: the file that went in, the error with its traceback, what its worker logged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from services.domain import Failure, Run
from services.errors import NotFound
from services.workspace import Workspace

_FAILURES = 1000
_READ = 8_000_000  # bytes of each log file, from its end
_LINES = 40
_WORKER = re.compile(r"node (\d+), (process\d+)(?: of (.+))?$")


@dataclass(frozen=True)
class LogLines:
    """Lines of one log file of the row's worker: those that name the file, or else the last ones."""

    name: str
    lines: tuple[str, ...]
    naming_it: bool


def input_file(workspace: Workspace, run: Run, row: Mapping[str, Any]) -> Path | None:
    """The file that the row is of; None where the row names none or it is gone."""
    named = PurePosixPath(row["File"] or "")
    if not named.name or named.is_absolute() or ".." in named.parts:
        return None
    for reference in run.request.datasets:
        try:
            path = Path(workspace.dataset(reference).root) / named
            if path.is_file():
                return path
        except (NotFound, OSError, ValueError):
            continue
    return None


def failure(workspace: Workspace, run: Run, row: Mapping[str, Any]) -> Failure | None:
    """The last attempt at the row's mini-batch that failed; None where it isn't among the run's latest failures."""
    found = workspace.failures(_scored_by(run, row), _FAILURES)
    return next((one for one in found if one.mini_batch == row["Mini-batch"] and one.error), None)


def log_lines(workspace: Workspace, run: Run, row: Mapping[str, Any]) -> list[LogLines]:
    """What the row's worker logged, a file each; empty files are left out."""
    worker = _WORKER.match(row["Worker"] or "")
    if worker is None:
        return []
    name = PurePosixPath(row["File"] or "").name.encode("utf-8", "surrogateescape")
    found = []
    for log, path in workspace.logs(_scored_by(run, row)).items():
        parts = PurePosixPath(log).parts
        if worker[1] not in parts or not any(part.split(".")[0] == worker[2] for part in parts):
            continue
        lines = _tail(path)
        naming = [line for line in lines if name and name in line]
        if lines:
            shown = (naming or lines)[-_LINES:]
            found.append(LogLines(log, tuple(line.decode("utf-8", "replace") for line in shown), bool(naming)))
    return found


def indented(content: str) -> str:
    """A prediction that is a JSON object or list, over several lines; any other as it is."""
    if content[:1] in "{[":
        try:
            return json.dumps(json.loads(content), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return content
    return content


def _scored_by(run: Run, row: Mapping[str, Any]) -> str:
    """The run that scored it: an earlier one, where only its failed items were scored again."""
    worker = _WORKER.match(row["Worker"] or "")
    return worker[3] if worker and worker[3] else run.id


def _tail(path: Path) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            return file.read(_READ).splitlines()
    except OSError:
        return []

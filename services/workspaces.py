"""The workspaces there are: how one is opened, and which one the dashboard works in. The only module that knows the implementations."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services import environment_variables, log
from services.connection import SDKS, Connection, forget, from_environment, is_remembered, remembered
from services.errors import SettingsError, StudioError
from services.storage.file_tree import path_given
from services.workspace import Workspace

if TYPE_CHECKING:
    from services.azure.workspace import AzureWorkspace

WORKSPACES = ("local", *SDKS.values())

_FIRST_PAINT_SECONDS = 1.5
"""What the first page is given before an Azure ML workspace signs in: importing the SDK takes a second of this process, in which a page is
drawn half as fast."""
_FINISH_DELETIONS_SECONDS = 5.0
logger = logging.getLogger(__name__)


def default_home() -> Path:
    """`BATCH_SCORING_HOME`, else the platform's folder for a user's data."""
    from platformdirs import user_data_path

    named = environment_variables.value("BATCH_SCORING_HOME")
    return path_given(named) if named else user_data_path("batch-scoring-studio", appauthor=False)


def open_workspace(name: str = "local", home: str | Path | None = None) -> Workspace:
    """The workspace called `name`. `home` is where everything on this machine is kept; default: `default_home()`. Which Azure ML one,
    and how to sign in, comes from the environment: see `services.connection.from_environment`. Raises SettingsError for an unknown name,
    WorkspaceUnavailable where it can't be reached or written."""
    base = path_given(home) if home else default_home()
    if name == "local":
        from services.local.workspace import LocalWorkspace

        return LocalWorkspace(base)
    for sdk, workspace in SDKS.items():
        if name == workspace:
            from services.azure.workspace import AzureWorkspace

            return AzureWorkspace(from_environment(sdk=sdk), base, blocking=True)
    raise SettingsError("workspace", f"there is no workspace called “{name}”", f"The workspaces are {', '.join(WORKSPACES)}.")


def where_run_is(run_id: str, home: Path) -> str:
    """Which workspace has the run, of those with a home below `home`, for a sentence; "" where none has."""
    if not re.fullmatch(r"[\w-]{1,100}", run_id, re.ASCII):  # it becomes a folder's name
        return ""
    if (home / "runs" / run_id).is_dir():
        return "this machine"
    for sdk, workspace in SDKS.items():
        for folder in home.glob(f"{workspace}/*/*/*"):
            if (folder / "runs" / run_id).is_dir():
                return f"{' / '.join(folder.parts[-3:])}, SDK {sdk}"
    return ""


# ---- the dashboard's -------------------------------------------------------------------------------------------------------------

_remote: dict[Path, AzureWorkspace] = {}
_lock = threading.Lock()


def chosen_workspace() -> Workspace:
    """The workspace that the dashboard works in: the Azure ML one that was chosen on its Connection page, else the local one. It is one
    object for all tabs, so that there is one sign-in. After a start it signs in by itself, in the background, if nobody has to be asked."""
    base = default_home()
    if is_remembered(base):
        from services.azure.workspace import AzureWorkspace

        with _lock:
            if base not in _remote and (connection := remembered(base)):
                _remote[base] = AzureWorkspace(connection, base, blocking=False)
                if not connection.sign_in.asks_a_person:
                    _remote[base].open(after=_FIRST_PAINT_SECONDS)
            if base in _remote:
                return _remote[base]
    return open_workspace("local", base)


def finish_deletions_later() -> None:
    """Beside the dashboard, after the first page: remove what a killed process left of things that were deleted."""

    def finish() -> None:
        with log.suppress(logger, "What is left of deleted things stays until the next deletion", StudioError):
            chosen_workspace().resources.clean_up()

    timer = threading.Timer(_FINISH_DELETIONS_SECONDS, finish)
    timer.daemon = True  # a process that ends in the middle leaves the rest for the next start
    timer.start()


def choose_workspace(connection: Connection | None) -> None:
    """From now on the dashboard works in this workspace, and signs in to it in the background; None: in the local one. What is kept on
    disk holds no secret."""
    base = default_home()
    with _lock:
        if connection is None:
            forget(base)
            _remote.pop(base, None)
            return
        from services.azure.workspace import AzureWorkspace

        workspace = AzureWorkspace(connection, base, blocking=False)
        connection.remember(base)
        _remote[base] = workspace
        workspace.open()

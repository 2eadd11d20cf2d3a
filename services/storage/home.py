"""The folder on this machine that a workspace keeps what it has here in."""

from __future__ import annotations

from pathlib import Path

from services.errors import WorkspaceUnavailable


def make_folders(home: Path, *names: str) -> None:
    """Make these folders below `home`, which is made too. Raises WorkspaceUnavailable."""
    try:
        for name in names:
            (home / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceUnavailable(
            f"The workspace's folder, {home}, can't be made or written: {error.strerror or error}.",
            "Choose another one by --home or BATCH_SCORING_HOME, or fix its permissions.",
        ) from error

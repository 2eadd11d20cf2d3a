"""The Azure ML workspace that the dashboard of this process works in: one for all its tabs, so that there is one sign-in and one poller."""

from __future__ import annotations

import threading
from pathlib import Path

from services.azure.workspace import AzureWorkspace
from services.connection import Connection, forget, remembered

_FIRST_PAINT = 1.5
"""Seconds that the first page is given: importing the SDK takes a second of this process, in which a page is drawn half as fast."""

_chosen: dict[Path, AzureWorkspace] = {}
_lock = threading.Lock()


def of(base: Path) -> AzureWorkspace | None:
    """The one chosen last for this home; None where there is none. After a start it signs in by itself, if nobody has to be asked."""
    with _lock:
        if base not in _chosen and (connection := remembered(base)):
            _chosen[base] = AzureWorkspace(connection, base, blocking=False)
            if not connection.sign_in.asks_a_person:
                _chosen[base].open(after=_FIRST_PAINT)
        return _chosen.get(base)


def choose(base: Path, connection: Connection | None) -> None:
    """Work in this one from now on, and sign in, in the background; None: in none. What is kept on disk holds no secret."""
    with _lock:
        if connection is None:
            forget(base)
            _chosen.pop(base, None)
            return
        workspace = AzureWorkspace(connection, base, blocking=False)
        connection.remember(base)
        _chosen[base] = workspace
        workspace.open()

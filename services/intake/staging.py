"""What is just coming in from outside: a private folder below the home, and how it is moved on from there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from services.errors import IntakeError, WorkspaceUnavailable, os_errors_as
from services.storage.usage import lock_of_staging

_LOCK_SECONDS = 5.0


@contextmanager
def staging_folder(home: Path) -> Iterator[Path]:
    """A folder of its own, removed at the end with what is still in it. A lock beside it, which the system drops with this process, tells
    it from what interrupted work left. Raises WorkspaceUnavailable for a home that can't be used."""
    made = home / "incoming" / uuid.uuid4().hex
    lock = FileLock(lock_of_staging(made), thread_local=False)
    with os_errors_as(WorkspaceUnavailable, f"Nothing can be written to {made.parent}"):
        lock.acquire(timeout=_LOCK_SECONDS)  # who asks whether it is in use holds it for a moment
        made.mkdir()
    hint = "Check the free disk space and who may write there; nothing was registered."
    try:
        with os_errors_as(WorkspaceUnavailable, f"The workspace's folder, {home}, could not be written or read", hint):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        lock.release()
        with suppress(OSError):
            os.unlink(lock.lock_file)


def move_or_copy(home: Path, source: Path, target: Path) -> None:
    """Move what lies in this home's own incoming folder, copy anything else."""
    with os_errors_as(IntakeError, f"“{source}” could not be copied in", "Check the file and the free disk space."):
        if source.is_relative_to(home / "incoming"):
            os.replace(source, target)
        elif source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)

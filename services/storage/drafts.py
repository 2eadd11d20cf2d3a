"""Drafts: what was typed into a form that was not submitted yet. Each is a file of the home that only its owner can read.

What a draft holds may be secret. So it is kept for a week, and an address names it by a number that can't be guessed.
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from services.errors import NotFound, WorkspaceUnavailable, os_errors_as
from services.file_names import short
from services.storage.atomic import write_atomically

KEPT_DAYS = 7
LARGEST = 4 << 20  # bytes
_NUMBER = re.compile(r"[0-9a-f]{32}")


def new_number() -> str:
    """The number of a new draft: 128 random bits."""
    return secrets.token_hex(16)


class Drafts:
    """The drafts of one workspace, in its `home`."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "drafts"

    def save(self, number: str, text: str) -> None:
        """Write the draft of this number again. Raises WorkspaceUnavailable."""
        with os_errors_as(WorkspaceUnavailable, "What is typed here can't be kept", "Free some disk space, or check who may write there."):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._path(number), text, private=True)
        self.remove_old()

    def read(self, number: str) -> str:
        """What was saved under this number, which may come from anywhere. Raises NotFound where it is no draft of this home."""
        gone = NotFound(f"The draft “{short(number)}” is not in this workspace.", f"It was submitted, or is older than {KEPT_DAYS} days.")
        if not _NUMBER.fullmatch(number):
            raise NotFound(f"“{short(number)}” is not the number of a draft.", "What was typed into this form can't be filled in.")
        self.remove_old()
        try:
            path = self._path(number)
            if path.stat().st_size > LARGEST:
                raise gone
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise gone from None

    def remove(self, number: str) -> None:
        """Remove a draft, where there is one."""
        with suppress(OSError):
            self._path(number).unlink()

    def remove_old(self) -> None:
        """Remove those that were not changed for so many days, and what a killed process left half-written."""
        oldest = time.time() - KEPT_DAYS * 86_400
        for path in self.folder.glob("*"):
            with suppress(OSError):  # another process may have removed it; what can't be removed now is tried again
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, number: str) -> Path:
        assert _NUMBER.fullmatch(number), number
        return self.folder / f"{number}.json"


def remove_old_drafts(home: Path) -> None:
    """Those of all workspaces that are kept in this home."""
    for folder in (home, *home.glob("azure/*/*/*")):
        Drafts(folder).remove_old()

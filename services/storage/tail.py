"""The end of a text file of any size: the last lines of a log."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def tail(path: Path, limit: int) -> tuple[str, int]:
    """The text at the end of a file, at most `limit` bytes of it, and the file's size in bytes. Undecodable bytes are escaped.

    Raises OSError.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - limit))
        return file.read(limit).decode("utf-8", "backslashreplace"), size


def last_line(path: Path) -> str:
    """The last line that says anything, at most 300 characters of it; empty where the file can't be read."""
    with suppress(OSError):
        lines = tail(path, 2000)[0].split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""

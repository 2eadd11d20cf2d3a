"""Atomic writes: a file is there as a whole or not at all, whoever is killed, whichever disk is full."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`, for the block to write a file at; it replaces `path` in one step once the block has ended.

    Where the block raises, the temporary file is removed and `path` stays as it was. Every call has a name of its own, so that several
    threads and processes may write one path: the last one's stays. Nothing is synced to the disk: safe against a killed process, not
    against power loss. Raises OSError.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def write_atomically(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a whole file, text as UTF-8, by `atomic_write`. `private`: no other user can read it, not for a moment. Raises OSError."""
    with atomic_write(path) as temporary:
        if private:
            temporary.touch(mode=0o600)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)

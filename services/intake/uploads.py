"""Uploads, written below a folder: all of them, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from services.errors import IntakeError, os_errors_as
from services.file_names import safe_relative_path, short

_CHUNK = 1 << 20


@contextmanager
def all_or_nothing(into: Path) -> Iterator[Callable[[str, PurePosixPath], BinaryIO]]:
    """Gives `create(name, relative)`, which makes a new file below `into` and its folders. All of it is removed if the block fails."""
    made: list[str] = []
    folders: set[str] = set()

    def need(folder: str) -> None:
        if folder not in folders:
            if not os.path.isdir(folder):
                need(os.path.dirname(folder))
                os.mkdir(folder)
                made.append(folder)
            folders.add(folder)

    def create(name: str, relative: PurePosixPath) -> BinaryIO:
        target = os.path.join(root, *relative.parts)
        try:
            need(os.path.dirname(target))
            created = open(target, "xb")  # noqa: SIM115
        except (FileExistsError, NotADirectoryError) as error:
            raise IntakeError(f"Two files are called “{short(name)}”, so nothing was taken.", "Rename one of them.") from error
        made.append(target)
        return created

    root = os.path.abspath(into)
    with os_errors_as(IntakeError, f"Writing to {into} failed", "Check that the disk has room and that the folder may be written."):
        try:
            need(root)
            yield create
        except BaseException:  # Ctrl-C too leaves nothing behind; it is raised again
            for path in reversed(made):
                with suppress(OSError):
                    os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
            raise


def store_uploads(files: Iterable[tuple[str, BinaryIO]], into: Path) -> int:
    """Write uploads, each a name as the browser gave it and an open file, below `into`; how many. All of them, or none. Raises IntakeError
    for a name that leads elsewhere, for two files of one name, and where writing fails."""
    count = 0
    with all_or_nothing(into) as create:
        for name, source in files:
            if source.seekable():
                source.seek(0)
            with create(name, safe_relative_path(name)) as target:
                shutil.copyfileobj(source, target, _CHUNK)
            count += 1
    return count

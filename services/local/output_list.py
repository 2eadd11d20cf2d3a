"""The list of a completed run's output files, by which a later check sees whether they changed."""

from __future__ import annotations

import stat
from contextlib import suppress

from services.domain import DatasetFile
from services.errors import IntakeError
from services.local.run_folder import LocalRunFolder
from services.storage import file_tree
from services.storage.manifest import changes_since_registration, manifest_line, read_manifest


def write(folder: LocalRunFolder) -> None:
    """List the output files of a run that completes. Raises OSError. What is not a regular file can't be copied: then there is no list, and
    the run is not reused."""
    try:
        with open(folder.output_list, "wb") as lines:
            for relative, entry in file_tree.walk(folder.output):
                info = entry.stat()
                if not stat.S_ISREG(info.st_mode):
                    raise IntakeError(f"{relative} is not a regular file")
                lines.write(manifest_line(DatasetFile(relative, info.st_size, info.st_mtime_ns)))
    except IntakeError:
        folder.output_list.unlink()


def is_as_written(folder: LocalRunFolder) -> bool:
    """Whether the output is there, and none of its files was changed or removed."""
    with suppress(OSError, ValueError):
        files = read_manifest(folder.output_list)
        return folder.has_journal and not any(changes_since_registration(str(folder.output), file) for file in files)
    return False

"""Where a run's rows come from, as far as Azure ML has it: the file of a row, and the log lines that name it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path, PurePosixPath

from services.azure.runs.run_folder import AzureRunFolder
from services.domain import RowKey, RowTrace
from services.errors import StudioError
from services.predictions.columns import path_of
from services.predictions.provenance import MAX_LOG_LINES, log_lines, mention_of
from services.storage.manifest import read_manifest


def trace(folder: AzureRunFolder, key: RowKey, fetch: Callable[[int, str], Path]) -> RowTrace:
    """Of one row. `fetch(number, path)` downloads a file of the run's dataset of that number; it may raise StudioError. The attempts at a
    row are not known, only the log lines that name its file."""
    if not key.file:
        return RowTrace(None, "", (), ())
    path = path_of(key.file)
    mention = mention_of(PurePosixPath(path).name)
    mentions = (line for log in folder.log_files().values() for line in log_lines(log) if mention.search(line))
    lines = tuple(islice(mentions, MAX_LOG_LINES))
    for number, manifest in enumerate(folder.plan().manifests):
        try:
            if any(file.path == path for file in read_manifest(Path(manifest))):
                return RowTrace(fetch(number, path), "", (), lines)
        except StudioError as error:
            return RowTrace(None, f"The file can't be fetched. {error.message} {error.hint}".rstrip(), (), lines)
        except OSError as error:
            return RowTrace(None, f"The list of the dataset's files can't be read: {error.strerror or error}.", (), lines)
    return RowTrace(None, "The file is in none of the run's datasets.", (), lines)

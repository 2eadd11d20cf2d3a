"""The table of predictions of a local run: made from its rows and journal, and made again while the run goes on."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from services import log
from services.domain import Run
from services.errors import NotFound, StudioError, WorkspaceUnavailable, os_errors_as
from services.local import output_reader
from services.local.run_folder import LocalRunFolder
from services.predictions.writer import make_table, table_name
from services.storage.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.predictions.matching import ScoredMiniBatch
    from services.predictions.reader import Predictions

logger = logging.getLogger(__name__)

_REBUILD_SECONDS = 3.0  # between two tables of partial results, and a second more for each megabyte that the last one has


def open_table(run: Run, folder: LocalRunFolder) -> Predictions:
    """The typed table of what is settled by now, of a run with rows. Raises WorkspaceUnavailable where its folder can't be written."""
    return _open(run, folder, "predictions", output_reader.settled)


def open_failures(run: Run, folder: LocalRunFolder) -> Predictions:
    """A table that has the items that failed by now: of a run that goes on, or has no rows, these alone. Raises WorkspaceUnavailable."""
    return open_table(run, folder) if run.status.ended and _keeps_rows(run) else _open(run, folder, "failures", output_reader.failed)


def _keeps_rows(run: Run) -> bool:
    return run.request.settings.output_action != "summary_only"


def _open(run: Run, folder: LocalRunFolder, kind: str, read: Callable[[LocalRunFolder], Iterator[ScoredMiniBatch]]) -> Predictions:
    from services.predictions.reader import open_predictions
    from services.predictions.table_file import remove_table

    last, marks = 0, ""
    for earlier, _ in output_reader.failed_only_chain(folder):  # what a new-only run adds to doesn't change any more
        marks = output_reader.marks_of(earlier) or marks
        if earlier.has_journal:
            with Journal(earlier.path) as journal:
                last += journal.last_seq()
    table = folder.path / table_name(f"{last}{marks and '-'}{marks}", kind)
    if (existing := _existing_table(folder, table, kind, run)) is not None:
        return existing
    with (
        os_errors_as(WorkspaceUnavailable, f"The run's folder, {folder.path}, can't be written"),
        FileLock(folder.path / f"{kind}.lock"),  # tabs that ask at once wait for one table
    ):
        if (existing := _existing_table(folder, table, kind, run)) is not None:
            return existing
        make_table(read(folder), table)
        predictions = open_predictions(table)
        for path in folder.path.glob(f"{kind}-*.parquet"):
            if path != table:
                remove_table(path)
        return predictions


def _existing_table(folder: LocalRunFolder, table: Path, kind: str, run: Run) -> Predictions | None:
    """This table where it is made already, or of a run that goes on one that is fresh enough."""
    from services.predictions.reader import open_predictions

    with contextlib.suppress(FileNotFoundError, NotFound):  # another tab may have made a newer one and removed this
        if table.is_file():
            return open_predictions(table)
        older = sorted(folder.path.glob(table_name("*", kind)), key=lambda path: path.stat().st_mtime)
        if older and not run.status.ended:
            last = older[-1].stat()
            if time.time() - last.st_mtime < _REBUILD_SECONDS + last.st_size / 1e6:
                return open_predictions(older[-1])
    return None


def prepare(run: Run, folder: LocalRunFolder) -> None:
    """Make the table of a run that has ended before somebody asks for it. Never raises StudioError."""
    with log.suppress(logger, "The table of predictions can't be made yet", StudioError):
        if _keeps_rows(run):
            open_table(run, folder)

"""The error of each item that has no row: what the script said about it, else a sentence that names it. See `causes`."""

from __future__ import annotations

from dataclasses import replace

from services.predictions.causes import causes_of_items, causes_of_rows, no_row, no_row_of_table
from services.predictions.columns import STATUSES, Status
from services.predictions.matching import FEWER, NO_ROW, ReadRows, ScoredMiniBatch

_FAILED = STATUSES.index(Status.FAILED)


def with_causes(rows: ReadRows, mini_batch: ScoredMiniBatch) -> ReadRows:
    """The rows of this mini-batch; what failed without an exception has its cause as its error."""
    if _FAILED not in rows.statuses or mini_batch.error:
        return rows
    unexplained = [
        row
        for row, (status, error) in enumerate(zip(rows.statuses, rows.errors, strict=True))
        if status == _FAILED and error in (NO_ROW, FEWER)
    ]
    explain = _causes_of_rows if mini_batch.items_are_rows else _causes_of_files
    errors = list(rows.errors)
    for row, cause in zip(unexplained, explain([rows.files[row] for row in unexplained], mini_batch), strict=True):
        errors[row] = cause
    return replace(rows, errors=errors)


def _causes_of_files(files: list[str], mini_batch: ScoredMiniBatch) -> list[str]:
    without_row = set(files)
    places = {item: place for place, item in enumerate(mini_batch.items) if item in without_row}
    said = causes_of_items(mini_batch.said, mini_batch.items, set(places.values()), mini_batch.said_of_succeeded) if mini_batch.said else {}
    counts = (len(mini_batch.rows), len(mini_batch.items), mini_batch.index)
    return [said.get(places[file]) or no_row(file, *counts) for file in files]


def _causes_of_rows(files: list[str], mini_batch: ScoredMiniBatch) -> list[str]:
    counts = (len(mini_batch.rows), len(mini_batch.items), mini_batch.index)
    said = causes_of_rows(mini_batch.said, len(files), len(mini_batch.items), mini_batch.said_of_succeeded)
    return said or [no_row_of_table(file, *counts) for file in files]

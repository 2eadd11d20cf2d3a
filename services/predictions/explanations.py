"""The error of each item that has no row: what the script said about it, else a sentence that names it. See `causes`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from services.formats import counted
from services.predictions.causes import (
    Names,
    causes_by_place,
    causes_of_items,
    causes_of_rows,
    last_said_of_items,
    no_row,
    no_row_known,
    no_row_of_table,
    template,
    with_what_is_common,
)
from services.predictions.columns import STATUSES, WAYS_OF_MATCHING, Status
from services.predictions.matching import FEWER, NO_ROW, ReadRows, ScoredMiniBatch, read_rows

_FAILED, _UNMATCHED = STATUSES.index(Status.FAILED), STATUSES.index(Status.UNMATCHED)
_MOST_COUNTED = 200_000
"""Items: about a second."""


def with_causes(rows: ReadRows, mini_batch: ScoredMiniBatch) -> ReadRows:
    """The rows of this mini-batch; what failed without an exception has its cause as its error."""
    if _FAILED not in rows.statuses or mini_batch.error:
        return rows
    unexplained = [
        row
        for row, (status, error) in enumerate(zip(rows.statuses, rows.errors, strict=True))
        if status == _FAILED and error in (NO_ROW, FEWER)
    ]
    files = [rows.files[row] for row in unexplained]
    if mini_batch.items_are_rows:
        causes = _causes_of_rows(files, mini_batch, unexplained if rows.row_numbers else None)
    else:
        causes = _causes_of_files(files, mini_batch, _UNMATCHED in rows.statuses)
    errors = list(rows.errors)
    for row, cause in zip(unexplained, causes, strict=True):
        errors[row] = cause
    return replace(rows, errors=errors)


def failed_rows(mini_batch: ScoredMiniBatch) -> ReadRows:
    """Just the items of this mini-batch that failed."""
    rows = with_causes(read_rows(mini_batch), mini_batch)
    failed = _failed(*zip(*(row for row, status in zip(_texts(rows), rows.statuses, strict=True) if status == _FAILED), strict=True))
    if not rows.row_numbers:
        return failed
    numbers = [(number, 1) for number, status in zip(rows.each_row_number(), rows.statuses, strict=True) if status == _FAILED]
    return replace(failed, row_numbers=rows.row_numbers if len(numbers) == len(rows.files) else numbers)


def failed_without_rows(mini_batch: ScoredMiniBatch, missing: int) -> ReadRows:
    """The same of a run that keeps no rows: `missing` items failed. By name are those of which something was said, and all where none
    succeeded; of the others, "" stands for a file that isn't known."""
    items, said = mini_batch.items, mini_batch.said
    if mini_batch.error or missing >= len(items):
        return failed_rows(mini_batch)
    if mini_batch.items_are_rows:
        errors = causes_of_rows(said, missing, len(items), mini_batch.said_of_succeeded)
        unknown = no_row_known(len(items), missing, mini_batch.index, "row")
        return _failed([items[0] if len(set(items)) == 1 else ""] * missing, errors or [unknown] * missing)
    named = [line for line in said if Names(items).named_in(line.text)]
    causes = causes_of_items(named, items, range(len(items)), mini_batch.said_of_succeeded)
    if len(causes) > missing:  # who of them has a row isn't known
        causes = {}
    places, rest = sorted(causes), missing - len(causes)
    files = [items[place] for place in places] + [""] * rest
    return _failed(files, [causes[place] for place in places] + [no_row_known(len(items), missing, mini_batch.index)] * rest)


def frequent_cause(mini_batches: Iterable[ScoredMiniBatch]) -> str | None:
    """A sentence on the most frequent cause of these failed items, whose `read` is set; None where nothing failed. Of very many items the
    first ones tell."""
    counts, errors, first = Counter[str](), dict[str, set[str]](), dict[str, str]()
    for mini_batch in mini_batches:
        assert mini_batch.read
        templates = templates_of(mini_batch.read)
        for file, error, number in zip(mini_batch.read.files, mini_batch.read.errors, mini_batch.read.each_row_number(), strict=True):
            group = templates[error or ""]
            counts[group] += 1
            errors.setdefault(group, set()).add(error or "")
            if group not in first:
                first[group] = f"{file}{f', row {number},' * bool(number)} in mini-batch {mini_batch.index}".strip()
        if (total := counts.total()) > _MOST_COUNTED:
            break
    if not counts:
        return None
    ((group, count),) = counts.most_common(1)
    from_the_end = {error[::-1] for error in errors[group]}
    cause = with_what_is_common(group, (min(errors[group]), max(errors[group])), (min(from_the_end), max(from_the_end)))
    of_many = "most of the failed items" if total > _MOST_COUNTED else f"{count:,} of {counted(total, 'failed item')}"
    return f"{cause.rstrip('.')} ({of_many}, the first: {first[group]})."


def templates_of(rows: ReadRows) -> dict[str, str]:
    """By error, without the names of the items that have it."""
    files: dict[str, list[str]] = {}
    for file, error in zip(rows.files, rows.errors, strict=True):
        if error:
            files.setdefault(error, []).append(file)
    return {error: template(error, names) for error, names in files.items()}


def _texts(rows: ReadRows) -> Iterator[tuple[str, str | None]]:
    return zip(rows.files, rows.errors, strict=True)


def _failed(files: Sequence[str] = (), errors: Sequence[str | None] = ()) -> ReadRows:
    return ReadRows(files, [None] * len(files), bytes([_FAILED]) * len(files), errors, bytes([len(WAYS_OF_MATCHING)]) * len(files))


def _causes_of_files(files: list[str], mini_batch: ScoredMiniBatch, unmatched: bool) -> list[str]:
    without_row = set(files)
    places = {item: place for place, item in enumerate(mini_batch.items) if item in without_row}
    lines, items, nothing_succeeded = mini_batch.said, mini_batch.items, mini_batch.nothing_succeeded
    if unmatched:  # which item has no row isn't known, and so not whom a line is about that names none
        names = Names(items)
        lines = [line for line in lines if names.named_in(line.text)]
    told, excluded = set(places.values()), mini_batch.said_of_succeeded
    said = causes_of_items(lines, items, told, excluded, nothing_succeeded=nothing_succeeded) if lines else {}
    unexplained = not all(places[file] in said for file in files)
    last = last_said_of_items(lines, items) if nothing_succeeded and lines and unexplained else {}
    counts = (len(mini_batch.rows), len(items), mini_batch.index)
    return [said.get(places[file]) or no_row(file, *counts, last.get(places[file], ""), unmatched=unmatched) for file in files]


def _causes_of_rows(files: list[str], mini_batch: ScoredMiniBatch, places: list[int] | None) -> list[str]:
    """`places` are those of the rows in their mini-batch, where they are known."""
    counts = (len(mini_batch.rows), len(mini_batch.items), mini_batch.index)
    lines, succeeded = mini_batch.said, mini_batch.said_of_succeeded
    said = causes_of_rows(lines, len(files), len(mini_batch.items), succeeded, nothing_succeeded=mini_batch.nothing_succeeded)
    if places is None:
        return said or [no_row_of_table(file, *counts) for file in files]
    of_places = causes_by_place(lines, len(mini_batch.items))
    others = said or [no_row_of_table(file, *counts, known=True) for file in files]
    return [of_places.get(place, other) for place, other in zip(places, others, strict=True)]

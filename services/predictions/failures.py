"""The failed items of a table, each with its cause, and the causes with their counts. The same for every workspace."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from services.predictions.causes import with_what_is_common
from services.predictions.columns import ROW_NUMBER, Status, quoted
from services.predictions.filters import EVERY_FAILURE, Condition, Filter, Operator
from services.predictions.reader import Predictions
from services.run_details import FailedItem, FailureCause

_ITEMS_AT_A_TIME = 10_000
_FIRST = 1_000
"""Items that a query finds at once; for those after them the filter's row numbers are kept, half a second's work in a million."""


def failed_items(table: Predictions, cause: str | None = None, first: int = 0, count: int = 100) -> list[FailedItem]:
    """See `services.workspace.Runs.failed_items`."""
    own, filter_ = table.own, EVERY_FAILURE
    if cause is not None:
        filter_ = Filter(statuses=(Status.FAILED,), conditions=(Condition(own["Cause"], Operator.ONE_OF, (_template(table, cause),)),))
    columns = ["File", "Error", "Mini-batch", "Attempts", "Worker", *([ROW_NUMBER] if ROW_NUMBER in own else [])]
    names = [own[name] for name in columns]
    if first + count <= _FIRST:
        rows = table.rows(", ".join(map(quoted, names)), filter_, "ORDER BY file_row_number LIMIT $n OFFSET $first", n=count, first=first)
    else:
        rows = list(zip(*table.page(filter_, first, count, columns=names).to_pydict().values(), strict=True))
    return [FailedItem(*row) for row in rows]


def every_item(page: Callable[[int, int], Sequence[FailedItem]]) -> Iterator[FailedItem]:
    """All failed items of a run, of which `page(first, count)` gives some."""
    for first in itertools.count(0, _ITEMS_AT_A_TIME):
        items = page(first, _ITEMS_AT_A_TIME)
        yield from items
        if len(items) < _ITEMS_AT_A_TIME:
            return


def failure_causes(table: Predictions, limit: int = 100) -> list[FailureCause]:
    """See `services.workspace.Runs.failure_causes`."""
    failed = table.row_counts.get(Status.FAILED, 0)
    cause, error = quoted(table.own["Cause"]), quoted(table.own["Error"])
    ends = f"[min({error}), max({error})], [min(reverse({error})), max(reverse({error}))]"
    item = "File"
    if ROW_NUMBER in table.own:
        item = f"CASE WHEN File <> '' THEN File || coalesce(', row ' || {quoted(table.own[ROW_NUMBER])}, '') ELSE '' END"
    columns = f"{cause}, count(*), {ends}, arg_min({item}, file_row_number)"
    groups = table.rows(columns, EVERY_FAILURE, "GROUP BY 1 ORDER BY 2 DESC, min(file_row_number) LIMIT $limit", limit=limit)
    return [
        FailureCause(with_what_is_common(template, errors, from_the_end), count, count / failed, example, template)
        for template, count, errors, from_the_end, example in groups
    ]


def _template(table: Predictions, cause: str) -> str:
    """The template of the group that is called so."""
    return next((group.template for group in failure_causes(table) if group.cause == cause), cause)

"""The rows of calls outside of a run, as the run's table of predictions has them: recorded as the runner records them, and read back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from services.domain import MiniBatch, RunStatus
from services.local import output_reader
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.local.run_progress import RunProgress
from services.local.scratch_worker import Scored
from services.local.worker_process import WorkerPlace
from services.predictions.columns import ROW_NUMBER
from services.run_details import FailureCause, TrialRow

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_WHOLE_MINI_BATCH = str(10**17)
"""A mini-batch size that cuts nothing: each call has a manifest of its own."""


@dataclass(frozen=True)
class Part:
    """A call: a dataset whose manifest, of so many bytes, is just its items, and the outcome."""

    dataset: PlannedDataset
    length: int
    items: int
    call: Scored


@dataclass(frozen=True)
class Table:
    """What is read back of the recorded rows. `predictions` are the columns of what run() returned."""

    columns: tuple[str, ...] = ()
    rows: tuple[TrialRow, ...] = ()
    predictions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    causes: tuple[FailureCause, ...] = ()


def table_of(
    scratch: LocalRunFolder,
    plan: RunPlan,
    place: WorkerPlace,
    parts: Sequence[Part],
    values_of: Callable[[Mapping[str, Any], Mapping[str, str]], Mapping[str, Any]],
    most: int = 10_000,
) -> Table:
    """The first `most` rows of these calls. `values_of(row, own)` are values of a row that are others here: see Predictions.own."""
    from services.predictions import failures
    from services.predictions.columns import printed
    from services.predictions.filters import EVERY_ROW
    from services.predictions.reader import Predictions
    from services.predictions.writer import make_table

    settings = plan.request.settings
    settings = replace(settings, run_max_try=1, mini_batch_size=None if settings.partition_keys else _WHOLE_MINI_BATCH)
    datasets = tuple(part.dataset for part in parts)
    plan = replace(plan, request=replace(plan.request, settings=settings), datasets=datasets)
    scratch.create(plan)
    progress = RunProgress(scratch, plan, len(parts))
    for number, part in enumerate(parts):
        batch = MiniBatch(number, number, 0, part.length, part.items)
        if part.call.message is not None:
            progress.scored(place, batch, part.call.message)
        else:
            assert part.call.failure is not None
            progress.attempt_failed(place, batch, part.call.status, part.call.failure)
    progress.write_down()
    progress.close(RunStatus.COMPLETED)
    progress.journal.close()
    keeps_rows = settings.output_action == "append_row"
    path = scratch.path / "table.parquet"
    make_table(output_reader.settled(scratch) if keeps_rows else output_reader.failed(scratch), path)
    predictions = Predictions(path)
    own = predictions.own
    rows = []
    for row in predictions.page(EVERY_ROW, 0, most).to_pylist():
        values = {name: _plain(value, printed) for name, value in row.items()} | dict(values_of(row, own))
        number_of_row = values.get(own[ROW_NUMBER]) if ROW_NUMBER in own else None
        rows.append(TrialRow(row[own["File"]] or "", number_of_row, str(row[own["Status"]]), values, row[own["Error"]] or ""))
    causes = tuple(failures.failure_causes(predictions))
    return Table(tuple(predictions.columns), tuple(rows), _returned_columns(predictions), progress.warnings, causes)


def _returned_columns(predictions: Predictions) -> tuple[str, ...]:
    whole = predictions.whole_column  # of each row all that was printed
    parts = [name for name in ("Prediction", *predictions.further_columns) if name != whole]
    return tuple(parts if parts and predictions.further_columns else [whole])


def _plain(value: Any, printed: Any) -> Any:
    """A cell as JSON holds it: a number that is not finite, a decimal and a time as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else printed(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

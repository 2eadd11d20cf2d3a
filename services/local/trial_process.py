"""`python -m services.local.trial_process HOME FOLDER`: scores a few items of a run in one worker of the run's environment, in a folder
that is removed afterwards. Started by trial.py: see scratch_process.py.

Rows are recorded and read back by what a run records and reads them with, so columns, matching and causes are a run's. More mini-batches,
whose rows are dropped, measure what a call of run() costs.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from services import formats, gpus, log
from services.domain import MiniBatch
from services.formats import counted
from services.local import scratch_process
from services.local.batching import plan_mini_batches
from services.local.process_memory import most_memory_of_ended
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.local.scratch_table import Part, Table, table_of
from services.local.scratch_worker import NotStarted, Scored, ScratchWorker
from services.local.trial_items import MeasuringItems, TrialItem, find_items, grouped, planned
from services.local.worker_process import WorkerPlace, memory_limit
from services.predictions.columns import ROW_NUMBER
from services.run_details import Trial, TrialRow
from services.scoring import run_cost
from services.scoring.run_cost import Call, Machine, Measured, Whole
from services.storage.atomic import write_atomically
from services.storage.file_tree import tail
from services.storage.journal import AttemptStatus
from services.storage.serialization import to_json

_MOST_CALLS = 60
_LEAST_CALLS = 8
_MOST_FAILED_CALLS = 3
_GROWTH = 4
_SHARE_OF_THE_BUDGET = 0.6
"""That one call may take, as far as is known before."""
_SHARE_WHEN_ENOUGH = 0.25
"""Of the budget, after which no more is measured once the sizes that count were."""
_MOST_ITEMS_TO_MEASURE = 500_000
_LEAST_CPU_SECONDS = 0.2
_SHOWN = 5
_OUTPUT_BYTES, _OUTPUT_LINES = 8_000, 30
_A_NUMBER = re.compile(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$")
_NOT_FINITE = re.compile(r"^(?i:nan|-?inf(inity)?)$")


class TrialRun:
    """One trial, from its request to its answer. Use it once."""

    def __init__(self, home: Path, folder: Path, request: dict[str, Any]) -> None:
        self._home = home
        self._scratch = LocalRunFolder(folder, "trial")
        self._plan = RunPlan.from_json(json.dumps(request["plan"]))
        self._settings = self._plan.request.settings
        self._numbers: list[int] = request["numbers"]
        self._budget: float = request["seconds"]
        self._tabular = bool(self._plan.datasets[0].format)
        self._item = "row" if self._tabular else "file"
        place = WorkerPlace(0, 0, self._scratch.logs, self._scratch.work)
        self._worker = ScratchWorker(self._plan, self._scratch, place, gpus.of_worker(0, gpus.visible()), self._config)
        self._datasets: list[PlannedDataset] = []
        self._calls = 0
        self._began = time.monotonic()
        self._first_call_seconds: float | None = None
        self._measured: list[Call] = []
        self._measured_items = 0
        self._cpu_share: float | None = None
        self._memory_per_item: float | None = None
        self._timed_out = 0
        self._warnings: dict[str, None] = {}
        log.hide(*(self._settings.environment_variables or {}).values())

    # ---- from start to end ----------------------------------------------------------------------------------------------------

    def execute(self) -> Trial:
        """Raises Stopped, StudioError, OSError."""
        if changed := self._plan.changes_since_approval(self._home):
            return Trial(item=self._item, error=changed)
        folder = self._scratch.path.parent
        self._scratch.create(self._plan)
        self._scratch.work.mkdir(exist_ok=True)
        write_atomically(self._scratch.facts_file, json.dumps(self._plan.facts("trial")))
        items = find_items(self._plan.datasets, self._numbers, self._settings.partition_keys, folder)
        groups = grouped(items, self._settings, tabular=self._tabular)
        together = [self._planned(group, folder / f"together-{number}.jsonl") for number, group in enumerate(groups)]
        alone = [self._planned([item], folder / f"alone-{number}.jsonl") for number, item in enumerate(items)]
        # One dataset to measure with: the one with most items.
        largest = max(self._plan.datasets, key=lambda dataset: dataset.item_count)
        measuring = MeasuringItems(largest, folder, self._settings)
        self._datasets = [*together, *alone, measuring.planned, measuring.parquet]
        scored: list[tuple[PlannedDataset, list[TrialItem], Scored]] = []
        error = traceback = ""
        try:
            self._score(groups, alone, items, scored)
            if self._budget > 0 and any(call.returned for _, _, call in scored) and not self._timed_out:
                self._measure(measuring, together)
        except NotStarted as reason:
            error, traceback = str(reason), reason.traceback
        finally:
            self._worker.end()
        return self._answer(scored, error, traceback)

    def _planned(self, items: Sequence[TrialItem], manifest: Path) -> PlannedDataset:
        return planned(self._plan.datasets[items[0].dataset], items, manifest)

    def _score(
        self,
        groups: Sequence[Sequence[TrialItem]],
        alone: Sequence[PlannedDataset],
        items: Sequence[TrialItem],
        scored: list[tuple[PlannedDataset, list[TrialItem], Scored]],
    ) -> None:
        """The items, for their rows: the first alone, then the others together; one by one where a mini-batch of them fails, since the bad
        one is looked for. What a timeout ended is not tried again, and nothing after it."""
        for number, group in enumerate(groups):
            call = self._call_whole(number, len(group))
            if number == 0:
                self._first_call_seconds = call.seconds
            if call.failure is None or len(group) == 1 or call.status is AttemptStatus.RUN_TIMEOUT:
                scored.append((self._datasets[number], list(group), call))
            else:
                begin = items.index(group[0])
                singles = []
                for place, item in enumerate(group, begin):
                    singles.append(self._call_whole(len(groups) + place, 1))
                    scored.append((alone[place], [item], singles[-1]))
                    if self._timed_out:
                        break
                if any(single.failure is None for single in singles):
                    bad = sum(single.failure is not None for single in singles)
                    self._warn(
                        f"Together, these {counted(len(group), self._item)} fail: run() raises for {bad:,} of them, and a run then fails"
                        " their whole mini-batch."
                        if bad
                        else f"Together, these {counted(len(group), self._item)} fail, and each by itself doesn't: {call.failure['error']}"
                    )
            if self._timed_out:
                left = sum(len(other) for other in groups) - sum(len(tried) for _, tried, _ in scored)
                if left:
                    self._warn(f"{counted(left, self._item).capitalize()} of the trial not scored, since the timeout ended the worker.")
                return
            if call.failure is None and number:
                self._measured.append(Call(len(group), call.seconds))

    # ---- measuring ------------------------------------------------------------------------------------------------------------

    def _measure(self, measuring: MeasuringItems, together: Sequence[PlannedDataset]) -> None:
        """What a call costs, by the items in it: its time, its share of a processor, its memory."""
        before = self._worker.usage_now()
        calls = [self._call_whole(0, 1) for _ in range(2)]  # of the very first item again, now that the script is warm
        self._measured += [Call(1, call.seconds) for call in calls if call.failure is None]
        peak_of_few, more = self._worker.peak, []
        if calls[-1].failure is None:
            more = self._measure_more(measuring, max(_GROWTH, *(dataset.item_count for dataset in together)))
        self._measured_items = sum(call.items for call in (*calls, *more))
        after, busy = self._worker.usage_now(), sum(call.seconds for call in (*calls, *more))
        if before and after and busy > _LEAST_CPU_SECONDS:
            self._cpu_share = max(0.0, after.cpu_seconds - before.cpu_seconds) / busy
        if after and (most := max((call.items for call in more), default=0)) > 1:
            self._memory_per_item = max(0.0, (self._worker.peak - peak_of_few) / most)

    def _measure_more(self, measuring: MeasuringItems, size: int) -> list[Scored]:
        """Calls of more and more items, until the time of a call is split into its fixed part and that of an item, a mini-batch of the
        run's own size was tried, or the time is over."""
        whole, largest, calls = self._whole(), 1, list[Scored]()
        while self._calls < _MOST_CALLS and sum(call.failure is not None for call in calls) < _MOST_FAILED_CALLS:
            size = self._affordable(size, largest)
            offset, length, items, in_parquet = measuring.mini_batch(size) if size else (0, 0, 0, False)
            cost = run_cost.fit_cost(self._measured)
            if not items or (items > 2 * size and cost and cost.seconds(items) > self._seconds_for_a_call()):
                break  # there is no time, there are no more items, or they can't be cut to that size
            call = self._call(len(self._datasets) - (1 if in_parquet else 2), offset, length, items)
            self._note_measured(call, calls)
            calls.append(call)
            if self._timed_out:
                self._timed_out = 0  # it was larger than the run's
                break
            largest = max(largest, items)
            if not self._is_enough(largest, whole):
                size = min(largest * _GROWTH, _MOST_ITEMS_TO_MEASURE, max(whole.items, 1))
                continue
            much_time_is_over = self._seconds_left() < (1 - _SHARE_WHEN_ENOUGH) * self._budget
            if len(self._measured) >= (_LEAST_CALLS if much_time_is_over else 2 * _LEAST_CALLS):
                break
            size = largest if len(self._measured) % 2 else max(1, largest // _GROWTH)  # again, to see how calls differ
        return calls

    def _seconds_left(self) -> float:
        return self._began + self._budget - time.monotonic()

    def _seconds_for_a_call(self) -> float:
        return min(self._seconds_left() * _SHARE_OF_THE_BUDGET, self._settings.run_invocation_timeout / 2)

    def _affordable(self, size: int, largest: int) -> int:
        """How many items the next call is to have: `size`, or fewer where these would take too long, by what is known; 0 for no call.
        `largest` is what was tried."""
        while self._seconds_left() > 0:
            cost, limit = run_cost.fit_cost(self._measured), self._seconds_for_a_call()
            expected = cost.seconds_between(size)[1] if cost and cost.per_call is not None else size * self._measured[-1].seconds
            if expected <= limit:
                return size
            if len(self._measured) >= _LEAST_CALLS or size <= 2:
                return 0
            size = max(2, size // 2)
            if size <= largest and len({call.items for call in self._measured}) > 1:
                size = 1  # more of what is cheap, to see how calls differ
                if sum(call.items == 1 for call in self._measured) >= _LEAST_CALLS:
                    return 0
            if expected <= 2 * limit:
                return size
        return 0

    def _note_measured(self, call: Scored, before: Sequence[Scored]) -> None:
        """What a call cost, or why it failed, where none before it did for that reason."""
        if call.failure is None:
            self._measured.append(Call(call.items, call.seconds))
            if call.returned < call.items:
                self._warn(f"Of {call.items:,} {self._item}s scored to measure, run() returned rows for {call.returned:,} only.")
        elif all(other.failure is None or other.failure["error"] != call.failure["error"] for other in before):
            self._warn(f"Scored to measure, a mini-batch of {counted(call.items, self._item)} failed: {call.failure['error']}")

    def _is_enough(self, largest: int, whole: Whole) -> bool:
        """Whether the largest mini-batch that was tried tells enough: as large as the run's, and with little that is fixed."""
        cost = run_cost.fit_cost(self._measured)
        if largest >= min(whole.items, whole.most_items, _MOST_ITEMS_TO_MEASURE):
            return True
        return bool(cost and largest >= whole.mini_batch_items and cost.fixed_share(largest) <= run_cost.MOST_OVERHEAD)

    def _whole(self) -> Whole:
        plan = plan_mini_batches(self._plan.datasets, self._settings)
        for note in plan.notes:
            self._warn(note)
        items = sum(dataset.item_count for dataset in self._plan.datasets)
        bytes_per_item, most = None, math.inf
        if self._tabular and not self._settings.partition_keys:
            size, most = _bytes_and_most_rows(self._plan.datasets)
            bytes_per_item = size / max(1, items)
        return Whole(self._item, items, plan.mini_batch_count or 1, self._settings, bytes_per_item, not plan.notes, most)

    # ---- one call -------------------------------------------------------------------------------------------------------------

    def _call_whole(self, dataset: int, items: int) -> Scored:
        """A call with all of a dataset that is a trial's own."""
        return self._call(dataset, 0, os.path.getsize(self._datasets[dataset].manifest), items)

    def _call(self, dataset: int, offset: int, length: int, items: int) -> Scored:
        batch = MiniBatch(self._calls, dataset, offset, length, items)
        self._calls += 1
        call = self._worker.call(batch)
        if call.status is AttemptStatus.RUN_TIMEOUT:
            self._timed_out = items
        return call

    def _config(self) -> dict[str, Any]:
        config = replace(self._plan, datasets=tuple(self._datasets)).for_worker(self._scratch.output)
        return config | {"argv": self._plan.for_worker(self._scratch.output)["argv"]}

    # ---- the answer -----------------------------------------------------------------------------------------------------------

    def _answer(self, scored: Sequence[tuple[PlannedDataset, list[TrialItem], Scored]], error: str, traceback: str) -> Trial:
        table = self._table(scored) if scored else Table()
        if self._settings.output_action == "summary_only" and (written := sorted(self._scratch.output_files())):
            names = formats.listed(written, _SHOWN)
            self._warn(f"The script wrote {counted(len(written), 'file')} into the output folder, which a trial removes: {names}.")
        whole = self._whole()
        machine = Machine(os.cpu_count() or 1, _memory_of_workers(self._settings.worker_count))
        slowest = max((call.seconds for call in self._measured), default=None)
        peak = self._worker.peak or (most_memory_of_ended() if self._worker.starts else None)
        cost = run_cost.fit_cost(self._measured)
        if cost is None and self._first_call_seconds is not None and any(call.failure is None for _, _, call in scored):
            cost = run_cost.fit_cost([Call(1, self._first_call_seconds)])
        start, init = self._worker.start_seconds or 0.0, self._worker.init_seconds or 0.0
        measured = Measured(
            start, init, self._measured, self._cpu_share, peak, self._memory_per_item, self._timed_out, _is_busy(machine.cores)
        )
        succeeded = sum(min(call.returned, call.items) for _, _, call in scored)
        return Trial(
            columns=table.columns,
            rows=table.rows,
            predictions=table.predictions,
            item=self._item,
            succeeded=succeeded,
            failed=sum(call.items for _, _, call in scored) - succeeded,
            measured_items=self._measured_items,
            seconds=time.monotonic() - self._began,
            start_seconds=self._worker.start_seconds,
            init_seconds=self._worker.init_seconds,
            first_call_seconds=self._first_call_seconds,
            seconds_per_call=cost.per_call if cost else None,
            seconds_per_item=cost.per_item if cost else None,
            slowest_call_seconds=slowest,
            memory=peak,
            memory_at_start=self._worker.at_start,
            memory_per_item=self._memory_per_item,
            warnings=(*table.warnings, *self._warnings),
            causes=table.causes,
            not_numbers=tuple(_not_numbers(table.predictions, table.rows)),
            estimate=run_cost.estimate(cost, measured, whole, machine) if cost else None,
            suggestions=tuple(run_cost.suggestions(cost, measured, whole, machine)) if cost or self._timed_out or error else (),
            error=error,
            traceback=traceback,
            output=self._output(),
        )

    def _table(self, scored: Sequence[tuple[PlannedDataset, list[TrialItem], Scored]]) -> Table:
        """The rows, each with its number in its file: the table numbers those that were tried."""

        def values_of(row: Mapping[str, Any], own: Mapping[str, str]) -> Mapping[str, Any]:
            return {own[ROW_NUMBER]: self._number_of_row(row, own, scored)} if ROW_NUMBER in own else {}

        parts = [Part(dataset, sum(len(item.line) for item in items), len(items), call) for dataset, items, call in scored]
        return table_of(self._scratch, self._plan, self._worker.place, parts, values_of)

    def _number_of_row(
        self, row: Mapping[str, Any], own: Mapping[str, str], scored: Sequence[tuple[PlannedDataset, list[TrialItem], Scored]]
    ) -> int | None:
        """The row's number in its file. The table numbers those that were tried, of one file in each call."""
        number, call = row.get(own.get(ROW_NUMBER, "")), row[own["Mini-batch"]]
        if not number or not 0 <= (-1 if call is None else call) < len(scored):
            return None
        items = scored[call][1]
        return items[number - 1].row if number <= len(items) else None

    def _output(self) -> str:
        """The end of what the script printed."""
        parts = []
        for log_file in (self._worker.place.log("stdout"), self._worker.place.log("stderr")):
            if log_file.is_file():
                parts += tail(log_file, _OUTPUT_BYTES)[0].strip().splitlines()[-_OUTPUT_LINES:]
        return "\n".join(parts)

    def _warn(self, sentence: str) -> None:
        self._warnings[sentence] = None


def _not_numbers(columns: Sequence[str], rows: Sequence[TrialRow]) -> Iterator[str]:
    """Sentences on the values that are no numbers, of columns whose other values are."""
    for column in columns:
        values = [(row, str(row.values[column])) for row in rows if row.status != "failed" and row.values.get(column) is not None]
        empty = [(row, "empty") for row in rows if row.status != "failed" and row.values.get(column) is None]
        numbers = [value for _, value in values if _A_NUMBER.match(value)]
        others = [(row, value) for row, value in values if not _A_NUMBER.match(value)]
        if not (others or empty) or not (len(numbers) >= len(others) or all(_NOT_FINITE.match(value) for _, value in others)):
            continue
        if not numbers and not others:
            continue
        found: dict[str, list[str]] = {}
        for row, value in others + (empty if numbers else []):
            found.setdefault(value, []).append(row.item + (f", row {row.row:,}" if row.row else ""))
        for value, items in found.items():
            shown = value if len(value) <= 60 else f"{value[:60]}…"
            yield f"{column} is {shown} for {formats.listed(items, _SHOWN)}."


def _bytes_and_most_rows(datasets: Sequence[PlannedDataset]) -> tuple[int, int]:
    """Of tables: bytes of all slices, and the rows of the file that has most."""
    size, rows = 0, dict[tuple[int, str], int]()
    for number, dataset in enumerate(datasets):
        with open(dataset.manifest, "rb") as lines:
            for line in lines:
                path, slice_bytes, _, _, _, count = json.loads(line)
                size += slice_bytes
                rows[number, path] = rows.get((number, path), 0) + count
    return size, max(rows.values(), default=1)


def _is_busy(cores: int) -> bool:
    """Whether more wants to run than there are cores, the trial's own process left out."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > cores + 1


def _memory_of_workers(workers: int) -> int | None:
    """What all workers may have together."""
    limit = memory_limit(workers)
    return None if limit is None else limit * workers


def _work(home: Path, folder: Path, request: dict[str, Any]) -> Any:
    return json.loads(to_json(TrialRun(home, folder, request).execute()))


if __name__ == "__main__":
    sys.exit(scratch_process.main(_work))

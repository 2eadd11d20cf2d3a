"""The progress of a run: its rows, the journal that vouches for them, the totals, and the thresholds that end it.

Exactly once: the rows of a mini-batch are appended only when it succeeded, then its attempt is committed with the end of its rows. A
runner that follows a killed one truncates the output to the last end in the journal.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from services import log
from services.domain import MiniBatch, RunStatus, readable
from services.formats import counted
from services.local import reports
from services.local.run_folder import LocalRunFolder, RunPlan
from services.local.worker_monitor import WorkerMonitor
from services.local.worker_process import Message, WorkerPlace
from services.storage.journal import NO_MINI_BATCH, Attempt, AttemptStatus, Journal, Printed, Said
from services.storage.run_process import Outcome

logger = logging.getLogger(__name__)

_FOR_FAILED_ITEMS = ("ErrorThresholdExceeded", "AllowedFailedCountExceeded", "AllowedFailedPercentExceeded", "NothingSucceeded")
_MOST_BYTES_OF_SAID = 200_000_000
"""Of what was said of items without a row, in the journal."""
_SHOWN_WARNINGS = 20
_MORE_WARNINGS = re.compile(r"… and ([\d,]+) more")
_MOST_WARNINGS = 100_000


@dataclass
class _ScriptWarning:
    """What a script warned of: its text, without numbers where these differ, and in how many mini-batches."""

    text: str
    mini_batches: int = 1


class RunProgress:
    """Starts from what the journal of an earlier runner has, if there was one. Only one at a time may be open on a run's folder."""

    def __init__(self, folder: LocalRunFolder, plan: RunPlan, mini_batches_total: int) -> None:
        self._folder = folder
        self._plan = plan
        self._settings = plan.request.settings
        self._items_total = sum(dataset.item_count for dataset in plan.datasets)
        self.mini_batches_total = mini_batches_total
        self.journal = Journal(folder.path, writable=True)
        folder.take_back_rows(plan)
        self._rows = open(folder.rows_file, "ab", buffering=0)  # noqa: SIM115 - open for the run's whole life
        self.journal.forget_after(os.fstat(self._rows.fileno()).st_size)
        self.monitor = WorkerMonitor(self.journal)
        self.totals = self.journal.totals()
        self._rows.truncate(self.totals.output_end)
        self._written_end = self.totals.output_end
        self._tries = Counter({index: n % self._settings.run_max_try for index, n in self.journal.tries().items()})
        self._unwritten_rows: list[bytes] = []
        self._unwritten_attempts: list[Attempt] = []
        self._unwritten_said: list[Said] = []
        self._bytes_of_said = 0
        self._unwritten_templates: list[str] = []
        self._unwritten_indexes: list[tuple[int, int, str]] = []
        self._unwritten_printed: list[Printed] = []
        self._warnings: dict[str, None] = {}
        self._warnings_before = 0
        self._script_warnings: dict[str, _ScriptWarning] = {}

    @property
    def all_settled(self) -> bool:
        return self.totals.mini_batches_done >= self.mini_batches_total

    def scored(self, place: WorkerPlace, batch: MiniBatch, message: Message) -> None:
        """run() returned: its rows are the output's, and a short return costs its items."""
        answer = message.header
        succeeded = min(answer["returned"], batch.item_count)
        if answer["returned"] > batch.item_count:
            self.warn(f"mini-batch {batch.index} returned {answer['returned']:,} rows for {counted(batch.item_count, 'item')}")
        for pattern, text in answer.get("warned", ()):
            self._script_warned(pattern, readable(text))
        if "said" in answer or "said_of_succeeded" in answer:
            self._note_lines(batch, answer)
        self.printed(place, answer, batch.index)
        columns = self.journal.columns_id(json.dumps(answer["columns"])) if "columns" in answer else None
        header = answer.get("header", "").encode("utf-8", "backslashreplace") if self.totals.output_end == 0 else b""
        begin = self.totals.output_end + len(header)
        self._unwritten_rows.append(header + message.rows)
        if "index" in answer:
            self._unwritten_indexes.append((batch.index, begin, json.dumps(answer["index"])))
        self._settle(
            Attempt(
                batch.index, self._tries.pop(batch.index, 0) + 1, place.node, place.process, answer["started_at"], answer["elapsed"],
                answer["run_seconds"], batch.item_count, succeeded, batch.item_count - succeeded, AttemptStatus.RUN_DONE, True,
                begin, begin + len(message.rows), message.row_ends, columns,
            )
        )  # fmt: skip

    def printed(self, place: WorkerPlace, message: dict[str, Any], mini_batch: int = NO_MINI_BATCH) -> None:
        """Record where in the worker's logs is what was printed during this mini-batch, or outside of all."""
        if "printed" in message:
            times = (message["started_at"], mini_batch, message["elapsed"])
            self._unwritten_printed.append(Printed(place.node, place.process, *times, *message["printed"]))

    def _note_lines(self, batch: MiniBatch, answer: dict[str, Any]) -> None:
        """What the script said that may be the cause of an item without a row."""
        if "said" in answer and self._bytes_of_said < _MOST_BYTES_OF_SAID:
            self._unwritten_said.append(Said(batch.index, self._tries.get(batch.index, 0) + 1, answer["said"]))
        self._unwritten_templates += answer.get("said_of_succeeded", ())

    def attempt_failed(self, place: WorkerPlace, batch: MiniBatch, status: AttemptStatus, failure: dict[str, Any]) -> bool:
        """Record a failed attempt. True when it was the last try: then all items of the mini-batch count as failed."""
        self.printed(place, failure, batch.index)
        self._tries[batch.index] += 1
        final = self._tries[batch.index] >= self._settings.run_max_try
        end = self.totals.output_end
        attempt = Attempt(
            batch.index, self._tries[batch.index], place.node, place.process, failure["started_at"], failure["elapsed"],
            failure["run_seconds"], batch.item_count, 0, batch.item_count, status, final, end, end,
            error_type=failure["error_type"], error=readable(f"{failure['error']}\n{failure.get('traceback', '')}".strip()),
        )  # fmt: skip
        if final:
            del self._tries[batch.index]
            self._settle(attempt)
        else:
            self._unwritten_attempts.append(attempt)
        return final

    def _settle(self, attempt: Attempt) -> None:
        self._unwritten_attempts.append(attempt)
        self.totals.mini_batches_done += 1
        self.totals.mini_batches_failed += attempt.status != AttemptStatus.RUN_DONE
        self.totals.items_succeeded += attempt.succeeded
        self.totals.items_failed += attempt.failed
        self.totals.output_end = attempt.end

    def write_down(self) -> None:
        """The rows first, then, in one commit, the journal that vouches for them. Raises OSError or sqlite3.Error, of a full disk, say."""
        if not self._unwritten_attempts and not self._unwritten_printed:
            return
        waiting = memoryview(b"".join(self._unwritten_rows))
        while waiting:
            waiting = waiting[self._rows.write(waiting) or 0 :]
        self._written_end = self.totals.output_end
        self._bytes_of_said += self.journal.add(
            self._unwritten_attempts, self._unwritten_said, self._unwritten_templates, self._unwritten_indexes, self._unwritten_printed
        )
        self._unwritten_rows.clear()
        self._unwritten_attempts.clear()
        self._unwritten_said.clear()
        self._unwritten_templates.clear()
        self._unwritten_indexes.clear()
        self._unwritten_printed.clear()

    def check_rows(self) -> None:
        """Raises OSError where the rows written so far are not all there: the file may have been removed or truncated."""
        size = self._folder.rows_file.stat().st_size
        if size != self._written_end:
            raise OSError(f"{self._folder.rows_file} holds {size:,} bytes instead of the {self._written_end:,} that were written")

    def exceeded(self, *, all_handed_out: bool) -> Outcome | None:
        """The outcome where the failures so far exceed a threshold: each stops the run when *more* failed than it allows."""
        totals, settings = self.totals, self._settings
        share = 100 * totals.mini_batches_failed / max(1, self.mini_batches_total)
        count, percent = settings.allowed_failed_count, settings.allowed_failed_percent
        if 0 <= settings.error_threshold < totals.items_failed:
            reason = f"{counted(totals.items_failed, 'item')} failed, more than the error_threshold of {settings.error_threshold:,}."
            return Outcome.failed("ErrorThresholdExceeded", reason)
        if count is not None and 0 <= count < totals.mini_batches_failed:
            reason = f"{counted(totals.mini_batches_failed, 'mini-batch')} failed, more than the allowed_failed_count of {count:,}."
            return Outcome.failed("AllowedFailedCountExceeded", reason)
        if percent is not None and all_handed_out and share > percent:
            reason = f"{share:.3g} % of the mini-batches failed, more than the allowed_failed_percent of {percent:g}."
            return Outcome.failed("AllowedFailedPercentExceeded", reason)
        return None

    def verdict(self) -> Outcome:
        """How the run ended, once all mini-batches are settled; the totals are compared with the journal's. Raises OSError."""
        self.check_rows()
        totals = self.journal.totals()
        if totals != self.totals or totals.mini_batches_done != self.mini_batches_total:
            return Outcome.failed("LedgerError", f"What was counted is not what is written down: {self.totals} and {totals}.")
        if totals.items_succeeded + totals.items_failed != self._items_total:
            sums = f"{totals.items_succeeded:,} succeeded and {totals.items_failed:,} failed do not make {self._items_total:,} items."
            return Outcome.failed("LedgerError", sums)
        if self._settings.output_action == "append_row" and totals.items_succeeded == 0:
            reason = "Every call of run() raised." if totals.mini_batches_failed else "Every call of run() returned nothing."
            return Outcome.failed("NothingSucceeded", f"No item succeeded. {reason}")
        return Outcome(RunStatus.COMPLETED)

    def explained(self, outcome: Outcome) -> Outcome:
        """The outcome of a run that ended for its failed items, the most frequent cause of these before the threshold that they exceeded.
        To be called when it is closed. Raises OSError, StudioError."""
        if outcome.error_code not in _FOR_FAILED_ITEMS:
            return outcome
        from services.local import output_reader  # imported by no run that goes well
        from services.predictions.explanations import frequent_cause

        cause = frequent_cause(output_reader.failed(self._folder))
        return outcome if cause is None else outcome._replace(error=f"{cause} {outcome.error}")

    def close(self, status: RunStatus) -> None:
        """Publish the rows of a completed run; keep those of any other as partial. Raises OSError."""
        if self._unwritten_attempts:  # the disk was full: what the journal does not vouch for did not happen
            self.totals = self.journal.totals()
            self._rows.truncate(self.totals.output_end)
        self._rows.close()
        if self._settings.output_action == "summary_only":
            self._folder.rows_file.unlink(missing_ok=True)
        elif status is RunStatus.COMPLETED:
            os.replace(self._folder.rows_file, self._folder.published_file(self._plan))
        elif self.totals.output_end and self._folder.rows_file.exists():
            os.replace(self._folder.rows_file, self._folder.partial_file(self._plan))

    def report_progress(self, workers: int) -> None:
        """Update the progress overview in the logs of a running run. Where it can't be written it stays as it is."""
        with log.suppress(logger, "The progress report can't be written", OSError):
            reports.write_progress(self._folder, self.totals, self._items_total, self.mini_batches_total, workers)

    def report(self, outcome: Outcome) -> None:
        """Write the reports of a run that ended. Raises OSError."""
        reports.write(self._folder, self.journal, self._items_total, self.mini_batches_total, outcome.status, outcome.error)

    def warn(self, sentence: str) -> None:
        """Add a warning, which fails nothing; each once."""
        if len(self._warnings) < _MOST_WARNINGS:
            self._warnings[sentence] = None

    def warned_before(self, warnings: Iterable[str]) -> None:
        """Take over the `warnings` of the runner before."""
        for warning in warnings:
            if more := _MORE_WARNINGS.fullmatch(warning):
                self._warnings_before += int(more[1].replace(",", ""))
            else:
                self.warn(warning)

    def _script_warned(self, pattern: str, text: str) -> None:
        """The script logged a warning that is about no item, in one mini-batch; `pattern` is its text without numbers."""
        known = self._script_warnings.get(pattern)
        if known:
            known.mini_batches += 1
            known.text = text if known.text == text else pattern
        elif len(self._script_warnings) < _MOST_WARNINGS:
            self._script_warnings[pattern] = _ScriptWarning(text)

    @property
    def warnings(self) -> tuple[str, ...]:
        """For people: the first ones, and how many more there are."""
        said = (
            f"The script warned in {counted(known.mini_batches, 'mini-batch')}: {known.text}" for known in self._script_warnings.values()
        )
        shown = tuple(islice(chain(said, self._warnings), _SHOWN_WARNINGS))
        more = len(self._script_warnings) + len(self._warnings) - len(shown) + self._warnings_before
        return (*shown, f"… and {more:,} more") if more else shown

"""The runs of a home, those that were imported among them: what every workspace reads of them in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from services.domain import Run
from services.errors import NotFound
from services.handover.imported_run import unless_imported
from services.run_details import FailedItem, FailureCause, LogQuery, LogSearch
from services.run_logs.search import LogFile, Origins, search
from services.storage.runs import F, StoredRuns

if TYPE_CHECKING:
    from services.predictions.reader import Predictions


class ReadableRuns(StoredRuns[F]):
    """A workspace adds how it makes the table of a run's predictions, and which logs a run has. See `services.workspace.Runs`."""

    def _table(self, run: Run) -> Predictions:
        """The table of what is settled by now."""
        raise NotImplementedError

    def _failures(self, run: Run) -> Predictions:
        """A table that has the items that failed by now."""
        return self._table(run)

    def _logs(self, folder: F) -> tuple[Sequence[LogFile], Origins]:
        """What is searched of a run's logs, and what is known of where a line is from."""
        raise NotImplementedError

    @unless_imported
    def predictions(self, run_id: str) -> Predictions:
        run = self._store.run(run_id)
        if run.request.settings.output_action == "summary_only":
            raise NotFound(f"Run {run_id} has no rows: its script writes its own output.", "Download the output files instead.")
        return self._table(run)

    @unless_imported
    def failed_items(self, run_id: str, *, cause: str | None = None, first: int = 0, count: int = 100) -> list[FailedItem]:
        from services.predictions import failures

        return failures.failed_items(self._failures(self._store.run(run_id)), cause, first, count)

    @unless_imported
    def failure_causes(self, run_id: str, limit: int = 100) -> list[FailureCause]:
        from services.predictions import failures

        return failures.failure_causes(self._failures(self._store.run(run_id)), limit)

    @unless_imported
    def search_logs(
        self,
        run_id: str,
        query: LogQuery = LogQuery(),  # noqa: B008 - it is frozen
        *,
        after: Mapping[str, int] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> LogSearch:
        growing = not self.get(run_id).status.ended
        return search(*self._logs(self.folder(run_id)), query, after=after, growing=growing, stopped=stopped)

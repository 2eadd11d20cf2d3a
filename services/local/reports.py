"""The reports a run leaves in its log tree, laid out as Azure ML does (logs/job_result.txt, logs/sys/job_report/...)."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

from services.domain import RunStatus, counted
from services.journal import Journal
from services.local.run_folder import RunFolder

_HEADER = (
    "mini_batch_id", "attempt", "picked_count", "node", "process", "start", "total", "succeeded", "failed", "elapsed_seconds",
    "run_method_seconds", "status", "error_category", "error_message",
)  # fmt: skip


def write(folder: RunFolder, journal: Journal, status: RunStatus, error: str | None) -> None:
    """Write all reports of a run that ended. Raises OSError where the folder can't be written."""
    totals = journal.totals()
    overview = (
        f"{counted(totals.mini_batches_done, 'mini-batch')} done, {totals.mini_batches_failed:,} of them failed\n"
        f"{counted(totals.items_succeeded, 'item')} succeeded, {totals.items_failed:,} failed\n"
    )
    _text(folder.logs / "job_progress_overview.txt", overview)
    _text(folder.logs / "job_result.txt", f"{status}\n{overview}")
    failures = "\n\n".join(f"mini-batch {a.mini_batch}, attempt {a.attempt}: {a.status}\n{a.error}" for a in journal.failures() if a.error)
    _text(folder.logs / "job_error.txt", "\n\n".join(filter(None, (error, failures))))
    attempts_file = folder.logs / "sys" / "job_report" / "processed_mini-batches.csv"
    attempts_file.parent.mkdir(parents=True, exist_ok=True)
    with open(attempts_file, "w", newline="", encoding="utf-8", errors="backslashreplace") as lines:
        table = csv.writer(lines)
        table.writerow(_HEADER)
        for a in journal.attempts():
            start = datetime.fromtimestamp(a.started_at, UTC).isoformat(timespec="milliseconds")
            first_line = a.error.partition("\n")[0]
            table.writerow(
                (a.mini_batch, a.attempt, a.attempt, a.node, a.process, start, a.total, a.succeeded, a.failed, f"{a.elapsed:.6f}",
                 f"{a.run_seconds:.6f}", a.status, a.error_type, first_line)
            )  # fmt: skip


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")

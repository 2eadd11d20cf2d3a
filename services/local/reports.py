"""The reports a run leaves in its log tree, laid out as Azure ML does (logs/job_result.txt, logs/sys/job_report/...)."""

from __future__ import annotations

import csv
from pathlib import Path

from services import formats
from services.domain import RunStatus, utc_now
from services.formats import counted
from services.local.run_folder import LocalRunFolder
from services.storage.journal import Journal, Totals

_HEADER = (
    "Mini-batch Id", "Picked Count", "Process", "Start Time", "Total", "Succeeded", "Failed", "Elapsed Seconds", "Run Method Seconds",
    "Status", "Error Category", "Error Message",
)  # fmt: skip


def write_progress(folder: LocalRunFolder, totals: Totals, items: int, mini_batches: int, workers: int) -> None:
    """Say where a run is that goes on: of so many items and mini-batches in all. Raises OSError where the folder can't be written."""
    text = f"Running at {formats.utc(utc_now())}, {counted(workers, 'worker')}\n{_overview(totals, items, mini_batches, 'left')}"
    _text(folder.logs / "job_progress_overview.txt", text)


def write(
    folder: LocalRunFolder, journal: Journal, items: int, mini_batches: int, status: RunStatus, error: str | None, note: str = ""
) -> None:
    """Write all reports of a run that ended, of so many items and mini-batches in all. Raises OSError where they can't be written."""
    result = f"{status}\n{_overview(journal.totals(), items, mini_batches, 'skipped')}"
    _text(folder.logs / "job_progress_overview.txt", result)
    _text(folder.logs / "job_result.txt", f"{result}{note}".rstrip() + "\n")
    failures = "\n\n".join(f"mini-batch {a.mini_batch}, attempt {a.attempt}: {a.status}\n{a.error}" for a in journal.failures() if a.error)
    _text(folder.logs / "job_error.txt", "\n\n".join(filter(None, (error, failures))))
    attempts_file = folder.logs / "sys" / "job_report" / "processed_mini-batches.csv"
    attempts_file.parent.mkdir(parents=True, exist_ok=True)
    with open(attempts_file, "w", newline="", encoding="utf-8", errors="backslashreplace") as lines:
        table = csv.writer(lines)
        table.writerow(_HEADER)
        table.writerows(journal.report())


def _overview(totals: Totals, items: int, mini_batches: int, rest: str) -> str:
    """Every item is one of succeeded, failed and the rest."""
    others = items - totals.items_succeeded - totals.items_failed
    return (
        f"{totals.mini_batches_done:,} of {counted(mini_batches, 'mini-batch')} done, {totals.mini_batches_failed:,} of them failed\n"
        f"{totals.items_succeeded:,} of {counted(items, 'item')} succeeded, {totals.items_failed:,} failed, {others:,} {rest}\n"
    )


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")

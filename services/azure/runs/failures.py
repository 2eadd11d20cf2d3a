"""Why a run failed, by Azure ML and by the logs of ParallelRunStep, named as on Microsoft's page *how-to-debug-parallel-run-step*."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.azure.runs.run_folder import AzureRunFolder
from services.domain import Failure
from services.storage.journal import AttemptStatus

_ERROR_LOGS = ("job_error.txt", "user/error.txt", "user/error/*", "user/error/*/*", "job_result.txt")
_MAX_CHARACTERS = 20_000  # of a log


def reason(details: Mapping[str, Any], folder: AzureRunFolder) -> tuple[str, str]:
    """An error code, and a text whose first line a person should see: the script's own log comes before the service's message, which is
    often no more than “SystemExit: 42”. `details` are the SDK's `Run.get_details`."""
    error: Any = (details.get("error") or {}).get("error") or {}
    code, message = str(error.get("code") or "Failed"), str(error.get("message") or "")
    logged = next((text for pattern in _ERROR_LOGS for path in sorted(folder.logs.glob(pattern)) if (text := _text(path))), "")
    if not logged:
        return code, message or "Azure ML reports that the run failed, without a reason. Its page in Azure ML studio may show one."
    return code, "\n".join(filter(None, (logged, f"Azure ML says: {message}" if message else "")))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:_MAX_CHARACTERS].strip() if path.is_file() else ""
    except OSError:
        return ""


def attempts(folder: AzureRunFolder, limit: int) -> list[Failure]:
    """The failed or incomplete attempts, the latest first, by the log's table of them; empty without one. It names no files."""
    table = folder.logs / "sys" / "job_report" / "processed_mini-batches.csv"
    try:
        with open(table, encoding="utf-8", errors="replace", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except OSError:
        return []
    failed = [row for row in rows if row.get("status", AttemptStatus.RUN_DONE) != AttemptStatus.RUN_DONE or _number(row, "failed")]
    last = {row.get("mini_batch_id"): row for row in rows}
    failures = [
        Failure(
            mini_batch=_number(row, "mini_batch_id"),
            attempt=_number(row, "picked_count"),
            status=row.get("status") or "",
            items=(),
            items_failed=_number(row, "failed"),
            final=row is last[row.get("mini_batch_id")],
            worker=row.get("process") or "",
            error=row.get("error_message") or "",
        )
        for row in failed[-limit:]
    ]
    return failures[::-1]


def _number(row: Mapping[str, str], name: str) -> int:
    text = row.get(name) or ""
    return int(text) if text.isdecimal() else 0

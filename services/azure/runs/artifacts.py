"""The artifacts of a step run: its logs and its output, downloaded into the run's folder; and why it failed, by its logs.

Each is written under another name first, so half of a file is never taken for the whole. The logs are those of ParallelRunStep, named as on
Microsoft's page *how-to-debug-parallel-run-step*.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.azure.catalog import downloads
from services.azure.runs.pipeline import OUTPUT
from services.azure.runs.run_folder import AzureRunFolder, RunPlan
from services.domain import Failure
from services.storage.atomic import atomic_write
from services.storage.journal import AttemptStatus

_MAX_LOGS = 2_000
_MAX_LOG_BYTES = 50_000_000
_CHUNK_BYTES = 1 << 20
_ERROR_LOGS = ("job_error.txt", "user/error.txt", "user/error/*", "user/error/*/*", "job_result.txt")
_MAX_CHARACTERS = 20_000  # of a log
_PROGRESS = re.compile(rb"Processed (\d{1,12}) of (\d{1,12}) mini batches")


def fetch_logs(step_run: Any, folder: AzureRunFolder, *, max_logs: int = _MAX_LOGS) -> None:
    """Download the log files that `get_details` names, up to `max_logs` of them, those for people first. Raises requests' errors."""
    import requests

    addresses: Mapping[str, str] = step_run.get_details().get("logFiles") or {}
    names = sorted(addresses, key=lambda name: (not name.startswith(("logs/job_", "logs/user/", "user_logs/")), name))
    with requests.Session() as session:
        for name in names[:max_logs]:
            target = folder.logs / downloads.relative_path(name.removeprefix("logs/"))
            if target == folder.runner_log:  # our own runner's, which is still writing it
                continue
            with session.get(addresses[name], stream=True, timeout=60) as answer:
                if answer.status_code == 404:  # listed, and not written yet
                    continue
                answer.raise_for_status()
                _write(answer.iter_content(_CHUNK_BYTES), target, _MAX_LOG_BYTES)


def mini_batches_done(folder: AzureRunFolder) -> tuple[int, int] | None:
    """The mini-batches done and the mini-batches in all, by the downloaded logs; None where these have no line of it.

    `logs/job_progress_overview.<time>.txt` has lines such as “2023-05-16T22:20:53.233813 Processed 4117 of 20000 mini batches in 5:02:14.
    Estimated remaining time 19:25:59.” (as in github.com/Azure/azure-sdk-for-python/issues/30421); after a failover there are several.
    """
    for overview in sorted(folder.logs.glob("job_progress_overview*.txt"), reverse=True):
        if counts := _PROGRESS.findall(overview.read_bytes()):
            return int(counts[-1][0]), int(counts[-1][1])
    return None


def fetch_output(step_run: Any, plan: RunPlan, folder: AzureRunFolder, progress: downloads.Progress) -> None:
    """Download the files of the output. What had arrived when an earlier download broke off isn't fetched again. Raises as
    `downloads.fetch`.

    The SDK's own `download` holds each file in memory, writes an empty one where it can't read it, and follows a name that leads out of the
    folder; it is used where the output is not in a blob store only.
    """
    incoming = folder.output_incoming
    reference = step_run.get_output_data(OUTPUT)
    below = reference.path_on_datastore or ""
    shutil.rmtree(folder.output, ignore_errors=True)  # of an earlier download; there may be no room for both
    if service := getattr(reference.datastore, "blob_service", None):
        container = service.get_container_client(reference.datastore.container_name)
        wanted = {incoming / downloads.relative_path(blob.name): blob for blob in downloads.blobs_below(container, below)}
        downloads.fetch(container, wanted, progress)
        for path in incoming.rglob("*"):
            if path.is_file() and path not in wanted:  # the beginning of a blob that is gone
                path.unlink()
    else:
        reference.download(local_path=str(incoming), overwrite=True, show_progress=False)
    root = _root(incoming, below, plan.request.settings.append_row_file_name)
    if root.is_dir():
        os.replace(root, folder.output)
    folder.output.mkdir(exist_ok=True)
    shutil.rmtree(incoming, ignore_errors=True)


def _root(incoming: Path, path_on_datastore: str, rows_file: str) -> Path:
    """The output's folder among the downloaded ones: the one of that path, or the one with the rows, however deep it nests."""
    expected = incoming / path_on_datastore
    if (expected / rows_file).is_file():
        return expected
    rows = min((path for path in incoming.rglob("*") if path.name == rows_file), key=lambda path: len(path.parts), default=None)
    return rows.parent if rows else expected


def _write(chunks: Iterator[bytes], target: Path, max_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary, open(temporary, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            if file.tell() > max_bytes:
                break


# ---- failures --------------------------------------------------------------------------------------------------------


def reason(details: Mapping[str, Any], folder: AzureRunFolder) -> tuple[str, str]:
    """An error code, and a text whose first line a person should see: the script's own log comes before the service's message, which is
    often no more than “SystemExit: 42”. `details` are the SDK's `Run.get_details`."""
    error: Any = (details.get("error") or {}).get("error") or {}
    code, message = str(error.get("code") or "Failed"), str(error.get("message") or "")
    logged = next((text for pattern in _ERROR_LOGS for path in sorted(folder.logs.glob(pattern)) if (text := _log_text(path))), "")
    if not logged:
        return code, message or "Azure ML reports that the run failed, without a reason. Its page in Azure ML studio may show one."
    return code, "\n".join(filter(None, (logged, f"Azure ML says: {message}" if message else "")))


def _log_text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:_MAX_CHARACTERS].strip() if path.is_file() else ""
    except OSError:
        return ""


def failed_attempts(folder: AzureRunFolder, limit: int) -> list[Failure]:
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

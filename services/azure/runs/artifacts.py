"""The artifacts of a step run: its logs and its output, downloaded into the run's folder.

Each is written under another name first, so half of a file is never taken for the whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.azure.catalog import downloads
from services.azure.run_plan import OUTPUT, RunPlan
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdk import Progress
from services.storage.atomic import atomic_write

_MAX_LOGS = 2_000
_MAX_LOG_BYTES = 50_000_000
_CHUNK_BYTES = 1 << 20


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


def fetch_output(step_run: Any, plan: RunPlan, folder: AzureRunFolder, progress: Progress) -> None:
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

"""The artifacts of a step run: its logs and its output, downloaded into the run's folder.

Each is written under another name first, so half of a file is never taken for the whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.azure.catalog import downloads
from services.azure.run_plan import RunPlan
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdk import Output, Progress
from services.storage.atomic import atomic_write

_MAX_LOGS = 2_000
_MAX_LOG_BYTES = 50_000_000
_CHUNK_BYTES = 1 << 20


def fetch_logs(addresses: Mapping[str, str], folder: AzureRunFolder, *, max_logs: int = _MAX_LOGS) -> None:
    """Download the log files of a step, up to `max_logs` of them, those for people first. `addresses` as `Details.logs`. Raises requests'
    errors."""
    import requests

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


def fetch_output(output: Output, plan: RunPlan, folder: AzureRunFolder, progress: Progress) -> None:
    """Download the files of the output. What had arrived when an earlier download broke off isn't fetched again. Raises as
    `downloads.fetch`, and what the SDK raises, whose own download is used where the output is not in a blob store only."""
    incoming = folder.output_incoming
    shutil.rmtree(folder.output, ignore_errors=True)  # of an earlier download; there may be no room for both
    if output.download:
        output.download(incoming)
    else:
        wanted = {incoming / downloads.relative_path(blob.name): blob for blob in downloads.blobs_below(output.container, output.path)}
        downloads.fetch(output.container, wanted, progress)
        for path in incoming.rglob("*"):
            if path.is_file() and path not in wanted:  # the beginning of a blob that is gone
                path.unlink()
    root = _root(incoming, output.path, plan.request.settings.append_row_file_name)
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

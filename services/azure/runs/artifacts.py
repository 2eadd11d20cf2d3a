"""What a step run leaves in Azure ML, fetched into the run's folder: its logs and its output.

Each lands under a name of its own first: no half of a file is taken for the whole.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.azure.catalog import downloads
from services.azure.runs.pipeline import OUTPUT
from services.azure.runs.run_folder import RunFolder, RunPlan
from services.storage.atomic import atomic_write

_MOST_LOGS = 2_000
_MOST_OF_A_LOG = 50_000_000  # bytes
_CHUNK = 1 << 20
_PROGRESS = re.compile(rb"Processed (\d{1,12}) of (\d{1,12}) mini batches")


def fetch_logs(step_run: Any, folder: RunFolder, *, most: int = _MOST_LOGS) -> None:
    """The log files that `get_details` names, up to `most` of them, those for people first."""
    import requests

    addresses: Mapping[str, str] = step_run.get_details().get("logFiles") or {}
    names = sorted(addresses, key=lambda name: (not name.startswith(("logs/job_", "logs/user/", "user_logs/")), name))
    with requests.Session() as session:
        for name in names[:most]:
            target = folder.logs / downloads.inside(name.removeprefix("logs/"))
            with session.get(addresses[name], stream=True, timeout=60) as answer:
                if answer.status_code == 404:  # listed, and not written yet
                    continue
                answer.raise_for_status()
                _keep(answer.iter_content(_CHUNK), target, _MOST_OF_A_LOG)


def mini_batches_done(folder: RunFolder) -> tuple[int, int] | None:
    """How many mini-batches are done, and of how many, by the fetched logs; None where these don't tell.

    `logs/job_progress_overview.<time>.txt` has lines such as “2023-05-16T22:20:53.233813 Processed 4117 of 20000 mini batches in 5:02:14.
    Estimated remaining time 19:25:59.” (as in github.com/Azure/azure-sdk-for-python/issues/30421); after a failover there are several.
    """
    for overview in sorted(folder.logs.glob("job_progress_overview*.txt"), reverse=True):
        if found := _PROGRESS.findall(overview.read_bytes()):
            return int(found[-1][0]), int(found[-1][1])
    return None


def fetch_output(step_run: Any, plan: RunPlan, folder: RunFolder, progress: downloads.Progress) -> None:
    """The files of the output, as the script's step wrote them. What had come when it broke off isn't fetched again. Raises as
    `downloads.fetch`.

    The SDK's own `download` holds each file in memory, writes an empty one where it can't be had, and follows a name that leads out of the
    folder; it is asked for what lies in no blob store only.
    """
    coming = folder.output_coming
    reference = step_run.get_output_data(OUTPUT)
    below = reference.path_on_datastore or ""
    shutil.rmtree(folder.output, ignore_errors=True)  # of an earlier try; there may be no room for both
    if service := getattr(reference.datastore, "blob_service", None):
        container = service.get_container_client(reference.datastore.container_name)
        wanted = {coming / downloads.inside(blob.name): blob for blob in downloads.blobs_below(container, below)}
        downloads.fetch(container, wanted, progress)
        for path in coming.rglob("*"):
            if path.is_file() and path not in wanted:  # the beginning of what is not there any more
                path.unlink()
    else:
        reference.download(local_path=str(coming), overwrite=True, show_progress=False)
    root = _root(coming, below, plan.request.settings.append_row_file_name)
    if root.is_dir():
        os.replace(root, folder.output)
    folder.output.mkdir(exist_ok=True)
    shutil.rmtree(coming, ignore_errors=True)


def _root(coming: Path, path_on_datastore: str, rows_file: str) -> Path:
    """The folder of the output among what came: the one it was asked for, or the one where the rows lie, wherever that is."""
    asked = coming / path_on_datastore
    if (asked / rows_file).is_file():
        return asked
    found = min((path for path in coming.rglob("*") if path.name == rows_file), key=lambda path: len(path.parts), default=None)
    return found.parent if found else asked


def _keep(chunks: Iterator[bytes], target: Path, most: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as coming, open(coming, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            if file.tell() > most:
                break

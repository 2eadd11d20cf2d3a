"""Blobs downloaded in chunks: memory doesn't grow with a file, and a download that broke off is continued.

An incomplete file lies beside its final path under a name made of the blob's ETag, so nothing is taken of a blob that changed since. Each
chunk is asked for by that ETag too (If-Match), so no file is put together of two contents.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from services import formats
from services.azure.sdk import Progress
from services.domain import DatasetFile
from services.errors import IntakeError, WorkspaceUnavailable
from services.intake.datasets import glob_pattern
from services.storage.file_tree import bytes_below

T = TypeVar("T")
R = TypeVar("R")

WILDCARD = re.compile(r"[*?]")
"""What tells a pattern from a path."""
CHUNK_BYTES = 4 << 20
"""What the SDK's own blob client asks for at a time."""
_PARALLEL_CALLS = 4
_HTTP_SECONDS = 60
_FROM_START = "The next download starts from its beginning."


def blobs_below(container: Any, prefix: str) -> list[Any]:
    """The blobs (BlobProperties) of a container (the SDK's ContainerClient) whose names begin so, without those that stand for a folder."""
    blobs = list(container.list_blobs(name_starts_with=prefix))
    folders = {str(parent) for blob in blobs for parent in Path(blob.name).parents}
    return [blob for blob in blobs if blob.size or blob.name not in folders]


def blobs_by_path(container: Any, path: str) -> dict[str, Any]:
    """The blobs of a container that are at a path, by their paths below its folder: of one file, below that file's folder; of a pattern,
    below the last folder before it. {} where there is nothing."""
    if not (wildcard := WILDCARD.search(path)):
        name = path.rpartition("/")[2]
        if name and (only := [blob for blob in container.list_blobs(name_starts_with=path) if blob.name == path and blob.size]):
            return {name: only[0]}
        return _below(container, path)
    folder, _, _ = path[: wildcard.start()].rpartition("/")
    pattern = glob_pattern(path[len(folder) :].lstrip("/"))
    return {name: blob for name, blob in _below(container, folder).items() if pattern.fullmatch(name)}


def _below(container: Any, folder: str) -> dict[str, Any]:
    prefix = folder.rstrip("/") + "/" if folder else ""
    return {blob.name.removeprefix(prefix): blob for blob in blobs_below(container, prefix)}


def fetch(container: Any, wanted: Mapping[Path, Any], progress: Progress) -> None:
    """Download each blob (as `blobs_below` lists it) to its path, and verify its size, and its MD5 where Azure has one.

    What has arrived stays for the next download, whatever goes wrong. Raises WorkspaceUnavailable where a blob was changed meanwhile or did
    not arrive whole, OSError where the disk is full, and what the SDK raises.
    """
    total = sum(blob.size for blob in wanted.values())
    incomplete = {path: _incomplete_path(path, blob) for path, blob in wanted.items()}
    done = sum(bytes_below(path) for path in incomplete.values())
    for folder in {path.parent for path in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < total - done:
            what = f"{formats.size(total - done)} are still to come, and the disk has {formats.size(free)} left"
            raise OSError(errno.ENOSPC, what, str(folder))
    counter, stopped = ProgressCounter(done, total, progress), threading.Event()

    def fetch_one(path: Path) -> None:
        try:
            _fetch(container, wanted[path], incomplete[path], counter, stopped)
        except BaseException:  # Ctrl-C too ends the others; it is raised again
            stopped.set()
            raise

    in_parallel(fetch_one, wanted)
    for path, complete in incomplete.items():  # only now: a file with its final name may be of any content
        os.replace(complete, path)


def in_parallel(function: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """What it returns of each, some at a time, in the context of the caller. Raises what the first of them raises; those that did not
    begin yet are left out then."""
    with ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="azure-call") as pool:
        futures = [pool.submit(copy_context().run, function, thing) for thing in things]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


class ProgressCounter:
    """The bytes of all files that have arrived. Safe to use from several threads."""

    def __init__(self, done: int, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = done, total, progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)


def _fetch(container: Any, blob: Any, incomplete: Path, counter: ProgressCounter, stopped: threading.Event) -> None:
    from azure.core import MatchConditions
    from azure.core.exceptions import IncompleteReadError, ResourceModifiedError, ServiceResponseError

    for other in incomplete.parent.glob(f"{incomplete.name.partition('-')[0]}-*"):  # the beginning of another content
        if other != incomplete:
            other.unlink(missing_ok=True)
    client, chunk_bytes = container.get_blob_client(blob.name), CHUNK_BYTES
    with open(incomplete, "ab", buffering=0) as file:
        while (offset := file.tell()) < blob.size:
            if stopped.is_set():
                return
            span = {"offset": offset, "length": min(chunk_bytes, blob.size - offset), "etag": blob.etag}
            try:
                chunk = client.download_blob(**span, match_condition=MatchConditions.IfNotModified).readall()
            except ResourceModifiedError as error:
                raise WorkspaceUnavailable(f"{blob.name} was changed during the download.", _FROM_START) from error
            except (IncompleteReadError, ServiceResponseError):
                if chunk_bytes < CHUNK_BYTES // 16:
                    raise
                chunk_bytes //= 4  # a connection that breaks so soon may carry a smaller one
                continue
            file.write(chunk)  # what the disk does not take is asked for again
            if file.tell() == offset:
                raise WorkspaceUnavailable(f"{blob.name} can't be downloaded: an answer was empty.", "Try again: what has arrived is kept.")
            chunk_bytes = min(CHUNK_BYTES, 2 * chunk_bytes)
            counter.add(file.tell() - offset)
    if not _is_whole(incomplete, blob):
        incomplete.unlink(missing_ok=True)
        raise WorkspaceUnavailable(f"{blob.name} did not arrive whole: its size or MD5 differs from what Azure says.", _FROM_START)


def _is_whole(path: Path, blob: Any) -> bool:
    if path.stat().st_size != blob.size:
        return False
    if not (expected := blob.content_settings.content_md5):  # Azure has none of a blob that was put together of blocks
        return True
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    return md5 == (base64.b64decode(expected) if isinstance(expected, str) else bytes(expected))


def _incomplete_path(target: Path, blob: Any) -> Path:
    name, content = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16] for text in (target.name, blob.etag))
    return target.with_name(f".coming.{name}-{content}")


def file_on_the_web(address: str) -> DatasetFile:
    """Raises what requests raises."""
    import requests

    answer = requests.head(address, allow_redirects=True, timeout=_HTTP_SECONDS)
    answer.raise_for_status()
    return DatasetFile(_name_on_the_web(address), int(answer.headers.get("Content-Length", 0)), 0)


def fetch_from_the_web(address: str, folder: Path) -> None:
    """Into `folder`, by its name. Raises what requests raises, also where it does not arrive whole."""
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    with requests.get(address, stream=True, timeout=_HTTP_SECONDS) as answer, open(folder / _name_on_the_web(address), "wb") as file:
        answer.raise_for_status()
        file.writelines(answer.iter_content(CHUNK_BYTES))


def _name_on_the_web(address: str) -> str:
    return re.sub(r"[\\/\0]", "_", unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2])) or "file"


def relative_path(name: str) -> PurePosixPath:
    """The name of a file in Azure ML as a path below a folder here. Raises IntakeError for one that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise IntakeError(f"A file in Azure ML has the name “{name}”, which leads out of its folder.", "Nothing of it was downloaded.")
    return path

"""Blobs onto this machine's disk, in pieces: memory doesn't grow with a file, and one that was broken off goes on where it was.

What isn't whole yet lies beside its place under a name that says which content it is the beginning of, by the blob's ETag: of one that was
changed since, nothing is taken. Each piece is asked for by that ETag too (If-Match), so no file is put together of two contents.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path, PurePosixPath
from typing import Any

from services import formats
from services.errors import IntakeError, WorkspaceUnavailable

PIECE = 4 << 20
"""Bytes asked for at a time: what the SDK's own blob client asks for."""
_AT_ONCE = 4
Progress = Callable[[int, int], None]
"""Called with the number of bytes that are here, and of all; from several threads. What it raises ends the download."""


def blobs_below(container: Any, prefix: str) -> list[Any]:
    """The blobs of a container (the SDK's ContainerClient) whose names begin so; but not those that stand for a folder."""
    found = list(container.list_blobs(name_starts_with=prefix))
    folders = {str(parent) for blob in found for parent in Path(blob.name).parents}
    return [blob for blob in found if blob.size or blob.name not in folders]


def fetch(container: Any, wanted: Mapping[Path, Any], progress: Progress) -> None:
    """Bring each blob (as `blobs_below` lists it) to its path, whole: of its size, and of its MD5 where Azure tells one.

    What has come stays, for the next time, whatever goes wrong. Raises WorkspaceUnavailable where a blob was changed meanwhile or did not
    come whole, OSError where the disk is full, and what the SDK raises.
    """
    total = sum(blob.size for blob in wanted.values())
    coming = {path: _place_of(path, blob) for path, blob in wanted.items()}
    here = sum(_size(place) for place in coming.values())
    for folder in {path.parent for path in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < total - here:
            what = f"{formats.size(total - here)} are still to come, and the disk has {formats.size(free)} left"
            raise OSError(errno.ENOSPC, what, str(folder))
    sums, ended = Sum(here, total, progress), threading.Event()

    def one(path: Path) -> None:
        try:
            if not ended.is_set():
                _fetch(container, wanted[path], coming[path], sums, ended)
        except BaseException:
            ended.set()
            raise

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download") as pool:
        for each in [pool.submit(copy_context().run, one, path) for path in wanted]:
            each.result()
    for path, place in coming.items():  # only now: what has its name is not known to be of this content
        os.replace(place, path)


class Sum:
    """The bytes of all files that have arrived. Used by several threads."""

    def __init__(self, here: int, total: int, progress: Progress) -> None:
        self._here, self._total, self._progress = here, total, progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._here += count
            self._progress(self._here, self._total)


def _fetch(container: Any, blob: Any, coming: Path, sums: Sum, ended: threading.Event) -> None:
    from azure.core import MatchConditions
    from azure.core.exceptions import IncompleteReadError, ResourceModifiedError, ServiceResponseError

    for other in coming.parent.glob(f"{coming.name.partition('-')[0]}-*"):  # the beginning of another content
        if other != coming:
            other.unlink(missing_ok=True)
    client, piece_size = container.get_blob_client(blob.name), PIECE
    with open(coming, "ab", buffering=0) as file:
        while (place := file.tell()) < blob.size:
            if ended.is_set():
                return
            asked = {"offset": place, "length": min(piece_size, blob.size - place), "etag": blob.etag}
            try:
                piece = client.download_blob(**asked, match_condition=MatchConditions.IfNotModified).readall()
            except ResourceModifiedError as error:
                text = f"{blob.name} was changed while it was fetched."
                raise WorkspaceUnavailable(text, "It is fetched from its beginning when it is asked for again.") from error
            except (IncompleteReadError, ServiceResponseError):
                if piece_size < PIECE // 16:
                    raise
                piece_size //= 4  # a line that breaks so soon may bear a smaller one
                continue
            file.write(piece)  # what it does not take is asked for again
            if file.tell() == place:
                raise WorkspaceUnavailable(f"{blob.name} does not come: an answer was empty.", "What is here stays: ask for it again.")
            piece_size = min(PIECE, 2 * piece_size)
            sums.add(file.tell() - place)
    if not _is_whole(coming, blob):
        coming.unlink(missing_ok=True)
        text = f"{blob.name} did not come whole: its size or MD5 is not what Azure tells."
        raise WorkspaceUnavailable(text, "It is fetched from its beginning when it is asked for again.")


def _is_whole(coming: Path, blob: Any) -> bool:
    if coming.stat().st_size != blob.size:
        return False
    if not (told := blob.content_settings.content_md5):  # none is kept of a blob that was put together of blocks
        return True
    with open(coming, "rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    return md5 == (base64.b64decode(told) if isinstance(told, str) else bytes(told))


def _place_of(target: Path, blob: Any) -> Path:
    name, content = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16] for text in (target.name, blob.etag))
    return target.with_name(f".coming.{name}-{content}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def inside(name: str) -> PurePosixPath:
    """The name of a file in Azure ML as a path below a folder here. Raises IntakeError for one that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise IntakeError(f"A file in Azure ML has the name “{name}”, which leads out of its folder.", "Nothing of it was fetched.")
    return path

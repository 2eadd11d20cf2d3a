"""Blobs come in pieces, and go on where they were broken off: the SDK's own blob client, on the stand-in."""

from __future__ import annotations

import hashlib
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.azure.auth.sdk_errors import azure_errors
from services.azure.catalog import downloads, uploads
from services.azure.sdk import Progress
from services.errors import WorkspaceUnavailable

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

SIZE = 1_000_000


@pytest.fixture
def container(ws, monkeypatch) -> Any:
    """The container of the workspace's datastore. A piece is a third of a blob and a bit."""
    monkeypatch.setattr(downloads, "CHUNK_BYTES", SIZE // 3)
    store = ws.get_default_datastore()
    return store.blob_service.get_container_client(store.container_name)


@pytest.fixture
def fetch(container, tmp_path) -> Callable[..., list[tuple[int, int]]]:
    """`fetch(progress)` brings what is below out/ to the folder `here`; returns the calls of its progress."""

    def bring(progress: Progress = lambda done, total: None) -> list[tuple[int, int]]:
        progress_calls: list[tuple[int, int]] = []

        def hear(done: int, total: int) -> None:
            progress_calls.append((done, total))
            progress(done, total)

        wanted = {tmp_path / "here" / blob.name: blob for blob in downloads.blobs_below(container, "out/")}
        with azure_errors("It can't be fetched"):
            downloads.fetch(container, wanted, hear)
        return progress_calls

    return bring


@pytest.fixture
def put(container) -> Callable[..., bytes]:
    """`put(name, seed)`: a blob of SIZE bytes; returns them."""

    def upload(name: str = "out/rows.txt", seed: int = 1) -> bytes:
        content = random.Random(seed).randbytes(SIZE)
        container.upload_blob(name, content, overwrite=True)
        return content

    return upload


def what_is_here(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_download_that_broke_off_is_continued(put, fetch, azure, tmp_path):
    content = put()
    pieces = "GET *out/rows.txt*"

    def cut_after_the_first(here: int, of: int) -> None:
        if here < of / 2:
            azure.service.fault(pieces, count=None, torn=True)

    with pytest.raises(WorkspaceUnavailable, match="could not be reached"):
        fetch(cut_after_the_first)
    assert not (tmp_path / "here/out/rows.txt").exists()
    azure.service.clear()
    progress_calls = fetch()
    assert what_is_here(tmp_path / "here") == {"out/rows.txt": digest(content)}
    assert progress_calls[0] == (SIZE // 3 * 2, SIZE)
    assert azure.service.count(pieces) == 3  # of the four pieces


def test_a_blob_changed_meanwhile_is_downloaded_from_its_beginning(put, fetch, tmp_path):
    put()
    changed: list[bytes] = []

    def change(_here: int, _of: int) -> None:
        if not changed:
            changed.append(put(seed=2))

    with pytest.raises(WorkspaceUnavailable, match="was changed during the download"):
        fetch(change)
    assert fetch()[0] == (SIZE // 3, SIZE)
    assert what_is_here(tmp_path / "here") == {"out/rows.txt": digest(changed[0])}


def test_many_files_share_one_progress(put, container, fetch, tmp_path):
    wanted = {name: digest(put(name, seed)) for seed, name in enumerate(("out/a", "out/b/ö c[1].txt", "out/" + "é" * 100))}
    container.upload_blob("out/empty", b"", overwrite=True)
    container.upload_blob("out/b", b"", overwrite=True)  # stands for the folder
    assert fetch()[-1] == (3 * SIZE, 3 * SIZE)
    assert what_is_here(tmp_path / "here") == wanted | {"out/empty": digest(b"")}


def test_a_download_with_another_md5_is_refused(put, fetch, tmp_path):
    content = put()
    with pytest.raises(WorkspaceUnavailable, match="MD5"):
        fetch(lambda here, of: _spoil(tmp_path / "here/out") if here == of else None)
    fetch()
    assert what_is_here(tmp_path / "here") == {"out/rows.txt": digest(content)}


def _spoil(folder: Path) -> None:
    [coming] = folder.glob(".coming.*")
    with open(coming, "r+b") as file:
        file.write(b"spoiled")


def test_a_full_disk_is_reported_and_what_arrived_stays(put, fetch, tmp_path):
    """The limit on a file's size stands in for it: a write fails in the same place, with the like error."""
    content, limits = put(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert fetch()[0][0] > SIZE // 2
    assert what_is_here(tmp_path / "here") == {"out/rows.txt": digest(content)}


def test_a_download_without_disk_space_is_not_started(put, container, tmp_path, azure):
    put()
    (blob,) = downloads.blobs_below(container, "out/")
    blob.size = 10**18
    with pytest.raises(OSError, match="TB are still to come, and the disk has"):
        downloads.fetch(container, {tmp_path / "rows.txt": blob}, lambda here, of: None)
    assert azure.service.count("GET *out/rows.txt*") == 0


def test_a_large_file_s_upload_that_broke_off_is_continued(container, azure, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_BYTES", SIZE // 3)
    content, arrived = random.Random(1).randbytes(SIZE), list[int]()
    (tmp_path / "big").write_bytes(content)

    def put() -> None:
        with azure_errors("It can't be sent"):
            uploads.put_file(container.get_blob_client("up/big"), tmp_path / "big", hear)

    def hear(count: int) -> None:
        arrived.append(count)
        if len(arrived) == 2:
            azure.service.fault("PUT *up/big*comp=block&*", status=403, code="AuthorizationFailure")

    with pytest.raises(WorkspaceUnavailable):
        put()
    arrived[:] = [0, 0]
    put()
    assert sum(arrived) == SIZE
    assert azure.service.count("PUT *up/big*comp=block&*") == 5  # of the four blocks one was refused
    assert container.get_blob_client("up/big").download_blob().readall() == content

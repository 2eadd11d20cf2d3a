"""The datastores of a workspace, and the blobs in them, by azure-ai-ml and azure-storage-blob."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.catalog import downloads
from services.azure.catalog.datasets import DATASTORE_PATH
from services.azure.catalog.uploads import put_blob
from services.azure.sdk import Progress
from services.azure.sdk_v2.session import CONNECT_SECONDS, READ_SECONDS, Session, checked, in_parallel
from services.errors import NotFound, WorkspaceUnavailable
from services.intake.datasets import glob_pattern
from services.storage import file_tree

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

WILDCARD = re.compile(r"[*?]")
ARTIFACTS = "workspaceartifactstore"
"""The datastore with what jobs leave, in the folder `ExperimentRun/dcid.JOB`."""


@dataclass
class Store:
    """See `sdk.Store`. `container` is the one of `name`, None where that is not a blob store."""

    name: str
    container: Any

    def sizes_below(self, folder: str) -> dict[str, int]:
        return {path: blob.size for path, blob in _below(self.blobs(), folder).items()}

    def upload(self, source: Path, folder: str, *, overwrite: bool) -> None:
        files = {f"{folder}/{name}": Path(path) for name, path, _ in file_tree.files_of(source)}
        put_files(self.blobs(), files, lambda _count: None)

    def blobs(self) -> ContainerClient:
        """Raises NotFound where it is not a blob store."""
        if self.container is None:
            raise NotFound(f"Datastore {self.name} is not a blob store.", "Use one of Azure Blob Storage or Data Lake Gen2.")
        return self.container  # type: ignore[no-any-return]


def store(session: Session, name: str = "") -> Store:
    """The datastore of this name, the default one for "". Its container is opened by what the workspace keeps for it (a signature, the
    account's key), else as who is signed in. Raises what the SDK raises."""
    from azure.ai.ml.entities import AzureBlobDatastore, AzureDataLakeGen2Datastore
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob import ContainerClient

    datastores = session.client.datastores
    name = checked(name or str(datastores.get_default().name), "datastore")
    try:
        found = datastores.get(name, include_secrets=True)
    except HttpResponseError as error:
        if error.status_code not in (400, 403):  # storage by identity has no secrets; not everyone may read those that there are
            raise
        found = datastores.get(name)
    if not isinstance(found, AzureBlobDatastore | AzureDataLakeGen2Datastore):
        return Store(name, None)
    secret = getattr(found.credentials, "sas_token", None) or getattr(found.credentials, "account_key", None)
    return Store(
        name,
        ContainerClient(
            f"https://{found.account_name}.blob.{found.endpoint or 'core.windows.net'}",
            found.container_name if isinstance(found, AzureBlobDatastore) else found.filesystem,
            credential=secret or session.credential,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retry_total=3,
            initial_backoff=1,  # seconds, not fifteen
            increment_base=2,
        ),
    )


def blobs_at(session: Session, place: str) -> tuple[ContainerClient, dict[str, Any]]:
    """The container of a place in a datastore, and its blobs by their paths below the folder there: of one file, below that file's folder;
    of a pattern, below the last folder before it. Raises NotFound for a place elsewhere, and what the SDK raises."""
    if not (match := DATASTORE_PATH.fullmatch(place)):
        raise NotFound(f"{place} is not in a datastore.", "Azure ML studio shows what is there.")
    container, path = store(session, match[1]).blobs(), match[2]
    if not (wildcard := WILDCARD.search(path)):
        name = path.rpartition("/")[2]
        if name and (only := [blob for blob in container.list_blobs(name_starts_with=path) if blob.name == path and blob.size]):
            return container, {name: only[0]}
        return container, _below(container, path)
    folder, _, _ = path[: wildcard.start()].rpartition("/")
    pattern = glob_pattern(path[len(folder) :].lstrip("/"))
    return container, {name: blob for name, blob in _below(container, folder).items() if pattern.fullmatch(name)}


def _below(container: ContainerClient, folder: str) -> dict[str, Any]:
    prefix = folder.rstrip("/") + "/" if folder else ""
    return {blob.name.removeprefix(prefix): blob for blob in downloads.blobs_below(container, prefix)}


def put_files(container: ContainerClient, files: Mapping[str, Path], arrived: Any) -> None:
    """Upload each file under its name, some at a time. The first that fails ends it; what has arrived stays. `arrived` is called with the
    bytes of each file, of a large one with those of each block. Raises what the SDK raises."""

    def put(name: str) -> None:
        blob, size = container.get_blob_client(name), files[name].stat().st_size
        with file_tree.reading(files[name]) as content:
            if size > downloads.CHUNK_BYTES:
                put_blob(blob, content, size, arrived)
            else:
                blob.upload_blob(content, length=size, overwrite=True, validate_content=True)
                arrived(size)

    in_parallel(put, files)


def upload(container: ContainerClient, folder: str, files: Mapping[str, Path], progress: Progress) -> None:
    """Upload files, whose names are below `folder`, which tells their content: those that are there by their size are not sent again.
    Raises WorkspaceUnavailable where one did not arrive whole, and what the SDK raises."""

    def missing() -> dict[str, Path]:
        there = {f"{folder}/{path}": blob.size for path, blob in _below(container, folder).items()}
        return {name: path for name, path in files.items() if there.get(name) != path.stat().st_size}

    total, wanted = sum(path.stat().st_size for path in files.values()), missing()
    counter = downloads.ProgressCounter(total - sum(path.stat().st_size for path in wanted.values()), total, progress)
    put_files(container, wanted, counter.add)
    if wanted and (incomplete := missing()):
        first = next(iter(incomplete)).removeprefix(f"{folder}/")
        text = f"{len(incomplete):,} of {len(files):,} files did not arrive whole, such as {first}."
        raise WorkspaceUnavailable(text, "Try again: what has arrived is not sent again. Nothing was registered.")

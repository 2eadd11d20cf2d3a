"""The datastores of a workspace, and the blobs in them, by azure-ai-ml and azure-storage-blob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.azure.catalog import downloads
from services.azure.catalog.datasets import DATASTORE_PATH
from services.azure.sdk import Store
from services.azure.sdk_v2.session import CONNECT_SECONDS, READ_SECONDS, Session, checked
from services.errors import NotFound

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

ARTIFACTS = "workspaceartifactstore"
"""The datastore with what jobs leave, in the folder `ExperimentRun/dcid.JOB`."""


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
    """The container of a place in a datastore, and its blobs there: see `downloads.blobs_by_path`. Raises NotFound for a place elsewhere,
    and what the SDK raises."""
    if not (match := DATASTORE_PATH.fullmatch(place)):
        raise NotFound(f"{place} is not in a datastore.", "Azure ML studio shows what is there.")
    container = store(session, match[1]).blobs
    return container, downloads.blobs_by_path(container, match[2])

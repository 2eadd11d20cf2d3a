"""A model's file or folder, uploaded as `Model.register` does it, but in blocks, with progress."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

from services.azure.catalog import block_upload
from services.azure.catalog.downloads import Progress, ProgressCounter
from services.domain import utc_now
from services.errors import WorkspaceUnavailable
from services.storage import file_tree

if TYPE_CHECKING:
    from azureml.core import Workspace

_PARALLEL_UPLOADS = 4


def upload(workspace: Workspace, path: Path, progress: Progress) -> str:
    """Returns the artifact's path, `LocalUpload/<a new name>/<file or folder>`. The SDK retries each block; where that does not help,
    nothing is registered, and the next upload starts anew: Azure ML does not say whether an artifact may be written twice.

    Raises WorkspaceUnavailable where a file did not arrive whole, and what the SDK raises.
    """
    from azureml._restclient.artifacts_client import ArtifactsClient
    from azureml._vendor.azure_storage.blob import BlobClient

    origin, container = "LocalUpload", f"{utc_now():%y%m%dT%H%M%S}-{uuid.uuid4().hex}"
    files = {f"{path.name}/{name}" if path.is_dir() else path.name: Path(source) for name, source, _ in file_tree.files_of(path)}
    client = ArtifactsClient(workspace.service_context)
    counter = ProgressCounter(0, file_tree.size_of(path), progress)

    def upload_file(name: str) -> None:
        address = client.create_empty_artifacts(origin, container, [name]).artifact_content_information[name].content_uri
        blob, size = BlobClient.from_blob_url(address), files[name].stat().st_size
        with file_tree.reading(files[name]) as content:
            block_upload.put(blob, content, size, counter.add)
        if (arrived := blob.get_blob_properties().size) != size:
            text = f"{name} did not arrive whole: {arrived:,} of {size:,} bytes are there."
            raise WorkspaceUnavailable(text, "Try again: nothing was registered.")

    with ThreadPoolExecutor(_PARALLEL_UPLOADS, thread_name_prefix="upload") as pool:
        for future in [pool.submit(copy_context().run, upload_file, name) for name in files]:
            future.result()
    return f"{origin}/{container}/{path.name}"

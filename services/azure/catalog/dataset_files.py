"""The files of an SDK's dataset: their names and sizes, listed without fetching any."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.azure.auth.sdk_errors import is_not_found
from services.domain import DatasetFile

if TYPE_CHECKING:
    from azureml.data import FileDataset as SdkFileDataset


def list_files(dataset: SdkFileDataset) -> Iterator[DatasetFile]:
    """The files of the SDK's dataset: path below what they have in common by its definition, bytes, modification time."""
    from azureml.dataprep.api.functions import get_stream_properties

    flow, portable_path = dataset._dataflow._add_portable_path_column()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = flow.add_column(get_stream_properties(flow["Path"]), "Properties", "Path")
        records = flow._to_pyrecords()
    for record in records:
        properties = record["Properties"]
        modified_at = properties.get("LastModifiedTime")
        modified_ns = int(modified_at.timestamp() * 1e9) if isinstance(modified_at, datetime) else 0
        yield DatasetFile(str(record[portable_path]).lstrip("/"), int(properties["Size"]), modified_ns)


def list_files_if_any(dataset: SdkFileDataset) -> list[DatasetFile]:
    """As `list_files`; none where there is nothing at its path."""
    try:
        return list(list_files(dataset))
    except Exception as error:  # its class is dataprep's, which is not imported to name it
        if is_not_found(error):
            return []
        raise


def sizes_below(store: Any, folder: str) -> dict[str, int]:
    """Bytes by path of what is below a folder of a datastore; {} where there is nothing."""
    from azureml.core import Dataset as SdkDataset

    return {file.path: file.size for file in list_files_if_any(SdkDataset.File.from_files((store, f"{folder}/**"), validate=False))}

"""Datasets as the SDK has them: their files listed without fetching any, tabular ones read and defined.

Azure ML reads CSV with a reader of its own (azureml-dataprep), which is installed here too. Before an upload it reads the files once: a
script will get the columns under its names, and a table of which it would read other rows is refused. The columns' types are set to those
found over all rows; the SDK would guess them from the first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.auth.sdk_errors import is_not_found
from services.domain import DatasetFile
from services.errors import IntakeError
from services.intake.tabular import CSV, PARQUET, Table

if TYPE_CHECKING:
    from azureml.data import FileDataset as SdkFileDataset
    from azureml.data import TabularDataset as SdkTabularDataset

MAX_TAG = 4_000
"""Characters of the columns in a tag of the dataset; more of them are known on the machine that registered it only."""


class ReadsOtherwise(IntakeError):
    """You: a CSV of which Azure ML makes other rows than it has."""


def as_azure_reads(paths: Sequence[Path], table: Table) -> tuple[Table, bool]:
    """The table with the columns that Azure ML makes of these files, and whether it has to look for line breaks within quotes.

    Raises ReadsOtherwise where it makes other rows of them.
    """
    if table.format == PARQUET:
        return table, False
    for multi_line in (False, True):
        flow = _flow([str(path) for path in paths], multi_line)
        names = [name for record in flow.take(1)._to_pyrecords() for name in record]
        if len(names) != len(table.columns) or flow.keep_columns(names[0]).row_count != table.row_count:
            continue
        if multi_line and flow.filter(flow[names[0]].starts_with("\n")).row_count:  # an empty line, read as part of the next row
            continue
        types = (_DTYPE_AS_READ.get(dtype, dtype) for _, dtype in table.columns)
        return replace(table, columns=tuple(zip(names, types, strict=True))), multi_line
    text = "Azure ML would read other rows from these CSV files than they have."
    raise ReadsOtherwise(text, "Remove empty lines and lone carriage returns from the files, or use Parquet.")


_DTYPE_AS_READ = {"uint64": "str"}
"""Its integers end at 2**63: a larger one would become another number."""


def _flow(paths: list[str], multi_line: bool) -> Any:
    """What `from_delimited_files` builds, of files that it does not accept: those of this machine."""
    from azureml.data._dataprep_helper import dataprep
    from azureml.data.dataset_type_definitions import PromoteHeadersBehavior

    headers = PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS
    return dataprep().read_csv(paths, verify_exists=False, infer_column_types=False, separator=",", header=headers, quoting=multi_line)


def definition(source: Any, table: Table, *, multi_line: bool, partition_format: str | None) -> SdkTabularDataset:
    """The SDK's dataset, not registered yet, of a path in a datastore or an https address. Where the columns of a CSV are not known the SDK
    guesses them from its first rows, and raises what reading raises. Partition keys are strings, also those that look like numbers."""
    from azureml.core import Dataset
    from azureml.data.dataset_factory import DataType

    if table.format == PARQUET:
        return Dataset.Tabular.from_parquet_files(source, validate=False, partition_format=partition_format)
    types = {"int64": DataType.to_long, "float64": DataType.to_float, "bool": DataType.to_bool, "object": DataType.to_bool}
    keys = [] if table.columns else re.findall(r"\{(\w+)\}", partition_format or "")  # those with a colon are dates
    set_types = {name: types.get(dtype, DataType.to_string)() for name, dtype in table.columns}
    return Dataset.Tabular.from_delimited_files(
        source,
        validate=False,
        infer_column_types=not table.columns,
        set_column_types=set_types | {key: DataType.to_string() for key in keys} or None,
        partition_format=partition_format,
        support_multi_line=multi_line,
    )


def format_of(dataflow: str) -> str:
    """`parquet` or `csv`, by the reader in a dataset's definition."""
    return PARQUET if "read_parquet" in dataflow else CSV


# ---- files -----------------------------------------------------------------------------------------------------------


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

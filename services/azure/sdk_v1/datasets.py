"""`sdk.Datasets` by `azureml.core.Dataset`: listed, defined, registered; their files listed without fetching any.

Azure ML reads CSV with a reader of its own (azureml-dataprep), which is installed here too. Before an upload it reads the files once: a
script will get the columns under its names, and a table of which it would read other rows is refused. The columns' types are set to those
found over all rows; the SDK would guess them from the first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.auth.sdk_errors import unless_not_found
from services.azure.catalog import downloads
from services.azure.catalog.datasets import DATASTORE_PATH, tags_of_people
from services.azure.sdk import DatasetVersion, NewDataset, ReadsOtherwise, Store
from services.azure.sdk_v1.session import Part, Session
from services.domain import Dataset, DatasetFile, Metadata, TabularDataset
from services.errors import NotFound, SettingsError
from services.intake.tabular import CSV, PARQUET, Table

if TYPE_CHECKING:
    from azureml.data import FileDataset as SdkFileDataset
    from azureml.data import TabularDataset as SdkTabularDataset


class Datasets(Part):
    changed_characters = frozenset('"%&*:<>?|')
    """What the SDK's data access writes and reads as %22 and so on."""
    versions_apart = False
    deletion = "It is unregistered in Azure ML, for everyone who uses the workspace; its files stay in their datastore."

    def all(self, known: Collection[str]) -> Iterator[DatasetVersion]:
        """`list(workspace.datasets)` is always empty, and its values cost two calls each; this is the one call behind it."""
        from azureml.data._dataset_rest_helper import _custom_headers, _make_request, _restclient

        workspace = self._session.client
        where = (workspace.subscription_id, workspace.resource_group, workspace.name)
        client, headers = _restclient(workspace).dataset, {"custom_headers": _custom_headers}
        list_datasets = partial(client.list, *where, include_latest_definition=True, page_size=100, **headers)
        list_versions = partial(client.get_all_dataset_definitions, *where, **headers)

        def pages(get_page: Callable[..., Any]) -> Iterator[Any]:
            token = None
            while True:
                succeeded, answer = _make_request(lambda: get_page(continuation_token=token))
                if not succeeded:
                    raise answer
                yield from answer.value
                if not (token := answer.continuation_token):
                    return

        for registered in pages(list_datasets):
            newest = int(registered.latest.version_id)
            definitions = {newest: registered.latest}
            references = {version: f"{registered.name}:{version}" for version in range(1, newest + 1)}
            if any(reference not in known for version, reference in references.items() if version != newest):
                for definition in pages(partial(list_versions, registered.dataset_id)):
                    definitions.setdefault(int(definition.version_id), definition)
            for version, reference in references.items():
                if reference in known or version in definitions:
                    yield _version(registered, version, definitions.get(version))

    def files(self, dataset: Dataset) -> Iterator[DatasetFile]:
        return list_files(self._as_files(dataset))

    def files_at(self, place: str) -> list[DatasetFile]:
        from azureml.core import Dataset
        from requests import HTTPError

        if not place.startswith("azureml"):
            with suppress(HTTPError):  # of a host that takes no HEAD
                downloads.file_on_the_web(place)  # where it can't be reached, the data access goes on trying for minutes
        return unless_not_found(lambda: list(list_files(Dataset.File.from_files(self.source(place), validate=False)))) or []

    def download(self, dataset: Dataset, folder: Path, number: int | None = None) -> None:
        files = self._as_files(dataset)
        (files if number is None else files.skip(number).take(1)).download(str(folder), overwrite=True)

    def store(self, name: str = "") -> Store:
        from azureml.core import Datastore

        workspace = self._session.client
        datastore = Datastore.get(workspace, name) if name else workspace.get_default_datastore()
        return Store(str(datastore.name), container_of(datastore, self._session))

    def as_read(self, paths: Sequence[Path], table: Table) -> tuple[Table, bool]:
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

    def register(self, new: NewDataset) -> DatasetVersion:
        """A new version takes the place of description and tags, of which Azure ML has one for all versions: they go along."""
        from azureml.core import Dataset

        source = self.source(new.place)
        if new.table:
            dataset = definition(source, new.table, multi_line=new.multi_line, partition_format=new.partition_format)
        else:
            dataset = Dataset.File.from_files(source, validate=False, partition_format=new.partition_format)
        before = unless_not_found(lambda: self._latest(new.name))
        tags = tags_of_people(before and before.tags)
        description = new.description or (before and before.description) or ""
        made = dataset.register(self._session.client, new.name, description or None, {**tags, **new.own}, create_new_version=True)
        return DatasetVersion(new.name, int(made.version), new.table is not None, new.place, tags=tags, description=description)

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        """By `Dataset.update`: `add_tags` changes no value, and two requests may leave the one without the other."""
        dataset = self._latest(reference)
        after = {key: value for key, value in {**(dataset.tags or {}), **tags}.items() if value} if tags else None
        dataset = dataset.update(description=note, tags=after)
        return Metadata(note=dataset.description or "", tags=dict(dataset.tags or {}))

    def unregister(self, reference: str) -> None:
        self._latest(reference).unregister_all_versions()

    def _latest(self, reference: str) -> Any:
        from azureml.core import Dataset

        return Dataset.get_by_name(self._session.client, reference.partition(":")[0])

    def _as_files(self, dataset: Dataset) -> SdkFileDataset:
        """The SDK's file dataset of it, or of the files that a tabular one's rows are in. Raises NotFound where these aren't known."""
        from azureml.core import Dataset as SdkDataset

        if not isinstance(dataset, TabularDataset):
            return SdkDataset.get_by_name(self._session.client, dataset.name, version=dataset.version)
        if not DATASTORE_PATH.fullmatch(dataset.root):
            text = f"The files of the tabular dataset {dataset} can't be listed: they are not in one folder of a datastore."
            raise NotFound(text, "Azure ML studio shows them.")
        return SdkDataset.File.from_files(self.source(dataset.root + ("" if dataset.in_place else "/**")), validate=False)

    def source(self, place: str) -> Any:
        """A place as the SDK takes it."""
        from azureml.core import Datastore

        if match := DATASTORE_PATH.fullmatch(place):
            return Datastore.get(self._session.client, match[1]), match[2]
        if place.startswith("azureml"):
            raise SettingsError("path", f"“{place}” is not a path in a datastore", "Write azureml://datastores/NAME/paths/PATH.")
        return place


def container_of(datastore: Any, session: Session) -> Any:
    """As of a `sdk.Store`. Where the workspace keeps no secret of the storage, it is opened as who is signed in."""
    service = getattr(datastore, "blob_service", None)
    if service is None or datastore.sas_token or datastore.account_key:
        return service and service.get_container_client(datastore.container_name)
    from azureml._vendor.azure_storage.blob import ContainerClient

    return ContainerClient(service.url, datastore.container_name, credential=session.credential)


def _version(registered: Any, version: int, definition: Any) -> DatasetVersion:
    """The tags are those of all versions; this program's own among them is the latest one's. Of a version that is known there is no
    definition."""
    latest = version == int(registered.latest.version_id)
    tabular, dataflow = registered.dataset_type == "tabular", definition.dataflow or "" if definition else ""
    return DatasetVersion(
        registered.name,
        version,
        tabular,
        _root_of(dataflow),
        format="" if not tabular else PARQUET if "read_parquet" in dataflow else CSV,
        tags=registered.tags or {} if latest else tags_of_people(registered.tags),
        description=registered.description or "",
        created_at=(definition.created_time if definition else None) or registered.created_time,
    )


def _root_of(dataflow: str) -> str:
    """The datastore path in a dataset's definition, without its glob; "" where there is none, or several."""
    paths = {match.groups() for match in re.finditer(r"azureml:/+[^\s\"'\\]*?datastores/([^/\s]+)/paths/([^\s\"'\\]+)", dataflow)}
    return "".join(f"azureml://datastores/{store}/paths/{path.removesuffix('/**')}" for store, path in paths) if len(paths) == 1 else ""


# ---- tabular ones ----------------------------------------------------------------------------------------------------


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

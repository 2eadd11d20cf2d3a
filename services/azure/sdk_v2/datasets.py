"""`sdk.Datasets` by data assets: a folder, a file, or an MLTable file, which this program writes of tables, of a pattern, and of files with
partition keys."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import log
from services.azure.auth.sdk_errors import unless_not_found
from services.azure.catalog import downloads, mltables
from services.azure.catalog.datasets import DATASTORE_PATH, TAG
from services.azure.catalog.downloads import in_parallel
from services.azure.sdk import DatasetVersion, NewDataset, ReadsOtherwise, Store
from services.azure.sdk_v2.session import Part, checked, created_at, described, number_of, parsed
from services.azure.sdk_v2.storage import blobs_at, store
from services.domain import Dataset, DatasetFile, Metadata
from services.errors import NotFound, SettingsError
from services.intake.tabular import CSV, PARQUET, Table, rows_are_lines

if TYPE_CHECKING:
    from azure.ai.ml.entities import Data

logger = logging.getLogger(__name__)


class Datasets(Part):
    changed_characters: frozenset[str] = frozenset()
    versions_apart = True
    deletion = "It is archived in Azure ML, where lists leave it out for everyone; its files stay in their datastore."

    def all(self, known: Collection[str]) -> Iterator[DatasetVersion]:
        """Of an MLTable file that another program wrote, it tells whether an item is a row."""
        names = [str(asset.name) for asset in self._session.client.data.list()]
        assets = chain.from_iterable(in_parallel(self._versions, names))
        yield from in_parallel(lambda asset: self._version(asset, known), assets)

    def _versions(self, name: str) -> list[Data]:
        """Those that the program can name, oldest first; [] where there is no such dataset."""
        assets = unless_not_found(lambda: list(self._session.client.data.list(name))) or []
        return sorted(filter(number_of, assets), key=number_of)

    def _version(self, asset: Data, known: Collection[str]) -> DatasetVersion:
        tags = (asset.tags or {}) | {key: value for key, value in (asset.properties or {}).items() if key == TAG}
        root, table_format = _short(str(asset.path)), ""
        with suppress(ValueError, AttributeError):
            table_format = json.loads(tags.get(TAG, "{}")).get("format", "")
        if asset.type == "mltable" and TAG not in tags and f"{asset.name}:{asset.version}" not in known:
            root, table_format = self._read_mltable(root)
        return DatasetVersion(
            str(asset.name), number_of(asset), bool(table_format), root, table_format, tags, asset.description or "", created_at(asset)
        )

    def _read_mltable(self, place: str) -> tuple[str, str]:
        """The place of its files, "" where there are several or it can't be read; the format of its rows, "" where its items are files."""
        if not DATASTORE_PATH.fullmatch(place):  # as of a dataset of SDK v1: where its files are the SDK doesn't tell
            return "", CSV
        known = "", CSV
        with log.suppress(logger, f"The MLTable file of {place} can't be read", Exception):  # of storage, of YAML, of what is in it
            container, blobs = blobs_at(self._session, f"{place.rstrip('/')}/MLTable")
            root, table_format = mltables.described(container.download_blob(blobs["MLTable"].name).readall(), place)
            known = _short(root), table_format
        return known

    # ---- their files -----------------------------------------------------------------------------------------------------------------

    def files(self, dataset: Dataset) -> Iterator[DatasetFile]:
        if not dataset.root:
            raise NotFound(f"The files of {dataset} can't be listed: they are not in one place.", "Azure ML studio shows them.")
        yield from self.files_at(dataset.root)

    def files_at(self, place: str) -> list[DatasetFile]:
        if not place.startswith("azureml"):
            return [downloads.file_on_the_web(place)]
        if not DATASTORE_PATH.fullmatch(place):
            raise SettingsError("path", f"“{place}” is not a path in a datastore", "Write azureml://datastores/NAME/paths/PATH.")
        blobs = blobs_at(self._session, place)[1]
        return [DatasetFile(path, blob.size, int(blob.last_modified.timestamp() * 1e9)) for path, blob in sorted(blobs.items())]

    def download(self, dataset: Dataset, folder: Path, number: int | None = None) -> None:
        if not dataset.root.startswith("azureml"):
            downloads.fetch_from_the_web(dataset.root, folder)
            return
        container, blobs = blobs_at(self._session, dataset.root)
        wanted = sorted(blobs.items())[slice(number, None if number is None else number + 1)]
        downloads.fetch(container, {folder / downloads.relative_path(path): blob for path, blob in wanted}, lambda _done, _total: None)

    def store(self, name: str = "") -> Store:
        return store(self._session, name)

    # ---- registering -----------------------------------------------------------------------------------------------------------------

    def as_read(self, paths: Sequence[Path], table: Table) -> tuple[Table, bool]:
        """Of a CSV whose rows are lines. Of others the reader may make other rows, and it may not be on this machine to try."""
        if table.format == PARQUET:
            return table, False
        if not rows_are_lines(paths, table):
            text = "Azure ML may read other rows from these CSV files than they have."
            raise ReadsOtherwise(text, "Remove empty lines, and line breaks within quotes, or use Parquet.")
        return replace(table, columns=tuple((name, "str" if dtype == "uint64" else dtype) for name, dtype in table.columns)), False

    def register(self, new: NewDataset) -> DatasetVersion:
        """Its own tag is a property, which nobody sees among the tags."""
        from azure.ai.ml.constants import AssetTypes
        from azure.ai.ml.entities import Data

        client, name, path = self._session.client, checked(new.name, "name"), new.place.removesuffix("/**")
        kind = self._kind(path)
        type_ = AssetTypes.URI_FILE if kind == "file" else AssetTypes.URI_FOLDER
        if new.table or new.partition_format or kind == "pattern":
            content = mltables.mltable([{kind: self.long_form(path)}], new.table, new.partition_format)
            path, type_ = self.write_mltable(f"{name}/tables", content), AssetTypes.MLTABLE
        asset = Data(name=name, path=path, type=type_, description=new.description or None, properties=dict(new.own))
        for before in self._versions(name)[-1:]:
            asset.description, asset.tags = new.description or before.description, before.tags
        return self._version(client.data.create_or_update(asset), ())

    def _kind(self, place: str) -> str:
        """What an MLTable file calls it: `file`, `folder` or `pattern`."""
        if not place.startswith("azureml"):
            return "file"
        if downloads.WILDCARD.search(place):
            return "pattern"
        blobs = blobs_at(self._session, place)[1]
        return "file" if len(blobs) == 1 and place.endswith("/" + next(iter(blobs.values())).name) else "folder"

    def long_form(self, place: str) -> str:
        """A place as it may be read from anywhere."""
        client = self._session.client
        here = f"subscriptions/{client.subscription_id}/resourcegroups/{client.resource_group_name}/workspaces/{client.workspace_name}"
        match = DATASTORE_PATH.fullmatch(place)
        return f"azureml://{here}/datastores/{match[1]}/paths/{match[2]}" if match else place

    def write_mltable(self, name: str, content: Mapping[str, Any]) -> str:
        """Into a folder of its own, named by its content, which is returned: beside the files it would be one of them."""
        text, here = mltables.yaml_of(content), self.store()
        folder = f"batch-scoring-studio/{name}/{hashlib.sha256(text).hexdigest()[:16]}"
        here.blobs.upload_blob(f"{folder}/MLTable", text, overwrite=True)
        return f"azureml://datastores/{here.name}/paths/{folder}/"

    def describe(self, reference: str, *, note: str | None = None, tags: Mapping[str, str] | None = None) -> Metadata:
        return described(self._session.client.data, reference, "dataset", note, tags)

    def unregister(self, reference: str) -> None:
        """Archived, which is all that the SDK has."""
        self._session.client.data.archive(*parsed(reference, "dataset"))


def _short(place: str) -> str:
    """Without the workspace, and without the slash at the end of a folder."""
    match = DATASTORE_PATH.fullmatch(place)
    return f"azureml://datastores/{match[1]}/paths/{match[2]}".rstrip("/") if match else place

"""A dataset, looked over before it is registered: its files, its keys, its rows; and the lists that are kept of them.

```
<home>/datasets/<name>/<version>/
  manifest.jsonl    what mini-batches are cut from: the files, or slices of them (see batching.py)
  files.jsonl       of a tabular dataset: its files
```
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from services.domain import Dataset, DatasetFile, FileDataset, TabularDataset, utc_now
from services.errors import IntakeError, SettingsError
from services.file_names import short
from services.intake import file_patterns, tabular
from services.intake.partition_format import PartitionFormat
from services.storage.manifest import manifest_line


@dataclass(frozen=True)
class DatasetInspection:
    """What was found. `lists` are the files to keep in the dataset's folder, the manifest first; `table` is None for a file dataset."""

    lists: tuple[Path, ...]
    manifest_sha256: str
    file_count: int
    size: int
    glob: str
    partition_format: str
    table: tabular.Table | None

    def dataset(self, name: str, version: int, root: Path, folder: Path, *, in_place: bool, description: str) -> Dataset:
        """The dataset, its lists being in `folder` by now."""
        common = (
            name, version, str(root), self.glob, in_place, self.file_count, self.size, str(folder / tabular.MANIFEST),
            self.manifest_sha256, utc_now(), description, self.partition_format,
        )  # fmt: skip
        if self.table is None:
            return FileDataset(*common)
        return TabularDataset(*common, self.table.format, self.table.columns, self.table.row_count)


def check_type(type_: str) -> None:
    """Raises SettingsError on `type`."""
    if type_ not in (FileDataset.type, TabularDataset.type):
        raise SettingsError("type", f"“{type_}” is not a type of dataset", "Choose file or tabular.")


def inspect_dataset(root: Path, glob: str, type_: str, partition_format: str, staging: Path) -> DatasetInspection:
    """The files below `root` that match `glob`, as a dataset of that type; its lists are written into `staging`.

    Raises SettingsError on `type` or `partition_format`, and whatever file_patterns.collect_files and tabular.describe raise.
    """
    check_type(type_)
    keys = PartitionFormat.parse(partition_format) if partition_format else None
    lists = [staging / tabular.MANIFEST] if type_ == FileDataset.type else [staging / tabular.MANIFEST, staging / tabular.FILES]
    count = size = 0
    with open(lists[-1], "wb") as lines:
        for file in file_patterns.collect_files(root, glob):
            if keys:
                _check_keys(file, keys, partition_format)
            lines.write(manifest_line(file))
            count, size = count + 1, size + file.size
    table = None
    if type_ == TabularDataset.type:
        table = tabular.describe(root if root.is_dir() else root.parent, staging)
        for key in keys.keys if keys else ():
            if key in dict(table.columns):
                text = f"the files have a column “{short(key)}”, so no key can be called so"
                raise SettingsError("partition_format", text, "Call the key otherwise: it becomes a column of its own.")
    with open(lists[0], "rb") as manifest:
        sha256 = hashlib.file_digest(manifest, "sha256").hexdigest()
    return DatasetInspection(tuple(lists), sha256, count, size, glob, partition_format, table)


def _check_keys(file: DatasetFile, keys: PartitionFormat, partition_format: str) -> None:
    if keys.values(file.path) is None:
        text = f"The path “{short(file.path)}” is not of the partition format “{short(partition_format)}”."
        raise IntakeError(text, "The format goes from the first key to the end of the path; a key’s value holds no / and no dot.")


def list_of_files(dataset: Dataset) -> Path:
    """The list of a dataset's files."""
    manifest = Path(dataset.manifest)
    return manifest.with_name(tabular.FILES) if isinstance(dataset, TabularDataset) else manifest


def changes_since_registration(root: str, file: DatasetFile) -> str | None:
    """A sentence where the file isn't what it was when it was registered."""
    try:
        now = os.stat(os.path.join(root, file.path))
    except OSError:
        return f"{file.path} is gone since it was registered."
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
        return f"{file.path} was changed since it was registered."
    return None

"""A dataset, inspected before it is registered: its files, its keys, its rows; and the lists that are kept of them.

```
<home>/datasets/<name>/<version>/
  manifest.jsonl    what mini-batches are cut from: the files, or slices of them (see batching.py)
  files.jsonl       of a tabular dataset: its files
  sources.jsonl     where these were made of others: what each was made of
```
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.domain import Dataset, DatasetFile, FileDataset, TableReading, TabularDataset, utc_now
from services.errors import IntakeError, SettingsError
from services.file_names import hidden_kind, junk_kind, short
from services.formats import counted
from services.intake import item_kinds, tables, tabular
from services.intake.archives import Unpacked, extract_archive, is_archive
from services.intake.partition_format import PartitionFormat
from services.storage.file_tree import file_stat, may_read, stat_of, walk
from services.storage.manifest import SOURCES, manifest_line, read_manifest


@dataclass(frozen=True)
class DatasetOptions:
    """How files become a dataset: see `services.workspace.Workspace.register_dataset`."""

    type: str = FileDataset.type
    glob: str = "**"
    partition_format: str = ""
    description: str = ""
    copy: bool = False
    keep_archive: bool = False
    reading: TableReading | None = None


@dataclass(frozen=True)
class DatasetInspection:
    """What was found. `lists` are the files to keep in the dataset's folder, the manifest first, the list of files last. `table` is None
    for a file dataset."""

    lists: tuple[Path, ...]
    manifest_sha256: str
    file_count: int
    size: int
    glob: str
    partition_format: str
    table: tabular.Table | None
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()
    kinds: item_kinds.Kinds | None = None
    reading: tables.Reading | None = None
    converted: Path | None = None
    """The folder of the Parquet files that were made of those of the dataset, which are now the dataset's."""
    said: TableReading = field(default_factory=TableReading)
    """What a person said of how to read the files."""
    source_partition_format: str = ""

    def unpacked_from(self, archive: Unpacked | None) -> DatasetInspection:
        """The same, with what was left out when its files were unpacked."""
        if archive is None:
            return self
        return replace(self, left_out=dict(archive.left_out + Counter(self.left_out)), notes=archive.notes + self.notes)

    def dataset(self, name: str, version: int, root: Path, folder: Path, *, in_place: bool, description: str) -> Dataset:
        """The dataset, its lists being in `folder` by now."""
        common = (
            name, version, str(root), self.glob, in_place, self.file_count, self.size, str(folder / tabular.MANIFEST),
            self.manifest_sha256, utc_now(), description, self.partition_format, self.left_out, self.notes,
        )  # fmt: skip
        if self.table is None:
            dataset = FileDataset(*common)
            if kinds := self.kinds:
                dataset = replace(dataset, item_kind=kinds.kind, problems=kinds.problems, problem_count=kinds.problem_count)
            return dataset
        dataset_ = TabularDataset(*common, format=self.table.format, columns=self.table.columns, row_count=self.table.row_count)
        if reading := self.reading:
            about = reading.source_format, reading.dialect, reading.types
            dataset_ = replace(dataset_, source_format=about[0], dialect=about[1], column_types=about[2])
        return dataset_


_NOT_FOLLOWED = "Links to folders are not followed: to score what is in them, register the folder itself, or put it in the link's place."


def check_type(type_: str) -> None:
    """Raises SettingsError on `type`."""
    if type_ not in (FileDataset.type, TabularDataset.type):
        raise SettingsError("type", f"“{type_}” is not a type of dataset", "Choose file or tabular.")


def unpack_archive(root: Path, staging: Path) -> Unpacked | None:
    """Unpack `root` into `staging`/files where it is an archive, by its name; None where it is none. Raises as `extract_archive`."""
    return extract_archive(root, staging / "files") if is_archive(root) else None


def inspect_dataset(
    root: Path,
    glob: str,
    type_: str,
    partition_format: str,
    staging: Path,
    reading: TableReading | None = None,
    *,
    as_parquet: bool = False,
    skip: Callable[[DatasetFile], bool] = lambda _: False,
) -> DatasetInspection:
    """The files below `root` that match `glob`, as a dataset of that type; its lists are written into `staging`, and the files that had to
    be made (of all texts of a table with `as_parquet`). `skip` says which files are none of the dataset's yet. Raises SettingsError on
    `type` or `partition_format`, and whatever collect_files and tables.describe raise."""
    check_type(type_)
    keys = PartitionFormat.parse(partition_format) if partition_format else None
    lists = [staging / tabular.MANIFEST] if type_ == FileDataset.type else [staging / tabular.MANIFEST, staging / tabular.FILES]
    count = size = 0
    left_out: Counter[str] = Counter()
    with open(lists[-1], "wb") as lines:
        for file in collect_files(root, glob, left_out, hidden=type_ == FileDataset.type):
            if keys and keys.values(file.path) is None:
                raise keys.mismatch(file.path)
            if skip(file):
                continue
            lines.write(manifest_line(file))
            count, size = count + 1, size + file.size
    table = kinds = found = converted = None
    of_sources = partition_format
    if type_ == FileDataset.type:
        kinds = item_kinds.look_at_files(root if root.is_dir() else root.parent, lists[0], count)
    else:
        base = root if root.is_dir() else root.parent
        found = tables.describe(base, staging, reading or TableReading(), as_parquet=as_parquet)
        table = found.table
        if found.converted:
            converted = staging / tables.CONVERTED
            lists.insert(1, staging / SOURCES)
            listed = list(read_manifest(lists[-1]))
            count, size = len(listed), sum(file.size for file in listed)
            partition_format = _of_converted(partition_format, listed)
        for key in keys.keys if keys else ():
            if key in dict(table.columns):
                text = f"the files have a column “{short(key)}”, so no key can be called so"
                raise SettingsError("partition_format", text, "Call the key otherwise: it becomes a column of its own.")
    with open(lists[0], "rb") as manifest:
        sha256 = hashlib.file_digest(manifest, "sha256").hexdigest()
    notes = (_NOT_FOLLOWED,) if left_out[Dataset.LINKED_FOLDERS] else ()
    more = table.notes if table else kinds.notes if kinds else ()
    return DatasetInspection(
        tuple(lists), sha256, count, size, glob, partition_format, table, dict(+left_out), notes + more, kinds, found, converted,
        reading or TableReading(), of_sources,
    )  # fmt: skip


def _of_converted(partition_format: str, files: Sequence[DatasetFile]) -> str:
    """The partition format of files that are called NAME.parquet, for that of those they were made of."""
    if not partition_format:
        return ""
    for text in (partition_format, f"{partition_format}.parquet", f"{partition_format}.*.parquet"):
        keys = PartitionFormat.parse(text)
        if all(keys.values(file.path) is not None for file in files):
            return text
    raise PartitionFormat.parse(partition_format).mismatch(files[0].path)


def list_of_files(dataset: Dataset) -> Path:
    manifest = Path(dataset.manifest)
    return manifest.with_name(tabular.FILES) if isinstance(dataset, TabularDataset) else manifest


# ---- files by a pattern ----------------------------------------------------------------------------------------------------------


def collect_files(
    root: Path, glob: str, left_out: Counter[str] | None = None, *, hidden: bool = True, may_be_none: bool = False
) -> Iterator[DatasetFile]:
    """The files of folder `root` whose relative path matches `glob`, sorted by it; or `root` itself where it is one file.

    In a pattern `*`, `?` and `[...]` stay within one name and `**` stands for any number of folders, none included: `*.csv` are the files
    at the top, `**/*.csv` those anywhere, `2026/**` all below one folder. Case counts. Links to files are followed, links to folders
    are not, and what file browsers and Jupyter leave behind is no file of the dataset; nor are, without `hidden`, names that begin with `_`
    or `.`. What matches and is left out so is counted in `left_out` by its kind (see domain.Dataset), a folder as one.

    While it is read, raises NotFound where there is no `root`, SettingsError on `glob` for a pattern that is none, and IntakeError for an
    empty folder or one without a match, unless there `may_be_none`, and for a file or folder that can't be read.
    """
    matches = glob_pattern(glob).fullmatch
    info = stat_of(root)
    if stat.S_ISREG(info.st_mode):
        if not may_read(root):
            raise IntakeError(f"{root} can't be read: permission denied.", "Allow reading it.")
        yield DatasetFile(root.name, info.st_size, info.st_mtime_ns)
        return
    left_out = Counter() if left_out is None else left_out

    def leave_out(path: str) -> bool:
        folder = path.endswith("/")
        name = path.rstrip("/").rpartition("/")[2]
        kind = junk_kind(name) or (not hidden and hidden_kind(name)) or ""
        if kind and (folder or matches(path)):
            left_out[f"{kind}/" if folder else kind] += 1
        return bool(kind)

    seen = matched = 0
    for relative, entry in walk(root, leave_out):
        if not matches(relative):
            seen += 1
        elif file := file_stat(entry, relative):
            matched += 1
            yield DatasetFile(relative, file.st_size, file.st_mtime_ns)
        else:
            left_out[Dataset.LINKED_FOLDERS] += 1
    if not matched and not may_be_none:
        holds = f"holds {counted(seen, 'file')}, none of which matches {glob}" if seen else "holds no files"
        besides = f"; {left_out.total():,} left out ({', '.join(left_out)})" if left_out else ""
        text = f"The folder {root} {holds}{besides}."
        raise IntakeError(text, "Choose another folder or pattern; **/*.csv means CSV files at any depth.")


def glob_pattern(glob: str) -> re.Pattern[str]:
    """`glob` as a regular expression for relative paths."""
    segments = [segment for segment in glob.split("/") if segment != "."]
    if not segments or not glob or glob.startswith("/") or ".." in segments:
        raise SettingsError("glob", f"“{short(glob)}” is not a pattern of files in the folder", "Write for example ** or *.csv.")
    *folders, last = segments
    if last in ("**", ""):
        folders, last = [*folders, "**"], "*"
    return re.compile("".join("(?:[^/]+/)*" if name == "**" else _name(name) + "/" for name in folders) + _name(last))


def _name(pattern: str) -> str:
    """The pattern of one name as a regular expression. A `*` never takes back what it took, so no pattern runs for ever."""
    parts = [""]
    for token in re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if token == "*":
            parts.append("")
        elif token == "?":
            parts[-1] += "[^/]"
        elif len(token) == 1:
            parts[-1] += re.escape(token)
        else:
            parts[-1] += "(?!/)" + fnmatch.translate(token).removeprefix("(?s:")[: -len(r")\Z")]
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + "[^/]*" + last

"""What files would be registered as, and why: asked before anything is registered, recognized by a sample of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.domain import DatasetFile, DatasetProposal, FileDataset, ItemKind, TableReading, TabularDataset
from services.errors import IntakeError, SettingsError
from services.formats import counted
from services.intake import item_kinds, sniffing, tables
from services.intake.datasets import collect_files, unpack_archive
from services.intake.staging import staging_folder
from services.intake.tabular import FILES
from services.storage.file_tree import path_given
from services.storage.manifest import manifest_line

AUTO = "auto"

_LOOKED_AT = 20  # files whose format tells that of all


def propose(home: Path, path: str | Path, glob: str, type_: str, reading: TableReading, *, keep_archive: bool = False) -> DatasetProposal:
    """What the files below `path`, or in the archive there, that match `glob` are; by their content where `type_` is auto. Raises
    SettingsError, NotFound, IntakeError."""
    root = path_given(path)
    with staging_folder(home) as staging:
        archive = None if keep_archive else unpack_archive(root, staging)
        return _proposal(staging / "files" if archive else root, glob, type_, reading, staging)


def _proposal(root: Path, glob: str, type_: str, reading: TableReading, staging: Path) -> DatasetProposal:
    if type_ not in (AUTO, FileDataset.type, TabularDataset.type):
        raise SettingsError("type", f"“{type_}” is not a type of dataset", "Choose auto, file or tabular.")
    sniffing.check_reading(reading)
    base = root if root.is_dir() else root.parent
    if type_ == FileDataset.type:
        return _as_files(base, list(collect_files(root, glob)), staging)
    files = _of_a_table(root, glob)
    if type_ == TabularDataset.type:
        return _as_table(base, files or list(collect_files(root, glob)), reading, staging)
    if files and _looks_like_a_table(base, files):
        try:
            return _as_table(base, files, reading, staging)
        except (IntakeError, SettingsError) as error:
            if isinstance(error, SettingsError) or all(is_table_by_format(base / file.path) for file in files[:_LOOKED_AT]):
                raise
            proposal = _as_files(base, list(collect_files(root, glob)), staging)
            return DatasetProposal(**vars(proposal) | {"notes": (f"Together they are not a table. {error.message}", *proposal.notes)})
    return _as_files(base, list(collect_files(root, glob)), staging)


def auto_type(root: Path, glob: str) -> str:
    """`file` or `tabular`: what `propose` would say, by the beginnings of some files, in milliseconds. Raises as `collect_files`."""
    files = _of_a_table(root, glob)
    is_table = files and _looks_like_a_table(root if root.is_dir() else root.parent, files)
    return TabularDataset.type if is_table else FileDataset.type


def _of_a_table(root: Path, glob: str) -> list[DatasetFile]:
    """The files without those that Spark and Hive take for no part of a table; none where all are hidden."""
    try:
        return list(collect_files(root, glob, hidden=False))
    except IntakeError:
        return []


def _looks_like_a_table(base: Path, files: Sequence[DatasetFile]) -> bool:
    """Whether rows are the items: of files in a format for tables, of texts with many rows, and of a single one with a header."""
    sample = files[:: -(-len(files) // _LOOKED_AT)]
    if all(is_table_by_format(base / file.path) for file in sample):
        return True
    looks = [item_kinds.look_at(base / file.path).kind for file in sample]
    if len(files) == 1:
        return looks[0] in (ItemKind.TABLE_FILE, ItemKind.HEADED_ROW_FILE)
    return looks.count(ItemKind.TABLE_FILE) * 2 > len(looks)


def is_table_by_format(path: Path) -> bool:
    """Whether a file is Parquet, a workbook or JSON Lines of more than one line."""
    try:
        its = sniffing.format_of(path, path.name)
        if its.format != sniffing.JSON_LINES:
            return its.format in (sniffing.PARQUET, sniffing.EXCEL)
        with sniffing.content_of(path, path.name, its.compression) as content:
            lines = [line for line in content.read(item_kinds.HEAD).splitlines() if line.strip()][:2]
        return len(lines) > 1 and all(line.lstrip(b"\xef\xbb\xbf ").startswith(b"{") for line in lines) and lines[0].rstrip().endswith(b"}")
    except IntakeError:
        return False


def _as_files(base: Path, files: Sequence[DatasetFile], staging: Path) -> DatasetProposal:
    manifest = staging / "proposed.jsonl"
    manifest.write_bytes(b"".join(map(manifest_line, files)))
    kinds = item_kinds.look_at_files(base, manifest, len(files))
    content = kinds.kind.value.removeprefix("a file of ")
    if kinds.kind in (ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE):
        number = counted(kinds.fields, "number" if kinds.kind is ItemKind.ROW_FILE else "value")
        content = f"{content.removesuffix(' of numbers')} of {number}"
    holds = "holds many rows" if kinds.kind is ItemKind.TABLE_FILE else f"is {content}"
    holds = "is not a table, an image or a text" if kinds.kind is ItemKind.OTHER else holds
    item = "each file is one item" if kinds.kind is ItemKind.TABLE_FILE else "each is one item"
    these = "This file" if len(files) == 1 else f"Each of these {counted(len(files), 'file')}"
    why = f"{these} {holds}: {'one item' if len(files) == 1 else item}."
    if kinds.problem_count and len(files) > 1:
        why = why.replace("Each of these", "Most of these", 1).replace(" is ", " are each ", 1).replace(" holds ", " hold ", 1)
    columns = tuple((name, "number" if kinds.kind is ItemKind.ROW_FILE else "") for name in kinds.header)
    return DatasetProposal(
        FileDataset.type, kinds.kind, why, columns=columns if all(word for _, word in columns) else (), problems=kinds.problems,
        problem_count=kinds.problem_count, notes=kinds.notes, file_count=len(files), item_count=len(files),
    )  # fmt: skip


def _as_table(base: Path, files: Sequence[DatasetFile], reading: TableReading, staging: Path) -> DatasetProposal:
    folder = staging / "proposed"
    folder.mkdir()
    (folder / FILES).write_bytes(b"".join(map(manifest_line, files)))
    found = tables.sample(base, folder, reading)
    rows = "rows" if found.table.row_count is None else counted(found.table.row_count, "row")
    these = "this file" if len(files) == 1 else f"these {counted(len(files), 'file')}"
    why = f"Each row of {these} is one item: {rows}, {counted(len(found.table.columns), 'column')}."
    names = [name for name, _ in found.table.columns]
    return DatasetProposal(
        TabularDataset.type, ItemKind.TABLE_ROW, why, found.reading, tuple(zip(names, found.types, strict=True)), found.rows,
        notes=found.table.notes, file_count=len(files), item_count=found.table.row_count, source_format=found.source_format,
        sheets=found.sheets, leading_zeros=found.table.leading_zeros,
    )  # fmt: skip

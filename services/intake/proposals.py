"""What files would be registered as: asked before anything is registered, told by a sample of them in a process of its own."""

from __future__ import annotations

from pathlib import Path

from services.domain import DatasetProposal, FileDataset, ItemKind, TableReading, TabularDataset
from services.errors import SettingsError
from services.formats import counted
from services.intake.datasets import collect_files, inspect_dataset

AUTO = "auto"


def propose(root: Path, glob: str, type_: str, reading: TableReading, staging: Path) -> DatasetProposal:
    """What the files below `root` that match `glob` are. Raises SettingsError, NotFound, IntakeError."""
    if type_ not in (AUTO, FileDataset.type, TabularDataset.type):
        raise SettingsError("type", f"“{type_}” is not a type of dataset", "Choose auto, file or tabular.")
    files = list(collect_files(root, glob))
    base = root if root.is_dir() else root.parent
    with open(base / files[0].path, "rb") as first:
        is_table = first.read(1 << 16).count(b"\n") > 2
    if type_ == FileDataset.type or (type_ == AUTO and not is_table):
        kind = ItemKind.ROW_FILE
        return DatasetProposal("file", kind, f"Each of these {counted(len(files), 'file')} is one item.", file_count=len(files))
    table = inspect_dataset(root, glob, TabularDataset.type, "", staging).table
    assert table is not None
    why = f"Each row of these {counted(len(files), 'file')} is one item: {table.row_count:,} rows, {len(table.columns):,} columns."
    proposal = DatasetProposal("tabular", ItemKind.TABLE_ROW, why, file_count=len(files), item_count=table.row_count)
    return proposal

"""The items of a trial: which they are, and manifests of their own, from which a worker reads them as it does in a run.

A row is cut out of its slice: of a CSV as the bytes of its record, of Parquet as a file of chosen rows in the trial's folder, since a
worker reads whole row groups only.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from services.domain import MiniBatch
from services.errors import IntakeError, SettingsError
from services.intake.csv_records import CsvFile
from services.intake.partition_format import PartitionFormat
from services.local.batching import cut
from services.local.run_folder import PlannedDataset
from services.settings import ParallelRunSettings

MOST_ITEMS = 100
_MOST_PARQUET_ROWS = 200_000  # that are read of a row group to measure with
_GOLDEN = 0.6180339887  # parts of 1 that are spread evenly, however many


@dataclass(frozen=True)
class TrialItem:
    """One item: its dataset's number in the plan, its line in a manifest, below `root`; the row's number in its file, from 1, or None."""

    dataset: int
    path: str
    line: bytes
    root: str
    row: int | None = None
    keys: object = None
    """The values of the run's partition keys."""

    @property
    def size(self) -> int:
        """Bytes, as a mini-batch of a table counts them."""
        return int(json.loads(self.line)[1])


def chosen_numbers(choice: str | Sequence[int], items: int, total: int) -> list[int]:
    """The numbers of the items, from 0, ascending. Raises SettingsError on `items` or `choose`."""
    if isinstance(choice, str):
        if not 1 <= items <= MOST_ITEMS:
            raise SettingsError("items", f"{items:,} items are not a trial", f"Give a number from 1 to {MOST_ITEMS}.")
        if choice == "random":
            return sorted(random.SystemRandom().sample(range(total), min(items, total)))
        if choice != "first":
            raise SettingsError("choose", f"“{choice}” is not a choice of items", "Write first, random, or numbers such as 1,5,9.")
        return list(range(min(items, total)))
    numbers = sorted(set(choice))
    if not 1 <= len(numbers) <= MOST_ITEMS:
        raise SettingsError("choose", f"{len(numbers):,} items are not a trial", f"Choose 1 to {MOST_ITEMS} of them.")
    for number in numbers:
        if not 1 <= number <= total:
            raise SettingsError("choose", f"there is no item {number:,}: there are {total:,}", "The first one has the number 1.")
    return [number - 1 for number in numbers]


def find_items(datasets: Sequence[PlannedDataset], numbers: Sequence[int], keys: Sequence[str] | None, folder: Path) -> list[TrialItem]:
    """The items with these numbers, ascending from 0, over all datasets in turn. Rows of Parquet are written below `folder`. Raises
    OSError where a manifest can't be read."""
    items: list[TrialItem] = []
    wanted = list(numbers)
    begin = 0
    for place, dataset in enumerate(datasets):
        own = [number - begin for number in wanted if begin <= number < begin + dataset.item_count]
        begin += dataset.item_count
        if own:
            values_of = PartitionFormat.parse(dataset.partition_format).values_of(tuple(keys)) if keys else None
            for item in _rows(place, dataset, own, folder) if dataset.format else _files(place, dataset, own):
                items.append(replace(item, keys=values_of(item.path)) if values_of else item)
    return items


def _files(place: int, dataset: PlannedDataset, numbers: Sequence[int]) -> Iterator[TrialItem]:
    wanted, last = set(numbers), max(numbers)
    with open(dataset.manifest, "rb") as lines:
        for number, line in enumerate(lines):
            if number in wanted:
                yield TrialItem(place, json.loads(line)[0], line, dataset.root)
            if number >= last:
                return


def _rows(place: int, dataset: PlannedDataset, numbers: Sequence[int], folder: Path) -> Iterator[TrialItem]:
    waiting = list(numbers)
    begin, rows_before = 0, defaultdict[str, int](int)
    found: list[tuple[list[Any], int, int]] = []
    with open(dataset.manifest, "rb") as lines:
        for line in lines:
            if not waiting:
                break
            slice_ = json.loads(line)
            path, rows = slice_[0], slice_[5]
            while waiting and waiting[0] < begin + rows:
                in_slice = waiting.pop(0) - begin
                found.append((slice_, in_slice, rows_before[path] + in_slice + 1))
            begin, rows_before[path] = begin + rows, rows_before[path] + rows
    if dataset.format == "csv":
        for slice_, in_slice, row in found:
            yield TrialItem(place, slice_[0], _line(_csv_part(dataset, slice_, in_slice, 1) or slice_), dataset.root, row)
        return
    for path, group in groupby(found, key=lambda entry: entry[0][0]):
        rows_of_file = list(group)
        lines_of_file = _parquet_rows(dataset, path, [(slice_, in_slice) for slice_, in_slice, _ in rows_of_file], folder / f"rows-{place}")
        root = str(folder / f"rows-{place}") if lines_of_file else dataset.root
        for (_, _, row), made in zip(rows_of_file, lines_of_file or [slice_ for slice_, _, _ in rows_of_file], strict=True):
            yield TrialItem(place, path, _line(made), root, row)


def _line(entry: Sequence[Any]) -> bytes:
    return json.dumps(entry).encode("ascii") + b"\n"


def _csv_part(dataset: PlannedDataset, slice_: Sequence[Any], first: int, count: int) -> list[Any] | None:
    """Some rows of a slice of a CSV as a slice; None where the file is not what it was: the worker then says so."""
    path, _, modified_ns, begin, end, _ = slice_
    try:
        with open(os.path.join(dataset.root, path), "rb") as file:
            file.seek(begin)
            content = io.BytesIO(file.read(end - begin))
        at, seen, part_begin = 0, 0, 0
        for piece, rows in CsvFile(content, path).pieces(len(dataset.columns), 1):
            if seen == first and rows:
                part_begin = at
            at, seen = at + len(piece), seen + rows
            if seen == first + count:
                return [path, at - part_begin, modified_ns, begin + part_begin, begin + at, count]
    except (OSError, IntakeError):
        pass
    return None


def _parquet_rows(dataset: PlannedDataset, path: str, rows: Sequence[tuple[Sequence[Any], int]], root: Path) -> list[list[Any]] | None:
    """A Parquet file of these rows, each (slice, place in it), with a row group for each, below `root`; its slices. None where the file
    can't be read: the worker then says so."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        tables = []
        modified_ns = os.stat(os.path.join(dataset.root, path)).st_mtime_ns
        with open(os.path.join(dataset.root, path), "rb") as file:
            source = parquet.ParquetFile(file)
            for begin, group in groupby(rows, key=lambda entry: (entry[0][3], entry[0][4], entry[0][2])):
                if begin[2] != modified_ns:
                    return None
                table = source.read_row_groups(list(range(begin[0], begin[1])))
                tables.append(table.take([in_slice for _, in_slice in group]))
        return _written(pa.concat_tables(tables), root / path, path, rows_in_a_group=1)
    except (OSError, pa.ArrowException, IndexError):
        return None


def _written(table: Any, target: Path, path: str, rows_in_a_group: int) -> list[list[Any]]:
    from pyarrow import parquet

    target.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, target, row_group_size=rows_in_a_group)
    stat = target.stat()
    groups = -(-table.num_rows // rows_in_a_group)
    rows = [min(rows_in_a_group, table.num_rows - number * rows_in_a_group) for number in range(groups)]
    return [[path, max(1, stat.st_size // groups), stat.st_mtime_ns, number, number + 1, rows[number]] for number in range(groups)]


# ---- calls -------------------------------------------------------------------------------------------------------------------------------


def grouped(items: Sequence[TrialItem], settings: ParallelRunSettings, *, tabular: bool) -> list[list[TrialItem]]:
    """The items of each call: the first alone, the others in mini-batches as the run makes them: of one dataset, of one file of a table, of
    the same keys, and not more than its size."""
    size = settings.units_in_a_mini_batch(tabular=tabular)
    groups: list[list[TrialItem]] = [list(items[:1])]
    taken = size
    for item in items[1:]:
        units = item.size if tabular else 1
        before = groups[-1][-1]
        alike = (item.dataset, item.keys, item.root, item.path if tabular and not settings.partition_keys else "") == (
            before.dataset, before.keys, before.root, before.path if tabular and not settings.partition_keys else ""
        )  # fmt: skip
        if len(groups) > 1 and alike and (settings.partition_keys or taken + units <= size):
            groups[-1].append(item)
            taken += units
        else:
            groups.append([item])
            taken = units
    return groups


def planned(dataset: PlannedDataset, items: Sequence[TrialItem], manifest: Path) -> PlannedDataset:
    """A dataset of just these items, whose manifest is written now."""
    manifest.write_bytes(b"".join(item.line for item in items))
    return replace(dataset, root=items[0].root, manifest=str(manifest), item_count=len(items))


class MeasuringItems:
    """Mini-batches of one dataset to measure with, of any size, from all over it. They are added to manifests that workers have open."""

    def __init__(self, dataset: PlannedDataset, folder: Path, settings: ParallelRunSettings) -> None:
        self._dataset = dataset
        self._folder = folder
        self._settings = settings
        self._calls = 0
        self._manifest = folder / "measuring.jsonl"
        self._manifest.touch()
        self.planned = replace(dataset, manifest=str(self._manifest))
        self.parquet = replace(self.planned, root=str(folder / "measuring"))
        """The same for rows that are written to a file of their own."""

    def mini_batch(self, items: int) -> tuple[int, int, int, bool]:
        """Where in the manifest a mini-batch of about so many items is: offset, length, items; and whether it is of `parquet`. No items
        where there is nothing to measure with. Raises OSError."""
        self._calls += 1
        if self._settings.partition_keys:
            return (*self._append(*self._of_same_keys(items)), False)
        start = self._line_after(self._calls * _GOLDEN % 1.0)
        if not self._dataset.format:
            lines = self._lines(start, items)
            return (*self._append(lines, len(lines)), False)
        return self._rows(start, items)

    def _append(self, lines: Sequence[bytes], items: int) -> tuple[int, int, int]:
        content = b"".join(lines)
        with open(self._manifest, "ab") as file:
            offset = file.tell()
            file.write(content)
        return offset, len(content), items

    def _line_after(self, part: float) -> int:
        """Where the first line begins after this part of the manifest."""
        with open(self._dataset.manifest, "rb") as file:
            file.seek(int(part * os.path.getsize(self._dataset.manifest)))
            if file.tell():
                file.readline()
            return file.tell()

    def _lines(self, start: int, count: int) -> list[bytes]:
        """So many lines from there on, and from the beginning where the manifest ends before."""
        lines: list[bytes] = []
        with open(self._dataset.manifest, "rb") as file:
            file.seek(start)
            while len(lines) < count and (line := file.readline()):
                lines.append(line)
            file.seek(0)
            while len(lines) < count and file.tell() < start and (line := file.readline()):
                lines.append(line)
        return lines

    def _of_same_keys(self, items: int) -> tuple[list[bytes], int]:
        """The mini-batch of the first hundred that is nearest to this size."""
        batches: list[MiniBatch] = []
        for batch in cut([self._dataset], self._settings):
            batches.append(batch)
            if len(batches) >= 100:
                break
        if not batches:
            return [], 0
        nearest = min(batches, key=lambda batch: abs(batch.item_count - items))
        with open(self._dataset.manifest, "rb") as file:
            file.seek(nearest.offset)
            return [file.read(nearest.length)], nearest.item_count

    def _rows(self, start: int, items: int) -> tuple[int, int, int, bool]:
        slices: list[list[Any]] = []
        rows = 0
        with open(self._dataset.manifest, "rb") as file:
            file.seek(start)
            line = file.readline()
            if not line:
                file.seek(0)
                line = file.readline()
            while line and rows < items:
                slice_ = json.loads(line)
                if slices and slice_[0] != slices[0][0]:
                    break
                slices.append(slice_)
                rows += slice_[5]
                line = file.readline()
        if not slices:
            return 0, 0, 0, False
        more = rows - items
        if more > 0 and self._dataset.format == "csv":
            part = _csv_part(self._dataset, slices[-1], 0, slices[-1][5] - more)
            if part:
                slices[-1], rows = part, items
        elif more > 0 and len(slices) == 1 and (part := self._parquet_part(slices[0], items)):
            return (*self._append([_line(part)], part[5]), True)
        return (*self._append(list(map(_line, slices)), rows), False)

    def _parquet_part(self, slice_: Sequence[Any], items: int) -> list[Any] | None:
        import pyarrow as pa
        from pyarrow import parquet

        path, _, modified_ns, begin, end, _ = slice_
        try:
            with open(os.path.join(self._dataset.root, path), "rb") as file:
                if os.fstat(file.fileno()).st_mtime_ns != modified_ns:
                    return None
                source = parquet.ParquetFile(file)
                count = min(items, _MOST_PARQUET_ROWS)
                batches = source.iter_batches(batch_size=count, row_groups=list(range(begin, end)))
                table = pa.Table.from_batches([next(batches)])
            return _written(table, Path(self.parquet.root, path), path, rows_in_a_group=max(1, table.num_rows))[0]
        except (OSError, pa.ArrowException, StopIteration):
            return None

"""A dataset's manifest, and how it is cut into mini-batches. Pure: the same manifest and settings give the same cut for ever.

A manifest is a text file, one JSON list a line, ASCII only, in the order of the paths. A file dataset's lists files: `["relative/path",
size, modified_ns]`; a tabular dataset's lists slices of files (see intake/tabular.py). A mini-batch is a range of its bytes, so neither
the runner nor a message to a worker ever holds file names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from services import formats
from services.domain import DatasetFile, MiniBatch
from services.formats import counted
from services.intake.partition_format import PartitionFormat
from services.local.run_folder import PlannedDataset
from services.settings import ParallelRunSettings
from services.storage.atomic import atomic_write
from services.storage.mini_batch_plan import MiniBatchPlan

_PARSED_AT_ONCE = 1_000  # lines of a manifest: one by one takes four times as long


def manifest_by_keys(manifest: Path, partition_format: str, keys: tuple[str, ...]) -> Path:
    """The manifest in the order of the values of these keys, then as it was; made once and kept beside it. Raises OSError."""
    name = hashlib.sha256(json.dumps([partition_format, keys]).encode()).hexdigest()[:16]
    grouped = manifest.with_name(f"{manifest.stem}-{name}.jsonl")
    if not grouped.exists():
        values_of = _values_of(partition_format, keys)
        with open(manifest, "rb") as lines:
            ordered = sorted(lines, key=values_of)
        with atomic_write(grouped) as temporary, open(temporary, "xb") as file:
            file.writelines(ordered)
    return grouped


def cut(datasets: Iterable[PlannedDataset], settings: ParallelRunSettings) -> Iterator[MiniBatch]:
    """Cut each dataset separately, numbered through: into so many files, or about so many bytes of one file, or by partition keys."""
    index = 0
    for number, dataset in enumerate(datasets):
        size = settings.units_in_a_mini_batch(tabular=bool(dataset.format))
        for offset, length, item_count, rows_before in _ranges(dataset, settings.partition_keys, size):
            yield MiniBatch(index, number, offset, length, item_count, rows_before)
            index += 1


def plan_mini_batches(datasets: Sequence[PlannedDataset], settings: ParallelRunSettings) -> MiniBatchPlan:
    """What `cut` comes to. Cheap for file datasets, and for others once it was looked at."""
    keys, tabular = settings.partition_keys, bool(datasets[0].format)
    size = settings.units_in_a_mini_batch(tabular=tabular)
    if not tabular and not keys:
        return MiniBatchPlan.of_files((dataset.item_count for dataset in datasets), size)
    shapes = [_shape(dataset, keys, size, os.stat(dataset.manifest).st_mtime_ns) for dataset in datasets]
    count = sum(shape.mini_batches for shape in shapes)
    average = sum(shape.bytes for shape in shapes) // max(1, count)
    if keys:
        each = f", one for each {' and '.join(keys)}"
    elif size // 2 <= average <= size * 11 // 10:
        each = f" of about {formats.mini_batch_size(size)}"
    else:
        each = f" of {formats.mini_batch_size(average)} on average"
    notes = tuple(note for shape in shapes for note in shape.notes)
    return MiniBatchPlan("row" if tabular else "file", sum(dataset.item_count for dataset in datasets), count, each, notes)


class _Shape(NamedTuple):
    mini_batches: int
    bytes: int
    notes: tuple[str, ...]


@lru_cache(maxsize=256)
def _shape(dataset: PlannedDataset, keys: tuple[str, ...] | None, size: int, modified_ns: int) -> _Shape:
    """How many mini-batches a dataset makes, of how many bytes in all, and what can't be cut. `modified_ns` is its manifest's."""
    count = sum(1 for _ in _ranges(dataset, keys, size))
    if keys:
        return _Shape(count, 0, ())
    total, uncut = 0, []
    with open(dataset.manifest, "rb") as lines:
        for path, slices in groupby(map(json.loads, lines), key=itemgetter(0)):
            sizes = [slice_[1] for slice_ in slices]
            total += sum(sizes)
            if max(sizes) > 2 * size:
                uncut.append((path, len(sizes), formats.mini_batch_size(max(sizes))))
    if not uncut:
        return _Shape(count, total, ())
    path, slice_count, largest = uncut[0]
    if dataset.format == "csv":
        note = f"The CSV file {path} is cut into pieces of up to {largest}, and no finer"
    elif slice_count == 1:
        note = f"The Parquet file {path} has a single row group and is one mini-batch of {largest}"
    else:
        note = f"The Parquet file {path} has a row group of {largest}, which is one mini-batch"
    more = f"; {counted(len(uncut) - 1, 'more file')} can't be cut as asked either" if len(uncut) > 1 else ""
    return _Shape(count, total, (f"{note}{more}.",))


def _ranges(dataset: PlannedDataset, keys: tuple[str, ...] | None, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(offset, length, items, rows before them in their file) of the mini-batches in the manifest."""
    offset = 0
    with open(dataset.manifest, "rb") as lines:
        pieces: Iterable[tuple[int, int, int]]
        if keys:
            whole_files = _by_keys(lines, _values_of(dataset.partition_format, keys), tabular=bool(dataset.format))
            pieces = ((length, item_count, 0) for length, item_count in whole_files)
        elif dataset.format:
            pieces = _by_bytes(lines, size)
        else:
            pieces = ((length, item_count, 0) for length, item_count in _by_files(lines, size))
        for length, item_count, rows_before in pieces:
            yield offset, length, item_count, rows_before
            offset += length


def _by_files(lines: Iterable[bytes], size: int) -> Iterator[tuple[int, int]]:
    while chunk := list(islice(lines, size)):
        yield sum(map(len, chunk)), len(chunk)


def _by_bytes(lines: Iterable[bytes], size: int) -> Iterator[tuple[int, int, int]]:
    """Slices of one file that follow each other, as many as make up to `size` bytes, and at least one: (length, rows, rows before)."""
    length = rows = taken = before = 0
    path = None
    lines = iter(lines)
    while some := list(islice(lines, _PARSED_AT_ONCE)):
        for line, (slice_path, slice_bytes, _, _, _, slice_rows) in zip(some, json.loads(b"[" + b",".join(some) + b"]"), strict=True):
            if length and (slice_path != path or taken + slice_bytes > size):
                yield length, rows, before
                before = before + rows if slice_path == path else 0
                length = rows = taken = 0
            length, rows, taken, path = length + len(line), rows + slice_rows, taken + slice_bytes, slice_path
    if length:
        yield length, rows, before


def _by_keys(lines: Iterable[bytes], values_of: Callable[[bytes], Any], *, tabular: bool) -> Iterator[tuple[int, int]]:
    for _, group in groupby(lines, key=values_of):
        same = list(group)
        yield sum(map(len, same)), sum(json.loads(line)[5] for line in same) if tabular else len(same)


def _values_of(partition_format: str, keys: tuple[str, ...]) -> Callable[[bytes], Any]:
    """A function that tells the values of the keys in a manifest's line, to be sorted and compared."""
    values_of = PartitionFormat.parse(partition_format).values_of(keys)
    return lambda line: values_of(json.loads(line)[0])


def files_of(manifest: Path, mini_batch: MiniBatch) -> list[DatasetFile]:
    """The files of one mini-batch, or those that its rows are of, read from the manifest it was cut from."""
    with open(manifest, "rb") as lines:
        return list({entry[0]: DatasetFile(*entry[:3]) for entry in _entries(_text(lines, mini_batch))}.values())


def items_of(manifest: BinaryIO, mini_batch: MiniBatch) -> list[str]:
    """The relative path of each item of one mini-batch of files."""
    text = _text(manifest, mini_batch)
    if "\\" not in text and text.count(",") == 2 * text.count("\n"):  # a file a line, and nothing that JSON escapes
        return text.split('"')[1::2]
    return [entry[0] for entry in _entries(text)]


def rows_of(manifest: BinaryIO, mini_batch: MiniBatch) -> tuple[list[str], list[tuple[int, int]]]:
    """Of each row of one mini-batch of a table the relative path of its file; and the rows' numbers in their files, as (the first, how
    many). These are right in a manifest that has all slices of each file."""
    items, numbers = list[str](), list[tuple[int, int]]()
    path, before = None, mini_batch.rows_before
    for slice_path, _, _, _, _, rows in _entries(_text(manifest, mini_batch)):
        if path not in (None, slice_path):
            before = 0
        items += [slice_path] * rows
        if numbers and slice_path == path:
            numbers[-1] = (numbers[-1][0], numbers[-1][1] + rows)
        else:
            numbers.append((before + 1, rows))
        path, before = slice_path, before + rows
    return items, numbers


def _text(manifest: BinaryIO, mini_batch: MiniBatch) -> str:
    manifest.seek(mini_batch.offset)
    return manifest.read(mini_batch.length).decode("ascii")


def _entries(text: str) -> list[list[Any]]:
    entries: list[list[Any]] = json.loads(f"[{text.rstrip().replace(chr(10), ',')}]")
    return entries

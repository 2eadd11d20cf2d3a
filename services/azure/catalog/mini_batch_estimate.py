"""How the datasets of a run are cut into mini-batches, as far as that is known before Azure ML does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from services.domain import Dataset, TabularDataset
from services.errors import NotFound
from services.formats import counted
from services.intake.partition_format import PartitionFormat
from services.settings import ParallelRunSettings
from services.storage.manifest import read_manifest
from services.storage.mini_batch_plan import MiniBatchPlan


def estimate(datasets: Sequence[Dataset], settings: ParallelRunSettings, list_of: Callable[[Dataset], Path]) -> MiniBatchPlan:
    """`datasets` fit the settings and have their files counted; `list_of` returns where the list of one's files is."""
    processes = settings.process_count_per_node
    return replace(
        _estimate(datasets, settings, list_of),
        on=counted(settings.node_count, "node") + (f" of {counted(processes, 'worker')}" if processes else ""),
    )


def _estimate(datasets: Sequence[Dataset], settings: ParallelRunSettings, list_of: Callable[[Dataset], Path]) -> MiniBatchPlan:
    first, counts = datasets[0], [dataset.item_count for dataset in datasets]
    items = None if None in counts else sum(count or 0 for count in counts)
    if settings.partition_keys:
        batches = sum(_count_of_keys(dataset, settings.partition_keys, list_of) for dataset in datasets)
        each = f", one for each {' and '.join(settings.partition_keys)}"
        return MiniBatchPlan(first.item, items, batches, each, estimated=not items)
    if not isinstance(first, TabularDataset):
        return MiniBatchPlan.of_files((dataset.file_count or 0 for dataset in datasets), settings.units_in_a_mini_batch(tabular=False))
    try:
        sizes = [file.size for dataset in datasets for file in read_manifest(list_of(dataset))]
    except NotFound:
        sizes = []
    if not sizes or not all(dataset.item_count for dataset in datasets):
        note = "How many rows and mini-batches there are is not known here: Azure ML cuts tabular datasets by bytes when it runs."
        return MiniBatchPlan(first.item, None, None, "", (note,), estimated=True)
    units = settings.units_in_a_mini_batch(tabular=True)
    size = settings.resolved(tabular=True).mini_batch_size or ""
    each = f" of {counted(units, 'byte') if size.isdecimal() else size}"
    return MiniBatchPlan(first.item, items, sum(max(1, -(-size // units)) for size in sizes), each, estimated=True)


def _count_of_keys(dataset: Dataset, keys: tuple[str, ...], list_of: Callable[[Dataset], Path]) -> int:
    value_of = PartitionFormat.parse(dataset.partition_format).values_of(keys)
    return len({str(value_of(file.path)) for file in read_manifest(list_of(dataset))})

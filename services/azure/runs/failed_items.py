"""Just the items of a run that failed or have no row, scored again: who they are, and the dataset of them, made of explicit paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.azure.catalog.datasets import PLACE, for_azure
from services.azure.runs.output_reader import rows_file, scored
from services.azure.runs.run_folder import FilesAgain, RunFolder, RunPlan
from services.domain import Dataset, Run
from services.errors import StudioError
from services.formats import counted
from services.predictions.matching import Status, read_rows
from services.storage.mini_batch_plan import MiniBatchPlan

MOST = 1_000
"""Files that a definition names one by one."""
_WHOLE = "Rerun it whole."


def restrict_to_failed(
    plan: RunPlan, cut: MiniBatchPlan, run: Run, folder: RunFolder, datasets: Sequence[Dataset]
) -> tuple[RunPlan, MiniBatchPlan]:
    """The plan and the cut for what failed in `run`, whose folder that is. Raises StudioError where nothing did, and where Azure ML's
    text doesn't tell what."""
    again = tuple(
        FilesAgain(_root(dataset), dataset.partition_format, tuple(paths))
        for dataset, paths in zip(datasets, _failed(run, folder), strict=True)
        if paths
    )
    counts = [len(each.paths) for each in again]
    narrow = replace(cut, item_count=sum(counts), mini_batch_count=0, estimated=True)
    if not plan.request.settings.partition_keys:
        narrow = replace(MiniBatchPlan.of_files(counts, plan.request.settings.units_in_a_mini_batch(tabular=False)), on=cut.on)
    return replace(plan, again=again, item_count=sum(counts)), narrow


def _failed(run: Run, folder: RunFolder) -> list[list[str]]:
    """The paths of the items without a row, by dataset."""
    plan = folder.plan()
    if plan.tabular:
        raise StudioError(f"Which rows of the table failed in run {run.id} is not told by Azure ML.", _WHOLE)
    if not rows_file(folder, plan).is_file():
        raise StudioError(f"Run {run.id} left no rows, so there is nothing of it to keep.", _WHOLE)
    failed: set[str] = set()
    for read in (part.read or read_rows(part) for part in scored(folder, plan)):
        statuses = read.each_status()
        failed |= {file for file, status in zip(read.files, statuses, strict=True) if status is Status.FAILED}
        if Status.UNMATCHED not in statuses:
            continue
        text = f"Not every row of run {run.id} tells which file it is of, so it is not known which files failed."
        raise StudioError(text, f"{_WHOLE} With a script that prints the file's path in each row, what failed is known the next time.")
    if not failed:
        raise StudioError(f"Nothing failed in run {run.id}.", "Rerun it whole to score everything again.")
    if len(failed) > MOST:
        raise StudioError(f"{counted(len(failed), 'file')} failed in run {run.id}: Azure ML is told up to {MOST:,} one by one.", _WHOLE)
    return [[path for path in paths if path in failed] for paths in plan.paths()]


def _root(dataset: Dataset) -> str:
    """The folder in a datastore that the dataset's paths start from."""
    root = dataset.root.removesuffix("/**")
    if not PLACE.fullmatch(root) or re.search(r"[*?]", root) or (dataset.in_place and dataset.file_count == 1):
        text = f"Dataset {dataset} is no folder of a datastore, so its files can't be named one by one."
        raise StudioError(text, "Rerun the whole, or register a dataset of those files.")
    return root


def sdk_dataset(workspace: Any, files: FilesAgain) -> Any:
    """The SDK's file dataset of these, not registered."""
    from azureml.core import Dataset as SdkDataset
    from azureml.core import Datastore

    match = PLACE.fullmatch(files.root)
    assert match
    store = Datastore.get(workspace, match[1])
    paths = [(store, f"{match[2]}/{path}") for path in files.paths]
    return SdkDataset.File.from_files(paths, validate=False, partition_format=for_azure(files.partition_format))

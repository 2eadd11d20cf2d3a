"""Rerun of the failed items of a run only: which they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from services.azure.catalog.datasets import DATASTORE_PATH
from services.azure.run_plan import FailedFiles, RunPlan
from services.azure.runs.output_reader import rows_file, scored
from services.azure.runs.run_folder import AzureRunFolder
from services.domain import Dataset, Run
from services.errors import StudioError
from services.formats import counted
from services.predictions.columns import Status
from services.predictions.matching import read_rows
from services.storage.mini_batch_plan import MiniBatchPlan

MAX_FILES = 1_000
"""That a dataset's definition names one by one."""
_RERUN_ALL = "Rerun all items."


def restrict_to_failed(
    plan: RunPlan, cut: MiniBatchPlan, run: Run, folder: AzureRunFolder, datasets: Sequence[Dataset]
) -> tuple[RunPlan, MiniBatchPlan]:
    """The plan and the mini-batches of the items that failed in `run`, whose folder that is. Raises StudioError where none did, and where
    the output does not tell which."""
    again = tuple(
        FailedFiles(_root(dataset), dataset.partition_format, tuple(paths))
        for dataset, paths in zip(datasets, _failed(run, folder), strict=True)
        if paths
    )
    counts = [len(files.paths) for files in again]
    narrow = replace(cut, item_count=sum(counts), mini_batch_count=0, estimated=True)
    if not plan.request.settings.partition_keys:
        narrow = replace(MiniBatchPlan.of_files(counts, plan.request.settings.units_in_a_mini_batch(tabular=False)), on=cut.on)
    return replace(plan, again=again, item_count=sum(counts)), narrow


def _failed(run: Run, folder: AzureRunFolder) -> list[list[str]]:
    """The paths of the failed items, by dataset."""
    plan = folder.plan()
    if plan.tabular:
        raise StudioError(f"Azure ML does not report which rows of the table failed in run {run.id}.", _RERUN_ALL)
    if not rows_file(folder, plan).is_file():
        raise StudioError(f"Run {run.id} has no rows, so none of its items can be kept.", _RERUN_ALL)
    failed: set[str] = set()
    for rows in (part.read or read_rows(part) for part in scored(folder, plan)):
        statuses = rows.each_status()
        failed |= {file for file, status in zip(rows.files, statuses, strict=True) if status is Status.FAILED}
        if Status.UNMATCHED not in statuses:
            continue
        text = f"Not every row of run {run.id} names its file, so it is not known which files failed."
        raise StudioError(text, f"{_RERUN_ALL} Failed items can be rerun alone where the script writes the file's path into each row.")
    if not failed:
        raise StudioError(f"Nothing failed in run {run.id}.", "Rerun it to score everything again.")
    if len(failed) > MAX_FILES:
        raise StudioError(f"{counted(len(failed), 'file')} failed in run {run.id}: at most {MAX_FILES:,} can be rerun alone.", _RERUN_ALL)
    return [[path for path in paths if path in failed] for paths in plan.paths()]


def _root(dataset: Dataset) -> str:
    """The datastore folder that the dataset's paths start from. Raises StudioError."""
    root = dataset.root.removesuffix("/**")
    if not DATASTORE_PATH.fullmatch(root) or re.search(r"[*?]", root) or (dataset.in_place and dataset.file_count == 1):
        text = f"Dataset {dataset} is not a folder of a datastore, so its failed files can't be rerun alone."
        raise StudioError(text, f"{_RERUN_ALL} Or register a dataset of those files.")
    return root

"""What Azure ML keeps of a dataset in a tag: read as it was written, also by an earlier version, and left where somebody else wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from services.azure.catalog import datasets
from services.azure.catalog.datasets import TAG, Datasets
from services.azure.sdk import DatasetVersion
from services.azure.sdks import sdk_of
from services.connection import Connection
from services.domain import Dataset, DatasetProblem, FileDataset, ItemKind, TabularDataset, utc_now

PLACE = "azureml://datastores/store/paths/folder"


@pytest.fixture
def read(tmp_path):
    """`read(tag, tabular)` is the dataset of a version with this tag."""

    def dataset(tag: str, tabular: bool = False) -> Dataset:
        version = DatasetVersion("d", 3, tabular, "azureml://elsewhere", "parquet" if tabular else "", {TAG: tag})
        return Datasets(sdk_of(Connection("s", "g", "w")), tmp_path)._dataset(version)

    return dataset


@pytest.fixture
def files(tmp_path) -> FileDataset:
    manifest = str(tmp_path / "d" / "3" / "manifest.jsonl")
    return FileDataset(
        "d", 3, PLACE, "*.png", False, 2, 30, manifest, "sha", utc_now(), partition_format="{k}/x", left_out={".DS_Store": 1},
        notes=("a note",), item_kind=ItemKind.IMAGE, problems=(DatasetProblem("a", "It is empty."),), problem_count=7,
    )  # fmt: skip


def table(files: FileDataset, *columns: tuple[str, str]) -> TabularDataset:
    about = {
        "columns": columns,
        "row_count": 0,
        "source_format": "tsv",
        "dialect": {"header": "on"},
        "column_types": ("text",) * len(columns),
    }
    same = {name: getattr(files, name) for name in ("partition_format", "left_out", "notes")}
    return TabularDataset("d", 3, PLACE, "**", True, 2, 30, files.manifest, "sha", files.created_at, **same, **about)


def test_a_dataset_is_read_as_it_was_written(read, files):
    for dataset in (files, table(files, ("a", "str"), ("b", "int64"))):
        told = read(datasets._tag(dataset), isinstance(dataset, TabularDataset))
        assert replace(told, created_at=dataset.created_at) == dataset


def test_what_is_too_long_for_a_tag_is_left_out(read, files):
    long = "x" * 3_000
    told = read(datasets._tag(table(files, (long, "str"), (f"{long}y", "str"))), True)
    assert (told.columns, told.column_types, told.row_count) == ((), (), 0)
    problems = (DatasetProblem("a", long), DatasetProblem("b", long))
    assert read(datasets._tag(replace(files, problems=problems))).problems == problems[:1]


def test_the_tag_of_an_earlier_version_is_read(read):
    old = {"root": PLACE, "glob": "**", "files": 2, "bytes": 30, "sha256": "sha", "uploaded": True, "item_kind": "an image"}
    told = read(json.dumps(old | {"problem_count": 1, "problems": [["a", "It is empty."]]}))
    assert (told.root, told.file_count, told.size, told.in_place, told.item_kind) == (PLACE, 2, 30, False, ItemKind.IMAGE)
    assert told.problems == (DatasetProblem("a", "It is empty."),)
    old = {"root": PLACE, "files": 1, "bytes": 3, "sha256": "", "format": "csv", "rows": None, "columns": [["a", "str"]], "types": ["text"]}
    told = read(json.dumps(old), True)
    assert (told.format, told.row_count, told.columns, told.in_place) == ("csv", None, (("a", "str"),), True)


@pytest.mark.parametrize("tag", ["", "[]", "7", "null", '{"files": "many"}', '{"columns": 3}', '{"problems": [1]}', '{"item_kind": "?"}'])
def test_what_somebody_else_wrote_there_is_left(read, tag):
    for tabular in (False, True):
        told = read(tag, tabular)
        assert (told.reference, told.root, told.file_count, Path(told.manifest).name) == (
            "d:3",
            "azureml://elsewhere",
            None,
            "manifest.jsonl",
        )

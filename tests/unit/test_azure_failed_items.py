"""Which files of an Azure ML run failed, by its text alone, and the table of a run that scored just these again."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.azure.run_plan import FailedFiles, RunPlan
from services.azure.runs import failed_items, output_reader
from services.azure.runs.run_folder import AzureRunFolder
from services.domain import FileDataset, Run, RunRequest, RunStatus
from services.errors import StudioError
from services.predictions.reader import Predictions
from services.storage.manifest import DatasetFile, manifest_line
from services.storage.mini_batch_plan import MiniBatchPlan

FILES = ("a/1.csv", "a/2.csv", "b/1.csv", "b/deep/2.csv")
ROOT = "azureml://datastores/workspaceblobstore/paths/rows"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = RunRequest((), ("d:1",), "/script.py")
DATASET = FileDataset("d", 1, ROOT, "**", False, len(FILES), 9, "", "", NOW)


@pytest.fixture
def ran(home):
    """`ran("run-1", rows)` leaves a completed run with these rows, of all FILES; `again=` names the files and `of=` the run of another."""
    manifest = home / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest_line(DatasetFile(path, 1, 0)) for path in FILES))

    def leave(name, rows, *, again=(), of=None):
        folder = AzureRunFolder(home, name)
        request = replace(REQUEST, rerun_of=of, failed_only=bool(of))
        folder.create(RunPlan(request, len(FILES), (str(manifest),), again=(FailedFiles(ROOT, "", tuple(again)),) if again else ()))
        if rows is not None:
            (folder.output / "parallel_run_step.txt").write_text("".join(f"{row}\n" for row in rows))
        return folder

    return leave


def restrict_to_failed(folder, dataset=DATASET, status=RunStatus.COMPLETED):
    run = Run(folder.path.name, REQUEST, status, NOW)
    return failed_items.restrict_to_failed(RunPlan(REQUEST, len(FILES)), MiniBatchPlan("file", len(FILES), 1), run, folder, [dataset])


def test_the_files_without_a_row_are_rerun(ran):
    plan, cut = restrict_to_failed(ran("run-1", ["/mnt/x/b/1.csv: 1", "/mnt/x/a/2.csv: 2"]))
    assert plan.again == (FailedFiles(ROOT, "", ("a/1.csv", "b/deep/2.csv")),)
    assert (plan.item_count, cut.item_count, cut.mini_batch_count) == (2, 2, 1)


@pytest.mark.parametrize(
    ("rows", "dataset", "status", "says"),
    [
        ([f"{path}: 1" for path in FILES], DATASET, RunStatus.COMPLETED, "Nothing failed"),
        (["1.csv: 1"], DATASET, RunStatus.COMPLETED, "Not every row"),
        (["good"], DATASET, RunStatus.COMPLETED, "Not every row"),
        (None, DATASET, RunStatus.FAILED, "has no rows"),
        (["a/1.csv: 1"], replace(DATASET, root=f"{ROOT}/*.csv"), RunStatus.COMPLETED, "not a folder of a datastore"),
        (["a/1.csv: 1"], replace(DATASET, root="https://example.com/rows"), RunStatus.COMPLETED, "not a folder of a datastore"),
    ],
)
def test_a_rerun_is_refused_where_the_failed_files_are_not_known(ran, rows, dataset, status, says):
    with pytest.raises(StudioError, match=says):
        restrict_to_failed(ran("run-1", rows), dataset, status)


def test_the_failed_rows_of_a_table_are_not_known(home):
    folder = AzureRunFolder(home, "run-1")
    folder.create(RunPlan(REQUEST, 4))
    with pytest.raises(StudioError, match="rows of the table"):
        restrict_to_failed(folder)


def test_too_many_failed_files_are_refused(ran, monkeypatch):
    monkeypatch.setattr(failed_items, "MAX_FILES", 2)
    with pytest.raises(StudioError, match="3 files failed"):
        restrict_to_failed(ran("run-1", ["a/1.csv: 1"]))


def test_the_table_has_the_latest_run_of_each_file(ran):
    ran("run-1", ["/mnt/x/a/1.csv: old"])
    # A mount leaves out the folder that all files have in common; the node of a single file b/deep/2.csv has it at its top.
    ran("run-2", ["/mnt/y/a/2.csv: new", "/mnt/y/b/1.csv: new"], again=["a/2.csv", "b/1.csv", "b/deep/2.csv"], of="run-1")
    last = ran("run-3", ["/mnt/z/2.csv: newest"], again=["b/deep/2.csv"], of="run-2")
    rows = Predictions(output_reader.make_table(last, last.plan())).page().to_pylist()
    assert [(row["File"], row["Prediction"], row["Attempts"], row["Worker"]) for row in rows] == [
        ("a/1.csv", "old", 1, "of run-1"),
        ("a/2.csv", "new", 2, "of run-2"),
        ("b/1.csv", "new", 2, "of run-2"),
        ("b/deep/2.csv", "newest", 3, ""),
    ]

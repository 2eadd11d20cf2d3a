"""The logs that a run keeps, in Azure's layout; and that its sums balance: every item is one of succeeded, failed and skipped."""

import csv
import sqlite3
from contextlib import closing

import pytest

from services.domain import RunRequest, RunStatus
from services.local import run_progress
from services.local.run_folder import LocalRunFolder
from services.settings import ParallelRunSettings
from services.storage.journal import Journal

COLUMNS = [
    "Mini-batch Id", "Picked Count", "Process", "Start Time", "Total", "Succeeded", "Failed", "Elapsed Seconds", "Run Method Seconds",
    "Status", "Error Category", "Error Message",
]  # fmt: skip
ATTEMPTS = "logs/sys/job_report/processed_mini-batches.csv"
ONE_BAD = """
    import os
    def run(mini_batch):
        if mini_batch[0].endswith("0004.csv"): raise ValueError("=bad, row\\nand more")
        return [os.path.basename(path) for path in mini_batch]
"""
WAITS = """
    import os, time
    def run(mini_batch):
        while mini_batch[0].endswith("0006.csv") and not os.path.exists({gate!r}): time.sleep(0.01)
        return [os.path.basename(path) for path in mini_batch]
"""


@pytest.fixture
def submit(workspace, csv_folder, entry_script):
    def run(source, files=12, **settings):
        workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 1, "mini_batch_size": 2, "error_threshold": -1, "run_invocation_timeout": 600} | settings
        return workspace.submit(RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**values)))

    return run


def log(workspace, run, name):
    return workspace.runs.logs(run.id)[name].read_text(encoding="utf-8")


def attempts(workspace, run):
    with open(workspace.runs.logs(run.id)[ATTEMPTS], newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_mini_batch_report_has_a_row_for_each_attempt(workspace, submit, finish):
    run = finish(workspace, submit(ONE_BAD, run_max_try=2, node_count=2).id)
    rows = attempts(workspace, run)
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 6 + 1
    assert [(row["Picked Count"], row["Status"]) for row in rows if row["Mini-batch Id"] == "2"] == [
        ("1", "RUN_EXCEPTION"),
        ("2", "RUN_EXCEPTION"),
    ]
    done = next(row for row in rows if row["Mini-batch Id"] == "0")
    assert (done["Total"], done["Succeeded"], done["Failed"], done["Status"], done["Error Category"]) == ("2", "2", "0", "RUN_DONE", "")
    assert {row["Process"] for row in rows} <= {"0/process000", "1/process000"}
    assert float(done["Elapsed Seconds"]) >= float(done["Run Method Seconds"]) >= 0
    failed = next(row for row in rows if row["Status"] == "RUN_EXCEPTION")
    assert (failed["Succeeded"], failed["Failed"], failed["Error Category"]) == ("0", "2", "ValueError")
    assert failed["Error Message"] == "ValueError: =bad, row and more (script.py, line 4)"
    assert f"logs/user/stdout/{failed['Process']}.stdout.txt" in workspace.runs.logs(run.id)


def test_the_result_and_the_error_of_a_run_are_told_in_the_logs(workspace, submit, finish):
    run = finish(workspace, submit(ONE_BAD, run_max_try=1, error_threshold=1).id)
    assert run.status is RunStatus.FAILED
    result = log(workspace, run, "logs/job_result.txt").splitlines()
    assert result == ["Failed", "3 of 6 mini-batches done, 1 of them failed", "4 of 12 items succeeded, 2 failed, 6 skipped"]
    error = log(workspace, run, "logs/job_error.txt")
    assert error.startswith("ValueError: =bad, row and more (script.py, line 4) (2 of 2 failed items")
    assert "2 items failed, more than the error_threshold of 1." in error
    assert "mini-batch 2, attempt 1: RUN_EXCEPTION\nValueError: =bad, row and more" in error


def test_the_overview_is_kept_fresh_while_a_run_goes_on(workspace, submit, finish, tmp_path):
    gate = tmp_path / "gate"
    run = submit(WAITS.format(gate=str(gate)))
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 6)

    def overview(_=None):
        return log(workspace, run, "logs/job_progress_overview.txt").splitlines()

    finish(workspace, run.id, until=lambda run: overview()[1:] == [
        "3 of 6 mini-batches done, 0 of them failed",
        "6 of 12 items succeeded, 0 failed, 6 left",
    ])  # fmt: skip
    assert overview()[0].startswith("Running at ")
    assert overview()[0].endswith(" UTC, 1 worker")
    gate.touch()
    finish(workspace, run.id)
    assert overview() == ["Completed", "6 of 6 mini-batches done, 0 of them failed", "12 of 12 items succeeded, 0 failed, 0 skipped"]


def test_the_sums_of_a_canceled_run_balance(workspace, submit, finish, tmp_path):
    run = submit(WAITS.format(gate=str(tmp_path / "gate")))
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 6)
    workspace.runs.cancel(run.id)
    run = finish(workspace, run.id)
    assert (run.items_succeeded, run.items_failed, run.items_left) == (6, 0, 6)
    assert "6 of 12 items succeeded, 0 failed, 6 skipped" in log(workspace, run, "logs/job_result.txt")


@pytest.mark.parametrize("spoil", ["remove", "cut"])
def test_a_run_whose_rows_are_removed_fails_and_can_be_resumed(workspace, submit, finish, tmp_path, spoil):
    gate = tmp_path / "gate"
    run = submit(WAITS.format(gate=str(gate)))
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 6)
    rows = LocalRunFolder(workspace.home, run.id).rows_file
    if spoil == "remove":
        rows.unlink()
    else:
        rows.write_bytes(rows.read_bytes()[:-9])
    run = finish(workspace, run.id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "StorageError")
    assert str(rows) in run.error
    assert "resume" in run.error
    gate.touch()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 12)
    lines = workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()
    assert sorted(lines) == [f"{number:04}.csv" for number in range(12)]


TAMPERED = {
    "an item that is counted twice": 'UPDATE attempts SET "succeeded" = 4 WHERE mini_batch = 1',
    "a mini-batch that is settled twice": "UPDATE attempts SET mini_batch = 0 WHERE mini_batch = 1",
    "a mini-batch that is not settled": "DELETE FROM attempts WHERE mini_batch = 1",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_run_whose_sums_do_not_balance_does_not_read_completed(workspace, submit, finish, change):
    run = finish(workspace, submit(ONE_BAD.replace("0004", "9999")).id)
    folder = LocalRunFolder(workspace.home, run.id)
    book = run_progress.RunProgress(folder, folder.plan(), 6)
    assert book.verdict().status is RunStatus.COMPLETED
    with closing(sqlite3.connect(folder.path / "journal.db")) as journal, journal:
        journal.execute(change)
    outcome = book.verdict()
    assert (outcome.status, outcome.error_code) == (RunStatus.FAILED, "LedgerError")
    assert "What was counted is not what is written down" in outcome.error
    book.close(RunStatus.FAILED)
    book.journal.close()


def test_a_journal_that_is_just_being_made_is_none_yet(tmp_path):
    folder = LocalRunFolder(tmp_path, "run")
    folder.path.mkdir(parents=True)
    (folder.path / "journal.db").touch()
    assert not folder.has_journal
    with Journal(folder.path, writable=True):
        assert folder.has_journal

"""Which items of a run failed and why: the same scripts say the same on every workspace."""

import pytest

from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from services.workspaces import open_workspace

RAISES = """
import os
def run(mini_batch):
    for path in mini_batch:
        if path.endswith("0003.csv"): raise ValueError(f"no header in {os.path.basename(path)}")
    return [os.path.basename(path) + ": 1" for path in mini_batch]
"""
SILENT = """
import os
def run(mini_batch):
    return [os.path.basename(path) + ": 1" for path in mini_batch if "0003" not in path]
"""
LOGS = """
import logging, os
def run(mini_batch):
    rows = []
    for path in mini_batch:
        print("scoring", path)
        if int(path[-8:-4]) in (1, 3, 4):
            logging.error("can't read %s: %d fields are missing", path, int(path[-5]))
            continue
        rows.append(os.path.basename(path) + ": 1")
    return rows
"""
SAYS = """
import os, sys, warnings
def run(mini_batch):
    rows = []
    for path in mini_batch:
        name = os.path.basename(path)
        print("reading", name)
        if "0001" in name: print(f"{name} is empty", file=sys.stderr)
        elif "0004" in name: warnings.warn(f"{name} has no rows")
        elif "0005" in name: print("skipped", name)
        else: rows.append(name + ": 1")
    return rows
"""
EXITS = """
import sys
def init():
    sys.exit("there is no licence for this model")
def run(mini_batch):
    return mini_batch
"""
LICENCE = "SystemExit: there is no licence for this model"
FAILING = {
    "raises": (RAISES, dict.fromkeys(["0002.csv", "0003.csv"], "ValueError: no header in 0003.csv (script.py, line 5)")),
    "skips without a word": (SILENT, {"0003.csv": "run() returned 1 row for 2 files in mini-batch 1; without a row: 0003.csv"}),
    "logs": (LOGS, {f"000{n}.csv": f"can't read 000{n}.csv: {n} fields are missing" for n in (1, 3, 4)}),
    "prints and warns": (
        SAYS,
        {"0001.csv": "0001.csv is empty", "0004.csv": "UserWarning: 0004.csv has no rows", "0005.csv": "skipped 0005.csv"},
    ),
    "exits in init": (EXITS, {}),
}


@pytest.fixture(params=["azure"])
def workspace(request, home):
    if request.param == "azure":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


@pytest.fixture
def run(workspace, csv_folder, entry_script, finish):
    """`run(source)`: a run of this script over six files, in mini-batches of two, that has ended."""

    def score(source, **values):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(6))
        settings = {"mini_batch_size": 2, "process_count_per_node": 1, "run_max_try": 1, "error_threshold": -1} | values
        target = workspace.remote.compute_targets()[0].name if workspace.remote else None
        request = RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**settings), compute_target=target)
        return finish(workspace, workspace.submit(request).id)

    return score


@pytest.mark.parametrize(("source", "causes"), FAILING.values(), ids=FAILING)
def test_a_failing_script_gives_the_same_causes_at_the_same_items(workspace, run, source, causes):
    ended = run(source)
    assert ended.status is (RunStatus.COMPLETED if causes else RunStatus.FAILED), ended.error
    items = workspace.runs.failed_items(ended.id)
    assert {item.item: item.cause for item in items} == causes
    assert [item.mini_batch for item in items] == [int(item.item[:4]) // 2 for item in items]
    groups = workspace.runs.failure_causes(ended.id)
    assert sum(group.count for group in groups) == len(causes)
    assert causes or LICENCE in ended.error.splitlines()[0]
    if source == LOGS:
        assert [(group.cause, group.count, group.share) for group in groups] == [("can't read …: … fields are missing", 3, 1.0)]


def test_a_run_stopped_by_its_threshold_tells_which_items_and_why(workspace, run):
    ended = run(LOGS, error_threshold=2)
    assert ended.status is RunStatus.FAILED
    causes = {item.item: item.cause for item in workspace.runs.failed_items(ended.id)}
    assert causes == FAILING["logs"][1]
    assert ended.items_failed == 3
    assert "can't read" in ended.error.splitlines()[0]

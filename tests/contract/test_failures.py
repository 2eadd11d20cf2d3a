"""Which items of a run failed and why: the same scripts say the same on every workspace."""

import pytest

from services.domain import RunRequest, RunStatus
from services.predictions.filters import EVERY_FAILURE
from services.settings import ParallelRunSettings
from services.workspaces import WORKSPACES, open_workspace
from tests.failing_scripts import FILES, LOGS_A_WARNING, NAME_THE_ITEM, PRINTS_A_TRACEBACK, one_after_another

one_sdk = pytest.mark.parametrize("workspace", ["local", "azure"], indirect=True)
"""For what is answered on this machine: there one of the SDKs is like the other."""
RAISED = "ValueError: no header in 0003.csv (script.py, line 5)"
RAISES = """
import os
def run(mini_batch):
    for path in mini_batch:
        if path.endswith("0003.csv"): raise ValueError(f"no header in {os.path.basename(path)}")
    return [os.path.basename(path) + ": 1" for path in mini_batch]
"""
EXITS = """
import sys
def init():
    sys.exit("there is no licence for this model")
def run(mini_batch):
    return mini_batch
"""


@pytest.fixture(params=WORKSPACES)
def workspace(request, home):
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


@pytest.fixture
def run(workspace, csv_folder, entry_script, finish):
    """`run(source)`: a run of this script over FILES files unless said, in mini-batches of two, that has ended."""

    def score(source, files=FILES, **values):
        workspace.register_dataset("d", csv_folder(files))
        settings = {"mini_batch_size": 2, "process_count_per_node": 1, "run_max_try": 1, "error_threshold": -1} | values
        target = workspace.remote.compute_targets()[0].name if workspace.remote else None
        request = RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**settings), compute_target=target)
        return finish(workspace, workspace.submit(request).id)

    return score


def test_failing_scripts_give_the_same_causes_at_the_same_items(workspace, run):
    sources = [RAISES, *(script.source for script in NAME_THE_ITEM)]  # in this order, for the number of a line is in a cause
    causes = {"0002.csv": RAISED, "0003.csv": RAISED}
    for place, script in enumerate(NAME_THE_ITEM, start=1):
        causes |= script.causes_from(FILES * place)
    ended = run(one_after_another(*sources), files=FILES * len(sources))
    assert (ended.status, ended.items_succeeded, ended.items_failed) == (RunStatus.COMPLETED, (FILES - 2) * len(sources), len(causes))
    items = workspace.runs.failed_items(ended.id)
    assert {item.item: item.cause for item in items} == causes
    assert [item.mini_batch for item in items] == [int(item.item[:4]) // 2 for item in items]
    groups = workspace.runs.failure_causes(ended.id)
    first = list(causes)[::2]
    assert sorted((group.example, group.count, round(group.share * len(sources))) for group in groups) == [(item, 2, 1) for item in first]
    assert {group.template for group in groups} >= {script.template for script in NAME_THE_ITEM}
    rows = workspace.runs.predictions(ended.id).page(EVERY_FAILURE).to_pylist()
    assert [(row["File"], row["Error"]) for row in rows] == list(causes.items())


@one_sdk
def test_a_printed_traceback_is_the_cause_of_the_item_of_its_mini_batch(workspace, run):
    ended = run(PRINTS_A_TRACEBACK.source)  # by itself: it names no item, so that what others say would count on Azure ML
    assert (ended.status, ended.items_succeeded, ended.items_failed) == (RunStatus.COMPLETED, FILES - 2, 2)
    assert {item.item: item.cause for item in workspace.runs.failed_items(ended.id)} == PRINTS_A_TRACEBACK.causes
    (group,) = workspace.runs.failure_causes(ended.id)
    assert (group.count, group.share, group.example, group.template) == (2, 1.0, "0003.csv", PRINTS_A_TRACEBACK.template)


def test_a_run_that_failed_items_ended_tells_them_and_why(workspace, run):
    ended = run(LOGS_A_WARNING.source, error_threshold=1)
    assert (ended.status, ended.items_failed) == (RunStatus.FAILED, 2)
    assert {item.item: item.cause for item in workspace.runs.failed_items(ended.id)} == LOGS_A_WARNING.causes
    cause = "'…' failed: it has … fields (2 of 2 failed items, the first: 0003.csv in mini-batch 1)."
    assert ended.error.startswith(cause)


def test_a_run_that_keeps_no_rows_tells_the_items_of_which_something_was_said(workspace, run):
    ended = run(LOGS_A_WARNING.source, output_action="summary_only")
    assert (ended.status, ended.items_succeeded, ended.items_failed) == (RunStatus.COMPLETED, FILES - 2, 2)
    assert {item.item: item.cause for item in workspace.runs.failed_items(ended.id)} == LOGS_A_WARNING.causes


def test_a_run_whose_init_exits_says_what_it_exited_with(workspace, run):
    ended = run(EXITS)
    assert ended.status is RunStatus.FAILED
    assert "SystemExit: there is no licence for this model" in ended.error.splitlines()[0]
    assert workspace.runs.failed_items(ended.id) == []

"""What a DataFrame becomes: the same typed table on every workspace."""

import pytest

from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from services.workspaces import WORKSPACES, open_workspace

FRAMES = """
import os
import pandas as pd
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    numbers = [int(name[:4]) for name in names]
    return pd.DataFrame({
        "name": names,
        "label": ["hot dog" if number % 2 else "pizza" for number in numbers],
        "score": [number / 4 if number != 3 else None for number in numbers],
        "rank": numbers,
        "seen": pd.to_datetime([f"2026-11-{number + 1:02}" for number in numbers]),
        "sure": [number > 2 for number in numbers],
    })
"""
LINES = """
def run(rows):
    return rows.assign(total=rows.sold * 2)
"""


@pytest.fixture(params=WORKSPACES)
def workspace(request, home):
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


@pytest.fixture
def table(workspace, entry_script, finish):
    """`table(source, argument, ...)`: the predictions of a run of this script over dataset `d`."""

    def score(source, *arguments, **settings):
        values = ParallelRunSettings(**{"process_count_per_node": 1} | settings)
        target = workspace.remote.compute_targets()[0].name if workspace.remote else None
        request = RunRequest((), ("d",), str(entry_script(source)), values, arguments=arguments, compute_target=target)
        run = finish(workspace, workspace.submit(request).id)
        assert run.status is RunStatus.COMPLETED, run.error
        assert (run.items_succeeded, run.items_failed) == (run.items_total, 0)
        return workspace.runs.predictions(run.id)

    return score


def test_a_dataframe_with_a_header_has_its_names_types_and_files(workspace, table, csv_folder):
    workspace.register_dataset("d", csv_folder(6))
    predictions = table(FRAMES, "--append_row_dataframe_header", "True", mini_batch_size=2)
    columns = ("File", "label", "score", "rank", "seen", "sure")
    rows = [tuple(row[name] for name in columns) for row in predictions.page().to_pylist()]
    assert [(file, label, score, rank) for file, label, score, rank, _, _ in sorted(rows)] == [
        (f"000{n}.csv", "hot dog" if n % 2 else "pizza", n / 4 if n != 3 else None, n) for n in range(6)
    ]
    assert [str(seen)[:10] for *_, seen, _ in sorted(rows)] == [f"2026-11-0{n + 1}" for n in range(6)]
    kinds = {name: str(predictions.columns[name]) for name in columns[1:]}
    assert kinds == {"label": "category", "score": "number", "rank": "whole number", "seen": "date", "sure": "truth value"}


def test_a_table_scored_to_dataframes_has_their_columns(workspace, table, tmp_path):
    (tmp_path / "t.csv").write_text("sold,name\n10,a b\n11,c\n")
    workspace.register_dataset("d", tmp_path / "t.csv", type="tabular")
    rows = table(LINES, "--append_row_dataframe_header", "True").page().to_pylist()
    assert [(row["File"], row["sold"], row["name"], row["total"]) for row in rows] == [("t.csv", 10, "a b", 20), ("t.csv", 11, "c", 22)]

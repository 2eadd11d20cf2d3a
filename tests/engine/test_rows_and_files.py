"""Which file a row is of, from a real script to the table."""

from __future__ import annotations

import pytest

from services.predictions.filters import EVERY_ROW

FRAME_OF = """
    import os, pandas
    def run(mini_batch):
        names = [os.path.basename(path) for path in reversed(mini_batch)]
        scores = [int(name[:-4]) / 10 for name in names]
        return {frame}
"""


def table(workspace, run):
    """(file, prediction, how it was matched) of each row."""
    rows = workspace.runs.predictions(run.id).page(EVERY_ROW).to_pylist()
    return [(row["File"], row["Prediction"], row["Matched by"]) for row in rows]


def test_a_skipped_files_rows_go_to_the_files_they_name_last(workspace, score):
    run = score(
        """
        import json, os
        def run(mini_batch):
            names = [os.path.basename(path) for path in mini_batch]
            return [json.dumps({"score": n / 2, "image": name}) for name in names if name != "0001.csv" for n in range(2)]
        """,
        files=4,
        mini_batch_size="2",
        error_threshold=-1,
    )
    expected = [
        (name, f'{{"score": {n / 2}, "image": "{name}"}}', "name") for name in ("0000.csv", "0002.csv", "0003.csv") for n in range(2)
    ]
    assert table(workspace, run) == [*expected[:2], ("0001.csv", None, None), *expected[2:]]


@pytest.mark.parametrize(
    "frame",
    [
        'pandas.DataFrame({"score": scores, "source_file": names})',
        'pandas.DataFrame({"score": scores}, index=names)',
        'pandas.DataFrame({"score": scores, "set": "a"}, index=pandas.MultiIndex.from_product([["set"], names]))',
    ],
    ids=["in the last column", "in the index", "in a level of the index"],
)
def test_a_dataframe_in_another_order_names_its_files(workspace, score, frame):
    run = score(FRAME_OF.format(frame=frame), files=6, mini_batch_size="3")
    rows = workspace.runs.predictions(run.id).page(EVERY_ROW).to_pylist()
    assert [(row["File"], row["Prediction"].split()[0], row["Matched by"]) for row in rows] == [
        (f"{number:04}.csv", str(number / 10), "name") for number in range(6)
    ]


def test_the_index_of_a_dataframe_is_not_in_the_output_file(workspace, score):
    run = score(FRAME_OF.format(frame='pandas.DataFrame({"score": scores}, index=names)'), files=2, mini_batch_size="2")
    assert workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes() == b"0.1\n0.0\n"


def test_all_rows_of_a_mini_batch_of_one_file_are_that_files(workspace, score):
    run = score("def run(mini_batch): return [1, 2]", files=2, mini_batch_size="1")
    assert table(workspace, run) == [(file, number, "only file") for file in ("0000.csv", "0001.csv") for number in "12"]


def test_rows_of_earlier_mini_batches_are_not_matched(workspace, score):
    run = score(
        """
        import os
        so_far = []
        def run(mini_batch):
            so_far.extend(f"{os.path.basename(path)}: {len(so_far)}" for path in mini_batch)
            return so_far
        """,
        files=3,
        mini_batch_size="1",
        process_count_per_node=1,
    )
    found = table(workspace, run)
    assert [row for row in found if row[2] == "name"] == [(f"{number:04}.csv", str(number), "name") for number in range(3)]
    assert [row for row in found if row[2] != "name"] == [("", f"{number:04}.csv: {number}", "not matched") for number in (0, 0, 1)]


@pytest.mark.parametrize(
    ("sort", "way"),
    [
        (".sort_values('score')", "not matched"),
        ("[::-1]", "not matched"),
        (".sort_values('score').rename_axis('id')", "not matched"),
        (".sort_values('score', ascending=False)", "order"),
        (".set_axis([7, 3, 5])", "order"),
    ],
)
def test_the_rows_of_a_dataframe_that_was_sorted_are_not_matched_by_order(workspace, score, sort, way):
    script = f"""
        import os, pandas
        def run(mini_batch):
            return pandas.DataFrame({{"score": [-int(os.path.basename(path)[:-4]) for path in mini_batch]}}){sort}
        """
    run = score(script, files=3, mini_batch_size="3")
    files = ["0000.csv", "0001.csv", "0002.csv"]
    assert [row for row in table(workspace, run) if row[1]] == [
        (file if way == "order" else "", prediction, way)
        for file, prediction in zip(files, ["0", "-1", "-2"] if way == "order" else ["-2", "-1", "0"], strict=True)
    ]
    unknown = [f"run() returned 3 rows for 3 files in mini-batch 0; none of them is known to be of {file}" for file in files]
    assert [failed.cause for failed in workspace.runs.failed_items(run.id)] == ([] if way == "order" else unknown)

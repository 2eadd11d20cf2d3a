"""Which file a row is of, from a real script to the table."""

from __future__ import annotations

from services.predictions.filters import EVERY_ROW

FRAMES = """
    import os, pandas
    def run(mini_batch, context):
        names = [os.path.basename(path) for path in reversed(mini_batch)]
        scores = [int(name[:-4]) / 10 for name in names]
        return [
            lambda: pandas.DataFrame({"score": scores, "source_file": names}),  # in the last column
            lambda: pandas.DataFrame({"score": scores}, index=names),
            lambda: pandas.DataFrame({"score": scores, "set": "a"}, index=pandas.MultiIndex.from_product([["set"], names])),
        ][context.minibatch_index]()
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


def test_a_dataframe_in_another_order_names_its_files_by_column_or_index(workspace, score):
    run = score(FRAMES, files=9, mini_batch_size="3")
    rows = workspace.runs.predictions(run.id).page(EVERY_ROW).to_pylist()
    assert [(row["File"], row["Prediction"].split()[0], row["Matched by"]) for row in rows] == [
        (f"{number:04}.csv", str(number / 10), "name") for number in range(9)
    ]
    output = workspace.runs.output(run.id)["parallel_run_step.txt"].read_text()
    assert output == "0.2 0002.csv\n0.1 0001.csv\n0.0 0000.csv\n0.5\n0.4\n0.3\n0.8 a\n0.7 a\n0.6 a\n"  # the index is not in the file


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


SORTED = [
    (".sort_values('score')", "not matched"),
    ("[::-1]", "not matched"),
    (".sort_values('score').rename_axis('id')", "not matched"),
    (".sort_values('score', ascending=False)", "order"),
    (".set_axis([7, 3, 5])", "order"),
]


def test_the_rows_of_a_dataframe_that_was_sorted_are_not_matched_by_order(workspace, score):
    script = f"""
        import os, pandas
        def run(mini_batch, context):
            frame = pandas.DataFrame({{"score": [-int(os.path.basename(path)[:-4]) for path in mini_batch]}})
            return [{", ".join(f"lambda: frame{sort}" for sort, _ in SORTED)}][context.minibatch_index]()
        """
    run = score(script, files=3 * len(SORTED), mini_batch_size="3")
    expected, unknown = [], []
    for number, (_, way) in enumerate(SORTED):
        places = range(3 * number, 3 * number + 3)
        if way == "order":
            expected += [(f"{place:04}.csv", str(-place), way) for place in places]
        else:
            expected += [("", str(-place), way) for place in reversed(places)]
            unknown += [
                f"run() returned 3 rows for 3 files in mini-batch {number}; none of them is known to be of {place:04}.csv"
                for place in places
            ]
    assert [row for row in table(workspace, run) if row[1]] == expected
    assert [failed.cause for failed in workspace.runs.failed_items(run.id)] == unknown

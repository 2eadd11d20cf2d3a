"""Row number: which row of its file a prediction is of, in the table and in whatever is made of it."""

import csv
import io
from argparse import Namespace
from types import SimpleNamespace

import pytest

from services.cli import commands
from services.predictions import exports, snippets
from services.predictions.columns import ROW_NUMBER
from services.predictions.comparison import Change, compare
from services.predictions.evaluation import UnmatchedLabel, evaluate
from services.predictions.failures import failed_items, failure_causes
from services.predictions.filters import EVERY_FAILURE, EVERY_ROW, Condition, Filter, Operator, Order
from services.predictions.label_file import keep_labels
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table


def mini_batch(numbers, rows, *, file="a.csv", index=0, error="", columns=""):
    """Of a table: `numbers` are the ranges of its rows in the file."""
    items = [file] * sum(count for _, count in numbers)
    return ScoredMiniBatch(
        index, items, "/d", rows, "w", 1, 0.1, error, items_are_rows=True, row_numbers=numbers, columns=columns
    )  # fmt: skip


@pytest.fixture
def table_of(tmp_path):
    def make(*mini_batches, name="one"):
        (tmp_path / name).mkdir(exist_ok=True)
        make_table(mini_batches, tmp_path / name / "predictions-1.parquet")
        return Predictions(tmp_path / name / "predictions-1.parquet")

    return make


@pytest.fixture
def labels(tmp_path):
    def make(*lines):
        path = tmp_path / "labels.csv"
        path.write_text("".join(f"{line}\n" for line in lines))
        return keep_labels(path, "labels.csv", tmp_path)

    return make


def numbers_in(table, filter_=EVERY_ROW, column=ROW_NUMBER):
    return [(row["File"], row[column], row["Prediction"]) for row in table.page(filter_, 0, 1000).to_pylist()]


def read_csv(parts):
    return list(csv.reader(io.StringIO(b"".join(parts).decode(), newline="")))


def test_a_row_has_its_number_in_its_file(table_of):
    table = table_of(mini_batch([(5, 2)], ["x", "y"]), mini_batch([(1, 1)], ["z"], file="b.csv", index=1))
    assert numbers_in(table) == [("a.csv", 5, "x"), ("a.csv", 6, "y"), ("b.csv", 1, "z")]


def test_rows_that_are_not_matched_with_items_have_no_number(table_of):
    table = table_of(mini_batch([(1, 3)], ["x", "y"]), mini_batch([(4, 1)], ["z"], index=1), mini_batch([(5, 2)], [], index=2, error="bad"))
    assert numbers_in(table) == [
        ("a.csv", None, "x"), ("a.csv", None, "y"), ("a.csv", None, None), ("a.csv", 4, "z"), ("a.csv", 5, None), ("a.csv", 6, None),
    ]  # fmt: skip


@pytest.mark.parametrize(("numbers", "is_said"), [([(1, 2)], True), ([(1, 1)], False)], ids=["unknown", "no such row"])
def test_a_condition_on_unknown_row_numbers_is_answered_in_words(table_of, tmp_path, capsys, numbers, is_said):
    table = table_of(mini_batch(numbers, ["x"]))
    workspace = SimpleNamespace(runs=SimpleNamespace(predictions=lambda run: table))
    arguments = Namespace(run="r", to=str(tmp_path / "p.csv"), where='"row number" = 3', json=False)
    assert commands.predictions(workspace, arguments).value["rows"] == 0
    assert ("Row number is unknown in this run" in capsys.readouterr().err) == is_said


def test_a_table_of_files_has_no_such_column(table_of):
    table = table_of(ScoredMiniBatch(0, ["a.png"], "/d", ["a.png: cat"], "w", 1, 0.1, ""))
    assert ROW_NUMBER not in table.columns
    assert ROW_NUMBER not in table.own
    assert exports.shown_columns(table) == ["File", "Prediction"]


@pytest.mark.parametrize("rows", [['{"row number": 7, "p": 1}'], ["{'row number': 7, 'p': np.float64(1)}"], ["7 1"]])
def test_a_persons_column_of_that_name_keeps_it(table_of, rows):
    columns = '[["row number", "number"], ["p", "number"]]' if rows == ["7 1"] else ""
    table = table_of(mini_batch([(3, 1)], rows, columns=columns))
    (row,) = table.page(EVERY_ROW).to_pylist()
    assert (row["row number"], row["Run row number"]) == (7, 3)
    assert table.further_columns == ["row number", "p"]
    assert exports.shown_columns(table) == ["File", "Run row number", "Prediction", "row number", "p"]


def test_a_persons_column_of_that_name_keeps_it_in_a_table_of_files(table_of):
    table = table_of(ScoredMiniBatch(0, ["a.png"], "/d", ['{"file": "a.png", "Row number": 7, "p": 1}'], "w", 1, 0.1, ""))
    assert table.page(EVERY_ROW).to_pylist()[0]["Row number"] == 7
    assert "Row number" in table.further_columns


def test_rows_are_filtered_sorted_and_exported_by_it(table_of):
    table = table_of(mini_batch([(1, 2), (7, 2)], ["1", "2", "3", "4"]))
    from_seven = Filter(conditions=(Condition(ROW_NUMBER, Operator.FROM, ("7",)),))
    assert [number for _, number, _ in numbers_in(table, from_seven)] == [7, 8]
    assert table.count(Filter(where='"Row number" = 2')) == 1
    exported = read_csv(exports.export(".csv", table, order=Order(ROW_NUMBER, descending=True)))
    assert exported == [["File", "Row number", "Prediction"], *(["a.csv", row, p] for row, p in zip("8721", "4321", strict=True))]
    assert '"Row number"' in snippets.sql(table, from_seven)
    assert "rows['Row number'] >= 7" in snippets.pandas(table, from_seven)


def test_it_is_left_out_of_an_export_where_no_row_has_one(table_of):
    table = table_of(mini_batch([], []), ScoredMiniBatch(1, ["a.csv"], "/d", ["1"], "w", 1, 0.1, "", items_are_rows=True))
    assert numbers_in(table) == [("a.csv", None, "1")]
    assert exports.shown_columns(table) == ["File", "Prediction"]


def test_failed_rows_are_said_by_file_and_number(table_of):
    table = table_of(mini_batch([(16, 2)], [], error="ValueError: bad"), mini_batch([(18, 2)], ["x"], index=1))
    items = failed_items(table)
    assert [item.name for item in items] == ["a.csv, row 16", "a.csv, row 17", "a.csv"]
    assert [item.row_number for item in items] == [16, 17, None]
    assert failure_causes(table)[0].example == "a.csv, row 16"
    assert read_csv(exports.failed_items_as_csv(items))[1][-1] == "16"
    assert exports.shown_columns(table, EVERY_FAILURE)[:3] == ["File", "Row number", "Error"]


def test_two_runs_are_compared_by_the_numbers_of_rows(table_of):
    older = table_of(mini_batch([(1, 2)], ["a", "b"]), mini_batch([(3, 2)], ["c", "d"], index=1), name="older")
    newer = table_of(
        mini_batch([(3, 2)], ["c", "x"]), mini_batch([(2, 1)], ["b"], index=1), mini_batch([(9, 1)], ["n"], index=2), name="newer"
    )
    comparison = compare(older, newer, "run-1")
    assert (comparison.changes[Change.SAME], comparison.changes[Change.NEW], comparison.gone) == (2, 1, 1)
    assert comparison.transitions() == [("d", "x", 1)]
    assert comparison.gone_rows() == [("a.csv", "a")]


def test_rows_without_numbers_are_compared_in_their_order(table_of):
    unknown = ScoredMiniBatch(0, ["a.csv"] * 3, "/d", ["a", "b", "c"], "w", 1, 0.1, "", items_are_rows=True)
    known = table_of(mini_batch([(1, 1)], ["a"]), mini_batch([(2, 2)], ["b", "x"], index=1), name="newer")
    comparison = compare(table_of(unknown, name="older"), known, "run-1")
    assert (comparison.changes[Change.SAME], comparison.transitions()) == (2, [("c", "x", 1)])


def test_some_rows_without_a_number_are_compared_among_themselves(table_of):
    older = table_of(mini_batch([(1, 1)], ["a"]), mini_batch([(2, 3)], ["b", "c"], index=1), name="older")
    newer = table_of(mini_batch([(1, 1)], ["a"]), mini_batch([(2, 3)], ["b", "x", "y", "z"], index=1), name="newer")
    comparison = compare(older, newer, "run-1")
    assert comparison.changes[Change.SAME] == 2
    assert comparison.transitions() == [("c", "x", 1)]


def test_a_label_is_of_the_row_that_it_names(table_of, labels):
    table = table_of(mini_batch([(1, 3)], ["1", "2", "3"], file="d/a.csv"), mini_batch([(1, 2)], ["4", "5"], file="d/b.csv", index=1))
    given = labels(
        "file,row number,label", "d/a.csv,1,1", "d/a.csv,2.0,0", "a.csv,3,3", "a.csv,2,2", "d/b.csv,,4", "d/b.csv,2,5", "d/b.csv,9,1",
        "d/b.csv,many,1", "c.csv,1,1", "d/a.csv,,9", "b.csv,1,",
    )  # fmt: skip
    evaluation = evaluate(table, given)
    rows = Predictions(evaluation.path).page(EVERY_ROW).to_pylist()
    assert [row["Label"] for row in rows] == ["1", "0", "3", "4", "5"]
    assert evaluation.accuracy == 0.8
    assert set(evaluation.unmatched_labels()) == {
        ("d/b.csv, row 9", "1", UnmatchedLabel.NO_ROW), ("d/b.csv, row 0", "1", UnmatchedLabel.NO_ROW),
        ("c.csv, row 1", "1", UnmatchedLabel.NO_FILE), ("a.csv, row 2", "2", UnmatchedLabel.OVERRULED),
        ("b.csv, row 1", "", UnmatchedLabel.EMPTY),
    }  # fmt: skip


def test_a_row_with_two_labels_has_none_and_its_neighbours_keep_theirs(table_of, labels):
    evaluation = evaluate(
        table_of(mini_batch([(1, 2)], ["1", "2"])), labels("file,row number,label", "a.csv,1,1", "a.csv,1,2", "a.csv,2,2")
    )
    assert [row["Label"] for row in Predictions(evaluation.path).page(EVERY_ROW).to_pylist()] == [None, "2"]
    assert evaluation.unmatched_labels() == [("a.csv, row 1", "1", UnmatchedLabel.CONTRADICTION)]


def test_labels_of_rows_are_labels_of_files_where_items_are_files(table_of, labels):
    table = table_of(ScoredMiniBatch(0, ["a.png", "b.png"], "/d", ["a.png: cat", "b.png: cat"], "w", 1, 0.1, ""))
    evaluation = evaluate(table, labels("file,row number,label", "a.png,1,cat", "b.png,1,cat", "b.png,2,dog"))
    assert [row["Label"] for row in Predictions(evaluation.path).page(EVERY_ROW).to_pylist()] == ["cat", None]

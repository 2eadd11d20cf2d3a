"""A filter as code: what a person copies finds the same rows in the same order."""

import pytest

from services.predictions import snippets
from services.predictions.filters import EVERY_ROW, Condition, Filter, Operator, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table

FILTERS = [
    Filter(),
    EVERY_ROW,
    Filter(text="O'%_"),
    Filter(text="A/"),
    Filter(classes=("it's", "1.5")),
    Filter(minimum=1.0, maximum=2.5),
    Filter(conditions=(Condition("File", Operator.STARTS, ("b",)), Condition("Folder", Operator.ONE_OF, ("b", "it's")))),
    Filter(conditions=(Condition("File", Operator.GLOB, ("?/*.csv",)),)),
    Filter(conditions=(Condition("Number", Operator.FROM, ("1.5",)), Condition("Number", Operator.TO, ("2",)))),
    Filter(conditions=(Condition("Mini-batch", Operator.ONE_OF, ("1",)),)),
    Filter(conditions=(Condition("Number", Operator.EMPTY),)),
    Filter(conditions=(Condition("Number", Operator.FROM, ("007",)),)),
    Filter(conditions=(Condition("Number", Operator.TO, ("inf",)),)),
    Filter(conditions=(Condition("Number", Operator.ONE_OF, ("2", "3", "1.5", "x", "9")),)),
    Filter(conditions=(Condition("Scored at", Operator.TO, ("1970-01-01",)),)),
    Filter(statuses=EVERY_ROW.statuses, conditions=(Condition("Error", Operator.GLOB, ("b*",)),)),
    Filter(conditions=(Condition("Worker", Operator.CONTAINS, ("PROCESS000",)),)),
]


@pytest.fixture
def table(tmp_path):
    rows = {"a/1.csv": "it's", "a/$text.csv": "1.5", "b/2.csv": "2", "b/o'%_.csv": "3", "c": "y"}
    batches = [
        ScoredMiniBatch(n, [file], "/d", [f"{file}: {value}"], f"node 0, process00{n % 2}", 1, 0.1, "")
        for n, (file, value) in enumerate(rows.items())
    ]
    make_table([*batches, ScoredMiniBatch(9, ["it's/f.csv"], "/d", [], "w", 1, 0.1, "bad")], tmp_path / "[t] it's.parquet")
    return Predictions(tmp_path / "[t] it's.parquet")


@pytest.mark.parametrize("filter_", FILTERS, ids=str)
@pytest.mark.parametrize("order", [Order(), Order("File", descending=True), Order("Number", descending=True)], ids=Order.to_text)
def test_the_copied_code_finds_the_same_rows_in_the_same_order(table, filter_, order):
    import duckdb

    wanted = [row["File"] for row in table.page(filter_, 0, 100, order).to_pylist()]
    found = duckdb.connect().execute(snippets.sql(table, filter_, order)).fetchall()
    assert [row[0] for row in found] == wanted
    code = {}
    exec(snippets.pandas(table, filter_, order), code)
    assert list(code["rows"]["File"]) == wanted


def test_a_condition_in_sql_stays_sql(table):
    import duckdb

    filter_ = Filter(where="Prediction = '$text' OR Number > 2 -- so")
    query = snippets.sql(table, filter_)
    assert [row[0] for row in duckdb.connect().execute(query).fetchall()] == ["b/o'%_.csv"]
    assert "Number > 2" in snippets.pandas(table, filter_)


def test_of_predictions_that_are_numbers_the_copied_code_knows_the_numbers(tmp_path):
    import duckdb

    values = ["10", "9", "-1", "9", "100"]
    names = [f"{place}.csv" for place in range(len(values))]
    rows = [f"{name}: {value}" for name, value in zip(names, values, strict=True)]
    make_table([ScoredMiniBatch(0, names, "/d", rows, "w", 1, 0.1, "")], tmp_path / "t.parquet")
    table = Predictions(tmp_path / "t.parquet")
    filter_ = Filter(conditions=(Condition("Prediction", Operator.FROM, ("0",)),))
    for order, wanted in ((Order("Prediction"), "1304"), (Order("Prediction", descending=True), "4031")):
        assert "".join(name[0] for name in table.page(filter_, 0, 9, order).column("File").to_pylist()) == wanted
        found = duckdb.connect().execute(snippets.sql(table, filter_, order)).fetchall()
        exec(snippets.pandas(table, filter_, order), code := {})
        assert "".join(row[0][0] for row in found) == "".join(name[0] for name in code["rows"]["File"]) == wanted

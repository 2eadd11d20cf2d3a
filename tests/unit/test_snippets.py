"""A filter as code: what a person copies finds the same rows in the same order."""

import functools
import json

import pytest

from services.predictions import snippets
from services.predictions.filters import EVERY_ROW, Condition, Filter, Operator, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table

pytestmark = pytest.mark.slow  # hundreds of filters, each as SQL and as pandas

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


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "[t] it's.parquet"
    rows = {"a/1.csv": "it's", "a/$text.csv": "1.5", "b/2.csv": "2", "b/o'%_.csv": "3", "c": "y"}
    batches = [
        ScoredMiniBatch(n, [file], "/d", [f"{file}: {value}"], f"node 0, process00{n % 2}", 1, 0.1, "")
        for n, (file, value) in enumerate(rows.items())
    ]
    make_table([*batches, ScoredMiniBatch(9, ["it's/f.csv"], "/d", [], "w", 1, 0.1, "bad")], path)
    return Predictions(path)


@functools.cache
def database():
    """One for all queries that are copied: opening one takes longer than asking it."""
    import duckdb

    return duckdb.connect()


def check(table, filter_, order):
    """The table's own filter, the copied SQL and the copied pandas give the same rows in the same order."""
    expected = table.page(filter_, 0, 100, order).column("File").to_pylist()
    rows = database().execute(snippets.sql(table, filter_, order)).fetchall()
    exec(snippets.pandas(table, filter_, order), code := {})
    assert [row[0] for row in rows] == list(code["rows"]["File"]) == expected


ORDERS = [Order(), Order("File", descending=True), Order("Number", descending=True)]
IN_AN_ORDER = [(filter_, ORDERS[place % 3]) for place, filter_ in enumerate(FILTERS)]


@pytest.mark.parametrize(("filter_", "order"), [*IN_AN_ORDER, (FILTERS[0], ORDERS[1]), (FILTERS[0], ORDERS[2])], ids=str)
def test_the_copied_code_finds_the_same_rows_in_the_same_order(table, filter_, order):
    check(table, filter_, order)


def test_a_condition_in_sql_stays_sql(table):
    filter_ = Filter(where="Prediction = '$text' OR Number > 2 -- so")
    query = snippets.sql(table, filter_)
    assert [row[0] for row in database().execute(query).fetchall()] == ["b/o'%_.csv"]
    assert "Number > 2" in snippets.pandas(table, filter_)


def test_of_predictions_that_are_numbers_the_copied_code_knows_the_numbers(tmp_path):
    values = ["10", "9", "-1", "9", "100"]
    names = [f"{place}.csv" for place in range(len(values))]
    rows = [f"{name}: {value}" for name, value in zip(names, values, strict=True)]
    make_table([ScoredMiniBatch(0, names, "/d", rows, "w", 1, 0.1, "")], tmp_path / "t.parquet")
    table = Predictions(tmp_path / "t.parquet")
    filter_ = Filter(conditions=(Condition("Prediction", Operator.FROM, ("0",)),))
    for order, wanted in ((Order("Prediction"), "1304"), (Order("Prediction", descending=True), "4031")):
        assert "".join(name[0] for name in table.page(filter_, 0, 9, order).column("File").to_pylist()) == wanted
        found = database().execute(snippets.sql(table, filter_, order)).fetchall()
        exec(snippets.pandas(table, filter_, order), code := {})
        assert "".join(row[0][0] for row in found) == "".join(name[0] for name in code["rows"]["File"]) == wanted


def test_the_copied_code_knows_exact_numbers_and_the_tables_own_names(tmp_path):
    values = [2**53 + 1, 2**53, 2**60 + 1, -5]
    rows = [
        f"{{'prediction': {value}, 'id': {value}, 'amount': Decimal('{number}.12345678901234567890'), 'status': 1, 'ok': {value > 0}}}"
        for number, value in enumerate(values)
    ]
    names = [f"{place}.csv" for place in range(len(rows))]
    make_table([ScoredMiniBatch(0, names, "/d", rows, "w", 1, 0.1, "")], tmp_path / "t.parquet")
    table = Predictions(tmp_path / "t.parquet")
    bounds = {"Prediction": str(2**53 + 1), "id": "9007199254740992.5", "amount": "1.1234567890123456789", "ok": "True"}
    for column in ("Prediction", "id", "amount", "ok", "Run status"):
        operator = Operator.ONE_OF if column in ("ok", "Run status") else Operator.FROM
        filter_ = Filter(conditions=(Condition(column, operator, (bounds.get(column, "succeeded"),)),))
        wanted = {"amount": names[1:], "ok": names[:3], "Run status": names}.get(column, [names[0], names[2]])
        assert table.page(filter_).column("File").to_pylist() == wanted
        check(table, filter_, Order())


HOSTILE_NAMES = [
    "US$price", "_id.$oid", "$value_0", "$text", "it's", 'a "b"', "a\\b", "{0}", "%s", "rows", "pd", "select", "größe 1", "-- x", "?",
    "a;b",
]  # fmt: skip
HOSTILE_VALUES = ["$value_0", "it's", "100%_", '"', "\\", "größe", "US$5", "[a]*"]
HOSTILE_GLOBS = [
    "*",
    "?",
    "??",
    "\\",
    "\\\\",
    "[a]*",
    "\\[a]\\*",
    "[",
    "[a",
    "[]]",
    "[!a]*",
    "[^a]*",
    "[$-a]*",
    "[z-a]*",
    "g*??*e",
    "gr?ße",
    "*%_",
    "",
]
OPERATORS = [Operator.CONTAINS, Operator.STARTS, Operator.ONE_OF, Operator.FROM, Operator.TO]


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Each hostile name as a column of texts and, with `n ` before it, as one of numbers."""
    rows = [
        {name: HOSTILE_VALUES[(place + row) % len(HOSTILE_VALUES)] for place, name in enumerate(HOSTILE_NAMES)}
        | {f"n {name}": row * 1.5 for name in HOSTILE_NAMES}
        for row in range(8)
    ]
    names = [f"{row}.csv" for row in range(8)]
    path = tmp_path_factory.mktemp("hostile") / "t.parquet"
    lines = [f"{name}: {json.dumps(row)}" for name, row in zip(names, rows, strict=True)]
    make_table([ScoredMiniBatch(0, names, "/d", lines, "w", 1, 0.1, "")], path)
    return Predictions(path)


@pytest.mark.parametrize("place", range(len(HOSTILE_NAMES)), ids=HOSTILE_NAMES)
def test_the_copied_code_works_for_a_column_of_any_name(hostile, place):
    name, values = HOSTILE_NAMES[place], HOSTILE_VALUES[place % 8 :] + HOSTILE_VALUES[: place % 8]
    assert {name, f"n {name}"} <= set(hostile.columns)
    conditions = [
        Condition(name, OPERATORS[place % 5], (values[0],)),
        [Condition(name, Operator.EMPTY), Condition(name, Operator.ONE_OF, tuple(values[1:6]))][place % 2],
        [Condition(f"n {name}", Operator.FROM, ("4.5",)), Condition(f"n {name}", Operator.ONE_OF, ("3.0", "$", "6"))][place // 2 % 2],
    ]
    for condition in conditions:
        check(hostile, Filter(conditions=(condition, Condition("File", Operator.CONTAINS, (".csv",)))), Order(f"n {name}"))
    check(hostile, Filter(), Order(name, descending=True))


@pytest.mark.parametrize("glob", HOSTILE_GLOBS)
def test_the_copied_code_reads_a_glob_as_the_table_does(hostile, glob):
    check(hostile, Filter(conditions=(Condition("US$price", Operator.GLOB, (glob,)),)), Order())

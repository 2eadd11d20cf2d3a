"""Looking at a table: filters by column, facets, orders, groups, single rows, the numbers behind charts."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from services.errors import NotFound, SettingsError
from services.predictions import charts
from services.predictions.columns import Status
from services.predictions.filters import EVERY_FAILURE, EVERY_PREDICTION, EVERY_ROW, Condition, Filter, Operator, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.table_file import cache_folder, remove_table
from services.predictions.writer import make_table
from services.run_details import RowKey

DAY = datetime(2026, 3, 1, 23, 59, tzinfo=UTC).timestamp()


def scored(index, items, rows, error="", at=DAY):
    return ScoredMiniBatch(index, items, "/root", rows, f"node 0, process{index:03}", 1, 0.25, error, ended_at=at)


def seven_files(path):
    """Seven files, of which one failed; each other one has a label and a score. The second mini-batch is of the next day."""

    def row(name, label, score):
        return f"{name}: {json.dumps({'label': label, 'score': score})}"

    batches = [
        scored(0, ["a/1.png", "a/2.png", "b/1.png"], [row("a/1.png", "cat", 0.9), row("a/2.png", "dog", 0.5), row("b/1.png", "cat", 0.1)]),
        scored(1, ["b/100%.png", "c_d/X.PNG"], [row("b/100%.png", "Cat", 0.5), row("c_d/X.PNG", "", None)], at=DAY + 600),
        scored(2, ["b/z.png"], [], error="ValueError: no", at=DAY + 700),
        scored(3, ["top.png"], [row("top.png", "dog", 0.7)], at=DAY + 800),
    ]
    make_table(batches, path)
    return Predictions(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """`seven_files`, for those that only ask it."""
    return seven_files(tmp_path_factory.mktemp("table") / "t.parquet")


def files(table, filter_=EVERY_PREDICTION, order=Order()):  # noqa: B008 - a value
    return table.page(filter_, 0, 100, order).column("File").to_pylist()


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([("File", "contains", "PNG")], ["a/1.png", "a/2.png", "b/1.png", "b/100%.png", "c_d/X.PNG", "top.png"]),
        ([("File", "contains", "%")], ["b/100%.png"]),
        ([("File", "contains", "_")], ["c_d/X.PNG"]),
        ([("File", "starts with", "b/")], ["b/1.png", "b/100%.png"]),
        ([("File", "starts with", "B/")], []),
        ([("File", "glob", "?/*1*.png")], ["a/1.png", "b/1.png", "b/100%.png"]),
        ([("label", "one of", "cat", "dog")], ["a/1.png", "a/2.png", "b/1.png", "top.png"]),
        ([("label", "one of", "cat", "dog"), ("Folder", "one of", "a")], ["a/1.png", "a/2.png"]),
        ([("Folder", "one of", "")], ["top.png"]),
        ([("score", "from", "0.5"), ("score", "to", "0.7")], ["a/2.png", "b/100%.png", "top.png"]),
        ([("score", "one of", "0.5", "no number")], ["a/2.png", "b/100%.png"]),
        ([("score", "contains", "0.5")], ["a/2.png", "b/100%.png"]),
        ([("score", "empty")], ["c_d/X.PNG"]),
        ([("label", "empty")], ["c_d/X.PNG"]),
        ([("Mini-batch", "one of", "1", "3")], ["b/100%.png", "c_d/X.PNG", "top.png"]),
        ([("Scored at", "to", "2026-03-01")], ["a/1.png", "a/2.png", "b/1.png"]),
        ([("Scored at", "from", "2026-03-02")], ["b/100%.png", "c_d/X.PNG", "top.png"]),
        ([("Scored at", "from", "2026-03-02T00:10:00")], ["top.png"]),
    ],
)
def test_conditions_on_columns_leave_what_holds_for_all_of_them(table, conditions, found):
    filter_ = Filter(conditions=tuple(Condition(column, Operator(test), tuple(values)) for column, test, *values in conditions))
    assert files(table, filter_) == found
    assert table.count(filter_) == len(found)
    assert table.count(Filter.from_text(filter_.to_text())) == len(found)


@pytest.mark.parametrize(
    "condition",
    [
        Condition("nothing", Operator.EMPTY),
        Condition("score", Operator.FROM, ("high",)),
        Condition("score", Operator.FROM, ()),
        Condition("Scored at", Operator.TO, ("yesterday",)),
        Condition("Scored at", Operator.TO, ("9999-12-31",)),
        Condition("File", Operator.CONTAINS, ("a", "b")),
    ],
)
def test_a_condition_that_does_not_fit_its_column_is_refused(table, condition):
    with pytest.raises(SettingsError) as refused:
        table.count(Filter(conditions=(condition,)))
    assert refused.value.field == "filter"


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"colour": 1}', '{"text": 1}', '{"minimum": "x"}', '{"conditions": [["a"]]}', '{"statuses": ["x"]}']
)
def test_a_filter_in_a_url_that_nobody_wrote_is_refused(text):
    with pytest.raises(SettingsError):
        Filter.from_text(text)


def test_filters_and_orders_survive_a_url():
    hostile = "\"'&=%, :\n\u202e<b>🐈"
    filter_ = Filter(hostile, (hostile, ""), -1.5, 1e300, hostile, (Status.FAILED,), (Condition(hostile, Operator.GLOB, (hostile,)),))
    assert Filter.from_text(filter_.to_text()) == filter_
    assert Filter.from_text("") == EVERY_PREDICTION
    assert EVERY_PREDICTION.to_text() == ""
    for order in (Order(), Order("a"), Order("a", True), Order("-a"), Order("-a", True), Order("+a"), Order(hostile, True)):
        assert Order.from_text(order.to_text()) == order


def test_a_page_reads_the_columns_that_are_asked_for_in_their_order(table):
    page = table.page(Filter(classes=("cat",)), columns=["score", "File"])
    assert page.column_names == ["score", "File"]
    assert page.to_pylist() == table.page(Filter(classes=("cat",))).select(["score", "File"]).to_pylist()


def test_a_facet_counts_under_what_is_asked_of_the_other_columns(table):
    cats = Condition("label", Operator.ONE_OF, ("cat",))
    assert table.facet("label", Filter(conditions=(cats,))) == [("cat", 2), ("dog", 2), ("", 1), ("Cat", 1)]
    assert table.facet("Folder", Filter(conditions=(cats,))) == [("a", 1), ("b", 1)]
    assert table.facet("Folder", EVERY_ROW, limit=1) == [("b", 3)]
    assert table.facet("Status") == [("succeeded", 6), ("failed", 1)]
    assert table.facet("Mini-batch", EVERY_FAILURE) == [(2, 1)]


def test_groups_have_counts_and_the_measures_of_a_column_of_numbers(table):
    assert table.grouped("label", "score").to_pylist() == [
        {"label": "cat", "Rows": 2, "Mean": 0.5, "Least": 0.1, "Greatest": 0.9},
        {"label": "dog", "Rows": 2, "Mean": pytest.approx(0.6), "Least": 0.5, "Greatest": 0.7},
        {"label": "", "Rows": 1, "Mean": None, "Least": None, "Greatest": None},
        {"label": "Cat", "Rows": 1, "Mean": 0.5, "Least": 0.5, "Greatest": 0.5},
    ]
    with pytest.raises(SettingsError):
        table.grouped("label", "File")
    with pytest.raises(SettingsError):
        table.grouped("nothing")


def test_a_threshold_counts_what_is_below_and_what_reaches_it(table):
    assert table.reached("score", 0.5) == (1, 4)
    assert table.reached("score", 0.5, Filter(text="dog")) == (0, 2)


# ---- orders ----------------------------------------------------------------------------------------------------------------------------


def test_an_order_puts_numbers_by_their_size_and_what_is_empty_last(table):
    up = ["b/1.png", "a/2.png", "b/100%.png", "top.png", "a/1.png", "c_d/X.PNG"]
    assert files(table, order=Order("score")) == up
    assert files(table, order=Order("score", descending=True)) == [*up[-2::-1], "c_d/X.PNG"]
    assert files(table, Filter(text="dog"), Order("score", descending=True)) == ["top.png", "a/2.png"]
    assert files(table, order=Order("label"))[:2] == ["c_d/X.PNG", "b/100%.png"]


@pytest.fixture(scope="module")
def many_failures(tmp_path_factory):
    """4000 rows of 40 mini-batches, each fifth of which failed."""
    random.seed(3)
    batches = []
    for index in range(40):
        names = [f"{index % 7}/{index}-{place}.png" for place in range(100)]
        rows = [f"{name}: {random.choice(['7', '10', '-3.5', 'cat', ''])}" for name in names] if index % 5 else []
        batches.append(scored(index, names, rows, error="" if rows else f"E{index % 3}"))
    path = tmp_path_factory.mktemp("failures") / "t.parquet"
    make_table(batches, path)
    return Predictions(path)


@pytest.mark.parametrize(
    ("column", "descending"),
    [("Prediction", False), ("Prediction", True), ("File", True), ("Number", False), ("Number", True), ("Error", False)],
)
def test_pages_of_any_order_and_filter_are_slices_of_the_whole_sorted(many_failures, column, descending):
    table = many_failures
    filter_ = Filter(text="1", statuses=tuple(Status))
    order = Order(column, descending)
    everything = table.page(filter_, 0, 10_000).to_pylist()
    valued = sorted((row for row in everything if row[column] is not None), key=lambda row: row[column])
    expected = (valued[::-1] if descending else valued) + [row for row in everything if row[column] is None]
    paged = [row for first in range(0, len(everything), 777) for row in table.page(filter_, first, 777, order).to_pylist()]
    assert [row[column] for row in paged] == [row[column] for row in expected]
    if not descending:
        assert paged == expected
    streamed = [row for batch in table.batches("File, Place", filter_, order, 500) for row in batch.to_pylist()]
    assert streamed == [{"File": row["File"], "Place": row["Place"]} for row in paged]
    for place in (0, 1, len(paged) // 2, len(paged) - 1):
        assert table.row(place, filter_, order) == paged[place]


def test_an_order_is_prepared_once_with_progress(tmp_path):
    table = seven_files(tmp_path / "t.parquet")
    told = []
    order = Order("score")
    assert not table.is_prepared(order)
    table.prepare(order, told.append)
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert table.is_prepared(Order("score", descending=True))
    assert Predictions(table.path).is_prepared(order)
    with pytest.raises(SettingsError) as refused:
        table.page(order=Order("nothing"))
    with pytest.raises(SettingsError, match="no column “nothing”"):
        table.page(columns=["File", "nothing"])
    assert refused.value.field == "order"


def test_what_is_kept_beside_a_table_goes_with_it_and_never_serves_another(tmp_path):
    table = seven_files(tmp_path / "t.parquet")
    filter_ = Filter(text="cat")
    assert table.count(filter_) == 3
    files(table, order=Order("score"))
    assert cache_folder(table.path).is_dir()
    make_table([scored(0, ["cat.png"], ["cat.png: cat"])], table.path)
    assert Predictions(table.path).count(filter_) == 1
    assert table.count(filter_) == 3
    remove_table(table.path)
    assert not cache_folder(table.path).exists()
    assert table.count(Filter(text="dog")) == table.count(Filter(text="DOG"))  # who reads it goes on, and leaves nothing behind
    files(table, order=Order("label"))
    assert not cache_folder(table.path).exists()


# ---- single rows -----------------------------------------------------------------------------------------------------------------------


def test_a_row_has_neighbours_in_the_filter_and_a_key(table):
    dogs = Filter(text="dog")
    assert [table.row(place, dogs)["File"] for place in (0, 1)] == ["a/2.png", "top.png"]
    for place in (-1, 2):
        with pytest.raises(NotFound):
            table.row(place, dogs)
    assert RowKey.of(table.row(1, dogs)) == RowKey("top.png", 3, 0)


# ---- charts ----------------------------------------------------------------------------------------------------------------------------


def test_the_numbers_behind_charts_count_every_row_once(table):
    assert sum(count for *_, count in charts.histogram(table, column="score")) == 5
    assert table.grouped("Folder", "score").to_pylist()[0]["Rows"] == 2
    assert sum(count for *_, count in charts.classes_over_folders(table)) == 6
    over_time = charts.over_time(table, of="score")
    assert [(count, mean) for *_, count, mean in over_time if count] == [(3, pytest.approx(0.5)), (2, 0.5), (1, 0.7)]
    assert over_time[0][0] == datetime(2026, 3, 1, 23, 59)
    assert sum(count for *_, count in charts.two_columns(table, "score", "Place")) == 5
    assert ("cat", "a", 1) in charts.two_columns(table, "label", "Folder")
    assert charts.two_columns(table, "score", "label", Filter(text="no such")) == []
    with pytest.raises(SettingsError):
        charts.histogram(table, column="nothing")


@pytest.fixture(scope="module")
def six_thousand(tmp_path_factory):
    """The rows of 20 mini-batches, each of whose predictions is a digit."""
    names = [[f"{index}/{place}.png" for place in range(300)] for index in range(20)]
    path = tmp_path_factory.mktemp("six-thousand") / "t.parquet"
    make_table([scored(n, items, [f"{item}: {sum(map(ord, item)) % 10}" for item in items]) for n, items in enumerate(names)], path)
    return Predictions(path)


@pytest.mark.parametrize(
    "filter_",
    [
        Filter(classes=tuple("02468")),
        Filter(classes=("1",)),
        Filter(text="1", conditions=(Condition("Place", Operator.ONE_OF, tuple(map(str, range(50)))),)),
        Filter(where="Prediction IN (SELECT Prediction FROM predictions WHERE Place < 500 AND Prediction > '3')"),
    ],
)
def test_rows_stay_in_their_order_whatever_a_filter_is_made_of(six_thousand, filter_):
    table = six_thousand
    for order, sign in ((Order(), 1), (Order("Mini-batch"), 1), (Order("Mini-batch", True), -1)):
        page = table.page(filter_, 0, 6_000, order).select(["File", "Mini-batch", "Place"]).to_pylist()
        numbers = [300 * row["Mini-batch"] + row["Place"] for row in page]
        assert numbers == sorted(numbers, reverse=sign < 0)
        taken = [row["File"] for batch in table.batches("File", filter_, order, 999) for row in batch.to_pylist()]
        assert taken == [row["File"] for row in page]
        assert len(page) == table.count(filter_) > 300


def test_predictions_that_are_numbers_are_compared_and_grouped_as_numbers(tmp_path):
    values = ["10.5", "9", "9.0", "-1", "100"]
    names = [f"{place}.csv" for place in range(len(values))]
    rows = [f"{name}: {value}" for name, value in zip(names, values, strict=True)]
    make_table([scored(0, names, rows)], tmp_path / "n.parquet")
    table = Predictions(tmp_path / "n.parquet")

    def found(test, *values):
        return files(table, Filter(conditions=(Condition("Prediction", test, values),)))

    assert found(Operator.FROM, "9.5") == ["0.csv", "4.csv"]
    assert found(Operator.TO, "9") == ["1.csv", "2.csv", "3.csv"]
    assert found(Operator.ONE_OF, "9", "100", "-1", "7") == ["1.csv", "3.csv", "4.csv"]
    assert found(Operator.ONE_OF, "9.0") == ["2.csv"]
    assert table.grouped("Folder", "Prediction").to_pylist() == [{"Folder": "", "Rows": 5, "Mean": 25.5, "Least": -1.0, "Greatest": 100.0}]
    assert table.reached("Prediction", 9) == (1, 4)
    assert sum(count for *_, count in charts.two_columns(table, "Prediction", "Number")) == 5
    assert sum(count for *_, count in charts.histogram(table, column="Prediction")) == 5

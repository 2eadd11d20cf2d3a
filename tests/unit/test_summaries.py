"""What is counted while a table is written is what a query over its rows says, whatever is in them."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from services.predictions import charts, summary_writer, writer
from services.predictions.columns import NUMERIC, Kind, Status
from services.predictions.filters import EVERY_ROW, Condition, Filter, Operator
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table

STATUSES = [("succeeded", "unmatched"), ("failed",), tuple(Status), ("succeeded",), ()]


@pytest.fixture
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_ROW_GROUP_ROWS", 8)
    monkeypatch.setattr(writer, "_GROUPS_ALONE", 2)


def batch(index: int, rows: Sequence[str], folder: str = "a", error: str = "", frame: str = "", attempts: int = 1) -> ScoredMiniBatch:
    items = [f"{folder}/{index}-{place}.png" for place in range(max(len(rows), 2))]
    rows = [] if error else rows
    return ScoredMiniBatch(
        index, items, "/root", rows, f"node 0, process{index % 3:03d}", attempts, 0.25 * (index % 4), error, columns=frame,
        ended_at=1_700_000_000.5 + 7 * index,
    )  # fmt: skip


def table_of(path: Path, batches: Sequence[ScoredMiniBatch]) -> Predictions:
    path.unlink(missing_ok=True)
    make_table(batches, path)
    return Predictions(path)


def scanned(table: Predictions) -> Predictions:
    """The same table without its counts: every answer is read from its rows."""
    same = Predictions(table.path)
    same.__dict__["_summary"] = None
    return same


# ---- every answer is the query's -------------------------------------------------------------------------------------------------------


def same_answers(table: Predictions, most: int = 25) -> int:
    """Compare everything that comes from counts with what the rows say, under so many filters; returns how much was."""
    summary, by_rows, told = table._summary, scanned(table), 0
    assert summary is not None
    everything = by_rows.page(EVERY_ROW, 0, 10**6).to_pylist()
    filters = filters_of(table)
    for filter_ in filters[:: max(1, len(filters) // most)]:
        places = sorted(place for (place,) in by_rows.rows("file_row_number", filter_))
        rows = [everything[place] for place in places]
        if (count := summary.count(filter_)) is not None:
            assert count == len(rows), filter_
            told += 1
        if summary.in_row_groups(filter_) is not None:
            for first in {0, len(rows) // 2}:
                assert repr(table.page(filter_, first, 3).to_pylist()) == repr(rows[first : first + 3]), filter_
            told += 1
        for column, kind in table.columns.items():
            if (values := summary.values(column, filter_, 5)) is not None and column != table.own["Status"]:
                assert values == frequent([row[column] for row in rows])[:5], (column, filter_)
                told += 1
            if kind in NUMERIC:
                finite = [float(row[number(table, column)]) for row in rows if row[number(table, column)] is not None]
                finite = [value for value in finite if math.isfinite(value)]
                if (bars := summary.histogram(number(table, column), filter_, 12)) is not None:
                    assert [count for *_, count in bars] == in_bars(finite, bars), (column, filter_)
                    told += 1
                if (ends := summary.ends(number(table, column), filter_)) is not None:
                    assert ends == ((min(finite), max(finite)) if finite else ()), (column, filter_)
    return told


def test_the_facets_of_status_and_prediction_are_those_of_a_query(table_of_failures):
    by_rows = scanned(table_of_failures)
    for filter_ in filters_of(table_of_failures)[::2]:
        for column in ("Status", "Prediction", "Folder"):
            assert table_of_failures.facet(column, filter_, 3) == by_rows.facet(column, filter_, 3), (column, filter_)
        assert table_of_failures.class_counts(filter_) == by_rows.class_counts(filter_)


@pytest.fixture
def table_of_failures(tmp_path: Path, small_row_groups: None) -> Predictions:
    batches = [batch(n, ["cat", "dog", "cat"] if n % 3 else ["hello"], f"f{n % 2}", "it failed" if n in (2, 7) else "") for n in range(9)]
    return table_of(tmp_path / "predictions.parquet", batches)


def frequent(values: Sequence[Any]) -> list[tuple[Any, int]]:
    return sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0] is None, pair[0]))


def number(table: Predictions, column: str) -> str:
    return table.own["Number"] if column == "Prediction" else column


def in_bars(values: Sequence[float], bars: Sequence[tuple[float, float, int]]) -> list[int]:
    counts = [sum(lower <= value < upper for value in values) for lower, upper, _ in bars]
    if bars:
        counts[-1] += sum(value == bars[-1][1] for value in values)
    assert sum(counts) == len(values)
    return counts


def filters_of(table: Predictions) -> list[Filter]:
    """Each status with nothing else, with one value or range of each column, and with some of two."""
    conditions: list[Condition] = []
    everything = table.page(EVERY_ROW, 0, 10**6).to_pylist()
    for column, kind in table.columns.items():
        values = [row[number(table, column) if kind in NUMERIC else column] for row in everything]
        some = [value for value in dict.fromkeys(values) if value is not None][:3]
        if kind in (Kind.CATEGORY, Kind.TRUTH_VALUE) or column in (table.own["Folder"], table.own["Attempts"]):
            conditions += [Condition(column, Operator.ONE_OF, tuple(map(str, some[:2])))] if some else []
            conditions.append(Condition(column, Operator.EMPTY))
        elif kind in NUMERIC and some and column != table.own["Place"]:
            finite = [float(value) for value in values if value is not None and math.isfinite(value)]
            edges = [edge for *edges, _ in table.histogram(column, Filter(statuses=tuple(Status)), 12)[:3] for edge in edges]
            bounds = {
                *map(repr, edges),
                *map(str, finite[:2]),
                *(str(x) for x in (0, "inf", "-inf", max(finite, default=0), min(finite, default=0))),
            }
            conditions += [
                Condition(column, sign, (bound,)) for sign in (Operator.FROM, Operator.TO, Operator.BELOW) for bound in sorted(bounds)
            ]
    filters = [Filter(statuses=statuses) for statuses in STATUSES]
    filters += [Filter(statuses=STATUSES[place % 3], conditions=(one,)) for place, one in enumerate(conditions)]
    pairs = list(itertools.combinations(conditions, 2))
    filters += [Filter(conditions=pair) for pair in pairs[:: max(1, len(pairs) // 25)]]
    classes = [name for name, _ in table.class_counts(limit=2)]
    filters += [
        Filter(classes=tuple(classes)),
        Filter(classes=("none such",), statuses=tuple(Status)),
        Filter(minimum=0.5),
        Filter(minimum=0, maximum=1),
    ]
    return filters


numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 0.1, 0.3, 0.30000000000000004, 1e-300, 1e22, 2.0**53, -1e5, 0.25]),
    st.floats(-10, 10, width=16),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-1000, 1000).map(lambda n: n / 1000),
)


@settings(max_examples=4, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
@given(data=st.data())
def test_json_objects_are_counted_as_a_query_counts_them(data, tmp_path_factory):
    value = st.one_of(st.none(), data.draw(st.sampled_from([numbers, st.integers(-5, 5), st.integers(-(2**60), 2**60), st.floats(0, 1)])))
    batches = []
    for index in range(data.draw(st.integers(1, 6))):
        count = data.draw(st.integers(1, 6))
        rows = [
            json.dumps({"label": data.draw(st.sampled_from(["cat", "dog", "", "ü"])), "score": data.draw(value), "ok": bool(index % 2)})
            for _ in range(count)
        ]
        batches.append(
            batch(index, rows, f"f{index % 3}", "it failed" if data.draw(st.integers(0, 5)) == 0 else "", attempts=1 + index % 2)
        )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "_ROW_GROUP_ROWS", data.draw(st.sampled_from([4, 100])))
        patched.setattr(writer, "_GROUPS_ALONE", 1)
        patched.setattr(summary_writer, "_MOST_BINS", 16)
        patched.setattr(summary_writer, "_MOST_WIDE_BINS", 8)
        table = table_of(tmp_path_factory.mktemp("t") / "predictions.parquet", batches)
    same_answers(table)


@settings(max_examples=4, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
@given(
    texts=st.lists(
        st.one_of(
            st.lists(numbers.map(repr), min_size=1, max_size=9),
            st.lists(st.sampled_from(["nan", "inf", "-inf", "1.5", "2"]), min_size=1, max_size=5),
            st.lists(st.sampled_from(["cat", "dog", "7"]), min_size=1, max_size=9),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_plain_values_are_counted_as_a_query_counts_them(texts, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "_ROW_GROUP_ROWS", 4)
        patched.setattr(writer, "_GROUPS_ALONE", 1)
        table = table_of(
            tmp_path_factory.mktemp("t") / "predictions.parquet", [batch(i, rows, "abc"[i % 3]) for i, rows in enumerate(texts)]
        )
    same_answers(table)


def test_a_large_table_has_few_row_groups_in_its_file(tmp_path, small_row_groups):
    batches = [batch(n, [f"class {n % 3} of {n}" for _ in range(8)]) for n in range(13)]
    table = table_of(tmp_path / "predictions.parquet", batches)
    metadata = parquet.read_metadata(table.path)
    assert [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)] == [8, 8, 32, 32, 24]
    assert table.page(EVERY_ROW, 0, 200).column("Prediction").to_pylist() == [row for given in batches for row in given.rows]
    assert same_answers(table) > 20


# ---- what isn't counted ----------------------------------------------------------------------------------------------------------------


def test_what_has_too_many_values_is_read_instead(tmp_path, monkeypatch, small_row_groups):
    monkeypatch.setattr(summary_writer, "_MOST_FOLDERS", 3)
    monkeypatch.setattr(summary_writer, "_MOST_CELLS", 40)
    batches = [
        batch(n, [json.dumps({"label": "ab"[n % 2], "score": (n * 7 + m) / 100}) for m in range(3)], f"folder {n}") for n in range(9)
    ]
    table = table_of(tmp_path / "predictions.parquet", batches)
    summary = table._summary
    assert summary is not None
    assert summary.values("Folder", Filter(), 5) is None
    assert table.facet("Folder", limit=2) == [("folder 0", 3), ("folder 1", 3)]
    assert summary.values("label", Filter(conditions=(Condition("score", Operator.FROM, ("0.2",)),)), 5) is None
    same_answers(table)


def test_bounds_between_two_edges_are_read_from_the_rows(tmp_path):
    table = table_of(tmp_path / "predictions.parquet", [batch(0, [str(n / 1000) for n in range(1001)])])
    for bound, is_told in (("0.25", True), ("0.5", True), ("0.2500001", False), ("0.3333", False)):
        filter_ = Filter(conditions=(Condition("Number", Operator.FROM, (bound,)),))
        assert (table._summary.count(filter_) is not None) is is_told
        assert table.count(filter_) == sum(n / 1000 >= float(bound) for n in range(1001))


def test_a_flattened_table_is_counted_as_well(tmp_path, small_row_groups):
    frame = json.dumps([["kind", ""], ["score", "number"]])
    batches = [batch(n, [f"{'abc'[m % 3]} {m / 8 - n}" for m in range(6)], f"f{n % 2}", frame=frame) for n in range(4)]
    table = table_of(tmp_path / "predictions.parquet", batches)
    assert table.columns["score"] is Kind.NUMBER
    assert same_answers(table) > 50


def test_a_joined_table_has_no_counts(tmp_path):
    from services.predictions.database import scratch_database
    from services.predictions.join import copy_beside

    table = table_of(tmp_path / "predictions.parquet", [batch(0, ["cat", "dog"])])
    with scratch_database() as database:
        copy_beside(
            database,
            table.file,
            {"Label": (Kind.CATEGORY, "b.label")},
            "(SELECT 'cat' AS label FROM range(2))",
            tmp_path / "joined.parquet",
        )
    joined = Predictions(tmp_path / "joined.parquet")
    assert joined._summary is None
    assert joined.facet("Label") == [("cat", 2)]


def test_other_readers_of_parquet_do_not_see_the_counts(tmp_path):
    import duckdb
    import pyarrow.parquet

    table = table_of(tmp_path / "predictions.parquet", [batch(n, ["cat", "dog"]) for n in range(20)])
    assert pyarrow.parquet.read_table(table.path).num_rows == 40
    assert duckdb.sql(f"SELECT count(*) FROM '{table.path}' WHERE Prediction = 'cat'").fetchall() == [(20,)]


def test_histograms_of_each_class_are_those_of_a_query(tmp_path, small_row_groups):
    batches = [batch(n, [json.dumps({"label": "abc"[m % 3], "score": (n * 5 + m) / 50}) for m in range(5)]) for n in range(10)]
    table = table_of(tmp_path / "predictions.parquet", batches)
    for filter_ in (Filter(), Filter(conditions=(Condition("score", Operator.BELOW, ("0.5",)),))):
        told, by_query = (charts.numbers_by_class(each, filter_, "score", "label", 20) for each in (table, scanned(table)))
        assert table._summary.histograms("score", "label", filter_, [told[0][0][0], *(upper for _, upper in told[0])]) is not None
        assert told[1] == scanned_histograms(table, told[0], filter_)
        assert sum(map(sum, told[1].values())) == sum(map(sum, by_query[1].values())) == table.count(filter_)
        assert charts.classes_over_folders(table, filter_, by="label") == charts.classes_over_folders(scanned(table), filter_, by="label")
    assert table.reached("score", 0.3) == scanned(table).reached("score", 0.3)


def scanned_histograms(table: Predictions, bars: Sequence[tuple[float, float]], filter_: Filter) -> dict[str, list[int]]:
    return dict(scanned(table).histograms("score", "label", [bars[0][0], *(upper for _, upper in bars)], filter_))

"""Whatever a script returns comes back from the table as it was: typed where it is a number, a date or a truth value, else its text."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from services.predictions import exports
from services.predictions.columns import NUMERIC, Kind, printed
from services.predictions.filters import Condition, Filter, Operator, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table

sys.path.append(str(Path(__file__).parents[2] / "services" / "local"))  # the worker stands alone there, as in a run
as_rows = importlib.import_module("worker").as_rows

FEWER = settings(max_examples=max(6, settings.default.max_examples // 3))  # type: ignore[union-attr]
TEXTS = (Kind.TEXT, Kind.CATEGORY)


# ---- values ------------------------------------------------------------------------------------------------------------------------------


def is_date(text: str) -> bool:
    return text[:4].isdecimal() and text[4:5] == "-"


hostile = st.sampled_from(
    ["hot dog", "007", "1.10", "1e3", "nan", "inf", "True", "None", "null", "[1, 2]", '{"a": 1}', '"', "'", "it's", 'say "x"', " ", "a,b",
     "a\nb", "c\r\nd", "\\", "\\n", "\t", "-", "=1+1", "12345678901234567890", "0.12345678901234567890123", "ü", "\u202ertl", "\x00", "😀"]
)  # fmt: skip

pytestmark = pytest.mark.slow  # hundreds of tables are made
texts = hostile | st.text(max_size=8).filter(lambda text: not is_date(text))
floats = st.floats() | st.sampled_from([3.0, 0.0, -0.0, 1e22, 5e-324, 0.1, 1e16, math.inf, -math.inf])
wholes = st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9) | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1])
decimals = st.decimals(-(10**12), 10**12, places=20, allow_nan=False) | st.decimals(-9, 9, places=2)
dates = st.dates(date(1900, 1, 1), date(2200, 1, 1))
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))

FAMILIES = {"whole": wholes, "float": floats, "decimal": decimals, "bool": st.booleans(), "text": texts, "date": dates, "time": times}
DTYPES: dict[str, Sequence[Any]] = {
    "whole": ("int64", "Int64", "int64[pyarrow]", "object", "category", "Sparse[int64]"),
    "float": ("float64", "Float64", "double[pyarrow]", "object", "category", "Sparse[float64]"),
    "decimal": ("object", "category", pd.ArrowDtype(pa.decimal128(38, 20))),
    "bool": ("bool", "boolean", "bool[pyarrow]", "object", "category"),
    "text": ("object", "str", "string", "string[pyarrow]", "category", pd.ArrowDtype(pa.large_string())),
    "date": ("object", "date32[day][pyarrow]", "datetime64[us]", "category"),
    "time": ("object", "datetime64[us]", "timestamp[us][pyarrow]", "category"),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, tuple[str, list[Any]]], list[int]]:
    """Columns by their names, each of one family with values that may be missing; and the sizes of the mini-batches."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    columns = {}
    for name in draw(
        st.lists(st.sampled_from(["score", "label", "status", "n", "Row", "0", "a b", "x.y"]), min_size=1, max_size=4, unique=True)
    ):
        family = draw(st.sampled_from(sorted(FAMILIES)))
        values = st.none() | FAMILIES[family] if draw(st.booleans()) else FAMILIES[family]
        columns[name] = family, draw(st.lists(values, min_size=sum(sizes), max_size=sum(sizes)))
    return columns, sizes


# ---- the way of a row: worker, table, exports --------------------------------------------------------------------------------------------


@contextmanager
def table_of(results: Sequence[Any]) -> Iterator[Predictions]:
    """The table of what run() returned for each mini-batch, none of which names its files."""
    batches = []
    for index, result in enumerate(results):
        rows, ends, count, columns = as_rows(result)
        stops = np.frombuffer(ends, "<u8").tolist()
        lines = [rows[begin : end - 1].decode() for begin, end in zip([0, *stops], stops, strict=False)]
        items = [f"batch-{index}/item-{number:03}.bin" for number in range(count)]
        batches.append(
            ScoredMiniBatch(index, items, "/root", lines, "node 0", 1, 0.1, "", columns="" if columns is None else json.dumps(columns))
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        make_table(batches, path)
        yield Predictions(path)


def exported(table: Predictions) -> dict[str, list[str]]:
    """The columns of the CSV file."""
    lines = list(csv.reader(io.StringIO(b"".join(exports.export(".csv", table)).decode(), newline="")))
    return dict(zip(lines[0], map(list, zip(*lines[1:], strict=True)), strict=True))


def in_parquet(table: Predictions) -> dict[str, list[Any]]:
    return parquet.read_table(io.BytesIO(b"".join(exports.export(".parquet", table)))).to_pydict()


def check_column(table: Predictions, name: str, family: str, values: Sequence[Any], csv_file: Any, parquet_file: Any) -> None:
    """`values` are as they were returned, None where there was none."""
    kind, present = table.columns[name], [value for value in values if value is not None]
    expected = {
        "whole": (Kind.WHOLE_NUMBER,), "float": (Kind.NUMBER,), "decimal": NUMERIC, "bool": (Kind.TRUTH_VALUE,), "text": TEXTS,
        "date": (Kind.DATE,), "time": (Kind.DATE,),
    }[family]  # fmt: skip
    if present:
        assert kind in expected, (name, family, values)
    page = table.page(Filter(), 0, len(values)).column(name).to_pylist()
    assert len(csv_file[name]) == len(values)
    for value, cell, typed, shown in zip(values, csv_file[name], parquet_file[name], page, strict=True):
        if value is None:
            assert cell == ""
            assert typed in (None, "")
        elif family == "text":
            assert (cell, typed or "", shown or "") == (value, value, value)
        elif family in ("date", "time"):
            moment = datetime(value.year, value.month, value.day) if family == "date" else value
            assert datetime.fromisoformat(cell) == typed == shown == moment
        elif family == "float":
            assert cell == repr(value)
            assert printed(shown) == repr(value) == repr(typed)
        else:
            assert Decimal(cell) == value if family == "decimal" else cell == str(value)
            assert Decimal(str(typed)) == Decimal(str(shown)) == value if family == "decimal" else typed == shown == value


# ---- what is promised --------------------------------------------------------------------------------------------------------------------


@FEWER
@given(tables(), st.data())
def test_dataframes_of_any_dtype_come_back_as_they_were(drawn, data):
    columns, sizes = drawn
    results, begin = [], 0
    for size in sizes:
        frame = {}
        for name, (family, values) in columns.items():
            part = values[begin : begin + size]
            dtype = data.draw(st.sampled_from(DTYPES[family]), name)
            if None in part and dtype in ("int64", "bool", "str", "Sparse[int64]"):
                dtype = "object"
            frame[name] = pd.Series(part, dtype=object).astype(dtype)
        results.append(pd.DataFrame(frame))
        begin += size
    with table_of(results) as table:
        csv_file, parquet_file = exported(table), in_parquet(table)
        for name, (family, values) in columns.items():
            missing = [None if value == "" or value != value else value for value in values]  # noqa: PLR0124 - nan, which to_csv leaves out
            if len(columns) == 1:
                assert csv_file["Prediction"] == ["" if value is None else str(value) for value in missing] or family in (
                    "date",
                    "time",
                    "decimal",
                )
            elif any(value is not None for value in missing):
                check_column(table, name, family, missing, csv_file, parquet_file)


@FEWER
@given(tables(), st.booleans())
def test_json_rows_come_back_as_they_were(drawn, nested):
    columns, sizes = drawn
    columns = {name: (family, values) for name, (family, values) in columns.items() if family != "decimal"} or {
        "n": ("whole", [1] * sum(sizes))
    }
    rows = [
        json.dumps({name: value.isoformat() if isinstance(value, date) else value for name, value in zip(columns, row, strict=True)})
        for row in zip(*(values for _, values in columns.values()), strict=True)
    ]
    prefix = "inner." if nested else ""
    rows = [f'{{"inner": {row}}}' for row in rows] if nested else rows
    check_documents(columns, rows, sizes, prefix)


@FEWER
@given(tables(), st.booleans())
def test_rows_as_python_prints_them_come_back_as_they_were(drawn, numpy):
    columns, sizes = drawn

    def scalar(value: Any) -> Any:
        if not numpy or isinstance(value, date | Decimal | None):
            return value
        return np.bool_(value) if isinstance(value, bool) else np.array(value)[()] if not isinstance(value, str) else np.str_(value)

    rows = [dict(zip(columns, map(scalar, row), strict=True)) for row in zip(*(values for _, values in columns.values()), strict=True)]
    check_documents(columns, rows, sizes)


def check_documents(columns: dict[str, tuple[str, list[Any]]], rows: Sequence[Any], sizes: Sequence[int], prefix: str = "") -> None:
    ends = list(np.cumsum(sizes))
    with table_of([rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]) as table:
        csv_file, parquet_file = exported(table), in_parquet(table)
        assert csv_file["Prediction"] == [str(row) for row in rows]
        for name, (family, values) in columns.items():
            if any(value is not None for value in values):
                check_column(table, prefix + name, family, values, csv_file, parquet_file)


@FEWER
@given(
    st.sampled_from(["whole", "float", "text", "decimal"]).flatmap(
        lambda family: st.tuples(st.just(family), st.lists(FAMILIES[family], min_size=1))
    )
)
def test_predictions_are_the_text_of_what_was_returned_in_exact_order(drawn):
    _, values = drawn
    with table_of([values]) as table:
        assert exported(table)["Prediction"] == [str(value) for value in values]
        if table.kind not in NUMERIC or any(value != value for value in values):  # noqa: PLR0124 - nan is last
            return
        given_order = [Decimal(value) for value in table.page(order=Order("Prediction"), count=1000).column("Prediction").to_pylist()]
        assert given_order == sorted(given_order)
        bound = str(values[0])
        for operator, reaches in ((Operator.FROM, Decimal.__ge__), (Operator.TO, Decimal.__le__)):
            expected = sum(reaches(Decimal(str(value)), Decimal(bound)) for value in values)
            assert table.count(Filter(conditions=(Condition("Prediction", operator, (bound,)),))) == expected

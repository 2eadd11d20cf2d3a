"""Rows of DataFrames are those that pandas writes, byte for byte, whoever makes them: Arrow, Python's own strings, or pandas."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2] / "services" / "local"))  # the worker stands alone there, as in a run
worker = importlib.import_module("worker")
frame_rows = importlib.import_module("frame_rows")


class Loud(str):
    def __str__(self) -> str:
        return self.upper()


floats = st.floats() | st.floats(-10, 10) | st.sampled_from(
    [0.1, -0.0, 5e-324, 1e23, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-4, 9.999999999999999e-05, 1e15, 999999999999999.9, 1e16,
     2.0**50,  8589934592.0078125, 2251799813685248.25, 0.30000000000000004, 2.0**-44, 9007199254740993.0]
)  # fmt: skip
texts = st.text(max_size=6) | st.sampled_from(
    ["", "cat", "hot dog", 'say "x"', '"', "a\nb", "a\r\nb", "\r", " ", "\t", "a,b", "\x00", "\ud800", "ü", "😀", "nan", "1.0", "\\"]
)  # fmt: skip
integers = st.integers(-(2**63), 2**63 - 1)
DTYPES: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "float64": (floats, "float64"),
    "float32": (st.floats(width=32) | st.floats(-10, 10, width=32), "float32"),
    "float16": (st.floats(width=16), "float16"),
    "int64": (integers, "int64"),
    "int8": (st.integers(-128, 127), "int8"),
    "uint64": (st.integers(0, 2**64 - 1), "uint64"),
    "bool": (st.booleans(), "bool"),
    "str": (st.none() | texts, "str"),
    "string": (st.none() | texts.filter(lambda text: "\ud800" not in text), "string"),
    "texts": (texts, object),
    "texts that may be missing": (st.sampled_from([None, np.nan, pd.NA, pd.NaT]) | texts, object),
    "texts of other classes": (st.sampled_from([np.str_("a b"), Loud("hot cat"), "plain"]), object),
    "mixed": (st.sampled_from([None, 1, 2.5, True, "a b", b"bytes", (1, 2), Loud("hot cat")]) | floats, object),
    "bytes": (st.binary(max_size=3), object),
    "numbers": (floats | integers, object),
    "dates": (st.datetimes(pd.Timestamp(1900, 1, 1).to_pydatetime(), pd.Timestamp(2200, 1, 1).to_pydatetime()), "datetime64[us]"),
    "category": (texts.filter(lambda text: "\ud800" not in text), "category"),
    "Int64": (st.none() | integers, "Int64"),
    "Float64": (st.none() | st.floats(-10, 10), "Float64"),
    "boolean": (st.none() | st.booleans(), "boolean"),
    "arrow": (st.none() | st.integers(-9, 9), "int64[pyarrow]"),
    "decimal": (st.decimals(-9, 9, places=3), pd.ArrowDtype(pa.decimal128(20, 3))),
    "complex": (st.complex_numbers(max_magnitude=10), "complex128"),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(0, 8))
    names = draw(st.lists(st.sampled_from([*DTYPES, "float64", "int64", "texts"]), max_size=4))
    columns = []
    for name in names:
        values, dtype = DTYPES[name]
        try:
            columns.append(pd.Series(draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype))
        except UnicodeEncodeError:  # no column of this type takes half a character
            columns.append(pd.Series(["x"] * count, dtype=dtype))
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(count))
    frame.columns = pd.Index(draw(st.lists(st.sampled_from(["a", "b", 0]), min_size=len(names), max_size=len(names))))  # some twice
    return frame.iloc[::-1] if draw(st.booleans()) else frame


@pytest.fixture(params=[1, 10**9], ids=["Arrow", "Python"])
def least_for_arrow(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_rows, "LEAST_FOR_ARROW", request.param)
        yield


def as_pandas_writes(frame: pd.DataFrame) -> bytes:
    text = frame.to_csv(sep=" ", header=False, index=False)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def check(frame: pd.DataFrame) -> None:
    rows, ends, count, _ = worker.as_rows(frame)
    assert rows == as_pandas_writes(frame)
    assert count == len(frame)
    stops = np.frombuffer(ends, "<u8").tolist()
    assert len(stops) == count
    lines = [rows[begin:end] for begin, end in zip([0, *stops], stops, strict=False)]
    for number, line in enumerate(lines):
        one = frame.iloc[[number]]
        if not any(dtype.kind == "M" for dtype in frame.dtypes):  # pandas looks at all dates of a frame to write one
            assert line == as_pandas_writes(one)


def test_arrow_is_used_where_pandas_has_it() -> None:
    assert frame_rows._Arrow.usable(np)
    assert isinstance(frame_rows.rows_of(pd.DataFrame({"a": [0.5] * 300})), pa.Array)


@pytest.mark.usefixtures("least_for_arrow")
@given(frames())
def test_rows_are_those_of_to_csv_byte_for_byte(frame: pd.DataFrame) -> None:
    check(frame)


@pytest.mark.usefixtures("least_for_arrow")
@pytest.mark.parametrize("name", ["float64", "float32", "int64", "uint64", "bool", "texts", "texts that may be missing", "str", "string"])
def test_plain_columns_are_not_left_to_pandas(name: str) -> None:
    _, dtype = DTYPES[name]
    plain = {"float64": [0.5, np.nan, 1e-9], "float32": [0.5, np.inf, 3.0], "bool": [True, False, True]}
    text = ["a b", "", 'say "x"'] if name == "texts" else ["a\nb", None, "c"]
    frame = pd.DataFrame({"value": pd.Series(plain.get(name, [1, 2, 3] if "int" in name else text), dtype=dtype), "n": [1, 2, 3]})
    assert frame_rows.rows_of(frame) is not None
    check(frame)


@pytest.mark.usefixtures("least_for_arrow")
def test_floats_of_every_size_are_written_as_pandas_writes_them() -> None:
    numbers = np.random.default_rng(0)
    bits = numbers.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    near = numbers.normal(size=20_000) * 10.0 ** numbers.integers(-6, 17, 20_000)
    binary = numbers.integers(0, 2**53, 20_000) * 2.0 ** -numbers.integers(0, 60, 20_000)  # of which many lie between two decimals
    with np.errstate(over="ignore"):
        check_whole(pd.DataFrame({"bits": bits, "near": near, "binary": binary, "single": near.astype(np.float32)}))


def check_whole(frame: pd.DataFrame) -> None:
    assert worker.as_rows(frame)[0] == as_pandas_writes(frame)


def test_a_class_of_ones_own_and_an_empty_frame_are_left_to_pandas() -> None:
    class Shouting(pd.DataFrame):
        def to_csv(self, *arguments: Any, **named: Any) -> Any:
            return super().to_csv(*arguments, **named).upper()

    assert worker.as_rows(Shouting({"a": ["b"]}))[0] == b"B\n"
    assert worker.as_rows(pd.DataFrame({"a": []}))[:3] == (b"", b"", 0)
    assert worker.as_rows(pd.DataFrame(index=[1, 2]))[0] == as_pandas_writes(pd.DataFrame(index=[1, 2]))

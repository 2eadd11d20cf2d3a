"""Predictions that hold several values: each a column of its own, typed, and the prediction still as it was printed."""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
import math
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from services.predictions import charts, exports
from services.predictions.annotations import Annotation
from services.predictions.columns import COLUMNS, Kind
from services.predictions.evaluation import evaluated_column
from services.predictions.filters import Condition, Filter, Operator, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table
from services.run_details import RowKey

sys.path.append(str(Path(__file__).parents[2] / "services" / "local"))  # the worker stands alone there, as in a run
as_rows = importlib.import_module("worker").as_rows


@pytest.fixture
def table_of(tmp_path):
    def make(*rows: str, columns: Sequence[tuple[str, str]] | None = None, names: bool = True) -> Predictions:
        items = [f"f{number}" for number in range(len(rows))]
        rows = tuple(f"{item}{' ' if columns else ': '}{row}" for item, row in zip(items, rows, strict=True)) if names else rows
        told = json.dumps(columns) if columns else ""
        make_table([ScoredMiniBatch(0, items, "/root", rows, "node 0, process000", 1, 0.1, "", columns=told)], tmp_path / "t.parquet")
        return Predictions(tmp_path / "t.parquet")

    return make


def further(table: Predictions) -> list[dict]:
    names = table.further_columns
    return table.page().select(names).to_pylist() if names else []


def kinds(table: Predictions) -> dict[str, Kind]:
    return {name: table.columns[name] for name in table.further_columns}


def test_the_fields_of_json_objects_become_typed_columns(table_of):
    table = table_of(
        '{"label": "cat", "score": 0.9, "n": 1}', '{"label": "dog", "score": 1, "n": 2}', '{"label": "cat", "score": null, "n": 3}'
    )
    assert kinds(table) == {"label": Kind.TEXT, "score": Kind.NUMBER, "n": Kind.WHOLE_NUMBER}
    assert further(table)[0] == {"label": "cat", "score": 0.9, "n": 1}
    assert [row["score"] for row in further(table)] == [0.9, 1.0, None]
    assert table.page().column("Prediction")[1].as_py() == '{"label": "dog", "score": 1, "n": 2}'


@pytest.mark.parametrize("others", ['{"a": 1, "b": 5}', '{"a": "x", "b": 5}'], ids=["read at once", "read twice"])
def test_of_a_key_that_is_there_twice_the_first_value_counts(table_of, others):
    assert str(further(table_of(*[others] * 3, '{"a": 7, "a": 8, "b": 5}'))[-1]["a"]) == "7"


@pytest.mark.parametrize(
    ("beyond", "other"),
    [
        ("0001-01-01T00:00:00+02:00", '{"n": 1}'),
        ("9999-12-31T23:59:59-05:00", '{"n": 1, "list": [1, {"n": 2}]}'),
        ("0000-01-01", '{"n": 1}'),
        ("0000-01-01", '{"n": 1, "list": [1, {"n": 2}]}'),
    ],
)
def test_dates_that_python_has_not_are_texts(table_of, beyond, other):
    table = table_of(f'{{"n": 1, "when": "{beyond}"}}', '{"n": 2, "when": "2026-01-31"}', other)
    assert kinds(table)["when"] is Kind.TEXT
    assert [row["when"] for row in further(table)] == [beyond, "2026-01-31", None]


def test_lists_and_what_is_nested_become_columns_named_by_their_places(table_of):
    assert further(table_of("[0.1, 0.9]", "[0.2]")) == [{"0": 0.1, "1": 0.9}, {"0": 0.2, "1": None}]
    assert further(table_of('{"box": {"x": 1, "y": [2, 3]}}')) == [{"box.x": 1, "box.y.0": 2, "box.y.1": 3}]


def test_dicts_as_python_prints_them_are_unfolded_too(table_of):
    table = table_of("{'label': 'cat', 'p': np.float64(0.5), 'ok': True}", "{'label': 'None of these, True', 'p': None, 'ok': False}")
    assert further(table) == [
        {"label": "cat", "p": 0.5, "ok": True},
        {"label": "None of these, True", "p": None, "ok": False},
    ]


def test_the_columns_of_a_dataframe_are_columns_with_its_names_and_types(table_of):
    columns = [("file", "object"), ("label", "str"), ("score", "float64"), ("code", "object"), ("day", "datetime64[ns]")]
    table = table_of(
        '"two words" 0.5 007 2026-01-31', 'say""so 0.25 7 "2026-02-01 10:00:00"', '"say ""so""" 1.0  2026-02-02', columns=columns
    )
    assert kinds(table) == {"label": Kind.TEXT, "score": Kind.NUMBER, "code": Kind.TEXT, "day": Kind.DATE}
    rows = further(table)
    assert rows[0] == {"label": "two words", "score": 0.5, "code": "007", "day": datetime(2026, 1, 31)}
    assert rows[2] == {"label": 'say "so"', "score": 1.0, "code": None, "day": datetime(2026, 2, 2)}


def test_a_dataframe_that_names_no_file_gives_all_its_columns(table_of):
    table = table_of(" 1", "a 2", '"" 3', columns=[("label", "str"), ("n", "int64")], names=False)
    assert further(table) == [{"label": None, "n": 1}, {"label": "a", "n": 2}, {"label": None, "n": 3}]


@pytest.mark.parametrize("rows", [("cat", "dog"), ("[1, 2", "x"), ('{"a": 1}', "cat", "dog"), ("[]", "[]"), ("{}",), ("[not, json]",)])
def test_what_holds_no_several_values_is_left_alone(table_of, rows):
    assert table_of(*rows).further_columns == []


def test_hostile_keys_are_columns_that_can_be_asked(table_of):
    keys = [
        "File",
        "file",
        "",
        " ",
        "a/b~c",
        "a.b",
        'say "x"',
        "'; DROP TABLE predictions; --",
        "tab\tand\nline",
        "ü",
        "x" * 4000,
        "\u202ertl",
    ]
    keys += ["file_row_number", ".columns", "A.B", "=cmd|' calc'!A0"]
    table = table_of(*[json.dumps(dict.fromkeys(keys, number)) for number in range(3)])
    names = table.further_columns
    assert len(names) == len({name.lower() for name in (*COLUMNS, *names)}) - len(COLUMNS) == len(keys)
    assert all(list(row.values()) == [number] * len(keys) for number, row in enumerate(further(table)))
    for name in names:
        assert sum(count for _, count in table.facet(name)) == 3
        assert table.grouped("Prediction", name).num_rows == 3
    lines = list(csv.reader(io.StringIO(b"".join(exports.export(".csv", table)).decode(), newline="")))
    assert lines[0] == ["File", "Prediction", *names]
    assert lines[3][2:] == ["2"] * len(keys)


OWN_NAMES = [name for name in COLUMNS if name not in ("File", "Prediction")]


@pytest.mark.parametrize(
    ("way", "spelled"), [("json", str), ("json read twice", str.lower), ("printed", str), ("DataFrame", str.lower), ("DataFrame", str)]
)
@pytest.mark.slow
def test_a_persons_columns_keep_their_names_and_ours_give_way(table_of, way, spelled):
    names = [*map(spelled, OWN_NAMES), "row", "Run status"]
    values = [dict.fromkeys(names, number) | {"prediction": 0.5} for number in range(4)]
    if way == "DataFrame":
        rows = [" ".join(map(str, value.values())) for value in values]
        table = table_of(*rows, columns=[("file", "str"), *((name, "int64") for name in [*names, "prediction"])])
    else:
        printed = [str(value) if way == "printed" else json.dumps(value) for value in values]
        table = table_of(*printed, *(['{"other": 1, "prediction": "x"}'] if "twice" in way else []))
    assert set(names) < set(table.columns)
    assert table.own["Status"] == "Run status 2"
    assert table.own["Mini-batch"] == "Run mini-batch"
    assert table.whole_column == "Run row"
    row = table.row(3)
    assert [row[name] for name in names] == [3] * len(names)
    assert (row["File"], row["Prediction"], row[table.own["Number"]]) == ("f3", "0.5", 0.5)
    assert row["Run status 2"] == "succeeded"
    assert set(table.columns) == {"File", "Prediction", *names, *table.own.values(), "Run row"} | ({"other"} if "twice" in way else set())


def test_everything_that_reads_a_table_knows_its_own_columns_names(table_of):
    names = ["status", "NUMBER", "Folder", "mini-batch", "place", "scored at", "worker"]
    table = table_of(*[json.dumps(dict.fromkeys(names, number) | {"prediction": number / 4}) for number in range(4)])
    assert table.count(Filter(where="status > 1")) == 2
    assert table.count(Filter(where="\"Run status\" = 'succeeded'")) == 4
    assert table.count(Filter(minimum=0.5)) == table.count(Filter(conditions=(Condition("Prediction", Operator.FROM, ("0.5",)),))) == 2
    assert table.count(Filter(statuses=("failed",), minimum=0.5)) == 0
    assert table.facet("Run status") == [("succeeded", 4)]
    assert table.grouped("Run folder").to_pylist()[0]["Mean"] == 0.375
    assert charts.histogram(table)[-1][1] == 0.76
    assert sum(count for *_, count, _ in charts.over_time(table)) == 4
    assert sum(count for *_, count in charts.classes_over_folders(table)) == 4
    assert table.page(order=Order("Prediction", descending=True)).column("status").to_pylist() == [3, 2, 1, 0]
    lines = b"".join(exports.export(".csv", table, annotations={})).decode().splitlines()
    assert lines[0] == "File,Prediction,status,NUMBER,Folder,mini-batch,place,scored at,worker,Row"
    key = RowKey("f2", 0, 2)
    lines = b"".join(exports.export(".csv", table, annotations={key: Annotation("odd", "cat")})).decode().splitlines()
    assert [line.endswith(",odd,cat") for line in lines[1:]] == [False, False, True, False]


def test_values_beyond_the_most_columns_stay_in_the_prediction(table_of, monkeypatch):
    monkeypatch.setattr("services.predictions.columns.MOST_COLUMNS", 10)
    table = table_of(json.dumps({f"k{number}": number for number in range(13)}))
    assert len(table.further_columns) == 10
    assert table.columns_left_out == 3


def test_a_dataframes_own_column_called_prediction_is_the_prediction(table_of):
    columns = [("file", "str"), ("prediction", "int64"), ("score", "float64")]
    table = table_of("7 0.5", "3 0.25", "7 0.75", "7 1.0", columns=columns)
    assert kinds(table) == {"score": Kind.NUMBER, "Row": Kind.TEXT}
    assert [row["Prediction"] for row in table.page().to_pylist()] == ["7", "3", "7", "7"]
    assert [row["Number"] for row in table.page().to_pylist()] == [7.0, 3.0, 7.0, 7.0]
    assert further(table)[0] == {"score": 0.5, "Row": "7 0.5"}
    assert (table.kind, table.columns["Prediction"], table.whole_column) == (Kind.CATEGORY, Kind.CATEGORY, "Row")
    assert exports.shown_columns(table) == ["File", "Prediction", "score"]  # the whole row repeats them
    assert table.count(Filter(classes=("7",))) == 3
    assert evaluated_column(table) == "Prediction"


def test_a_kept_column_called_prediction_is_not_taken_for_the_model_s(table_of):
    columns = [("file", "str"), ("model prediction", "str"), ("probability", "float64"), ("prediction", "int64")]
    table = table_of("yes 0.9 100", "no 0.8 101", columns=columns)
    assert [row["Prediction"] for row in table.page().to_pylist()] == ["yes", "no"]
    assert further(table)[0] == {"probability": 0.9, "prediction 2": 100, "Row": "yes 0.9 100"}
    assert evaluated_column(table) == "Prediction"


def test_a_row_unlike_its_dataframe_keeps_its_whole_text_as_prediction(table_of):
    columns = [("file", "str"), ("Prediction", "float64"), ("Row", "str"), ("label", "str")]
    table = table_of("0.5 a b", " a b", "1 2 3 4 5", columns=columns)
    assert [row["Prediction"] for row in table.page().to_pylist()] == ["0.5", None, "1 2 3 4 5"]
    assert [(row["Row"], row["Run row"]) for row in further(table)] == [("a", "0.5 a b"), ("a", " a b"), (None, "1 2 3 4 5")]
    assert (table.kind, evaluated_column(table)) == (Kind.TEXT, "Prediction")
    assert table.count() == 3


def test_a_key_called_prediction_is_the_prediction_beside_the_whole_row(table_of):
    table = table_of('{"prediction": "cat", "score": 0.5}', '{"score": 1, "prediction": "007"}', '{"prediction": "NA", "score": null}')
    assert [row["Prediction"] for row in table.page().to_pylist()] == ["cat", "007", "NA"]
    assert further(table)[1] == {"score": 1.0, "Row": '{"score": 1, "prediction": "007"}'}
    assert (table.whole_column, evaluated_column(table)) == ("Row", "Prediction")
    assert exports.shown_columns(table) == ["File", "Prediction", "score", "Row"]  # what a document held otherwise
    numbers = table_of('{"Prediction": 2.0}', '{"Prediction": 0.5}', '{"Prediction": -1.25}')
    assert [(row["Prediction"], row["Number"]) for row in numbers.page().to_pylist()] == [("2.0", 2.0), ("0.5", 0.5), ("-1.25", -1.25)]
    assert numbers.kind is Kind.NUMBER
    two = table_of('{"Prediction": 1, "prediction": 2}')
    assert further(two) == [{"Prediction 2": 1, "prediction 3": 2}]


def without_nan(rows: list[dict]) -> list[dict]:
    """nan is not equal to itself."""
    return [{name: "nan" if value != value else value for name, value in row.items()} for row in rows]  # noqa: PLR0124


ALIKE = [
    [
        '{"a": 1, "b": "x", "d": "2026-01-31", "t": true}',
        '{"a": null, "b": "", "d": null}',
        '{"a": -3, "d": "2026-01-31 10:00"}',
    ],
    ['{"a": "7", "b": "0.5", "c": "007"}', '{"a": "8", "b": "2", "c": "NA"}', '{"a": null, "b": "-1e3", "c": "nan"}'],
    ['{"at": "2026-01-31T10:00:00+02:00"}', '{"at": "2026-01-31T10:00:00Z"}', '{"at": "2026-02-01T00:30:00-05:00"}'],
    ['{"prediction": "a", "p": 1.5}', '{"prediction": "b", "p": NaN}', '{"prediction": "a", "p": 1}'],
    ["[0.5, null, 1]", "[]", "[2]"],
    ["{'a': 'x', 'b': None, 'c': [np.int64(1), 2]}", "{'a': 'y, None', 'b': nan, 'c': []}", "{'a': 'z', 'b': 1.5, 'c': [3]}"],
    ["[0.1, nan]", "[None, 0.3]", "[1.0, 2.0]"],
    ['{"file": "f0", "a": {"b": [1, 2]}}', '{"file": "f1", "a": {"b": []}}', '{"file": "f2", "a": null}'],
]
DIFFERENT = [
    '{"other": {"x": [1]}}',
    '{"a": "text where numbers were"}',
    '{"a": 0.25, "b": 3, "p": "x", "at": "soon"}',
    "[1, 2, 3, 4]",
    '{"prediction": null}',
    '{"a": 1',
    "[" * 5000 + "]" * 5000,
    '{"a": "\\ud800"}',
    "plain",
]


PAIRS = [(ALIKE[place % len(ALIKE)], different) for place, different in enumerate(DIFFERENT)]


@pytest.mark.parametrize(("rows", "different"), PAIRS, ids=lambda given: str(given)[:30])
@pytest.mark.slow
def test_a_row_of_another_shape_gives_the_same_table_first_or_last(tmp_path, monkeypatch, rows, different):
    monkeypatch.setattr("services.predictions.writer._ROW_GROUP_ROWS", 3)
    alike = [(f"f{number}", row) for number, row in enumerate(rows)]
    other = [("g0", different)]
    found = []
    for order in ([*alike, *other], [*other, *alike]):
        batches = [
            ScoredMiniBatch(place, [file for file, _ in some], "/root", [f"{file}: {row}" for file, row in some], "w", 1, 0.1, "")
            for place, some in enumerate((order[:3], order[3:]))
            if some
        ]
        make_table(batches, tmp_path / "t.parquet")
        table = Predictions(tmp_path / "t.parquet")
        shown = table.page().select(["File", "Prediction", "Number", *sorted(table.further_columns)]).to_pylist()
        shown = without_nan(shown)
        found.append((sorted(shown, key=lambda row: row["File"]), table.columns, table.whole_column, table.kind))
    assert found[0] == found[1]


@pytest.mark.parametrize("rows", ALIKE, ids=lambda rows: rows[0][:30])
def test_arrow_and_duckdb_flatten_rows_alike(table_of, rows):
    table = table_of(*rows)
    in_arrow = without_nan(table.page().to_pylist()), kinds(table), table.whole_column
    table = table_of(*rows, " {")  # a text that may be a document: that is left to DuckDB
    in_duckdb = without_nan(table.page().slice(0, len(rows)).to_pylist()), kinds(table), table.whole_column
    assert in_arrow == in_duckdb


# ---- what the columns are ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames_of(tmp_path):
    """The table of what run() returned for each mini-batch, DataFrames for example."""

    def make(*results) -> Predictions:
        batches = []
        for index, result in enumerate(results):
            rows, ends, count, columns = as_rows(result)
            stops = [0, *memoryview(ends).cast("Q").tolist()]
            lines = [rows[begin : end - 1].decode() for begin, end in itertools.pairwise(stops)]
            items = [f"{index}-{number}.bin" for number in range(count)]
            batches.append(ScoredMiniBatch(index, items, "/r", lines, "w", 1, 0.1, "", columns=json.dumps(columns) if columns else ""))
        make_table(batches, tmp_path / "t.parquet")
        return Predictions(tmp_path / "t.parquet")

    return make


def csv_lines(table: Predictions) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(exports.export(".csv", table)).decode(), newline="")))


def test_a_dataframe_of_one_column_predicts_its_values_without_quotes(frames_of):
    table = frames_of(pd.DataFrame({"label": ["hot dog"] * 3 + ['say "so"']}))
    assert [row[1] for row in csv_lines(table)[1:]] == ["hot dog"] * 3 + ['say "so"']
    assert table.count(Filter(classes=("hot dog",))) == 3
    named = frames_of(pd.DataFrame({"file": ["0-0.bin", "0-1.bin"], "label": ["hot dog", "cat"]}))
    assert csv_lines(named)[1] == ["0-0.bin", "hot dog"]
    nothing = frames_of(pd.DataFrame({"file": ["0-0.bin", "0-1.bin"], "label": [None, None]}))
    assert csv_lines(nothing)[1] == ["0-0.bin", ""]
    numbers = frames_of(pd.DataFrame({"score": [0.5, None]}), pd.DataFrame({"score": [0.25]}))
    assert (numbers.kind, numbers.count(Filter(minimum=0.25))) == (Kind.NUMBER, 2)


@pytest.mark.parametrize("names", [["nothing", "n"], ["n", "nothing"], ["n", "nothing", "m"]])
def test_a_column_without_any_value_is_a_column(frames_of, names):
    frame = pd.DataFrame({name: [None if name == "nothing" else 1] * 2 for name in names})
    assert csv_lines(frames_of(frame))[0] == ["File", "Prediction", *names]
    named = frames_of(frame.assign(nothing=float("nan")).assign(path=["0-0.bin", "0-1.bin"])[["path", *names]])
    assert csv_lines(named)[:2] == [["File", "Prediction", *names], csv_lines(named)[1]]
    assert csv_lines(named)[1][2:] == ["" if name == "nothing" else "1" for name in names]


def test_a_mini_batch_without_values_says_nothing_about_a_columns_type(frames_of):
    day = [datetime(2026, 1, 31), None]
    full = pd.DataFrame({"n": [0.5, 1.0], "day": pd.to_datetime(day), "label": ["a", "b"]})
    empty = pd.DataFrame({"n": [None], "day": [None], "label": [float("nan")]}, dtype=object)
    table = frames_of(empty, full, empty)
    assert kinds(table) == {"n": Kind.NUMBER, "day": Kind.DATE, "label": Kind.TEXT}


def test_extension_types_and_objects_are_what_they_hold(frames_of):
    numbers, exact = [0.5, 1.5], [Decimal("0.12345678901234567890"), Decimal("1.5")]
    frame = pd.DataFrame(
        {
            "arrow": pd.Series(numbers, dtype="double[pyarrow]"),
            "sparse": pd.Series(numbers, dtype="Sparse[float64]"),
            "category": pd.Series(numbers, dtype="category"),
            "object": pd.Series(numbers, dtype=object),
            "decimal": pd.Series(exact, dtype=object),
            "at": pd.Series([datetime(2026, 1, 31), None], dtype="timestamp[us][pyarrow]"),
            "ok": pd.Series([True, None], dtype="boolean"),
            "code": pd.Series(["007", "1.10"], dtype="string"),
        }
    )
    table = frames_of(frame)
    expected = dict.fromkeys(["arrow", "sparse", "category", "object", "decimal"], Kind.NUMBER)
    assert kinds(table) == expected | {"at": Kind.DATE, "ok": Kind.TRUTH_VALUE, "code": Kind.TEXT}
    assert csv_lines(table)[1][2:] == ["0.5"] * 4 + ["0.1234567890123456789", "2026-01-31", "True", "007"]


def test_infinity_and_nan_are_numbers_in_numeric_order(frames_of):
    table = frames_of(["2.5", "nan", "inf", "10", "-inf", "-3"])
    assert table.kind is Kind.NUMBER
    by_number = table.page(order=Order("Prediction")).column("Prediction").to_pylist()
    assert by_number == ["-inf", "-3", "2.5", "10", "inf", "nan"]
    assert table.count(Filter(minimum=2.5)) == 3
    assert (table.extent("Prediction"), charts.histogram(table, bins=1)) == ((-3.0, 10.0), [(-10.0, 0.0, 1), (0.0, 10.0, 2)])
    frame = frames_of(pd.DataFrame({"label": list("ab"), "score": [math.inf, 0.5]}))
    assert (frame.columns["score"], csv_lines(frame)[1][3]) == (Kind.NUMBER, "inf")


def test_two_columns_of_one_name_are_both_there(frames_of):
    table = frames_of(pd.DataFrame([[0.25, 0.75]], columns=["score", "score"]))
    assert further(table) == [{"score": 0.25, "score 2": 0.75}]
    predictions = frames_of(pd.DataFrame([[7, "a"]], columns=["Prediction", "prediction"]))  # which of them would be the prediction?
    assert further(predictions) == [{"Prediction 2": 7, "prediction 3": "a"}]


def test_a_text_between_quotes_in_json_stays_that_text(table_of):
    rows = ['{"version": "1.10", "code": "1e3", "p": "0.1234567890123456789", "n": 1.10}'] * 2
    for table in (table_of(*rows), table_of(*rows, " {")):
        assert further(table)[0] == {"version": "1.10", "code": "1e3", "p": "0.1234567890123456789", "n": 1.1}
    quoted_predictions = table_of('{"prediction": "1.10"}', '{"prediction": "1.1"}')
    assert (quoted_predictions.kind, quoted_predictions.row(0)["Number"]) == (Kind.TEXT, None)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("[np.float64(0.25), np.float64(0.75)]", {"0": 0.25, "1": 0.75}),
        ("{'anomaly': np.True_}", {"anomaly": True}),
        ("{0: .25, 1: .75}", {"0": 0.25, "1": 0.75}),
        ("{'text': \"it's\", 'n': 0}", {"text": "it's", "n": 0}),
        ("{'at': datetime.date(2026, 1, 31), 'p': array([0.5, 1.]), 't': (1, 'a')}",
         {"at": datetime(2026, 1, 31), "p.0": 0.5, "p.1": 1.0, "t.0": 1, "t.1": "a"}),
        ("('a', 0.5)", {"0": "a", "1": 0.5}),
    ],
)  # fmt: skip
def test_what_python_prints_has_columns_as_json_has(table_of, row, values):
    table = table_of(row, row)
    assert further(table) == [values, values]
    assert table.page().column("Prediction").to_pylist() == [row, row]


def test_whole_numbers_beyond_doubles_are_exact(frames_of):
    values = [2**53 + 1, 2**53, 2**63 + 5, -(10**30), 7]
    table = frames_of(values)
    in_order = table.page(order=Order("Prediction")).column("Prediction").to_pylist()
    assert in_order == list(map(str, sorted(values)))
    bound = Condition("Prediction", Operator.FROM, (str(2**53 + 1),))
    assert table.count(Filter(conditions=(bound,))) == 2
    assert parquet.read_table(io.BytesIO(b"".join(exports.export(".parquet", table)))).column("Prediction").to_pylist() == values


@pytest.mark.parametrize("as_column", [True, False])
def test_decimals_of_twenty_places_are_exact(frames_of, as_column):
    values = [Decimal("0.12345678901234567890"), Decimal("0.12345678901234567891"), Decimal("-1.5E-10")]
    table = frames_of(pd.DataFrame({"n": values, "m": 1})) if as_column else frames_of(values)
    column = "n" if as_column else "Prediction"
    bound = Condition(column, Operator.FROM, ("0.12345678901234567891",))
    assert table.count(Filter(conditions=(bound,))) == 1
    assert table.page(order=Order(column)).column("Place").to_pylist() == [2, 0, 1]
    assert csv_lines(table)[2][1 + as_column] == "0.12345678901234567891"


def test_a_key_without_characters_is_a_column_by_its_place(table_of):
    assert further(table_of('{"a": 1, "": 5}')) == [{"a": 1, "column 2": 5}]
    assert further(table_of('{"": 5}', '{"": "x"}')) == [{"column 1": "5"}, {"column 1": "x"}]


def test_floats_stay_floats_and_whole_numbers_whole(table_of, frames_of):
    assert csv_lines(table_of('{"p": 3.0, "q": 0.0, "n": 3}', '{"p": 2.50, "q": 1.5, "n": 4}'))[1][2:] == ["3.0", "0.0", "3"]
    assert csv_lines(frames_of(pd.DataFrame({"p": [3.0, 0.5], "n": [3, 4]})))[1][2:] == ["3.0", "3"]


def test_rows_of_a_dataframe_whose_types_are_not_known_are_typed_by_content(table_of):
    columns = [("", ""), ("", ""), ("", ""), ("", "")]
    table = table_of('0.5 "hot dog" 007 True', "1.5 cat 008 False", columns=columns, names=False)
    assert further(table)[0] == {"column 1": 0.5, "column 2": "hot dog", "column 3": "007", "column 4": True}

"""The table of predictions, and what can be asked of it."""

from __future__ import annotations

import csv
import io
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.errors import NotFound, SettingsError, WorkspaceUnavailable
from services.predictions import charts, exports, filters, query_process
from services.predictions.causes import Line
from services.predictions.columns import COLUMNS, INPUT_FILE, ROW_NUMBER, Kind, Status, path_of
from services.predictions.database import translated_errors
from services.predictions.failures import failed_items, failure_causes
from services.predictions.filters import EVERY_FAILURE, EVERY_PREDICTION, Condition, Filter, Operator
from services.predictions.matching import NO_FILE, ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table


def mini_batch(
    items: Sequence[str], rows: Sequence[str], index: int = 0, error: str = "", attempts: int = 1, said: Sequence[Line] = ()
) -> ScoredMiniBatch:
    return ScoredMiniBatch(index, items, "/root", rows, f"node 0, process{index % 2:03d}", attempts, 0.25, error, said=said)


@pytest.fixture
def table_of(tmp_path: Path) -> Callable[..., Predictions]:
    def make(*mini_batches: ScoredMiniBatch) -> Predictions:
        make_table(mini_batches, tmp_path / "predictions.parquet")
        return Predictions(tmp_path / "predictions.parquet")

    return make


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Six files of three mini-batches: cat, dog, cat, none (the script raised), cat, none (a short return); and a row of no file."""
    mini_batches = [
        mini_batch(["a/1.png", "a/2.png"], ["1.png: cat", "2.png: dog"]),
        mini_batch(["a/3.png", "b/1.png"], ["3.png: cat", "hello"], index=1, attempts=2),
        mini_batch(["b/2.png"], [], index=2, error="ValueError: no such colour", attempts=3),
        mini_batch(["B/ü.png"], ["ü.png: cat"], index=3),
    ]
    path = tmp_path_factory.mktemp("table") / "predictions.parquet"
    make_table(mini_batches, path)
    return Predictions(path)


def csv_of(predictions: Predictions, filter_: Filter = EVERY_PREDICTION) -> list[list[str]]:
    text = b"".join(exports.export(".csv", predictions, filter_)).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def all_of(predictions: Predictions, filter_: Filter = EVERY_PREDICTION) -> list[dict[str, Any]]:
    return predictions.page(filter_, 0, 1_000_000).to_pylist()


# ---- the table -------------------------------------------------------------------------------------------------------------------------


def test_the_table_has_every_file_with_its_prediction_or_its_error(table):
    everything = all_of(table, Filter(statuses=tuple(Status)))
    assert list(everything[0]) == [name for name in COLUMNS if name not in (ROW_NUMBER, INPUT_FILE)]
    assert [(row["File"], row["Prediction"], row["Status"], row["Error"]) for row in everything] == [
        ("a/1.png", "cat", "succeeded", None),
        ("a/2.png", "dog", "succeeded", None),
        ("a/3.png", "cat", "succeeded", None),
        ("b/1.png", None, "failed", "run() returned 2 rows for 2 files in mini-batch 1; none of them is known to be of b/1.png"),
        ("", "hello", "unmatched", NO_FILE),
        ("b/2.png", None, "failed", "ValueError: no such colour"),
        ("B/ü.png", "cat", "succeeded", None),
    ]
    assert [row["Attempts"] for row in everything] == [1, 1, 2, 2, 2, 3, 1]
    assert everything[5] | {"Mini-batch": 2, "Worker": "node 0, process000", "Seconds": 0.25} == everything[5]


def test_where_a_row_could_be_of_any_file_none_is_said_to_lack_one(table_of):
    table = table_of(mini_batch(["a.csv", "b.csv", "c.csv"], ["7", "8"]), mini_batch(["d.csv", "e.csv"], ["d.csv: 7"], index=1))
    assert [row["Error"] for row in all_of(table, EVERY_FAILURE)] == [
        *(f"run() returned 2 rows for 3 files in mini-batch 0; none of them is known to be of {name}.csv" for name in "abc"),
        "run() returned 1 row for 2 files in mini-batch 1; without a row: e.csv",
    ]


def test_the_causes_of_a_table_keep_what_all_of_their_items_have_in_common(table_of):
    items = [f"{number}.csv" for number in range(4)]
    said = [Line("WARNING", f"'{name}' failed: it has 9 fields, and é takes 12") for name in items[:3]]
    table = table_of(mini_batch(items, ["3.csv: 1"], said=said), mini_batch(["8.csv", "9.csv"], ["8.csv: 1"], index=1))
    assert [(cause.cause, cause.count) for cause in failure_causes(table)] == [
        ("'…' failed: it has 9 fields, and é takes 12", 3), ("run() returned 1 row for 2 files in mini-batch 1; without a row: 9.csv", 1),
    ]  # fmt: skip
    cause = failure_causes(table)[0].cause
    assert [item.item for item in failed_items(table, cause)] == items[:3]


def test_a_row_says_how_it_was_matched_and_is_filtered_by_it(table_of):
    table = table_of(
        mini_batch(["a", "b"], ["cat", "dog"]), mini_batch(["c.csv", "d.csv"], ["d.csv: cat", "hello"], index=1),
        mini_batch(["e"], [], index=2), mini_batch(["f"], ["7", "8"], index=3),
    )  # fmt: skip
    everything = all_of(table, Filter(statuses=tuple(Status)))
    assert [(row["File"], row["Matched by"]) for row in everything] == [
        ("a", "order"), ("b", "order"), ("c.csv", None), ("d.csv", "name"), ("", "not matched"), ("e", None),
        ("f", "only file"), ("f", "only file"),
    ]  # fmt: skip
    by_order = Filter(conditions=(Condition("Matched by", Operator.ONE_OF, ("order",)),))
    assert csv_of(table, by_order) == [["File", "Prediction"], ["a", "cat"], ["b", "dog"]]
    assert table.count(Filter(where="\"Matched by\" = 'not matched'")) == 1
    assert table.facet("Matched by") == [("only file", 2), ("order", 2), ("name", 1), ("not matched", 1)]


def test_what_failed_is_asked_for_by_name(table):
    assert table.count() == 5
    assert table.count(EVERY_FAILURE) == 2
    assert table.page(EVERY_FAILURE).column("File").to_pylist() == ["b/1.png", "b/2.png"]
    assert table.page(EVERY_FAILURE, 1, 1).column("Error").to_pylist() == ["ValueError: no such colour"]


def test_a_table_of_nothing_answers_with_nothing(table_of):
    empty = table_of()
    assert (empty.count(), all_of(empty), empty.class_counts(), charts.histogram(empty), csv_of(empty)) == (
        0,
        [],
        [],
        [],
        [["File", "Prediction"]],
    )
    assert empty.kind is Kind.TEXT


@pytest.mark.parametrize(
    ("predictions", "kind"),
    [
        ([str(number) for number in range(20)], Kind.WHOLE_NUMBER),
        ([str(number % 3) for number in range(20)], Kind.CATEGORY),
        (["-1", "2.5", "1e-05", "0", "-0.0"], Kind.NUMBER),
        (["0.5", "0.5", "0.5", "0.5"], Kind.NUMBER),
        (["cat", "dog", "cat", "dog"], Kind.CATEGORY),
        ([f"name {number}" for number in range(20)], Kind.TEXT),
        ([f"name {number % 51}" for number in range(200)], Kind.TEXT),
        (["1", "2", "3", "004"], Kind.TEXT),
        (["1", "2", "3", "+4"], Kind.TEXT),
        (["1", "2", "3", "NA"], Kind.TEXT),
        (["1.5", "2.5", "-inf", "nan"], Kind.NUMBER),
        (["nan", "inf", "Infinity"], Kind.TEXT),
        (["1.5", "2.5", "3.5", " 4"], Kind.TEXT),
        (["1.5", "2.5", "3.5", "1e999"], Kind.TEXT),
        (["1.5", "2.5", "3.5", ""], Kind.TEXT),
        (["1", "2", "3", "4\n"], Kind.TEXT),
        (["1", "2", "3", "١"], Kind.TEXT),
        (["1", "2", "3", "12345678901234567890"], Kind.WHOLE_NUMBER),
        (["1", "2", "3", "1" * 39], Kind.NUMBER),
    ],
)
def test_the_kind_of_the_predictions_is_decided_over_all_of_them(table_of, predictions, kind):
    batches = [mini_batch([f"{index}.png"], [f"{index}.png: {text}"], index) for index, text in enumerate(predictions)]
    assert table_of(*batches).kind is kind


def test_only_numbers_have_a_number_and_each_prediction_stays_as_printed(table_of):
    texts = ["7", "007", "1.50", "-1e3", "inf", "None", "", "0x10", "1_000", "1,5"]
    rows = all_of(table_of(mini_batch([f"f{n}" for n in range(10)], [f"f{n}: {text}" for n, text in enumerate(texts)])))
    assert [row["Prediction"] for row in rows] == texts
    assert [row["Number"] for row in rows] == [7, None, 1.5, -1000, math.inf, *[None] * 5]


def test_a_table_of_many_row_groups_keeps_its_order_and_its_kind(table_of):
    batches = [mini_batch([f"{k}/{i}" for i in range(1000)], [f"{i}: {k * 1000 + i}" for i in range(1000)], k) for k in range(150)]
    predictions = table_of(*batches)
    assert predictions.kind is Kind.WHOLE_NUMBER
    assert predictions.count() == 150_000
    assert predictions.page(first=149_990, count=100).column("File").to_pylist() == [f"149/{i}" for i in range(990, 1000)]
    assert [int(row[1]) for row in csv_of(predictions)[1:]] == list(range(150_000))


def test_a_failed_write_leaves_the_old_table_and_nothing_else(tmp_path, table_of):
    table = table_of(mini_batch(["a", "b"], ["a: 1", "b: 2"]))

    def stops_halfway():
        yield mini_batch(["a"], ["a: 1"])
        raise OSError(28, "No space left on device")

    with pytest.raises(WorkspaceUnavailable, match="No space left"):
        make_table(stops_halfway(), tmp_path / "predictions.parquet")
    assert Predictions(tmp_path / "predictions.parquet").count() == table.count()
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in (".open", ".lock", ".kept")] == ["predictions.parquet"]


def test_a_missing_or_damaged_table_is_said_to_be_so(tmp_path):
    with pytest.raises(NotFound):
        Predictions(tmp_path / "none.parquet")
    with pytest.raises(NotFound):
        Predictions(tmp_path / "no folder" / "none.parquet")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(WorkspaceUnavailable, match=r"half\.parquet"):
        Predictions(tmp_path / "half.parquet")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_home_with_wildcards_and_quotes_in_its_name_is_no_trouble(tmp_path):
    folder = tmp_path / "it's [a]* home?"
    folder.mkdir()
    make_table([mini_batch(["a"], ["a: 1"])], folder / "t.parquet")
    (tmp_path / "it's a home").mkdir()
    assert csv_of(Predictions(folder / "t.parquet"), Filter(where="true")) == [["File", "Prediction"], ["a", "1"]]


def test_a_table_that_is_replaced_while_it_is_read_stays_as_it_was_opened(tmp_path):
    path = tmp_path / "predictions.parquet"
    sizes = (300, 3000)
    versions = [[mini_batch([f"f{i}" for i in range(size)], [f"f{i}: {i}" for i in range(size)])] for size in sizes]
    make_table(versions[0], path)
    kept = Predictions(path)
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            predictions = Predictions(path)
            seen.append((predictions.count(), sum(part.count(b"\n") for part in exports.export(".csv", predictions)) - 1))

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(40):
        make_table(versions[turn % 2], path)
    done.set()
    reader.join()
    assert kept.count() == sizes[0]
    del kept
    assert seen
    assert set(seen) <= {(size, size) for size in sizes}
    assert [name.name for name in tmp_path.iterdir()] == ["predictions.parquet"]


# ---- asking it -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter_", "files"),
    [
        (Filter(text="A/"), ["a/1.png", "a/2.png", "a/3.png"]),
        (Filter(text="DOG"), ["a/2.png"]),
        (Filter(text="Ü.P"), ["B/ü.png"]),
        (Filter(text="%"), []),
        (Filter(text="' OR 1=1 --"), []),
        (Filter(text="\udcff"), []),
        (Filter(classes=("dog", "hello")), ["a/2.png", ""]),
        (Filter(classes=("Dog",)), []),
        (Filter(text="a/", classes=("cat",), where="File <> 'a/1.png'"), ["a/3.png"]),
        (Filter(where="\"Mini-batch\" = 0 OR Status = 'unmatched' -- and so on"), ["a/1.png", "a/2.png", ""]),
        (Filter(statuses=(Status.UNMATCHED,)), [""]),
        (Filter(text="a", statuses=(Status.FAILED,)), []),
    ],
)
def test_a_filter_leaves_what_matches_in_page_count_and_csv_alike(table, filter_, files):
    assert [row["File"] for row in all_of(table, filter_)] == files
    assert table.count(filter_) == len(files)
    assert [row[0] for row in csv_of(table, filter_)[1:]] == files


def test_class_counts_come_by_frequency(table):
    assert table.class_counts() == [("cat", 3), ("dog", 1), ("hello", 1)]
    assert table.class_counts(Filter(text="a/"), limit=1) == [("cat", 2)]


def numbers(table_of: Callable[..., Predictions], texts: Sequence[str]) -> Predictions:
    return table_of(mini_batch([f"f{n}" for n in range(len(texts))], [f"f{n}: {text}" for n, text in enumerate(texts)]))


def test_a_histogram_counts_every_number_once(table_of):
    predictions = numbers(table_of, [str(n / 100) for n in range(1001)] + ["none"])
    bins = charts.histogram(predictions, bins=10)
    assert [count for *_, count in bins] == [100] * 9 + [101]
    assert (bins[0][0], bins[-1][1]) == (0, 10)
    assert sum(count for *_, count in charts.histogram(predictions, Filter(minimum=2, maximum=3))) == 101


def test_a_histogram_of_whole_numbers_has_bins_of_equally_many(table_of):
    assert charts.histogram(numbers(table_of, ["1", "2", "2", "4"])) == [(1, 2, 1), (2, 3, 2), (3, 4, 0), (4, 5, 1)]
    assert {count for *_, count in charts.histogram(numbers(table_of, [str(n) for n in range(-60, 60)]))} == {5}


@pytest.mark.parametrize("texts", [["5"], ["0.1", "0.1"], ["-1.7e308", "1.7e308", "0"], ["0", "5e-324"], ["1e300", "1e300"]])
def test_a_histogram_of_extreme_numbers_loses_none(table_of, texts):
    bins = charts.histogram(numbers(table_of, texts))
    assert sum(count for *_, count in bins) == len(texts)
    assert all(lower <= upper for lower, upper, _ in bins)


# ---- CSV -------------------------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "plain", "", " ", "None", "nan", "NA", "null", "01", "1e5", "a,b", 'say "hi"', '"', '""', ",", "two\nlines", "two\r\nlines", "\r", "\n",
    "tab\there", "=cmd|' calc'!A0", "+1", "-1", "@x", "<script>alert(1)</script>", "![](http://x/y.png)", "**bold**",
    '{"label": "cat", "p": [0.9, null]}',
    "[1, 2]", "\u202ertl", "ünïcödé 猫 🐈", "\\N", "'; DROP TABLE predictions; --", "a\x00b", "x" * 10_000, ": ", "#",
    "\ufeffbom", "${x}", "%s",
]  # fmt: skip


def test_every_prediction_and_every_name_survives_the_trip_to_csv_and_back(table_of):
    names = [f"folder/{number}{text.replace('/', '_')[:200]}.png" for number, text in enumerate(HOSTILE)]
    rows = [f"{name.removeprefix('folder/')}: {text}" for name, text in zip(names, HOSTILE, strict=True)]
    predictions = table_of(mini_batch(names, rows), mini_batch(names, rows[1:], index=1))
    expected = [[name, text] for name, text in zip(names, HOSTILE, strict=True)]
    assert csv_of(predictions) == [["File", "Prediction"], *expected, *expected[1:]]


def test_csv_is_plain_where_nothing_needs_quotes(table_of):
    predictions = table_of(mini_batch(["a b.png", "c,d.png"], ["a b.png: 7", "c,d.png: it's"]))
    assert b"".join(exports.export(".csv", predictions)) == b'File,Prediction\na b.png,7\n"c,d.png",it\'s\n'


def test_undecodable_names_are_shown_with_their_bytes(table_of):
    name = os.fsdecode(b"caf\xe9 \xff.png")
    predictions = table_of(mini_batch([f"d/{name}"], [f"{name}: \udce9t\u00e9 \ud800"]))
    assert csv_of(predictions)[1][0] == r"d/caf\xe9 \xff.png"
    assert csv_of(predictions)[1][1].endswith(r"\ud800")


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"a\xff"), r"a\xff", r"a\x5cxff", r"\\xe9", r"\x41\n\\", r"\ud800", "\ud800", "\\" + os.fsdecode(b"\xff"), "plain"]
)
def test_a_file_s_name_can_be_told_from_its_csv_whatever_is_in_it(table_of, name):
    file = csv_of(table_of(mini_batch([name, "other"], [f"{name}: 1", "other: 2"])))[1][0]
    assert path_of(file) == name
    assert file.isprintable()


# ---- conditions of the command line ----------------------------------------------------------------------------------------------------

BAD_CONDITIONS = [
    "Prediktion = 'cat'", "Prediction =", "1=1) UNION SELECT ('a'", "true; DROP VIEW predictions", "true LIMIT 1", "true FROM predictions",
    "(", " ", "/*", "count(*) > 1", "CAST(File AS INTEGER) = 1", "'cat'", "Number > ?", "Number > $1", "(" * 5000 + "true" + ")" * 5000,
    "\udcff", "\x00", "(SELECT count(*) FROM read_text('{secret}')) > 0", "(SELECT count(*) FROM read_csv('{secret}')) > 0",
    "(SELECT count(*) FROM '{secret}') > 0", "(SELECT count(*) FROM glob('{folder}/*')) > 0",
    "(SELECT count(*) FROM query('COPY (SELECT 1) TO ''{folder}/made.csv''')) > 0",
    "(SELECT count(*) FROM read_text('http://127.0.0.1:1/x')) > 0", "(SELECT count(*) FROM sqlite_scan('{secret}', 't')) > 0",
    "(SELECT count(*) FROM enable_logging(storage = 'file', storage_path = '{folder}/log')) > 0",
    "(SELECT count(*) FROM secret_variable) > 0",
    "EXISTS (COPY (SELECT 1) TO '{folder}/made.csv')", "getenv('HOME') <> ''",
]  # fmt: skip


def counted_here(table, condition):
    """As `table.count` tries a condition in a process of its own, which takes a while to start."""
    about = {"file": str(table.file), "table": str(table.path), "seconds": query_process.SECONDS, "limit": 1}
    with translated_errors(table.path, "where"):
        assert filters.condition(Filter(where=condition), table._statistics)
    query_process.answer(about | {"query": query_process.trial_of(condition), "field": "where", "hint": ""})


@pytest.mark.parametrize("condition", BAD_CONDITIONS, ids=lambda condition: ascii(condition[:60]))
def test_a_condition_that_is_wrong_or_reaches_out_is_refused(table, tmp_path, condition):
    secret_variable = tmp_path / "secret.csv"
    secret_variable.write_text("secret\n1\n", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SettingsError) as refused:
        counted_here(table, condition.replace("{secret}", str(secret_variable)).replace("{folder}", str(tmp_path)))
    assert refused.value.field == "where"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert table.count() == 5


@pytest.mark.slow  # each condition is tried in a process of its own
@pytest.mark.parametrize("query", [Predictions.count, Predictions.page, partial(exports.export, ".csv"), Predictions.class_counts])
def test_every_query_refuses_a_wrong_condition(table, query):
    with pytest.raises(SettingsError) as refused:
        query(table, Filter(where="(SELECT count(*) FROM read_text('/etc/hostname')) > Prediktion"))
    assert refused.value.field == "where"


def test_a_condition_that_takes_all_the_memory_is_refused(table):
    with pytest.raises(SettingsError, match="exceeded its memory limit"):
        table.count(Filter(where="(SELECT len(list(range)) FROM range(1000000000)) > 0"))


@pytest.mark.slow
def test_a_condition_that_takes_too_long_is_refused(table, monkeypatch):
    monkeypatch.setattr("services.predictions.reader.SECONDS_FOR_A_QUERY", 0.2)
    endless = Filter(where="(SELECT count(*) FROM range(100000000000) a, range(100000) b) > 0")
    with pytest.raises(SettingsError, match="exceeded its time limit"):
        exports.export(".csv", Predictions(table.path), endless)


def test_pages_may_import_it_before_their_first_paint():
    heavy = "import sys, services.predictions.reader; print({'duckdb', 'pyarrow', 'numpy', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_making_and_asking_a_table_never_loads_pandas(tmp_path):
    script = (
        "import sys, pathlib\nfrom services.predictions.filters import *\nfrom services.predictions.matching import *\n"
        "from services.predictions.reader import *\nfrom services.predictions.writer import *\n"
        "from services.predictions import charts, exports\npath = pathlib.Path(sys.argv[1])\n"
        """make_table([ScoredMiniBatch(0, ['a'], '/r', ['a: [1, {"x": 0.5, "day": "2026-01-01"}]'], 'w', 1, 0.1, '')], path)\n"""
        "make_table([ScoredMiniBatch(0, ['a', 'ü'], '/r', ['a: 1'], 'w', 1, 0.1, '')], path)\n"
        "p = Predictions(path); p.page(Filter(text='a', classes=('1',))); p.page(EVERY_FAILURE); p.class_counts()\n"
        "charts.histogram(p); b''.join(exports.export('.csv', p))\n"
        "print('pandas' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script, tmp_path / "t.parquet"], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"

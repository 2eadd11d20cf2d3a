"""What is taken away: exactly the filtered rows in the shown order, as CSV, Parquet, Excel; with notes; with its provenance."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from pyarrow import parquet, record_batch

from services.errors import SettingsError
from services.predictions import excel, exports
from services.predictions.annotations import Annotation
from services.predictions.filters import EVERY_ROW, Filter, Order
from services.predictions.matching import ScoredMiniBatch
from services.predictions.provenance import provenance_file
from services.predictions.reader import Predictions
from services.predictions.writer import make_table
from services.run_details import Provenance, RowKey

HOSTILE = [
    "plain", "", " ", "None", "nan", "NA", "null", "01", "1e5", "a,b", 'say "hi"', '"', '""', ",", "two\nlines", "two\r\nlines", "\r", "\n",
    "tab\there", "\ttab", "=cmd|' calc'!A0", "+1", "-1", "-a", "@x", "<script>alert(1)</script>", "![](http://x/y.png)", "**bold**",
    '{"label": "cat", "p": [0.9, null]}', "[1, 2]", "\u202ertl\u200f", "ünïcödé 猫 🐈", "\\N", "'; DROP TABLE predictions; --", "x" * 4_000,
    "y" * 10_240, ": ", "#", "\ufeffbom", "${x}", "%s", "_x0041_", "_x0041_x0042_", "http://x/y", "mailto:a@b", "＝1",
]  # fmt: skip


@pytest.fixture
def table_of(tmp_path) -> Callable[..., Predictions]:
    def make(predictions: Sequence[str], names: Sequence[str] | None = None) -> Predictions:
        names = names or [f"d/{number}.png" for number in range(len(predictions))]
        rows = [f"{name}: {text}" for name, text in zip(names, predictions, strict=True)]
        make_table([ScoredMiniBatch(0, names, "/root", rows, "w", 1, 0.1, "")], tmp_path / "t.parquet")
        return Predictions(tmp_path / "t.parquet")

    return make


def read(parts) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(parts).decode(), newline=""), strict=True))


def sheet_of(content: bytes) -> list[list[str | float]]:
    """The cells of a sheet as Excel reads them: a text's `_x000D_` is the character of that number."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    assert not list(sheet.iter(f"{space}f"))
    assert not list(sheet.iter(f"{space}hyperlink"))
    rows = []
    for row in sheet.iter(f"{space}row"):
        cells = []
        for cell in row.iter(f"{space}c"):
            text = cell.find(f"{space}is/{space}t")
            number = cell.find(f"{space}v")
            if text is not None:
                cells.append(re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text.text or ""))
            else:
                cells.append(float(number.text) if number is not None else "")
        rows.append(cells)
    return rows


@pytest.fixture
def hostile(table_of):
    names = [f"d/{number} {text.replace('/', '_')[:200]}.png" for number, text in enumerate(HOSTILE)]
    return table_of(HOSTILE, names), names


@pytest.mark.parametrize("order", [Order(), Order("Prediction"), Order("File", True)])
def test_hostile_names_and_values_survive_csv_and_parquet_in_any_order(hostile, order):
    table, names = hostile
    expected = list(zip(names, HOSTILE, strict=True))
    if order.column:
        expected.sort(key=lambda row: row[order.column == "Prediction"], reverse=order.descending)
    assert [tuple(row) for row in read(exports.export(".csv", table, order=order))[1:]] == expected
    rows = parquet.read_table(io.BytesIO(b"".join(exports.export(".parquet", table, order=order)))).to_pylist()
    assert [(row["File"], row["Prediction"]) for row in rows] == expected


def test_excel_shows_hostile_values_as_the_texts_they_are(hostile):
    table, names = hostile
    content = b"".join(exports.export(".xlsx", table))
    assert content == b"".join(exports.export(".xlsx", table))
    rows = sheet_of(content)
    assert rows[0] == ["File", "Prediction"]
    expected = [[name, text] for name, text in zip(names, HOSTILE, strict=True)]
    assert [[_one_line_end(cell) for cell in row] for row in rows[1:]] == [[_one_line_end(cell) for cell in row] for row in expected]


def test_a_cell_of_excel_is_cut_off_after_32767_characters_of_utf_16(table_of):
    texts = ["🐈" * 20_000, "x" * 40_000, "ü" * 32_767]
    cells = [row[1] for row in sheet_of(b"".join(exports.export(".xlsx", table_of(texts))))[1:]]
    assert cells == ["🐈" * 16_383, "x" * 32_767, "ü" * 32_767]


def test_more_text_than_the_first_rows_let_expect_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(excel, "_MOST_UNEXPECTED", 10_000)
    batches = [record_batch({"a": [text] * 10}) for text in ("short", "long" * 1000)]
    with pytest.raises(SettingsError, match="too much text"):
        excel.write_sheet(io.BytesIO(), ["a"], batches, 20)


def _one_line_end(cell):
    """XML has one kind."""
    return cell.replace("\r\n", "\n").replace("\r", "\n")


def test_numbers_are_typed_in_parquet_and_excel_and_as_printed_in_csv(table_of):
    table = table_of(["1.50", "2e3", "-7.0"])
    assert [row[1] for row in read(exports.export(".csv", table))] == ["Prediction", "1.50", "2e3", "-7.0"]
    assert parquet.read_table(io.BytesIO(b"".join(exports.export(".parquet", table)))).column("Prediction").to_pylist() == [
        1.5,
        2000.0,
        -7.0,
    ]
    assert [row[1] for row in sheet_of(b"".join(exports.export(".xlsx", table)))] == ["Prediction", 1.5, 2000, -7]


def test_safe_csv_marks_what_a_spreadsheet_would_run_and_nothing_else(hostile):
    table, _ = hostile
    safe = [row[1] for row in read(exports.export(".csv", table, safe=True))[1:]]
    changed = [text for text, escaped in zip(HOSTILE, safe, strict=True) if escaped != text]
    assert changed == ["\r", "\n", "\ttab", "=cmd|' calc'!A0", "+1", "-a", "@x", "＝1"]
    assert all(escaped in (text, f"'{text}") for text, escaped in zip(HOSTILE, safe, strict=True))


def test_only_what_is_filtered_is_taken_with_the_columns_asked_for(table_of):
    table = table_of(["cat", "dog", "cat"])
    assert read(exports.export(".csv", table, Filter(classes=("cat",)), Order("File", True), ("File", "Place"))) == [
        ["File", "Place"],
        ["d/2.png", "2"],
        ["d/0.png", "0"],
    ]
    with pytest.raises(SettingsError):
        exports.export(".csv", table, columns=("nothing",))
    with pytest.raises(SettingsError):
        exports.export(".parquet", table, Filter(where="nothing = 1"))
    assert read(exports.export(".csv", table, Filter(text="no such"))) == [["File", "Prediction"]]
    empty = parquet.read_table(io.BytesIO(b"".join(exports.export(".parquet", table, Filter(text="no such")))))
    assert (empty.num_rows, empty.column_names) == (0, ["File", "Prediction"])


def test_more_rows_than_a_sheet_holds_are_refused_with_advice(table_of, monkeypatch):
    monkeypatch.setattr(exports, "EXCEL_ROWS", 2)
    with pytest.raises(SettingsError) as refused:
        exports.export(".xlsx", table_of(["a", "b", "c"]))
    assert refused.value.field == "format"
    assert "CSV or Parquet" in refused.value.hint


def test_notes_and_corrected_labels_go_along(table_of):
    table = table_of(["cat", "dog", "cat"])
    annotations = {RowKey("d/1.png", 0, 1): Annotation('not "a" dog', "=wolf"), RowKey("d/1.png", 5, 1): Annotation("another row's")}
    rows = read(exports.export(".csv", table, EVERY_ROW, annotations=annotations))
    assert rows == [
        ["File", "Prediction", "Note", "Corrected label"],
        ["d/0.png", "cat", "", ""],
        ["d/1.png", "dog", 'not "a" dog', "=wolf"],
        ["d/2.png", "cat", "", ""],
    ]
    assert read(exports.export(".csv", table, annotations=annotations, safe=True))[2][3] == "'=wolf"
    noted = table_of(['{"Note": 1, "corrected label": 2, "note": 3}'])
    assert read(exports.export(".csv", noted, annotations=annotations))[0] == [
        "File", "Prediction", "Note 3", "corrected label 2", "note 2", "Note", "Corrected label",
    ]  # fmt: skip


def test_a_file_name_says_the_run_and_the_filter_and_is_good_everywhere():
    filter_ = Filter(text='../"x"\n', classes=("cat",))
    assert (
        exports.file_stem("digits on digits-batch", filter_, Order("score", True))
        == "digits on digits-batch cat contains .. x by score down"
    )
    assert exports.file_stem("///", Filter()) == "predictions"
    assert len(exports.file_stem("x" * 500, Filter())) <= 120


def test_the_provenance_tells_what_the_export_is_of(table_of):
    table = table_of(["cat", "dog", "cat"])
    filter_, columns = Filter(classes=("cat",)), ("File", "Prediction")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    provenance = Provenance(
        "r1", "a run", "Completed", now, now, (("m:1", "aa"),), (("d:2", "bb"),), ("s.py", "cc"), {}, "3.11.7", {"numpy": "2"}, {}
    )
    content = b"".join(exports.export(".csv", table, filter_, columns=columns))
    told = json.loads(provenance_file(provenance, table, filter_, Order(), columns, "x.csv", hashlib.sha256(content).hexdigest()))
    assert told["file"]["rows"] == 2
    assert told["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert told["filter"]["words"] == "cat"
    assert Filter.from_text(json.dumps(told["filter"]["value"])) == filter_
    assert (told["models"], told["datasets"]) == ([{"name": "m:1", "sha256": "aa"}], [{"name": "d:2", "manifest_sha256": "bb"}])
    assert told["script"] == {"name": "s.py", "sha256": "cc"}
    assert told["run"]["packages"] == {"numpy": "2"}
    assert told["table"]["rows"]["succeeded"] == 3


def test_dates_are_written_as_dates_and_times_as_iso(table_of):
    rows = [{"day": "2026-01-31", "at": "2026-01-31T00:00:00"}, {"day": "1810-05-05", "at": "2026-01-31T10:30:00.25"}]
    table = table_of([json.dumps(row) for row in rows])
    _, *written = read(exports.export(".csv", table, columns=("day", "at")))
    assert written == [["2026-01-31", "2026-01-31T00:00:00"], ["1810-05-05", "2026-01-31T10:30:00.25"]]
    assert "1810-05-05T00:00:00" in sheet_of(b"".join(exports.export(".xlsx", table, columns=("day",))))[2]


def test_numbers_that_excel_can_not_hold_are_texts_there(table_of):
    rows = [
        '{"n": NaN, "big": 12345678901234567890, "exact": 0.12345678901234567890, "ok": true}',
        '{"n": Infinity, "big": 7, "exact": 1.5, "ok": false}',
    ]
    sheet = sheet_of(b"".join(exports.export(".xlsx", table_of(rows), columns=("n", "big", "exact", "ok"))))
    assert sheet[1][:3] == ["nan", "12345678901234567890", "0.12345678901234567890"]
    assert sheet[2][0] == "inf"


def test_an_excel_file_is_made_once_and_says_how_far_it_is(table_of, monkeypatch):
    table = table_of([f"{n}.5" for n in range(40)])
    monkeypatch.setattr(exports, "_BATCH_ROWS", 16)
    shares: list[float] = []
    arguments = (table, Filter(), Order(), ["File", "Prediction"], None)
    assert not exports.excel_path(*arguments).is_file()
    path = exports.excel_file(*arguments, shares.append)
    assert (shares, shares[-1]) == (sorted(shares), 1)
    assert len(sheet_of(path.read_bytes())) == 41
    made = path.stat().st_mtime_ns
    assert exports.excel_file(*arguments).stat().st_mtime_ns == made

"""Files in any dialect and format are read as one table: the rows and types that pandas would give, and nothing half read."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from services.domain import TableReading
from services.errors import IntakeError, SettingsError
from services.intake import spreadsheets, tables
from services.intake.datasets import collect_files
from services.intake.tabular import FILES
from services.storage.manifest import manifest_line, read_manifest


@dataclass
class Read:
    """Files that were read as a table, and all of its rows as a worker's pandas gets them."""

    found: tables.Reading
    frame: pandas.DataFrame
    files: list[str]

    @property
    def types(self) -> dict[str, str]:
        return dict(zip((name for name, _ in self.found.table.columns), self.found.types, strict=True))


def read(folder: Path, files: Mapping[str, bytes], reading: TableReading | None = None) -> Read:
    """Write the files and read them as a table, in this process."""
    root, lists = folder / "root", folder / "lists"
    lists.mkdir(parents=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    listed = list(collect_files(root, "**", hidden=False))
    (lists / FILES).write_bytes(b"".join(map(manifest_line, listed)))
    found = tables.read_table(root, lists, reading or TableReading())
    names = [file.path for file in read_manifest(lists / FILES)]
    if found.table.format == "parquet":
        base = lists / tables.CONVERTED if found.converted else root
        frames = [parquet.ParquetFile(base / name).read().to_pandas() for name in names]
    else:
        frames = [pandas.read_csv(root / name, low_memory=False) for name in names]
    return Read(found, pandas.concat(frames, ignore_index=True), names)


def as_pandas_reads(text: str) -> pandas.DataFrame:
    return pandas.read_csv(io.StringIO(text, newline=""), low_memory=False)


# ---- texts -----------------------------------------------------------------------------------------------------------------------

PLAIN = "id,amount,note\n1,1.5,Müller\n2,-2.75,Grün und Blau\n3,,\n"
DIALECTS = {
    "semicolons": PLAIN.replace(",", ";").encode(),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ",").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "cp1252": PLAIN.encode("cp1252"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without its mark": PLAIN.encode("utf-16-le"),
    "UTF-16, the other way round": PLAIN.encode("utf-16-be"),
    "UTF-8 with its mark, semicolons": b"\xef\xbb\xbf" + PLAIN.replace(",", ";").encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "gzip of UTF-16 with tabs": gzip.compress(PLAIN.replace(",", "\t").encode("utf-16")),
    "lines that end with CR": PLAIN.replace(",", ";").replace("\n", "\r").encode(),
    "lines that end with CR and LF": PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
    "single quotes": PLAIN.replace("Grün und Blau", "'Grün, Blau'").encode(),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_table_in_another_dialect_has_the_values_of_a_plain_one(tmp_path, kind):
    looked = read(tmp_path, {"a.csv": DIALECTS[kind]})
    plain = as_pandas_reads(PLAIN.replace("Grün und Blau", '"Grün, Blau"') if kind == "single quotes" else PLAIN)
    pandas.testing.assert_frame_equal(looked.frame, plain)
    assert looked.types == {"id": "integer", "amount": "number", "note": "text"}
    assert (looked.files, looked.found.converted) == (["a.csv.parquet"], True)


def test_a_plain_table_stays_the_file_it_is(tmp_path):
    looked = read(tmp_path, {"a.csv": b"\xef\xbb\xbf" + PLAIN.encode()})
    assert (looked.files, looked.found.converted, looked.found.source_format) == (["a.csv"], False, "csv")
    assert looked.found.dialect["encoding"] == "utf-8"


HEADERS = {
    "numbers": ("5.1,3.5\n4.9,3.0\n", False),
    "a row of numbers": ("5.1,3.5\n", False),
    "numbers and texts": ("1,Anna,2026-01-02\n2,Bob,2026-01-03\n", False),
    "names": ("a,b\n1,2\n", True),
    "texts": ("name,city\nAnna,Berlin\n", True),
    "the numbers of a matrix": ("0,1,2\n5.1,3.5,1.4\n", True),
    "years": ("name,2024,2025\nAnna,10,20\nBob,11,7\n", True),
    "years that are not each": ("name,1990,2000,2010\nAnna,10,20,31\nBob,11,7,5\n", True),
    "a missing value first": ("NA,3.5,Anna\n4.9,3.0,Bob\n4.7,3.2,Eve\n", False),
    "a question mark first": ("5.1,?,Anna\n4.9,3.0,Bob\n4.7,?,Eve\n", False),
    "an empty name": (",b\n0,2\n1,3\n", True),
}


@pytest.mark.parametrize(("text", "header"), HEADERS.values(), ids=HEADERS)
def test_whether_the_first_record_is_a_header_is_told(tmp_path, text, header):
    looked = read(tmp_path, {"a.csv": text.encode()})
    assert looked.found.reading.header is header
    assert len(looked.frame) == text.count("\n") - header
    if not header:
        assert looked.frame.columns[0] == "Column1"
        assert "no header" in looked.found.table.notes[0]


def test_types_are_settled_over_all_files_as_pandas_would(tmp_path):
    bodies = ["1;x;1;\n" * 3, "2;y;1,5;\n", ";7;2;1\n"]
    looked = read(tmp_path, {f"{n}.csv": f"a;b;c;d\n{body}".encode() for n, body in enumerate(bodies)})
    plain = as_pandas_reads(("a;b;c;d\n" + "".join(bodies)).replace(",", ".").replace(";", ","))
    pandas.testing.assert_frame_equal(looked.frame, plain)
    assert looked.types == {"a": "number", "b": "text", "c": "number", "d": "number"}


def test_each_file_may_have_an_encoding_and_compression_of_its_own(tmp_path):
    files = {
        "a.csv": "n,t\n1,ü\n".encode(),
        "b.csv": "n,t\n2,ü\n".encode("cp1252"),
        "c.csv.gz": gzip.compress("n,t\n3,ü\n".encode("utf-16")),
    }
    looked = read(tmp_path, files)
    assert looked.frame.values.tolist() == [[1, "ü"], [2, "ü"], [3, "ü"]]
    assert "cp1252" in looked.found.table.notes[0]


def test_one_letter_of_another_encoding_at_the_end_of_a_large_file_is_found(tmp_path):
    looked = read(tmp_path, {"a.csv": b"n,t\n" + b"1,x\n" * 400_000 + b"2,\xfc\n"})
    assert looked.frame["t"].tolist()[-1] == "ü"
    assert looked.found.dialect["encoding"] == "cp1252"


def test_what_a_person_says_of_the_reading_goes_before_what_is_told(tmp_path):
    reading = TableReading(delimiter="x", decimal=",", encoding="cp1252", header=False, quote="'")
    looked = read(tmp_path, {"a.csv": "1,5x'ü'\n2x'axb'\n".encode("cp1252")}, reading)
    assert looked.frame.values.tolist() == [[1.5, "ü"], [2.0, "axb"]]


ASKED = {
    "text": (["00501", "7", ""], ["00501", "7", None]),
    "integer": (["1.000", "-7", ""], [1000, -7, None]),
    "number": (["1.234,5", "7", ""], [1234.5, 7, None]),
    "boolean": (["yes", "0", ""], [True, False, None]),
    "date": (["31.01.2026", "1.2.2026", ""], [pandas.Timestamp("2026-01-31"), pandas.Timestamp("2026-02-01"), None]),
    "datetime": (
        ["2026-01-31T10:30:00+01:00", "2026-01-31T10:30:00Z", ""],
        ["2026-01-31T09:30:00+00:00", "2026-01-31T10:30:00+00:00", None],
    ),
}


@pytest.mark.parametrize(("type_", "texts", "values"), [(type_, *pair) for type_, pair in ASKED.items()], ids=ASKED)
def test_a_column_has_the_type_that_a_person_gives_it(tmp_path, type_, texts, values):
    content = "n;c\n" + "".join(f"1;{text}\n" for text in texts)
    looked = read(tmp_path, {"a.csv": content.encode()}, TableReading(decimal=",", types={"c": type_}))
    assert looked.types["c"] == type_
    got = [None if pandas.isna(value) else value for value in looked.frame["c"]]
    assert got == [pandas.Timestamp(value) if type_ == "datetime" and value else value for value in values]


@pytest.mark.parametrize("type_", ["integer", "number", "boolean", "date", "datetime"])
def test_a_value_of_another_type_is_refused_with_file_and_row(tmp_path, type_):
    good = {"integer": "1", "number": "1.5", "boolean": "no", "date": "2026-01-01", "datetime": "2026-01-01 10:00"}[type_]
    files = {"a.csv": f"n,c\n1,{good}\n".encode(), "b.csv": f"n,c\n1,{good}\n2,\n3,oops\n".encode()}
    with pytest.raises(SettingsError, match=r"“oops” in row 3 of “b\.csv” is not") as refused:
        read(tmp_path, files, TableReading(types={"c": type_}))
    assert refused.value.field == "column"


@pytest.mark.parametrize("mark", ["/", "-"])
def test_dates_that_can_be_read_in_two_ways_are_not_guessed(tmp_path, mark):
    def dates(folder: str, *days: str) -> list[int]:
        content = "\n".join(["n,d", *(f"1,{day}/2026" for day in days), ""]).replace("/", mark).encode()
        return read(tmp_path / folder, {"a.csv": content}, TableReading(types={"d": "date"})).frame["d"].dt.month.tolist()

    with pytest.raises(SettingsError, match="day or with the month first"):
        dates("either", "03/04")
    assert dates("day first", "03/04", "31/05") == [4, 5]
    assert dates("month first", "03/04", "05/31") == [3, 5]


def test_long_whole_numbers_beside_missing_ones_are_warned_of_until_text(tmp_path):
    content = {"a.jsonl": b'{"id": 9007199254740993, "key": 9007199254740995}\n{"id": null, "key": 9007199254740997}\n'}
    notes = read(tmp_path, content).found.table.notes
    assert [note for note in notes if "digits" in note] == [
        "Long whole numbers lose their last digits beside missing ones: “id” (9007199254740993). To keep them, register it as text."
    ]
    looked = read(tmp_path / "text", content, TableReading(types={"id": "text"}))
    assert looked.frame["id"][0] == "9007199254740993"
    assert not [note for note in looked.found.table.notes if "digits" in note]


def test_long_whole_numbers_of_a_csv_that_is_converted_are_warned_of_too(tmp_path):
    content = {"a.csv": b"id;n\n9007199254740993;1,5\n;2,5\n"}
    assert "“id” (9007199254740993)" in read(tmp_path, content).found.table.notes[0]
    assert not read(tmp_path / "text", content, TableReading(types={"id": "text"})).found.table.notes


def test_leading_zeros_are_warned_of_until_a_person_says_text(tmp_path):
    content = b"zip;n\n00501;1\n10115;2\n"
    looked = read(tmp_path, {"a.csv": content})
    assert looked.found.table.leading_zeros == (("zip", "00501"),)
    assert looked.found.table.notes == (
        "Leading zeros are lost in 1 column read as numbers: “zip” (00501). To keep them, register it as text.",
    )
    looked = read(tmp_path / "2", {"a.csv": content}, TableReading(types={"zip": "text"}))
    assert looked.frame["zip"].tolist() == ["00501", "10115"]
    assert looked.found.table.notes == ()


@pytest.mark.parametrize("delimiter", [b",", b";"])
def test_columns_of_one_name_are_called_as_pandas_calls_them(tmp_path, delimiter):
    looked = read(tmp_path, {"a.csv": b"x,x,\n1,2,3\n".replace(b",", delimiter)})
    assert looked.types == {"x": "integer", "x.1": "integer", "Unnamed: 2": "integer"}
    assert looked.found.table.notes[0].startswith("Columns have one name: the second “x” is “x.1” here")
    assert looked.found.table.notes[1].startswith("Columns without a name are called “Unnamed: 2”")


# ---- any table in any dialect ----------------------------------------------------------------------------------------------------

WORDS = st.text("abäöüßéñ ;,|\t\"'\n.0-=#", max_size=12)
ROWS = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.floats(-1e9, 1e9).map(lambda n: round(n, 3)), WORDS), min_size=3, max_size=20)


@pytest.mark.slow
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    header=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
    told=st.booleans(),
)
def test_any_table_in_any_dialect_is_read_back_as_its_values(
    tmp_path_factory, rows, delimiter, decimal, quoting, encoding, header, line_end, packed, told
):
    names = ["Nummer", "Größe", "Wort"]
    rows = [(number, size, f"x{word.strip()}") for number, size, word in rows]

    def write(delimiter: str, decimal: str, *, header: bool, line_end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
        target = io.StringIO(newline="")
        writer = csv.writer(target, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
        writer.writerows([names] if header else [])
        writer.writerows((number, f"{size:.3f}".replace(".", decimal), word) for number, size, word in rows)
        return target.getvalue()

    if delimiter == ",":
        decimal = "."
    content = write(delimiter, decimal, header=header, line_end=line_end, quoting=quoting).encode(encoding)
    given_ = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "header": header} if told else {}
    looked = read(tmp_path_factory.mktemp("t"), {"t.csv": gzip.compress(content) if packed else content}, TableReading(**given_))
    expected = as_pandas_reads(write(",", ".", header=True))
    if not header:
        expected.columns = ["Column1", "Column2", "Column3"]
        looked.frame.columns = expected.columns
    pandas.testing.assert_frame_equal(looked.frame, expected)


# ---- JSON Lines ------------------------------------------------------------------------------------------------------------------


def test_json_lines_are_a_table_whose_texts_stay_texts(tmp_path):
    rows = [
        {"id": 9007199254740993, "zip": "00501", "x": 1, "ok": True, "tags": ["a", {"b": "ü"}], "big": 2**70, "when": "2026-01-02"},
        {"id": 2, "zip": "7", "x": 2.5, "ok": None, "more": {"k": 1}},
    ]
    content = "\n".join(map(json.dumps, rows)) + "\n\n" + '{"id": 3, "x": NaN}'
    looked = read(tmp_path, {"a.jsonl": b"\xef\xbb\xbf" + content.encode()})
    assert looked.types == {
        "id": "integer", "zip": "text", "x": "number", "ok": "boolean", "tags": "text", "big": "text", "when": "text", "more": "text",
    }  # fmt: skip
    assert looked.frame["id"].tolist() == [9007199254740993, 2, 3]
    assert looked.frame["tags"][0] == '["a", {"b": "ü"}]'
    assert looked.frame["big"][0] == str(2**70)
    assert looked.frame["x"].isna().tolist() == [False, False, True]
    assert looked.found.table.notes[0] == "2 columns of lists or objects became JSON text: “tags”, “more”."


def test_json_lines_of_several_files_have_the_keys_of_all(tmp_path):
    files = {"a.jsonl": b'{"a": 1}\n{"a": 2}\n', "b.jsonl.gz": gzip.compress(b'{"b": "x", "a": "7"}\n')}
    looked = read(tmp_path, files, TableReading(types={"a": "integer"}))
    assert looked.frame["a"].tolist() == [1, 2, 7]
    assert looked.frame["b"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize("line", [b'{"a": 1', b"[1, 2]", b'{"a": "\\ud800"}', b'{"a": "' + b"\xff" + b'"}', b"[" * 100_000])
def test_a_line_that_is_no_json_object_is_refused_by_its_number(tmp_path, line):
    with pytest.raises(IntakeError, match=r"Line 2 of “a.jsonl” is n|is not .* text"):
        read(tmp_path, {"a.jsonl": b'{"a": 1}\n' + line + b"\n"}, TableReading(encoding="utf-8"))


# ---- Parquet ---------------------------------------------------------------------------------------------------------------------


def parquet_bytes(table: pyarrow.Table) -> bytes:
    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()


def test_a_plain_parquet_file_stays_the_file_it_is(tmp_path):
    times = [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)]
    table = pyarrow.table(
        {"n": [1], "t": ["x"], "d": [datetime.date(2026, 1, 1)], "w": pyarrow.array(times, pyarrow.timestamp("us", "UTC"))}
    )
    looked = read(tmp_path, {"a.parquet": parquet_bytes(table)})
    assert (looked.found.converted, looked.types) == (False, {"n": "integer", "t": "text", "d": "date", "w": "datetime"})


def test_parquet_of_uneven_types_gets_one_type_a_column(tmp_path):
    first = pyarrow.table({
        "i": pyarrow.array([1, 2], pyarrow.int32()), "f": pyarrow.array([1, None], pyarrow.int64()),
        "t": pyarrow.array(["a", "b"]).dictionary_encode(), "w": pyarrow.array([0, 1], pyarrow.timestamp("ms", "Europe/Berlin")),
    })  # fmt: skip
    second = pyarrow.table({
        "i": pyarrow.array([2**40], pyarrow.int64()), "f": pyarrow.array([0.5]), "t": pyarrow.array(["c"]),
        "w": pyarrow.array([2], pyarrow.timestamp("us", "UTC")),
    })  # fmt: skip
    looked = read(tmp_path, {"a.parquet": parquet_bytes(first), "b.parquet": parquet_bytes(second)})
    assert looked.types == {"i": "integer", "f": "number", "t": "text", "w": "datetime"}
    assert looked.frame["i"].tolist() == [1, 2, 2**40]
    assert looked.frame["t"].tolist() == ["a", "b", "c"]
    assert looked.frame["w"].dt.microsecond.tolist() == [0, 1000, 2]


def test_parquet_of_nested_types_becomes_json_text_and_says_so(tmp_path):
    table = pyarrow.table({"id": [1, 2], "tags": [["a", "ü"], None], "who": [{"name": "Ann", "day": datetime.date(2026, 1, 1)}, None]})
    looked = read(tmp_path, {"a.parquet": parquet_bytes(table)})
    assert looked.frame["tags"].tolist()[0] == '["a", "ü"]'
    assert json.loads(looked.frame["who"][0]) == {"name": "Ann", "day": "2026-01-01"}
    assert looked.frame["who"].isna().tolist() == [False, True]
    assert looked.found.table.notes == ("2 columns of lists or objects became JSON text: “tags”, “who”.",)


def test_decimals_are_numbers_and_what_that_rounds_is_said(tmp_path):
    short, long = decimal.Decimal("12.50"), decimal.Decimal("1234567890.123456789")
    table = pyarrow.table({"a": pyarrow.array([short], pyarrow.decimal128(38, 9)), "b": pyarrow.array([long], pyarrow.decimal128(38, 9))})
    looked = read(tmp_path, {"a.parquet": parquet_bytes(table)})
    assert looked.frame.values.tolist() == [[12.5, 1234567890.1234567]]
    assert any(note.startswith("Decimals of more than 15 digits are rounded in “b”") for note in looked.found.table.notes)
    looked = read(tmp_path / "2", {"a.parquet": parquet_bytes(table)}, TableReading(types={"b": "text"}))
    assert looked.frame["b"].tolist() == ["1234567890.123456789"]


def test_the_keys_of_hive_folders_are_columns(tmp_path):
    one = parquet_bytes(pyarrow.table({"n": [1]}))
    files = {
        "year=2025/city=New%20York/part.parquet": one, "year=2026/city=__HIVE_DEFAULT_PARTITION__/part.parquet": one, "_SUCCESS": b"",
        "year=2026/city=B/.part.parquet.crc": b"crc", "year=2026/city=B/part.parquet": one,
    }  # fmt: skip
    looked = read(tmp_path, files)
    assert looked.types == {"n": "integer", "year": "integer", "city": "text"}
    assert looked.frame["year"].tolist() == [2025, 2026, 2026]
    assert looked.frame["city"].fillna("-").tolist() == ["New York", "B", "-"]
    assert looked.files[0] == "year=2025/city=New%20York/part.parquet.parquet"


def test_an_index_column_of_pandas_is_a_column_like_others(tmp_path):
    table = pyarrow.Table.from_pandas(pandas.DataFrame({"x": [1, 2]}, index=pandas.Index([7, 8], name="id")))
    looked = read(tmp_path, {"a.parquet": parquet_bytes(table)})
    assert looked.types == {"x": "integer", "id": "integer"}
    assert "index" in looked.found.table.notes[0]


# ---- workbooks -------------------------------------------------------------------------------------------------------------------


def workbook(sheets: Mapping[str, list[list[Any]]], edit: Any = None) -> bytes:
    """An Excel workbook; `edit(book, sheets)` may add what cells can't say."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True, "default_date_format": "yyyy-mm-dd"}) as book:
        made = []
        for name, rows in sheets.items():
            made.append(sheet := book.add_worksheet(name))
            for number, row in enumerate(rows):
                for place, value in enumerate(row):
                    if isinstance(value, str) and not value.startswith("="):
                        sheet.write_string(number, place, value)
                    elif value is not None:
                        sheet.write(number, place, value)
        if edit:
            edit(book, made)
    return content.getvalue()


DAY, TIME = datetime.datetime(2026, 1, 31), datetime.datetime(2026, 1, 31, 10, 30)


def test_a_workbook_is_read_as_pandas_reads_it(tmp_path):
    rows = [
        ["id", "size", "name", "day", "when", "ok", "mixed"],
        [1, 1.5, "Ann", DAY, TIME, True, "x"],
        [2, None, "Bob", DAY, DAY, False, 7],
    ]
    content = workbook({"Customers": rows})
    looked = read(tmp_path, {"a.xlsx": content})
    assert looked.types == {
        "id": "integer", "size": "number", "name": "text", "day": "date", "when": "datetime", "ok": "boolean", "mixed": "text",
    }  # fmt: skip
    expected = pandas.read_excel(io.BytesIO(content), engine="calamine")
    expected["mixed"] = expected["mixed"].astype(str)
    pandas.testing.assert_frame_equal(looked.frame, expected, check_dtype=False)
    assert (looked.files, looked.found.source_format, looked.found.dialect["sheet"]) == (["a.xlsx.parquet"], "excel", "Customers")


def test_a_title_empty_rows_and_empty_columns_are_passed_over_and_said(tmp_path):
    rows = [[], ["Report 2026"], [], [None, "id", None, "name"], [None, 1, None, "Ann"], [], [None, 2, None, "Bob"]]
    looked = read(tmp_path, {"a.xlsx": workbook({"S": rows})})
    assert looked.frame.to_dict("list") == {"id": [1, 2], "name": ["Ann", "Bob"]}
    assert looked.found.table.notes == (
        "1 row above the header of sheet “S” of “a.xlsx” is passed over.",
        "1 empty row of sheet “S” of “a.xlsx” is passed over.",
    )


def test_formulas_give_values_and_merged_cells_are_said(tmp_path):
    def edit(book: Any, sheets: Any) -> None:
        sheets[0].write_formula(1, 1, "=A2*2", None, 14)
        sheets[0].write_formula(2, 1, "=A3*2", None, 16)
        sheets[0].write_formula(3, 1, "=1/0", None, "#DIV/0!")
        sheets[0].merge_range(1, 2, 2, 2, "both")

    looked = read(tmp_path, {"a.xlsx": workbook({"S": [["a", "b", "c"], [7], [8], [9, None, "one"]]}, edit)})
    assert looked.frame["a"].tolist() == [7, 8, 9]
    assert looked.frame["b"].tolist()[:2] == [14, 16]
    assert pandas.isna(looked.frame["b"][2])
    assert looked.frame["c"].fillna("-").tolist() == ["both", "-", "one"]
    assert "1 group of merged cells" in looked.found.table.notes[0]


def test_one_of_several_sheets_is_read_or_those_that_a_person_names(tmp_path):
    content = workbook({"Empty": [], "A": [["x"], [1]], "B": [["x"], [2]], "Z": [["y"], [3]]})
    looked = read(tmp_path, {"a.xlsx": content})
    assert (looked.frame["x"].tolist(), looked.found.sheets) == ([1], ("A", "B", "Z"))
    assert looked.found.table.notes == ("Only sheet “A” is read; there are “B”, “Z” too.",)
    looked = read(tmp_path / "2", {"a.xlsx": content}, TableReading(sheets=("A", "B")))
    assert (looked.frame["x"].tolist(), looked.files) == ([1, 2], ["a.xlsx.01-A.parquet", "a.xlsx.02-B.parquet"])
    with pytest.raises(SettingsError, match="has no sheet “Q”") as refused:
        read(tmp_path / "3", {"a.xlsx": content}, TableReading(sheets=("Q",)))
    assert refused.value.field == "sheet"
    with pytest.raises(IntakeError, match="has other columns"):
        read(tmp_path / "4", {"a.xlsx": content}, TableReading(sheets=("A", "Z")))


def test_leading_zeros_of_a_workbooks_texts_stay_when_a_person_says_text(tmp_path):
    content = workbook({"S": [["zip", "n"], ["00501", 1], ["10115", 2]]})
    assert read(tmp_path, {"a.xlsx": content}).found.table.leading_zeros == (("zip", "00501"),) or (
        read(tmp_path / "1", {"a.xlsx": content}).types["zip"] == "text"
    )
    looked = read(tmp_path / "2", {"a.xlsx": content}, TableReading(types={"zip": "text", "n": "text"}))
    assert looked.frame.values.tolist() == [["00501", "1"], ["10115", "2"]]


def test_a_workbook_without_a_header_is_read_when_a_person_says_so(tmp_path):
    looked = read(tmp_path, {"a.xlsx": workbook({"S": [[1, 2.5], [3, 4]]})}, TableReading(header=False))
    assert looked.frame.to_dict("list") == {"Column1": [1, 3], "Column2": [2.5, 4]}


def test_an_open_document_sheet_is_read(tmp_path):
    cells = "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in (
        ['<table:table-cell office:value-type="string"><text:p>n</text:p></table:table-cell>'] * 1,
        ['<table:table-cell office:value-type="float" office:value="7"><text:p>7</text:p></table:table-cell>'],
    ))  # fmt: skip
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text"))
    body = f'<office:body><office:spreadsheet><table:table table:name="S">{cells}</table:table></office:spreadsheet></office:body>'
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        manifest = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
        archive.writestr("META-INF/manifest.xml", f"<manifest:manifest {manifest}></manifest:manifest>")
        archive.writestr("content.xml", f"<office:document-content {spaces}>{body}</office:document-content>")
    assert read(tmp_path, {"a.ods": content.getvalue()}).frame.to_dict("list") == {"n": [7]}


# ---- bad input -------------------------------------------------------------------------------------------------------------------

PARQUET = parquet_bytes(pyarrow.table({"n": [1, 2, 3]}))
ZEROS = gzip.compress(b"a;b\n" + b"1;2\n" * 1000)
REFUSED: dict[str, tuple[dict[str, bytes], TableReading, str]] = {
    "ragged rows": ({"a.csv": b"x;y\n1;2\n3\n" + b"5;6\n" * 99}, TableReading(), "“a.csv” has 1 field in record 3, and its header has 2"),
    "a row too long": ({"a.csv": b"x\ty\n1\t2\n" * 9 + b"1\t2\t3\n"}, TableReading(), "“a.csv” has 3 fields in record"),
    "an empty file": ({"a.csv": b""}, TableReading(), "“a.csv” is empty"),
    "an empty file among others": ({"a.csv": b"x;y\n1;2\n", "b.csv": b""}, TableReading(), "“b.csv” is empty"),
    "a header only": ({"a.csv": b"x;y\n"}, TableReading(), "There are no rows"),
    "another header": ({"a.csv": b"x;y\n1;2\n", "b.csv": b"x;z\n1;2\n"}, TableReading(), "“b.csv” has other columns than “a.csv”"),
    "another width": ({"a.csv": b"1.5,2\n1,2\n", "b.csv": b"1,2,3\n"}, TableReading(), "“b.csv” has 3 fields, and “a.csv” has 2"),
    "half a gzip": ({"a.csv.gz": ZEROS[:-20]}, TableReading(), "“a.csv.gz” is a damaged or half gzip file"),
    "a damaged gzip": ({"a.csv.gz": ZEROS[:40] + b"\xff" * 20 + ZEROS[60:]}, TableReading(), "“a.csv.gz” is a damaged or half gzip file"),
    "half a Parquet file": ({"a.parquet": PARQUET[:-9]}, TableReading(), "“a.parquet” is not a Parquet file, or it is damaged"),
    "half a workbook": ({"a.xlsx": workbook({"S": [["x"], [1]]})[:-700]}, TableReading(), "“a.xlsx” is a damaged or protected workbook"),
    "a workbook with nothing in it": ({"a.xlsx": workbook({"S": []})}, TableReading(), "“a.xlsx” holds no sheet with values"),
    "a workbook with a header only": ({"a.xlsx": workbook({"S": [["x", "y"]]})}, TableReading(), "There are no rows below the header"),
    "NUL characters": ({"a.csv": b"x;y\n1;\0\n"}, TableReading(), "“a.csv” contains NUL characters"),
    "a binary file": ({"a.csv": bytes(range(256)) * 20}, TableReading(), "“a.csv” "),
    "a zip called CSV": ({"a.csv": b"PK\x03\x04" + bytes(60)}, TableReading(), "“a.csv” is a zip archive, not a table"),
    "an encoding that lies": ({"a.csv": b"x;y\n1;\xfc\n"}, TableReading(encoding="utf-8"), "“a.csv” is not utf-8 text"),
    "half a UTF-16 text": ({"a.csv": "x;y\n1;2\n".encode("utf-16")[:-1]}, TableReading(), "“a.csv” is not utf-16 text"),
    "a JSON array": ({"a.json": b'[\n {"a": 1}]'}, TableReading(), "“a.json” is a JSON array, not JSON Lines"),
    "kinds mixed": ({"a.csv": b"x\n1\n", "b.parquet": PARQUET}, TableReading(), "“b.parquet” is Parquet, and “a.csv” is CSV"),
    "texts and numbers in Parquet": (
        {"a.parquet": PARQUET, "b.parquet": parquet_bytes(pyarrow.table({"n": ["x"]}))}, TableReading(),
        "Column “n” is string in “b.parquet” and int64 in “a.parquet”",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "reading", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_by_file_and_reason(tmp_path, files, reading, words):
    with pytest.raises(IntakeError) as refused:
        read(tmp_path, files, reading)
    assert refused.value.message.startswith(words)
    assert refused.value.hint


WRONG = [
    ("delimiter", TableReading(delimiter="ab")),
    ("delimiter", TableReading(delimiter=",", decimal=",")),
    ("decimal", TableReading(decimal="x")),
    ("quote", TableReading(quote="\n")),
    ("encoding", TableReading(encoding="klingon")),
    ("encoding", TableReading(encoding="base64")),
    ("column", TableReading(types={"a": "word"})),
    ("column", TableReading(types={"nothing": "text"})),
]


@pytest.mark.parametrize(("field", "reading"), WRONG)
def test_a_wrong_option_of_the_reading_is_refused_at_its_field(tmp_path, field, reading):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.csv").write_bytes(b"a;b\n1;2\n")
    (tmp_path / FILES).write_bytes(b"".join(map(manifest_line, collect_files(tmp_path / "root", "**"))))
    with pytest.raises(SettingsError) as refused:
        tables.describe(tmp_path / "root", tmp_path, reading)
    assert refused.value.field == field


def test_a_bomb_called_workbook_is_refused_before_it_is_read(tmp_path, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(70 << 20))
    with pytest.raises(IntakeError, match="unpacks to more than 64 MB"):
        read(tmp_path, {"a.xlsx": content.getvalue()})
    monkeypatch.setattr(spreadsheets, "_SMALL_ENOUGH", 1000)
    with pytest.raises(IntakeError, match="unpacks to more than"):
        read(tmp_path / "2", {"a.xlsx": content.getvalue()})


def test_a_cell_of_two_megabytes_is_kept_whole(tmp_path):
    cell = ("é;" * 3_000 + "\n") * 240
    assert len(cell.encode()) > 2 << 20
    looked = read(tmp_path, {"a.csv": f'n;t\n1;"{cell}"\n2;y\n'.encode()})
    assert looked.frame["t"].tolist() == [cell, "y"]


def test_two_thousand_columns_are_read(tmp_path):
    header = ";".join(f"c{number}" for number in range(2_000))
    row = ";".join("0,5" for _ in range(2_000))
    looked = read(tmp_path, {"a.csv": f"{header}\n{row}\n{row}\n".encode()})
    assert looked.frame.shape == (2, 2_000)
    assert set(looked.types.values()) == {"number"}
    assert float(looked.frame.sum().sum()) == 2_000

"""Tabular datasets: the rows that mini-batches get are those that pandas reads of the whole, each once, with the same types."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas
import pyarrow
import pytest
from backports import zstd
from pyarrow import parquet

from services.domain import DatasetFile, TableReading
from services.errors import IntakeError
from services.intake import tables, tabular
from services.local.batching import cut, manifest_by_keys, plan_mini_batches
from services.local.run_folder import PlannedDataset
from services.local.worker_inputs import FileInput, TabularInput
from services.settings import ParallelRunSettings
from services.storage.manifest import manifest_line


@dataclass
class Looked:
    """Files in a folder, looked at as a tabular dataset."""

    table: tabular.Table
    dataset: PlannedDataset

    def mini_batches(self, **settings: object) -> Iterator[pandas.DataFrame]:
        """As a worker gives them to run()."""
        given = ParallelRunSettings(**settings)
        dataset = self.dataset
        if given.partition_keys:
            by_keys = manifest_by_keys(Path(dataset.manifest), dataset.partition_format, given.partition_keys)
            dataset = PlannedDataset(**vars(dataset) | {"manifest": str(by_keys)})
        with open(dataset.manifest, "rb") as manifest:
            source = TabularInput(dataset.for_worker(), manifest)
            for batch in cut([dataset], given):
                frame = source.mini_batch(source.entries(batch.offset, batch.length))
                assert len(frame) == batch.item_count
                assert frame.index.equals(pandas.RangeIndex(len(frame)))
                yield frame


@pytest.fixture
def look_at(tmp_path):
    """`look_at({"a.csv": b"..."})` writes the files and looks at them."""

    def look(files: dict[str, bytes], partition_format: str = "") -> Looked:
        root, folder = tmp_path / "root", tmp_path / "lists"
        folder.mkdir()
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        stats = {name: (root / name).stat() for name in sorted(files)}
        lines = [manifest_line(DatasetFile(name, stat.st_size, stat.st_mtime_ns)) for name, stat in stats.items()]
        (folder / tabular.FILES).write_bytes(b"".join(lines))
        table = tabular.inspect_table(root, folder)
        manifest = str(folder / tabular.MANIFEST)
        return Looked(table, PlannedDataset("t:1", str(root), manifest, table.row_count, table.format, table.columns, partition_format))

    return look


def parquet_file(frame: pandas.DataFrame | pyarrow.Table, rows_in_a_group: int = 2, **options: object) -> bytes:
    content = io.BytesIO()
    table = frame if isinstance(frame, pyarrow.Table) else pyarrow.Table.from_pandas(frame)
    parquet.write_table(table, content, row_group_size=rows_in_a_group, **options)
    return content.getvalue()


# ---- CSV: the same rows and types as pandas ----------------------------------------------------------------------------------------

MANY = "".join(f"{n},{n / 4},name {n}\n" for n in range(500))
CSV = {
    "numbers and texts": ["a,b,c\n", MANY],
    "lines that end as on Windows": ["a,b\r\n", "1,x\r\n2,y\r\n"],
    "lines that end as on old Macs": ["a,b\r", "1,x\r2,y\r"],
    "no newline at the end": ["a,b\n", "1,x\n2,y", "3,z", "4,w"],
    "newlines and commas in quotes": ["a,b\n", '1,"one\ntwo\r\nthree"\n2,"a, ""b"""\n', '3,"\n"\n' * 200],
    "a header with a newline in quotes": ['"a\nb",c\n', "1,2\n"],
    "quotes amid an unquoted field": ["a,b\n", '5" pipe,1\n6",2\n', '"x"y,3\n'],
    "unicode": ["ü,日本\n", "é,ß\n😀,\u2028\n"],
    "empty fields": ["a,b,c\n", ",,\n,1,\nx,,\n"],
    "one column": ["a\n", "1\n2\n3\n"],
    "one column with nothing in some rows": ["a\n", '1\n""\n3\n'],
    "blank lines": ["a,b\n", "\n1,2\n\n  \n3,4\n\t\n\n", "\n\n"],
    "columns of one name, and of none": ["a,a,,\n", "1,2,3,4\n"],
    "a file with the header only": ["a,b\n", "1,2\n", "", "3,4\n"],
    "a missing value in a later file": ["a,b\n", "1,2\n" * 300, "3,\n"],
    "a fraction in a later file": ["a,b\n", "1,2\n" * 300, "3,.5\n"],
    "a text in a later file": ["a,b\n", "001,2\n" * 300, "x,2\n"],
    "nothing in an earlier file": ["a,b\n", ",\n" * 300, "1,True\n"],
    "True and False": ["a,b\n", "True,1\nFALSE,2\n", "true,3\n"],
    "True, False and nothing": ["a,b\n", "True,1\n" * 300, ",3\n", "False,4\n"],
    "True and a number": ["a,b\n", "True,1\n", "1,3\n"],
    "True and a text": ["a,b\n", "True,1\n", ",2\n", "maybe,3\n"],
    "leading zeros and signs": ["a,b\n", "007,+1\n-08,1\n"],
    "words for a missing value": ["a,b\n", "NULL,n/a\nNaN,1\nNone,2\n"],
    "numbers beyond 63 bits": ["a,b,c\n", "1,1,-1\n", f"{2**63},{2**63},{2**63}\n", "2,.5,3\n"],
    "spaces and formulas": ["a,b\n", " x ,=1+1\n@y,-2+3\n"],
    "what looks like a number": ["a,b,c\n", "1e5,0x10,1_000\n", "inf,7,8\n"],
}


@pytest.mark.parametrize("size", ["1", "100", "1kb", "1MB", None])
@pytest.mark.parametrize("texts", CSV.values(), ids=CSV)
def test_the_mini_batches_are_what_pandas_reads_of_the_whole(look_at, texts, size):
    header, *bodies = texts
    looked = look_at({f"{number:03}.csv": (header + body).encode() for number, body in enumerate(bodies)})
    joined = "".join(body if body.endswith(("\n", "\r")) else f"{body}\n" for body in bodies if body)
    whole = pandas.read_csv(io.StringIO(header + joined, newline=""), low_memory=False)
    frames = list(looked.mini_batches(mini_batch_size=size))
    assert all(frame.dtypes.equals(whole.dtypes) for frame in frames)
    pandas.testing.assert_frame_equal(pandas.concat(frames, ignore_index=True), whole)
    assert looked.table.row_count == len(whole)
    assert [name for name, _ in looked.table.columns] == list(whole.columns)


@pytest.mark.parametrize("texts", CSV.values(), ids=CSV)
def test_types_are_those_of_the_whole_however_the_parts_come(look_at, texts, monkeypatch):
    monkeypatch.setattr(tabular, "_TYPED_AT_ONCE", 1)
    test_the_mini_batches_are_what_pandas_reads_of_the_whole(look_at, texts, "1MB")


def test_a_missing_value_is_what_this_pandas_takes_for_one():
    assert set(tabular.MISSING) == pandas._libs.parsers.STR_NA_VALUES


def test_a_byte_order_mark_is_no_part_of_the_first_column(look_at):
    looked = look_at({"a.csv": b"\xef\xbb\xbfa,b\n1,2\n", "b.csv": b"a,b\n3,4\n"})
    assert [frame.values.tolist() for frame in looked.mini_batches()] == [[[1, 2]], [[3, 4]]]
    assert looked.table.columns == (("a", "int64"), ("b", "int64"))


def test_a_record_longer_than_a_block_is_found_whole(look_at):
    long = "x\n" * 1_000_000
    looked = look_at({"a.csv": f'a,b\n1,"{long}"\n2,y\n'.encode() + b"3,z\n" * 300_000})
    frames = list(looked.mini_batches(mini_batch_size="100kb"))
    assert frames[0]["b"].tolist() == [long]
    assert sum(map(len, frames)) == looked.table.row_count == 300_002


# ---- CSV: what is refused ------------------------------------------------------------------------------------------------------------

REFUSED = {
    "another column": (
        {"a.csv": b"x,y\n1,2\n", "b.csv": b"x,z\n1,2\n"},
        "“b.csv” has other columns than “a.csv”: it lacks “y” and it has “z”.",
    ),
    "another order": (
        {"a.csv": b"x,y\n1,2\n", "b.csv": b"y,x\n1,2\n"},
        "“b.csv” has other columns than “a.csv”: they are in another order.",
    ),
    "a column more": ({"a.csv": b"x\n1\n", "b.csv": b"x,z\n1,2\n"}, "“b.csv” has other columns than “a.csv”: it has “z”."),
    "a field too many": ({"a.csv": b"x,y\n1,2\n1,2,3\n"}, "“a.csv” has 3 fields in record 3, and its header has 2."),
    "a field too few": ({"a.csv": b"x,y\n1,2\n" * 9 + b"1\n"}, "“a.csv” has 1 field in record 19, and its header has 2."),
    "a field too few after quotes": ({"a.csv": b'x,y\n"1\n",2\n1\n'}, "“a.csv” has 1 field in record 3, and its header has 2."),
    "an empty file": ({"a.csv": b"x\n1\n", "b.csv": b""}, "“b.csv” is empty."),
    "a blank file": ({"a.csv": b"\n \n"}, "“a.csv” is empty."),
    "no rows": ({"a.csv": b"x\n", "b.csv": b"x\n\n"}, "There are no rows in 2 files."),
    "an open quote": ({"a.csv": b'x,y\n1,2\n3,"4\n5,6\n'}, "“a.csv” has a quote in record 3 that is never closed."),
    "an open quote in the header": ({"a.csv": b'"x,y\n1,2\n'}, "“a.csv” has a quote that is never closed."),
    "bytes that are not UTF-8": ({"a.csv": b"x,y\n1,2\n3,\xff\n"}, "“a.csv” has a byte that is not UTF-8, at about record 3."),
    "a binary file": ({"a.csv": b"x,y\n1,\0\n"}, "“a.csv” contains NUL characters: it is not text."),
    "text among Parquet": ({"a.parquet": parquet_file(pandas.DataFrame({"x": [1]})), "b.csv": b"x\n1\n"}, "“b.csv” is not a Parquet file"),
    "Parquet in name only": ({"a.parquet": b"x\n1\n"}, "“a.parquet” is not a Parquet file"),
    "a damaged Parquet file": (
        {"a.parquet": parquet_file(pandas.DataFrame({"x": [1]}))[:-3]},
        "“a.parquet” is not a Parquet file, or it is damaged",
    ),
    "another type": (
        {"a.parquet": parquet_file(pandas.DataFrame({"x": [1]})), "b.parquet": parquet_file(pandas.DataFrame({"x": [1.5]}))},
        "Column “x” is double in “b.parquet” and int64 in “a.parquet”.",
    ),
    "numbers of two widths": (
        {
            "a.parquet": parquet_file(pandas.DataFrame({"x": [1], "y": [1]}, dtype="int64")),
            "b.parquet": parquet_file(pandas.DataFrame({"x": [1], "y": [1]}, dtype="int32")),
        },
        "Column “x” is int32 in “b.parquet” and int64 in “a.parquet”, and 1 more of its columns differ.",
    ),
    "UTF-16": ({"a.csv": "x,y\n1,2\n".encode("utf-16")}, "“a.csv” is UTF-16 text."),
    "gzip": ({"a.csv": b"x\n1\n", "b.csv.gz": gzip.compress(b"x\n1\n")}, "“b.csv.gz” is compressed by gzip."),
    "zstd": ({"a.csv.zst": zstd.compress(b"x\n1\n")}, "“a.csv.zst” is compressed by zstd."),
    "a workbook": ({"a.xlsx": b"PK\x03\x04" + bytes(60)}, "“a.xlsx” is a zip archive or an Excel workbook."),
    "Parquet among text": ({"a.csv": b"x\n1\n", "b.parquet": parquet_file(pandas.DataFrame({"x": [1]}))}, "“b.parquet” is a Parquet file"),
    "semicolons": ({"a.csv": b"x;y\n1;2\n"}, "“a.csv” has its fields separated by semicolons, not by commas."),
    "semicolons and decimal commas": ({"a.csv": b"x;y\r\n1,5;2,5\r\n"}, "“a.csv” has its fields separated by semicolons, not by commas."),
    "tabs": ({"a.csv": b"x\ty\tz\n\n1\t2\t3\n"}, "“a.csv” has its fields separated by tabs, not by commas."),
}


@pytest.mark.parametrize(("files", "words"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_table_together_are_refused_by_name(look_at, files, words):
    with pytest.raises(IntakeError) as refused:
        look_at(files)
    assert refused.value.message.startswith(words)
    assert refused.value.hint


def test_a_refusal_crosses_from_the_process_that_looks(tmp_path):
    (tmp_path / "ü,\n.csv").write_bytes(b"x,y\n1\n")
    (tmp_path / tabular.FILES).write_bytes(manifest_line(DatasetFile("ü,\n.csv", 6, 0)))
    with pytest.raises(IntakeError, match="has 1 field in record 2"):
        tables.describe(tmp_path, tmp_path, TableReading())


def test_a_column_of_texts_with_semicolons_is_one_column(look_at):
    looked = look_at({"a.csv": b"note; free text\nplain\nwith; one\n"})
    assert looked.table.columns == (("note; free text", "str"),)


@pytest.mark.parametrize("rows", [3, pytest.param(20_000, marks=pytest.mark.slow)], ids=["few", "18 MB"])
@pytest.mark.parametrize("text", [b"x" * 900, b'"' + b"x" * 898 + b'"'], ids=["plain", "quoted"])
def test_lines_that_end_with_cr_alone_are_records(look_at, rows, text):
    looked = look_at({"a.csv": b"n,t\r" + (b"123,%b\r" % text) * rows + b"4,end"})
    assert looked.table.row_count == rows + 1
    assert looked.table.columns == (("n", "int64"), ("t", "str"))
    last = list(looked.mini_batches(mini_batch_size="1MB"))[-1]
    assert last.iloc[-1].tolist() == [4, "end"]


def test_line_ends_may_be_mixed_and_quoted(look_at):
    quoted = "\r" * 2_000_000  # more than a block of them
    looked = look_at({"a.csv": f'n,t\r1,"{quoted}"\r\n2,y\n3,"z\r\nz"\r'.encode()})
    frame = pandas.concat(looked.mini_batches())
    assert frame["n"].tolist() == [1, 2, 3]
    assert frame["t"].tolist() == [quoted, "y", "z\r\nz"]


# ---- what is said of a table -------------------------------------------------------------------------------------------------------

ZEROS = "Leading zeros are lost in 1 column read as numbers: “zip” (00501)."


@pytest.mark.parametrize(
    "content",
    [
        b"zip,n\n00501,1\n10115,2\n",
        b"n,zip\n1,10115\n2,00501",
        b'n,zip\r\n1,"00501"\r\n',
        b"n,zip\r1,00501\r",
        b"n,zip\n" + b"1,10115\n" * 900_000 + b"1,00501\n" + b"2,\n",
    ],
    ids=["first", "last", "quoted", "CR", "late and with a missing value"],
)
def test_leading_zeros_that_are_lost_are_said_with_an_example(look_at, content):
    (note,) = look_at({"a.csv": content}).table.notes
    assert note.startswith(ZEROS)
    assert note.endswith("To keep them, register it as text.")


def test_leading_zeros_that_stay_are_not_mentioned(look_at):
    looked = look_at({"a.csv": b'zip,time,share,text\n00501,00:15,0.5,"a,01"\nD-1,01:15,-0.5,b\n0,0,0,0\n'})
    assert looked.table.notes == ()
    assert dict(looked.table.columns)["zip"] == "str"


def test_an_index_that_pandas_wrote_is_said(look_at):
    frame = pandas.DataFrame({"x": [1, 2]}, index=[3, 4])
    (note,) = look_at({"a.parquet": parquet_file(frame)}).table.notes
    assert note.startswith("“__index_level_0__” is the index of the pandas DataFrame, and a column like others here")


def test_what_is_said_of_a_table_crosses_from_the_process_that_looks(tmp_path):
    content = b"zip,n\n00501,1\n"
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / tabular.FILES).write_bytes(manifest_line(DatasetFile("a.csv", len(content), 0)))
    (note,) = tables.describe(tmp_path, tmp_path, TableReading()).table.notes
    assert note.startswith(ZEROS)


# ---- Parquet -------------------------------------------------------------------------------------------------------------------------

DAYS = pandas.to_datetime(["2026-01-01", None, "2026-01-02"])
PARQUET = {
    "all kinds": [{"i": [1, 2, 3], "f": [0.5, 1, None], "t": ["a", None, "ü"], "b": [True, False, True], "d": DAYS}],
    "a missing integer in a later row group": [{"i": [1, 2, 3, 4, None]}],
    "a missing integer in a later file": [{"i": [1, 2]}, {"i": [3, None]}],
    "a missing truth in a later row group": [{"b": [True, False, True, None]}],
}


@pytest.mark.parametrize("statistics", [True, False], ids=["with statistics", "without"])
@pytest.mark.parametrize("tables", PARQUET.values(), ids=PARQUET)
def test_row_groups_are_what_pandas_reads_of_the_whole(look_at, tables, statistics):
    types = {"i": pyarrow.int64(), "f": pyarrow.float64(), "t": pyarrow.string(), "b": pyarrow.bool_(), "d": pyarrow.timestamp("us")}
    schema = pyarrow.schema([(name, types[name]) for name in tables[0]])
    parts = [pyarrow.Table.from_pydict(table, schema) for table in tables]
    looked = look_at({f"{n}.parquet": parquet_file(part, write_statistics=statistics) for n, part in enumerate(parts)})
    whole = pyarrow.concat_tables(parts).to_pandas()
    frames = list(looked.mini_batches(mini_batch_size=1))
    assert len(frames) == sum(-(-len(part) // 2) for part in parts)
    assert all(frame.dtypes.equals(whole.dtypes) for frame in frames)
    pandas.testing.assert_frame_equal(pandas.concat(frames, ignore_index=True), whole)
    assert dict(looked.table.columns) == {name: str(dtype) for name, dtype in whole.dtypes.items()}


def test_the_index_that_pandas_wrote_is_a_column_like_others(look_at):
    looked = look_at({"a.parquet": parquet_file(pandas.DataFrame({"x": [1, 2, 3]}, index=pandas.Index([7, 8, 9], name="id")))})
    assert [frame.to_dict("list") for frame in looked.mini_batches(mini_batch_size=1)] == [
        {"x": [1, 2], "id": [7, 8]},
        {"x": [3], "id": [9]},
    ]


def test_a_parquet_file_without_an_index_has_nothing_to_be_said(look_at):
    assert look_at({"a.parquet": parquet_file(pandas.DataFrame({"x": [1, 2]}))}).table.notes == ()


def test_row_groups_without_rows_are_passed_over(look_at):
    looked = look_at({"a.parquet": parquet_file(pandas.DataFrame({"x": [1]})), "b.parquet": parquet_file(pandas.DataFrame({"x": [1]})[:0])})
    assert [frame["x"].tolist() for frame in looked.mini_batches()] == [[1]]


# ---- the cut -------------------------------------------------------------------------------------------------------------------------


def test_a_mini_batch_is_about_so_many_bytes_of_one_file(look_at):
    lines = b"".join(b"%06d,text\n" % number for number in range(2_000))
    looked = look_at({"a.csv": b"n,t\n" + lines, "b.csv": b"n,t\n" + lines})
    frames = list(looked.mini_batches(mini_batch_size="10kb"))
    sizes = [12 * len(frame) for frame in frames]
    assert len(sizes) == 6
    assert all(10_240 - 12 - 256 <= size <= 10_240 for size in (*sizes[:2], *sizes[3:5]))
    assert [frame["n"][0] for frame in frames[:3]] == [frame["n"][0] for frame in frames[3:]]  # each file is cut by itself


def cut_of(looked, size):
    return plan_mini_batches([looked.dataset], ParallelRunSettings(mini_batch_size=size))


def test_the_cut_is_told_before_the_run(look_at):
    looked = look_at({"a.csv": b"n,t\n" + b"123456,text\n" * 20_000})
    found = cut_of(looked, "10kb")
    assert (found.item, found.item_count, found.each, found.notes) == ("row", 20_000, " of about 10 KB", ())
    assert found.mini_batch_count == len(list(looked.mini_batches(mini_batch_size="10kb")))
    assert cut_of(looked, None).mini_batch_count == 1


def test_small_files_make_small_mini_batches_and_the_cut_says_so(look_at):
    looked = look_at({f"{number}.csv": b"n,t\n" + b"1,2\n" * 250 for number in range(9)})
    assert (cut_of(looked, "1MB").mini_batch_count, cut_of(looked, "1MB").each) == (9, " of 1,000 bytes on average")


def test_a_parquet_file_that_can_not_be_cut_is_told_by_name(look_at):
    frame = pandas.DataFrame({"x": range(50_000)})
    single = parquet_file(frame, 100_000, compression="none", use_dictionary=False)
    two = parquet_file(frame, 25_000, compression="none", use_dictionary=False)
    (note,) = cut_of(look_at({"a.parquet": single, "b.parquet": two}), "10kb").notes
    assert note.startswith("The Parquet file a.parquet has a single row group and is one mini-batch of 39")
    assert note.endswith(" KB; 1 more file can't be cut as asked either.")


def test_a_csv_is_cut_no_finer_than_its_slices_and_the_cut_says_so(look_at):
    (note,) = cut_of(look_at({"a.csv": b"n,t\n" + b"123456,text\n" * 100}), 1).notes
    assert note == "The CSV file a.csv is cut into pieces of up to 264 bytes, and no finer."


def test_slices_that_do_not_follow_each_other_are_read_apart(look_at):
    looked = look_at({"a.csv": b"n,t\n" + b"".join(b"%06d,text\n" % number for number in range(2_000))})
    with open(looked.dataset.manifest, "rb") as manifest:
        lines = manifest.read().splitlines(keepends=True)
    chosen = [line for number, line in enumerate(lines) if number % 3]
    Path(looked.dataset.manifest).write_bytes(b"".join(chosen))
    (frame,) = looked.mini_batches()
    assert len(frame) == sum(json.loads(line)[5] for line in chosen) < 2_000
    assert frame["n"].is_monotonic_increasing


# ---- partition keys ------------------------------------------------------------------------------------------------------------------

STORES = {f"store={store}/{brand}/{part}.csv": f"v\n{store}{part}\n".encode() for store in (2, 10) for brand in "ab" for part in (1, 2)}


def test_rows_with_the_same_keys_are_one_mini_batch_with_key_columns(look_at):
    looked = look_at(STORES, "store={store}/{brand}/*.csv")
    frames = list(looked.mini_batches(partition_keys=["brand"]))
    assert [frame.columns.tolist() for frame in frames] == [["v", "store", "brand"]] * 2
    assert [frame["v"].tolist() for frame in frames] == [[101, 102, 21, 22]] * 2
    assert [set(frame["brand"]) for frame in frames] == [{"a"}, {"b"}]
    assert [frame["store"].tolist() for frame in frames] == [["10", "10", "2", "2"]] * 2


def test_several_keys_are_ordered_by_their_values(look_at):
    looked = look_at(STORES, "store={store}/{brand}/*.csv")
    frames = looked.mini_batches(partition_keys=["brand", "store"])
    assert [(frame["brand"][0], frame["store"][0], len(frame)) for frame in frames] == [
        ("a", "10", 2),
        ("a", "2", 2),
        ("b", "10", 2),
        ("b", "2", 2),
    ]
    found = plan_mini_batches([looked.dataset], ParallelRunSettings(partition_keys=["brand", "store"]))
    assert (found.mini_batch_count, found.each) == (4, ", one for each brand and store")


def test_keys_are_columns_without_partition_keys_too(look_at):
    frames = list(look_at(STORES, "store={store}/{brand}/*.csv").mini_batches())
    assert len(frames) == 8
    assert frames[0].iloc[0].tolist() == [101, "10", "a"]


def test_a_date_in_the_path_is_a_date_in_the_column(look_at):
    looked = look_at({"2026/01/31/a.csv": b"v\n1\n", "2026/02/01/a.csv": b"v\n2\n"}, "{when:yyyy/MM/dd}/a.csv")
    whole = pandas.concat(looked.mini_batches(partition_keys=["when"]))
    assert whole["when"].dt.strftime("%d.%m.%Y").tolist() == ["31.01.2026", "01.02.2026"]


def test_a_file_dataset_is_grouped_by_keys_as_well(tmp_path):
    names = ["a/x/1.wav", "a/y/1.wav", "b/x/1.wav", "b/x/2.wav"]
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(manifest_line(DatasetFile(name, 1, 1)) for name in names))
    manifest = manifest_by_keys(tmp_path / "manifest.jsonl", "{user}/{genre}/*.wav", ("genre",))
    dataset = PlannedDataset("d:1", "/r", str(manifest), 4, partition_format="{user}/{genre}/*.wav")
    with open(manifest, "rb") as lines:
        source = FileInput(dataset.for_worker(), lines)
        batches = list(cut([dataset], ParallelRunSettings(partition_keys=["genre"])))
        entries = [source.entries(batch.offset, batch.length) for batch in batches]
        assert [batch.item_count for batch in batches] == [3, 1]
        assert [source.mini_batch(each) for each in entries] == [["/r/a/x/1.wav", "/r/b/x/1.wav", "/r/b/x/2.wav"], ["/r/a/y/1.wav"]]
        assert source.keys_of(entries[1][0]) == {"user": "a", "genre": "y"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"id,n\n9007199254740993,1\n,2\n", "“id” (9007199254740993)"),
        (b"n,id\n1,-9007199254740993\n" + b"2,5\n" * 1_100_000 + b"3,\n", "“id” (-9007199254740993)"),
        (b"id,n\n9007199254740993,1\n5,2\n", ""),
        (b"id,n\n9007199254740992,1\n,2\n", ""),
        (b"id,n\n1e300,1\n,2\n", ""),
    ],
    ids=["beside a missing one", "far from a missing one", "integers", "kept by a float", "no whole number"],
)
def test_long_whole_numbers_that_lose_digits_are_said(look_at, content, named):
    notes = look_at({"a.csv": content}).table.notes
    text = f"Long whole numbers lose their last digits beside missing ones: {named}. To keep them, register it as text."
    assert notes == ((text,) if named else ())

"""Datasets by the command line: recognized by content, read as a person says, shown, and read again as the other kind."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from services.domain import ItemKind, TableReading
from services.errors import IntakeError, SettingsError
from tests.broken_files import write_files

ORDERS = "id;amount;zip;day\n1;1,5;00501;31.01.2026\n2;2,75;10115;01.02.2026\n"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A German CSV, beside a file that is no part of it."""
    folder = tmp_path / "orders"
    folder.mkdir()
    (folder / "orders.csv").write_bytes(ORDERS.encode("cp1252"))
    (folder / "notes.txt").write_text("None of it.")
    return folder / "orders.csv"


def test_a_table_of_another_dialect_is_registered_and_shown(command, orders):
    types = ("--column", "zip=text", "--column", "day=date")
    assert command("dataset", "register", "orders", orders, "--type", "auto", *types).code == 0
    shown = command("dataset", "show", "orders", "--json").json
    assert (shown["type"], shown["format"], shown["source_format"], shown["item_count"]) == ("tabular", "parquet", "csv", 2)
    assert shown["columns"] == [
        {"name": "id", "type": "integer"},
        {"name": "amount", "type": "number"},
        {"name": "zip", "type": "text"},
        {"name": "day", "type": "date"},
    ]
    assert shown["dialect"] == {"delimiter": ";", "decimal": ",", "quote": '"', "encoding": "utf-8", "header": "on"}
    assert (shown["problems"], shown["source_root"]) == ([], str(orders))
    assert parquet.read_table(Path(shown["root"]) / "orders.csv.parquet").column("zip").to_pylist() == ["00501", "10115"]
    assert "zip     text" in command("dataset", "show", "orders:1").out


def test_without_a_type_files_are_registered_and_auto_is_mentioned(command, orders, csv_folder):
    result = command("dataset", "register", "d", orders)
    assert result.out.startswith("Registered d:1 (1 file, ")
    assert result.err == "--type auto would make a table of this file: each row is one item then.\n"
    result = command("dataset", "register", "d", orders, "--json")
    assert json.loads(result.out)["type"] == "file"
    assert command("dataset", "register", "rows", csv_folder(3)).err == ""
    assert command("dataset", "register", "d", orders, "--type", "file").err == ""


def test_odd_files_are_shown_with_what_is_odd(command, tmp_path):
    result = command("dataset", "register", "rows", write_files(tmp_path / "rows", 100))
    assert "2 files are odd among the others:" in result.out
    shown = command("dataset", "show", "rows", "--json").json
    assert (shown["item_kind"], shown["item_count"], shown["problem_count"]) == ("a file of one row of numbers", 100, 2)
    assert shown["problems"] == [
        {"file": "order_0017.csv", "what": "It has 9 fields, and most files have 12."},
        {"file": "order_0063.csv", "what": "It is empty."},
    ]


def test_what_is_proposed_says_why_in_an_analysts_words(workspace, tmp_path, orders):
    proposal = workspace.propose_dataset(orders)
    assert proposal.why == "Each row of this file is one item: 2 rows, 4 columns."
    assert (proposal.type, proposal.item_kind, proposal.reading.delimiter) == ("tabular", ItemKind.TABLE_ROW, ";")
    assert proposal.rows[0] == ("1", "1.5", "501", "31.01.2026")
    assert proposal.leading_zeros == (("zip", "00501"),)
    rows = workspace.propose_dataset(write_files(tmp_path / "rows", 40))
    assert (rows.type, rows.item_kind, rows.problem_count) == ("file", ItemKind.ROW_FILE, 1)
    assert rows.why == "Most of these 40 files are each one row of 12 numbers: each is one item."
    table = workspace.propose_dataset(orders, reading=TableReading(types={"zip": "text"}))
    assert (dict(table.columns)["zip"], table.rows[0][2]) == ("text", "00501")
    with pytest.raises(SettingsError, match="is not an integer"):
        workspace.propose_dataset(orders, type="tabular", reading=TableReading(types={"day": "integer"}))
    assert workspace.datasets() == []
    assert list(workspace.home.glob("incoming/*")) == []


def test_a_sample_tells_of_large_files_and_their_rows_are_counted(workspace, tmp_path):
    (tmp_path / "t").mkdir()
    for name in "abc":
        (tmp_path / "t" / f"{name}.csv").write_text("n,x\n" + "12,0.5\n" * 100_000)
    began = time.monotonic()
    proposal = workspace.propose_dataset(tmp_path / "t")
    assert proposal.why == "Each row of these 3 files is one item: 300,000 rows, 2 columns."
    assert time.monotonic() - began < 60


def test_a_dataset_is_read_again_as_the_other_kind(workspace, orders):
    files = workspace.register_dataset("d", orders)
    rows = workspace.reread_dataset("d", "tabular", TableReading(types={"zip": "text"}))
    assert (rows.reference, rows.row_count, rows.in_place, rows.source_root) == ("d:2", 2, False, str(orders))
    assert workspace.propose_reread("d:2", "file").item_kind is ItemKind.TABLE_FILE
    again = workspace.reread_dataset("d:2", "file")
    assert (again.reference, again.type, again.file_count, again.in_place) == ("d:3", "file", 1, True)
    assert workspace.dataset_files(again, 0, 9) == workspace.dataset_files(files, 0, 9)


def test_what_was_uploaded_is_kept_beside_what_was_made_of_it(workspace, orders):
    rows = workspace.register_dataset("d", orders, type="tabular", copy=True)
    orders.unlink()
    assert (Path(rows.source_root) / "orders.csv").read_text() == ORDERS
    files = workspace.reread_dataset("d", "file")
    assert workspace.local_file(files, "orders.csv").read_text() == ORDERS
    assert not files.in_place


def test_nothing_is_half_registered_where_a_later_file_is_no_table(workspace, orders):
    (orders.parent / "second.csv").write_text(ORDERS + "3;4\n")
    with pytest.raises(IntakeError, match="has 2 fields in record 4, and its header has 4"):
        workspace.register_dataset("d", orders.parent, type="tabular", glob="*.csv")
    assert workspace.datasets() == []
    assert list(workspace.home.glob("incoming/*")) == []
    assert list(workspace.home.glob("datasets/*")) == []


def test_keys_of_a_partition_format_stay_with_files_that_became_parquet(workspace, tmp_path):
    for store in "ab":
        (tmp_path / "t" / store).mkdir(parents=True)
        (tmp_path / "t" / store / "x.csv").write_text(ORDERS)
    dataset = workspace.register_dataset("d", tmp_path / "t", type="tabular", partition_format="{store}/*.csv")
    assert dataset.partition_format == "{store}/*.csv.parquet"
    assert [file.path for file in workspace.dataset_files(dataset, 0, 9)] == ["a/x.csv.parquet", "b/x.csv.parquet"]


def test_spark_folders_and_a_table_that_pandas_wrote_stay_in_place(workspace, tmp_path):
    folder = tmp_path / "spark"
    folder.mkdir()
    for part in "01":
        parquet.write_table(pyarrow.table({"n": [int(part)]}), folder / f"part-{part}.parquet")
        (folder / f".part-{part}.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").write_bytes(b"")
    dataset = workspace.register_dataset("d", folder, type="auto")
    assert (dataset.row_count, dataset.in_place, dataset.root, dataset.left_out) == (2, True, str(folder), {".*": 2, "_*": 1})
    pandas.DataFrame({"a": [1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    dataset = workspace.register_dataset("t", tmp_path / "t.csv", type="auto")
    assert (dataset.format, dataset.in_place, dataset.row_count) == ("csv", True, 2)

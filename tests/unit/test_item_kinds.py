"""What one item of a file dataset is, recognized by content, and the files that are odd among the others, found before anything runs."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from services.domain import ItemKind
from services.intake import item_kinds
from services.intake.datasets import collect_files
from services.storage.manifest import manifest_line
from tests.broken_files import BROKEN, write_files

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
KINDS = {
    "a row": (b"1,2.5,-3e4\n", ItemKind.ROW_FILE),
    "a row of one number": (b"5\n", ItemKind.ROW_FILE),
    "a row with an empty field": (b"1,,3\n", ItemKind.ROW_FILE),
    "a row with a text": (b"1,red,3\n", ItemKind.ROW_FILE),
    "a row, compressed": (gzip.compress(b"1,2,3\n"), ItemKind.ROW_FILE),
    "a row after a byte-order mark": (b"\xef\xbb\xbf1,2,3\n", ItemKind.ROW_FILE),
    "a row in UTF-16": ("1,2,3\n".encode("utf-16"), ItemKind.ROW_FILE),
    "a row with decimal commas": (b"1,5;2,5\n", ItemKind.ROW_FILE),
    "a header and a row": (b"a,b\n1,2\n", ItemKind.HEADED_ROW_FILE),
    "a header and a row with a text": (b"name,age\nAnn,30\n", ItemKind.HEADED_ROW_FILE),
    "many rows": (b"1,2\n3,4\n", ItemKind.TABLE_FILE),
    "a table": (b"a,b\n1,x\n2,y\n", ItemKind.TABLE_FILE),
    "a column of numbers": (b"n\n1\n2\n3\n", ItemKind.TABLE_FILE),
    "a large table": (b"a,b\n" + b"1,2\n" * 50_000, ItemKind.TABLE_FILE),
    "a table of very many columns": (
        ",".join(f"c{n}" for n in range(30_000)).encode() + b"\n" + b"1," * 29_999 + b"1\n",
        ItemKind.TABLE_FILE,
    ),
    "a row of very many numbers": (b"0.5," * 30_000 + b"1\n", ItemKind.ROW_FILE),
    "prose": (b"This is fine. Right, so\nyes, it is.\n", ItemKind.TEXT),
    "a word": (b"hello", ItemKind.TEXT),
    "prose of another encoding": ("Grüße, Welt".encode("cp1252"), ItemKind.TEXT),
    "a long line": (b"x" * 300_000, ItemKind.TEXT),
    "a JSON object": (b'{"a": 1, "b": 2}\n', ItemKind.TEXT),
    "PNG": (PNG, ItemKind.IMAGE),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(9), ItemKind.IMAGE),
    "WebP": (b"RIFF\x00\x00\x00\x00WEBPVP8 ", ItemKind.IMAGE),
    "a binary file": (b"1,2\0\1\2", ItemKind.OTHER),
    "nothing": (b"", ItemKind.OTHER),
    "half a gzip": (gzip.compress(b"1,2,3\n" * 99)[:15], ItemKind.OTHER),
}


@pytest.mark.parametrize(("content", "kind"), KINDS.values(), ids=KINDS)
def test_what_a_file_is_is_told_by_its_content(tmp_path, content, kind):
    path = tmp_path / "named.txt"
    path.write_bytes(content)
    assert item_kinds.look_at(path).kind is kind


def look_at(folder: Path, tmp_path: Path) -> item_kinds.Kinds:
    lines = [manifest_line(file) for file in collect_files(folder, "**")]
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(lines))
    return item_kinds.look_at_files(folder, tmp_path / "manifest.jsonl", len(lines))


@pytest.mark.parametrize("count", [480, 700], ids=["in this process", "in one of its own"])
def test_the_odd_files_among_rows_are_found_before_a_run(tmp_path, count):
    kinds = look_at(write_files(tmp_path / "orders", count), tmp_path)
    assert (kinds.kind, kinds.fields, kinds.looked_at) == (ItemKind.ROW_FILE, 12, count)
    assert [problem.file for problem in kinds.problems] == sorted(BROKEN)
    assert kinds.problem_count == 7
    said = {problem.file: problem.what for problem in kinds.problems}
    assert said["order_0017.csv"] == "It has 9 fields, and most files have 12."
    assert said["order_0063.csv"] == "It is empty."
    assert said["order_0140.csv"] == "It begins with a header row; most are files of one row of numbers."
    assert said["order_0222.csv"] == "It is UTF-16 text, not UTF-8."
    assert said["order_0305.csv"] == "1 of 12 fields is not a number: column 4."
    assert said["order_0388.csv"] == "Its fields are separated by semicolons, not by commas."
    assert said["order_0471.csv"] == "It is a file of many rows; most are files of one row of numbers."


def test_a_header_unlike_the_others_and_what_is_no_image_are_said(tmp_path):
    rows, pictures = tmp_path / "rows", tmp_path / "pictures"
    for folder, files in (
        (rows, {"a": b"x,y\n1,2\n", "b": b"x,y\n3,4\n", "c": b"y,x\n1,2\n", "d": b"x,z\n1,2\n", "e": b"x,y\n1,2,3\n"}),
        (pictures, {"a.png": PNG, "b.png": PNG, "c.png": b"<html>\n", "d.png": b""}),
    ):
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    assert [(problem.file, problem.what) for problem in look_at(rows, tmp_path).problems] == [
        ("c", "Its header is another one: its columns are in another order."),
        ("d", "Its header is another one: it lacks “y”."),
        ("e", "Its header has 2 fields, and its row 3."),
    ]
    assert [(problem.file, problem.what) for problem in look_at(pictures, tmp_path).problems] == [
        ("c.png", "It is a text; most are images."),
        ("d.png", "It is empty."),
    ]


def test_a_gzip_of_zeros_is_looked_at_for_its_first_bytes_only(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    assert item_kinds.look_at_head(content[: item_kinds.HEAD], whole=False).kind is ItemKind.OTHER


def test_only_the_first_of_very_many_odd_files_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(item_kinds, "MOST_PROBLEMS", 3)
    (tmp_path / "d").mkdir()
    for number in range(20):
        (tmp_path / "d" / f"{number:02}").write_bytes(b"1,2\n" if number < 12 else b"")
    kinds = look_at(tmp_path / "d", tmp_path)
    assert (len(kinds.problems), kinds.problem_count) == (3, 8)

"""The end of a log of any size, and the last line that says anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.storage.file_tree import last_line, tail


def test_a_short_file_is_read_whole(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"one\ntwo\n")
    assert tail(path, 100) == ("one\ntwo\n", 8)


def test_of_a_long_file_its_end_is_read(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * 5000 + b"\nend")
    assert tail(path, 4) == ("\nend", 5004)


def test_bytes_that_are_no_text_are_escaped(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"\xff!")
    assert tail(path, 100)[0] == "\\xff!"


def test_the_last_line_skips_blank_ones(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"first\n  last  \n\n \n")
    assert last_line(path) == "last"


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_log_has_no_last_line(tmp_path: Path, content: bytes):
    path = tmp_path / "log.txt"
    path.write_bytes(content)
    assert last_line(path) == ""


def test_a_missing_log_has_no_last_line(tmp_path: Path):
    assert last_line(tmp_path / "none.txt") == ""

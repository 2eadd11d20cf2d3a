"""Rows of a mini-batch, read back: which file each is of, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.predictions.columns import WAYS_OF_MATCHING
from services.predictions.matching import AMBIGUOUS, NO_FILE, NO_ROW, ScoredMiniBatch, read_in_parts, read_rows

ROOT = "/folder of the/dataset"


def mini_batch(items: Sequence[str], rows: Sequence[str]) -> ScoredMiniBatch:
    return ScoredMiniBatch(0, items, ROOT, rows, "node 0, process000", 1, 0.25, "")


def read_back(items: Sequence[str], rows: Sequence[str]) -> list[tuple[str, str | None]]:
    read = read_rows(mini_batch(items, rows))
    assert len(read.files) == len(read.predictions) == len(read.statuses) == len(read.errors)
    return list(zip(read.files, read.predictions, strict=True))


@pytest.mark.parametrize(
    ("name", "row", "prediction"),
    [
        ("a.png", "a.png: cat", "cat"),
        ("b.png", "b.png: sky: blue", "sky: blue"),
        ("cam_10:15.png", "cam_10:15.png: sky: blue", "sky: blue"),
        ("a.png", 'a.png: {"label": "cat", "p": 0.9}', '{"label": "cat", "p": 0.9}'),
        ("007.png", "007.png: 01", "01"),
        ("a.png", "a.png:  two spaces", " two spaces"),
        ("a.png", "a.png: ", ""),
        ("a.png", "a.png:", ""),
        ("a.png", "a.png:7", "7"),
        ("a.png", "a.png : 7", "7"),
        ("a.png", "a.png,7", "7"),
        ("a.png", "a.png, 7", "7"),
        ("a.png", "a.png;7", "7"),
        ("a.png", "a.png\t7", "7"),
        ("a.png", "a.png|7", "7"),
        ("a.png", "a.png 7 0.9", "7 0.9"),
        ("two words.png", '"two words.png" 7', "7"),
        ('say "a".png', '"say ""a"".png" 7', "7"),
        ("two\nlines.png", "two\nlines.png: first\nsecond", "first\nsecond"),
        ("=cmd|' calc'!A0", "=cmd|' calc'!A0: =1+1", "=1+1"),
        ("\udcff.png", "\udcff.png: 1", "1"),
    ],
)
@pytest.mark.parametrize("spelled", ["by its name", "by its relative path", "by its absolute path"])
@pytest.mark.parametrize("among", ["alone", "after a failed one"])
def test_a_prediction_is_found_however_its_file_is_spelled_and_separated(name, row, prediction, spelled, among):
    items = ["some/folder/" + name] if among == "alone" else ["some/other.txt", "some/folder/" + name]
    path = {"by its name": "", "by its relative path": "some/folder/", "by its absolute path": f"{ROOT}/some/folder/"}[spelled]
    row = f'"{path}{row[1:]}' if row.startswith('"') else path + row
    assert read_back(items, [row])[-1] == (items[-1], prediction)


def test_windows_paths_in_rows_name_their_files():
    batch = ScoredMiniBatch(0, ["a/1.png", "a/2.png"], r"C:\images", [r"C:\images\a\1.png: x", r"a\2.png: y"], "", 1, 0.1, "")
    assert list(read_rows(batch).predictions) == ["x", "y"]


def test_the_longest_name_that_fits_is_meant():
    items = ["a.png", "a.png: b.png"]
    assert read_back(items, ["a.png: b.png: cat", "a.png: dog"]) == [("a.png", "dog"), ("a.png: b.png", "cat")]


def test_rows_in_another_order_come_back_in_the_order_of_the_files():
    assert read_back(["a", "b", "c"], ["c: 3", "a: 1", "b: 2"]) == [("a", "1"), ("b", "2"), ("c", "3")]


def test_files_of_the_same_name_in_two_folders_get_a_row_each():
    assert read_back(["x/0.png", "y/0.png"], ["0.png: 1", "0.png: 2"]) == [("x/0.png", "1"), ("y/0.png", "2")]


def test_files_of_one_name_get_no_row_by_an_order_that_is_contradicted():
    items = ["x/0.png", "x/1.png", "y/0.png"]
    rows = ["1.png: b", "0.png: a", "0.png: c"]
    assert read_back(items, rows) == [("x/0.png", None), ("x/1.png", "b"), ("y/0.png", None), ("", rows[1]), ("", rows[2])]
    assert read_back(items, rows[:2]) == [("x/0.png", None), ("x/1.png", "b"), ("y/0.png", None), ("", rows[1])]


def test_a_row_that_could_be_of_two_files_is_given_to_neither_and_kept():
    read = read_rows(mini_batch(["x/0", "y/0", "y/1"], ["0: of x or of y", "1: b"]))
    assert list(zip(read.files, read.predictions, read.errors, strict=True)) == [
        ("x/0", None, AMBIGUOUS),
        ("y/0", None, AMBIGUOUS),
        ("y/1", "b", None),
        ("", "0: of x or of y", AMBIGUOUS),
    ]


def test_a_row_that_is_no_prediction_leaves_the_others_in_their_places():
    assert read_back(["x/0.png", "y/0.png"], ["Warning: dim", "0.png: c"]) == [("x/0.png", None), ("y/0.png", "c"), ("", "Warning: dim")]


def test_rows_that_hold_only_predictions_belong_to_the_files_in_order():
    assert read_back(["a", "b"], ["cat", "7: seven"]) == [("a", "cat"), ("b", "7: seven")]


def test_rows_that_name_no_file_are_kept_and_the_files_have_failed():
    read = read_rows(mini_batch(["a", "b"], ["12 done"]))
    assert read == type(read)(["a", "b", ""], [None, None, "12 done"], bytes([1, 1, 2]), [NO_ROW, NO_ROW, NO_FILE], bytes([4, 4, 3]))


def test_several_rows_of_one_file_are_all_kept_with_it():
    rows = ["a.csv: 1", "a.csv: 2", "b.csv: 3", "b.csv: 4"]
    assert read_back(["a.csv", "b.csv"], rows) == [("a.csv", "1"), ("a.csv", "2"), ("b.csv", "3"), ("b.csv", "4")]


@pytest.mark.parametrize(
    "rows", [[], ["a: 1"], ["b: 1", "c: 2"], ["nothing", "to", "read", "here"], ["a: 1", "a: 2", "what"], ["", "", ""]]
)
def test_every_row_is_there_once_and_every_file_at_least_once(rows):
    items = ["x/a", "y/a", "b"]
    read = read_rows(mini_batch(items, rows))
    assert set(items) <= set(read.files)
    assert sum(prediction is not None for prediction in read.predictions) == len(rows)


def test_a_thousand_files_of_one_name_are_told_apart_in_no_time():
    items = [f"{number:04}/data.csv" for number in range(1000)]
    rows = [f"data.csv: {number}" for number in range(1000)]
    assert read_back(items, rows) == [(item, str(number)) for number, item in enumerate(items)]
    assert {prediction for _, prediction in read_back(items, rows[1:])} == {None, *rows[1:]}


# ---- rows in no order, as from Azure ML --------------------------------------------------------------------------------------------------


def out_of_order(items: Sequence[str], rows: Sequence[str]) -> list[tuple[str, str | None, str | None]]:
    read = read_rows(replace(mini_batch(items, rows), in_order=False))
    assert len(read.files) == len(read.predictions) == len(read.statuses) == len(read.errors)
    return list(zip(read.files, read.predictions, read.errors, strict=True))


@pytest.mark.parametrize("separator", [": ", " ", ","])
def test_rows_in_no_order_find_their_files_by_name(separator):
    items = ["a/1.csv", "a/10.csv", "b/2.csv"]
    rows = [f"10.csv{separator}x", f"a/1.csv{separator}y", f"2.csv{separator}z"]
    assert out_of_order(items, rows) == [("a/1.csv", "y", None), ("a/10.csv", "x", None), ("b/2.csv", "z", None)]


def test_a_name_that_goes_on_after_a_colon_is_not_cut_at_it():
    items = ["cam", "cam: 2", "other"]
    assert out_of_order(items, ["cam: 2: sky", "other: sea", "cam: 1"]) == [
        ("cam", "1", None), ("cam: 2", "sky", None), ("other", "sea", None),
    ]  # fmt: skip


def test_rows_out_of_order_are_not_given_to_one_of_two_same_named_files():
    items = ["a/1.csv", "b/1.csv", "c.csv"]
    assert out_of_order(items, ["1.csv: x", "1.csv: y", "c.csv: z"]) == [
        ("a/1.csv", None, AMBIGUOUS), ("b/1.csv", None, AMBIGUOUS), ("c.csv", "z", None),
        ("", "1.csv: x", AMBIGUOUS), ("", "1.csv: y", AMBIGUOUS),
    ]  # fmt: skip


def test_rows_in_no_order_that_name_no_file_belong_to_none():
    assert out_of_order(["1.csv", "2.csv"], ["x", "y"]) == [
        ("1.csv", None, NO_ROW), ("2.csv", None, NO_ROW), ("", "x", NO_FILE), ("", "y", NO_FILE),
    ]  # fmt: skip


def test_rows_of_a_table_that_were_sorted_are_only_the_files():
    of_one, of_two = mini_batch(["t.csv"] * 2, ["x", "y"]), mini_batch(["t.csv", "u.csv"], ["x", "y"])
    for batch, files, way in ((of_one, ["t.csv", "t.csv"], "only file"), (of_two, ["", ""], "not matched")):
        read = read_rows(replace(batch, items_are_rows=True, frame_index=[("", ["1", "0"])], columns='[["n", "number"]]'))
        assert (read.files, read.predictions, [WAYS_OF_MATCHING[place] for place in read.matched_by]) == (files, ["x", "y"], [way] * 2)
        read = read_rows(replace(batch, items_are_rows=True))
        assert (read.files, [WAYS_OF_MATCHING[place] for place in read.matched_by]) == (batch.items, ["order"] * 2)


def test_tabular_rows_out_of_order_keep_their_predictions_without_a_file():
    read = read_rows(replace(mini_batch([""] * 3, ["x", "y"]), in_order=False, items_are_rows=True))
    assert (read.predictions, [status.value for status in read.each_status()]) == (["x", "y", None], ["succeeded", "succeeded", "failed"])


@pytest.mark.parametrize("key", ["file", "File", "path"])
@pytest.mark.parametrize("folder", ["", "x/", f"{ROOT}/x/"])
def test_a_json_object_is_of_the_file_it_names_after_a_skipped_item(key, folder):
    rows = [f'{{"{key}": "{folder}c.png", "label": "cat"}}', f'{{"label": "dog", "{key}": "{folder}a.png"}}']
    assert read_back(["x/a.png", "x/b.png", "x/c.png"], rows) == [("x/a.png", rows[1]), ("x/b.png", None), ("x/c.png", rows[0])]


@pytest.mark.parametrize(
    "row",
    [
        '{"file": "z.png"}',
        '{"file": 1}',
        '{"file": "a.png", "path": "b.png"}',
        '{"file": ["a.png", "b.png"]}',
        '{"file": "a.png", "file": "b.png"}',
        '{"a":' * 100_000,
    ],
)
def test_a_json_object_that_names_no_single_item_is_unmatched(row):
    assert read_back(["a.png", "b.png"], [row]) == [("a.png", None), ("b.png", None), ("", row)]


def test_a_json_object_that_names_a_file_of_several_folders_is_of_neither():
    assert read_back(["x/a.png", "y/a.png"], ['{"file": "a.png"}']) == [("x/a.png", None), ("y/a.png", None), ("", '{"file": "a.png"}')]


def test_json_objects_that_name_their_files_are_matched_by_name_not_order():
    rows = ['{"file": "b.png", "label": 1}', '{"file": "a.png", "label": 2}']
    assert read_back(["a.png", "b.png"], rows) == [("a.png", rows[1]), ("b.png", rows[0])]
    rows = ['{"file": "b.png"}', '{"file": "z.png"}']
    assert read_back(["a.png", "b.png"], rows) == [("a.png", None), ("b.png", rows[0]), ("", rows[1])]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "rows",
    [
        ["b.csv: 2", "a.csv: 1", "c d.csv: x: y"],
        ["x/a.csv: 1", "/data/b.csv,2", "nobody: 3", "", "a.csv: 4", "a.csv  5"],
        ['{"file": "b.csv", "p": 1}', '{"path": "twice.csv"}', '"b.csv" 7', "twice.csv: 1", "y/twice.csv: 2"],
        ["q:r.csv: 1", "q:r.csv 2", "b.csv"],
        [],
    ],
)
def test_rows_read_in_parts_are_matched_as_they_are_all_at_once(rows, size):
    items = ["x/a.csv", "b.csv", "c d.csv", "x/twice.csv", "y/twice.csv"] + (["q:r.csv"] if "q:r.csv 2" in rows else [])
    parts = (rows[first : first + size] for first in range(0, len(rows), size))
    at_once = read_rows(ScoredMiniBatch(0, items, "/data", rows, "", 1, 0.0, "", in_order=False))
    found = list(read_in_parts(items, "/data", parts))

    def table(read):
        return list(zip(read.files, read.predictions, read.each_status(), read.errors, strict=True))

    assert sorted(map(repr, table(at_once))) == sorted(repr(row) for read in found for row in table(read))
    assert [row for read in found[:-1] for row in table(read)] == [row for read in found for row in table(read)][: len(rows)]

"""Where a row may name its file, and which of several places decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.predictions.columns import WAYS_OF_MATCHING, may_name_file
from services.predictions.evidence import extension, extensions, texts_in
from services.predictions.matching import ANOTHER_FILE, ANOTHER_ORDER, NO_FILE, NO_ROW, SEVERAL_FILES, ScoredMiniBatch, read_rows

ITEMS = ["x/a.png", "x/b.png", "x/c.png"]


def owners(rows: Sequence[str], items: Sequence[str] = ITEMS, **of_mini_batch: object) -> list[str]:
    """Of each row, which must all be different, the file that it was given to, "" where to none."""
    mini_batch = ScoredMiniBatch(0, items, "/data", rows, "", 1, 0.1, "")
    read = read_rows(replace(mini_batch, **of_mini_batch))  # type: ignore[arg-type]
    found = [
        (next(number for number, row in enumerate(rows) if row.endswith(text)), file)
        for file, text in zip(read.files, read.predictions, strict=True)
        if text is not None
    ]
    return [file for _, file in sorted(found)]


def ways(rows: Sequence[str], items: Sequence[str] = ITEMS) -> set[str]:
    read = read_rows(ScoredMiniBatch(0, items, "/data", rows, "", 1, 0.1, ""))
    return {WAYS_OF_MATCHING[way] for way in read.matched_by if way < len(WAYS_OF_MATCHING)}


@pytest.mark.parametrize("name", ["{}.png", "x/{}.png", "/data/x/{}.png"])
@pytest.mark.parametrize(
    "row",
    [
        "{}: 7",
        "7 {}",
        "7,{}",
        "the class of {} is 7",
        "file={} class=7",
        "({}) 7",
        '{{"score": 7, "image": "{}"}}',
        '{{"score": 7, "id": "{}"}}',
        '{{"score": 7, "meta": {{"page": 1, "of": "{}"}}}}',
        '{{"score": 7, "tags": ["x", "{}"]}}',
        "{{'score': 7, 'image': '{}'}}",
        "{{'score': np.float64(7.0), 'path': PosixPath('{}')}}",
        '["{}", 7]',
        "('{}', 7)",
        "(7, np.str_('{}'))",
        "[7, ('it''s', '{}')]",
        '{{0: {{"it\'s": "{}"}}, 1: 7}}',
        '{{"{}": 7}}',
        "{{'{}': {{'p': 7}}}}",
        "[{}, 7]",
    ],
)
@pytest.mark.parametrize("order", ["abc", "cab", "ca", "b", "bbac"])
def test_a_row_is_the_files_that_it_names_wherever_it_does(row, name, order):
    rows = [row.format(name.format(letter)).replace("7", f"{number}.7") for number, letter in enumerate(order)]
    assert owners(rows) == [f"x/{letter}.png" for letter in order]
    assert ways(rows) == {"name"}


@pytest.mark.parametrize(
    "rows",
    [
        ["a.png: b.png", "b.png: c.png", "c.png: a.png"],
        ['{"file": "a.png", "nearest": "b.png"}', '{"file": "b.png", "nearest": "c.png"}', '{"file": "c.png", "nearest": "a.png"}'],
        ['{"nearest": "b.png", "source": "a.png"}', '{"nearest": "c.png", "source": "b.png"}', '{"nearest": "a.png", "source": "c.png"}'],
        ['{"a": "a.png", "b": "b.png"}', '{"a": "b.png", "b": "b.png"}', '{"a": "c.png", "b": "b.png"}'],
    ],
    ids=["the beginning of a text", "a key called like a file", "wherever it stands", "another name in each row"],
)
def test_one_place_decides_and_others_may_hold_any_name(rows):
    assert owners(rows) == ITEMS


@pytest.mark.parametrize(
    "rows",
    [
        ['{"file": "a.png", "path": "b.png"}', '{"file": "b.png", "path": "a.png"}'],
        ['["a.png", "b.png"]', '["b.png", "c.png"]', '["c.png", "a.png"]'],
        ['{"left": "a.png", "right": "b.png"}', '{"left": "b.png", "right": "c.png"}', '{"left": "c.png", "right": "a.png"}'],
    ],
)
def test_where_equally_good_places_disagree_nothing_is_matched(rows):
    assert owners(rows) == [""] * len(rows)
    read = read_rows(ScoredMiniBatch(0, ITEMS, "/data", rows, "", 1, 0.1, ""))
    assert set(read.errors) - {None} >= {SEVERAL_FILES}


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        (["dog", "cat"], ["cat", "dog"]),
        (["dog", "cat"], ['{"label": "cat"}', '{"label": "dog"}']),
        (["dog", "cat", "x"], ['["cat", 0.5]', '["bird", 0.5]', '["cat", 0.6]']),
        (["cat.png", "dog.png"], ["dog", "cat"]),
    ],
)
def test_a_class_that_is_called_like_a_file_says_nothing(items, rows):
    assert owners(rows, items) == items
    assert ways(rows, items) == {"order"}


def test_names_without_an_extension_count_under_a_key_called_like_a_file():
    rows = ['{"label": "x", "image_id": "cat"}', '{"label": "y", "image_id": "dog"}', '{"label": "z", "image_id": "cat"}']
    assert owners(rows, ["dog", "cat"]) == ["cat", "dog", "cat"]
    assert owners(["cat: 1", "dog: 2"], ["dog", "cat"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    "rows",
    [
        ["a.png: 1", "b.png: 2", "z.png: 3"],
        ['{"image": "b.png"}', '{"image": "a.png"}', '{"image": "x/z.png"}'],
        ["1 a.png", "2 b.png", "z.png"],
    ],
)
def test_a_row_that_names_a_file_of_another_mini_batch_is_not_matched(rows):
    assert owners(rows)[2] == ""


@pytest.mark.parametrize("rows", [["y.png: 1", "2", "3"], ['{"file": "z.png"}', '{"n": 1}', '{"n": 2}'], ["1", "2", "about a.png"]])
def test_what_contradicts_the_order_forbids_it_to_all(rows):
    read = read_rows(ScoredMiniBatch(0, ITEMS, "/data", rows, "", 1, 0.1, ""))
    assert owners(rows) == ["", "", ""]
    assert set(read.errors) & {ANOTHER_FILE, NO_FILE}


def test_stems_in_another_order_forbid_the_order_and_name_nothing():
    assert owners(["c: 1", "a: 2", "b: 3"]) == ["", "", ""]
    assert owners(['{"image": "b"}', '{"image": "a"}', '{"image": "c"}']) == ["", "", ""]
    assert owners(["a: 1", "b: 2", "c: 3"]) == ITEMS


@pytest.mark.parametrize(
    "row",
    [
        '{{"id": "{}", "p": {}}}', "{{'row': '{}', 'p': {}}}", '["{}", {}]', '{{"{}": {}}}', "{}\t{}", "{},{}", "{} {}", "the {} has {}",
        '{{"of": {{"it": ["{}"]}}, "p": {}}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "items", [["x/img_1.png", "x/img_2.png"], ["img_1", "img_2"], ["0001.png", "0002.jpg"], ["bild_ä1.png", "bild_ä2.png"]]
)
def test_a_stem_that_is_no_class_forbids_another_order_anywhere(items, row):
    stems = [item.rpartition("/")[2].partition(".")[0] for item in items]
    rows = [row.format(stem, number) for number, stem in enumerate(stems)]
    assert owners(rows, items) == items
    assert owners(rows[::-1], items) == ["", ""]
    assert set(read_rows(ScoredMiniBatch(0, items, "/data", rows[::-1], "", 1, 0.1, "")).errors) == {NO_ROW, ANOTHER_ORDER}


def test_classes_that_are_the_names_of_four_files_in_another_order_forbid_it():
    items = ["1", "2", "3", "4"]
    assert owners(["2 <", "3 <", "4 <", "1 <"], items) == [""] * 4
    assert owners(['{"id": "2"}', '{"id": "3"}', '{"id": "1"}', '{"id": "5"}'], items) == items


def test_names_of_several_words_and_paths_within_a_text_tell_the_order():
    assert owners(["1 of scan 11", "2 of scan 1"], ["scan 1.tif", "scan 11.tif"]) == ["", ""]
    assert owners(["1 of /data/scan.11", "2 of /data/scan.1"], ["scan.1", "scan.11"]) == ["scan.11", "scan.1"]


def test_a_name_in_any_key_is_denied_by_a_key_called_like_a_file():
    rows = ['{"image": "a", "like": "b.png"}', '{"image": "b", "like": "b.png"}', '{"image": "c", "like": "b.png"}']
    assert owners(rows) == ["", "", ""]
    assert owners(rows[:2], ["a.png", "b.png"]) == ["", ""]
    columns = '[["image", "text"], ["like", "text"], ["p", "number"]]'
    assert owners(["a b.png 1", "b b.png 2"], ["a.png", "b.png"], columns=columns) == ["", ""]
    images = ["img_1.png", "img_2.png"]
    assert owners(['{"id": "img_1", "like": "img_2.png"}', '{"id": "img_2", "like": "img_2.png"}'], images) == ["", ""]
    assert owners(['{"f": "img_2.png", "next": "img_1"}', '{"f": "img_1.png", "next": "img_2"}'], images) == images[::-1]
    rows = ['{"image": "a", "of": "a.png"}', '{"image": "c", "of": "c.png"}', '{"image": "b", "of": "b.png"}']
    assert owners(rows) == ["x/a.png", "x/c.png", "x/b.png"]


def test_stems_that_not_every_row_has_or_two_have_say_nothing():
    items = ["img_1.png", "img_2.png", "img_3.png"]
    assert owners(["img_2 1", "img_1 2", "3"], items) == items
    assert owners(["img_2 1", "img_2 2", "img_1 3"], items) == items
    assert owners(["img_2 img_1 1", "img_1 img_2 2", "img_3 img_1 3"], items) == items


def test_what_a_script_made_of_a_file_may_be_called_after_it():
    assert owners(["/out/a.png", "/out/b_mask.png", "/out/c.png"]) == ITEMS
    assert owners(["/out/c.png", "/out/b.png", "/out/a.png"]) == ["", "", ""]


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ([["score", "float64"], ["source_file", "object"]], ["0.5 c.png", "0.6 a.png", "0.7 b.png"]),
        ([["score", "float64"], ["1", "str"]], ['0.5 "x/c.png"', "0.6 x/a.png", "0.7 x/b.png"]),
        ([["file", "object"], ["nearest", "object"]], ["c.png a.png", "a.png b.png", "b.png x/c.png"]),
        ([["nearest", "object"], ["file", "object"]], ["a.png c.png", "b.png a.png", "c.png b.png"]),
    ],
)
def test_a_dataframes_rows_name_their_files_in_any_column(columns, rows):
    assert owners(rows, columns=json.dumps(columns)) == ["x/c.png", "x/a.png", "x/b.png"]


def test_a_dataframes_index_counts_as_a_column_does():
    frame = {"columns": '[["score", "float64"]]'}
    assert owners(["1", "2", "3"], frame_index=[("", ["c.png", "a.png", "b.png"])], **frame) == ["x/c.png", "x/a.png", "x/b.png"]
    assert owners(["1", "2", "3"], frame_index=[("label", ["cat", "dog", "cat"])], **frame) == ITEMS
    assert owners(["1", "2", "3"], frame_index=[("", ["img_b", "img_a", "img_c"])], **frame) == ITEMS
    stems = ["x/img_a.png", "x/img_b.png"]
    assert owners(["1", "2"], stems, frame_index=[("", ["img_b", "img_a"])], **frame) == ["", ""]
    assert owners(["1 c.png", "2 a.png"], frame_index=[("", ["a.png", "b.png"])], columns='[["n", "int64"], ["id", "str"]]') == ["", ""]


def test_a_dataframe_that_was_sorted_is_not_in_the_order_of_the_files():
    frame = {"columns": '[["score", "number"]]'}
    assert owners(["1", "2", "3"], frame_index=[("", ["2", "0", "1"])], **frame) == ["", "", ""]
    named = {"columns": '[["score", "number"], ["file", "text"]]'}
    assert owners(["1 a.png", "2 c.png", "3 b.png"], frame_index=[("", ["0", "2", "1"])], **named) == ["x/a.png", "x/c.png", "x/b.png"]


def test_names_that_several_files_have_match_by_the_order_of_the_rows():
    items = ["x/a.png", "y/a.png", "y/b.png"]
    for rows in (
        ["a.png: 1", "a.png: 2", "b.png: 3"],
        ["1 a.png", "2 a.png", "3 b.png"],
        ['{"f": "a.png"}', '{"f":"a.png"}', '{"f": "b.png"}'],
    ):
        read = read_rows(ScoredMiniBatch(0, items, "/data", rows, "", 1, 0.1, ""))
        assert read.files == items
        assert [WAYS_OF_MATCHING[way] for way in read.matched_by] == ["order", "order", "name"]


def test_a_dataframes_row_that_csv_does_not_read_is_read():
    rows = ['c.png x\ry "a ""b"""', f'"a.png" {"x" * 200_000} ""', "b.png x\ry z"]
    assert owners(rows, columns='[["id", "text"], ["a", "text"], ["b", "text"]]') == ["x/c.png", "x/a.png", "x/b.png"]


def test_numbers_in_a_dataframe_are_no_names():
    assert owners(["2", "1", "0"], ["0", "1", "2"], columns='[["file", "int64"]]') == ["0", "1", "2"]


@pytest.mark.parametrize("rows", [["1", "2"], ["cat: 0.9", "dog: 0.1"], ['{"p": 1}', '{"p": 2}'], ["/out/a.png 1", "2"]])
@pytest.mark.parametrize("item", ["x/a.png", "cat"])
def test_the_rows_of_a_mini_batch_of_one_file_are_its(rows, item):
    if item == "cat" or "a.png" not in rows[0]:
        assert owners(rows, [item]) == [item, item]
        assert ways(rows, [item]) == {"only file"}


def test_a_row_of_another_file_is_not_that_of_a_mini_batchs_only_one():
    assert owners(["a.png: 1", "b.png: 2"], ["x/b.png"]) == ["", "x/b.png"]
    assert ways(["a.png: 1", "b.png: 2"], ["x/b.png"]) == {"name", "not matched"}


def test_keys_called_like_a_file():
    assert all(
        map(may_name_file, ["file", "Path", "image", "filename", "source_file", "name", "fileName", "IMAGE_PATH", "img id", "input_file"])
    )
    assert not any(map(may_name_file, ["label", "class_name", "output_path", "nearest_image", "id", "score", "", "profile", "files_count"]))


def test_an_extension_is_what_follows_the_last_dot_of_a_name():
    assert [extension(name) for name in ("a.png", "x.tar.gz", "x/.hidden", "v1.2", "1.5e3", "a.", "a", "a.7z", "x.y/z")] == [
        ".png", ".gz", "", "", "", "", "", ".7z", "",
    ]  # fmt: skip
    assert set(extensions(["a.png", "b.png"])) == {".png"}
    assert set(extensions(["a.png", "b", "c.csv"])) == {".png", "", ".csv"}
    assert set(extensions(["a.png\nb.png", "c"])) == {".png", ""}


def test_texts_are_read_of_json_and_of_what_python_prints():
    value = {"a": ["x", {"b": "it's"}], 7: ("y", None), "c": {"d": 'say "hi"\n'}}
    expected = {(("a", 0), "x"), (("a", 1, "b"), "it's"), (("7", 0), "y"), (("c", "d"), 'say "hi"\n')}
    keys = {((-1,), "a"), ((-1,), "c"), (("a", 1, -1), "b"), (("c", -1), "d")}
    assert {*texts_in(str(value))} == expected | keys
    assert {*texts_in(json.dumps(value))} == expected | keys | {((-1,), "7")}

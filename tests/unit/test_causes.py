"""Why an item failed: lines out of what was printed, which items they name, and which of them is a cause."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictions.causes import (
    GAP,
    Line,
    Names,
    SaidLines,
    causes_of_items,
    causes_of_rows,
    lines_of,
    no_row,
    one_line,
    template,
    with_what_is_common,
)

CHAINED = """\
ERROR: p4.csv can't be read
Traceback (most recent call last):
  File "x.py", line 1
KeyError: 1

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 2
OSError: 2
after
"""
FILES = ("p1.csv", "p2.csv", "p3.csv", "p4.csv")


# ---- templates ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("X has 9 features, but 12 are expected", (), "X has … features, but … are expected"),
        ("/data/in/a/p1.csv: bad", ("a/p1.csv",), "…: bad"),
        (r"C:\in\p1.csv: bad", ("p1.csv",), "…: bad"),
        (r"can't read 'a\nb.csv'", ("a\nb.csv",), "can't read '…'"),
        ("data.csv is not a.csv", ("a.csv",), "data.csv is not …"),
        ("at 0x7f3a, in 3f2b6c1e-aaaa-bbbb-cccc-1234567890ab", (), "at …, in …"),
        ("[0.1, 0.25, -3e-05]", (), "[…]"),
        ("2026-11-29 10:00:01 p1.csv, p2.csv", ("p1.csv", "p2.csv"), "…"),
    ],
)
def test_a_template_has_no_names_and_no_numbers(text, names, expected):
    assert template(text, names) == expected


# ---- names -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("/mnt/data/d/p1.csv: bad", {"d/p1.csv"}),
        ("p1.csv is bad.", {"d/p1.csv", "e/p1.csv"}),
        ("('e/p1.csv', 'a b (1).csv')", {"e/p1.csv", "a b (1).csv"}),
        (r"C:\in\e\p1.csv", {"e/p1.csv"}),
        ("the cat sat", set()),
        ("the file 'cat' is empty", {"cat"}),
        ("sp1.csv and p1.csvx", set()),
        ("p9.csv", set()),
    ],
)
def test_a_line_names_items_by_path_or_base_name(text, named):
    items = ["d/p1.csv", "e/p1.csv", "a b (1).csv", "cat"]
    assert {items[place] for place in Names(items).named_in(text)} == named


def test_folders_of_the_machine_are_left_out():
    names = Names(["d/p1.csv", "a b.csv"])
    for text, shorter in {
        "'/home/me/in/d/p1.csv' failed: empty": "'d/p1.csv' failed: empty",
        r"C:\in\d\p1.csv: empty": "d/p1.csv: empty",
        "/home/me/in/a b.csv is empty": "a b.csv is empty",
        "p1.csv is empty": "p1.csv is empty",
    }.items():
        assert names.shortened(text, names.mentions(text)) == shorter


# ---- lines -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("plain\n  goes on\nnext\n", [("stderr", "plain goes on"), ("stderr", "next")]),
        ("2026-11-29 12:00:00,123 WARNING root: p1.csv is empty\n", [("WARNING", "root: p1.csv is empty")]),
        ("[2026-01-01 10:00:00,1] [12] [mod] ERROR - p5.csv broke\n", [("ERROR", "p5.csv broke")]),
        ("ERROR:root:p5.csv broke", [("ERROR", "root:p5.csv broke")]),
        ("There was an ERROR in p1.csv", [("stderr", "There was an ERROR in p1.csv")]),
        ('/x/y.py:12: UserWarning: p3.csv is odd\n  warnings.warn("x")\n', [("warnings", "UserWarning: p3.csv is odd")]),
        ('Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\nValueError: bad\n', [("exception", "ValueError: bad")]),
        (2 * 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: bad\n', 2 * [("exception", "ValueError: bad")]),
        (CHAINED, [("ERROR", "p4.csv can't be read: OSError: 2"), ("stderr", "after")]),
    ],
)
def test_what_a_stream_says_becomes_lines(text, lines):
    assert lines_of(text, "stderr") == lines


def test_colours_of_a_terminal_are_no_part_of_a_line():
    assert lines_of("\x1b[31mERROR\x1b[0m a.csv is empty", "print") == [Line("ERROR", "a.csv is empty")]
    assert one_line("\x1b[1;33ma.csv\x1b[0m has\nno rows") == "a.csv has no rows"


def test_of_very_many_lines_both_ends_are_read():
    lines = lines_of("\n".join(map(str, range(100_000))), "print")
    assert len(lines) == 50_000
    assert (lines[0].text, lines[-1].text) == ("0", "99999")


# ---- causes ------------------------------------------------------------------------------------------------------------------------------


def test_the_best_source_counts_and_of_it_the_first_line():
    lines = [
        Line("print", "p1.csv: printed"), Line("stderr", "p1.csv: on stderr"), Line("ERROR", "p1.csv: the error"),
        Line("ERROR", "p1.csv: again"), Line("warnings", "UserWarning: p2.csv"), Line("WARNING", "p2.csv: the warning"),
    ]  # fmt: skip
    assert causes_of_items(lines, FILES, {0, 1, 2}) == {0: "p1.csv: the error", 1: "p2.csv: the warning"}


def test_a_line_of_an_item_that_has_a_row_is_no_cause():
    progress = [Line("INFO", f"scoring {name} ({number} of 4)") for number, name in enumerate(FILES)]
    assert causes_of_items(progress, FILES, {1}) == {}
    assert causes_of_items([*progress, Line("print", "p2.csv is empty")], FILES, {1}) == {1: "p2.csv is empty"}


def test_progress_said_of_succeeded_items_elsewhere_is_no_cause():
    assert causes_of_items([Line("print", "scoring p1.csv")], ("p1.csv",), {0}, {"scoring …"}) == {}


def test_an_error_that_names_no_item_is_about_a_mini_batch_without_rows():
    error = [Line("ERROR", "the batch has 9 columns"), Line("INFO", "loading")]
    assert causes_of_items(error, FILES, {0, 1, 2, 3}) == dict.fromkeys(range(4), "the batch has 9 columns")
    assert causes_of_items(error, FILES, {2, 3}) == {}
    assert causes_of_items(error, FILES, {3}) == {3: "the batch has 9 columns"}
    assert causes_of_items([*error, Line("ERROR", "something else")], FILES, {0, 1, 2, 3}) == {}


def test_an_error_about_a_file_of_another_mini_batch_is_no_cause():
    for text in ("z.csv: no header", "can't read /data/z.csv.", "'z.csv' is empty"):
        assert causes_of_items([Line("ERROR", text)], ["a.csv", "b.csv"], [1]) == {}
    assert causes_of_items([Line("ERROR", "no model.onnx")], ["a.csv", "b.csv"], [1]) == {1: "no model.onnx"}


def test_rows_of_a_table_have_a_line_each_or_none():
    lines = [Line("WARNING", "row 3: negative age"), Line("WARNING", "row 7: negative age"), Line("print", "loaded")]
    assert causes_of_rows(lines, 2, 10) == ["row 3: negative age", "row 7: negative age"]
    assert causes_of_rows(lines, 3, 10) == []
    assert causes_of_rows([Line("ERROR", "9 columns"), *lines[2:]], 3, 3, {"loaded"}) == ["9 columns"] * 3


def test_our_sentence_names_the_item():
    assert no_row("p1.csv", 3, 4, 1) == "run() returned 3 rows for 4 files in mini-batch 1; without a row: p1.csv"
    assert no_row("p1.csv", 0, 1, 7) == "run() returned no rows for 1 file in mini-batch 7; without a row: p1.csv"


@pytest.mark.parametrize(
    ("texts", "common"),
    [
        (["a.csv has 9 fields, the model takes 12", "b.csv has 9 fields, the model takes 12"], "… has 9 fields, the model takes 12"),
        (["9 of 10 in mini-batch 1; without: a.csv", "9 of 10 in mini-batch 3; without: b.csv"], "9 of 10 in mini-batch …; without: …"),
        (["5 of 5", "5 of 5"], "5 of 5"),
        (["takes 12", "takes 12.5"], "takes …"),
        (["takes 12 of 3", "takes 12.5 of 3"], "takes … of 3"),
        (["1 x", "11 x"], "… x"),
        (["1 é 2 x 3", "2 é 2 x 3"], "… é 2 x 3"),
        (["1 of 2 e\u0301", "3 of 2 e\u0301"], "… of … e\u0301"),
        (["a.csv, naïve: 2 “x” – 数 3", "b.csv, naïve: 2 “x” – 数 3"], "…, naïve: 2 “x” – 数 3"),
        (["1 2", "1 3", "4 2"], "…"),
    ],
)
def test_a_cause_keeps_what_all_of_its_items_have_in_common(texts, common):
    (group,) = {template(text, ["a.csv", "b.csv"]) for text in texts}
    backwards = [text[::-1] for text in texts]
    assert with_what_is_common(group, (min(texts), max(texts)), (min(backwards), max(backwards))) == common


@given(st.lists(st.lists(st.integers(8, 11), min_size=3, max_size=3), min_size=2, max_size=6))
def test_what_a_cause_says_is_so_of_all_of_its_items(numbers):
    texts = [f"é {one} has {two} of {three}, é." for one, two, three in numbers]
    backwards = [text[::-1] for text in texts]
    common = with_what_is_common(template(texts[0]), (min(texts), max(texts)), (min(backwards), max(backwards)))
    pattern = re.compile("[0-9]+".join(map(re.escape, common.split(GAP))))
    assert all(map(pattern.fullmatch, texts))


# ---- reports of a worker -----------------------------------------------------------------------------------------------------------------


def report(said, lines, rows, missing=0):
    kept, templates, _ = said.report([Line("print", text) for text in lines], FILES, rows, missing)
    return kept, templates


def warned(said, lines, missing=0):
    return said.report(lines, FILES, "", missing)[2]


def test_what_is_said_of_succeeded_items_is_reported_once():
    said = SaidLines()
    rows = "p1.csv: 1\np2.csv: 1\np3.csv: 1\np4.csv: 1\n"
    assert report(said, ["scoring p1.csv", "scoring p2.csv"], rows) == ([], ["scoring …"])
    assert report(said, ["scoring p3.csv", "done"], rows) == ([], ["done"])
    assert report(said, ["scoring p1.csv", "p1.csv is empty"], "p2.csv: 1\n", 3) == ([("print", "p1.csv is empty")], [])


def test_an_item_without_a_row_is_seen_among_as_many_rows_as_items():
    kept, templates = report(SaidLines(), ["p2.csv can't be read"], "p1.csv: 1\np1.csv: 2\np3.csv: 1\np3.csv: 2\n")
    assert (kept, templates) == ([("print", "p2.csv can't be read")], [])


def test_rows_without_names_tell_progress_by_its_number():
    kept, templates = report(SaidLines(), [*(f"scoring {name}" for name in FILES), "p2.csv is empty"], "0.1\n0.2\n0.3\n", 1)
    assert (kept, templates) == ([("print", "p2.csv is empty")], ["scoring …"])


def test_a_warning_about_no_item_is_reported_each_time_unless_it_may_be_a_cause():
    said, line = SaidLines(), Line("WARNING", "2 fields are empty")
    for _ in range(2):
        assert warned(said, [line, Line("print", "loaded"), Line("WARNING", "p1.csv is odd")]) == [("… fields are empty", line.text)]
    assert warned(said, [line, Line("WARNING", "p1.csv failed")], missing=1) == [("… fields are empty", line.text)]
    assert warned(said, [line, Line("WARNING", "p1.csv failed")], missing=2) == []

"""Results, Review: rows accepted and corrected one after the other."""

from __future__ import annotations

import csv
import io

import pytest

UNSURE = """
    import json, os
    def run(mini_batch):
        names = [os.path.basename(path) for path in mini_batch]
        sure = {name: [0.9, 0.55, 0.7, 0.6][int(name[:4]) % 4] for name in names}
        return [json.dumps({"file": name, "prediction": ["cat", "dog"][int(name[:4]) % 2], "probability": sure[name]}) for name in names]
"""
FIRST, SECOND = "0001.csv", "0003.csv"  # the least certain, dogs


@pytest.fixture
def labels_of(workspace):
    return lambda run: {key.file: annotation.label for key, annotation in workspace.annotations.annotations(run.id).items()}


def text_of(page) -> str:
    return " ".join(element.value.replace("\\", "") for element in (*page.caption, *page.text, *page.code))


def test_the_least_certain_row_is_shown_and_accepting_goes_on_to_the_next(ended, open_page, labels_of):
    run = ended(UNSURE, files=4)
    page = open_page("results.py", run=run.id, look="Review")
    assert not page.exception
    assert FIRST in text_of(page)
    page = page.button(key="accept").click().run()
    assert labels_of(run) == {FIRST: "dog"}
    assert SECOND in text_of(page)
    page = page.button(key="class_0").click().run()
    assert labels_of(run) == {FIRST: "dog", SECOND: page.button(key="class_0").label}


def test_a_label_that_is_no_class_yet_corrects_too_and_can_be_undone(ended, open_page, labels_of):
    run = ended(UNSURE, files=4)
    page = open_page("results.py", run=run.id, look="Review")
    page.text_input(key="other_label").input("=wolf")
    page = next(button for button in page.button if button.label == "Correct").click().run()
    assert labels_of(run) == {FIRST: "=wolf"}
    page = page.button(key="review_back").click().run()
    assert "Corrected to" in text_of(page)
    page = page.button(key="review_undo").click().run()
    assert labels_of(run) == {}


def test_a_queue_that_is_done_says_so_and_its_labels_are_taken_as_csv(ended, open_page, get):
    run = ended(UNSURE, files=2)
    page = open_page("results.py", run=run.id, look="Review")
    for _ in range(2):
        page = page.button(key="accept").click().run()
    assert "All rows of this queue are reviewed" in page.success[0].value
    status, headers, body = get(f"downloads/reviewed.csv?run={run.id}")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/csv")
    rows = list(csv.reader(io.StringIO(body.decode())))
    assert rows == [["File", "Prediction", "Label", "Note"], ["0000.csv", "cat", "cat", ""], ["0001.csv", "dog", "dog", ""]]


def test_a_place_in_the_address_that_is_not_there_opens_the_first_row(ended, open_page):
    run = ended(UNSURE, files=4)
    for place in ("99", "0", "x", "-1", "9" * 40):
        assert FIRST in text_of(open_page("results.py", run=run.id, look="Review", review=place))


def test_what_is_reviewed_becomes_the_true_labels_of_the_dataset(ended, open_page, workspace, get):
    run = ended(UNSURE, files=4, name="cats")
    page = open_page("results.py", run=run.id, look="Review")
    assert "use_labels" not in [button.key for button in page.button]
    page = page.button(key="accept").click().run()
    page.text_input(key="other_label").input("cat")
    page = next(button for button in page.button if button.label == "Correct").click().run()
    page = page.button(key="use_labels").click().run()
    assert [(labels.name, labels.count) for labels in workspace.labels("d")] == [("Review of cats", 2)]
    report = get(f"downloads/report.html?run={run.id}")[2].decode()
    assert "by the labels “Review of cats”" in report
    assert "50.00%" in report

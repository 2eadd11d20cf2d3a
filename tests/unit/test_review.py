"""The review queue: which rows come first, the decisions, the labels that come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.predictions import review
from services.predictions.annotations import Annotation
from services.predictions.evaluation import Verdict, evaluate
from services.predictions.exports import rows_as_csv
from services.predictions.filters import EVERY_PREDICTION, Filter
from services.predictions.label_file import keep_labels
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.review import TABLE_ORDER, Decision
from services.predictions.writer import make_table


@pytest.fixture
def table_of(tmp_path: Path):
    def make(*rows: str) -> Predictions:
        names = [f"d/{number}.png" for number in range(len(rows))]
        lines = [f"{name}: {row}" for name, row in zip(names, rows, strict=True)]
        make_table([ScoredMiniBatch(0, names, "/root", lines, "w", 1, 0.1, "")], tmp_path / "t.parquet")
        return Predictions(tmp_path / "t.parquet")

    return make


def scored(table: Predictions, filter_: Filter = EVERY_PREDICTION) -> tuple[str, list[int]]:
    label, order = next(iter(review.orders(table).items()))
    return label, [row.number for row in review.queue(table, filter_, order)]


def answer(label: str, **scores: float) -> str:
    return "{" + f'"label": "{label}"' + "".join(f', "{name.replace("_", " ")}": {score}' for name, score in scores.items()) + "}"


def test_the_lowest_probability_of_the_prediction_comes_first(table_of):
    table = table_of(*(answer(label, probability=p) for label, p in (("a", 0.9), ("b", 0.55), ("c", 0.34), ("a", 1.0))))
    assert scored(table) == ("Least certain: probability", [2, 1, 0, 3])


@pytest.mark.parametrize(
    ("order", "value", "words"),
    [
        ("Least certain: probability", 0.34, "probability 0.34"),
        ("Least certain: score nearest to 0.5", 0.02, "score 0.02 from 0.5"),
        ("Least certain: the greatest probability", 0.4, "greatest probability 0.4"),
        ("Lowest change", -3.5, "change -3.5"),
        ("Highest change", 3.5, "change -3.5"),  # whose order is by the number below zero
    ],
)
def test_the_number_of_a_rows_place_is_named(order, value, words):
    assert review.describe_certainty(order, value) == words


def test_of_two_classes_the_probability_of_one_counts_by_how_far_it_is_from_a_half(table_of):
    table = table_of(*(answer(label, score=p) for label, p in (("yes", 0.9), ("no", 0.05), ("no", 0.48), ("yes", 0.6))))
    assert scored(table) == ("Least certain: score nearest to 0.5", [2, 3, 0, 1])


def test_probabilities_of_each_class_count_by_the_greatest(table_of):
    rows = [(0.8, 0.1, 0.1), (0.4, 0.35, 0.25), (0.2, 0.5, 0.3)]
    table = table_of(*(answer("x", probability_a=a, probability_b=b, probability_c=c) for a, b, c in rows))
    assert scored(table) == ("Least certain: the greatest probability", [1, 2, 0])


def test_a_score_that_is_the_prediction_counts_by_how_far_it_is_from_a_half(table_of):
    assert scored(table_of("0.99", "0.02", "0.61", "0.5")) == ("Least certain: prediction nearest to 0.5", [3, 2, 1, 0])


def test_what_says_nothing_of_certainty_is_reviewed_in_the_tables_order(table_of):
    table = table_of(answer("a", price=120.0), answer("b", price=99.5))
    assert scored(table) == (TABLE_ORDER, [0, 1])
    assert [row.number for row in review.queue(table, order=review.orders(table)["Lowest price"])] == [1, 0]


def test_a_row_without_a_number_comes_last(table_of):
    table = table_of('{"label": "a", "probability": null}', answer("b", probability=0.9), answer("c", probability=0.2))
    assert scored(table)[1] == [2, 1, 0]


def test_only_what_is_filtered_is_queued(table_of):
    table = table_of("cat", "dog", "cat")
    assert scored(table, Filter(classes=("cat",)))[1] == [0, 2]
    assert len(review.queue(table, most=2)) == 2


def test_the_next_row_is_the_first_without_a_decision_behind_this_one_or_before_it(table_of):
    rows = review.queue(table_of("cat", "dog", "cat"))
    annotations = {rows[1].key: Annotation(label="dog")}
    assert review.next_open(rows, annotations, 0) == 2
    assert review.next_open(rows, annotations, 2) == 0
    assert review.next_open(rows, {row.key: Annotation(label="x") for row in rows}, 0) is None
    assert review.next_open([], {}, -1) is None


def test_the_predictions_own_text_is_accepted_another_label_corrects_it(table_of):
    row = review.queue(table_of(answer("cat", probability=0.5)))[0]
    assert row.decision({}) is Decision.OPEN
    assert row.decision({row.key: Annotation(note="odd")}) is Decision.OPEN
    assert row.decision({row.key: Annotation(label="cat")}) is Decision.ACCEPTED
    assert row.decision({row.key: Annotation(label="dog")}) is Decision.CORRECTED


def test_digits_are_their_own_keys_and_other_classes_are_numbered(table_of):
    assert review.keys_of(["7", "0"]) == {"7": "7", "0": "0"}
    assert review.keys_of(["cat", "dog"]) == {"cat": "1", "dog": "2"}
    assert len(review.keys_of([f"class {number}" for number in range(20)])) == 9
    assert review.classes_of(table_of("cat", "dog", "cat")) == ["cat", "dog"]


def test_numbers_have_no_classes_to_choose_from(table_of):
    assert review.classes_of(table_of("0.5", "0.25")) == []


def test_what_is_reviewed_goes_out_as_a_file_of_labels(table_of):
    table = table_of("cat", "dog", 'it\'s "odd", really', "cat")
    rows = review.queue(table)
    annotations = {
        rows[2].key: Annotation(label="=dog"), rows[0].key: Annotation(note="sure", label="cat"),
        rows[3].key: Annotation(note="only a note"),
    }  # fmt: skip
    columns, lines = review.reviewed_rows(table, annotations)
    assert columns == ["File", "Prediction", "Label", "Note"]
    assert list(lines) == [("d/0.png", "cat", "cat", "sure"), ("d/2.png", 'it\'s "odd", really', "=dog", "")]
    assert list(review.reviewed_rows(table, {})[1]) == []


def test_a_label_of_a_row_of_unknown_number_is_no_label_of_its_whole_file(tmp_path: Path):
    batch = ScoredMiniBatch(0, ["a.csv"] * 3, "/d", ["yes", "no", "yes"], "w", 1, 0.1, "", items_are_rows=True)
    make_table([batch], tmp_path / "t.parquet")
    table = Predictions(tmp_path / "t.parquet")
    names, lines = review.reviewed_rows(table, {review.queue(table)[0].key: Annotation(label="no")})
    (tmp_path / "labels.csv").write_bytes(b"".join(rows_as_csv(names, lines)))
    labels = keep_labels(tmp_path / "labels.csv", "review", tmp_path)
    assert (labels.count, labels.has_rows) == (1, True)
    assert evaluate(table, labels).verdicts[Verdict.NO_LABEL] == 3

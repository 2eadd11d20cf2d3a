"""Predictions beside true labels: what belongs together, what is left over, and the figures, checked with scikit-learn."""

import csv
import math

import pytest

from services.errors import IntakeError, NotFound
from services.predictions import exports
from services.predictions.evaluation import UnmatchedLabel, Verdict, cell, evaluate, verdict_is
from services.predictions.label_file import keep_labels, kept_labels, label_columns, labels_of
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table


@pytest.fixture
def table(tmp_path):
    """`table({"a/0.png": "cat"})` is a table of these predictions; None is an item that failed."""

    def make(predictions, name="predictions-1.parquet"):
        batches = [
            ScoredMiniBatch(n, [file], "/d", [] if value is None else [f"{file}: {value}"], "w", 1, 0.1, "bad" if value is None else "")
            for n, (file, value) in enumerate(predictions.items())
        ]
        make_table(batches, tmp_path / name)
        return Predictions(tmp_path / name)

    return make


@pytest.fixture
def labels(tmp_path):
    """`labels([("a.png", "cat")])` keeps a CSV file of labels with the header File,Label."""

    def make(rows, header=("File", "Label")):
        path = tmp_path / "labels.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([*([header] if header else []), *rows])
        return keep_labels(path, "my labels.csv", tmp_path)

    return make


def verdicts(evaluation):
    """By file."""
    rows = Predictions(evaluation.path).page(verdict_is(Verdict.CORRECT), 0, 100).to_pylist()
    for verdict in Verdict:
        rows += Predictions(evaluation.path).page(verdict_is(verdict), 0, 100).to_pylist()
    return {row["File"]: row["Verdict"] for row in rows}


def test_a_label_belongs_to_its_path_else_to_the_only_file_of_its_name(table, labels):
    predictions = table({"a/0.png": "cat", "b/0.png": "dog", "b/1.png": "cat", "c.png": None, "d.png": "cat"})
    evaluation = evaluate(
        predictions, labels([("a/0.png", "cat"), ("1.png", "dog"), ("./c.png", "cat"), ("0.png", "dog"), ("gone.png", "cat")])
    )
    assert verdicts(evaluation) == {
        "a/0.png": "correct", "b/0.png": "no label", "b/1.png": "wrong", "c.png": "no prediction", "d.png": "no label",
    }  # fmt: skip
    assert evaluation.unmatched_labels() == [("gone.png", "cat", UnmatchedLabel.NO_FILE), ("0.png", "dog", UnmatchedLabel.SEVERAL_FILES)]
    assert (evaluation.accuracy, evaluation.unmatched_label_count()) == (0.5, 2)


def test_contradicting_overruled_and_empty_labels_are_listed_not_used(table, labels):
    predictions = table({"a/0.png": "cat", "1.png": "cat", "2.png": "cat", "3.png": "cat"})
    given = [("a/0.png", "cat"), ("0.png", "dog"), ("1.png", "cat"), ("1.png", "dog"), ("2.png", ""), ("3.png", "cat"), ("3.png", "cat")]
    evaluation = evaluate(predictions, labels(given))
    assert verdicts(evaluation) == {"a/0.png": "correct", "1.png": "no label", "2.png": "no label", "3.png": "correct"}
    assert {(name, why) for name, _, why in evaluation.unmatched_labels()} == {
        ("0.png", UnmatchedLabel.OVERRULED), ("1.png", UnmatchedLabel.CONTRADICTION), ("2.png", UnmatchedLabel.EMPTY),
    }  # fmt: skip


def test_precision_recall_and_the_confusion_matrix_are_scikit_learns(table, labels):
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    said = ["cat" if n % 3 else "dog" if n % 2 else "a bird" for n in range(60)]
    truth = ["cat" if n % 5 else "dog" if n % 4 else "fish" for n in range(60)]
    evaluation = evaluate(
        table({f"f{n % 4}/{n}.png": value for n, value in enumerate(said)}), labels([(f"{n}.png", v) for n, v in enumerate(truth)])
    )
    names = sorted({*said, *truth})
    precision, recall, f1, support = precision_recall_fscore_support(truth, said, labels=names, zero_division=math.nan)
    scores = {score.name: score for score in evaluation.classes()}
    assert sorted(scores) == names
    for place, name in enumerate(names):
        score = scores[name]
        assert (score.precision, score.recall) == pytest.approx((precision[place], recall[place]), nan_ok=True)
        assert score.labelled == support[place]
        assert score.f1 == pytest.approx(0 if math.isnan(f1[place]) else f1[place])
    assert evaluation.accuracy == pytest.approx(accuracy_score(truth, said))
    matrix = confusion_matrix(truth, said, labels=names)
    assert {(label, said): count for label, said, count in evaluation.confusion()} == {
        (names[i], names[j]): matrix[i][j] for i in range(len(names)) for j in range(len(names)) if matrix[i][j]
    }
    label, prediction, count = evaluation.confusion()[-1]
    assert Predictions(evaluation.path).count(cell(label, evaluation.texts_of(prediction))) == count
    wrong = {f"f{n}": sum(truth[i] != said[i] for i in range(60) if i % 4 == n) for n in range(4)}
    folders = evaluation.by_folder()
    assert {folder: count for folder, _, count, _ in folders} == wrong
    shares = [count / evaluated for _, evaluated, count, _ in folders]
    assert shares == sorted(shares, reverse=True)


def test_numbers_get_errors_with_a_size(table, labels):
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    said, truth = [n * 0.37 for n in range(120)], [n * 0.4 - 3 for n in range(120)]
    predictions = table({f"{n}.csv": repr(value) for n, value in enumerate(said)})
    evaluation = evaluate(predictions, labels([(f"{n}.csv", repr(value)) for n, value in enumerate(truth)]))
    assert evaluation.of_numbers
    errors = evaluation.number_errors()
    assert errors.mae == pytest.approx(mean_absolute_error(truth, said))
    assert errors.rmse == pytest.approx(mean_squared_error(truth, said) ** 0.5)
    assert errors.r2 == pytest.approx(r2_score(truth, said))
    assert errors.bias == pytest.approx(sum(said) / 120 - sum(truth) / 120)
    bins = evaluation.residuals(10)
    assert (len(bins), sum(count for _, _, count in bins)) == (10, 120)


def test_numbers_that_are_all_off_by_the_same_have_one_bar(table, labels):
    evaluation = evaluate(table({f"{n}.csv": n * 0.5 for n in range(100)}), labels([(f"{n}.csv", n * 0.5 + 1) for n in range(100)]))
    assert evaluation.residuals() == [(-1.0, -1.0, 100)]


def test_whole_numbers_match_labels_that_pandas_made_floats(table, labels):
    evaluation = evaluate(table({f"{n}.csv": n % 3 for n in range(9)}), labels([(f"{n}.csv", f"{n % 2}.0") for n in range(9)]))
    assert evaluation.verdicts[Verdict.CORRECT] == sum(n % 3 == n % 2 for n in range(9))
    assert {score.name for score in evaluation.classes()} == {"0", "1", "2"}


HOSTILE = {
    "a:b,c.png": "x: y", 'quo"te.png': '"', "new\nline.png": "one\ntwo", "=cmd|' .png": "=1+1", "<script>.png": "![](http://x)",
    "it's [*]?.png": "o'hara", "x" * 4000 + ".png": "y" * 10_000, "\u202ertl.png": "\u202e",
}  # fmt: skip


def test_hostile_names_and_labels_are_joined_as_they_are(table, labels):
    evaluation = evaluate(table(HOSTILE), labels(HOSTILE.items()))
    assert evaluation.verdicts[Verdict.CORRECT] == len(HOSTILE)
    assert evaluation.unmatched_label_count() == 0
    for value in HOSTILE.values():
        assert Predictions(evaluation.path).count(cell(value, (value,))) == 1


def test_our_own_download_is_a_file_of_labels(table, tmp_path):
    predictions = table({"a/0.png": "cat", "b/0.png": "dog, of sorts"})
    (tmp_path / "down.csv").write_bytes(b"".join(exports.export(".csv", predictions)))
    assert evaluate(predictions, keep_labels(tmp_path / "down.csv", "x", tmp_path)).accuracy == 1.0


def test_parquet_labels_are_read_with_their_types(table, tmp_path):
    import pandas as pd

    pd.DataFrame({"weight": [0.5, 0.5], "target": [1, 2], "path": ["0.csv", "1.csv"]}).to_parquet(tmp_path / "l.parquet")
    assert label_columns(tmp_path / "l.parquet").label == "target"
    assert evaluate(table({"0.csv": 1, "1.csv": 1}), keep_labels(tmp_path / "l.parquet", "l", tmp_path)).accuracy == 0.5


def test_without_a_header_the_first_row_is_a_label_too(table, labels):
    evaluation = evaluate(table({"0.csv": "cat", "1.csv": "dog"}), labels([("0.csv", "cat"), ("1.csv", "dog")], header=None))
    assert evaluation.verdicts[Verdict.CORRECT] == 2


def test_semicolons_and_a_byte_order_mark_are_understood(tmp_path):
    (tmp_path / "l.csv").write_text("\ufeffImage;Note;Class\na.png;x;cat\n", encoding="utf-8")
    columns = label_columns(tmp_path / "l.csv")
    assert (columns.names, columns.file, columns.label) == (("Image", "Note", "Class"), "Image", "Class")
    assert keep_labels(tmp_path / "l.csv", "l", tmp_path).count == 1


@pytest.mark.parametrize(
    "content", [b"", b"only\none\ncolumn\n", b"\0\1\2", b"PAR1 not really", b"File,Label\na,b\nc,d,e,f\n", b"File,Label\n\xff\xfe,x\n"]
)
def test_what_is_no_file_of_labels_is_refused_in_words(tmp_path, content):
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(IntakeError) as refused:
        keep_labels(tmp_path / "l.csv", "l.csv", tmp_path)
    assert "l.csv" in refused.value.message
    assert refused.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.csv"]


def test_labels_are_kept_under_their_content_and_found_again(labels, tmp_path):
    first, second = labels([("a", "1")]), labels([("a", "1")])
    assert first == second
    other = labels([("a", "2")])
    assert {kept.id for kept in kept_labels(tmp_path)} == {first.id, other.id}
    assert labels_of(tmp_path, other.id).name == "my labels.csv"
    with pytest.raises(NotFound):
        labels_of(tmp_path, "../x")


def test_a_newer_table_is_evaluated_anew_and_the_older_result_removed(table, labels, tmp_path):
    given = labels([("a", "1"), ("b", "1")])
    evaluate(table({"a": "1"}), given)
    evaluation = evaluate(table({"a": "1", "b": "1"}, "predictions-2.parquet"), given)
    assert evaluation.verdicts[Verdict.CORRECT] == 2
    assert [path.name for path in tmp_path.glob("judged-*")] == [evaluation.path.name]


def test_truth_values_are_evaluated_however_the_labels_spell_them(table, labels):
    predictions = table({"a": '{"ok": true, "n": 1}', "b": '{"ok": false, "n": 1}', "c": '{"ok": true, "n": 2}'})
    evaluation = evaluate(predictions, labels([("a", "true"), ("b", "False"), ("c", "FALSE")]), "ok")
    assert verdicts(evaluation) == {"a": "correct", "b": "correct", "c": "wrong"}
    assert evaluation.confusion() == [("False", "False", 1), ("False", "True", 1), ("True", "True", 1)]


def test_large_numbers_that_doubles_do_not_tell_apart_are_not_the_same(table, labels):
    evaluation = evaluate(table({"a": str(2**53 + 1), "b": "7.0"}), labels([("a", str(2**53)), ("b", "7")]))
    assert verdicts(evaluation) == {"a": "wrong", "b": "correct"}


def test_of_several_values_the_chosen_or_the_predicted_one_is_evaluated(table, labels):
    predictions = table(
        {
            "a.png": '{"label": "cat", "score": 0.5, "seen": 1}',
            "b.png": '{"label": "dog", "score": 1.5, "seen": 2}',
            "c.png": '{"score": 2.5, "seen": 2}',
        }
    )
    kept = labels([("a.png", "cat"), ("b.png", "cat"), ("c.png", "cat")])
    evaluation = evaluate(predictions, kept)
    assert verdicts(evaluation) == {"a.png": "correct", "b.png": "wrong", "c.png": "no prediction"}
    assert evaluation.confusion() == [("cat", "cat", 1), ("cat", "dog", 1)]
    joined = Predictions(evaluation.path)  # its own Label stands beside the predictions' label
    assert [row["File"] for row in joined.page(cell("cat", ("dog",), evaluation.of)).to_pylist()] == ["b.png"]
    assert [(row["label 2"], row["Label"]) for row in joined.page().to_pylist()] == [("cat", "cat"), ("dog", "cat"), (None, "cat")]
    assert evaluate(predictions, kept, "Prediction").accuracy == 0

    kept = labels([("a.png", "1"), ("b.png", "2"), ("c.png", "3")])
    assert evaluate(predictions, kept, "score").number_errors().mae == 0.5
    assert evaluate(predictions, kept, "seen").confusion() == [("1", "1", 1), ("2", "2", 1), ("3", "2", 1)]  # whole numbers, but few


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("true", "false"), ("True", "False")])
def test_predictions_of_true_and_false_are_judged_by_labels_however_spelled(table, labels, yes, no):
    predicted = {f"{number}.png": str(number % 4 < 2) for number in range(12)}
    evaluation = evaluate(table(predicted), labels([(f"{number}.png", yes if number % 4 in (0, 3) else no) for number in range(12)]))
    assert (evaluation.comparable, evaluation.of_numbers, evaluation.accuracy, evaluation.macro_f1) == (True, False, 0.5, 0.5)
    assert evaluation.confusion() == [(label, predicted, 3) for label in ("False", "True") for predicted in ("False", "True")]


def test_predictions_of_7_0_are_the_class_7_where_they_are_wrong_too(table, labels):
    predicted = {"a": "7.0", "b": "7.0", "c": "3.0", "d": "cat", "e": "cat", "f": "cat", "g": "cat"}
    evaluation = evaluate(table(predicted), labels([("a", "7"), ("b", "3"), ("c", "3.0"), *((name, "cat") for name in "defg")]))
    assert [(score.name, score.labelled, score.predicted, score.correct) for score in evaluation.classes()] == [
        ("cat", 4, 4, 4), ("3", 2, 1, 1), ("7", 1, 2, 1),
    ]  # fmt: skip
    assert evaluation.macro_f1 == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert evaluation.matrix(["3", "7", "cat"], "others")[0]["3", "7"] == 1
    rows = Predictions(evaluation.path).page(cell("3", evaluation.texts_of("7"))).to_pylist()
    assert [row["File"] for row in rows] == ["b"]

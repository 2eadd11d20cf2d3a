"""Two runs side by side: which predictions changed and whether they drift, checked with SciPy."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.domain import Run, RunRequest, RunStatus
from services.predictions.comparison import Change, change_is, changed, compare, likely_pair, settings_that_differ
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table
from services.settings import ParallelRunSettings


@pytest.fixture
def table(tmp_path):
    """`table("older", [("a.png", "cat")])` is a table of these rows, in mini-batches of one; None is an item that failed."""

    def make(name, rows):
        batches = [
            ScoredMiniBatch(n, [file], "/d", [] if value is None else [f"{file}: {value}"], "w", 1, 0.1, "bad" if value is None else "")
            for n, (file, value) in enumerate(rows)
        ]
        folder = tmp_path / name
        folder.mkdir()
        make_table(batches, folder / "predictions-1.parquet")
        return Predictions(folder / "predictions-1.parquet")

    return make


def test_each_row_is_compared_with_the_older_runs_of_the_same_file(table):
    older = table("older", [("a", "cat"), ("b", "cat"), ("c", None), ("d", "cat"), ("gone", "dog"), ("f", None)])
    newer = table("newer", [("f", None), ("d", None), ("c", "cat"), ("b", "dog"), ("a", "cat"), ("new", "cat")])
    comparison = compare(older, newer, "run-1")
    assert comparison.changes == dict.fromkeys(Change, 1)
    assert (comparison.gone, comparison.gone_rows()) == (1, [("gone", "dog")])
    assert comparison.transitions() == [("cat", "dog", 1)]
    rows = Predictions(comparison.path)
    assert [row["File"] for row in rows.page(changed("cat", "dog")).to_pylist()] == ["b"]
    assert [row["File"] for row in rows.page(change_is(Change.LOST)).to_pylist()] == ["d"]


def test_the_same_files_in_the_same_order_are_compared_row_by_row(table):
    rows = [(f"{n % 3}.csv", str(n)) for n in range(9)]
    comparison = compare(table("older", rows), table("newer", [*rows[:8], ("2.csv", "80")]), "run-1")
    assert comparison.changes[Change.SAME] == 8
    assert comparison.transitions() == [("8", "80", 1)]


def test_a_file_with_several_rows_is_compared_in_their_order(table):
    older = table("older", [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")])
    newer = table("newer", [("b", "3"), ("a", "1"), ("a", "5"), ("a", "4")])
    comparison = compare(older, newer, "run-1")
    assert (comparison.changes[Change.SAME], comparison.transitions()) == (3, [("2", "5", 1)])
    assert [row["Prediction"] for row in Predictions(comparison.path).page(changed()).to_pylist()] == ["5"]


def test_the_same_number_written_otherwise_is_the_same(table):
    comparison = compare(table("older", [("a", "7"), ("b", "0.5")]), table("newer", [("b", "0.50"), ("a", "7.0")]), "run-1")
    assert comparison.changes[Change.SAME] == 2


def test_drift_of_classes_is_scipys_chi_square(table):
    from scipy.stats import chi2_contingency

    older = table("older", [(f"{n}", "cat" if n % 4 else "dog") for n in range(400)])
    newer = table("newer", [(f"{n}", "cat" if n % 2 else "dog") for n in range(300)])
    drift = compare(older, newer, "run-1").drift()
    found = chi2_contingency([[300, 100], [150, 150]], correction=False)
    assert (drift.statistic, drift.p_value) == pytest.approx((found.statistic, found.pvalue))
    assert (drift.test, drift.warnings) == ("chi-square", ())
    assert drift.psi == pytest.approx(0.2747, abs=1e-4)
    assert drift.describe == "shifted"


def test_drift_of_numbers_is_scipys_kolmogorov_smirnov(table):
    from scipy.stats import ks_2samp

    before, after = [n * 1.31 % 7 for n in range(301)], [n * 1.7 % 8 + 0.25 for n in range(207)]
    older = table("older", [(f"{n}", repr(value)) for n, value in enumerate(before)])
    newer = table("newer", [(f"{n}", repr(value)) for n, value in enumerate(after)])
    drift, found = compare(older, newer, "run-1").drift(), ks_2samp(before, after, method="asymp")
    assert (drift.statistic, drift.p_value) == pytest.approx((found.statistic, found.pvalue))
    assert drift.psi > 0.1


def test_what_did_not_move_is_stable_and_too_few_rows_are_said(table):
    rows = [(f"{n}", ["cat", "dog"][n % 2]) for n in range(20)]
    drift = compare(table("older", rows), table("newer", rows), "run-1").drift()
    assert (drift.psi, drift.describe, drift.p_value) == (0.0, "stable", 1.0)
    assert "too few" in drift.warnings[0]


def test_texts_of_all_sorts_and_numbers_against_classes_have_no_drift(table):
    texts, numbers = [(f"{n}", f"text {n}") for n in range(120)], [(f"{n}", n * 0.5) for n in range(120)]
    assert compare(table("a", numbers), table("b", texts), "run-1").drift() is None


def test_a_run_without_predictions_is_compared_and_said_to_be_too_small(table):
    comparison = compare(table("older", []), table("newer", [("a", None)]), "run-1")
    assert comparison.changes[Change.NEW] == 1
    assert comparison.drift() is None or "too few" in comparison.drift().warnings[0]


def test_the_settings_that_differ_are_told_and_no_others():
    request = RunRequest(("m:1",), ("d:1",), "/s.py", ParallelRunSettings(mini_batch_size="5"), arguments=("--a", "1"))
    older = Run("run-1", request, RunStatus.COMPLETED, datetime.now(UTC))
    newer = replace(
        older, id="run-2", request=replace(request, models=("m:2",), arguments=(), settings=ParallelRunSettings(mini_batch_size="50"))
    )
    assert settings_that_differ(older, newer) == [("model", "m:1", "m:2"), ("arguments", "--a 1", ""), ("mini_batch_size", "5", "50")]
    assert settings_that_differ(older, older) == []


def test_what_is_called_the_same_but_has_another_content_is_told():
    run = Run("run-1", RunRequest((), ("d:1",), "/a/s.py"), RunStatus.COMPLETED, datetime.now(UTC))
    then, now = {"script": "1" * 64, "dataset": "2" * 64}, {"script": "3" * 64, "dataset": "2" * 64}
    assert settings_that_differ(run, run, then, now) == [("content of the script", "11111111", "33333333")]
    renamed = replace(run, request=replace(run.request, entry_script="/a/t.py"))
    assert settings_that_differ(run, renamed, then, now) == [("scoring script", "s.py", "t.py")]


@pytest.mark.parametrize(("script", "told"), [("/a/t.py", ("s.py", "t.py")), ("/b/s.py", ("/a/s.py", "/b/s.py"))])
def test_scripts_of_one_name_are_told_apart_by_their_folders(script, told):
    request = RunRequest(("m:1",), ("d:1",), "/a/s.py")
    older = Run("run-1", request, RunStatus.COMPLETED, datetime.now(UTC))
    newer = replace(older, id="run-2", request=replace(request, entry_script=script))
    assert settings_that_differ(older, newer) == [("scoring script", *told)]


def test_a_column_of_a_joined_columns_name_gets_another_name(table):
    older = table("older", [("a", '{"change": 1, "before": "x"}')])
    newer = table("newer", [("a", '{"change": 2, "before": "y"}')])
    rows = Predictions(compare(older, newer, "run-1").path).page().to_pylist()
    assert [(row["change 2"], row["Change"], row["before 2"]) for row in rows] == [(2, Change.CHANGED, "y")]


def test_a_file_with_several_rows_in_one_run_only_is_compared_too(table):
    older = table("older", [("b", "1"), ("a", "1"), ("c", "1")])
    newer = table("newer", [("a", "1"), ("a", "2"), ("b", "2")])
    comparison = compare(older, newer, "run-1")
    assert {change: count for change, count in comparison.changes.items() if count} == {
        Change.SAME: 1, Change.CHANGED: 1, Change.NEW: 1,
    }  # fmt: skip
    assert comparison.gone_rows() == [("c", "1")]


def test_of_several_values_the_one_that_predicts_is_compared(table):
    older = table("older", [(f"{n}", f'{{"score": 0.5{n}, "label": {n % 2}}}') for n in range(8)])
    newer = table("newer", [(f"{n}", f'{{"score": 0.6{n}, "label": {int(n == 2) or n % 2}}}') for n in range(8)])
    comparison = compare(older, newer, "run-1")
    assert (comparison.of, comparison.transitions()) == ("label", [("0", "1", 1)])
    assert comparison.class_mix() == [("1", 4, 5), ("0", 4, 3)]
    assert comparison.drift().test == "chi-square"
    rows = Predictions(comparison.path).page(changed("0", "1", comparison.of)).to_pylist()
    assert [(row["File"], row["Before"], row["label"]) for row in rows] == [("2", "0", 1)]


@pytest.mark.parametrize(("asked", "test"), [("score", "Kolmogorov-Smirnov"), ("Prediction", "chi-square")])
def test_the_compared_column_is_the_one_that_is_asked_for(table, asked, test):
    older = table("older", [(f"{n}", f'{{"score": 0.5{n}, "label": "cat"}}') for n in range(8)])
    newer = table("newer", [(f"{n}", f'{{"score": 0.6{n}, "label": "cat"}}') for n in range(8)])
    compare(older, newer, "run-1")
    comparison = compare(older, newer, "run-1", asked)
    assert (comparison.of, comparison.changes[Change.CHANGED]) == (asked, 8)
    assert comparison.drift().test == test


def test_a_column_that_only_one_run_has_is_not_compared(table):
    older, newer = table("older", [("a", "cat"), ("b", "cat")]), table("newer", [("a", '{"label": "cat"}'), ("b", "cat")])
    assert compare(older, newer, "run-1", "label").of == "Prediction"


def test_the_pair_to_compare_is_of_one_dataset_and_script_and_completed():
    def run(day, status=RunStatus.COMPLETED, dataset="d:1", script="/a.py"):
        request = RunRequest((), (dataset,), script)
        return Run(f"r{day}", request, status, datetime(2026, 1, day, tzinfo=UTC), items_succeeded=int(status is RunStatus.COMPLETED))

    def names(runs, of=None):
        return tuple(run.id for run in likely_pair(runs, of))

    canceled_of_another = run(9, RunStatus.CANCELED, script="/b.py")
    runs = [canceled_of_another, run(8, dataset="e:1"), run(7, script="/b.py"), run(6), run(5, RunStatus.FAILED), run(4), run(3)]
    assert names(runs) == ("r4", "r6")
    assert names(runs, runs[2]) == ("r6", "r7")
    assert names(runs, runs[-1]) == ("r3", "r6")
    assert names(runs[:2]) == ("r8", "r9")


def test_contents_that_can_not_be_compared_are_a_difference():
    run = Run("r", RunRequest((), ("d:1",), "/a.py"), RunStatus.COMPLETED, datetime(2026, 1, 1, tzinfo=UTC))
    reason = "not compared: /a holds more than 2,000 files"
    inputs = {"script": "a" * 64, "files beside the script": reason}
    assert settings_that_differ(run, run, inputs, inputs) == [("content of the files next to the script", reason, reason)]


def test_no_files_next_to_a_script_are_called_nothing():
    run = Run("r", RunRequest((), ("d:1",), "/a.py"), RunStatus.COMPLETED, datetime(2026, 1, 1, tzinfo=UTC))
    then, now = ({"files beside the script": digest} for digest in (hashlib.sha256().hexdigest(), "b" * 64))
    assert settings_that_differ(run, run, then, now) == [("content of the files next to the script", "nothing", "b" * 8)]

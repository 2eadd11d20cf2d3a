"""Curves, calibration and slices of an evaluation, checked with scikit-learn and by hand."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from services.predictions import curves, slices
from services.predictions.columns import Kind, own_names
from services.predictions.curves import MOST_POINTS, Scoring
from services.predictions.evaluation import BEFORE, Evaluation, Verdict
from services.predictions.filters import Condition, Operator
from services.predictions.slices import Measure

OWN = own_names(())


def evaluation(columns, kind=Kind.CATEGORY):
    """An evaluation of rows with these columns, each a list; Verdict and Residual are made where they are missing."""
    columns = {name: np.asarray(values) for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    columns = {"Prediction": np.full(count, "yes"), "Folder": np.full(count, ""), "Residual": np.zeros(count)} | columns
    columns.setdefault("Verdict", np.where(columns["Prediction"] == columns["Label"], Verdict.CORRECT.value, Verdict.WRONG.value))
    database = duckdb.connect()
    given_columns = {name: values.tolist() for name, values in columns.items()}
    selected = ", ".join(f'unnest(${number}) AS "{name}"' for number, name in enumerate(given_columns, 1))
    database.execute(f"CREATE TABLE evaluated AS SELECT {selected}", list(given_columns.values()))
    return Evaluation(Path("evaluated.parquet"), kind, "Prediction", OWN, database)


def of(score, label):
    return evaluation({"score": score, "Label": np.where(label, "yes", "no")})


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=200), st.booleans())
def test_the_areas_are_scikit_learns_with_ties_and_without(rows, tied):
    score = np.array([value / 7 for value, _ in rows]) if tied else np.random.default_rng(len(rows)).random(len(rows))
    label = np.array([truth for _, truth in rows])
    label[:2] = True, False
    result = curves.curves(of(score, label), Scoring("score", "yes"))
    assert result.auc == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert result.average_precision == pytest.approx(average_precision_score(label, score), abs=1e-9)
    fpr, tpr, thresholds = roc_curve(label, score, drop_intermediate=False)
    found = [(point.false_positive_rate, point.recall, point.threshold) for point in result.points]
    assert np.allclose(found[0], (0, 0, np.inf))
    assert np.allclose(found[-1], (1, 1, thresholds[-1]))
    if len(fpr) < 90:
        assert np.allclose(found, list(zip(fpr, tpr, thresholds, strict=True)))


def test_many_rows_are_thinned_between_exact_ends(monkeypatch):
    monkeypatch.setattr(curves, "_BATCH", 4096)  # groups of equal scores go over the ends of batches
    random = np.random.default_rng(3)
    score = random.normal(size=60_000).round(3)
    label = random.random(60_000) < 1 / (1 + np.exp(-2 * score))
    result = curves.curves(of(score, label), Scoring("score", "yes"))
    assert result.auc == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert result.average_precision == pytest.approx(average_precision_score(label, score), abs=1e-9)
    assert 500 < len(result.points) <= MOST_POINTS
    precision, recall, thresholds = precision_recall_curve(label, score)
    exact = dict(zip(thresholds, zip(precision, recall, strict=True), strict=False))
    assert all(np.allclose((p.precision, p.recall), exact[p.threshold]) for p in result.points[1:])
    assert [p.threshold for p in result.points[1:30]] == list(thresholds[::-1][:29])
    assert result.points[-1].threshold == thresholds[0]


def test_the_figures_at_a_threshold_are_counts():
    result = of([0.9, 0.8, 0.8, 0.3, np.nan], [True, False, True, True, True])
    at = curves.at(result, Scoring("score", "yes"), 0.8)
    assert (at.true_positives, at.false_positives, at.positives, at.negatives) == (2, 1, 3, 1)
    assert (at.precision, at.recall, at.false_positive_rate) == (2 / 3, 2 / 3, 1)
    assert curves.curves(result, Scoring("score", "yes")).without_score == 1


def test_the_probability_of_what_was_predicted_is_turned_for_the_other_class():
    columns = {"Prediction": ["yes", "no", "no"], "Label": ["yes", "yes", "no"], "Probability": [0.9, 0.8, 0.6]}
    scoring = Scoring("Probability", "yes", of_prediction=True)
    points = curves.curves(evaluation(columns), scoring).points
    assert [point.threshold for point in points[1:]] == pytest.approx([0.9, 0.4, 0.2])
    assert [point.true_positives for point in points] == [0, 1, 1, 2]


def test_the_likeliest_scores_come_first():
    columns = {"Prediction": Kind.CATEGORY, "Label": Kind.CATEGORY, "age": Kind.WHOLE_NUMBER, "my score": Kind.NUMBER}
    columns |= {"Probability": Kind.NUMBER, "Probability of yes": Kind.NUMBER, "Residual": Kind.NUMBER, "name": Kind.TEXT}
    found = curves.scores(columns, OWN, "Prediction", ["no", "yes"], "yes")
    assert [scoring.column for scoring in found] == ["Probability of yes", "Probability", "my score", "age"]
    assert [scoring.of_prediction for scoring in found[:2]] == [False, True]
    of_any = curves.scores(columns, OWN, "Prediction", ["a", "b", "c"], None)
    assert of_any[0] == Scoring("Probability")
    assert curves.likely_event(["yes", "no"]) == "yes"
    assert curves.likely_event(["a", "b", "c"]) is None


def test_calibration_is_the_weighted_distance_of_share_and_score():
    result = of([0.95, 0.95, 0.05, 0.05], [True, False, False, False])
    found = curves.calibration(result, Scoring("score", "yes"))
    assert [(count, round(mean, 2), share) for _, _, count, mean, share in found.bins] == [(2, 0.05, 0.0), (2, 0.95, 0.5)]
    assert found.error == pytest.approx(0.25)
    assert curves.calibration(of([1.5, 0.2], [True, False]), Scoring("score", "yes")) is None


# ---- slices ------------------------------------------------------------------------------------------------------------------------------


def sliced(columns, kinds, **values):
    result = evaluation(columns, **values)
    given_kinds = {"Prediction": Kind.CATEGORY, "Folder": Kind.CATEGORY} | {name: kinds.get(name, Kind.CATEGORY) for name in columns}
    return slices.slices(result, given_kinds, OWN, ["Label"])


def wrong_where(wrong):
    return {"Prediction": np.full(len(wrong), "yes"), "Label": np.where(wrong, "no", "yes")}


def test_a_slice_with_more_errors_than_chance_is_found_and_a_small_one_is_not():
    random = np.random.default_rng(0)
    region = random.choice(["north", "south", "rare"], 4000, p=[0.6, 0.395, 0.005])
    wrong = random.random(4000) < np.where(region == "south", 0.3, 0.1)
    wrong[region == "rare"] = True
    noise = random.choice(["a", "b", "c"], 4000)
    found = sliced(wrong_where(wrong) | {"region": region, "noise": noise}, {})
    assert found.measure is Measure.WRONG
    assert [slice_.conditions for slice_ in found.slices] == [(Condition("region", Operator.ONE_OF, ("south",)),)]
    (south,) = found.slices
    assert south.rows == (region == "south").sum()
    assert south.error == pytest.approx(wrong[region == "south"].mean())
    assert found.error < south.lower < south.error
    assert found.smallest == 40


def test_a_range_of_numbers_and_two_columns_together_are_slices():
    random = np.random.default_rng(1)
    age, plan = random.integers(18, 90, 8000), random.choice(["basic", "pro"], 8000)
    wrong = random.random(8000) < np.where((age > 75) & (plan == "pro"), 0.8, 0.05)
    found = sliced(wrong_where(wrong) | {"age": age, "plan": plan}, {"age": Kind.WHOLE_NUMBER})
    assert found.pairs
    first = found.slices[0]
    assert {condition.column for condition in first.conditions} == {"age", "plan"}
    (lower,) = [float(c.values[0]) for c in first.conditions if c.operator is Operator.FROM]
    assert lower > 70
    assert first.rows == ((age >= lower) & (plan == "pro")).sum()


def test_the_slices_of_numbers_are_by_their_distance():
    random = np.random.default_rng(2)
    west = random.random(3000) < 0.2
    columns = {"Residual": random.normal(0, np.where(west, 9, 1)), "Prediction": random.random(3000).astype(str)}
    columns |= {"Label": random.random(3000).astype(str), "region": np.where(west, "west", "east")}
    found = sliced(columns, {}, kind=Kind.NUMBER)
    assert found.measure is Measure.DISTANCE
    assert found.slices[0].conditions == (Condition("region", Operator.ONE_OF, ("west",)),)
    assert found.slices[0].error == pytest.approx(np.abs(columns["Residual"][west]).mean())


def test_of_two_runs_the_slices_are_where_the_newer_one_is_worse():
    random = np.random.default_rng(4)
    half = random.choice(["first", "second"], 2000)
    wrong, before = random.random(2000) < np.where(half == "second", 0.4, 0.1), random.random(2000) < 0.25
    columns = wrong_where(wrong) | {"half": half, BEFORE[0]: np.where(before, Verdict.WRONG.value, Verdict.CORRECT.value)}
    found = sliced(columns | {BEFORE[1]: np.zeros(2000)}, {})
    (second,) = found.slices
    assert (found.measure, second.conditions) == (Measure.MORE_WRONG, (Condition("half", Operator.ONE_OF, ("second",)),))
    assert second.now == pytest.approx(wrong[half == "second"].mean())
    assert second.before == pytest.approx(before[half == "second"].mean())
    assert second.error == pytest.approx(second.now - second.before)
    assert [condition.column for condition in slices.filter_of(second, found.measure).conditions] == ["half", "Verdict", BEFORE[0]]


def test_no_slice_is_found_in_noise_or_in_nothing():
    random = np.random.default_rng(5)
    noise = {f"c{number}": random.choice(list("abcde"), 3000) for number in range(12)}
    assert sliced(wrong_where(random.random(3000) < 0.2) | noise, {}).slices == ()
    nothing = sliced({"Label": np.array(["x"]), "Verdict": np.array([Verdict.NO_LABEL.value])}, {})
    assert (nothing.rows, nothing.slices) == (0, ())


def test_wilsons_bound_is_that_of_the_formula():
    assert slices.wilson_lower(0.5, 100, 1.959964) == pytest.approx(0.403832, abs=1e-5)
    assert slices.wilson_lower(0, 10, 1.96) == pytest.approx(0)

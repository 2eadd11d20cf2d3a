"""What an evaluation shows: how well predictions agree with their labels, where they don't, and the rows behind each figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages import _evaluation_plots, _layout, _plots, _tables
from pages._results_view import COUNTS, View, choose, describe, option_labels, set_filter
from pages._text import escape
from services import formats
from services.predictions import curves, evaluation, slices
from services.predictions.filters import Condition, Filter, Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_CLASSES = 30  # on a side of the confusion matrix
_MOST_ROWS = 1000
_OTHERS = "other classes"
_ANY = "Any: the prediction is right"


def show(view: View, result: evaluation.Evaluation, label_column: str) -> None:
    """`label_column` is the dataset's own column that the labels are, if they are one."""
    if not result.evaluated:
        st.warning("None of these labels belongs to a prediction of this run. The reasons are below.", icon=":material/warning:")
    elif not result.comparable:
        text = "Predictions and labels can't be compared: one side is numbers, the other is words. Choose other labels, or another column."
        st.warning(text, icon=":material/warning:")
    elif result.of_numbers:
        _numbers(result)
        worst(view, result, label_column)
    else:
        _classes(view, result, label_column)
    with st.container(horizontal=True):
        for verdict in (evaluation.Verdict.NO_LABEL, evaluation.Verdict.NO_PREDICTION):
            if count := result.verdicts[verdict]:
                _to_rows(f"{verdict.capitalize()}: {count:,}", evaluation.verdict_is(verdict))
    if unmatched := result.unmatched_label_count():
        with st.expander(f"Labels without a row: {unmatched:,}", icon=":material/link_off:"):
            rows = result.unmatched_labels(0, _MOST_ROWS)
            _tables.show({"Name": str, "Label": str, "Why": str}, rows, "Labels without a row", most=10)
            if unmatched > len(rows):
                st.caption(f"The first {len(rows):,} of them.")


def _to_rows(label: str, chosen: Filter) -> None:
    st.button(escape(label), key=f"rows_{label}", icon=":material/table_rows:", on_click=set_filter, args=(chosen,), kwargs={"look": ""})


# ---- classes -----------------------------------------------------------------------------------------------------------------------------


def _classes(view: View, result: evaluation.Evaluation, label_column: str) -> None:
    scores = result.classes(_MOST_ROWS)
    wrong = result.verdicts[evaluation.Verdict.WRONG]
    positive = curves.likely_event([score.name for score in scores])
    of_positive = {f"F1 of {score.name}": formats.percent(score.f1) for score in scores if score.name == positive}
    facts = {"Accuracy": formats.percent(result.accuracy), "F1, mean of classes": formats.percent(result.macro_f1), **of_positive}
    _layout.facts(facts | {"Evaluated": f"{result.evaluated:,}", "Wrong": f"{wrong:,}", "Classes": f"{len(scores):,}"})
    if wrong:
        _to_rows(f"Wrong: {wrong:,}", evaluation.verdict_is(evaluation.Verdict.WRONG))
    _matrix(result, scores)
    worst(view, result, label_column)
    st.markdown("**Classes**")
    columns = {"Class": str, "Labelled": int, "Predicted": int, "Correct": int, "Precision": float, "Recall": float, "F1": float}
    rows = [
        (s.name, s.labelled, s.predicted, s.correct, *(None if math.isnan(v) else 100 * v for v in (s.precision, s.recall, s.f1)))
        for s in scores
    ]
    config = dict.fromkeys(("Precision", "Recall", "F1"), _tables.percent_column())
    _tables.show(columns, rows, "Precision and recall by class", most=12, counts=COUNTS, column_config=config)
    _scores(view, result, [score.name for score in scores])


def _matrix(result: evaluation.Evaluation, scores: Sequence[evaluation.ClassScore]) -> None:
    counts, names = result.matrix([score.name for score in scores[:_MOST_CLASSES]], _OTHERS)
    unit = st.segmented_control(
        "In the cells", ("Percent of the row", "Rows"), default="Percent of the row", key="matrix_unit", required=True,
        help="A row is a true label: its percentages add up to 100.",
    )  # fmt: skip
    figure = _evaluation_plots.confusion(names, counts, shares=unit != "Rows", others=_OTHERS)

    def open_cell(_: int, point: Any) -> None:
        row, column = point if isinstance(point, list | tuple) else divmod(point, len(names))
        label, predicted = names[row], names[column]
        if _OTHERS not in (label, predicted):
            set_filter(evaluation.cell(label, result.texts_of(predicted), result.of), look="")

    cells = [(label, predicted, counts.get((label, predicted), 0)) for label in names for predicted in names]
    numbers = {"True label": [c[0] for c in cells], "Predicted": [c[1] for c in cells], "Rows": [c[2] for c in cells]}
    alt = f"Confusion matrix, accuracy {formats.percent(result.accuracy)}"
    _plots.draw(figure, "confusion", alt, open_cell, title="Confusion matrix", numbers=numbers)
    more = f" These are the {_MOST_CLASSES} classes with the most labels; “{_OTHERS}” are all the rest." if _OTHERS in names else ""
    st.caption("Outlined cells are correct. Click a cell to show its rows." + more)


# ---- scores ------------------------------------------------------------------------------------------------------------------------------


def _scores(view: View, result: evaluation.Evaluation, classes: list[str]) -> None:
    """ROC, precision-recall and calibration of a score, by a class."""
    if not curves.scores(view.table.columns, view.table.own, result.of, classes, None):
        return
    st.markdown("**Scores**")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        event = choose("Class", "event", [_ANY, *classes], curves.likely_event(classes) or _ANY)
        wanted = None if event == _ANY else event
        offered = {scoring.column: scoring for scoring in curves.scores(view.table.columns, view.table.own, result.of, classes, wanted)}
        if not offered:
            st.caption("No column of numbers can be a score of this class.")
            return
        scoring = offered[choose("Score", "score", list(offered), next(iter(offered)))]
    with st.spinner("Sorting the scores…", show_time=True):
        found = _curves(result, str(result.path), view.table.identity, scoring)
    if math.isnan(found.auc):
        st.info("All judged rows are of the same class, so there are no curves to draw.", icon=":material/info:")
        return
    threshold = _threshold(scoring, found)
    at = curves.at(result, scoring, threshold)
    _layout.facts({
        "ROC AUC": f"{found.auc:.4f}", "Average precision": f"{found.average_precision:.4f}", "Precision": formats.percent(at.precision),
        "Recall": formats.percent(at.recall), "False positive rate": formats.percent(at.false_positive_rate),
        "True positives": f"{at.true_positives:,}", "False positives": f"{at.false_positives:,}",
        "False negatives": f"{at.positives - at.true_positives:,}", "True negatives": f"{at.negatives - at.false_positives:,}",
    })  # fmt: skip
    numbers = {
        "Threshold": [p.threshold for p in found.points], "True positives": [p.true_positives for p in found.points],
        "False positives": [p.false_positives for p in found.points], "Precision": [p.precision for p in found.points],
        "Recall": [p.recall for p in found.points], "False positive rate": [p.false_positive_rate for p in found.points],
    }  # fmt: skip
    left, right = st.columns(2)
    with left:
        alt = f"ROC curve, area {found.auc:.4f}"
        _plots.draw(_evaluation_plots.roc(found, at), "roc", alt, title="ROC", numbers=numbers)
    with right:
        alt = f"Precision-recall curve, average precision {found.average_precision:.4f}"
        _plots.draw(_evaluation_plots.precision_recall(found, at), "precision_recall", alt, title="Precision and recall", numbers=numbers)
    if found.without_score:
        st.caption(f"{found.without_score:,} judged rows have no score and are left out.")
    _calibration(result, scoring)


def _threshold(scoring: curves.Scoring, found: curves.Curves) -> float:
    least, greatest = found.least, found.greatest
    if not least < greatest:
        return least
    middle = 0.5 if least <= 0.5 <= greatest and least >= 0 and greatest <= 1 else (least + greatest) / 2
    low, high = (0.0, 1.0) if least >= 0 and greatest <= 1 else (least, greatest)
    chosen: float = st.slider(
        "Threshold", low, high, middle, (high - low) / 200, key=f"threshold {scoring}", format="%.4g",
        help="Rows whose score is at least this count as the class.",
    )  # fmt: skip
    return chosen


@st.cache_data(max_entries=20, ttl=3600, show_spinner=False)
def _curves(_result: evaluation.Evaluation, path: str, identity: str, scoring: curves.Scoring) -> curves.Curves:
    return curves.curves(_result, scoring)


def _calibration(result: evaluation.Evaluation, scoring: curves.Scoring) -> None:
    found = curves.calibration(result, scoring)
    if found is None:
        st.caption("Some scores lie outside 0 to 1, so they are not probabilities and have no calibration.")
        return
    lower, upper, counts, means, shares = zip(*found.bins, strict=True)
    numbers = {"From": lower, "To": upper, "Rows": counts, "Mean score": means, "Share": shares}
    alt = f"Calibration, expected error {found.error:.4f}"
    _plots.draw(
        _evaluation_plots.calibration(found, f"{scoring.column} of {scoring.event}" if scoring.of_prediction else scoring.column),
        "calibration",
        alt,
        title="Calibration",
        numbers=numbers,
    )
    st.caption(
        f"Expected calibration error: {found.error:.4f}: the mean distance between share and score over ten bins, weighted by their rows."
    )


# ---- numbers -----------------------------------------------------------------------------------------------------------------------------


def _numbers(result: evaluation.Evaluation) -> None:
    errors = result.number_errors()
    r2 = "none" if math.isnan(errors.r2) else f"{errors.r2:.4f}"
    _layout.facts({"MAE": f"{errors.mae:,.6g}", "RMSE": f"{errors.rmse:,.6g}", "Mean residual": f"{errors.bias:,.6g}", "R²": r2,
           "Evaluated": f"{errors.count:,}"})  # fmt: skip
    bins = result.residuals()

    def open_bin(_: int, bar: int) -> None:
        lower, upper, _ = bins[bar]
        set_filter(_between(("Residual", lower, upper)), look="")

    numbers = {"From": [low for low, _, _ in bins], "To": [high for _, high, _ in bins], "Rows": [count for *_, count in bins]}
    title = "Residuals, prediction minus label"
    figure = _plots.histogram(bins, "Residual")
    _plots.draw(figure, "residuals", "Distribution of the residuals", open_bin, title=title, numbers=numbers)
    if grid := result.residual_grid():
        _residual_grid(result, grid)


def _residual_grid(result: evaluation.Evaluation, grid: evaluation.ResidualGrid) -> None:
    across = len(grid.predictions) - 1

    def open_cell(_: int, point: Any) -> None:
        y, x = point if isinstance(point, list | tuple) else divmod(point, across)
        by_prediction = (result.of, grid.predictions[x], grid.predictions[x + 1])
        set_filter(_between(by_prediction, ("Residual", grid.residuals[y], grid.residuals[y + 1])), look="")

    cells = [(x, y, count) for y, row in enumerate(grid.counts) for x, count in enumerate(row) if count]
    numbers = {
        "Prediction from": [grid.predictions[x] for x, _, _ in cells], "Prediction to": [grid.predictions[x + 1] for x, _, _ in cells],
        "Residual from": [grid.residuals[y] for _, y, _ in cells], "Residual to": [grid.residuals[y + 1] for _, y, _ in cells],
        "Rows": [count for *_, count in cells],
    }  # fmt: skip
    alt = "Residuals against predictions"
    _plots.draw(_evaluation_plots.residuals(grid), "residual_grid", alt, open_cell, title="Residuals against predictions", numbers=numbers)
    st.caption("The outermost cells also include everything beyond them. Click a cell to show its rows.")


def _between(*ranges: tuple[str, float, float]) -> Filter:
    ends = (
        (column, operator, repr(end)) for column, *both in ranges for operator, end in zip((Operator.FROM, Operator.TO), both, strict=True)
    )
    return Filter(conditions=tuple(Condition(column, operator, (end,)) for column, operator, end in ends))


# ---- slices ------------------------------------------------------------------------------------------------------------------------------


def worst(view: View, result: evaluation.Evaluation, label_column: str) -> None:
    """The slices with the highest error."""
    st.markdown("**Where it is wrong most often**" if not result.of_numbers else "**Where it is farthest off**")
    with st.spinner("Looking at the columns…", show_time=True):
        found = found_slices(result, str(result.path), view.table.identity, dict(view.table.columns), dict(view.table.own), label_column)
    of_shares = found.measure is slices.Measure.WRONG
    rows = [
        (_name(slice_, view), slice_.rows, *((100 * v if of_shares else v) for v in (slice_.error, slice_.lower)))
        for slice_ in found.slices
    ]
    if rows:
        table = _tables.arrow(
            {"Slice": str, "Evaluated": int, "Error" if of_shares else "MAE": float, "At least": float}, rows[:_MOST_ROWS]
        )
        percents = dict.fromkeys(("Error", "At least"), _tables.percent_column()) if of_shares else {}

        def open_slice() -> None:
            if chosen := st.session_state["worst_slices"]["selection"]["rows"]:
                set_filter(slices.filter_of(found.slices[chosen[0]], found.measure), look="")

        st.dataframe(
            table, key="worst_slices", on_select=open_slice, selection_mode="single-row", hide_index=True, alt="Slices by their error",
            height=_tables.height(len(rows), 10), column_config=slice_columns(table) | percents,
        )  # fmt: skip
    st.caption(explain(found))


def slice_columns(table: Any) -> dict[str, Any]:
    """The types of the columns of a table of slices: a long name leaves its figures in sight."""
    return _tables.number_columns(table, COUNTS) | _tables.narrowed(table, "Slice")


@st.cache_data(max_entries=20, ttl=3600, show_spinner=False)
def found_slices(
    _result: evaluation.Evaluation, path: str, identity: str, columns: dict[str, Any], own: dict[str, str], label_column: str
) -> slices.Slices:
    """Kept for the joined table that this is of."""
    return slices.slices(_result, columns, own, [label_column])


def _name(slice_: slices.Slice, view: View) -> str:
    return slice_name(slice_, view.table.own)


def slice_name(slice_: slices.Slice, own: dict[str, str]) -> str:
    """`region: south · age: 61 to 79`."""
    ends: dict[str, list[str]] = {}
    for condition in slice_.conditions:
        if condition.operator in (Operator.FROM, Operator.TO):
            ends.setdefault(condition.column, []).append(condition.values[0])
    texts = []
    for condition in slice_.conditions:
        if condition.column not in ends:
            texts.append(describe(condition, own))
        elif condition.operator is Operator.FROM:
            texts.append(f"{condition.column}: {' to '.join(ends[condition.column])}")
    return " · ".join(texts)


def explain(found: slices.Slices) -> str:
    """The rule, and what was looked at."""
    overall = formats.percent(found.error) if found.measure is slices.Measure.WRONG else f"{found.error:,.5g}"
    if not found.columns:
        return "No column of classes or numbers and no folders divide these rows. Keep columns of the input when scoring, to look at them."
    names = ", ".join(list(option_labels(found.columns).values())[:12]) + (", …" if len(found.columns) > 12 else "")
    looked_at = f"{found.looked_at:,} slices by {escape(names)}{' and pairs of these' if found.pairs else ''}"
    if found.measure in slices.OF_TWO:
        rule = "the newer run is worse by more than chance"
    else:
        rule = f"the error is above that of all rows, {overall}, by more than chance"
    rule = f"of at least {found.smallest:,} rows where {rule} (95 % confidence over all slices)"
    if not found.slices:
        return f"Found no slice {rule}. Looked at: {looked_at}."
    return f"Slices {rule}. Looked at: {looked_at}. Click one to show its wrong rows."

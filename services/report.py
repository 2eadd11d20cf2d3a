"""A run as one HTML page: the request, the outcome, pictures of the predictions, causes of failures, where it all comes from.

The page needs nothing else: no script, no font, no file, no server; so it opens from an e-mail and prints. Every text goes through
Jinja's autoescape. The pictures are tables whose bars are drawn by their cells, so that each figure stands in words beside its bar.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import __version__, formats
from services.domain import Run, RunRequest, utc_now
from services.errors import NotFound
from services.predictions import charts
from services.predictions.columns import NUMERIC, Kind, Status, printed
from services.predictions.exports import shown_columns
from services.predictions.filters import EVERY_PREDICTION, EVERY_ROW, Filter
from services.run_details import FailureCause, Provenance
from services.settings import TABLE, ParallelRunSettings

if TYPE_CHECKING:
    from services.predictions.evaluation import Evaluation
    from services.predictions.reader import Predictions
    from services.workspace import Workspace

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_FIRST_ROWS = 25
_MOST_BARS = 25
_BINS = 40
_MOST_CAUSES = 25
_MOST_COLUMNS = 12
_MOST_CLASSES = 20  # on a side of the confusion matrix
_CHARACTERS = 200  # of a cell
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Bar:
    """A figure beside others: `share` is its length, from 0 to 1, of the longest."""

    label: str
    text: str
    share: float


@dataclass(frozen=True)
class Picture:
    """Bars with what they are of, and a sentence below."""

    title: str
    bars: tuple[Bar, ...]
    caption: str = ""
    columns: tuple[str, str] = ("", "Rows")


@dataclass(frozen=True)
class _Table:
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def report(workspace: Workspace, run_id: str, filter_: Filter = EVERY_PREDICTION, request: RunRequest | None = None) -> bytes:
    """The page, UTF-8. Of a run that goes on it shows what there is by now. Where the dataset has true labels, all rows are judged by those
    given last. Pictures and rows are of what is filtered. `request` is shown in place of the run's own, where something in it is secret.

    Raises NotFound for a run that isn't there, WorkspaceUnavailable where its results can't be read, SettingsError for a filter that
    doesn't fit.
    """
    from jinja2 import Environment

    run = workspace.runs.get(run_id)
    table = _table(workspace, run)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_readable)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        run=run,
        version=__version__,
        made_at=formats.utc(utc_now()),
        facts=_facts(run),
        filter=filter_.describe(),
        pictures=list(_pictures(table, filter_)) if table else [],
        evaluation=table and _judged(workspace, run, table),
        causes=_causes(workspace.runs.failure_causes(run_id, _MOST_CAUSES)),
        head=table and _head(table, filter_),
        settings=_settings(request or run.request),
        provenance=_provenance(workspace.runs.provenance(run_id)),
        packages=sorted(workspace.runs.provenance(run_id).packages.items()),
    )
    return page.encode("utf-8", "backslashreplace")


def _readable(value: Any) -> Any:
    """Characters that can't be seen, or that reverse what follows, written out."""
    if type(value) is not str:  # what a macro of the template has made is a str of another type, and finished
        return value
    return _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)


def _table(workspace: Workspace, run: Run) -> Predictions | None:
    try:
        table = workspace.runs.predictions(run.id)
    except NotFound:  # summary_only, or no row yet
        return None
    return table if sum(table.row_counts.values()) else None


# ---- the request and the outcome ---------------------------------------------------------------------------------------------------------


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = [("Status", str(run.status))]
    if run.items_succeeded is not None:
        facts += [("Items", formats.number(run.items_total)), ("Succeeded", formats.number(run.items_succeeded))]
        facts += [("Failed", formats.number(run.items_failed or 0))]
        left = run.items_left or 0
        facts += [("Skipped" if run.status.ended else "Left", f"{left:,}")] if left else []
    if run.duration is not None:
        facts += [("Duration", formats.duration(run.duration))]
    facts += [("Submitted", formats.utc(run.submitted_at))]
    return facts + ([("Ended", formats.utc(run.ended_at))] if run.ended_at else [])


def _settings(request: RunRequest) -> _Table:
    rows = [
        ("Model", ", ".join(request.models) or "none", ""),
        ("Dataset", ", ".join(request.datasets), ""),
        ("Scoring script", request.script_name, ""),
        ("Arguments", shlex.join(request.arguments) or "none", ""),
    ]
    for name, row in TABLE.items():
        value, default = getattr(request.settings, name), ParallelRunSettings.default(name)
        if name == "environment_variables" and value:  # their values may be secret, and a report is passed on
            value = tuple(value)
        rows.append((row.label, _written(value, row.unset), _written(default, row.unset) if value != default and value else ""))
    return _Table(("Setting", "Value", "Default, if different"), rows)


def _written(value: object, unset: str) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else unset if value is None else str(value)


def _provenance(provenance: Provenance) -> _Table:
    rows = [("Run", provenance.run, "")]
    rows += [("Model", name, digest) for name, digest in provenance.models]
    rows += [("Dataset", name, digest) for name, digest in provenance.datasets]
    rows += [("Scoring script", *provenance.script), ("Python", provenance.python or "unknown", "")]
    rows += [("Reused from", provenance.reused_from, "")] if provenance.reused_from else []
    rows += [("Rerun of", provenance.rerun_of, "")] if provenance.rerun_of else []
    return _Table(("What", "Name", "SHA-256"), rows, "A dataset's SHA-256 is of the list of its files, with their sizes and times.")


def _causes(causes: Sequence[FailureCause]) -> _Table | None:
    if not causes:
        return None
    rows = [(cause.cause[:1000], f"{cause.count:,}", formats.percent(cause.share), cause.example[:_CHARACTERS]) for cause in causes]
    more = f"The {_MOST_CAUSES} most frequent." if len(causes) == _MOST_CAUSES else ""
    return _Table(("Cause", "Items", "Share", "Example"), rows, more)


# ---- pictures ----------------------------------------------------------------------------------------------------------------------------


def _pictures(table: Predictions, filter_: Filter) -> Iterator[Picture]:
    if table.kind in NUMERIC:
        yield from _distribution(table, filter_, table.own["Number"], "Predictions")
    else:
        yield _classes(table, filter_)
    for name in table.further_columns[:_MOST_COLUMNS]:
        if table.columns[name] is Kind.NUMBER and "probability" in name.casefold():
            yield from _distribution(table, filter_, name, name)
    folders = table.facet(table.own["Folder"], filter_, _MOST_BARS)
    if len(folders) > 1:
        yield Picture("Rows by folder", _bars([(name or "(top folder)", count) for name, count in folders]), _cut_off(folders, "folders"))


def _classes(table: Predictions, filter_: Filter) -> Picture:
    counts = table.facet("Prediction", filter_, _MOST_BARS)
    total = table.count(filter_)
    bars = tuple(
        Bar(bar.label, f"{bar.text} ({formats.percent(count / total)})", bar.share) if total else bar
        for bar, (_, count) in zip(_bars(counts), counts, strict=True)
    )
    return Picture("Predictions", bars, _cut_off(counts, "predictions"))


def _distribution(table: Predictions, filter_: Filter, column: str, title: str) -> Iterator[Picture]:
    bins = charts.histogram(table, filter_, _BINS, column)
    if not bins:
        return
    x = table.finite_name(column)
    count, mean, low, median, high = table.rows(f"count({x}), avg({x}), min({x}), approx_quantile({x}, 0.5), max({x})", filter_)[0]
    caption = f"{count:,} numbers from {low:,.6g} to {high:,.6g}, mean {mean:,.6g}, median about {median:,.6g}"
    longest = max(number for *_, number in bins) or 1
    bars = (Bar(f"{lower:,.6g} to {upper:,.6g}", f"{number:,}", number / longest) for lower, upper, number in bins)
    yield Picture(title, tuple(bars), caption)


def _bars(counts: Sequence[tuple[Any, int]]) -> tuple[Bar, ...]:
    longest = max((count for _, count in counts), default=1)
    return tuple(Bar(_cell(name) or "(empty)", f"{count:,}", count / longest) for name, count in counts)


def _cut_off(counts: Sequence[object], noun: str) -> str:
    return f"The {_MOST_BARS} most frequent {noun}." if len(counts) == _MOST_BARS else ""


# ---- rows --------------------------------------------------------------------------------------------------------------------------------


def _head(table: Predictions, filter_: Filter) -> _Table:
    names = shown_columns(table, filter_)
    shown = names[: _MOST_COLUMNS + 2]
    rows = [tuple(_cell(row[name]) for name in shown) for row in table.page(filter_, 0, _FIRST_ROWS, columns=shown).to_pylist()]
    total, failed = table.count(filter_), table.row_counts.get(Status.FAILED, 0)
    parts = [f"The first {len(rows):,} of {formats.counted(total, 'row')}" if total > len(rows) else formats.counted(total, "row")]
    parts += [f"{len(names) - len(shown):,} more columns"] if len(names) > len(shown) else []
    parts += [f"{failed:,} of {formats.counted(table.count(EVERY_ROW), 'row')} failed"] if failed else []
    return _Table(shown, rows, ", ".join(parts) + ".")


def _cell(value: object) -> str:
    text = "" if value is None else printed(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


# ---- against true labels -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Evaluated:
    facts: Sequence[tuple[str, str]]
    classes: _Table | None = None
    matrix: Sequence[tuple[str, Sequence[tuple[str, float, bool]]]] = ()
    """Of each true label the cells (text, share of its row, whether it is correct)."""
    names: Sequence[str] = ()
    caption: str = ""


def _judged(workspace: Workspace, run: Run, table: Predictions) -> _Evaluated | None:
    """By the labels given last for one of the run's datasets; None where there are none."""
    from services.predictions.evaluation import evaluate

    if known := workspace.run_labels(run):
        labels = workspace.find_run_labels(run, known[0].id)
        judged = _evaluated(evaluate(table, labels))
        return replace(judged, caption=f"All rows of the run, by the labels “{labels.name}”. {judged.caption}".strip())
    return None


def _evaluated(result: Evaluation) -> _Evaluated:
    if not result.evaluated:
        return _Evaluated([("Evaluated", "0")], caption="No prediction has a true label.")
    if not result.comparable:
        caption = "Predictions and labels can't be compared: one side is numbers, the other is words."
        return _Evaluated([("Evaluated", f"{result.evaluated:,}")], caption=caption)
    if result.of_numbers:
        errors = result.number_errors()
        figures = [("MAE", errors.mae), ("RMSE", errors.rmse), ("Mean residual", errors.bias), ("R²", errors.r2)]
        return _Evaluated([("Evaluated", f"{errors.count:,}"), *((name, f"{value:,.5g}") for name, value in figures)])
    scores = result.classes(_MOST_CLASSES)
    names = [score.name for score in scores]
    counts = {(label, predicted): count for label, predicted, count in result.confusion(_MOST_CLASSES**2 * 4)}
    matrix = []
    for score in scores:
        row = [counts.get((score.name, predicted), 0) for predicted in names]
        matrix.append((score.name, [(f"{n:,}", n / (score.labelled or 1), score.name == names[at]) for at, n in enumerate(row)]))
    rows = [(s.name, f"{s.labelled:,}", *(formats.percent(v) if v == v else "–" for v in (s.precision, s.recall, s.f1))) for s in scores]  # noqa: PLR0124 - nan
    return _Evaluated(
        [("Accuracy", formats.percent(result.accuracy)), ("Evaluated", f"{result.evaluated:,}")],
        _Table(("Class", "Labelled", "Precision", "Recall", "F1"), rows),
        matrix,
        names,
        f"The {_MOST_CLASSES} classes with the most labels." if len(scores) == _MOST_CLASSES else "",
    )

"""Which items of a step on Azure ML failed, and why, by its output and its logs: the cause of each, as on this machine.

Azure ML reports no item. What is known: the items that no row of the output names; what the script said; and of each mini-batch how many
items went in and came out. Files are cut in their order into mini-batches of the size that was asked for; that this is so counts as known
only where it fits all that the table of attempts says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from services.azure.run_plan import RunPlan
from services.azure.runs import job_logs
from services.azure.runs.job_logs import JobAttempt
from services.predictions.causes import Line, Names, causes_of_items, last_said_of_items, no_row, no_row_known, template
from services.predictions.matching import NO_ROW

_LOUD = ("exception", "ERROR", "WARNING", "warnings")


class Cause(NamedTuple):
    """Why the item at `place` failed; None where it isn't known which. `attempt` is the last one at its mini-batch, None where that isn't
    known."""

    place: int | None
    text: str
    attempt: JobAttempt | None = None


class _MiniBatch(NamedTuple):
    places: range
    last: JobAttempt


def causes_without_row(plan: RunPlan, logs: Path, items: Sequence[str], without_row: Sequence[tuple[int, str]]) -> list[Cause]:
    """Of a completed step, why each of these items has no row: their places, in order, each with what the rows tell, such as NO_ROW."""
    unexplained = [place for place, told in without_row if told == NO_ROW]
    attempts, sentences = job_logs.settled(job_logs.attempts(logs), tries=1), job_logs.Sentences(logs)
    mini_batches = _mini_batches(plan, attempts)
    if not _fits(mini_batches, unexplained):
        mini_batches = []
    of_place = {place: mini_batch for mini_batch in mini_batches for place in mini_batch.places}
    lines = job_logs.lines_said(logs)
    said = causes_of_items(lines, items, unexplained) if lines else {}
    raised = [] if mini_batches else [attempt for attempt in attempts.values() if not attempt.succeeded]
    left = len(unexplained) - len(said)
    texts = {template(sentence): sentence for sentence in map(sentences.of, raised)}
    common = next(iter(texts.values())) if len(texts) == 1 and left == sum(attempt.failed for attempt in raised) else ""

    def cause(place: int, told: str) -> Cause:
        if told != NO_ROW or place not in of_place:
            return Cause(place, told if told != NO_ROW else said.get(place) or common or told)
        places, last = of_place[place]
        if not last.succeeded:
            return Cause(place, sentences.of(last), last)
        returned = len(places) - last.failed
        return Cause(place, said.get(place) or no_row(items[place], returned, len(places), last.mini_batch), last)

    return [cause(place, told) for place, told in without_row]


def causes_without_output(plan: RunPlan, logs: Path, items: Sequence[str]) -> list[Cause]:
    """The same of a step that has no rows, since it failed or its script keeps its own output: of each item that failed, by the table of
    attempts; those that are known first."""
    attempts = job_logs.settled(job_logs.attempts(logs), plan.request.settings.run_max_try)
    sentences, lines = job_logs.Sentences(logs), job_logs.lines_said(logs)
    if mini_batches := _mini_batches(plan, attempts):
        causes = list(_of_incomplete(mini_batches, lines, items, sentences))
    else:
        causes = list(_of_unknown([attempt for attempt in attempts.values() if attempt.failed], lines, items, sentences))
    return sorted(causes, key=lambda cause: (cause.place is None, cause.place, cause.attempt.mini_batch if cause.attempt else 0))


def _of_incomplete(
    mini_batches: Sequence[_MiniBatch], lines: Sequence[Line], items: Sequence[str], sentences: job_logs.Sentences
) -> Iterator[Cause]:
    nothing_succeeded = all(last.failed == len(places) for places, last in mini_batches)
    incomplete = [mini_batch for mini_batch in mini_batches if mini_batch.last.failed]
    without_row = [place for mini_batch in incomplete for place in mini_batch.places]
    of_too_many = _said_of_too_many(lines, items, incomplete)
    said = causes_of_items(lines, items, without_row, of_too_many, nothing_succeeded=nothing_succeeded)
    last_said = last_said_of_items(lines, items) if nothing_succeeded else {}
    for places, last in incomplete:
        if not last.succeeded:
            texts = dict.fromkeys(places, sentences.of(last))
        elif last.failed == len(places):
            count, index = len(places), last.mini_batch
            texts = {place: said.get(place) or no_row(items[place], 0, count, index, last_said.get(place, "")) for place in places}
        else:
            texts = {place: said[place] for place in places if place in said}
            texts = texts if len(texts) <= last.failed else {}  # else it is said of items that have a row, too
        yield from (Cause(place, text, last) for place, text in texts.items())
        unknown = no_row_known(len(places), last.failed, last.mini_batch)
        yield from (Cause(None, unknown, last) for _ in range(last.failed - len(texts)))


def _of_unknown(
    attempts: Sequence[JobAttempt], lines: Sequence[Line], items: Sequence[str], sentences: job_logs.Sentences
) -> Iterator[Cause]:
    """Where it isn't known which items a mini-batch had."""
    failed = sum(attempt.failed for attempt in attempts)
    said = causes_of_items([line for line in lines if line.source in _LOUD], items, range(len(items))) if items else {}
    named = len(said) if len(said) <= failed and all(attempt.succeeded for attempt in attempts) else 0
    yield from (Cause(place, text) for place, text in said.items() if named)
    for attempt in attempts:
        left = max(0, attempt.failed - named)
        named -= attempt.failed - left
        noun = "file" if items else "row"
        text = no_row_known(attempt.total or attempt.failed, attempt.failed, attempt.mini_batch, noun)
        yield from (Cause(None, text if attempt.succeeded else sentences.of(attempt), attempt) for _ in range(left))


def _said_of_too_many(lines: Sequence[Line], items: Sequence[str], mini_batches: Collection[_MiniBatch]) -> set[str]:
    """The templates of what was said of more items of a mini-batch than it has failed ones: of items that have a row, too."""
    names, about = Names(items), defaultdict[tuple[str, int], set[int]](set)
    of_place = {place: mini_batch for mini_batch in mini_batches for place in mini_batch.places}
    for line in lines:
        for place in names.named_in(line.text) & of_place.keys():
            about[template(line.text, [items[place]]), of_place[place].last.mini_batch].add(place)
    failed = {mini_batch.last.mini_batch: mini_batch.last.failed for mini_batch in mini_batches}
    return {pattern for (pattern, mini_batch), places in about.items() if len(places) > failed[mini_batch]}


def _mini_batches(plan: RunPlan, last: Mapping[int, JobAttempt]) -> list[_MiniBatch]:
    """The mini-batches that were tried, with their items; none where the table of attempts contradicts the cut."""
    settings = plan.request.settings
    if not last or plan.tabular or settings.partition_keys:
        return []
    size, begin, cut = settings.units_in_a_mini_batch(tabular=False), 0, list[range]()
    for paths in plan.paths():
        end = begin + len(paths)
        cut += [range(first, min(first + size, end)) for first in range(begin, end, size)]
        begin = end
    if any(index >= len(cut) or attempt.total not in (None, len(cut[index])) for index, attempt in last.items()):
        return []
    return [_MiniBatch(cut[index], attempt) for index, attempt in sorted(last.items())]


def _fits(mini_batches: Sequence[_MiniBatch], without_row: Sequence[int]) -> bool:
    """Whether as many items of each mini-batch have a row as it returned."""
    missing = set(without_row)
    counts = [(sum(place in missing for place in mini_batch.places), mini_batch.last.failed) for mini_batch in mini_batches]
    return sum(count for count, _ in counts) == len(missing) and all(count == failed for count, failed in counts)

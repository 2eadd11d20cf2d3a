"""Which items of a step on Azure ML failed, and why, by its output and its logs: the cause of each, as on this machine.

Azure ML reports no item. What is known: the items that no row of the output names; what the script said; and of each mini-batch how many
items went in and came out. Files are cut in their order into mini-batches of the size that was asked for; that this is so counts as known
only where it fits all that the table of attempts says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from services.azure.run_plan import RunPlan
from services.azure.runs import job_logs
from services.azure.runs.job_logs import JobAttempt
from services.predictions.causes import Line, Names, causes_of_items, last_said_of_items, no_row, no_row_known, template

_LOUD = ("exception", "ERROR", "WARNING", "warnings")


class Cause(NamedTuple):
    """Why the item at `place` failed; None where it isn't known which. Its mini-batch is 0 and its process "" where they aren't known."""

    place: int | None
    text: str
    mini_batch: int = 0
    attempt: int = 1
    process: str = ""


@dataclass(frozen=True)
class _MiniBatch:
    places: range
    last: JobAttempt

    @property
    def raised(self) -> bool:
        return not self.last.succeeded

    @property
    def returned(self) -> int:
        return len(self.places) - self.last.failed

    def cause(self, place: int | None, text: str) -> Cause:
        return _cause(self.last, place, text)


def causes_without_row(plan: RunPlan, logs: Path, items: Sequence[str], without_row: Sequence[int], otherwise: str) -> list[Cause]:
    """Of a completed step, why each of these items has no row: their places, in order. `otherwise` is the sentence where nothing tells."""
    if not without_row:
        return []
    attempts, sentences = job_logs.settled(job_logs.attempts(logs), tries=1), job_logs.Sentences(logs)
    mini_batches = _mini_batches(plan, attempts)
    if not _fits(mini_batches, without_row):
        mini_batches = []
    of_place = {place: mini_batch for mini_batch in mini_batches for place in mini_batch.places}
    lines = job_logs.lines_said(logs)
    said = causes_of_items(lines, items, without_row) if lines else {}
    raised = [] if mini_batches else [attempt for attempt in attempts.values() if not attempt.succeeded]
    left = len(without_row) - len(said)
    texts = {template(sentence): sentence for sentence in map(sentences.of, raised)}
    common = next(iter(texts.values())) if len(texts) == 1 and left == sum(attempt.failed for attempt in raised) else ""

    def cause(place: int) -> Cause:
        mini_batch = of_place.get(place)
        if mini_batch is None:
            return Cause(place, said.get(place) or common or otherwise)
        if mini_batch.raised:
            return mini_batch.cause(place, sentences.of(mini_batch.last))
        sentence = no_row(items[place], mini_batch.returned, len(mini_batch.places), mini_batch.last.mini_batch)
        return mini_batch.cause(place, said.get(place) or sentence)

    return [cause(place) for place in without_row]


def causes_without_output(plan: RunPlan, logs: Path, items: Sequence[str]) -> list[Cause]:
    """The same of a step that has no rows, since it failed or its script keeps its own output: of each item that failed, by the table of
    attempts; those that are known first."""
    attempts = job_logs.settled(job_logs.attempts(logs), plan.request.settings.run_max_try)
    sentences, lines = job_logs.Sentences(logs), job_logs.lines_said(logs)
    mini_batches = _mini_batches(plan, attempts)
    if mini_batches:
        nothing_succeeded = all(one.last.failed == len(one.places) for one in mini_batches)
        failed = [one for one in mini_batches if one.last.failed]
        causes = list(_of_incomplete(failed, lines, items, sentences, nothing_succeeded=nothing_succeeded))
    else:
        causes = list(_of_unknown([attempt for attempt in attempts.values() if attempt.failed], lines, items, sentences))
    return sorted(causes, key=lambda cause: (cause.place is None, cause.place, cause.mini_batch))


def _of_incomplete(
    mini_batches: Sequence[_MiniBatch],
    lines: Sequence[Line],
    items: Sequence[str],
    sentences: job_logs.Sentences,
    *,
    nothing_succeeded: bool,
) -> Iterator[Cause]:
    without_row = [place for mini_batch in mini_batches for place in mini_batch.places]
    of_too_many = _said_of_too_many(lines, items, mini_batches)
    said = causes_of_items(lines, items, without_row, of_too_many, nothing_succeeded=nothing_succeeded)
    last = last_said_of_items(lines, items) if nothing_succeeded else {}
    for mini_batch in mini_batches:
        failed, count = mini_batch.last.failed, len(mini_batch.places)
        if mini_batch.raised:
            yield from (mini_batch.cause(place, sentences.of(mini_batch.last)) for place in mini_batch.places)
            continue
        if failed == count:
            index = mini_batch.last.mini_batch
            for place in mini_batch.places:
                yield mini_batch.cause(place, said.get(place) or no_row(items[place], 0, count, index, last.get(place, "")))
            continue
        named = [place for place in mini_batch.places if place in said]
        named = named if len(named) <= failed else []  # else it is said of items that have a row, too
        yield from (mini_batch.cause(place, said[place]) for place in named)
        unknown = no_row_known(count, failed, mini_batch.last.mini_batch)
        yield from (mini_batch.cause(None, unknown) for _ in range(failed - len(named)))


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
        yield from (_cause(attempt, None, text if attempt.succeeded else sentences.of(attempt)) for _ in range(left))


def _cause(attempt: JobAttempt, place: int | None, text: str) -> Cause:
    return Cause(place, text, attempt.mini_batch, attempt.attempt, attempt.process)


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

"""What a run has scored, read back from its manifests, journal and rows: mini-batch by mini-batch, none but the present one held.

The items of a *failed-only* run are those of an earlier run that failed there or have no row; those of a *new-only* run are of files that
the earlier run has no prediction of, or that changed since (new_items.py says which). The predictions of both are the earlier run's with
those items replaced or added. Attempts at an item that did not change are counted together.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from services.domain import MiniBatch
from services.errors import StudioError, WorkspaceUnavailable
from services.local.batching import cut, items_of, rows_of
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.predictions.causes import Line
from services.predictions.columns import Status
from services.predictions.explanations import failed_rows, failed_without_rows
from services.predictions.matching import RowNumbers, ScoredMiniBatch, read_rows
from services.storage.atomic import write_atomically
from services.storage.journal import Attempt, AttemptStatus, Journal, Said
from services.storage.manifest import parsed_lines

_MOST_MAPPED = 32_000_000
_AT_A_TIME = 1 << 18  # bytes of a manifest: a look at the disk lets the other thread in, and that takes its time
_Attempts = dict[tuple[int, bytes], int]
"""How often an item, by its dataset's number and its line of the manifest, was tried in earlier runs."""


def worker_name(attempt: Attempt) -> str:
    return f"node {attempt.node}, process{attempt.process:03}"


@dataclass(slots=True)
class _MiniBatch:
    """A mini-batch and its outcome: the attempt that settled it, or None and how often it was tried."""

    batch: MiniBatch
    dataset: PlannedDataset
    settled: Attempt | None
    tries: int
    rows: mmap.mmap | bytes
    columns: Mapping[int, str]
    """Of the DataFrames that the run's mini-batches returned, by id: see Journal.columns."""
    manifest: BinaryIO
    said: Sequence[Line] = ()
    """Of what the script said while it ran, that which may be the cause of an item without a row."""
    said_of_succeeded: frozenset[str] = frozenset()
    """Templates of what was said of items that succeeded, anywhere in the run or in those whose failed items it scored again."""
    nothing_succeeded: bool = False
    """Whether no item of these runs succeeded."""
    frame_index: str = ""
    """JSON of the index of the DataFrame it returned: see Journal.frame_index."""
    slices: _AllSlices | None = None
    """Of a table, where the manifest lacks some of its slices."""

    def lines(self) -> list[bytes]:
        """The lines of the manifest that it was cut from."""
        self.manifest.seek(self.batch.offset)
        return self.manifest.read(self.batch.length).splitlines(keepends=True)

    def scored(self, earlier_attempts: Mapping[str, int]) -> ScoredMiniBatch:
        attempt = self.settled
        assert attempt is not None
        items, row_numbers = self._items()
        return ScoredMiniBatch(
            index=self.batch.index,
            items=items,
            root=self.dataset.root,
            rows=self._rows(attempt),
            worker=worker_name(attempt),
            attempts=attempt.attempt,
            seconds=attempt.run_seconds,
            error=attempt.error.partition("\n")[0],
            items_are_rows=bool(self.dataset.format),
            ended_at=attempt.started_at + attempt.elapsed,
            columns="" if attempt.columns is None else self.columns[attempt.columns],
            frame_index=json.loads(self.frame_index) if self.frame_index else (),
            earlier_attempts=earlier_attempts,
            said=self.said,
            said_of_succeeded=self.said_of_succeeded,
            nothing_succeeded=self.nothing_succeeded,
            row_numbers=row_numbers,
        )

    def _items(self) -> tuple[list[str], RowNumbers]:
        """The items, and where these are rows their numbers in their files."""
        if not self.dataset.format:
            return items_of(self.manifest, self.batch), ()
        items, row_numbers = rows_of(self.manifest, self.batch)
        return items, self.slices.row_numbers(self.lines()) if self.slices else row_numbers

    def _rows(self, attempt: Attempt) -> list[str]:
        text = self.rows[attempt.begin : attempt.end].decode("utf-8", "surrogateescape")
        rows = text.split("\n")[:-1]
        if 8 * len(rows) == len(attempt.row_ends):
            return rows
        return [self.rows[begin : end - 1].decode("utf-8", "surrogateescape") for begin, end in attempt.row_slices()]  # one holds a newline

    def to_score_again(self) -> list[bytes]:
        """The lines of the items that failed or have no row; all of them where that isn't known."""
        if self.settled is None or self.settled.status != AttemptStatus.RUN_DONE:
            return self.lines()
        if not self.settled.failed:
            return []
        if self.dataset.format:
            return self.lines()
        read = read_rows(self.scored({}))
        failed = {file for file, status in zip(read.files, read.each_status(), strict=True) if status is Status.FAILED}
        complete = len(failed) == self.settled.failed and Status.UNMATCHED not in read.each_status()
        return [line for line in self.lines() if not complete or json.loads(line)[0] in failed]


class _AllSlices:
    """The slices of a table, as the manifest lists them that a failed-only run's own was made from."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._path, self._before = "", 0

    def row_numbers(self, slices: Iterable[bytes]) -> RowNumbers:
        """The numbers of the rows of these slices in their files. Those of all calls are in the order of the manifest."""
        return [(self._first_row_of(line), json.loads(line)[5]) for line in slices]

    def _first_row_of(self, slice_: bytes) -> int:
        for line in self._lines:
            path, _, _, _, _, rows = json.loads(line)
            first = self._before + 1 if path == self._path else 1
            self._path, self._before = path, first - 1 + rows
            if line == slice_:
                return first
        return 0


class _Succeeded:
    """What was said of items that succeeded, and whether none did, in these runs."""

    def __init__(self, *runs: LocalRunFolder) -> None:
        self.said: frozenset[str] = frozenset()
        self.nothing = True
        for run in runs:
            self.add(run)

    def add(self, run: LocalRunFolder) -> None:
        if run.has_journal:
            with Journal(run.path) as journal:
                self.said |= journal.said_of_succeeded()
                self.nothing = self.nothing and not journal.any_succeeded()


def _mini_batches(
    folder: LocalRunFolder, plan: RunPlan, *, settled_only: bool, failed_only: bool = False, succeeded: _Succeeded | None = None
) -> Iterator[_MiniBatch]:
    """`succeeded` is of the run and those it adds to, where it is known already."""
    rows_file = folder.rows(plan)
    with ExitStack() as open_files:
        attempts: Iterator[Attempt] = iter(())
        tries: dict[int, int] = {}
        columns: dict[int, str] = {}
        said: Iterator[Said] = iter(())
        if folder.has_journal:
            journal = open_files.enter_context(Journal(folder.path))
            attempts = journal.attempts(final_only=True, failed_only=failed_only, order="mini_batch")
            tries = {} if settled_only else journal.tries()
            said = journal.said()
            succeeded = succeeded or _Succeeded(*(run for run, _ in chain(folder)))
        rows = open_files.enter_context(open(rows_file or os.devnull, "rb"))
        content = mmap.mmap(rows.fileno(), 0, access=mmap.ACCESS_READ) if rows_file and rows_file.stat().st_size else b""
        attempt, lines = next(attempts, None), next(said, None)
        manifests: list[BinaryIO] = [open_files.enter_context(open(dataset.manifest, "rb", _AT_A_TIME)) for dataset in plan.datasets]
        slices: list[_AllSlices | None] = [None] * len(manifests)
        if plan.request.failed_only and plan.datasets[0].format:
            first_run = failed_only_chain(folder)[0][1]
            slices = [_AllSlices(open_files.enter_context(open(dataset.manifest, "rb", _AT_A_TIME))) for dataset in first_run.datasets]
        read = 0
        for batch in cut(plan.datasets, plan.request.settings):
            dataset = plan.datasets[batch.dataset]
            if attempt is not None and attempt.mini_batch == batch.index:
                if attempt.columns is not None and attempt.columns not in columns:
                    columns |= journal.columns()
                while lines is not None and (lines.mini_batch, lines.attempt) < (attempt.mini_batch, attempt.attempt):
                    lines = next(said, None)
                own = lines is not None and (lines.mini_batch, lines.attempt) == (attempt.mini_batch, attempt.attempt)
                said_meanwhile = [Line(*line) for line in lines.lines] if own and lines else ()
                frame_index = "" if attempt.columns is None else journal.frame_index(attempt)
                assert succeeded  # there is a journal
                yield _MiniBatch(
                    batch, dataset, attempt, attempt.attempt, content, columns, manifests[batch.dataset], said_meanwhile, succeeded.said,
                    succeeded.nothing, frame_index, slices[batch.dataset],
                )  # fmt: skip
                read += attempt.end - attempt.begin
                if read > _MOST_MAPPED and isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                    content.madvise(mmap.MADV_DONTNEED)  # else what was read counts as memory of this process
                    read = 0
                attempt = next(attempts, None)
            elif not settled_only:
                yield _MiniBatch(batch, dataset, None, tries.get(batch.index, 0), content, columns, manifests[batch.dataset])
            if settled_only and attempt is None:
                return


# ---- failed items only -----------------------------------------------------------------------------------------------------------


def restrict_to_failed(plan: RunPlan, earlier: LocalRunFolder, folder: LocalRunFolder) -> RunPlan:
    """The plan of a failed-only run: its manifests, written into `folder`, hold the items of the earlier run that are to be scored again.
    Raises StudioError where there are none, WorkspaceUnavailable where they can't be written."""
    before = earlier.plan()
    manifests = [folder.path / f"manifest-{number}.jsonl" for number in range(len(before.datasets))]
    counts = [0] * len(manifests)
    try:
        with ExitStack() as open_files:
            writers = [open_files.enter_context(open(manifest, "wb")) for manifest in manifests]
            for mini_batch in _mini_batches(earlier, before, settled_only=False):
                lines = mini_batch.to_score_again()
                writers[mini_batch.batch.dataset].writelines(lines)
                counts[mini_batch.batch.dataset] += sum(json.loads(line)[5] for line in lines) if mini_batch.dataset.format else len(lines)
    except OSError as error:
        raise WorkspaceUnavailable(f"The failed items of {earlier.path.name} can't be listed: {error}.") from error
    if not any(counts):
        raise StudioError(f"Nothing failed in run {earlier.path.name}.", "Rerun it whole to score everything again.")
    made = zip(before.datasets, manifests, counts, strict=True)
    datasets = tuple(replace(dataset, manifest=str(manifest), item_count=count) for dataset, manifest, count in made)
    return replace(plan, datasets=datasets)


def lines_to_score_again(folder: LocalRunFolder, plan: RunPlan) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
    """Of each mini-batch of a run the dataset's number, the lines of the manifest, and those of items that failed or have no row."""
    for mini_batch in _mini_batches(folder, plan, settled_only=False):
        yield mini_batch.batch.dataset, mini_batch.lines(), mini_batch.to_score_again()


def chain(folder: LocalRunFolder) -> list[tuple[LocalRunFolder, RunPlan]]:
    """The run, and before it the runs that it adds to: the first one first."""
    runs = [(folder, folder.plan())]
    while before := runs[-1][1].request.adds_to:
        runs.append((folder.of(before), folder.of(before).plan()))
    return runs[::-1]


def failed_only_chain(folder: LocalRunFolder) -> list[tuple[LocalRunFolder, RunPlan]]:
    """The run, and before it those whose failed items it scored again, from the last one on that is no failed-only run."""
    runs = [(folder, folder.plan())]
    while runs[-1][1].request.failed_only:
        before = folder.of(str(runs[-1][1].request.rerun_of))
        runs.append((before, before.plan()))
    return runs[::-1]


def settled(folder: LocalRunFolder) -> Iterator[ScoredMiniBatch]:
    """The settled mini-batches in their order, each with its items and rows; those of the runs that it adds to first."""
    runs = chain(folder)
    tried: _Attempts = {}
    succeeded, replaced, gone = _Succeeded(), _scored_by_new_only(runs), _gone(runs)
    for place, ((before, plan), (_, after)) in enumerate(pairwise(runs)):
        succeeded.add(before)
        yield from _kept(before, plan, after, _Later(place, replaced), tried, gone, succeeded)
    succeeded.add(folder)
    for mini_batch in _mini_batches(*runs[-1], settled_only=True, succeeded=succeeded):
        scored = mini_batch.scored(_earlier_attempts(mini_batch, tried))
        yield replace(scored, gone=None if gone is None else gone[mini_batch.batch.dataset])


def paths_in(manifest: Path) -> Iterator[str]:
    """The paths in a list whose lines begin with one, each once where the same ones follow each other."""
    last = None
    with open(manifest, "rb") as lines:
        for _, (path, *_) in parsed_lines(lines):
            if path != last:
                yield path
            last = path


def _scored_by_new_only(runs: Sequence[tuple[LocalRunFolder, RunPlan]]) -> list[dict[str, int]]:
    """By dataset, of each path that a new-only run scored, or whose rows it replaced, the place of the last one that did."""
    replaced: list[dict[str, int]] = [{} for _ in runs[-1][1].datasets]
    for place, (folder, plan) in enumerate(runs):
        if plan.request.new_only and plan.request.rerun_of:
            for number, (dataset, last) in enumerate(zip(plan.datasets, replaced, strict=True)):
                others = folder.new / f"replaced-{number}.jsonl"
                for list_ in (Path(dataset.manifest), *([others] if others.is_file() else [])):
                    last.update(dict.fromkeys(paths_in(list_), place))
    return replaced


def _gone(runs: Sequence[tuple[LocalRunFolder, RunPlan]]) -> list[frozenset[str]] | None:
    """By dataset, the paths whose files were gone when their folder was last looked at; None where none looked for what is new."""
    for folder, plan in reversed(runs):
        numbers = range(len(plan.datasets))
        if _gone_list(folder, 0).is_file():
            return [frozenset(paths_in(_gone_list(folder, number))) for number in numbers]
        if plan.request.new_only and plan.request.rerun_of:
            left = [[left for left in read_left(folder, number) if left.gone] for number in numbers]
            return [frozenset(path for each in gone for path in each.made or (each.path,)) for gone in left]
    return None


def _gone_list(folder: LocalRunFolder, number: int) -> Path:
    return folder.new / f"gone-{number}.jsonl"


def gone_files(folder: LocalRunFolder) -> list[frozenset[str]]:
    """By dataset, the paths that are marked in the predictions of a run since their files are gone."""
    runs = chain(folder)
    return _gone(runs) or [frozenset() for _ in runs[-1][1].datasets]


def mark_gone(folder: LocalRunFolder, gone: Sequence[Collection[str]]) -> None:
    """Have the predictions of a run say which of its files are gone by now: paths, by dataset. Raises OSError."""
    folder.new.mkdir(exist_ok=True)
    for number, paths in reversed(list(enumerate(gone))):  # the first last: with it they all count
        lines = [json.dumps([path]) + "\n" for path in sorted(paths)]
        write_atomically(_gone_list(folder, number), "".join(lines).encode("ascii"))


def marks_of(folder: LocalRunFolder) -> str:
    """What the predictions of a run say is gone, as far as that was found later: another text for another, "" where nothing was."""
    with suppress(FileNotFoundError):
        marks = [_gone_list(folder, number).read_bytes() for number in range(len(folder.plan().datasets))]
        return hashlib.sha256(b"\0".join(marks)).hexdigest()[:8]
    return ""


class Left(NamedTuple):
    """A file that the predictions have rows of and that was no file of the dataset when it was read again: gone, or changed just then.
    `succeeded`: whether its prediction counts. `made` are the dataset's files that were made of it, none where it is one itself."""

    path: str
    size: int
    modified_ns: int
    succeeded: bool
    gone: bool
    made: Sequence[str] = ()


def read_left(folder: LocalRunFolder, number: int) -> Iterator[Left]:
    """Those of one dataset of a new-only run."""
    with open(folder.new / f"left-{number}.jsonl", "rb") as lines:
        yield from (Left(*json.loads(line)) for line in lines)


class _Later(NamedTuple):
    """What new-only runs after that at `place` scored: see _scored_by_new_only."""

    place: int
    replaced: Sequence[Mapping[str, int]]

    def has(self, number: int, line: bytes) -> bool:
        paths = self.replaced[number]
        return bool(paths) and paths.get(json.loads(line)[0], -1) > self.place


def failed(folder: LocalRunFolder) -> Iterator[ScoredMiniBatch]:
    """As `settled`, but just the items that failed: at once where they are few, and all there is of a run that keeps no rows. Those of
    earlier runs were scored again."""
    plan = folder.plan()
    keeps_rows = plan.request.settings.output_action == "append_row"
    for mini_batch in _mini_batches(folder, plan, settled_only=True, failed_only=True):
        scored = mini_batch.scored({})
        assert mini_batch.settled
        rows = failed_rows(scored) if keeps_rows else failed_without_rows(scored, mini_batch.settled.failed)
        if rows.files:
            yield replace(scored, read=rows, rows=())


def _kept(
    folder: LocalRunFolder,
    plan: RunPlan,
    after: RunPlan,
    later: _Later,
    tried: _Attempts,
    gone: Sequence[Collection[str]] | None,
    succeeded: _Succeeded,
) -> Iterator[ScoredMiniBatch]:
    """What stands of a run when later ones scored some of its items again; these go to `tried`."""
    with ExitStack() as open_files:
        by_line = after.datasets if after.request.failed_only else ()
        again: list[BinaryIO] = [open_files.enter_context(open(dataset.manifest, "rb")) for dataset in by_line]
        upcoming = [lines.readline() for lines in again]
        for mini_batch in _mini_batches(folder, plan, settled_only=False, succeeded=succeeded):
            number, replaced = mini_batch.batch.dataset, []
            earlier_attempts = _earlier_attempts(mini_batch, tried)
            lines = mini_batch.lines()
            for line in lines:
                scored_again = bool(again) and line == upcoming[number]
                if scored_again:
                    upcoming[number] = again[number].readline()
                if scored_again or later.has(number, line):
                    replaced.append(line)
                    tried[number, line] = tried.get((number, line), 0) + mini_batch.tries
            if mini_batch.settled is not None and len(replaced) < len(lines):
                yield replace(
                    mini_batch.scored(earlier_attempts),
                    worker=f"{worker_name(mini_batch.settled)} of {folder.path.name}",
                    left_out=frozenset(json.loads(line)[0] for line in replaced),
                    gone=None if gone is None else gone[number],
                )


def _earlier_attempts(mini_batch: _MiniBatch, tried: _Attempts) -> Mapping[str, int]:
    if not tried:
        return {}
    return {json.loads(line)[0]: count for line in mini_batch.lines() if (count := tried.get((mini_batch.batch.dataset, line)))}

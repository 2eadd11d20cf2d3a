"""A run of only what is new: which files of a dataset that grew have no prediction by the same model and script yet.

New is a path, or a path whose content changed, without a succeeded prediction by the same model, script (its content), arguments, side
inputs, environment and environment variables; what failed is new. A file is compared by its size and its time of modification; where only
the time differs, by its SHA-256, as far as the content that was scored is known: of a copied dataset, whose files are still there, and of
what an earlier run of only what is new has scored, which noted it. A file that changed in the last seconds may be half written: it is left
for the next time.

```
runs/<id>/new/              a line for each file, of each dataset by its number
  files-0.jsonl             [path, size, modified_ns]: what this run scores
  left-0.jsonl              what the predictions have rows of besides, and the dataset, as it was read anew, has not: see output_reader.Left
  contents-0.jsonl          [path, size, modified_ns, SHA-256] of what was scored, by this run and those it adds to, as far as it is known
```
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from services import log
from services.domain import Dataset, DatasetFile, Run, RunStatus
from services.errors import IntakeError, NotFound, SettingsError, StillRunning, StudioError, WorkspaceUnavailable, os_errors_as
from services.local import reuse
from services.local.output_reader import failed_only_chain, lines_to_score_again, paths_in, read_left
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.run_details import NewItems
from services.storage.atomic import atomic_write
from services.storage.file_tree import sha256_of
from services.storage.manifest import manifest_line, parsed_lines, present_state, read_manifest
from services.storage.runs import StoredRuns
from services.storage.store import Store

logger = logging.getLogger(__name__)

YOUNG_SECONDS = 10.0
"""A file that changed since may be half written."""


class _State(NamedTuple):
    """A file that the earlier run's predictions have rows of, as it was then, and whether its prediction counts."""

    size: int
    modified_ns: int
    succeeded: bool


@dataclass
class GrownDataset:
    """A dataset and what is new of it. `dataset` is the version whose folder was looked at; `is_read_anew` whether it has other files now.
    `fresh` are the files to score by path, with their sizes and times; `unchanged` those of which only the time is another."""

    dataset: Dataset
    is_read_anew: bool = False
    known: Mapping[str, _State] = field(default_factory=dict)
    fresh: dict[str, tuple[int, int]] = field(default_factory=dict)
    unchanged: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: dict[str, bool] = field(default_factory=dict)
    """What is known and not there: by path whether it is gone."""
    contents: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def is_waiting(self, file: DatasetFile) -> bool:
        """Whether the file is left for the next time: it changed just now, or after the folder was looked at."""
        state = (file.size, file.modified_ns)
        known = self.known.get(file.path)
        return not (known and known[:2] == state) and state not in (self.fresh.get(file.path), self.unchanged.get(file.path))


@dataclass(frozen=True)
class Look:
    """What was found in all datasets of a request."""

    found: NewItems
    datasets: Sequence[GrownDataset]


def look(store: Store, runs: StoredRuns[LocalRunFolder], plan: RunPlan, datasets: Sequence[Dataset], *, first_too: bool = True) -> Look:
    """Look at the folders of these datasets, for a plan over them; where there is no earlier run only if `first_too`. Raises SettingsError
    on `new_only` for what can't be read anew, and StudioError where a run of the same has not ended."""
    for dataset in datasets:
        check_can_grow(dataset)
    earlier = _earlier(store, runs, plan)
    grown, waiting, counts = [], [], dict.fromkeys(("new", "changed", "failed", "kept", "gone"), 0)
    if earlier is None and not first_too:
        return Look(NewItems(", ".join(dataset.name for dataset in datasets)), ())
    before = _Before(runs.folder(earlier.id), reuse.scored_with(plan)) if earlier else None
    for number, dataset in enumerate(datasets):
        one = GrownDataset(dataset)
        if before:
            one.known, one.contents = before.known(number), before.contents(number)
        waiting += _compare(one, before.root(number) if before else "", counts)
        grown.append(one)
    why = _why_none(store, runs, plan) if earlier is None else ""
    name = ", ".join(dict.fromkeys(dataset.name for dataset in datasets))
    return Look(NewItems(name, earlier.id if earlier else "", why, **counts, waiting=tuple(waiting)), grown)


# ---- the earlier run -------------------------------------------------------------------------------------------------------------


def _earlier(store: Store, runs: StoredRuns[LocalRunFolder], plan: RunPlan) -> Run | None:
    """The newest run that completed in the same way, or that carried such a one on; where none did, the newest that ended."""
    key, ended = reuse.scored_with(plan), list[Run]()
    for run, is_known in store.scored_with(str(key), plan.request):
        if not is_known and not _has_key(runs.folder(run.id), key):
            continue
        now = runs.get(run.id)
        if not now.status.ended:
            what = f"Run {run.id}, which scores the same, has not ended"
            if now.status is RunStatus.NOT_RESPONDING:
                raise StudioError(f"{what}: it has no active runner.", f"Resume it, or cancel it: resume {run.id}")
            hint = "Wait for its end, or cancel it. What is new by then is scored the next time."
            raise StillRunning(f"{what}.", hint, {"active_run": run.id})
        if _can_be_read(runs.folder(run.id)):
            if now.status is RunStatus.COMPLETED or now.request.adds_to:
                return now
            ended.append(now)
    return next(iter(ended), None)


def _has_key(folder: LocalRunFolder, key: str | None) -> bool:
    with suppress(StudioError):
        return reuse.scored_with(folder.plan()) == key
    return False


def _can_be_read(folder: LocalRunFolder) -> bool:
    with suppress(StudioError):
        runs = failed_only_chain(folder)
        manifests = [Path(dataset.manifest) for _, plan in runs for dataset in plan.datasets]
        return all(path.is_file() for path in (*manifests, *(_list_then(runs[0][0], dataset) for dataset in runs[0][1].datasets)))
    return False


def _why_none(store: Store, runs: StoredRuns[LocalRunFolder], plan: RunPlan) -> str:
    """What changed since the last such run, where there was one."""
    last = store.last_completed(plan.request)
    with suppress(StudioError):
        if last and (then := runs.folder(last.id).plan()).inputs:
            before, now = reuse.how_scored(then), reuse.how_scored(plan)
            changed = [name.replace("_", " ") for name in now if before[name] != now[name]]
            return f"{' and '.join(changed)} changed since {last.id}." if changed else ""
    return ""


class _Before:
    """What the predictions of an earlier run have: read from it and, where it is a failed-only run, those whose items it scored again."""

    def __init__(self, folder: LocalRunFolder, key: str | None) -> None:
        self._runs = failed_only_chain(folder)
        self._same = [reuse.scored_with(plan) == key for _, plan in self._runs]
        self._failed = self._failed_paths()

    def _failed_paths(self) -> list[set[str]]:
        """By dataset, the paths of the items without a prediction by the same model and script."""
        bad: list[dict[str, set[bytes]]] = [{} for _ in self._runs[-1][1].datasets]
        for same, (folder, plan) in zip(self._same, self._runs, strict=True):
            for number, lines, again in lines_to_score_again(folder, plan):
                for line in lines if again or bad[number] or not same else ():
                    path = json.loads(line)[0]
                    if not same or line in again:
                        bad[number].setdefault(path, set()).add(line)
                    elif path in bad[number]:
                        bad[number][path].discard(line)
        return [{path for path, lines in paths.items() if lines} for paths in bad]

    def known(self, number: int) -> dict[str, _State]:
        """The files by path."""
        folder, plan = self._runs[0]
        failed, kept_count = self._failed[number], self._same[0]
        adds_to = plan.request.new_only and plan.request.rerun_of
        own = set(paths_in(Path(plan.datasets[number].manifest))) if adds_to and not kept_count else None
        files = {}
        for file in read_manifest(_list_then(folder, plan.datasets[number])):
            # Those that a new-only run kept were scored as it did: where it did so otherwise than now, they don't count.
            succeeded = file.path not in failed and (own is None or file.path in own)
            files[file.path] = _State(file.size, file.modified_ns, succeeded)
        if adds_to:
            for left in read_left(folder, number):
                files.setdefault(left.path, _State(left.size, left.modified_ns, left.succeeded and kept_count))
        return files

    def root(self, number: int) -> str:
        return self._runs[0][1].datasets[number].root

    def contents(self, number: int) -> dict[str, tuple[int, int, str]]:
        found: dict[str, tuple[int, int, str]] = {}
        with suppress(OSError), open(self._runs[0][0].new / f"contents-{number}.jsonl", "rb") as lines:
            found = {path: (size, modified_ns, sha256) for _, (path, size, modified_ns, sha256) in parsed_lines(lines)}
        return found


def _list_then(folder: LocalRunFolder, planned: PlannedDataset) -> Path:
    """The list of a dataset's files that a run had; it stays for the run where the dataset was deleted."""
    lists, (name, _, version) = Path(planned.manifest).parent, planned.reference.partition(":")
    if lists == folder.path:  # its own, of just what it scored
        lists = folder.path.parents[1] / "datasets" / name / version
    return lists / ("files.jsonl" if planned.format else "manifest.jsonl")


# ---- what is there now -----------------------------------------------------------------------------------------------------------


def place_of(dataset: Dataset) -> Path:
    """The folder of a dataset, or its one file where that was registered."""
    if dataset.one_file or (dataset.one_file is None and dataset.file_count == 1):
        return Path(dataset.root, next(iter(read_manifest(_list_of_files(dataset)))).path)
    return Path(dataset.root)


def check_can_grow(dataset: Dataset) -> None:
    """Raises SettingsError on `new_only` where it can't be told what is new of it."""
    if dataset.source_root:
        raise made_of_others(dataset)


def made_of_others(dataset: Dataset) -> SettingsError:
    """Of a table whose files were made Parquet."""
    text = f"the files of {dataset.name} are made Parquet when they are registered, so which of them are new can't be told"
    return SettingsError("new_only", text, "Put plain CSV or Parquet files there, or score all of it.")


def _compare(one: GrownDataset, old_root: str, counts: dict[str, int]) -> list[str]:
    """Find what is new of a dataset. Returns the paths that are left for the next time."""
    waiting, there, is_other = list[str](), set[str](), False
    now_ns = time.time_ns()
    with os_errors_as(NotFound, f"The list of files of dataset {one.dataset} is gone", "Register the dataset again."):
        for file, listed in zip_longest(_files_now(one.dataset), read_manifest(_list_of_files(one.dataset))):
            is_other = is_other or file != listed
            if file is None:
                continue
            known = one.known.get(file.path)
            there.add(file.path)
            if known and known.succeeded and (known.size, known.modified_ns) == (file.size, file.modified_ns):
                counts["kept"] += 1
            elif one.dataset.in_place and abs(now_ns - file.modified_ns) < YOUNG_SECONDS * 1e9:
                is_other = True
                waiting.append(file.path)
                if known:
                    one.left[file.path] = False
            elif known and known.succeeded and _has_same_content(one, known, file, old_root):
                counts["kept"] += 1
                one.unchanged[file.path] = (file.size, file.modified_ns)
            else:
                same = known and (known.size, known.modified_ns) == (file.size, file.modified_ns)
                counts["failed" if same else "changed" if known else "new"] += 1
                one.fresh[file.path] = (file.size, file.modified_ns)
    gone = [path for path in one.known if path not in there]
    one.left |= dict.fromkeys(gone, True)
    counts["gone"] += len(gone)
    one.is_read_anew = is_other and one.dataset.in_place and len(there) > len(waiting)
    return waiting


def _files_now(dataset: Dataset) -> Iterator[DatasetFile]:
    """The files of a dataset's folder as it is now; of a copied one, which doesn't grow, as they are listed."""
    from services.intake.datasets import collect_files  # only here, since a runner does without

    if not dataset.in_place:
        return read_manifest(_list_of_files(dataset))
    return collect_files(place_of(dataset), dataset.glob, hidden=dataset.type == "file", may_be_none=True)


def _list_of_files(dataset: Dataset) -> Path:
    from services.intake.datasets import list_of_files

    return list_of_files(dataset)


def _has_same_content(one: GrownDataset, known: _State, file: DatasetFile, old_root: str) -> bool:
    """Whether a file of the same size is the same but for its time. False where that can't be told: it is scored again."""
    if known.size != file.size:
        return False
    with suppress(IntakeError, NotFound):
        size, modified_ns, sha256 = one.contents.get(file.path, (0, 0, ""))
        if sha256 and (size, modified_ns) == (known.size, known.modified_ns):
            return sha256 == sha256_of(Path(one.dataset.root, file.path))
        old = DatasetFile(file.path, known.size, known.modified_ns)
        if old_root != one.dataset.root and present_state(old_root, old) == (known.size, known.modified_ns):
            return sha256_of(Path(old_root, file.path)) == sha256_of(Path(one.dataset.root, file.path))
    return False


# ---- the run ---------------------------------------------------------------------------------------------------------------------


def restrict_to_new(plan: RunPlan, look: Look, folder: LocalRunFolder) -> RunPlan:
    """The plan of a run of what is new: its manifests, written into `folder`, have just the files to score; and what the next such run
    needs to know is noted. Raises WorkspaceUnavailable."""
    with os_errors_as(WorkspaceUnavailable, f"What is new can't be listed in {folder.path}"):
        folder.new.mkdir()
        pairs = zip(plan.datasets, look.datasets, strict=True)
        datasets = tuple(_restricted(planned, one, folder, number) for number, (planned, one) in enumerate(pairs))
    if not any(dataset.item_count for dataset in datasets):  # what was new changed meanwhile
        raise look.found.nothing_new()
    return replace(plan, datasets=datasets)


def _restricted(planned: PlannedDataset, one: GrownDataset, folder: LocalRunFolder, number: int) -> PlannedDataset:
    manifest, count = folder.path / f"manifest-{number}.jsonl", 0
    with open(planned.manifest, "rb") as lines, open(manifest, "wb") as chosen:
        for line, values in parsed_lines(lines):
            if values[0] in one.fresh:
                chosen.write(line)
                count += values[5] if planned.format else 1
    with open(folder.new / f"files-{number}.jsonl", "wb") as files:
        files.writelines(manifest_line(DatasetFile(path, *state)) for path, state in one.fresh.items())
    with open(folder.new / f"left-{number}.jsonl", "wb") as left:
        for path, gone in one.left.items():
            left.write(json.dumps([path, *one.known[path], gone]).encode("ascii") + b"\n")
    with open(folder.new / f"contents-{number}.jsonl", "wb") as contents:
        for path, noted in one.contents.items():
            if path not in one.fresh:
                contents.write(_contents_line(path, *one.unchanged.get(path, noted[:2]), noted[2]))
    return replace(planned, manifest=str(manifest), item_count=count)


def _contents_line(path: str, size: int, modified_ns: int, sha256: str) -> bytes:
    return json.dumps([path, size, modified_ns, sha256]).encode("ascii") + b"\n"


def note_contents(folder: LocalRunFolder, plan: RunPlan) -> None:
    """Note the SHA-256 of each file that the run scored and that is still as it was listed, so that one of which only the time changes is
    known again. Takes as long as reading them. Never raises OSError."""
    for number, dataset in enumerate(plan.datasets if plan.request.new_only else ()):
        path = folder.new / f"contents-{number}.jsonl"
        with log.suppress(logger, "What was scored can't be noted", OSError), atomic_write(path) as temporary:
            lines = path.read_bytes().splitlines(keepends=True)
            files = list(read_manifest(folder.new / f"files-{number}.jsonl"))
            own = {file.path for file in files}
            with open(temporary, "xb") as contents:
                contents.writelines(line for line, (name, *_) in parsed_lines(lines) if name not in own)
                for file in files:
                    with suppress(IntakeError, NotFound):
                        state = present_state(dataset.root, file)
                        if state == (file.size, file.modified_ns):
                            contents.write(_contents_line(file.path, *state, sha256_of(Path(dataset.root, file.path))))

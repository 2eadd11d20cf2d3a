"""A run of only what is new: which files of a dataset that grew have no prediction by the same model and script yet.

New is a path, or a path whose content changed, without a succeeded prediction by the same model, script (its content), arguments, side
inputs, environment and environment variables; what failed is new. A file is a person's own: where a dataset's files were made Parquet, one
that they were made of. It is compared by its size and its time of modification; where only the time differs, by its SHA-256, as far as the
content that was scored is known: of a copied dataset, whose files are still there; of one whose files were made of others, which noted it;
and of what a run has scored in place, which notes it up to a limit. A file that changed in the last seconds may be half written: it is left
for the next time.

```
runs/<id>/new/              a line for each file, of each dataset by its number
  files-0.jsonl             [path, size, modified_ns]: what this run scores, of a run of only what is new
  left-0.jsonl              files with rows in the predictions that the dataset, read again, does not have: see output_reader.Left
  replaced-0.jsonl          [path] of the files that were made of what changed, before it did: those made of it now may have other names
  gone-0.jsonl              [path] of what was found gone later, when nothing was new: see output_reader.mark_gone
  contents-0.jsonl          [path, size, modified_ns, SHA-256] of what was scored, by this run and those it adds to, as far as it is known
```
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from services.domain import Dataset, DatasetFile, Run, RunStatus, TabularDataset
from services.errors import IntakeError, NotFound, SettingsError, StillRunning, StudioError, WorkspaceUnavailable, os_errors_as
from services.local import reuse
from services.local.output_reader import Left, failed_only_chain, gone_files, lines_to_score_again, mark_gone, paths_in, read_left
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.local.scored_files import contents_line, contents_list, list_of_files, lists_of, noted_contents, sources
from services.run_details import NewItems
from services.storage.file_tree import sha256_of
from services.storage.manifest import SOURCES, SourceFile, manifest_line, parsed_lines, present_state
from services.storage.runs import StoredRuns
from services.storage.store import Store

PARQUET = "parquet"
YOUNG_SECONDS = 10.0
"""A file that changed since may be half written."""


class _State(NamedTuple):
    """A file that the earlier run's predictions have rows of, as it was then, whether its prediction counts, and the dataset's files that
    were made of it: none where it is one itself."""

    size: int
    modified_ns: int
    succeeded: bool
    made: Sequence[str] = ()


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
    on `new_only` for what can't be read again, and StudioError where a run of the same has not ended."""
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
    unmarked = 0
    if earlier:
        marked = gone_files(runs.folder(earlier.id))
        unmarked = sum(len(_gone_files(one) ^ before) for one, before in zip(grown, marked, strict=True))
    why = _why_none(store, runs, plan) if earlier is None else ""
    name = ", ".join(dict.fromkeys(dataset.name for dataset in datasets))
    return Look(NewItems(name, earlier.id if earlier else "", why, **counts, unmarked=unmarked, waiting=tuple(waiting)), grown)


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
        if _can_be_read(store, runs.folder(run.id)):
            if now.status is RunStatus.COMPLETED or now.request.adds_to:
                return now
            ended.append(now)
    return next(iter(ended), None)


def _has_key(folder: LocalRunFolder, key: str | None) -> bool:
    with suppress(StudioError):
        return reuse.scored_with(folder.plan()) == key
    return False


def _can_be_read(store: Store, folder: LocalRunFolder) -> bool:
    with suppress(StudioError):
        runs = failed_only_chain(folder)
        manifests = [Path(dataset.manifest) for _, plan in runs for dataset in plan.datasets]
        return all(path.is_file() for path in manifests) and all(_is_known(store, runs[0][0], dataset) for dataset in runs[0][1].datasets)
    return False


def _is_known(store: Store, folder: LocalRunFolder, planned: PlannedDataset) -> bool:
    """Whether it is known which of a person's files a run has scored."""
    lists = lists_of(folder, planned)
    if not list_of_files(lists, planned.format).is_file():
        return False
    if planned.format == PARQUET and Path(planned.root) == lists / "files" and not (lists / SOURCES).is_file():
        # Copied in, or made of others by an earlier version of the program, which did not note what of.
        registered = store.all(Dataset, lists.parent.name, int(lists.name))
        return bool(registered) and not registered[0].source_root
    return True


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
        for path, size, modified_ns, _, made in self._sources(number):
            # Those that a new-only run kept were scored as it did: where it did so otherwise than now, they don't count.
            succeeded = all(file not in failed and (own is None or file in own) for file in made or (path,))
            files[path] = _State(size, modified_ns, succeeded, made)
        if adds_to:
            for left in read_left(folder, number):
                files.setdefault(left.path, _State(left.size, left.modified_ns, left.succeeded and kept_count, left.made))
        return files

    def root(self, number: int) -> str:
        return self._runs[0][1].datasets[number].root

    def contents(self, number: int) -> dict[str, tuple[int, int, str]]:
        noted = noted_contents(self._runs[0][0], number)
        return noted | {path: (size, time, sha256) for path, size, time, sha256, _ in self._sources(number) if sha256}

    def _sources(self, number: int) -> Iterator[SourceFile]:
        folder, plan = self._runs[0]
        return sources(lists_of(folder, plan.datasets[number]), plan.datasets[number].format)


# ---- what is there now -----------------------------------------------------------------------------------------------------------


def place_of(dataset: Dataset) -> Path:
    """The folder of a dataset, or its one file where that was registered: that of the person, of which its own may have been made."""
    if dataset.source_root:
        return Path(dataset.source_root)
    if dataset.one_file or (dataset.one_file is None and dataset.file_count == 1):
        return Path(dataset.root, next(_listed(dataset)).path)
    return Path(dataset.root)


def check_can_grow(dataset: Dataset) -> None:
    """Raises SettingsError on `new_only` where what is new of it can't be determined."""
    if dataset.source_root and not (Path(dataset.manifest).parent / SOURCES).is_file():
        text = f"an earlier version of this program registered {dataset}, and did not note which files its Parquet files were made of"
        raise SettingsError("new_only", text, "Register the dataset again. The first run scores all of it, later ones what is new.")


def _grows(dataset: Dataset) -> bool:
    """Whether its files, or those that they were made of, are a person's own, and not a copy in the home."""
    home = Path(dataset.manifest).parents[3]
    return dataset.in_place or bool(dataset.source_root and not Path(dataset.source_root).is_relative_to(home))


def _base_of(dataset: Dataset) -> Path:
    """The folder that the paths of a person's files start from."""
    if not dataset.source_root:
        return Path(dataset.root)
    return Path(dataset.source_root).parent if dataset.one_file else Path(dataset.source_root)


def _compare(one: GrownDataset, old_root: str, counts: dict[str, int]) -> list[str]:
    """Find what is new of a dataset. Returns the paths that are left for the next time."""
    waiting, there, is_other = list[str](), set[str](), False
    now_ns = time.time_ns()
    with os_errors_as(NotFound, f"The list of files of dataset {one.dataset} is gone", "Register the dataset again."):
        for file, listed in zip_longest(_files_now(one.dataset), _listed(one.dataset)):
            is_other = is_other or file != listed
            if file is None:
                continue
            known = one.known.get(file.path)
            there.add(file.path)
            if known and known.succeeded and (known.size, known.modified_ns) == (file.size, file.modified_ns):
                counts["kept"] += 1
            elif _grows(one.dataset) and abs(now_ns - file.modified_ns) < YOUNG_SECONDS * 1e9:
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
    one.is_read_anew = is_other and _grows(one.dataset) and len(there) > len(waiting)
    return waiting


def _files_now(dataset: Dataset) -> Iterator[DatasetFile]:
    """The files of a dataset's folder as it is now; of a copied one, which doesn't grow, as they are listed."""
    from services.intake.datasets import collect_files  # only here, since a runner does without

    if not _grows(dataset):
        return _listed(dataset)
    return collect_files(place_of(dataset), dataset.glob, hidden=dataset.type == "file", may_be_none=True)


def _listed(dataset: Dataset) -> Iterator[DatasetFile]:
    """A person's files, as they were when the dataset was registered."""
    found = sources(Path(dataset.manifest).parent, dataset.format if isinstance(dataset, TabularDataset) else "")
    return (DatasetFile(source.path, source.size, source.modified_ns) for source in found)


def _has_same_content(one: GrownDataset, known: _State, file: DatasetFile, old_root: str) -> bool:
    """Whether a file of the same size is the same but for its time. False where that isn't known: it is scored again."""
    if known.size != file.size:
        return False
    with suppress(IntakeError, NotFound):
        size, modified_ns, sha256 = one.contents.get(file.path, (0, 0, ""))
        if sha256 and (size, modified_ns) == (known.size, known.modified_ns):
            return sha256 == sha256_of(_base_of(one.dataset) / file.path)
        old = DatasetFile(file.path, known.size, known.modified_ns)
        if old_root != one.dataset.root and not known.made and present_state(old_root, old) == (known.size, known.modified_ns):
            return sha256_of(Path(old_root, file.path)) == sha256_of(_base_of(one.dataset) / file.path)
    return False


# ---- what is gone ----------------------------------------------------------------------------------------------------------------


def note_gone(runs: StoredRuns[LocalRunFolder], look: Look) -> None:
    """Where nothing is new: mark the rows of files that are gone by now in the predictions that what is new would be added to, and take
    the mark from those that are there again. Raises OSError."""
    if look.found.unmarked:
        mark_gone(runs.folder(look.found.adds_to), [_gone_files(one) for one in look.datasets])


def _gone_files(one: GrownDataset) -> set[str]:
    return {file for path, gone in one.left.items() if gone for file in one.known[path].made or (path,)}


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
    made_of = {made: source.path for source in sources(lists_of(folder, planned), planned.format) for made in source.made}
    with open(planned.manifest, "rb") as lines, open(manifest, "wb") as chosen:
        for line, values in parsed_lines(lines):
            if made_of.get(values[0], values[0]) in one.fresh:
                chosen.write(line)
                count += values[5] if planned.format else 1
    with open(folder.new / f"files-{number}.jsonl", "wb") as files:
        files.writelines(manifest_line(DatasetFile(path, *state)) for path, state in one.fresh.items())
    with open(folder.new / f"left-{number}.jsonl", "wb") as left:
        for path, gone in one.left.items():
            size, modified_ns, succeeded, made = one.known[path]
            left.write(json.dumps(Left(path, size, modified_ns, succeeded, gone, made)).encode("ascii") + b"\n")
    with open(folder.new / f"replaced-{number}.jsonl", "wb") as replaced:
        for path in one.known.keys() & one.fresh.keys():
            made = one.known[path].made or ((path,) if made_of else ())
            replaced.writelines(json.dumps([file]).encode("ascii") + b"\n" for file in made)
    with open(contents_list(folder, number), "wb") as contents:
        for path, noted in one.contents.items():
            if path not in one.fresh:
                contents.write(contents_line(path, *one.unchanged.get(path, noted[:2]), noted[2]))
    return replace(planned, manifest=str(manifest), item_count=count)

"""True labels belong to a dataset: kept once in the home, and every run over it is judged by them. The same for every workspace.

`<home>/labels/<name>/<version>/labels-<id>.parquet`. Labels of files, by name or path, hold for every version of the dataset; those that
are a column of the dataset for every version that has the column, in which they are read again; those of single rows from a file only where
the files are the very same, for a row's number says nothing of other rows.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from services.domain import Dataset, DatasetFile, Run, TabularDataset, parse_reference
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import short
from services.intake import dataset_columns
from services.intake.staging import staging_folder
from services.predictions.columns import file_text, readable
from services.predictions.label_file import LabelColumns, Labels, keep_labels, kept_labels, label_columns
from services.run_details import Leaderboard, RunScore
from services.run_query import RunQuery
from services.storage.atomic import atomic_write, write_atomically
from services.storage.file_tree import path_given
from services.workspace import RemoteWorkspace, Runs

logger = logging.getLogger(__name__)

_CARRIED_OVER = ".from-runs"
_FILES_AT_ONCE = 1000
_MOST_RUNS = 1000
_MOST_CELLS = 60_000_000  # of a dataset's table that is joined to what is judged


class _Datasets(Protocol):
    """What is needed of a workspace."""

    home: Path

    @property
    def runs(self) -> Runs: ...
    @property
    def remote(self) -> RemoteWorkspace | None: ...
    def dataset(self, reference: str) -> Dataset: ...
    def datasets(self) -> list[Dataset]: ...
    def dataset_files(self, dataset: Dataset, first: int, count: int) -> list[DatasetFile]: ...
    def local_file(self, dataset: Dataset, path: str) -> Path: ...


class DatasetLabels:
    """The labels in the home of `workspace`."""

    def __init__(self, workspace: _Datasets) -> None:
        self._workspace = workspace
        self._folder = workspace.home / "labels"

    def of(self, reference: str) -> list[Labels]:
        """Those that hold for this version of a dataset, the latest given first, its own before those of other versions. Of a dataset that
        was deleted its own, by which the runs over it stay judged."""
        try:
            dataset = self._workspace.dataset(reference)
        except NotFound:
            name, version = parse_reference(reference, "dataset")
            kept = self._kept(name, version) if version else []
            if kept or self._runs_over(reference):
                return kept
            raise
        own = self._carried_over(dataset)
        columns = {labels.column for labels in own if labels.column}
        found, seen = list(own), {labels.id for labels in own}
        for version in self._versions(dataset.name):
            if version == dataset.version:
                continue
            for labels in self._kept(dataset.name, version):
                if labels.id not in seen and labels.column not in columns and self._hold(labels, dataset):
                    found.append(labels)
                    seen.add(labels.id)
                    columns |= {labels.column} - {""}
        return found

    def add(
        self, reference: str, source: str | Path = "", *, name: str = "", columns: LabelColumns | None = None, column: str = ""
    ) -> Labels:
        """Keep the labels in a file, or those in a column of the dataset. See services.workspace."""
        dataset = self._workspace.dataset(reference)
        folder = self._folder_of(dataset.name, dataset.version)
        with os_errors_as(WorkspaceUnavailable, f"The labels can't be kept in {folder}"):
            self._carried_over(dataset)
            folder.mkdir(parents=True, exist_ok=True)
            if column:
                labels = self._of_column(dataset, column, folder)
            else:
                path = path_given(source)
                if not path.is_file():
                    raise NotFound(f"There is no file {short(str(path))}.", "Give the path of a CSV or Parquet file of labels.")
                labels = keep_labels(path, name or path.name, folder, columns or label_columns(path))
            os.utime(labels.path)  # given again, they are the latest again
        logger.info("Labels %s of %s: %s", labels.id, dataset, labels.count)
        return next(kept for kept in self._kept(dataset.name, dataset.version) if kept.id == labels.id)

    def remove(self, reference: str, labels_id: str) -> None:
        """Forget labels, wherever this version would find them again. See services.workspace."""
        dataset = self._workspace.dataset(reference)
        labels = next((labels for labels in self.of(reference) if labels.id == labels_id), None)
        if labels is None:
            raise _removed()
        with os_errors_as(WorkspaceUnavailable, f"The labels “{labels.name}” can't be removed"):
            for version in self._versions(dataset.name):
                for kept in self._kept(dataset.name, version):
                    same = kept.id == labels.id or (labels.column and kept.column == labels.column)
                    if same and (version == dataset.version or self._hold(kept, dataset)):
                        kept.path.unlink(missing_ok=True)
        logger.info("Removed labels %s of %s", labels_id, reference)

    def get(self, references: Sequence[str], labels_id: str) -> Labels:
        """Those of this id that hold for one of these datasets; where they are a column, as this version has it. Raises NotFound."""
        for reference in references:
            with suppress(NotFound):  # a version that was removed since
                for labels in self.of(reference):
                    if labels.id == labels_id:
                        with suppress(NotFound):
                            labels = self._for_version(labels, reference)  # noqa: PLW2901
                            return replace(labels, dataset_columns=self._columns_beside(self._workspace.dataset(reference)))
                        return labels  # the dataset was deleted
        raise _removed()

    def of_run(self, run: Run) -> list[Labels]:
        """Those that hold for its datasets, as far as these are here; of an imported run those that it came with."""
        if run.imported_from:
            folder = self._workspace.home / "runs" / run.id / "labels"
            return [replace(labels, dataset=run.request.datasets[0]) for labels in kept_labels(folder)]
        found: dict[str, Labels] = {}
        for reference in run.request.datasets:
            with suppress(NotFound):  # a dataset that was deleted since
                for labels in self.of(reference):
                    found.setdefault(labels.id, labels)
        return list(found.values())

    def get_of_run(self, run: Run, labels_id: str) -> Labels:
        """Those of this id that hold for the run. Raises NotFound."""
        if not run.imported_from:
            return self.get(run.request.datasets, labels_id)
        for labels in self.of_run(run):
            if labels.id == labels_id:
                return labels
        raise _removed()

    def _for_version(self, labels: Labels, reference: str) -> Labels:
        """The same labels; a column of another version is read in this one, once."""
        dataset = self._workspace.dataset(reference)
        if labels.column and labels.dataset != dataset.reference:
            return self.add(dataset.reference, column=labels.column)
        return labels

    def _columns_beside(self, dataset: Dataset) -> Path | None:
        """The dataset's own columns, for tables that are no larger than what is read in seconds, and whose files are on this machine."""
        if not isinstance(dataset, TabularDataset) or self._workspace.remote is not None:
            return None
        names = [name for name, _ in dataset.columns]
        if not names or len(names) * (dataset.row_count or 0) > _MOST_CELLS:
            return None
        path = self._folder_of(dataset.name, dataset.version) / "columns.parquet"
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as unfinished:
                    dataset_columns.write_columns(dataset, self._files(dataset), names, unfinished)
            except (StudioError, OSError) as error:
                logger.warning("The columns of %s can't be shown beside its labels: %s", dataset, error)
                return None
        return path

    # ---- what is kept ------------------------------------------------------------------------------------------------------------

    def _folder_of(self, name: str, version: int) -> Path:
        return self._folder / name / str(version)

    def _versions(self, name: str) -> list[int]:
        """Those that labels were given for, the latest first."""
        try:
            folders = os.listdir(self._folder / name)
        except OSError:
            return []
        return sorted((int(folder) for folder in folders if folder.isascii() and folder.isdecimal()), reverse=True)

    def _kept(self, name: str, version: int) -> list[Labels]:
        folder = self._folder_of(name, version)
        if not folder.is_dir():
            return []
        return [replace(labels, dataset=f"{name}:{version}") for labels in kept_labels(folder)]

    def _hold(self, labels: Labels, dataset: Dataset) -> bool:
        """Whether labels that were given for another version hold for this one."""
        if labels.column:
            return isinstance(dataset, TabularDataset) and labels.column in dict(dataset.columns)
        if not labels.has_rows:
            return True
        with suppress(NotFound):
            return bool(dataset.manifest_sha256) and self._workspace.dataset(labels.dataset).manifest_sha256 == dataset.manifest_sha256
        return False

    def _runs_over(self, reference: str) -> list[Run]:
        """The newest runs over this version of a dataset, the newest first."""
        found = self._workspace.runs.search(RunQuery(dataset=reference, archived=True, count=_MOST_RUNS)).runs
        return sorted(found, key=lambda run: (run.submitted_at, run.id), reverse=True)

    def _carried_over(self, dataset: Dataset) -> list[Labels]:
        """Those given for this very version: also what an earlier version of this program kept with a run, which is carried over once."""
        folder = self._folder_of(dataset.name, dataset.version)
        marker = folder / _CARRIED_OVER
        if not marker.exists():
            found = [
                path
                for run in self._runs_over(dataset.reference)
                if not run.imported_from
                for path in (self._workspace.home / "runs" / run.id).glob("labels-*.parquet")
            ]
            with suppress(OSError):  # of a home that can't be written
                folder.mkdir(parents=True, exist_ok=True)
                for path in found:
                    if not (folder / path.name).exists():
                        shutil.copy2(path, folder / path.name)
                marker.touch()
        return self._kept(dataset.name, dataset.version)

    # ---- a column of the dataset --------------------------------------------------------------------------------------------------

    def _of_column(self, dataset: Dataset, column: str, folder: Path) -> Labels:
        if not isinstance(dataset, TabularDataset) or column not in dict(dataset.columns):
            has = f"Its columns are {', '.join(name for name, _ in dataset.columns)[:500]}." if isinstance(dataset, TabularDataset) else ""
            raise SettingsError("column", f"dataset {dataset} has no column “{short(column)}”", has or "Give a file of labels.")
        with staging_folder(self._workspace.home) as staging:
            source = staging / "column.parquet"
            dataset_columns.write_columns(dataset, self._files(dataset), [column], source, as_text=True)
            names = (dataset_columns.FILE, dataset_columns.ROW, "c0")
            columns = LabelColumns(names, file=names[0], row=names[1], label=names[2])
            return keep_labels(source, f"column {column}", folder, columns, column)

    def _files(self, dataset: Dataset) -> Iterator[tuple[str, Path]]:
        """What each file is called in a table of predictions, and where it is. Raises IntakeError for one that was changed."""
        first = 0
        while files := self._workspace.dataset_files(dataset, first, _FILES_AT_ONCE):
            for file in files:
                path = self._workspace.local_file(dataset, file.path)
                with os_errors_as(IntakeError, f"The file {short(file.path)} can't be read", "Register the dataset again."):
                    if path.stat().st_size != file.size:
                        raise IntakeError(f"“{short(file.path)}” was changed since {dataset} was registered.", "Register it again.")
                yield readable(file_text(file.path)), path
            first += len(files)

    # ---- all runs -----------------------------------------------------------------------------------------------------------------

    def leaderboard(
        self, reference: str, labels_id: str = "", progress: Callable[[int, int], None] = lambda _done, _of: None
    ) -> Leaderboard:
        """See services.workspace."""
        dataset = self._workspace.dataset(reference)
        labels = None
        if labels_id:
            labels = self.get([dataset.reference], labels_id)
        elif known := self.of(dataset.reference):
            labels = self._for_version(known[0], dataset.reference)
        runs = [run for run in self._runs_over(dataset.reference) if not run.imported_from]  # theirs is another home's dataset
        scores = self._scores(dataset, runs, labels, progress)
        scores.sort(key=lambda score: (-_or_least(score.accuracy), -_or_least(score.mae, -math.inf, -1.0), not score.judged))
        notes = _notes(dataset, scores, labels)
        return Leaderboard(dataset.reference, labels.id if labels else "", labels.name if labels else "", tuple(scores), notes)

    def _scores(self, dataset: Dataset, runs: Sequence[Run], labels: Labels | None, progress: Callable[[int, int], None]) -> list[RunScore]:
        """Of each run. Those of runs that have ended are kept: opening a hundred tables takes seconds."""
        if labels is None:
            return [RunScore(run, note=_unjudged(run)) for run in runs]
        kept_at = labels.path.with_name(f"scores-{labels.id}.json")
        ids = {run.id for run in runs}
        kept = {key: values for key, values in _kept(kept_at).items() if key.partition(" ")[0] in ids}  # not those of deleted runs
        scores = []
        for number, run in enumerate(runs):
            progress(number, len(runs))
            key = f"{run.id} {run.ended_at} {run.status}"
            if (note := _unjudged(run)) and not run.status.ended:
                scores.append(RunScore(run, note=note))
                continue
            if (values := kept.get(key)) is None:
                values = self._score(run, labels)
                if values.get("judged") is not None:
                    kept[key] = values
                    with suppress(OSError):
                        write_atomically(kept_at, json.dumps(kept))
            scores.append(RunScore(run, **values))
        progress(len(runs), len(runs))
        return scores

    def _score(self, run: Run, labels: Labels) -> dict[str, Any]:
        """The figures of RunScore; without `judged` where it may be known another time."""
        from services.predictions.evaluation import score

        if note := _unjudged(run):
            return {"note": note, "judged": 0}
        try:
            figures = vars(score(self._workspace.runs.predictions(run.id), labels))
        except StudioError as error:
            return {"note": f"It can't be judged: {error.message}"}
        column = figures.pop("column")
        note = "" if figures["judged"] else "None of its predictions has a label."
        if not note and figures["accuracy"] is None and figures["mae"] is None:
            note = "Its predictions are numbers and the labels are words, or the other way round."
        if not note and run.reused_from:
            note = f"It reused the output of {run.reused_from}."
        elif not note and run.request.failed_only:
            note = f"It scored what had failed in {run.request.rerun_of}."
        elif not note and run.request.new_only and run.request.rerun_of:
            note = f"It scored what was new since {run.request.rerun_of}."
        return figures | {"column": column, "note": note}


def _removed() -> NotFound:
    return NotFound("These labels were removed.", "Give the file of labels again.")


def _kept(path: Path) -> dict[str, dict[str, Any]]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    fields = set(RunScore.__dataclass_fields__) - {"run"}
    return {key: value for key, value in values.items() if isinstance(value, dict) and value.keys() <= fields}


def _or_least(value: float | None, least: float = -1.0, sign: float = 1.0) -> float:
    return least if value is None else sign * value


def _unjudged(run: Run) -> str:
    """Why it has no figures, whatever its labels; "" where it may have some."""
    if run.request.settings.output_action != "append_row":
        return "Its script writes its own output, so it has no predictions to judge."
    if not run.status.ended:
        done = (run.items_succeeded or 0) + (run.items_failed or 0)
        scored = f"{done:,} of {run.items_total or 0:,} items done" if run.items_succeeded is not None else "not finished"
        return f"{run.status}: {scored}. It is judged when it has ended."
    return ""


def _notes(dataset: Dataset, scores: Sequence[RunScore], labels: Labels | None) -> tuple[str, ...]:
    if not scores:
        return (f"No run has scored {dataset} yet.",)
    if labels is None:
        return (f"{dataset} has no labels yet: add a file of them, or choose one of its columns.",)
    notes = []
    judged = [score for score in scores if score.judged]
    if len({score.rows_judged for score in judged}) > 1:
        notes.append("The runs were not judged on the same rows: see how many of each.")
    if len({score.column for score in judged}) > 1:
        notes.append("The runs have different columns of predictions: " + ", ".join(sorted({score.column for score in judged})) + ".")
    if {score.accuracy is None for score in judged if (score.accuracy, score.mae) != (None, None)} == {True, False}:
        notes.append("Some runs predict classes and some numbers: accuracy and MAE are of different things.")
    return tuple(notes)

"""The import of a run's archive: all of it, or nothing. It is hostile until checked, and nothing in it is executed or approved.

It is unpacked by the rules for archives that people upload (no path leaves its folder, no links, limits of size, number and ratio), below
the home's incoming folder. Every file has to be one that its manifest lists, with its bytes and SHA-256. Values are read into typed
nouns and rewritten, tables by `archive_tables`. Then the folder becomes the run's in one step, as the registry gets to know the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from services import formats
from services.domain import Metadata, Run, utc_now
from services.errors import IntakeError, StudioError, os_errors_as
from services.file_names import short
from services.handover import archive_format as at
from services.handover import archive_tables
from services.handover.archive_format import About, ArchivedFile, Manifest
from services.intake.archives import extract_archive
from services.intake.staging import staging_folder
from services.predictions.annotations import Annotation
from services.run_details import FailedItem, MiniBatchDetail, RowKey, RunActivity
from services.storage import file_tree
from services.storage.file_tree import path_given
from services.storage.serialization import from_builtins, to_json
from services.workspace import Workspace

logger = logging.getLogger(__name__)

T = TypeVar("T")
_AGAIN = "Export the run again."
_CHOOSE = "Choose a file that was exported as an archive."
_WORKER = re.compile(r"[\w .,:()-]{0,200}")
_LONGEST_LINE = 16 << 20
_LATEST = 4_102_444_800.0
"""Seconds since 1970, the begin of the year 2100."""
_LONGEST = {"name": 200, "note": 10_000, "key": 100, "value": 1_000}
_MOST_TAGS = 100
_LARGEST_SCRIPT = 1 << 20


class Imported(NamedTuple):
    """The run, and whether it is new: False where this very run was imported before, and nothing changed."""

    run: Run
    is_new: bool


def import_archive(workspace: Workspace, path: str | Path) -> Imported:
    """Take in the archive at `path`. The run keeps its id where that is free. Raises NotFound where there is no such file, IntakeError for
    anything but a whole archive of a run, WorkspaceUnavailable where the home can't be written."""
    source = path_given(path)
    with staging_folder(workspace.home) as staging:
        unpacked = staging / "archive"
        try:
            extract_archive(source, unpacked, max_files=at.MOST_FILES, max_bytes=at.MOST_BYTES, max_ratio=at.MOST_RATIO)
        except IntakeError as error:  # its own hints are for who registers files
            raise IntakeError(error.message, _CHOOSE) from error
        files = _checked_files(unpacked)
        run = _checked_run(_parsed(unpacked / at.RUN, Run))
        about = _checked_about(_parsed(unpacked / at.ABOUT, About))
        annotations = dict(_annotations(unpacked / at.ANNOTATIONS))
        made = staging / "run"
        table = _make_folder(unpacked, made, about, files)
        digest = _digest(run, files, table)
        if (known := workspace.runs.imported_as(digest)) is not None:
            return Imported(known, False)
        run = replace(run, metadata=replace(about.metadata, pinned=False, archived=False))
        noted: list[str] = []

        def keep_annotations(run_id: str) -> None:
            noted.append(run_id)
            workspace.annotations.annotate_all(run_id, annotations)

        try:
            adopted, is_new = workspace.runs.adopt(run, made, digest, keep_annotations)
        except BaseException:  # it is raised again: nothing of the run stays
            for run_id in noted:
                workspace.annotations.forget_run(run_id)
            raise
    if is_new:
        logger.info("Imported %s as %s", run.id, adopted.id)
    return Imported(adopted, is_new)


# ---- its files ---------------------------------------------------------------------------------------------------------------------------


def _checked_files(unpacked: Path) -> dict[str, ArchivedFile]:
    """The files that the manifest lists, by path: they are there, as it says, and no other. Raises IntakeError."""
    if not (unpacked / at.MANIFEST).is_file():
        raise IntakeError("This is not the archive of a run: it has no manifest.json.", _CHOOSE)
    values = _json(unpacked / at.MANIFEST)
    if not isinstance(values, dict) or values.get("format") != at.FORMAT:
        raise IntakeError("This is not the archive of a run: its manifest names another format.", _CHOOSE)
    version = values.get("version")
    if type(version) is int and version > at.VERSION:
        raise IntakeError("The archive was written by a newer version of this program.", "Update this program, and import it then.")
    if version != at.VERSION or type(version) is not int:
        text = f"The archive’s version is {short(json.dumps(version))}, and this program reads version {at.VERSION}."
        raise IntakeError(text, _AGAIN)
    files = {file.path: file for file in _converted(values, Manifest, at.MANIFEST).files}
    present = {relative for relative, _ in file_tree.walk(unpacked)} - {at.MANIFEST}
    if missing := sorted(set(files) - present):
        raise IntakeError(f"“{short(missing[0])}” is missing in the archive.", _AGAIN)
    if unknown := sorted(present - set(files)):
        raise IntakeError(f"“{short(unknown[0])}” in the archive is not in its manifest.", _AGAIN)
    for path, file in files.items():
        if not _belongs(path, file):
            raise IntakeError(f"“{short(path)}” does not belong in the archive of a run.", _AGAIN)
        place = unpacked / path
        if place.stat().st_size != file.size or file_tree.sha256_of(place) != file.sha256:
            raise IntakeError(f"“{short(path)}” in the archive was changed: its SHA-256 is not that of the manifest.", _AGAIN)
    if sum(path.startswith(f"{at.SCRIPT}/") for path in files) > 1:
        raise IntakeError("The archive holds several scoring scripts, and a run has one.", _AGAIN)
    for name in (at.RUN, at.ABOUT):
        if name not in files:
            raise IntakeError(f"“{name}” is missing in the archive.", _AGAIN)
    return files


def _belongs(path: str, file: ArchivedFile) -> bool:
    folder, slash, rest = path.partition("/")
    if not slash:
        return path in at.FILES and path != at.MANIFEST
    if folder == at.LABELS:
        return at.LABELS_FILE.fullmatch(path) is not None
    if folder == at.SCRIPT:
        return "/" not in rest and file.size <= _LARGEST_SCRIPT
    return folder in (at.OUTPUT, at.LOGS)


def _digest(run: Run, files: dict[str, ArchivedFile], table: str) -> str:
    """The same for archives of one run, whatever people said of it since. `table` is what `archive_tables.rewrite` says of its table."""
    of_the_run = (f"{at.OUTPUT}/", f"{at.SCRIPT}/", at.FAILED_ITEMS)
    made = sorted((path, file.sha256) for path, file in files.items() if path.startswith(of_the_run))
    facts = [run.id, formats.iso(run.submitted_at), run.status, run.items_succeeded, run.items_failed, made, table]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _make_folder(unpacked: Path, made: Path, about: About, files: dict[str, ArchivedFile]) -> str:
    """The run's folder, made of what the archive holds: what others read is rewritten. Returns the digest of its table; "" without."""
    made.mkdir()
    for name in (at.OUTPUT, at.LOGS, at.SCRIPT):
        if (unpacked / name).is_dir():
            os.replace(unpacked / name, made / name)
        else:
            (made / name).mkdir()
    (made / at.ABOUT).write_text(to_json(about), "ascii")
    for name, cls, most in (
        (at.MINI_BATCHES, MiniBatchDetail, at.MOST_MINI_BATCHES),
        (at.FAILED_ITEMS, FailedItem, at.MOST_FAILED_ITEMS),
    ):
        if name in files:
            with open(made / name, "w", encoding="ascii") as lines:
                for values in _json_lines(unpacked / name, most):
                    value = _converted(values, cls, name)
                    if isinstance(value, MiniBatchDetail) and value.item not in at.ITEMS:
                        raise IntakeError(f"“{name}” in the archive does not say whether an item is a file or a row.", _AGAIN)
                    lines.write(to_json(value) + "\n")
    digest = ""
    if at.TABLE in files:
        digest = archive_tables.rewrite(archive_tables.PREDICTIONS, unpacked / at.TABLE, made / at.TABLE)
    labels = [path for path in files if path.startswith(f"{at.LABELS}/")]
    if len(labels) > at.MOST_LABELS:
        raise IntakeError(f"The archive holds more than {at.MOST_LABELS} files of labels.", _AGAIN)
    for path in labels:
        (made / at.LABELS).mkdir(exist_ok=True)
        archive_tables.rewrite(archive_tables.LABELS, unpacked / path, made / path)
    return digest


# ---- its values --------------------------------------------------------------------------------------------------------------------------


def _parsed(path: Path, cls: type[T]) -> T:
    return _converted(_json(path), cls, path.name)


def _json(path: Path) -> Any:
    with os_errors_as(IntakeError, f"“{path.name}” in the archive can't be read", _AGAIN):
        if path.stat().st_size > at.LARGEST_JSON:
            raise IntakeError(f"“{path.name}” in the archive is larger than {formats.size(at.LARGEST_JSON)}.", _AGAIN)
        return _loaded(path.read_bytes(), path.name)


def _json_lines(path: Path, most: int) -> Iterator[Any]:
    with os_errors_as(IntakeError, f"“{path.name}” in the archive can't be read", _AGAIN), open(path, "rb") as lines:
        count = 0
        while line := lines.readline(_LONGEST_LINE + 1):
            count += 1
            if count > most or len(line) > _LONGEST_LINE:
                raise IntakeError(f"“{path.name}” in the archive is longer than such a list may be.", _AGAIN)
            yield _loaded(line, path.name)


def _loaded(content: bytes, name: str) -> Any:
    """JSON whose numbers are ones that a page can show. Raises IntakeError."""
    try:
        values = json.loads(content)
        _check_numbers(values)
    except (ValueError, RecursionError) as error:
        raise IntakeError(f"“{name}” in the archive can't be read: {str(error)[:200]}.", _AGAIN) from error
    return values


def _check_numbers(values: Any) -> None:
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("it has a number that is not finite")
        elif isinstance(value, int | float) and abs(value) > at.LARGEST_NUMBER:
            raise ValueError("it has a number above 10,000,000,000,000")


def _converted(values: Any, cls: type[T], name: str) -> T:
    try:
        value = from_builtins(values, cls)
        _check_moments(value)
        return value
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, StudioError) as error:
        raise IntakeError(f"“{name}” in the archive is not valid: {str(error)[:300]}.", _AGAIN) from error


def _check_moments(value: Any) -> None:
    """Raises ValueError for a time that no run can have had: a page could not show it in every time zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None or not 0 <= value.timestamp() < _LATEST:
            raise ValueError("it has a time without a zone, before 1970 or after 2099")
    elif is_dataclass(value):
        for field in fields(value):
            _check_moments(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for each in value.values():
            _check_moments(each)
    elif isinstance(value, tuple | list):
        for each in value:
            _check_moments(each)


def _checked_run(run: Run) -> Run:
    """As the registry gets it. Raises IntakeError for what no run can be."""

    def refuse(reason: str) -> IntakeError:
        return IntakeError(f"The archive's run is not valid: {reason}.", _AGAIN)

    if not at.RUN_ID.fullmatch(run.id):
        raise refuse("its id is not that of a run")
    if not run.status.ended:
        raise refuse("it has not ended")
    latest = utc_now() + timedelta(days=1)
    for moment in (run.submitted_at, run.started_at, run.ended_at, run.heartbeat_at, run.stopped_at):
        if moment is not None and (moment.tzinfo is None or moment > latest or moment.year < 1970):
            raise refuse("one of its times is in the future or before 1970")
    counts = (run.items_total, run.items_succeeded, run.items_failed, run.mini_batches_total, run.mini_batches_done)
    if any(count is not None and count < 0 for count in counts) or run.paused_seconds < 0:
        raise refuse("one of its counts is negative")
    if run.paused_seconds and (run.started_at is None or run.paused_seconds > (utc_now() - run.started_at).total_seconds() + 86_400):
        raise refuse("it was paused for longer than it ran")
    done = (run.items_succeeded or 0) + (run.items_failed or 0)
    if run.items_total is not None and done > run.items_total:
        raise refuse("more items were done than it has")
    if run.mini_batches_total is not None and (run.mini_batches_done or 0) > run.mini_batches_total:
        raise refuse("more mini-batches were done than it has")
    request = replace(run.request, submission_id="")
    return replace(run, request=request, workers=0, rate=None, doing=None, stopped_at=None, metadata=Metadata(), imported_from=None)


def _checked_about(about: About) -> About:
    activity, said = about.activity, about.metadata
    if not _can_be_drawn(about) or not all(_WORKER.fullmatch(worker.name) for worker in activity.workers):
        raise IntakeError("The archive's activity holds more than that of any run.", _AGAIN)
    if not _is_in_time(activity) or abs(about.utc_offset) >= 86_400:
        raise IntakeError("The times in the archive's activity are not valid.", _AGAIN)
    if about.item not in at.ITEMS:
        raise IntakeError("The archive does not say whether an item is a file or a row.", _AGAIN)
    long = len(said.name) > _LONGEST["name"] or len(said.note) > _LONGEST["note"] or len(said.tags) > _MOST_TAGS
    if long or any(len(key) > _LONGEST["key"] or len(value) > _LONGEST["value"] for key, value in said.tags.items()):
        raise IntakeError("The name, the note or the tags of the archive's run are longer than they may be.", _AGAIN)
    return replace(about, activity=replace(activity, share_read=1.0))


def _can_be_drawn(about: About) -> bool:
    """Whether there is no more of it than a page can show."""
    activity = about.activity
    spans, memory = sum(len(worker.spans) for worker in activity.workers), sum(len(worker.memory) for worker in activity.workers)
    counts = (
        (len(activity.workers), 1_000), (spans, 50_000), (memory, 50_000), (len(activity.pace), 1_000), (len(activity.slowest), 100),
        (len(activity.last_rows), 100), (len(activity.unknown), 20), (len(about.failures), at.MOST_FAILURES),
        (len(about.causes), at.MOST_CAUSES), (len(about.environment.packages), 20_000),
    )  # fmt: skip
    return all(count <= most for count, most in counts)


def _is_in_time(activity: RunActivity) -> bool:
    moments: list[float] = [activity.begin, activity.end, *([activity.last_ended_at] if activity.last_ended_at is not None else [])]
    moments += [pace.begin for pace in activity.pace]
    for worker in activity.workers:
        moments += [moment for span in worker.spans for moment in (span.begin, span.end)]
        moments += [moment for moment, _ in worker.memory]
        if any(span.begin > span.end for span in worker.spans):
            return False
    return activity.bucket_seconds > 0 and activity.begin <= activity.end and all(0 <= moment < _LATEST for moment in moments)


def _annotations(path: Path) -> Iterable[tuple[RowKey, Annotation]]:
    if not path.is_file():
        return
    for values in _json_lines(path, at.MOST_ANNOTATIONS):
        try:
            file, mini_batch, place, note, label = values
            whole = type(mini_batch) is int and type(place) is int and all(isinstance(text, str) for text in (file, note, label))
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise IntakeError(f"“{path.name}” in the archive is not valid.", _AGAIN)
        yield RowKey(file, mini_batch, place), Annotation(note, label)

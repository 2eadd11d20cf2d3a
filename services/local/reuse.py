"""allow_reuse: a run whose inputs are those of an earlier completed run gets a copy of that run's output instead of being scored anew.

Every input that the output depends on is noted in the run's plan by its SHA-256 or value, so that it can be said which one changed. Node
counts, time-outs, tries, thresholds and the logging level are none: only runs without a failed item are reused, so they changed nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from services import formats
from services.domain import Dataset, Run, RunStatus, utc_now
from services.errors import StudioError
from services.formats import counted, enumeration
from services.local import output_list, reports
from services.local.run_folder import LocalRunFolder, RunPlan
from services.storage import file_tree
from services.storage.journal import Journal
from services.storage.manifest import present_state, read_manifest
from services.storage.store import Store

logger = logging.getLogger(__name__)

_SETTINGS = ("mini_batch_size", "partition_keys", "output_action", "append_row_file_name", "environment_variables")
SCORED_WITH = ("model", "script", "arguments", "side_inputs", "environment", "environment_variables", "source_directory")
"""What the prediction of an item depends on beside the item. Other files beside the script may be data, even the very folder that grows."""
_MOST_FILES = 2_000  # beside a script, or in a source_directory: more take too long to compare at every submission
_MOST_BYTES = 200_000_000
_NOT_COMPARED = "not compared: "
_CHANGED_FILES = "changed files"


# ---- what the output depends on --------------------------------------------------------------------------------------------------


def inputs_of(plan: RunPlan, read: Sequence[Dataset]) -> dict[str, str]:
    """What the output of this run depends on, each by its SHA-256. `read` are its datasets, then those of its side inputs.

    Of the script's own folder all files count, as of a source_directory, for the script can import or open each of them.
    """
    request, script = plan.request, Path(plan.request.entry_script)
    manifests = [dataset.manifest_sha256 for dataset in read]
    datasets = [asdict(dataset) | {"reference": "", "manifest": ""} for dataset in plan.datasets]
    side_inputs = sorted(plan.side_inputs.items())
    settings = request.settings.as_dict()
    values = {
        "dataset": [datasets, manifests[: len(datasets)]],
        "model": [(model.name, Path(model.path).name, model.sha256, *sorted(model.tags.items())) for model in plan.models],
        "script": (script.name, hashlib.sha256(script.read_bytes()).hexdigest()),
        "arguments": request.arguments,
        "side_inputs": [side_inputs, manifests[len(datasets) :]],
        "environment": (plan.environment.interpreter, plan.environment.python_version, sorted(plan.environment.packages.items())),
        **{name: settings.get(name) for name in _SETTINGS},
    }
    inputs = {name: hashlib.sha256(json.dumps(value).encode()).hexdigest() for name, value in values.items()}
    if request.source_directory:
        inputs["source_directory"] = files_in(Path(request.source_directory))
    if not (request.source_directory and script.is_relative_to(request.source_directory)):
        inputs["files beside the script"] = files_in(script.parent, but=script)
    return inputs


def changed_files(datasets: Sequence[Dataset], most: int) -> dict[str, str]:
    """A further input of a run where files of its datasets are not what they were when registered: their sizes and times now, by their
    SHA-256. At most `most` files of a dataset are looked at, evenly spread."""
    from services.intake.datasets import list_of_files  # only at a submission; a replay's process does without

    digest, found = hashlib.sha256(), False
    for dataset in (dataset for dataset in datasets if dataset.in_place):
        step = max(1, -(-(dataset.file_count or 0) // most))
        for file in islice(read_manifest(list_of_files(dataset)), 0, None, step):
            state = present_state(dataset.root, file)
            if state != (file.size, file.modified_ns):
                found = True
                digest.update(json.dumps([dataset.reference, file.path, state]).encode())
    return {_CHANGED_FILES: digest.hexdigest()} if found else {}


def key_of(inputs: dict[str, str]) -> str | None:
    """The same for runs that have the same output. None where it can't be determined."""
    if not inputs or any(value.startswith(_NOT_COMPARED) for value in inputs.values()):
        return None
    return hashlib.sha256(json.dumps(sorted(inputs.items())).encode()).hexdigest()


def how_scored(plan: RunPlan) -> dict[str, Any]:
    """Each of SCORED_WITH as it was for this run. Of a model its file: what people say of it by tags is changed any time."""
    models = [(model.name, Path(model.path).name, model.sha256) for model in plan.models]
    return {name: models if name == "model" else plan.inputs.get(name) for name in SCORED_WITH}


def scored_with(plan: RunPlan) -> str | None:
    """The same for runs that score files of the same datasets, whichever their versions, in the same way. None where that isn't known."""
    if not plan.inputs:
        return None
    names = [dataset.reference.partition(":")[0] for dataset in plan.datasets]
    return hashlib.sha256(json.dumps([names, *how_scored(plan).items()]).encode()).hexdigest()


def _as_version_0_1_noted(plan: RunPlan) -> dict[str, str]:
    """The inputs of this run as a home of version 0.1 holds them: a plan had no mini-batch size there where the default applied."""
    settings = plan.request.settings
    if settings != replace(settings, mini_batch_size=None).resolved(tabular=bool(plan.datasets[0].format)):
        return plan.inputs
    return plan.inputs | {"mini_batch_size": hashlib.sha256(json.dumps(None).encode()).hexdigest()}


def files_in(folder: Path, but: Path | None = None) -> str:
    """The SHA-256 of the names and contents of a folder's files, or why they are not compared."""
    digest, size = hashlib.sha256(), 0
    try:
        files = list(islice(_walk(folder), _MOST_FILES + 1))
        if len(files) > _MOST_FILES:
            return f"{_NOT_COMPARED}{folder} holds more than {_MOST_FILES:,} files"
        for path in sorted(files):
            info = path.lstat()
            size += info.st_size
            if path.is_dir() or not stat.S_ISREG(path.stat().st_mode):
                return f"{_NOT_COMPARED}{path} is not a regular file"
            if size > _MOST_BYTES:
                return f"{_NOT_COMPARED}{folder} holds more than {formats.size(_MOST_BYTES)}"
            if path != but:
                digest.update(json.dumps([path.relative_to(folder).as_posix(), file_tree.sha256_of(path)]).encode())
    except (OSError, StudioError) as error:
        return f"{_NOT_COMPARED}{error}"
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """All files below the folder, and links to folders. What Python compiled and hidden folders (.git, .venv) are left out."""

    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(place, name) for name in files)
        yield from (path for name in folders if (path := Path(place, name)).is_symlink())


# ---- the earlier run -------------------------------------------------------------------------------------------------------------


def reused(store: Store, folder: LocalRunFolder, plan: RunPlan, changes: Iterator[str]) -> dict[str, Any]:
    """Put the output of an earlier run into `folder` where this one's would be the same. What the registry should know of the run.

    `changes` are sentences on files of its datasets that are not what they were when registered; the first one is enough.
    """
    columns: dict[str, Any] = {"reuse_key": None if plan.request.adds_to else key_of(plan.inputs)}
    if not plan.request.allow_reuse or plan.request.rerun_of:
        return columns
    earlier, why_not = _earlier(store, folder, plan, changes)
    if earlier is None:
        return columns | {"reuse_note": why_not}
    try:
        _take_over(folder.of(earlier.id), folder)
    except (OSError, sqlite3.Error, StudioError) as error:
        logger.warning("The output of %s could not be copied", earlier.id, exc_info=error)
        shutil.rmtree(folder.output, ignore_errors=True)
        folder.create(plan)
        return columns | {"reuse_note": f"The output of {earlier.id} could not be copied: {error}"}
    now = utc_now()
    done = {"items_succeeded": earlier.items_succeeded, "items_failed": 0, "mini_batches_done": earlier.mini_batches_done}
    ended = {"status": RunStatus.COMPLETED, "started_at": now, "ended_at": now, "heartbeat_at": now}
    return columns | done | ended | {"reused_from": earlier.id}


def _earlier(store: Store, folder: LocalRunFolder, plan: RunPlan, changes: Iterator[str]) -> tuple[Run | None, str | None]:
    """The run to take the output from; else None, and why, in a sentence, where there was a run to compare with."""
    before = store.last_completed(plan.request)
    if before is None:
        return None, None
    for name, value in plan.inputs.items():
        if value.startswith(_NOT_COMPARED):
            return None, f"Scored anew: the {name} can't be compared: {value.removeprefix(_NOT_COMPARED)}."
    if _CHANGED_FILES in plan.inputs and (change := next(changes, None)):
        return None, f"Scored anew: {change}"
    why_not = None
    keys = dict.fromkeys(key_of(inputs) for inputs in (plan.inputs, _as_version_0_1_noted(plan)))
    for run in (run for key in keys for run in store.completed_with(key)):
        if run.items_failed:
            why_not = why_not or f"Scored anew: {counted(run.items_failed, 'item')} failed in {run.id}."
        elif not output_list.is_as_written(folder.of(run.id)):
            why_not = why_not or f"Scored anew: the output of {run.id} was changed or removed."
        elif change := next(changes, None):
            return None, f"Scored anew: {change}"
        else:
            return run, None
    return None, why_not or _what_differs(folder.of(before.id), plan)


def _what_differs(before: LocalRunFolder, plan: RunPlan) -> str | None:
    try:
        then = before.plan().inputs
    except StudioError:
        return None
    now, or_now = plan.inputs, _as_version_0_1_noted(plan)
    changed = [name for name in {**then, **now} if then.get(name) not in (now.get(name), or_now.get(name))]
    return f"Scored anew: {enumeration(changed)} changed since {before.path.name}." if then and changed else None


# ---- its output ------------------------------------------------------------------------------------------------------------------


def _take_over(earlier: LocalRunFolder, folder: LocalRunFolder) -> None:
    """Copy, not link: who changes a file of the one run must not change the other's."""
    for file in read_manifest(earlier.output_list):
        target = folder.output / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(earlier.output / file.path, target)
    for noted in earlier.new.glob("contents-*.jsonl"):
        folder.new.mkdir(exist_ok=True)
        shutil.copyfile(noted, folder.new / noted.name)
    with Journal(earlier.path) as journal:
        journal.copy_to(folder.path)
    output_list.write(folder)
    with Journal(folder.path) as journal:
        note = f"Reused from {earlier.path.name}. For how it was scored, see the logs of that run."
        totals = journal.totals()
        reports.write(folder, journal, totals.items_succeeded, totals.mini_batches_done, RunStatus.COMPLETED, None, note)

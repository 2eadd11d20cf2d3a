"""What the command line prints: one JSON object for programs, short aligned lines for people, progress while it waits.

Names from outside may hold anything, so whatever is printed for people has its control characters escaped.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from services import formats
from services.domain import Dataset, Environment, Metadata, Model, ResourceKind, Run, RunStatus
from services.errors import EntryScriptError, SettingsError, StudioError
from services.formats import counted
from services.run_details import FailedItem
from services.storage.atomic import atomic_write
from services.storage.file_tree import tail
from services.workspace import Workspace

T = TypeVar("T", Model, Dataset, Environment, Run)

_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 10.0  # between two lines of progress where there is no terminal
NOT_RESPONDING_SECONDS = 10.0  # how long a run may be NotResponding before --wait gives up


@dataclass(frozen=True)
class Answer:
    """What a command prints: `value` with --json, `lines` for a person; and its exit code."""

    value: dict[str, Any]
    lines: Iterable[str] = ()
    code: int = 0

    def print(self, *, as_json: bool) -> None:
        if as_json:
            print(json.dumps(self.value, default=formats.iso))
            return
        for line in self.lines:
            print(safe(line))


@contextmanager
def stdout_writable() -> Iterator[None]:
    """Raises SettingsError("to", ...) where the block can't write standard output: a full disk. A closed pipe stays a BrokenPipeError."""
    try:
        if sys.stdout is None:  # as Python has it where it was started without one: `>&-`
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SettingsError("to", f"Cannot write standard output: {error.strerror or error}", "Redirect it elsewhere.") from error


def note(*lines: str) -> None:
    """Print for a person, on standard error."""
    for line in lines:
        print(safe(line), file=sys.stderr, flush=True)


def safe(text: str) -> str:
    """Text that is safe for a terminal: what isn't printable, lone surrogates too, is escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


# ---- errors ----------------------------------------------------------------------------------------------------------------------


def error_value(error: StudioError) -> dict[str, Any]:
    """An error as --json prints it. `field` is null except for an invalid value; `traceback` only where a script raised."""
    field = error.field if isinstance(error, SettingsError) else None
    value = {"type": type(error).__name__, "message": error.message, "hint": error.hint, "field": field}
    if isinstance(error, EntryScriptError) and error.traceback:
        value["traceback"] = error.traceback
    return {"error": value}


def error_lines(error: StudioError) -> list[str]:
    traceback = error.traceback.rstrip().split("\n") if isinstance(error, EntryScriptError) and error.traceback else []
    return [f"Error: {error.message}", *(f"  {line}" for line in traceback), *([f"  {error.hint}"] if error.hint else [])]


# ---- models, datasets, runs ------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str | int | None]]) -> list[str]:
    """Rows under a header, in columns as wide as needed; numbers to the right, None as unknown."""
    cells = [header, *([safe(cell or "unknown") if isinstance(cell, str) else formats.number(cell) for cell in row] for row in rows)]
    columns = list(zip(*cells, strict=True))
    alignments = [">" if any(isinstance(row[number], int) for row in rows) else "<" for number in range(len(header))]
    specs = [f"{alignment}{max(map(len, column))}" for alignment, column in zip(alignments, columns, strict=True)]
    return ["  ".join(map(format, line, specs)).rstrip() for line in cells]


def labelled(*pairs: tuple[str, str]) -> list[str]:
    """`Label   value` lines, aligned; an empty value is left out, its further lines go below the first."""
    split = [(label, value.rstrip().split("\n")) for label, value in pairs if value]
    return [f"{'' if number else label:<16}{line}" for label, lines in split for number, line in enumerate(lines)]


def utc(moment: datetime | None) -> str:
    return formats.utc(moment) if moment else ""


def model_value(model: Model) -> dict[str, Any]:
    """What isn't known of a model (its size, its SHA-256) is null."""
    return {"reference": model.reference, **vars(model), "sha256": model.sha256 or None}


def model_lines(models: list[Model]) -> list[str]:
    def approved(model: Model) -> str:
        return "not needed" if not model.needs_approval else "yes" if model.approved else "no"

    rows = [(m.reference, m.kind, approved(m), m.size, m.sha256[:12], utc(m.created_at)) for m in models]
    return table(("MODEL", "KIND", "APPROVED", "BYTES", "SHA-256", "REGISTERED"), rows)


def dataset_value(dataset: Dataset) -> dict[str, Any]:
    """Counts that aren't known are null."""
    about = asdict(dataset) | {"manifest_sha256": dataset.manifest_sha256 or None, "problems": problem_values(dataset)}
    return {"reference": dataset.reference, "type": dataset.type, **about}


def problem_values(dataset: Dataset) -> list[dict[str, str]]:
    return [{"file": problem.file, "what": problem.what} for problem in dataset.problems]


def dataset_lines(datasets: list[Dataset]) -> list[str]:
    def items(dataset: Dataset) -> str:
        return "unknown" if dataset.item_count is None else counted(dataset.item_count, dataset.item)

    rows = [(d.reference, items(d), d.file_count, d.size, utc(d.created_at), d.root) for d in datasets]
    return table(("DATASET", "ITEMS", "FILES", "BYTES", "REGISTERED", "FOLDER"), rows)


def environment_value(environment: Environment) -> dict[str, Any]:
    """`reference` is null for this program's own interpreter, `version` for an environment that has none (yet)."""
    return {"reference": environment.reference or None, **vars(environment), "version": environment.version or None}


def environment_lines(environments: list[Environment], last_used: Mapping[str, datetime] | None = None) -> list[str]:
    """`last_used` by reference, None where it isn't known of any."""
    rows = []
    for e in environments:
        disk = "-" if e.size is None else formats.size(e.size)
        used = () if last_used is None else (utc(last_used[e.reference]) if e.reference in last_used else "-",)
        rows.append((e.reference, e.python_version, len(e.packages), disk, utc(e.created_at), *used, e.interpreter))
    names = () if last_used is None else ("LAST USED",)
    return table(("ENVIRONMENT", "PYTHON", "PACKAGES", "DISK", "REGISTERED", *names, "INTERPRETER"), rows)


def run_value(run: Run, environment: Environment | None = None) -> dict[str, Any]:
    """A run by the names of domain.py: its state, then its request. `environment` is the requested reference, or where it is given the
    environment that the run uses."""
    state = {name: value for name, value in vars(run).items() if name not in ("request", "metadata")}
    said = {name: value for name, value in vars(run.metadata).items() if name != "name"}
    request = {name: value for name, value in vars(run.request).items() if name not in ("name", "submission_id")}
    used = {} if environment is None else {"environment": environment_value(environment)}
    settings = {"settings": run.request.settings.as_dict()}
    times = {"duration": run.duration, "seconds_left": run.seconds_left}
    return {"id": run.id, "name": run.title} | said | state | times | request | settings | used


def run_lines(run: Run, environment: Environment) -> list[str]:
    took = f", after {formats.duration(run.duration)}" if run.ended_at and run.duration is not None else ""
    return labelled(
        ("Run", run.id),
        ("Name", safe(run.title)),
        ("Status", run.status + (f" ({run.error_code})" if run.error_code else "")),
        ("Doing", run.doing or ""),
        ("Error", run.error or ""),
        ("Added to", run.request.rerun_of or "" if run.request.new_only else ""),
        ("Rerun of", "" if run.request.new_only else (run.request.rerun_of or "") + ", failed items only" * run.request.failed_only),
        ("Reused from", run.reused_from or ""),
        ("Imported from", run.imported_from or ""),
        ("Items", _items(run)),
        ("Mini-batches", _mini_batches(run)),
        ("Workers", f"{run.workers:,}" if run.workers else ""),
        ("Models", ", ".join(run.request.models)),
        ("Datasets", ", ".join(run.request.datasets)),
        ("Scoring script", safe(run.request.entry_script)),
        ("Environment", safe(f"{environment}, Python {environment.python_version}, {environment.interpreter}")),
        ("Submitted", utc(run.submitted_at)),
        ("Started", utc(run.started_at)),
        ("Ended", utc(run.ended_at) + took),
        ("Only new" if run.request.new_only else "Reuse", safe(run.reuse_note or "")),
        ("Warnings", "\n".join(map(safe, run.warnings))),
    ) + metadata_lines(run.metadata)


def runs_lines(runs: Sequence[Run]) -> list[str]:
    rows = [(r.id, f"{r.status}, imported" if r.imported_from else r.status, _items(r), utc(r.submitted_at), r.title) for r in runs]
    return table(("RUN", "STATUS", "ITEMS", "SUBMITTED", "NAME"), rows)


def cause_lines(causes: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [(cause["count"], f"{cause['share']:.1%}", cause["cause"], cause["example"]) for cause in causes]
    return table(("ITEMS", "SHARE", "CAUSE", "EXAMPLE"), rows)


def failure_lines(items: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [(FailedItem(**item).name, item["mini_batch"], item["attempt"], item["worker"], item["cause"]) for item in items]
    return table(("ITEM", "MINI-BATCH", "ATTEMPT", "WORKER", "CAUSE"), rows)


def _items(run: Run) -> str:
    if run.items_succeeded is None:  # Azure ML reports no items before the end, and none at all for a summary_only run
        return "unknown" if run.items_total is None else f"{run.items_total:,} in total, succeeded: unknown"
    skipped = f", {run.items_left:,} skipped" if run.status.ended and run.items_left else ""
    return f"{run.items_succeeded:,} of {formats.number(run.items_total)} succeeded, {formats.number(run.items_failed)} failed{skipped}"


def _mini_batches(run: Run) -> str:
    if run.mini_batches_done is None:
        total = run.mini_batches_total
        return "unknown" if total is None else f"{total:,} in total, done: unknown"
    return f"{run.mini_batches_done:,} of {formats.number(run.mini_batches_total)} done"


# ---- lists kept in order ---------------------------------------------------------------------------------------------------------


def listed(workspace: Workspace, args: argparse.Namespace, kind: ResourceKind, things: Iterable[T]) -> tuple[list[T], list[Metadata]]:
    """Those that a list shows, the pinned ones first, and what was said of each; what is archived only with --archived."""
    known = {} if kind is ResourceKind.RUN else workspace.resources.metadata(kind)
    pairs = [(one, one.metadata if isinstance(one, Run) else known.get(one.reference, Metadata())) for one in things]
    pairs = [(one, said) for one, said in pairs if args.archived or not said.archived]
    pairs.sort(key=lambda pair: not pair[1].pinned)
    return [one for one, _ in pairs], [said for _, said in pairs]


def with_metadata(value: dict[str, Any], said: Metadata) -> dict[str, Any]:
    """The JSON of one in a list. `name` is what it was renamed to."""
    renamed = {"name": said.name} if said.name else {}
    return value | renamed | {"note": said.note, "tags": dict(said.tags), "pinned": said.pinned, "archived": said.archived}


def metadata_lines(said: Metadata) -> list[str]:
    """What was said of one that is shown by itself."""
    tags = ", ".join(f"{key}={value}" for key, value in said.tags.items())
    return labelled(("Tags", safe(tags)), ("Note", "\n".join(map(safe, said.note.splitlines()))), ("Marked", _marks(said)))


def _marks(said: Metadata) -> str:
    return ", ".join(filter(None, ("pinned" * said.pinned, "archived" * said.archived)))


def with_columns(lines: Sequence[str], said: Sequence[Metadata]) -> list[str]:
    """A list's lines, the header first, and after each what was said of it, as far as anything was."""
    columns = {
        "NAME": [one.name for one in said],
        "MARKED": list(map(_marks, said)),
        "TAGS": [", ".join(f"{key}={value}" for key, value in one.tags.items()) for one in said],
    }
    shown = {header: cells for header, cells in columns.items() if any(cells)}
    if not shown:
        return list(lines)
    width = max(map(len, lines))
    more = table(list(shown), [[cell or " " for cell in row] for row in zip(*shown.values(), strict=True)])
    return [f"{line:<{width}}  {rest}".rstrip() for line, rest in zip(lines, more, strict=True)]


# ---- waiting for a run -----------------------------------------------------------------------------------------------------------


def follow(workspace: Workspace, run: Run) -> Run:
    """Show a run's progress on standard error until it has ended, or has had no runner for a while."""
    responding = time.monotonic()
    with _progress(run) as show:
        while not run.status.ended:
            time.sleep(_POLL_SECONDS)
            run = workspace.runs.get(run.id)
            show(run)
            if run.status is not RunStatus.NOT_RESPONDING:
                responding = time.monotonic()
            elif time.monotonic() - responding > NOT_RESPONDING_SECONDS:
                break
    return run


@contextmanager
def _progress(run: Run) -> Iterator[Callable[[Run], None]]:
    """Yields a function that shows the progress of a run: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _line_now_and_then()
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=run.items_total, unit=" items", file=sys.stderr, dynamic_ncols=True) as bar:

        def show(run: Run) -> None:
            failed = "" if run.items_failed is None else f"{run.items_failed:,} failed"
            bar.set_postfix_str(", ".join(filter(None, (run.status, failed, run.doing))), refresh=False)
            bar.update((run.items_succeeded or 0) + (run.items_failed or 0) - bar.n)
            bar.refresh()

        yield show


def _line_now_and_then() -> Callable[[Run], None]:
    """A function that prints a run's progress when its status changes, and every few seconds."""
    status: RunStatus | None = None
    due = 0.0

    def show(run: Run) -> None:
        nonlocal status, due
        if run.status is status and time.monotonic() < due:
            return
        status, due = run.status, time.monotonic() + _PROGRESS_SECONDS
        done, failed = (run.items_succeeded or 0) + (run.items_failed or 0), run.items_failed or 0
        counts = f"{done:,} of {counted(run.items_total, 'item')} done, {failed:,} failed"
        if run.items_succeeded is None:  # Azure ML reports only mini-batches while it scores
            counts = f"{run.mini_batches_done:,} of {counted(run.mini_batches_total, 'mini-batch')} done" if run.mini_batches_done else ""
        note(": ".join(filter(None, (run.status, "; ".join(filter(None, (counts, run.doing)))))))

    return show


# ---- files -----------------------------------------------------------------------------------------------------------------------


@contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """A file that replaces `target` in one step once the block succeeds. Raises SettingsError on `to`.

    An existing target that is not a regular file, such as /dev/null or a pipe, is written to directly.
    """
    place = Path(os.path.realpath(target))
    try:
        if place.exists() and not place.is_file():
            with open(place, "wb") as file:
                yield file
            return
        with atomic_write(place) as temporary, open(temporary, "xb") as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = f"Cannot write {target}: {error.strerror or error}"
        raise SettingsError("to", reason, "Choose another path, or create its folder first.") from error


def last_part(path: Path, limit: int = 1_000_000) -> str:
    """The text at the end of a file, at most `limit` bytes of it; undecodable bytes are escaped."""
    try:
        text, size = tail(path, limit)
    except OSError as error:
        return f"(cannot read it: {error.strerror or error})\n"
    return text if size <= limit else f"(only the last part of {size:,} bytes)\n{text}"

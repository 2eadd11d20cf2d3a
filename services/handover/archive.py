"""A run written as an archive: a zip that another home imports, and that people can read without this program."""

from __future__ import annotations

import hashlib
import json
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from services import __version__
from services.domain import Metadata, Run, RunRequest, readable
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import junk_kind, safe_relative_path
from services.formats import counted
from services.handover import archive_format as at
from services.handover.archive_format import About, ArchivedFile, Manifest
from services.handover.secrets import Disclosed
from services.run_details import MiniBatchDetail, Provenance, RunActivity
from services.storage.serialization import to_json
from services.workspace import Workspace

_CHUNK = 1 << 20
_MINI_BATCH_SECONDS = 10.0
"""For the details of mini-batches: in a run of millions each one is looked up in a list that long."""
_MOST_COMPRESSED = 50
"""A file that shrinks to less than a fiftieth is stored as it is: an archive that unpacks to two hundred times its size is refused."""
_HASHED_SECRETS = ("environment_variables", "arguments")

_README = """\
This is the archive of a batch scoring run, {run_id}, written by Batch Scoring Studio {version}.

report.html            the run as a page: open it in a browser
predictions.parquet    the predictions with all their columns; pandas.read_parquet reads it
output/                the files as the run wrote them
logs/                  its logs, as they were written
script/                its scoring script
run.json, about.json   the request, counts, times, versions and hashes
labels/                true labels of its datasets

To look at it as any other run, import it: on the Runs page, or by the command

    {program} import THIS_FILE
{left_out}"""


def write_archive(workspace: Workspace, run: Run, disclosed: Disclosed, file: BinaryIO, report: Callable[[RunRequest], bytes]) -> list[str]:
    """Write the archive into an open file; sentences on what it lacks. `report` makes the run's page, of a request without secrets.
    Raises SettingsError for a run that has not ended, StudioError where what is to be written can't be read."""
    if not run.status.ended:
        raise SettingsError("run", f"run {run.id} has not ended", "Wait for its end, or cancel it.")
    with (
        os_errors_as(WorkspaceUnavailable, f"The archive of {run.id} can't be written", "Check the free disk space."),
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
    ):
        return _Writer(archive).write(workspace, run, disclosed, report)


class _Writer:
    """Writes files and notes their SHA-256s."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._files: list[ArchivedFile] = []
        self._paths: set[str] = set()
        self.left_out: list[str] = []

    def write(self, workspace: Workspace, run: Run, disclosed: Disclosed, report: Callable[[RunRequest], bytes]) -> list[str]:
        runs, request = workspace.runs, disclosed.request(run.request)
        self.left_out += disclosed.notes()
        archived = replace(
            run, id=run.imported_from or run.id, request=replace(request, submission_id=""), metadata=Metadata(), imported_from=None
        )
        self._text(at.RUN, to_json(archived, indent=1))
        activity = runs.activity(run.id)
        written = self._lines(at.MINI_BATCHES, map(to_json, _mini_batches(workspace, run, activity)))
        if written < (total := run.mini_batches_total or 0):
            text = f"The archive has the attempts at {written:,} of {counted(total, 'mini-batch')}."
            self.left_out.append(text)
            activity = replace(activity, unknown=tuple(dict.fromkeys((*activity.unknown, text))))
        causes: tuple[Any, ...] = ()
        try:
            table = runs.predictions(run.id)
        except NotFound:  # summary_only
            items = runs.failed_items(run.id, count=at.MOST_FAILED_ITEMS)
            self._lines(at.FAILED_ITEMS, map(to_json, items))
            causes = tuple(runs.failure_causes(run.id, at.MOST_CAUSES))
        else:
            self._file(at.TABLE, table.file)
        notes = workspace.annotations.annotations(run.id)
        self._lines(at.ANNOTATIONS, (json.dumps([k.file, k.mini_batch, k.place, a.note, a.label]) for k, a in notes.items()))
        for labels in workspace.run_labels(run):
            self._file(f"{at.LABELS}/labels-{labels.id}.parquet", labels.path)
        if (kept := runs.kept_script(run.id)) is not None:
            self._file(f"{at.SCRIPT}/{kept.name}", kept)
        for name, path in runs.output(run.id).items():
            self._file(f"{at.OUTPUT}/{name}", path)
        for name, path in runs.logs(run.id).items():
            self._file(name, path)
        self._text(at.REPORT, report(request))
        about = About(
            provenance=_provenance(runs.provenance(run.id), request, disclosed),
            environment=runs.environment(run.id),
            activity=activity,
            metadata=run.metadata,
            failures=tuple(runs.failures(run.id, at.MOST_FAILURES)),
            causes=causes,
            **_how_logs_read(workspace, run),
            left_out=tuple(self.left_out),
        )
        self._text(at.ABOUT, to_json(about, indent=1))
        left_out = "".join(f"\n{sentence}" for sentence in self.left_out)
        self._text(at.README, _README.format(run_id=run.id, version=__version__, program="batch-scoring-studio", left_out=left_out))
        manifest = Manifest(at.FORMAT, at.VERSION, __version__, archived.id, tuple(self._files))
        self._archive.writestr(at.MANIFEST, to_json(manifest, indent=1))
        return self.left_out

    def _text(self, path: str, content: str | bytes) -> None:
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        self._archive.writestr(path, data)
        self._files.append(ArchivedFile(path, len(data), hashlib.sha256(data).hexdigest()))

    def _lines(self, path: str, lines: Iterable[str]) -> int:
        """A line each, and how many there are; no file where there are none."""
        count = 0

        def encoded(lines: Iterable[str]) -> Iterator[bytes]:
            nonlocal count
            for count, line in enumerate(lines, 1):  # noqa: B007 - the caller reads it
                yield f"{line}\n".encode()

        first = next(lines := iter(lines), None)
        if first is not None:
            self._stream(path, encoded(_chained(first, lines)))
        return count

    def _file(self, path: str, source: Path) -> None:
        """Copy a file. A link is left out, and so is what an import would refuse, such as a name that leads elsewhere on another system."""
        path = readable(path)
        try:
            if not stat.S_ISREG(source.lstat().st_mode) or not self._takes(path):
                self.left_out.append(f"Left out is {_quoted(path)}: it is a link, or has a name that no archive can hold.")
                return
            if len(self._files) >= at.MOST_FILES - len(at.FILES):
                text = f"the run has more than {at.MOST_FILES:,} files of output and logs"
                raise SettingsError("run", text, "Hand over its output folder by other means.")
            with open(source, "rb") as content:
                size = source.stat().st_size  # a log may still grow
                self._stream(path, _parts(content, size), compress=_shrinks_reasonably(source))
        except OSError as error:
            raise WorkspaceUnavailable(f"{source} can't be read: {error.strerror or error}.", "Check its permissions.") from error

    def _takes(self, path: str) -> bool:
        try:
            safe_relative_path(path)
        except IntakeError:
            return False
        if any(map(junk_kind, path.split("/"))) or path in self._paths:
            return False
        self._paths.add(path)
        return True

    def _stream(self, path: str, parts: Iterable[bytes], *, compress: bool = True) -> None:
        digest, size = hashlib.sha256(), 0
        member = zipfile.ZipInfo(path, time.gmtime()[:6])
        member.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        member.external_attr = (stat.S_IFREG | 0o644) << 16
        with self._archive.open(member, "w", force_zip64=True) as target:
            for part in parts:
                target.write(part)
                digest.update(part)
                size += len(part)
        self._files.append(ArchivedFile(path, size, digest.hexdigest()))


def _quoted(path: str) -> str:
    """A path for a sentence."""
    return f"“{path[:200]}”"


def _chained(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _parts(content: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (part := content.read(min(_CHUNK, size))):
        size -= len(part)
        yield part


def _shrinks_reasonably(source: Path) -> bool:
    """Judged by its beginning. What is compressed already, such as Parquet, is stored too."""
    with open(source, "rb") as file:
        begin = file.read(_CHUNK)
    shrunk = len(zlib.compress(begin, 1)) or 1
    return not begin or (1.05 < len(begin) / shrunk < _MOST_COMPRESSED)


# ---- what is known of the run ------------------------------------------------------------------------------------------------------------


def _mini_batches(workspace: Workspace, run: Run, activity: RunActivity) -> Iterable[MiniBatchDetail]:
    """All of them, in their order; of a very large run those that a person would look at, as many as there is time for."""
    total = run.mini_batches_total or 0
    if run.mini_batches_total is None or at.MOST_WITH_ITEMS < total <= at.MOST_MINI_BATCHES:
        return islice(workspace.runs.mini_batches(run.id), at.MOST_MINI_BATCHES)
    numbers: Iterable[int] = range(total)
    if total > at.MOST_MINI_BATCHES:
        failed = [failure.mini_batch for failure in workspace.runs.failures(run.id, at.MOST_WITH_ITEMS)]
        in_spans = [span.mini_batch for worker in activity.workers for span in worker.spans if span.mini_batch is not None]
        numbers = islice(dict.fromkeys([*(slow.mini_batch for slow in activity.slowest), *failed, *in_spans]), at.MOST_WITH_ITEMS)
    return _by_number(workspace, run, numbers)


def _by_number(workspace: Workspace, run: Run, numbers: Iterable[int]) -> Iterator[MiniBatchDetail]:
    until = time.monotonic() + _MINI_BATCH_SECONDS
    for number in numbers:
        if time.monotonic() > until:
            return
        with suppress(NotFound):
            yield workspace.runs.mini_batch(run.id, number)


def _provenance(provenance: Provenance, request: RunRequest, disclosed: Disclosed) -> Provenance:
    """Without the hashes of what is left out: a short secret is guessed by them."""
    hidden = {name for name in _HASHED_SECRETS if disclosed.hidden}
    inputs = {name: value for name, value in provenance.inputs.items() if name not in hidden}
    return replace(provenance, settings=request.settings.as_dict(), inputs=inputs)


def _how_logs_read(workspace: Workspace, run: Run) -> dict[str, Any]:
    item = "item"
    with suppress(StudioError):
        item = workspace.dataset(run.request.datasets[0]).item
    if run.imported_from:
        from services.handover.imported_run import ImportedRun

        about = ImportedRun(workspace.home, run).about
        return {"item": about.item, "utc_offset": about.utc_offset, "reports": about.reports}
    here = workspace.remote is None
    offset = (run.started_at or run.submitted_at).astimezone().utcoffset() or timedelta()
    return {"item": item, "utc_offset": int(offset.total_seconds()) if here else 0, "reports": here}

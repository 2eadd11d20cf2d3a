"""Provenance of a run and its rows, as far as Azure ML has it: a row's file, the log lines that name it, the run's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from services.azure.runs.run_folder import RunFolder
from services.domain import Environment, Provenance, RowKey, RowTrace, Run
from services.errors import StudioError
from services.predictions.provenance import sha256_of
from services.predictions.writer import path_of
from services.storage.manifest import read_manifest

_READ_OF_A_LOG = 16_000_000  # bytes
_MOST_LINES = 200


def trace(folder: RunFolder, key: RowKey, fetch: Callable[[int, str], Path]) -> RowTrace:
    """Of one row. `fetch(number, path)` downloads a file of the run's dataset of that number; it may raise StudioError. The attempts at a
    row are not known, only the log lines that name its file."""
    if not key.file:
        return RowTrace(None, "", (), ())
    path = path_of(key.file)
    log = tuple(_lines_that_name(PurePosixPath(path).name, folder))
    plan = folder.plan()
    for number, manifest in enumerate(plan.manifests):
        try:
            if any(file.path == path for file in read_manifest(Path(manifest))):
                return RowTrace(fetch(number, path), "", (), log)
        except StudioError as error:
            return RowTrace(None, f"The file can't be fetched. {error.message} {error.hint}".rstrip(), (), log)
        except OSError as error:
            return RowTrace(None, f"The list of the dataset's files can't be read: {error.strerror or error}.", (), log)
    return RowTrace(None, "The file is in none of the run's datasets.", (), log)


def _lines_that_name(name: str, folder: RunFolder) -> Iterator[str]:
    found = 0
    for path in folder.log_files().values():
        try:
            text = path.read_bytes()[:_READ_OF_A_LOG].decode("utf-8", "backslashreplace")
        except OSError:
            continue
        for line in text.splitlines() if name in text else ():
            if name in line:
                yield line
                found += 1
                if found >= _MOST_LINES:
                    return


def provenance(run: Run, folder: RunFolder, models: Iterable[tuple[str, str]], environment: Environment | None) -> Provenance:
    """The run's inputs; `models` are references with their SHA-256, "" where it isn't known."""
    plan, request = folder.plan(), run.request
    manifests = [sha256_of(Path(manifest)) for manifest in plan.manifests] or [""] * len(request.datasets)
    return Provenance(
        run=run.id,
        title=run.title,
        status=run.status,
        submitted_at=run.submitted_at,
        ended_at=run.ended_at,
        models=tuple(models),
        datasets=tuple(zip(request.datasets, manifests, strict=False)),
        script=(request.script_name, sha256_of(Path(request.entry_script))),
        settings=request.settings.as_dict(),
        python=environment.python_version if environment else "",
        packages=environment.packages if environment else {},
        inputs={},
        rerun_of=request.rerun_of or None,
    )

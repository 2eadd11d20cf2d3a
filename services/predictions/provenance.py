"""Where results come from: of one row the lines of logs that name it; of a table the run and all that went into it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path, PurePosixPath

from services.domain import Environment, Run, utc_now
from services.errors import IntakeError, NotFound
from services.predictions.filters import Filter, Order
from services.predictions.reader import Predictions
from services.run_details import Provenance
from services.storage import file_tree

MAX_LOG_LINES = 200
"""Of the logs, about one row."""
_MAX_LOG_CHARACTERS = 16_000_000


def provenance_of(
    run: Run,
    models: Iterable[tuple[str, str]],
    manifests: Iterable[str],
    environment: Environment | None,
    inputs: Mapping[str, str] | None = None,
) -> Provenance:
    """What went into a run. `models` are references with their SHA-256, "" where it isn't known; `manifests` are paths, one for each
    dataset, or none; `inputs` are the SHA-256s that the output depends on."""
    request = run.request
    hashes = [_sha256_of(Path(manifest)) for manifest in manifests] or [""] * len(request.datasets)
    return Provenance(
        run=run.id,
        title=run.title,
        status=run.status,
        submitted_at=run.submitted_at,
        ended_at=run.ended_at,
        models=tuple(models),
        datasets=tuple(zip(request.datasets, hashes, strict=False)),
        script=(request.script_name, _sha256_of(Path(request.entry_script))),
        settings=request.settings.as_dict(),
        python=environment.python_version if environment else "",
        packages=environment.packages if environment else {},
        inputs=inputs or {},
        reused_from=run.reused_from,
        rerun_of=request.rerun_of or None,
    )


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a log, up to 16 million characters of it; none where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            read = 0
            for line in file:
                read += len(line)
                if read > _MAX_LOG_CHARACTERS:
                    return
                yield line.rstrip("\n")
    except OSError:
        return


def lines_about(file: str, logs: Iterable[Path]) -> tuple[str, ...]:
    """The lines of logs that name a file."""
    mention = mention_of(PurePosixPath(file).name)
    return tuple(islice((line for log in logs for line in log_lines(log) if mention.search(line)), MAX_LOG_LINES))


def mention_of(name: str) -> re.Pattern[str]:
    """Where a line of a log names a file: 1.csv is not named where 21.csv is."""
    return re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")


def provenance_file(
    provenance: Provenance, table: Predictions, filter_: Filter, order: Order, columns: tuple[str, ...], file: str, sha256: str = ""
) -> bytes:
    """A small JSON file that goes with an export: what it is of, how it was filtered, how many rows it has. `sha256` is the export's."""
    from importlib.metadata import version

    content = {
        "file": {"name": file, "sha256": sha256, "columns": columns, "rows": table.count(filter_), "made_at": utc_now()},
        "filter": {
            "words": filter_.describe() or "every prediction",
            "value": json.loads(filter_.to_text() or "{}"),
            "order": asdict(order),
        },
        "table": {"rows": dict(table.row_counts), "prediction": table.kind, "columns": table.columns},
        "run": {name: value for name, value in asdict(provenance).items() if name not in ("models", "datasets", "script")},
        "models": [{"name": name, "sha256": digest} for name, digest in provenance.models],
        "datasets": [{"name": name, "manifest_sha256": digest} for name, digest in provenance.datasets],
        "script": {"name": provenance.script[0], "sha256": provenance.script[1]},
        "written_with": {package: version(package) for package in ("duckdb", "pyarrow", "xlsxwriter")},
    }
    return json.dumps(content, indent=1, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _sha256_of(path: Path) -> str:
    """In hex; "" where it can't be read any more."""
    try:
        return file_tree.sha256_of(path)
    except (IntakeError, NotFound):
        return ""

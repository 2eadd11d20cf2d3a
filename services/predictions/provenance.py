"""Where results come from: of one row its input, its tries, what its worker said; of a table the run and all that went into it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from services.domain import Provenance, utc_now
from services.errors import IntakeError, NotFound
from services.storage.file_tree import reading

if TYPE_CHECKING:
    from services.predictions.filters import Filter, Order
    from services.predictions.reader import Predictions


def provenance_file(
    provenance: Provenance, table: Predictions, filter_: Filter, order: Order, columns: tuple[str, ...], file: str, sha256: str = ""
) -> bytes:
    """A small JSON file that goes with an export: what it is of, how it was filtered, how many rows it has. `sha256` is the export's."""
    from importlib.metadata import PackageNotFoundError, version

    def version_of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    words = filter_.describe() or "every prediction"
    told = {
        "file": {"name": file, "sha256": sha256, "columns": columns, "rows": table.count(filter_), "made_at": utc_now()},
        "filter": {
            "words": words,
            "value": json.loads(filter_.to_text() or "{}"),
            "order": asdict(order),
        },
        "table": {"rows": dict(table.row_counts), "prediction": table.kind, "columns": table.columns},
        "run": {name: value for name, value in asdict(provenance).items() if name not in ("models", "datasets", "script")},
        "models": [{"name": name, "sha256": digest} for name, digest in provenance.models],
        "datasets": [{"name": name, "manifest_sha256": digest} for name, digest in provenance.datasets],
        "script": {"name": provenance.script[0], "sha256": provenance.script[1]},
        "written_with": {package: version_of(package) for package in ("duckdb", "pyarrow", "xlsxwriter")},
    }
    return json.dumps(told, indent=1, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def sha256_of(path: Path) -> str:
    """In hex; "" where it can't be read any more."""
    try:
        with reading(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (IntakeError, NotFound):
        return ""

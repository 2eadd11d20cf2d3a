"""What only the machine with a model's file knows (kind, SHA-256, size, imports), as properties, which Azure ML never changes."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from services.domain import Model, utc_now
from services.intake import model_files
from services.storage import file_tree

_KIND, _FORMAT, SHA256, _SIZE, _IMPORTS = (f"batch_scoring_studio.{name}" for name in ("kind", "format", "sha256", "size", "imports"))
_MAX_IMPORTS = 100


def properties_of(path: Path) -> dict[str, str]:
    """Of a file or folder of this machine. Raises IntakeError, NotFound."""
    content = model_files.inspect_for_registration(path)
    properties = {_KIND: content.kind, _FORMAT: content.format, SHA256: file_tree.sha256_of(path), _SIZE: str(file_tree.size_of(path))}
    all_imports = content.scanned_whole and len(content.imports) <= _MAX_IMPORTS
    return properties | {_IMPORTS: json.dumps([content.imports[:_MAX_IMPORTS], all_imports])}


def noun(model: Any, version: int, path: str, created_at: datetime | None, elsewhere: str) -> Model:
    """An SDK's model as ours. It needs no approval: it is not loaded on this machine. `elsewhere` is its kind where another program
    registered it."""
    known = model.properties or {}
    try:
        imports, all_imports = json.loads(known.get(_IMPORTS) or "[[], false]")
    except ValueError:
        imports, all_imports = [], False
    size = str(known.get(_SIZE, ""))
    return Model(
        name=str(model.name),
        version=version,
        path=path,
        size=int(size) if size.isdecimal() else None,
        sha256=str(known.get(SHA256, "")),
        kind=str(known.get(_KIND, elsewhere)),
        created_at=created_at or utc_now(),
        description=(model.description or "").strip(),
        tags={str(key): str(value) for key, value in (model.tags or {}).items()},
        needs_approval=False,
        imports=tuple(map(str, imports)),
        scanned_whole=bool(all_imports),
        format=str(known.get(_FORMAT, "")),
    )

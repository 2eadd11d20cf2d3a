"""Tables of predictions that stay open from one query to the next: opening one takes longer than most queries.

The last few are kept for the next rerun of a page, or another tab.
"""

from __future__ import annotations

import threading
from pathlib import Path

from services.predictions.reader import Predictions
from services.predictions.table_file import table_identity

_MOST = 4

_lock = threading.Lock()
_tables: dict[Path, Predictions] = {}
"""The latest used is last."""


def open_predictions(path: Path) -> Predictions:
    """The table that is at `path` now, open. The same object as long as no other table is put in its place.

    Raises NotFound where there is no table, WorkspaceUnavailable where it can't be read.
    """
    with _lock:
        for other in [other for other, table in _tables.items() if table.identity != table_identity(other)]:
            del _tables[other]  # replaced or removed: its room on the disk is free when nobody has it any more
        if path in _tables:
            _tables[path] = table = _tables.pop(path)
            return table
    opened = Predictions(path)
    with _lock:
        _tables[path] = opened
        for eldest in list(_tables)[:-_MOST]:
            del _tables[eldest]
    return opened

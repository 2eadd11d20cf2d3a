"""How many runs of one home go on at once. Each runner waits for its slot by itself; there is no daemon.

A slot is an operating-system lock, so that a killed runner frees its own. The limit is one run for each two cores;
`BATCH_SCORING_RUNS_AT_ONCE` sets another.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from services import environment_variables


def limit() -> int:
    """How many runs may go on at once."""
    return environment_variables.number("BATCH_SCORING_RUNS_AT_ONCE") or max(1, (os.cpu_count() or 1) // 2)


def acquire_run_slot(home: Path) -> FileLock | None:
    """A free slot, held until it is released or this process ends; None when all are taken. Raises OSError."""
    folder = home / "slots"
    folder.mkdir(exist_ok=True)
    for number in range(limit()):
        slot = FileLock(folder / f"{number}.lock")
        try:
            slot.acquire(timeout=0)
        except Timeout:
            continue
        return slot
    return None

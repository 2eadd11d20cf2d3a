"""How many runs of one home go on at once. Each runner waits for its slot by itself; there is no daemon.

A slot is an operating-system lock, so that a killed runner frees its own. The limit is one run for each two cores;
`BATCH_SCORING_RUNS_AT_ONCE` sets another.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from services import environment_variables

try:
    import fcntl
except ImportError:  # Windows, where no lock can be waited for without asking again and again
    fcntl = None  # type: ignore[assignment]


class RunSlots:
    """The slots of a home, for a runner that needs one."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "slots"
        self._released = threading.Event()
        self._watched: set[Path] = set()

    def acquire(self) -> FileLock | None:
        """A free slot, held until it is released or this process ends; None when all are taken. Raises OSError."""
        self._folder.mkdir(exist_ok=True)
        for path in self._paths():
            slot = FileLock(path)
            with suppress(Timeout):
                slot.acquire(timeout=0)
                return slot
        return None

    def wait(self, timeout: float) -> None:
        """Wait until a slot is released, for `timeout` seconds at most; on Windows always as long."""
        for path in self._paths() if fcntl else ():
            if path not in self._watched:
                self._watched.add(path)
                threading.Thread(target=self._watch, args=(path,), daemon=True).start()
        if self._released.wait(timeout):
            self._released.clear()

    def _paths(self) -> list[Path]:
        limit = environment_variables.number("BATCH_SCORING_RUNS_AT_ONCE") or max(1, (os.cpu_count() or 1) // 2)
        return [self._folder / f"{number}.lock" for number in range(limit)]

    def _watch(self, path: Path) -> None:
        with suppress(OSError), open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the system wakes this thread; closing the file gives the lock back at once
        self._watched.discard(path)
        self._released.set()

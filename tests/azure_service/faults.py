"""Faults that the stand-in answers with on request, and the list of its requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass
class Fault:
    """What happens to the next `count` calls (None: to all) whose line (see `Request.line`) matches `pattern`, a shell pattern in which
    `[` stands for itself.

    seconds: they are answered so much later. held: they are answered once the fault is forgotten. status: they are refused with it,
    `code`, `message` and, where it is given, a Retry-After of `retry_after` whole seconds. cut: the connection ends without an answer.
    torn: it ends in the middle of it. lost: it ends after the call had its effect. swallow: an upload is answered as if it were stored,
    and leaves an empty blob.
    """

    pattern: str
    count: int | None = 1
    seconds: float = 0
    held: bool = False
    status: int = 0
    code: str = ""
    message: str = ""
    retry_after: int | None = None
    cut: bool = False
    torn: bool = False
    lost: bool = False
    swallow: bool = False


@dataclass
class Seen:
    """One call that was answered: its line, the status (0: cut), and when it came, in seconds of the service's clock."""

    line: str
    status: int
    at: float


class Watch:
    """Faults to come, calls that came, routes that nobody knows. Used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.unknown: list[str] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget faults, calls and unknown routes."""
        with self._lock:
            for fault in self._faults:
                fault.held = False
            self._faults.clear()
            self.seen.clear()
            self.unknown.clear()

    def fault_for(self, line: str) -> Fault | None:
        """The first fault that is for this call; it has then happened once more."""
        with self._lock:
            for fault in self._faults:
                if fault.count != 0 and matches(line, fault.pattern):
                    fault.count = None if fault.count is None else fault.count - 1
                    return fault
        return None

    def saw(self, line: str, status: int, at: float) -> None:
        with self._lock:
            self.seen.append(Seen(line, status, at))

    def does_not_know(self, line: str) -> None:
        with self._lock:
            self.unknown.append(line)

    def taken(self, what: str) -> list[Any]:
        """A copy of `seen` or `unknown`."""
        with self._lock:
            return list(getattr(self, what))


def matches(line: str, pattern: str) -> bool:
    return fnmatchcase(line, pattern.replace("[", "[[]"))

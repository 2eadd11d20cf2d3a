"""A word on what the SDK waits out: where Azure is busy it asks again for minutes, and says nothing meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import responses

AFTER = 5.0
"""Seconds that Azure is busy before a person is told."""

_BUSY: dict[object, str] = {status: responses[status] for status in (429, 503)}

_ANSWERS = logging.getLogger("urllib3.connectionpool")
"""Where urllib3 notes each answer, for debugging: scheme, host, port, method, path, protocol, status, length. The SDK tries again in three
places, urllib3 for one; all of them ask by it."""


class _Word(logging.Handler):
    """Tells once that Azure is busy, where this thread's question was answered so and no other answer came soon; and "" when it is over."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self._tell, self._telling = tell, threading.Lock()
        self._timer: threading.Timer | None = None
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self.thread or not isinstance(record.args, tuple) or len(record.args) != 8:
            return
        status = record.args[6]
        if status not in _BUSY:
            self.end()
        elif not self._timer:
            said = f"Azure answers {status} {_BUSY[status]}: it is asked again, which can take some minutes."
            self._timer = threading.Timer(AFTER, self._say, [said])
            self._timer.daemon = True
            self._timer.start()

    def _say(self, said: str) -> None:
        with self._telling:
            if self._timer:
                self._told = True
                self._tell(said)

    def end(self) -> None:
        with self._telling:
            if self._timer:
                self._timer.cancel()
            if self._told:
                self._tell("")
            self._timer, self._told = None, False


@contextmanager
def told(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell where what this thread asks meanwhile is refused for the time being, for longer than a moment."""
    if any(isinstance(other, _Word) and other.thread == threading.get_ident() for other in _ANSWERS.handlers):
        yield  # within another question, which tells already
        return
    word = _Word(tell)
    _ANSWERS.setLevel(logging.DEBUG)
    _ANSWERS.propagate = False  # nobody else asked for this level
    _ANSWERS.addHandler(word)
    try:
        yield
    finally:
        _ANSWERS.removeHandler(word)
        word.end()

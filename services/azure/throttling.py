"""A word on what the SDK waits out: where Azure is busy it asks again for minutes, and says nothing meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import responses

AFTER = 5.0
"""Seconds that Azure is busy before a person is told."""

_BUSY: dict[object, str] = {status: responses[status] for status in (429, 503)}

_ANSWERS = logging.getLogger("urllib3.connectionpool")
"""Where urllib3 notes each answer, for debugging: scheme, host, port, method, path, protocol, status, length. The SDK tries again in three
places, urllib3 for one; all of them ask by it."""


class _Word:
    """Tells once that Azure is busy, where a question was answered so and no other answer came soon; and "" when it is over."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._telling = tell, threading.Lock()
        self._timer: threading.Timer | None = None
        self._told = False

    def heard(self, status: object) -> None:
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


_asking: ContextVar[_Word | None] = ContextVar("asking", default=None)
"""Who is told of what is asked here; of what a thread asks for another one, where it was started in that one's context."""

_open: list[_Word] = []
"""All who are told something now. The SDK lists models from threads of its own, which it starts in no context: those are heard by all."""


class _Listener(logging.Handler):
    """Hears all answers, each in the thread that asked for it."""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 8:
            word = _asking.get()
            for each in [word] if word else [*_open]:
                each.heard(record.args[6])


_LISTENER = _Listener()


@contextmanager
def told(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell where what is asked meanwhile is refused for the time being, for longer than a moment."""
    if _asking.get():
        yield  # within another question, which tells already
        return
    _ANSWERS.setLevel(logging.DEBUG)
    _ANSWERS.propagate = False  # nobody else asked for this level
    _ANSWERS.addHandler(_LISTENER)  # once, however often
    word = _Word(tell)
    before = _asking.set(word)
    _open.append(word)
    try:
        yield
    finally:
        _open.remove(word)
        _asking.reset(before)
        word.end()

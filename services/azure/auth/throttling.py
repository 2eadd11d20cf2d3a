"""A word on what the SDK waits out, and an end to it: where Azure is busy it asks again for minutes, and says nothing meanwhile."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http.client import responses
from typing import Any

AFTER = 5.0
"""Seconds that Azure is busy before a person is told."""
MOST = 30.0
"""Seconds that one is waited for as Azure asks (Retry-After) where somebody waits at a terminal."""
SHORT = {"AZUREML_DEFAULT_BACKOFF": "4", "AZUREML_DEFAULT_503_BACKOFF": "4"}
"""The SDK's own variables for its first wait, which it doubles twice: 28 seconds in all, instead of 224."""

_BUSY: dict[object, str] = {status: responses[status] for status in (429, 503)}

_ANSWERS = logging.getLogger("urllib3.connectionpool")
"""Where urllib3 notes each answer, for debugging: scheme, host, port, method, path, protocol, status, length. The SDK tries again in three
places, urllib3 for one; all of them ask by it."""


class ThrottleNotifier:
    """Tells once that Azure is busy, where a question was answered so and no other answer came soon; and "" when it is over."""

    def __init__(self, tell: Callable[[str], None], most: float) -> None:
        self._tell, self._telling = tell, threading.Lock()
        self._timer: threading.Timer | None = None
        self._most, self._since = most, math.inf
        self._told = False

    def heard(self, status: object) -> None:
        if status not in _BUSY:
            self.end()
        elif not self._timer:
            self._since = time.monotonic()
            long = "which can take some minutes" if self._most == math.inf else "for a minute at most"
            said = f"Azure answers {status} {_BUSY[status]}: it is asked again, {long}."
            self._timer = threading.Timer(AFTER, self._say, [said])
            self._timer.daemon = True
            self._timer.start()

    def has_time_for(self, seconds: float) -> bool:
        """Whether who asked waits so much longer."""
        return not self._timer or time.monotonic() + seconds <= self._since + self._most

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


_asking: ContextVar[ThrottleNotifier | None] = ContextVar("asking", default=None)
"""Who is told of what is asked here; of what a thread asks for another one, where it was started in that one's context."""

_open: list[ThrottleNotifier] = []
"""All who are told something now. The SDK lists models from threads of its own, which it starts in no context: those are heard by all."""


def _listening() -> list[ThrottleNotifier]:
    word = _asking.get()
    return [word] if word else [*_open]


class _Listener(logging.Handler):
    """Hears all answers, each in the thread that asked for it."""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 8:
            for each in _listening():
                each.heard(record.args[6])


_LISTENER = _Listener()


@cache
def _hold_urllib3_to_it() -> None:
    """urllib3 waits as long as a Retry-After says, for each question of the SDK thrice. Where who asked has no time for that, the refusal
    is its answer. `Retry.increment` is where it ends its tries by itself; the SDK makes these objects in too many places to replace."""
    from urllib3 import Retry
    from urllib3.exceptions import MaxRetryError, ResponseError

    increment = Retry.increment

    def increment_in_time(self: Retry, method: Any = None, url: Any = None, response: Any = None, *more: Any, **named: Any) -> Retry:
        wait = (self.get_retry_after(response) if response else None) or 0.0
        if not all(word.has_time_for(wait) for word in _listening()):
            raise MaxRetryError(named["_pool"], url, ResponseError(f"too many {response.status} error responses"))
        return increment(self, method, url, response, *more, **named)

    Retry.increment = increment_in_time  # type: ignore[assignment, method-assign]


def shorten() -> None:
    """Let the SDK wait less before it asks again, unless the variables say how long; to be called before it is imported."""
    for name, seconds in SHORT.items():
        os.environ.setdefault(name, seconds)


@contextmanager
def notify_when_throttled(tell: Callable[[str], None], most: float = math.inf) -> Iterator[None]:
    """Tell where what is asked meanwhile is refused for the time being, for longer than a moment. It is waited for as Azure asks, but no
    longer than `most` seconds."""
    if _asking.get():
        yield  # within another question, which tells already
        return
    if most < math.inf:
        _hold_urllib3_to_it()
    _ANSWERS.setLevel(logging.DEBUG)
    _ANSWERS.propagate = False  # nobody else asked for this level
    _ANSWERS.addHandler(_LISTENER)  # once, however often
    word = ThrottleNotifier(tell, most)
    before = _asking.set(word)
    _open.append(word)
    try:
        yield
    finally:
        _open.remove(word)
        _asking.reset(before)
        word.end()

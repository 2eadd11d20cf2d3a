"""Notifies a person while Azure throttles, and limits the SDK's own retries, which go on for minutes without any message."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http import HTTPStatus
from typing import Any

NOTIFY_AFTER_SECONDS = 5.0
"""How long Azure throttles before a person is notified."""

_RESPONSE_LOG = logging.getLogger("urllib3.connectionpool")
"""Where urllib3 logs each response, at DEBUG: scheme, host, port, method, path, protocol, status, length. The SDK retries in three places,
urllib3 is one of them; all send through it."""


class ThrottleNotifier:
    """Notifies once where a request was throttled and no other response came soon; with "" when that is over."""

    def __init__(self, notify: Callable[[str], None], max_seconds: float) -> None:
        self._notify, self._lock = notify, threading.Lock()
        self._timer: threading.Timer | None = None
        self._max_seconds, self._since = max_seconds, math.inf
        self._notified = False

    def saw(self, status: Any) -> None:
        """The status of a response."""
        if status not in (429, 503):
            self.end()
        elif not self._timer:
            self._since = time.monotonic()
            how_long = "which can take some minutes" if self._max_seconds == math.inf else "for a minute at most"
            message = f"Azure answers {status} {HTTPStatus(status).phrase}: retrying, {how_long}."
            self._timer = threading.Timer(NOTIFY_AFTER_SECONDS, self._throttled, [message])
            self._timer.daemon = True
            self._timer.start()

    def has_time_for(self, seconds: float) -> bool:
        """Whether the caller waits so much longer."""
        return not self._timer or time.monotonic() + seconds <= self._since + self._max_seconds

    def _throttled(self, message: str) -> None:
        with self._lock:
            if self._timer:
                self._notified = True
                self._notify(message)

    def end(self) -> None:
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._notified:
                self._notify("")
            self._timer, self._notified = None, False


_current: ContextVar[ThrottleNotifier | None] = ContextVar("throttle_notifier", default=None)
"""Of the requests sent in this context; a thread that was started in a copy of it has the same."""

_open: list[ThrottleNotifier] = []
"""All that are open. The SDK lists models in threads of its own, started without a context: their responses go to all of these."""


def _notifiers() -> list[ThrottleNotifier]:
    notifier = _current.get()
    return [notifier] if notifier else [*_open]


def has_time_for(seconds: float) -> bool:
    """Whether the caller of what is sent in this context waits so much longer."""
    return all(notifier.has_time_for(seconds) for notifier in _notifiers())


def _see(record: logging.LogRecord) -> bool:
    """Gets every response, each in the thread that sent the request. It is logged nowhere: nobody else asked for this level."""
    if isinstance(record.args, tuple) and len(record.args) == 8:
        for notifier in _notifiers():
            notifier.saw(record.args[6])
    return False


@cache
def _limit_urllib3_retries() -> None:
    """urllib3 waits as long as Retry-After says, three times for each request of the SDK. Where the caller has no time for that, it gives
    up at once. `Retry.increment` is where it does so by itself; the SDK makes these objects in too many places to replace them."""
    from urllib3 import Retry
    from urllib3.exceptions import MaxRetryError, ResponseError

    increment = Retry.increment

    def increment_in_time(self: Retry, method: Any = None, url: Any = None, response: Any = None, *more: Any, **named: Any) -> Retry:
        wait = (self.get_retry_after(response) if response else None) or 0.0
        if not has_time_for(wait):
            raise MaxRetryError(named["_pool"], url, ResponseError(f"too many {response.status} error responses"))
        return increment(self, method, url, response, *more, **named)

    Retry.increment = increment_in_time  # type: ignore[assignment, method-assign]


@contextmanager
def notify_when_throttled(notify: Callable[[str], None], max_seconds: float = math.inf) -> Iterator[None]:
    """Call `notify` where a request sent meanwhile is throttled for longer than a moment, and with "" when that is over. urllib3 waits for
    no longer than `max_seconds`."""
    if _current.get():
        yield  # within another one, which notifies already
        return
    if max_seconds < math.inf:
        _limit_urllib3_retries()
    _RESPONSE_LOG.setLevel(logging.DEBUG)
    _RESPONSE_LOG.addFilter(_see)  # once, however often
    notifier = ThrottleNotifier(notify, max_seconds)
    token = _current.set(notifier)
    _open.append(notifier)
    try:
        yield
    finally:
        _open.remove(notifier)
        _current.reset(token)
        notifier.end()

"""Work that takes its time, done beside a page by a thread of its session: it can be stopped, and stops where nobody looks any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from services.errors import StudioError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNSEEN_SECONDS = 90.0  # a browser runs the clock of a hidden tab once a minute


class Job(Generic[T]):
    """`work(is_over)` in a thread, which must make no Streamlit call and end soon once `is_over()` holds. `done` is set at its end: then
    there is a `result` or an `error`. To be called `look` at while it is shown."""

    def __init__(self, work: Callable[[Callable[[], bool]], T]) -> None:
        context = get_script_run_ctx()
        self._session = context.session_id if context else ""
        self.done, self._stop = threading.Event(), threading.Event()
        self._began = self._seen = time.monotonic()
        self.result: T | None = None
        self.error: StudioError | None = None

        def do() -> None:
            try:
                self.result = work(self._is_over)
            except StudioError as error:
                self.error = error
            except Exception as error:  # a bug, or SQLite's: who waits must not wait for ever, nor see nothing
                logger.exception("Work beside a page failed: %s: %s", type(error).__name__, error)
                self.error = StudioError(f"This failed: {type(error).__name__}: {error}", "The dashboard's log has more.")
            finally:
                self.done.set()

        threading.Thread(target=do, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def look(self, wait: float = 0.0) -> bool:
        """Whether it is done, after so many seconds at most. Somebody waits for it still."""
        self._seen = time.monotonic()
        return self.done.wait(wait) if wait else self.done.is_set()

    def stop(self) -> None:
        self._stop.set()

    def _is_over(self) -> bool:
        closed = runtime.exists() and not runtime.get_instance().is_active_session(self._session)
        return self._stop.is_set() or closed or time.monotonic() - self._seen > _UNSEEN_SECONDS

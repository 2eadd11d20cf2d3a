"""One list of the workspace's contents (models, say): fetched, kept in memory and in a file, with its age."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from services import log
from services.domain import utc_now
from services.storage.atomic import write_atomically
from services.storage.serialization import from_builtins, to_builtins

T = TypeVar("T")

logger = logging.getLogger(__name__)
NEVER = timedelta(days=36_500)


class CachedList(Generic[T]):
    """The file is for the first page after a start, which never waits for the network. Safe to use from several threads: one lock guards
    the items and when they were fetched, another one is held by the thread that fetches, so that reading never waits for the service."""

    def __init__(self, path: Path, fetch: Callable[[], list[T]], item_type: type[T]) -> None:
        """`fetch` asks the service; the items are dataclasses."""
        self._path, self._fetch, self._item_type = path, fetch, item_type
        self._fetching = threading.Lock()
        self._lock = threading.Lock()
        self._items: list[T] | None = None
        self._fetched_at = utc_now() - NEVER
        self._fetched_here = False  # whether this process asked the service itself
        self._edits = 0

    @property
    def age(self) -> timedelta:
        """Since the service was asked, by this process or an earlier one; more than `NEVER` where none did."""
        with self._lock:
            self._read()
            return utc_now() - self._fetched_at

    def known(self) -> list[T]:
        """The items as far as they are known here, without asking the service; empty where nothing is known."""
        with self._lock:
            return list(self._read())

    def fetch(self) -> list[T]:
        """Ask the service now. Raises what `fetch` raises; what was known stays."""
        with self._fetching:
            while True:
                with self._lock:
                    edits = self._edits
                items = self._fetch()
                with self._lock:
                    if edits == self._edits:  # else something was registered or deleted meanwhile, which this answer may not have
                        self._fetched_here = True
                        self._keep(items, utc_now())
                        return list(items)

    def current(self, max_age: timedelta) -> list[T]:
        """The items as this process fetched them, no longer ago than `max_age`. Raises as `fetch`."""
        return self.known() if self._fetched_here and self.age < max_age else self.fetch()

    def add(self, item: T) -> None:
        """Something just registered; the newest comes first."""
        self._edit(lambda items: [item, *items])

    def replace(self, changed: Callable[[T], T]) -> None:
        self._edit(lambda items: [changed(item) for item in items])

    def remove(self, deleted: Callable[[T], bool]) -> None:
        self._edit(lambda items: [item for item in items if not deleted(item)])

    def _edit(self, edit: Callable[[list[T]], list[T]]) -> None:
        with self._lock:
            self._edits += 1
            self._keep(edit(self._read()), self._fetched_at)

    def _read(self) -> list[T]:
        """The items, from the file where none are in memory. To be called with the lock held."""
        if self._items is None:
            try:
                stored = json.loads(self._path.read_text(encoding="utf-8"))
                items = [from_builtins(values, self._item_type) for values in stored["things"]]
                self._items, self._fetched_at = items, datetime.fromisoformat(stored["at"])
            except (OSError, ValueError, KeyError, TypeError):  # none, or of another version of this program
                return []
        return self._items

    def _keep(self, items: list[T], fetched_at: datetime) -> None:
        """To be called with the lock held."""
        self._items, self._fetched_at = items, fetched_at
        content = {"at": fetched_at.isoformat(), "things": [to_builtins(item) for item in items]}
        with log.suppress(logger, "The list can't be kept", OSError):  # a full disk: it is known all the same, until the next start
            write_atomically(self._path, json.dumps(content))

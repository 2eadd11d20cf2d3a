"""A list of the workspace's: fetched, kept in memory and in a file, told with its age."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from services.domain import Dataset, utc_now

T = TypeVar("T")
NEVER = timedelta(days=36_500)


class CachedList(Generic[T]):
    """The file is for the first look after a start, so that a page never waits for the network. Safe to use from several threads."""

    def __init__(self, path: Path, fetch: Callable[[], list[T]], load: Callable[[dict[str, Any]], T]) -> None:
        self._path = path
        self._fetch = fetch
        self._load = load
        self._fetching = threading.Lock()
        self._things: list[T] | None = None
        self.fetched_at: datetime | None = None
        self.fetched_here = False
        """Whether this process asked the service itself."""

    @property
    def age(self) -> timedelta:
        self.known()
        return utc_now() - self.fetched_at if self.fetched_at else NEVER

    def known(self) -> list[T]:
        """What is known without asking anybody; empty where nothing is."""
        if self._things is None:
            try:
                kept = json.loads(self._path.read_text(encoding="utf-8"))
                things, at = [self._load(_with_times(value)) for value in kept["things"]], datetime.fromisoformat(kept["at"])
            except (OSError, ValueError, KeyError, TypeError):  # none, or of another version of this program
                return []
            if self._things is None:
                self._things, self.fetched_at = things, at
        return list(self._things)

    def fetch(self) -> list[T]:
        """Ask the service now. Raises what asking raises; what was known stays."""
        with self._fetching:
            self._keep(self._fetch(), utc_now())
            self.fetched_here = True
        return self.known()

    def current(self, max_age: timedelta) -> list[T]:
        """What this process has fetched, no older than that."""
        return self.known() if self.fetched_here and self.age < max_age else self.fetch()

    def add(self, thing: T) -> None:
        """What was just registered; the newest comes first."""
        self._keep([thing, *self.known()], self.fetched_at or utc_now() - NEVER)

    def replace(self, other: Callable[[T], T]) -> None:
        self._keep([other(thing) for thing in self.known()], self.fetched_at or utc_now() - NEVER)

    def remove(self, gone: Callable[[T], bool]) -> None:
        self._keep([thing for thing in self.known() if not gone(thing)], self.fetched_at or utc_now() - NEVER)

    def _keep(self, things: list[T], at: datetime) -> None:
        self._things, self.fetched_at = things, at
        partial = self._path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        content = {"at": at.isoformat(), "things": [_value(thing) for thing in things]}
        with suppress(OSError):  # a full disk: it is known all the same, until the next start
            partial.write_text(json.dumps(content, default=datetime.isoformat), encoding="utf-8")
            os.replace(partial, self._path)


def _value(thing: Any) -> dict[str, Any]:
    return asdict(thing) | ({"type": thing.type} if isinstance(thing, Dataset) else {})


def _with_times(value: dict[str, Any]) -> dict[str, Any]:
    moment = value.get("created_at")
    return value | {"created_at": datetime.fromisoformat(moment)} if moment else value

"""What a person has dismissed on the home page."""

from __future__ import annotations

from collections.abc import Iterable, Set

from services.storage.store import Store


class Dismissals:
    """Those of one workspace. A subject says what happened and when, so that the next time it is another one: `run-1 Failed 2026-…`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, subject: str) -> None:
        self._store.dismiss(subject)

    def among(self, subjects: Iterable[str]) -> Set[str]:
        """Those of these that were dismissed."""
        return self._store.dismissed(subjects)

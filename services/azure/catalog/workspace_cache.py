"""The cached lists of one workspace, and the one thread that signs in and fetches them for a dashboard."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from services.azure.auth.session import Session
from services.azure.catalog import computes, environments
from services.azure.catalog.cached_list import NEVER, CachedList
from services.azure.catalog.datasets import Datasets
from services.azure.catalog.models import Models
from services.domain import (
    ComputeTarget,
    ConnectionState,
    Dataset,
    Datastore,
    Environment,
    Model,
    parse_reference,
    utc_now,
)
from services.errors import NotFound, StudioError

FRESH = timedelta(seconds=60)
"""How old a list may be before it is fetched again."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class _Versioned(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=_Versioned)


class WorkspaceCache:
    """The lists of one workspace. Safe to use from several threads: one lock guards the state.

    A `blocking` one (the command line's) fetches a list when it is needed. The dashboard's is not: it answers with what is known, and
    fetches in the background.
    """

    def __init__(self, session: Session, folder: Path, models: Models, datasets: Datasets, *, blocking: bool) -> None:
        self._session, self._blocking = session, blocking
        self._lock = threading.Lock()
        self._state = ConnectionState(False, False)  # its `listing` says whether the thread is at work
        self._refresh_again = False

        def known_datasets() -> list[Dataset]:
            return datasets.all(self.datasets.known())

        self.models = CachedList(folder / "models.json", models.all, Model)
        self.datasets: CachedList[Dataset] = CachedList(folder / "datasets.json", known_datasets, Dataset)

        def known_environments() -> list[Environment]:  # Azure ML does not say when one was made: `created_at` is when it was first seen
            first_seen = {(known.name, known.version): known.created_at for known in self.environments.known()}
            return [
                replace(environment, created_at=first_seen.get((environment.name, environment.version), environment.created_at))
                for environment in environments.environments(session)
            ]

        self.environments = CachedList(folder / "environments.json", known_environments, Environment)
        self.compute_targets = CachedList(folder / "computes.json", lambda: computes.compute_targets(session), ComputeTarget)
        self.datastores = CachedList(folder / "datastores.json", lambda: computes.datastores(session), Datastore)

    def _all(self) -> tuple[CachedList[Any], ...]:
        return self.models, self.datasets, self.compute_targets, self.environments, self.datastores

    def state(self) -> ConnectionState:
        """The connection as it is now, without waiting for anything."""
        oldest = max(listing.age for listing in self._all())
        listed_at = None if oldest > NEVER / 2 else utc_now() - oldest
        with self._lock:
            return replace(self._state, is_open=self._session.is_open, listed_at=listed_at)

    def set_message(self, message: str) -> None:
        """What a person should know while something goes on; "" once that is over."""
        self._update(message=message)

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)

    def refresh(self, after: float = 0) -> None:
        """Sign in where needed and fetch all lists, in a thread, `after` so many seconds. Where one is fetching them already, they are
        fetched once more after it: what it has by now may be older than this call."""
        with self._lock:
            if self._state.listing:
                self._refresh_again |= not self._state.opening
                return
            self._begin()
        thread = threading.Timer(after, self._fetch)
        thread.name, thread.daemon = "azure-lists", True
        thread.start()

    def _begin(self) -> None:
        """To be called with the lock held."""
        self._refresh_again = False
        self._state = replace(self._state, opening=not self._session.is_open, listing=True, error=None, message="")

    def _fetch(self) -> None:
        while True:
            error = self._fetch_all()
            with self._lock:  # at once with the end of the thread: a refresh comes before it, or starts another thread
                if not self._refresh_again:
                    self._state = replace(self._state, opening=False, listing=False, message="", error=error)
                    return
                self._begin()

    def _fetch_all(self) -> StudioError | None:
        """Returns what went wrong."""
        try:
            self._session.workspace  # noqa: B018 - signs in
            self._update(opening=False, message="")
            for listing in self._all():
                changed = listing.known() != listing.fetch()
                with self._lock:
                    self._state = replace(self._state, lists=self._state.lists + 1, changes=self._state.changes + changed)
        except StudioError as error:
            logger.warning("The lists can't be fetched: %s", error, exc_info=error)
            return error
        except Exception as error:  # only the state can show it
            logger.exception("The lists can't be fetched: a bug")
            text = f"The workspace could not be opened: {type(error).__name__} {error}"
            return StudioError(text, "This is a fault of the program.")
        return None

    def known(self, listing: CachedList[T]) -> list[T]:
        """The items of a list: of a blocking cache fetched within the last minute, else as far as they are known."""
        if self._blocking:
            return listing.current(FRESH)
        with self._lock:
            idle = not self._state.listing and self._state.error is None
        if idle and self._session.is_open and listing.age > FRESH:
            self.refresh()
        return listing.known()

    def find(self, listing: CachedList[V], noun: str, reference: str, *, known: bool = False) -> V:
        """The item of that reference, `name` (its latest version) or `name:version`. One that is not known here is looked for in the
        service, unless `known`. Raises NotFound."""
        name, version = parse_reference(reference, noun)
        for from_service in (False, True):
            if from_service and (known or not self._session.is_open):
                break
            items = listing.fetch() if from_service else self.known(listing)
            if matches := [item for item in items if item.name == name and version in (None, item.version)]:
                return max(matches, key=lambda item: item.version)
        raise NotFound(f"There is no {noun} called “{reference}”.", f"The {noun} list shows what is registered.")

"""The lists of one workspace, and the one thread that signs in and fetches them for a dashboard."""

from __future__ import annotations

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
from services.domain import Dataset, Environment, FileDataset, Model, TabularDataset, parse_reference, utc_now
from services.errors import NotFound, StudioError
from services.remote import ComputeTarget, ConnectionState, Datastore

FRESH = timedelta(seconds=60)
"""How old a list may be before it is fetched again."""

T = TypeVar("T")


class _Versioned(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=_Versioned)


class WorkspaceCache:
    """`blocking` ones (the command line's) fetch a list when it is asked for. The dashboard's are not: they tell what is known, and fetch
    in the background."""

    def __init__(self, session: Session, folder: Path, models: Models, datasets: Datasets, *, blocking: bool) -> None:
        self._session, self._blocking = session, blocking
        self._background = threading.Lock()  # held while the thread is at work
        self._state = ConnectionState(False, False)

        def known_datasets() -> list[Dataset]:
            return datasets.all(self.datasets.known())

        self.models = CachedList(folder / "models.json", models.all, _model)
        self.datasets: CachedList[Dataset] = CachedList(folder / "datasets.json", known_datasets, _dataset)

        def known_environments() -> list[Environment]:  # when they were made isn't told: when they were first seen is
            seen = {(one.name, one.version): one.created_at for one in self.environments.known()}
            return [
                replace(one, created_at=seen.get((one.name, one.version), one.created_at)) for one in environments.environments(session)
            ]

        self.environments = CachedList(folder / "environments.json", known_environments, lambda value: Environment(**value))
        self.compute_targets = CachedList(folder / "computes.json", lambda: computes.compute_targets(session), lambda v: ComputeTarget(**v))
        self.datastores = CachedList(folder / "datastores.json", lambda: computes.datastores(session), lambda v: Datastore(**v))

    def _all(self) -> tuple[CachedList[Any], ...]:
        return self.models, self.datasets, self.compute_targets, self.environments, self.datastores

    def state(self) -> ConnectionState:
        oldest = max(listing.age for listing in self._all())
        listed_at = None if oldest > NEVER / 2 else utc_now() - oldest
        return replace(self._state, is_open=self._session.is_open, listed_at=listed_at)

    def say(self, message: str) -> None:
        """What a person should know while something goes on."""
        self._state = replace(self._state, message=message)

    def refresh(self, after: float = 0) -> None:
        """Sign in where that is to be done, and fetch all, in a thread, unless one is at it; `after` so many seconds."""
        if self._background.acquire(blocking=False):
            self._state = replace(self._state, opening=not self._session.is_open, listing=True, error=None, message="")
            thread = threading.Timer(after, self._fetch)
            thread.name, thread.daemon = "azure-lists", True
            thread.start()

    def _fetch(self) -> None:
        error: StudioError | None = None
        try:
            self._session.workspace  # noqa: B018 - signs in
            self._state = replace(self._state, opening=False, message="")
            for listing in self._all():
                changed = listing.known() != listing.fetch()
                self._state = replace(self._state, lists=self._state.lists + 1, changes=self._state.changes + changed)
        except StudioError as known:
            error = known
        except Exception as unknown:  # noqa: BLE001 - a thread has nobody else to tell
            text = f"The workspace could not be opened: {type(unknown).__name__} {unknown}"
            error = StudioError(text, "This is a fault of the program.")
        finally:
            self._state = replace(self._state, opening=False, listing=False, message="", error=error)
            self._background.release()

    def known(self, listing: CachedList[T]) -> list[T]:
        if self._blocking:
            return listing.current(FRESH)
        if listing.age > FRESH and self._session.is_open and self._state.error is None:
            self.refresh()
        return listing.known()

    def one(self, listing: CachedList[V], noun: str, reference: str, *, known: bool = False) -> V:
        """The thing of that reference. Where it is not known, what the service says now counts, unless `known`. Raises NotFound."""
        name, version = parse_reference(reference, noun)
        for ask in (False, True):
            if ask and (known or not self._session.is_open):
                break
            things = listing.fetch() if ask else self.known(listing)
            if found := [thing for thing in things if thing.name == name and version in (None, thing.version)]:
                return max(found, key=lambda thing: thing.version)
        raise NotFound(f"There is no {noun} called “{reference}”.", f"The {noun} list shows what is registered.")


def _model(value: dict[str, Any]) -> Model:
    return Model(**value | {"imports": tuple(value["imports"])})


def _dataset(value: dict[str, Any]) -> Dataset:
    if value.pop("type") == TabularDataset.type:
        return TabularDataset(**value | {"columns": tuple(map(tuple, value["columns"]))})
    return FileDataset(**value)

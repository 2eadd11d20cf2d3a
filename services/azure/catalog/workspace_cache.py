"""The cached lists of one workspace, and the one thread that signs in and fetches them for a dashboard."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from services import log
from services.azure.catalog.datasets import Datasets
from services.azure.sdk import Sdk
from services.domain import Dataset, Environment, Model, ResourceKind, parse_reference, utc_now
from services.errors import NotFound, StudioError
from services.remote import ComputeTarget, ConnectionState, Datastore
from services.storage.atomic import write_atomically
from services.storage.serialization import from_builtins, to_builtins

FRESH = timedelta(seconds=60)
"""How old a list may be before it is fetched again."""

NEVER = timedelta(days=36_500)

T = TypeVar("T")
V = TypeVar("V", Model, Dataset, Environment)

logger = logging.getLogger(__name__)


class CachedList(Generic[T]):
    """One list of the workspace's contents (models, say): fetched, kept in memory and in a file, with its age.

    The file is for the first page after a start, which never waits for the network. Safe to use from several threads: one lock guards
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

    def add(self, item: T) -> T:
        """Something just registered, which it returns; the newest comes first."""
        self._edit(lambda items: [item, *items])
        return item

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


class WorkspaceCache:
    """The lists of one workspace. Safe to use from several threads: one lock guards the state.

    A `blocking` one (the command line's) fetches a list when it is needed. The dashboard's is not: it answers with what is known, and
    fetches in the background.
    """

    def __init__(self, sdk: Sdk, folder: Path, datasets: Datasets, *, blocking: bool) -> None:
        self._session, self._blocking = sdk.session, blocking
        self._lock = threading.Lock()
        self._state = ConnectionState(False, False)  # its `listing` says whether the thread is at work
        self._refresh_again = False

        def environments() -> list[Environment]:
            """Curated ones last. Azure ML does not say when one was made: `created_at` is when it was first seen."""
            first_seen = {known.reference: known.created_at for known in self.environments.known()}
            listed = sorted(sdk.environments.all(), key=lambda one: (one.name.startswith(("AzureML-", "Microsoft")), one.name.lower()))
            return [replace(one, created_at=first_seen.get(one.reference, one.created_at)) for one in listed]

        def targets() -> list[ComputeTarget]:  # those that can run a ParallelRunStep first
            return sorted(sdk.computes.targets(), key=lambda target: (not target.usable, target.name))

        def datastores() -> list[Datastore]:
            return sorted(sdk.computes.datastores(), key=lambda store: (not store.is_default, store.name))

        self.models = CachedList(folder / "models.json", sdk.models.all, Model)
        self.datasets: CachedList[Dataset] = CachedList(folder / "datasets.json", lambda: datasets.all(self.datasets.known()), Dataset)
        self.environments = CachedList(folder / "environments.json", environments, Environment)
        self.compute_targets = CachedList(folder / "computes.json", targets, ComputeTarget)
        self.datastores = CachedList(folder / "datastores.json", datastores, Datastore)

    def of(self, kind: ResourceKind) -> CachedList[Any]:
        """The list of models, datasets or environments."""
        lists: dict[ResourceKind, CachedList[Any]] = {ResourceKind.MODEL: self.models, ResourceKind.DATASET: self.datasets}
        return lists.get(kind, self.environments)

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
            self._session.client  # noqa: B018 - signs in
            self._update(opening=False, message="")
            for listing in self._all():
                changed = listing.known() != listing.fetch()
                with self._lock:
                    self._state = replace(self._state, lists=self._state.lists + 1, changes=self._state.changes + changed)
        except Exception as error:  # only the state can show it
            logger.warning("The lists can't be fetched: %s", error, exc_info=error)
            text = f"The workspace could not be opened: {type(error).__name__} {error}"
            return error if isinstance(error, StudioError) else StudioError(text, "This is a fault of the program.")
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

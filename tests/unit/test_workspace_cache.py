"""The cached lists of an Azure ML workspace: answered from what is known, or fetched; and several threads at once."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from services.azure.catalog import workspace_cache
from services.azure.catalog.datasets import Datasets
from services.azure.catalog.workspace_cache import CachedList, WorkspaceCache
from services.azure.sdk_v1.session import Session
from services.azure.sdks import sdk_of
from services.connection import Connection
from services.domain import Environment, utc_now
from services.errors import NotFound


def environment(version: int) -> Environment:
    return Environment("e", version, "conda", "3.11", {}, utc_now())


def environment_list(folder, fetch) -> CachedList[Environment]:
    return CachedList(folder / "environments.json", fetch, Environment)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Of a session that is open. Nothing is registered; `cache.fetches` counts what was asked, list by list."""
    monkeypatch.setattr(Session, "is_open", True)
    monkeypatch.setattr(Session, "client", object())
    sdk = sdk_of(Connection("s", "g", "w"))
    cache = WorkspaceCache(sdk, tmp_path, Datasets(sdk, tmp_path), blocking=False)
    cache.fetches = []
    for number, listing in enumerate(cache._all()):
        monkeypatch.setattr(listing, "_fetch", lambda number=number: cache.fetches.append(number) or [])
    return cache


@pytest.fixture
def held():
    """`held(function)` is the function, held on its first call: `started` is then set, and it goes on with `release`."""
    events: list[threading.Event] = []

    def hold(function):
        gate = SimpleNamespace(started=threading.Event(), release=threading.Event())
        events.append(gate.release)

        def call(*given, **named):
            first, _ = not gate.started.is_set(), gate.started.set()
            if first:
                assert gate.release.wait(60)
            return function(*given, **named)

        gate.call = call
        return gate

    yield hold
    for event in events:
        event.set()


def wait_until_idle(cache) -> None:
    deadline = time.monotonic() + 60
    while cache.state().listing:
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- known, or fetched -------------------------------------------------------------------------------------------------------------


def test_an_unknown_version_is_fetched_unless_the_known_will_do(cache, tmp_path):
    answers = [[environment(1)], [environment(1), environment(2)]]
    listing = environment_list(tmp_path, lambda: answers.pop(0))
    listing.fetch()
    assert cache.find(listing, "environment", "e", known=True).version == 1
    with pytest.raises(NotFound):
        cache.find(listing, "environment", "e:2", known=True)
    assert len(answers) == 1
    assert cache.find(listing, "environment", "e:2").version == 2


# ---- several threads ---------------------------------------------------------------------------------------------------------------


def test_a_refresh_during_the_last_fetch_is_not_lost(cache, held, monkeypatch):
    last = held(cache.datastores._fetch)
    monkeypatch.setattr(cache.datastores, "_fetch", last.call)
    cache.refresh()
    assert last.started.wait(60)
    cache.refresh()
    cache.refresh()
    last.release.set()
    wait_until_idle(cache)
    assert sorted(cache.fetches) == sorted([*range(5)] * 2)


def test_a_message_set_while_a_list_is_counted_is_kept(cache, held, monkeypatch):
    count_list = held(workspace_cache.replace)

    def replace(state, **changes):
        return (count_list.call if changes.get("lists") == 1 else count_list.plain)(state, **changes)

    count_list.plain = workspace_cache.replace
    monkeypatch.setattr(workspace_cache, "replace", replace)
    last = held(cache.datastores._fetch)
    monkeypatch.setattr(cache.datastores, "_fetch", last.call)
    cache.refresh()
    assert count_list.started.wait(60)
    thread = threading.Thread(target=cache.set_message, args=["Uploading m"])
    thread.start()
    thread.join(0.1)  # it waits for the lock
    count_list.release.set()
    thread.join(60)
    assert last.started.wait(60)
    state = cache.state()
    assert (state.message, state.lists) == ("Uploading m", 4)
    last.release.set()
    wait_until_idle(cache)


def test_what_is_registered_during_a_fetch_stays_in_the_list(tmp_path, held):
    answers = [[environment(1)], [environment(2), environment(1)]]
    fetch = held(lambda: answers.pop(0))
    listing = environment_list(tmp_path, fetch.call)
    thread = threading.Thread(target=listing.fetch)
    thread.start()
    assert fetch.started.wait(60)
    listing.add(environment(2))
    fetch.release.set()
    thread.join(60)
    assert [known.version for known in listing.known()] == [2, 1]
    assert [known.version for known in environment_list(tmp_path, list).known()] == [2, 1]

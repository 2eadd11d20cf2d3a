"""The lists of an Azure ML workspace: what is told from what is known, and what is asked."""

from __future__ import annotations

import pytest

from services.azure.auth.session import Session
from services.azure.catalog.cached_list import CachedList
from services.azure.catalog.datasets import Datasets
from services.azure.catalog.models import Models
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.connection import Connection
from services.domain import Environment, utc_now
from services.errors import NotFound


def test_what_is_not_among_the_known_is_asked_for_unless_the_known_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "is_open", True)
    session, asked = Session(Connection("s", "g", "w")), []
    lists = WorkspaceCache(session, tmp_path, Models(session), Datasets(session, tmp_path), blocking=False)
    old, new = (Environment("e", version, "conda", "3.11", {}, utc_now()) for version in (1, 2))

    def fetch() -> list[Environment]:
        asked.append("once")
        return [old, new] if len(asked) > 1 else [old]

    listing = CachedList(tmp_path / "environments.json", fetch, lambda value: Environment(**value))
    listing.fetch()
    assert lists.one(listing, "environment", "e", known=True) == old
    with pytest.raises(NotFound):
        lists.one(listing, "environment", "e:2", known=True)
    assert len(asked) == 1
    assert lists.one(listing, "environment", "e:2") == new

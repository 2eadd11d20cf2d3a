"""Self-check of an Azure ML workspace: sign-in, every list, a cluster that runs can be sent to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from services import formats
from services.azure.auth.session import Session
from services.azure.catalog.cached_list import CachedList
from services.azure.catalog.workspace_cache import WorkspaceCache
from services.errors import StudioError
from services.formats import counted


def checks(home: Path, session: Session, lists: WorkspaceCache) -> Iterator[tuple[str, bool, str]]:
    """Each as (name, whether it passed, details). They call the service, which takes seconds."""
    free = shutil.disk_usage(home).free
    yield "Free disk space", free > 1 << 30, f"{formats.size(free)} for logs and outputs, in {home}"
    try:
        with session.sdk_calls("You are not signed in") as workspace:
            place = workspace.location
    except StudioError as error:
        yield "Signed in", False, f"{error.message} {error.hint}"
        return
    yield "Signed in", True, f"by {session.connection.sign_in}; the workspace is in {place}"
    named: tuple[tuple[str, CachedList[object], str], ...] = (
        ("Models", lists.models, "model version"),  # type: ignore[assignment]
        ("Datasets", lists.datasets, "dataset version"),
        ("Environments", lists.environments, "environment"),
        ("Datastores", lists.datastores, "datastore"),
    )
    for what, listing, noun in named:
        try:
            yield what, True, counted(len(listing.fetch()), noun)
        except StudioError as error:
            yield what, False, f"{error.message} {error.hint}"
    try:
        usable = [target for target in lists.compute_targets.fetch() if target.usable]
    except StudioError as error:
        yield "Compute targets", False, f"{error.message} {error.hint}"
        return
    detail = "; ".join(f"{target.name} ({target.size}, up to {target.max_nodes} nodes)" for target in usable)
    yield "Compute targets", bool(usable), detail or "no cluster: create one in Azure ML studio, under Compute"

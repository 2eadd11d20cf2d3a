"""What people say of a run, in Azure ML: the display name, the description and the tags of its pipeline run, by the SDK's public calls.

The limits are those of https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.azure.run_plan import RUN_TAG
from services.azure.runs.pipeline import description_of
from services.domain import Metadata
from services.errors import SettingsError

MAX_NAME, MAX_NOTE = 256, 5_000
"""Characters."""


def check(note: str | None, tags: Mapping[str, str]) -> None:
    """Raises SettingsError for what Azure ML does not take."""
    if note and len(note) > MAX_NOTE:
        text = f"this note has {len(note):,} characters, and Azure ML takes {MAX_NOTE:,} for a run"
        raise SettingsError("note", text, f"Keep it to {MAX_NOTE:,}.")
    if RUN_TAG in tags:
        raise SettingsError("tags", f"the tag “{RUN_TAG}” is this program’s own on Azure ML", "Choose another key.")


def send(sdk_run: Any, title: str, *, name: str | None = None, note: str | None = None, tags: Mapping[str, str] | None = None) -> None:
    """Set what is given, in as many requests as it has parts; nothing is requested for what is so already. Azure ML has no run without a
    name: "" gives it its `title` again, and a note of "" the description that it was submitted with, which is the title too. A tag whose
    value is "" is removed. Raises what the SDK raises."""
    if name is not None and sdk_run.display_name != (wanted := (name or title)[:MAX_NAME]):
        sdk_run.display_name = wanted
    if note is not None and sdk_run.description != (wanted := note or description_of(title)):
        sdk_run.description = wanted
    known = sdk_run.get_tags() if tags else {}
    if changed := {key: value for key, value in (tags or {}).items() if value and known.get(key) != value}:
        sdk_run.set_tags(changed)
    if gone := [key for key, value in (tags or {}).items() if not value and key in known]:
        sdk_run.remove_tags(gone)


def send_all(sdk_run: Any, title: str, before: Metadata, after: Metadata) -> None:
    """What is in `after` and was not in `before`. Raises as `send`."""
    name = after.name if after.name != before.name else None
    note = after.note if after.note != before.note else None
    tags = {key: value for key, value in after.tags.items() if before.tags.get(key) != value}
    tags |= dict.fromkeys(before.tags.keys() - after.tags.keys(), "")
    send(sdk_run, title, name=name, note=note, tags=tags)

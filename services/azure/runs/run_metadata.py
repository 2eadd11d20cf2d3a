"""What people say of a run, in Azure ML: the display name, the description and the tags of its job."""

from __future__ import annotations

from collections.abc import Mapping

from services.azure.run_history import Job
from services.azure.run_plan import MAX_NOTE, RUN_TAG
from services.domain import Metadata
from services.errors import SettingsError


def check(note: str | None, tags: Mapping[str, str]) -> None:
    """Raises SettingsError for what Azure ML does not take."""
    if note and len(note) > MAX_NOTE:
        text = f"this note has {len(note):,} characters, and Azure ML takes {MAX_NOTE:,} for a run"
        raise SettingsError("note", text, f"Keep it to {MAX_NOTE:,}.")
    if RUN_TAG in tags:
        raise SettingsError("tags", f"the tag “{RUN_TAG}” is this program’s own on Azure ML", "Choose another key.")


def send_all(job: Job, title: str, before: Metadata, after: Metadata) -> None:
    """What is in `after` and was not in `before`. Raises what the SDK raises."""
    name = after.name if after.name != before.name else None
    note = after.note if after.note != before.note else None
    tags = {key: value for key, value in after.tags.items() if before.tags.get(key) != value}
    tags |= dict.fromkeys(before.tags.keys() - after.tags.keys(), "")
    job.describe(title, name=name, note=note, tags=tags)

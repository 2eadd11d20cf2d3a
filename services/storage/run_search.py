"""A RunQuery as SQL over the registry's runs. What is asked of every run stands in one index, so that no search reads their requests.

The status of a run that has not ended, and how long it takes, are known outside of the registry: they are in the temporary table `live`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.domain import Metadata, ResourceKind, RunRequest, RunStatus, readable
from services.run_query import RunQuery

_ENDED = [status for status in RunStatus if status.ended]
ENDED = ", ".join(f"'{status}'" for status in _ENDED)
STATUS = f"CASE WHEN status IN ({ENDED}) THEN status ELSE coalesce((SELECT now FROM temp.live l WHERE l.id = runs.id), status) END"
_DURATION = f"CASE WHEN status IN ({ENDED}) THEN seconds ELSE (SELECT seconds FROM temp.live l WHERE l.id = runs.id) END"
COUNTS = ", ".join(f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in _ENDED)
"""How many ended in each way. Not by GROUP BY, which sorts them all."""

_SORTS = {
    "submitted_at": "submitted_at", "name": "folded_name", "status": STATUS, "model": "nullif(models, '')", "dataset": "datasets",
    "script": "script", "duration": _DURATION, "items_total": "items_total", "items_succeeded": "items_succeeded",
    "items_failed": "items_failed",
}  # fmt: skip

COLUMNS = {
    "id": "id", "name": "title", "status": STATUS, "model": "models", "dataset": "datasets", "script": "script", "tags": "tags",
    "note": "note", "submitted_at": "submitted_at", "duration": _DURATION, "items_failed": "items_failed",
}  # fmt: skip
"""SQL: each of RUN_COLUMNS."""


def search_columns(run_id: str, request: RunRequest, said: Metadata) -> dict[str, str]:
    """The columns by which a run is found: of its request, and of what people said of it."""
    name = " ".join((said.name or request.title()).split())
    marks = [f"{key}={value}" for key, value in said.tags.items()]
    found_by = "\n".join((name, run_id, *request.models, *request.datasets, request.script_name, said.note, *marks))
    columns = {
        "models": "\n".join(request.models), "datasets": "\n".join(request.datasets), "script": request.script_name,
        "environment": request.environment or "", "title": said.name or request.title(),
        "folded_name": name.casefold(), "found_by": found_by.casefold(),
    }  # fmt: skip
    return {column: readable(text) for column, text in columns.items()}


def condition(query: RunQuery) -> tuple[str, dict[str, Any]]:
    """Which runs, whatever their status is, and the values that the SQL speaks of."""
    values: dict[str, Any] = {}

    def value(given: object) -> str:
        values[f"v{len(values)}"] = given
        return f":v{len(values) - 1}"

    parts = [] if query.archived else ["NOT archived"]
    if query.ids is not None:
        parts.append(f"id IN (SELECT value FROM json_each({value(json.dumps(query.ids))}))")
    parts += [f"instr(found_by, {value(readable(word).casefold())})" for word in query.text.split()]
    for kind, wanted in ((ResourceKind.MODEL, query.model), (ResourceKind.DATASET, query.dataset)):
        if wanted:
            exact, any_version, after = value(wanted), value(f"{wanted}:"), value(f"{wanted};")  # the character after the colon
            named = f"(reference = {exact} OR (reference >= {any_version} AND reference < {after}))"
            parts.append(f"id IN (SELECT run FROM run_links WHERE kind = '{kind}' AND {named})")
    for key, tag in query.tags.items():
        same = f" AND t.value = {value(tag)}" if tag else ""
        may_have = f"instr(tags, {value(json.dumps(key))})"  # quick, and true of all that do
        parts.append(f"{may_have} AND EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.key = {value(key)}{same})")
    if query.since:
        parts.append(f"submitted_at >= {value(query.since)}")
    if query.until:
        parts.append(f"submitted_at < {value(query.until)}")
    return " AND ".join(parts) or "true", values


def with_statuses(statuses: Sequence[RunStatus]) -> str:
    """Those whose status now is one of these; all where none is named."""
    names = ", ".join(f"'{status}'" for status in statuses)
    return f"{STATUS} IN ({names})" if names else "true"


def order(query: RunQuery) -> str:
    key = _SORTS[query.sort]
    direction = "DESC" if query.descending else "ASC"
    if query.sort == "submitted_at":
        return f"pinned DESC, submitted_at {direction}, id {direction}"
    return f"pinned DESC, {key} {direction} NULLS LAST, submitted_at DESC, id DESC"

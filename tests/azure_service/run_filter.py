"""The filters and orders of run queries, as azureml/_restclient/_odata writes them: `(ParentRunId eq null) and (Tags/stage eq a b)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.azure_service.routes import Refusal

Run = dict[str, Any]
_COMPARISON = re.compile(r"(\S+) (eq|ne|ge|gt|le|lt) (.*)", re.DOTALL)
_FIELDS = {
    "parentrunid": "parentRunId",
    "rootrunid": "rootRunId",
    "runid": "runId",
    "name": "name",
    "status": "status",
    "target": "target",
    "runtype": "runType",
    "createdutc": "createdUtc",
    "starttimeutc": "startTimeUtc",
}


def run_filter(text: str | None) -> Callable[[Run], bool]:
    """Whether a run is asked for. Raises Refusal for what the grammar doesn't have."""
    if not text:
        return lambda run: True
    text = text.strip()
    while text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    for operator, joined in ((" or ", any), (" and ", all)):
        parts = _split(text, operator)
        if len(parts) > 1:
            filters = [run_filter(part) for part in parts]
            return lambda run: joined(condition(run) for condition in filters)
    return _comparison(text)


def _comparison(text: str) -> Callable[[Run], bool]:
    match = _COMPARISON.fullmatch(text)
    if not match:
        raise Refusal(400, "UserError", f"Invalid filter: {text}")
    name, operator, value = match[1], match[2], match[3].strip("'\"")
    read = _reader(name)
    if operator in ("eq", "ne"):
        wanted = None if value == "null" else value
        return lambda run: (read(run) == wanted) is (operator == "eq")
    compare = {"ge": str.__ge__, "gt": str.__gt__, "le": str.__le__, "lt": str.__lt__}[operator]
    return lambda run: compare(str(read(run) or ""), value.replace(" ", "T"))


def _reader(name: str) -> Callable[[Run], Any]:
    group, slash, key = name.partition("/")
    if slash and group.lower() in ("tags", "properties"):
        return lambda run: run[group.lower()].get(key)
    if name.lower() not in _FIELDS:
        raise Refusal(400, "UserError", f"Runs can't be filtered or ordered by {name}")
    return lambda run: run.get(_FIELDS[name.lower()])


def in_order(runs: list[Run], orderby: str | list[str] | None) -> list[Run]:
    """By the first order that is given; newest first without one."""
    first = orderby[0] if isinstance(orderby, list) and orderby else orderby or "CreatedUtc desc"
    name, _, direction = str(first).partition(" ")
    read = _reader(name)
    return sorted(runs, key=lambda run: (str(read(run) or ""), run["createdUtc"]), reverse=direction.strip().lower() == "desc")


def _closing(text: str) -> int:
    depth = 0
    for position, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return position
    return -1


def _split(text: str, operator: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and text.startswith(operator, position):
            parts.append(text[start:position])
            start = position + len(operator)
    return [*parts, text[start:]]

"""Dataclasses as JSON and back: what is kept in the registry, in a run's folder and in the lists of a workspace elsewhere.

Fields that are missing in the JSON get their defaults and unknown ones are left out, so that what another version wrote can be read. The
text itself is written and read by the standard library: msgspec's own JSON refuses the lone surrogates of undecodable file names.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

import msgspec

from services.domain import Dataset, FileDataset, TabularDataset

T = TypeVar("T")


def to_builtins(value: Any) -> Any:
    """A dataclass as dicts, lists, texts and numbers; times as RFC 3339. A dataset says its type."""
    values = msgspec.to_builtins(value)
    return values | {"type": value.type} if isinstance(value, Dataset) else values


def from_builtins(values: Any, cls: type[T]) -> T:
    """What `to_builtins` made such values of. `Dataset` gives the class of its type. Raises ValueError where a field is missing or of
    another type, and what the dataclass itself raises."""
    if cls is Dataset:
        return cast(T, msgspec.convert(values, TabularDataset if values.get("type") == TabularDataset.type else FileDataset))
    return msgspec.convert(values, cls)


def to_json(value: Any, indent: int | None = None) -> str:
    """A dataclass as JSON, in ASCII."""
    return json.dumps(to_builtins(value), indent=indent)


def from_json(text: str | bytes, cls: type[T]) -> T:
    """What `to_json` made such a text of. Raises as `from_builtins`, and ValueError for what is not JSON."""
    return from_builtins(json.loads(text), cls)

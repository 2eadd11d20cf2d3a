"""YAML that others wrote, read without executing anything and without aliases: a few lines of them become gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.errors import IntakeError
from services.storage.file_tree import reading

_LARGEST = 1 << 22  # bytes: the signature of 30,000 columns has two million


def read_yaml(path: Path, what: str, hint: str) -> Any:
    """The values of a small file; `what` it is, in a sentence, `hint` what to do where it can't be read. Raises IntakeError, NotFound."""
    with reading(path) as source:
        content = source.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise IntakeError(f"{what} can't be read: it is larger than {_LARGEST >> 20} MB.", hint)
    return parse_yaml(content, what, hint)


def parse_yaml(content: str | bytes, what: str, hint: str, *, nodes: bool = False) -> Any:
    """The values of a text, or its nodes, which know their lines and are not made values of. Raises IntakeError as `read_yaml`."""
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"line {self.peek_event().start_mark.line + 1} repeats another part by an alias (*)")
            return super().compose_node(parent, index)

    try:
        return yaml.compose(content, Loader) if nodes else yaml.load(content, Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
        too_deep = isinstance(error, RecursionError)
        reason = "it is nested too deep" if too_deep else " ".join(str(error).split())[:200] or type(error).__name__
        raise IntakeError(f"{what} can't be read: {reason}.", hint) from error

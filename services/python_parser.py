"""Python's parser, for one thread at a time. CPython 3.11 counts how deep a syntax tree is for all threads together, and raises SystemError
(“AST constructor recursion depth mismatch”) in one of two that build trees at once: https://github.com/python/cpython/issues/106905."""

from __future__ import annotations

import ast
from threading import Lock
from typing import Any

_ONE_AT_A_TIME = Lock()


def parse(text: str) -> ast.Module:
    """The tree of a module that compiles. Raises as `ast.parse` and `compile`."""
    with _ONE_AT_A_TIME:
        tree = ast.parse(text)
        compile(tree, "script", "exec", dont_inherit=True)  # finds what parsing lets pass, such as a return outside a function
    return tree


def literal(text: str) -> Any:
    """The value of a literal. Raises as `ast.literal_eval`."""
    with _ONE_AT_A_TIME:
        return ast.literal_eval(text)

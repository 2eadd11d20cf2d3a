"""A built-in scorer with its choices as one file of Python, to be read, changed and used like any other script."""

from __future__ import annotations

import ast
from pathlib import Path

from services.python_parser import parse
from services.scoring.scorers import DATAFRAME_HEADER, Scorer, ScorerOptions

_HEAD = '''\
"""{title}: a script of your own, made from the built-in {name}.py.

It needs no other file: what {name}.py imports from beside itself follows as text. The choices are in CHOICES; arguments of the run come
after them and win. Its rows are DataFrames: give the run the arguments {header} to have their column names in its output.
"""

import sys
import types

CHOICES = {choices}

sys.argv[1:1] = CHOICES
'''
_MODULE = """

def _module(name, source):
    \"\"\"Make what `import name` finds of its text.\"\"\"
    module = types.ModuleType(name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
    sys.modules[name] = module
"""


def standalone_script(scorer: Scorer, options: ScorerOptions) -> str:
    """The source of a scoring script that does what the scorer does with these choices, and needs no file beside it."""
    arguments = options.arguments(scorer)
    if arguments[-2:] == DATAFRAME_HEADER:
        arguments = arguments[:-2]
    choices = "[\n" + "".join(f"    {argument!r},\n" for argument in _ascii(arguments)) + "]" if arguments else "[]"
    source = scorer.path.read_text("utf-8")
    parts = [_HEAD.format(title=scorer.title, name=scorer.name, header=" ".join(DATAFRAME_HEADER), choices=choices)]
    siblings = _siblings(scorer.path)
    if siblings:
        parts.append(_MODULE)
    parts += [f"\n\n_module(\n    {path.stem!r},\n    {_quoted(path.read_text('utf-8'))},\n)\n" for path in siblings]
    return "".join(parts) + f"\n\n# ---- {scorer.name}.py {'-' * max(4, 120 - len(scorer.name))}\n\n" + source


def _ascii(arguments: tuple[str, ...]) -> list[str]:
    return [argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for argument in arguments]


def _siblings(script: Path) -> list[Path]:
    """The modules beside a script that it imports, each after those that it imports itself."""
    found: list[Path] = []

    def visit(path: Path) -> None:
        for name in _imported(path):
            beside = script.with_name(f"{name}.py")
            if beside.is_file() and beside not in found and beside != path:
                visit(beside)
                found.append(beside)

    visit(script)
    return found


def _imported(path: Path) -> list[str]:
    nodes = list(ast.walk(parse(path.read_text("utf-8"))))
    plain = [alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]


def _quoted(source: str) -> str:
    """A text as Python reads it, on lines of its own where that can be: in raw quotes."""
    for quotes in ("'''", '"""'):
        if quotes not in source and not source.endswith(("\\", quotes[0])):
            return f"r{quotes}{source}{quotes}"
    return "(\n" + "".join(f"        {line!r}\n" for line in source.splitlines(keepends=True)) + "    )"

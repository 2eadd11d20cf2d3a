"""The map and the import graphs in docs/architecture.md, made from the code: `make map`. With --check it only says whether they are so.

The map has the first sentence of each module's docstring. An arrow is at least one import, those inside functions and those for types
included. An arrow that follows from others is left out: the rooms then stand in the order that the layers in pyproject.toml ask for.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
ROOMS = ("services.predictions", "services.local", "services.azure")


def edges(graph: grimp.ImportGraph, modules: Iterable[str]) -> dict[str, set[str]]:
    """Which of these modules, each with all that is below it, import which others."""
    names = sorted(modules)
    graph = _squashed(graph, names)
    return {name: graph.find_modules_directly_imported_by(name) & set(names) - {name} for name in names}


def _squashed(graph: grimp.ImportGraph, names: list[str]) -> grimp.ImportGraph:
    for name in names:
        graph.squash_module(name)
    return graph


def reduced(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others. There must be no cycle."""

    def reached(name: str) -> set[str]:
        return imports[name].union(*map(reached, imports[name]))

    def follows(other: str, others: set[str]) -> bool:
        return any(other in reached(via) for via in others - {other})

    return {name: {other for other in others if not follows(other, others)} for name, others in imports.items()}


def drawing(title: str, imports: dict[str, set[str]], prefix: str) -> str:
    """A Mermaid flowchart, which code hosts draw as a picture."""
    arrows = [(name.removeprefix(prefix), other.removeprefix(prefix)) for name, others in imports.items() for other in sorted(others)]
    lines = "".join(f"    {name} --> {other}\n" for name, other in arrows)
    return f"**{title}**\n\n```mermaid\nflowchart TD\n{lines}```\n"


def drawings() -> str:
    """All of them: the rooms of `services` with `pages`, then the modules of each large room."""

    def built() -> grimp.ImportGraph:
        return grimp.build_graph("services", "pages", cache_dir=None)

    graph = built()
    parts = [drawing("The rooms", reduced(edges(built(), ["pages", *graph.find_children("services")])), "services.")]
    for room in ROOMS:
        title = f"`{room.replace('.', '/')}`"
        parts.append(drawing(title, reduced(edges(built(), _modules(graph, room))), f"{room}."))
    return "\n".join(parts)


def _modules(graph: grimp.ImportGraph, room: str) -> list[str]:
    return [name for name in graph.find_descendants(room) if not graph.find_children(name) and "entry_script." not in name]


def module_map() -> str:
    """A list of every room with its modules, each with the first sentence of its docstring."""
    lines = []
    for room in sorted({path.parent for name in ("services", "pages", "batch_scripts") for path in (ROOT / name).rglob("*.py")}):
        if "entry_script" in room.parts:
            continue  # what entry scripts import: not this program's modules
        init = room / "__init__.py"
        lines.append(f"\n**`{room.relative_to(ROOT).as_posix()}/`** {_summary(init) if init.exists() else ''}".rstrip() + "\n")
        lines += [f"- `{path.name}` {_summary(path)}" for path in sorted(room.glob("*.py")) if path != init]
    return "\n".join(lines).strip() + "\n"


def _summary(path: Path) -> str:
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.)\s+(?=[A-Z`])", text, maxsplit=1)[0]


def document() -> str:
    """docs/architecture.md with the parts that are made from the code as they are now."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for part, made in (("map", module_map()), ("import graph", drawings())):
        begin, end = f"<!-- {part}: begin -->\n", f"<!-- {part}: end -->\n"
        text = f"{text[: text.index(begin) + len(begin)]}\n{made}\n{text[text.index(end) :]}"
    return text


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if document() == DOCUMENT.read_text(encoding="utf-8") else "docs/architecture.md is not current: run `make map`")
    DOCUMENT.write_text(document(), encoding="utf-8")

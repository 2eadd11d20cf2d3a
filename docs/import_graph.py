"""The import graph in docs/architecture.md, drawn from the code: `make graph`. With --check it only says whether the picture is current.

An arrow is at least one import, those inside functions and those for types included. An arrow that follows from others is left out: the
rooms then stand in the order that the layers in pyproject.toml ask for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import grimp

DOCUMENT = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- import graph: begin -->\n", "<!-- import graph: end -->\n"
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


def document() -> str:
    """docs/architecture.md with the drawings as they are now."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return f"{text[: text.index(BEGIN) + len(BEGIN)]}\n{drawings()}\n{text[text.index(END) :]}"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if document() == DOCUMENT.read_text(encoding="utf-8") else "docs/architecture.md is not current: run `make graph`")
    DOCUMENT.write_text(document(), encoding="utf-8")

"""The commands about what models are: model inspect."""

from __future__ import annotations

import argparse
from typing import Any

from services.cli.output import Answer, labelled, metadata_lines, safe
from services.domain import Metadata, ModelCard, ModelInput, ResourceKind
from services.workspace import Workspace


def inspect_model(workspace: Workspace, args: argparse.Namespace) -> Answer:
    model = workspace.model(args.model)
    card = workspace.inspect_model(model.reference, args.environment)
    said = workspace.resources.metadata(ResourceKind.MODEL, model.reference).get(model.reference, Metadata())
    lines = [f"Model           {model}", *metadata_lines(said), *card_lines(card)]
    return Answer({"reference": model.reference, "note": said.note, "tags": dict(said.tags), **card_value(card)}, lines)


def card_value(card: ModelCard) -> dict[str, Any]:
    """A card by ModelCard's names; `shape` only where an input has one, with null for what is open."""
    inputs = [{"name": i.name, "type": i.type, **({"shape": list(i.shape)} if i.shape else {})} for i in card.inputs]
    return {**vars(card), "takes": [kind.value for kind in card.takes], "inputs": inputs}


def card_lines(card: ModelCard) -> list[str]:
    more = len(card.inputs) - 30
    inputs = [safe(describe_input(one)) for one in card.inputs[:30]] + ([f"and {more:,} more"] if more > 0 else [])
    probabilities = "" if card.has_probabilities is None else "yes" if card.has_probabilities else "no"
    return labelled(
        ("Format", card.format),
        ("Made with", safe(f"{card.framework} {card.framework_version}".strip())),
        ("Python", safe(card.python_version)),
        ("Task", safe(card.task)),
        ("Takes", ", ".join(card.takes)),
        ("Columns", "" if card.feature_count is None else f"{card.feature_count:,}"),
        ("Inputs", "\n".join(inputs)),
        ("Classes", safe(", ".join(card.classes))),
        ("Probabilities", probabilities),
        ("Needs", safe(", ".join(card.requirements))),
        ("Scorer settings", safe(", ".join(f"{name} {value}" for name, value in card.scorer_defaults.items()))),
        ("Loaded in", "" if card.inspected_in is None else safe(card.inspected_in) or "this program's own environment"),
        ("Warnings", "\n".join(map(safe, card.warnings))),
        ("Notes", "\n".join(map(safe, card.notes))),
    )


def describe_input(one: ModelInput) -> str:
    """`age: number`, `X: tensor (any, 3, 224, 224)`."""
    shape = f" ({', '.join('any' if size is None else str(size) for size in one.shape)})" if one.shape else ""
    return f"{one.name}: {one.type}{shape}" if one.type or shape else one.name

"""What a model's file tells of it: format, version, inputs, classes. Read, never executed; hostile until looked at."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from services.domain import Environment, ItemKind, ModelCard
from services.intake.model_files import ModelContent

READER = "file, 1"
"""Where a card comes from that was read by this module. The number changes with what is read, so that older cards are made anew."""

_FORMATS = (
    ("ONNX", "onnx"), ("XGBoost", "xgboost"), ("LightGBM", "lightgbm"), ("CatBoost", "catboost"), ("Keras", "keras"), ("skops", "skops"),
    ("joblib", "scikit-learn"), ("pickle", "scikit-learn"),
)  # fmt: skip

_TYPES = {name: kind for name, kind in get_type_hints(ModelCard).items() if name != "inspected_in"}


def read_card(path: Path, content: ModelContent) -> ModelCard:
    """What the file or folder at `path` tells, which is of this content. Bounded in time and memory. Raises IntakeError where it can't be
    read."""
    format_ = next((name for kind, name in _FORMATS if content.kind.startswith(kind)), "unknown")
    return ModelCard(format_, feature_count=content.features, takes=(ItemKind.TABLE_ROW, ItemKind.ROW_FILE) if content.features else ())


def with_inspection(card: ModelCard, described: Mapping[str, Any], environment: Environment) -> ModelCard:
    """The card with what the loaded model said of itself in a process of that environment, by ModelCard's names. Of that only what is of
    the right type counts: a model may say anything."""
    known: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        with suppress(msgspec.ValidationError):
            value = msgspec.convert(described.get(name), kind, strict=False)
            if value not in (None, "", (), {}):
                known[name] = value
    notes = tuple(dict.fromkeys((*card.notes, *known.pop("notes", ()))))
    defaults = {**known.pop("scorer_defaults", {}), **card.scorer_defaults}
    return replace(card, **known, notes=notes, scorer_defaults=defaults, inspected_in=environment.reference)

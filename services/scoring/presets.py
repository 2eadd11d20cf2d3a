"""What a person chose for a model, kept by its name and applied the next time."""

from __future__ import annotations

from dataclasses import replace

from services.errors import SettingsError
from services.scoring.scorers import NO_CHOICES, ScorerOptions
from services.storage.serialization import from_json, to_json
from services.storage.store import Store


class Presets:
    """The presets of one workspace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, model: str) -> ScorerOptions:
        """The choices kept for the model of this name; no choices where there are none, or none that this version understands."""
        try:
            return from_json(text, ScorerOptions) if (text := self._store.preset(model)) else NO_CHOICES
        except (ValueError, SettingsError):
            return NO_CHOICES

    def keep(self, model: str, options: ScorerOptions) -> None:
        """Keep these choices in place of those before. The scorer isn't kept: it follows from the dataset."""
        self._store.keep_preset(model, to_json(replace(options, scorer="")))

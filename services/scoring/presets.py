"""What is kept to be chosen again: the last choices for a model, applied by themselves, and settings of runs under names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.errors import NotFound, SettingsError
from services.file_names import short
from services.scoring.scorers import NO_CHOICES, ScorerOptions
from services.settings import ParallelRunSettings
from services.storage.serialization import from_json, to_json
from services.storage.store import Store

LONGEST_NAME = 100  # characters
ON_OR_OFF = ("on", "off")
"""What `--preset` takes beside names."""


@dataclass(frozen=True)
class RunPreset:
    """The settings of a run that are kept under a name: all that `RunRequest` has of this name, but not what is scored, nor by what."""

    settings: ParallelRunSettings = field(default_factory=ParallelRunSettings)
    arguments: tuple[str, ...] = ()
    environment: str | None = None
    compute_target: str | None = None
    allow_reuse: bool = True
    source_directory: str | None = None
    side_inputs: Mapping[str, str] = field(default_factory=dict)


class Presets:
    """The presets of one workspace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # ---- of a model: what was chosen last ----------------------------------------------------------------------------------------

    def of(self, model: str) -> ScorerOptions:
        """The choices kept for the model of this name; no choices where there are none, or none that this version understands."""
        try:
            return from_json(text, ScorerOptions) if (text := self._store.preset(model)) else NO_CHOICES
        except (ValueError, SettingsError):
            return NO_CHOICES

    def keep(self, model: str, options: ScorerOptions) -> None:
        """Keep these choices in place of those before. The scorer isn't kept: it follows from the dataset."""
        self._store.keep_preset(model, to_json(replace(options, scorer="")))

    # ---- by name: settings of runs -----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names under which settings are kept, sorted."""
        return list(self._store.run_presets())

    def named(self, name: str) -> RunPreset:
        """The settings that are kept under this name. Raises NotFound; SettingsError where they are none that this version understands."""
        kept = self._store.run_presets(name)
        if name not in kept:
            raise NotFound(f"There is no preset called “{short(name)}”.", "It may have been renamed or deleted.")
        try:
            return from_json(kept[name], RunPreset)
        except (ValueError, SettingsError) as error:
            text = f"the preset “{short(name)}” can't be read: {error}"
            raise SettingsError("preset", text, "Delete it, and save it again.") from error

    def save(self, name: str, preset: RunPreset) -> str:
        """Keep settings under a name, in place of those that it had; the name as it is kept. Raises SettingsError on `name`."""
        name = _checked(name)
        self._store.keep_run_preset(name, to_json(preset))
        return name

    def rename(self, name: str, new: str) -> str:
        """The new name as it is kept. Raises NotFound, and SettingsError on `name` where it can't be one, or is that of another preset."""
        new = _checked(new)
        self._store.rename_run_preset(name, new)
        return new

    def delete(self, name: str) -> None:
        """Forget what is kept under this name, where there is anything."""
        self._store.remove_run_preset(name)


def _checked(name: str) -> str:
    """The name without blanks around it. Raises SettingsError."""
    name = " ".join(name.split())
    if not name:
        raise SettingsError("name", "the preset has no name", "Give it one, such as: nightly, GPU cluster.")
    if len(name) > LONGEST_NAME:
        raise SettingsError("name", f"“{short(name)}” is too long for a name", f"Use {LONGEST_NAME} characters or fewer.")
    if name in ON_OR_OFF:
        raise SettingsError(
            "name", f"“{name}” is not a name: on the command line it says whether to apply the last choices", "Use another."
        )
    return name

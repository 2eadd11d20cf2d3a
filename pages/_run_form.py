"""New run: what is in its form, as one value: made of a run's request or a preset; made into a request, a preset and an address."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pages._text import displayable
from services.domain import RunRequest
from services.errors import SettingsError
from services.file_names import short
from services.scoring.presets import RunPreset
from services.scoring.scorers import PROBABILITIES, ScorerOptions, scorer_at
from services.settings import TABLE, ParallelRunSettings

NO_MODEL = "No model"
OF_ANY_LENGTH = ("environment_variables", "partition_keys")
IN_ADDRESS = tuple(name for name in TABLE if name not in OF_ANY_LENGTH)
"""The settings that are plain and short; the address has those that differ from their defaults."""

Choice = str | list[str] | bool


@dataclass(frozen=True)
class PrivatePart:
    """What never is in an address, because it may be secret or of any length: each as the widget of this key has it.

    `choices` are the columns and the like for a built-in scorer, by the names of their widgets, and `pair` the model and the dataset that
    they are chosen for. `as_written` is whether the arguments are all that the script gets: nothing that was chosen comes before them."""

    run_name: str = ""
    environment_variables: str = ""
    partition_keys: str = ""
    arguments: str = ""
    as_written: bool = False
    source_directory: str = ""
    side_inputs: str = ""
    more_models: tuple[str, ...] = ()
    more_datasets: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)


PRIVATE_KEYS = tuple(item.name for item in fields(PrivatePart) if item.name not in ("pair", "choices"))


@dataclass(frozen=True)
class RunForm:
    """`model` and `dataset` are references, `script` is its label in the list, and `settings` are the texts of those `IN_ADDRESS` that
    differ from their defaults; "" is what nobody chose."""

    model: str = ""
    dataset: str = ""
    script: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""
    compute_target: str = ""
    allow_reuse: bool = True
    private: PrivatePart = PrivatePart()

    @classmethod
    def from_request(cls, request: RunRequest, script: str, inputs: Sequence[str] = ()) -> RunForm:
        """The form that submits this request. `script` is the label of its script; `inputs` are those of the model, where they are known:
        see `split_input`."""
        scorer = scorer_at(request.entry_script)
        choices: Mapping[str, Choice] = {}
        arguments, as_written = request.arguments, False
        if scorer:
            try:
                options, rest = ScorerOptions.from_arguments(scorer, request.arguments, inputs)
                choices = choices_of(options)
                as_written = (*options_of(choices, scorer.name).arguments(scorer), *rest) != request.arguments
            except (ValueError, SettingsError):
                as_written = True
            choices, arguments = ({}, request.arguments) if as_written else (choices, rest)
        form = cls().with_preset(
            RunPreset(
                request.settings, arguments, request.environment, request.compute_target, request.allow_reuse,
                request.source_directory, request.side_inputs,
            )
        )  # fmt: skip
        private = replace(
            form.private, run_name=request.name, as_written=as_written, more_models=request.models[1:], more_datasets=request.datasets[1:],
            pair=(*request.models[:1], request.datasets[0]) if scorer and request.models else (), choices=choices,
        )  # fmt: skip
        return replace(form, model=next(iter(request.models), NO_MODEL), dataset=request.datasets[0], script=script, private=private)

    def with_preset(self, preset: RunPreset) -> RunForm:
        """This form with the settings of a preset in place of its own."""
        texts = {name: text_of(name, getattr(preset.settings, name)) for name in TABLE}
        changed = {name: texts[name] for name in IN_ADDRESS if getattr(preset.settings, name) != ParallelRunSettings.default(name)}
        private = replace(
            self.private,
            environment_variables=texts["environment_variables"],
            partition_keys=texts["partition_keys"],
            arguments=shlex.join(preset.arguments),
            source_directory=preset.source_directory or "",
            side_inputs=lines_of(preset.side_inputs),
        )
        return replace(
            self, settings=changed, environment=preset.environment or "", compute_target=preset.compute_target or "",
            allow_reuse=preset.allow_reuse, private=private,
        )  # fmt: skip

    # ---- what it makes -----------------------------------------------------------------------------------------------------------

    def setting(self, name: str) -> Any:
        """The value of a setting, as `ParallelRunSettings` takes it. Raises SettingsError for a text that can't be taken apart."""
        if name == "environment_variables":
            return pairs_of(name, self.private.environment_variables) or None
        if name == "partition_keys":
            return keys_of(self.private.partition_keys) or None
        return self.settings.get(name, ParallelRunSettings.default(name))

    def to_preset(self) -> RunPreset:
        """Its settings. Raises SettingsError naming the field."""
        return RunPreset(
            ParallelRunSettings.from_dict({name: self.setting(name) for name in TABLE}),
            words_of(self.private.arguments),
            self.environment or None,
            self.compute_target or None,
            self.allow_reuse,
            self.private.source_directory.strip() or None,
            pairs_of("side_inputs", self.private.side_inputs),
        )

    def to_request(self, entry_script: str, scorer_arguments: Sequence[str] = ()) -> RunRequest:
        """What is submitted: by the script at this path, and with these arguments of a built-in scorer before those that were typed. Raises
        SettingsError naming the field."""
        if not self.model:
            raise SettingsError("model", "No model is chosen", f"Choose one, or “{NO_MODEL}” for a script that needs none.")
        preset, private = self.to_preset(), self.private
        chosen = () if private.as_written else tuple(scorer_arguments)
        return RunRequest(
            models=() if self.model == NO_MODEL else (self.model, *private.more_models),
            datasets=(self.dataset, *private.more_datasets) if self.dataset else (),
            entry_script=entry_script,
            settings=preset.settings,
            source_directory=preset.source_directory,
            arguments=(*chosen, *preset.arguments),
            side_inputs=preset.side_inputs,
            environment=preset.environment,
            compute_target=preset.compute_target,
            allow_reuse=preset.allow_reuse,
            name=private.run_name.strip(),
        )

    def to_address(self) -> dict[str, str]:
        """The query parameters of an address that opens this form: what differs from the default, and nothing that may be secret."""
        chosen = {
            "model": self.model, "dataset": self.dataset, "script": self.script, "environment": self.environment,
            "compute_target": self.compute_target, "allow_reuse": "" if self.allow_reuse else "false",
        }  # fmt: skip
        return {name: displayable(value) for name, value in {**chosen, **self.settings}.items() if value}


# ---- texts of widgets ------------------------------------------------------------------------------------------------------------


def text_of(name: str, value: Any) -> str:
    """The value of a setting as it is typed."""
    if value is None:
        return ""
    if name == "environment_variables":
        return lines_of(value)
    if name == "partition_keys":
        typed = ", ".join(value)
        return json.dumps(list(value)) if typed.lstrip().startswith("[") or keys_of(typed) != tuple(value) else typed
    return str(value)


def lines_of(pairs: Mapping[str, str]) -> str:
    """NAME=value, one a line; where line ends or blanks would be lost, the line is a JSON string."""
    lines = []
    for name, value in pairs.items():
        line = f"{name}={value}"
        lines.append(line if _pairs_or_none(line) == {name: value} else json.dumps(line))
    return "\n".join(lines)


def pairs_of(field_name: str, text: str) -> dict[str, str]:
    """What `lines_of` made such a text of. Raises SettingsError on the field."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line:
            continue
        pair, is_quoted = line, line.startswith('"')
        if is_quoted:
            try:
                pair = json.loads(line)
            except ValueError as error:
                what = f"Line {number}, “{line[:100]}”, begins with a quote and is not a JSON string"
                raise SettingsError(field_name, what, 'Write NAME=value; in quotes only such as "NAME=one\\ntwo".') from error
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(field_name, f"Line {number}, “{line[:100]}”, has no =", "Write NAME=value.")
        pairs[name if is_quoted else name.strip()] = value
    return pairs


def _pairs_or_none(line: str) -> dict[str, str] | None:
    try:
        return pairs_of("", line)
    except SettingsError:
        return None


def keys_of(text: str) -> tuple[str, ...]:
    """Names with commas or blanks between them; or a JSON list, for names that hold such. Raises SettingsError on `partition_keys`."""
    if not text.lstrip().startswith("["):
        return tuple(text.replace(",", " ").split())
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
        hint = 'Name the keys, with commas between them; in brackets only a JSON list, such as ["store no"].'
        raise SettingsError("partition_keys", f"partition_keys: “{short(text)}” begins with [ and is not a JSON list of names", hint)
    return tuple(keys)


def words_of(text: str) -> tuple[str, ...]:
    """Arguments that are written as on a command line. Raises SettingsError on `arguments`."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError("arguments", f"The arguments can't be parsed: {error}", "Close every quote.") from error


# ---- options of the built-in scorer ----------------------------------------------------------------------------------------------


def choices_of(options: ScorerOptions) -> dict[str, Choice]:
    """What is chosen for a scorer, by the names of its widgets."""
    numbers = [str(number) for number in range(1, len(options.inputs) + 1)]
    choices: dict[str, Choice] = {}
    if options.inputs and set(options.inputs) == set(numbers):
        choices["ordered"] = [options.inputs[number] for number in numbers]
    else:
        choices |= {f"input-{name}": column for name, column in options.inputs.items()}
    if options.keep:
        choices["keep"] = list(options.keep)
    if options.probabilities:
        choices["probabilities"] = options.probabilities
    if options.top:
        choices["top"] = str(options.top)
    return choices | {f"value-{name}": value for name, value in options.values.items()}


def options_of(choices: Mapping[str, Any], scorer: str = "") -> ScorerOptions:
    """What `choices_of` made such choices of; other widgets are left out. Raises SettingsError."""
    inputs = {name.removeprefix("input-"): column for name, column in choices.items() if name.startswith("input-")}
    inputs |= {str(number): column for number, column in enumerate(choices.get("ordered") or (), 1)}
    kept = choices.get("keep") or ()
    top = str(choices.get("top") or "").strip()
    if top and not top.isdecimal():
        raise SettingsError("top", f"“{top[:50]}” is not a number of classes", "Give 1 or more, or leave it empty.")
    probabilities = choices.get("probabilities")
    typed = {name.removeprefix("value-"): str(value or "").strip() for name, value in choices.items() if name.startswith("value-")}
    return ScorerOptions(
        scorer,
        {name: column for name, column in inputs.items() if column},
        tuple(line for line in kept.splitlines() if line) if isinstance(kept, str) else tuple(kept),
        None if probabilities == PROBABILITIES[0] else probabilities,
        int(top) if top else None,
        {name: value for name, value in typed.items() if value},
    )

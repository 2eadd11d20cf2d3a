"""Before a run without a script: which built-in scorer scores these datasets with this model, asked of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.domain import Dataset, ItemKind, Model, ModelCard, TabularDataset
from services.errors import IntakeError, SettingsError, StudioError
from services.file_names import short
from services.intake.item_kinds import look_at
from services.scoring.column_matching import FitProblem, named_inputs
from services.scoring.fit import Fit, fit
from services.scoring.scorers import NO_CHOICES, SCORERS, ScorerOptions
from services.scoring.script_fit import first_row_warning
from services.workspace import Capability, Workspace

_VALUES = frozenset(name for scorer in SCORERS.values() for name in scorer.values)


@dataclass(frozen=True)
class Preflight:
    """What came out. `fit` has the problems and warnings of all datasets; `preset` are the choices that were kept for the model and are
    applied now, empty where there are none."""

    model: Model
    datasets: Sequence[Dataset]
    card: ModelCard
    fit: Fit
    preset: ScorerOptions = NO_CHOICES


def preflight(
    workspace: Workspace,
    models: Sequence[str],
    datasets: Sequence[str],
    options: ScorerOptions,
    *,
    environment: str | None = None,
    inspect: bool = False,
    use_preset: bool = True,
    approval: bool = True,
) -> Preflight:
    """Whether a built-in scorer scores these datasets with the model. At once, unless with `inspect` a model whose card isn't complete is
    loaded in a process of the environment. Without `approval` a model that waits for it is no problem. Raises SettingsError where no model
    is named, NotFound for what is not there."""
    if not models:
        raise SettingsError("model", "no model is chosen, and it decides what scores the dataset", "Name a model, or a scoring script.")
    model = workspace.model(models[0])
    known = [_told_by_content(workspace, workspace.dataset(reference)) for reference in datasets]
    problems: list[FitProblem] = []
    if len(models) > 1:
        what = f"{len(models)} models are named, and a built-in scorer takes one"
        problems.append(FitProblem("model", what, "Name one model, or a scoring script of your own."))
    is_gone = workspace.remote is None and not Path(model.path).exists()
    if is_gone:
        what = f"the file of model {model} is gone: there is no {short(model.path)}"
        problems.append(FitProblem("model", what, "Register the model again, or choose another."))
    card = workspace.model_card(model.reference, environment)
    if inspect and not is_gone and not is_complete(card) and (model.usable or Capability.APPROVAL not in workspace.capabilities):
        card, found = _inspected(workspace, model, card, environment)
        problems += found
    preset = _applicable(workspace.presets.of(model.name), card, known[0]) if use_preset else NO_CHOICES
    place = workspace.environment(environment, scored_model=model.reference)
    fits = [
        fit(
            card, dataset, options.over(preset), model=model, environment=place,
            every_package=workspace.remote is None, approval=approval and Capability.APPROVAL in workspace.capabilities,
        )
        for dataset in known
    ]  # fmt: skip
    applied = replace(preset, **{name: value for name, value in vars(NO_CHOICES).items() if getattr(options, name) != value})
    result = _together(fits, known, problems)
    if result.scorer and result.scorer.has_columns and not result.scorer.tabular:
        odd = [sentence for dataset in known if (sentence := _first_row_warning(workspace, dataset, model, card))]
        result = replace(result, warnings=(*result.warnings, *odd))
    return Preflight(model, known, card, result, applied)


def pairs(workspace: Workspace) -> Callable[[Model, Dataset], bool]:
    """A function that says whether a model and a dataset fit, by what is known at once and whatever is to be approved."""
    cards: dict[str, ModelCard] = {}

    def fits(model: Model, dataset: Dataset) -> bool:
        if model.reference not in cards:
            try:
                cards[model.reference] = workspace.model_card(model.reference)
            except StudioError:  # such as a file that is gone
                cards[model.reference] = ModelCard("unknown")
        preset = _applicable(workspace.presets.of(model.name), cards[model.reference], dataset)
        return fit(cards[model.reference], dataset, preset, model=model).fits

    return fits


def is_complete(card: ModelCard) -> bool:
    """Whether nothing more is to be learned by loading the model."""
    return card.inspected_in is not None or bool(card.inputs and card.takes and card.task)


def values_of(arguments: Sequence[str]) -> Mapping[str, str]:
    """The scorers' own arguments among those that a person typed, without their dashes: `--size 224x224` or `--size=224x224`."""
    values = {}
    for position, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name in _VALUES:
            follows = arguments[position + 1] if position + 1 < len(arguments) else ""
            values[name] = value if equals else "" if follows.startswith("--") else follows
    return values


def _told_by_content(workspace: Workspace, dataset: Dataset) -> Dataset:
    """A dataset that was registered before items were recognized by content is recognized by its first file now, where that lies here."""
    if dataset.type != "file" or dataset.item_kind is not ItemKind.OTHER or workspace.remote is not None:
        return dataset
    try:
        for first in workspace.dataset_files(dataset, 0, 1):
            return replace(dataset, item_kind=look_at(workspace.local_file(dataset, first.path)).kind)
    except (OSError, StudioError):  # what is gone is said when the run is checked
        pass
    return dataset


def _first_row_warning(workspace: Workspace, dataset: Dataset, model: Model, card: ModelCard) -> str:
    """A sentence where the first file of a row has other columns than the model; "" where it hasn't, or where that isn't known here."""
    names = [item.name for item in named_inputs(card)]
    count = len(names) or card.feature_count
    if count is None or workspace.remote is not None:
        return ""
    try:
        for first in workspace.dataset_files(dataset, 0, 1):
            return first_row_warning(model, dataset, first.path, workspace.local_file(dataset, first.path), count, names)
    except StudioError:  # what is gone is said when the run is checked
        pass
    return ""


def _inspected(workspace: Workspace, model: Model, card: ModelCard, environment: str | None) -> tuple[ModelCard, list[FitProblem]]:
    """The card after loading the model; and why it can't be loaded there, since then no run can load it either."""
    try:
        found = workspace.inspect_model(model.reference, environment)
    except IntakeError as error:
        return card, [FitProblem("model", error.message, error.hint)]
    new = [warning for warning in found.warnings if warning not in card.warnings]
    if found.inspected_in is None and new and workspace.remote is None:  # a package is missing
        return found, [FitProblem("environment", new[0])]
    return found, []


def _applicable(preset: ScorerOptions, card: ModelCard, dataset: Dataset) -> ScorerOptions:
    """What of a preset makes sense of this version of the model and this dataset."""
    columns = {name for name, _ in dataset.columns} if isinstance(dataset, TabularDataset) else set()
    names = {item.name for item in named_inputs(card)}
    inputs = {name: column for name, column in preset.inputs.items() if column in columns and (not names or name in names)}
    kept = tuple(column for column in preset.keep if column in columns)
    silent = card.has_probabilities is False
    probabilities = None if silent and preset.probabilities == "all" else preset.probabilities
    return replace(preset, inputs=inputs, keep=kept, probabilities=probabilities, top=None if silent else preset.top)


def _together(fits: Sequence[Fit], datasets: Sequence[Dataset], problems: list[FitProblem]) -> Fit:
    """The fits of several datasets as one: they have to be scored alike."""
    first = fits[0]
    found = [problem for one in fits for problem in one.problems]
    if any(problem.where == "environment" for problem in found):  # it says the same
        problems = [problem for problem in problems if problem.where != "environment"]
    for dataset, other in zip(datasets[1:], fits[1:], strict=True):
        if other.scorer and first.scorer and (other.scorer, other.arguments) != (first.scorer, first.arguments):
            what = f"{datasets[0]} and {dataset} would be scored in different ways"
            problems.append(FitProblem("dataset", what, "Score them in two runs, or choose the columns of both."))
    warnings = dict.fromkeys(warning for one in fits for warning in one.warnings)
    wanted = first.wants_environment or any(problem.where == "environment" for problem in problems)
    return replace(first, problems=tuple(dict.fromkeys([*found, *problems])), warnings=tuple(warnings), wants_environment=wanted)

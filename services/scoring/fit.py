"""Whether a model can score a dataset with a built-in scorer: which one, from which columns, and what prevents it.

Everything is decided from what is known already: nothing is loaded, no file is opened. A problem is only what certainly fails; what isn't
known, or may turn out wrong, is a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.domain import ROW_KINDS, Dataset, Environment, ItemKind, Model, ModelCard, TabularDataset
from services.file_names import short
from services.formats import counted
from services.intake.model_files import joblib_loads
from services.intake.requirement_lists import unmet
from services.scoring.column_matching import ColumnMatch, ColumnMatching, FitProblem, listed, named_inputs
from services.scoring.scorers import NO_CHOICES, SCORERS, Scorer, ScorerOptions

_NO_PROBABILITIES = ("regression", "clustering", "multi-output regression", "transformation")


@dataclass(frozen=True)
class Fit:
    """`scorer` is the one that fits, None where none does; `options` are the choices with what was matched; `unused` are columns that
    neither are an input nor kept. Problems and warnings are sentences for people, columns in the order of the model's inputs."""

    scorer: Scorer | None = None
    options: ScorerOptions = NO_CHOICES
    columns: tuple[ColumnMatch, ...] = ()
    unused: tuple[str, ...] = ()
    problems: tuple[FitProblem, ...] = ()
    warnings: tuple[str, ...] = ()
    wants_environment: bool = False
    """Whether an environment made for the model would have what is missing or of another version."""

    @property
    def fits(self) -> bool:
        return not self.problems

    @property
    def extra(self) -> str:
        """A sentence on the columns that are not used; "" where there are none, or none that is."""
        if not self.unused or not any(match.column is not None for match in self.columns):
            return ""
        verb = "column is" if len(self.unused) == 1 else "columns are"
        return f"{len(self.unused):,} {verb} not used: {listed(self.unused)}."

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the scorer is called with. Empty where none fits."""
        return self.options.arguments(self.scorer) if self.scorer else ()

    def check(self) -> None:
        """Raises SettingsError at the first problem's field."""
        for problem in self.problems:
            raise problem.error()


def fit(
    card: ModelCard,
    dataset: Dataset,
    options: ScorerOptions = NO_CHOICES,
    *,
    model: Model | None = None,
    environment: Environment | None = None,
    every_package: bool = True,
    approval: bool = False,
) -> Fit:
    """Whether this model scores this dataset with these options, and by which scorer. `environment` is where the run would happen (None:
    nothing is known), and `every_package` whether its packages are all that there are; with `approval` a model that is a program has to
    be approved."""
    problems: list[FitProblem] = []
    warnings: list[str] = []
    if model and approval and not model.usable:
        problems.append(unapproved(model))
    wants_environment = environment is not None and _check_environment(card, environment, model, every_package, problems, warnings)
    _check_files(dataset, warnings)
    scorer = _scorer(card, dataset, options, model, problems, warnings)
    columns: tuple[ColumnMatch, ...] = ()
    unused: tuple[str, ...] = ()
    if scorer:
        _check_probabilities(card, options, problems, warnings)
        if scorer.tabular and isinstance(dataset, TabularDataset):
            matching = ColumnMatching(card, dataset, options)
            columns, unused, options = matching.columns, matching.unused, matching.options
            problems += matching.problems
            warnings += matching.warnings
        elif options.keep:
            what = f"{dataset} is a dataset of {dataset.item_kind.plural}, which have no columns to keep"
            problems.append(FitProblem("keep", what, "Leave it out; the file's name is beside each prediction."))
        _check_values(card, scorer, options, problems)
    return Fit(scorer, options, columns, unused, tuple(problems), tuple(warnings), wants_environment)


def unapproved(model: Model) -> FitProblem:
    """Of a model that is a program, which nobody has approved yet."""
    what = f"model {model} is a program ({model.kind}) and was not approved yet; its SHA-256 is {model.sha256}"
    return FitProblem("model", what, f"Approve it here or on the Models page, or by: model approve {model}")


# ---- which scorer ----------------------------------------------------------------------------------------------------------------


def _scorer(
    card: ModelCard, dataset: Dataset, options: ScorerOptions, model: Model | None, problems: list[FitProblem], warnings: list[str]
) -> Scorer | None:
    """The scorer for these items; None where there is none, which is a problem then."""
    kind = dataset.item_kind if dataset.type == "file" else ItemKind.TABLE_ROW
    loads = joblib_loads(model.format) if model else card.format in ("scikit-learn", "skops") or None
    if card.format == "unknown" and loads is False:
        what = f"{model or 'the model'} is of a kind that no built-in scorer loads ({model.kind if model else 'unknown'})"
        problems.append(FitProblem("model", what, "Register another file of it, or use a script of your own."))
        return None
    if card.takes and kind is not ItemKind.OTHER and not _takes(card, kind):
        what = f"{dataset} holds {kind.plural}, and {model or 'the model'} takes {card.takes[0].plural}"
        problems.append(FitProblem("dataset", what, _other_reading(kind, card)))
        return None
    if options.scorer:
        scorer = SCORERS[options.scorer]
        if kind not in scorer.takes and (kind is not ItemKind.OTHER or scorer.tabular):
            what = f"{scorer} scores {scorer.takes[0].plural}, and {dataset} holds {kind.plural}"
            problems.append(FitProblem("scorer", what, "Choose the one that fits; on the command line: omit --scorer."))
            return None
        return scorer
    if kind is ItemKind.TABLE_FILE:
        what = f"each file of {dataset} holds many rows, and a file dataset is scored file by file"
        problems.append(FitProblem("dataset", what, _READ_AS_TABLE))
        return None
    if kind is ItemKind.ROW_FILE and card.format == "scikit-learn" and not named_inputs(card) and _is_plain(options):
        return SCORERS["batch_scoring_script"]
    for scorer in SCORERS.values():
        if kind in scorer.takes and scorer.returns_dataframe:
            return scorer
    if loads is not False and (not card.takes or ItemKind.ROW_FILE in card.takes):  # as it was before items were recognized by content
        warnings.append(f"What the files of {dataset} hold isn't known: they are read as rows of numbers.")
        return SCORERS["batch_scoring_script"]
    what = f"what the files of {dataset} hold isn't known, so no built-in scorer reads them"
    problems.append(FitProblem("dataset", what, "Register them again, or use a script of your own."))
    return None


_READ_AS_TABLE = "Read it again as a table, where each row is one item; on the command line: dataset register NAME PATH --type tabular"


def _takes(card: ModelCard, kind: ItemKind) -> bool:
    if kind in card.takes:
        return True
    if kind in ROW_KINDS:  # a table with a column of texts serves too
        return any(taken in ROW_KINDS for taken in card.takes) or (kind is ItemKind.TABLE_ROW and ItemKind.TEXT in card.takes)
    return kind is ItemKind.TABLE_FILE and any(taken in ROW_KINDS for taken in card.takes)  # said by its own words


def _other_reading(kind: ItemKind, card: ModelCard) -> str:
    if kind is ItemKind.TABLE_FILE:
        return _READ_AS_TABLE
    return f"Choose a dataset of {card.takes[0].plural}, or another model."


def _is_plain(options: ScorerOptions) -> bool:
    """Whether nothing was chosen that the joblib script, which prints the prediction only, can't honour."""
    return not options.inputs and options.top is None and options.probabilities in (None, "off") and not options.values


_FORMS = {
    "size": (r"\d+[x×,]\d+|\d+", "Write it as 224x224."),
    "layout": (r"NCHW|NHWC", "Choose NCHW or NHWC."),
    "color": (r"RGB|BGR|L", "Choose RGB, BGR or L."),
    "scale": (r"[-+.\deE]+(/[-+.\deE]+)?", "Write a number, or 1/255."),
    "mean": (r"[-+.\deE, ]+", "Write a number for each channel: 0.485,0.456,0.406."),
    "std": (r"[-+.\deE, ]+", "Write a number for each channel: 0.229,0.224,0.225."),
    "header": (r"auto|on|off", "Choose auto, on or off."),
}


def _check_values(card: ModelCard, scorer: Scorer, options: ScorerOptions, problems: list[FitProblem]) -> None:
    """What a person says of images, against what their model says."""
    for name, value in options.values.items():
        form, hint = _FORMS.get(name, ("", ""))
        if name in scorer.values and form and not re.fullmatch(form, value):
            problems.append(FitProblem(name, f"“{short(value)}” is not a {name} that {scorer} takes", hint))
    given, fixed = options.values.get("size", ""), card.scorer_defaults.get("size", "")
    shape = card.inputs[0].shape if card.inputs else ()
    if given and fixed and given != fixed and len(shape) == 4 and sum(isinstance(size, int) for size in shape[1:]) == 3:
        problems.append(FitProblem("size", f"the model takes images of {fixed}, not of {short(given)}", "Leave it out."))


# ---- environment, files, probabilities -------------------------------------------------------------------------------------------


def _check_environment(
    card: ModelCard, environment: Environment, model: Model | None, every_package: bool, problems: list[FitProblem], warnings: list[str]
) -> bool:
    """Packages that are missing or of another version than the model was made with; whether there are any."""
    if not environment.packages:
        return False
    loaded_there = card.inspected_in is not None and card.inspected_in == environment.reference
    lacking = unmet(card.requirements, environment.packages, environment.python_version)
    missing, other = [one for one in lacking if not one.there], [one for one in lacking if one.there]
    hint = f"Make an environment for this model; on the command line: environment create NAME --for-model {model or 'MODEL'}"
    if missing and not loaded_there:
        names = [f"{one.name} {one.wanted.removeprefix('==')}".strip() for one in missing]
        verb, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        sentence = f"{listed(names)} {verb} not installed in {environment.describe()}, and the model needs {them}"
        framework = re.sub(r"[-_.]+", "-", card.framework).lower()
        needed = {framework, "mlflow", "mlflow-skinny"}.intersection(one.name for one in missing)
        if every_package and (card.format != "mlflow" or needed):
            problems.append(FitProblem("environment", sentence, hint))
        else:  # what a folder lists may be more than what scoring needs
            warnings.append(f"{sentence}. {hint}")
    if other:
        versions = [f"{one.name} {one.wanted.removeprefix('==')} (here {one.there})" for one in other]
        warnings.append(f"The model was made with other versions than those in {environment.describe()}: {listed(versions)}. {hint}")
    return bool((missing and not loaded_there) or other)


def _check_files(dataset: Dataset, warnings: list[str]) -> None:
    if dataset.problems:
        first = "; ".join(f"{short(problem.file)}: {problem.what}" for problem in dataset.problems[:3])
        count = counted(max(dataset.problem_count, len(dataset.problems)), "file")
        warnings.append(f"{count} of {dataset} may fail: {first}{'; …' if dataset.problems[3:] else ''}")


def _check_probabilities(card: ModelCard, options: ScorerOptions, problems: list[FitProblem], warnings: list[str]) -> None:
    for name, wanted in (("probabilities", options.probabilities == "all"), ("top", options.top is not None)):
        if wanted and (card.has_probabilities is False or card.task in _NO_PROBABILITIES):
            what = f"the model gives no probabilities{f': its task is {card.task}' if card.task else ''}"
            problems.append(FitProblem(name, what, "Leave it out."))
    if options.top and card.classes and options.top > len(card.classes):
        warnings.append(f"The model knows {counted(len(card.classes), 'class')}: fewer than the top {options.top}.")

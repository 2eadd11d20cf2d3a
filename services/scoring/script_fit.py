"""Whether the built-in script that a request names fits what it is to score, as far as that is known without loading a model. Of a script
of a person's own nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.domain import Dataset, Model
from services.errors import SettingsError
from services.file_names import short
from services.formats import counted
from services.intake.entry_scripts import JOBLIB_SCRIPT
from services.intake.item_kinds import look_at
from services.intake.model_files import joblib_loads
from services.scoring.column_matching import listed
from services.scoring.scorers import scorer_at


def check_script(script: Path, models: Sequence[Model], datasets: Sequence[Dataset], arguments: Sequence[str] = ()) -> None:
    """Whether a built-in script can score these datasets, and the joblib one with the first of these models. Raises SettingsError on
    `model` or `dataset`."""
    scorer = scorer_at(script)
    for dataset in datasets if scorer else ():
        if dataset.type == "tabular" and script == JOBLIB_SCRIPT:
            text = f"{dataset} is a tabular dataset, and {script.name} reads files of one row of numbers"
            raise SettingsError("dataset", text, "Use a script whose run() takes a DataFrame, or a file dataset.")
        if scorer and (dataset.type == "tabular") != scorer.tabular:
            takes = "the rows of a tabular dataset" if scorer.tabular else "files"
            raise SettingsError("dataset", f"{dataset} is a {dataset.type} dataset, and {script.name} scores {takes}", "Choose another.")
    named = any(argument.split("=")[0] == "--model-name" for argument in arguments)
    for model in models[:1] if script == JOBLIB_SCRIPT and not named else ():
        if joblib_loads(model.format) is False:
            kind = "of no known kind" if model.kind == "unknown" else f"of the kind “{model.kind}”"
            text = f"model {model} is {kind}, and {script.name} loads models of joblib and pickle only"
            hint = "Use another script: a built-in one loads this kind where run is given none; or save the model by joblib.dump."
            raise SettingsError("model", text, hint)


def first_row_warning(model: Model, dataset: Dataset, name: str, path: Path, count: int | None, inputs: Sequence[str] = ()) -> str:
    """A sentence where the file at `path`, the dataset's first by this name, is one row of other columns than the model takes: `count` of
    them, called as `inputs` where they have names. "" where they fit, and where that isn't known."""
    try:
        row = look_at(path)
    except OSError:  # what is gone is said when the run is checked
        return ""
    if row.header and inputs and (missing := [column for column in inputs if column not in row.header]):
        return f"{short(name)} of {dataset} has no column for these inputs of model {model}: {listed(missing)}."
    if count is not None and not row.header and row.fields not in (0, count):
        return f"{short(name)} of {dataset} has {counted(row.fields, 'field')}, and model {model} takes {count:,}."
    return ""

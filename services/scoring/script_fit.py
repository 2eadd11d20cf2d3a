"""Whether the built-in script that a request names fits what it is to score, as far as that is known without loading a model. Of a script
of a person's own nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.domain import Dataset, FileDataset, Model
from services.errors import SettingsError
from services.formats import counted
from services.intake.entry_scripts import JOBLIB_SCRIPT
from services.intake.model_files import joblib_loads
from services.scoring.scorers import scorer_at

_LONGEST_ROW = 1 << 20  # bytes


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


def width_warning(script: Path, models: Sequence[Model], dataset: Dataset, first_file: Path) -> str:
    """A sentence where the dataset's first file has another number of columns than the first model, and the joblib script is to score
    it; "" where they fit, or where that isn't known."""
    if script != JOBLIB_SCRIPT or not models or models[0].features is None or dataset.type != FileDataset.type:
        return ""
    try:
        with open(first_file, "rb") as opened:
            head = opened.read(_LONGEST_ROW)
    except OSError:
        return ""
    row = head.strip()
    columns = row.count(b",") + 1
    if len(head) == _LONGEST_ROW or not row or row.translate(None, b"0123456789.,+-eE ") or columns == models[0].features:
        return ""  # not one row of numbers: the run says what it is
    return f"{first_file.name} of {dataset} has {counted(columns, 'field')}, and model {models[0]} was fitted to {models[0].features:,}."

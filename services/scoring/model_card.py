"""What is known of a model: what its file tells, read and never executed, and what it says itself once it was loaded in an environment."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from services.domain import ROW_KINDS, Environment, ItemKind, ModelCard
from services.errors import IntakeError
from services.intake.model_files import ModelContent
from services.intake.pickle_scan import BROKEN
from services.intake.requirement_lists import unmet
from services.scoring import archive_cards, booster_cards, onnx_card

READER = "file, 3"
"""Where a card comes from that was read by this module. The number changes with what is read, so that older cards are made again."""

_READERS: dict[str, Callable[[Path], ModelCard]] = {
    "onnx": onnx_card.read_onnx, "xgboost": booster_cards.read_xgboost, "lightgbm": booster_cards.read_lightgbm,
    "catboost": booster_cards.read_catboost, "keras": archive_cards.read_keras, "skops": archive_cards.read_skops,
    "torch-export": archive_cards.read_torch_export, "mlflow": archive_cards.read_mlflow,
}  # fmt: skip
_DAMAGED = (*BROKEN, StopIteration, TypeError, AttributeError, RecursionError, struct.error, zipfile.BadZipFile, NotImplementedError)
_PACKAGES = {
    "sklearn": "scikit-learn", "imblearn": "imbalanced-learn", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost",
    "pandas": "pandas", "torch": "torch", "keras": "keras", "tensorflow": "tensorflow", "category_encoders": "category-encoders",
    "feature_engine": "feature-engine", "statsmodels": "statsmodels", "skops": "skops", "mlxtend": "mlxtend", "umap": "umap-learn",
    "hdbscan": "hdbscan", "skorch": "skorch", "sklego": "scikit-lego", "pygam": "pygam", "polars": "polars", "nltk": "nltk",
    "spacy": "spacy", "gensim": "gensim", "sentence_transformers": "sentence-transformers", "transformers": "transformers",
    "interpret": "interpret",
    "tpot": "tpot", "autosklearn": "auto-sklearn", "sklearn_pandas": "sklearn-pandas", "sktime": "sktime", "prophet": "prophet",
    "lifelines": "lifelines", "sksurv": "scikit-survival", "dill": "dill", "cloudpickle": "cloudpickle", "pmdarima": "pmdarima",
}  # fmt: skip
"""The package on PyPI of each module that pickled models are seen to import."""
_COME_ALONG = {"numpy", "scipy", "joblib", "__main__", "__builtin__", "copyreg", "copy_reg", *sys.stdlib_module_names}


def read_card(path: Path, content: ModelContent) -> ModelCard:
    """What the file or folder at `path` tells, which is of this content. Bounded in time and memory; what can't be understood isn't told,
    and a warning says so. Raises OSError where it can't be read."""
    if content.format == "scikit-learn":
        return _of_pickle(content)
    if content.format == "torchscript":
        return ModelCard("torchscript", framework="torch", requirements=("torch",))
    if content.format == "torch":
        note = "It needs the code of its classes: the built-in scorers can't load it. Save it by torch.jit.script or torch.export."
        return ModelCard("torch", framework="torch", requirements=("torch",), notes=(note,))
    reader = _READERS.get(content.format)
    if reader is None:
        return ModelCard("unknown")
    try:
        return reader(path / content.file if content.file else path)
    except FileNotFoundError:
        raise
    except (*_DAMAGED, IntakeError) as error:
        reason = error.message if isinstance(error, IntakeError) else " ".join(str(error).split())[:200] or type(error).__name__
        return ModelCard(content.format, warnings=(f"What its file tells could not be read: {reason}",))


def _of_pickle(content: ModelContent) -> ModelCard:
    """By what unpickling it would import."""
    modules = {name.partition(".")[0] for name in content.imports}
    version = content.versions.get("scikit-learn", "")
    packages = sorted(_PACKAGES[module] for module in modules if module in _PACKAGES)
    unknown = sorted(modules - _PACKAGES.keys() - _COME_ALONG)
    notes = []
    if unknown:
        notes.append(f"It needs modules of no known package: {', '.join(unknown)[:300]}.")
    if own := sorted(name for name in content.imports if name.startswith("__main__.")):
        notes.append(f"It needs {', '.join(own)[:300]} of the script that saved it, which is not in the file.")
    framework = _PACKAGES.get(content.root.partition(".")[0], "scikit-learn" if version else "")
    return ModelCard(
        "scikit-learn",
        framework=framework,
        framework_version=version if framework == "scikit-learn" else content.versions.get(framework, ""),
        takes=ROW_KINDS if content.features else (),
        feature_count=content.features,
        requirements=tuple(f"{name}=={version}" if name == "scikit-learn" and version else name for name in packages),
        notes=tuple(notes),
    )


_TYPES = {name: kind for name, kind in get_type_hints(ModelCard).items() if name not in ("inspected_in", "warnings")}
_BY_FILE = ("format", "framework", "framework_version", "python_version", "requirements")
"""What the file says better than the loaded model, which knows the version that loaded it."""


def with_inspection(card: ModelCard, described: Mapping[str, Any], environment: Environment) -> ModelCard:
    """The card with what the loaded model said of itself in a process of that environment, by ModelCard's names. Of that only what is of
    the right type counts: a model may say anything."""
    known: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        with suppress(msgspec.ValidationError):
            value = msgspec.convert(described.get(name), kind, strict=False)
            kept = getattr(card, name) if name in _BY_FILE else None
            if value not in (None, "", (), {}) and kept in (None, "", (), "unknown"):
                known[name] = value
    notes = tuple(dict.fromkeys((*card.notes, *known.pop("notes", ()))))
    if any(one.type == "text" for one in known.get("inputs", card.inputs)) and ItemKind.TEXT not in known.get("takes", card.takes):
        known["takes"] = tuple(kind for kind in known.get("takes", card.takes) if kind is not ItemKind.ROW_FILE)
    defaults = {**card.scorer_defaults, **known.pop("scorer_defaults", {})}
    return replace(card, **known, notes=notes, scorer_defaults=defaults, inspected_in=environment.reference)


def with_advice(card: ModelCard, model: str, environment: Environment) -> ModelCard:
    """The card with warnings of what this environment lacks for it, or has in a version that differs from the one it was made with.
    `model` is the model's reference, for the command that helps."""
    needed = card.requirements
    if card.format == "mlflow":  # its list may have more than what scoring needs
        needed = (f"{card.framework}=={card.framework_version}" if card.framework_version else card.framework, "mlflow")
    lacking = unmet(needed, environment.packages, environment.python_version)
    if card.inspected_in == environment.reference:  # what loads it is enough, whatever it is called
        lacking = [one for one in lacking if one.there]
    if not lacking:
        return card
    where = environment.describe()
    warnings = dict.fromkeys(
        f"Made with {one.name} {one.wanted.lstrip('=<>~')}, and {where} has {one.there}"
        if one.there
        else f"Needs {one.name}, which {where} does not have"
        for one in lacking
    )
    hint = f"Make an environment for this model; on the command line: environment create NAME --for-model {model}"
    return replace(card, warnings=(*warnings, *card.warnings), notes=(hint, *card.notes))

"""What environments hold: the default of a run, one made for a model, those made from a list or a conda file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.domain import Environment, ModelCard, utc_now
from services.errors import IntakeError, NotFound, SettingsError
from services.file_names import short
from services.intake.requirement_lists import RequirementList, requirements_for, unmet
from services.intake.yaml_files import read_yaml

PYTHON = "3.11"
"""SDK v1's own default, 3.8, is too old for today's scikit-learn."""
_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12")
"""Those that azureml-core 1.61 installs on."""
_PINNED = ("scikit-learn", "numpy", "joblib", "pandas", "azureml-core", "azureml-dataset-runtime")
_BELOW = {"setuptools": "82"}
"""azureml-core imports pkg_resources, which later ones lack: the step would end with SystemExit 42."""
_EXTRAS = {"azureml-dataset-runtime": "[fuse]"}


def default_packages() -> dict[str, str]:
    """Of a run that names no environment, by name: this program's own versions, so that a model dumped here loads there; "" for any, `<82`
    for one below that."""
    packages = {}
    for name in _PINNED:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = ""
    return packages | {name: f"<{number}" for name, number in _BELOW.items()}


def default_name() -> str:
    """By its content, so that two versions of this program don't overwrite each other's."""
    content = json.dumps([PYTHON, default_packages()], sort_keys=True)
    return f"batch-scoring-studio-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def default() -> Environment:
    """The environment of a run that names none. Azure ML builds it when the first run needs it."""
    return Environment(default_name(), 0, "made for the run", PYTHON, default_packages(), utc_now())


class Made(NamedTuple):
    """An environment to be made for a run: its name, its Python, and the requirements that pip gets."""

    name: str
    python: str
    requirements: list[str]


def to_make(requirements: Sequence[str] = (), python: str = PYTHON) -> Made:
    """That of a run that names none: the default one; with these requirements of a model, one of its own."""
    if not requirements:
        return Made(default_name(), PYTHON, [_line(name, number) for name, number in default_packages().items()])
    return Made(_name_for(requirements, python), python, with_what_a_step_needs(requirements))


def _name_for(requirements: Sequence[str], python: str) -> str:
    content = json.dumps([python, with_what_a_step_needs(requirements)])
    return f"batch-scoring-studio-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def for_model(card: ModelCard) -> tuple[tuple[str, ...], str]:
    """The requirements and the Python of a run that scores this model by a built-in scorer and names no environment; () where the default
    one has what it needs, or nothing is known of it. Raises IntakeError where the model's own list isn't taken."""
    if not card.requirements or not unmet(card.requirements, default_packages(), PYTHON):
        return (), PYTHON
    needed = requirements_for(card)
    return needed.lines, needed.python_version if needed.python_version in _PYTHONS else PYTHON


def made_for_run(requirements: Sequence[str], python: str) -> Environment:
    """The environment that such a run gets, as a noun."""
    if not requirements:
        return default()
    return Environment(
        _name_for(requirements, python), 0, "made for the run", python, packages_of(with_what_a_step_needs(requirements)), utc_now()
    )


def check_conda_file(path: Path) -> None:
    """Raises IntakeError for a file that is not one, NotFound for a missing one."""
    hint = "Give a conda file: a YAML file with dependencies, such as python=3.11 and a pip list."
    if not path.is_file():
        raise NotFound(f"There is no conda file {path}.", hint)
    content = read_yaml(path, f"The conda file {short(path.name)}", hint)
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        raise IntakeError(f"{path.name} lists no dependencies.", hint)


def python_for(requirements: RequirementList, python: str | None) -> str:
    """The Python of an environment that is made from a list: the one that is wanted, as Azure ML takes it. Raises SettingsError."""
    wanted = python or requirements.python_version
    match = re.fullmatch(r"(3\.\d+)(\.\d+)?", wanted or PYTHON)
    if match is None and (python or requirements.python_required):
        raise SettingsError("python", f"“{short(str(wanted))}” is not a version that Azure ML can be asked for", "Give one, such as 3.11.")
    return match[1] if match else PYTHON


def with_what_a_step_needs(lines: Iterable[str]) -> list[str]:
    """These requirements first. Of the default ones those that belong to the SDK as they are; numpy, pandas and joblib in any version
    that goes with the rest, unless scikit-learn is wanted as it is here: then it is the default one's."""
    wanted: dict[str, str] = {canonicalize_name(Requirement(line).name): line for line in lines}
    default = {name: _line(name, number) for name, number in default_packages().items()}
    needed = {name: line for name, line in default.items() if name in ("azureml-core", "azureml-dataset-runtime", "setuptools")}
    needed |= {name: name for name in ("numpy", "pandas")}
    if wanted.get("scikit-learn") == default["scikit-learn"]:
        needed |= default
    return [*wanted.values(), *(line for name, line in needed.items() if name not in wanted)]


def _line(name: str, number: str) -> str:
    return f"{name}{_EXTRAS.get(name, '')}{number if number[:1] == '<' else f'=={number}' if number else ''}"


def packages_of(lines: Iterable[Any]) -> dict[str, str]:
    """Names and versions of a conda file's dependencies, pip's among them; "" where none is pinned."""
    packages: dict[str, str] = {}
    for line in lines:
        if isinstance(line, Mapping):
            packages |= packages_of(line.get("pip") or [])
        elif match := re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:={1,2}|~=|>=)?\s*([^\s;,]*).*", str(line)):
            packages[match[1]] = match[2]
    return packages

"""What environments hold: the default of a run, one made for a model, those made from a list or a conda file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.domain import Environment, ModelCard, utc_now
from services.errors import IntakeError, NotFound, SettingsError
from services.file_names import short
from services.handover.azure_packages import BELOW, installed, pinned
from services.intake.requirement_lists import RequirementList, requirements_for, unmet
from services.intake.yaml_files import read_yaml

PYTHON = "3.11"
"""SDK v1's own default, 3.8, is too old for today's scikit-learn."""
_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12")
"""Those that azureml-core 1.61 installs on."""
_PINNED = ("scikit-learn", "numpy", "joblib", "pandas", "azureml-core", "azureml-dataset-runtime")
_EXTRAS = {"azureml-dataset-runtime": "[fuse]"}


def default_packages() -> dict[str, str]:
    """Of a run that names no environment, by name: this program's own versions, so that a model dumped here loads there; "" for any, `<82`
    for one below that."""
    return {name: installed(name) for name in _PINNED} | BELOW


class Made(NamedTuple):
    """An environment to be made for a run: its name, its Python, and the requirements that pip gets."""

    name: str
    python: str
    requirements: list[str]


def to_make(requirements: Sequence[str] = (), python: str = PYTHON, besides: Sequence[str] = ()) -> Made:
    """That of a run that names none: the default one; with these requirements of a model, one of its own. Azure ML builds it when the first
    run needs it. `besides` as in `with_what_a_step_needs`."""
    if requirements:
        lines = with_what_a_step_needs(requirements, besides)
        return Made(_name_for([python, lines]), python, lines)
    return Made(_name_for([PYTHON, default_packages()]), PYTHON, [*(_default_lines() | _by_name(besides)).values()])


def _name_for(content: Any) -> str:
    """By its content, so that two versions of this program don't overwrite each other's."""
    return f"batch-scoring-studio-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]}"


def made_for_run(requirements: Sequence[str] = (), python: str = PYTHON) -> Environment:
    """The same as a noun."""
    made = to_make(requirements, python)
    return Environment(made.name, 0, "made for the run", made.python, packages_of(made.requirements), utc_now())


def for_model(card: ModelCard) -> tuple[tuple[str, ...], str]:
    """The requirements and the Python of a run that scores this model by a built-in scorer and names no environment; () where the default
    one has what it needs, or nothing is known of it. Raises IntakeError where the model's own list isn't taken."""
    if not card.requirements or not unmet(card.requirements, default_packages(), PYTHON):
        return (), PYTHON
    needed = requirements_for(card)
    return needed.lines, needed.python_version if needed.python_version in _PYTHONS else PYTHON


def conda_file(path: Path) -> Mapping[str, Any]:
    """The content of a conda file. Raises IntakeError for a file that is not one, NotFound for a missing one."""
    hint = "Give a conda file: a YAML file with dependencies, such as python=3.11 and a pip list."
    if not path.is_file():
        raise NotFound(f"There is no conda file {path}.", hint)
    content = read_yaml(path, f"The conda file {short(path.name)}", hint)
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        raise IntakeError(f"{path.name} lists no dependencies.", hint)
    return content


def python_for(requirements: RequirementList, python: str | None) -> str:
    """The Python of an environment that is made from a list: the one that is wanted, as Azure ML takes it. Raises SettingsError."""
    wanted = python or requirements.python_version
    match = re.fullmatch(r"(3\.\d+)(\.\d+)?", wanted or PYTHON)
    if match is None and (python or requirements.python_required):
        raise SettingsError("python", f"“{short(str(wanted))}” is not a version that Azure ML can be asked for", "Give one, such as 3.11.")
    return match[1] if match else PYTHON


def with_what_a_step_needs(lines: Iterable[str], besides: Sequence[str] = ()) -> list[str]:
    """These requirements first. Of the default ones those that belong to the SDK as they are; numpy, pandas and joblib in any version
    that goes with the rest, unless scikit-learn is wanted as it is here: then it is the default one's. Last what an SDK needs `besides`."""
    wanted, default = _by_name(lines), _default_lines()
    needed = {name: line for name, line in default.items() if name in ("azureml-core", "azureml-dataset-runtime", "setuptools")}
    needed |= {name: name for name in ("numpy", "pandas")}
    if wanted.get("scikit-learn") == default["scikit-learn"]:
        needed |= default
    needed |= _by_name(besides)
    return [*wanted.values(), *(line for name, line in needed.items() if name not in wanted)]


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    return {canonicalize_name(Requirement(line).name): line for line in lines}


def _default_lines() -> dict[str, str]:
    """The default packages as pip gets them."""
    return {name: pinned(f"{name}{_EXTRAS.get(name, '')}", number) for name, number in default_packages().items()}


def packages_of(lines: Iterable[Any]) -> dict[str, str]:
    """Names and versions of a conda file's dependencies, pip's among them; "" where none is pinned."""
    packages: dict[str, str] = {}
    for line in lines:
        if isinstance(line, Mapping):
            packages |= packages_of(line.get("pip") or [])
        elif match := re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:={1,2}|~=|>=)?\s*([^\s;,]*).*", str(line)):
            packages[match[1]] = match[2]
    return packages


def noun(name: str, version: int, conda: Mapping[str, Any] | None, image: str, created_at: datetime | None = None) -> Environment:
    """An SDK's environment as ours, by the content of its conda file and what it is built on."""
    packages = packages_of((conda or {}).get("dependencies") or [])
    built_on = f"conda, on {image}" if packages and image else image or "conda"
    return Environment(name, version, built_on, packages.pop("python", ""), packages, created_at or utc_now())

"""Environments: curated and registered ones, one made from a conda file, and the default of a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.azure.auth.sdk_errors import is_not_found
from services.azure.sdk_v1.session import Session
from services.domain import Environment, ModelCard, parse_reference, utc_now
from services.errors import IntakeError, NotFound, SettingsError
from services.file_names import short
from services.intake.requirement_lists import RequirementList, requirements_for, unmet
from services.intake.yaml_files import read_yaml

if TYPE_CHECKING:
    from azureml.core import Environment as SdkEnvironment
    from azureml.core import Workspace

PYTHON = "3.11"
"""The SDK's own default, 3.8, is too old for today's scikit-learn."""
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


def sdk_default(requirements: Sequence[str] = (), python: str = PYTHON) -> SdkEnvironment:
    """The default one, as the SDK takes it; with these requirements of a model, one of its own."""
    if not requirements:
        return _sdk_environment(default_name(), PYTHON, [_line(name, number) for name, number in default_packages().items()])
    return _sdk_environment(_name_for(requirements, python), python, requirements)


def _name_for(requirements: Sequence[str], python: str) -> str:
    content = json.dumps([python, _with_what_a_step_needs(requirements)])
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
        _name_for(requirements, python), 0, "made for the run", python, _packages(_with_what_a_step_needs(requirements)), utc_now()
    )


def sdk_environment(session: Session, reference: str | None, requirements: Sequence[str] = (), python: str = PYTHON) -> SdkEnvironment:
    """The environment to submit a run with: `name` or `name:version`; for None the default one, with these requirements of the run's model.
    Raises NotFound."""
    if not reference:
        return sdk_default(requirements, python)
    name, number = parse_reference(reference, "environment")
    with session.sdk_calls(f"Environment {reference} can't be read", "environment") as workspace:
        from azureml.core import Environment as SdkEnvironment

        try:
            return SdkEnvironment.get(workspace, name, version=str(number) if number else None)
        except Exception as error:  # the SDK raises a plain one
            if is_not_found(error):
                raise NotFound(f"There is no environment called “{reference}”.", "Choose another, or register it.") from error
            raise


def environments(session: Session) -> list[Environment]:
    """The latest version of each, the curated ones last. Raises as `Session.sdk_calls`."""

    def list_latest(workspace: Workspace) -> list[Environment]:
        from azureml.core import Environment as SdkEnvironment

        return [noun(environment) for environment in SdkEnvironment.list(workspace).values()]

    latest = session.with_retries("The environments can't be listed", list_latest)
    return sorted(latest, key=lambda environment: (environment.name.startswith(("AzureML-", "Microsoft")), environment.name.lower()))


def register(session: Session, name: str, conda_file: Path) -> Environment:
    """Register an environment from a conda file. Raises IntakeError for a file that is not one, NotFound for a missing one."""
    _check(conda_file)
    with session.sdk_calls(f"Environment {name} was not registered", "name") as workspace:
        from azureml.core import Environment as SdkEnvironment

        return noun(SdkEnvironment.from_conda_specification(name, str(conda_file)).register(workspace))


def create(session: Session, name: str, requirements: RequirementList, python: str | None = None) -> Environment:
    """Register an environment made from a list, with what a step of the SDK needs beside it. Azure ML builds it when the first run needs
    it. Raises SettingsError on `python`."""
    wanted = python or requirements.python_version
    match = re.fullmatch(r"(3\.\d+)(\.\d+)?", wanted or PYTHON)
    if match is None and (python or requirements.python_required):
        raise SettingsError("python", f"“{short(str(wanted))}” is not a version that Azure ML can be asked for", "Give one, such as 3.11.")
    made = _sdk_environment(name, match[1] if match else PYTHON, requirements.lines)
    with session.sdk_calls(f"Environment {name} was not registered", "name") as workspace:
        return noun(made.register(workspace))


def _sdk_environment(name: str, python: str, lines: Iterable[str]) -> SdkEnvironment:
    """With these requirements, and what a step needs where they don't name it."""
    from azureml.core import Environment as SdkEnvironment
    from azureml.core.conda_dependencies import CondaDependencies

    pins = _with_what_a_step_needs(lines)
    environment = SdkEnvironment(name)
    conda = CondaDependencies.create(python_version=python, pip_packages=pins, pin_sdk_version=False)
    conda.remove_pip_package("azureml-defaults")  # the SDK adds it; it wants an older Python's packages
    environment.python.conda_dependencies = conda
    return environment


def _with_what_a_step_needs(lines: Iterable[str]) -> list[str]:
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


def _check(path: Path) -> None:
    hint = "Give a conda file: a YAML file with dependencies, such as python=3.11 and a pip list."
    if not path.is_file():
        raise NotFound(f"There is no conda file {path}.", hint)
    content = read_yaml(path, f"The conda file {short(path.name)}", hint)
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        raise IntakeError(f"{path.name} lists no dependencies.", hint)


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours. Its `interpreter` is what it is built on."""
    conda = environment.python.conda_dependencies
    lines: list[Any] = list((conda.as_dict() if hasattr(conda, "as_dict") else conda._conda_dependencies)["dependencies"]) if conda else []
    packages = _packages(lines)
    python = packages.pop("python", "")
    image = environment.docker.base_image or ("a Dockerfile" if environment.docker.base_dockerfile else "")
    number = str(environment.version or "")
    return Environment(
        name=environment.name,
        version=int(number) if number.isdecimal() else 0,
        interpreter=f"conda, on {image}" if lines and image else image or "conda",
        python_version=python,
        packages=packages,
        created_at=utc_now(),
    )


def _packages(lines: Iterable[Any]) -> dict[str, str]:
    """Names and versions of a conda file's dependencies, pip's among them; "" where none is pinned."""
    packages: dict[str, str] = {}
    for line in lines:
        if isinstance(line, Mapping):
            packages |= _packages(line.get("pip") or [])
        elif match := re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:={1,2}|~=|>=)?\s*([^\s;,]*).*", str(line)):
            packages[match[1]] = match[2]
    return packages

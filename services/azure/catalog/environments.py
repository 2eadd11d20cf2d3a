"""Environments: curated and registered ones, one made from a conda file, and the one that a run gets which names none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.auth.session import Session
from services.domain import Environment, parse_reference, utc_now
from services.errors import IntakeError, NotFound

if TYPE_CHECKING:
    from azureml.core import Environment as SdkEnvironment
    from azureml.core import Workspace

PYTHON = "3.11"
"""The SDK's own default, 3.8, is too old for today's scikit-learn."""
_PINNED = ("scikit-learn", "numpy", "joblib", "pandas", "azureml-core", "azureml-dataset-runtime")
_EXTRAS = {"azureml-dataset-runtime": "[fuse]"}
_LARGEST_CONDA_FILE = 1_000_000


def default_packages() -> dict[str, str]:
    """What a run gets which names no environment: this program's own versions, so that a model dumped here loads there."""
    found = {}
    for name in _PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a smaller set-up; conda takes the newest
            found[name] = ""
    return found


def default_name() -> str:
    """One name for one content: two versions of this program don't overwrite each other's."""
    told = json.dumps([PYTHON, default_packages()], sort_keys=True)
    return f"batch-scoring-studio-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def default() -> Environment:
    return Environment(default_name(), 0, "made for the run", PYTHON, default_packages(), utc_now())


def sdk_default() -> SdkEnvironment:
    """The same, to be submitted with."""
    from azureml.core import Environment as SdkEnvironment
    from azureml.core.conda_dependencies import CondaDependencies

    pins = [f"{name}{_EXTRAS.get(name, '')}{f'=={number}' if number else ''}" for name, number in default_packages().items()]
    made = SdkEnvironment(default_name())
    conda = CondaDependencies.create(python_version=PYTHON, pip_packages=pins, pin_sdk_version=False)
    for package in ("azureml-defaults",):  # the SDK adds it by itself; it wants an older Python's packages
        conda.remove_pip_package(package)
    made.python.conda_dependencies = conda
    return made


def sdk_environment(session: Session, reference: str | None) -> SdkEnvironment:
    """The environment to submit a run with. Raises NotFound."""
    if not reference:
        return sdk_default()
    name, number = parse_reference(reference, "environment")
    with session.asking(f"Environment {reference} can't be read", "environment") as workspace:
        from azureml.core import Environment as SdkEnvironment

        try:
            return SdkEnvironment.get(workspace, name, version=str(number) if number else None)
        except Exception as error:
            if type(error) is Exception and "not found" in str(error).lower():  # a bare one, of a name that is not there
                raise NotFound(f"There is no environment called “{reference}”.", "Choose another, or register it.") from error
            raise


def environments(session: Session) -> list[Environment]:
    """The latest version of each, the curated ones last."""

    def ask(workspace: Workspace) -> list[Environment]:
        from azureml.core import Environment as SdkEnvironment

        return [noun(environment) for environment in SdkEnvironment.list(workspace).values()]

    found = session.with_retries("The environments can't be listed", ask)
    return sorted(found, key=lambda one: (one.name.startswith(("AzureML-", "Microsoft")), one.name.lower()))


def register(session: Session, name: str, conda_file: Path) -> Environment:
    """An environment of what a conda file lists. Raises IntakeError where it is none, NotFound where it is not there."""
    _check(conda_file)
    with session.asking(f"Environment {name} was not registered", "name") as workspace:
        from azureml.core import Environment as SdkEnvironment

        return noun(SdkEnvironment.from_conda_specification(name, str(conda_file)).register(workspace))


def _check(path: Path) -> None:
    import yaml  # type: ignore[import-untyped]

    hint = "Give a conda file: a YAML file with dependencies, such as python=3.11 and a pip list."
    try:
        if not path.is_file():
            raise NotFound(f"There is no conda file {path}.", hint)
        if path.stat().st_size > _LARGEST_CONDA_FILE:
            raise IntakeError(f"{path.name} is too large for a conda file.", hint)
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise IntakeError(f"{path.name} can't be read as a conda file: {' '.join(str(error).split())[:200]}", hint) from error
    if not isinstance(told, dict) or not isinstance(told.get("dependencies"), list):
        raise IntakeError(f"{path.name} lists no dependencies.", hint)


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours. `interpreter` says what it is built on."""
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
    found: dict[str, str] = {}
    for line in lines:
        if isinstance(line, Mapping):
            found |= _packages(line.get("pip") or [])
        elif match := re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:={1,2}|~=|>=)?\s*([^\s;,]*).*", str(line)):
            found[match[1]] = match[2]
    return found

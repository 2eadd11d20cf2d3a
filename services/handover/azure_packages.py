"""What a run's environment needs on Azure ML, by either SDK."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from services.domain import Environment

_PACKAGES = (
    "scikit-learn", "numpy", "pandas", "joblib", "scipy", "pyarrow", "pillow", "skops", "onnxruntime", "xgboost", "lightgbm", "catboost",
    "torch", "torchvision", "tensorflow", "keras", "mlflow",
)  # fmt: skip
"""Of what is installed here, what a scoring script may need there."""
_STEP_PACKAGES = ("azureml-core", "azureml-dataset-runtime[fuse]")
"""What ParallelRunStep needs itself."""
V2_STEP_PACKAGES = ("mltable>=1.2.0",)
"""What a step of SDK v2 needs besides, to read tables: as in Microsoft's examples of parallel jobs."""
BELOW = {"setuptools": "<82"}
"""azureml-core imports pkg_resources, which later ones lack: the step would end with SystemExit 42."""


def packages_of(environment: Environment) -> tuple[str, list[str]]:
    """The Python, such as 3.11, and lines for pip: those that the environment was made from, else its versions of the usual packages."""
    python = ".".join(environment.python_version.split(".")[:2]) or "3.11"
    lines = list(environment.requirements)
    if not lines:
        known = {name.lower(): number for name, number in environment.packages.items()}
        lines = [pinned(name, known[name]) for name in _PACKAGES if name in known]
    named = {_name_in(line) for line in lines}
    for requirement in (*_STEP_PACKAGES, *BELOW):
        name = requirement.split("[")[0]
        if name not in named:
            lines.append(f"{requirement}{BELOW.get(name, '')}" if name in BELOW else pinned(requirement, installed(name)))
    return python, lines


def _name_in(line: str) -> str:
    return re.split(r"[\[=<>]", line, maxsplit=1)[0].strip().lower()


def pinned(name: str, number: str) -> str:
    return name if not number else f"{name}{number}" if number[0] in "<>=~!" else f"{name}=={number}"


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""Microsoft's image for a conda environment; SDK v2 has no default."""


def conda_file_of(environment: Environment) -> dict[str, Any]:
    """A conda file with these packages, as SDK v2 takes it."""
    python, lines = packages_of(environment)
    named = {_name_in(line) for line in lines}
    return conda_of(python, [*lines, *(line for line in V2_STEP_PACKAGES if _name_in(line) not in named)])


def conda_of(python: str, requirements: Sequence[str]) -> dict[str, Any]:
    """A conda file with this Python, and what pip installs."""
    return {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}]}

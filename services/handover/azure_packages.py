"""What a run's environment needs on Azure ML, by either SDK."""

from __future__ import annotations

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
_BELOW = {"setuptools": "<82"}
"""azureml-core imports pkg_resources, which later ones lack."""


def packages_of(environment: Environment) -> tuple[str, list[str]]:
    """The Python, such as 3.11, and lines for pip: those that the environment was made from, else its versions of the usual packages."""
    python = ".".join(environment.python_version.split(".")[:2]) or "3.11"
    lines = list(environment.requirements)
    if not lines:
        installed = {name.lower(): number for name, number in environment.packages.items()}
        lines = [_pinned(name, installed[name]) for name in _PACKAGES if name in installed]
    named = {line.split("[")[0].split("=")[0].split("<")[0].split(">")[0].strip().lower() for line in lines}
    for requirement in (*_STEP_PACKAGES, *_BELOW):
        name = requirement.split("[")[0]
        if name not in named:
            lines.append(f"{requirement}{_BELOW.get(name, '')}" if name in _BELOW else _pinned(requirement, _installed(name)))
    return python, lines


def _pinned(name: str, number: str) -> str:
    return name if not number else f"{name}{number}" if number[0] in "<>=~!" else f"{name}=={number}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""Microsoft's image for a conda environment; SDK v2 has no default."""


def conda_file_of(environment: Environment) -> dict[str, Any]:
    """A conda file with these packages, as SDK v2 takes it."""
    python, packages = packages_of(environment)
    return {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": packages}]}

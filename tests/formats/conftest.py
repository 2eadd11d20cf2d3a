"""Environments made to measure, each of a framework that this program's own doesn't have: downloaded, so with `--with-formats` only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = Path(__file__).with_name("train.py")
PACKAGES = {
    "xgboost": ("xgboost-cpu", "scikit-learn"),
    "lightgbm": ("lightgbm", "scikit-learn"),
    "catboost": ("catboost",),
    "mlflow": ("mlflow-skinny", "scikit-learn"),
    "older": ("scikit-learn==1.3.2", "numpy<2", "pyarrow<24"),
}
"""By framework. What scores tables (pandas, pyarrow) is needed by all."""
TORCH = "torch==2.13.0+cpu"
"""Without a GPU's libraries, which take gigabytes: never from PyPI, since it has this version in no other way."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
BESIDE_TORCH = ("keras", "pandas", "pyarrow", "pillow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named: `pytest tests/formats --with-formats`."""
    parser.addoption(
        "--with-formats", action="store_true", help="make environments with XGBoost, LightGBM, CatBoost, MLflow, PyTorch, Keras"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--with-formats", False):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="downloads frameworks: make test-formats"))


@dataclass
class Commands:
    """The real command line on a home of its own."""

    home: Path

    def call(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services", "--home", self.home, *arguments]
        return subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)

    def __call__(self, *arguments: object) -> Any:
        done = self.call(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("formats") / "home")


@pytest.fixture(scope="session")
def environment(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`environment("xgboost")` is made on first use by `environment create`, or for PyTorch and Keras by venv and registered. Returns its
    interpreter."""

    @cache
    def made(framework: str) -> Path:
        if framework != "torch":
            packages = [word for package in (*PACKAGES[framework], "pandas", "pyarrow") for word in ("--package", package)]
            commands("environment", "create", framework, *packages)
            listed = commands("environment", "list")["environments"]
            return Path(next(each["interpreter"] for each in listed if each["name"] == framework))
        place = tmp_path_factory.mktemp("torch") / "venv"
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *BESIDE_TORCH], check=True)
        if subprocess.run([*install, TORCH], check=False, capture_output=True).returncode:  # pip's own configuration may know a place
            subprocess.run([*install, "--extra-index-url", TORCH_INDEX, TORCH], check=True)
        commands("environment", "register", framework, python)
        return python

    return made


@pytest.fixture
def trained(environment: Callable[[str], Path], tmp_path: Path) -> Callable[[str, str], Path]:
    """`trained("xgboost", "regressor")`: a folder as train.py leaves it."""

    def trained(framework: str, kind: str) -> Path:
        folder = tmp_path / "trained"
        folder.mkdir()
        python = environment("torch" if framework == "keras" else framework)
        done = subprocess.run([python, TRAIN, framework, kind, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder

    yield trained  # type: ignore[misc]
    shutil.rmtree(tmp_path, ignore_errors=True)

"""Packages of one small module each, made here: for tests that install something without an index."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest


def wheel(folder: Path, name: str, version: str, *requires: str, content: str = "value = 1\n") -> None:
    """A wheel in `folder`, whose module has this content."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Requires-Dist: {line}\n" for line in requires]
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": "".join([f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *lines]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def take_packages_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip and uv take packages from this folder only."""
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)


def companions_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own: tiny_one, and what the built-in scorers need, all as version 9.0."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("tiny_one", "numpy", "pandas", "pyarrow"):
        wheel(folder, name, "9.0")
    take_packages_from(folder, monkeypatch)

"""What the local workspace says of itself."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError

import pytest

from services.local.workspace import LocalWorkspace


def test_without_azureml_core_a_wheel_is_whole_and_without_pandas_it_is_not(tmp_path, monkeypatch: pytest.MonkeyPatch):
    known = Distribution.from_name

    def from_name(name: str) -> Distribution:
        if name in ("azureml-core", "pandas"):
            raise PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(Distribution, "from_name", from_name)
    checks = {what: (holds, detail) for what, holds, detail in LocalWorkspace(tmp_path).self_check()}
    assert checks["azureml-core"] == (True, "not installed; the Model and Run that scripts import from it are this program's own")
    assert checks["pandas"] == (False, "not installed; scripts that import it will fail")

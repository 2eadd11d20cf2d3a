"""The walks of tests/browser/test_without_code.py with models whose environment is made on the way, by a click."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tests.browser.conftest import chromium, page, shared_dashboard, window  # noqa: F401 - fixtures
from tests.browser.dashboard import dashboard as dashboard_on
from tests.browser.walk import Walk
from tests.conftest import home_in
from tests.formats.conftest import TRAIN


@pytest.fixture(params=["uv", "pip"])
def address(request, tmp_path, monkeypatch):
    """Of a dashboard on an empty home that makes environments by uv, or by venv and pip."""
    if request.param == "uv" and not shutil.which("uv"):
        pytest.skip("uv is not on PATH")
    if request.param == "pip":
        without = [place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "uv").exists()]
        monkeypatch.setenv("PATH", os.pathsep.join(without))
    with home_in(tmp_path) as home, dashboard_on(home) as server:
        yield server.address


def trained(python: Path, framework: str, kind: str, folder: Path) -> tuple[Path, pd.DataFrame, list[object], list[float]]:
    """The model, what it was trained on, its own predictions and their probabilities."""
    folder.mkdir()
    done = subprocess.run([python, TRAIN, framework, kind, folder, "7043"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = json.loads((folder / "expected.json").read_text())
    (model,) = folder.glob("model*")
    return model, pd.read_csv(folder / "rows.csv"), expected["predictions"], expected["probability"]


def check(rows: list[dict[str, str]], predictions: list[object], probabilities: list[float] | None) -> None:
    rows = sorted(rows, key=lambda row: int(row["Row number"]))
    assert [row["Prediction"] for row in rows] == [str(prediction) for prediction in predictions]
    if probabilities is not None:
        assert [float(row["probability"]) for row in rows] == pytest.approx(probabilities, rel=1e-5)


def test_an_excel_file_of_customers_and_an_xgboost_model(address, page, environment, tmp_path):  # noqa: F811
    model, customers, *own = trained(environment("xgboost"), "xgboost", "three classes", tmp_path / "trained")
    customers.insert(0, "customer", [f"C-{number:05}" for number in range(len(customers))])
    customers.to_excel(tmp_path / "customers.xlsx", index=False, engine="xlsxwriter")
    walk = Walk(page, address, "xgboost")
    walk.register_model(model, approves=False)
    walk.make_environment()
    walk.register_dataset(tmp_path / "customers.xlsx", "Each row of this file is one item: 7,043 rows, 5 columns")
    walk.run(r"7,043 rows in [\d,]+ mini-batch")
    check(walk.results("7,043", tmp_path), *own)


def test_parquet_and_an_mlflow_model(address, page, environment, tmp_path):  # noqa: F811
    model, customers, predictions, _ = trained(environment("mlflow"), "mlflow", "classifier", tmp_path / "trained")
    customers.to_parquet(tmp_path / "customers.parquet")
    with zipfile.ZipFile(tmp_path / "churn-model.zip", "w") as archive:
        for path in model.rglob("*"):
            archive.write(path, path.relative_to(model.parent))
    walk = Walk(page, address, "mlflow")
    walk.register_model(tmp_path / "churn-model.zip", approves=True)
    walk.make_environment()
    walk.register_dataset(tmp_path / "customers.parquet", "Each row of this file is one item: 7,043 rows, 5 columns")
    walk.run(r"7,043 rows in [\d,]+ mini-batch")
    check(walk.results("7,043", tmp_path), predictions, None)


def test_a_model_of_an_older_scikit_learn(address, page, environment, tmp_path):  # noqa: F811
    model, customers, *own = trained(environment("older"), "scikit_learn", "classifier", tmp_path / "trained")
    customers.to_csv(tmp_path / "churn.csv", index=False)
    walk = Walk(page, address, "older")
    walk.register_model(model, approves=True)
    walk.make_environment()
    walk.register_dataset(tmp_path / "churn.csv", "Each row of this file is one item: 7,043 rows, 5 columns")
    walk.run(r"7,043 rows in [\d,]+ mini-batch")
    check(walk.results("7,043", tmp_path), *own)

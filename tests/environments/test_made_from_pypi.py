"""A model of an older scikit-learn, trained in a made environment, scored in another that was made for it; what comes as its CPU build."""

from __future__ import annotations

import csv
import subprocess
import sys
import time

import pytest

TRAIN = """
import sys, joblib, numpy, pandas
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
values = numpy.random.default_rng(0).normal(size=(300, 4))
rows = pandas.DataFrame(values, columns=list("abcd"))
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, numpy.where(rows.a + rows.b > 0, "yes", "no"))
joblib.dump(model, sys.argv[1] + "/old.joblib")
rows.to_csv(sys.argv[1] + "/rows.csv", index=False)
rows.assign(prediction=model.predict(rows)).to_csv(sys.argv[1] + "/expected.csv", index=False)
"""


def test_a_model_of_an_older_scikit_learn_is_scored_in_an_environment_made_for_it(command, tmp_path):
    code, trainer = command("environment", "create", "trainer", "--package", "scikit-learn==1.3.2", "--package", "pandas<2.2")
    assert code == 0, trainer
    subprocess.run([trainer["interpreter"], "-c", TRAIN, tmp_path], check=True)
    assert command("model", "register", "old", tmp_path / "old.joblib", "--approve")[0] == 0
    assert command("dataset", "register", "rows", tmp_path / "rows.csv", "--type", "tabular")[0] == 0

    begin = time.monotonic()
    code, answer = command("environment", "create", "old", "--for-model", "old")
    assert (code, answer["error"]["field"]) == (2, "approve")
    assert answer["error"]["requirements"] == ["scikit-learn==1.3.2", "numpy", "pandas", "pyarrow"]
    code, made = command("environment", "create", "old", "--for-model", "old", "--approve")
    assert code == 0, made
    assert made["packages"]["scikit-learn"] == "1.3.2"
    assert made["packages"]["numpy"].startswith("1.")
    print(f"made in {time.monotonic() - begin:.1f} s, {made['size'] / 1e6:,.0f} MB of disk")

    code, run = command("run", "--model", "old", "--dataset", "rows", "--environment", "old", "--wait")
    assert (code, run["status"], run["items_succeeded"]) == (0, "Completed", 300)
    assert command("predictions", run["id"], "--to", tmp_path / "predictions.csv")[0] == 0
    with open(tmp_path / "predictions.csv") as predicted, open(tmp_path / "expected.csv") as expected:
        assert [row["Prediction"] for row in csv.DictReader(predicted)] == [row["prediction"] for row in csv.DictReader(expected)]
    assert command("environment", "delete", "trainer")[1]["freed"] == trainer["size"]


@pytest.mark.skipif(sys.platform != "linux", reason="only there does xgboost bring GPU libraries")
def test_xgboost_comes_without_gpu_libraries(command):
    code, made = command("environment", "create", "boosted", "--package", "xgboost")
    assert code == 0, made
    assert "xgboost-cpu" in made["packages"]
    assert not [name for name in made["packages"] if name.startswith("nvidia")]
    assert made["size"] < 500_000_000
    assert "xgboost-cpu in place of xgboost" in made["notes"][0]


def test_a_package_that_is_too_old_for_every_python_here_is_said(command):
    code, answer = command("environment", "create", "old", "--package", "scikit-learn==0.10")
    assert (code, answer["error"]["field"]) == (2, "requirements")
    assert "no wheel of scikit-learn" in answer["error"]["message"]

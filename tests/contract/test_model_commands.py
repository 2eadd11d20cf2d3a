"""model inspect, and what model register says of what it takes or refuses."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests import recorded_models as recorded


def test_model_inspect_prints_the_card(command, model_file):
    registered = command("model", "register", "m", model_file, "--json").json
    refused = command("model", "inspect", "m", "--json")
    assert (refused.code, refused.error["field"]) == (2, "model")
    command("model", "approve", "m")
    card = command("model", "inspect", "m:1", "--json").json
    assert registered["reference"] == card["reference"] == "m:1"
    names = ["format", "framework", "framework_version", "task", "inputs", "feature_count", "classes", "has_probabilities", "requirements"]
    assert set(names) <= card.keys()
    assert (card["format"], card["task"], card["classes"], card["has_probabilities"]) == (
        "scikit-learn",
        "classification",
        ["0", "1", "2"],
        True,
    )
    assert (card["inputs"], card["requirements"], card["inspected_in"]) == ([], [f"scikit-learn=={card['framework_version']}"], "")
    lines = command("model", "inspect", "m").out.splitlines()
    assert "Task            classification" in lines
    assert "Classes         0, 1, 2" in lines
    assert "Loaded in       this program's own environment" in lines
    assert command("model", "inspect", "m", "--environment", "none", "--json").error["type"] == "NotFound"
    assert command("model", "inspect", "other").code == 2


def test_model_inspect_of_a_framework_that_is_missing_names_the_command(command, tmp_path):
    (tmp_path / "m.json").write_bytes(recorded.XGBOOST_JSON)
    command("model", "register", "boosted", tmp_path / "m.json")
    result = command("model", "inspect", "boosted", "--json")
    assert result.code == 0
    assert result.json["inputs"] == [{"name": "age", "type": "integer"}, {"name": "income", "type": "number"}]
    assert "environment create NAME --for-model boosted:1" in result.json["notes"][0]


def test_a_zipped_mlflow_model_is_registered_as_its_folder(command, tmp_path):
    with zipfile.ZipFile(tmp_path / "churn.zip", "w") as archive:
        archive.writestr(
            "churn/MLmodel", "flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {sklearn_version: 1.3.2}}\n"
        )
        archive.writestr("churn/model.pkl", pickle.dumps({}))
    model = command("model", "register", "churn", tmp_path / "churn.zip", "--json").json
    assert model["kind"] == "MLflow: python_function, sklearn"
    assert model["path"].endswith("/models/churn/1/churn")


def test_what_can_t_be_loaded_is_refused_and_nothing_is_registered(command, tmp_path, home):
    files = {
        "half.ubj": recorded.XGBOOST_UBJSON[:-200],
        "pointer.pkl": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 1\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        refused = command("model", "register", "m", tmp_path / name, "--approve", "--json")
        assert (refused.code, refused.error["type"]) == (2, "IntakeError")
        assert refused.error["hint"]
    assert command("model", "list", "--json").json == {"models": []}
    assert [path for folder in ("models", "incoming") for path in (home / folder).rglob("*") if path.is_file()] == []


def test_types_that_skops_does_not_trust_are_listed_for_consent(command, tmp_path):
    model = make_pipeline(FunctionTransformer(np.cumsum), FunctionTransformer(str.format), LogisticRegression())
    skops.io.dump(model, tmp_path / "m.skops")
    lines = command("model", "register", "m", tmp_path / "m.skops").out.splitlines()
    assert lines[1].startswith("It makes objects of types that skops does not trust: ")
    assert "model approve m:1" in lines[2]

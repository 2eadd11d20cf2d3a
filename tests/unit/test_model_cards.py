"""What a model's file tells, read and never executed; of frameworks that are installed, and of recorded files of those that are not."""

from __future__ import annotations

import json
import os
import pickle
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.domain import Environment, ItemKind, ModelCard, ModelInput, utc_now
from services.intake.model_files import inspect_model
from services.scoring.model_card import read_card, with_advice, with_inspection
from tests import recorded_models as recorded
from tests.unit.test_model_files import Hostile, written, zipped
from tests.unit.test_model_intake import MLMODEL, mlflow_folder

ROWS = (ItemKind.TABLE_ROW, ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE)
HEADED_ROWS = (ItemKind.TABLE_ROW, ItemKind.HEADED_ROW_FILE)
AGE_INCOME = (ModelInput("age", "integer"), ModelInput("income", "number"))
NUMBERS = np.random.default_rng(0).random((60, 4)).astype(np.float32)


def card_of(path: Path) -> ModelCard:
    return read_card(path, inspect_model(path))


def onnx_file(path: Path, model: object) -> Path:
    return written(path, model.SerializeToString())


# ---- ONNX ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_classifier_in_onnx_tells_its_columns_and_classes(tmp_path, zipmap):
    from skl2onnx import to_onnx

    labels = np.array(["cat", "dog", "eel"])[np.arange(60) % 3]
    forest = RandomForestClassifier(3, random_state=0).fit(NUMBERS, labels)
    card = card_of(onnx_file(tmp_path / "m", to_onnx(forest, NUMBERS[:1], options={"zipmap": zipmap})))
    assert (card.format, card.framework, card.task, card.takes) == ("onnx", "skl2onnx", "classification", ROWS)
    assert (card.inputs, card.feature_count) == ((ModelInput("X", "tensor", (None, 4)),), 4)
    assert (card.classes, card.has_probabilities, card.requirements) == (("cat", "dog", "eel"), True, ("onnxruntime",))
    assert card.framework_version


def test_a_regressor_in_onnx_is_one(tmp_path):
    from skl2onnx import to_onnx

    forest = RandomForestRegressor(3, random_state=0).fit(NUMBERS, NUMBERS[:, 0])
    card = card_of(onnx_file(tmp_path / "m", to_onnx(forest, NUMBERS[:1])))
    assert (card.task, card.classes, card.has_probabilities, card.feature_count) == ("regression", (), False, 4)


def test_columns_and_texts_in_onnx_are_told_by_name_and_type(tmp_path):
    import pandas as pd
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    table = pd.DataFrame({"age": [1.0, 2, 3, 4], "plan": list("abab")})
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"]))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, ["n", "y", "n", "y"])
    types = [("age", FloatTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    card = card_of(onnx_file(tmp_path / "columns", convert_sklearn(pipeline, initial_types=types)))
    assert card.inputs == (ModelInput("age", "number", (None, 1)), ModelInput("plan", "text", (None, 1)))
    assert (card.takes, card.feature_count, card.classes) == (HEADED_ROWS, 2, ("n", "y"))

    texts = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film", "very good", "bad"], [1, 0, 1, 0])
    card = card_of(onnx_file(tmp_path / "text", convert_sklearn(texts, initial_types=[("review", StringTensorType([None, 1]))])))
    assert (card.takes[0], card.inputs[0].name, card.inputs[0].type) == (ItemKind.TEXT, "review", "text")


def image_network(**metadata: str):
    """A network of images of 3 × 32 × 24 to five probabilities."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((3, 5), np.float32), "weights")
    operators = [("GlobalAveragePool", ["image"], "a"), ("Flatten", ["a"], "b"), ("MatMul", ["b", "weights"], "c"), ("Softmax", ["c"], "p")]
    nodes = [helper.make_node(name, inputs, [output]) for name, inputs, output in operators]
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 32, 24])
    given = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 5])
    graph = helper.make_graph(
        nodes, "network", [taken, helper.make_tensor_value_info("weights", TensorProto.FLOAT, [3, 5])], [given], [weights]
    )
    model = helper.make_model(graph, producer_name="pytorch", producer_version="2.5.1")
    helper.set_model_props(model, metadata)
    return model


def test_a_network_of_images_tells_size_layout_and_labels(tmp_path):
    card = card_of(
        onnx_file(tmp_path / "m", image_network(names="{0: 'ant', 1: 'bee', 2: 'cow', 3: 'dog', 4: 'eel'}", mean="[0.5, 0.4, 0.3]"))
    )
    assert (card.takes, card.inputs) == ((ItemKind.IMAGE,), (ModelInput("image", "tensor", (None, 3, 32, 24)),))
    assert card.scorer_defaults == {"size": "24x32", "layout": "NCHW", "color": "RGB", "mean": "0.5,0.4,0.3"}
    assert (card.classes, card.task, card.has_probabilities) == (("ant", "bee", "cow", "dog", "eel"), "classification", True)
    assert (card.framework, card.framework_version) == ("pytorch", "2.5.1")
    unnamed = card_of(onnx_file(tmp_path / "n", image_network()))
    assert unnamed.classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("labels", ["[" * 10_000, "__import__('os').system('touch ran')", "{'a': {'b': ", "", ",,,", '{"x": [1]}'])
def test_hostile_metadata_of_a_network_is_text_only(tmp_path, monkeypatch, labels):
    monkeypatch.chdir(tmp_path)
    card = card_of(onnx_file(tmp_path / "m", image_network(names=labels, imgsz="no number", size="[" * 999)))
    assert card.format == "onnx"
    assert not (tmp_path / "ran").exists()


# ---- boosters --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [recorded.XGBOOST_JSON, recorded.XGBOOST_UBJSON], ids=["json", "ubj"])
def test_xgboost_tells_its_columns_version_and_classes(tmp_path, content):
    card = card_of(written(tmp_path / "m", content))
    assert (card.format, card.framework_version, card.task, card.takes) == ("xgboost", "3.2.0", "classification", ROWS)
    assert (card.inputs, card.feature_count, card.classes, card.has_probabilities) == (AGE_INCOME, 2, ("0", "1"), True)
    assert card.requirements == ("xgboost>=3.2.0",)


def test_xgboost_without_names_and_with_several_targets(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.XGBOOST_UNNAMED))
    assert (card.inputs, card.feature_count, card.classes) == ((), 2, ("0", "1", "2"))
    card = card_of(written(tmp_path / "n", recorded.XGBOOST_MANY))
    assert (card.task, card.has_probabilities) == ("multi-output regression", False)


def test_a_large_xgboost_file_is_not_read_whole(tmp_path):
    begin, between, end = recorded.XGBOOST_JSON.partition(b'"trees":[')
    path = tmp_path / "m.json"
    path.write_bytes(begin + between + b" " * (80 << 20) + end)
    started = time.perf_counter()
    assert card_of(path).classes == ("0", "1")
    assert time.perf_counter() - started < 5


def test_lightgbm_tells_its_columns_and_which_are_texts(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.LIGHTGBM))
    assert card.inputs == (ModelInput("age", "number"), ModelInput("income", "number"), ModelInput("plan", "text"))
    assert (card.takes, card.classes, card.has_probabilities, card.framework_version) == (HEADED_ROWS, ("0", "1"), True, "")
    unnamed = recorded.LIGHTGBM.replace(b"age income plan", b"Column_0 Column_1 Column_2")
    assert (card_of(written(tmp_path / "n", unnamed)).inputs, card_of(tmp_path / "n").feature_count) == ((), 3)


def test_catboost_tells_its_version_and_classes_only(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.CATBOOST))
    assert (card.framework_version, card.task, card.classes, card.inputs) == ("1.2.10", "classification", ("leave", "stay"), ())


# ---- pickles, skops, Keras, PyTorch, MLflow ----------------------------------------------------------------------------------------


def test_a_pickle_tells_the_version_it_was_made_with(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.SKLEARN_1_3))
    assert (card.format, card.framework, card.framework_version) == ("scikit-learn", "scikit-learn", "1.3.2")
    assert card.requirements == ("scikit-learn==1.3.2",)


def test_a_pickle_that_needs_other_code_says_which(tmp_path):
    pickled = b"\x80\x04c__main__\nOwnModel\n)\x81cmy_company.models\nOther\n0cxgboost.sklearn\nXGBClassifier\n0."
    card = card_of(written(tmp_path / "m", pickled))
    assert card.requirements == ("xgboost",)
    assert any("my_company" in note for note in card.notes)
    assert any("__main__.OwnModel" in note and "script that saved it" in note for note in card.notes)


def test_a_hostile_pickle_has_a_card_and_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    card = card_of(written(tmp_path / "m", pickle.dumps(Hostile(marker))))
    assert (card.format, card.takes, card.requirements) == ("scikit-learn", (), ())
    assert not marker.exists()


def test_skops_tells_columns_and_version(tmp_path):
    import pandas as pd

    table = pd.DataFrame(NUMBERS, columns=["a", "b", "c", "=d"])
    skops.io.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(table, np.arange(60) % 2), tmp_path / "m")
    card = card_of(tmp_path / "m")
    assert (card.format, [one.name for one in card.inputs], card.feature_count) == ("skops", ["a", "b", "c", "=d"], 4)
    assert card.requirements == ("skops", f"scikit-learn=={card.framework_version}")
    assert card.takes == ROWS


def keras_file(path: Path, config: bytes, version: str = "3.15.1") -> Path:
    metadata = json.dumps({"keras_version": version, "date_saved": "2026-11-29@19:26:00"}).encode()
    return zipped(path, {"config.json": config, "metadata.json": metadata, "model.weights.h5": b"\x89HDF\r\n\x1a\n"})


def test_keras_tells_its_inputs_and_classes(tmp_path):
    images = card_of(keras_file(tmp_path / "images.keras", recorded.KERAS_IMAGES))
    assert (images.takes, images.inputs[0].shape) == ((ItemKind.IMAGE,), (None, 8, 8, 3))
    assert images.scorer_defaults == {"size": "8x8", "layout": "NHWC", "color": "RGB"}
    assert (images.framework_version, images.classes, images.has_probabilities) == ("3.15.1", ("0", "1", "2"), True)
    numbers = card_of(keras_file(tmp_path / "numbers.keras", recorded.KERAS_NUMBERS))
    assert [(one.name, one.shape) for one in numbers.inputs] == [("numbers", (None, 2)), ("more", (None, 4))]
    assert (numbers.takes, numbers.task, numbers.feature_count) == (ROWS, "regression", 6)


def test_an_exported_program_of_pytorch_tells_its_inputs(tmp_path):
    values = {"x": {"dtype": 7, "sizes": [{"as_expr": {"expr_str": "s77"}}, {"as_int": 4}]}}
    specs = [{"parameter": {"arg": {"name": "p_weight"}}}, {"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]
    program = {"graph_module": {"graph": {"tensor_values": values}, "signature": {"input_specs": specs}}, "torch_version": "2.8.0+cpu"}
    card = card_of(zipped(tmp_path / "m.pt2", {"m/models/model.json": json.dumps(program).encode(), "m/archive_format": b"pt2"}))
    assert (card.format, card.framework_version, card.requirements) == ("torch-export", "2.8.0+cpu", ("torch>=2.8.0",))
    assert (card.inputs, card.feature_count, card.takes) == ((ModelInput("x", "tensor", (None, 4)),), 4, ROWS)


def test_mlflow_tells_signature_example_and_requirements(tmp_path):
    folder = mlflow_folder(tmp_path / "m")
    columns = [("age", "long"), ("income", "double"), ("plan", "string"), ("since", "datetime")]
    inputs = json.dumps([{"name": name, "type": type_, "required": True} for name, type_ in columns])
    more = f"signature:\n  inputs: '{inputs}'\nsaved_input_example_info: {{artifact_path: input_example.json}}\n"
    written(folder / "MLmodel", MLMODEL + more.encode())
    written(folder / "python_env.yaml", b"python: 3.11.7\ndependencies: [-r requirements.txt]\n")
    card = card_of(folder)
    assert [(one.name, one.type) for one in card.inputs] == [
        ("age", "integer"), ("income", "number"), ("plan", "text"), ("since", "datetime")
    ]  # fmt: skip
    assert (card.format, card.framework, card.framework_version, card.python_version) == ("mlflow", "scikit-learn", "1.3.2", "3.11.7")
    assert (card.takes, card.requirements) == (HEADED_ROWS, ("mlflow==3.17.2", "scikit-learn==1.3.2"))
    assert card.notes == ("An example of its input comes with it: input_example.json",)


def test_mlflow_s_conda_file_is_read_where_there_is_no_other_list(tmp_path):
    folder = mlflow_folder(tmp_path / "m")
    (folder / "requirements.txt").unlink()
    written(folder / "conda.yaml", b"dependencies: [python=3.10.4, pip, {pip: [mlflow, xgboost==2.1.0]}]\n")
    card = card_of(folder)
    assert (card.requirements, card.python_version) == (("mlflow", "xgboost==2.1.0"), "3.10.4")
    assert any("without a signature" in note for note in card.notes)


def test_mlflow_without_python_function_says_what_to_do(tmp_path):
    folder = mlflow_folder(tmp_path / "m")
    written(folder / "MLmodel", b"flavors: {spark: {model_data: x}}\n")
    assert any("no python_function flavour" in note for note in card_of(folder).notes)


# ---- whatever it holds -----------------------------------------------------------------------------------------------------------

BROKEN = {
    "xgboost numbers for names": recorded.XGBOOST_JSON.replace(b'["age","income"]', b"[1,null]"),
    "xgboost nested": b'{"learner":{"attributes":' + b"[" * 100_000 + b"}",
    "xgboost infinite count": recorded.XGBOOST_UBJSON.replace(b"[#L\0\0\0\0\0\0\0\2S", b"[#L\x7f\xff\xff\xff\xff\xff\xff\xffS"),
    "xgboost nested arrays": b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x01a" + b"[" * 100_000 + b"}",
    "xgboost huge class count": recorded.XGBOOST_JSON.replace(b'"num_class":"0"', b'"num_class":"999999999"'),
    "lightgbm no names": b"tree\nversion=v4\nobjective=binary\nend of trees\n",
    "lightgbm odd": b"tree\nversion=v4\nnum_class=x\nmax_feature_idx=-3\nfeature_names=a b\nfeature_infos=z\nend of trees\n",
    "catboost": b"CBM1" + bytes(4) + b'{"classes_count":1,"class_names":[[[]' + bytes(100),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_lies_or_is_damaged_has_a_card_all_the_same(tmp_path, content):
    card = card_of(written(tmp_path / "m", content))
    assert card.format in ("xgboost", "lightgbm", "catboost")
    assert len(card.classes) <= 100_000


@pytest.mark.parametrize(
    "config", [b"[]", b"null", b"{" * 9999, b'{"config": {"layers": [1, {"class_name": "InputLayer", "config": 3}]}}', b"\xff"]
)
def test_an_archive_that_lies_has_a_card_all_the_same(tmp_path, config):
    assert card_of(keras_file(tmp_path / "k", config)).format == "keras"
    members = {"schema.json": b'{"__loader__": "x", "content":' + (config or b"0") + b"}"}
    assert card_of(zipped(tmp_path / "s", members)).format == "skops"
    assert card_of(zipped(tmp_path / "t", {"m/models/model.json": config})).format == "torch-export"


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", "")
        archive.writestr("config.json", b" " * (65 << 20))
    assert "could not be read" in card_of(tmp_path / "bomb.keras").warnings[0]


def test_thirty_thousand_columns_are_read_at_once(tmp_path):
    names = [f"column {number}, “odd”" for number in range(30_000)]
    learner = json.dumps(names, ensure_ascii=False).encode()
    content = recorded.XGBOOST_JSON.replace(b'["age","income"]', learner).replace(b'["int","float"]', b"[]")
    started = time.perf_counter()
    card = card_of(written(tmp_path / "m", content))
    assert [one.name for one in card.inputs] == names
    assert time.perf_counter() - started < 3


# ---- beside an environment -------------------------------------------------------------------------------------------------------


def environment(**packages: str) -> Environment:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return Environment("scoring", 3, "/usr/bin/python3", "3.11.7", named, utc_now())


def test_what_an_environment_lacks_is_said_with_the_command_that_helps(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.XGBOOST_JSON))
    advised = with_advice(card, "churn:2", environment(scikit_learn="1.9.1"))
    assert advised.warnings == ("Needs xgboost, which environment scoring:3 does not have",)
    assert advised.notes == ("Make an environment for this model; on the command line: environment create NAME --for-model churn:2",)
    assert with_advice(card, "churn:2", environment(xgboost_cpu="3.3.0")) == card
    loaded = with_inspection(card, {"task": "classification"}, environment(a_build_of_xgboost="3.3.0"))
    assert with_advice(loaded, "churn:2", environment(a_build_of_xgboost="3.3.0")) == loaded


def test_another_backend_of_keras_than_tensorflow_is_nothing_that_lacks():
    card = ModelCard("keras", framework="keras", requirements=("keras>=3", "tensorflow"))
    assert with_advice(card, "m:1", environment(keras="3.12.0", torch="2.9.0")) == card
    (warning,) = with_advice(card, "m:1", environment(keras="3.12.0")).warnings
    assert warning.startswith("Needs tensorflow, which environment scoring:3 does not have")


@pytest.mark.parametrize(
    ("content", "there", "is_said"),
    [
        (recorded.SKLEARN_1_3, {"scikit_learn": "1.9.1"}, "Made with scikit-learn 1.3.2, and environment scoring:3 has 1.9.1"),
        (recorded.SKLEARN_1_3, {"scikit_learn": "1.3.2"}, ""),
        (recorded.SKLEARN_1_3, {"scikit_learn": "1.3.0"}, ""),  # another patch release
        (recorded.XGBOOST_JSON, {"xgboost": "3.3.0"}, ""),
        (recorded.XGBOOST_JSON, {"xgboost": "2.1.0"}, "Made with xgboost 3.2.0, and environment scoring:3 has 2.1.0"),
        (recorded.XGBOOST_JSON, {"xgboost": "odd"}, "Made with xgboost 3.2.0, and environment scoring:3 has odd"),
    ],
)
def test_another_version_than_it_was_made_with_is_said(tmp_path, content, there, is_said):
    card = card_of(written(tmp_path / "m", content))
    advised = with_advice(card, "m:1", environment(pandas="3.0", **there))
    other = [warning for warning in advised.warnings if not warning.startswith("Needs ")]
    assert other == ([is_said] if is_said else [])


def test_of_mlflow_s_list_only_what_scoring_needs_is_advised():
    card = ModelCard("mlflow", "scikit-learn", "1.3.2", requirements=("scikit-learn==1.3.2", "matplotlib==3.8", "mlflow==3.1"))
    advised = with_advice(card, "m:1", environment(scikit_learn="1.9.1"))
    assert advised.warnings == (
        "Made with scikit-learn 1.3.2, and environment scoring:3 has 1.9.1",
        "Needs mlflow, which environment scoring:3 does not have",
    )


def test_of_what_a_loaded_model_says_only_the_right_types_count(tmp_path):
    card = card_of(written(tmp_path / "m", recorded.SKLEARN_1_3))
    says = {
        "framework_version": "9.9", "task": "classification", "classes": ["a", "b"], "feature_count": "3", "inputs": [{"name": 5}],
        "takes": ["a row of a table", "a spoon"], "has_probabilities": "maybe", "notes": ["one"], "inspected_in": "forged:1", "extra": 1,
    }  # fmt: skip
    merged = with_inspection(card, says, environment())
    assert (merged.framework_version, merged.task, merged.classes, merged.feature_count) == ("1.3.2", "classification", ("a", "b"), 3)
    assert (merged.inputs, merged.takes, merged.has_probabilities, merged.notes) == ((), (), None, ("one",))
    assert merged.inspected_in == "scoring:3"


def test_joblib_s_own_compression_hides_nothing(tmp_path):
    joblib.dump(LogisticRegression().fit(NUMBERS, np.arange(60) % 2), tmp_path / "m", compress=3)
    card = card_of(tmp_path / "m")
    assert (card.framework, card.feature_count, card.takes) == ("scikit-learn", 4, ROWS)
    assert os.path.getsize(tmp_path / "m") > 0

"""The built-in scorers give the framework's own predictions, for every format of this environment, and one bad item fails alone."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image

from tests import scoring_models as made

pytestmark = pytest.mark.slow  # scikit-learn's models

SCRIPTS = Path(__file__).parents[2] / "batch_scripts"
Scorer = Callable[..., Any]
ESTIMATORS = ("classifier", "forest", "regressor", "search", "clusterer", "outliers", "several classes", "several numbers")


@pytest.fixture(scope="module")
def estimators() -> dict[str, Any]:
    return made.estimators() | {"pipeline": made.pipeline(), "texts": made.text_pipeline()}


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """`scorer("score_tables", folder of the model, *arguments)`: the script after init(), as a worker has it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def initialised(name: str, folder: Path, *arguments: str) -> Any:
        monkeypatch.setenv("AZUREML_MODEL_DIR", str(folder))
        monkeypatch.setattr(sys, "argv", ["script.py", "--mini_batch_size", "5", *arguments])
        script = importlib.reload(importlib.import_module(name))
        script.init()
        return script

    return initialised


@pytest.fixture
def table_scorer(scorer, estimators, tmp_path) -> Scorer:
    """`table_scorer("classifier", *arguments)`: score_tables.py with that estimator."""

    def initialised(model: Any, *arguments: str, format_: str = "joblib") -> Any:
        chosen = estimators[model] if isinstance(model, str) else model
        return scorer("score_tables", made.saved(chosen, tmp_path / "model", format_).parent, *arguments)

    return initialised


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---- the matrix ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["joblib", "skops"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_tables_rows_get_the_estimators_own_predictions(table_scorer, estimators, kind, format_):
    model, rows = estimators[kind], pd.DataFrame(made.numbers(), columns=list("wxyz"))
    result = table_scorer(kind, format_=format_).run(rows)
    predictions = [column for column in result if column.startswith("prediction")]
    assert np.array_equal(result[predictions].to_numpy().squeeze(), model.predict(made.numbers()))
    if kind == "outliers":
        assert np.array_equal(result["score"], model.decision_function(made.numbers()))
    if kind in ("classifier", "forest", "search"):
        assert np.array_equal(result["probability"], model.predict_proba(made.numbers()).max(axis=1))


@pytest.mark.parametrize("kind", ["classifier", "forest", "regressor", "clusterer", "outliers", "several numbers", "pipeline"])
def test_a_tables_rows_get_the_predictions_of_onnxruntime(table_scorer, estimators, tmp_path, kind):
    result = table_scorer(kind, "--probabilities", "all", format_="onnx").run(
        made.table() if kind == "pipeline" else made.table()[[*made.COLUMNS]]
    )
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    rows = made.table()
    feed = {"X": made.numbers().astype(np.float32)}
    if kind == "pipeline":
        feed = {each.name: rows[[each.name]].to_numpy(object if each.name == "city" else np.float32) for each in session.get_inputs()}
    own = session.run(None, feed)
    predictions = [column for column in result if column.startswith("prediction")]
    assert np.array_equal(result[predictions].to_numpy().squeeze(), np.asarray(own[0]).squeeze())
    agree = np.isclose if kind in ("regressor", "several numbers") else np.equal
    assert (
        agree(result[predictions].to_numpy().squeeze(), estimators[kind].predict(rows if kind == "pipeline" else made.numbers())).mean()
        > 0.95
    )
    if kind in ("classifier", "forest", "pipeline"):
        assert np.array_equal(result["probability high"], np.array([row["high"] for row in own[1]], np.float32))


@pytest.mark.parametrize("format_", ["joblib", "skops"])
def test_a_pipeline_gets_its_columns_by_name_in_any_order(table_scorer, estimators, format_):
    shuffled = made.table().assign(id=range(made.ROWS), note="x")[["id", "city", "score", "note", "visits", "income", "age"]]
    result = table_scorer("pipeline", "--keep", "id", "--probabilities", "all", format_=format_).run(shuffled)
    model = estimators["pipeline"]
    assert list(result) == ["prediction", "probability", "probability high", "probability low", "probability mid", "id"]
    assert list(result["prediction"]) == list(model.predict(made.table()))
    assert np.array_equal(result.filter(regex="probability .").to_numpy(), model.predict_proba(made.table()))
    assert list(result["id"]) == list(range(made.ROWS))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_files_of_one_row_get_the_models_own_predictions(scorer, estimators, tmp_path, header, separator):
    rows, paths = made.table() if header else made.table()[[*made.COLUMNS]], []
    for number in range(12):
        paths.append(tmp_path / f"row {number}.csv")
        rows.iloc[[number]].to_csv(paths[-1], index=False, header=header, sep=separator)
    model = estimators["pipeline" if header else "classifier"]
    script = scorer("score_rows", made.saved(model, tmp_path / "model", "joblib").parent)
    result = script.run([str(path) for path in paths])
    expected = model.predict(rows[:12] if header else rows[:12].to_numpy())
    assert list(result) == ["file", "prediction", "probability"]
    assert list(result["file"]) == [path.name for path in paths]
    assert list(result["prediction"]) == list(expected)


def test_texts_get_the_models_own_predictions(scorer, estimators, tmp_path):
    words, model = made.texts(8), estimators["texts"]
    paths = [tmp_path / f"{number}.txt" for number in range(8)]
    for path, text in zip(paths, words, strict=True):
        path.write_text(text, encoding="utf-16" if path.stem == "3" else "utf-8")
    result = scorer("score_texts", made.saved(model, tmp_path / "model", "skops").parent, "--top", "2").run([str(path) for path in paths])
    assert list(result) == ["file", "prediction", "probability", "prediction 2", "probability 2"]
    assert list(result["prediction"]) == list(model.predict(words))
    assert np.allclose(result["probability"] + result["probability 2"], 1)


def test_texts_get_the_predictions_of_onnxruntime(scorer, estimators, tmp_path):
    words, paths = made.texts(8), [tmp_path / f"{number}.txt" for number in range(8)]
    for path, text in zip(paths, words, strict=True):
        path.write_text(text)
    model = made.saved(estimators["texts"], tmp_path / "model", "onnx")
    labels, maps = onnxruntime.InferenceSession(model).run(None, {"X": np.array(words, dtype=object).reshape(-1, 1)})
    assert list(labels) == list(estimators["texts"].predict(words))
    result = scorer("score_texts", model.parent).run([str(path) for path in paths])
    assert list(result["prediction"]) == list(labels)
    assert np.array_equal(result["probability"], np.array([max(row.values()) for row in maps], np.float32))
    of_rows = scorer("score_tables", model.parent, "--keep", "id").run(pd.DataFrame({"id": range(8), "review": words}))
    assert list(of_rows["prediction"]) == list(labels)


def test_a_column_of_text_of_a_table_is_scored(table_scorer, estimators):
    rows = pd.DataFrame({"id": range(8), "review": made.texts(8)})
    result = table_scorer("texts", "--input", "text=review").run(rows)
    assert list(result["prediction"]) == list(estimators["texts"].predict(made.texts(8)))
    with pytest.raises(ValueError, match="one column of text, and the table has id, review; say which with --input text=COLUMN"):
        table_scorer("texts").run(rows)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_images_get_the_graphs_own_outputs(scorer, tmp_path, layout, batch):
    (tmp_path / "model").mkdir()
    path = made.image_model(tmp_path / "model" / "net.onnx", layout=layout, batch=batch)
    files = made.images(tmp_path / "images")
    result = scorer("score_images", path.parent, "--probabilities", "all", "--mean", "0.1,0.2,0.3", "--std", "0.5").run(
        [str(file) for file in files]
    )
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float32) / np.float32(255)
    pixels = (pixels - np.array([0.1, 0.2, 0.3], np.float32)) / np.float32(0.5)
    pixels = pixels.transpose(0, 3, 1, 2) if layout == "NCHW" else pixels
    session = onnxruntime.InferenceSession(made.image_model(tmp_path / "open.onnx", layout=layout))
    (own,) = session.run(None, {"image": np.ascontiguousarray(pixels)})
    assert list(result) == ["file", "prediction", "probability", *(f"probability {label}" for label in made.LABELS)]
    assert list(result["prediction"]) == [made.LABELS[place] for place in own.argmax(axis=1)] == [*made.LABELS, *made.LABELS]
    assert np.allclose(result.filter(regex="probability .").to_numpy(), own, atol=1e-6)


def test_a_graph_without_softmax_has_classes_and_no_probabilities(scorer, tmp_path, caplog):
    folder = tmp_path / "model"
    folder.mkdir()
    made.image_model(folder / "net.onnx", softmax=False, metadata=False)
    files = [str(file) for file in made.images(tmp_path / "images")]
    assert list(scorer("score_images", folder).run(files)["prediction"]) == [0, 1, 2, 0, 1, 2]
    assert any("not probabilities" in line for line in warned(caplog))
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    for labels in ("red,green,blue", "names.txt"):
        result = scorer("score_images", folder, "--labels", labels).run(files)
        assert list(result) == ["file", "prediction"]
        assert list(result["prediction"]) == ["red", "green", "blue"] * 2
    with pytest.raises(ValueError, match="there are 2 labels, and the model's output has 3 numbers"):
        scorer("score_images", folder, "--labels", "red,green")


def test_scores_of_a_support_vector_machine_are_no_probabilities(table_scorer):
    from sklearn.svm import SVC

    model = SVC().fit(made.numbers(), made.classes() == "high")
    result = table_scorer(model, format_="onnx").run(made.table()[[*made.COLUMNS]])
    assert list(result) == ["prediction"]
    assert np.array_equal(result["prediction"], model.predict(made.numbers()))


def test_what_a_graphs_metadata_says_of_images_is_taken(scorer):
    formats = importlib.import_module("_model_formats") if scorer else None
    said = {"names": "{0: 'person', 1: 'bus, red'}", "imgsz": "[480, 640]", "mean": "[0.5, 0.4, 0.3]", "other": "x"}
    assert formats.labels_in(said) == ["person", "bus, red"]
    assert formats.image_defaults(said, [None, 3, None, None]) == {
        "size": "640x480",
        "mean": "0.5,0.4,0.3",
        "layout": "NCHW",
        "color": "RGB",
    }
    assert formats.image_defaults({}, [1, 28, 30, 1]) == {"layout": "NHWC", "color": "L", "size": "30x28"}
    assert [formats.labels_in({"labels": text}) for text in ('["a", "b"]', "a, b", "a\nb", '{"1": "b", "0": "a"}')] == [["a", "b"]] * 4


# ---- columns ---------------------------------------------------------------------------------------------------------------------------


def test_columns_of_other_names_are_taken_in_order_with_a_warning(table_scorer, estimators, caplog):
    rows = made.table().set_axis(["a", "b", "c", "d", "e"], axis=1)
    result = table_scorer("pipeline").run(rows)
    assert list(result["prediction"]) == list(estimators["pipeline"].predict(made.table()))
    assert any("taken in their order" in line for line in warned(caplog))
    caplog.clear()
    table_scorer("pipeline", "--by-order").run(rows)
    assert warned(caplog) == []


def test_a_column_that_is_missing_is_named_and_can_be_chosen(table_scorer, estimators):
    rows = made.table().rename(columns={"income": "yearly=income"})
    with pytest.raises(ValueError, match="the table lacks income, which the model takes; the table has age, yearly=income"):
        table_scorer("pipeline").run(rows)
    result = table_scorer("pipeline", "--input", "income=yearly=income").run(rows)
    assert list(result["prediction"]) == list(estimators["pipeline"].predict(made.table()))
    with pytest.raises(ValueError, match="the table has 5 columns, and the model takes 4"):
        table_scorer("classifier").run(rows)
    chosen = [f"--input={place}={name}" for place, name in enumerate(["age", "yearly=income", "visits", "score"], 1)]
    assert list(table_scorer("classifier", *chosen).run(rows)["prediction"]) == list(estimators["classifier"].predict(made.numbers()))


def test_two_columns_of_one_name_are_refused_by_name_and_taken_by_order(table_scorer):
    rows = made.table().set_axis(["age", "age", "visits", "score", "city"], axis=1)
    with pytest.raises(ValueError, match="2 columns of the table are called 'age'"):
        table_scorer("pipeline", "--input", "income=age").run(rows)
    assert len(table_scorer("pipeline", "--by-order").run(rows)) == made.ROWS


def test_a_kept_columns_name_stays_and_ours_gives_way(table_scorer):
    rows = made.table().assign(prediction="theirs", **{"probability high": 1})
    result = table_scorer("pipeline", "--keep", "prediction", "--keep=probability high", "--probabilities=all").run(rows)
    assert list(result) == [
        "model prediction", "probability", "model probability high", "probability low", "probability mid", "prediction", "probability high",
    ]  # fmt: skip
    assert set(result["prediction"]) == {"theirs"}
    result = table_scorer("pipeline", "--keep", "Prediction", "--probabilities=off").run(rows.rename(columns={"prediction": "Prediction"}))
    assert list(result) == ["model prediction", "Prediction"]


def test_thirty_thousand_columns_are_scored(table_scorer):
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(6, 30_000))
    rows = pd.DataFrame(x, columns=[f"g{number}" for number in range(30_000)])
    model = LogisticRegression(max_iter=5, tol=10).fit(x, [0, 1] * 3)
    expected = list(model.predict(x))
    model.feature_names_in_ = rows.columns.to_numpy(object)  # as of a DataFrame, which scikit-learn looks through column by column
    assert list(table_scorer(model).run(rows.iloc[:, ::-1])["prediction"]) == expected


def test_a_cell_of_two_megabytes_is_scored(table_scorer, scorer, estimators, tmp_path):
    long = "good " * 400_000
    result = table_scorer("texts", "--keep", "text").run(pd.DataFrame({"text": ["bad", long]}))
    assert list(result["prediction"]) == list(estimators["texts"].predict(["bad", long]))
    (tmp_path / "row.csv").write_text("age,income,visits,score,city\n1,2,3,4," + long)
    script = scorer("score_rows", made.saved(estimators["pipeline"], tmp_path / "rows model", "joblib").parent)
    assert len(script.run([str(tmp_path / "row.csv")])) == 1


# ---- what fails alone ------------------------------------------------------------------------------------------------------------------


def test_bad_rows_of_a_table_fail_alone_and_the_index_says_which_are_left(table_scorer, estimators, caplog):
    rows = made.table()[[*made.COLUMNS]].astype({"age": object})
    rows.loc[3, "age"] = "n/a"
    rows.loc[5, "visits"] = np.nan
    rows.loc[8, "score"] = np.inf
    result = table_scorer("classifier").run(rows)
    left = [row for row in range(made.ROWS) if row not in (3, 5, 8)]
    assert list(result.index) == left
    assert list(result["prediction"]) == list(estimators["classifier"].predict(made.numbers()[left]))
    lines = warned(caplog)
    assert lines[0] == "Row 4 of 60 in its mini-batch failed: its 'age' is 'n/a', not a number"
    assert lines[1].startswith("Row 6 of 60 in its mini-batch failed: ValueError: Input X contains NaN")
    assert lines[1].endswith("(1 of 4 is NaN)")
    assert lines[2].endswith("(1 of 4 is infinite)")


def test_a_column_of_text_in_place_of_numbers_is_said_once(table_scorer):
    with pytest.raises(ValueError, match=r"the column 'city' is text, and the model takes numbers there: '(Rome|Oslo)'"):
        table_scorer("classifier").run(made.table()[["age", "income", "visits", "city"]])


@pytest.mark.parametrize("columns", [1, 2], ids=["a tensor", "a column each"])
def test_a_graph_of_whole_numbers_gets_no_others_made_of_what_is_none(scorer, tmp_path, caplog, columns):
    made.whole_number_model(tmp_path / "model" / "net.onnx", inputs=columns)
    rows = pd.DataFrame({"a": [1.0, np.nan, 1.7, 2.0**31 - 1, 3e9, np.inf], "b": [1, 1, 1, 1, 1, 1]})
    result = scorer("score_tables", tmp_path / "model", "--keep", "a").run(rows)
    assert list(result.index) == [0, 3]
    assert list(result["prediction"]) == [2.0, 2.0**31]
    said = warned(caplog)
    assert any("Row 2 of 6" in line and "'a' is missing" in line for line in said)
    assert any("Row 3 of 6" in line and "'a' is 1.7, and the model takes whole numbers from" in line for line in said)


def test_a_column_of_dates_in_place_of_numbers_is_refused(table_scorer):
    rows = pd.DataFrame(made.numbers(), columns=list("wxyz")).assign(x=pd.Timestamp("2026-01-31"))
    with pytest.raises(ValueError, match="the column 'x' is a date, and the model takes numbers there"):
        table_scorer("classifier").run(rows)


def test_numbers_as_text_are_a_number_category_and_not_an_unknown_one(table_scorer, caplog):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    known = pd.DataFrame({"region": [1, 2, 3] * 10})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["region"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(known, known["region"] == 2)
    result = table_scorer(model).run(pd.DataFrame({"region": ["1", "2", "none", "3"]}))
    assert list(result.index) == [0, 1, 3]
    assert list(result["prediction"]) == [False, True, False]
    assert any("'none', not a number" in line for line in warned(caplog))


def test_the_second_likeliest_and_class_2_have_names_of_their_own(table_scorer, estimators):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(made.numbers(), np.arange(len(made.numbers())) % 4)
    result = table_scorer(model, "--probabilities", "all", "--top", "2").run(pd.DataFrame(made.numbers(), columns=list("wxyz")))
    chances = model.predict_proba(made.numbers())
    assert [column for column in result if column != column.strip()] == []
    assert np.array_equal(result["probability of 2"], chances[:, 2])
    assert np.array_equal(result["probability 2"], np.sort(chances, axis=1)[:, -2])


def test_predictions_that_are_nan_or_infinite_are_rows_too(table_scorer):
    from sklearn.dummy import DummyRegressor

    model = DummyRegressor(strategy="constant", constant=1.0).fit(made.numbers(), made.numbers()[:, 0])
    for value in (np.nan, np.inf, -np.inf):
        model.constant_ = np.array([[value]])
        assert np.array_equal(
            table_scorer(model).run(made.table()[[*made.COLUMNS]])["prediction"], np.full(made.ROWS, value), equal_nan=True
        )


def test_a_class_that_nobody_declared_has_no_probability(table_scorer, estimators, caplog):
    import copy

    model = copy.deepcopy(estimators["pipeline"])
    model.steps.append(("own", made.Surprising(model.steps.pop()[1])))
    result = table_scorer(model).run(made.table())
    assert result["prediction"][0] == "surprise"
    assert np.isnan(result["probability"][0])
    assert result["probability"][1:].notna().all()
    assert any("predicts 'surprise', which is none of the classes" in line for line in warned(caplog))


def test_an_image_that_is_none_or_of_another_shape_fails_alone(scorer, tmp_path, caplog):
    (tmp_path / "model").mkdir()
    made.image_model(tmp_path / "model" / "net.onnx")
    files = made.images(tmp_path / "images")
    files[1].write_bytes(b"no image")
    files[2].write_bytes(files[3].read_bytes()[:90])
    files[4].write_bytes(b"")
    Image.new("L", (90, 30), 200).save(tmp_path / "images" / "grey.png")
    script = scorer("score_images", tmp_path / "model")
    result = script.run([str(file) for file in [*files, tmp_path / "images" / "grey.png", tmp_path / "gone.png"]])
    assert list(result["file"]) == ["picture 0.png", "picture 3.png", "picture 5.png", "grey.png"]
    said = {line.split("' failed: ")[0].split("/")[-1]: line.split("' failed: ")[1] for line in warned(caplog)}
    assert said["picture 1.png"] == "it is not an image that can be read"
    assert said["picture 2.png"].startswith("it is a damaged image")
    assert (said["picture 4.png"], said["gone.png"]) == ("it is empty", "it is not there")


def test_images_keep_their_size_where_the_model_takes_any(scorer, tmp_path, caplog):
    from onnx import load, save

    folder = tmp_path / "model"
    folder.mkdir()
    model = load(made.image_model(folder / "net.onnx"))
    for dimension, name in ((2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[dimension].dim_param = name
    save(model, folder / "net.onnx")
    files = made.images(tmp_path / "images")
    Image.new("RGB", (90, 30), (200, 0, 0)).save(tmp_path / "images" / "wide.png")
    result = scorer("score_images", folder).run([str(tmp_path / "images" / "wide.png"), *map(str, files)])
    assert list(result["prediction"]) == ["cat", *made.LABELS, *made.LABELS]
    assert any("--size WIDTHxHEIGHT" in line for line in warned(caplog))


def test_a_shape_that_the_graph_refuses_costs_that_image_alone(scorer, tmp_path, caplog):
    from onnx import TensorProto, helper, load, numpy_helper, save

    folder = tmp_path / "model"
    folder.mkdir()
    model = load(made.image_model(folder / "net.onnx"))
    for dimension, name in ((2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[dimension].dim_param = name
    flat = np.array([-1, 3 * made.SIDE * made.SIDE], np.int64)
    weights = np.repeat(np.eye(3, dtype=np.float32), made.SIDE * made.SIDE, axis=0)
    del model.graph.node[:], model.graph.initializer[:], model.graph.output[:]
    model.graph.node.extend(
        [helper.make_node("Reshape", ["image", "flat"], ["row"]), helper.make_node("MatMul", ["row", "weights"], ["logits"])]
    )
    model.graph.initializer.extend([numpy_helper.from_array(flat, "flat"), numpy_helper.from_array(weights, "weights")])
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]))
    save(model, folder / "net.onnx")
    files = made.images(tmp_path / "images")
    Image.new("RGB", (9, 7), (200, 0, 0)).save(files[4])
    result = scorer("score_images", folder).run([str(file) for file in files])
    assert list(result["file"]) == [f"picture {number}.png" for number in (0, 1, 2, 3, 5)]
    (line,) = [line for line in warned(caplog) if "failed" in line]
    assert line.startswith(f"{str(files[4])!r} failed: ")
    assert line.endswith("(the image is 9 by 7)")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ("age,income,visits,score,city\n1,2,3,4,Rome\n5,6,7,8,Oslo\n", "it has 2 rows after its header, and one is expected"),
        ("age,income,visits,score,city\n1,2,3\n", "it has 3 fields, and its header 5"),
        ("age,income,visits,city\n1,2,3,Rome\n", "it lacks score, which the model takes"),
        ("age,income,visits,score,city\n1,2,x,4,Rome\n", "its 'visits' is 'x', not a number"),
        ("age,income,visits,score,city\n1,2,3,4,\"Rome\n", "it is not one row"),
        (b"\xff\xfe\x00odd!", "it is not utf-16 text"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_one_row_of_the_model_fails_alone(scorer, estimators, tmp_path, caplog, content, reason):
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    good.write_text("age,income,visits,score,city\n1,2,3,4,Rome\n")
    script = scorer("score_rows", made.saved(estimators["pipeline"], tmp_path / "model", "joblib").parent)
    assert list(script.run([str(bad), str(good)])["file"]) == ["good.csv"]
    (line,) = [line for line in warned(caplog) if "failed" in line]
    assert line.startswith(f"{str(bad)!r} failed: {reason}")


def test_a_text_of_a_file_is_read_alike_whatever_the_other_files_hold(scorer, tmp_path):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    codes = ["007", "7", "A"]
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["code"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(pd.DataFrame({"code": codes * 9}), codes * 9)
    script = scorer("score_rows", made.saved(model, tmp_path / "model", "joblib").parent)
    files = [tmp_path / f"{code}.csv" for code in codes]
    for file, code in zip(files, codes, strict=True):
        file.write_text(f"code,n\n{code},1\n")
    assert list(script.run(list(map(str, files)))["prediction"]) == codes
    assert [script.run([str(file)])["prediction"][0] for file in files] == codes


def test_of_two_rows_of_numbers_none_is_taken_for_a_header(scorer, estimators, tmp_path, caplog):
    folder = made.saved(estimators["classifier"], tmp_path / "model", "joblib").parent
    file = tmp_path / "a.csv"
    file.write_text("1,2,3,4\n5,6,,8\n")
    assert scorer("score_rows", folder).run([str(file)]).empty
    assert any("it has 2 rows, and one is expected" in line and "--header on" in line for line in warned(caplog))
    file.write_text("0,1,2,3\n5,6,7,8\n")
    assert len(scorer("score_rows", folder, "--header", "on").run([str(file)])) == 1


def test_files_of_one_name_in_two_folders_are_told_apart(scorer, estimators, tmp_path):
    paths = [tmp_path / folder / "row.csv" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("1,2,3,4")
    script = scorer("score_rows", made.saved(estimators["classifier"], tmp_path / "model", "joblib").parent)
    assert list(script.run([str(path) for path in paths])["file"]) == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "a Git LFS pointer"),
        ("m.joblib", b"<!DOCTYPE html><html>", "an HTML page"),
        ("m.joblib", b"\x80\x04\x95half", "nothing that joblib or pickle can read"),
        ("m.bin", b"", "empty"),
        ("m.safetensors", b"\x40\x00\x00\x00\x00\x00\x00\x00{\"a\":", "weights without their architecture"),
        ("m.xgb", b"binf\x00\x00", "the old binary format"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_said(scorer, tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Exception, match=reason):
        scorer("score_tables", tmp_path)


def test_a_model_of_a_framework_that_is_not_there_names_it(scorer, tmp_path):
    (tmp_path / "m.json").write_text('{"learner": {}}')
    with pytest.raises(ModuleNotFoundError, match="the environment lacks xgboost, which this xgboost model needs"):
        scorer("score_tables", tmp_path)


def test_a_dict_around_a_model_is_told_with_its_keys(scorer, estimators, tmp_path):
    made.saved({"model": estimators["classifier"], "columns": []}, tmp_path / "model", "joblib")
    with pytest.raises(ValueError, match=r"a dict with 'model', 'columns', which has no predict.*the model is under 'model'"):
        scorer("score_tables", tmp_path / "model")

"""Small models of the formats that this program's own environment has, and what they are trained on: for the tests of the scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = ("age", "income", "visits", "score")
ROWS = 60
LABELS = ("cat", "dog", "owl")
SIDE = 8
"""Pixels of an image."""


def table(rows: int = ROWS) -> pd.DataFrame:
    """Customers: four columns of numbers and one of text, the same every time."""
    numbers = np.random.default_rng(1).normal(size=(rows, len(COLUMNS))).round(4)
    return pd.DataFrame(numbers, columns=list(COLUMNS)).assign(city=np.where(numbers[:, 0] > 0, "Rome", "Oslo"))


def texts(count: int = 40) -> list[str]:
    return [f"{word} number {place}" for place, word in zip(range(count), ["good", "bad", "great", "awful"] * count, strict=False)]


def numbers() -> np.ndarray:
    return table()[list(COLUMNS)].to_numpy()


def classes() -> np.ndarray:
    """Three classes of the rows, as texts."""
    return np.array(["high", "low", "mid"])[np.digitize(numbers()[:, 1], [-0.5, 0.5])]


def pipeline() -> Any:
    """What an analyst has: columns by name, text and numbers."""
    by_type = ColumnTransformer(
        [("n", make_pipeline(SimpleImputer(), StandardScaler()), list(COLUMNS)), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    return make_pipeline(by_type, LogisticRegression()).fit(table(), classes())


def text_pipeline() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts(), ["pos", "neg"] * 20)


def estimators() -> dict[str, Any]:
    """By what they are, each trained on the same numbers; all small."""
    x, y = numbers(), classes()
    pair = np.column_stack([y, np.where(x[:, 0] > 0, "yes", "no")])
    return {
        "classifier": LogisticRegression().fit(x, y),
        "forest": RandomForestClassifier(5, random_state=0, n_jobs=-1).fit(x, y),
        "regressor": LinearRegression().fit(x, x[:, 0] * 2),
        "search": GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2).fit(x, y),
        "clusterer": KMeans(3, n_init=1, random_state=0).fit(x),
        "outliers": IsolationForest(n_estimators=5, random_state=0).fit(x),
        "several classes": MultiOutputClassifier(LogisticRegression()).fit(x, pair),
        "several numbers": MultiOutputRegressor(Ridge()).fit(x, x[:, :2]),
    }


def image_model(path: Path, *, layout: str = "NCHW", softmax: bool = True, batch: int | str = "n", metadata: bool = True) -> Path:
    """An ONNX model of three classes that looks at the mean of each channel."""
    nchw = layout == "NCHW"
    shape = [batch, 3, SIDE, SIDE] if nchw else [batch, SIDE, SIDE, 3]
    weights = np.array([[4, -2, 0], [0, 4, -2], [-2, 0, 4]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["chances"], axis=1))
    graph = helper.make_graph(
        nodes,
        "images",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("chances" if softmax else "logits", TensorProto.FLOAT, [batch, 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 3] if nchw else [1, 2], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        helper.set_model_props(model, {"labels": ",".join(LABELS)})
    onnx.save(model, path)
    return path


def whole_number_model(path: Path, *, inputs: int = 1) -> Path:
    """An ONNX model of two 32-bit integers a row, in one input or in two: their sum."""
    path.parent.mkdir(exist_ok=True)
    shape = [None, 2 // inputs]
    taken = [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name in "ab"[:inputs]]
    nodes = [helper.make_node("Cast", [each.name], [f"{each.name} cast"], to=TensorProto.DOUBLE) for each in taken]
    if inputs == 1:
        nodes.append(helper.make_node("ReduceSum", ["a cast"], ["sum"], keepdims=1))
    else:
        nodes.append(helper.make_node("Add", ["a cast", "b cast"], ["sum"]))
    graph = helper.make_graph(nodes, "sums", taken, [helper.make_tensor_value_info("sum", TensorProto.DOUBLE, [None, 1])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


def images(folder: Path, count: int = 6) -> list[Path]:
    """PNG files, the first of them red, then green, then blue."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 80, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[..., number % 3] += 150
        paths.append(folder / f"picture {number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def saved(model: Any, folder: Path, format_: str) -> Path:
    """A model in a folder of its own, as `joblib`, `skops` or `onnx`; of a table's columns one input each where they have names."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model.{format_}"
    if format_ == "joblib":
        joblib.dump(model, path)
    elif format_ == "skops":
        import skops.io

        skops.io.dump(model, path)
    else:
        path.write_bytes(_as_onnx(model))
    return path


def _as_onnx(model: Any) -> bytes:
    import warnings

    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    named = hasattr(model, "feature_names_in_")
    of_texts = hasattr(model, "steps") and isinstance(model[0], TfidfVectorizer)
    inputs: list[Any] = [("X", StringTensorType([None, 1]) if of_texts else FloatTensorType([None, len(COLUMNS)]))]
    if named:
        types = {"city": StringTensorType([None, 1])}
        inputs = [(name, types.get(name, FloatTensorType([None, 1]))) for name in model.feature_names_in_]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what scikit-learn is going to rename
        converted = skl2onnx.to_onnx(model, initial_types=inputs, target_opset={"": 18, "ai.onnx.ml": 3})
    for node in converted.graph.node:
        if node.op_type == "StringNormalizer":  # else it wants en_US, which not every machine has
            node.attribute.append(helper.make_attribute("locale", "C"))
    content: bytes = converted.SerializeToString()
    return content


class Surprising(LogisticRegression):
    """A classifier that predicts a class for the first row which it never declared."""

    def __init__(self, inner: Any = None) -> None:
        super().__init__()
        if inner is not None:
            vars(self).update(vars(inner))

    def predict(self, X: Any) -> Any:
        predictions = super().predict(X).astype(object)
        predictions[0] = "surprise"
        return predictions

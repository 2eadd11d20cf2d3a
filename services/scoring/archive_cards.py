"""What Keras files, skops files, exported programs of PyTorch and MLflow folders tell: the JSON and YAML in them. Nothing is executed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.domain import ROW_KINDS, ItemKind, ModelCard, ModelInput
from services.errors import IntakeError
from services.intake.mlflow_files import read_mlmodel, read_values
from services.scoring.onnx_card import HEADED_ROWS, image_defaults

_LARGEST_JSON = 64 << 20  # bytes, unpacked
_MOST_LINES = 2_000  # of requirements


def _json_in(path: Path, *names: str) -> list[Any]:
    """The JSON of these members of a zip, None of one that is not there. Raises ValueError, RecursionError, OSError, BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        return [_member(archive, name) if name in archive.NameToInfo else None for name in names]


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as opened:
        content = opened.read(_LARGEST_JSON + 1)
    if len(content) > _LARGEST_JSON:
        raise ValueError(f"{name} is too large")
    return json.loads(content)


def _dig(value: Any, *keys: str | int) -> Any:
    """What is at this place of nested dicts and lists; None where there is nothing."""
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return None
    return value


def _text(value: Any) -> str:
    return value[:1000] if isinstance(value, str) else ""


def _shape(values: Any) -> tuple[int | None, ...]:
    values = values if isinstance(values, list) and len(values) <= 20 else []
    return tuple(size if isinstance(size, int) and size > 0 else None for size in values)


def _tensors(shapes: list[tuple[int | None, ...]]) -> tuple[tuple[ItemKind, ...], int | None]:
    """The kinds of items that these inputs are, and the number of columns."""
    if len(shapes) == 1 and len(shapes[0]) == 4:
        return (ItemKind.IMAGE,), None
    if shapes and all(len(shape) == 2 and shape[1] for shape in shapes):
        return ROW_KINDS, sum(shape[1] or 0 for shape in shapes)
    return (), None


# ---- Keras -----------------------------------------------------------------------------------------------------------------------

_CLASS_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy", "categorical_hinge")
_NUMBER_LOSSES = ("mse", "mean_squared_error", "mae", "mean_absolute_error", "huber", "mape", "msle", "log_cosh", "poisson")


def read_keras(path: Path) -> ModelCard:
    """Of Keras 3: metadata.json, config.json; of the HDF5 files before it nothing. Raises as `_json_in`."""
    if not zipfile.is_zipfile(path):
        return ModelCard("keras", framework="keras", requirements=("keras", "tensorflow"))
    metadata, config = _json_in(path, "metadata.json", "config.json")
    version = _text(_dig(metadata, "keras_version"))
    model = _dig(config, "config")
    layers = [layer for layer in _dig(model, "layers") or [] if isinstance(layer, Mapping)]
    inputs = [layer for layer in layers if layer.get("class_name") == "InputLayer"]
    shapes = [_shape(_dig(layer, "config", "batch_shape") or _dig(layer, "config", "batch_input_shape")) for layer in inputs]
    is_text = any(_dig(layer, "config", "dtype") == "string" for layer in inputs)
    takes, count = ((ItemKind.TEXT,), None) if is_text else _tensors(shapes)
    names = [_text(_dig(layer, "config", "name")) for layer in inputs]
    last = layers[-1] if layers else None
    units, softmax = _dig(last, "config", "units"), _dig(last, "config", "activation") == "softmax"
    loss = _dig(config, "compile_config", "loss")
    loss = _text(loss if isinstance(loss, str) else _dig(loss, "config", "name") or _dig(loss, "class_name"))
    is_class = softmax or loss in _CLASS_LOSSES
    is_number = loss in _NUMBER_LOSSES and not softmax
    count_of_classes = units if isinstance(units, int) and softmax and 1 < units <= 100_000 else 0
    own = sorted(
        {_text(layer.get("class_name")) for layer in layers if layer.get("class_name") == "Lambda" or layer.get("registered_name")}
    )
    notes = [f"It has layers that are code of their own: {', '.join(own)[:300]}. Keras does not load those by itself."] if own else []
    return ModelCard(
        "keras",
        framework="keras",
        framework_version=version,
        task="classification" if is_class else "regression" if is_number else "",
        takes=takes,
        inputs=tuple(ModelInput(name, "text" if is_text else "tensor", shape) for name, shape in zip(names, shapes, strict=True)),
        feature_count=count,
        classes=tuple(map(str, range(count_of_classes))),
        has_probabilities=True if softmax else False if is_number else None,
        requirements=(f"keras>={version}" if version else "keras>=3", "tensorflow"),
        scorer_defaults=image_defaults({}, shapes[0]) if takes == (ItemKind.IMAGE,) else {},
        notes=tuple(notes),
    )


# ---- skops -----------------------------------------------------------------------------------------------------------------------


def read_skops(path: Path) -> ModelCard:
    """The state of the outermost estimator, and of a pipeline's first step. Raises as `_json_in`."""
    (schema,) = _json_in(path, "schema.json")
    state = _skops_state(schema)
    first = _skops_state(_dig(state.get("steps"), "content", 0, "content", 1))
    version = names = count = None
    for values in (first, state):
        version = _skops_value(values.get("_sklearn_version")) or version
        names = _skops_values(values.get("feature_names_in_")) or names
        count = _skops_value(values.get("n_features_in_")) or count
    version = version if isinstance(version, str) else ""
    count = count if isinstance(count, int) else None
    return ModelCard(
        "skops",
        framework="scikit-learn",
        framework_version=version,
        takes=ROW_KINDS if count else (),
        inputs=tuple(ModelInput(name) for name in names or ()),
        feature_count=count,
        requirements=("skops", f"scikit-learn=={version}" if version else "scikit-learn"),
    )


def _skops_state(node: Any) -> Mapping[str, Any]:
    state = _dig(node, "content", "content")
    return state if isinstance(state, Mapping) else {}


def _skops_value(node: Any) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(_text(_dig(node, "content")) or "null")
    return None


def _skops_values(node: Any) -> list[str]:
    nodes = _dig(node, "content")
    values = [_skops_value(one) for one in nodes] if isinstance(nodes, list) else []
    return [value for value in values if isinstance(value, str)] if all(isinstance(value, str) for value in values) else []


# ---- PyTorch ---------------------------------------------------------------------------------------------------------------------


def read_torch_export(path: Path) -> ModelCard:
    """The signature of an exported program. Raises as `_json_in`."""
    with zipfile.ZipFile(path) as archive:
        pattern = re.compile(r"([^/]+/)?(models/[^/]+|serialized_exported_program)\.json")
        name = next(name for name in archive.namelist() if pattern.fullmatch(name))
        program = _member(archive, name)
    graph = _dig(program, "graph_module", "graph")
    specs = _dig(program, "graph_module", "signature", "input_specs") or []
    names = [_text(_dig(spec, "user_input", "arg", "as_tensor", "name")) for spec in specs if _dig(spec, "user_input")]
    sizes = [_dig(graph, "tensor_values", name, "sizes") or [] for name in names]
    shapes = [_shape([_dig(size, "as_int") for size in each]) for each in sizes]
    takes, count = _tensors(shapes)
    version = _text(_dig(program, "torch_version"))
    return ModelCard(
        "torch-export",
        framework="torch",
        framework_version=version,
        takes=takes,
        inputs=tuple(ModelInput(name, "tensor", shape) for name, shape in zip(names, shapes, strict=True)),
        feature_count=count,
        requirements=(f"torch>={version.partition('+')[0]}" if version else "torch",),
        scorer_defaults=image_defaults({}, shapes[0]) if takes == (ItemKind.IMAGE,) else {},
    )


# ---- MLflow ----------------------------------------------------------------------------------------------------------------------

_FLAVORS = {
    "sklearn": ("scikit-learn", "sklearn_version"), "xgboost": ("xgboost", "xgb_version"), "lightgbm": ("lightgbm", "lgb_version"),
    "catboost": ("catboost", "catboost_version"), "keras": ("keras", "keras_version"), "tensorflow": ("tensorflow", ""),
    "pytorch": ("torch", "pytorch_version"), "onnx": ("onnx", "onnx_version"), "statsmodels": ("statsmodels", "statsmodels_version"),
    "spacy": ("spacy", "spacy_version"), "prophet": ("prophet", "prophet_version"),
    "transformers": ("transformers", "transformers_version"),
}  # fmt: skip
_TYPES = {
    "boolean": "boolean", "integer": "integer", "long": "integer", "float": "number", "double": "number", "string": "text",
    "datetime": "datetime",
}  # fmt: skip


def read_mlflow(folder: Path) -> ModelCard:
    """MLmodel, and the lists of what to install beside it. Raises IntakeError, ValueError, RecursionError, OSError."""
    values = read_mlmodel(folder)
    flavors: Mapping[str, Any] = values["flavors"]
    name = next((name for name in flavors if name in _FLAVORS), "")
    framework, key = _FLAVORS.get(name, ("mlflow", ""))
    version = _text(_dig(flavors, name, key)) if name else _text(values.get("mlflow_version"))
    inputs, takes, count = _signature(_dig(values, "signature", "inputs"))
    requirements, python_version = _installed_by(folder)
    notes = []
    if "python_function" not in flavors:
        notes.append("It has no python_function flavour, so that it can't be scored here: save it by MLflow for Python.")
    if not values.get("signature"):
        notes.append("It was saved without a signature: what its columns are is not known before it is inspected.")
    if example := _text(_dig(values, "saved_input_example_info", "artifact_path")):
        notes.append(f"An example of its input comes with it: {example}")
    if _dig(flavors, "python_function", "code"):
        notes.append("It brings Python code of its own.")
    return ModelCard(
        "mlflow",
        framework=framework,
        framework_version=version,
        takes=takes,
        inputs=inputs,
        feature_count=count,
        requirements=requirements,
        python_version=python_version or _text(_dig(flavors, "python_function", "python_version")),
        scorer_defaults=image_defaults({}, inputs[0].shape) if takes == (ItemKind.IMAGE,) else {},
        notes=tuple(notes),
    )


def _signature(text: Any) -> tuple[tuple[ModelInput, ...], tuple[ItemKind, ...], int | None]:
    """Inputs, kinds of items, number of columns; MLflow keeps a list of columns or tensors as JSON in a text."""
    columns = json.loads(text) if isinstance(text, str) and text else []
    columns = [column for column in columns if isinstance(column, Mapping)] if isinstance(columns, list) else []
    tensors = [column for column in columns if column.get("type") == "tensor"]
    if tensors:
        shapes = [_shape(_dig(column, "tensor-spec", "shape")) for column in tensors]
        takes, count = _tensors(shapes)
        named = tuple(ModelInput(_text(one.get("name")), "tensor", shape) for one, shape in zip(tensors, shapes, strict=True))
        return named, takes, count
    types = [_TYPES.get(_text(column.get("type")), "") for column in columns]
    names = [_text(column.get("name")) for column in columns]
    if not columns:
        return (), (), None
    plain = all(type_ in ("integer", "number", "boolean") for type_ in types)
    takes = (ItemKind.TEXT, ItemKind.TABLE_ROW) if types == ["text"] else ROW_KINDS if plain else HEADED_ROWS
    inputs = tuple(ModelInput(name, type_) for name, type_ in zip(names, types, strict=True)) if all(names) else ()
    return inputs, takes, len(columns)


def _installed_by(folder: Path) -> tuple[tuple[str, ...], str]:
    """The lines for pip and the Python version, of requirements.txt, python_env.yaml and conda.yaml; unchecked."""
    python_version, of_conda = "", list[str]()
    with suppress(IntakeError):
        python_version = _text(str(_dig(read_values(folder / "python_env.yaml"), "python") or ""))
    with suppress(IntakeError):
        for dependency in _dig(read_values(folder / "conda.yaml"), "dependencies") or []:
            if isinstance(dependency, Mapping):
                of_conda += map(str, dependency.get("pip") or [])
            elif match := re.fullmatch(r"python\s*=+\s*(\d[\d.]*)", str(dependency)):
                python_version = python_version or match[1]
    lines = list(_lines(folder / "requirements.txt")) or of_conda
    return tuple(line[:1000] for line in lines[:_MOST_LINES] if line and not line.startswith("#")), python_version


def _lines(path: Path) -> Iterator[str]:
    with suppress(OSError), open(path, "rb") as opened:
        for line in opened.read(1 << 20).decode("utf-8", "replace").splitlines():
            yield line.strip()

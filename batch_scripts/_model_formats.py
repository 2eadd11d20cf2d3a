"""Models of many formats, each loaded by its content and used in one way: `load(path)`, then `predict`.

One function a format. Each imports its framework when it is called, and nothing else of this project, so that a process of any environment
with Python 3.8 or newer can use this module: the built-in scoring scripts beside it, here and on Azure ML, and the inspection of a model.
"""

import atexit
import codecs
import json
import logging
import os
import pickle
import re
import shutil
import sys
import tempfile
import warnings
import zipfile

import numpy as np

TABLE_ROW, ROW_FILE, HEADED_ROW_FILE = "a row of a table", "a file of one row of numbers", "a file of a header and one row"
IMAGE, TEXT = "an image", "a text"
ROWS = (TABLE_ROW, ROW_FILE, HEADED_ROW_FILE)

CLASSIFICATION, REGRESSION, CLUSTERING, OUTLIERS = "classification", "regression", "clustering", "outlier detection"
MANY_CLASSES, MANY_NUMBERS, TRANSFORMATION = "multi-output classification", "multi-output regression", "transformation"

NO_MODEL = (
    (rb"version https://git-lfs", "a Git LFS pointer; the model itself was not downloaded (git lfs pull does)"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--[^>]*>\s*)*<(!doctype|html|head|body|meta|title|script)", "an HTML page, not a model"),
    (rb"\s*<", "an XML file, not a model"),
    (rb"\x93NUMPY", "a NumPy array, not a model"),
    (rb".{3}\x00{5}\{\"", "a safetensors file: weights without their architecture; export the model as ONNX or TorchScript"),
    (rb"binf", "an XGBoost model in the old binary format; load it with XGBoost 2 and save it as .ubj or .json"),
    (rb"PAR1", "a Parquet file, not a model"),
)
BY_BEGINNING = (
    (rb"\x08[\x01-\x20][\x10-\x7f]", "onnx"),
    (rb'\s*\{\s*"(learner|version)"|\{[iUIlL]\x00*\x07learner', "xgboost"),
    (rb"tree\r?\nversion=", "lightgbm"),
    (rb"CBM1", "catboost"),
    (rb"\x89HDF\r\n", "keras"),
)
NETWORKS = ("onnx", "keras", "torchscript", "torch-export")
LABEL_KEYS = ("labels", "classes", "class_names", "names", "id2label", "categories")
"""Under which the metadata of a model may have the names of its classes."""
IMAGE_KEYS = {"size": "size", "imgsz": "size", "image_size": "size", "layout": "layout", "color": "color", "scale": "scale",
              "mean": "mean", "std": "std"}  # fmt: skip
"""Keys of a model's metadata, and the argument of score_images.py that each is."""

log = logging.getLogger(__name__)


class Scores:
    """What a model predicts of n rows.

    `predictions` has shape (n,), or (n, targets) where there are several. `probabilities` are None, or (n, classes) in the order of
    `classes`; of several targets a list of such, with `classes` a list too. `score` are numbers beside the predictions of an outlier
    detector. `targets` names the columns of predictions with several.
    """

    def __init__(self, predictions, probabilities=None, classes=(), score=None, targets=()):
        self.predictions, self.probabilities, self.classes = predictions, probabilities, classes
        self.score, self.targets = score, targets


class Model:
    """A loaded model, and what is known of it. `predict(data)` gives Scores; what `data` is says `wants`:

    `frame`: a DataFrame with columns called as `inputs` are; `matrix`: an array of (n, feature_count) numbers; `texts`: a list of texts;
    `tensor`: an array of the only input's shape; `columns`: a dict of arrays of (n, 1), one for each input.
    """

    def __init__(self, format_, framework, predict, wants, **known):
        self.format, self.framework, self.predict, self.wants = format_, framework, predict, wants
        self.framework_version = known.get("framework_version", "")
        self.task = known.get("task", "")
        self.inputs = known.get("inputs", [])  # dicts: name, type, shape
        self.feature_count = known.get("feature_count")
        self.classes = list(known.get("classes", ()))
        self.has_probabilities = known.get("has_probabilities")
        self.requirements = list(known.get("requirements", ()))
        self.scorer_defaults = dict(known.get("scorer_defaults", {}))
        self.notes = list(known.get("notes", ()))
        self.dtype = known.get("dtype", np.float64)  # of a matrix or tensor
        self.dtypes = list(known.get("dtypes", ()))  # of the inputs, where each is a column
        self.raw = known.get("raw")
        self.any_shape = False
        """Whether nothing is known of the input, so that it may be an image or a row."""

    @property
    def takes(self):
        """The kinds of items that it can score, the likeliest first."""
        if self.wants == "texts":
            return (TEXT, TABLE_ROW)
        if self.any_shape:
            return (IMAGE, *ROWS)
        return (IMAGE,) if self.wants == "tensor" else ROWS

    @property
    def names(self):
        """The names of the columns that it takes; None where it only counts them."""
        return [each["name"] for each in self.inputs] if self.wants in ("frame", "columns") else None

    def describe(self):
        """All of this as JSON has it."""
        return {
            "format": self.format, "framework": self.framework, "framework_version": self.framework_version, "task": self.task,
            "takes": list(self.takes),
            "inputs": [{"name": str(each["name"]), "type": each.get("type", ""), "shape": each.get("shape", [])} for each in self.inputs],
            "feature_count": self.feature_count, "classes": _printed(self.classes), "has_probabilities": self.has_probabilities,
            "requirements": self.requirements, "scorer_defaults": self.scorer_defaults, "notes": self.notes,
        }  # fmt: skip


def threads():
    """How many threads a worker's model may use: its share of the cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    workers = next((sys.argv[place + 1] for place, word in enumerate(sys.argv[:-1]) if word == "--process_count_per_node"), "")
    return max(1, (os.cpu_count() or 1) // int(workers)) if workers.isdecimal() and int(workers) else os.cpu_count() or 1


# ---- which format it is --------------------------------------------------------------------------------------------------------------


def load(path, labels=()):
    """The model in a file or folder, by its content; `labels` name the outputs of a network. Raises FileNotFoundError, UnpicklingError
    saying what is there instead, ImportError naming the package that is missing, or what the framework raises."""
    format_, place = format_of(path)
    loads = {
        "scikit-learn": load_sklearn, "skops": load_skops, "onnx": load_onnx, "xgboost": load_xgboost, "lightgbm": load_lightgbm,
        "catboost": load_catboost, "mlflow": load_mlflow, "keras": load_keras, "torchscript": load_torchscript,
        "torch-export": load_torch_export,
    }  # fmt: skip
    try:
        return loads[format_](place, labels) if labels and format_ in NETWORKS else loads[format_](place)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise ModuleNotFoundError(f"the environment lacks {missing}, which this {format_} model needs", name=error.name) from error


def format_of(path):
    """The format of a model, and its file, or its folder where it is one. Raises FileNotFoundError where there is none, UnpicklingError
    for what is not a model that can be loaded."""
    if not os.path.isdir(path):
        return _format_of_file(path), path
    if os.path.isfile(os.path.join(path, "MLmodel")):
        return "mlflow", path
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(each for each in folders if not each.startswith((".", "__")))
        if "MLmodel" in names:
            return "mlflow", folder
        if "saved_model.pb" in names:
            raise _refused(folder, "a TensorFlow SavedModel; save it by model.save('name.keras'), or convert it to ONNX")
        found += [os.path.join(folder, name) for name in sorted(names) if not name.startswith(".")]
    models, reasons = [], []
    for file in found:
        try:
            models.append((_format_of_file(file, only=len(found) == 1), file))
        except pickle.UnpicklingError as error:
            reasons.append(error)
    models = [model for model in models if model[0]]
    if len(models) == 1:
        return models[0]
    names = ", ".join(os.path.relpath(file, path) for file in found[:10]) + (", ..." if len(found) > 10 else "")
    if models:
        raise ValueError(f"{path} holds {len(models)} models, and one is expected: {names}")
    if reasons:
        raise reasons[0]
    raise FileNotFoundError(f"No model: {path} {f'holds {names}' if found else 'is empty' if os.path.isdir(path) else 'is not there'}")


def _format_of_file(path, only=True):
    """Its format. Where it is not the `only` file, "" for what is not a model but may stand beside one."""
    with open(path, "rb") as opened:
        head = opened.read(400)
    if not head and only:
        raise _refused(path, "empty")
    if zipfile.is_zipfile(path):
        return _format_of_archive(path) if only else _format_of_archive(path, "")
    text = head.lstrip(codecs.BOM_UTF8)
    for pattern, format_ in BY_BEGINNING:
        if re.match(pattern, text, re.DOTALL):
            return format_
    what = next((what for pattern, what in NO_MODEL if re.match(pattern, text, re.IGNORECASE | re.DOTALL)), None)
    if what:
        raise _refused(path, what)
    if only or path.lower().endswith((".joblib", ".pkl", ".pickle", ".model")):
        return "scikit-learn"
    return ""


def _format_of_archive(path, otherwise=None):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    bases = {name.rpartition("/")[2] for name in names}
    if "MLmodel" in bases:
        return "mlflow"
    if "schema.json" in names:
        return "skops"
    if {"config.json", "metadata.json"} <= set(names):
        return "keras"
    if any(re.search(r"(^|/)(serialized_exported_program\.json|models/[^/]+\.json)$", name) for name in names):
        return "torch-export"
    if any(re.search(r"/(constants\.pkl|code/.+\.py)$", name) for name in names):
        return "torchscript"
    if "data.pkl" in bases:
        raise _refused(path, "a PyTorch checkpoint: weights without their architecture; save the model by torch.jit.script or as ONNX")
    if otherwise is not None:
        return otherwise
    raise _refused(path, "a zip archive without a model that is known")


def _refused(path, what):
    return pickle.UnpicklingError(f"{os.path.basename(path)} can't be loaded: it is {what}")


# ---- scikit-learn ----------------------------------------------------------------------------------------------------------------------


def load_sklearn(path):
    """A pickle, by joblib, of whatever has a predict as scikit-learn's estimators do."""
    import joblib

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
        except (ImportError, AttributeError, MemoryError, OSError):
            raise
        except Exception as error:  # what is not a pickle is read as the instructions of one, with any error
            with open(path, "rb") as opened:
                head = opened.read(8)
            raise _refused(
                path, f"nothing that joblib or pickle can read: it begins with {head!r} ({type(error).__name__}: {error})"
            ) from error
    return _of_estimator(estimator, "scikit-learn", caught)


def load_skops(path):
    """A file of skops.io. Whoever starts the run has approved the types that it lists as untrusted."""
    import skops.io

    untrusted = skops.io.get_untrusted_types(file=path)
    if untrusted:
        log.info("The model's own types: %s", ", ".join(untrusted))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = skops.io.load(path, trusted=untrusted)
    return _of_estimator(estimator, "skops", caught)


def _of_estimator(estimator, format_, caught=()):
    """The model of an estimator; `caught` are the warnings of its loading."""
    module = type(estimator).__module__.partition(".")[0]
    if type(estimator).__name__ == "Booster" and module == "xgboost":
        return _of_xgboost(estimator)
    if type(estimator).__name__ == "Booster" and module == "lightgbm":
        return _of_lightgbm(estimator)
    predicts = getattr(estimator, "predict", None) or (getattr(estimator, "transform", None) if hasattr(estimator, "fit") else None)
    if not callable(predicts):
        raise ValueError(_without_predict(estimator))
    version = _version_made_with(caught)
    _limit_jobs(estimator)
    names = _columns_used(estimator, _own(estimator, "feature_names_in_"))
    takes_texts = names is None and _takes_texts(estimator)
    count = 1 if takes_texts else _own(estimator, "n_features_in_")
    task = _task_of(estimator)
    classes = _own(estimator, "classes_") if task in (CLASSIFICATION, MANY_CLASSES) else None
    several = task == MANY_CLASSES
    has_probabilities = task in (CLASSIFICATION, MANY_CLASSES) and hasattr(estimator, "predict_proba") and classes is not None
    types = _column_types(estimator)
    inputs = [{"name": name, "type": types.get(name, "")} for name in (names if names is not None else ())]
    if takes_texts:
        inputs = [{"name": "text", "type": "text"}]
    first, last = _steps(estimator)

    def predict(data):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X (has|does not have valid) feature names")
            final = estimator if last is None else last
            if last is not None:
                data = first.transform(data)  # once for predict and predict_proba
            if not hasattr(final, "predict"):
                changed = final.transform(data)
                changed = np.asarray(changed.todense() if hasattr(changed, "todense") else changed)
                return Scores(changed, targets=_targets_of(estimator, changed))
            if has_probabilities and _by_probabilities(final):
                probabilities = final.predict_proba(data)
                return Scores(final.classes_.take(np.argmax(probabilities, axis=1), axis=0), probabilities, classes)
            predictions = _array(final.predict(data))
            probabilities = final.predict_proba(data) if has_probabilities else None
            score = None
            if task == OUTLIERS:
                scores = getattr(final, "decision_function", None) or getattr(final, "score_samples", None)
                score = None if scores is None else np.asarray(scores(data)).ravel()
        if several and probabilities is not None and not isinstance(probabilities, list):  # of labels that are 0 or 1 each
            probabilities = [_both(column) for column in np.asarray(probabilities).T]
        return Scores(predictions, probabilities, classes if classes is not None else (), score)

    if several and has_probabilities and not isinstance(classes, list):
        classes = [np.array([0, 1]) for _ in range(len(classes))]
    framework = "scikit-learn" if module in ("sklearn", "builtins", "__main__") else module
    wants = "texts" if takes_texts else "frame" if names is not None else "matrix"
    return Model(
        format_, framework, predict, wants, framework_version=version or _installed_version(framework), task=task, inputs=inputs,
        feature_count=None if count is None else int(count),
        classes=[] if classes is None or several else list(classes), has_probabilities=has_probabilities, raw=estimator,
    )  # fmt: skip


def _without_predict(estimator):
    """Why an object is not a model, in words."""
    if isinstance(estimator, dict):
        inside = [str(key) for key, value in estimator.items() if hasattr(value, "predict")]
        where = f"; the model is under {', '.join(map(repr, inside))}: save that alone" if inside else ""
        return f"the file holds a dict with {', '.join(map(repr, list(estimator)[:10])) or 'nothing'}, which has no predict(){where}"
    hint = "; it only labels the rows it was fitted to" if hasattr(estimator, "fit_predict") else ""
    return f"the file holds a {type(estimator).__name__}, which has no predict(){hint}"


def _own(estimator, name):
    """An attribute of an estimator, of the best one of a search, or of the first or last step of a pipeline; None where none has it."""
    try:
        value = getattr(estimator, name, None)
    except Exception:  # noqa: BLE001 - a property of an estimator may raise anything, NotFittedError to begin with
        value = None
    inside = _last(estimator) if name == "classes_" else _first(estimator)
    if value is None and inside is not estimator:
        return _own(inside, name)
    if value is None and name != "classes_":
        for inner in ("estimator", "estimator_", "regressor_"):
            if hasattr(getattr(estimator, inner, None), "predict"):
                return _own(getattr(estimator, inner), name)
    return value


def _last(estimator):
    """What predicts: of a search the best estimator, of a pipeline its last step, else itself."""
    if hasattr(estimator, "best_estimator_"):
        return _last(estimator.best_estimator_)
    return _last(estimator.steps[-1][1]) if getattr(estimator, "steps", None) else estimator


def _first(estimator):
    """What takes the columns: of a search the best estimator, of a pipeline its first step that is one, else itself."""
    if hasattr(estimator, "best_estimator_"):
        return _first(estimator.best_estimator_)
    steps = [step for _, step in getattr(estimator, "steps", None) or () if step not in (None, "passthrough")]
    return _first(steps[0]) if steps else estimator


def _steps(estimator):
    """What comes before the last step of a pipeline, and that step, so that the rows are transformed once for all that it says of them.
    (None, None) where it is not a plain pipeline."""
    if hasattr(estimator, "best_estimator_") and type(estimator).__module__.startswith("sklearn.model_selection"):
        estimator = estimator.best_estimator_
    if f"{type(estimator).__module__}.{type(estimator).__name__}" != "sklearn.pipeline.Pipeline" or len(estimator.steps) < 2:
        return None, None
    return (estimator[:-1], estimator.steps[-1][1]) if estimator.steps[-1][1] not in (None, "passthrough") else (None, None)


def _by_probabilities(final):
    """Whether its predict() is nothing but the likeliest class by its predict_proba(), so that half of the work can be saved."""
    known = ("RandomForestClassifier", "ExtraTreesClassifier", "BaggingClassifier", "GaussianNB", "CalibratedClassifierCV")
    return type(final).__name__ in known[:2] and type(final).__module__ == "sklearn.ensemble._forest" and final.n_outputs_ == 1


def _task_of(estimator):
    """By what scikit-learn says of the estimator, else by what it has."""
    last = _last(estimator)
    try:
        from sklearn.base import is_classifier, is_outlier_detector, is_regressor

        is_clusterer = getattr(last, "_estimator_type", None) == "clusterer" or any(
            each.__name__ == "ClusterMixin" for each in type(last).__mro__
        )
        kinds = {CLASSIFICATION: is_classifier(last), REGRESSION: is_regressor(last), OUTLIERS: is_outlier_detector(last),
                 CLUSTERING: is_clusterer}  # fmt: skip
    except Exception:  # noqa: BLE001 - it may be no estimator of scikit-learn, or that isn't there
        kinds = {CLASSIFICATION: hasattr(last, "classes_")}
    task = next((task for task, holds in kinds.items() if holds), "")
    if not hasattr(last, "predict"):
        return TRANSFORMATION
    if not task and hasattr(last, "predict_proba") and hasattr(last, "n_components"):
        return CLUSTERING  # a mixture
    outputs = getattr(last, "n_outputs_", None) or len(getattr(last, "estimators_", None) or ()) * (
        type(last).__name__.startswith("MultiOutput")
    )
    if task == CLASSIFICATION and (isinstance(_own(last, "classes_"), list) or getattr(last, "multilabel_", False) or outputs > 1):
        return MANY_CLASSES
    if task == REGRESSION:
        coefficients, several = getattr(last, "coef_", None), _several_outputs(last)
        if several or (isinstance(coefficients, np.ndarray) and coefficients.ndim == 2 and coefficients.shape[0] > 1):
            return MANY_NUMBERS
    return task


def _several_outputs(regressor):
    outputs = getattr(regressor, "n_outputs_", 1)
    if type(regressor).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        outputs = len(getattr(regressor, "estimators_", ()))
    inner = getattr(regressor, "regressor_", None)
    return (isinstance(outputs, int) and outputs > 1) or (inner is not None and _several_outputs(inner))


def _takes_texts(estimator):
    """Whether its rows are texts: it is, or begins with, a vectorizer of texts."""
    estimator = _first(estimator)
    if getattr(estimator, "transformer_list", None):
        return _takes_texts(estimator.transformer_list[0][1])
    inner = getattr(estimator, "estimator", None)
    return hasattr(estimator, "build_analyzer") or (inner is not None and hasattr(inner, "predict") and _takes_texts(inner))


def _column_types(estimator):
    """What is known of the columns' types by what a ColumnTransformer does with them: `text` or `number`, by name."""
    types = {}
    for _, transformer, chosen in getattr(_first(estimator), "transformers_", None) or ():
        columns = [chosen] if isinstance(chosen, str) else chosen
        if isinstance(columns, slice) or callable(columns) or not all(isinstance(each, str) for each in columns):
            continue
        first = _first(transformer)
        for place, column in enumerate(columns):
            type_ = _type_taken(first, place)
            if type_:
                types[column] = type_
    return types


def _columns_used(estimator, names):
    """The columns that an estimator was fitted to (None where they have no names), without those that a ColumnTransformer drops."""
    transformers = getattr(_first(estimator), "transformers_", None)
    if names is None or not transformers:
        return names
    dropped, used = set(), set()
    for _, transformer, chosen in transformers:
        columns = [chosen] if isinstance(chosen, str) else chosen
        if isinstance(columns, slice) or callable(columns):
            return names
        for column in columns:
            if isinstance(column, (bool, np.bool_)):
                return names
            (dropped if transformer == "drop" else used).add(column if isinstance(column, str) else names[column])
    return [name for name in names if name in used or name not in dropped]


def _type_taken(transformer, place):
    categories = getattr(transformer, "categories_", None)
    statistics = getattr(transformer, "statistics_", None)
    if hasattr(transformer, "build_analyzer"):
        return "text"
    if categories is not None:
        kinds = [getattr(getattr(each, "dtype", None), "kind", "") for each in categories]
        of_kind = {"b": "boolean", "O": "text", "U": "text", "S": "text", "i": "number", "u": "number", "f": "number"}
        return "" if place >= len(kinds) else of_kind.get(kinds[place], "")
    if statistics is not None:
        return "number" if getattr(transformer, "strategy", "") in ("mean", "median") else ""
    return "number" if any(hasattr(transformer, name) for name in ("scale_", "mean_", "data_min_", "bin_edges_", "quantiles_")) else ""


def _targets_of(estimator, changed):
    try:
        names = list(estimator.get_feature_names_out())
    except Exception:  # noqa: BLE001 - many transformers have no names, and say so in their own ways
        names = []
    return names if len(names) == changed.shape[-1] else ()


def _version_made_with(caught):
    """The version of scikit-learn that a model was made with, where it is another one than that here, which is said in the log; else ""."""
    for warning in caught:
        original = getattr(warning.message, "original_sklearn_version", None)
        if original:
            here = _installed_version("scikit-learn")
            log.warning("The model was made with scikit-learn %s, and here is %s: its predictions may differ", original, here)
            return original
    return ""


def _installed_version(framework):
    module = {"scikit-learn": "sklearn", "": ""}.get(framework, framework)
    return str(getattr(sys.modules.get(module), "__version__", ""))


def _limit_jobs(estimator):
    """An estimator that wants all cores gets the worker's share: the other workers want theirs, and one thread adds up in one order."""
    try:
        jobs = {
            name: threads() for name, value in estimator.get_params(deep=True).items() if name.endswith("n_jobs") and value not in (None, 1)
        }
        for inner in [estimator, getattr(estimator, "best_estimator_", None)]:
            if inner is not None and jobs:
                own = inner.get_params(deep=True)
                inner.set_params(**{name: value for name, value in jobs.items() if name in own})
    except Exception:  # an estimator of a person's own may raise anything here, and scores without it too
        log.debug("n_jobs could not be set", exc_info=True)


# ---- ONNX ------------------------------------------------------------------------------------------------------------------------------


def load_onnx(path, labels=()):
    """A graph for onnxruntime: rows, images or texts by its inputs, classes or numbers by its outputs."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it tells its maker of each model, unless that stands there before
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime))
    taken = session.get_inputs()
    outputs = session.get_outputs()
    metadata = {str(key): value for key, value in session.get_modelmeta().custom_metadata_map.items()}
    inputs = [{"name": each.name, "type": _onnx_type(each.type), "shape": _shape(each.shape)} for each in taken]
    dtypes = [_onnx_dtype(each.type) for each in taken]
    labels = list(labels) or labels_in(metadata)
    several = len(taken) > 1
    rank = len(inputs[0]["shape"])
    count = None
    if several:
        wants, count = "columns", sum(each["shape"][1] or 1 if len(each["shape"]) > 1 else 1 for each in inputs)
    elif rank >= 3:
        wants = "tensor"
    elif dtypes[0] is object and (rank < 2 or inputs[0]["shape"][1] in (1, None)):
        wants, count = "texts", 1
    else:
        wants, count = "matrix", inputs[0]["shape"][1] if rank > 1 else 1
    if not several and wants != "texts":
        inputs[0]["type"] = "tensor"

    def run(data):
        if several:
            feed = {each["name"]: _as_onnx(data[each["name"]], dtype, each["shape"]) for each, dtype in zip(inputs, dtypes)}
        else:
            data = np.array(list(data), dtype=object).reshape((-1, 1) if rank > 1 else -1) if wants == "texts" else data
            feed = {inputs[0]["name"]: np.ascontiguousarray(data, dtype=dtypes[0])}
        fixed = inputs[0]["shape"][0] if inputs[0]["shape"] else None
        return _in_batches(lambda part: session.run(None, part), feed, fixed)

    names, types = [each.name for each in outputs], [each.type for each in outputs]
    shapes = [_shape(each.shape) for each in outputs]
    known = {"inputs": inputs, "feature_count": count, "dtype": dtypes[0], "dtypes": dtypes,
             "scorer_defaults": image_defaults(metadata, inputs[0]["shape"]) if wants == "tensor" else {}, "raw": session}  # fmt: skip
    label = next((place for place, type_ in enumerate(types) if type_ in ("tensor(int64)", "tensor(string)", "tensor(int32)")), None)
    if label is not None and (len(types) > 1 or wants != "tensor"):
        known["classes"] = _onnx_classes(path)
        if len(types) == 2:
            known["tried"] = _probe(lambda data: [_of_maps(run(data)[1 - label])], inputs, dtypes, wants)
        return _onnx_with_label(run, label, names, types, shapes, labels, wants, known)
    predict, task, classes, has_probabilities, notes = _by_outputs(
        lambda data: run(data)[0], shapes[0], labels, wants, _probe(run, inputs, dtypes, wants)
    )
    return Model("onnx", "onnx", predict, wants, task=task, classes=classes, has_probabilities=has_probabilities, notes=notes, **known)


def _onnx_with_label(run, label, names, types, shapes, labels, wants, known):
    """As skl2onnx and the boosters' converters write it: the class, and beside it probabilities, as a map of each row or a tensor."""
    beside = next((place for place in range(len(types)) if place != label), None)
    is_map = beside is not None and types[beside].startswith("seq(map")
    width = shapes[beside][-1] if beside is not None and shapes[beside] else None
    called = names[beside].lower() if beside is not None else ""
    tried = known.pop("tried", None)
    width = width if tried is None else tried.shape[-1]
    is_outlier = beside is not None and width == 1 and "prob" not in called
    may_be_classes = (is_map or "prob" in called) and (tried is None or are_probabilities(tried))
    many = len(shapes[label]) > 1 and (shapes[label][1] or 1) > 1
    classes = labels if types[label] == "tensor(string)" or not known["classes"] else known["classes"]
    classes = known.pop("classes") or classes

    def predict(data):
        results = run(data)
        predictions = np.asarray(results[label])
        predictions = predictions if many else predictions.reshape(len(predictions), -1)[:, 0]
        if is_outlier:
            return Scores(predictions, score=np.asarray(results[beside]).ravel())
        if not may_be_classes or many:
            return Scores(predictions)
        if is_map:
            rows = results[beside]
            keys = list(rows[0]) if rows else classes
            return Scores(
                predictions, np.array([[row[key] for key in keys] for row in rows], dtype=np.float32).reshape(len(rows), -1), keys
            )
        probabilities = np.asarray(results[beside])
        return Scores(predictions, probabilities, classes if len(classes) == probabilities.shape[1] else None)

    is_class = is_map or may_be_classes or beside is None or "prob" in called
    task = OUTLIERS if is_outlier else MANY_CLASSES if many else CLASSIFICATION if is_class else CLUSTERING
    return Model("onnx", "onnx", predict, wants, task=task, classes=classes, has_probabilities=may_be_classes and not many, **known)


def _onnx_classes(path):
    """The classes that the nodes of a converted classifier have as attributes; [] where none has. Read from the bytes, since the package
    onnx, which would parse them, is seldom where models are scored."""
    with open(path, "rb") as opened:
        content = opened.read(1 << 28)
    at = content.find(b"\x0a\x13classlabels_strings")
    values = []
    if at >= 0:
        at += 21
        while content[at : at + 1] == b"\x4a":  # field 9, strings
            size, at = _varint(content, at + 1)
            values.append(content[at : at + size].decode("utf-8", "replace"))
            at += size
    for name in (b"classlabels_int64s", b"classlabels_ints"):
        at = -1 if values else content.find(b"\x0a" + bytes([len(name)]) + name)
        if at >= 0:
            at += 2 + len(name)
            packed = content[at : at + 1] == b"\x42"  # field 8, whole numbers
            size, begin = _varint(content, at + 1) if packed else (0, at)
            at = begin
            while at < begin + size if packed else content[at : at + 1] == b"\x40":
                value, at = _varint(content, at if packed else at + 1)
                values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _varint(content, at):
    """A whole number as protobuf has it, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _providers(onnxruntime):
    """The processor, and before it a GPU where the worker has one."""
    there = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider"] if os.environ.get("CUDA_VISIBLE_DEVICES") else []
    return [each for each in (*wanted, "CPUExecutionProvider") if each in there] or there


_ONNX_TYPES = {"float": np.float32, "double": np.float64, "float16": np.float16, "int64": np.int64, "int32": np.int32, "int16": np.int16,
               "int8": np.int8, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64, "bool": np.bool_,
               "string": object}  # fmt: skip


def _onnx_dtype(type_):
    inner = re.match(r"tensor\((\w+)\)", type_)
    if not inner or inner[1] not in _ONNX_TYPES:
        raise ValueError(f"the model takes a {type_}, which a table, a text or an image can't be")
    return _ONNX_TYPES[inner[1]]


def _onnx_type(type_):
    dtype = np.dtype(_onnx_dtype(type_))
    return {"O": "text", "b": "boolean", "i": "integer", "u": "integer"}.get(dtype.kind, "number")


def _shape(shape):
    return [each if isinstance(each, int) and each > 0 else None for each in shape or ()]


def _as_onnx(values, dtype, shape):
    values = np.asarray(values)
    if dtype is object:
        values = np.array(
            ["" if each is None or (isinstance(each, float) and np.isnan(each)) else str(each) for each in values.ravel()], dtype=object
        )
    return values.astype(dtype).reshape((-1, 1) if len(shape) > 1 else -1)


# ---- what the outputs of a network mean ------------------------------------------------------------------------------------------------


def labels_in(metadata):
    """The names of the classes in a model's metadata: a list, or numbers and names, as JSON, as Python prints it, or with commas."""
    import ast

    for key in LABEL_KEYS:
        text = next((value for name, value in metadata.items() if name.lower() == key), None)
        if not text:
            continue
        value = text
        if isinstance(text, str):
            try:
                value = json.loads(text)
            except ValueError:
                try:
                    value = ast.literal_eval(text)
                except (ValueError, SyntaxError, MemoryError, RecursionError):
                    value = [each.strip() for each in re.split(r"[,\n]", text)]
        if isinstance(value, dict):
            value = [value[each] for each in sorted(value, key=lambda each: int(each) if str(each).isdecimal() else 0)]
        if isinstance(value, (list, tuple)) and value:
            return [str(each) for each in value]
    return []


def image_defaults(metadata, shape):
    """Arguments of score_images.py that a model's metadata and the shape of its input tell."""
    defaults = {}
    for name, value in metadata.items():
        argument = IMAGE_KEYS.get(name.lower())
        numbers = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", value[:1000], re.IGNORECASE)
        if argument == "size" and numbers:  # one number, width x height, or height and width
            sides = (numbers * 2)[:2]
            defaults["size"] = "x".join(sides if "x" in value else sides[::-1])
        elif argument in ("mean", "std"):
            defaults[argument] = ",".join(numbers)
        elif argument and argument != "size":
            defaults[argument] = value[:100]
    if len(shape) == 4:
        layout = "NCHW" if shape[1] in (1, 3, 4) else "NHWC" if shape[3] in (1, 3, 4) else ""
        if layout:
            channels, height, width = (shape[1], shape[2], shape[3]) if layout == "NCHW" else (shape[3], shape[1], shape[2])
            defaults["layout"] = layout
            if channels in (1, 3):
                defaults.setdefault("color", "L" if channels == 1 else "RGB")
            if height and width:
                defaults["size"] = f"{width}x{height}"
    return defaults


def _probe(run, inputs, dtypes, wants):
    """What the model gives for nothing in particular: its first output for zeros and for a few other numbers; None where it refuses."""
    if wants == "texts":
        tried = [["", "a text"]]
    elif wants == "columns":
        tried = [{each["name"]: np.array(["", "a"], object) if each["type"] == "text" else np.array([0, 1]) for each in inputs}]
    else:
        shape = [size if size else 1 if place == 0 else 64 for place, size in enumerate(inputs[0]["shape"])]
        if wants == "tensor" and any(size > 4096 for size in shape):
            return None
        tried = [np.zeros(shape, dtypes[0]), (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtypes[0])]
    try:
        return np.concatenate([np.asarray(run(each)[0], dtype=np.float64) for each in tried])
    except Exception:  # noqa: BLE001 - a shape that is open may have conditions of its own
        return None


def _of_maps(rows):
    """The probabilities of a list of maps as an array, the maps' keys in their order; an array as it is."""
    if not isinstance(rows, list):
        return rows
    return np.array([list(row.values()) for row in rows], dtype=np.float32).reshape(len(rows), -1)


def are_probabilities(values):
    """Whether every row is of numbers from 0 to 1 that sum up to 1."""
    values = np.asarray(values, dtype=np.float64)
    return (
        values.ndim == 2
        and values.shape[1] > 1
        and bool(np.all(values >= -1e-6) and np.all(values <= 1 + 1e-6) and np.all(np.abs(values.sum(axis=1) - 1) < 1e-3))
    )


def _by_outputs(run, shape, labels, wants, probe):
    """(predict, task, classes, whether it has probabilities, notes) of a network whose only output is an array of numbers.

    Several numbers a row are classes where they are probabilities, where labels are known, or for an image; else they are as many numbers.
    """
    width = shape[-1] if len(shape) > 1 else None
    if probe is not None:
        width = probe.shape[1] if probe.ndim == 2 else 1 if probe.ndim == 1 else None
        if probe.ndim > 2:
            raise ValueError(f"the model's output has the shape {list(probe.shape)}: one row of numbers for each item is expected")
    softmax = probe is not None and are_probabilities(probe)
    if width is None or width == 1:
        if len(labels) == 2 and probe is not None and np.all((probe >= 0) & (probe <= 1)):
            return (lambda data: _of_two(run(data), labels)), CLASSIFICATION, labels, True, []
        return (lambda data: Scores(_column(run(data)))), REGRESSION, [], False, []
    if not (softmax or labels or wants == "tensor"):
        return (lambda data: Scores(_array(run(data)))), MANY_NUMBERS, [], False, []
    notes = []
    classes = labels
    if labels and len(labels) != width:
        raise ValueError(f"there are {len(labels)} labels, and the model's output has {width} numbers")
    if not labels:
        classes = list(range(width))
        notes.append("The names of its classes are not in the file: they are numbered from 0")
    if not softmax:
        notes.append("Its outputs are not probabilities: the class with the greatest is predicted, without a probability")

    def predict(data):
        values = np.asarray(run(data))
        values = values.reshape(len(values), -1)
        best = values.argmax(axis=1)
        names = np.array(classes, dtype=object if labels else np.int64)
        predictions = names[best]
        unknown = np.isnan(values).any(axis=1)
        if unknown.any():  # argmax would say that NaN is the greatest
            predictions = predictions.astype(object)
            predictions[unknown] = np.nan
        return Scores(predictions, values if softmax else None, classes)

    return predict, CLASSIFICATION, classes, softmax, notes


def _of_two(values, labels):
    chance = np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:, 0]
    names = np.array(labels, dtype=object if isinstance(labels[0], str) else np.int64)
    return Scores(names[(chance > 0.5).astype(int)], _both(chance), labels)


def _both(chance):
    """The probabilities of two classes, by that of the second."""
    return np.column_stack([1 - chance, chance])


def _column(values):
    values = np.asarray(values)
    return values.reshape(len(values), -1)[:, 0] if values.size == len(values) else values.reshape(len(values), -1)


def _in_batches(run, feed, fixed):
    """The outputs of `run(feed)` where the graph takes `fixed` items at a time, None for any number: the last batch is filled up."""
    count = len(next(iter(feed.values())))
    if not fixed or count == fixed:
        return run(feed)
    parts = []
    for begin in range(0, count, fixed):
        part = {name: array[begin : begin + fixed] for name, array in feed.items()}
        size = len(next(iter(part.values())))
        if size < fixed:
            part = {name: np.concatenate([array, np.repeat(array[-1:], fixed - size, axis=0)]) for name, array in part.items()}
        parts.append([output[:size] for output in run(part)])
    outputs = zip(*parts)
    return [[row for part in each for row in part] if isinstance(each[0], list) else np.concatenate(each) for each in outputs]


# ---- boosters --------------------------------------------------------------------------------------------------------------------------


def load_xgboost(path):
    """A model that XGBoost saved as JSON or UBJSON."""
    import xgboost

    return _of_xgboost(xgboost.Booster(model_file=path))


def _of_xgboost(booster):
    """Classes and probabilities as XGBClassifier gives them: numbered from 0, by the objective."""
    import xgboost

    booster.set_param({"nthread": threads()})
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    count = booster.num_features()
    names, types = booster.feature_names, booster.feature_types or []
    classes = int(learner["learner_model_param"].get("num_class") or 0)
    targets = int(learner["learner_model_param"].get("num_target") or 1)
    best = booster.attr("best_iteration")
    trees = (0, int(best) + 1) if best is not None else (0, 0)
    binary = objective in ("binary:logistic", "binary:logitraw", "binary:hinge")
    several = binary and targets > 1
    numbers = list(range(classes)) if objective.startswith("multi:") else [0, 1]
    categorical = [name for name, type_ in zip(names or (), types) if type_ == "c"]

    def predict(data):
        if categorical:
            data = data.assign(**{name: data[name].astype("category") for name in categorical})
        matrix = xgboost.DMatrix(data, feature_names=None if names is None or hasattr(data, "columns") else names, enable_categorical=True)
        values = booster.predict(matrix, iteration_range=trees)
        if several:
            return Scores((values > 0.5).astype(int), [_both(each) for each in values.T], [np.array([0, 1])] * targets)
        if objective == "binary:logistic":
            return Scores((values > 0.5).astype(int), _both(values), numbers)
        if objective == "binary:logitraw":
            return Scores((values > 0).astype(int))
        if objective in ("binary:hinge", "multi:softmax"):
            return Scores(values.astype(int))
        if objective == "multi:softprob":
            values = values.reshape(len(values), -1)
            return Scores(values.argmax(axis=1), values, numbers)
        return Scores(values)

    is_class = binary or objective.startswith("multi:")
    task = MANY_CLASSES if several else CLASSIFICATION if is_class else MANY_NUMBERS if targets > 1 else REGRESSION
    return Model(
        "xgboost", "xgboost", predict, "matrix" if names is None else "frame", task=task,
        inputs=[{"name": name, "type": _XGBOOST_TYPES.get(type_, "number")} for name, type_ in zip(names or (), types or [""] * count)],
        feature_count=count, classes=numbers if task == CLASSIFICATION else [],
        has_probabilities=several or objective in ("binary:logistic", "multi:softprob"), dtype=np.float32, raw=booster,
    )  # fmt: skip


_XGBOOST_TYPES = {"int": "integer", "i": "boolean", "c": ""}


def load_lightgbm(path):
    """A model that LightGBM saved as text."""
    import lightgbm

    return _of_lightgbm(lightgbm.Booster(model_file=path))


def _of_lightgbm(booster):
    """Classes and probabilities as LGBMClassifier gives them: numbered from 0, by the objective."""

    head = booster.model_to_string(num_iteration=1).partition("\nTree=0")[0]
    told = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    objective = told.get("objective", "").partition(" ")[0]
    classes = int(told.get("num_class", 1))
    names = booster.feature_name()
    infos = told.get("feature_infos", "").split(" ")
    categorical = [name for name, info in zip(names, infos) if info[:1] not in ("[", "n", "")]
    trained_on_categories = bool(getattr(booster, "pandas_categorical", None))
    unnamed = names == [f"Column_{place}" for place in range(len(names))]
    workers = threads()

    def predict(data):
        if trained_on_categories:
            data = data.assign(**{name: data[name].astype("category") for name in categorical})
        values = booster.predict(data, num_threads=workers)
        if objective == "binary":
            return Scores((values > 0.5).astype(int), _both(values), [0, 1])
        if objective in ("multiclass", "multiclassova"):
            return Scores(values.argmax(axis=1), values, list(range(classes)))
        return Scores(values)

    is_class = objective in ("binary", "multiclass", "multiclassova")
    return Model(
        "lightgbm", "lightgbm", predict, "matrix" if unnamed else "frame",
        task=CLASSIFICATION if is_class else REGRESSION, feature_count=len(names),
        inputs=[] if unnamed else [{"name": name, "type": "" if name in categorical else "number"} for name in names],
        classes=[] if not is_class else [0, 1] if objective == "binary" else list(range(classes)), has_probabilities=is_class, raw=booster,
    )  # fmt: skip


def load_catboost(path):
    """A model that CatBoost saved as .cbm."""
    import catboost

    base = catboost.CatBoost().load_model(path, format="cbm")
    classes = list(base.classes_)
    model = catboost.CatBoostClassifier().load_model(path, format="cbm") if classes else base
    names, texts = model.feature_names_, set(model.get_cat_feature_indices()) | set(model.get_text_feature_indices())
    unnamed = not texts and names == [str(place) for place in range(len(names))]

    def predict(data):
        if texts:
            data = data.assign(**{names[place]: data[names[place]].astype(object) for place in texts})
        predictions = np.asarray(model.predict(data, thread_count=threads()))
        predictions = predictions[:, 0] if predictions.ndim == 2 and predictions.shape[1] == 1 else predictions
        several = predictions.ndim == 2
        return Scores(predictions, model.predict_proba(data, thread_count=threads()) if classes and not several else None, classes)

    tried = None if classes or texts else np.asarray(model.predict([[0.0] * len(names)]))
    width = tried.shape[1] if tried is not None and tried.ndim > 1 else 1
    return Model(
        "catboost", "catboost", predict, "matrix" if unnamed else "frame",
        task=CLASSIFICATION if classes else MANY_NUMBERS if width > 1 else REGRESSION, feature_count=len(names),
        inputs=[] if unnamed else [{"name": name, "type": "" if place in texts else "number"} for place, name in enumerate(names)],
        classes=classes, has_probabilities=bool(classes), raw=model,
    )  # fmt: skip


# ---- MLflow ----------------------------------------------------------------------------------------------------------------------------


def load_mlflow(path):
    """A model folder of MLflow, or a zip of one: whatever flavor its python_function loads."""
    os.environ.setdefault("DO_NOT_TRACK", "true")  # MLflow from 3.2 on tells its makers of its use
    import mlflow.pyfunc

    folder = _mlflow_folder(path)
    model = mlflow.pyfunc.load_model(folder)
    schema = model.metadata.get_input_schema()
    flavors = [name for name in model.metadata.flavors if name != "python_function"]
    try:
        raw = model.get_raw_model() if set(flavors) & {"sklearn", "xgboost", "lightgbm", "catboost"} else None
    except Exception:  # noqa: BLE001 - not every flavor has one
        raw = None
    classes = _own(raw, "classes_") if hasattr(raw, "predict_proba") else None
    classes = None if isinstance(classes, list) else classes
    is_tensor = schema is not None and schema.is_tensor_spec()
    columns = [] if schema is None or is_tensor else list(schema.inputs)
    named = bool(columns) and all(each.name for each in columns)
    types = {str(each.name): each.type for each in columns} if named else {}
    own_names = None if schema is not None else _own(raw, "feature_names_in_")
    tensor = [int(size) for size in schema.inputs[0].shape] if is_tensor else []

    def predict(data):
        if types:
            data = data.assign(**{name: _as_mlflow(data[name], type_) for name, type_ in types.items()})
        result = model.predict(data)
        targets = [str(name) for name in result.columns] if hasattr(result, "columns") else ()
        predictions = _array(result)
        if predictions.ndim == 2 and predictions.shape[1] == 1:
            predictions = predictions[:, 0]
        probabilities = np.asarray(raw.predict_proba(data)) if classes is not None else None
        return Scores(
            predictions, probabilities, [] if classes is None else list(classes), targets=targets if predictions.ndim == 2 else ()
        )

    names = [str(each.name) for each in columns] if named else list(own_names) if own_names is not None else []
    wants = "tensor" if len(tensor) > 2 else "frame" if names else "matrix"
    count = (
        len(columns) or (tensor[1] if len(tensor) == 2 and tensor[1] > 0 else None) or (len(names) or None) or _own(raw, "n_features_in_")
    )
    inputs = [{"name": name, "type": _mlflow_type(types.get(name))} for name in names]
    if tensor:
        inputs = [{"name": str(schema.inputs[0].name or "input"), "type": "tensor", "shape": _shape(tensor)}]
    known = {"raw": raw if raw is not None else model, "dtype": np.dtype(schema.inputs[0].type) if is_tensor else np.float64}
    return Model(
        "mlflow", flavors[0] if flavors else "python_function", predict, wants, framework_version=_mlflow_version(model, flavors),
        task=_task_of(raw) if raw is not None else "", inputs=inputs, feature_count=None if count is None else int(count),
        classes=[] if classes is None else list(classes), has_probabilities=None if raw is None else classes is not None,
        requirements=_lines_of(os.path.join(folder, "requirements.txt")), **known,
    )  # fmt: skip


def _mlflow_folder(path):
    if os.path.isdir(path):
        return path
    folder = _folder_of_this_process()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # never outside of the folder: zipfile itself sees to that
    return next(place for place, _, names in os.walk(folder) if "MLmodel" in names)


def _folder_of_this_process():
    """A new folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _mlflow_type(type_):
    return {"boolean": "boolean", "integer": "integer", "long": "integer", "float": "number", "double": "number", "string": "text",
            "datetime": "datetime"}.get(getattr(type_, "name", ""), "")  # fmt: skip


def _as_mlflow(column, type_):
    """A column as the signature wants it, where nothing is lost by that."""
    kind = getattr(type_, "name", "")
    if kind in ("double", "float") and column.dtype.kind in "iub":
        return column.astype(np.float64 if kind == "double" else np.float32)
    if kind == "float" and column.dtype == np.float64:
        return column.astype(np.float32)
    if kind in ("integer", "long") and column.dtype.kind == "f" and bool((column == column.round()).all()):
        return column.astype(np.int64 if kind == "long" else np.int32)
    if kind == "integer" and column.dtype == np.int64:
        return column.astype(np.int32)
    if kind == "string" and column.dtype.kind != "O":
        return column.astype(object) if str(column.dtype) in ("str", "string") else column.astype(str).astype(object)
    return column


def _mlflow_version(model, flavors):
    flavor = model.metadata.flavors.get(flavors[0], {}) if flavors else {}
    return next((str(value) for key, value in flavor.items() if key.endswith("_version")), "")


def _lines_of(path):
    try:
        with open(path, encoding="utf-8") as opened:
            return [line.strip() for line in opened if line.strip() and not line.startswith("#")]
    except OSError:
        return []


# ---- networks --------------------------------------------------------------------------------------------------------------------------


def load_keras(path, labels=()):
    """A whole model that Keras saved: .keras, or the older HDF5."""
    if "KERAS_BACKEND" not in os.environ:
        import importlib.util

        there = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
        if there and there[0] != "tensorflow":
            os.environ["KERAS_BACKEND"] = there[0]  # Keras itself would want TensorFlow
    import keras

    named = path
    if not path.endswith((".keras", ".h5", ".hdf5")):
        folder = _folder_of_this_process()
        named = os.path.join(folder, "model.keras" if zipfile.is_zipfile(path) else "model.h5")
        shutil.copyfile(path, named)
    network = keras.models.load_model(named, compile=False)
    inputs = [{"name": each.name, "type": "tensor", "shape": _shape(each.shape)} for each in network.inputs]
    if len(inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(f"the model has {len(inputs)} inputs and {len(network.outputs)} outputs; one of each is expected")

    def run(data):
        return [np.asarray(network.predict(np.asarray(data, dtype=np.float32), verbose=0))]

    activation = getattr(getattr(network.layers[-1], "activation", None), "__name__", "") if getattr(network, "layers", None) else ""
    numbered = not labels and activation == "sigmoid" and network.outputs[0].shape[-1] == 1
    labels = [0, 1] if numbered else list(labels)
    return _network("keras", "keras", run, inputs, _shape(network.outputs[0].shape), labels, network)


def load_torchscript(path, labels=()):
    """A TorchScript archive."""
    import torch

    torch.set_num_threads(threads())
    module = torch.jit.load(path, map_location="cpu").eval()
    inputs = [{"name": "input", "type": "tensor", "shape": []}]
    return _network("torchscript", "torch", _by_torch(torch, module), inputs, [], list(labels), module)


def load_torch_export(path, labels=()):
    """A program of torch.export."""
    import torch

    torch.set_num_threads(threads())
    program = torch.export.load(path)
    taken = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in program.graph_signature.user_inputs]
    shapes = [[size if isinstance(size, int) else None for size in node.meta["val"].shape] for node in taken]
    if len(taken) != 1:
        raise ValueError(f"the program has {len(taken)} inputs; one is expected")
    inputs = [{"name": taken[0].name, "type": "tensor", "shape": shapes[0]}]
    return _network("torch-export", "torch", _by_torch(torch, program.module()), inputs, [], list(labels), program)


def _by_torch(torch, module):
    def run(data):
        with torch.inference_mode():
            result = module(torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32)))
        result = result[0] if isinstance(result, (tuple, list)) else result
        return [result.numpy() if hasattr(result, "numpy") else np.asarray(result)]

    return run


def _network(format_, framework, run, inputs, outputs, labels, raw):
    shape = inputs[0]["shape"]
    wants = "tensor" if len(shape) > 2 else "matrix"
    fixed = shape[0] if shape else None

    def batched(data):
        return _in_batches(lambda part: run(part["input"]), {"input": np.asarray(data, dtype=np.float32)}, fixed)

    def decided(outputs, wants, probe):
        return _by_outputs(lambda rows: batched(rows)[0], outputs, labels, wants, probe)

    known = decided(outputs, wants, _probe(batched, inputs, [np.float32], wants)) if shape else (None, "", [], None, [])
    chosen, task, classes, has_probabilities, notes = known

    def predict(data):
        nonlocal chosen
        if chosen is None:  # no shape is known: by what the first row gives
            first = np.asarray(batched(data[:1])[0])
            chosen = decided([None, first.shape[-1]], "tensor" if np.ndim(data) > 2 else wants, first)[0]
        return chosen(data)

    model = Model(
        format_, framework, predict, wants, task=task, inputs=inputs, classes=classes,
        feature_count=shape[1] if len(shape) == 2 else None, has_probabilities=has_probabilities, notes=notes, dtype=np.float32,
        scorer_defaults=image_defaults({}, shape), raw=raw,
    )  # fmt: skip
    model.any_shape = not shape
    layers = {type(layer).__name__ for layer in getattr(raw, "layers", None) or ()}
    if "scale" not in model.scorer_defaults and layers & {"Rescaling", "Normalization"}:
        model.scorer_defaults["scale"] = "1"  # it scales by itself
    return model


def _array(values):
    """Predictions as an array of one or two dimensions."""
    values = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values.todense() if hasattr(values, "todense") else values)
    return values if values.ndim < 3 else values.reshape(len(values), -1)


def _printed(values):
    """Classes as texts, as predictions are printed."""
    return [str(each.item() if isinstance(each, np.generic) else each) for each in values]

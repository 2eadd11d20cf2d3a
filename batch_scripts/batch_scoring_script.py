"""Scores comma-delimited files with a joblib model: one row of numbers a file, one line "<file>: <prediction>" for each.

The rows are those of the well-known tutorial script, which calls `np.genfromtxt` and `predict` for each file. This one reads every
file of the mini-batch once, parses them together and calls `predict` once, which is tens of times faster. A file that can't be read,
or whose row the model refuses, fails alone: it is missing from what run() returns, and the log says which and why. A missing field
is NaN, as it is there; it's for the model to take it or refuse it.

Where `predict` gives real numbers out of sums of products (a linear regression, a neural network), the last digit of one depends on
how many rows are summed together: such a model predicts row by row, so that every digit is as the tutorial script prints it, unless the
argument `--predict-at-once` says that speed matters more.

The model is the one in the folder `AZUREML_MODEL_DIR`; without that variable, or with the argument `--model-name NAME`, the one that
`Model.get_model_path` finds ("classification_model" when no name is given; the latest, without `--model-version N`).
"""

import argparse
import logging
import os

import joblib
import numpy as np

MODEL_NAME = "classification_model"  # what the tutorial registers
MODEL_SUFFIXES = (".joblib", ".pkl", ".pickle")
PLAIN = b"0123456789.,+-eE"  # of these bytes float() and genfromtxt think alike
ARROW_PAYS_FROM = 2048  # numbers in a mini-batch: with fewer, pyarrow's 0.1 ms a call, and 30 ms for its import, save too little
PIECE = 65536  # bytes read at a time
NEWLINE = ord("\n")
READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)

log = logging.getLogger(__name__)


def init():
    """Load the model. Raises FileNotFoundError or ValueError naming what was found instead."""
    global model, one_by_one  # noqa: PLW0603 - this is how an entry script keeps what init() made
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model-name")
    parser.add_argument("--model-version", type=int)
    parser.add_argument("--predict-at-once", action="store_true")
    arguments, _ = parser.parse_known_args()  # the runtime passes arguments of its own
    path = model_file(model_place(arguments.model_name, arguments.model_version))
    model = joblib.load(path)
    if not hasattr(model, "predict"):
        raise ValueError(f"{path} holds a {type(model).__name__}, which has no predict()")
    one_by_one = sums_products(model) and not arguments.predict_at_once


def sums_products(model):
    """Whether its predictions are sums of products: a regressor with coefficients, also as the last step of a pipeline or a search."""
    for inner in ("best_estimator_", "regressor_"):
        if hasattr(model, inner):
            return sums_products(getattr(model, inner))
    if getattr(model, "steps", None):
        return sums_products(model.steps[-1][1])
    return not hasattr(model, "classes_") and (hasattr(model, "coef_") or hasattr(model, "coefs_"))


def run(mini_batch):
    """Score a mini-batch: a list of paths of files. Returns a list of `"<file>: <prediction>"`, without the files that failed."""
    paths, texts = [], []
    for path in mini_batch:
        try:
            texts.append(read(path))
            paths.append(path)
        except OSError as error:
            failed(path, error)
    rows = parse_together(texts)
    if rows is None:
        return score_apart(paths, texts)
    return [line for line in score(rows, paths) if line is not None]


def model_place(name, version=None):
    """The file or folder of the model called `name`, or of the run's only one."""
    folder = os.environ.get("AZUREML_MODEL_DIR")
    if folder and not name:
        return folder
    from azureml.core import Model  # here, since it takes seconds to import

    return Model.get_model_path(name or MODEL_NAME, version)


def model_file(place):
    """The one model file at or below `place`; where several files are (an MLflow model), the one that is called like a pickle."""
    if os.path.isfile(place):
        return place
    found = sorted(os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names if not name.startswith("."))
    models = found if len(found) == 1 else [path for path in found if path.lower().endswith(MODEL_SUFFIXES)]
    if len(models) == 1:
        return models[0]
    if not found:
        raise FileNotFoundError(f"No model: {place} {'is empty' if os.path.isdir(place) else 'is not there'}")
    names = ", ".join(os.path.relpath(path, place) for path in found[:10]) + (", ..." if len(found) > 10 else "")
    raise ValueError(f"{place} holds {len(found)} files, of which not just one ends in {' '.join(MODEL_SUFFIXES)}: {names}")


def read(path):
    """The file's content without blank ends of lines. By system calls: half the time of open()."""
    handle = os.open(path, READ_ONLY)
    try:
        content = piece = os.read(handle, PIECE)
        while piece and (len(piece) == PIECE or piece[-1] != NEWLINE):  # a mounted store may give less than all there is
            piece = os.read(handle, PIECE)
            content += piece
    finally:
        os.close(handle)
    return content.rstrip(b" \r\n")


def parse_together(texts):
    """All files as one matrix, a row each; None unless each is one row, all of the same length, of nothing but plain numbers."""
    joined = b"\n".join(texts)
    widths = {text.count(b",") + 1 for text in texts}
    if len(widths) != 1 or joined.count(b"\n") != len(texts) - 1 or joined.translate(None, PLAIN + b"\n"):
        return None
    shape = (len(texts), widths.pop())
    fields = joined.replace(b",", b"\n")
    try:
        numbers = parse_with_arrow(fields) if shape[0] * shape[1] >= ARROW_PAYS_FROM else None
        if numbers is None:
            numbers = np.array(list(map(float, fields.split(b"\n"))))
        return numbers.reshape(shape)
    except ValueError:  # a missing field, or no number
        return None


def parse_with_arrow(lines):
    """The numbers on these lines, by pyarrow: six times as fast as float() and to the same bit; None where it isn't installed."""
    try:
        from pyarrow import BufferReader, csv, float64
    except ImportError:
        return None
    table = csv.read_csv(
        BufferReader(lines),
        read_options=csv.ReadOptions(use_threads=False, column_names=["number"]),
        parse_options=csv.ParseOptions(ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(column_types={"number": float64()}),
    )
    return np.array(table.column(0).to_numpy())  # a copy, since pyarrow's own can't be written to


def parse_alone(path, text):
    """One file as a matrix of one row, as the tutorial script reads it."""
    if text and not text.translate(None, PLAIN):
        try:
            return np.array([[float(field) if field else np.nan for field in text.split(b",")]])
        except ValueError:
            pass
    return np.genfromtxt(path, delimiter=",").reshape(1, -1)


def score_apart(paths, texts):
    """run() for files of which some are odd: each is read by itself, and those of one length are scored together."""
    stacks = {}
    for position, (path, text) in enumerate(zip(paths, texts)):  # noqa: B905 - Python 3.8 has no strict=
        try:
            row = parse_alone(path, text)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file costs that file alone
            failed(path, error)
        else:
            stacks.setdefault(row.shape[1], []).append((position, row))
    lines = {}
    for stack in stacks.values():
        positions = [position for position, _ in stack]
        rows = np.concatenate([row for _, row in stack])
        lines.update(zip(positions, score(rows, [paths[position] for position in positions])))  # noqa: B905
    return [lines[position] for position in sorted(lines) if lines[position] is not None]


def score(rows, paths):
    """One line a row, None where it failed. When `predict` refuses them all, each half is tried, so as to find the bad ones."""
    if len(rows) == 1:
        try:
            return [f"{os.path.basename(paths[0])}: {model.predict(rows)[0]}"]
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failed(paths[0], error, rows[0])
            return [None]
    if not one_by_one:
        try:
            predictions = model.predict(rows)
        except Exception:  # noqa: BLE001 - the halves, and at last the bad rows, say what it was
            predictions = None
        if isinstance(predictions, np.ndarray) and predictions.shape[:1] == (len(rows),):
            return [f"{name}: {value}" for name, value in zip(base_names(paths), plain_values(predictions))]  # noqa: B905
    middle = len(rows) // 2
    return score(rows[:middle], paths[:middle]) + score(rows[middle:], paths[middle:])


def base_names(paths):
    if os.altsep:
        return map(os.path.basename, paths)
    return [path.rpartition(os.sep)[2] for path in paths]


def plain_values(predictions):
    """The predictions as Python's own values where those print the same as NumPy's, since they print faster."""
    same = predictions.ndim == 1 and (predictions.dtype.kind in "biuU" or predictions.dtype == np.float64)
    return predictions.tolist() if same else predictions


def failed(path, error, row=None):
    """Say in the log which file failed, and why."""
    reason = f"{type(error).__name__}: {error}".split("\n")[0]
    if row is not None and row.size == 0:
        reason = "it holds no number"
    elif row is not None and np.isnan(row).any():
        reason += f" ({np.isnan(row).sum()} of its {row.size} fields are missing or no numbers)"
    log.warning("%r failed: %s", path, reason)

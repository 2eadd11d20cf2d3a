"""Scores comma-delimited files with a joblib model: one row of numbers a file, one line "<file>: <prediction>" for each.

The rows are those of the well-known tutorial script, which calls `np.genfromtxt` and `predict` for each file. This one reads every
file of the mini-batch once, parses them together and calls `predict` once, which is tens of times faster. A file that can't be read,
or whose row the model refuses, fails alone: it is missing from what run() returns, and the log says which and why. An empty field is
NaN, as it is there; it's for the model to take it or refuse it, and the log says how many there were. A field that holds something else
than a number (`n/a`) fails its file; with the argument `--missing-as-nan` it is NaN too.

Where `predict` gives real numbers out of sums of products (a linear regression, a neural network), the last digit of one depends on
how many rows are summed together: such a model predicts row by row, so that every digit is as the tutorial script prints it, unless the
argument `--predict-at-once` says that speed matters more.

The model is the one in the folder `AZUREML_MODEL_DIR`; without that variable, or with the argument `--model-name NAME`, the one that
`Model.get_model_path` finds ("classification_model" when no name is given; the latest, without `--model-version N`).
"""

import argparse
import codecs
import importlib
import logging
import os
import pickle
import re

import joblib
import numpy as np

MODEL_NAME = "classification_model"  # what the tutorial registers
MODEL_SUFFIXES = (".joblib", ".pkl", ".pickle")
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}  # what np.genfromtxt unpacks, and the modules for it
OTHER_KINDS = (
    (rb"version https://git-lfs", "a Git LFS pointer; the model itself was not downloaded (git lfs pull does)"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--[^>]*>\s*)*<(!doctype|html|head|body|meta|title|script)", "an HTML page"),
    (rb"\s*<\?xml[^>]*>\s*<error", "an error message in XML, such as a store sends in place of a file"),
    (rb"\s*<", "an XML file"),
    (rb"\x08[\x01-\x20][\x12\x3a\x42]", "an ONNX model, for onnxruntime, or another in protobuf"),
    (rb'\s*\{\s*"learner"|\{[iUIlL]\x00*\x07learner|binf', "an XGBoost model, for xgboost's load_model"),
    (rb"tree\r?\nversion=", "a LightGBM model, for lightgbm.Booster"),
    (rb"CBM1", "a CatBoost model, for catboost's load_model"),
    (rb"\x89HDF\r\n", "an HDF5 file such as Keras writes, for keras.models.load_model"),
    (rb"PK\x03\x04", "a zip archive such as Keras, PyTorch and skops write"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb".{3}\x00{5}\{\"", "a safetensors file"),
)  # by how a file begins; looked at only where joblib refuses it
PICKLE = rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n|\([a-zA-Z]|[\])}][.q]"  # how one begins, those of Python 2 too
PACKED = rb"x|\x1f\x8b|BZ|\xfd7zXZ|\]\x00|ZF|\x04\x22M\x18"  # how what joblib has compressed begins
PLAIN = b"0123456789.,+-eE"  # of these bytes float() and genfromtxt think alike
ARROW_PAYS_FROM = 2048  # numbers in a mini-batch: with fewer, pyarrow's 0.1 ms a call, and 30 ms for its import, save too little
PIECE = 65536  # bytes read at a time
NEWLINE = ord("\n")
READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)

log = logging.getLogger(__name__)


def init():
    """Load the model. Raises FileNotFoundError, UnpicklingError or ValueError naming what was found instead."""
    global model, one_by_one, missing_as_nan  # noqa: PLW0603 - this is how an entry script keeps what init() made
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model-name")
    parser.add_argument("--model-version", type=int)
    parser.add_argument("--predict-at-once", action="store_true")
    parser.add_argument("--missing-as-nan", action="store_true")
    arguments, _ = parser.parse_known_args()  # the runtime passes arguments of its own
    path = model_file(model_place(arguments.model_name, arguments.model_version))
    model = load(path)
    if not hasattr(model, "predict"):
        raise ValueError(f"{path} holds a {type(model).__name__}, which has no predict()")
    one_by_one = sums_products(model) and not arguments.predict_at_once
    missing_as_nan = arguments.missing_as_nan


def load(path):
    """The model in a file of joblib or pickle. Raises UnpicklingError saying what the file is where it is of another kind."""
    try:
        return joblib.load(path)
    except Exception as error:
        with open(path, "rb") as opened:
            head = opened.read(200).lstrip(codecs.BOM_UTF8)
        packed, pickled = re.match(PACKED, head), re.match(PICKLE, head)
        if isinstance(error, ImportError) and (packed or pickled):
            raise  # a package is missing, which the error names
        kind = next((kind for pattern, kind in OTHER_KINDS if re.match(pattern, head, re.IGNORECASE | re.DOTALL)), None)
        if kind is None and packed and not isinstance(error, (AttributeError, TypeError)):  # those are of what was unpacked
            kind = "compressed, and damaged or nothing that joblib has written"
        elif kind is None and not packed and not pickled:  # it is read as the instructions of a pickle, with any error
            kind = f"nothing that joblib or pickle have written: it begins with {head[:8]!r}"
        elif kind is None and isinstance(error, KeyError):  # pickle's way to say that a byte is no instruction of its
            kind = "a damaged pickle"
        if kind is None:
            raise
        reason = f" ({type(error).__name__}: {error})" if packed else ""
        raise pickle.UnpicklingError(f"{os.path.basename(path)} can't be loaded by joblib: it is {kind}{reason}") from error


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
            failed(path, unreadable(error))
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
    """The file's content, unpacked, without a byte-order mark and blank ends of lines. By system calls: half the time of open(). Raises
    OSError."""
    module = COMPRESSED.get(path[path.rfind(".") :].lower())
    if module:
        return stripped(unpacked(path, module))
    handle = os.open(path, READ_ONLY)
    try:
        content = piece = os.read(handle, PIECE)
        while piece and (len(piece) == PIECE or piece[-1] != NEWLINE):  # a mounted store may give less than all there is
            piece = os.read(handle, PIECE)
            content += piece
    finally:
        os.close(handle)
    return stripped(content)


def unpacked(path, module):
    """The content of a file that is compressed."""
    try:
        with importlib.import_module(module).open(path) as opened:
            return opened.read()
    except Exception as error:
        if getattr(error, "strerror", None):
            raise
        raise OSError(f"{type(error).__name__}: {error}") from error  # each module has errors of its own for what it can't unpack


def stripped(content):
    return (content[3:] if content[:3] == codecs.BOM_UTF8 else content).rstrip(b" \r\n")


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
    if table.column(0).null_count:
        raise ValueError("a field is empty")
    return np.array(table.column(0).to_numpy())  # a copy, since pyarrow's own can't be written to


def parse_alone(text):
    """One file as a matrix of one row, as the tutorial script reads it, and how many of its fields are NaN. Raises ValueError saying what
    keeps it from being a row of numbers."""
    if text and not text.translate(None, PLAIN):
        fields = text.split(b",")
        try:
            return np.array([[float(field) if field else np.nan for field in fields]]), fields.count(b"")
        except ValueError:
            pass
    lines = [line for line in lines_of(text) if line]
    if not lines:
        raise ValueError("it holds comments only" if text else "it is empty")
    table = [line.split(",") for line in lines]
    widths = [len(fields) for fields in table]
    if len(set(widths)) > 1:
        raise ValueError(f"its rows differ in length: {widths[0]} fields, then {next(w for w in widths if w != widths[0])}")
    row = np.genfromtxt(lines, delimiter=",", encoding="utf-8").reshape(1, -1)
    if not missing_as_nan:
        check_numbers(table)
    return row, np.isnan(row).sum()


def lines_of(text):
    """The lines of a file up to their comments, by any line end, as genfromtxt takes them. Raises ValueError for what is not UTF-8."""
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16 text, not UTF-8")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: byte 0x{text[error.start]:02x} at position {error.start}") from None
    return [line.split("#")[0].strip(" ") for line in decoded.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def check_numbers(table):
    """Raises ValueError where fields are neither a number nor empty; `table` is one list of texts for each row of the file."""
    odd = [(row, column) for row, fields in enumerate(table) for column, field in enumerate(fields) if not is_number_or_empty(field)]
    if not odd:
        return
    width = len(table[0])
    if len(table) > 1 and odd[:width] == [(0, column) for column in range(width)]:
        raise ValueError("it begins with a header row; one row of numbers is expected")
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in table[row][column].strip() for row, column in odd):
            raise ValueError(f"its fields are separated by {name}, not by commas")
    places = ", ".join(str(column + 1) if len(table) == 1 else f"{column + 1} of row {row + 1}" for row, column in odd[:5])
    verb, columns = ("is not a number", "column") if len(odd) == 1 else ("are not numbers", "columns")
    raise ValueError(f"{len(odd)} of {width * len(table)} fields {verb}: {columns} {places}{', ...' if len(odd) > 5 else ''}")


def is_number_or_empty(field):
    try:
        float(field.strip() or "nan")
    except ValueError:
        return False
    return True


def score_apart(paths, texts):
    """run() for files of which some are odd: each is read by itself, and those of one length are scored together."""
    stacks, missing = {}, {}
    for position, (path, text) in enumerate(zip(paths, texts)):  # noqa: B905 - Python 3.8 has no strict=
        try:
            row, missing[position] = parse_alone(text)
        except ValueError as error:
            failed(path, str(error).split("\n")[0])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file costs that file alone
            failed(path, f"{type(error).__name__}: {error}".split("\n")[0])
        else:
            stacks.setdefault(row.shape[1], []).append((position, row))
    lines = {}
    for stack in stacks.values():
        positions = [position for position, _ in stack]
        rows = np.concatenate([row for _, row in stack])
        lines.update(zip(positions, score(rows, [paths[position] for position in positions])))  # noqa: B905
    scored = [position for position in sorted(lines) if lines[position] is not None]
    holed = [missing[position] for position in scored if missing[position]]
    if holed:
        kind = "empty or not numbers" if missing_as_nan else "empty"
        log.warning("%d of %d files were scored with fields that are %s, %d in all, read as NaN", len(holed), len(scored), kind, sum(holed))
    return [lines[position] for position in scored]


def score(rows, paths):
    """One line a row, None where it failed. When `predict` refuses them all, each half is tried, so as to find the bad ones."""
    if len(rows) == 1:
        try:
            return [f"{os.path.basename(paths[0])}: {model.predict(rows)[0]}"]
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failed(paths[0], refusal(paths[0], error, rows[0]))
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


def failed(path, reason):
    """Say in the log which file failed, and why."""
    log.warning("%r failed: %s", path, reason)


def unreadable(error):
    """Why a file can't be read, in words."""
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    return f"it can't be read: {error.strerror or error}"


def refusal(path, error, row):
    """Why the model refuses a row, in words: by what is odd about the row where that is known, else by what the model says."""
    takes = getattr(model, "n_features_in_", None)
    if takes is not None and row.size != takes:
        rows = read(path).count(b"\n") + 1
        fields = f"{row.size} field{'s' if row.size > 1 else ''}"
        shape = fields if rows == 1 else f"{rows} rows, {fields} in all"
        return f"it has {shape}, and the model takes {takes}"
    reason = f"{type(error).__name__}: {error}".split("\n")[0]
    missing = np.isnan(row).sum()
    return f"{reason} ({missing} of {row.size} fields {'is' if missing == 1 else 'are'} NaN)" if missing else reason

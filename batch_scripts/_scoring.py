"""What the built-in scoring scripts share: their arguments, where the model is, items that fail alone, and the DataFrame they return.

It imports nothing of this project but `_model_formats`, and needs Python 3.8, NumPy and pandas.
"""

import argparse
import codecs
import collections
import logging
import os
import warnings

import _model_formats as formats
import numpy as np
import pandas as pd

log = logging.getLogger(__name__)


def arguments_of(add_own=None):
    """The script's arguments. `add_own(parser)` adds those of one script. What the runtime passes besides is ignored."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model-name")
    parser.add_argument("--model-version", type=int)
    parser.add_argument("--probabilities", choices=["prediction", "all", "off"], default="prediction")
    parser.add_argument("--top", type=int, default=0)
    if add_own:
        add_own(parser)
    arguments, _ = parser.parse_known_args()
    if arguments.top < 0:
        parser.error("argument --top: it must be a whole number from 1")
    return arguments


def model_place(name, version=None):
    """The file or folder of the model called `name`, or of the run's only one."""
    folder = os.environ.get("AZUREML_MODEL_DIR")
    if folder and not name:
        return folder
    if not name:
        raise FileNotFoundError("No model: the run has none, and --model-name names none")
    from azureml.core import Model  # here, since it takes seconds to import

    return Model.get_model_path(name, version)


def load_model(arguments, labels=()):
    """The run's model, as the arguments name it. What is known of it is in the log."""
    model = formats.load(model_place(arguments.model_name, arguments.model_version), labels)
    log.info("The model: %s%s", model.format, f", {model.task}" if model.task else "")
    for note in model.notes:
        log.warning("%s", note)
    limit_threads()
    return model


def limit_threads():
    """Numeric libraries get the worker's share of the cores: each worker would take all of them."""
    try:
        import threadpoolctl
    except ImportError:
        return
    threadpoolctl.threadpool_limits(formats.threads())


# ---- items that fail alone -------------------------------------------------------------------------------------------------------------


def score(predict, data, places, failed):
    """[(places, Scores), ...] of the items that the model takes, in their order.

    `predict` is called once for all; where it raises, for the halves, and so on, so that one bad item fails alone: `failed(place, error)`
    is called for it. `places` is an array of the items' numbers, `data` a DataFrame, an array, a list, or a dict of arrays.
    """
    whole, refused = len(places), []

    def parts(data, places):
        try:
            with warnings.catch_warnings():
                if len(places) < whole:
                    warnings.simplefilter("ignore")  # they were given of the whole
                scores = predict(data)
            if len(scores.predictions) != len(places):
                raise ValueError(f"the model gave {len(scores.predictions)} predictions for {len(places)} items")
            return [(places, scores)]
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            if len(places) == 1:
                refused.append((places[0], error))
                return []
        cut = _cut(data, len(places))
        rows = np.arange(len(places))
        return [part for half in cut for part in parts(rows_of(data, rows[half]), places[half])]

    results = parts(data, places) if whole else []
    for place, error in refused:
        failed(int(place), error)
    return results


def _cut(data, count):
    """Two parts of what is refused as a whole: numbers with and without NaN or infinity where both are there, else halves."""
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.dtype.kind == "f":
        finite = np.isfinite(data).all(axis=1)
        if 0 < finite.sum() < count:
            return np.flatnonzero(finite), np.flatnonzero(~finite)
    return slice(0, count // 2), slice(count // 2, count)


def rows_of(data, rows):
    """The same data with these rows only, by their numbers."""
    if isinstance(data, dict):
        return {name: values[rows] for name, values in data.items()}
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    return data[rows] if isinstance(data, np.ndarray) else [data[row] for row in rows]


def reason_of(error):
    """What a model says of an item, on one line."""
    text = " ".join(str(error).split("\n")[0].split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def refusal(error, values):
    """Why the model refuses an item, in words; `values` are those it has, in which NaN and infinity may be the reason."""
    numbers = pd.to_numeric(pd.Series(np.asarray(values, dtype=object).ravel()), errors="coerce").to_numpy(dtype=np.float64)
    missing, infinite = int(pd.isna(pd.Series(np.asarray(values, dtype=object).ravel())).sum()), int(np.isinf(numbers).sum())
    counts = [
        f"{count} of {len(numbers)} {'is' if count == 1 else 'are'} {what}"
        for count, what in ((missing, "NaN"), (infinite, "infinite"))
        if count
    ]
    return reason_of(error) + (f" ({', '.join(counts)})" if counts else "")


def joined(results):
    """(places, Scores) of all parts together, in the order of the places; Scores is None where there are none."""
    scores = [each for _, each in results]
    if len(scores) < 2:
        return results[0] if scores else (np.arange(0), None)
    first, places = scores[0], np.concatenate([each for each, _ in results])
    order = np.argsort(places, kind="stable")
    probabilities = first.probabilities
    if isinstance(probabilities, list):
        probabilities = [np.concatenate(each)[order] for each in zip(*(each.probabilities for each in scores))]
    elif probabilities is not None:
        probabilities = np.concatenate([each.probabilities for each in scores])[order]
    score_ = None if first.score is None else np.concatenate([each.score for each in scores])[order]
    predictions = np.concatenate([np.asarray(each.predictions) for each in scores])[order]
    return places[order], formats.Scores(predictions, probabilities, first.classes, score_, first.targets)


# ---- the DataFrame that run() returns --------------------------------------------------------------------------------------------------


def frame_of(scores, arguments, before=None, kept=None, index=None):
    """The predictions and what is known beside them, one row an item.

    `before` are columns in front by name, such as `file`; `kept` is a DataFrame of those to be kept, which keep their names: a column of
    ours that is called the same, in any case, is `model prediction`. `index` says which items these are.
    """
    columns = dict(before or {})
    taken = set(columns) | {str(name).casefold() for name in (() if kept is None else kept.columns)}
    pairs = [] if scores is None else list(_columns_of(scores, arguments))
    for name, values in pairs:
        own = f"model {name}" if name.casefold() in taken else name
        while own in columns:
            own += " "
        columns[own] = values
    frame = pd.DataFrame(columns, index=index, copy=False)
    if kept is not None:
        frame = pd.concat([frame, kept.set_axis(frame.index, axis=0)], axis=1)
    return frame


def _columns_of(scores, arguments):
    """(name, values) of each column that a model's predictions make."""
    predictions = np.asarray(scores.predictions)
    if predictions.ndim > 1:
        names = list(scores.targets) or list(range(1, predictions.shape[1] + 1))
        for place, name in enumerate(names):
            yield f"prediction {name}", predictions[:, place]
            if isinstance(scores.probabilities, list) and arguments.probabilities != "off":
                yield from _probabilities(predictions[:, place], scores.probabilities[place], scores.classes[place], arguments, f" {name}")
        return
    yield "prediction", predictions
    if scores.score is not None:
        yield "score", scores.score
    if scores.probabilities is not None and not isinstance(scores.probabilities, list) and arguments.probabilities != "off":
        yield from _probabilities(predictions, np.asarray(scores.probabilities), scores.classes, arguments)


def _probabilities(predictions, probabilities, classes, arguments, target=""):
    count, width = probabilities.shape
    places = _places_of(predictions, probabilities, classes)
    values = probabilities[np.arange(count), np.maximum(places, 0)]
    if (places < 0).any():
        values = np.where(places < 0, np.nan, values.astype(np.float64))
        odd = predictions[places < 0][0]
        log.warning("The model predicts %r, which is none of the classes that it has probabilities for", _plain(odd))
    yield f"probability{target}", values
    names = [_plain(each) for each in classes] if classes is not None else [f"number {place + 1}" for place in range(width)]
    if arguments.top > 1:
        rest = probabilities.astype(np.float64).copy()
        rest[np.arange(count), np.maximum(places, 0)] = np.where(places < 0, rest[np.arange(count), np.maximum(places, 0)], -np.inf)
        order = np.argsort(-rest, axis=1, kind="stable")
        own = np.array(names, dtype=object) if classes is None else np.asarray(classes)
        for number in range(2, min(arguments.top, width) + 1):
            at = order[:, number - 2]
            yield f"prediction{target} {number}", own[at]
            yield f"probability{target} {number}", probabilities[np.arange(count), at]
    if arguments.probabilities == "all":
        numbered = {str(number) for number in range(2, min(arguments.top, width) + 1)}
        of = "of " if numbered & set(map(str, names)) else ""  # "probability 2" is that of the second likeliest
        for place, name in enumerate(names):
            yield f"probability{target} {of}{name}", probabilities[:, place]


def _places_of(predictions, probabilities, classes):
    """Which of the classes each prediction is; -1 for one that is none of them."""
    if classes is None:
        return probabilities.argmax(axis=1)
    best = probabilities.argmax(axis=1)
    known = np.asarray(classes)
    if known.dtype.kind in "USO" or predictions.dtype.kind in "USO":
        number = {each: place for place, each in enumerate(known.tolist())}
        if np.array_equal(known[best], predictions):  # nearly always, and without a look at each
            return best
        return np.array([number.get(each, -1) if each.__hash__ else -1 for each in predictions.tolist()], dtype=np.int64)
    if np.array_equal(known[best], predictions):
        return best
    order = np.argsort(known, kind="stable")
    at = order[np.minimum(np.searchsorted(known[order], predictions), len(known) - 1)]
    return np.where(known[at] == predictions, at, -1)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


# ---- which columns are the model's -----------------------------------------------------------------------------------------------------


def chosen_inputs(texts, names):
    """`MODEL_INPUT=COLUMN` as pairs: split where the model's longest input name ends, else at the first `=`. Raises ValueError."""
    pairs = {}
    for text in texts or ():
        name = max((name for name in names or () if text.startswith(f"{name}=")), key=len, default=text.partition("=")[0])
        if "=" not in text[len(name) :]:
            raise ValueError(f"--input {text} is not MODEL_INPUT=COLUMN")
        pairs[name] = text[len(name) + 1 :]
    return pairs


def columns_for(model, columns, chosen=(), *, by_order=False, kept=()):
    """The place of the table's column for each of the model's inputs, in the model's order. Raises ValueError saying what is missing."""
    columns = [str(each) for each in columns]
    names = [str(each) for each in model.names] if model.names is not None else None
    if model.wants == "texts":
        names = ["text"]
    count = len(names) if names is not None else model.feature_count
    called = names if names is not None else [str(place + 1) for place in range(count or 0)]
    pairs = chosen_inputs(chosen, called)
    unknown = sorted(set(pairs) - set(called))
    if len(unknown) == len(pairs) == 1 and model.wants == "texts":
        pairs, unknown = {"text": pairs[unknown[0]]}, []
    if unknown and count is None:
        raise ValueError("--input can't be used: the model doesn't say which inputs it has")
    if unknown:
        raise ValueError(f"--input {unknown[0]}=…: the model has no such input; it has {_listed(called)}")
    at = places_by_name(columns)
    places = {name: place_of(column, columns, at) for name, column in pairs.items()}
    rest = [name for name in called if name not in places]
    if called and not rest:
        return [places[name] for name in called]
    if model.wants == "texts":
        return [_text_column(columns, kept)]
    if names is not None and not by_order:
        missing = [name for name in rest if name not in at]
        if not missing:
            places.update((name, place_of(name, columns, at)) for name in rest)
            return [places[name] for name in called]
        if len(missing) < len(called):
            raise ValueError(f"the table lacks {_listed(missing)}, which the model takes; the table has {_listed(columns)}")
    used, aside = set(places.values()), set(kept)
    free = [place for place in range(len(columns)) if place not in used]
    if count is not None and len(free) != len(rest):
        free = [place for place in free if columns[place] not in aside]
    if count is None:
        return free
    if len(free) != len(rest):
        own = f"{len(columns):,} column{'' if len(columns) == 1 else 's'}"
        takes = f"the model takes {count:,}" + (f" ({_listed(names)})" if names is not None else "")
        raise ValueError(f"the table has {own}, and {takes}; say which is which with --input MODEL_INPUT=COLUMN")
    if names is not None and not by_order:
        log.warning("None of the model's columns (%s) is in the table: they are taken in their order", _listed(names))
    places.update(zip(rest, free))
    return [places[name] for name in called]


def places_by_name(columns):
    """Where in the table the columns of each name are."""
    at = {}
    for place, name in enumerate(columns):
        at.setdefault(name, []).append(place)
    return at


def place_of(column, columns, at):
    """Where the only column of this name is. Raises ValueError where there is none, or another."""
    found = at.get(column, ())
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{len(found)} columns of the table are called {column!r}; rename them, or take all by their order: --by-order")
    raise ValueError(f"the table has no column {column!r}; it has {_listed(columns)}")


def _text_column(columns, kept):
    free = [place for place, name in enumerate(columns) if name not in kept] or list(range(len(columns)))
    named = [place for place in free if columns[place].strip().lower() == "text"]
    if len(named) == 1 or len(free) == 1:
        return named[0] if len(named) == 1 else free[0]
    raise ValueError(f"the model takes one column of text, and the table has {_listed(columns)}; say which with --input text=COLUMN")


def _listed(names):
    shown = ", ".join(map(str, list(names)[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8:,} more"


def data_for(model, frame, places):
    """(what the model's predict takes, {row: why it can't be read}) of a table's columns at these places, one for each of its inputs.

    A text where the model wants a number fails its row, as does what is missing or not whole where it wants whole numbers; a column of
    nothing else, or of dates, raises ValueError.
    """
    taken = frame.iloc[:, places]
    if model.wants == "texts":
        column = taken.iloc[:, 0]
        missing = column.isna().to_numpy()
        return column.astype(object).to_numpy(), dict.fromkeys(
            np.flatnonzero(missing).tolist(), f"its text, in {column.name!r}, is missing"
        )
    odd, texts = {}, [place for place, dtype in enumerate(taken.dtypes) if _is_text(dtype)]
    if model.wants == "frame":
        called = [str(each) for each in taken.columns]
        numbers = [place for place, each in enumerate(model.inputs) if each.get("type") in ("number", "integer")]
        _refuse_dates(taken, numbers)
        taken = taken.set_axis(model.names, axis=1)
        for place in texts:
            if place in numbers:
                taken.isetitem(place, _numbers(taken.iloc[:, place], called[place], odd))
        return taken, odd
    if model.wants == "columns":
        data = {}
        _refuse_dates(taken, [place for place, each in enumerate(model.inputs) if each["type"] != "text"])
        for place, each in enumerate(model.inputs):
            column = taken.iloc[:, place]
            if each["type"] == "text":
                data[each["name"]] = column.astype(object).to_numpy()
            else:
                values = _numbers(column, str(column.name), odd) if place in texts else column.to_numpy()
                data[each["name"]] = _of_dtype(values.reshape(-1, 1), model.dtypes[place], [column.name], odd)[:, 0]
        return data, odd
    if np.dtype(model.dtype).kind in "OU":
        return taken.astype(str).to_numpy(dtype=object), odd
    _refuse_dates(taken, range(taken.shape[1]))
    if texts:
        values = np.empty(taken.shape, dtype=np.float64)
        for place in range(taken.shape[1]):
            column = taken.iloc[:, place]
            values[:, place] = _numbers(column, str(column.name), odd) if place in texts else column
        return _of_dtype(values, model.dtype, taken.columns, odd), odd
    if np.dtype(model.dtype).kind in "biu":
        whole = {each.kind for each in taken.dtypes} <= set("bi")
        return _of_dtype(taken.to_numpy(dtype=np.int64 if whole else np.float64), model.dtype, taken.columns, odd), odd
    return taken.to_numpy(dtype=model.dtype), odd  # laid out as pandas has it, on which a last digit may depend


def _refuse_dates(taken, places):
    """Raises ValueError for a date or a duration where the model takes a number: it would be a count of its smallest units."""
    for place in places:
        if taken.dtypes.iloc[place].kind in "mM":
            what = "a date" if taken.dtypes.iloc[place].kind == "M" else "a duration"
            raise ValueError(f"the column {str(taken.columns[place])!r} is {what}, and the model takes numbers there")


def _of_dtype(values, dtype, names, odd):
    """An array of numbers as `dtype`. Where that is of whole numbers, the rows of values that it can't hold are noted in `odd`: a cast
    would make other numbers of them."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biu" or values.dtype.kind not in "iuf" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    fits = ~np.isnan(values) if dtype.kind == "b" else _fits_whole(values, dtype)
    for row, place in np.argwhere(~fits).tolist():
        value = values[row, place]
        if np.isnan(value):
            why = "is missing, and the model takes no missing values there"
        else:
            why = f"is {value}, and the model takes whole numbers from {np.iinfo(dtype).min:,} to {np.iinfo(dtype).max:,} there"
        odd.setdefault(row, f"its {str(names[place])!r} {why}")
    return np.where(fits, values, 0).astype(dtype)


def _fits_whole(values, dtype):
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":  # the greatest of 64 bits is none of its values, the one above is
        return (np.floor(values) == values) & (values >= float(limits.min)) & (values < float(limits.max) + (limits.bits < 53))
    return (values >= limits.min) & (values <= limits.max)


def _is_text(dtype):
    return dtype.kind not in "biufM" and (dtype.kind == "O" or str(dtype) in ("str", "string", "category"))


def _numbers(column, name, odd):
    """A column of texts as numbers; the rows of those that are none are noted in `odd`."""
    values = pd.to_numeric(column, errors="coerce")
    values = values.astype(np.float64)
    bad = np.flatnonzero((values.isna() & column.notna()).to_numpy())
    if len(bad) == int(column.notna().sum()) > 1:
        raise ValueError(f"the column {name!r} is text, and the model takes numbers there: {str(column.iloc[bad[0]])[:50]!r}")
    for place in bad.tolist():
        odd.setdefault(place, f"its {name!r} is {str(column.iloc[place])[:50]!r}, not a number")
    return values.to_numpy()


# ---- files -----------------------------------------------------------------------------------------------------------------------------


def file_names(paths):
    """What the files are called in the output: by their base names, those that share one by their paths."""
    bases = [os.path.basename(path) for path in paths]
    counts = collections.Counter(bases)
    return [base if counts[base] == 1 else path for base, path in zip(bases, paths)]


def content_of(path):
    """A file's bytes. Raises ValueError saying why it can't be read."""
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except IsADirectoryError:
        raise ValueError("it is a folder, not a file") from None
    except FileNotFoundError:
        raise ValueError("it is not there") from None
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror or error}") from None


def text_of(content, encoding):
    """Bytes as text, by this encoding or what its byte-order mark says. Raises ValueError."""
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            encoding = name
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        odd = content[error.start]
        raise ValueError(f"it is not {encoding} text: byte 0x{odd:02x} at position {error.start}") from None


def file_failed(path, reason):
    """Say in the log which file failed, and why."""
    log.warning("%r failed: %s", path, reason)


def frame_of_files(paths, places, scores, arguments):
    """The DataFrame of the files at these places: `file` first."""
    names = file_names(paths)
    return frame_of(scores, arguments, before={"file": [names[place] for place in places]})

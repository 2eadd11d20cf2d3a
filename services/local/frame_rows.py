"""A DataFrame as rows of text, byte for byte those of `DataFrame.to_csv(sep=" ", header=False, index=False)`, in a fraction of its time.

Runs in the run's own interpreter, as worker.py does: Python 3.8 or newer, any pandas; pyarrow only where pandas has loaded it. Columns of
numbers, truth values and texts are made here, and what pandas may write in another way is left to it: the whole frame, of which a column
is of another type, and single numbers that are written with an exponent or are not numbers. unit/test_frame_rows holds the two together.
"""

import os
import re
import sys

LEAST_FOR_ARROW = 200  # rows: of fewer, Python's own strings are as fast
MOST_FOR_ARROW = 1 << 30  # bytes: its strings end at two billion
# Between these every shortest decimal of a float is written without an exponent, by Python, NumPy and Arrow alike.
LEAST_PLAIN, MOST_PLAIN = 1e-4, {8: 1e10, 4: 1e6}  # by the bytes of one
_special = re.compile('[ "\n]').search  # what csv quotes a field for; of "\r" it depends on Python's version

_FLOATS = (
    0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 2 / 3, 1e-4, 0.00012345678901234567, 100.0, 123456.789, 0.30000000000000004, 8589934592.0078125,
    9999999999.999998, 4503599627.3704975, 0.9999999999999999, 1.7976931348623157,
)  # fmt: skip


def rows_of(frame):
    """The rows as a list of texts without their line's end, or as a pyarrow.Array of texts with it; None where pandas has to write them."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if type(frame) is not pandas.DataFrame or not frame.shape[0] or not frame.shape[1]:
        return None
    columns = [frame.iloc[:, number] for number in range(frame.shape[1])]
    if not all(_is_plain(pandas, numpy, column.dtype) for column in columns):
        return None
    if len(frame) >= LEAST_FOR_ARROW and _Arrow.usable(numpy):
        try:
            rows = _Arrow.rows(pandas, numpy, columns)
        except Exception:  # noqa: BLE001 - of whichever version pyarrow is, what it can't do is done without it
            rows = None
        if rows is not None:
            return rows
    return _rows(pandas, numpy, columns)


def _is_plain(pandas, numpy, dtype):
    if isinstance(dtype, numpy.dtype):
        return dtype.kind in "iubO" or (dtype.kind == "f" and dtype.itemsize in (4, 8))
    return isinstance(dtype, getattr(pandas, "StringDtype", ()))


def _unusual(numpy, values):
    """Of an array of floats: which of them are written with an exponent, or in letters."""
    sizes = numpy.abs(values)
    return ~((sizes > LEAST_PLAIN) & (sizes < MOST_PLAIN[values.itemsize]) | (sizes == 0))


def _by_pandas(pandas, values):
    """An array of floats as to_csv makes texts of it."""
    texts = values.astype(str).astype(object)
    texts[pandas.isna(values)] = ""
    return texts


# ---- by Python's own strings -----------------------------------------------------------------------------------------------------


def _rows(pandas, numpy, columns):
    cells = []
    for column in columns:
        texts = _texts(pandas, numpy, column)
        if texts is None:
            return None
        cells.append(texts)
    if len(cells) == 1:
        return [text or '""' for text in cells[0]]
    return list(map(" ".join, zip(*cells)))  # noqa: B905 - Python 3.8


def _texts(pandas, numpy, column):
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iub":
        return list(map(repr, column.tolist()))
    if kind == "f":
        values = column.to_numpy()
        if values.itemsize == 4:
            return _by_pandas(pandas, values).tolist()
        texts, unusual = list(map(float.__repr__, values.tolist())), _unusual(numpy, values)
        if unusual.any():
            for place, text in zip(numpy.flatnonzero(unusual).tolist(), _by_pandas(pandas, values[unusual])):  # noqa: B905
                texts[place] = text
        return texts
    values = column.tolist()
    if set(map(type, values)) != {str}:
        missing = pandas.isna(column).tolist()
        values = ["" if lacks else value for value, lacks in zip(values, missing)]  # noqa: B905 - Python 3.8
        if set(map(type, values)) != {str}:
            return None
    joined = "".join(values)
    if "\r" in joined or "\0" in joined:
        return None
    if _special(joined):
        return ['"' + value.replace('"', '""') + '"' if _special(value) else value for value in values]
    return values


# ---- by Arrow --------------------------------------------------------------------------------------------------------------------


class _Arrow:
    """The pyarrow that pandas has loaded, if it has; `usable` where it writes numbers as Python and NumPy do."""

    _usable = None

    @classmethod
    def usable(cls, numpy):
        if cls._usable is None:
            cls._usable = "pyarrow" in sys.modules and "pyarrow.compute" in sys.modules and os.linesep == "\n" and cls._agrees(numpy)
        return cls._usable

    @staticmethod
    def _agrees(numpy):
        try:
            for type_ in (numpy.float64, numpy.float32):
                values = numpy.array(_FLOATS, type_)
                values = values[~_unusual(numpy, values)]
                if _Arrow._decimals(numpy, values).to_pylist() != values.astype(str).tolist():
                    return False
            return values.astype(numpy.float64).astype(str).tolist() == list(map(repr, values.tolist()))
        except Exception:  # noqa: BLE001 - of whichever version pyarrow is, what it can't do is done without it
            return False

    @classmethod
    def rows(cls, pandas, numpy, columns):
        compute = sys.modules["pyarrow.compute"]
        cells, size = [], 0
        for column in columns:
            texts = cls._texts(pandas, numpy, column)
            if texts is None:
                return None
            cells.append(texts)
            size += texts.nbytes + len(texts)
        if size > MOST_FOR_ARROW:
            return None
        if len(cells) == 1:
            rows = compute.if_else(compute.equal(cells[0], ""), '""', cells[0])
        else:
            rows = compute.binary_join_element_wise(*cells, " ")
        return compute.binary_join_element_wise(rows, "", "\n")

    @classmethod
    def _texts(cls, pandas, numpy, column):
        pyarrow, compute = sys.modules["pyarrow"], sys.modules["pyarrow.compute"]
        kind = getattr(column.dtype, "kind", "O")
        if kind == "b":
            return compute.if_else(pyarrow.array(column.to_numpy()), "True", "False")
        if kind in "iu":
            return pyarrow.array(column.to_numpy()).cast(pyarrow.string())
        if kind == "f":
            values = column.to_numpy()
            texts, unusual = cls._decimals(numpy, values), _unusual(numpy, values)
            if unusual.any():
                others = pyarrow.array(_by_pandas(pandas, values[unusual]), pyarrow.string())
                texts = compute.replace_with_mask(texts, pyarrow.array(unusual), others)
            return texts
        texts = pyarrow.array(column.to_numpy() if isinstance(column.dtype, numpy.dtype) else column.array, from_pandas=True)
        if isinstance(texts, pyarrow.ChunkedArray):
            texts = texts.combine_chunks()
            if isinstance(texts, pyarrow.ChunkedArray):
                texts = texts.chunk(0)
        if texts.type not in (pyarrow.string(), pyarrow.large_string()):
            return None
        texts = texts.cast(pyarrow.string())
        return cls._quoted(compute, compute.fill_null(texts, "") if texts.null_count else texts)

    @staticmethod
    def _decimals(numpy, values):
        """Of an array of floats that are not unusual; Arrow leaves the `.0` out."""
        pyarrow, compute = sys.modules["pyarrow"], sys.modules["pyarrow.compute"]
        texts = pyarrow.array(values).cast(pyarrow.string())
        whole = numpy.rint(values) == values
        return compute.if_else(whole, compute.binary_join_element_wise(texts, ".0", ""), texts) if whole.any() else texts

    @staticmethod
    def _quoted(compute, texts):
        content = texts.buffers()[2]
        content = b"" if content is None else memoryview(content).tobytes()  # all of it, for a slice of more
        if b"\r" in content or b"\0" in content:
            return None
        if b" " not in content and b'"' not in content and b"\n" not in content:
            return texts
        special = compute.match_substring_regex(texts, '[ "\n]')
        quoted = compute.binary_join_element_wise('"', compute.replace_substring(texts, '"', '""'), '"', "")
        return compute.if_else(special, quoted, texts)

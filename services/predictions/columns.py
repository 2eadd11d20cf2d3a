"""The vocabulary of a table of predictions: its columns, what their values are, limits, names, patterns, and how SQL and Arrow
spell them.

Everything else in this package stands on it; it imports nothing of the package. The rules that decide what a value is stand here once:
`json_columns` follows them in Arrow, `flatten` in SQL (see docs/decisions/0004).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

ROW_NUMBER = "Row number"
"""Where an item is a row: its number among the data rows of its file, from 1; null where it isn't known which row it is."""
INPUT_FILE = "Input file"
"""Whether the file of a row was there when its dataset was read again: one of INPUT_FILES."""
INPUT_FILES = ("present", "gone")
COLUMNS = (
    "File", ROW_NUMBER, "Prediction", "Number", "Status", "Matched by", "Error", "Cause", "Mini-batch", "Worker", "Attempts", "Seconds",
    "Folder", INPUT_FILE, "Place", "Scored at",
)  # fmt: skip
"""Of every table, but for ROW_NUMBER, which tables have whose items are rows, and INPUT_FILE, which those have that were added to. Number
is the prediction where it is one; Cause is the Error without names and numbers, by which failures are grouped; Place its place among the
rows of its mini-batch; Scored at is UTC."""
FRAME = ".columns"
"""The column beside them that says which DataFrame a row is of, as JSON. It is never shown."""
ROW = "Row"
"""The column with all that was printed, where a part of it is the prediction."""


class Status(StrEnum):
    """The outcome of a row of the table: a prediction of a file, a file without one, or a row that names no file."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNMATCHED = "unmatched"


STATUSES = tuple(Status)


class MatchedBy(StrEnum):
    """How it is known which file a row is of. A failed item has no row, and none of these."""

    NAME = "name"
    """The row names the file."""
    ORDER = "order"
    """No row of the mini-batch names a file, and there are as many as items."""
    ONLY_FILE = "only file"
    """The mini-batch is of that file alone."""
    NOT_MATCHED = "not matched"


WAYS_OF_MATCHING = tuple(MatchedBy)


class Kind(StrEnum):
    """What the values of a column are, all of them."""

    WHOLE_NUMBER = "whole number"
    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    DATE = "date"
    """Date and time, UTC. Never the kind of the predictions themselves."""
    TRUTH_VALUE = "truth value"
    """True or False. Never the kind of the predictions themselves."""


NUMERIC = (Kind.NUMBER, Kind.WHOLE_NUMBER)
CLASSES = (Kind.CATEGORY, Kind.TRUTH_VALUE)
"""The kinds of columns that have few values."""

# ---- what a value is ---------------------------------------------------------------------------------------------------------------------

MOST_DIGITS = 38
"""Of a number that is kept exactly, where a double would lose some: as many as Parquet's decimals have."""
WHOLE = rf"^-?(0|[1-9][0-9]{{0,{MOST_DIGITS - 1}}})$"
NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"
"""A number as a person or a program writes it: `007` and `+1` are text."""
NOT_FINITE = r"^(?i:nan|-?inf(inity)?)$"
"""Numbers too, where others of the column are numbers."""
MANY_DIGITS = r"^-?([0-9]{16,}$|(0\.0*)?[1-9](\.?[0-9]){17})"
"""Numbers that a double may not hold: whole ones beyond 2^53, and those with more than the 17 digits that doubles are printed with."""
ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?(Z|[+-]\d{2}:\d{2})?)?$"
"""Down to a microsecond."""
FIRST_MOMENT, LAST_MOMENT = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
"""Python has no others, though `0001-01-01T00:00:00+02:00` in UTC is before: a column with one is text."""
FOLDERS = r"(?s)^.*/"
"""All of a path before the file's own name."""

MOST_CLASSES = 50
"""Distinct values of a category, at most; and no more than half as many as there are values."""
MOST_CLASS_CHARACTERS = 100_000
"""Of all classes together: whoever opens the table reads them."""
MOST_COLUMNS = 100
"""As many columns as predictions are flattened into."""
MOST_IN_A_LIST = 50
MOST_NESTED = 4
"""Levels of objects and lists within each other."""
_LONGEST_NAME = 200  # characters of a column's name


def is_category(distinct: int, count: int) -> bool:
    """Whether `count` values, of which `distinct` are different, are classes."""
    return distinct <= min(MOST_CLASSES, count / 2)


def printed(value: object) -> str:
    """A value of the table as Python prints it; a decimal with all its digits, but no zeros at their end."""
    if isinstance(value, Decimal):
        return re.sub(r"(\.[0-9]+?)0+$", r"\1", f"{value:f}")
    return str(value)


# ---- dicts and lists as Python prints them -----------------------------------------------------------------------------------------------

NOT_REPR = r'["\\]'
"""A text with one of these is not turned into JSON: without them a quote is a delimiter wherever it is."""
REPR_TO_JSON = (
    (r'(": ?|[\[,] ?)np\.\w+\(([^()]*)\)', r"\1\2", "np."),
    (r'": None([,}])', r'": null\1', "None"),
    (r'": nan([,}])', r'": NaN\1', "nan"),
    (r'": (-?)inf([,}])', r'": \1Infinity\2', "inf"),
    (r'": True([,}])', r'": true\1', "True"),
    (r'": False([,}])', r'": false\1', "False"),
)
"""What is replaced after the quotes, by what, and a sign that it may be there."""
PLAIN_REPR_TO_JSON = (
    (r"\bnp\.(?:float|int|uint)\w+\(([^()]*)\)", r"\1", "np."),
    (r"\bNone\b", "null", "None"),
    (r"\bnan\b", "NaN", "nan"),
    (r"\binf\b", "Infinity", "inf"),
    (r"\bTrue\b", "true", "True"),
    (r"\bFalse\b", "false", "False"),
)
"""The same where nothing is between quotes, as in a list of numbers."""

# ---- names -------------------------------------------------------------------------------------------------------------------------------

FILE_KEYS = ("file", "path")
"""Of a JSON object, in any case: whose row it is, where that is the name of an item of the mini-batch."""


def is_file_key(name: str) -> bool:
    """Whether a key of a JSON object may name its row's file."""
    return name.casefold() in FILE_KEYS


_WORDS_OF_FILES = {
    "file", "files", "filename", "filenames", "filepath", "path", "paths", "name", "basename", "image", "images", "img", "imagename",
    "imagepath", "photo", "picture", "video", "audio", "document", "doc", "source", "src", "uri", "url",
}  # fmt: skip
_WORDS_BESIDE = {"id", "full", "relative", "rel", "absolute", "abs", "base", "original", "orig", "input", "local", "row", "key"}


@cache
def may_name_file(name: str) -> bool:
    """Whether a key or a column is called file, path, image, filename, source_file, name or the like: a name of a file there is no
    chance. A class_name, an output_path and a nearest_image are of something else."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return bool(words & _WORDS_OF_FILES) and words <= _WORDS_OF_FILES | _WORDS_BESIDE


GAVE_WAY = "model prediction"
"""What the built-in scorers call the prediction beside a column of the input that is called prediction and kept."""


def prediction_place(names: Sequence[str]) -> int | None:
    """The place of the only one of these names that is Prediction, in any case; beside a person's own the model's."""
    if GAVE_WAY in names:
        return names.index(GAVE_WAY)
    places = [place for place, name in enumerate(names) if name.casefold() == "prediction"]
    return places[0] if len(places) == 1 else None


_FIXED = ("File", "Prediction", FRAME, "file_row_number")
"""Names that no column of a person's can have. File and Prediction say whose a row is and what was predicted, whatever else is there."""


def own_names(names: Sequence[str]) -> dict[str, str]:
    """What COLUMNS and ROW are called beside columns of these names, a person's, which come first: `Status` is `Run status` beside
    `status`, since SQL ignores case."""
    taken = {name.lower() for name in (*_FIXED, *COLUMNS, ROW, *names)}
    given = {name.lower() for name in names}
    own = {}
    for name in (*COLUMNS, ROW):
        if name in _FIXED or name.lower() not in given:
            own[name] = name
        else:
            own[name] = next(free for free in _numbered(f"Run {name.lower()}") if free.lower() not in taken)
            taken.add(own[name].lower())
    return own


def table_columns(*, of_rows: bool, added_to: bool = False) -> tuple[str, ...]:
    """Those of COLUMNS that a table has: of items that are rows, or of files; and that was added to when its dataset grew."""
    left_out = [ROW_NUMBER] * (not of_rows) + [INPUT_FILE] * (not added_to)
    return tuple(name for name in COLUMNS if name not in left_out)


def unique_names(names: Sequence[str]) -> Iterator[str]:
    """The same as names that columns of a table can have: none empty, none twice, in any case, none of those that are fixed."""
    taken = {name.lower() for name in _FIXED}
    for place, given in enumerate(names, 1):
        base = "".join(character if character.isprintable() else " " for character in given).strip()[:_LONGEST_NAME] or f"column {place}"
        name = next(name for name in _numbered(base) if name.lower() not in taken)
        taken.add(name.lower())
        yield name


def names_beside(names: Collection[str], added: Collection[str]) -> dict[str, str]:
    """What a table's columns are called where these are added: `label` is `label 2` beside `Label`, since SQL ignores case."""
    new = {name.lower() for name in added}
    taken = new | {name.lower() for name in names}
    renamed = {}
    for name in names:
        renamed[name] = next(free for free in _numbered(name) if free.lower() not in taken) if name.lower() in new else name
        taken.add(renamed[name].lower())
    return renamed


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} {number}" for number in itertools.count(2))


# ---- paths and text that is not UTF-8 ----------------------------------------------------------------------------------------------------

_ESCAPED = r"x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"


def readable(text: str) -> str:
    r"""Undecodable bytes, which Python keeps as lone surrogates, as `\xff`: a table and a CSV file are UTF-8."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def file_text(path: str) -> str:
    r"""A path as it is in the column File once it is `readable`: a backslash in it that would read as such a byte is `\x5c` there."""
    return re.sub(rf"\\(?={_ESCAPED})", r"\\x5c", path)


def path_of(file: str) -> str:
    """The path that the column File holds, with lone surrogates where it is not UTF-8."""

    def character(escaped: re.Match[str]) -> str:
        code = int(escaped[1][1:], 16)
        return "\\" if code == ord("\\") else chr(code if escaped[1][0] == "u" else 0xDC00 + code)

    return re.sub(rf"\\({_ESCAPED})", character, file)


# ---- SQL ---------------------------------------------------------------------------------------------------------------------------------


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def number_column(column: str, kind: Kind, own: Mapping[str, str]) -> str:
    """The column to compare and to sort by: predictions that are numbers have theirs beside their text. `own`: see own_names."""
    return own["Number"] if column == "Prediction" and kind in NUMERIC else column


def glob_escaped(path: Path) -> str:
    """The absolute path for DuckDB, which takes `[`, `*` and `?` for wildcards."""
    return re.sub(r"([*?\[])", r"[\1]", str(path.absolute()))


def parquet_file(path: Path, *, row_numbers: bool = False) -> str:
    """The Parquet file as a relation in SQL; with the number of each row, from 0, as `file_row_number` if `row_numbers`."""
    return f"read_parquet({literal(glob_escaped(path))}{', file_row_number = true' * row_numbers})"


# ---- Arrow arrays ------------------------------------------------------------------------------------------------------------------------
# Made of buffers: `pa.array` and `pa.scalar` would import pandas, which takes 0.4 s.


def text_array(texts: Sequence[str | None]) -> Any:
    """An Arrow array of these texts (large_string), each made readable; None is null."""
    import numpy as np
    import pyarrow as pa

    present: Any = texts
    count, validity = len(texts), None
    if None in texts:
        validity = pa.py_buffer(np.packbits([text is not None for text in texts], bitorder="little"))
        present = [text or "" for text in texts]
    characters = "".join(present)
    if characters.isascii():
        encoded, lengths = characters.encode(), map(len, present)
    else:
        parts = [readable(text).encode() for text in present]
        encoded, lengths = b"".join(parts), map(len, parts)
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, count), out=ends[1:])
    return pa.LargeStringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(encoded), validity)


def number_array(values: Any, type_: Any) -> Any:
    """A NumPy array as an Arrow array of this type, which must have the same width."""
    import pyarrow as pa

    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def whole_number(value: int) -> Any:
    """An Arrow scalar (int64)."""
    import numpy as np
    import pyarrow as pa

    return number_array(np.array([value], np.int64), pa.int64())[0]


def numbers_in(texts: Any) -> Any:
    """The texts that are numbers (NUMBER and finite as doubles, or NOT_FINITE), as doubles; null for any other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.nulls(len(texts), texts.type)
    numbers = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, nothing).cast(pa.float64())
    numbers = pc.if_else(pc.is_finite(numbers), numbers, pa.nulls(len(texts), numbers.type))
    if numbers.null_count == texts.null_count:
        return numbers
    short = pc.less_equal(pc.binary_length(texts), whole_number(len("-infinity")))  # most texts are documents: no look into them
    others = texts.filter(short)
    if not pc.any(pc.match_substring_regex(others, NOT_FINITE)).as_py():
        return numbers
    not_finite = pc.if_else(pc.match_substring_regex(texts, NOT_FINITE), texts, nothing)
    return pc.coalesce(numbers, not_finite.cast(pa.float64()))

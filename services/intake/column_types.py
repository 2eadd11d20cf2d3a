"""The types of a table's columns, settled over all of its files as pandas would, or as a person says; and values made of these types.

Loads pandas and pyarrow: for a process of its own.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas
import pyarrow
from pyarrow import parquet

from services.domain import column_type_of
from services.errors import SettingsError
from services.file_names import quoted, short
from services.intake.tabular import kinds_of, settled_type

ROW_GROUP = 1 << 20
"""Bytes of text, about: what a mini-batch is by default, and a Parquet file is cut no finer."""

_WORD = b"batch_scoring_studio.type"  # in a field's metadata: a date is a timestamp to pandas
_DATETIME = "datetime"
_ARROW = {
    "text": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float64(), "boolean": pyarrow.bool_(),
    "date": pyarrow.timestamp("us"), _DATETIME: pyarrow.timestamp("us"),
}  # fmt: skip
_OF_PANDAS = {
    "int64": pyarrow.int64(), "uint64": pyarrow.uint64(), "float64": pyarrow.float64(), "bool": pyarrow.bool_(), "str": pyarrow.string(),
    "object": pyarrow.bool_(), _DATETIME: pyarrow.timestamp("us"),
}  # fmt: skip
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "t": True, "f": False, "y": True, "n": False, "1": True, "0": False}
_DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d.%m.%y", "%Y-%m-%d 00:00:00",
)  # fmt: skip
_EITHER = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}  # but where a day is more than 12
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M", " %H:%M:%S.%f", "T%H:%M:%S.%f")
_ISO = "ISO8601"
_NOUNS = {"integer": "an integer", "number": "a number", "boolean": "true or false", "date": "a date", _DATETIME: "a date with a time"}


class Columns:
    """The columns of a table that is read as pandas frames, all of them twice: first `see` each, then `table` of each.

    A column whose type a person gave comes as texts. `where` is the file's name; rows are counted from 1 in each file.
    """

    def __init__(self, names: Sequence[str], types: Mapping[str, str], decimal: str = ".") -> None:
        """Raises SettingsError on column for one that isn't there."""
        check_names(names, types)
        self.names = list(names)
        self.kinds: list[set[str]] = [set() for _ in names]
        """What was seen in each column, in the words of tabular.settled_type."""
        self._casts = {name: Cast(name, word, decimal) for name, word in types.items()}

    def see(self, frame: pandas.DataFrame, where: str, first_row: int) -> None:
        """Raises SettingsError on column for a value that is not of the type that its column is to have, with its file and row."""
        for number, name in enumerate(self.names):
            column = frame.iloc[:, number]
            if name in self._casts:
                self._casts[name].check(texts_of(column), where, first_row)
            else:
                self.kinds[number] |= {_DATETIME} if column.dtype.kind == "M" and column.notna().any() else kinds_of(column)

    def dtype(self, number: int) -> str:
        """The pandas type of a column that nobody gave a type to; `datetime` for dates of a workbook."""
        kinds = self.kinds[number]
        if _DATETIME in kinds:
            return _DATETIME if kinds <= {_DATETIME, "missing"} else "str"
        return settled_type(kinds)

    def read_as(self) -> dict[str, str]:
        """The `dtype` for pandas.read_csv; True and False with missing values it finds by itself."""
        types = {name: "str" if name in self._casts else self.dtype(number) for number, name in enumerate(self.names)}
        return {name: dtype for name, dtype in types.items() if dtype != "object"}

    def schema(self) -> pyarrow.Schema:
        fields = [
            self._casts[name].field() if name in self._casts else pyarrow.field(name, _OF_PANDAS[self.dtype(number)])
            for number, name in enumerate(self.names)
        ]
        return pyarrow.schema(fields)

    def table(self, frame: pandas.DataFrame) -> pyarrow.Table:
        schema = self.schema()
        arrays = [
            self._casts[name].array(texts_of(frame.iloc[:, number])) if name in self._casts else _array(frame.iloc[:, number], field.type)
            for number, (name, field) in enumerate(zip(self.names, schema, strict=True))
        ]
        return pyarrow.Table.from_arrays(arrays, schema=schema)


class Cast:
    """Texts made values of the type that a person gave a column; all of them are checked before any is made."""

    def __init__(self, name: str, word: str, decimal: str = ".") -> None:
        self._name, self._word = name, word
        point, thousands = re.escape(decimal), re.escape("." if decimal == "," else ",")
        whole = rf"(\d+|\d{{1,3}}({thousands}\d{{3}})+)"
        self._decimal, self._thousands = decimal, "." if decimal == "," else ","
        self._integer = re.compile(rf"\s*[+-]?{whole}({point}0*)?\s*")
        self._number = re.compile(rf"\s*([+-]?({whole}({point}\d*)?|{point}\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity))\s*", re.IGNORECASE)
        times = ("",) if word == "date" else _TIMES
        self._formats = [_ISO, *(day + time for day in _DATES for time in times)]
        self._aware: bool | None = None

    def field(self) -> pyarrow.Field:
        aware = pyarrow.timestamp("us", "UTC") if self._aware else _ARROW[self._word]
        return pyarrow.field(self._name, aware, metadata={_WORD: self._word.encode()})

    def check(self, texts: pandas.Series[Any], where: str, first_row: int) -> None:
        """Raises SettingsError on column."""
        there = texts.dropna()
        if self._word == "text" or there.empty:
            return
        if self._word in ("date", _DATETIME):
            bad = self._bad_date(there)
        else:
            bad = next((row for row, text in there.items() if not self._fits(text)), None)
        if bad is not None:
            row = first_row + int(bad)
            text = f"“{short(str(texts.loc[bad]))}” in row {row:,} of “{short(where)}” is not {_NOUNS[self._word]}"
            hint = f"Give column “{short(self._name)}” another type, such as text; or correct the value."
            raise SettingsError("column", text, hint)

    def _fits(self, text: str) -> bool:
        if self._word == "boolean":
            return text.strip().lower() in _BOOLEANS
        if self._word == "number":
            return bool(self._number.fullmatch(text))
        return bool(self._integer.fullmatch(text)) and abs(self._whole(text)) < 1 << 63

    def _whole(self, text: str) -> int:
        return int(text.strip().replace(self._thousands, "").partition(self._decimal)[0])

    def _bad_date(self, there: pandas.Series[Any]) -> Any:
        """The first one's place that no format fits which fits all before it; None where there is none."""
        best = -1
        kept = []
        for each in self._formats:
            missing = _dates(there, each, only_days=self._word == "date").isna().to_numpy()
            if not missing.any():
                kept.append(each)
            else:
                best = max(best, int(missing.argmax()))
        if not kept:
            return there.index[best]
        self._formats = kept
        if kept[0] == _ISO:
            aware = there.str.contains(r"(?:[zZ]|[+-]\d\d:?\d\d)\s*$", regex=True)
            if self._aware is not None and (odd := aware != self._aware).any():
                return there.index[int(odd.to_numpy().argmax())]
            if aware.nunique() > 1:
                return there.index[int((aware != aware.iloc[0]).to_numpy().argmax())]
            self._aware = bool(aware.iloc[0])
        return None

    def array(self, texts: pandas.Series[Any]) -> pyarrow.Array:
        """Texts that were checked. Raises SettingsError where the day and the month of all dates could be either."""
        kind = self.field().type
        if self._word == "text":
            return pyarrow.array(texts.astype("str"), pyarrow.string(), from_pandas=True)
        if self._word in ("date", _DATETIME):
            other = _EITHER.get(self._formats[0][:8])
            if other and any(each.startswith(other) for each in self._formats):
                text = f"the dates of column “{short(self._name)}” can be read with the day or with the month first"
                raise SettingsError("column", text, "Leave the column text, or write the dates as 2026-01-31.")
            dates = _dates(texts, self._formats[0], only_days=self._word == "date")
            return pyarrow.array(dates.dt.tz_localize(None), pyarrow.timestamp("us"), from_pandas=True).cast(kind)
        if self._word == "number":
            return pyarrow.array(self._floats(texts), kind, from_pandas=True)
        known: list[str | None] = texts.astype(object).where(texts.notna(), None).tolist()
        if self._word == "integer":
            return pyarrow.array([None if text is None else self._whole(text) for text in known], kind)
        return pyarrow.array([None if text is None else _BOOLEANS[text.strip().lower()] for text in known], kind)

    def _floats(self, texts: pandas.Series[Any]) -> Any:
        """As pandas.read_csv reads them, to the last digit."""
        plain = texts.fillna("").str.strip().str.replace(self._thousands, "", regex=False).str.replace(self._decimal, ".", regex=False)
        lines = "\n".join(plain) + "\n"
        frame = pandas.read_csv(io.StringIO(lines), header=None, names=["n"], dtype="float64", skip_blank_lines=False)
        return frame["n"].to_numpy()


def _dates(texts: pandas.Series[Any], format_: str, *, only_days: bool) -> pandas.Series[Any]:
    stripped = texts.str.strip()
    if format_ == _ISO:
        stripped = stripped.where(stripped.str.match(r"\d{4}-\d\d-\d\d", na=False))
    dates = pandas.to_datetime(stripped, format=format_, errors="coerce", utc=True).astype("datetime64[us, UTC]")
    return dates.where(dates.dt.normalize() == dates) if only_days else dates


def check_names(names: Sequence[str], types: Mapping[str, str]) -> None:
    """Raises SettingsError on column for a type of a column that isn't there."""
    for name in types:
        if name not in names:
            there = quoted(names, 10)
            raise SettingsError("column", f"there is no column “{short(name)}”", f"Those there are: {there}.")


def texts_of(column: pandas.Series[Any]) -> pandas.Series[Any]:
    """The values as texts, those of a workbook as it shows them: 7, not 7.0; missing ones stay missing."""
    if column.dtype == "str":
        return column
    return column.map(_text, na_action="ignore").astype("str")


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date) else str(value)


def _array(column: pandas.Series[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    if pyarrow.types.is_string(kind):
        return pyarrow.array(texts_of(column), kind, from_pandas=True)
    if pyarrow.types.is_boolean(kind) and column.dtype != "bool":
        return pyarrow.array(column.astype(object).where(column.notna(), None).tolist(), kind)
    return pyarrow.array(column, from_pandas=True).cast(kind)


# ---- Parquet files that are written ------------------------------------------------------------------------------------------------


class TableFile:
    """A Parquet file being written, in row groups of about so many rows: what a mini-batch may be."""

    def __init__(self, path: Path, schema: pyarrow.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = parquet.ParquetWriter(path, schema, compression="snappy")

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, table: pyarrow.Table, size: int | None = None) -> None:
        """`size` is about how many bytes of text it was; what it takes in memory where that isn't known."""
        size = table.nbytes if size is None else size
        least = max(ROW_GROUP, 2048 * table.num_columns)  # each column of each row group has an entry in the file's list
        self._writer.write_table(table, row_group_size=max(1, table.num_rows * least // max(size, least)))


def word_of(field: pyarrow.Field) -> str:
    """The type of a Parquet column in words."""
    if field.metadata and _WORD in field.metadata:
        return str(field.metadata[_WORD].decode())
    kind, types = field.type, pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_boolean(kind):
        return "boolean"
    if types.is_date(kind):
        return "date"
    if types.is_timestamp(kind):
        return _DATETIME
    if types.is_decimal(kind) or types.is_duration(kind):
        return "number"
    return column_type_of(str(kind).replace("halffloat", "float"))


def as_date(field: pyarrow.Field) -> pyarrow.Field:
    """The same, its times of day being all midnight."""
    return field.with_metadata({_WORD: b"date"})

"""JSON Lines, made Parquet: one object a line, its keys the columns. Objects and lists in them stay JSON text.

JSON says itself what a text is: no text becomes a number. Loads pyarrow: for a process of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas
import pyarrow

from services.errors import IntakeError
from services.file_names import quoted, short
from services.formats import counted
from services.intake.column_types import Cast, TableFile, check_names
from services.intake.csv_conversion import as_utf8
from services.intake.sniffing import Dialect
from services.intake.tabular import long_numbers_note

_AT_ONCE = 1 << 22  # bytes
_LONGEST_LINE = 1 << 26
_MOST_COLUMNS = 100_000
_HINT = 'Each line is to be one JSON object, such as {"age": 41, "name": "Ann"}.'
_fast = msgspec.json.Decoder()


class JsonLines:
    """Files of JSON Lines, each with its own encoding and compression; `files` are names and paths, in their order."""

    def __init__(self, files: Sequence[tuple[str, Path, Dialect]], types: Mapping[str, str], scratch: Path) -> None:
        self._files, self._types, self._scratch = files, types, scratch
        self._kinds: dict[str, set[type]] = {}
        self._large: set[str] = set()  # columns with an integer of more than 63 bits
        self._long: dict[str, int] = {}  # and of more than 53, with an example

    def convert(self, target: Path) -> tuple[str, ...]:
        """Write each file's rows to `target`/NAME.parquet; what a person should know. Raises IntakeError, and SettingsError on column."""
        casts = {name: Cast(name, word) for name, word in self._types.items()}
        lacking: set[str] = set()
        for name, path, dialect in self._files:
            row = 1
            for rows, _ in self._batches(name, path, dialect):
                self._see(rows)
                for column, cast in casts.items():
                    cast.check(_series(rows, column), name, row)
                row += len(rows)
        check_names(list(self._kinds), self._types)
        types = {name: self._type(name) for name in self._kinds}
        fields = [casts[name].field() if name in casts else pyarrow.field(name, kind) for name, kind in types.items()]
        schema = pyarrow.schema(fields)
        for name, path, dialect in self._files:
            with TableFile(target / f"{name}.parquet", schema) as made:
                for rows, size in self._batches(name, path, dialect):
                    lacking |= {key for key in types if any(key not in row for row in rows)} if len(lacking) < len(types) else set()
                    arrays = [
                        casts[field.name].array(_series(rows, field.name)) if field.name in casts else _array(rows, field)
                        for field in schema
                    ]
                    made.write(pyarrow.Table.from_arrays(arrays, schema=schema), size)
        return self._notes(lacking)

    def _batches(self, name: str, path: Path, dialect: Dialect) -> Iterator[tuple[list[dict[str, Any]], int]]:
        with as_utf8(path, name, dialect, self._scratch) as opened:
            rows: list[dict[str, Any]] = []
            size = number = 0
            while line := opened.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise IntakeError(f"“{short(name)}” has a line {number:,} of more than {_LONGEST_LINE >> 20} MB.", _HINT)
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not line.strip():
                    continue
                rows.append(_object(line, name, number))
                size += len(line)
                if size >= _AT_ONCE:
                    yield rows, size
                    rows, size = [], 0
            if rows:
                yield rows, size

    def _see(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for key, value in row.items():
                kind = type(value)
                known = self._kinds.get(key)
                if known is None:
                    known = self._kinds[key] = set()
                    if len(self._kinds) > _MOST_COLUMNS:
                        raise IntakeError(f"The JSON objects have more than {_MOST_COLUMNS:,} keys.", "Are the keys values?")
                known.add(kind)
                if kind is int and abs(value) > 1 << 53:
                    self._long.setdefault(key, value)
                    if not -(1 << 63) <= value < 1 << 63:
                        self._large.add(key)

    def _type(self, key: str) -> pyarrow.DataType:
        kinds = self._kinds[key] - {type(None)}
        if kinds == {bool}:
            return pyarrow.bool_()
        if kinds == {int} and key not in self._large:
            return pyarrow.int64()
        if kinds and kinds <= {int, float} and key not in self._large:
            return pyarrow.float64()
        return pyarrow.string()

    def _is_read_as_float(self, key: str, lacking: Collection[str]) -> bool:
        """By pandas: it has no integers beside missing values."""
        kind = self._type(key)
        return pyarrow.types.is_floating(kind) or (pyarrow.types.is_integer(kind) and (key in lacking or type(None) in self._kinds[key]))

    def _notes(self, lacking: set[str]) -> tuple[str, ...]:
        nested = [key for key, kinds in self._kinds.items() if kinds & {dict, list}]
        notes = [nested_note(nested)] if nested else []
        rounded = [key for key in self._long if key not in self._types and self._is_read_as_float(key, lacking)]
        notes += long_numbers_note([(key, str(self._long[key])) for key in rounded])
        if missing := [key for key in self._kinds if key in lacking]:
            notes.append(f"Not every line has {counted(len(missing), 'key')}: {quoted(missing)}. There the value is missing.")
        return tuple(notes)


def nested_note(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'column')} of lists or objects became JSON text: {quoted(names)}."


def _object(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        value = _fast.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value = json.loads(line)  # takes NaN, Infinity and lone surrogates as well
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise IntakeError(f"Line {number:,} of “{short(name)}” is not JSON: {error}.", _HINT) from error
    if not isinstance(value, dict):
        raise IntakeError(f"Line {number:,} of “{short(name)}” is not a JSON object.", _HINT)
    return value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _array(rows: list[dict[str, Any]], field: pyarrow.Field) -> pyarrow.Array:
    values = [row.get(field.name) for row in rows]
    if pyarrow.types.is_string(field.type):
        values = list(map(_text, values))
    elif pyarrow.types.is_floating(field.type):
        values = [None if value is None or math.isnan(value) else float(value) for value in values]
    return pyarrow.array(values, field.type)


def _series(rows: list[dict[str, Any]], name: str) -> pandas.Series[Any]:
    return pandas.Series([_text(row.get(name)) for row in rows], dtype="str")

"""Parquet files that pandas or Azure ML would not read as one flat table, written again as they would: one type a column in all files, keys
of Hive folders as columns, lists and objects as JSON text, decimals as numbers, dictionaries as their values.

Loads pyarrow: for a process of its own. Memory is that of one batch of rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas
import pyarrow
from pyarrow import compute, parquet

from services.errors import IntakeError
from services.file_names import quoted, short
from services.intake.column_types import Cast, TableFile, check_names
from services.intake.json_lines import nested_note
from services.intake.tabular import different_columns, parquet_errors

_ROWS = 1 << 16  # read at once
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_EXACT_DIGITS = 15  # that a float64 keeps of any decimal


class ParquetConversion:
    """`files` are names and paths, in their order."""

    def __init__(self, files: Sequence[tuple[str, Path]], types: Mapping[str, str]) -> None:
        """Reads the files' schemas. Raises IntakeError for one that is damaged or has other columns, SettingsError on column."""
        self._files, self._types = files, types
        self._schemas: list[pyarrow.Schema] = []
        for name, path in files:
            with parquet_errors(name), parquet.ParquetFile(path) as opened:
                schema = opened.schema_arrow
            first = self._schemas[0] if self._schemas else schema
            if schema.names != first.names:
                raise different_columns(name, schema.names, files[0][0], first.names)
            self._schemas.append(first if schema.equals(first) else schema)
        if len(set(first.names)) < len(first.names):
            raise IntakeError(f"“{short(files[0][0])}” has two columns of one name.", "Rename one of them.")
        keys = [_keys_of(name) for name, _ in files]
        self._keys = keys if keys[0] and all(list(each) == list(keys[0]) for each in keys) and not set(keys[0]) & set(first.names) else []
        self._schema = self._one_schema()
        check_names([*self._schema.names, *(self._keys[0] if self._keys else {})], types)
        self._long_decimals: set[str] = set()

    @property
    def needed(self) -> bool:
        """Whether the files can't be registered as they are."""
        as_they_are = all(schema is self._schemas[0] for schema in self._schemas) and self._schema.equals(self._schemas[0])
        return not as_they_are or bool(self._keys or self._types)

    def _one_schema(self) -> pyarrow.Schema:
        try:
            flat = [pyarrow.schema([pyarrow.field(f.name, _flat(f.type)) for f in schema]) for schema in self._distinct()]
            return pyarrow.unify_schemas(flat, promote_options="permissive")
        except (pyarrow.ArrowTypeError, pyarrow.ArrowInvalid):
            pass
        fields = []
        for number, name in enumerate(self._schemas[0].names):
            kinds = [_flat(schema.field(number).type) for schema in self._distinct()]
            kind = kinds[0]
            for place, other in enumerate(kinds):
                try:
                    pair = [pyarrow.schema([pyarrow.field(name, each)]) for each in (kind, other)]
                    kind = pyarrow.unify_schemas(pair, promote_options="permissive").field(0).type
                except (pyarrow.ArrowTypeError, pyarrow.ArrowInvalid) as error:
                    if pyarrow.types.is_timestamp(kind) and pyarrow.types.is_timestamp(other) and kind.tz and other.tz:
                        kind = pyarrow.timestamp("us" if kind.unit == other.unit == "us" else "ns", "UTC")
                    elif name in self._types:
                        kind = pyarrow.string()
                    else:
                        self._refuse(number, name, place, other, error)
            fields.append(pyarrow.field(name, kind))
        return pyarrow.schema(fields)

    def _refuse(self, number: int, name: str, place: int, other: pyarrow.DataType, error: Exception) -> None:
        schema = self._distinct()[place]
        file = next(file for (file, _), each in zip(self._files, self._schemas, strict=True) if each.equals(schema))
        first = self._schemas[0].field(number).type
        text = f"Column “{short(name)}” is {other} in “{short(file)}” and {first} in “{short(self._files[0][0])}”."
        hint = f"Give the column a type, such as text, or write all files with one, such as by astype({{'{short(name)}': …}}) in pandas."
        raise IntakeError(text, hint) from error

    def _distinct(self) -> list[pyarrow.Schema]:
        found: list[pyarrow.Schema] = []
        for schema in self._schemas:
            if not any(schema is other or schema.equals(other) for other in found):
                found.append(schema)
        return found

    def convert(self, target: Path) -> tuple[str, ...]:
        """Write each file's rows to `target`/NAME.parquet; what a person should know. Raises IntakeError, and SettingsError on column."""
        casts = {name: Cast(name, word) for name, word in self._types.items()}
        for (name, path), keys in zip(self._files, self._key_values(), strict=True):
            row = 1
            for batch in self._batches(name, path, list(casts)) if casts else ():
                for column, cast in casts.items():
                    values = [keys[column]] * len(batch) if column in keys else _texts(batch[column])
                    cast.check(pandas.Series(values, dtype="str"), name, row)
                row += len(batch)
        key_types = self._key_types()
        fields = [casts[field.name].field() if field.name in casts else field for field in self._schema]
        fields += [casts[key].field() if key in casts else pyarrow.field(key, kind) for key, kind in key_types.items()]
        schema = pyarrow.schema(fields)
        for (name, path), keys in zip(self._files, self._key_values(), strict=True):
            with TableFile(target / f"{name}.parquet", schema) as made:
                for batch in self._batches(name, path, self._schema.names):
                    arrays = [self._array(batch, field, casts.get(field.name), keys, key_types, name) for field in schema]
                    made.write(pyarrow.Table.from_arrays(arrays, schema=schema))
        return self._notes()

    def _batches(self, name: str, path: Path, columns: Sequence[str]) -> Any:
        there = [column for column in columns if column in self._schema.names]
        with parquet_errors(name), parquet.ParquetFile(path) as opened:
            yield from (pyarrow.Table.from_batches([batch]) for batch in opened.iter_batches(_ROWS, columns=there))

    def _array(
        self, batch: pyarrow.Table, field: pyarrow.Field, cast: Cast | None, keys: Mapping[str, str | None],
        key_types: Mapping[str, pyarrow.DataType], file: str,
    ) -> pyarrow.ChunkedArray | pyarrow.Array:  # fmt: skip
        if field.name in keys:
            value = keys[field.name]
            if cast:
                return cast.array(pandas.Series([value] * len(batch), dtype="str"))
            kind = key_types[field.name]
            return pyarrow.array([int(value) if value is not None and pyarrow.types.is_integer(kind) else value] * len(batch), kind)
        column = batch[field.name]
        if cast:
            return cast.array(pandas.Series(_texts(column), dtype="str"))
        if _is_nested(column.type):
            return pyarrow.array(_texts(column), pyarrow.string())
        if pyarrow.types.is_decimal(column.type) and pyarrow.types.is_floating(field.type):
            if field.name not in self._long_decimals and column.type.precision > _EXACT_DIGITS and _has_long(column):
                self._long_decimals.add(field.name)
            return column.cast(pyarrow.float64(), safe=False)
        if pyarrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            return column.cast(field.type)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
            if pyarrow.types.is_floating(field.type):  # an integer of more than 53 bits, which pandas rounds as well
                return column.cast(field.type, safe=False)
            text = f"Column “{short(field.name)}” of “{short(file)}” has values that are not {field.type}."
            raise IntakeError(text, "Give the column a type, such as text.") from None

    def _key_values(self) -> Sequence[Mapping[str, str | None]]:
        return self._keys or [{}] * len(self._files)

    def _key_types(self) -> dict[str, pyarrow.DataType]:
        """Integers where all values of a key are, as pandas reads them; but leading zeros are a text's."""
        if not self._keys:
            return {}
        values = {key: {each[key] for each in self._keys} - {None} for key in self._keys[0]}
        whole = re.compile(r"-?(0|[1-9]\d{0,17})")
        return {
            key: pyarrow.int64() if there and all(whole.fullmatch(str(value)) for value in there) else pyarrow.string()
            for key, there in values.items()
        }

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._keys:
            notes.append(f"The keys in the folders' names are columns: {quoted(list(self._keys[0]))}.")
        nested = [field.name for field in self._schemas[0] if _is_nested(field.type) and field.name not in self._types]
        notes += [nested_note(nested)] if nested else []
        if long := sorted(self._long_decimals):
            text = f"Decimals of more than {_EXACT_DIGITS} digits are rounded in {quoted(long)}, which is read as numbers."
            notes.append(f"{text} To keep all digits, register it as text.")
        return tuple(notes)


def _keys_of(name: str) -> dict[str, str | None]:
    """The keys in a path's folders, `year=2024/month=1/part.parquet`, with their values."""
    pairs = [folder.partition("=") for folder in name.split("/")[:-1]]
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, equals, value in pairs if equals and key}


def _is_nested(kind: pyarrow.DataType) -> bool:
    return bool(pyarrow.types.is_nested(kind))


def _flat(kind: pyarrow.DataType) -> pyarrow.DataType:
    types = pyarrow.types
    if isinstance(kind, pyarrow.ExtensionType):
        return _flat(kind.storage_type)
    if types.is_dictionary(kind):
        return _flat(kind.value_type)
    if types.is_nested(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pyarrow.string() if types.is_nested(kind) or types.is_string_view(kind) else kind
    return pyarrow.float64() if types.is_decimal(kind) else kind


def _texts(column: pyarrow.ChunkedArray) -> list[str | None]:
    if not _is_nested(column.type):
        if pyarrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            return list(column.cast(pyarrow.string()).to_pylist())
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
            pass
    dumped = (None if value is None else json.dumps(value, ensure_ascii=False, default=_plain) for value in column.to_pylist())
    return list(dumped)


def _plain(value: Any) -> Any:
    """What JSON has no type for, as text."""
    return value.hex() if isinstance(value, bytes) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def _has_long(column: pyarrow.ChunkedArray) -> bool:
    """Whether a decimal has more digits than a float64 keeps."""
    texts = compute.replace_substring_regex(column.cast(pyarrow.string()), r"^-?0*\.?0*|\.?0*$|\.", "")
    longest = compute.max(compute.utf8_length(texts)).as_py()
    return (longest or 0) > _EXACT_DIGITS

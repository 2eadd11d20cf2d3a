"""JSON objects and lists among the predictions, as typed columns, while a table is written for the first time.

What they hold is decided on the first rows. As long as all others are alike nothing is read twice; else `flatten` reads all of them once
more, by the same rules.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.predictions import columns as rules
from services.predictions.columns import ROW, Kind, own_names, text_array, unique_names, whole_number

_SAMPLED = 10_000  # documents that a schema is made of
_MOST_BYTES = 1 << 30
_CLOSING = {"{": "}", "[": "]"}
_BEYOND_DOUBLES = 2.0**53
_Path = tuple[str | int, ...]


class _SchemaMismatch(Exception):
    """A document is not like the first ones, or these are not alike."""


@dataclass
class JsonColumn:
    """A column to be: where its values are in the documents, what they are, and its Arrow type."""

    path: _Path
    kind: Kind
    type_: Any
    name: str = ""
    empty: bool = False
    """Whether the first rows have no value there: what comes is not known."""
    count: int = 0
    classes: set[str] = field(default_factory=set)

    def observe(self, values: Any) -> None:
        self.count += len(values) - values.null_count
        if self.kind is Kind.TEXT and len(self.classes) <= rules.MOST_CLASSES:
            self.classes.update(values.unique().drop_null().slice(0, rules.MOST_CLASSES + 1).to_pylist())

    @property
    def final_kind(self) -> Kind:
        """When all values were observed: a text of few values is a category."""
        return Kind.CATEGORY if self.kind is Kind.TEXT and rules.is_category(len(self.classes), self.count) else self.kind


@dataclass
class JsonColumns:
    """What the documents of one table hold: `values` are all of it, `prediction` the one of them that is the prediction, if any."""

    bracket: str
    is_repr: bool
    """Whether they are printed as Python prints dicts and lists, not as JSON."""
    schema: Any
    list_lengths: dict[_Path, int]
    """How long each of their lists may be."""
    values: Sequence[JsonColumn] = ()
    prediction: JsonColumn | None = None
    prediction_is_text: bool = False
    """Whether it stands between quotes: `"7"` is no number."""
    file: _Path = ()
    """Where they only repeat which file they are of."""
    own: Mapping[str, str] = field(default_factory=dict)
    """What the table's own columns are called beside these: see own_names."""
    row: JsonColumn | None = None
    """All that was printed, where a part of it is the prediction."""
    matches: bool = True
    """False as soon as a document was not like the first ones."""
    document_count: int = 0
    prediction_count: int = 0

    @property
    def columns(self) -> list[JsonColumn]:
        """What becomes a column beside the prediction."""
        return [*(column for column in self.values if column is not self.prediction), *filter(None, [self.row])]

    @property
    def whole_column(self) -> str:
        """The column with all that was printed."""
        return self.row.name if self.row else "Prediction"

    @property
    def complete(self) -> bool:
        """Whether they are all alike, and at least half of the predictions of succeeded items are documents."""
        return self.matches and 2 * self.document_count >= self.prediction_count > 0

    def split(self, texts: Any, files: Any, succeeded: Any) -> tuple[Any, list[Any]]:
        """The predictions of these rows of these files, and an array for each of `columns`: of nulls once a document didn't match."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.matches:
            try:
                is_document = _is_document(texts, self.bracket)
                values = dict(self._read(texts, files, is_document))
            except (_SchemaMismatch, pa.ArrowException):
                self.matches = False
            else:
                self.document_count += pc.sum(pc.and_(is_document, succeeded)).as_py() or 0
                self.prediction_count += pc.sum(pc.and_(pc.is_valid(texts), succeeded)).as_py() or 0
                predictions = pc.if_else(is_document, values[self.prediction.path], texts) if self.prediction else texts
                return predictions, [values[column.path] for column in self.columns]
        return texts, [texts if column is self.row else pa.nulls(len(texts), column.type_) for column in self.columns]

    def _read(self, texts: Any, files: Any, is_document: Any) -> Iterator[tuple[_Path, Any]]:
        import pyarrow.compute as pc

        table = _parsed(_lines(texts, is_document, self.bracket, self.is_repr), self.schema)
        for path, longest in self.list_lengths.items():
            if (pc.max(pc.list_value_length(_values(table, path))).as_py() or 0) > longest:
                raise _SchemaMismatch
        if self.file and not _are_files(_values(table, self.file), files):
            raise _SchemaMismatch
        for column in self.values:
            values = _values(table, column.path)
            if column.empty and values.null_count < len(values):
                raise _SchemaMismatch
            if column is self.prediction:
                values = _printed(values)
                if pc.any(pc.and_(is_document, pc.is_null(values))).as_py():
                    raise _SchemaMismatch  # is it there, and empty, or is all of the document the prediction?
            else:
                values = _typed(values, column.kind)
                column.observe(values)
                values = values.cast(column.type_)
            yield column.path, values
        if self.row:
            self.row.observe(texts)
            yield self.row.path, texts


def detect_json_columns(texts: Any, files: Any) -> JsonColumns | None:
    """What the first predictions of a table hold; None where fewer than half are documents, or where these are not alike."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for bracket, is_repr in itertools.product("{[", (False, True)):
        with contextlib.suppress(_SchemaMismatch, pa.ArrowException):
            is_document = _is_document(texts, bracket)
            if 2 * (pc.sum(is_document).as_py() or 0) >= max(1, len(texts) - texts.null_count):
                return _detect(_lines(texts, is_document, bracket, is_repr), files, bracket, is_repr)
    return None


def _detect(lines: Any, files: Any, bracket: str, is_repr: bool) -> JsonColumns:
    import pyarrow as pa

    step = max(1, len(lines) // _SAMPLED)
    schema = _schema([lines[place].as_py() for place in range(0, len(lines), step)], rules.MOST_NESTED + (bracket == "["))
    table = _parsed(lines, schema)
    detected = JsonColumns(bracket, is_repr, schema, {})
    paths = [path for name in schema.names for path in _paths(table, (name,), detected.list_lengths)]
    if not 0 < len(paths) < rules.MOST_COLUMNS:
        raise _SchemaMismatch
    for path in paths:
        if len(path) == 1 and rules.is_file_key(str(path[0])) and bracket == "{" and _are_files(_values(table, path), files):
            detected.file = path
    all_paths, paths = paths, [path for path in paths if path != detected.file]
    place = rules.prediction_place(["" if len(path) > 1 or bracket == "[" else str(path[0]) for path in paths])
    detected.values = [_column(path, _values(table, path)) for path in paths]
    if place is not None:
        detected.prediction, detected.row = detected.values[place], JsonColumn((), Kind.TEXT, pa.large_string())
        detected.prediction_is_text = pa.types.is_string(_values(table, detected.prediction.path).type)
    beside = [column for column in detected.values if column is not detected.prediction]
    places = {path: place for place, path in enumerate(all_paths, 1)}
    given = [".".join(map(str, column.path[bracket == "[" :])) or f"column {places[column.path]}" for column in beside]
    names = list(unique_names(given))
    for column, name in zip(beside, names, strict=True):
        column.name = name
    detected.own = own_names(names)
    if detected.row:
        detected.row.name = detected.own[ROW]
    return detected


# ---- what they hold --------------------------------------------------------------------------------------------------------------------


def _schema(lines: Sequence[str], deepest: int) -> Any:
    """Of these lines, parsed in Python: how deep they are is up to whoever wrote them, and pyarrow would follow them all the way."""
    import pyarrow as pa

    try:
        fields = _type([json.loads(line, parse_float=_float) for line in lines], deepest)
    except (ValueError, RecursionError) as error:
        raise _SchemaMismatch from error
    return pa.schema(list(fields))


def _float(spelled: str) -> float:
    """Raises _SchemaMismatch for one with more digits than a double holds."""
    if len(spelled) > 17 and re.match(rules.MANY_DIGITS, spelled):
        raise _SchemaMismatch
    return float(spelled)


def _type(values: Sequence[Any], deepest: int) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {dict} and deepest:
        names = dict.fromkeys(name for value in values if value for name in value)
        return pa.struct([(name, _type([value[name] for value in values if value and name in value], deepest - 1)) for name in names])
    if kinds == {list} and deepest:
        return pa.list_(_type([inner for value in values if value for inner in value], deepest - 1))
    plain = {frozenset(): pa.null(), frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64(), frozenset({str}): pa.string()}
    plain |= dict.fromkeys((frozenset({float}), frozenset({int, float})), pa.float64())
    if (type_ := plain.get(frozenset(kinds))) is None:
        raise _SchemaMismatch
    return type_


def _paths(table: Any, path: _Path, list_lengths: dict[_Path, int]) -> Iterator[_Path]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _values(table, path)
    if pa.types.is_struct(values.type):
        for inner in values.type:
            yield from _paths(table, (*path, inner.name), list_lengths)
    elif pa.types.is_list(values.type):
        list_lengths[path] = pc.max(pc.list_value_length(values)).as_py() or 0
        if list_lengths[path] > rules.MOST_IN_A_LIST:
            raise _SchemaMismatch
        for place in range(list_lengths[path]):
            yield from _paths(table, (*path, place), list_lengths)
    else:
        yield path


def _column(path: _Path, values: Any) -> JsonColumn:
    """By the rules of `columns`: of texts, dates alone are more than that."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    types = {
        Kind.WHOLE_NUMBER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.DATE: pa.timestamp("us"), Kind.TRUTH_VALUE: pa.bool_(),
    }  # fmt: skip
    for kind, type_ in types.items():
        with contextlib.suppress(_SchemaMismatch):
            if values.null_count < len(values):
                _typed(values, kind)
                return JsonColumn(path, kind, type_)
    if not pa.types.is_string(values.type) and values.null_count < len(values):
        raise _SchemaMismatch  # numbers beyond these types
    values = _texts(values)
    if values.null_count < len(values) and pc.all(pc.match_substring_regex(values, rules.ISO_DATE)).as_py():
        raise _SchemaMismatch  # it may be one that pyarrow can't read
    few = 2 * len(values.unique()) <= len(values)
    return JsonColumn(path, Kind.TEXT, pa.dictionary(pa.int32(), text) if few else text, empty=values.null_count == len(values))


# ---- reading them ----------------------------------------------------------------------------------------------------------------------


def _is_document(texts: Any, bracket: str) -> Any:
    """Which texts are objects, or lists, by how they begin and end. Raises _SchemaMismatch where others may be documents as well."""
    import pyarrow.compute as pc

    is_document = pc.and_kleene(pc.is_valid(texts), pc.and_(pc.starts_with(texts, bracket), pc.ends_with(texts, _CLOSING[bracket])))
    if pc.any(pc.match_substring_regex(texts.filter(pc.invert(is_document)), r"^\s*[\[{]")).as_py():
        raise _SchemaMismatch
    return is_document


def _lines(texts: Any, is_document: Any, bracket: str, is_repr: bool) -> Any:
    """The documents as JSON objects, an empty one where there is none, each with the newline that ends it."""
    import pyarrow.compute as pc

    is_list = bracket == "["
    empty, before, after, nothing = text_array([bracket + _CLOSING[bracket], '{"list":' * is_list, "}" * is_list + "\n", ""])
    documents = pc.if_else(is_document, texts, empty)
    if is_repr:
        if pc.any(pc.match_substring_regex(documents, rules.NOT_REPR)).as_py():
            raise _SchemaMismatch
        in_quotes = pc.any(pc.match_substring(documents, "'")).as_py()
        documents = pc.replace_substring(documents, "'", '"')
        for python, replacement, sign in rules.REPR_TO_JSON if in_quotes else rules.PLAIN_REPR_TO_JSON:
            if pc.any(pc.match_substring(documents, sign)).as_py():
                documents = pc.replace_substring_regex(documents, python, replacement)
    return pc.binary_join_element_wise(before, documents, after, nothing)


def _parsed(lines: Any, schema: Any) -> Any:
    import pyarrow as pa
    import pyarrow.json

    characters = lines.buffers()[2]
    if characters.size > _MOST_BYTES:
        raise _SchemaMismatch
    table = pa.json.read_json(
        pa.BufferReader(characters),
        pa.json.ReadOptions(use_threads=False, block_size=characters.size + 1),
        pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    ).combine_chunks()
    if len(table) != len(lines):  # a text may hold two
        raise _SchemaMismatch
    return table


def _values(table: Any, path: _Path) -> Any:
    """The plain values there, null where there are none."""
    import pyarrow.compute as pc

    values = table.column(path[0]).chunk(0)
    for step in path[1:]:
        if isinstance(step, str):
            values = pc.struct_field(values, [values.type.get_field_index(step)])
        else:
            values = pc.list_element(pc.list_slice(values, step, step + 1, return_fixed_size_list=True), whole_number(0))
    return values


def _are_files(values: Any, files: Any) -> bool:
    """Whether these are just the files' paths, or names; whatever they are where there is no file."""
    import pyarrow.compute as pc

    (nothing,) = text_array([""])
    values = _texts(values)
    same = pc.or_kleene(pc.equal(values, files), pc.equal(files, nothing))
    if pc.all(same, skip_nulls=False).as_py() is True:
        return True
    same = pc.or_kleene(same, pc.equal(values, pc.replace_substring_regex(files, rules.FOLDERS, "")))
    return pc.all(same).as_py() is True


def _texts(values: Any) -> Any:
    """Plain values as texts, truth values as Python prints them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(values.type):
        return pc.if_else(values, *text_array(["True", "False"]))
    return values.cast(pa.large_string())


def _printed(values: Any) -> Any:
    """Plain values as they are printed. Raises _SchemaMismatch for numbers that Arrow spells otherwise."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _texts(values)
    if pa.types.is_floating(values.type):
        tenths, nothing = text_array([".0", ""])
        whole = pc.match_substring_regex(texts, r"^-?[0-9]+$")
        texts = pc.binary_join_element_wise(texts, pc.if_else(whole, tenths, nothing), nothing)
        if pc.all(pc.match_substring_regex(texts, r"^[-.0-9]+$")).as_py() is False:
            raise _SchemaMismatch
    return texts


def _typed(values: Any, kind: Kind) -> Any:
    """The values as this kind. Raises _SchemaMismatch where one isn't."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind is Kind.TEXT:
        return _texts(values)
    if pa.types.is_floating(values.type) and kind is Kind.NUMBER:
        if any(_BEYOND_DOUBLES <= abs(end.as_py() or 0) < math.inf for end in pc.min_max(values).values()):
            raise _SchemaMismatch  # it may be a whole number, of which a digit is lost
        return values
    if (pa.types.is_integer(values.type), kind) == (True, Kind.WHOLE_NUMBER):
        return values
    if (pa.types.is_boolean(values.type), kind) == (True, Kind.TRUTH_VALUE):
        return values
    if not pa.types.is_string(values.type) or kind is not Kind.DATE:
        raise _SchemaMismatch
    if pc.all(pc.match_substring_regex(values, rules.ISO_DATE)).as_py() is False:
        raise _SchemaMismatch
    for zone in (None, "UTC"):
        with contextlib.suppress(pa.ArrowInvalid):
            moments = values.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
            first, last = text_array([rules.FIRST_MOMENT, rules.LAST_MOMENT]).cast(moments.type)
            if pc.any(pc.or_(pc.less(moments, first), pc.greater(moments, last))).as_py():
                break
            return moments
    raise _SchemaMismatch

"""JSON objects and lists among the predictions, as typed columns, while a table is written for the first time.

What they hold is decided on the first rows. As long as all others are alike nothing is read twice; else unfold.py looks at all
of them once more, by the same rules.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.predictions.flatten import (
    ISO_DATE,
    MOST_COLUMNS,
    MOST_IN_A_LIST,
    MOST_NESTED,
    PRINTED,
    PRINTED_OTHERWISE,
    PRINTED_PLAIN,
    ROW,
    called_prediction,
    named,
    names_file,
)
from services.predictions.writer import MOST_CLASSES, WHOLE, Kind, numbers_in, text_array, whole_number

_LOOKED_AT = 10_000
_MOST_BYTES = 1 << 30
_END = {"{": "}", "[": "]"}
_Path = tuple[str | int, ...]


class _Unfit(Exception):
    """A document is not as the first ones are, or these are not alike."""


@dataclass
class Leaf:
    """A column to be: where its values are in the documents, what they are, and its Arrow type."""

    path: _Path
    kind: Kind
    type_: Any
    name: str = ""
    empty: bool = False
    """Whether the first rows have none: nobody knows what comes."""
    count: int = 0
    classes: set[str] = field(default_factory=set)

    def see(self, values: Any) -> None:
        self.count += len(values) - values.null_count
        if self.kind is Kind.TEXT and len(self.classes) <= MOST_CLASSES:
            self.classes.update(values.unique().drop_null().slice(0, MOST_CLASSES + 1).to_pylist())

    def decided(self) -> Kind:
        few = self.kind is Kind.TEXT and len(self.classes) <= min(MOST_CLASSES, self.count / 2)
        return Kind.CATEGORY if few else self.kind


@dataclass
class Documents:
    """The documents of one table: `leaves` are what they hold, of which `own`, where there is one, is the prediction."""

    bracket: str
    printed: bool
    schema: Any
    longest: dict[_Path, int]
    """How long each of their lists may be."""
    leaves: Sequence[Leaf] = ()
    own: Leaf | None = None
    fit: bool = True
    """False as soon as one was not as the first ones."""
    with_values: int = 0
    every: int = 0

    file: _Path = ()
    """Where they only say which file they are of."""
    row: Leaf | None = None
    """All that was printed, where a part of it is the prediction."""

    @property
    def columns(self) -> list[Leaf]:
        """What becomes a column beside the prediction."""
        return [*(leaf for leaf in self.leaves if leaf is not self.own), *filter(None, [self.row])]

    @property
    def whole_column(self) -> str:
        """The column with all that was printed."""
        return self.row.name if self.row else "Prediction"

    @property
    def fits(self) -> bool:
        """Whether they all fit, and half of the predictions of succeeded items and more are documents."""
        return self.fit and 2 * self.with_values >= self.every > 0

    def unfolded(self, texts: Any, files: Any, succeeded: Any) -> tuple[Any, list[Any]]:
        """The predictions of these rows of these files, and an array for each of `columns`: of nulls from where a document didn't fit."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.fit:
            try:
                shaped = _shaped(texts, self.bracket)
                found = dict(self._read(texts, files, shaped))
            except (_Unfit, pa.ArrowException):
                self.fit = False
            else:
                self.with_values += pc.sum(pc.and_(shaped, succeeded)).as_py() or 0
                self.every += pc.sum(pc.and_(pc.is_valid(texts), succeeded)).as_py() or 0
                predictions = pc.if_else(shaped, found[self.own.path], texts) if self.own else texts
                return predictions, [found[leaf.path] for leaf in self.columns]
        return texts, [texts if leaf is self.row else pa.nulls(len(texts), leaf.type_) for leaf in self.columns]

    def _read(self, texts: Any, files: Any, shaped: Any) -> Iterator[tuple[_Path, Any]]:
        import pyarrow.compute as pc

        table = _parsed(_lines(texts, shaped, self.bracket, self.printed), self.schema)
        for path, longest in self.longest.items():
            if (pc.max(pc.list_value_length(_values(table, path))).as_py() or 0) > longest:
                raise _Unfit
        if self.file and not _say(_values(table, self.file), files):
            raise _Unfit
        for leaf in self.leaves:
            values = _values(table, leaf.path)
            if leaf.empty and values.null_count < len(values):
                raise _Unfit
            if leaf is self.own:
                values = _said(values)
                if pc.any(pc.and_(shaped, pc.is_null(values))).as_py():
                    raise _Unfit  # is it there, and empty, or is all of the document the prediction?
            else:
                values = _typed(values, leaf.kind)
                leaf.see(values)
                values = values.cast(leaf.type_)
            yield leaf.path, values
        if self.row:
            self.row.see(texts)
            yield self.row.path, texts


def documents_of(texts: Any, files: Any) -> Documents | None:
    """What the first predictions of a table hold; None where fewer than half are documents, or where these are not alike."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for bracket, printed in itertools.product("{[", (False, True)):
        with contextlib.suppress(_Unfit, pa.ArrowException):
            shaped = _shaped(texts, bracket)
            if 2 * (pc.sum(shaped).as_py() or 0) >= max(1, len(texts) - texts.null_count):
                return _documents(_lines(texts, shaped, bracket, printed), files, bracket, printed)
    return None


def _documents(lines: Any, files: Any, bracket: str, printed: bool) -> Documents:
    import pyarrow as pa

    step = max(1, len(lines) // _LOOKED_AT)
    schema = _schema([lines[place].as_py() for place in range(0, len(lines), step)], MOST_NESTED + (bracket == "["))
    table = _parsed(lines, schema)
    documents = Documents(bracket, printed, schema, {})
    paths = [path for name in schema.names for path in _paths(table, (name,), documents.longest)]
    if not 0 < len(paths) < MOST_COLUMNS:
        raise _Unfit
    for path in paths:
        if len(path) == 1 and names_file(str(path[0])) and bracket == "{" and _say(_values(table, path), files):
            documents.file = path
    paths = [path for path in paths if path != documents.file]
    own = called_prediction(["" if len(path) > 1 or bracket == "[" else str(path[0]) for path in paths])
    documents.leaves = [_leaf(path, _values(table, path)) for path in paths]
    if own is not None:
        documents.own, documents.row = documents.leaves[own], Leaf((), Kind.TEXT, pa.large_string())
    names = [".".join(map(str, leaf.path[bracket == "[" :])) or ROW for leaf in documents.columns]
    for leaf, name in zip(documents.columns, named(names), strict=True):
        leaf.name = name
    return documents


# ---- what they hold --------------------------------------------------------------------------------------------------------------------


def _schema(lines: Sequence[str], deepest: int) -> Any:
    """Of these lines, looked at in Python: how deep they are is up to whoever wrote them, and pyarrow would follow them all the way."""
    import pyarrow as pa

    try:
        found = _type([json.loads(line) for line in lines], deepest)
    except (ValueError, RecursionError) as error:
        raise _Unfit from error
    return pa.schema(list(found))


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
    if (found := plain.get(frozenset(kinds))) is None:
        raise _Unfit
    return found


def _paths(table: Any, path: _Path, longest: dict[_Path, int]) -> Iterator[_Path]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _values(table, path)
    if pa.types.is_struct(values.type):
        for inner in values.type:
            yield from _paths(table, (*path, inner.name), longest)
    elif pa.types.is_list(values.type):
        longest[path] = pc.max(pc.list_value_length(values)).as_py() or 0
        if longest[path] > MOST_IN_A_LIST:
            raise _Unfit
        for place in range(longest[path]):
            yield from _paths(table, (*path, place), longest)
    else:
        yield path


def _leaf(path: _Path, values: Any) -> Leaf:
    """Decided by the rules of unfold.py: numbers and dates may be texts, where all of them are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    for kind, type_ in {Kind.WHOLE_NUMBER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.DATE: pa.timestamp("us")}.items():
        with contextlib.suppress(_Unfit):
            if values.null_count < len(values):
                _typed(values, kind)
                return Leaf(path, kind, type_)
    values = _texts(values)
    if values.null_count < len(values) and pc.all(pc.match_substring_regex(values, ISO_DATE)).as_py():
        raise _Unfit  # it may be one that pyarrow can't read
    few = 2 * len(values.unique()) <= len(values)
    return Leaf(path, Kind.TEXT, pa.dictionary(pa.int32(), text) if few else text, empty=values.null_count == len(values))


# ---- reading them ----------------------------------------------------------------------------------------------------------------------


def _shaped(texts: Any, bracket: str) -> Any:
    """Which texts are objects, or lists, by how they begin and end. Raises _Unfit where others may be documents as well."""
    import pyarrow.compute as pc

    shaped = pc.and_kleene(pc.is_valid(texts), pc.and_(pc.starts_with(texts, bracket), pc.ends_with(texts, _END[bracket])))
    if pc.any(pc.match_substring_regex(texts.filter(pc.invert(shaped)), r"^\s*[\[{]")).as_py():
        raise _Unfit
    return shaped


def _lines(texts: Any, shaped: Any, bracket: str, printed: bool) -> Any:
    """The documents as JSON objects, an empty one where there is none, each with the newline that ends it."""
    import pyarrow.compute as pc

    is_list = bracket == "["
    empty, before, after, nothing = text_array([bracket + _END[bracket], '{"list":' * is_list, "}" * is_list + "\n", ""])
    documents = pc.if_else(shaped, texts, empty)
    if printed:
        if pc.any(pc.match_substring_regex(documents, PRINTED_OTHERWISE)).as_py():
            raise _Unfit
        in_quotes = pc.any(pc.match_substring(documents, "'")).as_py()
        documents = pc.replace_substring(documents, "'", '"')
        for found, replacement, sign in PRINTED if in_quotes else PRINTED_PLAIN:
            if pc.any(pc.match_substring(documents, sign)).as_py():
                documents = pc.replace_substring_regex(documents, found, replacement)
    return pc.binary_join_element_wise(before, documents, after, nothing)


def _parsed(lines: Any, schema: Any) -> Any:
    import pyarrow as pa
    import pyarrow.json

    characters = lines.buffers()[2]
    if characters.size > _MOST_BYTES:
        raise _Unfit
    table = pa.json.read_json(
        pa.BufferReader(characters),
        pa.json.ReadOptions(use_threads=False, block_size=characters.size + 1),
        pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    ).combine_chunks()
    if len(table) != len(lines):  # a text may hold two
        raise _Unfit
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


def _say(values: Any, files: Any) -> bool:
    """Whether these are but the files' paths, or names; whatever they are where there is no file."""
    import pyarrow.compute as pc

    (nothing,) = text_array([""])
    values = _texts(values)
    told = pc.or_kleene(pc.equal(values, files), pc.equal(files, nothing))
    if pc.all(told, skip_nulls=False).as_py() is True:
        return True
    told = pc.or_kleene(told, pc.equal(values, pc.replace_substring_regex(files, "(?s)^.*/", "")))
    return pc.all(told).as_py() is True


def _texts(values: Any) -> Any:
    import pyarrow as pa

    return values.cast(pa.large_string())


def _said(values: Any) -> Any:
    """Plain values as they are printed. Raises _Unfit for numbers that Arrow spells otherwise."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _texts(values)
    if pa.types.is_floating(values.type):
        tenths, nothing = text_array([".0", ""])
        whole = pc.match_substring_regex(texts, r"^-?[0-9]+$")
        texts = pc.binary_join_element_wise(texts, pc.if_else(whole, tenths, nothing), nothing)
        if pc.all(pc.match_substring_regex(texts, r"^[-.0-9]+$")).as_py() is False:
            raise _Unfit
    return texts


def _typed(values: Any, kind: Kind) -> Any:
    """The values as this kind. Raises _Unfit where one isn't."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind is Kind.TEXT:
        return _texts(values)
    if pa.types.is_floating(values.type) and kind is Kind.NUMBER:
        return pc.if_else(pc.is_finite(values), values, pa.nulls(len(values), values.type))
    if pa.types.is_integer(values.type) and kind is Kind.WHOLE_NUMBER:
        if any(abs(end.as_py() or 0) >= 10**18 for end in pc.min_max(values).values()):
            raise _Unfit
        return values
    if not pa.types.is_string(values.type):
        raise _Unfit
    if kind is Kind.NUMBER and (numbers := numbers_in(_texts(values))).null_count == values.null_count:
        return numbers
    wanted = {Kind.WHOLE_NUMBER: WHOLE, Kind.DATE: ISO_DATE}.get(kind)
    if wanted is None or pc.all(pc.match_substring_regex(values, wanted)).as_py() is False:
        raise _Unfit
    if kind is Kind.WHOLE_NUMBER:
        return values.cast(pa.int64())
    for zone in (None, "UTC"):
        with contextlib.suppress(pa.ArrowInvalid):
            return values.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
    raise _Unfit

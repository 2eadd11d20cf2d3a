"""Predictions that hold several values, flattened into columns of their own: DataFrames' rows, JSON objects and lists, printed dicts.

Done in DuckDB over the table as it was written, no row in Python. The prediction itself stays as it was printed, but where a column or a
key is called Prediction: that is the prediction then, and the row as it was printed is in a column Row. A value that isn't there is null,
NaN too. A column is of numbers when every value is one, as with predictions themselves: `007` is text; and of dates likewise.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.predictions import columns as rules
from services.predictions.columns import COLUMNS, FRAME, ROW, Kind, literal, own_names, parquet_file, quoted, unique_names
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import duckdb

_SAMPLED = 10_000  # rows that are tested first
_MEMORY = "256MB"
_WHOLE = quoted("whole row")
_LONE_SURROGATES = r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\)(u[dD][89a-fA-F][0-9a-fA-F]{2}|x[0-9a-f]{2})"
_AS_ESCAPE = r"\1\2\2\3"
# Half of a surrogate pair and undecodable bytes, which JSON doesn't know, become texts as they are shown elsewhere: `\ud800`, `\xff`.
_FIELDS = """CASE WHEN contains(Prediction, '"')
 THEN list_transform(regexp_extract_all(' ' || Prediction, ' ("(?:[^"]|"")*"|[^ "]*)', 1),
    lambda field: CASE WHEN starts_with(field, '"') THEN replace(field[2:-2], '""', '"') ELSE field END)
 ELSE string_split(Prediction, ' ') END"""


_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Column:
    """A column to be: its name, its value as a text in SQL (over what `source` selects), and whether such texts may be numbers or dates."""

    name: str
    value: str
    numeric: bool = True
    date: bool = True
    list: tuple[str | None, ...] = ()
    """Which list it is of, if of one: numbers in it are of one kind."""


def flatten(table: Path, metadata: dict[str, str], own: Mapping[str, str], whole: str = "") -> None:
    """Write the table again with what its predictions hold as further columns, where they hold any.

    `metadata` is the table's own; it is added to. `own` is what COLUMNS are called in the table as it is written (see own_names), `whole`
    the column with what was printed where the table has further columns already: these are left out. Raises duckdb.Error.
    """
    import duckdb

    spill = table.with_name(f"{table.name}.spill")
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spill)}) as database:
        written = {name: own[name] for name in COLUMNS} | {FRAME: FRAME, "Prediction": whole or "Prediction"}
        selected = ", ".join(f"{quoted(actual)} AS {quoted(name)}" for name, actual in written.items())
        database.execute(f"CREATE VIEW written AS SELECT {selected} FROM {parquet_file(table)}")
        source, columns = _frames(database) or _json(database) or ("FROM written" if whole else "", [])
        if not source:
            return
        left_out = max(0, len(columns) - rules.MOST_COLUMNS)
        columns = columns[: rules.MOST_COLUMNS]
        unique = unique_names([column.name for column in columns if column.value != _WHOLE])
        own = own_names(given := list(unique))
        given.reverse()
        names = [own[ROW] if column.value == _WHOLE else given.pop() for column in columns]
        if whole not in ("", "Prediction") or own[ROW] in names:
            number = f"CASE WHEN {_is_number('Prediction')} THEN TRY_CAST(Prediction AS DOUBLE) END"
            source = f"SELECT * REPLACE ({number} AS Number) FROM ({source})"
            _describe_predictions(database, source, metadata)
        kinds = dict(zip(names, _kinds(database, source, columns), strict=True))
        metadata["columns"] = json.dumps({own[name]: kind for name, kind in json.loads(metadata["columns"]).items()} | kinds)
        metadata |= {"left_out": str(left_out), "own": json.dumps({name: own[name] for name in COLUMNS})}
        if own[ROW] in names:
            metadata["whole"] = own[ROW]
        final = [f"{quoted(name)} AS {quoted(own[name])}" for name in COLUMNS]
        final += [f"{_cast(column, kinds[name])} AS {quoted(name)}" for name, column in zip(names, columns, strict=True)]
        notes = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
        with atomic_write(table) as unfinished:
            database.execute(
                f"COPY (SELECT {', '.join(final)} FROM ({source})) TO {literal(str(unfinished))}"
                f" (FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{{notes}}})"
            )
    if spill.exists():
        os.rmdir(spill)


# ---- where the values are --------------------------------------------------------------------------------------------------------------


def _frames(database: duckdb.DuckDBPyConnection) -> tuple[str, list[_Column]] | None:
    """Rows of DataFrames, as `to_csv(sep=" ")` wrote them: their columns, without the first one where that was the file's name."""
    frame_of_row = quoted(FRAME)
    frames = database.sql(
        f"SELECT {frame_of_row}, count(*) FROM written WHERE {frame_of_row} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    values: dict[str, list[str]] = {}
    predictions: list[str] = []
    types: dict[str, set[str]] = {}
    for text, _ in frames:
        frame = json.loads(text)
        for place, (name, dtype) in enumerate(frame, 1):
            case = f"WHEN {frame_of_row} = {literal(text)} AND len(fields) = {len(frame)} THEN fields[{place}]"
            if place > 1:
                case += f" WHEN {frame_of_row} = {literal(text)} AND len(fields) = {len(frame) - 1} THEN fields[{place - 1}]"
            values.setdefault(name, []).append(case)
            if name.casefold() == "prediction":
                predictions.append(case)
            types.setdefault(name, set()).add(dtype)
    source = f"SELECT *, {_FIELDS} AS fields FROM written"
    columns = [
        _Column(
            name,
            f"nullif(CASE {' '.join(cases)} END, '')",
            numeric=all(dtype.lower().startswith(("int", "uint", "float")) for dtype in types[name]),
            date=all(dtype.startswith("datetime64") for dtype in types[name]),
        )
        for name, cases in values.items()
    ]
    counts = _aggregates(database, source, [f"count({column.value})" for column in columns])
    columns = [column for column, count in zip(columns, counts, strict=True) if count]
    if len(columns) < 2:
        return None
    if predictions:
        columns = [column for column in columns if column.name.casefold() != "prediction"]
        return _with_prediction(source, columns, f"nullif(coalesce(CASE {' '.join(predictions)} END, Prediction), '')")
    return source, columns


def _with_prediction(source: str, columns: list[_Column], prediction: str) -> tuple[str, list[_Column]]:
    """With this SQL as the prediction, and the row as it was printed as one more of the columns."""
    columns.insert(rules.MOST_COLUMNS - 1, _Column(ROW, _WHOLE, numeric=False, date=False))
    return f"SELECT * REPLACE ({prediction} AS Prediction), Prediction AS {_WHOLE} FROM ({source})", columns


def _describe_predictions(database: duckdb.DuckDBPyConnection, source: str, metadata: dict[str, str]) -> None:
    """Note in `metadata` what the predictions are, by the rules of the table as it is written."""
    prediction = _Column("Prediction", "Prediction", date=False)
    (kind,) = _kinds(database, f"{source} WHERE Status = 'succeeded'", [prediction])
    counts = f"SELECT count(Prediction), count(DISTINCT Prediction) FROM ({source}) WHERE Status = 'succeeded'"
    count, distinct = database.sql(counts).fetchall()[0]
    if kind is not Kind.NUMBER and rules.is_category(distinct, count):
        kind = Kind.CATEGORY
    metadata["kind"] = str(kind)
    metadata["columns"] = json.dumps(json.loads(metadata["columns"]) | {"Prediction": kind})
    query = f"SELECT DISTINCT Prediction FROM ({source}) WHERE Prediction IS NOT NULL LIMIT {rules.MOST_CLASSES + 1}"
    classes = sorted(name for (name,) in database.sql(query).fetchall())
    metadata.pop("classes", None)
    if len(classes) <= rules.MOST_CLASSES and sum(map(len, classes)) <= rules.MOST_CLASS_CHARACTERS:
        metadata["classes"] = json.dumps(classes)


def _json(database: duckdb.DuckDBPyConnection) -> tuple[str, list[_Column]] | None:
    """JSON objects and lists, or dicts and lists as Python prints them, where they are half of the predictions or more."""
    escapes = f"contains(Prediction, {literal(chr(92))})"
    repaired = f"CASE WHEN {escapes} THEN regexp_replace(Prediction, {literal(_LONE_SURROGATES)}, {literal(_AS_ESCAPE)}, 'g') END"
    valid = " ".join(f"WHEN json_valid({text}) THEN {text}" for text in ("Prediction", repaired, _repr_as_json()))
    document = f"CASE WHEN left(ltrim(Prediction, ' \t\r\n'), 1) IN ('{{', '[') THEN CASE {valid} END END"
    source = f"SELECT *, {document} AS document FROM written"
    counts = f"SELECT count(document), count(Prediction) FROM ({source}) WHERE Status = 'succeeded'"
    document_count, prediction_count = database.sql(counts).fetchall()[0]
    if not prediction_count or 2 * document_count < prediction_count:
        return None
    paths = [path for path in _paths(database, source) if not _is_file(database, source, path)]
    if not paths:
        return None
    pointers = [_pointer(path) for path in paths]
    all_pointers = f"[{', '.join(pointers)}]"
    not_finite = "lower(value::VARCHAR) IN ('nan', 'inf', '-inf', 'infinity', '-infinity')"
    plain = f"""CASE WHEN regexp_matches(document, '(?i)nan|inf')
        THEN list_transform(json_extract(document, {all_pointers}), lambda value: CASE WHEN NOT {not_finite} THEN value ->> '$' END)
        ELSE json_extract_string(document, {all_pointers}) END"""
    columns = [
        _Column(".".join(map(str, path)), f'"values"[{place}]', list=tuple(key if isinstance(key, str) else None for key in path))
        for place, path in enumerate(paths, 1)
    ]
    place = rules.prediction_place([str(path[0]) if len(path) == 1 else "" for path in paths])
    if place is None:
        return f'SELECT * EXCLUDE (document), {plain} AS "values" FROM ({source})', columns
    del columns[place]
    prediction = """CASE WHEN own IS NULL THEN Prediction WHEN starts_with(own, '"') THEN own ->> '$' WHEN own <> 'null' THEN own END"""
    own = f"json_extract(document, {pointers[place]})::VARCHAR"
    source = f'SELECT * EXCLUDE (document), {plain} AS "values", {own} AS own FROM ({source})'
    return _with_prediction(source, columns, prediction)


def _repr_as_json() -> str:
    """SQL: what Python printed, as JSON."""

    def replaced(text: str, replacements: Sequence[tuple[str, str, str]]) -> str:
        signs = literal("|".join(re.escape(sign) for _, _, sign in replacements))
        as_json = text
        for python, replacement, _ in replacements:
            as_json = f"regexp_replace({as_json}, {literal(python)}, {literal(replacement)}, 'g')"
        return f"CASE WHEN regexp_matches(Prediction, {signs}) THEN {as_json} ELSE {text} END"

    between_quotes = replaced(f"replace(Prediction, {literal(chr(39))}, {literal(chr(34))})", rules.REPR_TO_JSON)
    plain = replaced("Prediction", rules.PLAIN_REPR_TO_JSON)
    as_json = f"CASE WHEN contains(Prediction, {literal(chr(39))}) THEN {between_quotes} ELSE {plain} END"
    return f"CASE WHEN NOT regexp_matches(Prediction, {literal(rules.NOT_REPR)}) THEN {as_json} END"


def _pointer(path: _Path) -> str:
    return literal("".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path))


def _is_file(database: duckdb.DuckDBPyConnection, source: str, path: _Path) -> bool:
    """Whether what is there is just the row's file, by its path or name: a column that the table has already."""
    if len(path) > 1 or not rules.is_file_key(str(path[0])):
        return False
    value = f"json_extract_string(document, {_pointer(path)})"
    own_name = f"regexp_replace(File, {literal(rules.FOLDERS)}, '')"
    return _aggregates(database, source, [f"count({value}) FILTER (File <> '' AND {value} <> File AND {value} <> {own_name})"]) == (0,)


def _paths(database: duckdb.DuckDBPyConnection, source: str) -> Sequence[_Path]:
    """Where the plain values are in these documents: those of the most frequent shape first."""
    shape_of = "TRY(json_structure(document))::VARCHAR"  # it raises for what is nested too deep
    shapes = database.sql(
        f"SELECT {shape_of} AS shape, count(*) FROM ({source}) GROUP BY 1 HAVING shape IS NOT NULL ORDER BY 2 DESC, 1 LIMIT 1000"
    ).fetchall()
    lists: list[int] = []

    def longest(path: _Path) -> int:
        if len(lists) < 2 * rules.MOST_COLUMNS:
            lists.extend(database.sql(f"SELECT max(json_array_length(document, {_pointer(path)})) FROM ({source})").fetchall()[0])
            return min(lists[-1] or 0, rules.MOST_IN_A_LIST)
        return 0

    return list(itertools.islice(_leaves([json.loads(shape) for shape, _ in shapes], (), longest), 2 * rules.MOST_COLUMNS))


def _leaves(shapes: Sequence[Any], path: _Path, longest: Callable[[_Path], int]) -> Iterator[_Path]:
    """Under this path, where the documents have these shapes. A null is a value where there are no others."""
    nested = [shape for shape in shapes if isinstance(shape, dict | list)]
    plain = any(isinstance(shape, str) and shape != "NULL" for shape in shapes)
    if path and (plain or not nested or len(path) == rules.MOST_NESTED):
        yield path
    if len(path) == rules.MOST_NESTED:
        return
    objects, lists = [shape for shape in nested if isinstance(shape, dict)], [shape for shape in nested if isinstance(shape, list)]
    for key in dict.fromkeys(key for shape in objects for key in shape):
        yield from _leaves([shape[key] for shape in objects if key in shape], (*path, key), longest)
    for place in range(longest(path) if lists else 0):
        yield from _leaves([shape[0] if shape else "NULL" for shape in lists], (*path, place), longest)


# ---- what the columns are --------------------------------------------------------------------------------------------------------------


def _kinds(database: duckdb.DuckDBPyConnection, source: str, columns: Sequence[_Column]) -> Iterator[Kind]:
    """Of some rows first: what doesn't hold there needs no look at all of them."""
    expressions: list[str] = []
    for column in columns:
        value = column.value
        expressions += [
            f"count({value})",
            f"count({value}) FILTER ({column.numeric} AND {_is_number(value)})",
            f"count({value}) FILTER ({column.numeric} AND regexp_matches({value}, {literal(rules.WHOLE)}))",
            f"count({value}) FILTER ({column.date} AND regexp_matches({value}, {literal(rules.ISO_DATE)}) AND {_date(value)} IS NOT NULL)",
            f"approx_count_distinct({value})",
        ]
    counts = _aggregates(database, f"{source} LIMIT {_SAMPLED}", expressions)
    for place in range(0, len(counts), 5):
        for kind in range(place + 1, place + 4):
            expressions[kind] = expressions[kind] if counts[kind] == counts[place] else "0"
    counts = _aggregates(database, source, expressions)
    fractions = {
        column.list
        for column, count, numbers, whole in zip(columns, counts[::5], counts[1::5], counts[2::5], strict=True)
        if None in column.list and count and whole < numbers == count
    }
    for place, column in enumerate(columns):
        count, numbers, whole, dates, distinct = counts[5 * place : 5 * place + 5]
        whole = 0 if column.list in fractions else whole
        if count and whole == count:
            yield Kind.WHOLE_NUMBER
        elif count and numbers == count:
            yield Kind.NUMBER
        elif count and dates == count:
            yield Kind.DATE
        else:
            yield Kind.CATEGORY if rules.is_category(distinct, count) else Kind.TEXT


def _is_number(value: str) -> str:
    return f"(regexp_matches({value}, {literal(rules.NUMBER)}) AND isfinite(TRY_CAST({value} AS DOUBLE)))"


def _date(value: str) -> str:
    """SQL: a date in UTC, where it says its zone."""
    zoned = f"make_timestamp(epoch_us(TRY_CAST({value} AS TIMESTAMPTZ)))"
    return f"CASE WHEN regexp_matches({value}, ':.*(Z|[+-][0-9:]+)$') THEN {zoned} ELSE TRY_CAST({value} AS TIMESTAMP) END"


def _cast(column: _Column, kind: Kind) -> str:
    if kind is Kind.DATE:
        return _date(column.value)
    type_ = {Kind.WHOLE_NUMBER: "BIGINT", Kind.NUMBER: "DOUBLE"}.get(kind)
    return f"TRY_CAST({column.value} AS {type_})" if type_ else column.value


def _aggregates(database: duckdb.DuckDBPyConnection, source: str, expressions: Sequence[str]) -> tuple[Any, ...]:
    return database.sql(f"SELECT {', '.join(expressions)} FROM ({source})").fetchall()[0] if expressions else ()

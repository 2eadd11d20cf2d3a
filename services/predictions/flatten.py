"""Predictions that hold several values, unfolded into columns of their own: DataFrames' rows, JSON objects and lists, printed dicts.

Done in DuckDB over the table as it was written, no row in Python. The prediction itself stays as it was printed, but where a column or a
key is called Prediction: that is the prediction then, and the row as it was printed is in a column Row. A value that isn't there is null,
NaN too. A column is of numbers when every value is one, as with predictions themselves: `007` is text; and of dates likewise.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.predictions.database import pattern
from services.predictions.filters import literal, quoted
from services.predictions.matching import FILE_KEYS
from services.predictions.writer import COLUMNS, FRAME, MOST_CHARACTERS, MOST_CLASSES, NUMBER, WHOLE, Kind

if TYPE_CHECKING:
    import duckdb

MOST_COLUMNS = 100
MOST_IN_A_LIST = 50
MOST_NESTED = 4
ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$"
PRINTED_OTHERWISE = r'["\\]'
PRINTED = (
    (r'(": ?|[\[,] ?)np\.\w+\(([^()]*)\)', r"\1\2", "np."),
    (r'": (?:None|nan)([,}])', r'": null\1', "n"),
    (r'": True([,}])', r'": true\1', "True"),
    (r'": False([,}])', r'": false\1', "False"),
)
"""How a dict as Python prints it becomes JSON, after its quotes: what, by what, and a sign of it. When its texts have neither other quotes
nor a backslash (PRINTED_OTHERWISE), a quote is a delimiter wherever it is."""
PRINTED_PLAIN = ((r"\b(None|nan)\b", "null", "n"), (r"\bTrue\b", "true", "True"), (r"\bFalse\b", "false", "False"))
"""The same where nothing is between quotes, as in a list of numbers."""
_LONGEST_NAME = 200
_LOOKED_AT = 10_000
_MEMORY = "256MB"
ROW = "Row"
"""The column with all that was printed, where a part of it is the prediction."""
_WHOLE = '"whole row"'
_LONE = r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\)(u[dD][89a-fA-F][0-9a-fA-F]{2}|x[0-9a-f]{2})"
_LONE_SHOWN = r"\1\2\2\3"
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


@dataclass(frozen=True)
class Flattened:
    """The kinds of the columns that were added, by name, and how many more there would have been."""

    kinds: dict[str, Kind]
    left_out: int = 0


def flatten(table: Path, metadata: dict[str, str], unfinished: Path, whole: str = "") -> Flattened | None:
    """Write the table again, to `unfinished`, with what its predictions hold as further columns; None where they hold nothing.
    `metadata` is what the table says of itself; it is added to. `whole` is the column with what was printed where the table has further
    columns already: these are left out. Raises duckdb.Error."""
    import duckdb

    spilled = table.with_name(f"{table.name}.spilled")
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spilled)}) as database:
        own = ", ".join(quoted(name) for name in (*COLUMNS, FRAME.strip('"')))
        if whole:
            own = own.replace(quoted("Prediction"), f"{quoted(whole)} AS Prediction")
        database.execute(f"CREATE VIEW written AS SELECT {own} FROM read_parquet({literal(pattern(table))})")
        source, columns = _frames(database) or _json(database) or ("FROM written" if whole else "", [])
        if not source:
            return None
        left_out = max(0, len(columns) - MOST_COLUMNS)
        columns = columns[:MOST_COLUMNS]
        names = list(named([column.name for column in columns]))
        kinds = dict(zip(names, _kinds(database, source, columns), strict=True))
        metadata["columns"] = json.dumps(json.loads(metadata["columns"]) | kinds)
        metadata["left_out"] = str(left_out)
        if has_own := [name for name, column in zip(names, columns, strict=True) if column.value == _WHOLE]:
            metadata["whole"] = has_own[0]
        if whole not in ("", "Prediction") or has_own:
            source = f"SELECT * REPLACE ({_number('Prediction')} AS Number) FROM ({source})"
            _describe_predictions(database, source, metadata)
        selected = "".join(f", {_cast(column, kinds[name])} AS {quoted(name)}" for name, column in zip(names, columns, strict=True))
        told = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
        database.execute(
            f"COPY (SELECT {', '.join(map(quoted, COLUMNS))}{selected} FROM ({source})) TO {literal(str(unfinished))}"
            f" (FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{{told}}})"
        )
    if spilled.exists():
        os.rmdir(spilled)
    return Flattened(kinds, left_out)


# ---- where the values are --------------------------------------------------------------------------------------------------------------


def _frames(database: duckdb.DuckDBPyConnection) -> tuple[str, list[_Column]] | None:
    """Rows of DataFrames, as `to_csv(sep=" ")` wrote them: their columns, without the first one where that was the file's name."""
    rows = database.sql(f"SELECT {FRAME}, count(*) FROM written WHERE {FRAME} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    values: dict[str, list[str]] = {}
    own: list[str] = []
    types: dict[str, set[str]] = {}
    for told, _ in rows:
        frame = json.loads(told)
        for place, (name, dtype) in enumerate(frame, 1):
            here = f"WHEN {FRAME} = {literal(told)} AND len(fields) = {len(frame)} THEN fields[{place}]"
            if place > 1:
                here += f" WHEN {FRAME} = {literal(told)} AND len(fields) = {len(frame) - 1} THEN fields[{place - 1}]"
            values.setdefault(name, []).append(here)
            if name.casefold() == "prediction":
                own.append(here)
            types.setdefault(name, set()).add(dtype)
    source = f"SELECT *, {_FIELDS} AS fields FROM written"
    columns = [
        _Column(
            name,
            f"nullif(CASE {' '.join(where)} END, '')",
            numeric=all(dtype.lower().startswith(("int", "uint", "float")) for dtype in types[name]),
            date=all(dtype.startswith("datetime64") for dtype in types[name]),
        )
        for name, where in values.items()
    ]
    filled = [bool(found) for found in _aggregates(database, source, [f"count({column.value})" for column in columns])]
    columns = [column for column, any_ in zip(columns, filled, strict=True) if any_]
    if len(columns) < 2:
        return None
    if own:
        columns = [column for column in columns if column.name.casefold() != "prediction"]
        said = f"nullif(coalesce(CASE {' '.join(own)} END, Prediction), '')"
        return _with_own(source, columns, said)
    return source, columns


def called_prediction(names: Sequence[str]) -> int | None:
    """The place of the only one of these that is called Prediction, in any case."""
    places = [place for place, name in enumerate(names) if name.casefold() == "prediction"]
    return places[0] if len(places) == 1 else None


def _with_own(source: str, columns: list[_Column], said: str) -> tuple[str, list[_Column]]:
    """With what `said` selects as the prediction, and the row as it was printed as one more of the columns."""
    columns.insert(MOST_COLUMNS - 1, _Column(ROW, _WHOLE, numeric=False, date=False))
    return f"SELECT * REPLACE ({said} AS Prediction), Prediction AS {_WHOLE} FROM ({source})", columns


def _describe_predictions(database: duckdb.DuckDBPyConnection, source: str, metadata: dict[str, str]) -> None:
    """Say in `metadata` what the predictions are, by the rules of the table as it is written."""
    prediction = _Column("Prediction", "Prediction", date=False)
    (kind,) = _kinds(database, f"{source} WHERE Status = 'succeeded'", [prediction])
    counted = f"SELECT count(Prediction), count(DISTINCT Prediction) FROM ({source}) WHERE Status = 'succeeded'"
    count, distinct = database.sql(counted).fetchall()[0]
    if kind is not Kind.NUMBER and distinct <= min(MOST_CLASSES, count / 2):
        kind = Kind.CATEGORY
    metadata["kind"] = str(kind)
    metadata["columns"] = json.dumps(json.loads(metadata["columns"]) | {"Prediction": kind})
    found = f"SELECT DISTINCT Prediction FROM ({source}) WHERE Prediction IS NOT NULL LIMIT {MOST_CLASSES + 1}"
    classes = sorted(name for (name,) in database.sql(found).fetchall())
    metadata.pop("classes", None)
    if len(classes) <= MOST_CLASSES and sum(map(len, classes)) <= MOST_CHARACTERS:
        metadata["classes"] = json.dumps(classes)


def _json(database: duckdb.DuckDBPyConnection) -> tuple[str, list[_Column]] | None:
    """JSON objects and lists, or dicts and lists as Python prints them, where they are half of the predictions or more."""
    escapes = f"contains(Prediction, {literal(chr(92))})"
    mended = f"CASE WHEN {escapes} THEN regexp_replace(Prediction, {literal(_LONE)}, {literal(_LONE_SHOWN)}, 'g') END"
    valid = " ".join(f"WHEN json_valid({text}) THEN {text}" for text in ("Prediction", mended, _printed()))
    document = f"CASE WHEN left(ltrim(Prediction, ' \t\r\n'), 1) IN ('{{', '[') THEN CASE {valid} END END"
    source = f"SELECT *, {document} AS document FROM written"
    many = f"SELECT count(document), count(Prediction) FROM ({source}) WHERE Status = 'succeeded'"
    with_values, with_predictions = database.sql(many).fetchall()[0]
    if not with_predictions or 2 * with_values < with_predictions:
        return None
    paths = [path for path in _paths(database, source) if not _says_the_file(database, source, path)]
    if not paths:
        return None
    pointers = [_pointer(path) for path in paths]
    every = f"[{', '.join(pointers)}]"
    not_finite = "lower(one::VARCHAR) IN ('nan', 'inf', '-inf', 'infinity', '-infinity')"
    plain = f"""CASE WHEN regexp_matches(document, '(?i)nan|inf')
        THEN list_transform(json_extract(document, {every}), lambda one: CASE WHEN NOT {not_finite} THEN one ->> '$' END)
        ELSE json_extract_string(document, {every}) END"""
    columns = [
        _Column(".".join(map(str, path)), f'"values"[{place}]', list=tuple(key if isinstance(key, str) else None for key in path))
        for place, path in enumerate(paths, 1)
    ]
    own = called_prediction([str(path[0]) if len(path) == 1 else "" for path in paths])
    if own is None:
        return f'SELECT * EXCLUDE (document), {plain} AS "values" FROM ({source})', columns
    del columns[own]
    said = """CASE WHEN own IS NULL THEN Prediction WHEN starts_with(own, '"') THEN own ->> '$' WHEN own <> 'null' THEN own END"""
    source = f'SELECT * EXCLUDE (document), {plain} AS "values", json_extract(document, {pointers[own]})::VARCHAR AS own FROM ({source})'
    return _with_own(source, columns, said)


def _printed() -> str:
    """SQL: what Python printed, as JSON."""

    def changed(text: str, changes: Sequence[tuple[str, str, str]]) -> str:
        any_ = literal("|".join(re.escape(sign) for _, _, sign in changes))
        as_json = text
        for found, replacement, _ in changes:
            as_json = f"regexp_replace({as_json}, {literal(found)}, {literal(replacement)}, 'g')"
        return f"CASE WHEN regexp_matches(Prediction, {any_}) THEN {as_json} ELSE {text} END"

    between_quotes = changed(f"replace(Prediction, {literal(chr(39))}, {literal(chr(34))})", PRINTED)
    plain = changed("Prediction", PRINTED_PLAIN)
    as_json = f"CASE WHEN contains(Prediction, {literal(chr(39))}) THEN {between_quotes} ELSE {plain} END"
    return f"CASE WHEN NOT regexp_matches(Prediction, {literal(PRINTED_OTHERWISE)}) THEN {as_json} END"


def _pointer(path: _Path) -> str:
    return literal("".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path))


def names_file(name: str) -> bool:
    return name.casefold() in FILE_KEYS


def _says_the_file(database: duckdb.DuckDBPyConnection, source: str, path: _Path) -> bool:
    """Whether what is there is but the row's file, by its path or name: a column that is there already."""
    if len(path) > 1 or not names_file(str(path[0])):
        return False
    said = f"json_extract_string(document, {_pointer(path)})"
    otherwise = f"count({said}) FILTER (File <> '' AND {said} <> File AND {said} <> regexp_replace(File, '(?s)^.*/', ''))"
    return _aggregates(database, source, [otherwise]) == (0,)


def _paths(database: duckdb.DuckDBPyConnection, source: str) -> Sequence[_Path]:
    """Where the plain values are in these documents: those of the most frequent shape first."""
    shape_of = "TRY(json_structure(document))::VARCHAR"  # it raises for what is nested too deep
    shapes = database.sql(
        f"SELECT {shape_of} AS shape, count(*) FROM ({source}) GROUP BY 1 HAVING shape IS NOT NULL ORDER BY 2 DESC, 1 LIMIT 1000"
    ).fetchall()
    lists: list[int] = []

    def longest(path: _Path) -> int:
        if len(lists) < 2 * MOST_COLUMNS:
            lists.extend(database.sql(f"SELECT max(json_array_length(document, {_pointer(path)})) FROM ({source})").fetchall()[0])
            return min(lists[-1] or 0, MOST_IN_A_LIST)
        return 0

    return list(itertools.islice(_leaves([json.loads(shape) for shape, _ in shapes], (), longest), 2 * MOST_COLUMNS))


def _leaves(shapes: Sequence[Any], path: _Path, longest: Callable[[_Path], int]) -> Iterator[_Path]:
    """Under this path, where the documents have these shapes. A null is a value where there are no others."""
    nested = [shape for shape in shapes if isinstance(shape, dict | list)]
    plain = any(isinstance(shape, str) and shape != "NULL" for shape in shapes)
    if path and (plain or not nested or len(path) == MOST_NESTED):
        yield path
    if len(path) == MOST_NESTED:
        return
    objects, lists = [shape for shape in nested if isinstance(shape, dict)], [shape for shape in nested if isinstance(shape, list)]
    for key in dict.fromkeys(key for shape in objects for key in shape):
        yield from _leaves([shape[key] for shape in objects if key in shape], (*path, key), longest)
    for place in range(longest(path) if lists else 0):
        yield from _leaves([shape[0] if shape else "NULL" for shape in lists], (*path, place), longest)


# ---- what the columns are --------------------------------------------------------------------------------------------------------------


def named(names: Sequence[str]) -> Iterator[str]:
    """The same as names that columns of a table can have: none empty, none twice, in any case, none of the table's own."""
    taken = {name.lower() for name in (*COLUMNS, FRAME.strip('"'), "file_row_number")}
    for place, given in enumerate(names, 1):
        name = "".join(character if character.isprintable() else " " for character in given).strip()[:_LONGEST_NAME]
        wanted = name = name or f"column {place}"
        number = 2
        while name.lower() in taken:
            name, number = f"{wanted} {number}", number + 1
        taken.add(name.lower())
        yield name


def _kinds(database: duckdb.DuckDBPyConnection, source: str, columns: Sequence[_Column]) -> Iterator[Kind]:
    """Asked of some rows first: what isn't so there needs no look at all of them."""
    asked: list[str] = []
    for column in columns:
        value = column.value
        asked += [
            f"count({value})",
            f"count({value}) FILTER ({column.numeric} AND {_is_number(value)})",
            f"count({value}) FILTER ({column.numeric} AND regexp_matches({value}, {literal(WHOLE)}))",
            f"count({value}) FILTER ({column.date} AND regexp_matches({value}, {literal(ISO_DATE)}) AND {_date(value)} IS NOT NULL)",
            f"approx_count_distinct({value})",
        ]
    found = _aggregates(database, f"{source} LIMIT {_LOOKED_AT}", asked)
    for place in range(0, len(found), 5):
        for kind in range(place + 1, place + 4):
            asked[kind] = asked[kind] if found[kind] == found[place] else "0"
    found = _aggregates(database, source, asked)
    fractions = {
        column.list
        for column, count, numbers, whole in zip(columns, found[::5], found[1::5], found[2::5], strict=True)
        if None in column.list and count and whole < numbers == count
    }
    for place, column in enumerate(columns):
        count, numbers, whole, dates, distinct = found[5 * place : 5 * place + 5]
        whole = 0 if column.list in fractions else whole
        if count and whole == count:
            yield Kind.WHOLE_NUMBER
        elif count and numbers == count:
            yield Kind.NUMBER
        elif count and dates == count:
            yield Kind.DATE
        else:
            yield Kind.CATEGORY if distinct <= min(MOST_CLASSES, count / 2) else Kind.TEXT


def _number(value: str) -> str:
    return f"CASE WHEN {_is_number(value)} THEN TRY_CAST({value} AS DOUBLE) END"


def _is_number(value: str) -> str:
    return f"(regexp_matches({value}, {literal(NUMBER)}) AND isfinite(TRY_CAST({value} AS DOUBLE)))"


def _date(value: str) -> str:
    """SQL: a date in UTC, where it says its zone."""
    zoned = f"make_timestamp(epoch_us(TRY_CAST({value} AS TIMESTAMPTZ)))"
    return f"CASE WHEN regexp_matches({value}, ':.*(Z|[+-][0-9:]+)$') THEN {zoned} ELSE TRY_CAST({value} AS TIMESTAMP) END"


def _cast(column: _Column, kind: Kind) -> str:
    if kind is Kind.DATE:
        return _date(column.value)
    type_ = {Kind.WHOLE_NUMBER: "BIGINT", Kind.NUMBER: "DOUBLE"}.get(kind)
    return f"TRY_CAST({column.value} AS {type_})" if type_ else column.value


def _aggregates(database: duckdb.DuckDBPyConnection, source: str, asked: Sequence[str]) -> tuple[Any, ...]:
    return database.sql(f"SELECT {', '.join(asked)} FROM ({source})").fetchall()[0] if asked else ()

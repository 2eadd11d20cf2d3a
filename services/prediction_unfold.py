"""Predictions that hold several values, unfolded into columns of their own: DataFrames' rows, JSON objects and lists, printed dicts.

Done in DuckDB over the table as it was written, no row in Python. The prediction itself stays as it was printed, but for DataFrames with a
column called Prediction: that is the prediction then, and the row as it was printed is in a column Row. A value that isn't there
is null. A column is of numbers when every value is one, as with predictions themselves: `007` is text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.prediction_database import pattern
from services.prediction_filters import literal, quoted
from services.prediction_table import COLUMNS, FRAME, NUMBER, WHOLE, Kind

if TYPE_CHECKING:
    import duckdb

_MOST_COLUMNS = 100
_MOST_IN_A_LIST = 50
_LONGEST_NAME = 200
_MOST_CLASSES = 50
_MEMORY = "512MB"
_WHOLE = '"whole row"'
_IN_ONE = "(contains(Prediction, '\"') OR contains(Prediction, '\\'))"
# A dict as Python prints it has no other quotes and no backslash when its texts have neither; then a quote is a delimiter wherever it is.
_PRINTED = (
    ("''", '"'),
    (r"""(": ?|[\[,] ?)np\.\w+\(([^()]*)\)""", r"\1\2"),
    (r'": None([,}])', r'": null\1'),
    (r'": True([,}])', r'": true\1'),
    (r'": False([,}])', r'": false\1'),
    (r'": nan([,}])', r'": null\1'),
)
_FIELDS = """CASE WHEN contains(Prediction, '"')
 THEN list_transform(regexp_extract_all(' ' || Prediction, ' ("(?:[^"]|"")*"|[^ "]*)', 1),
    lambda field: CASE WHEN starts_with(field, '"') THEN replace(field[2:-2], '""', '"') ELSE field END)
 ELSE string_split(Prediction, ' ') END"""


@dataclass(frozen=True)
class _Column:
    """A column to be: its name, its value as a text in SQL (over what `source` selects), and whether such texts may be numbers or dates."""

    name: str
    value: str
    numeric: bool = True
    date: bool = False


@dataclass(frozen=True)
class Unfolded:
    """The kinds of the columns that were added, by name, and how many more there would have been."""

    kinds: dict[str, Kind]
    left_out: int = 0


def unfold(table: Path, metadata: dict[str, str], unfinished: Path) -> Unfolded | None:
    """Write the table again, to `unfinished`, with what its predictions hold as further columns; None where they hold nothing.
    `metadata` is what the table says of itself; it is added to. Raises duckdb.Error."""
    import duckdb

    spilled = table.with_name(f"{table.name}.spilled")
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spilled)}) as database:
        database.execute(f"CREATE VIEW written AS FROM read_parquet({literal(pattern(table))})")
        source, columns = _frames(database) or _json(database) or ("", [])
        if not columns:
            return None
        left_out = max(0, len(columns) - _MOST_COLUMNS)
        columns = list(_named(columns[:_MOST_COLUMNS]))
        kinds = {column.name: kind for column, kind in zip(columns, _kinds(database, source, columns), strict=True)}
        metadata["columns"] = json.dumps(json.loads(metadata["columns"]) | kinds)
        metadata["left_out"] = str(left_out)
        if whole := [column.name for column in columns if column.value == _WHOLE]:
            metadata["whole"] = whole[0]
            _describe_predictions(database, source, metadata)
        selected = ", ".join(f"{_cast(column, kinds[column.name])} AS {quoted(column.name)}" for column in columns)
        told = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
        database.execute(
            f"COPY (SELECT {', '.join(map(quoted, COLUMNS))}, {selected} FROM ({source})) TO {literal(str(unfinished))}"
            f" (FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{{told}}})"
        )
    if spilled.exists():
        os.rmdir(spilled)
    return Unfolded(kinds, left_out)


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
        columns.insert(_MOST_COLUMNS - 1, _Column("Row", _WHOLE, numeric=False))
        said = f"nullif(coalesce(CASE {' '.join(own)} END, Prediction), '')"
        number = f"CASE WHEN {_is_number(said)} THEN TRY_CAST({said} AS DOUBLE) END"
        source = f"SELECT * REPLACE ({said} AS Prediction, {number} AS Number), Prediction AS {_WHOLE} FROM ({source})"
    return source, columns


def _describe_predictions(database: duckdb.DuckDBPyConnection, source: str, metadata: dict[str, str]) -> None:
    """Say in `metadata` what the predictions are, by the rules of the table as it is written."""
    prediction = _Column("Prediction", "Prediction")
    (kind,) = _kinds(database, f"{source} WHERE Status = 'succeeded'", [prediction])
    counted = f"SELECT count(Prediction), count(DISTINCT Prediction) FROM ({source}) WHERE Status = 'succeeded'"
    count, distinct = database.sql(counted).fetchall()[0]
    if kind is not Kind.NUMBER and distinct <= min(_MOST_CLASSES, count / 2):
        kind = Kind.CATEGORY
    metadata["kind"] = str(kind)
    metadata["columns"] = json.dumps(json.loads(metadata["columns"]) | {"Prediction": kind})
    found = f"SELECT DISTINCT Prediction FROM ({source}) WHERE Prediction IS NOT NULL LIMIT {_MOST_CLASSES + 1}"
    classes = sorted(name for (name,) in database.sql(found).fetchall())
    metadata.pop("classes", None)
    if len(classes) <= _MOST_CLASSES:
        metadata["classes"] = json.dumps(classes)


def _json(database: duckdb.DuckDBPyConnection) -> tuple[str, list[_Column]] | None:
    """JSON objects and lists, or dicts and lists as Python prints them, where they are half of the predictions or more."""
    printed = "Prediction"
    for found, replacement in _PRINTED:
        change = "replace" if found == "''" else "regexp_replace"
        flags = "" if change == "replace" else ", 'g'"
        wanted = "''''" if found == "''" else literal(found)
        printed = f"{change}({printed}, {wanted}, {literal(replacement)}{flags})"
    for text in ("Prediction", f"CASE WHEN {_IN_ONE} THEN NULL ELSE {printed} END"):
        document = f"CASE WHEN json_valid({text}) AND json_type({text}) IN ('OBJECT', 'ARRAY') THEN {text} END"
        source = f"SELECT *, {document} AS document FROM written"
        many = "count(document), count(Prediction)"
        with_values, every = database.sql(f"SELECT {many} FROM ({source}) WHERE Status = 'succeeded'").fetchall()[0]
        if every and 2 * with_values >= every:
            break
    else:
        return None
    paths = list(_paths(database, source))
    pointers = ", ".join(literal("".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)) for path in paths)
    if not paths:
        return None
    columns = [_Column(".".join(path), f'"values"[{place}]') for place, path in enumerate(paths, 1)]
    return f'SELECT * EXCLUDE (document), json_extract_string(document, [{pointers}]) AS "values" FROM ({source})', columns


def _paths(database: duckdb.DuckDBPyConnection, source: str) -> Iterator[tuple[str, ...]]:
    """Where the plain values are in these documents: those of the most frequent shape first."""
    shape_of = "json_structure(document)::VARCHAR"
    shapes = database.sql(
        f"SELECT {shape_of}, count(*) FROM ({source}) WHERE document IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000"
    ).fetchall()
    seen: set[tuple[str, ...]] = set()
    for shape, _ in shapes:
        for path in _leaves(database, source, json.loads(shape), ()):
            if path not in seen and len(seen) < 2 * _MOST_COLUMNS:
                seen.add(path)
                yield path


def _leaves(database: duckdb.DuckDBPyConnection, source: str, shape: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(shape, dict) and len(path) < 4:
        for key, inner in shape.items():
            yield from _leaves(database, source, inner, (*path, key))
    elif isinstance(shape, list) and len(path) < 4:
        pointer = literal("".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path))
        longest = database.sql(f"SELECT max(json_array_length(document, {pointer})) FROM ({source})").fetchall()[0][0]
        for place in range(min(longest or 0, _MOST_IN_A_LIST)):
            yield from _leaves(database, source, shape[0] if shape else "NULL", (*path, str(place)))
    elif path:
        yield path


# ---- what the columns are --------------------------------------------------------------------------------------------------------------


def _named(columns: Sequence[_Column]) -> Iterator[_Column]:
    """The same with names that a table can have: none empty, none twice, in any case."""
    taken = {name.lower() for name in (*COLUMNS, FRAME.strip('"'), "file_row_number")}
    for place, column in enumerate(columns, 1):
        name = "".join(character if character.isprintable() else " " for character in column.name).strip()[:_LONGEST_NAME]
        wanted = name = name or f"column {place}"
        number = 2
        while name.lower() in taken:
            name, number = f"{wanted} {number}", number + 1
        taken.add(name.lower())
        yield _Column(name, column.value, column.numeric, column.date)


def _kinds(database: duckdb.DuckDBPyConnection, source: str, columns: Sequence[_Column]) -> Iterator[Kind]:
    asked = []
    for column in columns:
        value = column.value
        asked += [
            f"count({value})",
            f"count({value}) FILTER ({column.numeric} AND {_is_number(value)})",
            f"count({value}) FILTER ({column.numeric} AND regexp_matches({value}, {literal(WHOLE)}))",
            f"count({value}) FILTER ({column.date} AND TRY_CAST({value} AS TIMESTAMP) IS NOT NULL)",
            f"approx_count_distinct({value})",
        ]
    found = _aggregates(database, source, asked)
    for place in range(0, len(found), 5):
        count, numbers, whole, dates, distinct = found[place : place + 5]
        if count and whole == count:
            yield Kind.WHOLE_NUMBER
        elif count and numbers == count:
            yield Kind.NUMBER
        elif count and dates == count:
            yield Kind.DATE
        else:
            yield Kind.CATEGORY if distinct <= min(_MOST_CLASSES, count / 2) else Kind.TEXT


def _is_number(value: str) -> str:
    return f"(regexp_matches({value}, {literal(NUMBER)}) AND isfinite(TRY_CAST({value} AS DOUBLE)))"


def _cast(column: _Column, kind: Kind) -> str:
    type_ = {Kind.WHOLE_NUMBER: "BIGINT", Kind.NUMBER: "DOUBLE", Kind.DATE: "TIMESTAMP"}.get(kind)
    return f"TRY_CAST({column.value} AS {type_})" if type_ else column.value


def _aggregates(database: duckdb.DuckDBPyConnection, source: str, asked: Sequence[str]) -> tuple[Any, ...]:
    return database.sql(f"SELECT {', '.join(asked)} FROM ({source})").fetchall()[0] if asked else ()

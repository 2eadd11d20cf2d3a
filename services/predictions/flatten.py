"""Predictions that hold several values, flattened into columns of their own: DataFrames' rows, JSON objects and lists, printed dicts.

Done in DuckDB over the table as it was written, no row in Python but those that only Python's own spelling explains (`literals`). The
prediction itself stays as it was printed, but where a column or a key is called Prediction: that is the prediction then, and the row as it
was printed is in a column Row. So is the value of a DataFrame of one column. A value that isn't there is null.

What a column is follows from its values over the whole run: of a DataFrame from what the worker says they are, mini-batches without a
value left out; of JSON from how they are spelled (a number between quotes is a text); else from the text. A column is of numbers when
every value is one: `007` is text.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.predictions import columns as rules
from services.predictions import literals
from services.predictions.columns import COLUMNS, FRAME, NUMERIC, ROW, Kind, literal, own_names, parquet_file, quoted, unique_names
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    import duckdb

_SAMPLED = 10_000  # rows that are tested first
_MEMORY = "256MB"
_WHOLE = quoted("whole row")
_LONE_SURROGATES = r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\)(u[dD][89a-fA-F][0-9a-fA-F]{2}|x[0-9a-f]{2})"
_AS_ESCAPE = r"\1\2\2\3"
# Half of a surrogate pair and undecodable bytes, which JSON doesn't know, become texts as they are shown elsewhere: `\ud800`, `\xff`.
_MAY_BE_PRINTED = r"(?s)^\s*([\[{(]|[A-Za-z_][\w.]*\().*[\])}]\s*$"
_LONG_DECIMAL = r"[1-9](\.?[0-9]){17}"  # within a document
_FIELDS = """CASE WHEN contains(Prediction, '"')
 THEN list_transform(regexp_extract_all(' ' || Prediction, ' ("(?:[^"]|"")*"|[^ "]*)', 1),
    lambda field: CASE WHEN starts_with(field, '"') THEN replace(field[2:-2], '""', '"') ELSE field END)
 ELSE string_split(Prediction, ' ') END"""

_ANY = frozenset((Kind.NUMBER, Kind.DATE, Kind.TRUTH_VALUE))
_KINDS_BY_WORD = {"number": Kind.NUMBER, "date": Kind.DATE, "truth value": Kind.TRUTH_VALUE}
_EARLIER_DTYPES = {"int": Kind.NUMBER, "uint": Kind.NUMBER, "float": Kind.NUMBER, "datetime64": Kind.DATE, "bool": Kind.TRUTH_VALUE}
"""By how the names of types begin: what a worker said in place of the words, until it looked at the values."""
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Column:
    """A column to be: its name, and SQL, over what `source` selects, of its value as it is spelled and as a text.

    These are two of JSON only, where a text has its quotes. `may_be` is what the values may be beside text, `certain` that `nan` is no
    text's spelling.
    """

    name: str
    spelled: str
    text: str = ""
    may_be: Collection[Kind] = _ANY
    certain: bool = False
    long: str = ""
    """SQL: whether a double may not hold it, where that isn't seen by its digits."""
    list: tuple[str | None, ...] = ()
    """Which list it is of, if of one: numbers in it are of one kind."""

    @property
    def value(self) -> str:
        return self.text or self.spelled


@dataclass(frozen=True)
class _Found:
    """What the predictions hold: a query with it, the columns to be, and the prediction, where that is a part of what was printed."""

    source: str
    columns: Sequence[_Column] = ()
    prediction: _Column | None = None
    whole_is_repeated: bool = False
    """Whether all that was printed of a row is in its other columns."""


def flatten(
    table: Path, metadata: dict[str, str], own: Mapping[str, str], frames: Sequence[str], whole: str = "", *, exact: bool = True
) -> None:
    """Write the table again with what its predictions hold as further columns, where they hold any.

    `metadata` is the table's own; it is added to. `own` is what COLUMNS are called in the table as it is written (see own_names), `frames`
    the columns of the DataFrames that its rows are of by their number, as JSON; `whole` the column with what was printed where the table
    has further columns already: these are left out. Unless `exact`, the predictions are numbers that doubles don't hold: their Number is
    made again. Raises duckdb.Error.
    """
    import duckdb

    spill, parsed = table.with_name(f"{table.name}.spill"), table.with_name(f"{table.name}.parsed")
    try:
        with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spill)}) as database:
            written = {name: own[name] for name in COLUMNS if name in own} | {FRAME: FRAME, "Prediction": whole or "Prediction"}
            selected = ", ".join(f"{quoted(actual)} AS {quoted(name)}" for name, actual in written.items())
            database.execute(f"CREATE VIEW written AS SELECT {selected} FROM {parquet_file(table)}")
            found = (_frames(database, frames) if frames else None) or _json(database, parsed)
            if found or whole or not exact:
                _write(database, table, metadata, found or _Found("FROM written"), made_anew=bool(whole) or not exact)
    finally:
        parsed.unlink(missing_ok=True)
    if spill.exists():
        os.rmdir(spill)


def _write(database: duckdb.DuckDBPyConnection, table: Path, metadata: dict[str, str], found: _Found, *, made_anew: bool) -> None:
    """`made_anew` says that Number isn't that of the predictions as they are written."""
    left_out = max(0, len(found.columns) - rules.MOST_COLUMNS)
    columns, source = found.columns[: rules.MOST_COLUMNS], found.source
    given = list(unique_names([column.name for column in columns if column.spelled != _WHOLE]))
    all_own, upcoming = own_names(given), iter(given)
    names = [all_own[ROW] if column.spelled == _WHOLE else next(upcoming) for column in columns]
    if made_anew or found.prediction:
        source = _with_number(database, source, found.prediction or _Column("Prediction", "Prediction"), metadata)
    kinds = list(_kinds(database, source, columns))
    own = {name: all_own[name] for name in json.loads(metadata["own"])}
    known = {own[name]: kind for name, kind in json.loads(metadata["columns"]).items()}
    metadata["columns"] = json.dumps(known | {name: kind for name, (kind, _) in zip(names, kinds, strict=True)})
    metadata |= {"left_out": str(left_out), "own": json.dumps(own)}
    if all_own[ROW] in names:
        metadata["whole"] = all_own[ROW]
        if found.whole_is_repeated and not left_out:
            metadata["repeated"] = "true"
    elif found.prediction:
        metadata["whole"] = "Prediction"  # of which some may be null
    final = [f"{quoted(name)} AS {quoted(actual)}" for name, actual in own.items()]
    final += [f"{_cast(column, kind, type_)} AS {quoted(name)}" for name, column, (kind, type_) in zip(names, columns, kinds, strict=True)]
    notes = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
    with atomic_write(table) as unfinished:
        database.execute(
            f"COPY (SELECT {', '.join(final)} FROM ({source})) TO {literal(str(unfinished))}"
            f" (FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{{notes}}})"
        )


# ---- where the values are --------------------------------------------------------------------------------------------------------------


def _frames(database: duckdb.DuckDBPyConnection, frames: Sequence[str]) -> _Found | None:
    """Rows of DataFrames, as `to_csv(sep=" ")` wrote them: their columns, without the first one where that was the file's name."""
    columns_of = [[(str(name), str(word)) for name, word in json.loads(frame)] for frame in frames]
    layouts: dict[tuple[str, ...], int] = {}
    layout_of = [layouts.setdefault(tuple(name for name, _ in columns), len(layouts)) for columns in columns_of]
    frame_of_row = f"{quoted(FRAME)}::INTEGER + 1"
    source = f"SELECT *, {layout_of}[{frame_of_row}] AS layout, {_FIELDS} AS fields FROM written"
    measured = database.sql(f"SELECT layout, count(*), max(len(fields)) FROM ({source}) WHERE layout IS NOT NULL GROUP BY 1").fetchall()
    sizes, widest = {layout: count for layout, count, _ in measured}, {layout: most for layout, _, most in measured}
    is_one_value = max(widest.values(), default=0) == 1
    has_first = {layout for names, layout in layouts.items() if widest.get(layout) == len(names)}
    cases: dict[tuple[str, int], list[str]] = {}
    places: dict[tuple[str, int], dict[int, int]] = {}
    for names, layout in sorted(layouts.items(), key=lambda item: (-sizes.get(item[1], 0), item[1])):
        for place, name in enumerate(names, 1):
            key = name or f"column {place}", names[: place - 1].count(name)  # two columns may have one name
            case = f"WHEN layout = {layout} AND len(fields) = {len(names)} THEN fields[{place}]"
            if place > 1:
                case += f" WHEN layout = {layout} AND len(fields) = {len(names) - 1} THEN fields[{place - 1}]"
            cases.setdefault(key, []).append(case)
            places.setdefault(key, {})[layout] = place - 1
    values = [f"nullif(CASE {' '.join(each)} END, '')" for each in cases.values()]
    counts = database.sql(
        f"SELECT {quoted(FRAME)}::INTEGER, {', '.join(f'count({value})' for value in values)} FROM ({source})"
        " WHERE layout IS NOT NULL GROUP BY 1"
    ).fetchall()
    columns: list[_Column] = []
    for number, (((name, _), of_layout), value) in enumerate(zip(places.items(), values, strict=True)):
        is_there = any(place or layout in has_first for layout, place in of_layout.items())
        words = {columns_of[frame][of_layout[layout_of[frame]]][1] for frame, *found in counts if found[number]}
        if words or is_there:  # a column without a value is one, too
            columns.append(_Column(name, value, may_be=_may_be(words), certain="" not in words))
    named = [column for column in columns if column.name.casefold() == "prediction"]
    if any(sum(name.casefold() == "prediction" for name in names) > 1 for names in layouts):
        named = []
    if gave_way := [column for column in columns if column.name == rules.GAVE_WAY]:
        named = gave_way[:1]
    if len(columns) == 1 and is_one_value:
        named = columns
    if not named:
        return _Found(source, columns) if columns else None
    others = [column for column in columns if column not in named]
    value = named[0].spelled if len(named) == 1 else f"coalesce({', '.join(column.spelled for column in named)})"
    may_be = frozenset.intersection(*(frozenset(column.may_be) for column in named))
    in_frame = " OR ".join(
        f"(layout = {layout} AND len(fields) BETWEEN {len(names) - 1} AND {len(names)})" for names, layout in layouts.items()
    )
    prediction = f"CASE WHEN {in_frame} THEN {value} ELSE nullif(Prediction, '') END"
    found = _with_prediction(source, others, _Column("Prediction", prediction, may_be=may_be, certain=named[0].certain))
    return replace(found, whole_is_repeated=True)  # what is unlike its DataFrame is the prediction, whole


def _may_be(words: Collection[str]) -> Collection[Kind]:
    """What a column may be whose values the worker called this, in the mini-batches that have some; "" is not known."""
    kinds = set()
    for word in words:
        earlier = next((kind for beginning, kind in _EARLIER_DTYPES.items() if word.lower().startswith(beginning)), None)
        kinds.add(_KINDS_BY_WORD.get(word, earlier) if word else word)
    if kinds <= {""}:
        return _ANY
    only = kinds.pop() if len(kinds) == 1 else None
    return frozenset((only,)) if isinstance(only, Kind) else frozenset()


def _with_prediction(source: str, columns: Sequence[_Column], prediction: _Column) -> _Found:
    """With this as the prediction, and the row as it was printed as one more of the columns where there are others."""
    columns = list(columns)
    if columns:
        columns.insert(rules.MOST_COLUMNS - 1, _Column(ROW, _WHOLE, may_be=()))
    source = f"SELECT * REPLACE ({prediction.value} AS Prediction), Prediction AS {_WHOLE}, {prediction.spelled} AS spelled FROM ({source})"
    return _Found(source, columns, replace(prediction, spelled="spelled", text="Prediction"))


def _with_number(database: duckdb.DuckDBPyConnection, source: str, prediction: _Column, metadata: dict[str, str]) -> str:
    """The query with the predictions' Number. What they are is noted in `metadata`, by the rules of the table as it is written."""
    prediction = replace(prediction, may_be=[kind for kind in prediction.may_be if kind is Kind.NUMBER])
    ((kind, type_),) = _kinds(database, f"{source} WHERE Status = 'succeeded'", [prediction], "DOUBLE")
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
    number = f"CASE WHEN {_is_number(prediction.spelled)} THEN TRY_CAST({prediction.spelled} AS {type_ or 'DOUBLE'}) END"
    return f"SELECT * REPLACE ({number if prediction.may_be else 'NULL::DOUBLE'} AS Number) FROM ({source})"


def _json(database: duckdb.DuckDBPyConnection, parsed: Path) -> _Found | None:
    """JSON objects and lists, or what Python printed of the like, where they are half of the predictions or more."""
    escapes = f"contains(Prediction, {literal(chr(92))})"
    repaired = f"CASE WHEN {escapes} THEN regexp_replace(Prediction, {literal(_LONE_SURROGATES)}, {literal(_AS_ESCAPE)}, 'g') END"
    valid = " ".join(f"WHEN json_valid({text}) THEN {text}" for text in ("Prediction", repaired, _repr_as_json()))
    document = f"CASE WHEN left(ltrim(Prediction, ' \t\r\n'), 1) IN ('{{', '[') THEN CASE {valid} END END"
    source = f"SELECT *, {document} AS document FROM written"
    to_parse = f"(document IS NULL AND regexp_matches(Prediction, {literal(_MAY_BE_PRINTED)}))"
    long_decimals = f"regexp_matches(document, {literal(_LONG_DECIMAL)})"  # DuckDB reads them as doubles
    if database.sql(f"SELECT bool_or({long_decimals}) FROM ({source} LIMIT {_SAMPLED})").fetchall()[0][0]:
        to_parse += f" OR {long_decimals}"
    counts = f"SELECT count(document), count(Prediction), count(*) FILTER ({to_parse}) FROM ({source}) WHERE Status = 'succeeded'"
    document_count, prediction_count, parsed_count = database.sql(counts).fetchall()[0]
    if not prediction_count or 2 * (document_count + parsed_count) < prediction_count:
        return None
    if parsed_count:
        database.create_function("printed_as_json", literals.as_json, ["VARCHAR"], "VARCHAR")
        read = f"CASE WHEN {to_parse} THEN coalesce(printed_as_json(Prediction), document) ELSE document END"
        database.execute(
            f"COPY (SELECT * REPLACE ({read} AS document) FROM ({source})) TO {literal(str(parsed))} (FORMAT parquet, COMPRESSION lz4_raw)"
        )
        source = f"FROM {parquet_file(parsed)}"
        counts = f"SELECT count(document) FROM ({source}) WHERE Status = 'succeeded'"
        if 2 * database.sql(counts).fetchall()[0][0] < prediction_count:
            return None
    all_paths = list(_paths(database, source))
    names = {path: ".".join(map(str, path)) or f"column {place}" for place, path in enumerate(all_paths, 1)}
    paths = [path for path in all_paths if not _is_file(database, source, path)]
    if not paths:
        return None
    pointers = [_pointer(path) for path in paths]
    spelled = f"json_extract(document, [{', '.join(pointers)}])::VARCHAR[]"
    columns = [
        replace(
            _spelled_in_json(names[path], f"nullif(\"values\"[{place}], 'null')", exact=not parsed_count),
            list=tuple(key if isinstance(key, str) else None for key in path),
        )
        for place, path in enumerate(paths, 1)
    ]
    source = f'SELECT * EXCLUDE (document), {spelled} AS "values", document IS NOT NULL AS is_document FROM ({source})'
    place = rules.prediction_place([str(path[0]) if len(path) == 1 else "" for path in paths])
    if place is None:
        return _Found(source, columns)
    prediction, there = columns.pop(place), f'"values"[{place + 1}] IS NOT NULL'
    return _with_prediction(
        source,
        columns,
        replace(
            prediction,
            spelled=f"CASE WHEN {there} THEN {prediction.spelled} ELSE Prediction END",
            text=f"CASE WHEN {there} THEN {prediction.text} ELSE Prediction END",
            certain=False,
            long="",
        ),
    )


def _spelled_in_json(name: str, token: str, *, exact: bool) -> _Column:
    """A column of what JSON has somewhere. Unless `exact`, some numbers are between quotes: see `literals.EXACT`."""
    text = (
        f"CASE WHEN starts_with({token}, '\"') THEN {token} ->> '$' WHEN {token} = 'true' THEN 'True' WHEN {token} = 'false' THEN 'False'"
    )
    spelled, long = token, f"(length({token}) > 15 AND regexp_matches({token}, '^-?[0-9]+$'))"
    if not exact:
        begins = literal('"' + literals.EXACT)
        long += f" OR starts_with({token}, {begins})"
        spelled = f"CASE WHEN starts_with({token}, {begins}) THEN {token}[3:-2] ELSE {token} END"
        text = text.replace("CASE", f"CASE WHEN starts_with({token}, {begins}) THEN {token}[3:-2]", 1)
    return _Column(name, spelled, f"{text} ELSE {token} END", certain=True, long=f"({long})")


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

_MEASURES = 8
_AT_A_TIME = 10 * _MEASURES
"""Expressions of one query of the sample: DuckDB takes seconds to plan hundreds."""


def _kinds(database: duckdb.DuckDBPyConnection, source: str, columns: Sequence[_Column], otherwise: str = "") -> Iterator[tuple[Kind, str]]:
    """What each column is, and its SQL type where it is of numbers. Numbers that no type holds are of the type `otherwise`, or texts.

    Some rows are looked at first: what doesn't hold there needs no look at all of them.
    """
    expressions: list[str] = []
    for column in columns:
        spelled, value = column.spelled, column.value
        number, date, truth = (repr(kind in column.may_be).lower() for kind in (Kind.NUMBER, Kind.DATE, Kind.TRUTH_VALUE))
        quoted_text = f"starts_with({spelled}, '\"')" if column.text else "true"
        ends = f"TIMESTAMP '{rules.FIRST_MOMENT}' AND TIMESTAMP '{rules.LAST_MOMENT}'"
        is_date = f"{quoted_text} AND regexp_matches({value}, {literal(rules.ISO_DATE)}) AND {_date(value)} BETWEEN {ends}"
        expressions += [
            f"count({spelled})",
            f"count({spelled}) FILTER ({number} AND {_is_number(spelled)})",
            f"count({spelled}) FILTER ({number} AND regexp_matches({spelled}, {literal(rules.WHOLE)}))",
            f"count({spelled}) FILTER ({date} AND {is_date})",
            f"count({spelled}) FILTER ({truth} AND {spelled} IN ('true', 'false', 'True', 'False'))",
            f"approx_count_distinct({spelled})",
            f"count({spelled}) FILTER ({number} AND regexp_matches({spelled}, {literal(rules.NOT_FINITE)}))",
            f"count({spelled}) FILTER ({number} AND {column.long or _has_many_digits(spelled)})",
        ]
    sampled, counts = f"{source} LIMIT {_SAMPLED}", list[Any]()
    for first in range(0, len(expressions), _AT_A_TIME):
        row_count, *some = _aggregates(database, sampled, ["count(*)", *expressions[first : first + _AT_A_TIME]])
        counts += some
    if counts and row_count == _SAMPLED:  # there may be more
        for place in range(0, len(counts), _MEASURES):
            for kind in range(place + 1, place + 5):
                expressions[kind] = expressions[kind] if counts[kind] == counts[place] else "0"
        counts = list(_aggregates(database, source, expressions))
    measured = [counts[place : place + _MEASURES] for place in range(0, len(counts), _MEASURES)]
    fractions = {
        column.list
        for column, (count, numbers, whole, *_) in zip(columns, measured, strict=True)
        if None in column.list and count and whole < numbers == count
    }
    for column, (count, numbers, whole, dates, truths, distinct, not_finite, many_digits) in zip(columns, measured, strict=True):
        if count and numbers == count and (column.certain or not_finite < count):
            is_whole = whole == count and column.list not in fractions
            type_ = _exact_type(database, source, column) or otherwise if many_digits else "BIGINT" if is_whole else "DOUBLE"
            if type_:
                yield Kind.WHOLE_NUMBER if is_whole else Kind.NUMBER, type_
                continue
        if count and dates == count:
            yield Kind.DATE, ""
        elif count and truths == count:
            yield Kind.TRUTH_VALUE, ""
        else:
            yield Kind.CATEGORY if rules.is_category(distinct, count) else Kind.TEXT, ""


def _has_many_digits(value: str) -> str:
    """Most numbers need no look at their digits: probabilities of 17 digits are as short as `0.12345678901234567`."""
    long = f"length({value}) > 15 AND (length({value}) > 19 OR NOT starts_with({value}, '0.'))"
    return f"{long} AND regexp_matches({value}, {literal(rules.MANY_DIGITS)})"


def _exact_type(database: duckdb.DuckDBPyConnection, source: str, column: _Column) -> str:
    """The SQL type that holds these numbers with all their digits, of which doubles would lose some; "" where none does."""
    value = column.spelled
    whole, fraction = f"length(regexp_extract({value}, '^-?([0-9]+)', 1))", f"length(regexp_extract({value}, '\\.([0-9]+)', 1))"
    exponent = f"coalesce(TRY_CAST(regexp_extract({value}, '[eE](.*)$', 1) AS INTEGER), 0)"
    digits, decimals, not_finite, in_bigint = _aggregates(
        database,
        source,
        [
            f"coalesce(max({whole} + greatest({exponent}, 0)), 0)",
            f"coalesce(max({fraction} + greatest(-{exponent}, 0)), 0)",
            f"count({value}) FILTER (regexp_matches({value}, {literal(rules.NOT_FINITE)}))",
            f"count(TRY_CAST({value} AS BIGINT)) = count({value})",
        ],
    )
    if not_finite or digits + decimals > rules.MOST_DIGITS:
        return ""
    return "BIGINT" if in_bigint and not decimals else f"DECIMAL({rules.MOST_DIGITS}, {decimals})"


def _is_number(value: str) -> str:
    finite = f"regexp_matches({value}, {literal(rules.NUMBER)}) AND isfinite(TRY_CAST({value} AS DOUBLE))"
    return f"({finite} OR regexp_matches({value}, {literal(rules.NOT_FINITE)}))"


def _date(value: str) -> str:
    """SQL: a date in UTC, where it says its zone."""
    zoned = f"make_timestamp(epoch_us(TRY_CAST({value} AS TIMESTAMPTZ)))"
    return f"CASE WHEN regexp_matches({value}, ':.*(Z|[+-][0-9:]+)$') THEN {zoned} ELSE TRY_CAST({value} AS TIMESTAMP) END"


def _cast(column: _Column, kind: Kind, type_: str) -> str:
    if kind is Kind.DATE:
        return _date(column.value)
    if kind is Kind.TRUTH_VALUE:
        return f"TRY_CAST({column.spelled} AS BOOLEAN)"
    return f"TRY_CAST({column.spelled} AS {type_})" if kind in NUMERIC else column.value


def _aggregates(database: duckdb.DuckDBPyConnection, source: str, expressions: Sequence[str]) -> tuple[Any, ...]:
    return database.sql(f"SELECT {', '.join(expressions)} FROM ({source})").fetchall()[0] if expressions else ()

"""A person's own condition over runs, in the words of SQL: `status = 'Failed' AND tags['season'] = 'june'`.

It may speak of the columns of a run and call functions that compute with what they are given; nothing else. So it is read first as DuckDB
reads it, and evaluated in a process of its own with limits on time and memory (`query_process`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from services.errors import SettingsError
from services.file_names import short
from services.predictions import query_process
from services.predictions.columns import literal, readable, text_array
from services.predictions.database import reason_of
from services.run_query import RUN_COLUMNS

if TYPE_CHECKING:
    import duckdb

HINT = (
    f"It can compare the columns {', '.join(RUN_COLUMNS)}; "
    "for example: status = 'Failed' AND submitted_at >= '2026-01-31' AND tags['season'] = 'june'."
)

_LONGEST = 10_000  # characters
_REFERENCES = ("model", "dataset")
_SHOWN = {
    **{column: f"replace({column}, chr(10), ', ')" for column in _REFERENCES},
    "tags": "CAST(CAST(tags AS JSON) AS MAP(VARCHAR, VARCHAR))",
    "submitted_at": "CAST(submitted_at AS TIMESTAMPTZ)",
    "duration": "CAST(duration AS DOUBLE)",
    "items_failed": "CAST(items_failed AS BIGINT)",
}
_NAMED = "string_split({0} || chr(10) || regexp_replace({0}, '(?m):[0-9]+$', '', 'g') || chr(10) || replace({0}, chr(10), ', '), chr(10))"
"""SQL: the references of one of these columns, each without its version, and all in one text as the column shows them."""
_NOW = {"current_date", "current_timestamp"}  # DuckDB reads them as names of columns
_OPERATORS = "+ - * / // % || ~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape"
_FUNCTIONS = """
abs round floor ceil ceiling trunc sign greatest least nullif ifnull coalesce isnan isfinite
lower upper lcase ucase length len strlen strip_accents trim ltrim rtrim reverse replace substring substr left right concat concat_ws
contains starts_with ends_with prefix suffix instr position strpos split_part like ilike regexp_matches regexp_full_match regexp_extract
now today current_date current_timestamp get_current_timestamp age date_trunc datetrunc date_part datepart date_diff datediff strftime
strptime year quarter month week day hour minute second dayofweek isodow dayofyear dayname monthname last_day epoch make_date make_timestamp
to_years to_quarters to_months to_weeks to_days to_hours to_minutes to_seconds to_milliseconds
map list_value map_contains map_contains_value map_keys map_values map_extract map_extract_value element_at cardinality
array_extract list_contains list_has array_contains array_has list_has_any list_has_all row
"""
_ALLOWED = frozenset(f"{_OPERATORS} {_FUNCTIONS}".split())
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "PARAMETER": "a parameter",
    "LAMBDA": "a lambda",
    "STAR": "*",
    "POSITIONAL_REFERENCE": "#",
    "DEFAULT": "DEFAULT",
}


def matching_runs(rows: Callable[[Sequence[str]], Sequence[tuple[Any, ...]]], where: str, limit: int) -> list[str]:
    """The ids of the first `limit` runs for which the condition holds, in their order; `rows` gives some of RUN_COLUMNS of each run. Times
    are ISO 8601 and in UTC where they name no zone, durations in seconds. `model = 'churn'` holds for any version, and like `IN` for any of
    several models; `dataset` likewise. Raises SettingsError("where", ...) for a condition that can't be read, that speaks of anything but
    the columns, or that exceeds a limit."""
    query, used = _query(where)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "runs.parquet"
        write = partial(_write, rows, used, file)
        found = query_process.run_query(file, file, query, limit, "where", HINT, zone="UTC", prepare=write)
    return [str(run_id) for run_id in found["id"].to_pylist()]


def check(where: str) -> None:
    """Raises SettingsError("where", ...) for anything but one expression over the columns."""
    _query(where)


def _query(where: str) -> tuple[str, list[str]]:
    """The query that finds the runs, made of what DuckDB read and `check` looked at, and the columns that it needs."""
    import duckdb

    if not where.strip():
        raise SettingsError("where", "the condition is empty", HINT)
    if len(where) > _LONGEST:
        raise SettingsError("where", f"a condition of {len(where):,} characters is too long", f"Give at most {_LONGEST:,}.")
    try:
        with closing(duckdb.connect()) as database:
            tree = _parsed(database, readable(where))
            if tree["error"]:
                raise SettingsError("where", f"this condition can't be read: {short(tree.get('error_message', ''))}", HINT)
            condition = _checked(tree)
            used = {"id"} | {str(part["column_names"][-1]).lower() for part in _parts(condition) if part["class"] == "COLUMN_REF"}
            _find_by_name(database, condition)
            (query,) = database.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()[0]
    except (duckdb.Error, ValueError, RecursionError) as error:
        raise SettingsError("where", f"this condition can't be read: {reason_of(error)}", HINT) from error
    columns = [column for column in RUN_COLUMNS if column in used]
    shown = [f"{_SHOWN.get(column, column)} AS {column}" for column in columns]
    shown += [f"{_NAMED.format(column)} AS {_named(column)}" for column in columns if column in _REFERENCES]
    return f"WITH runs AS (SELECT {', '.join(shown)} FROM numbered) {query}", columns


def _parsed(database: duckdb.DuckDBPyConnection, condition: str) -> Any:
    query = f"SELECT id FROM runs WHERE (\n{condition}\n)"
    return json.loads(database.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])


def _checked(tree: Any) -> Any:
    """The condition of a parsed query. Raises SettingsError where it is not all of it, or speaks of more than the columns."""
    statements = [statement["node"] for statement in tree["statements"]]
    bare = {"modifiers", "group_expressions", "group_sets", "having", "sample", "qualify"}
    whole = len(statements) == 1 and statements[0]["type"] == "SELECT_NODE" and not any(statements[0].get(part) for part in bare)
    if not whole or statements[0]["from_table"]["type"] != "BASE_TABLE" or not statements[0].get("where_clause"):
        raise SettingsError("where", "this is more than one condition", HINT)
    for part in _parts(statements[0]["where_clause"]):
        _check_part(part)
    return statements[0]["where_clause"]


def _find_by_name(database: duckdb.DuckDBPyConnection, condition: Any) -> None:
    """Let `model = 'churn'` and `model IN ('churn', 'fraud:2')` hold where one of the run's models is that, in any version where none is
    named; the same for datasets."""
    for part in list(_parts(condition)):
        if part["type"] == "COMPARE_IN":
            column, *values = part["children"]
        elif part["type"] in ("COMPARE_EQUAL", "COMPARE_NOTEQUAL"):
            column, *values = sorted((part["left"], part["right"]), key=lambda side: side["class"] != "COLUMN_REF")
        else:
            continue
        name = str(column.get("column_names", [""])[-1]).lower()
        if name in _REFERENCES and all(value.get("literal", {}).get("kind") == "STRING" for value in values):
            wanted = ", ".join(literal(value["literal"]["text"]) for value in values)
            negation = "NOT " if part["type"] == "COMPARE_NOTEQUAL" else ""
            new = _parsed(database, f"{negation}list_has_any({_named(name)}, [{wanted}])")["statements"][0]["node"]["where_clause"]
            part.clear()
            part.update(new)


def _named(column: str) -> str:
    return f'"{column} or its name"'


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every part of an expression that DuckDB gave a class."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_part(part: Mapping[str, Any]) -> None:
    kind, function = part["class"], str(part.get("function_name", "")).lower()
    if kind in _REFUSED:
        raise SettingsError("where", f"{_REFUSED[kind]} is not allowed in a condition", HINT)
    if kind == "FUNCTION" and (function not in _ALLOWED or part.get("schema") or part.get("catalog")):
        raise SettingsError("where", f"the function {short(function)} is not allowed in a condition", HINT)
    if kind == "COLUMN_REF":
        *table, name = [str(name).lower() for name in part["column_names"]]
        if table not in ([], ["runs"]) or name not in {*RUN_COLUMNS, *_NOW}:
            raise SettingsError("where", f"there is no column “{short('.'.join(part['column_names']))}”", HINT)


def _write(rows: Callable[[Sequence[str]], Sequence[tuple[Any, ...]]], columns: Sequence[str], file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    values = rows(columns)
    texts = ([row[number] for row in values] for number in range(len(columns)))
    arrays = [text_array([value if value is None else str(value) for value in column]) for column in texts]
    parquet.write_table(pa.table(arrays, columns), file)

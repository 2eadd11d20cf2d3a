"""A person's own condition over runs, in the words of SQL: `status = 'Failed' AND tags['season'] = 'june'`.

It may speak of the columns of a run and call functions that compute with what they are given; nothing else. So it is read first as DuckDB
reads it, and evaluated in a process of its own with limits on time and memory (`query_process`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.errors import SettingsError
from services.file_names import short
from services.predictions import query_process
from services.predictions.columns import readable
from services.predictions.database import reason_of
from services.run_query import RunSummary

COLUMNS = ("id", "name", "status", "model", "dataset", "script", "tags", "note", "submitted_at", "duration", "items_failed")
HINT = (
    f"It can compare the columns {', '.join(COLUMNS)}; "
    "for example: status = 'Failed' AND submitted_at >= '2026-01-31' AND tags['season'] = 'june'."
)

_LONGEST = 10_000  # characters
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


def matching_runs(runs: Iterable[RunSummary], where: str, limit: int) -> list[str]:
    """The ids of the first `limit` runs for which the condition holds, in their order. Times are ISO 8601 and in UTC where they name no
    zone, durations in seconds. Raises SettingsError("where", ...) for a condition that can't be read, that speaks of anything but the
    columns, or that exceeds a limit."""
    check(where)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "runs.parquet"
        _write(runs, file)
        columns = ", ".join(COLUMNS)
        query = f"SELECT id FROM (SELECT {columns} FROM numbered) AS runs WHERE (\n{readable(where)}\n)"
        rows = query_process.run_query(file, file, query, limit, "where", HINT, zone="UTC")
    return [str(run_id) for run_id in rows["id"].to_pylist()]


def check(where: str) -> None:
    """Raises SettingsError("where", ...) for anything but one expression over the columns."""
    import duckdb

    if not where.strip():
        raise SettingsError("where", "the condition is empty", HINT)
    if len(where) > _LONGEST:
        raise SettingsError("where", f"a condition of {len(where):,} characters is too long", f"Give at most {_LONGEST:,}.")
    query = f"SELECT id FROM runs WHERE (\n{readable(where)}\n)"
    try:
        with closing(duckdb.connect()) as database:
            parsed = json.loads(database.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])
    except (duckdb.Error, ValueError, RecursionError) as error:
        raise SettingsError("where", f"this condition can't be read: {reason_of(error)}", HINT) from error
    if parsed["error"]:
        raise SettingsError("where", f"this condition can't be read: {short(parsed.get('error_message', ''))}", HINT)
    statements = [statement["node"] for statement in parsed["statements"]]
    bare = {"modifiers", "group_expressions", "group_sets", "having", "sample", "qualify"}
    whole = len(statements) == 1 and statements[0]["type"] == "SELECT_NODE" and not any(statements[0].get(part) for part in bare)
    if not whole or statements[0]["from_table"]["type"] != "BASE_TABLE" or not statements[0].get("where_clause"):
        raise SettingsError("where", "this is more than one condition", HINT)
    for part in _parts(statements[0]["where_clause"]):
        _check_part(part)


def _parts(tree: Any) -> Iterator[Mapping[str, Any]]:
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
        if table not in ([], ["runs"]) or name not in {*COLUMNS, *_NOW}:
            raise SettingsError("where", f"there is no column “{short('.'.join(part['column_names']))}”", HINT)


def _write(runs: Iterable[RunSummary], file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.string() for name in COLUMNS} | {
        "tags": pa.map_(pa.string(), pa.string()), "submitted_at": pa.timestamp("ms", "UTC"), "duration": pa.float64(),
        "items_failed": pa.int64(),
    }  # fmt: skip
    values: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for run in runs:
        for name in COLUMNS:
            value = getattr(run, name)
            values[name].append(list(value.items()) if name == "tags" else value)
    table = pa.table({name: pa.array(column, types[name]) for name, column in values.items()})
    parquet.write_table(table, file)

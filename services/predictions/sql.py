"""A person's own SQL over one table: read only, in a process of its own, with limits on time, memory and the answer's size.

DuckDB's own limits leave out what one function call takes: `repeat('x', 1000000000)` is several gigabytes and can't be interrupted. So the
system limits the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import PROJECT_ROOT
from services.errors import SettingsError, WorkspaceUnavailable
from services.predictions.database import connected, explained
from services.predictions.writer import readable

if TYPE_CHECKING:
    import pyarrow

    from services.predictions.reader import Predictions

SECONDS = 10
MEMORY = "256MB"
_TO_START = 5  # seconds more, for a process to start on a busy machine
_OF_THE_PROCESS = 512 * 1024**2  # bytes more than it has when it begins: what DuckDB doesn't count
_LARGEST = 16 * 1024**2  # bytes of an answer: it is sent to a browser
_ANSWER = '"the answer"'
_HINT = "Write one SELECT over predictions; for example: SELECT Prediction, count(*) FROM predictions GROUP BY 1."
_REFUSED = 2  # exit code; what is said is on standard error


@dataclass(frozen=True)
class Answer:
    """The first rows of an answer; `cut_off` where there are more."""

    rows: pyarrow.Table
    cut_off: bool


def ask(table: Predictions, query: str, limit: int = 1000) -> Answer:
    """One SELECT over `predictions`. Raises SettingsError("sql", ...) for what is no single query, can't be answered, or takes too much."""
    import duckdb

    query = readable(query)
    with closing(duckdb.connect()) as database, explained(table.path, "sql", _HINT):
        statements = database.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SettingsError("sql", "this is no single SELECT", _HINT)
    rows = _in_a_process(table, query, limit + 1, "sql", _HINT)
    return Answer(rows.slice(0, limit), rows.num_rows > limit)


def try_condition(table: Predictions, where: str, hint: str) -> None:
    """Raises SettingsError("where", ...) for a condition over the table's rows that can't be answered, or takes too much. It must be one
    expression by itself."""
    _in_a_process(table, f"SELECT count(*) FROM numbered WHERE ({readable(where)}\n)", 1, "where", hint)


def _in_a_process(table: Predictions, query: str, limit: int, field: str, hint: str) -> pyarrow.Table:
    import pyarrow as pa

    command = [sys.executable, "-m", "services.predictions.sql"]
    asked = {"file": str(table.file.absolute()), "path": str(table.path), "query": query, "limit": limit, "seconds": SECONDS}
    asked |= {"field": field, "hint": hint}
    given = json.dumps(asked).encode("ascii")
    try:
        child = subprocess.run(command, cwd=PROJECT_ROOT, input=given, capture_output=True, timeout=SECONDS + _TO_START, check=False)
    except subprocess.TimeoutExpired as error:
        raise SettingsError(field, f"this takes longer than {SECONDS:g} seconds", "Ask for less.") from error
    if child.returncode == 0:
        return pa.ipc.open_stream(child.stdout).read_all()
    with suppress(ValueError):
        if child.returncode == _REFUSED:
            said = json.loads(child.stderr)
            raise SettingsError(said["field"], said["message"], said["hint"]) if said["field"] else WorkspaceUnavailable(**said["error"])
    if child.returncode == 1 and b"MemoryError" not in child.stderr:  # a traceback of its own: a fault of ours
        raise RuntimeError(child.stderr.decode(errors="replace"))
    raise SettingsError(field, "this takes too much memory", "Ask for less.")


def _answer(asked: dict[str, Any]) -> pyarrow.Table:
    with (
        closing(connected(Path(asked["file"]), asked["seconds"], MEMORY)) as database,
        explained(Path(asked["path"]), asked["field"], asked["hint"]),
    ):
        _limit_memory()
        database.execute(f"CREATE TEMP VIEW {_ANSWER} AS {asked['query']}")
        rows = database.sql(f"FROM {_ANSWER} LIMIT {asked['limit']:d}").to_arrow_table()
    if rows.nbytes > _LARGEST:
        raise SettingsError(asked["field"], f"the answer has more than {_LARGEST >> 20} MB", "Select fewer rows, or less of each.")
    return rows


def _limit_memory() -> None:
    """Not on Windows; macOS doesn't count all of it."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = 0
    with suppress(OSError):
        taken = int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()  # data and stacks
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = taken + _OF_THE_PROCESS
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def main() -> int:
    import pyarrow as pa

    try:
        rows = _answer(json.load(sys.stdin))
    except SettingsError as error:
        sys.stderr.write(json.dumps({"field": error.field, "message": error.message, "hint": error.hint}))
        return _REFUSED
    except WorkspaceUnavailable as error:
        sys.stderr.write(json.dumps({"field": "", "error": {"message": error.message, "hint": error.hint}}))
        return _REFUSED
    with pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as stream:
        stream.write_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

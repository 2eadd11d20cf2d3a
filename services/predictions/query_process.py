"""A person's own SQL over one table in a process of its own: read only, with limits on time, memory and the answer's size.

DuckDB's own limits leave out what one function call takes: `repeat('x', 1000000000)` is several gigabytes and can't be interrupted. So the
system limits the process. The request and a refusal are JSON, the answer an Arrow stream.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import PROJECT_ROOT, PYTHON
from services.errors import SettingsError, WorkspaceUnavailable
from services.predictions.columns import readable
from services.predictions.database import connect, translated_errors

if TYPE_CHECKING:
    import pyarrow

SECONDS = 10
MEMORY = "256MB"
_START_SECONDS = 5  # more, for a process to start on a busy machine
_PROCESS_BYTES = 512 * 1024**2  # more than it has when it begins: what DuckDB doesn't count
_MOST_ANSWER_BYTES = 16 * 1024**2  # it is sent to a browser
_ANSWER = '"the answer"'
_REFUSED = 2  # exit code; the reason is on standard error


def run_query(
    file: Path, table: Path, query: str, limit: int, field: str, hint: str, *, zone: str = "", prepare: Callable[[], None] = lambda: None
) -> pyarrow.Table:
    """The first `limit` rows of this query over the views of `database.connect(file)`; `table` is how messages call the file. `prepare`,
    which may write it, is called while the process starts.

    Raises SettingsError(field, ...) with `hint` for a query that fails or exceeds a limit, WorkspaceUnavailable for a table that can't be
    read.
    """
    command = [*PYTHON, "-m", "services.predictions.query_process"]
    request = {"file": str(file.absolute()), "table": str(table), "query": query, "limit": limit, "seconds": SECONDS, "zone": zone}
    message = json.dumps(request | {"field": field, "hint": hint}).encode("ascii")
    timeout = SECONDS + _START_SECONDS
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        try:
            prepare()
            answer, complaint = child.communicate(message, timeout)
        except subprocess.TimeoutExpired as error:
            raise SettingsError(field, f"the query takes longer than {SECONDS:g} seconds", "Narrow it.") from error
        finally:
            child.kill()
    if child.returncode == 0:
        import pyarrow as pa

        return pa.ipc.open_stream(answer).read_all()
    with suppress(ValueError):
        if child.returncode == _REFUSED:
            refusal = json.loads(complaint)
            raise SettingsError(**refusal) if refusal.get("field") else WorkspaceUnavailable(**refusal)
    if child.returncode == 1 and b"MemoryError" not in complaint:  # a traceback of its own: a fault of ours
        raise RuntimeError(complaint.decode(errors="replace"))
    raise SettingsError(field, "the query exceeded its memory limit", "Narrow it.")


def try_condition(file: Path, table: Path, where: str, hint: str) -> None:
    """Raises SettingsError("where", ...) for a condition over the table's rows that fails or exceeds a limit. It must be one expression by
    itself."""
    run_query(file, table, trial_of(where), 1, "where", hint)


def trial_of(where: str) -> str:
    """The query that tries this condition."""
    return f"SELECT count(*) FROM numbered WHERE ({readable(where)}\n)"


# ---- in the process ----------------------------------------------------------------------------------------------------------------------


def answer(request: dict[str, Any], limit_memory: Callable[[], None] = lambda: None) -> pyarrow.Table:
    """The rows that are asked for. Raises as `run_query`. `limit_memory` is called when the table is open."""
    with (
        closing(connect(Path(request["file"]), request["seconds"], MEMORY, joins=True, zone=request.get("zone", ""))) as database,
        translated_errors(Path(request["table"]), request["field"], request["hint"]),
    ):
        limit_memory()
        database.execute(f"CREATE TEMP VIEW {_ANSWER} AS {request['query']}")
        rows = database.sql(f"FROM {_ANSWER} LIMIT {request['limit']:d}").to_arrow_table()
    if rows.nbytes > _MOST_ANSWER_BYTES:
        raise SettingsError(
            request["field"], f"the answer has more than {_MOST_ANSWER_BYTES >> 20} MB", "Select fewer rows, or less of each."
        )
    return rows


def _limit_memory() -> None:
    """Not on Windows; macOS doesn't count all of it."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = 0
    with suppress(OSError):
        used = int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()  # data and stacks
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = used + _PROCESS_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> int:
    import duckdb  # noqa: F401  # loaded while the request is on its way
    import pyarrow as pa

    try:
        rows = answer(json.load(sys.stdin), _limit_memory)
    except (SettingsError, WorkspaceUnavailable) as error:
        sys.stderr.write(json.dumps(vars(error)))
        return _REFUSED
    with pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as stream:
        stream.write_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

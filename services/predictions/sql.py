"""A person's own SELECT over one table of predictions."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.errors import SettingsError
from services.predictions.columns import readable
from services.predictions.database import translated_errors
from services.predictions.query_process import run_query
from services.predictions.reader import Predictions

if TYPE_CHECKING:
    import pyarrow

_HINT = "Write one SELECT over predictions; for example: SELECT Prediction, count(*) FROM predictions GROUP BY 1."


@dataclass(frozen=True)
class Answer:
    """The first rows of an answer; `cut_off` where there are more."""

    rows: pyarrow.Table
    cut_off: bool


def ask(table: Predictions, query: str, limit: int = 1000) -> Answer:
    """The first `limit` rows of one SELECT over `predictions`. Raises SettingsError("sql", ...) for what is not a single SELECT, fails, or
    exceeds the limits of time, memory and the answer's size."""
    import duckdb

    query = readable(query)
    with closing(duckdb.connect()) as database, translated_errors(table.path, "sql", _HINT):
        statements = database.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SettingsError("sql", "only a single SELECT statement is allowed", _HINT)
    rows = run_query(table.file, table.path, query, limit + 1, "sql", _HINT)
    return Answer(rows.slice(0, limit), rows.num_rows > limit)

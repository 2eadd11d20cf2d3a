"""A person's own SQL over one table: read only, on a connection of its own, with limits on time, memory and rows."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.errors import SettingsError
from services.prediction_database import connected, explained
from services.prediction_table import readable

if TYPE_CHECKING:
    import pyarrow

    from services.predictions import Predictions

SECONDS = 10
MEMORY = "256MB"
_ANSWER = '"the answer"'


@dataclass(frozen=True)
class Answer:
    """The first rows of an answer; `cut_off` where there are more."""

    rows: pyarrow.Table
    cut_off: bool


def ask(table: Predictions, query: str, limit: int = 1000) -> Answer:
    """One SELECT over `predictions`. Raises SettingsError("sql", ...) for what is no single query, can't be answered, or takes too much."""
    import duckdb

    query = readable(query)
    hint = "Write one SELECT over predictions; for example: SELECT Prediction, count(*) FROM predictions GROUP BY 1."
    with closing(connected(table.file, SECONDS, MEMORY)) as database, explained(table.path, "sql", hint):
        statements = database.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SettingsError("sql", "this is no single SELECT", hint)
        database.execute(f"CREATE TEMP VIEW {_ANSWER} AS {query}")
        rows = database.sql(f"FROM {_ANSWER} LIMIT {limit + 1:d}").to_arrow_table()
    return Answer(rows.slice(0, limit), rows.num_rows > limit)

"""A person's own SQL: one SELECT over the table, which reaches nothing else and ends in time."""

import sys

import pytest

from services.errors import SettingsError
from services.predictions import query_process
from services.predictions.filters import Filter
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.writer import make_table

pytestmark = pytest.mark.slow  # each asks a process of its own


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    names = [f"{number}.png" for number in range(3000)]
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    make_table([ScoredMiniBatch(0, names, "/root", [f"{name}: {int(name[:-4]) % 3}" for name in names], "w", 1, 0.1, "")], path)
    return Predictions(path)


def test_a_select_is_answered_up_to_a_number_of_rows(table):
    answer = table.ask("SELECT Prediction, count(*) AS n FROM predictions GROUP BY 1 ORDER BY 1;  -- all")
    assert answer.rows.to_pylist() == [{"Prediction": str(number), "n": 1000} for number in range(3)]
    assert not answer.cut_off
    answer = table.ask("FROM predictions", limit=10)
    assert (answer.rows.num_rows, answer.cut_off) == (10, True)
    assert table.ask("WITH few AS (FROM predictions LIMIT 2) SELECT * FROM few").rows.num_rows == 2


NOT_ONE_SELECT = [
    "", ";", "--", "SELECT", "SELECT 1; SELECT 2", "DROP VIEW predictions", "DELETE FROM predictions", "CREATE TABLE t AS FROM predictions",
    "COPY predictions TO '{folder}/made.csv'", "ATTACH '{folder}/made.db'", "INSTALL httpfs", "LOAD json", "SET memory_limit = '100GB'",
    "SET enable_external_access = true", "PRAGMA database_list", "EXPORT DATABASE '{folder}/made'", "CALL pragma_version()",
    "EXPLAIN ANALYZE SELECT 1", "\x00",
]  # fmt: skip
FAILS_IN_ITS_PROCESS = ["SELECT * FROM read_csv('{folder}/secret.csv')", "SELECT nothing FROM predictions", "\udcff"]
FAILS_IN_ANY = [
    "SELECT * FROM '{folder}/secret.csv'", "SELECT * FROM read_text('{folder}/secret.csv')", "SELECT * FROM glob('{folder}/*')",
    "SELECT getenv('HOME')", "SELECT * FROM read_parquet('http://127.0.0.1:1/x')", "SELECT ?", "SELECT $1",
    "SELECT CAST(File AS INTEGER) FROM predictions", 'FROM "the answer"',
]  # fmt: skip


def asked_here(table, query):
    """The same as `table.ask` asks in a process of its own, which takes a while to start."""
    about = {"file": str(table.file), "table": str(table.path), "seconds": query_process.SECONDS, "limit": 1000}
    return query_process.answer(about | {"query": query, "field": "sql", "hint": ""})


@pytest.mark.parametrize(
    ("query", "ask"),
    [
        *((query, Predictions.ask) for query in NOT_ONE_SELECT + FAILS_IN_ITS_PROCESS),
        *((query, asked_here) for query in FAILS_IN_ITS_PROCESS[:1] + FAILS_IN_ANY),
    ],
)
def test_anything_else_is_refused_at_its_field_and_does_nothing(table, tmp_path, query, ask):
    (tmp_path / "secret.csv").write_text("secret\n1\n", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SettingsError) as refused:
        ask(table, query.replace("{folder}", str(tmp_path)))
    assert refused.value.field == "sql"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert table.count() == 3000


def test_a_query_that_takes_too_much_time_or_memory_is_ended(table, monkeypatch):
    with pytest.raises(SettingsError, match="exceeded its memory limit"):
        table.ask("SELECT len(list(range)) FROM range(1000000000)")
    monkeypatch.setattr(query_process, "SECONDS", 0.2)
    with pytest.raises(SettingsError, match="exceeded its time limit"):
        table.ask("SELECT count(*) FROM range(100000000000) a, range(100000) b")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system doesn't limit all of a process's memory")
@pytest.mark.parametrize("much", ["range(1000000000)", "repeat(File, 500000000)"])
def test_one_call_that_takes_gigabytes_takes_none_here(table, much):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SettingsError, match=r"memory|Memory") as refused:
        table.ask(f"SELECT length({much}) FROM predictions")
    assert refused.value.field == "sql"
    with pytest.raises(SettingsError, match=r"memory|Memory") as refused:
        table.count(Filter(where=f"length({much}) > 1"))
    assert refused.value.field == "where"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_one_call_that_can_not_be_interrupted_is_ended_with_its_process(table, monkeypatch):
    monkeypatch.setattr(query_process, "SECONDS", 0.2)
    monkeypatch.setattr(query_process, "_START_SECONDS", 2)
    with pytest.raises(SettingsError, match=r"longer than 0\.2 seconds"):
        table.ask("SELECT lpad('x', 2000000000, 'y')")


def test_an_answer_too_large_to_be_shown_is_refused(table):
    with pytest.raises(SettingsError, match="more than 16 MB"):
        table.ask("SELECT repeat(File, 4000) FROM predictions")

"""A person's condition over runs: what it may speak of, and that it reaches nothing else."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from services import PROJECT_ROOT
from services.errors import SettingsError
from services.predictions import query_process
from services.predictions.run_conditions import check, matching_runs

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def run(number, **values):
    given = {"id": f"run-{number}", "name": f"june's {number}", "status": "Completed", "model": "churn:1", "dataset": "orders:1\nmore:2"}
    given |= {"script": "score.py", "tags": "{}", "note": "", "duration": 60.0 * number, "items_failed": number}
    return given | {"submitted_at": (START + timedelta(days=number)).isoformat(timespec="milliseconds")} | values


def rows_of(runs):
    return lambda columns: [tuple(run[column] for column in columns) for run in runs]


RUNS = rows_of(
    [
        run(3, status="Failed", tags=json.dumps({"season": "june", "team's": 'a"b'}), model="churn:2\nfraud-old:12"),
        run(2, note="late; \ud800".replace("\ud800", "�"), tags='{"season": "may"}'),
        run(1, duration=None, items_failed=None, name="=cmd()", model=""),
    ]
)


@pytest.mark.slow  # each asks a process of its own
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("tags['season'] = 'june'", [3]),
        ("tags['team''s'] = 'a\"b' -- a comment", [3]),
        ("status IN ('Failed', 'NotResponding') OR name = '=cmd()'", [3, 1]),
        ("submitted_at >= '2026-02-02T12:00:00Z' AND submitted_at < '2026-02-03T14:00:00+02:00'", [2]),
        ("duration > 100 AND items_failed < 3", [2]),
        ("duration IS NULL", [1]),
        ("submitted_at::DATE = '2026-02-03' OR date_part('day', submitted_at) = 1", [3, 1]),
        ("note ILIKE '%LATE;%' AND NOT contains(dataset, 'x')", [2]),
        ("submitted_at > now() - INTERVAL 100 YEARS AND regexp_matches(id, '[12]$')", [2, 1]),
        ("lower(runs.model) LIKE 'churn:%' AND script = 'score.py' AND map_contains(tags, 'season')", [3, 2]),
        ("model = 'churn'", [3, 2]),
        ("'churn:1' = runs.Model", [2]),
        ("model = 'churn:2, fraud-old:12'", [3]),
        ("model IN ('fraud-old', 'churn:1')", [3, 2]),
        ("model NOT IN ('fraud', 'churn:1')", [3, 1]),
        ("model <> 'churn' OR model = 'fraud-old:12'", [3, 1]),
        ("model = ''", [1]),
        ("dataset = 'more' AND dataset = 'orders:1' AND NOT dataset = 'orders:2'", [3, 2, 1]),
        ("NOT (CASE dataset WHEN 'more' THEN false ELSE true END) AND model || '' = 'churn:1'", [2]),
    ],
)
def test_a_condition_chooses_runs(where, expected):
    assert matching_runs(RUNS, where, 10) == [f"run-{number}" for number in expected]


def test_only_the_columns_that_a_condition_speaks_of_are_asked_for():
    asked = []
    matching_runs(lambda columns: asked.append(columns) or [], "Status = 'Failed' OR runs.duration > 3", 2)
    assert asked == [["id", "status", "duration"]]


def test_the_conditions_in_the_documentation_are_read():
    conditions = re.findall(r'--where "([^"]+)"', (PROJECT_ROOT / "docs" / "runs.md").read_text(encoding="utf-8"))
    assert len(conditions) == 2
    for condition in conditions:
        check(condition)


@pytest.mark.slow
def test_no_more_runs_than_the_limit_are_found_the_first_ones():
    assert matching_runs(RUNS, "true", 2) == ["run-3", "run-2"]
    assert matching_runs(rows_of([]), "true", 2) == []


HOSTILE = [
    "", "  ", ";", ")", "(", "1=1; DROP TABLE runs", "1=1); SELECT (1", "1=1) UNION SELECT name FROM numbered WHERE (1=1", "true LIMIT 1",
    "1=1) LIMIT (1", "1=1) GROUP BY (id", "1=1) HAVING (count(*) > 0", "1=1) QUALIFY (row_number() OVER () = 1", "1=1) USING SAMPLE (1",
    "1=1) ORDER BY (id", "id = (SELECT 1)", "id IN (SELECT id FROM numbered)", "EXISTS (FROM read_text('/etc/passwd'))",
    "id = ANY (SELECT value FROM duckdb_settings())", "current_setting('memory_limit') = ''", "getenv('HOME') <> ''",
    "getvariable('x') = 1", '"model or its name" IS NULL',
    "current_user = 'x'", "current_database() = 'memory'", "version() = ''", "read_text('/etc/passwd') = ''", "glob('/*') = ''",
    "query('SELECT 1') = 1", "query_table('runs') = 1", "file_row_number = 0", "numbered.id = 'x'", "main.runs.id = 'x'",
    "main.lower(id) = 'x'", "request = ''", "$1 = 1", "? = 1", "COLUMNS(*) = 1", "count(*) > 1", "row_number() OVER () = 1",
    "list_transform([1], x -> x) = [1]", "repeat('x', 1000000000) = ''", "range(1000000000) = []", "lpad('x', 1000000000, 'y') = ''",
    "sha256(repeat('x', 9)) = ''", "nextval('s') = 1", "pg_sleep(100)", "add_parquet_key('k', 'v')", "1=1 /*", "'", '"', "\x00", "name = '",
    "x" * 20_000, "(" * 5_000 + "1=1" + ")" * 5_000, "NOT " * 4_000 + "true", "\udcff = 1", "DELETE FROM runs", "SELECT 1",
    "PRAGMA version",
    "SET x = 1", "COPY runs TO '/tmp/x'", "EXPLAIN SELECT 1",
]  # fmt: skip


@pytest.mark.parametrize("where", HOSTILE, ids=lambda where: where[:40])
def test_anything_but_a_condition_over_the_columns_is_refused(where):
    with pytest.raises(SettingsError) as error:
        check(where)
    assert error.value.field == "where"
    assert "id, name, status" in error.value.hint or "characters" in error.value.message


@pytest.mark.slow
@pytest.mark.parametrize(("where", "message"), [("items_failed = 'many'", "many"), ("ATTACH 'x'", "failed"), ("tags > 1", "failed")])
def test_a_condition_that_does_not_fit_the_columns_says_so(where, message):
    with pytest.raises(SettingsError, match=message) as error:
        matching_runs(RUNS, where, 10)
    assert "id, name, status" in error.value.hint


@pytest.mark.slow
def test_endless_patterns_are_ended(monkeypatch):
    monkeypatch.setattr(query_process, "SECONDS", 1)
    endless = " OR ".join(f"regexp_matches(concat(note, note, note), '(.*)(.*)(.*)(.*)x{{{900 + number}}}y$')" for number in range(99))
    begin = time.monotonic()
    with pytest.raises(SettingsError, match=r"(time|memory) limit|longer"):
        matching_runs(rows_of([run(number, note="x" * 9_999) for number in range(2_000)]), endless, 10)
    assert time.monotonic() - begin < 30

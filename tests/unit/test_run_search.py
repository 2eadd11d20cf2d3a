"""Searching runs in the registry: what is found is what plain Python would find, and no request is read for it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import Metadata, ResourceKind, Run, RunRequest, RunStatus, utc_now
from services.errors import NotFound, SettingsError
from services.local.run_folder import LocalRunFolder
from services.run_query import RunQuery
from services.storage import run_search
from services.storage.runs import StoredRuns
from services.storage.schema import SCHEMA
from services.storage.serialization import to_json
from services.storage.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


@pytest.fixture
def runs(tmp_path):
    return StoredRuns(tmp_path, Store(tmp_path), LocalRunFolder)


def insert(runs, run_id, *, models=("m:1",), datasets=("d:1",), name="", said=None, **columns):
    """A run as its own process leaves it in the registry; by default it completed."""
    submitted_at = columns.pop("submitted_at", utc_now())
    store = runs._store
    store.insert_run(run_id, RunRequest(models, datasets, "/scripts/score.py", name=name), 10, 1, submitted_at=submitted_at)
    store.update_run(run_id, **{"status": RunStatus.COMPLETED, "started_at": submitted_at, "ended_at": submitted_at} | columns)
    if said:
        store.change_metadata(ResourceKind.RUN, run_id, lambda _: said)


def found(runs, **query):
    page = runs.search(RunQuery(**query))
    assert page.total == len(page.runs)
    return [run.id for run in page.runs]


# ---- what is found is what plain Python finds ----------------------------------------------------------------------------------------

texts = st.text(st.sampled_from("aAßsé:,\"'% _\\\n=中"), max_size=5)
tags = st.dictionaries(st.sampled_from(["team", 'te"am', "t'", "a"]), st.sampled_from(["x", 'x"', "", 'a, "team": "x"']), max_size=2)
references = st.sampled_from(["m:1", "m:2", "m-large:1", "other:1"])
moments = st.integers(0, 5).map(lambda days: START + timedelta(days=days))
metadata = st.builds(Metadata, name=texts, note=texts, tags=tags, pinned=st.booleans(), archived=st.booleans())
stored_runs = st.fixed_dictionaries({
    "models": st.lists(references, max_size=2).map(tuple), "datasets": st.lists(references, min_size=1, max_size=2).map(tuple),
    "name": texts, "said": metadata, "status": st.sampled_from(ENDED), "submitted_at": moments,
    "items_failed": st.none() | st.integers(0, 3), "started_at": st.none() | st.just(START), "ended_at": moments,
})  # fmt: skip
queries = st.builds(
    RunQuery, text=texts, statuses=st.lists(st.sampled_from(ENDED), max_size=2, unique=True).map(tuple),
    model=st.sampled_from(["", "m", "m:1", "other", "m'"]), dataset=st.sampled_from(["", "m", "m:2"]), tags=tags,
    since=st.none() | moments, until=st.none() | moments, archived=st.booleans(), sort=st.sampled_from(RunQuery.SORTS),
    descending=st.booleans(), first=st.integers(0, 3), count=st.integers(0, 8),
)  # fmt: skip


def matches(run: Run, query: RunQuery) -> bool:
    said, request = run.metadata, run.request
    searched = [run.title, run.id, *request.models, *request.datasets, request.script_name, said.note]
    searched = [" ".join(searched[0].split()), *searched[1:], *(f"{key}={value}" for key, value in said.tags.items())]
    has = [(query.model, request.models), (query.dataset, request.datasets)]
    return (
        (query.archived or not said.archived)
        and all(any(word.casefold() in text.casefold() for text in searched) for word in query.text.split())
        and all(not name or any(one == name or one.partition(":")[0] == name for one in there) for name, there in has)
        and all(key in said.tags and value in ("", said.tags[key]) for key, value in query.tags.items())
        and (query.since is None or run.submitted_at >= query.since)
        and (query.until is None or run.submitted_at < query.until)
    )


def in_order(runs: list[Run], query: RunQuery) -> list[Run]:
    def key(run):
        values = {
            "submitted_at": run.submitted_at, "name": " ".join(run.title.split()).casefold(), "status": run.status,
            "model": "\n".join(run.request.models) or None, "dataset": "\n".join(run.request.datasets), "script": "score.py",
            "duration": None if run.started_at is None else round((run.ended_at - run.started_at).total_seconds()), "items_total": 10,
            "items_succeeded": 0, "items_failed": run.items_failed,
        }  # fmt: skip
        return values[query.sort]

    by_submission = query.sort == "submitted_at"
    newest = sorted(runs, key=lambda run: (run.submitted_at, run.id), reverse=query.descending or not by_submission)
    if not by_submission:
        with_value = sorted((run for run in newest if key(run) is not None), key=key, reverse=query.descending)
        newest = [*with_value, *(run for run in newest if key(run) is None)]
    return sorted(newest, key=lambda run: not run.metadata.pinned)


@given(stored=st.lists(stored_runs, max_size=5), asked=st.lists(queries, min_size=1, max_size=4))
def test_a_search_finds_what_plain_python_finds(tmp_path_factory, stored, asked):
    home = tmp_path_factory.mktemp("home")
    runs = StoredRuns(home, Store(home), LocalRunFolder)
    for number, values in enumerate(stored):
        insert(runs, f"run-{number}", **values)
    all_runs = runs.latest()
    for query in asked:
        page = runs.search(query)
        but_status = [run for run in all_runs if matches(run, query)]
        expected = in_order([run for run in but_status if run.status in (query.statuses or ENDED)], query)
        assert [run.id for run in page.runs] == [run.id for run in expected][query.first : query.first + query.count]
        assert page.total == len(expected)
        assert page.statuses == {status: count for status in ENDED if (count := sum(run.status is status for run in but_status))}
        assert list(page.runs) == [runs.get(run.id) for run in page.runs]


# ---- one rule each ---------------------------------------------------------------------------------------------------------------------


def test_the_default_is_the_newest_first_and_no_archived_one(runs):
    insert(runs, "r1", said=Metadata(archived=True))
    insert(runs, "r2")
    insert(runs, "r3")
    assert found(runs) == ["r3", "r2"]
    assert found(runs, archived=True) == ["r3", "r2", "r1"]


def test_a_pinned_run_comes_first_in_any_order(runs):
    insert(runs, "r1", said=Metadata(pinned=True), items_failed=1)
    insert(runs, "r2", items_failed=2)
    insert(runs, "r3", items_failed=3)
    assert found(runs) == ["r1", "r3", "r2"]
    assert found(runs, sort="items_failed", descending=False) == ["r1", "r2", "r3"]


def test_a_renamed_run_is_found_by_its_new_name_only(runs):
    insert(runs, "r1", name="first", said=Metadata(name="Größter"))
    assert found(runs, text="GRÖSSTER") == ["r1"]
    assert found(runs, text="first") == []
    assert runs.get("r1").title == "Größter"
    assert runs.latest()[0].title == "Größter"


def test_a_page_is_a_part_of_all_that_match(runs):
    for number in range(7):
        insert(runs, f"r{number}")
    page = runs.search(RunQuery(first=5, count=3))
    assert ([run.id for run in page.runs], page.total) == (["r1", "r0"], 7)


def test_an_unknown_column_to_sort_by_is_refused():
    with pytest.raises(SettingsError, match="request") as error:
        RunQuery(sort="request")
    assert error.value.field == "sort"


def test_a_run_without_a_runner_is_found_as_it_is_shown(runs):
    folder = LocalRunFolder(runs._home, "gone").path
    folder.mkdir(parents=True)
    old = utc_now() - timedelta(minutes=5)
    for run_id in ("gone", "ended"):
        insert(runs, run_id)
    runs._store.update_run("gone", status=RunStatus.RUNNING, ended_at=None, heartbeat_at=old, started_at=old)
    page = runs.search(RunQuery(statuses=(RunStatus.NOT_RESPONDING,)))
    assert [(run.id, run.status) for run in page.runs] == [("gone", RunStatus.NOT_RESPONDING)]
    assert list(page.runs) == [runs.get("gone")]
    assert "is gone" in str(page.runs[0].error)
    assert found(runs, statuses=(RunStatus.RUNNING,)) == []
    assert runs.search(RunQuery()).statuses == {RunStatus.NOT_RESPONDING: 1, RunStatus.COMPLETED: 1}


def test_a_run_with_a_runner_is_found_as_running(runs):
    insert(runs, "busy")
    folder = LocalRunFolder(runs._home, "busy")
    folder.path.mkdir(parents=True)
    runs._store.update_run("busy", status=RunStatus.RUNNING, ended_at=None, heartbeat_at=utc_now())
    with folder.locked(5):
        assert found(runs, statuses=(RunStatus.RUNNING,)) == ["busy"]
    runs._store.request_cancel("busy")
    with folder.locked(5):
        assert found(runs, statuses=(RunStatus.RUNNING,)) == []
        assert found(runs, statuses=(RunStatus.CANCEL_REQUESTED,)) == ["busy"]


def test_the_choices_are_what_the_runs_have(runs):
    insert(runs, "r1", models=("b:1", "a:2"), said=Metadata(tags={"team": "x"}))
    insert(runs, "r2", models=(), datasets=("d:2",), said=Metadata(tags={"team": "y"}))
    choices = runs.choices()
    assert (choices.models, choices.datasets) == (("a:2", "b:1"), ("d:1", "d:2"))
    assert choices.tags == (("team", "x"), ("team", "y"))


def test_what_people_say_of_a_run_is_kept_with_it(runs):
    insert(runs, "r1")
    said = Metadata("new", "a\nnote", {"k": "v"}, True, True)
    assert runs._store.change_metadata(ResourceKind.RUN, "r1", lambda _: said) == said
    assert runs._store.metadata(ResourceKind.RUN) == {"r1": said}
    assert runs.get("r1").metadata == said
    with pytest.raises(NotFound, match="ghost"):
        runs._store.change_metadata(ResourceKind.RUN, "ghost", lambda _: said)


def test_runs_of_an_old_registry_are_found(tmp_path):
    with sqlite3.connect(tmp_path / "studio.db", isolation_level=None) as connection:
        before = next(number for number, step in enumerate(SCHEMA) if "runs ADD COLUMN name" in str(step))
        for step in SCHEMA[:before]:
            connection.execute(step)
        connection.execute(f"PRAGMA user_version = {before}")
        named = RunRequest(("k:1", "n:2"), ("e:1", "ü:3"), "/s/ Score, it.py", name="  June\n\ud800 'x'  ", side_inputs={"a": "s:1"})
        requests = {"r1": to_json(RunRequest(("m:1",), ("d:1",), "/s/score.py", environment="e:1")), "r2": json.dumps({"nothing": 1})}
        requests |= {"r3": to_json(named), "r4": "[]"}
        for run_id, request in requests.items():
            at = utc_now().isoformat(timespec="milliseconds")
            columns = "(id, request, status, submitted_at) VALUES (?, ?, 'Completed', ?)"
            connection.execute(f"INSERT INTO runs {columns}", (run_id, request, at))
    store = Store(tmp_path)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM runs WHERE id IN ('r2', 'r4')")  # no list could show them
        columns = ", ".join(run_search.search_columns("r3", named, Metadata()))
        assert connection.execute(f"SELECT {columns} FROM runs WHERE id = 'r3'").fetchone() == tuple(
            run_search.search_columns("r3", named, Metadata()).values()
        )
    runs = StoredRuns(tmp_path, store, LocalRunFolder)
    assert found(runs, text="SCORE m:1", model="m", dataset="d:1") == ["r1"]
    assert list(runs._store.environments_used()) == ["e:1"]


def test_no_search_reads_the_requests(runs):
    insert(runs, "r1")
    plans = []
    connect = sqlite3.connect(runs._store.path)
    for sort in RunQuery.SORTS:
        query = RunQuery(text="a", model="m", dataset="d", tags={"k": "v"}, since=START, until=START, sort=sort)
        matching, values = run_search.condition(query)
        connect.execute("CREATE TEMP TABLE IF NOT EXISTS live (id TEXT PRIMARY KEY, now TEXT, seconds REAL)")
        select = f"SELECT rowid FROM runs INDEXED BY runs_searched WHERE {matching} ORDER BY {run_search.order(query)}"
        plan = connect.execute(f"EXPLAIN QUERY PLAN {select}", {name: str(value) for name, value in values.items()}).fetchall()
        plans.append(" ".join(row[3] for row in plan))
    connect.close()
    assert all("USING COVERING INDEX runs_searched" in plan for plan in plans)

"""The registry and the journal: versions, approvals, runs, attempts."""

import contextlib
import hashlib
import sqlite3
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.domain import Environment, Metadata, Model, ResourceKind, RunRequest, RunStatus, utc_now
from services.errors import NotFound, SettingsError, WorkspaceUnavailable
from services.storage.journal import Attempt, AttemptStatus, Journal
from services.storage.schema import SCHEMA
from services.storage.serialization import to_json
from services.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def add_model(store, name="m", sha256="abc"):
    return store.add(
        Model, name, lambda version: Model(name, version, f"/{version}", 1, sha256, "pickle", utc_now(), imports=("os.system",))
    )


def test_versions_count_up_for_each_name(store):
    assert [add_model(store).version, add_model(store).version, add_model(store, "n").version] == [1, 2, 1]


def test_versions_are_not_given_twice_when_many_register_at_once(store):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: add_model(Store(store.path.parent)).version, range(24)))
    assert sorted(versions) == list(range(1, 25))


def test_of_what_was_registered_in_one_moment_the_last_is_the_newest(store):
    moment = utc_now()
    for name in ("b", "a", "c"):
        store.add(Model, name, lambda version, name=name: Model(name, version, "/", 1, "abc", "pickle", moment))
    assert [model.name for model in store.all(Model)] == ["c", "a", "b"]


def test_a_failed_registration_takes_no_version(store):
    def fail(version):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.add(Model, "m", fail)
    assert add_model(store).version == 1


def test_a_name_without_a_version_means_the_latest(store):
    add_model(store)
    add_model(store)
    assert store.get(Model, "m", None).version == 2
    assert store.get(Model, "m", 1).version == 1


def test_two_names_that_differ_in_case_only_are_refused(store):
    add_model(store, "Model")
    with pytest.raises(SettingsError, match="case"):
        add_model(store, "model")


def test_what_is_not_there_is_said_by_name(store):
    with pytest.raises(NotFound, match="ghost:7"):
        store.get(Model, "ghost", 7)
    with pytest.raises(NotFound, match="run-x"):
        store.run("run-x")


def test_an_approval_is_of_the_content_not_of_the_name(store):
    add_model(store, "m", "aaa")
    add_model(store, "n", "bbb")
    store.approve("aaa")
    assert {model.name: model.approved for model in store.all(Model)} == {"m": True, "n": False}


def test_the_same_submission_makes_one_run(store):
    request = RunRequest((), ("d:1",), "/x.py", submission_id="click")
    assert store.insert_run("r1", request, 10, 1).id == "r1"
    assert store.insert_run("r2", request, 10, 1).id == "r1"
    assert len(store.runs(10)) == 1


def test_runs_without_a_submission_id_are_never_taken_for_one(store):
    request = RunRequest((), ("d:1",), "/x.py")
    store.insert_run("r1", request, 1, 1)
    store.insert_run("r2", request, 1, 1)
    assert [run.id for run in store.runs(10)] == ["r2", "r1"]


def test_a_run_whose_cancel_was_asked_for_says_so_until_it_ends(store):
    store.insert_run("r", RunRequest((), ("d:1",), "/x.py"), 1, 1)
    store.update_run("r", status=RunStatus.RUNNING)
    store.request_cancel("r")
    assert store.run("r").status is RunStatus.CANCEL_REQUESTED
    store.update_run("r", status=RunStatus.CANCELED)
    assert store.run("r").status is RunStatus.CANCELED


def test_a_registry_that_is_no_database_is_out_of_reach(tmp_path):
    (tmp_path / "studio.db").write_text("not a database, but long enough to be taken for a damaged one" * 20)
    with pytest.raises(WorkspaceUnavailable, match=r"studio\.db"):
        Store(tmp_path)


def attempt(mini_batch, status=AttemptStatus.RUN_DONE, *, final=True, end=0, succeeded=5):
    return Attempt(mini_batch, 1, 0, 0, 0.0, 0.1, 0.1, 5, succeeded, 5 - succeeded, status, final, 0, end)


def test_the_journal_sums_what_is_settled(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        journal.add([attempt(0, end=10), attempt(2, AttemptStatus.RUN_EXCEPTION, final=False, succeeded=0, end=10)])
        journal.add([attempt(3, AttemptStatus.RUN_EXCEPTION, succeeded=0, end=10)])
        totals = journal.totals()
        assert (totals.mini_batches_done, totals.mini_batches_failed, totals.items_succeeded, totals.items_failed) == (2, 1, 5, 5)
        assert totals.output_end == 10
        assert list(journal.settled()) == [1, 0, 0, 1]
        assert journal.tries() == {2: 1}


def test_rows_that_vanished_unsettle_their_mini_batches(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        journal.add([attempt(0, end=10), attempt(1, end=20), attempt(2, end=30)])
        journal.forget_after(20)
        assert list(journal.settled()) == [1, 1]


def test_failed_mini_batches_can_be_reopened_and_keep_their_history(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        journal.add([attempt(0), attempt(1, AttemptStatus.RUN_TIMEOUT, succeeded=0)])
        journal.reopen_failed()
        assert list(journal.settled()) == [1]
        assert len(list(journal.attempts())) == 2


def test_attempts_are_read_in_the_order_of_their_mini_batches(tmp_path):
    ends = {3: bytes(8), 0: bytes(200_000), 2: b"", 1: bytes(70_000)}
    with Journal(tmp_path, writable=True) as journal:
        journal.add(attempt(index)._replace(row_ends=of) for index, of in ends.items())
        read = list(journal.attempts(final_only=True, order="mini_batch"))
        assert [(one.mini_batch, one.row_ends) for one in read] == sorted(ends.items())


def test_many_failures_are_read_a_few_at_a_time(tmp_path):
    failed = attempt(0, AttemptStatus.RUN_TIMEOUT, succeeded=0)
    with Journal(tmp_path, writable=True) as journal:
        journal.add(failed._replace(mini_batch=index, error="x" * 4_000) for index in range(5_000))  # 20 MB
        tracemalloc.start()
        try:
            assert sum(1 for _ in journal.attempts(order="mini_batch")) == 5_000
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()


def test_a_journal_can_be_read_while_it_is_written(tmp_path):
    with Journal(tmp_path, writable=True) as writer, Journal(tmp_path) as reader:
        writer.add([attempt(0)])
        assert reader.totals().mini_batches_done == 1


def test_a_registry_of_an_earlier_version_is_migrated(tmp_path):
    with sqlite3.connect(tmp_path / "studio.db") as first_version:
        for statement in SCHEMA[:4]:
            first_version.execute(statement)
    first_version.execute(
        "INSERT INTO runs (id, request, status, submitted_at) VALUES (?, ?, ?, ?)",
        ("run-1", to_json(RunRequest((), ("d:1",), "/s.py")), "Completed", "2025-01-01T00:00:00+00:00"),
    )
    first_version.commit()
    first_version.close()
    store = Store(tmp_path)
    assert [run.id for run in store.runs(10)] == ["run-1"]
    assert store.all(Environment) == []
    assert [run.id for run in Store(tmp_path).runs(10)] == ["run-1"]


def test_what_people_say_of_a_thing_is_kept_until_it_is_forgotten(store):
    def tagged(old):
        return replace(old, tags={**old.tags, "season": "\ud800"}, pinned=True)

    store.insert_run("run-1", RunRequest((), ("d:1",), "/x.py"), 1, 1)
    assert store.metadata(ResourceKind.RUN) == {}
    store.change_metadata(ResourceKind.RUN, "run-1", tagged)
    store.change_metadata(ResourceKind.RUN, "run-1", lambda old: replace(old, note="late"))
    assert store.metadata(ResourceKind.RUN, "run-1") == {"run-1": Metadata(note="late", tags={"season": r"\ud800"}, pinned=True)}
    assert store.metadata(ResourceKind.MODEL, "run-1") == {}
    store.forget_metadata(ResourceKind.RUN, "run-1")
    assert store.metadata(ResourceKind.RUN) == {}


def test_many_may_open_a_new_registry_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        assert [store.runs(1) for store in pool.map(lambda _: Store(tmp_path), range(24))] == [[]] * 24


# ---- what runs name ----------------------------------------------------------------------------------------------------------------------


def test_runs_are_found_by_what_they_name(tmp_path):
    store = Store(tmp_path)
    for number, request in enumerate(
        (
            RunRequest(("m:1",), ("d:1", "d:2"), "/s.py", side_inputs={"lookup": "x:1", "same": "d:1"}, environment="e:1"),
            RunRequest(("m:1", "n:1"), ("d:2",), "/s.py", rerun_of="run-0"),
            RunRequest((), ("=cmd' OR 1:1",), "/s.py"),
        )
    ):
        store.insert_run(f"run-{number}", request, 1, 1)

    def found(kind: ResourceKind, reference: str) -> tuple[list[str], int]:
        runs, count = store.runs_linked(kind, reference, 10)
        return [run.id for run in runs], count

    assert found(ResourceKind.MODEL, "m:1") == (["run-1", "run-0"], 2)
    assert found(ResourceKind.DATASET, "d:1") == (["run-0"], 1)
    assert found(ResourceKind.DATASET, "x:1") == (["run-0"], 1)
    assert found(ResourceKind.DATASET, "=cmd' OR 1:1") == (["run-2"], 1)
    assert found(ResourceKind.ENVIRONMENT, "e:1") == (["run-0"], 1)
    assert found(ResourceKind.RUN, "run-0") == (["run-1"], 1)
    assert found(ResourceKind.MODEL, "d:1") == ([], 0)
    assert len(store.runs_linked(ResourceKind.MODEL, "m:1", 1)[0]) == 1
    assert store.linked_to(ResourceKind.MODEL, "m:1", ResourceKind.DATASET, 10) == {"d:2": 2, "d:1": 1}
    assert store.linked_to(ResourceKind.DATASET, "d:2", ResourceKind.MODEL, 10) == {"m:1": 2, "n:1": 1}
    assert store.linked_to(ResourceKind.MODEL, "m:1", ResourceKind.DATASET, 1) == {"d:2": 1}


def test_a_run_that_reused_another_or_is_gone_is_linked_so(tmp_path):
    store = Store(tmp_path)
    request = RunRequest(("m:1",), ("d:1",), "/s.py")
    store.insert_run("run-1", request, 1, 1, reused_from="run-0")
    store.insert_run("run-2", request, 1, 1)
    store.update_run("run-2", reused_from="run-0")
    assert [run.id for run in store.runs_linked(ResourceKind.RUN, "run-0", 10)[0]] == ["run-2", "run-1"]
    store._execute("DELETE FROM runs WHERE id = 'run-1'")
    assert store.runs_linked(ResourceKind.RUN, "run-0", 10)[1] == 1
    assert store.runs_linked(ResourceKind.MODEL, "m:1", 10)[1] == 1


def test_no_step_that_a_registry_has_had_is_ever_changed():
    statements = "\n".join(step for step in SCHEMA[:54] if isinstance(step, str))
    assert hashlib.sha256(statements.encode()).hexdigest() == "3d9f3e72a7f82aa5414cf056c1690ce3ff93530cbb3a097c1297c3d846a2813a"


def test_runs_of_an_earlier_version_are_linked_when_the_registry_is_opened(tmp_path):
    before = next(number for number, statement in enumerate(SCHEMA) if "run_links" in str(statement))
    request = to_json(RunRequest(("m:1",), ("d:1",), "/s.py"))
    with contextlib.closing(sqlite3.connect(tmp_path / "studio.db")) as older:
        for step in SCHEMA[:before]:
            older.execute(step) if isinstance(step, str) else step(older)
        for run_id, reused_from in (("run-1", None), ("run-2", "run-1")):
            values = (run_id, request, "Completed", "2026-01-01T00:00:00.000+00:00", reused_from)
            older.execute("INSERT INTO runs (id, request, status, submitted_at, reused_from) VALUES (?, ?, ?, ?, ?)", values)
        older.execute(f"PRAGMA user_version = {before}")
        older.commit()
    store = Store(tmp_path)
    assert [run.id for run in store.runs_linked(ResourceKind.MODEL, "m:1", 10)[0]] == ["run-2", "run-1"]
    assert [run.id for run in store.runs_linked(ResourceKind.RUN, "run-1", 10)[0]] == ["run-2"]

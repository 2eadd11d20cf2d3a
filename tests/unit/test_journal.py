"""What the journal keeps of what was said."""

import sqlite3

import pytest

from services.local.run_folder import LocalRunFolder
from services.local.run_log_lines import JournalOrigins
from services.run_logs.search import LogFile, Match
from services.storage.journal import Attempt, AttemptStatus, Journal, Said


def attempt(mini_batch, end):
    return Attempt(mini_batch, 1, 0, 0, 0.0, 0.1, 0.1, 2, 1, 1, AttemptStatus.RUN_DONE, True, 0, end)


def test_what_was_said_comes_in_the_order_of_the_mini_batches(tmp_path):
    lines = [["WARNING", "p1.csv is empty"]]
    with Journal(tmp_path, writable=True) as journal:
        journal.add([attempt(7, 10)], [Said(7, 1, lines)], ["scoring …"])
        journal.add([attempt(2, 20)], [Said(2, 1, lines)], ["scoring …", "done"])
        assert list(journal.said()) == [Said(2, 1, lines), Said(7, 1, lines)]
        assert journal.said_of_succeeded() == {"scoring …", "done"}
        journal.forget_after(10)
        assert [said.mini_batch for said in journal.said()] == [7]


def test_a_journal_of_an_earlier_version_has_nothing_that_was_said(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        journal.add([attempt(0, 10)])
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.executescript("DROP TABLE said; DROP TABLE said_of_succeeded;")
    connection.close()
    with Journal(tmp_path) as journal:
        assert (list(journal.said()), journal.said_of_succeeded()) == ([], frozenset())
        assert len(list(journal.attempts())) == 1
    with Journal(tmp_path, writable=True) as journal:
        journal.add([], [Said(0, 1, [["print", "x"]])])
        assert len(list(journal.said())) == 1


def test_the_failed_attempts_of_a_long_journal_are_found_without_reading_it(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        failed = attempt(3, 40)._replace(status=AttemptStatus.RUN_EXCEPTION, error="no")
        journal.add([*(attempt(number, 10 * number) for number in range(3)), failed])
        assert [(seq, found.error) for seq, found in journal.latest_errors(0)] == [(4, "no")]
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        query = "EXPLAIN QUERY PLAN SELECT seq, error FROM attempts WHERE seq > 0 AND status <> 'RUN_DONE' ORDER BY seq DESC"
        assert "failed_attempts" in str(connection.execute(query).fetchall())
        connection.execute("DROP INDEX failed_attempts")  # as of an earlier version
    connection.close()
    with Journal(tmp_path) as journal:
        assert [seq for seq, _ in journal.latest_errors(0)] == [4]


def test_of_a_long_run_only_the_attempts_since_a_line_are_read(tmp_path, monkeypatch):
    folder = LocalRunFolder(tmp_path, "run")
    folder.path.mkdir(parents=True)
    with Journal(folder.path, writable=True) as journal:
        journal.add([attempt(number, 10)._replace(started_at=1_000.0 * number, elapsed=500.0) for number in range(100)])
    read = []
    times_of = Journal.times_of
    monkeypatch.setattr(Journal, "times_of", lambda *given: (read.append(row[0]) or row for row in times_of(*given)))
    origins = JournalOrigins(folder)
    log = LogFile("logs/user/entry_script_log/0/process000.txt", tmp_path / "none", "node 0, process000")
    at = lambda *times: [origin.mini_batch for origin in origins.of(log, [Match(0, "", time, "") for time in times])]  # noqa: E731
    assert (at(98_100.0, 99_400.0, 99_600.0), at(None), read) == ([98, 99, None], [None], [99, 98, 97])
    assert at(5_100.0) == [5]
    assert at(1_100.0) == [1]
    assert len(read) == 103


def test_what_could_not_be_added_is_not_half_there_and_in_nobodys_way(tmp_path):
    with Journal(tmp_path, writable=True) as journal:
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON said BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
        with pytest.raises(sqlite3.Error, match="full"):
            journal.add([attempt(0, 10)], [Said(0, 1, [["print", "x"]])])
        journal.note_workers([], [], [])
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute("DROP TRIGGER refuse")
        connection.close()
        assert list(journal.attempts()) == []
        journal.add([attempt(0, 10)], [Said(0, 1, [["print", "x"]])])
        assert len(list(journal.attempts())) == 1

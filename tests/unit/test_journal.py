"""What the journal keeps of what was said."""

import sqlite3

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

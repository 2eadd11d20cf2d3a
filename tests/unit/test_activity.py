"""How a run went over time, gathered from its journal."""

import sqlite3

import pytest

from services.run_details import WorkerState
from services.storage.activity import MOST_BUCKETS, Workers, activity_of, gather
from services.storage.journal import Attempt, AttemptStatus, Journal, MemorySample, WorkerLife, WorkerNow

BEGIN = 1_700_000_000.0


def attempt(mini_batch, at, seconds=0.01, *, process=0, failed=0, final=True, total=2):
    status = AttemptStatus.RUN_EXCEPTION if failed == total else AttemptStatus.RUN_DONE
    return Attempt(
        mini_batch, 1, 0, process, BEGIN + at, seconds, seconds, total, total - failed, failed, status, final, 0, 10 * mini_batch
    )


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path, writable=True) as opened:
        yield opened


def activity(journal, now=None):
    return activity_of(gather(journal), Workers.of(journal), now=now)


def runs(told, worker=0):
    return [span for span in told.workers[worker].spans if span.state is WorkerState.RUN]


def test_a_journal_without_attempts_has_nothing_to_show(journal):
    told = activity(journal, now=BEGIN)
    assert (told.workers, told.pace, told.slowest, told.attempts, told.begin, told.end) == ((), (), (), 0, BEGIN, BEGIN)


def test_many_attempts_become_few_spans_and_no_item_is_lost(journal):
    count = 20_000
    every = [attempt(number, number * 0.02, process=number % 2, failed=2 * (number % 100 == 0)) for number in range(count)]
    for first in range(0, count, 1_000):
        journal.add(every[first : first + 1_000])
        told = activity(journal)
    assert told.attempts == count
    assert told.mini_batches_failed == count // 100
    assert [len(runs(told, worker)) <= MOST_BUCKETS for worker in (0, 1)] == [True, True]
    assert sum(span.attempts for worker in (0, 1) for span in runs(told, worker)) == count
    assert sum(span.failed for worker in (0, 1) for span in runs(told, worker)) == count // 100
    assert sum(pace.succeeded for pace in told.pace) == 2 * (count - count // 100)
    assert sum(pace.failed for pace in told.pace) == 2 * count // 100
    assert all(span.mini_batch % 100 == 0 for span in runs(told) if span.failed)


def test_what_was_read_in_parts_is_what_is_read_at_once(journal, tmp_path):
    every = [attempt(number, number * 0.02, 5.0 if number % 997 == 0 else 0.01, failed=number % 3) for number in range(6_000)]
    for first in range(0, len(every), 500):
        journal.add(every[first : first + 500])
        activity(journal)
    (tmp_path / "other").mkdir()
    with Journal(tmp_path / "other", writable=True) as other:
        other.add(every)
        told = [activity(one) for one in (journal, other)]
    assert told[0].slowest == told[1].slowest
    assert [(p.succeeded, p.failed) for p in told[0].pace] == [(p.succeeded, p.failed) for p in told[1].pace]
    sums = [[(span.attempts, span.failed) for span in runs(one)] for one in told]
    assert sorted(sums[0]) == sorted(sums[1])


def test_a_large_journal_is_read_a_part_at_a_time(journal):
    journal.add(attempt(number, number * 0.02) for number in range(12_000))
    shares = [gather(journal, seconds=0.0).share]
    while shares[-1] < 1:
        shares.append(gather(journal, seconds=1e-9).share)
    assert shares[0] < 1
    assert activity(journal).attempts == 12_000


def test_a_long_call_is_a_span_of_its_own_and_among_the_slowest(journal):
    journal.add([*(attempt(number, number * 0.02) for number in range(1_000)), attempt(1_000, 20, 30.0, failed=2)])
    told = activity(journal)
    (long,) = [span for span in runs(told) if span.mini_batch == 1_000]
    assert (long.begin, long.end, long.failed) == (BEGIN + 20, BEGIN + 50, 1)
    assert (told.slowest[0].mini_batch, told.slowest[0].seconds, len(told.slowest)) == (1_000, 30.0, 10)


def test_steps_of_a_worker_are_told_apart_and_its_end_has_a_reason(journal):
    lives = [
        WorkerLife(1, 0, 0, 10, BEGIN, BEGIN + 1, BEGIN + 3, BEGIN + 9, "the worker was ended by signal SIGSEGV"),
        WorkerLife(2, 0, 0, 11, BEGIN + 9, BEGIN + 10),
    ]
    now = [WorkerNow(0, 0, "init", None, BEGIN + 10, BEGIN + 12)]
    journal.note_workers(lives, now, [MemorySample(1, 0, 0, BEGIN + 1, 5_000_000)])
    told = activity(journal, now=BEGIN + 12)
    (worker,) = told.workers
    assert [(span.state, span.begin - BEGIN, span.end - BEGIN) for span in worker.spans] == [
        (WorkerState.IMPORT, 0, 1), (WorkerState.INIT, 1, 3), (WorkerState.WAIT, 3, 9),
        (WorkerState.IMPORT, 9, 10), (WorkerState.INIT, 10, 12),
    ]  # fmt: skip
    assert [span.reason for span in worker.spans] == ["", "", "the worker was ended by signal SIGSEGV", "", ""]
    assert (worker.processes, worker.memory) == (2, ((BEGIN + 1, 5_000_000),))


def test_a_call_that_goes_on_is_shown_until_it_was_seen_last(journal):
    journal.note_workers([WorkerLife(1, 0, 3, 10, BEGIN, BEGIN, BEGIN)], [WorkerNow(0, 3, "ready", 17, BEGIN + 5, BEGIN + 45)], [])
    ((name, span),) = activity(journal, now=BEGIN + 46).overdue
    assert (name, span.mini_batch, span.end - span.begin) == ("node 0, process003", 17, 40)


def test_a_new_runner_closes_what_a_killed_one_left_open(journal):
    journal.note_workers([WorkerLife(1, 0, 0, 10, BEGIN)], [WorkerNow(0, 0, "import", None, BEGIN, BEGIN + 7)], [])
    assert journal.begin_runner() == 2
    (life,) = journal.worker_lives()
    assert (life.ended_at, life.reason, journal.workers_now()) == (BEGIN + 7, "its runner was ended", [])


def test_what_a_new_runner_unsettled_is_not_counted(journal):
    journal.add([attempt(0, 0), attempt(1, 1, failed=2)])
    assert activity(journal).mini_batches_failed == 1
    journal.reopen_failed()
    journal.begin_runner()
    journal.add([attempt(1, 2)])
    told = activity(journal)
    assert (told.attempts, told.mini_batches_failed, sum(pace.succeeded for pace in told.pace)) == (3, 0, 4)


def test_memory_is_evenly_thinned(journal):
    journal.note_workers([], [], [MemorySample(tick, 0, 0, BEGIN + tick, tick) for tick in range(1, 1_001)])
    journal.thin_memory(4)
    assert len(journal.memory(10_000)) == 250
    assert [sample.tick for sample in journal.memory(50)][-2:] == [980, 1_000]
    assert len(journal.memory(50)) == 50


def test_a_journal_of_an_earlier_version_still_opens(journal, tmp_path):
    journal.add([attempt(0, 0), attempt(1, 1)])
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.executescript("DROP TABLE worker_lives; DROP TABLE workers_now; DROP TABLE worker_memory;")
    connection.close()
    with Journal(tmp_path) as reader:
        told = activity(reader)
    assert [span.state for span in told.workers[0].spans] == [WorkerState.WAIT, WorkerState.RUN, WorkerState.RUN]
    assert told.workers[0].memory == ()

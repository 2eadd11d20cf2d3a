"""A run that is cut short: canceled, its runner killed, its dashboard gone, its rows deleted. Nothing is lost or doubled."""

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import timedelta

import pytest

from services.domain import RunRequest, RunStatus
from services.errors import StudioError
from services.local.run_folder import LocalRunFolder
from services.run_details import WorkerState
from services.settings import ParallelRunSettings
from services.storage.serialization import to_json
from services.storage.store import Store
from tests.engine.run_artifacts import is_alive

SLOW = """
    import os, time
    def run(mini_batch):
        time.sleep(0.05)
        while "0040" <= os.path.basename(mini_batch[0]) and not os.path.exists({gate!r}): time.sleep(0.01)
        return [os.path.basename(path) for path in mini_batch]
"""
FAILS = "def run(mini_batch): open({gate!r}); return mini_batch"


@pytest.fixture
def gate(tmp_path):
    """Until this file is made no run of SLOW gets past its first 40 files."""
    return tmp_path / "gate"


@pytest.fixture
def request_for(workspace, csv_folder, entry_script, gate):
    def make(source=SLOW, files=60, **settings):
        workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 2, "mini_batch_size": 2, "run_invocation_timeout": 600} | settings
        source = source.replace("{gate!r}", repr(str(gate)))
        return RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**values))

    return make


def some_done(run):
    return (run.items_succeeded or 0) >= 4


def lines(workspace, run_id):
    return workspace.runs.output(run_id)["parallel_run_step.txt"].read_text().splitlines()


def test_a_running_run_can_be_canceled_and_keeps_what_it_scored(workspace, request_for, finish):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    assert workspace.runs.cancel(run.id).status in (RunStatus.CANCEL_REQUESTED, RunStatus.CANCELED)
    run = finish(workspace, run.id)
    assert run.status is RunStatus.CANCELED
    assert 0 < run.items_succeeded < 60
    kept = workspace.runs.output(run.id)["parallel_run_step.partial.txt"].read_text().splitlines()
    assert len(kept) == run.items_succeeded


def test_a_worker_stuck_in_a_call_is_ended_by_cancel(workspace, request_for, finish):
    run = workspace.submit(request_for("import time\ndef run(mini_batch): time.sleep(600)"))
    finish(workspace, run.id, until=lambda run: run.workers == 2)
    workspace.runs.cancel(run.id)
    assert finish(workspace, run.id).status is RunStatus.CANCELED


def test_canceling_an_ended_run_changes_nothing(workspace, request_for, finish):
    run = finish(workspace, workspace.submit(request_for(files=4)).id)
    assert workspace.runs.cancel(run.id) == run


def test_a_killed_runner_is_told_and_a_resumed_run_has_every_row_once(workspace, request_for, finish, kill_runner, gate):
    run = workspace.submit(request_for())
    for least in (4, 8, 12):
        finish(workspace, run.id, until=lambda run, least=least: (run.items_succeeded or 0) >= least)
        assert kill_runner(workspace, run.id)
        workspace.runs.resume(run.id)
    gate.touch()
    run = finish(workspace, run.id)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 60)
    assert Counter(lines(workspace, run.id)) == Counter(f"{i:04}.csv" for i in range(60))


def test_a_run_whose_end_can_not_be_recorded_reads_not_responding(workspace, request_for, finish, home, gate):
    def registry(statement):
        with closing(sqlite3.connect(home / "studio.db")) as connection:
            connection.execute(statement)

    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    registry("CREATE TRIGGER refuse BEFORE UPDATE ON runs BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END")
    run = finish(workspace, run.id, until=lambda run: run.status is RunStatus.NOT_RESPONDING)
    assert "Its runner failed." in run.error
    assert "studio.db, can't be used" in run.error
    with pytest.raises(StudioError, match="can't be used"):
        workspace.runs.resume(run.id)
    registry("DROP TRIGGER refuse")
    gate.touch()
    workspace.runs.resume(run.id)
    assert finish(workspace, run.id).status is RunStatus.COMPLETED
    assert Counter(lines(workspace, run.id)) == Counter(f"{i:04}.csv" for i in range(60))


def test_predictions_can_be_read_on_a_disk_that_turned_read_only(workspace, request_for, finish, home, gate):
    gate.touch()
    run = finish(workspace, workspace.submit(request_for()).id)
    assert workspace.runs.predictions(run.id).count() == 60
    journal = home / "runs" / run.id / "journal.db"
    for extension in ("-shm", "-wal"):
        own = journal.with_name(f"{journal.name}{extension}")
        own.unlink(missing_ok=True)
        own.mkdir()  # as on such a disk, SQLite finds no place for it
    assert workspace.runs.predictions(run.id).count() == 60
    assert workspace.runs.failures(run.id) == []


def test_a_run_whose_folder_is_gone_says_so(workspace, request_for, finish, kill_runner, home):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    assert kill_runner(workspace, run.id)
    assert "ended from outside" in workspace.runs.get(run.id).error
    (home / "runs" / run.id).rename(home / "elsewhere")
    assert workspace.runs.get(run.id).error.endswith("is gone.")
    with pytest.raises(StudioError, match="can't be read"):
        workspace.runs.resume(run.id)
    assert not (home / "runs" / run.id).exists()


def test_workers_do_not_outlive_a_killed_runner_even_inside_a_call(workspace, request_for, finish, kill_runner, tmp_path):
    note = tmp_path / "pid"
    source = f"import os, time\ndef run(m):\n    open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    run = workspace.submit(request_for(source, process_count_per_node=1))
    finish(workspace, run.id, until=lambda _: note.exists() and note.read_text())
    assert kill_runner(workspace, run.id)
    finish(workspace, run.id, until=lambda _: not is_alive(note.read_text()))


def test_a_run_whose_runner_is_gone_is_canceled_at_once(workspace, request_for, finish, kill_runner):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    assert kill_runner(workspace, run.id)
    assert workspace.runs.cancel(run.id).status is RunStatus.CANCELED


def test_a_canceled_run_can_be_resumed_to_its_end(workspace, request_for, finish, gate):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    gate.touch()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert run.status is RunStatus.COMPLETED
    assert Counter(lines(workspace, run.id)) == Counter(f"{i:04}.csv" for i in range(60))


def an_hour_ago(workspace, run):
    """Let the run have happened an hour earlier."""
    times = {name: getattr(run, name) for name in ("started_at", "ended_at", "heartbeat_at")}
    Store(workspace.home).update_run(run.id, **{name: time - timedelta(hours=1) for name, time in times.items() if time})


@pytest.mark.parametrize("end", ["canceled", "killed", "failed"])
def test_the_duration_leaves_out_the_pause_before_a_resume(workspace, request_for, finish, kill_runner, gate, end):
    run = workspace.submit(request_for(FAILS, error_threshold=0) if end == "failed" else request_for())
    if end != "failed":
        finish(workspace, run.id, until=some_done)
        workspace.runs.cancel(run.id) if end == "canceled" else kill_runner(workspace, run.id)
    stopped = finish(workspace, run.id, until=lambda run: run.status.ended or run.status is RunStatus.NOT_RESPONDING)
    an_hour_ago(workspace, stopped)
    gate.touch()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert (run.status, run.started_at) == (RunStatus.COMPLETED, stopped.started_at - timedelta(hours=1))
    assert 3600 - 600 < run.paused_seconds < 3600 + 600
    assert stopped.duration <= run.duration < 600


def test_resume_tries_what_failed_anew(workspace, request_for, finish, tmp_path):
    fixed = tmp_path / "fixed"
    source = f"""
        import os
        def run(mini_batch):
            if "0000.csv" in mini_batch[0] and not os.path.exists({str(fixed)!r}): raise ValueError("not yet")
            return [os.path.basename(path) for path in mini_batch]
    """
    run = finish(workspace, workspace.submit(request_for(source, files=10, error_threshold=0)).id)
    assert run.error_code == "ErrorThresholdExceeded"
    fixed.touch()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 10, 0)
    assert len(lines(workspace, run.id)) == 10


def test_rows_deleted_under_a_stopped_run_are_scored_again(workspace, request_for, finish, gate):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    gate.touch()
    workspace.runs.output(run.id)["parallel_run_step.partial.txt"].unlink()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert run.status is RunStatus.COMPLETED
    assert Counter(lines(workspace, run.id)) == Counter(f"{i:04}.csv" for i in range(60))


def test_a_run_that_is_alive_or_completed_is_not_resumed(workspace, request_for, finish, gate):
    run = workspace.submit(request_for())
    finish(workspace, run.id, until=some_done)
    with pytest.raises(StudioError, match="has an active runner"):
        workspace.runs.resume(run.id)
    gate.touch()
    finish(workspace, run.id)
    with pytest.raises(StudioError, match="nothing to resume"):
        workspace.runs.resume(run.id)


def test_two_runners_never_carry_out_one_run(workspace, request_for, finish, home):
    run = workspace.submit(request_for("import time\ndef run(mini_batch): time.sleep(600)"))
    finish(workspace, run.id, until=lambda run: run.workers == 2)
    assert LocalRunFolder(home, run.id).has_live_runner()
    second = subprocess.run([sys.executable, "-m", "services.local.runner", str(home), run.id], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "already has an active runner" in second.stderr
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)


def test_a_run_outlives_the_process_that_submitted_it(workspace, request_for, finish, home):
    request = request_for(files=30)
    script = f"""
import os, signal
from services.domain import RunRequest
from services.storage.serialization import from_json
from services.workspaces import open_workspace
print(open_workspace("local", {str(home)!r}).submit(from_json({to_json(request)!r}, RunRequest)).id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    submitter = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert submitter.returncode == -signal.SIGKILL
    run = finish(workspace, submitter.stdout.strip())
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 30)


def test_runs_wait_for_their_turn_and_start_in_order(workspace, request_for, finish, monkeypatch, gate):
    monkeypatch.setenv("BATCH_SCORING_RUNS_AT_ONCE", "1")
    waits = "import os, time\ndef run(mini_batch):\n    while not os.path.exists({gate!r}): time.sleep(0.01)\n    return mini_batch"
    request = request_for(waits, files=4)
    first, second, third = (workspace.submit(request) for _ in range(3))
    for waiting in (second, third):
        finish(workspace, waiting.id, until=lambda run: run.status is RunStatus.QUEUED)
    gate.touch()
    ended = [finish(workspace, run.id) for run in (first, second, third)]
    assert [run.status for run in ended] == [RunStatus.COMPLETED] * 3
    assert ended[0].ended_at <= ended[1].started_at <= ended[1].ended_at <= ended[2].started_at


def test_a_waiting_run_can_be_canceled_and_a_killed_one_frees_its_place(workspace, request_for, finish, kill_runner, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_RUNS_AT_ONCE", "1")
    request = request_for("import time\ndef run(mini_batch): time.sleep(600)", files=2)
    first, second = workspace.submit(request), workspace.submit(request)
    finish(workspace, second.id, until=lambda run: run.status is RunStatus.QUEUED)
    workspace.runs.cancel(second.id)
    assert finish(workspace, second.id).status is RunStatus.CANCELED
    third = workspace.submit(request)
    finish(workspace, first.id, until=lambda run: run.workers == 1)
    assert kill_runner(workspace, first.id)
    finish(workspace, third.id, until=lambda run: run.workers == 1)
    workspace.runs.cancel(third.id)
    finish(workspace, third.id)


def test_a_worker_that_dies_and_one_that_hangs_are_told_with_their_reasons(workspace, request_for, finish):
    script = """
        import os, time
        def init(): time.sleep(0.05)
        def run(mini_batch):
            first = os.path.basename(mini_batch[0])
            if first == "0004.csv": os.kill(os.getpid(), 11)
            if first == "0008.csv": time.sleep(60)
            return [os.path.basename(path) for path in mini_batch]
    """
    values = {"run_max_try": 1, "run_invocation_timeout": 1, "error_threshold": -1, "process_count_per_node": 1}
    run = finish(workspace, workspace.submit(request_for(script, files=12, **values)).id)
    told = workspace.runs.activity(run.id)
    (worker,) = told.workers
    assert worker.processes == 3
    assert [span.reason for span in worker.spans if span.reason] == [
        "the worker was ended by signal SIGSEGV at mini-batch 2",
        "run() took longer than the run_invocation_timeout of 1 s at mini-batch 4",
    ]
    inits = [span for span in worker.spans if span.state is WorkerState.INIT]
    assert [span.end - span.begin >= 0.05 for span in inits] == [True] * 3
    assert [(span.mini_batch, span.failed) for span in worker.spans if span.failed and span.end - span.begin >= 1] == [(4, 1)]
    assert (told.slowest[0].mini_batch, told.slowest[0].status, told.suggested_timeout) == (4, "RUN_TIMEOUT", 5)
    detail = workspace.runs.mini_batch(run.id, 2)
    assert (detail.items, detail.attempts[0].status) == (("0004.csv", "0005.csv"), "PROCESS_DIED")


def test_a_call_that_goes_on_and_memory_are_seen_while_it_runs(workspace, request_for, finish, gate):
    run = workspace.submit(request_for(files=48))

    def goes_on(_):
        told = workspace.runs.activity(run.id)
        # The first sample may be of a process that the system is still loading: some kilobytes.
        sizes = [worker.memory[-1][1] for worker in told.workers if worker.memory]
        return told.overdue and (sys.platform != "linux" or (sizes and min(sizes) > 1_000_000))

    finish(workspace, run.id, until=goes_on)
    told = workspace.runs.activity(run.id)
    name, span = told.overdue[0]
    detail = workspace.runs.mini_batch(run.id, span.mini_batch)
    assert (detail.running_on, detail.attempts, len(detail.items)) == (name, (), 2)
    assert told.last_rows[-1].endswith(".csv")
    gate.touch()
    assert finish(workspace, run.id).status is RunStatus.COMPLETED
    assert workspace.runs.activity(run.id).overdue == ()

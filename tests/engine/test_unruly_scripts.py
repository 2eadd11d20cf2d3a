"""Scripts that misbehave, and disks that fill: the run goes on or ends with a reason, and can be resumed."""

import os
import sys
from collections import Counter

import pytest

from services.domain import RunRequest, RunStatus
from services.local.worker_process import parsed_header
from services.settings import ParallelRunSettings

resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")


@pytest.fixture
def submit(workspace, csv_folder, entry_script):
    def submit(source, files=20, **settings):
        workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 1, "mini_batch_size": 5, "error_threshold": -1} | settings
        return workspace.submit(RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**values)))

    return submit


def test_a_script_that_prints_without_end_does_not_fill_the_disk(workspace, submit, finish):
    run = finish(
        workspace,
        submit(
            """
            import os, time
            def run(mini_batch):
                for _ in range(700): print("x" * 100_000, flush=True)
                while not 1_000_000 < os.fstat(1).st_size < 50_000_000: time.sleep(0.01)  # until the runner has looked, and said so
                print("the end")
                return mini_batch
            """,
            10,
        ).id,
    )
    assert run.status is RunStatus.COMPLETED
    logs = [path for name, path in workspace.runs.logs(run.id).items() if "stdout/" in name and path.stat().st_size]
    assert sum(path.stat().st_size for path in logs) < 80_000_000
    assert any("bytes were dropped here" in path.read_text() for path in logs)
    assert any(path.read_text().endswith("the end\n") for path in logs)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not hold the limit")
def test_a_script_that_leaks_gets_an_error_and_a_new_worker(workspace, submit, finish, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_WORKER_MEMORY", "300")
    run = finish(
        workspace,
        submit(
            """
            leak = []
            def run(mini_batch):
                leak.append(bytearray(200_000_000))
                return mini_batch
            """,
            run_max_try=20,
        ).id,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 20, 0)


def test_a_script_that_ignores_signals_is_ended_all_the_same(workspace, submit, finish):
    run = finish(
        workspace,
        submit(
            """
            import signal, time
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
            def run(mini_batch):
                if "0000" in mini_batch[0]: time.sleep(600)
                return mini_batch
            """,
            run_invocation_timeout=3,
            run_max_try=1,
        ).id,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5)


def test_a_run_on_a_full_disk_fails_and_can_be_resumed(workspace, submit, finish):
    """The limit on a file's size stands in for a full disk: a write fails in the same place, with the like error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        run = submit("import os\ndef run(m): return [os.path.basename(p) + 'x' * 100_000 for p in m]", 40, process_count_per_node=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = finish(workspace, run.id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "StorageError")
    assert "File too large" in run.error
    assert "resume the run" in run.error
    assert 0 < run.items_succeeded < 40
    kept = workspace.runs.output(run.id)["parallel_run_step.partial.txt"].read_text().splitlines()
    assert len(kept) == run.items_succeeded
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 40)
    lines = workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()
    assert Counter(line[:8] for line in lines) == Counter(f"{i:04}.csv" for i in range(40))


def test_a_worker_whose_line_is_closed_by_its_script_is_replaced(workspace, submit, finish):
    run = finish(
        workspace,
        submit(
            """
            import os
            def run(mini_batch):
                if "0005" in mini_batch[0]: os.closerange(3, 64)
                return mini_batch
            """,
            run_max_try=2,
        ).id,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_holds_the_line_open_does_not_keep_the_run_waiting(workspace, submit, finish):
    run = finish(
        workspace,
        submit(
            """
            import os, time
            def run(mini_batch):
                if "0005" in mini_batch[0]:
                    if os.fork() == 0: time.sleep(600)
                    os._exit(1)
                return mini_batch
            """,
            run_max_try=1,
        ).id,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_comes_back_from_run_costs_nothing(workspace, submit, finish):
    run = finish(workspace, submit("import os\ndef run(mini_batch):\n    os.fork()\n    return mini_batch").id)
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 20, 0), run.error
    assert len(workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()) == 20


@pytest.mark.parametrize("other", ['lambda: "noon"', 'lambda: float("nan")', "lambda: 0.0"])
def test_a_script_that_replaces_clocks_and_json_changes_only_its_own(submit, finish, workspace, other):
    source = f"""
        import json, time
        def run(mini_batch):
            time.time = time.perf_counter = time.monotonic = {other}
            json.dumps = json.loads = lambda *_, **__: "[]"
            return mini_batch
        """
    run = finish(workspace, submit(source).id)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 20), run.error


@pytest.mark.parametrize("told", ['{"mini_batch": 1, "elapsed": NaN}', "[]", "7"])
def test_what_no_worker_says_is_refused(told):
    with pytest.raises(ValueError, match="worker"):
        parsed_header(told.encode())


def test_a_script_that_writes_nonsense_into_the_line_costs_only_its_worker(workspace, submit, finish):
    run = finish(
        workspace,
        submit(
            """
            import os, socket
            def run(mini_batch):
                if "0005" in mini_batch[0]:
                    for number in range(3, 20):
                        try: socket.socket(fileno=os.dup(number)).send(b"\\x05\\0\\0\\0" + bytes(8) + b"nons" * 20)
                        except OSError: pass
                return mini_batch
            """,
            run_max_try=2,
        ).id,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5), run.error


def test_a_model_that_was_changed_since_it_was_approved_is_not_executed(workspace, csv_folder, entry_script, finish, model_file):
    model = workspace.register_model("m", model_file, approve=True)
    workspace.register_dataset("d", csv_folder(2))
    os.chmod(model.path, 0o600)
    with open(model.path, "ab") as file:
        file.write(b"one byte more")
    script = entry_script("def run(mini_batch): return mini_batch")
    run = finish(workspace, workspace.submit(RunRequest(("m",), ("d",), str(script))).id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "ChangedSinceApproval")
    assert model.sha256 in run.error
    assert run.mini_batches_done == 0


def test_a_registered_model_can_be_read_by_a_script_but_not_written(workspace, model_file):
    assert os.stat(workspace.register_model("m", model_file).path).st_mode & 0o222 == 0

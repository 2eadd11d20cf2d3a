"""Which mini-batch printed what: noted by the worker beside its attempts."""

from __future__ import annotations

from services.local.run_folder import LocalRunFolder
from services.run_details import LogQuery
from services.storage.journal import NO_MINI_BATCH, Journal

PRINTS = """
    import os, sys, time

    print("imported")

    def init():
        print("ready")

    def run(mini_batch):
        name = os.path.basename(mini_batch[0])
        if name == "0002.csv":
            return ["1"]  # says nothing
        print("scoring", name, end="" if name == "0004.csv" else "\\n")
        if name == "0003.csv":
            raise ValueError("three")
        if name == "0004.csv":
            sys.stderr.write("dying\\n")
            sys.stdout.flush()
            os.kill(os.getpid(), 11)
        return ["1"]

    def shutdown():
        print("bye")
"""


def test_what_was_printed_is_noted_with_its_mini_batch(home, score):
    run = score(PRINTS, 6, process_count_per_node=1, mini_batch_size=1, run_max_try=1)
    folder = LocalRunFolder(home, run.id)
    logs = {kind: (folder.logs / "user" / kind / "0" / f"process000.{kind}.txt").read_bytes() for kind in ("stdout", "stderr")}
    with Journal(folder.path) as journal:
        noted = [
            (row.mini_batch, logs["stdout"][row.stdout_begin : row.stdout_end], logs["stderr"][row.stderr_begin : row.stderr_end])
            for row in journal.printed()
        ]
        times = [row.started_at for row in journal.printed()]
        assert [row.mini_batch for row in journal.printed(mini_batch=3, node=0)] == [3]
    assert noted == [
        (NO_MINI_BATCH, b"imported\n", b""),
        (NO_MINI_BATCH, b"ready\n", b""),
        (0, b"scoring 0000.csv\n", b""),
        (1, b"scoring 0001.csv\n", b""),
        (3, b"scoring 0003.csv\n", b""),
        (4, b"scoring 0004.csv", b"dying\n"),
        (NO_MINI_BATCH, b"imported\n", b""),
        (NO_MINI_BATCH, b"ready\n", b""),
        (5, b"scoring 0005.csv\n", b""),
        (NO_MINI_BATCH, b"bye\n", b""),
    ]
    assert times == sorted(times)
    assert run.started_at.timestamp() < times[0]


def test_lines_are_found_by_mini_batch_and_follow_its_times(workspace, score):
    script = """
        import logging, os, time
        from azureml_user.parallel_run import EntryScript

        def init():
            print("ready")

        def run(mini_batch):
            time.sleep(0.005)  # a log's clock shows milliseconds
            for path in mini_batch:
                name = os.path.basename(path)
                print("scoring", name)
                if name == "0003.csv":
                    logging.warning("odd: %s", name)
            time.sleep(0.005)
            EntryScript().logger.info("done")
            time.sleep(0.005)
            if name == "0005.csv":
                raise ValueError("five")
            return [1 for _ in mini_batch]
    """
    run = score(script, 8, mini_batch_size=2, run_max_try=1)
    every = workspace.runs.search_logs(run.id).lines
    assert [line.time for line in every] == sorted(line.time for line in every)
    second = workspace.runs.search_logs(run.id, LogQuery(mini_batch=1))
    said = [(line.level, line.text[-8:], line.mini_batch_inferred) for line in second.lines]
    assert sorted(said) == [("", "0002.csv", False), ("", "0003.csv", False), ("INFO", "NFO done", True), ("WARNING", "0003.csv", False)]
    assert len({line.worker for line in second.lines}) == 1
    errors = workspace.runs.search_logs(run.id, LogQuery(level="ERROR")).lines
    assert errors[0].text.startswith("RUN_EXCEPTION of mini-batch 2, attempt 1: ValueError: five")
    assert "Traceback" in errors[1].text
    assert {(line.mini_batch, line.log) for line in errors} == {(2, "attempts")}
    assert workspace.runs.search_logs(run.id, LogQuery(text="FIVE", limit=1)).lines[0].text == "ValueError: five"
    assert {line.mini_batch for line in every if line.text == "ready"} == {None}


def test_a_running_runs_lines_are_followed_without_one_twice(workspace, submit, finish, tmp_path, monkeypatch):
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    script = """
        import os, time

        def run(mini_batch):
            print("one\\ntw", end="", flush=True)
            while not os.path.exists(os.environ["GO"]):
                time.sleep(0.01)
            print("o\\nthree")
            return [1 for _ in mini_batch]
    """
    run = submit(script, 1, process_count_per_node=1)
    query, texts, ends = LogQuery(worker="node 0, process000"), [], None
    while True:
        status = workspace.runs.get(run.id).status
        found = workspace.runs.search_logs(run.id, query, after=ends)
        ends, texts = found.ends, texts + [line.text for line in found.lines]
        if texts == ["one"]:
            (tmp_path / "go").touch()
        if status.ended:
            break
    assert texts == ["one", "two", "three"]


def test_what_was_dropped_of_a_long_log_is_nobodys(workspace, score, home):
    script = """
        import os, sys, time

        def run(mini_batch):
            name = os.path.basename(mini_batch[0])
            if name == "0001.csv":
                for _ in range(60):
                    sys.stdout.write(("x" * 99 + "\\n") * 10_000)
                time.sleep(1.5)  # until the runner looks
            print("scored", name)
            return [1]
    """
    run = score(script, 3, mini_batch_size=1, process_count_per_node=1)
    query = LogQuery(text="scored")
    found = {line.text: line.mini_batch for line in workspace.runs.search_logs(run.id, query).lines}
    assert found == {"scored 0000.csv": 0, "scored 0001.csv": 1, "scored 0002.csv": 2}
    of_last = workspace.runs.search_logs(run.id, LogQuery(mini_batch=2)).lines
    assert [line.text for line in of_last] == ["scored 0002.csv"]
    assert workspace.runs.search_logs(run.id, LogQuery(text="bytes were dropped here")).lines

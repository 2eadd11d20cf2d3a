"""What a run keeps of ParallelRunStep's contract: real runners, real workers, real files."""

import gzip
import os
import re
import sys
from collections import Counter

import pytest

from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from tests.engine.run_artifacts import attempts, is_alive, printed, rows

NAMES = """
    import os
    def run(mini_batch):
        return [os.path.basename(path) for path in mini_batch]
"""


def test_every_file_is_scored_once_into_the_file_in_contiguous_rows(workspace, score):
    run = score(NAMES, 103, mini_batch_size=10, process_count_per_node=2)
    assert run.status is RunStatus.COMPLETED
    assert (run.items_total, run.items_succeeded, run.items_failed, run.mini_batches_total, run.mini_batches_done) == (103, 103, 0, 11, 11)
    name, lines = rows(workspace, run)
    assert name == "parallel_run_step.txt"
    assert sorted(lines) == [f"{i:04}.csv" for i in range(103)]
    begins = [lines.index(f"{first:04}.csv") for first in range(0, 103, 10)]
    for first, begin in zip(range(0, 103, 10), begins, strict=True):  # each mini-batch's in their order, one after another
        assert lines[begin : begin + 10][: 103 - first] == [f"{i:04}.csv" for i in range(first, min(first + 10, 103))]


def test_init_runs_once_in_each_worker_and_shutdown_once_at_its_end(workspace, score, tmp_path):
    (tmp_path / "running").mkdir()
    run = score(
        f"""
        import os, time
        def init(): print("init", os.getpid())
        def run(mini_batch):
            open(os.path.join({str(tmp_path / "running")!r}, str(os.getpid())), "w").close()
            while len(os.listdir({str(tmp_path / "running")!r})) < 2: time.sleep(0.01)  # a fast one would do it all
            return mini_batch
        def shutdown(): print("shutdown", os.getpid())
        """,
        process_count_per_node=2,
    )
    words = Counter(tuple(line.split()) for line in printed(workspace, run).splitlines())
    workers = {pid for word, pid in words if word == "init"}
    assert len(workers) == 2
    assert all(words["init", pid] == words["shutdown", pid] == 1 for pid in workers)


def test_a_mini_batch_is_a_list_of_absolute_paths_with_their_own_names(workspace, score):
    run = score(
        """
        import os
        def run(mini_batch):
            assert type(mini_batch) is list
            return [f"{os.path.isabs(path)} {os.path.isfile(path)} {os.path.basename(path)}" for path in mini_batch]
        """,
        3,
    )
    assert rows(workspace, run)[1] == [f"True True {i:04}.csv" for i in range(3)]


def test_a_second_parameter_gets_the_mini_batch_context(workspace, score):
    _, lines = rows(workspace, score("def run(mini_batch, context): return [context.minibatch_index] * len(mini_batch)", 12))
    assert sorted(lines) == ["0"] * 5 + ["1"] * 5 + ["2"] * 2


def test_another_return_type_fails_the_attempt_and_is_named(workspace, score):
    source = "def run(mini_batch, context): return [None, {'a': 1}, 'text', (x for x in mini_batch), 5][context.minibatch_index]"
    run = score(source, 5, mini_batch_size=1, run_max_try=1)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "NothingSucceeded")
    reasons = sorted((failure.mini_batch, failure.error.splitlines()[0]) for failure in workspace.runs.failures(run.id))
    assert [reason for _, reason in reasons] == [
        f"TypeError: run() must return a list, a tuple or a pandas DataFrame, not {name}"
        for name in ("NoneType", "dict", "str", "generator", "int")
    ]
    assert reasons[0][1] in run.error


def test_a_raise_is_tried_again_and_then_its_items_fail(workspace, score):
    run = score(
        """
        import os
        def run(mini_batch):
            if "0000.csv" in mini_batch[0]: raise ValueError("bad row")
            return mini_batch
        """
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5)
    assert [(row["Picked Count"], row["Status"]) for row in attempts(workspace, run) if row["Mini-batch Id"] == "0"] == [
        ("1", "RUN_EXCEPTION"),
        ("2", "RUN_EXCEPTION"),
        ("3", "RUN_EXCEPTION"),
    ]


def test_a_success_on_the_second_try_costs_nothing(workspace, score, tmp_path):
    run = score(
        f"""
        import os
        def run(mini_batch):
            flag = os.path.join({str(tmp_path)!r}, "tried-" + os.path.basename(mini_batch[0]))
            if not os.path.exists(flag):
                open(flag, "w").close()
                raise RuntimeError("the first time")
            return mini_batch
        """
    )
    assert (run.items_succeeded, run.items_failed) == (20, 0)
    assert len(set(rows(workspace, run)[1])) == len(rows(workspace, run)[1]) == 20


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(3)", "PROCESS_DIED"),
        ("os.kill(os.getpid(), 11)", "PROCESS_DIED"),
        ("time.sleep(600)", "RUN_TIMEOUT"),
        ("sys.exit(42)", "RUN_EXCEPTION"),
    ],
)
def test_a_worker_that_dies_or_hangs_costs_only_the_attempt_it_was_on(workspace, score, end, status):
    run = score(
        f"""
        import os, sys, time
        def run(mini_batch):
            if mini_batch[0].endswith("0005.csv"): {end}
            return mini_batch
        """,
        run_invocation_timeout=2 if status == "RUN_TIMEOUT" else 60,
        run_max_try=2,
    )
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 15, 5)
    failed = [row for row in attempts(workspace, run) if row["Status"] != "RUN_DONE"]
    assert [(row["Mini-batch Id"], row["Status"]) for row in failed] == [("1", status)] * 2
    assert len(rows(workspace, run)[1]) == 15


def test_a_short_return_costs_its_items_and_is_not_tried_again(workspace, score):
    run = score("def run(mini_batch): return mini_batch[:3]")
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 12, 8)
    assert all(row["Picked Count"] == "1" for row in attempts(workspace, run))


def test_more_rows_than_files_is_a_warning(workspace, score):
    run = score("def run(mini_batch): return mini_batch + ['one more']", 5)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 5)
    assert run.warnings == ("mini-batch 0 returned 6 rows for 5 items",)
    assert len(rows(workspace, run)[1]) == 6


def test_of_more_than_twenty_warnings_the_others_are_counted_also_resumed(workspace, score, finish, tmp_path):
    run = score(
        f"""
        import os
        def run(mini_batch):
            if "0058.csv" in mini_batch[0] and not os.path.exists({str(tmp_path / "repaired")!r}): raise ValueError("not yet")
            return mini_batch + ["one more"]
        """,
        60, mini_batch_size=2, error_threshold=0, run_max_try=1, process_count_per_node=1,
    )  # fmt: skip
    assert (run.status, run.warnings[20:]) == (RunStatus.FAILED, ("… and 9 more",))
    assert all(" returned 3 rows for 2 items" in warning for warning in run.warnings[:20])
    (tmp_path / "repaired").touch()
    resumed = finish(workspace, workspace.runs.resume(run.id).id)
    assert (resumed.status, resumed.warnings) == (RunStatus.COMPLETED, (*run.warnings[:20], "… and 10 more"))


def test_what_a_script_warns_of_without_naming_a_file_is_a_warning_of_the_run(score):
    run = score(
        """
        import logging
        def run(mini_batch):
            logging.warning("the model is 2 years old")
            logging.warning("%d fields are empty", len(mini_batch) + (mini_batch[0][-8:] == "0010.csv"))
            logging.info("scoring")
            return mini_batch
        """,
        20,
    )
    assert run.warnings == (
        "The script warned in 4 mini-batches: the model is 2 years old",
        "The script warned in 4 mini-batches: … fields are empty",
    )


@pytest.mark.parametrize(("threshold", "status"), [(4, RunStatus.FAILED), (5, RunStatus.COMPLETED)])
def test_the_run_stops_when_more_files_failed_than_the_error_threshold(workspace, score, threshold, status):
    run = score(
        """
        def run(mini_batch):
            if "0000.csv" in mini_batch[0]: raise ValueError("no number")
            return mini_batch
        """,
        error_threshold=threshold,
        run_max_try=1,
    )
    assert run.status is status
    if status is RunStatus.FAILED:
        assert run.error_code == "ErrorThresholdExceeded"
        assert f"5 items failed, more than the error_threshold of {threshold}" in run.error
        cause = "ValueError: no number (script.py, line 3) (5 of 5 failed items, the first: 0000.csv in mini-batch 0)."
        assert run.error.startswith(cause)


def test_what_was_scored_before_a_stop_is_kept_as_partial(workspace, score):
    run = score(
        """
        def run(mini_batch):
            if "0015.csv" in mini_batch[0]: raise ValueError
            return mini_batch
        """,
        error_threshold=0,
        run_max_try=1,
        process_count_per_node=1,
    )
    name, lines = rows(workspace, run)
    assert name == "parallel_run_step.partial.txt"
    assert len(lines) == run.items_succeeded == 15


@pytest.mark.parametrize(
    ("setting", "code"),
    [({"allowed_failed_count": 0}, "AllowedFailedCountExceeded"), ({"allowed_failed_percent": 20}, "AllowedFailedPercentExceeded")],
)
def test_failed_mini_batches_have_limits_of_their_own(score, setting, code):
    run = score(
        """
        def run(mini_batch):
            if "0000.csv" in mini_batch[0]: raise ValueError
            return mini_batch
        """,
        run_max_try=1,
        **setting,
    )
    assert (run.status, run.error_code) == (RunStatus.FAILED, code)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module\ndef run(mini_batch): return mini_batch", "No module named 'no_such_module' (script.py, line 1)"),
        ("raise RuntimeError('at import')\ndef run(mini_batch): return mini_batch", "RuntimeError: at import (script.py, line 1)"),
        ("def run(m): return m\ndel run", "has no function run(mini_batch)"),
    ],
)
def test_a_script_that_does_not_import_fails_the_run_before_any_mini_batch(workspace, score, source, words):
    run = score(source)
    code = "ModuleNotFoundError" if "No module" in words else "EntryScriptError"
    assert (run.status, run.error_code, run.mini_batches_done) == (RunStatus.FAILED, code, 0)
    assert words in run.error.splitlines()[0]
    assert attempts(workspace, run) == []


def test_an_init_that_keeps_failing_ends_the_run(score):
    run = score("def init(): raise OSError('no model')\ndef run(mini_batch): return mini_batch", process_count_per_node=2)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "EntryScriptError")
    assert "Workers could not start, after 6 tries on node 0: init raised OSError: no model (script.py, line 1)" in run.error


CAN_NEVER_WORK = {
    "a missing module": ("import ghost", "ModuleNotFoundError: No module named 'ghost'"),
    "a syntax error": ("exec('a b')", "SyntaxError: invalid syntax"),
    "an exit": ("import sys; sys.exit('no arguments')", "SystemExit: no arguments"),
    "an empty pickle": ("import pickle; pickle.loads(b'')", "EOFError: Ran out of input"),
    "a pickle of a class that is gone": ("import pickle; pickle.loads(b'cos\\nghost\\n.')", "AttributeError: Can't get attribute 'ghost'"),
    "a model of another kind": ("import io, joblib; joblib.load(io.BytesIO(b'version'))", "KeyError: 118"),
}


def test_arguments_that_argparse_refuses_are_named_with_the_way_out(score):
    init = (
        "def init():\n    parser = argparse.ArgumentParser()\n    parser.add_argument('--labels', required={})\n    parser.parse_args()\n"
    )
    run = score(f"import argparse\n{init.format(False)}def run(mini_batch): return mini_batch", 2)
    assert "init raised SystemExit: unrecognized arguments --output, --" in run.error
    assert (
        "; use parse_known_args() in place of parse_args(), since the runtime passes arguments of its own (script.py, line 5)" in run.error
    )
    run = score(f"import argparse\n{init.format(True)}def run(mini_batch): return mini_batch", 2, name="other.py")
    assert "init raised SystemExit: the following arguments are required: --labels (other.py, line 5)" in run.error


@pytest.mark.parametrize(
    ("source", "words", "processes"), [(*case, 1 + place % 2) for place, case in enumerate(CAN_NEVER_WORK.values())], ids=CAN_NEVER_WORK
)
def test_an_init_that_can_never_work_ends_the_run_at_once(score, source, words, processes):
    run = score(f"def init(): {source}\ndef run(mini_batch): return mini_batch", 10, process_count_per_node=processes)
    tries, reason = re.match(r"Workers could not start, after (\d) tries on node 0: init raised (.*)", run.error).groups()
    assert 2 <= int(tries) < 3 * processes
    assert reason.startswith(words)


def test_an_init_that_works_in_one_process_is_tried_again_in_the_others(score, tmp_path):
    run = score(
        f"""
        import os, pathlib, time
        tries = pathlib.Path({str(tmp_path)!r}, "tries")
        def init():
            if os.environ["BATCH_SCORING_AGENT_NAME"] == "process001":
                with open(tries, "a") as file: file.write("x")
                import ghost
        def run(mini_batch):
            while not tries.exists() or tries.stat().st_size < 6: time.sleep(0.01)
            time.sleep(600)
        """,
        process_count_per_node=2,
    )
    assert "Workers could not start, after 6 tries on node 0: init raised ModuleNotFoundError" in run.error


def test_a_script_that_hangs_on_import_is_given_up_after_its_limit(score, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_IMPORT_TIMEOUT", "1")
    run = score("import time\ntime.sleep(600)\ndef run(mini_batch): return mini_batch", process_count_per_node=1)
    assert run.status is RunStatus.FAILED
    assert "importing the scoring script took longer than 1 s, the limit that BATCH_SCORING_IMPORT_TIMEOUT sets" in run.error


def test_summary_only_keeps_the_counts_and_what_the_script_wrote(workspace, score):
    run = score(
        """
        import os
        def run(mini_batch):
            for path in mini_batch:
                open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(path) + ".out"), "w").close()
            return [None] * len(mini_batch)
        """,
        output_action="summary_only",
    )
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 20)
    assert sorted(workspace.runs.output(run.id)) == [f"{i:04}.csv.out" for i in range(20)]


def test_the_output_file_can_be_called_otherwise(workspace, score):
    run = score(NAMES, append_row_file_name="inferences.txt")
    assert list(workspace.runs.output(run.id)) == ["inferences.txt"]


def test_a_dataframe_is_written_as_azure_writes_it(workspace, score):
    run = score(
        """
        import pandas
        def run(mini_batch): return pandas.DataFrame({"file": ["a b", 'c"d', "e\\nf"], "p": [0.5, 1.0, 2.25]})
        """,
        3,
    )
    (_, path), *_ = workspace.runs.output(run.id).items()
    assert path.read_text() == '"a b" 0.5\n"c""d" 1.0\n"e\nf" 2.25\n'


def test_hostile_names_and_values_reach_the_output_unharmed(workspace, entry_script, finish, tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    names = ["a:b.csv", "c,d.csv", "=cmd|x.csv", "q\"u'o.csv", "new\nline.csv", "ünï.csv", " lead.csv", os.fsdecode(b"bad\xff.csv")]
    for name in names:
        (folder / name).write_text("1\n")
    workspace.register_dataset("d", folder)
    request = RunRequest((), ("d",), str(entry_script(NAMES)), ParallelRunSettings(process_count_per_node=1))
    run = finish(workspace, workspace.submit(request).id)
    content = workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes()
    assert content == b"".join(os.fsencode(name) + b"\n" for name in sorted(names))


def test_an_undecodable_name_in_an_error_ends_the_run_as_any_error_does(workspace, entry_script, finish, tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / os.fsdecode(b"bad\xff.csv")).write_text("1\n")
    workspace.register_dataset("d", folder)
    script = entry_script("def run(mini_batch): raise ValueError(mini_batch[0])")
    run = finish(workspace, workspace.submit(RunRequest((), ("d",), str(script), ParallelRunSettings(error_threshold=0))).id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "ErrorThresholdExceeded")
    assert "bad\\udcff.csv" in run.error


def test_a_script_may_do_to_its_streams_and_folder_what_it_likes(score):
    run = score(
        """
        import os, sys, threading, time
        threading.Thread(target=time.sleep, args=(600,)).start()
        sys.stdout.close()
        os.close(0)
        os.chdir("/")
        def run(mini_batch): return mini_batch
        """
    )
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 20), run.error


@pytest.mark.parametrize("thread", ["", "threading.Thread(target=wait).start()", "threading.Thread(target=wait, daemon=True).start()"])
def test_what_a_script_left_open_is_written_and_atexit_called(workspace, score, thread):
    run = score(
        f"""
        import atexit, gzip, os, threading, time
        def wait():
            while True:
                time.sleep(0.01)
        def init():
            global plain, packed
            {thread}
            folder = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], str(os.getpid()))
            plain, packed = open(folder + ".txt", "w"), gzip.open(folder + ".gz", "wt")
            atexit.register(lambda: open(folder + ".end", "w").write("called"))
        def run(mini_batch):
            plain.write("one\\n"), packed.write("one\\n")
            return mini_batch
        """,
        process_count_per_node=1,
        output_action="summary_only",
    )
    assert (run.status, run.warnings) == (RunStatus.COMPLETED, ())
    left = {path.suffix: path for path in workspace.runs.output(run.id).values()}
    assert left[".txt"].read_text() == "one\n" * 4
    assert gzip.decompress(left[".gz"].read_bytes()) == b"one\n" * 4
    assert left[".end"].read_text() == "called"


def test_a_process_that_does_not_end_is_killed_after_a_calls_time(score):
    run = score("import atexit, time\natexit.register(time.sleep, 600)\ndef run(m): return m", 1, run_invocation_timeout=2)
    assert run.status is RunStatus.COMPLETED
    assert run.warnings == ("shutdown() and the end of its process (atexit, open files) took longer than 2 s",)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_crashes_at_its_end_is_warned_about(score):
    run = score("import atexit, os\natexit.register(os.abort)\ndef run(m): return m", 1)
    what = "after shutdown() the worker was ended by signal SIGABRT: files that the script left open may be incomplete"
    assert (run.status, run.warnings) == (RunStatus.COMPLETED, (what,))


POOLS = {
    "multiprocessing, spawn": "multiprocessing.get_context('spawn').Pool(2)",
    "ProcessPoolExecutor, forkserver": "ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('forkserver'))",
    "joblib": "SimpleNamespace(map=lambda f, items: joblib.Parallel(2)(joblib.delayed(f)(item) for item in items))",
}


@pytest.mark.skipif(os.name != "posix", reason="there is no forkserver on Windows")
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_script_may_use_pools_of_processes(workspace, score, pool):
    run = score(
        f"""
        import joblib, multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor
        from types import SimpleNamespace
        from azureml_user.parallel_run import EntryScript
        def init():
            global pool
            pool = {pool}
        def name(path): return os.path.basename(path) + EntryScript.__name__
        def run(mini_batch): return list(pool.map(name, mini_batch))
        """,
        2,
        process_count_per_node=1,
        run_invocation_timeout=30,
    )
    assert (run.status, run.warnings) == (RunStatus.COMPLETED, ()), run.error
    assert rows(workspace, run)[1] == ["0000.csvEntryScript", "0001.csvEntryScript"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_what_a_script_forked_ends_with_it(workspace, score, finish, tmp_path):
    pids = tmp_path / "pids"
    run = score(
        f"""
        import subprocess, sys
        def init():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            open({str(pids)!r}, "a").write(f"{{child.pid}}\\n")
        def run(mini_batch): return mini_batch
        """
    )
    assert run.status is RunStatus.COMPLETED
    finish(workspace, run.id, until=lambda _: not any(map(is_alive, pids.read_text().split())))


def test_many_large_rows_pass_through_whole(workspace, score):
    run = score("def run(mini_batch): return ['x' * 300_000] * len(mini_batch)", 20)
    assert [len(line) for line in rows(workspace, run)[1]] == [300_000] * 20

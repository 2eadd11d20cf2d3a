"""The command line: logs, as one stream of lines."""

from __future__ import annotations

import signal

from services.cli.commands import INTERRUPTED


def test_lines_are_searched_by_text_level_mini_batch_and_worker(partly_failed):
    command, of_run = partly_failed.command, ("logs", partly_failed.id)
    printed = command(*of_run, "--search", "SCORING").out.splitlines()
    assert [(line.split()[5], line.split()[-1]) for line in printed] == [("0", "0000.csv"), ("1", "0001.csv"), ("2", "0002.csv")]
    assert all(line.startswith("~") and "\\x1b[31m" in line for line in printed)
    value = command(*of_run, "--level", "warning", "--mini-batch", 1, "--json").json
    assert value.keys() == {"lines", "more", "scanned_bytes", "bytes", "notes"}
    assert [line["level"] for line in value["lines"]][:2] == ["WARNING", "ERROR"]
    assert value["lines"][0].keys() == {
        "text", "time", "time_inferred", "worker", "level", "mini_batch", "mini_batch_inferred", "log"
    }  # fmt: skip
    last = command(*of_run, "--worker", "node 0, process000", "--last", 2)  # of two mini-batches, whichever came first
    assert "scoring 0002.csv" in last.out
    assert "there may be more before" in last.err
    assert command(*of_run, "--search", "nothing like it").err.startswith("No line matches, of ")


def test_a_query_that_means_nothing_is_refused_at_its_option(completed_run):
    for option, text in (("level", "loud"), ("last", "0"), ("last", "x"), ("mini-batch", "-1"), ("worker", "nobody")):
        result = completed_run.command("logs", completed_run.id, f"--{option}={text}", "--json")
        assert (result.code, result.error["field"]) == (2, option.replace("-", "_"))


def test_a_run_is_followed_to_its_end(command, real_command, run):
    slow = "import time\ndef run(mini_batch):\n    time.sleep(0.5)\n    print('scored', mini_batch[0])\n    return [1]"
    run_id = run("--mini-batch-size", 1, script=slow).out.strip()
    followed = real_command("logs", run_id, "--follow", "--search", "scored")
    assert [line.split("/")[-1] for line in followed.out.splitlines()] == ["0000.csv", "0001.csv", "0002.csv"]
    assert f"{run_id}: Completed" in followed.err
    value = command("logs", run_id, "--follow", "--search", "scored", "--json").json
    assert [line["mini_batch"] for line in value["lines"]] == [0, 1, 2]


def test_lines_that_come_too_fast_to_follow_are_said(started, run, tmp_path):
    flag = tmp_path / "followed"
    fast = f"""
        import os, time
        def run(mini_batch):
            print("x", flush=True)
            while not os.path.exists({str(flag)!r}):
                time.sleep(0.01)
            print("x\\n" * 3000, flush=True)
            return [1]
    """
    process = started("logs", run("--mini-batch-size", 10, script=fast).out.strip(), "--follow", "--search", "x")
    assert process.stdout.readline().endswith("x\n")
    flag.touch()
    _, said = process.communicate(timeout=120)
    assert "Lines came faster than they are shown: of these, the last 1,000 lines." in said


def test_ctrl_c_ends_following_and_not_the_run(command, started, run, tmp_path):
    waits = "import time\ndef run(mini_batch):\n    print('begun', flush=True)\n    time.sleep(600)"
    run_id = run(script=waits).out.strip()
    process = started("logs", run_id, "--follow", "--search", "begun")
    assert "begun" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert command("show", run_id, "--json").json["status"] == "Running"
    command("cancel", run_id)

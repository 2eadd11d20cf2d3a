"""Which mini-batch printed what: noted by the worker beside its attempts."""

from __future__ import annotations

from services.local.run_folder import LocalRunFolder
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

"""Processes of this program that need not import what they use: pandas and DuckDB, or an SDK of Azure ML, takes longer than their work.

`python -IS warm_processes.py SOCKET -m MODULE ...` stands for `python -m MODULE ...`. It hands its streams, folder, limits, variables and
arguments to a process that `serve` forks off one which has imported what MODULE uses, and lasts as long as that: where it is killed, so is
the other. Where a test has modules of its own, by PYTHONPATH, it is executed as ever; so is all that a real dashboard or command starts.
"""

from __future__ import annotations

import _socket  # not socket, which takes longer to import than all the rest
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_TABLES = ("duckdb", "pandas", "pyarrow.parquet")
_USES = {
    "services.azure.runs.runner": ("azure.ai.ml", "azure.storage.blob", "azureml.pipeline.steps"),
    "services.handover.archive_tables": _TABLES,
    "services.intake.skops_types": ("skops.io",),
    "services.intake.tables": (*_TABLES, "services.intake.csv_conversion", "services.intake.parquet_conversion"),
    "services.local.replay_process": _TABLES,
    "services.local.trial_process": _TABLES,
    "services.predictions.query_process": _TABLES,
    "services.sample": ("joblib", "sklearn.datasets", "sklearn.linear_model"),
}  # what modules import inside functions


def started(path: str) -> Iterator[list[str]]:
    """The server as a context: what to execute modules by."""
    import subprocess

    command = [sys.executable, __file__, "serve", path]
    root = os.path.dirname(os.path.dirname(__file__))
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin
        assert server.stdout
        server.stdout.readline()
        yield [sys.executable, "-IS", __file__, path]
        server.stdin.close()


def ask(path: str, arguments: list[str]) -> int:
    """Have the process forked; its exit code."""
    import resource

    limits = [(limit, resource.getrlimit(limit)) for limit in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)]
    order = marshal.dumps((arguments, os.getcwd(), dict(os.environ), limits))
    server = _socket.socket(_socket.AF_UNIX)
    server.connect(path)
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    server.sendmsg([len(order).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    server.sendall(order)
    answer = b""
    while piece := server.recv(1):  # up to its very end, with which it lets go of the run's lock
        answer += piece
    return int.from_bytes(answer or b"\1", "big")


def serve(path: str) -> None:
    """Fork a process for each that asks, until standard input ends. What a module uses is imported when it is first asked for."""
    import gc
    import importlib
    import select
    import signal
    import socket

    sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("listening", flush=True)
        while select.select([listening, sys.stdin], [], [])[0] == [listening]:
            asking, _ = listening.accept()
            length, streams, _, _ = socket.recv_fds(asking, 4, 3)
            with asking.makefile("rb") as line:
                arguments, *given = marshal.loads(line.read(int.from_bytes(length, "big")))
            if arguments[0] not in sys.modules:
                for name in (*_USES.get(arguments[0], ()), arguments[0]):
                    importlib.import_module(name)
                gc.freeze()
            if os.fork() == 0:
                listening.close()
                _execute(asking, streams, arguments, *given)
            for stream in streams:
                os.close(stream)
            asking.close()


def _execute(asking: socket.socket, streams: list[int], arguments: list[str], folder: str, variables: dict[str, str], limits: list) -> None:
    """What was asked for, in this process, to its end."""
    import logging
    import resource
    import runpy
    import signal
    import threading

    def end_with_who_asked() -> None:
        asking.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for limit, values in limits:
        resource.setrlimit(limit, values)
    sys.argv = ["-m", *arguments[1:]]
    threading.Thread(target=end_with_who_asked, daemon=True).start()
    code: object = 0
    try:
        del sys.modules[arguments[0]]  # it is executed as __main__
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - the edge of a process
        sys.excepthook(*sys.exc_info())
        code = 1
    logging.shutdown()
    for written in (sys.stdout, sys.stderr):
        written.flush()
    asking.send(int(code).to_bytes(1, "big"))
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif os.environ.get("PYTHONPATH"):
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[3:]))

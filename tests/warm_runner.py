"""Runners of runs on Azure ML that need not import an SDK each: its two thousand modules take longer than a short run.

`python -IS warm_runner.py SOCKET -m MODULE HOME RUN_ID` stands for `python -m MODULE HOME RUN_ID`. It hands its streams, folder, variables
and arguments to a process that `serve` forks off one which has imported both SDKs, and lasts as long as that: where it is killed, so is the
other. Other modules than the runner's are executed as ever.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading

MODULE = "services.azure.runs.runner"


def ask(path: str, arguments: list[str]) -> int:
    """Have the process forked; its exit code."""
    order = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(order).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(order)
        answer = b""
        while piece := server.recv(1):  # up to its very end, with which it lets go of the run's lock
            answer += piece
    return int.from_bytes(answer or b"\1", "big")


def serve(path: str) -> None:
    """Fork a process for each that asks, until standard input ends. The SDKs are imported when the first one does."""
    import gc
    import select

    sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("listening", flush=True)
        while select.select([listening, sys.stdin], [], [])[0] == [listening]:
            asking, _ = listening.accept()
            import azure.ai.ml
            import azure.storage.blob  # noqa: F401
            import azureml.pipeline.steps  # noqa: F401

            import services.azure.runs.runner  # noqa: F401

            gc.freeze()
            if os.fork() == 0:
                listening.close()
                _execute(asking)
            asking.close()


def _execute(asking: socket.socket) -> None:
    """What was asked for, in this process, to its end."""
    import logging

    from services.azure.runs import runner

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(asking, 4, 3)
    order = b""
    while len(order) < int.from_bytes(length, "big"):
        order += asking.recv(1 << 20)
    arguments, folder, variables = json.loads(order)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [MODULE, *arguments]
    threading.Thread(target=_end_with, args=(asking,), daemon=True).start()
    code = 1
    try:
        code = runner.main()
    except BaseException:  # noqa: BLE001 - the edge of a process
        sys.excepthook(*sys.exc_info())
    logging.shutdown()
    sys.stderr.flush()
    asking.send(code.to_bytes(1, "big"))
    os._exit(code)


def _end_with(asking: socket.socket) -> None:
    asking.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif sys.argv[3] == MODULE:
        sys.exit(ask(sys.argv[1], sys.argv[4:]))
    else:
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])

"""The runner's side of one worker process: start it, send it mini-batches, read its messages, end it and all it started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple

from services import environment_variables
from services.domain import MiniBatch
from services.local.run_folder import LocalRunFolder, RunPlan
from services.storage.file_tree import last_line

_FRAME = struct.Struct("<III")
_WORKER = Path(__file__).with_name("worker_main.py")

# A worker runs other people's code: it gets no credentials that happen to be in the environment. Its own come by `environment_variables`.
_SECRET_PREFIXES = ("AZURE_", "ARM_", "AWS_", "GOOGLE_", "GCP_", "MSI_", "IDENTITY_")

_IMPORT_TIMEOUT_SECONDS = 300  # azureml alone can take 13 on a busy machine
_ANSWER_BYTES = 1 << 20  # that a worker may leave in its line and go on, as far as the system allows
_DEEPEST_QUEUE = 64  # mini-batches
_LONGEST_LOG = 50_000_000  # bytes
_KEPT_OF_A_LONG_LOG = 1_000_000


def _refuse(constant: str) -> None:
    raise ValueError(f"no worker sends {constant}")


_parsed = json.JSONDecoder(parse_constant=_refuse).raw_decode  # json.loads() looks for an encoding and for blanks at both ends first


def parsed_header(text: bytes | bytearray) -> dict[str, Any]:
    """The header of a message. Raises ValueError for what no worker sends: then another process writes to its socket."""
    header, _ = _parsed(text.decode("ascii"))
    if not isinstance(header, dict):
        raise ValueError(f"no worker sends {header!r}")
    return header


class Stage(Enum):
    """Where a worker is. `IMPORT` and `INIT` have time limits of their own."""

    IMPORT = "import"
    INIT = "init"
    READY = "ready"
    SHUTDOWN = "shutdown"


class Message(NamedTuple):
    """One message of a worker: the JSON header, the rows' bytes, and where each row ends."""

    header: dict[str, Any]
    rows: bytes
    row_ends: bytes


@dataclass(frozen=True)
class WorkerPlace:
    """Which worker it is and where it keeps its things. A replacement takes over the place of the one it replaces."""

    node: int
    process: int
    logs: Path
    work: Path

    def __str__(self) -> str:
        return f"{self.node}/{self.agent_name}"

    @property
    def agent_name(self) -> str:
        return f"process{self.process:03}"

    def log(self, kind: str) -> Path:
        """Of `kind` stdout, stderr or entry_script_log."""
        ending = "log.txt" if kind == "entry_script_log" else f"{kind}.txt"
        return self.logs / "user" / kind / str(self.node) / f"{self.agent_name}.{ending}"

    @property
    def working_folder(self) -> Path:
        return self.work / str(self.node) / self.agent_name


class WorkerProcess:
    """A started worker. `queue` holds what was sent and not answered; the first of it is what the worker is on."""

    def __init__(self, place: WorkerPlace, interpreter: str, environment: dict[str, str]) -> None:
        self.place = place
        self.stage = Stage.IMPORT
        self.since = time.monotonic()
        self.queue: deque[MiniBatch] = deque()
        self.seconds_per_mini_batch: float | None = None
        self._handed_over: list[tuple[int, int, int, int]] = []
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._ended = False
        for log in (place.log("stdout"), place.log("stderr")):
            log.parent.mkdir(parents=True, exist_ok=True)
        place.working_folder.mkdir(parents=True, exist_ok=True)
        self.socket, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ANSWER_BYTES)
        with theirs, open(place.log("stdout"), "ab") as stdout, open(place.log("stderr"), "ab") as stderr:
            self._printed_ends = [stdout.tell(), stderr.tell()]
            self._popen = self._start(interpreter, environment, theirs, stdout, stderr)
        self.socket.setblocking(False)

    def _start(
        self, interpreter: str, environment: dict[str, str], theirs: socket.socket, stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        command = [interpreter, str(_WORKER)]
        common: dict[str, Any] = {"cwd": self.place.working_folder, "env": environment, "stdout": stdout, "stderr": stderr}
        if os.name == "posix":
            arguments = [str(theirs.fileno()), str(os.getpid())]
            return subprocess.Popen(
                command + arguments, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True, **common
            )
        flags: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
        popen = subprocess.Popen([*command, "-", str(os.getpid())], stdin=subprocess.PIPE, creationflags=flags, **common)
        assert popen.stdin
        popen.stdin.write(theirs.share(popen.pid).hex().encode() + b"\n")  # type: ignore[attr-defined, unused-ignore]
        popen.stdin.flush()
        return popen

    # ---- talking --------------------------------------------------------------------------------------------------------------

    def send(self, command: dict[str, Any]) -> None:
        """Queue a command; `flush` sends it."""
        text = json.dumps(command).encode("ascii")
        self._outgoing += _FRAME.pack(len(text), 0, 0) + text

    def flush(self) -> None:
        """Send what the socket takes. What the worker does not read yet waits here, never in the runner's way."""
        if self._handed_over:
            self.send({"mini_batches": self._handed_over})
            self._handed_over.clear()
        while self._outgoing:
            try:
                sent = self.socket.send(self._outgoing)
            except BlockingIOError:
                return
            except OSError:
                self._outgoing.clear()  # it is gone; reading its socket tells the runner
                return
            del self._outgoing[:sent]

    def hand_over(self, mini_batch: MiniBatch) -> None:
        """Give the worker one more mini-batch. Its time starts when the one before it is answered."""
        if not self.queue:
            self.since = time.monotonic()
        self.queue.append(mini_batch)
        self._handed_over.append((mini_batch.index, mini_batch.dataset, mini_batch.offset, mini_batch.length))

    def answered(self) -> MiniBatch:
        """Take off the mini-batch that the worker was on; its time on the next one starts now."""
        self.since = time.monotonic()
        return self.queue.popleft()

    def note_printed(self, message: dict[str, Any]) -> None:
        """Learn from a message where its output ends by now."""
        if "printed" in message:
            self._printed_ends = message["printed"][1::2]

    def printed_unnoted(self) -> dict[str, list[int]]:
        """What a message of it would say of the output since its last message: that of a worker that says no more."""
        ends = [path.stat().st_size if path.exists() else 0 for path in (self.place.log("stdout"), self.place.log("stderr"))]
        begins, self._printed_ends = self._printed_ends, ends
        return {"printed": [at for pair in zip(begins, ends, strict=True) for at in pair]} if begins != ends else {}

    def enter(self, stage: Stage) -> None:
        """Start the clock of its next stage."""
        self.stage, self.since = stage, time.monotonic()

    def note_pace(self, seconds: float) -> None:
        """Learn how long a mini-batch takes, the latest weighing most."""
        before = self.seconds_per_mini_batch
        self.seconds_per_mini_batch = seconds if before is None else (before + seconds) / 2

    def room(self, read_ahead: float) -> int:
        """How many more mini-batches it may be given: one until its pace is known, then `read_ahead` seconds of work."""
        if self.stage is not Stage.READY:
            return 0
        pace = self.seconds_per_mini_batch
        depth = 1 if pace is None else max(1, min(_DEEPEST_QUEUE, int(read_ahead / max(pace, 1e-6))))
        return depth - len(self.queue)

    def seconds_of_work(self) -> float:
        """How long what it has not answered will take; 0 where its pace is not known or it is on its last."""
        return (self.seconds_per_mini_batch or 0.0) * max(0, len(self.queue) - 1)

    def place_models(self, models: list[Path]) -> None:
        """Put the run's models where `Model.get_model_path` looks: azureml-models/<name>/<version>/ of the working folder."""
        for path in models:
            version_folder = path.parent
            link = self.place.working_folder / "azureml-models" / version_folder.parent.name / version_folder.name
            if link.exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                link.symlink_to(version_folder, target_is_directory=True)
            except OSError:  # Windows without the right to make links
                shutil.copytree(version_folder, link)

    def stop(self) -> None:
        """Ask for shutdown() and the end."""
        self.enter(Stage.SHUTDOWN)
        self.send({"stop": True})

    def receive(self) -> tuple[list[Message], bool]:
        """Whole messages that have come, and whether the line is closed. Never blocks."""
        closed = False
        while True:
            try:
                chunk = self.socket.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                closed = True
                break
            self._incoming += chunk
            if len(chunk) < 1 << 16:
                break
        return list(self._messages()), closed

    def _messages(self) -> Iterator[Message]:
        position, incoming = 0, self._incoming
        while len(incoming) - position >= _FRAME.size:
            header, rows, row_ends = _FRAME.unpack_from(incoming, position)
            begin = position + _FRAME.size
            end_of_header = begin + header
            end_of_rows = end_of_header + rows
            end = end_of_rows + row_ends
            if len(incoming) < end:
                break
            header = parsed_header(incoming[begin:end_of_header])
            yield Message(header, bytes(incoming[end_of_header:end_of_rows]), bytes(incoming[end_of_rows:end]))
            position = end
        if position:
            del incoming[:position]

    # ---- living and dying -----------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        return self._popen.poll()

    @property
    def crashed(self) -> bool:
        """Whether it was ended by a signal other than the one that `end` sends."""
        code = self._popen.poll()
        return code is not None and code < 0 and code != -signal.SIGKILL

    def describe_exit(self) -> str:
        """Why the process is gone, in part of a sentence."""
        code = self._popen.poll()
        if code is None:
            return "the worker closed its line"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"the worker was ended by signal {signal.Signals(-code).name}"
        message = last_line(self.place.log("stderr"))  # an interpreter that can't start prints the reason there
        return f"the worker exited with code {code}{message and f': {message}'}"

    def end(self) -> None:
        """End it at once, with whatever it started in its own session, and forget its line. Once: its number may be another's later."""
        if self._ended:
            return
        self._ended = True
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        elif self._popen.poll() is None:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self._popen.pid)], capture_output=True, check=False)
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        if self._popen.stdin:
            self._popen.stdin.close()
        self.socket.close()

    def trim_logs(self) -> None:
        """Keep a script that prints without end from filling the disk: the beginning of its output stays, and what it prints next."""
        for path in (self.place.log("stdout"), self.place.log("stderr")):
            if path.exists() and (size := path.stat().st_size) > _LONGEST_LOG:
                os.truncate(path, _KEPT_OF_A_LONG_LOG)
                with open(path, "ab") as log:  # the worker appends, so what it prints next comes after this line
                    log.write(f"\n[{size - _KEPT_OF_A_LONG_LOG:,} bytes were dropped here: this output grew too long]\n".encode())

    def keep_logs(self) -> None:
        """Keep what the script wrote under ./logs of its working folder with the run's logs; the rest of the folder goes."""
        written = self.place.working_folder / "logs"
        if written.is_dir() and not written.is_symlink():
            target = self.place.logs / "user" / "logs" / str(self.place.node) / self.place.agent_name
            shutil.copytree(written, target, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(self.place.working_folder, ignore_errors=True)


def start_worker(
    place: WorkerPlace, plan: RunPlan, folder: LocalRunFolder, gpu: Mapping[str, str], config: Mapping[str, Any]
) -> WorkerProcess:
    """A worker of a run, with the variables, models, threads and memory that its plan gives it; `gpu` are those of gpus.of_worker, `config`
    is what RunPlan.for_worker says. Raises OSError."""
    settings = plan.request.settings
    own = {**gpu, **(settings.environment_variables or {}), "BATCH_SCORING_LOGGING_LEVEL": settings.logging_level}
    if plan.models:
        own["AZUREML_MODEL_DIR"] = str(Path(plan.models[0].path).parent)
    threads = max(1, (os.cpu_count() or 1) // settings.worker_count)
    worker = WorkerProcess(place, plan.environment.interpreter, worker_environment(place, folder, own, threads))
    try:
        worker.place_models([Path(model.path) for model in plan.models])
        streams = [str(place.log("stdout")), str(place.log("stderr"))]
        worker.send({**config, "memory_limit": memory_limit(settings.worker_count), "streams": streams})
    except BaseException:  # it is raised again
        worker.end()
        raise
    return worker


def describe_timeout(stage: Stage, seconds: int) -> str:
    """Why a worker that was in this stage for longer than it may is ended, in part of a sentence."""
    if stage is Stage.IMPORT:
        return f"importing the scoring script took longer than {seconds} s, the limit that BATCH_SCORING_IMPORT_TIMEOUT sets"
    if stage is Stage.SHUTDOWN:
        return f"shutdown() and the end of its process (atexit, open files) took longer than {seconds} s"
    return f"{'init' if stage is Stage.INIT else 'run'}() took longer than the run_invocation_timeout of {seconds} s"


def import_timeout() -> int:
    """Seconds that a worker may take to import the scoring script."""
    return environment_variables.number("BATCH_SCORING_IMPORT_TIMEOUT") or _IMPORT_TIMEOUT_SECONDS


def memory_limit(workers: int) -> int | None:
    """Bytes of memory of its own that each of `workers` may take: its share of four fifths of this machine's, or what
    `BATCH_SCORING_WORKER_MEMORY` says (in MB). None where the system doesn't report its memory."""
    if megabytes := environment_variables.number("BATCH_SCORING_WORKER_MEMORY"):
        return megabytes * 1_000_000
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return max(1_000_000_000, machine * 4 // 5 // workers)


def sanitized_environment() -> dict[str, str]:
    """This process's environment without its credentials, and without what leads another interpreter to this one's modules. What a person
    has not set keeps libraries from sending what they see to their makers: ONNX Runtime from 1.29 and MLflow from 3.2 do it unasked."""
    return {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true"} | {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_SECRET_PREFIXES)
        and not environment_variables.is_secret(name)
        and name not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")
    }


def worker_environment(place: WorkerPlace, folder: LocalRunFolder, own: dict[str, str], threads: int) -> dict[str, str]:
    """The environment of a worker: what is passed on, what Azure ML sets, and the run's own variables on top."""
    environment = sanitized_environment()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, str(threads))  # workers share the cores: their numeric libraries must not each take them all
    return environment | {
        "AZUREML_BI_OUTPUT_PATH": str(folder.output),
        "BATCH_SCORING_RUN_FACTS": str(folder.facts_file),
        "BATCH_SCORING_LOG_DIR": str(place.logs / "user"),
        "BATCH_SCORING_ENTRY_SCRIPT_LOG": str(place.log("entry_script_log")),
        "BATCH_SCORING_WORKING_DIR": str(place.working_folder),
        "BATCH_SCORING_AGENT_NAME": place.agent_name,
        **own,
    }

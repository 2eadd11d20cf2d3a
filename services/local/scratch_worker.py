"""A worker of a run's plan that scores outside of a run, in a scratch folder: started, called, timed, limited and ended as a run's is."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.domain import MiniBatch
from services.local.process_memory import Usage, usage
from services.local.run_folder import LocalRunFolder, RunPlan
from services.local.scratch_process import Stopped, nobody_waits
from services.local.worker_process import Message, Stage, WorkerPlace, WorkerProcess, describe_timeout, import_timeout, start_worker
from services.storage.journal import AttemptStatus

_TICK_SECONDS = 0.05
_TRIM_SECONDS = 0.5
_MOST_STARTS = 4


class NotStarted(Exception):
    """No worker starts: the message is what its run would say, and the traceback of the script."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True)
class Scored:
    """The outcome of one call: the worker's message, or how it failed. `seconds` is the whole call."""

    items: int
    seconds: float
    message: Message | None
    status: AttemptStatus = AttemptStatus.RUN_DONE
    failure: dict[str, Any] | None = None

    @property
    def returned(self) -> int:
        return int(self.message.header["returned"]) if self.message else 0


class ScratchWorker:
    """One worker, started when it is called first, and again after it was lost. `config` says what RunPlan.for_worker does; `at_tick` is
    called, with the stage that it is in, some twenty times a second while it is waited for.

    `start_seconds` is from its start to the end of init(), `init_seconds` is init() alone; `peak` the most memory in bytes that it and
    what it started had at once, 0 where the system doesn't tell, and `at_start` what they had after init().
    """

    def __init__(
        self,
        plan: RunPlan,
        folder: LocalRunFolder,
        place: WorkerPlace,
        gpu: Mapping[str, str],
        config: Callable[[], dict[str, Any]],
        at_tick: Callable[[Stage], None] = lambda _: None,
    ) -> None:
        self._plan, self._folder, self.place = plan, folder, place
        self._gpu, self._config, self._at_tick = gpu, config, at_tick
        self._limit = plan.request.settings.run_invocation_timeout
        self._worker: WorkerProcess | None = None
        self._inbox: deque[Message] = deque()
        self._next_trim = 0.0
        self._usage: Usage | None = None
        self.starts = 0
        self.peak = 0
        self.at_start: int | None = None
        self.start_seconds: float | None = None
        self.init_seconds: float | None = None

    def call(self, batch: MiniBatch) -> Scored:
        """One call of run(). Raises Stopped, NotStarted."""
        worker, items, limit = self._worker or self._start(), batch.item_count, self._limit
        worker.hand_over(batch)
        message = self._wait(worker, limit)
        seconds = time.monotonic() - worker.since
        if message is not None and message.header.get("mini_batch") == batch.index:
            worker.answered()
            if "error" not in message.header:
                return Scored(items, message.header["elapsed"], message)
            if message.header["error_type"] == "MemoryError":  # what it leaked goes with it
                self.end()
            return Scored(items, message.header["elapsed"], None, AttemptStatus.RUN_EXCEPTION, message.header)
        status, kind, error = AttemptStatus.RUN_TIMEOUT, "TimeoutError", describe_timeout(Stage.READY, limit)
        if seconds < limit:
            self.end(forget=False)
            status, kind, error = AttemptStatus.PROCESS_DIED, "WorkerDied", worker.describe_exit()
        self.end()
        times = {"started_at": time.time() - seconds, "elapsed": seconds, "run_seconds": seconds}
        return Scored(items, seconds, None, status, {"error_type": kind, "error": error} | times)

    def _start(self) -> WorkerProcess:
        """A worker that is ready. Raises NotStarted."""
        if self.starts >= _MOST_STARTS:
            raise NotStarted("The worker ended again and again.")
        self.starts += 1
        began = time.monotonic()
        worker = self._worker = start_worker(self.place, self._plan, self._folder, self._gpu, self._config())
        for stage, following, seconds in ((Stage.IMPORT, Stage.INIT, import_timeout()), (Stage.INIT, Stage.READY, self._limit)):
            message = self._wait(worker, seconds)
            if message is None:
                took = time.monotonic() - worker.since
                self.end(forget=False)
                if took >= seconds and stage is Stage.INIT:
                    self.init_seconds = took
                reason = describe_timeout(stage, seconds) if took >= seconds else f"{worker.describe_exit()} in {stage.value}"
                raise NotStarted(f"Workers could not start: {reason}.")
            if "failed" in message.header:
                what = message.header["error"]
                step = message.header["failed"]
                text = (
                    f"The scoring script can't be imported. {what}"
                    if step == "import"
                    else f"Workers could not start: {step} raised {what}."
                )
                raise NotStarted(text, message.header.get("traceback", ""))
            if stage is Stage.INIT and self.init_seconds is None:
                self.init_seconds = time.monotonic() - worker.since
            worker.enter(following)
        if self.start_seconds is None:
            self.start_seconds = time.monotonic() - began
            self._look_at_memory(worker)
            self.at_start = self._usage.memory if self._usage else None
        return worker

    def _wait(self, worker: WorkerProcess, seconds: float) -> Message | None:
        """The worker's next message; None where it doesn't come in time, or the worker is gone. Raises Stopped."""
        if self._inbox:
            return self._inbox.popleft()
        deadline = worker.since + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(worker.socket, selectors.EVENT_READ)
            while True:
                worker.flush()
                ready = selector.select(max(0.0, min(_TICK_SECONDS, deadline - time.monotonic())))
                if nobody_waits.is_set():
                    self.end()
                    raise Stopped
                self._at_tick(worker.stage)
                self._look_at_memory(worker)
                self._trim(worker)
                if ready:
                    try:
                        messages, closed = worker.receive()
                    except ValueError:  # the script wrote to the worker's socket
                        return None
                    if messages:
                        self._inbox.extend(messages)
                        return self._inbox.popleft()
                    if closed:
                        return None
                if worker.exit_code() is not None and not ready:
                    return None
                if time.monotonic() >= deadline:
                    return None

    def shut_down(self) -> str:
        """Let it call shutdown() and end by itself, within the time of a call; a sentence where that fails, else "". Raises Stopped."""
        worker, said = self._worker, ""
        if worker is None:
            return ""
        worker.stop()
        while (message := self._wait(worker, self._limit)) is not None:
            if "failed" in message.header:
                said = f"shutdown() raised {message.header['error']}"
        if worker.exit_code() is None and time.monotonic() - worker.since >= self._limit:
            said = describe_timeout(Stage.SHUTDOWN, self._limit)
        self.end(forget=False)
        if not said and worker.crashed:
            said = f"after shutdown() {worker.describe_exit()}"
        self.end()
        return said

    def usage_now(self) -> Usage | None:
        """The last that is known."""
        if self._worker:
            self._look_at_memory(self._worker)
        return self._usage

    def _look_at_memory(self, worker: WorkerProcess) -> None:
        if found := usage(worker.pid):
            self._usage = found
            self.peak = max(self.peak, found.memory, found.peak)

    def _trim(self, worker: WorkerProcess) -> None:
        if time.monotonic() >= self._next_trim:
            self._next_trim = time.monotonic() + _TRIM_SECONDS
            worker.trim_logs()

    def end(self, *, forget: bool = True) -> None:
        """End it at once, with all that it started."""
        if self._worker is None:
            return
        self._worker.end()
        self._worker.trim_logs()
        self._inbox.clear()
        if forget:
            self._worker = None

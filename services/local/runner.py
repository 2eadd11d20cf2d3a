"""`python -m services.local.runner HOME RUN_ID`: executes one run, and survives the dashboard.

One process, one loop: receive the workers' messages, check their deadlines, write down what was scored, hand out more mini-batches, send a
heartbeat. Each of these is a small method below, in that order. What a run may rely on is in docs/contract.md.
"""

from __future__ import annotations

import json
import logging
import selectors
import sqlite3
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from services import gpus, log
from services.domain import MiniBatch, RunStatus, utc_now
from services.errors import StudioError, WorkspaceUnavailable
from services.local import output_list
from services.local.batching import cut
from services.local.run_folder import LocalRunFolder
from services.local.run_progress import RunProgress
from services.local.run_slots import RunSlots
from services.local.scored_files import AFTER_THE_END, BEFORE_THE_END, note_contents
from services.local.worker_process import Message, Stage, WorkerPlace, WorkerProcess, describe_timeout, import_timeout, start_worker
from services.storage import run_process
from services.storage.atomic import write_atomically
from services.storage.journal import AttemptStatus
from services.storage.run_process import Outcome
from services.storage.runs import StoredRuns
from services.storage.store import Store

logger = logging.getLogger("services.local.runner")  # __name__ is __main__

HEARTBEAT_SECONDS = 0.5  # between two heartbeats
REPORT_SECONDS = 2.0  # between two versions of logs/job_progress_overview.txt
QUEUE_POLL_SECONDS = 1.0  # between two checks of a queued run for its turn, unless a slot is released before, and for its cancel
QUEUE_HEARTBEAT_SECONDS = 5.0  # between two heartbeats of a queued run
READ_AHEAD_SECONDS = 0.05  # of work that may be queued at a worker, so that it never waits for the runner
COALESCE_SECONDS = 0.002  # that answers may wait for each other, at most
_LARGE = 200_000  # items, whose table takes half a second


class Runner:
    """Executes one run. Use it once, holding the run's lock."""

    def __init__(self, home: Path, run_id: str) -> None:
        self._home = home
        self._run_id = run_id
        self._store = Store(home)
        self._folder = LocalRunFolder(home, run_id)
        self._plan = self._folder.plan()
        self._settings = self._plan.request.settings
        log.hide(*(self._settings.environment_variables or {}).values())
        self._progress: RunProgress
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []
        self._retries: deque[MiniBatch] = deque()
        self._untried: Iterator[MiniBatch] = iter(())
        self._all_handed_out = False
        self._imported = False
        self._start_failures: Counter[int] = Counter()
        self._permanent_failures: defaultdict[int, dict[int, str]] = defaultdict(dict)
        self._gpus = gpus.visible()
        self._import_timeout = import_timeout()
        self._outcome: Outcome | None = None
        self._next_heartbeat = self._next_report = 0.0
        self._pace: deque[tuple[float, int]] = deque(maxlen=20)

    # ---- from start to end ----------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Do what is left of the run, and write down how it ended. A full disk or a lost folder is an outcome like others. Raises
        WorkspaceUnavailable where not even that can be written: the run then reads NotResponding."""
        slot = None
        try:
            slot = self._wait_for_slot()
            if slot:
                self._open()
                if changed := self._plan.changes_since_approval(self._home):
                    self._outcome = Outcome.failed("ChangedSinceApproval", changed)
                else:
                    self._score()
            if self._outcome is None:
                self._outcome = self._progress.verdict()
                self._shut_down_workers()
                with log.suppress(logger, "What was printed at the end can't be noted", OSError, sqlite3.Error):
                    self._progress.write_down()
        except (OSError, sqlite3.Error, WorkspaceUnavailable) as error:
            logger.exception("The run's files could not be written or read: %s", error)
            message = error.message if isinstance(error, StudioError) else f"{type(error).__name__}: {error}."
            what = f"The run's files could not be written or read. {message} Free disk space or fix the folder, then resume the run."
            self._outcome = Outcome.failed("StorageError", what)
        except Exception as error:  # the runner's edge: a run must end with a reason, also where the fault is ours
            logger.exception("A fault of the program: %s: %s", type(error).__name__, error)
            self._outcome = Outcome.fault(error)
        finally:
            for worker in list(self._workers):
                self._end(worker)
        self._close(self._outcome)
        if slot:
            slot.release()

    def _wait_for_slot(self) -> FileLock | None:
        """Wait until it is this run's turn: runs start in the order they were submitted. None when it was canceled meanwhile."""
        runs, slots = StoredRuns(self._home, self._store, LocalRunFolder), RunSlots(self._home)
        next_heartbeat = 0.0
        logger.info("Waiting for its turn")
        while True:
            is_next = not runs.any_before(self._run_id)
            if is_next and (slot := slots.acquire()):
                return slot
            if time.monotonic() >= next_heartbeat:
                self._store.update_run(self._run_id, status=RunStatus.QUEUED, heartbeat_at=utc_now())
                next_heartbeat = time.monotonic() + QUEUE_HEARTBEAT_SECONDS
            if self._store.cancel_requested(self._run_id):
                self._outcome = Outcome(RunStatus.CANCELED, None, "Canceled on request.")
                return None
            if is_next:
                slots.wait(QUEUE_POLL_SECONDS)
            else:
                time.sleep(QUEUE_POLL_SECONDS)

    def _open(self) -> None:
        """Find what is done of the run, and what is left."""
        run = self._store.run(self._run_id)
        now = utc_now()
        paused = run.paused_seconds
        if run.started_at and run.stopped_at:
            paused += (now - run.stopped_at).total_seconds()
        times = {"started_at": run.started_at or now, "stopped_at": None, "paused_seconds": paused, "ended_at": None, "heartbeat_at": now}
        self._store.update_run(self._run_id, status=RunStatus.RUNNING, error_code=None, error=None, **times)
        self._progress = RunProgress(self._folder, self._plan, run.mini_batches_total or 0)
        self._progress.warned_before(run.warnings)
        settled = self._progress.journal.settled()
        every = cut(self._plan.datasets, self._settings)
        self._untried = (batch for batch in every if batch.index >= len(settled) or not settled[batch.index])

    def _score(self) -> None:
        """The loop: until every mini-batch is settled, or something ends the run early."""
        self._outcome = self._progress.exceeded(all_handed_out=False)
        self._folder.work.mkdir(exist_ok=True)
        with log.suppress(logger, "The scoring script can't be kept", FileNotFoundError):
            self._folder.keep_script(self._plan)
        write_atomically(self._folder.facts_file, json.dumps(self._plan.facts(self._run_id)))
        left = self._progress.mini_batches_total - self._progress.totals.mini_batches_done
        places = (
            WorkerPlace(node, process, self._folder.logs, self._folder.work)
            for process in range(self._settings.processes_per_node)
            for node in range(self._settings.node_count)
        )
        for place, _ in zip(places, range(left), strict=False):
            self._start_worker(place)
        while self._outcome is None and not self._progress.all_settled:
            self._wait_for_messages()
            self._progress.write_down()
            self._hand_out()
        self._progress.write_down()

    def _wait_for_messages(self) -> None:
        """One pass of the loop: flush what is queued for the workers, receive their messages, check deadlines, send a heartbeat."""
        for worker in self._workers:
            worker.flush()
        # What arrives until then is received, written down and handed out together, which costs far less.
        if delay := min((worker.seconds_of_work() for worker in self._workers), default=0.0) / 2:
            time.sleep(min(COALESCE_SECONDS, delay))
        for key, _ in self._selector.select(self._seconds_to_wait()):
            self._receive(key.data)
        self._check_clock()
        if time.monotonic() >= self._next_heartbeat:
            self._heartbeat()

    def _close(self, outcome: Outcome | None) -> None:
        """Publish the rows or keep them as partial, then record how the run ended; the registry comes last."""
        assert outcome is not None
        if hasattr(self, "_progress"):
            try:
                self._progress.close(outcome.status)
            except (OSError, sqlite3.Error) as error:
                logger.exception("The output could not be closed: %s", error)
                if outcome.status is RunStatus.COMPLETED:
                    what = f"The output could not be published: {error}. Fix the folder's permissions, then resume the run."
                    outcome = Outcome.failed("StorageError", what)
            with log.suppress(logger, "The causes of the failed items can't be determined", OSError, StudioError):
                outcome = self._progress.explained(outcome)
            try:
                self._progress.report(outcome)
                if outcome.status is RunStatus.COMPLETED:
                    output_list.write(self._folder)
            except OSError as error:  # a report that can't be written must not hide how the run ended
                logger.warning("The reports could not be written", exc_info=error)
                self._progress.warn(f"the reports under logs/ could not be written: {error}")
            self._store.update_run(self._run_id, **self._counts())
            self._progress.monitor.write()
            self._progress.journal.close()
            note_contents(self._folder, self._plan, BEFORE_THE_END)
        self._store.update_run(self._run_id, **outcome._asdict(), workers=0, rate=None, ended_at=utc_now(), heartbeat_at=utc_now())

    # ---- a message came -------------------------------------------------------------------------------------------------------

    def _receive(self, worker: WorkerProcess, *, has_exited: bool = False) -> None:
        try:
            messages, closed = worker.receive()
        except ValueError:
            logger.warning("Worker %s sent what is not a message: it is replaced", worker.place)
            messages, closed = [], True  # the script wrote to the worker's socket: it can't be trusted any more
        for message in messages:
            if worker not in self._workers:
                return
            worker.note_printed(message.header)
            if "mini_batch" in message.header:
                self._answered(worker, message)
            elif "passed" in message.header:
                self._step_passed(worker, message.header)
            else:
                self._step_failed(worker, message.header)
        if (closed or has_exited) and worker in self._workers:
            self._died(worker)

    def _step_passed(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        step = message["passed"]
        self._progress.printed(worker.place, message)
        if step == "import":
            self._imported = True
            worker.enter(Stage.INIT)
            self._progress.monitor.entered(worker, Stage.INIT, message["at"])
        elif step == "init":
            self._permanent_failures[worker.place.node].pop(worker.place.process, None)
            worker.enter(Stage.READY)
            self._progress.monitor.entered(worker, Stage.READY, message["at"])

    def _step_failed(self, worker: WorkerProcess, failure: dict[str, Any]) -> None:
        self._progress.printed(worker.place, failure)
        if failure["failed"] == "shutdown":
            self._progress.warn(f"shutdown() raised {failure['error']}")
        elif failure["failed"] == "import" and not self._imported:
            error = f"The scoring script can't be imported. {failure['error']}"
            self._outcome = self._outcome or Outcome.failed(_error_code(failure["error_type"]), error, failure["traceback"])
        else:
            code = _error_code(failure["error_type"])
            reason = f"{failure['failed']} raised {failure['error']}"
            self._failed_to_start(worker, reason, failure["traceback"], code, permanent=failure["permanent"])

    def _answered(self, worker: WorkerProcess, message: Message) -> None:
        if self._outcome is not None:
            return  # nothing counts after what ended the run
        answer = message.header
        if not worker.queue or worker.queue[0].index != answer["mini_batch"]:
            self._died(worker)  # not its own message: a child that the script forked writes to its socket
            return
        batch = worker.answered()
        worker.note_pace(answer["elapsed"])
        if "error" in answer:
            self._attempt_failed(worker, batch, AttemptStatus.RUN_EXCEPTION, answer)
            if answer["error_type"] == "MemoryError":  # what it leaked goes with it
                self._replace(worker, f"it had no memory left at mini-batch {batch.index}")
        else:
            self._progress.scored(worker.place, batch, message)
            if answer["returned"] < batch.item_count:
                self._check_thresholds()

    def _attempt_failed(self, worker: WorkerProcess, batch: MiniBatch, status: AttemptStatus, failure: dict[str, Any]) -> None:
        if self._progress.attempt_failed(worker.place, batch, status, failure):
            self._check_thresholds()
        else:
            self._retries.append(batch)

    def _check_thresholds(self) -> None:
        self._outcome = self._outcome or self._progress.exceeded(all_handed_out=self._all_handed_out)

    # ---- the clock, and workers that are gone ---------------------------------------------------------------------------------

    def _deadline(self, worker: WorkerProcess) -> float | None:
        if worker.stage is Stage.READY and not worker.queue:
            return None
        return worker.since + self._limit(worker)

    def _limit(self, worker: WorkerProcess) -> int:
        """Seconds that it may take for what it is at."""
        return self._import_timeout if worker.stage is Stage.IMPORT else self._settings.run_invocation_timeout

    def _seconds_to_wait(self) -> float:
        deadlines = [deadline for worker in self._workers if (deadline := self._deadline(worker)) is not None]
        return max(0.0, min([self._next_heartbeat, *deadlines]) - time.monotonic())

    def _check_clock(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            deadline = self._deadline(worker)
            if deadline is None or now < deadline:
                continue
            reason = describe_timeout(worker.stage, self._limit(worker))
            if worker.stage is Stage.READY:
                self._lost(worker, AttemptStatus.RUN_TIMEOUT, "TimeoutError", reason)
            elif worker.stage is Stage.SHUTDOWN:
                self._progress.warn(reason)
                self._end(worker)
            else:
                self._failed_to_start(worker, reason)

    def _died(self, worker: WorkerProcess) -> None:
        """A worker's socket is closed, or its process is gone: only the attempt it was on is lost."""
        if worker.stage is Stage.SHUTDOWN:
            self._end(worker)
            if worker.crashed:
                self._progress.warn(f"after shutdown() {worker.describe_exit()}: files that the script left open may be incomplete")
            return
        worker.end()  # so that its exit code is known
        reason = worker.describe_exit()
        if worker.stage is Stage.READY and worker.queue:
            self._lost(worker, AttemptStatus.PROCESS_DIED, "WorkerDied", reason)
        else:
            self._failed_to_start(worker, f"{reason} in {worker.stage.value}")

    def _lost(self, worker: WorkerProcess, status: AttemptStatus, error_type: str, error: str) -> None:
        """Charge the attempt that the worker was on, and put another in its place."""
        logger.warning("Worker %s is replaced: %s at mini-batch %d", worker.place, status, worker.queue[0].index)
        seconds = time.monotonic() - worker.since
        times = {"started_at": time.time() - seconds, "elapsed": seconds, "run_seconds": seconds} | worker.printed_unnoted()
        batch = worker.answered()
        self._attempt_failed(worker, batch, status, {"error_type": error_type, "error": error} | times)
        self._replace(worker, f"{error} at mini-batch {batch.index}")

    def _failed_to_start(
        self, worker: WorkerProcess, reason: str, traceback: str = "", code: str = "EntryScriptError", *, permanent: bool = False
    ) -> None:
        node, seconds = worker.place.node, time.monotonic() - worker.since
        self._progress.printed(worker.place, {"started_at": time.time() - seconds, "elapsed": seconds} | worker.printed_unnoted())
        self._start_failures[node] += 1
        tries, limit = self._start_failures[node], 3 * self._settings.processes_per_node
        logger.warning("Worker %s did not start, %d of %d tries: %s", worker.place, tries, limit, reason)
        if permanent:
            self._permanent_failures[node][worker.place.process] = reason
        if tries >= limit or self._never_starts(node):
            error = f"Workers could not start, after {tries} tries on node {node}: {reason}."
            self._outcome = self._outcome or Outcome.failed(code, error, traceback)
        self._replace(worker, reason)

    def _never_starts(self, node: int) -> bool:
        """Whether every process of the node failed for one permanent reason, and more than once in all: more tries change nothing."""
        reasons, processes = self._permanent_failures[node], {worker.place.process for worker in self._workers if worker.place.node == node}
        return self._start_failures[node] >= 2 and reasons.keys() == processes and len(set(reasons.values())) == 1

    def _replace(self, worker: WorkerProcess, reason: str) -> None:
        self._end(worker, reason)
        if self._outcome is None:
            self._start_worker(worker.place)

    def _end(self, worker: WorkerProcess, reason: str = "") -> None:
        """End it and give back what it had not begun. `reason` is why, in part of a sentence, where it isn't that the run has ended."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._progress.monitor.ended(worker, reason)
        self._selector.unregister(worker.socket)
        self._retries.extendleft(reversed(worker.queue))
        worker.queue.clear()
        worker.end()
        worker.keep_logs()

    def _shut_down_workers(self) -> None:
        """Let every worker that is ready call shutdown(), within the time of a call."""
        for worker in list(self._workers):
            if worker.stage is Stage.READY:
                worker.stop()
            else:
                self._end(worker)
        while self._workers:
            self._wait_for_messages()

    # ---- hand out, start, show a sign of life ---------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        if self._outcome is not None:
            return
        room = {worker: worker.room(READ_AHEAD_SECONDS) for worker in self._workers}
        for turn in range(max(room.values(), default=0)):  # one each in turn, so that the last ones are shared
            for worker, places in room.items():
                if turn >= places:
                    continue
                batch = self._retries.popleft() if self._retries else next(self._untried, None)
                if batch is None:
                    if not self._all_handed_out:
                        self._all_handed_out = True
                        self._check_thresholds()
                    return
                worker.hand_over(batch)

    def _start_worker(self, place: WorkerPlace) -> None:
        number = place.process * self._settings.node_count + place.node  # the nodes share this machine, and its GPUs
        logger.info("Starting worker %s", place)
        config = self._plan.for_worker(self._folder.output)
        worker = start_worker(place, self._plan, self._folder, gpus.of_worker(number, self._gpus), config)
        self._workers.append(worker)
        self._progress.monitor.started(worker)
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _counts(self) -> dict[str, Any]:
        return {
            "items_succeeded": self._progress.totals.items_succeeded,
            "items_failed": self._progress.totals.items_failed,
            "mini_batches_done": self._progress.totals.mini_batches_done,
            "warnings": self._progress.warnings,
        }

    def _heartbeat(self) -> None:
        """Record a heartbeat and the counts, and check for a cancel and for workers that have exited."""
        now, done = time.monotonic(), self._progress.totals.items_succeeded + self._progress.totals.items_failed
        self._pace.append((now, done))
        since, before = self._pace[0]
        rate = (done - before) / (now - since) if now > since else None
        self._store.update_run(self._run_id, **self._counts(), heartbeat_at=utc_now(), workers=len(self._workers), rate=rate)
        self._progress.monitor.write(self._workers)
        self._progress.check_rows()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._progress.report_progress(len(self._workers))
        if self._store.cancel_requested(self._run_id):
            self._outcome = self._outcome or Outcome(RunStatus.CANCELED, None, "Canceled on request.")
        for worker in list(self._workers):
            worker.trim_logs()
            if worker.exit_code() is not None:  # a child it left behind may hold its socket open
                self._receive(worker, has_exited=True)
        self._next_heartbeat = now + HEARTBEAT_SECONDS


def _error_code(error_type: str) -> str:
    """A missing module has a code of its own: it is fixed in the environment, not in the script."""
    return error_type if error_type == "ModuleNotFoundError" else "EntryScriptError"


def _execute(home: Path, run_id: str) -> int:
    store = Store(home)
    with store.held_open():
        code = run_process.execute(LocalRunFolder(home, run_id), store, lambda: Runner(home, run_id).execute())
    if code:
        return code
    run = store.run(run_id)
    if run.status.ended and (run.items_total or 0) >= _LARGE:
        from services.local import prediction_table  # most runs are small, and importing it takes long beside what they take

        prediction_table.prepare(run, LocalRunFolder(home, run_id))
    if run.status.ended:
        note_contents(LocalRunFolder(home, run_id), LocalRunFolder(home, run_id).plan(), AFTER_THE_END, more=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_process.main("services.local.runner", LocalRunFolder, _execute))

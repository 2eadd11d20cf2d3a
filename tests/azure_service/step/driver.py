"""`python -m tests.azure_service.step.driver STEP` carries out a ParallelRunStep, by a small loop of its own: cuts mini-batches, hands them
to processes, tries again, counts, and leaves the logs as a real step does. It ends when its standard input does.

STEP is the JSON that `parallel_run.StepRun` writes. The shapes of the logs follow Microsoft's pages *how-to-debug-parallel-run-step* and
*how-to-tune-performance-of-parallel-run-step*, and what people put into public issues.
"""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exc
from typing import Any, TextIO

from tests.azure_service.step.tables import read_tables

ENTRY_PROCESS = Path(__file__).with_name("entry_process.py")
COLUMNS = (
    "Mini-batch Id", "Picked Count", "Process", "Start Time", "Total", "Succeeded", "Failed", "Elapsed Seconds", "Process Seconds",
    "Run Method Seconds", "Status", "Error Category", "Error Message", "Mini-batch Detail",
)  # fmt: skip
NONE = "N/A"
HEADER = (
    "This file shows errors in loading, calling init() and calling run() of the entry script. An error here may not impact the job result. "
    'Please check "job_result.txt" for the result of the job.'
)
INIT_TRIES = 3
UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


@dataclass
class MiniBatch:
    """What one call of `run()` gets: paths, or a pickled table."""

    index: int
    dataset: str
    items: list[str]
    count: int
    table: str = ""
    keys: dict[str, Any] | None = None
    picked: int = 0

    def order(self) -> dict[str, Any]:
        return {"index": self.index, "dataset": self.dataset, "items": self.items, "table": self.table, "keys": self.keys}


class Logs:
    """The folder that becomes the run's log files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        hour = datetime.now(UTC).strftime("%Y%m%d%H")
        self._overview = f"logs/job_progress_overview.{hour}.txt"
        for name in ("executionlogs", "stderrlogs", "stdoutlogs"):
            self.add(f"logs/azureml/{name}.txt", "")
        self.add("system_logs/lifecycler/lifecycler.log", f"{now()} INFO lifecycler started\n")
        self.add("logs/job_error.txt", f"{now()} {HEADER}\n")
        self.attempt(COLUMNS)

    def add(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)

    def attempt(self, values: tuple[Any, ...]) -> None:
        path = self.folder / "logs/sys/job_report/processed_mini-batches.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, open(path, "a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            csv.writer(file).writerow(values)

    def progress(self, text: str) -> None:
        self.add(self._overview, f"{now()} {text}\n")

    def failed(self, place: str, trace: str) -> None:
        """A traceback of the entry script: summed up in one file, and whole in the process's."""
        self.add("logs/job_error.txt", f"{now()} {trace}\n")
        self.add(f"logs/user/error/{place}.txt", f"{now()} {trace}\n")


class EntryProcess:
    """A process that calls the entry script."""

    def __init__(self, step_file: Path, step: dict[str, Any], node: str, name: str, logs: Path) -> None:
        self._read, write = os.pipe()
        streams: dict[str, TextIO] = {}
        for stream in ("stdout", "stderr"):
            path = logs / f"logs/user/{stream}/{node}/{name}.{stream}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            streams[stream] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - the process has them
        command = [sys.executable, "-P", str(ENTRY_PROCESS), str(step_file), node, name, str(write)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, cwd=step["source"], env=step["environment"], pass_fds=[write], encoding="utf-8", **streams
        )
        os.close(write)
        for file in streams.values():
            file.close()

    def ask(self, order: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer. Raises TimeoutError, and EOFError where it died."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = b""
        deadline = datetime.now(UTC).timestamp() + seconds
        while not answer.endswith(b"\n"):
            left = deadline - datetime.now(UTC).timestamp()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise EOFError(self._process.wait())
            answer += piece
        value: dict[str, Any] = json.loads(answer)
        return value

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self._process.kill()
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        os.close(self._read)


@dataclass
class Counts:
    """Of the items and mini-batches so far."""

    done: int = 0
    succeeded: int = 0
    failed: int = 0
    failed_mini_batches: int = 0
    rows: list[str] = field(default_factory=list)
    header: str = ""


class Driver:
    """One step, from its mini-batches to its output."""

    def __init__(self, step_file: Path) -> None:
        self._file, self._step = step_file, json.loads(step_file.read_text())
        self._settings: dict[str, str] = self._step["settings"]
        self.logs = Logs(Path(self._step["logs"]))
        self._mini_batches = list(self._cut())
        self._waiting, self._counts = deque(self._mini_batches), Counts()
        self._changed, self._stop = threading.Condition(), ""
        self._init_failures = 0

    # ---- mini-batches ---------------------------------------------------------------------------------------------------------

    def _cut(self) -> Iterator[MiniBatch]:
        tables = Path(self._step["logs"]).with_name("tables")
        tables.mkdir(exist_ok=True)
        index, keys = 0, json.loads(self._settings.get("partition_keys") or "[]")
        for dataset in self._step["datasets"]:
            parts: Iterator[tuple[dict[str, Any], Any]] = self._tables(dataset, keys) if dataset["tabular"] else self._files(dataset, keys)
            for values, part in parts:
                table = ""
                if dataset["tabular"]:
                    table = str(tables / f"{index}.pickle")
                    part.to_pickle(table)
                items = [] if table else part
                yield MiniBatch(index, dataset["name"], items, len(part), table, values or None)
                index += 1

    def _files(self, dataset: dict[str, Any], keys: list[str]) -> Iterator[tuple[dict[str, Any], list[str]]]:
        paths = [f"{dataset['root']}/{path}" for path in dataset["files"]]
        if keys:
            groups: dict[tuple[str, ...], list[str]] = {}
            for path, values in zip(paths, dataset["keys"], strict=True):
                groups.setdefault(tuple(values[key] for key in keys), []).append(path)
            yield from ((dict(zip(keys, values, strict=True)), group) for values, group in groups.items())
            return
        size = int(self._settings.get("mini_batch_size") or 10)
        yield from (({}, paths[first : first + size]) for first in range(0, len(paths), size))

    def _tables(self, dataset: dict[str, Any], keys: list[str]) -> Iterator[tuple[dict[str, Any], Any]]:
        import pandas as pd

        frames = read_tables(dataset)
        if keys:
            whole = pd.concat([frame for frame, _ in frames], ignore_index=True)
            for values, group in whole.groupby(keys, sort=False):
                yield dict(zip(keys, values, strict=True)), group.reset_index(drop=True)
            return
        text = (self._settings.get("mini_batch_size") or "1MB").lower()
        size = int(text.rstrip("kmgb")) * UNITS.get(text[-2:], 1)
        for frame, length in frames:
            rows = max(1, len(frame) * size // max(1, length))
            for first in range(0, len(frame), rows):
                yield {}, frame.iloc[first : first + rows].reset_index(drop=True)

    # ---- the loop -------------------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Whether the step completed."""
        total = len(self._mini_batches)
        items = sum(mini_batch.count for mini_batch in self._mini_batches)
        scheduled = f"Scheduled {total} mini batches in 0 seconds. There are {total} tasks with {items} items."
        self.logs.progress(f"Scheduling finished. {scheduled}")
        self.logs.progress("No task has been processed yet.")
        per_node = int(self._settings.get("process_count_per_node") or 1)
        places = [(str(node), f"process{number:03}") for number in range(per_node) for node in range(self._step["node_count"])]
        threads = [threading.Thread(target=self._work, args=place, daemon=True) for place in places[: max(1, total)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._end(items)

    def _next(self) -> MiniBatch | None:
        with self._changed:
            while not self._waiting and self._counts.done < len(self._mini_batches) and not self._stop:
                self._changed.wait()  # one that is being scored may come back
            if self._stop or not self._waiting:
                return None
            mini_batch = self._waiting.popleft()
            mini_batch.picked += 1
            return mini_batch

    def _work(self, node: str, name: str) -> None:
        """One process's life, and those of its successors."""
        seconds = float(self._settings.get("run_invocation_timeout") or 60)
        process: EntryProcess | None = None
        while True:
            if process is None:
                process = self._started(node, name, seconds)
                if process is None:
                    return
            mini_batch = self._next()
            if mini_batch is None:
                process.end(kill=bool(self._stop))
                return
            started, answer, status = now(), dict[str, Any](), "RUN_DONE"
            try:
                answer = process.ask(mini_batch.order(), seconds)
                status = "RUN_EXCEPTION" if "trace" in answer else "RUN_DONE"
            except TimeoutError:
                message = f"The call of run() took longer than the run_invocation_timeout of {seconds:.0f} seconds."
                answer, status = {"error": message, "category": "TimeoutError", "seconds": seconds}, "RUN_TIMEOUT"
            except EOFError as error:
                answer = {"error": f"The process exited with code {error}.", "category": "ProcessDied"}
                status = "RUN_PROCESS_DIED"
            if status in ("RUN_TIMEOUT", "RUN_PROCESS_DIED"):
                process.end(kill=True)
                process = None
            self._record(mini_batch, f"{node}/{name}", started, answer, status)

    def _started(self, node: str, name: str, seconds: float) -> EntryProcess | None:
        """A process whose `init()` succeeded; None once the step has to end."""
        while not self._stop:
            process = EntryProcess(self._file, self._step, node, name, self.logs.folder)
            started = now()
            try:
                answer = process.ask({}, seconds)
            except (TimeoutError, EOFError) as error:
                answer = {"trace": f"{type(error).__name__}: init() of {name}", "category": type(error).__name__, "error": str(error)}
            failed = "trace" in answer
            status = "LOAD_EXCEPTION" if failed else "LOAD_DONE"
            self.logs.attempt((
                "", NONE, name, started, NONE, NONE, NONE, f"{answer.get('seconds', 0):.6f}", f"{answer.get('cpu', 0):.6f}", NONE, status,
                answer.get("category", NONE), answer.get("error", NONE), "",
            ))  # fmt: skip
            if not failed:
                return process
            process.end(kill=True)
            self.logs.failed(f"{node}/{name}", answer["trace"])
            with self._changed:
                self._init_failures += 1
                if self._init_failures >= INIT_TRIES:
                    self._stop = "The entry script failed in loading or init() in all processes."
                    self._changed.notify_all()
        return None

    def _record(self, mini_batch: MiniBatch, place: str, started: str, answer: dict[str, Any], status: str) -> None:
        counts, done = self._counts, status == "RUN_DONE"
        succeeded = min(answer["count"], mini_batch.count) if done else 0
        last = done or mini_batch.picked >= int(self._settings.get("run_max_try") or 3)
        self.logs.attempt((
            mini_batch.index, mini_batch.picked, place.rpartition("/")[2], started, mini_batch.count, succeeded,
            mini_batch.count - succeeded, f"{answer.get('seconds', 0):.6f}", f"{answer.get('cpu', 0):.6f}",
            f"{answer.get('run_seconds', 0):.6f}", status, answer.get("category", ""), answer.get("error", ""), "",
        ))  # fmt: skip
        if not done:
            self.logs.failed(place, answer.get("trace") or f"{answer['category']}: {answer['error']}")
        with self._changed:
            if not last:
                self._waiting.append(mini_batch)
            else:
                counts.done += 1
                counts.succeeded += succeeded
                counts.failed += mini_batch.count - succeeded
                counts.failed_mini_batches += not done
                counts.rows += answer.get("rows", [])
                counts.header = counts.header or answer.get("header", "")
                self.logs.progress(
                    f"Processed {counts.done} of {len(self._mini_batches)} mini batches in 0:00:01. Estimated remaining time 0:00:00."
                )
                self._stop = self._stop or self._too_many()
            self._changed.notify_all()

    def _too_many(self) -> str:
        counts, threshold = self._counts, int(self._settings.get("error_threshold") or -1)
        if 0 <= threshold < counts.failed:
            return f"{counts.failed} items failed, which exceeds the error threshold {threshold}."
        allowed = int(self._settings.get("allowed_failed_count") or -1)
        if 0 <= allowed < counts.failed_mini_batches:
            return f"{counts.failed_mini_batches} mini batches failed, which exceeds the allowed failed count {allowed}."
        return ""

    # ---- the end --------------------------------------------------------------------------------------------------------------

    def _end(self, items: int) -> bool:
        counts, percent = self._counts, float(self._settings.get("allowed_failed_percent") or 100)
        append = self._settings.get("output_action") == "append_row"
        if not self._stop and 100 * counts.failed_mini_batches > percent * max(1, len(self._mini_batches)):
            self._stop = f"{counts.failed_mini_batches} mini batches failed, which exceeds the allowed failed percent {percent}."
        if not self._stop and not counts.succeeded:
            self._stop = "No mini batch has succeeded."
        result = "failed" if self._stop else "succeeded"
        summary = f"{counts.succeeded} of {items} items succeeded, {counts.failed} failed."
        self.logs.add("logs/job_result.txt", f"{now()} The job {result}. {summary} {self._stop}".rstrip() + "\n")
        self.logs.progress(f"The job {result}. {self._stop}".rstrip())
        print(f"{now()} {summary} {self._stop}".rstrip(), flush=True)
        if self._stop or not append:
            return not self._stop
        output = Path(self._step["output"])
        header = counts.header if self._step["dataframe_header"] else ""
        rows_file = output / (self._settings.get("append_row_file_name") or "parallel_run_step.txt")
        with open(rows_file, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(header)
            file.writelines(f"{row}\n" for row in counts.rows)
        return True


def end_with(stdin: TextIO) -> None:
    """End this process and those it started once whoever started it is gone, or cancels."""
    stdin.read()
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    threading.Thread(target=end_with, args=(sys.stdin,), daemon=True).start()
    try:
        code = 0 if Driver(Path(sys.argv[1])).run() else 42
    except Exception:  # noqa: BLE001 - the edge: the driver's own output tells
        print(format_exc(), flush=True)
        code = 42
    if code:
        print(
            f"{now()} The run is ending.\nTraceback (most recent call last):\n"
            '  File "driver/amlbi_main.py", line 275, in <module>\n    main()\n'
            f'  File "driver/amlbi_main.py", line 226, in main\n    sys.exit(exitcode_candidate)\nSystemExit: {code}',
            flush=True,
        )
    os._exit(code)


if __name__ == "__main__":
    main()

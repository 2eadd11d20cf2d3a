"""`make soak`: kills at random, for minutes, and at the end every row is there exactly once.

`python -m benchmarks.soak --minutes 3`. A dashboard (a process of its own, that submits the run, looks at it as the pages do, and
resumes it where it reads NotResponding) watches runs of tens of thousands of items. From outside, workers, runners and the dashboard
are ended by SIGKILL, at random moments; a new dashboard comes each time. The multiset of rows of every run is compared with that of
a run nobody disturbed, its journal and its sums are audited, and no process may be left. Exit code 1 on any loss or doubling.

Linux only: what is to be killed is found in /proc, by this soak's own home in its command line or working folder. Nothing else is touched.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.measured_run import synthetic_dataset
from services.domain import RunRequest, RunStatus
from services.errors import StudioError
from services.local.run_folder import LocalRunFolder
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from services.storage.journal import Journal

ITEMS, MINI_BATCH = 40_000, 10
PAUSE = 0.01  # seconds a mini-batch takes on average
EVERY = 0.4  # seconds between two kills on average
KINDS = {"worker": 4, "runner": 6, "dashboard": 2}
"""What is killed, and how likely."""
STUCK = 240  # seconds that a run may take once nobody is killed any more
PROJECT = Path(__file__).parents[1]

# Rows of many lengths, some of two lines; now and then a mini-batch raises, and is tried again.
SCRIPT = """
import os, random, time, zlib

PAUSE = float(os.environ["SOAK_PAUSE"])

def run(mini_batch):
    time.sleep(random.uniform(0, 2 * PAUSE))
    if PAUSE and random.random() < 0.01:
        raise RuntimeError("by chance")
    return [row(os.path.basename(path)) for path in mini_batch]

def row(name):
    digest = zlib.crc32(name.encode())
    return f"{name}: {'x' * (digest % 200)}" + ("\\n and more" if digest % 10 == 0 else "")
"""


def request(script: Path, pause: float, name: str) -> RunRequest:
    """`pause` is the mean duration of a mini-batch, in seconds. The name makes it one run, whoever submits it how often."""
    settings = ParallelRunSettings(
        process_count_per_node=2, mini_batch_size=str(MINI_BATCH), run_max_try=100, environment_variables={"SOAK_PAUSE": str(pause)}
    )
    return RunRequest((), ("items",), str(script), settings, allow_reuse=False, name=name, submission_id=name)


# ---- the dashboard ------------------------------------------------------------------------------------------------------------


def dashboard(home: Path, name: str, pause: float) -> None:
    """Submit the run, look at all of it again and again, resume it where nobody carries it out. Ends with the run."""
    workspace = LocalWorkspace(home)
    run = workspace.submit(request(home.parent / "soak.py", pause, name))
    while run.status is not RunStatus.COMPLETED:
        if run.status.ended or run.status is RunStatus.NOT_RESPONDING:
            if run.error:
                print(f"  {name} reads {run.status}, and is resumed: {run.error.splitlines()[0]}", flush=True)
            try:
                workspace.runs.resume(run.id)
            except StudioError as error:  # it came to life meanwhile
                print(f"  {error.message}", flush=True)
        workspace.runs.latest()
        workspace.runs.failures(run.id)
        workspace.runs.output(run.id)
        if run.items_succeeded:
            workspace.runs.predictions(run.id).count()
        time.sleep(0.1)
        run = workspace.runs.get(run.id)


def start_dashboard(home: Path, name: str, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.soak", "--dashboard", str(home), name, str(pause)]
    return subprocess.Popen(command, cwd=PROJECT)


# ---- the killer ---------------------------------------------------------------------------------------------------------------


def disturb(home: Path, name: str, pause: float, until: float) -> tuple[Counter[str], list[str]]:
    """See one run to its end, killing until then or until `until` (monotonic). What was killed, and what went wrong, in words."""
    killed: Counter[str] = Counter()
    viewer = start_dashboard(home, name, pause)
    while viewer.poll() != 0:
        if viewer.returncode is not None:
            if viewer.returncode != -signal.SIGKILL:
                return killed, [f"{name}: the dashboard ended with {viewer.returncode}"]
            viewer = start_dashboard(home, name, pause)
        if time.monotonic() > until + STUCK:
            viewer.kill()
            viewer.wait()
            return killed, [f"{name}: did not end within {STUCK} s after the last kill"]
        time.sleep(random.expovariate(1 / EVERY))
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        if time.monotonic() < until and kill_one(home, kind):
            killed[kind] += 1
    return killed, []


def kill_one(home: Path, kind: str) -> bool:
    """End one of this kind by SIGKILL; False where there is none. Most runners just as they have written rows, before the journal
    says so if it comes to that."""
    for pid in random.sample(found := processes(home, kind), len(found)):
        with contextlib.suppress(OSError):  # it went by itself
            held = os.pidfd_open(pid)
            try:
                if kind_of(pid, home) == kind:  # looked at again, now that its number can't become another's
                    if kind == "runner" and random.random() < 0.8:
                        _wait_for_rows(LocalRunFolder(home, words_of(pid)[-2].decode()).rows_file)
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    return True
            finally:
                os.close(held)
    return False


def _wait_for_rows(file: Path) -> None:
    """Until the file has grown, for a tenth of a second at most; without a pause, so as to be there at once."""
    before, deadline = file.stat().st_size, time.monotonic() + 0.1
    while file.stat().st_size == before and time.monotonic() < deadline:
        pass


def processes(home: Path, kind: str = "") -> list[int]:
    """The numbers of the living processes of this home, of one kind where given."""
    kinds = {int(folder.name): kind_of(int(folder.name), home) for folder in Path("/proc").glob("[0-9]*")}
    return [pid for pid, found in kinds.items() if found and found.startswith(kind)]


def words_of(pid: int) -> list[bytes]:
    """Its command line; the last word is empty."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def kind_of(pid: int, home: Path) -> str | None:
    """Which of this home's processes it is, recognized by its command line and, for a worker, by its working folder."""
    try:
        words = words_of(pid)
        if bytes(home) in words:
            return "runner" if b"services.local.runner" in words else "dashboard" if b"--dashboard" in words else None
        is_worker = any(word.endswith(b"worker.py") for word in words)
        return "worker" if is_worker and Path(f"/proc/{pid}/cwd").readlink().is_relative_to(home) else None
    except OSError:
        return None


# ---- the audit ----------------------------------------------------------------------------------------------------------------


def audit(home: Path, name: str, expected: Counter[bytes]) -> list[str]:
    """What is wrong with the ended run of this name, in words: rows, journal, sums, processes that are left."""
    workspace = LocalWorkspace(home)
    run = next(run for run in workspace.runs.latest() if run.request.name == name)
    output = workspace.runs.output(run.id)["parallel_run_step.txt"]
    rows, wrong = lines(output), []
    for what, difference in {"lost": expected - rows, "doubled or foreign": rows - expected}.items():
        if difference:
            wrong.append(f"{name}: {difference.total():,} lines {what}, such as {next(iter(difference))!r}")
    if (run.items_succeeded, run.items_failed, run.mini_batches_done) != (ITEMS, 0, ITEMS // MINI_BATCH):
        wrong.append(f"{name}: {run.items_succeeded} succeeded, {run.items_failed} failed, {run.mini_batches_done} mini-batches done")
    with Journal(LocalRunFolder(home, run.id).path) as journal:
        final = list(journal.attempts(final_only=True))
    if sorted(attempt.mini_batch for attempt in final) != list(range(ITEMS // MINI_BATCH)):
        wrong.append(f"{name}: the journal does not settle every mini-batch once")
    ends = [0, *(attempt.end for attempt in final)]
    if [attempt.begin for attempt in final] != ends[:-1] or ends[-1] != output.stat().st_size:
        wrong.append(f"{name}: the journal's places of the rows do not fill the output")
    deadline = time.monotonic() + 10
    while (left := processes(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return wrong + [f"{name}: process {pid} is left" for pid in left]


def lines(path: Path) -> Counter[bytes]:
    """The multiset of the file's lines. A row of two lines counts as two; its first names its item."""
    return Counter(path.read_bytes().split(b"\n"))


def soak(home: Path, minutes: float) -> list[str]:
    """Run after run until the time is over. What went wrong, in words."""
    workspace = LocalWorkspace(home)
    synthetic_dataset(home, "items", ITEMS)
    (home.parent / "soak.py").write_text(SCRIPT, encoding="utf-8")
    _, wrong = disturb(home, "undisturbed", 0, time.monotonic())
    if wrong:
        return wrong
    expected = lines(workspace.runs.output(workspace.runs.latest()[0].id)["parallel_run_step.txt"])
    until, number, in_all = time.monotonic() + 60 * minutes, 0, Counter[str]()
    while time.monotonic() < until and not wrong:
        name, number = f"run {number + 1}", number + 1
        killed, wrong = disturb(home, name, PAUSE, until)
        wrong = wrong or audit(home, name, expected)
        in_all += killed
        print(f"{name}: {ITEMS:,} items, killed {_describe(killed)}: {'WRONG' if wrong else 'every row once'}", flush=True)
    print(f"In all killed {_describe(in_all)} over {number} runs.")
    return wrong


def _describe(killed: Counter[str]) -> str:
    return ", ".join(f"{killed[kind]} × {kind}" for kind in KINDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Kills at random; every row must be there exactly once.")
    parser.add_argument("--minutes", type=float, default=3, help="how long to kill, 3 by default; the last run then ends undisturbed")
    parser.add_argument("--dashboard", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dashboard:
        dashboard(Path(arguments.dashboard[0]), arguments.dashboard[1], float(arguments.dashboard[2]))
        return 0
    with tempfile.TemporaryDirectory(prefix="batch-scoring-soak-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        try:
            wrong = soak(home, arguments.minutes)
        finally:
            while processes(home):
                for kind in ("dashboard", "runner", "worker"):
                    kill_one(home, kind)
    print("\n".join(wrong) or "Nothing lost, nothing doubled.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Small real things that all tests share: a workspace in a temporary home, a trained model, folders of CSV files, scoring scripts.

The files and the model fit each other: file number i holds a row of class `i % 3`, and the model says so.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import settings

from services import PYTHON
from services.domain import Run, RunStatus
from services.local.workspace import LocalWorkspace
from services.workspace import Workspace
from tests import warm_processes
from tests.azure_service.fixtures import azure, azure_service  # noqa: F401 - for all folders of tests
from tests.kept_runs import KeptRuns

CLASSES = 3

# The tests start a thousand processes, each of which would compile the program again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests that import onnxruntime themselves

# SQLite waits for the disk at each step, which on a busy one takes longer than the rest: files are kept in memory where there is room.
with contextlib.suppress(OSError, AttributeError):
    _memory = os.statvfs("/dev/shm")
    if _memory.f_bavail * _memory.f_frsize > 6e9 and not _memory.f_flag & os.ST_NOEXEC:  # some tests make programs
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

# What is imported and collected stays to the end: no need to look for garbage in it, meanwhile or later.
gc.disable()

# Property tests: the same examples in every run, so that a change is what a failure comes from; `make test-properties` looks for new ones.
settings.register_profile("many", deadline=None, database=None, max_examples=2000, print_blob=True)
settings.register_profile("the same", settings.get_profile("many"), max_examples=20, derandomize=True)
settings.load_profile("the same")

_SLOW = ("browser", "package", "environments", "azure", "contract", "engine", "server", "year")
_SLOW_FILES = {  # most of their time goes to processes that they start, to hundreds of things on a page, or to DuckDB
    *("house/test_imports.py", "pages/test_keeping_in_order.py", "pages/test_run_list.py"),
    *("pages/test_report.py", "pages/test_review_queue.py", "pages/test_run_page_logs.py"),
    *("unit/test_atomic_write.py", "unit/test_deleting.py", "unit/test_open_tables.py", "unit/test_row_numbers.py"),
    *("unit/test_evaluation.py", "unit/test_flatten.py", "unit/test_summaries.py", "unit/test_table_formats.py"),
    "unit/test_script_source.py",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow folders first, so that no worker is left with a long test at the end; what `make quick` leaves out is marked slow: these
    folders, and single files."""
    for item in items:
        if item.path.parent.name in _SLOW or f"{item.path.parent.name}/{item.path.name}" in _SLOW_FILES:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (*_SLOW, "pages", item.path.parent.name).index(item.path.parent.name))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # what is left at the end is garbage to libraries that tell of leaks


def _row(number: int) -> list[float]:
    """The row of numbers in file `number`: its class in the first column, a little of everything in the others."""
    return [float(number % CLASSES), number % 7 / 10, -(number % 5) / 10]


def write_row(folder: Path, number: int) -> None:
    """File `number`, `0000.csv` and so on, into the folder."""
    (folder / f"{number:04}.csv").write_text(",".join(map(str, _row(number))) + "\n", encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def _warm_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes of this program are forked off one that has imported what they use."""
    if not hasattr(os, "fork"):
        yield
        return
    with contextlib.contextmanager(warm_processes.started)(str(tmp_path_factory.mktemp("warm") / "socket")) as python:
        PYTHON[:] = python
        yield
        PYTHON[:] = [sys.executable]


@contextlib.contextmanager
def home_in(folder: Path) -> Iterator[Path]:
    """An empty home in the folder. Runners that are still at work there at the end are killed."""
    home = folder / "home"
    home.mkdir()
    try:
        yield home
    finally:
        for pid, command in runners():
            if command[2].startswith(os.fsencode(home)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, for a workspace."""
    with home_in(tmp_path) as folder:
        yield folder


@pytest.fixture
def workspace(home: Path) -> LocalWorkspace:
    """The local workspace in `home`."""
    return LocalWorkspace(home)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scikit-learn classifier dumped by joblib: the class, 0 to 2, of a row in `csv_folder`'s files. Read it, don't change it."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    rows = [_row(number) for number in range(105)]
    model = LogisticRegression(C=100, max_iter=1000).fit(rows, [number % CLASSES for number in range(105)])
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(model, path)
    return path


@pytest.fixture
def csv_folder(tmp_path: Path) -> Callable[..., Path]:
    """`csv_folder(n)` makes a folder of `n` CSV files of one row each, `0000.csv` and so on; `csv_folder(n, "name")` names it."""

    def make(count: int, name: str = "csv") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for number in range(count):
            write_row(folder, number)
        return folder

    return make


@pytest.fixture
def entry_script(tmp_path: Path) -> Callable[..., Path]:
    """`entry_script(source)` writes a scoring script; the source may be indented. `entry_script(source, "name.py")` names it."""

    def write(source: str, name: str = "script.py") -> Path:
        path = tmp_path / "scripts" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def finish() -> Callable[..., Run]:
    """`finish(workspace, run_id)` waits for the run's end and returns the run; with `until`, for another condition."""

    def wait(workspace: Workspace, run_id: str, until: Callable[[Run], object] = lambda run: run.status.ended, seconds: float = 180) -> Run:
        began = time.monotonic()
        while not until(run := workspace.runs.get(run_id)):
            waited = time.monotonic() - began
            if waited > seconds:
                logs = "\n".join(
                    f"{name}:\n{path.read_text('utf-8', 'replace')[-2000:]}" for name, path in workspace.runs.logs(run_id).items()
                )
                pytest.fail(f"timed out after {seconds} s: {run}\n{logs}")
            time.sleep(min(max(waited / 20, 0.01), 0.1))
        return run

    return wait


@pytest.fixture(scope="session")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> KeptRuns:
    """Completed runs that are made once and copied into the homes of tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "kept_runs"
    folder.mkdir(exist_ok=True)
    return KeptRuns(folder)


def runners() -> Iterator[tuple[int, list[bytes]]]:
    """The runners on this machine: number and command line, which ends with `-m services.local.runner HOME RUN_ID`; that part of it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        with contextlib.suppress(ValueError):
            command = command[command.index(b"-m") :]
            if command[1] in (b"services.local.runner", b"services.azure.runs.runner"):
                yield int(folder.name), command


def runner_pid(run_id: str) -> int | None:
    """The runner of this run; None while there is none."""
    return next((pid for pid, command in runners() if run_id.encode() in command), None)


@pytest.fixture
def kill_runner(finish: Callable[..., Run]) -> Callable[[Workspace, str], bool]:
    """`kill_runner(workspace, run_id)` is `kill -9`, and waits until the run is NotResponding. False where the run ended before."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("finds the runner in /proc")

    def kill(workspace: Workspace, run_id: str) -> bool:
        finish(workspace, run_id, until=lambda run: run.status.ended or runner_pid(run_id))
        if pid := runner_pid(run_id):
            os.kill(pid, signal.SIGKILL)
        run = finish(workspace, run_id, until=lambda run: run.status.ended or run.status is RunStatus.NOT_RESPONDING)
        return run.status is RunStatus.NOT_RESPONDING

    return kill

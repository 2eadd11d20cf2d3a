"""Items tried before a run: in a real worker, and nothing of it is left."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas
import pytest

from services.domain import RunRequest
from services.errors import SettingsError
from services.predictions.filters import EVERY_ROW
from services.settings import ParallelRunSettings
from services.storage.file_tree import sha256_of

TELLS_ITS_LENGTH = """
    import os, sys

    def init():
        print("ready")

    def run(mini_batch):
        return [f"{os.path.basename(path)}: {os.path.getsize(path)}" for path in mini_batch]
"""


@pytest.fixture
def request_of(workspace, csv_folder, entry_script):
    """A request of a script, given as source, over `files` CSV files or another dataset."""

    def make(source, files=20, *, dataset="", name="script.py", **settings):
        if not dataset and not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 2, "error_threshold": -1} | settings
        return RunRequest((), (dataset or "d",), str(entry_script(source, name)), ParallelRunSettings(**values))

    return make


@pytest.fixture
def nothing_left(home, workspace):
    """A trial leaves no run, no file and no process."""
    yield
    assert not list((home / "runs").iterdir())
    assert not list((home / "incoming").iterdir())
    assert not _processes_in(home)


def _processes_in(home: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(home) in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def values(trial, *columns):
    return [tuple(row.values[column] for column in columns) for row in trial.rows]


def test_the_rows_are_those_of_the_run(workspace, request_of, finish):
    request = request_of(TELLS_ITS_LENGTH, mini_batch_size=3)
    trial = workspace.try_items(request, choice=[2, 7, 19, 20])
    run = finish(workspace, workspace.submit(request).id)
    table = workspace.runs.predictions(run.id)
    rows = {row["File"]: row for row in table.page(EVERY_ROW).to_pylist()}
    assert [row.item for row in trial.rows] == ["0001.csv", "0006.csv", "0018.csv", "0019.csv"]
    assert trial.columns == tuple(table.columns)
    same = ("File", "Prediction", "Number", "Status", "Matched by", "Error", "Cause", "Folder")
    assert values(trial, *same) == [tuple(rows[row.item][column] for column in same) for row in trial.rows]
    assert (trial.succeeded, trial.failed, trial.error) == (4, 0, "")
    assert trial.estimate
    assert (trial.estimate.items, trial.estimate.mini_batches) == (20, 7)
    assert 0 < trial.estimate.seconds_low < trial.estimate.seconds_high
    assert trial.seconds_per_item is not None
    assert trial.start_seconds > trial.init_seconds > 0
    assert trial.memory > 1_000_000
    assert "ready" in trial.output


@pytest.mark.usefixtures("nothing_left")
def test_the_causes_are_those_of_the_run_and_nothing_is_left(workspace, request_of, home):
    script = """
        import os

        def run(mini_batch):
            rows = []
            for path in mini_batch:
                name = os.path.basename(path)
                if name == "0002.csv":
                    raise ValueError(f"{name} holds no number")
                rows.append(f"{name}: {'nan' if name == '0003.csv' else 7}")
            open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "written.txt"), "w").close()
            return rows
    """
    trial = workspace.try_items(request_of(script))
    assert [row.status for row in trial.rows] == ["succeeded", "succeeded", "failed", "succeeded", "succeeded"]
    assert "ValueError: 0002.csv holds no number" in trial.rows[2].error
    assert [(cause.count, cause.example) for cause in trial.causes] == [(1, "0002.csv")]
    assert trial.not_numbers == ("Prediction is nan for 0003.csv.",)
    assert any(warning.startswith("Together, these 4 files fail") for warning in trial.warnings)
    assert any("Scored to measure" in warning for warning in trial.warnings)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_any_row_of_a_table_is_tried_alone(workspace, request_of, tmp_path, format_, finish):
    frame = pandas.DataFrame({"x": range(3_000), "name": [f'a "{n}",\nb' for n in range(3_000)], "y": [n / 4 for n in range(3_000)]})
    folder = tmp_path / "tables"
    folder.mkdir()
    for number, part in enumerate((frame[:1000], frame[1000:])):
        path = folder / f"part {number}.{format_}"
        part.to_csv(path, index=False) if format_ == "csv" else part.to_parquet(path, index=False)
    workspace.register_dataset("t", folder, type="tabular")
    script = """
        def run(frame):
            return frame.assign(double=2 * frame.y)[["x", "name", "double"]]
    """
    request = request_of(script, dataset="t", mini_batch_size="8KB")
    trial = workspace.try_items(request, choice=[1, 999, 1_000, 1_001, 3_000], seconds=1)
    first, second = f"part 0.{format_}", f"part 1.{format_}"
    places = [(first, 1), (first, 999), (first, 1_000), (second, 1), (second, 2_000)]
    assert [(row.item, row.row) for row in trial.rows] == places
    run = finish(workspace, workspace.submit(request).id)
    rows = {row["x"]: row for row in workspace.runs.predictions(run.id).page(EVERY_ROW, 0, 5_000).to_pylist()}
    same = ("File", "Prediction", "Status", "Matched by", "x", "name", "double")
    assert values(trial, *same) == [tuple(rows[number][column] for column in same) for number in (0, 998, 999, 1_000, 2_999)]
    assert trial.item == "row"
    if format_ == "parquet":
        assert any("single row group" in warning for warning in trial.warnings)


@pytest.mark.usefixtures("nothing_left")
def test_a_script_that_hangs_is_ended_by_the_timeout(workspace, request_of):
    script = """
        import os, time

        def run(mini_batch):
            if os.path.basename(mini_batch[0]) == "0001.csv":
                time.sleep(600)
            return [7 for _ in mini_batch]
    """
    trial = workspace.try_items(request_of(script, 4, run_invocation_timeout=1, mini_batch_size=1))
    assert "run() took longer than the run_invocation_timeout of 1 s" in trial.rows[1].error
    assert [row.status for row in trial.rows] == ["succeeded", "failed"]
    assert any("not scored, since the timeout" in warning for warning in trial.warnings)
    assert [suggestion.setting for suggestion in trial.suggestions if suggestion.setting == "run_invocation_timeout"]


def test_a_crash_costs_its_item_and_init_runs_again(workspace, request_of):
    script = """
        import os

        def run(mini_batch):
            if os.path.basename(mini_batch[0]) == "0002.csv":
                os.kill(os.getpid(), 11)
            return [7 for _ in mini_batch]
    """
    trial = workspace.try_items(request_of(script, 4, mini_batch_size=1), seconds=0)
    assert [row.status for row in trial.rows] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert trial.rows[2].error == "the worker was ended by signal SIGSEGV"
    assert trial.measured_items == 0


def test_what_takes_all_memory_or_prints_a_gigabyte_harms_nobody(workspace, request_of, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_WORKER_MEMORY", "400")
    script = """
        import os, sys

        def run(mini_batch):
            if os.path.basename(mini_batch[0]) == "0000.csv":
                for _ in range(1000):
                    sys.stdout.write("x" * 1_000_000 + "\\n")
                return ["printed"]
            return [len(bytearray(1_000_000_000)) for _ in mini_batch]
    """
    trial = workspace.try_items(request_of(script, 2), seconds=0)
    assert [row.status for row in trial.rows] == ["succeeded", "failed"]
    assert "MemoryError" in trial.causes[0].cause
    assert len(trial.output) < 100_000


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("import nowhere_to_be_found\ndef run(mini_batch): return []", "The scoring script can't be imported. ModuleNotFoundError"),
        ("def init(): raise OSError('no model')\ndef run(mini_batch): return []", "Workers could not start: init raised OSError: no model"),
    ],
)
def test_a_worker_that_does_not_start_is_said_as_by_a_run(workspace, request_of, script, error):
    trial = workspace.try_items(request_of(script, 3))
    assert trial.error.startswith(error)
    assert trial.rows == ()
    assert trial.estimate is None


@pytest.mark.usefixtures("nothing_left")
def test_two_trials_at_once_do_not_disturb_each_other_and_one_is_stopped(workspace, request_of):
    begun, stop = threading.Event(), threading.Event()
    hangs = """
        import subprocess, sys, time

        def run(mini_batch):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            time.sleep(600)
    """
    slow = request_of(hangs, 3)
    found = []

    def stopped():
        begun.set()
        return stop.is_set()

    thread = threading.Thread(target=lambda: found.append(workspace.try_items(slow, stopped=stopped)))
    thread.start()
    begun.wait()
    quick = request_of(TELLS_ITS_LENGTH, 3, name="quick.py")
    assert workspace.try_items(quick, seconds=0).succeeded == 3
    stop.set()
    thread.join(20)
    assert found[0].error == "The trial was stopped."


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_trial_ends_with_the_process_that_asked_for_it(home, workspace, request_of):
    request = request_of("import time\ndef run(mini_batch): time.sleep(600)", 2)
    code = (
        "import sys; from pathlib import Path\n"
        "from services.domain import RunRequest; from services.local.workspace import LocalWorkspace\n"
        "LocalWorkspace(Path(sys.argv[1])).try_items(RunRequest((), ('d',), sys.argv[2]))"
    )
    asker = subprocess.Popen([sys.executable, "-c", code, str(home), request.entry_script], cwd=Path(__file__).parents[2])
    try:
        _until(lambda: len(_processes_in(home)) >= 1)
    finally:
        asker.kill()
        asker.wait()
    _until(lambda: not _processes_in(home) and not list((home / "incoming").iterdir()))


def _until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_names_from_outside_and_models_reach_the_rows_unharmed(workspace, request_of, tmp_path, model_file):
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["=cmd|x.csv", "a: b.csv", "a\nb.csv", 'quote".csv', "<b>&amp;.csv", os.fsdecode(b"\xff.csv")]
    for name in names:
        (folder / name).write_text("1,2,3")
    workspace.register_dataset("odd", folder)
    model = workspace.register_model("m", model_file, approve=True)
    script = """
        import os

        def run(mini_batch):
            has = os.path.exists(os.path.join("azureml-models", "m", "1"))
            return [{"file": os.path.basename(path), "has": has} for path in mini_batch]
    """
    request = request_of(script, dataset="odd")
    trial = workspace.try_items(RunRequest((model.reference,), ("odd",), request.entry_script, arguments=("--x", "1")), items=6, seconds=0)
    assert [row.item for row in trial.rows] == [*sorted(names)[:-1], "\\xff.csv"]  # as in every table
    assert {row.values["has"] for row in trial.rows} == {True}
    assert sha256_of(Path(model.path)) == model.sha256
    os.chmod(model.path, 0o600)
    Path(model.path).write_bytes(b"changed")
    changed = workspace.try_items(RunRequest((model.reference,), ("odd",), request.entry_script))
    assert "is not what was registered" in changed.error


def test_a_request_that_no_run_takes_is_not_tried(workspace, request_of, model_file):
    workspace.register_model("m", model_file)
    request = request_of(TELLS_ITS_LENGTH, 3)
    with pytest.raises(SettingsError) as refused:
        workspace.try_items(RunRequest(("m",), ("d",), request.entry_script))
    assert refused.value.field == "model"
    for given in ({"items": 0}, {"items": 101}, {"choice": "last"}, {"choice": [4]}, {"choice": []}):
        with pytest.raises(SettingsError):
            workspace.try_items(request, **given)


def test_partition_keys_and_random_items_keep_their_mini_batches(workspace, request_of, tmp_path):
    folder = tmp_path / "keyed"
    for number in range(12):
        path = folder / f"day{number % 3}" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    workspace.register_dataset("k", folder, partition_format="{day}/*.csv")
    script = """
        import os

        def run(mini_batch, context):
            return [f"{os.path.basename(path)}: {context.partition_key_value['day']}" for path in mini_batch]
    """
    trial = workspace.try_items(request_of(script, dataset="k", partition_keys=("day",)), items=12, choice="random", seconds=1)
    assert {row.item: row.values["Prediction"] for row in trial.rows} == {f"day{n % 3}/{n}.csv": f"day{n % 3}" for n in range(12)}
    assert not math.isnan(trial.estimate.seconds_high)

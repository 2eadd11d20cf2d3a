"""One mini-batch of a run scored again, beside the run: by a real worker, and nothing of the run is touched."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from services.errors import NotFound, StudioError
from services.local.run_folder import LocalRunFolder
from services.run_details import ReplayStage

PRINTS = """
    import os, sys

    def init():
        print("ready")

    def run(mini_batch):
        rows = []
        for path in mini_batch:
            name = os.path.basename(path)
            print("scoring", name)
            rows.append(f"{name}: {open(path).read()[:3]}")
        open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], f"of {name}.txt"), "w").write(" ".join(sys.argv))
        return rows

    def shutdown():
        print("bye")
"""


def content_of(folder: Path) -> dict[str, str]:
    """Every file of a run, by its SHA-256; without SQLite's index of the journal, which readers share."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_a_replay_returns_and_prints_what_the_run_did_and_touches_nothing(workspace, score, home):
    run = score(PRINTS, 7, mini_batch_size=2, arguments=("--colour", "red"))
    before, state = content_of(home / "runs" / run.id), workspace.runs.get(run.id)
    seen = []
    found = workspace.replay(run.id, 1, progress=seen.append)
    assert [(row.item, row.values["Prediction"], row.values["Mini-batch"]) for row in found.rows] == [
        ("0002.csv", "2.0", 1), ("0003.csv", "0.0", 1)
    ]  # fmt: skip
    assert (found.same, found.comparison, found.differences) == (True, "All 2 rows are as in the run.", ())
    assert (found.items, found.returned, found.status, found.error, found.changes) == (2, 2, "RUN_DONE", "", ())
    assert [(line.stream, line.text) for line in found.printed] == [
        ("stdout", text) for text in ("ready", "scoring 0002.csv", "scoring 0003.csv", "bye")
    ]  # fmt: skip
    assert [line.seconds for line in found.printed] == sorted(line.seconds for line in found.printed)
    assert [name for name, _ in found.written] == ["of 0003.csv.txt"]
    assert 0 < found.init_seconds < found.start_seconds < found.seconds
    assert found.run_seconds > 0
    assert found.memory >= found.memory_at_start > 1_000_000
    assert seen[-1].stage is ReplayStage.COMPARING
    assert seen[-1].printed == found.printed
    assert content_of(home / "runs" / run.id) == before
    assert workspace.runs.get(run.id) == state
    assert not list((home / "incoming").iterdir())


def test_what_changed_since_is_said_first_and_the_script_is_the_runs_own(workspace, score, entry_script, tmp_path, home):
    run = score(PRINTS, 4, mini_batch_size=2)
    before = content_of(home / "runs" / run.id)
    entry_script("def run(mini_batch): return ['another script'] * len(mini_batch)")
    (tmp_path / "csv" / "0000.csv").write_text("9,9,9")
    (tmp_path / "csv" / "0001.csv").unlink()
    told = []
    found = workspace.replay(run.id, 0, progress=lambda progress: told.append(progress.changes))
    assert told[0] == found.changes
    script, gone, changed = found.changes
    assert script == "script.py was changed since: the replay uses the script as the run had it."
    assert "gone since the dataset was registered: 0001.csv" in gone
    assert "changed since the dataset was registered: 0000.csv" in changed
    assert "FileNotFoundError" in found.error
    assert found.same is False
    (tmp_path / "csv" / "0001.csv").write_text("1,1,1")
    found = workspace.replay(run.id, 0)
    assert [row.values["Prediction"] for row in found.rows] == ["9,9", "1,1"]
    assert (found.same, found.different, found.comparison) == (False, 2, "2 of 2 rows differ from the run's.")
    assert (found.differences[0].run, found.differences[0].replay) == ("0000.csv: 0.0", "0000.csv: 9,9")
    (tmp_path / "scripts" / "script.py").unlink()
    assert "script.py is gone" in workspace.replay(run.id, 1).changes[0]
    assert content_of(home / "runs" / run.id) == before


ENDS = """
    import os, time

    def run(mini_batch):
        name = os.path.basename(mini_batch[0])
        if name == "0000.csv":
            print("about to crash", flush=True)
            os.kill(os.getpid(), 11)
        if name == "0001.csv":
            time.sleep(600)
        if name == "0002.csv":
            os._exit(3)
        if name == "0003.csv":
            raise KeyError("four")
        return []
"""


def test_a_crash_a_hang_and_an_exit_are_told_as_in_a_run(workspace, score):
    run = score(ENDS, 5, mini_batch_size=1, run_max_try=1, run_invocation_timeout=1, process_count_per_node=1)
    told = {
        0: ("PROCESS_DIED", "the worker was ended by signal SIGSEGV"),
        1: ("RUN_TIMEOUT", "run() took longer than the run_invocation_timeout of 1 s"),
        2: ("PROCESS_DIED", "the worker exited with code 3: "),
        3: ("RUN_EXCEPTION", "KeyError: 'four' (script.py, line 14)"),
    }
    for number, (status, error) in told.items():
        found = workspace.replay(run.id, number)
        assert (found.status, found.error.startswith(error.rstrip(": "))) == (status, True), found.error
        assert found.comparison == "It fails as it did in the run."
        assert not found.succeeded
    assert "KeyError" in found.traceback
    assert workspace.replay(run.id, 0).printed[-1].text == "about to crash"
    missing = workspace.replay(run.id, 4)
    assert (missing.returned, missing.error, missing.succeeded) == (0, "", False)
    assert missing.causes[0].count == 1


def test_a_replay_is_stopped_and_ends_all_that_it_started(workspace, score, home):
    run = score(ENDS, 2, mini_batch_size=1, run_max_try=1, run_invocation_timeout=2)
    began = time.monotonic()
    stages = []
    found = workspace.replay(run.id, 1, progress=lambda progress: stages.append(progress.stage), stopped=lambda: ReplayStage.RUN in stages)
    assert found.error == "The replay was stopped."
    assert time.monotonic() - began < 60
    assert not list((home / "incoming").iterdir())


def test_rows_of_a_table_keep_their_numbers(workspace, submit, finish, tmp_path, entry_script):
    folder = tmp_path / "tables"
    folder.mkdir()
    pandas.DataFrame({"x": range(5_000)}).to_csv(folder / "a.csv", index=False)
    workspace.register_dataset("d", folder, type="tabular")
    run = finish(workspace, submit("def run(frame): return frame.assign(double=2 * frame.x)", mini_batch_size="4KB").id)
    found = workspace.replay(run.id, 1)
    first = found.rows[0]
    assert found.same
    assert (found.item, first.values["double"]) == ("row", 2 * first.values["x"])
    assert first.row == first.values["x"] + 1 > 1


def test_without_its_environment_model_or_mini_batch_it_says_what_is_missing(workspace, score, model_file, tmp_path):
    model = workspace.register_model("m", model_file, approve=True)
    run = score("def run(mini_batch): return [1 for _ in mini_batch]", 2, models=(model.reference,), mini_batch_size=1)
    for number in (2, -1):
        with pytest.raises(NotFound, match="has no mini-batch"):
            workspace.replay(run.id, number)
    with pytest.raises(NotFound, match="run-of-nobody"):
        workspace.replay("run-of-nobody", 0)
    folder = LocalRunFolder(workspace.home, run.id)
    plan = folder.plan()
    there = plan.environment.packages | {"left-pad": "1.0"}
    folder.create(replace(plan, environment=replace(plan.environment, packages=there)))
    assert "left-pad gone" in workspace.replay(run.id, 0).changes[0]
    folder.create(replace(plan, environment=replace(plan.environment, name="mine", version=3, interpreter=str(tmp_path / "python"))))
    with pytest.raises(NotFound, match=r"environment mine:3 is gone\. There is no Python interpreter at"):
        workspace.replay(run.id, 0)
    folder.create(plan)
    os.chmod(model.path, 0o600)
    Path(model.path).write_bytes(b"changed")
    with pytest.raises(StudioError, match="is not what was registered"):
        workspace.replay(run.id, 0)
    Path(model.path).unlink()
    with pytest.raises(NotFound, match="Model m:1 is gone"):
        workspace.replay(run.id, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there")
def test_a_gigabyte_that_is_printed_harms_nobody(workspace, submit, finish, tmp_path, monkeypatch):
    monkeypatch.setenv("LOUD", str(tmp_path / "loud"))
    script = """
        import os, sys

        def run(mini_batch):
            if os.path.exists(os.environ["LOUD"]):
                for number in range(1000):
                    sys.stdout.write("x" * 999_990 + "\\n")
                    sys.stdout.write(f"{number}\\n")
            return [1 for _ in mini_batch]
    """
    run = finish(workspace, submit(script, 1, process_count_per_node=1).id)
    (tmp_path / "loud").touch()
    found = workspace.replay(run.id, 0)
    assert found.succeeded
    assert len(found.printed) <= 2_000
    assert max(len(line.text) for line in found.printed) < 3_000

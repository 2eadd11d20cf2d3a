"""What goes with what is deleted, what stays, and what a process that is killed meanwhile leaves."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services import PROJECT_ROOT
from services.domain import Environment, ResourceKind, RunRequest, RunStatus, utc_now
from services.errors import NotFound, SettingsError
from services.local.run_folder import LocalRunFolder
from services.local.workspace import LocalWorkspace
from services.predictions.annotations import Annotation
from services.run_details import RowKey

MODEL, DATASET, ENVIRONMENT, RUN = ResourceKind


@pytest.fixture
def workspace(tmp_path):
    return LocalWorkspace(tmp_path / "home")


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    return path


@pytest.fixture
def run_of(workspace):
    """`run_of(id, status=..., model="m:1")`: a run as the registry has it, with a folder that holds a file."""

    def make(run_id, status=RunStatus.COMPLETED, **request):
        given = {"models": (), "datasets": ("d:1",), "entry_script": "/score.py"}
        ended = {"ended_at": utc_now()} if status.ended else {}
        folder = workspace.home / "runs" / run_id
        folder.mkdir()
        (folder / "rows.partial").write_bytes(b"x" * 10_000)
        return workspace._store.insert_run(run_id, RunRequest(**given | request), 1, 1, status=status, **ended)

    return make


def in_home(workspace, *parts):
    return workspace.home.joinpath(*parts).exists()


def test_a_model_is_deleted_with_its_files_and_their_bytes_are_told(workspace, model_file):
    workspace.register_model("m", model_file)
    size = os.path.getsize(workspace.model("m").path)
    assert workspace.resources.dependents(MODEL, "m").size == size
    assert workspace.resources.delete(MODEL, ["m:1"]) == size
    assert not in_home(workspace, "models", "m")
    assert workspace._store.deletions() == []
    with pytest.raises(NotFound, match="“m:1” was deleted"):
        workspace.model("m:1")


def test_nothing_that_a_run_needs_is_deleted_before_it_has_ended(workspace, run_of, model_file, table):
    workspace.register_model("m", model_file)
    workspace.register_dataset("d", table)
    workspace.register_dataset("side", table)
    workspace._store.add(Environment, "e", lambda version: Environment("e", version, sys.executable, "3.11.0", {}, utc_now()))
    run_of("run-1", RunStatus.NOT_STARTED, models=("m:1",), side_inputs={"side": "side:1"}, environment="e:1")
    needed = ((MODEL, "m:1"), (DATASET, "d:1"), (DATASET, "side:1"), (ENVIRONMENT, "e:1"), (RUN, "run-1"))
    for status in (RunStatus.NOT_STARTED, RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.NOT_RESPONDING):
        workspace._store.update_run("run-1", status=status)
        for kind, name in needed:
            assert workspace.resources.dependents(kind, name).active == ("run-1",)
            with pytest.raises(SettingsError, match="run-1") as refused:
                workspace.resources.delete(kind, [name])
            assert refused.value.field == kind
    workspace._store.update_run("run-1", status=RunStatus.CANCELED, ended_at=utc_now())
    for kind, name in needed:
        workspace.resources.delete(kind, [name])


def test_a_schedule_that_fails_without_it_is_told(workspace, table, entry_script):
    for _ in range(2):
        workspace.register_dataset("d", table)
    script = str(entry_script("def run(mini_batch): return mini_batch"))
    workspace.schedules.add("nightly", "daily", RunRequest((), ("d:1",), script))
    workspace.schedules.add("weekly", "daily", RunRequest((), ("d",), script))
    assert workspace.resources.dependents(DATASET, "d:1").schedules == ("nightly",)
    assert workspace.resources.dependents(DATASET, "d:2").schedules == ()
    workspace.resources.delete(DATASET, ["d:1"])
    assert "Schedule weekly names it, and fails without it." in workspace.resources.dependents(DATASET, "d:2").sentences()


def test_of_several_none_is_deleted_where_one_is_needed(workspace, run_of, model_file):
    for name in ("a", "b"):
        workspace.register_model(name, model_file)
    run_of("run-1", RunStatus.RUNNING, models=("b:1",))
    with pytest.raises(SettingsError, match="b:1 is needed by run run-1"):
        workspace.resources.delete(MODEL, ["a:1", "b:1"])
    assert len(workspace.models()) == 2


def test_a_run_is_not_recorded_when_its_model_was_deleted_just_now(workspace, run_of, model_file):
    workspace.register_model("m", model_file)
    workspace.resources.delete(MODEL, ["m:1"])
    with pytest.raises(NotFound, match="“m:1” was deleted, which the run needs"):
        run_of("run-1", RunStatus.NOT_STARTED, models=("m:1",))
    with pytest.raises(NotFound):
        workspace.runs.get("run-1")


def test_a_run_whose_model_was_deleted_is_not_resumed_and_says_why(workspace, run_of, model_file):
    workspace.register_model("m", model_file)
    run = run_of("run-1", RunStatus.FAILED, models=("m:1",))
    workspace.resources.delete(MODEL, ["m:1"])
    with pytest.raises(NotFound, match="“m:1” was deleted, which the run needs"):
        workspace._store.reopen_run(run.id, run.request, status=RunStatus.QUEUED)
    assert workspace.runs.get(run.id).status is RunStatus.FAILED


def test_a_run_whose_rows_another_shows_is_deleted_with_it_only(workspace, run_of):
    run_of("run-1")
    run_of("run-2", rerun_of="run-1", failed_only=True)
    run_of("run-3", rerun_of="run-1")
    found = workspace.resources.dependents(RUN, "run-1")
    assert (found.reruns, found.runs, found.blocked(["run-1"])) == (("run-2",), ("run-3",), True)
    assert "Run run-2 was added to it and shows rows of it: delete them together." in found.sentences()
    with pytest.raises(SettingsError, match="run-2"):
        workspace.resources.delete(RUN, ["run-1"])
    workspace.resources.delete(RUN, ["run-1", "run-2"])
    assert [run.id for run in workspace.runs.latest()] == ["run-3"]


def test_all_runs_that_were_added_one_to_another_are_named_at_once(workspace, run_of):
    run_of("run-1")
    run_of("run-2", rerun_of="run-1", failed_only=True)
    run_of("run-3", rerun_of="run-2", failed_only=True)
    with pytest.raises(SettingsError, match="run-1 is needed by run-2, run-3, which show rows of it"):
        workspace.resources.delete(RUN, ["run-1"])
    workspace.resources.delete(RUN, ["run-1", "run-2", "run-3"])
    assert workspace.runs.latest() == []


def test_a_run_whose_output_is_the_files_of_a_dataset_stays_until_that_goes(workspace, run_of):
    run_of("run-1")
    workspace.register_dataset("again", workspace.home / "runs" / "run-1")
    found = workspace.resources.dependents(RUN, "run-1")
    assert found.sentences() == ["Its output is the files of again:1: delete that dataset first."]
    assert found.blocked()
    with pytest.raises(SettingsError, match="again:1, whose files are its output"):
        workspace.resources.delete(RUN, ["run-1"])
    workspace.resources.delete(DATASET, ["again"])
    assert in_home(workspace, "runs", "run-1", "rows.partial")
    workspace.resources.delete(RUN, ["run-1"])


def test_a_deleted_run_takes_its_notes_and_tags_with_it(workspace, run_of):
    run_of("run-1")
    workspace.resources.change(RUN, "run-1", name="the best", tags={"a": "b"})
    workspace.annotations.annotate("run-1", RowKey("a.csv", 0, 0), Annotation("odd"))
    assert workspace.resources.delete(RUN, ["run-1"]) >= 10_000
    assert workspace.annotations.annotations("run-1") == {}
    assert not in_home(workspace, "runs", "run-1")
    run_of("run-1")
    assert workspace.resources.metadata(RUN) == {}


def test_a_run_with_a_live_runner_is_not_deleted_though_it_reads_ended(workspace, run_of, monkeypatch):
    monkeypatch.setattr("services.resources._LOCK_RELEASE_SECONDS", 0.1)
    run_of("run-1")
    with LocalRunFolder(workspace.home, "run-1").lock(), pytest.raises(SettingsError, match="active runner"):
        workspace.resources.delete(RUN, ["run-1"])
    assert in_home(workspace, "runs", "run-1", "rows.partial")


def test_a_run_whose_folder_is_gone_is_deleted_all_the_same(workspace, run_of):
    run_of("run-1")
    os.remove(workspace.home / "runs" / "run-1" / "rows.partial")
    os.rmdir(workspace.home / "runs" / "run-1")
    assert workspace.resources.delete(RUN, ["run-1"]) == 0
    assert workspace.runs.latest() == []


def test_copied_files_go_and_those_used_in_place_stay(workspace, table):
    workspace.register_dataset("copied", table, copy=True)
    workspace.register_dataset("there", table)
    assert "are yours and stay" in " ".join(workspace.resources.dependents(DATASET, "there").sentences())
    assert workspace.resources.delete(DATASET, ["copied:1", "there:1"]) > 0
    assert table.read_text() == "a,b\n1,2\n3,4\n"
    assert list((workspace.home / "datasets").iterdir()) == []


def test_files_that_another_version_reads_stay_until_it_goes_too(workspace, table):
    workspace.register_dataset("d", table, copy=True)
    workspace.reread_dataset("d:1", "tabular")
    assert workspace.resources.dependents(DATASET, "d:1").shared_with == ("d:2",)
    workspace.resources.delete(DATASET, ["d:1"])
    assert Path(workspace.dataset("d:2").root, "table.csv").exists()
    workspace.resources.delete(DATASET, ["d:2"])
    assert list((workspace.home / "datasets").iterdir()) == []


def test_what_runs_are_shown_and_judged_by_goes_with_the_last_of_them(workspace, run_of, tmp_path, table):
    workspace.register_dataset("d", table, copy=True)
    truth = tmp_path / "truth.csv"
    truth.write_text("File,Label\ntable.csv,1\n")
    labels = workspace.add_labels("d", truth)
    for run_id in ("run-1", "run-2"):
        run_of(run_id)
    assert workspace.resources.dependents(DATASET, "d").labels == 1
    workspace.resources.delete(DATASET, ["d:1"])
    assert [path.name for path in (workspace.home / "datasets" / "d" / "1").iterdir()] == ["manifest.jsonl"]
    assert workspace.find_labels(["d:1"], labels.id).count == 1
    workspace.resources.delete(RUN, ["run-1"])
    assert [one.id for one in workspace.labels("d:1")] == [labels.id]
    workspace.resources.delete(RUN, ["run-2"])
    assert not in_home(workspace, "datasets", "d")
    assert not in_home(workspace, "labels", "d")
    with pytest.raises(NotFound):
        workspace.labels("d:1")


def test_labels_that_hold_for_another_version_stay(workspace, tmp_path, table):
    truth = tmp_path / "truth.csv"
    truth.write_text("File,Label\ntable.csv,1\n")
    workspace.register_dataset("d", table)
    labels = workspace.add_labels("d", truth)
    workspace.register_dataset("d", table)
    workspace.resources.delete(DATASET, ["d:1"])
    assert [one.id for one in workspace.labels("d:2")] == [labels.id]


def test_an_interpreter_that_was_not_made_here_stays(workspace, tmp_path):
    python = tmp_path / "python"
    python.touch()
    workspace._store.add(Environment, "e", lambda version: Environment("e", version, str(python), "3.11.0", {}, utc_now()))
    made = workspace.home / "environments" / "made" / "1"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").touch()
    workspace._store.add(Environment, "made", lambda version: Environment("made", version, f"{made}/bin/python", "3.11.0", {}, utc_now()))
    workspace.resources.delete(ENVIRONMENT, ["e:1", "made:1"])
    assert python.exists()
    assert not made.exists()
    assert workspace.environments() == []


def test_no_environment_takes_the_name_that_another_was_renamed_to(workspace):
    def add(name):
        return workspace._store.add(Environment, name, lambda version: Environment(name, version, "/python", "3.11.0", {}, utc_now()))

    add("old")
    workspace.resources.change(ENVIRONMENT, "old", name="prod")
    assert workspace.environment("prod").reference == workspace.environment("prod:1").reference == "old:1"
    with pytest.raises(SettingsError, match="old:1 was renamed to “Prod”"):
        add("Prod")
    workspace.resources.change(ENVIRONMENT, "prod", name="")
    assert add("prod").reference == "prod:1"


def test_what_may_not_be_written_is_removed_too(workspace, run_of):
    run_of("run-1")
    left = workspace.home / "runs" / "run-1" / "output" / "sealed"
    left.mkdir(parents=True)
    (left / "rows.txt").write_text("x")
    left.chmod(0o500)
    workspace.resources.delete(RUN, ["run-1"])
    assert not in_home(workspace, "runs", "run-1")


def killed_at(call: int, work) -> bool:
    """Do the work in a process that is killed at its `call`-th call of a function written in C; whether it got so far."""
    child = os.fork()
    if not child:
        calls = 0

        def count(_frame, event, _function):
            nonlocal calls
            calls += event == "c_call"
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="it forks")
def test_killed_anywhere_a_deletion_leaves_whole_runs_and_what_clean_up_removes(workspace, run_of, table):
    killed, call, states, read_by = True, 0, set(), {}
    while killed:
        for run_id in {"run-1", "run-2"} - {run.id for run in workspace.runs.latest()}:
            read_by[run_id] = workspace.register_dataset("d", table, copy=True)
            run_of(run_id, datasets=(read_by[run_id].reference,))
            (workspace.home / "runs" / run_id / "output").mkdir()
            (workspace.home / "runs" / run_id / "output" / "rows.txt").write_text("x")
            workspace.resources.delete(DATASET, [read_by[run_id].reference])  # the list of its files stays for the run
        call += 211
        killed = killed_at(call, lambda: workspace.resources.delete(RUN, ["run-1", "run-2"]))
        kept = {run.id for run in workspace.runs.latest()}
        states.add((len(kept), bool(workspace._store.deletions())))
        for run_id in kept:
            assert in_home(workspace, "runs", run_id, "rows.partial")
            assert in_home(workspace, "runs", run_id, "output", "rows.txt")
            assert Path(read_by[run_id].manifest).exists()
        workspace.resources.clean_up()
        assert {path.name for path in (workspace.home / "runs").iterdir()} == kept
        lists = {path.parent.name for path in (workspace.home / "datasets").rglob("*.jsonl")}
        assert lists == {str(read_by[run_id].version) for run_id in kept}
        assert workspace._store.deletions() == []
    assert states >= {(2, False), (1, True), (1, False), (0, True), (0, False)}  # it was killed in each of them


FULL_DISK = """
import sys
from pathlib import Path
from services.domain import ResourceKind, RunRequest, RunStatus, utc_now
from services.local.workspace import LocalWorkspace

home = Path(sys.argv[1]) / "home"
workspace = LocalWorkspace(home)
for run_id in ("run-1", "run-2"):
    (home / "runs" / run_id).mkdir()
    (home / "runs" / run_id / "rows.partial").write_bytes(b"x" * 2_000_000)
    workspace._store.insert_run(run_id, RunRequest((), ("d:1",), "/s.py"), 1, 1, status=RunStatus.COMPLETED, ended_at=utc_now())
with open(home / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        pass
freed = LocalWorkspace(home).resources.delete(ResourceKind.RUN, ["run-1"])
print(freed, [run.id for run in LocalWorkspace(home).runs.latest()], [path.name for path in (home / "runs").iterdir()])
"""


def test_on_a_full_disk_a_run_can_be_deleted(tmp_path):
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=20m none "$0" && exec "$@"', str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system mounts no disk for a test")
    command = [*mounted, sys.executable, "-c", FULL_DISK, str(tmp_path)]
    result = subprocess.run(command, cwd=PROJECT_ROOT, check=False, capture_output=True, text=True)
    assert result.stdout == "2000000 ['run-2'] ['run-2']\n", result.stderr

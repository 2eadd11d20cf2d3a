"""What a home takes of its disk: counted, limited and cleaned up. Nothing outside the home is counted or touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.domain import Environment, ResourceKind, RunRequest, RunStatus, utc_now
from services.errors import SettingsError
from services.intake.staging import staging_folder
from services.storage import usage
from services.storage.usage import StorageKind
from services.workspace import CleanUpGroup, CleanUpItem

ROOT = Path(__file__).parents[2]
NOT_DERIVED = {"journal.db", "labels-0123.parquet", "logs", "output"}
LONG_AGO = time.time() - 2 * usage.ABANDONED_SECONDS


@pytest.fixture
def storage(workspace):
    return workspace.storage


def written(path: Path, size: int = 10_000, at: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for place in (path, path.parent) if at else ():
        os.utime(place, (at, at))
    return path


def add_run(workspace, run_id: str, *, status: RunStatus = RunStatus.COMPLETED, days: int = 0, **columns) -> Path:
    """A run in the registry, with an output, a table, a log, a journal, and caches of 10 kB each; its folder."""
    request = RunRequest((), ("d:1",), "/s/script.py", **columns)
    moment = utc_now() - timedelta(days=days)
    ended = {"ended_at": moment} if status.ended else {}
    workspace._store.insert_run(run_id, request, 10, 1, status=status, submitted_at=moment, **ended)
    folder = workspace.home / "runs" / run_id
    for name in (
        "output/parallel_run_step.txt", "predictions-3-1.parquet", "logs/user/x.log", "journal.db", "predictions-3-1.kept/a.rows",
        "judged-0123-predictions-3-1.parquet", "labels-0123.parquet",
    ):  # fmt: skip
        written(folder / name)
    return folder


def by_kind(measured) -> dict[str, list[str]]:
    return {kind: sorted(item.name for item in measured.of(kind)) for kind in StorageKind if measured.of(kind)}


def group(found, wanted: CleanUpGroup) -> list[CleanUpItem]:
    return [item for item in found if item.group is wanted]


# ---- counting ----------------------------------------------------------------------------------------------------------------------------


def test_each_file_counts_as_what_it_is(workspace, storage, model_file, csv_folder):
    workspace.register_model("m", model_file, approve=True)
    workspace.register_dataset("copied", csv_folder(3), copy=True)
    add_run(workspace, "run-1")
    written(workspace.home / "drafts" / "12.json")
    found = by_kind(storage.measure())
    assert found["models"] == ["m:1"]
    assert found["datasets"] == ["copied:1"]
    assert {found[kind][0] for kind in ("run output", "run tables", "run logs", "run records", "caches")} == {"run-1"}
    assert found["drafts"] == ["drafts"]
    assert "studio.db" in found["registry and other"]
    assert "leftovers" not in found


def test_the_sum_is_that_of_all_files(workspace, storage):
    add_run(workspace, "run-1")
    measured = storage.measure()
    held = sum(path.lstat().st_size for path in workspace.home.rglob("*") if path.is_file() and path.name != usage.KEPT_FILE)
    assert measured.bytes == held == sum(item.bytes for item in measured.items)


def test_the_largest_come_first(workspace, storage):
    for number, size in enumerate((10_000, 90_000, 40_000)):
        written(workspace.home / "runs" / f"run-{number}" / "output" / "o.txt", size)
    assert [item.name for item in storage.measure().of(StorageKind.RUN_OUTPUT)] == ["run-1", "run-2", "run-0"]


def test_files_in_place_and_links_are_not_counted(workspace, storage, csv_folder, tmp_path):
    before = storage.measure().bytes
    own = csv_folder(3)
    written(own / "large.bin", 1_000_000)
    workspace.register_dataset("in-place", own)
    (workspace.home / "models" / "link").symlink_to(own)
    (workspace.home / "runs" / "file").symlink_to(own / "large.bin")
    assert storage.measure().bytes - before < 100_000


def test_a_file_with_two_names_counts_once(workspace, storage):
    first = written(workspace.home / "runs" / "run-1" / "predictions-1-1.parquet", 400_000)
    os.link(first, first.with_name(".predictions-1-1.parquet.00.open"))
    assert storage.measure().of(StorageKind.RUN_TABLES)[0].bytes < 500_000


def test_what_was_counted_is_kept_with_its_age(workspace, storage):
    assert storage.known() is None
    measured = storage.measure()
    assert type(workspace)(workspace.home).storage.known() == measured
    assert measured.age < 60


def test_a_broken_count_is_no_count(workspace, storage):
    for content in (b"", b"[]", b'{"measured_at": 1}', b"\xff"):
        (workspace.home / usage.KEPT_FILE).write_bytes(content)
        assert storage.known() is None


def test_counting_stops_when_it_is_told_to(storage):
    assert storage.measure(lambda: True) is None
    assert storage.known() is None


def test_a_name_that_no_text_can_hold_is_counted(workspace, storage):
    folder = os.fsencode(workspace.home / "runs") + b"/run-\xff\n=cmd"
    os.makedirs(folder + b"/output")
    Path(os.fsdecode(folder), "output", "o").write_text("x")
    assert storage.measure().of(StorageKind.RUN_OUTPUT)[0].name == "run-\\udcff\n=cmd"
    assert storage.known() == storage.known()


# ---- the limit ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("1.5 tb", 1_500 * 10**9), ("800m", 8 * 10**8), ("12345 B", 12345), ("none", None)]
)
def test_a_limit_is_a_size(storage, text, size):
    assert storage.set_limit(text) == storage.limit() == size


@pytest.mark.parametrize("text", ["", "-1", "0", "5", "GB", "1e9", "50 apples", "5٠GB", "9" * 40, "0.0000001KB"])
def test_what_is_no_size_is_refused_and_the_limit_stays(storage, text):
    storage.set_limit("1GB")
    with pytest.raises(SettingsError, match="is not a size") as refused:
        storage.set_limit(text)
    assert (refused.value.field, storage.limit()) == ("limit", 10**9)


def test_it_is_warned_of_before_it_is_reached(workspace, storage):
    written(workspace.home / "runs" / "run-1" / "output" / "o", 1_000_000)
    measured = storage.measure().bytes
    storage.set_limit(f"{measured * 2} B")
    assert storage.warnings() == []
    storage.set_limit(f"{int(measured * 1.05)} B")
    assert "% of its limit of " in storage.warnings()[0]
    storage.set_limit(f"{measured // 2} B")
    assert "and its limit is" in storage.warnings()[0]


def test_a_disk_is_nearly_full_by_its_size():
    assert usage.nearly_full(5 * 10**8, 10**10)
    assert not usage.nearly_full(2 * 10**9, 10**10)
    assert usage.nearly_full(15 * 10**9, 10**12)
    assert not usage.nearly_full(30 * 10**9, 10**14)


def test_a_run_that_will_not_fit_is_warned_of(workspace, storage):
    written(add_run(workspace, "run-1") / "output" / "more.txt", 1_000_000)
    storage.set_limit(f"{storage.measure().bytes + 5_000_000} B")
    request = RunRequest((), ("d:2",), "/s/script.py")
    assert storage.run_warnings(request, 10) == []
    assert storage.run_warnings(request, 100)[0].startswith(
        "This run may exceed the limit of the workspace’s folder: about 10.1 MB of output, as run-1 wrote 1.0 MB"
    )
    assert "may not fit on the disk" in storage.run_warnings(request, 10**13)[0]
    assert storage.run_warnings(RunRequest((), ("other:1",), "/s/script.py"), 10**13) == []


# ---- the clean-up ------------------------------------------------------------------------------------------------------------------------


def test_caches_of_ended_runs_go_and_nothing_else_of_them(workspace, storage):
    ended, active = add_run(workspace, "run-1"), add_run(workspace, "run-2", status=RunStatus.RUNNING)
    storage.measure()
    found = group(storage.proposals(), CleanUpGroup.CACHES)
    assert [item.name for item in found] == ["run-1"]
    before = storage.known().bytes
    done = storage.clean_up(found)
    assert (done.freed, done.kept) == (found[0].bytes, ())
    assert before - storage.known().bytes == pytest.approx(done.freed, abs=8192)  # the count itself is a file of the home
    assert sorted(path.name for path in ended.iterdir()) == [
        "journal.db",
        "labels-0123.parquet",
        "logs",
        "output",
        "predictions-3-1.parquet",
    ]
    assert (active / "predictions-3-1.kept" / "a.rows").exists()


def test_tables_go_as_their_output_stays_and_making_them_again_is_priced(workspace, storage):
    folder, active = add_run(workspace, "run-1"), add_run(workspace, "run-2", status=RunStatus.RUNNING)
    written(folder / "failures-7-1.parquet", 35_000_000)
    storage.measure()
    (item,) = group(storage.proposals(), CleanUpGroup.TABLES)
    assert (item.name, item.bytes) == ("run-1", 35_010_000)
    assert item.about == "made again in about 10 s, when its results are opened"
    assert (storage.clean_up([item]).freed, list(folder.glob("*.parquet"))) == (35_010_000, [
        folder / name for name in os.listdir(folder) if name.startswith(("judged-", "labels-")) and name.endswith(".parquet")
    ])  # fmt: skip
    assert (folder / "output" / "parallel_run_step.txt").exists()
    assert (active / "predictions-3-1.parquet").exists()


def test_a_table_that_nothing_else_is_left_of_stays(workspace, storage):
    imported, bare = add_run(workspace, "run-1"), add_run(workspace, "run-2")
    os.rename(imported / "predictions-3-1.parquet", imported / "predictions.parquet")
    (bare / "output" / "parallel_run_step.txt").unlink()
    storage.measure()
    found = group(storage.proposals(), CleanUpGroup.TABLES)
    assert [item.name for item in found] == ["run-2"]
    done = storage.clean_up([*found, replace(found[0], name="run-1")])
    assert [(item.name, reason) for item, reason in done.kept] == [("run-2", "its output, from which it is made, is gone")]
    assert (imported / "predictions.parquet").exists()
    assert (bare / "predictions-3-1.parquet").exists()


def test_the_files_of_the_program_say_what_they_are_for(workspace, storage):
    add_run(workspace, "studio.db")
    labels = {item.name: item.label for item in storage.measure().of(StorageKind.OTHER)}
    assert labels["studio.db"] == "studio.db (the registry)"
    assert labels[".reserve"] == ".reserve (for a full disk)"
    assert [name for name, label in labels.items() if name == label] == []
    assert [item.label for item in storage.known().of(StorageKind.RUN_LOGS)] == ["studio.db"]


def test_a_run_that_was_resumed_meanwhile_keeps_its_caches(workspace, storage):
    folder = add_run(workspace, "run-1")
    storage.measure()
    found = storage.proposals()
    workspace._store.update_run("run-1", status=RunStatus.RUNNING)
    done = storage.clean_up(found)
    assert (done.freed, [reason for _, reason in done.kept]) == (0, 2 * ["run-1 has not ended"])
    assert (folder / "predictions-3-1.kept" / "a.rows").exists()


def test_what_is_coming_in_now_is_no_leftover(workspace, storage):
    with staging_folder(workspace.home) as staging:
        written(staging / "half.bin", 50_000, at=LONG_AGO)
        storage.measure()
        assert storage.proposals() == []
        claimed = CleanUpItem(CleanUpGroup.LEFTOVERS, f"incoming/{staging.name}", 1)
        assert storage.clean_up([claimed]).kept == ((claimed, "it is in use, or gone"),)
        assert (staging / "half.bin").exists()
    assert list((workspace.home / "incoming").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_what_a_killed_process_left_is_a_leftover_at_once(workspace, storage):
    code = (
        "import sys, time; from pathlib import Path; from services.intake.staging import staging_folder\n"
        "with staging_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half.bin').write_bytes(b'x' * 50_000); print(flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.home)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert storage.proposals() == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (found,) = storage.proposals()
    assert (found.group, found.about) == (CleanUpGroup.LEFTOVERS, "what was coming in when its process ended")
    assert storage.clean_up([found]).freed >= 50_000
    assert list((workspace.home / "incoming").iterdir()) == []


def test_what_the_registry_does_not_have_is_a_leftover_once_it_is_old(workspace, storage, model_file):
    workspace.register_model("m", model_file, approve=True)
    home = workspace.home
    for name in ("models/m/2/half.bin", "datasets/d/1/manifest.jsonl", "runs/run-lost/plan.json", "environments/e/1/python"):
        written(home / name, at=LONG_AGO)
    written(home / "models" / "m" / "3" / "now.bin")
    written(home / "runs" / f".{'a' * 32}.part", at=LONG_AGO)
    written(home / "environments" / ".builds" / "b1" / "venv" / "x", at=LONG_AGO)
    storage.measure()
    found = storage.proposals()
    lost = ["datasets/d/1", "environments/e/1", "models/m/2", f"runs/.{'a' * 32}.part", "runs/run-lost"]
    assert sorted(item.name for item in found) == lost
    done = storage.clean_up(found)
    assert (len(done.removed), done.kept) == (5, ())
    assert not [name for name in lost if (home / name).exists()]
    assert workspace.model("m:1").size == model_file.stat().st_size
    assert (home / "models" / "m" / "1" / model_file.name).exists()
    assert (home / "models" / "m" / "3" / "now.bin").exists()
    assert storage.proposals() == []


@pytest.mark.parametrize(
    "name", ["../own.txt", "models/../../own", "models", "", "studio.db", "models/m/1", "incoming", "runs/link", "/etc"]
)
def test_no_path_leads_a_clean_up_elsewhere(workspace, storage, model_file, tmp_path, name):
    workspace.register_model("m", model_file, approve=True)
    own = written(tmp_path / "own" / "file.txt", at=LONG_AGO)
    (workspace.home / "runs" / "link").symlink_to(own.parent)
    done = storage.clean_up([CleanUpItem(CleanUpGroup.LEFTOVERS, name, 1)])
    assert (done.freed, len(done.kept)) == (0, 1)
    assert own.exists()
    assert workspace.model("m:1")


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_clean_up_that_is_killed_is_finished_by_the_next(workspace, storage):
    for number in range(8):
        folder = add_run(workspace, f"run-{number}")
        for file in range(50):
            written(folder / "predictions-3-1.kept" / f"{file}.rows", 500)
    storage.measure()
    code = (
        "import sys; from pathlib import Path; from services.local.workspace import LocalWorkspace\n"
        "storage = LocalWorkspace(Path(sys.argv[1])).storage\n"
        "storage.clean_up(storage.proposals(), lambda done, of: print(done, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.home)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    storage.measure()
    assert storage.clean_up(storage.proposals()).kept == ()
    assert list((workspace.home / "incoming").iterdir()) == []
    left = {path.name for path in workspace.home.glob("runs/*/*")}
    assert left == NOT_DERIVED
    assert len(list(workspace.home.glob("runs/*/output/parallel_run_step.txt"))) == 8


def test_an_environment_that_nothing_used_can_go_and_its_interpreter_stays(workspace, storage):
    old = Environment("old", 1, sys.executable, "3.11.0", {}, utc_now() - timedelta(days=100))
    workspace._store.add(Environment, "old", lambda version: old)
    (found,) = storage.proposals(90)
    assert (found.name, found.bytes) == ("old:1", 0)
    assert f"its interpreter stays: {sys.executable}" in found.about
    assert storage.proposals(101) == []
    assert storage.clean_up([found]).removed == (found,)
    assert workspace.environments() == []
    assert os.path.exists(sys.executable)


def test_what_a_deletion_left_when_it_was_killed_goes_with_the_leftovers(workspace, storage, model_file):
    workspace.register_model("m", model_file, approve=True)
    workspace._store.delete(ResourceKind.MODEL, "m", 1, ["models/m/1"])
    storage.measure()
    (found,) = storage.proposals()
    assert (found.name, found.bytes) == ("models/m/1", model_file.stat().st_size)
    assert storage.clean_up([found]).freed == found.bytes
    assert not (workspace.home / "models" / "m").exists()
    assert storage.proposals() == []


def test_files_of_a_deleted_dataset_that_another_reads_stay(workspace, storage, csv_folder):
    workspace.register_dataset("d", csv_folder(3), copy=True)
    again = workspace.reread_dataset("d:1", "tabular")
    assert Path(again.source_root).is_relative_to(workspace.home / "datasets" / "d" / "1")
    workspace.resources.delete(ResourceKind.DATASET, ["d:1"])
    for path in (workspace.home / "datasets").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    storage.measure()
    assert storage.proposals() == []
    assert Path(again.source_root, "0000.csv").exists()


def test_archived_runs_go_when_they_are_old_enough(workspace, storage):
    for run_id, days in (("run-1", 100), ("run-2", 10), ("run-3", 100)):
        add_run(workspace, run_id, days=days)
    for run_id in ("run-1", "run-2"):
        workspace.resources.change(ResourceKind.RUN, run_id, archived=True)
    storage.measure()
    (found,) = group(storage.proposals(90), CleanUpGroup.ARCHIVED_RUNS)
    assert (found.name, found.bytes) == ("run-1", 70_000)
    done = storage.clean_up([found])
    assert (done.removed, done.freed) == ((found,), 70_000)
    assert {run.id for run in workspace.runs.latest()} == {"run-2", "run-3"}
    assert not (workspace.home / "runs" / "run-1").exists()


def test_an_archived_run_that_another_needs_stays_and_why_is_said(workspace, storage):
    add_run(workspace, "run-1", days=100)
    add_run(workspace, "run-2", days=1, rerun_of="run-1", failed_only=True)
    workspace.resources.change(ResourceKind.RUN, "run-1", archived=True)
    found = group(storage.proposals(90), CleanUpGroup.ARCHIVED_RUNS)
    done = storage.clean_up(found)
    assert (done.freed, done.removed) == (0, ())
    assert "is needed by run-2" in done.kept[0][1]
    workspace.resources.change(ResourceKind.RUN, "run-1", archived=False)
    assert [reason for _, reason in storage.clean_up(found).kept] == ["it is not archived any more"]
    assert workspace.runs.get("run-1")


def test_a_clean_up_works_where_nothing_new_can_be_made(workspace, storage):
    folder = add_run(workspace, "run-1")
    storage.measure()
    found = storage.proposals()
    (workspace.home / "incoming").rmdir()
    (workspace.home / "incoming").touch()  # as on a full disk: no folder can be made there
    done = storage.clean_up(found)
    assert (len(done.removed), done.kept) == (2, ())
    assert {path.name for path in folder.iterdir()} == NOT_DERIVED


def test_a_leftover_that_may_not_be_written_goes_too(workspace, storage):
    left = written(workspace.home / "incoming" / "left" / "folder" / "half.bin", at=LONG_AGO).parent
    os.utime(left.parent, (LONG_AGO, LONG_AGO))
    left.chmod(0o500)
    found = storage.proposals()
    assert len(storage.clean_up(found).removed) == 1
    assert not left.parent.exists()


def test_a_lock_without_its_folder_is_a_leftover_too(workspace, storage):
    lock = workspace.home / "incoming" / "0123.lock"
    lock.touch()
    found = storage.proposals()
    assert [item.name for item in found] == ["incoming/0123"]
    assert len(storage.clean_up(found).removed) == 1
    assert not lock.exists()

"""What every workspace promises, in the words of `services/workspace.py`. The Azure one is asked through the unmodified SDK."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from services.domain import Run, RunRequest, RunStatus
from services.errors import EntryScriptError, IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.intake.staging import staging_folder
from services.predictions.annotations import Annotation
from services.run_details import LogQuery, RowKey, WorkerState
from services.settings import ParallelRunSettings
from services.storage.mini_batch_plan import describe
from services.workspace import Capability, Workspace
from services.workspaces import WORKSPACES, open_workspace
from tests.azure_service.fixtures import led_to

one_sdk = pytest.mark.parametrize("workspace", ["local", "azure"], indirect=True)
"""For what is answered on this machine: there one of the SDKs is like the other."""
of_one_sdk = pytest.mark.parametrize("completed", ["local", "azure"], indirect=True)
SCRIPT = "import os\ndef run(mini_batch): return [os.path.basename(path) + ': 1' for path in mini_batch]"


@pytest.fixture(params=WORKSPACES)
def workspace(request, home) -> Workspace:
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


def request_of(workspace, **values) -> RunRequest:
    remote = workspace.remote
    given = {
        "models": (),
        "datasets": ("d",),
        "settings": ParallelRunSettings(mini_batch_size=2, process_count_per_node=1),
        "compute_target": remote.compute_targets()[0].name if remote else None,
    }
    return RunRequest(**given | values)


@pytest.fixture
def request_for(workspace, csv_folder, entry_script):
    """`request_for(setting=value, ...)`: a request to score dataset `d`, of six files unless said."""

    def make(files=6, **values):
        workspace.register_dataset("d", csv_folder(files))
        return request_of(workspace, **{"entry_script": str(entry_script(SCRIPT))} | values)

    return make


def make_tables(folder: Path) -> Path:
    """Two CSV files of two rows each, in a folder for each store."""
    for store in (1, 2):
        (folder / "tables" / f"store={store}").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / f"store={store}" / "part.csv").write_text(f"sold,name\n{store}0,a\n{store}1,b\n")
    return folder / "tables"


class Completed(NamedTuple):
    workspace: Workspace
    run: Run
    clicked_again: Run


@pytest.fixture(scope="session")
def completed_runs() -> dict[str, tuple[Path, Run, Run]]:
    """What `completed` has made so far: a home, the run in it, and what a second click on submit gave."""
    return {}


@pytest.fixture(params=WORKSPACES)
def completed(request, completed_runs, tmp_path_factory, model_file, finish) -> Iterator[Completed]:
    """A completed run of six files and a model, the same one for all tests that only look at it."""
    with ExitStack() as stack:
        if request.param != "local":
            stack.enter_context(led_to(request.getfixturevalue("azure_service"), f"completed-{request.param}"))
        if request.param not in completed_runs:
            folder = tmp_path_factory.mktemp("completed")
            workspace = open_workspace(request.param, folder / "home")
            workspace.register_model("m", model_file, approve=True)
            (folder / "files").mkdir()
            for number in range(6):
                (folder / "files" / f"{number:04}.csv").write_text(f"{number}\n")
            workspace.register_dataset("d", folder / "files")
            for name, type_ in (("f", "file"), ("t", "tabular")):
                workspace.register_dataset(name, make_tables(folder), type=type_, partition_format="store={store}/part.csv")
            script = folder / "script.py"
            script.write_text(SCRIPT)
            request_twice = request_of(workspace, models=("m",), entry_script=str(script), submission_id="one click")
            run, again = workspace.submit(request_twice), workspace.submit(request_twice)
            completed_runs[request.param] = folder / "home", finish(workspace, run.id), again
        home, run, again = completed_runs[request.param]
        yield Completed(open_workspace(request.param, home), run, again)  # another test may have ended the sign-in of an open one


def test_a_registered_model_is_a_copy_with_its_hash_size_and_kind(workspace, model_file):
    model = workspace.register_model("m", model_file, description="text", tags={"team": "a"})
    content = model_file.read_bytes()
    assert (model.reference, model.description, dict(model.tags)) == ("m:1", "text", {"team": "a"})
    assert (model.sha256, model.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert "pickle" in model.kind
    assert any(name.startswith("sklearn.linear_model") for name in model.imports)
    assert Path(model.path) != model_file
    assert workspace.models() == [model]


def test_registering_again_increments_the_version(workspace, model_file):
    workspace.register_model("m", model_file)
    workspace.register_model("m", model_file)
    assert [model.reference for model in workspace.models()] == ["m:2", "m:1"]
    assert workspace.model("m").version == 2


def test_a_folder_can_be_a_model(workspace, model_file, tmp_path):
    folder = tmp_path / "bundle"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "model.pkl").write_bytes(model_file.read_bytes())
    (folder / "labels.txt").write_text("0\n1\n")
    model = workspace.register_model("bundle", folder)
    assert (model.reference, model.needs_approval) == ("bundle:1", Capability.APPROVAL in workspace.capabilities)
    assert model.size == model_file.stat().st_size + 4
    assert workspace.models() == [model]


def test_an_invalid_name_is_rejected_at_its_field(workspace, model_file, csv_folder):
    for register, path in ((workspace.register_model, model_file), (workspace.register_dataset, csv_folder(1))):
        for name in ("", "a b", "a/b", "../a", ".", "a:1", "ü", "x" * 300, "<b>"):
            with pytest.raises(SettingsError) as refused:
                register(name, path)
            assert refused.value.field == "name"
    assert (workspace.models(), workspace.datasets()) == ([], [])


def test_a_missing_or_empty_model_is_rejected_by_name(workspace, tmp_path):
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(IntakeError, match=r"empty\.pkl"):
        workspace.register_model("m", tmp_path / "empty.pkl")
    with pytest.raises((NotFound, IntakeError), match=r"ghost\.pkl"):
        workspace.register_model("m", tmp_path / "ghost.pkl")
    assert workspace.models() == []


def test_a_dataset_is_always_the_same_files_in_the_same_order(workspace, csv_folder):
    folder = csv_folder(5)
    first = workspace.register_dataset("d", folder)
    (folder / "0000-and-a-half.csv").write_text("1\n")
    second = workspace.register_dataset("d", folder)
    assert [file.path for file in workspace.dataset_files(first, 0, 10)] == [f"{i:04}.csv" for i in range(5)]
    assert (first.reference, first.file_count, second.reference, second.file_count) == ("d:1", 5, "d:2", 6)
    assert first.manifest_sha256 != second.manifest_sha256


def test_a_glob_chooses_the_files_of_a_dataset(workspace, csv_folder):
    folder = csv_folder(3)
    (folder / "read.me").write_text("x")
    assert workspace.register_dataset("d", folder, glob="*.csv").file_count == 3
    with pytest.raises(IntakeError, match=r"\*\.png"):
        workspace.register_dataset("d", folder, glob="*.png")


def test_a_folder_without_files_is_rejected(workspace, tmp_path):
    (tmp_path / "hollow").mkdir()
    with pytest.raises(IntakeError, match="hollow"):
        workspace.register_dataset("d", tmp_path / "hollow")
    assert workspace.datasets() == []


def test_changed_and_missing_files_read_in_place_are_listed(workspace, csv_folder):
    folder = csv_folder(4)
    dataset = workspace.register_dataset("d", folder)
    assert workspace.changed_files(dataset) == []
    if not dataset.in_place:
        pytest.skip("this workspace has a copy")
    (folder / "0001.csv").write_text("something else")
    (folder / "0002.csv").unlink()
    assert workspace.changed_files(dataset) == [
        "0001.csv was changed since it was registered.",
        "0002.csv is gone since it was registered.",
    ]


def test_a_copied_dataset_does_not_change_with_its_source(workspace, csv_folder):
    folder = csv_folder(3)
    dataset = workspace.register_dataset("d", folder, copy=True)
    for path in folder.iterdir():
        path.unlink()
    assert workspace.changed_files(dataset) == []


@pytest.mark.parametrize("copy", [False, True])
def test_one_file_can_be_a_dataset(workspace, csv_folder, copy):
    dataset = workspace.register_dataset("d", csv_folder(3) / "0001.csv", copy=copy)
    assert [file.path for file in workspace.dataset_files(dataset, 0, 9)] == ["0001.csv"]
    assert workspace.changed_files(dataset) == []


def test_an_archive_is_unpacked_unless_it_is_meant_as_one_file(workspace, csv_folder, tmp_path):
    folder = csv_folder(3)
    (folder / "._0000.csv").write_bytes(b"x")
    archive = shutil.make_archive(str(tmp_path / "files"), "gztar", folder)
    dataset = workspace.register_dataset("d", archive)
    assert [file.path for file in workspace.dataset_files(dataset, 0, 9)] == ["0000.csv", "0001.csv", "0002.csv"]
    assert (dataset.in_place, dataset.left_out) == (False, {"._*": 1})
    assert replace(workspace.dataset("d"), created_at=dataset.created_at) == dataset
    kept = workspace.register_dataset("kept", archive, keep_archive=True)
    assert [file.path for file in workspace.dataset_files(kept, 0, 9)] == ["files.tar.gz"]


@pytest.fixture
def tables(tmp_path):
    return make_tables(tmp_path)


def test_a_tabular_dataset_knows_its_rows_its_columns_and_its_files(workspace, tables):
    dataset = workspace.register_dataset("t", tables, type="tabular", partition_format="store={store}/part.csv", description="sales")
    assert (dataset.type, dataset.item_count, dataset.row_count, dataset.file_count) == ("tabular", 4, 4, 2)
    assert (dataset.format, dataset.columns) == ("csv", (("sold", "int64"), ("name", "str")))
    assert (dataset.partition_format, dataset.description) == ("store={store}/part.csv", "sales")
    assert replace(workspace.dataset("t"), created_at=dataset.created_at) == dataset
    files = workspace.dataset_files(dataset, 0, 10)
    assert [(file.path, file.size) for file in files] == [("store=1/part.csv", 20), ("store=2/part.csv", 20)]
    (tables / "store=2" / "part.csv").write_text("sold,name\n")
    changed = ["store=2/part.csv was changed since it was registered."] if dataset.in_place else []
    assert workspace.changed_files(dataset) == changed


def test_a_tabular_dataset_can_be_one_file_or_copied_in(workspace, tables):
    one = workspace.register_dataset("one", tables / "store=1" / "part.csv", type="tabular")
    copied = workspace.register_dataset("copied", tables, type="tabular", copy=True)
    assert (one.row_count, copied.row_count, copied.in_place) == (2, 4, False)
    assert workspace.changed_files(copied) == []


def test_an_invalid_dataset_is_rejected_and_leaves_nothing(workspace, tables):
    for values, error, words in (
        ({"type": "image"}, SettingsError, "“image” is not a type of dataset"),
        ({"partition_format": "{store"}, SettingsError, "has a single {"),
        ({"type": "tabular", "partition_format": "store={name}/part.csv"}, SettingsError, "the files have a column “name”"),
        ({"partition_format": "{store}.png"}, IntakeError, "“store=1/part.csv” is not of the partition format"),
        ({"type": "tabular", "glob": "**/*.png"}, IntakeError, "none of which matches"),
    ):
        with pytest.raises(error, match=words):
            workspace.register_dataset("t", tables, **values)
    assert workspace.datasets() == []
    assert list(workspace.home.glob("incoming/*")) == []
    assert workspace.register_dataset("t", tables, partition_format="{store}.csv").partition_format == "{store}.csv"


def words(workspace, *datasets, **settings):
    """What a run would do, up to who does it."""
    given = ParallelRunSettings(process_count_per_node=1, error_threshold=-1, **settings)
    return describe(workspace.mini_batches([workspace.dataset(name) for name in datasets], given), given).partition(", on 1 ")[0]


def test_mini_batches_of_files_are_counted_without_a_run(completed):
    assert words(completed.workspace, "f") == "2 files in 1 mini-batch"
    assert words(completed.workspace, "f", "f", mini_batch_size=1) == "4 files in 4 mini-batches of 1"
    assert words(completed.workspace, "f", partition_keys=["store"]) == "2 files in 2 mini-batches, one for each store"


def test_mini_batches_of_tables_are_counted_in_rows(completed):
    workspace, remote = completed.workspace, completed.workspace.remote is not None
    assert words(workspace, "t") == (
        "4 rows in about 2 mini-batches of 1MB" if remote else "4 rows in 2 mini-batches of 10 bytes on average"
    )
    small = "4 rows in about 4 mini-batches of 10 bytes" if remote else "4 rows in 2 mini-batches of about 10 bytes"
    assert words(workspace, "t", mini_batch_size=10) == small
    assert words(workspace, "t", partition_keys="store") == "4 rows in 2 mini-batches, one for each store"


def test_an_unsuitable_mini_batch_size_is_rejected_at_its_field(completed):
    for names, settings, field in (
        (["f", "t"], {}, "dataset"),
        (["f"], {"mini_batch_size": "10kb"}, "mini_batch_size"),
        (["d"], {"partition_keys": ["store"]}, "partition_keys"),
    ):
        datasets = [completed.workspace.dataset(name) for name in names]
        with pytest.raises(SettingsError) as refused:
            completed.workspace.mini_batches(datasets, ParallelRunSettings(**settings))
        assert refused.value.field == field


def test_a_run_scores_every_file_once(completed):
    workspace, run, _ = completed
    assert (run.status, run.items_total, run.items_succeeded, run.mini_batches_done) == (RunStatus.COMPLETED, 6, 6, 3)
    lines = workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()
    assert sorted(lines) == [f"{i:04}.csv: 1" for i in range(6)]
    rows = workspace.runs.predictions(run.id).page().to_pylist()
    assert [(row["File"], row["Prediction"]) for row in rows] == [(f"{i:04}.csv", "1") for i in range(6)]


@of_one_sdk
def test_a_table_of_an_earlier_version_is_made_again(completed):
    workspace, run, _ = completed
    path = workspace.runs.predictions(run.id).path
    by_an_earlier_version = path.rename(path.with_name("predictions-6.parquet"))
    assert workspace.runs.predictions(run.id).count() == 6
    assert not by_an_earlier_version.exists()


def test_a_row_leads_to_its_input(completed):
    workspace, run, _ = completed
    row = workspace.runs.predictions(run.id).page().to_pylist()[3]
    trace = workspace.runs.trace(run.id, RowKey.of(row), row["Worker"] or "")
    assert (trace.input.read_bytes(), trace.changed) == (b"3\n", "")
    assert workspace.runs.trace(run.id, replace(RowKey.of(row), file="not/there.csv"), "").input is None
    assert workspace.runs.input_file(run.id, RowKey.of(row), row["Worker"] or "") == trace.input
    assert workspace.runs.input_file(run.id, replace(RowKey.of(row), file="not/there.csv"), "") is None


def test_a_run_leads_to_what_went_into_it(completed, model_file):
    workspace, run, _ = completed
    provenance = workspace.runs.provenance(run.id)
    assert provenance.models == (("m:1", hashlib.sha256(model_file.read_bytes()).hexdigest()),)
    assert [name for name, digest in provenance.datasets if len(digest) == 64] == ["d:1"]
    assert provenance.script == ("script.py", hashlib.sha256(SCRIPT.encode()).hexdigest())
    assert provenance.packages["numpy"]


@of_one_sdk
def test_a_run_keeps_its_script_as_it_was(completed):
    workspace, run, _ = completed
    kept = workspace.runs.kept_script(run.id)
    assert kept != Path(run.request.entry_script)
    assert kept.read_text() == SCRIPT


def test_a_run_tells_how_it_went_over_time(completed):
    workspace, run, _ = completed
    told = workspace.runs.activity(run.id)
    assert (told.attempts, told.mini_batches_failed, sum(pace.succeeded for pace in told.pace), told.share_read) == (3, 0, 6, 1.0)
    calls = [span for worker in told.workers for span in worker.spans if span.state is WorkerState.RUN]
    assert sum(span.attempts for span in calls) == 3
    assert {slow.mini_batch for slow in told.slowest} == {0, 1, 2}
    assert (told.timeout, told.suggested_timeout) == (run.request.settings.run_invocation_timeout, 1)
    assert bool(told.unknown) == (workspace.remote is not None)


@of_one_sdk
def test_a_mini_batch_is_known_by_its_number(completed):
    workspace, run, _ = completed
    detail = workspace.runs.mini_batch(run.id, 1)
    assert (detail.number, detail.dataset, detail.item_count, detail.running_on) == (1, "d:1", 2, "")
    assert [(one.attempt, one.status, one.succeeded, one.failed, one.error) for one in detail.attempts] == [(1, "RUN_DONE", 2, 0, "")]
    assert detail.items == (() if workspace.remote else ("0002.csv", "0003.csv"))
    with pytest.raises(NotFound, match="no mini-batch 3"):
        workspace.runs.mini_batch(run.id, 3)


@of_one_sdk
def test_runs_that_ended_after_a_moment_are_told(completed):
    workspace, run, _ = completed
    assert [ended.id for ended in workspace.runs.ended_since(run.ended_at - timedelta(seconds=1))] == [run.id]
    assert workspace.runs.ended_since(run.ended_at) == []


@of_one_sdk
def test_a_row_keeps_its_annotation(completed):
    workspace, run, _ = completed
    row = workspace.runs.predictions(run.id).page().to_pylist()[3]
    workspace.annotations.annotate(run.id, RowKey.of(row), Annotation("odd", "2"))
    assert workspace.annotations.annotations(run.id) == {RowKey.of(row): Annotation("odd", "2")}


def test_logs_name_each_file_in_azures_layout(completed):
    names = completed.workspace.runs.logs(completed.run.id)
    assert {"logs/job_error.txt", "logs/job_result.txt", "logs/user/stdout/0/process000.stdout.txt"} <= set(names)


def test_the_lines_of_all_logs_are_one_stream(completed):
    search = completed.workspace.runs.search_logs
    found = search(completed.run.id)
    assert "node 0, process000" in found.workers
    assert [line.time for line in found.lines if line.time] == sorted(line.time for line in found.lines if line.time)
    assert found.scanned == found.size > 0
    assert search(completed.run.id, after=found.ends).lines == ()
    last = search(completed.run.id, LogQuery(worker="runner", limit=1))
    assert "Completed" in last.lines[0].text
    assert last.more
    assert search(completed.run.id, LogQuery(text="words that nobody wrote", level="CRITICAL")).lines == ()


def test_a_mini_batch_is_scored_again_where_what_it_takes_is_here(completed):
    workspace, run, _ = completed
    if Capability.REPLAY in workspace.capabilities:
        found = workspace.replay(run.id, 0)
        assert (found.same, found.items, found.error) == (True, 2, "")
    else:
        with pytest.raises(StudioError, match=r"model m:1, the files of d:1 are in Azure ML\."):
            workspace.replay(run.id, 0)
    with pytest.raises(NotFound):
        workspace.replay("run-of-nobody", 0)


def test_a_double_click_submits_once(completed):
    workspace, run, again = completed
    assert again.id == run.id
    before = len(workspace.runs.latest())
    assert workspace.submit(replace(run.request, datasets=("d",))).id == run.id
    assert len(workspace.runs.latest()) == before


def test_a_rerun_is_a_new_run_of_the_versions_that_were_submitted(completed, csv_folder, finish):
    workspace, first, _ = completed
    workspace.register_dataset("d", csv_folder(2, "later"))
    second = finish(workspace, workspace.rerun(first.id).id)
    assert second.id != first.id
    assert (second.status, second.items_succeeded, second.request.datasets) == (RunStatus.COMPLETED, 6, ("d:1",))
    assert second.reused_from is None


def test_an_invalid_request_is_rejected_before_submission(workspace, request_for, entry_script):
    request = request_for()
    for values, error, words in (
        ({"datasets": ("ghost",)}, NotFound, "ghost"),
        ({"datasets": ()}, SettingsError, None),
        ({"models": ("ghost",)}, NotFound, "ghost"),
        ({"entry_script": "/no/such/script.py"}, NotFound, "script.py"),
        ({"source_directory": "/no/such/folder"}, SettingsError, None),
        ({"settings": ParallelRunSettings(mini_batch_size="1MB")}, SettingsError, None),
        ({"settings": ParallelRunSettings(node_count=1000, process_count_per_node=1000)}, SettingsError, None),
        ({"environment": "ghost"}, NotFound, "ghost"),
        ({"entry_script": str(entry_script("def run(:\n  pass", "unparsed.py"))}, EntryScriptError, "line 1"),
        ({"entry_script": str(entry_script("x = 1", "without_run.py"))}, EntryScriptError, "run"),
    ):
        with pytest.raises(error, match=words):
            workspace.submit(replace(request, **values))
    assert workspace.runs.latest() == []


@one_sdk
def test_an_unknown_run_is_not_found_by_its_id(workspace):
    verbs = ("get", "cancel", "resume", "logs", "output", "predictions", "failures", "environment", "provenance", "search_logs", "activity")
    for verb in verbs:
        with pytest.raises(NotFound, match="run-of-nobody"):
            getattr(workspace.runs, verb)("run-of-nobody")


def test_code_is_used_only_once_approved_and_scores_every_row_once(workspace, tables, model_file, finish):
    workspace.register_dataset("t", tables, type="tabular")
    model = workspace.register_model("m", model_file)
    script = workspace.scripts.add("mine.py", b"def run(mini_batch): return [f'{n}!' for n in mini_batch.sold]")
    settings = ParallelRunSettings(mini_batch_size="1KB", process_count_per_node=1)
    request = request_of(workspace, models=("m",), datasets=("t",), entry_script=script.path, settings=settings)
    if Capability.APPROVAL in workspace.capabilities:
        assert not script.approved
        for waiting in (replace(request, models=()), request):
            sha256 = model.sha256 if waiting.models else script.sha256
            with pytest.raises(SettingsError, match=sha256):
                workspace.submit(waiting)
            workspace.approve(sha256)
    assert [(s.name, s.approved) for s in workspace.scripts.all() if s.origin == "uploaded"] == [("mine.py", True)]
    run = finish(workspace, workspace.submit(request).id)
    assert (run.status, run.items_total, run.items_succeeded, run.mini_batches_done) == (RunStatus.COMPLETED, 4, 4, 2)
    assert sorted(workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().split()) == ["10!", "11!", "20!", "21!"]
    table = workspace.runs.predictions(run.id).page().to_pylist()
    told = workspace.remote is None  # which row of the output is of which file
    assert sorted((row["File"], row["Prediction"]) for row in table) == [
        (f"store={store}/part.csv" if told else "", f"{store}{row}!") for store in (1, 2) for row in (0, 1)
    ]


@one_sdk
def test_the_built_in_script_is_offered_first_and_needs_no_approval(workspace):
    first = workspace.scripts.all()[0]
    assert (first.name, first.origin, first.approved) == ("batch_scoring_script.py", "built-in", True)


@one_sdk
def test_an_uploaded_script_with_an_invalid_name_is_rejected(workspace):
    for name in ("../evil.py", "/etc/evil.py", "script.txt", "", "a/b.py"):
        with pytest.raises(IntakeError):
            workspace.scripts.add(name, SCRIPT.encode())


@one_sdk
def test_files_left_in_the_staging_folder_are_removed(workspace):
    with staging_folder(workspace.home) as folder:
        (folder / "left.csv").write_text("1")
    assert not folder.exists()


def test_a_home_that_cannot_be_written_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceUnavailable, match="file"):
        open_workspace("local", tmp_path / "file" / "home")


def test_an_unknown_workspace_is_rejected_by_name(home):
    with pytest.raises(SettingsError, match="moon"):
        open_workspace("moon", home)

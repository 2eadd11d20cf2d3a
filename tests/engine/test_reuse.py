"""allow_reuse: what an earlier run scored is taken instead of scoring again, only where nothing that matters has changed."""

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent
from venv import EnvBuilder

import pytest

from services.domain import RunRequest, RunStatus
from services.local import reuse
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.conftest import home_in, runner_pid

SCRIPT = """
    import os
    def run(mini_batch):
        return [f"{os.path.basename(path)}: {open(path).read().strip()}" for path in mini_batch]
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory, model_file, finish):
    """A folder with a home and what is registered there: six files, a model, a script with a neighbour, a source directory, a side input;
    all scored once. And its copy, from which it is put back for each test, at the same path; and that run."""
    root = tmp_path_factory.mktemp("reuse") / "now"
    for name, count in (("csv", 6), ("labels", 1)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:04}.csv").write_text(f"{number}\n")
    for name in ("scripts/neighbour.py", "source/module.py"):
        (root / name).parent.mkdir()
        (root / name).write_text("WORD = 1")
    with home_in(root):
        workspace = LocalWorkspace(root / "home")
        workspace.register_model("m", model_file, approve=True)
        workspace.register_dataset("d", root / "csv")
        workspace.register_dataset("labels", root / "labels")
        run = finish(workspace, workspace.submit(make_request(root)).id)
        finish(workspace, run.id, until=lambda run: runner_pid(run.id) is None)
        copy = shutil.copytree(root, root.with_name("copy"))
        yield root, copy, run


def make_request(root, source=SCRIPT, *, script_name="script.py", **values):
    script = root / "scripts" / script_name
    script.write_text(dedent(source), encoding="utf-8")
    settings = ParallelRunSettings(**{"process_count_per_node": 1, "mini_batch_size": 2} | values.pop("settings", {}))
    given = {"source_directory": str(root / "source"), "arguments": ("--a", "1"), "side_inputs": {"labels": "labels"}} | values
    return RunRequest(("m",), ("d",), str(script), settings, **given)


@pytest.fixture
def folder(before):
    root, copy, _ = before
    shutil.rmtree(root)
    return shutil.copytree(copy, root)


@pytest.fixture
def workspace(folder):
    return LocalWorkspace(folder / "home")


@pytest.fixture
def first(before, folder):
    """The run that `request_for()` gave, which is completed."""
    return before[2]


@pytest.fixture
def request_for(folder):
    return partial(make_request, folder)


@pytest.fixture
def score(workspace, finish):
    def score(request):
        run = finish(workspace, workspace.submit(request).id)
        finish(workspace, run.id, until=lambda run: runner_pid(run.id) is None)  # so that nothing is written after the test
        return run

    return score


def output(workspace, run):
    return workspace.runs.output(run.id)["parallel_run_step.txt"]


def test_the_same_again_takes_the_earlier_output_and_completes_at_once(workspace, first, request_for):
    again = workspace.submit(request_for())
    assert again.id != first.id
    assert (again.status, again.reused_from, again.reuse_note) == (RunStatus.COMPLETED, first.id, None)
    for name in ("items_total", "items_succeeded", "items_failed", "mini_batches_total", "mini_batches_done", "warnings"):
        assert getattr(again, name) == getattr(first, name)
    assert again.started_at == again.ended_at
    assert output(workspace, again).read_bytes() == output(workspace, first).read_bytes()
    assert workspace.runs.get(again.id) == again


def test_a_reused_run_has_predictions_failures_and_logs_of_its_own(workspace, first, request_for):
    again = workspace.submit(request_for())
    table, earlier = workspace.runs.predictions(again.id), workspace.runs.predictions(first.id)
    assert table.page().to_pylist() == earlier.page().to_pylist()
    assert table.count() == 6
    assert workspace.runs.failures(again.id) == []
    logs = workspace.runs.logs(again.id)
    assert logs["logs/job_result.txt"].read_text().splitlines()[0] == "Completed"
    assert f"Reused from {first.id}" in logs["logs/job_result.txt"].read_text()
    attempts = "logs/sys/job_report/processed_mini-batches.csv"
    assert logs[attempts].read_text() == workspace.runs.logs(first.id)[attempts].read_text()


def test_who_changes_a_file_of_the_one_run_does_not_change_the_others(workspace, first, request_for):
    again = workspace.submit(request_for())
    before = output(workspace, first).read_bytes()
    with open(output(workspace, again), "ab") as file:
        file.write(b"more\n")
    assert output(workspace, first).read_bytes() == before


def test_what_a_script_wrote_by_itself_is_taken_too(workspace, request_for, score):
    writes = """
        import os
        def run(mini_batch):
            for path in mini_batch:
                folder = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "deep")
                os.makedirs(folder, exist_ok=True)
                open(os.path.join(folder, os.path.basename(path)), "w").write("=1")
            return mini_batch
    """
    request = request_for(writes, settings={"output_action": "summary_only"})
    first = score(request)
    again = workspace.submit(request)
    assert again.reused_from == first.id
    assert sorted(workspace.runs.output(again.id)) == sorted(workspace.runs.output(first.id)) == [f"deep/000{i}.csv" for i in range(6)]
    assert workspace.runs.output(again.id)["deep/0003.csv"].read_text() == "=1"


HARMLESS = {
    "node_count": 2, "process_count_per_node": 2, "error_threshold": 0, "allowed_failed_count": 3, "allowed_failed_percent": 5.0,
    "run_invocation_timeout": 5, "run_max_try": 1, "logging_level": "DEBUG",
}  # fmt: skip


def test_settings_that_change_no_row_keep_a_run_reusable(workspace, first, request_for):
    assert workspace.submit(request_for(settings=HARMLESS, name="other", compute_target="cpu")).reused_from == first.id


def test_every_setting_is_either_harmless_or_compared(request_for):
    from services.settings import TABLE

    assert {*HARMLESS, *reuse._SETTINGS} == {*TABLE}


def register_other_files(workspace, folder, csv_folder):
    workspace.register_dataset("d", csv_folder(6, "other"))
    return {}


def register_another_model(workspace, folder, csv_folder):
    (folder / "model.joblib").write_bytes(b"other")
    workspace.register_model("m", folder / "model.joblib", approve=True)
    return {}


def register_other_labels(workspace, folder, csv_folder):
    workspace.register_dataset("labels", csv_folder(2, "more-labels"))
    return {}


def register_an_environment(workspace, folder, csv_folder):
    EnvBuilder(symlinks=os.name != "nt").create(folder / "venv")
    workspace.register_environment("e", str(folder / "venv"))
    return {"environment": "e"}


def write(name, text):
    def change(workspace, folder, csv_folder):
        (folder / name).write_text(text)
        return {}

    return change


CHANGES = {
    "dataset": register_other_files,
    "model": register_another_model,
    "side_inputs": register_other_labels,
    "files beside the script": write("scripts/labels.txt", "one\n"),
    "source_directory": write("source/module.py", "WORD = 2"),
    "script": lambda *_: {"source": SCRIPT + "\n    # changed\n"},
    "arguments": lambda *_: {"arguments": ("--a", "2")},
    "mini_batch_size": lambda *_: {"settings": {"mini_batch_size": 3}},
    "append_row_file_name": lambda *_: {"settings": {"append_row_file_name": "rows.txt"}},
    "environment_variables": lambda *_: {"settings": {"environment_variables": {"A": "1"}}},
    "environment": register_an_environment,
}


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES)
def test_a_changed_input_is_scored_anew_and_named(workspace, first, request_for, score, folder, csv_folder, name, change):
    run = score(request_for(**change(workspace, folder, csv_folder)))
    assert (run.status, run.reused_from) == (RunStatus.COMPLETED, None)
    assert run.reuse_note == f"Scored anew: {name} changed since {first.id}."


def test_several_changed_inputs_are_all_named(workspace, first, request_for, score):
    run = score(request_for(arguments=("--b",), settings={"mini_batch_size": 1}))
    assert run.reuse_note == f"Scored anew: arguments and mini_batch_size changed since {first.id}."


def test_going_back_to_earlier_inputs_finds_that_earlier_run(workspace, first, request_for, score):
    score(request_for(arguments=("--a", "2")))
    assert workspace.submit(request_for()).reused_from == first.id


def test_the_same_content_under_another_version_is_the_same(workspace, first, request_for, model_file, folder):
    workspace.register_model("m", model_file)
    workspace.register_dataset("d", folder / "csv")
    again = workspace.submit(request_for())
    assert (again.reused_from, again.request.models, again.request.datasets) == (first.id, ("m:2",), ("d:2",))


@pytest.mark.parametrize("given", [None, 10])
def test_a_run_of_version_0_1_with_the_default_mini_batch_size_is_reused(workspace, request_for, score, given, monkeypatch):
    monkeypatch.setattr(ParallelRunSettings, "resolved", lambda settings, tabular: settings)  # as that version kept a request
    first = score(request_for(settings={"mini_batch_size": None}))
    monkeypatch.undo()
    again = workspace.submit(request_for(settings={"mini_batch_size": given}))
    assert again.reused_from == first.id
    other = score(request_for(settings={"mini_batch_size": given}, arguments=("--a", "2")))
    assert other.reuse_note == f"Scored anew: arguments changed since {again.id}."


def test_a_first_run_has_nothing_to_say_about_reuse(first):
    assert (first.reused_from, first.reuse_note) == (None, None)


def test_reuse_can_be_turned_off(first, request_for, score):
    run = score(request_for(allow_reuse=False))
    assert (run.reused_from, run.reuse_note, run.items_succeeded) == (None, None, 6)
    assert run.started_at > first.ended_at


def test_a_rerun_scores_again_and_is_what_is_reused_from_then_on(workspace, first, request_for, finish):
    rerun = finish(workspace, workspace.rerun(first.id).id)
    assert (rerun.reused_from, rerun.request.rerun_of) == (None, first.id)
    assert rerun.started_at > first.ended_at
    assert workspace.submit(request_for()).reused_from == rerun.id


def test_a_run_with_failed_items_is_not_reused(workspace, request_for, score):
    fails = """
        def run(mini_batch):
            if mini_batch[0].endswith("0000.csv"): raise ValueError
            return mini_batch
    """
    first = score(request_for(fails, settings={"run_max_try": 1}))
    run = score(request_for(fails))
    assert (run.reused_from, run.reuse_note) == (None, f"Scored anew: 2 items failed in {first.id}.")


def test_only_completed_runs_are_reused(workspace, request_for, score):
    failed = score(request_for("def run(mini_batch): raise ValueError"))
    assert failed.status is RunStatus.FAILED
    assert score(request_for("def run(mini_batch): raise ValueError")).reused_from is None


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"other\n")], ids=["removed", "changed"])
def test_an_earlier_output_that_is_not_what_it_was_is_not_reused(workspace, first, request_for, score, spoil):
    spoil(output(workspace, first))
    run = score(request_for())
    assert (run.reused_from, run.reuse_note) == (None, f"Scored anew: the output of {first.id} was changed or removed.")
    assert output(workspace, run).read_text().count("\n") == 6


def test_a_reused_run_can_be_reused_where_the_first_ones_output_is_gone(workspace, first, request_for):
    second, third = workspace.submit(request_for()), workspace.submit(request_for())
    assert (second.reused_from, third.reused_from) == (first.id, first.id)
    output(workspace, first).unlink()
    assert workspace.submit(request_for()).reused_from in (second.id, third.id)


def test_files_that_changed_since_they_were_registered_are_scored_again(workspace, request_for, score, folder):
    (folder / "csv" / "0004.csv").write_text("something else\n")
    run = score(request_for())
    assert (run.reused_from, run.items_succeeded) == (None, 6)
    assert run.reuse_note == "Scored anew: 0004.csv was changed since it was registered."
    assert "something else" in output(workspace, run).read_text()


def test_the_output_of_changed_files_is_not_that_of_restored_ones(request_for, score, folder):
    file = folder / "csv" / "0004.csv"
    as_registered, content = file.stat(), file.read_bytes()
    file.write_text("something else\n")
    first = score(request_for(script_name="other.py"))
    file.write_bytes(content)
    os.utime(file, ns=(as_registered.st_atime_ns, as_registered.st_mtime_ns))
    run = score(request_for(script_name="other.py"))
    assert (run.reused_from, run.reuse_note) == (None, f"Scored anew: changed files changed since {first.id}.")


def test_a_side_inputs_changed_files_count_as_well(request_for, score, folder):
    (folder / "labels" / "0000.csv").unlink()
    assert score(request_for()).reuse_note == "Scored anew: 0000.csv is gone since it was registered."


def test_a_folder_too_large_to_compare_is_said_and_not_reused(request_for, score, monkeypatch, folder):
    monkeypatch.setattr(reuse, "_MOST_FILES", 3)
    for number in range(4):
        (folder / "source" / f"{number}.txt").touch()
    first = score(request_for(script_name="other.py"))
    assert first.reuse_note is None
    run = score(request_for(script_name="other.py"))
    assert run.reused_from is None
    assert run.reuse_note == f"Scored anew: the source_directory can't be compared: {folder / 'source'} holds more than 3 files."


def test_what_python_compiled_and_hidden_folders_are_no_inputs(workspace, request_for, score, folder):
    first = score(request_for(SCRIPT.replace("import os", "import neighbour, os")))
    for name in ("__pycache__", ".git"):
        (folder / "scripts" / name).mkdir(exist_ok=True)
        (folder / "scripts" / name / "x").touch()
    assert workspace.submit(request_for(SCRIPT.replace("import os", "import neighbour, os"))).reused_from == first.id


def test_an_output_that_can_not_be_copied_is_scored_anew(workspace, first, request_for, score):
    (workspace.home / "runs" / first.id / "journal.db").write_bytes(b"no database")
    run = score(request_for())
    assert (run.status, run.reused_from, run.items_succeeded) == (RunStatus.COMPLETED, None, 6)
    assert run.reuse_note.startswith(f"The output of {first.id} could not be copied")
    assert output(workspace, run).read_text().count("\n") == 6


def test_a_double_click_on_a_reused_run_is_one_run(workspace, request_for):
    request = replace(request_for(), submission_id="one click")
    again = workspace.submit(request)
    assert workspace.submit(request) == again
    assert len(workspace.runs.latest()) == len(list((workspace.home / "runs").iterdir())) == 2

"""A whole run by SDK v2: the workspace `azure-v2` as the command line has it, with its runner, against the stand-in."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from services.azure.auth import token_relay
from services.azure.workspace import AzureWorkspace
from services.cli.main import main
from services.connection import SignIn, from_environment
from services.domain import RunRequest, RunStatus
from services.errors import StudioError
from services.remote import Frequency, Recurrence
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


@pytest.fixture
def cloud(azure, tmp_path, home) -> AzureWorkspace:
    return AzureWorkspace(from_environment(tmp_path, sdk="v2"), home, blocking=True)


@pytest.fixture
def built_in(cloud) -> str:
    """The scorer that comes along. Each process that loads a model by it imports scikit-learn, which takes longer than all else."""
    return next(one.path for one in cloud.scripts.all() if one.name == "batch_scoring_script.py")


@pytest.fixture
def request_of(cloud, model_file, csv_folder, tmp_path):
    """`request_of(script, files)` is of a run over so many files; the model and the dataset are registered. Without a script, one whose
    rows are the names of the files."""
    names = tmp_path / "names.py"
    names.write_text("import os\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n")

    def make(script: str = "", files: int = 7, **values: object) -> RunRequest:
        cloud.register_model("digits", model_file)
        cloud.register_dataset("rows", csv_folder(files))
        settings = ParallelRunSettings(mini_batch_size="2", process_count_per_node=2, error_threshold=5)
        few = {"settings": settings, "compute_target": "cpu-cluster", "allow_reuse": False} | values
        return RunRequest(("digits:1",), ("rows:1",), script or str(names), **few)

    return make


def rows(workspace, run) -> list[str]:
    return sorted(Path(workspace.home, "runs", run.id, "output", "parallel_run_step.txt").read_text(encoding="utf-8").splitlines())


def test_a_run_of_v2_has_the_predictions_of_this_machine(cloud, workspace, request_of, built_in, finish, model_file, csv_folder):
    one = ParallelRunSettings(mini_batch_size="2", process_count_per_node=1, error_threshold=5)
    request = request_of(built_in, settings=one)
    there = finish(cloud, cloud.submit(request).id)
    assert there.status is RunStatus.COMPLETED, there.error
    assert (there.items_succeeded, there.items_failed) == (7, 0)
    workspace.register_model("digits", model_file)
    workspace.register_dataset("rows", csv_folder(7, "here"))
    workspace.approve(workspace.model("digits").sha256)
    here = finish(workspace, workspace.submit(RunRequest(("digits:1",), ("rows:1",), request.entry_script, request.settings)).id)
    assert rows(cloud, there) == rows(workspace, here)
    tables = [place.runs.predictions(run.id) for place, run in ((cloud, there), (workspace, here))]
    assert tables[0].count() == tables[1].count() == 7
    known = cloud.pipelines.of(there.id)
    assert (known.id, known.status, known.run_id) == (there.id, RunStatus.COMPLETED, there.id)
    assert f"/runs/{there.id}?" in known.studio_url
    assert (cloud.home / "runs" / there.id / "logs" / "job_result.txt").is_file()


def test_a_run_of_v2_is_canceled(azure, cloud, request_of, finish, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text("import time\ndef run(mini_batch):\n    time.sleep(600)\n")
    run = cloud.submit(request_of(str(script), 2))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    cloud.runs.cancel(run.id)
    assert finish(cloud, run.id).status is RunStatus.CANCELED


def test_a_failed_run_of_v2_says_the_cause_first(cloud, request_of, finish, tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text("def run(mini_batch):\n    raise ValueError('no such colour')\n")
    run = finish(cloud, cloud.submit(request_of(str(script), 2)).id)
    assert run.status is RunStatus.FAILED
    assert "no such colour" in run.error.splitlines()[0]
    assert [failure.count for failure in cloud.runs.failure_causes(run.id)] == [2]


def test_only_the_failed_items_of_a_run_of_v2_are_rerun(cloud, request_of, finish, tmp_path):
    script = tmp_path / "some.py"
    script.write_text(
        "import os\ndef run(mini_batch):\n    return [f'{os.path.basename(p)}: ok' for p in mini_batch if '3' not in os.path.basename(p)]\n"
    )
    first = finish(cloud, cloud.submit(request_of(str(script), 5)).id)
    assert (first.status, first.items_failed) == (RunStatus.COMPLETED, 1), first.error
    script.write_text("import os\ndef run(mini_batch):\n    return [f'{os.path.basename(p)}: ok' for p in mini_batch]\n")
    again = finish(cloud, cloud.submit(first.request_again(failed_only=True)).id)
    assert (again.status, again.items_succeeded) == (RunStatus.COMPLETED, 1), again.error
    assert [row.partition(":")[0] for row in rows(cloud, again)] == ["0003.csv"]


def test_a_table_is_scored_by_v2_with_the_rows_of_this_machine(cloud, workspace, finish, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{number},{number * 2}\n" for number in range(50)))
    script = tmp_path / "rows.py"
    script.write_text("def run(frame):\n    return frame.assign(c=frame.a + frame.b)\n")
    outputs = []
    for place in (cloud, workspace):
        place.register_dataset("table", tmp_path / "table.csv", type="tabular")
        asked = RunRequest((), ("table:1",), str(script), ParallelRunSettings(process_count_per_node=1), compute_target="cpu-cluster")
        run = finish(place, place.submit(asked).id)
        assert run.status is RunStatus.COMPLETED, run.error
        outputs.append(rows(place, run))
    assert outputs[0] == outputs[1]


def test_a_published_pipeline_of_v2_is_run_and_scheduled(cloud, request_of, finish):
    run = finish(cloud, cloud.submit(request_of(files=3)).id)
    published = cloud.pipelines.publish(run.id, "nightly digits", "every night")
    assert published.defaults["mini_batch_size"] == "2"
    again = finish(cloud, cloud.pipelines.submit(published.id, {"mini_batch_size": "1"}).id)
    assert again.status is RunStatus.COMPLETED, again.error
    assert rows(cloud, again) == rows(cloud, run) == ["0000.csv", "0001.csv", "0002.csv"]
    made = cloud.pipelines.schedule(published.id, "at night", Recurrence(Frequency.DAY, 1, "02:00"), {})
    assert [schedule.recurrence for schedule in cloud.pipelines.schedules()] == [made.recurrence] == ["every day at 02:00 UTC"]
    assert {one.run_id for one in cloud.pipelines.history("batch-scoring")} == {run.id, again.id}


def test_a_job_that_somebody_else_submitted_is_followed(cloud, azure, inputs, job, ml, finish, home, tmp_path, monkeypatch, capfd):
    from azure.ai.ml.entities import Data

    ml.data.create_or_update(Data(name="rows", path="items", type="uri_folder"))
    script = "import os\ndef run(mini_batch):\n    return [f'{os.path.basename(path)}: {len(mini_batch)}' for path in mini_batch]\n"
    ml.jobs.create_or_update(job(script, name="theirs", arguments="--append_row_file_name theirs.txt", output={"name": "scored"}))
    (there,) = cloud.pipelines.history("exp")
    run = finish(cloud, cloud.pipelines.follow("exp", there.id).id)
    assert run.status is RunStatus.COMPLETED, run.error
    assert (run.title, run.request.datasets, run.request.settings.mini_batch_size) == ("scoring", ("rows:1",), "2")
    assert (run.items_succeeded, run.items_failed) == (5, 0)
    table = cloud.runs.predictions(run.id)
    assert table.count() == 5
    assert cloud.pipelines.follow("exp", there.id).id == run.id
    assert cloud.pipelines.whose(run.id).startswith("The job theirs was submitted by Stand-in, not by this program.")
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    assert main(["--workspace", "azure-v2", "--home", str(home), "pipeline", "follow", "theirs", "--experiment", "exp"]) == 0
    assert f"Following the job theirs as {run.id}: 5 files" in capfd.readouterr().err
    assert [one.run_id for one in cloud.pipelines.history("exp")] == [run.id]
    with pytest.raises(StudioError, match=r"score\.py"):  # its script is not here
        cloud.rerun(run.id)


def test_a_run_of_v2_whose_runner_was_killed_is_followed_on(azure, cloud, request_of, finish, kill_runner, tmp_path, ml):
    script = tmp_path / "waits.py"
    go = tmp_path / "go"
    script.write_text(
        f"import os, time\ndef run(mini_batch):\n    while not os.path.exists({str(go)!r}):\n        time.sleep(0.1)\n"
        "    return [f'{os.path.basename(p)}: ok' for p in mini_batch]\n"
    )
    run = cloud.submit(request_of(str(script), 4))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    assert kill_runner(cloud, run.id)
    assert cloud.runs.resume(run.id).status is RunStatus.QUEUED
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    go.touch()
    done = finish(cloud, run.id)
    assert (done.status, done.items_succeeded) == (RunStatus.COMPLETED, 4), done.error
    assert [one.name for one in ml.jobs.list()] == [run.id]


def test_a_run_of_v2_longer_than_a_person_s_token_gets_another(azure, home, tmp_path, request_of, finish, monkeypatch):
    script = tmp_path / "waits.py"
    script.write_text(
        "import os, time\ndef run(mini_batch):\n    time.sleep(3)\n    return [f'{os.path.basename(p)}: ok' for p in mini_batch]\n"
    )
    request = request_of(str(script), 4)
    connection = replace(from_environment(tmp_path, sdk="v2"), sign_in=SignIn.DEVICE_CODE, secret="", client_id="")
    person = AzureWorkspace(connection, home, blocking=True)

    def enter_the_code() -> None:
        deadline = time.monotonic() + 150
        while "enter the code" not in person.state().message and time.monotonic() < deadline:
            time.sleep(0.02)
        azure.service.confirm_device_code(person.state().message.rsplit(maxsplit=1)[-1])

    monkeypatch.setattr(token_relay, "TOKEN_POLL_SECONDS", 0.5)
    azure.service.set_token_seconds(3)
    thread = threading.Thread(target=enter_the_code)
    thread.start()
    try:
        ended = finish(person, person.submit(request).id)
    finally:
        azure.service.set_token_seconds(3600)
    thread.join()
    assert (ended.status, ended.error) == (RunStatus.COMPLETED, None)


@pytest.mark.parametrize("fault", [{"status": 503, "code": "ServiceUnavailable"}, {"cut": True}], ids=["busy", "cut"])
def test_a_run_of_v2_is_followed_through_a_bad_moment(azure, cloud, request_of, finish, tmp_path, fault):
    script = tmp_path / "waits.py"
    script.write_text(
        "import os, time\ndef run(mini_batch):\n    time.sleep(4)\n    return [f'{os.path.basename(p)}: ok' for p in mini_batch]\n"
    )
    run = cloud.submit(request_of(str(script), 2))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    azure.service.fault("GET */history/v1.0{ws}/runs/*", count=6, **fault)
    ended = finish(cloud, run.id)
    assert (ended.status, ended.error, ended.items_succeeded) == (RunStatus.COMPLETED, None, 2)


def test_a_run_of_v2_says_what_the_service_refuses(cloud, request_of, finish, azure):
    azure.service.fault("PUT *{ws}/jobs/*", status=400, code="UserError", message="The compute is being deleted.", count=None)
    run = finish(cloud, cloud.submit(request_of(files=2)).id)
    assert (run.status, run.never_submitted) == (RunStatus.FAILED, True)
    assert run.error.startswith("The run can't be submitted: The compute is being deleted.")
    azure.service.clear()
    cloud.runs.resume(run.id)
    assert finish(cloud, run.id).status is RunStatus.COMPLETED

"""Runs on Azure ML: the real SDK, real runner processes, the stand-in of the service, which executes the steps for real."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from services.azure.auth import token_relay
from services.azure.workspace import AzureWorkspace
from services.connection import SignIn, from_environment
from services.domain import Run, RunRequest, RunStatus
from services.errors import SettingsError, StudioError
from services.intake.entry_scripts import BUILT_IN
from services.remote import Frequency, Recurrence
from services.settings import ParallelRunSettings
from services.workspaces import open_workspace
from tests import scoring_models as made
from tests.conftest import runner_pid

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

ECHO = """
    import os
    def run(mini_batch):
        return [f"{os.path.basename(path)}: {open(path).read().strip()}" for path in mini_batch]
"""


def slowly(seconds: float | str) -> str:
    """ECHO, each of whose calls takes so long; or what an expression says."""
    return ECHO.replace("        return", f"        __import__('time').sleep({seconds})\n        return")


def waiting(gate: Path) -> str:
    """ECHO, no call of which ends before this file is there."""
    return ECHO.replace(
        "        return", f"        while not os.path.exists({str(gate)!r}): __import__('time').sleep(0.01)\n        return"
    )


@pytest.fixture
def cloud(azure, tmp_path, home, request) -> AzureWorkspace:
    """The test's own Azure ML workspace, as the command line has it; or signed in to otherwise."""
    connection = replace(from_environment(tmp_path), **getattr(request, "param", {}))
    return AzureWorkspace(connection, home, blocking=True)


@pytest.fixture
def submit(cloud, csv_folder, entry_script) -> Callable[..., Run]:
    """`submit(source)`: a run of a scoring script over dataset `rows` of seven files, in mini-batches of three."""
    files = csv_folder(7, "rows")

    def start(source: str = ECHO, *, settings: dict[str, object] | None = None, **request_values: object) -> Run:
        if not cloud.datasets():
            cloud.register_dataset("rows", files)
        values = {"mini_batch_size": "3", "process_count_per_node": 1, "run_invocation_timeout": 600} | (settings or {})
        request = RunRequest((), ("rows",), str(entry_script(source)), ParallelRunSettings(**values), compute_target="cpu-cluster")
        return cloud.submit(RunRequest(**{**vars(request), **request_values}))

    return start


@pytest.fixture
def done(submit, cloud, finish) -> Callable[..., Run]:
    """As `submit`, waited for."""
    return lambda *args, **request_values: finish(cloud, submit(*args, **request_values).id)


def rows_of(workspace, run: Run) -> list[bytes]:
    return sorted(workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes().splitlines())


def test_a_running_run_shows_its_mini_batches_keeps_its_secret_and_is_canceled(cloud, submit, finish, azure):
    run = submit(slowly("600 * ('0006' in mini_batch[0])"))
    going_on = finish(cloud, run.id, until=lambda run: run.items_succeeded == 6)
    assert (going_on.status, going_on.mini_batches_total, going_on.mini_batches_done) == (RunStatus.RUNNING, 3, 2)
    assert round(going_on.share_done, 2) == 0.86  # by items, so that no bar is full beside dashes
    assert runner_pid(run.id)
    assert not _hold_the_secret(Path(f"/proc/{runner_pid(run.id)}/{name}") for name in ("cmdline", "environ"))
    cloud.runs.cancel(run.id)
    ended = finish(cloud, run.id)
    assert (ended.status, ended.error) == (RunStatus.CANCELED, "Canceled on request.")
    assert azure.service.count("DELETE *PipelineRuns/*/Execution") == 1
    assert not _hold_the_secret(path for path in cloud.home.rglob("*") if path.is_file())


def _hold_the_secret(files: Iterable[Path]) -> list[Path]:
    secret = os.environ["AZURE_CLIENT_SECRET"].encode()
    return [path for path in files if secret in path.read_bytes()]


def test_lost_answers_of_the_submission_start_no_second_run(cloud, done, azure):
    for call in ("POST *PipelineRuns/Submit/*", "POST *PipelineRuns/Unsubmitted/*"):
        azure.service.fault(call, lost=True)
    run = done()
    assert run.status is RunStatus.COMPLETED, run.error
    assert [run_there.id for run_there in cloud.pipelines.history("batch-scoring")] == [cloud.pipelines.of(run.id).id]
    assert azure.service.count("POST *PipelineRuns/Unsubmitted/*") == 2


def test_a_run_goes_on_without_its_runner_and_is_resumed(cloud, submit, finish, kill_runner, azure, tmp_path):
    run = submit(waiting(tmp_path / "gate"))
    finish(cloud, run.id, until=lambda _: cloud.pipelines.of(run.id))
    assert kill_runner(cloud, run.id)
    assert cloud.runs.get(run.id).error.startswith("Its runner is gone: it was ended from outside")
    assert cloud.runs.resume(run.id).status is RunStatus.QUEUED
    (tmp_path / "gate").touch()
    ended = finish(cloud, run.id)
    assert (ended.status, ended.items_succeeded) == (RunStatus.COMPLETED, 7)
    assert azure.service.count("POST *PipelineRuns/Submit/*") == 1
    with pytest.raises(StudioError, match="nothing to resume"):
        cloud.runs.resume(run.id)


def test_a_run_without_a_runner_can_be_canceled(cloud, submit, finish, kill_runner):
    run = submit(slowly(600))
    finish(cloud, run.id, until=lambda _: cloud.pipelines.of(run.id))
    assert kill_runner(cloud, run.id)
    cloud.runs.cancel(run.id)
    assert finish(cloud, run.id).status is RunStatus.CANCELED


@pytest.mark.parametrize("cloud", [{"sign_in": SignIn.DEVICE_CODE}], indirect=True)
def test_a_run_longer_than_a_person_s_token_gets_another(azure, submit, cloud, finish, monkeypatch):
    def enter_the_code() -> None:
        deadline = time.monotonic() + 150
        while "enter the code" not in cloud.state().message and time.monotonic() < deadline:
            time.sleep(0.02)
        azure.service.confirm_device_code(cloud.state().message.rsplit(maxsplit=1)[-1])

    monkeypatch.setattr(token_relay, "TOKEN_POLL_SECONDS", 0.5)
    azure.service.set_token_seconds(3)
    person = threading.Thread(target=enter_the_code)
    person.start()
    try:
        ended = finish(cloud, submit(slowly(2)).id)
    finally:
        azure.service.set_token_seconds(3600)
    person.join()
    assert (ended.status, ended.error) == (RunStatus.COMPLETED, None)


def test_only_failed_files_are_rerun_and_the_table_has_both_runs(cloud, finish, tmp_path, entry_script):
    for name in ("a/1.csv", "a/2.csv", "b/1.csv", "b/deep/2.csv"):
        (tmp_path / "rows" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rows" / name).write_text(name)
    cloud.register_dataset("rows", tmp_path / "rows")
    source = "def run(mini_batch): return [path + ': {}' for path in mini_batch if '{}' not in path]"

    def score(prediction, skipped, *, again=""):
        script = str(entry_script(source.format(prediction, skipped)))
        if again:
            return finish(cloud, cloud.rerun(again, failed_only=True).id)
        settings = ParallelRunSettings(error_threshold=-1, process_count_per_node=1)
        return finish(cloud, cloud.submit(RunRequest((), ("rows",), script, settings, compute_target="cpu-cluster")).id)

    def table(run):
        return {row["File"]: (row["Prediction"], row["Attempts"]) for row in cloud.runs.predictions(run.id).page().to_pylist()}

    first = score("old", "/b/")
    assert (first.items_succeeded, first.items_failed) == (2, 2)
    second = score("new", "none", again=first.id)
    assert (second.items_total, second.items_succeeded, second.items_failed, second.mini_batches_done) == (2, 2, 0, 1)
    assert table(second) == {"a/1.csv": ("old", 1), "a/2.csv": ("old", 1), "b/1.csv": ("new", 2), "b/deep/2.csv": ("new", 2)}
    assert [dataset.reference for dataset in cloud._cache.datasets.fetch()] == ["rows:1"]  # the two files are no dataset of their own


def test_a_failed_run_shows_its_cause_and_its_logs(cloud, done):
    raises = "def run(mini_batch):\n    raise ValueError('no good: ' + mini_batch[0][-8:])\n"
    run = done(raises, settings={"error_threshold": 2, "run_max_try": 1})
    assert run.status is RunStatus.FAILED
    headline, *others = run.error.splitlines()
    assert headline.startswith("ValueError: no good: 000")
    assert others.count(headline) == 1  # its traceback is there once
    assert "SystemExit: 42" in others[-1]  # what the service says comes last
    failure = cloud.runs.failures(run.id)[0]
    assert (failure.status, failure.items_failed, failure.error_type) == ("RUN_EXCEPTION", 3, "ValueError")
    assert not cloud.runs.output(run.id)
    assert cloud.runs.predictions(run.id).count() == 0


def test_errors_while_a_run_is_followed_and_fetched_are_retried(cloud, submit, finish, azure, tmp_path):
    run = submit(waiting(tmp_path / "gate"))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    faults = [{"status": 401}, {"status": 403}, {"status": 429, "retry_after": 1}, {"status": 500}, {"cut": True}]
    for fault in faults:
        azure.service.fault("GET *history*/runs/*", **fault)
    azure.service.fault("GET *inferences/parallel_run_step.txt*", status=403, code="AuthorizationFailure", message="Not now.")
    (tmp_path / "gate").touch()
    finish(cloud, run.id, until=lambda run: run.doing)  # it fetches the output; what is left to ask is whether it was reused
    azure.service.fault("GET *history*/runs/*", status=403, code="AuthorizationFailed", message="Not now.")
    ended = finish(cloud, run.id)
    assert (ended.status, ended.error, ended.error_code) == (RunStatus.COMPLETED, None, None)
    answers = [seen.status for seen in azure.requests if seen.line.startswith("GET ") and "/runs/" in seen.line]
    assert {401, 403, 429, 500, 0} <= set(answers)
    assert answers.count(403) == 2
    assert azure.service.count("GET *inferences/parallel_run_step.txt*") > 1
    assert len(rows_of(cloud, ended)) == 7


def test_a_run_that_can_not_be_read_any_more_can_be_resumed(cloud, submit, finish, azure, tmp_path):
    run = submit(waiting(tmp_path / "gate"))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    azure.service.fault("GET *history*/runs/*", count=None, status=403, code="AuthorizationFailed", message="You may not.")
    lost = finish(cloud, run.id, until=lambda run: run.status is RunStatus.NOT_RESPONDING)
    assert "You may not." in lost.error
    assert "goes on in Azure ML" in lost.error
    azure.service.clear()
    cloud.runs.resume(run.id)
    (tmp_path / "gate").touch()
    assert finish(cloud, run.id).status is RunStatus.COMPLETED


def test_a_refused_submission_fails_the_run_and_starts_nothing(cloud, done, azure):
    azure.service.fault("POST *PipelineRuns/Unsubmitted/*", count=None, status=400, code="UserError", message="The quota is used up.")
    run = done()
    assert (run.status, run.error_code) == (RunStatus.FAILED, "NotSubmitted")
    assert "The quota is used up." in run.error
    assert azure.service.count("POST *PipelineRuns/Submit/*") == 0


def test_a_run_that_may_not_be_submitted_reads_so_and_is_submitted_later(cloud, submit, finish, azure):
    refusal = {"status": 403, "code": "AuthorizationFailed", "message": "You may not perform action write."}
    azure.service.fault("POST *PipelineRuns/Unsubmitted/*", count=None, **refusal)
    run = finish(cloud, submit().id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "NotSubmitted")
    assert "you have no permission. You may not perform action write." in run.error
    assert run.error.endswith("Nothing was submitted. Resume the run to submit it once this is fixed.")
    azure.service.clear()
    cloud.runs.resume(run.id)
    ended = finish(cloud, run.id)
    assert (ended.status, ended.items_succeeded, ended.error) == (RunStatus.COMPLETED, 7, None)


def test_a_status_that_is_not_known_is_shown_as_it_is(cloud, submit, finish, azure):
    run = submit(slowly(600))
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    there = cloud.pipelines.of(run.id).id
    azure.service.set_run_status(there, "Hibernating", azure.workspace)
    finish(cloud, run.id, until=lambda _: cloud.pipelines.of(run.id).status == "Hibernating")
    assert [listed.status for listed in cloud.pipelines.history("batch-scoring")] == ["Hibernating"]
    azure.service.set_run_status(there, "TimeoutExceeded", azure.workspace, ended=True)
    ended = finish(cloud, run.id)
    assert (ended.status, ended.error.splitlines()[0]) == (RunStatus.FAILED, "Azure ML ended the run as TimeoutExceeded.")


def test_the_rows_of_a_summary_only_run_are_what_its_script_wrote(cloud, done):
    source = """
        import os
        def run(mini_batch):
            for path in mini_batch:
                with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(path) + ".txt"), "w") as file:
                    file.write("scored")
            return mini_batch
    """
    run = done(source, settings={"output_action": "summary_only"})
    assert run.status is RunStatus.COMPLETED, run.error
    assert [path.read_text() for path in cloud.runs.output(run.id).values()] == ["scored"] * 7
    assert (run.items_succeeded, run.items_failed, run.mini_batches_done) == (7, 0, 3)


@pytest.mark.parametrize(
    ("field", "values", "settings"),
    [
        ("compute_target", {"compute_target": None}, {}),
        ("compute_target", {"compute_target": "nowhere"}, {}),
        ("node_count", {}, {"node_count": 50}),
        ("source_directory", {"source_directory": "/proc"}, {}),
    ],
)
def test_a_value_that_azure_ml_would_refuse_is_refused_at_its_field(cloud, submit, field, values, settings):
    with pytest.raises(SettingsError) as refused:
        submit(settings=settings, **values)
    assert refused.value.field == field
    assert not cloud.runs.latest()


def test_a_built_in_scorer_gives_the_same_rows_as_on_this_machine(cloud, workspace, finish, tmp_path):
    rows = made.table().assign(customer=range(made.ROWS))
    rows.to_csv(tmp_path / "customers.csv", index=False)
    model = made.saved(made.pipeline(), tmp_path / "model", "joblib")
    outputs = []
    for place in (workspace, cloud):
        place.register_model("churn", model, approve=True)
        place.register_dataset("customers", tmp_path / "customers.csv", type="tabular")
        settings = ParallelRunSettings(mini_batch_size="1KB", node_count=1, process_count_per_node=1)
        arguments = ("--keep", "customer", "--probabilities", "all", "--append_row_dataframe_header", "True")
        request = RunRequest(
            ("churn",), ("customers",), str(BUILT_IN / "score_tables.py"), settings, arguments=arguments, compute_target="cpu-cluster"
        )
        run = finish(place, place.submit(request).id)
        assert run.status is RunStatus.COMPLETED, run.error
        outputs.append(rows_of(place, run))
    assert outputs[0] == outputs[1]
    own = dict(zip(range(made.ROWS), made.pipeline().predict(made.table()), strict=True))
    predicted = {int(line.split()[-1]): line.split()[0].decode() for line in outputs[0] if not line.startswith(b"prediction ")}
    assert predicted == own


# ---- one run, published and run again, which these only look at --------------------------------------------------------------------------


def test_a_run_leaves_its_logs_and_a_link_to_the_studio(of_nightly, nightly):
    logs = of_nightly.runs.logs(nightly.run.id)
    assert "7 of 7 items succeeded" in logs["logs/job_result.txt"].read_text()
    assert "pipeline run Completed, step Completed" in logs["logs/azure_status.txt"].read_text()
    pipeline_run = of_nightly.pipelines.of(nightly.run.id)
    assert pipeline_run.status == RunStatus.COMPLETED
    assert pipeline_run.studio_url.startswith(f"https://ml.azure.com/runs/{pipeline_run.id}?")
    assert of_nightly.runs.environment(nightly.run.id).python_version == "3.11"


def test_a_run_that_ended_meanwhile_is_canceled_without_an_error(of_nightly, nightly):
    of_nightly._sdk.jobs.cancel(of_nightly.pipelines.of(nightly.run.id))
    assert of_nightly._sdk.history.status(of_nightly.pipelines.of(nightly.run.id).id) == "Completed"


def test_modules_beside_the_script_are_uploaded_and_shadow_nothing(of_nightly, nightly):
    assert rows_of(of_nightly, nightly.run) == [b"OK"] * 7
    assert of_nightly.runs.predictions(nightly.run.id).count() == 7  # rows that name no file are kept


def test_the_output_is_described_as_in_the_tutorial(of_nightly, nightly, sdk_workspace):
    from azureml.core import Experiment
    from azureml.pipeline.core import PipelineRun

    pipeline_run = of_nightly.pipelines.of(nightly.run.id)
    service = PipelineRun(
        Experiment(sdk_workspace(), pipeline_run.experiment), pipeline_run.id
    )._context.workflow_provider.graph_provider._service_caller
    (node,) = service.get_graph_async(service.get_pipeline_run_async(pipeline_run.id).graph_id).module_nodes
    (output,) = (setting for setting in node.module_output_settings if setting.name == "inferences")
    assert (output.path_on_compute, output.data_store_name) == ("results", "workspaceblobstore")


def test_the_same_run_reuses_the_earlier_output_if_allowed(of_nightly, nightly, finish):
    request = replace(nightly.run.request, submission_id="")
    again, anew = (finish(of_nightly, of_nightly.submit(replace(request, allow_reuse=allowed)).id) for allowed in (True, False))
    assert [run.reused_from for run in (nightly.run, again, anew)] == [None, nightly.run.id, None]
    assert rows_of(of_nightly, again) == rows_of(of_nightly, anew) == rows_of(of_nightly, nightly.run)


def test_a_published_pipeline_runs_with_another_mini_batch_size(of_nightly, nightly):
    published, again = nightly.published, nightly.again
    assert (published.active, published.defaults["mini_batch_size"]) == (True, "3")
    assert published.endpoint.endswith(published.id)
    assert again.status is RunStatus.COMPLETED, again.error
    assert rows_of(of_nightly, again) == rows_of(of_nightly, nightly.run)
    assert again.mini_batches_done == 7
    assert again.request.settings.mini_batch_size == "1"
    assert nightly.submissions == 1
    assert len([pipeline_run for pipeline_run in of_nightly.pipelines.history("batch-scoring") if pipeline_run.run_id == again.id]) == 1
    with pytest.raises(SettingsError) as refused:
        of_nightly.pipelines.submit(published.id, {"error_threshold": "1"})
    assert refused.value.field == "error_threshold"


def test_a_published_pipeline_warns_of_a_newer_model(nightly):
    assert [warning for warning in nightly.again.warnings if warning.startswith("clf:1 is not the latest version, clf:2, which")]


def test_a_published_pipeline_is_disabled(of_nightly, nightly):
    of_nightly.pipelines.set_published(nightly.published.id, active=False)
    assert [pipeline.active for pipeline in of_nightly.pipelines.published() if pipeline.id == nightly.published.id] == [False]
    of_nightly.pipelines.set_published(nightly.published.id, active=True)


def test_a_published_pipeline_is_scheduled_and_the_schedule_disabled(of_nightly, nightly):
    weekly = Recurrence(Frequency.WEEK, 2, "06:30", ("Monday", "Friday"))
    schedule = of_nightly.pipelines.schedule(nightly.published.id, "early", weekly, {"mini_batch_size": "5"})
    assert (schedule.name, schedule.recurrence, schedule.active) == ("early", str(weekly), True)
    of_nightly.pipelines.set_schedule(schedule.id, active=False)
    assert {listed.id: listed.active for listed in of_nightly.pipelines.schedules()}[schedule.id] is False
    of_nightly.pipelines.set_schedule(schedule.id, active=True)
    assert {listed.id: listed.active for listed in of_nightly.pipelines.schedules()}[schedule.id] is True
    assert of_nightly.pipelines.schedule(nightly.published.id, "daily", Recurrence(Frequency.DAY), {}).recurrence == "every day"


def test_the_history_has_the_runs_that_somebody_else_started(of_nightly, nightly, sdk_workspace, tmp_path):
    from azureml.pipeline.core import PublishedPipeline

    ws = sdk_workspace()
    theirs = PublishedPipeline.get(ws, of_nightly.pipelines.publish(nightly.run.id, "shared").id).submit(ws, "batch-scoring")
    history = {pipeline_run.id: pipeline_run for pipeline_run in of_nightly.pipelines.history("batch-scoring")}
    assert (history[theirs.id].run_id, history[of_nightly.pipelines.of(nightly.run.id).id].run_id) == ("", nightly.run.id)
    elsewhere = open_workspace("azure", tmp_path / "another-home").pipelines.history("batch-scoring")
    assert {(pipeline_run.title, pipeline_run.run_id) for pipeline_run in elsewhere} == {
        (pipeline_run.title, "") for pipeline_run in history.values()
    }
    assert of_nightly.pipelines.experiments() == ["batch-scoring"]
    theirs.wait_for_completion(show_output=False)
    assert {pipeline_run.status for pipeline_run in of_nightly.pipelines.history("batch-scoring")} == {RunStatus.COMPLETED}

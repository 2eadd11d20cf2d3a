"""Runs of SDK v2 on the stand-in, by the unmodified SDK: submitted once, followed, canceled, their outputs found wherever they lie."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from services.azure.auth.sdk_errors import azure_errors
from services.azure.run_history import Details
from services.azure.run_plan import FailedFiles, RunPlan
from services.azure.sdk import Jobs, Output, Sdk
from services.azure.sdk_v2.parts import sdk_v2
from services.connection import from_environment
from services.domain import DatasetFile, RunRequest
from services.errors import NotFound, SettingsError, StudioError
from services.remote import Frequency, PipelineRun, Recurrence
from services.settings import ParallelRunSettings
from services.storage.manifest import manifest_line

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

ROWS = "import os\ndef run(mini_batch):\n    return [f'{os.path.basename(path)}: {len(mini_batch)}' for path in mini_batch]\n"
SLEEPS = "import time\ndef run(mini_batch):\n    time.sleep(600)\n"
RAISES = "def run(mini_batch):\n    raise ValueError('no such colour')\n"
ENDED = ("Completed", "Failed", "Canceled")


@pytest.fixture
def sdk(azure, tmp_path) -> Sdk:
    return sdk_v2(from_environment(tmp_path), print, of_a_command=False)


@pytest.fixture
def jobs(sdk) -> Jobs:
    return sdk.jobs


@pytest.fixture
def plan(inputs, tmp_path):
    """`plan(script, setting=value, ...)` is of a run over the data asset `rows`, in the environment `mine`."""

    def make(script: str = ROWS, request: dict[str, Any] | None = None, **settings: Any) -> RunPlan:
        folder = tmp_path / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / "score.py").write_text(script)
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_bytes(b"".join(manifest_line(DatasetFile(f"{number}.csv", 2, 0)) for number in range(5)))
        few = {"mini_batch_size": "2", "process_count_per_node": 1, "error_threshold": 0}
        asked = {"environment": "mine:1", "compute_target": "cpu-cluster", "allow_reuse": False} | (request or {})
        values = RunRequest(("clf:1",), ("rows:1",), str(folder / "score.py"), ParallelRunSettings(**few | settings), **asked)
        return RunPlan(values, 5, (str(manifest),))

    return make


@dataclass
class Job:
    """A job of the service, whoever submitted it, and its step."""

    sdk: Sdk
    experiment: str
    id: str

    @property
    def there(self) -> PipelineRun:
        return PipelineRun(self.id, self.experiment, self.status())

    def status(self) -> str:
        return self.sdk.history.status(self.id)

    def step(self) -> str | None:
        return self.sdk.history.step(self.id)

    def step_status(self) -> str:
        return self.sdk.history.status(self.step()) if self.step() else ""

    def details(self) -> Details:
        return self.sdk.history.details(self.step())

    def reused(self) -> str:
        return self.sdk.history.reused(self.step())

    def output(self) -> Output:
        return self.sdk.jobs.output(self.there, self.step())

    def cancel(self) -> None:
        self.sdk.jobs.cancel(self.there)


@pytest.fixture
def submitted(sdk, jobs, tmp_path):
    """`submitted(plan)` is the job of a run."""

    def submit(of: RunPlan, run_id: str = "run-1") -> Job:
        created = jobs.create(jobs.build(of, tmp_path / f"snapshot {run_id}"), of, run_id)
        jobs.start(created)
        return Job(sdk, of.experiment, created)

    return submit


def until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def ended(job: Job) -> str:
    return until(lambda: job.status() in ENDED and job.status())


def rows_of(job: Job) -> list[str]:
    output = job.output()
    return sorted(output.container.download_blob(f"{output.path}/parallel_run_step.txt").readall().decode().splitlines())


def test_a_run_is_submitted_followed_and_its_output_found(sdk, plan, submitted):
    job = submitted(plan(allowed_failed_count=3, run_max_try=2, allowed_failed_percent=50, append_row_file_name="parallel_run_step.txt"))
    assert "/runs/run-1?" in sdk.history.studio_url(job.id)
    assert ended(job) == "Completed"
    assert (job.step_status(), job.reused()) == ("Completed", "")
    details = job.details()
    assert details.started_at <= details.ended_at
    assert details.code == details.message == ""
    assert "logs/job_result.txt" in details.logs
    assert rows_of(job) == [f"{number}.csv: {2 if number < 4 else 1}" for number in range(5)]


@pytest.mark.parametrize("times", [1, 4])  # one that the SDK retries by itself, and all of its tries
def test_a_run_whose_answer_is_lost_is_one_job(azure, plan, submitted, ml, times):
    azure.service.fault("PUT *{ws}/jobs/run-1*", lost=True, count=times)
    job = submitted(plan())
    submitted(plan(mini_batch_size="3"))  # whoever submits it again, however it is built
    assert ended(job) == "Completed"
    assert len(rows_of(job)) == 5
    assert [job.name for job in ml.jobs.list()] == ["run-1"]


def test_a_run_is_found_by_its_name_and_not_before(sdk, jobs, plan, submitted):
    of = plan()
    assert jobs.starts_at_once(of)
    assert jobs.find(of, "run-1") is None
    submitted(of)
    assert jobs.find(of, "run-1") == "run-1"
    with pytest.raises(NotFound), azure_errors("The run can't be read"):
        sdk.history.run("run-2")


def test_a_running_job_has_logs_and_is_canceled(azure, plan, submitted):
    azure.service.set_queue_seconds(600, azure.workspace)
    job = submitted(plan(SLEEPS))
    until(lambda: job.step_status() == "Queued")
    azure.service.set_queue_seconds(0, azure.workspace)
    until(lambda: job.step_status() == "Running" and job.details().logs)
    azure.service.fault("POST *{ws}/jobs/run-1/cancel*", lost=True)
    job.cancel()
    assert ended(job) == "Canceled"
    job.cancel()  # again, since somebody asks again: it has ended


def test_a_failed_step_says_its_error_and_its_logs_the_cause(plan, submitted):
    import requests

    job = submitted(plan(RAISES, run_max_try=1))
    assert ended(job) == "Failed"
    details = job.details()
    assert details.code == "UserError"
    assert "std_log_0.txt" in details.message
    assert "no such colour" in requests.get(details.logs["logs/job_error.txt"], timeout=60).text


def test_only_the_files_that_failed_are_scored_again(plan, submitted, ml):
    root = ml.data.get("rows", "1").path.rstrip("/")
    again = FailedFiles("azureml://datastores/" + root.partition("/datastores/")[2], "", ("1.csv", "3.csv"))
    job = submitted(replace(plan(), again=(again,)))
    assert ended(job) == "Completed"
    assert rows_of(job) == ["1.csv: 2", "3.csv: 2"]


def test_an_earlier_output_is_reused_where_that_is_allowed(plan, submitted):
    of = plan(request={"allow_reuse": True})
    first = submitted(of, "run-1")
    assert ended(first) == "Completed"
    again = submitted(of, "run-2")
    assert ended(again) == "Completed"
    assert again.reused() == "run-1"
    assert rows_of(again) == rows_of(first)


def test_a_side_input_and_variables_reach_the_script(plan, submitted):
    script = (
        "import os, sys\ndef run(mini_batch):\n    folder = sys.argv[sys.argv.index('--labels') + 1]\n"
        "    return [f\"{os.environ['DOOR']} {sorted(os.listdir(folder))[0]}\" for _ in mini_batch]\n"
    )
    job = submitted(plan(script, request={"side_inputs": {"labels": "rows:1"}}, environment_variables={"DOOR": "it's open"}))
    assert ended(job) == "Completed"
    assert rows_of(job) == ["it's open 0.csv"] * 5


def test_a_script_that_writes_its_own_output_finds_the_folder(plan, submitted):
    script = (
        "import os\ndef run(mini_batch):\n    for path in mini_batch:\n        name = os.path.basename(path)\n"
        "        open(os.path.join(os.environ['AZUREML_BI_OUTPUT_PATH'], name), 'w').write('x')\n    return mini_batch\n"
    )
    job = submitted(plan(script, output_action="summary_only"))
    assert ended(job) == "Completed"
    output = job.output()
    names = [blob.name for blob in output.container.list_blobs(name_starts_with=output.path + "/")]
    assert sorted(name.rpartition("/")[2] for name in names) == [f"{number}.csv" for number in range(5)]


def test_a_job_is_renamed_and_its_tags_changed(sdk, plan, submitted, ml):
    job = submitted(plan()).there
    sdk.history.describe(job, "title", name='é: "it\'s"', note="look", tags={"team": "a", "x": "1"})
    found = ml.jobs.get("run-1")
    assert (found.display_name, found.description, found.tags["team"]) == ('é: "it\'s"', "look", "a")
    sdk.history.describe(job, "title", name="", note="", tags={"team": ""})
    found = ml.jobs.get("run-1")
    assert (found.display_name, found.description, "team" in found.tags, found.tags["x"]) == ("title", "title", False, "1")


# ---- pipelines ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(sdk, plan, submitted):
    """A completed run, published as nightly."""
    assert ended(submitted(plan(run_max_try=2))) == "Completed"
    return sdk.pipelines.publish(plan(run_max_try=2), "run-1", "Nightly: é'\"", "every night")


def test_a_published_pipeline_is_a_batch_endpoint_that_others_call(sdk, published, ml, azure):
    from azure.ai.ml import Input

    assert (published.name, published.description, published.active) == ("Nightly: é'\"", "every night", True)
    assert published.endpoint.startswith(f"https://{published.id}.")
    made = ml.batch_endpoints.invoke(published.id, inputs={"mini_batch_size": Input(type="string", default="5")})
    job = Job(sdk, published.id, made.name)
    assert ended(job) == "Completed"
    assert rows_of(job) == [f"{number}.csv: 5" for number in range(5)]
    assert [run.id for run in sdk.history.pipelines(published.id)] == [made.name]


def test_a_run_of_a_published_pipeline_has_the_settings_it_is_given(sdk, published, plan, submitted):
    of = replace(plan(), published_id=published.id, parameters={"mini_batch_size": "4", "run_max_try": "1"})
    job = submitted(of, "run-2")
    assert ended(job) == "Completed"
    assert rows_of(job) == [f"{number}.csv: {4 if number < 4 else 1}" for number in range(5)]
    with pytest.raises(SettingsError, match="keeps its partition_keys"):
        submitted(replace(of, parameters={"partition_keys": "store"}), "run-3")


def test_a_disabled_pipeline_is_not_run(sdk, published, plan, submitted, ml):
    sdk.pipelines.set_published(published.id, active=False)
    assert [one.active for one in sdk.pipelines.published()] == [False]
    with pytest.raises(StudioError, match="disabled"):
        submitted(replace(plan(), published_id=published.id), "run-2")
    with pytest.raises(Exception, match="no default deployment"):
        ml.batch_endpoints.invoke(published.id)
    sdk.pipelines.set_published(published.id, active=True)
    assert [one.active for one in sdk.pipelines.published()] == [True]


@pytest.mark.parametrize(
    "recurrence",
    [Recurrence(Frequency.DAY, 1, "06:30"), Recurrence(Frequency.WEEK, 2, "23:05", ("Monday", "Friday")), Recurrence(Frequency.HOUR, 3)],
)
def test_a_schedule_runs_a_published_pipeline(sdk, published, ml, recurrence):
    made = sdk.pipelines.schedule(published.id, "at 'night'", "batch-scoring", recurrence, {"mini_batch_size": "5"})
    assert (made.name, made.pipeline_id, made.active, made.recurrence) == ("at 'night'", published.id, True, str(recurrence))
    started = ml.schedules.trigger(made.id)
    job = Job(sdk, "batch-scoring", started.job_name)
    assert ended(job) == "Completed"
    assert rows_of(job) == [f"{number}.csv: 5" for number in range(5)]
    sdk.pipelines.set_schedule(made.id, active=False)
    assert sdk.pipelines.schedules() == [replace(made, active=False)]


def test_jobs_of_others_are_in_the_history_newest_first(sdk, job, ml, plan, submitted):
    ml.jobs.create_or_update(job(ROWS, name="theirs"))
    submitted(plan(), "run-1")
    assert [(run.id, run.run_id, run.title, run.tags) for run in sdk.history.pipelines("exp")] == [
        ("theirs", "", "scoring", {"studio": "1"})
    ]
    (ours,) = sdk.history.pipelines("batch-scoring")
    assert (ours.id, ours.run_id, ours.title, ours.note, ours.tags) == ("run-1", "run-1", "clf:1 on rows:1", "", {})
    assert ended(Job(sdk, "exp", "theirs")) == "Completed"


def test_an_upload_of_code_that_is_refused_ends_and_is_done_again(azure, plan, submitted):
    azure.service.fault("PUT *snapshot*/score.py*", status=403, code="AuthorizationFailure")
    with pytest.raises(Exception, match=r"AuthorizationFailure|not authorized|Forbidden"):
        submitted(plan())
    assert ended(submitted(plan())) == "Completed"

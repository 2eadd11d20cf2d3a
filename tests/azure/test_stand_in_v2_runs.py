"""The unmodified SDK v2 submits parallel jobs to the stand-in, which executes them for real."""

import time
from pathlib import Path

import pytest

from tests.azure.conftest import azure_path

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
ENDED = ("Completed", "Failed", "Canceled")
ROWS = "def run(mini_batch):\n    return mini_batch\n"


@pytest.fixture
def submit(ml):
    """`submit(job)` is the job as submitted, `submit(job, until)` once something holds of its status."""

    def done(job, holds=None):
        name = ml.jobs.create_or_update(job).name
        if holds:
            until(lambda: holds(ml.jobs.get(name)))
        return ml.jobs.get(name)

    return done


def until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ended(job):
    return job.status in ENDED


def step_of(ml, job):
    (step,) = ml.jobs.list(parent_job_name=job.name)
    return step


def details_of(ml, run):
    """What no public call of the SDK gives: the error, the times and the logs."""
    return ml.jobs._runs_operations.get_run_details(run.name)


def text_of(address):
    import requests

    return requests.get(address, timeout=60).text


def test_the_same_rows_come_out_of_either_sdk(ml, ws, job, pipeline, submit, finish_azure):
    from azureml.core import Experiment

    made = submit(job(name="by-v2"), ended)
    assert (made.name, str(made.status.value), made.experiment_name, made.tags) == ("by-v2", "Completed", "exp", {"studio": "1"})
    step = step_of(ml, made)
    assert (step.display_name, step.status, step.compute) == ("score", "Completed", "cpu-cluster")
    ml.jobs.download(step.name, output_name="inferences", download_path="there")
    rows = sorted(Path("there/named-outputs/inferences/parallel_run_step.txt").read_text().splitlines())
    assert rows == [f"{n}.csv: m1 {n} of {2 if n < 4 else 1}" for n in range(5)]
    run = Experiment(ws, "exp").submit(pipeline())
    assert finish_azure(run) == "Finished"
    (child,) = run.get_children()
    child.get_output_data("inferences").download("v1")
    (other,) = Path("v1").rglob("parallel_run_step.txt")
    assert sorted(other.read_text().splitlines()) == rows


def test_a_step_leaves_logs_times_and_its_output_as_a_data_asset(ml, job, submit):
    made = submit(job(ROWS, output={"name": "scored", "type": "uri_folder"}), ended)
    details = details_of(ml, step_of(ml, made))
    assert (details.status, details.start_time_utc <= details.end_time_utc) == ("Completed", True)
    assert "5 of 5 items succeeded" in text_of(details.log_files["logs/job_result.txt"])
    assert details.outputs["inferences"].type == "UriFolder"
    assert details.outputs["inferences"].asset_id.endswith("/data/scored/versions/1")
    uris = ml.jobs._dataset_dataplane_operations.get_batch_dataset_uris([details.outputs["inferences"].asset_id])
    (uri,) = [found.uri for found in uris.values_property.values()]
    assert uri == ml.data.get("scored", "1").path


def test_an_output_at_a_place_of_its_own_may_be_one_file(ml, job, submit):
    from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri

    place = "azureml://datastores/workspaceblobstore/paths/mine/${{name}}/rows.csv"
    made = submit(job(ROWS, output={"path": place, "type": "uri_file"}), ended)
    path = f"azureml://datastores/workspaceblobstore/paths/mine/{step_of(ml, made).name}/rows.csv"
    download_artifact_from_aml_uri(path, "there", ml.datastores)
    assert len(Path("there/rows.csv").read_text().splitlines()) == 5


def test_a_step_whose_script_raises_fails_with_its_cause_in_the_logs(ml, job, submit):
    made = submit(job("def run(mini_batch):\n    raise ValueError('no such colour')\n", retry_settings={"max_retries": 0}), ended)
    step = step_of(ml, made)
    assert (made.status, step.status) == ("Failed", "Failed")
    details = details_of(ml, step)
    assert details.error.error.code == "UserError"
    assert "Please check log file 'user_logs/std_log_0.txt'" in details.error.error.message
    assert "no such colour" in text_of(details.log_files["logs/job_error.txt"])


def test_a_job_is_queued_running_and_canceled(ml, azure, job, submit):
    azure.service.set_queue_seconds(600, azure.workspace)
    made = submit(job("import time\ndef run(b):\n    time.sleep(600)\n"), lambda job: [s.status for s in children(ml, job)] == ["Queued"])
    azure.service.set_queue_seconds(0, azure.workspace)
    until(lambda: step_of(ml, made).status == "Running")
    ml.jobs.begin_cancel(made.name).result()
    assert (ml.jobs.get(made.name).status, step_of(ml, made).status) == ("Canceled", "Canceled")


def children(ml, job):
    return list(ml.jobs.list(parent_job_name=job.name))


def test_a_name_is_one_job_whatever_answer_is_lost(ml, azure, job, submit):
    azure.service.fault("PUT *{ws}/jobs/mine*", lost=True)
    first = job(ROWS, name="mine")
    assert submit(first, ended).status == "Completed"
    assert azure.service.count("PUT *{ws}/jobs/mine*") == 2
    assert [listed.name for listed in ml.jobs.list()] == ["mine"]
    assert submit(job(ROWS, name="mine")).name == "mine"
    with pytest.raises(Exception, match="A job with this name already exists"):
        submit(job(ROWS, name="mine", mini_batch_size="3"))


def test_a_step_reuses_the_earlier_output(ml, job, submit):
    first, again = (step_of(ml, submit(job(ROWS, is_deterministic=True), ended)) for _ in range(2))
    assert again.properties["azureml.reusedrunid"] == first.name
    ml.jobs.download(again.name, output_name="inferences", download_path="there")
    assert Path("there/named-outputs/inferences/parallel_run_step.txt").exists()


@pytest.mark.parametrize(("compute", "status"), [("serverless", "Completed"), ("gpu-cluster", "Failed")])
def test_a_step_gets_no_more_nodes_than_its_cluster_has(ml, job, submit, compute, status):
    made = job(ROWS, instance_count=3)
    made.settings.default_compute = compute
    assert submit(made, ended).status == status


def test_jobs_are_listed_in_pages_changed_and_archived(ml, azure, job, submit):
    names = [submit(job(ROWS, name=f"job-{number}")).name for number in range(3)]
    azure.service.set_page_size(2, azure.workspace)
    assert [listed.name for listed in ml.jobs.list()] == names[::-1]
    ml.jobs.update("job-1", display_name="renamed", tags={"kept": "yes"})
    assert (ml.jobs.get("job-1").display_name, ml.jobs.get("job-1").tags) == ("renamed", {"studio": "1", "kept": "yes"})
    ml.jobs.archive("job-1")
    assert [listed.name for listed in ml.jobs.list()] == ["job-2", "job-0"]


def test_jobs_that_v1_started_are_listed_with_their_steps(ml, ws, pipeline, finish_azure):
    from azureml.core import Experiment

    run = Experiment(ws, "exp").submit(pipeline())
    assert finish_azure(run) == "Finished"
    assert [(listed.name, listed.status) for listed in ml.jobs.list()] == [(run.id, "Completed")]
    assert [step.display_name for step in ml.jobs.list(parent_job_name=run.id)] == ["score"]


def test_a_job_needs_a_token_for_machine_learning_as_well(ml, azure, job, submit):
    import requests

    token = ml._credential.get_token("https://management.azure.com/.default").token
    address = f"https://management.azure.com{azure_path(ml)}/jobs/mine?api-version=2024-01-01-preview"
    body = {"properties": {"jobType": "Pipeline", "jobs": {}}}
    for headers in ({}, {"x-azureml-token": token}):
        answer = requests.put(address, json=body, headers={"Authorization": f"Bearer {token}"} | headers, timeout=60)
        assert answer.status_code == 401

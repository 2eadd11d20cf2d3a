"""The unmodified SDK v2 submits parallel jobs to the stand-in, which executes them for real."""

import time
from pathlib import Path

import pytest

from tests.azure.conftest import azure_path
from tests.azure_service.recordings import RECORDED

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


def test_a_job_leaves_the_rows_that_v1_leaves(ml, job, submit):
    made = submit(job(name="by-v2"), ended)
    assert (made.name, str(made.status.value), made.experiment_name, made.tags) == ("by-v2", "Completed", "exp", {"studio": "1"})
    step = step_of(ml, made)
    assert (step.display_name, step.status, step.compute) == ("score", "Completed", "cpu-cluster")
    ml.jobs.download(step.name, output_name="inferences", download_path="there")
    rows = sorted(Path("there/named-outputs/inferences/parallel_run_step.txt").read_text().splitlines())
    assert rows == [f"{n}.csv: m1 {n} of {2 if n < 4 else 1}" for n in range(5)]  # as in test_stand_in_runs.py


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


@pytest.mark.parametrize("curated", ["AzureML-sklearn-1.5@latest", "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"])
def test_a_curated_environment_is_left_to_the_service(job, submit, curated):
    assert submit(job(ROWS, environment=curated), ended).status == "Completed"


def test_an_environment_that_a_job_brings_along_is_not_listed(ml, ws, job, submit):
    from azure.ai.ml.entities import Environment

    assert submit(job(ROWS, environment=Environment(image="mcr.microsoft.com/azureml/base:1")), ended).status == "Completed"
    assert {environment.name for environment in ml.environments.list()} == set(ws.environments) == {"AzureML-sklearn-1.5", "mine"}


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

    run = Experiment(ws, "exp").submit(pipeline(ROWS))
    assert finish_azure(run) == "Finished"
    assert [(listed.name, listed.status) for listed in ml.jobs.list()] == [(run.id, "Completed")]
    assert [step.display_name for step in ml.jobs.list(parent_job_name=run.id)] == ["score"]


def test_a_run_that_v1_started_is_canceled_by_v2(ml, ws, pipeline, finish_azure):
    from azureml.core import Experiment

    run = Experiment(ws, "exp").submit(pipeline("import time\ndef run(b):\n    time.sleep(600)\n"))
    finish_azure(run, until=lambda run: run.get_status() == "Running")
    ml.jobs.begin_cancel(run.id).result()
    assert run.get_status() == "Canceled"


def test_a_job_needs_a_token_for_machine_learning_as_well(ml, azure, job, submit):
    import requests

    token = ml._credential.get_token("https://management.azure.com/.default").token
    address = f"https://management.azure.com{azure_path(ml)}/jobs/mine?api-version=2024-01-01-preview"
    body = {"properties": {"jobType": "Pipeline", "jobs": {}}}
    for headers in ({}, {"x-azureml-token": token}):
        answer = requests.put(address, json=body, headers={"Authorization": f"Bearer {token}"} | headers, timeout=60)
        assert answer.status_code == 401


@pytest.fixture
def scored(ml, parallel, submit, inputs):
    """`scored(input, script)` are the rows that a step makes of an input, whatever its type."""

    def rows(given, script, **settings):
        from azure.ai.ml import Input, Output, dsl
        from azure.ai.ml.parallel import RunFunction, parallel_run_function

        Path("source").mkdir(exist_ok=True)
        Path("source/score.py").write_text(script)
        task = RunFunction(code="source", entry_script="score.py", environment=inputs[1], append_row_to="${{outputs.inferences}}")
        step = parallel_run_function(
            name="score", inputs={"rows": Input(type=given.type, mode=given.mode)}, outputs={"inferences": Output(type="uri_folder")},
            input_data="${{inputs.rows}}", task=task, instance_count=1, is_deterministic=False, **settings,
        )  # fmt: skip

        @dsl.pipeline(default_compute="cpu-cluster")
        def scoring(rows):
            return {"inferences": step(rows=rows).outputs.inferences}

        made = submit(scoring(rows=given), ended)
        details = details_of(ml, step_of(ml, made))
        assert made.status == "Completed", details.error
        ml.jobs.download(step_of(ml, made).name, output_name="inferences", download_path=made.name)
        return sorted(Path(f"{made.name}/named-outputs/inferences/parallel_run_step.txt").read_text().splitlines())

    return rows


COUNT = "def run(mini_batch):\n    return [f'{type(mini_batch).__name__} {len(mini_batch)}'] * len(mini_batch)\n"


def test_a_table_is_scored_by_rows(ml, scored):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import Data

    Path("table").mkdir()
    Path("table/MLTable").write_text(
        "type: mltable\npaths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
    )
    Path("table/rows.csv").write_text("a\n" + "1\n" * 3)
    table = ml.data.create_or_update(Data(name="table", path="table", type="mltable"))
    assert scored(Input(type="mltable", path=table.id, mode="direct"), COUNT, mini_batch_size="1kb") == ["DataFrame 3"] * 3


def test_datasets_of_v1_are_scored_as_tables(ml, ws, scored):
    from azure.ai.ml import Input
    from azureml.core import Dataset

    Path("files").mkdir()
    for number in range(3):
        Path(f"files/{number}.csv").write_text(f"a\n{number}\n")
    store = ws.get_default_datastore()
    Dataset.File.upload_directory("files", (store, "v1"), show_progress=False).register(ws, "of-v1")
    Dataset.Tabular.from_delimited_files([(store, "v1/*.csv")]).register(ws, "table-of-v1")
    assert {data.name for data in ml.data.list()} == {"rows", "of-v1", "table-of-v1"}
    files = Input(type="mltable", path=ml.data.get("of-v1", "1").id, mode="eval_mount")
    assert scored(files, COUNT, mini_batch_size="3") == ["list 3"] * 3
    assert scored(Input(type="mltable", path="azureml:table-of-v1:1", mode="direct"), COUNT, mini_batch_size="1kb") == ["DataFrame 1"] * 3


def test_a_model_and_a_parameter_are_inputs_of_a_step(ml, inputs, submit, parallel):
    from azure.ai.ml import Input, dsl

    script = """
import sys
def run(mini_batch):
    model = open(sys.argv[sys.argv.index("--model") + 1]).read()
    return [f"{model} {sys.argv[sys.argv.index('--word') + 1]}"] * len(mini_batch)
"""
    side = {"model": Input(type="custom_model"), "word": Input(type="string")}
    step = parallel(script, arguments="--model ${{inputs.model}} --word ${{inputs.word}}", inputs=side)

    @dsl.pipeline(default_compute="cpu-cluster")
    def scoring(rows, model, word):
        return {"inferences": step(rows=rows, model=model, word=word).outputs.inferences}

    model = Input(type="custom_model", path=ml.models.get("clf", "1").id)
    made = submit(scoring(rows=Input(type="uri_folder", path=inputs[0].id), model=model, word="a b"), ended)
    assert made.status == "Completed", details_of(ml, step_of(ml, made)).error
    ml.jobs.download(step_of(ml, made).name, output_name="inferences", download_path="there")
    assert Path("there/named-outputs/inferences/parallel_run_step.txt").read_text().splitlines() == ["m1 a b"] * 5


def test_a_step_reads_what_the_step_before_it_left(ml, inputs, parallel, submit):
    from azure.ai.ml import Input, dsl

    first, second = parallel("import os\ndef run(b):\n    return [os.path.basename(path) for path in b]\n"), parallel(CONTENTS)

    @dsl.pipeline(default_compute="cpu-cluster")
    def scoring(rows):
        return {"inferences": second(rows=first(rows=rows).outputs.inferences).outputs.inferences}

    made = submit(scoring(rows=Input(type="uri_folder", path=inputs[0].id)), ended)
    steps = {step.display_name: step for step in children(ml, made)}
    assert sorted(steps) == ["score", "score_1"]
    last = steps["score_1"].name
    ml.jobs.download(last, output_name="inferences", download_path="there")
    rows = Path("there/named-outputs/inferences/parallel_run_step.txt").read_text()
    assert rows.split() == ["parallel_run_step.txt", *(f"{number}.csv" for number in range(5))]


CONTENTS = "import os\ndef run(b):\n    return [f'{os.path.basename(path)} ' + ' '.join(sorted(open(path).read().split())) for path in b]\n"


@pytest.mark.parametrize(("recording", "status"), [("completed", "Completed"), ("failed", "Failed")])
def test_a_recorded_step_leaves_what_a_real_one_left(ml, azure, job, submit, recording, status):
    azure.service.replay(RECORDED / recording, azure.workspace)
    details = details_of(ml, step_of(ml, submit(job(ROWS), ended)))
    assert details.status == status
    assert text_of(details.log_files["logs/job_error.txt"]) == (RECORDED / recording / "logs/logs/job_error.txt").read_text()


def test_a_job_says_the_word_that_it_is_told_to(ml, azure, job, submit):
    made = submit(job("import time\ndef run(b):\n    time.sleep(600)\n"), lambda job: job.status == "Running")
    azure.service.set_run_status(made.name, "NotResponding", azure.workspace)
    assert ml.jobs.get(made.name).status == "NotResponding"
    azure.service.set_run_status(made.name, "Failed", azure.workspace, ended=True)
    assert ml.jobs.get(made.name).status == "Failed"

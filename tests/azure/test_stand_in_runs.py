"""The unmodified SDK submits pipelines to the stand-in, which executes their ParallelRunSteps for real."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


def submit(ws, pipeline, name="exp", **given):
    from azureml.core import Experiment

    return Experiment(ws, name).submit(pipeline, **given)


def step_of(run):
    (child,) = run.get_children()
    return child


def rows_of(run, folder="results"):
    """The rows as `download` leaves them, wherever it nests them."""
    step_of(run).get_output_data("inferences").download(folder)
    (rows,) = Path(folder).rglob("parallel_run_step.txt")
    assert rows.relative_to(folder).parts[0] == "azureml"
    assert rows.parent.name == "inferences"
    return sorted(rows.read_text().splitlines())


def test_a_pipeline_s_rows_and_logs_are_downloaded(ws, pipeline, finish_azure):
    from azureml.core import Experiment

    run = submit(ws, pipeline(), tags={"studio": "1"})
    assert finish_azure(run) == "Finished"
    assert rows_of(run) == [f"{n}.csv: m1 {n} of {2 if n < 4 else 1}" for n in range(5)]
    step = step_of(run)
    assert (step.name, step.type, step.status, step.get_status()) == ("score", "azureml.StepRun", "Completed", "Finished")
    logs = step.get_details_with_logs()["logFiles"]
    assert "5 of 5 items succeeded" in logs["logs/job_result.txt"]
    assert "the model says m1" in step.get_stdout_log()
    assert [(listed.id, listed.status, listed.tags) for listed in Experiment(ws, "exp").get_runs()] == [
        (run.id, "Completed", {"studio": "1"})
    ]
    assert ws.get_run(run.id).experiment.name == "exp"


def test_a_step_reuses_the_earlier_output(ws, azure, pipeline, finish_azure):
    first = submit(ws, pipeline("def run(b):\n    return b\n", allow_reuse=True))
    assert finish_azure(first) == "Finished"
    again = submit(ws, pipeline("def run(b):\n    return b\n", allow_reuse=True))
    assert finish_azure(again) == "Finished"
    assert step_of(again).properties["azureml.reusedrunid"] == step_of(first).id
    assert rows_of(again, "again") == rows_of(first, "first")


def test_a_run_whose_script_raises_fails_with_its_cause(ws, pipeline, finish_azure):
    script = "def run(mini_batch):\n    raise ValueError('no such colour')\n"
    run = submit(ws, pipeline(script, run_max_try=1))
    assert finish_azure(run) == "Failed"
    step = step_of(run)
    error = step.get_details()["error"]["error"]
    assert (error["code"], "more than error_threshold" in error["message"] or "failed" in error["message"]) == ("UserError", True)
    assert "no such colour" in step.get_details_with_logs()["logFiles"]["logs/job_error.txt"]


def test_a_run_is_queued_running_and_canceled(ws, azure, pipeline, finish_azure):
    azure.service.set_queue_seconds(600, azure.workspace)
    run = submit(ws, pipeline("import time\ndef run(b):\n    time.sleep(600)\n"))
    finish_azure(run, until=lambda run: [child.get_status() for child in run.get_children()] == ["Queued"])
    azure.service.set_queue_seconds(0, azure.workspace)
    finish_azure(run, until=lambda run: [child.get_status() for child in run.get_children()] == ["Running"])
    run.cancel()
    assert finish_azure(run) == "Canceled"
    assert [child.get_status() for child in run.get_children()] == ["Canceled"]


@pytest.mark.parametrize(("nodes", "message"), [(4, None), (5, "asks for 5 nodes")])
def test_a_step_gets_no_more_nodes_than_its_cluster_has(ws, pipeline, finish_azure, nodes, message):
    run = submit(ws, pipeline("def run(b):\n    return b\n", node_count=nodes))
    assert finish_azure(run) == ("Failed" if message else "Finished")
    assert message is None or message in step_of(run).get_details()["error"]["error"]["message"]


def test_a_script_gets_parameters_arguments_and_side_inputs(ws, rows, pipeline, finish_azure):
    from azureml.pipeline.core import PipelineParameter

    script = """
import os, sys
def run(mini_batch):
    side = sys.argv[sys.argv.index("--side") + 1]
    return [f"{len(mini_batch)} {os.environ['COLOUR']} {sys.argv[sys.argv.index('--flag') + 1]} {len(os.listdir(side))}"] * len(mini_batch)
"""
    parallel_run = pipeline(
        script,
        mini_batch_size=PipelineParameter("mini_batch_size", "2"),
        environment_variables={"COLOUR": "blue"},
        arguments=["--flag", "a b", "--side", rows.as_named_input("side").as_mount()],
    )
    run = submit(ws, parallel_run, pipeline_parameters={"mini_batch_size": "3"})
    assert finish_azure(run) == "Finished"
    assert rows_of(run) == ["2 blue a b 5"] * 2 + ["3 blue a b 5"] * 3


def test_a_training_run_s_output_is_registered_as_a_model(ws):
    from azureml.core import Experiment, Model

    Path("model.pkl").write_bytes(b"trained")
    run = Experiment(ws, "train").start_logging(snapshot_directory=None)
    run.log("accuracy", 0.9)
    run.upload_file("outputs/model.pkl", "model.pkl")
    run.complete()
    (finished,) = Experiment(ws, "train").get_runs()
    assert (finished.status, finished.get_file_names()) == ("Completed", ["outputs/model.pkl"])
    model = finished.register_model("trained", model_path="outputs/model.pkl", tags={"from": "run"})
    assert (model.id, model.run_id) == ("trained:1", run.id)
    assert Path(Model(ws, "trained").download("there")).read_bytes() == b"trained"


COUNTING = "def run(mini_batch):\n    return [f'{len(mini_batch)}'] * len(mini_batch)\n"


def test_a_published_pipeline_is_run_with_other_parameters_and_disabled(ws, pipeline, finish_azure):
    import requests
    from azureml.pipeline.core import PipelineParameter, PipelineRun, PublishedPipeline

    parallel_run = pipeline(COUNTING, mini_batch_size=PipelineParameter("mini_batch_size", "2"))
    published = parallel_run.publish("scoring", description="for tests", version="1")
    run = submit(ws, published, pipeline_parameters={"mini_batch_size": "4"})
    assert finish_azure(run) == "Finished"
    assert rows_of(run) == ["1", "4", "4", "4", "4"]
    assert [listed.id for listed in PublishedPipeline.list(ws)] == [published.id]

    body = {"ExperimentName": "by-rest", "ParameterAssignments": {"mini_batch_size": "5"}}
    answer = requests.post(published.endpoint, headers=ws._auth.get_authentication_header(), json=body, timeout=60)
    by_rest = PipelineRun.get(ws, answer.json()["Id"])
    assert finish_azure(by_rest) == "Finished"
    assert rows_of(by_rest, "by-rest") == ["5"] * 5

    published.disable()
    assert PublishedPipeline.list(ws) == []
    assert [listed.status for listed in PublishedPipeline.list(ws, active_only=False)] == ["Disabled"]
    with pytest.raises(Exception, match="Bad Request") as refused:
        submit(ws, published)
    assert "disabled" in refused.value.response.text


def test_a_pipeline_run_is_published(ws, pipeline, finish_azure):
    run = submit(ws, pipeline(COUNTING))
    finish_azure(run)
    assert run.publish_pipeline(name="of-a-run", description="", version="1").status == "Active"


def test_a_schedule_is_made_listed_disabled_enabled_and_fires(ws, azure, pipeline, finish_azure):
    from azureml.pipeline.core import PipelineRun, Schedule, ScheduleRecurrence

    published = pipeline(COUNTING).publish("scoring", description="", version="1")
    weekly = ScheduleRecurrence(frequency="Week", interval=1, week_days=["Monday"], hours=[6], minutes=[0])
    schedule = Schedule.create(ws, "weekly", published.id, "scheduled", recurrence=weekly)
    assert [(listed.id, listed.status, listed.recurrence.week_days) for listed in Schedule.list(ws)] == [
        (schedule.id, "Active", ["Monday"])
    ]
    schedule.disable()
    assert Schedule.list(ws) == []
    schedule.enable()
    assert [listed.id for listed in Schedule.get_schedules_for_pipeline_id(ws, published.id)] == [schedule.id]
    fired = azure.service.fire_schedule(schedule.id, azure.workspace)
    run = PipelineRun.get(ws, fired)
    assert finish_azure(run) == "Finished"
    assert schedule.get_last_pipeline_run().id == fired
    assert [listed.id for listed in schedule.get_pipeline_runs()] == [fired]


def test_tabular_datasets_are_scored_by_rows(ws, pipeline, finish_azure):
    from azureml.core import Dataset

    Path("table").mkdir()
    Path("table/a.csv").write_text("x,y\n1,10\n2,20\n")
    store = ws.get_default_datastore()
    Dataset.File.upload_directory("table", (store, "table"), show_progress=False)
    table = Dataset.Tabular.from_delimited_files((store, "table/*.csv")).register(ws, "table")
    assert table.to_pandas_dataframe().to_dict("list") == {"x": [1, 2], "y": [10, 20]}
    run = submit(ws, pipeline(dataset=table, script="def run(rows):\n    return rows.assign(z=rows.x + rows.y)\n", mini_batch_size="1KB"))
    assert finish_azure(run) == "Finished"
    assert rows_of(run) == ["1 10 11", "2 20 22"]

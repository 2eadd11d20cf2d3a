"""The unmodified SDK v2 on the stand-in: jobs by schedules, pipeline components, and batch endpoints of these."""

import pytest

from tests.azure.test_stand_in_v2_runs import ROWS, ended, step_of, until

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


@pytest.fixture
def wait(ml):
    def done(name):
        until(lambda: ended(ml.jobs.get(name)))
        return ml.jobs.get(name)

    return done


def test_a_schedule_is_made_listed_disabled_enabled_and_fires(ml, azure, job, wait):
    from azure.ai.ml.entities import CronTrigger, JobSchedule, RecurrencePattern, RecurrenceTrigger

    made = job(ROWS)
    for name, trigger in (
        ("nightly", CronTrigger(expression="0 3 * * *", time_zone="Central European Standard Time")),
        (
            "weekly",
            RecurrenceTrigger(frequency="week", interval=1, schedule=RecurrencePattern(hours=[3], minutes=[0], week_days=["monday"])),
        ),
    ):
        scheduled = ml.schedules.begin_create_or_update(JobSchedule(name=name, trigger=trigger, create_job=made)).result()
        assert (scheduled.name, scheduled.is_enabled, scheduled.provisioning_state) == (name, True, "Succeeded")
    fired = wait(azure.service.fire_schedule("nightly", azure.workspace))
    assert (fired.status, fired.display_name) == ("Completed", "scoring")
    assert [listed.name for listed in ml.jobs.list(scheduled_job_name="nightly")] == [fired.name]
    assert wait(ml.schedules.trigger("weekly").job_name).status == "Completed"
    assert ml.schedules.begin_disable("nightly").result().is_enabled is False
    assert [schedule.name for schedule in ml.schedules.list()] == ["weekly"]
    with pytest.raises(Exception, match="must be disabled"):
        ml.schedules.begin_delete("weekly").result()
    ml.schedules.begin_delete("nightly").result()
    assert ml.schedules.begin_enable("weekly").result().is_enabled


SIZES = "def run(mini_batch):\n    return [str(len(mini_batch))] * len(mini_batch)\n"


@pytest.fixture
def component(ml, inputs, parallel):
    """A registered pipeline component of one parallel step, whose error_threshold is a parameter."""
    from azure.ai.ml import Input, dsl

    step = parallel(SIZES)

    @dsl.pipeline(name="scoring")
    def scoring(rows: Input(type="uri_folder"), allowed: int = 5):
        scored = step(rows=rows)
        scored.name = "score"
        scored.error_threshold = allowed
        return {"inferences": scored.outputs.inferences}

    return ml.components.create_or_update(scoring(rows=Input(type="uri_folder", path=inputs[0].id)).component, version="1")


def test_a_component_of_a_pipeline_is_called_in_a_job(ml, component, inputs, wait):
    from azure.ai.ml import Input, dsl

    @dsl.pipeline(default_compute="cpu-cluster")
    def outer():
        component(rows=Input(type="uri_folder", path=inputs[0].id))

    made = ml.jobs.create_or_update(outer())
    assert wait(made.name).status == "Completed"
    (pipeline,) = ml.jobs.list(parent_job_name=made.name)
    assert [step.display_name for step in ml.jobs.list(parent_job_name=pipeline.name)] == ["score"]


def test_a_batch_endpoint_starts_a_job_of_its_component(ml, component, inputs, wait):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import BatchEndpoint, PipelineComponentBatchDeployment

    endpoint = ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="nightly")).result()
    assert endpoint.scoring_uri == "https://nightly.westeurope.inference.ml.azure.com/jobs"
    deployment = PipelineComponentBatchDeployment(
        name="first", endpoint_name="nightly", component=component, settings={"default_compute": "cpu-cluster"}
    )
    ml.batch_deployments.begin_create_or_update(deployment).result()
    endpoint.defaults = {"deployment_name": "first"}
    ml.batch_endpoints.begin_create_or_update(endpoint).result()
    assert [listed.name for listed in ml.batch_endpoints.list()] == ["nightly"]
    assert [listed.name for listed in ml.batch_deployments.list("nightly")] == ["first"]
    given = {"rows": Input(type="uri_folder", path=inputs[0].path), "allowed": Input(type="integer", default=7)}
    started = ml.batch_endpoints.invoke("nightly", inputs=given)
    made = wait(started.name)
    assert (made.status, made.tags["azureml.endpointname"], made.tags["azureml.deploymentname"]) == ("Completed", "nightly", "first")
    assert (step_of(ml, made).display_name, made.inputs["allowed"]._data) == ("score", "7")
    assert [listed.name for listed in ml.batch_endpoints.list_jobs("nightly")] == [started.name]
    ml.batch_deployments.begin_delete("first", "nightly").result()
    ml.batch_endpoints.begin_delete("nightly").result()
    assert list(ml.batch_endpoints.list()) == []

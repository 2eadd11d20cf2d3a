"""`sdk.Pipelines` by PipelineRun, PublishedPipeline and Schedule of azureml.pipeline.core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.azure.run_plan import RunPlan
from services.azure.sdk_v1.jobs import sdk_run
from services.azure.sdk_v1.session import Part
from services.domain import RunRequest
from services.errors import StudioError
from services.remote import PublishedPipeline, Recurrence, Schedule, describe_recurrence, times_of_day


class Pipelines(Part):
    reads_jobs = False

    def request_of(self, job_id: str) -> RunRequest:
        """The SDK does not read the settings of a step back."""
        text = f"What the pipeline run {job_id} scores is not known by SDK v1."
        raise StudioError(text, "Azure ML studio shows its output; by SDK v2 that of a job of SDK v2 is opened here.")

    def publish(self, plan: RunPlan, job_id: str, name: str, description: str) -> PublishedPipeline:
        run = sdk_run(self._session.client, plan.experiment, job_id)
        return _published(run.publish_pipeline(name=name, description=description, version="1.0"))

    def published(self) -> list[PublishedPipeline]:
        from azureml.pipeline.core import PublishedPipeline as SdkPublishedPipeline

        return [_published(pipeline) for pipeline in SdkPublishedPipeline.list(self._session.client, active_only=False)]

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        from azureml.pipeline.core import PublishedPipeline as SdkPublishedPipeline

        pipeline = SdkPublishedPipeline.get(self._session.client, pipeline_id)
        pipeline.enable() if active else pipeline.disable()

    def schedules(self) -> list[Schedule]:
        from azureml.pipeline.core import Schedule as SdkSchedule

        return [_schedule(schedule) for schedule in SdkSchedule.list(self._session.client, active_only=False)]

    def schedule(self, pipeline_id: str, name: str, experiment: str, recurrence: Recurrence, parameters: Mapping[str, Any]) -> Schedule:
        from azureml.pipeline.core import Schedule as SdkSchedule
        from azureml.pipeline.core import ScheduleRecurrence

        timed = {"time_of_day": recurrence.time_of_day} if recurrence.time_of_day else {}
        days = {"week_days": list(recurrence.week_days)} if recurrence.week_days else {}
        schedule = SdkSchedule.create(
            self._session.client,
            name=name,
            pipeline_id=pipeline_id,
            experiment_name=experiment,
            recurrence=ScheduleRecurrence(frequency=recurrence.frequency.value, interval=recurrence.interval, **timed, **days),
            pipeline_parameters=dict(parameters),
        )
        return _schedule(schedule)

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        from azureml.pipeline.core import Schedule as SdkSchedule

        schedule = SdkSchedule.get(self._session.client, schedule_id)
        schedule.enable() if active else schedule.disable()


def _published(pipeline: Any) -> PublishedPipeline:
    return PublishedPipeline(
        id=pipeline.id,
        name=pipeline.name or "",
        description=pipeline.description or "",
        version=pipeline.version or "",
        active=pipeline.status == "Active",
        endpoint=pipeline.endpoint or "",
    )


def _schedule(schedule: Any) -> Schedule:
    recurrence = _describe(schedule.recurrence)
    return Schedule(schedule.id, schedule.name or "", schedule.pipeline_id or "", recurrence, schedule.status == "Active")


def _describe(recurrence: Any) -> str:
    """A recurrence of the SDK, also one that this program would not make. It has only those attributes that the service sent."""
    if recurrence is None:
        return "when its datastore changes"
    values = vars(recurrence)
    times = times_of_day(values.get("hours") or (), values.get("minutes") or ()) or [*filter(None, [values.get("time_of_day")])]
    return describe_recurrence(str(values["frequency"]), int(values["interval"]), values.get("week_days") or (), times)

"""`sdk.Pipelines`: a published pipeline is a pipeline component behind a batch endpoint, whose inputs are the settings that may be changed.

What one does is one step of a job: submitted by name here, by a POST to its address by others, and by the clock where it has a schedule.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from services.azure.run_history import History
from services.azure.run_plan import RunPlan
from services.azure.sdk_v2.jobs import Jobs, component_name, default_deployment
from services.azure.sdk_v2.session import Session, checked, word
from services.domain import RunRequest
from services.parallel_job import component_document, request_of
from services.remote import SERVERLESS, PublishedPipeline, Recurrence, Schedule, describe_recurrence, times_of_day

_DEPLOYMENT = "default"
_PIPELINE_TAG = "batch_scoring_pipeline"
"""The tag of a schedule that holds the name of the endpoint whose pipeline it runs."""


class Pipelines:
    reads_jobs = True

    def __init__(self, session: Session, jobs: Jobs, history: History) -> None:
        self._session, self._jobs, self._history = session, jobs, history

    def request_of(self, job_id: str) -> RunRequest:
        return request_of(checked(job_id, "job"), self._history.job(job_id))

    # ---- published pipelines -------------------------------------------------------------------------------------------------------

    def publish(self, plan: RunPlan, job_id: str, name: str, description: str) -> PublishedPipeline:
        """Names of endpoints are the region's, not the workspace's."""
        client, endpoint_name = self._session.client, _name(name, self._session.connection.location, job_id)
        from azure.ai.ml import load_component
        from azure.ai.ml.entities import BatchEndpoint, PipelineComponentBatchDeployment

        with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
            job = self._jobs.document(plan, Path(folder))
            document = component_document(job, plan.request, component_name(endpoint_name), tabular=plan.tabular)
            component = client.components.create_or_update(load_component(io.StringIO(yaml.safe_dump(document))))
        compute = plan.request.compute_target or SERVERLESS
        endpoint = BatchEndpoint(name=endpoint_name, description=description, tags={"name": name, "compute": compute})
        client.batch_endpoints.begin_create_or_update(endpoint).result()
        deployment = PipelineComponentBatchDeployment(
            name=_DEPLOYMENT, endpoint_name=endpoint_name, component=component, settings={"default_compute": compute}
        )
        client.batch_deployments.begin_create_or_update(deployment).result()
        return _published(self._set_default(endpoint_name, _DEPLOYMENT))

    def published(self) -> list[PublishedPipeline]:
        return [_published(endpoint) for endpoint in self._session.client.batch_endpoints.list()]

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        deployments = self._session.client.batch_deployments.list(checked(pipeline_id, "pipeline")) if active else ()
        self._set_default(pipeline_id, next((str(one.name) for one in deployments), ""))

    def _set_default(self, endpoint_name: str, deployment: str) -> Any:
        endpoints = self._session.client.batch_endpoints
        endpoint = endpoints.get(checked(endpoint_name, "pipeline"))
        endpoint.defaults = {"deployment_name": deployment}
        return endpoints.begin_create_or_update(endpoint).result()

    # ---- schedules -----------------------------------------------------------------------------------------------------------------

    def schedules(self) -> list[Schedule]:
        return [_schedule(schedule) for schedule in self._session.client.schedules.list(list_view_type="All")]

    def schedule(self, pipeline_id: str, name: str, experiment: str, recurrence: Recurrence, parameters: Mapping[str, Any]) -> Schedule:
        """The job is copied into it: a pipeline that is disabled later is run on."""
        client = self._session.client
        from azure.ai.ml.entities import JobSchedule

        job = self._jobs.of_published(pipeline_id, parameters, "", display_name=name, experiment_name=experiment)
        made = JobSchedule(
            name=_name(name, pipeline_id, str(recurrence), json.dumps(parameters)),
            display_name=name,
            trigger=_trigger(recurrence),
            create_job=job,
            tags={_PIPELINE_TAG: pipeline_id},
        )
        return _schedule(client.schedules.begin_create_or_update(made).result())

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        schedules = self._session.client.schedules
        change = schedules.begin_enable if active else schedules.begin_disable
        change(checked(schedule_id, "schedule")).result()


def _name(text: str, *distinction: str) -> str:
    """What begins like the text, and is a name for the service: at most 32 characters. The same for the same values."""
    stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:20].rstrip("-")
    return f"{stem if stem[:1].isalpha() else 'p' + stem}-{hashlib.sha256(repr((text, *distinction)).encode()).hexdigest()[:8]}"


def _published(endpoint: Any) -> PublishedPipeline:
    return PublishedPipeline(
        id=str(endpoint.name),
        name=(endpoint.tags or {}).get("name") or str(endpoint.name),
        description=endpoint.description or "",
        version="",
        active=bool(default_deployment(endpoint)),
        endpoint=endpoint.scoring_uri or "",
    )


def _trigger(recurrence: Recurrence) -> Any:
    """In words of RecurrenceTrigger; of one by the hour or minute, it is only how often."""
    from azure.ai.ml.entities import RecurrencePattern, RecurrenceTrigger

    hour, _, minute = recurrence.time_of_day.partition(":")
    pattern = None
    if recurrence.time_of_day or recurrence.week_days:
        days = [day.lower() for day in recurrence.week_days] or None
        pattern = RecurrencePattern(hours=[int(hour or 0)], minutes=[int(minute or 0)], week_days=days)
    return RecurrenceTrigger(frequency=recurrence.frequency.value.lower(), interval=recurrence.interval, schedule=pattern)


def _schedule(schedule: Any) -> Schedule:
    """Also one that this program would not make."""
    trigger, pipeline_id = schedule.trigger, (schedule.tags or {}).get(_PIPELINE_TAG, "")
    if expression := getattr(trigger, "expression", ""):
        recurrence = f"cron {expression} {trigger.time_zone}"
    else:
        days = [word(day) for day in trigger.schedule.week_days or ()]
        times = times_of_day(trigger.schedule.hours or (), trigger.schedule.minutes or ())
        recurrence = describe_recurrence(word(trigger.frequency), int(trigger.interval), days, times, word(trigger.time_zone))
    return Schedule(str(schedule.name), schedule.display_name or str(schedule.name), pipeline_id, recurrence, bool(schedule.is_enabled))

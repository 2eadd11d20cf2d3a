"""Pipeline runs that are there, pipelines published as endpoints, schedules: `services.workspace.PipelineService` by SDK v1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from services.azure.auth.sdk_errors import moment, run_status
from services.azure.auth.session import Session
from services.azure.runs import pipeline
from services.azure.runs.azure_runs import AzureRuns, again
from services.azure.runs.run_folder import EXPERIMENT, RunPlan
from services.domain import PipelineRun, PublishedPipeline, Recurrence, Run, RunStatus, Schedule
from services.errors import NotFound, SettingsError, StudioError
from services.formats import counted
from services.settings import PIPELINE_PARAMETERS
from services.storage.atomic import write_atomically
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.serialization import from_json, to_json

_PIPELINE_RUN = "azureml.PipelineRun"


class Publishing:
    """The pipelines of one workspace. What a pipeline was published from is kept in `home`, since its graph does not tell it."""

    def __init__(self, home: Path, session: Session, runs: AzureRuns) -> None:
        self._kept = home / "published"
        self._session = session
        self._runs = runs

    # ---- pipeline runs --------------------------------------------------------------------------------------------------------

    def of(self, run_id: str) -> PipelineRun | None:
        return self._runs.pipeline_run(run_id)

    def experiments(self) -> list[str]:
        with self._session.asking("The experiments can't be listed") as workspace:
            from azureml.core import Experiment

            names = [str(experiment.name) for experiment in Experiment.list(workspace)]
        return sorted(names, key=lambda name: (name != EXPERIMENT, name.lower()))

    def history(self, experiment: str, limit: int = 100) -> list[PipelineRun]:
        with self._session.asking(f"The runs of experiment {experiment} can't be listed") as workspace:
            from azureml.core import Experiment
            from azureml.core.run import Run as SdkRun

            known = Experiment(workspace, experiment, _create_in_cloud=False)
            # Not as PipelineRun objects, each of which asks the service twice when it is made.
            found = SdkRun.list(known, type=_PIPELINE_RUN, _rehydrate_runs=False)
            seen = (self._as_known_here(_seen(run, experiment)) for run in found)
            return list(islice((each for each in seen if not self._is_twin(each)), limit))

    def _as_known_here(self, seen: PipelineRun) -> PipelineRun:
        """Without the id of a run that was submitted from another home: there is nothing here to open by it."""
        try:
            self._runs.pipeline_run(seen.run_id)
        except NotFound:
            return replace(seen, run_id="")
        return seen

    def _is_twin(self, seen: PipelineRun) -> bool:
        """Whether it was made for a run of ours that another pipeline run carries: the answer that told its id was lost, and nothing will
        ever start it."""
        if not seen.run_id or seen.status is not RunStatus.NOT_STARTED:
            return False
        known = self._runs.pipeline_run(seen.run_id)
        return known is not None and known.id != seen.id

    # ---- published pipelines --------------------------------------------------------------------------------------------------

    def publish(self, run_id: str, name: str, description: str = "") -> PublishedPipeline:
        if not name.strip():
            raise SettingsError("name", "the pipeline has no name", "Give it one, such as “nightly digits”.")
        plan, known = self._runs.plan(run_id), self._runs.pipeline_run(run_id)
        if known is None:
            raise StudioError(f"Run {run_id} is not in Azure ML yet: there is nothing to publish.", "Wait until it is queued.")
        with self._session.asking(f"The pipeline of run {run_id} can't be published", "name") as workspace:
            from azureml.core import Experiment
            from azureml.pipeline.core import PipelineRun as SdkPipelineRun

            its = SdkPipelineRun(Experiment(workspace, known.experiment), known.id)
            made = its.publish_pipeline(name=name.strip(), description=description, version="1.0")
        self._keep(made.id, plan)
        return self._published(made)

    def published(self) -> list[PublishedPipeline]:
        with self._session.asking("The published pipelines can't be listed") as workspace:
            from azureml.pipeline.core import PublishedPipeline as SdkPublishedPipeline

            found = SdkPublishedPipeline.list(workspace, active_only=False)
        return sorted((self._published(each) for each in found), key=lambda each: (not each.active, each.name.lower()))

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        with self._session.asking(f"The published pipeline {pipeline_id} can't be changed") as workspace:
            from azureml.pipeline.core import PublishedPipeline as SdkPublishedPipeline

            its = SdkPublishedPipeline.get(workspace, pipeline_id)
            its.enable() if active else its.disable()

    def submit(self, pipeline_id: str, parameters: Mapping[str, str], *, name: str = "", submission_id: str = "") -> Run:
        plan = self._plan(pipeline_id)
        given = {key: str(value) for key, value in parameters.items() if str(value).strip()}
        request = replace(again(plan.request, given), name=name or plan.request.name, submission_id=submission_id)
        plan = replace(plan, request=request, published_id=pipeline_id, parameters=_as_sent(given))
        return self._runs.submit(plan, _cut(plan))

    # ---- schedules ------------------------------------------------------------------------------------------------------------

    def schedules(self) -> list[Schedule]:
        with self._session.asking("The schedules can't be listed") as workspace:
            from azureml.pipeline.core import Schedule as SdkSchedule

            found = [_schedule(each) for each in SdkSchedule.list(workspace, active_only=False)]
        return sorted(found, key=lambda each: (not each.active, each.name.lower()))

    def schedule(self, pipeline_id: str, name: str, recurrence: Recurrence, parameters: Mapping[str, str]) -> Schedule:
        given = {key: str(value) for key, value in parameters.items() if str(value).strip()}
        plan = self._plan(pipeline_id) if given or self._path(pipeline_id).exists() else None
        if plan:
            again(plan.request, given)
        with self._session.asking(f"The schedule {name} can't be made", "name") as workspace:
            from azureml.pipeline.core import Schedule as SdkSchedule
            from azureml.pipeline.core import ScheduleRecurrence

            timed = {"time_of_day": recurrence.time_of_day} if recurrence.time_of_day else {}
            days = {"week_days": list(recurrence.week_days)} if recurrence.week_days else {}
            made = SdkSchedule.create(
                workspace,
                name=name.strip() or f"pipeline {pipeline_id}",
                pipeline_id=pipeline_id,
                experiment_name=plan.experiment if plan else EXPERIMENT,
                recurrence=ScheduleRecurrence(frequency=recurrence.frequency.value, interval=recurrence.interval, **timed, **days),
                pipeline_parameters=_as_sent(given),
            )
            return _schedule(made)

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        with self._session.asking(f"The schedule {schedule_id} can't be changed") as workspace:
            from azureml.pipeline.core import Schedule as SdkSchedule

            its = SdkSchedule.get(workspace, schedule_id)
            its.enable() if active else its.disable()

    # ---- what was published ---------------------------------------------------------------------------------------------------

    def _path(self, pipeline_id: str) -> Path:
        if not pipeline_id.replace("-", "").isalnum():  # it becomes a file's name
            raise NotFound(f"There is no published pipeline “{pipeline_id}”.", "The list shows what there is.")
        return self._kept / f"{pipeline_id}.json"

    def _keep(self, pipeline_id: str, plan: RunPlan) -> None:
        self._kept.mkdir(exist_ok=True)
        write_atomically(self._path(pipeline_id), to_json(plan, indent=1))

    def _plan(self, pipeline_id: str) -> RunPlan:
        try:
            return from_json(self._path(pipeline_id).read_bytes(), RunPlan)
        except (OSError, ValueError, TypeError, KeyError) as error:
            text = f"Pipeline {pipeline_id} was not published from here: which files it reads isn't known."
            raise StudioError(text, "Run it in Azure ML studio; the run is then listed among the pipeline runs.") from error

    def _published(self, its: Any) -> PublishedPipeline:
        defaults = None
        if self._path(its.id).exists():
            plan = self._plan(its.id)
            values = plan.request.settings.as_dict() | {"mini_batch_size": pipeline.mini_batch_size(plan)}
            defaults = {name: _text(values[name]) for name in PIPELINE_PARAMETERS if values.get(name) is not None}
        return PublishedPipeline(
            its.id, its.name or "", its.description or "", its.version or "", its.status == "Active", its.endpoint or "", defaults
        )


def _cut(plan: RunPlan) -> MiniBatchPlan:
    """As far as it is known without asking: of several datasets as if they were one."""
    if plan.tabular or plan.request.settings.partition_keys:
        return MiniBatchPlan("row" if plan.tabular else "file", plan.item_count, None, estimated=True)
    return MiniBatchPlan.of_files([plan.item_count or 0], plan.request.settings.units_in_a_mini_batch(tabular=False))


def _as_sent(parameters: Mapping[str, str]) -> dict[str, str]:
    """The values as the pipeline's parameters have them: partition keys are a JSON list there."""
    return {name: json.dumps(value.replace(",", " ").split()) if name == "partition_keys" else value for name, value in parameters.items()}


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _seen(run: Any, experiment: str) -> PipelineRun:
    """A run of the history, of what came with the list."""
    told, tags = run._run_dto, run.tags or {}
    return PipelineRun(
        id=run.id,
        experiment=experiment,
        status=run_status(run.status),
        title=run.display_name or run.description or "",
        studio_url=run.get_portal_url(),
        created_at=moment(told.get("created_utc")),
        ended_at=moment(told.get("end_time_utc")),
        run_id=tags.get(pipeline.RUN_TAG, ""),
    )


def _schedule(its: Any) -> Schedule:
    return Schedule(its.id, its.name or "", its.pipeline_id or "", _describe(its.recurrence), its.status == "Active")


def _describe(recurrence: Any) -> str:
    """A recurrence of the SDK, also one that this program would not make. Its attributes are there where they were told."""
    if recurrence is None:
        return "when its datastore changes"
    told = vars(recurrence)
    unit = str(told["frequency"]).lower()
    words = f"every {unit}" if told["interval"] == 1 else f"every {counted(int(told['interval']), unit)}"
    if told.get("week_days"):
        words += f" on {', '.join(told['week_days'])}"
    if told.get("hours"):
        times = [f"{int(hour):02}:{int(minute):02}" for hour in told["hours"] for minute in told.get("minutes") or [0]]
        return f"{words} at {', '.join(times)} UTC"
    return f"{words} at {told['time_of_day']} UTC" if told.get("time_of_day") else words

"""Pipeline runs, pipelines published as endpoints, schedules: `services.workspace.PipelineService`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from services.azure.run_plan import RunPlan
from services.azure.runs.azure_runs import AzureRuns
from services.azure.sdk import Sdk
from services.domain import EXPERIMENT, ResourceKind, Run, RunRequest, RunStatus
from services.errors import NotFound, SettingsError, StudioError
from services.file_names import short
from services.remote import PipelineRun, PublishedPipeline, Recurrence, Schedule
from services.settings import PIPELINE_PARAMETERS
from services.storage.atomic import write_atomically
from services.storage.mini_batch_plan import MiniBatchPlan
from services.storage.serialization import from_json, to_json


class AzurePipelines:
    """`services.workspace.PipelineService`. All methods that call the service raise as `Session.sdk_calls`.

    The plan that a pipeline was published from is kept in `home`: the service does not store it.
    """

    def __init__(
        self,
        home: Path,
        sdk: Sdk,
        runs: AzureRuns,
        warnings_of: Callable[[RunRequest], Sequence[str]],
        plan_of: Callable[[RunRequest], tuple[RunPlan, MiniBatchPlan]],
    ) -> None:
        """`warnings_of` are those of a request that goes to the service again, as things are there now; `plan_of` says what a request
        reads."""
        self._plan_of = plan_of
        self._folder = home / "published"
        self._warnings_of = warnings_of
        self._sdk, self._runs = sdk, runs
        self.can_follow = sdk.pipelines.reads_jobs
        self._sdk_calls = sdk.session.sdk_calls

    # ---- pipeline runs --------------------------------------------------------------------------------------------------------

    def of(self, run_id: str) -> PipelineRun | None:
        return self._runs.folder(run_id).pipeline_run()

    def experiments(self) -> list[str]:
        with self._sdk.session.sdk_calls("The experiments can't be listed"):
            return sorted(self._sdk.history.experiments(), key=lambda name: (name != EXPERIMENT, name.lower()))

    def history(self, experiment: str, limit: int = 100) -> list[PipelineRun]:
        with self._sdk_calls(f"The runs of experiment {experiment} can't be listed"):
            here = self._runs.following()
            runs = (self._as_known(run, here) for run in self._sdk.history.pipelines(experiment))
            return list(islice(filter(None, runs), limit))

    def follow(self, experiment: str, job_id: str) -> Run:
        with self._sdk_calls(f"The job {job_id} can't be read"):
            request = self._sdk.pipelines.request_of(job_id)
        plan, mini_batches = self._plan_of(request)
        return self._runs.submit(replace(plan, experiment=experiment), mini_batches, job_id=job_id)

    def whose(self, run_id: str) -> str:
        run, known = self._runs.get(run_id), self.of(run_id)
        if not run.request.followed_job:
            return ""
        by = (known and known.submitted_by) or "somebody else"
        return f"The job {run.request.followed_job} was submitted by {by}, not by this program. Canceled here, it ends for everybody."

    def _as_known(self, run: PipelineRun, here: Mapping[str, str]) -> PipelineRun | None:
        """With the id of the run here that it is, or that follows it: not of one that was submitted from another home, which can't be
        opened. None for one that was created for a run here that has another: the answer with its id was lost, and it never starts."""
        run_id = here.get(run.id, run.run_id)
        try:
            known = self.of(run_id)
        except NotFound:
            return replace(run, run_id="")
        lost = run.status == RunStatus.NOT_STARTED and known is not None and known.id != run.id
        return None if lost else replace(run, run_id=run_id)

    # ---- published pipelines --------------------------------------------------------------------------------------------------

    def publish(self, run_id: str, name: str, description: str = "") -> PublishedPipeline:
        if not name.strip():
            raise SettingsError("name", "the pipeline has no name", "Give it one, such as “nightly digits”.")
        plan, known = self._runs.folder(run_id).plan(), self.of(run_id)
        if known is None:
            raise StudioError(f"Run {run_id} is not in Azure ML yet: there is nothing to publish.", "Wait until it is queued.")
        with self._sdk_calls(f"The pipeline {name.strip()} can't be published", "name"):
            published = self._sdk.pipelines.publish(plan, known.id, name.strip(), description)
        self._folder.mkdir(exist_ok=True)
        write_atomically(self._path(published.id), to_json(plan, indent=1))
        return self._with_defaults(published)

    def published(self) -> list[PublishedPipeline]:
        with self._sdk_calls("The published pipelines can't be listed"):
            pipelines = self._sdk.pipelines.published()
        return sorted(map(self._with_defaults, pipelines), key=lambda pipeline: (not pipeline.active, pipeline.name.lower()))

    def set_published(self, pipeline_id: str, *, active: bool) -> None:
        with self._sdk_calls(f"The published pipeline {pipeline_id} can't be changed"):
            self._sdk.pipelines.set_published(pipeline_id, active=active)

    def submit(self, pipeline_id: str, parameters: Mapping[str, str], *, name: str = "", submission_id: str = "") -> Run:
        plan = self._plan(pipeline_id)
        given = _without_blank(parameters)
        request = replace(_with_parameters(plan.request, given), name=name or plan.request.name, submission_id=submission_id)
        plan = replace(plan, request=request, published_id=pipeline_id, parameters=_for_azure(given))
        return self._runs.submit(plan, _cut(plan), self._warnings_of(request))

    # ---- schedules ------------------------------------------------------------------------------------------------------------

    def schedules(self) -> list[Schedule]:
        with self._sdk_calls("The schedules can't be listed"):
            schedules = self._sdk.pipelines.schedules()
        return sorted(schedules, key=lambda schedule: (not schedule.active, schedule.name.lower()))

    def schedule(self, pipeline_id: str, name: str, recurrence: Recurrence, parameters: Mapping[str, str]) -> Schedule:
        given = _without_blank(parameters)
        plan = self._plan(pipeline_id) if given or self._path(pipeline_id).exists() else None
        if plan:
            _with_parameters(plan.request, given)
        experiment = plan.experiment if plan else EXPERIMENT
        name = name.strip() or f"pipeline {pipeline_id}"
        with self._sdk_calls(f"The schedule {name} can't be made", "name"):
            return self._sdk.pipelines.schedule(pipeline_id, name, experiment, recurrence, _for_azure(given))

    def set_schedule(self, schedule_id: str, *, active: bool) -> None:
        with self._sdk_calls(f"The schedule {schedule_id} can't be changed"):
            self._sdk.pipelines.set_schedule(schedule_id, active=active)

    # ---- the plans of published pipelines -----------------------------------------------------------------------------------

    def _path(self, pipeline_id: str) -> Path:
        if not pipeline_id.replace("-", "").isalnum():  # it becomes a file's name
            raise NotFound(f"There is no published pipeline “{pipeline_id}”.", "The list shows what there is.")
        return self._folder / f"{pipeline_id}.json"

    def _plan(self, pipeline_id: str) -> RunPlan:
        try:
            return from_json(self._path(pipeline_id).read_bytes(), RunPlan)
        except (OSError, ValueError, TypeError, KeyError) as error:
            text = f"Pipeline {pipeline_id} was not published from this home, so its input files are not known."
            raise StudioError(text, "Run it in Azure ML studio; the run is then listed among the pipeline runs.") from error

    def _with_defaults(self, published: PublishedPipeline) -> PublishedPipeline:
        """With the values that its parameters have, where it was published from this home."""
        if not self._path(published.id).exists():
            return published
        plan = self._plan(published.id)
        values = plan.request.settings.resolved(tabular=plan.tabular).as_dict()
        return replace(published, defaults={name: _text(values[name]) for name in PIPELINE_PARAMETERS if values.get(name) is not None})


def published_naming(home: Path, kind: ResourceKind, references: Collection[str]) -> list[str]:
    """The pipelines published from this home that name one of these models or datasets, each by its title and id; without asking the
    service, so also those that are disabled."""
    found = []
    for path in sorted((home / "published").glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):  # one that can't be read can't be run from here either
            request = from_json(path.read_bytes(), RunPlan).request
            named = request.models if kind is ResourceKind.MODEL else (*request.datasets, *request.side_inputs.values())
            if not set(references).isdisjoint(named):
                found.append(f"“{short(request.title())}” ({path.stem})")
    return found


def _cut(plan: RunPlan) -> MiniBatchPlan:
    """The estimate without asking the service: several datasets count as one."""
    if plan.tabular or plan.request.settings.partition_keys:
        return MiniBatchPlan("row" if plan.tabular else "file", plan.item_count, None, estimated=True)
    return MiniBatchPlan.of_files([plan.item_count or 0], plan.request.settings.units_in_a_mini_batch(tabular=False))


def _with_parameters(request: RunRequest, parameters: dict[str, str]) -> RunRequest:
    """A published pipeline's request with other values of its parameters. Raises SettingsError."""
    if unknown := sorted(set(parameters) - set(PIPELINE_PARAMETERS)):
        text = f"“{unknown[0]}” is not a parameter of the pipeline"
        raise SettingsError(unknown[0], text, f"Its parameters are {', '.join(PIPELINE_PARAMETERS)}.")
    given = request.settings.as_dict() | parameters
    return replace(
        request, settings=type(request.settings).from_dict(given), submission_id="", rerun_of=None, failed_only=False, new_only=False
    )


def _without_blank(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if str(value).strip()}


def _for_azure(parameters: Mapping[str, str]) -> dict[str, str]:
    """The values as the pipeline's parameters take them: partition keys are a JSON list there."""
    return {name: json.dumps(value.replace(",", " ").split()) if name == "partition_keys" else value for name, value in parameters.items()}


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)

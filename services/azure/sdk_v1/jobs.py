"""`sdk.Jobs` by ParallelRunStep and PipelineRun. Only a runner builds one, since ParallelRunStep puts the scoring script's folder at the
front of `sys.path`.

It is submitted in two steps, and the id is stored between them: `Experiment.submit` creates and starts a pipeline run in one call, so where
its answer is lost nobody knows what was started. The two are the SDK's own (`Graph.submit` and `_AevaGraphProvider.submit` of
azureml-pipeline-core 1.62, the last version).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.catalog.datasets import azure_partition_format
from services.azure.run_plan import OUTPUT, RUN_TAG, STEP, FailedFiles, RunPlan, description_of, source_of
from services.azure.sdk import Output
from services.azure.sdk_v1.datasets import Datasets, container_of
from services.azure.sdk_v1.environments import Environments
from services.azure.sdk_v1.session import Session
from services.domain import parse_reference
from services.errors import StudioError
from services.remote import PipelineRun
from services.settings import PIPELINE_PARAMETERS

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.pipeline.core import Pipeline

OUTPUT_FOLDER = "results"
"""The output's folder on a node, as in Microsoft's tutorial. A mounted output needs none; the service notes it."""


class Jobs:
    several_datasets = True

    def __init__(self, session: Session, datasets: Datasets, environments: Environments) -> None:
        self._session, self._datasets, self._environments = session, datasets, environments

    def starts_at_once(self, plan: RunPlan) -> bool:
        """A run of a published pipeline: creating and starting are one call."""
        return bool(plan.published_id)

    def find(self, plan: RunPlan, run_id: str) -> str | None:
        runs = _calls_of(self._session.client).get_pipeline_runs_by_pipeline_id_async(plan.published_id)
        return next((str(run.id) for run in runs if run_id in ((run.properties or {}).get(RUN_TAG), (run.tags or {}).get(RUN_TAG))), None)

    def build(self, plan: RunPlan, snapshot: Path) -> Pipeline | None:
        """The pipeline of one ParallelRunStep; None of a published one. Raises StudioError for what the SDK's `validate` reports."""
        from azureml.pipeline.core import Pipeline, PipelineData
        from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

        workspace, request = self._session.client, plan.request
        if plan.published_id:
            return None
        source, entry_script = source_of(request, snapshot)
        datasets = [self._failed_files(files) for files in plan.again] or [_dataset(workspace, one) for one in request.datasets]
        inputs = [_named_input(dataset, number) for number, dataset in enumerate(datasets)]
        side_inputs = [
            _dataset(workspace, reference, "side_inputs").as_named_input(name).as_mount() for name, reference in request.side_inputs.items()
        ]
        side_arguments = [argument for side_input in side_inputs for argument in (f"--{side_input.name}", side_input)]
        with _own_search_path():
            config = ParallelRunConfig(
                **with_parameters(request.settings.resolved(tabular=plan.tabular).as_dict()),
                environment=self._environments.of_run(request.environment, plan.requirements, plan.python),
                compute_target=workspace.compute_targets[request.compute_target],
                source_directory=str(source),
                entry_script=entry_script,
            )
            step = ParallelRunStep(
                name=STEP,
                parallel_run_config=config,
                inputs=inputs,
                side_inputs=side_inputs or None,
                output=PipelineData(OUTPUT, datastore=workspace.get_default_datastore(), output_path_on_compute=OUTPUT_FOLDER),
                arguments=[*request.model_arguments(), *side_arguments, *request.arguments],
                allow_reuse=request.allow_reuse and not request.rerun_of,
            )
            pipeline = Pipeline(workspace=workspace, steps=[step], description=description_of(request.title()))
            if problems := pipeline.validate():
                raise StudioError(f"The pipeline is not valid: {'; '.join(map(str, problems))}", "Change the settings it names.")
        return pipeline

    def _failed_files(self, files: FailedFiles) -> Any:
        """A file dataset made of explicit paths, not registered."""
        from azureml.core import Dataset

        store, root = self._datasets.source(files.root)
        paths = [(store, f"{root}/{path}") for path in files.paths]
        return Dataset.File.from_files(paths, validate=False, partition_format=azure_partition_format(files.partition_format))

    def create(self, built: Pipeline | None, plan: RunPlan, run_id: str) -> str:
        """A pipeline run that is not started yet: one that is lost does nothing. Of a published pipeline it is `PublishedPipeline.submit`
        with a property to find it by."""
        if built is None:
            return self.find(plan, run_id) or _run_published(self._session.client, plan, run_id)
        built._set_experiment_name(plan.experiment)
        with _own_search_path():
            creation = built.graph._get_pipeline_run_creation_info_with_graph(regenerate_outputs=bool(plan.request.rerun_of))
        creation.creation_info.tags = {RUN_TAG: run_id}
        calls = built.graph._context.workflow_provider._service_caller
        return str(calls.create_unsubmitted_pipeline_run_async(creation, experiment_name=plan.experiment).id)

    def start(self, job_id: str) -> None:
        calls = _calls_of(self._session.client)
        if not calls.get_pipeline_run_async(job_id).is_submitted:
            calls.submit_saved_pipeline_run_async(pipeline_run_id=job_id)

    def cancel(self, job: PipelineRun) -> None:
        run = sdk_run(self._session.client, job.experiment, job.id)
        try:
            run.cancel()
        except Exception:
            if run.get_status() not in ("Finished", "Failed", "Canceled"):
                raise

    def output(self, job: PipelineRun, step_id: str) -> Output:
        """The SDK's own download holds each file in memory, writes an empty one where it can't read it, and follows names that lead out of
        the folder."""
        steps = sdk_run(self._session.client, job.experiment, job.id).get_steps()
        reference = next(step for step in steps if step.id == step_id).get_output_data(OUTPUT)
        container = container_of(reference.datastore, self._session)
        download = None if container else partial(reference.download, overwrite=True, show_progress=False)
        return Output(container, reference.path_on_datastore or "", download)


def with_parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings; those that may be pipeline parameters as ones of the same name, a list as JSON."""
    from azureml.pipeline.core import PipelineParameter

    defaults = {
        name: json.dumps(value) if isinstance(value, list) else value for name, value in settings.items() if name in PIPELINE_PARAMETERS
    }
    return dict(settings) | {name: PipelineParameter(name, value) for name, value in defaults.items() if value is not None}


def _dataset(workspace: Workspace, reference: str, field: str = "dataset") -> Any:
    from azureml.core import Dataset

    name, version = parse_reference(reference, field)
    return Dataset.get_by_name(workspace, name, version=version or "latest")


def _named_input(dataset: Any, number: int) -> Any:
    named = dataset.as_named_input("batch_data" if number == 0 else f"batch_data_{number}")
    return named.as_mount() if hasattr(dataset, "as_mount") else named


@contextmanager
def _own_search_path() -> Iterator[None]:
    """Take the script's folder out of `sys.path` again, before anything else is imported from there by mistake."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def sdk_run(workspace: Any, experiment: str, pipeline_run_id: str) -> Any:
    from azureml.core import Experiment
    from azureml.pipeline.core import PipelineRun as SdkPipelineRun

    return SdkPipelineRun(Experiment(workspace, experiment), pipeline_run_id)


def _run_published(workspace: Workspace, plan: RunPlan, run_id: str) -> str:
    from azureml.pipeline.core._restclients.aeva.models.pipeline_submission_info import PipelineSubmissionInfo

    calls = _calls_of(workspace)
    submission = PipelineSubmissionInfo(
        experiment_name=plan.experiment,
        description=description_of(plan.request.title()),
        run_source="SDK",
        run_type="SDK",
        parameter_assignments=dict(plan.parameters),
        data_path_assignments={},
        data_set_definition_value_assignments={},
        tags={RUN_TAG: run_id},
        properties={RUN_TAG: run_id},
    )
    calls._caller.config.retry_policy.retries = 0  # a retry of the SDK would start a second run
    return str(calls.submit_pipeline_run_from_pipeline_async(plan.published_id, submission).id)


def _calls_of(workspace: Workspace) -> Any:
    from azureml.pipeline.core._aeva_provider import _AevaWorkflowProvider

    return _AevaWorkflowProvider.create_service_caller(workspace, "placeholder")

"""A run as a pipeline of the SDK: built, validated, submitted. Only a runner does this, since ParallelRunStep puts the scoring script's
folder at the front of `sys.path`.

It is submitted in two steps, and the id is stored between them: `Experiment.submit` creates and starts a pipeline run in one call, so where
its answer is lost nobody knows what was started. The two are the SDK's own (`Graph.submit` and `_AevaGraphProvider.submit` of
azureml-pipeline-core 1.62, the last version).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.azure.catalog import environments
from services.azure.run_plan import OUTPUT, RUN_TAG, STEP, RunPlan, source_of
from services.azure.runs import failed_items
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdk_v1.session import Session
from services.domain import parse_reference
from services.errors import StudioError
from services.settings import PIPELINE_PARAMETERS

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.pipeline.core import Pipeline

OUTPUT_FOLDER = "results"
"""The output's folder on a node, as in Microsoft's tutorial. A mounted output needs none; the service notes it."""


def build(session: Session, plan: RunPlan, folder: AzureRunFolder) -> Pipeline:
    """The pipeline of one ParallelRunStep. Raises StudioError for what the SDK's `validate` reports, and what the SDK raises."""
    from azureml.pipeline.core import Pipeline, PipelineData
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    workspace, request = session.client, plan.request
    source, entry_script = source_of(request, folder.source)
    if plan.again:
        datasets = [failed_items.sdk_dataset(workspace, files) for files in plan.again]
    else:
        datasets = [_dataset(workspace, reference) for reference in request.datasets]
    inputs = [_named_input(dataset, number) for number, dataset in enumerate(datasets)]
    side_inputs = [
        _dataset(workspace, reference, "side_inputs").as_named_input(name).as_mount() for name, reference in request.side_inputs.items()
    ]
    side_arguments = [argument for side_input in side_inputs for argument in (f"--{side_input.name}", side_input)]
    with _own_search_path():
        config = ParallelRunConfig(
            **with_parameters(request.settings.resolved(tabular=plan.tabular).as_dict()),
            environment=environments.sdk_environment(session, request.environment, plan.requirements, plan.python),
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


def description_of(title: str) -> str:
    """What a pipeline run is submitted with."""
    return title[:200]


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


# ---- submitting ------------------------------------------------------------------------------------------------------------------


def create_run(pipeline: Pipeline, experiment: str, tags: Mapping[str, str], *, regenerate_outputs: bool) -> str:
    """Upload what the pipeline needs and create a pipeline run that is not started yet. Returns its id. One that is lost does nothing."""
    pipeline._set_experiment_name(experiment)
    with _own_search_path():
        creation = pipeline.graph._get_pipeline_run_creation_info_with_graph(regenerate_outputs=regenerate_outputs)
    creation.creation_info.tags = dict(tags)
    return str(_calls(pipeline.graph._context).create_unsubmitted_pipeline_run_async(creation, experiment_name=experiment).id)


def start_run(workspace: Workspace, pipeline_run_id: str) -> None:
    """Start a pipeline run that was created; does nothing where it was started already."""
    calls = _calls_of(workspace)
    if not calls.get_pipeline_run_async(pipeline_run_id).is_submitted:
        calls.submit_saved_pipeline_run_async(pipeline_run_id=pipeline_run_id)


def sdk_run(workspace: Any, experiment: str, pipeline_run_id: str) -> Any:
    from azureml.core import Experiment
    from azureml.pipeline.core import PipelineRun as SdkPipelineRun

    return SdkPipelineRun(Experiment(workspace, experiment), pipeline_run_id)


def published_run(workspace: Workspace, plan: RunPlan, run_id: str) -> str | None:
    """The id of the pipeline run that this run of a published pipeline has already; None where it has none."""
    runs = _calls_of(workspace).get_pipeline_runs_by_pipeline_id_async(plan.published_id)
    return next((str(run.id) for run in runs if run_id in ((run.properties or {}).get(RUN_TAG), (run.tags or {}).get(RUN_TAG))), None)


def run_published(workspace: Workspace, plan: RunPlan, run_id: str) -> str:
    """Run a published pipeline for this run, unless it has a pipeline run already. Returns its id. It is `PublishedPipeline.submit` with a
    property to find it by: creating and starting are one call here, whose answer may be lost."""
    from azureml.pipeline.core._restclients.aeva.models.pipeline_submission_info import PipelineSubmissionInfo

    if known := published_run(workspace, plan, run_id):
        return known
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


def _calls(context: Any) -> Any:
    return context.workflow_provider._service_caller


def _calls_of(workspace: Workspace) -> Any:
    from azureml.pipeline.core._aeva_provider import _AevaWorkflowProvider

    return _AevaWorkflowProvider.create_service_caller(workspace, "placeholder")

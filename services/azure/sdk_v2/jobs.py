"""`sdk.Jobs` by pipeline jobs of one parallel step, each named by the run's own id: however often it is submitted, there is one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from services.azure.catalog.datasets import DATASTORE_PATH, azure_partition_format
from services.azure.catalog.environments import to_make
from services.azure.catalog.mltables import mltable
from services.azure.run_history import History
from services.azure.run_plan import MAX_NAME, OUTPUT, RUN_TAG, FailedFiles, RunPlan, description_of, source_of
from services.azure.sdk import Output
from services.azure.sdk_v2 import storage
from services.azure.sdk_v2.datasets import Datasets
from services.azure.sdk_v2.session import Session, checked, parsed
from services.domain import parse_reference
from services.errors import StudioError
from services.handover.azure_packages import IMAGE, V2_STEP_PACKAGES, conda_of
from services.parallel_job import Input, component_inputs, job_document, published_job
from services.remote import SERVERLESS, PipelineRun

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob


class Jobs:
    several_datasets = False

    def __init__(self, session: Session, datasets: Datasets, history: History) -> None:
        self._session, self._datasets, self._history = session, datasets, history

    def starts_at_once(self, plan: RunPlan) -> bool:
        return True

    def find(self, plan: RunPlan, run_id: str) -> str | None:
        return run_id if self._history.find(checked(run_id, "run")) else None

    def build(self, plan: RunPlan, snapshot: Path) -> PipelineJob:
        """Nothing is uploaded yet, but the list of the files where some of a dataset are scored."""
        if plan.published_id:
            title = plan.request.title()
            values = {"display_name": title[:MAX_NAME], "description": description_of(title), "experiment_name": plan.experiment}
            return self.of_published(plan.published_id, plan.parameters, plan.request.compute_target or "", **values)
        return loaded(self.document(plan, snapshot))

    def of_published(self, pipeline_id: str, parameters: Mapping[str, Any], compute: str, **values: Any) -> PipelineJob:
        """One that runs a published pipeline. Raises StudioError where it is disabled."""
        endpoint = self._session.client.batch_endpoints.get(checked(pipeline_id, "pipeline"))
        if not default_deployment(endpoint):
            raise StudioError(f"The published pipeline {pipeline_id} is disabled.", "Enable it first.")
        settings = {"default_compute": f"azureml:{compute or (endpoint.tags or {}).get('compute') or SERVERLESS}"}
        component = f"azureml:{component_name(pipeline_id)}:1"
        return loaded(published_job(component, component_inputs(parameters), settings=settings, **values))

    def document(self, plan: RunPlan, snapshot: Path) -> dict[str, Any]:
        """The job as YAML has it."""
        request = plan.request
        source, entry_script = source_of(request, snapshot)
        return job_document(
            request,
            tabular=plan.tabular,
            code=str(source.resolve()),
            entry_script=entry_script,
            environment=self._environment(plan),
            data=self._failed_files(plan.again[0]) if plan.again else self._data(request.datasets[0], tabular=plan.tabular),
            side_inputs={name: self._data(reference, tabular=False) for name, reference in request.side_inputs.items()},
            experiment_name=plan.experiment,
            description=description_of(request.title()),
        )

    def _environment(self, plan: RunPlan) -> str | dict[str, Any]:
        """The registered one that the request names, else one that is made of packages."""
        reference = plan.request.environment
        if not reference:
            made = to_make(plan.requirements, plan.python, V2_STEP_PACKAGES)
            return {"image": IMAGE, "conda_file": conda_of(made.python, made.requirements)}
        name, number = parse_reference(reference, "environment")
        return f"azureml:{checked(name, 'environment')}{f':{number}' if number else '@latest'}"

    def _data(self, reference: str, *, tabular: bool) -> Input:
        """A registered dataset: rows as they are read, else files, mounted."""
        name, version = parsed(reference, "dataset")
        kind = str(self._session.client.data.get(name, version).type)
        mode = "direct" if tabular else "eval_mount" if kind == "mltable" else "ro_mount"
        return {"type": kind, "path": f"azureml:{name}:{version}", "mode": mode}

    def _failed_files(self, files: FailedFiles) -> Input:
        """Just these, listed by an MLTable file, which is uploaded to a folder named by its content."""
        root = self._datasets.long_form(files.root)
        paths = [{"file": f"{root}/{path}"} for path in files.paths]
        table = mltable(paths, partition_format=azure_partition_format(files.partition_format))
        return {"type": "mltable", "path": self._datasets.write_mltable("reruns", table), "mode": "eval_mount"}

    def create(self, built: PipelineJob, plan: RunPlan, run_id: str) -> str:
        """The service refuses another job of the same name, and may refuse the same one again: then it is there."""
        if not self.find(plan, run_id):
            built.name, built.tags = checked(run_id, "run"), {RUN_TAG: run_id}
            try:
                with redirect_stderr(io.StringIO()):  # where it shows the progress of its upload
                    self._session.client.jobs.create_or_update(built)
            except Exception:
                if not self.find(plan, run_id):
                    raise
        return run_id

    def start(self, job_id: str) -> None:
        """`create` has."""

    def cancel(self, job: PipelineRun) -> None:
        """An answer that is lost may be one that it is canceled."""
        try:
            self._session.client.jobs.begin_cancel(job.id, polling=False)
        except Exception:
            if self._history.status(job.id) not in ("CancelRequested", "Canceled", "Completed", "Failed"):
                raise

    def output(self, job: PipelineRun, step_id: str) -> Output:
        """Where the data asset is that Azure ML makes of each output, of another's job its first; else at the place that is the default."""
        outputs: dict[str, Any] = self._history.run(step_id).get("outputs") or {}
        asset = str((outputs.get(OUTPUT) or next(iter(outputs.values()), None) or {}).get("assetId") or "")
        place = f"azureml/{step_id}/{OUTPUT}"
        if asset:
            *_, name, _, version = asset.split("/")
            place = str(self._session.client.data.get(checked(name, "dataset"), version).path)
        match = DATASTORE_PATH.fullmatch(place)
        here = storage.store(self._session, match[1] if match else "")
        return Output(here.blobs, (match[2] if match else place).rstrip("/"))


def loaded(document: Mapping[str, Any]) -> PipelineJob:
    """The job of a document, checked by the SDK."""
    from azure.ai.ml import load_job

    return load_job(io.StringIO(yaml.safe_dump(document)))  # type: ignore[return-value]


def component_name(endpoint_name: str) -> str:
    """Of the component behind an endpoint that was published here: a component's name has no hyphens."""
    return endpoint_name.replace("-", "_")


def default_deployment(endpoint: Any) -> str:
    """Of a batch endpoint; "" where it has none, and takes no calls."""
    return str(getattr(endpoint.defaults, "deployment_name", None) or "")

"""The real SDK on the stand-in, in this process."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.azure.workspace import AzureWorkspace
from services.connection import from_environment


@pytest.fixture
def ws(azure, tmp_path, monkeypatch) -> Any:
    """The test's own workspace as azureml.core has it. The working folder is an empty one: Model.register takes nothing from elsewhere."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azureml.core import Workspace
        from azureml.core.authentication import ServicePrincipalAuthentication

        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        auth = ServicePrincipalAuthentication(*(os.environ[name] for name in names))
        return Workspace.get(
            azure.workspace,
            auth=auth,
            subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
            resource_group=os.environ["AZURE_RESOURCE_GROUP"],
        )


ECHO = """
import os
from azureml.core import Model

def init():
    global model
    model = open(Model.get_model_path("clf")).read()
    print("the model says", model)

def run(mini_batch):
    return [f"{os.path.basename(path)}: {model} {open(path).read().strip()} of {len(mini_batch)}" for path in mini_batch]
"""


@pytest.fixture
def rows(ws) -> Any:
    """A registered file dataset of five small files, and a model called clf."""
    from azureml.core import Dataset, Model

    Path("files").mkdir()
    for number in range(5):
        Path(f"files/{number}.csv").write_text(f"{number}\n")
    Path("model.txt").write_text("m1")
    Model.register(ws, "model.txt", "clf")
    return Dataset.File.upload_directory("files", (ws.get_default_datastore(), "rows"), show_progress=False).register(ws, "rows")


@pytest.fixture
def pipeline(ws, rows) -> Callable[..., Any]:
    """`pipeline(script, setting=value, ...)` is a pipeline of one ParallelRunStep over `rows`, with an output called inferences."""

    def make(
        script: str = ECHO, allow_reuse: bool = False, arguments: list[Any] | None = None, dataset: Any = rows, **settings: Any
    ) -> Any:
        from azureml.core import Environment
        from azureml.pipeline.core import Pipeline, PipelineData
        from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

        Path("source").mkdir(exist_ok=True)
        Path("source/score.py").write_text(script)
        few = {"mini_batch_size": "2", "error_threshold": 0, "output_action": "append_row", "node_count": 1, "process_count_per_node": 1}
        parallel_run = ParallelRunConfig(
            source_directory="source", entry_script="score.py", environment=Environment("mine"), compute_target="cpu-cluster",
            **few | settings,
        )  # fmt: skip
        inputs, output = [dataset.as_named_input("rows")], PipelineData("inferences", datastore=ws.get_default_datastore())
        step = ParallelRunStep(
            "score", parallel_run, inputs=inputs, output=output, arguments=arguments or [], allow_reuse=allow_reuse,
        )  # fmt: skip
        return Pipeline(ws, [step])

    return make


@pytest.fixture
def finish_azure() -> Callable[..., str]:
    """`finish_azure(run)` waits until a run of the SDK has ended, or `until` something holds of it; returns its status."""

    def wait(run: Any, until: Callable[[Any], object] | None = None, seconds: float = 180) -> str:
        holds = until or (lambda run: run.get_status() in ("Finished", "Completed", "Failed", "Canceled"))
        deadline = time.monotonic() + seconds
        while not holds(run):
            assert time.monotonic() < deadline, f"not so after {seconds} s: {run.get_details()}"
            time.sleep(0.1)
        return str(run.get_status())

    return wait


@pytest.fixture
def cloud(azure, tmp_path, home) -> AzureWorkspace:
    """The test's own Azure ML workspace, as the command line has it."""
    return AzureWorkspace(from_environment(tmp_path), home, blocking=True)

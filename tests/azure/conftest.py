"""The real SDK on the stand-in, in this process."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import Run, RunRequest, RunStatus
from services.remote import PublishedPipeline
from services.settings import ParallelRunSettings
from tests.azure_service.fixtures import led_to
from tests.conftest import home_in


@pytest.fixture
def sdk_workspace() -> Callable[[], Any]:
    """`sdk_workspace()` is the workspace that the variables name, as azureml.core has it."""

    def opened() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from azureml.core import Workspace
            from azureml.core.authentication import ServicePrincipalAuthentication

            names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
            auth = ServicePrincipalAuthentication(*(os.environ[name] for name in names))
            return Workspace.get(
                os.environ["AZURE_WORKSPACE_NAME"],
                auth=auth,
                subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
                resource_group=os.environ["AZURE_RESOURCE_GROUP"],
            )

    return opened


@pytest.fixture
def ws(azure, sdk_workspace, tmp_path, monkeypatch) -> Any:
    """The test's own workspace as azureml.core has it. The working folder is an empty one: Model.register takes nothing from elsewhere."""
    monkeypatch.chdir(tmp_path)
    return sdk_workspace()


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


class Nightly(NamedTuple):
    """A completed run; the published pipeline of it, nightly; and a run of that, where a newer model was there and an answer was lost."""

    home: Path
    run: Run
    published: PublishedPipeline
    again: Run
    submissions: int


@pytest.fixture(scope="session")
def nightly(azure_service, tmp_path_factory, model_file, finish) -> Nightly:
    folder = tmp_path_factory.mktemp("nightly")
    for number in range(7):
        (folder / "rows").mkdir(exist_ok=True)
        (folder / "rows" / f"{number:04}.csv").write_text("1\n")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "utils.py").write_text("def label(text): return text.upper()\n")
    (folder / "scripts" / "services.py").write_text("raise RuntimeError('not for the runner')\n")
    script = folder / "scripts" / "script.py"
    script.write_text("import utils\ndef run(mini_batch):\n    return [utils.label('ok')] * len(mini_batch)\n")
    with led_to(azure_service, "nightly"), home_in(folder) as home:
        cloud = AzureWorkspace(from_environment(folder), home, blocking=True)
        cloud.register_dataset("rows", folder / "rows")
        cloud.register_model("clf", model_file)
        settings = ParallelRunSettings(mini_batch_size="3", process_count_per_node=2)
        run = finish(cloud, cloud.submit(RunRequest(("clf:1",), ("rows",), str(script), settings, compute_target="cpu-cluster")).id)
        assert run.status is RunStatus.COMPLETED, run.error
        published = cloud.pipelines.publish(run.id, "nightly", "every night")
        cloud.register_model("clf", model_file)
        azure_service.fault("POST *PipelineSubmit/*", lost=True)
        again = finish(cloud, cloud.pipelines.submit(published.id, {"mini_batch_size": "1"}).id)
        return Nightly(home, run, published, again, azure_service.count("POST *PipelineSubmit/*"))


@pytest.fixture
def of_nightly(nightly, azure_service, tmp_path) -> Iterator[AzureWorkspace]:
    """The workspace with these runs."""
    with led_to(azure_service, "nightly"):
        yield AzureWorkspace(from_environment(tmp_path), nightly.home, blocking=True)


@pytest.fixture
def ml(azure) -> Any:
    """The test's own workspace as azure-ai-ml has it, signed in as the service principal."""
    from azure.ai.ml import MLClient
    from azure.identity import ClientSecretCredential

    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    credential = ClientSecretCredential(*(os.environ[name] for name in names))
    place = (os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_WORKSPACE_NAME"))
    return MLClient(credential, *place)


@pytest.fixture
def inputs(ml, tmp_path, monkeypatch) -> tuple[Any, Any]:
    """A data asset of five small files, rows, and an environment, both registered by SDK v2; and a model called clf."""
    from azure.ai.ml.entities import Data, Environment, Model

    monkeypatch.chdir(tmp_path)
    Path("items").mkdir()
    for number in range(5):
        Path(f"items/{number}.csv").write_text(f"{number}\n")
    Path("clf.txt").write_text("m1")
    ml.models.create_or_update(Model(name="clf", path="clf.txt"))
    environment = Environment(name="mine", image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
    rows = ml.data.create_or_update(Data(name="rows", path="items", type="uri_folder"))
    return rows, ml.environments.create_or_update(environment)


@pytest.fixture
def parallel(inputs) -> Callable[..., Any]:
    """`parallel(script, setting=value, ...)` makes a parallel step, `score`, with an input called rows and an output called inferences."""

    folders = itertools.count()

    def make(script: str = ECHO, arguments: str = "--model clf", **settings: Any) -> Any:
        from azure.ai.ml import Input, Output
        from azure.ai.ml.parallel import RunFunction, parallel_run_function

        source = Path(f"source-{next(folders)}")
        source.mkdir()
        (source / "score.py").write_text(script)
        few = {"mini_batch_size": "2", "error_threshold": 0, "max_concurrency_per_instance": 1, "is_deterministic": False}
        task = RunFunction(
            code=str(source), entry_script="score.py", environment=settings.pop("environment", inputs[1]), program_arguments=arguments,
            append_row_to="${{outputs.inferences}}",
        )  # fmt: skip
        side = settings.pop("inputs", {})
        return parallel_run_function(
            name="score", inputs={"rows": Input(type="uri_folder")} | side, outputs={"inferences": Output(type="uri_folder")},
            input_data="${{inputs.rows}}", task=task, **few | {"instance_count": 1} | settings,
        )  # fmt: skip

    return make


@pytest.fixture
def job(inputs, parallel) -> Callable[..., Any]:
    """`job(script, setting=value, ...)` is a pipeline job of one parallel step over the data asset `rows`, with its output."""

    def make(script: str = ECHO, name: str = "", output: dict[str, Any] | None = None, **settings: Any) -> Any:
        from azure.ai.ml import Input, dsl

        step = parallel(script, **settings)

        @dsl.pipeline(display_name="scoring", experiment_name="exp", default_compute="cpu-cluster", tags={"studio": "1"})
        def scoring(rows):  # type: ignore[no-untyped-def]
            scored = step(rows=rows)
            scored.name = "score"
            return {"inferences": scored.outputs.inferences}

        made = scoring(rows=Input(type="uri_folder", path=inputs[0].id))
        made.name = name or None
        for key, value in (output or {}).items():
            setattr(made.outputs.inferences, key, value)
        return made

    return make


def azure_path(ml: Any) -> str:
    """The workspace's path, as addresses of the resource manager have it."""
    within = f"/subscriptions/{ml.subscription_id}/resourceGroups/{ml.resource_group_name}"
    return f"{within}/providers/Microsoft.MachineLearningServices/workspaces/{ml.workspace_name}"

"""A run as a script of Azure ML's SDK v1, as Microsoft's batch scoring tutorial writes it: one file that needs nothing of ours.

Whatever comes from outside (names, arguments, the source of the scoring script) is written as a literal by `repr`, never into a comment.
"""

from __future__ import annotations

from typing import Any

from services import __version__
from services.domain import EXPERIMENT, Environment, Run, parse_reference
from services.handover.azure_packages import packages_of
from services.handover.python_source import SECRET, assigned, plain_file_name, source, written
from services.handover.secrets import Disclosed, Hidden
from services.handover.sources import Sources

_HEAD = '''\
"""Submits a batch scoring run to Azure ML by SDK v1: a pipeline of one ParallelRunStep, with the values of {run_id}.

Written by Batch Scoring Studio {version}. To run it:

    pip install azureml-core azureml-pipeline
    python {name}

It asks for the workspace in config.json, which Azure ML studio offers for download, in this folder or one above. It signs in by the
browser, or as the service principal that AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET name. The models, datasets and the
compute target have to be there. The scoring script is at the end of this file.
"""

import os
import tempfile
from pathlib import Path

from azureml.core import Dataset, Environment, Experiment, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
from azureml.core.conda_dependencies import CondaDependencies
from azureml.pipeline.core import Pipeline, PipelineData
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep
'''

_ELSEWHERE = """\
# The run was not scored in this workspace of Azure ML. Register its models and datasets there under these names first, and write the name
# of a cluster of the workspace below. The latest versions are taken.
"""

_MAIN = """

def main():
    auth = None
    if os.environ.get("AZURE_CLIENT_SECRET"):
        auth = ServicePrincipalAuthentication(*(os.environ["AZURE_" + name] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")))
    ws = Workspace.from_config(auth=auth)

    inputs = []
    for number, (name, version) in enumerate(DATASETS):
        dataset = Dataset.get_by_name(ws, name, version=version)
        named = dataset.as_named_input("batch_data" if number == 0 else "batch_data_{}".format(number))
        inputs.append(named.as_mount() if hasattr(dataset, "as_mount") else named)
    side_inputs = [
        Dataset.get_by_name(ws, name, version=version).as_named_input(argument).as_mount()
        for argument, (name, version) in SIDE_INPUTS.items()
    ]
    output = PipelineData("inferences", datastore=ws.get_default_datastore(), output_path_on_compute="results")

    with tempfile.TemporaryDirectory() as source_directory:
        for path, source in SOURCE.items():
            target = Path(source_directory, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source if isinstance(source, bytes) else source.encode("utf-8"))
        parallel_run_config = ParallelRunConfig(
            source_directory=source_directory,
            entry_script=ENTRY_SCRIPT,
            environment=environment(ws),
            compute_target=ws.compute_targets[COMPUTE_TARGET],
            **SETTINGS
        )
        step = ParallelRunStep(
            name="batch-score",
            parallel_run_config=parallel_run_config,
            inputs=inputs,
            side_inputs=side_inputs or None,
            output=output,
            arguments=ARGUMENTS + [part for side_input in side_inputs for part in ("--" + side_input.name, side_input)],
            allow_reuse=ALLOW_REUSE,
        )
        pipeline = Pipeline(workspace=ws, steps=[step], description=NAME[:200])
        pipeline_run = Experiment(ws, EXPERIMENT).submit(pipeline)

    print("Submitted", pipeline_run.id, pipeline_run.get_portal_url())
    pipeline_run.wait_for_completion(show_output=False)
    step_run = next(iter(pipeline_run.get_children()))
    step_run.get_output_data("inferences").download(local_path="results")
    print("Downloaded", *sorted(str(path) for path in Path("results").rglob(SETTINGS["append_row_file_name"])))
"""


def script(run: Run, disclosed: Disclosed, sources: Sources, environment: Environment, name: str, *, known_there: bool = False) -> bytes:
    """The file, UTF-8. `name` is what it will be called; `known_there`: the run's references are those of a workspace of Azure ML."""
    request = run.request
    settings: dict[str, Any] = {k: v for k, v in request.settings.as_dict().items() if k != "environment_variables"}
    if disclosed.variables:
        settings["environment_variables"] = disclosed.variables
    model = [] if not request.models else request.model_arguments()
    if not known_there:
        model = model[:2]  # the number that it gets there is another
    arguments: list[str | Hidden] = [*model, *disclosed.arguments]
    target = request.compute_target or "cpu-cluster"
    parts = [
        _HEAD.format(run_id=run.id, version=__version__, name=plain_file_name(name)),
        f"{SECRET}\n\n" if disclosed.hidden else "\n",
        "" if known_there else _ELSEWHERE,
        assigned("NAME", request.title()),
        assigned("EXPERIMENT", EXPERIMENT),
        assigned("COMPUTE_TARGET", target),
        assigned("DATASETS", [_versioned(reference, known_there) for reference in request.datasets]),
        assigned("SIDE_INPUTS", {name: _versioned(reference, known_there) for name, reference in request.side_inputs.items()}),
        assigned("SETTINGS", settings),
        assigned("ARGUMENTS", arguments),
        assigned("ALLOW_REUSE", request.allow_reuse and not request.rerun_of),
        assigned("ENTRY_SCRIPT", sources.entry_script),
        _environment(environment, request.environment if known_there else None),
        _MAIN,
        source(sources),
        '\n\nif __name__ == "__main__":\n    main()\n',
    ]
    return "".join(parts).encode("utf-8")


def _versioned(reference: str, known_there: bool) -> tuple[str, int | str]:
    name, number = parse_reference(reference, "dataset")
    return name, number if number and known_there else "latest"


def _environment(environment: Environment, reference: str | None) -> str:
    """The function that gives the environment: the registered one of that reference, else one with the packages of `environment`."""
    if reference:
        called, number = parse_reference(reference, "environment")
        text = f"Environment.get(ws, {called!r}, version={str(number)!r})" if number else f"Environment.get(ws, {called!r})"
        return f"\n\ndef environment(ws):\n    return {text}\n"
    python, packages = packages_of(environment)
    return (
        "\n\ndef environment(ws):\n"
        f'    made = Environment("batch-scoring")\n'
        "    conda = CondaDependencies.create(\n"
        f"        python_version={python!r},\n"
        f"        pip_packages={written(packages, 2)},\n"
        "        pin_sdk_version=False,\n"
        "    )\n"
        '    conda.remove_pip_package("azureml-defaults")  # the SDK adds it; it needs packages of an older Python\n'
        "    made.python.conda_dependencies = conda\n"
        "    return made\n"
    )

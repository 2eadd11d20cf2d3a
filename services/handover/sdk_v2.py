"""A run as a script of Azure ML's SDK v2, as Microsoft's examples write it: one file that needs nothing of ours.

Whatever comes from outside (names, arguments, the source of the scoring script) is written as a literal by `repr`, never into a comment.
"""

from __future__ import annotations

from services import __version__
from services.domain import EXPERIMENT, Environment, Run, parse_reference
from services.handover.azure_packages import IMAGE, conda_file_of
from services.handover.python_source import SECRET, assigned, plain_file_name, source, written
from services.handover.secrets import Disclosed, Hidden
from services.handover.sources import Sources
from services.parallel_job import INPUT, OUTPUT, STEP, bound_arguments, parallel_settings, runtime_arguments, side_input_name
from services.remote import SERVERLESS

_HEAD = '''\
"""Submits a batch scoring run to Azure ML by SDK v2: a pipeline job of one parallel step, with the values of {run_id}.

Written by Batch Scoring Studio {version}. To run it:

    pip install azure-ai-ml azure-identity
    python {name}

It asks for the workspace in config.json, which Azure ML studio offers for download, in this folder or one above. It signs in as the service
principal that AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET name, by the Azure CLI, or by the browser. The models, data assets
and the compute have to be there. The scoring script is at the end of this file.
"""

import os
import shlex
import tempfile
from pathlib import Path

from azure.ai.ml import Input, MLClient, Output, dsl
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from azure.identity import DefaultAzureCredential
'''

_ELSEWHERE = """\
# The run was not scored in this workspace of Azure ML. Register its models and data assets there under these names first, and write the
# name of a cluster of the workspace below, or serverless. The latest versions are taken.
"""

_MAIN = """

def data(ml_client, name, version):
    if version == "latest":
        asset = ml_client.data.get(name, label="latest")
    else:
        asset = ml_client.data.get(name, version=str(version))
    table_mode = "direct" if TABULAR else "eval_mount"
    return Input(type=asset.type, path=asset.id, mode=table_mode if asset.type == "mltable" else "ro_mount")


def main():
    ml_client = MLClient.from_config(DefaultAzureCredential(exclude_interactive_browser_credential=False))
    inputs = {name: data(ml_client, *reference) for name, reference in DATA.items()}

    with tempfile.TemporaryDirectory() as code:
        for path, source in SOURCE.items():
            target = Path(code, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source if isinstance(source, bytes) else source.encode("utf-8"))
        score = parallel_run_function(
            name="<step>",
            inputs={name: Input(type=value.type) for name, value in inputs.items()},
            outputs={"<output>": Output(type="uri_folder")},
            input_data="${{inputs.<input>}}",
            instance_count=INSTANCE_COUNT,
            environment_variables=ENVIRONMENT_VARIABLES,
            is_deterministic=IS_DETERMINISTIC,
            task=RunFunction(
                code=code,
                entry_script=ENTRY_SCRIPT,
                environment=ENVIRONMENT,
                program_arguments=" ".join([*map(shlex.quote, ARGUMENTS), *BOUND_ARGUMENTS]),
                append_row_to=APPEND_ROW_TO,
            ),
            **SETTINGS
        )

        @dsl.pipeline(display_name=NAME, experiment_name=EXPERIMENT, default_compute=COMPUTE)
        def batch_scoring(<parameters>):
            <step> = score(<passed>)
            return {"<output>": <step>.outputs.<output>}

        job = batch_scoring(**inputs)
        job.outputs.<output>.mode = "rw_mount"
        job = ml_client.jobs.create_or_update(job)

    print("Submitted", job.name, job.studio_url)
    ml_client.jobs.stream(job.name)
    step = next(iter(ml_client.jobs.list(parent_job_name=job.name)))
    ml_client.jobs.download(step.name, output_name="<output>", download_path="results")
    print("Downloaded", *sorted(str(path) for path in Path("results").rglob("*") if path.is_file()))
"""


def script(
    run: Run,
    disclosed: Disclosed,
    sources: Sources,
    environment: Environment,
    name: str,
    *,
    known_there: bool = False,
    tabular: bool = False,
) -> bytes:
    """The file, UTF-8. `name` is what it will be called; `known_there`: the run's references are those of a workspace of Azure ML."""
    request = run.request
    settings = request.settings.resolved(tabular=tabular)
    model = request.model_arguments()
    arguments: list[str | Hidden] = [*runtime_arguments(settings), *(model if known_there else model[:2]), *disclosed.arguments]
    data = {INPUT: request.datasets[0]} | {side_input_name(key): reference for key, reference in request.side_inputs.items()}
    main = _MAIN.replace("<parameters>", ", ".join(data)).replace("<passed>", ", ".join(f"{key}={key}" for key in data))
    parts = [
        _HEAD.format(run_id=run.id, version=__version__, name=plain_file_name(name)),
        f"{SECRET}\n\n" if disclosed.hidden else "\n",
        "" if known_there else _ELSEWHERE,
        assigned("NAME", request.title()[:200]),
        assigned("EXPERIMENT", EXPERIMENT),
        assigned("COMPUTE", request.compute_target or SERVERLESS),
        assigned("DATA", {key: _versioned(reference, known_there) for key, reference in data.items()}),
        assigned("TABULAR", tabular),
        assigned("SETTINGS", parallel_settings(settings)),
        assigned("INSTANCE_COUNT", settings.node_count),
        assigned("ENVIRONMENT_VARIABLES", disclosed.variables),
        assigned("IS_DETERMINISTIC", request.allow_reuse and not request.rerun_of),
        assigned("ENTRY_SCRIPT", sources.entry_script),
        assigned("ARGUMENTS", arguments),
        assigned("BOUND_ARGUMENTS", bound_arguments(request)),
        assigned("APPEND_ROW_TO", f"${{{{outputs.{OUTPUT}}}}}" if settings.output_action == "append_row" else None),
        _environment(environment, request.environment if known_there else None),
        main.replace("<step>", STEP).replace("<output>", OUTPUT).replace("<input>", INPUT),
        source(sources),
        '\n\nif __name__ == "__main__":\n    main()\n',
    ]
    return "".join(parts).encode("utf-8")


def _versioned(reference: str, known_there: bool) -> list[str | int]:
    name, number = parse_reference(reference, "dataset")
    return [name, number if number and known_there else "latest"]


def _environment(environment: Environment, reference: str | None) -> str:
    """The registered environment of that reference, else one with the packages of `environment`."""
    if reference:
        name, number = parse_reference(reference, "environment")
        return assigned("ENVIRONMENT", f"{name}:{number}" if number else f"{name}@latest")
    conda = written(conda_file_of(environment), 1)
    return f"ENVIRONMENT = Environment(\n    image={IMAGE!r},\n    conda_file={conda},\n)\n"

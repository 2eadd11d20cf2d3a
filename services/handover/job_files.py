"""A run as the files that `az ml job create` takes: the pipeline job, its component, the conda file, and the scoring script in a folder."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from dataclasses import replace
from typing import Any

from services import __version__
from services.domain import EXPERIMENT, Environment, Run, parse_reference
from services.handover.azure_packages import IMAGE, conda_file_of
from services.handover.secrets import Disclosed, Hidden
from services.handover.sources import Sources
from services.parallel_job import STEP, input_of, job_document, runtime_arguments

JOB, COMPONENT, CONDA, CODE = "job.yml", "component.yml", "conda.yml", "src"
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/{}.schema.json"

_HEAD = """\
# A batch scoring run of Azure ML: a pipeline job of one parallel step, with the values of {run_id}.
# Written by Batch Scoring Studio {version}. To submit it, with the Azure CLI, its extension ml and this folder:
#
#     {command}
#
# The models, data assets and the compute have to be in the workspace.{elsewhere}
"""
_ELSEWHERE = """ The run was not scored in this one: register them there under these names
# first, and write the name of a cluster into default_compute, or serverless. The latest versions are taken."""


def job_files(
    run: Run,
    disclosed: Disclosed,
    sources: Sources,
    environment: Environment,
    *,
    known_there: bool = False,
    tabular: bool = False,
) -> bytes:
    """A zip of the files. `known_there`: the run's references are those of a workspace of Azure ML. Raises SettingsError."""
    shown = [name for name, value in disclosed.variables.items() if not isinstance(value, Hidden)]
    settings = replace(run.request.settings, environment_variables={name: str(disclosed.variables[name]) for name in shown} or None)
    request = replace(run.request, settings=settings)
    model = request.model_arguments()
    made = environment if not (known_there and request.environment) else None
    document = job_document(
        request,
        tabular=tabular,
        code=CODE,
        entry_script=sources.entry_script,
        environment={"image": IMAGE, "conda_file": CONDA} if made else f"azureml:{_versioned(str(request.environment), known_there)}",
        data=input_of(_versioned(request.datasets[0], known_there), tabular=tabular),
        side_inputs={name: input_of(_versioned(reference, known_there), tabular=False) for name, reference in request.side_inputs.items()},
        arguments=[*runtime_arguments(settings), *(model if known_there else model[:2]), *map(_plain, disclosed.arguments)],
        experiment_name=EXPERIMENT,
    )
    step = document["jobs"][STEP]
    component = step["component"] | {"$schema": _SCHEMA.format("parallelComponent")}
    step["component"] = f"./{COMPONENT}"
    given = _ask_for_arguments(document, component, disclosed) | {
        f"jobs.{STEP}.environment_variables.{name}": value.variable
        for name, value in disclosed.variables.items() if isinstance(value, Hidden)
    }  # fmt: skip
    command = " ".join([f"az ml job create --file {JOB}", *(f'--set {_quoted(key)}="${name}"' for key, name in given.items())])
    head = _HEAD.format(run_id=run.id, version=__version__, command=command, elsewhere="" if known_there else _ELSEWHERE)
    files: dict[str, bytes] = {
        JOB: head.encode() + _yaml({"$schema": _SCHEMA.format("pipelineJob"), **document}),
        COMPONENT: _yaml(component),
        **({CONDA: _yaml(conda_file_of(made))} if made else {}),
        **{f"{CODE}/{path}": content for path, content in sources.files.items()},
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def _plain(argument: str | Hidden) -> str:
    """A hidden argument's mark, which is replaced once the others are quoted."""
    return f"{argument.before}{_mark(argument)}" if isinstance(argument, Hidden) else argument


def _mark(hidden: Hidden) -> str:
    return f"HIDDEN_{hidden.variable}_HIDDEN"


def _ask_for_arguments(document: dict[str, Any], component: dict[str, Any], disclosed: Disclosed) -> dict[str, str]:
    """Make each hidden argument an input that the job is given by `--set`. Returns the variables with them, by what `--set` calls them."""
    step, given = document["jobs"][STEP], {}
    for hidden in disclosed.arguments:
        if isinstance(hidden, Hidden):
            name = hidden.variable.lower()
            component["inputs"][name] = {"type": "string"}
            step["inputs"][name] = f"${{{{parent.inputs.{name}}}}}"
            task = component["task"]
            task["program_arguments"] = task["program_arguments"].replace(_mark(hidden), f"${{{{inputs.{name}}}}}")
            given[f"inputs.{name}"] = hidden.variable
    return given


def _quoted(key: str) -> str:
    """For a comment of one line, whatever a variable is called."""
    return shlex.quote(re.sub(r"[^\x20-\x7e]", "?", key))


def _versioned(reference: str, known_there: bool) -> str:
    name, number = parse_reference(reference, "dataset")
    return f"{name}:{number}" if number and known_there else f"{name}@latest"


def _yaml(value: Any) -> bytes:
    import yaml  # type: ignore[import-untyped]

    return bytes(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120, encoding="utf-8"))

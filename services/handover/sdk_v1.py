"""A run as a script of Azure ML's SDK v1, as Microsoft's batch scoring tutorial writes it: one file that needs nothing of ours.

Whatever comes from outside (names, arguments, the source of the scoring script) is written as a literal by `repr`, never into a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from services import __version__
from services.domain import EXPERIMENT, Environment, Run, parse_reference
from services.handover.secrets import Disclosed, Hidden
from services.handover.sources import Sources

_PACKAGES = (
    "scikit-learn", "numpy", "pandas", "joblib", "scipy", "pyarrow", "pillow", "skops", "onnxruntime", "xgboost", "lightgbm", "catboost",
    "torch", "torchvision", "tensorflow", "keras", "mlflow",
)  # fmt: skip
"""Of what is installed here, what a scoring script may need there."""
_STEP_PACKAGES = ("azureml-core", "azureml-dataset-runtime[fuse]")
"""What ParallelRunStep needs itself."""
_BELOW = {"setuptools": "<82"}
"""azureml-core imports pkg_resources, which later ones lack."""

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

_SECRET = '''

def secret(variable, meaning):
    """A value that was left out of this file."""
    if variable not in os.environ:
        raise SystemExit("Set the environment variable " + variable + ": it is " + meaning + " of the run, and was left out of this file.")
    return os.environ[variable]
'''

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
        _HEAD.format(run_id=run.id, version=__version__, name=_plain(name)),
        f"{_SECRET}\n\n" if disclosed.hidden else "\n",
        "" if known_there else _ELSEWHERE,
        _assigned("NAME", request.title()),
        _assigned("EXPERIMENT", EXPERIMENT),
        _assigned("COMPUTE_TARGET", target),
        _assigned("DATASETS", [_versioned(reference, known_there) for reference in request.datasets]),
        _assigned("SIDE_INPUTS", {name: _versioned(reference, known_there) for name, reference in request.side_inputs.items()}),
        _assigned("SETTINGS", settings),
        _assigned("ARGUMENTS", arguments),
        _assigned("ALLOW_REUSE", request.allow_reuse and not request.rerun_of),
        _assigned("ENTRY_SCRIPT", sources.entry_script),
        _environment(environment, request.environment if known_there else None),
        _MAIN,
        _source(sources),
        '\n\nif __name__ == "__main__":\n    main()\n',
    ]
    return "".join(parts).encode("utf-8")


def _plain(name: str) -> str:
    """A file's name in a comment: one that could end the comment is not repeated."""
    return name if name.isascii() and name.replace(".", "").replace("-", "").replace("_", "").isalnum() else "this_file.py"


def _versioned(reference: str, known_there: bool) -> tuple[str, int | str]:
    name, number = parse_reference(reference, "dataset")
    return name, number if number and known_there else "latest"


def _environment(environment: Environment, reference: str | None) -> str:
    """The function that gives the environment: the registered one of that reference, else one with the packages of `environment`."""
    if reference:
        called, number = parse_reference(reference, "environment")
        text = f"Environment.get(ws, {called!r}, version={str(number)!r})" if number else f"Environment.get(ws, {called!r})"
        return f"\n\ndef environment(ws):\n    return {text}\n"
    python, packages = _needed(environment)
    return (
        "\n\ndef environment(ws):\n"
        f'    made = Environment("batch-scoring")\n'
        "    conda = CondaDependencies.create(\n"
        f"        python_version={python!r},\n"
        f"        pip_packages={_written(packages, 2)},\n"
        "        pin_sdk_version=False,\n"
        "    )\n"
        '    conda.remove_pip_package("azureml-defaults")  # the SDK adds it; it needs packages of an older Python\n'
        "    made.python.conda_dependencies = conda\n"
        "    return made\n"
    )


def _needed(environment: Environment) -> tuple[str, list[str]]:
    """The Python, such as 3.11, and lines for pip: those that the environment was made from, else its versions of the usual packages."""
    python = ".".join(environment.python_version.split(".")[:2]) or "3.11"
    lines = list(environment.requirements)
    if not lines:
        installed = {name.lower(): number for name, number in environment.packages.items()}
        lines = [_pinned(name, installed[name]) for name in _PACKAGES if name in installed]
    named = {line.split("[")[0].split("=")[0].split("<")[0].split(">")[0].strip().lower() for line in lines}
    for requirement in (*_STEP_PACKAGES, *_BELOW):
        name = requirement.split("[")[0]
        if name not in named:
            lines.append(f"{requirement}{_BELOW.get(name, '')}" if name in _BELOW else _pinned(requirement, _installed(name)))
    return python, lines


def _pinned(name: str, number: str) -> str:
    return name if not number else f"{name}{number}" if number[0] in "<>=~!" else f"{name}=={number}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


# ---- literals ------------------------------------------------------------------------------------------------------------------------


def _assigned(name: str, value: object) -> str:
    return f"{name} = {_written(value)}\n"


def _written(value: object, indent: int = 0) -> str:
    """A value as Python reads it, whatever is in it. Short ones are on one line."""
    inner, outer = "    " * (indent + 1), "    " * indent
    if isinstance(value, Hidden):
        read = f"secret({value.variable!r}, {value.shown!r})"
        return f"{value.before!r} + {read}" if value.before else read
    if isinstance(value, Mapping):
        items: Iterable[str] = (f"{name!r}: {_written(each, indent + 1)}" for name, each in value.items())
        marks = "{}"
    elif isinstance(value, list):
        items, marks = (_written(each, indent + 1) for each in value), "[]"
    else:
        return repr(value)
    written = list(items)
    line = marks[0] + ", ".join(written) + marks[1]
    if len(line) + len(outer) < 100 and "\n" not in line:
        return line
    return marks[0] + "\n" + "".join(f"{inner}{each},\n" for each in written) + outer + marks[1]


def _source(sources: Sources) -> str:
    parts = ["\n\nSOURCE = {\n"]
    for path, content in sorted(sources.files.items(), key=lambda item: item[0] != sources.entry_script):
        try:
            lines: list[Any] = content.decode("utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            lines = content.splitlines(keepends=True)
        literals = "".join(f"        {line!r}\n" for line in lines) or "        ''\n"
        parts.append(f"    {path!r}: (\n{literals}    ),\n")
    return "".join(parts) + "}\n"

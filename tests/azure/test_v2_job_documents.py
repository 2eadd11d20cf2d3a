"""A run as SDK v2 gets it: every setting where a parallel step has it, and the exported files as the SDK reads them. Nothing is sent."""

from __future__ import annotations

import io
import json
import shlex
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.domain import EXPERIMENT, Run, RunRequest, RunStatus, utc_now
from services.errors import SettingsError, StudioError
from services.handover.job_files import job_files
from services.handover.secrets import disclose
from services.handover.sources import Sources
from services.parallel_job import OUTPUT, STEP, input_of, job_document, request_of
from services.settings import ParallelRunSettings, size_in_units

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

HOSTILE = """it's "\"\"\" `id` $(id) ${HOME} \\ \n=cmd|' /C calc'!A0 # %s {0} {{x}} : - é ; rm -rf / --"""
TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=30)
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z")
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "node_count": st.integers(1, 1000),
        "process_count_per_node": st.integers(1, 1000),
        "error_threshold": st.integers(-1, 10**9),
        "allowed_failed_count": st.integers(-1, 10**9),
        "allowed_failed_percent": st.floats(0, 100),
        "output_action": st.sampled_from(("append_row", "summary_only")),
        "append_row_file_name": st.sampled_from(("parallel_run_step.txt", "rows of 'today'.csv", "é.txt")),
        "run_invocation_timeout": st.integers(1, 10**6),
        "run_max_try": st.integers(1, 100),
        "logging_level": st.sampled_from(("WARNING", "INFO", "DEBUG")),
        "environment_variables": st.dictionaries(NAMES, TEXTS, max_size=3),
    },
)
CUT = st.one_of(
    st.just({}),
    st.builds(lambda number, unit: {"mini_batch_size": f"{number}{unit}"}, st.integers(1, 999), st.sampled_from(("", "KB", "mb", "GB"))),
    st.builds(lambda keys: {"partition_keys": tuple(keys)}, st.lists(NAMES, min_size=1, max_size=3)),
)


def parsed(document: dict[str, Any], base: Path | None = None) -> Any:
    """The document as the SDK reads it, found valid by it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azure.ai.ml import load_job

        job = load_job(base or io.StringIO(yaml.safe_dump(document)))
    assert job._validate().passed
    return job


def sent(job: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What the SDK sends of a job: the job, its step, the specification of the component."""
    specification = job.jobs[STEP].component._to_rest_object().as_dict()["properties"]["componentSpec"]
    job.jobs[STEP]._component = "azureml:there:1"
    values = job._to_rest_object().as_dict()
    return values, values["properties"]["jobs"][STEP], specification


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("code")
    (folder / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    return str(folder)


def document_of(request: RunRequest, code: str, *, tabular: bool = False) -> dict[str, Any]:
    sides = {name: input_of(reference, tabular=False) for name, reference in request.side_inputs.items()}
    data = input_of(request.datasets[0], tabular=tabular)
    return job_document(
        request, tabular=tabular, code=code, entry_script="score.py", environment="azureml:e:1", data=data, side_inputs=sides,
        name="run-1", experiment_name=EXPERIMENT, tags={"a": "b"},
    )  # fmt: skip


@examples(phases=(Phase.explicit, Phase.reuse, Phase.generate))  # as many as the profile says
@given(given_settings=SETTINGS, cut=CUT, tabular=st.booleans(), text=TEXTS, reuse=st.booleans(), sides=st.sets(NAMES, max_size=2))
def test_the_sdk_sends_exactly_the_settings_of_the_run(code, given_settings, cut, tabular, text, reuse, sides):
    settings = ParallelRunSettings(**given_settings, **cut)
    request = RunRequest(
        ("digits:2",), ("rows:1",), "/x/score.py", settings, arguments=("--text", text), side_inputs=dict.fromkeys(sides, "names:3"),
        compute_target="cpu-cluster", allow_reuse=reuse,
    )  # fmt: skip
    job, step, component = sent(parsed(document_of(request, code, tabular=tabular)))
    both = {
        "error_threshold": settings.error_threshold,
        "mini_batch_error_threshold": settings.allowed_failed_count,
        "max_concurrency_per_instance": settings.process_count_per_node,
        "logging_level": settings.logging_level,
        "retry_settings": {"max_retries": settings.run_max_try - 1, "timeout": settings.run_invocation_timeout},
        "partition_keys": json.dumps(list(settings.partition_keys)) if settings.partition_keys else None,
        "input_data": "${{inputs.batch_data}}",
        "task": {"type": "run_function", "code": code, "entry_script": "score.py", "environment": "azureml:e:1"},
    }
    size = 0 if settings.partition_keys else size_in_units(settings.mini_batch_size or ("1MB" if tabular else "10"))
    for sends in (step, component):
        task = dict(sends["task"])
        words, rows = shlex.split(task.pop("program_arguments")), task.pop("append_row_to", None)
        assert {name: (sends | {"task": task}).get(name) for name in both} == both
        assert int(sends.get("mini_batch_size") or 0) == size
        folders = dict(zip(words[::2], words[1::2], strict=True))
        if settings.output_action == "append_row":
            assert rows == f"${{{{outputs.{OUTPUT}}}}}"
            assert folders.pop("--append_row_file_name") == settings.append_row_file_name
        else:
            assert rows is None
            assert folders.pop("--output") == f"${{{{outputs.{OUTPUT}}}}}"
        percent = folders.pop("--allowed_failed_percent", None)
        assert (percent is None) == (settings.allowed_failed_percent is None)
        if settings.allowed_failed_percent is not None:
            assert float(percent) == settings.allowed_failed_percent
        expected = {"--model-name": "digits", "--model-version": "2"}
        expected |= {f"--{name}": f"${{{{inputs.side_{name}}}}}" for name in sides} | {"--text": text}
        assert folders == expected if "text" not in sides else "--text" in folders
    assert step["resources"] == {"instance_count": settings.node_count}
    assert (step.get("environment_variables") or {}) == (settings.environment_variables or {})
    assert component["is_deterministic"] is reuse
    assert job["name"] == "run-1"
    assert job["properties"]["settings"]["default_compute"] == "cpu-cluster"
    assert job["properties"]["experimentName"] == EXPERIMENT
    assert set(job["properties"]["inputs"]) == {"batch_data", *(f"side_{name}" for name in sides)}
    kind, mode = ("mltable", "Direct") if tabular else ("uri_folder", "ReadOnlyMount")
    assert job["properties"]["inputs"]["batch_data"] == {"jobInputType": kind, "uri": "rows:1", "mode": mode}
    read = request_of("theirs", job["properties"])  # and back again
    resolved = settings.resolved(tabular=tabular)
    size = None if settings.partition_keys else str(size_in_units(resolved.mini_batch_size))
    name = settings.append_row_file_name if settings.output_action == "append_row" else "parallel_run_step.txt"
    variables = settings.environment_variables or None
    assert read.settings == replace(resolved, mini_batch_size=size, append_row_file_name=name, environment_variables=variables)
    assert (read.models, read.datasets, read.compute_target, read.script_name) == (("digits:2",), ("rows:1",), "cpu-cluster", "score.py")


def test_a_rerun_is_never_an_earlier_output(code):
    request = RunRequest((), ("rows:1",), "/x/score.py", rerun_of="run-0")
    assert sent(parsed(document_of(request, code)))[2]["is_deterministic"] is False


def test_serverless_is_where_no_compute_is_named(code):
    request = RunRequest((), ("rows:1",), "/x/score.py")
    assert sent(parsed(document_of(request, code)))[0]["properties"]["settings"]["default_compute"] == "serverless"


def test_an_argument_that_azure_would_replace_is_refused(code):
    request = RunRequest((), ("rows:1",), "/x/score.py", arguments=("--text", "${{inputs.batch_data}}"))
    with pytest.raises(SettingsError) as refused:
        document_of(request, code)
    assert refused.value.field == "arguments"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"jobs": {}}, "not one parallel step"), ({"inputs": {"batch_data": {"uri": "azureml://datastores/a/paths/b"}}}, "not registered")],
)
def test_a_job_that_can_not_be_read_says_why(code, change, message):
    properties = sent(parsed(document_of(RunRequest((), ("rows:1",), "/x/score.py"), code)))[0]["properties"]
    assert request_of("theirs", properties).datasets == ("rows:1",)
    with pytest.raises(StudioError, match=message):
        request_of("theirs", properties | change)


# ---- the exported files ------------------------------------------------------------------------------------------------------------------


def exported(asked: RunRequest, environment: Any, folder: Path, *, with_secrets: bool = False, known_there: bool = True) -> Path:
    """The job's file, unpacked."""
    run = Run("run-1", asked, RunStatus.COMPLETED, utc_now())
    sources = Sources("score it.py", {"score it.py": b"def run(b): return b\n", "part/é.py": b"\xff"})
    disclosed = disclose(asked, with_secrets=with_secrets)
    with zipfile.ZipFile(io.BytesIO(job_files(run, disclosed, sources, environment, known_there=known_there))) as archive:
        archive.extractall(folder)
    return folder / "job.yml"


def request(*arguments: str, **settings: object) -> RunRequest:
    return RunRequest(("digits:1",), ("rows:2",), "/scripts/score it.py", ParallelRunSettings(**settings), arguments=arguments)


def test_hostile_values_are_texts_of_the_yaml_files(workspace, tmp_path):
    variables = {HOSTILE.replace("=", ""): HOSTILE}
    asked = replace(request("--text", HOSTILE, environment_variables=variables), name=HOSTILE)
    path = exported(asked, workspace.environment(None), tmp_path, with_secrets=True)
    job, step, component = sent(parsed({}, path))
    assert job["properties"]["displayName"] == HOSTILE
    assert shlex.split(component["task"]["program_arguments"])[-1] == HOSTILE
    assert step["environment_variables"] == variables
    assert Path(component["task"]["code"]).resolve() == (tmp_path / "src").resolve()
    assert (tmp_path / "src/part/é.py").read_bytes() == b"\xff"
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert not any("cmd" in comment for comment in comments)


def test_secrets_are_given_to_the_job_by_set(workspace, tmp_path):
    asked = request("--token=abc", "--x", "1", environment_variables={"DOOR": "sesame"})
    path = exported(asked, workspace.environment(None), tmp_path)
    text = path.read_text() + (tmp_path / "component.yml").read_text()
    assert "abc" not in text
    assert "sesame" not in text
    assert '--set inputs.argument_token="$ARGUMENT_TOKEN" --set jobs.batch_score.environment_variables.DOOR="$DOOR"' in text
    from azure.ai.ml import load_job

    overrides = [{"inputs.argument_token": "abc"}, {f"jobs.{STEP}.environment_variables.DOOR": "sesame"}]
    job, step, component = sent(load_job(path, params_override=overrides))
    assert job["properties"]["inputs"]["argument_token"]["value"] == "abc"
    assert step["environment_variables"] == {"DOOR": "sesame"}
    assert "--token=${{inputs.argument_token}} --x 1" in component["task"]["program_arguments"]


def test_a_run_of_this_machine_names_the_latest_versions(workspace, tmp_path):
    path = exported(request(), workspace.environment(None), tmp_path, known_there=False)
    job, _, component = sent(parsed({}, path))
    assert job["properties"]["inputs"]["batch_data"]["uri"] == "rows@latest"
    assert "--model-version" not in component["task"]["program_arguments"]
    assert "register them there" in path.read_text()

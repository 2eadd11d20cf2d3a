"""The parts of an Azure ML run, each by itself: what the SDK gets, what is uploaded, what is downloaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.azure.catalog import downloads
from services.azure.run_plan import RunPlan, snapshot_of
from services.azure.runs import artifacts, output_reader
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.sdk_v1.jobs import with_parameters
from services.domain import DatasetFile, RunRequest, RunStatus
from services.errors import IntakeError, SettingsError
from services.remote import Frequency, PipelineRun, Recurrence
from services.settings import PIPELINE_PARAMETERS, ParallelRunSettings
from services.storage.manifest import manifest_line
from services.storage.serialization import from_json, to_json

REQUEST = RunRequest(("digits:2",), ("rows:1",), "/scripts/score.py", compute_target="cpu-cluster")


@pytest.fixture
def folder(tmp_path) -> AzureRunFolder:
    """A run's folder, its output and logs empty."""
    folder = AzureRunFolder(tmp_path, "run-1")
    folder.create(RunPlan(REQUEST, 0))
    return folder


@pytest.fixture
def plan(tmp_path):
    """`plan("a.csv", "b/c.csv")`: of a run over these files."""

    def make(*names: str, **request_values: object) -> RunPlan:
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_bytes(b"".join(manifest_line(DatasetFile(name, 1, 0)) for name in names))
        return RunPlan(replace(REQUEST, **request_values), len(names), (str(manifest),))

    return make


# ---- what the SDK gets -------------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_exactly_the_allowed_settings_are_pipeline_parameters():
    from azureml.pipeline.core import PipelineParameter

    settings = ParallelRunSettings(
        node_count=2, process_count_per_node=3, partition_keys=("store", "brand"), error_threshold=5, environment_variables={"A": "1"}
    ).as_dict()
    configured = with_parameters(settings)
    parameters = {name: value.default_value for name, value in configured.items() if isinstance(value, PipelineParameter)}
    assert set(parameters) == set(PIPELINE_PARAMETERS) - {"mini_batch_size"}
    assert (parameters["node_count"], parameters["partition_keys"]) == (2, '["store", "brand"]')
    assert {name: value for name, value in configured.items() if name not in parameters} == {
        name: value for name, value in settings.items() if name not in PIPELINE_PARAMETERS
    }


def test_the_chosen_model_is_an_argument_of_the_script():
    assert REQUEST.model_arguments() == ["--model-name", "digits", "--model-version", "2"]
    assert replace(REQUEST, arguments=("--model-name", "other")).model_arguments() == []
    assert replace(REQUEST, models=()).model_arguments() == []


def test_only_python_files_beside_a_script_are_uploaded(tmp_path):
    home = tmp_path / "anybodys home"
    for name in ("score.py", "helper.py", "labels.txt", "package/__init__.py", "package/deep/part.py", ".env", ".secret.py", "id_rsa",
                 "photos/1.jpg", "other/notes.py"):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("text")
    (home / "large.json").write_bytes(bytes(2 << 20))
    gone = snapshot_of(home / "score.py", tmp_path / "source")
    names = sorted(path.relative_to(gone).as_posix() for path in gone.rglob("*") if path.is_file())
    assert names == ["helper.py", "package/__init__.py", "package/deep/part.py", "score.py"]


# ---- what is noted -----------------------------------------------------------------------------------------------------------------------


def test_a_plan_and_a_pipeline_run_are_read_back_unchanged(folder, plan):
    noted = replace(plan("a.csv"), published_id="1", parameters={"mini_batch_size": "5"})
    assert from_json(to_json(noted), RunPlan) == noted
    pipeline_run = PipelineRun("1", "batch-scoring", RunStatus.QUEUED, step="Queued", run_id="run-1")
    assert folder.pipeline_run() is None
    folder.save_pipeline_run(pipeline_run)
    assert folder.pipeline_run() == pipeline_run


# ---- what came back ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/etc/passwd", "a\\b", "", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name):
    with pytest.raises(IntakeError):
        downloads.relative_path(name)


@pytest.mark.parametrize("nested", ["azureml/1234/inferences", "some/where/else/entirely", "."])
def test_the_output_is_found_wherever_it_nests(tmp_path, nested):
    place = tmp_path / nested
    place.mkdir(parents=True, exist_ok=True)
    (place / "parallel_run_step.txt").write_text("a: 1\n")
    assert artifacts._root(tmp_path, "azureml/1234/inferences", "parallel_run_step.txt") == place


def test_rows_with_a_node_s_mount_point_find_their_files(folder, plan):
    names = ("a.csv", "deep/b.csv", "c d.csv")
    rows = ["/mnt/azureml/1/batch_data/c d.csv: x", "/mnt/azureml/2/batch_data/deep/b.csv: y", "a.csv: /z/a.csv"]
    (folder.output / "parallel_run_step.txt").write_text("\n".join(rows) + "\n")
    predictions = {}
    for part in output_reader.scored(folder, plan(*names)):
        predictions |= dict(zip(part.read.files, part.read.predictions, strict=True))
    assert predictions == {"a.csv": "/z/a.csv", "deep/b.csv": "y", "c d.csv": "x"}


@pytest.mark.parametrize(
    ("text", "arguments", "count"),
    [("", (), 0), ("a\nb\n", (), 2), ("a\nb", (), 2), ("header\na\nb\n", ("--append_row_dataframe_header", "True"), 2)],
)
def test_rows_are_counted_without_a_header(folder, plan, text, arguments, count):
    (folder.output / "parallel_run_step.txt").write_text(text)
    run_plan = plan("a", "b", arguments=arguments)
    assert output_reader.count_rows(folder, run_plan) == count
    assert sum(text is not None for part in output_reader.scored(folder, run_plan) for text in part.read.predictions) == count


def test_a_recurrence_is_described_or_refused():
    assert str(Recurrence(Frequency.WEEK, 2, "06:30", ("Monday", "Friday"))) == "every 2 weeks on Monday and Friday at 06:30 UTC"
    assert str(Recurrence(Frequency.DAY)) == "every day"
    wrong = [("interval", {"interval": 0}), ("time_of_day", {"time_of_day": "25:00"}), ("time_of_day", {"time_of_day": "noon"})]
    for field, values in wrong:
        with pytest.raises(SettingsError) as refused:
            Recurrence(Frequency.DAY, **values)
        assert refused.value.field == field

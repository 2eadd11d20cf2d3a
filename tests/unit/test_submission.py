"""From a request to what is executed: versions, paths and defaults are filled in once; what doesn't fit is refused at its field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services import submission
from services.domain import FileDataset, Model, Run, RunRequest, RunStatus, TabularDataset, utc_now
from services.errors import EntryScriptError, NotFound, SettingsError, StudioError
from services.intake.entry_scripts import JOBLIB_SCRIPT
from services.scoring.script_fit import first_row_warning
from services.settings import ParallelRunSettings
from services.submission import Inputs

MODEL = Model("m", 2, "/models/m", 9, "ab" * 32, "joblib", utc_now())
FILES = FileDataset("d", 3, "/data", "**", True, 4, 9, "", "", utc_now(), partition_format="{store}/part.csv")
ROWS = TabularDataset("t", 1, "/rows", "**", True, 1, 9, "", "", utc_now(), format="csv", row_count=10)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "score.py"
    path.write_text("def run(mini_batch):\n    return []\n")
    return path


def resolve(script, datasets=(FILES,), models=(), approval=True, **request):
    asked = RunRequest(models=("m",), datasets=("d",), entry_script=str(script), **request)
    return submission.resolve(asked, Inputs(models, datasets, {"side": FILES}, None), approval=approval)


def test_references_become_versions_and_paths_absolute(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = resolve("score.py", models=[replace(MODEL, approved=True)], source_directory=".")
    assert (resolved.models, resolved.datasets, resolved.side_inputs) == (("m:2",), ("d:3",), {"side": "d:3"})
    assert (resolved.entry_script, resolved.source_directory) == (str(script), str(tmp_path))


@pytest.mark.parametrize(("dataset", "size"), [(FILES, "10"), (ROWS, "1MB")])
def test_an_open_mini_batch_size_becomes_the_default_of_the_type(script, dataset, size):
    assert resolve(script, [dataset]).settings.mini_batch_size == size


def test_partition_keys_leave_the_mini_batch_size_open(script):
    settings = ParallelRunSettings(partition_keys=("store",))
    assert resolve(script, settings=settings).settings.mini_batch_size is None


@pytest.mark.parametrize(
    ("field", "datasets", "settings"),
    [
        ("dataset", [FILES, ROWS], {}),
        ("mini_batch_size", [FILES], {"mini_batch_size": "1MB"}),
        ("partition_keys", [FILES], {"partition_keys": ("town",)}),
        ("partition_keys", [ROWS], {"partition_keys": ("store",)}),
    ],
)
def test_what_does_not_fit_the_datasets_is_refused_at_its_field(script, field, datasets, settings):
    with pytest.raises(SettingsError) as refused:
        resolve(script, datasets, settings=ParallelRunSettings(**settings))
    assert refused.value.field == field


def test_a_model_that_is_a_program_needs_approval_only_where_it_is_executed_here(script):
    with pytest.raises(SettingsError, match="not approved"):
        resolve(script, models=[MODEL])
    assert resolve(script, models=[MODEL], approval=False).models == ("m:2",)


def test_a_script_that_is_missing_or_has_no_run_is_refused(script, tmp_path):
    with pytest.raises(NotFound, match="missing"):
        resolve(tmp_path / "missing.py")
    script.write_text("x = 1")
    with pytest.raises(EntryScriptError, match="no function run"):
        resolve(script)


@pytest.mark.parametrize(
    ("status", "succeeded", "reason"),
    [(RunStatus.RUNNING, 1, "has not ended"), (RunStatus.NOT_RESPONDING, 1, "has not ended"), (RunStatus.COMPLETED, 4, "Nothing failed")],
)
def test_failed_items_are_scored_again_only_where_some_are_known(script, status, succeeded, reason):
    request = RunRequest(models=(), datasets=("d",), entry_script=str(script))
    with pytest.raises(StudioError, match=reason):
        submission.check_failed_only(Run("r", request, status, utc_now(), items_total=4, items_succeeded=succeeded))
    submission.check_failed_only(Run("r", request, RunStatus.COMPLETED, utc_now(), items_total=4, items_succeeded=3))


@pytest.mark.parametrize(("kind", "format_"), [("LightGBM text", "lightgbm"), ("HDF5 / Keras", "keras"), ("unknown", "unknown")])
def test_a_model_that_joblib_does_not_load_is_refused_for_the_built_in_script(kind, format_):
    with pytest.raises(SettingsError, match=r"m:2 is of .* and batch_scoring_script\.py loads models of joblib and pickle only") as refused:
        resolve(JOBLIB_SCRIPT, models=[replace(MODEL, kind=kind, format=format_)])  # before it is asked whether the model is approved
    assert refused.value.field == "model"


def test_a_model_that_may_fit_the_built_in_script_is_let_through(script):
    approved = replace(MODEL, approved=True)
    for format_ in ("scikit-learn", ""):  # of a folder of several, and of what was registered elsewhere, it isn't known
        resolve(JOBLIB_SCRIPT, models=[replace(approved, format=format_)])
    other = replace(approved, format="onnx")
    resolve(script, models=[other])
    resolve(JOBLIB_SCRIPT, models=[approved, other])
    resolve(JOBLIB_SCRIPT, models=[other, approved], arguments=("--model-name", "second"))


def test_the_built_in_script_is_refused_for_tables():
    with pytest.raises(SettingsError, match="t:1 is a tabular dataset") as refused:
        resolve(JOBLIB_SCRIPT, datasets=[ROWS], models=[replace(MODEL, approved=True)])
    assert refused.value.field == "dataset"


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (b"1,2.5,-3e4\n", "a.csv of d:3 has 3 fields, and model m:2 takes 4."),
        (b"1", "a.csv of d:3 has 1 field, and model m:2 takes 4."),
        (b"1,2,,4\r\n", ""),
        (b"x1,x2\n1,2\n", "a.csv of d:3 has no column for these inputs of model m:2: x3, x4."),
        (b"", ""),
        (b"\xff\xfe1\0", "a.csv of d:3 has 1 field, and model m:2 takes 4."),
        (b"\0\1", ""),
    ],
)
def test_a_row_of_another_width_than_the_models_is_warned_about(tmp_path, content, warning):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert first_row_warning(MODEL, FILES, "a.csv", path, 4, ["x1", "x2", "x3", "x4"]) == warning
    assert first_row_warning(MODEL, FILES, "a.csv", path, None) == ""
    assert first_row_warning(MODEL, FILES, "a.csv", tmp_path / "gone.csv", 4) == ""

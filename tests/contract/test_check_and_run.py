"""The command line without a script: check says what fits and why not, run takes the scorer that fits; choices are kept for a model."""

from __future__ import annotations

import csv
import io
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.cli.main import main
from services.local.workspace import LocalWorkspace

CHECK = ("check", "--model", "churn", "--dataset")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pipeline that wants named columns, and the rows it was fitted to."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"age": random.integers(18, 80, 60), "city": random.choice(["Rome", "Oslo"], 60)})
    each = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(), ["city"])])
    model = make_pipeline(each, LogisticRegression()).fit(rows, np.where(rows["age"] > 45, "stay", "leave"))
    path = tmp_path_factory.mktemp("trained") / "churn.joblib"
    joblib.dump(model, path)
    return path, rows, model


@pytest.fixture(scope="module")
def prepared(trained, tmp_path_factory):
    """A home with the model, looked into once, and its rows with a key: `rows`, and `years` where a column is called otherwise."""
    path, rows, _ = trained
    folder = tmp_path_factory.mktemp("prepared")
    workspace = LocalWorkspace(folder / "home")
    workspace.register_model("churn", path, approve=True)
    rows = rows.assign(id=range(100, 160))
    for name, frame in (("rows", rows), ("years", rows.rename(columns={"age": "years"}))):
        (folder / name).mkdir()
        frame.to_csv(folder / name / "rows.csv", index=False)
        workspace.register_dataset(name, folder / name, type="tabular")
    with redirect_stdout(StringIO()):
        assert main(["--home", str(folder / "home"), *CHECK, "rows"]) == 0
    return folder / "home"


@pytest.fixture
def home(prepared, home):
    """The test's own copy."""
    return shutil.copytree(prepared, home, dirs_exist_ok=True)


def test_check_says_what_fits_and_run_scores_it(command, workspace, trained):
    checked = command(*CHECK, "rows", "--json")
    assert (checked.code, checked.json["fits"], checked.json["problems"], checked.json["scorer"]) == (0, True, [], "score_tables")
    assert [(match["input"], match["column"], match["by"]) for match in checked.json["columns"]] == [
        ("age", "age", "name"), ("city", "city", "name"),
    ]  # fmt: skip
    done = command("run", "--model", "churn", "--dataset", "rows", "--keep", "id", "--probabilities", "all", "--wait", "--json")
    assert (done.code, done.json["status"]) == (0, "Completed")
    _, rows, model = trained
    out = list(csv.DictReader(io.StringIO(command("predictions", done.json["id"], "--to", "-").out)))
    assert [row["Prediction"] for row in out] == list(model.predict(rows))
    assert [row["id"] for row in out] == [str(number) for number in range(100, 160)]
    stays = model.predict_proba(rows)[:, list(model.classes_).index("stay")]
    assert [float(row["probability stay"]) for row in out] == pytest.approx(stays)


def test_what_cannot_fit_is_refused_with_the_same_words_before_anything_starts(command, workspace):
    checked = command(*CHECK, "years", "--json")
    assert checked.code == 2
    (problem,) = checked.json["problems"]
    assert (problem["where"], problem["what"]) == ("inputs", "years:1 has no column for the model’s input “age”")
    refused = command("run", "--model", "churn", "--dataset", "years", "--json")
    assert (refused.code, refused.error["field"], refused.error["message"]) == (2, "inputs", problem["what"])
    assert workspace.runs.latest() == []
    text = command(*CHECK, "years")
    assert text.out.startswith("It does not fit.\ninputs: years:1 has no column")


def test_a_choice_is_kept_for_the_model_and_said_when_it_is_applied(command, workspace):
    chosen = command("run", "--model", "churn", "--dataset", "years", "--input", "age=years", "--keep", "id", "--json")
    assert chosen.code == 0
    workspace.runs.cancel(chosen.json["id"])
    checked = command(*CHECK, "years", "--json")
    assert (checked.code, checked.json["preset"]) == (0, {"inputs": {"age": "years"}, "keep": ["id"]})
    assert "Applied what was chosen for churn last: --input age=years --keep id" in command(*CHECK, "years").out
    assert command(*CHECK, "years", "--preset", "off").code == 2
    other = command(*CHECK, "rows", "--json").json  # which has no such column
    assert (other["fits"], other["preset"]) == (True, {"keep": ["id"]})


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--scorer", "nothing"), "scorer"),
        (("--scorer", "score_images"), "scorer"),
        (("--input", "agee=age"), "inputs"),
        (("--input", "age"), "inputs"),
        (("--keep", "nowhere"), "keep"),
        (("--top", "none"), "top"),
        (("--top", "2", "--probabilities", "all"), "top"),
    ],
)
def test_wrong_choices_are_refused_at_their_field(command, options, field):
    refused = command("run", "--model", "churn", "--dataset", "rows", *options, "--json")
    assert (refused.code, refused.error["field"]) == (2, field)


def test_without_a_model_or_an_approval_nothing_is_scored(command, workspace, model_file, csv_folder):
    workspace.register_dataset("d", csv_folder(2))
    assert command("run", "--dataset", "d", "--json").error["field"] == "model"
    workspace.register_model("waiting", model_file)
    checked = command("check", "--model", "waiting", "--dataset", "d", "--json")
    assert (checked.code, checked.json["problems"][0]["where"]) == (2, "model")
    assert "model approve waiting:1" in checked.json["problems"][0]["hint"]


def test_options_of_the_scorers_are_refused_beside_a_script_of_ones_own(command, workspace, entry_script):
    script = entry_script("def run(mini_batch):\n    return mini_batch")
    common = ("--model", "churn", "--dataset", "rows", "--entry-script", script)
    assert command("run", *common, "--keep", "id", "--json").error["field"] == "keep"
    checked = command("check", *common, "--json")
    assert (checked.code, checked.json["scorer"]) == (0, None)


def test_rows_in_files_that_lack_a_column_are_warned_about(command, workspace, tmp_path):
    (tmp_path / "headed").mkdir()
    (tmp_path / "headed" / "1.csv").write_text("years,city\n44,Rome\n")
    workspace.register_dataset("headed", tmp_path / "headed")
    checked = command(*CHECK, "headed", "--json").json
    assert (checked["fits"], checked["scorer"]) == (True, "score_rows")
    assert checked["warnings"] == ["1.csv of headed:1 has no column for these inputs of model churn:1: age."]


def test_a_model_whose_file_is_gone_fits_nothing(command, workspace, trained):
    Path(workspace.register_model("churn", trained[0]).path).unlink()
    checked = command(*CHECK, "rows", "--json")
    assert (checked.code, checked.json["fits"], checked.json["problems"][0]["where"]) == (2, False, "model")
    assert "is gone" in checked.json["problems"][0]["what"]

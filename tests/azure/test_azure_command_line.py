"""`python -m services --workspace azure`: the same verbs, JSON and exit codes as on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.azure.auth import throttling
from services.azure.sdk_v1.session import SDK_BACKOFF
from services.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
PROJECT = Path(__file__).parents[2]
TUTORIAL_SCRIPT = PROJECT / "tests" / "scripts" / "tutorial_script.py"


@pytest.fixture
def command_in(tmp_path, monkeypatch, capfd) -> Callable[[Path], Callable[..., tuple[int, dict, str]]]:
    """`command_in(home)` is a command in a folder of its own: exit code, the one JSON object on standard output, and standard error."""
    monkeypatch.chdir(tmp_path)

    def of(home: Path) -> Callable[..., tuple[int, dict, str]]:
        def call(*arguments: object, **variables: str) -> tuple[int, dict, str]:
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            capfd.readouterr()
            code = main(["--workspace", "azure", "--home", str(home), "--json", *map(str, arguments)])
            out, err = capfd.readouterr()
            return code, json.loads(out), err

        return call

    return of


@pytest.fixture
def command(azure, home, command_in) -> Callable[..., tuple[int, dict, str]]:
    """A command on the test's own workspace."""
    return command_in(home)


def test_the_tutorial_from_registering_to_the_csv(command, model_file, csv_folder, tmp_path):
    code, model, _ = command("model", "register", "classification_model", model_file, "--tag", "team=a")
    assert (code, model["reference"], model["tags"]) == (0, "classification_model:1", {"team": "a"})
    code, dataset, _ = command("dataset", "register", "rows", csv_folder(7))
    assert (code, dataset["reference"], dataset["file_count"]) == (0, "rows:1", 7)

    run = (
        "run",
        "--model",
        "classification_model",
        "--dataset",
        "rows",
        "--entry-script",
        TUTORIAL_SCRIPT,
        "--compute-target",
        "cpu-cluster",
    )
    code, value, result = command(*run, "--mini-batch-size", 3, "--error-threshold", -1, "--process-count-per-node", 1, "--wait")
    assert code == 0, (value, result)
    assert "7 files in 3 mini-batches of 3, on 1 node of 1 worker" in result
    assert (value["status"], value["items_succeeded"], value["mini_batches_done"]) == ("Completed", 7, 3)

    code, shown, _ = command("show", value["id"])
    made_at = shown["environment"].pop("created_at")
    assert (code, shown["status"], bool(made_at)) == (0, "Completed", True)
    assert command("output", value["id"], "--to", "out")[0] == 0
    rows = (tmp_path / "out" / "parallel_run_step.txt").read_text().splitlines()
    assert sorted(rows) == [f"000{number}.csv: {number % 3}" for number in range(7)]
    assert command("predictions", value["id"], "--to", "p.csv", "--where", "Prediction = '2'")[1]["rows"] == 2
    assert (tmp_path / "p.csv").read_text() == "File,Prediction\n0002.csv,2\n0005.csv,2\n"
    code, logs, _ = command("logs", value["id"])
    assert (code, "logs/job_result.txt" in logs["logs"] or bool(logs["logs"])) == (0, True)


def test_check_says_which_scorer_fits_on_azure_too(command, model_file, tmp_path):
    command("model", "register", "m", model_file)  # of three columns
    for name, columns in (("three", "a,b,c"), ("two", "a,b")):
        (tmp_path / f"{name}.csv").write_text(f"{columns}\n" + "1,2,3"[: len(columns)] + "\n")
        assert command("dataset", "register", name, tmp_path / f"{name}.csv", "--type", "tabular")[0] == 0
    code, checked, _ = command("check", "--model", "m", "--dataset", "three", "--compute-target", "cpu-cluster")
    assert (code, checked["fits"], checked["scorer"]) == (0, True, "score_tables"), checked
    code, checked, _ = command("check", "--model", "m", "--dataset", "two", "--compute-target", "cpu-cluster")
    assert (code, [problem["where"] for problem in checked["problems"]]) == (2, ["inputs"]), checked


def test_a_run_is_published_run_again_and_scheduled(command_in, of_nightly, nightly):
    command, run_id = command_in(nightly.home), nightly.run.id
    code, published, _ = command("pipeline", "publish", run_id, "--name", "by-command", "--description", "every night")
    assert (code, published["name"], published["active"], published["defaults"]["mini_batch_size"]) == (0, "by-command", True, "3")
    assert published in command("pipeline", "list")[1]["pipelines"]
    code, again, said = command("pipeline", "run", published["id"], "--parameter", "mini_batch_size=2", "--name", "again", "--wait")
    assert (code, again["status"], again["mini_batches_done"], again["name"]) == (0, "Completed", 4, "again"), (again, said)
    history = [pipeline_run["run_id"] for pipeline_run in command("pipeline", "history")[1]["pipeline_runs"]]
    assert history.index(again["id"]) < history.index(run_id)

    weekly = ("--every", "week", "--interval", 2, "--at", "06:30", "--on", "Monday")
    code, schedule, _ = command("schedule", "create", published["id"], "--name", "early", *weekly)
    assert (code, schedule["name"], schedule["recurrence"]) == (0, "early", "every 2 weeks on Monday at 06:30 UTC")
    assert command("schedule", "disable", schedule["id"])[1] == {"id": schedule["id"], "active": False}
    assert schedule | {"active": False} in command("schedule", "list")[1]["schedules"]
    assert command("schedule", "enable", schedule["id"])[0] == 0
    assert command("pipeline", "disable", published["id"])[1] == {"id": published["id"], "active": False}
    for invalid, field in (
        (("pipeline", "run", published["id"], "--parameter", "error_threshold=1"), "error_threshold"),
        (("schedule", "create", published["id"], "--name", "x", "--every", "day", "--at", "25:00"), "time_of_day"),
        (("schedule", "create", published["id"], "--name", "x", "--every", "day", "--interval", "0"), "interval"),
        (("pipeline", "publish", run_id, "--name", " "), "name"),
    ):
        code, value, _ = command(*invalid)
        assert (code, value["error"]["field"]) == (2, field)


def test_a_run_is_renamed_tagged_and_described_and_the_command_says_where(command_in, of_nightly, nightly):
    command, run_id = command_in(nightly.home), nightly.run.id
    there, here = "Here and in Azure ML, where everyone who uses the workspace sees it.", "On this machine only: "

    def known() -> dict:
        return next(run for run in command("pipeline", "history")[1]["pipeline_runs"] if run["run_id"] == run_id)

    def kept() -> list[object]:
        shown = command("show", run_id)[1]
        return [shown[name] for name in ("name", "note", "tags", "pinned")]

    before = kept()
    for words, field, value in (
        (("rename", run_id, 'May: "final", <b>'), "name", 'May: "final", <b>'),
        (("tag", run_id, "checked=yes"), "tags", {"checked": "yes"}),
        (("note", run_id, "For the board."), "note", "For the board."),
    ):
        code, said, _ = command("runs", *words)
        assert (code, said[field], said["kept"]) == (0, value, there), said
    found = known()
    assert (found["title"], found["tags"], found["note"]) == ('May: "final", <b>', {"checked": "yes"}, "For the board.")
    assert command("runs", "pin", run_id)[1]["kept"].startswith(here)
    assert command("dataset", "tag", "rows", "season=summer")[1]["kept"].startswith("In Azure ML, for all versions of rows")
    assert command("dataset", "list")[1]["datasets"][0]["tags"] == {"season": "summer"}
    for undo in (
        ("runs", "rename", run_id, ""),
        ("runs", "tag", run_id, "checked="),
        ("runs", "note", run_id, ""),
        ("runs", "pin", run_id, "--undo"),
        ("dataset", "tag", "rows", "season="),
    ):
        assert command(*undo)[0] == 0, undo
    assert (known()["tags"], known()["note"]) == ({}, "")
    assert kept() == before


def test_the_shell_script_of_a_run_does_it_again_from_any_folder(command, azure, csv_folder, tmp_path):
    assert command("dataset", "register", "rows", csv_folder(3))[0] == 0
    assert command("model", "register", "classification_model", csv_folder(1, "weights") / "0000.csv")[0] == 0
    script = tmp_path / "it's here" / "script.py"
    script.parent.mkdir()
    script.write_text("def run(mini_batch):\n    return [f'{len(mini_batch)} {path[-8:]}' for path in mini_batch]\n")
    code, first, said = command(
        *("run", "--dataset", "rows", "--model", "classification_model", "--entry-script", script, "--compute-target", "cpu-cluster"),
        *("--name", "first: \"it's\"", "--mini-batch-size", 2, "--process-count-per-node", 1),
        *("--argument=--text", "--argument=a 'b' $HOME", "--environment-variable", "DOOR=sesame", "--wait"),
    )  # fmt: skip
    assert (code, first["status"]) == (0, "Completed"), (first["error"], said)
    target = tmp_path / "again.sh"
    assert command("export", first["id"], "--as", "cli", "--to", target)[1]["as"] == "cli"
    assert "sesame" not in target.read_text()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("BATCH_SCORING", "PYTHON"))} | azure.environment

    def executed(*options: str, **more: str) -> subprocess.CompletedProcess:
        words = ["sh", str(target), *options]
        return subprocess.run(
            words, cwd=elsewhere, env=variables | more, capture_output=True, encoding="utf-8", timeout=240, check=False
        )  # fmt: skip

    stopped = executed()
    assert (stopped.returncode, "Set the variable DOOR" in stopped.stderr) == (2, True), stopped
    done = executed("--allow-reuse", "off", "--json", DOOR="sesame")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert (again["status"], again["name"], again["id"] != first["id"]) == ("Completed", first["name"], True)
    home = {run["id"]: run for run in command("runs")[1]["runs"]}
    assert home.keys() == {first["id"], again["id"]}
    for run in (first["id"], again["id"]):
        assert command("output", run, "--to", f"out {run}")[0] == 0
    rows = [sorted((tmp_path / f"out {run}" / "parallel_run_step.txt").read_text().splitlines()) for run in (first["id"], again["id"])]
    assert rows[0] == rows[1] == ["1 0002.csv", "2 0000.csv", "2 0001.csv"]


def test_a_schedule_is_added_to_azures_and_removed_from_them(command, csv_folder):
    assert command("dataset", "register", "rows", csv_folder(3))[0] == 0
    add = (
        "schedule",
        "add",
        "mornings",
        "--dataset",
        "rows",
        "--entry-script",
        TUTORIAL_SCRIPT,
        "--compute-target",
        "cpu-cluster",
        "--every",
    )
    code, refused, _ = command(*add, "daily", "--new-only")
    assert (code, refused["error"]["field"]) == (2, "new_only")
    assert "which content of a file an earlier run has scored" in refused["error"]["message"]
    code, refused, _ = command(*add, "0 0 1 * mon")
    assert (code, refused["error"]["field"]) == (2, "every")
    assert command("runs")[1]["runs"] == []
    code, schedule, said = command(*add, "30 6 * * mon")
    assert (code, schedule["name"], schedule["recurrence"]) == (0, "mornings", "every week on Monday at 06:30 UTC"), (schedule, said)
    (listed,) = [one for one in command("schedule", "list")[1]["schedules"] if one["id"] == schedule["id"]]
    assert (listed["active"], listed["pipeline_id"]) == (True, schedule["pipeline"])
    assert command("schedule", "remove", "mornings")[1]["disabled"] == [schedule["id"]]
    assert [one["active"] for one in command("schedule", "list")[1]["schedules"] if one["id"] == schedule["id"]] == [False]
    assert command("schedule", "remove", "nothing")[1]["error"]["type"] == "NotFound"
    assert command("schedule", "run", "mornings")[1]["error"]["field"] == "workspace"
    command("cancel", schedule["run"])


def test_a_model_is_registered_from_a_training_run_and_deleted(command, ws, tmp_path):
    from azureml.core import Experiment

    (tmp_path / "m.pkl").write_bytes(b"weights")
    training = Experiment(ws, "train").start_logging(snapshot_directory=None)
    training.upload_file("outputs/m.pkl", str(tmp_path / "m.pkl"))
    training.complete()
    assert command("experiment", "list")[1] == {"experiments": ["train"]}
    assert [run["id"] for run in command("experiment", "runs", "train")[1]["training_runs"]] == [training.id]
    assert command("experiment", "files", "train", training.id)[1] == {"files": ["outputs/m.pkl"]}
    code, model, _ = command("model", "register-from-run", "m", "train", training.id, "outputs/m.pkl", "--tag", "by=train")
    assert (code, model["reference"], model["tags"]) == (0, "m:1", {"by": "train"})
    code, value, _ = command("model", "delete", "m:1")
    assert (code, value["error"]["field"]) == (2, "yes")
    assert "in Azure ML, for everyone" in " ".join(value["error"]["dependents"][0]["sentences"])
    assert command("model", "delete", "m:1", "--yes")[:2] == (0, {"deleted": "m:1", "freed": 0})
    assert command("model", "list")[1] == {"models": []}
    assert command("model", "delete", "m:1", "--yes")[1]["error"]["type"] == "NotFound"


def test_refused_input_exits_2_and_an_unreachable_workspace_3(command, csv_folder, azure, home):
    assert command("dataset", "register", "rows", csv_folder(2))[0] == 0
    run = ("run", "--dataset", "rows", "--entry-script", "batch_scoring_script")
    for options, field in (
        (("--compute-target", "ghost"), "compute_target"),
        ((), "compute_target"),
        (("--compute-target", "cpu-cluster", "--node-count", 99), "node_count"),
    ):
        code, value, _ = command(*run, *options)
        assert (code, value["error"]["type"], value["error"]["field"]) == (2, "SettingsError", field)
    code, value, _ = command("model", "list", AZURE_CLIENT_SECRET="wrong-secret-of-the-test")
    assert (code, value["error"]["type"]) == (3, "WorkspaceUnavailable")
    log = (home / "logs" / "dashboard.log").read_text(encoding="utf-8")
    assert "WorkspaceUnavailable" in log
    assert "wrong-secret-of-the-test" not in log
    code, value, _ = command("model", "list", AZURE_SUBSCRIPTION_ID="")
    assert (code, value["error"]["type"]) == (3, "WorkspaceUnavailable")
    assert "AZURE_SUBSCRIPTION_ID" in value["error"]["message"]


def test_the_workspace_is_found_by_its_config_json(command, azure, tmp_path):
    names = {"subscription_id": "AZURE_SUBSCRIPTION_ID", "resource_group": "AZURE_RESOURCE_GROUP", "workspace_name": "AZURE_WORKSPACE_NAME"}
    (tmp_path / ".azureml").mkdir()
    given = {name: azure.environment[variable] for name, variable in names.items()}
    (tmp_path / ".azureml" / "config.json").write_text(json.dumps(given))
    code, value, _ = command("model", "list", **dict.fromkeys(names.values(), ""))
    assert (code, value) == (0, {"models": []})


def test_a_command_prints_one_json_object_and_nothing_from_the_sdk(azure, tmp_path, csv_folder):
    command = [sys.executable, "-m", "services", "--workspace", "azure", "--home", tmp_path / "home", "--json"]
    command += ["dataset", "register", "rows", csv_folder(2)]
    environment = {**os.environ, **azure.environment, "PYTHONWARNINGS": "default"}
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert (result.returncode, json.loads(result.stdout)["reference"]) == (0, "rows:1"), result


def test_a_refusal_is_printed_without_the_sdk_s_output(azure, tmp_path, model_file):
    azure.service.fault("POST *modelmanagement*/models", status=400, message="No such luck.", count=None)
    command = [sys.executable, "-m", "services", "--workspace", "azure", "--home", tmp_path / "home", "model", "register", "m", model_file]
    result = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **azure.environment}, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) <= 2, result.stderr
    assert "Model m was not registered" in result.stderr.splitlines()[0]
    assert "No such luck." in result.stderr


def test_a_throttled_command_says_that_it_retries(command, azure, model_file, monkeypatch):
    from azureml._restclient import clientbase

    monkeypatch.setattr(throttling, "NOTIFY_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(clientbase, "DEFAULT_BACKOFF", 1)  # of 32 seconds
    azure.service.fault("POST *modelmanagement*/models", status=429, retry_after=2)
    code, model, result = command("model", "register", "m", model_file)
    assert (code, model["reference"]) == (0, "m:1")
    assert result.count("Azure answers 429 Too Many Requests: retrying") == 1, result
    assert "retrying" not in command("model", "list")[2]


def test_a_command_gives_up_soon_where_azure_stays_busy(command, azure, monkeypatch):
    from azureml._restclient import clientbase

    assert SDK_BACKOFF.keys() == {clientbase.DEFAULT_BACKOFF_ENV_VAR, clientbase.DEFAULT_503_BACKOFF_ENV_VAR}
    monkeypatch.setattr(clientbase, "DEFAULT_BACKOFF", 0)
    azure.service.fault(
        "GET *modelmanagement*/models*", status=429, retry_after=60, count=None
    )  # twelve minutes of them, as the SDK has it
    code, result, _ = command("model", "list")
    assert (code, result["error"]["type"]) == (3, "WorkspaceUnavailable")
    assert result["error"]["hint"] == "Try again in some minutes."

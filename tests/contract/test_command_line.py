"""The command line: from registering to the CSV file, exit codes, invalid input, and JSON on standard output only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest

from services.cli import output
from services.cli.main import main

PROJECT = Path(__file__).parents[2]
TUTORIAL_SCRIPT = PROJECT / "tests" / "scripts" / "tutorial_script.py"


# ---- from registering to the CSV -------------------------------------------------------------------------------------------------------


def test_the_tutorial_script_runs_unmodified_to_the_csv(real_command, model_file, csv_folder, tmp_path):
    assert real_command("model", "register", "classification_model", model_file, "--approve").code == 0
    assert real_command("dataset", "register", "rows", csv_folder(7)).code == 0

    run = ["--model", "classification_model", "--dataset", "rows:1", "--entry-script", TUTORIAL_SCRIPT, "--process-count-per-node", 1]
    result = real_command("run", *run, "--mini-batch-size", 3, "--error-threshold", -1, "--wait", "--json")
    assert result.code == 0, result
    assert (result.json["status"], result.json["items_succeeded"], result.json["mini_batches_done"]) == ("Completed", 7, 3)

    assert real_command("output", result.json["id"], "--to", tmp_path / "out").code == 0
    rows = (tmp_path / "out" / "parallel_run_step.txt").read_text().splitlines()
    assert sorted(rows) == [f"000{number}.csv: {number % 3}" for number in range(7)]
    assert real_command("predictions", result.json["id"], "--to", tmp_path / "p.csv", "--where", "Prediction = '2'").code == 0
    assert (tmp_path / "p.csv").read_text() == "File,Prediction\n0002.csv,2\n0005.csv,2\n"


def test_the_built_in_script_is_found_by_its_bare_name(command, model_file, csv_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("model", "register", "any-name", model_file, "--approve")
    command("dataset", "register", "rows", csv_folder(4))
    one_process = ("--process-count-per-node", 1)
    result = command(
        "run", "--model", "any-name:1", "--dataset", "rows", "--entry-script", "batch_scoring_script", *one_process, "--wait", "--json"
    )
    assert result.code == 0, result
    command("output", result.json["id"], "--to", ".")
    assert Path("parallel_run_step.txt").read_bytes() == b"0000.csv: 0\n0001.csv: 1\n0002.csv: 2\n0003.csv: 0\n"


def test_tables_are_registered_listed_and_scored(command, tmp_path, entry_script):
    for store in (1, 2):
        (tmp_path / "tables" / f"store={store}").mkdir(parents=True)
        (tmp_path / "tables" / f"store={store}" / "part.csv").write_text(f"sold\n{store}0\n{store}1\n")
    tabular = ("--type", "tabular", "--partition-format", "store={store}/part.csv")
    assert command("dataset", "register", "t", tmp_path / "tables", *tabular).out == (
        f"Registered t:1 (4 rows in 2 files, 22 bytes, in {tmp_path / 'tables'})\n  sold: int64\n"
    )
    (value,) = command("dataset", "list", "--json").json["datasets"]
    assert value.items() >= {"type": "tabular", "row_count": 4, "columns": [["sold", "int64"]], "format": "csv"}.items()
    assert " 4 rows " in command("dataset", "list").out

    script = entry_script("def run(mini_batch): return [mini_batch.store.iloc[0]] * len(mini_batch)")
    run = ("run", "--dataset", "t", "--entry-script", script, "--process-count-per-node", 1, "--partition-keys", "store", "--wait")
    result = command(*run)
    assert "4 rows in 2 mini-batches, one for each store, on 1 worker; never stops for failed rows: 10 may fail" in result.err
    assert (result.code, "4 of 4 succeeded" in result.out) == (0, True)
    assert command(*run, "--mini-batch-size", "1kb", "--json").error["field"] == "partition_keys"


@pytest.mark.parametrize("ending", ["zip", "tar", "gztar"])
def test_an_archive_is_unpacked_and_says_what_it_left_out(command, csv_folder, tmp_path, ending):
    folder = csv_folder(3)
    for name in ("._0000.csv", "._0001.csv", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    archive = shutil.make_archive(str(tmp_path / "files"), ending, folder)
    result = command("dataset", "register", "d", archive)
    assert (result.code, result.out.splitlines()[1]) == (0, "Left out: 3 (2 × ._*, 1 × .DS_Store)")
    value = command("dataset", "register", "d", archive, "--json").json
    assert (value["file_count"], value["in_place"], value["left_out"]) == (3, False, {"._*": 2, ".DS_Store": 1})
    kept = command("dataset", "register", "whole", archive, "--keep-archive", "--json").json
    assert (kept["file_count"], kept["size"], kept["left_out"]) == (1, os.path.getsize(archive), {})


def test_a_folder_says_what_it_left_out_and_what_is_not_followed(command, csv_folder):
    folder = csv_folder(2)
    (folder / "@eaDir").mkdir()
    (folder / "thumbs.db").touch()
    (folder / "linked").symlink_to(csv_folder(1, "elsewhere"))
    lines = command("dataset", "register", "d", folder).out.splitlines()
    assert lines[1] == "Left out: 3 (1 × @eaDir/, 1 × links to folders, 1 × thumbs.db)"
    assert lines[2].startswith("Links to folders are not followed: ")
    value = command("dataset", "list", "--json").json["datasets"][0]
    assert value["left_out"] == {"@eaDir/": 1, "links to folders": 1, "thumbs.db": 1}
    assert value["notes"] == [lines[2]]


def test_a_folder_of_spark_is_a_table_and_a_lost_zero_is_said(command, tmp_path):
    folder = tmp_path / "spark"
    (folder / "_temporary").mkdir(parents=True)
    for name, content in {"part-0.csv": b"zip,n\n00501,1\n", "_SUCCESS": b"", ".part-0.csv.crc": b"crc\0"}.items():
        (folder / name).write_bytes(content)
    lines = command("dataset", "register", "t", folder, "--type", "tabular").out.splitlines()
    assert lines[3] == "Left out: 3 (1 × .*, 1 × _*, 1 × _*/)"
    assert lines[4].startswith("Leading zeros are lost in 1 column read as numbers: “zip” (00501).")


def test_an_archive_that_cannot_be_unpacked_names_the_way_out(command, tmp_path):
    (tmp_path / "files.7z").write_bytes(b"7z")
    result = command("dataset", "register", "d", tmp_path / "files.7z")
    assert (result.code, "--keep-archive" in result.err) == (2, True)
    assert command("dataset", "register", "d", tmp_path / "files.7z", "--keep-archive").code == 0


# ---- exit codes, and JSON on standard output only --------------------------------------------------------------------------------------


def test_a_completed_run_exits_0_and_show_prints_the_same(completed_run):
    command, result = completed_run.command, completed_run.result
    assert result.code == 0, result
    value = result.json
    assert value.items() >= {
        "name": "first", "status": "Completed", "error_code": None, "error": None, "items_total": 3, "items_succeeded": 3,
        "items_failed": 0, "mini_batches_total": 1, "mini_batches_done": 1, "warnings": [], "datasets": ["rows:1"], "models": [],
    }.items()  # fmt: skip
    assert value["settings"]["error_threshold"] == 10
    times = [value[name] for name in ("submitted_at", "started_at", "ended_at")]
    assert all(time.endswith("Z") and datetime.fromisoformat(time).tzinfo for time in times)
    assert times == sorted(times)
    assert command("show", value["id"], "--json").json == value
    assert command("runs", "--json").json == {"runs": [value | {"environment": None}]}  # the list leaves its many packages out


def test_a_failed_run_exits_1_with_its_exception_and_show_exits_0(command, run):
    result = run(
        "--wait", "--json", "--run-max-try", 1, script="def run(mini_batch):\n    raise ValueError('the seventh column is missing')"
    )
    assert result.code == 1
    assert result.json["status"] == "Failed"
    assert result.json["error_code"]
    assert "ValueError: the seventh column is missing" in result.json["error"]
    assert (result.json["items_succeeded"], result.json["items_failed"]) == (0, 3)
    shown = command("show", result.json["id"])
    assert shown.code == 0
    assert "ValueError: the seventh column is missing" in shown.out


RUN = ("run", "--dataset", "d", "--entry-script", "batch_scoring_script")
INVALID = {
    "an unknown dataset": (("run", "--dataset", "none", "--entry-script", "batch_scoring_script"), "NotFound", None),
    "an unknown model": ((*RUN, "--model", "none"), "NotFound", None),
    "an unknown script": (("run", "--dataset", "d", "--entry-script", "none.py"), "NotFound", None),
    "a script that does not parse": (("run", "--dataset", "d", "--entry-script", "{broken}"), "EntryScriptError", None),
    "a setting out of range": ((*RUN, "--node-count", "0"), "SettingsError", "node_count"),
    "a setting of another kind": ((*RUN, "--error-threshold", "few"), "SettingsError", "error_threshold"),
    "a reserved argument": ((*RUN, "--argument=--output=x"), "SettingsError", "arguments"),
    "a variable without a value": ((*RUN, "--environment-variable", "A"), "SettingsError", "environment_variables"),
    "a side input without a name": ((*RUN, "--side-input", "=d"), "SettingsError", "side_inputs"),
    "a side input of a reserved name": ((*RUN, "--side-input", "output=d"), "SettingsError", "side_inputs"),
    "a side input of a name with a space": ((*RUN, "--side-input", "class names=d"), "SettingsError", "side_inputs"),
    "an argument of a side input's name": ((*RUN, "--side-input", "labels=d", "--argument=--labels=x"), "SettingsError", "arguments"),
    "a script of an unknown user": (("run", "--dataset", "d", "--entry-script", "~no-such-user/x.py"), "NotFound", None),
    "a folder that is none": ((*RUN, "--source-directory", "{missing}"), "SettingsError", "source_directory"),
    "an unknown environment": ((*RUN, "--environment", "py38"), "NotFound", None),
    "a model that is not there": (("model", "register", "m", "{missing}"), "NotFound", None),
    "a model without a path": (("model", "register", "m", ""), "NotFound", None),
    "a model of an unknown user": (("model", "register", "m", "~no-such-user/m.pkl"), "NotFound", None),
    "a model that is empty": (("model", "register", "m", "{empty}"), "IntakeError", None),
    "a model's name": (("model", "register", "a/b", "{broken}"), "SettingsError", "name"),
    "a tag without a value": (("model", "register", "m", "{broken}", "--tag", "x"), "SettingsError", "tags"),
    "an unknown model to approve": (("model", "approve", "none:1"), "NotFound", None),
    "a folder without files": (("dataset", "register", "e", "{folder}"), "IntakeError", None),
    "a dataset without a path": (("dataset", "register", "e", ""), "NotFound", None),
    "a dataset of an unknown user": (("dataset", "register", "e", "~no-such-user/files"), "NotFound", None),
    "a pattern that nothing matches": (("dataset", "register", "e", "{csv}", "--glob", "*.png"), "IntakeError", None),
    "tables without rows": (("dataset", "register", "t", "{csv}", "--type", "tabular", "--header", "on"), "IntakeError", None),
    "an unknown type of column": (("dataset", "register", "t", "{csv}", "--type", "auto", "--column", "a=word"), "SettingsError", "column"),
    "a table’s option for files": (("dataset", "register", "t", "{csv}", "--delimiter", ";"), "SettingsError", "type"),
    "a dataset that is not there": (("dataset", "show", "none"), "NotFound", None),
    "no partition format": (("dataset", "register", "t", "{csv}", "--partition-format", "x.csv"), "SettingsError", "partition_format"),
    "a path of another format": (("dataset", "register", "t", "{csv}", "--partition-format", "{{a}}/x.csv"), "IntakeError", None),
    "an interpreter that is not there": (("environment", "register", "e", "{missing}"), "NotFound", None),
    "an interpreter of an unknown user": (("environment", "register", "e", "~no-such-user/bin/python"), "NotFound", None),
    "an interpreter that is none": (("environment", "register", "e", "{broken}"), "IntakeError", None),
    "an environment's name": (("environment", "register", "a:b", sys.executable), "SettingsError", "name"),
    "an unknown run's failed items": (("rerun", "run-1", "--failed-only"), "NotFound", None),
    "an unknown run to show": (("show", "run-1"), "NotFound", None),
    "an unknown run to cancel": (("cancel", "run-1"), "NotFound", None),
    "an unknown run to resume": (("resume", "run-1"), "NotFound", None),
    "an unknown run to rerun": (("rerun", "run-1"), "NotFound", None),
    "an unknown run's logs": (("logs", "run-1"), "NotFound", None),
    "an unknown run's output": (("output", "run-1", "--to", "{missing}"), "NotFound", None),
    "an unknown run's predictions": (("predictions", "run-1", "--to", "{missing}"), "NotFound", None),
    "an unknown model to delete": (("model", "delete", "m:1"), "NotFound", None),
    "an unknown dataset to tag": (("dataset", "tag", "x:1", "a=b"), "NotFound", None),
    "an unknown run to archive": (("runs", "archive", "run-1"), "NotFound", None),
    "a tag of a model without a value": (("model", "tag", "m:1", "a"), "SettingsError", "tags"),
    "a tag of nothing": (("model", "tag", "a=b", "c=d"), "SettingsError", "tags"),
    "a training run of this machine": (("model", "register-from-run", "m", "e", "r", "model.pkl"), "SettingsError", "workspace"),
    "experiments of this machine": (("experiment", "list"), "SettingsError", "workspace"),
    "pipelines of this machine": (("pipeline", "list"), "SettingsError", "workspace"),
    "a schedule of this machine to enable": (("schedule", "enable", "x"), "SettingsError", "workspace"),
    "an unknown schedule": (("schedule", "run", "x"), "NotFound", None),
    "no command": ((), "UsageError", None),
    "half a command": (("model",), "UsageError", None),
    "an unknown command": (("score",), "UsageError", None),
    "an unknown option": (("runs", "--all"), "UsageError", None),
    "an abbreviated option": (("run", "--dataset", "d", "--entry", "batch_scoring_script"), "UsageError", None),
    "an unknown workspace": (("--workspace", "aws", "runs"), "UsageError", None),
}
LISTINGS = (("model", "list", "--json"), ("dataset", "list", "--json"), ("environment", "list", "--json"), ("runs", "--json"))


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """What may be wrong with a path, by name; and `csv`, which is fine."""
    folder = tmp_path_factory.mktemp("places")
    paths = {name: folder / name for name in ("broken", "empty", "missing", "folder", "csv")}
    paths["broken"].write_text("def run(mini_batch)\n    return []\n")
    paths["empty"].touch()
    paths["folder"].mkdir()
    paths["csv"].mkdir()
    (paths["csv"] / "0000.csv").write_text("0.0,0.1,0.2\n")
    return paths


@pytest.fixture(scope="module")
def unchanged(places, tmp_path_factory) -> tuple[Path, list[str]]:
    """A home with dataset `d`, which nothing changes, and what is listed there."""
    home, listed = tmp_path_factory.mktemp("unchanged") / "home", []
    for words in (("dataset", "register", "d", str(places["csv"])), *LISTINGS):
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
            assert main(["--home", str(home), *words]) == 0
        listed.append(out.getvalue())
    return home, listed[1:]


@pytest.mark.parametrize(("arguments", "type_", "field"), INVALID.values(), ids=INVALID)
def test_invalid_input_exits_2_with_the_reason_and_changes_nothing(command_in, unchanged, places, arguments, type_, field):
    home, listed = unchanged
    command = command_in(home)
    arguments = [argument.format(**places) for argument in arguments]

    for_programs = command(*arguments, "--json")
    assert (for_programs.code, for_programs.err) == (2, "")
    assert for_programs.error["type"] == type_
    assert for_programs.error["field"] == field
    assert for_programs.error["message"]
    assert for_programs.error["hint"]

    for_people = command(*arguments)
    assert (for_people.code, for_people.out) == (2, "")
    assert for_people.err.startswith(f"Error: {for_programs.error['message']}\n")
    assert for_programs.error["hint"] in for_people.err
    assert [command(*listing).out for listing in LISTINGS] == listed
    assert not places["missing"].exists()


def test_a_script_that_does_not_parse_is_shown_with_its_line(command, run):
    result = run(script="def run(mini_batch):\n    retrun []")
    assert result.code == 2
    assert "script.py, line 2" in result.err
    assert "    retrun []" in result.err


def test_an_unavailable_workspace_exits_3(command, tmp_path):
    (tmp_path / "file").touch()
    for options in (("--home", tmp_path / "file" / "home"), ("--workspace", "azure")):
        result = command("runs", *options, "--json")
        assert (result.code, result.err, result.error["type"]) == (3, "", "WorkspaceUnavailable")
        result = command("runs", *options)
        assert (result.code, result.out) == (3, "")
        assert result.err.startswith("Error: ")


def test_a_killed_runner_ends_the_wait_with_1_and_how_to_resume(run, monkeypatch):
    monkeypatch.setattr(output, "NOT_RESPONDING_SECONDS", 0.1)
    result = run("--wait", "--json", script="import os\ndef run(mini_batch):\n    os.kill(os.getppid(), 9)\n    return []")
    assert (result.code, result.json["status"]) == (1, "NotResponding")
    assert f"resume {result.json['id']}" in result.err


def test_every_command_that_registers_prints_exactly_one_json_object(command, model_file, csv_folder):
    assert command("model", "register", "m", model_file, "--json").json.keys() >= {
        "name", "version", "sha256", "size", "kind", "approved", "needs_approval", "created_at",
    }  # fmt: skip
    assert command("model", "approve", "m:1", "--json").json["approved"] is True
    assert [model["name"] for model in command("model", "list", "--json").json["models"]] == ["m"]
    assert command("dataset", "register", "d", csv_folder(2, "d"), "--json").json["file_count"] == 2
    assert [dataset["name"] for dataset in command("dataset", "list", "--json").json["datasets"]] == ["d"]
    assert command("environment", "register", "e", sys.executable, "--json").json["reference"] == "e:1"
    assert [environment["name"] for environment in command("environment", "list", "--json").json["environments"]] == ["e"]


def test_every_command_about_a_run_prints_exactly_one_json_object(completed_run, tmp_path):
    command, run_id = completed_run.command, completed_run.id
    assert [run["id"] for run in command("runs", "--json").json["runs"]] == [run_id]
    assert command("show", run_id, "--json").json["id"] == run_id
    assert command("cancel", run_id, "--json").json["status"] == "Completed"
    assert command("resume", run_id, "--json").error["type"] == "StudioError"
    assert "Completed" in command("logs", run_id, "--json").json["logs"]["logs/job_result.txt"]
    to = tmp_path / "to"
    assert command("output", run_id, "--to", to, "--json").json == {"to": str(to), "files": ["parallel_run_step.txt"]}
    assert command("predictions", run_id, "--to", to / "p.csv", "--json").json == {"rows": 3, "to": str(to / "p.csv")}


# ---- the program itself ----------------------------------------------------------------------------------------------------------------


def test_a_closed_pipe_ends_quietly(started):
    reading, writing = os.pipe()
    os.close(reading)
    with started("runs", "--json", stdout=writing) as process:
        os.close(writing)
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_behind_standard_output_is_an_error_of_one_sentence(started):
    with open("/dev/full", "w") as full, started("runs", "--json", stdout=full) as process:
        assert process.stderr.read() == "Error: Cannot write standard output: No space left on device\n  Redirect it elsewhere.\n"
    assert process.returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="a shell's >&-")
def test_without_standard_output_a_command_says_so(home):
    command = f"'{sys.executable}' -m services --home '{home}' runs >&-"
    ran = subprocess.run(["sh", "-c", command], cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (2, "Error: Cannot write standard output: Bad file descriptor")


@pytest.mark.parametrize(
    "arguments",
    [("show", "\udcff"), ("model", "approve", "\udcff"), ("run", "--dataset", "\udcff", "--entry-script", "batch_scoring_script")],
)
def test_a_name_that_is_no_utf8_is_a_name_that_does_not_exist(command, arguments):
    result = command(*arguments, "--json")
    assert (result.code, result.error["type"]) == (2, "NotFound")
    assert result.error["message"].endswith("“\udcff”.")


def test_listing_runs_imports_no_heavy_package(home):
    program = (
        "import sys; from services.cli.main import main; main(sys.argv[1:]); "
        "print(sorted({'pandas', 'numpy', 'duckdb', 'pyarrow', 'sklearn', 'streamlit', 'azureml', 'tqdm'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program, "--home", home, "runs"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"

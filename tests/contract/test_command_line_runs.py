"""The command line: options reach the run; waiting, cancel, resume and rerun; outputs and logs."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from services.cli.main import main
from services.domain import Metadata, ResourceKind, RunRequest, RunStatus, utc_now
from services.settings import TABLE, ParallelRunSettings
from services.storage.store import Store

WAIT_FOR_GATE = """
    import os, time
    def run(mini_batch):
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.01)
        return mini_batch
"""


# ---- options reach the run -------------------------------------------------------------------------------------------------------------


def test_every_setting_is_an_option_and_reaches_the_run(command, run, finish, workspace):
    given = {
        "node_count": 1, "process_count_per_node": 1, "mini_batch_size": "2", "error_threshold": -1, "allowed_failed_count": 5,
        "allowed_failed_percent": 12.5, "output_action": "summary_only", "append_row_file_name": "rows.txt",
        "run_invocation_timeout": 9, "run_max_try": 2, "logging_level": "DEBUG", "environment_variables": {"A": "1=2", "B": ""},
    }  # fmt: skip
    assert given.keys() == TABLE.keys() - {"partition_keys"}
    plain = {name: value for name, value in given.items() if name != "environment_variables"}
    options = [text for name, value in plain.items() for text in (f"--{name.replace('_', '-')}", value)]
    result = run(*options, "--environment-variable", "A=1=2", "--environment-variable=B=", "--json")
    assert result.json["settings"] == given
    finish(workspace, result.json["id"])
    assert run("--partition-keys", "store", "--partition-keys", "brand", "--json").error["field"] == "partition_keys"


def test_the_help_of_run_names_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as exited:
        main(["run", "--help"])
    assert exited.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in TABLE:
        assert f"--{name.replace('_', '-').removesuffix('s')}" in text
        default = ParallelRunSettings.default(name)
        assert f"Default: {TABLE[name].unset if default is None else default}." in text


def test_arguments_variables_and_side_inputs_reach_the_script(command, run, csv_folder, tmp_path):
    command("dataset", "register", "rows", csv_folder(3))
    command("dataset", "register", "more", csv_folder(2, "more"))
    command("dataset", "register", "labels", csv_folder(1, "labels"))
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "helper_module.py").write_text("NAME = 'imported'\n")
    script = """
        import argparse, os
        import helper_module
        def init():
            global args
            parser = argparse.ArgumentParser()
            parser.add_argument("--labels")
            parser.add_argument("--flag", action="store_true")
            parser.add_argument("--word")
            args, _ = parser.parse_known_args()
        def run(mini_batch):
            words = f"{args.flag} {args.word} {os.environ['COLOUR']} {os.listdir(args.labels)} {helper_module.NAME}"
            return [f"{os.path.basename(path)}: {words}" for path in mini_batch]
    """
    result = run(
        *("--dataset", "more:1", "--side-input", "labels=labels:1", "--environment-variable", "COLOUR=a=b"),
        *("--argument=--flag", "--argument=--word", "--argument", "w", "--source-directory", tmp_path / "modules", "--wait", "--json"),
        script=script,
    )
    assert result.code == 0, result
    assert result.json["datasets"] == ["rows:1", "more:1"]
    assert result.json["items_succeeded"] == 5
    command("output", result.json["id"], "--to", tmp_path)
    words = {row.partition(": ")[2] for row in (tmp_path / "parallel_run_step.txt").read_text().splitlines()}
    assert words == {"True w a=b ['0000.csv'] imported"}


def test_a_run_in_a_registered_environment_is_shown_with_its_packages(command, run):
    registered = command("environment", "register", "mine", sys.executable, "--json").json
    waited = run("--environment", "mine", "--wait", "--json").json
    shown = command("show", waited["id"], "--json").json
    assert shown == waited
    assert shown["environment"] | {"created_at": None} == registered | {"created_at": None}
    assert shown["environment"]["packages"]["pytest"] == pytest.__version__
    assert [shown["environment"] for shown in command("runs", "--json").json["runs"]] == ["mine:1"]
    assert f"mine:1, Python {registered['python_version']}, {sys.executable}" in command("show", waited["id"]).out
    assert "mine:1" in command("environment", "list").out


def test_the_same_run_again_names_the_run_it_reused_unless_reuse_is_off(command, run):
    first = run("--wait", "--json").json
    assert (first["reused_from"], first["reuse_note"], first["allow_reuse"]) == (None, None, True)
    result = run("--wait", "--json")
    assert (result.code, result.json["status"], result.json["reused_from"]) == (0, "Completed", first["id"])
    assert f"Reused the output of {first['id']}" in result.err
    assert f"Reused from     {first['id']}\n" in command("show", result.json["id"]).out
    off = run("--wait", "--json", "--allow-reuse", "off").json
    assert (off["reused_from"], off["allow_reuse"]) == (None, False)
    changed = run("--argument=--a", "--wait", "--json").json
    assert changed["reuse_note"] == f"Scored anew: arguments changed since {off['id']}."


def test_rerun_waits_as_run_does_for_another_run_with_the_same_rows(command, run, tmp_path):
    old = run("--wait", "--json").json
    waited = command("rerun", old["id"], "--wait", "--json")
    assert (waited.code, waited.json["status"], waited.json["rerun_of"]) == (0, "Completed", old["id"])
    assert waited.json["id"] != old["id"]
    for run_id in (old["id"], waited.json["id"]):
        assert command("output", run_id, "--to", tmp_path / run_id).code == 0
    written = [(tmp_path / run_id / "parallel_run_step.txt").read_bytes() for run_id in (old["id"], waited.json["id"])]
    assert written[0] == written[1] != b""


def test_rerun_failed_only_scores_the_failed_items(command, run, finish, workspace, tmp_path):
    fixed = tmp_path / "fixed"
    script = f"""
        import os
        def run(mini_batch):
            if mini_batch[0].endswith("0001.csv") and not os.path.exists({str(fixed)!r}): raise ValueError
            return [os.path.basename(path) for path in mini_batch]
    """
    old = run("--mini-batch-size", 1, "--run-max-try", 1, "--wait", "--json", script=script).json
    fixed.touch()
    result = command("rerun", old["id"], "--failed-only")
    assert "1 file in 1 mini-batch, on 1 worker" in result.err
    rerun = finish(workspace, result.out.strip())
    shown = command("show", rerun.id, "--json").json
    assert (shown["rerun_of"], shown["failed_only"], shown["items_total"], shown["status"]) == (old["id"], True, 1, "Completed")
    assert f"Rerun of        {old['id']}, failed items only\n" in command("show", rerun.id).out
    assert command("predictions", rerun.id, "--to", tmp_path / "p.csv", "--json").json["rows"] == 3
    again = command("rerun", rerun.id, "--failed-only", "--json")
    assert (again.code, again.error["message"]) == (2, f"Nothing failed in run {rerun.id}.")


def test_program_options_are_allowed_before_or_after_the_command(home, capsys, monkeypatch):
    monkeypatch.delenv("BATCH_SCORING_HOME", raising=False)
    result = []
    for arguments in (
        ["--json", "--home", home, "model", "list"],
        ["model", "--json", "--home", home, "list"],
        ["model", "list", "--home", home, "--json", "--workspace", "local"],
    ):
        assert main([str(argument) for argument in arguments]) == 0
        result.append(capsys.readouterr().out)
    assert result == ['{"models": []}\n'] * 3


def test_the_home_comes_from_the_environment_unless_given(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_HOME", str(tmp_path / "named"))
    assert main(["runs", "--home", str(home)]) == 0
    assert not (tmp_path / "named").exists()
    assert main(["runs"]) == 0
    assert (tmp_path / "named" / "studio.db").exists()


def test_a_model_that_can_run_code_runs_only_once_approved(command, run, model_file):
    result = command("model", "register", "m", model_file, "--description", "d", "--tag", "stage=test", "--tag", "owner=a=b")
    assert "model approve m:1" in result.out
    model = command("model", "list", "--json").json["models"][0]
    assert (model["approved"], model["description"], model["tags"]) == (False, "d", {"stage": "test", "owner": "a=b"})
    assert model["sha256"] in result.out

    refused = run("--model", "m", "--json")
    assert (refused.code, refused.error["type"]) == (2, "SettingsError")
    assert model["sha256"] in refused.error["message"]
    approved = command("model", "approve", "m:1")
    assert model["sha256"] in approved.out
    assert run("--model", "m", "--wait").code == 0


# ---- waiting, cancel, resume, rerun ----------------------------------------------------------------------------------------------------


def test_run_prints_only_the_id_on_standard_output(command, run, finish, workspace):
    result = run()
    assert result.code == 0
    run_id = result.out.removesuffix("\n")
    assert "3 files in 1 mini-batch" in result.err
    assert f"show {run_id}" in result.err
    assert finish(workspace, run_id).status is RunStatus.COMPLETED


def test_a_run_is_canceled_and_can_be_resumed_to_its_end(command, run, finish, workspace, tmp_path):
    gate = tmp_path / "gate"
    run_id = run("--environment-variable", f"GATE={gate}", "--json", script=WAIT_FOR_GATE).json["id"]
    finish(workspace, run_id, until=lambda run: run.workers)
    assert command("cancel", run_id, "--json").json["status"] in ("CancelRequested", "Canceled")
    assert finish(workspace, run_id).status is RunStatus.CANCELED
    assert command("show", run_id, "--json").json["status"] == "Canceled"
    assert "0 of 3 succeeded, 0 failed, 3 skipped" in command("show", run_id).out
    gate.touch()
    assert command("resume", run_id).code == 0
    assert finish(workspace, run_id).items_succeeded == 3


def test_a_completed_run_is_not_resumed(completed_run):
    result = completed_run.command("resume", completed_run.id)
    assert result.code == 2
    assert "nothing to resume" in result.err
    assert completed_run.command("show", completed_run.id, "--json").json["status"] == "Completed"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send to another process")
def test_ctrl_c_while_waiting_leaves_the_run_running(start_run, finish, workspace, tmp_path):
    with start_run("--environment-variable", f"GATE={tmp_path / 'gate'}", "--json", script=WAIT_FOR_GATE) as process:
        while not process.stderr.readline().startswith(RunStatus.RUNNING):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    run_id = json.loads(out)["id"]
    assert process.returncode == 130
    assert f"show {run_id}" in err
    assert f"cancel {run_id}" in err
    assert "Traceback" not in err
    assert not workspace.runs.get(run_id).status.ended
    (tmp_path / "gate").touch()
    assert finish(workspace, run_id).status is RunStatus.COMPLETED


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
def test_progress_is_a_bar_on_a_terminal(start_run):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with start_run(stderr=theirs) as process, open(ours, "rb", buffering=0) as terminal:
        os.close(theirs)
        shown = b""
        try:
            while piece := terminal.read(4096):
                shown += piece
        except OSError:  # Linux's way of saying that the other end is closed
            pass
        out = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert b"100%|" in shown
    assert b"3/3" in shown
    assert "Completed" in out


# ---- outputs and logs ------------------------------------------------------------------------------------------------------------------


def test_predictions_are_written_whole_or_not_at_all(completed_run, tmp_path):
    command, run_id = completed_run.command, completed_run.id
    target = tmp_path / "out" / "p.csv"
    missing_folder = command("predictions", run_id, "--to", target, "--json")
    assert (missing_folder.code, missing_folder.error["field"]) == (2, "to")
    target.parent.mkdir()
    assert command("predictions", run_id, "--to", target).out == f"Wrote 3 rows to {target}\n"
    written = target.read_bytes()
    bad_condition = command("predictions", run_id, "--to", target, "--where", "Prediction =", "--json")
    assert (bad_condition.code, bad_condition.error["field"]) == (2, "where")
    folder = command("predictions", run_id, "--to", tmp_path, "--json")
    assert (folder.code, folder.error["field"]) == (2, "to")
    assert target.read_bytes() == written
    assert list(target.parent.iterdir()) == [target]
    for ending, beginning in ((".parquet", b"PAR1"), (".XLSX", b"PK")):
        assert command("predictions", run_id, "--to", target.with_suffix(ending)).code == 0
        assert target.with_suffix(ending).read_bytes().startswith(beginning)

    to_standard_output = command("predictions", run_id, "--to", "-")
    assert (to_standard_output.code, to_standard_output.out.encode()) == (0, written)
    assert command("predictions", run_id, "--to", "-", "--json").error["field"] == "to"


@pytest.mark.skipif(os.name == "nt", reason="there is no /dev/null")
def test_predictions_to_a_device_or_a_link_leave_it_what_it_is(completed_run, tmp_path):
    command, run_id = completed_run.command, completed_run.id
    assert command("predictions", run_id, "--to", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    assert command("predictions", run_id, "--to", link).code == 0
    assert link.is_symlink()
    assert target.read_text().startswith("File,Prediction\n0000.csv,")


def test_odd_file_names_reach_the_csv_and_are_escaped_on_a_terminal(command, entry_script, tmp_path):
    script = entry_script("import os\ndef run(mini_batch):\n    return [os.path.basename(path) + ': x' for path in mini_batch]")
    names = ["=1+1.csv", 'a,"b": c.csv', "line\nbreak.csv", "ünï.csv"]
    folder = tmp_path / "odd\x1b[31m"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    result = command("dataset", "register", "odd", folder)
    assert "odd\\x1b[31m" in result.out
    assert "\x1b" not in command("dataset", "list").out
    named = ("--name", "\x1b]0;title\x07\udcff")
    result = command("run", "--dataset", "odd", "--entry-script", script, "--process-count-per-node", 1, *named, "--wait")
    assert result.code == 0
    assert "\\x1b]0;title\\x07\\udcff" in result.out
    assert "\x1b" not in result.out + command("runs").out
    (shown,) = command("runs", "--json").json["runs"]
    assert shown["name"] == "\x1b]0;title\x07\udcff"

    command("predictions", shown["id"], "--to", tmp_path / "p.csv")
    written = (tmp_path / "p.csv").read_bytes().decode()
    assert written == 'File,Prediction\n=1+1.csv,x\n"a,""b"": c.csv",x\n"line\nbreak.csv",x\nünï.csv,x\n'


def test_logs_are_printed_in_turn_and_only_the_end_of_a_long_one(command, run):
    script = """
        def run(mini_batch):
            print("\\x1b[31mred")
            print("long " * 300_000)
            print("\\x1b[31mred")
            return mini_batch
    """
    result = run("--wait", "--json", script=script)
    printed = command("logs", result.json["id"]).out
    assert "==> logs/job_result.txt <==\nCompleted\n" in printed
    assert "long long" in printed
    assert "\\x1b[31mred" in printed
    assert "\x1b" not in printed
    assert len(printed) < 1_100_000
    logs = command("logs", result.json["id"], "--json").json["logs"]
    (stdout,) = (text for name, text in logs.items() if "/stdout/" in name)
    assert stdout.startswith("(only the last part of 1,500,0")
    assert stdout.endswith("long \n\x1b[31mred\n")


def test_a_failed_run_keeps_its_rows_as_partial_output_and_fails_again(command, run, tmp_path):
    source = "def run(mini_batch):\n    if '0002' in mini_batch[0]: raise ValueError('no')\n    return mini_batch"
    result = run("--mini-batch-size", 1, "--error-threshold", 0, "--run-max-try", 1, "--wait", "--json", script=source)
    assert result.code == 1
    assert command("output", result.json["id"], "--to", tmp_path / "out").code == 0
    assert len((tmp_path / "out" / "parallel_run_step.partial.txt").read_text().splitlines()) == 2
    assert command("rerun", result.json["id"], "--wait").code == 1


# ---- failures --------------------------------------------------------------------------------------------------------------------------


def test_failures_are_listed_each_with_its_cause_or_by_cause(command, run, tmp_path):
    reasons = "print(path, 'is', int(name[:4]), 'bytes short'); continue"
    script = f"""
        import os
        def run(mini_batch):
            rows = []
            for path in mini_batch:
                name = os.path.basename(path)
                if name != "0000.csv": {reasons}
                rows.append(f"{{name}}: ok")
            return rows
    """
    run_id = run("--error-threshold", -1, "--wait", "--json", script=script).json["id"]
    (first, second) = command("failures", run_id, "--json").json["failures"]
    assert first == {
        "item": "0001.csv", "cause": "0001.csv is 1 bytes short", "mini_batch": 0, "attempt": 1, "worker": "node 0, process000",
        "row_number": None,
    }  # fmt: skip
    assert second["item"] == "0002.csv"
    causes = {"causes": [{"cause": "… is … bytes short", "count": 2, "share": 1.0, "example": "0001.csv"}]}
    assert command("failures", run_id, "--by-cause", "--json").json == causes
    assert "0002.csv is 2 bytes short" in command("failures", run_id).out
    assert "100.0%" in command("failures", run_id, "--by-cause").out
    assert command("failures", run_id, "--to", tmp_path / "f.csv").out == f"Wrote the failed items to {tmp_path / 'f.csv'}\n"
    header, *lines = (tmp_path / "f.csv").read_text("utf-8").splitlines()
    assert header == "item,cause,mini_batch,attempt,worker,row_number"
    assert lines[0] == '0001.csv,0001.csv is 1 bytes short,0,1,"node 0, process000",'
    assert command("failures", run_id, "--by-cause", "--to", "-").out.splitlines()[1] == "… is … bytes short,2,1.0,0001.csv"


def test_failures_of_hostile_names_come_through_unharmed(command, workspace, entry_script, tmp_path):
    names = ["=1+1.csv", 'a"b,c.csv', "line\nbreak.csv", "ü \u202e.csv"]
    (tmp_path / "hostile").mkdir()
    for name in names:
        (tmp_path / "hostile" / name).write_text("1\n")
    command("dataset", "register", "hostile", tmp_path / "hostile")
    script = entry_script(
        "import logging\ndef run(mini_batch):\n    for path in mini_batch: logging.error('%r is bad', path)\n    return []\n"
    )
    options = (
        "--dataset",
        "hostile",
        "--entry-script",
        script,
        "--output-action",
        "summary_only",
        "--error-threshold",
        -1,
        "--wait",
        "--json",
    )
    run_id = command("run", *options).json["id"]
    command("failures", run_id, "--to", tmp_path / "f.csv", "--safe")
    with open(tmp_path / "f.csv", newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["item"] for row in rows} == {"'=1+1.csv", *names[1:]}
    assert all("is bad" in row["cause"] for row in rows)
    assert {item["item"] for item in command("failures", run_id, "--json").json["failures"]} == {*names}


def test_a_condition_on_status_error_or_cause_looks_at_all_rows(partly_failed):
    def files(where):
        lines = partly_failed.command("predictions", partly_failed.id, "--to", "-", "--where", where).out.splitlines()
        return [line.split(",")[0] for line in lines[1:]]

    assert files("Status = 'failed'") == files("error LIKE '%0001%' AND \"Cause\" IS NOT NULL") == ["0001.csv"]
    assert files("File <> 'Status'") == ["0000.csv", "0002.csv"]
    assert files("Status <> 'failed' OR File = '0001.csv'") == ["0000.csv", "0001.csv", "0002.csv"]


# ---- the list of runs ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(workspace):
    """Three runs as their own processes left them: `old`, `failed` and `archived`."""
    store = Store(workspace.home)
    for run_id in ("old", "failed", "archived"):
        store.insert_run(run_id, RunRequest((), ("d:1",), "/s/score.py", name=f"{run_id}'s name"), 10, 1)
        store.update_run(run_id, status=RunStatus.FAILED if run_id == "failed" else RunStatus.COMPLETED, ended_at=utc_now())
    store.change_metadata(ResourceKind.RUN, "failed", lambda _: Metadata(tags={"season": "june"}, note="late"))
    store.change_metadata(ResourceKind.RUN, "archived", lambda _: Metadata(archived=True))


def test_runs_are_listed_without_the_archived_ones(command, recorded):
    def ids(*options):
        return [run["id"] for run in command("runs", *options, "--json").json["runs"]]

    assert ids() == ["failed", "old"]
    assert ids("--archived") == ["archived", "failed", "old"]
    assert ids("--limit", "1") == ["failed"]


def test_a_condition_chooses_the_runs_to_list(command, recorded):
    result = command("runs", "--where", "tags['season'] = 'june' AND submitted_at > '2026-01-01T00:00:00Z'", "--json")
    (run,) = result.json["runs"]
    assert (run["id"], run["tags"], run["note"], run["archived"]) == ("failed", {"season": "june"}, "late", False)
    assert command("runs", "--where", "name = 'archived''s name'", "--json").json["runs"] == []
    assert "archived's name" in command("runs", "--where", "name = 'archived''s name'", "--archived").out


def test_a_condition_that_reads_something_else_is_invalid_input(command, recorded):
    result = command("runs", "--where", "id = (SELECT current_setting('memory_limit'))", "--json")
    assert (result.code, result.error["field"]) == (2, "where")
    assert "subquery" in result.error["message"]

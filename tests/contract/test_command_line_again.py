"""The command line: what is done again and again. `run --new-only`, schedules."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from services.cli.main import _parser
from tests.contract.conftest import ECHO


def age(folder):
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))


@pytest.fixture
def rows(csv_folder, command):
    """A registered folder of three files that nobody is writing."""
    folder = csv_folder(3)
    age(folder)
    assert command("dataset", "register", "rows", folder).code == 0
    return folder


# ---- run --new-only --------------------------------------------------------------------------------------------------------------


def test_run_new_only_scores_what_came_and_says_what_it_was_added_to(command, run, rows, tmp_path):
    first = run("--new-only", "--wait", "--json").json
    (rows / "new.csv").write_text("7\n")
    os.utime(rows / "new.csv", (1, 1))
    second = run("--new-only", "--wait", "--json")
    found = second.json
    assert (second.code, found["status"], found["items_total"]) == (0, "Completed", 1)
    assert (found["new_only"], found["rerun_of"], found["datasets"]) == (True, first["id"], ["rows:2"])
    assert f"Added to {first['id']}, of which 3 files stay: 1 new file." in second.err
    assert f"Added to        {first['id']}\n" in command("show", found["id"]).out
    assert command("predictions", found["id"], "--to", tmp_path / "all.csv", "--json").json["rows"] == 4


def test_run_new_only_without_news_starts_nothing_and_succeeds(command, run, rows):
    first = run("--new-only", "--wait", "--json").json
    (rows / "young.csv").write_text("7\n")
    result = run("--new-only", "--json")
    found = result.json
    assert (result.code, found["id"], found["status"], found["items_total"]) == (0, None, "NothingNew", 0)
    assert (found["adds_to"], found["kept"], found["waiting"]) == (first["id"], 3, ["young.csv"])
    plain = run("--new-only")
    assert (plain.code, plain.out) == (0, "")
    assert "Nothing is new in rows: 3 files are scored" in plain.err
    assert "young.csv" in plain.err
    assert len(command("runs", "--json").json["runs"]) == 1


def test_run_new_only_marks_what_is_gone_though_nothing_is_new(command, run, rows, tmp_path):
    first = run("--new-only", "--wait", "--json").json
    gone = min(rows.iterdir())
    gone.unlink()
    result = run("--new-only", "--json")
    assert (result.code, result.json["status"], result.json["kept"], result.json["gone"]) == (0, "NothingNew", 2, 1)
    assert f"1 file is gone: the rows stay in {first['id']}, marked as gone." in result.err
    where = "\"Input file\" = 'gone'"
    command("predictions", first["id"], "--to", tmp_path / "gone.csv", "--where", where)
    assert gone.name in (tmp_path / "gone.csv").read_text()
    assert command("predictions", first["id"], "--to", tmp_path / "gone.csv", "--where", where, "--json").json["rows"] == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_run_new_only_scores_what_is_dropped_each_day_in_any_dialect(command, tmp_path, entry_script, ending):
    def drop(day):
        path = inbox / f"{day}.{ending}"
        path.write_text("key;value\nx;1,5\n" if ending == "csv" else '{"key": "x", "value": 1.5}\n')
        os.utime(path, (day, day))

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    drop(1)
    assert command("dataset", "register", "inbox", inbox, "--type", "tabular").code == 0
    script = entry_script("def run(frame):\n    return [str(value) for value in frame['value']]")
    words = ("run", "--dataset", "inbox", "--entry-script", script, "--new-only", "--wait", "--json")
    assert command(*words).json["items_total"] == 1
    assert command(*words).json["status"] == "NothingNew"
    drop(2)
    second = command(*words).json
    assert (second["status"], second["items_total"], second["datasets"]) == ("Completed", 1, ["inbox:2"])
    assert command("predictions", second["id"], "--to", tmp_path / "all.csv", "--json").json["rows"] == 2


def test_of_two_that_start_at_once_one_scores(command, started, rows, entry_script):
    words = ("run", "--dataset", "rows", "--entry-script", entry_script(ECHO), "--new-only", "--json")
    both = [started(*words) for _ in range(2)]
    values = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(bool(value["id"]) for value in values) == [False, True]
    assert {value["status"] for value in values if not value["id"]} <= {"StillRunning", "NothingNew"}
    assert len(command("runs", "--json").json["runs"]) == 1


# ---- schedules -------------------------------------------------------------------------------------------------------------------


SECRET = "p4ssw0rd"
WAITS = """
    import os, time
    def run(mini_batch):
        while not os.path.exists(os.environ["GATE"]): time.sleep(0.01)
        return mini_batch
"""


@pytest.fixture
def add(command, rows, entry_script):
    """`add("nightly", "daily", option, ...)` keeps a schedule over `rows`."""

    def call(name, every="daily", *options, script=ECHO):
        few = ("--dataset", "rows", "--entry-script", entry_script(script), "--process-count-per-node", 1)
        return command("schedule", "add", name, "--every", every, *few, *options)

    return call


def in_crons_environment(line):
    """What cron does with a line, beside waiting for its time."""
    words = line.split(" ", 5)[5]
    assert "%" not in words
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh", "LOGNAME": "nobody"}
    return subprocess.run(["/bin/sh", "-c", words], capture_output=True, text=True, check=False, env=environment, cwd="/")


def test_a_schedule_says_what_to_give_the_system_and_writes_only_in_the_home(add, command, home):
    result = add("nightly", "30 6 * * mon-fri", "--new-only", "--environment-variable", f"KEY={SECRET}", "--json")
    found = result.json
    assert (result.code, found["name"], found["cron"]) == (0, "nightly", "30 6 * * mon-fri")
    assert (found["datasets"], found["new_only"], found["last"]) == (["rows"], True, None)
    assert found["crontab"].startswith("30 6 * * mon-fri ")
    assert "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 06:30:00" in found["systemd"]["timer"]
    assert f"--home {home} schedule run nightly --wait" in found["systemd"]["service"]
    assert found["schtasks"] is None or "/SC WEEKLY /D MON,TUE,WED,THU,FRI /ST 06:30" in found["schtasks"]
    kept = home / "schedules" / "nightly" / "request.json"
    assert SECRET in kept.read_text()
    assert os.name == "nt" or kept.stat().st_mode & 0o777 == 0o600
    assert SECRET not in result.out + result.err + command("schedule", "list", "--json").out + command("schedule", "show", "nightly").out
    text = command("schedule", "show", "nightly").out
    assert all(part in text for part in (found["crontab"], *found["systemd"]["timer"].splitlines(), "systemctl --user enable --now"))


def test_what_cron_starts_is_a_run_of_the_latest_versions(add, command, rows, finish, workspace):
    found = add("nightly", "hourly", "--json").json
    assert command("dataset", "register", "rows", rows).code == 0  # version 2
    started = in_crons_environment(found["crontab"])
    assert (started.returncode, started.stderr.partition(":")[0]) == (0, f"Submitted {started.stdout.strip()}")
    run = finish(workspace, started.stdout.strip())
    assert (run.status, run.request.datasets) == ("Completed", ("rows:2",))
    (listed,) = command("schedule", "list", "--json").json["schedules"]
    assert (listed["last"]["run_id"], listed["last"]["outcome"], listed["recurrence"]) == (run.id, "Completed", "every hour")
    assert listed["next_at"] > listed["last"]["at"]
    assert "nightly" in command("schedule", "list").out


def test_names_of_schedules_do_not_differ_in_case_only(add, command):
    assert add("nightly", "daily").code == 0
    other = add("Nightly", "daily", "--json")
    assert (other.code, other.error["field"]) == (2, "name")
    assert other.error["message"] == "“Nightly” and the schedule “nightly” differ in case only"
    assert [schedule["name"] for schedule in command("schedule", "list", "--json").json["schedules"]] == ["nightly"]
    assert command("schedule", "remove", "nightly").code == 0
    assert add("Nightly", "daily").code == 0


def test_a_watched_folder_is_a_schedule_of_only_what_is_new(add, command, rows):
    add("inbox", "hourly", "--new-only")
    first = command("schedule", "run", "inbox", "--wait", "--json").json
    assert (first["status"], first["items_total"]) == ("Completed", 3)
    again = command("schedule", "run", "inbox", "--json")
    assert (again.code, again.json["id"], again.json["status"]) == (0, None, "NothingNew")
    (listed,) = command("schedule", "list", "--json").json["schedules"]
    assert (listed["last"]["run_id"], listed["last"]["failed"]) == (first["id"], False)
    assert "Nothing is new" in listed["last"]["outcome"]
    (rows / "new.csv").write_text("7\n")
    os.utime(rows / "new.csv", (1, 1))
    assert command("schedule", "run", "inbox", "--wait", "--json").json["items_total"] == 1


def test_a_second_start_while_the_first_still_runs_starts_nothing(add, command, tmp_path, finish, workspace):
    add("busy", "hourly", "--environment-variable", f"GATE={tmp_path / 'gate'}", script=WAITS)
    run_id = command("schedule", "run", "busy").out.strip()
    second = command("schedule", "run", "busy", "--json")
    assert (second.code, second.json["status"], second.json["id"], second.json["active_run"]) == (0, "StillRunning", None, run_id)
    assert f"Run {run_id} of schedule busy has not ended yet." in command("schedule", "run", "busy").err
    assert len(command("runs", "--json").json["runs"]) == 1
    (tmp_path / "gate").touch()
    finish(workspace, run_id)


def test_a_start_after_the_last_runs_runner_was_killed_resumes_it(add, command, tmp_path, finish, workspace, kill_runner):
    add("busy", "hourly", "--environment-variable", f"GATE={tmp_path / 'gate'}", script=WAITS)
    run_id = command("schedule", "run", "busy").out.strip()
    assert kill_runner(workspace, run_id)
    (tmp_path / "gate").touch()
    again = command("schedule", "run", "busy", "--wait", "--json")
    assert (again.code, again.json["id"], again.json["status"]) == (0, run_id, "Completed")
    assert f"Resumed {run_id}" in again.err


def test_a_schedule_that_is_removed_says_where_else_it_is(add, command, home):
    add("nightly")
    text = command("schedule", "remove", "nightly").out
    assert "systemctl --user disable --now batch-scoring-nightly.timer" in text
    assert command("schedule", "list", "--json").json == {"schedules": []}
    assert not (home / "schedules" / "nightly").exists()
    gone = command("schedule", "run", "nightly", "--json")
    assert (gone.code, gone.error["type"]) == (2, "NotFound")


def test_what_can_not_be_started_is_said_by_the_list(add, command, rows):
    add("inbox", "hourly", "--new-only")
    shutil.rmtree(rows)
    assert command("schedule", "run", "inbox", "--json").error["type"] == "NotFound"
    (listed,) = command("schedule", "list", "--json").json["schedules"]
    assert (listed["last"]["failed"], listed["last"]["run_id"]) == (True, "")
    assert str(rows) in listed["last"]["outcome"]


@pytest.mark.parametrize(
    ("name", "every", "options", "field"),
    [
        ("../x", "daily", (), "name"),
        ("n" * 101, "daily", (), "name"),
        ("x", "60 * * * *", (), "every"),
        ("x", "daily", ("--dataset", "no"), None),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_when_it_is_added(add, command, name, every, options, field):
    refused = add(name, every, *options, "--json")
    assert (refused.code, refused.error["field"]) == (2, field)
    assert command("schedule", "list", "--json").json == {"schedules": []}


def test_a_name_is_one_schedule(add):
    assert add("x").code == 0
    assert add("x", "hourly", "--json").error["field"] == "name"


def test_a_last_run_that_can_not_be_resumed_is_said_by_the_list(add, command, tmp_path, workspace, kill_runner, home):
    add("busy", "hourly", "--environment-variable", f"GATE={tmp_path / 'gate'}", script=WAITS)
    run_id = command("schedule", "run", "busy").out.strip()
    assert kill_runner(workspace, run_id)
    shutil.rmtree(home / "runs" / run_id)
    assert command("schedule", "run", "busy").code in (2, 3)
    (listed,) = command("schedule", "list", "--json").json["schedules"]
    assert (listed["last"]["run_id"], listed["last"]["failed"]) == (run_id, True)
    assert run_id in listed["last"]["outcome"]


def test_the_commands_in_the_guide_are_commands():
    guide = (Path(__file__).parents[2] / "docs" / "again.md").read_text("utf-8")
    commands = [line.removeprefix("python -m services ") for line in guide.splitlines() if line.startswith("python -m services ")]
    assert len(commands) >= 5
    for line in commands:
        assert _parser().parse_args(shlex.split(line, comments=True)).command

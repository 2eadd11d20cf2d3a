"""`environment create`, `list`, `delete` as a person and a program have them. The wheels are made here: nothing is downloaded."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import timedelta

import pytest

from services.domain import Environment, ModelCard, RunRequest, RunStatus, utc_now
from services.scoring.model_card import READER
from services.storage.store import Store
from tests.tiny_wheels import companions_only


@pytest.fixture(autouse=True)
def from_folder(tmp_path, monkeypatch):
    """Packages come from a folder of the test's own."""
    companions_only(tmp_path, monkeypatch)


def test_what_is_typed_is_made_listed_and_deleted(command):
    made = command("environment", "create", "mine", "--package", "tiny-one", "--python", sys.executable, "--json")
    assert made.code == 0
    assert (made.json["reference"], made.json["requirements"]) == ("mine:1", ["tiny-one"])
    assert "Registered mine:1" in made.err
    listed = command("environment", "list", "--json").json
    assert listed["environments"][0]["size"] == listed["disk_used"] == made.json["size"] > 0
    assert "Disk used by those made here: " in command("environment", "list").out
    deleted = command("environment", "delete", "mine", "--yes", "--json")
    assert (deleted.code, deleted.json["deleted"], deleted.json["freed"] > 1000) == (0, "mine:1", True)
    gone = command("environment", "delete", "mine:1", "--json")
    assert (gone.code, gone.error["type"]) == (2, "NotFound")


def test_a_list_from_a_file_is_shown_and_made_only_once_approved(command, tmp_path):
    path = tmp_path / "my list.txt"
    path.write_text("Tiny_One>=1  # a comment\n")
    asked = command("environment", "create", "mine", "--requirements", path)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err.startswith("tiny-one>=1\nError: This list was not approved yet; its SHA-256 is ")
    assert f"environment create mine --requirements '{path}' --approve" in asked.err
    error = command("environment", "create", "mine", "--requirements", path, "--json").error
    assert (error["field"], error["requirements"]) == ("approve", ["tiny-one>=1"])
    assert error["sha256"] in asked.err
    assert command("environment", "list", "--json").json["environments"] == []
    made = command("environment", "create", "mine", "--requirements", path, "--python", sys.executable, "--approve", "--json")
    assert (made.code, made.json["sha256"]) == (0, error["sha256"])


def test_a_line_that_leads_elsewhere_is_refused_before_the_list_is_shown(command, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("tiny-one\n--index-url https://evil.example\n")
    for approve in ([], ["--approve"]):
        refused = command("environment", "create", "mine", "--requirements", path, *approve, "--json")
        assert (refused.code, refused.error["type"]) == (2, "IntakeError")
        assert "line 2, “--index-url https://evil.example”, is an option" in refused.error["message"]
    missing = command("environment", "create", "mine", "--conda", tmp_path / "none.yml", "--json")
    assert (missing.code, missing.error["type"]) == (2, "NotFound")


def test_an_environment_is_made_for_a_model(command, workspace, model_file):
    model = workspace.register_model("m", model_file, approve=True)
    workspace._store.keep_model_card(model.sha256, READER, ModelCard("any", requirements=("tiny-one==9.0",)))
    asked = command("environment", "create", "for-m", "--for-model", "m", "--json")
    assert asked.error["requirements"] == ["tiny-one==9.0", "numpy", "pandas", "pyarrow"]
    made = command("environment", "create", "for-m", "--for-model", "m", "--approve", "--python", sys.executable, "--json")
    assert (made.code, made.json["packages"]["tiny-one" if "tiny-one" in made.json["packages"] else "tiny_one"]) == (0, "9.0")
    workspace._store.keep_model_card(model.sha256, READER, ModelCard("unknown"))
    assert "doesn't say what it needs" in command("environment", "create", "for-m", "--for-model", "m", "--json").error["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --requirements --conda --package --for-model is required"),
        (["--package", "a", "--conda", "b"], "not allowed with argument"),
        (["--package", "git+https://evil.example/x"], "--package can't be taken: number 1, “git+https://evil.example/x”, is an address"),
        (["--package", "a", "--package", "-r x"], "number 2, “-r x”, is an option"),
        (["--package", "a", "--allow-build", "--all"], "expected one argument"),
        (["--package", "a", "--python", "3.7"], "Python 3.7 is not on this machine"),
    ],
)
def test_what_can_not_be_made_is_refused(command, arguments, message):
    refused = command("environment", "create", "mine", *arguments, "--json")
    assert refused.code == 2
    assert message in refused.error["message"]


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_ctrl_c_cancels_and_leaves_nothing(started, home, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "uv").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "uv 0.9.0" && exit\necho waiting; sleep 600\n')
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    with started("environment", "create", "mine", "--package", "tiny-one", "--json") as process:
        for line in process.stderr:
            if "waiting" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    builds = home / "environments" / ".builds"
    assert [json.loads(path.read_text())["status"] for path in builds.glob("*/outcome.json")] == ["canceled"]
    time.sleep(0.1)
    assert not list(builds.glob("*/venv"))


def test_environments_that_nothing_used_for_long_are_named_and_then_deleted(command, home):
    store, long_ago = Store(home), utc_now() - timedelta(days=40)
    for name in ("old", "used", "inspected", "new"):
        registered = utc_now() if name == "new" else long_ago
        store.add(Environment, name, lambda version, name=name, at=registered: Environment(name, version, sys.executable, "3.11", {}, at))
    store.insert_run("r", RunRequest((), ("d:1",), "s.py", environment="used:1"), 1, 1)
    store.update_run("r", status=RunStatus.COMPLETED, ended_at=utc_now())
    store.keep_model_card("ab", "inspected:1; Python 3.11", ModelCard("onnx"))
    listed = {known["name"]: known["last_used"] for known in command("environment", "list", "--json").json["environments"]}
    assert [name for name, used in listed.items() if used] == ["inspected", "used"]
    assert "LAST USED" in command("environment", "list").out
    named = command("environment", "delete", "--unused-for", "30")
    assert named.out.startswith("Not used for 30 days: old:1.\nDelete them: ")
    assert "environment delete --unused-for 30 --yes" in named.out
    assert len(store.all(Environment)) == 4
    deleted = command("environment", "delete", "--unused-for", "30", "--yes", "--json").json
    assert deleted == {"unused": ["old:1"], "freed": 0, "deleted": ["old:1"]}
    assert (
        command("environment", "delete", "--unused-for", "30").out == "Every environment was used or registered within the last 30 days.\n"
    )
    assert command("environment", "delete", "--unused-for", "0", "--json").error["field"] == "unused_for"
    assert command("environment", "delete", "--json").error["field"] == "environment"
    assert {known.name for known in store.all(Environment)} == {"used", "inspected", "new"}

"""rename, tag, note, pin, archive and delete, as a person and a program have them."""

import json
import os
import pty
import shutil

import pytest

from services.domain import Environment, RunStatus, utc_now
from services.storage.store import Store
from tests.contract.conftest import Scored


@pytest.fixture
def scored(own_completed_run) -> Scored:
    return own_completed_run


def test_a_run_is_renamed_tagged_described_and_listed_so(scored):
    for words in (("rename", scored.id, "May, final"), ("tag", scored.id, "month=5", "by=ann"), ("note", scored.id, "Looks right.")):
        assert scored.command("runs", *words).code == 0, words
    (run,) = scored.command("runs", "--json").json["runs"]
    assert (run["name"], run["tags"], run["note"]) == ("May, final", {"month": "5", "by": "ann"}, "Looks right.")
    shown = scored.command("show", scored.id).out
    assert [shown.count(text) for text in ("May, final", "month=5, by=ann", "Looks right.")] == [1, 1, 1]
    lines = scored.command("runs").out.splitlines()
    assert (lines[0].split()[-1], lines[1].endswith("month=5, by=ann")) == ("TAGS", True)
    changed = scored.command("runs", "tag", scored.id, "by=", "--json").json
    assert changed == {
        "reference": scored.id, "name": "May, final", "note": "Looks right.", "tags": {"month": "5"}, "pinned": False, "archived": False,
    }  # fmt: skip
    assert scored.command("runs", "rename", scored.id, "").code == 0
    assert scored.command("runs", "--json").json["runs"][0]["name"] == "first"


def test_what_is_archived_is_listed_when_asked_for_and_pinned_ones_come_first(command, model_file):
    for name in ("a", "b", "c"):
        command("model", "register", name, model_file)

    def names(*options):
        return [model["name"] for model in command("model", "list", *options, "--json").json["models"]]

    assert names() == ["c", "b", "a"]
    assert command("model", "pin", "a:1").code == 0
    assert len(command("model", "archive", "b", "c", "--json").json["changed"]) == 2
    assert (names(), names("--archived")) == (["a"], ["a", "c", "b"])
    marked = command("model", "list", "--archived").out.splitlines()
    assert [line.split()[-1] for line in marked] == ["MARKED", "pinned", "archived", "archived"]
    command("model", "archive", "b:1", "--undo")
    command("model", "pin", "a", "--undo")
    assert names() == ["b", "a"]


def test_of_many_that_were_changed_the_first_are_named(workspace, command, model_file):
    for _ in range(22):
        workspace.register_model("m", model_file)
    names = [f"m:{version}" for version in range(1, 23)]
    assert command("model", "tag", *names, "a=b").out == f"Tagged: {', '.join(names[:20])} and 2 more\n"
    assert command("model", "delete", *names, "--yes").out.startswith(f"Deleted {', '.join(names[:20])} and 2 more, ")


def test_a_model_is_not_renamed(command):
    refused = command("model", "rename", "m", "n")
    assert refused.code == 2
    assert "invalid choice" in refused.err


def test_text_from_outside_is_escaped_in_a_list(command, model_file):
    command("model", "register", "m", model_file)
    command("model", "tag", "m", "k=\x1b[31mred\nnew line", "=x")
    assert command("model", "tag", "m", "k=\x1b[31mred\nnew line").code == 0
    out = command("model", "list").out
    assert "k=\\x1b[31mred\\nnew line" in out
    assert "\x1b" not in out


def test_without_yes_deleting_says_what_depends_on_it_and_exits_2(scored):
    asked = scored.command("dataset", "delete", "rows")
    assert (asked.code, asked.out) == (2, "")
    assert f"Used by 1 run, whose results stay: {scored.id}. Rerunning needs another dataset." in asked.err
    assert "are yours and stay." in asked.err
    assert "dataset delete rows:1 --yes" in asked.err
    error = scored.command("dataset", "delete", "rows", "--json").error
    assert (error["field"], error["dependents"][0]["runs"]) == ("yes", [scored.id])
    assert len(scored.command("dataset", "list", "--json").json["datasets"]) == 1


def test_a_run_of_a_deleted_dataset_opens_and_its_rerun_says_why_not(scored):
    assert scored.command("predictions", scored.id, "--to", scored.home / "before.csv").code == 0
    deleted = scored.command("dataset", "delete", "rows:1", "--yes", "--json")
    assert (deleted.code, deleted.json["deleted"]) == (0, "rows:1")
    for table in (scored.home / "runs" / scored.id).glob("predictions-*"):  # made again of what is left
        shutil.rmtree(table) if table.is_dir() else table.unlink()
    after = scored.command("predictions", scored.id, "--to", scored.home / "after.csv")
    assert after.code == 0, after
    assert (scored.home / "after.csv").read_bytes() == (scored.home / "before.csv").read_bytes()
    for command in ("show", "failures", "logs"):
        assert scored.command(command, scored.id).code == 0, command
    refused = scored.command("rerun", scored.id, "--json").error
    assert refused["message"] == "The dataset “rows:1” was deleted."
    Store(scored.home).update_run(scored.id, status=RunStatus.FAILED)
    refused = scored.command("resume", scored.id, "--json").error
    assert refused["message"] == "The dataset “rows:1” was deleted, which the run needs."
    assert scored.command("runs", "--json").json["runs"][0]["status"] == "Failed"
    assert scored.command("report", scored.id, "--to", scored.home / "report.html").code == 0


def test_a_deleted_run_leaves_nothing_behind(scored):
    folder = scored.home / "runs" / scored.id
    assert folder.is_dir()
    deleted = scored.command("runs", "delete", scored.id, "--yes", "--json").json
    assert deleted["deleted"] == scored.id
    assert deleted["freed"] > 1000
    assert not folder.exists()
    assert scored.command("runs", "--json").json["runs"] == []
    assert scored.command("show", scored.id, "--json").error["type"] == "NotFound"
    scored.command("dataset", "delete", "rows:1", "--yes")
    assert list((scored.home / "datasets").iterdir()) == []


def test_what_a_run_needs_that_has_not_ended_is_not_deleted(scored):
    Store(scored.home).update_run(scored.id, status=RunStatus.RUNNING, ended_at=None, heartbeat_at=utc_now())
    for words in (("dataset", "delete", "rows:1"), ("runs", "delete", scored.id)):
        for options in ((), ("--yes",)):
            refused = scored.command(*words, *options, "--json")
            assert refused.code == 2
            assert f"{scored.id}" in refused.error["message"]
            assert "not ended" in refused.error["message"]
    assert len(scored.command("dataset", "list", "--json").json["datasets"]) == 1


def test_a_name_of_several_versions_is_not_deleted_by_its_name_alone(command, model_file):
    for _ in range(2):
        command("model", "register", "m", model_file)
    refused = command("model", "delete", "m", "--yes", "--json")
    assert (refused.code, refused.error["field"]) == (2, "model")
    assert "m:2, m:1" in refused.error["message"]
    assert command("model", "delete", "m:1", "m:2", "--yes", "--json").json["deleted"] == ["m:1", "m:2"]


def test_on_a_terminal_it_asks_before_it_deletes(started, command, model_file):
    command("model", "register", "m", model_file)
    for answer, code, left in (("\n", 2, 1), ("y\n", 0, 0)):
        terminal, inner = pty.openpty()
        with started("model", "delete", "m:1", stdin=inner) as process:
            os.write(terminal, answer.encode())
            out, err = process.communicate(timeout=60)
        os.close(terminal)
        os.close(inner)
        assert "Delete model m:1? This can't be undone." in err
        assert (process.returncode, len(command("model", "list", "--json").json["models"])) == (code, left), out


def test_an_environment_is_found_by_its_new_name_and_its_interpreter_stays(command, home):
    store = Store(home)
    for name in ("first", "other"):
        store.add(Environment, name, lambda version, name=name: Environment(name, version, "/usr/bin/env", "3.11.0", {}, utc_now()))
    assert command("environment", "rename", "first", "prod").code == 0
    assert command("environment", "rename", "other", "Prod", "--json").error["field"] == "name"
    assert command("environment", "rename", "other", "a b", "--json").error["field"] == "name"
    listed = {one["reference"]: one["name"] for one in command("environment", "list", "--json").json["environments"]}
    assert listed == {"first:1": "prod", "other:1": "other"}
    asked = command("environment", "delete", "prod:1")
    assert "The interpreter /usr/bin/env was not made here and stays." in asked.err
    assert json.loads(command("environment", "delete", "prod", "--yes", "--json").out)["deleted"] == "first:1"
    assert os.path.exists("/usr/bin/env")

"""`storage`: what the home takes by kind and name, a limit, and a clean-up that shows before it does. On both workspaces."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from services.storage.usage import LIMIT_FILE
from services.workspaces import WORKSPACES, open_workspace

GROUPS = [
    "--clean-up",
    "caches",
    "--clean-up",
    "tables",
    "--clean-up",
    "leftovers",
    "--clean-up",
    "archived-runs",
    "--clean-up",
    "unused-environments",
]


@pytest.fixture
def scored(completed_run):
    return completed_run


def test_bytes_are_told_by_kind_and_name(scored):
    value = scored.command("storage", "--json").json
    assert value["home"] == str(scored.home)
    by_kind = {kind["kind"]: kind for kind in value["kinds"]}
    assert value["bytes"] == sum(kind["bytes"] for kind in by_kind.values()) == sum(item["bytes"] for item in value["items"])
    of_the_run = {item["kind"]: item["bytes"] for item in value["items"] if item["name"] == scored.id}
    assert {"run output", "run logs", "run records"} <= of_the_run.keys()
    assert of_the_run["run output"] == by_kind["run output"]["bytes"]
    assert {"datasets", "registry and other"} <= by_kind.keys()
    assert value["disk"]["total"] > value["disk"]["free"] > 0
    assert [item["bytes"] for item in value["items"]] == sorted((item["bytes"] for item in value["items"]), reverse=True)


def test_a_person_reads_the_sum_the_kinds_and_the_largest(scored):
    said = scored.command("storage")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{scored.home} takes ")
    assert " are free." in lines[1]
    assert lines[3].split() == ["KIND", "SIZE", "FILES"]
    assert any(line.startswith(scored.id) for line in lines)


def test_a_limit_is_kept_warned_of_and_taken_away(command, home):
    assert command("storage", "--limit", "50GB", "--json").json["limit"] == 50_000_000_000
    assert command("storage", "--json").json["limit"] == 50_000_000_000
    tight = command("storage", "--limit", "1kB")
    assert tight.code == 0
    assert "Warning: The workspace’s folder takes " in tight.err
    assert " of 1.0 kB, its limit" in tight.out
    assert command("storage", "--limit", "none", "--json").json["limit"] is None
    assert not (home / LIMIT_FILE).exists()


def test_commands_that_keep_files_say_that_the_home_is_nearly_full(command, model_file, csv_folder, entry_script):
    command("storage", "--limit", "1kB")
    said = "Warning: The workspace’s folder takes "
    assert said in command("model", "register", "m", model_file).err
    assert said in command("dataset", "register", "d", csv_folder(1)).err
    checked = command("check", "--dataset", "d", "--entry-script", entry_script("def run(mini_batch): return []"), "--json")
    assert any("and its limit is 1.0 kB" in warning for warning in checked.json["warnings"])
    command("storage", "--limit", "none")
    assert command("model", "register", "m", model_file).err == ""


def test_what_is_no_size_is_refused(command):
    refused = command("storage", "--limit", "much", "--json")
    assert (refused.code, refused.error["field"]) == (2, "limit")
    assert command("storage", "--yes").code == 2
    refused = command("storage", "--clean-up", "everything")
    assert refused.code == 2
    assert "choose from 'caches', 'tables', 'leftovers', 'archived-runs', 'unused-environments'" in refused.err
    days = command("storage", "--clean-up", "caches", "--older-than", "0", "--json")
    assert (days.code, days.error["field"]) == (2, "days")


def test_a_clean_up_shows_first_and_removes_with_yes(command, home):
    left = home / "incoming" / "left"
    command("storage")
    left.mkdir()
    (left / "half.bin").write_bytes(b"x" * 5_000)
    (home / "incoming" / "left.lock").touch()  # nobody holds it
    shown = command("storage", *GROUPS)
    assert shown.code == 0
    assert "leftovers" in shown.out
    assert "Together 5.0 kB. Nothing was removed yet." in shown.out
    assert left.exists()
    done = command("storage", *GROUPS, "--yes", "--json")
    assert (done.code, done.json["removed"], done.json["kept"], done.json["freed"]) == (0, ["incoming/left"], [], 5_000)
    assert list((home / "incoming").iterdir()) == []
    assert command("storage", *GROUPS).out == "There is nothing to remove.\n"


def test_a_table_that_was_removed_is_made_again(scored, tmp_path):
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    scored.command("predictions", scored.id, "--to", before)
    removed = scored.command("storage", "--clean-up", "tables", "--yes")
    assert (removed.code, removed.out.splitlines()[0]) == (0, f"Removed from tables: {scored.id}")
    assert list((scored.home / "runs" / scored.id).glob("*.parquet")) == []
    scored.command("predictions", scored.id, "--to", after)
    assert after.read_bytes() == before.read_bytes()


def commands_of_the_document() -> list[str]:
    """Those that docs/storage.md shows, without what begins them."""
    text = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    return re.findall(r"^python -m services (.*?)(?:  +#.*)?$", text, re.MULTILINE)


@pytest.mark.parametrize("line", commands_of_the_document())
def test_what_the_document_shows_works(command, line):
    assert command(*shlex.split(line)).code == 0


@pytest.mark.parametrize("name", WORKSPACES)
def test_every_workspace_counts_its_own_folder(request, home, name):
    if name != "local":
        request.getfixturevalue("azure")
    workspace = open_workspace(name, home)
    measured = workspace.storage.measure()
    assert measured == workspace.storage.known()
    assert measured.bytes > 0
    assert workspace.storage.proposals() == []

"""The command line: what is done again and again. `run --new-only`, schedules."""

from __future__ import annotations

import os

import pytest


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

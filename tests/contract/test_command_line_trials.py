"""The command line: try."""

from __future__ import annotations

import signal

from services.cli.commands import INTERRUPTED


def test_try_says_what_a_run_would_give_and_take(command, csv_folder, entry_script, home):
    command("dataset", "register", "rows", csv_folder(7))
    script = entry_script("""
        import os
        def run(mini_batch):
            return [{"file": os.path.basename(path), "size": float("nan") if "3" in path[-8:] else 7} for path in mini_batch]
    """)
    options = ("try", "--dataset", "rows", "--entry-script", script, "--process-count-per-node", 1, "--seconds", 1)
    value = command(*options, "--choose", "1,4", "--json").json
    assert [(row["File"], row["size"]) for row in value["rows"]] == [("0000.csv", 7), ("0003.csv", "nan")]
    assert value["estimate"].keys() >= {"items", "seconds_low", "seconds_high"}
    assert value["estimate"]["items"] == 7
    assert {type(value[name]) for name in ("seconds_per_item", "start_seconds")} == {float}
    assert value["memory"] > 1_000_000
    assert all(suggestion.keys() == {"setting", "value", "why"} for suggestion in value["suggestions"])
    assert value["not_numbers"] == ["size is nan for 0003.csv."]
    result = command(*options, "--items", 2)
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()[:3]] == [["ITEM", "SIZE"], ["0000.csv", "7"], ["0001.csv", "7"]]
    assert "The whole run: " in result.out
    assert not list((home / "runs").iterdir())


def test_try_refuses_what_is_no_choice_at_its_option(command, csv_folder, entry_script):
    command("dataset", "register", "rows", csv_folder(3))
    script = entry_script("def run(mini_batch): raise ValueError('no')")
    options = ("try", "--dataset", "rows", "--entry-script", script, "--json")
    for option, text in (("items", "0"), ("items", "x"), ("choose", "last"), ("choose", "4"), ("seconds", "-1"), ("seconds", "nan")):
        result = command(*options, f"--{option}", text)
        assert (result.code, result.error["field"]) == (2, option)
    failed = command(*options, "--seconds", 0, "--items", 1)
    assert failed.code == 1
    assert [(cause["count"], cause["cause"].partition(" (")[0]) for cause in failed.json["causes"]] == [(1, "ValueError: no")]


def test_ctrl_c_ends_a_trial_and_leaves_nothing(command, started, csv_folder, entry_script, home, tmp_path):
    command("dataset", "register", "rows", csv_folder(2))
    begun = tmp_path / "begun"
    script = entry_script(f"import time\ndef run(mini_batch):\n    open({str(begun)!r}, 'w').close()\n    time.sleep(600)")
    process = started("try", "--dataset", "rows", "--entry-script", script)
    while not begun.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert not list((home / "incoming").iterdir())

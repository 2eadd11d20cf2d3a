"""The command line: replay."""

from __future__ import annotations


def test_one_mini_batch_is_scored_again_beside_its_run(partly_failed):
    command, run_id = partly_failed.command, partly_failed.id
    result = command("replay", run_id, 2)
    assert result.code == 0
    assert "stdout  \\x1b[31mscoring 0002.csv" in result.err
    assert "The one row is as in the run." in result.out
    failed = command("replay", run_id, 1, "--json")
    assert failed.code == 1
    assert failed.json["error"] == "ValueError: no 0001 (script.py, line 10)"
    assert failed.json["comparison"] == "It fails as it did in the run."
    assert failed.json["rows"][0]["File"] == "0001.csv"
    assert failed.json["printed"][0].keys() == {"seconds", "stream", "text"}
    for number in ("7", "x", "-1"):
        assert command("replay", "--json", run_id, "--", number).code == 2
    assert command("replay", run_id, 7, "--json").error["type"] == "NotFound"

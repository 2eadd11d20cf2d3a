"""The commands of docs/keeping_order.md, as they stand there, on a home that has what it speaks of."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from services.domain import Environment, utc_now
from services.storage.store import Store
from tests.contract.conftest import Scored

GUIDE = Path(__file__).parents[2] / "docs" / "keeping_order.md"


@pytest.fixture
def scored(own_completed_run, model_file) -> Scored:
    home, command = own_completed_run.home, own_completed_run.command
    for _ in range(2):
        command("model", "register", "churn", model_file)
    Store(home).add(Environment, "conda311", lambda version: Environment("conda311", version, sys.executable, "3.11.0", {}, utc_now()))
    return own_completed_run


def test_each_command_of_the_guide_does_what_it_says(scored):
    blocks = re.findall(r"```\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line)[3:] for line in "".join(blocks).splitlines()]
    assert len(commands) > 15
    for words in commands:
        result = scored.command(*(scored.id if word == "RUN" else word for word in words), "--json")
        asked = words[1] == "delete" and "--yes" not in words
        assert result.code == (2 if asked else 0), (words, result)
        if asked:
            assert result.error["dependents"], words
        if words == ["dataset", "list", "--archived"]:
            assert (result.json["datasets"][0]["archived"], result.json["datasets"][0]["tags"]) == (True, {"season": "summer"})
        if words == ["runs", "--archived"]:
            (run,) = result.json["runs"]
            assert (run["name"], run["tags"], run["pinned"]) == ("May, final", {"checked": "yes"}, True)
    for kind in ("model", "dataset", "environment"):
        assert scored.command(kind, "list", "--archived", "--json").json[f"{kind}s"] == []
    assert scored.command("runs", "--archived", "--json").json["runs"] == []

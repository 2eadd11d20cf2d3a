"""The commands of docs/hand_over.md, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "hand_over.md"


def test_each_command_of_the_guide_does_what_it_says(completed_run, command_in, home, tmp_path, monkeypatch):
    blocks = re.findall(r"```\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line)[3:] for line in "".join(blocks).splitlines()]
    assert [words[0] for words in commands] == ["export"] * 6 + ["import"]
    monkeypatch.chdir(tmp_path)
    for words in commands:
        command = command_in(home) if words[0] == "import" else completed_run.command
        said = command(*(completed_run.id if word == "RUN" else word for word in words), "--json")
        assert said.code == 0, said
        if words[0] == "export":
            assert (tmp_path / words[-1]).stat().st_size > 500
        else:
            assert (said.json["imported"], said.json["imported_from"], said.json["name"]) == (True, completed_run.id, "first")
    assert command("import", "run.zip", "--json").json["imported"] is False

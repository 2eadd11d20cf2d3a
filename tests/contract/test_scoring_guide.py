"""The commands of docs/scoring.md, as they stand there, with the files that it speaks of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests import scoring_models as made

GUIDE = Path(__file__).parents[2] / "docs" / "scoring.md"
DOWNLOADS = ("An environment made for the model", "A model of another version")
"""Sections whose commands download packages: `make test-formats` has these frameworks."""


def commands_of(section: str) -> list[list[str]]:
    """The commands of a section of the guide, as lists of words without the program's name."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line)[1:] for line in "".join(blocks).splitlines()]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder with what the guide speaks of; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    customers = made.table().assign(customer_id=range(1000, 1000 + made.ROWS))
    customers[customers.columns[::-1]].to_csv("churn.csv", index=False)
    customers.rename(columns={"income": "yearly_income"}).to_csv("renamed.csv", index=False)
    made.saved(made.pipeline(), tmp_path / "models", "joblib").rename("churn.joblib")
    made.saved(made.text_pipeline(), tmp_path / "models", "joblib").rename("sentiment.joblib")
    made.image_model(tmp_path / "net.onnx", metadata=False)
    made.images(tmp_path / "pictures")
    for folder in ("rows", "reviews"):
        (tmp_path / folder).mkdir()
    for number, text in enumerate(made.texts(6)):
        Path(f"reviews/{number}.txt").write_text(text)
        customers[number : number + 1].to_csv(f"rows/{number}.csv", index=False)
    Path("reviews.csv").write_text("id,review\n" + "".join(f"{number},{text}\n" for number, text in enumerate(made.texts(6))))
    return tmp_path


def follow(command: Any, section: str, *, runs_wanted: int = 1) -> list[Any]:
    """Follow a section; what its first runs were. Further ones are checked only, since each takes seconds."""
    runs: list[Any] = []
    for words in commands_of(section):
        own = [runs[-1]["id"] if word == "RUN" else word for word in words]
        if own[0] == "run" and len(runs) == runs_wanted:
            own = ["check", *(word for word in own[1:] if word != "--wait")]
        result = command(*own, "--json")
        assert result.code == 0, (own, result)
        if own[0] == "run":
            runs.append(result.json)
            assert (result.json["status"], result.json["items_failed"]) == ("Completed", 0), result
    return runs


def test_the_guides_commands_do_what_it_says(command, files):
    assert [run["items_succeeded"] for run in follow(command, "A table")] == [made.ROWS]
    exported = (files / "predictions.csv").read_text().splitlines()
    assert "customer_id" in exported[0]
    assert len(exported) == made.ROWS + 1
    command("dataset", "register", "renamed", "renamed.csv", "--type", "tabular")
    assert command("check", "--model", "churn", "--dataset", "renamed").code == 2
    follow(command, "Columns of other names", runs_wanted=0)
    follow(command, "Files of one row")
    (images,) = follow(command, "Images")
    command("output", images["id"], "--to", "out")
    rows = (files / "out" / "parallel_run_step.txt").read_text().splitlines()
    assert sorted(row.split(" ")[-2] for row in rows[1:]) == sorted(made.LABELS * 2)
    follow(command, "Texts")


def test_what_the_guide_does_not_run_here_is_known_to_the_command_line(command):
    for words in [words for section in DOWNLOADS for words in commands_of(section)]:
        with pytest.raises(SystemExit) as ended:
            command(*words, "--help")
        assert ended.value.code == 0, words
    sections = re.findall(r"^## (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*DOWNLOADS} < {*sections}

"""Models of frameworks that this program doesn't have, each in an environment made for it: rows equal to the framework's own predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

BOOSTED = ("two classes", "three classes", "regressor", "categories")
CELLS = [
    *(
        (framework, kind)
        for framework in ("xgboost", "lightgbm", "catboost")
        for kind in ("two classes", "three classes", "regressor", "categories")
    ),
    *(("mlflow", kind) for kind in ("classifier", "regressor", "own code")),
    *(("torch", kind) for kind in ("rows", "torchscript", "torch-export")),
    *(("keras", kind) for kind in ("images", "two classes", "regressor")),
]


def scored(commands, name: str, folder: Path, environment: str, *arguments: object) -> list[dict[str, str]]:
    """The rows of a run of the model in this folder, in the order of its items."""
    (model,) = folder.glob("model*")
    commands("model", "register", name, model, "--approve")
    if (folder / "images").exists():
        commands("dataset", "register", name, folder / "images")
    else:
        commands("dataset", "register", name, folder / "rows.csv", "--type", "tabular")
    size = "2" if (folder / "images").exists() else "2KB"
    chosen = ("--model", name, "--dataset", name, "--environment", environment, "--mini-batch-size", size, "--process-count-per-node", "2")
    run = commands("run", *chosen, *arguments, "--wait")
    assert run["status"] == "Completed", run
    output = folder / "output"
    commands("output", run["id"], "--to", output)
    with open(output / "parallel_run_step.txt", newline="") as lines:
        return list(csv.DictReader(lines, delimiter=" "))


@pytest.mark.parametrize(("framework", "kind"), CELLS)
def test_a_model_gives_its_frameworks_own_predictions(commands, trained, framework, kind):
    folder = trained(framework, kind)
    expected = json.loads((folder / "expected.json").read_text())
    is_image = (folder / "images").exists()
    size = ("--argument=--size", "--argument=8x8") if kind == "torchscript" else ()
    rows = scored(commands, f"{framework}-{kind}".replace(" ", "-"), folder, "torch" if framework == "keras" else framework, *size)
    if is_image:
        rows.sort(key=lambda row: row["file"])
    assert len(rows) == len(expected["predictions"])
    if not is_image:  # mini-batches come in any order
        pairs = sorted((row["prediction"], row.get("probability", "")) for row in rows)
        own = sorted(zip(map(str, expected["predictions"]), map(str, expected["probability"] or [""] * len(rows)), strict=True))
    else:
        pairs = [(row["prediction"], row.get("probability", "")) for row in rows]
        own = list(zip(map(str, expected["predictions"]), map(str, expected["probability"] or [""] * len(rows)), strict=True))
    if expected["probability"] is None:
        assert sorted(float(prediction) for prediction, _ in pairs) == pytest.approx(sorted(map(float, expected["predictions"])), rel=1e-5)
    else:
        assert [prediction for prediction, _ in pairs] == [prediction for prediction, _ in own]
        assert sorted(float(p) for _, p in pairs) == pytest.approx(sorted(float(p) for _, p in own), rel=1e-5)


def test_a_model_card_is_filled_by_the_model_itself_in_its_environment(commands, trained):
    folder = trained("xgboost", "three classes")
    commands("model", "register", "inspected", folder / "model.ubj")
    card = commands("model", "inspect", "inspected", "--environment", "xgboost")
    card = card.get("card", card)
    assert (card["format"], card["task"], card["classes"]) == ("xgboost", "classification", ["0", "1", "2"])
    assert [each["name"] for each in card["inputs"]] == ["age", "income", "visits", "score"]

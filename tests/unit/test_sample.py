"""The sample: one press gives a model that knows its digits, a dataset to score, and the true labels."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.errors import StudioError, WorkspaceUnavailable
from services.sample import SampleMade, make_here, make_sample
from services.workspaces import open_workspace

pytestmark = pytest.mark.slow  # each trains the model in a process of its own

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def asked(sample_home: Path) -> dict[str, Any]:
    """What a fresh process has after it asked for the sample: what was `made`, and the `modules` it loaded."""
    program = """
import json, pathlib, sys
from services.sample import make_sample
print(json.dumps({"made": vars(make_sample(pathlib.Path(sys.argv[1]))), "modules": list(sys.modules)}))
"""
    command = [sys.executable, "-c", program, str(sample_home)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return answer


@pytest.fixture(scope="session")
def made(asked: dict[str, Any]) -> SampleMade:
    return SampleMade(**asked["made"])


def true_labels(made: SampleMade) -> dict[str, str]:
    with open(made.labels, encoding="utf-8", newline="") as file:
        return {row["File"]: row["Label"] for row in csv.DictReader(file)}


def test_it_registers_a_model_that_a_run_may_use(sample_home: Path, made: SampleMade) -> None:
    model = open_workspace("local", sample_home).model(made.model)
    assert model.reference == "digits-classifier:1"
    assert model.usable
    assert model.approved
    assert model.size < 1_000_000


def test_it_registers_one_row_of_64_numbers_for_every_true_label(sample_home: Path, made: SampleMade) -> None:
    dataset = open_workspace("local", sample_home).dataset(made.dataset)
    assert dataset.reference == "digits-batch:1"
    assert not dataset.in_place
    files = sorted(Path(dataset.root).iterdir())
    assert [file.name for file in files] == list(true_labels(made)) == [f"digit_{number:04}.csv" for number in range(1, 900)]
    for file in files:
        (row,) = file.read_text(encoding="ascii").splitlines()
        numbers = [int(number) for number in row.split(",")]
        assert len(numbers) == 64
        assert set(numbers) <= set(range(17))


def test_the_built_in_script_tells_more_than_95_in_100_digits_right(sample_home: Path, made: SampleMade) -> None:
    workspace = open_workspace("local", sample_home)
    files = sorted(map(str, Path(workspace.dataset(made.dataset).root).iterdir()))
    program = "import sys, batch_scoring_script as script; script.init(); print(*script.run(sys.argv[1:]), sep='\\n')"
    environment = os.environ | {"AZUREML_MODEL_DIR": str(Path(workspace.model(made.model).path).parent)}
    lines = subprocess.run(
        [sys.executable, "-c", program, *files], cwd=ROOT / "batch_scripts", env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    predicted = dict(line.split(": ") for line in lines)
    labels = true_labels(made)
    assert predicted.keys() == labels.keys()
    assert sum(predicted[name] == label for name, label in labels.items()) > 0.95 * len(labels)


def test_pressed_in_two_tabs_at_once_it_is_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as tabs:
        first, second = tabs.map(make_sample, [tmp_path, tmp_path])
    assert first == second
    workspace = open_workspace("local", tmp_path)
    assert [len(workspace.models()), len(workspace.datasets())] == [1, 1]
    assert list((tmp_path / "incoming").iterdir()) == []


def test_what_is_missing_is_made_again_and_what_is_there_is_kept(tmp_path: Path) -> None:
    first = make_here(tmp_path)
    labels = Path(first.labels).read_bytes()
    Path(first.labels).unlink()
    Path(open_workspace("local", tmp_path).model(first.model).path).unlink()
    again = make_here(tmp_path)
    assert again == SampleMade("digits-classifier:2", first.dataset, first.labels)
    assert Path(again.labels).read_bytes() == labels
    assert make_here(tmp_path) == again


def test_a_model_of_the_same_name_that_is_not_the_sample_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"\x08\x07\x12\x04mine")
    home = tmp_path / "home"
    workspace = open_workspace("local", home)
    theirs = workspace.register_model("digits-classifier", own)
    assert make_here(home).model == "digits-classifier:2"
    assert workspace.model(theirs.reference) == theirs


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudioError, match="could not be made") as raised:
        make_sample(tmp_path / "file" / "home")
    assert str(tmp_path / "file" / "home") in raised.value.message
    assert raised.value.hint


def test_a_home_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    open_workspace("local", tmp_path)
    (tmp_path / "samples").touch()
    with pytest.raises(WorkspaceUnavailable, match="can't be made or written: File exists") as raised:
        make_sample(tmp_path)
    assert str(tmp_path) in raised.value.message
    (tmp_path / "samples").unlink()
    (tmp_path / "samples" / "digits-labels.csv").mkdir(parents=True)
    (tmp_path / "samples" / ".lock").mkdir()
    with pytest.raises(WorkspaceUnavailable, match="can't be written: Is a directory"):
        make_sample(tmp_path)


def test_scikit_learn_stays_out_of_the_process_that_asks(asked: dict[str, Any]) -> None:
    assert "services.sample" in asked["modules"]
    assert not {"sklearn", "joblib"} & set(asked["modules"])

"""A scorer with its choices as one file: it runs by itself, beside nothing, and says the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import joblib
import pytest
from sklearn.linear_model import LogisticRegression

from services.intake.entry_scripts import check_entry_script
from services.scoring.scorers import SCORERS, ScorerOptions
from services.scoring.script_source import standalone_script

CHOICES = ScorerOptions(inputs={"1": "a '=\\\" b", "2": "c"}, keep=("c",), probabilities="all")
RUN = """
import sys
import pandas as pd
sys.path.insert(0, {folder!r})
for arguments in {arguments!r}:
    sys.argv[1:] = arguments
    sys.modules.pop({module!r}, None)
    import {module} as script
    script.init()
    print(script.run(pd.DataFrame({{"c": [1.0, 2.0], "a '=\\\\\\" b": [0.0, 5.0]}})).to_csv())
    print("the end")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(LogisticRegression().fit([[0, 1], [1, 0], [5, 5], [6, 4]], ["no", "no", "yes", "yes"]), path)
    return path


def outputs(script, model, *arguments):
    """What the script says of a table, given each of these lists of arguments, in a process of its own."""
    code = RUN.format(folder=str(script.parent), module=script.stem, arguments=arguments)
    environment = {**os.environ, "AZUREML_MODEL_DIR": str(model), "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=script.parent, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("the end\n")[:-1]


def test_the_script_runs_beside_nothing_and_says_what_the_scorer_says(tmp_path, model):
    scorer = SCORERS["score_tables"]
    (tmp_path / "own.py").write_text(standalone_script(scorer, CHOICES), "utf-8")
    assert os.listdir(tmp_path) == ["own.py"]
    there = shutil.copytree(scorer.path.parent, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (expected,) = outputs(there / scorer.path.name, model, list(CHOICES.arguments(scorer)))
    assert "probability yes" in expected
    own, without_probabilities = outputs(tmp_path / "own.py", model, [], ["--probabilities", "off"])
    assert own == expected
    assert without_probabilities != expected


@pytest.mark.parametrize("scorer", [scorer for scorer in SCORERS.values() if scorer.path.is_file()], ids=str)
def test_every_scorer_becomes_a_script_that_can_be_uploaded(scorer):
    source = standalone_script(scorer, CHOICES)
    assert check_entry_script(source.encode(), "own.py").startswith(scorer.title)
    compile(source, "own.py", "exec", dont_inherit=True)

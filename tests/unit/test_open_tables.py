"""Tables that stay open between two questions."""

import os
import subprocess
import sys

import pytest

from services.errors import NotFound
from services.predictions.filters import Filter
from services.predictions.matching import ScoredMiniBatch
from services.predictions.open_tables import open_predictions
from services.predictions.table_file import remove_table
from services.predictions.writer import make_table


def written(path, *predictions):
    files = [f"{number}.png" for number in range(len(predictions))]
    rows = [f"{file}: {prediction}" for file, prediction in zip(files, predictions, strict=True)]
    make_table([ScoredMiniBatch(0, files, "/d", rows, "node 0", 1, 0.1, "")], path)
    return path


def test_a_table_stays_open_until_another_is_put_in_its_place(tmp_path):
    path = written(tmp_path / "table.parquet", "cat", "dog", "cat")
    first = open_predictions(path)
    assert first.facet("Prediction") == [("cat", 2), ("dog", 1)]
    assert open_predictions(path) is first

    written(path, "owl", "owl")
    assert open_predictions(path).facet("Prediction") == [("owl", 2)]
    assert first.facet("Prediction", Filter(text="2.png")) == [("cat", 1)]  # who still has it goes on seeing what it was
    remove_table(path)
    with pytest.raises(NotFound):
        open_predictions(path)


def test_only_a_few_tables_are_kept_open_and_their_files_go_with_them(tmp_path):
    paths = [written(tmp_path / f"{number}.parquet", "cat") for number in range(6)]
    for path in paths:
        assert open_predictions(path).count() == 1
    assert len(list(tmp_path.glob(".*.open"))) < len(paths)
    assert open_predictions(paths[0]).count() == 1


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process can't be looked for without harm")
def test_what_a_killed_dashboard_left_open_goes_with_its_table(tmp_path):
    path = written(tmp_path / "table.parquet", "cat")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".{path.name}.{ended.pid}-0123abcd.open"
    left.hardlink_to(path)
    seen = open_predictions(path)
    remove_table(path)
    assert not left.exists()
    assert seen.count() == 1


def test_an_answer_that_is_kept_is_nobodys_to_change(tmp_path):
    table = open_predictions(written(tmp_path / "table.parquet", "cat", "dog"))
    table.facet("Prediction").clear()
    assert table.facet("Prediction") == [("cat", 1), ("dog", 1)]

"""Tables that stay open between two questions."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.errors import NotFound
from services.predictions.filters import Filter
from services.predictions.matching import ScoredMiniBatch
from services.predictions.reader import Predictions, open_predictions
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


@pytest.fixture
def reader():
    """Starts a process that has the table open; a line on its standard input makes it count the cats and end."""
    code = (
        "import sys, pathlib\nfrom services.predictions.filters import Filter\nfrom services.predictions.reader import Predictions\n"
        "table = Predictions(pathlib.Path(sys.argv[1]))\nprint(table.file, flush=True)\nsys.stdin.readline()\n"
        "print(table.count(Filter(classes=('cat',))), flush=True)"
    )
    processes = []

    def start(path):
        process = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_another_process_goes_on_reading_a_table_that_is_removed(tmp_path, reader):
    path = written(tmp_path / "table.parquet", "cat", "dog", "cat")
    process, link = reader(path)
    assert link != path
    remove_table(path)
    remove_table(written(tmp_path / "other.parquet", "owl"))
    assert link.exists()
    assert process.communicate("\n")[0] == "2\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".kept"] == []


def test_what_a_killed_process_had_open_goes_with_the_next_table(tmp_path, reader):
    path = written(tmp_path / "table.parquet", "cat")
    killed, left = reader(path)
    running, link = reader(path)
    killed.kill()
    killed.wait()
    remove_table(path)
    assert (left.exists(), link.exists()) == (False, True)
    assert running.communicate("\n")[0] == "1\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".kept"] == []


def test_a_process_that_has_the_pid_of_a_killed_one_keeps_nothing(tmp_path, reader):
    path = written(tmp_path / "table.parquet", "cat")
    seen = open_predictions(path)
    left = tmp_path / f".{path.name}.{os.getpid()}-0123abcd.open"  # as earlier versions called them, by the pid
    left.hardlink_to(path)
    remove_table(path)
    assert not left.exists()
    assert seen.file.exists()
    assert seen.count() == 1


def test_a_folder_that_can_not_be_written_is_read_without_a_second_name(tmp_path, monkeypatch):
    path = written(tmp_path / "table.parquet", "cat")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    assert Predictions(path).file == path
    assert Predictions(path).count() == 1
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    with pytest.raises(NotFound):
        Predictions(tmp_path / "nothing" / "table.parquet")
    assert not (tmp_path / "nothing").exists()


def test_an_answer_that_is_kept_is_nobodys_to_change(tmp_path):
    table = open_predictions(written(tmp_path / "table.parquet", "cat", "dog"))
    table.facet("Prediction").clear()
    assert table.facet("Prediction") == [("cat", 1), ("dog", 1)]


def test_a_query_is_stopped_from_another_thread(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    import duckdb

    from services.predictions.database import StoppableQueries, cursor_of

    queries = StoppableQueries()
    begun = threading.Event()

    def question() -> object:
        with duckdb.connect() as database:
            cursor = cursor_of(database)
            begun.set()
            return cursor.execute("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b").fetchall()

    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(queries.run, question)
        begun.wait()
        while not asked.done():  # it may be stopped before it runs
            queries.stop()
        with pytest.raises(duckdb.InterruptException):
            asked.result()
    with duckdb.connect() as database, pytest.raises(duckdb.InterruptException):
        queries.run(lambda: cursor_of(database))

"""The run page's tab Logs: one stream of lines, searched, and live; and a mini-batch that is replayed."""

from __future__ import annotations

import sqlite3
import time

import pytest

from services.handover import runs as readable_runs

RUNS = "runs.py"
SAYS = """
    import logging, os

    def init():
        print("ready")

    def run(mini_batch):
        for path in mini_batch:
            name = os.path.basename(path)
            print("scoring <b>", name)
            if name == "0003.csv":
                logging.warning("odd: ![](http://x) %s", name)
        if name == "0005.csv":
            raise ValueError("five")
        return [f"{os.path.basename(path)}: 1" for path in mini_batch]
"""


def words(elements):
    return " ".join(str(element.value) for element in elements).replace("\\", "")


def lines(app):
    assert not app.exception
    (code,) = app.code
    return code.value.splitlines()


@pytest.fixture
def run(ended):
    return ended(SAYS, 10, error_threshold=-1)


def test_all_lines_are_there_with_time_worker_and_mini_batch(open_page, run):
    app = open_page(RUNS, run=run.id, view="Logs")
    shown = lines(app)
    (first,) = (line for line in shown if "0000.csv" in line)
    assert first.split()[1:] == ["0/000", "#0", "scoring", "<b>", "0000.csv"]
    assert first.startswith("≈")
    (warned,) = (line for line in shown if "odd:" in line)
    assert warned.split()[1:5] == ["WARNING", "0/000", "#1", "root:"]
    assert any("ValueError: five" in line for line in shown)
    assert "searched" in words(app.caption)
    assert app.get("download_button")


def test_lines_are_searched_by_the_address_and_by_the_fields(open_page, run):
    app = open_page(RUNS, run=run.id, view="Logs", log_text="SCORING", log_mini_batch="2")
    assert [line.split()[-1] for line in lines(app)] == ["0004.csv", "0005.csv"]
    app.text_input(key="log_text").set_value("").run()
    app.text_input(key="log_mini_batch").set_value("").run()
    app.selectbox(key="log_level").select("WARNING").run()
    assert {line.split()[1] for line in lines(app)} == {"WARNING", "ERROR"}
    app.selectbox(key="log_worker").select("runner").run()
    assert "No line matches." in words(app.caption)
    app.text_input(key="log_mini_batch").set_value("two").run()
    assert "A mini-batch is a number" in words(app.caption)


def test_a_running_runs_lines_come_by_themselves(open_page, start, finish, workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    waits = """
        import os, time

        def run(mini_batch):
            print("begun", flush=True)
            while not os.path.exists(os.environ["GO"]):
                time.sleep(0.01)
            print("over")
            return mini_batch
    """
    run = start(waits, 2)
    app = open_page(RUNS, run=run.id, view="Logs", log_worker="All workers")
    end = time.monotonic() + 60
    while "begun" not in words(app.code):
        assert time.monotonic() < end
        app.run()
    assert "live" in words(app.caption)
    (tmp_path / "go").touch()
    finish(workspace, run.id)
    text = words(app.run().code)
    assert "over" in text
    assert text.count("begun") == 1


def test_a_mini_batch_is_replayed_from_its_failure(open_page, run):
    app = open_page(RUNS, run=run.id, view="Failures")
    app.button(key="replay-failures").click().run()
    end = time.monotonic() + 90
    while "It fails as it did in the run." not in words(app.caption):
        assert time.monotonic() < end
        app.run()
    assert not app.exception
    assert "ValueError: five" in words(app.error)
    assert any("scoring <b> 0005.csv" in code.value for code in app.code)
    assert "Replay again" in [button.label for button in app.button]


def test_a_search_that_breaks_is_an_error_and_no_endless_wait(open_page, run, monkeypatch):
    search = readable_runs.search

    def broken(logs, origins, query, **more):
        if query.most_bytes == 0:  # which workers there are
            return search(logs, origins, query, **more)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(readable_runs, "search", broken)
    app = open_page(RUNS, run=run.id, view="Logs")
    assert "disk I/O error" in words(app.error)
    assert not app.exception

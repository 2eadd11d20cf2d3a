"""The Storage page: what takes disk, a limit, and a clean-up by ticks; and what Home and New run say of it."""

from __future__ import annotations

import time
import zlib
from datetime import timedelta

import pytest

from services.domain import ResourceKind, RunRequest, RunStatus, utc_now

STORAGE = "storage_used.py"


@pytest.fixture
def run_folder(workspace):
    """The folder of a run that ended a hundred days ago, with 30 kB of output and 20 kB of cache."""
    request = RunRequest(("m:1",), ("d:1",), "/s/script.py", name="=cmd <b>x</b>")
    moment = utc_now() - timedelta(days=100)
    workspace._store.insert_run("run-1", request, 10, 1, status=RunStatus.COMPLETED, submitted_at=moment, ended_at=moment)
    folder = workspace.home / "runs" / "run-1"
    for name, size in (("output/o.txt", 30_000), ("predictions-1-1.kept/a.rows", 20_000), ("predictions-1-1.parquet", 15_000)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    return folder


@pytest.fixture
def open_storage(open_page, workspace):
    """The page once the files are counted."""

    def open_it(**query):
        workspace.storage.measure()
        return open_page(STORAGE, **query)

    return open_it


def texts(app):
    return [element.value.replace("\\", "") for kind in ("caption", "warning", "success", "text", "markdown") for element in app.get(kind)]


def until(app, true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        app.run()
    return app


def test_a_first_visit_counts_beside_the_page_then_shows(open_page, workspace, run_folder):
    app = open_page(STORAGE)
    assert not app.exception
    until(app, lambda: len(app.dataframe))
    assert app.dataframe[0].value["Kind"].tolist()[0] == "Registry and other"
    sizes = dict(zip(app.dataframe[1].value["Name"], app.dataframe[1].value["Size"], strict=True))
    assert sizes["run-1"] in (30_000, 20_000, 15_000)
    assert "studio.db (the registry)" in sizes
    assert workspace.storage.known() is not None


def test_a_kind_is_chosen_in_the_address(open_storage, run_folder):
    app = open_storage(kind="Run output")
    assert app.dataframe[1].value["Name"].tolist() == ["run-1"]
    assert app.dataframe[1].value["Size"].tolist() == [30_000]
    assert "What runs wrote; of imported runs also their tables." in texts(app)


def test_a_kind_that_is_not_there_shows_everything(open_storage, run_folder):
    app = open_storage(kind="../etc")
    assert not app.exception
    assert len(app.dataframe[1].value) > 1


def test_a_limit_is_saved_warned_of_and_taken_away(open_storage, workspace):
    app = open_storage()
    app.text_input(key="limit-None").set_value("many").run()
    app.button(key="save-limit").click().run()
    assert "“many” is not a size" in app.error[0].value.replace("\\", "")
    app.text_input(key="limit-None").set_value("1 kB").run()
    app.button(key="save-limit").click().run()
    assert workspace.storage.limit() == 1000
    assert any("its limit is 1.0 kB" in text for text in texts(app))
    app.switch_page("home.py").run()
    assert any("its limit is 1.0 kB" in text for text in texts(app))
    app.switch_page(STORAGE).run()
    app.button(key="no-limit").click().run()
    assert workspace.storage.limit() is None
    assert not app.exception


def test_what_can_go_is_ticked_named_and_then_gone(open_storage, workspace, run_folder):
    workspace.resources.change(ResourceKind.RUN, "run-1", archived=True)
    app = open_storage()
    table = app.dataframe[2].value
    assert table["What"].tolist() == ["Cache", "Table of predictions", "Archived run"]
    assert table["Size"].tolist() == [20_000, 15_000, 65_000]
    assert "=cmd <b>x</b>" in table["About"].tolist()[2]
    both = zlib.crc32(b"run-1\nrun-1\nrun-1")
    app.session_state[f"clean-up-{both}"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert "Cache run-1" in texts(app)
    assert (run_folder / "predictions-1-1.kept").exists()
    app.button(key="clean-up-now").click().run()
    until(app, lambda: app.success)
    assert app.success[0].value == "20.0 kB freed: removed 1 thing."
    assert not (run_folder / "predictions-1-1.kept").exists()
    assert (run_folder / "output" / "o.txt").exists()


def test_nothing_to_remove_is_said(open_storage):
    assert any(text.startswith("There is nothing to remove") for text in texts(open_storage()))

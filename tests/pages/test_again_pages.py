"""What is done again and again, on pages: only what is new, from New run; schedules, from New run and on Runs."""

import json
import os
from dataclasses import replace

import pytest

from tests.conftest import write_row

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

ECHO = "def run(mini_batch):\n    return [f'{path}: 1' for path in mini_batch]"


@pytest.fixture
def scored(start, workspace, finish):
    """A completed run over dataset `d`, whose folder has two files more since."""
    run = finish(workspace, start(ECHO, 3).id)
    folder = workspace.local_file(workspace.dataset("d"), "0000.csv").parent
    for number in (7, 8):
        write_row(folder, number)
        os.utime(folder / f"{number:04}.csv", (1, 1))
    return run


@pytest.fixture
def new_run(open_page, scored, workspace):
    """The page New run, with that run's dataset and script chosen, once what is new is known."""

    def open_it():
        app = open_page("new_run.py", run=scored.id)
        assert app.session_state["new_items"][1].look(60)
        return app.run()

    return open_it


def texts(app):
    """What is there to read, without the backslashes that keep it from being Markdown."""
    return [element.value.replace("\\", "") for element in (*app.text, *app.caption, *app.info, *app.success, *app.warning)]


def button(app, key):
    return next(found for found in app.button if found.key == key)


def test_new_run_offers_only_what_is_new_since_an_earlier_run(new_run, scored, workspace, finish):
    app = new_run()
    assert not app.exception
    assert f"Since {scored.id}: 2 new files. 3 files are scored already." in texts(app)
    assert button(app, "submit-new-only").label == "Score only 2 files"
    button(app, "submit-new-only").click().run()
    (run,) = [run for run in workspace.runs.latest() if run.id != scored.id]
    assert (run.request.new_only, run.request.rerun_of, run.items_total, run.request.datasets) == (True, scored.id, 2, ("d:2",))
    finish(workspace, run.id)


def test_where_nothing_is_new_the_button_is_off(open_page, ended):
    run = ended(ECHO, 3)
    app = open_page("new_run.py", run=run.id)
    assert app.session_state["new_items"][1].look(60)
    app.run()
    assert f"Since {run.id}: nothing is new. 3 files are scored already." in texts(app)
    assert button(app, "submit-new-only").disabled


def test_new_run_marks_what_is_gone_though_nothing_is_new(new_run, scored, workspace):
    for number in (1, 7, 8):
        workspace.local_file(workspace.dataset("d"), f"{number:04}.csv").unlink()
    app = new_run()
    assert f"Since {scored.id}: nothing is new. 2 files are scored already. 1 file is gone, and the rows stay." in texts(app)
    assert button(app, "submit-new-only").label == "Mark what is gone"
    button(app, "submit-new-only").click().run()
    assert not app.exception
    table = workspace.runs.predictions(scored.id)
    assert sorted(row["Input file"] for row in table.page().to_pylist()) == ["gone", "present", "present"]
    assert [one.id for one in workspace.runs.latest()] == [scored.id]


def test_new_run_keeps_a_schedule_and_shows_what_to_give_the_system(open_page, ended, workspace, home):
    app = open_page("new_run.py", run=ended(ECHO, 3).id)
    app.text_input(key="schedule_name").set_value("mornings")
    app.selectbox(key="schedule_every").set_value("at other times").run()
    app.text_input(key="schedule_cron").set_value("61 6 * * *")
    button(app, "keep_schedule").click().run()
    assert any("61" in error.value for error in app.error)
    app.text_input(key="schedule_cron").set_value("30 6 * * mon-fri")
    button(app, "keep_schedule").click().run()
    assert not app.exception
    (kept,) = workspace.schedules.all()
    assert (kept.name, kept.every, kept.request.datasets, kept.request.new_only) == ("mornings", "30 6 * * mon-fri", ("d",), True)
    shown = [code.value for code in app.code]
    assert workspace.schedules.setup("mornings").cron in shown
    assert workspace.schedules.setup("mornings").timer.strip() in shown


def test_runs_lists_schedules_starts_and_removes_them(open_page, ended, workspace, finish):
    run = ended(ECHO, 3)
    workspace.schedules.add("nightly", "daily", run.request)
    app = open_page("runs.py", list="Schedules")
    assert "nightly" in texts(app)
    assert any(text.startswith("every day at 00:00 · script") for text in texts(app))
    button(app, "run-nightly").click().run()
    (started,) = [one for one in workspace.runs.latest() if one.id != run.id]
    finish(workspace, started.id)
    assert workspace.schedules.get("nightly").last.run_id == started.id
    app = open_page("runs.py", list="Schedules")
    assert any("Completed" in text for text in texts(app))
    button(app, "remove-nightly").click().run()
    assert any("Remove the schedule “nightly”?" in text for text in texts(app))
    assert workspace.schedules.all()
    button(app, "remove-now-nightly").click().run()
    assert workspace.schedules.all() == []
    assert any("No schedules yet" in text for text in texts(app))


def test_what_came_of_a_schedule_is_shown_as_text(open_page, ended, workspace):
    run = ended(ECHO, 3)
    workspace.schedules.add("x", "daily", run.request)
    path = workspace.home / "schedules" / "x" / "last.json"
    noted = {"at": "2026-01-01T00:00:00+00:00", "run_before": "", "submission_id": "s", "outcome": "**bold** <b>", "failed": True}
    path.write_text(json.dumps(noted))
    app = open_page("runs.py", list="Schedules")
    assert not app.exception
    assert any(r"\*\*bold" in caption.value for caption in app.caption)


def test_the_page_of_a_run_says_what_it_was_added_to(open_page, scored, workspace, finish):
    run = finish(workspace, workspace.submit(replace(scored.request, datasets=("d",), new_only=True)).id)
    app = open_page("runs.py", run=run.id)
    assert any("Added to" in text and "2 new files" in text for text in texts(app))
    assert not any(text.startswith("Rerun of") for text in texts(app))


def test_results_show_which_files_are_gone_and_filter_by_it(open_page, scored, workspace, finish):
    workspace.local_file(workspace.dataset("d"), "0001.csv").unlink()
    run = finish(workspace, workspace.submit(replace(scored.request, datasets=("d",), new_only=True)).id)
    app = open_page("results.py", run=run.id)
    assert not app.exception
    (table,) = [frame.value for frame in app.dataframe if "Input file" in frame.value]
    assert sorted(table["Input file"]) == ["gone", *["present"] * 4]
    (facet,) = [pills for pills in app.button_group if pills.key == "facet_Input file"]
    assert len(facet.options) == 2

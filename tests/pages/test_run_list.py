"""The runs list: what it finds, its address, and what is done with several runs. The runs are as their own processes left them."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from services.domain import Metadata, ResourceKind, RunRequest, RunStatus, utc_now
from services.storage.store import Store

RUNS = "runs.py"
HOSTILE = "![](http://x) :red[x] <b>bold</b>, \"a' =cmd()"


@pytest.fixture
def insert(home, workspace):
    """`insert("r1", name="june", tags={...})` records a completed run."""

    def insert_run(run_id, *, name="", models=("m:1",), datasets=("d:1",), renamed="", **said):
        store = Store(home)
        store.insert_run(run_id, RunRequest(models, datasets, "/s/score.py", name=name), 10, 1)
        store.update_run(run_id, status=RunStatus.COMPLETED, started_at=utc_now(), ended_at=utc_now(), items_succeeded=10)
        if said or renamed:
            store.change_metadata(ResourceKind.RUN, run_id, lambda _: Metadata(renamed, **said))

    return insert_run


def listed(app):
    return list(app.dataframe[0].value["Run"]) if app.dataframe else []


def captions(app):
    return " ".join(str(caption.value) for caption in app.caption)


def tick(app, *rows):
    """Tick these rows of the table, as a person does."""
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return app.run()


def test_an_imported_run_is_marked(open_page, insert, home):
    insert("r1")
    insert("r2")
    with sqlite3.connect(Store(home).path) as registry:
        registry.execute("UPDATE runs SET imported_from = 'r0' WHERE id = 'r1'")
    app = open_page("runs.py")
    assert [list(marks) for marks in app.dataframe[0].value["Status"]] == [["Completed"], ["Completed", "Imported"]]


def test_a_renamed_run_is_shown_and_found_by_its_new_name(open_page, insert):
    insert("r1", name="old")
    insert("r2", name="other")
    insert("r3", name="before", renamed="after")
    assert listed(open_page(RUNS)) == ["after", "other", "old"]
    assert listed(open_page(RUNS, find="after")) == ["after"]
    assert listed(open_page(RUNS, find="before")) == []


def test_the_list_is_searched_by_everything_that_is_said_of_a_run(open_page, insert):
    insert("r1", name="june", tags={"team": "a"}, note="late data")
    insert("r2", name="may", models=("churn:2",))
    for search, expected in (("JUNE", ["june"]), ("late", ["june"]), ("team=a", ["june"]), ("churn", ["may"]), ("nothing", [])):
        app = open_page(RUNS, find=search)
        assert not app.exception
        assert listed(app) == expected
    assert "No run matches" in captions(app)


def test_filters_order_and_columns_are_in_the_url(open_page, insert):
    insert("r1", name="b", models=("churn:1",), tags={"team": "a"})
    insert("r2", name="a", models=("churn:2",), tags={"team": "b"})
    insert("r3", name="c", models=("other:1",))
    assert listed(open_page(RUNS, of_model="churn", order="Name", ascending="true")) == ["a", "b"]
    assert listed(open_page(RUNS, of_model="churn:2")) == ["a"]
    assert listed(open_page(RUNS, tagged="team=a")) == ["b"]
    tomorrow = f"{utc_now() + timedelta(days=2):%Y-%m-%d}"
    assert listed(open_page(RUNS, since=tomorrow)) == []
    assert listed(open_page(RUNS, until=tomorrow)) == ["c", "a", "b"]


def test_pinned_runs_come_first_and_archived_ones_only_when_asked_for(open_page, insert):
    insert("r1", name="pinned", pinned=True)
    insert("r2", name="archived", archived=True)
    insert("r3", name="plain")
    app = open_page(RUNS)
    assert listed(app) == ["pinned", "plain"]
    assert list(app.dataframe[0].value["Status"][0]) == ["Completed", "Pinned"]
    assert listed(open_page(RUNS, with_archived="true")) == ["pinned", "plain", "archived"]


def test_more_runs_than_a_page_are_paged(open_page, insert):
    for number in range(53):
        insert(f"r{number:02}", name=f"n{number:02}")
    app = open_page(RUNS)
    assert len(listed(app)) == 50
    assert "1–50 of 53 runs" in captions(app)
    assert listed(open_page(RUNS, page="2")) == ["n02", "n01", "n00"]
    assert listed(open_page(RUNS, page="99")) == ["n02", "n01", "n00"]
    app = open_page(RUNS, page="2")
    app.text_input(key="find").set_value("n5").run()
    assert listed(app) == ["n52", "n51", "n50"]


def test_ticked_runs_are_tagged_pinned_and_archived(open_page, insert, workspace):
    insert("r1", name="one")
    insert("r2", name=HOSTILE)
    insert("r3", name="three")
    app = tick(open_page(RUNS), 0, 1)
    assert "**2 runs selected**" in [markdown.value for markdown in app.markdown]
    app.text_input(key="tag-of-runs").set_value("team = a=b")
    next(button for button in app.button if button.label == "Tag").click().run()
    assert not app.exception
    assert workspace.runs.get("r3").metadata.tags == workspace.runs.get("r2").metadata.tags == {"team": "a=b"}
    assert workspace.runs.get("r1").metadata == Metadata()
    tick(app, 0, 1)
    app.button(key="archive-runs").click().run()
    assert listed(app) == ["one"]
    assert not [button for button in app.button if button.key == "archive-runs"]


def test_what_is_no_tag_says_so(open_page, insert, workspace):
    insert("r1")
    app = tick(open_page(RUNS), 0)
    app.text_input(key="tag-of-runs").set_value("no tag")
    next(button for button in app.button if button.label == "Tag").click().run()
    assert "is not a tag" in app.error[0].value
    assert workspace.runs.get("r1").metadata == Metadata()
    assert app.run().error  # the list renews itself every now and then
    tick(app)
    assert not tick(app, 0).error


def test_deleting_names_what_goes_and_asks_first(open_page, insert, workspace):
    insert("r1", name="one")
    insert("r2", name=HOSTILE)
    app = tick(open_page(RUNS), 0)
    app.button(key="delete-runs").click().run()
    assert not app.exception
    assert [run.id for run in workspace.runs.latest()] == ["r2", "r1"]
    assert f"{HOSTILE} · r2" in [text.value for text in app.text]
    assert "can’t be undone" in captions(app)
    app.button(key="confirm-delete").click().run()
    assert not app.exception
    assert [run.id for run in workspace.runs.latest()] == ["r1"]
    assert listed(app) == ["one"]
    assert "selected" not in " ".join(markdown.value for markdown in app.markdown)


def test_a_ticked_run_that_another_tab_deletes_ticks_no_other(open_page, insert, workspace):
    insert("r1", name="one")
    insert("r2", name="two")
    app = tick(open_page(RUNS), 0)
    workspace.resources.delete(ResourceKind.RUN, ["r2"])
    app.run()
    assert not app.exception
    assert listed(app) == ["one"]
    assert not [button for button in app.button if button.key == "delete-runs"]


@pytest.mark.parametrize("other", ["registered_models.py", RUNS])
def test_a_question_that_was_left_by_the_browsers_back_is_not_asked_again(open_page, insert, workspace, other):
    insert("r1")
    app = open_page(RUNS, run="r1")
    app.button(key="delete-r1").click().run()
    assert app.button(key="confirm-delete")
    del app.query_params["run"]
    app.switch_page(other).run()
    app.switch_page(RUNS).run()
    assert not app.exception
    assert "confirm-delete" not in [button.key for button in app.button]
    assert workspace.runs.get("r1")


def test_a_run_that_has_not_ended_is_not_deleted(open_page, insert, workspace, home):
    insert("r1")
    Store(home).update_run("r1", status=RunStatus.RUNNING, ended_at=None, heartbeat_at=utc_now())
    app = tick(open_page(RUNS), 0)
    app.button(key="delete-runs").click().run()
    assert app.button(key="confirm-delete").disabled
    assert "has not ended" in captions(app)


def test_two_runs_are_compared_and_no_other_number(open_page, insert):
    for number in range(3):
        insert(f"r{number}")
    app = tick(open_page(RUNS), 0)
    assert app.button(key="compare-runs").disabled
    tick(app, 0, 2)
    app.button(key="compare-runs").click().run()
    assert (app.query_params["run"], app.query_params["with"]) == ("r2", "r0")


def test_ticked_rows_stay_where_they_are_when_a_run_is_added(open_page, insert, workspace):
    insert("r1", name="one")
    insert("r2", name="two")
    app = tick(open_page(RUNS), 1)
    insert("r3", name="three")
    app.run()
    assert listed(app) == ["two", "one"]
    app.button(key="pin-runs").click().run()
    assert workspace.runs.get("r1").metadata.pinned
    assert listed(app) == ["one", "three", "two"]


def test_a_run_is_renamed_and_described_on_its_page(open_page, insert, workspace):
    insert("r1", name="one", tags={"team": "a", "old": "x"})
    app = open_page(RUNS, run="r1")
    assert not app.exception
    fields = {field.label: field for field in [*app.text_input, *app.text_area]}
    fields["Name"].set_value("Größe")
    fields["Note"].set_value(HOSTILE)
    fields["Tags"].set_value("team=b\n\nnew = y")
    next(button for button in app.button if button.label == "Save").click().run()
    assert not app.exception
    assert workspace.runs.get("r1").metadata == Metadata("Größe", HOSTILE, {"team": "b", "new": "y"})
    assert app.header[0].value == "Größe"
    assert HOSTILE in [text.value for text in app.text]
    app.button(key="pin-r1").click().run()
    app.button(key="archive-r1").click().run()
    said = workspace.runs.get("r1").metadata
    assert (said.pinned, said.archived) == (True, True)


def test_a_run_is_deleted_from_its_page_and_the_list_opens(open_page, insert, workspace):
    insert("r1", name="one")
    insert("r2", name="two")
    app = open_page(RUNS, run="r1")
    app.button(key="delete-r1").click().run()
    app.button(key="confirm-delete").click().run()
    assert not app.exception
    assert [run.id for run in workspace.runs.latest()] == ["r2"]
    assert listed(app) == ["two"]

"""Environments on the pages: made from a list that is shown first, listed with the disk they use, deleted; offered for a model."""

import os
import sys
import time

import pytest
from streamlit.testing.v1 import AppTest

from pages import _environments
from services.domain import ModelCard
from services.scoring.model_card import READER
from tests.tiny_wheels import companions_only

pytestmark = pytest.mark.slow  # each makes environments
OFFER = """
import streamlit as st
from pages import _environments, _given_values
from services.workspaces import chosen_workspace
workspace = chosen_workspace()
_environments.offer_environment(workspace, workspace.model("m"), workspace.model_card("m"))
st.caption(f"chosen: {_given_values._given().values}")
"""


@pytest.fixture(autouse=True)
def from_folder(tmp_path, monkeypatch):
    """Packages come from a folder of the test's own."""
    companions_only(tmp_path, monkeypatch)


def until(app, true):
    """Run the page again until it is so."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
        app.run()
    return app


def button(app, text):
    return next(button for button in app.button if text in button.label)


def texts(app):
    return [element.value for kind in ("info", "caption", "error", "warning", "code", "markdown") for element in app.get(kind)]


def test_a_list_is_shown_then_made_then_deleted(open_page, workspace):
    app = open_page("connection.py")
    app.session_state["make-environment"] = True
    app.run()
    app.text_area(key="environment-packages").set_value("Tiny_One\n-r other.txt").run()
    assert "line 2, “-r other.txt”, is an option" in app.error[0].value.replace("\\", "")
    app.text_area(key="environment-packages").set_value("Tiny_One").run()
    app.text_input(key="environment-name").set_value("mine").run()
    assert "tiny-one" in texts(app)
    assert workspace.builds.all() == []
    button(app, "Approve this list").click().run()
    assert not app.exception
    until(app, workspace.environments)
    app.run()
    table = next(table.value for table in app.dataframe if "Disk" in table.value)
    assert table["Environment"].tolist() == ["mine:1"]
    assert table["Disk"].tolist() == [workspace.environments()[0].size]
    app.session_state["ask-delete-mine:1"] = True
    button(app.run(), "Delete environment").click().run()
    assert workspace.environments() == []


def test_a_bad_name_is_an_error_at_the_list(open_page, workspace):
    app = open_page("connection.py")
    app.session_state["make-environment"] = True
    app.run()
    app.text_area(key="environment-packages").set_value("tiny-one").run()
    app.text_input(key="environment-name").set_value("../*up*").run()
    button(app, "Approve this list").click().run()
    assert not app.exception
    assert "be a name" in app.error[0].value
    assert workspace.builds.all() == []


@pytest.fixture
def offered(home, workspace, model_file, monkeypatch):
    """The part of a page that offers an environment for a model that needs these."""
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))
    model = workspace.register_model("m", model_file, approve=True)

    def show(*requirements, **card):
        workspace._store.keep_model_card(model.sha256, READER, ModelCard("any", requirements=requirements, **card))
        return AppTest.from_string(OFFER, default_timeout=60).run()

    return show


def test_a_model_of_another_version_is_offered_its_environment(offered, workspace):
    app = offered("tiny-one==9.0", framework="tiny-one", framework_version="9.0")
    assert app.info[0].value.replace("\\", "") == "m:1 was made with tiny-one 9.0; this program does not have tiny-one."
    assert "tiny-one==9.0\nnumpy\npandas\npyarrow" in texts(app)
    button(app, "Approve this list and make an environment with tiny").click().run()
    assert not app.exception
    until(app, workspace.environments)
    until(app, lambda: "chosen: {'environment': 'tiny-one-9.0:1'}" in texts(app))
    assert workspace.builds.all() == []
    app = offered("tiny-one==9.0", framework="tiny-one", framework_version="9.0")
    assert [b.label.replace("\\", "") for b in app.button] == ["Use environment tiny-one-9.0:1"]
    app.button[0].click().run()
    assert "chosen: {'environment': 'tiny-one-9.0:1'}" in texts(app)


def test_nothing_is_offered_where_nothing_is_missing(offered):
    import sklearn

    for app in (offered(f"scikit-learn=={sklearn.__version__}"), offered()):
        assert [len(app.get(kind)) for kind in ("info", "button", "error")] == [0, 0, 0]
    app = offered("tiny-one", "--index-url https://evil.example")
    assert "is an option" in app.error[0].value


def test_what_failed_is_said_and_can_be_tried_again(offered, workspace):
    app = offered("tiny-one==7", "tiny-one==9.0", framework="*tiny*", framework_version="7")
    button(app, "Approve this list").click().run()
    until(app, lambda: app.error)
    assert "exclude each other" in app.error[0].value or "There is no" in app.error[0].value
    assert workspace.environments() == []
    button(app, "Approve this list").click().run()
    assert not app.exception
    until(app, lambda: app.error)


@pytest.mark.skipif(os.name != "posix", reason="a shell script in place of uv")
def test_a_build_is_followed_and_canceled(offered, workspace, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "uv").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "uv 0.9.0" && exit\necho "<b>*waiting*</b>"; sleep 600\n')
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    app = offered("tiny-one==9.0", python_version="{}.{}".format(*sys.version_info))
    for _ in range(2):
        button(app, "Approve this list").click()
    app.run()
    until(app, lambda: any("<b>*waiting*</b>" in text for text in texts(app)))
    assert len(workspace.builds.all()) == 1
    assert _environments.is_being_made(workspace, workspace.model_card("m"))
    button(app, "Cancel").click().run()
    until(app, lambda: app.warning)
    assert not _environments.is_being_made(workspace, workspace.model_card("m"))
    assert "was canceled. Nothing of it was kept" in app.warning[0].value.replace("\\", "")

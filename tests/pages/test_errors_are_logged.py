"""What pages show of what went wrong is in the dashboard's log too."""

import logging

import pytest

from services import log
from services.local.workspace import LocalWorkspace


@pytest.fixture
def dashboard_log(home):
    """logs/dashboard.log of the home, written as app.py has it written."""
    loggers = [logging.getLogger(name) for name in (None, "streamlit.error_util", "uvicorn.error")]
    before = [[*each.handlers] for each in loggers]
    log.to_dashboard_file(home, "streamlit.error_util", "uvicorn.error")
    yield home / "logs" / "dashboard.log"
    for each, handlers in zip(loggers, before, strict=True):
        each.handlers[:] = handlers


def test_a_bug_in_a_page_is_logged_with_its_traceback(open_page, dashboard_log, monkeypatch):
    monkeypatch.setattr(LocalWorkspace, "models", lambda self: 1 / 0)
    assert open_page("registered_models.py").exception
    text = dashboard_log.read_text(encoding="utf-8")
    assert "ZeroDivisionError: division by zero" in text
    assert "registered_models.py" in text


def test_a_workspace_that_is_out_of_reach_is_logged(open_page, dashboard_log, home):
    (home / "studio.db").mkdir()
    assert open_page().error
    assert "studio.db, can't be used" in dashboard_log.read_text(encoding="utf-8")

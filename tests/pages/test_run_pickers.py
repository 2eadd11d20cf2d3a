"""Results and Compare offer the newest runs; older ones are found by a search of all."""

import pytest

from pages import _run_picker
from services.domain import ResourceKind, RunRequest, RunStatus
from services.storage.store import Store


@pytest.fixture
def five(home, workspace, monkeypatch):
    """Runs r1 to r5, of which a list has two."""
    monkeypatch.setattr(_run_picker, "MOST", 2)
    for number in range(1, 6):
        Store(home).insert_run(f"r{number}", RunRequest((), ("d:1",), "/s/score.py", name=f"run {number}"), 1, 1, status=RunStatus.FAILED)
    workspace.resources.change(ResourceKind.RUN, "r2", tags={"month": "march"}, archived=True)


@pytest.mark.parametrize(("page", "picker"), [("results.py", "chosen_run"), ("compare.py", "compare_run")])
def test_an_old_run_is_found_by_typing(open_page, five, page, picker):
    app = open_page(page)
    field = app.text_input(key="find_run")
    assert field.placeholder == "Search all 5 runs"
    assert not [option for option in app.selectbox(key=picker).options if "run 2" in option]
    field.set_value("march").run()
    assert not app.exception
    assert "1 run matches: choose from the list." in [caption.value for caption in app.caption]
    assert [option for box in app.selectbox for option in box.options if "run 2" in option]
    app.text_input(key="find_run").set_value("nothing has <b>this").run()
    assert not app.exception
    assert "No run matches" in " ".join(caption.value for caption in app.caption)


def test_a_found_run_is_opened(open_page, five):
    app = open_page("results.py")
    app.text_input(key="find_run").set_value("r1").run()
    app.selectbox(key="chosen_run").set_value("r1").run()
    assert not app.exception
    assert app.query_params["run"] in ("r1", ["r1"])


def test_few_runs_need_no_search(open_page, five, monkeypatch):
    monkeypatch.setattr(_run_picker, "MOST", 5)
    assert "find_run" not in [field.key for field in open_page("results.py").text_input]

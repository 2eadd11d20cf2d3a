from __future__ import annotations

import time

import pytest

from pages._workspace import script_label

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

NEW_RUN = "new_run.py"
ODD = b'''"""One fails, one is no number."""
import os, time
def run(mini_batch):
    time.sleep(0.02)
    rows = []
    for path in mini_batch:
        name = os.path.basename(path)
        if name.startswith("3"):
            raise ValueError(f"{name} has no <b>header</b>")
        rows.append({"file": name, "value": "nan" if name.startswith("2") else 7})
    print("scored")
    return rows
'''
HANGS = b"import time\ndef run(mini_batch): time.sleep(600)\n"


@pytest.fixture
def script(workspace, tmp_path):
    """`script(source)` is an approved script, chosen by its label; there is a dataset of four files with odd names."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number} [x](http) *b* <i>.csv").write_text("1")
    workspace.register_dataset("d", folder)

    def approved(source):
        uploaded = workspace.scripts.add("uploaded.py", source)
        workspace.approve(uploaded.sha256)
        return script_label(next(script for script in workspace.scripts.all() if script.path == uploaded.path))

    return approved


def tried(app, until, seconds=60):
    end = time.monotonic() + seconds
    while not until(app):
        assert time.monotonic() < end
        app.run()
    assert not app.exception
    return app


def words(elements):
    return " ".join(element.value for element in elements).replace("\\", "")


def test_rows_causes_and_suggestions_are_shown_and_applied(open_page, script):
    app = open_page(NEW_RUN, model="No model", dataset="d:1", script=script(ODD))
    app.button(key="try").click().run()
    app = tried(app, lambda app: "The run takes" in words(app.markdown))
    table = app.dataframe[0].value
    assert list(table.columns) == ["File", "value", "Why it failed"]
    assert table["value"].tolist()[:3] == ["7", "7", "nan"]
    assert "1 file failed: ValueError" in words(app.error)
    assert r"\<b\>header" in app.error[0].value
    assert "is nan for" in words(app.warning)
    assert "fail" in words(app.warning)
    app.button(key="apply-mini_batch_size").click().run()
    assert app.text_input(key="mini_batch_size").value == app.session_state["trial"].trial.suggestions[0].value
    assert "Tried with other settings" in words(app.caption)


def test_a_trial_is_stopped_by_its_button_and_a_number_is_checked(open_page, script, home):
    app = open_page(NEW_RUN, model="No model", dataset="d:1", script=script(HANGS))
    app.text_input(key="trial_items").set_value("many").run()
    app.button(key="try").click().run()
    assert "“many” is not a number of items" in words(app.error)
    app.text_input(key="trial_items").set_value("2").run()
    app.button(key="try").click().run()
    assert app.button(key="try").disabled
    app.button(key="stop-trial").click().run()
    app = tried(app, lambda app: "The trial was stopped." in words(app.error))
    assert not list((home / "incoming").iterdir())

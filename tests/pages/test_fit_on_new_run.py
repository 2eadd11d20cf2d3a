"""New run without a script: the scorer that fits is chosen, columns are chosen from lists, and what can't work isn't offered."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from pages import _environments, _fit
from services.domain import ItemKind

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

NEW_RUN = "new_run.py"


@pytest.fixture
def register(workspace, tmp_path):
    """`register("name", frame)` makes a tabular dataset of it."""

    def make(name, frame, kind="tabular"):
        (tmp_path / name).mkdir()
        frame.to_csv(tmp_path / name / "rows.csv", index=False)
        return workspace.register_dataset(name, tmp_path / name, type=kind)

    return make


def said(elements):
    return " ".join(element.value for element in elements).replace("\\", "")


def column_choice(app, name):
    return next(box for box in app.selectbox if str(box.key).endswith(f"input-{name}"))


def test_what_fits_is_chosen_and_submitted_without_a_script(open_page, workspace, churn, register, trained, finish):
    register("rows", trained[1].assign(id=range(20)))
    app = open_page(NEW_RUN)
    assert not app.exception
    assert [app.selectbox(key=key).value for key in ("model", "dataset", "script")] == ["churn:1", "rows:1", "score_tables.py"]
    script = app.selectbox(key="script")
    assert script.options[0] == "Built-in: Rows of a table (recommended)"
    assert "1 column is not used: id." in said(app.caption)
    next(box for box in app.multiselect if str(box.key).endswith("keep")).set_value(["id"]).run()
    app.button(key="submit").click().run()
    (run,) = workspace.runs.latest()
    assert run.request.arguments == ("--keep", "id", "--append_row_dataframe_header", "True")
    assert finish(workspace, run.id).items_succeeded == 20
    assert workspace.presets.of("churn").keep == ("id",)


def test_a_missing_column_keeps_from_submitting_until_one_is_chosen(open_page, workspace, churn, register, trained):
    register("other", trained[1].rename(columns={"age": "years"}))
    app = open_page(NEW_RUN, model="churn:1", dataset="other:1")
    assert not app.exception
    assert app.button(key="submit").disabled
    assert "other:1 has no column for the model’s input “age”" in said(app.error)
    assert "Fix these fields before submitting: Columns." in said(app.error)
    column_choice(app, "age").select("years").run()
    assert not app.button(key="submit").disabled
    app.button(key="submit").click().run()
    (run,) = workspace.runs.latest()
    assert run.request.arguments[:2] == ("--input", "age=years")
    workspace.runs.cancel(run.id)
    again = open_page(NEW_RUN, model="churn:1", dataset="other:1")
    assert "Your last choices for churn are filled in." in said(again.caption)
    assert not again.button(key="submit").disabled
    next(button for button in again.button if str(button.key).endswith("start-over")).click().run()
    assert again.button(key="submit").disabled


def test_the_newest_that_does_not_fit_is_not_proposed(open_page, churn, register, trained):
    register("rows", trained[1])
    register("newest", pd.DataFrame({"a": [1]}))
    app = open_page(NEW_RUN)
    assert [app.selectbox(key=key).value for key in ("model", "dataset")] == ["churn:1", "rows:1"]


def test_files_of_many_rows_are_read_as_a_table_by_one_click(open_page, workspace, churn, register, trained):
    files = register("rows", trained[1], "file")
    assert files.item_kind is ItemKind.TABLE_FILE
    app = open_page(NEW_RUN, model="churn:1", dataset="rows:1")
    assert app.button(key="submit").disabled
    assert "each file of rows:1 holds many rows" in said(app.error).replace("Each", "each")
    app.button(key="read-as-table").click().run()
    assert not app.exception
    assert [app.selectbox(key=key).value for key in ("dataset", "script")] == ["rows:2", "score_tables.py"]
    assert not app.button(key="submit").disabled


def test_the_script_is_shown_and_used_as_ones_own(open_page, workspace, churn, register, trained, finish):
    register("rows", trained[1])
    app = open_page(NEW_RUN)
    app.toggle(key="show-script").set_value(True).run()
    assert any("CHOICES = [" in code.value for code in app.code)
    app.button(key="own-script").click().run()
    assert not app.exception
    (own,) = [script for script in workspace.scripts.all() if script.origin == "uploaded"]
    assert (own.name, own.approved) == ("churn_score_tables.py", True)
    assert app.selectbox(key="script").value.startswith("churn_score_tables.py")
    app.button(key="submit").click().run()
    (run,) = workspace.runs.latest()
    assert run.request.arguments == ("--append_row_dataframe_header", "True")
    assert finish(workspace, run.id).items_succeeded == 20


def test_many_columns_are_typed_instead_of_chosen_from_a_list(open_page, churn, register):
    wide = pd.DataFrame(0.5, index=range(2), columns=[f"gene {number}" for number in range(_fit.MOST_OPTIONS + 1)])
    register("wide", wide)
    app = open_page(NEW_RUN, model="churn:1", dataset="wide:1")
    assert not app.exception
    typed = next(box for box in app.text_input if str(box.key).endswith("input-age"))
    typed.set_value("gene 7").run()
    assert "no column for the model’s input “age”" not in said(app.error)
    typed = next(box for box in app.text_input if str(box.key).endswith("input-age"))
    typed.set_value("nowhere").run()
    assert "has no column “nowhere”" in said(app.error)


def test_a_model_that_was_not_looked_at_yet_is_while_the_page_stands(open_page, workspace, trained, register):
    model = workspace.register_model("fresh", trained[0], approve=True)
    register("rows", trained[1].rename(columns={"age": "years"}))
    app = open_page(NEW_RUN, model="fresh:1", dataset="rows:1")
    assert not app.exception
    for future in list(_fit._inspections.values()):
        future.exception(timeout=60)
    app.run()
    assert workspace.model_card(model.reference).inspected_in == ""
    assert "rows:1 has no column for the model’s input “age”" in said(app.error)


def test_an_environment_made_for_a_model_is_not_kept_for_another_one(open_page, workspace, churn, register, trained):
    workspace.register_environment("for-churn", sys.executable)
    workspace.register_model("other", trained[0])
    register("rows", trained[1])
    app = open_page(NEW_RUN, model="churn:1", dataset="rows:1")
    app.session_state[_environments.OF_MODELS] = {"churn:1": "for-churn:1"}
    app.selectbox(key="environment").set_value("for-churn:1").run()
    assert app.selectbox(key="environment").value == "for-churn:1"
    assert "By environment for-churn:1, Python" in said(app.caption)
    app.selectbox(key="model").set_value("other:1").run()
    assert app.selectbox(key="environment").value == "this program's own"
    app.selectbox(key="model").set_value("churn:1").run()
    assert app.selectbox(key="environment").value == "for-churn:1"

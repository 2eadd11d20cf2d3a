"""A form of New run that was begun: what is plain in its address, the rest in a draft; an old run's request in it; its settings by name."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from pages._run_form import PRIVATE_KEYS
from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import ResourceKind, RunRequest
from services.scoring.presets import RunPreset
from services.scoring.scorers import SCORERS, ScorerOptions
from services.settings import ParallelRunSettings
from services.storage.drafts import KEPT_DAYS, Drafts, new_number
from services.storage.serialization import to_json
from services.workspaces import chosen_workspace
from tests.pages.conftest import INPUTS

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

NEW_RUN = "new_run.py"
SCRIPT = 'import os\ndef run(mini_batch):\n    return [f"{os.path.basename(p)}: 1" for p in mini_batch]\n'
SECRET = "s3cr3t-value"


def said(elements):
    return " ".join(element.value for element in elements).replace("\\", "")


def query(app):
    """The address, as a person would copy it."""
    return {name: value if isinstance(value, str) else value[-1] for name, value in app.query_params.items()}


def go_to(app, address):
    """Open New run by an address, in the same session."""
    app.query_params.clear()
    app.query_params.update(address)
    app.switch_page(NEW_RUN).run()


def drafts(home):
    return sorted((home / "drafts").glob("*")) if (home / "drafts").exists() else []


@pytest.fixture
def script(entry_script):
    return entry_script(SCRIPT)


@pytest.fixture
def submit(workspace, csv_folder, script, finish):
    """`submit(arguments=..., ...)` is the id of a run of such a request, over the dataset d:1; it waits for nothing."""
    ids = []

    def make(**given):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(3))
        request = {"models": (), "datasets": ("d:1",), "entry_script": str(script)} | given
        ids.append(workspace.submit(RunRequest(**request)).id)
        return ids[-1]

    yield make
    for run_id in ids:
        workspace.runs.cancel(run_id)
        finish(workspace, run_id)


def requested(workspace, run_id):
    return replace(workspace.runs.get(run_id).request, submission_id="")


def submitted(app, workspace, finish=None):
    """What the form submits; the run is canceled where it can be waited for."""
    before = {run.id for run in workspace.runs.latest()}
    app.button(key="submit").click().run()
    assert not app.exception, app.exception
    (run,) = [run for run in workspace.runs.latest() if run.id not in before] or pytest.fail(said(app.error))
    if finish:
        workspace.runs.cancel(run.id)
        finish(workspace, run.id)
    return requested(workspace, run.id)


# ---- edit and run again --------------------------------------------------------------------------------------------------------------


FULL = {
    "arguments": ("--name", "two words", "", "--line", "a\nb", f"--key={SECRET}"),
    "settings": ParallelRunSettings(
        node_count=2, process_count_per_node=3, mini_batch_size="7", error_threshold=-1, allowed_failed_count=4,
        allowed_failed_percent=12.5,
        append_row_file_name="out put.txt", run_invocation_timeout=99, run_max_try=2, logging_level="DEBUG",
        environment_variables={"A": "x=y", "KEY": f"-----BEGIN\n{SECRET}\n"},
    ),
    "allow_reuse": False,
    "name": ":red[A] *run* <b>",
}  # fmt: skip


def test_an_unchanged_form_submits_what_the_run_was(open_page, workspace, submit, home, csv_folder, finish, tmp_path):
    workspace.register_dataset("d", csv_folder(3))
    workspace.register_dataset("lookup", csv_folder(1, "lookup"))
    (tmp_path / "modules").mkdir()
    run_id = submit(**FULL, side_inputs={"lookup": "lookup:1"}, source_directory=str(tmp_path / "modules"), datasets=("d:1", "lookup:1"))
    app = open_page(NEW_RUN, run=run_id)
    assert not app.exception
    assert submitted(app, workspace, finish) == requested(workspace, run_id)


def test_the_runs_page_opens_the_form_and_nothing_private_is_in_its_address(open_page, workspace, submit, home):
    run_id = submit(**FULL)
    app = open_page("runs.py", run=run_id)
    app.button(key=f"edit-{run_id}").click().run()
    assert app.header[0].value == "New run"
    assert app.text_area(key="arguments").value == "--name 'two words' '' --line 'a\nb' --key=s3cr3t-value"
    address = query(app)
    assert address["like"] == run_id
    assert address["node_count"] == "2"
    assert SECRET not in json.dumps(address)
    assert "red" not in json.dumps(address)
    assert drafts(home) == []  # the run has it already
    assert f"({run_id})" in said(app.caption)
    again = open_page(NEW_RUN, **address)
    assert again.text_input(key="run_name").value == FULL["name"]
    assert SECRET in again.text_area(key="environment_variables").value


@pytest.fixture
def on_azure(azure, home, tmp_path, csv_folder, script):
    """The workspace of the stand-in as the dashboard has it, and a request with every setting that a run has there."""
    connection = from_environment(tmp_path)
    connection.remember(home)
    cloud = AzureWorkspace(connection, home, blocking=True)
    cloud.register_model("m", csv_folder(1, "weights") / "0000.csv")
    cloud.register_dataset("d", csv_folder(3))
    cloud.register_dataset("lookup", csv_folder(1, "lookup"))
    for listing in cloud._cache._all():  # what a dashboard has known since its last look
        listing.fetch()
    return cloud, RunRequest(
        ("m:1",), ("d:1", "lookup:1"), str(script), compute_target="cpu-cluster", side_inputs={"lookup": "lookup:1"},
        source_directory=str(script.parent), **FULL,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_on_azure_ml_the_form_submits_what_the_run_was_and_what_was_changed(open_page, azure, on_azure, csv_folder, finish):
    cloud, request = on_azure
    azure.service.fault("POST *PipelineRuns/Unsubmitted/CreationInfoWithGraph*", held=True, count=None)  # nothing is scored
    run_id = cloud.submit(request).id
    cloud.resources.change(ResourceKind.RUN, run_id, name="renamed", tags={"a": "1"})
    app = open_page("runs.py", run=run_id)
    app.button(key=f"edit-{run_id}").click().run()
    assert not app.exception
    assert app.header[0].value == "New run"
    assert app.selectbox(key="compute_target").value == "cpu-cluster"
    address = query(app)
    assert SECRET not in json.dumps(address)
    was = replace(requested(cloud, run_id), name="renamed")
    assert submitted(open_page(NEW_RUN, **address), cloud) == was
    chosen_workspace().register_dataset("d", csv_folder(5, "newer"))
    app = open_page(NEW_RUN, run=run_id)
    app.button(key="newest-dataset").click().run()
    app.text_input(key="node_count").set_value("1").run()
    assert submitted(app, cloud) == replace(was, datasets=("d:2", "lookup:1"), settings=replace(was.settings, node_count=1))
    azure.service.clear()
    for run in cloud.runs.latest():
        cloud.runs.cancel(run.id)
        finish(cloud, run.id)


def test_the_newest_version_of_the_dataset_is_one_click(open_page, workspace, submit, csv_folder, finish):
    run_id = submit(arguments=("--a", "1"))
    assert "newest-dataset" not in [button.key for button in open_page(NEW_RUN, run=run_id).button]
    workspace.register_dataset("d", csv_folder(5, "newer"))
    app = open_page(NEW_RUN, run=run_id)
    assert app.selectbox(key="dataset").value == "d:1"
    app.button(key="newest-dataset").click().run()
    assert app.selectbox(key="dataset").value == "d:2"
    assert "newest-dataset" not in [button.key for button in app.button]
    assert submitted(app, workspace, finish) == replace(requested(workspace, run_id), datasets=("d:2",))


def test_what_is_gone_is_said_at_its_field(open_page, workspace, submit, csv_folder, script, home):
    workspace.register_dataset("d", csv_folder(3))
    run_id = submit(side_inputs={"lookup": "d:1"})
    odd = replace(
        workspace.runs.get(run_id).request, models=("gone:3",), environment="env:9", datasets=("gone data:2", "more:1"),
        side_inputs={"lookup": "nowhere:1"}, source_directory="/no/such folder",
    )  # fmt: skip
    with closing(sqlite3.connect(home / "studio.db")) as connection, connection:
        connection.execute("UPDATE runs SET request = ? WHERE id = ?", (to_json(odd), run_id))
    script.unlink()
    app = open_page(NEW_RUN, run=run_id)
    assert not app.exception
    warnings = said(app.warning)
    assert "“gone:3” no longer exists" in warnings
    assert "“gone data:2” no longer exists" in warnings
    assert "“env:9” of the address is not one of the choices" in warnings
    assert "“more:1” no longer exists" in warnings
    assert f"script.py of {run_id} is gone" in warnings
    assert "no dataset “nowhere:1”" in said(app.error)


def test_a_script_that_is_gone_is_taken_from_what_the_run_kept(open_page, workspace, csv_folder, script, finish):
    workspace.register_dataset("d", csv_folder(3))
    run_id = finish(workspace, workspace.submit(RunRequest((), ("d:1",), str(script))).id).id
    script.write_text(SCRIPT + "# changed\n")
    app = open_page(NEW_RUN, run=run_id)
    assert f"script.py was changed since {run_id} used it." in said(app.warning)
    assert app.selectbox(key="script").value == f"script.py · {run_id}"
    script.unlink()
    app = open_page(NEW_RUN, run=run_id)
    assert f"script.py of {run_id} is gone. The run kept it as it was." in said(app.warning)
    app.button(key="kept-script").click().run()
    (kept,) = [known for known in workspace.scripts.all() if known.origin == "uploaded"]
    assert Path(kept.path).read_text() == SCRIPT
    assert not kept.approved
    app.button(key=f"approve-{kept.sha256}").click().run()
    assert submitted(app, workspace, finish) == replace(requested(workspace, run_id), entry_script=kept.path)


def test_a_run_that_does_not_exist_is_said(open_page, workspace, submit):
    submit()
    for address in ({"run": "run-gone"}, {"like": "../../etc"}, {"like": "x" * 100_000}):
        app = open_page(NEW_RUN, **address)
        assert not app.exception
        assert "There is no run" in said([*app.error, *app.warning])
        assert app.selectbox(key="dataset").value == "d:1"
        assert not {"run", "like"} & {*query(app)}


def test_the_form_of_a_renamed_run_has_its_name(open_page, workspace, submit):
    run_id = submit(name="before")
    workspace.resources.change(ResourceKind.RUN, run_id, name="after")
    assert open_page(NEW_RUN, run=run_id).text_input(key="run_name").value == "after"


# ---- submitted before the browser shows what changed ---------------------------------------------------------------------------------


def click_late(app, **shown):
    """A click on Submit by a browser that has not drawn the form since it showed these values."""
    for widget in [*app.selectbox, *app.text_input]:
        if widget.key in shown:
            widget.set_value(shown[widget.key])
    app.button(key="submit").click().run()
    assert not app.exception


def test_a_late_submit_runs_the_version_that_was_chosen(open_page, workspace, submit, csv_folder):
    run_id = submit(arguments=("--name", "two words"))
    workspace.register_dataset("d", csv_folder(2, "more"))
    app = open_page(NEW_RUN, run=run_id)
    before = app.text_input(key="form_token").value
    app.button(key="newest-dataset").click().run()
    click_late(app, dataset="d:1", form_token=before)
    assert workspace.runs.latest(1)[0].request.datasets == ("d:2",)


def test_a_later_choice_by_hand_counts_more(open_page, workspace, submit, csv_folder):
    run_id = submit()
    workspace.register_dataset("d", csv_folder(2, "more"))
    workspace.register_dataset("e", csv_folder(1, "else"))
    app = open_page(NEW_RUN, run=run_id)
    before = app.text_input(key="form_token").value
    app.button(key="newest-dataset").click().run()
    click_late(app, dataset="e:1", form_token=before)
    assert workspace.runs.latest(1)[0].request.datasets == ("e:1",)


def test_the_version_before_can_be_chosen_again_once_the_newest_was_shown(open_page, workspace, submit, csv_folder):
    run_id = submit()
    workspace.register_dataset("d", csv_folder(2, "more"))
    app = open_page(NEW_RUN, run=run_id)
    app.button(key="newest-dataset").click().run()
    app.selectbox(key="dataset").set_value("d:1").run()
    app.button(key="submit").click().run()
    assert workspace.runs.latest(1)[0].request.datasets == ("d:1",)


def test_what_nobody_chose_is_shown_before_it_is_submitted(open_page, workspace, csv_folder, script):
    added = workspace.scripts.add("own.py", SCRIPT.encode())
    workspace.approve(added.sha256)
    app = open_page(NEW_RUN, script=f"own.py · {added.sha256[:8]}")
    workspace.register_dataset("d", csv_folder(1))
    app.button(key="submit").click().run()
    assert workspace.runs.latest() == []
    assert "The form changed when you submitted it" in said(app.warning)
    assert app.selectbox(key="dataset").value == "d:1"
    app.button(key="submit").click().run()
    assert workspace.runs.latest(1)[0].request.datasets == ("d:1",)


def test_a_late_submit_does_not_run_the_form_before_another_was_opened(open_page, workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(1))
    workspace.presets.save("twice", RunPreset(ParallelRunSettings(node_count=2)))
    app = open_page(NEW_RUN)
    before, address = app.text_input(key="form_token").value, query(app)
    app.button(key="use-preset").click().run()
    assert app.text_input(key="node_count").value == "2"
    app.query_params.clear()
    app.query_params.update(address)
    click_late(app, node_count="1", form_token=before)
    assert workspace.runs.latest() == []
    assert app.text_input(key="node_count").value == "2"
    app.button(key="submit").click().run()
    assert workspace.runs.latest(1)[0].request.settings.node_count == 2


# ---- a built-in script ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(workspace, churn, trained, tmp_path):
    """The model churn:1, looked at, and tables whose columns are called as its inputs (rows:1), alike (alike:1) and otherwise (other:1)."""
    names = {"rows": {}, "alike": {"age": "A_G E"}, "other": {"age": "years", INPUTS[2]: "=cmd"}}
    for name, renamed in names.items():
        (tmp_path / name).mkdir()
        trained[1].rename(columns=renamed).assign(id=range(20)).to_csv(tmp_path / name / "rows.csv", index=False)
        workspace.register_dataset(name, tmp_path / name, type="tabular")


TABLES = str(SCORERS["score_tables"].path)
CHOSEN = {
    "columns by name": ("rows", ScorerOptions()),
    "columns alike": ("alike", ScorerOptions(inputs={"age": "A_G E"})),
    "columns chosen": ("other", ScorerOptions(inputs={INPUTS[2]: "=cmd", "age": "years"}, keep=("id", "years"), probabilities="all")),
    "top classes": ("rows", ScorerOptions(keep=("id",), top=2)),
    "by order": ("rows", ScorerOptions(values={"by-order": ""})),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_choices_of_a_built_in_script_are_those_of_the_run(open_page, workspace, tables, submit, finish, name):
    dataset, chosen = CHOSEN[name]
    arguments = chosen.arguments(SCORERS["score_tables"])
    run_id = submit(models=("churn:1",), datasets=(f"{dataset}:1",), entry_script=TABLES, arguments=arguments)
    workspace.presets.keep("churn", ScorerOptions(keep=("id",), probabilities="off"))  # chosen later, for another run
    app = open_page(NEW_RUN, run=run_id)
    assert not app.exception
    assert submitted(app, workspace, finish) == requested(workspace, run_id)


def test_arguments_of_a_built_in_script_that_nothing_chose_stay_as_they_are(open_page, workspace, tables, submit, finish):
    run_id = submit(models=("churn:1",), datasets=("rows:1",), entry_script=TABLES, arguments=("--keep=id",))
    app = open_page(NEW_RUN, run=run_id)
    assert app.text_input(key="arguments").value == "--keep=id"
    assert submitted(app, workspace, finish) == requested(workspace, run_id)
    app = open_page(NEW_RUN, run=run_id)
    app.button(key="choose-instead").click().run()
    assert app.text_input(key="arguments").value == ""
    assert submitted(app, workspace, finish).arguments == ("--append_row_dataframe_header", "True")


def test_chosen_columns_go_over_to_the_newest_version(open_page, workspace, tables, submit, finish, tmp_path):
    chosen = ScorerOptions(inputs={"age": "years", INPUTS[2]: "=cmd"}, keep=("id",)).arguments(SCORERS["score_tables"])
    run_id = submit(models=("churn:1",), datasets=("other:1",), entry_script=TABLES, arguments=chosen)
    workspace.register_dataset("other", tmp_path / "other", type="tabular")
    app = open_page(NEW_RUN, run=run_id)
    app.button(key="newest-dataset").click().run()
    assert submitted(app, workspace, finish) == replace(requested(workspace, run_id), datasets=("other:2",))


# ---- a begun form --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(open_page, workspace, csv_folder, script, submit):
    """A form with plain and private settings, as a session has it."""
    submit()
    (run,) = workspace.runs.latest()
    app = open_page(NEW_RUN, run=run.id)
    app.text_input(key="node_count").set_value("3")
    app.selectbox(key="logging_level").select("DEBUG")
    app.text_input(key="arguments").set_value(f"--token {SECRET}")
    app.text_area(key="environment_variables").set_value(f"KEY={SECRET}")
    app.text_input(key="run_name").set_value("confidential").run()
    assert not app.exception
    return app


def values(app):
    boxes = [*app.text_input, *app.text_area, *app.selectbox, *app.toggle]
    wanted = ("arguments", "environment_variables", "run_name", "model", "dataset", "script")
    return {box.key: box.value for box in boxes if box.key in wanted}


def test_another_session_sees_the_form_by_its_address(open_page, begun, home):
    address = query(begun)
    assert address["draft"] in drafts(home)[0].name
    assert SECRET not in urlencode(address)
    assert "confidential" not in urlencode(address)
    again = open_page(NEW_RUN, **(address | {"node_count": "3", "logging_level": "DEBUG"}))
    assert not again.exception
    assert values(again) == values(begun)
    assert again.text_input(key="node_count").value == "3"
    assert query(again)["draft"] == address["draft"]


def test_a_form_survives_a_visit_to_another_page(begun, home):
    before, address = values(begun), query(begun)
    begun.switch_page("connection.py").run()
    begun.switch_page(NEW_RUN).run()
    assert values(begun) == before
    assert query(begun)["draft"] == address["draft"]
    assert len(drafts(home)) == 1


def test_after_submit_the_draft_is_gone_and_the_address_shows_the_run(open_page, begun, workspace, finish, home):
    address = query(begun)
    request = submitted(begun, workspace, finish)
    assert request.arguments == ("--token", SECRET)
    assert drafts(home) == []
    begun.session_state["submission"].at -= 60
    go_to(begun, address)  # as Back does
    assert not begun.exception
    assert values(begun)["arguments"] == f"--token {SECRET}"
    assert query(begun)["like"] == begun.session_state["submission"].run_id
    runs = len(workspace.runs.latest())
    begun.run()
    assert len(workspace.runs.latest()) == runs
    other = open_page(NEW_RUN, **address)
    assert "is not in this workspace" in said(other.warning)
    assert "It was submitted, or is older than 7 days." in said(other.warning)


def test_after_submit_a_new_form_is_empty(begun, workspace, finish):
    submitted(begun, workspace, finish)
    begun.session_state["submission"].at -= 60
    go_to(begun, {})
    assert values(begun)["arguments"] == values(begun)["run_name"] == ""
    assert begun.text_input(key="node_count").value == "1"
    assert "draft" not in query(begun)


def test_starting_over_empties_the_form_and_its_address_still_has_it(open_page, begun, home):
    address = query(begun)
    begun.button(key="start-over").click().run()
    assert not begun.exception
    assert values(begun)["arguments"] == ""
    assert begun.text_input(key="node_count").value == "1"
    assert "draft" not in query(begun)
    assert values(open_page(NEW_RUN, **address))["arguments"] == f"--token {SECRET}"


def test_two_forms_do_not_mix(open_page, begun, workspace, home):
    other = open_page(NEW_RUN)
    other.text_input(key="arguments").set_value("--other 1").run()
    begun.text_input(key="arguments").set_value("--first 2").run()
    assert query(other)["draft"] != query(begun)["draft"]
    assert [values(open_page(NEW_RUN, **query(app)))["arguments"] for app in (begun, other)] == ["--first 2", "--other 1"]


def test_an_opened_form_alone_leaves_no_draft(open_page, workspace, submit, home):
    run_id = submit(**FULL)
    open_page(NEW_RUN)
    open_page(NEW_RUN, run=run_id)
    open_page(NEW_RUN, node_count="5")
    assert drafts(home) == []


def test_chosen_columns_are_in_the_draft(open_page, workspace, tables, home):
    app = open_page(NEW_RUN, model="churn:1", dataset="other:1")
    next(box for box in app.selectbox if str(box.key).endswith("input-age")).select("years").run()
    next(box for box in app.multiselect if str(box.key).endswith("keep")).set_value(["id"]).run()
    address = query(app)
    assert "years" not in urlencode(address)
    again = open_page(NEW_RUN, **address)
    assert not again.exception
    assert next(box for box in again.selectbox if str(box.key).endswith("input-age")).value == "years"
    assert next(box for box in again.multiselect if str(box.key).endswith("keep")).value == ["id"]


def test_an_old_draft_is_removed_and_said(open_page, begun, home):
    address, (path,) = query(begun), drafts(home)
    past = time.time() - KEPT_DAYS * 86_400 - 60
    os.utime(path, (past, past))
    app = open_page(NEW_RUN, **address)
    assert not app.exception
    assert "is older than 7 days" in said(app.warning)
    assert drafts(home) == []


# ---- a hostile address ---------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "an unknown name": ({"<b>x</b>": "1", "arguments": "--a", "environment_variables": "KEY=1"}, "does not have: “<b>x</b>”, “arguments”"),
    "out of range": ({"node_count": "99999"}, "99999 is out of range"),
    "no number": ({"error_threshold": "=cmd|'"}, "is not a whole number"),
    "a long text": ({"node_count": "9" * 100_000}, "is not a whole number"),
    "a level": ({"logging_level": "LOUD"}, "“LOUD” of the address is not one of the choices"),
    "an action": ({"output_action": ":red[x]"}, "“:red[x]” of the address"),
    "a switch": ({"allow_reuse": "perhaps"}, "“perhaps” of the address"),
    "an environment": ({"environment": "../../x"}, "“../../x” of the address"),
    "a model": ({"model": "x" * 100_000}, "no longer exists"),
    "a dataset": ({"dataset": "d:1:2:3"}, "no longer exists"),
    "a script": ({"script": "/etc/passwd"}, "no longer exists"),
    "a path for a draft": ({"draft": "../../studio"}, "is not the number of a draft"),
    "a long draft": ({"draft": "a" * 100_000}, "is not the number of a draft"),
    "a draft of another home": ({"draft": "0123456789abcdef" * 2}, "is not in this workspace"),
    "a name of a file": ({"append_row_file_name": "a/../b"}, "holds '/'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_address_is_said_in_plain_words(open_page, workspace, csv_folder, name):
    workspace.register_dataset("d", csv_folder(1))
    address, words = HOSTILE[name]
    app = open_page(NEW_RUN, **address)
    assert not app.exception
    text = said([*app.warning, *app.error])
    assert words in text
    assert len(text) < 3_000
    app.run()
    assert not app.exception


@pytest.mark.parametrize("text", ["", "{", "[]", '{"arguments": 7}', '{"pair": ["one"], "choices": {"keep": ["x"]}}', "x" * 5_000_000])
def test_a_draft_that_is_broken_is_said(open_page, workspace, csv_folder, home, text):
    workspace.register_dataset("d", csv_folder(1))
    number = new_number()
    Drafts(home).save(number, text)
    app = open_page(NEW_RUN, draft=number)
    assert not app.exception
    if "pair" not in text:
        assert "lost" in said(app.warning) or "not in this workspace" in said(app.warning)


def test_a_home_that_is_full_is_said_and_the_form_works(open_page, workspace, csv_folder, home):
    workspace.register_dataset("d", csv_folder(1))
    (home / "drafts").write_text("in its place")
    app = open_page(NEW_RUN)
    app.text_input(key="arguments").set_value("--a 1").run()
    assert not app.exception
    assert "What is typed here can't be kept" in said(app.error)
    assert app.text_input(key="arguments").value == "--a 1"


def test_every_private_widget_is_kept(begun):
    assert {key for key in PRIVATE_KEYS if key not in begun.session_state} == set()


# ---- presets -------------------------------------------------------------------------------------------------------------------------


def test_settings_are_saved_under_a_name_and_used_later(open_page, begun, workspace, csv_folder):
    begun.text_input(key="preset_name").set_value("nightly *run*").run()
    begun.button(key="save-preset-False").click().run()
    assert not begun.exception
    preset = workspace.presets.named("nightly *run*")
    assert preset.settings == ParallelRunSettings(
        node_count=3, mini_batch_size="10", logging_level="DEBUG", environment_variables={"KEY": SECRET}
    )
    assert preset.arguments == ("--token", SECRET)
    other = open_page(NEW_RUN)
    other.text_input(key="run_max_try").set_value("9")
    other.text_input(key="run_name").set_value("mine").run()
    other.button(key="use-preset").click().run()
    assert not other.exception
    assert other.text_input(key="node_count").value == "3"
    assert other.text_input(key="run_max_try").value == "3"
    assert (other.text_input(key="arguments").value, other.text_input(key="run_name").value) == (f"--token {SECRET}", "mine")
    assert SECRET not in urlencode(query(other))


def test_a_preset_is_renamed_replaced_and_deleted_after_a_question(open_page, workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(1))
    workspace.presets.save("a", RunPreset(ParallelRunSettings(node_count=2)))
    workspace.presets.save("b", RunPreset())
    app = open_page(NEW_RUN)
    app.text_input(key="preset-name-a").set_value("b")
    app.button(key="rename-preset").click().run()
    assert "there is a preset called “b” already" in said(app.error).replace("There", "there")
    app.text_input(key="preset-name-a").set_value("c")
    app.button(key="rename-preset").click().run()
    assert (workspace.presets.names(), app.selectbox(key="preset").value) == (["b", "c"], "c")
    app.text_input(key="preset_name").set_value("c").run()
    assert "Replaces what “c” has now." in said(app.caption)
    app.button(key="save-preset-True").click().run()
    assert workspace.presets.named("c").settings == ParallelRunSettings()
    app.button(key="delete-preset").click().run()
    assert workspace.presets.names() == ["b", "c"]
    assert "Delete the preset “c”?" in said(app.warning)
    app.button(key="delete-preset-c").click().run()
    assert workspace.presets.names() == ["b"]


def test_a_preset_of_an_environment_that_is_gone_is_said(open_page, workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(1))
    workspace.presets.save("old", RunPreset(environment="env:1", side_inputs={"a": "gone:1"}))
    app = open_page(NEW_RUN)
    app.button(key="use-preset").click().run()
    assert "“env:1” of the address is not one of the choices" in said(app.warning)
    assert "no dataset “gone:1”" in said(app.error)


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_preset_needs_a_name(open_page, workspace, csv_folder, name):
    workspace.register_dataset("d", csv_folder(1))
    app = open_page(NEW_RUN)
    app.text_input(key="preset_name").set_value(name).run()
    app.button(key="save-preset-False").click().run()
    assert not app.exception
    assert workspace.presets.names() == ([] if not name else [name[:100]])

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pages._forms import Form
from services.azure.sdk_v1.models import Models
from services.azure.workspace import AzureWorkspace
from services.connection import Connection, SignIn
from services.domain import Model, utc_now
from services.local.workspace import LocalWorkspace
from services.remote import TrainingRun
from tests import recorded_models as recorded

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

MODELS = "registered_models.py"
TREE = b"tree\nversion=v4\nend of trees\n"  # a LightGBM text model, which can't run code
HOSTILE = ["![](http://x/y.png)", ":red[x]", "$x$", "<b>bold</b>", "two\nlines", "=cmd()", "x" * 300]


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


class Ends:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os._exit, (9,))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree.txt"
    path.write_bytes(TREE)
    return path


def test_an_empty_workspace_says_what_to_register(open_page):
    app = open_page(MODELS)
    assert not app.exception
    assert "No models registered yet" in app.info[0].value


def test_an_upload_is_registered_once_and_chosen(open_page, workspace):
    app = open_page(MODELS, tab="Register a model")
    app.file_uploader(key="model-upload-0").upload("My model (2).txt", TREE).run()
    assert app.text_input(key="model-name-0").placeholder == "My-model-2"
    app.text_input(key="model-description-0").set_value("all of <b>June</b>")
    app.text_area(key="model-tags-0").set_value("team = retention\nstage=test")
    app.button(key="model-submit-0").click().run()
    assert not app.exception
    (model,) = workspace.models()
    assert (model.reference, model.description, model.tags) == (
        "My-model-2:1",
        "all of <b>June</b>",
        {"team": "retention", "stage": "test"},
    )
    assert Path(model.path).read_bytes() == TREE
    assert app.selectbox(key="model").value == "My-model-2:1"
    assert app.session_state["tab"] == "Registered"
    assert "Registered" in app.toast[0].value
    assert app.text_input(key="model-name-1").value == ""
    with pytest.raises(KeyError):  # the button of a second click
        app.button(key="model-submit-0")
    app.run()
    assert len(workspace.models()) == 1
    assert not app.toast


def test_a_second_click_waits_for_the_work_of_the_first():
    form, begun, may_end, done = Form("model"), threading.Event(), threading.Event(), []

    def work() -> str:
        begun.set()
        assert may_end.wait(20)
        done.append(1)
        return f"made:{len(done)}"

    clicks = [threading.Thread(target=form.once, args=(0, work)) for _ in range(3)]
    clicks[0].start()
    assert begun.wait(20)
    for click in clicks[1:]:
        click.start()
    may_end.set()
    for click in clicks:
        click.join(20)
    assert (form.registered, form.number) == ("made:1", 1)


def test_a_path_on_this_machine_is_registered_as_the_next_version(open_page, workspace, tree):
    workspace.register_model("tree", tree)
    app = open_page(MODELS, tab="Register a model")
    app.segmented_control(key="model-source-0").set_value("On this machine").run()
    app.text_input(key="model-path-0").set_value(str(tree)).run()
    assert app.text_input(key="model-name-0").placeholder == "tree"
    app.button(key="model-submit-0").click().run()
    assert app.selectbox(key="model").value == "tree:2"
    assert app.selectbox(key="model").options == ["tree:2", "tree:1"]
    assert app.dataframe[0].value["Version"].tolist() == [2]
    assert tree.read_bytes() == TREE


def test_a_typed_name_is_not_replaced_by_a_proposal(open_page):
    app = open_page(MODELS, tab="Register a model")
    app.text_input(key="model-name-0").set_value("mine")
    app.file_uploader(key="model-upload-0").upload("other.txt", TREE).run()
    assert app.text_input(key="model-name-0").value == "mine"


@pytest.mark.parametrize(
    ("name", "tags", "message"),
    [
        ("", "", "A name is needed"),
        ("![](x)", "", r"\!\[\]\(x\)"),
        ("x" * 300, "", "be a name"),
        ("good", "no equals sign", "is not a tag"),
    ],
)
def test_an_invalid_value_is_reported_and_nothing_registered(open_page, workspace, home, *, name, tags, message):
    app = open_page(MODELS, tab="Register a model")
    app.file_uploader(key="model-upload-0").upload("模型.txt", TREE).run()
    app.text_input(key="model-name-0").set_value(name)
    app.text_area(key="model-tags-0").set_value(tags)
    app.button(key="model-submit-0").click().run()
    assert not app.exception
    assert message in app.error[0].value
    assert workspace.models() == []
    assert list((home / "incoming").iterdir()) == []
    app.text_input(key="model-name-0").set_value("good")
    app.text_area(key="model-tags-0").set_value("")
    app.button(key="model-submit-0").click().run()
    assert [model.reference for model in workspace.models()] == ["good:1"]
    assert not app.error


def test_a_missing_or_empty_model_is_rejected(open_page, workspace, tmp_path):
    app = open_page(MODELS, tab="Register a model")
    app.text_input(key="model-name-0").set_value("m")
    app.button(key="model-submit-0").click().run()
    assert "No model is chosen" in app.error[0].value
    app.segmented_control(key="model-source-0").set_value("On this machine").run()
    app.text_input(key="model-path-0").set_value(str(tmp_path / "nothing.joblib")).run()
    app.button(key="model-submit-0").click().run()
    assert "There is no file or folder" in app.error[0].value
    (tmp_path / "empty.joblib").touch()
    app.text_input(key="model-path-0").set_value(str(tmp_path / "empty.joblib")).run()
    app.button(key="model-submit-0").click().run()
    assert "is empty" in app.error[0].value
    assert workspace.models() == []


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/outside.txt", "a/../../outside.txt"])
def test_an_upload_with_a_path_outside_is_rejected(open_page, workspace, home, name):
    app = open_page(MODELS, tab="Register a model")
    app.file_uploader(key="model-upload-0").upload(name, TREE).run()
    app.text_input(key="model-name-0").set_value("m")
    app.button(key="model-submit-0").click().run()
    assert "nothing was taken" in app.error[0].value
    assert workspace.models() == []
    assert list(home.parent.rglob("outside.txt")) == []
    assert list((home / "incoming").iterdir()) == []


def test_a_model_that_can_run_code_is_never_loaded_by_the_page(open_page, workspace, tmp_path):
    executed = tmp_path / "executed"
    app = open_page(MODELS, tab="Register a model")
    app.file_uploader(key="model-upload-0").upload("bomb.pkl", pickle.dumps(Bomb(executed))).run()
    app.button(key="model-submit-0").click().run()
    (model,) = workspace.models()
    assert not model.usable
    assert any(block.value == model.sha256 for block in app.code)
    assert any("Path" in block.value for block in app.code), "its imports"
    assert "can run code" in app.warning[0].value
    button = app.button(key=f"approve-{model.sha256}")
    assert button.label == f"Approve {model.sha256[:12]}…"
    button.click().run()
    assert workspace.models()[0].usable
    assert not app.warning
    assert app.button(key="use-bomb:1")
    assert not executed.exists()


def test_a_link_opens_its_version_or_warns_that_it_is_gone(open_page, workspace, tree):
    for _ in range(2):
        workspace.register_model("tree", tree)
    app = open_page(MODELS, model="tree:1")
    assert app.selectbox(key="model").value == "tree:1"
    assert [warning.value.replace("\\", "") for warning in app.warning] == [
        "Needs lightgbm, which this program’s own environment does not have"
    ]
    app = open_page(MODELS, model="![](http://x):3")
    assert not app.exception
    assert r"\!\[\]" in app.warning[0].value
    assert app.selectbox(key="model").value == "tree:2"


def test_the_table_marks_the_model_that_the_list_chose(open_page, workspace, tree):
    for name in ("first", "second", "third"):
        workspace.register_model(name, tree)
    app = open_page(MODELS)
    assert app.session_state["model-table"]["selection"]["rows"] == [0]
    for chosen, row in (("first:1", 2), ("second:1", 1), ("third:1", 0)):
        app.selectbox(key="model").select(chosen).run()
        assert app.session_state["model-table"]["selection"]["rows"] == [row]


def test_text_from_outside_is_shown_as_text(open_page, workspace, tree):
    workspace.register_model("m", tree, description="\n".join(HOSTILE), tags=dict.fromkeys(HOSTILE, "![](http://x/y.png)"))
    app = open_page(MODELS)
    assert not app.exception
    assert app.text[0].value == "\n".join(HOSTILE)
    for markdown in [*app.markdown, *app.caption]:
        assert "![" not in markdown.value
        assert ":red[" not in markdown.value


def test_a_description_of_megabytes_is_shown(open_page, workspace, tree):
    for _ in range(2):
        workspace.register_model("m", tree, description="x" * 2_000_000)
    app = open_page(MODELS)
    assert not app.exception
    assert app.dataframe[1].value["Version"].tolist() == [2, 1]


def test_hundreds_of_models_are_one_table(open_page, workspace, tree):
    for number in range(300):
        workspace.register_model(f"model-{number:03}", tree)
    app = open_page(MODELS)
    assert not app.exception
    assert len(app.dataframe[0].value) == 300
    assert app.selectbox(key="model").value == "model-299:1"


def test_tables_are_drawn_without_importing_pandas(home, tree):
    LocalWorkspace(home).register_model("tree", tree)
    program = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file(sys.argv[1], default_timeout=60).run()\n"
        "for page in ('registered_models.py', 'registered_datasets.py', 'connection.py'):\n"
        "    app.switch_page(page).run()\n"
        "    assert not app.exception, app.exception\n"
        "print('pandas' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(root / "pages/shell.py")],
        cwd=root,
        env={"BATCH_SCORING_HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["outputs/metrics.json", "outputs/model.joblib", "outputs/notes.txt"], "outputs/model.joblib"),
        (["outputs/metrics.json", "outputs/net/MLmodel", "outputs/net/weights.dat"], "outputs/net"),
        (["outputs/metrics.json", "outputs/notes.txt"], None),
    ],
)
def test_of_a_training_run_the_model_is_proposed_and_nothing_else(open_page, home, monkeypatch, files, chosen):
    Connection("s", "g", f"w{len(files[1])}", SignIn.DEVICE_CODE).remember(home)  # what is listed of a workspace is cached
    monkeypatch.setattr(AzureWorkspace, "experiments", lambda _: ["e"])
    monkeypatch.setattr(AzureWorkspace, "training_runs", lambda *_, **__: [TrainingRun("r", "e", "", "Completed", None)])
    monkeypatch.setattr(Models, "training_run_files", lambda *_: files)
    app = open_page(MODELS, tab="From a training run")
    assert app.selectbox(key="from-path").value == chosen
    assert sorted(set(files) - set(app.selectbox(key="from-path").options)) == []


def test_the_page_registers_a_model_from_a_training_run(open_page, home, monkeypatch):
    Connection("s", "g", "w", SignIn.DEVICE_CODE).remember(home)  # sends no request before a person signs in
    monkeypatch.setattr(AzureWorkspace, "experiments", lambda _: ["e"])
    monkeypatch.setattr(AzureWorkspace, "training_runs", lambda *_, **__: [TrainingRun("r", "e", "first", "Completed", None)])
    monkeypatch.setattr(Models, "training_run_files", lambda *_: ["outputs/model.pkl", "logs/a.txt"])
    made = Model("model", 1, "azureml://r", None, "", "registered from a run", utc_now(), "", {}, needs_approval=False)
    monkeypatch.setattr(Models, "register_from_run", lambda *_, **__: made)
    app = open_page(MODELS, tab="From a training run")
    assert app.selectbox(key="from-path").options == ["outputs/model.pkl"]
    assert app.text_input(key="from-run-name-0").placeholder == "model"
    app.button(key="from-run-submit-0").click().run()
    assert not app.exception
    assert app.selectbox(key="model").value == "model:1"


# ---- what a model is ---------------------------------------------------------------------------------------------------------------------


def texts(app) -> list[str]:
    return [element.value for element in app.text]


def test_a_model_s_card_is_shown_in_words(open_page, workspace, tmp_path):
    (tmp_path / "m.txt").write_bytes(recorded.LIGHTGBM)
    workspace.register_model("m", tmp_path / "m.txt")
    app = open_page(MODELS)
    assert "Predicts one of 2 classes, with probabilities, from 3 columns." in texts(app)
    assert {"LightGBM text", "lightgbm", "Classification", "0, 1"} <= set(texts(app))
    table = next(frame.value for frame in app.dataframe if "Input" in frame.value)
    assert table.values.tolist() == [["age", "number"], ["income", "number"], ["plan", "text"]]
    assert not app.exception


def test_inspecting_a_model_needs_its_approval_and_shows_what_it_says(open_page, workspace, model_file):
    model = workspace.register_model("m", model_file)
    app = open_page(MODELS)
    assert app.button(key="inspect-m:1").disabled
    workspace.approve(model.sha256)
    app.run()
    app.button(key="inspect-m:1").click().run()
    assert not app.exception
    assert any(text.startswith("Predicts one of 3 classes, with probabilities, from ") for text in texts(app))
    assert workspace.model_card("m").inspected_in == ""


def test_a_model_that_ends_its_process_is_an_error_on_the_page(open_page, workspace, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Ends()))
    workspace.register_model("m", tmp_path / "m.pkl", approve=True)
    app = open_page(MODELS)
    app.button(key="inspect-m:1").click().run()
    assert "ended with code 9 before it could answer" in app.error[0].value.replace("\\", "")
    assert not app.exception
    assert app.button(key="use-m:1")

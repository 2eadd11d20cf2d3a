from __future__ import annotations

import hashlib

import pytest

from pages._forms import Submission
from pages._workspace import script_label
from services.connection import Connection, SignIn
from services.domain import RunRequest
from tests.broken_files import write_files

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

NEW_RUN = "new_run.py"
SCRIPT = b'"""Says one for every file."""\nimport os\ndef run(mini_batch):\n    return [f"{os.path.basename(p)}: 1" for p in mini_batch]\n'


@pytest.fixture
def registered(workspace, model_file, csv_folder):
    """A model that waits for approval, and a dataset of 12 files."""
    return workspace.register_model("m", model_file), workspace.register_dataset("d", csv_folder(12))


def review(app):
    return app.container(key="section-review")


def words(elements):
    return " ".join(element.value for element in elements)


def submit(app):
    return app.button(key="submit").click().run()


def test_an_empty_workspace_links_to_registering(open_page):
    app = open_page(NEW_RUN)
    assert not app.exception
    assert [info.value.split(".")[0] for info in app.info] == ["No models registered yet", "No datasets registered yet"]
    assert [link.value for link in app.page_link] == ["Register a model", "Register a dataset"]
    submit(app)
    assert "No dataset is chosen" in words(app.error)


def test_a_link_chooses_model_dataset_and_script(open_page, workspace, registered, csv_folder):
    workspace.register_dataset("newer", csv_folder(3, "newer"))
    uploaded = workspace.scripts.add("one.py", SCRIPT)
    app = open_page(NEW_RUN, model="m:1", dataset="d:1", script=script_label(uploaded))
    assert [app.selectbox(key=key).value for key in ("model", "dataset", "script")] == ["m:1", "d:1", script_label(uploaded)]


def test_without_a_link_what_a_run_scored_together_is_chosen(open_page, workspace, registered, model_file, csv_folder, finish):
    def chosen(**query):
        app = open_page(NEW_RUN, **query)
        assert not app.exception
        return [app.selectbox(key=key).value for key in ("model", "dataset", "script")]

    assert chosen() == ["m:1", "d:1", "batch_scoring_script.py"]
    other = workspace.register_model("other", model_file, approve=True)
    workspace.register_dataset("newer", csv_folder(3, "newer"))
    assert chosen() == ["other:1", "newer:1", "batch_scoring_script.py"]  # the newest that fit each other
    script = workspace.scripts.add("one.py", SCRIPT)
    workspace.approve(script.sha256)
    assert finish(workspace, workspace.submit(RunRequest((other.reference,), ("d:1",), script.path)).id).items_succeeded
    workspace.register_dataset("d", csv_folder(2, "again"))
    assert chosen() == ["other:1", "d:2", script_label(script)]
    assert chosen(dataset="newer:1") == ["other:1", "newer:1", "batch_scoring_script.py"]


def test_no_model_is_not_proposed_where_the_script_that_needs_none_is_not_offered(open_page, workspace, registered, entry_script, finish):
    assert finish(workspace, workspace.submit(RunRequest((), ("d:1",), str(entry_script(SCRIPT.decode())))).id).items_succeeded
    app = open_page(NEW_RUN)
    assert [app.selectbox(key=key).value for key in ("model", "dataset", "script")] == [None, "d:1", "batch_scoring_script.py"]
    script = workspace.scripts.add("one.py", SCRIPT)
    workspace.approve(script.sha256)
    assert finish(workspace, workspace.submit(RunRequest((), ("d:1",), script.path)).id).items_succeeded
    app = open_page(NEW_RUN)
    assert [app.selectbox(key=key).value for key in ("model", "dataset", "script")] == ["No model", "d:1", script_label(script)]


def test_nothing_is_submitted_before_a_model_is_chosen(open_page, workspace, csv_folder, tmp_path):
    workspace.register_dataset("d", csv_folder(2))
    for name in ("keras", "other"):
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + name.encode() * 9)
        workspace.register_model(name, tmp_path / name)
    app = open_page(NEW_RUN)
    app.selectbox(key="dataset").select("d:1").run()
    submit(app)
    assert "No model is chosen" in words(app.error)
    assert workspace.runs.latest() == []


def test_more_processes_than_cores_are_warned_about(open_page, registered):
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="node_count").set_value("50").run()
    assert "worker processes share" in words(review(app).warning)


def test_a_link_to_what_no_longer_exists_warns(open_page, registered):
    app = open_page(NEW_RUN, model="gone:7", dataset=":red[x]", script="../../etc/passwd")
    assert not app.exception
    assert words(app.warning).count("no longer exists") == 3
    assert app.selectbox(key="model").value == "m:1"


def test_the_review_describes_the_run(open_page, registered):
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="mini_batch_size").set_value("5")
    app.text_input(key="node_count").set_value("2")
    app.text_input(key="process_count_per_node").set_value("2")
    app.text_input(key="error_threshold").set_value("0").run()
    text = words(review(app).markdown).strip("*").replace("\\", "")
    assert text == "12 files in 3 mini-batches of 5, on 4 workers; stops after the 1st failed file"


def test_the_review_describes_mini_batches_of_rows(open_page, workspace, tmp_path):
    (tmp_path / "store=1").mkdir()
    (tmp_path / "store=1" / "part.csv").write_text("a,b\n" + "1,2\n" * 1000)
    workspace.register_dataset("t", tmp_path, type="tabular", glob="*/part.csv", partition_format="store={store}/part.csv")
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="mini_batch_size").set_value("1kb").run()
    text = words(review(app).markdown).replace("\\", "")
    assert text.startswith("**1,000 rows in 4 mini-batches of about 1 KB, on ")
    assert text.endswith("stops after the 11th failed row**")
    app.text_input(key="mini_batch_size").set_value("")
    app.text_input(key="partition_keys").set_value("store").run()
    assert "1,000 rows in 1 mini-batch, on" in words(review(app).markdown).replace("\\", "")
    app.text_input(key="partition_keys").set_value("town").run()
    assert "“town” is not a key of t:1" in words(app.error).replace("\\", "")


def test_a_threshold_that_never_stops_is_warned_about(open_page, registered):
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="error_threshold").set_value("-1").run()
    assert "however many files fail" in words(review(app).warning)


def test_every_invalid_setting_is_marked_and_nothing_is_submitted(open_page, workspace, registered):
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="node_count").set_value("0")
    app.text_input(key="mini_batch_size").set_value("1.5MB")
    app.text_area(key="environment_variables").set_value("A=1\nnonsense")
    app.text_input(key="arguments").set_value("--x 'unclosed")
    submit(app)
    assert not app.exception
    errors = words(app.error)
    for part in ("0 is out of range", "1\\.5MB", "nonsense", "No closing quotation"):
        assert part in errors
    assert review(app).error[0].value.startswith("Fix these fields before submitting: ")
    assert workspace.runs.latest() == []
    app.text_input(key="node_count").set_value("1")
    app.text_input(key="mini_batch_size").set_value("5")
    app.text_area(key="environment_variables").set_value("A=1")
    app.text_input(key="arguments").set_value("--x 'closed'").run()
    assert not app.error


def test_a_value_that_only_the_workspace_rejects_is_marked_too(open_page, workspace, registered):
    app = open_page(NEW_RUN, model="No model")
    app.text_input(key="mini_batch_size").set_value("1MB").run()
    assert "is a size in bytes" in words(app.error)
    submit(app)
    assert workspace.runs.latest() == []


def test_a_model_that_can_run_code_runs_only_after_approval(open_page, workspace, registered, finish):
    model, _ = registered
    app = open_page(NEW_RUN)
    assert model.sha256 in [code.value for code in app.code]
    assert app.button(key="submit").disabled
    assert "Fix these fields before submitting: Model" in words(app.error)
    app.button(key=f"approve-{model.sha256}").click().run()
    assert model.sha256 not in [code.value for code in app.code]
    submit(app)
    (run,) = workspace.runs.latest()
    assert (run.request.models, finish(workspace, run.id).items_succeeded) == (("m:1",), 12)


def test_a_model_for_another_script_is_said_before_it_is_approved_or_submitted(open_page, workspace, registered, tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    workspace.register_model("keras", tmp_path / "model.pkl")
    app = open_page(NEW_RUN, model="keras:1")
    assert app.selectbox(key="dataset").value is None
    assert "No registered dataset fits keras:1" in words(app.caption).replace("\\", "")
    app.selectbox(key="dataset").select("d:1").run()
    said = words(app.error).replace("\\", "")
    assert "eras" in said
    assert "Fix these fields before submitting: Model" in said
    assert app.button(key="submit").disabled
    assert not workspace.runs.latest()
    app.selectbox(key="model").select("m:1").run()
    assert [error.value.partition(".")[0] for error in app.error] == ["Fix these fields before submitting: Model"]  # it waits for approval


def test_files_of_another_width_than_the_models_are_warned_about(open_page, workspace, model_file, tmp_path):
    workspace.register_model("m", model_file, approve=True)  # of three columns
    workspace.register_dataset("orders", write_files(tmp_path / "files", 5))
    app = open_page(NEW_RUN, model="m:1", dataset="orders:1", script="batch_scoring_script.py")
    said = words(app.warning).replace("\\", "")
    assert "order_0001.csv of orders:1 has 12 fields, and model m:1 takes 3." in said


def test_the_form_is_what_runs_and_the_page_of_the_run_opens(open_page, workspace, registered, finish):
    app = open_page(NEW_RUN, model="No model", dataset="d:1")
    app.file_uploader(key="uploaded_script").upload("one.py", SCRIPT).run()
    app.button(key=f"approve-{hashlib.sha256(SCRIPT).hexdigest()}").click().run()
    app.text_input(key="run_max_try").set_value("1")
    app.text_area(key="environment_variables").set_value("A=1\n\nB=x=y")
    app.text_input(key="arguments").set_value("--name 'two words' --flag")
    app.text_input(key="run_name").set_value(" :red[A] run ")
    submit(app)
    assert not app.exception
    (run,) = workspace.runs.latest()
    assert app.query_params["run"] == run.id
    assert "A\\] run" in app.header[0].value
    request = run.request
    assert (request.models, request.datasets, request.name) == ((), ("d:1",), ":red[A] run")
    assert (request.arguments, request.settings.environment_variables) == (("--name", "two words", "--flag"), {"A": "1", "B": "x=y"})
    assert request.settings.run_max_try == 1
    assert finish(workspace, run.id).items_succeeded == 12


def test_an_uploaded_script_is_shown_before_it_is_approved(open_page, workspace, registered):
    app = open_page(NEW_RUN, model="No model")
    app.file_uploader(key="uploaded_script").upload("one.py", SCRIPT).run()
    (uploaded,) = [script for script in workspace.scripts.all() if script.origin == "uploaded"]
    assert app.selectbox(key="script").value == script_label(uploaded)
    assert {SCRIPT.decode().strip(), uploaded.sha256} <= {code.value for code in app.code}
    submit(app)
    assert "was not approved yet" in words(app.error)
    assert workspace.runs.latest() == []
    app.button(key=f"approve-{uploaded.sha256}").click().run()
    assert not app.error


@pytest.mark.parametrize(
    ("source", "reason"), [(b"def run(:", "line 1"), (b"x = 1", "run"), (b"\xff\xfe\x00", "broken")], ids=["syntax", "no run", "bytes"]
)
def test_an_invalid_uploaded_script_is_rejected_with_the_reason(open_page, workspace, source, reason):
    app = open_page(NEW_RUN)
    app.file_uploader(key="uploaded_script").upload("broken.py", source).run()
    assert not app.exception
    assert reason in words(app.error)
    assert app.selectbox(key="script").value == "batch_scoring_script.py"
    assert all(script.origin == "built-in" for script in workspace.scripts.all())


def test_files_changed_since_registration_are_listed_in_one_warning(open_page, workspace, csv_folder):
    folder = csv_folder(3)
    workspace.register_dataset("d", folder)
    (folder / "0001.csv").write_text("other content")
    (folder / "0002.csv").unlink()
    (warning,) = review(open_page(NEW_RUN)).warning
    assert "0001\\.csv was changed" in warning.value
    assert "0002\\.csv is gone" in warning.value


def test_settings_survive_a_visit_to_another_page(open_page, registered):
    app = open_page(NEW_RUN)
    app.text_input(key="mini_batch_size").set_value("7").run()
    app.switch_page("connection.py").run()
    app.switch_page(NEW_RUN).run()
    assert app.text_input(key="mini_batch_size").value == "7"


def test_a_request_repeated_within_seconds_is_one_run(workspace, csv_folder, entry_script, finish):
    workspace.register_dataset("d", csv_folder(2))
    request = RunRequest((), ("d",), str(entry_script(SCRIPT.decode())))
    submission = Submission()
    first = submission.submit(workspace, request)
    assert submission.submit(workspace, request).id == first.id
    assert submission.submit(workspace, RunRequest((), ("d",), request.entry_script, name="other")).id != first.id
    submission.submit(workspace, request)
    submission.at -= 60
    submission.submit(workspace, request)
    runs = workspace.runs.latest()
    assert len(runs) == 4
    for run in runs:
        finish(workspace, run.id)


def test_a_new_run_asks_a_remote_workspace_for_its_compute_target(open_page, home):
    Connection("s", "g", "w", SignIn.DEVICE_CODE).remember(home)
    app = open_page("new_run.py")
    assert not app.exception
    assert app.selectbox(key="compute_target").options == []
    assert app.selectbox(key="environment").options == ["made for the run"]

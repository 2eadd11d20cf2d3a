"""AzureWorkspace on the stand-in: what only this side has, the traps of the SDK, and each fault as a person sees it."""

from __future__ import annotations

import inspect
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from services.azure import throttling
from services.azure.connection import from_surroundings
from services.azure.workspace import AzureWorkspace
from services.domain import RunRequest, TabularDataset
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
UPLOADS = "PUT *.blob.core.windows.net*"
MODELS = "GET *modelmanagement*/models*"


@pytest.fixture
def cloud(azure, tmp_path) -> AzureWorkspace:
    """The test's own Azure ML workspace, as the command line has it."""
    return AzureWorkspace(from_surroundings(tmp_path), tmp_path / "base", patient=True)


@pytest.fixture
def dashboard_s(azure, tmp_path):
    """The same as the dashboard has it: it answers with what is known."""
    return lambda: AzureWorkspace(from_surroundings(tmp_path), tmp_path / "base", patient=False)


def wait_for(holds, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


# ---- models ------------------------------------------------------------------------------------------------------------------------


def test_a_model_registered_elsewhere_is_listed_with_what_is_known_of_it(cloud, ws, tmp_path):
    from azureml.core import Model

    (tmp_path / "m.bin").write_bytes(b"x")
    Model.register(ws, "m.bin", "theirs", description="text", tags={"a": "b"}, model_framework=Model.Framework.SCIKITLEARN)
    (model,) = cloud.models()
    assert (model.reference, model.kind, model.sha256, model.size) == ("theirs:1", "ScikitLearn model", "", 0)
    assert (model.description, dict(model.tags), model.usable) == ("text", {"a": "b"}, True)


def test_what_is_known_of_a_model_goes_with_it_to_another_machine(cloud, model_file, tmp_path):
    made = cloud.register_model("m", model_file)
    another = AzureWorkspace(cloud.connection, tmp_path / "another machine", patient=True)
    assert replace(another.model("m"), created_at=made.created_at) == made


def test_models_are_registered_from_anywhere_at_once_and_the_working_folder_stays(cloud, tmp_path):
    """`Model.register` takes what is below the working folder only, which is the whole process's."""
    before = os.getcwd()
    places = [tmp_path / f"folder {number}" / "model.bin" for number in range(4)]
    for number, place in enumerate(places):
        place.parent.mkdir()
        place.write_bytes(b"%d" % number * 100)
    with ThreadPoolExecutor(4) as threads:
        names = (place.parent.name.replace(" ", "-") for place in places)
        made = list(threads.map(lambda name, place: cloud._models.register(name, place, description="", tags={}), names, places))
    assert [model.size for model in made] == [100] * 4
    assert len({model.sha256 for model in made}) == 4
    assert os.getcwd() == before


def test_the_two_calls_that_register_a_model_are_those_of_the_sdk_s_own(cloud):
    from azureml.core import Model

    source = inspect.getsource(Model.register)
    assert "asset = Model._create_asset(workspace.service_context, model_path, model_name, child_paths)" in source
    assert "model = Model._register_with_asset(workspace, model_name, asset_id, tags, properties, description," in source


def test_a_deleted_version_is_gone_and_the_others_stay(cloud, model_file):
    for _ in range(2):
        cloud.register_model("m", model_file)
    cloud.delete_model("m:2")
    assert [model.reference for model in cloud.models()] == ["m:1"]
    assert [model.reference for model in cloud._lists.models.fetch()] == ["m:1"]
    with pytest.raises(NotFound, match="m:2"):
        cloud.delete_model("m:2")


def test_a_model_is_registered_from_the_outputs_of_a_training_run(cloud, ws, tmp_path):
    from azureml.core import Experiment

    run = Experiment(ws, "train").start_logging(snapshot_directory=None, display_name="first try")
    (tmp_path / "m.pkl").write_bytes(b"weights")
    run.upload_file("outputs/m.pkl", "m.pkl")
    run.complete()

    assert cloud.experiments() == ["train"]
    (found,) = cloud.training_runs("train")
    assert (found.id, found.status) == (run.id, "Completed")
    assert cloud.training_run_files("train", run.id) == ["outputs/m.pkl"]
    model = cloud.register_model_from_run("m", "train", run.id, "outputs/m.pkl", description="best", tags={"by": "train"})
    assert (model.reference, model.kind, model.description, dict(model.tags)) == ("m:1", "registered from a run", "best", {"by": "train"})
    assert cloud.models() == [model]
    with pytest.raises(StudioError):
        cloud.register_model_from_run("m", "train", run.id, "outputs/none.pkl")
    with pytest.raises(StudioError, match="run-of-nobody"):
        cloud.training_run_files("train", "run-of-nobody")


# ---- datasets ----------------------------------------------------------------------------------------------------------------------


def test_an_upload_that_the_sdk_swallows_is_sent_again(cloud, azure, csv_folder):
    azure.service.fault(UPLOADS + "0001.csv*", swallow=True)
    dataset = cloud.register_dataset("d", csv_folder(3))
    assert cloud.changed_files(dataset) == []
    assert dataset.size == sum(file.size for file in cloud.dataset_files(dataset, 0, 9))


def test_an_upload_that_never_arrives_whole_registers_nothing_and_names_the_file(cloud, azure, csv_folder):
    azure.service.fault(UPLOADS + "0001.csv*", swallow=True, count=None)
    with pytest.raises(WorkspaceUnavailable, match=r"1 of 3 files did not arrive whole.*0001\.csv: 0 of \d+ bytes"):
        cloud.register_dataset("d", csv_folder(3))
    assert cloud._lists.datasets.fetch() == []
    assert list(cloud.home.glob("incoming/*")) == []


def test_an_upload_that_broke_off_goes_on_where_it_was(cloud, azure, csv_folder):
    folder = csv_folder(5)
    azure.service.fault(UPLOADS + "0003.csv*", swallow=True, count=None)
    with pytest.raises(WorkspaceUnavailable):
        cloud.register_dataset("d", folder)
    azure.service.clear()
    cloud.register_dataset("d", folder)
    sent = [seen.line for seen in azure.requests if seen.line.startswith("PUT") and ".csv" in seen.line]
    assert sent
    assert all("0003.csv" in line for line in sent)


def test_other_content_of_the_same_size_is_another_upload(cloud, csv_folder):
    folder = csv_folder(1)
    cloud.register_dataset("d", folder)
    before = (folder / "0000.csv").read_bytes()
    (folder / "0000.csv").write_bytes(bytes(reversed(before)))
    again = cloud.register_dataset("d", folder)
    assert cloud.local_file(again, "0000.csv").read_bytes() == bytes(reversed(before))
    assert cloud.local_file(cloud.dataset("d:1"), "0000.csv").read_bytes() == before


def test_names_that_are_hard_on_addresses_arrive_unharmed(cloud, tmp_path):
    names = [
        "ü ñ.csv",
        "a,b;c.csv",
        "no #1.csv",
        "=cmd.csv",
        "sub folder/x@y.csv",
        "quote'd.csv",
        "plus+minus.csv",
        "a[1].csv",
        "$(x)`y`.csv",
    ]
    for name in names:
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    dataset = cloud.register_dataset("d", tmp_path / "f")
    assert sorted(file.path for file in cloud.dataset_files(dataset, 0, 99)) == sorted(names)
    assert cloud.changed_files(dataset) == []
    for name in names:
        assert cloud.local_file(dataset, name).read_text() == name


@pytest.mark.parametrize("sign", '"%&*:<>?|')
def test_a_name_that_the_sdk_would_change_is_refused_before_anything_is_sent(cloud, azure, tmp_path, sign):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / f"a{sign}b.csv").write_text("x")
    azure.service.clear()
    with pytest.raises(IntakeError, match=re.escape(f"a{sign}b.csv")):
        cloud.register_dataset("d", tmp_path / "f")
    assert azure.requests == []


def test_a_dataset_is_registered_where_it_lies(cloud, csv_folder):
    cloud.register_dataset("d", csv_folder(4))
    place = cloud.dataset("d").root
    dataset = cloud.register_dataset("again", place + "/**")
    assert (dataset.file_count, dataset.in_place, dataset.root) == (4, True, place + "/**")
    with pytest.raises(SettingsError, match="no place") as refused:
        cloud.register_dataset("none", "azureml://somewhere")
    assert refused.value.field == "path"


@pytest.mark.parametrize("path", ["nothing/here", "nothing/here/**", "nothing/rows.csv"])
def test_a_place_where_nothing_lies_is_refused_by_its_name(cloud, path):
    place = f"azureml://datastores/workspaceblobstore/paths/{path}"
    with pytest.raises(IntakeError) as refused:
        cloud.register_dataset("none", place)
    assert refused.value.message == f"There is no file at {place}."
    assert "spelled" in refused.value.hint


def test_all_versions_of_a_dataset_registered_elsewhere_are_listed_and_its_files_counted_once(cloud, ws, rows, azure, tmp_path):
    rows.register(ws, "rows", create_new_version=True)
    azure.service.set_page_size(1, azure.workspace)
    versions = cloud.datasets()
    assert sorted(dataset.reference for dataset in versions) == ["rows:1", "rows:2"]
    dataset = cloud.dataset("rows")
    assert (dataset.version, dataset.file_count) == (2, 0)
    settings = ParallelRunSettings(mini_batch_size=2)
    assert (cloud.cut([dataset], settings).item_count, cloud.dataset("rows").file_count) == (5, 5)
    azure.service.clear()
    cloud.cut([cloud.dataset("rows")], settings)
    assert azure.requests == []


def test_the_preview_of_a_file_fetches_that_file_alone(cloud, ws, rows, azure):
    dataset = cloud.dataset("rows")
    cloud.dataset_files(dataset, 0, 1)
    azure.service.clear()
    assert cloud.local_file(dataset, "3.csv").read_text() == "3\n"
    fetched = {seen.line.split("?")[0].rpartition("/")[2] for seen in azure.requests if "GET" in seen.line and ".csv" in seen.line}
    assert fetched == {"3.csv"}
    azure.service.clear()
    cloud.local_file(dataset, "3.csv")
    assert azure.requests == []
    with pytest.raises(NotFound, match="none"):
        cloud.local_file(dataset, "none")


def test_a_tabular_dataset_registered_elsewhere_is_listed_though_its_rows_are_not_counted(cloud, ws, tmp_path):
    from azureml.core import Dataset

    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "t.csv").write_text("a,b\n1,2\n")
    store = ws.get_default_datastore()
    Dataset.File.upload_directory("t", (store, "t"), show_progress=False)
    Dataset.Tabular.from_delimited_files((store, "t/t.csv")).register(ws, "t")
    dataset = cloud.dataset("t")
    assert isinstance(dataset, TabularDataset)
    assert dataset.item == "row"
    assert "cuts tabular datasets" in cloud.cut([dataset], ParallelRunSettings()).notes[0]
    with pytest.raises(SettingsError, match="not registered from here"):
        cloud.register_dataset("t", tmp_path / "t", type="tabular")


def test_the_sdk_s_own_list_of_datasets_is_always_empty(ws, rows):
    assert (list(ws.datasets), list(ws.datasets.keys())) == ([], ["rows"])


# ---- where runs go -----------------------------------------------------------------------------------------------------------------


def test_clusters_and_datastores_are_told_with_what_a_person_chooses_by(cloud):
    cpu = next(target for target in cloud.compute_targets() if target.name == "cpu-cluster")
    assert (cpu.type, cpu.size, cpu.nodes, cpu.max_nodes, cpu.usable) == ("AmlCompute", "STANDARD_DS3_V2", 0, 4, True)
    assert next((store.name, store.is_default) for store in cloud.datastores()) == ("workspaceblobstore", True)


CONDA = "name: x\ndependencies:\n- python=3.11\n- pip\n- pip:\n  - scikit-learn==1.5.2\n  - pandas\n"


def test_an_environment_is_made_from_a_conda_file(cloud, tmp_path):
    (tmp_path / "conda.yml").write_text(CONDA)
    made = cloud.register_environment("mine", str(tmp_path / "conda.yml"))
    assert (made.reference, made.python_version, made.packages["scikit-learn"]) == ("mine:1", "3.11", "1.5.2")
    assert next(environment.name for environment in cloud.environments()) == "mine"
    assert cloud._lists.environments.fetch()[0].packages == made.packages


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: x\n", "a: [", "\x00", "dependencies: python"])
def test_what_is_no_conda_file_is_refused(cloud, tmp_path, text):
    (tmp_path / "conda.yml").write_text(text)
    with pytest.raises(IntakeError, match=r"conda\.yml"):
        cloud.register_environment("mine", str(tmp_path / "conda.yml"))


def test_a_run_that_names_no_environment_gets_this_program_s_own_versions(cloud):
    import joblib
    import sklearn

    from services.azure.environments import sdk_default

    shown, sent = cloud.default_environment(), sdk_default()
    assert shown.python_version == "3.11"
    assert (shown.packages["scikit-learn"], shown.packages["joblib"]) == (sklearn.__version__, joblib.__version__)
    lines = sent.python.conda_dependencies.serialize_to_string()
    assert "python=3.11" in lines
    for package, number in shown.packages.items():
        assert f"- {package}{'[fuse]' if package == 'azureml-dataset-runtime' else ''}=={number}" in lines
    assert "azureml-defaults" not in lines
    assert sent.name == shown.name


def test_an_environment_that_is_not_there_is_said_by_its_name(cloud):
    from services.azure.environments import sdk_environment

    with pytest.raises(NotFound, match="ghost"):
        sdk_environment(cloud._session, "ghost")


def test_what_can_not_run_there_is_refused_at_its_field_before_anything_is_sent(cloud, azure, csv_folder, entry_script):
    cloud.register_dataset("d", csv_folder(2))
    script = str(entry_script("def run(mini_batch): return mini_batch"))
    cloud.compute_targets()
    azure.service.clear()
    for target, nodes, field in (("cpu-cluster", 5, "node_count"), ("ghost", 1, "compute_target"), (None, 1, "compute_target")):
        with pytest.raises(SettingsError) as refused:
            cloud.check(RunRequest((), ("d",), script, ParallelRunSettings(node_count=nodes), compute_target=target))
        assert refused.value.field == field
    assert not [seen for seen in azure.requests if "POST" in seen.line]


def test_the_self_check_says_what_holds_and_what_does_not(cloud, azure):
    assert all(holds for _, holds, _ in cloud.self_check())
    azure.service.fault("GET *computes*", status=403, message="no reader role", count=None)
    checks = {what: (holds, detail) for what, holds, detail in cloud.self_check()}
    assert checks["Signed in"][0]
    assert checks["Compute targets"][0] is False
    assert "no permission" in checks["Compute targets"][1]


# ---- faults ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"status": 401}, WorkspaceUnavailable, "you are not signed in, or the sign-in has expired"),
        ({"status": 403, "code": "AuthorizationFailed"}, WorkspaceUnavailable, "you have no permission"),
        ({"status": 404}, NotFound, "can't be listed"),
        ({"status": 400, "message": "an odd filter"}, StudioError, "an odd filter"),
    ],
)
@pytest.mark.parametrize("name", ["models", "datasets", "compute_targets", "environments", "datastores"])
def test_a_refusal_becomes_words_and_what_was_known_stays(cloud, azure, name, fault, kind, words):
    patterns = {"models": MODELS, "datasets": "GET *dataset/v1.0*", "compute_targets": "GET *computes*",
                "environments": "GET *environments*", "datastores": "GET *datastore/v1.0*"}  # fmt: skip
    listing = getattr(cloud._lists, name)
    known = listing.fetch()
    azure.service.fault(patterns[name], count=None, **fault)
    with pytest.raises(kind, match=words) as refused:
        listing.fetch()
    assert refused.value.message.startswith(f"The {name.replace('_', ' ')} can't be listed: ")
    assert listing.known() == known


@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": 1}, {"status": 500}, {"cut": True}, {"seconds": 0.5}])
@pytest.mark.parametrize(
    ("name", "pattern"), [("models", MODELS), ("datasets", "GET *dataset/v1.0*"), ("environments", "GET *environments*")]
)
def test_what_passes_is_waited_out(cloud, azure, name, pattern, fault):
    azure.service.fault(pattern, **fault)
    getattr(cloud._lists, name).fetch()
    assert azure.service.count(pattern) >= 1


def test_a_token_that_is_not_taken_any_more_is_one_refusal_then_a_new_one_is_got(cloud, azure):
    cloud.models()
    azure.service.expire_tokens()
    with pytest.raises(WorkspaceUnavailable, match="expired"):
        cloud._lists.models.fetch()
    assert cloud._lists.models.fetch() == []


def test_a_wrong_secret_is_said_and_not_shown(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-secret-of-the-test")
    wrong = AzureWorkspace(from_surroundings(tmp_path), tmp_path / "base", patient=True)
    with pytest.raises(WorkspaceUnavailable, match="can't be opened") as refused:
        wrong.models()
    assert "wrong-secret" not in refused.value.message + refused.value.hint


def test_a_workspace_that_is_not_there_is_said_by_its_place(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "ghost")
    with pytest.raises((WorkspaceUnavailable, NotFound), match="rg-batch / ghost can't be opened"):
        AzureWorkspace(from_surroundings(tmp_path), tmp_path / "base", patient=True).models()


def test_an_address_that_nobody_answers_at_is_out_of_reach(azure, tmp_path, monkeypatch):
    cloud = AzureWorkspace(from_surroundings(tmp_path), tmp_path / "base", patient=True)
    cloud.models()
    azure.service.fault("GET *environments*", cut=True, count=None)
    with pytest.raises(WorkspaceUnavailable, match="could not be reached"):
        cloud._lists.environments.fetch()


# ---- the dashboard's: nothing waits ------------------------------------------------------------------------------------------------


def test_the_dashboard_s_workspace_answers_at_once_while_azure_takes_its_time(dashboard_s, cloud, azure, model_file):
    cloud.register_model("m", model_file)
    azure.service.fault("* https://*", seconds=0.5, count=None)
    workspace = dashboard_s()
    workspace.open()
    began = time.monotonic()
    for verb in (workspace.models, workspace.datasets, workspace.compute_targets, workspace.environments, workspace.runs, workspace.state):
        verb()
    assert time.monotonic() - began < 0.25
    assert workspace.state().opening
    wait_for(lambda: not (workspace.state().opening or workspace.state().listing))
    state = workspace.state()
    assert (state.error, state.is_open, state.lists) == (None, True, 5)
    assert [model.reference for model in workspace.models()] == ["m:1"]


def test_that_azure_is_busy_is_the_dashboard_s_message_until_it_is_over(dashboard_s, azure, model_file, monkeypatch):
    from azureml._restclient import clientbase

    monkeypatch.setattr(throttling, "AFTER", 0.2)
    monkeypatch.setattr(clientbase, "DEFAULT_BACKOFF", 1)  # of 32 seconds
    azure.service.fault("POST *modelmanagement*/models", status=429)
    workspace = dashboard_s()
    with ThreadPoolExecutor(1) as thread:
        registered = thread.submit(workspace.register_model, "m", model_file)
        wait_for(lambda: "Azure answers 429 Too Many Requests" in workspace.state().message)
        assert registered.result().reference == "m:1"
    assert workspace.state().message == ""


def test_after_a_start_the_lists_are_those_of_before_with_their_age(dashboard_s, model_file):
    first = dashboard_s()
    first.open()
    wait_for(lambda: first.state().lists == 5)
    listed_at = first.state().listed_at
    second = dashboard_s()
    assert [target.name for target in second.compute_targets()] == ["cpu-cluster", "gpu-cluster"]
    assert listed_at
    assert second.state().listed_at
    assert abs((second.state().listed_at - listed_at).total_seconds()) < 5
    assert not second.state().is_open


def test_what_goes_wrong_in_the_background_is_told_by_the_state(dashboard_s, azure):
    azure.service.fault(MODELS, status=403, count=None)
    workspace = dashboard_s()
    workspace.open()
    wait_for(lambda: workspace.state().error)
    assert "no permission" in workspace.state().error.message
    azure.service.clear()
    workspace.refresh()
    wait_for(lambda: workspace.state().lists == 5)
    assert workspace.state().error is None


def test_lists_are_fetched_by_one_thread_however_many_ask(dashboard_s, azure):
    workspace = dashboard_s()
    for _ in range(5):
        workspace.refresh()
    wait_for(lambda: workspace.state().lists == 5 and not workspace.state().listing)
    assert azure.service.count(MODELS) == 1
    assert "azure-lists" not in {thread.name for thread in threading.enumerate()}


# ---- what the SDK does beside ------------------------------------------------------------------------------------------------------


def test_nothing_that_the_sdk_prints_reaches_standard_output(cloud, csv_folder, model_file, capfd):
    cloud.register_model("m", model_file)
    dataset = cloud.register_dataset("d", csv_folder(2))
    cloud.local_file(dataset, "0000.csv")
    assert capfd.readouterr().out == ""


def test_files_are_listed_from_several_threads_at_once(cloud, csv_folder):
    datasets = [cloud.register_dataset(f"d{number}", csv_folder(number + 1, f"f{number}")) for number in range(4)]
    for dataset in datasets:
        Path(dataset.manifest).unlink()
    inner = AzureWorkspace(cloud.connection, cloud.home.parents[3], patient=False)  # one that leaves standard output alone
    inner._session.workspace  # noqa: B018 - signs in
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda dataset: len(inner.dataset_files(dataset, 0, 99)), datasets))
    assert counts == [1, 2, 3, 4]

"""AzureWorkspace on the stand-in: what only this side has, the traps of the SDK, and each fault as a person sees it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.azure.auth import throttling
from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import ModelCard, ResourceKind, RunRequest
from services.errors import IntakeError, NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.intake.entry_scripts import BUILT_IN
from services.intake.requirement_lists import from_packages
from services.preflight import preflight
from services.scoring.model_card import READER
from services.scoring.scorers import ScorerOptions
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
MODELS = "GET *modelmanagement*/models*"


@pytest.fixture
def dashboard_workspace(azure, tmp_path, home):
    """The same as the dashboard has it: it answers with what is known."""
    return lambda: AzureWorkspace(from_environment(tmp_path), home, blocking=False)


def wait_for(holds, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


# ---- where runs go -----------------------------------------------------------------------------------------------------------------


def test_compute_targets_and_datastores_are_listed_with_their_details(cloud):
    cpu = next(target for target in cloud.compute_targets() if target.name == "cpu-cluster")
    assert (cpu.type, cpu.size, cpu.nodes, cpu.max_nodes, cpu.usable) == ("AmlCompute", "STANDARD_DS3_V2", 0, 4, True)
    assert next((store.name, store.is_default) for store in cloud.datastores()) == ("workspaceblobstore", True)


CONDA = "name: x\ndependencies:\n- python=3.11\n- pip\n- pip:\n  - scikit-learn==1.5.2\n  - pandas\n"


def test_an_environment_is_made_from_a_conda_file(cloud, tmp_path):
    (tmp_path / "conda.yml").write_text(CONDA)
    made = cloud.register_environment("mine", str(tmp_path / "conda.yml"))
    assert (made.reference, made.python_version, made.packages["scikit-learn"]) == ("mine:1", "3.11", "1.5.2")
    assert next(environment.name for environment in cloud.environments()) == "mine"
    assert cloud._cache.environments.fetch()[0].packages == made.packages


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: x\n", "a: [", "\x00", "dependencies: python"])
def test_a_file_that_is_not_a_conda_file_is_refused(cloud, tmp_path, text):
    (tmp_path / "conda.yml").write_text(text)
    with pytest.raises(IntakeError, match=r"conda\.yml"):
        cloud.register_environment("mine", str(tmp_path / "conda.yml"))


def test_the_default_environment_has_this_program_s_versions(cloud):
    import joblib
    import sklearn

    shown, sent = cloud.default_environment(), cloud._sdk.environments.of_run(None)
    assert shown.python_version == "3.11"
    assert (shown.packages["scikit-learn"], shown.packages["joblib"]) == (sklearn.__version__, joblib.__version__)
    lines = sent.python.conda_dependencies.serialize_to_string()
    assert "python=3.11" in lines
    assert shown.packages["setuptools"] == "<82"  # azureml-core imports pkg_resources
    for package, number in shown.packages.items():
        pin = number if number.startswith("<") else f"=={number}"
        assert f"- {package}{'[fuse]' if package == 'azureml-dataset-runtime' else ''}{pin}" in lines
    assert "azureml-defaults" not in lines
    assert sent.name == shown.name


def test_an_environment_is_made_from_an_approved_list(cloud):
    requirements = from_packages(["scikit-learn==1.3.2", "lightgbm"])
    with pytest.raises(SettingsError, match="not approved yet"):
        cloud.create_environment("old", requirements)
    with pytest.raises(SettingsError, match="not a version that Azure ML"):
        cloud.create_environment("old", requirements, approved=requirements.sha256, python="/usr/bin/python3")
    made = cloud.create_environment("old", requirements, approved=requirements.sha256, python="3.10")
    assert (made.reference, made.python_version) == ("old:1", "3.10")
    assert made.packages["scikit-learn"] == "1.3.2"
    assert made.packages["numpy"] == ""  # any that goes with it
    assert {"lightgbm", "pandas", "azureml-core", "azureml-dataset-runtime", "setuptools"} <= made.packages.keys()
    assert cloud.environments()[0].reference == "old:1"
    with pytest.raises(SettingsError, match="removes no environments"):
        cloud.resources.delete(ResourceKind.ENVIRONMENT, ["old:1"])


def test_a_run_of_a_built_in_scorer_gets_an_environment_with_what_its_model_needs(cloud, model_file, csv_folder, entry_script):
    model = cloud.register_model("m", model_file)
    cloud.register_dataset("d", csv_folder(2))
    built_in = str(BUILT_IN / "batch_scoring_script.py")

    def plan(*requirements, script=built_in, python="3.9.18"):
        cloud._store.keep_model_card(model.sha256, READER, ModelCard("any", requirements=requirements, python_version=python))
        request = RunRequest(("m",), ("d",), script, ParallelRunSettings(mini_batch_size="1"), compute_target="cpu-cluster")
        return cloud._plan(request)

    made, _, _ = plan("onnxruntime", "scikit-learn==1.3.2")
    assert made.requirements == ("onnxruntime", "scikit-learn==1.3.2", "numpy", "pandas", "pyarrow")
    sent = cloud._sdk.environments.of_run(None, made.requirements, made.python)
    lines = sent.python.conda_dependencies.serialize_to_string()
    assert all(line in lines for line in ("python=3.9", "- onnxruntime\n", "- scikit-learn==1.3.2", "- setuptools<82", "- azureml-core=="))
    assert sent.name.startswith("batch-scoring-studio-")
    assert sent.name != cloud.default_environment().name
    assert cloud.environment(None, scored_model="m").name == sent.name
    found = preflight(cloud, ["m"], ["d"], ScorerOptions(), environment=None)  # which judges that one, not the default environment
    assert not found.fit.wants_environment
    assert not [warning for warning in found.fit.warnings if "environment" in warning]
    assert plan(f"scikit-learn=={cloud.default_environment().packages['scikit-learn']}")[0].requirements == ()
    assert plan("lightgbm", script=str(entry_script("def run(mini_batch): return mini_batch")))[0].requirements == ()
    made, _, warnings = plan("lightgbm", "--index-url https://evil.example")
    assert made.requirements == ()
    assert "can't be taken: line 2" in " ".join(warnings)


def test_a_missing_environment_is_not_found(cloud):
    with pytest.raises(NotFound, match="ghost"):
        cloud._sdk.environments.of_run("ghost")


def test_a_request_that_can_not_run_is_refused_before_anything_is_sent(cloud, azure, csv_folder, entry_script):
    cloud.register_dataset("d", csv_folder(2))
    script = str(entry_script("def run(mini_batch): return mini_batch"))
    cloud.compute_targets()
    azure.service.clear()
    for target, nodes, field in (("cpu-cluster", 5, "node_count"), ("ghost", 1, "compute_target"), (None, 1, "compute_target")):
        with pytest.raises(SettingsError) as refused:
            cloud.check(RunRequest((), ("d",), script, ParallelRunSettings(node_count=nodes), compute_target=target))
        assert refused.value.field == field
    assert not [seen for seen in azure.requests if "POST" in seen.line and "/oauth2/" not in seen.line]  # a sign-in is no submission


def test_the_self_check_shows_what_passes_and_what_fails(cloud, azure):
    assert all(holds for _, holds, _ in cloud.self_check())
    azure.service.fault("GET *computes*", status=403, message="no reader role", count=None)
    checks = {what: (holds, detail) for what, holds, detail in cloud.self_check()}
    assert checks["Signed in"][0]
    assert checks["Compute targets"][0] is False
    assert "no permission" in checks["Compute targets"][1]


# ---- faults ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ({"status": 401}, WorkspaceUnavailable, "you are not signed in, or the sign-in has expired"),
        ({"status": 403, "code": "AuthorizationFailed"}, WorkspaceUnavailable, "you have no permission"),
        ({"status": 404}, NotFound, "can't be listed"),
        ({"status": 400, "message": "an odd filter"}, StudioError, "an odd filter"),
    ],
)
@pytest.mark.parametrize("name", ["models", "datasets", "compute_targets", "environments", "datastores"])
def test_a_refused_list_raises_our_error_and_keeps_what_was_known(cloud, azure, name, fault, kind, message):
    patterns = {"models": MODELS, "datasets": "GET *dataset/v1.0*", "compute_targets": "GET *computes*",
                "environments": "GET *environments*", "datastores": "GET *datastore/v1.0*"}  # fmt: skip
    listing = getattr(cloud._cache, name)
    known = listing.fetch()
    azure.service.fault(patterns[name], count=None, **fault)
    with pytest.raises(kind, match=message) as refused:
        listing.fetch()
    assert refused.value.message.startswith(f"The {name.replace('_', ' ')} can't be listed: ")
    assert listing.known() == known


@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": 1}, {"status": 500}, {"cut": True}, {"seconds": 0.5}])
@pytest.mark.parametrize(
    ("name", "pattern"), [("models", MODELS), ("datasets", "GET *dataset/v1.0*"), ("environments", "GET *environments*")]
)
def test_transient_errors_are_retried(cloud, azure, name, pattern, fault):
    azure.service.fault(pattern, **fault)
    getattr(cloud._cache, name).fetch()
    assert azure.service.count(pattern) >= 1


def test_a_refused_token_is_replaced_at_the_next_call(cloud, azure):
    cloud.models()
    azure.service.expire_tokens()
    with pytest.raises(WorkspaceUnavailable, match="expired"):
        cloud._cache.models.fetch()
    assert cloud._cache.models.fetch() == []


def test_a_wrong_secret_is_reported_and_not_shown(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-secret-of-the-test")
    wrong = AzureWorkspace(from_environment(tmp_path), tmp_path / "home", blocking=True)
    with pytest.raises(WorkspaceUnavailable, match="can't be opened") as refused:
        wrong.models()
    assert "wrong-secret" not in refused.value.message + refused.value.hint


def test_a_missing_workspace_is_named(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "ghost")
    with pytest.raises((WorkspaceUnavailable, NotFound), match="rg-batch / ghost can't be opened") as refused:
        AzureWorkspace(from_environment(tmp_path), tmp_path / "home", blocking=True).models()
    assert refused.value.hint == "Check the subscription, the resource group and the name of the workspace."


def test_a_cut_connection_is_reported_as_unreachable(azure, tmp_path, monkeypatch):
    cloud = AzureWorkspace(from_environment(tmp_path), tmp_path / "home", blocking=True)
    cloud.models()
    azure.service.fault("GET *environments*", cut=True, count=None)
    with pytest.raises(WorkspaceUnavailable, match="could not be reached"):
        cloud._cache.environments.fetch()


# ---- the dashboard's: nothing waits ------------------------------------------------------------------------------------------------


def test_the_dashboard_answers_at_once_while_azure_does_not(dashboard_workspace, cloud, azure, model_file):
    cloud.register_model("m", model_file)
    azure.service.fault("* https://*", held=True, count=None)
    workspace = dashboard_workspace()
    workspace.open()
    for verb in (
        workspace.models,
        workspace.datasets,
        workspace.compute_targets,
        workspace.environments,
        workspace.runs.latest,
        workspace.state,
    ):
        verb()
    assert workspace.state().opening
    azure.service.clear()
    wait_for(lambda: not (workspace.state().opening or workspace.state().listing))
    state = workspace.state()
    assert (state.error, state.is_open, state.lists) == (None, True, 5)
    assert [model.reference for model in workspace.models()] == ["m:1"]


def test_the_dashboard_shows_a_message_while_azure_throttles(dashboard_workspace, azure, model_file, monkeypatch):
    from azureml._restclient import clientbase

    monkeypatch.setattr(throttling, "NOTIFY_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(clientbase, "DEFAULT_BACKOFF", 1)  # of 32 seconds
    azure.service.fault("POST *modelmanagement*/models", status=429, count=None)
    workspace = dashboard_workspace()
    with ThreadPoolExecutor(1) as thread:
        registered = thread.submit(workspace.register_model, "m", model_file)
        wait_for(lambda: "Azure answers 429 Too Many Requests" in workspace.state().message)
        azure.service.clear()
        assert registered.result().reference == "m:1"
    assert workspace.state().message == ""
    azure.service.fault("GET *modelmanagement*/models*", status=429, count=None)  # which the SDK asks for from threads of its own
    workspace.refresh()
    wait_for(lambda: "Azure answers 429 Too Many Requests" in workspace.state().message)
    azure.service.clear()
    wait_for(lambda: not workspace.state().listing)
    assert workspace.state().message == ""


def test_after_a_start_the_cached_lists_have_their_age(dashboard_workspace, model_file):
    first = dashboard_workspace()
    first.open()
    wait_for(lambda: first.state().lists == 5)
    listed_at = first.state().listed_at
    second = dashboard_workspace()
    assert [target.name for target in second.compute_targets()] == ["cpu-cluster", "gpu-cluster"]
    assert listed_at
    assert second.state().listed_at
    assert abs((second.state().listed_at - listed_at).total_seconds()) < 5
    assert not second.state().is_open


def test_an_error_in_the_background_is_in_the_state(dashboard_workspace, azure):
    azure.service.fault(MODELS, status=403, count=None)
    workspace = dashboard_workspace()
    workspace.open()
    wait_for(lambda: workspace.state().error)
    assert "no permission" in workspace.state().error.message
    azure.service.clear()
    workspace.refresh()
    wait_for(lambda: workspace.state().lists == 5)
    assert workspace.state().error is None


def test_lists_are_fetched_by_one_thread(dashboard_workspace, azure):
    azure.service.fault("* https://*", held=True, count=None)
    workspace = dashboard_workspace()
    for _ in range(5):
        workspace.refresh()
    azure.service.clear()
    wait_for(lambda: workspace.state().lists == 5 and not workspace.state().listing)
    assert azure.service.count(MODELS) == 1
    wait_for(lambda: "azure-lists" not in {thread.name for thread in threading.enumerate()})


# ---- what the SDK does beside ------------------------------------------------------------------------------------------------------


def test_nothing_from_the_sdk_reaches_standard_output(cloud, csv_folder, model_file, capfd):
    cloud.register_model("m", model_file)
    dataset = cloud.register_dataset("d", csv_folder(2))
    cloud.local_file(dataset, "0000.csv")
    assert capfd.readouterr().out == ""


def test_files_are_listed_from_several_threads_at_once(cloud, csv_folder):
    datasets = [cloud.register_dataset(f"d{number}", csv_folder(number + 1, f"f{number}")) for number in range(4)]
    for dataset in datasets:
        Path(dataset.manifest).unlink()
    inner = AzureWorkspace(cloud.connection, cloud.home.parents[3], blocking=False)  # one that leaves standard output alone
    inner._session.client  # noqa: B018 - signs in
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda dataset: len(inner.dataset_files(dataset, 0, 99)), datasets))
    assert counts == [1, 2, 3, 4]

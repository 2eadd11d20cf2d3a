"""The stand-in goes wrong as a test tells it to, counts its calls, pages its lists, and knows who may ask."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
MODELS = "GET *modelmanagement*/models*"


def models(ws):
    from azureml.core import Model

    return [model.id for model in Model.list(ws)]


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_a_refusal_reaches_the_caller_once(ws, azure, status):
    azure.service.fault(MODELS, status=status, message="as asked")
    with pytest.raises(Exception, match=r"as asked|listing denied"):  # of a 403 the SDK keeps its own opinion
        models(ws)
    assert models(ws) == []
    assert [seen.status for seen in azure.requests if "/models" in seen.line] == [status, 200]


def test_the_sdk_retries_transient_errors(ws, azure):
    azure.service.fault(MODELS, status=429, retry_after=1)
    azure.service.fault(MODELS, status=500)
    azure.service.fault(MODELS, cut=True)
    assert models(ws) == []
    assert [seen.status for seen in azure.requests if "/models" in seen.line] == [429, 500, 0, 200]


def test_a_request_with_a_lost_answer_had_its_effect(ws, azure):
    from azureml.core import Model

    Path("model.pkl").write_bytes(b"a model")
    azure.service.fault("POST *modelmanagement*/models", lost=True)
    Model.register(ws, "model.pkl", "clf")  # the SDK asks again
    assert models(ws) == ["clf:2", "clf:1"]


def test_a_slow_answer_arrives_late(ws, azure):
    azure.service.fault(MODELS, seconds=0.5)
    azure.service.clear()
    assert models(ws) == []
    azure.service.fault(MODELS, seconds=0.3)
    models(ws)
    first, second = (seen.at for seen in azure.requests if "/models" in seen.line)
    assert second - first >= 0.3


def test_a_swallowed_upload_error_leaves_an_empty_blob(ws, azure):
    from azureml.core import Dataset

    Path("files").mkdir()
    for number in range(3):
        Path(f"files/{number}.csv").write_text(f"{number}\n")
    azure.service.fault("PUT *blob.core.windows.net*/1.csv*", count=None, swallow=True)
    target = (ws.get_default_datastore(), "rows")
    Dataset.File.upload_directory("files", target, show_progress=False).download("there", overwrite=True)
    assert {path.name: path.read_text() for path in Path("there").iterdir()} == {"0.csv": "0\n", "1.csv": "", "2.csv": "2\n"}


def test_an_expired_token_is_refused(ws, azure):
    assert models(ws) == []
    azure.service.expire_tokens()
    with pytest.raises(Exception, match="token has expired"):
        models(ws)


def test_an_unknown_workspace_and_a_wrong_secret_are_refused(azure):
    from azureml.core import Workspace
    from azureml.core.authentication import ServicePrincipalAuthentication

    where = {"subscription_id": os.environ["AZURE_SUBSCRIPTION_ID"], "resource_group": os.environ["AZURE_RESOURCE_GROUP"]}
    who = (os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"])
    with pytest.raises(Exception, match="Workspace not found"):
        Workspace.get("no-such", auth=ServicePrincipalAuthentication(*who, os.environ["AZURE_CLIENT_SECRET"]), **where)
    with pytest.raises(Exception, match="AADSTS7000215"):
        Workspace.get(azure.workspace, auth=ServicePrincipalAuthentication(*who, "wrong"), **where)


def test_the_sdk_reads_all_pages_of_a_list(ws, azure):
    from azureml.core import Dataset, Environment, Experiment, Model

    azure.service.set_page_size(1, azure.workspace)
    Path("model.pkl").write_bytes(b"a model")
    Path("files").mkdir()
    Path("files/1.csv").write_text("1\n")
    store = ws.get_default_datastore()
    Dataset.File.upload_directory("files", (store, "rows"), show_progress=False)
    for number in range(3):
        Model.register(ws, "model.pkl", f"model-{number}")
        Dataset.File.from_files((store, "rows"), validate=False).register(ws, f"rows-{number}")
        Environment(f"env-{number}").register(ws)
        Experiment(ws, "many").start_logging(snapshot_directory=None).complete()
    azure.service.clear()
    assert len(models(ws)) == len(list(ws.datasets.keys())) == 3
    assert (len(ws.environments), len(ws.compute_targets)) == (4, 2)
    assert len(Experiment.list(ws)) == 1
    assert len(list(Experiment(ws, "many").get_runs())) == 3
    lists = {"models": "*/models?*", "datasets": "*/datasets?*", "environments": "*/environments/*", "runs": "*/runs:query"}
    counts = {name: azure.service.count(pattern) for name, pattern in lists.items()}
    assert counts == {"models": 3, "datasets": 3, "environments": 4, "runs": 3}


def test_an_unsupported_request_is_named(azure_service, ws, azure):
    import requests

    answer = requests.get("https://westeurope.api.azureml.ms/nobody/knows", headers=ws._auth.get_authentication_header(), timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UnknownRoute")
    with pytest.raises(requests.RequestException):
        requests.get("https://example.org/", timeout=60)
    assert azure_service.unknown_routes == ["GET https://westeurope.api.azureml.ms/nobody/knows", "CONNECT CONNECT example.org:443"]
    azure_service.clear()  # else this very test would fail


def test_a_cut_download_is_continued_or_refused(ws, azure):
    from azureml.core import Dataset

    content = bytes(range(256)) * 4_000
    Path("files").mkdir()
    Path("files/large.bin").write_bytes(content)
    uploaded = Dataset.File.upload_directory("files", (ws.get_default_datastore(), "rows"), show_progress=False)
    azure.service.fault("GET *large.bin*", torn=True)
    uploaded.download("there", overwrite=True)
    assert Path("there/large.bin").read_bytes() == content
    assert azure.service.count("GET *large.bin*") == 2


def test_a_cluster_is_added_and_removed(ws, azure):
    azure.service.set_compute("new", azure.workspace, max_nodes=7)
    azure.service.remove_compute("gpu-cluster", azure.workspace)
    clusters = {name: target.scale_settings.maximum_node_count for name, target in ws.compute_targets.items()}
    assert clusters == {"cpu-cluster": 4, "new": 7}


def test_a_person_signs_in_by_a_device_code(azure):
    from azure.identity import DeviceCodeCredential

    codes = []

    def told(page, code, until):
        codes.append(code)
        azure.service.confirm_device_code(code)

    credential = DeviceCodeCredential(tenant_id=os.environ["AZURE_TENANT_ID"], prompt_callback=told)
    token = credential.get_token("https://management.azure.com/.default").token
    import requests

    answer = requests.get("https://management.azure.com/subscriptions", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert (len(codes), answer.status_code) == (1, 200)


def test_a_person_signs_in_by_a_browser(azure, monkeypatch):
    from azure.identity import InteractiveBrowserCredential

    def visit(address, *_):
        import threading

        import requests

        threading.Thread(target=lambda: requests.get(address, timeout=60)).start()
        return True

    monkeypatch.setattr("webbrowser.open", visit)
    credential = InteractiveBrowserCredential(tenant_id=os.environ["AZURE_TENANT_ID"], timeout=60)
    assert credential.get_token("https://management.azure.com/.default").token.count(".") == 2

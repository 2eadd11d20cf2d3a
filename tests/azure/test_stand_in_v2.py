"""The unmodified SDK v2 on the stand-in: what is registered comes back, over real HTTPS, and to SDK v1 as well."""

from pathlib import Path

import pytest

from tests.azure.conftest import azure_path

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture
def register(ml):
    from azure.ai.ml.entities import Model

    def make(name="clf", content=b"a model", **values):
        Path("model.pkl").write_bytes(content)
        return ml.models.create_or_update(Model(name=name, path="model.pkl", **values))

    return make


def test_the_workspace_tells_where_it_is(ml, azure):
    workspace = ml.workspaces.get(azure.workspace)
    assert (workspace.name, workspace.location) == (azure.workspace, "westeurope")
    assert workspace.discovery_url == "https://westeurope.api.azureml.ms/discovery"


def test_the_workspace_has_datastores_and_clusters(ml):
    assert {store.name for store in ml.datastores.list()} == {"workspaceblobstore", "workspaceartifactstore"}
    assert ml.datastores.get_default().name == "workspaceblobstore"
    clusters = {cluster.name: (cluster.size, cluster.max_instances, cluster.provisioning_state) for cluster in ml.compute.list()}
    assert clusters == {"cpu-cluster": ("STANDARD_DS3_V2", 4, "Succeeded"), "gpu-cluster": ("STANDARD_NC6S_V3", 2, "Succeeded")}
    assert ml.compute.get("cpu-cluster").tier == "dedicated"
    assert list(ml.compute.list_nodes("cpu-cluster")) == []


def test_a_model_is_registered_listed_downloaded_and_archived(ml, register):
    for number in (1, 2):
        registered = register(description="for tests", tags={"stage": "test"})
        assert (registered.version, registered.type, registered.tags) == (str(number), "custom_model", {"stage": "test"})
    assert [(model.name, model.latest_version) for model in ml.models.list()] == [("clf", "2")]
    assert [model.version for model in ml.models.list("clf")] == ["2", "1"]
    assert ml.models.get("clf", label="latest").version == "2"
    ml.models.download("clf", "1", "there")
    assert files_below("there") == {"clf/model.pkl": b"a model"}
    ml.models.archive("clf", "1")
    assert [model.version for model in ml.models.list("clf")] == ["2"]
    ml.models.restore("clf", "1")
    assert [model.version for model in ml.models.list("clf")] == ["2", "1"]


def test_models_of_one_sdk_are_models_of_the_other(ml, ws, register):
    from azureml.core import Model

    register(content=b"by v2", tags={"by": "v2"})
    (seen,) = Model.list(ws)
    assert (seen.id, seen.tags) == ("clf:1", {"by": "v2"})
    assert Path(seen.download("v1")).read_bytes() == b"by v2"
    Path("other.pkl").write_bytes(b"by v1")
    Model.register(ws, "other.pkl", "clf", tags={"by": "v1"})
    assert ml.models.get("clf", "2").tags == {"by": "v1"}
    ml.models.download("clf", "2", "v2")
    assert files_below("v2") == {"clf/other.pkl": b"by v1"}


@pytest.mark.parametrize("credentials", ["Sas", "AccountKey", "None"])
def test_data_of_each_type_is_uploaded_whatever_opens_the_storage(ml, azure, credentials):
    from azure.ai.ml.entities import Data

    azure.service.set_storage_credentials(credentials, azure.workspace)
    files = {"a b.csv": b"1,2\n", "ü.csv": b"", "deep/large.bin": bytes(range(256)) * 20_000}
    for name, content in files.items():
        path = Path("rows") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert ml.data.create_or_update(Data(name="rows", path="rows", type="uri_folder")).version == "1"
    assert ml.data.create_or_update(Data(name="one", path="rows/a b.csv", type="uri_file")).path.endswith("/a b.csv")
    from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri

    download_artifact_from_aml_uri(ml.data.get("rows", "1").path, "there", ml.datastores)
    assert files_below("there") == files
    assert sorted(data.name for data in ml.data.list()) == ["one", "rows"]


def test_a_table_is_data_of_its_own_type(ml):
    from azure.ai.ml.entities import Data

    Path("table").mkdir()
    Path("table/MLTable").write_text(
        "type: mltable\npaths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
    )
    Path("table/rows.csv").write_text("a\n1\n")
    data = ml.data.create_or_update(Data(name="table", path="table", type="mltable"))
    assert (data.type, ml.data.get("table", label="latest").version) == ("mltable", "1")


def test_environments_of_one_sdk_are_environments_of_the_other(ml, ws):
    from azure.ai.ml.entities import Environment
    from azureml.core import Environment as FirstEnvironment

    conda = {"name": "mine", "channels": ["conda-forge"], "dependencies": ["python=3.10", {"pip": ["joblib"]}]}
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    for number, files in ((1, conda), (1, conda), (2, conda | {"dependencies": ["python=3.11"]})):
        made = ml.environments.create_or_update(Environment(name="mine", image=image, conda_file=files))
        assert made.version == str(number)
    assert ml.environments.get("mine", label="latest").version == "2"
    seen = FirstEnvironment.get(ws, "mine", "1")
    assert "joblib" in list(seen.python.conda_dependencies.pip_packages)
    FirstEnvironment("first").register(ws)
    assert {found.name for found in ml.environments.list()} == {"AzureML-sklearn-1.5", "mine", "first"}
    assert ml.environments.get("AzureML-sklearn-1.5", "1").conda_file["dependencies"][0] == "python=3.10"


def test_lists_come_in_pages(ml, azure, register):
    for number in range(5):
        register(f"m{number}")
    azure.service.set_page_size(2, azure.workspace)
    assert [model.name for model in ml.models.list()] == [f"m{number}" for number in (4, 3, 2, 1, 0)]
    assert azure.service.count("GET https://management.azure.com{ws}/models?*$skip=*") == 2


def test_a_version_of_the_interface_that_there_is_not_is_refused(ml, azure):
    import requests

    token = ml._credential.get_token("https://management.azure.com/.default").token

    def asked(version, bearer=token):
        address = f"https://management.azure.com{azure_path(ml)}/models?{version}"
        return requests.get(address, headers={"Authorization": f"Bearer {bearer}"}, timeout=60)

    assert asked("api-version=2023-08-01-preview").status_code == 200
    assert asked("api-version=2023-08-01-preview&tags=a").json()["error"]["code"] == "UnsupportedByTheStandIn"
    assert asked("api-version=1999-01-01").json()["error"]["code"] == "NoRegisteredProviderFound"
    assert asked("").json()["error"]["code"] == "MissingApiVersionParameter"
    other = ml._credential.get_token("https://ml.azure.com/.default").token
    refused = asked("api-version=2023-08-01-preview", other)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "InvalidAuthenticationTokenAudience")


def test_environments_of_the_registry_that_all_workspaces_see(ml):
    from azure.ai.ml import MLClient

    registry = MLClient(ml._credential, registry_name="azureml")
    assert [environment.name for environment in registry.environments.list()] == ["sklearn-1.5"]
    latest = registry.environments.get("sklearn-1.5", label="latest")
    assert (latest.version, latest.id) == ("2", "azureml://registries/azureml/environments/sklearn-1.5/versions/2")


def test_workspaces_sizes_and_quotas(ml, azure):
    assert azure.workspace in [workspace.name for workspace in ml.workspaces.list()]
    assert azure.workspace in [workspace.name for workspace in ml.workspaces.list(scope="subscription")]
    assert [size.name for size in ml.compute.list_sizes()] == ["STANDARD_DS3_V2", "STANDARD_NC6S_V3"]
    assert 100 in [usage.limit for usage in ml.compute.list_usage()]


def test_outputs_of_a_training_run_become_models(ml, ws):
    from azure.ai.ml.entities import Model
    from azureml.core import Experiment

    Path("model.pkl").write_bytes(b"trained")
    run = Experiment(ws, "train").start_logging(snapshot_directory=None)
    run.upload_file("outputs/model.pkl", "model.pkl")
    run.complete()
    for number, path in enumerate(
        (f"azureml://jobs/{run.id}/outputs/artifacts/paths/outputs/model.pkl", f"runs:/{run.id}/outputs/model.pkl"), 1
    ):
        made = ml.models.create_or_update(Model(name="trained", path=path))
        assert (made.version, made.job_name) == (str(number), run.id)
        ml.models.download("trained", made.version, f"there-{number}")
        assert files_below(f"there-{number}") == {"trained/model.pkl": b"trained"}


def test_tokens_that_have_expired_are_refused_and_a_busy_service_is_asked_again(ml, azure, register):
    register()
    azure.service.fault("GET *{ws}/models*", count=2, status=429, retry_after=1)
    assert [model.name for model in ml.models.list()] == ["clf"]
    azure.service.expire_tokens()
    with pytest.raises(Exception, match="expired or is not valid"):
        list(ml.models.list())

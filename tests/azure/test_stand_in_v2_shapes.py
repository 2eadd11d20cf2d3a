"""Answers of the stand-in against the models that Microsoft generated from its REST specifications, which are in azure-ai-ml."""

import pytest
import requests

from tests.azure.conftest import azure_path
from tests.azure.rest_models import faults, faults_of_page
from tests.azure_service.environments import CURATED

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
API = "https://westeurope.api.azureml.ms"
ARM = "https://management.azure.com"
KNOWN = {
    "creationTime": "SDK v1 reads it of a workspace",
    "submittedBy": "SDK v1 reads it of a run",
    "heartbeatEnabled": "SDK v1 reads it of a run",
}
"""What the models lack, and why it is there all the same."""


@pytest.fixture
def ask(ml):
    """`ask("GET", address, body)` is what the stand-in answers; `{ws}` in it is the workspace's path."""

    def answer(method, address, body=None):
        token = ml._credential.get_token("https://management.azure.com/.default").token
        own = ml._credential.get_token("https://ml.azure.com/.default").token
        headers = {"Authorization": f"Bearer {token}", "x-azureml-token": own}
        return requests.request(method, address.replace("{ws}", azure_path(ml)), json=body, headers=headers, timeout=60)

    return answer


@pytest.fixture
def check(ask):
    """`check("GET", address, model)` finds nothing wrong with an answer that is one."""

    def holds(method, address, model, body=None, status=(200, 201), page=False):
        answer = ask(method, address, body)
        assert answer.status_code in status, answer.text
        value = answer.json()
        found = faults_of_page(value, model) if page else faults(value, model)
        wrong = [fault for fault in found if not any(f".{name}:" in fault for name in KNOWN)]
        assert wrong == []
        for item in value["value"] if page else [value]:
            model._deserialize(item, [])
        return value

    return holds


def arm(path, version):
    return f"{ARM}{{ws}}{path}?api-version={version}"


def test_the_workspace_and_its_resources(check):
    from azure.ai.ml._restclient.arm_ml_service import models as m

    check("GET", arm("", "2024-10-01-preview"), m.Workspace)
    check("GET", arm("/datastores", "2024-10-01-preview"), m.Datastore, page=True)
    check("GET", arm("/datastores/workspaceblobstore", "2024-10-01-preview"), m.Datastore)
    check("GET", arm("/computes", "2023-08-01-preview"), m.ComputeResource, page=True)
    check("GET", arm("/computes/cpu-cluster", "2023-08-01-preview"), m.ComputeResource)


@pytest.mark.parametrize("kind", ["Sas", "AccountKey", "None"])
def test_secrets_of_a_datastore(azure, check, kind):
    from azure.ai.ml._restclient.arm_ml_service import models as m

    azure.service.set_storage_credentials(kind, azure.workspace)
    check("GET", arm("/datastores/workspaceblobstore", "2024-10-01-preview"), m.Datastore)
    wanted, status = (m.ErrorResponse, (400,)) if kind == "None" else (m.DatastoreSecrets, (200,))
    check("POST", arm("/datastores/workspaceblobstore/listSecrets", "2024-10-01-preview"), wanted, {"expirableSecret": True}, status)


def test_what_is_registered(check, inputs):
    from azure.ai.ml._restclient.arm_ml_service import models as m

    versions = {"models": "2023-08-01-preview", "data": "2023-04-01-preview", "environments": "2023-04-01-preview"}
    for noun, what in (("models", "clf"), ("data", "rows"), ("environments", "mine"), ("environments", CURATED)):
        version = versions[noun]
        name = {"models": "Model", "data": "Data", "environments": "Environment"}[noun]
        of_version = "DataVersionBase" if noun == "data" else f"{name}Version"
        check("GET", arm(f"/{noun}", version), getattr(m, f"{name}Container"), page=True)
        check("GET", arm(f"/{noun}/{what}", version), getattr(m, f"{name}Container"))
        check("GET", arm(f"/{noun}/{what}/versions", version), getattr(m, of_version), page=True)
        known = check("GET", arm(f"/{noun}/{what}/versions/1", version), getattr(m, of_version))
        if what != CURATED:
            check("PUT", arm(f"/{noun}/{what}/versions/1", version), getattr(m, of_version), {"properties": known["properties"]})
            check("PUT", arm(f"/{noun}/{what}", version), getattr(m, f"{name}Container"), {"properties": {"tags": {"a": "b"}}})


def test_a_job_its_code_and_its_component(ml, check, job):
    from azure.ai.ml._restclient.arm_ml_service import models as m
    from azure.ai.ml._restclient.dataset_dataplane import models as d
    from azure.ai.ml._restclient.runhistory import models as h

    ml.jobs.create_or_update(job(name="mine", output={"name": "scored"}))
    component_id = check("GET", arm("/jobs/mine", "2024-01-01-preview"), m.JobBase)["properties"]["jobs"]["score"]["componentId"]
    component = check("GET", f"{ARM}{component_id}?api-version=2024-01-01-preview", m.ComponentVersion)
    code_id = component["properties"]["componentSpec"]["task"]["code"].removeprefix("azureml:")
    check("GET", f"{ARM}{code_id}?api-version=2023-04-01", m.CodeVersion)
    check("GET", f"{ARM}{code_id.rpartition('/')[0]}?api-version=2023-04-01", m.CodeVersion, page=True)
    upload = {"pendingUploadType": "TemporaryBlobReference"}
    check("POST", f"{ARM}{code_id}/startPendingUpload?api-version=2023-04-01", m.PendingUploadResponseDto, upload)
    version = "2024-01-01-preview"
    while True:
        value = check("GET", arm("/jobs/mine", version), m.JobBase)
        assert value["properties"]["status"] != "Failed"
        if value["properties"]["status"] == "Completed":
            break
    check("GET", arm("/jobs", version), m.JobBase, page=True)
    check("GET", f"{API}/history/v1.0{{ws}}/runs/mine", h.Run)
    children = check("GET", f"{API}/history/v1.0{{ws}}/runs/mine/children", h.PaginatedRunList)
    step = children["value"][0]["runId"]
    check("GET", f"{API}/history/v1.0{{ws}}/runs/{step}/details", h.RunDetails)
    data = check("POST", f"{API}/history/v1.0{{ws}}/rundata", h.GetRunDataResult, {"runId": step})
    wanted = [data["runMetadata"]["outputs"]["inferences"]["assetId"]]
    check("POST", f"{API}/data/v1.0{{ws}}/dataversion/batchGetResolvedUris", d.BatchDataUriResponse, {"values": wanted})


@pytest.mark.parametrize("path", ["/models/none", "/data/none/versions/1", "/computes/none", "/jobs/none", "/environments/a?b"])
def test_an_error_of_the_resource_manager(check, path):
    from azure.ai.ml._restclient.arm_ml_service import models as m

    check("GET", arm(path.partition("?")[0], "2024-01-01-preview"), m.ErrorResponse, status=(404,))

"""Answers of the stand-in against the models that Microsoft generated from its REST specifications, which are in azure-ai-ml."""

import pytest
import requests

from tests.azure.conftest import azure_path
from tests.azure.rest_models import Models, faults, faults_of_page
from tests.azure.test_stand_in_v2_runs import until
from tests.azure_service.environments import CURATED
from tests.azure_service.identity import SUBSCRIPTION
from tests.azure_service.routes import Routes
from tests.azure_service.v2 import HANDLERS

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
m, d, h = Models("arm_ml_service"), Models("dataset_dataplane"), Models("runhistory")
API = "https://westeurope.api.azureml.ms"
ARM = "https://management.azure.com"
KNOWN = {
    "creationTime": "SDK v1 reads it of a workspace",
    "submittedBy": "SDK v1 reads it of a run",
    "heartbeatEnabled": "SDK v1 reads it of a run",
}
"""What the models lack, and why it is there all the same."""


WITHOUT_A_MODEL = {
    ("v2_batch", "list_jobs"), ("v2_schedules", "trigger"),
}  # fmt: skip
_OF_VERSIONS = ("codes", "components", "data", "environments", "models")
WITHOUT_A_BODY = {
    ("v2_batch", "delete"), ("v2_batch", "delete_deployment"), ("v2_datastores", "delete"), ("v2_jobs", "cancel_it"),
    ("v2_schedules", "delete"), *((f"v2_{noun}", f"delete_{what}") for noun in _OF_VERSIONS for what in ("container", "version")),
}  # fmt: skip
_ROUTES = Routes(HANDLERS)


class Asking:
    """Asks the stand-in, and finds nothing wrong with what it answers."""

    def __init__(self, ml):
        self._credential, self._path = ml._credential, azure_path(ml)
        self.asked = set()

    def answer(self, method, address, body=None):
        token, own = (self._credential.get_token(f"https://{host}/.default").token for host in ("management.azure.com", "ml.azure.com"))
        headers = {"Authorization": f"Bearer {token}", "x-azureml-token": own}
        host, path = ("management", address.removeprefix(ARM)) if address.startswith(ARM) else ("api", address.removeprefix(API))
        if found := _ROUTES.find(method, host, path.partition("?")[0]):
            self.asked.add((found.handler, found.method))
        return requests.request(method, address.replace("{ws}", self._path), json=body, headers=headers, timeout=60)

    def __call__(self, method, address, model, body=None, *, status=(200, 201), page=False):
        answer = self.answer(method, address, body)
        assert answer.status_code in status, f"{method} {address}: {answer.text}"
        value = answer.json()
        found = faults_of_page(value, model) if page else faults(value, model)
        assert [f"{method} {address}: {fault}" for fault in found if not any(f".{name}:" in fault for name in KNOWN)] == []
        for item in value["value"] if page else [value]:
            model._deserialize(item, [])
        return value

    def arm(self, method, path, model, version, body=None, **more):
        return self(method, f"{ARM}{{ws}}{path}?api-version={version}", model, body, **more)


@pytest.fixture
def ask(ml):
    return Asking(ml)


def test_every_answer_has_a_shape_that_microsoft_s_models_know(ml, ask, inputs, job):
    check_resources(ask)
    check_registry(ask)
    check_registered(ask)
    check_job(ask, ml, job("def run(b):\n    return b\n", name="mine", output={"name": "scored"}))
    check_started_otherwise(ask)
    marked = {(handler, name) for _, _, _, handler, name in _ROUTES._table}
    assert marked - ask.asked == WITHOUT_A_MODEL | WITHOUT_A_BODY


def check_resources(ask):
    ask.arm("GET", "", m.Workspace, "2024-10-01-preview")
    ask.arm("GET", "/datastores", m.Datastore, "2024-10-01-preview", page=True)
    store = ask.arm("GET", "/datastores/workspaceblobstore", m.Datastore, "2024-10-01-preview")
    ask.arm("PUT", "/datastores/other", m.Datastore, "2024-10-01-preview", {"properties": store["properties"]})
    ask.arm("POST", "/datastores/other/listSecrets", m.DatastoreSecrets, "2024-10-01-preview", {})
    ask.arm("GET", "/computes", m.ComputeResource, "2023-08-01-preview", page=True)
    ask.arm("GET", "/computes/cpu-cluster", m.ComputeResource, "2023-08-01-preview")
    region = f"{ARM}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/westeurope"
    ask("GET", f"{region}/usages?api-version=2023-08-01-preview", m.Usage, page=True)
    sizes = ask.answer("GET", f"{region}/vmSizes?api-version=2023-08-01-preview").json()["value"]
    assert [fault for size in sizes for fault in faults(size, m.VirtualMachineSize)] == []
    assert ask.answer("POST", f"{ARM}{{ws}}/computes/cpu-cluster/listNodes?api-version=2023-08-01-preview").json() == {"nodes": []}


def check_registry(ask):
    found = ask("GET", f"{API}/registrymanagement/v1.0/registries/azureml/discovery", Models("registry_discovery").RegistryDiscoveryDto)
    place = f"/subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}/providers/Microsoft.MachineLearningServices"
    home = f"{found['primaryRegionResourceProviderUri']}mferp/managementfrontend{place}/registries/azureml/environments"
    ask("GET", home, m.EnvironmentContainer, page=True)
    ask("GET", f"{home}/sklearn-1.5", m.EnvironmentContainer)
    ask("GET", f"{home}/sklearn-1.5/versions", m.EnvironmentVersion, page=True)
    ask("GET", f"{home}/sklearn-1.5/versions/1", m.EnvironmentVersion)


def check_registered(ask):
    for noun, what, version in (("model", "clf", "2023-08-01-preview"), ("data", "rows", "2023-04-01-preview"),
                                ("environment", "mine", "2023-04-01-preview"), ("environment", CURATED, "2023-04-01-preview")):  # fmt: skip
        check_versions(ask, noun, what, "1", version)


def check_versions(ask, noun, what, number, version):
    """All that is asked of something that has versions."""
    plural = noun if noun == "data" else f"{noun}s"
    container, one = (
        getattr(m, f"{noun.capitalize()}Container"),
        getattr(m, "DataVersionBase" if noun == "data" else f"{noun.capitalize()}Version"),
    )
    ask.arm("GET", f"/{plural}", container, version, page=True)
    ask.arm("GET", f"/{plural}/{what}", container, version)
    ask.arm("PUT", f"/{plural}/{what}", container, version, {"properties": {"tags": {"a": "b"}}})
    ask.arm("GET", f"/{plural}/{what}/versions", one, version, page=True)
    known = ask.arm("GET", f"/{plural}/{what}/versions/{number}", one, version)
    ask.arm("PUT", f"/{plural}/{what}/versions/{number}", one, version, {"properties": known["properties"]})
    return known["properties"]


def check_job(ask, ml, job):
    version = "2024-01-01-preview"
    ml.jobs.create_or_update(job)
    posted = ask.arm("GET", "/jobs/mine", m.JobBase, version)["properties"]
    component = posted["jobs"]["score"]["componentId"].split("/")
    spec = check_versions(ask, "component", component[-3], component[-1], version)["componentSpec"]
    code = spec["task"]["code"].split("/")
    check_versions(ask, "code", code[-3], code[-1], "2023-04-01")
    upload = {"pendingUploadType": "TemporaryBlobReference"}
    ask.arm("POST", f"/codes/{code[-3]}/versions/2/startPendingUpload", m.PendingUploadResponseDto, "2023-04-01", upload)
    ask.arm("PUT", "/jobs/mine", m.JobBase, version, {"properties": posted})
    until(lambda: ask.arm("GET", "/jobs/mine", m.JobBase, version)["properties"]["status"] == "Completed")
    ask.arm("GET", "/jobs", m.JobBase, version, page=True)
    ask("GET", f"{API}/history/v1.0{{ws}}/runs/mine", h.Run)
    step = ask("GET", f"{API}/history/v1.0{{ws}}/runs/mine/children", h.PaginatedRunList)["value"][0]["runId"]
    ask("GET", f"{API}/history/v1.0{{ws}}/runs/{step}/details", h.RunDetails)
    data = ask("POST", f"{API}/history/v1.0{{ws}}/rundata", h.GetRunDataResult, {"runId": step})
    wanted = [data["runMetadata"]["outputs"]["inferences"]["assetId"]]
    ask("POST", f"{API}/data/v1.0{{ws}}/dataversion/batchGetResolvedUris", d.BatchDataUriResponse, {"values": wanted})


def check_started_otherwise(ask):
    """By a schedule, and by a batch endpoint."""
    definition = ask.arm("GET", "/jobs/mine", m.JobBase, "2023-06-01-preview")["properties"]
    trigger = {"triggerType": "Cron", "expression": "0 3 * * *", "timeZone": "UTC"}
    body = {"properties": {"action": {"actionType": "CreateJob", "jobDefinition": definition}, "trigger": trigger}}
    ask.arm("PUT", "/schedules/nightly", m.Schedule, "2023-06-01-preview", body)
    ask.arm("GET", "/schedules/nightly", m.Schedule, "2023-06-01-preview")
    ask.arm("GET", "/schedules", m.Schedule, "2023-06-01-preview", page=True)
    pipeline = {"componentSpec": {"type": "pipeline", "jobs": definition["jobs"], "inputs": {"rows": {"type": "uri_folder"}}}}
    component = ask.arm("PUT", "/components/scoring/versions/1", m.ComponentVersion, "2024-01-01-preview", {"properties": pipeline})
    endpoint = {"location": "westeurope", "properties": {"authMode": "AADToken", "defaults": {"deploymentName": "first"}}}
    ask.arm("PUT", "/batchEndpoints/nightly", m.BatchEndpoint, "2023-10-01", endpoint)
    ask.arm("GET", "/batchEndpoints/nightly", m.BatchEndpoint, "2023-10-01")
    ask.arm("GET", "/batchEndpoints", m.BatchEndpoint, "2023-10-01", page=True)
    reference = {"referenceType": "Id", "assetId": component["id"]}
    configuration = {"deploymentConfigurationType": "PipelineComponent", "componentId": reference}
    deployment = {"location": "westeurope", "properties": {"deploymentConfiguration": configuration}}
    ask.arm("PUT", "/batchEndpoints/nightly/deployments/first", m.BatchDeployment, "2024-01-01-preview", deployment)
    ask.arm("GET", "/batchEndpoints/nightly/deployments/first", m.BatchDeployment, "2024-01-01-preview")
    ask.arm("GET", "/batchEndpoints/nightly/deployments", m.BatchDeployment, "2024-01-01-preview", page=True)


@pytest.mark.parametrize("kind", ["Sas", "AccountKey", "None"])
def test_secrets_of_a_datastore_have_a_known_shape(azure, ask, kind):
    azure.service.set_storage_credentials(kind, azure.workspace)
    ask.arm("GET", "/datastores/workspaceblobstore", m.Datastore, "2024-10-01-preview")
    wanted, status = (m.ErrorResponse, (400,)) if kind == "None" else (m.DatastoreSecrets, (200,))
    ask.arm("POST", "/datastores/workspaceblobstore/listSecrets", wanted, "2024-10-01-preview", {"expirableSecret": True}, status=status)


@pytest.mark.parametrize(
    "path", ["/models/none", "/data/none/versions/1", "/computes/none", "/jobs/none", "/environments/none", "/schedules/none"]
)
def test_an_error_of_the_resource_manager_has_a_known_shape(ask, path):
    ask.arm("GET", path, m.ErrorResponse, "2024-01-01-preview", status=(404,))

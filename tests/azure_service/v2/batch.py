"""Batch endpoints, and deployments of pipeline components behind them: what a published pipeline is in v2."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import REGION, Refusal, Reply, Request, not_found, now, paged, route
from tests.azure_service.v2.arm import resource
from tests.azure_service.v2.components import defaults_of
from tests.azure_service.v2.versioned import check_name

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_TYPES = {"UriFolder": "uri_folder", "UriFile": "uri_file", "MLTable": "mltable", "Literal": "literal"}


class BatchEndpoints:
    """Of one workspace. Names of endpoints are the region's: the newest of a name is asked."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._endpoints: dict[str, dict[str, Any]] = {}
        self._deployments: dict[str, dict[str, dict[str, Any]]] = {}  # by endpoint and name

    def _endpoint(self, name: str) -> dict[str, Any]:
        if name not in self._endpoints:
            raise not_found("Endpoint", name)
        return self._endpoints[name]

    def _deployment(self, endpoint: str, name: str) -> dict[str, Any]:
        self._endpoint(endpoint)
        if name not in self._deployments[endpoint]:
            raise not_found("Deployment", name)
        return self._deployments[endpoint][name]

    def _described(self, path: str, known: dict[str, Any]) -> dict[str, Any]:
        none = {"identity": None, "kind": None, "sku": None, "location": REGION}
        added = {key: known.get(key) for key in ("tags", "kind", "identity") if known.get(key)}
        return resource(self._workspace, path, known["properties"], known["created"]) | none | {"tags": {}} | added

    # ---- endpoints ------------------------------------------------------------------------------------------------------------

    @route("PUT", "{ws}/batchEndpoints/{name}", host="management")
    def put(self, request: Request, name: str) -> Reply:
        if not 3 <= len(name) <= 32:
            raise Refusal(400, "UserError", f"The endpoint name {name} must have 3 to 32 characters.")
        check_name(name)
        body, new = request.json, name not in self._endpoints
        place = f"https://{name}.{REGION}.inference.ml.azure.com"
        added = {"scoringUri": f"{place}/jobs", "swaggerUri": None, "provisioningState": "Succeeded"}
        created = now() if new else self._endpoints[name]["created"]
        self._endpoints[name] = body | {"properties": body["properties"] | added, "created": created}
        self._deployments.setdefault(name, {})
        self._workspace.cloud.invocations.endpoints[name] = self._workspace
        return Reply(self._described(f"batchEndpoints/{name}", self._endpoints[name]), 201 if new else 200)

    @route("GET", "{ws}/batchEndpoints", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        every = [self._described(f"batchEndpoints/{name}", known) for name, known in self._endpoints.items()]
        return paged(every, request, self._workspace.page_size, "$skip", "nextLink")

    @route("GET", "{ws}/batchEndpoints/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._described(f"batchEndpoints/{name}", self._endpoint(name))

    @route("DELETE", "{ws}/batchEndpoints/{name}", host="management")
    def delete(self, request: Request, name: str) -> Reply:
        self._deployments.pop(name, None)
        return Reply(b"", 204 if self._endpoints.pop(name, None) is None else 200)

    # ---- deployments ----------------------------------------------------------------------------------------------------------

    @route("PUT", "{ws}/batchEndpoints/{endpoint}/deployments/{name}", host="management")
    def put_deployment(self, request: Request, endpoint: str, name: str) -> Reply:
        self._endpoint(endpoint)
        check_name(name)
        body, known = request.json, self._deployments[endpoint]
        configuration = body["properties"].get("deploymentConfiguration") or {}
        if configuration.get("deploymentConfigurationType") != "PipelineComponent":
            raise Refusal(400, "UserError", "The stand-in supports deployments of pipeline components only.")
        self._workspace.v2_components.spec(configuration["componentId"]["assetId"])
        new = name not in known
        properties = body["properties"] | {"provisioningState": "Succeeded"}
        known[name] = body | {"properties": properties, "created": now() if new else known[name]["created"]}
        return Reply(self._described(f"batchEndpoints/{endpoint}/deployments/{name}", known[name]), 201 if new else 200)

    @route("GET", "{ws}/batchEndpoints/{endpoint}/deployments", host="management")
    def deployments(self, request: Request, endpoint: str) -> dict[str, Any]:
        self._endpoint(endpoint)
        known = self._deployments[endpoint]
        every = [self._described(f"batchEndpoints/{endpoint}/deployments/{name}", known[name]) for name in known]
        return paged(every, request, self._workspace.page_size, "$skip", "nextLink")

    @route("GET", "{ws}/batchEndpoints/{endpoint}/deployments/{name}", host="management")
    def get_deployment(self, request: Request, endpoint: str, name: str) -> dict[str, Any]:
        return self._described(f"batchEndpoints/{endpoint}/deployments/{name}", self._deployment(endpoint, name))

    @route("DELETE", "{ws}/batchEndpoints/{endpoint}/deployments/{name}", host="management")
    def delete_deployment(self, request: Request, endpoint: str, name: str) -> Reply:
        self._endpoint(endpoint)
        return Reply(b"", 204 if self._deployments[endpoint].pop(name, None) is None else 200)

    # ---- invocation -----------------------------------------------------------------------------------------------------------

    def invoke(self, endpoint: str, deployment: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The job that was started: as a batch job, for which the specifications have no model. Raises Refusal."""
        name = deployment or (self._endpoint(endpoint)["properties"].get("defaults") or {}).get("deploymentName") or ""
        if not name:
            raise Refusal(400, "UserError", f"The endpoint {endpoint} has no default deployment, and none was named.")
        configuration = self._deployment(endpoint, name)["properties"]["deploymentConfiguration"]
        component = configuration["componentId"]["assetId"]
        spec = self._workspace.v2_components.spec(component)
        given = {key: _as_input(said) for key, said in (_any(asked, "inputData") or {}).items()}
        if unknown := sorted(set(given) - set(spec.get("inputs") or {})):
            raise Refusal(400, "UserError", f"The deployment {name} has no inputs called {unknown}.")
        outputs = {key: {"jobOutputType": said.get("type") or "uri_folder"} for key, said in (spec.get("outputs") or {}).items()}
        for key, said in (_any(asked, "outputData") or {}).items():
            outputs[key] = {"jobOutputType": "uri_folder", "uri": _any(said, "uri")}
        job = _any(asked, "name") or f"batchjob-{uuid.uuid4()}"
        properties = {
            "jobType": "Pipeline",
            "componentId": component,
            "displayName": f"{endpoint}-{name}",
            "experimentName": (_any(asked, "properties") or {}).get("experimentName") or endpoint,
            "tags": {"azureml.batchrun": "true", "azureml.endpointname": endpoint, "azureml.deploymentname": name},
            "settings": configuration.get("settings") or {},
            "jobs": spec["jobs"],
            "inputs": defaults_of(spec) | given,
            "outputs": outputs,
        }
        self._workspace.v2_jobs.submit(job, properties)
        return resource(self._workspace, f"jobs/{job}", {"status": "NotStarted", "name": job})

    def jobs(self, endpoint: str) -> list[dict[str, Any]]:
        """Those that were started by it, newest first."""
        runs = [run for run in self._workspace.history.roots() if run["tags"].get("azureml.endpointname") == endpoint]
        return [resource(self._workspace, f"jobs/{run['runId']}", {"status": run["status"]}, run["createdUtc"]) for run in runs]

    @route("GET", "/mferp/managementfrontend{ws}/batchEndpoints/{endpoint}/jobs")
    def list_jobs(self, request: Request, endpoint: str) -> dict[str, Any]:
        self._endpoint(endpoint)
        return paged(self.jobs(endpoint), request, self._workspace.page_size, "$skip", "nextLink")


class Invocations:
    """The hosts of all endpoints. Of the whole cloud."""

    def __init__(self) -> None:
        self.endpoints: dict[str, CloudWorkspace] = {}

    @route("POST", "/jobs", host="inference")
    def invoke(self, request: Request) -> Reply:
        endpoint = request.host.partition(".")[0]
        if endpoint not in self.endpoints:
            raise not_found("Endpoint", endpoint)
        deployment = request.headers.get("azureml-model-deployment", "")
        handler = self.endpoints[endpoint].v2_batch
        return Reply(handler.invoke(endpoint, deployment, (request.json or {}).get("properties") or {}), 201)


def _as_input(said: dict[str, Any]) -> dict[str, Any]:
    """An input of an invocation as a job says it."""
    kind = str(_any(said, "jobInputType") or "UriFolder")
    kind = _TYPES.get(kind, kind)
    return {"jobInputType": kind} | ({"value": str(_any(said, "value"))} if kind == "literal" else {"uri": _any(said, "uri")})


def _any(values: dict[str, Any], name: str) -> Any:
    """Whatever the case of its name, as the service takes it."""
    return next((value for key, value in values.items() if key.lower() == name.lower()), None)

"""Registered and saved datasets. What a dataset consists of is the dataflow the SDK itself posts; the files are blobs of a datastore."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import yaml

from tests.azure_service.blobs import Blobs
from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, paged, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace


@dataclass(frozen=True)
class DatasetFiles:
    """What a run reads: `(container, blob, path below the dataset's folder)`, and how: `type` is `file` or `tabular`."""

    type: str
    files: list[tuple[str, str, str]]
    transformations: list[dict[str, Any]]

    @property
    def partition_format(self) -> str:
        """From its first key on, since Azure matches the end of a path; empty where there is none."""
        for step in self.transformations:
            if extraction := step.get("extract_columns_from_partition_format"):
                text = str(extraction["partition_format"])
                return text[text.rfind("/", 0, text.index("{")) + 1 :]
        return ""

    def write(self, blobs: Blobs, folder: Path) -> list[str]:
        """The files, below `folder`; returns their paths there, in order."""
        paths = []
        depth = len(self.partition_format.split("/")) if self.partition_format else 0
        for container, blob, path in self.files:
            target = folder / ("/".join(blob.split("/")[-depth:]) if depth else path.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(blobs.get(container, blob))
            paths.append(target.relative_to(folder).as_posix())
        return sorted(paths)


class Datasets:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._versions: dict[str, list[dict[str, Any]]] = {}  # by name
        self._saved: dict[str, dict[str, Any]] = {}  # by id

    # ---- for the other handlers --------------------------------------------------------------------------------------------------

    def save(self, kind: str, dataflow: str, properties: dict[str, Any] | None = None) -> dict[str, Any]:
        saved = {
            "id": str(uuid.uuid4()),
            "datasetType": kind,
            "dataflowJson": dataflow,
            "properties": properties or {},
            "createdTime": now(),
        }
        self._saved[saved["id"]] = saved
        return saved

    def register(self, name: str, kind: str, dataflow: str, **values: Any) -> dict[str, Any]:
        """The next version under that name. `values` may be description, tags, properties, saved (an id)."""
        with self._lock:
            versions = self._versions.setdefault(name, [])
            saved = values.get("saved") or self.save(kind, dataflow, values.get("properties"))["id"]
            etag, created = f'"{uuid.uuid4()}"', now()
            state = {"state": "active", "deprecatedBy": None, "etag": etag}
            latest = {
                "datasetId": versions[0]["datasetId"] if versions else str(uuid.uuid4()),
                "versionId": str(len(versions) + 1),
                "datasetDefinitionState": state,
                "dataflow": dataflow,
                "dataPath": None,
                "partitionFormatInPath": None,
                "notes": "",
                "etag": etag,
                "createdTime": created,
                "modifiedTime": created,
                "fileType": "Unknown",
                "properties": values.get("properties") or {},
                "savedDatasetId": saved,
            }
            dataset = {
                "datasetId": latest["datasetId"],
                "datasetState": state,
                "createdTime": created,
                "modifiedTime": created,
                "etag": etag,
                "name": name,
                "description": values.get("description"),
                "tags": values.get("tags") or {},
                "isVisible": True,
                "defaultCompute": None,
                "datasetType": kind,
                "latest": latest,
            }
            versions.append(dataset)
        return dataset

    def register_folder(self, name: str, path: str, **values: Any) -> dict[str, Any]:
        """A file dataset of everything below `path` of the default datastore."""
        where = self._workspace.path.replace("resourceGroups", "resourcegroups").replace(
            "providers/Microsoft.MachineLearningServices/workspaces", "workspaces"
        )
        pattern = f"azureml:/{where}/datastores/workspaceblobstore/paths/{path}/**"
        flow = yaml.safe_dump({"type": "mltable", "paths": [{"pattern": pattern}], "metadata": {"infer_column_types": "False"}})
        return self.register(name, "file", json.dumps({"blocks": [], "meta": {"RsDataflow": "---\n" + flow}}), **values)

    def files(self, saved_id: str) -> DatasetFiles:
        """The files of a saved dataset as they are now. Raises Refusal for none such."""
        saved = self._get_saved(saved_id)
        flow = yaml.safe_load(_dataflow(saved["dataflowJson"]))
        files = [file for place in flow["paths"] for uri in place.values() for file in self.files_at(uri)]
        if len(flow["paths"]) > 1:  # a mount leaves out the folder that all have in common
            common = len(os.path.commonpath([os.path.dirname(f"/{blob}") for _, blob, _ in files]).rstrip("/"))
            files = [(container, blob, f"/{blob}"[common + 1 :]) for container, blob, _ in files]
        steps = flow.get("transformations", [])
        for step in steps:
            files = files[: step.get("take", len(files))]
        return DatasetFiles(saved["datasetType"], files, steps)

    def names(self) -> list[str]:
        return [name for name, versions in self._versions.items() if versions]

    def versions_of(self, name: str) -> list[dict[str, Any]]:
        """Oldest first; none for an unknown name."""
        return self._versions.get(name, [])

    def saved_id(self, dataset: str, version: str | None = None) -> str:
        """The saved dataset of a registered one, by its id. Raises Refusal for none such."""
        for known in (v for versions in self._versions.values() for v in reversed(versions) if v["datasetId"] == dataset):
            if version in (None, known["latest"]["versionId"]):
                return str(known["latest"]["savedDatasetId"])
        raise not_found("Dataset", f"{dataset}:{version}")

    def files_at(self, uri: str) -> list[tuple[str, str, str]]:
        match = re.search(r"/datastores/([^/]+)/paths/(.*)", uri)
        if not match:
            raise Refusal(400, "UserError", f"Only paths of datastores are played here, not {uri}")
        container, path = self._workspace.datastores.container(match[1]), unquote(match[2])
        if path in self._workspace.blobs.names(container, path):
            return [(container, path, path.rpartition("/")[2])]
        if not re.search(r"[*?]", path):
            path = path.rstrip("/") + "/**"
        base = re.split(r"[*?]", path)[0].rpartition("/")[0]
        base = base + "/" if base else ""
        wanted = re.compile(_glob(path))
        return [(container, name, name[len(base) :]) for name in self._workspace.blobs.names(container, base) if wanted.fullmatch(name)]

    def _get_saved(self, saved_id: str) -> dict[str, Any]:
        if saved_id not in self._saved:
            raise Refusal(404, "UserError", f"Saved dataset {saved_id} was not found.")
        return self._saved[saved_id]

    # ---- routes ---------------------------------------------------------------------------------------------------------------

    @route("POST", "/dataset/v1.0{ws}/datasets")
    def create(self, request: Request) -> dict[str, Any]:
        body = request.json
        name, latest = body["name"], body["latest"]
        if self._versions.get(name) and request.asked("ifExistsOk").lower() != "true":
            raise Refusal(409, "DatasetAlreadyExists", f"A dataset with the name {name} already exists.")
        saved = latest.get("savedDatasetId")
        for known in (version for versions in self._versions.values() for version in versions):
            if saved and known["latest"]["savedDatasetId"] == saved:
                what = f"{known['name']}:{known['latest']['versionId']}"
                raise Refusal(400, "UserError", f"The saved dataset {saved} has been registered as {what} (name:version).")
        values = {
            "description": body.get("description"),
            "tags": body.get("tags"),
            "properties": latest.get("properties"),
            "saved": saved,
        }
        return self.register(name, body["datasetType"], latest["dataflow"], **values)

    @route("GET", "/dataset/v1.0{ws}/datasets")
    def list(self, request: Request) -> dict[str, Any]:
        latest = [versions[-1] for versions in self._versions.values() if versions]
        size = min(int(request.asked("pageSize", "100")), self._workspace.page_size)
        return paged(latest, request, size, "continuationToken", "continuationToken")

    @route("GET", "/dataset/v1.0{ws}/datasets/query/name={name}")
    def by_name(self, request: Request, name: str) -> dict[str, Any]:
        wanted = request.asked("versionId")
        for version in reversed(self._versions.get(name, [])):
            if not wanted or version["latest"]["versionId"] == wanted:
                return version
        raise Refusal(404, "UserError", f"Dataset {name}{f':{wanted}' if wanted else ''} was not found.")

    @route("GET", "/dataset/v1.0{ws}/datasets/query/savedDatasetId={saved}")
    def by_saved(self, request: Request, saved: str) -> dict[str, Any]:
        matches = [v for versions in self._versions.values() for v in versions if v["latest"]["savedDatasetId"] == saved]
        return paged(matches, request, self._workspace.page_size, "continuationToken", "continuationToken")

    @route("GET", "/dataset/v1.0{ws}/datasets/{dataset}/definitions")
    def versions(self, request: Request, dataset: str) -> dict[str, Any]:
        matches = [v["latest"] for versions in self._versions.values() for v in versions if v["datasetId"] == dataset]
        return paged(matches, request, self._workspace.page_size, "continuationToken", "continuationToken")

    @route("GET", "/dataset/v1.0{ws}/datasets/{dataset}/definitions/{version}")
    def one_version(self, request: Request, dataset: str, version: str) -> dict[str, Any]:
        for known in (v["latest"] for versions in self._versions.values() for v in versions if v["datasetId"] == dataset):
            if known["versionId"] == version:
                return known
        raise not_found("Dataset definition", f"{dataset}:{version}")

    @route("PUT", "/dataset/v1.0{ws}/datasets/{dataset}")
    def change(self, request: Request, dataset: str) -> dict[str, Any]:
        matches = [v for versions in self._versions.values() for v in versions if v["datasetId"] == dataset]
        if not matches:
            raise not_found("Dataset", dataset)
        for version in matches:
            version.update({key: request.json[key] for key in ("description", "tags") if key in request.json}, modifiedTime=now())
        return matches[-1]

    @route("DELETE", "/dataset/v1.0{ws}/datasets/{name}")
    def unregister(self, request: Request, name: str) -> Reply:
        if not self._versions.pop(name, None):
            raise not_found("Dataset", name)
        return Reply(b"", 200)

    @route("POST", "/dataset/v1.0{ws}/saveddatasets")
    def ensure_saved(self, request: Request) -> dict[str, Any]:
        body = request.json
        return self.save(body["datasetType"], body["dataflowJson"], body.get("properties"))

    @route("GET", "/dataset/v1.0{ws}/saveddatasets/{saved}")
    def get_saved(self, request: Request, saved: str) -> dict[str, Any]:
        return self._get_saved(saved)

    @route("GET", "/data/v1.0{ws}/dataversion/{name}/versions/{version}")
    def data_version(self, request: Request, name: str, version: str) -> dict[str, Any]:
        saved = self._saved.get(name.removeprefix("unregistered-"))
        if saved is None:
            raise Refusal(404, "UserError", f"Data version {name}:{version} not found.")
        return {
            "dataVersion": {
                "assetId": f"azureml://locations/westeurope/workspaces/{self._workspace.id}/data/{name}/versions/1",
                "dataContainerName": name,
                "dataType": "MLTable",
                "dataUri": "",
                "versionId": "1",
            },
            "legacyDataflow": _dataflow(saved["dataflowJson"]),
            "legacySavedDatasetId": saved["id"],
            "legacyDataflowType": "Json",
        }


def _dataflow(text: str) -> str:
    """The YAML that the SDK keeps in its own JSON."""
    return str(json.loads(text)["meta"]["RsDataflow"])


def _glob(pattern: str) -> str:
    """As a regular expression: `**/` any folders, `**` anything, `*` and `?` within a name."""
    patterns = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(patterns.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))

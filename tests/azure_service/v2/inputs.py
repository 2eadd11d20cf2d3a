"""What a job reads: the files at an input, whatever names it: a data asset, a model, an address, or one of v1's datasets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from tests.azure_service.datasets import DatasetFiles
from tests.azure_service.routes import Refusal
from tests.azure_service.v2.paths import files_at

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_TABULAR = ("read_delimited", "read_parquet", "read_json_lines")
_VERSION = re.compile(r".*/(data|models)/([^/]+)/versions/([^/]+)")
_REGISTERED = re.compile(r"azureml:([^/:]+):([^/:]+)")


def address_of(workspace: CloudWorkspace, uri: str) -> tuple[str, str]:
    """The type and the address that an input's uri means. Raises Refusal."""
    match = _version_of(uri)
    if match and match[1] == "models":
        return "model", str(workspace.v2_models.version(match[2], match[3])["properties"]["modelUri"])
    if match:
        properties = workspace.v2_data.version(match[2], match[3])["properties"]
        return str(properties["dataType"]), str(properties["dataUri"])
    return "", uri


def _version_of(uri: str) -> re.Match[str] | None:
    """The noun, the name and the version in an id."""
    return _VERSION.fullmatch(_REGISTERED.sub(r"/data/\1/versions/\2", uri) if _REGISTERED.fullmatch(uri) else uri)


def _of_v1(workspace: CloudWorkspace, given: dict[str, Any], dataset: dict[str, Any]) -> DatasetFiles:
    """A file dataset is mounted by eval_mount, a tabular one goes in directly. Raises Refusal."""
    files = workspace.datasets.files(dataset["latest"]["savedDatasetId"])
    mode = str(given.get("mode") or "")
    if files.type == "tabular" and mode != "Direct":
        what = "because the input is not a FileDataset but instead a TabularDataset. Please make sure you pass a FileDataset."
        raise Refusal(400, "UserError", f"Unable to mount dataset {what}")
    if files.type == "file" and mode not in ("EvalMount", "EvalDownload"):
        raise Refusal(400, "UserError", f"The file dataset {dataset['name']} of SDK v1 needs the mode eval_mount or eval_download.")
    return files


def read(workspace: CloudWorkspace, given: dict[str, Any]) -> DatasetFiles:
    """The files of an input, and how they are read. Raises Refusal for an unknown one."""
    match = _version_of(given["uri"])
    if match and match[1] == "data" and (dataset := workspace.v2_data.dataset(match[2], match[3])):
        return _of_v1(workspace, given, dataset)
    type_, uri = address_of(workspace, given["uri"])
    if given["jobInputType"] == "mltable" or type_ == "mltable":
        return _table(workspace, uri)
    path, files = files_at(workspace, uri)
    below = len(path.rpartition("/")[0]) + 1 if "/" in path else 0
    if given["jobInputType"] == "uri_folder":
        if any(blob == path for _, blob in files):
            raise Refusal(400, "UserError", f"The input of the type uri_folder is a file: {uri}")
        below = len(path) + 1 if path else 0
    return DatasetFiles("file", [(container, blob, blob[below:]) for container, blob in files], [])


def _table(workspace: CloudWorkspace, uri: str) -> DatasetFiles:
    folder, files = files_at(workspace, uri)
    described = [(container, blob) for container, blob in files if blob == f"{folder}/MLTable".lstrip("/")]
    if not described:
        raise Refusal(400, "UserError", f"There is no MLTable file at {uri}")
    table = yaml.safe_load(workspace.blobs.get(*described[0]))
    places = [place for said in table["paths"] for place in said.values()]
    steps = [step if isinstance(step, dict) else {step: {}} for step in table.get("transformations") or []]
    steps = [_as_v1(step) for step in steps]
    within = [workspace.datasets.files_at(_absolute(uri, str(place))) for place in places]
    kind = "tabular" if any(set(step) & set(_TABULAR) for step in steps) else "file"
    return DatasetFiles(kind, [file for found in within for file in found], steps)


def _absolute(table: str, place: str) -> str:
    """A path in an MLTable file that is relative lies below the file."""
    return place if "://" in place else f"{table.rstrip('/')}/{place.removeprefix('./')}"


def _as_v1(step: dict[str, Any]) -> dict[str, Any]:
    """As a dataflow of v1 says it: with its defaults, and one column each."""
    ((verb, value),) = step.items()
    if verb == "read_delimited":
        return {verb: {"header": "all_files_same_headers", "delimiter": ","} | (value or {})}
    if verb == "convert_column_types":
        one = [(name, said) for said in value for name in ([said["columns"]] if isinstance(said["columns"], str) else said["columns"])]
        return {verb: [said | {"columns": name} for name, said in one]}
    return step

"""What is kept as JSON is read back as it was; also what version 0.1 wrote: these texts are its own."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.azure import run_plan as azure_run_plan
from services.domain import Dataset, Environment, FileDataset, Model, RunRequest, RunStatus, TabularDataset
from services.errors import SettingsError
from services.local.run_folder import PlannedDataset, PlannedModel, RunPlan
from services.remote import PipelineRun
from services.settings import ParallelRunSettings
from services.storage.serialization import from_json, to_json
from services.storage.store import Store

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
REQUEST = RunRequest(
    ("m:1",),
    ("d:2",),
    "/s/score.py",
    ParallelRunSettings(node_count=2, mini_batch_size="5", environment_variables={"A": "b"}),
    arguments=("--x", "1"),
    side_inputs={"labels": "l:1"},
    name="n\udcff",
)
PLAN = RunPlan(
    REQUEST,
    (PlannedDataset("t:1", "/r\udcff", "/m.jsonl", 3, "csv", (("a", "int64"),)),),
    (PlannedModel("m", 1, "/models/m/1/m.pkl", "ab"),),
    {"labels": "/l"},
    Environment("e", 1, "/py", "3.11.9", {"pandas": "2.2.3"}, MOMENT),
    {"script": "cd"},
)
AZURE_PLAN = azure_run_plan.RunPlan(REQUEST, 3, ("/m.jsonl",), again=(azure_run_plan.FailedFiles("azureml://x", "", ("a.csv",)),))
MODEL = Model("m", 1, "/p", 5, "ab", "pickle", MOMENT, tags={"a": "b"}, imports=("os.system",))
FILES = FileDataset("f", 1, "/r", "**", True, 2, 9, "/m", "aa", MOMENT)
TABLE = TabularDataset("t", 1, "/r", "**", True, 2, 9, "/m", "aa", MOMENT, columns=(("a", "int64"),), row_count=7)
ENVIRONMENT = Environment("e", 1, "/py", "3.11", {"pandas": "2"}, MOMENT)

# ---- as version 0.1 wrote them, at its end ------------------------------------------------------------------------------------------

REQUEST_0_1 = (
    r'{"models": ["m:1"], "datasets": ["d:2"], "entry_script": "/s/score.py", "settings": {"node_count": 2, "mini_batch_size": "5",'
    r' "error_threshold": 10, "output_action": "append_row", "append_row_file_name": "parallel_run_step.txt",'
    r' "run_invocation_timeout": 60, "run_max_try": 3, "logging_level": "INFO", "environment_variables": {"A": "b"}},'
    r' "source_directory": null, "arguments": ["--x", "1"], "side_inputs": {"labels": "l:1"}, "environment": null,'
    r' "compute_target": null, "allow_reuse": true, "rerun_of": null, "failed_only": false, "name": "n\udcff", "submission_id": ""}'
)
PLAN_0_1 = (
    r'{"request": '
    + REQUEST_0_1
    + r', "datasets": [{"reference": "t:1", "root": "/r\udcff", "manifest": "/m.jsonl", "item_count": 3, "format": "csv",'
    r' "columns": [["a", "int64"]], "partition_format": ""}], "models": [{"name": "m", "version": 1, "path": "/models/m/1/m.pkl",'
    r' "sha256": "ab"}], "side_inputs": {"labels": "/l"}, "environment": {"name": "e", "version": 1, "interpreter": "/py",'
    r' "python_version": "3.11.9", "packages": {"pandas": "2.2.3"}, "created_at": "2026-01-02T03:04:05.678000+00:00"},'
    r' "inputs": {"script": "cd"}}'
)
FIRST_PLAN_0_1 = (  # of its first weeks
    '{"request": {"models": ["m:1"], "datasets": ["d:2"], "entry_script": "/s/score.py", "settings": {"node_count": 1,'
    ' "error_threshold": 10, "output_action": "append_row", "append_row_file_name": "parallel_run_step.txt",'
    ' "run_invocation_timeout": 60, "run_max_try": 3, "logging_level": "INFO"}, "source_directory": null, "arguments": [],'
    ' "side_inputs": {}, "environment": null, "name": "", "submission_id": ""}, "datasets": [{"reference": "d:2", "root": "/r",'
    ' "manifest": "/m.jsonl", "file_count": 3}], "models": [{"name": "m", "version": 1, "path": "/models/m/1/m.pkl",'
    ' "sha256": "ab"}], "side_inputs": {}, "interpreter": "/usr/bin/python3"}'
)
AZURE_PLAN_0_1 = (
    r'{"request": '
    + REQUEST_0_1
    + r', "item_count": 3, "manifests": ["/m.jsonl"], "experiment": "batch-scoring", "published_id": "", "parameters": {},'
    r' "file": "", "again": [{"root": "azureml://x", "partition_format": "", "paths": ["a.csv"]}]}'
)
PIPELINE_RUN_0_1 = (
    '{"id": "1", "experiment": "e", "status": "Completed", "title": "", "step": "", "studio_url": "",'
    ' "created_at": "2026-01-02T03:04:05.678000+00:00", "ended_at": null, "run_id": ""}'
)
ROWS_0_1 = {
    "models": '{"name": "m", "version": 1, "path": "/p", "size": 5, "sha256": "ab", "kind": "pickle",'
    ' "created_at": "2026-01-02T03:04:05.678+00:00", "description": "", "tags": {"a": "b"}, "needs_approval": true, "approved": false,'
    ' "imports": ["os.system"]}',
    "datasets": '{"name": "f", "version": 1, "root": "/r", "glob": "**", "in_place": true, "file_count": 2, "size": 9, "manifest": "/m",'
    ' "manifest_sha256": "aa", "created_at": "2026-01-02T03:04:05.678+00:00", "description": ""}',
    "environments": '{"name": "e", "version": 1, "interpreter": "/py", "python_version": "3.11", "packages": {"pandas": "2"},'
    ' "created_at": "2026-01-02T03:04:05.678+00:00"}',
}
TABLE_0_1 = (
    '{"name": "t", "version": 1, "root": "/r", "glob": "**", "in_place": true, "file_count": 2, "size": 9, "manifest": "/m",'
    ' "manifest_sha256": "aa", "created_at": "2026-01-02T03:04:05.678+00:00", "description": "", "partition_format": "",'
    ' "format": "csv", "columns": [["a", "int64"]], "row_count": 7, "type": "tabular"}'
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (REQUEST_0_1, REQUEST),
        (PLAN_0_1, PLAN),
        (AZURE_PLAN_0_1, AZURE_PLAN),
        (PIPELINE_RUN_0_1, PipelineRun("1", "e", RunStatus.COMPLETED, created_at=MOMENT)),
        (ROWS_0_1["models"], MODEL),
        (ROWS_0_1["environments"], ENVIRONMENT),
    ],
)
def test_what_version_0_1_wrote_is_read(text, value):
    assert from_json(text, type(value)) == value


def test_the_first_plans_of_version_0_1_are_read():
    plan = RunPlan.from_json(FIRST_PLAN_0_1)
    assert plan.datasets == (PlannedDataset("d:2", "/r", "/m.jsonl", 3),)
    assert (plan.environment.interpreter, plan.environment.python_version) == ("/usr/bin/python3", "")
    assert plan.request.allow_reuse


def test_a_registry_of_version_0_1_is_read(tmp_path: Path):
    store = Store(tmp_path)
    with sqlite3.connect(store.path) as connection:
        for table, value in (*ROWS_0_1.items(), ("datasets", TABLE_0_1)):
            row = json.loads(value)
            sql = f"INSERT INTO {table} (name, version, created_at, value) VALUES (?, ?, ?, ?)"
            connection.execute(sql, (row["name"], row["version"], row["created_at"], value))
        connection.execute(
            "INSERT INTO runs (id, request, status, submitted_at) VALUES ('r', ?, 'Completed', ?)", (REQUEST_0_1, MOMENT.isoformat())
        )
    connection.close()
    assert store.all(Model) == [MODEL]
    assert store.all(Dataset) == [TABLE, FILES]
    assert store.all(Environment) == [ENVIRONMENT]
    run = store.run("r")
    assert (run.request, run.status, run.submitted_at, run.warnings, run.workers) == (REQUEST, RunStatus.COMPLETED, MOMENT, (), 0)


# ---- as they are written now ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [REQUEST, PLAN, AZURE_PLAN, MODEL, FILES, TABLE, ENVIRONMENT], ids=lambda value: type(value).__name__)
def test_a_value_is_read_back_as_it_was(value):
    assert from_json(to_json(value), type(value)) == value


def test_partition_keys_are_read_back_as_a_tuple():
    request = replace(REQUEST, settings=ParallelRunSettings(partition_keys=["store", "brand"], allowed_failed_percent=5))
    assert from_json(to_json(request), RunRequest) == request


def test_a_field_of_a_later_version_is_left_out():
    assert from_json(PIPELINE_RUN_0_1.replace('"id"', '"later": 1, "id"'), PipelineRun).id == "1"


@pytest.mark.parametrize("text", ["", "[]", "{}", REQUEST_0_1.replace('["m:1"]', "5")])
def test_what_is_not_such_a_value_raises_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        from_json(text, RunRequest)


def test_a_request_is_checked_when_it_is_read():
    with pytest.raises(SettingsError):
        from_json(REQUEST_0_1.replace('["d:2"]', "[]"), RunRequest)

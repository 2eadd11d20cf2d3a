"""Models, datasets, environments and runs kept in order: what every workspace promises of it."""

import pytest

from services.domain import Metadata, ResourceKind, RunRequest, RunStatus
from services.errors import NotFound, SettingsError
from services.workspaces import WORKSPACES, open_workspace

MODEL, DATASET, ENVIRONMENT, RUN = ResourceKind
one_sdk = pytest.mark.parametrize("workspace", ["local", "azure"], indirect=True)
"""For what is answered on this machine: there one of the SDKs is like the other."""


@pytest.fixture(params=WORKSPACES)
def workspace(request, home):
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


def test_what_was_said_at_registration_is_known_and_can_be_changed(workspace, model_file):
    resources = workspace.resources
    workspace.register_model("m", model_file, description="the first", tags={"stage": "test", "by": "ann"})
    assert resources.metadata(MODEL)["m:1"] == Metadata(note="the first", tags={"stage": "test", "by": "ann"})
    resources.change(MODEL, "m", tags={"stage": "prod", "by": "", "gone": ""}, pinned=True)
    after = resources.change(MODEL, "m:1", note="")
    assert after == resources.metadata(MODEL)["m:1"] == Metadata(tags={"stage": "prod"}, pinned=True)
    assert workspace.model("m").tags == {"stage": "prod"}
    resources.change(MODEL, "m:1", tags={"stage": ""}, pinned=False)
    assert "m:1" not in resources.metadata(MODEL)


def test_a_dataset_is_described_tagged_and_archived(workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(1), description="of May")
    assert workspace.resources.metadata(DATASET)["d:1"].note == "of May"
    workspace.resources.change(DATASET, "d", tags={"month": "5"}, archived=True)
    assert workspace.resources.metadata(DATASET)["d:1"] == Metadata("", "of May", {"month": "5"}, archived=True)


@pytest.mark.parametrize("kind", [MODEL, DATASET, ENVIRONMENT, RUN])
def test_what_is_not_there_is_not_changed_and_not_deleted(workspace, kind):
    for change in (
        lambda: workspace.resources.change(kind, "x:1", note="a"),
        lambda: workspace.resources.dependents(kind, "x:1"),
        lambda: workspace.resources.delete(kind, ["x:1"]),
    ):
        with pytest.raises(NotFound, match="x:1"):
            change()


@one_sdk
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "other"}),
        ("note", {"note": "a" * 10_001}),
        ("tags", {"tags": {"": "a"}}),
        ("tags", {"tags": {"a=b": "c"}}),
        ("tags", {"tags": {"k": "v" * 1001}}),
        ("tags", {"tags": {str(n): "v" for n in range(101)}}),
    ],
)
def test_what_can_not_be_said_is_refused_at_its_field(workspace, model_file, field, change):
    workspace.register_model("m", model_file)
    with pytest.raises(SettingsError) as refused:
        workspace.resources.change(MODEL, "m", **change)
    assert refused.value.field == field
    assert "m:1" not in workspace.resources.metadata(MODEL)


def test_a_deleted_model_is_gone_with_its_metadata_and_its_number_is_not_reused(workspace, model_file):
    for _ in range(2):
        workspace.register_model("m", model_file, tags={"a": "b"})
    workspace.resources.delete(MODEL, ["m:2"])
    assert [model.reference for model in workspace.models()] == ["m:1"]
    assert list(workspace.resources.metadata(MODEL)) == ["m:1"]
    assert workspace.register_model("m", model_file).version == 3


def test_a_deleted_dataset_leaves_the_persons_own_files(workspace, csv_folder):
    folder = csv_folder(2)
    workspace.register_dataset("d", folder)
    workspace.resources.delete(DATASET, ["d:1"])
    assert workspace.datasets() == []
    assert len(list(folder.iterdir())) == 2


@one_sdk
def test_runs_are_found_by_what_they_name(workspace):
    store = workspace._store
    store.insert_run("run-1", RunRequest(("m:1",), ("d:1",), "/s.py"), 1, 1, status=RunStatus.COMPLETED)
    store.insert_run("run-2", RunRequest(("m:1",), ("d:2",), "/s.py", rerun_of="run-1"), 1, 1, status=RunStatus.FAILED)
    found = workspace.runs.linked(MODEL, "m:1")
    assert ([run.id for run in found.newest], found.count, dict(found.datasets)) == (["run-2", "run-1"], 2, {"d:2": 1, "d:1": 1})
    assert workspace.runs.linked(DATASET, "d:1").models == {"m:1": 1}
    assert [run.id for run in workspace.runs.linked(RUN, "run-1").newest] == ["run-2"]
    assert workspace.runs.linked(MODEL, "m:1", limit=1).count == 2
    assert workspace.runs.linked(ENVIRONMENT, "no:1").count == 0
    workspace.resources.delete(RUN, ["run-2"])
    assert workspace.runs.linked(MODEL, "m:1").count == 1

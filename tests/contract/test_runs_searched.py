"""The runs list: what every workspace promises of searching its runs."""

import pytest

from services.domain import ResourceKind, RunRequest, RunStatus
from services.run_query import RunQuery
from services.storage.store import Store
from services.workspaces import open_workspace


@pytest.fixture(params=["local", "azure"])  # its runs are on this machine: there one of the SDKs is like the other
def workspace(request, home):
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


def test_runs_are_found_by_what_people_said_of_them(workspace):
    store = Store(workspace.home)
    for run_id in ("run-1", "run-2"):
        store.insert_run(run_id, RunRequest(("m:1",), ("d:1",), "/s/score.py"), 10, 1, status=RunStatus.COMPLETED)
    workspace.resources.change(ResourceKind.RUN, "run-1", name="June", tags={"season": "june"}, pinned=True)
    page = workspace.runs.search(RunQuery(text="JUNE", tags={"season": ""}))
    assert [(run.id, run.title, run.metadata.pinned) for run in page.runs] == [("run-1", "June", True)]
    assert [run.id for run in workspace.runs.search(RunQuery(model="m")).runs] == ["run-1", "run-2"]
    assert workspace.runs.rows(["name", "tags"]) == [("June", '{"season": "june"}'), ("m:1 on d:1", "{}")]  # the pinned one first
    workspace.resources.change(ResourceKind.RUN, "run-1", archived=True)
    assert workspace.runs.rows(["id"]) == [("run-2",)]
    assert workspace.runs.rows(["id"], archived=True) == [("run-1",), ("run-2",)]
    assert [run.id for run in workspace.runs.search(RunQuery()).runs] == ["run-2"]
    assert workspace.runs.choices().tags == (("season", "june"),)

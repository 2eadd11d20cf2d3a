"""What a workspace with pipelines adds to Runs, in a real browser, on the stand-in of Azure ML."""

import re

import pytest
from playwright.sync_api import expect

from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from tests.browser.dashboard import dashboard, move, settled
from tests.conftest import home_in

ECHO = """
    import os
    def run(mini_batch):
        return [f"{os.path.basename(path)}: {open(path).read().strip()}" for path in mini_batch]
"""


@pytest.fixture
def home(tmp_path):
    """The test's own, since it works on Azure ML."""
    with home_in(tmp_path) as folder:
        yield folder


@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_a_completed_run_is_published_run_again_and_scheduled(page, azure, home, csv_folder, entry_script, finish):
    connection = from_environment(home)
    connection.remember(home)
    workspace = AzureWorkspace(connection, home, blocking=True)
    workspace.register_dataset("rows", csv_folder(7, "rows"))
    settings = ParallelRunSettings(mini_batch_size="3", process_count_per_node=1)
    request = RunRequest((), ("rows",), str(entry_script(ECHO)), settings, compute_target="cpu-cluster")
    run = finish(workspace, workspace.submit(request).id)
    assert run.status is RunStatus.COMPLETED, run.error
    with dashboard(home) as server:
        server.admit(page.context)
        page.goto(f"{server.url}/runs?run={run.id}")
        studio = page.get_by_role("link", name="Open in studio")
        expect(studio).to_have_attribute("href", re.compile(r"^https://ml\.azure\.com/runs/"))
        page.get_by_role("button", name="Publish").click()
        page.get_by_role("textbox", name="Name").fill("nightly *digits*")
        page.get_by_role("button", name="Publish pipeline").click()
        expect(page.get_by_text("Run again", exact=True)).to_be_visible()
        expect(page.get_by_role("combobox", name="Pipeline")).to_have_value(re.compile(r"^nightly \*digits\* · "))

        page.get_by_role("textbox", name="Mini-batch size").first.fill("2")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_text("4 of 4 mini-batches done")).to_be_visible()

        move(page, "runs?list=Published+pipelines").get_by_role("button", name="Schedule", exact=True).click()
        expect(page.get_by_text("Scheduled every day.")).to_be_visible()
        page.get_by_role("tab", name="Schedules").click()
        page.get_by_role("button", name="Disable").click()
        expect(page.get_by_role("button", name="Enable")).to_be_visible()
        move(page, "runs?list=In+Azure+ML")
        expect(page.get_by_text("All pipeline runs of this experiment")).to_be_visible()
        settled(page)
    assert [schedule.active for schedule in workspace.pipelines.schedules()] == [False]
    assert {run.run_id for run in workspace.pipelines.history("batch-scoring")} == {run.id for run in workspace.runs.latest()}
    assert len(workspace.runs.latest()) == 2

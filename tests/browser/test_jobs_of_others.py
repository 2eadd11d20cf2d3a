"""A job of SDK v2 that somebody else submitted, opened on the Runs page; on the stand-in of Azure ML."""

import re

import pytest
from playwright.sync_api import expect

from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from tests.azure.conftest import inputs, job, ml, parallel
from tests.browser.dashboard import dashboard, move, settled
from tests.conftest import home_in

__all__ = ["inputs", "job", "ml", "parallel"]


@pytest.fixture
def home(tmp_path):
    """The test's own, since it works on Azure ML."""
    with home_in(tmp_path) as folder:
        yield folder


@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_a_job_of_somebody_else_is_opened_with_its_predictions(page, home, ml, job):
    names = "import os\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n"
    ml.jobs.create_or_update(job(names, name="theirs"))
    from_environment(home, sdk="v2").remember(home)
    with dashboard(home) as server:
        server.admit(page.context)
        page.goto(f"{server.url}/runs?list=In+Azure+ML&experiment=exp")
        expect(page.get_by_text("All pipeline runs of this experiment")).to_be_visible()
        settled(page)
        page.get_by_role("button", name="Open here").click()
        expect(page.get_by_text(re.compile("Completed$")).filter(visible=True).first).to_be_visible()
        page.get_by_role("button", name="See results").click()
        expect(page.get_by_text("5 predictions", exact=True)).to_be_visible()
        move(page, "runs?list=In+Azure+ML&experiment=exp")
        expect(page.get_by_text("All pipeline runs of this experiment")).to_be_visible()
        expect(settled(page).get_by_role("button", name="Open here")).to_have_count(0)  # it is here


@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_a_job_of_somebody_else_is_canceled_only_after_saying_whose_it_is(page, home, ml, job):
    waits = "import time\ndef run(mini_batch):\n    time.sleep(600)\n    return mini_batch\n"
    ml.jobs.create_or_update(job(waits, name="theirs"))
    connection = from_environment(home, sdk="v2")
    connection.remember(home)
    run = AzureWorkspace(connection, home, blocking=True).pipelines.follow("exp", "theirs")
    with dashboard(home) as server:
        server.admit(page.context)
        page.goto(f"{server.url}/runs?run={run.id}")
        expect(page.get_by_text("Running in Azure ML")).to_be_visible()
        settled(page).get_by_role("button", name="Cancel run").click()
        expect(page.get_by_text("The job theirs was submitted by Stand-in, not by this program.")).to_be_visible()
        assert ml.jobs.get("theirs").status == "Running"
        page.get_by_role("button", name="Cancel their job").click()
        expect(page.get_by_text("Canceled on request.")).to_be_visible()
        expect(page.get_by_role("button", name="Rerun", exact=True)).to_be_disabled()
    assert ml.jobs.get("theirs").status == "Canceled"

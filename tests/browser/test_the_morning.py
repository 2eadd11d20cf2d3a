"""A morning: last month's run is found, edited to the new version of its dataset, run, reported, compared; clicks are counted."""

import re
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from services.domain import RunRequest, RunStatus, utc_now
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from services.storage.store import Store
from tests.browser import dashboard as started
from tests.browser.dashboard import settled
from tests.browser.walk import Walk
from tests.conftest import home_in

SCRIPT = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--region", required=True)
region = parser.parse_known_args()[0].region
def run(mini_batch):
    return [os.path.basename(path) + ": " + region + open(path).read().strip() for path in mini_batch]
"""
OTHERS = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with home_in(tmp_path_factory.mktemp("own")) as folder:
        yield folder


@pytest.fixture(scope="module")
def dashboard(home):
    with started.dashboard(home) as server:
        yield server


@pytest.fixture(scope="module")
def last_month(home, tmp_path_factory, finish):
    """A run of last month over what was the newest version of its dataset then, with settings of its own; hundreds since."""
    folder = tmp_path_factory.mktemp("sales")
    workspace = LocalWorkspace(home)
    script = folder / "sales_script.py"
    script.write_text(SCRIPT)
    settings = ParallelRunSettings(process_count_per_node=1, mini_batch_size="3", error_threshold=5)
    for version, values in enumerate(("aab", "abb"), 1):
        (folder / str(version)).mkdir()
        for number, value in enumerate(values):
            (folder / str(version) / f"{number}.csv").write_text(value)
        workspace.register_dataset("sales", folder / str(version))
        if version == 1:
            request = RunRequest((), ("sales:1",), str(script), settings, arguments=("--region", "north"), name="Sales, north")
            run = finish(workspace, workspace.submit(request).id)
    store, month_ago = Store(home), utc_now() - timedelta(days=30)
    with closing(sqlite3.connect(store.path)) as registry, registry:
        registry.execute("UPDATE runs SET submitted_at = ? WHERE id = ?", (month_ago.isoformat(timespec="milliseconds"), run.id))
    for number in range(OTHERS):
        store.insert_run(f"run-other-{number:03}", RunRequest((), ("other:1",), "other.py"), 1, 1, status=RunStatus.COMPLETED)
    return run


def test_the_morning_takes_eight_clicks(home, last_month, dashboard, page):
    walk = Walk(page, dashboard.url, "morning")
    settled(page)
    walk.link("Runs")
    page.get_by_placeholder("Search name, model, dataset, tag, note").fill("north")
    expect(page.get_by_text("1 run matches")).to_be_visible()
    walk.click_at(page.get_by_test_id("stDataFrame"), 250, 52)
    walk.button("Edit and run again")
    walk.button("Use sales:2, the newest version")
    expect(page.get_by_role("combobox", name="Dataset", exact=True)).to_have_value("sales:2")
    expect(page.get_by_role("button", name="Use sales:2, the newest version")).to_be_hidden()
    settled(page)
    walk.button("Submit run")
    page.wait_for_url("**/runs?run=*")
    expect(page).to_have_title(re.compile("Completed"))
    (run,) = LocalWorkspace(home).runs.latest(1)
    assert (run.request.datasets, run.request.arguments) == (("sales:2",), ("--region", "north"))
    with page.expect_download() as report:
        walk.link("Report")
    assert "Sales, north" in report.value.path().read_text()
    walk.button("See results")
    page.wait_for_url("**/results*")
    walk.button("Compare")
    page.wait_for_url("**/compare*")
    expect(settled(page).get_by_role("button", name="Changed: 1")).to_be_visible()
    assert walk.clicks == 8


CLICK_BOTH = """async ([first, second]) => {
  first.click()
  await new Promise(resolve => setTimeout(resolve, 10))  // it is sent
  for (const until = Date.now() + 3000; Date.now() < until;);  // nothing that the server answers is drawn meanwhile
  second.click()
}"""


def test_a_click_on_submit_before_the_choice_is_drawn_runs_what_was_chosen(home, last_month, dashboard, page):
    page.goto(f"{dashboard.url}/new_run?run={last_month.id}")
    newest = page.get_by_role("button", name="Use sales:2, the newest version")
    expect(newest).to_be_visible()
    submit = settled(page).get_by_role("button", name="Submit run")
    page.evaluate(CLICK_BOTH, [newest.element_handle(), submit.element_handle()])
    page.wait_for_url("**/runs?run=*")
    (run,) = LocalWorkspace(home).runs.latest(1)
    assert (run.request.datasets, run.request.arguments) == (("sales:2",), ("--region", "north"))


CLICK_WHEN_DRAWN = """name => new MutationObserver((_, observer) => {
  const button = [...document.querySelectorAll("button")].find(each => each.textContent.includes(name))
  if (button) { observer.disconnect(); button.click() }
}).observe(document, { childList: true, subtree: true })"""


def test_a_click_on_a_page_that_is_still_being_drawn_does_what_it_says(home, last_month, dashboard, page):
    page.goto(f"{dashboard.url}/runs?find=north")
    expect(page.get_by_text(re.compile("^. runs? match"))).to_be_visible()
    settled(page).evaluate(CLICK_WHEN_DRAWN, "Edit and run again")
    page.get_by_test_id("stDataFrame").click(position={"x": 250, "y": 52})
    page.wait_for_url("**/new_run?*")
    expect(page.get_by_role("combobox", name="Dataset", exact=True)).to_have_value(re.compile("^sales:"))

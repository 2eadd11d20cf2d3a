"""What an analyst does on Azure ML, in a real browser on the real dashboard, which uses the real SDK; the service is the stand-in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.azure.workspace import AzureWorkspace
from services.connection import SDKS, from_environment
from tests.azure_service.fixtures import Azure
from tests.browser import dashboard as started
from tests.browser.dashboard import Dashboard, move, settled
from tests.conftest import home_in

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A test's own: it begins with nobody signed in."""
    with home_in(tmp_path) as folder:
        yield folder


@pytest.fixture
def dashboard(azure: Azure, home: Path) -> Iterator[Dashboard]:
    """Started with the variables that lead it to the stand-in."""
    with started.dashboard(home) as server:
        yield server


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def unfolded(page: Page) -> Page:
    """Wait for a form that is unfolding: meanwhile a click may miss what moves, and a list of options closes."""
    settled(page).wait_for_function("document.getAnimations().length == 0")
    return page


def connect(page: Page, dashboard: Dashboard, sdk: str = "v1") -> None:
    page.goto(f"{dashboard.url}/connection")
    page.get_by_role("radio", name="Azure ML").click()
    expect(page.get_by_text("Its support ended on 2026-06-30")).to_be_visible()
    unfolded(page).get_by_text(f"SDK {sdk}", exact=True).click()
    settled(page).get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Signed in.", exact=True)).to_be_visible()
    expect(page.get_by_text("Lists as of ")).to_be_visible()


def upload_files(page: Page, paths: list[Path]) -> None:
    """Register them as dataset rows, on the page's tab for that."""
    arrived = count(1)
    with page.expect_response(lambda answer: "/upload_file/" in answer.url and next(arrived) == len(paths)):  # the last of them
        page.locator("input[type=file]").first.set_input_files(paths)
    page.get_by_role("textbox", name="Name").first.fill("rows")
    page.get_by_role("button", name="Register dataset").click()
    expect(page.get_by_role("combobox", name="Dataset and version")).to_have_value("rows:1")
    page.get_by_role("button", name="Show files").click()
    expect(page.get_by_test_id("stCode").filter(has_text="0000.csv")).to_be_visible()  # not the table's cell, which is drawn


def fill_new_run(page: Page) -> None:
    """Settings of a run over seven files: more nodes than there are, and then what there is."""
    page.get_by_role("textbox", name="Node count").fill("9")
    page.keyboard.press("Tab")
    expect(page.get_by_text("9 nodes are more than the 4 that cpu-cluster may have")).to_be_visible()
    page.get_by_role("textbox", name="Node count").fill("2")
    page.get_by_role("textbox", name="Mini-batch size").fill("3")
    page.keyboard.press("Tab")
    expect(page.get_by_text("7 files in 3 mini-batches of 3, on 2 nodes")).to_be_visible()


def test_from_signing_in_to_a_run_that_can_be_submitted(dashboard, page, azure, csv_folder):
    """By SDK v2; runs and their results are in test_pipelines.py and test_jobs_of_others.py, and the whole of it below."""
    connect(page, dashboard, "v2")
    move(page, "datasets?tab=Register+a+dataset")
    upload_files(page, sorted(csv_folder(7).iterdir()))
    move(page, "new_run?model=No+model&dataset=rows:1&compute_target=cpu-cluster")
    fill_new_run(page)
    expect(page.get_by_role("button", name="Submit run")).to_be_enabled()


@pytest.mark.walk
@pytest.mark.parametrize("sdk", SDKS)
def test_from_signing_in_to_the_downloaded_table(dashboard, page, azure, model_file, csv_folder, tmp_path, sdk):
    connect(page, dashboard, sdk)
    expect(page.get_by_test_id("stMain").get_by_text(f"SDK {sdk}", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Check everything").click()
    expect(page.get_by_text("All checks passed.")).to_be_visible()

    page.goto(f"{dashboard.url}/models?tab=Register+a+model")
    page.locator("input[type=file]").first.set_input_files(model_file)
    name = page.get_by_role("textbox", name="Name").first
    name.fill("classifier")  # at once: the proposal that comes later must not replace it
    name.press("Tab")
    expect(name).to_have_attribute("placeholder", model_file.stem)
    page.get_by_role("button", name="Register model").click()
    expect(page.get_by_role("combobox", name="Model and version")).to_have_value("classifier:1")

    page.goto(f"{dashboard.url}/datasets?tab=Register+a+dataset")
    upload_files(page, sorted(csv_folder(7).iterdir()))

    page.goto(f"{dashboard.url}/new_run?model=classifier:1&dataset=rows:1&compute_target=cpu-cluster")
    fill_new_run(page)
    page.get_by_role("button", name="Submit run").click()
    expect(page.get_by_text(re.compile("Completed$")).filter(visible=True).first).to_be_visible()
    expect(page.get_by_role("link", name="Open in studio")).to_have_attribute("href", re.compile(r"^https://ml\.azure\.com/"))

    page.get_by_role("button", name="See results").click()
    expect(page.get_by_text("7 predictions", exact=True)).to_be_visible()
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as lines:
        rows = sorted((row["File"], row["Prediction"]) for row in csv.DictReader(lines))
    assert rows == [(f"{number:04}.csv", str(number % 3)) for number in range(7)]

    page.goto(f"{dashboard.url}/connection")
    page.get_by_role("radio", name="This machine").click()
    page.get_by_role("button", name="Work on this machine").click()
    expect(page.get_by_text("Everything is kept in one folder on this machine")).to_be_visible()
    page.goto(f"{dashboard.url}/runs")
    heading(page, "Runs")
    expect(page.get_by_text("classifier:1 on rows:1")).to_have_count(0)


def test_what_was_checked_and_listed_by_one_sdk_is_not_shown_of_the_other(dashboard, page, azure):
    connect(page, dashboard, "v1")
    page.get_by_role("button", name="Check everything").click()
    expect(page.get_by_text("All checks passed.")).to_be_visible()
    settled(page).get_by_text("Choose another workspace").click()
    unfolded(page).get_by_text("SDK v2", exact=True).last.click()
    settled(page).get_by_role("button", name="Connect").click()
    expect(page.get_by_test_id("stSidebar").get_by_text("SDK v2")).to_be_visible()
    expect(page.get_by_role("button", name="Check everything")).to_be_visible()
    expect(settled(page).get_by_text("All checks passed.")).to_have_count(0)


def test_every_page_paints_while_azure_does_not_answer(page, azure, home):
    connection = from_environment(home)
    connection.remember(home)
    AzureWorkspace(connection, home, blocking=True).compute_targets()  # known from before
    azure.service.fault("* https://*", held=True, count=None)
    with started.dashboard(home) as again:
        page.goto(again.address)
        heading(page, "Batch Scoring Studio")
        for name, title in (
            ("models", "Models"),
            ("datasets", "Datasets"),
            ("runs", "Runs"),
            ("results", "Results"),
            ("new_run", "New run"),
        ):
            page.locator(f"[data-testid=stSidebarNav] a[href$='/{name}']").click()
            heading(page, title)
            expect(page.get_by_text("Signing in…")).to_be_visible()
        expect(page.get_by_text("AmlCompute, STANDARD_DS3_V2")).to_be_visible()
        azure.service.clear()


def test_after_a_failed_sign_in_another_can_be_tried(dashboard, page, azure):
    page.goto(f"{dashboard.url}/connection")
    page.get_by_role("radio", name="Azure ML").click()
    expect(page.get_by_role("button", name="Connect")).to_be_visible()
    unfolded(page).get_by_role("textbox", name="Secret").fill("a-wrong-secret")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(settled(page).get_by_text("Invalid client secret provided").filter(visible=True).first).to_be_visible()
    assert "a-wrong-secret" not in page.content()
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_text("Sign in to see models and datasets.")).to_be_visible()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Connection").click()
    heading(page, "Connection")
    page.get_by_text("Choose another workspace").click()
    way = unfolded(page).get_by_role("combobox", name="Sign in")
    way.fill("Device code")
    expect(page.get_by_role("option")).to_have_text("Device code")
    way.press("Enter")
    expect(page.get_by_role("textbox", name="Client id")).to_have_count(0)
    page.get_by_role("button", name="Connect").press("Enter")
    expect(page.get_by_role("link", name="Open the sign-in page")).to_have_attribute("href", "https://microsoft.com/devicelogin")
    azure.service.confirm_device_code(page.get_by_test_id("stMain").get_by_test_id("stCode").last.inner_text().strip())
    expect(page.get_by_text("Signed in.", exact=True)).to_be_visible()
